/* table_salvage.h - what can still be read of a table that may be damaged.
 *
 * A stored block carries a checksum that is seeded by the file's number and its own offset,
 * so a block that passes is what was written there. With a sound index each block is looked
 * up and stands or falls alone. Without one the file is walked: blocks follow one another
 * from offset 0, and where one ends is found by what LZ4's sequences make, or the heads of a
 * raw block; behind damage the next beginning is found likewise. What is sound in itself but out of order, or outside of what the manifest
 * says of the table, is not taken.
 *
 * Threads: one at a time. */
#ifndef KEVO_TABLE_TABLE_SALVAGE_H
#define KEVO_TABLE_TABLE_SALVAGE_H

#include "engine/base/file_bytes.h"
#include "engine/table/table.h"

/* What the manifest says of the table; all numbers are true ones. */
struct table_claim {
    uint64_t checksum; /* of the footer */
    uint64_t base_seq, min_seq, max_seq;
    slice min_key, max_key;
};

struct table_salvage {
    struct env *env;
    char *path;
    uint64_t number, base_seq;
    struct file_bytes file; /* whose bytes these are: */
    const uint8_t *map;
    uint64_t size_bytes;
    struct salvage_block {
        uint64_t offset;
        uint32_t len; /* of the payload */
        uint8_t kind;
    } * blocks; /* those that are sound, in their order */
    size_t block_count, block_cap;
    struct range_set *ranges; /* NULL: none, or lost */
    uint64_t entry_count, data_bytes, max_seq;
    uint64_t blocks_lost, bytes_lost; /* where the file was walked: damaged places */
    void (*note)(void *arg, const char *text);
    void *note_arg;
};

/* Look for all that is sound. `claim` is NULL when there is no manifest to tell; then
 * `base_seq` is added to the sequence numbers. Whatever is found wrong is told to `note`, a
 * sentence each. Only KEVO_NOMEM is an error, and what the system reports as KEVO_FULL; a
 * file that cannot be read is one without blocks. */
int table_salvage_open(struct env *env, const char *path, uint64_t number,
                       const struct table_claim *claim, uint64_t base_seq,
                       void (*note)(void *arg, const char *text), void *note_arg,
                       struct table_salvage **s, struct kevo_err *err);
void table_salvage_close(struct table_salvage *s); /* s may be NULL */

/* The entries found. Goes forward only: seek_first, next, close. Must not outlive s. */
int table_salvage_iter_new(struct table_salvage *s, struct iter **it, struct kevo_err *err);

#endif
