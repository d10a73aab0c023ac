#include "engine/log/wal.h"

#include "engine/base/alloc.h"
#include "engine/base/error.h"

enum { FIRST_ALLOCATION = 64 << 10, MAX_ALLOCATION_STEP = 4 << 20 };

static int writer_new(struct env *env, const char *dir, uint64_t number, unsigned flags,
                      unsigned mode, struct wal_writer **out, struct kevo_err *err) {
    char name[WAL_NAME_BYTES], path[ENV_PATH_MAX];
    *out = NULL;
    wal_segment_name(name, number);
    int rc = env_join(path, dir, name, err);
    if (rc) return rc;
    struct wal_writer *w = mem_zalloc(sizeof *w);
    if (!w) return kevo_nomem(err);
    w->env = env;
    w->number = number;
    w->path = mem_strdup(path);
    rc = w->path ? env->open(env, path, flags, mode, &w->file, err) : kevo_nomem(err);
    if (rc) {
        mem_free(w->path);
        mem_free(w);
        return rc;
    }
    *out = w;
    return 0;
}

static void writer_free(struct wal_writer *w) {
    buf_release(&w->recent);
    w->env->close(w->env, w->file);
    mem_free(w->path);
    mem_free(w);
}

/* Take back a segment that could not be made whole. Were its name found after a crash, it
 * would seem to follow a record that the predecessor had long gone past. */
static int remove_again(const struct wal_writer *w, const char *dir, int rc, struct kevo_err *err) {
    struct kevo_err cause;
    int failed = w->env->unlink(w->env, w->path, &cause);
    if (failed == 0) failed = w->env->sync_dir(w->env, dir, &cause);
    if (failed == 0) return rc;
    return kevo_fail(err, KEVO_READONLY, "%.200s: no log segment could be made nor removed: %.200s",
                     w->path, cause.msg);
}

int wal_create(struct env *env, const char *dir, uint64_t number, const uint8_t uuid[16],
               struct wal_link last, unsigned file_mode, struct wal_writer **out,
               struct kevo_err *err) {
    struct wal_writer *w;
    *out = NULL;
    /* A crash may have left an unfinished segment of this number: it is empty. */
    int rc = writer_new(env, dir, number, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNCATE,
                        file_mode, &w, err);
    if (rc) return rc;
    struct wal_segment_header h = {.number = number, .before = last};
    uint8_t bytes[WAL_SEGMENT_HEADER_BYTES];
    memcpy(h.uuid, uuid, sizeof h.uuid);
    rc = env->random(env, &h.salt, sizeof h.salt, err);
    if (rc == 0) {
        wal_encode_segment_header(bytes, &h);
        rc = env->write(env, w->file, 0, bytes, sizeof bytes, err);
    }
    if (rc == 0) rc = env->sync(env, w->file, err);
    if (rc == 0) rc = env->sync_dir(env, dir, err);
    if (rc) {
        rc = remove_again(w, dir, rc, err);
        writer_free(w);
        return rc;
    }
    w->salt = h.salt;
    w->allocated = WAL_SEGMENT_HEADER_BYTES;
    w->offset = w->synced = wal_sector_end(WAL_SEGMENT_HEADER_BYTES);
    w->last = last;
    *out = w;
    return 0;
}

int wal_reopen(struct env *env, const char *dir, uint64_t number, uint64_t salt,
               struct wal_writer **out, struct kevo_err *err) {
    int rc = writer_new(env, dir, number, ENV_READ | ENV_WRITE, 0, out, err);
    if (rc == 0) (*out)->salt = salt;
    return rc;
}

/* Let the file reach `end`, in steps that grow with it, so that a small log stays
 * small and a long one seldom changes its size. */
static int ensure_allocated(struct wal_writer *w, uint64_t end, struct kevo_err *err) {
    if (end <= w->allocated) return 0;
    uint64_t step = w->allocated < FIRST_ALLOCATION ? FIRST_ALLOCATION : w->allocated;
    if (step > MAX_ALLOCATION_STEP) step = MAX_ALLOCATION_STEP;
    uint64_t want = w->allocated + step;
    if (want < end) want = end;
    int rc = w->env->allocate(w->env, w->file, want, err);
    if (rc == KEVO_FULL && want > end) rc = w->env->allocate(w->env, w->file, want = end, err);
    if (rc == 0) w->allocated = want;
    return rc;
}

/* After a write that failed: cut off what it may have left. */
static int undo_append(struct wal_writer *w, int rc) {
    struct kevo_err ignored;
    if (w->env->truncate(w->env, w->file, w->offset, &ignored) == 0)
        w->allocated = w->offset;
    else
        w->failed = true;
    return rc;
}

static int refuse(const struct wal_writer *w, struct kevo_err *err) {
    return kevo_fail(err, KEVO_READONLY,
                     "%s: an earlier write or sync failed; no more is written until the store is "
                     "opened again",
                     w->path);
}

int wal_append(struct wal_writer *w, enum wal_type type, struct kevo_commit commit,
               struct buf *record, struct kevo_err *err) {
    if (w->failed) return refuse(w, err);
    struct wal_record_header h = {
        .payload_bytes = record->len - WAL_RECORD_HEADER_BYTES,
        .commit = commit,
        .previous = w->last,
        .type = (uint8_t)type,
        .synced_before = w->synced == w->offset,
    };
    static const uint8_t zeros[WAL_ALIGN];
    size_t padding = -record->len % WAL_ALIGN;
    if (!buf_append(record, zeros, padding)) return kevo_nomem(err);
    wal_encode_record_header(record->data, &h, w->salt);
    int rc = ensure_allocated(w, w->offset + record->len, err);
    if (rc) return undo_append(w, rc);
    rc = w->env->write(w->env, w->file, w->offset, record->data, record->len, err);
    if (rc) return undo_append(w, rc);
    if (w->recent.len == w->offset - w->synced && w->recent.len + record->len <= WAL_RECENT_MAX)
        buf_append(&w->recent, record->data, record->len); /* without memory there is no copy */
    w->offset += record->len;
    w->last = (struct wal_link){commit.batch, h.checksum};
    return 0;
}

int wal_sync(struct wal_writer *w, struct kevo_err *err) {
    if (w->failed) return refuse(w, err);
    if (w->synced == w->offset) return 0;
    int rc = w->env->sync(w->env, w->file, err);
    if (rc) {
        w->failed = true;
        return rc;
    }
    w->offset = w->synced = wal_sector_end(w->offset);
    buf_reset(&w->recent);
    return 0;
}

bool wal_unsynced(const struct wal_writer *w, slice *bytes) {
    *bytes = buf_slice(&w->recent);
    return w->recent.len == w->offset - w->synced;
}

int wal_cut(struct wal_writer *w, uint64_t offset, struct wal_link last, struct kevo_err *err) {
    if (w->failed) return refuse(w, err);
    offset = wal_sector_end(offset);
    int rc = w->env->truncate(w->env, w->file, offset, err);
    if (rc == 0) rc = w->env->sync(w->env, w->file, err);
    if (rc) {
        w->failed = true;
        return rc;
    }
    w->offset = w->synced = w->allocated = offset;
    buf_reset(&w->recent);
    w->last = last;
    return 0;
}

void wal_close(struct wal_writer *w) {
    if (!w) return;
    struct kevo_err ignored;
    if (!w->failed && w->allocated > w->offset)
        w->env->truncate(w->env, w->file, w->offset, &ignored);
    writer_free(w);
}
