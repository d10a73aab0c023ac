/* history.h - the newest commits, to tell a database that belongs to this store from one
 * that went its own way: batch ids alone do not, the same id may stand for another batch
 * in a copy.
 *
 * Threads: the caller's lock. */
#ifndef KEVO_STORE_HISTORY_H
#define KEVO_STORE_HISTORY_H

#include "engine/kevo.h"

static inline bool same_commit(struct kevo_commit a, struct kevo_commit b) {
    return a.batch == b.batch && a.nonce == b.nonce;
}

enum { HISTORY_LENGTH = 1024 };

struct history {
    struct kevo_commit ring[HISTORY_LENGTH];
    uint64_t count; /* ever added */
};

static inline void history_add(struct history *h, struct kevo_commit commit) {
    h->ring[h->count++ % HISTORY_LENGTH] = commit;
}

/* Forget what is newer than `batch`. */
static inline void history_cut(struct history *h, uint64_t batch) {
    while (h->count && h->ring[(h->count - 1) % HISTORY_LENGTH].batch > batch)
        h->count--;
}

/* The commit of that batch id, NULL when it is not among the newest. */
static inline const struct kevo_commit *history_find(const struct history *h, uint64_t batch) {
    uint64_t kept = h->count < HISTORY_LENGTH ? h->count : HISTORY_LENGTH;
    for (uint64_t i = 1; i <= kept; i++) {
        const struct kevo_commit *c = &h->ring[(h->count - i) % HISTORY_LENGTH];
        if (c->batch == batch) return c;
        if (c->batch < batch) break;
    }
    return NULL;
}

#endif
