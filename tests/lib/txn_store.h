/* txn_store.h - a store in memory whose commits it decides itself, or somebody else does. */
#ifndef KEVO_TESTS_TXN_STORE_H
#define KEVO_TESTS_TXN_STORE_H

#include "tests/lib/memory_store.h"

static bool in_runs; /* each write goes to a file */

static inline void setup_with(int authority) {
    setup_env();
    if (in_runs) options.txn_memory_bytes = 4096;
    options.authority = authority;
    store = kv_open(&options);
}

/* The process is killed: what it had not written is lost, its lock released. */
static inline void kill_and_reopen(void) {
    struct env *copy = kv_copy(env);
    kevo_close(store);
    env_memory_free(env);
    options.env = env = copy;
    store = kv_open(&options);
}

static inline void expect_error(int rc, int code, const char *part) {
    ck_assert_msg(rc == code, "expected %d, got %d: %s", code, rc, test_err.msg);
    ck_assert_msg(strstr(test_err.msg, part), "\"%s\" does not say \"%s\"", test_err.msg, part);
}

static inline struct kevo_commit prepare(kevo_txn *t) {
    struct kevo_commit c;
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err));
    return c;
}

static inline bool same(struct kevo_commit a, struct kevo_commit b) {
    return a.batch == b.batch && a.nonce == b.nonce;
}

static inline const char *dump(kevo_txn *t) {
    struct kevo_read read = {.txn = t};
    return kv_dump(store, t ? &read : NULL);
}

#endif
