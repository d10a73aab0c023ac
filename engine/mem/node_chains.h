/* node_chains.h - from a key to its latest entries in a memtable, by one or two cache misses instead
 * of the twenty of a search in the list.
 *
 * A hash table whose chains go through the entries that were added since it was begun, in each of
 * them those that were added last first. If a key's entries are added in the order of their
 * sequence numbers, as a store does, the first that is old enough for a reader is what it is to see.
 *
 * Threads: one adds; any number look. An entry is whole before it is in a chain, and stays in it. */
#ifndef KEVO_MEM_NODE_CHAINS_H
#define KEVO_MEM_NODE_CHAINS_H

#include "engine/mem/memnode.h"

struct node_chains {
    struct memnode *_Atomic *_Atomic heads; /* NULL: there are none yet */
    uint64_t count;                         /* of them, a power of two; 0: there will be none */
};

/* None yet; their heads will take `bytes`, or somewhat more. */
void node_chains_init(struct node_chains *c, uint64_t bytes);
void node_chains_release(struct node_chains *c);
void node_chains_clear(struct node_chains *c);

/* From now on entries may be added. The bytes taken; 0: there is no memory, and there will be no
 * chains. */
uint64_t node_chains_begin(struct node_chains *c);

static inline uint64_t node_chains_bytes(const struct node_chains *c) {
    return c->heads ? c->count * sizeof *c->heads : 0;
}

static inline bool node_chains_exist(const struct node_chains *c) {
    return atomic_load_explicit(&c->heads, memory_order_acquire) != NULL;
}

/* Other bits of the key's key_hash() than those that choose a line of a key_filter. */
static inline struct memnode *_Atomic *node_chains_head(const struct node_chains *c,
                                                        uint64_t hash) {
    struct memnode *_Atomic *heads = atomic_load_explicit(&c->heads, memory_order_relaxed);
    return &heads[hash >> 32 & (c->count - 1)];
}

static inline void node_chains_prefetch(const struct node_chains *c, uint64_t hash) {
    __builtin_prefetch(node_chains_head(c, hash), 1);
}

static inline void node_chains_add(struct node_chains *c, struct memnode *n, uint64_t hash) {
    struct memnode *_Atomic *head = node_chains_head(c, hash);
    n->chained = atomic_load_explicit(head, memory_order_relaxed);
    atomic_store_explicit(head, n, memory_order_release);
}

/* The entry of `key`, void ones left out, with seq <= max_seq that was added last. NULL: the chain has
 * none, or is so long that a search in the list is better. */
struct memnode *node_chains_find(const struct node_chains *c, slice key, uint64_t hash,
                                 uint64_t max_seq);

#endif
