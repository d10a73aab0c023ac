#include "engine/mem/memtable.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/checksum.h"
#include "engine/base/error.h"
#include "engine/mem/memtable_find.h"
#include "engine/table/cache.h"

/* The i-th of all nodes that were ever put apart, or a later one in its place. */
static struct memnode *apart_node(const struct memtable *m, uint32_t i) {
    return atomic_load_explicit(&m->apart[i % MEMTABLE_GROUP_MAX], memory_order_acquire);
}

static struct memnode *node_new(struct memtable *m, unsigned height, slice key, uint64_t seq,
                                uint8_t type, slice value) {
    struct memnode *n = arena_alloc(&m->arena, node_size(height, key.len, value.len));
    if (!n) return NULL;
    n->prefix = slice_prefix64(key);
    n->seq = seq;
    n->value_bytes = (uint32_t)value.len;
    n->key_bytes_less_one = (uint16_t)(key.len - 1);
    n->height = (uint8_t)height;
    atomic_init(&n->type, type);
    uint8_t *bytes = (uint8_t *)&n->next[height];
    memcpy(bytes, key.data, key.len);
    if (value.len) memcpy(bytes + key.len, value.data, value.len);
    return n;
}

struct memtable *memtable_new(uint64_t segment, size_t first_chunk_bytes) {
    struct memtable *m = mem_zalloc(sizeof *m);
    if (!m) return NULL;
    arena_init(&m->arena, first_chunk_bytes);
    m->head = mem_zalloc(node_size(MEMTABLE_MAX_HEIGHT, 0, 0));
    if (!m->head) {
        mem_free(m);
        return NULL;
    }
    m->head->height = MEMTABLE_MAX_HEIGHT;
    atomic_init(&m->refs, 1);
    pthread_mutex_init(&m->link_mutex, NULL);
    m->random = 0x9e3779b97f4a7c15u;
    m->segment = segment;
    memtable_reset(m);
    return m;
}

static void borrow(void *cache, uint64_t bytes) {
    cache_borrow(cache, bytes);
}

static void took(void *cache, uint64_t bytes) {
    cache_took(cache, bytes);
}

static void give_back(void *cache, uint64_t bytes) {
    cache_give_back(cache, bytes);
}

void memtable_borrow(struct memtable *m, struct cache *cache) {
    arena_tell(&m->arena, (struct arena_watch){borrow, took, give_back, cache});
}

void memtable_own(struct memtable *m) {
    m->has_one_owner = true;
}

void memtable_reset(struct memtable *m) {
    m->waiting.count = 0;
    arena_reset(&m->arena);
    range_stack_release(&m->ranges);
    node_chains_clear(&m->chains);
    for (int i = 0; i < MEMTABLE_MAX_HEIGHT; i++) {
        atomic_init(&m->head->next[i], NULL);
        m->splice[i] = m->head;
    }
    atomic_init(&m->added, 0);
    atomic_init(&m->linked, 0);
    atomic_init(&m->height, 1);
    atomic_init(&m->live_count, 0);
    atomic_init(&m->max_seq, 0);
    atomic_init(&m->in_disorder, false);
    atomic_init(&m->finds, 0);
}

static bool want_chains(const struct memtable *m) {
    return m->chains.count && !node_chains_exist(&m->chains) &&
           atomic_load_explicit(&m->finds, memory_order_relaxed) >= m->finds_for_chains;
}

/* They are borrowed as the arena is. */
static void begin_chains(struct memtable *m) {
    const struct arena_watch *w = &m->arena.watch;
    uint64_t bytes = node_chains_begin(&m->chains);
    if (w->takes && bytes) w->takes(w->arg, bytes);
}

static void release_chains(struct memtable *m) {
    const struct arena_watch *w = &m->arena.watch;
    uint64_t bytes = node_chains_bytes(&m->chains);
    node_chains_release(&m->chains);
    if (w->gave && bytes) w->gave(w->arg, bytes);
}

void memtable_ref(struct memtable *m) {
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
}

void memtable_unref(struct memtable *m) {
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) > 1) return;
    arena_release(&m->arena);
    range_stack_release(&m->ranges);
    pthread_mutex_destroy(&m->link_mutex);
    key_filter_release(&m->filter);
    waiting_release(&m->waiting);
    release_chains(m);
    mem_free(m->head);
    mem_free(m);
}

/* ---- filter ---------------------------------------------------------------------- */

static size_t note_node(void *arg, void *piece) {
    struct memnode *n = piece;
    key_filter_set(arg, key_hash(node_key(n)));
    return node_size(n->height, node_key_bytes(n), n->value_bytes);
}

void memtable_add_filter(struct memtable *m, uint64_t bytes_expected) {
    if (key_filter_init(&m->filter, bytes_expected / 128))
        arena_walk(&m->arena, (struct arena_mark){NULL, 0}, note_node, &m->filter);
}

enum { CHAINS_PART = 64 };

void memtable_add_chains(struct memtable *m, uint64_t bytes_expected, unsigned finds) {
    node_chains_init(&m->chains, bytes_expected / CHAINS_PART);
    m->finds_for_chains = finds;
}

void memtable_will_get(const struct memtable *m, uint64_t hash) {
    if (m->filter.words && memtable_live_count(m) > 0) key_filter_prefetch(&m->filter, hash);
}

/* ---- adding ---------------------------------------------------------------------- */

/* A quarter of the nodes reaches each next level. */
static unsigned random_height(struct memtable *m) {
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    unsigned height = 1;
    for (uint64_t r = m->random >> 8; (r & 3) == 0 && height < MEMTABLE_MAX_HEIGHT; r >>= 2)
        height++;
    return height;
}

/* Whether the last node before the target on this level is `prev`. */
static bool brackets(const struct memtable *m, struct memnode *prev, int level,
                     const struct target *t) {
    if (prev != m->head && !node_before(prev, t)) return false;
    struct memnode *next = node_next(prev, level);
    return !next || !node_before(next, t);
}

/* Move every level of the splice to the last node before the target. The splice
 * is nested: a higher level's node is never after a lower level's. So from the
 * bottom up, the first level that still brackets the target tells that those above
 * do too, and only those below are walked again. */
static void move_splice(struct memtable *m, const struct target *t) {
    int top = atomic_load_explicit(&m->height, memory_order_relaxed);
    int level = 0;
    while (level < top && !brackets(m, m->splice[level], level, t))
        level++;
    struct memnode *from = level < top ? m->splice[level] : m->head;
    bool moved = false;
    while (--level >= 0) {
        /* Until a higher level has led further, this level's own node may be nearer. */
        struct memnode *own = m->splice[level];
        if (!moved && own != m->head && node_before(own, t)) from = own;
        for (struct memnode *next; (next = node_next(from, level));) {
            /* Where the walk goes on if `next` is too far, most of the time. */
            if (level > 0) prefetch_node(node_next(from, level - 1));
            if (!node_before(next, t)) break;
            from = next;
            moved = true;
        }
        m->splice[level] = from;
    }
}

/* One of several searches that go on in turn. */
struct walk {
    struct memnode *added; /* whose place is looked for */
    struct target target;
    struct memnode *node, *next;
    int level;
    struct memnode *before[MEMTABLE_MAX_HEIGHT]; /* on each level the last node before the target */
};

static void look_ahead(struct walk *w) {
    w->next = node_next(w->node, w->level);
    prefetch_node(w->next);
}

/* Descend for all at once, as long as they go the same way: far, when they are neighbours. */
static int search_in_common(const struct memtable *m, struct walk *walks, unsigned count) {
    uint64_t least = UINT64_MAX, most = 0;
    int level = atomic_load_explicit(&m->height, memory_order_relaxed) - 1;
    struct memnode *node = m->head;
    for (unsigned i = 0; i < count; i++) {
        uint64_t prefix = walks[i].target.prefix;
        if (prefix < least) least = prefix;
        if (prefix > most) most = prefix;
    }
    while (level > 0) {
        struct memnode *next = node_next(node, level);
        if (next && next->prefix < least) {
            node = next;
        } else if (!next || next->prefix > most) {
            for (unsigned i = 0; i < count; i++)
                walks[i].before[level] = node;
            level--;
        } else {
            break;
        }
    }
    for (unsigned i = 0; i < count; i++)
        walks[i].node = node;
    return level;
}

static void search_together(const struct memtable *m, struct walk *walks, unsigned count) {
    uint8_t on_way[MEMTABLE_GROUP_MAX];
    int level = search_in_common(m, walks, count);
    for (unsigned i = 0; i < count; i++) {
        on_way[i] = (uint8_t)i;
        walks[i].level = level;
        look_ahead(&walks[i]);
    }
    while (count > 0) {
        for (unsigned i = 0; i < count;) {
            struct walk *w = &walks[on_way[i]];
            if (w->next && node_before(w->next, &w->target)) {
                w->node = w->next;
            } else {
                w->before[w->level] = w->node;
                if (w->level-- == 0) {
                    on_way[i] = on_way[--count];
                    continue;
                }
            }
            look_ahead(w);
            i++;
        }
    }
}

/* Levels above `height` had only the head; a reader that sees the new height before the new
 * pointers finds NULL there and goes down. */
static void raise_to(struct memtable *m, int height) {
    int old = atomic_load_explicit(&m->height, memory_order_relaxed);
    if (height <= old) return;
    for (int i = old; i < height; i++)
        m->splice[i] = m->head;
    atomic_store_explicit(&m->height, height, memory_order_relaxed);
}

static void link_after(struct memnode *before, struct memnode *n, int level) {
    struct memnode *next = atomic_load_explicit(&before->next[level], memory_order_relaxed);
    atomic_store_explicit(&n->next[level], next, memory_order_relaxed);
    atomic_store_explicit(&before->next[level], n, memory_order_release);
}

/* Make the node part of the list, by itself, where the splice is. */
static void link_here(struct memtable *m, struct memnode *n) {
    raise_to(m, n->height);
    for (int i = 0; i < n->height; i++) {
        link_after(m->splice[i], n, i);
        m->splice[i] = n;
    }
}

static void link_node(struct memtable *m, struct memnode *n) {
    struct target t = {n->prefix, node_key(n), n->seq};
    move_splice(m, &t);
    link_here(m, n);
}

/* The last node before the target on a level, starting from what was right before the nodes
 * that were linked since. */
static struct memnode *catch_up(const struct walk *w, struct memnode *before, int level) {
    for (struct memnode *next; (next = node_next(before, level)) && node_before(next, &w->target);)
        before = next;
    return before;
}

static void link_together(struct memtable *m, struct walk *walks, unsigned count) {
    int searched = atomic_load_explicit(&m->height, memory_order_relaxed);
    search_together(m, walks, count);
    for (unsigned i = 0; i < count; i++) {
        struct walk *w = &walks[i];
        struct memnode *n = w->added;
        raise_to(m, n->height);
        int top = atomic_load_explicit(&m->height, memory_order_relaxed);
        int levels = i + 1 < count ? n->height : top; /* the splice stays behind the last */
        for (int l = 0; l < levels; l++) {
            struct memnode *before = catch_up(w, l < searched ? w->before[l] : m->head, l);
            if (l < n->height) link_after(before, n, l);
            m->splice[l] = l < n->height ? n : before;
        }
    }
}

/* For what finds a key without the list. */
static void add_hash(struct memtable *m, struct memnode *n, uint64_t hash) {
    if (m->filter.words) key_filter_set(&m->filter, hash);
    if (node_chains_exist(&m->chains)) node_chains_add(&m->chains, n, hash);
}

/* Their memory arrives while others are looked at. */
static void add_hashes(struct memtable *m, const struct walk *walks, unsigned count) {
    uint64_t hashes[MEMTABLE_GROUP_MAX];
    for (unsigned i = 0; i < count; i++) {
        hashes[i] = key_hash(walks[i].target.key);
        if (m->filter.words) key_filter_prefetch(&m->filter, hashes[i]);
        if (node_chains_exist(&m->chains)) node_chains_prefetch(&m->chains, hashes[i]);
    }
    for (unsigned i = 0; i < count; i++)
        add_hash(m, walks[i].added, hashes[i]);
}

static bool is_hashed(const struct memtable *m) {
    return m->filter.words || node_chains_exist(&m->chains);
}

static bool is_any_apart(const struct memtable *m) {
    return atomic_load_explicit(&m->linked, memory_order_acquire) !=
           atomic_load_explicit(&m->added, memory_order_acquire);
}

/* Most came so long ago that they have to be brought in again. */
static void prefetch_waiting(const struct waiting *list, size_t at) {
    enum { AHEAD = 8 };
    if (at + AHEAD >= list->count) return;
    const struct memnode *n = list->nodes[at + AHEAD].node;
    __builtin_prefetch(n, 1);
    __builtin_prefetch(&n->next, 1);
}

/* In their order most have their place behind the one before. */
static void link_waiting(struct memtable *m) {
    struct walk walks[MEMTABLE_GROUP_MAX];
    struct waiting *list = &m->waiting;
    waiting_sort(list);
    for (size_t at = 0; at < list->count;) {
        unsigned count = 0;
        for (; at < list->count && count < MEMTABLE_GROUP_MAX; at++) {
            struct walk *w = &walks[count];
            prefetch_waiting(list, at);
            w->added = list->nodes[at].node;
            w->target = (struct target){w->added->prefix, node_key(w->added), w->added->seq};
            if (count == 0 && brackets(m, m->splice[0], 0, &w->target))
                link_here(m, w->added);
            else
                count++;
        }
        if (count > 0) link_together(m, walks, count);
    }
    list->count = 0;
}

/* A batch may be put into several stores at the same time. */
static void link_own(struct memtable *m) {
    pthread_mutex_lock(&m->link_mutex);
    if (m->waiting.count) link_waiting(m);
    pthread_mutex_unlock(&m->link_mutex);
}

void memtable_link(struct memtable *m) {
    struct walk walks[MEMTABLE_GROUP_MAX];
    unsigned count = 0;
    if (m->has_one_owner) {
        link_own(m);
        return;
    }
    if (!is_any_apart(m)) return;
    pthread_mutex_lock(&m->link_mutex);
    uint32_t at = atomic_load_explicit(&m->linked, memory_order_relaxed);
    for (uint32_t end = atomic_load_explicit(&m->added, memory_order_acquire); at != end; at++) {
        struct walk *w = &walks[count++];
        w->added = apart_node(m, at);
        w->target = (struct target){w->added->prefix, node_key(w->added), w->added->seq};
    }
    if (is_hashed(m)) add_hashes(m, walks, count);
    if (count == 1)
        link_node(m, walks[0].added);
    else if (count > 0)
        link_together(m, walks, count);
    atomic_store_explicit(&m->linked, at, memory_order_release);
    pthread_mutex_unlock(&m->link_mutex);
}

/* Only the writer stores. */
static void count_live(struct memtable *m, uint64_t more) {
    uint64_t live = atomic_load_explicit(&m->live_count, memory_order_relaxed);
    atomic_store_explicit(&m->live_count, live + more, memory_order_relaxed);
}

/* A list as large as this makes no searches longer; sorting more at once takes more time for each. */
enum { MOST_WAITING = 2048 };

static void let_wait(struct memtable *m, struct memnode *n) {
    if (m->filter.words) key_filter_set(&m->filter, key_hash(node_key(n)));
    if (m->waiting.count >= MOST_WAITING) link_waiting(m);
    if (!waiting_add(&m->waiting, n)) link_node(m, n);
}

static bool link_at_once(struct memtable *m, struct memnode *n) {
    struct target t = {n->prefix, node_key(n), n->seq};
    if (is_any_apart(m) || m->waiting.count || !brackets(m, m->splice[0], 0, &t)) return false;
    if (is_hashed(m)) add_hash(m, n, key_hash(t.key));
    link_here(m, n); /* the levels above bracket it as well: see move_splice() */
    return true;
}

static void put_apart(struct memtable *m, struct memnode *n) {
    uint32_t at = atomic_load_explicit(&m->added, memory_order_relaxed);
    uint32_t linked = atomic_load_explicit(&m->linked, memory_order_acquire);
    atomic_store_explicit(&m->apart[at % MEMTABLE_GROUP_MAX], n, memory_order_release);
    atomic_store_explicit(&m->prefixes[at % MEMTABLE_GROUP_MAX], n->prefix, memory_order_release);
    atomic_store_explicit(&m->added, ++at, memory_order_release);
    if (at - linked >= MEMTABLE_GROUP_MAX) memtable_link(m);
}

/* Chains are of no use from the moment that an entry comes late. */
static void note_seq(struct memtable *m, uint64_t seq) {
    uint64_t max_seq = atomic_load_explicit(&m->max_seq, memory_order_relaxed);
    if (seq > max_seq)
        atomic_store_explicit(&m->max_seq, seq, memory_order_relaxed);
    else if (seq < max_seq)
        atomic_store_explicit(&m->in_disorder, true, memory_order_relaxed);
}

int memtable_add(struct memtable *m, slice key, uint64_t seq, uint8_t type, slice value,
                 struct kevo_err *err) {
    assert(key.len > 0 && key.len <= KEVO_MAX_KEY_BYTES && value.len <= UINT32_MAX);
    struct memnode *n = node_new(m, random_height(m), key, seq, type, value);
    if (!n) return kevo_nomem(err);
    if (want_chains(m)) begin_chains(m);
    note_seq(m, seq);
    count_live(m, 1);
    if (link_at_once(m, n)) return 0;
    if (m->has_one_owner)
        let_wait(m, n);
    else
        put_apart(m, n);
    return 0;
}

int memtable_delete_ranges(struct memtable *m, const struct range_list *list, uint64_t seq,
                           struct kevo_err *err) {
    return range_stack_push(&m->ranges, list, seq, err);
}

uint64_t memtable_bytes(const struct memtable *m) {
    return arena_bytes(&m->arena) + atomic_load_explicit(&m->ranges.bytes, memory_order_relaxed);
}

bool memtable_is_empty(const struct memtable *m) {
    return memtable_live_count(m) == 0 && range_stack_is_empty(&m->ranges);
}

uint64_t memtable_live_count(const struct memtable *m) {
    return atomic_load_explicit(&m->live_count, memory_order_relaxed);
}

struct arena_mark memtable_mark(const struct memtable *m) {
    return arena_mark(&m->arena);
}

struct void_pass {
    struct memtable *memtable;
    uint64_t seq;
};

static size_t void_node(void *arg, void *piece) {
    struct void_pass *pass = arg;
    struct memnode *n = piece;
    if (n->seq > pass->seq && !node_is_void(n)) {
        atomic_store_explicit(&n->type, NODE_VOID, memory_order_release);
        count_live(pass->memtable, UINT64_MAX);
    }
    return node_size(n->height, node_key_bytes(n), n->value_bytes);
}

void memtable_void(struct memtable *m, struct arena_mark mark, uint64_t seq) {
    struct void_pass pass = {m, seq};
    arena_walk(&m->arena, mark, void_node, &pass);
    range_stack_pop(&m->ranges, seq);
}

struct memnode *memtable_find(const struct memtable *m, const struct target *t) {
    int level = atomic_load_explicit(&m->height, memory_order_relaxed) - 1;
    struct memnode *n = m->head, *last = NULL;
    for (;;) {
        struct memnode *next = node_next(n, level);
        /* If the search goes down here, that node is next: wait for both at once. */
        if (level) prefetch_node(node_next(n, level - 1));
        /* A node known not to be before the target need not be looked at again. */
        if (next && next != last && node_before(next, t)) {
            n = next;
            continue;
        }
        if (level == 0) return next;
        last = next;
        level--;
    }
}

struct memnode *memtable_find_before(const struct memtable *m, const struct target *t) {
    int level = atomic_load_explicit(&m->height, memory_order_relaxed) - 1;
    struct memnode *n = m->head;
    for (;;) {
        struct memnode *next = node_next(n, level);
        if (level) prefetch_node(node_next(n, level - 1));
        if (next && node_before(next, t))
            n = next;
        else if (level-- == 0)
            return n;
    }
}

struct memnode *memtable_find_last(const struct memtable *m) {
    int level = atomic_load_explicit(&m->height, memory_order_relaxed) - 1;
    struct memnode *n = m->head;
    for (;;) {
        struct memnode *next = node_next(n, level);
        if (next)
            n = next;
        else if (level-- == 0)
            return n;
    }
}

int memtable_get(struct memtable *m, slice key, uint64_t max_seq, uint8_t *type, uint64_t *seq,
                 slice *value) {
    return memtable_get_hashed(m, key, is_hashed(m) ? key_hash(key) : 0, max_seq, type, seq, value);
}

static uint64_t apart_prefix(const struct memtable *m, uint32_t i) {
    return atomic_load_explicit(&m->prefixes[i % MEMTABLE_GROUP_MAX], memory_order_acquire);
}

/* The newest version of the key among the nodes that are apart. One that is linked meanwhile, and
 * another, or another's prefix, in its place, is in the list by then. */
static struct memnode *find_apart(const struct memtable *m, const struct target *t) {
    uint32_t at = atomic_load_explicit(&m->linked, memory_order_acquire);
    uint32_t end = atomic_load_explicit(&m->added, memory_order_acquire);
    struct memnode *best = NULL;
    if (end - at > MEMTABLE_GROUP_MAX) at = end - MEMTABLE_GROUP_MAX;
    for (; at != end; at++) {
        if (apart_prefix(m, at) != t->prefix) continue;
        struct memnode *n = apart_node(m, at);
        if (n->seq > t->seq || (best && n->seq < best->seq)) continue;
        if (slice_eq(node_key(n), t->key) && !node_is_void(n)) best = n;
    }
    return best;
}

static struct memnode *find_in_list(const struct memtable *m, const struct target *t) {
    struct memnode *n = memtable_find(m, t);
    while (n && n->prefix == t->prefix && slice_eq(node_key(n), t->key)) {
        if (!node_is_void(n)) return n;
        n = node_next(n, 0);
    }
    return NULL;
}

/* What is in a chain is later than what is in none. But if it is in disorder, which who came to it is
 * told then, the list is asked. */
static struct memnode *find_in_chain(const struct memtable *m, const struct target *t,
                                     uint64_t hash) {
    if (!node_chains_exist(&m->chains)) return NULL;
    struct memnode *n = node_chains_find(&m->chains, t->key, hash, t->seq);
    return atomic_load_explicit(&m->in_disorder, memory_order_relaxed) ? NULL : n;
}

/* Until there are enough: from then on readers write to nothing that they share. One that is lost to
 * another thread's does not matter. */
static void count_find(struct memtable *m) {
    unsigned finds = atomic_load_explicit(&m->finds, memory_order_relaxed);
    if (finds >= m->finds_for_chains) return;
    atomic_store_explicit(&m->finds, finds + 1, memory_order_relaxed);
}

/* The newest version of the key where entries wait: among them, or if they are many, in the list. */
static struct memnode *find_own(struct memtable *m, const struct target *t, uint64_t hash) {
    if (m->filter.words && !key_filter_has(&m->filter, hash)) return NULL;
    if (m->waiting.count > MEMTABLE_GROUP_MAX) link_waiting(m);
    struct memnode *n = waiting_find(&m->waiting, t), *linked = find_in_list(m, t);
    return !n || (linked && linked->seq > n->seq) ? linked : n;
}

/* The newest version of the key among the nodes that are linked. */
static struct memnode *find_linked(struct memtable *m, const struct target *t, uint64_t hash) {
    if (m->filter.words && !key_filter_has(&m->filter, hash)) return NULL;
    struct memnode *n = find_in_chain(m, t, hash);
    if (!n && (n = find_in_list(m, t))) count_find(m);
    return n;
}

static struct memnode *find_shared(struct memtable *m, const struct target *t, uint64_t hash) {
    struct memnode *n = find_apart(m, t); /* first: they may go to the list */
    struct memnode *linked = find_linked(m, t, hash);
    return linked && (!n || n->seq < linked->seq) ? linked : n;
}

int memtable_get_hashed(struct memtable *m, slice key, uint64_t hash, uint64_t max_seq,
                        uint8_t *type, uint64_t *seq, slice *value) {
    /* As it is once all has been flushed, and nothing was written since. */
    if (memtable_live_count(m) == 0) return KEVO_NOTFOUND;
    struct target t = target_of(key, max_seq);
    struct memnode *n = m->has_one_owner ? find_own(m, &t, hash) : find_shared(m, &t, hash);
    if (!n) return KEVO_NOTFOUND;
    *type = atomic_load_explicit(&n->type, memory_order_acquire);
    *seq = n->seq;
    *value = node_value(n);
    return 0;
}

/* ---- ranges ------------------------------------------------------------------ */

/* Void entries count for nothing, as if they were not there. */
static const struct memnode *skip_void(const struct memnode *n) {
    while (n && node_is_void(n))
        n = node_next(n, 0);
    return n;
}

bool memtable_overlaps(struct memtable *m, slice lower, slice upper) {
    memtable_link(m);
    struct target first = target_of(lower, SEQ_MAX), end = target_of(upper, SEQ_MAX);
    const struct memnode *n =
        skip_void(lower.data ? memtable_find(m, &first) : node_next(m->head, 0));
    return n && (!upper.data || node_before(n, &end));
}

/* So many nodes of a level tell how many there are below: by about an eighth of it wrong
 * (their number is binomial, with a variance of less than itself). */
enum { ESTIMATE_NODES = 64 };

/* The nodes behind `n` on this level that come before the end; NULL: all. */
static void sample(const struct memnode *n, int level, const struct target *end, uint64_t *nodes,
                   uint64_t *bytes) {
    *nodes = *bytes = 0;
    while ((n = node_next(n, level)) && (!end || node_before(n, end))) {
        if (level == 0 && node_is_void(n)) continue;
        ++*nodes;
        *bytes += node_key_bytes(n) + n->value_bytes;
    }
}

void memtable_estimate(struct memtable *m, slice lower, slice upper, uint64_t *entries,
                       uint64_t *bytes) {
    memtable_link(m);
    struct target first = target_of(lower, SEQ_MAX), end = target_of(upper, SEQ_MAX);
    const struct memnode *n = m->head, *next;
    int level = atomic_load_explicit(&m->height, memory_order_relaxed);
    uint64_t live = memtable_live_count(m);
    do {
        level--;
        while (lower.data && (next = node_next(n, level)) && node_before(next, &first))
            n = next;
        sample(n, level, upper.data ? &end : NULL, entries, bytes);
    } while (*entries < ESTIMATE_NODES && level > 0);
    *entries <<= 2 * level; /* a quarter of the nodes reaches each next level */
    *bytes <<= 2 * level;
    if (*entries > live || (!lower.data && !upper.data)) {
        if (*entries) *bytes = (uint64_t)((double)*bytes / (double)*entries * (double)live);
        *entries = live;
    }
}
