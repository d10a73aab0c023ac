/* Transactions larger than memory: their runs, what becomes of them, and what is left. */
#include "engine/kevo.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/coding.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/kv.h"

static struct env *env;
static struct kevo_options options;
static kevo_store *store;

static void setup_with(int authority) {
    env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    options = kv_options(env);
    options.authority = authority;
    options.txn_memory_bytes = 4096;
    store = kv_open(&options);
}

static void setup_self(void) {
    setup_with(KEVO_AUTHORITY_SELF);
}

static void setup_external(void) {
    setup_with(KEVO_AUTHORITY_EXTERNAL);
}

static void teardown(void) {
    kevo_close(store);
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

/* The process is killed. */
static void kill_and_reopen(void) {
    struct env *copy = kv_copy(env);
    kevo_close(store);
    env_memory_free(env);
    options.env = env = copy;
    store = kv_open(&options);
}

static const struct kevo_commit nothing = {0, 0};

static struct kevo_commit prepare(kevo_txn *t) {
    struct kevo_commit c;
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_OFF, &c, &test_err));
    return c;
}

static const char *dump(kevo_txn *t) {
    struct kevo_read read = {.txn = t};
    return kv_dump(store, t ? &read : NULL);
}

/* ---- many rows against an array ------------------------------------------------------ */

enum { ROWS = 3000 };

struct rows {
    unsigned value[ROWS]; /* 0: none */
};

static slice row_key(unsigned i) {
    static uint8_t bytes[4];
    put_fixed32(bytes, __builtin_bswap32(i));
    return slice_of(bytes, sizeof bytes);
}

static slice row_value(unsigned value) {
    static char text[32];
    return slice_of(text, (size_t)snprintf(text, sizeof text, "%u is the value", value));
}

static void check_rows(const struct kevo_read *read, const struct rows *rows) {
    kevo_iter *it = kv_iter(store, read);
    must(kevo_iter_first(it, &test_err));
    for (unsigned i = 0; i < ROWS; i++) {
        if (!rows->value[i]) continue;
        if (!kevo_iter_valid(it) || !slice_eq(kevo_iter_key(it), row_key(i)) ||
            !slice_eq(kevo_iter_value(it), row_value(rows->value[i])))
            ck_abort_msg("row %u is not there with %u", i, rows->value[i]);
        must(kevo_iter_next(it, &test_err));
    }
    ck_assert(!kevo_iter_valid(it));
    kevo_iter_free(it);
    for (unsigned i = 0; i < ROWS; i += 7) {
        struct kevo_value v;
        int rc = kevo_get(store, read, row_key(i), &v, &test_err);
        ck_assert_int_eq(rc, rows->value[i] ? 0 : KEVO_NOTFOUND);
        if (rc == 0) ck_assert(slice_eq(v.slice, row_value(rows->value[i])));
        kevo_value_release(&v);
    }
}

/* Puts and a few deletions, of single rows and ranges. */
static void change_rows(kevo_txn *t, struct rows *rows, struct rng *rng, unsigned count) {
    for (unsigned n = 0; n < count; n++) {
        unsigned i = (unsigned)rng_below(rng, ROWS);
        if (rng_below(rng, 200) == 0) {
            unsigned end = i + (unsigned)rng_below(rng, 100);
            if (end > ROWS) end = ROWS;
            uint8_t lower[4];
            memcpy(lower, row_key(i).data, sizeof lower);
            must(kevo_txn_delete_range(t, slice_of(lower, sizeof lower), row_key(end), &test_err));
            for (; i < end; i++)
                rows->value[i] = 0;
        } else if (rng_below(rng, 5) == 0) {
            must(kevo_txn_delete(t, row_key(i), &test_err));
            rows->value[i] = 0;
        } else {
            rows->value[i] = 1 + (unsigned)rng_below(rng, 1000000);
            must(kevo_txn_put(t, row_key(i), row_value(rows->value[i]), &test_err));
        }
    }
}

/* Enough for merges of merged runs, with savepoints, over rows that were there before. */
START_TEST(many_runs) {
    static struct rows before, now, marked;
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    bool external = options.authority == KEVO_AUTHORITY_EXTERNAL;
    memset(&before, 0, sizeof before);
    if (external) ck_ok(kevo_resolve(store, nothing, &test_err));
    kevo_txn *t = kv_txn(store);
    for (unsigned i = 0; i < ROWS; i += 3) { /* ascending */
        before.value[i] = i + 1;
        must(kevo_txn_put(t, row_key(i), row_value(i + 1), &test_err));
    }
    ck_assert(kevo_txn_is_large(t));
    struct kevo_commit c = prepare(t);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    if (external) {
        ck_assert(kevo_wants_rotate(store));
        ck_ok(kevo_rotate(store, &test_err));
        ck_assert(!kevo_wants_rotate(store));
    }
    ck_assert_uint_eq(kv_stats(store).level_bytes[0], 0); /* input in order goes deep at once */
    check_rows(NULL, &before);

    now = before;
    t = kv_txn(store);
    struct kevo_read read = {.txn = t};
    for (unsigned round = 0; round < 8; round++) {
        struct kevo_mark mark = kevo_txn_mark(t);
        marked = now;
        change_rows(t, &now, &rng, 500 + (unsigned)rng_below(&rng, 1500));
        check_rows(&read, &now);
        if (round % 3 == 2) {
            kevo_txn_rollback_to(t, mark);
            now = marked;
            check_rows(&read, &now);
        }
    }
    check_rows(NULL, &before);
    if (_i == 1) kevo_txn_rollback_to(t, (struct kevo_mark){0, NULL, 0});
    if (_i == 1) ck_assert(kevo_txn_is_empty(t));
    if (_i == 1) now = before;
    if (_i == 1) change_rows(t, &now, &rng, 300);
    c = prepare(t);
    check_rows(NULL, &before);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    check_rows(NULL, &now);
    if (_i == 2) kill_and_reopen();
    if (external) ck_ok(kevo_resolve(store, c, &test_err));
    if (external) ck_ok(kevo_rotate(store, &test_err));
    check_rows(NULL, &now);
    must(kevo_verify(store, &test_err));
    ck_ok(kv_compact(store, &test_err));
    check_rows(NULL, &now);
    must(kevo_verify(store, &test_err));
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(store));
}
END_TEST

/* ---- what is left ---------------------------------------------------------------------- */

static void write_many(kevo_txn *t, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        must(kevo_txn_put(t, row_key(i * 7 % ROWS), row_value(i + 1), &test_err));
}

START_TEST(a_rollback_leaves_no_file) {
    kv_put(store, "a", "1");
    kevo_txn *t = kv_txn(store);
    write_many(t, 2000);
    ck_assert_uint_gt(kv_files(env, ".sst"), 0);
    if (_i == 0) kevo_txn_rollback(t);
    kevo_txn_unref(t);
    ck_assert_uint_eq(kv_files(env, ".sst"), 0);
    ck_assert_str_eq(dump(NULL), "a=1");
}
END_TEST

START_TEST(a_crash_leaves_what_the_next_writer_sweeps) {
    kv_put(store, "a", "1");
    kevo_txn *t = kv_txn(store);
    write_many(t, 2000);
    struct env *copy = kv_copy(env);
    kevo_txn_unref(t);
    kevo_close(store);
    env_memory_free(env);
    options.env = env = copy;
    store = kv_open(&options);
    ck_assert_uint_gt(kv_files(env, ".sst"), 0);
    ck_assert_str_eq(dump(NULL), "a=1");
    kv_put(store, "b", "2");
    ck_assert_uint_eq(kv_files(env, ".sst"), 0);
}
END_TEST

/* Undone writes are not in the tables, and a run that was undone as a whole is no table. */
START_TEST(what_was_undone_is_not_written) {
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "a", "1");
    kv_txn_put(t, "b", "1");
    struct kevo_mark mark = kevo_txn_mark(t);
    kv_txn_put(t, "b", "2");
    write_many(t, 1000);
    kevo_txn_rollback_to(t, mark);
    kv_txn_put(t, "c", "3");
    prepare(t);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    ck_assert_str_eq(dump(NULL), "a=1 b=1 c=3");
    ck_assert_uint_eq(kv_stats(store).table_entries, 3);
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(store));
}
END_TEST

START_TEST(a_transaction_that_was_undone_is_not_large) {
    kevo_txn *t = kv_txn(store);
    write_many(t, 100);
    ck_assert(kevo_txn_is_large(t));
    kevo_txn_rollback_to(t, (struct kevo_mark){0, NULL, 0});
    ck_assert(!kevo_txn_is_large(t));
    ck_assert(kevo_txn_is_empty(t));
    ck_assert_uint_eq(kv_files(env, ".sst"), 0);
    kv_txn_put(t, "a", "1");
    prepare(t);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    ck_assert_str_eq(dump(NULL), "a=1");
}
END_TEST

/* Memory that the buffer holds stays below its limit and a chunk. */
START_TEST(memory_is_bounded) {
    options.txn_memory_bytes = 64 << 10;
    kevo_close(store);
    store = kv_open(&options);
    kevo_txn *t = kv_txn(store);
    uint64_t most = 0;
    for (unsigned i = 0; i < 20000; i++) {
        must(kevo_txn_put(t, row_key(i * 7919 % 20011), row_value(i), &test_err));
        if (kevo_txn_bytes(t) > most) most = kevo_txn_bytes(t);
    }
    ck_assert_uint_lt(most, 2 * options.txn_memory_bytes);
    kevo_txn_unref(t);
}
END_TEST

static int patience; /* so often the answer is no */

static bool is_out_of_patience(void *arg) {
    (void)arg;
    return patience-- <= 0;
}

/* Given up at each of its questions, a write or prepare changes nothing, and can be repeated. */
START_TEST(merges_can_be_given_up) {
    static struct rows rows;
    struct kevo_read read = {.snapshot = NULL};
    struct kevo_commit c;
    unsigned given_up = 0;
    kevo_txn *t = kv_txn(store);
    kevo_txn_on_merge(t, is_out_of_patience, NULL);
    for (unsigned i = 0; i < ROWS; i++) {
        int rc = KEVO_CANCELLED;
        unsigned row = i * 77 % ROWS;
        for (int most = 0; rc == KEVO_CANCELLED; most++) {
            patience = most;
            rc = kevo_txn_put(t, row_key(row), row_value(row + 1), &test_err);
            given_up += rc == KEVO_CANCELLED;
        }
        must(rc);
        rows.value[row] = row + 1;
    }
    ck_assert_uint_gt(given_up, 100);
    patience = 0;
    ck_assert_int_eq(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err), KEVO_CANCELLED);
    patience = 1000;
    prepare(t);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    check_rows(&read, &rows);
    ck_ok(kevo_verify(store, &test_err));
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(store));
}
END_TEST

START_TEST(a_value_of_a_run_outlives_it) {
    kevo_txn *t = kv_txn(store);
    struct kevo_read read = {.txn = t};
    struct kevo_value v;
    kv_txn_put(t, "a", "1");
    kv_txn_put(t, "b", "2");
    ck_ok(kevo_get(store, &read, kv_slice("a"), &v, &test_err));
    write_many(t, 1000); /* the run is merged */
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    ck_assert(slice_eq(v.slice, kv_slice("1")));
    kevo_value_release(&v);
    ck_assert_uint_eq(kv_files(env, ".sst"), 0);
}
END_TEST

/* ---- commits decided elsewhere ------------------------------------------------------------ */

static kevo_txn *begin_after(struct kevo_commit last) {
    ck_ok(kevo_resolve(store, last, &test_err));
    if (kevo_wants_rotate(store)) ck_ok(kevo_rotate(store, &test_err));
    return kv_txn(store);
}

static struct kevo_commit write_two(struct kevo_commit last, const char *value, bool commits) {
    kevo_txn *t = begin_after(last);
    kv_txn_put(t, "a", value);
    kv_txn_put(t, "b", value);
    ck_assert(kevo_txn_is_large(t));
    struct kevo_commit c = prepare(t);
    if (commits)
        kevo_txn_commit(t);
    else
        kevo_txn_rollback(t);
    kevo_txn_unref(t);
    return c;
}

START_TEST(doubt_ends_both_ways) {
    struct kevo_commit a = write_two(nothing, "1", true);
    struct kevo_commit b = write_two(a, "2", false);
    ck_assert_str_eq(dump(NULL), "a=1 b=1");
    if (_i & 2) kill_and_reopen();
    /* Who knows the commit sees it before anything is resolved. */
    struct kevo_read read = {.snapshot = NULL};
    ck_ok(kevo_snapshot_at(store, b, (kevo_snapshot **)&read.snapshot, &test_err));
    ck_assert_str_eq(kv_dump(store, &read), "a=2 b=2");
    ck_assert_str_eq(kv_get(store, &read, "a"), "2");
    kevo_snapshot_free((kevo_snapshot *)read.snapshot);
    struct kevo_commit last = _i & 1 ? b : a;
    ck_ok(kevo_resolve(store, last, &test_err));
    ck_assert_str_eq(dump(NULL), _i & 1 ? "a=2 b=2" : "a=1 b=1");
    ck_ok(kevo_rotate(store, &test_err));
    /* Those of the batch that never was are gone. */
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(store));
    struct kevo_commit c = write_two(last, "3", true);
    ck_assert_uint_gt(c.batch, b.batch);
    ck_assert_str_eq(dump(NULL), "a=3 b=3");
    kill_and_reopen();
    ck_ok(kevo_resolve(store, c, &test_err));
    ck_assert_str_eq(dump(NULL), "a=3 b=3");
    ck_ok(kv_compact(store, &test_err));
    must(kevo_verify(store, &test_err));
    ck_assert_str_eq(dump(NULL), "a=3 b=3");
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(store));
}
END_TEST

/* A COMMIT that was BUSY, more writes, and another: the same files, and more of them. */
START_TEST(prepared_again) {
    kevo_txn *t = begin_after(nothing);
    struct kevo_read read = {.txn = t};
    kv_txn_put(t, "a", "1");
    kv_txn_put(t, "b", "1");
    struct kevo_commit first = prepare(t);
    struct kevo_mark mark = kevo_txn_mark(t);
    kv_txn_put(t, "b", "2");
    kv_txn_put(t, "c", "2");
    if (_i) kevo_txn_rollback_to(t, mark);
    if (_i) kv_txn_put(t, "d", "3");
    const char *expected = _i ? "a=1 b=1 d=3" : "a=1 b=2 c=2";
    ck_assert_str_eq(kv_dump(store, &read), expected);
    struct kevo_commit second = prepare(t);
    ck_assert_uint_gt(second.batch, first.batch);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    ck_assert_str_eq(dump(NULL), expected);
    kill_and_reopen();
    ck_ok(kevo_resolve(store, second, &test_err));
    ck_assert_str_eq(dump(NULL), expected);
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(store));
}
END_TEST

/* Nothing undecided is compacted, and what was there before stays readable. */
START_TEST(nothing_undecided_is_compacted) {
    struct kevo_commit a = write_two(nothing, "1", true);
    struct kevo_commit b = write_two(a, "2", false);
    uint64_t before = kv_stats(store).compactions;
    ck_assert_int_eq(kv_compact(store, &test_err), KEVO_BUSY);
    ck_assert_int_eq(kevo_step(store, &test_err), KEVO_NOTFOUND);
    ck_assert_uint_eq(kv_stats(store).compactions, before);
    ck_assert_str_eq(dump(NULL), "a=1 b=1");
    ck_ok(kevo_resolve(store, a, &test_err));
    ck_assert_str_eq(dump(NULL), "a=1 b=1");
    ck_assert_int_eq(kevo_resolve(store, b, &test_err), KEVO_DIVERGED);
    ck_ok(kv_compact(store, &test_err));
    b = write_two(a, "3", true);
    ck_assert_int_eq(kv_compact(store, &test_err), KEVO_BUSY);
    ck_assert_ptr_nonnull(strstr(test_err.msg, KV_DIR ": the tables of a large transaction"));
    ck_ok(kevo_rotate(store, &test_err));
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(kv_tables(store), 1);
}
END_TEST

/* Tables of a committed batch are in the manifest: a marker from before is refused. */
START_TEST(what_left_the_log_cannot_be_cut) {
    struct kevo_commit a = write_two(nothing, "1", true);
    struct kevo_commit b = write_two(a, "2", true);
    if (_i) ck_ok(kevo_rotate(store, &test_err));
    kill_and_reopen();
    kevo_snapshot *snap;
    ck_assert_int_eq(kevo_snapshot_at(store, a, &snap, &test_err), _i ? KEVO_DIVERGED : 0);
    kevo_snapshot_free(snap);
    int rc = kevo_resolve(store, a, &test_err);
    ck_assert_int_eq(rc, _i ? KEVO_DIVERGED : 0);
    if (_i) ck_ok(kevo_resolve(store, b, &test_err));
    ck_assert_str_eq(dump(NULL), _i ? "a=2 b=2" : "a=1 b=1");
}
END_TEST

/* A copy has what the authority may have committed, tables included. */
START_TEST(copies) {
    struct kevo_commit a = write_two(nothing, "1", true);
    struct kevo_commit b = write_two(a, "2", _i & 1);
    struct kevo_options o = options;
    kevo_store *copy;
    ck_ok(kevo_checkpoint(store, "/copy", &test_err));
    ck_ok(kevo_open("/copy", &o, &copy, &test_err));
    ck_ok(kevo_resolve(copy, _i & 2 ? a : b, &test_err));
    ck_assert_str_eq(kv_dump(copy, NULL), _i & 2 ? "a=1 b=1" : "a=2 b=2");
    must(kevo_verify(copy, &test_err));
    kevo_close(copy);
    ck_ok(kevo_destroy("/copy", &o, &test_err));
}
END_TEST

/* ---- while the threads work --------------------------------------------------------------- */

/* Tables that are shown and that the manifest does not name yet are no input of a compaction, and
 * none that a range tombstone lets go as a whole: neither when the compactor was asked just
 * before, nor when the manifest has put them into another level than they were shown in. */
START_TEST(the_compactor_leaves_what_is_shown_alone) {
    kevo_close(store);
    options.background = true;
    options.memtable_bytes = options.table_bytes = options.level1_bytes = 4096;
    options.level_factor = 2;
    options.l0_trigger = 1;
    options.l0_slow = options.l0_stop = 2;
    store = kv_open(&options);
    bool external = options.authority == KEVO_AUTHORITY_EXTERNAL;
    if (external) ck_ok(kevo_resolve(store, nothing, &test_err));
    static struct rows rows;
    struct rng rng = rng_of(harness_seed());
    for (uint64_t round = harness_count("KEVO_ROUNDS", 300); round > 0; round--) {
        kevo_txn *t = kv_txn(store);
        change_rows(t, &rows, &rng, 1 + (unsigned)rng_below(&rng, 200));
        if (round % 2) {
            must(kevo_txn_delete_range(t, row_key(0), kv_all, &test_err));
            memset(&rows, 0, sizeof rows);
            change_rows(t, &rows, &rng, 1 + (unsigned)rng_below(&rng, 100));
        }
        struct kevo_commit c = prepare(t);
        bool known = rng_below(&rng, 2);
        if (known)
            kevo_txn_commit(t);
        else
            kevo_txn_rollback(t);
        kevo_txn_unref(t);
        if (!known) must(kevo_resolve(store, c, &test_err));
        if (external && kevo_wants_rotate(store)) must(kevo_rotate(store, &test_err));
        if (rng_below(&rng, 20) == 0) must(kv_compact(store, &test_err));
        if (rng_below(&rng, 20) == 0) must(kevo_flush(store, &test_err));
    }
    check_rows(NULL, &rows);
    must(kevo_verify(store, &test_err));
}
END_TEST

/* ---- where the tables go ------------------------------------------------------------------ */

/* A transaction that comes while a compaction runs. */
struct arrival {
    kevo_txn *txn; /* NULL: it came already */
    struct kevo_commit commit;
};

static bool arrive(void *arg, uint64_t done_bytes, uint64_t total_bytes) {
    struct arrival *a = arg;
    (void)done_bytes;
    (void)total_bytes;
    if (a->txn) {
        a->commit = prepare(a->txn);
        kevo_txn_commit(a->txn);
        kevo_txn_unref(a->txn);
        a->txn = NULL;
    }
    return false;
}

/* What is merged leaves a gap that the transaction fits into, in more levels than there are below
 * the output: none of its tables gets in the way of that. */
START_TEST(a_running_compaction_has_its_level) {
    static char value[2100];
    kv_put(store, "a", "1");
    kv_put(store, "b", "1");
    ck_ok(kevo_flush(store, &test_err));
    kv_put(store, "y", "1");
    kv_put(store, "z", "1");
    struct arrival a = {.txn = kv_txn(store)};
    for (unsigned i = 0; i < 20; i++) {
        memset(value, 'a' + (int)i, sizeof value - 1);
        kv_txn_put(a.txn, "m", value);
        kv_txn_put(a.txn, "n", value);
    }
    ck_ok(kevo_compact(store, kv_all, kv_all, arrive, &a, &test_err));
    ck_assert_ptr_null(a.txn);
    ck_assert_int_eq(kv_get(store, NULL, "m")[0], value[0]);
    ck_assert_int_eq(kv_get(store, NULL, "n")[0], value[0]);
    kv_put(store, "c", "1");
    ck_ok(kv_compact(store, &test_err));
    must(kevo_verify(store, &test_err));
}
END_TEST

/* Many tables that lie over one of level 0 all go there, and can be read. */
START_TEST(more_tables_than_level0_should_have) {
    static char value[1000];
    kv_put(store, "a", "1");
    kv_put(store, "z", "1");
    ck_ok(kevo_flush(store, &test_err));
    memset(value, 'v', sizeof value - 1);
    kevo_txn *t = kv_txn(store);
    for (unsigned i = 0; i < 1200; i++) {
        char key[16];
        snprintf(key, sizeof key, "m%05u", i);
        kv_txn_put(t, key, value);
    }
    prepare(t);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    ck_assert_uint_gt(kv_stats(store).table_count[0], 256);
    kevo_iter *it = kv_iter(store, NULL);
    unsigned n = 0;
    must(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); n++)
        must(kevo_iter_next(it, &test_err));
    kevo_iter_free(it);
    ck_assert_uint_eq(n, 1202);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runs");
    TCase *self = tcase_create("self"), *external = tcase_create("external");
    tcase_add_checked_fixture(self, setup_self, teardown);
    tcase_add_loop_test(self, many_runs, 0, 3);
    tcase_add_loop_test(self, a_rollback_leaves_no_file, 0, 2);
    tcase_add_test(self, a_crash_leaves_what_the_next_writer_sweeps);
    tcase_add_test(self, what_was_undone_is_not_written);
    tcase_add_test(self, a_transaction_that_was_undone_is_not_large);
    tcase_add_test(self, memory_is_bounded);
    tcase_add_test(self, merges_can_be_given_up);
    tcase_add_test(self, a_value_of_a_run_outlives_it);
    tcase_add_test(self, the_compactor_leaves_what_is_shown_alone);
    tcase_add_test(self, a_running_compaction_has_its_level);
    tcase_add_test(self, more_tables_than_level0_should_have);
    suite_add_tcase(suite, self);
    tcase_add_checked_fixture(external, setup_external, teardown);
    tcase_add_loop_test(external, many_runs, 0, 3);
    tcase_add_loop_test(external, doubt_ends_both_ways, 0, 4);
    tcase_add_loop_test(external, prepared_again, 0, 2);
    tcase_add_test(external, nothing_undecided_is_compacted);
    tcase_add_loop_test(external, what_left_the_log_cannot_be_cut, 0, 2);
    tcase_add_loop_test(external, copies, 0, 4);
    tcase_add_test(external, the_compactor_leaves_what_is_shown_alone);
    suite_add_tcase(suite, external);
    return harness_run(suite);
}
