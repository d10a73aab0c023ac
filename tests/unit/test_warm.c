#include "engine/kevo.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "tests/lib/settle_store.h"

/* What a store that has settled brings into its cache, and what it does not. */

enum { ROWS = 3000, FEW = 400, ALL_BYTES = ROWS * 130 };

static void setup_warm(void) {
    setup();
    options.compression = KEVO_COMPRESSION_LZ4;
    options.uncompressed_levels = 0;
    options.cache_bytes = 2 << 20; /* it all fits */
}

static void load(void) {
    store = kv_open(&options);
    fill(0, ROWS, 1);
    pass(2 * SECOND);
    steps();
}

static bool has(unsigned i) {
    char key[20];
    snprintf(key, sizeof key, "%08u", i);
    return kv_get(store, NULL, key) != NULL;
}

/* Blocks that had to be decompressed for gets of rows all over the tables. */
static uint64_t misses(void) {
    uint64_t before = kv_stats(store).cache_misses;
    for (unsigned i = 0; i < ROWS; i += 7)
        ck_assert(has(i));
    return kv_stats(store).cache_misses - before;
}

static uint64_t warmed(void) {
    return kv_stats(store).settled_blocks;
}

START_TEST(first_reads_find_their_blocks) {
    load();
    ck_assert_uint_eq(misses(), 0);
    uint64_t blocks = warmed();
    ck_assert_uint_gt(blocks, ALL_BYTES / 4096 / 2);
    pass(60 * SECOND);
    ck_assert_uint_eq(steps(), 0);
    fill(ROWS, 600, 1); /* and then what is new */
    pass(2 * SECOND);
    steps();
    ck_assert_uint_gt(warmed(), blocks);
    ck_assert_uint_eq(misses(), 0);
}
END_TEST

START_TEST(not_what_others_wrote) {
    load();
    kevo_close(store);
    store = kv_open(&options);
    pass(60 * SECOND);
    steps();
    ck_assert_uint_eq(warmed(), 0);
    ck_assert_uint_gt(misses(), 0);
    fill(ROWS, 600, 1); /* which makes one table more */
    pass(2 * SECOND);
    options.table_bytes = 1 << 20;
    steps();
    ck_assert_uint_gt(warmed(), 0);
}
END_TEST

START_TEST(not_while_it_is_written_to) {
    store = kv_open(&options);
    fill(0, ROWS, 1);
    must(kevo_flush(store, &test_err));
    steps();
    pass(199 * MS);
    steps();
    ck_assert_uint_eq(warmed(), 0);
    kv_put(store, "a", "1");
    pass(199 * MS);
    steps();
    ck_assert_uint_eq(warmed(), 0);
}
END_TEST

START_TEST(it_can_be_switched_off) {
    options.settle_ms = 0;
    load();
    must(kv_compact(store, &test_err));
    pass(60 * SECOND);
    steps();
    ck_assert_uint_eq(warmed(), 0);
}
END_TEST

/* What was asked for stays; of the rest there is as much as there is room for. */
START_TEST(only_free_room_is_filled) {
    options.cache_bytes = ALL_BYTES / 4;
    load();
    struct kevo_stats first = kv_stats(store);
    ck_assert_uint_gt(first.settled_blocks, 0);
    ck_assert_uint_gt(misses(), 0);
    ck_assert_uint_le(kv_stats(store).cache_used_bytes + kv_stats(store).open_table_bytes,
                      kv_stats(store).cache_limit_bytes);
    options.cache_bytes = 0;
    kevo_close(store);
    must(kevo_destroy(KV_DIR, &options, &test_err));
    load();
    ck_assert_uint_eq(warmed(), 0);
}
END_TEST

/* The cache takes none of these blocks, but they are not all read for that. */
START_TEST(large_blocks_are_not_read_in_vain) {
    enum { LARGE = 1 << 20, LARGE_ROWS = 300 };
    static char value[LARGE];
    memset(value, 'x', sizeof value);
    options.memtable_bytes = 1 << 20;
    options.cache_bytes = 1 << 20;
    store = kv_open(&options);
    for (unsigned i = 0; i < LARGE_ROWS; i++) {
        char key[20];
        snprintf(key, sizeof key, "%08u", i);
        must(kevo_put(store, kv_slice(key), slice_of(value, sizeof value), &test_err));
    }
    pass(2 * SECOND);
    steps();
    ck_assert_uint_le(warmed(), 2 * options.cache_bytes / LARGE + 1);
}
END_TEST

/* Nobody is told of what nobody has asked for. */
START_TEST(damage_is_told_to_who_reads) {
    struct env_file *f;
    char path[100];
    store = kv_open(&options);
    fill(0, ROWS, 1);
    must(kv_compact(store, &test_err));
    unsigned damaged = 0;
    for (unsigned n = 1; n < 200; n++) {
        snprintf(path, sizeof path, KV_DIR "/%06u.sst", n);
        if (memory->open(memory, path, ENV_READ | ENV_WRITE, 0, &f, NULL)) continue;
        must(memory->write(memory, f, 1000, "damage", 6, &test_err));
        memory->close(memory, f);
        damaged++;
    }
    ck_assert_uint_gt(damaged, 0);
    pass(2 * SECOND);
    steps();
    must(kevo_put(store, kv_slice("a"), kv_slice("b"), &test_err));
    ck_assert_str_eq(kv_get(store, NULL, "a"), "b");
    ck_assert_int_eq(kevo_verify(store, &test_err), KEVO_CORRUPT);
}
END_TEST

START_TEST(nothing_breaks_for_want_of_memory) {
    uint64_t n = 1;
    for (bool hit = true; hit; n++) {
        store = kv_open(&options);
        fill(0, FEW, 1);
        must(kv_compact(store, &test_err));
        pass(2 * SECOND);
        fault_alloc_fail_at(n, n % 2);
        while (kevo_step(store, &test_err) == 0)
            ;
        hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        ck_assert(has(1) && has(FEW - 1));
        must(kevo_put(store, kv_slice("a"), kv_slice("b"), &test_err));
        kevo_close(store);
        store = NULL;
        must(kevo_destroy(KV_DIR, &options, &test_err));
    }
    ck_assert_uint_gt(n, 5);
}
END_TEST

/* ---- with threads ------------------------------------------------------------------------- */

static _Atomic bool stop;

static void *read_all(void *arg) {
    (void)arg;
    while (!atomic_load(&stop)) {
        struct kevo_value v = {0};
        kevo_get(store, NULL, kv_slice("00000007"), &v, NULL);
        kevo_value_release(&v);
    }
    return NULL;
}

START_TEST(beside_readers_and_writers) {
    pthread_t reader;
    options.background = true;
    options.cache_bytes = 128 << 10;
    store = kv_open(&options);
    atomic_store(&stop, false);
    ck_assert_int_eq(pthread_create(&reader, NULL, read_all, NULL), 0);
    for (unsigned round = 0; round < 20; round++) {
        fill(round * 100, 700, 1);
        pass(2 * SECOND);
        uint64_t before = warmed();
        for (unsigned n = 0; n < 100 && round % 3 == 0 && warmed() == before; n++)
            memory->sleep_us(memory, 1000);
    }
    atomic_store(&stop, true);
    pthread_join(reader, NULL);
    ck_assert_uint_gt(warmed(), 0);
    must(kevo_verify(store, &test_err));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("warm");
    TCase *steps_only = tcase_create("steps");
    tcase_add_checked_fixture(steps_only, setup_warm, teardown);
    tcase_set_timeout(steps_only, 120);
    tcase_add_test(steps_only, first_reads_find_their_blocks);
    tcase_add_test(steps_only, not_what_others_wrote);
    tcase_add_test(steps_only, not_while_it_is_written_to);
    tcase_add_test(steps_only, it_can_be_switched_off);
    tcase_add_test(steps_only, only_free_room_is_filled);
    tcase_add_test(steps_only, large_blocks_are_not_read_in_vain);
    tcase_add_test(steps_only, damage_is_told_to_who_reads);
    tcase_add_test(steps_only, nothing_breaks_for_want_of_memory);
    suite_add_tcase(suite, steps_only);

    TCase *threads = tcase_create("threads");
    tcase_add_checked_fixture(threads, setup_warm, teardown);
    tcase_set_timeout(threads, 60);
    tcase_add_test(threads, beside_readers_and_writers);
    suite_add_tcase(suite, threads);
    return harness_run(suite);
}
