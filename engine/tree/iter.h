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

#include "engine/base/buf.h"

enum entry_type {
    ENTRY_DELETE = 0, /* a tombstone: the key is gone as of this batch */
    ENTRY_PUT = 1
};

/* Sequence numbers of a private write buffer lie above all of a store's. */
#define SEQ_PRIVATE ((uint64_t)1 << 62)
#define SEQ_MAX     UINT64_MAX

struct iter_stretch;

struct iter {
    const struct iter_ops *ops;
    bool valid;
    uint8_t type; /* enum entry_type */
    /* After next() so many bytes of the key, at least, are those that it began with before. */
    uint32_t kept;
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
    /* Both may be NULL: see struct iter_stretch. */
    void (*stretch)(struct iter *it, struct iter_stretch *s);
    int (*rejoin)(struct iter *it, struct kevo_err *err);
};

enum { ITER_AIM_STEPS = 3 };

/* What comes next in an iterator over others, in the direction of its last motion, as far as
 * one of those below has it for itself: the entries of `leaf`, from where it stands, up to
 * `end` and without it. Instead of the iterator its leaf is moved then, by next or prev, and
 * read. Once that has left the stretch, or somebody wants to move the iterator by anything but
 * a seek, iter_rejoin() makes it stand where the leaf does, going on in the same direction to
 * what follows if the leaf has run off its end. */
struct iter_stretch {
    struct iter *leaf;
    slice end;           /* borrowed until then; data NULL: all the leaf has */
    uint64_t end_prefix; /* slice_prefix64(end) */
    bool inside;         /* leaf was seen to stand before `end` */
};

/* `it` is valid, and is not in a stretch already. */
static inline void iter_begin_stretch(struct iter *it, struct iter_stretch *s) {
    *s = (struct iter_stretch){.leaf = it};
    if (it->ops->stretch) it->ops->stretch(it, s);
}

static inline int iter_rejoin(struct iter *it, struct kevo_err *err) {
    return it->ops->rejoin ? it->ops->rejoin(it, err) : 0;
}

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

/* Keep a key that an iterator has shown; one for each row: short ones are copied without a call.
 * `key` may lie in *kept. False when there is no memory. */
static inline bool iter_save_key(struct buf *kept, slice key) {
    if (key.len < 16 || key.len > 32 || key.len > kept->cap) return buf_set(kept, key);
    uint8_t head[16], tail[16];
    memcpy(head, key.data, 16);
    memcpy(tail, key.data + key.len - 16, 16);
    memcpy(kept->data, head, 16);
    memcpy(kept->data + key.len - 16, tail, 16);
    kept->len = key.len;
    return true;
}

/* Whether that was `key`. Neighbours mostly differ in their last bytes: those are looked at
 * first. */
static inline bool iter_is_key(const struct buf *kept, slice key) {
    if (key.len != kept->len) return false;
    if (key.len >= 8 && memcmp(key.data + key.len - 8, kept->data + key.len - 8, 8) != 0)
        return false;
    return slice_eq(key, buf_slice(kept));
}

/* slice_cmp of keys whose slice_prefix64 is the same: a word at a time, since keys are short
 * and mostly differ in the second or third. */
static inline int iter_cmp_tails(slice a, slice b) {
    size_t common = a.len < b.len ? a.len : b.len, at = 8;
    for (; at + 8 <= common && at < 40; at += 8) {
        uint64_t x, y;
        memcpy(&x, a.data + at, 8);
        memcpy(&y, b.data + at, 8);
        if (x != y) return slice_big_endian64(x) < slice_big_endian64(y) ? -1 : 1;
    }
    if (common < at) at = 0;
    return slice_cmp(slice_of(a.data + at, a.len - at), slice_of(b.data + at, b.len - at));
}

/* Whether `key` lies before the stretch's end, in the direction of travel. */
static inline bool iter_in_stretch(const struct iter_stretch *s, slice key, bool forward) {
    if (!s->end.data) return true;
    uint64_t prefix = slice_prefix64(key);
    if (prefix != s->end_prefix) return (prefix < s->end_prefix) == forward;
    int c = iter_cmp_tails(key, s->end);
    return forward ? c < 0 : c > 0;
}

/* Whether the leaf, moved forward since it stood in the stretch, still does. Where it stood before
 * `end`, a key that begins with as many of the same bytes as `end` has lies before that too. */
static inline bool iter_stays_in_stretch(struct iter_stretch *s) {
    if (s->inside && s->leaf->kept >= s->end.len) return true;
    s->inside = iter_in_stretch(s, s->leaf->key, true);
    return s->inside;
}

/* End the stretch before `end` as well. */
static inline void iter_cut_stretch(struct iter_stretch *s, slice end, bool forward) {
    if (!iter_in_stretch(s, end, forward)) return;
    s->end = slice_of(end.len ? end.data : (const uint8_t *)"", end.len);
    s->end_prefix = slice_prefix64(end);
}

/* Internal order of (a, a_seq) and (b, b_seq): negative when a comes first. */
static inline int entry_cmp(slice a, uint64_t a_seq, slice b, uint64_t b_seq) {
    int c = slice_cmp(a, b);
    return c ? c : (a_seq < b_seq) - (a_seq > b_seq);
}

#endif
