/* What a cache has beyond its capacity, and gives up when it is borrowed. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/arena.h"
#include "engine/mem/memtable.h"
#include "engine/table/cache.h"
#include "engine/table/slab.h"
#include "tests/lib/harness.h"
#include "tests/lib/kv.h"

enum { MB = 1 << 20, BLOCK = 4200 };

/* Blocks of one size, so that they lie in pages, each filled with its number. */
static void load(struct cache *c, uint64_t n) {
    struct cache_block *b = cache_new_block(c, BLOCK, false);
    ck_assert_ptr_nonnull(b);
    memset(cache_block_bytes(b), (int)n, BLOCK);
    cache_unpin(c, cache_publish(c, b, 1, n));
}

static bool is_whole(const struct cache_block *b, uint64_t n) {
    return b->data[0] == (uint8_t)n && b->data[b->len - 1] == (uint8_t)n;
}

static void load_many(struct cache *c, uint64_t first, uint64_t count) {
    for (uint64_t n = first; n < first + count; n++)
        load(c, n);
}

static struct cache_stats stats_of(struct cache *c) {
    struct cache_stats stats;
    cache_get_stats(c, &stats);
    return stats;
}

static uint64_t count_found(struct cache *c, uint64_t first, uint64_t count) {
    uint64_t found = 0;
    for (uint64_t n = first; n < first + count; n++) {
        struct cache_block *b = cache_get(c, 1, n);
        if (!b) continue;
        if (!is_whole(b, n)) ck_abort_msg("block %llu", (unsigned long long)n);
        cache_unpin(c, b);
        found++;
    }
    return found;
}

/* Blocks take what nobody borrows, and leave it in pages: the allocator has them back. */
START_TEST(blocks_make_way) {
    uint64_t before = fault_alloc_live();
    struct cache *c = cache_new(16 * MB, 16 * MB);
    for (int round = 0; round < 2; round++) {
        load_many(c, (uint64_t)round * 10000, 10000);
        ck_assert_uint_eq(stats_of(c).limit_bytes, 32 * MB);
        ck_assert_uint_gt(stats_of(c).used_bytes, 31 * MB);
        for (unsigned borrowed = 1; borrowed <= 20; borrowed++) {
            unsigned left = borrowed < 16 ? 32 - borrowed : 16;
            cache_borrow(c, MB);
            struct cache_stats stats = stats_of(c);
            ck_assert_uint_le(stats.limit_bytes, left * MB);
            ck_assert_uint_le(stats.used_bytes, stats.limit_bytes);
            ck_assert_uint_gt(stats.used_bytes, (left - 5) * MB);
            /* The cache, its shards' slots, pages, and the blocks before their size was known. */
            ck_assert_uint_le(fault_alloc_live() - before, 1 + 16 + left / 2 + 16);
        }
        ck_assert_uint_gt(count_found(c, 0, 20000) * BLOCK, 13 * MB);
        cache_give_back(c, 20 * MB);
    }
    cache_free(c);
    ck_assert_uint_eq(fault_alloc_live(), before);
}
END_TEST

/* Without pages as well. */
START_TEST(small_caches_lend) {
    struct cache *c = cache_new(400000, 400000);
    load_many(c, 0, 1000);
    ck_assert_uint_gt(stats_of(c).used_bytes, 780000);
    cache_borrow(c, 100000);
    ck_assert_uint_le(stats_of(c).used_bytes, 700000);
    cache_borrow(c, 1000000);
    ck_assert_uint_le(stats_of(c).used_bytes, 400000);
    ck_assert_uint_gt(stats_of(c).used_bytes, 380000);
    cache_give_back(c, 1100000);
    load_many(c, 1000, 1000);
    ck_assert_uint_gt(stats_of(c).used_bytes, 780000);
    cache_free(c);
}
END_TEST

/* Who borrows takes what was not asked for again: what was is moved out of the pages that go,
 * as it is. */
START_TEST(blocks_in_use_stay) {
    enum { USED = 10 * MB / BLOCK };
    struct cache *c = cache_new(16 * MB, 16 * MB);
    load_many(c, 0, USED);
    uint64_t scanned = 100000;
    for (int round = 0; round < 10; round++) {
        ck_assert_uint_gt(count_found(c, 0, USED), USED - USED / 100);
        load_many(c, scanned, 10000);
        scanned += 10000;
        for (int i = 0; i < 16; i++)
            cache_borrow(c, MB);
        ck_assert_uint_le(stats_of(c).used_bytes, 16 * MB);
        cache_give_back(c, 16 * MB);
    }
    cache_free(c);
}
END_TEST

/* What is pinned stays as it is, and its page goes when it is not pinned any more. */
START_TEST(pinned_blocks_stay) {
    enum { COUNT = 6400, EACH = 40, PINS = COUNT / EACH };
    struct cache *c = cache_new(16 * MB, 16 * MB);
    struct cache_block *pins[PINS];
    load_many(c, 0, COUNT);
    for (uint64_t i = 0; i < PINS; i++)
        ck_assert_ptr_nonnull(pins[i] = cache_get(c, 1, i * EACH));
    uint64_t full = fault_alloc_live();
    cache_borrow(c, 16 * MB);
    ck_assert_uint_gt(fault_alloc_live(), full - 9);
    load_many(c, COUNT, 100);
    for (uint64_t i = 0; i < PINS; i++) {
        ck_assert(is_whole(pins[i], i * EACH));
        cache_unpin(c, pins[i]);
    }
    ck_assert_uint_lt(fault_alloc_live(), full - 6);
    count_found(c, 0, COUNT);
    cache_give_back(c, 16 * MB);
    cache_free(c);
}
END_TEST

/* A small memtable with each transaction costs blocks once. */
START_TEST(small_loans_are_quiet) {
    struct cache *c = cache_new(16 * MB, 16 * MB);
    load_many(c, 0, 10000);
    cache_borrow(c, 4096);
    uint64_t used = stats_of(c).used_bytes;
    ck_assert_uint_gt(used, 28 * MB);
    for (int i = 0; i < 1000; i++) {
        cache_give_back(c, 4096);
        cache_borrow(c, 4096 + i % 7);
        cache_give_back(c, i % 7);
        ck_assert_uint_eq(stats_of(c).used_bytes, used);
    }
    cache_give_back(c, 4096);
    cache_free(c);
}
END_TEST

/* Charges and loans are of one budget: a quarter of the capacity is for blocks in any case. */
START_TEST(charges_beside_loans) {
    struct cache *c = cache_new(16 * MB, 16 * MB);
    load_many(c, 0, 10000);
    cache_charge(c, 10 * MB);
    ck_assert_uint_le(stats_of(c).used_bytes, 22 * MB);
    cache_borrow(c, 16 * MB);
    ck_assert_uint_le(stats_of(c).used_bytes, 6 * MB);
    cache_charge(c, 10 * MB);
    ck_assert_uint_le(stats_of(c).used_bytes, 4 * MB);
    ck_assert_uint_gt(stats_of(c).used_bytes, 3 * MB);
    cache_uncharge(c, 20 * MB);
    cache_give_back(c, 16 * MB);
    load_many(c, 10000, 10000);
    ck_assert_uint_gt(stats_of(c).used_bytes, 31 * MB);
    cache_free(c);
}
END_TEST

/* What memtables hold is borrowed, to the byte, and their chains from the first entry on. */
START_TEST(memtables_borrow) {
    enum { CHAINS = MB };
    struct cache *c = cache_new(16 * MB, 16 * MB);
    struct memtable *m = memtable_new(1, 4096), *other = memtable_new(2, 4096);
    char key[24], value[400] = "";
    memtable_borrow(m, c);
    memtable_borrow(other, c);
    memtable_add_chains(other, CHAINS * 64, 0);
    ck_assert_uint_eq(stats_of(c).limit_bytes, 32 * MB);
    for (uint64_t i = 0; i < 30000; i++) {
        snprintf(key, sizeof key, "%08llu", (unsigned long long)(i * 7919 % 30000));
        struct memtable *to = i % 3 ? m : other;
        ck_ok(memtable_add(to, slice_of_str(key), i + 1, 1, slice_of(value, sizeof value),
                           &test_err));
        uint64_t taken = memtable_bytes(m) + memtable_bytes(other) + CHAINS;
        uint64_t left = taken < 16 * MB ? 16 * MB - taken : 0;
        ck_assert_uint_le(stats_of(c).limit_bytes, 16 * MB + left);
        ck_assert_uint_ge(stats_of(c).limit_bytes + 3 * MB, 16 * MB + left);
    }
    ck_assert_uint_eq(stats_of(c).limit_bytes, 16 * MB);
    memtable_unref(m);
    memtable_reset(other);
    ck_assert_uint_ge(stats_of(c).limit_bytes + 5 * MB, 32 * MB);
    memtable_unref(other);
    cache_borrow(c, 16 * MB); /* nothing is borrowed any more */
    cache_give_back(c, 16 * MB);
    ck_assert_uint_eq(stats_of(c).limit_bytes, 32 * MB);
    cache_free(c);
}
END_TEST

/* What is lent to the cache of a store: of two memtables, as much again, and nothing to speak of
 * for a large cache. */
START_TEST(a_part_of_two_memtables) {
    static const struct {
        uint64_t cache, memtable, limit;
    } cases[] = {
        {0, 4096, 0},
        {0, (uint64_t)4096 * MB, 0},
        {65536, 4096, 65536 + 8192},
        {65537, 4096, 65537 + 8192},
        {65544, 4096, 65544},
        {16 * MB, 32 * MB, 32 * MB},
        {64 * MB, 32 * MB, 128 * MB},
        {256 * MB, 32 * MB, 320 * MB},
        {1024 * MB, 32 * MB, 1024 * MB},
        {(uint64_t)MB * MB, 4096, (uint64_t)MB * MB},
        {(uint64_t)MB * MB, (uint64_t)4096 * MB, (uint64_t)MB * MB},
        {(uint64_t)16384 * MB, (uint64_t)4096 * MB, (uint64_t)24576 * MB},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct env *env = env_memory_new();
        struct kevo_options o = kv_options(env);
        o.cache_bytes = cases[i].cache;
        o.memtable_bytes = cases[i].memtable;
        kevo_store *store = kv_open(&o);
        ck_assert_uint_eq(kv_stats(store).cache_limit_bytes, cases[i].limit);
        kevo_close(store);
        env_memory_free(env);
    }
}
END_TEST

/* ---- who is told ------------------------------------------------------------------------- */

static void takes(void *arg, uint64_t bytes) {
    *(uint64_t *)arg += bytes;
}

static void gave(void *arg, uint64_t bytes) {
    uint64_t *held = arg;
    ck_assert_uint_ge(*held, bytes);
    *held -= bytes;
}

START_TEST(an_arena_tells) {
    struct arena a;
    uint64_t held = 0;
    arena_init(&a, 64);
    arena_tell(&a, (struct arena_watch){takes, NULL, gave, &held});
    for (uint64_t n = 1; n < 400; n++) {
        fault_alloc_fail_at(n % 5 ? 0 : 1 + n % 3, false);
        for (int i = 0; i < 60; i++)
            arena_alloc(&a, (size_t)(n * 37 % 500 + (i == 7 ? 3 * MB : 0)));
        fault_alloc_fail_at(0, false);
        ck_assert_uint_eq(held, arena_bytes(&a));
        if (n % 7 == 0) arena_reset(&a);
        if (n % 11 == 0) arena_release(&a);
        ck_assert_uint_eq(held, arena_bytes(&a));
    }
    arena_release(&a);
    ck_assert_uint_eq(held, 0);
}
END_TEST

/* Of the pages those go that have the fewest pieces out, of two the older; at once when they
 * have none. */
START_TEST(condemned_pages) {
    enum { PIECE = 60000, FIT = MEM_HUGE_BYTES / PIECE, PAGES = 4, COUNT = PAGES * FIT };
    uint64_t before = fault_alloc_live();
    struct slab slab;
    struct slab_page *pages[COUNT], *page;
    void *list[COUNT];
    slab_init(&slab, PAGES);
    slab_choose(&slab, PIECE);
    for (int i = 0; i < COUNT; i++)
        list[i] = slab_take(&slab, &pages[i]);
    ck_assert_ptr_null(slab_condemn(&slab)); /* within the limit */
    for (int i = 2 * FIT + 1; i < 3 * FIT; i++)
        slab_give(&slab, pages[i], list[i]);
    slab.limit = 2;
    struct slab_page *first = slab_condemn(&slab), *second = slab_condemn(&slab);
    ck_assert_ptr_eq(first, pages[2 * FIT]);
    ck_assert_ptr_eq(second, pages[0]);
    ck_assert_ptr_null(slab_condemn(&slab));
    ck_assert(slab_is_condemned(first) && slab_is_condemned(second));
    ck_assert_uint_eq(slab.page_count, 4);
    ck_assert_ptr_null(slab_take(&slab, &page)); /* not even the piece that is there */
    for (int i = 0; i < COUNT; i++)
        if (pages[i] == second || i == 2 * FIT) slab_give(&slab, pages[i], list[i]);
    ck_assert_uint_eq(slab.page_count, 2);
    ck_assert_uint_eq(fault_alloc_live() - before, 2);
    slab.limit = 0;
    for (int i = 0; i < COUNT; i++)
        if (pages[i] != first && pages[i] != second) slab_give(&slab, pages[i], list[i]);
    ck_assert_uint_eq(slab.page_count, 1); /* the last one with room */
    ck_assert_ptr_null(slab_condemn(&slab));
    ck_assert_uint_eq(slab.page_count, 0);
    slab_release(&slab);
    ck_assert_uint_eq(fault_alloc_live(), before);
}
END_TEST

/* ---- at the same time --------------------------------------------------------------------- */

static void *read_and_borrow(void *arg) {
    struct cache *c = arg;
    struct rng rng = rng_of((uint64_t)(uintptr_t)&rng);
    uint64_t borrowed = 0;
    for (int i = 0; i < 12000; i++) {
        uint64_t n = rng_below(&rng, 9000);
        struct cache_block *b = cache_get(c, 1, n);
        if (!b) {
            b = cache_new_block(c, BLOCK, false);
            memset(cache_block_bytes(b), (int)n, BLOCK);
            b = cache_publish(c, b, 1, n);
        }
        if (i % 100 == 0) {
            uint64_t next = rng_below(&rng, 9 * MB);
            if (next > borrowed) cache_borrow(c, next - borrowed);
            if (next < borrowed) cache_give_back(c, borrowed - next);
            borrowed = next;
        }
        if (!is_whole(b, n)) abort();
        cache_unpin(c, b);
    }
    cache_give_back(c, borrowed);
    return NULL;
}

START_TEST(many_threads) {
    uint64_t before = fault_alloc_live();
    struct cache *c = cache_new(16 * MB, 16 * MB);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_and_borrow, c), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_le(stats_of(c).used_bytes, 32 * MB);
    cache_borrow(c, 16 * MB);
    ck_assert_uint_le(stats_of(c).used_bytes, 16 * MB);
    /* Blocks for less than a page may lie by themselves. */
    ck_assert_uint_le(fault_alloc_live() - before, 1 + 16 + 8 + 4 + MEM_HUGE_BYTES / BLOCK);
    cache_give_back(c, 16 * MB);
    cache_free(c);
    ck_assert_uint_eq(fault_alloc_live(), before);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("lending");
    TCase *tcase = tcase_create("lending");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, blocks_make_way);
    tcase_add_test(tcase, small_caches_lend);
    tcase_add_test(tcase, blocks_in_use_stay);
    tcase_add_test(tcase, pinned_blocks_stay);
    tcase_add_test(tcase, small_loans_are_quiet);
    tcase_add_test(tcase, charges_beside_loans);
    tcase_add_test(tcase, memtables_borrow);
    tcase_add_test(tcase, a_part_of_two_memtables);
    tcase_add_test(tcase, an_arena_tells);
    tcase_add_test(tcase, condemned_pages);
    tcase_add_test(tcase, many_threads);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
