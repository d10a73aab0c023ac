/* Commits that somebody else decides: what is in doubt, what is cut, and the end of the log that
 * the authority keeps. */
#include "engine/kevo.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/coding.h"
#include "engine/log/wal.h"
#include "tests/lib/txn_store.h"

static void setup_external(void) {
    setup_with(KEVO_AUTHORITY_EXTERNAL);
}

static void setup_external_runs(void) {
    in_runs = true;
    setup_external();
}

/* ---- commits decided elsewhere -------------------------------------------------------- */

static const struct kevo_commit nothing = {0, 0};

/* The authority's marker, kept by the tests. */
static struct kevo_commit write_and_commit(struct kevo_commit last, const char *key,
                                           const char *value) {
    ck_ok(kevo_resolve(store, last, &test_err));
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, key, value);
    struct kevo_commit c = prepare(t);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    return c;
}

/* Prepared, then rolled back: nobody here knows whether it was committed. */
static struct kevo_commit write_and_doubt(struct kevo_commit last, const char *key,
                                          const char *value) {
    ck_ok(kevo_resolve(store, last, &test_err));
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, key, value);
    struct kevo_commit c = prepare(t);
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    return c;
}

static void rotate(void) {
    ck_ok(kevo_rotate(store, &test_err));
}

START_TEST(doubt_ends_both_ways) {
    struct kevo_commit a = write_and_commit(nothing, "a", "1");
    struct kevo_commit b = write_and_doubt(a, "b", "2");
    ck_assert_str_eq(dump(NULL), "a=1");
    ck_assert(same(kevo_last_commit(store), a));
    struct kevo_commit c = write_and_doubt(b, "c", "3"); /* b was committed */
    ck_assert_str_eq(dump(NULL), "a=1 b=2");
    struct kevo_commit d = write_and_commit(b, "d", "4"); /* c was not */
    ck_assert_str_eq(dump(NULL), "a=1 b=2 d=4");
    ck_assert_uint_gt(d.batch, c.batch);
    kill_and_reopen();
    ck_ok(kevo_resolve(store, d, &test_err));
    ck_assert_str_eq(dump(NULL), "a=1 b=2 d=4");
}
END_TEST

START_TEST(after_opening_the_tail_is_undecided) {
    struct kevo_commit a = write_and_commit(nothing, "a", "1");
    ck_ok(kevo_resolve(store, a, &test_err));
    rotate();
    ck_ok(kevo_flush(store, &test_err));
    ck_assert(!kevo_needs_resolve(store));
    struct kevo_commit b = write_and_commit(a, "b", "2");
    struct kevo_commit c = write_and_doubt(b, "c", "3");
    kill_and_reopen();
    ck_assert(kevo_needs_resolve(store));
    ck_assert(same(kevo_last_commit(store), a));
    ck_assert_str_eq(dump(NULL), "a=1");
    expect_error(kevo_rotate(store, &test_err), KEVO_INVALID, "in doubt");
    ck_ok(kevo_flush(store, &test_err)); /* nothing that may be flushed */
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(kv_tables(store), 1);

    /* Readers know what their authority committed. */
    struct kevo_read read = {.snapshot = NULL};
    ck_ok(kevo_snapshot_at(store, b, (kevo_snapshot **)&read.snapshot, &test_err));
    ck_assert_str_eq(kv_dump(store, &read), "a=1 b=2");
    kevo_snapshot_free((kevo_snapshot *)read.snapshot);
    ck_ok(kevo_snapshot_at(store, c, (kevo_snapshot **)&read.snapshot, &test_err));
    ck_assert_str_eq(kv_dump(store, &read), "a=1 b=2 c=3");
    kevo_snapshot_free((kevo_snapshot *)read.snapshot);

    ck_ok(kevo_resolve(store, _i ? b : c, &test_err));
    ck_assert(!kevo_needs_resolve(store));
    ck_assert_str_eq(dump(NULL), _i ? "a=1 b=2" : "a=1 b=2 c=3");
    ck_assert(same(kevo_last_commit(store), _i ? b : c));
    kill_and_reopen();
    ck_ok(kevo_resolve(store, _i ? b : c, &test_err));
    ck_assert_str_eq(dump(NULL), _i ? "a=1 b=2" : "a=1 b=2 c=3");
}
END_TEST

/* Batches 1 to 6 with a key each, in segments that begin where _i has a bit. */
enum { BATCHES = 6 };

static void fill_segments(unsigned rotations, struct kevo_commit commits[BATCHES + 1]) {
    commits[0] = nothing;
    for (unsigned i = 1; i <= BATCHES; i++) {
        char key[] = {(char)('a' + i - 1), 0};
        commits[i] = write_and_commit(commits[i - 1], key, "v");
        ck_ok(kevo_resolve(store, commits[i], &test_err));
        if (rotations >> i & 1) rotate();
    }
}

static const char *prefix(unsigned n) {
    static char text[64];
    text[0] = 0;
    for (unsigned i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%c=v", i ? " " : "", 'a' + i);
    return text;
}

/* The store can be cut back to each batch that is in the log, wherever segments end. */
START_TEST(resolving_to_an_older_batch) {
    struct kevo_commit commits[BATCHES + 1];
    options.memtable_count = 16;
    reopen();
    fill_segments((unsigned)_i << 1, commits);
    struct env *original = kv_copy(env);
    for (unsigned n = 0; n <= BATCHES; n++) {
        struct env *copy = kv_copy(original);
        kevo_close(store);
        env_memory_free(env);
        options.env = env = copy;
        store = kv_open(&options);
        ck_ok(kevo_resolve(store, commits[n], &test_err));
        ck_assert_str_eq(dump(NULL), prefix(n));
        ck_assert(same(kevo_last_commit(store), commits[n]));
        kill_and_reopen();
        ck_ok(kevo_resolve(store, commits[n], &test_err));
        ck_assert_str_eq(dump(NULL), prefix(n));
        struct kevo_commit next = write_and_commit(commits[n], "x", "y");
        ck_assert_uint_gt(next.batch, commits[BATCHES].batch); /* no id twice */
        kill_and_reopen();
        ck_ok(kevo_resolve(store, next, &test_err));
        ck_assert_uint_eq(strlen(dump(NULL)), strlen(prefix(n)) + (n ? 4 : 3));
        ck_ok(kevo_flush(store, &test_err));
        rotate();
        ck_ok(kv_compact(store, &test_err));
        reopen();
        ck_assert(same(kevo_last_commit(store), next));
        ck_ok(kevo_resolve(store, next, &test_err));
        ck_assert_uint_eq(strlen(dump(NULL)), strlen(prefix(n)) + (n ? 4 : 3));
    }
    env_memory_free(original);
}
END_TEST

START_TEST(ids_that_were_cut_are_not_used_again) {
    struct kevo_commit last = nothing;
    uint64_t highest = 0;
    for (int i = 0; i < 6; i++) {
        struct kevo_commit c = write_and_doubt(last, "a", "1");
        ck_assert_uint_gt(c.batch, highest);
        highest = c.batch;
        if (i % 2) kill_and_reopen();
        ck_ok(kevo_resolve(store, last, &test_err)); /* cut */
        kill_and_reopen();
        if (i == 3) last = write_and_commit(last, "b", "2");
        if (i == 3) highest = last.batch;
        if (i == 4) {
            ck_ok(kevo_resolve(store, last, &test_err));
            rotate();
            ck_ok(kevo_flush(store, &test_err));
            kill_and_reopen();
        }
    }
    ck_ok(kevo_resolve(store, last, &test_err));
    ck_assert_str_eq(dump(NULL), "b=2");
}
END_TEST

static void expect_unchanged(int rc, const char *why, char *before, size_t before_size) {
    size_t size;
    expect_error(rc, KEVO_DIVERGED, why);
    char *after = kv_contents(env, &size);
    ck_assert(size == before_size && memcmp(before, after, size) == 0);
    free(after);
}

START_TEST(another_history_is_refused_and_nothing_changed) {
    struct kevo_commit commits[BATCHES + 1], wrong;
    fill_segments(0, commits);
    if (_i) reopen();
    size_t size;
    char *before = kv_contents(env, &size);
    wrong = (struct kevo_commit){commits[BATCHES].batch + 1, 7};
    expect_unchanged(kevo_resolve(store, wrong, &test_err), "never saw", before, size);
    wrong = (struct kevo_commit){commits[BATCHES].batch, commits[BATCHES].nonce ^ 1};
    expect_unchanged(kevo_resolve(store, wrong, &test_err), "", before, size);
    wrong = (struct kevo_commit){commits[3].batch, commits[3].nonce ^ 1};
    expect_unchanged(kevo_resolve(store, wrong, &test_err), "", before, size);
    wrong = (struct kevo_commit){0, 5};
    expect_unchanged(kevo_resolve(store, wrong, &test_err), "", before, size);
    /* Within the process that committed them they cannot be cut any more. */
    if (!_i) expect_unchanged(kevo_resolve(store, commits[3], &test_err), "", before, size);
    free(before);
    ck_assert(kevo_needs_resolve(store) == _i);
    ck_ok(kevo_resolve(store, commits[BATCHES], &test_err));
    ck_assert_str_eq(dump(NULL), prefix(BATCHES));
}
END_TEST

START_TEST(what_left_the_log_cannot_be_cut) {
    struct kevo_commit commits[BATCHES + 1];
    fill_segments(0, commits);
    rotate();
    ck_ok(kevo_flush(store, &test_err));
    struct kevo_commit last = write_and_commit(commits[BATCHES], "x", "y");
    reopen();
    expect_error(kevo_resolve(store, commits[3], &test_err), KEVO_DIVERGED, "left the store's log");
    expect_error(kevo_resolve(store, nothing, &test_err), KEVO_DIVERGED, "left the store's log");
    ck_ok(kevo_resolve(store, last, &test_err));
}
END_TEST

START_TEST(resolving_what_is_in_tables_only) {
    struct kevo_commit commits[BATCHES + 1];
    fill_segments(0, commits);
    rotate();
    ck_ok(kevo_flush(store, &test_err));
    reopen();
    ck_assert(!kevo_needs_resolve(store));
    ck_assert(same(kevo_last_commit(store), commits[BATCHES]));
    ck_ok(kevo_resolve(store, commits[BATCHES], &test_err));
    struct kevo_commit b = write_and_doubt(commits[BATCHES], "x", "y");
    kill_and_reopen();
    ck_ok(kevo_resolve(store, commits[BATCHES], &test_err)); /* the tail's only batch goes */
    ck_assert_str_eq(dump(NULL), prefix(BATCHES));
    ck_assert_uint_gt(write_and_commit(commits[BATCHES], "x", "y").batch, b.batch);
}
END_TEST

START_TEST(virgins) {
    ck_assert(kevo_is_virgin(store));
    ck_ok(kevo_resolve(store, nothing, &test_err));
    write_and_doubt(nothing, "a", "1");
    ck_assert(!kevo_is_virgin(store)); /* it may be committed */
    kill_and_reopen();
    ck_assert(!kevo_is_virgin(store));
    ck_ok(kevo_resolve(store, nothing, &test_err)); /* what a rolled back creation leaves */
    ck_assert(kevo_is_virgin(store));
    kill_and_reopen();
    ck_assert(kevo_is_virgin(store));
    struct kevo_commit a = write_and_commit(nothing, "a", "1");
    ck_assert(!kevo_is_virgin(store));
    kill_and_reopen();
    ck_assert(!kevo_is_virgin(store));
    ck_ok(kevo_resolve(store, a, &test_err));
    rotate();
    ck_ok(kevo_flush(store, &test_err));
    kill_and_reopen();
    ck_assert(!kevo_is_virgin(store));
}
END_TEST

/* A store knows for good that something was committed. */
START_TEST(confirmation) {
    kevo_close(store);
    ck_assert(kevo_is_store(KV_DIR, &options));
    ck_ok(kevo_destroy(KV_DIR, &options, &test_err));
    ck_assert(!kevo_is_store(KV_DIR, &options));
    store = kv_open(&options);
    ck_assert(!kevo_is_confirmed(store));
    ck_ok(kevo_confirm(store, &test_err)); /* nothing is committed */
    ck_assert(!kevo_is_confirmed(store));
    ck_ok(kevo_resolve(store, nothing, &test_err));
    write_and_doubt(nothing, "a", "1");
    kill_and_reopen();
    ck_assert(!kevo_is_confirmed(store));
    write_and_commit(nothing, "a", "1");
    ck_assert(!kevo_is_confirmed(store));
    ck_ok(kevo_confirm(store, &test_err));
    ck_assert(kevo_is_confirmed(store));
    kill_and_reopen();
    ck_assert(kevo_is_confirmed(store));
}
END_TEST

START_TEST(snapshots_of_unknown_batches_are_refused) {
    kevo_snapshot *snap = (kevo_snapshot *)1;
    struct kevo_commit a = write_and_commit(nothing, "a", "1"), wrong = a;
    wrong.nonce ^= 1;
    expect_error(kevo_snapshot_at(store, wrong, &snap, &test_err), KEVO_DIVERGED, "batch 1");
    ck_assert_ptr_null(snap);
    wrong = (struct kevo_commit){a.batch + 1, 1};
    expect_error(kevo_snapshot_at(store, wrong, &snap, &test_err), KEVO_DIVERGED, "batch 2");
    struct kevo_commit b = write_and_doubt(a, "b", "2");
    ck_ok(kevo_snapshot_at(store, b, &snap, &test_err)); /* its authority may know more */
    ck_assert_uint_eq(kevo_snapshot_id(snap), b.batch);
    kevo_snapshot_free(snap);
    ck_ok(kevo_resolve(store, a, &test_err)); /* cut: it is nobody's now */
    expect_error(kevo_snapshot_at(store, b, &snap, &test_err), KEVO_DIVERGED, "");
    ck_ok(kevo_snapshot_at(store, a, &snap, &test_err));
    kevo_snapshot_free(snap);
    ck_ok(kevo_snapshot_at(store, nothing, &snap, &test_err));
    struct kevo_read read = {.snapshot = snap};
    ck_assert_str_eq(kv_dump(store, &read), "");
    kevo_snapshot_free(snap);
}
END_TEST

/* Versions that a compaction dropped are not missed silently, also after reopening. */
START_TEST(snapshots_too_old_are_refused) {
    kevo_snapshot *snap;
    struct kevo_commit a = write_and_commit(nothing, "k", "1");
    struct kevo_commit b = write_and_commit(a, "k", "2");
    ck_ok(kevo_resolve(store, b, &test_err));
    ck_ok(kevo_snapshot_at(store, a, &snap, &test_err));
    struct kevo_read read = {.snapshot = snap};
    rotate();
    ck_ok(kv_compact(store, &test_err));
    ck_assert_str_eq(kv_dump(store, &read), "k=1"); /* pinned */
    kevo_snapshot_free(snap);
    struct kevo_commit c = write_and_commit(b, "k", "3");
    ck_ok(kevo_resolve(store, c, &test_err));
    rotate();
    ck_ok(kv_compact(store, &test_err));
    if (_i == 1) reopen();
    if (_i == 2) kill_and_reopen();
    /* After a reopen nobody can have an old snapshot: such a database is an old copy. */
    int rc = _i ? KEVO_DIVERGED : KEVO_SNAPSHOT;
    const char *why = _i ? "different moments" : "too old";
    expect_error(kevo_snapshot_at(store, a, &snap, &test_err), rc, why);
    expect_error(kevo_snapshot_at(store, b, &snap, &test_err), rc, why);
    ck_ok(kevo_snapshot_at(store, c, &snap, &test_err));
    read.snapshot = snap;
    ck_assert_str_eq(kv_dump(store, &read), "k=3");
    kevo_snapshot_free(snap);
}
END_TEST

/* A reader that learnt its batch a moment ago but has not pinned it yet. */
START_TEST(replaced_versions_are_retained_for_a_while) {
    kevo_snapshot *snap;
    options.retain_ms = 60000;
    options.l0_trigger = 2;
    reopen();
    struct kevo_commit a = write_and_commit(nothing, "k", "1"), last = a;
    for (int i = 0; i < 4; i++) {
        last = write_and_commit(last, "k", "2");
        ck_ok(kevo_resolve(store, last, &test_err));
        rotate();
        while (kevo_step(store, &test_err) == 0)
            ;
    }
    ck_assert_uint_ge(kv_stats(store).compactions, 1);
    ck_ok(kevo_snapshot_at(store, a, &snap, &test_err));
    struct kevo_read read = {.snapshot = snap};
    ck_assert_str_eq(kv_dump(store, &read), "k=1");
    kevo_snapshot_free(snap);
}
END_TEST

START_TEST(a_full_memtable_wants_to_be_rotated) {
    struct kevo_commit last = nothing;
    options.memtable_bytes = 16 << 10;
    options.memtable_count = 2;
    reopen();
    for (int i = 0; i < 2000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%04d", i * 17 % 2000);
        last = write_and_commit(last, key, "some text");
        ck_ok(kevo_resolve(store, last, &test_err));
        if (kevo_wants_rotate(store)) rotate();
        ck_assert(!kevo_wants_rotate(store));
        ck_assert_uint_lt(kv_stats(store).memtable_used_bytes, 64 << 10);
    }
    ck_assert_uint_gt(kv_stats(store).flushes, 3);
    kill_and_reopen();
    ck_ok(kevo_resolve(store, last, &test_err));
    kevo_iter *it = kv_iter(store, NULL);
    ck_ok(kevo_iter_first(it, &test_err));
    for (int i = 0; i < 2000; i++) {
        char entry[32];
        snprintf(entry, sizeof entry, "%04d=some text", i);
        ck_assert_str_eq(kv_entry(it), entry);
        ck_ok(kevo_iter_next(it, &test_err));
    }
    ck_assert(!kevo_iter_valid(it));
    kevo_iter_free(it);
}
END_TEST

/* Batches that were cut take room in memory too, though there is nothing to flush. */
START_TEST(rolled_back_batches_do_not_fill_memory) {
    struct kevo_commit last = _i ? write_and_commit(nothing, "k", "v") : nothing;
    char value[2000];
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = 0;
    options.memtable_bytes = 16 << 10;
    reopen();
    for (int i = 0; i < 200; i++) {
        write_and_doubt(last, "x", value);
        ck_ok(kevo_resolve(store, last, &test_err));
        if (kevo_wants_rotate(store)) rotate();
        ck_assert(!kevo_wants_rotate(store));
        if (i % 50 == 20) kill_and_reopen();
        if (i % 50 == 40)
            while (kevo_step(store, &test_err) == 0)
                ;
    }
    ck_ok(kevo_resolve(store, last, &test_err));
    ck_assert_str_eq(dump(NULL), _i ? "k=v" : "");
    ck_assert_uint_lt(kv_stats(store).memtable_used_bytes, 200 << 10);
    kill_and_reopen();
    ck_ok(kevo_resolve(store, last, &test_err));
    ck_ok(kevo_flush(store, &test_err));
    kill_and_reopen();
    ck_assert(same(kevo_last_commit(store), last));
    ck_assert_str_eq(dump(NULL), _i ? "k=v" : "");
}
END_TEST

/* ---- the log's end, kept by the authority ------------------------------------------------ */

/* Two commits that only the log's end has, and a store that stopped before them. */
struct lost {
    struct env *before; /* the files without them */
    struct kevo_commit first, last;
    struct kevo_tail tail;
    uint8_t bytes[2000];
};

static void write_unsynced(struct kevo_commit *last, const char *key) {
    ck_ok(kevo_resolve(store, *last, &test_err));
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, key, "v");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_OFF, last, &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
}

static void lose_two(struct lost *lost) {
    struct kevo_tail tail;
    lost->first = lost->last = write_and_commit(nothing, "a", "v");
    lost->before = kv_copy(env);
    write_unsynced(&lost->last, "b");
    write_unsynced(&lost->last, "c");
    ck_ok(kevo_log_tail(store, sizeof lost->bytes, true, &tail, &test_err));
    ck_assert(tail.bytes.len > 0 && tail.bytes.len <= sizeof lost->bytes);
    memcpy(lost->bytes, tail.bytes.data, tail.bytes.len);
    lost->tail = tail;
    lost->tail.bytes.data = lost->bytes;
}

static void go_back(struct lost *lost) {
    kevo_close(store);
    env_memory_free(env);
    options.env = env = lost->before;
    store = kv_open(&options);
}

START_TEST(a_lost_end_is_put_back) {
    struct lost lost;
    lose_two(&lost);
    ck_assert(!kevo_lacks(store, lost.last));
    ck_ok(kevo_restore(store, lost.last, &lost.tail, &test_err)); /* nothing to do */
    go_back(&lost);
    ck_assert(kevo_lacks(store, lost.last));
    kevo_snapshot *snap;
    expect_error(kevo_snapshot_at(store, lost.last, &snap, &test_err), KEVO_DIVERGED, "");
    for (uint64_t n = 1;; n++) {
        fault_alloc_fail_at(n, false);
        int rc = kevo_restore(store, lost.last, &lost.tail, &test_err);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (rc) ck_assert_int_eq(rc, KEVO_NOMEM);
        if (!hit || rc == 0) break;
    }
    ck_assert(!kevo_lacks(store, lost.last));
    ck_ok(kevo_snapshot_at(store, lost.last, &snap, &test_err));
    struct kevo_read read = {.snapshot = snap};
    ck_assert_str_eq(kv_dump(store, &read), "a=v b=v c=v");
    kevo_snapshot_free(snap);
    kill_and_reopen();
    ck_assert(!kevo_lacks(store, lost.last));
    ck_ok(kevo_resolve(store, lost.last, &test_err));
    ck_assert_str_eq(dump(NULL), "a=v b=v c=v");
}
END_TEST

/* The first of the two records had reached the disk, in a sector whose other bytes are of the
 * segment's former life: between two records they mean nothing. Or the file ends there, within
 * the record's padding (`_i` 1) or right before it (2). */
START_TEST(an_end_of_which_the_disk_has_a_part) {
    struct lost lost;
    struct env_file *f;
    char path[64];
    lose_two(&lost);
    uint64_t end = WAL_RECORD_HEADER_BYTES + get_fixed64(lost.bytes + 8);
    ck_assert_uint_ne(end % WAL_ALIGN, 0);
    uint8_t stale[2 * WAL_SECTOR];
    memset(stale, 0xee, sizeof stale);
    memcpy(stale, lost.bytes, end);
    snprintf(path, sizeof path, KV_DIR "/%06u.wal", (unsigned)lost.tail.segment);
    ck_ok(lost.before->open(lost.before, path, ENV_WRITE, 0, &f, &test_err));
    ck_ok(lost.before->write(lost.before, f, lost.tail.offset, stale, sizeof stale, &test_err));
    uint64_t cut = lost.tail.offset + end + (_i == 1);
    if (_i) ck_ok(lost.before->truncate(lost.before, f, cut, &test_err));
    lost.before->close(lost.before, f);
    go_back(&lost);
    ck_assert(kevo_lacks(store, lost.last));
    ck_ok(kevo_restore(store, lost.last, &lost.tail, &test_err));
    ck_ok(kevo_resolve(store, lost.last, &test_err));
    ck_assert_str_eq(dump(NULL), "a=v b=v c=v");
    reopen();
    ck_ok(kevo_resolve(store, lost.last, &test_err));
    ck_assert_str_eq(dump(NULL), "a=v b=v c=v");
}
END_TEST

START_TEST(a_large_end_is_synced) {
    struct kevo_tail tail;
    struct kevo_commit last = write_and_commit(nothing, "a", "v");
    write_unsynced(&last, "b");
    uint64_t syncs = kv_stats(store).wal_syncs;
    ck_ok(kevo_log_tail(store, 10, false, &tail, &test_err));
    ck_assert_uint_eq(tail.bytes.len, 0);
    ck_assert_uint_eq(kv_stats(store).wal_syncs, syncs);
    ck_ok(kevo_log_tail(store, 10, true, &tail, &test_err));
    ck_assert_uint_eq(tail.bytes.len, 0);
    ck_assert_uint_eq(kv_stats(store).wal_syncs, syncs + 1);
    ck_ok(kevo_log_tail(store, 1000, true, &tail, &test_err));
    ck_assert_uint_eq(tail.bytes.len, 0); /* all is durable now */
}
END_TEST

static uint64_t begun_bytes;

static void note_begun(struct env *e, struct env_file *f, uint64_t offset, uint64_t len) {
    (void)e;
    (void)f;
    (void)offset;
    begun_bytes += len;
}

/* How much the disk begins with when a batch of so many bytes is prepared. */
static uint64_t begun_with(struct kevo_commit *last, size_t len, int sync) {
    static uint8_t value[100000];
    struct kevo_commit c;
    ck_ok(kevo_resolve(store, *last, &test_err));
    kevo_txn *t = kv_txn(store);
    ck_ok(kevo_txn_put(t, slice_of_str("k"), slice_of(value, len), &test_err));
    begun_bytes = 0;
    ck_ok(kevo_txn_prepare(t, sync, &c, &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    *last = c;
    return begun_bytes;
}

/* What the authority will not keep is on its way while the memtable takes the batch. */
START_TEST(the_disk_begins_with_a_long_batch) {
    struct kevo_tail tail;
    struct kevo_commit last = nothing;
    env->write_soon = note_begun;
    ck_assert_uint_eq(begun_with(&last, 100000, KEVO_SYNC_OFF), 0);
    ck_ok(kevo_log_tail(store, 0, true, &tail, &test_err));
    ck_assert_uint_eq(begun_with(&last, 100, KEVO_SYNC_SOON), 0);
    ck_assert_uint_gt(begun_with(&last, 100000, KEVO_SYNC_SOON), 100000);
    ck_assert_uint_lt(begun_with(&last, 100000, KEVO_SYNC_SOON), 110000); /* the rest has begun */
    uint64_t syncs = kv_stats(store).wal_syncs;
    ck_ok(kevo_log_tail(store, 1000, true, &tail, &test_err));
    ck_assert_uint_eq(tail.bytes.len, 0);
    ck_assert_uint_eq(kv_stats(store).wal_syncs, syncs + 1);
}
END_TEST

/* Kept by a copy that went its own way, or damaged: nothing is written. */
START_TEST(an_end_that_does_not_belong_is_refused) {
    struct lost lost;
    struct kevo_tail tail;
    lose_two(&lost);
    go_back(&lost);
    ck_assert(kevo_lacks(store, lost.last));
    size_t size;
    char *before = kv_contents(env, &size);
    tail = lost.tail;
    tail.bytes.len = 0;
    expect_unchanged(kevo_restore(store, lost.last, &tail, &test_err), "", before, size);
    tail = lost.tail;
    tail.bytes.len -= 8;
    expect_unchanged(kevo_restore(store, lost.last, &tail, &test_err), "", before, size);
    tail = lost.tail;
    tail.segment++;
    expect_unchanged(kevo_restore(store, lost.last, &tail, &test_err), "", before, size);
    tail = lost.tail;
    tail.offset += 512;
    expect_unchanged(kevo_restore(store, lost.last, &tail, &test_err), "", before, size);
    tail.offset = 0;
    expect_unchanged(kevo_restore(store, lost.last, &tail, &test_err), "", before, size);
    for (size_t i = 0; i < lost.tail.bytes.len; i += 5) {
        lost.bytes[i] ^= 4;
        int rc = kevo_restore(store, lost.last, &lost.tail, &test_err);
        lost.bytes[i] ^= 4;
        if (rc == 0) break; /* padding between two records means nothing */
        expect_unchanged(rc, "", before, size);
    }
    free(before);
}
END_TEST

START_TEST(the_end_of_a_copy_that_went_its_own_way) {
    struct lost lost;
    lose_two(&lost);
    go_back(&lost);
    write_and_commit(lost.first, "x", "v");
    reopen();
    ck_assert(kevo_lacks(store, lost.last));
    size_t size;
    char *before = kv_contents(env, &size);
    expect_unchanged(kevo_restore(store, lost.last, &lost.tail, &test_err), "", before, size);
    free(before);
}
END_TEST

static void add_authority_tests(TCase *tc) {
    tcase_add_test(tc, doubt_ends_both_ways);
    tcase_add_loop_test(tc, after_opening_the_tail_is_undecided, 0, 2);
    tcase_add_loop_test(tc, resolving_to_an_older_batch, 0, 1 << BATCHES);
    tcase_add_test(tc, ids_that_were_cut_are_not_used_again);
    tcase_add_loop_test(tc, another_history_is_refused_and_nothing_changed, 0, 2);
    tcase_add_test(tc, what_left_the_log_cannot_be_cut);
    tcase_add_test(tc, resolving_what_is_in_tables_only);
    tcase_add_test(tc, virgins);
    tcase_add_test(tc, confirmation);
    tcase_add_test(tc, snapshots_of_unknown_batches_are_refused);
    tcase_add_loop_test(tc, snapshots_too_old_are_refused, 0, 3);
    tcase_add_test(tc, replaced_versions_are_retained_for_a_while);
    tcase_add_test(tc, a_full_memtable_wants_to_be_rotated);
    tcase_add_loop_test(tc, rolled_back_batches_do_not_fill_memory, 0, 2);
}

int main(void) {
    Suite *suite = suite_create("authority");
    static const struct {
        const char *name;
        void (*setup)(void);
    } cases[] = {{"authority", setup_external}, {"authority over runs", setup_external_runs}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TCase *tc = tcase_create(cases[i].name);
        tcase_add_checked_fixture(tc, cases[i].setup, teardown);
        add_authority_tests(tc);
        suite_add_tcase(suite, tc);
    }

    TCase *tails = tcase_create("tails");
    tcase_add_checked_fixture(tails, setup_external, teardown);
    tcase_add_test(tails, a_lost_end_is_put_back);
    tcase_add_loop_test(tails, an_end_of_which_the_disk_has_a_part, 0, 3);
    tcase_add_test(tails, a_large_end_is_synced);
    tcase_add_test(tails, the_disk_begins_with_a_long_batch);
    tcase_add_test(tails, an_end_that_does_not_belong_is_refused);
    tcase_add_test(tails, the_end_of_a_copy_that_went_its_own_way);
    suite_add_tcase(suite, tails);

    return harness_run(suite);
}
