#include "engine/mem/node_chains.h"

#include "engine/base/alloc.h"

/* A search in the list reads about as many entries. */
enum { MOST_STEPS = 16 };

void node_chains_init(struct node_chains *c, uint64_t bytes) {
    *c = (struct node_chains){.count = 1};
    while (c->count * sizeof *c->heads < bytes)
        c->count *= 2;
}

void node_chains_release(struct node_chains *c) {
    mem_free(c->heads);
    *c = (struct node_chains){.heads = NULL};
}

void node_chains_clear(struct node_chains *c) {
    for (uint64_t i = 0; c->heads && i < c->count; i++)
        atomic_store_explicit(&c->heads[i], NULL, memory_order_relaxed);
}

uint64_t node_chains_begin(struct node_chains *c) {
    struct memnode *_Atomic *heads = mem_array(c->count, sizeof *heads);
    if (!heads) c->count = 0;
    atomic_store_explicit(&c->heads, heads, memory_order_release);
    return node_chains_bytes(c);
}

struct memnode *node_chains_find(const struct node_chains *c, slice key, uint64_t hash,
                                 uint64_t max_seq) {
    uint64_t prefix = slice_prefix64(key);
    struct memnode *n = atomic_load_explicit(node_chains_head(c, hash), memory_order_acquire);
    for (int steps = 0; n && steps < MOST_STEPS; steps++, n = n->chained) {
        bool is_it = n->prefix == prefix && n->seq <= max_seq && slice_eq(node_key(n), key);
        if (is_it && !node_is_void(n)) return n;
    }
    return NULL;
}
