/* Threads with connections of their own move money between an ordinary table and kevo tables in
 * two stores, while others read, flush, compact and check. In every snapshot that anybody gets
 * the sum is the same, and all tables are as the same transaction left them.
 *
 *     KEVO_TRANSACTIONS=n    so many of each writer (60)
 *     KEVO_SEED=n            the same amounts again; the order is the machine's */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/sql.h"

enum { ACCOUNTS = 12, START = 1000, TABLES = 3, TOTAL = TABLES * ACCOUNTS * START };

static sqlite3 *db;
static const char *path;
static atomic_bool stop;

/* ---- the tables ------------------------------------------------------------------------ */

/* Memtables and tables so small that all of the store's machinery is at work. */
#define TINY                                                                                       \
    "memtable_size = 4096, memtable_count = 2, l0_trigger = 2, l0_slow = 4, l0_stop = 6, "         \
    "table_size = 4096, level1_size = 8192, block_size = 512, cache_size = 16384"

/* In each table the row 0 counts the transactions. */
static void open_mode(const char *journal, const char *memory) {
    path = sql_file("app.db");
    db = sql_open(path);
    sql_exec(db, "PRAGMA journal_mode = %s", journal);
    sql_exec(db,
             "BEGIN; CREATE TABLE plain(id INTEGER PRIMARY KEY, v INTEGER);"
             "CREATE VIRTUAL TABLE kv USING kevo(id TEXT PRIMARY KEY, v INTEGER, INDEX by_v (v), "
             "%s, txn_memory_size = %s);"
             "CREATE VIRTUAL TABLE far USING kevo('far.store', id INTEGER PRIMARY KEY, v INTEGER, "
             "pad BLOB, %s);",
             TINY, memory, TINY);
    sql_exec(db,
             "WITH n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
             "INSERT INTO plain SELECT i, iif(i, %d, 0) FROM n;"
             "INSERT INTO kv SELECT printf('a%%02d', id), v FROM plain;"
             "INSERT INTO far SELECT id, v, NULL FROM plain; COMMIT",
             ACCOUNTS, START);
    atomic_store(&stop, false);
}

static void setup_wal(void) {
    open_mode("WAL", "64 MB");
}

static void setup_wal_runs(void) {
    open_mode("WAL", "4 KB");
}

static void setup_delete(void) {
    open_mode("DELETE", "64 MB");
}

static void setup_truncate(void) {
    open_mode("TRUNCATE", "64 MB");
}

static void teardown(void) {
    sql_close(db);
    db = NULL;
}

/* ---- one thread -------------------------------------------------------------------------- */

struct worker {
    pthread_t thread;
    const char *name;
    void (*work)(struct worker *w);
    unsigned number;
    sqlite3 *db;
    struct rng rng;
    sqlite3_int64 seen; /* transactions, as far as its snapshots have come */
    unsigned done;      /* transactions, or looks */
    unsigned retries;   /* after SQLITE_BUSY */
    char failure[400];
};

static bool failed(struct worker *w, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (!w->failure[0]) vsnprintf(w->failure, sizeof w->failure, format, args);
    va_end(args);
    atomic_store(&stop, true);
    return false;
}

/* SQLITE_OK, SQLITE_BUSY, or the worker has failed and that is told by an SQLITE_ERROR. */
static int try(struct worker *w, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args);
    va_end(args);
    int rc = sqlite3_exec(w->db, sql, NULL, NULL, NULL) & 0xff;
    if (rc != SQLITE_OK && rc != SQLITE_BUSY) {
        failed(w, "%s: %d, %s", sql, sqlite3_extended_errcode(w->db), sqlite3_errmsg(w->db));
        rc = SQLITE_ERROR;
    }
    sqlite3_free(sql);
    return rc;
}

static void give_up(struct worker *w) {
    if (!sqlite3_get_autocommit(w->db)) try(w, "ROLLBACK");
    w->retries++;
}

static unsigned below(struct worker *w, unsigned n) {
    return (unsigned)rng_below(&w->rng, n);
}

/* ---- readers --------------------------------------------------------------------------------- */

/* The sum, the counters of all tables, and how many rows join; from the ordinary table, and from
 * an index. */
#define LOOK                                                                                       \
    "SELECT sum(p.v + k.v + f.v) FILTER (WHERE p.id > 0), sum(p.v) FILTER (WHERE p.id = 0), "      \
    "sum(k.v) FILTER (WHERE p.id = 0), sum(f.v) FILTER (WHERE p.id = 0), count(*) FROM "

static const char *const looks[] = {
    LOOK "plain p JOIN kv k ON k.id = printf('a%02d', p.id) JOIN far f ON f.id = p.id",
    LOOK "kv k CROSS JOIN plain p CROSS JOIN far f WHERE k.v > -1000000000 AND "
         "p.id = CAST(substr(k.id, 2) AS INTEGER) AND f.id = p.id",
};

struct looked {
    sqlite3_int64 sum, counters[TABLES], rows;
};

/* SQLITE_BUSY is for the caller. */
static int look(struct worker *w, struct looked *l) {
    sqlite3_stmt *stmt = NULL;
    const char *query = looks[below(w, 2)];
    int rc = sqlite3_prepare_v2(w->db, query, -1, &stmt, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(stmt);
    *l = (struct looked){.sum = 0};
    if (rc == SQLITE_ROW) {
        l->sum = sqlite3_column_int64(stmt, 0);
        for (int i = 0; i < TABLES; i++)
            l->counters[i] = sqlite3_column_int64(stmt, 1 + i);
        l->rows = sqlite3_column_int64(stmt, 1 + TABLES);
    }
    sqlite3_finalize(stmt);
    if (rc == SQLITE_ROW) return SQLITE_OK;
    if ((rc & 0xff) != SQLITE_BUSY)
        failed(w, "%s: %d, %s", query, sqlite3_extended_errcode(w->db), sqlite3_errmsg(w->db));
    return rc & 0xff;
}

static bool check(struct worker *w, const struct looked *l) {
    if (l->rows != ACCOUNTS + 1) return failed(w, "%lld rows", l->rows);
    if (l->sum != TOTAL) return failed(w, "the sum is %lld", l->sum);
    for (int i = 1; i < TABLES; i++)
        if (l->counters[i] != l->counters[0])
            return failed(w, "table %d is at %lld, the first one at %lld", i, l->counters[i],
                          l->counters[0]);
    if (l->counters[0] < w->seen)
        return failed(w, "back from %lld to %lld", w->seen, l->counters[0]);
    w->seen = l->counters[0];
    return true;
}

/* Each statement by itself. */
static void read_autocommit(struct worker *w) {
    struct looked l;
    int rc = look(w, &l);
    if (rc == SQLITE_OK && check(w, &l))
        w->done++;
    else if (rc == SQLITE_BUSY)
        w->retries++;
}

/* A cursor that stands still while the tables are looked at, and then goes on. */
static bool read_slowly(struct worker *w) {
    sqlite3_stmt *stmt = NULL;
    sqlite3_int64 sum = 0;
    struct looked l;
    int rc = sqlite3_prepare_v2(w->db, "SELECT id, v FROM kv ORDER BY id DESC", -1, &stmt, NULL);
    unsigned rows = 0;
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW) break;
        sum += sqlite3_column_int64(stmt, 1);
        rows++;
        if (rows % 5 == 0 && look(w, &l) == SQLITE_OK) check(w, &l);
    }
    sqlite3_finalize(stmt);
    if (rc != SQLITE_DONE || rows != ACCOUNTS + 1)
        return failed(w, "a scan ended at row %u: %d, %s", rows, rc, sqlite3_errmsg(w->db));
    rc = sqlite3_prepare_v2(w->db, "SELECT sum(v) FROM kv", -1, &stmt, NULL);
    if (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_int64(stmt, 0) != sum)
        failed(w, "kv has %lld and had %lld", sqlite3_column_int64(stmt, 0), sum);
    sqlite3_finalize(stmt);
    return !w->failure[0];
}

/* A read transaction sees one and the same however long it lasts. Only its first look at a store
 * may come too late for the snapshot that SQLite has given it. */
static void read_long(struct worker *w) {
    struct looked first, again;
    if (try(w, "BEGIN")) return;
    int rc = look(w, &first);
    if (rc == SQLITE_BUSY) {
        give_up(w);
        return;
    }
    bool good = rc == SQLITE_OK && check(w, &first);
    for (unsigned n = below(w, 8); good && n > 0; n--) {
        rc = look(w, &again);
        good = rc == SQLITE_OK && memcmp(&first, &again, sizeof first) == 0;
        if (!good) failed(w, "%d, at %lld and then at %lld", rc, first.sum, again.sum);
        if (good && n == 3) good = read_slowly(w);
        sqlite3_sleep(1);
    }
    try(w, "COMMIT");
    w->done++;
    sqlite3_sleep(1); /* with a rollback journal nobody writes as long as somebody reads */
}

/* ---- writers ----------------------------------------------------------------------------------- */

static int move(struct worker *w) {
    static const char *const add[TABLES] = {
        "UPDATE plain SET v = v + %d WHERE id = %u;",
        "UPDATE kv SET v = v + %d WHERE id = printf('a%%02d', %u);",
        "UPDATE far SET v = v + %d, pad = zeroblob(v %% 97) WHERE id = %u;",
    };
    int amount = (int)below(w, 100);
    int rc = try(w, add[below(w, TABLES)], -amount, 1 + below(w, ACCOUNTS));
    return rc ? rc : try(w, add[below(w, TABLES)], amount, 1 + below(w, ACCOUNTS));
}

/* What is written in a savepoint that goes: a sum that nobody may see. */
static int detour(struct worker *w) {
    int rc = try(w,
                 "SAVEPOINT s; UPDATE kv SET v = v + 7 WHERE id > 'a05'; DELETE FROM far WHERE "
                 "id = %u",
                 below(w, ACCOUNTS));
    if (rc == SQLITE_OK && below(w, 2)) rc = move(w);
    return rc ? rc : try(w, "ROLLBACK TO s; RELEASE s");
}

static int change(struct worker *w) {
    int rc = try(w, "UPDATE plain SET v = v + 1 WHERE id = 0; UPDATE kv SET v = v + 1 WHERE id = "
                    "'a00'; UPDATE far SET v = v + 1 WHERE id = 0");
    for (unsigned n = 1 + below(w, 4); rc == SQLITE_OK && n > 0; n--)
        rc = below(w, 4) ? move(w) : detour(w);
    if (rc == SQLITE_OK && below(w, 4) == 0) rc = try(w, "SAVEPOINT t");
    if (rc == SQLITE_OK && below(w, 4) == 0) rc = move(w);
    return rc;
}

/* What was committed is seen by whoever committed it. */
static void committed(struct worker *w) {
    struct looked l;
    w->done++;
    if (look(w, &l) == SQLITE_OK) check(w, &l);
}

/* Waits for its turn. */
static void write_immediate(struct worker *w) {
    int rc = try(w, "BEGIN IMMEDIATE");
    if (rc == SQLITE_OK) rc = change(w);
    if (rc == SQLITE_OK) rc = try(w, below(w, 5) ? "COMMIT" : "ROLLBACK");
    if (rc == SQLITE_OK)
        committed(w);
    else
        give_up(w);
}

/* Reads, then writes if nobody else did meanwhile; a COMMIT that is BUSY is tried again, at times
 * with more. */
static void write_deferred(struct worker *w) {
    struct looked l;
    int rc = try(w, "BEGIN");
    if (rc == SQLITE_OK) rc = look(w, &l);
    if (rc == SQLITE_OK && !check(w, &l)) return;
    if (rc == SQLITE_OK) rc = change(w);
    for (int n = 0; rc == SQLITE_OK && n < 20; n++) {
        rc = try(w, "COMMIT");
        if (rc == SQLITE_OK) {
            committed(w);
            return;
        }
        if (rc != SQLITE_BUSY || sqlite3_get_autocommit(w->db)) break;
        w->retries++;
        sqlite3_sleep(1);
        rc = below(w, 2) ? move(w) : SQLITE_OK;
    }
    give_up(w);
    sqlite3_sleep(1 + (int)below(w, 4));
}

/* ---- upkeep -------------------------------------------------------------------------------------- */

static void keep_up(struct worker *w) {
    static const char *const jobs[] = {
        "SELECT kevo_flush('kv')",         "SELECT kevo_compact('kv')", "SELECT kevo_check('kv')",
        "SELECT kevo_flush('far')",        "SELECT kevo_check('far')",  "PRAGMA wal_checkpoint",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    const char *job = jobs[below(w, sizeof jobs / sizeof jobs[0])];
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(w->db, job, -1, &stmt, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(stmt);
    const char *says = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : "";
    if (rc == SQLITE_ROW && *job == 'S' && strcmp(says, "ok") != 0) failed(w, "%s: %s", job, says);
    if (rc != SQLITE_ROW && (rc & 0xff) != SQLITE_BUSY)
        failed(w, "%s: %d, %s", job, rc, sqlite3_errmsg(w->db));
    w->retries += rc != SQLITE_ROW;
    w->done++;
    sqlite3_finalize(stmt);
    sqlite3_sleep(1);
}

/* ---- all of them ------------------------------------------------------------------------------------ */

enum { WRITERS = 2 };

static const struct {
    const char *name;
    void (*work)(struct worker *w);
    int timeout_ms;
} roles[] = {
    {"immediate", write_immediate, 60000},
    {"deferred", write_deferred, 5},
    {"autocommit", read_autocommit, 60000},
    {"autocommit, no patience", read_autocommit, 0},
    {"long", read_long, 60000},
    {"long, no patience", read_long, 0},
    {"upkeep", keep_up, 1000},
};
enum { WORKERS = sizeof roles / sizeof roles[0] };

static void *run(void *arg) {
    struct worker *w = arg;
    uint64_t most = w->number < WRITERS ? harness_count("KEVO_TRANSACTIONS", 60) : UINT64_MAX;
    while (!atomic_load(&stop) && w->done < most)
        w->work(w);
    return NULL;
}

static void start(struct worker *w, unsigned number) {
    *w = (struct worker){.name = roles[number].name,
                         .work = roles[number].work,
                         .number = number,
                         .db = sql_open(path),
                         .rng = rng_of(harness_seed() + number)};
    sqlite3_busy_timeout(w->db, roles[number].timeout_ms);
    ck_assert_int_eq(pthread_create(&w->thread, NULL, run, w), 0);
}

START_TEST(invariant) {
    static struct worker w[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++)
        start(&w[i], i);
    for (unsigned i = 0; i < WORKERS; i++) {
        if (i == WRITERS) atomic_store(&stop, true);
        pthread_join(w[i].thread, NULL);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        printf("%s: %u, %u of them again\n", w[i].name, w[i].done, w[i].retries);
        ck_assert_msg(!w[i].failure[0], "%s: %s", w[i].name, w[i].failure);
        sql_close(w[i].db);
    }
    struct worker last = {.db = db, .rng = rng_of(0)};
    struct looked l;
    ck_assert_int_eq(look(&last, &l), SQLITE_OK);
    ck_assert_msg(check(&last, &l), "%s", last.failure);
    expect_rows(db, "ok;ok;ok",
                "SELECT kevo_check('kv'); SELECT kevo_check('far'); "
                "PRAGMA integrity_check");
}
END_TEST

int main(void) {
    static const struct {
        const char *name;
        void (*setup)(void);
    } cases[] = {
        {"wal", setup_wal},
        {"wal, runs", setup_wal_runs},
        {"delete", setup_delete},
        {"truncate", setup_truncate},
    };
    Suite *suite = suite_create("threads");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TCase *tc = tcase_create(cases[i].name);
        tcase_add_checked_fixture(tc, cases[i].setup, teardown);
        tcase_set_timeout(tc, 500);
        tcase_add_test(tc, invariant);
        suite_add_tcase(suite, tc);
    }
    return harness_run(suite);
}
