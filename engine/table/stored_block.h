/* stored_block.h - a block's bytes as they lie in a table's file, without their trailer: raw, or
 * compressed. The layout is in engine/FORMAT.md, "Table". Private to engine/table. */
#ifndef KEVO_TABLE_STORED_BLOCK_H
#define KEVO_TABLE_STORED_BLOCK_H

#include "engine/base/buf.h"
#include "engine/table/index.h"

/* What writing many of them needs. */
struct stored_writer {
    void *lz4_state; /* NULL: nothing is compressed */
    struct buf packed;
};

/* KEVO_NOMEM. */
int stored_writer_init(struct stored_writer *w, bool compress, struct kevo_err *err);
void stored_writer_release(struct stored_writer *w);

/* Compress a block of `entry_count` entries as its builder made it into `to`, which has room for
 * raw.len bytes, if that saves at least an eighth: *len is what it takes then, and *kind how. Else
 * *kind is BLOCK_RAW, and nothing was written. KEVO_NOMEM. */
int stored_write(struct stored_writer *w, slice raw, uint32_t entry_count,
                 unsigned restart_interval, uint8_t *to, size_t *len, enum block_kind *kind,
                 struct kevo_err *err);

/* Whether a trailer may have that kind, which is any byte, when the index says `kind`. */
static inline bool stored_kind_fits(unsigned trailer, enum block_kind kind) {
    return trailer == (unsigned)kind || (kind == BLOCK_LZ4 && trailer == BLOCK_PACKED);
}

/* A compressed block: the length of the block, of what LZ4 makes of `lz4` (borrowed), and of the
 * values in that if it is packed. */
struct stored_block {
    slice lz4;
    uint32_t len, lz4_len, values_len;
    bool is_packed;
};

/* False: the lengths make no sense. */
bool stored_block_open(slice payload, enum block_kind kind, struct stored_block *s);

/* How long the payload of a compressed block is that begins where `bytes` do, which go on behind it;
 * 0: none begins there. What it looked at is added to *looked_at. */
size_t stored_block_measure(slice bytes, enum block_kind kind, uint64_t *looked_at);

/* How many entries a packed block has. KEVO_CORRUPT, KEVO_NOMEM, without a message. */
int stored_block_count(const struct stored_block *s, struct buf *scratch, uint32_t *count);

/* Make the block at `to`, which has room for s->len bytes. KEVO_CORRUPT, KEVO_NOMEM, without a
 * message. */
int stored_block_expand(const struct stored_block *s, uint8_t *to);

#endif
