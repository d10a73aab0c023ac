/* What is read from a store: bounds, both ways, snapshots, values that are held. */
#include "engine/kevo.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/slice.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/memory_store.h"

enum { AS_IT_IS, REOPENED, FLUSHED, FLUSHED_REOPENED, COMPACTED, PLACES };

static void bring_to(int place) {
    if (place == FLUSHED || place == FLUSHED_REOPENED) ck_ok(kevo_flush(store, &test_err));
    if (place == COMPACTED) ck_ok(kv_compact(store, &test_err));
    if (place == REOPENED || place == FLUSHED_REOPENED) reopen();
}

static void put_letters(const char *letters, const char *value) {
    for (; *letters; letters++) {
        char key[] = {*letters, 0};
        kv_put(store, key, value);
    }
}

/* b d f h in one place, over an older version and below a tombstone in others. */
static void put_spread(int place) {
    put_letters("abdf", "0");
    if (place > AS_IT_IS) ck_ok(kv_compact(store, &test_err));
    put_letters("bdx", "1");
    kv_delete(store, "a");
    if (place > REOPENED) ck_ok(kevo_flush(store, &test_err));
    put_letters("fh", "2");
    kv_delete(store, "x");
    bring_to(place);
}

static const struct {
    const char *lower, *upper; /* NULL: open */
    const char *all;
} ranges[] = {
    {NULL, NULL, "b=1 d=1 f=2 h=2"},
    {"b", NULL, "b=1 d=1 f=2 h=2"},
    {"b0", NULL, "d=1 f=2 h=2"},
    {"", NULL, "b=1 d=1 f=2 h=2"},
    {"i", NULL, ""},
    {NULL, "h", "b=1 d=1 f=2"},
    {NULL, "h0", "b=1 d=1 f=2 h=2"},
    {NULL, "b", ""},
    {NULL, "", ""},
    {"c", "g", "d=1 f=2"},
    {"d", "f", "d=1"},
    {"d", "d", ""},
    {"f", "d", ""},
    {"a", "b", ""},
    {"x", "z", ""},
};

static struct kevo_read range(size_t i) {
    struct kevo_read r = {.snapshot = NULL};
    if (ranges[i].lower) r.lower = kv_slice(ranges[i].lower);
    if (ranges[i].upper) r.upper = kv_slice(ranges[i].upper);
    return r;
}

START_TEST(iterators_keep_to_their_bounds) {
    put_spread(_i);
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        struct kevo_read read = range(i);
        ck_assert_str_eq(kv_dump(store, &read), ranges[i].all);
    }
}
END_TEST

static const struct {
    const char *lower, *upper, *key, *seek, *seek_for_prev;
} seeks[] = {
    {NULL, NULL, "a", "b=1", "-"},   {NULL, NULL, "b", "b=1", "b=1"},
    {NULL, NULL, "c", "d=1", "b=1"}, {NULL, NULL, "h", "h=2", "h=2"},
    {NULL, NULL, "x", "-", "h=2"},   {NULL, NULL, "", "b=1", "-"},
    {"c", "g", "a", "d=1", "-"},     {"c", "g", "c", "d=1", "-"},
    {"c", "g", "d", "d=1", "d=1"},   {"c", "g", "e", "f=2", "d=1"},
    {"c", "g", "f", "f=2", "f=2"},   {"c", "g", "g", "-", "f=2"},
    {"c", "g", "z", "-", "f=2"},     {"d", "f", "d", "d=1", "d=1"},
    {"d", "f", "e", "-", "d=1"},     {"d", "f", "f", "-", "d=1"},
};

START_TEST(seeks_both_ways) {
    put_spread(_i);
    for (size_t i = 0; i < sizeof seeks / sizeof seeks[0]; i++) {
        struct kevo_read read = {.snapshot = NULL};
        if (seeks[i].lower) read.lower = kv_slice(seeks[i].lower);
        if (seeks[i].upper) read.upper = kv_slice(seeks[i].upper);
        kevo_iter *it = kv_iter(store, &read);
        ck_assert(!kevo_iter_valid(it)); /* it starts so */
        ck_ok(kevo_iter_seek(it, kv_slice(seeks[i].key), &test_err));
        ck_assert_str_eq(kv_entry(it), seeks[i].seek);
        ck_ok(kevo_iter_seek_for_prev(it, kv_slice(seeks[i].key), &test_err));
        ck_assert_str_eq(kv_entry(it), seeks[i].seek_for_prev);
        kevo_iter_free(it);
    }
}
END_TEST

START_TEST(iterators_turn_round) {
    put_spread(_i);
    kevo_iter *it = kv_iter(store, NULL);
    ck_ok(kevo_iter_seek(it, kv_slice("d"), &test_err));
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "f=2");
    ck_ok(kevo_iter_prev(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "d=1");
    ck_ok(kevo_iter_prev(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "b=1");
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "d=1");
    ck_ok(kevo_iter_seek(it, kevo_iter_key(it), &test_err)); /* its own key */
    ck_assert_str_eq(kv_entry(it), "d=1");
    ck_ok(kevo_iter_last(it, &test_err));
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert(!kevo_iter_valid(it));
    kevo_iter_free(it);
}
END_TEST

START_TEST(bounds_are_copied) {
    put_spread(_i);
    char *lower = strdup("c"), *upper = strdup("g");
    struct kevo_read read = {.lower = kv_slice(lower), .upper = kv_slice(upper)};
    kevo_iter *it = kv_iter(store, &read);
    lower[0] = upper[0] = 'z';
    free(lower);
    free(upper);
    ck_ok(kevo_iter_first(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "d=1");
    ck_ok(kevo_iter_last(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "f=2");
    kevo_iter_free(it);
}
END_TEST

START_TEST(an_iterator_shows_the_state_it_was_made_in) {
    put_spread(_i);
    kevo_iter *it = kv_iter(store, NULL);
    put_letters("bcdefgh", "new");
    kv_delete(store, "d");
    ck_ok(kv_compact(store, &test_err));
    ck_ok(kevo_iter_first(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "b=1");
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "d=1");
    ck_ok(kevo_iter_last(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "h=2");
    kevo_iter_free(it);
    ck_assert_str_eq(kv_dump(store, NULL), "b=new c=new e=new f=new g=new h=new");
}
END_TEST

START_TEST(snapshots_stay_as_they_are) {
    enum { COUNT = 12 };
    struct kevo_read read[COUNT] = {{.snapshot = NULL}};
    char *expected[COUNT];
    for (int i = 0; i < COUNT; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        if (i % 3 == 0)
            put_letters("abc", value);
        else if (i % 3 == 1)
            kv_delete(store, "b");
        else
            put_letters("bd", value);
        read[i].snapshot = kv_snapshot(store);
        ck_assert_uint_eq(kevo_snapshot_id(read[i].snapshot), kevo_last_commit(store).batch);
        expected[i] = strdup(kv_dump(store, NULL));
        if (i % 2) ck_ok(kevo_flush(store, &test_err));
        if (i % 5 == 4) ck_ok(kv_compact(store, &test_err));
    }
    ck_assert_uint_eq(kv_stats(store).snapshot_count, COUNT);
    ck_assert_uint_eq(kv_stats(store).oldest_snapshot, kevo_snapshot_id(read[0].snapshot));
    ck_ok(kv_compact(store, &test_err));
    for (int i = COUNT - 1; i >= 0; i--) {
        const char *b = kv_get(store, &read[i], "b");
        const char *in_dump = strstr(expected[i], "b=");
        ck_assert((b != NULL) == (in_dump != NULL));
        ck_assert_str_eq(kv_dump(store, &read[i]), expected[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        kevo_snapshot_free((kevo_snapshot *)read[i].snapshot);
        free(expected[i]);
    }
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_eq(stats.snapshot_count, 0);
    ck_assert_uint_eq(stats.oldest_snapshot, kevo_last_commit(store).batch);
    put_letters("abcde", "x");
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(kv_stats(store).table_entries, 5); /* nothing older is kept */
}
END_TEST

START_TEST(values_stay_where_they_are_until_released) {
    struct kevo_value v;
    put_spread(_i);
    kevo_iter *it = kv_iter(store, NULL);
    ck_ok(kevo_get(store, NULL, kv_slice("d"), &v, &test_err));
    ck_ok(kevo_iter_seek(it, kv_slice("d"), &test_err));
    kevo_iter_free(it);
    const uint8_t *place = v.slice.data;
    put_letters("abcdefgh", "another");
    ck_ok(kv_compact(store, &test_err));
    put_letters("abcdefgh", "a third");
    ck_ok(kv_compact(store, &test_err));
    for (int i = 0; i < 200; i++) { /* more than the cache holds */
        char key[16], value[200];
        snprintf(key, sizeof key, "k%03d", i);
        snprintf(value, sizeof value, "%0190d", i * 7919);
        kv_put(store, key, value);
    }
    ck_ok(kv_compact(store, &test_err));
    ck_ok(kevo_verify(store, &test_err));
    kv_dump(store, NULL);
    ck_assert(v.slice.data == place && slice_eq(v.slice, kv_slice("1")));
    kevo_value_release(&v);
    ck_assert_ptr_null(v.slice.data);
    kevo_value_release(&v);
}
END_TEST

START_TEST(an_iterator_without_memory_is_invalid) {
    put_spread(_i);
    for (uint64_t n = 1;; n++) {
        struct kevo_read read = {.lower = kv_slice("b")};
        kevo_iter *it = NULL;
        fault_alloc_fail_at(n, false);
        int rc = kevo_iter_new(store, &read, &it, &test_err);
        if (rc == 0) {
            rc = kevo_iter_last(it, &test_err);
            if (rc == 0) rc = kevo_iter_prev(it, &test_err);
            if (rc == 0) rc = kevo_iter_next(it, &test_err);
            if (rc) ck_assert(!kevo_iter_valid(it));
        } else {
            ck_assert_ptr_null(it);
        }
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        ck_assert(hit || rc == 0);
        if (rc) ck_assert_int_eq(rc, KEVO_NOMEM);
        kevo_iter_free(it);
        if (!hit) break;
    }
}
END_TEST

/* ---- iterators that are used again ---- */

static int again(kevo_iter **it, const struct kevo_read *read) {
    return kevo_iter_again(store, read, it, &test_err);
}

/* What an iterator used again shows is what a new one does; it is left where `stop` entries
 * were seen, either way. */
static void check_again(kevo_iter **it, const struct kevo_read *read, bool backward,
                        unsigned stop) {
    kevo_iter *fresh = kv_iter(store, read);
    ck_ok(again(it, read));
    ck_assert(!kevo_iter_valid(*it));
    ck_ok(backward ? kevo_iter_last(*it, &test_err) : kevo_iter_first(*it, &test_err));
    ck_ok(backward ? kevo_iter_last(fresh, &test_err) : kevo_iter_first(fresh, &test_err));
    for (unsigned n = 0; n < stop; n++) {
        ck_assert_str_eq(kv_entry(*it), kv_entry(fresh));
        if (!kevo_iter_valid(fresh)) break;
        ck_ok(backward ? kevo_iter_prev(*it, &test_err) : kevo_iter_next(*it, &test_err));
        ck_ok(backward ? kevo_iter_prev(fresh, &test_err) : kevo_iter_next(fresh, &test_err));
    }
    kevo_iter_free(fresh);
}

/* Something else to be seen, and other sources. */
static void change_store(struct rng *r) {
    const char key[] = {(char)('a' + rng_below(r, 26)), (char)('a' + rng_below(r, 26)), 0};
    switch (rng_below(r, 8)) {
    case 0: ck_ok(kevo_flush(store, &test_err)); break;
    case 1: kv_delete(store, key); break;
    case 2:
        if (rng_below(r, 4) == 0) ck_ok(kv_compact(store, &test_err));
        break;
    case 3:
        if (rng_below(r, 4) == 0)
            ck_ok(kevo_delete_range(store, kv_slice(key), kv_slice("q"), &test_err));
        break;
    default: kv_put(store, key, key + 1);
    }
}

static void random_range(struct rng *r, struct kevo_read *read, char lower[3], char upper[3]) {
    for (int i = 0; i < 2; i++) {
        lower[i] = (char)('a' + rng_below(r, 26));
        upper[i] = (char)('a' + rng_below(r, 26));
    }
    lower[2] = upper[2] = 0;
    if (rng_below(r, 8)) read->lower = kv_slice(lower);
    if (rng_below(r, 8)) read->upper = kv_slice(upper);
    if (rng_below(r, 8) == 0) read->suffix = kv_slice("e");
}

START_TEST(iterators_are_used_again) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    kevo_iter *it = NULL;
    put_spread(_i);
    for (unsigned round = 0; round < 600; round++) {
        struct kevo_read read = {.snapshot = NULL};
        char lower[3], upper[3];
        change_store(&r);
        random_range(&r, &read, lower, upper);
        kevo_txn *txn = rng_below(&r, 4) ? NULL : kv_txn(store);
        kevo_snapshot *snapshot = txn || rng_below(&r, 2) ? NULL : kv_snapshot(store);
        if (txn) kv_txn_put(txn, "mm", "own");
        read.txn = txn;
        read.snapshot = snapshot;
        check_again(&it, &read, rng_below(&r, 2), (unsigned)rng_below(&r, 40));
        if (txn && rng_below(&r, 2)) { /* it is in use, and has to look at other things */
            ck_ok(kevo_txn_delete_range(txn, kv_slice("c"), kv_slice("k"), &test_err));
            ck_ok(kevo_iter_first(it, &test_err));
            check_again(&it, &read, rng_below(&r, 2), 1000);
        }
        if (rng_below(&r, 2)) kevo_iter_park(it);
        if (txn) kevo_txn_rollback(txn);
        kevo_txn_unref(txn);
        kevo_snapshot_free(snapshot);
    }
    kevo_iter_free(it);
}
END_TEST

START_TEST(a_parked_iterator_needs_no_store) {
    struct kevo_read read = {.lower = kv_slice("b")};
    kevo_iter *it = NULL;
    kevo_iter_park(NULL);
    put_spread(_i);
    for (unsigned n = 0; n < 3; n++) {
        check_again(&it, &read, n % 2, 2);
        kevo_iter_park(it);
        kevo_iter_park(it);
        reopen();
    }
    kevo_close(store);
    kevo_iter_free(it);
    store = kv_open(&options);
}
END_TEST

START_TEST(an_iterator_is_gone_where_there_is_no_memory) {
    struct kevo_read reads[] = {{.lower = kv_slice("b")}, {.upper = kv_slice("x")}};
    put_spread(_i);
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        kevo_iter *it = NULL;
        ck_ok(again(&it, &reads[n % 2]));
        ck_ok(kevo_iter_last(it, &test_err));
        kv_put(store, n % 2 ? "c" : "w", "to be longer than what there was");
        if (n % 3 == 0) ck_ok(kevo_flush(store, &test_err));
        fault_alloc_fail_at(n, false);
        int rc = again(&it, &reads[(n + 1) % 2]);
        if (rc) ck_assert_ptr_null(it);
        if (rc == 0) rc = kevo_iter_last(it, &test_err);
        hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (rc) ck_assert_int_eq(rc, KEVO_NOMEM);
        kevo_iter_free(it);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_reads");
    TCase *reading = tcase_create("reading");
    tcase_add_checked_fixture(reading, setup, teardown);
    tcase_add_loop_test(reading, iterators_keep_to_their_bounds, 0, PLACES);
    tcase_add_loop_test(reading, seeks_both_ways, 0, PLACES);
    tcase_add_loop_test(reading, iterators_turn_round, 0, PLACES);
    tcase_add_loop_test(reading, bounds_are_copied, 0, PLACES);
    tcase_add_loop_test(reading, an_iterator_shows_the_state_it_was_made_in, 0, PLACES);
    tcase_add_test(reading, snapshots_stay_as_they_are);
    tcase_add_loop_test(reading, values_stay_where_they_are_until_released, 0, PLACES);
    tcase_add_loop_test(reading, an_iterator_without_memory_is_invalid, 0, PLACES);
    tcase_add_loop_test(reading, iterators_are_used_again, 0, PLACES);
    tcase_add_loop_test(reading, a_parked_iterator_needs_no_store, 0, PLACES);
    tcase_add_loop_test(reading, an_iterator_is_gone_where_there_is_no_memory, 0, PLACES);
    suite_add_tcase(suite, reading);
    return harness_run(suite);
}
