/* range_stack.h - the range tombstones of a memtable, as they come in.
 *
 * A few sets that never change, the newest on top. A new set takes in those below it
 * that are no larger (the logarithmic method: Bentley and Saxe, Decomposable searching
 * problems, 1980), so that n tombstones make about log n sets and each is copied about
 * log n times. Sets that were taken in stay until the stack goes: readers need neither
 * locks nor counts, and what is on top now can be undone without memory.
 *
 * Sequence numbers ascend from the bottom to the top; those of one addition are equal.
 *
 * Threads: push and pop by one thread at a time; asking from any. */
#ifndef KEVO_MEM_RANGE_STACK_H
#define KEVO_MEM_RANGE_STACK_H

#include <stdatomic.h>

#include "engine/table/ranges.h"

struct stacked;

/* A zeroed struct is an empty stack. */
struct range_stack {
    struct stacked *_Atomic top; /* NULL: none */
    struct stacked *made;        /* all there ever were, the newest first */
    _Atomic uint64_t bytes;      /* memory held */
};
void range_stack_release(struct range_stack *s); /* empty again; nobody may be asking */

/* Add the ranges of the list, which must not be empty, under `seq`, above all that are
 * there; their bounds are copied. KEVO_NOMEM changes nothing. */
int range_stack_push(struct range_stack *s, const struct range_list *list, uint64_t seq,
                     struct kevo_err *err);

/* Take away all with a sequence number > seq. */
void range_stack_pop(struct range_stack *s, uint64_t seq);

/* Another one whenever something was added or taken away. */
static inline const struct stacked *range_stack_top(const struct range_stack *s) {
    return atomic_load_explicit(&s->top, memory_order_acquire);
}

static inline bool range_stack_is_empty(const struct range_stack *s) {
    return !range_stack_top(s);
}

/* The largest seq <= max_seq of a tombstone that covers `key`; 0: none. */
uint64_t range_stack_find(const struct range_stack *s, slice key, uint64_t max_seq);
static inline uint64_t range_stack_cover(const struct range_stack *s, slice key, uint64_t max_seq) {
    return range_stack_is_empty(s) ? 0 : range_stack_find(s, key, max_seq);
}

/* Add all of it to a list, or what a reader sees, as range_list_add_visible() does; the
 * bounds live as long as the stack. KEVO_NOMEM. */
int range_stack_list(const struct range_stack *s, struct range_list *list, struct kevo_err *err);
int range_stack_list_visible(const struct range_stack *s, slice lower, slice upper,
                             uint64_t max_seq, struct range_list *list, struct kevo_err *err);

#endif
