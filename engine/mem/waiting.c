#include "engine/mem/waiting.h"

#include "engine/base/alloc.h"

enum { RUN = 8 }; /* sorted by insertion */

void waiting_release(struct waiting *w) {
    mem_free(w->nodes);
    *w = (struct waiting){.nodes = NULL};
}

bool waiting_add(struct waiting *w, struct memnode *n) {
    if (!mem_grow((void **)&w->nodes, &w->cap, w->count + 1, sizeof *w->nodes)) return false;
    w->nodes[w->count++] = (struct waiting_node){n->prefix, n};
    return true;
}

static bool is_before(const struct waiting_node *a, const struct waiting_node *b) {
    if (a->prefix != b->prefix) return a->prefix < b->prefix;
    struct target t = {b->prefix, node_key(b->node), b->node->seq};
    return node_before(a->node, &t);
}

static void sort_run(struct waiting_node *nodes, size_t count) {
    for (size_t i = 1; i < count; i++) {
        struct waiting_node n = nodes[i];
        size_t k = i;
        for (; k > 0 && is_before(&n, &nodes[k - 1]); k--)
            nodes[k] = nodes[k - 1];
        nodes[k] = n;
    }
}

/* [0, middle) and [middle, count) of `from` into `to`. */
static void merge(const struct waiting_node *from, size_t middle, size_t count,
                  struct waiting_node *to) {
    const struct waiting_node *a = from, *b = from + middle, *a_end = b, *b_end = from + count;
    while (a < a_end && b < b_end) {
        bool second = is_before(b, a);
        *to++ = *(second ? b : a);
        b += second;
        a += !second;
    }
    memcpy(to, a, (size_t)(a_end - a) * sizeof *a);
    memcpy(to + (a_end - a), b, (size_t)(b_end - b) * sizeof *b);
}

void waiting_sort(struct waiting *w) {
    if (w->count <= RUN) {
        sort_run(w->nodes, w->count);
        return;
    }
    struct waiting_node *other = mem_alloc(w->cap * sizeof *other), *from = w->nodes;
    if (!other) return;
    for (size_t at = 0; at < w->count; at += RUN)
        sort_run(from + at, w->count - at < RUN ? w->count - at : RUN);
    for (size_t len = RUN; len < w->count; len *= 2) {
        for (size_t at = 0; at < w->count; at += 2 * len) {
            size_t count = w->count - at < 2 * len ? w->count - at : 2 * len;
            merge(from + at, len < count ? len : count, count, other + at);
        }
        struct waiting_node *sorted = other;
        other = from;
        from = sorted;
    }
    w->nodes = from;
    mem_free(other);
}

struct memnode *waiting_find(const struct waiting *w, const struct target *t) {
    struct memnode *best = NULL;
    for (size_t i = 0; i < w->count; i++) {
        if (w->nodes[i].prefix != t->prefix) continue;
        struct memnode *n = w->nodes[i].node;
        if (n->seq > t->seq || (best && n->seq < best->seq)) continue;
        if (slice_eq(node_key(n), t->key) && !node_is_void(n)) best = n;
    }
    return best;
}
