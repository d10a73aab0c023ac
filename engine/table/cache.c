#include "engine/table/cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/preparer.h"
#include "engine/table/cache_memory.h"

/* A block has one reference for each pin and one while it is in its shard's table.
 * Pins are added under the shard's mutex only, so a block seen there with the
 * table's reference alone cannot be pinned meanwhile. They are dropped without it.
 *
 * A hit sets a mark and moves nothing. The eviction reads the marks when it comes
 * to the old end of a list: a marked newcomer goes to the protected list, a marked
 * protected block stays there, others step down. So the lists are touched once a
 * miss, not once a hit, with the same outcome as if every hit had moved its block,
 * but for the order among those hit since.
 *
 * In a full shard only one newcomer in a few begins at the new end of its list. The others
 * begin at the old end, to go when the next one comes unless they are hit before: what is
 * asked for often finds its way in all the same, and where a read asks for any block of many
 * more than there is room for, most of those that come and go use the same memory, which is in
 * the processor's cache, and push out nothing that would have been as good.
 *
 * A newcomer does the same while the cache could grow, but only by memory that is not ready yet: to
 * be the first to use 2 MB takes the system as long as it takes to read hundreds of blocks, or
 * thousands where it has to ask for them itself, as a virtual machine does.
 *
 * Guesses lie in the probation list like others, but only where there was room, and as long as one
 * is the next to go every newcomer begins at the new end. */
struct list {
    struct entry *newest, *oldest;
    uint64_t bytes;
};

/* A place in a shard's table, which is open-addressed with linear probing: the hash
 * is compared here, so that a lookup reads no entry but its own. */
struct slot {
    struct entry *entry; /* NULL: free */
    uint32_t hash;
};

struct shard {
    pthread_mutex_t mutex;
    struct slot *slots;
    size_t slot_count; /* a power of two, more than the entries */
    /* The same for cache_aim(), which takes no lock: it may see one of them and not yet the other. */
    struct slot *_Atomic slots_seen;
    _Atomic size_t mask_seen;
    size_t entry_count;
    struct list probation, protected;
    uint64_t capacity_bytes;
    uint64_t hits, misses;
    unsigned turn;   /* counts the newcomers to a full shard */
    uint8_t pad[64]; /* keeps neighbours off this cache line */
};

enum { MAX_SHARDS = 16, FIRST_SLOTS = 64, LARGEST_PART = 8, NEWCOMERS_A_PLACE = 4 };
enum { ROOM_UNIT = 256, LEAST_PAGES = 8 };
static const uint64_t least_shard_bytes = 512 * 1024; /* fewer shards in a small cache */

struct cache {
    _Atomic uint64_t last_id;
    struct cache_memory memory;
    struct preparer preparer;
    uint64_t capacity_bytes, lent_bytes; /* without and with a borrower for them */
    _Atomic uint64_t borrowed_bytes;
    _Atomic uint64_t spread_bytes; /* of lent_bytes: what shards have; changed under charge_mutex */
    pthread_mutex_t charge_mutex;
    _Atomic uint64_t charged_bytes; /* changed under charge_mutex */
    _Atomic unsigned last_victim;   /* the shard that gave a block for a newcomer of any */
    unsigned shard_count;           /* a power of two */
    struct shard shards[MAX_SHARDS];
};

static uint64_t charge_of(const struct entry *e) {
    return sizeof *e + e->room + 16 /* the allocator's own share */
           + 2 * sizeof(struct slot);
}

static uint64_t used_bytes(const struct shard *s) {
    return s->probation.bytes + s->protected.bytes;
}

/* ---- making ---------------------------------------------------------------- */

static void set_slots(struct shard *s, struct slot *slots, size_t count) {
    s->slots = slots;
    s->slot_count = count;
    atomic_store_explicit(&s->slots_seen, slots, memory_order_relaxed);
    atomic_store_explicit(&s->mask_seen, count - 1, memory_order_relaxed);
}

static bool shard_init(struct shard *s, uint64_t capacity_bytes) {
    s->capacity_bytes = capacity_bytes;
    set_slots(s, mem_array(FIRST_SLOTS, sizeof *s->slots), FIRST_SLOTS);
    if (!s->slots) return false;
    if (pthread_mutex_init(&s->mutex, NULL) == 0) return true;
    mem_free(s->slots);
    return false;
}

static void shard_release(struct shard *s, struct cache_memory *memory) {
    for (size_t i = 0; i < s->slot_count; i++) {
        struct entry *e = s->slots[i].entry;
        if (!e) continue;
        assert(atomic_load(&e->refs) == 1);
        cache_memory_free(memory, e);
    }
    mem_free(s->slots);
    pthread_mutex_destroy(&s->mutex);
}

/* Pages for so many bytes of blocks; a small cache has none. */
static unsigned pages_for(const struct cache *c, uint64_t bytes) {
    uint64_t pages = bytes / MEM_HUGE_BYTES;
    if (c->capacity_bytes / MEM_HUGE_BYTES < LEAST_PAGES) return 0;
    return pages < UINT32_MAX ? (unsigned)pages : UINT32_MAX;
}

struct cache *cache_new(uint64_t capacity_bytes, uint64_t lent_bytes) {
    struct cache *c = mem_zalloc(sizeof *c);
    if (!c) return NULL;
    c->capacity_bytes = capacity_bytes;
    unsigned pages = pages_for(c, capacity_bytes + lent_bytes);
    if (!cache_memory_init(&c->memory, pages, capacity_bytes / 64)) {
        mem_free(c);
        return NULL;
    }
    if (pthread_mutex_init(&c->charge_mutex, NULL)) {
        cache_memory_release(&c->memory);
        mem_free(c);
        return NULL;
    }
    c->lent_bytes = lent_bytes;
    atomic_init(&c->spread_bytes, lent_bytes);
    unsigned shards = MAX_SHARDS;
    while (shards > 1 && capacity_bytes / shards < least_shard_bytes)
        shards /= 2;
    for (; c->shard_count < shards; c->shard_count++) {
        if (!shard_init(&c->shards[c->shard_count], (capacity_bytes + lent_bytes) / shards)) {
            cache_free(c);
            return NULL;
        }
    }
    return c;
}

void cache_free(struct cache *c) {
    if (!c) return;
    assert(atomic_load(&c->borrowed_bytes) == 0);
    preparer_release(&c->preparer);
    for (unsigned i = 0; i < c->shard_count; i++)
        shard_release(&c->shards[i], &c->memory);
    cache_memory_release(&c->memory);
    pthread_mutex_destroy(&c->charge_mutex);
    mem_free(c);
}

void cache_prepare(struct cache *c, struct env *env) {
    preparer_init(&c->preparer, env);
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

static size_t home_with(size_t mask, uint32_t hash) {
    return hash / MAX_SHARDS & mask;
}

static size_t home_of(const struct shard *s, uint32_t hash) {
    return home_with(s->slot_count - 1, hash);
}

/* Bring in the last bytes of a block while its entry is being looked at. */
static inline void prefetch_end(const struct entry *e, unsigned lines) {
    for (unsigned line = 0; line < lines; line++)
        __builtin_prefetch((const uint8_t *)e - (size_t)64 * line);
}

static struct entry *find(const struct shard *s, uint32_t hash, uint64_t id, uint64_t offset) {
    size_t mask = s->slot_count - 1;
    for (size_t i = home_of(s, hash);; i = (i + 1) & mask) {
        struct entry *e = s->slots[i].entry;
        if (!e) return NULL;
        if (s->slots[i].hash != hash) continue;
        prefetch_end(e, CACHE_END_LINES);
        if (e->offset == offset && e->id == id) return e;
    }
}

static void put_slot(struct shard *s, struct slot slot) {
    size_t i = home_of(s, slot.hash);
    while (s->slots[i].entry)
        i = (i + 1) & (s->slot_count - 1);
    s->slots[i] = slot;
}

/* Free slot i; those behind it that probed past it move up. */
static void free_slot(struct shard *s, size_t i) {
    size_t mask = s->slot_count - 1;
    for (size_t k = (i + 1) & mask; s->slots[k].entry; k = (k + 1) & mask) {
        size_t home = home_of(s, s->slots[k].hash);
        if (((k - home) & mask) < ((k - i) & mask)) continue;
        s->slots[i] = s->slots[k];
        i = k;
    }
    s->slots[i].entry = NULL;
}

/* Make room for one more entry: at most three quarters of the slots are taken,
 * without memory all but one. False when there is none. */
static bool reserve_slot(struct shard *s) {
    if (s->entry_count < s->slot_count / 4 * 3) return true;
    size_t old_count = s->slot_count;
    struct slot *old = s->slots, *new = mem_array(old_count, 2 * sizeof *new);
    if (!new) return s->entry_count + 1 < s->slot_count;
    set_slots(s, new, 2 * old_count);
    for (size_t i = 0; i < old_count; i++)
        if (old[i].entry) put_slot(s, old[i]);
    mem_free(old);
    return true;
}

/* At the new end, or at the old one. */
static void list_add(struct list *l, struct entry *e, bool oldest) {
    e->newer = oldest ? l->oldest : NULL;
    e->older = oldest ? NULL : l->newest;
    *(e->newer ? &e->newer->older : &l->newest) = e;
    *(e->older ? &e->older->newer : &l->oldest) = e;
    l->bytes += charge_of(e);
}

static void list_remove(struct list *l, struct entry *e) {
    *(e->newer ? &e->newer->older : &l->newest) = e->older;
    *(e->older ? &e->older->newer : &l->oldest) = e->newer;
    l->bytes -= charge_of(e);
}

static struct list *list_of(struct shard *s, const struct entry *e) {
    return e->is_protected ? &s->protected : &s->probation;
}

/* To the new end of the probation list, or of the protected one. */
static void move(struct shard *s, struct entry *e, bool to_protected) {
    list_remove(list_of(s, e), e);
    e->is_protected = to_protected;
    e->marked = e->is_guess = false;
    list_add(list_of(s, e), e, false);
}

/* Take what is in slot i out of the table and its list and put it on *victims; the
 * table's reference goes with it. */
static void take_out(struct shard *s, size_t i, struct entry **victims) {
    struct entry *e = s->slots[i].entry;
    free_slot(s, i);
    list_remove(list_of(s, e), e);
    s->entry_count--;
    e->older = *victims;
    *victims = e;
}

static void evict(struct shard *s, struct entry *e, struct entry **victims) {
    size_t i = home_of(s, e->hash);
    while (s->slots[i].entry != e)
        i = (i + 1) & (s->slot_count - 1);
    take_out(s, i, victims);
}

static void shrink_protected(struct shard *s) {
    uint64_t limit = s->capacity_bytes / 5 * 4;
    while (s->protected.bytes > limit) {
        struct entry *e = s->protected.oldest;
        /* In one call for both, gcc 12 at -O3 looks at the same entry for ever. */
        if (e->marked)
            move(s, e, true);
        else
            move(s, e, false);
    }
}

/* The next eviction will look at these, by which time nothing else has. */
static void prefetch_oldest(const struct shard *s) {
    const struct entry *e = s->probation.oldest;
    if (e) __builtin_prefetch(e->newer);
}

/* Evict a block, or clear a mark, or pass a pinned block. False: there is none. */
static bool evict_step(struct shard *s, struct entry **victims) {
    struct entry *e = s->probation.oldest ? s->probation.oldest : s->protected.oldest;
    if (!e) return false;
    if (e->marked) {
        move(s, e, true);
        shrink_protected(s);
    } else if (atomic_load_explicit(&e->refs, memory_order_acquire) > 1) {
        move(s, e, e->is_protected);
    } else {
        evict(s, e, victims);
    }
    return true;
}

/* Make the shard fit its capacity with `bytes` more, as far as pins allow. */
static void make_room(struct shard *s, uint64_t bytes, struct entry **victims) {
    size_t steps = 2 * s->entry_count + 2;
    while (used_bytes(s) + bytes > s->capacity_bytes && steps-- > 0 && evict_step(s, victims))
        continue;
    prefetch_oldest(s);
}

/* A page was taken, by blocks or by who borrows. What takes one only needs no second one soon. */
static void prepare_next(struct cache *c) {
    uint64_t borrowed = atomic_load_explicit(&c->borrowed_bytes, memory_order_relaxed);
    uint64_t charged = atomic_load_explicit(&c->charged_bytes, memory_order_relaxed);
    uint64_t all = c->capacity_bytes + c->lent_bytes;
    unsigned limit = pages_for(c, all - (charged < all ? charged : all));
    uint64_t taken =
        cache_memory_pages(&c->memory) + (borrowed + MEM_HUGE_BYTES - 1) / MEM_HUGE_BYTES;
    if (taken > 1 && taken < limit) preparer_want(&c->preparer, limit - (unsigned)taken);
}

/* ---- references -------------------------------------------------------------- */

static void unref(struct cache *c, struct entry *e) {
    uint32_t before = atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1) cache_memory_give(&c->memory, e);
}

static void unref_all(struct cache *c, struct entry *victims) {
    for (struct entry *next; victims; victims = next) {
        next = victims->older;
        unref(c, victims);
    }
}

/* The memory of a block that goes, of the shards in turn; not of a protected one. NULL: what comes
 * next is in use, as it is where most of what is read is read again: the cache grows then. */
static struct entry *take_over(struct cache *c, size_t room) {
    enum { MOST_STEPS = 8 };
    struct entry *victims = NULL;
    unsigned turn = atomic_fetch_add_explicit(&c->last_victim, 1, memory_order_relaxed) + 1;
    struct shard *s = &c->shards[turn & (c->shard_count - 1)];
    pthread_mutex_lock(&s->mutex);
    for (unsigned i = 0; i < MOST_STEPS && !victims && s->probation.oldest; i++)
        evict_step(s, &victims);
    pthread_mutex_unlock(&s->mutex);
    if (!victims) return NULL;
    unref_all(c, victims);
    return cache_memory_spare(&c->memory, room);
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

void cache_prefetch(const struct cache_block *b, unsigned lines) {
    prefetch_end((const struct entry *)b, lines);
}

void cache_aim(struct cache *c, uint64_t id, uint64_t offset) {
    uint32_t hash = hash_of(id, offset);
    const struct shard *s = shard_of(c, hash);
    uintptr_t slots = (uintptr_t)atomic_load_explicit(&s->slots_seen, memory_order_relaxed);
    size_t mask = atomic_load_explicit(&s->mask_seen, memory_order_relaxed);
    __builtin_prefetch((const void *)(slots + home_with(mask, hash) * sizeof *s->slots));
}

bool cache_peek(struct cache *c, uint64_t id, uint64_t offset) {
    uint32_t hash = hash_of(id, offset);
    struct shard *s = shard_of(c, hash);
    pthread_mutex_lock(&s->mutex);
    bool found = find(s, hash, id, offset) != NULL;
    pthread_mutex_unlock(&s->mutex);
    return found;
}

/* Memory for a block, as it comes; *passing: of another one's, for want of new memory. */
static struct entry *find_memory(struct cache *c, size_t room, bool guess, bool *passing) {
    enum piece_outcome outcome;
    struct entry *e = cache_memory_spare(&c->memory, room);
    *passing = false;
    if (e) return e;
    e = cache_memory_piece(&c->memory, room, !guess && preparer_is_busy(&c->preparer), &outcome);
    if (outcome == PAGE_AWAITED) {
        e = take_over(c, room);
        *passing = e != NULL;
        if (!e) e = cache_memory_piece(&c->memory, room, false, &outcome);
    }
    if (outcome == PAGE_TAKEN) prepare_next(c);
    return e ? e : cache_memory_new(room);
}

struct cache_block *cache_new_block(struct cache *c, uint32_t len, bool guess) {
    const size_t unit = _Alignof(struct entry);
    size_t used = ((size_t)len + len / CACHE_ROOM_PART + unit - 1) / unit * unit;
    size_t room = ((size_t)len + ROOM_UNIT - 1) / ROOM_UNIT * ROOM_UNIT;
    bool passing;
    if (used < len || room < len) return NULL;
    if (used > room) used = room;
    struct entry *e = find_memory(c, room, guess, &passing);
    if (!e) return NULL;
    *e = (struct entry){.block = {.data = (uint8_t *)e - used, .len = len},
                        .refs = 1,
                        .is_passing = passing,
                        .is_guess = guess,
                        .room = e->room,
                        .page = e->page};
    return &e->block;
}

uint8_t *cache_block_bytes(struct cache_block *b) {
    return (uint8_t *)(uintptr_t)b->data;
}

static bool is_full_for(const struct shard *s, const struct entry *e) {
    return used_bytes(s) + charge_of(e) > s->capacity_bytes;
}

/* As long as there are guesses at the old end, the shard is as good as not full. */
static bool has_to_wait_its_turn(struct shard *s, const struct entry *e) {
    const struct entry *next = s->probation.oldest;
    if (!is_full_for(s, e) || (next && next->is_guess)) return false;
    return ++s->turn % NEWCOMERS_A_PLACE != 0;
}

static void insert(struct shard *s, struct entry *e, struct entry **victims) {
    bool at_old_end = e->is_passing || has_to_wait_its_turn(s, e);
    make_room(s, charge_of(e), victims);
    put_slot(s, (struct slot){e, e->hash});
    list_add(&s->probation, e, at_old_end);
    s->entry_count++;
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
}

struct cache_block *cache_publish(struct cache *c, struct cache_block *b, uint64_t id,
                                  uint64_t offset) {
    struct entry *e = (struct entry *)b, *victims = NULL, *faster;
    e->hash = hash_of(id, offset);
    e->id = id;
    e->offset = offset;
    struct shard *s = shard_of(c, e->hash);
    pthread_mutex_lock(&s->mutex);
    faster = find(s, e->hash, id, offset);
    if (faster) {
        b = pin(faster);
    } else if (!cache_memory_is_condemned(e) && charge_of(e) <= s->capacity_bytes / LARGEST_PART &&
               !(e->is_guess && is_full_for(s, e)) && reserve_slot(s)) {
        insert(s, e, &victims);
    }
    pthread_mutex_unlock(&s->mutex);
    if (faster) unref(c, e);
    unref_all(c, victims);
    return b;
}

void cache_unpin(struct cache *c, struct cache_block *b) {
    unref(c, (struct entry *)b);
}

void cache_erase(struct cache *c, uint64_t id) {
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        struct entry *victims = NULL;
        pthread_mutex_lock(&s->mutex);
        for (size_t k = 0; k < s->slot_count;) {
            struct entry *e = s->slots[k].entry;
            if (e && e->id == id)
                take_out(s, k, &victims);
            else
                k++;
        }
        pthread_mutex_unlock(&s->mutex);
        unref_all(c, victims);
    }
}

/* Let a copy in a piece of another page be in the place of what is in slot i, which goes to
 * *victims. False when it is pinned, or no piece is free. */
static bool move_elsewhere(struct shard *s, size_t i, struct cache_memory *memory,
                           struct entry **victims) {
    struct entry *e = s->slots[i].entry, *copy;
    enum piece_outcome ignored;
    if (atomic_load_explicit(&e->refs, memory_order_acquire) > 1) return false;
    if (!(copy = cache_memory_piece(memory, e->room, false, &ignored))) return false;
    size_t used = (size_t)((const uint8_t *)e - e->block.data);
    struct slab_page *page = copy->page;
    *copy = *e;
    copy->page = page;
    copy->block.data = memcpy((uint8_t *)copy - used, e->block.data, used);
    struct list *l = list_of(s, e);
    *(e->newer ? &e->newer->older : &l->newest) = copy;
    *(e->older ? &e->older->newer : &l->oldest) = copy;
    s->slots[i].entry = copy;
    e->older = *victims;
    *victims = e;
    return true;
}

/* Have the blocks of a page elsewhere, or not at all. They are known by their addresses: the
 * other entries, which are spread over the memory, are not read. */
static void take_out_page(struct shard *s, const struct slab_page *page,
                          struct cache_memory *memory, struct entry **victims) {
    for (size_t k = 0; k < s->slot_count;) {
        const struct entry *e = s->slots[k].entry;
        bool inside = e && (uintptr_t)e - (uintptr_t)page < (uintptr_t)MEM_HUGE_BYTES;
        if (inside && !move_elsewhere(s, k, memory, victims))
            take_out(s, k, victims);
        else
            k++;
    }
}

/* Hold no more pages than the shards may fill. Evicting what was not used for longest has left
 * holes in all pages and may have freed none: what is left of some fills the holes of others. A
 * page that is pinned somewhere goes when it is not any more. */
static void empty_pages(struct cache *c, uint64_t limit_bytes) {
    const struct slab_page *page;
    while ((page = cache_memory_condemn(&c->memory, pages_for(c, limit_bytes)))) {
        for (unsigned i = 0; i < c->shard_count; i++) {
            struct shard *s = &c->shards[i];
            struct entry *victims = NULL;
            pthread_mutex_lock(&s->mutex);
            take_out_page(s, page, &c->memory, &victims);
            pthread_mutex_unlock(&s->mutex);
            unref_all(c, victims);
        }
    }
}

static uint64_t limit_of(const struct cache *c) {
    return c->capacity_bytes + atomic_load_explicit(&c->spread_bytes, memory_order_relaxed);
}

/* Needs charge_mutex. */
static void share_out(struct cache *c) {
    uint64_t least = c->capacity_bytes / 4, left = limit_of(c);
    left -= c->charged_bytes < left ? c->charged_bytes : left;
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        struct entry *victims = NULL;
        pthread_mutex_lock(&s->mutex);
        s->capacity_bytes = (left > least ? left : least) / c->shard_count;
        make_room(s, 0, &victims);
        pthread_mutex_unlock(&s->mutex);
        unref_all(c, victims);
    }
}

void cache_charge(struct cache *c, uint64_t bytes) {
    pthread_mutex_lock(&c->charge_mutex);
    c->charged_bytes += bytes;
    share_out(c);
    pthread_mutex_unlock(&c->charge_mutex);
}

void cache_uncharge(struct cache *c, uint64_t bytes) {
    pthread_mutex_lock(&c->charge_mutex);
    assert(c->charged_bytes >= bytes);
    c->charged_bytes -= bytes;
    share_out(c);
    pthread_mutex_unlock(&c->charge_mutex);
}

/* ---- lending -------------------------------------------------------------------- */

/* What is lent and not borrowed. */
static uint64_t to_spread(const struct cache *c) {
    uint64_t borrowed = atomic_load(&c->borrowed_bytes);
    return borrowed < c->lent_bytes ? c->lent_bytes - borrowed : 0;
}

/* Blocks must go at once, and more than was asked for; they may come back in larger steps. So a
 * small memtable that comes and goes with each transaction changes nothing. */
static bool has_to_change(const struct cache *c) {
    uint64_t spread = atomic_load(&c->spread_bytes), wanted = to_spread(c);
    return wanted < spread || wanted - spread > c->lent_bytes / 8;
}

/* Needs charge_mutex. */
static void change_spread(struct cache *c) {
    uint64_t wanted = to_spread(c);
    uint64_t ahead = wanted < atomic_load(&c->spread_bytes) ? c->lent_bytes / 16 : 0;
    atomic_store(&c->spread_bytes, wanted - (ahead < wanted ? ahead : wanted));
    share_out(c);
    empty_pages(c, limit_of(c));
}

/* Who borrows after change_spread() has read and before it has written sees the spread of before,
 * which may leave enough, and goes on: so it is looked at again. */
static void spread_lent(struct cache *c) {
    while (has_to_change(c)) {
        pthread_mutex_lock(&c->charge_mutex);
        if (has_to_change(c)) change_spread(c);
        pthread_mutex_unlock(&c->charge_mutex);
    }
}

void cache_borrow(struct cache *c, uint64_t bytes) {
    atomic_fetch_add(&c->borrowed_bytes, bytes);
    spread_lent(c);
}

void cache_took(struct cache *c, uint64_t bytes) {
    if (bytes == MEM_HUGE_BYTES) prepare_next(c);
}

void cache_give_back(struct cache *c, uint64_t bytes) {
    atomic_fetch_sub(&c->borrowed_bytes, bytes);
    spread_lent(c);
}

uint64_t cache_free_bytes(struct cache *c) {
    uint64_t free_bytes = 0;
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        pthread_mutex_lock(&s->mutex);
        uint64_t used = used_bytes(s);
        if (used < s->capacity_bytes) free_bytes += s->capacity_bytes - used;
        pthread_mutex_unlock(&s->mutex);
    }
    return free_bytes;
}

void cache_get_stats(struct cache *c, struct cache_stats *stats) {
    *stats = (struct cache_stats){0};
    pthread_mutex_lock(&c->charge_mutex);
    stats->charged_bytes = c->charged_bytes;
    stats->limit_bytes = limit_of(c);
    pthread_mutex_unlock(&c->charge_mutex);
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct shard *s = &c->shards[i];
        pthread_mutex_lock(&s->mutex);
        stats->hits += s->hits;
        stats->misses += s->misses;
        stats->used_bytes += used_bytes(s);
        pthread_mutex_unlock(&s->mutex);
    }
}
