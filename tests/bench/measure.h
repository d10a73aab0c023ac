/* measure.h - what the benchmarks measure with: clocks, durations and their percentiles,
 * files, the background work of a process, and the head of a file of results.
 *
 * Threads: none of these is shared; a struct belongs to one thread at a time. */
#ifndef KEVO_BENCH_MEASURE_H
#define KEVO_BENCH_MEASURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* Print what failed, and why (may be NULL), and exit: a benchmark that goes on after an
 * error measures nothing. */
_Noreturn void bench_die(const char *what, const char *why);

double clock_us(clockid_t clock);
uint64_t now_ns(void); /* of a clock that does not jump */
void sleep_ms(long ms);

/* A permutation of 64-bit numbers (the finish of splitmix64: Steele, Lea, Flood 2014). */
uint64_t scatter(uint64_t z);

double median(double *list, uint64_t n); /* sorts the list */

/* ---- durations ----------------------------------------------------------------------- */

enum { LATENCY_BUCKETS = 40 * 16, SERIES_SECONDS = 3600 };

/* Sixteen buckets for each power of two of nanoseconds: percentiles are up to 6 % too
 * high, mean and maximum exact. A zeroed one is empty. */
struct latencies {
    uint64_t buckets[LATENCY_BUCKETS], count, sum_ns, max_ns;
};

void latencies_add(struct latencies *l, uint64_t ns);
void latencies_merge(struct latencies *to, const struct latencies *l);
double latencies_us(const struct latencies *l, double part); /* 0.99: 99 % took no longer */

/* What happened in each second; what comes after SERIES_SECONDS is left out. */
struct series {
    unsigned seconds; /* complete ones and the last, begun one */
    struct second {
        uint64_t operations;
        double p99_us, max_us;
    } at[SERIES_SECONDS];
    struct latencies now; /* of the second that goes on */
    uint64_t start_ns;
};

void series_begin(struct series *s);
void series_add(struct series *s, uint64_t end_ns, uint64_t took_ns); /* in order of time */
void series_end(struct series *s);

/* ---- the process and its files ---------------------------------------------------------- */

/* Wait until the process has used hardly any processor for quiet_ms, so that its background
 * work is done. Returns the seconds it took. */
double settle(uint64_t quiet_ms);

struct disk {
    uint64_t all_bytes;   /* allocated, all files */
    uint64_t table_bytes; /* those without logs */
};

/* Of all files below a directory; one that is not there has none. */
struct disk disk_of(const char *dir);
void remove_dir(const char *dir); /* and all below it; nothing when it is not there */

/* Lines "# name: value" that say when and on what a result was measured. */
void write_machine(FILE *csv);

#endif
