#include "engine/base/histogram.h"

/* Buckets of a power of two. */
enum { SPLIT_BITS = 2, SPLIT = 1 << SPLIT_BITS };

unsigned histogram_bucket(uint64_t ns) {
    if (ns < SPLIT) return (unsigned)ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns);
    unsigned part = (unsigned)(ns >> (power - SPLIT_BITS)) & (SPLIT - 1);
    unsigned bucket = (power - SPLIT_BITS + 1) * SPLIT + part;
    return bucket < KEVO_LATENCY_BUCKETS ? bucket : KEVO_LATENCY_BUCKETS - 1;
}

uint64_t histogram_bucket_max(unsigned bucket) {
    if (bucket < SPLIT) return bucket;
    if (bucket >= KEVO_LATENCY_BUCKETS - 1) return UINT64_MAX;
    unsigned shift = bucket / SPLIT - 1;
    uint64_t next_part = bucket % SPLIT + SPLIT + 1;
    return (next_part << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t ns) {
    atomic_fetch_add_explicit(&h->buckets[histogram_bucket(ns)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&h->max_ns, memory_order_relaxed);
    while (ns > max && !atomic_compare_exchange_weak_explicit(
                           &h->max_ns, &max, ns, memory_order_relaxed, memory_order_relaxed)) {
    }
}

void histogram_read(const struct histogram *h, struct kevo_latency *latency) {
    *latency = (struct kevo_latency){
        .sum_ns = atomic_load_explicit(&h->sum_ns, memory_order_relaxed),
        .max_ns = atomic_load_explicit(&h->max_ns, memory_order_relaxed),
    };
    for (unsigned i = 0; i < KEVO_LATENCY_BUCKETS; i++) {
        latency->buckets[i] = atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
        latency->count += latency->buckets[i];
    }
}

/* ---- what was read ---------------------------------------------------------------- */

/* The rank of a quantile among `count`, 1 to count. */
static uint64_t rank_of(double q, uint64_t count) {
    double rank = q * (double)count;
    if (!(rank > 1)) return 1;
    uint64_t below = (uint64_t)rank;
    uint64_t up = below + ((double)below < rank);
    return up < count ? up : count;
}

uint64_t kevo_latency_quantile_ns(const struct kevo_latency *latency, double q) {
    if (latency->count == 0) return 0;
    uint64_t left = rank_of(q, latency->count);
    for (unsigned i = 0; i < KEVO_LATENCY_BUCKETS; i++) {
        if (left <= latency->buckets[i]) {
            uint64_t ns = histogram_bucket_max(i);
            return ns < latency->max_ns ? ns : latency->max_ns;
        }
        left -= latency->buckets[i];
    }
    return latency->max_ns;
}

void kevo_latency_merge(struct kevo_latency *into, const struct kevo_latency *from) {
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    if (from->max_ns > into->max_ns) into->max_ns = from->max_ns;
    for (unsigned i = 0; i < KEVO_LATENCY_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}
