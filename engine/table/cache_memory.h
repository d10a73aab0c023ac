/* cache_memory.h - where the blocks of a cache lie. Private to engine/table/cache.c.
 *
 * The bytes of a block lie before its struct entry, in one piece of memory: a lookup
 * that reads the entry has the end of the block at hand, where a search begins.
 *
 * The memory of what was evicted is kept for the next blocks: a full cache neither asks
 * the allocator nor gives back, which costs more than a search in a block does.
 *
 * Blocks of one size, which nearly all are where rows are short, lie in huge pages: a cache is
 * read at random, and looking up the addresses of small pages takes as long as the rest.
 *
 * Threads: all functions from any thread, but for making and releasing. */
#ifndef KEVO_TABLE_CACHE_MEMORY_H
#define KEVO_TABLE_CACHE_MEMORY_H

#include <pthread.h>

#include "engine/table/cache.h"
#include "engine/table/slab.h"

/* A block in the cache; all but `room` and `page` are cache.c's. */
struct entry {
    struct cache_block block; /* first: the caller's view */
    _Atomic uint32_t refs;
    uint32_t hash;
    bool marked;                 /* hit since it was last moved */
    bool is_protected;           /* which list it is in */
    bool is_passing;             /* it begins at the old end */
    bool is_guess;               /* nobody had asked for it when it came */
    struct entry *newer, *older; /* in its list; `older` also links victims */
    uint64_t id, offset;
    size_t room;            /* bytes before this struct; the block is the last of them */
    struct slab_page *page; /* that it lies in; NULL: memory of its own */
};

enum { MAX_SPARES = 16 };

struct cache_memory {
    pthread_mutex_t mutex;
    struct slab slab;
    size_t slab_room;               /* of its pieces; 0: not chosen yet */
    size_t last_room;               /* what was asked for last, */
    unsigned run;                   /* ... and so many times before */
    struct entry *list[MAX_SPARES]; /* spares: entries without a block, the latest last */
    unsigned count;
    uint64_t bytes, limit_bytes; /* of spares */
};

/* With so many huge pages at most, and so many bytes of spares. False when there is no memory. */
bool cache_memory_init(struct cache_memory *m, unsigned max_pages, uint64_t spare_bytes);
void cache_memory_release(struct cache_memory *m); /* all entries are back */

/* An entry with `room` bytes, and not many more, that was given back; or NULL. */
struct entry *cache_memory_spare(struct cache_memory *m, size_t room);

/* What taking a piece came to: a page was taken for it; or none was, but one is on its way. */
enum piece_outcome { PIECE_OR_NONE, PAGE_TAKEN, PAGE_AWAITED };

/* An entry in a huge page, or NULL. `patient`: no page that is not ready. */
struct entry *cache_memory_piece(struct cache_memory *m, size_t room, bool patient,
                                 enum piece_outcome *outcome);

/* One by itself; NULL when there is no memory. */
struct entry *cache_memory_new(size_t room);

/* Keep the memory of an entry that nobody refers to as a spare, if there is room, or free it. */
void cache_memory_give(struct cache_memory *m, struct entry *e);
void cache_memory_free(struct cache_memory *m, struct entry *e);

unsigned cache_memory_pages(struct cache_memory *m); /* that are held */

/* Hold `max_pages` at most: the next page whose blocks have to go, or NULL. */
const struct slab_page *cache_memory_condemn(struct cache_memory *m, unsigned max_pages);

/* Its memory is to go. */
static inline bool cache_memory_is_condemned(const struct entry *e) {
    return e->page && slab_is_condemned(e->page);
}

#endif
