#include "engine/tree/merge_iter.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"

/* A child that stands on an entry. The prefix saves most comparisons a look at
 * the key's bytes. */
struct slot {
    uint64_t prefix; /* slice_prefix64(it->key) */
    struct iter *it;
    size_t rank; /* index in children: the order of equal entries */
};

struct merge_iter {
    struct iter base;
    struct iter **children;
    size_t count;
    struct slot *heap; /* the valid children; heap[0] is the position */
    size_t heap_count;
    size_t runner_up; /* the best of heap[1] and heap[2]; 0: heap[0] is alone */
    bool forward;     /* heap[0] is the first in internal order, or the last */
};

/* Order of two slots whose prefixes are equal: (key, seq descending, rank). */
static int compare_tail(const struct slot *a, const struct slot *b) {
    const struct iter *x = a->it, *y = b->it;
    int c = iter_cmp_tails(x->key, y->key);
    if (c == 0) c = (x->seq < y->seq) - (x->seq > y->seq);
    if (c == 0) c = (a->rank > b->rank) - (a->rank < b->rank);
    return c;
}

/* Whether `a` comes before `b` in the direction of travel. */
static inline bool leads(const struct slot *a, const struct slot *b, bool forward) {
    if (a->prefix != b->prefix) return (a->prefix < b->prefix) == forward;
    return (compare_tail(a, b) < 0) == forward;
}

static void sift_down(struct merge_iter *m, size_t at) {
    struct slot moving = m->heap[at];
    for (size_t child; (child = 2 * at + 1) < m->heap_count; at = child) {
        if (child + 1 < m->heap_count && leads(&m->heap[child + 1], &m->heap[child], m->forward))
            child++;
        if (!leads(&m->heap[child], &moving, m->forward)) break;
        m->heap[at] = m->heap[child];
    }
    m->heap[at] = moving;
}

static void find_runner_up(struct merge_iter *m) {
    m->runner_up = m->heap_count > 1;
    if (m->heap_count > 2 && leads(&m->heap[2], &m->heap[1], m->forward)) m->runner_up = 2;
}

/* Every child has been positioned: order them. */
static void gather(struct merge_iter *m, bool forward) {
    m->forward = forward;
    m->heap_count = 0;
    for (size_t i = 0; i < m->count; i++) {
        struct iter *it = m->children[i];
        if (it->valid) m->heap[m->heap_count++] = (struct slot){slice_prefix64(it->key), it, i};
    }
    for (size_t i = m->heap_count / 2; i-- > 0;)
        sift_down(m, i);
    find_runner_up(m);
    if (m->heap_count)
        iter_show(&m->base, m->heap[0].it);
    else
        m->base.valid = false;
}

static int broken(struct merge_iter *m, int rc) {
    m->base.valid = false;
    m->heap_count = 0;
    return rc;
}

static void aim(struct merge_iter *m, slice key) {
    for (unsigned step = 0; step < ITER_AIM_STEPS; step++) {
        for (size_t i = 0; i < m->count; i++) {
            struct iter *child = m->children[i];
            if (child->ops->aim) child->ops->aim(child, key, step);
        }
    }
}

static int merge_seek(struct iter *it, slice key, uint64_t seq, struct kevo_err *err) {
    struct merge_iter *m = (struct merge_iter *)it;
    aim(m, key);
    for (size_t i = 0; i < m->count; i++) {
        int rc = m->children[i]->ops->seek(m->children[i], key, seq, err);
        if (rc) return broken(m, rc);
    }
    gather(m, true);
    return 0;
}

static int merge_seek_first(struct iter *it, struct kevo_err *err) {
    struct merge_iter *m = (struct merge_iter *)it;
    for (size_t i = 0; i < m->count; i++) {
        int rc = m->children[i]->ops->seek_first(m->children[i], err);
        if (rc) return broken(m, rc);
    }
    gather(m, true);
    return 0;
}

static int merge_seek_before(struct iter *it, slice key, struct kevo_err *err) {
    struct merge_iter *m = (struct merge_iter *)it;
    aim(m, key);
    for (size_t i = 0; i < m->count; i++) {
        int rc = m->children[i]->ops->seek_before(m->children[i], key, err);
        if (rc) return broken(m, rc);
    }
    gather(m, false);
    return 0;
}

static int merge_seek_last(struct iter *it, struct kevo_err *err) {
    struct merge_iter *m = (struct merge_iter *)it;
    for (size_t i = 0; i < m->count; i++) {
        int rc = m->children[i]->ops->seek_last(m->children[i], err);
        if (rc) return broken(m, rc);
    }
    gather(m, false);
    return 0;
}

/* Order of a child's entry and the merge's position: (key, seq descending, rank). */
static int against_top(const struct iter *it, size_t rank, const struct slot *top) {
    int c = entry_cmp(it->key, it->seq, top->it->key, top->it->seq);
    return c ? c : (rank > top->rank) - (rank < top->rank);
}

/* Put `it` on its first entry after the position. */
static int place_after(struct iter *it, size_t rank, const struct slot *top, struct kevo_err *err) {
    int rc = it->ops->seek(it, top->it->key, top->it->seq, err);
    while (rc == 0 && it->valid && against_top(it, rank, top) < 0)
        rc = it->ops->next(it, err);
    return rc;
}

/* Put `it` on its last entry before the position. A memtable may grow between the
 * two motions, hence the loop. */
static int place_before(struct iter *it, size_t rank, const struct slot *top,
                        struct kevo_err *err) {
    int rc = it->ops->seek(it, top->it->key, top->it->seq, err);
    if (rc == 0 && !it->valid) rc = it->ops->seek_last(it, err);
    while (rc == 0 && it->valid && against_top(it, rank, top) > 0)
        rc = it->ops->prev(it, err);
    return rc;
}

/* Travel the other way from the present entry: reposition the other children
 * around it, then step off it. */
static int turn(struct merge_iter *m, bool forward, struct kevo_err *err) {
    struct slot top = m->heap[0];
    for (size_t i = 0; i < m->count; i++) {
        struct iter *it = m->children[i];
        if (it == top.it) continue;
        int rc = forward ? place_after(it, i, &top, err) : place_before(it, i, &top, err);
        if (rc) return broken(m, rc);
    }
    int rc = forward ? top.it->ops->next(top.it, err) : top.it->ops->prev(top.it, err);
    if (rc) return broken(m, rc);
    gather(m, forward);
    return 0;
}

/* heap[0]'s child has moved: find who leads now. */
static inline void settle(struct merge_iter *m) {
    struct slot *top = &m->heap[0], *next = &m->heap[m->runner_up];
    if (top->it->valid) {
        top->prefix = slice_prefix64(top->it->key);
        if (m->runner_up == 0 || leads(top, next, m->forward)) {
            iter_show(&m->base, top->it);
            return;
        }
        struct slot moved = *top;
        *top = *next;
        *next = moved;
        sift_down(m, m->runner_up);
    } else {
        if (--m->heap_count == 0) {
            m->base.valid = false;
            return;
        }
        *top = m->heap[m->heap_count];
        sift_down(m, 0);
    }
    find_runner_up(m);
    iter_show(&m->base, top->it);
}

static int merge_next(struct iter *it, struct kevo_err *err) {
    struct merge_iter *m = (struct merge_iter *)it;
    assert(it->valid);
    if (!m->forward) return turn(m, true, err);
    struct iter *top = m->heap[0].it;
    int rc = top->ops->next(top, err);
    if (rc) return broken(m, rc);
    settle(m);
    return 0;
}

static int merge_prev(struct iter *it, struct kevo_err *err) {
    struct merge_iter *m = (struct merge_iter *)it;
    assert(it->valid);
    if (m->forward) return turn(m, false, err);
    struct iter *top = m->heap[0].it;
    int rc = top->ops->prev(top, err);
    if (rc) return broken(m, rc);
    settle(m);
    return 0;
}

static void merge_stretch(struct iter *it, struct iter_stretch *s) {
    struct merge_iter *m = (struct merge_iter *)it;
    iter_begin_stretch(m->heap[0].it, s);
    if (m->runner_up) iter_cut_stretch(s, m->heap[m->runner_up].it->key, m->forward);
}

static int merge_rejoin(struct iter *it, struct kevo_err *err) {
    struct merge_iter *m = (struct merge_iter *)it;
    int rc = iter_rejoin(m->heap[0].it, err);
    if (rc) return broken(m, rc);
    settle(m);
    return 0;
}

static bool is_among(struct iter *const *list, size_t count, const struct iter *it) {
    for (size_t i = 0; i < count; i++)
        if (list[i] == it) return true;
    return false;
}

/* Close it, but not the children in the list. */
static void close_but(struct merge_iter *m, struct iter *const *kept, size_t count) {
    for (size_t i = 0; i < m->count; i++)
        if (!is_among(kept, count, m->children[i])) iter_close(m->children[i]);
    mem_free(m->children);
    mem_free(m->heap);
    mem_free(m);
}

static void merge_close(struct iter *it) {
    close_but((struct merge_iter *)it, NULL, 0);
}

static const struct iter_ops merge_ops = {
    .seek = merge_seek,
    .seek_first = merge_seek_first,
    .seek_before = merge_seek_before,
    .seek_last = merge_seek_last,
    .next = merge_next,
    .prev = merge_prev,
    .close = merge_close,
    .stretch = merge_stretch,
    .rejoin = merge_rejoin,
};

void merge_iter_close_but(struct iter *it, struct iter *const *kept, size_t count) {
    if (!it || is_among(kept, count, it)) return;
    if (it->ops == &merge_ops)
        close_but((struct merge_iter *)it, kept, count);
    else
        iter_close(it);
}

int merge_iter_new(struct iter **children, size_t count, struct iter **it, struct kevo_err *err) {
    *it = NULL;
    if (count == 1) {
        *it = children[0];
        return 0;
    }
    struct merge_iter *m = mem_zalloc(sizeof *m);
    if (!m) return kevo_nomem(err);
    m->base.ops = &merge_ops;
    m->forward = true;
    m->children = mem_array(count, sizeof *m->children);
    m->heap = mem_array(count, sizeof *m->heap);
    if (!m->children || !m->heap) {
        merge_close(&m->base);
        return kevo_nomem(err);
    }
    if (count) memcpy(m->children, children, count * sizeof *children);
    m->count = count;
    *it = &m->base;
    return 0;
}
