/* ingest_store.h - a store of small tables in memory, over an env that can be told to fail, and
 * ingestions into it. */
#ifndef KEVO_TESTS_INGEST_STORE_H
#define KEVO_TESTS_INGEST_STORE_H

#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

static struct env *memory, *env;
static struct kevo_options options;
static kevo_store *store;

static inline void setup(void) {
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    env = fault_env_new(memory);
    options = kv_options(env);
    options.memtable_bytes = 8 << 10;
    options.table_bytes = 4096;
    options.level1_bytes = 8192;
    options.l0_trigger = 2;
    options.l0_slow = options.l0_stop = 4;
}

static inline void teardown(void) {
    kevo_close(store);
    store = NULL;
    fault_env_free(env);
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static inline void reopen(void) {
    kevo_close(store);
    store = kv_open(&options);
}

static inline kevo_ingest *begin(void) {
    kevo_ingest *g;
    ck_ok(kevo_ingest_new(store, &g, &test_err));
    return g;
}

static inline void put(kevo_ingest *g, const char *key, const char *value) {
    ck_ok(kevo_ingest_put(g, kv_slice(key), kv_slice(value), &test_err));
}

static inline uint64_t finish(kevo_ingest *g) {
    uint64_t id;
    ck_ok(kevo_ingest_finish(g, &id, &test_err));
    kevo_ingest_free(g);
    return id;
}

#endif
