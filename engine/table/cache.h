/* cache.h - decompressed blocks in memory, shared by all tables of a store, and the bytes
 * that other things take of the same budget.
 *
 * Beyond its capacity it may have memory that is meant for others, as long as they do not need
 * it: what they borrow, and what they give back, is told to it. Lending in pages (slab.h), it has
 * freed them before the borrower asks the system for its own.
 *
 * Sharded by hash; each shard has a mutex held for a lookup or a list move, not
 * for a read or a decompression. Bounded in bytes; pinned blocks are never
 * evicted and count. Scan-resistant: a new block starts on probation and is
 * protected only when it is asked for again, so a scan pushes out other
 * newcomers, not the blocks in use (segmented LRU: Karedla, Love, Wherry 1994). When the
 * cache is full most newcomers push out only the one before them (bimodal insertion: Qureshi
 * and others 2007).
 *
 * A block larger than the cache has room for, or one erased while pinned, lives
 * until it is unpinned and is not counted.
 *
 * Threads: all functions from any thread. */
#ifndef KEVO_TABLE_CACHE_H
#define KEVO_TABLE_CACHE_H

#include <stdatomic.h>

#include "engine/base/slice.h"

struct cache;
struct env;

/* A block in the cache. Its bytes live while the pin is held. */
struct cache_block {
    const uint8_t *data;
    uint32_t len; /* bytes */
    /* What its reader notes of it, in cache_block_room() and here; the cache leaves it alone. */
    _Atomic uint32_t note; /* 0 at first */
};

struct cache_stats {
    uint64_t hits, misses;
    uint64_t used_bytes;    /* by blocks */
    uint64_t charged_bytes; /* by others */
    uint64_t limit_bytes;   /* of both at this moment */
};

/* With `lent_bytes` beyond the capacity that others may borrow back. NULL when there is no
 * memory. */
struct cache *cache_new(uint64_t capacity_bytes, uint64_t lent_bytes);
void cache_free(struct cache *c); /* nothing may be pinned or borrowed; c may be NULL */

/* Before anybody uses it: the pages that it, or who borrows, will need next are made ready by a
 * thread of `env`, which is started when the second one was taken and lives as long as the
 * cache. No more than it may have, lent ones included. While the thread is at one, new blocks take
 * the place of others that were not asked for again, as if the cache were full. */
void cache_prepare(struct cache *c, struct env *env);

/* A number for a table, never given twice: its blocks' namespace. */
uint64_t cache_new_id(struct cache *c);

/* The block at `offset` of table `id`, pinned, or NULL. */
struct cache_block *cache_get(struct cache *c, uint64_t id, uint64_t offset);

/* Bring in the memory of a block that may be gone, and its memory with it: what a lookup reads of it and
 * the end of its bytes, where a search begins, or hardly more than the former. */
enum { CACHE_END_LINES = 7, CACHE_ENTRY_LINES = 4 };
void cache_prefetch(const struct cache_block *b, unsigned lines);

/* The block may be asked for next: bring in where it is looked up; or, and tell whether it
 * is there, the end of it. Neither pins nor counts; the first takes no lock. */
void cache_aim(struct cache *c, uint64_t id, uint64_t offset);
bool cache_peek(struct cache *c, uint64_t id, uint64_t offset);

/* Memory for a block of `len` bytes, pinned, not yet findable; NULL when there is
 * no memory. Fill cache_block_bytes(), then cache_publish() or cache_unpin(). Nobody has asked for
 * a `guess`: it takes the place of no other block, and any newcomer may take its. */
struct cache_block *cache_new_block(struct cache *c, uint32_t len, bool guess);
uint8_t *cache_block_bytes(struct cache_block *b);

/* Room for notes about a block, and how much it is: a part of the block's length, rounded up, where
 * its memory has as much left, and often none. Their memory ends where the struct begins. */
enum { CACHE_ROOM_PART = 32 };
static inline uint8_t *cache_block_room(const struct cache_block *b, size_t *bytes) {
    const uint8_t *end = b->data + b->len;
    *bytes = (size_t)((const uint8_t *)b - end);
    return (uint8_t *)(uintptr_t)end;
}

/* Let others find it. If another thread was faster, that block is returned pinned
 * and this one dropped. One that would take too large a part of its shard (an eighth) is
 * not inserted, nor is a guess where the shard is full. */
struct cache_block *cache_publish(struct cache *c, struct cache_block *b, uint64_t id,
                                  uint64_t offset);
void cache_unpin(struct cache *c, struct cache_block *b);

/* Drop every block of table `id`, as soon as unpinned. */
void cache_erase(struct cache *c, uint64_t id);

/* Somebody else takes, or gives back, so many bytes: blocks make room for them, but for a
 * quarter of the capacity, which is theirs in any case. */
void cache_charge(struct cache *c, uint64_t bytes);
void cache_uncharge(struct cache *c, uint64_t bytes);

/* Somebody is about to take so many bytes of those that were lent, and of more when it needs
 * more; has got them; or gave them back. */
void cache_borrow(struct cache *c, uint64_t bytes);
void cache_took(struct cache *c, uint64_t bytes);
void cache_give_back(struct cache *c, uint64_t bytes);

/* How many bytes of blocks it could take without dropping others. Takes every lock in turn. */
uint64_t cache_free_bytes(struct cache *c);

void cache_get_stats(struct cache *c, struct cache_stats *stats);

#endif
