/* What readers see: cursors left open across their own connection's writes, snapshots
 * across other connections' commits, flushes and compactions. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/lib/sql.h"

static sqlite3 *db, *other;
static const char *path;

static void open_mode(const char *journal) {
    path = sql_file("app.db");
    db = sql_open(path);
    sql_exec(db, "PRAGMA journal_mode=%s", journal);
    sql_exec(db, "CREATE TABLE plain(k TEXT PRIMARY KEY, v)");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo(memtable_size=64 KB)");
    other = sql_open(path);
}

static void setup_wal(void) {
    open_mode("WAL");
}

static void setup_delete(void) {
    open_mode("DELETE");
}

static void teardown(void) {
    sql_close(db);
    sql_close(other);
    db = other = NULL;
}

static void fill(unsigned n) {
    sql_exec(db,
             "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < %u) "
             "INSERT OR REPLACE INTO kv SELECT printf('k%%05d', i), i FROM c",
             n - 1);
}

static int step(sqlite3_stmt *stmt) {
    int rc = sqlite3_step(stmt);
    ck_assert_msg(rc == SQLITE_ROW || rc == SQLITE_DONE, "%s",
                  sqlite3_errmsg(sqlite3_db_handle(stmt)));
    return rc;
}

/* ---- cursors left open ---------------------------------------------------------------- */

/* Read keys of a scan under way until it ends; each must be the next of every-th. */
static void finish_scan(sqlite3_stmt *stmt, unsigned from, unsigned count, bool desc) {
    char key[16];
    for (unsigned i = from; i < count; i++) {
        snprintf(key, sizeof key, "k%05u", desc ? count - 1 - i : i);
        ck_assert_int_eq(step(stmt), SQLITE_ROW);
        ck_assert_str_eq((const char *)sqlite3_column_text(stmt, 0), key);
    }
    ck_assert_int_eq(step(stmt), SQLITE_DONE);
}

static const struct {
    const char *during;
    const char *query;
} open_cursors[] = {
    {"INSERT INTO kv VALUES('k00001x', 0)", "SELECT key, value FROM kv WHERE key NOT GLOB '*x'"},
    {"DELETE FROM kv WHERE key < 'k00005'", "SELECT key FROM kv"},
    {"UPDATE kv SET value = 'new' WHERE key > 'k00050'", "SELECT key FROM kv"},
    {"BEGIN; INSERT INTO kv VALUES('k00001x', 0); ROLLBACK", "SELECT key FROM kv"},
    {"BEGIN; DELETE FROM kv; ROLLBACK", "SELECT key, value FROM kv"},
    {"BEGIN; DELETE FROM kv WHERE key < 'k00005'; COMMIT", "SELECT key FROM kv"},
    {"SAVEPOINT s; DELETE FROM kv; ROLLBACK TO s; RELEASE s", "SELECT key FROM kv"},
    {"UPDATE kv SET value = 'new'", "SELECT key FROM kv"},
};
enum { OPEN_CURSORS = sizeof open_cursors / sizeof open_cursors[0] };

/* A scan in autocommit mode, up or down, disturbed in the middle. */
START_TEST(cursor_across_writes) {
    bool desc = _i >= OPEN_CURSORS;
    int n = _i % OPEN_CURSORS;
    fill(100);
    sqlite3_stmt *stmt =
        sql_prepare(db, "%s%s", open_cursors[n].query, desc ? " ORDER BY key DESC" : "");
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(step(stmt), SQLITE_ROW);
    int rc = sql_try(db, "%s", open_cursors[n].during);
    /* SQLite itself ends readers in some cases (ROLLBACK of a schema change). */
    ck_assert_msg(rc == SQLITE_OK, "%s", sqlite3_errmsg(db));
    unsigned count = desc && strstr(open_cursors[n].during, "< 'k00005'") ? 95 : 100;
    if (count == 95) {
        char key[16];
        for (unsigned i = 10; i < 95; i++) {
            snprintf(key, sizeof key, "k%05u", 99 - i);
            ck_assert_int_eq(step(stmt), SQLITE_ROW);
            ck_assert_str_eq((const char *)sqlite3_column_text(stmt, 0), key);
        }
        ck_assert_int_eq(step(stmt), SQLITE_DONE);
    } else {
        finish_scan(stmt, 10, 100, desc);
    }
    sqlite3_finalize(stmt);
}
END_TEST

/* The same inside a transaction that has written already, with the store busy below. */
START_TEST(cursor_in_transaction) {
    bool desc = _i >= OPEN_CURSORS;
    int n = _i % OPEN_CURSORS;
    if (strncmp(open_cursors[n].during, "BEGIN", 5) == 0) return;
    fill(100);
    sql_exec(db, "BEGIN; UPDATE kv SET value = 0 WHERE key GLOB '*7'");
    sqlite3_stmt *stmt =
        sql_prepare(db, "%s%s", open_cursors[n].query, desc ? " ORDER BY key DESC" : "");
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(step(stmt), SQLITE_ROW);
    sql_exec(db, "%s", open_cursors[n].during);
    unsigned left = 0;
    while (step(stmt) == SQLITE_ROW)
        left++;
    bool shorter = desc && strstr(open_cursors[n].during, "< 'k00005'");
    ck_assert_uint_eq(left, shorter ? 85 : 90);
    sqlite3_finalize(stmt);
    sql_exec(db, "COMMIT");
}
END_TEST

/* The transaction that the cursor reads in ends under it. */
START_TEST(cursor_across_commit) {
    const char *ends[] = {"COMMIT", "ROLLBACK"};
    fill(100);
    sql_exec(db, "BEGIN; UPDATE kv SET value = 'new'");
    sqlite3_stmt *stmt = sql_prepare(db, "SELECT key, value FROM kv");
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(step(stmt), SQLITE_ROW);
    sql_exec(db, "%s", ends[_i]);
    /* The row it stands on is still there to be asked for. */
    ck_assert_str_eq((const char *)sqlite3_column_text(stmt, 0), "k00009");
    finish_scan(stmt, 10, 100, false);
    sqlite3_finalize(stmt);
}
END_TEST

/* Points as well: IN lists and joins step from one to the next. */
START_TEST(cursor_of_points) {
    fill(100);
    sqlite3_stmt *stmt = sql_prepare(
        db, "SELECT key, value FROM kv WHERE key IN ('k00003', 'k00005', 'k00007', 'k00009')");
    ck_assert_int_eq(step(stmt), SQLITE_ROW);
    sql_exec(db, "BEGIN; UPDATE kv SET value = 'w' WHERE key <= 'k00005'");
    ck_assert_int_eq(sqlite3_column_int(stmt, 1), 3);
    ck_assert_int_eq(step(stmt), SQLITE_ROW);
    ck_assert_str_eq((const char *)sqlite3_column_text(stmt, 1), "w");
    sql_exec(db, "ROLLBACK");
    ck_assert_int_eq(step(stmt), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_column_int(stmt, 1), 7);
    ck_assert_int_eq(step(stmt), SQLITE_ROW);
    ck_assert_int_eq(step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
}
END_TEST

/* Many points, of which some are got together: what the connection commits meanwhile is seen by
 * those to come, and of those that are not there nothing is. */
START_TEST(cursor_of_many_points) {
    fill(100);
    sqlite3_stmt *stmt = sql_prepare(
        db, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 2 FROM c LIMIT 70) "
            "SELECT key, value FROM kv WHERE key IN (SELECT printf('k%%05d', i) FROM c)");
    for (int i = 1, since = -1; i < 100; i += 2) {
        ck_assert_int_eq(step(stmt), SQLITE_ROW);
        char key[16];
        snprintf(key, sizeof key, "k%05d", i);
        ck_assert_str_eq((const char *)sqlite3_column_text(stmt, 0), key);
        ck_assert_int_eq(sqlite3_column_int(stmt, 1), since < 0 ? i : since);
        if (i % 7 != 0) continue;
        since = 1000 + i;
        sql_exec(db, "UPDATE kv SET value = %d", since);
    }
    ck_assert_int_eq(step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
    sql_exec(db, "UPDATE kv SET value = 1");
    expect_rows(db, "k00003|1;k00009|1",
                "SELECT key, value FROM kv WHERE key IN ('k00009', 'nix', 'k00003', 'k', 'k00011', "
                "'z') ORDER BY key LIMIT 2");
}
END_TEST

static void expect_step(sqlite3_stmt *stmt, const char *key, const char *value) {
    ck_assert_int_eq(step(stmt), SQLITE_ROW);
    ck_assert_str_eq((const char *)sqlite3_column_text(stmt, 0), key);
    ck_assert_str_eq((const char *)sqlite3_column_text(stmt, 1), value);
}

/* A join gets one row after the other by one cursor. Its own connection begins, commits and rolls
 * back meanwhile, and the store's tables come and go. */
START_TEST(join_across_writes) {
    fill(100);
    sql_exec(db, "INSERT INTO plain SELECT key, 0 FROM kv ORDER BY key");
    sqlite3_stmt *stmt =
        sql_prepare(db, "SELECT kv.key, value FROM plain CROSS JOIN kv ON kv.key = k ORDER BY k");
    expect_step(stmt, "k00000", "0");
    sql_exec(db, "BEGIN; UPDATE kv SET value = 'w' WHERE key < 'k00003'");
    expect_step(stmt, "k00001", "w");
    sql_exec(db, "ROLLBACK");
    expect_step(stmt, "k00002", "2");
    sql_exec(db, "UPDATE kv SET value = 'new' WHERE key >= 'k00004'");
    expect_step(stmt, "k00003", "3");
    expect_step(stmt, "k00004", "new");
    sql_exec(db, "UPDATE plain SET v = 1; SELECT kevo_flush('kv')");
    expect_step(stmt, "k00005", "new");
    sql_exec(db, "DELETE FROM kv WHERE key = 'k00006'; SELECT kevo_compact('kv')");
    expect_step(stmt, "k00007", "new");
    sqlite3_finalize(stmt);
}
END_TEST

/* What others commit is not seen before the statement is over. */
START_TEST(join_stays) {
    fill(100);
    sql_exec(db, "INSERT INTO plain SELECT key, 0 FROM kv ORDER BY key");
    sqlite3_stmt *stmt =
        sql_prepare(other, "SELECT kv.key, value FROM plain CROSS JOIN kv ON kv.key = k");
    expect_step(stmt, "k00000", "0");
    sql_exec(db, "UPDATE kv SET value = 'new'");
    expect_step(stmt, "k00001", "1");
    sql_exec(db, "SELECT kevo_flush('kv')");
    expect_step(stmt, "k00002", "2");
    sql_exec(db, "DELETE FROM kv; SELECT kevo_compact('kv')");
    expect_step(stmt, "k00003", "3");
    expect_step(stmt, "k00004", "4");
    sqlite3_reset(stmt);
    ck_assert_int_eq(step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
}
END_TEST

/* Deleting what a scan shows, row by row, is what many programs do. */
START_TEST(delete_while_scanning) {
    fill(200);
    sqlite3_stmt *stmt = sql_prepare(db, "SELECT key FROM kv");
    unsigned seen = 0;
    if (_i) sql_exec(db, "BEGIN");
    while (step(stmt) == SQLITE_ROW) {
        sql_exec(db, "DELETE FROM kv WHERE key = %Q", sqlite3_column_text(stmt, 0));
        seen++;
    }
    sqlite3_finalize(stmt);
    if (_i) sql_exec(db, "COMMIT");
    ck_assert_uint_eq(seen, 200);
    expect_rows(other, "0", "SELECT count(*) FROM kv");
}
END_TEST

/* ---- rows that are counted --------------------------------------------------------------- */

static int wanted_row, this_row;

/* True in the row wanted. */
static void at_row(sqlite3_context *context, int argc, sqlite3_value **argv) {
    (void)argc, (void)argv;
    sqlite3_result_int(context, this_row++ == wanted_row);
}

/* Rows about which nothing is asked are not visited. A column asked for late is that of the
 * right row all the same, and no row is lost or comes twice when the connection writes, in any
 * moment. */
static const struct {
    const char *query, *columns; /* of the rows, of one row */
    const char *during;
    unsigned count;
} counted[] = {
    {"SELECT CASE WHEN at_row() THEN key END FROM kv", "k%05d", "", 2000},
    {"SELECT CASE WHEN at_row() THEN key END FROM kv", "k%05d", "SELECT count(*) FROM kv", 2000},
    {"SELECT CASE WHEN at_row() THEN key END FROM kv", "k%05d",
     "BEGIN; INSERT INTO kv VALUES('a', 1)", 2000},
    {"SELECT CASE WHEN at_row() THEN key END FROM kv", "k%05d", "UPDATE kv SET value = 1", 2000},
    {"SELECT CASE WHEN at_row() THEN key END FROM kv", "k%05d",
     "BEGIN; UPDATE kv SET value = 2; ROLLBACK", 2000},
    {"SELECT CASE WHEN at_row() THEN key END FROM kv WHERE key >= 'k00100' AND key < 'k01900'",
     "k%05d", "DELETE FROM kv WHERE key < 'k00050'", 1800},
};
enum { COUNTED = sizeof counted / sizeof counted[0] };

START_TEST(counted_rows) {
    static const int late[] = {0, 100, 254, 255, 256, 257, 700, 1799, 5000};
    static const int moments[] = {0, 200, 256, 300, 1500};
    char expected[16];
    fill(2000);
    if (_i >= COUNTED) expect_rows(db, "ok", "SELECT kevo_flush('kv')");
    if (_i >= COUNTED) sql_exec(db, "UPDATE kv SET value = 0 WHERE key GLOB '*7'");
    ck_assert_int_eq(
        sqlite3_create_function(db, "at_row", 0, SQLITE_UTF8, NULL, at_row, NULL, NULL), SQLITE_OK);
    const char *query = counted[_i % COUNTED].query;
    int first = strstr(query, "k00100") ? 100 : 0;
    for (int at = _i; at < _i + 15; at++) { /* pairs of five and nine */
        fill(2000);
        sqlite3_stmt *stmt = sql_prepare(db, "%s", query);
        int moment = moments[at % 5];
        unsigned rows = 0;
        wanted_row = late[at % 9];
        for (this_row = 0; step(stmt) == SQLITE_ROW; rows++) {
            bool here = (int)rows == wanted_row;
            ck_assert_int_eq(sqlite3_column_type(stmt, 0), here ? SQLITE_TEXT : SQLITE_NULL);
            snprintf(expected, sizeof expected, "k%05d", first + (int)rows);
            if (here) ck_assert_str_eq((const char *)sqlite3_column_text(stmt, 0), expected);
            if ((int)rows == moment) sql_exec(db, "%s", counted[_i % COUNTED].during);
        }
        ck_assert_uint_eq(rows, counted[_i % COUNTED].count);
        sqlite3_finalize(stmt);
        if (!sqlite3_get_autocommit(db)) sql_exec(db, "ROLLBACK");
    }
}
END_TEST

/* ---- snapshots --------------------------------------------------------------------------- */

#define SUMS "SELECT (SELECT total(v) FROM plain), (SELECT total(value) FROM kv)"

/* In WAL mode a reader's transaction stays where it began, whatever is committed,
 * flushed and compacted meanwhile. */
START_TEST(reader_stays) {
    sql_exec(db, "INSERT INTO plain VALUES('a', 1)");
    fill(2000);
    sql_exec(other, "BEGIN");
    expect_rows(other, "1.0|1999000.0", SUMS);
    const char *before = sql_rows(other, "SELECT key, value FROM kv");
    before = sqlite3_mprintf("%s", before);
    for (int round = 0; round < 5; round++) {
        sql_exec(db,
                 "BEGIN; UPDATE plain SET v = v + 1; UPDATE kv SET value = value + 1;"
                 "DELETE FROM kv WHERE value %% 7 = %d;"
                 "INSERT OR IGNORE INTO kv VALUES('new%d', %d); COMMIT",
                 round, round, round);
        expect_rows(db, "ok", "SELECT kevo_flush('kv')");
        if (round & 1) expect_rows(db, "ok", "SELECT kevo_compact('kv')");
        expect_rows(other, "1.0|1999000.0", SUMS);
        expect_rows(other, before, "SELECT key, value FROM kv");
        expect_rows(other, "1000", "SELECT value FROM kv WHERE key = 'k01000'");
    }
    /* It cannot begin to write from there. */
    expect_error(other, SQLITE_BUSY_SNAPSHOT, "locked", "INSERT INTO kv VALUES('late', 1)");
    sql_exec(other, "COMMIT");
    expect_rows(other, sql_rows(db, SUMS), SUMS);
    sqlite3_free((void *)before);
}
END_TEST

#define SNAPSHOTS "SELECT value FROM kevo_stats('kv') WHERE name = 'snapshots'"

/* A read transaction that is over keeps nothing any more once somebody flushes, though its
 * connection is not used again; one that is not keeps what it sees. */
START_TEST(idle_readers_keep_nothing) {
    fill(100);
    expect_rows(other, "4950", "SELECT sum(value) FROM kv");
    sql_exec(other, "BEGIN; SELECT * FROM kv");
    sql_exec(db, "UPDATE kv SET value = 0");
    expect_rows(db, "ok", "SELECT kevo_flush('kv')");
    expect_rows(db, "1", SNAPSHOTS);
    expect_rows(other, "4950", "SELECT sum(value) FROM kv");
    sql_exec(other, "COMMIT");
    expect_rows(db, "1", SNAPSHOTS);
    sql_exec(db, "UPDATE kv SET value = 1");
    expect_rows(db, "ok", "SELECT kevo_flush('kv')");
    expect_rows(db, "0", SNAPSHOTS);
    expect_rows(other, "100", "SELECT sum(value) FROM kv");
    sqlite3_stmt *stmt = sql_prepare(other, "SELECT value FROM kv");
    ck_assert_int_eq(step(stmt), SQLITE_ROW);
    sql_exec(db, "UPDATE kv SET value = 2");
    expect_rows(db, "ok", "SELECT kevo_flush('kv')");
    expect_rows(db, "1", SNAPSHOTS);
    ck_assert_int_eq(step(stmt), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_column_int(stmt, 0), 1);
    sqlite3_finalize(stmt);
}
END_TEST

static void create_big(void) {
    sql_exec(db, "CREATE VIRTUAL TABLE big USING kevo('big.store', txn_memory_size=4096);"
                 "INSERT INTO big VALUES('a', 1)");
}

/* A store is closed and opened again while a transaction of `other` that has not looked into it stays
 * open. */
static void open_since(const char *newer) {
    sql_exec(other, "BEGIN; SELECT * FROM plain");
    sql_exec(db, "%s", newer);
    sql_close(db);
    db = sql_open(path);
    sql_exec(db, "SELECT count(*) FROM big");
}

#define ONE_MORE "INSERT INTO big VALUES('b', 2); SELECT kevo_flush('big')"

/* It has to start again, and nobody needs a backup. */
START_TEST(store_opened_since) {
    static const char *const newer[] = {
        ONE_MORE,
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100) "
        "INSERT INTO big SELECT i, zeroblob(300) FROM c",
    };
    create_big();
    open_since(newer[_i]);
    expect_error(other, SQLITE_BUSY_SNAPSHOT, "start the transaction again", "SELECT * FROM big");
    sql_exec(other, "COMMIT");
    expect_rows(other, _i ? "101" : "2", "SELECT count(*) FROM big");
}
END_TEST

/* Where connections share caches, one that looks at the file beside this one must not share its. */
START_TEST(store_opened_since_and_shared_cache) {
    char alone[1300];
    sqlite3_enable_shared_cache(1);
    sql_close(other);
    other = sql_open(path);
    snprintf(alone, sizeof alone, "file:%s?cache=private", path);
    path = alone;
    create_big();
    open_since(ONE_MORE);
    expect_error(other, SQLITE_BUSY_SNAPSHOT, "start the transaction again", "SELECT * FROM big");
    sqlite3_enable_shared_cache(0);
}
END_TEST

/* What cannot be looked up for want of memory or of files is no reason for a backup either. */
START_TEST(store_opened_since_and_no_memory) {
    unsigned failed = 0;
    int rc = SQLITE_NOMEM;
    create_big();
    for (sqlite3_int64 more = 0; rc == SQLITE_NOMEM; more += 4096) {
        if (sqlite3_get_autocommit(other)) { /* a failure has rolled back */
            sql_close(other);
            other = sql_open(path);
            open_since("UPDATE big SET value = value + 1; SELECT kevo_flush('big')");
        }
        sqlite3_hard_heap_limit64(sqlite3_memory_used() + more);
        rc = sqlite3_exec(other, "SELECT * FROM big", NULL, NULL, NULL);
        sqlite3_hard_heap_limit64(0);
        failed += rc == SQLITE_NOMEM;
    }
    ck_assert_int_eq(rc, SQLITE_BUSY_SNAPSHOT);
    ck_assert_uint_gt(failed, 5);
}
END_TEST

START_TEST(store_opened_since_and_no_file) {
    struct rlimit files, few;
    create_big();
    open_since(ONE_MORE);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    few = (struct rlimit){3, files.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    expect_error(other, SQLITE_CANTOPEN, "cannot be looked up", "SELECT * FROM big");
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    expect_error(other, SQLITE_BUSY_SNAPSHOT, "start the transaction again", "SELECT * FROM big");
}
END_TEST

/* Statements outside of transactions keep what the marker said: each must see all that was
 * committed before it, by whomever, and nothing that was rolled back. */
START_TEST(each_statement_anew) {
    static const char *const modes[] = {NULL, "TRUNCATE", "PERSIST"};
    char expected[16];
    if (modes[_i]) {
        sql_exec(db, "PRAGMA journal_mode = %s", modes[_i]);
        sql_exec(other, "PRAGMA journal_mode = %s", modes[_i]);
    }
    sql_exec(db, "INSERT INTO kv VALUES('n', 0)");
    for (int i = 1; i <= 20; i++) {
        sqlite3 *writer = i % 3 ? db : other;
        const char *how[] = {"UPDATE kv SET value = value + 1",
                             "BEGIN; UPDATE kv SET value = value + 1; COMMIT",
                             "BEGIN; UPDATE kv SET value = value + 9; ROLLBACK;"
                             "UPDATE kv SET value = value + 1",
                             "SAVEPOINT s; INSERT INTO plain VALUES('p', 1);"
                             "UPDATE kv SET value = value + 5; ROLLBACK TO s; RELEASE s;"
                             "UPDATE kv SET value = value + 1"};
        sql_exec(writer, "%s", how[i % 4]);
        snprintf(expected, sizeof expected, "%d", i);
        for (int twice = 0; twice < 2; twice++) {
            expect_rows(db, expected, "SELECT value FROM kv WHERE key = 'n'");
            expect_rows(other, expected, "SELECT value FROM kv WHERE key = 'n'");
        }
        sql_exec(writer, "INSERT INTO plain VALUES(%d, 1)", i);
        expect_rows(other, expected, "SELECT value FROM kv");
    }
}
END_TEST

/* One row, looked up again and again while it changes, and while the store is flushed and compacted
 * below: outside of a transaction it is the newest, inside of one the one that was there first. A
 * snapshot that rests between two statements makes no difference. */
START_TEST(looked_up_again) {
    struct rng rng = rng_of(harness_seed());
    int value = 0, seen = 0;
    bool inside = false, holds = false;
    fill(100);
    sql_exec(db, "REPLACE INTO kv VALUES('n', 0)");
    for (int i = 0; i < 400; i++) {
        static const char *const upkeep[] = {"kevo_flush", "kevo_compact"};
        sqlite3_stmt *stmt;
        switch (rng_below(&rng, 7)) {
        case 0: sql_exec(db, "UPDATE kv SET value = %d WHERE key = 'n'", ++value); break;
        case 1: sql_exec(db, "BEGIN; UPDATE kv SET value = 7; ROLLBACK"); break;
        case 2: expect_rows(db, "ok", "SELECT %s('kv')", upkeep[rng_below(&rng, 2)]); break;
        case 3:
            sql_exec(other, inside ? "COMMIT" : "BEGIN; SELECT * FROM kv WHERE key = 'n'");
            inside = !inside;
            if (inside) seen = value;
            holds = true; /* and after it until the next use */
            break;
        case 4: ck_assert_int_le(sql_int(db, SNAPSHOTS), holds); break;
        default:
            if (!inside) seen = value;
            holds = inside;
            stmt = sql_prepare(other, "SELECT value FROM kv WHERE key = 'n'");
            ck_assert_int_eq(step(stmt), SQLITE_ROW);
            ck_assert_int_eq(sqlite3_column_int(stmt, 0), seen);
            if (rng_below(&rng, 2))
                expect_rows(other, "1", "SELECT count(*) FROM kv WHERE key = 'n'");
            ck_assert_int_eq(step(stmt), SQLITE_DONE);
            sqlite3_finalize(stmt);
        }
    }
}
END_TEST

/* Both sides of a transaction appear in the same instant. */
START_TEST(both_or_none) {
    sql_exec(db, "INSERT INTO plain VALUES('a', 0); INSERT INTO kv VALUES('a', 0)");
    for (int i = 1; i < 50; i++) {
        sql_exec(db, "BEGIN; UPDATE plain SET v = %d; UPDATE kv SET value = %d", i, i);
        if (i % 3 == 0) {
            expect_rows(other, sql_rows(other, "SELECT %d || '|' || %d", i - 1, i - 1),
                        "SELECT v, value FROM plain, kv");
        }
        sql_exec(db, "COMMIT");
        expect_rows(other, sql_rows(other, "SELECT %d || '|' || %d", i, i),
                    "SELECT v, value FROM plain, kv");
    }
}
END_TEST

START_TEST(writers_take_turns) {
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('a', 1)");
    expect_error(other, SQLITE_BUSY, "locked", "INSERT INTO kv VALUES('b', 1)");
    expect_rows(other, "", "SELECT * FROM kv");
    sql_exec(db, "COMMIT");
    sql_exec(other, "INSERT INTO kv VALUES('b', 1)");
    expect_rows(db, "a|1;b|1", "SELECT * FROM kv");
}
END_TEST

/* A cursor of one connection over many commits of another. */
START_TEST(long_scan) {
    fill(3000);
    sqlite3_stmt *stmt = sql_prepare(other, "SELECT key, value FROM kv");
    for (int i = 0; i < 3000; i++) {
        ck_assert_int_eq(step(stmt), SQLITE_ROW);
        ck_assert_int_eq(sqlite3_column_int(stmt, 1), i);
        if (i % 500 == 0) {
            sql_exec(db, "UPDATE kv SET value = value + 1000000");
            expect_rows(db, "ok", "SELECT kevo_flush('kv')");
        }
    }
    ck_assert_int_eq(step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
}
END_TEST

/* ---- interrupt ------------------------------------------------------------------------------- */

static int interrupt_soon(void *arg) {
    sqlite3_interrupt(arg);
    return 0;
}

START_TEST(interrupted_compaction) {
    fill(5000);
    expect_rows(db, "ok", "SELECT kevo_flush('kv')");
    sqlite3_progress_handler(db, 1, interrupt_soon, db);
    ck_assert_int_eq(sql_try(db, "SELECT kevo_compact('kv')") & 0xff, SQLITE_INTERRUPT);
    sqlite3_progress_handler(db, 0, NULL, NULL);
    expect_rows(db, "5000", "SELECT count(*) FROM kv");
    expect_rows(db, "ok", "SELECT kevo_compact('kv')");
    expect_rows(db, "ok", "SELECT kevo_check('kv')");
}
END_TEST

static void add_both(TCase *wal, TCase *delete, const TTest *test, int loops) {
    tcase_add_loop_test(wal, test, 0, loops);
    tcase_add_loop_test(delete, test, 0, loops);
}

int main(void) {
    Suite *suite = suite_create("snapshot");
    TCase *wal = tcase_create("wal"), *delete = tcase_create("delete");
    tcase_add_checked_fixture(wal, setup_wal, teardown);
    tcase_add_checked_fixture(delete, setup_delete, teardown);
    add_both(wal, delete, cursor_across_writes, 2 * OPEN_CURSORS);
    add_both(wal, delete, cursor_in_transaction, 2 * OPEN_CURSORS);
    add_both(wal, delete, cursor_across_commit, 2);
    add_both(wal, delete, cursor_of_points, 1);
    add_both(wal, delete, cursor_of_many_points, 1);
    add_both(wal, delete, delete_while_scanning, 2);
    add_both(wal, delete, counted_rows, 2 * COUNTED);
    add_both(wal, delete, join_across_writes, 1);
    tcase_add_test(wal, join_stays);
    tcase_add_test(wal, reader_stays);
    tcase_add_test(wal, idle_readers_keep_nothing);
    tcase_add_loop_test(wal, store_opened_since, 0, 2);
    tcase_add_test(wal, store_opened_since_and_shared_cache);
    tcase_add_test(wal, store_opened_since_and_no_memory);
    tcase_add_test(wal, store_opened_since_and_no_file);
    tcase_add_loop_test(wal, each_statement_anew, 0, 1);
    tcase_add_loop_test(delete, each_statement_anew, 0, 3);
    tcase_add_test(wal, looked_up_again);
    add_both(wal, delete, both_or_none, 1);
    add_both(wal, delete, writers_take_turns, 1);
    tcase_add_test(wal, long_scan);
    add_both(wal, delete, interrupted_compaction, 1);
    suite_add_tcase(suite, wal);
    suite_add_tcase(suite, delete);
    return harness_run(suite);
}
