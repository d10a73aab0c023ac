/* bench_sql.c - kevo tables against ordinary WITHOUT ROWID tables, through libsqlite3.
 *
 *   bench_sql [--rows N] [--runs N] [--reads N] [--cache MB] [--dir DIR] [--only SIDE,SIDE]
 *             [--reuse 1] [--settle MS] [--csv FILE] KEVO.so [WORKLOAD ...]
 *
 * The sides: `sqlite`, an ordinary table with SQLite's default cache of 2 MB; `sqlite256`,
 * the same with a cache of 256 MB (--cache); `kevo`, a kevo table with the store's defaults
 * (64 MB of block cache, and 64 MB that it shares with memtables of 32 MB) in a database with SQLite's default cache.
 * Each works in a process of its own, so that its memory can be told, on a database of its
 * own; they take turns, workload by workload, and which one begins changes from run to run.
 *
 * The same for all: rows and statements (sql_load.h), 1,000 rows a bulk transaction, WAL
 * mode with the checkpoints that SQLite does by itself, synchronous=NORMAL (single_full:
 * FULL), statements prepared once, one thread, files in the page cache. Not the same: an
 * ordinary table is not compressed and has no threads of its own, a kevo table has. So
 * after a workload that writes kevo may finish its flushes and merges before the next side's
 * turn; that takes `settle` seconds, which are not in its time a row, and `cpu` microseconds
 * of processor time a row, in which they are. It has ended when the process has used hardly
 * any processor for a while (--settle, 1500 milliseconds).
 *
 * Prints microseconds a row or query, the median of the runs, and in the last column the
 * better ordinary table's over kevo's in the same run (the median again): below 1, kevo is
 * slower. What the sides read, and what they have after a workload that writes, is checked
 * to be the same. --csv writes a line a run, workload and side. --reuse takes the databases
 * that an earlier call left in DIR.
 *
 * open_first counts what closing costs in its processor time, but not in its time. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/kevo.h"
#include "tests/bench/sql_load.h"
#include "tests/bench/worker.h"

enum { MAX_RUNS = 25, MAX_LOADS = 32, SIDES = 3, SQLITE = 0, SQLITE_CACHE = 1, KEVO = 2 };

struct options {
    uint64_t rows, runs, reads, cache_mb;
    uint64_t settle_ms;
    const char *dir, *only, *csv, *extension;
    bool reuse;
};

/* What is told of a workload: by the side's process, but for the memory. */
struct result {
    double us;                     /* an operation */
    double own_us;                 /* of them, on the processor in the calling thread */
    double all_us;                 /* processor time of all threads, with what settling took */
    double settle_s;               /* until the background work was done */
    double p50_us, p99_us, max_us; /* of what is timed alone, or 0 */
    uint64_t operations, digest;
    struct disk disk;
    struct worker_memory memory;
};

struct side {
    char name[32], dir[1000];
    bool skipped, kevo;
    uint64_t cache_mb;
    struct worker worker;
    struct result results[MAX_LOADS][MAX_RUNS];
};

/* ---- a side's process ------------------------------------------------------------------ */

struct bench {
    struct sql_side side;
    enum sql_content content;
    uint64_t settle_ms;
    const char *dir;
};

static void begin_fresh(struct bench *b) {
    if (b->side.db && sqlite3_close(b->side.db) != SQLITE_OK)
        bench_die("sqlite3_close", sqlite3_errmsg(b->side.db));
    b->side.db = NULL;
    remove_dir(b->dir);
    mkdir(b->dir, 0755);
    sql_open(&b->side, true);
}

static void prepare(struct bench *b, const struct sql_load *l) {
    bool has_rows = b->content == SQL_ROWS || b->content == l->needs;
    if (l->needs == SQL_EMPTY) {
        begin_fresh(b);
    } else if (!has_rows) {
        begin_fresh(b);
        sql_fill(&b->side);
        settle(b->settle_ms);
    }
    if (l->before) l->before(&b->side);
    b->side.digest = 0;
    b->side.timed = (struct latencies){.count = 0};
}

static struct result run_load(struct bench *b, const struct sql_load *l) {
    struct result r = {.us = 0};
    struct sql_side *s = &b->side;
    prepare(b, l);
    double start = clock_us(CLOCK_MONOTONIC), own = clock_us(CLOCK_THREAD_CPUTIME_ID);
    double all = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    r.operations = l->run(s, l);
    double us = clock_us(CLOCK_MONOTONIC) - start;
    if (l->flags & SQL_TIMED_ALONE) us = (double)s->timed.sum_ns / 1000;
    r.us = us / (double)r.operations;
    r.own_us = (clock_us(CLOCK_THREAD_CPUTIME_ID) - own) / (double)r.operations;
    r.settle_s = settle(b->settle_ms);
    r.all_us = (clock_us(CLOCK_PROCESS_CPUTIME_ID) - all) / (double)r.operations;
    r.disk = disk_of(b->dir);
    if (l->after) l->after(s, l);
    r.p50_us = latencies_us(&s->timed, 0.5);
    r.p99_us = latencies_us(&s->timed, 0.99);
    r.max_us = latencies_us(&s->timed, 1);
    r.digest = s->digest;
    b->content = l->leaves;
    return r;
}

static _Noreturn void serve(struct side *side, const struct options *o) {
    static struct bench b;
    unsigned load;
    b.side = (struct sql_side){.name = side->name,
                               .kevo = side->kevo,
                               .cache_mb = side->cache_mb,
                               .extension = o->extension,
                               .rows = o->rows,
                               .reads = o->reads};
    snprintf(b.side.path, sizeof b.side.path, "%s/kv.db", side->dir);
    b.dir = side->dir;
    b.settle_ms = o->settle_ms;
    b.content = o->reuse ? SQL_ROWS : SQL_OTHER;
    if (o->reuse) sql_open(&b.side, false);
    while (worker_next(&side->worker, &load)) {
        struct result r = run_load(&b, &sql_loads[load]);
        worker_answer(&side->worker, &r, sizeof r);
    }
    if (b.side.db) sqlite3_close(b.side.db);
    exit(0);
}

/* ---- running them in turn ---------------------------------------------------------------- */

static FILE *csv; /* or NULL */

static void open_csv(const struct options *o) {
    if (!o->csv) return;
    if (!(csv = fopen(o->csv, "we"))) bench_die(o->csv, strerror(errno));
    write_machine(csv);
    fprintf(csv, "# rows: %llu\n# cache_mb: %llu\n# sqlite: %s\n# kevo: %s\n",
            (unsigned long long)o->rows, (unsigned long long)o->cache_mb, sqlite3_libversion(),
            KEVO_VERSION);
    fprintf(csv, "run,workload,side,unit,operations,us,own_us,all_us,settle_s,timed,p50_us,p99_us,"
                 "max_us,disk_bytes,table_bytes,peak_resident_bytes,peak_private_bytes,"
                 "private_bytes\n");
}

static void write_result(uint64_t run, const struct side *side, const struct sql_load *l,
                         const struct result *r) {
    if (!csv) return;
    fprintf(csv, "%llu,%s,%s,%s,%llu,%.4f,%.4f,%.4f,%.2f,", (unsigned long long)run, l->name,
            side->name, l->unit, (unsigned long long)r->operations, r->us, r->own_us, r->all_us,
            r->settle_s);
    if (l->timed)
        fprintf(csv, "%s,%.3f,%.3f,%.3f,", l->timed, r->p50_us, r->p99_us, r->max_us);
    else
        fprintf(csv, ",,,,");
    fprintf(csv, "%llu,%llu,%llu,%llu,%llu\n", (unsigned long long)r->disk.all_bytes,
            (unsigned long long)r->disk.table_bytes, (unsigned long long)r->memory.peak_resident,
            (unsigned long long)r->memory.peak_private, (unsigned long long)r->memory.private);
    fflush(csv);
}

static void compare_digests(const struct side *sides, unsigned load, uint64_t run) {
    const struct side *first = NULL;
    for (unsigned i = 0; i < SIDES; i++) {
        if (sides[i].skipped) continue;
        if (!first) first = &sides[i];
        if (sides[i].results[load][run].digest != first->results[load][run].digest)
            bench_die(sql_loads[load].name, "the sides did not read the same");
    }
}

static void take_turns(struct side *sides, unsigned load, uint64_t run) {
    for (unsigned i = 0; i < SIDES; i++) {
        struct side *side = &sides[(i + run) % SIDES];
        struct result *r = &side->results[load][run];
        if (side->skipped) continue;
        struct worker_memory memory = worker_ask(&side->worker, side->name, load, r, sizeof *r);
        r->memory = memory;
        write_result(run, side, &sql_loads[load], r);
    }
    compare_digests(sides, load, run);
}

/* ---- the report ---------------------------------------------------------------------------- */

enum figure { SPEED, CPU, P50, P99, LONGEST, SETTLE, DISK, TABLES, PEAK_RESIDENT, PEAK_PRIVATE };

static double figure_of(const struct result *r, enum figure figure) {
    switch (figure) {
    case SPEED: return r->us;
    case CPU: return r->all_us;
    case P50: return r->p50_us;
    case P99: return r->p99_us;
    case LONGEST: return r->max_us;
    case SETTLE: return r->settle_s;
    case DISK: return (double)r->disk.all_bytes / 1e6;
    case TABLES: return (double)r->disk.table_bytes / 1e6;
    case PEAK_RESIDENT: return (double)r->memory.peak_resident / 1e6;
    case PEAK_PRIVATE: return (double)r->memory.peak_private / 1e6;
    }
    return 0;
}

/* The better ordinary table's figure over kevo's, the median of the runs. */
static double ratio_of(const struct side *sides, unsigned load, uint64_t runs, enum figure f) {
    double list[MAX_RUNS];
    for (uint64_t r = 0; r < runs; r++) {
        double kevo = figure_of(&sides[KEVO].results[load][r], f), best = 0;
        for (unsigned i = 0; i < KEVO; i++) {
            double x = figure_of(&sides[i].results[load][r], f);
            if (!sides[i].skipped && (best == 0 || x < best)) best = x;
        }
        list[r] = kevo > 0 ? best / kevo : 0;
    }
    return median(list, runs);
}

static void print_figures(const struct side *sides, unsigned load, uint64_t runs, enum figure f) {
    printf("%-16s %-6s", sql_loads[load].name, f <= CPU ? sql_loads[load].unit : "");
    for (unsigned i = 0; i < SIDES; i++) {
        double list[MAX_RUNS];
        if (sides[i].skipped) continue;
        for (uint64_t r = 0; r < runs; r++)
            list[r] = figure_of(&sides[i].results[load][r], f);
        printf(" %11.*f", f <= LONGEST ? 3 : 1, median(list, runs));
    }
    double ratio = ratio_of(sides, load, runs, f);
    if (ratio > 0) printf(" %11.2f", ratio);
    printf("\n");
}

static void report(const struct side *sides, const bool *wanted, uint64_t runs) {
    enum { ALL, WRITERS, TIMED };
    static const struct {
        enum figure figure;
        int of; /* other workloads hardly change it, or have no such figure */
        const char *what;
    } tables[] = {{SPEED, ALL, "us"},
                  {CPU, ALL, "cpu, us, all threads"},
                  {P50, TIMED, "p50, us"},
                  {P99, TIMED, "p99"},
                  {LONGEST, TIMED, "longest"},
                  {SETTLE, WRITERS, "settle, s"},
                  {DISK, WRITERS, "disk, MB"},
                  {TABLES, WRITERS, "without logs, MB"},
                  {PEAK_RESIDENT, ALL, "peak resident, MB"},
                  {PEAK_PRIVATE, ALL, "peak private, MB"}};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        printf("\n%-23s", tables[t].what);
        for (unsigned i = 0; i < SIDES; i++) {
            if (!sides[i].skipped) printf(" %11s", sides[i].name);
        }
        printf(" sqlite/kevo\n");
        for (unsigned load = 0; load < sql_load_count; load++) {
            if (!wanted[load] || (tables[t].of == WRITERS && !sql_loads[load].writes) ||
                (tables[t].of == TIMED && !sql_loads[load].timed))
                continue;
            print_figures(sides, load, runs, tables[t].figure);
        }
    }
}

/* ---- the command line ------------------------------------------------------------------------ */

static _Noreturn void usage(void) {
    fprintf(stderr,
            "usage: bench_sql [--rows N] [--runs N] [--reads N] [--cache MB] [--dir DIR] "
            "[--only SIDE,SIDE] [--reuse 1] [--settle MS] [--csv FILE] KEVO.so [WORKLOAD ...]\n"
            "sides: sqlite sqlite256 (named after its cache) kevo\nworkloads:");
    for (unsigned i = 0; i < sql_load_count; i++)
        fprintf(stderr, " %s", sql_loads[i].name);
    fprintf(stderr, "\n");
    exit(1);
}

static int parse_options(int argc, char **argv, struct options *o) {
    uint64_t reuse = 0;
    struct {
        const char *name;
        uint64_t *number;
        const char **text;
    } known[] = {{"--rows", &o->rows, NULL},   {"--runs", &o->runs, NULL},
                 {"--reads", &o->reads, NULL}, {"--cache", &o->cache_mb, NULL},
                 {"--reuse", &reuse, NULL},    {"--settle", &o->settle_ms, NULL},
                 {"--dir", NULL, &o->dir},     {"--only", NULL, &o->only},
                 {"--csv", NULL, &o->csv}};
    int i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
            if (strcmp(argv[i], known[k].name) != 0) continue;
            found = true;
            if (known[k].number)
                *known[k].number = strtoull(argv[i + 1], NULL, 10);
            else
                *known[k].text = argv[i + 1];
        }
        if (!found) usage();
    }
    o->reuse = reuse != 0;
    if (o->reads == 0) o->reads = o->rows < 100000 ? o->rows : 100000;
    if (i >= argc || o->runs < 1 || o->runs > MAX_RUNS || o->rows < 1000 || o->reads < 1000 ||
        o->cache_mb < 1)
        usage();
    o->extension = argv[i++];
    return i;
}

static void choose_loads(bool *wanted, int argc, char **argv) {
    for (unsigned k = 0; k < sql_load_count; k++)
        wanted[k] = argc == 0;
    for (int i = 0; i < argc; i++) {
        bool found = false;
        for (unsigned k = 0; k < sql_load_count; k++) {
            if (strcmp(argv[i], sql_loads[k].name) != 0) continue;
            wanted[k] = found = true;
        }
        if (!found) usage();
    }
}

static bool is_named(const char *list, const char *name) {
    size_t len = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += len) {
        if ((at == list || at[-1] == ',') && (at[len] == '\0' || at[len] == ',')) return true;
    }
    return false;
}

static void choose_sides(struct side *sides, const struct options *o) {
    unsigned count = 0;
    snprintf(sides[SQLITE].name, sizeof sides[SQLITE].name, "sqlite");
    snprintf(sides[SQLITE_CACHE].name, sizeof sides[SQLITE_CACHE].name, "sqlite%llu",
             (unsigned long long)o->cache_mb);
    sides[SQLITE_CACHE].cache_mb = o->cache_mb;
    snprintf(sides[KEVO].name, sizeof sides[KEVO].name, "kevo");
    sides[KEVO].kevo = true;
    for (unsigned i = 0; i < SIDES; i++) {
        sides[i].skipped = o->only && !is_named(o->only, sides[i].name);
        if ((size_t)snprintf(sides[i].dir, sizeof sides[i].dir, "%s/%s", o->dir, sides[i].name) >=
            sizeof sides[i].dir)
            bench_die(o->dir, "the name is too long");
        count += !sides[i].skipped;
    }
    if (count == 0) usage();
}

static void run_all(struct side *sides, const bool *wanted, const struct options *o) {
    struct worker workers[SIDES];
    for (uint64_t run = 0; run < o->runs; run++) {
        unsigned count = 0;
        for (unsigned i = 0; i < SIDES; i++) {
            if (sides[i].skipped) continue;
            bool child = worker_start(workers, count);
            sides[i].worker = workers[count++];
            if (child) serve(&sides[i], o);
        }
        for (unsigned load = 0; load < sql_load_count; load++) {
            if (wanted[load]) take_turns(sides, load, run);
        }
        for (unsigned i = 0; i < SIDES; i++) {
            if (!sides[i].skipped) worker_stop(&sides[i].worker, sides[i].name);
        }
    }
}

int main(int argc, char **argv) {
    static struct side sides[SIDES];
    struct options o = {
        .rows = 1000000, .runs = 1, .cache_mb = 256, .settle_ms = 1500, .dir = "/tmp/kevo-bench"};
    bool wanted[MAX_LOADS];
    int at = parse_options(argc, argv, &o);
    choose_loads(wanted, argc - at, argv + at);
    choose_sides(sides, &o);
    signal(SIGPIPE, SIG_IGN);
    mkdir(o.dir, 0755);
    open_csv(&o);
    run_all(sides, wanted, &o);
    printf("%llu rows, %llu runs, SQLite %s, kevo %s\n", (unsigned long long)o.rows,
           (unsigned long long)o.runs, sqlite3_libversion(), KEVO_VERSION);
    report(sides, wanted, o.runs);
    if (csv) fclose(csv);
    return 0;
}
