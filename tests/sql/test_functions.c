/* Functions that change something, where they fail: none leaves a transaction behind that nobody
 * asked for, or half of its work. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/sql.h"

static sqlite3 *db;
static char path[1100];

static void setup(void) {
    snprintf(path, sizeof path, "%s", sql_file("a.db"));
    db = sql_open(path);
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(id INTEGER PRIMARY KEY, v TEXT, INDEX iv (v));"
                 "CREATE TABLE o(x); INSERT INTO o VALUES('o');"
                 "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 700)"
                 "INSERT INTO t SELECT i, 'v' || i FROM r");
}

static void teardown(void) {
    sql_close(db);
}

static const char *const calls[] = {
    "SELECT kevo_delete_range('t', 'id >', 5)",
    "SELECT kevo_reindex('t')",
    "SELECT kevo_flush('t')",
    "SELECT kevo_compact('t')",
    "SELECT kevo_adopt('t')",
    "DROP TABLE t",
};
enum { CALLS = sizeof calls / sizeof calls[0], ADOPT = 4, DROP = 5 };

/* What the table holds: 700 rows, 5, or none since it is not there. */
static int rows_left(void) {
    if (sql_int(db, "SELECT count(*) FROM sqlite_schema WHERE name = 't'") == 0) return -1;
    expect_rows(db, "ok", "SELECT kevo_check('t')");
    return (int)sql_int(db, "SELECT count(*) FROM t");
}

static int rows_after(int call) {
    return call == 0 ? 5 : call == DROP ? -1 : 700;
}

/* Another connection reads, so that nobody can commit in a rollback journal. */
START_TEST(commit_is_busy) {
    sqlite3 *reader = sql_open_plain(path);
    sql_exec(reader, "BEGIN; SELECT * FROM o");
    int rc = sql_try(db, "%s", calls[_i]);
    if (rc != SQLITE_OK)
        ck_assert_msg((rc & 0xff) == SQLITE_BUSY, "%s: %s", calls[_i], sqlite3_errmsg(db));
    ck_assert_int_eq(sqlite3_get_autocommit(db), 1);
    ck_assert_int_eq(rows_left(), rc == SQLITE_OK ? rows_after(_i) : 700);
    sql_exec(reader, "COMMIT");
    sql_exec(db, "INSERT INTO o VALUES('more')");
    expect_rows(reader, "2", "SELECT count(*) FROM o");
    if (rc != SQLITE_OK) sql_exec(db, "%s", calls[_i]);
    ck_assert_int_eq(rows_left(), rows_after(_i));
    sql_close(reader);
}
END_TEST

struct countdown {
    unsigned left;
    bool hit;
};

static int interrupt(void *arg) {
    struct countdown *c = arg;
    if (c->left) c->left--;
    c->hit |= c->left == 0;
    return c->left == 0;
}

static int try_interrupted(unsigned n, const char *sql, bool *hit) {
    struct countdown c = {.left = n};
    sqlite3_progress_handler(db, 1, interrupt, &c);
    int rc = sql_try(db, "%s", sql);
    sqlite3_progress_handler(db, 0, NULL, NULL);
    *hit = c.hit;
    if (rc != SQLITE_OK)
        ck_assert_msg((rc & 0xff) == SQLITE_INTERRUPT, "%s: %s", sql, sqlite3_errmsg(db));
    return rc;
}

/* Stopped at the n-th instruction. What is done is done whole; the savepoint tells that of an
 * open transaction all is there or nothing. */
START_TEST(interrupted) {
    bool within = _i >= CALLS;
    int call = _i % CALLS, rc;
    bool hit = true;
    if (within && call == ADOPT) return; /* not in transactions */
    for (unsigned n = 1; hit; n += n < 100 ? 1 : n / 4) {
        if (within) sql_exec(db, "BEGIN; INSERT INTO o VALUES('mine')");
        rc = try_interrupted(n, calls[call], &hit);
        bool ended = sqlite3_get_autocommit(db);
        if (!within) ck_assert_int_eq(ended, 1);
        int left = rows_left();
        /* An interrupt may come when the work is done. */
        ck_assert_msg(left == rows_after(call) || (rc != SQLITE_OK && left == 700),
                      "instruction %u: %d rows are left, %s", n, left, calls[call]);
        ck_assert_int_eq(sql_int(db, "SELECT count(*) FROM o"), within && !ended ? 2 : 1);
        if (within && !ended) sql_exec(db, "ROLLBACK");
        if (within) ck_assert_int_eq(rows_left(), 700);
        if (rows_left() == 700) continue;
        teardown();
        setup();
    }
    ck_assert_int_eq(rc, SQLITE_OK);
}
END_TEST

START_TEST(in_a_statement_that_writes) {
    expect_error(db, SQLITE_ERROR, "in a SELECT of its own",
                 "UPDATE o SET x = kevo_delete_range('t', 'id =', 1)");
    expect_error(db, SQLITE_ERROR, "in a SELECT of its own",
                 "BEGIN; INSERT INTO o SELECT kevo_flush('t')");
    sql_exec(db, "ROLLBACK");
    ck_assert_int_eq(rows_left(), 700);
    expect_rows(db, "o", "SELECT x FROM o");
}
END_TEST

/* Each call is a transaction of its own, and in one that there is, an error undoes that call. */
START_TEST(two_in_one_statement) {
    static const char both[] =
        "SELECT kevo_delete_range('t', 'id >', 5), kevo_delete_range('t', 'nothing =', 1)";
    sql_exec(db, "BEGIN");
    expect_error(db, SQLITE_ERROR, "nothing", "%s", both);
    ck_assert_int_eq(rows_left(), 5);
    sql_exec(db, "ROLLBACK");
    expect_error(db, SQLITE_ERROR, "nothing", "%s", both);
    ck_assert_int_eq(rows_left(), 5);
}
END_TEST

/* ---- another connection changes the schema ------------------------------------------------- */

struct meddler {
    sqlite3 *other;
    int countdown; /* questions until it meddles; negative: it has */
};

static int meddle(void *arg, int action, const char *a, const char *b, const char *c,
                  const char *d) {
    struct meddler *m = arg;
    (void)action, (void)a, (void)b, (void)c, (void)d;
    if (m->countdown-- == 0) sql_try(m->other, "CREATE TABLE more(x); DROP TABLE more");
    return SQLITE_OK;
}

/* At each moment in which SQLite asks an authorizer: then it reads the schema again for one of kevo's
 * own statements, and disconnects a table that no other statement uses. */
START_TEST(schema_is_read_again) {
    sql_exec(db, "PRAGMA journal_mode = WAL");
    for (int n = 0;; n++) {
        struct meddler m = {.other = sql_open(path), .countdown = n};
        sqlite3_busy_timeout(m.other, 0);
        sql_close(db);
        db = sql_open(path);
        sql_exec(db, "SELECT * FROM t");
        sqlite3_set_authorizer(db, meddle, &m);
        expect_rows(db, "ok", "%s", calls[_i]);
        sqlite3_set_authorizer(db, NULL, NULL);
        ck_assert_int_eq(rows_left(), rows_after(_i));
        sql_close(m.other);
        if (m.countdown >= 0) break;
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("functions");
    TCase *tcase = tcase_create("functions");
    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, commit_is_busy, 0, CALLS);
    tcase_add_loop_test(tcase, interrupted, 0, 2 * CALLS);
    tcase_add_loop_test(tcase, schema_is_read_again, 0, DROP);
    tcase_add_test(tcase, in_a_statement_that_writes);
    tcase_add_test(tcase, two_in_one_statement);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
