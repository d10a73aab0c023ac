/* An application's authorizer is asked about the statements that kevo runs itself as well: what
 * goes on without them, and what is refused then, whole and by name. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/sql.h"

struct rule {
    int action;        /* 0: any */
    const char *first; /* the name that it comes with, or "kevo_": all of ours; NULL: any */
    int answer;
    unsigned nth;   /* only this one of the different questions, from 1 on; 0: each */
    unsigned asked; /* so many different ones there were: */
    char questions[100][80];
};

static bool is_named(const struct rule *r, const char *name) {
    static const char ours[] = "kevo_";
    if (!r->first || !name) return !r->first;
    return strcmp(r->first, ours) == 0 ? strncmp(name, ours, sizeof ours - 1) == 0
                                       : strcmp(name, r->first) == 0;
}

/* Its number, from 1 on. */
static unsigned number_of(struct rule *r, int action, const char *first, const char *second) {
    char question[80];
    unsigned i = 0;
    snprintf(question, sizeof question, "%d %s %s", action, first ? first : "-",
             second ? second : "-");
    while (i < r->asked && strcmp(r->questions[i], question) != 0)
        i++;
    if (i < r->asked) return i + 1;
    ck_assert_uint_lt(i, sizeof r->questions / sizeof r->questions[0]);
    memcpy(r->questions[i], question, sizeof question);
    return ++r->asked;
}

static int authorize(void *arg, int action, const char *first, const char *second,
                     const char *schema, const char *trigger) {
    struct rule *r = arg;
    (void)schema, (void)trigger;
    if ((r->action && action != r->action) || !is_named(r, first)) return SQLITE_OK;
    unsigned number = number_of(r, action, first, second);
    return r->nth == 0 || r->nth == number ? r->answer : SQLITE_OK;
}

static sqlite3 *make(const char *file) {
    sqlite3 *db = sql_open(file);
    sql_exec(db, "PRAGMA synchronous=OFF");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; CREATE TABLE log(entry)");
    sql_exec(db, "CREATE VIRTUAL TABLE other USING kevo; INSERT INTO other VALUES('x', 9)");
    sql_exec(db, "INSERT INTO kv VALUES('a', 1), ('b', 2)");
    return db;
}

static const int answers[] = {SQLITE_DENY, SQLITE_IGNORE};

/* ---- rows ------------------------------------------------------------------------------ */

/* Nothing of kevo's own tables is needed once a table was used: the marker is a blob. */
START_TEST(rows_without_own_tables) {
    struct rule r = {.first = "kevo_", .answer = answers[_i]};
    const char *file = sql_file("app.db");
    sqlite3 *db = make(file), *other = sql_open(file);
    sql_exec(db, "SELECT * FROM kv");
    sqlite3_set_authorizer(db, authorize, &r);
    for (int i = 0; i < 3; i++) {
        sql_exec(other, "INSERT OR REPLACE INTO kv VALUES('o', %d)", i);
        expect_rows(db, "1", "SELECT value = %d FROM kv WHERE key = 'o'", i);
        sql_exec(db, "INSERT OR REPLACE INTO kv VALUES('c', %d)", i);
        sql_exec(db, "BEGIN; UPDATE kv SET value = 5 WHERE key = 'a'; SAVEPOINT s; DELETE FROM kv;"
                     "ROLLBACK TO s; INSERT INTO log VALUES(1); COMMIT");
    }
    ck_assert_uint_gt(r.asked, 0);
    expect_rows(db, "a|5;b|2;c|2;o|2", "SELECT * FROM kv");
    sqlite3_set_authorizer(db, NULL, NULL);
    expect_rows(db, "a|5;b|2;c|2;o|2", "SELECT * FROM kv");
    expect_rows(db, "ok", "SELECT kevo_check('kv')");
    sql_close(other);
    sql_close(db);
}
END_TEST

/* The first use has to look up which store a table is in. */
START_TEST(first_use) {
    struct rule r = {.action = SQLITE_READ, .first = "kevo_", .answer = answers[_i]};
    const char *file = sql_file("app.db");
    sql_close(make(file));
    sqlite3 *db = sql_open(file);
    sqlite3_set_authorizer(db, authorize, &r);
    for (int i = 0; i < 2; i++) {
        expect_error(db, SQLITE_AUTH, "kevo_table", "SELECT * FROM kv");
        expect_error(db, SQLITE_AUTH, "authorizer has to", "INSERT INTO kv VALUES('c', 1)");
        expect_error(db, SQLITE_AUTH, "kevo_table", "SELECT kevo_check('kv')");
    }
    expect_error(db, SQLITE_AUTH, "authorizer has to", "CREATE VIRTUAL TABLE k2 USING kevo");
    sqlite3_set_authorizer(db, NULL, NULL);
    expect_rows(db, "a|1;b|2", "SELECT * FROM kv");
    sql_exec(db, "INSERT INTO kv VALUES('c', 1)");
    sql_close(db);
}
END_TEST

START_TEST(first_use_names_statement) {
    struct rule r = {.action = SQLITE_READ, .first = "kevo_store", .answer = SQLITE_DENY};
    const char *file = sql_file("app.db");
    sql_close(make(file));
    sqlite3 *db = sql_open(file);
    sqlite3_set_authorizer(db, authorize, &r);
    expect_error(db, SQLITE_AUTH,
                 "kevo: access to kevo_store.id is prohibited: the application's authorizer has to "
                 "allow what kevo itself runs: SELECT s.id, s.directory, s.uuid, t.id FROM "
                 "\"main\".kevo_table t JOIN \"main\".kevo_store s",
                 "SELECT * FROM kv");
    sql_close(db);
}
END_TEST

/* A program that may only insert does without SELECT, after the first use. */
START_TEST(insert_without_select) {
    struct rule r = {.action = SQLITE_SELECT, .answer = answers[_i]};
    const char *file = sql_file("app.db");
    sqlite3 *db = make(file);
    sql_close(db);
    db = sql_open(file);
    sqlite3_set_authorizer(db, authorize, &r);
    expect_error(db, SQLITE_AUTH, "kevo itself runs: SELECT", "INSERT INTO kv VALUES('c', 1)");
    sqlite3_set_authorizer(db, NULL, NULL);
    sql_exec(db, "SELECT * FROM kv");
    sqlite3_set_authorizer(db, authorize, &r);
    sql_exec(db, "INSERT INTO kv VALUES('c', 1); INSERT INTO kv VALUES('d', 2)");
    sqlite3_set_authorizer(db, NULL, NULL);
    expect_rows(db, "4", "SELECT count(*) FROM kv");
    sql_close(db);
}
END_TEST

/* A table whose name is hidden is not one that was dropped; and those that were, and must not be
 * forgotten, wait. */
START_TEST(dropped_tables_wait) {
    struct rule forget = {.action = SQLITE_DELETE, .first = "kevo_table", .answer = SQLITE_DENY};
    struct rule look = {.action = SQLITE_READ, .first = "kevo_table", .answer = answers[_i]};
    const char *file = sql_file("app.db");
    sqlite3 *db = make(file);
    sql_exec(db, "CREATE VIRTUAL TABLE k2 USING kevo; INSERT INTO k2 VALUES('x', 1)");
    sqlite3_set_authorizer(db, authorize, &forget);
    sql_exec(db, "DROP TABLE k2");
    sqlite3_set_authorizer(db, authorize, &look);
    sql_exec(db, "INSERT INTO kv VALUES('c', 3)");
    sqlite3_set_authorizer(db, NULL, NULL);
    expect_rows(db, "a|1;b|2;c|3", "SELECT * FROM kv");
    expect_rows(db, "1", "SELECT count(*) FROM kevo_table WHERE name IS NULL");
    if (answers[_i] == SQLITE_IGNORE) { /* this connection has looked, and seen none */
        sql_close(db);
        db = sql_open(file);
    }
    sql_exec(db, "INSERT INTO kv VALUES('d', 4)");
    expect_rows(db, "0", "SELECT count(*) FROM kevo_table WHERE name IS NULL");
    expect_rows(db, "a|1;b|2;c|3;d|4", "SELECT * FROM kv");
    sql_close(db);
}
END_TEST

/* ---- every question -------------------------------------------------------------------- */

static const char *const statements[] = {
    "SELECT * FROM kv",
    "INSERT INTO kv VALUES('c', 1)",
    "UPDATE kv SET value = 3 WHERE key = 'a'",
    "CREATE VIRTUAL TABLE k2 USING kevo",
    "CREATE VIRTUAL TABLE k2 USING kevo('other')",
    "ALTER TABLE kv RENAME TO k2",
    "DROP TABLE kv",
    "SELECT * FROM kevo_tables",
    "SELECT * FROM kevo_stats('kv')",
    "SELECT kevo_check('kv')",
    "SELECT kevo_flush('kv')",
    "SELECT kevo_compact('kv')",
    "SELECT kevo_reindex('kv')",
    "SELECT kevo_delete_range('kv', 'key =', 'a')",
    "SELECT kevo_adopt('kv')",
};
enum { STATEMENTS = sizeof statements / sizeof statements[0] };

/* Run it on the database, which is made when `fresh`, the n-th question answered so. Whether there
 * were as many. */
static bool run_with(const char *file, bool fresh, const char *sql, unsigned n, int answer,
                     int *rc) {
    struct rule r = {.answer = answer, .nth = n};
    if (fresh) sql_close(make(file));
    sqlite3 *db = sql_open(file);
    sql_exec(db,
             "SELECT * FROM log"); /* or SQLite says SQLITE_SCHEMA of what is denied in a CREATE */
    sqlite3_set_authorizer(db, authorize, &r);
    *rc = sql_try(db, "%s", sql);
    sqlite3_set_authorizer(db, NULL, NULL);
    ck_assert_msg(sqlite3_get_autocommit(db), "%s, question %u: a transaction is left", sql, n);
    sql_close(db);
    return r.asked >= n;
}

static const char *numbered_file(unsigned n) {
    char name[40];
    snprintf(name, sizeof name, "%u.db", n);
    return sql_file(name);
}

/* What is denied is not done, and nothing else either. */
START_TEST(each_denied) {
    const char *sql = statements[_i], *file = numbered_file(0);
    int rc = SQLITE_OK;
    for (unsigned n = 1;; n++) {
        bool fresh = rc == SQLITE_OK; /* it is done without */
        if (fresh) file = numbered_file(n);
        if (!run_with(file, fresh, sql, n, SQLITE_DENY, &rc)) break;
        if (rc == SQLITE_OK) continue;
        ck_assert_msg(rc == SQLITE_AUTH || rc == SQLITE_ERROR, "%s, %u: %d", sql, n, rc);
        sqlite3 *db = sql_open(file);
        expect_rows(db, "a|1;b|2", "SELECT * FROM kv");
        expect_rows(db, "main|kv;main|other", "SELECT schema, name FROM kevo_tables");
        expect_rows(db, "ok", "SELECT kevo_check('kv')");
        sql_close(db);
    }
    ck_assert_int_eq(rc, SQLITE_OK);
}
END_TEST

/* What is ignored may break what the application asked for, as of any table, but neither the process
 * nor another table. (SQLite's own CREATE makes a malformed schema then.) */
START_TEST(each_ignored) {
    const char *sql = statements[_i];
    int rc = SQLITE_OK;
    if (strncmp(sql, "CREATE", 6) == 0) return;
    for (unsigned n = 1;; n++) {
        const char *file = numbered_file(n);
        if (!run_with(file, true, sql, n, SQLITE_IGNORE, &rc)) break;
        sqlite3 *db = sql_open(file);
        expect_rows(db, "x|9", "SELECT * FROM other");
        sql_close(db);
    }
    ck_assert_int_eq(rc, SQLITE_OK);
}
END_TEST

/* An UPDATE of a column that is ignored writes the row as it is: no table has a name that only
 * sqlite_schema knows, and none the id of another. */
START_TEST(ignored_updates) {
    struct rule name = {.action = SQLITE_UPDATE, .first = "kevo_table", .answer = SQLITE_IGNORE};
    struct rule next = {.action = SQLITE_UPDATE, .first = "kevo_store", .answer = SQLITE_IGNORE};
    sqlite3 *db = make(sql_file("app.db"));
    sqlite3_set_authorizer(db, authorize, &name);
    expect_error(db, SQLITE_AUTH, "has to allow what kevo itself runs: UPDATE \"main\".kevo_table",
                 "ALTER TABLE kv RENAME TO k2");
    ck_assert_int_eq(sql_try(db, "DROP TABLE kv"), SQLITE_AUTH);
    sqlite3_set_authorizer(db, authorize, &next);
    expect_error(db, SQLITE_AUTH, "has to allow what kevo itself runs: UPDATE \"main\".kevo_store",
                 "CREATE VIRTUAL TABLE k2 USING kevo");
    expect_error(db, SQLITE_AUTH, "kevo itself runs: UPDATE \"main\".kevo_store",
                 "CREATE VIRTUAL TABLE k2 USING kevo('other')");
    sqlite3_set_authorizer(db, NULL, NULL);
    expect_rows(db, "main|kv;main|other", "SELECT schema, name FROM kevo_tables");
    expect_rows(db, "a|1;b|2", "SELECT * FROM kv");
    sql_exec(db, "ALTER TABLE kv RENAME TO k2; CREATE VIRTUAL TABLE kv USING kevo; DROP TABLE k2");
    expect_rows(db, "", "SELECT * FROM kv");
    sql_close(db);
}
END_TEST

/* ---- functions --------------------------------------------------------------------------- */

START_TEST(transactions_of_functions) {
    static const char *const words[] = {"BEGIN", "COMMIT", "ROLLBACK"};
    for (size_t i = 0; i < 4; i++) {
        struct rule r = {
            .action = SQLITE_TRANSACTION, .first = words[i % 2], .answer = answers[i / 2]};
        char name[20];
        snprintf(name, sizeof name, "%zu.db", i);
        sqlite3 *db = make(sql_file(name));
        sqlite3_set_authorizer(db, authorize, &r);
        expect_error(db, SQLITE_AUTH, words[i % 2], "SELECT kevo_delete_range('kv')");
        sqlite3_set_authorizer(db, NULL, NULL);
        ck_assert(sqlite3_get_autocommit(db));
        expect_rows(db, "a|1;b|2", "SELECT * FROM kv");
        sql_close(db);
    }
}
END_TEST

/* A report is no empty one because it may not be made. */
START_TEST(reports) {
    struct rule r = {.action = SQLITE_READ, .first = "kevo_table", .answer = SQLITE_DENY};
    sqlite3 *db = make(sql_file("app.db"));
    sqlite3_set_authorizer(db, authorize, &r);
    expect_error(db, SQLITE_AUTH, "kevo itself runs: SELECT name FROM \"main\".kevo_table",
                 "SELECT name FROM kevo_tables");
    sqlite3_set_authorizer(db, NULL, NULL);
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("authorizer");
    TCase *tcase = tcase_create("authorizer");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, rows_without_own_tables, 0, 2);
    tcase_add_loop_test(tcase, first_use, 0, 2);
    tcase_add_test(tcase, first_use_names_statement);
    tcase_add_loop_test(tcase, insert_without_select, 0, 2);
    tcase_add_loop_test(tcase, dropped_tables_wait, 0, 2);
    tcase_add_loop_test(tcase, each_denied, 0, STATEMENTS);
    tcase_add_loop_test(tcase, each_ignored, 0, STATEMENTS);
    tcase_add_test(tcase, ignored_updates);
    tcase_add_test(tcase, transactions_of_functions);
    tcase_add_test(tcase, reports);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
