/* kevo_delete_range(): part of transactions and savepoints, beside cursors and readers, with
 * indexes, refused where it is no range. That it deletes what DELETE would is the business of
 * tests/fuzz. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/sql.h"

#define CHECK(db) expect_rows(db, "ok", "SELECT kevo_check('t')")

static const char *const definitions[] = {
    "device TEXT, ts INTEGER, v ANY, PRIMARY KEY (device, ts)",
    /* The entries of the first lie together where the rows do, those of the second do not. */
    "device TEXT, ts INTEGER, v ANY, PRIMARY KEY (device, ts), INDEX i (device DESC, v), "
    "UNIQUE (v, device, ts)",
};

static const char *path; /* of the database */

static void setup(void) {
    path = sql_file("a.db");
}

/* Devices a, b, c with ts 1 to 9. */
static sqlite3 *open_filled(int definition) {
    sqlite3 *db = sql_open(path);
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(%s)", definitions[definition]);
    sql_exec(db, "CREATE TABLE o(x UNIQUE)");
    sql_exec(db, "WITH n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 26) "
                 "INSERT INTO t SELECT char(97 + i / 9), i %% 9 + 1, i %% 4 FROM n");
    return db;
}

#define COUNTS "SELECT device, count(*), min(ts), max(ts) FROM t GROUP BY device"

START_TEST(bounds) {
    static const struct {
        const char *conditions, *counts;
    } cases[] = {
        {"'device =', 'b'", "a|9|1|9;c|9|1|9"},
        {"'device =', 'b', 'ts =', 4", "a|9|1|9;b|8|1|9;c|9|1|9"},
        {"'device =', 'b', 'ts <', 4", "a|9|1|9;b|6|4|9;c|9|1|9"},
        {"'device =', 'b', 'ts <=', 4", "a|9|1|9;b|5|5|9;c|9|1|9"},
        {"'device =', 'b', 'ts >', 4", "a|9|1|9;b|4|1|4;c|9|1|9"},
        {"'ts >=', 4.0, 'device ==', 'b'", "a|9|1|9;b|3|1|3;c|9|1|9"},
        {"'device =', 'b', 'ts >', 1.5, 'ts <', '8.5'", "a|9|1|9;b|2|1|9;c|9|1|9"},
        {"'device >', 'a'", "a|9|1|9"},
        {"'device >=', 'a', 'device <', 'c'", "c|9|1|9"},
        {"", ""},
        /* nothing */
        {"'device =', 'x'", "a|9|1|9;b|9|1|9;c|9|1|9"},
        {"'device =', NULL", "a|9|1|9;b|9|1|9;c|9|1|9"},
        {"'device =', 'b', 'ts <', NULL", "a|9|1|9;b|9|1|9;c|9|1|9"},
        {"'device =', 'b', 'ts >', 6, 'ts <', 4", "a|9|1|9;b|9|1|9;c|9|1|9"},
        {"'device =', x'62'", "a|9|1|9;b|9|1|9;c|9|1|9"},
        {"'device =', 5", "a|9|1|9;b|9|1|9;c|9|1|9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sqlite3 *db = i ? sql_open(path) : open_filled(_i);
        sql_exec(db, "BEGIN");
        expect_rows(db, "ok|0", "SELECT kevo_delete_range('t'%s%s), changes()",
                    *cases[i].conditions ? ", " : "", cases[i].conditions);
        expect_rows(db, cases[i].counts, COUNTS);
        CHECK(db);
        sql_exec(db, "ROLLBACK");
        expect_rows(db, "27", "SELECT count(*) FROM t");
        CHECK(db);
        sql_close(db);
    }
}
END_TEST

/* Savepoints undo it and nothing else, and what comes after it stays. */
START_TEST(savepoints) {
    sqlite3 *db = open_filled(_i);
    sql_exec(db, "BEGIN; INSERT INTO t VALUES('b', 10, 'new'); SAVEPOINT s");
    sql_exec(db, "SELECT kevo_delete_range('t', 'device =', 'b', 'ts >', 2)");
    sql_exec(db, "INSERT INTO t VALUES('b', 5, 'again')");
    expect_rows(db, "a|9|1|9;b|3|1|5;c|9|1|9", COUNTS);
    sql_exec(db, "SAVEPOINT u; SELECT kevo_delete_range('t')");
    expect_rows(db, "", COUNTS);
    sql_exec(db, "ROLLBACK TO u");
    expect_rows(db, "a|9|1|9;b|3|1|5;c|9|1|9", COUNTS);
    CHECK(db);
    sql_exec(db, "ROLLBACK TO s");
    expect_rows(db, "a|9|1|9;b|10|1|10;c|9|1|9", COUNTS);
    CHECK(db);
    sql_exec(db, "SELECT kevo_delete_range('t', 'device <', 'c'); "
                 "INSERT INTO t VALUES('a', 7, 'kept'); COMMIT");
    for (int again = 0; again < 3; again++) {
        expect_rows(db, "a|1|7|7;c|9|1|9", COUNTS);
        CHECK(db);
        if (again == 1) sql_exec(db, "SELECT kevo_flush('t')");
        sql_close(db);
        db = sql_open(path);
    }
    sql_close(db);
}
END_TEST

/* A cursor that is open goes on behind the rows that went. */
START_TEST(cursors) {
    static const char *const queries[] = {
        "SELECT device, ts FROM t", "SELECT device, ts FROM t ORDER BY device DESC, ts DESC",
        "SELECT device, ts FROM t WHERE device IN ('a', 'b', 'c')",
        "SELECT device, ts FROM t ORDER BY device DESC"};
    for (int begin = 0; begin < 2; begin++) {
        sqlite3 *db = begin ? sql_open(path) : open_filled(_i % 2);
        sqlite3_stmt *stmt = sql_prepare(db, "%s", queries[_i / 2]);
        int rows = 0;
        if (begin) sql_exec(db, "INSERT INTO t SELECT 'b', ts, v FROM t WHERE device = 'a'");
        if (begin) sql_exec(db, "BEGIN");
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            if (++rows == 4) sql_exec(db, "SELECT kevo_delete_range('t', 'device =', 'b')");
            if (rows > 4) ck_assert_str_ne((const char *)sqlite3_column_text(stmt, 0), "b");
        }
        ck_assert_int_eq(sqlite3_finalize(stmt), SQLITE_OK);
        ck_assert_int_eq(rows, 18);
        CHECK(db);
        if (begin) sql_exec(db, "COMMIT");
        sql_close(db);
    }
}
END_TEST

START_TEST(snapshots) {
    sqlite3 *db = open_filled(_i), *reader = sql_open(path);
    sql_exec(db, "PRAGMA journal_mode=WAL");
    sql_exec(reader, "BEGIN");
    expect_rows(reader, "27", "SELECT count(*) FROM t");
    sql_exec(db, "SELECT kevo_delete_range('t', 'device >', 'a'); SELECT kevo_flush('t')");
    expect_rows(reader, "27", "SELECT count(*) FROM t");
    CHECK(reader);
    expect_error(reader, SQLITE_BUSY, "locked", "SELECT kevo_delete_range('t')");
    sql_exec(reader, "COMMIT");
    expect_rows(reader, "9", "SELECT count(*) FROM t");
    sql_close(reader);
    /* Another one writes: nothing happens. */
    sqlite3 *other = sql_open(path);
    sql_exec(other, "BEGIN IMMEDIATE");
    expect_error(db, SQLITE_BUSY, "locked", "SELECT kevo_delete_range('t')");
    ck_assert(sqlite3_get_autocommit(db));
    sql_close(other);
    expect_rows(db, "9", "SELECT count(*) FROM t");
    sql_close(db);
}
END_TEST

/* What fails leaves all as it was, in a transaction and without one. */
START_TEST(refused) {
    static const struct {
        const char *call, *words;
    } cases[] = {
        {"'t', 'v =', 5", "column v is not in the primary key of t: use DELETE"},
        {"'t', 'ts <', 5", "only together with 'device ='"},
        {"'t', 'device =', 'a', 'ts <'", "a condition has no value: 'ts <'"},
        {"'t', 'device LIKE', 'a%'", "\"device LIKE\" is no condition"},
        {"'t', NULL, 'a'", "a condition is NULL"},
        {"'t', 'nobody =', 'a'", "table t has no column nobody"},
        {"'o'", "o is not a kevo table"},
        {"", "name a table"},
    };
    sqlite3 *db = open_filled(_i);
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        if (i % 2) sql_exec(db, "BEGIN; DELETE FROM t WHERE ts = 9");
        expect_error(db, SQLITE_ERROR, cases[i / 2].words, "SELECT kevo_delete_range(%s)",
                     cases[i / 2].call);
        expect_rows(db, i % 2 ? "24" : "27", "SELECT count(*) FROM t");
        if (i % 2) sql_exec(db, "ROLLBACK");
        ck_assert(sqlite3_get_autocommit(db));
    }
    /* Inside of statements that write it would not be undone with them. */
    expect_error(db, SQLITE_ERROR, "in a SELECT of its own",
                 "INSERT INTO o SELECT kevo_delete_range('t')");
    expect_error(db, SQLITE_ERROR, "unsafe use of kevo_delete_range",
                 "CREATE TRIGGER g AFTER INSERT ON o BEGIN SELECT kevo_delete_range('t'); END; "
                 "INSERT INTO o VALUES(1)");
    expect_rows(db, "27", "SELECT count(*) FROM t");
    CHECK(db);
    sql_close(db);
}
END_TEST

/* A rowid is the largest that is left, plus one. */
START_TEST(rowids) {
    sqlite3 *db = sql_open(_i ? path : ":memory:");
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(x TEXT); CREATE VIRTUAL TABLE u USING "
                 "kevo(id INTEGER PRIMARY KEY, x TEXT UNIQUE)");
    sql_exec(db, "BEGIN; INSERT INTO t VALUES('a'), ('b'), ('c'); INSERT INTO u(x) SELECT x FROM t;"
                 "SELECT kevo_delete_range('t', 'rowid >', 1), kevo_delete_range('main.u', 'id >', "
                 "1); INSERT INTO t VALUES('d'); INSERT INTO u(x) VALUES('b'); COMMIT");
    expect_rows(db, "1|a;2|d", "SELECT rowid, x FROM t");
    expect_rows(db, "1|a;2|b", "SELECT rowid, x FROM u");
    expect_rows(db, "ok", "SELECT kevo_check('u')");
    sql_close(db);
}
END_TEST

/* Many rows go at once, and so does their space. */
START_TEST(many) {
    sqlite3 *db = sql_open(path);
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(id INTEGER PRIMARY KEY, x TEXT, INDEX i (x), "
                 "memtable_size = 100000)");
    sql_exec(db, "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
                 "INSERT INTO t SELECT i, hex(randomblob(20)) FROM n");
    sql_exec(db, "SELECT kevo_flush('t')");
    ck_assert_int_gt(sql_int(db, "SELECT sum(value) FROM kevo_stats('t') WHERE name GLOB "
                                 "'level*_bytes'"),
                     500000);
    sqlite3_int64 written = sql_int(db, "SELECT value FROM kevo_stats('t') WHERE name = "
                                        "'log_bytes'");
    sql_exec(db, "SELECT kevo_delete_range('t')");
    expect_rows(db, "0", "SELECT count(*) FROM t");
    ck_assert_int_lt(sql_int(db, "SELECT value FROM kevo_stats('t') WHERE name = 'log_bytes'"),
                     written + 1000);
    sql_exec(db, "SELECT kevo_compact('t')");
    ck_assert_int_lt(sql_int(db, "SELECT coalesce(sum(value), 0) FROM kevo_stats('t') WHERE name "
                                 "GLOB 'level*_entries'"),
                     10);
    CHECK(db);
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("delete_range");
    TCase *tc = tcase_create("delete_range");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_loop_test(tc, bounds, 0, 2);
    tcase_add_loop_test(tc, savepoints, 0, 2);
    tcase_add_loop_test(tc, cursors, 0, 8);
    tcase_add_loop_test(tc, snapshots, 0, 2);
    tcase_add_loop_test(tc, refused, 0, 2);
    tcase_add_loop_test(tc, rowids, 0, 2);
    tcase_add_test(tc, many);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
