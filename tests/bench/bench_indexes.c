/* bench_indexes.c - what secondary indexes cost and give, beside ordinary WITHOUT ROWID tables
 * with the same indexes.
 *
 *   bench_indexes [--rows N] KEVO.so DIR
 *
 * Tables t(k TEXT PRIMARY KEY, a INTEGER, b TEXT, v BLOB of 100 bytes) with no index, one
 * on a, and a second one on b; keys and indexed columns in random order, ten rows to each
 * value of a and b. 1,000 rows a transaction, WAL mode, synchronous=NORMAL. Prints
 * microseconds of processor time a row or query, those of background threads included: what
 * these do about the rows after the last one was written counts for the first look-ups. Those
 * of a settled store come last, in one sorted run. */
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 1000, QUERIES = 20000 };

static void die(sqlite3 *db, const char *what) {
    fprintf(stderr, "bench_indexes: %s: %s\n", what, sqlite3_errmsg(db));
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

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* splitmix64: any number to one that looks random. */
static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static void bind_row(sqlite3_stmt *stmt, uint64_t i, uint64_t rows) {
    char key[24], b[24];
    uint64_t v[13];
    snprintf(key, sizeof key, "%016llx", (unsigned long long)mix(i));
    snprintf(b, sizeof b, "b%llu", (unsigned long long)(mix(i + 7) % (rows / 10)));
    for (unsigned n = 0; n < 13; n++)
        v[n] = n % 2 ? mix(i * 16 + n) : i;
    sqlite3_bind_text(stmt, 1, key, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(stmt, 2, (sqlite3_int64)(mix(i + 3) % (rows / 10)));
    sqlite3_bind_text(stmt, 3, b, -1, SQLITE_TRANSIENT);
    sqlite3_bind_blob(stmt, 4, v, 100, SQLITE_TRANSIENT);
}

/* Write all rows with that statement; microseconds a row. */
static double write_rows(sqlite3 *db, const char *sql, uint64_t rows) {
    sqlite3_stmt *stmt = prepare(db, sql);
    double start = now_us();
    for (uint64_t i = 0; i < rows; i++) {
        if (i % BATCH == 0) run(db, "BEGIN");
        bind_row(stmt, i, rows);
        if (sqlite3_step(stmt) != SQLITE_DONE) die(db, sql);
        sqlite3_reset(stmt);
        if (i % BATCH == BATCH - 1 || i + 1 == rows) run(db, "COMMIT");
    }
    sqlite3_finalize(stmt);
    return (now_us() - start) / (double)rows;
}

/* Look for random values of a; microseconds a query. */
static double look_up(sqlite3 *db, const char *sql, uint64_t rows) {
    sqlite3_stmt *stmt = prepare(db, sql);
    uint64_t found = 0;
    run(db, "BEGIN");
    double start = now_us();
    for (uint64_t i = 0; i < QUERIES; i++) {
        sqlite3_bind_int64(stmt, 1, (sqlite3_int64)(mix(i) % (rows / 10)));
        while (sqlite3_step(stmt) == SQLITE_ROW)
            found += (uint64_t)sqlite3_column_bytes(stmt, 0) > 0;
        sqlite3_reset(stmt);
    }
    double us = (now_us() - start) / QUERIES;
    run(db, "COMMIT");
    sqlite3_finalize(stmt);
    if (found == 0) die(db, "nothing found");
    return us;
}

static void look_up_both(sqlite3 *db, const char *when, uint64_t rows) {
    printf("  %sten rows by a %6.1f", when, look_up(db, "SELECT v FROM t WHERE a = ?", rows));
    printf("  covered %6.1f", look_up(db, "SELECT k FROM t WHERE a = ?", rows));
}

static void measure(const char *module, const char *dir, bool kevo, unsigned indexes,
                    uint64_t rows) {
    static const char *const made[] = {"", ", INDEX i (a)", ", INDEX i (a), INDEX j (b)"};
    static const char *const also[] = {"", "CREATE INDEX i ON t(a);",
                                       "CREATE INDEX i ON t(a); CREATE INDEX j ON t(b);"};
    char path[4096], sql[512], *message = NULL;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/%s%u.db", dir, kevo ? "kevo" : "sqlite", indexes);
    if (sqlite3_open(path, &db) != SQLITE_OK) die(db, path);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
    if (sqlite3_load_extension(db, module, NULL, &message) != SQLITE_OK) die(db, module);
    run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-262144");
    if (kevo)
        snprintf(
            sql, sizeof sql,
            "CREATE VIRTUAL TABLE t USING kevo(k TEXT PRIMARY KEY, a INTEGER, b TEXT, v BLOB%s)",
            made[indexes]);
    else
        snprintf(sql, sizeof sql,
                 "CREATE TABLE t(k TEXT PRIMARY KEY, a INTEGER, b TEXT, v BLOB) WITHOUT ROWID; %s",
                 also[indexes]);
    run(db, sql);
    printf("%-7s %u indexes  INSERT %6.1f", kevo ? "kevo" : "sqlite", indexes,
           write_rows(db, "INSERT INTO t VALUES(?, ?, ?, ?)", rows));
    printf("  REPLACE %6.1f", write_rows(db, "REPLACE INTO t VALUES(?, ?, ?, ?)", rows));
    if (indexes) look_up_both(db, "", rows);
    if (indexes && kevo) run(db, "SELECT kevo_compact('t')");
    if (indexes) look_up_both(db, "settled: ", rows);
    printf("\n");
    fflush(stdout);
    sqlite3_close(db);
}

int main(int argc, char **argv) {
    uint64_t rows = 300000;
    if (argc > 2 && strcmp(argv[1], "--rows") == 0) {
        rows = strtoull(argv[2], NULL, 10);
        argc -= 2;
        argv += 2;
    }
    if (argc != 3 || rows < 1000) {
        fprintf(stderr, "usage: bench_indexes [--rows N] KEVO.so DIR\n");
        return 2;
    }
    for (unsigned indexes = 0; indexes <= 2; indexes++) {
        measure(argv[1], argv[2], true, indexes, rows);
        measure(argv[1], argv[2], false, indexes, rows);
    }
    return 0;
}
