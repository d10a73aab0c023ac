/* block_pack.h - a block in columns, which is what is compressed: the heads of its entries field by
 * field, and keys whose letters are at most sixteen, as those of numbers and of hexadecimal text
 * are, at four bits a letter. LZ4 finds repetitions only; it leaves short heads and such keys nearly
 * as long as they were. The layout is in engine/FORMAT.md, "Packed block".
 *
 * Unpacked it is the very block that was packed: who searches blocks need not know of it. */
#ifndef KEVO_TABLE_BLOCK_PACK_H
#define KEVO_TABLE_BLOCK_PACK_H

#include "engine/base/buf.h"

/* Pack a block of `entry_count` entries as its builder made it, with a restart point every
 * `restart_interval` entries, into *out, whose contents go: its values, which are *values_len bytes,
 * and the columns. KEVO_NOTFOUND when that would not pay or keys are too long; KEVO_NOMEM. */
int block_pack(slice block, uint32_t entry_count, unsigned restart_interval, struct buf *out,
               size_t *values_len, struct kevo_err *err);

enum {
    BLOCK_PACK_SLOP = 48,
    /* An entry has at least four bytes in the columns: flags, shared, key_len and the length of its
     * value. At most it makes 268 of them, at a restart point: its head, whose lengths of the key
     * take three bytes, a key of 255 that shares all, and the restart point. What more it has of
     * value_lens and seqs is in the head as well, two letters to a byte are less, and the frame's
     * eight bytes are less than what the header makes up for. */
    BLOCK_PACK_MAX_RATIO = 268 / 4
};

/* Whether a block of `len` bytes may have a packed form of so many. */
static inline bool block_pack_may_be(size_t len, size_t values_len, size_t packed_len) {
    return values_len <= packed_len && packed_len <= len &&
           (len - values_len) / BLOCK_PACK_MAX_RATIO <= packed_len - values_len;
}

/* *room: bytes that block_unpack() needs to work in. False: more than there can be. */
static inline bool block_unpack_room(size_t values_len, size_t packed_len, size_t *room) {
    size_t columns;
    return !__builtin_sub_overflow(packed_len, values_len, &columns) &&
           !__builtin_mul_overflow(columns, (size_t)3, room) &&
           !__builtin_add_overflow(*room, (size_t)2 * BLOCK_PACK_SLOP, room);
}

/* Make the block of `len` bytes at `block` again, whose first `packed_len` bytes are its packed
 * form. False when they are none of a block of that length; whether the entries make sense is for
 * those to see who read them. */
bool block_unpack(uint8_t *block, size_t len, size_t values_len, size_t packed_len, uint8_t *room);

#endif
