/* registry.h - whose the stores are that this process has open. The engine shares a store
 * among all who open it, connections and threads; this adds owners.
 *
 * A store belongs to one database file. Connections to another file (a copy, say)
 * are refused while it is open, since SQLite's locks would not keep their writers
 * apart.
 *
 * Threads: all functions from any thread. */
#ifndef KEVO_EXT_REGISTRY_H
#define KEVO_EXT_REGISTRY_H

#include "engine/kevo.h"

/* Who decides a store's commits: a database file (device and inode), or, for a
 * database without a file, one connection. */
struct store_owner {
    uint64_t device, inode; /* 0 and 0: none */
    const void *connection; /* when there is no file */
    const char *filename;   /* of the database, for the time of the call; or NULL */
};

struct shared_store {
    kevo_store *store;
    _Atomic bool rotate_due; /* flushing what is in memory would free much space */
    /* private */
    struct shared_store *next;
    unsigned refs;
    struct env *env; /* of a store in memory, which is not shared */
    struct store_owner owner;
    char *filename; /* the owner's, or NULL */
};

/* Open the store in `dir`. Errors as from kevo_open(), and KEVO_BUSY for an owner that
 * is another than the one that has it open. */
int registry_open(const char *dir, const struct kevo_options *options, struct store_owner owner,
                  struct shared_store **shared, struct kevo_err *err);

/* A new store in memory. It dies with its last reference. */
int registry_open_memory(const struct kevo_options *options, struct shared_store **shared,
                         struct kevo_err *err);

/* Whether nobody else has a reference at this moment. */
bool registry_is_last(const struct shared_store *shared);

/* Make durable what the owner, a database file, has committed: see durable_database(). KEVO_CANTOPEN
 * when its name is not that file's any more. */
int registry_make_durable(const struct shared_store *shared, struct kevo_err *err);

/* Give back a reference; the last one closes the store. shared may be NULL. */
void registry_close(struct shared_store *shared);

#endif
