/* block_entry.h - the frame of a block and the head of an entry, decoded inline:
 * shared by the block's iterator, its point lookup and the table's iterator. The
 * layout is in engine/FORMAT.md, "Block". Private to engine/table. */
#ifndef KEVO_TABLE_BLOCK_ENTRY_H
#define KEVO_TABLE_BLOCK_ENTRY_H

#include "engine/base/coding.h"
#include "engine/base/error.h"
#include "engine/table/block.h"

enum {
    BLOCK_FRAME_BYTES = 8,      /* offset of the heads, restart count */
    BLOCK_RESTART_BYTES = 8,    /* offset of a head, offset of its value */
    ENTRY_SEQ_CODE = 0x07,      /* flags: how many bytes the sequence number takes */
    ENTRY_TYPE_BIT = 0x08,      /* flags: enum entry_type */
    ENTRY_FLAGS_RESERVED = 0xf0 /* flags: zero in this format version */
};
/* Room above any offset, so that adding a short head to one does not wrap. */
#define BLOCK_MAX_BYTES (UINT32_MAX - 1023)

_Static_assert(ENTRY_DELETE == 0 && ENTRY_PUT == 1, "one bit holds the type");

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* KEVO_CORRUPT when the frame makes no sense. Afterwards at least 16 bytes can be
 * read behind heads_end, which the fast paths below rely on. */
static inline int block_frame_of(slice block, struct block_frame *f, const char *name,
                                 uint64_t offset, struct kevo_err *err) {
    if (unlikely(block.len < BLOCK_FRAME_BYTES + BLOCK_RESTART_BYTES ||
                 block.len > BLOCK_MAX_BYTES))
        goto corrupt;
    const uint8_t *frame = block.data + block.len - BLOCK_FRAME_BYTES;
    uint32_t count = get_fixed32(frame + 4), room = (uint32_t)block.len - BLOCK_FRAME_BYTES;
    if (unlikely(count == 0 || count > room / BLOCK_RESTART_BYTES)) goto corrupt;
    f->data = block.data;
    f->heads_at = get_fixed32(frame);
    f->heads_end = room - BLOCK_RESTART_BYTES * count;
    f->restart_count = count;
    if (likely(f->heads_at <= f->heads_end)) return 0;
corrupt:
    return kevo_fail(err, KEVO_CORRUPT, "%s: block at %llu: its frame does not make sense", name,
                     (unsigned long long)offset);
}

struct block_entry {
    uint64_t seq;
    uint32_t at;     /* offset of the head */
    uint32_t end;    /* offset of the next head */
    uint32_t shared; /* key bytes taken from the entry before */
    uint32_t unshared;
    uint32_t key_at;   /* offset of the unshared key bytes */
    uint32_t value_at; /* offset of the value */
    uint32_t value_end;
    uint8_t type;
};

/* An entry of a restart run, recorded to go backward. */
struct block_run_entry {
    struct block_entry head;
    size_t key_at; /* offset of its key in `run_keys`, if that has them */
};

/* Heads whose lengths need more than seven bits, and those that are damaged. */
bool block_entry_decode_slow(const struct block_frame *f, struct block_entry *e);

/* Decode the head at offset `at`, whose value lies at `value_at`. False when one of
 * them is not inside its part of the block, the flags are unknown, or a tombstone
 * has a value. That `shared` fits the entry before is for the caller to check. */
static inline bool block_entry_decode(const struct block_frame *f, uint32_t at, uint32_t value_at,
                                      struct block_entry *e) {
    static const uint64_t seq_mask[8] = {
        0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffffff};
    e->at = at;
    e->value_at = value_at;
    if (unlikely(at < f->heads_at || at >= f->heads_end || value_at > f->heads_at)) return false;
    const uint8_t *p = f->data + at;
    uint32_t head = get_fixed32(p);
    if (unlikely(head & (0x80808000u | ENTRY_FLAGS_RESERVED))) {
        /* A copy, so that *e may be in registers. */
        struct block_entry slow = {.at = at, .value_at = value_at};
        bool right = block_entry_decode_slow(f, &slow);
        *e = slow;
        return right;
    }
    uint32_t code = head & ENTRY_SEQ_CODE;
    e->type = (uint8_t)((head >> 3) & 1);
    e->shared = (head >> 8) & 0xff;
    e->unshared = (head >> 16) & 0xff;
    uint32_t value_len = head >> 24;
    e->seq = get_fixed64(p + 4) & seq_mask[code];
    e->key_at = at + 4 + code + (code == 7);
    /* No sum wraps: see BLOCK_MAX_BYTES. */
    e->end = e->key_at + e->unshared;
    e->value_end = value_at + value_len;
    return likely(e->end <= f->heads_end && value_len <= f->heads_at - value_at &&
                  (e->type || value_len == 0));
}

/* Where the head of restart point i lies, and its value. */
static inline uint32_t block_restart_at(const struct block_frame *f, uint32_t i) {
    return get_fixed32(f->data + f->heads_end + BLOCK_RESTART_BYTES * (size_t)i);
}

static inline uint32_t block_restart_value_at(const struct block_frame *f, uint32_t i) {
    return get_fixed32(f->data + f->heads_end + BLOCK_RESTART_BYTES * (size_t)i + 4);
}

/* The first entry of restart point i; it shares nothing. */
static inline bool block_restart_decode(const struct block_frame *f, uint32_t i,
                                        struct block_entry *e) {
    return block_entry_decode(f, block_restart_at(f, i), block_restart_value_at(f, i), e) &&
           e->shared == 0;
}

/* How many leading bytes a[0..n) and b[0..n) have in common. */
static inline size_t common_prefix(const uint8_t *a, const uint8_t *b, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t differ = get_fixed64(a + i) ^ get_fixed64(b + i);
        if (differ) return i + (size_t)__builtin_ctzll(differ) / 8;
    }
    if (i < n && n >= 8) { /* the last 8 bytes, of which the first are known equal */
        uint64_t differ = get_fixed64(a + n - 8) ^ get_fixed64(b + n - 8);
        return differ ? n - 8 + (size_t)__builtin_ctzll(differ) / 8 : n;
    }
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Whether an entry lies before (key, seq), in a walk over the entries of a restart run up to
 * the first that does not; key.data is no NULL. If not, *same tells whether it has that very key.
 *
 * No key is put together on the way. *matched, 0 at first, counts the bytes that the entry
 * passed last has in common with `key`, and that entry lies before (key, seq). One
 * that shares more with it differs from `key` at the same byte, so it lies before
 * too; one that shares less has grown above it at a byte where it equalled `key`,
 * so it lies after, unless it shares nothing because it is a restart point. Only the
 * others are compared, from byte *matched on. */
static inline bool block_entry_is_before(const struct block_frame *f, const struct block_entry *e,
                                         slice key, uint64_t seq, size_t *matched, bool *same) {
    *same = false;
    if (e->shared > *matched) return true;
    if (e->shared < *matched && e->shared) return false;
    const uint8_t *bytes = f->data + e->key_at, *wanted = key.data + e->shared;
    size_t left = key.len - e->shared, n = e->unshared < left ? e->unshared : left;
    size_t common = common_prefix(bytes, wanted, n);
    *matched = e->shared + common;
    if (common < n) return bytes[common] < wanted[common];
    if (e->unshared != left) return e->unshared < left;
    *same = e->seq <= seq;
    return !*same;
}

/* The last restart point before (key, seq), or the first one: 0; KEVO_CORRUPT, without a message.
 * The block has an entry. */
int block_find_restart(const struct block_frame *f, slice key, uint64_t seq, uint32_t *restart);

/* Find the first entry at or after (key, seq): 0 with *e, *same telling whether it
 * has that very key; its first e->shared bytes are those of `key` then. KEVO_NOTFOUND
 * when all lie before; KEVO_CORRUPT, without a message. */
int block_locate(const struct block_frame *f, slice key, uint64_t seq, struct block_entry *e,
                 bool *same);

/* ---- one step forward, inline for the iterators of block and table ----------- */

enum { BLOCK_KEY_SLOP = 16 }; /* bytes behind the key that a wide copy may write */

int block_iter_damaged(struct block_iter *it, struct kevo_err *err); /* makes it invalid */
int block_iter_grow_key(struct block_iter *it, size_t len, struct kevo_err *err);
int block_iter_take_key(struct block_iter *it, struct kevo_err *err); /* base.key into `key` */

/* Stand on the entry *e, whose first e->shared key bytes are in place. */
static inline int block_iter_stand(struct block_iter *it, const struct block_entry *e,
                                   struct kevo_err *err) {
    const uint8_t *data = it->frame.data;
    size_t len = (size_t)e->shared + e->unshared;
    if (unlikely(len + BLOCK_KEY_SLOP > it->key.cap)) {
        int rc = block_iter_grow_key(it, len, err);
        if (rc) return rc;
    }
    uint8_t *to = it->key.data + e->shared;
    if (likely(e->unshared <= 16))
        memcpy(to, data + e->key_at, 16);
    else
        memcpy(to, data + e->key_at, e->unshared);
    it->at = e->at;
    it->next = e->end;
    it->value_next = e->value_end;
    it->base.valid = true;
    it->base.type = e->type;
    it->base.kept = e->shared;
    it->base.seq = e->seq + it->base_seq;
    it->base.key = slice_of(it->key.data, len);
    it->base.value = slice_of(data + e->value_at, e->value_end - e->value_at);
    return 0;
}

/* Go to the following entry; invalid at the end of the block. */
static inline int block_iter_step(struct block_iter *it, struct kevo_err *err) {
    struct block_entry e;
    if (it->next == it->frame.heads_end) {
        it->base.valid = false;
        return 0;
    }
    if (unlikely(it->base.key.data != it->key.data)) { /* the last step was backward */
        int rc = block_iter_take_key(it, err);
        if (rc) return rc;
    }
    if (unlikely(!block_entry_decode(&it->frame, it->next, it->value_next, &e) ||
                 e.shared > it->base.key.len))
        return block_iter_damaged(it, err);
    return block_iter_stand(it, &e, err);
}

#endif
