/* memnode.h - an entry of a memtable.
 *
 * It lies in the memtable's arena and never moves. What is in it is written before others can
 * come to it, but for its type, which may become void, and the pointers of the list. */
#ifndef KEVO_MEM_MEMNODE_H
#define KEVO_MEM_MEMNODE_H

#include <stdatomic.h>
#include <string.h>

#include "engine/base/slice.h"

enum { NODE_VOID = 0xff }; /* a type besides enum entry_type's */

struct memnode {
    uint64_t seq;
    uint32_t value_bytes;
    uint16_t key_bytes_less_one;
    _Atomic uint8_t type;
    uint8_t height;
    struct memnode *chained; /* see node_chains.h */
    /* From here on, what a search touches: it lies together in a cache line. */
    uint64_t prefix;                /* slice_prefix64 of the key */
    struct memnode *_Atomic next[]; /* height of them, then the key, then the value */
};

_Static_assert(KEVO_MAX_KEY_BYTES - 1 == UINT16_MAX, "the length of a key, less one, fits");

static inline const uint8_t *node_bytes(const struct memnode *n) {
    return (const uint8_t *)&n->next[n->height];
}

static inline size_t node_key_bytes(const struct memnode *n) {
    return (size_t)n->key_bytes_less_one + 1;
}

static inline slice node_key(const struct memnode *n) {
    return slice_of(node_bytes(n), node_key_bytes(n));
}

static inline slice node_value(const struct memnode *n) {
    return slice_of(node_bytes(n) + node_key_bytes(n), n->value_bytes);
}

static inline size_t node_size(unsigned height, size_t key_bytes, size_t value_bytes) {
    return sizeof(struct memnode) + height * sizeof(struct memnode *) + key_bytes + value_bytes;
}

static inline struct memnode *node_next(const struct memnode *n, int level) {
    return atomic_load_explicit(&n->next[level], memory_order_acquire);
}

static inline bool node_is_void(const struct memnode *n) {
    return atomic_load_explicit(&n->type, memory_order_acquire) == NODE_VOID;
}

/* What a search will look at; n may be NULL. */
static inline void prefetch_node(const struct memnode *n) {
    __builtin_prefetch(n ? &n->prefix : NULL);
}

/* What is looked for: a place in internal order. */
struct target {
    uint64_t prefix;
    slice key;
    uint64_t seq;
};

static inline struct target target_of(slice key, uint64_t seq) {
    return (struct target){slice_prefix64(key), key, seq};
}

/* Whether node n comes before the target. The prefix decides nearly always; when
 * it does not, the bytes after it do. */
static inline bool node_before(const struct memnode *n, const struct target *t) {
    if (n->prefix != t->prefix) return n->prefix < t->prefix;
    int c = slice_cmp(node_key(n), t->key);
    return c ? c < 0 : n->seq > t->seq;
}

#endif
