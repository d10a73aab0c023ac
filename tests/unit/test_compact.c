#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/kevo.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

/* Compaction of whole stores: what is left, what it costs, and that it ends. */

static struct env *env;
static struct kevo_options options;
static kevo_store *store;

static void setup(void) {
    env = env_memory_new();
    options = kv_options(env);
    options.sync = KEVO_SYNC_OFF;
    store = kv_open(&options);
}

static void teardown(void) {
    kevo_close(store);
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void reopen(void) {
    kevo_close(store);
    store = kv_open(&options);
}

static void put_rows(unsigned begin, unsigned end, char fill) {
    char key[16], value[101] = "";
    memset(value, fill, 100);
    for (unsigned i = begin; i < end; i++) {
        snprintf(key, sizeof key, "k%06u", i);
        kv_put(store, key, value);
    }
}

static void delete_rows(unsigned begin, unsigned end) {
    char key[16];
    for (unsigned i = begin; i < end; i++) {
        snprintf(key, sizeof key, "k%06u", i);
        kv_delete(store, key);
    }
}

static void flush(void) {
    ck_ok(kevo_flush(store, &test_err));
}

/* All that the store does on its own; it must come to an end. */
static unsigned settle(void) {
    unsigned steps = 0;
    int rc;
    while ((rc = kevo_step(store, &test_err)) == 0)
        if (++steps > 500) ck_abort_msg("it never ends");
    ck_assert_int_eq(rc, KEVO_NOTFOUND);
    return steps;
}

static void expect_clean(uint64_t rows) {
    struct kevo_stats s = kv_stats(store);
    unsigned levels = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        levels += s.table_count[l] > 0;
    ck_assert_uint_eq(s.table_entries, rows);
    ck_assert_uint_eq(s.table_tombstones, 0);
    ck_assert_uint_le(levels, 1);
    ck_assert_uint_eq(s.table_count[0], 0);
    ck_ok(kevo_verify(store, &test_err));
}

/* ---- on demand -------------------------------------------------------------------------- */

START_TEST(no_garbage_is_left) {
    put_rows(0, 1000, 'a');
    flush();
    put_rows(0, 500, 'b');
    delete_rows(700, 900);
    kevo_snapshot *snap = kv_snapshot(store);
    put_rows(0, 300, 'c');
    delete_rows(300, 400);
    ck_ok(kv_compact(store, &test_err)); /* the snapshot keeps b, and what was deleted since */
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_eq(s.table_tombstones, 100);
    ck_assert_uint_eq(s.table_entries, 800 + 300 + 100);
    kevo_snapshot_free(snap);
    if (_i) reopen();
    ck_ok(kv_compact(store, &test_err)); /* all of it lies in one level already */
    expect_clean(700);
}
END_TEST

START_TEST(what_is_well_is_left_alone) {
    put_rows(0, 3000, 'a');
    flush();
    put_rows(100, 200, 'b');
    ck_ok(kv_compact(store, &test_err));
    expect_clean(3000);
    struct kevo_stats before = kv_stats(store);
    ck_assert_uint_gt(kv_tables(store), 3);
    ck_ok(kv_compact(store, &test_err));
    if (_i) {
        reopen();
        before = kv_stats(store);
        ck_ok(kv_compact(store, &test_err));
    }
    struct kevo_stats after = kv_stats(store);
    ck_assert_uint_eq(after.compact_write_bytes, before.compact_write_bytes);
    ck_assert_uint_eq(after.compact_read_bytes, before.compact_read_bytes);
    ck_assert_uint_eq(after.trivial_moves, before.trivial_moves);
}
END_TEST

/* One table with garbage among many: that one is written anew. */
START_TEST(only_what_has_garbage_is_written) {
    put_rows(0, 5000, 'a');
    kevo_snapshot *snap = kv_snapshot(store);
    delete_rows(2500, 2501);
    ck_ok(kv_compact(store, &test_err));
    kevo_snapshot_free(snap);
    struct kevo_stats before = kv_stats(store);
    uint64_t bytes = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        bytes += before.level_bytes[l];
    ck_ok(kv_compact(store, &test_err));
    expect_clean(4999);
    uint64_t written = kv_stats(store).compact_write_bytes - before.compact_write_bytes;
    ck_assert_uint_gt(written, 0);
    ck_assert_uint_lt(written, bytes / 2);
}
END_TEST

START_TEST(a_range_alone) {
    put_rows(0, 4000, 'a');
    ck_ok(kv_compact(store, &test_err));
    delete_rows(0, 4000);
    flush();
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_eq(s.table_tombstones, 4000);
    /* Level 0 has one table of all keys, so that goes as a whole; below, the range does. */
    put_rows(0, 4000, 'b');
    ck_ok(kv_compact(store, &test_err));
    kevo_snapshot *snap = kv_snapshot(store);
    delete_rows(0, 4000);
    ck_ok(kv_compact(store, &test_err));
    kevo_snapshot_free(snap);
    ck_assert_uint_eq(kv_stats(store).table_tombstones, 4000);
    ck_ok(kevo_compact(store, kv_slice("k001000"), kv_slice("k002000"), NULL, NULL, &test_err));
    s = kv_stats(store);
    ck_assert_uint_le(s.table_tombstones, 3000);
    ck_assert_uint_ge(s.table_tombstones, 2000); /* tables at the range's ends went along */
    ck_ok(kevo_compact(store, kv_slice("x"), kv_all, NULL, NULL, &test_err));
    ck_assert_uint_eq(kv_stats(store).table_tombstones, s.table_tombstones);
    ck_ok(kevo_compact(store, kv_slice("k002"), kv_slice("k001"), NULL, NULL, &test_err));
    ck_ok(kevo_compact(store, kv_all, kv_slice("k003"), NULL, NULL, &test_err));
    ck_ok(kevo_compact(store, kv_slice("k003"), kv_all, NULL, NULL, &test_err));
    expect_clean(0);
}
END_TEST

struct progress {
    uint64_t done, total;
    unsigned calls, stop_at; /* 0: never */
};

static bool see_progress(void *arg, uint64_t done, uint64_t total) {
    struct progress *p = arg;
    if (done < p->done || done > total) ck_abort_msg("%d of %d", (int)done, (int)total);
    p->done = done;
    p->total = total;
    return ++p->calls == p->stop_at;
}

static void fill_levels(void) {
    put_rows(0, 3000, 'a');
    ck_ok(kv_compact(store, &test_err));
    put_rows(500, 2500, 'b');
    flush();
    settle();
    delete_rows(1000, 1500);
    put_rows(2000, 2200, 'c');
    flush();
}

START_TEST(progress_is_told) {
    struct progress p = {0};
    fill_levels();
    ck_ok(kevo_compact(store, kv_all, kv_all, see_progress, &p, &test_err));
    ck_assert_uint_gt(p.calls, 5);
    ck_assert_uint_gt(p.total, 0);
    ck_assert_uint_eq(p.done, p.total);
    expect_clean(2500);
}
END_TEST

START_TEST(stopped_anywhere_it_is_sound) {
    const char *was = NULL;
    char *expected = NULL;
    for (unsigned stop_at = 1;; stop_at++) {
        struct progress p = {.stop_at = stop_at};
        if (stop_at == 1) {
            fill_levels();
            was = kv_dump(store, NULL);
            expected = strdup(was);
        }
        int rc = kevo_compact(store, kv_all, kv_all, see_progress, &p, &test_err);
        ck_assert(rc == 0 || rc == KEVO_CANCELLED);
        ck_ok(kevo_verify(store, &test_err));
        ck_assert_str_eq(kv_dump(store, NULL), expected);
        ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(store));
        if (rc == 0) break;
    }
    free(expected);
    expect_clean(2500);
}
END_TEST

/* ---- on its own --------------------------------------------------------------------------- */

START_TEST(tombstones_go_when_nothing_else_asks) {
    put_rows(0, 4000, 'a');
    ck_ok(kv_compact(store, &test_err));
    settle(); /* what is too large for its level moves on */
    kevo_snapshot *snap = _i ? kv_snapshot(store) : NULL;
    delete_rows(0, 3600);
    flush();
    unsigned steps = settle();
    if (snap) {
        ck_assert_uint_le(steps, 3);
        ck_assert_uint_eq(kv_stats(store).table_tombstones, 3600);
        kevo_snapshot_free(snap);
        settle();
    }
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_eq(s.table_tombstones, 0);
    ck_assert_uint_eq(s.table_entries, 400);
    ck_assert_uint_eq(settle(), 0);
    ck_ok(kevo_verify(store, &test_err));
}
END_TEST

START_TEST(old_versions_go_when_nothing_else_asks) {
    put_rows(0, 2000, 'a');
    kevo_snapshot *snap = kv_snapshot(store);
    put_rows(0, 1900, 'b');
    ck_ok(kv_compact(store, &test_err));
    settle();
    ck_assert_uint_eq(kv_stats(store).table_entries, 3900);
    kevo_snapshot_free(snap);
    ck_assert_uint_gt(settle(), 0);
    /* All but what lies in tables of which less than a quarter is old. */
    ck_assert_uint_lt(kv_stats(store).table_entries, 2000 + 2000 / 3);
    ck_assert_uint_eq(settle(), 0);
}
END_TEST

/* A thread finds out by itself that what had to stay readable for a while may go now. */
START_TEST(garbage_goes_when_its_time_has_come) {
    options.background = true;
    options.retain_ms = 200;
    reopen();
    put_rows(0, 2000, 'a');
    ck_ok(kv_compact(store, &test_err));
    kevo_snapshot *snap = _i ? kv_snapshot(store) : NULL;
    delete_rows(0, 2000);
    flush();
    if (snap) {
        usleep(400000);
        ck_assert_uint_eq(kv_stats(store).table_tombstones, 2000);
        kevo_snapshot_free(snap);
    }
    for (unsigned i = 0; i < 500 && kv_stats(store).table_entries; i++)
        usleep(20000);
    ck_assert_uint_eq(kv_stats(store).table_entries, 0);
}
END_TEST

static uint64_t written(const struct kevo_stats *s) {
    return s->flush_bytes + s->compact_write_bytes;
}

START_TEST(small_flushes_in_ascending_order) {
    options.table_bytes = 256 << 10;
    options.level1_bytes = 1 << 20;
    reopen();
    for (unsigned i = 0; i < 600; i++) {
        put_rows(i * 4, i * 4 + 4, (char)('a' + i % 26));
        flush();
        settle();
    }
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_le(kv_tables(store), 40);
    ck_assert_uint_eq(s.table_entries, 2400);
    ck_assert_uint_lt(written(&s), 8 * s.flush_bytes); /* each row a few times */
    ck_ok(kevo_verify(store, &test_err));
}
END_TEST

START_TEST(small_flushes_over_a_large_level) {
    options.table_bytes = 64 << 10;
    options.level1_bytes = 4 << 20;
    reopen();
    put_rows(0, 20000, 'a');
    ck_ok(kv_compact(store, &test_err));
    struct kevo_stats before = kv_stats(store), s;
    struct rng rng = rng_of(harness_seed());
    for (unsigned i = 0; i < 300; i++) {
        for (unsigned n = 0; n < 10; n++) {
            unsigned row = (unsigned)rng_below(&rng, 20000);
            put_rows(row, row + 1, 'b');
        }
        flush();
        settle();
        s = kv_stats(store);
        ck_assert_uint_lt(s.table_count[0], options.l0_trigger);
    }
    /* Merged with all of level 1 once in four flushes it would be a hundred times. */
    uint64_t amplification =
        (written(&s) - written(&before)) / (s.flush_bytes - before.flush_bytes);
    ck_assert_msg(amplification < 25, "%d times", (int)amplification);
    ck_ok(kevo_verify(store, &test_err));
}
END_TEST

/* What sinks as it is has been compressed when it was flushed, and was written once. */
START_TEST(an_ascending_fill_is_written_once) {
    options.memtable_bytes = 64 << 10;
    options.l0_trigger = 2;
    reopen();
    for (unsigned i = 0; i < 50; i++) {
        put_rows(i * 400, i * 400 + 400, 'a');
        flush();
        settle();
    }
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_eq(s.table_entries, 20000);
    ck_assert_uint_lt(written(&s), s.user_bytes / 2);
    ck_assert_uint_gt(s.trivial_moves, 40);
}
END_TEST

/* What is live is told about right, whatever lies above it. */
START_TEST(live_bytes_are_estimated) {
    put_rows(0, 3000, 'a');
    ck_ok(kv_compact(store, &test_err));
    settle();
    struct kevo_stats s = kv_stats(store);
    uint64_t all = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        all += s.level_bytes[l];
    ck_assert_uint_eq(s.live_bytes, all); /* nothing but rows */
    put_rows(0, 3000, 'b');
    flush();
    ck_assert_uint_eq(kv_stats(store).live_bytes, all); /* replaced, not added */
    ck_ok(kv_compact(store, &test_err));
    settle();
    kevo_snapshot *snap = kv_snapshot(store);
    delete_rows(0, 1500);
    ck_ok(kv_compact(store, &test_err));
    settle();
    s = kv_stats(store);
    ck_assert_uint_gt(s.live_bytes, all / 3);
    ck_assert_uint_lt(s.live_bytes, all * 3 / 4);
    kevo_snapshot_free(snap);
    ck_ok(kv_compact(store, &test_err));
    delete_rows(1500, 3000);
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(kv_stats(store).live_bytes, 0);
}
END_TEST

/* ---- level 0 -------------------------------------------------------------------------------- */

START_TEST(level_0_stays_below_its_limit) {
    options.memtable_bytes = 32 << 10;
    options.l0_trigger = 2;
    options.l0_slow = 3;
    options.l0_stop = 4;
    options.background = _i;
    reopen();
    struct rng rng = rng_of(harness_seed());
    for (unsigned i = 0; i < 6000; i++) {
        unsigned row = (unsigned)rng_below(&rng, 100000);
        put_rows(row, row + 1, 'a');
        if (i % 50 == 0) ck_assert_uint_le(kv_stats(store).table_count[0], 4);
    }
    ck_ok(kevo_verify(store, &test_err));
}
END_TEST

/* ---- faults ------------------------------------------------------------------------------------ */

/* Every call to the system and every allocation of a compaction fails once. */
static int compact_filled(struct fault_plan plan, uint64_t nth_alloc, bool *hit) {
    kevo_close(store);
    env_memory_free(env);
    env = env_memory_new();
    options.env = env;
    store = kv_open(&options);
    fill_levels();
    kevo_close(store);
    struct kevo_options o = options;
    struct env *f = fault_env_new(env);
    o.env = f;
    store = kv_open(&o);
    if (nth_alloc)
        fault_alloc_fail_at(nth_alloc, false);
    else
        fault_env_plan(f, plan);
    int rc = kv_compact(store, &test_err);
    *hit = nth_alloc ? fault_alloc_hit() : fault_env_hit(f);
    fault_alloc_fail_at(0, false);
    fault_env_plan(f, (struct fault_plan){0});
    ck_ok(kevo_verify(store, &test_err));
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 0);
    kevo_close(store);
    store = kv_open(&options);
    ck_ok(kv_compact(store, &test_err));
    expect_clean(2500);
    fault_env_free(f);
    return rc;
}

START_TEST(calls_that_fail) {
    unsigned failed = 0;
    for (uint64_t n = 1;; n += 1 + n / 8) {
        struct fault_plan plan = {.kinds = FAULT_ALL & ~FAULT_UNLINK, .nth = n, .rc = KEVO_FULL};
        bool hit;
        int rc = compact_filled(plan, 0, &hit);
        if (!hit) break;
        if (rc != 0 && rc != KEVO_FULL && rc != KEVO_READONLY) ck_abort_msg("%s", test_err.msg);
        failed += rc != 0;
    }
    ck_assert_uint_gt(failed, 5);
}
END_TEST

START_TEST(allocations_that_fail) {
    unsigned failed = 0;
    for (uint64_t n = 1;; n += 1 + n / 8) {
        bool hit;
        int rc = compact_filled((struct fault_plan){0}, n, &hit);
        if (!hit) break;
        if (rc != 0 && rc != KEVO_NOMEM && rc != KEVO_FULL && rc != KEVO_READONLY)
            ck_abort_msg("%s", test_err.msg);
        failed += rc != 0;
    }
    ck_assert_uint_gt(failed, 5);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("compact");
    TCase *tcase = tcase_create("compact");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, no_garbage_is_left, 0, 2);
    tcase_add_loop_test(tcase, what_is_well_is_left_alone, 0, 2);
    tcase_add_test(tcase, only_what_has_garbage_is_written);
    tcase_add_test(tcase, a_range_alone);
    tcase_add_test(tcase, progress_is_told);
    tcase_add_test(tcase, stopped_anywhere_it_is_sound);
    tcase_add_loop_test(tcase, tombstones_go_when_nothing_else_asks, 0, 2);
    tcase_add_test(tcase, old_versions_go_when_nothing_else_asks);
    tcase_add_loop_test(tcase, garbage_goes_when_its_time_has_come, 0, 2);
    tcase_add_test(tcase, small_flushes_in_ascending_order);
    tcase_add_test(tcase, small_flushes_over_a_large_level);
    tcase_add_test(tcase, an_ascending_fill_is_written_once);
    tcase_add_test(tcase, live_bytes_are_estimated);
    tcase_add_loop_test(tcase, level_0_stays_below_its_limit, 0, 2);
    tcase_add_test(tcase, calls_that_fail);
    tcase_add_test(tcase, allocations_that_fail);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
