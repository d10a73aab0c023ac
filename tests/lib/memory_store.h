/* memory_store.h - a store in memory. */
#ifndef KEVO_TESTS_MEMORY_STORE_H
#define KEVO_TESTS_MEMORY_STORE_H

#include "tests/lib/kv.h"

static struct env *env;
static struct kevo_options options;
static kevo_store *store;

static inline void setup_env(void) {
    env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    options = kv_options(env);
}

static inline void setup(void) {
    setup_env();
    store = kv_open(&options);
}

static inline void teardown(void) {
    kevo_close(store);
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static inline void reopen(void) {
    kevo_close(store);
    store = kv_open(&options);
}

#endif
