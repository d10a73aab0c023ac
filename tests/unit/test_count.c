/* Counters against iterators, over stores of every shape. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/kv.h"

enum { KEYS = 3000, KEY_BYTES = 12 };

static struct env *env;
static kevo_store *store;

static void setup(void) {
    env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    struct kevo_options options = kv_options(env);
    options.sync = KEVO_SYNC_OFF;
    store = kv_open(&options);
}

static void teardown(void) {
    kevo_close(store);
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void make_key(char key[KEY_BYTES], uint64_t i) {
    snprintf(key, KEY_BYTES, "%06u", (unsigned)i);
}

/* Change about `n` of the keys [first, first + span), every `deleted`-th time by a tombstone. */
static void change(struct rng *r, uint64_t n, uint64_t first, uint64_t span, uint64_t deleted) {
    char key[KEY_BYTES];
    for (uint64_t i = 0; i < n; i++) {
        make_key(key, first + rng_below(r, span));
        if (deleted && rng_below(r, deleted) == 0)
            kv_delete(store, key);
        else
            kv_put(store, key, "a value of some length, so that blocks fill");
    }
}

static uint64_t visit(const struct kevo_read *read) {
    kevo_iter *it = kv_iter(store, read);
    uint64_t n = 0;
    ck_ok(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); n++)
        ck_ok(kevo_iter_next(it, &test_err));
    kevo_iter_free(it);
    return n;
}

/* Count by a counter; what it says of each stretch must be right up to where it ends. */
static uint64_t count_all(const struct kevo_read *read, unsigned *stretches) {
    kevo_counter *counter;
    uint64_t n, sum = 0;
    int rc;
    ck_ok(kevo_counter_new(store, read, &counter, &test_err));
    for (*stretches = 0; (rc = kevo_counter_next(counter, &n, &test_err)) == 0; ++*stretches) {
        struct kevo_read so_far = *read;
        so_far.upper = kevo_counter_end(counter);
        sum += n;
        ck_assert_uint_eq(sum, visit(&so_far));
    }
    ck_assert_int_eq(rc, KEVO_NOTFOUND);
    ck_assert_int_eq(kevo_counter_next(counter, &n, &test_err), KEVO_NOTFOUND);
    kevo_counter_free(counter);
    return sum;
}

static void compare(struct rng *r, const kevo_snapshot *snapshot) {
    char lower[KEY_BYTES], upper[KEY_BYTES];
    struct kevo_read read = {.snapshot = snapshot};
    unsigned stretches;
    make_key(lower, rng_below(r, KEYS));
    make_key(upper, rng_below(r, KEYS));
    if (rng_below(r, 2)) read.lower = kv_slice(lower);
    if (rng_below(r, 2)) read.upper = kv_slice(upper);
    ck_assert_uint_eq(count_all(&read, &stretches), visit(&read));
}

/* Tables, levels, tombstones, versions that snapshots keep, and all of it above the snapshot. */
START_TEST(counters_agree_with_iterators) {
    enum { SNAPSHOTS = 3 };
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    kevo_snapshot *snapshots[SNAPSHOTS] = {NULL};
    for (int step = 0; step < 60; step++) {
        uint64_t first = rng_below(&r, KEYS), span = 1 + rng_below(&r, KEYS - first);
        change(&r, rng_below(&r, 400), first, span, rng_below(&r, 5));
        uint64_t what = rng_below(&r, 10);
        if (what < 5) ck_ok(kevo_flush(store, &test_err));
        if (what == 0) ck_ok(kv_compact(store, &test_err));
        while (what < 3 && kevo_step(store, &test_err) == 0) {
        }
        kevo_snapshot **s = &snapshots[rng_below(&r, SNAPSHOTS)];
        if (what > 6) {
            kevo_snapshot_free(*s);
            *s = kv_snapshot(store);
        }
        kevo_snapshot *now = kv_snapshot(store);
        compare(&r, now);
        kevo_snapshot_free(now);
        if (*s) compare(&r, *s);
    }
    for (int i = 0; i < SNAPSHOTS; i++)
        kevo_snapshot_free(snapshots[i]);
}
END_TEST

static struct kevo_stats stats(void) {
    return kv_stats(store);
}

/* What is in tables of the last level alone is not read: the blocks stay where they are. */
START_TEST(a_compacted_store_is_counted_unread) {
    struct kevo_read read = {.snapshot = NULL};
    char key[KEY_BYTES];
    unsigned stretches;
    kevo_counter *counter;
    uint64_t n, sum = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        make_key(key, i);
        kv_put(store, key, "a value of some length, so that blocks fill");
    }
    ck_ok(kv_compact(store, &test_err));
    kevo_snapshot *now = kv_snapshot(store);
    read.snapshot = now;
    uint64_t misses = stats().cache_misses;
    ck_ok(kevo_counter_new(store, &read, &counter, &test_err));
    while (kevo_counter_next(counter, &n, &test_err) == 0)
        sum += n;
    kevo_counter_free(counter);
    ck_assert_uint_eq(sum, KEYS);
    ck_assert_uint_eq(stats().cache_misses, misses);
    ck_assert_uint_eq(count_all(&read, &stretches), KEYS);
    ck_assert_uint_gt(stretches, kv_tables(store) / 2);
    kevo_snapshot_free(now);
}
END_TEST

/* Neither are old versions that a snapshot keeps, nor those that it sees itself. */
START_TEST(old_versions_are_not_in_the_way) {
    struct kevo_read read = {.snapshot = NULL};
    char key[KEY_BYTES];
    unsigned stretches;
    for (unsigned i = 0; i < KEYS; i++) {
        make_key(key, i);
        kv_put(store, key, "a value of some length, so that blocks fill");
    }
    kevo_snapshot *before = kv_snapshot(store);
    for (unsigned i = 0; i < KEYS; i += 3) {
        make_key(key, i);
        kv_put(store, key, "another value of some length");
    }
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(stats().table_entries, KEYS + KEYS / 3);
    kevo_snapshot *now = kv_snapshot(store);
    uint64_t misses = stats().cache_misses, n, sum = 0;
    read.snapshot = now;
    kevo_counter *counter;
    ck_ok(kevo_counter_new(store, &read, &counter, &test_err));
    while (kevo_counter_next(counter, &n, &test_err) == 0)
        sum += n;
    kevo_counter_free(counter);
    ck_assert_uint_eq(sum, KEYS);
    ck_assert_uint_eq(stats().cache_misses, misses);
    read.snapshot = before;
    ck_assert_uint_eq(count_all(&read, &stretches), KEYS);
    make_key(key, 3); /* newer versions, and a tombstone over old ones */
    kv_delete(store, key);
    make_key(key, 6);
    kv_put(store, key, "1");
    kevo_snapshot_free(now);
    read.snapshot = now = kv_snapshot(store);
    ck_assert_uint_eq(count_all(&read, &stretches), KEYS - 1);
    read.snapshot = before;
    ck_assert_uint_eq(count_all(&read, &stretches), KEYS);
    kevo_snapshot_free(now);
    kevo_snapshot_free(before);
}
END_TEST

/* Tables have keys of others, too: of those between the bounds blocks say how many they have, as long
 * as no key has several versions, and nothing is read into the cache. What a memtable has is
 * counted besides. */
START_TEST(a_part_of_a_table_is_counted_by_blocks) {
    struct kevo_read read = {.snapshot = NULL};
    char key[KEY_BYTES], lower[KEY_BYTES], upper[KEY_BYTES];
    unsigned stretches;
    for (unsigned i = 0; i < KEYS; i++) {
        make_key(key, i);
        kv_put(store, key, "a value of some length, so that blocks fill");
    }
    ck_ok(kv_compact(store, &test_err));
    make_key(lower, 100);
    make_key(upper, KEYS - 100);
    for (int changed = 0; changed < 3; changed++) {
        if (changed) { /* two keys more, one less, one anew */
            make_key(key, 500);
            kv_put(store, strcat(key, changed == 1 ? "a" : "b"), "1");
            make_key(key, 600);
            changed == 1 ? kv_delete(store, key) : kv_put(store, key, "1");
        }
        if (changed == 2) ck_ok(kevo_flush(store, &test_err));
        kevo_snapshot *now = kv_snapshot(store);
        uint64_t misses = stats().cache_misses, n, sum = 0, other = changed ? changed * 2 - 2 : 0;
        kevo_counter *counter;
        read =
            (struct kevo_read){.snapshot = now, .lower = kv_slice(lower), .upper = kv_slice(upper)};
        ck_ok(kevo_counter_new(store, &read, &counter, &test_err));
        while (kevo_counter_next(counter, &n, &test_err) == 0)
            sum += n;
        kevo_counter_free(counter);
        ck_assert_uint_eq(sum, KEYS - 200 + other);
        if (!changed) ck_assert_uint_eq(stats().cache_misses, misses);
        ck_assert_uint_eq(count_all(&read, &stretches), sum);
        kevo_snapshot_free(now);
    }
}
END_TEST

START_TEST(refusals) {
    kevo_counter *counter;
    kevo_snapshot *now = kv_snapshot(store);
    struct kevo_read read = {.snapshot = NULL};
    ck_assert_int_eq(kevo_counter_new(store, &read, &counter, &test_err), KEVO_INVALID);
    read = (struct kevo_read){.snapshot = now, .suffix = kv_slice("x")};
    ck_assert_int_eq(kevo_counter_new(store, &read, &counter, &test_err), KEVO_INVALID);
    read = (struct kevo_read){.snapshot = now, .prefix = kv_slice("x")};
    ck_assert_int_eq(kevo_counter_new(store, &read, &counter, &test_err), KEVO_INVALID);
    ck_assert_ptr_null(counter);
    kevo_snapshot_free(now);
    kv_put(store, "b", "1");
    ck_ok(kevo_delete_range(store, kv_slice("a"), kv_slice("c"), &test_err));
    now = kv_snapshot(store);
    read = (struct kevo_read){.snapshot = now};
    ck_assert_int_eq(kevo_counter_new(store, &read, &counter, &test_err), KEVO_NOTFOUND);
    ck_assert_ptr_null(counter);
    kevo_counter_free(NULL);
    kevo_snapshot_free(now);
}
END_TEST

/* The n-th request for memory is refused, n = 1, 2, ...: KEVO_NOMEM, and the next try counts
 * right. */
START_TEST(without_memory) {
    struct rng r = rng_of(harness_seed());
    change(&r, 2000, 0, KEYS, 0);
    ck_ok(kv_compact(store, &test_err));
    change(&r, 100, 0, KEYS, 3);
    ck_ok(kevo_flush(store, &test_err));
    change(&r, 50, 0, KEYS, 3);
    kevo_snapshot *now = kv_snapshot(store);
    struct kevo_read read = {.snapshot = now};
    uint64_t expected = visit(&read), n = 0;
    bool hit = true;
    while (hit) {
        kevo_counter *counter;
        uint64_t part, sum = 0;
        fault_alloc_fail_at(++n, _i);
        int rc = kevo_counter_new(store, &read, &counter, &test_err);
        while (rc == 0 && (rc = kevo_counter_next(counter, &part, &test_err)) == 0)
            sum += part;
        hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        /* What only helps to be quick may do without. */
        ck_assert(rc == KEVO_NOTFOUND || (hit && rc == KEVO_NOMEM));
        while (counter && (rc = kevo_counter_next(counter, &part, &test_err)) == 0)
            sum += part;
        if (counter) ck_assert_uint_eq(sum, expected);
        kevo_counter_free(counter);
    }
    ck_assert_uint_gt(n, 10);
    kevo_snapshot_free(now);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("count");
    TCase *tcase = tcase_create("count");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, counters_agree_with_iterators, 0, 8);
    tcase_add_test(tcase, a_compacted_store_is_counted_unread);
    tcase_add_test(tcase, old_versions_are_not_in_the_way);
    tcase_add_test(tcase, a_part_of_a_table_is_counted_by_blocks);
    tcase_add_test(tcase, refusals);
    tcase_add_loop_test(tcase, without_memory, 0, 2);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
