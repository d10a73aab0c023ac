#include "engine/store/opened.h"

#include "engine/base/error.h"
#include "engine/store/dir.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER; /* one was settled or removed */
static kevo_store *stores;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int watch_rc;

/* ---- fork() ---------------------------------------------------------------------- */

static void before_fork(void) {
    pthread_mutex_lock(&mutex);
}

static void in_parent(void) {
    pthread_mutex_unlock(&mutex);
}

/* What is open is the parent's, and who waits is its thread. */
static void in_child(void) {
    stores = NULL;
    changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pthread_mutex_unlock(&mutex);
}

static void watch(void) {
    watch_rc = pthread_atfork(before_fork, in_parent, in_child) == 0 ? 0 : KEVO_NOMEM;
}

/* ---- finding --------------------------------------------------------------------- */

/* Needs mutex. A store that is still to be made has no file yet. */
static int identify(struct env *env, const char *dir, struct opened *o, struct kevo_err *err) {
    char path[ENV_PATH_MAX];
    struct env_stat st;
    int rc = env_join(path, dir, dir_lock_name, err);
    if (rc == 0) rc = env->stat(env, path, &st, err);
    o->known = rc == 0;
    if (rc) return rc == KEVO_NOTFOUND ? 0 : rc;
    o->device = st.device;
    o->inode = st.inode;
    return 0;
}

/* The store that `o` is, or may turn out to be: one that is being made may be any. */
static kevo_store *find(const struct env *env, const struct opened *o) {
    for (kevo_store *s = stores; s; s = s->opened.next) {
        if (s->env != env) continue;
        if (!s->opened.known && !s->opened.settled) return s;
        if (o->known && s->opened.device == o->device && s->opened.inode == o->inode) return s;
    }
    return NULL;
}

int opened_enter(kevo_store *s, kevo_store **found, struct kevo_err *err) {
    int rc;
    *found = NULL;
    pthread_once(&once, watch);
    if (watch_rc) return kevo_nomem(err);
    pthread_mutex_lock(&mutex);
    while ((rc = identify(s->env, s->dir, &s->opened, err)) == 0) {
        *found = find(s->env, &s->opened);
        if (!*found || (*found)->opened.settled) break;
        pthread_cond_wait(&changed, &mutex);
    }
    if (rc == 0 && *found) {
        (*found)->opened.refs++;
        (*found)->opened.settled = false;
    } else if (rc == 0) {
        s->opened.refs = 1;
        s->opened.next = stores;
        stores = s;
    }
    pthread_mutex_unlock(&mutex);
    return rc;
}

int opened_identify(kevo_store *s, struct kevo_err *err) {
    pthread_mutex_lock(&mutex);
    int rc = identify(s->env, s->dir, &s->opened, err);
    pthread_mutex_unlock(&mutex);
    return rc;
}

void opened_settle(kevo_store *s) {
    pthread_mutex_lock(&mutex);
    s->opened.settled = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

bool opened_leave(kevo_store *s) {
    pthread_mutex_lock(&mutex);
    bool last = --s->opened.refs == 0;
    if (last) s->opened.settled = false;
    pthread_mutex_unlock(&mutex);
    return last;
}

void opened_remove(kevo_store *s) {
    pthread_mutex_lock(&mutex);
    kevo_store **p = &stores;
    while (*p != s)
        p = &(*p)->opened.next;
    *p = s->opened.next;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

bool kevo_is_open(const char *dir, const struct kevo_options *options) {
    struct env *env = options && options->env ? options->env : env_posix();
    struct opened o;
    pthread_mutex_lock(&mutex);
    bool open = identify(env, dir, &o, NULL) == 0 && o.known && find(env, &o);
    pthread_mutex_unlock(&mutex);
    return open;
}
