#include "tests/bench/measure.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

void bench_die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name, what, why ? ": " : "",
            why ? why : "");
    exit(1);
}

double clock_us(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void sleep_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

uint64_t scatter(uint64_t z) {
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *list, uint64_t n) {
    qsort(list, n, sizeof *list, compare);
    return n % 2 ? list[n / 2] : (list[n / 2 - 1] + list[n / 2]) / 2;
}

/* ---- durations ----------------------------------------------------------------------- */

static unsigned bucket_of(uint64_t ns) {
    if (ns < 16) return (unsigned)ns;
    unsigned top = 63 - (unsigned)__builtin_clzll(ns);
    unsigned bucket = (top - 3) * 16 + (unsigned)(ns >> (top - 4) & 15);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static double bucket_ns(unsigned bucket) {
    if (bucket < 16) return bucket;
    return (double)((uint64_t)(16 + bucket % 16 + 1) << (bucket / 16 - 1));
}

void latencies_add(struct latencies *l, uint64_t ns) {
    l->buckets[bucket_of(ns)]++;
    l->count++;
    l->sum_ns += ns;
    if (ns > l->max_ns) l->max_ns = ns;
}

void latencies_merge(struct latencies *to, const struct latencies *l) {
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        to->buckets[i] += l->buckets[i];
    to->count += l->count;
    to->sum_ns += l->sum_ns;
    if (l->max_ns > to->max_ns) to->max_ns = l->max_ns;
}

double latencies_us(const struct latencies *l, double part) {
    uint64_t wanted = (uint64_t)((double)l->count * part), seen = 0;
    double max_us = (double)l->max_ns / 1000;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += l->buckets[i];
        double us = bucket_ns(i) / 1000;
        if (seen > wanted) return us < max_us ? us : max_us;
    }
    return max_us;
}

void series_begin(struct series *s) {
    s->seconds = 0;
    s->now = (struct latencies){.count = 0};
    s->start_ns = now_ns();
}

static void close_second(struct series *s) {
    if (s->seconds == SERIES_SECONDS) return;
    s->at[s->seconds++] =
        (struct second){s->now.count, latencies_us(&s->now, 0.99), (double)s->now.max_ns / 1000};
    s->now = (struct latencies){.count = 0};
}

void series_add(struct series *s, uint64_t end_ns, uint64_t took_ns) {
    uint64_t second = (end_ns - s->start_ns) / 1000000000;
    while (s->seconds < second && s->seconds < SERIES_SECONDS)
        close_second(s);
    latencies_add(&s->now, took_ns);
}

void series_end(struct series *s) {
    if (s->now.count) close_second(s);
}

/* ---- the process and its files ---------------------------------------------------------- */

double settle(uint64_t quiet_ms) {
    enum { QUIET_WINDOWS = 3 };
    /* Not so short that looking is itself work. */
    uint64_t window_ms = quiet_ms / QUIET_WINDOWS < 5 ? 5 : quiet_ms / QUIET_WINDOWS;
    double busy_us = window_ms < 20 ? 1000 : (double)window_ms * 50;
    double start = clock_us(CLOCK_MONOTONIC);
    for (int quiet = 0; quiet < QUIET_WINDOWS;) {
        double before = clock_us(CLOCK_PROCESS_CPUTIME_ID);
        sleep_ms((long)window_ms);
        quiet = clock_us(CLOCK_PROCESS_CPUTIME_ID) - before <= busy_us ? quiet + 1 : 0;
    }
    double took = clock_us(CLOCK_MONOTONIC) - start - (double)(QUIET_WINDOWS * window_ms) * 1000;
    return took > 0 ? took / 1e6 : 0;
}

static bool ends_with(const char *name, const char *end) {
    size_t len = strlen(name), n = strlen(end);
    return len >= n && strcmp(name + len - n, end) == 0;
}

static bool is_log(const char *name) {
    static const char *const ends[] = {".wal", ".spare", ".log", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (ends_with(name, ends[i])) return true;
    }
    return false;
}

static struct disk visited; /* by nftw(), which hands nothing on */

static int add_file(const char *path, const struct stat *st, int type, struct FTW *place) {
    (void)place;
    if (type != FTW_F) return 0;
    visited.all_bytes += (uint64_t)st->st_blocks * 512;
    if (!is_log(path)) visited.table_bytes += (uint64_t)st->st_blocks * 512;
    return 0;
}

struct disk disk_of(const char *dir) {
    visited = (struct disk){0};
    nftw(dir, add_file, 16, FTW_PHYS);
    return visited;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place) {
    (void)st;
    (void)type;
    (void)place;
    if (remove(path)) bench_die(path, strerror(errno));
    return 0;
}

void remove_dir(const char *dir) {
    nftw(dir, remove_one, 16, FTW_PHYS | FTW_DEPTH);
}

static void write_processor(FILE *csv) {
    char line[300];
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        fprintf(csv, "# processor: %s", colon + 2);
        break;
    }
    if (f) fclose(f);
}

void write_machine(FILE *csv) {
    char date[20];
    struct utsname system;
    struct tm t;
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &t));
    fprintf(csv, "# date: %s\n", date);
    write_processor(csv);
    fprintf(csv, "# cores: %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
    fprintf(csv, "# memory_gb: %.0f\n",
            (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1e9);
    if (uname(&system) != 0) return;
    int numbers = (int)strspn(system.release, "0123456789."); /* what follows names a build */
    fprintf(csv, "# kernel: %s %.*s\n", system.sysname, numbers, system.release);
}
