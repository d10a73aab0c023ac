/* view_iter.h - what a reader sees: one value a key, as of a snapshot, inside
 * bounds, tombstones gone. The only place that knows these rules.
 *
 * A version is visible iff its seq <= snapshot, or seq >= SEQ_PRIVATE (the reader's
 * own write buffer). The newest visible version of a key decides, and it is gone if a
 * visible range tombstone over its key has a larger seq. Bounds are
 * checked on every key that is passed, so that a run of tombstones outside them
 * is never walked.
 *
 * Motions return 0 or an error; `entry` tells the position, whose bytes
 * are borrowed until the next motion. Moving backward copies the entry, since its
 * source has moved on by then; moving forward copies nothing but a key that has
 * to be compared. */
#ifndef KEVO_TREE_VIEW_ITER_H
#define KEVO_TREE_VIEW_ITER_H

#include "engine/base/buf.h"
#include "engine/table/ranges.h"
#include "engine/tree/iter.h"

struct view_iter {
    struct kevo_entry entry;
    struct iter *source;         /* every version, owned */
    struct iter_stretch stretch; /* of the source; leaf NULL: not in one */
    uint64_t snapshot;
    struct buf lower, upper; /* the bounds' bytes */
    bool has_lower, has_upper;
    uint64_t lower_prefix, upper_prefix; /* slice_prefix64 of the bounds */
    const struct range_set *hidden;      /* the visible range tombstones, one seq a fragment */
    size_t hidden_at;                    /* the fragment looked at last */
    bool forward; /* the source stands on the entry shown, or before its key */
    struct buf saved_key, saved_value;
};

/* Takes over `source` on success. lower.data or upper.data NULL: open. KEVO_NOMEM. */
int view_iter_init(struct view_iter *v, struct iter *source, uint64_t snapshot, slice lower,
                   slice upper, struct kevo_err *err);
void view_iter_release(struct view_iter *v); /* closes the source */
/* Keep nothing but memory; the source, or NULL, is the caller's again. */
struct iter *view_iter_park(struct view_iter *v);
/* view_iter_init() with the memory of a view that was parked, or of a zeroed struct. That stays
 * to be released after a failure. */
int view_iter_again(struct view_iter *v, struct iter *source, uint64_t snapshot, slice lower,
                    slice upper, struct kevo_err *err);

/* Before the first motion: what hides keys from this reader, with one sequence number, the
 * largest that is visible, a fragment. NULL: nothing. It must outlive the iterator. */
void view_iter_hide(struct view_iter *v, const struct range_set *hidden);

int view_iter_first(struct view_iter *v, struct kevo_err *err);
int view_iter_last(struct view_iter *v, struct kevo_err *err);
int view_iter_seek(struct view_iter *v, slice key, struct kevo_err *err); /* first >= key */
int view_iter_seek_for_prev(struct view_iter *v, slice key, struct kevo_err *err); /* last <= key */
int view_iter_next(struct view_iter *v, struct kevo_err *err);
int view_iter_prev(struct view_iter *v, struct kevo_err *err);

#endif
