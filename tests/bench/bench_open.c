/* bench_open.c - how long opening a store takes: bounded by its unflushed log and the length
 * of its manifest, not by its data.
 *
 *     bench_open [--gb 10] [--table-mb 64] [--log-mb 32] [--tables 100000] [DIRECTORY]
 *
 * Three stores are made in DIRECTORY (/tmp), one after the other, opened a few times, and
 * removed: one of so many GB in real tables of values that do not compress; the same with so
 * many MB in the log; and one whose manifest alone is real, with so many tables in edits of
 * ten. Printed is the median of the times for kevo_open() (and of the processor's), for
 * reading the first key after it, and for kevo_close(), with the files in the page cache. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/env.h"
#include "engine/base/slice.h"
#include "engine/tree/manifest.h"
#include "tests/lib/harness.h"

enum { VALUE_BYTES = 16 << 10, OPENINGS = 7, TABLES_IN_EDIT = 10 };

static struct kevo_err err;

static void must(int rc, const char *what) {
    if (rc == 0) return;
    fprintf(stderr, "bench_open: %s: %d, %s\n", what, rc, err.msg);
    exit(1);
}

static double now_ms(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- stores to be opened ----------------------------------------------------------- */

static struct kevo_options options_for(uint64_t table_bytes) {
    struct kevo_options o;
    kevo_options_default(&o);
    o.block_bytes = 64 << 10;
    o.table_bytes = table_bytes;
    o.compression = KEVO_COMPRESSION_NONE;
    o.memtable_bytes = 64 << 20;
    o.sync = KEVO_SYNC_OFF;
    o.background = false;
    return o;
}

static void fill_value(struct rng *rng, uint8_t *value) {
    for (size_t i = 0; i < VALUE_BYTES; i += 8) {
        uint64_t word = rng_next(rng);
        memcpy(value + i, &word, 8);
    }
}

static void key_of(char key[24], uint64_t i) {
    snprintf(key, 24, "row %016llu", (unsigned long long)i);
}

static void make_tables(const char *dir, const struct kevo_options *o, uint64_t bytes) {
    static uint8_t value[VALUE_BYTES];
    struct rng rng = rng_of(1);
    kevo_store *s;
    kevo_ingest *ingest;
    char key[24];
    must(kevo_open(dir, o, &s, &err), "make");
    must(kevo_ingest_new(s, &ingest, &err), "ingest");
    for (uint64_t i = 0; i < bytes / VALUE_BYTES; i++) {
        key_of(key, i);
        fill_value(&rng, value);
        must(kevo_ingest_put(ingest, slice_of_str(key), slice_of(value, VALUE_BYTES), &err), "put");
    }
    must(kevo_ingest_finish(ingest, NULL, &err), "ingest");
    kevo_ingest_free(ingest);
    kevo_close(s);
}

/* What was never flushed, in rows of 100 bytes. */
static void make_log(const char *dir, const struct kevo_options *o, uint64_t bytes) {
    static uint8_t value[VALUE_BYTES];
    struct rng rng = rng_of(2);
    kevo_store *s;
    char key[24];
    must(kevo_open(dir, o, &s, &err), "open");
    fill_value(&rng, value);
    for (uint64_t done = 0; done < bytes; done += 100) {
        key_of(key, rng_next(&rng) % 1000000000);
        size_t at = rng_below(&rng, VALUE_BYTES - 80);
        must(kevo_put(s, slice_of_str(key), slice_of(value + at, 80), &err), "put");
    }
    kevo_close(s);
}

static int no_sync(struct env *env, struct env_file *file, struct kevo_err *e) {
    (void)env;
    (void)file;
    (void)e;
    return 0;
}

static void add_table(struct version_edit *e, const struct table_home *home, uint64_t number) {
    struct table_properties p = {
        .entry_count = 1000, .key_count = 1000, .min_seq = number, .max_seq = number};
    char low[24], high[24];
    key_of(low, number * 2);
    key_of(high, number * 2 + 1);
    struct table_file *f =
        table_file_new(home, number, 64 << 20, number, &p, slice_of_str(low), slice_of_str(high));
    if (!f) exit(1);
    must(edit_add_file(e, KEVO_MAX_LEVELS - 1, f, &err), "edit");
    table_file_unref(f);
    e->has_next_file = true;
    e->next_file = number + 1;
}

/* A store of that many tables as far as its manifest goes; nothing looks at the tables before
 * they are read. */
static void make_edits(const char *dir, const struct kevo_options *o, uint64_t tables) {
    struct env env = *env_posix();
    env.sync = no_sync;
    struct table_home home = {&env, dir, NULL, NULL};
    struct manifest_state state;
    struct manifest *m;
    kevo_store *s;
    must(kevo_open(dir, o, &s, &err), "make");
    kevo_close(s);
    must(manifest_open(&home, 0644, &m, &state, &err), "manifest");
    for (uint64_t number = 1; number <= tables;) {
        struct version_edit e;
        edit_init(&e);
        for (unsigned i = 0; i < TABLES_IN_EDIT && number <= tables; i++)
            add_table(&e, &home, number++);
        must(manifest_append(m, &e, &state, &err), "append");
        edit_release(&e);
    }
    manifest_close(m);
    manifest_state_release(&state);
}

/* ---- measuring ---------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double times[OPENINGS]) {
    qsort(times, OPENINGS, sizeof *times, by_size);
    return times[OPENINGS / 2];
}

static void measure(const char *what, const char *dir, const struct kevo_options *o,
                    bool has_rows) {
    double opening[OPENINGS], computing[OPENINGS], reading[OPENINGS], closing[OPENINGS];
    struct kevo_stats stats = {0};
    uint64_t tables = 0, bytes = 0;
    char key[24];
    key_of(key, 0);
    for (unsigned i = 0; i < OPENINGS; i++) {
        kevo_store *s;
        struct kevo_value v;
        double start = now_ms(CLOCK_MONOTONIC), busy = now_ms(CLOCK_PROCESS_CPUTIME_ID);
        must(kevo_open(dir, o, &s, &err), "open");
        opening[i] = now_ms(CLOCK_MONOTONIC) - start;
        computing[i] = now_ms(CLOCK_PROCESS_CPUTIME_ID) - busy;
        if (has_rows) must(kevo_get(s, NULL, slice_of_str(key), &v, &err), "get");
        if (has_rows) kevo_value_release(&v);
        reading[i] = now_ms(CLOCK_MONOTONIC) - start - opening[i];
        kevo_get_stats(s, &stats);
        start = now_ms(CLOCK_MONOTONIC);
        kevo_close(s);
        closing[i] = now_ms(CLOCK_MONOTONIC) - start;
    }
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        tables += stats.table_count[l];
        bytes += stats.level_bytes[l];
    }
    printf("%-8s %7llu tables %8.2f GB %7.1f MB log   open %8.2f ms (%.2f of the CPU)   first key "
           "%6.2f ms   close "
           "%6.2f ms\n",
           what, (unsigned long long)tables, (double)bytes / 1e9,
           (double)stats.recovered_bytes / 1e6, median(opening), median(computing), median(reading),
           median(closing));
    fflush(stdout);
}

static uint64_t option(int argc, char **argv, const char *name, uint64_t standard) {
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) return strtoull(argv[i + 1], NULL, 10);
    }
    return standard;
}

int main(int argc, char **argv) {
    const char *parent = argc % 2 == 0 ? argv[argc - 1] : "/tmp";
    uint64_t gb = option(argc, argv, "--gb", 10), log_mb = option(argc, argv, "--log-mb", 32);
    uint64_t tables = option(argc, argv, "--tables", 100000);
    struct kevo_options o = options_for(option(argc, argv, "--table-mb", 64) << 20);
    char dir[4000];
    snprintf(dir, sizeof dir, "%s/kevo-bench-open", parent);
    make_tables(dir, &o, gb << 30);
    measure("tables", dir, &o, true);
    make_log(dir, &o, log_mb << 20);
    measure("log", dir, &o, true);
    must(kevo_destroy(dir, &o, &err), "remove");
    make_edits(dir, &o, tables);
    measure("edits", dir, &o, false);
    must(kevo_destroy(dir, &o, &err), "remove");
    return 0;
}
