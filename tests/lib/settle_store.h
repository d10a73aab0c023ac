/* settle_store.h - a store in memory that settles, by a clock that tests set. */
#ifndef KEVO_TESTS_SETTLE_STORE_H
#define KEVO_TESTS_SETTLE_STORE_H

#include <stdatomic.h>
#include <stdio.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

enum { MS = 1000, SECOND = 1000 * MS };

static struct env *memory, *env;
static struct kevo_options options;
static kevo_store *store;

/* A clock that tests set, and waits that are counted. */
static _Atomic uint64_t clock_us, waits;
static void (*memory_wait)(struct env *, pthread_cond_t *, pthread_mutex_t *, uint64_t);

static inline uint64_t set_clock(struct env *e) {
    (void)e;
    return atomic_load(&clock_us);
}

static inline void counted_wait(struct env *e, pthread_cond_t *cond, pthread_mutex_t *mutex,
                                uint64_t us) {
    atomic_fetch_add(&waits, 1);
    memory_wait(e, cond, mutex, us);
}

static inline void setup(void) {
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    memory_wait = memory->cond_wait_us;
    memory->cond_wait_us = counted_wait;
    memory->recent_us = memory->now_us = set_clock;
    atomic_store(&clock_us, 1000 * SECOND);
    atomic_store(&waits, 0);
    env = fault_env_new(memory);
    options = kv_options(env);
    options.table_bytes = options.level1_bytes = 1 << 20;
    options.memtable_bytes = 64 << 10;
    options.settle_ms = 200;
    options.retain_ms = 1000;
    options.compression = KEVO_COMPRESSION_NONE;
}

static inline void teardown(void) {
    kevo_close(store);
    store = NULL;
    fault_env_free(env);
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static inline void pass(uint64_t us) {
    atomic_fetch_add(&clock_us, us);
}

/* Rows of 100 bytes and more, `step` keys apart. */
static inline void fill(unsigned first, unsigned rows, unsigned step) {
    for (unsigned i = 0; i < rows; i++) {
        char key[20], value[120];
        snprintf(key, sizeof key, "%08u", first + i * step);
        memset(value, 'a' + (int)(rows % 26), 100);
        snprintf(value + 100, 20, "%u", first);
        kv_put(store, key, value);
    }
}

/* Steps until there is nothing to do. */
static inline unsigned steps(void) {
    unsigned n = 0;
    int rc;
    while ((rc = kevo_step(store, &test_err)) == 0)
        n++;
    must(rc == KEVO_NOTFOUND ? 0 : rc);
    return n;
}

#endif
