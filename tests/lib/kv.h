/* kv.h - the public interface with strings for keys and values, for tests of stores.
 *
 * All of these fail the test when the engine does. */
#ifndef KEVO_TESTS_KV_H
#define KEVO_TESTS_KV_H

#include "engine/base/env.h"
#include "engine/base/slice.h"
#include "tests/lib/harness.h"

/* A directory that env_memory and crash_env can make. */
#define KV_DIR "/store"

static inline struct kevo_slice kv_slice(const char *s) {
    return slice_of_str(s);
}

/* Everything small, nothing settling, without threads: work is done by kevo_step(), kevo_flush() and
 * kevo_compact() alone. */
struct kevo_options kv_options(struct env *env);

kevo_store *kv_open(const struct kevo_options *o); /* KV_DIR */

void kv_put(kevo_store *s, const char *key, const char *value);
void kv_put_number(kevo_store *s, unsigned i, const char *value); /* key: six digits */
void kv_delete(kevo_store *s, const char *key);
void kv_txn_put(kevo_txn *t, const char *key, const char *value);
void kv_txn_delete(kevo_txn *t, const char *key);
kevo_txn *kv_txn(kevo_store *s);
kevo_snapshot *kv_snapshot(kevo_store *s);
kevo_iter *kv_iter(kevo_store *s, const struct kevo_read *read);

static const struct kevo_slice kv_all = {NULL, 0}; /* as a bound: open */

/* kevo_compact() of everything. */
static inline int kv_compact(kevo_store *s, struct kevo_err *err) {
    return kevo_compact(s, kv_all, kv_all, NULL, NULL, err);
}

/* The value, or NULL when there is none. Good for the next seven calls. */
const char *kv_get(kevo_store *s, const struct kevo_read *read, const char *key);

/* "a=1 b=2", walked forward, and checked against a walk backward. Good until the next
 * call. */
const char *kv_dump(kevo_store *s, const struct kevo_read *read);

/* Entry of an iterator as "key=value", "-" when it is not valid. */
const char *kv_entry(const kevo_iter *it);

/* How many keys it finds. */
unsigned kv_count(kevo_store *s, const struct kevo_read *read);

struct kevo_stats kv_stats(kevo_store *s);
unsigned kv_tables(kevo_store *s);                      /* in all levels */
unsigned kv_files(struct env *env, const char *suffix); /* in KV_DIR, of that ending */

/* A new env_memory with a copy of all files in KV_DIR: what a process leaves that is
 * killed now. */
struct env *kv_copy(struct env *env);

/* Names and contents of all files in KV_DIR but the lock, to be compared. Freed by the
 * caller. */
char *kv_contents(struct env *env, size_t *size);

#endif
