#include "engine/table/filter.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/checksum.h"
#include "tests/lib/harness.h"

static uint64_t hash_of(uint64_t n) {
    char key[32];
    int len = snprintf(key, sizeof key, "user%016llu", (unsigned long long)n);
    return key_hash(slice_of(key, (size_t)len));
}

/* The filter of keys 0, 1, ... count - 1. */
static struct buf filter_of(uint64_t count, unsigned bits_per_key) {
    struct filter_builder b = {0};
    struct buf out = {0};
    for (uint64_t i = 0; i < count; i++)
        ck_ok(filter_builder_add(&b, hash_of(i), &test_err));
    ck_ok(filter_builder_finish(&b, bits_per_key, &out, &test_err));
    filter_builder_release(&b);
    return out;
}

static const struct {
    uint64_t count;
    unsigned bits_per_key;
    double max_rate; /* of false positives */
} rates[] = {
    {100000, 6, 0.10},   {100000, 8, 0.035},   {100000, 10, 0.015}, {100000, 12, 0.01},
    {100000, 16, 0.002}, {100000, 64, 0.0005}, {1000, 12, 0.015},   {10, 12, 0.03},
    {1, 12, 0.03},       {1, 1, 0.03},
};

START_TEST(false_positives) {
    uint64_t count = rates[_i].count, asked = 200000, wrong = 0;
    struct buf filter = filter_of(count, rates[_i].bits_per_key);
    ck_assert_uint_eq(filter.len % 64, 0);
    ck_assert_uint_le(filter.len, count * rates[_i].bits_per_key / 8 + 64);
    uint64_t missed = 0;
    for (uint64_t i = 0; i < count; i++)
        missed += !filter_may_contain(buf_slice(&filter), hash_of(i));
    ck_assert_uint_eq(missed, 0);
    for (uint64_t i = 0; i < asked; i++)
        wrong += filter_may_contain(buf_slice(&filter), hash_of(count + i));
    double rate = (double)wrong / (double)asked;
    printf("%llu keys, %u bits: %.3f %% false positives\n", (unsigned long long)count,
           rates[_i].bits_per_key, 100 * rate);
    ck_assert_msg(rate < rates[_i].max_rate, "%llu keys, %u bits: rate %f",
                  (unsigned long long)count, rates[_i].bits_per_key, rate);
    buf_release(&filter);
}
END_TEST

/* Keys as applications have them, with as many bits as a store gives them by default. */
static slice shaped_key(char text[64], unsigned shape, uint64_t n) {
    static const char *const formats[] = {"%llu", "%016llx", "https://example.org/a/b/%llu.html",
                                          "%llu@a-suffix-that-all-of-them-have"};
    if (shape < 4)
        return slice_of(text, (size_t)snprintf(text, 64, formats[shape], (unsigned long long)n));
    if (shape == 5) n = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned i = 0; i < 8; i++)
        text[i] = (char)(n >> (56 - 8 * i)); /* ascending integers, or random ones */
    return slice_of(text, 8);
}

START_TEST(false_positives_of_common_keys) {
    struct kevo_options o;
    struct filter_builder b = {0};
    struct buf filter = {0};
    char text[64];
    uint64_t count = 100000, asked = 200000, wrong = 0;
    kevo_options_default(&o);
    for (uint64_t i = 0; i < count; i++)
        ck_ok(filter_builder_add(&b, key_hash(shaped_key(text, (unsigned)_i, 2 * i)), &test_err));
    ck_ok(filter_builder_finish(&b, o.filter_bits_per_key, &filter, &test_err));
    for (uint64_t i = 0; i < asked; i++) /* between those that are there, then above them */
        wrong += filter_may_contain(buf_slice(&filter),
                                    key_hash(shaped_key(text, (unsigned)_i, 2 * i + 1)));
    ck_assert_msg((double)wrong / (double)asked < 0.01, "shape %d: %d of %d", _i, (int)wrong,
                  (int)asked);
    buf_release(&filter);
    filter_builder_release(&b);
}
END_TEST

START_TEST(appends) {
    struct filter_builder b = {0};
    struct buf out = {0};
    ck_assert(buf_append(&out, "before", 6));
    ck_ok(filter_builder_add(&b, hash_of(1), &test_err));
    ck_ok(filter_builder_finish(&b, 10, &out, &test_err));
    ck_assert_uint_eq(out.len, 6 + 64);
    ck_assert_mem_eq(out.data, "before", 6);
    ck_assert(filter_may_contain(slice_of(out.data + 6, 64), hash_of(1)));
    ck_assert(!filter_may_contain(slice_of(out.data + 6, 64), hash_of(2)));
    buf_release(&out);
    filter_builder_release(&b);
}
END_TEST

/* The layout on disk: these bytes never change. */
START_TEST(golden) {
    struct filter_builder b = {0};
    struct buf out = {0};
    ck_ok(filter_builder_add(&b, UINT64_C(0x0123456789abcdef), &test_err));
    ck_ok(filter_builder_finish(&b, 12, &out, &test_err));
    ck_assert_uint_eq(out.len, 64);
    uint64_t product = UINT64_C(0x0123456789abcdef) * UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned word = 0; word < 8; word++) {
        unsigned bit = (unsigned)(product >> (16 + 6 * word)) & 63;
        for (unsigned byte = 0; byte < 8; byte++)
            ck_assert_uint_eq(out.data[8 * word + byte], bit / 8 == byte ? 1u << bit % 8 : 0);
    }
    buf_release(&out);
    filter_builder_release(&b);
}
END_TEST

START_TEST(empty_and_senseless) {
    struct buf none = filter_of(0, 12), off = filter_of(100, 0);
    ck_assert_uint_eq(none.len, 0);
    ck_assert_uint_eq(off.len, 0);
    ck_assert(filter_may_contain(buf_slice(&none), 7));
    uint8_t zeros[192] = {0};
    for (size_t len = 0; len < sizeof zeros; len++)
        ck_assert_int_eq(filter_may_contain(slice_of(zeros, len), 7), len % 64 != 0 || len == 0);
    buf_release(&none);
    buf_release(&off);
}
END_TEST

/* Whatever the bytes, an answer, and no byte beyond them is read. */
START_TEST(any_bytes) {
    struct rng rng = rng_of(harness_seed());
    for (int round = 0; round < 2000; round++) {
        size_t len = rng_below(&rng, 260);
        uint8_t *bytes = malloc(len + 1);
        uint8_t *exact = bytes + 1; /* unaligned */
        for (size_t i = 0; i < len; i++)
            exact[i] = (uint8_t)rng_next(&rng);
        filter_may_contain(slice_of(exact, len), rng_next(&rng));
        filter_may_contain(slice_of(exact, len), UINT64_MAX);
        free(bytes);
    }
}
END_TEST

static int build_100(void) {
    struct filter_builder b = {0};
    struct buf out = {0};
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < 100; i++)
        rc = filter_builder_add(&b, hash_of(i), &test_err);
    if (rc == 0) rc = filter_builder_finish(&b, 10, &out, &test_err);
    filter_builder_release(&b);
    buf_release(&out);
    return rc;
}

START_TEST(no_memory) {
    uint64_t before = fault_alloc_live();
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc; n++) {
        fault_alloc_fail_at(n, n % 2);
        rc = build_100();
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        ck_assert_int_eq(rc, hit ? KEVO_NOMEM : 0);
        ck_assert_uint_eq(fault_alloc_live(), before);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("filter");
    TCase *tcase = tcase_create("filter");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, false_positives, 0, (int)(sizeof rates / sizeof *rates));
    tcase_add_loop_test(tcase, false_positives_of_common_keys, 0, 6);
    tcase_add_test(tcase, appends);
    tcase_add_test(tcase, golden);
    tcase_add_test(tcase, empty_and_senseless);
    tcase_add_test(tcase, any_bytes);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
