/* histogram.h - durations, counted in buckets that grow with them.
 *
 * Each power of two of nanoseconds has four buckets of equal width, so that what is read
 * from a bucket is wrong by a quarter at most (a coarse form of HdrHistogram, Gil Tene).
 * Durations below 8 ns have buckets of their own; the last one takes all from half an hour
 * on.
 *
 * Threads: any number may add while others read. The counters are relaxed: a reader may see
 * a duration's bucket before its sum. */
#ifndef KEVO_BASE_HISTOGRAM_H
#define KEVO_BASE_HISTOGRAM_H

#include <stdatomic.h>

#include "engine/kevo.h"

/* A zeroed one is empty. */
struct histogram {
    _Atomic uint64_t sum_ns, max_ns;
    _Atomic uint64_t buckets[KEVO_LATENCY_BUCKETS];
};

/* The bucket that counts a duration, and the longest one that it counts. */
unsigned histogram_bucket(uint64_t ns);
uint64_t histogram_bucket_max(unsigned bucket);

void histogram_add(struct histogram *h, uint64_t ns);
void histogram_read(const struct histogram *h, struct kevo_latency *latency);

#endif
