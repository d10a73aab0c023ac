/* bench_stalls.c - how evenly a store takes rows in: throughput over time, and the longest
 * that a writer ever waits.
 *
 *   bench_stalls [--rows N] [--batch N] [--threads N] [--order random|ascending]
 *                [--sync off|normal|full] [--every MS] [--dir DIR]
 *
 * Keys have 16 bytes, values 100, half of them compressible; the options are the store's
 * defaults but for `sync` (normal if not said). With --batch 1 (the default) each row is a
 * kevo_put, else N of them go into one batch. A line each MS milliseconds (1,000; 0: none):
 * rows a second, tables in level 0, memtables waiting. At the end the latencies of the
 * calls, and what the store says about stalls. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/kevo.h"
#include "tests/bench/measure.h"

enum { KEY_BYTES = 16, VALUE_BYTES = 100, MAX_WRITERS = 64 };

static struct {
    uint64_t rows, batch, threads, every_ms;
    bool ascending;
    const char *sync, *dir;
} options = {10000000, 1, 1, 1000, false, "normal", NULL};

static kevo_store *store;
static _Atomic uint64_t rows_done;
static atomic_bool finished;

/* ---- rows ----------------------------------------------------------------------------- */

static void make_key(uint8_t key[KEY_BYTES], uint64_t n) {
    uint64_t number = options.ascending ? n : scatter(n + 1);
    for (unsigned i = KEY_BYTES; i-- > 0; number >>= 4)
        key[i] = "0123456789abcdef"[number & 15];
}

static void make_value(uint8_t value[VALUE_BYTES], uint64_t n) {
    memset(value, 'v', VALUE_BYTES);
    for (unsigned i = 0; i < VALUE_BYTES / 2; i += 8) {
        uint64_t r = scatter(n * 31 + i);
        memcpy(value + i, &r, i + 8 <= VALUE_BYTES / 2 ? 8 : VALUE_BYTES / 2 - i);
    }
}

struct writer {
    pthread_t thread;
    uint64_t first, count;
    struct latencies latencies;
};

static void put_row(kevo_batch *b, uint64_t n) {
    uint8_t key[KEY_BYTES], value[VALUE_BYTES];
    struct kevo_err err;
    make_key(key, n);
    make_value(value, n);
    struct kevo_slice k = {key, sizeof key}, v = {value, sizeof value};
    if (b ? kevo_batch_put(b, k, v, &err) : kevo_put(store, k, v, &err)) bench_die("put", err.msg);
}

static void *write_rows(void *arg) {
    struct writer *w = arg;
    struct kevo_err err;
    kevo_batch *b = NULL;
    if (options.batch > 1 && kevo_batch_new(&b, &err)) bench_die("batch", err.msg);
    for (uint64_t n = 0; n < w->count;) {
        uint64_t in_batch = w->count - n < options.batch ? w->count - n : options.batch;
        if (b) kevo_batch_reset(b);
        uint64_t start = now_ns();
        for (uint64_t i = 0; i < in_batch; i++)
            put_row(b, w->first + n + i);
        if (b && kevo_apply_batch(store, b, NULL, &err)) bench_die("apply", err.msg);
        latencies_add(&w->latencies, now_ns() - start);
        n += in_batch;
        atomic_fetch_add_explicit(&rows_done, in_batch, memory_order_relaxed);
    }
    kevo_batch_free(b);
    return NULL;
}

/* ---- the run ----------------------------------------------------------------------------- */

static void *report(void *arg) {
    uint64_t before = 0, start = now_ns(), last = start;
    (void)arg;
    printf("%8s %12s %12s %10s\n", "s", "rows/s", "level 0", "memtables");
    while (!atomic_load(&finished)) {
        struct timespec t = {(time_t)(options.every_ms / 1000),
                             (long)(options.every_ms % 1000) * 1000000};
        struct kevo_stats stats;
        nanosleep(&t, NULL);
        uint64_t done = atomic_load(&rows_done), now = now_ns();
        kevo_get_stats(store, &stats);
        printf("%8.1f %12.0f %12u %10u\n", (double)(now - start) / 1e9,
               (double)(done - before) / ((double)(now - last) / 1e9), stats.table_count[0],
               stats.immutable_count + 1);
        fflush(stdout);
        before = done;
        last = now;
    }
    return NULL;
}

static void tell(const struct latencies *l, double seconds) {
    struct kevo_stats stats;
    kevo_get_stats(store, &stats);
    printf("rows              %llu in %.1f s, %.0f a second, %.2f us each\n",
           (unsigned long long)options.rows, seconds, (double)options.rows / seconds,
           seconds * 1e6 / (double)options.rows);
    printf(
        "latency of a call mean %.2f, p50 %.2f, p99 %.2f, p99.9 %.1f, p99.99 %.0f, p99.999 %.0f, "
        "longest %.0f us\n",
        (double)l->sum_ns / 1000 / (double)l->count, latencies_us(l, 0.5), latencies_us(l, 0.99),
        latencies_us(l, 0.999), latencies_us(l, 0.9999), latencies_us(l, 0.99999),
        (double)l->max_ns / 1000);
    printf("stalls            %llu, %.2f s in all, the longest %.1f ms\n",
           (unsigned long long)stats.stalls, (double)stats.stall_us / 1e6,
           (double)stats.max_stall_us / 1000);
    printf("written           log %.0f MB (%llu syncs), flushes %.0f MB, compactions %.0f MB\n",
           (double)stats.wal_bytes / 1e6, (unsigned long long)stats.wal_syncs,
           (double)stats.flush_bytes / 1e6, (double)stats.compact_write_bytes / 1e6);
}

static void run(void) {
    static struct writer writers[MAX_WRITERS];
    static struct latencies all;
    pthread_t reporter;
    uint64_t start = now_ns(), share = options.rows / options.threads;
    if (options.every_ms) pthread_create(&reporter, NULL, report, NULL);
    for (uint64_t i = 0; i < options.threads; i++) {
        bool last = i + 1 == options.threads;
        writers[i].first = i * share;
        writers[i].count = last ? options.rows - i * share : share;
        if (pthread_create(&writers[i].thread, NULL, write_rows, &writers[i]))
            bench_die("thread", "cannot be started");
    }
    for (uint64_t i = 0; i < options.threads; i++) {
        pthread_join(writers[i].thread, NULL);
        latencies_merge(&all, &writers[i].latencies);
    }
    double seconds = (double)(now_ns() - start) / 1e9;
    atomic_store(&finished, true);
    if (options.every_ms) pthread_join(reporter, NULL);
    tell(&all, seconds);
}

static uint64_t number(const char *name, const char *text, uint64_t least, uint64_t most) {
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (*end || n < least || n > most) bench_die(name, "no such number");
    return n;
}

static void read_option(const char *name, const char *value) {
    if (strcmp(name, "--rows") == 0)
        options.rows = number(name, value, 1, UINT64_MAX);
    else if (strcmp(name, "--batch") == 0)
        options.batch = number(name, value, 1, 1000000);
    else if (strcmp(name, "--threads") == 0)
        options.threads = number(name, value, 1, MAX_WRITERS);
    else if (strcmp(name, "--every") == 0)
        options.every_ms = number(name, value, 0, 3600000);
    else if (strcmp(name, "--sync") == 0)
        options.sync = value;
    else if (strcmp(name, "--order") == 0)
        options.ascending = strcmp(value, "ascending") == 0;
    else if (strcmp(name, "--dir") == 0)
        options.dir = value;
    else
        bench_die(name, "no such option");
}

int main(int argc, char **argv) {
    struct kevo_options o;
    struct kevo_err err;
    char dir[64] = "/tmp/bench_stalls.XXXXXX";
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) bench_die(argv[i], "has no value");
        read_option(argv[i], argv[i + 1]);
    }
    if (!options.dir && !(options.dir = mkdtemp(dir))) bench_die(dir, "cannot be made");
    kevo_options_default(&o);
    o.sync = strcmp(options.sync, "off") == 0    ? KEVO_SYNC_OFF
             : strcmp(options.sync, "full") == 0 ? KEVO_SYNC_FULL
                                                 : KEVO_SYNC_NORMAL;
    if (kevo_open(options.dir, &o, &store, &err)) bench_die("open", err.msg);
    run();
    kevo_close(store);
    if (kevo_destroy(options.dir, &o, &err)) bench_die("destroy", err.msg);
    return 0;
}
