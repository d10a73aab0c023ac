/* Pages that are made ready by a thread of a cache, or of a store, before they are needed. */
#include "engine/base/preparer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/mem/memtable.h"
#include "engine/table/cache.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"
#include "tests/lib/late_thread.h"

enum { MB = 1 << 20, PAGES = 8, BLOCK = 4200, PAGE = MEM_HUGE_BYTES / BLOCK /* or a few less */ };

static struct env *env;
static struct cache *cache;
static uint64_t blocks; /* loaded so far */

static void setup(void) {
    kevo_set_allocator(NULL);
    env = fault_env_new(env_posix());
    fault_env_plan(env, (struct fault_plan){.kinds = FAULT_THREAD});
    cache = cache_new(PAGES * MEM_HUGE_BYTES, 0);
    ck_assert_ptr_nonnull(cache);
    cache_prepare(cache, env);
    blocks = 0;
}

static void teardown(void) {
    cache_free(cache);
    fault_env_free(env);
    mem_trim();
}

/* What a thread does takes milliseconds, or seconds on a machine that has a lot to do. */
static bool lie_ready(unsigned count) {
    for (int ms = 0; ms < 20000 && mem_is_short(count); ms++)
        usleep(1000);
    return !mem_is_short(count);
}

/* Blocks of one size, which lie in pages from the ninth on. */
static void load(unsigned count) {
    for (uint64_t end = blocks + count; blocks < end; blocks++) {
        struct cache_block *b = cache_new_block(cache, BLOCK, false);
        ck_assert_ptr_nonnull(b);
        memset(cache_block_bytes(b), (int)blocks, BLOCK);
        cache_unpin(cache, cache_publish(cache, b, 1, blocks));
    }
}

/* From the second page on. */
START_TEST(pages_of_blocks) {
    load(PAGE / 2);
    ck_assert_uint_eq(fault_env_calls(env), 0);
    load(PAGE);
    ck_assert(lie_ready(MEM_READY_PAGES));
    load(PAGE);
    ck_assert(lie_ready(MEM_READY_PAGES));
    ck_assert_uint_eq(fault_env_calls(env), 1);
}
END_TEST

/* Let it take all that it may have; whether no page is left over. */
static bool fill_up(void) {
    enum { STEP = 20 };
    for (unsigned n = 0; n < PAGES * PAGE * 3 / 2; n += STEP) {
        load(STEP);
        for (int ms = 0; ms < 10 && mem_is_short(MEM_READY_PAGES); ms++)
            usleep(1000);
        if (n == 4 * PAGE / STEP * STEP) ck_assert(lie_ready(MEM_READY_PAGES));
    }
    return mem_is_short(1);
}

/* A thread that the system lets wait for long may be late with one. */
START_TEST(no_more_pages_than_a_cache_may_have) {
    enum { ATTEMPTS = 5 };
    bool right = fill_up();
    for (int i = 1; i < ATTEMPTS && !right; i++) {
        teardown();
        setup();
        right = fill_up();
    }
    ck_assert(right);
    ck_assert_uint_eq(fault_env_calls(env), 1);
}
END_TEST

static void borrow(uint64_t bytes) {
    cache_borrow(cache, bytes);
    cache_took(cache, bytes);
}

/* Whole pages count, and what is taken of the budget elsewhere. */
START_TEST(pages_that_are_borrowed) {
    borrow(MEM_HUGE_BYTES);
    borrow(1000);
    borrow(3 * MB);
    ck_assert_uint_eq(fault_env_calls(env), 0);
    cache_charge(cache, 8 * MB);
    borrow(MEM_HUGE_BYTES); /* four of four */
    ck_assert_uint_eq(fault_env_calls(env), 0);
    cache_uncharge(cache, 8 * MB);
    borrow(MEM_HUGE_BYTES);
    ck_assert(lie_ready(MEM_READY_PAGES));
    ck_assert_uint_eq(fault_env_calls(env), 1);
    cache_give_back(cache, 3 * MEM_HUGE_BYTES + 3 * MB + 1000);
}
END_TEST

/* Those of a memtable, each told when it was taken. */
START_TEST(pages_of_memtables) {
    static const uint8_t value[1000];
    struct memtable *m = memtable_new(0, 64 << 10);
    char key[16];
    memtable_borrow(m, cache);
    for (unsigned i = 0; memtable_bytes(m) < 6 * MB; i++) {
        snprintf(key, sizeof key, "%08u", i);
        ck_ok(memtable_add(m, slice_of_str(key), 1, ENTRY_PUT, slice_of(value, sizeof value),
                           &test_err));
    }
    ck_assert(lie_ready(1));
    ck_assert_uint_eq(fault_env_calls(env), 1);
    memtable_unref(m);
}
END_TEST

/* It is tried again with the next page. */
START_TEST(threads_that_cannot_be_started) {
    fault_env_plan(env, (struct fault_plan){.kinds = FAULT_THREAD, .nth = 1, .rc = KEVO_NOMEM});
    load(PAGE + PAGE / 2);
    ck_assert(fault_env_hit(env));
    ck_assert_uint_eq(fault_env_calls(env), 1);
    ck_assert(mem_is_short(1));
    load(PAGE);
    ck_assert_uint_eq(fault_env_calls(env), 2);
    ck_assert(lie_ready(MEM_READY_PAGES));
}
END_TEST

static uint64_t used_bytes(void) {
    struct cache_stats stats;
    cache_get_stats(cache, &stats);
    return stats.used_bytes;
}

static bool has(uint64_t block) {
    struct cache_block *b = cache_get(cache, 1, block);
    if (!b) return false;
    ck_assert_uint_eq(b->data[BLOCK - 1], (uint8_t)block);
    cache_unpin(cache, b);
    return true;
}

/* A cache whose thread makes nothing ready. */
static void setup_late(struct env *slow) {
    *slow = with_late_thread(env_posix());
    cache_free(cache);
    cache = cache_new(2 * PAGES * MEM_HUGE_BYTES, 0);
    cache_prepare(cache, slow);
}

/* Blocks that nobody asks for again leave the place to others; those that are in use stay, and let
 * the cache grow. */
START_TEST(a_page_that_is_awaited) {
    struct env slow;
    setup_late(&slow);
    load(PAGE);
    for (uint64_t i = 0; i < blocks; i += 4)
        ck_assert(has(i));
    load(2 * PAGE);
    uint64_t full = used_bytes();
    ck_assert_uint_lt(full, 3 * MEM_HUGE_BYTES);
    load(5 * PAGE);
    ck_assert_uint_eq(used_bytes(), full);
    for (uint64_t i = 0; i < PAGE; i += 4)
        ck_assert(has(i));
    unsigned kept = 0;
    for (uint64_t i = blocks - 5 * PAGE; i < blocks; i++)
        kept += has(i);
    ck_assert_uint_lt(kept, PAGE / 2);
    for (uint64_t i = 0; i < blocks; i++)
        has(i);
    load(PAGE);
    ck_assert_uint_gt(used_bytes(), full);
    cache_free(cache);
    cache = NULL;
}
END_TEST

/* What was asked for again leaves its place to no newcomer while the cache may grow: not either where
 * a shard has nothing else. */
START_TEST(protected_blocks_stay_while_a_page_is_awaited) {
    enum { USED = 2 * PAGE - PAGE / 4, STEP = 10 };
    struct env slow;
    setup_late(&slow);
    load(USED);
    for (uint64_t i = 0; i < USED; i += STEP)
        ck_assert(has(i));
    load(60 * PAGE);
    for (uint64_t i = 0; i < USED; i += STEP)
        ck_assert(has(i));
    ck_assert_uint_lt(used_bytes(), PAGES * MEM_HUGE_BYTES);
    cache_free(cache);
    cache = NULL;
}
END_TEST

/* One of several that bring in blocks of their own, and look for those of all. */
static void *bring_in(void *arg) {
    uint64_t id = *(const uint64_t *)arg;
    for (uint64_t n = 0; n < 6 * PAGE; n++) {
        struct cache_block *b = cache_new_block(cache, BLOCK, false);
        memset(cache_block_bytes(b), (int)n, BLOCK);
        b = cache_publish(cache, b, id, n);
        struct cache_block *other = cache_get(cache, 1 + n % 4, n / 2);
        if (other && other->data[n % BLOCK] != (uint8_t)(n / 2)) abort();
        if (b->data[0] != (uint8_t)n || b->data[BLOCK - 1] != (uint8_t)n) abort();
        if (other) cache_unpin(cache, other);
        cache_unpin(cache, b);
    }
    return NULL;
}

START_TEST(many_threads_while_a_page_is_awaited) {
    enum { THREADS = 3 };
    struct env slow;
    pthread_t threads[THREADS];
    uint64_t ids[THREADS];
    setup_late(&slow);
    load(2 * PAGE);
    for (unsigned i = 0; i < THREADS; i++) {
        ids[i] = 2 + i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, bring_in, &ids[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_le(used_bytes(), 2 * PAGES * MEM_HUGE_BYTES);
    cache_free(cache);
    cache = NULL;
}
END_TEST

START_TEST(no_thread_without_an_env) {
    cache_free(cache);
    cache = cache_new(PAGES * MEM_HUGE_BYTES, 0);
    load(4 * PAGE);
    ck_assert(mem_is_short(1));
}
END_TEST

static void *count_and_resize(void *calls, void *p, size_t n) {
    ++*(unsigned *)calls;
    if (n) return realloc(p, n);
    free(p);
    return NULL;
}

START_TEST(no_thread_for_an_allocator_of_the_hosts_own) {
    unsigned calls = 0;
    cache_free(cache);
    kevo_set_allocator(&(struct kevo_allocator){count_and_resize, &calls});
    cache = cache_new(PAGES * MEM_HUGE_BYTES, 0);
    cache_prepare(cache, env);
    load(4 * PAGE);
    ck_assert_uint_eq(fault_env_calls(env), 0);
    ck_assert_uint_gt(calls, 4);
    cache_free(cache);
    cache = NULL;
    kevo_set_allocator(NULL);
}
END_TEST

/* Whatever it is at. */
START_TEST(released_at_any_moment) {
    for (unsigned i = 0; i < 60; i++) {
        struct preparer p;
        preparer_init(&p, env);
        for (unsigned k = 0; k < i % 4; k++)
            preparer_want(&p, MEM_READY_PAGES);
        usleep(i * 37 % 400);
        preparer_release(&p);
        mem_trim();
    }
    preparer_release(&(struct preparer){.env = NULL});
}
END_TEST

/* ---- stores ------------------------------------------------------------------------ */

enum { ROWS = 8000, ROW_BYTES = 1000 };

static struct kevo_options options;
static struct env *memory;

static void fill(void) {
    static const uint8_t value[ROW_BYTES];
    kevo_store *s = kv_open(&options);
    char key[16];
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(key, sizeof key, "%06u", i);
        ck_ok(kevo_put(s, kv_slice(key), slice_of(value, sizeof value), &test_err));
    }
    ck_ok(kevo_flush(s, &test_err));
    kevo_close(s);
}

static void read_all(kevo_store *s) {
    char key[16];
    for (unsigned i = 0; i < ROWS; i++) {
        struct kevo_value v;
        snprintf(key, sizeof key, "%06u", i);
        ck_ok(kevo_get(s, NULL, kv_slice(key), &v, &test_err));
        ck_assert_uint_eq(v.slice.len, ROW_BYTES);
        kevo_value_release(&v);
    }
}

static void setup_store(void) {
    kevo_set_allocator(NULL);
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    env = fault_env_new(memory);
    options = kv_options(env);
    options.cache_bytes = options.memtable_bytes = 64 * MB;
    options.block_bytes = 4096;
    options.table_bytes = 64 * MB;
    options.uncompressed_levels = 0; /* what is not compressed is not in the cache */
    options.sync = KEVO_SYNC_OFF;
    fill();
    fault_env_plan(env, (struct fault_plan){.kinds = FAULT_THREAD});
}

static void teardown_store(void) {
    fault_env_free(env);
    env_memory_free(memory);
}

/* Who only reads has a thread for it as well, if there are to be any, and nothing is kept. */
START_TEST(stores_that_are_read) {
    options.background = _i & 1;
    options.read_only = _i & 2;
    kevo_store *s = kv_open(&options);
    read_all(s);
    ck_assert_uint_eq(fault_env_calls(env), options.background);
    if (options.background) ck_assert(lie_ready(MEM_READY_PAGES));
    ck_assert_int_eq(mem_is_short(1), !options.background);
    kevo_close(s);
    ck_assert(mem_is_short(1));
}
END_TEST

START_TEST(stores_that_are_written) {
    static const uint8_t value[ROW_BYTES];
    char key[16];
    options.background = _i;
    kevo_store *s = kv_open(&options);
    kevo_txn *t = kv_txn(s);
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(key, sizeof key, "%06u", i);
        ck_ok(kevo_txn_put(t, kv_slice(key), slice_of(value, sizeof value), &test_err));
    }
    ck_assert_uint_eq(fault_env_calls(env), options.background);
    if (options.background) ck_assert(lie_ready(MEM_READY_PAGES));
    ck_assert_int_eq(mem_is_short(1), !options.background);
    kevo_txn_unref(t);
    kevo_close(s);
    ck_assert(mem_is_short(1));
}
END_TEST

/* With the last one all goes. */
START_TEST(several_stores) {
    enum { COUNT = 3 };
    struct env *files[COUNT];
    kevo_store *stores[COUNT];
    options.background = true;
    for (int i = 0; i < COUNT; i++) {
        options.env = files[i] = kv_copy(memory);
        stores[i] = kv_open(&options);
        read_all(stores[i]);
    }
    ck_assert(lie_ready(MEM_READY_PAGES));
    for (int i = 0; i < COUNT; i++)
        kevo_close(stores[i]);
    ck_assert(mem_is_short(1));
    for (int i = 0; i < COUNT; i++)
        env_memory_free(files[i]);
}
END_TEST

/* A thread of the parent's is none of the child's. */
static int use_in_child(kevo_store *parents) {
    struct kevo_value v;
    struct kevo_options own = options;
    kevo_store *s;
    if (kevo_get(parents, NULL, kv_slice("000000"), &v, &test_err) != KEVO_FORKED) return 1;
    kevo_close(parents);
    own.env = kv_copy(memory);
    own.background = false;
    s = kv_open(&own);
    read_all(s);
    kevo_close(s);
    return mem_make_ready(1) ? 0 : 2;
}

START_TEST(forks) {
    options.background = true;
    kevo_store *s = kv_open(&options);
    read_all(s);
    for (int i = 0; i < 5; i++) {
        fflush(NULL);
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) _exit(use_in_child(s));
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
        mem_trim();
        read_all(s);
    }
    kevo_close(s);
    ck_assert(mem_is_short(1));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("preparer");
    TCase *caches = tcase_create("caches"), *stores = tcase_create("stores");
    tcase_add_checked_fixture(caches, setup, teardown);
    tcase_add_test(caches, pages_of_blocks);
    tcase_add_test(caches, no_more_pages_than_a_cache_may_have);
    tcase_add_test(caches, pages_that_are_borrowed);
    tcase_add_test(caches, pages_of_memtables);
    tcase_add_test(caches, threads_that_cannot_be_started);
    tcase_add_test(caches, a_page_that_is_awaited);
    tcase_add_test(caches, protected_blocks_stay_while_a_page_is_awaited);
    tcase_add_test(caches, many_threads_while_a_page_is_awaited);
    tcase_add_test(caches, no_thread_without_an_env);
    tcase_add_test(caches, no_thread_for_an_allocator_of_the_hosts_own);
    tcase_add_test(caches, released_at_any_moment);
    suite_add_tcase(suite, caches);
    tcase_add_checked_fixture(stores, setup_store, teardown_store);
    tcase_add_loop_test(stores, stores_that_are_read, 0, 4);
    tcase_add_loop_test(stores, stores_that_are_written, 0, 2);
    tcase_add_test(stores, several_stores);
    tcase_add_test(stores, forks);
    suite_add_tcase(suite, stores);
    return harness_run(suite);
}
