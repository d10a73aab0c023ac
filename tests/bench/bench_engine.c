/* bench_engine.c - Kevo's C interface against LevelDB's, RocksDB's and LMDB's.
 *
 *   bench_engine [--rows N] [--runs N] [--reads N] [--cache MB] [--memtable MB]
 *                [--dir DIR] [--engines NAME,NAME] [--reuse 1] [--settle MS] [--csv FILE]
 *                [--series FILE] [LOAD ...]
 *
 * Each engine works in a process of its own, so that its memory can be told, and all get
 * the same: rows (load.h), 1,000 of them a batch, a log that is not synced (fillsync: each
 * commit), as much cache, memtables of one size, 10 filter bits a key. The rest is in the
 * head of each peer_*.c. They take turns, load by load; after each load the engine may
 * finish its compactions, which is timed apart ("settle"), so that it does not work in
 * another one's turn: it is waited for until its process has used hardly any processor
 * for a while (--settle, 1500 milliseconds).
 *
 * Prints microseconds an operation, the median of the runs, and how many times faster
 * kevo is than the best log-structured peer of the same run; the same in processor time,
 * which says more on a busy machine; percentiles where calls are timed one by one (load.h),
 * for all engines alike; memory and size on disk afterwards. What the engines read is
 * checked to be the same. --csv writes a line a run, load and engine, --series one a second
 * of those loads whose calls are timed over time. --reuse takes the databases that an
 * earlier call left in DIR. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/bench/load.h"
#include "tests/bench/worker.h"

enum { MAX_RUNS = 25, MAX_ENGINES = 4, MAX_LOADS = 32, PATH_BYTES = 1024 };

struct options {
    uint64_t rows, runs, reads, cache_mb, memtable_mb;
    uint64_t settle_ms;
    const char *dir, *engines, *csv, *series;
    bool reuse;
};

/* What is told of a load: by the engine's process, but for the memory. */
struct result {
    double us;       /* an operation */
    double own_us;   /* of them, on the processor in the calling thread */
    double all_us;   /* processor time of all threads, with what settling took */
    double settle_s; /* until the background work was done */
    double p50_us, p99_us, p999_us, max_us; /* of the calls that were timed, or 0 */
    double beside_s;                        /* calls a second that another thread made meanwhile */
    uint64_t operations, digest;
    struct disk disk;
    struct worker_memory memory;
};

struct answer {
    struct result result;
    unsigned seconds;
    struct second at[SERIES_SECONDS];
};

static const struct peer *const peers[] = {
    &peer_kevo,
#ifdef HAVE_LEVELDB
    &peer_leveldb,
#endif
#ifdef HAVE_ROCKSDB
    &peer_rocksdb,
#endif
#ifdef HAVE_LMDB
    &peer_lmdb,
#endif
};
enum { peer_count = sizeof peers / sizeof peers[0] };

struct engine {
    const struct peer *peer;
    char dir[PATH_BYTES];
    struct result results[MAX_LOADS][MAX_RUNS];
};

/* ---- the engine's process ------------------------------------------------------------------ */

struct bench {
    struct load_state state;
    struct peer_config config;
    enum load_content content;
    uint64_t settle_ms;
};

static void reopen(struct bench *b, bool fresh, bool sync) {
    struct load_state *s = &b->state;
    if (s->db) s->peer->close(s->db);
    if (fresh) remove_dir(b->config.dir);
    b->config.sync = sync;
    s->db = s->peer->open(&b->config);
}

static void prepare(struct bench *b, const struct load *load) {
    enum load_content needs = load->needs;
    if (needs == CONTENT_EMPTY || needs == CONTENT_SYNCED) {
        reopen(b, true, needs == CONTENT_SYNCED);
    } else if (b->content != needs) {
        if (b->content != CONTENT_ROWS) reopen(b, true, false);
        load_prepare(&b->state, b->content, needs);
        settle(b->settle_ms);
    }
    if (load->prepare) load->prepare(&b->state);
    b->state.digest = b->state.beside = 0;
    b->state.timed = (struct latencies){.count = 0};
    b->state.series.seconds = 0;
}

static void run_load(struct bench *b, const struct load *load, struct answer *a) {
    struct load_state *s = &b->state;
    struct result *r = &a->result;
    prepare(b, load);
    double start = clock_us(CLOCK_MONOTONIC), own = clock_us(CLOCK_THREAD_CPUTIME_ID);
    double all = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    r->operations = load->run(s);
    double us = clock_us(CLOCK_MONOTONIC) - start;
    r->us = us / (double)r->operations;
    r->own_us = (clock_us(CLOCK_THREAD_CPUTIME_ID) - own) / (double)r->operations;
    r->beside_s = (double)s->beside / us * 1e6;
    r->settle_s = settle(b->settle_ms);
    r->all_us = (clock_us(CLOCK_PROCESS_CPUTIME_ID) - all) / (double)r->operations;
    r->p50_us = latencies_us(&s->timed, 0.5);
    r->p99_us = latencies_us(&s->timed, 0.99);
    r->p999_us = latencies_us(&s->timed, 0.999);
    r->max_us = latencies_us(&s->timed, 1);
    r->digest = s->digest;
    r->disk = disk_of(b->config.dir);
    a->seconds = s->series.seconds;
    memcpy(a->at, s->series.at, sizeof a->at);
    b->content = load->leaves;
}

/* The engine's process: loads come as their numbers, results go back. */
static _Noreturn void serve(struct worker *w, const struct engine *e, const struct options *o) {
    static struct answer answer;
    static struct bench b;
    unsigned load;
    b.state.peer = e->peer;
    b.state.rows = o->rows;
    b.state.reads = o->reads;
    b.config = (struct peer_config){
        .dir = e->dir, .cache_bytes = o->cache_mb << 20, .memtable_bytes = o->memtable_mb << 20};
    b.content = o->reuse ? CONTENT_ROWS : CONTENT_OTHER;
    b.settle_ms = o->settle_ms;
    load_init();
    if (o->reuse) reopen(&b, false, false);
    while (worker_next(w, &load)) {
        run_load(&b, &loads[load], &answer);
        worker_answer(w, &answer, sizeof answer);
    }
    if (b.state.db) e->peer->close(b.state.db);
    load_release(&b.state);
    exit(0);
}

/* ---- running them in turn -------------------------------------------------------------------- */

static FILE *csv, *series_csv; /* or NULL */

static FILE *open_csv(const char *path, const struct options *o, const char *columns) {
    if (!path) return NULL;
    FILE *f = fopen(path, "we");
    if (!f) bench_die(path, strerror(errno));
    write_machine(f);
    fprintf(f, "# rows: %llu\n# cache_mb: %llu\n# memtable_mb: %llu\n", (unsigned long long)o->rows,
            (unsigned long long)o->cache_mb, (unsigned long long)o->memtable_mb);
    for (size_t i = 0; i < peer_count; i++) {
        char text[100];
        peers[i]->describe(text, sizeof text);
        fprintf(f, "# %s: %s\n", peers[i]->name, text);
    }
    fprintf(f, "%s\n", columns);
    return f;
}

static void write_result(uint64_t run, const struct engine *e, const struct load *load,
                         const struct result *r) {
    if (!csv) return;
    fprintf(csv, "%llu,%s,%s,%s,%llu,%.4f,%.4f,%.4f,%.2f,%.3f,%.3f,%.3f,%.3f,%.0f,",
            (unsigned long long)run, load->name, e->peer->name, load->unit,
            (unsigned long long)r->operations, r->us, r->own_us, r->all_us, r->settle_s, r->p50_us,
            r->p99_us, r->p999_us, r->max_us, r->beside_s);
    fprintf(csv, "%llu,%llu,%llu,%llu,%llu\n", (unsigned long long)r->disk.all_bytes,
            (unsigned long long)r->disk.table_bytes, (unsigned long long)r->memory.peak_resident,
            (unsigned long long)r->memory.peak_private, (unsigned long long)r->memory.private);
    fflush(csv);
}

static void write_series(uint64_t run, const struct engine *e, const struct load *load,
                         const struct answer *a) {
    for (unsigned i = 0; series_csv && i < a->seconds; i++)
        fprintf(series_csv, "%llu,%s,%s,%u,%llu,%.3f,%.3f\n", (unsigned long long)run, load->name,
                e->peer->name, i, (unsigned long long)a->at[i].operations, a->at[i].p99_us,
                a->at[i].max_us);
    if (series_csv) fflush(series_csv);
}

/* A load by all engines; which one begins changes from run to run. */
static void take_turns(struct worker *workers, struct engine *engines, unsigned count,
                       unsigned load, uint64_t run) {
    static struct answer answer;
    for (unsigned i = 0; i < count; i++) {
        unsigned at = (unsigned)((i + run) % count);
        struct engine *e = &engines[at];
        struct worker_memory memory =
            worker_ask(&workers[at], e->peer->name, load, &answer, sizeof answer);
        answer.result.memory = memory;
        e->results[load][run] = answer.result;
        write_result(run, e, &loads[load], &answer.result);
        write_series(run, e, &loads[load], &answer);
    }
    for (unsigned i = 1; i < count; i++) {
        if (engines[i].results[load][run].digest != engines[0].results[load][run].digest)
            bench_die(loads[load].name, "the engines did not read the same");
    }
}

/* ---- the report ------------------------------------------------------------------------------- */

enum figure {
    SPEED,
    OWN,
    ALL,
    P50,
    P99,
    P999,
    LONGEST,
    SETTLE,
    DISK,
    TABLES,
    PEAK_RESIDENT,
    PEAK_PRIVATE,
    PRIVATE
};

static double figure_of(const struct result *r, enum figure figure) {
    switch (figure) {
    case SPEED: return r->us;
    case OWN: return r->own_us;
    case ALL: return r->all_us;
    case P50: return r->p50_us;
    case P99: return r->p99_us;
    case P999: return r->p999_us;
    case LONGEST: return r->max_us;
    case SETTLE: return r->settle_s;
    case DISK: return (double)r->disk.all_bytes / 1e6;
    case TABLES: return (double)r->disk.table_bytes / 1e6;
    case PEAK_RESIDENT: return (double)r->memory.peak_resident / 1e6;
    case PEAK_PRIVATE: return (double)r->memory.peak_private / 1e6;
    case PRIVATE: return (double)r->memory.private / 1e6;
    }
    return 0;
}

static double median_of(const struct engine *e, unsigned load, uint64_t runs, enum figure figure) {
    double list[MAX_RUNS];
    for (uint64_t r = 0; r < runs; r++)
        list[r] = figure_of(&e->results[load][r], figure);
    return median(list, runs);
}

/* In the median of the runs, the best log-structured peer's figure over kevo's; 0: there is
 * none. */
static double ratio_of(const struct engine *engines, unsigned count, unsigned load, uint64_t runs,
                       enum figure figure) {
    double list[MAX_RUNS];
    for (uint64_t r = 0; r < runs; r++) {
        double best = 0, kevo = 0;
        for (unsigned i = 0; i < count; i++) {
            double x = figure_of(&engines[i].results[load][r], figure);
            if (engines[i].peer == &peer_kevo) kevo = x;
            if (engines[i].peer->is_lsm && (best == 0 || x < best)) best = x;
        }
        list[r] = kevo > 0 ? best / kevo : 0;
    }
    return median(list, runs);
}

static void print_figures(const struct engine *engines, unsigned count, unsigned load,
                          uint64_t runs, enum figure figure) {
    printf("%-20s %-4s", loads[load].name, figure <= ALL ? loads[load].unit : "");
    for (unsigned i = 0; i < count; i++)
        printf(" %10.*f", figure <= LONGEST ? 3 : 1, median_of(&engines[i], load, runs, figure));
    double ratio = ratio_of(engines, count, load, runs, figure);
    if (ratio > 0) printf(" %9.2f", ratio);
    printf("\n");
    fflush(stdout);
}

static void print_head(const struct engine *engines, unsigned count, const char *what) {
    printf("\n%-25s", what);
    for (unsigned i = 0; i < count; i++)
        printf(" %10s", engines[i].peer->name);
    printf(" peer/kevo\n");
}

static void report(const struct engine *engines, unsigned count, const bool *wanted,
                   uint64_t runs) {
    enum { ALL_LOADS, WRITERS, TIMED };
    static const struct {
        enum figure figure;
        int of; /* other loads hardly change it, or have no such figure */
        const char *what;
    } tables[] = {{SPEED, ALL_LOADS, "us an operation"},
                  {OWN, ALL_LOADS, "its own processor time"},
                  {ALL, WRITERS, "and in the background"},
                  {P50, TIMED, "p50 of a call, us"},
                  {P99, TIMED, "p99"},
                  {P999, TIMED, "p99.9"},
                  {LONGEST, TIMED, "longest"},
                  {SETTLE, WRITERS, "settle after it, s"},
                  {DISK, WRITERS, "disk, MB"},
                  {TABLES, WRITERS, "disk without logs, MB"},
                  {PEAK_RESIDENT, ALL_LOADS, "peak resident, MB"},
                  {PEAK_PRIVATE, ALL_LOADS, "peak private, MB"},
                  {PRIVATE, ALL_LOADS, "private afterwards, MB"}};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        print_head(engines, count, tables[t].what);
        for (unsigned load = 0; load < load_count; load++) {
            bool timed = engines[0].results[load][0].max_us > 0;
            if (!wanted[load] || (tables[t].of == WRITERS && !loads[load].writes) ||
                (tables[t].of == TIMED && !timed))
                continue;
            print_figures(engines, count, load, runs, tables[t].figure);
        }
    }
}

/* ---- the command line --------------------------------------------------------------------------- */

static _Noreturn void usage(void) {
    fprintf(
        stderr,
        "usage: bench_engine [--rows N] [--runs N] [--reads N] [--cache MB] "
        "[--memtable MB] [--dir DIR] [--engines NAME,NAME] [--reuse 1] [--settle MS] [--csv FILE] "
        "[--series FILE] [LOAD ...]\nloads:");
    for (unsigned i = 0; i < load_count; i++)
        fprintf(stderr, " %s", loads[i].name);
    fprintf(stderr, "\n");
    exit(1);
}

static int parse_options(int argc, char **argv, struct options *o) {
    struct {
        const char *name;
        uint64_t *number;
        const char **text;
    } known[] = {{"--rows", &o->rows, NULL},
                 {"--runs", &o->runs, NULL},
                 {"--reads", &o->reads, NULL},
                 {"--cache", &o->cache_mb, NULL},
                 {"--memtable", &o->memtable_mb, NULL},
                 {"--settle", &o->settle_ms, NULL},
                 {"--dir", NULL, &o->dir},
                 {"--engines", NULL, &o->engines},
                 {"--csv", NULL, &o->csv},
                 {"--series", NULL, &o->series}};
    int i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        bool found = strcmp(argv[i], "--reuse") == 0;
        if (found) o->reuse = strcmp(argv[i + 1], "0") != 0;
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
    if (o->reads == 0) o->reads = o->rows < 500000 ? o->rows : 500000;
    if (o->rows < 1000 || o->runs < 1 || o->runs > MAX_RUNS || o->cache_mb < 1 ||
        o->memtable_mb < 1)
        usage();
    return i;
}

static void choose_loads(bool *wanted, int argc, char **argv) {
    for (unsigned k = 0; k < load_count; k++)
        wanted[k] = argc == 0;
    for (int i = 0; i < argc; i++) {
        bool found = false;
        for (unsigned k = 0; k < load_count; k++) {
            if (strcmp(argv[i], loads[k].name) != 0) continue;
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

static unsigned choose_engines(struct engine *engines, const char *names) {
    unsigned count = 0;
    for (size_t i = 0; i < peer_count; i++) {
        if (names && !is_named(names, peers[i]->name)) continue;
        char text[100];
        engines[count++].peer = peers[i];
        peers[i]->describe(text, sizeof text);
        printf("%s %s\n", peers[i]->name, text);
    }
    return count;
}

static void run_all(struct engine *engines, unsigned count, const bool *wanted,
                    const struct options *o) {
    struct worker workers[MAX_ENGINES];
    for (uint64_t run = 0; run < o->runs; run++) {
        for (unsigned i = 0; i < count; i++) {
            snprintf(engines[i].dir, sizeof engines[i].dir, "%s/%s", o->dir, engines[i].peer->name);
            if (worker_start(workers, i)) serve(&workers[i], &engines[i], o);
        }
        for (unsigned load = 0; load < load_count; load++) {
            if (wanted[load]) take_turns(workers, engines, count, load, run);
        }
        for (unsigned i = 0; i < count; i++)
            worker_stop(&workers[i], engines[i].peer->name);
    }
}

int main(int argc, char **argv) {
    static struct engine engines[MAX_ENGINES];
    struct options o = {.rows = 1000000,
                        .runs = 1,
                        .cache_mb = 256,
                        .memtable_mb = 32,
                        .settle_ms = 1500,
                        .dir = "/tmp/kevo-engines"};
    bool wanted[MAX_LOADS];
    int at = parse_options(argc, argv, &o);
    choose_loads(wanted, argc - at, argv + at);
    unsigned count = choose_engines(engines, o.engines);
    if (count == 0) usage();
    signal(SIGPIPE, SIG_IGN);
    mkdir(o.dir, 0755);
    csv =
        open_csv(o.csv, &o,
                 "run,load,engine,unit,operations,us,own_us,all_us,settle_s,p50_us,p99_us,p999_us,"
                 "max_us,beside_per_s,disk_bytes,table_bytes,peak_resident_bytes,"
                 "peak_private_bytes,private_bytes");
    series_csv = open_csv(o.series, &o, "run,load,engine,second,operations,p99_us,max_us");
    run_all(engines, count, wanted, &o);
    printf("%llu rows, %llu runs, %llu MB of cache, memtables of %llu MB\n",
           (unsigned long long)o.rows, (unsigned long long)o.runs, (unsigned long long)o.cache_mb,
           (unsigned long long)o.memtable_mb);
    report(engines, count, wanted, o.runs);
    if (csv) fclose(csv);
    if (series_csv) fclose(series_csv);
    return 0;
}
