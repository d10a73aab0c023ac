#include "engine/kevo.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/kv.h"

/* One writer gives all keys the same number in each batch, and deletes some of them
 * together; whoever reads must find one number everywhere, and never an older one than
 * before. Meanwhile threads flush, compact and verify. */

enum { KEYS = 40, MAX_THREADS = 12 };

static struct env *env;
static struct kevo_options options;
static kevo_store *store;
static atomic_bool stop;
static _Atomic uint64_t written; /* the number of the last batch committed */
static _Atomic uint64_t reads;

static void setup(void) {
    env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    options = kv_options(env);
    options.background = true;
    options.memtable_bytes = 8 << 10;
    options.l0_trigger = 2;
    options.l0_slow = options.l0_stop = 6;
    options.table_bytes = 4096;
    options.level1_bytes = 4096;
    options.cache_bytes = 16 << 10;
    options.sync = KEVO_SYNC_OFF;
    atomic_store(&stop, false);
    atomic_store(&written, 0);
    atomic_store(&reads, 0);
}

static void teardown(void) {
    kevo_close(store);
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static slice key_of(char text[8], unsigned i) {
    snprintf(text, 8, "key%03u", i);
    return kv_slice(text);
}

static bool is_there(uint64_t number, unsigned key) {
    return number % 5 != 3 || key % 4 == 0;
}

/* Numbers begin the values; some are longer than a block. */
static slice value_of(char text[600], uint64_t number, unsigned key) {
    memset(text, 'v', 600);
    int len = snprintf(text, 32, "%llu", (unsigned long long)number);
    text[len] = ' ';
    return slice_of(text, 24 + (number * key) % 500);
}

static uint64_t number_in(slice value) {
    char text[24];
    sure(value.len >= sizeof text);
    memcpy(text, value.data, sizeof text);
    text[23] = 0;
    return strtoull(text, NULL, 10);
}

static void fill_batch(kevo_batch *b, uint64_t number) {
    char key[8], value[600];
    kevo_batch_reset(b);
    for (unsigned i = 0; i < KEYS; i++) {
        slice k = key_of(key, i);
        int rc = is_there(number, i) ? kevo_batch_put(b, k, value_of(value, number, i), &test_err)
                                     : kevo_batch_delete(b, k, &test_err);
        sure(rc == 0);
    }
}

/* All of one state, in one direction. Returns its number. */
static uint64_t walk(kevo_iter *it, bool forward) {
    struct kevo_err err;
    char key[8];
    uint64_t number = 0;
    unsigned seen = 0;
    sure((forward ? kevo_iter_first(it, &err) : kevo_iter_last(it, &err)) == 0);
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned k = forward ? i : KEYS - 1 - i;
        if (!kevo_iter_valid(it)) break;
        if (seen == 0) number = number_in(kevo_iter_value(it));
        if (!is_there(number, k)) {
            sure(!slice_eq(kevo_iter_key(it), key_of(key, k)));
            continue;
        }
        sure(slice_eq(kevo_iter_key(it), key_of(key, k)));
        sure(number_in(kevo_iter_value(it)) == number);
        seen++;
        sure((forward ? kevo_iter_next(it, &err) : kevo_iter_prev(it, &err)) == 0);
    }
    sure(!kevo_iter_valid(it));
    sure(seen == (number % 5 == 3 ? KEYS / 4 : KEYS));
    return number;
}

static uint64_t walk_new(const struct kevo_read *read, bool forward) {
    struct kevo_err err;
    kevo_iter *it;
    sure(kevo_iter_new(store, read, &it, &err) == 0);
    uint64_t number = walk(it, forward);
    kevo_iter_free(it);
    return number;
}

static void *read_newest(void *arg) {
    struct kevo_err err;
    uint64_t last = 0;
    struct rng rng = rng_of(harness_seed() + *(unsigned *)arg);
    char text[8];
    while (!atomic_load(&stop)) {
        uint64_t before = atomic_load(&written);
        unsigned key = (unsigned)rng_below(&rng, KEYS);
        struct kevo_value v;
        int rc = kevo_get(store, NULL, key_of(text, key), &v, &err);
        sure(rc == 0 || rc == KEVO_NOTFOUND);
        if (rc == 0) {
            uint64_t number = number_in(v.slice);
            sure(number >= before && number >= last && is_there(number, key));
            last = number;
            if (rng_below(&rng, 100) == 0) {
                uint64_t later = walk_new(NULL, true);
                sure(later >= number && number_in(v.slice) == number);
                last = later;
            }
            kevo_value_release(&v);
        } else {
            sure(key % 4 != 0); /* these are never deleted */
        }
        if (rng_below(&rng, 20) == 0) {
            uint64_t number = walk_new(NULL, rng_below(&rng, 2));
            sure(number >= last && number >= before);
            last = number;
        }
        atomic_fetch_add(&reads, 1);
    }
    return NULL;
}

static void get_many(const struct kevo_read *read, uint64_t number, struct rng *rng) {
    struct kevo_err err;
    char text[KEVO_GET_MANY][8];
    slice list[KEVO_GET_MANY];
    unsigned key[KEVO_GET_MANY], count = KEVO_GET_MANY;
    struct kevo_value v[KEVO_GET_MANY];
    bool found[KEVO_GET_MANY];
    for (unsigned i = 0; i < count; i++)
        list[i] = key_of(text[i], key[i] = (unsigned)rng_below(rng, KEYS));
    sure(kevo_get_many(store, read, list, &count, v, found, &err) == 0);
    sure(count == KEVO_GET_MANY);
    for (unsigned i = 0; i < count; i++) {
        sure(found[i] == is_there(number, key[i]));
        if (found[i]) sure(number_in(v[i].slice) == number);
        kevo_value_release(&v[i]);
    }
}

static void *read_snapshots(void *arg) {
    struct kevo_err err;
    struct rng rng = rng_of(harness_seed() + *(unsigned *)arg);
    char text[8];
    while (!atomic_load(&stop)) {
        kevo_snapshot *snap;
        sure(kevo_snapshot_new(store, &snap, &err) == 0);
        struct kevo_read read = {.snapshot = snap};
        uint64_t number = walk_new(&read, true);
        for (unsigned i = 0; i < 30; i++) {
            unsigned key = (unsigned)rng_below(&rng, KEYS);
            struct kevo_value v;
            int rc = kevo_get(store, &read, key_of(text, key), &v, &err);
            sure(rc == (is_there(number, key) ? 0 : KEVO_NOTFOUND));
            if (rc == 0) sure(number_in(v.slice) == number);
            kevo_value_release(&v);
        }
        get_many(&read, number, &rng);
        sure(walk_new(&read, false) == number);
        kevo_snapshot_free(snap);
        atomic_fetch_add(&reads, 1);
    }
    return NULL;
}

static void *compact(void *arg) {
    struct kevo_err err;
    (void)arg;
    while (!atomic_load(&stop))
        sure(kv_compact(store, &err) == 0);
    return NULL;
}

static void *flush_and_look(void *arg) {
    struct kevo_err err;
    struct kevo_stats stats;
    (void)arg;
    while (!atomic_load(&stop)) {
        sure(kevo_flush(store, &err) == 0);
        kevo_get_stats(store, &stats);
        sure(stats.last_batch >= 1 && stats.oldest_snapshot <= stats.last_batch);
        sure(kevo_verify(store, &err) == 0);
        sure(kevo_approximate_count(store, kv_slice("key"), kv_slice("kez")) > 0);
        sure(kevo_last_commit(store).batch >= 1);
    }
    return NULL;
}

static void run(void *(*const threads[])(void *), unsigned count, uint64_t batches) {
    pthread_t ids[MAX_THREADS];
    unsigned numbers[MAX_THREADS];
    kevo_batch *b;
    ck_ok(kevo_batch_new(&b, &test_err));
    store = kv_open(&options);
    fill_batch(b, 0);
    ck_ok(kevo_apply_batch(store, b, NULL, &test_err));
    for (unsigned i = 0; i < count; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&ids[i], NULL, threads[i], &numbers[i]), 0);
    }
    for (uint64_t n = 1; n <= batches; n++) {
        fill_batch(b, n);
        must(kevo_apply_batch(store, b, NULL, &test_err));
        atomic_store(&written, n);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < count; i++)
        pthread_join(ids[i], NULL);
    kevo_batch_free(b);
    ck_assert_uint_gt(atomic_load(&reads), 0);
    ck_assert_uint_eq(walk_new(NULL, true), batches);
    kevo_close(store);
    store = kv_open(&options);
    ck_assert_uint_eq(walk_new(NULL, false), batches);
}

START_TEST(readers_see_whole_batches) {
    void *(*const threads[])(void *) = {read_newest, read_newest, read_snapshots, flush_and_look};
    options.background = _i;
    run(threads, 4, harness_count("KEVO_OPS", 400));
}
END_TEST

START_TEST(readers_see_whole_batches_while_all_is_compacted) {
    void *(*const threads[])(void *) = {read_newest, read_newest, read_snapshots, compact};
    options.background = _i;
    run(threads, 4, harness_count("KEVO_OPS", 400));
}
END_TEST

/* ---- a database's way: one writer with transactions, readers at what it committed ---- */

static struct kevo_commit committed; /* the authority's marker */
static pthread_mutex_t marker = PTHREAD_MUTEX_INITIALIZER;

static struct kevo_commit read_marker(void) {
    pthread_mutex_lock(&marker);
    struct kevo_commit c = committed;
    pthread_mutex_unlock(&marker);
    return c;
}

static void *read_at_marker(void *arg) {
    struct kevo_err err;
    uint64_t last = 0;
    (void)arg;
    while (!atomic_load(&stop)) {
        kevo_snapshot *snap;
        struct kevo_commit c = read_marker();
        int rc = kevo_snapshot_at(store, c, &snap, &err);
        sure(rc == 0 || rc == KEVO_SNAPSHOT);
        if (rc) continue; /* pinned too late */
        struct kevo_read read = {.snapshot = snap};
        uint64_t number = walk_new(&read, true);
        sure(number >= last);
        last = number;
        sure(walk_new(&read, false) == number);
        kevo_snapshot_free(snap);
        atomic_fetch_add(&reads, 1);
    }
    return NULL;
}

static void *flush_only(void *arg) {
    struct kevo_err err;
    (void)arg;
    while (!atomic_load(&stop))
        sure(kevo_flush(store, &err) == 0 && kv_compact(store, &err) == 0);
    return NULL;
}

/* One transaction: begun, prepared, and committed or not. */
static void transact(uint64_t number, bool commits) {
    char key[8], value[600];
    struct kevo_commit c;
    kevo_txn *t;
    must(kevo_resolve(store, read_marker(), &test_err));
    if (kevo_wants_rotate(store)) must(kevo_rotate(store, &test_err));
    must(kevo_txn_new(store, &t, &test_err));
    for (unsigned i = 0; i < KEYS; i++) {
        slice k = key_of(key, i);
        must(is_there(number, i) ? kevo_txn_put(t, k, value_of(value, number, i), &test_err)
                                 : kevo_txn_delete(t, k, &test_err));
    }
    must(kevo_txn_prepare(t, KEVO_SYNC_OFF, &c, &test_err));
    if (commits) {
        pthread_mutex_lock(&marker);
        committed = c;
        pthread_mutex_unlock(&marker);
        kevo_txn_commit(t);
    } else {
        kevo_txn_rollback(t);
    }
    kevo_txn_unref(t);
}

START_TEST(readers_at_the_marker_see_what_was_committed) {
    void *(*const threads[])(void *) = {read_at_marker, read_at_marker, flush_only};
    pthread_t ids[3];
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    options.retain_ms = 100;
    committed = (struct kevo_commit){0, 0};
    store = kv_open(&options);
    transact(0, true);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&ids[i], NULL, threads[i], NULL), 0);
    uint64_t count = harness_count("KEVO_OPS", 400);
    for (uint64_t n = 1; n <= count; n++) {
        if (n % 7 == 0) transact(n + 1000000, false);
        transact(n, true);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(ids[i], NULL);
    ck_assert_uint_gt(atomic_load(&reads), 0);
    ck_assert_uint_eq(walk_new(NULL, true), count);
}
END_TEST

static kevo_batch *shared;
static pthread_barrier_t together;

static void *apply_shared(void *to) {
    struct kevo_err err;
    pthread_barrier_wait(&together);
    sure(kevo_apply_batch(to, shared, NULL, &err) == 0);
    return NULL;
}

/* Nothing of a batch changes as it is applied: it can be to two stores at the same time. */
START_TEST(a_batch_for_two_stores) {
    enum { CHANGES = 1500, ROUNDS = 20 };
    kevo_store *other;
    struct rng rng = rng_of(harness_seed());
    options.background = false;
    options.memtable_bytes = 1 << 20;
    store = kv_open(&options);
    ck_ok(kevo_open("/other", &options, &other, &test_err));
    ck_ok(kevo_batch_new(&shared, &test_err));
    pthread_barrier_init(&together, NULL, 2);
    for (unsigned round = 0; round < ROUNDS; round++) {
        pthread_t id;
        kevo_batch_reset(shared);
        for (unsigned i = 0; i < CHANGES; i++) {
            uint64_t key = rng_next(&rng);
            ck_ok(kevo_batch_put(shared, slice_of(&key, sizeof key), kv_slice("v"), &test_err));
        }
        ck_assert_int_eq(pthread_create(&id, NULL, apply_shared, other), 0);
        apply_shared(store);
        pthread_join(id, NULL);
    }
    ck_assert_uint_eq(kv_stats(store).puts, CHANGES * ROUNDS);
    ck_assert_uint_eq(kv_stats(other).puts, CHANGES * ROUNDS);
    pthread_barrier_destroy(&together);
    kevo_batch_free(shared);
    kevo_close(other);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_threads");
    TCase *tc = tcase_create("threads");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, readers_see_whole_batches, 0, 2);
    tcase_add_loop_test(tc, readers_see_whole_batches_while_all_is_compacted, 0, 2);
    tcase_add_test(tc, readers_at_the_marker_see_what_was_committed);
    tcase_add_test(tc, a_batch_for_two_stores);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
