#include "engine/base/histogram.h"

#include <pthread.h>
#include <stdlib.h>

#include "tests/lib/harness.h"

START_TEST(buckets_follow_one_another) {
    ck_assert_uint_eq(histogram_bucket(0), 0);
    for (unsigned i = 0; i + 1 < KEVO_LATENCY_BUCKETS; i++) {
        uint64_t max = histogram_bucket_max(i);
        ck_assert_uint_eq(histogram_bucket(max), i);
        ck_assert_uint_eq(histogram_bucket(max + 1), i + 1);
    }
    ck_assert_uint_eq(histogram_bucket(UINT64_MAX), KEVO_LATENCY_BUCKETS - 1);
    ck_assert_uint_gt(histogram_bucket_max(KEVO_LATENCY_BUCKETS - 2), 30 * 60 * 1000000000ull);
}
END_TEST

START_TEST(a_bucket_is_a_quarter_wide_at_most) {
    for (unsigned i = 8; i + 1 < KEVO_LATENCY_BUCKETS; i++) {
        uint64_t min = histogram_bucket_max(i - 1) + 1, max = histogram_bucket_max(i);
        ck_assert_uint_le(max - min, min / 4);
    }
}
END_TEST

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Durations over all powers of two that have buckets. */
static uint64_t random_ns(struct rng *r) {
    return rng_next(r) >> (24 + rng_below(r, 40));
}

START_TEST(quantiles_are_those_of_the_sorted_list) {
    enum { N = 10000 };
    static uint64_t list[N];
    static const double quantiles[] = {0, 0.001, 0.5, 0.9, 0.99, 0.999, 1};
    struct rng r = rng_of(harness_seed());
    struct histogram h = {0};
    struct kevo_latency l;
    uint64_t sum = 0;
    for (unsigned i = 0; i < N; i++) {
        list[i] = random_ns(&r);
        sum += list[i];
        histogram_add(&h, list[i]);
    }
    qsort(list, N, sizeof list[0], compare);
    histogram_read(&h, &l);
    ck_assert_uint_eq(l.count, N);
    ck_assert_uint_eq(l.sum_ns, sum);
    ck_assert_uint_eq(l.max_ns, list[N - 1]);
    for (unsigned i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
        double rank = quantiles[i] * N;
        uint64_t truth = list[rank < 1 ? 0 : (unsigned)(rank + 0.5) - 1];
        uint64_t told = kevo_latency_quantile_ns(&l, quantiles[i]);
        ck_assert_uint_ge(told, truth);
        ck_assert_uint_le(told, truth + truth / 4);
    }
}
END_TEST

START_TEST(few_durations) {
    struct histogram h = {0};
    struct kevo_latency l;
    histogram_read(&h, &l);
    ck_assert_uint_eq(kevo_latency_quantile_ns(&l, 0.5), 0);
    histogram_add(&h, 1000);
    histogram_read(&h, &l);
    for (int q = 0; q <= 10; q++)
        ck_assert_uint_eq(kevo_latency_quantile_ns(&l, q / 10.0), 1000);
    ck_assert_uint_eq(kevo_latency_quantile_ns(&l, 2), 1000);
    ck_assert_uint_eq(kevo_latency_quantile_ns(&l, -1), 1000);
    histogram_add(&h, 1);
    histogram_read(&h, &l);
    ck_assert_uint_eq(kevo_latency_quantile_ns(&l, 0.5), 1);
    ck_assert_uint_eq(kevo_latency_quantile_ns(&l, 0.51), 1000);
}
END_TEST

START_TEST(merged_is_as_counted_together) {
    struct rng r = rng_of(harness_seed());
    struct histogram parts[3] = {0}, all = {0};
    struct kevo_latency sum = {0}, together;
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t ns = random_ns(&r);
        histogram_add(&parts[i % 3], ns);
        histogram_add(&all, ns);
    }
    for (unsigned i = 0; i < 3; i++) {
        struct kevo_latency l;
        histogram_read(&parts[i], &l);
        kevo_latency_merge(&sum, &l);
    }
    histogram_read(&all, &together);
    ck_assert_mem_eq(&sum, &together, sizeof sum);
}
END_TEST

enum { THREADS = 4, EACH = 20000 };
static struct histogram shared;

static void *add_many(void *arg) {
    for (unsigned i = 1; i <= EACH; i++)
        histogram_add(&shared, i * (uint64_t)(uintptr_t)arg);
    return NULL;
}

START_TEST(threads_lose_nothing) {
    pthread_t threads[THREADS];
    struct kevo_latency l;
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, add_many, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    histogram_read(&shared, &l);
    ck_assert_uint_eq(l.count, THREADS * EACH);
    ck_assert_uint_eq(l.max_ns, THREADS * EACH);
    ck_assert_uint_eq(l.sum_ns, 10ull * EACH * (EACH + 1) / 2);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("histogram");
    TCase *tcase = tcase_create("histogram");
    tcase_add_test(tcase, buckets_follow_one_another);
    tcase_add_test(tcase, a_bucket_is_a_quarter_wide_at_most);
    tcase_add_test(tcase, quantiles_are_those_of_the_sorted_list);
    tcase_add_test(tcase, few_durations);
    tcase_add_test(tcase, merged_is_as_counted_together);
    tcase_add_test(tcase, threads_lose_nothing);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
