#include "engine/table/cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "engine/table/slab.h"
#include "tests/lib/harness.h"

enum { BLOCK = 1000 };

/* Bring a block in, as a reader that missed it would. */
static void load(struct cache *c, uint64_t id, uint64_t offset, uint32_t len) {
    struct cache_block *b = cache_new_block(c, len, false);
    ck_assert_ptr_nonnull(b);
    memset(cache_block_bytes(b), (int)(id * 31 + offset), len);
    cache_unpin(c, cache_publish(c, b, id, offset));
}

/* Whether it is there; asking marks it as used. */
static bool touch(struct cache *c, uint64_t id, uint64_t offset) {
    struct cache_block *b = cache_get(c, id, offset);
    if (!b) return false;
    ck_assert(b->len == 0 || b->data[b->len - 1] == (uint8_t)(id * 31 + offset));
    cache_unpin(c, b);
    return true;
}

static uint64_t used(struct cache *c) {
    struct cache_stats stats;
    cache_get_stats(c, &stats);
    return stats.used_bytes;
}

START_TEST(finds_what_was_published) {
    struct cache *c = cache_new(1 << 20, 0);
    uint64_t one = cache_new_id(c), two = cache_new_id(c);
    ck_assert_uint_ne(one, two);
    ck_assert(!touch(c, one, 0));
    for (uint64_t i = 0; i < 300; i++) {
        load(c, one, i * 4096, BLOCK);
        load(c, two, i * 4096 + 1, i % 7 ? 100 : 0);
    }
    for (uint64_t i = 0; i < 300; i++) {
        ck_assert(touch(c, one, i * 4096) && touch(c, two, i * 4096 + 1));
        ck_assert(!touch(c, two, i * 4096) && !touch(c, one, i * 4096 + 1));
    }
    struct cache_stats stats;
    cache_get_stats(c, &stats);
    ck_assert_uint_eq(stats.hits, 600);
    ck_assert_uint_eq(stats.misses, 601);
    ck_assert_uint_gt(stats.used_bytes, 300 * BLOCK);
    cache_erase(c, one);
    for (uint64_t i = 0; i < 300; i++)
        ck_assert(!touch(c, one, i * 4096) && touch(c, two, i * 4096 + 1));
    cache_erase(c, two);
    ck_assert_uint_eq(used(c), 0);
    cache_free(c);
}
END_TEST

START_TEST(peeking_leaves_no_trace) {
    struct cache *c = cache_new(1 << 20, 0);
    struct cache_stats before, after;
    load(c, 1, 4096, BLOCK);
    cache_get_stats(c, &before);
    cache_aim(c, 1, 4096);
    cache_aim(c, 1, 8192);
    ck_assert(cache_peek(c, 1, 4096) && !cache_peek(c, 1, 8192) && !cache_peek(c, 2, 4096));
    cache_get_stats(c, &after);
    ck_assert(before.hits == after.hits && before.misses == after.misses);
    ck_assert_uint_eq(before.used_bytes, after.used_bytes);
    cache_erase(c, 1);
    ck_assert(!cache_peek(c, 1, 4096));
    cache_free(c);
}
END_TEST

START_TEST(the_faster_one_stays) {
    struct cache *c = cache_new(1 << 20, 0);
    struct cache_block *a = cache_new_block(c, BLOCK, false), *b = cache_new_block(c, BLOCK, false);
    ck_assert_ptr_eq(cache_publish(c, a, 1, 2), a);
    ck_assert_ptr_eq(cache_publish(c, b, 1, 2), a);
    cache_unpin(c, a);
    cache_unpin(c, a);
    struct cache_block *again = cache_get(c, 1, 2);
    ck_assert_ptr_eq(again, a);
    cache_unpin(c, again);
    cache_free(c);
}
END_TEST

START_TEST(not_inserted) {
    struct cache *c = cache_new(1 << 20, 0);
    struct cache_block *b = cache_new_block(c, 512 * 1024, false); /* too large a part */
    memset(cache_block_bytes(b), 1, b->len);
    ck_assert_ptr_eq(cache_publish(c, b, 1, 3), b);
    ck_assert(!touch(c, 1, 3));
    cache_unpin(c, b);
    cache_unpin(c, cache_new_block(c, 0, false));
    ck_assert_uint_eq(used(c), 0);
    cache_free(c);
    c = cache_new(0, 0);
    load(c, 1, 2, BLOCK);
    ck_assert(!touch(c, 1, 2));
    cache_free(c);
}
END_TEST

START_TEST(bounded) {
    static const uint64_t capacities[] = {16 * 1024, 600 * 1024, 1 << 20, 8 << 20};
    uint64_t capacity = capacities[_i];
    uint64_t before = fault_alloc_live();
    struct cache *c = cache_new(capacity, 0);
    struct rng rng = rng_of(harness_seed());
    for (int i = 0; i < 40000; i++) {
        uint64_t offset = rng_below(&rng, 30000);
        if (!touch(c, 1, offset)) load(c, 1, offset, (uint32_t)rng_below(&rng, 2 * BLOCK));
        if (i % 100 == 0) ck_assert_uint_le(used(c), capacity);
    }
    ck_assert_uint_le(used(c), capacity);
    ck_assert_uint_gt(used(c), capacity / 10 * 7);
    cache_free(c);
    ck_assert_uint_eq(fault_alloc_live(), before);
}
END_TEST

/* Blocks asked for twice survive a scan over many times the capacity. */
START_TEST(scan_resistant) {
    struct cache *c = cache_new(1 << 20, 0);
    for (int round = 0; round < 3; round++)
        for (uint64_t i = 0; i < 300; i++)
            if (!touch(c, 1, i)) load(c, 1, i, BLOCK);
    for (uint64_t i = 0; i < 20000; i++)
        load(c, 2, i, BLOCK);
    unsigned left = 0;
    for (uint64_t i = 0; i < 300; i++)
        left += touch(c, 1, i);
    ck_assert_uint_eq(left, 300);
    cache_free(c);
}
END_TEST

/* What is no longer asked for makes way for what is, in the end. */
START_TEST(adapts) {
    struct cache *c = cache_new(1 << 20, 0);
    struct rng rng = rng_of(harness_seed());
    for (uint64_t set = 1; set <= 3; set++) {
        for (int i = 0; i < 10000; i++) {
            uint64_t offset = rng_below(&rng, 500);
            if (!touch(c, set, offset)) load(c, set, offset, BLOCK);
        }
        unsigned left = 0;
        for (uint64_t i = 0; i < 500; i++)
            left += touch(c, set, i);
        ck_assert_uint_gt(left, 450);
    }
    cache_free(c);
}
END_TEST

/* Blocks that come once do not all push out others: those that are there may be as good. One that
 * is asked for before the next one comes, though, is there to stay. */
START_TEST(newcomers_share_places) {
    struct cache *c = cache_new(1 << 20, 0);
    uint64_t count = 0, left = 0;
    while (used(c) < (1 << 20) - 64 * 1024)
        load(c, 1, count++, BLOCK);
    for (uint64_t i = 0; i < 10; i++) {
        load(c, 2, i, BLOCK);
        ck_assert(touch(c, 2, i));
    }
    for (uint64_t i = 0; i < 2 * count; i++)
        load(c, 3, i, BLOCK);
    for (uint64_t i = 0; i < 10; i++)
        ck_assert(touch(c, 2, i));
    for (uint64_t i = 0; i < count; i++)
        left += touch(c, 1, i);
    ck_assert_uint_gt(left, count / 4);
    cache_free(c);
}
END_TEST

START_TEST(pinned_blocks_stay) {
    struct cache *c = cache_new(64 * 1024, 0);
    struct cache_block *pins[200];
    for (uint64_t i = 0; i < 200; i++) {
        load(c, 1, i, BLOCK);
        pins[i] = cache_get(c, 1, i);
        ck_assert_ptr_nonnull(pins[i]);
    }
    ck_assert_uint_gt(used(c), 200 * BLOCK); /* they count, and cannot go */
    for (uint64_t i = 0; i < 200; i++) {
        ck_assert(touch(c, 1, i));
        cache_unpin(c, pins[i]);
    }
    load(c, 1, 1000, BLOCK);
    ck_assert_uint_le(used(c), 64 * 1024);
    cache_free(c);
}
END_TEST

START_TEST(erased_while_pinned) {
    uint64_t before = fault_alloc_live();
    struct cache *c = cache_new(1 << 20, 0);
    load(c, 1, 7, BLOCK);
    struct cache_block *b = cache_get(c, 1, 7);
    cache_erase(c, 1);
    ck_assert(!touch(c, 1, 7));
    load(c, 1, 7, BLOCK); /* another one of the same place */
    ck_assert_uint_eq(b->data[BLOCK - 1], 31 + 7);
    cache_unpin(c, b);
    ck_assert(touch(c, 1, 7));
    cache_free(c);
    ck_assert_uint_eq(fault_alloc_live(), before);
}
END_TEST

START_TEST(no_memory) {
    uint64_t before = fault_alloc_live();
    for (uint64_t n = 1;; n++) {
        fault_alloc_fail_at(n, n % 2);
        struct cache *c = cache_new(8 << 20, 0);
        for (uint64_t i = 0; c && i < 3000; i++) {
            struct cache_block *b = cache_new_block(c, 10, false);
            if (!b) continue;
            memset(cache_block_bytes(b), (int)(31 + i), 10);
            cache_unpin(c, cache_publish(c, b, 1, i));
            ck_assert(touch(c, 1, i));
        }
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        ck_assert(c || hit);
        cache_free(c);
        ck_assert_uint_eq(fault_alloc_live(), before);
        if (!hit) break;
        if (n > 30) n += n / 2;
    }
}
END_TEST

static void guess(struct cache *c, uint64_t offset) {
    struct cache_block *b = cache_new_block(c, BLOCK, true);
    memset(cache_block_bytes(b), (int)(31 + offset), b->len);
    cache_unpin(c, cache_publish(c, b, 1, offset));
}

/* As many blocks as it takes, which are found again. */
static uint64_t fill_with_guesses(struct cache *c) {
    uint64_t n = 0;
    for (; cache_free_bytes(c) > 2 * BLOCK; n++)
        guess(c, n);
    for (uint64_t i = 0; i < n; i++)
        ck_assert(cache_peek(c, 1, i));
    return n;
}

START_TEST(guesses_push_out_nothing) {
    struct cache *c = cache_new(400000, 0); /* one shard */
    ck_assert_uint_gt(cache_free_bytes(c), 390000);
    uint64_t n = 0;
    for (; cache_free_bytes(c) > 2 * BLOCK; n++)
        load(c, 2, n, BLOCK);
    for (uint64_t i = 0; i < 100; i++)
        guess(c, i);
    for (uint64_t i = 0; i < n; i++)
        ck_assert(cache_peek(c, 2, i));
    cache_free(c);
}
END_TEST

/* A cache full of them takes what is asked for as an empty one does; but not for those that were
 * asked for meanwhile. */
START_TEST(guesses_go_first) {
    struct cache *c = cache_new(400000, 0);
    uint64_t n = fill_with_guesses(c);
    ck_assert_uint_gt(n, 20);
    ck_assert(touch(c, 1, 3) && touch(c, 1, n - 1));
    for (uint64_t i = 0; i < n - 4; i++)
        load(c, 2, i, BLOCK);
    for (uint64_t i = 0; i < n - 4; i++)
        ck_assert(cache_peek(c, 2, i));
    ck_assert(cache_peek(c, 1, 3) && cache_peek(c, 1, n - 1) && !cache_peek(c, 1, 4));
    cache_free(c);
}
END_TEST

/* What was asked for is no guess any more: when it has aged, newcomers take turns before it. */
START_TEST(a_guess_that_was_right) {
    struct cache *c = cache_new(400000, 0);
    uint64_t n = fill_with_guesses(c), stayed = 0;
    for (uint64_t i = 0; i < n; i++)
        ck_assert(touch(c, 1, i));
    for (uint64_t i = 0; i < n / 8; i++)
        load(c, 2, i, BLOCK);
    for (uint64_t i = 0; i < n; i++)
        stayed += cache_peek(c, 1, i);
    ck_assert_uint_gt(stayed, n - n / 16);
    cache_free(c);
}
END_TEST

static void *hammer(void *arg) {
    struct cache *c = arg;
    struct rng rng = rng_of((uint64_t)(uintptr_t)&rng);
    for (int i = 0; i < 30000; i++) {
        uint64_t id = 1 + rng_below(&rng, 3), offset = rng_below(&rng, 400);
        struct cache_block *b = cache_get(c, id, offset);
        if (!b) {
            b = cache_new_block(c, BLOCK, rng_below(&rng, 4) == 0);
            memset(cache_block_bytes(b), (int)(id * 31 + offset), BLOCK);
            b = cache_publish(c, b, id, offset);
        }
        if (b->data[0] != (uint8_t)(id * 31 + offset)) abort();
        if (i % 1000 == 0) cache_erase(c, id);
        if (b->data[BLOCK - 1] != (uint8_t)(id * 31 + offset)) abort();
        cache_unpin(c, b);
    }
    return NULL;
}

START_TEST(many_threads) {
    uint64_t before = fault_alloc_live();
    struct cache *c = cache_new(600 * 1024, 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, c), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_le(used(c), 600 * 1024);
    cache_free(c);
    ck_assert_uint_eq(fault_alloc_live(), before);
}
END_TEST

/* What others take is room that blocks do not have, down to a quarter. */
START_TEST(charges) {
    struct cache_stats stats;
    struct cache *c = cache_new(400000, 0); /* one shard */
    for (uint64_t i = 0; i < 1000; i++) {
        struct cache_block *b = cache_new_block(c, 1000, false);
        memset(cache_block_bytes(b), 1, 1000);
        cache_unpin(c, cache_publish(c, b, 1, i));
    }
    cache_get_stats(c, &stats);
    ck_assert_uint_gt(stats.used_bytes, 390000);
    ck_assert_uint_eq(stats.charged_bytes, 0);
    static const struct {
        uint64_t charge, room;
    } steps[] = {{100000, 300000}, {150000, 150000}, {50000, 100000}, {1000000, 100000}};
    uint64_t charged = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        cache_charge(c, steps[i].charge);
        charged += steps[i].charge;
        cache_get_stats(c, &stats);
        ck_assert_uint_le(stats.used_bytes, steps[i].room);
        ck_assert_uint_gt(stats.used_bytes, steps[i].room - 10000);
        ck_assert_uint_eq(stats.charged_bytes, charged);
    }
    cache_uncharge(c, charged);
    for (uint64_t i = 0; i < 1000; i++) {
        struct cache_block *b = cache_new_block(c, 1000, false);
        memset(cache_block_bytes(b), 1, 1000);
        cache_unpin(c, cache_publish(c, b, 2, i));
    }
    cache_get_stats(c, &stats);
    ck_assert_uint_gt(stats.used_bytes, 390000);
    ck_assert_uint_eq(stats.charged_bytes, 0);
    cache_free(c);
}
END_TEST

/* Whatever is brought in and goes again, nobody's bytes are another's, and all memory is given back:
 * blocks of one size, a bit smaller, of another size, and of sizes that change. */
START_TEST(blocks_of_all_sizes) {
    static const uint32_t sizes[] = {4200, 4100, 9000, 300, 4200};
    uint64_t before = fault_alloc_live();
    struct cache *c = cache_new(20 << 20, 0);
    for (uint64_t n = 0; n < 40000; n++) {
        uint32_t len = n < 30000 ? sizes[n / 6000] : sizes[n % 5];
        load(c, 1 + n % 3, n, len);
        uint64_t at = n > 100 ? n - n * 7919 % 100 : 0;
        touch(c, 1 + at % 3, at);
    }
    ck_assert_uint_gt(used(c), 19 << 20);
    ck_assert_uint_le(used(c), 20 << 20);
    for (uint64_t id = 1; id <= 3; id++)
        cache_erase(c, id);
    ck_assert_uint_eq(used(c), 0);
    cache_free(c);
    ck_assert_uint_eq(fault_alloc_live(), before);
}
END_TEST

/* Pieces do not overlap; a page is taken when there is no room, up to the limit, and goes when it
 * is empty, but for the last one. */
START_TEST(pieces) {
    enum { PIECE = 30000, FIT = (2 << 20) / PIECE, PAGES = 3, COUNT = PAGES * FIT };
    uint64_t before = fault_alloc_live();
    struct slab slab;
    struct slab_page *pages[COUNT], *none;
    uint8_t *list[COUNT];
    slab_init(&slab, PAGES);
    slab_choose(&slab, PIECE);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            ck_assert_ptr_nonnull(list[i] = slab_take(&slab, &pages[i]));
            memset(list[i], i, PIECE);
        }
        ck_assert_ptr_null(slab_take(&slab, &none));
        ck_assert_uint_eq(slab.page_count, PAGES);
        for (int i = 0; i < COUNT; i++) /* every third comes back, and is taken again */
            if (i % 3 == 0) slab_give(&slab, pages[i], list[i]);
        for (int i = 0; i < COUNT; i++)
            if (i % 3 == 0) memset(list[i] = slab_take(&slab, &pages[i]), i, PIECE);
        for (int i = 0; i < COUNT; i++) {
            ck_assert(list[i][0] == (uint8_t)i && list[i][PIECE - 1] == (uint8_t)i);
            slab_give(&slab, pages[i], list[i]);
        }
        ck_assert_uint_eq(slab.page_count, 1);
    }
    slab_release(&slab);
    ck_assert_uint_eq(fault_alloc_live(), before);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cache");
    TCase *tcase = tcase_create("cache");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, finds_what_was_published);
    tcase_add_test(tcase, peeking_leaves_no_trace);
    tcase_add_test(tcase, the_faster_one_stays);
    tcase_add_test(tcase, not_inserted);
    tcase_add_loop_test(tcase, bounded, 0, 4);
    tcase_add_test(tcase, scan_resistant);
    tcase_add_test(tcase, adapts);
    tcase_add_test(tcase, newcomers_share_places);
    tcase_add_test(tcase, pinned_blocks_stay);
    tcase_add_test(tcase, erased_while_pinned);
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, guesses_push_out_nothing);
    tcase_add_test(tcase, guesses_go_first);
    tcase_add_test(tcase, a_guess_that_was_right);
    tcase_add_test(tcase, many_threads);
    tcase_add_test(tcase, charges);
    tcase_add_test(tcase, blocks_of_all_sizes);
    tcase_add_test(tcase, pieces);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
