#include "engine/log/wal.h"

#include "engine/base/error.h"

enum { FIRST_ALLOCATION = 64 << 10, MAX_ALLOCATION_STEP = 4 << 20 };
enum { AHEAD_BYTES = 64 << 10, OFTEN_BYTES = 4 << 10 };

/* ---- records ---------------------------------------------------------------------- */

void wal_run_reset(struct wal_run *run, const struct wal_writer *w) {
    buf_reset(&run->bytes);
    run->last = w->last;
}

int wal_begin_record(struct wal_run *run, struct kevo_err *err) {
    if (!buf_reserve(&run->bytes, WAL_RECORD_HEADER_BYTES)) return kevo_nomem(err);
    run->begin = run->bytes.len;
    run->bytes.len += WAL_RECORD_HEADER_BYTES;
    return 0;
}

int wal_end_record(struct wal_run *run, const struct wal_writer *w, enum wal_type type,
                   struct kevo_commit commit, struct kevo_err *err) {
    static const uint8_t zeros[WAL_ALIGN];
    run->payload_bytes = run->bytes.len - run->begin - WAL_RECORD_HEADER_BYTES;
    struct wal_record_header h = {
        .payload_bytes = run->payload_bytes,
        .commit = commit,
        .previous = run->last,
        .type = (uint8_t)type,
        .synced_before = run->begin == 0 && w->synced == w->offset,
    };
    if (!buf_append(&run->bytes, zeros, -run->bytes.len % WAL_ALIGN)) return kevo_nomem(err);
    wal_encode_record_header(run->bytes.data + run->begin, &h, w->salt);
    run->last = (struct wal_link){commit.batch, h.checksum};
    return 0;
}

/* ---- appending -------------------------------------------------------------------- */

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

/* After a write that failed: cut off what it may have left, durably: a whole record that came
 * back after a power loss would be a batch that was said to have failed, or name tables that
 * are gone. */
static int undo_append(struct wal_writer *w, int rc) {
    struct kevo_err ignored;
    if (w->env->truncate(w->env, w->file, w->offset, &ignored) == 0 &&
        w->env->sync(w->env, w->file, &ignored) == 0)
        w->allocated = w->written = w->offset;
    else
        wal_fail(w);
    return rc;
}

static int refuse(const struct wal_writer *w, struct kevo_err *err) {
    const char *cause = w->cause.msg;
    return kevo_fail(err, KEVO_READONLY,
                     "%.200s: an earlier write or sync failed; no more is written until the store "
                     "is opened again%s%.200s",
                     w->path, *cause ? ": " : "", cause);
}

/* Wait for the syncer, which has been given something to do. */
static int end_begun(struct wal_writer *w) {
    struct syncer *syncer = w->syncer;
    w->syncer = NULL;
    return syncer_end(syncer, &w->cause);
}

void wal_drop_sync(struct wal_writer *w) {
    if (w->syncer && end_begun(w)) wal_fail(w);
}

/* The system tells of it once: whoever comes next, if this process is killed before it has asked the
 * syncer, must know. */
static void sync_has_failed(void *writer) {
    wal_mark_unsynced(writer);
}

static void write_soon(struct wal_writer *w) {
    w->env->write_soon(w->env, w->file, w->started, w->offset - w->started);
    w->started = w->offset;
}

int wal_append_run(struct wal_writer *w, const struct wal_run *run, struct kevo_err *err) {
    const struct buf *b = &run->bytes;
    wal_drop_sync(w);
    if (w->failed) return refuse(w, err);
    int rc = ensure_allocated(w, w->offset + b->len, err);
    if (rc == 0) rc = w->env->write(w->env, w->file, w->offset, b->data, b->len, err);
    if (rc) return undo_append(w, rc);
    if (w->recent.len == w->offset - w->synced && w->recent.len + b->len <= WAL_RECENT_MAX)
        buf_append(&w->recent, b->data, b->len); /* without memory there is no copy */
    w->offset += b->len;
    if (w->written < w->offset) w->written = w->offset;
    w->last = run->last;
    /* A log that is not synced for long would be written to the disk all at once in the end. */
    if (w->offset - w->started >= WAL_WRITE_SOON) write_soon(w);
    return 0;
}

void wal_start_sync(struct wal_writer *w, struct syncer *syncer) {
    slice ignored;
    if (w->failed || w->syncer || wal_unsynced(w, &ignored)) return;
    if (syncer && syncer_begin(syncer, w->file, sync_has_failed, w))
        w->syncer = syncer;
    else if (w->offset > w->started)
        write_soon(w);
}

/* Space that is allocated becomes written by metadata, which a sync has to wait for: that costs a log
 * of many small syncs more than zeros for a while to come, written along with one of them. It does
 * without where that fails. */
static void write_ahead(struct wal_writer *w) {
    static const uint8_t zeros[AHEAD_BYTES];
    uint64_t next = wal_sector_end(w->offset), from = w->written > next ? w->written : next;
    if (w->offset - w->synced > OFTEN_BYTES) return;
    if (from - next >= OFTEN_BYTES || from >= w->allocated) return;
    uint64_t len = w->allocated - from < AHEAD_BYTES ? w->allocated - from : AHEAD_BYTES;
    if (w->env->write(w->env, w->file, from, zeros, (size_t)len, NULL) == 0)
        w->written = from + len;
}

static int end_sync(struct wal_writer *w, struct kevo_err *err) {
    if (!w->syncer) {
        write_ahead(w);
        return w->env->sync(w->env, w->file, err);
    }
    int rc = end_begun(w);
    if (rc && err) *err = w->cause;
    return rc;
}

int wal_sync(struct wal_writer *w, struct kevo_err *err) {
    if (w->failed) return refuse(w, err);
    if (w->synced == w->offset) return 0;
    int rc = end_sync(w, err);
    if (rc) {
        wal_fail(w);
        return rc;
    }
    w->offset = w->synced = w->started = wal_sector_end(w->offset);
    buf_reset(&w->recent);
    return 0;
}

bool wal_unsynced(const struct wal_writer *w, slice *bytes) {
    *bytes = buf_slice(&w->recent);
    return w->recent.len == w->offset - w->synced;
}

int wal_cut(struct wal_writer *w, uint64_t offset, struct wal_link last, struct kevo_err *err) {
    wal_drop_sync(w);
    if (w->failed) return refuse(w, err);
    offset = wal_sector_end(offset);
    int rc = w->env->truncate(w->env, w->file, offset, err);
    if (rc == 0) rc = w->env->sync(w->env, w->file, err);
    if (rc) {
        wal_fail(w);
        return rc;
    }
    w->offset = w->synced = w->started = w->allocated = w->written = offset;
    buf_reset(&w->recent);
    w->last = last;
    return 0;
}
