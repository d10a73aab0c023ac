#include "ext/registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/base/fork.h"
#include "ext/durable.h"
#include "ext/world.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct shared_store *open_stores;
static unsigned opened_in; /* fork_generation() of open_stores */

/* In a child of fork() the list is the parent's business; start with an empty one. */
static void forget_parents_stores(void) {
    if (opened_in != fork_generation()) open_stores = NULL;
    opened_in = fork_generation();
}

static bool same_owner(struct store_owner a, struct store_owner b) {
    return a.device == b.device && a.inode == b.inode && a.connection == b.connection;
}

static struct shared_store *find(const kevo_store *store) {
    struct shared_store *s = open_stores;
    while (s && s->store != store)
        s = s->next;
    return s;
}

/* The name may have come to be another file's. */
int registry_make_durable(const struct shared_store *s, struct kevo_err *err) {
    struct env *env = world_env();
    struct env_stat st;
    int rc = env->stat(env, s->filename, &st, err);
    if (rc > 0 || (rc == 0 && (st.device != s->owner.device || st.inode != s->owner.inode)))
        return kevo_fail(err, KEVO_CANTOPEN, "%s: the database file was moved", s->filename);
    return rc ? rc : durable_database(s->filename, err);
}

/* What a store that settles asks for. */
static int make_durable(void *arg, struct kevo_err *err) {
    return registry_make_durable(arg, err);
}

static struct shared_store *shared_new(kevo_store *store, struct store_owner owner) {
    struct shared_store *s = mem_zalloc(sizeof *s);
    if (!s) return NULL;
    s->store = store;
    s->owner = owner;
    s->owner.filename = NULL;
    if (!owner.filename) return s;
    s->filename = mem_strdup(owner.filename);
    if (s->filename) {
        kevo_on_settle(store, make_durable, s);
        return s;
    }
    mem_free(s);
    return NULL;
}

static void shared_free(struct shared_store *s) {
    mem_free(s->filename);
    mem_free(s);
}

/* Enter a store that was just opened, with one reference that is taken over. */
static int enter(const char *dir, kevo_store *store, struct store_owner owner,
                 struct shared_store **shared, struct kevo_err *err) {
    struct shared_store *s = find(store);
    if (s && !same_owner(s->owner, owner))
        return kevo_fail(err, KEVO_BUSY,
                         "%s: the store is in use by another database of this process", dir);
    if (!s) {
        s = shared_new(store, owner);
        if (!s) return kevo_nomem(err);
        s->next = open_stores;
        open_stores = s;
    }
    s->refs++;
    *shared = s;
    return 0;
}

/* The mutex is held throughout, so that a store whose last reference goes is closed before
 * another owner may have it. */
int registry_open(const char *dir, const struct kevo_options *options, struct store_owner owner,
                  struct shared_store **shared, struct kevo_err *err) {
    kevo_store *store;
    *shared = NULL;
    pthread_mutex_lock(&mutex);
    forget_parents_stores();
    int rc = kevo_open(dir, options, &store, err);
    if (rc == 0) rc = enter(dir, store, owner, shared, err);
    if (rc) kevo_close(store);
    pthread_mutex_unlock(&mutex);
    return rc;
}

int registry_open_memory(const struct kevo_options *options, struct shared_store **shared,
                         struct kevo_err *err) {
    struct kevo_options o = *options;
    *shared = NULL;
    struct shared_store *s = mem_zalloc(sizeof *s);
    if (!s) return kevo_nomem(err);
    s->refs = 1;
    s->env = o.env = env_memory_new();
    o.create_if_missing = true;
    int rc = s->env ? kevo_open("memory", &o, &s->store, err) : kevo_nomem(err);
    if (rc) {
        if (s->env) env_memory_free(s->env);
        mem_free(s);
        return rc;
    }
    *shared = s;
    return 0;
}

static void unlink_store(struct shared_store *s) {
    for (struct shared_store **p = &open_stores; *p; p = &(*p)->next) {
        if (*p == s) {
            *p = s->next;
            return;
        }
    }
}

bool registry_is_last(const struct shared_store *s) {
    pthread_mutex_lock(&mutex);
    bool last = s->refs == 1;
    pthread_mutex_unlock(&mutex);
    return last;
}

void registry_close(struct shared_store *s) {
    if (!s) return;
    pthread_mutex_lock(&mutex);
    forget_parents_stores();
    bool last = --s->refs == 0;
    if (last) unlink_store(s);
    if (last) kevo_on_settle(s->store, NULL, NULL); /* others may have it open still */
    kevo_close(s->store);
    pthread_mutex_unlock(&mutex);
    if (!last) return;
    if (s->env) env_memory_free(s->env);
    shared_free(s);
}
