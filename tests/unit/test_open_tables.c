#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/tree/version.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/kv.h"
#include "tests/lib/tree.h"

/* ---- the ring ------------------------------------------------------------------------ */

enum { FILES = 12 };

static struct tree tree;
static struct open_tables ring;
static struct table_file *files[FILES];

static void setup_ring(void) {
    static const struct iter_suite_entry one[] = {
        {{(const uint8_t *)"a", 1}, 5, ENTRY_PUT, {(const uint8_t *)"x", 1}}};
    tree_init(&tree);
    open_tables_init(&ring, 4, UINT64_MAX);
    tree.home.open = &ring;
    for (unsigned i = 0; i < FILES; i++)
        files[i] = tree_write(&tree, one, 1);
}

static void teardown_ring(void) {
    for (unsigned i = 0; i < FILES; i++)
        table_file_unref(files[i]);
    open_tables_release(&ring);
    tree_release(&tree);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static bool is_open(unsigned i) {
    return atomic_load(&files[i]->table) != NULL;
}

static void use(unsigned i) {
    struct table *t;
    ck_ok(table_file_borrow(files[i], &t, &test_err));
    ck_assert(is_open(i));
}

static void expect_open(const char *which) {
    char text[3 * FILES + 1] = "";
    for (unsigned i = 0; i < FILES; i++)
        if (is_open(i)) snprintf(text + strlen(text), 4, "%u ", i);
    ck_assert_str_eq(text, which);
}

static unsigned closing(void) {
    struct table_list list = open_tables_take(&ring);
    uint64_t before = fault_alloc_live();
    table_list_close(&list);
    ck_assert_ptr_null(list.first);
    return (unsigned)(before - fault_alloc_live()) > 0;
}

START_TEST(those_not_used_for_longest_are_closed) {
    for (unsigned i = 0; i < 4; i++)
        use(i);
    expect_open("0 1 2 3 ");
    ck_assert_uint_eq(closing(), 0);
    use(4); /* all are marked: the hand goes round and takes the first */
    expect_open("1 2 3 4 ");
    ck_assert_uint_eq(closing(), 1);
    use(1);
    use(5); /* 1 was used since, 2 was not */
    expect_open("1 3 4 5 ");
    use(6);
    expect_open("1 4 5 6 ");
    use(2);
    ck_assert_uint_eq(ring.count, 4);
    ck_assert_uint_eq(ring.opened, 8);
    ck_assert_uint_eq(closing(), 1);
    ck_assert_uint_eq(closing(), 0);
}
END_TEST

START_TEST(those_with_references_stay) {
    struct table *held[6];
    for (unsigned i = 0; i < 6; i++)
        ck_ok(table_file_acquire(files[i], &held[i], &test_err));
    expect_open("0 1 2 3 4 5 "); /* more than wanted, but all in use */
    for (unsigned i = 0; i < 6; i += 2)
        table_close(held[i]);
    use(6);
    use(7);
    ck_assert(is_open(1) && is_open(3) && is_open(5));
    ck_assert_uint_eq(ring.count, 4);
    for (unsigned i = 1; i < 6; i += 2)
        table_close(held[i]);
    /* The reference outlives what the file knows of. */
    ck_ok(table_file_acquire(files[8], &held[0], &test_err));
    struct table *detached = held[0];
    table_close(held[0]);
    for (unsigned i = 0; i < FILES; i++)
        use(i);
    (void)detached;
    ck_assert_uint_eq(ring.count, 4);
}
END_TEST

START_TEST(bytes_count_too_but_for_the_last_few) {
    ring.max_count = 100;
    ring.max_bytes = 1;
    for (unsigned i = 0; i < FILES; i++)
        use(i);
    ck_assert_uint_eq(ring.count, LEAST_OPEN_TABLES);
    ck_assert_uint_eq(ring.bytes, LEAST_OPEN_TABLES * table_memory_bytes(files[11]->table));
    struct cache_stats stats;
    closing();
    cache_get_stats(tree.cache, &stats);
    ck_assert_uint_eq(stats.charged_bytes, ring.bytes);
}
END_TEST

/* ---- stores ---------------------------------------------------------------------------- */

enum { TABLES = 24, ROWS = 40 };

static struct env *env;
static struct kevo_options options;
static kevo_store *store;

static void key_of(char text[16], unsigned table, unsigned row) {
    snprintf(text, 16, "t%03u.%03u", table, row);
}

static void value_of(char text[64], unsigned table, unsigned row) {
    snprintf(text, 64, "the value of row %u in table %u, which is not short", row, table);
}

/* Tables that lie side by side, in level 0. */
static void fill(void) {
    char key[16], value[64];
    for (unsigned t = 0; t < TABLES; t++) {
        for (unsigned r = 0; r < ROWS; r++) {
            key_of(key, t, r);
            value_of(value, t, r);
            kv_put(store, key, value);
        }
        ck_ok(kevo_flush(store, &test_err));
    }
    ck_assert_uint_eq(kv_stats(store).table_count[0], TABLES);
}

static void setup(void) {
    env = env_memory_new();
    options = kv_options(env);
    options.max_open_tables = 4;
    options.l0_trigger = options.l0_slow = options.l0_stop = 100;
    options.cache_bytes = 1 << 20;
    store = kv_open(&options);
    fill();
}

static void teardown(void) {
    kevo_close(store);
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static bool is_value(slice got, unsigned table, unsigned row) {
    char value[64];
    value_of(value, table, row);
    return slice_eq(got, slice_of_str(value));
}

static void expect_get(kevo_store *s, unsigned table, unsigned row) {
    char key[16];
    struct kevo_value v;
    key_of(key, table, row);
    ck_ok(kevo_get(s, NULL, kv_slice(key), &v, &test_err));
    ck_assert(is_value(v.slice, table, row));
    kevo_value_release(&v);
}

START_TEST(a_store_keeps_within_its_limit) {
    for (unsigned i = 0; i < 3 * TABLES; i++) {
        expect_get(store, i % TABLES, i % ROWS);
        struct kevo_stats s = kv_stats(store);
        ck_assert_uint_le(s.open_tables, 4);
        ck_assert_uint_eq(s.tables_opened, i + 1);
        if (i >= 4) ck_assert_uint_gt(s.open_table_bytes, 0);
    }
    uint64_t four = kv_stats(store).open_table_bytes;
    for (unsigned i = 0; i < 50; i++)
        expect_get(store, i % 2, i % ROWS); /* two tables stay */
    ck_assert_uint_le(kv_stats(store).tables_opened, 3 * TABLES + 2);
    ck_assert_uint_le(kv_stats(store).open_table_bytes, 2 * four);
}
END_TEST

/* Values lie in tables, some in the map itself: they stay readable while held. */
static void hold_and_use(kevo_store *s) {
    struct kevo_value held[TABLES];
    char key[16];
    kevo_iter *it = kv_iter(s, NULL);
    must(kevo_iter_first(it, &test_err));
    for (unsigned t = 0; t < TABLES; t++) {
        key_of(key, t, 7);
        ck_ok(kevo_get(s, NULL, kv_slice(key), &held[t], &test_err));
    }
    for (unsigned round = 0; round < 3; round++)
        for (unsigned t = 0; t < TABLES; t++)
            expect_get(s, t, round);
    for (unsigned t = 0; t < TABLES; t++)
        ck_assert(is_value(held[t].slice, t, 7));
    for (unsigned n = 0; n < TABLES * ROWS; n++) {
        ck_assert(kevo_iter_valid(it));
        ck_assert(is_value(kevo_iter_value(it), n / ROWS, n % ROWS));
        if (n % 50 == 0) expect_get(s, n % TABLES, 3);
        must(kevo_iter_next(it, &test_err));
    }
    ck_assert(!kevo_iter_valid(it));
    must(kevo_iter_last(it, &test_err));
    ck_assert(is_value(kevo_iter_value(it), TABLES - 1, ROWS - 1));
    for (unsigned t = 0; t < TABLES; t++)
        kevo_value_release(&held[t]);
    kevo_iter_free(it);
    for (unsigned t = 0; t < TABLES; t++)
        expect_get(s, t, 1);
    ck_assert_uint_le(kv_stats(s).open_tables, 4);
}

START_TEST(what_is_held_stays_readable) {
    if (_i == 1) {
        options.uncompressed_levels = 7;
        ck_ok(kv_compact(store, &test_err));
    }
    hold_and_use(store);
}
END_TEST

/* The same on the system's files, where what is not mapped any more cannot be read. */
START_TEST(maps_stay_while_they_are_used) {
    char dir[] = "/tmp/kevo-open-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    kevo_store *memory = store;
    struct kevo_options o = options;
    o.env = NULL;
    o.sync = KEVO_SYNC_OFF;
    ck_ok(kevo_open(dir, &o, &store, &test_err));
    fill();
    hold_and_use(store);
    kevo_close(store);
    ck_ok(kevo_destroy(dir, &o, &test_err));
    store = memory;
}
END_TEST

/* An iterator that stands still for long hinders nobody's closing but that of its own table. */
START_TEST(an_idle_iterator_does_not_keep_others_open) {
    kevo_iter *it = kv_iter(store, &(struct kevo_read){.upper = kv_slice("t000.z")});
    must(kevo_iter_first(it, &test_err));
    for (unsigned i = 0; i < 3 * TABLES; i++)
        expect_get(store, i % TABLES, i % ROWS);
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_le(s.open_tables, 4);
    ck_assert_uint_le(s.open_table_bytes, 6 * s.open_table_bytes / s.open_tables);
    ck_assert(is_value(kevo_iter_value(it), 0, 0));
    kevo_iter_free(it);
}
END_TEST

/* What tables keep in memory is in the cache's budget. */
START_TEST(blocks_and_tables_share_the_cache) {
    kevo_close(store);
    options.max_open_tables = 1000;
    options.cache_bytes = 64 << 10;
    store = kv_open(&options);
    ck_ok(kv_compact(store, &test_err)); /* compressed, so that blocks are cached */
    options.cache_bytes = 16 << 10;
    kevo_close(store);
    store = kv_open(&options);
    unsigned tables = kv_tables(store);
    for (unsigned i = 0; i < 4 * TABLES * ROWS; i++) {
        expect_get(store, i % TABLES, i / TABLES % ROWS);
        struct kevo_stats s = kv_stats(store);
        uint64_t tables_bytes = s.open_table_bytes;
        ck_assert_uint_le(s.cache_used_bytes, s.cache_limit_bytes);
        if (s.open_tables > LEAST_OPEN_TABLES)
            ck_assert_uint_le(tables_bytes + s.cache_used_bytes, s.cache_limit_bytes);
        else
            ck_assert(tables_bytes <= options.cache_bytes / 4 * 3 || s.open_tables <= tables);
    }
}
END_TEST

/* Filters and indexes, which are read in place, do not close tables, however much larger than the
 * cache all of them are: else most reads of a large store would open one. */
START_TEST(large_filters_stay_open) {
    enum { LARGE = LEAST_OPEN_TABLES + 4, KEYS = 2000 };
    kevo_close(store);
    ck_ok(kevo_destroy(KV_DIR, &options, &test_err));
    options.max_open_tables = 1000;
    options.cache_bytes = 64 << 10;
    options.filter_bits_per_key = 32; /* 8 KB a table */
    store = kv_open(&options);
    char key[16];
    for (unsigned t = 0; t < LARGE; t++) {
        for (unsigned k = 0; k < KEYS; k++) {
            snprintf(key, sizeof key, "t%03u.%05u", t, k);
            kv_put(store, key, "v");
        }
        ck_ok(kevo_flush(store, &test_err));
    }
    ck_assert_uint_eq(kv_tables(store), LARGE);
    uint64_t opened = 0;
    for (unsigned i = 0; i < 3 * LARGE; i++) {
        snprintf(key, sizeof key, "t%03u.%05u", i % LARGE, i);
        ck_assert_str_eq(kv_get(store, NULL, key), "v");
        if (i == LARGE - 1) opened = kv_stats(store).tables_opened;
    }
    ck_assert_uint_eq(kv_stats(store).tables_opened, opened);
    ck_assert_uint_eq(kv_stats(store).open_tables, LARGE);
}
END_TEST

/* A table that is closed and opened again finds its blocks in the cache. */
START_TEST(blocks_outlive_the_closing) {
    ck_ok(kv_compact(store, &test_err));
    kevo_close(store);
    options.max_open_tables = 1;
    store = kv_open(&options);
    for (unsigned t = 0; t < TABLES; t++)
        expect_get(store, t, 5);
    struct kevo_stats before = kv_stats(store);
    for (unsigned t = 0; t < TABLES; t++)
        expect_get(store, t, 5);
    struct kevo_stats after = kv_stats(store);
    ck_assert_uint_gt(after.tables_opened, before.tables_opened);
    ck_assert_uint_eq(after.cache_misses, before.cache_misses);
    ck_assert_uint_eq(after.cache_hits, before.cache_hits + TABLES);
}
END_TEST

/* A file that was made shorter while it was closed is noticed when it is opened again. */
START_TEST(a_truncated_table_is_named) {
    struct env_file *f;
    struct kevo_value v;
    uint64_t size;
    expect_get(store, 0, 0);
    for (unsigned t = 1; t < TABLES; t++)
        expect_get(store, t, 0);
    ck_ok(env->open(env, KV_DIR "/000001.sst", ENV_READ | ENV_WRITE, 0, &f, &test_err));
    ck_ok(env->size(env, f, &size, &test_err));
    ck_ok(env->truncate(env, f, _i ? size - 1 : 0, &test_err));
    env->close(env, f);
    ck_assert_int_eq(kevo_get(store, NULL, kv_slice("t000.000"), &v, &test_err), KEVO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "000001.sst: has "));
    expect_get(store, 1, 0);
}
END_TEST

START_TEST(no_memory) {
    int failed = 0;
    for (uint64_t n = 1;; n++) {
        char key[16];
        int rc = 0;
        fault_alloc_fail_at(n, n % 2);
        for (unsigned t = 0; rc == 0 && t < 8; t++) {
            struct kevo_value v;
            key_of(key, (unsigned)(n + 3 * t) % TABLES, 9);
            rc = kevo_get(store, NULL, kv_slice(key), &v, &test_err);
            kevo_value_release(&v);
        }
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (!hit) break;
        if (rc && rc != KEVO_NOMEM) ck_abort_msg("%d: %s", rc, test_err.msg);
        failed += rc != 0;
    }
    ck_assert_int_gt(failed, 3);
    for (unsigned t = 0; t < TABLES; t++)
        expect_get(store, t, 2);
    ck_assert_uint_le(kv_stats(store).open_tables, 4);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------ */

static atomic_bool stop;
static _Atomic unsigned failures;

static void read_on(void *arg) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)(uintptr_t)arg);
    struct kevo_err err;
    while (!atomic_load(&stop)) {
        unsigned t = (unsigned)rng_below(&rng, TABLES), r = (unsigned)rng_below(&rng, ROWS);
        struct kevo_value v;
        char key[16];
        key_of(key, t, r);
        if (kevo_get(store, NULL, kv_slice(key), &v, &err) || !is_value(v.slice, t, r))
            atomic_fetch_add(&failures, 1);
        kevo_iter *it;
        if (rng_below(&rng, 8) == 0) {
            if (kevo_iter_new(store, NULL, &it, &err) || kevo_iter_seek(it, kv_slice(key), &err) ||
                !is_value(kevo_iter_value(it), t, r))
                atomic_fetch_add(&failures, 1);
            kevo_iter_free(it);
        }
        kevo_value_release(&v);
    }
}

/* Readers while tables are closed, opened, merged away. */
START_TEST(readers_and_a_limit) {
    struct env_thread *threads[4];
    kevo_close(store);
    options.background = true;
    options.max_open_tables = (unsigned)_i + 1;
    options.retain_ms = 0;
    store = kv_open(&options);
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < 4; i++)
        ck_ok(env->thread_start(env, read_on, (void *)i, &threads[i], &test_err));
    for (unsigned round = 0; round < 6; round++) {
        char key[16], value[64];
        for (unsigned t = 0; t < TABLES; t++) {
            key_of(key, t, round);
            value_of(value, t, round);
            kv_put(store, key, value);
            if (t % 8 == 7) ck_ok(kevo_flush(store, &test_err));
        }
        ck_ok(kv_compact(store, &test_err));
        usleep(20000);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 4; i++)
        env->thread_join(env, threads[i]);
    ck_assert_uint_eq(atomic_load(&failures), 0);
    expect_get(store, 0, 0);
    ck_assert_uint_le(kv_stats(store).open_tables, options.max_open_tables);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("open_tables");
    TCase *tcase = tcase_create("ring");
    tcase_add_checked_fixture(tcase, setup_ring, teardown_ring);
    tcase_add_test(tcase, those_not_used_for_longest_are_closed);
    tcase_add_test(tcase, those_with_references_stay);
    tcase_add_test(tcase, bytes_count_too_but_for_the_last_few);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("stores");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_store_keeps_within_its_limit);
    tcase_add_loop_test(tcase, what_is_held_stays_readable, 0, 2);
    tcase_add_test(tcase, maps_stay_while_they_are_used);
    tcase_add_test(tcase, an_idle_iterator_does_not_keep_others_open);
    tcase_add_test(tcase, blocks_and_tables_share_the_cache);
    tcase_add_test(tcase, large_filters_stay_open);
    tcase_add_test(tcase, blocks_outlive_the_closing);
    tcase_add_loop_test(tcase, a_truncated_table_is_named, 0, 2);
    tcase_add_test(tcase, no_memory);
    tcase_add_loop_test(tcase, readers_and_a_limit, 0, 4);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
