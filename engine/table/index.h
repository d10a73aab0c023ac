/* index.h - which block of a table holds a key. The layout is in
 * engine/FORMAT.md, "Table", "Index".
 *
 * One separator a data block: a short string >= every key of the block and < every
 * key of the next, or that very key where its versions go on in the next. All
 * separators begin with the same bytes in most tables, so those are kept once, and
 * the eight bytes behind them are kept as numbers in an array of their own: a
 * search is a binary search over that array, and only where it leaves several
 * separators are bytes compared. Every sixteenth of these numbers, the last of its
 * group, may be kept in memory besides (signposts): they stay in the processor's cache,
 * and a search then waits once for memory, for the group and its handles together.
 *
 * Threads: an index is only read; any thread. */
#ifndef KEVO_TABLE_INDEX_H
#define KEVO_TABLE_INDEX_H

#include "engine/base/buf.h"

/* How a block is stored. The index tells compressed blocks, which are BLOCK_LZ4 to it, from others;
 * the block's trailer tells all. */
enum block_kind { BLOCK_RAW = 0, BLOCK_LZ4 = 1, BLOCK_PACKED = 2 };

/* ---- writing --------------------------------------------------------------- */

struct index_builder {
    struct buf keys;   /* the separators, one behind the other */
    size_t *key_ends;  /* where each ends in `keys` */
    uint64_t *handles; /* offset * 2 + kind of each block */
    size_t count, key_ends_cap, handles_cap;
};

void index_builder_release(struct index_builder *b);

/* The next block lies at `offset`, its separator is `separator`. KEVO_NOMEM. */
int index_builder_add(struct index_builder *b, slice separator, uint64_t offset,
                      enum block_kind kind, struct kevo_err *err);

/* Append the index to `out`; there may be no block; the blocks end at `data_end`. KEVO_NOMEM, KEVO_TOOBIG
 * when the separators take more than 4 GB. */
int index_builder_finish(const struct index_builder *b, uint64_t data_end, struct buf *out,
                         struct kevo_err *err);

/* A separator between `last` and `next`, last <= next: as short as it can be found
 * easily, or `last` itself when they are the same. The result lies in one of the two,
 * or in scratch, which has room for last.len bytes. */
slice index_separator(slice last, slice next, uint8_t *scratch);

/* ---- reading --------------------------------------------------------------- */

/* What the reader of a block looks at as soon as it knows which one it is. */
typedef struct cache_block *_Atomic block_place;

struct table_index {
    uint32_t count; /* blocks */
    slice prefix;   /* what all separators begin with */
    slice tails;    /* what follows it, one behind the other */
    const uint8_t *heads, *handles, *tail_ends;
    const uint64_t *posts;     /* signposts, or NULL */
    const block_place *places; /* one a block, or NULL: a search asks for their memory as well */
};

/* The index in `bytes`, which are borrowed and have been checked against their
 * checksum. False when their frame makes no sense. */
bool table_index_open(struct table_index *index, slice bytes);

/* Whether the numbers agree with the separators that they were made from: what a search
 * takes for granted. Looks at all of them. */
bool table_index_is_true(const struct table_index *index);

/* How many signposts it takes, and: write them to `posts`, which must stay as long as the
 * index is searched. */
size_t table_index_post_count(const struct table_index *index);
void table_index_set_posts(struct table_index *index, uint64_t *posts);

/* The first block whose separator is >= key, or count. */
size_t table_index_find(const struct table_index *index, slice key);

/* The same in two steps, the first of which asks for the memory that the second one reads. What
 * is between them is opaque. */
size_t table_index_aim(const struct table_index *index, slice key);
size_t table_index_find_aimed(const struct table_index *index, slice key, size_t aim);

/* Whether the separator of block i is exactly `key`: its versions may go on in the
 * block after it. */
bool table_index_is_key(const struct table_index *index, size_t i, slice key);

/* How the separator of block i compares with key, as slice_cmp. */
int table_index_compare(const struct table_index *index, size_t i, slice key);

/* Where block i begins; that of block `count` is where the blocks end. */
uint64_t table_index_offset(const struct table_index *index, size_t i);
enum block_kind table_index_kind(const struct table_index *index, size_t i);

#endif
