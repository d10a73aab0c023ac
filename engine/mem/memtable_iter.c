/* An iterator over a memtable's list. */
#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/mem/memtable_find.h"

/* Nodes know their successors only. So a step back searches for a node some way before, and
 * records those from there on; the steps after it take one of them each. What is added
 * between two of them meanwhile is not seen. Meanwhile a scout goes through those that will be
 * recorded next, so that their memory has arrived by then. */
enum { BEHIND_LEVEL = 2, BEHIND_MOST = 64 };

struct memtable_iter {
    struct iter base;
    struct memtable *memtable;
    struct memnode *node;
    struct memnode *behind[BEHIND_MOST]; /* a ring of nodes before it, the nearest last */
    unsigned behind_end, behind_count;
    struct memnode *scout; /* NULL: none; it goes no further than to: */
    struct memnode *scout_end;
};

static struct memtable_iter *of(struct iter *it) {
    return (struct memtable_iter *)it;
}

/* Stand on n. False when it is void. */
static bool stand_on(struct memtable_iter *mi, struct memnode *n) {
    uint8_t type = atomic_load_explicit(&n->type, memory_order_acquire);
    if (type == NODE_VOID) return false;
    mi->node = n;
    mi->base.valid = true;
    mi->base.type = type;
    mi->base.seq = n->seq;
    mi->base.key = node_key(n);
    mi->base.value = node_value(n);
    return true;
}

/* All of a short entry, which may lie anywhere. n may be NULL. */
static void prefetch_entry(const struct memnode *n) {
    enum { LINE = 64 };
    if (!n) return;
    const uint8_t *bytes = (const uint8_t *)n;
    __builtin_prefetch(bytes);
    __builtin_prefetch(bytes + LINE);
    __builtin_prefetch(bytes + (size_t)2 * LINE);
}

static int forward_from(struct memtable_iter *mi, struct memnode *n) {
    mi->behind_count = 0;
    while (n && !stand_on(mi, n))
        n = node_next(n, 0);
    if (!n) {
        mi->base.valid = false;
        return 0;
    }
    prefetch_entry(atomic_load_explicit(&n->next[0], memory_order_relaxed));
    if (n->height > 1) prefetch_node(atomic_load_explicit(&n->next[1], memory_order_relaxed));
    return 0;
}

/* A node some way before n, or the head. */
static struct memnode *find_far_before(const struct memtable *m, const struct memnode *n) {
    struct target t = {n->prefix, node_key(n), n->seq};
    int level = atomic_load_explicit(&m->height, memory_order_relaxed) - 1;
    struct memnode *found = m->head;
    while (level >= BEHIND_LEVEL) {
        struct memnode *next = node_next(found, level);
        prefetch_node(node_next(found, level - 1));
        if (next && node_before(next, &t))
            found = next;
        else
            level--;
    }
    return found;
}

static void send_scout(struct memtable_iter *mi, struct memnode *end) {
    mi->scout = end == mi->memtable->head ? NULL : find_far_before(mi->memtable, end);
    mi->scout_end = end;
    prefetch_entry(mi->scout);
}

static void move_scout(struct memtable_iter *mi) {
    for (int steps = 0; steps < 2 && mi->scout && mi->scout != mi->scout_end; steps++) {
        mi->scout = node_next(mi->scout, 0);
        prefetch_entry(mi->scout);
    }
}

/* Record nodes before `end`, the last of them at least; none when it is the first. */
static void record_behind(struct memtable_iter *mi, const struct memnode *end) {
    struct memnode *begin = find_far_before(mi->memtable, end);
    mi->behind_count = 0;
    for (struct memnode *n = begin; n != end; n = node_next(n, 0)) {
        prefetch_entry(node_next(n, 0));
        if (n == mi->memtable->head) continue;
        mi->behind[mi->behind_end++ % BEHIND_MOST] = n;
        if (mi->behind_count < BEHIND_MOST) mi->behind_count++;
    }
    send_scout(mi, begin);
}

/* Stand on the last entry before `n`. */
static int step_back(struct memtable_iter *mi, struct memnode *n) {
    do {
        if (mi->behind_count == 0) record_behind(mi, n);
        if (mi->behind_count == 0) {
            mi->base.valid = false;
            return 0;
        }
        mi->behind_count--;
        n = mi->behind[--mi->behind_end % BEHIND_MOST];
    } while (!stand_on(mi, n));
    move_scout(mi);
    return 0;
}

/* Stand on n, or on the last entry before it. */
static int backward_from(struct memtable_iter *mi, struct memnode *n) {
    mi->behind_count = 0;
    if (n == mi->memtable->head) {
        mi->base.valid = false;
        return 0;
    }
    return stand_on(mi, n) ? 0 : step_back(mi, n);
}

static int iter_seek(struct iter *it, slice key, uint64_t seq, struct kevo_err *err) {
    (void)err;
    struct target t = target_of(key, seq);
    return forward_from(of(it), memtable_find(of(it)->memtable, &t));
}

static int iter_seek_first(struct iter *it, struct kevo_err *err) {
    (void)err;
    return forward_from(of(it), node_next(of(it)->memtable->head, 0));
}

static int iter_seek_before(struct iter *it, slice key, struct kevo_err *err) {
    (void)err;
    struct target t = target_of(key, SEQ_MAX);
    return backward_from(of(it), memtable_find_before(of(it)->memtable, &t));
}

static int iter_seek_last(struct iter *it, struct kevo_err *err) {
    (void)err;
    return backward_from(of(it), memtable_find_last(of(it)->memtable));
}

static int iter_next(struct iter *it, struct kevo_err *err) {
    (void)err;
    assert(it->valid);
    return forward_from(of(it), node_next(of(it)->node, 0));
}

static int iter_prev(struct iter *it, struct kevo_err *err) {
    (void)err;
    assert(it->valid);
    return step_back(of(it), of(it)->node);
}

static void iter_free(struct iter *it) {
    memtable_unref(of(it)->memtable);
    mem_free(it);
}

static const struct iter_ops memtable_iter_ops = {
    .seek = iter_seek,
    .seek_first = iter_seek_first,
    .seek_before = iter_seek_before,
    .seek_last = iter_seek_last,
    .next = iter_next,
    .prev = iter_prev,
    .close = iter_free,
};

int memtable_iter_new(struct memtable *m, struct iter **it, struct kevo_err *err) {
    struct memtable_iter *mi = mem_zalloc(sizeof *mi);
    *it = NULL;
    if (!mi) return kevo_nomem(err);
    mi->base.ops = &memtable_iter_ops;
    mi->memtable = m;
    memtable_ref(m);
    memtable_link(m);
    *it = &mi->base;
    return 0;
}
