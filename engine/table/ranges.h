/* ranges.h - range tombstones: what a deletion of all keys in [lower, upper) leaves.
 *
 * A range tombstone of sequence number seq hides every version of the keys in
 * [lower, upper) whose seq is smaller, wherever it lies. Its upper end may be open:
 * it is then range_end(), which is above every key there can be.
 *
 * A range_set is a set of them, cut into fragments: two fragments have no key in
 * common, they ascend by key, and each has the sequence numbers of all tombstones that
 * cover it, the largest first. (The representation of RocksDB's
 * FragmentedRangeTombstoneList.) So one binary search finds all that hides a key.
 * Neighbours with the same sequence numbers are one fragment.
 *
 * A set never changes, and never owns bounds: they are borrowed from what the list was
 * made of that it was made of, down to a table's map or a memtable.
 *
 * Threads: a set is only read; any thread. */
#ifndef KEVO_TABLE_RANGES_H
#define KEVO_TABLE_RANGES_H

#include "engine/base/buf.h"
#include "engine/base/coding.h"

/* The open upper end: KEVO_MAX_KEY_BYTES + 1 bytes 0xff. On disk an empty string. */
slice range_end(void);
/* The open lower end: the least key there is, one byte 0x00. */
slice range_start(void);
/* An upper end as it is stored, and back. */
static inline slice range_end_shorten(slice upper) {
    return upper.len > KEVO_MAX_KEY_BYTES ? slice_of(NULL, 0) : upper;
}
static inline slice range_end_restore(slice upper) {
    return upper.len == 0 ? range_end() : upper;
}

/* ---- making ---------------------------------------------------------------- */

struct range {
    slice lower, upper; /* lower < upper */
    uint64_t seq;
};

/* Range tombstones in any order. A zeroed struct is an empty list. */
struct range_list {
    struct range *ranges;
    size_t count, cap;
};
void range_list_release(struct range_list *list);

struct range_set;

/* Add one; nothing when it is empty. KEVO_NOMEM. */
int range_list_add(struct range_list *list, slice lower, slice upper, uint64_t seq,
                   struct kevo_err *err);

/* Add what of a set (which may be NULL) lies in [lower, upper), data NULL: open; it is cut
 * there, so these bounds are borrowed as well. KEVO_NOMEM. */
int range_list_add_set(struct range_list *list, const struct range_set *set, slice lower,
                       slice upper, struct kevo_err *err);

/* Add what a reader at max_seq sees of a set (which may be NULL): of each fragment that has
 * keys in [lower, upper), data NULL: open, the largest seq <= max_seq. Whole fragments:
 * the bounds given are not kept. KEVO_NOMEM. */
int range_list_add_visible(struct range_list *list, const struct range_set *set, slice lower,
                           slice upper, uint64_t max_seq, struct kevo_err *err);

/* The set of a list, which is sorted on the way; NULL when that is empty. With
 * `newest_only` each fragment has but its largest seq: a reader's skyline. KEVO_NOMEM. */
int range_set_new(struct range_list *list, bool newest_only, struct range_set **set,
                  struct kevo_err *err);
void range_set_free(struct range_set *set); /* set may be NULL */

/* Add `base_seq` to every sequence number of a set (which may be NULL) that nobody asks yet. */
void range_set_raise(struct range_set *set, uint64_t base_seq);

/* ---- asking ---------------------------------------------------------------- */

struct range_fragment {
    slice lower, upper;
    const uint64_t *seqs; /* descending */
    size_t seq_count;     /* at least 1 */
};

struct range_set {
    struct range_fragment *fragments;
    size_t count;
    uint64_t *seqs; /* of all fragments */
    size_t seq_count;
    uint64_t min_seq, max_seq;
};

/* Index of the first fragment that ends above `key`, or count. Only that one can
 * cover it. */
size_t range_set_find(const struct range_set *set, slice key);

/* The largest seq <= max_seq of a tombstone that covers `key`; 0: none. */
uint64_t range_set_cover(const struct range_set *set, slice key, uint64_t max_seq);

/* In a fragment: the smallest seq > `seq`; SEQ_MAX: none. */
uint64_t range_fragment_above(const struct range_fragment *f, uint64_t seq);

/* The smallest seq > `seq` of a tombstone that covers `key`; SEQ_MAX: none. */
uint64_t range_set_above(const struct range_set *set, slice key, uint64_t seq);

/* Whether every key from `first` to `last` (or below it, if `exclusive`) is covered by
 * tombstones with a seq > `seq`. Then *hider is the least number such that those up to
 * it suffice. */
bool range_set_hides(const struct range_set *set, slice first, slice last, bool exclusive,
                     uint64_t seq, uint64_t *hider);

/* The stretch of fragments without gaps, all with a largest seq > `seq`, that `key` lies
 * in: the first key behind it, and its first key. data NULL: there is none. */
slice range_set_skip_up(const struct range_set *set, slice key, uint64_t seq);
slice range_set_skip_down(const struct range_set *set, slice key, uint64_t seq);

/* ---- bytes ----------------------------------------------------------------- */

/* Append the set (which may be NULL): see engine/FORMAT.md, "Table". KEVO_NOMEM. */
int range_set_encode(const struct range_set *set, struct buf *out, struct kevo_err *err);

/* The set of bytes that range_set_encode() wrote, whose bounds are borrowed from them;
 * NULL when they are empty. KEVO_CORRUPT, without a message, when they make no sense;
 * KEVO_NOMEM. */
int range_set_decode(slice bytes, struct range_set **set, struct kevo_err *err);

#endif
