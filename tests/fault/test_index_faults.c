/* Memory runs out in the middle of a change of a table, mostly one with indexes. The extension is linked
 * in, so that the engine's allocator is the tests'. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/linked.h"
#include "tests/lib/sql.h"

static const char *const statements[] = {
    "INSERT INTO t VALUES(9, 'nine', 90, 9.5)",
    "INSERT INTO t VALUES(9, 'nine', 90, 9.5), (10, 'ten', 100, 5), (11, 'ten', NULL, NULL)",
    "INSERT OR REPLACE INTO t VALUES(1, 'two', 20, 30)",
    "INSERT OR IGNORE INTO t VALUES(9, 'nine', 20, 9.5), (10, 'ten', 100, 5)",
    "UPDATE t SET a = a || 'x'",
    "UPDATE t SET c = 5.0 WHERE id = 1",
    "UPDATE t SET id = id + 100",
    "UPDATE OR REPLACE t SET b = 10 WHERE id = 3",
    "UPDATE s SET n = 8 WHERE a = CAST(7 AS INTEGER) AND b = 'x'",
    "UPDATE s SET b = 'z' WHERE a = CAST(7 AS INTEGER) AND b = 'x'",
    "UPDATE s SET m = m || '!' WHERE n = CAST(7 AS INTEGER)",
    "DELETE FROM t WHERE c = 5",
    "DELETE FROM t WHERE c = CAST('5' AS REAL)",
    "DELETE FROM t",
    "SELECT kevo_delete_range('t', 'id <', 3)",
    "SELECT kevo_delete_range('t')",
    "SELECT kevo_reindex('t')",
    "SELECT kevo_check('t')",
    "SELECT b FROM t WHERE c IN (5, 'x') OR a BETWEEN 'a' AND 'z' ORDER BY c DESC",
};

#define ALL "SELECT id, a, b, c FROM t ORDER BY +id; SELECT a, b, n, m FROM s ORDER BY +a, +b"

static sqlite3 *open_filled(void) {
    sqlite3_auto_extension((void (*)(void))linked_load);
    sqlite3 *db = sql_open_plain(sql_file("a.db"));
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(id INTEGER, a TEXT, b INTEGER UNIQUE, c ANY, "
                 "PRIMARY KEY (id DESC), INDEX by_a (a, c), INDEX by_c (c DESC))");
    sql_exec(db, "INSERT INTO t VALUES(1, 'one', 10, 5), (2, 'two', 20, '5.0'), (3, 'three', NULL, "
                 "'x'), (4, 'a text that is longer than what fits anywhere', 40, NULL)");
    sql_exec(db,
             "CREATE VIRTUAL TABLE s USING kevo(a TEXT, b TEXT, n ANY UNIQUE, m ANY, "
             "PRIMARY KEY (a, b));"
             "INSERT INTO s VALUES('7', 'x', 7, 1), ('007', 'y', '7', 2), ('70', 'x', '70', 3)");
    return db;
}

/* `_i`: the statement, and whether the failure is for good or for once. */
START_TEST(no_memory) {
    const char *statement = statements[_i / 2];
    sqlite3 *db = open_filled();
    char before[1000];
    bool hit = true;
    unsigned failed = 0;
    snprintf(before, sizeof before, "%s", sql_rows(db, ALL));
    for (uint64_t n = 1; hit; n++) {
        sql_exec(db, "BEGIN; SELECT count(*) FROM t");
        fault_alloc_fail_at(n, _i % 2);
        int rc = sql_try(db, "%s", statement);
        hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (rc != SQLITE_OK) {
            ck_assert_msg((rc & 0xff) == SQLITE_NOMEM, "%s: allocation %u: %d, %s", statement,
                          (unsigned)n, rc, sqlite3_errmsg(db));
            failed++;
            expect_rows(db, before, ALL);
        }
        expect_rows(db, "ok;ok", "SELECT kevo_check('t'); SELECT kevo_check('s')");
        if (!sqlite3_get_autocommit(db)) sql_exec(db, "ROLLBACK");
        expect_rows(db, before, ALL);
        expect_rows(db, "ok", "SELECT kevo_check('t')");
    }
    ck_assert_uint_gt(failed, 0);
    sql_exec(db, "%s", statement);
    expect_rows(db, "ok", "SELECT kevo_check('t')");
    sql_close(db);
}
END_TEST

/* So many rows are deleted that they become a range: all of them, or none. */
START_TEST(clearing) {
    static const char fill[] = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
                               "1200) INSERT INTO u SELECT 'key ' || i, i FROM n";
    sqlite3 *db = open_filled();
    bool hit = true;
    unsigned failed = 0;
    sql_exec(db, "CREATE VIRTUAL TABLE u USING kevo; %s", fill);
    for (uint64_t n = 1; hit; n++) {
        fault_alloc_fail_at(n, _i);
        int rc = sql_try(db, "BEGIN; DELETE FROM u; COMMIT");
        hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (!sqlite3_get_autocommit(db)) sql_exec(db, "ROLLBACK");
        if (rc != SQLITE_OK) {
            ck_assert_msg((rc & 0xff) == SQLITE_NOMEM, "allocation %u: %d, %s", (unsigned)n, rc,
                          sqlite3_errmsg(db));
            failed++;
        }
        expect_rows(db, rc == SQLITE_OK ? "0" : "1200", "SELECT count(*) FROM u");
        expect_rows(db, "ok", "SELECT kevo_check('u')");
        if (rc == SQLITE_OK) sql_exec(db, "%s", fill);
    }
    ck_assert_uint_gt(failed, 0);
    ck_assert_int_gt(sql_int(db, "SELECT value FROM kevo_stats('u') WHERE name = 'range_deletes'"),
                     0);
    sql_close(db);
}
END_TEST

/* A DROP that fails has dropped nothing. */
START_TEST(drop) {
    sqlite3 *db = open_filled();
    char before[1000];
    int rc = SQLITE_NOMEM;
    unsigned failed = 0;
    snprintf(before, sizeof before, "%s", sql_rows(db, ALL));
    for (uint64_t n = 1; rc != SQLITE_OK; n++) {
        fault_alloc_fail_at(n, _i);
        rc = sql_try(db, "DROP TABLE t");
        fault_alloc_fail_at(0, false);
        if (rc == SQLITE_OK) break;
        failed++;
        ck_assert_int_eq(rc & 0xff, SQLITE_NOMEM);
        expect_rows(db, before, ALL);
        expect_rows(db, "ok", "SELECT kevo_check('t')");
    }
    ck_assert_uint_gt(failed, 0);
    sql_exec(db, "DROP TABLE s");
    expect_rows(db, "", "SELECT * FROM kevo_table");
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("index_faults");
    TCase *tc = tcase_create("index_faults");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, no_memory, 0, 2 * sizeof statements / sizeof statements[0]);
    tcase_add_loop_test(tc, clearing, 0, 2);
    tcase_add_loop_test(tc, drop, 0, 2);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
