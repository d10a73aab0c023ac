/* An UPDATE of one row, which SQLite makes without a temporary table when it is told that there is
 * one; and numbers, which may equal several texts then. Beside each kevo table `k` is an ordinary
 * one, `o`, which gives what is expected. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/sql.h"

static sqlite3 *db;
static const char *path;

static void open_again(void) {
    sql_close(db);
    db = sql_open(path);
    sql_exec(db, "PRAGMA synchronous=OFF");
}

static void setup(void) {
    path = sql_file("app.db");
    db = NULL;
    open_again();
    sql_exec(db, "CREATE VIRTUAL TABLE k USING kevo(a TEXT PRIMARY KEY, v ANY);"
                 "CREATE TABLE o(a TEXT PRIMARY KEY NOT NULL, v ANY) STRICT, WITHOUT ROWID;"
                 "CREATE TABLE side(id INTEGER PRIMARY KEY, n INTEGER, r REAL, s TEXT, x)");
}

static void teardown(void) {
    sql_close(db);
}

/* The same statement, '%s' in it being the table's name, on both. */
static void both(const char *format) {
    char *ours = sqlite3_mprintf(format, "k"), *theirs = sqlite3_mprintf(format, "o");
    int rc = sql_try(db, "%s", ours);
    ck_assert_int_eq(rc & 0xff, sql_try(db, "%s", theirs) & 0xff);
    sqlite3_free(ours);
    sqlite3_free(theirs);
}

static void expect_same(void) {
    const char *expected = sql_rows(db, "SELECT * FROM o ORDER BY 1, 2");
    expect_rows(db, expected, "SELECT * FROM k ORDER BY 1, 2");
}

/* Whether SQLite makes a temporary table of the rows. */
static bool keeps_rows(const char *sql) {
    sqlite3_stmt *stmt = sql_prepare(db, "EXPLAIN %s", sql);
    bool keeps = false;
    while (sqlite3_step(stmt) == SQLITE_ROW)
        keeps |= strcmp((const char *)sqlite3_column_text(stmt, 1), "OpenEphemeral") == 0;
    sqlite3_finalize(stmt);
    return keeps;
}

static void expect_done(sqlite3_stmt *stmt, int changes, int prepared_again) {
    int rc = sqlite3_step(stmt);
    ck_assert_msg(rc == SQLITE_DONE, "%d: %s", rc, sqlite3_errmsg(db));
    ck_assert_int_eq(sqlite3_changes(db), changes);
    ck_assert_int_eq(sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_REPREPARE, 0), prepared_again);
    sqlite3_reset(stmt);
}

#define SAME_NUMBER "VALUES('7', 1), ('007', 2), ('7.0', 3), ('x', 4), ('8', 5), ('80', 6)"

/* ---- what is made of a statement ------------------------------------------------------------- */

static const struct {
    const char *sql;
    bool keeps;
} made[] = {
    {"UPDATE k SET v = 1 WHERE a = ?", false},
    {"UPDATE k SET v = v || a, a = ? WHERE a IS ?", false},
    {"UPDATE OR REPLACE k SET a = ? WHERE a = (SELECT n FROM side) AND v > 1", false},
    {"UPDATE k SET v = 1 WHERE a IN (?)", false},
    {"UPDATE k SET v = 1 WHERE a IN (?, ?)", true},
    {"UPDATE k SET v = 1 WHERE a >= ?", true},
    {"UPDATE k SET v = 1 WHERE a = ? OR a = ?", true},
    {"UPDATE k SET v = 1 FROM side WHERE a = n", true},
    {"UPDATE two SET v = 1 WHERE a = ?", true},
    {"UPDATE two SET v = 1 WHERE a = ? AND b = ?", false},
    {"UPDATE row SET v = 1 WHERE mail = ?", false},
    {"UPDATE row SET v = 1 WHERE mail IS ?", true},
    {"UPDATE row SET v = 1 WHERE id = ?", false},
    {"UPDATE row SET v = 1 WHERE mail = ? AND id < ?", true},
};

START_TEST(temporary_tables) {
    sql_exec(
        db, "CREATE VIRTUAL TABLE two USING kevo(a TEXT, b TEXT, v ANY, PRIMARY KEY (a, b));"
            "CREATE VIRTUAL TABLE row USING kevo(id INTEGER PRIMARY KEY, mail TEXT UNIQUE, v ANY)");
    bool keeps = keeps_rows(made[_i].sql);
    ck_assert_msg(keeps == made[_i].keeps, "%s", made[_i].sql);
}
END_TEST

/* The right side of a LEFT JOIN may be left out only where it has one row at most. */
START_TEST(joins_count_all_rows) {
    both("INSERT INTO %s " SAME_NUMBER);
    sql_exec(db, "INSERT INTO side(n) VALUES(7), (8), (9)");
    expect_rows(db, "7;7;7;8;9", "SELECT n FROM side LEFT JOIN k ON k.a = side.n");
    expect_rows(db, "5", "SELECT count(*) FROM side LEFT JOIN k ON k.a = side.n");
    expect_rows(db, "3", "SELECT count(*) FROM side LEFT JOIN k ON k.a = +side.n");
    expect_rows(db, "9", "SELECT count(*) FROM side LEFT JOIN k ON k.a = CAST('7' AS NUMERIC)");
}
END_TEST

/* ---- numbers ------------------------------------------------------------------------------------ */

static const char *const numbers[] = {
    "UPDATE %s SET v = v || '!' WHERE a = 7",
    "UPDATE %s SET v = v || '!' WHERE a = 7.0",
    "UPDATE %s SET v = v || '!' WHERE a = 3 + 4",
    "UPDATE %s SET v = v || '!' WHERE a = CAST('7' AS INTEGER)",
    "UPDATE %s SET v = v || '!' WHERE a = CAST(7 AS TEXT)",
    "UPDATE %s SET v = v || '!' WHERE a = CAST(7 AS REAL) AND v <> 2",
    "UPDATE %s SET v = v || '!' WHERE a = (SELECT n FROM side)",
    "UPDATE %s SET v = v || '!' WHERE a = (SELECT r FROM side)",
    "UPDATE %s SET v = v || '!' WHERE a = (SELECT s FROM side)",
    "UPDATE %s SET v = v || '!' WHERE a = (SELECT x FROM side)",
    "UPDATE %s SET v = v || '!' WHERE a IS (SELECT n FROM side)",
    "UPDATE %s SET v = v || '!', a = a || 'z' WHERE a = (SELECT n FROM side)",
    "UPDATE OR IGNORE %s SET a = '8' WHERE a = (SELECT n + 0 FROM side)",
    "UPDATE OR REPLACE %s SET a = '8' WHERE a = (SELECT s + 0 FROM side)",
    "UPDATE %s SET a = '8' WHERE a = 7",
    "UPDATE %s SET v = v || '!' WHERE a = (SELECT n FROM side) OR a = 8",
    "UPDATE %s SET v = v || x FROM side WHERE a = n",
    "UPDATE %s SET v = v || x FROM side WHERE a = r AND n = 7",
};

START_TEST(equal_texts) {
    static const char *const around[] = {"", "BEGIN", "SAVEPOINT s"};
    sql_exec(db, "INSERT INTO side VALUES(1, 7, 7, '7', 7)");
    for (unsigned how = 0; how < 3; how++) {
        open_again();
        both("DELETE FROM %s");
        both("INSERT INTO %s " SAME_NUMBER);
        sql_exec(db, "%s", around[how]);
        for (int twice = 0; twice < 2; twice++) {
            both(numbers[_i]);
            expect_same();
        }
        if (how == 1) sql_exec(db, "COMMIT");
        if (how == 2) sql_exec(db, "ROLLBACK TO s; RELEASE s");
        if (how == 2) expect_rows(db, "7|1", "SELECT a, v FROM k WHERE a = '7'");
    }
}
END_TEST

/* The text that SQLite makes of a real may be another number: of 0.1 + 0.2 it is 0.3 up to 3.5x, of
 * infinity a word. */
static const char *const reals[] = {
    "UPDATE %s SET v = v || '!' WHERE a = 0.1 + 0.2",
    "UPDATE %s SET v = v || '!' WHERE a = CAST(0.1 + 0.2 AS REAL)",
    "UPDATE %s SET v = v || '!' WHERE a = (SELECT r FROM side WHERE id = 1)",
    "UPDATE %s SET v = v || '!' WHERE a = (SELECT x FROM side WHERE id = 1)",
    "UPDATE %s SET v = v || '!' WHERE a = 9e999",
    "UPDATE %s SET v = v || '!' WHERE a IS -9e999",
    "UPDATE %s SET v = v || '!' WHERE a = (SELECT x FROM side WHERE id = 2)",
    "UPDATE %s SET a = 'moved' WHERE a = (SELECT x + 0 FROM side WHERE id = 2)",
    "UPDATE %s SET v = v || '!' WHERE a = 9007199254740993.0",
    "UPDATE %s SET v = v || '!' WHERE a = 9007199254740993",
    "UPDATE %s SET v = v || '!' WHERE a = CAST('9007199254740993' AS NUMERIC)",
};

START_TEST(texts_of_reals) {
    static const char *const rows[] = {
        "('0.3', 1), ('Inf', 2), ('-Inf', 3), ('9.00719925474099e+15', 4), ('9007199254740993', 5)",
        "('0.30000000000000004', 1), ('1e999', 2), ('-1e999', 3), ('9007199254740992', 4)",
        "('0.3', 1), ('0.30000000000000004', 2), ('Inf', 3), ('1e999', 4), ('-Inf', 5), "
        "('-1e999', 6), ('9007199254740992', 7), ('9007199254740993', 8), "
        "('9.00719925474099e+15', 9), ('9.007199254740992e+15', 10)"};
    sql_exec(db, "INSERT INTO side(id, r, x) VALUES(1, 0.1 + 0.2, 0.1 + 0.2), (2, 1, 9e999)");
    for (unsigned i = 0; i < 3; i++) {
        open_again();
        both("DELETE FROM %s");
        sql_exec(db, "INSERT INTO k VALUES%s; INSERT INTO o VALUES%s", rows[i], rows[i]);
        for (int twice = 0; twice < 2; twice++) {
            both(reals[_i]);
            expect_same();
        }
    }
}
END_TEST

/* One statement goes on from rows that are alone to some that are not. */
START_TEST(prepared_once) {
    sql_exec(db, "INSERT INTO k " SAME_NUMBER "; INSERT INTO side(id, n) VALUES(1, 8), (2, 7)");
    sqlite3_stmt *stmt =
        sql_prepare(db, "UPDATE k SET v = v || '!' WHERE a = (SELECT n FROM side WHERE id = ?)");
    static const int ids[] = {1, 2, 1, 2, 3}, changes[] = {1, 3, 1, 3, 0};
    for (int i = 0; i < 5; i++) {
        sqlite3_bind_int(stmt, 1, ids[i]);
        expect_done(stmt, changes[i], i > 0);
    }
    sqlite3_finalize(stmt);
    expect_rows(db, "007|2!!;7|1!!;7.0|3!!;8|5!!;80|6;x|4", "SELECT * FROM k");
    ck_assert(keeps_rows("UPDATE k SET v = 1 WHERE a = ?"));
    open_again();
    ck_assert(!keeps_rows("UPDATE k SET v = 1 WHERE a = ?"));
}
END_TEST

/* Bound as what it is a key is alone. */
START_TEST(parameters) {
    sql_exec(db, "INSERT INTO k " SAME_NUMBER);
    sqlite3_stmt *stmt = sql_prepare(db, "UPDATE k SET v = v + 10 WHERE a = ?");
    static const char *const keys[] = {"7", "007", "x", "none", "7.00"};
    for (int i = 0; i < 5; i++) {
        sqlite3_bind_text(stmt, 1, keys[i], -1, SQLITE_STATIC);
        expect_done(stmt, i < 3, 0);
    }
    sqlite3_bind_blob(stmt, 1, "7", 1, SQLITE_STATIC);
    expect_done(stmt, 0, 0);
    sqlite3_bind_null(stmt, 1);
    expect_done(stmt, 0, 0);
    sqlite3_bind_int(stmt, 1, 8);
    expect_done(stmt, 1, 0);
    sqlite3_bind_int(stmt, 1, 7);
    expect_done(stmt, 1, 1);
    sqlite3_finalize(stmt);
    expect_rows(db, "007|12;7|21;7.0|3;8|15;80|6;x|14", "SELECT * FROM k");
}
END_TEST

/* What the statement around it did before is undone, and done once in the end. */
START_TEST(in_a_trigger) {
    both("INSERT INTO %s " SAME_NUMBER);
    sql_exec(db, "CREATE TABLE log(n INTEGER, id INTEGER PRIMARY KEY);"
                 "CREATE TRIGGER a AFTER INSERT ON log BEGIN"
                 " UPDATE k SET v = v || '!' WHERE a = CAST(NEW.n AS INTEGER);"
                 " UPDATE o SET v = v || '!' WHERE a = CAST(NEW.n AS INTEGER); END");
    for (int within = 0; within < 2; within++) {
        open_again();
        if (within) sql_exec(db, "BEGIN; INSERT INTO log VALUES(9, 100)");
        sqlite3_stmt *stmt = sql_prepare(db, "INSERT INTO log(n) SELECT column1 FROM (VALUES(?), "
                                             "(8), (7), (8))");
        sqlite3_bind_int(stmt, 1, 9);
        expect_done(stmt, 4, 1);
        expect_done(stmt, 4, 1);
        sqlite3_finalize(stmt);
        if (within) sql_exec(db, "COMMIT");
        expect_same();
    }
    expect_rows(db, "17|4", "SELECT count(*), count(*) FILTER (WHERE n = 7) FROM log");
}
END_TEST

/* What SQLite counted of the attempt stays in total_changes(), as it does of any statement with
 * triggers that fails: there is no call that sets it. changes() is right. */
START_TEST(total_of_attempts) {
    sql_exec(db, "INSERT INTO k " SAME_NUMBER "; CREATE TABLE log(n INTEGER); CREATE TABLE seen(n);"
                 "CREATE TABLE one(n UNIQUE); INSERT INTO one VALUES(7);"
                 "CREATE TRIGGER a AFTER INSERT ON log BEGIN INSERT INTO seen VALUES(1), (2);"
                 " UPDATE k SET v = v || '!' WHERE a = CAST(NEW.n AS INTEGER); END;"
                 "CREATE TRIGGER b AFTER INSERT ON side BEGIN INSERT INTO seen VALUES(1), (2);"
                 " INSERT INTO one VALUES(NEW.n); END");
    enum { DONE = 1 + 2 + 3, UNDONE = 2 };
    sql_exec(db, "BEGIN");
    for (int i = 0; i < 2; i++) {
        int before = sqlite3_total_changes(db);
        sql_exec(db, "INSERT INTO log VALUES(7)");
        ck_assert_int_eq(sqlite3_changes(db), 1);
        ck_assert_int_eq(sqlite3_total_changes(db) - before, i ? DONE : UNDONE + DONE);
        expect_rows(db, i ? "4" : "2", "SELECT count(*) FROM seen");
    }
    int before = sqlite3_total_changes(db);
    expect_error(db, SQLITE_CONSTRAINT, "one.n", "INSERT INTO side(n) VALUES(7)");
    ck_assert_int_eq(sqlite3_total_changes(db) - before, UNDONE);
    sql_exec(db, "COMMIT");
}
END_TEST

/* SQLite prepares nothing again that it was given by the oldest of its interfaces: the program has
 * to, and once is enough. Nothing was done. */
START_TEST(prepared_the_old_way) {
    static const char update[] = "UPDATE k SET v = v + 10 WHERE a = CAST(7 AS INTEGER)";
    sqlite3_stmt *stmt;
    sql_exec(db, "INSERT INTO k " SAME_NUMBER);
    ck_assert_int_eq(sqlite3_prepare(db, update, -1, &stmt, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ERROR);
    ck_assert_int_eq(sqlite3_finalize(stmt), SQLITE_SCHEMA);
    expect_rows(db, "007|2;7|1;7.0|3;8|5;80|6;x|4", "SELECT * FROM k");
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(sqlite3_prepare(db, update, -1, &stmt, NULL), SQLITE_OK);
        ck_assert_int_eq(sqlite3_step(stmt), SQLITE_DONE);
        ck_assert_int_eq(sqlite3_finalize(stmt), SQLITE_OK);
    }
    expect_rows(db, "007|22;7|21;7.0|23;8|5;80|6;x|4", "SELECT * FROM k");
}
END_TEST

/* While another statement runs in autocommit mode, what was done cannot be undone. */
START_TEST(beside_another_statement) {
    sql_exec(db, "INSERT INTO k " SAME_NUMBER "; INSERT INTO side(n) VALUES(7), (8);"
                 "CREATE TABLE log(n INTEGER);"
                 "CREATE TRIGGER a AFTER INSERT ON log BEGIN"
                 " UPDATE k SET v = v || '!' WHERE a = CAST(NEW.n AS INTEGER); END");
    sqlite3_stmt *stmt = sql_prepare(db, "INSERT INTO log VALUES(8), (7)");
    sqlite3_stmt *other = sql_prepare(db, "SELECT n FROM side");
    ck_assert_int_eq(sqlite3_step(other), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_LOCKED);
    ck_assert(strstr(sqlite3_errmsg(db), "several keys of table k equal the number"));
    sqlite3_reset(stmt);
    expect_rows(db, "007|2;7|1;7.0|3;8|5;80|6;x|4", "SELECT * FROM k");
    expect_rows(db, "0", "SELECT count(*) FROM log");
    sql_exec(db, "BEGIN");
    expect_done(stmt, 2, 1);
    sql_exec(db, "COMMIT");
    sql_exec(db, "UPDATE k SET v = v || '?' WHERE a = CAST(7 AS INTEGER)");
    ck_assert_int_eq(sqlite3_step(other), SQLITE_ROW);
    sqlite3_finalize(other);
    sqlite3_finalize(stmt);
    expect_rows(db, "007|2!?;7|1!?;7.0|3!?;8|5!;80|6;x|4", "SELECT * FROM k");
    expect_rows(db, "2", "SELECT count(*) FROM log");
}
END_TEST

static void log_and_update(sqlite3_stmt *stmt, sqlite3_stmt *other) {
    ck_assert_int_eq(sqlite3_step(other), SQLITE_ROW);
    int rc = sqlite3_step(stmt);
    ck_assert_msg(rc == SQLITE_DONE, "%d: %s", rc, sqlite3_errmsg(db));
    sqlite3_reset(stmt);
    ck_assert_int_eq(sqlite3_step(other), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_step(other), SQLITE_DONE);
    sqlite3_finalize(other);
    sqlite3_finalize(stmt);
}

/* Where nothing comes before the UPDATE, nothing has to be undone; and what does is undone while
 * another statement that writes runs. */
START_TEST(beside_what_does_no_harm) {
    static const char *const others[] = {"SELECT n FROM side", "SELECT a FROM k LIMIT 2",
                                         "VALUES(1), (2)",
                                         "INSERT INTO side(n) VALUES(1), (2) RETURNING n"};
    static const char *const updates[] = {
        "UPDATE k SET v = v || '!' WHERE a = CAST(7 AS INTEGER)",
        "/* */ WITH t AS (SELECT 7) UPDATE k SET v = v || '!' WHERE a = CAST(7 AS INT);",
        "UPDATE k SET v = v || '!' FROM side WHERE a = CAST(7 AS INTEGER) AND side.id = 1"};
    sql_exec(db, "INSERT INTO k " SAME_NUMBER "; INSERT INTO side(n) VALUES(7), (8)");
    for (unsigned i = 0; i < 12; i++) {
        open_again();
        sqlite3_stmt *stmt = sql_prepare(db, updates[i % 3]);
        log_and_update(stmt, sql_prepare(db, others[i / 3]));
        expect_rows(db, "007|2!;7|1!;7.0|3!;8|5;80|6;x|4", "SELECT * FROM k");
        sql_exec(db, "UPDATE k SET v = trim(v, '!'); DELETE FROM side WHERE id > 2");
    }
    sql_exec(db, "CREATE TABLE log(n INTEGER); CREATE TRIGGER a AFTER INSERT ON log BEGIN"
                 " UPDATE k SET v = v || '!' WHERE a = CAST(NEW.n AS INTEGER); END");
    open_again();
    sqlite3_stmt *stmt = sql_prepare(db, "INSERT INTO log VALUES(8), (7)");
    log_and_update(stmt, sql_prepare(db, others[3]));
    expect_rows(db, "007|2!;7|1!;7.0|3!;8|5!;80|6;x|4", "SELECT * FROM k");
    expect_rows(db, "8;7", "SELECT n FROM log");
}
END_TEST

/* SQLite gives up a statement that has to be prepared again 50 times. */
START_TEST(many_tables_in_a_trigger) {
    enum { TABLES = 60 };
    char *body = sqlite3_mprintf("");
    for (int i = 0; i < TABLES; i++) {
        sql_exec(db,
                 "CREATE VIRTUAL TABLE m%d USING kevo(a TEXT PRIMARY KEY, v ANY);"
                 "INSERT INTO m%d " SAME_NUMBER,
                 i, i);
        body = sqlite3_mprintf("%zUPDATE m%d SET v = v || '!' WHERE a = CAST(NEW.n AS INTEGER);",
                               body, i);
    }
    sql_exec(db, "CREATE TABLE log(n); CREATE TRIGGER a AFTER INSERT ON log BEGIN %s END", body);
    sqlite3_free(body);
    sql_exec(db, "INSERT INTO log VALUES(7)");
    for (int i = 0; i < TABLES; i++) {
        char *sql = sqlite3_mprintf("SELECT * FROM m%d", i);
        expect_rows(db, "007|2!;7|1!;7.0|3!;8|5;80|6;x|4", sql);
        sqlite3_free(sql);
    }
    expect_rows(db, "7", "SELECT n FROM log");
}
END_TEST

/* ---- columns that are left alone ---------------------------------------------------------------- */

static const char *const partial[] = {
    "UPDATE %s SET v = v || '!' WHERE b = 'x' AND a = 'p'",
    "UPDATE %s SET a = 'z' WHERE b = 'x' AND a = 'p'",
    "UPDATE %s SET b = 'z', v = NULL WHERE a = 'p' AND b = 'x'",
    "UPDATE %s SET a = b, b = a WHERE a = 'p' AND b = 'x'",
    "UPDATE %s SET a = a, n = n + 1 WHERE a = 'p' AND b = 'x'",
    "UPDATE %s SET n = n + 100 WHERE a = 7 AND b = 'x'",
    "UPDATE %s SET n = n + 100 WHERE a = CAST(7 AS INTEGER) AND b = 'x' AND v <> 2",
    "UPDATE %s SET b = 'y', n = 1 WHERE a = CAST(7 AS INTEGER) AND b = 'x'",
    "UPDATE OR REPLACE %s SET b = 'y' WHERE a = 'p' AND b = 'x'",
    "UPDATE OR IGNORE %s SET n = 3, v = 5 WHERE a = 'p' AND b = 'x'",
    "UPDATE OR REPLACE %s SET n = 3 WHERE a = 'p' AND b = 'x'",
    "UPDATE OR REPLACE %s SET b = 'q', n = 3 WHERE a = 'p' AND b = 'x'",
    "UPDATE %s SET v = a || b || n WHERE n = 3",
    "UPDATE %s SET b = b || 'z' WHERE n = 3.0",
    "UPDATE %s SET a = '' WHERE b = 'x'",
    "UPDATE %s SET v = a WHERE b >= 'x'",
    "UPDATE %s SET v = s, n = n FROM side WHERE a = s AND b = 'x'",
    "UPDATE %s SET v = NULL WHERE a = 'p' AND b = 'none'",
};

START_TEST(columns_left_alone) {
    static const char *const keys[] = {"PRIMARY KEY (b, a)", "PRIMARY KEY (a, b), UNIQUE (n)",
                                       "PRIMARY KEY (b, a DESC), UNIQUE (v, b), UNIQUE (n)"};
    sql_exec(db, "INSERT INTO side(s) VALUES('p'), ('none')");
    for (unsigned i = 0; i < 3; i++) {
        sql_exec(db, "DROP TABLE k; DROP TABLE o");
        sql_exec(db, "CREATE VIRTUAL TABLE k USING kevo(a TEXT, v ANY, b TEXT, n INT, %s)",
                 keys[i]);
        sql_exec(db,
                 "CREATE TABLE o(a TEXT NOT NULL, v ANY, b TEXT NOT NULL, n INT, %s) STRICT, "
                 "WITHOUT ROWID",
                 keys[i]);
        both("INSERT INTO %s VALUES('p', 1, 'x', 1), ('p', 2, 'y', 2), ('q', 1, 'xx', 3), "
             "('7', 2, 'x', 4), ('007', 3, 'x', 5), ('7', 3, 'y', 6), ('', NULL, '', NULL)");
        expect_rows(db, "7", "SELECT count(*) FROM k");
        for (int twice = 0; twice < 2; twice++) {
            both(partial[_i]);
            expect_same();
        }
        expect_rows(db, "ok", "SELECT kevo_check('k')");
    }
}
END_TEST

/* ---- rows that several others match --------------------------------------------------------------- */

/* SQLite takes one of the matches; for a virtual table it makes an UPDATE of each. */
START_TEST(moved_by_the_first_match) {
    static const char *const tables[] = {
        "a TEXT PRIMARY KEY, b TEXT, v ANY", "a TEXT, b TEXT, v ANY, PRIMARY KEY (a, b)",
        "a INTEGER PRIMARY KEY, b TEXT, v ANY", "a TEXT PRIMARY KEY, b TEXT UNIQUE, v ANY"};
    static const char *const updates[] = {
        "UPDATE k SET a = a || s FROM side WHERE a = n",
        "UPDATE k SET a = a || s, b = 'z', v = 1 FROM side WHERE a = n",
        "UPDATE OR REPLACE k SET a = a || s FROM side WHERE a = n AND id < 4",
        "UPDATE OR IGNORE k SET a = '79' FROM side WHERE a = n",
        "UPDATE k SET a = CASE WHEN id = 1 THEN 78 ELSE a END, v = s FROM side WHERE a = n"};
    sql_exec(db, "INSERT INTO side(id, n, s) VALUES(1, 7, '8'), (2, 7, '8'), (3, 7, '9')");
    for (unsigned i = 0; i < 5; i++) {
        sql_exec(db, "DROP TABLE k; CREATE VIRTUAL TABLE k USING kevo(%s)", tables[_i]);
        for (int within = 0; within < 2; within++) {
            sql_exec(db, "INSERT INTO k VALUES('7', 'x', 1), ('6', 'y', 2)");
            if (within) sql_exec(db, "BEGIN; UPDATE k SET a = '5' WHERE a = '6'");
            sql_exec(db, "%s", updates[i]);
            if (within) sql_exec(db, "COMMIT");
            expect_rows(db, "1", "SELECT count(*) FROM k WHERE a IN ('78', '79')");
            expect_rows(db, "1", "SELECT count(*) FROM k WHERE a NOT IN ('78', '79')");
            sql_exec(db, "DELETE FROM k");
        }
        expect_rows(db, "ok", "SELECT kevo_check('k')");
    }
}
END_TEST

/* ---- at random --------------------------------------------------------------------------------------- */

enum { STATEMENTS = 14, ROUNDS = 6 };

static const char *const random_statements[STATEMENTS] = {
    "UPDATE %s SET v = ?2 WHERE a = ?1",
    "UPDATE OR REPLACE %s SET a = ?2 WHERE a = ?1",
    "UPDATE OR IGNORE %s SET a = ?2, v = v || 'i' WHERE a = ?1",
    "UPDATE OR FAIL %s SET a = ?2 WHERE a = ?1",
    "UPDATE OR ROLLBACK %s SET a = ?2 WHERE a = ?1",
    "UPDATE %s SET a = ?2, v = (SELECT count(*) FROM %s) WHERE a = ?1",
    "UPDATE %s SET v = v || a WHERE a = (SELECT n FROM side WHERE id = abs(?1) %% 5)",
    "UPDATE %s SET v = ?2 WHERE a IS CAST(?1 AS NUMERIC)",
    "UPDATE %s SET v = ?2 WHERE a = ?1 AND v IS NOT NULL",
    "INSERT OR REPLACE INTO %s VALUES(?1, ?2)",
    "INSERT OR IGNORE INTO %s VALUES(?1, ?2) RETURNING a",
    "DELETE FROM %s WHERE a = ?1",
    "DELETE FROM %s WHERE a BETWEEN ?1 AND ?2",
    "INSERT INTO %s_log VALUES(?1, ?2)",
};

static void bind_random(sqlite3_stmt *stmt, int i, struct rng *r) {
    static const char *const texts[] = {"7", "007", "7.0", "8",  "08",  "x",
                                        "y", "",    "1e1", "10", "0.3", "Inf"};
    static const double others[] = {0.1 + 0.2, 0.3, 1e300 * 1e300};
    switch (rng_below(r, 11)) {
    case 0: sqlite3_bind_int64(stmt, i, (sqlite3_int64)rng_below(r, 11)); break;
    case 1: sqlite3_bind_double(stmt, i, (double)rng_below(r, 22) / 2); break;
    case 2: sqlite3_bind_null(stmt, i); break;
    case 3: sqlite3_bind_double(stmt, i, others[rng_below(r, 3)]); break;
    default: sqlite3_bind_text(stmt, i, texts[rng_below(r, 12)], -1, SQLITE_STATIC);
    }
}

/* The number of rows returned, or 1000 and the primary code of an error. */
static int run_one(sqlite3_stmt *stmt) {
    int rc, rows = 0;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        rows++;
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? rows : 1000 + (rc & 0xff);
}

static void random_boundary(struct rng *r) {
    static const char *const boundaries[] = {"BEGIN",       "COMMIT",        "ROLLBACK",
                                             "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s"};
    sql_try(db, "%s", boundaries[rng_below(r, 6)]);
}

static void make_random_tables(unsigned kind) {
    static const char *const ours[] = {"a TEXT PRIMARY KEY, v ANY", "a ANY, v ANY, UNIQUE (a)",
                                       "a TEXT UNIQUE, v ANY"};
    static const char *const theirs[] = {
        "a TEXT PRIMARY KEY NOT NULL, v ANY) STRICT, WITHOUT ROWID",
        "a ANY, v ANY, UNIQUE (a)) STRICT", "a TEXT UNIQUE, v ANY) STRICT"};
    sql_exec(db, "DROP TABLE k; DROP TABLE o; DELETE FROM side;"
                 "INSERT INTO side(id, n) VALUES(0, 7), (1, 8), (2, 10), (3, 5)");
    sql_exec(db, "CREATE VIRTUAL TABLE k USING kevo(%s)", ours[kind]);
    sql_exec(db, "CREATE TABLE o(%s", theirs[kind]);
    for (int i = 0; i < 2; i++)
        sql_exec(db,
                 "CREATE TABLE %s_log(n INTEGER, x);"
                 "CREATE TRIGGER %s_first BEFORE INSERT ON %s_log BEGIN"
                 " UPDATE %s SET v = NEW.x WHERE a = CAST(NEW.n AS INTEGER); END;"
                 "CREATE TRIGGER %s_then AFTER INSERT ON %s_log BEGIN"
                 " UPDATE OR IGNORE %s SET a = NEW.x WHERE a = NEW.n; END",
                 i ? "o" : "k", i ? "o" : "k", i ? "o" : "k", i ? "o" : "k", i ? "o" : "k",
                 i ? "o" : "k", i ? "o" : "k");
}

static void prepare_all(sqlite3_stmt *stmts[STATEMENTS][2]) {
    for (unsigned i = 0; i < STATEMENTS; i++) {
        stmts[i][0] = sql_prepare(db, random_statements[i], "k", "k");
        stmts[i][1] = sql_prepare(db, random_statements[i], "o", "o");
    }
}

/* Several rows that move are met in another order: then nothing is moved. */
static bool moves_several(unsigned statement, struct rng r) {
    sqlite3_stmt *stmt;
    if (statement == 0 || statement > 5) return false;
    stmt = sql_prepare(db, "SELECT count(*) FROM o WHERE a = ?1 AND ?2 IS ?2");
    bind_random(stmt, 1, &r);
    bind_random(stmt, 2, &r);
    sqlite3_step(stmt);
    bool several = sqlite3_column_int(stmt, 0) > 1;
    sqlite3_finalize(stmt);
    return several;
}

static void random_step(sqlite3_stmt *stmts[STATEMENTS][2], struct rng *r) {
    unsigned i = (unsigned)rng_below(r, STATEMENTS);
    int result[2], changes[2];
    if (moves_several(i, *r)) i = 0;
    struct rng again = *r;
    for (int side = 0; side < 2; side++) {
        *r = again;
        bind_random(stmts[i][side], 1, r);
        bind_random(stmts[i][side], 2, r);
        result[side] = run_one(stmts[i][side]);
        changes[side] = sqlite3_changes(db);
        /* A ROLLBACK is for both. */
        if (i == 4 && side == 0 && result[0] >= 1000 && sqlite3_get_autocommit(db)) return;
    }
    /* SQLite's own message for a value of the wrong type has a code of its own. */
    bool types = result[0] == 1000 + SQLITE_MISMATCH && result[1] == 1000 + SQLITE_CONSTRAINT;
    ck_assert_msg(result[0] == result[1] || types || i == 10, "%s: %d, %d", random_statements[i],
                  result[0], result[1]);
    if (result[0] < 1000) ck_assert_int_eq(changes[0], changes[1]);
}

START_TEST(random_updates) {
    sqlite3_stmt *stmts[STATEMENTS][2];
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    make_random_tables((unsigned)_i);
    for (int round = 0; round < ROUNDS; round++) {
        prepare_all(stmts);
        for (uint64_t n = harness_count("KEVO_OPS", 3000) / ROUNDS; n > 0; n--) {
            if (rng_below(&r, 12) == 0) random_boundary(&r);
            random_step(stmts, &r);
            if (n % 16 == 0) expect_same();
        }
        for (unsigned i = 0; i < STATEMENTS; i++) {
            sqlite3_finalize(stmts[i][0]);
            sqlite3_finalize(stmts[i][1]);
        }
        sql_try(db, "ROLLBACK");
        expect_same();
        open_again();
    }
    expect_rows(db, "ok", "SELECT kevo_check('k')");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("one_row");
    TCase *tcase = tcase_create("one_row");
    tcase_set_timeout(tcase, 0);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, temporary_tables, 0, (int)(sizeof made / sizeof made[0]));
    tcase_add_test(tcase, joins_count_all_rows);
    tcase_add_loop_test(tcase, equal_texts, 0, (int)(sizeof numbers / sizeof numbers[0]));
    tcase_add_loop_test(tcase, texts_of_reals, 0, (int)(sizeof reals / sizeof reals[0]));
    tcase_add_test(tcase, prepared_once);
    tcase_add_test(tcase, parameters);
    tcase_add_test(tcase, in_a_trigger);
    tcase_add_test(tcase, total_of_attempts);
    tcase_add_test(tcase, prepared_the_old_way);
    tcase_add_test(tcase, beside_another_statement);
    tcase_add_test(tcase, beside_what_does_no_harm);
    tcase_add_test(tcase, many_tables_in_a_trigger);
    tcase_add_loop_test(tcase, columns_left_alone, 0, (int)(sizeof partial / sizeof partial[0]));
    tcase_add_loop_test(tcase, moved_by_the_first_match, 0, 4);
    tcase_add_loop_test(tcase, random_updates, 0, 3);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
