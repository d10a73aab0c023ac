/* bench_engine.c - Kevo's C interface against LevelDB's, RocksDB's and LMDB's.
 *
 *   bench_engine [--rows N] [--runs N] [--reads N] [--cache MB] [--memtable MB]
 *                [--dir DIR] [--engines NAME,NAME] [--reuse 1] [--csv FILE] [LOAD ...]
 *
 * Each engine works in a process of its own, so that its memory can be told, and all get
 * the same: rows (load.h), 1,000 of them a batch, a log that is not synced (fillsync: each
 * commit), as much cache, memtables of one size, 10 filter bits a key. The rest is in the
 * head of each peer_*.c. They take turns, load by load; after each load the engine may
 * finish its compactions, which is timed apart ("settle"), so that it does not work in
 * another one's turn: it is waited for until its process has used no processor for a
 * while.
 *
 * Prints microseconds an operation, the median of the runs, and how many times faster
 * kevo is than the best log-structured peer; the same in processor time, which says more
 * on a busy machine; memory and size on disk afterwards. What the
 * engines read is checked to be the same. --csv writes a line a run, load and engine.
 * --reuse takes the databases that an earlier call left in DIR. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/load.h"

enum { MAX_RUNS = 25, MAX_ENGINES = 4, MAX_LOADS = 32, PATH_BYTES = 1024 };

struct options {
    uint64_t rows, runs, reads, cache_mb, memtable_mb;
    const char *dir, *engines, *csv;
    bool reuse;
};

/* What an engine's process tells after a load. */
struct result {
    double us;       /* an operation */
    double own_us;   /* of them, on the processor in the calling thread */
    double all_us;   /* processor time of all threads, with what settling took */
    double settle_s; /* until the background work was done */
    uint64_t operations, digest;
    struct disk {
        uint64_t all_bytes;   /* allocated, all files */
        uint64_t table_bytes; /* those without the logs */
    } disk;
    /* Of the process, less what it had before the engine was opened. Private memory is
     * what no file backs. */
    uint64_t peak_resident_bytes, peak_private_bytes, private_bytes;
};

struct engine {
    const struct peer *peer;
    char dir[PATH_BYTES];
    pid_t pid;
    int to, from; /* pipes */
    struct result results[MAX_LOADS][MAX_RUNS];
};

void bench_die(const char *what, const char *why) {
    fprintf(stderr, "bench_engine: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    exit(1);
}

static double clock_us(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void sleep_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* ---- the files ------------------------------------------------------------------------- */

static bool is_log(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot &&
           (strcmp(dot, ".wal") == 0 || strcmp(dot, ".spare") == 0 || strcmp(dot, ".log") == 0);
}

/* What the files of a directory take, which has no directories in it; with `remove_them`
 * they are gone afterwards. */
static struct disk visit_files(const char *dir, bool remove_them) {
    char path[PATH_BYTES + 300];
    struct disk disk = {0};
    struct dirent *entry;
    struct stat st;
    DIR *d = opendir(dir);
    while (d && (entry = readdir(d))) {
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (lstat(path, &st) || !S_ISREG(st.st_mode)) continue;
        disk.all_bytes += (uint64_t)st.st_blocks * 512;
        if (!is_log(path)) disk.table_bytes += (uint64_t)st.st_blocks * 512;
        if (remove_them && unlink(path)) bench_die(path, strerror(errno));
    }
    if (d) closedir(d);
    if (d && remove_them && rmdir(dir)) bench_die(dir, strerror(errno));
    return disk;
}

/* ---- memory, in the engine's process ---------------------------------------------------- */

struct memory {
    uint64_t resident, private;
};

static struct memory memory_now(void) {
    unsigned long long size = 0, resident = 0, shared = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%llu %llu %llu", &size, &resident, &shared) != 3)
        bench_die("/proc/self/statm", "cannot be read");
    fclose(f);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return (struct memory){resident * page, (resident - shared) * page};
}

/* The largest values since the last reset, looked at every few milliseconds. */
static _Atomic uint64_t peak_resident, peak_private;

static void note_peaks(void) {
    struct memory m = memory_now();
    if (m.resident > peak_resident) peak_resident = m.resident;
    if (m.private > peak_private) peak_private = m.private;
}

static void *watch_memory(void *arg) {
    for (;;) {
        note_peaks();
        sleep_ms(10);
    }
    return arg;
}

/* ---- the engine's process ------------------------------------------------------------------ */

/* Wait until nothing goes on in the background. Returns the seconds it took. */
static double settle(void) {
    enum { WINDOW_MS = 100, QUIET_WINDOWS = 3 };
    double start = clock_us(CLOCK_MONOTONIC);
    for (int quiet = 0; quiet < QUIET_WINDOWS;) {
        double before = clock_us(CLOCK_PROCESS_CPUTIME_ID);
        sleep_ms(WINDOW_MS);
        quiet = clock_us(CLOCK_PROCESS_CPUTIME_ID) - before < 5000 ? quiet + 1 : 0;
    }
    return (clock_us(CLOCK_MONOTONIC) - start) / 1e6 - QUIET_WINDOWS * WINDOW_MS / 1e3;
}

struct worker {
    struct load_state state;
    struct peer_config config;
    enum load_content content;
};

static void reopen(struct worker *w, bool fresh, bool sync) {
    struct load_state *s = &w->state;
    if (s->db) s->peer->close(s->db);
    if (fresh) visit_files(w->config.dir, true);
    w->config.sync = sync;
    s->db = s->peer->open(&w->config);
}

static void prepare(struct worker *w, enum load_content needs) {
    if (needs == CONTENT_EMPTY || needs == CONTENT_SYNCED) {
        reopen(w, true, needs == CONTENT_SYNCED);
        return;
    }
    if (w->content == needs) return;
    if (w->content != CONTENT_ROWS) reopen(w, true, false);
    load_prepare(&w->state, w->content, needs);
    settle();
}

static struct result run_load(struct worker *w, const struct load *load, struct memory base) {
    struct result r = {.us = 0};
    prepare(w, load->needs);
    w->state.digest = 0;
    peak_resident = peak_private = 0;
    double start = clock_us(CLOCK_MONOTONIC), own = clock_us(CLOCK_THREAD_CPUTIME_ID);
    double all = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    r.operations = load->run(&w->state);
    r.us = (clock_us(CLOCK_MONOTONIC) - start) / (double)r.operations;
    r.own_us = (clock_us(CLOCK_THREAD_CPUTIME_ID) - own) / (double)r.operations;
    note_peaks();
    r.settle_s = settle();
    r.all_us = (clock_us(CLOCK_PROCESS_CPUTIME_ID) - all) / (double)r.operations;
    r.peak_resident_bytes = peak_resident - base.resident;
    r.peak_private_bytes = peak_private - base.private;
    r.private_bytes = memory_now().private - base.private;
    r.digest = w->state.digest;
    r.disk = visit_files(w->config.dir, false);
    w->content = load->leaves;
    return r;
}

/* Loads come as their numbers, results go back. */
static void serve(struct engine *e, const struct options *o, int in, int out) {
    pthread_t watcher;
    struct worker w = {
        .state = {.peer = e->peer, .rows = o->rows, .reads = o->reads},
        .config = {.dir = e->dir,
                   .cache_bytes = o->cache_mb << 20,
                   .memtable_bytes = o->memtable_mb << 20},
        .content = o->reuse ? CONTENT_ROWS : CONTENT_OTHER,
    };
    load_init();
    if (pthread_create(&watcher, NULL, watch_memory, NULL)) bench_die("a thread", NULL);
    sleep_ms(20);
    struct memory base = memory_now();
    if (o->reuse) reopen(&w, false, false);
    for (unsigned at; read(in, &at, sizeof at) == sizeof at;) {
        struct result r = run_load(&w, &loads[at], base);
        if (write(out, &r, sizeof r) != sizeof r) break;
    }
    if (w.state.db) e->peer->close(w.state.db);
    exit(0);
}

/* The engines before this one in the list have been started. */
static void start(struct engine *engines, unsigned at, const struct options *o) {
    struct engine *e = &engines[at];
    int down[2], up[2];
    snprintf(e->dir, sizeof e->dir, "%s/%s", o->dir, e->peer->name);
    if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC)) bench_die("pipe", strerror(errno));
    fflush(NULL);
    e->pid = fork();
    if (e->pid < 0) bench_die("fork", strerror(errno));
    if (e->pid == 0) {
        close(down[1]);
        close(up[0]);
        for (unsigned i = 0; i < at; i++) { /* or they would not see the end */
            close(engines[i].to);
            close(engines[i].from);
        }
        serve(e, o, down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    e->to = down[1];
    e->from = up[0];
}

static void stop(struct engine *e) {
    close(e->to);
    close(e->from);
    waitpid(e->pid, NULL, 0);
}

/* ---- running them in turn -------------------------------------------------------------------- */

static void write_csv(FILE *csv, uint64_t run, const struct engine *e, const struct load *load,
                      const struct result *r) {
    if (!csv) return;
    fprintf(csv, "%llu,%s,%s,%llu,%.4f,%.4f,%.4f,%.2f,%llu,%llu,%llu,%llu,%llu\n",
            (unsigned long long)run, load->name, e->peer->name, (unsigned long long)r->operations,
            r->us, r->own_us, r->all_us, r->settle_s, (unsigned long long)r->disk.all_bytes,
            (unsigned long long)r->disk.table_bytes, (unsigned long long)r->peak_resident_bytes,
            (unsigned long long)r->peak_private_bytes, (unsigned long long)r->private_bytes);
    fflush(csv);
}

/* A load by all engines; which one begins changes from run to run. */
static void take_turns(struct engine *engines, unsigned count, unsigned load, uint64_t run,
                       FILE *csv) {
    for (unsigned i = 0; i < count; i++) {
        struct engine *e = &engines[(i + run) % count];
        struct result *r = &e->results[load][run];
        if (write(e->to, &load, sizeof load) != sizeof load ||
            read(e->from, r, sizeof *r) != sizeof *r)
            bench_die(e->peer->name, "its process ended early");
        write_csv(csv, run, e, &loads[load], r);
    }
    for (unsigned i = 1; i < count; i++) {
        if (engines[i].results[load][run].digest != engines[0].results[load][run].digest)
            bench_die(loads[load].name, "the engines did not read the same");
    }
}

/* ---- the report ------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *list, uint64_t n) {
    qsort(list, n, sizeof *list, compare);
    return n % 2 ? list[n / 2] : (list[n / 2 - 1] + list[n / 2]) / 2;
}

enum figure { SPEED, OWN, ALL, SETTLE, DISK, TABLES, PEAK_RESIDENT, PEAK_PRIVATE, PRIVATE };

static double figure_of(const struct result *r, enum figure figure) {
    switch (figure) {
    case SPEED: return r->us;
    case OWN: return r->own_us;
    case ALL: return r->all_us;
    case SETTLE: return r->settle_s;
    case DISK: return (double)r->disk.all_bytes / 1e6;
    case TABLES: return (double)r->disk.table_bytes / 1e6;
    case PEAK_RESIDENT: return (double)r->peak_resident_bytes / 1e6;
    case PEAK_PRIVATE: return (double)r->peak_private_bytes / 1e6;
    case PRIVATE: return (double)r->private_bytes / 1e6;
    }
    return 0;
}

static double median_of(const struct engine *e, unsigned load, uint64_t runs, enum figure figure) {
    double list[MAX_RUNS];
    for (uint64_t r = 0; r < runs; r++)
        list[r] = figure_of(&e->results[load][r], figure);
    return median(list, runs);
}

/* One line: a figure of each engine, and the best log-structured peer's over kevo's. */
static void print_figures(const struct engine *engines, unsigned count, unsigned load,
                          uint64_t runs, enum figure figure) {
    double best = 0, kevo = 0;
    printf("%-20s %-4s", loads[load].name, figure <= ALL ? loads[load].unit : "");
    for (unsigned i = 0; i < count; i++) {
        double x = median_of(&engines[i], load, runs, figure);
        printf(" %10.*f", figure <= ALL ? 3 : 1, x);
        if (engines[i].peer == &peer_kevo) kevo = x;
        if (engines[i].peer->is_lsm && (best == 0 || x < best)) best = x;
    }
    if (kevo > 0 && best > 0) printf(" %9.2f", best / kevo);
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
    static const struct {
        enum figure figure;
        bool of_writers; /* other loads hardly change it */
        const char *what;
    } tables[] = {{SPEED, false, "us an operation"},
                  {OWN, false, "its own processor time"},
                  {ALL, true, "and in the background"},
                  {SETTLE, true, "settle after it, s"},
                  {DISK, true, "disk, MB"},
                  {TABLES, true, "disk without logs, MB"},
                  {PEAK_RESIDENT, false, "peak resident, MB"},
                  {PEAK_PRIVATE, false, "peak private, MB"},
                  {PRIVATE, false, "private afterwards, MB"}};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        print_head(engines, count, tables[t].what);
        for (unsigned load = 0; load < load_count; load++) {
            if (wanted[load] && (loads[load].writes || !tables[t].of_writers))
                print_figures(engines, count, load, runs, tables[t].figure);
        }
    }
}

/* ---- the command line --------------------------------------------------------------------------- */

static _Noreturn void usage(void) {
    fprintf(stderr, "usage: bench_engine [--rows N] [--runs N] [--reads N] [--cache MB] "
                    "[--memtable MB] [--dir DIR] [--engines NAME,NAME] [--reuse 1] [--csv FILE] "
                    "[LOAD ...]\nloads:");
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
                 {"--dir", NULL, &o->dir},
                 {"--engines", NULL, &o->engines},
                 {"--csv", NULL, &o->csv}};
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
    static const struct peer *const all[] = {
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
    unsigned count = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (names && !is_named(names, all[i]->name)) continue;
        char text[100];
        engines[count++].peer = all[i];
        all[i]->describe(text, sizeof text);
        printf("%s %s\n", all[i]->name, text);
    }
    return count;
}

int main(int argc, char **argv) {
    static struct engine engines[MAX_ENGINES];
    struct options o = {
        .rows = 1000000, .runs = 1, .cache_mb = 256, .memtable_mb = 32, .dir = "/tmp/kevo-engines"};
    bool wanted[MAX_LOADS];
    FILE *csv = NULL;
    int at = parse_options(argc, argv, &o);
    choose_loads(wanted, argc - at, argv + at);
    unsigned count = choose_engines(engines, o.engines);
    if (count == 0) usage();
    signal(SIGPIPE, SIG_IGN);
    mkdir(o.dir, 0755);
    if (o.csv && !(csv = fopen(o.csv, "we"))) bench_die(o.csv, strerror(errno));
    if (csv)
        fprintf(csv, "run,load,engine,operations,us,own_us,all_us,settle_s,disk_bytes,table_bytes,"
                     "peak_resident_bytes,"
                     "peak_private_bytes,private_bytes\n");
    for (uint64_t run = 0; run < o.runs; run++) {
        for (unsigned i = 0; i < count; i++)
            start(engines, i, &o);
        for (unsigned load = 0; load < load_count; load++) {
            if (wanted[load]) take_turns(engines, count, load, run, csv);
        }
        for (unsigned i = 0; i < count; i++)
            stop(&engines[i]);
    }
    printf("%llu rows, %llu runs, %llu MB of cache, memtables of %llu MB\n",
           (unsigned long long)o.rows, (unsigned long long)o.runs, (unsigned long long)o.cache_mb,
           (unsigned long long)o.memtable_mb);
    report(engines, count, wanted, o.runs);
    if (csv) fclose(csv);
    return 0;
}
