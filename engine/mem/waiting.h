/* waiting.h - entries of a memtable that are not in its list yet, in the order they came, and then
 * in the list's order.
 *
 * Threads: one at a time. */
#ifndef KEVO_MEM_WAITING_H
#define KEVO_MEM_WAITING_H

#include "engine/mem/memnode.h"

struct waiting_node {
    uint64_t prefix; /* the node's, at hand */
    struct memnode *node;
};

struct waiting {
    struct waiting_node *nodes;
    size_t count, cap;
};

void waiting_release(struct waiting *w);

/* False: there is no memory. */
bool waiting_add(struct waiting *w, struct memnode *n);

/* Sort them. Of nodes equal in key and seq the one that came first comes first. Without memory they
 * stay as they are. */
void waiting_sort(struct waiting *w);

/* The newest of the key's nodes with a seq up to the target's that is not void, or NULL. */
struct memnode *waiting_find(const struct waiting *w, const struct target *t);

#endif
