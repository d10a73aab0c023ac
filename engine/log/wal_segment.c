/* The files of the log: how segments come and go. */
#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/log/wal.h"

#include <stdio.h>
#include <string.h>

static int path_of(char path[ENV_PATH_MAX], const char *dir, uint64_t number, bool spare,
                   struct kevo_err *err) {
    char name[WAL_NAME_BYTES];
    if (spare)
        wal_spare_name(name, number);
    else
        wal_segment_name(name, number);
    return env_join(path, dir, name, err);
}

/* A writer of segment `number`, which is the file at `from` for now. */
static int writer_new(struct env *env, const char *dir, uint64_t number, const char *from,
                      unsigned flags, unsigned mode, struct wal_writer **out,
                      struct kevo_err *err) {
    char path[ENV_PATH_MAX];
    *out = NULL;
    int rc = path_of(path, dir, number, false, err);
    if (rc) return rc;
    struct wal_writer *w = mem_zalloc(sizeof *w);
    if (!w) return kevo_nomem(err);
    w->env = env;
    w->number = number;
    w->path = mem_strdup(path);
    rc = w->path ? env->open(env, from ? from : path, flags, mode, &w->file, err) : kevo_nomem(err);
    if (rc) {
        mem_free(w->path);
        mem_free(w);
        return rc;
    }
    *out = w;
    return 0;
}

/* "000007.unsynced" for the path of segment 7. */
static int unsynced_path(char path[ENV_PATH_MAX], const char *segment, struct kevo_err *err) {
    int stem = (int)(strlen(segment) - strlen(".wal"));
    int len = snprintf(path, ENV_PATH_MAX, "%.*s.unsynced", stem, segment);
    return len < ENV_PATH_MAX ? 0 : kevo_fail(err, KEVO_CANTOPEN, "%s: too long", segment);
}

void wal_fail(struct wal_writer *w) {
    w->failed = true;
    wal_mark_unsynced(w);
}

void wal_mark_unsynced(struct wal_writer *w) {
    char path[ENV_PATH_MAX];
    struct env_file *mark;
    if (unsynced_path(path, w->path, NULL)) return;
    if (w->env->open(w->env, path, ENV_WRITE | ENV_CREATE, 0600, &mark, NULL) == 0)
        w->env->close(w->env, mark);
}

/* The first `end` bytes of a file, as many as there are, into a new one, durably. */
static int copy_durably(struct env *env, const char *from, const char *to, uint64_t end,
                        unsigned mode, struct kevo_err *err) {
    struct env_file *in = NULL, *out = NULL;
    const uint8_t *data = NULL;
    uint64_t size = 0;
    int rc = env->open(env, from, ENV_READ, 0, &in, err);
    if (rc == 0) rc = env->size(env, in, &size, err);
    if (rc == 0) rc = env->map(env, in, size, &data, err);
    if (rc == 0)
        rc = env->open(env, to, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, mode, &out, err);
    if (rc == 0) rc = env->write(env, out, 0, data, (size_t)(end < size ? end : size), err);
    if (rc == 0) rc = env->sync(env, out, err);
    if (data) env->unmap(env, data, size);
    env->close(env, out);
    env->close(env, in);
    return rc;
}

int wal_renew(struct env *env, const char *dir, uint64_t number, uint64_t end, unsigned mode,
              struct kevo_err *err) {
    char path[ENV_PATH_MAX], spare[ENV_PATH_MAX], mark[ENV_PATH_MAX];
    struct env_stat st;
    int rc = path_of(path, dir, number, false, err);
    if (rc == 0) rc = path_of(spare, dir, number, true, err);
    if (rc == 0) rc = unsynced_path(mark, path, err);
    if (rc == 0) rc = env->stat(env, mark, &st, err);
    if (rc) return rc == KEVO_NOTFOUND ? 0 : rc;
    rc = copy_durably(env, path, spare, end, mode, err);
    if (rc == 0) rc = env->rename(env, spare, path, err);
    if (rc == 0) rc = env->sync_dir(env, dir, err);
    return rc ? rc : env->unlink(env, mark, err);
}

static void writer_free(struct wal_writer *w) {
    wal_drop_sync(w);
    buf_release(&w->recent);
    w->env->close(w->env, w->file);
    mem_free(w->path);
    mem_free(w);
}

static int write_header(struct wal_writer *w, const uint8_t uuid[16], struct wal_link last,
                        struct kevo_err *err) {
    struct wal_segment_header h = {.number = w->number, .before = last};
    uint8_t bytes[WAL_SEGMENT_HEADER_BYTES];
    memcpy(h.uuid, uuid, sizeof h.uuid);
    int rc = w->env->random(w->env, &h.salt, sizeof h.salt, err);
    if (rc) return rc;
    wal_encode_segment_header(bytes, &h);
    rc = w->env->write(w->env, w->file, 0, bytes, sizeof bytes, err);
    if (rc == 0) rc = w->env->sync(w->env, w->file, err);
    if (rc == 0) rc = w->env->size(w->env, w->file, &w->allocated, err);
    w->salt = h.salt;
    w->offset = w->synced = w->started = wal_sector_end(WAL_SEGMENT_HEADER_BYTES);
    w->written = w->allocated; /* of a spare, mostly */
    w->last = last;
    return rc;
}

/* Take back a name that a segment may have got, though not durably. Were it found after a
 * crash, the segment would seem to follow a record that its predecessor had long gone
 * past. */
static int take_name_back(const struct wal_writer *w, const char *dir, int rc,
                          struct kevo_err *err) {
    struct kevo_err cause;
    struct env_stat st;
    int failed = w->env->stat(w->env, w->path, &st, &cause);
    if (failed == 0) failed = w->env->unlink(w->env, w->path, &cause);
    if (failed >= 0) failed = w->env->sync_dir(w->env, dir, &cause);
    if (failed == 0) return rc;
    return kevo_fail(err, KEVO_READONLY, "%.200s: no log segment could be made nor removed: %.200s",
                     w->path, cause.msg);
}

/* The file at `from` becomes the segment. It is opened anew: errors name files as they
 * were called when they were opened. */
static int name_segment(struct wal_writer *w, const char *dir, const char *from,
                        struct kevo_err *err) {
    struct env *env = w->env;
    struct env_file *named = NULL;
    int rc = env->rename(env, from, w->path, err);
    if (rc == 0) rc = env->sync_dir(env, dir, err);
    if (rc == 0) rc = env->open(env, w->path, ENV_READ | ENV_WRITE | ENV_LOG, 0, &named, err);
    if (rc) return take_name_back(w, dir, rc, err);
    env->close(env, w->file);
    w->file = named;
    return 0;
}

int wal_create(struct env *env, const char *dir, uint64_t number, uint64_t spare,
               const uint8_t uuid[16], struct wal_link last, unsigned file_mode,
               struct wal_writer **out, struct kevo_err *err) {
    char from[ENV_PATH_MAX];
    struct wal_writer *w;
    struct kevo_err ignored;
    *out = NULL;
    int rc = path_of(from, dir, spare ? spare : number, true, err);
    if (rc) return rc;
    unsigned flags = ENV_READ | ENV_WRITE | (spare ? 0 : ENV_CREATE | ENV_TRUNCATE);
    rc = writer_new(env, dir, number, from, flags, file_mode, &w, err);
    if (rc) {
        env->unlink(env, from, &ignored);
        return rc;
    }
    rc = write_header(w, uuid, last, err);
    if (rc == 0) rc = name_segment(w, dir, from, err);
    if (rc) {
        env->unlink(env, from, &ignored);
        writer_free(w);
        return rc;
    }
    *out = w;
    return 0;
}

int wal_reopen(struct env *env, const char *dir, uint64_t number, uint64_t salt,
               struct wal_writer **out, struct kevo_err *err) {
    int rc = writer_new(env, dir, number, NULL, ENV_READ | ENV_WRITE | ENV_LOG, 0, out, err);
    if (rc == 0) (*out)->salt = salt;
    return rc;
}

void wal_trim(struct wal_writer *w) {
    struct kevo_err ignored;
    wal_drop_sync(w);
    if (!w->failed && w->allocated > w->offset &&
        w->env->truncate(w->env, w->file, w->offset, &ignored) == 0)
        w->allocated = w->written = w->offset;
}

void wal_close(struct wal_writer *w) {
    if (w) wal_trim(w);
    wal_close_full(w);
}

void wal_close_full(struct wal_writer *w) {
    if (w) writer_free(w);
}

bool wal_retire(struct env *env, const char *dir, uint64_t number, uint64_t most_bytes) {
    char path[ENV_PATH_MAX], spare[ENV_PATH_MAX];
    struct kevo_err ignored;
    struct env_stat st;
    if (path_of(path, dir, number, false, &ignored) || path_of(spare, dir, number, true, &ignored))
        return false;
    if (most_bytes && env->stat(env, path, &st, &ignored) == 0 && st.size_bytes <= most_bytes &&
        env->rename(env, path, spare, &ignored) == 0)
        return true;
    env->unlink(env, path, &ignored);
    return false;
}

void wal_remove_spare(struct env *env, const char *dir, uint64_t number) {
    char path[ENV_PATH_MAX];
    struct kevo_err ignored;
    if (path_of(path, dir, number, true, &ignored) == 0) env->unlink(env, path, &ignored);
}
