#include "tests/bench/sql_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TIMED_READS = 20000, /* one by one */
    RANGE_ROWS = 100,
    LIST_KEYS = 100,
    UPDATED_ROWS = 200000,
    SINGLE_ROWS = 50000, /* one a transaction */
    SYNCED_ROWS = 5000,  /* the same, and each synced */
    OPENINGS = 20,
    SAMPLES = 1000,
};

static _Noreturn void die(sqlite3 *db, const char *what) {
    bench_die(what, db ? sqlite3_errmsg(db) : NULL);
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
    if (rc != SQLITE_DONE) die(db, "a step");
    sqlite3_reset(stmt);
}

static int64_t one_number(sqlite3 *db, const char *sql) {
    sqlite3_stmt *stmt = prepare(db, sql);
    if (sqlite3_step(stmt) != SQLITE_ROW) die(db, sql);
    int64_t n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return n;
}

/* ---- the database ---------------------------------------------------------------------- */

void sql_open(struct sql_side *s, bool fresh) {
    char sql[100];
    if (s->db && sqlite3_close(s->db) != SQLITE_OK) die(s->db, "sqlite3_close");
    s->db = NULL;
    if (sqlite3_open(s->path, &s->db) != SQLITE_OK) die(s->db, s->path);
    run(s->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    if (s->cache_mb) {
        snprintf(sql, sizeof sql, "PRAGMA cache_size = -%llu",
                 (unsigned long long)s->cache_mb * 1024);
        run(s->db, sql);
    }
    if (s->kevo) {
        char *message = NULL;
        sqlite3_enable_load_extension(s->db, 1);
        if (sqlite3_load_extension(s->db, s->extension, NULL, &message) != SQLITE_OK)
            bench_die(s->extension, message);
    }
    if (!fresh) return;
    run(s->db, s->kevo ? "CREATE VIRTUAL TABLE kv USING kevo"
                       : "CREATE TABLE kv(key TEXT PRIMARY KEY NOT NULL, value ANY) "
                         "STRICT, WITHOUT ROWID");
    run(s->db, "CREATE TABLE probe(key TEXT NOT NULL) STRICT");
}

/* ---- rows ------------------------------------------------------------------------------ */

static void hex_of(uint64_t n, char key[SQL_KEY_BYTES]) {
    for (int i = SQL_KEY_BYTES; i-- > 0; n >>= 4)
        key[i] = "0123456789abcdef"[n & 15];
}

static void bind_key(sqlite3_stmt *stmt, int at, uint64_t i, char key[SQL_KEY_BYTES]) {
    hex_of(scatter(i + 1), key);
    sqlite3_bind_text(stmt, at, key, SQL_KEY_BYTES, SQLITE_STATIC);
}

static void bind_value(sqlite3_stmt *stmt, int at, uint64_t i, char value[SQL_VALUE_BYTES]) {
    enum { RANDOM_BYTES = SQL_VALUE_BYTES / 2 };
    for (int k = 0; k < RANDOM_BYTES; k += 8) {
        uint64_t r = scatter(i * 131 + (uint64_t)k + 7);
        memcpy(value + k, &r, k + 8 <= RANDOM_BYTES ? 8 : RANDOM_BYTES - k);
    }
    memset(value + RANDOM_BYTES, 'v', SQL_VALUE_BYTES - RANDOM_BYTES);
    sqlite3_bind_blob(stmt, at, value, SQL_VALUE_BYTES, SQLITE_STATIC);
}

/* Reads a column, its first bytes and its last one. */
static uint64_t digest_of(sqlite3_stmt *stmt, int column) {
    uint64_t first = 0;
    const char *data = sqlite3_column_blob(stmt, column);
    int len = sqlite3_column_bytes(stmt, column);
    if (!data || len < 8) die(NULL, "a column is not what was written");
    memcpy(&first, data, 8);
    return first + (uint8_t)data[len - 1] + (uint64_t)len;
}

/* ---- writing --------------------------------------------------------------------------- */

static const char replace_sql[] = "REPLACE INTO kv VALUES(?, ?)";
static const char insert_sql[] = "INSERT INTO kv VALUES(?, ?)";

/* `batch` rows a transaction, each of which is timed; 1: by itself, without BEGIN. */
static uint64_t fill(struct sql_side *s, const char *sql, uint64_t rows, uint64_t batch,
                     bool sequential) {
    sqlite3_stmt *stmt = prepare(s->db, sql);
    char key[SQL_KEY_BYTES], value[SQL_VALUE_BYTES];
    s->generation++;
    uint64_t before = now_ns();
    for (uint64_t i = 0; i < rows; i++) {
        bool last = i % batch == batch - 1 || i + 1 == rows;
        if (batch > 1 && i % batch == 0) run(s->db, "BEGIN");
        bind_key(stmt, 1, i, key);
        if (sequential) hex_of(i, key);
        bind_value(stmt, 2, i + s->generation, value);
        step_done(s->db, stmt);
        if (batch > 1 && last) run(s->db, "COMMIT");
        if (!last) continue;
        uint64_t now = now_ns();
        latencies_add(&s->timed, now - before);
        before = now;
    }
    sqlite3_finalize(stmt);
    return rows;
}

static uint64_t fillseq(struct sql_side *s, const struct sql_load *l) {
    (void)l;
    return fill(s, replace_sql, s->rows, SQL_BATCH, true);
}

static uint64_t insertrandom(struct sql_side *s, const struct sql_load *l) {
    (void)l;
    return fill(s, insert_sql, s->rows, SQL_BATCH, false);
}

static uint64_t onetxn(struct sql_side *s, const struct sql_load *l) {
    (void)l;
    return fill(s, replace_sql, s->rows, s->rows + 1, false);
}

/* The rows of an empty table, and of one that is full. */
static uint64_t replace_all(struct sql_side *s, const struct sql_load *l) {
    (void)l;
    return fill(s, replace_sql, s->rows, SQL_BATCH, false);
}

void sql_fill(struct sql_side *s) {
    replace_all(s, NULL);
}

static uint64_t update(struct sql_side *s, const struct sql_load *l) {
    uint64_t rows = s->rows < UPDATED_ROWS ? s->rows : UPDATED_ROWS;
    sqlite3_stmt *stmt = prepare(s->db, "UPDATE kv SET value = ?2 WHERE key = ?1");
    char key[SQL_KEY_BYTES], value[SQL_VALUE_BYTES];
    (void)l;
    s->generation++;
    uint64_t before = now_ns();
    for (uint64_t i = 0; i < rows; i++) {
        if (i % SQL_BATCH == 0) run(s->db, "BEGIN");
        bind_key(stmt, 1, scatter(i * 91 + 3) % s->rows, key);
        bind_value(stmt, 2, i + s->generation, value);
        step_done(s->db, stmt);
        if (i % SQL_BATCH != SQL_BATCH - 1 && i + 1 != rows) continue;
        run(s->db, "COMMIT");
        uint64_t now = now_ns();
        latencies_add(&s->timed, now - before);
        before = now;
    }
    sqlite3_finalize(stmt);
    return rows;
}

static uint64_t single_normal(struct sql_side *s, const struct sql_load *l) {
    (void)l;
    return fill(s, replace_sql, s->rows < SINGLE_ROWS ? s->rows : SINGLE_ROWS, 1, false);
}

static uint64_t single_full(struct sql_side *s, const struct sql_load *l) {
    uint64_t rows = s->rows / 10 < SYNCED_ROWS ? s->rows / 10 : SYNCED_ROWS;
    (void)l;
    run(s->db, "PRAGMA synchronous = FULL");
    uint64_t n = fill(s, replace_sql, rows, 1, false);
    run(s->db, "PRAGMA synchronous = NORMAL");
    return n;
}

/* Of a 16th of the keys; another one for each of the two loads. */
static uint64_t delete_range(struct sql_side *s, const struct sql_load *l) {
    bool by_command = s->kevo && l->flags & SQL_KEVO_COMMAND;
    uint64_t from = UINT64_C(0x1000000000000000) * (l->flags & SQL_KEVO_COMMAND ? 9 : 2);
    char low[SQL_KEY_BYTES], high[SQL_KEY_BYTES];
    sqlite3_stmt *stmt =
        prepare(s->db, by_command ? "SELECT kevo_delete_range('kv', 'key >=', ?1, 'key <', ?2)"
                                  : "DELETE FROM kv WHERE key >= ?1 AND key < ?2");
    hex_of(from, low);
    hex_of(from + UINT64_C(0x1000000000000000), high);
    sqlite3_bind_text(stmt, 1, low, SQL_KEY_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, high, SQL_KEY_BYTES, SQLITE_STATIC);
    step_done(s->db, stmt);
    sqlite3_finalize(stmt);
    if (l->flags & SQL_KEVO_COMMAND) return 1;
    s->digest += (uint64_t)sqlite3_changes64(s->db);
    return (uint64_t)sqlite3_changes64(s->db);
}

/* What a load has written is there: as many rows, and some of their values. */
static void check_written(struct sql_side *s, const struct sql_load *l) {
    sqlite3_stmt *stmt =
        prepare(s->db, "SELECT key, value FROM kv WHERE key >= ? ORDER BY key LIMIT 1");
    char key[SQL_KEY_BYTES];
    (void)l;
    s->digest += (uint64_t)one_number(s->db, "SELECT count(*) FROM kv");
    for (uint64_t i = 0; i < SAMPLES; i++) {
        bind_key(stmt, 1, scatter(i * 57 + s->generation) % s->rows, key);
        if (sqlite3_step(stmt) == SQLITE_ROW)
            s->digest = s->digest * 31 + digest_of(stmt, 0) * digest_of(stmt, 1);
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
}

/* ---- scans ----------------------------------------------------------------------------- */

static uint64_t scan_with(struct sql_side *s, const char *sql) {
    sqlite3_stmt *stmt = prepare(s->db, sql);
    uint64_t n = 0;
    int rc;
    for (; (rc = sqlite3_step(stmt)) == SQLITE_ROW; n++)
        s->digest = s->digest * 31 + digest_of(stmt, 0) * digest_of(stmt, 1);
    if (rc != SQLITE_DONE) die(s->db, sql);
    if (n != s->rows) die(NULL, "a scan gave another number of rows than were written");
    sqlite3_finalize(stmt);
    return n;
}

static uint64_t scan(struct sql_side *s, const struct sql_load *l) {
    (void)l;
    return scan_with(s, "SELECT key, value FROM kv ORDER BY key");
}

static uint64_t reverse(struct sql_side *s, const struct sql_load *l) {
    (void)l;
    return scan_with(s, "SELECT key, value FROM kv ORDER BY key DESC");
}

static uint64_t count_all(struct sql_side *s, const struct sql_load *l) {
    uint64_t n = (uint64_t)one_number(s->db, "SELECT count(*) FROM kv");
    (void)l;
    if (n != s->rows) die(NULL, "count(*) is wrong");
    return n;
}

/* ---- reads by key ------------------------------------------------------------------------ */

static void read_one(struct sql_side *s, sqlite3_stmt *stmt, const struct sql_load *l, uint64_t i) {
    char key[SQL_KEY_BYTES];
    bool missing = l->flags & SQL_MISSING;
    uint64_t rows = l->flags & SQL_HOT ? s->rows / 100 + 1 : s->rows;
    uint64_t row = scatter(i * 77 + s->generation) % rows;
    bind_key(stmt, 1, missing ? row + s->rows * 10 : row, key);
    int rc = sqlite3_step(stmt);
    if (rc != (missing ? SQLITE_DONE : SQLITE_ROW)) die(s->db, "a read found the wrong thing");
    if (!missing) s->digest += digest_of(stmt, 0);
    sqlite3_reset(stmt);
}

static const char read_sql[] = "SELECT value FROM kv WHERE key = ?";

static uint64_t read_keys(struct sql_side *s, const struct sql_load *l) {
    sqlite3_stmt *stmt = prepare(s->db, read_sql);
    if (l->flags & SQL_IN_TXN) run(s->db, "BEGIN");
    for (uint64_t i = 0; i < s->reads; i++)
        read_one(s, stmt, l, i);
    sqlite3_finalize(stmt);
    if (l->flags & SQL_IN_TXN) run(s->db, "COMMIT");
    return s->reads;
}

static void time_reads(struct sql_side *s, const struct sql_load *l) {
    sqlite3_stmt *stmt = prepare(s->db, read_sql);
    uint64_t n = s->reads < TIMED_READS ? s->reads : TIMED_READS;
    if (l->flags & SQL_IN_TXN) run(s->db, "BEGIN");
    uint64_t before = now_ns();
    for (uint64_t i = 0; i < n; i++) {
        read_one(s, stmt, l, s->reads + i);
        uint64_t now = now_ns();
        latencies_add(&s->timed, now - before);
        before = now;
    }
    sqlite3_finalize(stmt);
    if (l->flags & SQL_IN_TXN) run(s->db, "COMMIT");
}

static const char range_sql[] = "SELECT key, value FROM kv WHERE key >= ? ORDER BY key LIMIT 100";
_Static_assert(RANGE_ROWS == 100, "the text above");

static void read_range(struct sql_side *s, sqlite3_stmt *stmt, uint64_t i) {
    char key[SQL_KEY_BYTES];
    int rc;
    bind_key(stmt, 1, scatter(i * 31 + 5) % s->rows, key);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        s->digest += digest_of(stmt, 0) * digest_of(stmt, 1);
    if (rc != SQLITE_DONE) die(s->db, range_sql);
    sqlite3_reset(stmt);
}

static uint64_t range100(struct sql_side *s, const struct sql_load *l) {
    sqlite3_stmt *stmt = prepare(s->db, range_sql);
    (void)l;
    for (uint64_t i = 0; i < s->reads / 10; i++)
        read_range(s, stmt, i);
    sqlite3_finalize(stmt);
    return s->reads / 10;
}

static void time_ranges(struct sql_side *s, const struct sql_load *l) {
    sqlite3_stmt *stmt = prepare(s->db, range_sql);
    (void)l;
    for (uint64_t i = 0; i < s->reads / 20; i++) {
        uint64_t start = now_ns();
        read_range(s, stmt, s->reads + i);
        latencies_add(&s->timed, now_ns() - start);
    }
    sqlite3_finalize(stmt);
}

static uint64_t in_list(struct sql_side *s, const struct sql_load *l) {
    char sql[100 + LIST_KEYS * 3] = "SELECT key, value FROM kv WHERE key IN (?";
    char keys[LIST_KEYS][SQL_KEY_BYTES];
    size_t len = strlen(sql);
    (void)l;
    for (int k = 1; k < LIST_KEYS; k++, len += 2)
        memcpy(sql + len, ",?", 3);
    memcpy(sql + len, ")", 2);
    sqlite3_stmt *stmt = prepare(s->db, sql);
    uint64_t n = 0;
    for (uint64_t i = 0; i < s->reads / LIST_KEYS; i++) {
        int rc;
        for (int k = 0; k < LIST_KEYS; k++, n++)
            bind_key(stmt, k + 1, scatter(n * 23 + 1) % s->rows, keys[k]);
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
            s->digest += digest_of(stmt, 0) * digest_of(stmt, 1);
        if (rc != SQLITE_DONE) die(s->db, "an IN list");
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
    return n;
}

/* The rows of an ordinary table that are looked up. */
static void fill_probes(struct sql_side *s) {
    char key[SQL_KEY_BYTES];
    run(s->db, "BEGIN; DELETE FROM probe");
    sqlite3_stmt *stmt = prepare(s->db, "INSERT INTO probe VALUES(?)");
    for (uint64_t i = 0; i < s->reads; i++) {
        bind_key(stmt, 1, scatter(i * 61 + 2) % s->rows, key);
        step_done(s->db, stmt);
    }
    sqlite3_finalize(stmt);
    run(s->db, "COMMIT");
}

static uint64_t join(struct sql_side *s, const struct sql_load *l) {
    uint64_t n = 0;
    int rc;
    (void)l;
    sqlite3_stmt *stmt = prepare(s->db, "SELECT probe.key, kv.value FROM probe CROSS JOIN kv "
                                        "ON kv.key = probe.key");
    for (; (rc = sqlite3_step(stmt)) == SQLITE_ROW; n++)
        s->digest += digest_of(stmt, 0) * digest_of(stmt, 1);
    if (rc != SQLITE_DONE || n != s->reads) die(s->db, "a join");
    sqlite3_finalize(stmt);
    return n;
}

/* From a clean close to the first row; the extension is loaded anew. */
static uint64_t open_first(struct sql_side *s, const struct sql_load *l) {
    (void)l;
    for (int i = 0; i < OPENINGS; i++) {
        if (sqlite3_close(s->db) != SQLITE_OK) die(s->db, "sqlite3_close");
        s->db = NULL;
        uint64_t start = now_ns();
        sql_open(s, false);
        sqlite3_stmt *stmt = prepare(s->db, "SELECT key, value FROM kv ORDER BY key LIMIT 1");
        if (sqlite3_step(stmt) != SQLITE_ROW) die(s->db, "no first row");
        s->digest += digest_of(stmt, 0) * digest_of(stmt, 1);
        latencies_add(&s->timed, now_ns() - start);
        sqlite3_finalize(stmt);
    }
    return OPENINGS;
}

#define EMPTY_TO_ROWS true, SQL_EMPTY, SQL_ROWS
#define ROWS_TO_ROWS  true, SQL_ROWS, SQL_ROWS
#define READS         false, SQL_ROWS, SQL_ROWS
const struct sql_load sql_loads[] = {
    {"fillseq", "row", "transaction", true, SQL_EMPTY, SQL_OTHER, 0, fillseq, check_written, NULL},
    {"onetxn", "row", NULL, EMPTY_TO_ROWS, 0, onetxn, check_written, NULL},
    {"insertrandom", "row", "transaction", EMPTY_TO_ROWS, 0, insertrandom, check_written, NULL},
    {"fillrandom", "row", "transaction", EMPTY_TO_ROWS, 0, replace_all, check_written, NULL},
    {"overwrite", "row", "transaction", ROWS_TO_ROWS, 0, replace_all, check_written, NULL},
    {"scan", "row", NULL, READS, 0, scan, NULL, NULL},
    {"reverse", "row", NULL, READS, 0, reverse, NULL, NULL},
    {"count", "row", NULL, READS, 0, count_all, NULL, NULL},
    {"readrandom", "query", "query", READS, 0, read_keys, time_reads, NULL},
    {"readrandom_txn", "query", "query", READS, SQL_IN_TXN, read_keys, time_reads, NULL},
    {"readhot", "query", "query", READS, SQL_HOT | SQL_IN_TXN, read_keys, time_reads, NULL},
    {"readmissing", "query", "query", READS, SQL_MISSING, read_keys, time_reads, NULL},
    {"readmissing_txn", "query", "query", READS, SQL_MISSING | SQL_IN_TXN, read_keys, time_reads,
     NULL},
    {"range100", "query", "query", READS, 0, range100, time_ranges, NULL},
    {"inlist", "key", NULL, READS, 0, in_list, NULL, NULL},
    {"join", "row", NULL, READS, 0, join, NULL, fill_probes},
    {"update", "row", "transaction", ROWS_TO_ROWS, 0, update, check_written, NULL},
    {"single_normal", "row", "transaction", ROWS_TO_ROWS, 0, single_normal, check_written, NULL},
    {"single_full", "row", "transaction", ROWS_TO_ROWS, 0, single_full, check_written, NULL},
    {"open_first", "open", "open", READS, SQL_TIMED_ALONE, open_first, NULL, NULL},
    {"delete", "row", NULL, true, SQL_DELETED, SQL_DELETED, 0, delete_range, check_written, NULL},
    {"deleterange", "range", NULL, true, SQL_DELETED, SQL_DELETED, SQL_KEVO_COMMAND, delete_range,
     check_written, NULL},
};
const unsigned sql_load_count = sizeof sql_loads / sizeof sql_loads[0];
