/* The commit protocol between SQLite and the store, as SQLite really calls it: what
 * the code relies on of the order of calls, each as a test. */
#include <string.h>

#include "tests/lib/sql.h"

/* ---- an ordinary table and two kevo tables ----------------------------------------- */

static sqlite3 *db, *other;
static const char *path;

/* `memory` is the transactions': a tiny one makes each write of them a file. */
static void open_mode(const char *journal, const char *memory) {
    path = sql_file("app.db");
    db = sql_open(path);
    sql_exec(db, "PRAGMA journal_mode=%s", journal);
    sql_exec(db, "CREATE TABLE plain(k TEXT PRIMARY KEY, v)");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo(txn_memory_size = %s)", memory);
    sql_exec(db, "CREATE VIRTUAL TABLE two USING kevo(a INTEGER PRIMARY KEY, b ANY)");
    other = sql_open(path);
}

static void teardown(void) {
    sql_close(db);
    sql_close(other);
    db = other = NULL;
}

static void setup_wal(void) {
    open_mode("WAL", "64 MB");
}

static void setup_delete(void) {
    open_mode("DELETE", "64 MB");
}

static void setup_wal_runs(void) {
    open_mode("WAL", "4 KB");
}

static void setup_delete_runs(void) {
    open_mode("DELETE", "4 KB");
}

/* All tables in this order, as this connection sees them. */
#define ALL                                                                                        \
    "SELECT 'p', k, v FROM plain UNION ALL SELECT 'k', key, value FROM kv UNION ALL "              \
    "SELECT 't', a, b FROM two"

/* Both connections, and one opened anew after both are closed, see the same. */
static void expect_everywhere(const char *expected) {
    expect_rows(db, expected, ALL);
    expect_rows(other, expected, ALL);
    sql_close(db);
    sql_close(other);
    db = sql_open(path);
    expect_rows(db, expected, ALL);
    expect_rows(db, "ok", "SELECT kevo_check('kv')");
    other = sql_open(path);
}

/* ---- commits that are refused ------------------------------------------------------------ */

START_TEST(commit_busy_then_retry) {
    sqlite3_stmt *reader = sql_prepare(other, "SELECT count(*) FROM plain, sqlite_schema");
    ck_assert_int_eq(sqlite3_step(reader), SQLITE_ROW);
    sql_exec(db, "BEGIN; INSERT INTO plain VALUES('a', 1); INSERT INTO kv VALUES('a', 1);");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    ck_assert_int_eq(sqlite3_get_autocommit(db), 0);
    expect_rows(db, "p|a|1;k|a|1", ALL);
    /* More, in the same and in another table, and a change of what was prepared. */
    sql_exec(db, "INSERT INTO kv VALUES('b', 2); UPDATE kv SET value = 10 WHERE key = 'a'");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    sql_exec(db, "INSERT INTO two VALUES(1, 'x')");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    sqlite3_finalize(reader);
    sql_exec(db, "COMMIT");
    expect_everywhere("p|a|1;k|a|10;k|b|2;t|1|x");
}
END_TEST

START_TEST(commit_busy_then_rollback) {
    sql_exec(db, "INSERT INTO kv VALUES('before', 0)");
    sqlite3_stmt *reader = sql_prepare(other, "SELECT count(*) FROM plain, sqlite_schema");
    ck_assert_int_eq(sqlite3_step(reader), SQLITE_ROW);
    sql_exec(db, "BEGIN; INSERT INTO plain VALUES('a', 1); INSERT INTO kv VALUES('a', 1);");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    sql_exec(db, "ROLLBACK");
    expect_rows(db, "k|before|0", ALL);
    sqlite3_finalize(reader);
    /* Whoever writes next decides about the batch in doubt. */
    sql_exec(other, "INSERT INTO kv VALUES('c', 3)");
    expect_everywhere("k|before|0;k|c|3");
}
END_TEST

/* Savepoints around a COMMIT that was BUSY. */
START_TEST(commit_busy_then_rollback_to) {
    sqlite3_stmt *reader = sql_prepare(other, "SELECT count(*) FROM plain, sqlite_schema");
    ck_assert_int_eq(sqlite3_step(reader), SQLITE_ROW);
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('a', 1); INSERT INTO plain VALUES('a', 1);"
                 "SAVEPOINT s; INSERT INTO kv VALUES('b', 2); INSERT INTO plain VALUES('b', 2)");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    /* The failed COMMIT keeps the savepoints. */
    sql_exec(db, "ROLLBACK TO s");
    expect_rows(db, "p|a|1;k|a|1", ALL);
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    sql_exec(db, "SAVEPOINT t; INSERT INTO kv VALUES('c', 3)");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    sql_exec(db, "ROLLBACK TO t");
    sqlite3_finalize(reader);
    sql_exec(db, "COMMIT");
    expect_everywhere("p|a|1;k|a|1");
}
END_TEST

/* Everything written is undone, after a COMMIT that was BUSY had prepared it. */
START_TEST(commit_busy_then_nothing_left) {
    sql_exec(db, "INSERT INTO kv VALUES('before', 0)");
    sqlite3_stmt *reader = sql_prepare(other, "SELECT count(*) FROM plain, sqlite_schema");
    ck_assert_int_eq(sqlite3_step(reader), SQLITE_ROW);
    sql_exec(db, "BEGIN; SAVEPOINT s; INSERT INTO kv VALUES('a', 1)");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    sql_exec(db, "ROLLBACK TO s; INSERT INTO plain VALUES('p', 1)");
    sqlite3_finalize(reader);
    sql_exec(db, "COMMIT");
    expect_rows(other, "p|p|1;k|before|0", ALL);
    sql_exec(db, "INSERT INTO kv VALUES('after', 1)");
    expect_everywhere("p|p|1;k|after|1;k|before|0");
}
END_TEST

START_TEST(veto_after_sync) {
    sql_exec(db, "INSERT INTO kv VALUES('before', 0)");
    sqlite3_commit_hook(db, sql_veto, NULL);
    expect_error(db, SQLITE_CONSTRAINT, "",
                 "BEGIN; INSERT INTO kv VALUES('a', 1);"
                 "INSERT INTO plain VALUES('a', 1); COMMIT");
    ck_assert_int_eq(sqlite3_get_autocommit(db), 1);
    expect_error(db, SQLITE_CONSTRAINT, "", "INSERT INTO kv VALUES('a', 1)");
    sqlite3_commit_hook(db, NULL, NULL);
    expect_rows(other, "k|before|0", ALL);
    expect_rows(db, "k|before|0", ALL);
    sql_exec(db, "INSERT INTO kv VALUES('b', 2)");
    expect_everywhere("k|b|2;k|before|0");
}
END_TEST

/* The veto is the last that happens before the store is closed. */
START_TEST(veto_then_reopen) {
    sql_exec(db, "INSERT INTO kv VALUES('before', 0)");
    sqlite3_commit_hook(db, sql_veto, NULL);
    expect_error(db, SQLITE_CONSTRAINT, "", "INSERT INTO kv VALUES('a', 1)");
    expect_everywhere("k|before|0");
    sql_exec(other, "INSERT INTO two VALUES(1, 1)");
    expect_everywhere("k|before|0;t|1|1");
}
END_TEST

/* A store without a database file decides by itself: a veto must count there as well. */
START_TEST(veto_in_memory) {
    const char *dir = sql_file("store");
    sqlite3 *memory = sql_open(":memory:");
    sql_exec(memory, "CREATE VIRTUAL TABLE m USING kevo(%Q); INSERT INTO m VALUES('before', 0)",
             dir);
    sqlite3_commit_hook(memory, sql_veto, NULL);
    expect_error(memory, SQLITE_CONSTRAINT, "", "INSERT INTO m VALUES('a', 1)");
    sqlite3_commit_hook(memory, NULL, NULL);
    expect_rows(memory, "before|0", "SELECT * FROM m");
    sqlite3_commit_hook(memory, sql_veto, NULL);
    expect_error(memory, SQLITE_CONSTRAINT, "", "INSERT INTO m VALUES('a', 1)");
    sql_close(memory);
    memory = sql_open(":memory:");
    sql_exec(memory, "CREATE VIRTUAL TABLE m USING kevo(%Q)", dir);
    expect_rows(memory, "before|0", "SELECT * FROM m");
    sql_close(memory);
}
END_TEST

/* An autocommit statement that ends BUSY in its own commit is rolled back. */
START_TEST(autocommit_busy) {
    sqlite3_stmt *reader = sql_prepare(other, "SELECT count(*) FROM plain, sqlite_schema");
    ck_assert_int_eq(sqlite3_step(reader), SQLITE_ROW);
    expect_error(db, SQLITE_BUSY, "locked", "INSERT INTO kv VALUES('a', 1)");
    expect_rows(db, "", ALL);
    sqlite3_finalize(reader);
    sql_exec(db, "INSERT INTO kv VALUES('b', 1)");
    expect_everywhere("k|b|1");
}
END_TEST

/* ---- conflict clauses that end the transaction or half a statement --------------------------- */

START_TEST(or_rollback) {
    sql_exec(db, "INSERT INTO kv VALUES('b', 0)");
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('a', 1); INSERT INTO plain VALUES('a', 1)");
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE constraint failed: kv.key",
                 "INSERT OR ROLLBACK INTO kv VALUES('c', 1), ('b', 1), ('d', 1)");
    ck_assert_int_eq(sqlite3_get_autocommit(db), 1);
    expect_everywhere("k|b|0");
}
END_TEST

START_TEST(or_fail) {
    sql_exec(db, "INSERT INTO kv VALUES('b', 0)");
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('a', 1)");
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE constraint failed: kv.key",
                 "INSERT OR FAIL INTO kv VALUES('c', 1), ('b', 1), ('d', 1)");
    ck_assert_int_eq(sqlite3_get_autocommit(db), 0);
    expect_rows(db, "k|a|1;k|b|0;k|c|1", ALL);
    sql_exec(db, "COMMIT");
    expect_everywhere("k|a|1;k|b|0;k|c|1");
}
END_TEST

START_TEST(or_abort) {
    sql_exec(db, "INSERT INTO kv VALUES('b', 0)");
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('a', 1)");
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE constraint failed: kv.key",
                 "INSERT INTO kv VALUES('c', 1), ('b', 1), ('d', 1)");
    ck_assert_int_eq(sqlite3_extended_errcode(db), SQLITE_CONSTRAINT_PRIMARYKEY);
    expect_rows(db, "k|a|1;k|b|0", ALL);
    sql_exec(db, "COMMIT");
    expect_everywhere("k|a|1;k|b|0");
}
END_TEST

START_TEST(ignore_and_replace) {
    sql_exec(db, "INSERT INTO kv VALUES('b', 0)");
    sql_exec(db, "INSERT OR IGNORE INTO kv VALUES('a', 1), ('b', 1), ('c', 1)");
    ck_assert_int_eq(sqlite3_changes(db), 2);
    sql_exec(db, "INSERT OR REPLACE INTO kv VALUES('b', 2), ('b', 3), ('d', 4)");
    ck_assert_int_eq(sqlite3_changes(db), 3);
    expect_everywhere("k|a|1;k|b|3;k|c|1;k|d|4");
}
END_TEST

/* ---- savepoints -------------------------------------------------------------------------------- */

START_TEST(savepoints_joined_late) {
    sql_exec(db, "BEGIN; SAVEPOINT a; SAVEPOINT b; SAVEPOINT c;"
                 "INSERT INTO kv VALUES('c', 1); INSERT INTO plain VALUES('c', 1);"
                 "SAVEPOINT d; INSERT INTO two VALUES(1, 1);");
    sql_exec(db, "ROLLBACK TO d");
    expect_rows(db, "p|c|1;k|c|1", ALL);
    sql_exec(db, "INSERT INTO two VALUES(2, 2)");
    /* Past the savepoint in which the table joined. */
    sql_exec(db, "ROLLBACK TO a");
    expect_rows(db, "", ALL);
    sql_exec(db, "INSERT INTO kv VALUES('a', 1); SAVEPOINT b; INSERT INTO kv VALUES('b', 1);"
                 "RELEASE b; SAVEPOINT e; DELETE FROM kv; ROLLBACK TO e; RELEASE a; COMMIT");
    expect_everywhere("k|a|1;k|b|1");
}
END_TEST

/* RELEASE of an outer savepoint takes the inner ones along. */
START_TEST(savepoints_released_out_of_order) {
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('0', 0); SAVEPOINT a; INSERT INTO kv VALUES('a', 1);"
                 "SAVEPOINT b; INSERT INTO kv VALUES('b', 1); SAVEPOINT c;"
                 "INSERT INTO kv VALUES('c', 1); RELEASE b; INSERT INTO kv VALUES('d', 1)");
    expect_error(db, SQLITE_ERROR, "no such savepoint", "ROLLBACK TO c");
    expect_rows(db, "k|0|0;k|a|1;k|b|1;k|c|1;k|d|1", ALL);
    sql_exec(db, "ROLLBACK TO a");
    expect_rows(db, "k|0|0", ALL);
    sql_exec(db, "ROLLBACK TO a; INSERT INTO kv VALUES('e', 1); COMMIT");
    expect_everywhere("k|0|0;k|e|1");
}
END_TEST

/* Names may repeat: the newest one counts. */
START_TEST(savepoints_of_one_name) {
    sql_exec(db, "SAVEPOINT s; INSERT INTO kv VALUES('a', 1); SAVEPOINT s;"
                 "INSERT INTO kv VALUES('b', 1); SAVEPOINT s; INSERT INTO kv VALUES('c', 1);"
                 "ROLLBACK TO s; RELEASE s");
    expect_rows(db, "k|a|1;k|b|1", ALL);
    sql_exec(db, "ROLLBACK TO s; RELEASE s");
    expect_rows(db, "k|a|1", ALL);
    /* The outermost one is the transaction. */
    sql_exec(db, "RELEASE s");
    ck_assert_int_eq(sqlite3_get_autocommit(db), 1);
    expect_everywhere("k|a|1");
}
END_TEST

/* A table of the store joins, and leaves by DROP; another joins inside a deeper one. */
START_TEST(savepoints_of_two_tables) {
    sql_exec(db, "BEGIN; SAVEPOINT a; INSERT INTO kv VALUES('a', 1); SAVEPOINT b;"
                 "INSERT INTO two VALUES(1, 1); SAVEPOINT c; UPDATE kv SET value = 2;"
                 "UPDATE two SET b = 2; ROLLBACK TO c");
    expect_rows(db, "k|a|1;t|1|1", ALL);
    sql_exec(db, "ROLLBACK TO b");
    expect_rows(db, "k|a|1", ALL);
    sql_exec(db, "INSERT INTO two VALUES(3, 3); RELEASE b; ROLLBACK TO a");
    expect_rows(db, "", ALL);
    sql_exec(db, "INSERT INTO two VALUES(4, 4); COMMIT");
    expect_everywhere("t|4|4");
    /* The second table joins in the same savepoint, after the first has written there. */
    sql_exec(db, "DELETE FROM two; BEGIN; INSERT INTO kv VALUES('a', 1); SAVEPOINT a;"
                 "INSERT INTO kv VALUES('b', 1); INSERT INTO two VALUES(1, 1); ROLLBACK TO a");
    expect_rows(db, "k|a|1", ALL);
    sql_exec(db, "COMMIT");
    expect_everywhere("k|a|1");
}
END_TEST

/* The first table joins in a statement with a savepoint of its own, and is told of that one
 * alone; the second one is told of the one below, long after the first has written. */
START_TEST(savepoint_told_late) {
    sql_exec(db, "INSERT INTO kv VALUES('a', 1), ('b', 2); INSERT INTO two VALUES(1, 1)");
    sql_exec(db, "BEGIN; SAVEPOINT s");
    sql_exec(db, "UPDATE kv SET value = value + 10");
    sql_exec(db, "DELETE FROM two WHERE a = 5; INSERT INTO two VALUES(2, 2)");
    sql_exec(db, "ROLLBACK TO s");
    expect_rows(db, "k|a|1;k|b|2;t|1|1", ALL);
    sql_exec(db, "UPDATE kv SET value = value + 10; RELEASE s; COMMIT");
    expect_everywhere("k|a|11;k|b|12;t|1|1");
}
END_TEST

START_TEST(failed_statement_undoes_itself) {
    sql_exec(db, "INSERT INTO two VALUES(1, 1), (2, 2), (3, 3)");
    sql_exec(db, "BEGIN; UPDATE two SET b = b + 10");
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE constraint failed: two.a",
                 "UPDATE two SET a = a + 1, b = 0");
    expect_rows(db, "t|1|11;t|2|12;t|3|13", ALL);
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE", "UPDATE two SET a = 2 WHERE a = 1");
    expect_rows(db, "t|1|11;t|2|12;t|3|13", ALL);
    sql_exec(db, "UPDATE two SET a = a + 10");
    expect_rows(db, "t|11|11;t|12|12;t|13|13", ALL);
    sql_exec(db, "COMMIT");
    expect_everywhere("t|11|11;t|12|12;t|13|13");
}
END_TEST

/* ---- what the connection reports --------------------------------------------------------------- */

START_TEST(counts) {
    int before = sqlite3_total_changes(db); /* CREATE counts in the tables of its own */
    sql_exec(db, "INSERT INTO plain VALUES('a', 1), ('b', 2), ('c', 3)");
    sql_exec(db, "INSERT INTO kv SELECT * FROM plain");
    ck_assert_int_eq(sqlite3_changes(db), 3);
    sql_exec(db, "UPDATE kv SET value = 0 WHERE key > 'a'");
    ck_assert_int_eq(sqlite3_changes(db), 2);
    sql_exec(db, "BEGIN; DELETE FROM kv WHERE key = 'a'; COMMIT");
    ck_assert_int_eq(sqlite3_changes(db), 1);
    ck_assert_int_eq(sqlite3_total_changes(db) - before, 3 + 3 + 2 + 1);
    sql_exec(db, "DELETE FROM kv WHERE key = 'nobody'");
    ck_assert_int_eq(sqlite3_changes(db), 0);
}
END_TEST

START_TEST(last_rowid) {
    sql_exec(db, "INSERT INTO two(b) VALUES('x')");
    ck_assert_int_eq(sqlite3_last_insert_rowid(db), 1);
    sql_exec(db, "INSERT INTO two VALUES(40, 'y'); INSERT INTO two VALUES(NULL, 'z')");
    ck_assert_int_eq(sqlite3_last_insert_rowid(db), 41);
    /* A table without rowids, and new tables, leave it alone. */
    sql_exec(db, "INSERT INTO kv VALUES('a', 1); CREATE VIRTUAL TABLE more USING kevo");
    ck_assert_int_eq(sqlite3_last_insert_rowid(db), 41);
    sql_exec(db, "UPDATE two SET a = 99 WHERE a = 41");
    ck_assert_int_eq(sqlite3_last_insert_rowid(db), 41);
    sql_exec(db, "INSERT INTO two(b) VALUES('after')");
    ck_assert_int_eq(sqlite3_last_insert_rowid(db), 100);
}
END_TEST

static int count_hook(void *arg) {
    ++*(int *)arg;
    return 0;
}

START_TEST(hooks) {
    int commits = 0;
    sqlite3_commit_hook(db, count_hook, &commits);
    sql_exec(db, "INSERT INTO kv VALUES('a', 1)");
    ck_assert_int_eq(commits, 1);
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('b', 1); INSERT INTO two VALUES(1, 1); COMMIT");
    ck_assert_int_eq(commits, 2);
}
END_TEST

/* ---- transactions larger than memory -------------------------------------------------------- */

#define MANY "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "

/* Rows, their index, unique checks and savepoints over many files; another connection reads. */
START_TEST(a_large_transaction) {
    sql_exec(db, "CREATE VIRTUAL TABLE r USING kevo(a INTEGER PRIMARY KEY, b TEXT, c INTEGER, "
                 "UNIQUE (b), INDEX c(c), 'r.store', txn_memory_size = 64 KB); INSERT INTO r "
                 "VALUES(0, 'zero', 0)");
    sql_exec(db, "BEGIN; INSERT INTO plain VALUES('p', 1); " MANY
                 "INSERT INTO r SELECT i * 7919 %% 3001, 'b' || i, i %% 10 FROM n;");
    sqlite3_stmt *cursor = sql_prepare(db, "SELECT b FROM r ORDER BY a DESC");
    ck_assert_int_eq(sqlite3_step(cursor), SQLITE_ROW);
    sql_exec(db, "SAVEPOINT s; UPDATE r SET c = c + 100, b = b || 'x' WHERE a %% 3 = 0;");
    ck_assert_int_eq(sqlite3_step(cursor), SQLITE_ROW);
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE constraint failed",
                 MANY "INSERT INTO r SELECT i + 10000, iif(i = 2500, 'b2', 'n' || i), 1 FROM n");
    expect_rows(db, "3001|1001", "SELECT count(*), sum(c >= 100) FROM r");
    expect_rows(db, "101", "SELECT count(*) FROM r WHERE c = 105");
    sql_exec(db, "SAVEPOINT inner; DELETE FROM r WHERE a BETWEEN 100 AND 2000; RELEASE inner;");
    expect_rows(db, "1100", "SELECT count(*) FROM r");
    sql_exec(db, "ROLLBACK TO s");
    int left = 2;
    while (sqlite3_step(cursor) == SQLITE_ROW)
        left++;
    sqlite3_finalize(cursor);
    ck_assert_int_eq(left, 3001);
    expect_rows(db, "3001|0", "SELECT count(*), sum(c >= 100) FROM r");
    expect_rows(db, "b1|1", "SELECT b, c FROM r WHERE a = 7919 %% 3001");
    expect_rows(other, "1", "SELECT count(*) FROM r");
    sql_exec(db, _i ? "ROLLBACK" : "COMMIT");
    for (int reopened = 0; reopened < 2; reopened++) {
        expect_rows(other, _i ? "1|0" : "3001|1",
                    "SELECT count(*), (SELECT count(*) FROM plain) FROM r");
        expect_rows(other, _i ? "0" : "300", "SELECT count(*) FROM r WHERE c = 5");
        expect_rows(other, "ok", "SELECT kevo_check('r')");
        expect_everywhere(_i ? "" : "p|p|1");
    }
    sql_exec(db, "INSERT INTO r VALUES(90000, 'after', 5)");
    expect_rows(db, _i ? "1" : "301", "SELECT count(*) FROM r WHERE c = 5");
    expect_rows(db, "ok", "SELECT kevo_compact('r')");
    expect_rows(other, _i ? "2" : "3002", "SELECT count(*) FROM r");
}
END_TEST

/* ---- journal_mode=OFF ----------------------------------------------------------------------- */

/* SQLite cannot undo then. ROLLBACK forgets what had not left its cache, but ROLLBACK TO and a
 * statement that fails take back nothing of ordinary tables; of kevo tables they do. */
START_TEST(without_a_journal) {
    sql_exec(db, "PRAGMA journal_mode = OFF; INSERT INTO kv VALUES('old', 0)");
    sql_exec(db,
             "BEGIN; INSERT INTO plain VALUES('a', 1); INSERT INTO kv VALUES('a', 1); ROLLBACK");
    expect_rows(other, "k|old|0", ALL);
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('a', 1); SAVEPOINT s; INSERT INTO plain VALUES('b', "
                 "2); INSERT INTO kv VALUES('b', 2); ROLLBACK TO s");
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE", "INSERT INTO kv VALUES('c', 3), ('a', 2)");
    sql_exec(db, "COMMIT");
    expect_everywhere("p|b|2;k|a|1;k|old|0");
}
END_TEST

/* ---- interrupt -------------------------------------------------------------------------------- */

static void interrupt_now(sqlite3_context *context, int argc, sqlite3_value **argv) {
    (void)argc;
    sqlite3_interrupt(sqlite3_context_db_handle(context));
    sqlite3_result_value(context, argv[0]);
}

/* Each write here puts what was written before into a file. SQLite itself would not look whether
 * it was interrupted before the row is written. */
START_TEST(interrupted_while_writing_files) {
    sqlite3_create_function(db, "interrupt_now", 1, SQLITE_UTF8, NULL, interrupt_now, NULL, NULL);
    sql_exec(db, "BEGIN; INSERT INTO plain VALUES('a', 1); INSERT INTO kv VALUES('a', 1)");
    expect_error(db, SQLITE_INTERRUPT, "", "INSERT INTO kv VALUES('b', interrupt_now(2))");
    ck_assert_int_eq(sqlite3_get_autocommit(db), 1); /* as SQLite does with changes */
    expect_rows(db, "", ALL);
    sql_exec(db, "BEGIN; INSERT INTO plain VALUES('c', 3); INSERT INTO kv VALUES('c', 3), ('d', 4);"
                 "COMMIT");
    expect_everywhere("p|c|3;k|c|3;k|d|4");
}
END_TEST

/* A journal that is deleted blocks writers while somebody reads: COMMIT can be BUSY. */
static void add_busy_tests(TCase *tc) {
    tcase_add_test(tc, commit_busy_then_retry);
    tcase_add_test(tc, commit_busy_then_rollback);
    tcase_add_test(tc, commit_busy_then_rollback_to);
    tcase_add_test(tc, commit_busy_then_nothing_left);
    tcase_add_test(tc, autocommit_busy);
}

static void add_tests(TCase *tc) {
    tcase_add_test(tc, veto_after_sync);
    tcase_add_test(tc, veto_then_reopen);
    tcase_add_test(tc, veto_in_memory);
    tcase_add_test(tc, or_rollback);
    tcase_add_test(tc, or_fail);
    tcase_add_test(tc, or_abort);
    tcase_add_test(tc, ignore_and_replace);
    tcase_add_test(tc, savepoints_joined_late);
    tcase_add_test(tc, savepoints_released_out_of_order);
    tcase_add_test(tc, savepoints_of_one_name);
    tcase_add_test(tc, savepoints_of_two_tables);
    tcase_add_test(tc, savepoint_told_late);
    tcase_add_test(tc, failed_statement_undoes_itself);
    tcase_add_test(tc, counts);
    tcase_add_test(tc, last_rowid);
    tcase_add_test(tc, hooks);
    tcase_add_loop_test(tc, a_large_transaction, 0, 2);
}

int main(void) {
    Suite *suite = suite_create("commit");
    static const struct {
        const char *name;
        void (*setup)(void);
        bool busy;
    } cases[] = {
        {"wal", setup_wal, false},
        {"delete", setup_delete, true},
        {"wal, runs", setup_wal_runs, false},
        {"delete, runs", setup_delete_runs, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TCase *tc = tcase_create(cases[i].name);
        tcase_add_checked_fixture(tc, cases[i].setup, teardown);
        if (cases[i].busy) add_busy_tests(tc);
        if (cases[i].busy) tcase_add_test(tc, without_a_journal);
        if (i >= 2) tcase_add_test(tc, interrupted_while_writing_files);
        add_tests(tc);
        suite_add_tcase(suite, tc);
    }
    return harness_run(suite);
}
