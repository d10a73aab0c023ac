#include "engine/mem/range_stack.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/tree/iter.h"

struct stacked {
    struct range_set *set;
    struct stacked *below;       /* NULL: the bottom */
    struct stacked *taken_in;    /* the top of what this set is the union of, down to `below`;
                                    NULL: it came in as it is */
    struct stacked *made_before; /* chains all */
    uint8_t bytes[];             /* bounds that came in */
};

static struct stacked *top_of(const struct range_stack *s) {
    return atomic_load_explicit(&s->top, memory_order_acquire);
}

static uint64_t set_bytes(const struct range_set *set) {
    return sizeof *set + set->count * sizeof *set->fragments + set->seq_count * sizeof *set->seqs;
}

void range_stack_release(struct range_stack *s) {
    for (struct stacked *e = s->made, *before; e; e = before) {
        before = e->made_before;
        range_set_free(e->set);
        mem_free(e);
    }
    s->made = NULL;
    atomic_store_explicit(&s->top, NULL, memory_order_relaxed);
    atomic_store_explicit(&s->bytes, 0, memory_order_relaxed);
}

/* Keep `e` for as long as the stack. */
static void own(struct range_stack *s, struct stacked *e, size_t bytes) {
    e->made_before = s->made;
    s->made = e;
    atomic_fetch_add_explicit(&s->bytes, sizeof *e + bytes + set_bytes(e->set),
                              memory_order_relaxed);
}

static slice copy_bound(slice bound, uint8_t **to) {
    if (bound.len > KEVO_MAX_KEY_BYTES) return range_end();
    slice copy = slice_of(*to, bound.len);
    memcpy(*to, bound.data, bound.len);
    *to += bound.len;
    return copy;
}

static size_t bound_bytes(slice bound) {
    return bound.len > KEVO_MAX_KEY_BYTES ? 0 : bound.len;
}

/* The list as an element of its own. */
static struct stacked *take(struct range_stack *s, const struct range_list *list, uint64_t seq,
                            struct kevo_err *err) {
    struct range_list copies = {0};
    size_t bytes = 0;
    int rc = 0;
    for (size_t i = 0; i < list->count; i++)
        bytes += bound_bytes(list->ranges[i].lower) + bound_bytes(list->ranges[i].upper);
    struct stacked *e = mem_zalloc(sizeof *e + bytes);
    if (!e) {
        kevo_nomem(err);
        return NULL;
    }
    uint8_t *to = e->bytes;
    for (size_t i = 0; i < list->count && rc == 0; i++) {
        slice lower = copy_bound(list->ranges[i].lower, &to);
        slice upper = copy_bound(list->ranges[i].upper, &to);
        rc = range_list_add(&copies, lower, upper, seq, err);
    }
    if (rc == 0) rc = range_set_new(&copies, false, &e->set, err);
    range_list_release(&copies);
    if (rc) {
        mem_free(e);
        return NULL;
    }
    e->below = top_of(s);
    own(s, e, bytes);
    return e;
}

/* Where the union of `e` and the smaller ones below it would end. */
static struct stacked *first_larger(const struct stacked *e) {
    size_t size = e->set->seq_count;
    struct stacked *below = e->below;
    for (; below && below->set->seq_count <= size; below = below->below)
        size += below->set->seq_count;
    return below;
}

static int add_sets(const struct stacked *from, const struct stacked *to, struct range_list *list,
                    struct kevo_err *err) {
    slice open = {NULL, 0};
    int rc = 0;
    for (const struct stacked *e = from; e != to && rc == 0; e = e->below)
        rc = range_list_add_set(list, e->set, open, open, err);
    return rc;
}

/* The union of `from` and what is below it down to `to`. */
static struct stacked *unite(struct range_stack *s, struct stacked *from, struct stacked *to,
                             struct kevo_err *err) {
    struct range_list list = {0};
    struct stacked *e = mem_zalloc(sizeof *e);
    int rc = e ? add_sets(from, to, &list, err) : kevo_nomem(err);
    if (rc == 0) rc = range_set_new(&list, false, &e->set, err);
    range_list_release(&list);
    if (rc) {
        mem_free(e);
        return NULL;
    }
    e->below = to;
    e->taken_in = from;
    own(s, e, 0);
    return e;
}

int range_stack_push(struct range_stack *s, const struct range_list *list, uint64_t seq,
                     struct kevo_err *err) {
    assert(list->count > 0 && (!top_of(s) || top_of(s)->set->max_seq < seq));
    struct stacked *e = take(s, list, seq, err);
    if (!e) return KEVO_NOMEM;
    struct stacked *to = first_larger(e);
    if (to != e->below) e = unite(s, e, to, err);
    if (!e) return KEVO_NOMEM;
    atomic_store_explicit(&s->top, e, memory_order_release);
    return 0;
}

void range_stack_pop(struct range_stack *s, uint64_t seq) {
    struct stacked *e = top_of(s);
    /* What was taken in by a union that is too new in part comes to light again. */
    while (e && e->set->max_seq > seq)
        e = e->set->min_seq > seq || !e->taken_in ? e->below : e->taken_in;
    atomic_store_explicit(&s->top, e, memory_order_release);
}

/* The first hit is the largest: what lies below is older. */
uint64_t range_stack_find(const struct range_stack *s, slice key, uint64_t max_seq) {
    uint64_t seq = 0;
    for (const struct stacked *e = top_of(s); e && !seq; e = e->below)
        seq = range_set_cover(e->set, key, max_seq);
    return seq;
}

int range_stack_list(const struct range_stack *s, struct range_list *list, struct kevo_err *err) {
    return add_sets(top_of(s), NULL, list, err);
}

int range_stack_list_visible(const struct range_stack *s, slice lower, slice upper,
                             uint64_t max_seq, struct range_list *list, struct kevo_err *err) {
    int rc = 0;
    for (const struct stacked *e = top_of(s); e && rc == 0; e = e->below)
        rc = range_list_add_visible(list, e->set, lower, upper, max_seq, err);
    return rc;
}
