/* block.h - the sorted unit of a table: prefix-compressed entries and restart
 * points. The layout is in engine/FORMAT.md, "Block".
 *
 * Values come first, one behind the other, then the heads of the entries: key,
 * sequence number, type and the value's length. A search walks heads only, which
 * lie close together, and touches one value.
 *
 * A head stores how many key bytes it shares with the one before it; every
 * `restart_interval` entries a key is stored whole, and where that head and its value
 * lie is kept at the end of the block, so that a seek is a binary search over restart
 * points and then a short walk.
 *
 * Threads: a builder or an iterator belongs to one; blocks are only read. */
#ifndef KEVO_TABLE_BLOCK_H
#define KEVO_TABLE_BLOCK_H

#include "engine/base/buf.h"
#include "engine/tree/iter.h"

struct block_restart {
    uint32_t head, value; /* offsets in their own buffers */
};

struct block_builder {
    struct buf data;  /* values so far; the whole block once finished */
    struct buf heads; /* heads so far */
    struct buf last_key;
    struct block_restart *restarts;
    size_t restart_count, restart_cap;
    unsigned restart_interval;
    unsigned since_restart; /* entries since the last restart point */
    uint32_t entry_count;
};

void block_builder_init(struct block_builder *b, unsigned restart_interval);
void block_builder_release(struct block_builder *b);
void block_builder_reset(struct block_builder *b);

/* Add an entry; they must come in internal order. KEVO_NOMEM; KEVO_TOOBIG when the
 * block would pass 4 GB, nothing is added then. */
int block_builder_add(struct block_builder *b, slice key, uint64_t seq, uint8_t type, slice value,
                      struct kevo_err *err);

/* Bytes that block_builder_finish() would give. */
size_t block_builder_bytes(const struct block_builder *b);

/* The finished block, valid until the next reset. KEVO_NOMEM. */
int block_builder_finish(struct block_builder *b, slice *block, struct kevo_err *err);

/* The parts of a block. */
struct block_frame {
    const uint8_t *data;    /* values from here on */
    uint32_t heads_at;      /* offset where values stop and heads start */
    uint32_t heads_end;     /* offset where heads stop and restart points start */
    uint32_t restart_count; /* at least 1 */
};

struct block_run_entry;

/* An iterator over one block's bytes, which it borrows. Embedded by value in
 * table iterators; block_iter_release() frees its key buffer. `name` and `offset`
 * name the block in error messages (name is borrowed). */
struct block_iter {
    struct iter base;
    struct block_frame frame;
    uint32_t at, next;           /* offsets of the current and the following head */
    uint32_t value_next;         /* offset of the following value */
    uint64_t base_seq;           /* added to the sequence numbers stored */
    struct buf key;              /* the current key, with room behind it for a wide copy */
    struct block_run_entry *run; /* of a restart run, recorded while moving backward */
    size_t run_count, run_cap;
    bool run_has_keys;
    struct buf run_keys;  /* whole keys, or nothing */
    size_t run_pos;       /* run[run_pos] is the current entry iff its offset is `at` */
    uint32_t run_restart; /* the restart point run[0] lies at */
    const char *name;
    uint64_t offset;
};

void block_iter_init(struct block_iter *it); /* over no block: never valid */
/* Look at another block; invalid until a seek. KEVO_CORRUPT when its frame makes no
 * sense. */
int block_iter_set(struct block_iter *it, slice block, const char *name, uint64_t offset,
                   struct kevo_err *err);
void block_iter_release(struct block_iter *it);
extern const struct iter_ops block_iter_ops;

/* How many entries a block has, which as all blocks has as many at each restart point but the
 * last. KEVO_CORRUPT. */
int block_count(slice block, uint32_t *count, const char *name, uint64_t offset,
                struct kevo_err *err);

/* Find, without an iterator, the newest version of `key` with seq <= `max_seq`.
 * Returns 0 and fills type, seq and value (borrowed from the block);
 * KEVO_NOTFOUND with *past_end true when every entry of the block lies before
 * (key, max_seq), so that the next block must be asked, false when the key has
 * no such version here or later; KEVO_CORRUPT. */
int block_get(slice block, slice key, uint64_t max_seq, uint8_t *type, uint64_t *seq, slice *value,
              bool *past_end, const char *name, uint64_t offset, struct kevo_err *err);

#endif
