#include "tests/lib/fault_env.h"

#include <pthread.h>
#include <stdlib.h>

#include "engine/base/error.h"

struct env_file {
    struct env_file *below;
    char path[];
};

struct fault_env {
    struct env env; /* first: the two pointers are one */
    struct env *below;
    pthread_mutex_t lock;
    struct fault_plan plan;
    uint64_t calls;
    bool hit;
};

static struct fault_env *self(struct env *env) {
    return (struct fault_env *)env;
}

static struct env *below(struct env *env) {
    return self(env)->below;
}

/* Count a call; true when it is to fail. */
static bool fails(struct env *env, unsigned kind, const char *path) {
    struct fault_env *e = self(env);
    const struct fault_plan *p = &e->plan;
    bool fail = false;
    pthread_mutex_lock(&e->lock);
    if ((p->kinds & kind) && (!p->path || (path && strstr(path, p->path)))) {
        e->calls++;
        fail = p->nth && (e->calls == p->nth || (p->for_good && e->calls > p->nth));
        if (fail) e->hit = true;
    }
    pthread_mutex_unlock(&e->lock);
    return fail;
}

static int refuse(struct env *env, const char *action, const char *path, struct kevo_err *err) {
    int rc = self(env)->plan.rc;
    return kevo_fail(err, rc ? rc : KEVO_IOERR, "cannot %s %.400s: told to fail", action,
                     path ? path : "");
}

/* ---- open files ---- */

static int fault_open(struct env *env, const char *path, unsigned flags, unsigned mode,
                      struct env_file **file, struct kevo_err *err) {
    *file = NULL;
    if (fails(env, FAULT_OPEN, path)) return refuse(env, "open", path, err);
    size_t path_bytes = strlen(path) + 1;
    struct env_file *f = malloc(sizeof *f + path_bytes);
    if (!f) abort();
    memcpy(f->path, path, path_bytes);
    int rc = below(env)->open(below(env), path, flags, mode, &f->below, err);
    if (rc == KEVO_OK)
        *file = f;
    else
        free(f);
    return rc;
}

static void fault_close(struct env *env, struct env_file *f) {
    if (!f) return;
    below(env)->close(below(env), f->below);
    free(f);
}

static int fault_read(struct env *env, struct env_file *f, uint64_t offset, void *data, size_t len,
                      size_t *got, struct kevo_err *err) {
    *got = 0;
    if (fails(env, FAULT_READ, f->path)) return refuse(env, "read", f->path, err);
    return below(env)->read(below(env), f->below, offset, data, len, got, err);
}

static int fault_write(struct env *env, struct env_file *f, uint64_t offset, const void *data,
                       size_t len, struct kevo_err *err) {
    bool fail = fails(env, FAULT_WRITE, f->path);
    if (fail && !self(env)->plan.partial_write) return refuse(env, "write", f->path, err);
    int rc = below(env)->write(below(env), f->below, offset, data, fail ? len / 2 : len, err);
    return fail ? refuse(env, "write all of", f->path, err) : rc;
}

static int fault_sync(struct env *env, struct env_file *f, struct kevo_err *err) {
    if (fails(env, FAULT_SYNC, f->path)) return refuse(env, "sync", f->path, err);
    return below(env)->sync(below(env), f->below, err);
}

static int fault_truncate(struct env *env, struct env_file *f, uint64_t size_bytes,
                          struct kevo_err *err) {
    if (fails(env, FAULT_TRUNCATE, f->path)) return refuse(env, "truncate", f->path, err);
    return below(env)->truncate(below(env), f->below, size_bytes, err);
}

static int fault_allocate(struct env *env, struct env_file *f, uint64_t size_bytes,
                          struct kevo_err *err) {
    if (fails(env, FAULT_ALLOCATE, f->path)) return refuse(env, "reserve space for", f->path, err);
    return below(env)->allocate(below(env), f->below, size_bytes, err);
}

static void fault_write_soon(struct env *env, struct env_file *f, uint64_t offset, uint64_t len) {
    below(env)->write_soon(below(env), f->below, offset, len);
}

static int fault_size(struct env *env, struct env_file *f, uint64_t *size_bytes,
                      struct kevo_err *err) {
    *size_bytes = 0;
    if (fails(env, FAULT_SIZE, f->path)) return refuse(env, "stat", f->path, err);
    return below(env)->size(below(env), f->below, size_bytes, err);
}

static int fault_map(struct env *env, struct env_file *f, uint64_t size_bytes, const uint8_t **data,
                     struct kevo_err *err) {
    *data = NULL;
    if (fails(env, FAULT_MAP, f->path)) return refuse(env, "map", f->path, err);
    return below(env)->map(below(env), f->below, size_bytes, data, err);
}

static void fault_unmap(struct env *env, const uint8_t *data, uint64_t size_bytes) {
    below(env)->unmap(below(env), data, size_bytes);
}

static void fault_advise(struct env *env, const uint8_t *data, size_t len, bool soon) {
    below(env)->advise(below(env), data, len, soon);
}

static int fault_lock(struct env *env, struct env_file *f, bool shared, struct kevo_err *err) {
    if (fails(env, FAULT_LOCK, f->path)) return refuse(env, "lock", f->path, err);
    return below(env)->lock(below(env), f->below, shared, err);
}

/* ---- names ---- */

static int fault_make_dir(struct env *env, const char *path, unsigned mode, struct kevo_err *err) {
    if (fails(env, FAULT_MAKE_DIR, path)) return refuse(env, "make directory", path, err);
    return below(env)->make_dir(below(env), path, mode, err);
}

static int fault_set_owner(struct env *env, const char *path, unsigned user, unsigned group,
                           struct kevo_err *err) {
    if (fails(env, FAULT_SET_OWNER, path)) return refuse(env, "give away", path, err);
    return below(env)->set_owner(below(env), path, user, group, err);
}

static int fault_remove_dir(struct env *env, const char *path, struct kevo_err *err) {
    if (fails(env, FAULT_REMOVE_DIR, path)) return refuse(env, "remove directory", path, err);
    return below(env)->remove_dir(below(env), path, err);
}

static int fault_sync_dir(struct env *env, const char *path, struct kevo_err *err) {
    if (fails(env, FAULT_SYNC_DIR, path)) return refuse(env, "sync directory", path, err);
    return below(env)->sync_dir(below(env), path, err);
}

static int fault_list(struct env *env, const char *path, int (*visit)(void *arg, const char *name),
                      void *arg, struct kevo_err *err) {
    if (fails(env, FAULT_LIST, path)) return refuse(env, "list", path, err);
    return below(env)->list(below(env), path, visit, arg, err);
}

static int fault_rename(struct env *env, const char *from, const char *to, struct kevo_err *err) {
    if (fails(env, FAULT_RENAME, from)) return refuse(env, "rename", from, err);
    return below(env)->rename(below(env), from, to, err);
}

static int fault_link(struct env *env, const char *from, const char *to, struct kevo_err *err) {
    if (fails(env, FAULT_LINK, to)) return refuse(env, "link", to, err);
    return below(env)->link(below(env), from, to, err);
}

static int fault_unlink(struct env *env, const char *path, struct kevo_err *err) {
    if (fails(env, FAULT_UNLINK, path)) return refuse(env, "remove", path, err);
    return below(env)->unlink(below(env), path, err);
}

static int fault_stat(struct env *env, const char *path, struct env_stat *st,
                      struct kevo_err *err) {
    *st = (struct env_stat){0};
    if (fails(env, FAULT_STAT, path)) return refuse(env, "stat", path, err);
    return below(env)->stat(below(env), path, st, err);
}

/* ---- clock, randomness, threads ---- */

static uint64_t fault_now_ns(struct env *env) {
    return below(env)->now_ns(below(env));
}

static uint64_t fault_now_us(struct env *env) {
    return below(env)->now_us(below(env));
}

static uint64_t fault_recent_us(struct env *env) {
    return below(env)->recent_us(below(env));
}

static void fault_sleep_us(struct env *env, uint64_t us) {
    below(env)->sleep_us(below(env), us);
}

static void fault_cond_wait_us(struct env *env, pthread_cond_t *cond, pthread_mutex_t *mutex,
                               uint64_t us) {
    below(env)->cond_wait_us(below(env), cond, mutex, us);
}

static int fault_random(struct env *env, void *data, size_t len, struct kevo_err *err) {
    if (fails(env, FAULT_RANDOM, NULL)) return refuse(env, "draw random bytes", NULL, err);
    return below(env)->random(below(env), data, len, err);
}

static unsigned fault_process_id(struct env *env) {
    return below(env)->process_id(below(env));
}

static int fault_thread_start(struct env *env, void (*run)(void *arg), void *arg,
                              struct env_thread **thread, struct kevo_err *err) {
    *thread = NULL;
    if (fails(env, FAULT_THREAD, NULL)) return refuse(env, "start a thread", NULL, err);
    return below(env)->thread_start(below(env), run, arg, thread, err);
}

static void fault_thread_join(struct env *env, struct env_thread *thread) {
    below(env)->thread_join(below(env), thread);
}

/* ---- making, planning ---- */

struct env *fault_env_new(struct env *wrapped) {
    struct fault_env *e = calloc(1, sizeof *e);
    if (!e) abort();
    e->below = wrapped;
    pthread_mutex_init(&e->lock, NULL);
    e->env = (struct env){
        .open = fault_open,
        .close = fault_close,
        .read = fault_read,
        .write = fault_write,
        .sync = fault_sync,
        .truncate = fault_truncate,
        .allocate = fault_allocate,
        .write_soon = fault_write_soon,
        .size = fault_size,
        .map = fault_map,
        .unmap = fault_unmap,
        .advise = fault_advise,
        .lock = fault_lock,
        .make_dir = fault_make_dir,
        .set_owner = fault_set_owner,
        .remove_dir = fault_remove_dir,
        .sync_dir = fault_sync_dir,
        .list = fault_list,
        .rename = fault_rename,
        .link = fault_link,
        .unlink = fault_unlink,
        .stat = fault_stat,
        .now_ns = fault_now_ns,
        .now_us = fault_now_us,
        .recent_us = fault_recent_us,
        .sleep_us = fault_sleep_us,
        .cond_wait_us = fault_cond_wait_us,
        .random = fault_random,
        .process_id = fault_process_id,
        .thread_start = fault_thread_start,
        .thread_join = fault_thread_join,
    };
    return &e->env;
}

void fault_env_free(struct env *env) {
    if (!env) return;
    pthread_mutex_destroy(&self(env)->lock);
    free(env);
}

void fault_env_plan(struct env *env, struct fault_plan plan) {
    struct fault_env *e = self(env);
    pthread_mutex_lock(&e->lock);
    e->plan = plan;
    e->calls = 0;
    e->hit = false;
    pthread_mutex_unlock(&e->lock);
}

bool fault_env_hit(struct env *env) {
    pthread_mutex_lock(&self(env)->lock);
    bool hit = self(env)->hit;
    pthread_mutex_unlock(&self(env)->lock);
    return hit;
}

uint64_t fault_env_calls(struct env *env) {
    pthread_mutex_lock(&self(env)->lock);
    uint64_t calls = self(env)->calls;
    pthread_mutex_unlock(&self(env)->lock);
    return calls;
}
