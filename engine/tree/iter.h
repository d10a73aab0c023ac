/* iter.h - the one interface of everything that can be walked in key order.
 *
 * An iterator yields versions. Each has a key, the id of the batch that wrote
 * it (its sequence number, seq) and a type. They come in internal order: keys
 * ascending by memcmp, and the versions of one key from the newest (largest
 * seq) to the oldest.
 *
 * Position and entry are plain fields, so that a merge looks at them without a
 * call. key and value are borrowed until the next motion. A motion returns 0 or
 * an error; after an error the iterator is invalid and only a seek may follow.
 * A motion off either end returns 0 and leaves it invalid.
 *
 * Concrete iterators embed struct iter first. All pass the same test suite
 * (tests/lib/iter_suite.h). */
#ifndef KEVO_TREE_ITER_H
#define KEVO_TREE_ITER_H

#include "engine/base/slice.h"

enum entry_type {
    ENTRY_DELETE = 0, /* a tombstone: the key is gone as of this batch */
    ENTRY_PUT = 1
};

/* Sequence numbers of a private write buffer lie above all of a store's. */
#define SEQ_PRIVATE ((uint64_t)1 << 62)
#define SEQ_MAX     UINT64_MAX

struct iter {
    const struct iter_ops *ops;
    bool valid;
    uint8_t type; /* enum entry_type */
    uint64_t seq;
    slice key, value; /* value is empty for ENTRY_DELETE */
};

struct iter_ops {
    /* First entry at or after (key, seq) in internal order: with SEQ_MAX, the
     * newest version of the first key >= `key`. */
    int (*seek)(struct iter *it, slice key, uint64_t seq, struct kevo_err *err);
    int (*seek_first)(struct iter *it, struct kevo_err *err);
    /* Last entry in internal order whose key is < `key`: the oldest version of
     * the greatest smaller key. */
    int (*seek_before)(struct iter *it, slice key, struct kevo_err *err);
    int (*seek_last)(struct iter *it, struct kevo_err *err);
    int (*next)(struct iter *it, struct kevo_err *err); /* must be valid */
    int (*prev)(struct iter *it, struct kevo_err *err); /* must be valid */
    void (*close)(struct iter *it);                     /* frees what it owns, itself included */
    /* May be NULL. A seek or seek_before to `key` follows at once: start to bring in what
     * it will look at, without waiting for memory. Called with step 0 to ITER_AIM_STEPS - 1;
     * a merge takes each step with all its children before the next one, so that it waits
     * for all of them together (group prefetching: Chen, Ailamaki, Gibbons, Mowry 2004). */
    void (*aim)(struct iter *it, slice key, unsigned step);
};

enum { ITER_AIM_STEPS = 3 };

static inline void iter_close(struct iter *it) {
    if (it) it->ops->close(it);
}

/* Show the entry that `from` stands on, which is valid. */
static inline void iter_show(struct iter *to, const struct iter *from) {
    to->valid = true;
    to->type = from->type;
    to->seq = from->seq;
    slice_copy(&to->key, &from->key);
    slice_copy(&to->value, &from->value);
}

/* Internal order of (a, a_seq) and (b, b_seq): negative when a comes first. */
static inline int entry_cmp(slice a, uint64_t a_seq, slice b, uint64_t b_seq) {
    int c = slice_cmp(a, b);
    return c ? c : (a_seq < b_seq) - (a_seq > b_seq);
}

#endif
