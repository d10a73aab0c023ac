/* hide_iter.h - an iterator without what range tombstones hide.
 *
 * For a source that is older than they are: where a fragment has a sequence number above
 * all of the source's, it jumps over what lies inside, whatever its size, in either
 * direction. Entries are only left out, never changed: whoever looks at the others knows
 * what hides them. */
#ifndef KEVO_TREE_HIDE_ITER_H
#define KEVO_TREE_HIDE_ITER_H

#include "engine/table/ranges.h"
#include "engine/tree/iter.h"

/* Takes over `source`, none of whose sequence numbers is above max_seq, on success. The
 * set must outlive it. KEVO_NOMEM. */
int hide_iter_new(struct iter *source, const struct range_set *hidden, uint64_t max_seq,
                  struct iter **it, struct kevo_err *err);

#endif
