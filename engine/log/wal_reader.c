#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/log/wal.h"

/* Bytes hashed in search of records behind a damaged one, for each byte of the file. */
enum { SEARCH_FACTOR = 4 };

/* What the first bytes of the file say. The header is durable before the file gets its
 * name. */
static int check_header(struct wal_reader *r, uint64_t number, const uint8_t uuid[16],
                        struct kevo_err *err) {
    struct wal_segment_header h;
    if (r->size < WAL_SEGMENT_HEADER_BYTES)
        return kevo_fail(err, KEVO_CORRUPT, "%s: the header is damaged", r->path);
    int rc = wal_decode_segment_header(r->data, &h, r->path, err);
    if (rc) return rc;
    if (h.number != number)
        return kevo_fail(err, KEVO_CORRUPT, "%s: holds segment %llu", r->path,
                         (unsigned long long)h.number);
    if (memcmp(h.uuid, uuid, 16) != 0)
        return kevo_fail(err, KEVO_CORRUPT, "%s: belongs to another store", r->path);
    r->salt = h.salt;
    r->before = r->last = h.before;
    r->at = WAL_SEGMENT_HEADER_BYTES;
    return 0;
}

static int map_segment(struct wal_reader *r, struct env_file *file, struct kevo_err *err) {
    int rc = r->env->size(r->env, file, &r->file.size, err);
    return rc ? rc : r->env->map(r->env, file, r->file.size, &r->file.data, err);
}

static int open_segment(struct env *env, const char *dir, uint64_t number, const uint8_t uuid[16],
                        bool damaged, struct wal_reader **out, struct kevo_err *err) {
    char name[WAL_NAME_BYTES], path[ENV_PATH_MAX];
    struct env_file *file = NULL;
    struct env_stat st;
    *out = NULL;
    wal_segment_name(name, number);
    int rc = env_join(path, dir, name, err);
    if (rc == 0) rc = env->stat(env, path, &st, err);
    if (rc) return rc;
    struct wal_reader *r = mem_zalloc(sizeof *r);
    if (!r) return kevo_nomem(err);
    r->env = env;
    r->path = mem_strdup(path);
    rc = r->path ? env->open(env, path, ENV_READ, 0, &file, err) : kevo_nomem(err);
    /* A reader of an older batch may see the segment retired just now. */
    if (rc == KEVO_CANTOPEN && env->stat(env, path, &st, NULL) == KEVO_NOTFOUND) rc = KEVO_NOTFOUND;
    if (rc == 0)
        rc = damaged ? file_bytes_init(&r->file, env, file, err) : map_segment(r, file, err);
    r->data = r->file.data;
    r->size = r->file.size;
    if (rc == 0) rc = check_header(r, number, uuid, err);
    env->close(env, file);
    if (rc) {
        wal_reader_close(r);
        return rc;
    }
    *out = r;
    return 0;
}

int wal_reader_open(struct env *env, const char *dir, uint64_t number, const uint8_t uuid[16],
                    struct wal_reader **r, struct kevo_err *err) {
    return open_segment(env, dir, number, uuid, false, r, err);
}

int wal_reader_open_damaged(struct env *env, const char *dir, uint64_t number,
                            const uint8_t uuid[16], struct wal_reader **r, struct kevo_err *err) {
    return open_segment(env, dir, number, uuid, true, r, err);
}

/* Whether a record's header lies at `at`. */
static bool header_at(const struct wal_reader *r, uint64_t at, struct wal_record_header *h) {
    return at <= r->size && r->size - at >= WAL_RECORD_HEADER_BYTES &&
           wal_decode_record_header(r->data + at, h, r->salt);
}

/* Whether a whole record with a right checksum lies at `at`. */
static bool record_at(const struct wal_reader *r, uint64_t at, struct wal_record_header *h) {
    return header_at(r, at, h) && h->payload_bytes <= r->size - at - WAL_RECORD_HEADER_BYTES &&
           h->checksum == wal_record_checksum(r->data + at, h->payload_bytes, r->salt);
}

static bool follows(const struct wal_reader *r, const struct wal_record_header *h) {
    return h->previous.batch == r->last.batch && h->previous.checksum == r->last.checksum &&
           h->commit.batch > r->last.batch;
}

/* How far the records reach whose headers follow one another from r->at on, whole or not. */
static uint64_t torn_end(const struct wal_reader *r) {
    uint64_t end = r->at;
    struct wal_record_header h;
    for (uint64_t at = r->at; header_at(r, at, &h) || header_at(r, at = wal_sector_end(at), &h);) {
        uint64_t left = r->size - at - WAL_RECORD_HEADER_BYTES;
        end = at + WAL_RECORD_HEADER_BYTES + (h.payload_bytes < left ? h.payload_bytes : left);
        at = end + -end % WAL_ALIGN;
    }
    return end;
}

static int too_odd(const struct wal_reader *r, struct kevo_err *err) {
    return kevo_fail(err, KEVO_CORRUPT,
                     "%s: the record at offset %llu is damaged, and behind it are headers of more "
                     "records than a crash could leave",
                     r->path, (unsigned long long)r->at);
}

/* There is no valid record at r->at. Is that the end of the log, or is something
 * damaged that had been synced? What lies behind may be of the file's former life: its
 * records are of older batches, and not sealed with this segment's salt. Only forged headers lead to
 * many payloads, one over the other: hashing them must not take for ever. */
static int end_of_log(struct wal_reader *r, struct kevo_err *err) {
    uint64_t hashed = 0;
    r->torn_bytes = torn_end(r) - r->at;
    for (uint64_t at = wal_sector_end(r->at); at < r->size; at += WAL_SECTOR) {
        struct wal_record_header h;
        if (!header_at(r, at, &h) || !h.synced_before || h.commit.batch <= r->last.batch ||
            h.previous.batch < r->last.batch || h.previous.batch == 0)
            continue;
        if (h.payload_bytes <= r->size - at &&
            (hashed += h.payload_bytes) > SEARCH_FACTOR * r->size)
            return too_odd(r, err);
        if (record_at(r, at, &h))
            return kevo_fail(err, KEVO_CORRUPT,
                             "%s: the record at offset %llu is damaged, though batch %llu behind "
                             "it was written after it had been synced",
                             r->path, (unsigned long long)r->at,
                             (unsigned long long)h.commit.batch);
    }
    return KEVO_NOTFOUND;
}

/* Find the record after the last one: close behind it, or, when that had been synced
 * first, in the next sector. What lies between is the trace of a crash, if anything. */
static bool find_next(const struct wal_reader *r, uint64_t *at, struct wal_record_header *h) {
    *at = r->at;
    if (record_at(r, *at, h)) return true;
    *at = wal_sector_end(r->at);
    return *at > r->at && record_at(r, *at, h) && h->synced_before && follows(r, h);
}

/* Hand out the record at `at`, and go behind it. */
static void take_record(struct wal_reader *r, uint64_t at, const struct wal_record_header *h,
                        struct wal_record *record) {
    uint64_t bytes = WAL_RECORD_HEADER_BYTES + h->payload_bytes;
    bytes += -bytes % WAL_ALIGN;
    *record = (struct wal_record){
        .type = h->type,
        .commit = h->commit,
        .payload = slice_of(r->data + at + WAL_RECORD_HEADER_BYTES, h->payload_bytes),
        .offset = at,
        .end = at + bytes,
        .link = {h->commit.batch, h->checksum},
    };
    /* The padding of the last record may be missing where the file was cut. */
    r->at = record->end < r->size ? record->end : r->size;
    r->last = record->link;
}

int wal_reader_next(struct wal_reader *r, struct wal_record *record, struct kevo_err *err) {
    struct wal_record_header h;
    uint64_t at;
    if (!find_next(r, &at, &h)) return end_of_log(r, err);
    if (!follows(r, &h))
        return kevo_fail(err, KEVO_CORRUPT,
                         "%s: the record at offset %llu (batch %llu) does not follow batch %llu",
                         r->path, (unsigned long long)at, (unsigned long long)h.commit.batch,
                         (unsigned long long)r->last.batch);
    if (h.strange) /* and not torn: its checksum is right */
        return kevo_fail(err, KEVO_CORRUPT, "%s: the record at offset %llu is of no known kind",
                         r->path, (unsigned long long)at);
    take_record(r, at, &h, record);
    return 0;
}

int wal_reader_salvage(struct wal_reader *r, struct wal_record *record, bool *follows_last) {
    uint64_t at = (r->at + WAL_ALIGN - 1) / WAL_ALIGN * WAL_ALIGN;
    for (; at <= r->size && r->size - at >= WAL_RECORD_HEADER_BYTES; at += WAL_ALIGN) {
        struct wal_record_header h;
        if (!header_at(r, at, &h) || h.strange || h.commit.batch <= r->last.batch) continue;
        if (h.payload_bytes <= r->size - at &&
            (r->searched += h.payload_bytes) > SEARCH_FACTOR * r->size)
            break;
        if (!record_at(r, at, &h)) continue;
        *follows_last = follows(r, &h);
        take_record(r, at, &h, record);
        return 0;
    }
    return KEVO_NOTFOUND;
}

int wal_identity(struct env *env, const char *dir, uint64_t number, uint8_t uuid[16],
                 struct kevo_err *err) {
    char name[WAL_NAME_BYTES], path[ENV_PATH_MAX];
    uint8_t bytes[WAL_SEGMENT_HEADER_BYTES];
    struct wal_segment_header h;
    struct env_file *file = NULL;
    size_t got = 0;
    wal_segment_name(name, number);
    int rc = env_join(path, dir, name, err);
    if (rc == 0) rc = env->open(env, path, ENV_READ, 0, &file, err);
    if (rc == 0) rc = env->read(env, file, 0, bytes, sizeof bytes, &got, err);
    env->close(env, file);
    if (rc) return rc;
    if (got == sizeof bytes) rc = wal_decode_segment_header(bytes, &h, path, err);
    if (rc) return rc;
    if (got < sizeof bytes || h.number != number)
        return kevo_fail(err, KEVO_CORRUPT, "%s: the header is damaged", path);
    memcpy(uuid, h.uuid, sizeof h.uuid);
    return 0;
}

void wal_reader_close(struct wal_reader *r) {
    if (!r) return;
    file_bytes_release(&r->file, r->env);
    mem_free(r->path);
    mem_free(r);
}
