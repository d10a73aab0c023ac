/* Opening a store again, for reading only; closing it. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/slice.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/files.h"
#include "tests/lib/kv.h"

static struct env *env, *other; /* two ways to the same files: as if of two processes */
static struct kevo_options options, reading;

static void set_options(struct env *e) {
    options = kv_options(e);
    reading = options;
    reading.read_only = reading.use_kept = true;
}

static void setup(void) {
    env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    other = fault_env_new(env);
    set_options(env);
}

static void teardown(void) {
    fault_env_free(other);
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void expect_error(int rc, int code, const char *part) {
    ck_assert_msg(rc == code, "expected %d, got %d: %s", code, rc, test_err.msg);
    ck_assert_msg(strstr(test_err.msg, part), "\"%s\" does not say \"%s\"", test_err.msg, part);
}

static void expect_refused(const char *dir, const struct kevo_options *o, int code,
                           const char *part) {
    kevo_store *s = (kevo_store *)&test_err;
    expect_error(kevo_open(dir, o, &s, &test_err), code, part);
    ck_assert_ptr_null(s);
}

static kevo_store *open_through(struct env *e, const struct kevo_options *like) {
    struct kevo_options o = *like;
    o.env = e;
    return kv_open(&o);
}

static char *read_lock(void) {
    static char text[64];
    struct env_file *f;
    size_t got;
    ck_ok(env->open(env, KV_DIR "/LOCK", ENV_READ, 0, &f, &test_err));
    ck_ok(env->read(env, f, 0, text, sizeof text - 1, &got, &test_err));
    env->close(env, f);
    text[got] = 0;
    return text;
}

/* Tables, and a log with more: a=1 b=2 c=3. */
static void make_store(void) {
    kevo_store *s = kv_open(&options);
    kv_put(s, "a", "1");
    kv_put(s, "b", "0");
    ck_ok(kevo_flush(s, &test_err));
    kv_put(s, "b", "2");
    kv_put(s, "c", "3");
    kevo_close(s);
}

/* ---- opening again in one process -------------------------------------------------- */

START_TEST(a_store_is_shared) {
    kevo_store *a = kv_open(&options), *b = kv_open(&options), *c;
    ck_assert_ptr_eq(a, b);
    ck_assert(kevo_is_open(KV_DIR, &options) && !kevo_is_open("/other", &options));
    kv_put(a, "a", "1");
    kevo_close(a);
    ck_assert_str_eq(kv_dump(b, NULL), "a=1");
    ck_ok(kevo_open(KV_DIR "/", &reading, &c, &test_err));
    ck_assert_ptr_eq(b, c);
    kevo_close(b);
    kv_put(c, "b", "2"); /* it stays open for writing */
    kevo_close(c);
    ck_assert(!kevo_is_open(KV_DIR, &options));
    a = kv_open(&options);
    ck_assert_str_eq(kv_dump(a, NULL), "a=1 b=2");
    kevo_close(a);
}
END_TEST

START_TEST(two_stores_are_two) {
    kevo_store *a = kv_open(&options), *b;
    ck_ok(kevo_open("/another", &options, &b, &test_err));
    ck_assert_ptr_ne(a, b);
    kv_put(a, "a", "1");
    ck_assert_str_eq(kv_dump(b, NULL), "");
    kevo_close(a);
    kevo_close(b);
}
END_TEST

START_TEST(what_contradicts_is_refused) {
    kevo_store *s = kv_open(&options), *same;
    struct kevo_options o = options;
    o.error_if_exists = true;
    expect_refused(KV_DIR, &o, KEVO_CANTOPEN, "there is a store already");
    o = options;
    o.authority = KEVO_AUTHORITY_EXTERNAL;
    expect_refused(KV_DIR, &o, KEVO_INVALID, "decides its commits itself");
    o = options;
    o.level_factor = 3;
    expect_refused(KV_DIR, &o, KEVO_INVALID, "with another level_factor");
    o.use_kept = true;
    ck_ok(kevo_open(KV_DIR, &o, &same, &test_err));
    ck_assert_ptr_eq(s, same);
    kevo_close(same);
    o = options;
    o.background = true;
    ck_ok(kevo_open(KV_DIR, &o, &same, &test_err));
    kevo_get_options(same, &o);
    ck_assert(!o.background && !o.read_only);
    kevo_close(same);
    kv_put(s, "a", "1");
    kevo_close(s);
    ck_assert(!kevo_is_open(KV_DIR, &options));
}
END_TEST

START_TEST(a_directory_is_known_by_any_name) {
    char dir[600], link[700], around[700];
    kevo_store *a, *b, *c;
    set_options(NULL);
    snprintf(dir, sizeof dir, "%s/store", scratch_dir());
    snprintf(link, sizeof link, "%s-link", dir);
    snprintf(around, sizeof around, "%s/../store", dir);
    ck_ok(kevo_open(dir, &options, &a, &test_err));
    ck_assert_int_eq(symlink(dir, link), 0);
    ck_ok(kevo_open(link, &options, &b, &test_err));
    ck_ok(kevo_open(around, NULL, &c, &test_err));
    ck_assert(a == b && b == c);
    kevo_close(a);
    kevo_close(b);
    kevo_close(c);
}
END_TEST

enum { THREADS = 4, ROUNDS = 60 };

static void *open_and_close(void *arg) {
    struct rng rng = rng_of(harness_seed() + (uintptr_t)arg);
    char key[32];
    for (unsigned i = 0; i < ROUNDS; i++) {
        kevo_store *s;
        struct kevo_err err;
        const char *dir = rng_below(&rng, 4) ? KV_DIR : "/another";
        bool reads = rng_below(&rng, 3) == 0;
        int rc = kevo_open(dir, reads ? &reading : &options, &s, &err);
        /* For reading there is nothing as long as nobody has made it. */
        if (reads && rc == KEVO_CANTOPEN) continue;
        if (rc) ck_abort_msg("%d, %s", rc, err.msg);
        snprintf(key, sizeof key, "%u-%u", (unsigned)(uintptr_t)arg, i);
        if (!reads) rc = kevo_put(s, kv_slice(key), kv_slice("v"), &err);
        struct kevo_value v;
        if (rc == 0) rc = kevo_get(s, NULL, kv_slice(key), &v, &err);
        if (rc == 0) kevo_value_release(&v);
        if (rc != (reads ? KEVO_NOTFOUND : 0)) ck_abort_msg("%d, %s", rc, err.msg);
        kevo_close(s);
    }
    return NULL;
}

START_TEST(threads_open_and_close) {
    pthread_t threads[THREADS];
    harness_seed();
    options.background = true;
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, open_and_close, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert(!kevo_is_open(KV_DIR, &options) && !kevo_is_open("/another", &options));
}
END_TEST

/* ---- for reading only ------------------------------------------------------------------ */

START_TEST(reading_changes_nothing) {
    size_t before_size, after_size;
    make_store();
    files_write(env, KV_DIR "/000099.sst", slice_of_str("an orphan"));
    files_write(env, KV_DIR "/LOCK", slice_of_str("nobody\n"));
    char *before = kv_contents(env, &before_size);
    kevo_store *s = kv_open(&reading);
    ck_assert_str_eq(kv_dump(s, NULL), "a=1 b=2 c=3");
    ck_ok(kevo_verify(s, &test_err));
    struct kevo_options o;
    kevo_get_options(s, &o);
    ck_assert(o.read_only);
    struct kevo_stats stats = kv_stats(s);
    ck_assert_uint_eq(stats.recovered_batches, 2);
    kevo_close(s);
    char *after = kv_contents(env, &after_size);
    ck_assert(before_size == after_size && memcmp(before, after, before_size) == 0);
    ck_assert_str_eq(read_lock(), "nobody\n");
    free(before);
    free(after);
}
END_TEST

START_TEST(writes_are_refused) {
    slice a = kv_slice("a");
    kevo_batch *batch;
    struct kevo_commit commit;
    const char *why = KV_DIR ": the store is open for reading only";
    make_store();
    kevo_store *s = kv_open(&reading);
    kevo_txn *t = kv_txn(s);
    ck_ok(kevo_batch_new(&batch, &test_err));
    ck_ok(kevo_batch_put(batch, a, a, &test_err));
    expect_error(kevo_put(s, a, a, &test_err), KEVO_READONLY, why);
    expect_error(kevo_delete(s, a, &test_err), KEVO_READONLY, why);
    expect_error(kevo_apply_batch(s, batch, NULL, &test_err), KEVO_READONLY, why);
    expect_error(kevo_txn_put(t, a, a, &test_err), KEVO_READONLY, why);
    expect_error(kevo_txn_delete(t, a, &test_err), KEVO_READONLY, why);
    expect_error(kevo_txn_delete_range(t, kv_all, kv_all, &test_err), KEVO_READONLY, why);
    expect_error(kevo_delete_range(s, kv_all, kv_all, &test_err), KEVO_READONLY, why);
    expect_error(kevo_txn_prepare(t, KEVO_SYNC_OFF, &commit, &test_err), KEVO_READONLY, why);
    expect_error(kevo_rotate(s, &test_err), KEVO_READONLY, why);
    expect_error(kevo_flush(s, &test_err), KEVO_READONLY, why);
    expect_error(kv_compact(s, &test_err), KEVO_READONLY, why);
    expect_error(kevo_step(s, &test_err), KEVO_READONLY, why);
    kevo_ingest *ingest;
    expect_error(kevo_ingest_new(s, &ingest, &test_err), KEVO_READONLY, why);
    ck_assert_str_eq(kv_dump(s, NULL), "a=1 b=2 c=3");
    kevo_txn_unref(t);
    kevo_batch_free(batch);
    kevo_close(s);
}
END_TEST

START_TEST(nothing_is_made_for_a_reader) {
    struct env_stat st;
    expect_refused(KV_DIR, &reading, KEVO_CANTOPEN, "there is no kevo store");
    ck_assert_int_eq(env->stat(env, KV_DIR, &st, &test_err), KEVO_NOTFOUND);
    ck_ok(env->make_dir(env, KV_DIR, 0700, &test_err));
    expect_refused(KV_DIR, &reading, KEVO_CANTOPEN, "there is no kevo store");
    files_write(env, KV_DIR "/MANIFEST.gone", slice_of_str(""));
    expect_refused(KV_DIR, &reading, KEVO_CANTOPEN, "there is no kevo store");
    ck_assert_uint_eq(kv_files(env, "gone"), 1);
    ck_assert_int_eq(env->stat(env, KV_DIR "/LOCK", &st, &test_err), KEVO_NOTFOUND);
}
END_TEST

START_TEST(explicit_options_count_but_are_not_kept) {
    make_store();
    struct kevo_options o = options;
    o.read_only = true;
    o.cache_bytes = 0;
    kevo_store *s = kv_open(&o);
    kevo_get_options(s, &o);
    ck_assert_uint_eq(o.cache_bytes, 0);
    kevo_close(s);
    s = kv_open(&reading);
    kevo_get_options(s, &o);
    ck_assert_uint_eq(o.cache_bytes, options.cache_bytes);
    kevo_close(s);
}
END_TEST

START_TEST(readers_share_and_writers_do_not) {
    make_store();
    kevo_store *a = kv_open(&reading), *b = open_through(other, &reading);
    ck_assert_ptr_ne(a, b);
    ck_assert_str_eq(kv_dump(a, NULL), "a=1 b=2 c=3");
    ck_assert_str_eq(kv_dump(b, NULL), "a=1 b=2 c=3");
    /* Neither may become the writer, and both go on. */
    expect_refused(KV_DIR, &options, KEVO_BUSY, "is open for reading elsewhere");
    struct kevo_options o = options;
    o.env = other;
    expect_refused(KV_DIR, &o, KEVO_BUSY, "is open for reading elsewhere");
    expect_error(kevo_put(a, kv_slice("x"), kv_slice("x"), &test_err), KEVO_READONLY, "only");
    kevo_close(a);
    ck_assert_str_eq(kv_dump(b, NULL), "a=1 b=2 c=3");
    expect_refused(KV_DIR, &options, KEVO_BUSY, "is open for reading elsewhere");
    kevo_close(b);
    a = kv_open(&options);
    o = reading;
    o.env = other;
    expect_refused(KV_DIR, &o, KEVO_BUSY, "is open in this process already");
    kevo_close(a);
}
END_TEST

START_TEST(a_reader_becomes_a_writer) {
    make_store();
    kevo_store *a = kv_open(&reading), *b = kv_open(&options);
    ck_assert_ptr_eq(a, b);
    ck_assert_str_ne(read_lock(), "nobody\n");
    kevo_iter *it = kv_iter(a, NULL);
    kv_put(b, "d", "4");
    ck_ok(kevo_flush(b, &test_err));
    ck_ok(kv_compact(b, &test_err));
    kevo_iter_free(it);
    kevo_close(b);
    kv_put(a, "e", "5");
    ck_assert_str_eq(kv_dump(a, NULL), "a=1 b=2 c=3 d=4 e=5");
    kevo_close(a);
    a = kv_open(&options);
    ck_assert_str_eq(kv_dump(a, NULL), "a=1 b=2 c=3 d=4 e=5");
    kevo_close(a);
}
END_TEST

/* ---- with an external authority ------------------------------------------------------------- */

static struct kevo_commit write_one(kevo_store *s, struct kevo_commit last, const char *key,
                                    int sync) {
    struct kevo_commit c;
    ck_ok(kevo_resolve(s, last, &test_err));
    kevo_txn *t = kv_txn(s);
    kv_txn_put(t, key, "v");
    ck_ok(kevo_txn_prepare(t, sync, &c, &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    return c;
}

static void expect_at(kevo_store *s, struct kevo_commit as_of, const char *dump) {
    kevo_snapshot *snap;
    ck_ok(kevo_snapshot_at(s, as_of, &snap, &test_err));
    struct kevo_read read = {.snapshot = snap};
    ck_assert_str_eq(kv_dump(s, &read), dump);
    kevo_snapshot_free(snap);
}

START_TEST(the_authority_decides_what_a_reader_sees) {
    struct kevo_commit none = {0, 0};
    options.authority = reading.authority = KEVO_AUTHORITY_EXTERNAL;
    kevo_store *s = kv_open(&options);
    struct kevo_commit a = write_one(s, none, "a", KEVO_SYNC_FULL);
    struct kevo_commit b = write_one(s, a, "b", KEVO_SYNC_FULL);
    struct kevo_commit c = write_one(s, b, "c", KEVO_SYNC_FULL);
    kevo_close(s);
    s = kv_open(&reading);
    ck_assert(kevo_needs_resolve(s));
    ck_assert_str_eq(kv_dump(s, NULL), "a=v"); /* known committed once b was prepared */
    expect_at(s, b, "a=v b=v");
    expect_at(s, c, "a=v b=v c=v");
    expect_error(kevo_resolve(s, b, &test_err), KEVO_READONLY, "for reading only");
    /* A writer to whom b was the last one cuts c off, for the reader too. */
    kevo_store *w = kv_open(&options);
    ck_assert_ptr_eq(w, s);
    ck_ok(kevo_resolve(w, b, &test_err));
    kevo_snapshot *snap;
    ck_assert_int_eq(kevo_snapshot_at(s, c, &snap, &test_err), KEVO_DIVERGED);
    expect_at(s, b, "a=v b=v");
    kevo_close(w);
    kevo_close(s);
}
END_TEST

/* What the log lacks is read from what the authority kept, and written by the first writer. */
START_TEST(a_lost_end_is_put_back_in_memory) {
    struct kevo_commit none = {0, 0};
    struct kevo_tail tail;
    uint8_t bytes[2000];
    size_t before_size, after_size;
    options.authority = reading.authority = KEVO_AUTHORITY_EXTERNAL;
    kevo_store *s = kv_open(&options);
    struct kevo_commit a = write_one(s, none, "a", KEVO_SYNC_FULL);
    struct env *lost = kv_copy(env);
    struct kevo_commit b = write_one(s, a, "b", KEVO_SYNC_OFF);
    struct kevo_commit c = write_one(s, b, "c", KEVO_SYNC_OFF);
    ck_ok(kevo_log_tail(s, sizeof bytes, true, &tail, &test_err));
    ck_assert(tail.bytes.len > 0 && tail.bytes.len <= sizeof bytes);
    memcpy(bytes, tail.bytes.data, tail.bytes.len);
    tail.bytes.data = bytes;
    kevo_close(s);

    options.env = reading.env = lost;
    char *before = kv_contents(lost, &before_size);
    s = kv_open(&reading);
    ck_assert(kevo_lacks(s, c));
    unsigned failures = 0;
    for (uint64_t n = 1;; n++) {
        fault_alloc_fail_at(n, false);
        int rc = kevo_restore(s, c, &tail, &test_err);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (rc == 0 || !hit) {
            ck_ok(rc);
            break;
        }
        ck_assert_int_eq(rc, KEVO_NOMEM);
        failures++;
    }
    ck_assert_uint_ge(failures, 1);
    ck_assert(!kevo_lacks(s, c));
    expect_at(s, c, "a=v b=v c=v");
    char *after = kv_contents(lost, &after_size);
    ck_assert(before_size == after_size && memcmp(before, after, before_size) == 0);
    free(before);
    free(after);

    ck_ok(kevo_verify(s, &test_err));

    /* A copy has it too, on disk. */
    kevo_store *copy;
    struct kevo_options of_copy = options;
    ck_ok(kevo_checkpoint(s, "/copy", &test_err));
    ck_ok(kevo_open("/copy", &of_copy, &copy, &test_err));
    ck_assert(!kevo_lacks(copy, c));
    ck_ok(kevo_resolve(copy, c, &test_err));
    ck_assert_str_eq(kv_dump(copy, NULL), "a=v b=v c=v");
    ck_ok(kevo_verify(copy, &test_err));
    kevo_close(copy);

    if (_i == 0) {
        kevo_store *w = kv_open(&options); /* the log is whole again */
        ck_ok(kevo_resolve(w, c, &test_err));
        struct kevo_commit d = write_one(w, c, "d", KEVO_SYNC_FULL);
        expect_at(w, d, "a=v b=v c=v d=v");
        kevo_close(w);
        kevo_close(s);
        s = kv_open(&options);
        ck_ok(kevo_resolve(s, d, &test_err));
        ck_assert_str_eq(kv_dump(s, NULL), "a=v b=v c=v d=v");
    }
    kevo_close(s);
    env_memory_free(lost);
}
END_TEST

/* ---- a lock file that is removed --------------------------------------------------------------- */

static int (*plain_lock)(struct env *, struct env_file *, bool, struct kevo_err *);
static unsigned removals; /* to come */

/* Somebody removes the lock file, and its name gets another one, before the lock is taken. */
static int lock_too_late(struct env *e, struct env_file *file, bool shared, struct kevo_err *err) {
    if (removals) {
        removals--;
        ck_ok(env->unlink(env, KV_DIR "/LOCK", &test_err));
        files_write(env, KV_DIR "/LOCK", slice_of_str(""));
    }
    return plain_lock(e, file, shared, err);
}

START_TEST(a_removed_lock_is_none) {
    kevo_store *s;
    make_store();
    plain_lock = other->lock;
    other->lock = lock_too_late;
    removals = 3;
    options.env = reading.env = other;
    ck_ok(kevo_open(KV_DIR, _i ? &reading : &options, &s, &test_err));
    ck_assert_uint_eq(removals, 0);
    options.env = env;
    expect_refused(KV_DIR, &options, KEVO_BUSY, _i ? "for reading" : "this process");
    kevo_close(s);
    removals = 1000;
    expect_refused(KV_DIR, &reading, KEVO_BUSY, "being removed");
    removals = 0;
    s = kv_open(&options);
    kevo_close(s);
}
END_TEST

/* ---- whose it is ------------------------------------------------------------------------------ */

static void expect_owner(kevo_store *s, const char *owner) {
    char text[100] = "";
    ck_assert_uint_eq(kevo_get_owner(s, text, sizeof text), strlen(owner));
    ck_assert_str_eq(text, owner);
    char first = '?';
    kevo_get_owner(s, &first, 1);
    ck_assert_int_eq(first, owner[0] ? owner[0] : '?');
}

static struct kevo_slice text_of(const char *s) {
    return (struct kevo_slice){(const uint8_t *)s, strlen(s)};
}

START_TEST(an_owner_is_kept) {
    static uint8_t large[KEVO_MAX_OWNER_BYTES + 1];
    kevo_store *s = kv_open(&options);
    expect_owner(s, "");
    ck_ok(kevo_set_owner(s, text_of("somebody"), &test_err));
    ck_ok(kevo_set_owner(s, text_of("somebody else"), &test_err));
    expect_owner(s, "somebody else");
    struct kevo_slice much = {large, sizeof large};
    expect_error(kevo_set_owner(s, much, &test_err), KEVO_INVALID, "8192 bytes");
    ck_ok(kevo_checkpoint(s, "/copy", &test_err));
    kevo_close(s);
    ck_ok(kevo_open(KV_DIR, &reading, &s, &test_err));
    expect_owner(s, "somebody else");
    expect_error(kevo_set_owner(s, text_of("me"), &test_err), KEVO_READONLY, "reading only");
    kevo_close(s);
    ck_ok(kevo_open("/copy", &options, &s, &test_err));
    expect_owner(s, "somebody else");
    much.len--;
    ck_ok(kevo_set_owner(s, much, &test_err));
    ck_ok(kevo_set_owner(s, text_of(""), &test_err));
    expect_owner(s, "");
    kevo_close(s);
}
END_TEST

/* The manifest is written anew now and then, and hands the owner on. */
START_TEST(an_owner_outlives_manifests) {
    char owner[3000];
    memset(owner, 'x', sizeof owner - 1);
    owner[sizeof owner - 1] = 0;
    kevo_store *s = kv_open(&options);
    for (unsigned i = 0; i < 100; i++) {
        owner[0] = (char)('a' + i % 26);
        ck_ok(kevo_set_owner(s, text_of(owner), &test_err));
    }
    owner[0] = '?';
    for (unsigned i = 0; i < 200; i++) {
        kv_put(s, "a", "1");
        ck_ok(kevo_flush(s, &test_err));
    }
    kevo_close(s);
    s = kv_open(&options);
    char found[3000];
    ck_assert_uint_eq(kevo_get_owner(s, found, sizeof found), sizeof owner - 1);
    ck_assert_int_eq(found[0], 'a' + 99 % 26);
    ck_assert_mem_eq(found + 1, owner + 1, sizeof owner - 2);
    kevo_close(s);
}
END_TEST

/* It is the old one or the new one, and the new one if the call said so. */
START_TEST(every_failure_of_setting_an_owner) {
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        kevo_store *s = open_through(other, &options);
        ck_ok(kevo_set_owner(s, text_of("old"), &test_err));
        if (_i)
            fault_alloc_fail_at(n, false);
        else
            fault_env_plan(other, (struct fault_plan){.kinds = FAULT_ALL, .nth = n});
        int rc = kevo_set_owner(s, text_of("new"), &test_err);
        hit = _i ? fault_alloc_hit() : fault_env_hit(other);
        fault_alloc_fail_at(0, false);
        fault_env_plan(other, (struct fault_plan){.kinds = FAULT_ALL});
        if (rc) ck_assert_msg(hit, "%d, %s", rc, test_err.msg);
        expect_owner(s, rc ? "old" : "new");
        kevo_close(s);
        s = open_through(env, &reading);
        char text[8] = "";
        ck_assert_uint_eq(kevo_get_owner(s, text, sizeof text), 3);
        if (strcmp(text, "new") != 0) ck_assert_msg(rc != 0 && !strcmp(text, "old"), "%s", text);
        kevo_close(s);
    }
}
END_TEST

/* ---- failures -------------------------------------------------------------------------------- */

/* How a store is opened while calls or allocations fail: for reading, for writing, for
 * reading while it is open, and for writing while it is open for reading. */
enum { FIRST_READER, FIRST_WRITER, SECOND_READER, SECOND_WRITER, WAYS };

START_TEST(every_failure_of_opening) {
    unsigned way = (unsigned)_i % WAYS, failures = 0;
    bool memory = _i >= WAYS;
    make_store();
    options.env = reading.env = other;
    struct kevo_options o = way == FIRST_READER || way == SECOND_READER ? reading : options;
    if (way == FIRST_WRITER) o.retain_ms = 77; /* to be kept */
    for (uint64_t n = 1;; n++) {
        kevo_store *first = way >= SECOND_READER ? kv_open(&reading) : NULL, *s;
        if (memory)
            fault_alloc_fail_at(n, false);
        else
            fault_env_plan(other, (struct fault_plan){.kinds = FAULT_ALL, .nth = n});
        int rc = kevo_open(KV_DIR, &o, &s, &test_err);
        bool hit = memory ? fault_alloc_hit() : fault_env_hit(other);
        fault_alloc_fail_at(0, false);
        fault_env_plan(other, (struct fault_plan){.kinds = FAULT_ALL});
        failures += rc != 0;
        if (rc) ck_assert_msg(hit && !s, "%d, %s", rc, test_err.msg);
        if (rc && memory) ck_assert_int_eq(rc, KEVO_NOMEM);
        kevo_close(s);
        /* Who had it open goes on, and it can be opened as if nothing had been. */
        if (first) ck_assert_str_eq(kv_dump(first, NULL), "a=1 b=2 c=3");
        if (first && rc == 0) ck_assert_ptr_eq(first, s);
        kevo_close(first);
        ck_assert(!kevo_is_open(KV_DIR, &options));
        s = open_through(env, &reading);
        ck_assert_str_eq(kv_dump(s, NULL), "a=1 b=2 c=3");
        kevo_close(s);
        if (!hit) break;
    }
    ck_assert_uint_ge(failures, way == SECOND_READER ? 1 : 2);
    kevo_store *s = kv_open(&options);
    kv_put(s, "d", "4");
    kevo_close(s);
}
END_TEST

/* ---- closing --------------------------------------------------------------------------------------- */

enum { LARGE_ROWS = 200 };

static atomic_bool closing;
static _Atomic unsigned writes, writes_since; /* before closing began, and after */
static int (*quick_write)(struct env *e, struct env_file *file, uint64_t offset, const void *data,
                          size_t len, struct kevo_err *err);

static int slow_write(struct env *e, struct env_file *file, uint64_t offset, const void *data,
                      size_t len, struct kevo_err *err) {
    e->sleep_us(e, 1000);
    atomic_fetch_add(atomic_load(&closing) ? &writes_since : &writes, 1);
    return quick_write(e, file, offset, data, len, err);
}

/* Tables that overlap, with few rows and much in each of them. */
static void make_large_store(void) {
    static char value[50001];
    struct rng rng = rng_of(harness_seed());
    kevo_store *s = kv_open(&options);
    for (unsigned i = 0; i < LARGE_ROWS; i++) {
        char key[32];
        for (size_t j = 0; j + 1 < sizeof value; j++)
            value[j] = (char)('!' + rng_below(&rng, 90));
        snprintf(key, sizeof key, "%06u", i * 7919 % LARGE_ROWS);
        kv_put(s, key, value);
        if (i % (LARGE_ROWS / 5) == 0) ck_ok(kevo_flush(s, &test_err));
    }
    ck_assert_uint_ge(kv_stats(s).table_count[0], options.l0_trigger);
    kevo_close(s);
}

/* A compaction of a thousand slow writes has begun: closing does not wait for its end. */
START_TEST(closing_waits_for_no_compaction) {
    options.memtable_bytes = 8 << 20;
    make_large_store();
    quick_write = other->write;
    other->write = slow_write;
    options.background = true;
    kevo_store *s = open_through(other, &options);
    kv_put(s, "a", "1"); /* from now on there is a compactor */
    while (atomic_load(&writes) < 30)
        env->sleep_us(env, 1000);
    atomic_store(&closing, true);
    kevo_close(s);
    unsigned stopped_at = atomic_load(&writes_since);
    ck_assert_uint_lt(stopped_at, 100);
    env->sleep_us(env, 20000);
    ck_assert_uint_eq(atomic_load(&writes_since), stopped_at); /* nothing runs any more */
    /* What it had begun to write is gone or will be. */
    options.background = false;
    s = kv_open(&options);
    ck_ok(kevo_verify(s, &test_err));
    ck_ok(kv_compact(s, &test_err));
    ck_assert_uint_eq(kv_stats(s).table_entries, LARGE_ROWS + 1);
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(s));
    kevo_close(s);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("open");

    TCase *sharing = tcase_create("sharing");
    tcase_add_checked_fixture(sharing, setup, teardown);
    tcase_add_test(sharing, a_store_is_shared);
    tcase_add_test(sharing, two_stores_are_two);
    tcase_add_test(sharing, what_contradicts_is_refused);
    tcase_add_test(sharing, a_directory_is_known_by_any_name);
    tcase_add_test(sharing, threads_open_and_close);
    suite_add_tcase(suite, sharing);

    TCase *only = tcase_create("reading");
    tcase_add_checked_fixture(only, setup, teardown);
    tcase_add_test(only, reading_changes_nothing);
    tcase_add_test(only, writes_are_refused);
    tcase_add_test(only, nothing_is_made_for_a_reader);
    tcase_add_test(only, explicit_options_count_but_are_not_kept);
    tcase_add_test(only, readers_share_and_writers_do_not);
    tcase_add_test(only, a_reader_becomes_a_writer);
    tcase_add_test(only, the_authority_decides_what_a_reader_sees);
    tcase_add_loop_test(only, a_lost_end_is_put_back_in_memory, 0, 2);
    tcase_add_loop_test(only, a_removed_lock_is_none, 0, 2);
    tcase_add_test(only, an_owner_is_kept);
    tcase_add_test(only, an_owner_outlives_manifests);
    tcase_add_loop_test(only, every_failure_of_setting_an_owner, 0, 2);
    tcase_add_loop_test(only, every_failure_of_opening, 0, 2 * WAYS);
    suite_add_tcase(suite, only);

    TCase *close = tcase_create("closing");
    tcase_add_checked_fixture(close, setup, teardown);
    tcase_add_test(close, closing_waits_for_no_compaction);
    suite_add_tcase(suite, close);

    return harness_run(suite);
}
