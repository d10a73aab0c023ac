#include "engine/kevo.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

#define COPY "/copy"

static struct env *memory, *env;
static struct kevo_options options;
static kevo_store *store;

static void setup(void) {
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    env = fault_env_new(memory);
    options = kv_options(env);
    options.memtable_bytes = 8 << 10;
    options.table_bytes = 4096;
    options.level1_bytes = 8192;
}

static void teardown(void) {
    kevo_close(store);
    store = NULL;
    fault_env_free(env);
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static kevo_store *open_copy(const char *dir) {
    struct kevo_options o = options;
    kevo_store *s;
    o.create_if_missing = false;
    ck_ok(kevo_open(dir, &o, &s, &test_err));
    return s;
}

static void drop_copy(void) {
    ck_ok(kevo_destroy(COPY, &options, &test_err));
}

static void expect_copy(const char *dump) {
    kevo_store *copy = open_copy(COPY);
    ck_ok(kevo_verify(copy, &test_err));
    ck_assert_str_eq(kv_dump(copy, NULL), dump);
    kevo_close(copy);
}

/* Rows in several levels, in immutable memtables and in the active one. */
static void fill(kevo_store *s, unsigned rounds) {
    char key[16], value[200];
    memset(value, 'v', sizeof value);
    for (unsigned i = 0; i < rounds * 60; i++) {
        snprintf(key, sizeof key, "key%05u", i * 7919 % 10000);
        snprintf(value + 150, 50, "%u", i);
        kv_put(s, key, value);
        if (i % 9 == 4) kv_delete(s, key);
        if (i % 60 == 59) ck_ok(kevo_flush(s, &test_err));
        if (i % 150 == 149) ck_ok(kv_compact(s, &test_err));
    }
    kv_put(s, "last", "one");
}

START_TEST(a_copy_is_equal_and_apart) {
    store = kv_open(&options);
    fill(store, 5);
    char *now = strdup(kv_dump(store, NULL));
    struct kevo_commit last = kevo_last_commit(store);
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    kv_put(store, "later", "here");
    ck_ok(kv_compact(store, &test_err));
    expect_copy(now);

    kevo_store *copy = open_copy(COPY);
    ck_assert_mem_eq(kevo_store_uuid(copy), kevo_store_uuid(store), 16);
    ck_assert_uint_eq(kevo_last_commit(copy).batch, last.batch);
    ck_assert_uint_eq(kevo_last_commit(copy).nonce, last.nonce);
    kv_put(copy, "later", "there");
    ck_ok(kv_compact(copy, &test_err));
    ck_assert_str_eq(kv_get(copy, NULL, "later"), "there");
    ck_assert_str_eq(kv_get(store, NULL, "later"), "here");
    ck_ok(kevo_verify(copy, &test_err));
    ck_ok(kevo_verify(store, &test_err));
    kevo_close(copy);
    drop_copy();
    ck_ok(kevo_verify(store, &test_err));
    free(now);
}
END_TEST

START_TEST(the_options_go_along) {
    struct kevo_options o = options;
    o.level_factor = 7;
    store = kv_open(&o);
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    o.use_kept = true;
    o.level_factor = 10;
    kevo_store *copy;
    ck_ok(kevo_open(COPY, &o, &copy, &test_err));
    kevo_get_options(copy, &o);
    ck_assert_uint_eq(o.level_factor, 7);
    kevo_close(copy);
    drop_copy();
}
END_TEST

START_TEST(of_a_store_without_anything) {
    store = kv_open(&options);
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    expect_copy("");
    drop_copy();
    kv_put(store, "a", "1");
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    expect_copy("a=1");
}
END_TEST

/* Before the first write the log's end is where recovery found it. */
START_TEST(of_a_store_just_opened) {
    store = kv_open(&options);
    fill(store, 1);
    char *now = strdup(kv_dump(store, NULL));
    kevo_close(store);
    store = kv_open(&options);
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    expect_copy(now);
    free(now);
}
END_TEST

/* What is not committed is not in it, nor what was cut. */
START_TEST(without_batches_in_doubt) {
    struct kevo_commit c;
    store = kv_open(&options);
    kv_put(store, "a", "1");
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "b", "2");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err));
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    expect_copy("a=1");
    drop_copy();
    kv_txn_put(t, "b", "3"); /* prepared anew, the first batch is cut */
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err));
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    expect_copy("a=1");
    drop_copy();
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    expect_copy("a=1 b=3");
}
END_TEST

/* A batch was to be cut, but the log could not be told. */
START_TEST(without_a_batch_that_is_still_to_be_cut) {
    struct kevo_commit c;
    store = kv_open(&options);
    kv_put(store, "a", "1");
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "b", "2");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err));
    kv_txn_put(t, "b", "3");
    fault_env_plan(
        env, (struct fault_plan){.kinds = FAULT_WRITE, .path = ".wal", .nth = 1, .rc = KEVO_FULL});
    ck_assert_int_eq(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err), KEVO_FULL);
    ck_assert(fault_env_hit(env));
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    expect_copy("a=1");
    kv_put(store, "c", "4");
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 c=4");
}
END_TEST

/* The authority may have committed the batch in doubt, or not: its copy can say either. */
START_TEST(for_an_authority_elsewhere) {
    struct kevo_commit none = {0, 0}, first, second;
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    store = kv_open(&options);
    ck_ok(kevo_resolve(store, none, &test_err));
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "a", "1");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &first, &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    t = kv_txn(store);
    kv_txn_put(t, "b", "2");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_OFF, &second, &test_err));
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    ck_ok(kevo_checkpoint(store, "/other", &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    kevo_store *copy = open_copy(COPY);
    ck_assert(!kevo_lacks(copy, second));
    ck_ok(kevo_resolve(copy, second, &test_err));
    ck_assert_str_eq(kv_dump(copy, NULL), "a=1 b=2");
    kevo_close(copy);
    copy = open_copy("/other");
    ck_ok(kevo_resolve(copy, first, &test_err));
    ck_assert_str_eq(kv_dump(copy, NULL), "a=1");
    kevo_close(copy);
    /* Once flushed, older states are gone from a copy too. */
    drop_copy();
    ck_ok(kevo_resolve(store, second, &test_err));
    ck_ok(kevo_rotate(store, &test_err));
    ck_ok(kevo_flush(store, &test_err));
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    copy = open_copy(COPY);
    ck_assert_int_eq(kevo_resolve(copy, first, &test_err), KEVO_DIVERGED);
    ck_ok(kevo_resolve(copy, second, &test_err));
    kevo_close(copy);
}
END_TEST

/* A log that nobody has decided about yet goes along as it is. */
START_TEST(for_an_authority_that_has_not_spoken) {
    struct kevo_commit none = {0, 0}, first, second;
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    store = kv_open(&options);
    ck_ok(kevo_resolve(store, none, &test_err));
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "a", "1");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &first, &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    t = kv_txn(store);
    kv_txn_put(t, "a", "2");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &second, &test_err));
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    kevo_close(store);
    store = kv_open(&options);
    ck_assert(kevo_needs_resolve(store));
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    ck_ok(kevo_resolve(store, first, &test_err));
    kevo_store *copy = open_copy(COPY);
    ck_ok(kevo_resolve(copy, second, &test_err));
    ck_assert_str_eq(kv_dump(copy, NULL), "a=2");
    ck_assert_str_eq(kv_dump(store, NULL), "a=1");
    kevo_close(copy);
}
END_TEST

static void make_file(const char *path) {
    struct env_file *f;
    ck_ok(memory->open(memory, path, ENV_WRITE | ENV_CREATE, 0600, &f, &test_err));
    memory->close(memory, f);
}

START_TEST(only_where_nothing_is) {
    struct env_stat st;
    store = kv_open(&options);
    kv_put(store, "a", "1");
    ck_assert_int_eq(kevo_checkpoint(store, KV_DIR, &test_err), KEVO_CANTOPEN);
    ck_ok(memory->make_dir(memory, "/mine", 0700, &test_err));
    make_file("/mine/thesis.txt");
    ck_assert_int_eq(kevo_checkpoint(store, "/mine", &test_err), KEVO_CANTOPEN);
    ck_ok(memory->stat(memory, "/mine/thesis.txt", &st, &test_err));
    ck_assert_int_eq(memory->stat(memory, "/mine/LOCK", &st, &test_err), KEVO_NOTFOUND);
    make_file("/file");
    ck_assert_int_eq(kevo_checkpoint(store, "/file", &test_err), KEVO_CANTOPEN);
    ck_assert_int_eq(kevo_checkpoint(store, "/no/such/parent", &test_err), KEVO_CANTOPEN);
    ck_ok(memory->make_dir(memory, COPY, 0700, &test_err));
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    ck_assert_int_eq(kevo_checkpoint(store, COPY, &test_err), KEVO_CANTOPEN);
    ck_assert_ptr_nonnull(strstr(test_err.msg, COPY));
    expect_copy("a=1");
    kevo_store *copy = open_copy(COPY);
    ck_assert_int_eq(kevo_checkpoint(store, COPY, &test_err), KEVO_CANTOPEN);
    kevo_close(copy);
}
END_TEST

/* What a crash left of a copy, or of a removal, is in nobody's way. */
START_TEST(over_what_a_crash_left) {
    store = kv_open(&options);
    kv_put(store, "a", "1");
    ck_ok(memory->make_dir(memory, COPY, 0700, &test_err));
    make_file(COPY "/MANIFEST.gone");
    make_file(COPY "/000001.sst");
    make_file(COPY "/000009.wal");
    kevo_store *none;
    struct kevo_options o = options;
    o.create_if_missing = false;
    ck_assert_int_eq(kevo_open(COPY, &o, &none, &test_err), KEVO_CANTOPEN);
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    expect_copy("a=1");
}
END_TEST

START_TEST(without_links) {
    store = kv_open(&options);
    fill(store, 3);
    char *now = strdup(kv_dump(store, NULL));
    fault_env_plan(env, (struct fault_plan){
                            .kinds = FAULT_LINK, .nth = 1, .for_good = true, .rc = KEVO_INVALID});
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    ck_assert_uint_eq(fault_env_calls(env), 1);
    expect_copy(now);
    free(now);
}
END_TEST

START_TEST(tables_are_shared_on_a_disk) {
    char dir[ENV_PATH_MAX], copy_dir[ENV_PATH_MAX], path[ENV_PATH_MAX];
    struct stat st;
    snprintf(dir, sizeof dir, "%s/store", scratch_dir());
    snprintf(copy_dir, sizeof copy_dir, "%s/copy", scratch_dir());
    options.env = NULL;
    ck_ok(kevo_open(dir, &options, &store, &test_err));
    kv_put(store, "a", "1");
    ck_ok(kevo_flush(store, &test_err));
    kv_put(store, "b", "2");
    ck_ok(kevo_checkpoint(store, copy_dir, &test_err));
    ck_ok(env_join(path, copy_dir, "000001.sst", &test_err));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_nlink, 2);
    ck_ok(env_join(path, copy_dir, "000002.wal", &test_err));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_nlink, 1);
    kevo_store *copy = open_copy(copy_dir);
    ck_assert_str_eq(kv_dump(copy, NULL), "a=1 b=2");
    kevo_close(copy);
}
END_TEST

START_TEST(not_of_a_log_that_failed) {
    struct env_stat st;
    store = kv_open(&options);
    kv_put(store, "a", "1");
    fault_env_plan(env, (struct fault_plan){.kinds = FAULT_SYNC, .path = ".wal", .nth = 1});
    ck_assert_int_eq(kevo_put(store, kv_slice("b"), kv_slice("2"), &test_err), KEVO_IOERR);
    ck_assert_int_eq(kevo_checkpoint(store, COPY, &test_err), KEVO_READONLY);
    ck_assert_int_eq(memory->stat(memory, COPY, &st, &test_err), KEVO_NOTFOUND);
}
END_TEST

/* A damaged log is not handed on. */
START_TEST(not_of_a_damaged_log) {
    struct env_file *f;
    struct env_stat st;
    store = kv_open(&options);
    kv_put(store, "a", "1");
    kv_put(store, "b", "2");
    ck_ok(memory->open(memory, KV_DIR "/000001.wal", ENV_WRITE, 0, &f, &test_err));
    ck_ok(memory->write(memory, f, 512 + 58, "?", 1, &test_err));
    memory->close(memory, f);
    ck_assert_int_eq(kevo_checkpoint(store, COPY, &test_err), KEVO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "000001.wal"));
    ck_assert_int_eq(memory->stat(memory, COPY, &st, &test_err), KEVO_NOTFOUND);
}
END_TEST

/* ---- faults -------------------------------------------------------------------------- */

static bool is_store(const char *dir) {
    struct kevo_options o = options;
    kevo_store *s;
    o.create_if_missing = false;
    int rc = kevo_open(dir, &o, &s, &test_err);
    if (rc) ck_assert_int_eq(rc, KEVO_CANTOPEN);
    kevo_close(s);
    return rc == 0;
}

/* After a call that failed once: the copy is whole or none, and may be made again. */
static void check_after(int rc, int expected, const char *dump) {
    if (rc) ck_assert_int_eq(rc, expected);
    ck_assert(is_store(COPY) == (rc == 0));
    if (rc) ck_ok(kevo_checkpoint(store, COPY, &test_err));
    expect_copy(dump);
    drop_copy();
    ck_assert_str_eq(kv_dump(store, NULL), dump);
    ck_ok(kevo_verify(store, &test_err));
}

START_TEST(every_call_fails) {
    store = kv_open(&options);
    fill(store, 1);
    char *now = strdup(kv_dump(store, NULL));
    for (uint64_t n = 1;; n++) {
        fault_env_plan(env, (struct fault_plan){.kinds = FAULT_ALL, .nth = n});
        int rc = kevo_checkpoint(store, COPY, &test_err);
        bool hit = fault_env_hit(env);
        fault_env_plan(env, (struct fault_plan){.nth = 0});
        check_after(rc, KEVO_IOERR, now);
        if (!hit) break;
        ck_assert_uint_lt(n, 1000);
    }
    free(now);
}
END_TEST

START_TEST(every_allocation_fails) {
    store = kv_open(&options);
    fill(store, 1);
    char *now = strdup(kv_dump(store, NULL));
    for (uint64_t n = 1;; n++) {
        fault_alloc_fail_at(n, _i);
        int rc = kevo_checkpoint(store, COPY, &test_err);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        check_after(rc, KEVO_NOMEM, now);
        if (!hit) break;
    }
    free(now);
}
END_TEST

/* ---- two that overlap ------------------------------------------------------------------- */

static int (*link_plainly)(struct env *, const char *, const char *, struct kevo_err *);
static pthread_t second;
static sem_t second_begun, first_done;
static unsigned links;

static void *copy_again(void *arg) {
    struct kevo_err err;
    return kevo_checkpoint(store, "/copy2", &err) ? arg : NULL;
}

/* In the first copy: a flush, and a second copy that begins and waits for the first. */
static int link_in_between(struct env *e, const char *from, const char *to, struct kevo_err *err) {
    unsigned nth = ++links;
    if (nth == 1) {
        ck_ok(kevo_flush(store, &test_err));
        ck_assert_int_eq(pthread_create(&second, NULL, copy_again, store), 0);
        sem_wait(&second_begun);
    } else if (nth == 2) {
        sem_post(&second_begun);
        sem_wait(&first_done);
    }
    return link_plainly(e, from, to, err);
}

/* The first holds older log segments than the second, and ends first. */
START_TEST(two_that_overlap_leave_no_log) {
    struct env_stat st;
    void *failed;
    store = kv_open(&options);
    kv_put(store, "a", "1");
    ck_ok(kevo_flush(store, &test_err));
    kv_put(store, "b", "1");
    sem_init(&second_begun, 0, 0);
    sem_init(&first_done, 0, 0);
    links = 0;
    link_plainly = env->link;
    env->link = link_in_between;
    ck_ok(kevo_checkpoint(store, COPY, &test_err));
    ck_ok(env->stat(env, KV_DIR "/000002.wal", &st, &test_err)); /* the second holds it */
    sem_post(&first_done);
    pthread_join(second, &failed);
    env->link = link_plainly;
    ck_assert_ptr_null(failed);
    ck_assert_int_eq(env->stat(env, KV_DIR "/000002.wal", &st, &test_err), KEVO_NOTFOUND);
    expect_copy("a=1 b=1");
    ck_ok(kevo_destroy("/copy2", &options, &test_err));
    sem_destroy(&second_begun);
    sem_destroy(&first_done);
}
END_TEST

/* ---- while others work ------------------------------------------------------------------ */

enum { KEYS = 40 };

static atomic_bool stop;
static _Atomic uint64_t written;

/* Each batch gives all keys its number, but for one key that it alone deletes. */
static void *write_batches(void *arg) {
    struct kevo_err err;
    kevo_batch *b;
    (void)arg;
    sure(kevo_batch_new(&b, &err) == 0);
    for (uint64_t n = 1; !atomic_load(&stop); n++) {
        char key[8], value[300];
        memset(value, 'v', sizeof value);
        snprintf(value, 24, "%llu", (unsigned long long)n);
        kevo_batch_reset(b);
        for (unsigned k = 0; k < KEYS; k++) {
            snprintf(key, sizeof key, "k%02u", k);
            int rc = k == n % KEYS ? kevo_batch_delete(b, kv_slice(key), &err)
                                   : kevo_batch_put(b, kv_slice(key), slice_of(value, 300), &err);
            sure(rc == 0);
        }
        sure(kevo_apply_batch(store, b, NULL, &err) == 0);
        atomic_store(&written, n);
    }
    kevo_batch_free(b);
    return NULL;
}

static void *compact(void *arg) {
    struct kevo_err err;
    (void)arg;
    while (!atomic_load(&stop))
        sure(kv_compact(store, &err) == 0);
    return NULL;
}

/* The number that all keys have. */
static uint64_t number_of(kevo_store *s) {
    uint64_t number = 0;
    unsigned seen = 0;
    kevo_iter *it = kv_iter(s, NULL);
    must(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); seen++) {
        uint64_t n = strtoull((const char *)kevo_iter_value(it).data, NULL, 10);
        if (seen == 0) number = n;
        if (n != number)
            ck_abort_msg("batches %llu and %llu are mixed", (unsigned long long)n,
                         (unsigned long long)number);
        const uint8_t *key = kevo_iter_key(it).data;
        ck_assert_uint_ne((uint64_t)(key[1] - '0') * 10 + key[2] - '0', n % KEYS);
        must(kevo_iter_next(it, &test_err));
    }
    kevo_iter_free(it);
    if (seen) ck_assert_uint_eq(seen, KEYS - 1);
    return number;
}

START_TEST(a_prefix_of_the_commits_while_all_goes_on) {
    pthread_t writer, compactor;
    options.background = true;
    options.sync = _i ? KEVO_SYNC_FULL : KEVO_SYNC_OFF;
    options.memtable_bytes = 32 << 10;
    options.l0_trigger = 2;
    store = kv_open(&options);
    atomic_store(&stop, false);
    atomic_store(&written, 0);
    ck_assert_int_eq(pthread_create(&writer, NULL, write_batches, NULL), 0);
    ck_assert_int_eq(pthread_create(&compactor, NULL, compact, NULL), 0);
    for (uint64_t i = 0; i < harness_count("KEVO_OPS", 60); i++) {
        uint64_t before = atomic_load(&written);
        ck_ok(kevo_checkpoint(store, COPY, &test_err));
        uint64_t after = atomic_load(&written) + 1;
        kevo_store *copy = open_copy(COPY);
        uint64_t number = number_of(copy);
        if (number < before || number > after)
            ck_abort_msg("%llu copied, %llu were written before and %llu after",
                         (unsigned long long)number, (unsigned long long)before,
                         (unsigned long long)after);
        ck_ok(kevo_verify(copy, &test_err));
        kevo_close(copy);
        drop_copy();
    }
    atomic_store(&stop, true);
    pthread_join(writer, NULL);
    pthread_join(compactor, NULL);
    ck_ok(kevo_flush(store, &test_err));
    ck_ok(kevo_verify(store, &test_err));
    ck_assert_uint_le(kv_files(memory, ".wal"), 2); /* the log was let go again */
}
END_TEST

int main(void) {
    Suite *suite = suite_create("checkpoint");
    TCase *tc = tcase_create("checkpoint");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_copy_is_equal_and_apart);
    tcase_add_test(tc, the_options_go_along);
    tcase_add_test(tc, of_a_store_without_anything);
    tcase_add_test(tc, of_a_store_just_opened);
    tcase_add_test(tc, without_batches_in_doubt);
    tcase_add_test(tc, without_a_batch_that_is_still_to_be_cut);
    tcase_add_test(tc, for_an_authority_elsewhere);
    tcase_add_test(tc, for_an_authority_that_has_not_spoken);
    tcase_add_test(tc, only_where_nothing_is);
    tcase_add_test(tc, over_what_a_crash_left);
    tcase_add_test(tc, without_links);
    tcase_add_test(tc, tables_are_shared_on_a_disk);
    tcase_add_test(tc, not_of_a_log_that_failed);
    tcase_add_test(tc, not_of_a_damaged_log);
    tcase_add_test(tc, every_call_fails);
    tcase_add_loop_test(tc, every_allocation_fails, 0, 2);
    tcase_add_test(tc, two_that_overlap_leave_no_log);
    tcase_add_loop_test(tc, a_prefix_of_the_commits_while_all_goes_on, 0, 2);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
