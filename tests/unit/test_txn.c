#include "engine/kevo.h"

#include <stdio.h>

#include "engine/base/slice.h"
#include "tests/lib/txn_store.h"

static void setup_self(void) {
    setup_with(KEVO_AUTHORITY_SELF);
}

static void setup_self_runs(void) {
    in_runs = true;
    setup_self();
}

/* ---- the write buffer -------------------------------------------------------------- */

START_TEST(a_transaction_reads_its_own_writes) {
    kv_put(store, "a", "1");
    kv_put(store, "b", "2");
    if (_i) ck_ok(kevo_flush(store, &test_err));
    kevo_txn *t = kv_txn(store);
    struct kevo_read read = {.txn = t};
    ck_assert(kevo_txn_is_empty(t));
    kv_txn_put(t, "b", "3");
    kv_txn_put(t, "c", "4");
    kv_txn_delete(t, "a");
    ck_assert(!kevo_txn_is_empty(t));
    ck_assert_uint_gt(kevo_txn_bytes(t), 0);
    ck_assert_str_eq(dump(t), "b=3 c=4");
    ck_assert_str_eq(kv_get(store, &read, "b"), "3");
    ck_assert_ptr_null(kv_get(store, &read, "a"));
    ck_assert_ptr_null(kv_get(store, &read, "d"));
    kv_txn_put(t, "a", "");
    ck_assert_str_eq(kv_get(store, &read, "a"), "");
    ck_assert_str_eq(dump(NULL), "a=1 b=2"); /* nobody else sees them */
    prepare(t);
    ck_assert_str_eq(dump(NULL), "a=1 b=2");
    kevo_txn_commit(t);
    ck_assert_str_eq(dump(NULL), "a= b=3 c=4");
    kevo_txn_unref(t);
    kill_and_reopen();
    ck_assert_str_eq(dump(NULL), "a= b=3 c=4");
}
END_TEST

START_TEST(a_transaction_keeps_its_snapshot) {
    kv_put(store, "a", "1");
    kevo_txn *t = kv_txn(store);
    kv_put(store, "a", "2");
    kv_put(store, "b", "3");
    ck_ok(kv_compact(store, &test_err));
    ck_assert_str_eq(dump(t), "a=1");
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 1);
    kevo_snapshot *snap = kv_snapshot(store);
    struct kevo_read read = {.snapshot = snap, .txn = t};
    kv_txn_put(t, "c", "4");
    ck_assert_str_eq(kv_dump(store, &read), "a=2 b=3 c=4"); /* over another snapshot */
    ck_assert_str_eq(kv_get(store, &read, "a"), "2");
    kevo_snapshot_free(snap);
    kevo_txn_unref(t);
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 0);
    ck_assert_str_eq(dump(NULL), "a=2 b=3"); /* dropped with the transaction */
}
END_TEST

START_TEST(marks_nest) {
    struct kevo_mark beginning = {0, NULL, 0};
    kv_put(store, "a", "0");
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "a", "1");
    struct kevo_mark one = kevo_txn_mark(t);
    kv_txn_put(t, "a", "2");
    kv_txn_put(t, "b", "2");
    struct kevo_mark two = kevo_txn_mark(t);
    kv_txn_delete(t, "a");
    kv_txn_put(t, "c", "3");
    kevo_txn_rollback_to(t, two);
    ck_assert_str_eq(dump(t), "a=2 b=2");
    kevo_txn_rollback_to(t, two); /* nothing since */
    kv_txn_put(t, "c", "4");
    kevo_txn_rollback_to(t, two); /* a mark stays good */
    ck_assert_str_eq(dump(t), "a=2 b=2");
    kv_txn_put(t, "d", "5");
    kevo_txn_rollback_to(t, one);
    ck_assert_str_eq(dump(t), "a=1");
    kv_txn_delete(t, "a");
    ck_assert_str_eq(dump(t), "");
    kevo_txn_rollback_to(t, beginning);
    ck_assert_str_eq(dump(t), "a=0");
    ck_assert(kevo_txn_is_empty(t));
    kv_txn_put(t, "e", "6");
    prepare(t);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    ck_assert_str_eq(dump(NULL), "a=0 e=6");
    kill_and_reopen();
    ck_assert_str_eq(dump(NULL), "a=0 e=6");
}
END_TEST

START_TEST(marks_over_much_data) {
    char value[1000];
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = 0;
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "a", "1");
    for (int round = 0; round < 3; round++) {
        struct kevo_mark mark = kevo_txn_mark(t);
        for (int i = 0; i < 200; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            kv_txn_put(t, key, value);
        }
        kevo_txn_rollback_to(t, mark);
        ck_assert_str_eq(dump(t), "a=1");
    }
    kevo_txn_unref(t);
}
END_TEST

START_TEST(an_open_iterator_sees_what_its_transaction_writes) {
    kv_put(store, "b", "0");
    kv_put(store, "d", "0");
    kv_put(store, "f", "0");
    if (_i) ck_ok(kevo_flush(store, &test_err));
    kevo_txn *t = kv_txn(store);
    struct kevo_read read = {.txn = t};
    kevo_iter *it = kv_iter(store, &read);
    ck_ok(kevo_iter_first(it, &test_err));
    kv_txn_put(t, "c", "1");
    kv_txn_put(t, "a", "1"); /* behind it */
    ck_assert_str_eq(kv_entry(it), "b=0");
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "c=1");
    kv_txn_delete(t, "c"); /* the one it stands on */
    kv_txn_delete(t, "d");
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "f=0");
    kv_txn_put(t, "g", "1");
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "g=1");
    kv_txn_put(t, "e", "1");
    ck_ok(kevo_iter_prev(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "f=0");
    struct kevo_mark mark = kevo_txn_mark(t);
    kv_txn_put(t, "e", "2");
    ck_ok(kevo_iter_prev(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "e=2");
    kevo_txn_rollback_to(t, mark);
    ck_ok(kevo_iter_prev(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "b=0");
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "e=1");
    kevo_txn_rollback(t);
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "f=0");
    kevo_txn_unref(t); /* the iterator keeps it */
    ck_ok(kevo_iter_prev(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "d=0");
    kevo_iter_free(it);
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 0);
}
END_TEST

START_TEST(a_value_of_a_buffer_outlives_it) {
    kevo_txn *t = kv_txn(store);
    struct kevo_read read = {.txn = t};
    struct kevo_value v;
    kv_txn_put(t, "a", "1");
    ck_ok(kevo_get(store, &read, kv_slice("a"), &v, &test_err));
    kv_txn_put(t, "a", "2");
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    ck_assert(slice_eq(v.slice, kv_slice("1")));
    kevo_value_release(&v);
}
END_TEST

START_TEST(preparing_again) {
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "a", "1");
    struct kevo_commit first = prepare(t);
    ck_assert(same(prepare(t), first)); /* nothing written since */
    kv_txn_put(t, "b", "2");
    struct kevo_commit second = prepare(t);
    ck_assert_uint_gt(second.batch, first.batch);
    struct kevo_mark mark = kevo_txn_mark(t);
    kv_txn_put(t, "c", "3");
    kevo_txn_rollback_to(t, mark);
    struct kevo_commit third = prepare(t); /* an undo is a change as well */
    ck_assert_uint_gt(third.batch, second.batch);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    ck_assert(same(kevo_last_commit(store), third));
    ck_assert_str_eq(dump(NULL), "a=1 b=2");
    kill_and_reopen();
    ck_assert_str_eq(dump(NULL), "a=1 b=2");
    ck_assert(same(kevo_last_commit(store), third));
}
END_TEST

START_TEST(one_prepared_transaction_at_a_time) {
    kevo_txn *t = kv_txn(store), *other = kv_txn(store);
    struct kevo_commit c;
    kv_txn_put(t, "a", "1");
    kv_txn_put(other, "b", "1");
    prepare(t);
    expect_error(kevo_txn_prepare(other, KEVO_SYNC_FULL, &c, &test_err), KEVO_INVALID, "in doubt");
    ck_assert_uint_eq(c.batch, 0);
    expect_error(kevo_put(store, kv_slice("c"), kv_slice("1"), &test_err), KEVO_INVALID,
                 "not decided");
    expect_error(kevo_rotate(store, &test_err), KEVO_INVALID, "in doubt");
    kevo_txn_commit(t);
    prepare(other);
    kevo_txn_commit(other);
    kevo_txn_unref(t);
    kevo_txn_unref(other);
    ck_assert_str_eq(dump(NULL), "a=1 b=1");
}
END_TEST

START_TEST(an_empty_transaction_may_be_prepared) {
    kevo_txn *t = kv_txn(store);
    struct kevo_commit c = prepare(t);
    ck_assert_uint_gt(c.batch, 0);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    ck_assert(same(kevo_last_commit(store), c));
    kill_and_reopen();
    ck_assert(same(kevo_last_commit(store), c));
    ck_ok(kevo_flush(store, &test_err));
    reopen();
    ck_assert(same(kevo_last_commit(store), c));
}
END_TEST

static void add_buffer_tests(TCase *tc) {
    tcase_add_loop_test(tc, a_transaction_reads_its_own_writes, 0, 2);
    tcase_add_test(tc, a_transaction_keeps_its_snapshot);
    tcase_add_test(tc, marks_nest);
    tcase_add_test(tc, marks_over_much_data);
    tcase_add_loop_test(tc, an_open_iterator_sees_what_its_transaction_writes, 0, 2);
    tcase_add_test(tc, a_value_of_a_buffer_outlives_it);
    tcase_add_test(tc, preparing_again);
    tcase_add_test(tc, one_prepared_transaction_at_a_time);
    tcase_add_test(tc, an_empty_transaction_may_be_prepared);
}

int main(void) {
    Suite *suite = suite_create("txn");
    static const struct {
        const char *name;
        void (*setup)(void);
    } cases[] = {{"buffer", setup_self}, {"runs", setup_self_runs}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TCase *tc = tcase_create(cases[i].name);
        tcase_add_checked_fixture(tc, cases[i].setup, teardown);
        add_buffer_tests(tc);
        suite_add_tcase(suite, tc);
    }
    return harness_run(suite);
}
