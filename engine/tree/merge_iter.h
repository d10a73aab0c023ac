/* merge_iter.h - one iterator over many, in internal order, every version kept.
 *
 * A binary heap ordered by (key, seq descending); children with the same entry
 * keep their order of `children` (it cannot happen between parts of one store).
 * While one child has the next stretch for itself, a step costs one comparison
 * against the runner-up. Changing direction repositions the other children. */
#ifndef KEVO_TREE_MERGE_ITER_H
#define KEVO_TREE_MERGE_ITER_H

#include "engine/tree/iter.h"

/* Takes over `children[0..count)` on success (closing them with itself); on
 * failure the caller keeps them. The array itself is not kept. With one child
 * *it is that child; with none an empty iterator. KEVO_NOMEM. */
int merge_iter_new(struct iter **children, size_t count, struct iter **it, struct kevo_err *err);

/* Close an iterator of merge_iter_new(), NULL or any other, but none of those in the list, which
 * the caller has again. */
void merge_iter_close_but(struct iter *it, struct iter *const *kept, size_t count);

#endif
