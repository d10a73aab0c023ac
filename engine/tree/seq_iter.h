/* seq_iter.h - an iterator with other sequence numbers: without those above a limit, and the
 * others made smaller. For the runs of a transaction: what was undone since they were written
 * is left out, and its writes are counted from 1 when they become a table. */
#ifndef KEVO_TREE_SEQ_ITER_H
#define KEVO_TREE_SEQ_ITER_H

#include "engine/tree/iter.h"

/* Takes over `source` on success. Entries with a seq <= most are shown, with seq - less; none of
 * them has a smaller one than `less`. KEVO_NOMEM. */
int seq_iter_new(struct iter *source, uint64_t most, uint64_t less, struct iter **it,
                 struct kevo_err *err);

#endif
