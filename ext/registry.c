#include "ext/registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/env.h"
#include "engine/base/error.h"
#include "engine/base/fork.h"

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

static struct shared_store *find(const char *path) {
    for (struct shared_store *s = open_stores; s; s = s->next) {
        if (strcmp(s->path, path) == 0) return s;
    }
    return NULL;
}

/* The name that is the same for all ways to spell it. The last part need not exist;
 * then the directory it will be made in does. */
static int canonical(const char *dir, char **path, struct kevo_err *err) {
    char buffer[ENV_PATH_MAX];
    *path = realpath(dir, buffer) ? mem_strdup(buffer) : mem_strdup(dir);
    return *path ? 0 : kevo_nomem(err);
}

static int open_first(const char *dir, const struct kevo_options *options, struct store_owner owner,
                      struct shared_store **shared, struct kevo_err *err) {
    struct shared_store *s = mem_zalloc(sizeof *s);
    if (!s) return kevo_nomem(err);
    s->refs = 1;
    s->owner = owner;
    int rc = kevo_open(dir, options, &s->store, err);
    /* Now that it exists its name can be resolved. */
    if (rc == 0) rc = canonical(dir, &s->path, err);
    if (rc) {
        kevo_close(s->store);
        mem_free(s);
        return rc;
    }
    s->next = open_stores;
    open_stores = s;
    *shared = s;
    return 0;
}

int registry_open(const char *dir, const struct kevo_options *options, struct store_owner owner,
                  struct shared_store **shared, struct kevo_err *err) {
    char *path;
    *shared = NULL;
    int rc = canonical(dir, &path, err);
    if (rc) return rc;
    pthread_mutex_lock(&mutex);
    forget_parents_stores();
    struct shared_store *s = find(path);
    if (!s) {
        rc = open_first(dir, options, owner, shared, err);
    } else if (!same_owner(s->owner, owner)) {
        rc = kevo_fail(err, KEVO_BUSY,
                       "%s: the store is in use by another database of this process", dir);
    } else {
        s->refs++;
        *shared = s;
    }
    pthread_mutex_unlock(&mutex);
    mem_free(path);
    return rc;
}

bool registry_has(const char *dir) {
    char *path;
    if (canonical(dir, &path, NULL)) return true; /* to be on the safe side */
    pthread_mutex_lock(&mutex);
    forget_parents_stores();
    bool found = find(path) != NULL;
    pthread_mutex_unlock(&mutex);
    mem_free(path);
    return found;
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

void registry_close(struct shared_store *s) {
    if (!s) return;
    pthread_mutex_lock(&mutex);
    forget_parents_stores();
    bool last = --s->refs == 0;
    if (last) {
        /* Closed with the mutex held, so that whoever opens it next finds it unlocked. */
        unlink_store(s);
        kevo_close(s->store);
    }
    pthread_mutex_unlock(&mutex);
    if (!last) return;
    if (s->env) env_memory_free(s->env);
    mem_free(s->path);
    mem_free(s);
}
