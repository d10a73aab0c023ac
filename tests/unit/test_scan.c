/* Scans: prefixes and suffixes against a sorted array, scans without a merge, estimates of
 * ranges. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/mem/memtable.h"
#include "tests/lib/memory_store.h"

static void setup_options(void) {
    setup_env();
    options.sync = KEVO_SYNC_OFF;
    store = kv_open(&options);
}

/* ---- the model ------------------------------------------------------------------- */

/* Few bytes, so that prefixes, suffixes and whole keys meet often; 0xff most of all. */
enum { MAX_KEY = 5, MODEL_KEYS = 400 };
static const uint8_t letters[] = {0x00, 0x01, 'a', 0xfe, 0xff, 0xff};

struct string {
    uint8_t bytes[MAX_KEY];
    size_t len;
};

static slice of(const struct string *s) {
    return slice_of(s->bytes, s->len);
}

static struct string random_string(struct rng *r, size_t min, size_t max) {
    struct string s = {.len = min + rng_below(r, max - min + 1)};
    for (size_t i = 0; i < s.len; i++)
        s.bytes[i] = letters[rng_below(r, sizeof letters)];
    return s;
}

struct model {
    struct string keys[MODEL_KEYS]; /* ascending, all live */
    size_t count;
};

static size_t model_find(const struct model *m, slice key) {
    size_t i = 0;
    while (i < m->count && slice_cmp(of(&m->keys[i]), key) < 0)
        i++;
    return i;
}

static bool model_has(const struct model *m, size_t i, slice key) {
    return i < m->count && slice_eq(of(&m->keys[i]), key);
}

static void model_change(struct model *m, const struct string *key, bool is_put) {
    size_t i = model_find(m, of(key));
    bool is_there = model_has(m, i, of(key));
    if (is_put && !is_there) {
        memmove(m->keys + i + 1, m->keys + i, (m->count++ - i) * sizeof m->keys[0]);
        m->keys[i] = *key;
    } else if (!is_put && is_there) {
        memmove(m->keys + i, m->keys + i + 1, (--m->count - i) * sizeof m->keys[0]);
    }
}

/* What the reader wants, told by the letter of the description. */
static bool is_wanted(const struct kevo_read *r, slice key) {
    if (r->lower.data && slice_cmp(key, r->lower) < 0) return false;
    if (r->upper.data && slice_cmp(key, r->upper) >= 0) return false;
    if (key.len < r->prefix.len || key.len < r->suffix.len) return false;
    for (size_t i = 0; i < r->prefix.len; i++)
        if (key.data[i] != r->prefix.data[i]) return false;
    for (size_t i = 0; i < r->suffix.len; i++)
        if (key.data[key.len - r->suffix.len + i] != r->suffix.data[i]) return false;
    return true;
}

static struct model filtered(const struct model *m, const struct kevo_read *r) {
    struct model out = {.count = 0};
    for (size_t i = 0; i < m->count; i++)
        if (is_wanted(r, of(&m->keys[i]))) out.keys[out.count++] = m->keys[i];
    return out;
}

/* `at` is the index it must stand on; out of range: invalid. */
static void expect_at(kevo_iter *it, const struct model *m, size_t at, const char *motion) {
    ck_assert_msg(kevo_iter_valid(it) == (at < m->count), "%s: valid is %d, expected %zu of %zu",
                  motion, kevo_iter_valid(it), at, m->count);
    if (at < m->count)
        ck_assert_msg(slice_eq(kevo_iter_key(it), of(&m->keys[at])), "%s: another key", motion);
}

static size_t expect_seek(kevo_iter *it, const struct model *m, const struct string *key,
                          bool for_prev) {
    size_t at = model_find(m, of(key));
    if (for_prev) {
        if (!model_has(m, at, of(key))) at--; /* 0 - 1: none */
        ck_ok(kevo_iter_seek_for_prev(it, of(key), &test_err));
    } else {
        ck_ok(kevo_iter_seek(it, of(key), &test_err));
    }
    expect_at(it, m, at, for_prev ? "seek_for_prev" : "seek");
    return at;
}

static void check_walks(kevo_iter *it, const struct model *m) {
    ck_ok(kevo_iter_first(it, &test_err));
    for (size_t i = 0; i < m->count; i++) {
        expect_at(it, m, i, "next");
        ck_ok(kevo_iter_next(it, &test_err));
    }
    ck_assert(!kevo_iter_valid(it));
    ck_ok(kevo_iter_last(it, &test_err));
    for (size_t i = m->count; i-- > 0;) {
        expect_at(it, m, i, "prev");
        ck_ok(kevo_iter_prev(it, &test_err));
    }
    ck_assert(!kevo_iter_valid(it));
}

/* Seeks from anywhere, and turns behind them. */
static void check_seeks(kevo_iter *it, const struct model *m, struct rng *r) {
    for (unsigned i = 0; i < 30; i++) {
        struct string key = random_string(r, 0, MAX_KEY);
        size_t at = expect_seek(it, m, &key, rng_below(r, 2));
        for (unsigned step = 0; step < 6 && at < m->count; step++) {
            bool forward = rng_below(r, 2);
            at += forward ? 1 : (size_t)-1;
            ck_ok(forward ? kevo_iter_next(it, &test_err) : kevo_iter_prev(it, &test_err));
            expect_at(it, m, at, forward ? "next" : "prev");
        }
    }
}

static void change(struct model *m, kevo_txn *txn, struct rng *r) {
    struct string key = random_string(r, 1, MAX_KEY);
    bool is_put = m->count < MODEL_KEYS && rng_below(r, 3) > 0;
    slice none = {NULL, 0};
    if (txn)
        ck_ok(is_put ? kevo_txn_put(txn, of(&key), none, &test_err)
                     : kevo_txn_delete(txn, of(&key), &test_err));
    else
        ck_ok(is_put ? kevo_put(store, of(&key), none, &test_err)
                     : kevo_delete(store, of(&key), &test_err));
    model_change(m, &key, is_put);
}

struct wishes {
    struct string lower, upper, prefix, suffix;
};

/* Any of the four, mostly not all of them. */
static struct kevo_read random_read(struct rng *r, struct wishes *w) {
    struct kevo_read read = {0};
    *w = (struct wishes){random_string(r, 0, MAX_KEY), random_string(r, 0, MAX_KEY),
                         random_string(r, 0, 3), random_string(r, 0, 2)};
    if (rng_below(r, 3) == 0) read.lower = of(&w->lower);
    if (rng_below(r, 3) == 0) read.upper = of(&w->upper);
    if (rng_below(r, 3) != 0) read.prefix = of(&w->prefix);
    if (rng_below(r, 2) == 0) read.suffix = of(&w->suffix);
    return read;
}

static void check_reads(const struct model *m, kevo_txn *txn, struct rng *r) {
    for (unsigned i = 0; i < 25; i++) {
        struct wishes wishes;
        struct kevo_read read = random_read(r, &wishes);
        read.txn = txn;
        struct model wanted = filtered(m, &read);
        kevo_iter *it = kv_iter(store, &read);
        check_walks(it, &wanted);
        check_seeks(it, &wanted, r);
        kevo_iter_free(it);
    }
}

START_TEST(prefixes_and_suffixes_against_a_model) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct model m = {.count = 0};
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned i = 0; i < 60; i++)
            change(&m, NULL, &r);
        if (round % 3 == 1) ck_ok(kevo_flush(store, &test_err));
        if (round % 6 == 5) ck_ok(kv_compact(store, &test_err));
        check_reads(&m, NULL, &r);
    }
    kevo_txn *txn = kv_txn(store);
    for (unsigned i = 0; i < 40; i++)
        change(&m, txn, &r);
    check_reads(&m, txn, &r);
    kevo_txn_unref(txn);
}
END_TEST

/* An iterator that goes on while its transaction writes. */
START_TEST(a_suffix_holds_while_the_transaction_writes) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct model m = {.count = 0};
    struct wishes wishes;
    for (unsigned i = 0; i < 200; i++)
        change(&m, NULL, &r);
    kevo_txn *txn = kv_txn(store);
    for (unsigned i = 0; i < 200; i++) {
        struct kevo_read read = random_read(&r, &wishes);
        read.txn = txn;
        kevo_iter *it = kv_iter(store, &read);
        struct model wanted = filtered(&m, &read);
        ck_ok(kevo_iter_first(it, &test_err));
        expect_at(it, &wanted, 0, "first");
        for (unsigned step = 0; step < 20 && kevo_iter_valid(it); step++) {
            struct string at = {.len = kevo_iter_key(it).len};
            memcpy(at.bytes, kevo_iter_key(it).data, at.len);
            for (unsigned n = 0; n < 3; n++)
                change(&m, txn, &r);
            wanted = filtered(&m, &read);
            size_t index = model_find(&wanted, of(&at));
            bool forward = rng_below(&r, 3) > 0;
            if (forward)
                index += model_has(&wanted, index, of(&at));
            else
                index--;
            ck_ok(forward ? kevo_iter_next(it, &test_err) : kevo_iter_prev(it, &test_err));
            expect_at(it, &wanted, index, forward ? "next" : "prev");
        }
        kevo_iter_free(it);
    }
    kevo_txn_unref(txn);
}
END_TEST

static const char *with_prefix(slice prefix) {
    struct kevo_read read = {.prefix = prefix};
    return kv_dump(store, &read);
}

/* A prefix p ends before the successor of p, not at p + 0xff. */
START_TEST(prefix_ending_in_ff) {
    kv_put(store, "\xfe", "1");
    kv_put(store, "\xfe\xff", "2");
    kv_put(store, "\xfe\xff\xff\xff", "3");
    kv_put(store, "\xff", "4");
    kv_put(store, "\xff\xff", "5");
    kv_put(store, "\xff\xff\xff\xff", "6");
    if (_i) ck_ok(kevo_flush(store, &test_err));
    ck_assert_str_eq(with_prefix(kv_slice("\xfe\xff")), "\xfe\xff=2 \xfe\xff\xff\xff=3");
    ck_assert_str_eq(with_prefix(kv_slice("\xff\xff")), "\xff\xff=5 \xff\xff\xff\xff=6");
    ck_assert_str_eq(with_prefix(kv_slice("\xff")), "\xff=4 \xff\xff=5 \xff\xff\xff\xff=6");
    ck_assert_str_eq(with_prefix(kv_slice("\xff\xff\xff\xff\xff")), "");
    ck_assert_str_eq(with_prefix(kv_slice("\xfe\xff\xff\xff")), "\xfe\xff\xff\xff=3");
}
END_TEST

START_TEST(prefix_and_suffix_are_copied) {
    char prefix[] = "ab", suffix[] = "yz";
    struct kevo_read read = {.prefix = kv_slice(prefix), .suffix = kv_slice(suffix)};
    kv_put(store, "ab", "1");
    kv_put(store, "ab.yz", "2");
    kv_put(store, "ac.yz", "3");
    kevo_iter *it = kv_iter(store, &read);
    memset(prefix, 0, sizeof prefix);
    memset(suffix, 0, sizeof suffix);
    ck_ok(kevo_iter_first(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "ab.yz=2");
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "-");
    kevo_iter_free(it);
}
END_TEST

/* ---- scans without a merge --------------------------------------------------------- */

/* Sources of one iterator over [lower, upper). */
static uint64_t sources(const char *lower, const char *upper) {
    struct kevo_read read = {.lower = kv_slice(lower), .upper = kv_slice(upper)};
    uint64_t before = kv_stats(store).iterator_sources;
    kevo_iter_free(kv_iter(store, &read));
    return kv_stats(store).iterator_sources - before;
}

static void put_range(unsigned from, unsigned to) {
    char key[16];
    for (unsigned i = from; i < to; i++) {
        snprintf(key, sizeof key, "%06u", i);
        kv_put(store, key, "value");
    }
}

START_TEST(a_scan_of_one_table_merges_nothing) {
    options.memtable_count = 4;
    put_range(0, 100);
    ck_ok(kevo_flush(store, &test_err));
    put_range(200, 300);
    ck_ok(kevo_rotate(store, &test_err)); /* an immutable memtable */
    put_range(300, 400);
    ck_assert_uint_eq(kv_stats(store).immutable_count, 1);
    ck_assert_uint_eq(sources("000000", "000100"), 1);
    ck_assert_uint_eq(sources("000000", "000200"), 1);
    ck_assert_uint_eq(sources("000000", "0002000"), 2);
    ck_assert_uint_eq(sources("000250", "000260"), 1);
    ck_assert_uint_eq(sources("000250", "000350"), 2);
    ck_assert_uint_eq(sources("000000", "000400"), 3);
    ck_assert_uint_eq(sources("000399", "000400"), 1);
    ck_assert_uint_eq(sources("000400", "000500"), 0);
    ck_assert_uint_eq(sources("000100", "000200"), 0);
}
END_TEST

/* What a transaction has written and undone is void: no source either, but its own buffer
 * always is, since it may grow. */
START_TEST(void_entries_are_no_source) {
    struct kevo_commit commit;
    put_range(0, 100);
    ck_ok(kevo_flush(store, &test_err));
    kevo_txn *txn = kv_txn(store);
    kv_txn_put(txn, "000050", "other");
    ck_ok(kevo_txn_prepare(txn, KEVO_SYNC_OFF, &commit, &test_err));
    ck_assert_uint_eq(sources("000000", "000100"), 2);
    kevo_txn_rollback(txn);
    ck_ok(kevo_resolve(store, kevo_last_commit(store), &test_err)); /* the batch is cut */
    ck_assert_uint_eq(sources("000000", "000100"), 1);
    struct kevo_read read = {.txn = txn};
    kevo_iter *it = kv_iter(store, &read);
    ck_ok(kevo_iter_seek(it, kv_slice("000099"), &test_err));
    kv_txn_put(txn, "000099x", "mine");
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "000099x=mine");
    kevo_iter_free(it);
    kevo_txn_unref(txn);
}
END_TEST

static _Atomic bool stop;

/* Two keys at a time, by one batch: one in the scanned range, one outside. */
static void *write_pairs(void *arg) {
    kevo_batch *batch;
    struct kevo_err err;
    (void)arg;
    if (kevo_batch_new(&batch, &err)) abort();
    for (unsigned i = 0; !atomic_load(&stop); i++) {
        char in[16], out[16];
        snprintf(in, sizeof in, "a%06u", i % 3000);
        snprintf(out, sizeof out, "b%06u", i % 3000);
        kevo_batch_reset(batch);
        bool is_put = i / 3000 % 2 == 0;
        for (int side = 0; side < 2; side++) {
            slice key = kv_slice(side ? out : in);
            if (is_put ? kevo_batch_put(batch, key, kv_slice("v"), &err)
                       : kevo_batch_delete(batch, key, &err))
                abort();
        }
        if (kevo_apply_batch(store, batch, NULL, &err)) abort();
    }
    kevo_batch_free(batch);
    return NULL;
}

/* Memtables are left out while a writer adds to them: both halves of every batch must be
 * seen by one snapshot, or neither. */
START_TEST(scans_agree_while_a_writer_adds) {
    pthread_t writer;
    options.background = true;
    options.memtable_bytes = 32 << 10;
    kevo_close(store);
    store = kv_open(&options);
    atomic_store(&stop, false);
    ck_assert_int_eq(pthread_create(&writer, NULL, write_pairs, NULL), 0);
    unsigned most = 0;
    while (kv_stats(store).batches < 9000) { /* put, deleted, put */
        kevo_snapshot *snap = kv_snapshot(store);
        struct kevo_read in = {.snapshot = snap, .prefix = kv_slice("a")};
        struct kevo_read out = {.snapshot = snap, .prefix = kv_slice("b")};
        unsigned n = kv_count(store, &in);
        if (n > most) most = n;
        ck_assert_uint_eq(n, kv_count(store, &out));
        kevo_snapshot_free(snap);
    }
    atomic_store(&stop, true);
    pthread_join(writer, NULL);
    ck_assert_uint_gt(most, 0);
}
END_TEST

/* ---- estimates ----------------------------------------------------------------------- */

/* Between half of the truth and twice as much, and beyond that `slack`. */
static void expect_near(uint64_t told, uint64_t truth, uint64_t slack, const char *what) {
    ck_assert_msg(told <= 2 * truth + slack && told + slack >= truth / 2,
                  "%s: %llu told, %llu true", what, (unsigned long long)told,
                  (unsigned long long)truth);
}

static struct memtable *filled_memtable(unsigned n, struct rng *r) {
    struct memtable *m = memtable_new(1, 4096);
    ck_assert_ptr_nonnull(m);
    for (unsigned i = 0; i < n; i++) {
        char key[16], value[100] = {0};
        int len = snprintf(key, sizeof key, "%06u", (unsigned)((uint64_t)i * 7919 % n));
        ck_ok(memtable_add(m, slice_of(key, (size_t)len), i + 1, ENTRY_PUT,
                           slice_of(value, rng_below(r, 100)), &test_err));
    }
    return m;
}

/* Below 64 entries it counts; above, at least 64 nodes of a higher level stand for them: half or
 * twice as many would be more than five times the standard deviation off. */
START_TEST(a_memtable_estimates_its_ranges) {
    enum { N = 50021 };
    struct rng r = rng_of(harness_seed());
    struct memtable *m = filled_memtable(N, &r);
    for (unsigned i = 0; i < 400; i++) {
        uint64_t from = rng_below(&r, N), width = rng_below(&r, N - from + 1) >> rng_below(&r, 16);
        uint64_t entries, bytes;
        char lower[24], upper[24];
        snprintf(lower, sizeof lower, "%06u", (unsigned)from);
        snprintf(upper, sizeof upper, "%06u", (unsigned)(from + width));
        memtable_estimate(m, kv_slice(lower), kv_slice(upper), &entries, &bytes);
        if (width < 16) ck_assert_uint_eq(entries, width);
        expect_near(entries, width, 0, "entries");
        expect_near(bytes, entries * 55, 55 * 64, "bytes");
        ck_assert_uint_eq(memtable_overlaps(m, kv_slice(lower), kv_slice(upper)), width > 0);
    }
    memtable_unref(m);
}
END_TEST

START_TEST(an_estimate_without_bounds_is_exact) {
    struct rng r = rng_of(harness_seed());
    uint64_t entries, bytes;
    slice none = {NULL, 0};
    struct memtable *m = filled_memtable(9973, &r);
    memtable_estimate(m, none, none, &entries, &bytes);
    ck_assert_uint_eq(entries, 9973);
    expect_near(bytes, 9973 * 55, 0, "bytes");
    memtable_void(m, (struct arena_mark){0}, 0); /* everything */
    memtable_estimate(m, none, none, &entries, &bytes);
    ck_assert_uint_eq(entries, 0);
    ck_assert_uint_eq(bytes, 0);
    ck_assert(!memtable_overlaps(m, none, none));
    memtable_unref(m);
}
END_TEST

/* Memtables and tables together, in every mixture, against what a scan finds. */
START_TEST(a_store_estimates_its_ranges) {
    enum { N = 8000 };
    struct rng r = rng_of(harness_seed());
    options.memtable_bytes = 1 << 20;
    kevo_close(store);
    store = kv_open(&options);
    for (unsigned part = 0; part < 4; part++) {
        char key[24], value[200];
        memset(value, 'v', sizeof value);
        for (unsigned i = part; i < N; i += 4) {
            snprintf(key, sizeof key, "%06u", i);
            ck_ok(kevo_put(store, kv_slice(key), slice_of(value, 150), &test_err));
        }
        if (part == 0) ck_ok(kv_compact(store, &test_err));
        if (part == 1) ck_ok(kevo_flush(store, &test_err));
        if (part == 2) ck_ok(kevo_rotate(store, &test_err));
        for (unsigned i = 0; i < 40; i++) {
            uint64_t from = rng_below(&r, N), to = from + rng_below(&r, N - from + 1);
            uint64_t truth = (to - from) * (part + 1) / 4;
            char lower[24], upper[24];
            snprintf(lower, sizeof lower, "%06u", (unsigned)from);
            snprintf(upper, sizeof upper, "%06u", (unsigned)to);
            slice a = kv_slice(lower), b = kv_slice(upper);
            expect_near(kevo_approximate_count(store, a, b), truth, 20, "count");
            /* Values that are all the same are compressed away below level 0. */
            uint64_t in_full = (to - from) * part / 4 * 156;
            uint64_t size = kevo_approximate_size(store, a, b);
            ck_assert_uint_le(in_full, size * 3 / 2 + 156 * 64);
            ck_assert_uint_le(size, truth * 180 * 3 / 2 + 4096);
        }
    }
}
END_TEST

START_TEST(estimates_of_nothing) {
    put_range(0, 1000);
    slice none = {NULL, 0};
    ck_assert_uint_eq(kevo_approximate_size(store, kv_slice("x"), kv_slice("y")), 0);
    ck_assert_uint_eq(kevo_approximate_count(store, kv_slice("x"), none), 0);
    ck_assert_uint_eq(kevo_approximate_count(store, kv_slice("000500"), kv_slice("000500")), 0);
    ck_assert_uint_eq(kevo_approximate_count(store, kv_slice("000501"), kv_slice("000500")), 0);
    ck_assert_uint_eq(kevo_approximate_count(store, kv_slice("000500"), kv_slice("000510")), 10);
    ck_assert_uint_eq(kevo_approximate_size(store, kv_slice("000500"), kv_slice("000510")), 110);
    ck_assert_uint_eq(kevo_approximate_count(store, none, kv_slice("000010")), 10);
    ck_assert_uint_eq(kevo_approximate_count(store, kv_slice("000990"), none), 10);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("scan");

    TCase *affixes = tcase_create("prefix and suffix");
    tcase_add_checked_fixture(affixes, setup_options, teardown);
    tcase_set_timeout(affixes, 60);
    tcase_add_loop_test(affixes, prefixes_and_suffixes_against_a_model, 0, 4);
    tcase_add_loop_test(affixes, a_suffix_holds_while_the_transaction_writes, 0, 4);
    tcase_add_loop_test(affixes, prefix_ending_in_ff, 0, 2);
    tcase_add_test(affixes, prefix_and_suffix_are_copied);
    suite_add_tcase(suite, affixes);

    TCase *sourcing = tcase_create("sources");
    tcase_add_checked_fixture(sourcing, setup_options, teardown);
    tcase_set_timeout(sourcing, 60);
    tcase_add_test(sourcing, a_scan_of_one_table_merges_nothing);
    tcase_add_test(sourcing, void_entries_are_no_source);
    tcase_add_test(sourcing, scans_agree_while_a_writer_adds);
    suite_add_tcase(suite, sourcing);

    TCase *estimates = tcase_create("estimates");
    tcase_add_checked_fixture(estimates, setup_options, teardown);
    tcase_add_test(estimates, a_memtable_estimates_its_ranges);
    tcase_add_test(estimates, an_estimate_without_bounds_is_exact);
    tcase_add_test(estimates, a_store_estimates_its_ranges);
    tcase_add_test(estimates, estimates_of_nothing);
    suite_add_tcase(suite, estimates);

    return harness_run(suite);
}
