#include "engine/table/cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/alloc.h"

/* A block has one reference for each pin and one while it is in its shard's table.
 * Pins are added under the shard's mutex only, so a block seen there with the
 * table's reference alone cannot be pinned meanwhile. They are dropped without it.
 *
 * A hit sets a mark and moves nothing. The eviction reads the marks when it comes
 * to the old end of a list: a marked newcomer goes to the protected list, a marked
 * protected block stays there, others step down. So the lists are touched once a
 * miss, not once a hit, with the same outcome as if every hit had moved its block,
 * but for the order among those hit since. */
struct entry {
    struct cache_block block; /* first: the caller's view; the bytes follow this struct */
    _Atomic uint32_t refs;
    uint32_t hash;
    bool marked;         /* hit since it was last moved */
    bool is_protected;   /* which list it is in */
    struct entry *chain; /* the next in its bucket, or in a list of victims */
    struct entry *newer, *older;
    uint64_t id, offset;
};

struct list {
    struct entry *newest, *oldest;
    uint64_t bytes;
};

struct shard {
    pthread_mutex_t mutex;
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    size_t entry_count;
    struct list probation, protected;
    uint64_t capacity_bytes;
    uint64_t hits, misses;
    uint8_t pad[64]; /* keeps neighbours off this cache line */
};

enum { MAX_SHARDS = 16, FIRST_BUCKETS = 64, LARGEST_PART = 8 };
static const uint64_t least_shard_bytes = 512 * 1024; /* fewer shards in a small cache */

struct cache {
    _Atomic uint64_t last_id;
    unsigned shard_count; /* a power of two */
    struct shard shards[MAX_SHARDS];
};

static uint64_t charge_of(const struct entry *e) {
    return sizeof *e + e->block.len + 16; /* the allocator's own share */
}

static uint64_t used_bytes(const struct shard *s) {
    return s->probation.bytes + s->protected.bytes;
}

/* ---- making ---------------------------------------------------------------- */

static bool shard_init(struct shard *s, uint64_t capacity_bytes) {
    s->capacity_bytes = capacity_bytes;
    s->bucket_count = FIRST_BUCKETS;
    s->buckets = mem_array(s->bucket_count, sizeof *s->buckets);
    if (!s->buckets) return false;
    if (pthread_mutex_init(&s->mutex, NULL) == 0) return true;
    mem_free(s->buckets);
    return false;
}

static void shard_release(struct shard *s) {
    for (size_t i = 0; i < s->bucket_count; i++) {
        for (struct entry *e = s->buckets[i], *next; e; e = next) {
            next = e->chain;
            assert(atomic_load(&e->refs) == 1);
            mem_free(e);
        }
    }
    mem_free(s->buckets);
    pthread_mutex_destroy(&s->mutex);
}

struct cache *cache_new(uint64_t capacity_bytes) {
    struct cache *c = mem_zalloc(sizeof *c);
    if (!c) return NULL;
    unsigned shards = MAX_SHARDS;
    while (shards > 1 && capacity_bytes / shards < least_shard_bytes)
        shards /= 2;
    for (; c->shard_count < shards; c->shard_count++) {
        if (!shard_init(&c->shards[c->shard_count], capacity_bytes / shards)) {
            cache_free(c);
            return NULL;
        }
    }
    return c;
}

void cache_free(struct cache *c) {
    if (!c) return;
    for (unsigned i = 0; i < c->shard_count; i++)
        shard_release(&c->shards[i]);
    mem_free(c);
}

uint64_t cache_new_id(struct cache *c) {
    return atomic_fetch_add(&c->last_id, 1) + 1;
}

/* ---- a shard's table and lists, under its mutex ------------------------------ */

static uint32_t hash_of(uint64_t id, uint64_t offset) {
    uint64_t h = (offset + (id << 48 | id >> 16)) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(h >> 32);
}

static struct shard *shard_of(struct cache *c, uint32_t hash) {
    return &c->shards[hash & (c->shard_count - 1)];
}

static struct entry **bucket_of(const struct shard *s, uint32_t hash) {
    return &s->buckets[(hash / MAX_SHARDS) & (s->bucket_count - 1)];
}

static struct entry *find(const struct shard *s, uint32_t hash, uint64_t id, uint64_t offset) {
    struct entry *e = *bucket_of(s, hash);
    while (e && (e->offset != offset || e->id != id))
        e = e->chain;
    return e;
}

/* Twice the buckets. Without memory the chains just get longer. */
static void grow(struct shard *s) {
    struct entry **old = s->buckets, **new = mem_array(s->bucket_count, 2 * sizeof *new);
    if (!new) return;
    size_t old_count = s->bucket_count;
    s->buckets = new;
    s->bucket_count *= 2;
    for (size_t i = 0; i < old_count; i++) {
        for (struct entry *e = old[i], *next; e; e = next) {
            next = e->chain;
            struct entry **bucket = bucket_of(s, e->hash);
            e->chain = *bucket;
            *bucket = e;
        }
    }
    mem_free(old);
}

static void list_add(struct list *l, struct entry *e) {
    e->newer = NULL;
    e->older = l->newest;
    if (l->newest)
        l->newest->newer = e;
    else
        l->oldest = e;
    l->newest = e;
    l->bytes += charge_of(e);
}

static void list_remove(struct list *l, struct entry *e) {
    if (e->newer)
        e->newer->older = e->older;
    else
        l->newest = e->older;
    if (e->older)
        e->older->newer = e->newer;
    else
        l->oldest = e->newer;
    l->bytes -= charge_of(e);
}

static struct list *list_of(struct shard *s, const struct entry *e) {
    return e->is_protected ? &s->protected : &s->probation;
}

/* To the new end of the probation list, or of the protected one. */
static void move(struct shard *s, struct entry *e, bool to_protected) {
    list_remove(list_of(s, e), e);
    e->is_protected = to_protected;
    e->marked = false;
    list_add(list_of(s, e), e);
}

/* Take `*link` out of its bucket and its list and put it on *victims; its
 * reference goes with it. */
static void take_out(struct shard *s, struct entry **link, struct entry **victims) {
    struct entry *e = *link;
    *link = e->chain;
    list_remove(list_of(s, e), e);
    s->entry_count--;
    e->chain = *victims;
    *victims = e;
}

static void evict(struct shard *s, struct entry *e, struct entry **victims) {
    struct entry **link = bucket_of(s, e->hash);
    while (*link != e)
        link = &(*link)->chain;
    take_out(s, link, victims);
}

static void shrink_protected(struct shard *s) {
    uint64_t limit = s->capacity_bytes / 5 * 4;
    while (s->protected.bytes > limit) {
        struct entry *e = s->protected.oldest;
        move(s, e, e->marked);
    }
}

/* Make the shard fit its capacity, as far as pins allow. */
static void make_room(struct shard *s, struct entry **victims) {
    /* Every step evicts, or clears a mark, or passes a pinned block. */
    size_t steps = 2 * s->entry_count + 2;
    while (used_bytes(s) > s->capacity_bytes && steps-- > 0) {
        struct entry *e = s->probation.oldest ? s->probation.oldest : s->protected.oldest;
        if (!e) break;
        if (e->marked) {
            move(s, e, true);
            shrink_protected(s);
        } else if (atomic_load_explicit(&e->refs, memory_order_acquire) > 1) {
            move(s, e, e->is_protected);
        } else {
            evict(s, e, victims);
        }
    }
}

/* ---- references -------------------------------------------------------------- */

static void unref(struct entry *e) {
    uint32_t before = atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1) mem_free(e);
}

static void unref_all(struct entry *victims) {
    for (struct entry *next; victims; victims = next) {
        next = victims->chain;
        unref(victims);
    }
}

static struct cache_block *pin(struct entry *e) {
    e->marked = true;
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return &e->block;
}

/* ---- the interface ------------------------------------------------------------ */

struct cache_block *cache_get(struct cache *c, uint64_t id, uint64_t offset) {
    uint32_t hash = hash_of(id, offset);
    struct shard *s = shard_of(c, hash);
    pthread_mutex_lock(&s->mutex);
    struct entry *e = find(s, hash, id, offset);
    struct cache_block *b = e ? pin(e) : NULL;
    s->hits += b != NULL;
    s->misses += b == NULL;
    pthread_mutex_unlock(&s->mutex);
    return b;
}

struct cache_block *cache_new_block(struct cache *c, uint32_t len) {
    (void)c;
    struct entry *e;
    size_t bytes;
    if (__builtin_add_overflow(sizeof *e, len, &bytes) || !(e = mem_alloc(bytes))) return NULL;
    *e = (struct entry){.block = {.data = (uint8_t *)(e + 1), .len = len}, .refs = 1};
    return &e->block;
}

uint8_t *cache_block_bytes(struct cache_block *b) {
    return (uint8_t *)((struct entry *)b + 1);
}

static void insert(struct shard *s, struct entry *e) {
    if (s->entry_count >= s->bucket_count) grow(s);
    struct entry **bucket = bucket_of(s, e->hash);
    e->chain = *bucket;
    *bucket = e;
    list_add(&s->probation, e);
    s->entry_count++;
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
}

struct cache_block *cache_publish(struct cache *c, struct cache_block *b, uint64_t id,
                                  uint64_t offset, bool keep) {
    struct entry *e = (struct entry *)b, *victims = NULL, *faster;
    e->hash = hash_of(id, offset);
    e->id = id;
    e->offset = offset;
    struct shard *s = shard_of(c, e->hash);
    if (!keep || charge_of(e) > s->capacity_bytes / LARGEST_PART) return b;
    pthread_mutex_lock(&s->mutex);
    faster = find(s, e->hash, id, offset);
    if (faster) {
        b = pin(faster);
    } else {
        insert(s, e);
        make_room(s, &victims);
    }
    pthread_mutex_unlock(&s->mutex);
    if (faster) unref(e);
    unref_all(victims);
    return b;
}

void cache_unpin(struct cache *c, struct cache_block *b) {
    (void)c;
    unref((struct entry *)b);
}

void cache_erase(struct cache *c, uint64_t id) {
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        struct entry *victims = NULL;
        pthread_mutex_lock(&s->mutex);
        for (size_t k = 0; k < s->bucket_count; k++) {
            for (struct entry **link = &s->buckets[k]; *link;) {
                if ((*link)->id == id)
                    take_out(s, link, &victims);
                else
                    link = &(*link)->chain;
            }
        }
        pthread_mutex_unlock(&s->mutex);
        unref_all(victims);
    }
}

void cache_get_stats(struct cache *c, struct cache_stats *stats) {
    *stats = (struct cache_stats){0};
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        pthread_mutex_lock(&s->mutex);
        stats->hits += s->hits;
        stats->misses += s->misses;
        stats->used_bytes += used_bytes(s);
        pthread_mutex_unlock(&s->mutex);
    }
}
