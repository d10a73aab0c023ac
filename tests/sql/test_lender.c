/* Values of rows that are looked up by key lie in memory that the connection lends to SQLite: they
 * are right as long as SQLite or the application may look at them. */
#include <stdio.h>
#include <string.h>

#include "ext/lender.h"
#include "tests/lib/sql.h"

enum { ROWS = 60 };

static sqlite3 *db;

/* The same rows in a kevo table and an ordinary one, of short and of long texts and blobs, and
 * keys to look for. */
static void fill(bool utf16) {
    static const char *const values[] = {
        "printf('%.*c', abs(random() % 1100), 'x')",
        "randomblob(abs(random() % 1100))",
        "CAST(x'610062' AS TEXT) || random()",
    };
    db = sql_open(sql_file("app.db"));
    sql_exec(db, "PRAGMA synchronous = OFF");
    sql_exec(db, "PRAGMA encoding = '%s'", utf16 ? "UTF-16" : "UTF-8");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo");
    sql_exec(db, "CREATE TABLE plain(key TEXT PRIMARY KEY NOT NULL, value ANY) STRICT");
    sql_exec(db, "CREATE TABLE probe(n INTEGER PRIMARY KEY, k TEXT)");
    sql_exec(db, "BEGIN");
    for (int i = 0; i < ROWS; i++)
        sql_exec(db, "INSERT INTO plain VALUES('key%d', %s); INSERT INTO probe VALUES(%d, 'key%d')",
                 i, values[i % 3], i, i * 7 % ROWS);
    sql_exec(db, "INSERT INTO kv SELECT * FROM plain; COMMIT");
}

static void teardown(void) {
    sql_close(db);
    db = NULL;
}

/* ---- what SQLite keeps --------------------------------------------------------------- */

/* Of t, which is one table and then the other. */
static const char *const queries[] = {
    "SELECT k, (SELECT value FROM t WHERE key = k) FROM probe",
    "SELECT max((SELECT value FROM t WHERE key = k)) FROM probe",
    "SELECT min(value), key FROM probe CROSS JOIN t ON key = k",
    "SELECT k, max(value) FROM probe CROSS JOIN t ON key = k GROUP BY n % 7",
    "SELECT DISTINCT substr(value, 1, 1) FROM probe CROSS JOIN t ON key = k",
    "SELECT key, value FROM probe CROSS JOIN t ON key = k ORDER BY value, key",
    "SELECT group_concat(key || hex(value)) FROM probe CROSS JOIN t ON key = k",
    "SELECT first_value(value) OVER w, lag(value, 2) OVER w, max(value) OVER w FROM probe "
    "CROSS JOIN t ON key = k WINDOW w AS (ORDER BY n ROWS 3 PRECEDING)",
    "SELECT value FROM (SELECT value, key FROM t WHERE key = 'key3' UNION ALL "
    "SELECT value, key FROM t WHERE key = 'key4') ORDER BY key DESC",
    "SELECT a.value, b.value, c.value, d.value, e.value, a.key, e.key FROM t a, t b, t c, t d, t e "
    "WHERE a.key = 'key1' AND b.key = 'key3' AND c.key = 'key0' AND d.key = 'key4' AND e.key = "
    "'key6'",
    "WITH RECURSIVE r(i, v) AS (SELECT 0, NULL UNION ALL SELECT i + 1, (SELECT value FROM t WHERE "
    "key = 'key' || i) FROM r WHERE i < 60) SELECT i, v FROM r",
    "SELECT CAST(value AS TEXT), length(value), typeof(value), value || key, upper(value) "
    "FROM t WHERE key = 'key9'",
    "SELECT iif(n % 2, (SELECT value FROM t WHERE key = k), (SELECT max(value, key) FROM t "
    "WHERE key = 'key5')) FROM probe",
    "SELECT value, key FROM t WHERE key IN ('key1', 'key2', 'key8', 'no')",
    "SELECT json_group_object(key, hex(value)) FROM probe CROSS JOIN t ON key = k",
};
enum { QUERIES = sizeof queries / sizeof queries[0] };

static const char *rows_of(const char *table, const char *query) {
    sql_exec(db, "DROP VIEW IF EXISTS t; CREATE TEMP VIEW t AS SELECT * FROM %s", table);
    return sql_rows(db, "%s", query);
}

START_TEST(what_sqlite_keeps) {
    fill(_i);
    for (int i = 0; i < QUERIES; i++) {
        const char *expected = rows_of("plain", queries[i]);
        ck_assert(*expected && strncmp(expected, "error", 5) != 0);
        ck_assert_str_eq(rows_of("kv", queries[i]), expected);
    }
}
END_TEST

/* ---- what the application looks at ------------------------------------------------------ */

static sqlite3_stmt *stand_on(const char *table, int row) {
    sqlite3_stmt *stmt =
        sql_prepare(db, "SELECT key, value FROM %s WHERE key = 'key%d'", table, row);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    return stmt;
}

static void expect_equal(sqlite3_stmt *a, sqlite3_stmt *b) {
    for (int i = 0; i < 2; i++) {
        int type = sqlite3_column_type(b, i), bytes = sqlite3_column_bytes(b, i);
        ck_assert_int_eq(sqlite3_column_type(a, i), type);
        ck_assert_int_eq(sqlite3_column_bytes(a, i), bytes);
        if (bytes)
            ck_assert_mem_eq(sqlite3_column_blob(a, i), sqlite3_column_blob(b, i), (size_t)bytes);
        if (type != SQLITE_TEXT) continue;
        ck_assert_mem_eq(sqlite3_column_text(a, i), sqlite3_column_text(b, i), (size_t)bytes + 1);
        int wide = sqlite3_column_bytes16(b, i);
        ck_assert_int_eq(sqlite3_column_bytes16(a, i), wide);
        ck_assert_mem_eq(sqlite3_column_text16(a, i), sqlite3_column_text16(b, i),
                         (size_t)wide + 2);
    }
}

/* More statements stand on rows than there are buffers, and go one by one. */
START_TEST(many_at_once) {
    enum { MANY = LENDER_BUFFERS * 3 };
    sqlite3_stmt *a[MANY], *b[MANY];
    fill(_i);
    for (int row = 0; row < ROWS; row++) {
        int i = row * 5 % MANY;
        if (row >= MANY) {
            expect_equal(a[i], b[i]);
            sqlite3_finalize(a[i]);
            sqlite3_finalize(b[i]);
        }
        a[row >= MANY ? i : row] = stand_on("kv", row);
        b[row >= MANY ? i : row] = stand_on("plain", row);
    }
    for (int i = 0; i < MANY; i++)
        expect_equal(a[i], b[i]);
    for (int i = 0; i < MANY; i++) {
        sqlite3_finalize(a[i]);
        sqlite3_finalize(b[i]);
    }
}
END_TEST

/* Around the length of a buffer. */
START_TEST(lengths) {
    fill(_i);
    for (int len = LENDER_BYTES - 3; len <= LENDER_BYTES + 2; len++) {
        for (int text = 0; text < 2; text++) {
            for (int t = 0; t < 2; t++)
                sql_exec(db,
                         text ? "REPLACE INTO %s VALUES('key0', printf('%%.*c', %d, 'y'))"
                              : "REPLACE INTO %s VALUES('key0', zeroblob(%d))",
                         t ? "kv" : "plain", len);
            sqlite3_stmt *a = stand_on("kv", 0), *b = stand_on("plain", 0);
            expect_equal(a, b);
            sqlite3_finalize(a);
            sqlite3_finalize(b);
        }
    }
}
END_TEST

/* A copy that the application has made outlives the statement. */
START_TEST(duplicate) {
    fill(_i);
    sqlite3_stmt *stmt = stand_on("kv", 1), *plain = stand_on("plain", 1);
    sqlite3_value *copy = sqlite3_value_dup(sqlite3_column_value(stmt, 1));
    sqlite3_finalize(stmt);
    sqlite3_stmt *next = stand_on("kv", 4);
    ck_assert_int_eq(sqlite3_value_bytes(copy), sqlite3_column_bytes(plain, 1));
    if (sqlite3_value_bytes(copy))
        ck_assert_mem_eq(sqlite3_value_blob(copy), sqlite3_column_blob(plain, 1),
                         (size_t)sqlite3_value_bytes(copy));
    sqlite3_value_free(copy);
    sqlite3_finalize(next);
    sqlite3_finalize(plain);
}
END_TEST

/* The connection is closed while a statement stands on a row. */
START_TEST(closed_meanwhile) {
    fill(_i);
    sqlite3_stmt *stmt = stand_on("kv", 1), *plain = stand_on("plain", 1);
    ck_assert_int_eq(sqlite3_close_v2(db), SQLITE_OK);
    expect_equal(stmt, plain);
    sqlite3_finalize(plain);
    sqlite3_finalize(stmt);
    db = NULL;
}
END_TEST

int main(void) {
    Suite *suite = suite_create("lender");
    TCase *tcase = tcase_create("lender");
    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_loop_test(tcase, what_sqlite_keeps, 0, 2);
    tcase_add_loop_test(tcase, many_at_once, 0, 2);
    tcase_add_loop_test(tcase, lengths, 0, 2);
    tcase_add_loop_test(tcase, duplicate, 0, 2);
    tcase_add_loop_test(tcase, closed_meanwhile, 0, 2);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
