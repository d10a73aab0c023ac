/* table.h - SSTables: sorted, immutable files of entries. The layout is in
 * engine/FORMAT.md, "Table".
 *
 * A table is written once, front to back, by one thread, synced, and then only
 * read, through a map of the whole file. Its entries are in internal order, and
 * no two have the same key and sequence number.
 *
 * Numbered invariants:
 *  1. All keys, and all range tombstones, lie in [min_key, max_key], or in [min_key,
 *     max_key) if a range tombstone ends there, above the last key.
 *  2. The index has one entry a data block, in order; its separator is >= every
 *     key of that block and < every key of the next unless the next begins with
 *     another version of the same key, in which case the separator is that key.
 *  3. The filter says "maybe" for every key in the table.
 *  4. Every byte that is read was covered by a checksum that was verified; blocks
 *     are verified when they are first brought into the cache, uncompressed ones
 *     read in place when first read since open.
 *
 * Threads: a struct table may be read from any number of threads. */
#ifndef KEVO_TABLE_TABLE_H
#define KEVO_TABLE_TABLE_H

#include "engine/base/buf.h"
#include "engine/base/env.h"
#include "engine/table/cache.h"
#include "engine/table/ranges.h"
#include "engine/tree/iter.h"

struct table_properties {
    uint64_t entry_count; /* versions, tombstones included */
    uint64_t tombstone_count;
    uint64_t range_count;            /* range tombstones, a fragment's seqs one by one */
    bool ends_below;                 /* the largest key itself is not in the table's range */
    uint64_t key_count;              /* distinct keys */
    uint64_t garbage_seq;            /* 0: merging this table alone never drops anything. Else the
                             smallest seq such that something goes when no snapshot is
                             older: an old version, or, with nothing below, a tombstone
                             or a range tombstone */
    uint8_t compression;             /* enum kevo_compression it was written with */
    uint64_t key_bytes, value_bytes; /* uncompressed sums */
    uint64_t block_count;
    uint64_t min_seq, max_seq;
};

/* Whether the counts and sequence numbers can be those of a table. */
bool table_properties_make_sense(const struct table_properties *p);

/* ---- writing --------------------------------------------------------------- */

struct table_writer_options {
    uint32_t block_bytes;      /* a data block is cut when it reaches this size */
    unsigned restart_interval; /* entries between restart points, usually 16 */
    int compression;           /* enum kevo_compression */
    uint32_t filter_bits_per_key;
    unsigned file_mode;
};

struct table_writer;

/* Create the file `path`, which must not exist. `number` is the table's file
 * number, stored in its footer so that a renamed file is noticed. */
int table_writer_open(struct env *env, const char *path, uint64_t number,
                      const struct table_writer_options *options, struct table_writer **w,
                      struct kevo_err *err);

/* Add an entry, in internal order (asserted). The key and value are copied. */
int table_writer_add(struct table_writer *w, slice key, uint64_t seq, uint8_t type, slice value,
                     struct kevo_err *err);

/* Give the table the part of a set (which may be NULL) that lies in [lower, upper), data
 * NULL: open. At most once; the bounds are borrowed until it is finished. KEVO_NOMEM. */
int table_writer_add_ranges(struct table_writer *w, const struct range_set *set, slice lower,
                            slice upper, struct kevo_err *err);

/* Bytes written and still buffered: near the size the file will have. */
uint64_t table_writer_bytes(const struct table_writer *w);
uint64_t table_writer_entries(const struct table_writer *w);

struct table_summary {
    struct table_properties properties;
    struct buf min_key, max_key; /* the caller releases them */
    uint64_t file_bytes;
    uint64_t checksum; /* of the footer; the manifest keeps it */
};

/* Write what is left, sync the file and close it. At least one entry or range must have
 * been added. Frees the writer on success and on failure; the file stays. */
int table_writer_finish(struct table_writer *w, struct table_summary *summary,
                        struct kevo_err *err);

/* Close without finishing; the caller unlinks the file. w may be NULL. */
void table_writer_abandon(struct table_writer *w);

/* ---- reading --------------------------------------------------------------- */

struct table;

/* Open and map the table; checks size, magic, version, footer checksum (against
 * `checksum` too), number, and the index's and filter's checksums. `size_bytes`
 * is what the manifest says. KEVO_CORRUPT names the file and what is wrong.
 *
 * *cache_id names the table's blocks in the cache and is 0 for a table that was never opened:
 * then one is drawn. Opened with it again, a table finds what is left of its blocks, and the
 * checksums of its filter, index and properties, which were right before, are not computed again;
 * who will not open it again calls cache_erase().
 *
 * A file that somebody makes shorter while it is open kills the process with SIGBUS where it is
 * read, as any mapped file does. */
int table_open(struct env *env, const char *path, uint64_t number, uint64_t size_bytes,
               uint64_t checksum, struct cache *cache, uint64_t *cache_id, struct table **t,
               struct kevo_err *err);

/* Counted: table_open() gives one reference; with the last one the table is closed. */
void table_ref(struct table *t);
void table_close(struct table *t);           /* t may be NULL */
bool table_is_shared(const struct table *t); /* there is more than one reference */

/* Tables to be closed together. */
struct table_list {
    struct table *first;
};
void table_list_add(struct table_list *l, struct table *t); /* takes the reference over */
void table_list_close(struct table_list *l);                /* and empties it */

/* What an open table keeps in memory: what it noted of its blocks and index, and its range
 * tombstones, but not the map. It is charged to the cache. */
uint64_t table_memory_bytes(const struct table *t);

/* Add `base_seq` to every sequence number that is read from the table, before its first
 * use: its entries were written when their batch had no id yet. Properties and
 * table_verify() speak of what is stored. */
void table_set_base(struct table *t, uint64_t base_seq);

const struct table_properties *table_properties(const struct table *t);
/* Its range tombstones; NULL: none. They live as long as the table is open. */
const struct range_set *table_ranges(const struct table *t);

/* A value found by table_get: either in the map (block NULL) or in a pinned block. */
struct table_value {
    uint8_t type;
    uint64_t seq;
    slice value;
    struct cache_block *block; /* the caller gives it back by cache_unpin */
};

/* The newest version of `key` with seq <= max_seq. KEVO_NOTFOUND. `hash` is
 * key_hash(key). *filtered (may be NULL) tells that the filter alone answered. */
int table_get(struct table *t, slice key, uint64_t hash, uint64_t max_seq, struct table_value *v,
              bool *filtered, struct kevo_err *err);

/* How many entries, versions and tombstones among them, lie in [lower, upper); upper.data NULL: open.
 * Of blocks that lie inside no more is read than that and the checksum. */
int table_count(struct table *t, slice lower, slice upper, uint64_t *count, struct kevo_err *err);

/* A table_get with this hash is near: start to bring in what it looks at first. */
void table_will_get(const struct table *t, uint64_t hash);

/* Bring those of the next `count` blocks, from number *block on, into the cache that are not there
 * and are not read in place, as guesses (cache_new_block()), until *bytes are used up, kept by the
 * cache or not. *block advances, and so does *brought by how many these were. KEVO_NOTFOUND: they
 * were the table's last. */
int table_warm(struct table *t, size_t *block, unsigned count, uint64_t *bytes, uint64_t *brought,
               struct kevo_err *err);

/* A table_get in steps, between which memory comes, for callers that get several keys at once: what the
 * filter says; ask for what the search of the index will read; find the block, which is asked for; have
 * the cache look it up; and search from there. Each takes what the one before returned. */
bool table_may_have(struct table *t, uint64_t hash, uint64_t max_seq);
size_t table_will_find(const struct table *t, slice key);
size_t table_find(const struct table *t, slice key, size_t aim);
struct table_hold {
    struct cache_block *block; /* the block, pinned, or NULL: the cache did not have it, */
    bool asked;                /* ... if it was asked. Zeroed: it is looked up later */
    bool aimed;                /* its tags were asked for the key, */
    unsigned aim;              /* ... and said that */
};
void table_hold(struct table *t, size_t block, slice key, struct table_hold *hold);
/* It is searched next, or the one after: bring in what is stored of it, if it is to be decompressed. */
void table_will_read(const struct table *t, size_t block, const struct table_hold *hold);
/* Takes the pin over. */
int table_get_at(struct table *t, size_t block, const struct table_hold *hold, slice key,
                 uint64_t max_seq, struct table_value *v, struct kevo_err *err);

/* An iterator over the table, which must outlive it. `keep` false for readers that pass once
 * (compaction): blocks they decompress do not enter the cache, and the memory of the map behind
 * them is given back. */
int table_iter_new(struct table *t, bool keep, struct iter **it, struct kevo_err *err);
/* Let an iterator of table_iter_new() go on to another table, as a new one would. */
void table_iter_bind(struct iter *it, struct table *t);
/* Let it go of its table, so that it is memory for another one and nothing else. */
void table_iter_park(struct iter *it);

/* About how many bytes of the file, and entries, hold keys < `key`. Index and filter belong
 * to the blocks they are about. */
void table_position(struct table *t, slice key, uint64_t *file_bytes, uint64_t *entries);

/* Read everything and check it: all checksums, order, invariants, properties. */
int table_verify(struct table *t, struct kevo_err *err);

#endif
