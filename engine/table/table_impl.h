/* table_impl.h - an open table, for the files that read it. Private to
 * engine/table. */
#ifndef KEVO_TABLE_TABLE_IMPL_H
#define KEVO_TABLE_TABLE_IMPL_H

#include <stdatomic.h>

#include "engine/table/block_tags.h"
#include "engine/table/table_format.h"

struct table {
    _Atomic unsigned refs;
    struct table *next; /* in a table_list */
    bool was_open;      /* its sections' checksums were right before */
    uint64_t memory_bytes;
    struct env *env;
    struct cache *cache;
    char *path;
    uint64_t cache_id;
    uint64_t number;
    const uint8_t *map;
    uint64_t size_bytes;
    uint64_t base_seq; /* see table_set_base() */
    slice filter;
    struct table_index index;
    struct table_properties properties;
    slice min_key, max_key;
    struct range_set *ranges; /* NULL: none */
    uint64_t *posts;          /* of the index */
    block_place *places;   /* where each block was that the cache had, see table_block_prefetch() */
    _Atomic bool had_last; /* the filter said so of the last key asked for */
    _Atomic uint32_t *verified; /* a bit for each raw block whose checksum was right */
};

/* Bytes of one block, uncompressed: in the map, in a cache block, or in a buffer. */
struct table_block {
    slice bytes;
    uint64_t offset;         /* in the file, for messages */
    struct cache_block *pin; /* NULL, or what to unpin */
};

/* Block i through the cache. The caller unpins. With `scratch` (may be NULL) a block that
 * is not in the cache does not enter it, but is decompressed there; b->pin is NULL then. */
int table_block_get(struct table *t, size_t i, struct buf *scratch, struct table_block *b,
                    struct kevo_err *err);

/* The same in two steps, of which the first is what the cache has, pinned, or NULL. What another one
 * brings in between the two is found by the second. */
struct cache_block *table_block_hold(struct table *t, size_t i);
int table_block_get_held(struct table *t, size_t i, struct cache_block *held, struct table_block *b,
                         struct kevo_err *err);

/* The tags of a pinned block, if it has any: they are made when it was `asked_for` a few times. They
 * live as long as the pin. */
bool table_block_tags(struct cache_block *b, bool asked_for, struct block_tags *t);

/* Block i without the cache, decompressed into *scratch if need be; b->pin is NULL.
 * `again`: check the checksum of a raw block even if it was right before. */
int table_block_read(struct table *t, size_t i, bool again, struct buf *scratch,
                     struct table_block *b, struct kevo_err *err);

/* How many entries block i has. What is decompressed for that, of a packed one no more than the
 * values, goes into *scratch. */
int table_block_count(struct table *t, size_t i, struct buf *scratch, uint32_t *count,
                      struct kevo_err *err);

/* Block i is asked for next: bring in where it is looked up (step 1), then the block, from
 * the cache or as it is stored (step 2). */
void table_block_aim(const struct table *t, size_t i, unsigned step);

/* Block i is asked for now or next: bring it in from where the cache had it the last time, which is
 * most likely where it still is, before the cache has looked up whether that is so. False: nothing is
 * known of it. */
static inline bool table_block_prefetch(const struct table *t, size_t i, unsigned lines) {
    const struct cache_block *place = atomic_load_explicit(&t->places[i], memory_order_relaxed);
    if (place) cache_prefetch(place, lines);
    return place != NULL;
}

/* Bring block i as it is stored into the processor's cache, without waiting. i may be
 * beyond the last. */
void table_block_fetch(const struct table *t, size_t i);

/* A reader that passes once has come to `offset`: the system may take back the memory of the map
 * before it, so that merging files of any size needs little of it. *passed is how far that was
 * told, at first 0. */
void table_pass(const struct table *t, uint64_t offset, uint64_t *passed);

static inline void table_block_release(struct table *t, struct table_block *b) {
    if (b->pin) cache_unpin(t->cache, b->pin);
    b->pin = NULL;
}

#endif
