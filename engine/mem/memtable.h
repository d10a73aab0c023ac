/* memtable.h - entries in memory, in internal order: a skiplist in an arena.
 *
 * (Pugh: Skip Lists, 1990. One writer and any number of readers without locks,
 * as in LevelDB.) A node holds its key's first eight bytes as a number, so that
 * most comparisons touch one cache line; the writer remembers where it inserted
 * last and starts from there, so ascending keys cost O(1) and a sorted batch
 * little more.
 *
 * Others wait in a ring until there is a group of them: the searches for all of their places go
 * on in turn, and wait for memory at the same time instead of one after the other (group
 * prefetching: Chen, Ailamaki, Gibbons, Mowry 2004). Point reads look into the ring first,
 * then, once it pays, by a hash table (node_chains.h), then into the list.
 *
 * Numbered invariants:
 *  1. Nodes are linked in internal order (iter.h). A node equal to one that is
 *     there already, in key and seq, is linked before it: the later one wins.
 *  2. A node never moves, is never unlinked and never changes, but for its type,
 *     which may become void once: as if it had never been added.
 *  3. A node is fully written before a pointer to it is stored (release); readers
 *     load pointers with acquire. So a reader sees whole nodes only.
 *  4. A node's place in the ring is taken by another only after the node was linked. So
 *     who looks at the ring and then at the list misses nothing that was added before.
 *  5. While the ring is empty only the writer changes the list, else who has link_mutex.
 *
 * The same structure serves as a transaction's write buffer, with sequence numbers
 * of its own (SEQ_PRIVATE and up). It has one owner, and mostly nobody needs its list before it is
 * whole: entries wait by the thousand (waiting.h), are sorted, and go into the list one behind the
 * other. Point reads ask the filter, and where it does not say no, those that wait if they are few;
 * else they are linked.
 *
 * Range tombstones lie beside the entries, in a range_stack.
 *
 * Threads: where there is one owner, all by one thread at a time, but for ref and unref. Else
 * memtable_add, memtable_delete_ranges and memtable_void by one thread at a time, the
 * writer; reading, memtable_link, ref and unref from any thread. A point read takes no lock; what
 * needs the list whole links what is in the ring, or waits for whoever does that. */
#ifndef KEVO_MEM_MEMTABLE_H
#define KEVO_MEM_MEMTABLE_H

#include <pthread.h>

#include "engine/base/arena.h"
#include "engine/mem/key_filter.h"
#include "engine/mem/node_chains.h"
#include "engine/mem/range_stack.h"
#include "engine/mem/waiting.h"
#include "engine/tree/iter.h"

enum { MEMTABLE_MAX_HEIGHT = 14, MEMTABLE_GROUP_MAX = 32 };

struct memnode;
struct cache;

struct memtable {
    _Atomic unsigned refs;
    struct arena arena;
    struct memnode *head;                              /* before all entries, of full height */
    _Atomic int height;                                /* levels in use */
    struct memnode *splice[MEMTABLE_MAX_HEIGHT];       /* the writer's last position */
    uint64_t random;                                   /* the writer's: heights of new nodes */
    struct memnode *_Atomic apart[MEMTABLE_GROUP_MAX]; /* a ring of those not linked yet: */
    _Atomic uint32_t linked, added;                    /* from the one up to the other */
    _Atomic uint64_t prefixes[MEMTABLE_GROUP_MAX];     /* of their keys */
    pthread_mutex_t link_mutex;
    bool has_one_owner;          /* see memtable_own(): entries are not put into the ring, but */
    struct waiting waiting;      /* ... here */
    struct key_filter filter;    /* see memtable_add_filter(); zeroed: none */
    struct node_chains chains;   /* see memtable_add_chains(); zeroed: none */
    _Atomic uint64_t live_count; /* entries that are not void */
    _Atomic uint64_t max_seq;    /* of all entries ever, the void ones too */
    _Atomic bool in_disorder;    /* an entry was added after one with a larger seq */
    _Atomic unsigned finds;      /* in the list, as long as there are no chains */
    unsigned finds_for_chains;
    struct range_stack ranges;
    uint64_t segment;               /* log segment that protects it */
    struct kevo_commit last_commit; /* newest batch in it once it is immutable */
};

/* One reference; NULL when there is no memory. `first_chunk_bytes` sizes the
 * arena's first chunk: small for write buffers, larger for memtables. */
struct memtable *memtable_new(uint64_t segment, size_t first_chunk_bytes);

/* While it is empty: the memory of its entries, and of chains, is borrowed from the cache, which outlives it. */
void memtable_borrow(struct memtable *m, struct cache *cache);

/* Give a memtable that no other thread reads yet a Bloom filter of about a 128th of
 * `bytes_expected`, so that memtable_get() learns that a key is not there by one cache miss
 * instead of ten. Memory that cannot be had is done without. */
void memtable_add_filter(struct memtable *m, uint64_t bytes_expected);
/* Let a memtable that no other thread uses yet have chains, of about a 64th of `bytes_expected`, once
 * memtable_get() has found so many keys in the list: from then on it finds those that were added
 * meanwhile by few cache misses as well, as long as entries are added in the order of their
 * sequence numbers. Who asks for nothing that is there pays nothing. They are borrowed as the
 * memory of entries is, and done without if there is none. */
void memtable_add_chains(struct memtable *m, uint64_t bytes_expected, unsigned finds);
/* Before anything is added: whatever is called for it is called by one thread at a time, but for
 * memtable_link() and iterators, as long as nothing is added. */
void memtable_own(struct memtable *m);
void memtable_ref(struct memtable *m);
void memtable_unref(struct memtable *m); /* m may be NULL */

/* Empty it; a chunk of its memory is kept for what comes. Nobody else may be using it. */
void memtable_reset(struct memtable *m);

/* Copy an entry in. memtable_get() finds it from then on, and so do iterators that are made later.
 * KEVO_NOMEM changes nothing. */
int memtable_add(struct memtable *m, slice key, uint64_t seq, uint8_t type, slice value,
                 struct kevo_err *err);
/* Link what has been added, for iterators that are there already. */
void memtable_link(struct memtable *m);

/* Add range tombstones, all under `seq`, which is above that of any that is there; the
 * bounds are copied. KEVO_NOMEM changes nothing. */
int memtable_delete_ranges(struct memtable *m, const struct range_list *list, uint64_t seq,
                           struct kevo_err *err);

/* Memory held, in bytes. */
uint64_t memtable_bytes(const struct memtable *m);
uint64_t memtable_live_count(const struct memtable *m);
/* Neither entries nor range tombstones, or all are void. */
bool memtable_is_empty(const struct memtable *m);

/* Where the next entry will lie, and: make void every entry added since `mark`, and
 * every range tombstone, with seq > `seq`. A zeroed mark is the beginning. */
struct arena_mark memtable_mark(const struct memtable *m);
void memtable_void(struct memtable *m, struct arena_mark mark, uint64_t seq);

/* The largest seq <= max_seq of a range tombstone that covers `key`; 0: none. */
static inline uint64_t memtable_cover(const struct memtable *m, slice key, uint64_t max_seq) {
    return range_stack_cover(&m->ranges, key, max_seq);
}

/* The newest version of `key` with seq <= max_seq, covered or not; value is borrowed from the
 * memtable. KEVO_NOTFOUND. */
int memtable_get(struct memtable *m, slice key, uint64_t max_seq, uint8_t *type, uint64_t *seq,
                 slice *value);
/* The same with the key's key_hash(), which matters only where there is a filter; and: it comes
 * soon, so bring in what the filter has of it. */
int memtable_get_hashed(struct memtable *m, slice key, uint64_t hash, uint64_t max_seq,
                        uint8_t *type, uint64_t *seq, slice *value);
void memtable_will_get(const struct memtable *m, uint64_t hash);

/* Whether it has an entry in [lower, upper); data NULL: open. One added meanwhile may or may
 * not be seen. */
bool memtable_overlaps(struct memtable *m, slice lower, slice upper);

/* About how many entries, and bytes of keys and values, lie in [lower, upper). Exact where
 * they are few. */
void memtable_estimate(struct memtable *m, slice lower, slice upper, uint64_t *entries,
                       uint64_t *bytes);

/* An iterator; holds a reference. Entries added meanwhile may or may not be seen.
 * KEVO_NOMEM. */
int memtable_iter_new(struct memtable *m, struct iter **it, struct kevo_err *err);

#endif
