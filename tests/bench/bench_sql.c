/* bench_sql.c - kevo tables against ordinary WITHOUT ROWID tables, through libsqlite3,
 * in one process run after run, interleaved.
 *
 *   bench_sql [--rows N] [--runs N] [--cache MB] [--dir DIR] [--only kevo|sqlite]
 *             KEVO.so [WORKLOAD ...]
 *
 * Keys are 16 hexadecimal digits in permuted order, values 100 bytes of which half
 * are random. Bulk transactions have 1,000 rows; WAL mode, synchronous=NORMAL.
 * Prints microseconds a row for each side, the median of the runs, and the ratio. */
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RUNS = 25, BATCH = 1000, VALUE_BYTES = 100, SIDES = 2 };

struct options {
    uint64_t rows, runs, cache_mb;
    const char *dir, *extension;
    bool skip[SIDES]; /* --only the other side */
};

struct side {
    sqlite3 *db;
    bool kevo;
    uint64_t rows;
    uint64_t seed;
};

static void die(sqlite3 *db, const char *what) {
    fprintf(stderr, "bench_sql: %s: %s\n", what, db ? sqlite3_errmsg(db) : "failed");
    exit(1);
}

static void run(sqlite3 *db, const char *sql) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) die(db, sql);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql) {
    sqlite3_stmt *stmt;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) die(db, sql);
    return stmt;
}

static void step_done(sqlite3 *db, sqlite3_stmt *stmt) {
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
    }
    if (rc != SQLITE_DONE) die(db, "step");
    sqlite3_reset(stmt);
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* A permutation of 64-bit numbers (splitmix64's finish), so that keys do not repeat. */
static uint64_t scatter(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void make_key(char key[17], uint64_t i) {
    snprintf(key, 17, "%016llx", (unsigned long long)scatter(i + 1));
}

static void make_value(char value[VALUE_BYTES], uint64_t i) {
    memset(value, 'v', VALUE_BYTES);
    for (int at = 0; at < VALUE_BYTES / 2; at += 8) {
        uint64_t r = scatter(i * 131 + (uint64_t)at + 7);
        memcpy(value + at, &r, at + 8 <= VALUE_BYTES / 2 ? 8 : 2);
    }
}

/* ---- workloads: each returns how many rows or queries it did ------------------------- */

static uint64_t fill(struct side *s, const char *sql, uint64_t batch, bool sequential) {
    sqlite3_stmt *stmt = prepare(s->db, sql);
    char key[17], value[VALUE_BYTES];
    for (uint64_t i = 0; i < s->rows; i++) {
        if (i % batch == 0) run(s->db, "BEGIN");
        if (sequential)
            snprintf(key, sizeof key, "%016llx", (unsigned long long)i);
        else
            make_key(key, i);
        make_value(value, i + s->seed);
        sqlite3_bind_text(stmt, 1, key, 16, SQLITE_STATIC);
        sqlite3_bind_blob(stmt, 2, value, VALUE_BYTES, SQLITE_STATIC);
        step_done(s->db, stmt);
        if (i % batch == batch - 1 || i + 1 == s->rows) run(s->db, "COMMIT");
    }
    sqlite3_finalize(stmt);
    return s->rows;
}

static const char replace_sql[] = "REPLACE INTO kv VALUES(?, ?)";

static uint64_t fillrandom(struct side *s) {
    return fill(s, replace_sql, BATCH, false);
}

static uint64_t insertrandom(struct side *s) {
    return fill(s, "INSERT INTO kv VALUES(?, ?)", BATCH, false);
}

static uint64_t fillseq(struct side *s) {
    return fill(s, replace_sql, BATCH, true);
}

static uint64_t overwrite(struct side *s) {
    s->seed++;
    return fill(s, replace_sql, BATCH, false);
}

static uint64_t scan_with(struct side *s, const char *sql) {
    sqlite3_stmt *stmt = prepare(s->db, sql);
    uint64_t n = 0;
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        sqlite3_column_text(stmt, 0);
        sqlite3_column_blob(stmt, 1);
        n++;
    }
    if (rc != SQLITE_DONE) die(s->db, sql);
    if (n != s->rows) die(NULL, "a scan gave another number of rows than were written");
    sqlite3_finalize(stmt);
    return n;
}

static uint64_t scan(struct side *s) {
    return scan_with(s, "SELECT key, value FROM kv");
}

static uint64_t reverse(struct side *s) {
    return scan_with(s, "SELECT key, value FROM kv ORDER BY key DESC");
}

static uint64_t count_all(struct side *s) {
    sqlite3_stmt *stmt = prepare(s->db, "SELECT count(*) FROM kv");
    if (sqlite3_step(stmt) != SQLITE_ROW) die(s->db, "count");
    uint64_t n = (uint64_t)sqlite3_column_int64(stmt, 0);
    if (n != s->rows) die(NULL, "count(*) is wrong");
    sqlite3_finalize(stmt);
    return n;
}

static uint64_t read_random(struct side *s, bool missing) {
    enum { QUERIES = 100000 };
    sqlite3_stmt *stmt = prepare(s->db, "SELECT value FROM kv WHERE key = ?");
    char key[17];
    for (uint64_t i = 0; i < QUERIES; i++) {
        uint64_t at = scatter(i * 77 + s->seed) % s->rows;
        make_key(key, missing ? at + s->rows * 10 : at);
        sqlite3_bind_text(stmt, 1, key, 16, SQLITE_STATIC);
        int rc = sqlite3_step(stmt);
        if (rc != (missing ? SQLITE_DONE : SQLITE_ROW)) die(s->db, "a read found the wrong thing");
        if (!missing && sqlite3_column_bytes(stmt, 0) != VALUE_BYTES) die(NULL, "a wrong value");
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
    return QUERIES;
}

static uint64_t readrandom(struct side *s) {
    return read_random(s, false);
}

static uint64_t readmissing(struct side *s) {
    return read_random(s, true);
}

static uint64_t readrandom_txn(struct side *s) {
    run(s->db, "BEGIN");
    uint64_t n = read_random(s, false);
    run(s->db, "COMMIT");
    return n;
}

static uint64_t readmissing_txn(struct side *s) {
    run(s->db, "BEGIN");
    uint64_t n = read_random(s, true);
    run(s->db, "COMMIT");
    return n;
}

static uint64_t range100(struct side *s) {
    enum { QUERIES = 10000 };
    sqlite3_stmt *stmt = prepare(s->db, "SELECT key, value FROM kv WHERE key >= ? LIMIT 100");
    char key[17];
    for (uint64_t i = 0; i < QUERIES; i++) {
        make_key(key, scatter(i * 31 + 5) % s->rows);
        sqlite3_bind_text(stmt, 1, key, 16, SQLITE_STATIC);
        while (sqlite3_step(stmt) == SQLITE_ROW)
            sqlite3_column_blob(stmt, 1);
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
    return QUERIES;
}

static uint64_t update(struct side *s) {
    uint64_t rows = s->rows < 200000 ? s->rows : 200000;
    sqlite3_stmt *stmt = prepare(s->db, "UPDATE kv SET value = ?2 WHERE key = ?1");
    char key[17], value[VALUE_BYTES];
    for (uint64_t i = 0; i < rows; i++) {
        if (i % BATCH == 0) run(s->db, "BEGIN");
        make_key(key, scatter(i * 91 + 3) % s->rows);
        make_value(value, i + s->seed);
        sqlite3_bind_text(stmt, 1, key, 16, SQLITE_STATIC);
        sqlite3_bind_blob(stmt, 2, value, VALUE_BYTES, SQLITE_STATIC);
        step_done(s->db, stmt);
        if (i % BATCH == BATCH - 1 || i + 1 == rows) run(s->db, "COMMIT");
    }
    sqlite3_finalize(stmt);
    return rows;
}

static uint64_t single(struct side *s, uint64_t rows) {
    uint64_t all = s->rows;
    s->rows = all < rows ? all : rows;
    uint64_t n = fill(s, replace_sql, 1, false);
    s->rows = all;
    return n;
}

static uint64_t single_normal(struct side *s) {
    return single(s, 50000);
}

static uint64_t single_full(struct side *s) {
    run(s->db, "PRAGMA synchronous = FULL");
    uint64_t n = single(s, 5000);
    run(s->db, "PRAGMA synchronous = NORMAL");
    return n;
}

struct workload {
    const char *name;
    uint64_t (*run)(struct side *);
    bool fresh; /* on an empty table */
};

static const struct workload workloads[] = {
    {"fillseq", fillseq, true},
    {"insertrandom", insertrandom, true},
    {"fillrandom", fillrandom, true},
    {"overwrite", overwrite, false},
    {"scan", scan, false},
    {"reverse", reverse, false},
    {"count", count_all, false},
    {"readrandom", readrandom, false},
    {"readrandom_txn", readrandom_txn, false},
    {"readmissing", readmissing, false},
    {"readmissing_txn", readmissing_txn, false},
    {"range100", range100, false},
    {"update", update, false},
    {"single_normal", single_normal, false},
    {"single_full", single_full, false},
};

/* ---- running them ------------------------------------------------------------------------ */

static void open_side(struct side *s, const struct options *o, bool fresh) {
    char path[1024], sql[8192];
    if ((size_t)snprintf(path, sizeof path, "%s/%s.db", o->dir, s->kevo ? "kevo" : "sqlite") >=
        sizeof path)
        die(NULL, "the directory's name is too long");
    if (s->db) sqlite3_close(s->db);
    s->db = NULL;
    if (fresh) {
        snprintf(sql, sizeof sql, "rm -rf '%s' '%s-wal' '%s-shm' '%s-kevo'", path, path, path,
                 path);
        if (system(sql)) die(NULL, "cannot clear the directory");
    }
    if (sqlite3_open(path, &s->db) != SQLITE_OK) die(s->db, path);
    run(s->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    if (!s->kevo) {
        snprintf(sql, sizeof sql, "PRAGMA cache_size = -%llu",
                 (unsigned long long)o->cache_mb * 1024);
        run(s->db, sql);
        if (fresh)
            run(s->db,
                "CREATE TABLE kv(key TEXT PRIMARY KEY NOT NULL, value ANY) STRICT, WITHOUT ROWID");
        return;
    }
    char *message = NULL;
    sqlite3_enable_load_extension(s->db, 1);
    if (sqlite3_load_extension(s->db, o->extension, NULL, &message) != SQLITE_OK)
        die(s->db, message);
    if (fresh) run(s->db, "CREATE VIRTUAL TABLE kv USING kevo");
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *list, uint64_t n) {
    qsort(list, n, sizeof *list, compare);
    return list[n / 2];
}

static bool wanted(const struct workload *w, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], w->name) == 0) return true;
    }
    return argc == 0;
}

static void measure(const struct workload *w, struct side *sides, const struct options *o) {
    double us[SIDES][MAX_RUNS] = {{0}};
    for (uint64_t r = 0; r < o->runs; r++) {
        for (int i = 0; i < SIDES; i++) {
            if (o->skip[i]) continue;
            if (w->fresh) open_side(&sides[i], o, true);
            double start = now_us();
            uint64_t n = w->run(&sides[i]);
            us[i][r] = (now_us() - start) / (double)n;
        }
    }
    double sqlite = median(us[0], o->runs), kevo = median(us[1], o->runs);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%-16s sqlite %8.3f us   kevo %8.3f us   sqlite/kevo %6.2f   (peak memory %ld MB)\n",
           w->name, sqlite, kevo, sqlite / kevo, usage.ru_maxrss / 1024);
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct options o = {.rows = 1000000, .runs = 1, .cache_mb = 256, .dir = "/tmp/kevo-bench"};
    struct side sides[SIDES] = {{.kevo = false}, {.kevo = true}};
    int i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        if (strcmp(argv[i], "--rows") == 0)
            o.rows = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--runs") == 0)
            o.runs = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--cache") == 0)
            o.cache_mb = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--dir") == 0)
            o.dir = argv[i + 1];
        else if (strcmp(argv[i], "--only") == 0)
            o.skip[strcmp(argv[i + 1], "kevo") == 0 ? 0 : 1] = true;
        else
            die(NULL, "unknown option");
    }
    if (i >= argc || o.runs < 1 || o.runs > MAX_RUNS || o.rows < 1) {
        fprintf(stderr, "usage: bench_sql [--rows N] [--runs N] [--cache MB] [--dir DIR] "
                        "[--only kevo|sqlite] KEVO.so [WORKLOAD ...]\n");
        return 1;
    }
    o.extension = argv[i++];
    mkdir(o.dir, 0755);
    for (int k = 0; k < SIDES; k++) {
        sides[k].rows = o.rows;
        if (!o.skip[k]) open_side(&sides[k], &o, false);
    }
    for (size_t w = 0; w < sizeof workloads / sizeof workloads[0]; w++) {
        if (wanted(&workloads[w], argc - i, argv + i)) measure(&workloads[w], sides, &o);
    }
    for (int k = 0; k < SIDES; k++)
        sqlite3_close(sides[k].db);
    return 0;
}
