/* A copy of the store as of one moment, made while it is in use.
 *
 * Tables never change, so the copy shares them: hard links. The log grows and its files
 * may be used again for other segments, so its bytes are copied, up to the end of what
 * belongs to that moment. The manifest, written last, makes a store of it.
 *
 * What belongs to the moment is found with all locks held, in a few calls; the work
 * follows without them. Meanwhile a reference keeps the tables, and a hold the log. */
#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/store/dir.h"
#include "engine/store/store.h"

enum { COPY_BYTES = 256 << 10 };

struct checkpoint {
    kevo_store *store;
    const char *dir;
    struct superversion *sv;
    struct manifest_state state;
    bool holds_log;
    struct wal_reader *segments[MAX_MEMTABLES + 1];
    unsigned segment_count;
    uint64_t last_batch;      /* the last record that belongs to the copy */
    struct borrowed borrowed; /* a copy of the store's */
    bool cannot_link;         /* found out once */
};

/* ---- the moment ----------------------------------------------------------------- */

/* The segments from the floor on, opened: the last one may grow further. */
static int open_segments(struct checkpoint *c, uint64_t last, struct kevo_err *err) {
    kevo_store *s = c->store;
    for (uint64_t number = c->state.wal_floor; last && number <= last; number++) {
        if (c->segment_count == MAX_MEMTABLES + 1)
            return kevo_fail(err, KEVO_CORRUPT, "%s: there are too many log segments", s->dir);
        int rc = wal_reader_open(s->env, s->dir, number, c->state.uuid,
                                 &c->segments[c->segment_count], err);
        if (rc > 0)
            return kevo_fail(err, KEVO_CORRUPT, "%s: log segment %llu is missing or damaged",
                             s->dir, (unsigned long long)number);
        if (rc) return rc;
        c->segment_count++;
    }
    return 0;
}

/* Whose commits are its own has nothing in the copy that may still be cut. An external
 * authority decides in the copy as it does here, so all that may be committed goes along. */
static uint64_t last_record(const kevo_store *s) {
    if (s->options.authority == KEVO_AUTHORITY_SELF) return s->committed.batch;
    return s->wal ? s->wal->last.batch : s->tail.last.batch;
}

/* Needs write_mutex and manifest_mutex. */
static int take_moment(struct checkpoint *c, struct kevo_err *err) {
    kevo_store *s = c->store;
    c->state = s->state;
    c->state.options = c->state.owner = (struct buf){0};
    version_ref(c->state.version);
    bool copied = buf_set(&c->state.options, buf_slice(&s->state.options)) &&
                  buf_set(&c->state.owner, buf_slice(&s->state.owner));
    /* Tables that a log record names may not be in the manifest yet. */
    c->state.next_file = atomic_load(&s->next_file);
    pthread_mutex_lock(&s->mutex);
    c->sv = s->current;
    atomic_fetch_add_explicit(&c->sv->refs, 1, memory_order_relaxed);
    c->last_batch = last_record(s);
    if (s->log_holds++ == 0) s->held_from = c->state.wal_floor;
    pthread_mutex_unlock(&s->mutex);
    c->holds_log = true;
    c->borrowed.offset = s->borrowed.offset;
    copied = copied && buf_set(&c->borrowed.bytes, buf_slice(&s->borrowed.bytes));
    if (!copied) return kevo_nomem(err);
    return open_segments(c, s->wal ? s->wal->number : s->tail.number, err);
}

static int begin(struct checkpoint *c, struct kevo_err *err) {
    kevo_store *s = c->store;
    int rc;
    pthread_mutex_lock(&s->write_mutex);
    pthread_mutex_lock(&s->manifest_mutex);
    if (s->wal) wal_drop_sync(s->wal); /* which may be one that fails */
    if (s->wal && s->wal->failed)
        rc = kevo_fail(err, KEVO_READONLY,
                       "%s: an earlier write or sync of the log failed; the store must be opened "
                       "again before it is copied",
                       s->dir);
    else
        rc = take_moment(c, err);
    pthread_mutex_unlock(&s->manifest_mutex);
    pthread_mutex_unlock(&s->write_mutex);
    return rc;
}

bool store_segment_is_held(kevo_store *s, uint64_t number) {
    pthread_mutex_lock(&s->mutex);
    bool held = s->log_holds > 0 && number >= s->held_from;
    pthread_mutex_unlock(&s->mutex);
    return held;
}

/* The last one removes what the flusher had to leave. */
static void release_log(kevo_store *s) {
    pthread_mutex_lock(&s->manifest_mutex);
    uint64_t floor = s->state.wal_floor;
    pthread_mutex_lock(&s->mutex);
    bool last = --s->log_holds == 0;
    uint64_t from = s->held_from;
    pthread_mutex_unlock(&s->mutex);
    pthread_mutex_unlock(&s->manifest_mutex);
    for (uint64_t number = from; last && number < floor; number++)
        store_remove_segment(s, number);
}

static void end(struct checkpoint *c) {
    for (unsigned i = 0; i < c->segment_count; i++)
        wal_reader_close(c->segments[i]);
    if (c->holds_log) release_log(c->store);
    superversion_release(c->sv);
    manifest_state_release(&c->state);
    buf_release(&c->borrowed.bytes);
}

/* ---- files ------------------------------------------------------------------------ */

static int create_file(struct checkpoint *c, const char *name, struct env_file **file,
                       struct kevo_err *err) {
    char path[ENV_PATH_MAX];
    struct env *env = c->store->env;
    *file = NULL;
    int rc = env_join(path, c->dir, name, err);
    if (rc) return rc;
    return env->open(env, path, ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, c->store->options.file_mode,
                     file, err);
}

static int copy_bytes(struct env *env, struct env_file *from, struct env_file *to, uint8_t *chunk,
                      struct kevo_err *err) {
    size_t got;
    for (uint64_t at = 0;; at += got) {
        int rc = env->read(env, from, at, chunk, COPY_BYTES, &got, err);
        if (rc == 0 && got > 0) rc = env->write(env, to, at, chunk, got, err);
        if (rc || got == 0) return rc;
    }
}

static int copy_file(struct checkpoint *c, const char *path, const char *name,
                     struct kevo_err *err) {
    struct env *env = c->store->env;
    struct env_file *from = NULL, *to = NULL;
    uint8_t *chunk = mem_alloc(COPY_BYTES);
    int rc = chunk ? env->open(env, path, ENV_READ, 0, &from, err) : kevo_nomem(err);
    if (rc == 0) rc = create_file(c, name, &to, err);
    if (rc == 0) rc = copy_bytes(env, from, to, chunk, err);
    if (rc == 0) rc = env->sync(env, to, err);
    env->close(env, to);
    env->close(env, from);
    mem_free(chunk);
    return rc;
}

static int share_table(struct checkpoint *c, uint64_t number, struct kevo_err *err) {
    char name[TABLE_NAME_BYTES], from[ENV_PATH_MAX], to[ENV_PATH_MAX];
    struct env *env = c->store->env;
    table_file_name(name, number);
    int rc = env_join(from, c->store->dir, name, err);
    if (rc == 0) rc = env_join(to, c->dir, name, err);
    if (rc) return rc;
    if (!c->cannot_link) {
        rc = env->link(env, from, to, err);
        if (rc != KEVO_INVALID) return rc;
        c->cannot_link = true;
    }
    return copy_file(c, from, name, err);
}

static int share_tables(struct checkpoint *c, struct kevo_err *err) {
    int rc = 0;
    for (unsigned level = 0; level < KEVO_MAX_LEVELS; level++) {
        const struct level *l = &c->sv->version->levels[level];
        for (size_t i = 0; rc == 0 && i < l->count; i++)
            rc = share_table(c, l->files[i]->number, err);
    }
    return rc;
}

/* Read up to the end of what belongs to the copy: records may follow, one may just be
 * written. */
static int walk_segment(const struct checkpoint *c, unsigned i, struct kevo_err *err) {
    struct wal_reader *r = c->segments[i];
    struct wal_record record;
    bool is_last = i + 1 == c->segment_count;
    int rc = 0;
    while (rc == 0 && (!is_last || r->last.batch < c->last_batch))
        rc = wal_reader_next(r, &record, err);
    if (rc < 0) return rc;
    uint64_t wanted = is_last ? c->last_batch : c->segments[i + 1]->before.batch;
    if (is_last && c->borrowed.bytes.len) return 0; /* which begins where the reader stopped */
    if (rc == 0 || r->last.batch == wanted) return 0;
    return kevo_fail(err, KEVO_CORRUPT, "%s: the record at offset %llu is damaged", r->path,
                     (unsigned long long)r->at);
}

/* What a reader has put back in memory goes to its place in the copy. It ends with the last
 * record there is; between the end on disk and its beginning may be bytes without meaning. */
static int copy_borrowed(struct checkpoint *c, unsigned i, struct env_file *file,
                         struct kevo_err *err) {
    struct env *env = c->store->env;
    if (i + 1 < c->segment_count || c->borrowed.bytes.len == 0) return 0;
    return env->write(env, file, c->borrowed.offset, c->borrowed.bytes.data, c->borrowed.bytes.len,
                      err);
}

static int copy_segment(struct checkpoint *c, unsigned i, struct kevo_err *err) {
    char name[WAL_NAME_BYTES];
    struct env *env = c->store->env;
    struct env_file *file = NULL;
    struct wal_reader *r = c->segments[i];
    wal_segment_name(name, c->state.wal_floor + i);
    int rc = walk_segment(c, i, err);
    if (rc == 0) rc = create_file(c, name, &file, err);
    if (rc == 0) rc = env->write(env, file, 0, r->data, (size_t)r->at, err);
    if (rc == 0) rc = copy_borrowed(c, i, file, err);
    if (rc == 0) rc = env->sync(env, file, err);
    env->close(env, file);
    return rc;
}

static int write_manifest(const struct checkpoint *c, struct kevo_err *err) {
    struct table_home home = {c->store->env, c->dir, NULL, NULL};
    struct manifest *m;
    int rc = home.env->sync_dir(home.env, c->dir, err); /* the names before what relies on them */
    if (rc) return rc;
    rc = manifest_create(&home, &c->state, c->store->options.file_mode, &m, err);
    manifest_close(m);
    return rc;
}

static int copy_store(struct checkpoint *c, struct kevo_err *err) {
    int rc = begin(c, err);
    if (rc == 0) rc = share_tables(c, err);
    for (unsigned i = 0; rc == 0 && i < c->segment_count; i++)
        rc = copy_segment(c, i, err);
    if (rc == 0) rc = write_manifest(c, err);
    end(c);
    return rc;
}

int kevo_checkpoint(kevo_store *store, const char *dir, struct kevo_err *err) {
    struct checkpoint c = {.store = store, .dir = dir};
    struct dir_build build;
    int rc = store_check_process(store, err);
    if (rc) return rc;
    rc = dir_build_begin(&build, store->env, dir, store->options.file_mode, err);
    if (rc == 0) rc = copy_store(&c, err);
    return dir_build_end(&build, rc);
}
