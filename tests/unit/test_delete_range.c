/* Deletions of ranges through the public interface. */
#include <stdio.h>

#include "tests/lib/memory_store.h"

/* The bounds as strings, NULL: open. */
static struct kevo_slice bound(const char *s) {
    return s ? kv_slice(s) : (struct kevo_slice){NULL, 0};
}

static void delete_range(const char *lower, const char *upper) {
    ck_ok(kevo_delete_range(store, bound(lower), bound(upper), &test_err));
}

static void put_letters(void) {
    for (char c = 'a'; c <= 'h'; c++) {
        char key[] = {c, 0};
        kv_put(store, key, "1");
    }
}

static void do_nothing(void) {}
static void flush(void) {
    ck_ok(kevo_flush(store, &test_err));
}
static void compact(void) {
    ck_ok(kevo_compact(store, bound(NULL), bound(NULL), NULL, NULL, &test_err));
}

/* What may happen to rows, and to what hides them, before they are looked at. */
static void (*const fates[])(void) = {do_nothing, flush, compact, reopen};
enum { FATES = sizeof fates / sizeof fates[0] };

/* ---- what is deleted ---------------------------------------------------------------- */

static const struct {
    const char *lower, *upper, *left;
} cases[] = {
    {"c", "f", "a=1 b=1 f=1 g=1 h=1"},
    {"a", "b", "b=1 c=1 d=1 e=1 f=1 g=1 h=1"},
    {"bb", "cc", "a=1 b=1 d=1 e=1 f=1 g=1 h=1"},
    {"bb", "bc", "a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1"},
    {NULL, "c", "c=1 d=1 e=1 f=1 g=1 h=1"},
    {"", "c", "c=1 d=1 e=1 f=1 g=1 h=1"},
    {"g", NULL, "a=1 b=1 c=1 d=1 e=1 f=1"},
    {NULL, NULL, ""},
    {"d", "d", "a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1"},
    {"e", "d", "a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1"},
    {"a", "", "a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1"},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static void check_case(int i, const struct kevo_read *read) {
    ck_assert_str_eq(kv_dump(store, read), cases[i].left);
    for (char c = 'a'; c <= 'h'; c++) {
        char key[] = {c, 0};
        ck_assert_int_eq(kv_get(store, read, key) != NULL, strchr(cases[i].left, c) != NULL);
    }
}

/* Whatever becomes of the rows before and of the tombstone after; the snapshot stays whole. */
START_TEST(a_case) {
    int i = _i % CASES;
    put_letters();
    fates[_i / CASES % FATES]();
    kevo_snapshot *before = fates[_i / CASES % FATES] == reopen ? NULL : kv_snapshot(store);
    delete_range(cases[i].lower, cases[i].upper);
    check_case(i, NULL);
    if (fates[_i / CASES / FATES] == reopen) {
        kevo_snapshot_free(before);
        before = NULL;
    }
    fates[_i / CASES / FATES]();
    check_case(i, NULL);
    if (before) {
        struct kevo_read read = {.snapshot = before};
        ck_assert_str_eq(kv_dump(store, &read), "a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1");
        ck_assert_str_eq(kv_get(store, &read, "d"), "1");
    }
    kevo_snapshot_free(before);
    compact();
    check_case(i, NULL);
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_eq(stats.table_entries, (strlen(cases[i].left) + 1) / 4);
    ck_ok(kevo_verify(store, &test_err));
}
END_TEST

/* A batch with nothing in it takes no id and writes nothing. */
START_TEST(empty_ranges_are_no_write) {
    put_letters();
    struct kevo_stats before = kv_stats(store);
    delete_range("b", "b");
    delete_range("c", "b");
    kevo_batch *b;
    uint64_t id;
    ck_ok(kevo_batch_new(&b, &test_err));
    ck_ok(kevo_batch_delete_range(b, kv_slice("z"), kv_slice("y"), &test_err));
    ck_ok(kevo_apply_batch(store, b, &id, &test_err));
    kevo_batch_free(b);
    struct kevo_stats after = kv_stats(store);
    ck_assert_uint_eq(id, before.last_batch);
    ck_assert_uint_eq(after.last_batch, before.last_batch);
    ck_assert_uint_eq(after.wal_bytes, before.wal_bytes);
    ck_assert_uint_eq(after.range_deletes, 0);
}
END_TEST

START_TEST(counted) {
    delete_range("a", "c");
    delete_range("x", NULL);
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_eq(stats.range_deletes, 2);
    ck_assert_uint_eq(stats.batches, 2);
    ck_assert_uint_eq(stats.user_bytes, 3);
    ck_assert_uint_eq(stats.puts + stats.deletes, 0);
}
END_TEST

START_TEST(bounds_too_long) {
    static uint8_t bytes[KEVO_MAX_KEY_BYTES + 1];
    struct kevo_slice longest = {bytes, KEVO_MAX_KEY_BYTES}, longer = {bytes, sizeof bytes};
    memset(bytes, 0xff, sizeof bytes);
    ck_ok(kevo_put(store, longest, kv_slice("v"), &test_err));
    ck_assert_int_eq(kevo_delete_range(store, bound(NULL), longer, &test_err), KEVO_TOOBIG);
    ck_assert_int_eq(kevo_delete_range(store, longer, bound(NULL), &test_err), KEVO_TOOBIG);
    struct kevo_value v;
    ck_ok(kevo_delete_range(store, bound(NULL), longest, &test_err));
    ck_ok(kevo_get(store, NULL, longest, &v, &test_err));
    kevo_value_release(&v);
    ck_ok(kevo_delete_range(store, longest, bound(NULL), &test_err));
    flush();
    ck_assert_int_eq(kevo_get(store, NULL, longest, &v, &test_err), KEVO_NOTFOUND);
    reopen();
    ck_assert_int_eq(kevo_get(store, NULL, longest, &v, &test_err), KEVO_NOTFOUND);
}
END_TEST

/* ---- batches and transactions --------------------------------------------------------- */

START_TEST(a_batch_applies_in_order) {
    kevo_batch *b;
    put_letters();
    ck_ok(kevo_batch_new(&b, &test_err));
    ck_ok(kevo_batch_put(b, kv_slice("c"), kv_slice("early"), &test_err));
    ck_ok(kevo_batch_put(b, kv_slice("x"), kv_slice("early"), &test_err));
    ck_ok(kevo_batch_delete_range(b, kv_slice("b"), kv_slice("g"), &test_err));
    ck_ok(kevo_batch_put(b, kv_slice("d"), kv_slice("late"), &test_err));
    ck_ok(kevo_batch_delete(b, kv_slice("h"), &test_err));
    ck_ok(kevo_apply_batch(store, b, NULL, &test_err));
    kevo_batch_free(b);
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 d=late g=1 x=early");
    fates[_i]();
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 d=late g=1 x=early");
    ck_assert_str_eq(kv_get(store, NULL, "d"), "late");
}
END_TEST

static void txn_delete_range(kevo_txn *t, const char *lower, const char *upper) {
    ck_ok(kevo_txn_delete_range(t, bound(lower), bound(upper), &test_err));
}

START_TEST(savepoints_undo_ranges) {
    put_letters();
    fates[_i]();
    kevo_txn *t = kv_txn(store);
    struct kevo_read read = {.txn = t};
    ck_assert(kevo_txn_is_empty(t));
    txn_delete_range(t, "b", "d");
    ck_assert(!kevo_txn_is_empty(t));
    struct kevo_mark first = kevo_txn_mark(t);
    kv_txn_put(t, "c", "2");
    txn_delete_range(t, "a", "f");
    struct kevo_mark second = kevo_txn_mark(t);
    kv_txn_put(t, "b", "3");
    txn_delete_range(t, NULL, NULL);
    ck_assert_str_eq(kv_dump(store, &read), "");
    kevo_txn_rollback_to(t, second);
    ck_assert_str_eq(kv_dump(store, &read), "f=1 g=1 h=1");
    ck_assert_ptr_null(kv_get(store, &read, "c"));
    kevo_txn_rollback_to(t, first);
    ck_assert_str_eq(kv_dump(store, &read), "a=1 d=1 e=1 f=1 g=1 h=1");
    kv_txn_put(t, "c", "4");
    ck_assert_str_eq(kv_get(store, &read, "c"), "4");
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1");
    struct kevo_commit c;
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err));
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1");
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 c=4 d=1 e=1 f=1 g=1 h=1");
    reopen();
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 c=4 d=1 e=1 f=1 g=1 h=1");
}
END_TEST

START_TEST(an_undone_range_leaves_nothing) {
    put_letters();
    kevo_txn *t = kv_txn(store);
    struct kevo_mark begin = kevo_txn_mark(t);
    txn_delete_range(t, NULL, NULL);
    kevo_txn_rollback_to(t, begin);
    ck_assert(kevo_txn_is_empty(t));
    kevo_txn_unref(t);
}
END_TEST

/* An open iterator sees what its transaction deletes, and that it was undone, from its next
 * motion on, with its bounds as they were. */
START_TEST(iterators_see_later_ranges) {
    put_letters();
    fates[_i]();
    kevo_txn *t = kv_txn(store);
    struct kevo_read read = {.txn = t, .lower = kv_slice("b"), .upper = kv_slice("h")};
    kevo_iter *it = kv_iter(store, &read);
    ck_ok(kevo_iter_first(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "b=1");
    struct kevo_mark before = kevo_txn_mark(t);
    txn_delete_range(t, "a", "e");
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "e=1");
    ck_ok(kevo_iter_prev(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "-");
    ck_ok(kevo_iter_last(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "g=1");
    txn_delete_range(t, "f", NULL);
    ck_ok(kevo_iter_seek(it, kevo_iter_key(it), &test_err)); /* a key in what goes away */
    ck_assert_str_eq(kv_entry(it), "-");
    ck_ok(kevo_iter_seek_for_prev(it, kv_slice("z"), &test_err));
    ck_assert_str_eq(kv_entry(it), "e=1");
    kevo_txn_rollback_to(t, before);
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "f=1");
    ck_ok(kevo_iter_first(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "b=1");
    kevo_iter_free(it);
    kevo_txn_unref(t);
}
END_TEST

/* A batch that was cut never deleted anything. */
START_TEST(a_range_in_doubt) {
    kevo_close(store);
    ck_ok(kevo_destroy(KV_DIR, &options, &test_err));
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    store = kv_open(&options);
    struct kevo_commit rows = {0, 0}, range;
    ck_ok(kevo_resolve(store, rows, &test_err));
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "a", "1");
    kv_txn_put(t, "b", "1");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &rows, &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    t = kv_txn(store);
    txn_delete_range(t, NULL, "b");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &range, &test_err));
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    if (_i % 2) reopen();
    ck_ok(kevo_resolve(store, _i / 2 ? range : rows, &test_err));
    const char *expected = _i / 2 ? "b=1" : "a=1 b=1";
    ck_assert_str_eq(kv_dump(store, NULL), expected);
    ck_ok(kevo_rotate(store, &test_err));
    flush();
    ck_assert_str_eq(kv_dump(store, NULL), expected);
}
END_TEST

/* ---- what it costs ----------------------------------------------------------------------- */

enum { ROWS = 20000 };

static void row_key(char key[16], int i) {
    snprintf(key, 16, "row%06d", i);
}

/* Rows in many tables, once they are compacted, in blocks that are read through the cache. */
static void put_rows(void) {
    char key[16];
    kevo_batch *b;
    options.cache_bytes = 0;
    options.sync = KEVO_SYNC_OFF;
    reopen();
    ck_ok(kevo_batch_new(&b, &test_err));
    for (int part = 0; part < 4; part++) { /* each all over the place, so that they are merged */
        kevo_batch_reset(b);
        for (int i = part; i < ROWS; i += 4) {
            row_key(key, i);
            ck_ok(kevo_batch_put(b, kv_slice(key), kv_slice("a value of some length"), &test_err));
        }
        ck_ok(kevo_apply_batch(store, b, NULL, &test_err));
        flush();
    }
    kevo_batch_free(b);
}

static uint64_t blocks_read(void) {
    struct kevo_stats stats = kv_stats(store);
    return stats.cache_hits + stats.cache_misses;
}

static unsigned walk(const struct kevo_read *read, bool forward) {
    unsigned rows = 0;
    kevo_iter *it = kv_iter(store, read);
    ck_ok(forward ? kevo_iter_first(it, &test_err) : kevo_iter_last(it, &test_err));
    for (; kevo_iter_valid(it); rows++)
        ck_ok(forward ? kevo_iter_next(it, &test_err) : kevo_iter_prev(it, &test_err));
    kevo_iter_free(it);
    return rows;
}

/* Neither a scan nor a get reads what is deleted, wherever the tombstone is. A snapshot keeps
 * the rows from being dropped. */
START_TEST(deleted_rows_are_not_visited) {
    char lower[16], upper[16], key[16];
    put_rows();
    compact();
    uint64_t before = blocks_read();
    ck_assert_uint_eq(walk(NULL, true), ROWS);
    ck_assert_uint_gt(blocks_read() - before, 1000);
    kevo_snapshot *snap = kv_snapshot(store);
    row_key(lower, 10);
    row_key(upper, ROWS - 10);
    delete_range(lower, upper);
    if (_i == 1) flush();
    before = blocks_read();
    ck_assert_uint_eq(walk(NULL, true), 20);
    ck_assert_uint_eq(walk(NULL, false), 20);
    ck_assert_uint_lt(blocks_read() - before, 20);
    before = blocks_read();
    for (int i = 10; i < ROWS - 10; i++) {
        row_key(key, i);
        ck_assert_ptr_null(kv_get(store, NULL, key));
    }
    ck_assert_uint_eq(blocks_read(), before);
    struct kevo_read read = {.snapshot = snap};
    ck_assert_uint_eq(walk(&read, true), ROWS);
    kevo_snapshot_free(snap);
}
END_TEST

static uint64_t bytes_in_tables(void) {
    struct kevo_stats stats = kv_stats(store);
    uint64_t bytes = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        bytes += stats.level_bytes[l];
    return bytes;
}

static void work(void) {
    int rc;
    while ((rc = kevo_step(store, &test_err)) == 0)
        ;
    ck_assert_int_eq(rc, KEVO_NOTFOUND);
}

/* Tables that are hidden as a whole go once the tombstone is in a table, and no snapshot
 * sees them: not read, and their files removed. */
START_TEST(hidden_tables_are_dropped) {
    put_rows();
    compact();
    uint64_t full = bytes_in_tables(), read = kv_stats(store).compact_read_bytes;
    unsigned files = kv_files(env, ".sst");
    ck_assert_uint_gt(files, 5);
    kevo_snapshot *snap = _i ? kv_snapshot(store) : NULL;
    kv_put(store, "row", "first");
    ck_assert_uint_ge(kevo_approximate_count(store, bound(NULL), bound(NULL)), ROWS);
    delete_range("row000010", "row019990");
    ck_assert_uint_lt(kevo_approximate_count(store, bound(NULL), bound(NULL)), ROWS / 4);
    flush();
    if (snap) {
        work();
        struct kevo_read old = {.snapshot = snap};
        ck_assert_uint_eq(kv_stats(store).dropped_tables, 0);
        ck_assert_uint_eq(walk(&old, false), ROWS);
        kevo_snapshot_free(snap);
    }
    work();
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_ge(stats.dropped_tables, files - 3);
    ck_assert_uint_lt(stats.compact_read_bytes - read, full / 2);
    ck_assert_uint_lt(bytes_in_tables(), full / 2);
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(store));
    ck_assert_uint_eq(walk(NULL, true), 21);
    reopen();
    ck_assert_uint_eq(walk(NULL, false), 21);
    ck_ok(kevo_verify(store, &test_err));
    compact();
    ck_assert_uint_eq(kv_stats(store).table_entries, 21);
    ck_assert_uint_eq(walk(NULL, true), 21);
}
END_TEST

/* Everything goes, and nothing is left: no table, no tombstone. */
START_TEST(an_emptied_store) {
    put_rows();
    compact();
    delete_range(NULL, NULL);
    compact();
    ck_assert_uint_eq(kv_tables(store), 0);
    ck_assert_uint_eq(kv_files(env, ".sst"), 0);
    kv_put(store, "a", "1");
    ck_assert_str_eq(kv_dump(store, NULL), "a=1");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("delete_range");
    TCase *tc = tcase_create("delete_range");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_case, 0, CASES * FATES * FATES);
    tcase_add_test(tc, empty_ranges_are_no_write);
    tcase_add_test(tc, counted);
    tcase_add_test(tc, bounds_too_long);
    tcase_add_loop_test(tc, a_batch_applies_in_order, 0, FATES);
    tcase_add_loop_test(tc, savepoints_undo_ranges, 0, FATES);
    tcase_add_test(tc, an_undone_range_leaves_nothing);
    tcase_add_loop_test(tc, iterators_see_later_ranges, 0, FATES);
    tcase_add_loop_test(tc, a_range_in_doubt, 0, 4);
    tcase_add_loop_test(tc, deleted_rows_are_not_visited, 0, 2);
    tcase_add_loop_test(tc, hidden_tables_are_dropped, 0, 2);
    tcase_add_test(tc, an_emptied_store);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
