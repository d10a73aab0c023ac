#include "engine/tree/manifest.h"

#include <assert.h>
#include <inttypes.h>

#include "engine/base/alloc.h"
#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "engine/base/error.h"
#include "engine/tree/replay.h"

enum {
    FORMAT_VERSION = 1,
    HEADER_BYTES = 48,
    RECORD_HEADER_BYTES = 12, /* checksum, length; alone it is an end mark */
    SECTOR_BYTES = 512,       /* where records begin: an append touches no sector of another */
    REWRITE_MIN_BYTES = 64 << 10,
    REWRITE_FACTOR = 4,
    MAX_BYTES = 1 << 30
};

/* Bytes hashed in search of a sound record behind a bad one, before the damage is
 * taken for too odd to be a torn tail. */
#define SEARCH_BYTES ((uint64_t)256 << 20)

static const uint8_t magic[8] = "kevomani";

struct manifest {
    const struct table_home *home;
    char path[ENV_PATH_MAX], new_path[ENV_PATH_MAX];
    char mark_path[ENV_PATH_MAX]; /* of what says that a sync failed */
    unsigned file_mode;
    struct env_file *file;
    uint64_t salt;
    uint64_t end;        /* where the next record goes */
    uint64_t rewrite_at; /* an `end` beyond this calls for a rewrite */
    bool torn;           /* bytes without meaning follow `end` */
    bool unsynced;       /* ... nor what was read: a sync had failed */
    bool unnamed;        /* the file's name may not be durable: who gave it to it may be gone */
    bool refused;        /* what is on disk is not known any more */
    struct kevo_err cause;
};

/* ---- records ------------------------------------------------------------------ */

/* The seed ties a record to its file and its place: no stale bytes pass for it. */
static uint64_t record_checksum(const uint8_t *record, size_t payload_bytes, uint64_t salt,
                                uint64_t offset) {
    return checksum64(record + 8, 4 + payload_bytes, salt + offset);
}

static uint64_t sector_end(uint64_t offset) {
    return (offset + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
}

/* Fill up a last sector with zeros. */
static bool put_padding(struct buf *out) {
    static const uint8_t zeros[SECTOR_BYTES];
    return buf_append(out, zeros, sector_end(out->len) - out->len);
}

static void seal_record(uint8_t *record, size_t payload_bytes, uint64_t salt, uint64_t offset) {
    put_fixed32(record + 8, (uint32_t)payload_bytes);
    put_fixed64(record, record_checksum(record, payload_bytes, salt, offset));
}

/* Append to `out`, whole sectors so far, the record of an edit that will lie at
 * `offset`; nothing when the edit is empty. */
static int put_record(struct buf *out, const struct version_edit *e, uint64_t salt, uint64_t offset,
                      struct kevo_err *err) {
    static const uint8_t blank[RECORD_HEADER_BYTES];
    size_t start = out->len;
    if (!buf_append(out, blank, sizeof blank)) return kevo_nomem(err);
    int rc = edit_encode(e, out, err);
    if (rc) return rc;
    size_t payload_bytes = out->len - start - RECORD_HEADER_BYTES;
    if (payload_bytes == 0) {
        out->len = start;
        return 0;
    }
    if (offset + payload_bytes + 2 * SECTOR_BYTES > MAX_BYTES)
        return kevo_fail(err, KEVO_TOOBIG, "%zu bytes are too many for a record of a manifest",
                         payload_bytes);
    seal_record(out->data + start, payload_bytes, salt, offset);
    return put_padding(out) ? 0 : kevo_nomem(err);
}

/* A sector that holds an end mark. */
static void make_mark(uint8_t sector[SECTOR_BYTES], uint64_t salt, uint64_t offset) {
    memset(sector, 0, SECTOR_BYTES);
    seal_record(sector, 0, salt, offset);
}

/* The payload of the record at `offset`, if it is sound. */
static bool get_record(slice file, uint64_t offset, uint64_t salt, slice *payload) {
    if (offset > file.len || file.len - offset < RECORD_HEADER_BYTES) return false;
    const uint8_t *record = file.data + offset;
    uint32_t length = get_fixed32(record + 8);
    if (length > file.len - offset - RECORD_HEADER_BYTES) return false;
    if (get_fixed64(record) != record_checksum(record, length, salt, offset)) return false;
    *payload = slice_of(record + RECORD_HEADER_BYTES, length);
    return true;
}

/* Whether a sound record begins anywhere behind `offset`. */
static bool sound_record_behind(slice file, uint64_t offset, uint64_t salt) {
    uint64_t hashed = 0;
    while ((offset += SECTOR_BYTES) < file.len && hashed < SEARCH_BYTES) {
        slice payload;
        if (get_record(file, offset, salt, &payload)) return true;
        if (file.len - offset < RECORD_HEADER_BYTES) continue;
        uint32_t length = get_fixed32(file.data + offset + 8);
        if (length <= file.len - offset) hashed += length;
    }
    return hashed >= SEARCH_BYTES;
}

void manifest_state_release(struct manifest_state *state) {
    version_unref(state->version);
    buf_release(&state->options);
    buf_release(&state->owner);
    *state = (struct manifest_state){0};
}

/* ---- a new file ---------------------------------------------------------------- */

static int state_to_edit(const struct manifest_state *state, struct version_edit *e,
                         struct kevo_err *err) {
    edit_init(e);
    e->has_next_file = e->has_wal_floor = e->has_flushed = e->has_committed = true;
    e->next_file = state->next_file;
    e->wal_floor = state->wal_floor;
    e->flushed = state->flushed;
    e->committed = state->committed;
    e->has_options = state->options.len > 0;
    e->has_owner = state->owner.len > 0;
    if (!buf_set(&e->options, buf_slice(&state->options)) ||
        !buf_set(&e->owner, buf_slice(&state->owner)))
        return kevo_nomem(err);
    e->has_ingested = state->ingested > 0;
    e->ingested = state->ingested;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        for (size_t i = 0; i < state->version->levels[l].count; i++) {
            int rc = edit_add_file(e, l, state->version->levels[l].files[i], err);
            if (rc) return rc;
        }
    return 0;
}

static int put_header(struct buf *out, const struct manifest_state *state, uint64_t salt,
                      struct kevo_err *err) {
    if (!buf_append(out, magic, sizeof magic) || !buf_put_fixed32(out, FORMAT_VERSION) ||
        !buf_put_fixed32(out, (uint32_t)state->authority) ||
        !buf_append(out, state->uuid, sizeof state->uuid) || !buf_put_fixed64(out, salt) ||
        !buf_put_fixed64(out, checksum64(out->data, out->len, 0)))
        return kevo_nomem(err);
    assert(out->len == HEADER_BYTES);
    return put_padding(out) ? 0 : kevo_nomem(err);
}

/* The whole file that states *state: header, one record, end mark. *end gets the
 * place of the mark. */
static int put_whole(struct buf *out, const struct manifest_state *state, uint64_t salt,
                     uint64_t *end, struct kevo_err *err) {
    struct version_edit e;
    uint8_t mark[SECTOR_BYTES];
    int rc = state_to_edit(state, &e, err);
    if (rc == 0) rc = put_header(out, state, salt, err);
    if (rc == 0) rc = put_record(out, &e, salt, SECTOR_BYTES, err);
    edit_release(&e);
    if (rc) return rc;
    *end = out->len;
    make_mark(mark, salt, *end);
    return buf_append(out, mark, sizeof mark) ? 0 : kevo_nomem(err);
}

struct fresh {
    struct env_file *file;
    uint64_t salt, end;
};

/* Write MANIFEST.new and sync it; after a failure it is gone again. */
static int write_new(struct manifest *m, const struct manifest_state *state, struct fresh *fresh,
                     struct kevo_err *err) {
    struct env *env = m->home->env;
    struct buf bytes = {0};
    *fresh = (struct fresh){0};
    int rc = env->random(env, &fresh->salt, sizeof fresh->salt, err);
    if (rc == 0) rc = put_whole(&bytes, state, fresh->salt, &fresh->end, err);
    if (rc) goto out;
    rc = env->open(env, m->new_path, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, m->file_mode,
                   &fresh->file, err);
    if (rc) goto out;
    rc = env->write(env, fresh->file, 0, bytes.data, bytes.len, err);
    if (rc == 0) rc = env->sync(env, fresh->file, err);
    if (rc) {
        env->close(env, fresh->file);
        env->unlink(env, m->new_path, NULL);
    }
out:
    buf_release(&bytes);
    return rc;
}

/* How far a log may grow whose header and first record end at `bytes`. */
static uint64_t rewrite_limit(uint64_t bytes) {
    uint64_t limit = bytes * REWRITE_FACTOR;
    if (limit < REWRITE_MIN_BYTES) limit = REWRITE_MIN_BYTES;
    return limit < MAX_BYTES / 2 ? limit : MAX_BYTES / 2;
}

/* Go on in the file that write_new() made. */
static void adopt(struct manifest *m, const struct fresh *fresh) {
    m->home->env->close(m->home->env, m->file);
    m->file = fresh->file;
    m->salt = fresh->salt;
    m->end = fresh->end;
    m->torn = false;
    m->rewrite_at = rewrite_limit(fresh->end);
}

static int manifest_new(const struct table_home *home, unsigned file_mode, struct manifest **m,
                        struct kevo_err *err) {
    *m = NULL;
    struct manifest *made = mem_zalloc(sizeof *made);
    if (!made) return kevo_nomem(err);
    made->home = home;
    made->file_mode = file_mode;
    int rc = env_join(made->path, home->dir, "MANIFEST", err);
    if (rc == 0) rc = env_join(made->new_path, home->dir, "MANIFEST.new", err);
    if (rc == 0) rc = env_join(made->mark_path, home->dir, "MANIFEST.unsynced", err);
    if (rc) {
        mem_free(made);
        return rc;
    }
    *m = made;
    return 0;
}

void manifest_close(struct manifest *m) {
    if (!m) return;
    m->home->env->close(m->home->env, m->file);
    mem_free(m);
}

int manifest_create(const struct table_home *home, const struct manifest_state *state,
                    unsigned file_mode, struct manifest **m, struct kevo_err *err) {
    struct env *env = home->env;
    struct manifest *made;
    struct fresh fresh;
    *m = NULL;
    int rc = manifest_new(home, file_mode, &made, err);
    if (rc) return rc;
    rc = write_new(made, state, &fresh, err);
    if (rc) goto out;
    adopt(made, &fresh);
    rc = env->rename(env, made->new_path, made->path, err);
    if (rc) {
        env->unlink(env, made->new_path, NULL);
        goto out;
    }
    rc = env->sync_dir(env, home->dir, err);
    if (rc) env->unlink(env, made->path, NULL);
out:
    if (rc)
        manifest_close(made);
    else
        *m = made;
    return rc;
}

/* ---- reading ------------------------------------------------------------------- */

/* Say in which file, and where, an error was found. */
static int locate(const struct manifest *m, uint64_t offset, int rc, struct kevo_err *err) {
    if (rc != KEVO_CORRUPT || !err) return rc;
    struct kevo_err inner = *err;
    return kevo_fail(err, rc, "%s: record at offset %" PRIu64 ": %.200s", m->path, offset,
                     inner.msg);
}

static int read_header(struct manifest *m, slice file, struct manifest_state *state,
                       struct kevo_err *err) {
    if (file.len < HEADER_BYTES)
        return kevo_fail(err, KEVO_CORRUPT, "%s: %zu bytes are too few for a manifest", m->path,
                         file.len);
    struct reader r = reader_of(slice_of(file.data, HEADER_BYTES));
    slice found = read_bytes(&r, sizeof magic);
    uint32_t format = read_fixed32(&r);
    uint32_t authority = read_fixed32(&r);
    slice uuid = read_bytes(&r, sizeof state->uuid);
    m->salt = read_fixed64(&r);
    if (!slice_eq(found, slice_of(magic, sizeof magic)))
        return kevo_fail(err, KEVO_CORRUPT, "%s: not a manifest", m->path);
    if (read_fixed64(&r) != checksum64(file.data, HEADER_BYTES - 8, 0))
        return kevo_fail(err, KEVO_CORRUPT, "%s: header: checksum differs", m->path);
    if (format > FORMAT_VERSION) return kevo_newer(err, m->path, format, FORMAT_VERSION);
    if (format != FORMAT_VERSION)
        return kevo_fail(err, KEVO_CORRUPT, "%s: header: unknown format version %" PRIu32, m->path,
                         format);
    if (authority != KEVO_AUTHORITY_SELF && authority != KEVO_AUTHORITY_EXTERNAL)
        return kevo_fail(err, KEVO_CORRUPT, "%s: header: unknown authority %" PRIu32, m->path,
                         authority);
    memcpy(state->uuid, uuid.data, sizeof state->uuid);
    state->authority = (int)authority;
    return 0;
}

/* Read all records; leaves m->end behind the last edit. */
static int read_records(struct manifest *m, slice file, struct replay *replay,
                        struct kevo_err *err) {
    slice payload;
    uint64_t mark_bytes = 0;
    m->end = SECTOR_BYTES;
    while (get_record(file, m->end, m->salt, &payload)) {
        struct version_edit e;
        if (payload.len == 0) {
            mark_bytes = SECTOR_BYTES;
            break;
        }
        int rc = edit_decode(payload, m->home, m->path, m->end, &e, err);
        if (rc) return rc;
        rc = replay_edit(replay, &e, err);
        edit_release(&e);
        if (rc) return locate(m, m->end, rc, err);
        bool first = m->end == SECTOR_BYTES;
        m->end = sector_end(m->end + RECORD_HEADER_BYTES + payload.len);
        if (first) m->rewrite_at = rewrite_limit(m->end);
    }
    /* The first record was synced before the file got its name, and each record
     * before the next was written: only what nothing follows may be torn. */
    if (m->end == SECTOR_BYTES || sound_record_behind(file, m->end, m->salt))
        return kevo_fail(err, KEVO_CORRUPT, "%s: record at offset %" PRIu64 " is damaged", m->path,
                         m->end);
    m->torn = file.len > m->end + mark_bytes;
    return 0;
}

static int take_state(const struct manifest *m, struct replay *replay, struct manifest_state *state,
                      struct kevo_err *err) {
    struct version_edit *n = &replay->numbers;
    if (!n->has_next_file || !n->has_wal_floor || !n->has_flushed || !n->has_committed)
        return kevo_fail(err, KEVO_CORRUPT, "%s: the first record is incomplete", m->path);
    int rc = replay_version(replay, &state->version, err);
    if (rc) return locate(m, SECTOR_BYTES, rc, err);
    state->next_file = n->next_file;
    state->wal_floor = n->wal_floor;
    state->flushed = n->flushed;
    state->committed = n->committed;
    state->options = n->options;
    n->options = (struct buf){0};
    state->owner = n->owner;
    n->owner = (struct buf){0};
    state->ingested = n->ingested;
    return 0;
}

static int read_file(struct manifest *m, struct buf *bytes, struct kevo_err *err) {
    struct env *env = m->home->env;
    uint64_t size;
    int rc = env->size(env, m->file, &size, err);
    if (rc) return rc;
    if (size > MAX_BYTES)
        return kevo_fail(err, KEVO_CORRUPT, "%s: %" PRIu64 " bytes are too many for a manifest",
                         m->path, size);
    if (!buf_reserve(bytes, (size_t)size)) return kevo_nomem(err);
    return env->read(env, m->file, 0, bytes->data, (size_t)size, &bytes->len, err);
}

static int look_for_mark(struct manifest *m, struct kevo_err *err) {
    struct env_stat st;
    int rc = m->home->env->stat(m->home->env, m->mark_path, &st, err);
    m->unsynced = rc == 0;
    return rc == KEVO_NOTFOUND ? 0 : rc;
}

static int open_and_read(const struct table_home *home, unsigned file_mode, unsigned flags,
                         struct manifest **m, struct manifest_state *state, struct kevo_err *err) {
    struct manifest *made;
    struct replay replay = {0};
    struct buf bytes = {0};
    *m = NULL;
    *state = (struct manifest_state){0};
    int rc = manifest_new(home, file_mode, &made, err);
    if (rc) return rc;
    rc = home->env->open(home->env, made->path, flags, 0, &made->file, err);
    if (rc == 0) rc = look_for_mark(made, err);
    if (rc == 0) rc = read_file(made, &bytes, err);
    if (rc == 0) rc = read_header(made, buf_slice(&bytes), state, err);
    if (rc == 0) rc = read_records(made, buf_slice(&bytes), &replay, err);
    if (rc == 0) rc = take_state(made, &replay, state, err);
    replay_release(&replay);
    buf_release(&bytes);
    if (rc) {
        manifest_close(made);
        manifest_state_release(state);
        return rc;
    }
    made->unnamed = true;
    *m = made;
    return 0;
}

int manifest_identity(const struct table_home *home, uint8_t uuid[16], int *authority,
                      struct kevo_err *err) {
    struct manifest *made;
    struct manifest_state state;
    uint8_t bytes[HEADER_BYTES];
    size_t got = 0;
    int rc = manifest_new(home, 0, &made, err);
    if (rc) return rc;
    rc = home->env->open(home->env, made->path, ENV_READ, 0, &made->file, err);
    if (rc == 0) rc = home->env->read(home->env, made->file, 0, bytes, sizeof bytes, &got, err);
    if (rc == 0) rc = read_header(made, slice_of(bytes, got), &state, err);
    manifest_close(made);
    if (rc) return rc;
    memcpy(uuid, state.uuid, sizeof state.uuid);
    *authority = state.authority;
    return 0;
}

int manifest_open(const struct table_home *home, unsigned file_mode, struct manifest **m,
                  struct manifest_state *state, struct kevo_err *err) {
    return open_and_read(home, file_mode, ENV_READ | ENV_WRITE, m, state, err);
}

int manifest_open_read_only(const struct table_home *home, unsigned file_mode, struct manifest **m,
                            struct manifest_state *state, struct kevo_err *err) {
    return open_and_read(home, file_mode, ENV_READ, m, state, err);
}

int manifest_make_writable(struct manifest *m, struct kevo_err *err) {
    struct env *env = m->home->env;
    struct env_file *file;
    int rc = env->open(env, m->path, ENV_READ | ENV_WRITE, 0, &file, err);
    if (rc) return rc;
    env->close(env, m->file);
    m->file = file;
    return 0;
}

/* ---- appending ------------------------------------------------------------------ */

/* What is on disk is in doubt: refuse everything from now on. */
static int refuse(struct manifest *m, const struct kevo_err *cause, struct kevo_err *err) {
    struct env *env = m->home->env;
    struct env_file *mark;
    if (!m->refused) {
        m->cause = *cause;
        m->refused = true;
        /* At best effort, and never synced: it is for who reads the same memory. */
        if (env->open(env, m->mark_path, ENV_WRITE | ENV_CREATE, m->file_mode, &mark, NULL) == 0)
            env->close(env, mark);
    }
    return kevo_fail(err, KEVO_READONLY, "%s: no more writes until it is opened again: %.300s",
                     m->path, m->cause.msg);
}

/* Written without a sync and without asking whether it worked: see manifest.h. */
static void write_mark(struct manifest *m) {
    uint8_t mark[SECTOR_BYTES];
    make_mark(mark, m->salt, m->end);
    m->torn = m->home->env->write(m->home->env, m->file, m->end, mark, sizeof mark, NULL) != 0;
}

/* A write failed half way: make sure that none of it counts. */
static int take_back(struct manifest *m, int rc, const struct kevo_err *cause,
                     struct kevo_err *err) {
    struct env *env = m->home->env;
    if (env->truncate(env, m->file, m->end, NULL) || env->sync(env, m->file, NULL))
        return refuse(m, cause, err);
    write_mark(m);
    if (err) *err = *cause;
    return rc;
}

static int write_record(struct manifest *m, slice record, struct kevo_err *err) {
    struct env *env = m->home->env;
    struct kevo_err cause = {0};
    int rc = 0;
    if (m->torn) rc = env->truncate(env, m->file, m->end, err);
    if (rc) return rc;
    m->torn = true;
    rc = env->write(env, m->file, m->end, record.data, record.len, &cause);
    if (rc) return take_back(m, rc, &cause, err);
    rc = env->sync(env, m->file, &cause);
    if (rc) return refuse(m, &cause, err);
    m->end += record.len;
    write_mark(m);
    return 0;
}

/* Go on in a new file under the name of the old one. Once the name may have changed, the
 * manifest is refused if that fails: its file is one of two. */
static int put_in_place(struct manifest *m, const struct fresh *fresh, struct kevo_err *err) {
    struct env *env = m->home->env;
    struct kevo_err cause = {0};
    adopt(m, fresh);
    int rc = env->rename(env, m->new_path, m->path, &cause);
    if (rc == 0) rc = env->sync_dir(env, m->home->dir, &cause);
    if (rc) return refuse(m, &cause, err);
    m->unnamed = false;
    return 0;
}

/* Replace the log by one that only states *state. A failure to write the new file
 * changes nothing and is tried again when the log has grown. */
static void rewrite(struct manifest *m, const struct manifest_state *state) {
    struct fresh fresh;
    if (write_new(m, state, &fresh, NULL))
        m->rewrite_at = m->end + REWRITE_MIN_BYTES;
    else
        put_in_place(m, &fresh, NULL);
}

/* After a sync that failed: the disk gets what was read. */
static int renew(struct manifest *m, const struct manifest_state *state, struct kevo_err *err) {
    struct fresh fresh;
    if (!m->unsynced) return 0;
    int rc = write_new(m, state, &fresh, err);
    if (rc == 0) rc = put_in_place(m, &fresh, err);
    if (rc) return rc;
    m->unsynced = false;
    m->home->env->unlink(m->home->env, m->mark_path, NULL); /* else it is done once more */
    return 0;
}

/* What is appended to a file whose name is lost is lost as well. */
static int sync_name(struct manifest *m, struct kevo_err *err) {
    struct kevo_err cause;
    if (!m->unnamed) return 0;
    if (m->home->env->sync_dir(m->home->env, m->home->dir, &cause)) return refuse(m, &cause, err);
    m->unnamed = false;
    return 0;
}

int manifest_sync(struct manifest *m, const struct manifest_state *state, struct kevo_err *err) {
    struct kevo_err cause;
    if (m->refused) return refuse(m, &m->cause, err);
    int rc = renew(m, state, err);
    if (rc) return rc;
    if (m->home->env->sync(m->home->env, m->file, &cause)) return refuse(m, &cause, err);
    m->unnamed = true; /* names of tables and segments may be lacking too */
    return sync_name(m, err);
}

static void swap(struct buf *a, struct buf *b) {
    struct buf old = *a;
    *a = *b;
    *b = old;
}

/* The edit's strings are in `options` and `owner` already, since copying them may fail. */
static void apply_fields(struct manifest_state *state, const struct version_edit *e,
                         struct buf *options, struct buf *owner) {
    if (e->has_next_file && e->next_file > state->next_file) state->next_file = e->next_file;
    if (e->has_wal_floor) state->wal_floor = e->wal_floor;
    if (e->has_flushed) state->flushed = e->flushed;
    if (e->has_committed) state->committed = e->committed;
    if (e->has_options) swap(&state->options, options);
    if (e->has_owner) swap(&state->owner, owner);
    if (e->has_ingested) state->ingested = e->ingested;
}

/* No file above the next number: what manifest_open() would refuse. */
static void check_edit(const struct version_edit *e, const struct manifest_state *state) {
    uint64_t next_file = state->next_file;
    if (e->has_next_file && e->next_file > next_file) next_file = e->next_file;
    for (size_t i = 0; i < e->added_count; i++)
        assert(e->added[i].file->number < next_file);
    (void)next_file;
}

int manifest_append(struct manifest *m, const struct version_edit *edit,
                    struct manifest_state *state, struct kevo_err *err) {
    struct version *next = NULL;
    struct buf record = {0}, options = {0}, owner = {0};
    int rc = 0;
    if (m->refused) return refuse(m, &m->cause, err);
    check_edit(edit, state);
    rc = renew(m, state, err);
    if (rc == 0) rc = sync_name(m, err);
    if (rc == 0) rc = version_apply(state->version, edit, &next, err);
    if (rc == 0 && (!buf_set(&options, buf_slice(&edit->options)) ||
                    !buf_set(&owner, buf_slice(&edit->owner))))
        rc = kevo_nomem(err);
    if (rc == 0) rc = put_record(&record, edit, m->salt, m->end, err);
    if (rc == 0 && record.len) rc = write_record(m, buf_slice(&record), err);
    if (rc == 0) {
        struct version *old = state->version;
        state->version = next;
        next = old;
        apply_fields(state, edit, &options, &owner);
        if (m->end > m->rewrite_at) rewrite(m, state);
    }
    version_unref(next);
    buf_release(&record);
    buf_release(&options);
    buf_release(&owner);
    return rc;
}
