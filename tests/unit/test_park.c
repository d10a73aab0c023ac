/* Snapshots that rest between two uses: they go on as if they had been held, or have ended; and they
 * keep nothing. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/fault_env.h"
#include "tests/lib/memory_store.h"

static void setup_rows(void) {
    setup();
    kv_put(store, "a", "1");
    ck_ok(kevo_flush(store, &test_err));
    kv_put(store, "b", "1");
}

static void expect_value(const kevo_snapshot *snap, const char *key, const char *expected,
                         struct kevo_value *v) {
    struct kevo_read read = {.snapshot = snap};
    ck_ok(kevo_get_again(store, &read, kv_slice(key), v, &test_err));
    ck_assert(slice_eq(v->slice, kv_slice(expected)));
}

/* ---- resting ------------------------------------------------------------------------- */

START_TEST(goes_on) {
    kevo_snapshot *snap = kv_snapshot(store);
    struct kevo_value v = {.slice = {NULL, 0}};
    uint64_t id = kevo_snapshot_id(snap);
    for (int i = 0; i < 3; i++) {
        expect_value(snap, "a", "1", &v);
        if (_i == 1) kevo_value_release(&v);
        ck_assert(kevo_snapshot_park(snap, &v));
        ck_assert_ptr_null(v.slice.data); /* nothing was left to release */
        ck_assert(kevo_snapshot_resume(snap, _i == 2 ? NULL : &v));
        expect_value(snap, "b", "1", &v);
        ck_assert_uint_eq(kevo_snapshot_id(snap), id);
    }
    kevo_value_release(&v);
    kevo_snapshot_free(snap);
}
END_TEST

/* What it sees does not change, whatever is put and deleted meanwhile. */
START_TEST(sees_the_same) {
    kevo_snapshot *snap = kv_snapshot(store);
    struct kevo_value v = {.slice = {NULL, 0}};
    expect_value(snap, "a", "1", &v);
    ck_assert(kevo_snapshot_park(snap, &v));
    kv_put(store, "a", "2");
    kv_delete(store, "b");
    ck_assert(kevo_snapshot_resume(snap, &v));
    expect_value(snap, "a", "1", &v);
    expect_value(snap, "b", "1", &v);
    kevo_value_release(&v);
    kevo_snapshot_free(snap);
}
END_TEST

/* A value of an earlier view than the present one stays with the caller. */
START_TEST(older_view) {
    kevo_snapshot *before = kv_snapshot(store);
    struct kevo_value v = {.slice = {NULL, 0}};
    expect_value(before, "b", "1", &v);
    ck_ok(kevo_flush(store, &test_err));
    kevo_snapshot *snap = kv_snapshot(store);
    ck_assert(kevo_snapshot_park(snap, &v));
    ck_assert(slice_eq(v.slice, kv_slice("1")));
    kevo_value_release(&v);
    ck_assert(kevo_snapshot_resume(snap, &v));
    expect_value(snap, "b", "1", &v);
    kevo_value_release(&v);
    kevo_snapshot_free(snap);
    kevo_snapshot_free(before);
}
END_TEST

/* ---- ending ---------------------------------------------------------------------------- */

static void look(void) {
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 0);
}

static void flush(void) {
    ck_ok(kevo_flush(store, &test_err));
}

static void compact(void) {
    ck_ok(kv_compact(store, &test_err));
}

static void (*const ends[])(void) = {look, flush, compact};
enum { ENDS = sizeof ends / sizeof ends[0] };

START_TEST(ends_when_parked) {
    kevo_snapshot *snap = kv_snapshot(store);
    struct kevo_value v = {.slice = {NULL, 0}};
    expect_value(snap, "a", "1", &v);
    ck_assert(kevo_snapshot_park(snap, &v));
    ends[_i]();
    ck_assert(!kevo_snapshot_resume(snap, &v));
    ck_assert_ptr_null(v.pin[0]);
    kevo_snapshot_free(snap);
}
END_TEST

/* Who counted on a pin is to be told when it goes. */
START_TEST(is_seen_when_held) {
    kevo_snapshot *snap = kv_snapshot(store);
    struct kevo_value v = {.slice = {NULL, 0}};
    if (_i == 0)
        ck_assert_uint_eq(kv_stats(store).snapshot_count, 1);
    else
        ends[_i]();
    expect_value(snap, "a", "1", &v);
    ck_assert(!kevo_snapshot_park(snap, &v));
    kevo_value_release(&v);
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 1);
    kevo_snapshot_free(snap);
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 0);
}
END_TEST

/* A version that only a parked snapshot sees goes, and a table that only it has open. */
START_TEST(keeps_nothing) {
    bool parked = _i;
    kevo_snapshot *snap = kv_snapshot(store);
    struct kevo_value v = {.slice = {NULL, 0}};
    expect_value(snap, "a", "1", &v);
    if (parked) ck_assert(kevo_snapshot_park(snap, &v));
    kv_put(store, "a", "2");
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(kv_stats(store).table_entries, parked ? 2 : 3);
    ck_assert_uint_eq(kv_files(env, ".sst"), parked ? 1 : 2);
    if (parked) ck_assert(!kevo_snapshot_resume(snap, &v));
    kevo_value_release(&v);
    kevo_snapshot_free(snap);
    ck_assert_uint_eq(kv_files(env, ".sst"), 1);
}
END_TEST

/* Who waits for a snapshot to go is told when the last of those goes that he counted on, though one
 * that rests sees the same, and though one that rests sees older. */
START_TEST(nobody_waits_for_it) {
    struct kevo_commit commit = kevo_last_commit(store);
    kevo_snapshot *seen, *rests;
    struct kevo_value v = {.slice = {NULL, 0}};
    if (_i) kv_put(store, "c", "1");
    seen = kv_snapshot(store);
    ck_ok(kevo_delete_range(store, kv_all, kv_all, &test_err));
    flush();
    while (kevo_step(store, &test_err) == 0)
        ;
    ck_assert_uint_eq(kv_stats(store).dropped_tables, 0);
    ck_ok(kevo_snapshot_at(store, commit, &rests, &test_err));
    ck_assert(kevo_snapshot_park(rests, &v));
    kevo_snapshot_free(seen);
    ck_ok(kevo_step(store, &test_err));
    ck_assert_uint_gt(kv_stats(store).dropped_tables, 0);
    kevo_snapshot_free(rests);
}
END_TEST

/* Where nobody waits, one that was counted on goes without a trace. */
START_TEST(others_rest_on) {
    kevo_snapshot *seen = kv_snapshot(store);
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 1);
    kevo_snapshot *rests = kv_snapshot(store), *held = kv_snapshot(store);
    struct kevo_value v = {.slice = {NULL, 0}};
    ck_assert(kevo_snapshot_park(rests, &v));
    kevo_snapshot_free(seen);
    ck_assert(kevo_snapshot_park(held, &v));
    ck_assert(kevo_snapshot_resume(rests, &v));
    ck_assert(kevo_snapshot_resume(held, &v));
    kevo_snapshot_free(rests);
    kevo_snapshot_free(held);
}
END_TEST

/* Several, in all states, that go in any order. */
START_TEST(many) {
    enum { MANY = 20 };
    kevo_snapshot *snaps[MANY];
    struct rng rng = rng_of(harness_seed());
    unsigned held = 0;
    for (unsigned i = 0; i < MANY; i++) {
        struct kevo_value v = {.slice = {NULL, 0}};
        if (rng_below(&rng, 3) == 0) kv_put(store, "a", "1");
        snaps[i] = kv_snapshot(store);
        if (rng_below(&rng, 2)) expect_value(snaps[i], "a", "1", &v);
        bool rests = rng_below(&rng, 2) && kevo_snapshot_park(snaps[i], &v);
        held += !rests;
        kevo_value_release(&v);
    }
    if (_i) ck_assert_uint_eq(kv_stats(store).snapshot_count, held);
    for (unsigned i = 0; i < MANY; i++) {
        unsigned at = (unsigned)rng_below(&rng, MANY - i);
        kevo_snapshot_free(snaps[at]);
        snaps[at] = snaps[MANY - i - 1];
    }
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 0);
}
END_TEST

/* ---- threads --------------------------------------------------------------------------- */

enum { KEYS = 12, READERS = 3, BATCHES = 3000 };

static atomic_bool stop;
static _Atomic unsigned resumed;

static uint64_t number_at(const kevo_snapshot *snap, unsigned key, struct kevo_value *v) {
    struct kevo_read read = {.snapshot = snap};
    struct kevo_err err;
    char text[8];
    uint64_t number;
    snprintf(text, sizeof text, "key%02u", key);
    sure(kevo_get_again(store, &read, kv_slice(text), v, &err) == 0);
    sure(v->slice.len == sizeof number);
    memcpy(&number, v->slice.data, sizeof number);
    return number;
}

/* All that a snapshot sees, before and after it rests, is of one batch. */
static void *read_and_park(void *arg) {
    struct rng rng = rng_of(harness_seed() + *(unsigned *)arg);
    while (!atomic_load(&stop)) {
        struct kevo_value v = {.slice = {NULL, 0}};
        struct kevo_err err;
        kevo_snapshot *snap;
        sure(kevo_snapshot_new(store, &snap, &err) == 0);
        uint64_t number = number_at(snap, 0, &v);
        while (kevo_snapshot_park(snap, &v)) {
            kevo_value_release(&v);
            if (rng_below(&rng, 4) == 0) sched_yield();
            if (!kevo_snapshot_resume(snap, &v)) break;
            atomic_fetch_add(&resumed, 1);
            sure(number_at(snap, (unsigned)rng_below(&rng, KEYS), &v) == number);
            if (atomic_load(&stop)) break;
        }
        kevo_value_release(&v);
        kevo_snapshot_free(snap);
    }
    return NULL;
}

/* Each batch gives all keys its number. */
static void write_batches(unsigned from, unsigned count) {
    kevo_batch *b;
    ck_ok(kevo_batch_new(&b, &test_err));
    for (uint64_t number = from; number < from + count; number++) {
        kevo_batch_reset(b);
        for (unsigned i = 0; i < KEYS; i++) {
            char key[8];
            snprintf(key, sizeof key, "key%02u", i);
            ck_ok(kevo_batch_put(b, kv_slice(key), slice_of(&number, sizeof number), &test_err));
        }
        ck_ok(kevo_apply_batch(store, b, NULL, &test_err));
        if (number % 64 == 63) ck_ok(kevo_flush(store, &test_err));
        if (number % 128 == 1) kv_stats(store);
        if (number % 32 == 0) sched_yield();
    }
    kevo_batch_free(b);
}

START_TEST(beside_a_writer) {
    pthread_t readers[READERS];
    unsigned numbers[READERS];
    kevo_close(store);
    options.background = true;
    options.memtable_bytes = 8 << 10;
    options.l0_trigger = 2;
    options.sync = KEVO_SYNC_OFF;
    store = kv_open(&options);
    atomic_store(&stop, false);
    write_batches(0, 1);
    for (unsigned i = 0; i < READERS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&readers[i], NULL, read_and_park, &numbers[i]), 0);
    }
    write_batches(1, BATCHES);
    while (atomic_load(&resumed) < 100)
        sched_yield();
    atomic_store(&stop, true);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("park");
    TCase *tcase = tcase_create("park");
    tcase_add_checked_fixture(tcase, setup_rows, teardown);
    tcase_add_loop_test(tcase, goes_on, 0, 3);
    tcase_add_test(tcase, sees_the_same);
    tcase_add_test(tcase, older_view);
    tcase_add_loop_test(tcase, ends_when_parked, 0, ENDS);
    tcase_add_loop_test(tcase, is_seen_when_held, 0, ENDS);
    tcase_add_loop_test(tcase, keeps_nothing, 0, 2);
    tcase_add_loop_test(tcase, nobody_waits_for_it, 0, 2);
    tcase_add_test(tcase, others_rest_on);
    tcase_add_loop_test(tcase, many, 0, 2);
    tcase_add_test(tcase, beside_a_writer);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
