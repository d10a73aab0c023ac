/* What a transaction reads of its own writes, against an array, while it grows from nothing to
 * thousands of writes and parts of it are undone: its buffer then has entries that are not
 * linked yet, a filter from some size on, and runs where memory is short. */
#include <stdio.h>

#include "engine/base/coding.h"
#include "tests/lib/memory_store.h"

enum { KEYS = 400, MARKS = 6, STEPS = 6000, NONE = 0 };

/* values[k] is the number last put under key k, or NONE. */
struct state {
    uint32_t values[KEYS];
};

struct world {
    struct rng rng;
    kevo_txn *txn;
    struct kevo_read read;
    struct state now, marked[MARKS];
    struct kevo_mark marks[MARKS];
    unsigned mark_count;
    uint32_t number; /* of the last write */
};

/* Half of them have the same first eight bytes. */
static slice key_of(unsigned k, char text[16]) {
    snprintf(text, 16, k % 2 ? "the same%04u" : "%04u", k);
    return slice_of_str(text);
}

static void put(struct world *w, unsigned k) {
    char text[16];
    uint8_t value[4];
    put_fixed32(value, ++w->number);
    ck_ok(kevo_txn_put(w->txn, key_of(k, text), slice_of(value, 4), &test_err));
    w->now.values[k] = w->number;
}

static void drop(struct world *w, unsigned k) {
    char text[16];
    ck_ok(kevo_txn_delete(w->txn, key_of(k, text), &test_err));
    w->now.values[k] = NONE;
}

/* Even keys come before odd ones: a range of one kind. */
static void delete_range(struct world *w, unsigned k) {
    char lower[16], upper[16];
    unsigned end = k + 2 * (unsigned)rng_below(&w->rng, 5);
    ck_ok(kevo_txn_delete_range(w->txn, key_of(k, lower), key_of(end, upper), &test_err));
    for (; k < end && k < KEYS; k += 2)
        w->now.values[k] = NONE;
}

static void check(struct world *w, unsigned k) {
    char text[16];
    struct kevo_value v;
    int rc = kevo_get(store, &w->read, key_of(k, text), &v, &test_err);
    uint32_t expected = k < KEYS ? w->now.values[k] : NONE;
    if (expected == NONE) {
        if (rc != KEVO_NOTFOUND) ck_abort_msg("key %u: %d, and it is not there", k, rc);
        return;
    }
    if (rc || v.slice.len != 4 || get_fixed32(v.slice.data) != expected)
        ck_abort_msg("key %u: %d, expected %u", k, rc, expected);
    kevo_value_release(&v);
}

/* The i-th in the order of the keys. */
static unsigned nth(unsigned i) {
    return i < KEYS / 2 ? 2 * i : 2 * (i - KEYS / 2) + 1;
}

/* Writes on the way, to where the iterator stands and to any place, are seen if they lie ahead. */
static void walk(struct world *w) {
    char text[16];
    kevo_iter *it = kv_iter(store, &w->read);
    ck_ok(kevo_iter_first(it, &test_err));
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned k = nth(i);
        if (w->now.values[k] == NONE) continue;
        if (!kevo_iter_valid(it) || !slice_eq(kevo_iter_key(it), key_of(k, text)) ||
            get_fixed32(kevo_iter_value(it).data) != w->now.values[k])
            ck_abort_msg("a walk does not come to key %u", k);
        if (rng_below(&w->rng, 30) == 0) put(w, k);
        if (rng_below(&w->rng, 30) == 0) put(w, (unsigned)rng_below(&w->rng, KEYS));
        if (rng_below(&w->rng, 60) == 0) drop(w, (unsigned)rng_below(&w->rng, KEYS));
        ck_ok(kevo_iter_next(it, &test_err));
    }
    ck_assert(!kevo_iter_valid(it));
    kevo_iter_free(it);
}

static void set_mark(struct world *w) {
    if (w->mark_count == MARKS) w->mark_count = 0;
    w->marks[w->mark_count] = kevo_txn_mark(w->txn);
    w->marked[w->mark_count++] = w->now;
}

static void undo(struct world *w) {
    if (w->mark_count == 0) return;
    unsigned to = (unsigned)rng_below(&w->rng, w->mark_count);
    kevo_txn_rollback_to(w->txn, w->marks[to]);
    w->now = w->marked[to];
    w->mark_count = to + 1;
}

static void step(struct world *w) {
    unsigned k = (unsigned)rng_below(&w->rng, KEYS);
    switch (rng_below(&w->rng, 100)) {
    case 0: set_mark(w); break;
    case 1: undo(w); break;
    case 2: walk(w); break;
    case 3: delete_range(w, k); break;
    case 4:
        for (unsigned i = 0; i < 40 && k + i < KEYS; i++)
            put(w, nth(k + i)); /* ascending */
        break;
    default:
        if (rng_below(&w->rng, 3))
            put(w, k);
        else
            drop(w, k);
    }
    /* What was written last, something else, what never is. */
    for (uint64_t n = rng_below(&w->rng, 3); n > 0; n--) {
        check(w, k);
        check(w, (unsigned)rng_below(&w->rng, KEYS));
        check(w, KEYS + k);
    }
}

static void commit(struct world *w) {
    struct kevo_commit c;
    ck_ok(kevo_txn_prepare(w->txn, KEVO_SYNC_NORMAL, &c, &test_err));
    kevo_txn_commit(w->txn);
    kevo_txn_unref(w->txn);
    w->txn = NULL;
    w->read.txn = NULL;
    for (unsigned k = 0; k < KEYS; k++)
        check(w, k);
}

/* Buffers of 4 KB and 64 KB, and one that holds it all. */
START_TEST(own_reads) {
    static const uint64_t memory[] = {4096, 64 << 10, 64 << 20};
    struct world w = {.rng = rng_of(harness_seed() + (uint64_t)_i)};
    options.txn_memory_bytes = memory[_i % 3];
    store = kv_open(&options);
    for (int round = 0; round < 3; round++) {
        w.txn = w.read.txn = kv_txn(store);
        w.mark_count = 0;
        for (uint64_t n = rng_below(&w.rng, 2) ? STEPS : rng_below(&w.rng, 400); n > 0; n--)
            step(&w);
        walk(&w);
        commit(&w);
    }
}
END_TEST

/* What was read stays where it is when the transaction has gone on, was undone and is gone. */
START_TEST(values_outlive_their_transaction) {
    static const uint64_t memory[] = {4096, 64 << 20};
    struct world w = {.rng = rng_of(harness_seed())};
    struct kevo_value kept[KEYS];
    char text[16];
    options.txn_memory_bytes = memory[_i];
    store = kv_open(&options);
    w.txn = w.read.txn = kv_txn(store);
    struct kevo_mark beginning = kevo_txn_mark(w.txn);
    for (unsigned k = 0; k < KEYS; k++)
        put(&w, k);
    for (unsigned k = 0; k < KEYS; k++)
        ck_ok(kevo_get(store, &w.read, key_of(k, text), &kept[k], &test_err));
    ck_assert_int_eq(kevo_txn_is_large(w.txn), _i == 0);
    for (unsigned k = 0; k < KEYS; k++)
        drop(&w, k);
    kevo_txn_rollback_to(w.txn, beginning);
    kevo_txn_unref(w.txn);
    for (unsigned k = 0; k < KEYS; k++) {
        ck_assert_uint_eq(kept[k].slice.len, 4);
        ck_assert_uint_eq(get_fixed32(kept[k].slice.data), k + 1);
        kevo_value_release(&kept[k]);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("own_reads");
    TCase *tc = tcase_create("own_reads");
    tcase_add_checked_fixture(tc, setup_env, teardown);
    tcase_add_loop_test(tc, own_reads, 0, 9);
    tcase_add_loop_test(tc, values_outlive_their_transaction, 0, 2);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
