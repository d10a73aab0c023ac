/* A background job that fails on a full disk: how often it is tried again, and what it takes notice
 * of. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "tests/lib/kv.h"

enum { SECOND = 1000000, LONGEST = 64 * SECOND };

static struct env *env;
static struct kevo_options options;
static kevo_store *store;

/* A clock that tests set, so that waits end when it has come so far. */
static _Atomic uint64_t clock_us;
static atomic_uint attempts, polls;
static atomic_bool full;
static void (*plain_wait)(struct env *, pthread_cond_t *, pthread_mutex_t *, uint64_t);
static int (*plain_open)(struct env *, const char *, unsigned, unsigned, struct env_file **,
                         struct kevo_err *);

static uint64_t read_clock(struct env *e) {
    (void)e;
    return atomic_load(&clock_us);
}

static void short_wait(struct env *e, pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t us) {
    plain_wait(e, cond, mutex, us < 1000 ? us : 1000);
}

static void counted_sleep(struct env *e, uint64_t us) {
    (void)e, (void)us;
    atomic_fetch_add(&polls, 1);
}

/* A table is the first thing that a flush makes. */
static int open_in_vain(struct env *e, const char *path, unsigned flags, unsigned mode,
                        struct env_file **file, struct kevo_err *err) {
    if (!atomic_load(&full) || !(flags & ENV_CREATE) || !strstr(path, ".sst"))
        return plain_open(e, path, flags, mode, file, err);
    atomic_fetch_add(&attempts, 1);
    *file = NULL;
    if (err) *err = (struct kevo_err){KEVO_FULL, "the disk is full"};
    return KEVO_FULL;
}

static void nap(long ms) {
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

static void setup(void) {
    env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    plain_wait = env->cond_wait_us;
    plain_open = env->open;
    env->cond_wait_us = short_wait;
    env->sleep_us = counted_sleep;
    env->open = open_in_vain;
    env->recent_us = env->now_us = read_clock;
    atomic_store(&clock_us, 1000 * (uint64_t)SECOND);
    atomic_store(&attempts, 0);
    atomic_store(&polls, 0);
    atomic_store(&full, true);
    options = kv_options(env);
    options.background = true;
    options.memtable_bytes = 64 << 10;
    options.memtable_count = 8;
    store = kv_open(&options);
}

static void teardown(void) {
    kevo_close(store);
    store = NULL;
    env_memory_free(env);
}

static void expect_attempts(unsigned expected) {
    for (unsigned n = 0; n < 10000 && atomic_load(&attempts) < expected; n++)
        nap(1);
    ck_assert_uint_eq(atomic_load(&attempts), expected);
    nap(20);
    ck_assert_uint_eq(atomic_load(&attempts), expected);
}

static void pass(uint64_t us) {
    atomic_fetch_add(&clock_us, us);
}

/* Until there is an immutable memtable, which cannot be flushed. */
static void fill(void) {
    char key[20], value[1000];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    for (unsigned i = 0; kv_stats(store).immutable_count == 0; i++) {
        snprintf(key, sizeof key, "%08u", i);
        kv_put(store, key, value);
    }
    expect_attempts(1);
}

/* Twice as long each time, and for all that nobody sleeps to look what time it is. */
START_TEST(the_longer_it_lasts_the_longer_it_waits) {
    unsigned expected = 1;
    fill();
    pass(SECOND);
    expect_attempts(++expected);
    for (uint64_t us = 2 * SECOND; us <= LONGEST; us *= 2) {
        pass(us - 1);
        expect_attempts(expected);
        pass(1);
        expect_attempts(++expected);
    }
    pass(LONGEST);
    expect_attempts(++expected);
    ck_assert_uint_eq(atomic_load(&polls), 0);
    ck_assert_uint_eq(kv_stats(store).flushes, 0);
}
END_TEST

/* A commit is an occasion, but not more than one a second; and when there is room all is well. */
START_TEST(a_writer_is_noticed_at_once) {
    unsigned expected = 1;
    fill();
    for (unsigned i = 0; i < 4; i++) {
        pass((uint64_t)SECOND << i);
        expect_attempts(++expected);
    }
    pass(SECOND);
    expect_attempts(expected);
    kv_put(store, "a", "1");
    expect_attempts(++expected);
    kv_put(store, "a", "2");
    kv_put(store, "a", "3");
    expect_attempts(expected);
    pass(SECOND);
    expect_attempts(++expected);
    pass(SECOND);
    atomic_store(&full, false);
    kv_put(store, "a", "4");
    for (unsigned n = 0; n < 10000 && kv_stats(store).immutable_count; n++)
        nap(1);
    ck_assert_uint_eq(kv_stats(store).immutable_count, 0);
    ck_assert_uint_eq(atomic_load(&polls), 0);
    ck_assert_str_eq(kv_get(store, NULL, "a"), "4");
}
END_TEST

/* Nor does who asks for the flush wait until it is time, or the store's end. */
START_TEST(who_asks_is_told_at_once) {
    fill();
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(kevo_flush(store, &test_err), KEVO_FULL);
        ck_assert_uint_ge(atomic_load(&attempts), 2 + i);
    }
    atomic_store(&full, false);
    ck_ok(kevo_flush(store, &test_err));
    ck_assert_uint_eq(kv_stats(store).immutable_count, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("retry");
    TCase *tcase = tcase_create("retry");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, the_longer_it_lasts_the_longer_it_waits);
    tcase_add_test(tcase, a_writer_is_noticed_at_once);
    tcase_add_test(tcase, who_asks_is_told_at_once);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
