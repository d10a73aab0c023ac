#include "engine/kevo.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/slice.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/files.h"
#include "tests/lib/memory_store.h"

/* Expect a failure with this code whose message has `part` in it. */
static void expect_error(int rc, int code, const char *part) {
    ck_assert_msg(rc == code, "expected %d, got %d: %s", code, rc, test_err.msg);
    ck_assert_int_eq(test_err.rc, code);
    ck_assert_msg(strstr(test_err.msg, part), "\"%s\" does not say \"%s\"", test_err.msg, part);
}

static void expect_open_error(const struct kevo_options *o, const char *dir, int code,
                              const char *part) {
    kevo_store *s = store;
    expect_error(kevo_open(dir, o, &s, &test_err), code, part);
    ck_assert_ptr_null(s);
}

/* ---- opening -------------------------------------------------------------------- */

START_TEST(open_makes_a_store_only_when_wanted) {
    struct kevo_options o = options;
    kevo_store *s;
    o.create_if_missing = false;
    expect_open_error(&o, "/missing", KEVO_CANTOPEN, "/missing: there is no kevo store");
    ck_assert(!files_exist(env, "/missing"));
    ck_ok(env->make_dir(env, "/empty", 0700, &test_err));
    expect_open_error(&o, "/empty", KEVO_CANTOPEN, "/empty: there is no kevo store");
    ck_ok(env->remove_dir(env, "/empty", &test_err)); /* nothing was put there */
    o.create_if_missing = true;
    expect_open_error(&o, "/missing/below", KEVO_CANTOPEN, "/missing/below");
    ck_ok(kevo_open("/missing", &o, &s, &test_err));
    ck_assert(kevo_is_virgin(s));
    kevo_close(s);
    o.error_if_exists = true;
    expect_open_error(&o, "/missing", KEVO_CANTOPEN, "/missing: there is a store already");
}
END_TEST

START_TEST(open_takes_an_empty_directory) {
    kevo_store *s;
    ck_ok(env->make_dir(env, "/empty", 0700, &test_err));
    ck_ok(kevo_open("/empty", &options, &s, &test_err));
    kevo_close(s);
}
END_TEST

START_TEST(what_was_written_is_there_after_reopening) {
    for (int i = 0; i < 3; i++) {
        char key[] = {'a', (char)('0' + i), 0};
        kv_put(store, key, "v");
        reopen();
    }
    ck_assert_str_eq(kv_dump(store, NULL), "a0=v a1=v a2=v");
    ck_ok(kevo_flush(store, &test_err));
    kv_delete(store, "a1");
    reopen();
    ck_assert_str_eq(kv_dump(store, NULL), "a0=v a2=v");
    ck_assert_uint_eq(kv_stats(store).recovered_batches, 1);
}
END_TEST

START_TEST(an_open_store_is_not_destroyed) {
    expect_error(kevo_destroy(KV_DIR, &options, &test_err), KEVO_BUSY, "/store");
    kv_put(store, "a", "1");
    reopen();
    ck_assert_str_eq(kv_dump(store, NULL), "a=1");
}
END_TEST

START_TEST(another_authority_is_refused) {
    struct kevo_options o = options;
    kevo_close(store);
    store = NULL;
    o.authority = KEVO_AUTHORITY_EXTERNAL;
    expect_open_error(&o, KV_DIR, KEVO_INVALID, "/store: the store decides its commits itself");
}
END_TEST

START_TEST(a_directory_with_something_else_is_left_alone) {
    ck_ok(env->make_dir(env, "/home", 0700, &test_err));
    files_write(env, "/home/letter", slice_of_str("dear"));
    expect_open_error(&options, "/home", KEVO_CANTOPEN,
                      "/home: the directory holds something else");
    ck_assert(!files_exist(env, "/home/LOCK") && !files_exist(env, "/home/MANIFEST"));
    expect_error(kevo_destroy("/home", &options, &test_err), KEVO_CANTOPEN, "/home");
    expect_open_error(&options, "/home/letter", KEVO_CANTOPEN, "/home/letter: not a directory");
    ck_assert(files_exist(env, "/home/letter"));
}
END_TEST

START_TEST(data_without_a_manifest_is_damage) {
    kv_put(store, "a", "1");
    kevo_close(store);
    store = NULL;
    ck_ok(env->unlink(env, KV_DIR "/MANIFEST", &test_err));
    expect_open_error(&options, KV_DIR, KEVO_CORRUPT, "/store/MANIFEST: missing");
    ck_assert(files_exist(env, KV_DIR "/000001.wal"));
}
END_TEST

START_TEST(a_name_too_long_is_refused) {
    char name[5000];
    memset(name, 'x', sizeof name - 1);
    name[0] = '/';
    name[sizeof name - 1] = 0;
    expect_open_error(&options, name, KEVO_CANTOPEN, "too long");
}
END_TEST

START_TEST(opening_and_reading_changes_no_file) {
    kv_put(store, "a", "1");
    ck_ok(kevo_flush(store, &test_err));
    kv_put(store, "b", "2");
    kevo_close(store);
    files_write(env, KV_DIR "/000009.sst", slice_of_str("left by a crash"));
    size_t before_size, after_size;
    char *before = kv_contents(env, &before_size);
    options.background = true;
    store = kv_open(&options);
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=2");
    kevo_close(store);
    char *after = kv_contents(env, &after_size);
    ck_assert(before_size == after_size && memcmp(before, after, before_size) == 0);
    free(before);
    free(after);
    store = kv_open(&options);
    kv_put(store, "c", "3"); /* a writer removes what a crash left */
    ck_assert(!files_exist(env, KV_DIR "/000009.sst"));
}
END_TEST

START_TEST(destroy_removes_a_store) {
    for (int i = 0; i < 2; i++) {
        kv_put(store, "a", "1");
        ck_ok(kevo_flush(store, &test_err));
        kv_put(store, "b", "2");
        uint8_t uuid[16];
        memcpy(uuid, kevo_store_uuid(store), 16);
        kevo_close(store);
        ck_ok(kevo_destroy(KV_DIR, &options, &test_err));
        ck_assert(!files_exist(env, KV_DIR));
        store = kv_open(&options);
        ck_assert_str_eq(kv_dump(store, NULL), "");
        ck_assert_int_ne(memcmp(uuid, kevo_store_uuid(store), 16), 0);
    }
}
END_TEST

START_TEST(destroy_leaves_what_is_not_its_own) {
    kevo_close(store);
    store = NULL;
    files_write(env, KV_DIR "/note", slice_of_str("mine"));
    ck_ok(kevo_destroy(KV_DIR, &options, &test_err));
    ck_assert(files_exist(env, KV_DIR "/note"));
    ck_assert(!files_exist(env, KV_DIR "/MANIFEST") && !files_exist(env, KV_DIR "/LOCK"));
    expect_error(kevo_destroy(KV_DIR, &options, &test_err), KEVO_CANTOPEN, "no kevo store");
    expect_error(kevo_destroy("/missing", &options, &test_err), KEVO_CANTOPEN, "no kevo store");
}
END_TEST

START_TEST(close_takes_null) {
    kevo_close(NULL);
    kevo_batch_free(NULL);
    kevo_iter_free(NULL);
    kevo_snapshot_free(NULL);
    kevo_txn_unref(NULL);
    struct kevo_value v = {.slice = {NULL, 0}};
    kevo_value_release(&v);
}
END_TEST

/* ---- writing ---------------------------------------------------------------------- */

START_TEST(put_delete_and_overwrite) {
    ck_assert_ptr_null(kv_get(store, NULL, "a"));
    kv_put(store, "a", "1");
    kv_put(store, "b", "2");
    kv_put(store, "a", "3");
    ck_assert_str_eq(kv_dump(store, NULL), "a=3 b=2");
    kv_delete(store, "a");
    kv_delete(store, "never there");
    ck_assert_ptr_null(kv_get(store, NULL, "a"));
    ck_assert_str_eq(kv_dump(store, NULL), "b=2");
    kv_put(store, "a", "4");
    ck_assert_str_eq(kv_get(store, NULL, "a"), "4");
}
END_TEST

/* Each way to store what was written: as it is, reopened, flushed, compacted. */
enum { AS_IT_IS, REOPENED, FLUSHED, FLUSHED_REOPENED, COMPACTED, PLACES };

static void bring_to(int place) {
    if (place == FLUSHED || place == FLUSHED_REOPENED) ck_ok(kevo_flush(store, &test_err));
    if (place == COMPACTED) ck_ok(kv_compact(store, &test_err));
    if (place == REOPENED || place == FLUSHED_REOPENED) reopen();
}

START_TEST(empty_values_are_values) {
    kv_put(store, "a", "");
    ck_ok(kevo_put(store, kv_slice("b"), (slice){NULL, 0}, &test_err));
    bring_to(_i);
    ck_assert_str_eq(kv_get(store, NULL, "a"), "");
    ck_assert_str_eq(kv_dump(store, NULL), "a= b=");
    kv_delete(store, "a");
    bring_to(_i);
    ck_assert_str_eq(kv_dump(store, NULL), "b=");
}
END_TEST

static void expect_value(slice key, slice value) {
    struct kevo_value v;
    ck_ok(kevo_get(store, NULL, key, &v, &test_err));
    ck_assert(slice_eq(v.slice, value));
    kevo_value_release(&v);
}

START_TEST(keys_of_64_kb) {
    size_t value_bytes = 3 << 20;
    uint8_t *long_key = malloc(KEVO_MAX_KEY_BYTES), *value = malloc(value_bytes);
    memset(long_key, 'k', KEVO_MAX_KEY_BYTES);
    for (size_t i = 0; i < value_bytes; i++)
        value[i] = (uint8_t)(i * i >> 3);
    slice key = slice_of(long_key, KEVO_MAX_KEY_BYTES), shorter = {long_key, key.len - 1};
    ck_ok(kevo_put(store, key, slice_of(value, value_bytes), &test_err));
    ck_ok(kevo_put(store, shorter, slice_of("s", 1), &test_err));
    bring_to(_i);
    expect_value(key, slice_of(value, value_bytes));
    expect_value(shorter, slice_of("s", 1));
    kevo_iter *it = kv_iter(store, NULL);
    ck_ok(kevo_iter_first(it, &test_err));
    ck_assert(slice_eq(kevo_iter_key(it), shorter));
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert(slice_eq(kevo_iter_key(it), key));
    ck_assert(slice_eq(kevo_iter_value(it), slice_of(value, value_bytes)));
    kevo_iter_free(it);
    free(long_key);
    free(value);
}
END_TEST

START_TEST(keys_and_values_beyond_the_limits_are_refused) {
    static uint8_t bytes[KEVO_MAX_KEY_BYTES + 1];
    slice k = kv_slice("k"), empty = {NULL, 0}, long_key = slice_of(bytes, sizeof bytes),
          long_value = slice_of(bytes, (size_t)KEVO_MAX_VALUE_BYTES + 1);
    kevo_batch *b;
    kevo_txn *t = kv_txn(store);
    ck_ok(kevo_batch_new(&b, &test_err));
    expect_error(kevo_put(store, empty, k, &test_err), KEVO_INVALID, "empty");
    expect_error(kevo_put(store, long_key, k, &test_err), KEVO_TOOBIG, "65537");
    expect_error(kevo_put(store, k, long_value, &test_err), KEVO_TOOBIG, "2147483648");
    expect_error(kevo_delete(store, empty, &test_err), KEVO_INVALID, "empty");
    expect_error(kevo_delete(store, long_key, &test_err), KEVO_TOOBIG, "65537");
    expect_error(kevo_batch_put(b, empty, k, &test_err), KEVO_INVALID, "empty");
    expect_error(kevo_batch_put(b, long_key, k, &test_err), KEVO_TOOBIG, "65537");
    expect_error(kevo_batch_put(b, k, long_value, &test_err), KEVO_TOOBIG, "2147483648");
    expect_error(kevo_batch_delete(b, long_key, &test_err), KEVO_TOOBIG, "65537");
    expect_error(kevo_txn_put(t, empty, k, &test_err), KEVO_INVALID, "empty");
    expect_error(kevo_txn_put(t, long_key, k, &test_err), KEVO_TOOBIG, "65537");
    expect_error(kevo_txn_put(t, k, long_value, &test_err), KEVO_TOOBIG, "2147483648");
    expect_error(kevo_txn_delete(t, long_key, &test_err), KEVO_TOOBIG, "65537");
    ck_assert(kevo_txn_is_empty(t));
    ck_ok(kevo_apply_batch(store, b, NULL, &test_err));
    ck_assert_str_eq(kv_dump(store, NULL), "");
    struct kevo_value v;
    ck_assert_int_eq(kevo_get(store, NULL, empty, &v, &test_err), KEVO_NOTFOUND);
    ck_assert_int_eq(kevo_get(store, NULL, long_key, &v, &test_err), KEVO_NOTFOUND);
    kevo_txn_unref(t);
    kevo_batch_free(b);
}
END_TEST

START_TEST(a_batch_takes_the_last_change_of_a_key) {
    kevo_batch *b;
    uint64_t first, second;
    ck_ok(kevo_batch_new(&b, &test_err));
    ck_ok(kevo_batch_put(b, kv_slice("b"), kv_slice("1"), &test_err));
    ck_ok(kevo_batch_put(b, kv_slice("a"), kv_slice("2"), &test_err));
    ck_ok(kevo_batch_put(b, kv_slice("c"), kv_slice("3"), &test_err));
    ck_ok(kevo_batch_put(b, kv_slice("b"), kv_slice("4"), &test_err));
    ck_ok(kevo_batch_delete(b, kv_slice("c"), &test_err));
    ck_ok(kevo_batch_delete(b, kv_slice("d"), &test_err));
    ck_ok(kevo_batch_put(b, kv_slice("d"), kv_slice("5"), &test_err));
    ck_ok(kevo_apply_batch(store, b, &first, &test_err));
    bring_to(_i);
    ck_assert_str_eq(kv_dump(store, NULL), "a=2 b=4 d=5");
    kv_delete(store, "a");
    ck_ok(kevo_apply_batch(store, b, &second, &test_err)); /* again */
    ck_assert_uint_gt(second, first);
    ck_assert_str_eq(kv_dump(store, NULL), "a=2 b=4 d=5");
    kevo_batch_reset(b);
    ck_ok(kevo_batch_delete(b, kv_slice("b"), &test_err));
    ck_ok(kevo_apply_batch(store, b, NULL, &test_err));
    bring_to(_i);
    ck_assert_str_eq(kv_dump(store, NULL), "a=2 d=5");
    kevo_batch_free(b);
}
END_TEST

START_TEST(an_empty_batch_is_no_batch) {
    kevo_batch *b;
    uint64_t id = 99;
    ck_ok(kevo_batch_new(&b, &test_err));
    ck_ok(kevo_apply_batch(store, b, &id, &test_err));
    ck_assert_uint_eq(id, kevo_last_commit(store).batch);
    ck_assert_uint_eq(kv_stats(store).batches, 0);
    ck_ok(kevo_batch_put(b, kv_slice("b"), kv_slice("1"), &test_err));
    kevo_batch_reset(b);
    kv_put(store, "a", "1");
    ck_ok(kevo_apply_batch(store, b, &id, &test_err));
    ck_assert_uint_eq(id, kevo_last_commit(store).batch);
    ck_assert_str_eq(kv_dump(store, NULL), "a=1");
    kevo_batch_free(b);
}
END_TEST

START_TEST(batch_ids_grow_over_reopening) {
    struct kevo_commit last = kevo_last_commit(store);
    ck_assert_uint_eq(last.batch, 0);
    ck_assert_uint_eq(last.nonce, 0);
    for (int i = 0; i < 8; i++) {
        kv_put(store, "a", "1");
        struct kevo_commit now = kevo_last_commit(store);
        ck_assert_uint_gt(now.batch, last.batch);
        ck_assert_uint_ne(now.nonce, 0);
        ck_assert_uint_ne(now.nonce, last.nonce);
        last = now;
        if (i % 2) ck_ok(kevo_flush(store, &test_err));
        reopen();
        now = kevo_last_commit(store);
        ck_assert(now.batch == last.batch && now.nonce == last.nonce);
    }
}
END_TEST

START_TEST(simple_writes_need_the_stores_own_authority) {
    kevo_store *s;
    kevo_batch *b;
    uint64_t id = 99;
    struct kevo_options o = options;
    o.authority = KEVO_AUTHORITY_EXTERNAL;
    ck_ok(kevo_open("/external", &o, &s, &test_err));
    ck_ok(kevo_batch_new(&b, &test_err));
    ck_ok(kevo_batch_put(b, kv_slice("b"), kv_slice("1"), &test_err));
    expect_error(kevo_put(s, kv_slice("a"), kv_slice("1"), &test_err), KEVO_INVALID, "/external");
    expect_error(kevo_delete(s, kv_slice("a"), &test_err), KEVO_INVALID, "/external");
    expect_error(kevo_apply_batch(s, b, &id, &test_err), KEVO_INVALID, "/external");
    ck_assert_uint_eq(id, 0);
    kevo_batch_free(b);
    kevo_close(s);
}
END_TEST

START_TEST(sync_modes) {
    options.sync = _i;
    options.wal_sync_bytes = 1000;
    reopen();
    kv_put(store, "a", "1"); /* opens the log */
    uint64_t before = kv_stats(store).wal_syncs;
    for (int i = 0; i < 100; i++)
        kv_put(store, "a", "2");
    uint64_t syncs = kv_stats(store).wal_syncs - before;
    if (_i == KEVO_SYNC_OFF) ck_assert_uint_eq(syncs, 0);
    if (_i == KEVO_SYNC_FULL) ck_assert_uint_eq(syncs, 100);
    if (_i == KEVO_SYNC_NORMAL) ck_assert(syncs >= 5 && syncs <= 15);
}
END_TEST

/* ---- upkeep ------------------------------------------------------------------------ */

static void put_letters(const char *letters, const char *value) {
    for (; *letters; letters++) {
        char key[] = {*letters, 0};
        kv_put(store, key, value);
    }
}

START_TEST(flush_moves_everything_to_tables) {
    put_letters("abc", "1");
    ck_assert_uint_eq(kv_tables(store), 0);
    ck_ok(kevo_flush(store, &test_err));
    ck_assert_uint_eq(kv_tables(store), 1);
    ck_assert_uint_eq(kv_files(env, ".wal"), 1);
    ck_assert_uint_eq(kv_files(env, ".sst"), 1);
    ck_assert_uint_eq(kv_stats(store).flushes, 1);
    ck_ok(kevo_flush(store, &test_err)); /* nothing to do */
    ck_assert_uint_eq(kv_stats(store).flushes, 1);
    reopen();
    ck_assert_uint_eq(kv_stats(store).recovered_batches, 0);
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=1 c=1");
}
END_TEST

START_TEST(compact_leaves_one_level_and_no_garbage) {
    for (int i = 0; i < 5; i++) {
        put_letters("abcdef", "x");
        kv_delete(store, "c");
        ck_ok(kevo_flush(store, &test_err));
    }
    ck_ok(kv_compact(store, &test_err));
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_eq(stats.table_entries, 5);
    ck_assert_uint_eq(stats.table_tombstones, 0);
    ck_assert_uint_eq(stats.table_count[0], 0);
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(store));
    ck_ok(kv_compact(store, &test_err)); /* nothing to do */
    put_letters("abcdef", "x");
    for (const char *k = "abcdef"; *k; k++)
        kv_delete(store, (char[]){*k, 0});
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(kv_tables(store), 0);
    ck_assert_uint_eq(kv_files(env, ".sst"), 0);
    reopen();
    ck_assert_str_eq(kv_dump(store, NULL), "");
}
END_TEST

static bool cancel_after(void *arg, uint64_t done_bytes, uint64_t total_bytes) {
    (void)done_bytes;
    (void)total_bytes;
    int *left = arg;
    return (*left)-- <= 0;
}

START_TEST(a_cancelled_compaction_leaves_the_store_sound) {
    int polls = _i;
    for (int i = 0; i < 3; i++) {
        put_letters("abcdef", "x");
        ck_ok(kevo_flush(store, &test_err));
    }
    int rc = kevo_compact(store, kv_all, kv_all, cancel_after, &polls, &test_err);
    if (_i == 0) expect_error(rc, KEVO_CANCELLED, "cancelled");
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(store));
    ck_assert_str_eq(kv_dump(store, NULL), "a=x b=x c=x d=x e=x f=x");
    ck_ok(kevo_verify(store, &test_err));
    kv_put(store, "g", "y");
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(kv_stats(store).table_count[0], 0);
    ck_assert_uint_eq(kv_stats(store).table_entries, 7);
}
END_TEST

static unsigned step_all(void) {
    unsigned steps = 0;
    int rc;
    while ((rc = kevo_step(store, &test_err)) == 0)
        steps++;
    ck_assert_int_eq(rc, KEVO_NOTFOUND);
    return steps;
}

START_TEST(step_does_the_work_of_the_threads) {
    ck_assert_uint_eq(step_all(), 0);
    for (unsigned i = 0; i < options.l0_trigger; i++) {
        put_letters("abc", "1");
        ck_ok(kevo_flush(store, &test_err));
    }
    ck_assert_uint_eq(kv_stats(store).table_count[0], options.l0_trigger);
    ck_assert_uint_ge(step_all(), 1);
    ck_assert_uint_eq(kv_stats(store).table_count[0], 0);
    ck_assert_uint_eq(kv_stats(store).compactions, 1);
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=1 c=1");
}
END_TEST

static void put_many(unsigned from, unsigned to) {
    for (unsigned i = from; i < to; i++) {
        char key[16], value[300];
        snprintf(key, sizeof key, "%06u", i * 7919 % 1000003);
        snprintf(value, sizeof value, "%0280u", i);
        must(kevo_put(store, kv_slice(key), kv_slice(value), &test_err));
    }
}

static unsigned count_all(void) {
    unsigned n = 0;
    kevo_iter *it = kv_iter(store, NULL);
    must(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); n++)
        must(kevo_iter_next(it, &test_err));
    kevo_iter_free(it);
    return n;
}

/* Writers that find all memtables full, or level 0, must do or await the work. */
START_TEST(full_memtables_do_not_stop_a_store) {
    options.background = _i;
    options.memtable_bytes = 64 << 10;
    options.memtable_count = 2;
    options.l0_trigger = options.l0_slow = options.l0_stop = 2;
    options.sync = KEVO_SYNC_OFF;
    reopen();
    put_many(0, 3000);
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_gt(stats.stalls, 0);
    ck_assert_uint_le(stats.immutable_count, 1);
    ck_assert_uint_le(stats.table_count[0], 2);
    ck_assert_uint_lt(stats.memtable_used_bytes, 2 * (256 << 10));
    ck_assert_uint_eq(count_all(), 3000);
    reopen();
    ck_assert_uint_eq(count_all(), 3000);
    ck_ok(kevo_verify(store, &test_err));
}
END_TEST

/* Called in the middle of a manual compaction, when no other runs: level 0 grows. */
static bool put_meanwhile(void *arg, uint64_t done_bytes, uint64_t total_bytes) {
    (void)done_bytes;
    (void)total_bytes;
    struct kevo_stats *after = arg;
    if (after->batches) return false;
    put_many(0, options.l0_slow < options.l0_stop ? 1500 : 750);
    ck_ok(kevo_flush(store, &test_err));
    *after = kv_stats(store);
    return false;
}

START_TEST(writers_are_slowed_before_they_are_stopped) {
    struct kevo_stats stats = {0};
    options.background = true;
    options.memtable_bytes = 32 << 10;
    options.memtable_count = 16; /* less than half will do, however late the flusher comes */
    options.l0_trigger = 2;      /* the first table waits for the manual compaction */
    options.l0_slow = _i ? 4 : 100;
    options.l0_stop = 100;
    options.sync = KEVO_SYNC_OFF;
    reopen();
    put_letters("abc", "1");
    ck_ok(kevo_compact(store, kv_all, kv_all, put_meanwhile, &stats, &test_err));
    ck_assert_uint_gt(stats.table_count[0], 5);
    if (_i)
        ck_assert(stats.stalls > 3 && stats.stall_us > 1000);
    else
        ck_assert_uint_eq(stats.stalls, 0);
    ck_assert_uint_eq(count_all(), _i ? 1503 : 753);
}
END_TEST

START_TEST(a_small_memtable_holds_more_than_one_batch) {
    options.memtable_bytes = 4096 << _i;
    reopen();
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "%06d", i);
        kv_put(store, key, "a value of twenty bytes");
    }
    ck_ok(kevo_flush(store, &test_err));
    /* A hundred entries of about eighty bytes each in memory. */
    ck_assert_uint_le(kv_stats(store).flushes, 1 + 2 * 100 * 80 / options.memtable_bytes);
}
END_TEST

START_TEST(threads_flush_and_compact) {
    options.background = true;
    options.memtable_bytes = 64 << 10;
    options.sync = KEVO_SYNC_OFF;
    reopen();
    put_many(0, 5000);
    ck_ok(kevo_flush(store, &test_err));
    ck_ok(kv_compact(store, &test_err));
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_gt(stats.flushes, 5);
    ck_assert_uint_eq(stats.table_entries, 5000);
    ck_assert_uint_eq(stats.immutable_count, 0);
    ck_assert_uint_eq(count_all(), 5000);
}
END_TEST

START_TEST(closing_with_work_pending) {
    options.background = true;
    options.memtable_bytes = 64 << 10;
    options.l0_trigger = 2;
    options.sync = KEVO_SYNC_OFF;
    for (unsigned i = 0; i < 20; i++) {
        reopen();
        put_many(i * 300, i * 300 + 300);
    }
    reopen();
    ck_assert_uint_eq(count_all(), 6000);
    ck_ok(kevo_verify(store, &test_err));
}
END_TEST

START_TEST(statistics_count) {
    struct kevo_stats stats;
    struct kevo_value v;
    put_letters("abc", "12");
    kv_delete(store, "a");
    ck_ok(kevo_get(store, NULL, kv_slice("b"), &v, &test_err));
    kevo_value_release(&v);
    ck_assert_int_eq(kevo_get(store, NULL, kv_slice("a"), &v, &test_err), KEVO_NOTFOUND);
    kv_dump(store, NULL);
    stats = kv_stats(store);
    ck_assert_uint_eq(stats.batches, 4);
    ck_assert_uint_eq(stats.puts, 3);
    ck_assert_uint_eq(stats.deletes, 1);
    ck_assert_uint_eq(stats.user_bytes, 10);
    ck_assert_uint_eq(stats.gets, 2);
    ck_assert_uint_eq(stats.gets_found, 1);
    ck_assert_uint_eq(stats.iterators, 1);
    ck_assert_uint_eq(stats.seeks, 2);
    ck_assert_uint_eq(stats.last_batch, 4);
    ck_assert_uint_gt(stats.wal_bytes, 100);
    ck_assert_uint_gt(stats.memtable_used_bytes, 100);
    ck_ok(kevo_flush(store, &test_err));
    stats = kv_stats(store);
    ck_assert_uint_eq(stats.flushes, 1);
    ck_assert_uint_gt(stats.flush_bytes, 0);
    ck_assert_uint_eq(stats.level_bytes[0], stats.flush_bytes);
    ck_assert_uint_eq(stats.table_tombstones, 1);
    ck_ok(kevo_get(store, NULL, kv_slice("b"), &v, &test_err));
    kevo_value_release(&v);
    ck_assert_uint_ge(kv_stats(store).filter_checks, 1);
}
END_TEST

START_TEST(estimates_follow_the_tables) {
    slice none = {NULL, 0};
    ck_assert_uint_eq(kevo_approximate_count(store, none, none), 0);
    options.sync = KEVO_SYNC_OFF;
    reopen();
    put_many(0, 1000);
    ck_assert_uint_eq(kevo_approximate_count(store, none, none), 1000);
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(kevo_approximate_count(store, none, none), 1000);
    uint64_t part = kevo_approximate_count(store, kv_slice("250000"), kv_slice("500000"));
    ck_assert_msg(part > 200 && part < 300, "%llu", (unsigned long long)part);
    ck_assert_uint_eq(kevo_approximate_count(store, kv_slice("x"), kv_slice("y")), 0);
}
END_TEST

/* The first block of the first table is not what it was. */
static void damage(void) {
    struct env_file *f;
    uint8_t byte;
    size_t got;
    kevo_close(store);
    ck_ok(env->open(env, KV_DIR "/000001.sst", ENV_READ | ENV_WRITE, 0, &f, &test_err));
    ck_ok(env->read(env, f, 30, &byte, 1, &got, &test_err));
    byte ^= 1;
    ck_ok(env->write(env, f, 30, &byte, 1, &test_err));
    env->close(env, f);
    store = kv_open(&options);
}

START_TEST(verify_finds_damage_and_names_the_table) {
    put_letters("abcdefgh", "some value that takes some room");
    ck_ok(kevo_flush(store, &test_err));
    ck_ok(kevo_verify(store, &test_err));
    damage();
    expect_error(kevo_verify(store, &test_err), KEVO_CORRUPT, "/store/000001.sst");
    struct kevo_value v;
    expect_error(kevo_get(store, NULL, kv_slice("a"), &v, &test_err), KEVO_CORRUPT,
                 "/store/000001.sst");
    /* Of several keys those before it are got all the same. */
    slice keys[] = {kv_slice("0"), kv_slice("a"), kv_slice("0")};
    struct kevo_value values[3];
    bool found[3];
    unsigned count = 3;
    ck_ok(kevo_get_many(store, NULL, keys, &count, values, found, &test_err));
    ck_assert(count == 1 && !found[0]);
    count = 2;
    expect_error(kevo_get_many(store, NULL, keys + 1, &count, values, found, &test_err),
                 KEVO_CORRUPT, "/store/000001.sst");
    ck_assert_uint_eq(count, 0);
}
END_TEST

/* One of several keys fails, and blocks of those behind it are pinned already: closing the store
 * asserts that no pin is left. */
START_TEST(what_is_held_for_keys_behind_a_failure_is_let_go_of) {
    slice keys[] = {kv_slice("791900"), kv_slice("000000"), kv_slice("950280"), kv_slice("079190")};
    struct kevo_value values[4];
    bool found[4];
    unsigned count;
    put_many(0, 1000);
    ck_ok(kevo_flush(store, &test_err));
    damage();
    for (int i = 0; i < 4; i++) { /* into the cache */
        int rc = kevo_get(store, NULL, keys[i], &values[i], &test_err);
        ck_assert_int_eq(rc, i == 1 ? KEVO_CORRUPT : 0);
        kevo_value_release(&values[i]);
    }
    count = 4;
    ck_ok(kevo_get_many(store, NULL, keys, &count, values, found, &test_err));
    ck_assert(count == 1 && found[0]);
    kevo_value_release(&values[0]);
}
END_TEST

/* Keys that are not there between those of one block do not have it decompressed for each. */
START_TEST(a_block_is_brought_in_once_for_many_keys) {
    enum { GROUP = 16 };
    static const char value[40] = "as long as those of others, and alike";
    char text[GROUP][8];
    slice keys[GROUP];
    struct kevo_value values[GROUP];
    bool found[GROUP];
    unsigned count = GROUP;
    kevo_close(store);
    options.compression = KEVO_COMPRESSION_LZ4;
    options.block_bytes = 4096;
    store = kv_open(&options);
    for (unsigned i = 0; i < GROUP; i++) {
        snprintf(text[i], sizeof text[i], "k%03u", i);
        keys[i] = kv_slice(text[i]);
        if (i % 2 == 0) ck_ok(kevo_put(store, keys[i], slice_of(value, sizeof value), &test_err));
    }
    ck_ok(kevo_flush(store, &test_err));
    uint64_t misses = kv_stats(store).cache_misses, hits = kv_stats(store).cache_hits;
    ck_ok(kevo_get_many(store, NULL, keys, &count, values, found, &test_err));
    ck_assert_uint_eq(count, GROUP);
    for (unsigned i = 0; i < GROUP; i++) {
        ck_assert(found[i] == (i % 2 == 0));
        kevo_value_release(&values[i]);
    }
    struct kevo_stats now = kv_stats(store);
    ck_assert_uint_gt(now.cache_misses, misses); /* of the first looks all are in vain */
    ck_assert_uint_ge(now.cache_hits - hits, GROUP / 2 - 1);
}
END_TEST

/* ---- main -------------------------------------------------------------------------- */

int main(void) {
    Suite *suite = suite_create("store");

    TCase *opening = tcase_create("opening");
    tcase_add_checked_fixture(opening, setup, teardown);
    tcase_add_test(opening, open_makes_a_store_only_when_wanted);
    tcase_add_test(opening, open_takes_an_empty_directory);
    tcase_add_test(opening, what_was_written_is_there_after_reopening);
    tcase_add_test(opening, an_open_store_is_not_destroyed);
    tcase_add_test(opening, another_authority_is_refused);
    tcase_add_test(opening, a_directory_with_something_else_is_left_alone);
    tcase_add_test(opening, data_without_a_manifest_is_damage);
    tcase_add_test(opening, a_name_too_long_is_refused);
    tcase_add_test(opening, opening_and_reading_changes_no_file);
    tcase_add_test(opening, destroy_removes_a_store);
    tcase_add_test(opening, destroy_leaves_what_is_not_its_own);
    tcase_add_test(opening, close_takes_null);
    suite_add_tcase(suite, opening);

    TCase *writing = tcase_create("writing");
    tcase_add_checked_fixture(writing, setup, teardown);
    tcase_add_test(writing, put_delete_and_overwrite);
    tcase_add_loop_test(writing, empty_values_are_values, 0, PLACES);
    tcase_add_loop_test(writing, keys_of_64_kb, 0, PLACES);
    tcase_add_test(writing, keys_and_values_beyond_the_limits_are_refused);
    tcase_add_loop_test(writing, a_batch_takes_the_last_change_of_a_key, 0, PLACES);
    tcase_add_test(writing, an_empty_batch_is_no_batch);
    tcase_add_test(writing, batch_ids_grow_over_reopening);
    tcase_add_test(writing, simple_writes_need_the_stores_own_authority);
    tcase_add_loop_test(writing, sync_modes, KEVO_SYNC_OFF, KEVO_SYNC_FULL + 1);
    suite_add_tcase(suite, writing);

    TCase *upkeep = tcase_create("upkeep");
    tcase_add_checked_fixture(upkeep, setup, teardown);
    tcase_add_test(upkeep, flush_moves_everything_to_tables);
    tcase_add_test(upkeep, compact_leaves_one_level_and_no_garbage);
    tcase_add_loop_test(upkeep, a_cancelled_compaction_leaves_the_store_sound, 0, 3);
    tcase_add_test(upkeep, step_does_the_work_of_the_threads);
    tcase_add_loop_test(upkeep, full_memtables_do_not_stop_a_store, 0, 2);
    tcase_add_loop_test(upkeep, writers_are_slowed_before_they_are_stopped, 0, 2);
    tcase_add_loop_test(upkeep, a_small_memtable_holds_more_than_one_batch, 0, 6);
    tcase_add_test(upkeep, threads_flush_and_compact);
    tcase_add_test(upkeep, closing_with_work_pending);
    tcase_add_test(upkeep, statistics_count);
    tcase_add_test(upkeep, estimates_follow_the_tables);
    tcase_add_test(upkeep, verify_finds_damage_and_names_the_table);
    tcase_add_test(upkeep, what_is_held_for_keys_behind_a_failure_is_let_go_of);
    tcase_add_test(upkeep, a_block_is_brought_in_once_for_many_keys);
    suite_add_tcase(suite, upkeep);

    return harness_run(suite);
}
