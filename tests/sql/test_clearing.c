/* A DELETE of all rows of a stretch becomes a range tombstone, and only then: not when one of
 * the rows stays, comes in between or comes back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/sql.h"

#define CHECK(db) expect_rows(db, "ok", "SELECT kevo_check('t')")
#define KEY       "printf('k%06d', i)"

static const struct definition {
    const char *columns, *key; /* what makes a key of the i-th row */
} definitions[] = {
    {"key TEXT PRIMARY KEY, i INTEGER", KEY},
    {"key INTEGER PRIMARY KEY, i INTEGER", "i"},
    {"key REAL PRIMARY KEY, i INTEGER", "i + 0.5"},
    {"key BLOB PRIMARY KEY, i INTEGER", "CAST(" KEY " AS BLOB)"},
    {"key TEXT, i INTEGER, PRIMARY KEY (key, i)", KEY},
    {"key TEXT, i INTEGER", KEY},
    {"key TEXT PRIMARY KEY, i INTEGER, INDEX by_i (i)", KEY},
};
enum { DEFINITIONS = sizeof definitions / sizeof definitions[0], ROWS = 5000 };

static const char *path; /* of the database */

static void setup(void) {
    path = sql_file("a.db");
}

/* Rows 1 to ROWS, `i` is their number. */
static sqlite3 *open_filled(int definition) {
    const struct definition *d = &definitions[definition];
    sqlite3 *db = sql_open(path);
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(%s)", d->columns);
    sql_exec(db,
             "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
             "INSERT INTO t SELECT %s, i FROM n",
             ROWS, d->key);
    return db;
}

/* A row that is none of these. */
static void insert_one(sqlite3 *db, int definition, int i) {
    bool blob = strstr(definitions[definition].columns, "BLOB") != NULL;
    sql_exec(db, "INSERT INTO t VALUES(%s, %d)", blob ? "x'00'" : "-1", i);
}

static sqlite3_int64 stat_of(sqlite3 *db, const char *name) {
    return sql_int(db, "SELECT value FROM kevo_stats('t') WHERE name = '%s'", name);
}

#define COUNTS "SELECT count(*), min(i), max(i), sum(i) FROM t"

/* The stretch is gone whatever is done to the store then, and rows may come into it again. */
START_TEST(stretches) {
    static const struct {
        const char *where, *left;
        bool is_stretch;
    } cases[] = {
        {"", "0|NULL|NULL|NULL", true},
        {" WHERE i > 10", "10|1|10|55", false}, /* others are shown as well */
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        setup();
        sqlite3 *db = open_filled(_i);
        if (k) sql_exec(db, "SELECT kevo_flush('t')");
        sqlite3_int64 ranges = stat_of(db, "range_deletes"), deletes = stat_of(db, "deletes");
        sql_exec(db, "DELETE FROM t%s", cases[k].where);
        ck_assert_int_eq(sqlite3_changes(db), k ? ROWS - 10 : ROWS);
        /* An index shows them in another order. */
        bool is_range = cases[k].is_stretch && !strstr(definitions[_i].columns, "INDEX");
        ck_assert_int_eq(stat_of(db, "range_deletes") - ranges, is_range);
        if (is_range) ck_assert_int_eq(stat_of(db, "deletes"), deletes);
        for (int again = 0; again < 3; again++) {
            expect_rows(db, cases[k].left, COUNTS);
            CHECK(db);
            if (again == 1) sql_exec(db, "SELECT kevo_%s('t')", _i ? "flush" : "compact");
            sql_close(db);
            db = sql_open(path);
        }
        insert_one(db, _i, 70);
        sql_exec(db, "DELETE FROM t WHERE i <> 70");
        expect_rows(db, "1|70|70|70", COUNTS);
        CHECK(db);
        sql_close(db);
    }
}
END_TEST

/* Between bounds of the key, whose neighbours stay. */
START_TEST(bounds) {
    sqlite3 *db = open_filled(0);
    sqlite3_stmt *stmt = sql_prepare(db, "DELETE FROM t WHERE key >= ?1 AND key < ?2");
    sqlite3_bind_text(stmt, 1, "k000100", -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, "k004000", -1, SQLITE_STATIC);
    if (_i) sql_exec(db, "BEGIN; DELETE FROM t WHERE key = 'k000002'");
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_DONE);
    ck_assert_int_eq(sqlite3_changes(db), 3900);
    sqlite3_reset(stmt);
    expect_rows(db, "k000099;k004000", "SELECT key FROM t WHERE i BETWEEN 99 AND 4000");
    sql_exec(db, "INSERT INTO t VALUES('k000100', 1), ('k003999', 2), ('k0039990', 3)");
    if (_i) sql_exec(db, "COMMIT");
    expect_rows(db, "k000099;k000100;k003999;k0039990;k004000",
                "SELECT key FROM t WHERE key BETWEEN 'k000099' AND 'k004000'");
    ck_assert_int_eq(stat_of(db, "range_deletes"), 1);
    /* The list has none of the rows that are there again, nor is a part of it the whole. */
    sql_exec(db, "DELETE FROM t WHERE key > 'k001' AND i %% 4999 <> 0");
    ck_assert_int_eq(stat_of(db, "range_deletes"), 1);
    expect_rows(db, "1", "SELECT count(*) FROM t WHERE key > 'k001'");
    CHECK(db);
    sqlite3_finalize(stmt);
    sql_close(db);
}
END_TEST

/* What was deleted comes back with a savepoint or the transaction, and only that. */
START_TEST(undone) {
    sqlite3 *db = open_filled(_i);
    sql_exec(db, "BEGIN; DELETE FROM t WHERE i = 3; SAVEPOINT s; DELETE FROM t");
    expect_rows(db, "0|NULL|NULL|NULL", COUNTS);
    insert_one(db, _i, 5);
    sql_exec(db, "SAVEPOINT u; DELETE FROM t; ROLLBACK TO u");
    expect_rows(db, "1|5|5|5", COUNTS);
    sql_exec(db, "ROLLBACK TO s");
    expect_rows(db, "4999|1|5000|12502497", COUNTS);
    CHECK(db);
    sql_exec(db, "DELETE FROM t; ROLLBACK TO s; DELETE FROM t WHERE i > 4998; COMMIT");
    expect_rows(db, "4997|1|4998|12492498", COUNTS);
    CHECK(db);
    sql_exec(db, "BEGIN; DELETE FROM t; ROLLBACK");
    expect_rows(db, "4997|1|4998|12492498", COUNTS);
    CHECK(db);
    sql_close(db);
}
END_TEST

static void run_once(sqlite3_context *context, int argc, sqlite3_value **argv) {
    if (argc == 2 && sqlite3_value_int(argv[0]) == 4990)
        sql_exec(sqlite3_context_db_handle(context), "%s", sqlite3_value_text(argv[1]));
    sqlite3_result_int(context, 1);
}

/* A statement that the WHERE runs changes what is there while SQLite makes its list. */
START_TEST(changed_meanwhile) {
    static const struct {
        const char *inside, *where, *left;
    } cases[] = {
        {"INSERT INTO t VALUES('k000500a', 6)", "1", "k000500a"},
        {"REPLACE INTO t VALUES('k000500', 6)", "1", ""},
        {"DELETE FROM t WHERE key = 'k000500'", "1", ""},
        /* Now as many rows are there as the list has, but others; or those it has were counted
         * by another cursor. */
        {"DELETE FROM t WHERE key = 'k000500'; SELECT sum(i) FROM t", "i <> 700", "k000700"},
        {"SELECT sum(i) FROM t", "1", ""},
        {"SELECT sum(i) FROM t WHERE key >= 'k000100'", "i <> 700", "k000700"},
        {"DELETE FROM t WHERE key < 'k003000'; INSERT INTO t VALUES('k0010', 1)", "1", "k0010"},
    };
    sqlite3 *db = open_filled(0);
    sqlite3_create_function(db, "run_once", 2, SQLITE_UTF8, NULL, run_once, NULL, NULL);
    sql_exec(db, "BEGIN; INSERT INTO t VALUES('a', 0); DELETE FROM t WHERE key = 'a'");
    sql_exec(db, "DELETE FROM t WHERE run_once(i, %Q) AND %s", cases[_i].inside, cases[_i].where);
    expect_rows(db, cases[_i].left, "SELECT key FROM t");
    sql_exec(db, "COMMIT");
    expect_rows(db, cases[_i].left, "SELECT key FROM t");
    CHECK(db);
    sql_close(db);
}
END_TEST

/* Rows deleted one by one beside a cursor that shows them: 1 to 1200 at first. */
static void delete_one(sqlite3_stmt *one, int n) {
    sqlite3_bind_int(one, 1, n);
    ck_assert_int_eq(sqlite3_step(one), SQLITE_DONE);
    sqlite3_reset(one);
}

START_TEST(one_by_one) {
    static const char *const left[] = {"300|1200|1500|405149", "801|700|1500|881100",
                                       "300|1201|1500|405150", "299|1200|1500|403947"};
    sqlite3 *db = open_filled(1);
    sql_exec(db, "BEGIN; DELETE FROM t WHERE key > 1500");
    sqlite3_stmt *all = sql_prepare(db, "SELECT key FROM t");
    sqlite3_stmt *one = sql_prepare(db, "DELETE FROM t WHERE key = ?");
    for (int n = 1; n <= 1200; n++)
        ck_assert_int_eq(sqlite3_step(all), SQLITE_ROW);
    for (int n = 1; n <= 1199; n++) {
        if (n == 700 && _i == 1) sql_exec(db, "SAVEPOINT s");
        delete_one(one, n);
    }
    if (_i == 2) ck_assert_int_eq(sqlite3_step(all), SQLITE_ROW);
    /* As many as were shown, with the last one, or with another one in its place. */
    delete_one(one, _i == 1 || _i == 2 ? 1200 : 1201);
    if (_i == 3) {
        ck_assert_int_eq(sqlite3_step(all), SQLITE_ROW);
        delete_one(one, 1202);
    }
    sqlite3_finalize(one);
    sqlite3_finalize(all);
    if (_i == 1) sql_exec(db, "ROLLBACK TO s");
    expect_rows(db, left[_i], COUNTS);
    sql_exec(db, "COMMIT");
    expect_rows(db, left[_i], COUNTS);
    CHECK(db);
    sql_close(db);
}
END_TEST

/* SQLite's list has a row that is not there any more, and lacks one that is: as many as an open
 * cursor has shown. */
static sqlite3_stmt *left_open;

static void leave_open(sqlite3_context *context, int argc, sqlite3_value **argv) {
    sqlite3 *db = sqlite3_context_db_handle(context);
    if (argc == 1 && sqlite3_value_int(argv[0]) == ROWS) {
        sql_exec(db, "DELETE FROM t WHERE key = 'k000500'");
        left_open = sql_prepare(db, "SELECT key FROM t");
        for (int n = 1; n < ROWS; n++)
            ck_assert_int_eq(sqlite3_step(left_open), SQLITE_ROW);
    }
    sqlite3_result_int(context, 1);
}

START_TEST(beside_another_cursor) {
    sqlite3 *db = open_filled(0);
    sqlite3_create_function(db, "leave_open", 1, SQLITE_UTF8, NULL, leave_open, NULL, NULL);
    sql_exec(db, "DELETE FROM t WHERE leave_open(i) AND i <> 700");
    sqlite3_finalize(left_open);
    expect_rows(db, "k000700", "SELECT key FROM t");
    CHECK(db);
    sql_close(db);
}
END_TEST

/* Who began to read before sees all rows as long as it reads, wherever they have gone meanwhile. */
START_TEST(old_snapshot) {
    sqlite3 *db, *reader;
    sql_close(open_filled(_i));
    db = sql_open(path);
    sql_exec(db, "PRAGMA journal_mode=WAL");
    reader = sql_open(path);
    sql_exec(reader, "BEGIN");
    expect_rows(reader, "5000|1|5000|12502500", COUNTS);
    sql_exec(db, "DELETE FROM t");
    ck_assert_int_eq(stat_of(db, "range_deletes"), 1);
    insert_one(db, _i, 7);
    for (int n = 0; n < 3; n++) {
        expect_rows(db, "1|7|7|7", COUNTS);
        expect_rows(reader, "5000|1|5000|12502500", COUNTS);
        expect_rows(reader, "3000", "SELECT i FROM t WHERE i = 3000");
        if (n < 2) sql_exec(db, "SELECT kevo_%s('t')", n ? "compact" : "flush");
    }
    sql_exec(reader, "COMMIT");
    expect_rows(reader, "1|7|7|7", COUNTS);
    CHECK(reader);
    sql_close(reader);
    sql_close(db);
}
END_TEST

/* A transaction that has gone on in files, cleared by a trigger of an ordinary table. */
START_TEST(trigger_in_files) {
    bool goes_back = _i % 2;
    sqlite3 *db = sql_open(path);
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(%s, txn_memory_size=65536)",
             definitions[3 * (_i / 2)].columns);
    sql_exec(db, "CREATE TABLE o(a); CREATE TRIGGER clear AFTER INSERT ON o BEGIN "
                 "DELETE FROM t WHERE i > 0; END");
    sql_exec(db,
             "BEGIN; WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
             "INSERT INTO t SELECT %s, i FROM n",
             ROWS, definitions[3 * (_i / 2)].key);
    sql_exec(db, "SAVEPOINT s; INSERT INTO o VALUES(1)");
    expect_rows(db, "0|NULL|NULL|NULL", COUNTS);
    insert_one(db, 3 * (_i / 2), 7);
    if (goes_back) sql_exec(db, "ROLLBACK TO s");
    for (int n = 0; n < 2; n++) {
        expect_rows(db, goes_back ? "5000|1|5000|12502500" : "1|7|7|7", COUNTS);
        CHECK(db);
        if (n == 0) sql_exec(db, "COMMIT");
    }
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("clearing");
    TCase *tc = tcase_create("clearing");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_loop_test(tc, stretches, 0, DEFINITIONS);
    tcase_add_loop_test(tc, bounds, 0, 2);
    tcase_add_loop_test(tc, undone, 0, DEFINITIONS);
    tcase_add_loop_test(tc, changed_meanwhile, 0, 7);
    tcase_add_loop_test(tc, one_by_one, 0, 4);
    tcase_add_test(tc, beside_another_cursor);
    tcase_add_loop_test(tc, old_snapshot, 0, 2);
    tcase_add_loop_test(tc, trigger_in_files, 0, 4);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
