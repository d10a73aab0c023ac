/* DROP TABLE: what it takes along, and when. The rows go with the transaction that drops their
 * table, or stay with it, through savepoints, crashes and in every kind of store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kevo.h"
#include "tests/lib/sql.h"

static sqlite3 *db;
static const char *path;

static void setup(void) {
    path = sql_file("a.db");
    db = sql_open(path);
}

static void teardown(void) {
    sql_close(db);
    db = NULL;
}

static void reopen(void) {
    sql_close(db);
    db = sql_open(path);
}

/* Two tables in one store: t with an index, and u. */
static void fill(void) {
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(id INTEGER PRIMARY KEY, x TEXT, INDEX i (x));"
                 "CREATE VIRTUAL TABLE u USING kevo; CREATE TABLE o(x)");
    sql_exec(db, "INSERT INTO t VALUES(1, 'a'), (2, 'b'); INSERT INTO u VALUES('k', 1)");
}

static void shell(const char *format, const char *a, const char *b) {
    char *command = sqlite3_mprintf(format, a, b);
    ck_assert_int_eq(system(command), 0);
    sqlite3_free(command);
}

/* How many keys the store in the directory has, whosever they are. */
static int keys_in(const char *dir) {
    struct kevo_options o;
    kevo_store *store;
    kevo_iter *it;
    int count = 0;
    kevo_options_default(&o);
    o.use_kept = true;
    o.read_only = true;
    o.authority = KEVO_AUTHORITY_EXTERNAL;
    ck_ok(kevo_open(dir, &o, &store, &test_err));
    ck_ok(kevo_iter_new(store, NULL, &it, &test_err));
    ck_ok(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); count++)
        ck_ok(kevo_iter_next(it, &test_err));
    kevo_iter_free(it);
    kevo_close(store);
    return count;
}

/* Close the database and count; the store flushed, so that the engine alone sees all of it. */
static int keys_left(void) {
    char dir[1300];
    sql_exec(db, "SELECT kevo_flush('u')");
    sql_close(db);
    db = NULL;
    snprintf(dir, sizeof dir, "%s-kevo", path);
    int count = keys_in(dir);
    db = sql_open(path);
    return count;
}

/* ---- when the rows go ------------------------------------------------------------------- */

START_TEST(rows_and_entries_go) {
    fill();
    ck_assert_int_eq(keys_left(), 5);
    sql_exec(db, "DROP TABLE t");
    expect_rows(db, "u", "SELECT name FROM kevo_table");
    ck_assert_int_eq(keys_left(), 1);
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo");
    expect_rows(db, "", "SELECT * FROM t");
    expect_rows(db, "k|1", "SELECT * FROM u");
    expect_rows(db, "ok", "PRAGMA integrity_check");
}
END_TEST

START_TEST(rolled_back) {
    static const char *const undone[] = {
        "BEGIN; DROP TABLE t; ROLLBACK",
        "BEGIN; DELETE FROM t; DROP TABLE t; ROLLBACK",
        "BEGIN; SAVEPOINT s; DROP TABLE t; ROLLBACK TO s; COMMIT",
        "SAVEPOINT s; DELETE FROM t; DROP TABLE t; ROLLBACK TO s; RELEASE s",
        "BEGIN; SAVEPOINT s; DROP TABLE t; SAVEPOINT r; INSERT INTO u VALUES('l', 2); ROLLBACK TO "
        "r; ROLLBACK TO s; COMMIT",
        "BEGIN; SAVEPOINT s; DROP TABLE t; CREATE VIRTUAL TABLE t USING kevo; INSERT INTO t "
        "VALUES('x', 1); DROP TABLE t; ROLLBACK TO s; COMMIT",
    };
    fill();
    sql_exec(db, "%s", undone[_i]);
    for (int again = 0; again < 2; again++, reopen()) {
        expect_rows(db, "1|a;2|b", "SELECT * FROM t");
        expect_rows(db, "k|1", "SELECT * FROM u");
        expect_rows(db, "2", "SELECT id FROM t WHERE x = 'b'");
        expect_rows(db, "ok", "SELECT kevo_check('t')");
    }
    sql_exec(db, "INSERT INTO t VALUES(3, 'c')");
    ck_assert_int_eq(keys_left(), 7);
}
END_TEST

/* What a savepoint around a DROP takes back and what it leaves. */
START_TEST(savepoints) {
    fill();
    sql_exec(db, "BEGIN; INSERT INTO t VALUES(3, 'c'); INSERT INTO o VALUES(1); SAVEPOINT s");
    sql_exec(db, "DELETE FROM t WHERE id = 1; DROP TABLE t; INSERT INTO o VALUES(2)");
    sql_exec(db, "SAVEPOINT r; DROP TABLE u; ROLLBACK TO r; INSERT INTO u VALUES('l', 2)");
    sql_exec(db, "ROLLBACK TO s");
    expect_rows(db, "1|a;2|b;3|c", "SELECT * FROM t");
    expect_rows(db, "k|1", "SELECT * FROM u");
    sql_exec(db, "INSERT INTO t VALUES(4, 'd'); COMMIT");
    reopen();
    expect_rows(db, "1|a;2|b;3|c;4|d", "SELECT * FROM t");
    expect_rows(db, "1", "SELECT * FROM o");
    expect_rows(db, "ok", "SELECT kevo_check('t')");
    ck_assert_int_eq(keys_left(), 9);
}
END_TEST

/* SQLite asks a dropped table nothing any more, but what was written is committed. */
START_TEST(after_writes) {
    fill();
    sql_exec(db, "BEGIN; INSERT INTO o VALUES(1); INSERT INTO t VALUES(3, 'c'); DROP TABLE t; "
                 "INSERT INTO o VALUES(2); COMMIT");
    expect_error(db, SQLITE_ERROR, "no such table", "SELECT * FROM t");
    sql_exec(db, "BEGIN; INSERT INTO u VALUES('l', 2); DROP TABLE u; "
                 "CREATE VIRTUAL TABLE u USING kevo; INSERT INTO u VALUES('m', 3); COMMIT");
    reopen();
    expect_rows(db, "m|3", "SELECT * FROM u");
    expect_rows(db, "1;2", "SELECT * FROM o");
    ck_assert_int_eq(keys_left(), 1);
    sql_exec(db, "BEGIN; CREATE VIRTUAL TABLE v USING kevo; INSERT INTO v VALUES('x', 1); "
                 "DROP TABLE v; COMMIT");
    ck_assert_int_eq(keys_left(), 1);
}
END_TEST

/* The writes of a table go on being part of the transaction after another one was dropped. */
START_TEST(others_go_on) {
    fill();
    sql_exec(db, "BEGIN; DROP TABLE t; INSERT INTO u VALUES('l', 2); SAVEPOINT s; "
                 "INSERT INTO u VALUES('m', 3); ROLLBACK TO s");
    expect_rows(db, "k|1;l|2", "SELECT * FROM u");
    sql_exec(db, "COMMIT");
    ck_assert_int_eq(keys_left(), 2);
    expect_rows(db, "k|1;l|2", "SELECT * FROM u");
}
END_TEST

/* What the transaction wrote has left memory, when its table goes or a range of its rows does. */
START_TEST(after_spilling) {
    static const char fill_t[] =
        "WITH n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
        "INSERT INTO t SELECT i, 'x' || i FROM n";
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(id INTEGER PRIMARY KEY, x TEXT, INDEX i (x), "
                 "txn_memory_size = '4 KB'); CREATE VIRTUAL TABLE u USING kevo");
    sql_exec(db, "INSERT INTO t VALUES(1, 'a'), (2, 'b'); INSERT INTO u VALUES('k', 1)");
    sql_exec(db,
             "BEGIN; %s; SAVEPOINT s; SELECT kevo_delete_range('t', 'rowid >', 1, 'rowid <', "
             "1999)",
             fill_t);
    expect_rows(db, "1;1999;2000", "SELECT id FROM t");
    expect_rows(db, "1999", "SELECT id FROM t WHERE x = 'x1999'");
    expect_rows(db, "", "SELECT id FROM t WHERE x = 'x1000'");
    sql_exec(db, "ROLLBACK TO s");
    expect_rows(db, "2000", "SELECT count(*) FROM t");
    sql_exec(db, "DROP TABLE t; ROLLBACK TO s; SELECT kevo_delete_range('t', 'rowid <', 1999); "
                 "COMMIT");
    expect_rows(db, "1999;2000", "SELECT id FROM t");
    expect_rows(db, "ok", "SELECT kevo_check('t')");
    sql_exec(db, "BEGIN; %s; DROP TABLE t; INSERT INTO u VALUES('l', 2); COMMIT",
             "DELETE FROM t; INSERT INTO t SELECT value, value FROM json_each('[1,2,3]'); "
             "WITH n(i) AS (SELECT 4 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
             "INSERT INTO t SELECT i, 'x' || i FROM n");
    expect_rows(db, "k|1;l|2", "SELECT * FROM u");
    ck_assert_int_eq(keys_left(), 2);
}
END_TEST

/* ---- commits that fail, crashes ------------------------------------------------------------ */

START_TEST(commit_refused) {
    fill();
    sqlite3_commit_hook(db, sql_veto, NULL);
    expect_error(db, SQLITE_CONSTRAINT, "", "DROP TABLE t");
    sqlite3_commit_hook(db, NULL, NULL);
    expect_rows(db, "1|a;2|b", "SELECT * FROM t");
    sql_exec(db, "INSERT INTO u VALUES('l', 2)");
    expect_rows(db, "1|a;2|b", "SELECT * FROM t");
    sql_exec(db, "DROP TABLE t");
    ck_assert_int_eq(keys_left(), 2);
}
END_TEST

/* With a rollback journal a reader can be in the way of a COMMIT that was all but done. */
START_TEST(commit_busy) {
    fill();
    sqlite3 *reader = sql_open(path);
    sql_exec(reader, "BEGIN; SELECT * FROM o; SELECT * FROM t");
    sql_exec(db, "BEGIN; SAVEPOINT s; DROP TABLE t");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    expect_rows(reader, "1|a;2|b", "SELECT * FROM t");
    if (_i) sql_exec(db, "ROLLBACK TO s");
    sql_exec(reader, "COMMIT");
    sql_exec(db, "COMMIT");
    if (_i) expect_rows(reader, "1|a;2|b", "SELECT * FROM t");
    sql_close(reader);
    ck_assert_int_eq(keys_left(), _i ? 5 : 1);
}
END_TEST

/* As a crash at this moment would leave it: files only. */
static const char *copy_of_all(void) {
    const char *into = sql_file("a.db");
    shell("cp -r '%s'* \"$(dirname '%s')\"", path, into);
    return into;
}

static const char *copied;

static int copy(void *arg) {
    (void)arg;
    copied = copy_of_all();
    return 0;
}

/* What a crash leaves between the batch and SQLite's commit, and right behind it. */
START_TEST(crash) {
    sql_exec(db, "PRAGMA journal_mode=%s", _i / 2 ? "WAL" : "DELETE");
    fill();
    sqlite3_commit_hook(db, _i % 2 ? NULL : copy, NULL);
    sql_exec(db, "BEGIN; INSERT INTO t VALUES(3, 'c'); DROP TABLE t; COMMIT");
    if (_i % 2) copied = copy_of_all();
    sqlite3_commit_hook(db, NULL, NULL);
    sql_close(db);
    path = copied;
    db = sql_open(path);
    if (_i % 2) {
        expect_error(db, SQLITE_ERROR, "no such table", "SELECT * FROM t");
        sql_exec(db, "INSERT INTO u VALUES('l', 2)");
        ck_assert_int_eq(keys_left(), 2);
    } else {
        expect_rows(db, "1|a;2|b", "SELECT * FROM t");
        sql_exec(db, "INSERT INTO u VALUES('l', 2)");
        ck_assert_int_eq(keys_left(), 6);
        expect_rows(db, "ok", "SELECT kevo_check('t')");
    }
}
END_TEST

/* ---- where the heir cannot help -------------------------------------------------------------- */

/* main is locked by another connection: the rows go with the next transaction. */
START_TEST(main_is_locked_for_another) {
    const char *other = sql_file("main.db");
    fill();
    sql_close(db);
    sqlite3 *holder = sql_open(other);
    sql_exec(holder, "CREATE TABLE empty(x); BEGIN IMMEDIATE");
    db = sql_open(other);
    sql_exec(db, "ATTACH %Q AS aux", path);
    sql_exec(db, "BEGIN; INSERT INTO aux.t VALUES(3, 'c')");
    expect_error(db, SQLITE_LOCKED, "locked", "DROP TABLE aux.t");
    expect_rows(db, "1|a;2|b;3|c", "SELECT * FROM t");
    sql_exec(db, "ROLLBACK; DROP TABLE aux.t");
    expect_error(db, SQLITE_ERROR, "no such table", "SELECT * FROM t");
    expect_rows(db, "1|NULL;2|u", "SELECT id, name FROM kevo_table");
    sql_close(holder);
    if (_i) {
        reopen();
        sql_exec(db, "BEGIN; INSERT INTO u VALUES('m', 2); ROLLBACK");
    }
    sql_exec(db, "INSERT INTO u VALUES('l', 2)");
    expect_rows(db, "u", "SELECT name FROM kevo_table");
    if (!_i) reopen();
    ck_assert_int_eq(keys_left(), 2);
}
END_TEST

START_TEST(attached) {
    const char *other = sql_file("other.db");
    fill();
    sql_exec(db, "ATTACH %Q AS aux", other);
    sql_exec(db, "CREATE VIRTUAL TABLE aux.t USING kevo; CREATE VIRTUAL TABLE aux.w USING kevo;"
                 "INSERT INTO aux.t VALUES('a', 1)");
    sql_exec(db, "BEGIN; INSERT INTO aux.w VALUES('b', 2); SAVEPOINT s; DROP TABLE aux.t; "
                 "SAVEPOINT r; DROP TABLE main.t; ROLLBACK TO r");
    expect_rows(db, "1|a;2|b", "SELECT * FROM main.t");
    expect_rows(db, "b|2", "SELECT * FROM w");
    sql_exec(db, "DROP TABLE main.t; COMMIT");
    expect_rows(db, "w", "SELECT name FROM aux.kevo_table");
    expect_rows(db, "u", "SELECT name FROM main.kevo_table");
    sql_exec(db, "DETACH aux");
    ck_assert_int_eq(keys_left(), 1);
}
END_TEST

/* The writer of main keeps the lock; a temporary table can be dropped all the same. */
START_TEST(main_is_locked) {
    fill();
    sqlite3 *other = sql_open(path);
    sql_exec(db, "CREATE VIRTUAL TABLE temp.v USING kevo; INSERT INTO v VALUES('a', 1)");
    sql_exec(other, "BEGIN IMMEDIATE");
    sql_exec(db, "DROP TABLE v; CREATE VIRTUAL TABLE temp.v USING kevo");
    expect_rows(db, "", "SELECT * FROM v");
    sql_exec(other, "COMMIT");
    sql_close(other);
    sql_exec(db, "INSERT INTO v VALUES('b', 1)");
    expect_rows(db, "v", "SELECT name FROM temp.kevo_table");
}
END_TEST

/* An ordinary table has the heir's name. */
START_TEST(name_is_taken) {
    sql_exec(db, "CREATE TABLE kevo_heir(x); INSERT INTO kevo_heir VALUES(1)");
    fill();
    sql_exec(db, "DROP TABLE t");
    expect_rows(db, "1", "SELECT * FROM kevo_heir");
    sql_exec(db, "INSERT INTO u VALUES('l', 2)");
    ck_assert_int_eq(keys_left(), 2);
}
END_TEST

/* Stores that decide themselves: the name goes with the transaction, too. */
START_TEST(store_of_its_own) {
    const char *dir = sql_file("store");
    sqlite3 *memory = sql_open(":memory:");
    sql_exec(memory, "CREATE VIRTUAL TABLE t USING kevo(%Q); INSERT INTO t VALUES('a', 1)", dir);
    sql_exec(memory, "BEGIN; DROP TABLE t; ROLLBACK");
    expect_rows(memory, "a|1", "SELECT * FROM t");
    sql_exec(memory, "BEGIN; INSERT INTO t VALUES('b', 2); DROP TABLE t; COMMIT");
    sql_close(memory);
    memory = sql_open(":memory:");
    /* The store knows nothing of it: other columns are fine. */
    sql_exec(memory, "CREATE VIRTUAL TABLE t USING kevo(%Q, n INTEGER PRIMARY KEY)", dir);
    expect_rows(memory, "", "SELECT * FROM t");
    sql_close(memory);
}
END_TEST

/* ---- bookkeeping that was deleted by hand -------------------------------------------------- */

static const char *const losses[] = {
    "DELETE FROM kevo_table WHERE name = 't'",
    "DELETE FROM kevo_table",
    "DROP TABLE kevo_table",
    "DELETE FROM kevo_store",
    "DROP TABLE kevo_store",
    "DROP TABLE kevo_store; DROP TABLE kevo_marker; DROP TABLE kevo_table",
    "UPDATE kevo_store SET uuid = x'00'",
    "UPDATE kevo_store SET directory = ''",
    "UPDATE kevo_table SET id = 0 WHERE name = 't'",
};
enum { LOSSES = sizeof losses / sizeof losses[0] };

/* Many small commits, of which no crash takes anything. */
static void fill_and_lose(const char *loss) {
    sql_exec(db, "PRAGMA synchronous = OFF");
    fill();
    sql_exec(db, "%s", loss);
}

static void reopen_in_haste(void) {
    reopen();
    sql_exec(db, "PRAGMA synchronous = OFF");
}

/* Nobody knows where the rows are, but the table can go, and others be made. */
START_TEST(lost_table) {
    fill_and_lose(losses[_i]);
    reopen_in_haste();
    ck_assert_int_ne(sql_try(db, "SELECT * FROM t"), SQLITE_OK);
    ck_assert_int_ne(sql_try(db, "INSERT INTO t VALUES(3, 'c')"), SQLITE_OK);
    ck_assert_int_ne(sql_try(db, "ALTER TABLE t RENAME TO v"), SQLITE_OK);
    ck_assert_int_ne(sql_try(db, "SELECT kevo_adopt('t')"), SQLITE_OK);
    ck_assert_str_ne(sql_rows(db, "SELECT kevo_check('t')"), "ok");
    sql_exec(db, "BEGIN; INSERT INTO o VALUES(1); DROP TABLE t; ROLLBACK");
    ck_assert_int_ne(sql_try(db, "SELECT * FROM t"), SQLITE_OK);
    sql_exec(db, "BEGIN; INSERT INTO o VALUES(2); DROP TABLE t; COMMIT; DROP TABLE u");
    expect_rows(db, "0", "SELECT count(*) FROM sqlite_schema WHERE rootpage = 0");
    if (sql_try(db, "CREATE VIRTUAL TABLE t USING kevo('another'); DROP TABLE t") != SQLITE_OK) {
        ck_assert_ptr_nonnull(strstr(sqlite3_errmsg(db), "DELETE that row"));
        sql_exec(db, "DELETE FROM kevo_store");
    }
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo('another'); CREATE VIRTUAL TABLE u USING "
                 "kevo('another'); INSERT INTO t VALUES('a', 1)");
    reopen_in_haste();
    expect_rows(db, "a|1|2", "SELECT t.*, o.x FROM t, o");
    expect_rows(db, "", "SELECT * FROM u");
    expect_rows(db, "ok", "PRAGMA integrity_check");
}
END_TEST

/* It was connected when that happened. */
START_TEST(lost_meanwhile) {
    fill_and_lose(losses[_i]);
    sql_exec(db, "DROP TABLE t");
    reopen_in_haste();
    sql_exec(db, "DROP TABLE u");
    expect_rows(db, "0", "SELECT count(*) FROM sqlite_schema WHERE rootpage = 0");
}
END_TEST

/* Some lost tables stay while others are made: none gets to the rows of another one. */
START_TEST(lost_store_and_a_new_one) {
    fill_and_lose("DELETE FROM kevo_store");
    reopen_in_haste();
    sql_exec(db, "DROP TABLE t; CREATE VIRTUAL TABLE v USING kevo('another'); CREATE VIRTUAL TABLE "
                 "w USING kevo('another'); INSERT INTO w VALUES('w', 1)");
    expect_error(db, SQLITE_CORRUPT, "DROP TABLE", "SELECT * FROM u");
    reopen_in_haste();
    expect_error(db, SQLITE_CORRUPT, "DROP TABLE", "SELECT * FROM u");
    expect_rows(db, "w|1", "SELECT * FROM w");
}
END_TEST

/* The store is no unused one as long as a table may be in it, so that a CREATE does not make it
 * anew. */
START_TEST(lost_table_keeps_its_store) {
    fill_and_lose("CREATE TABLE saved AS SELECT * FROM kevo_table; DELETE FROM kevo_table");
    reopen_in_haste();
    sql_exec(db, "CREATE VIRTUAL TABLE v USING kevo; INSERT INTO v VALUES('v', 1)");
    sql_exec(db, "INSERT INTO kevo_table SELECT * FROM saved");
    reopen_in_haste();
    expect_rows(db, "1|a;2|b", "SELECT * FROM t");
    expect_rows(db, "k|1|v|1", "SELECT * FROM u, v");
    expect_rows(db, "ok", "SELECT kevo_check('t')");
}
END_TEST

/* ... however its statement is written, and whatever LIKE means to the connection. */
START_TEST(lost_table_in_small_letters) {
    sql_exec(db, "PRAGMA synchronous = OFF; create virtual table t using kevo;"
                 "INSERT INTO t VALUES('k', 1);"
                 "CREATE TABLE saved AS SELECT * FROM kevo_table; DELETE FROM kevo_table");
    reopen_in_haste();
    sql_exec(db, "PRAGMA case_sensitive_like = ON; CREATE VIRTUAL TABLE v USING kevo;"
                 "INSERT INTO kevo_table SELECT * FROM saved");
    reopen_in_haste();
    expect_rows(db, "k|1", "SELECT * FROM t");
}
END_TEST

/* ---- space ------------------------------------------------------------------------------------- */

/* A large table's files go by themselves once somebody writes, or nobody does. */
START_TEST(space_is_freed) {
    sql_exec(db,
             "CREATE VIRTUAL TABLE t USING kevo(id INTEGER PRIMARY KEY, x BLOB, "
             "memtable_size = 100000, settle_ms = %d); CREATE VIRTUAL TABLE u USING kevo",
             _i ? 100 : 0);
    sql_exec(db, "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
                 "INSERT INTO t SELECT i, randomblob(500) FROM n");
    sql_exec(db, "SELECT kevo_flush('t'); PRAGMA busy_timeout = 1000");
    const char bytes[] = "SELECT coalesce(sum(value), 0) FROM kevo_stats('u') WHERE name GLOB "
                         "'level*_bytes' AND name NOT GLOB '*_*_*'";
    ck_assert_int_gt(sql_int(db, "%s", bytes), 1000000);
    sql_exec(db, "DROP TABLE t");
    for (int i = 0; i < 200 && sql_int(db, "%s", bytes) > 50000; i++) {
        if (_i == 0 && i % 20 == 0) sql_exec(db, "REPLACE INTO u VALUES('k', %d)", i);
        sqlite3_sleep(50);
    }
    ck_assert_int_lt(sql_int(db, "%s", bytes), 50000);
    expect_rows(db, "ok", "SELECT kevo_check('u')");
}
END_TEST

/* Without the module SQLite drops no virtual table, and people delete its definition instead. Its
 * rows are kept, and what is in the way of a new table says how to give them up. */
START_TEST(definition_was_deleted) {
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1);"
                 "CREATE VIRTUAL TABLE other USING kevo; INSERT INTO other VALUES('b', 2)");
    sql_exec(db, "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'kv';"
                 "PRAGMA writable_schema = RESET");
    for (int i = 0; i < 2; i++) {
        static const char says[] =
            "kevo: main.kevo_table still has a table kv, whose definition was deleted from "
            "sqlite_schema; put that back, or give up its rows: UPDATE \"main\".kevo_table SET "
            "name = "
            "NULL WHERE name = 'kv'";
        expect_error(db, SQLITE_CORRUPT, says, "CREATE VIRTUAL TABLE kv USING kevo");
        expect_error(db, SQLITE_CORRUPT, says, "ALTER TABLE other RENAME TO kv");
    }
    if (_i == 0) {
        sql_exec(db,
                 "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES('table', 'kv', "
                 "'kv', 0, 'CREATE VIRTUAL TABLE kv USING kevo'); PRAGMA writable_schema = RESET");
        expect_rows(db, "a|1", "SELECT * FROM kv");
    } else {
        sql_exec(db, "UPDATE \"main\".kevo_table SET name = NULL WHERE name = 'kv';"
                     "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('c', 3)");
        expect_rows(db, "c|3", "SELECT * FROM kv");
        expect_rows(db, "0", "SELECT count(*) FROM kevo_table WHERE name IS NULL");
    }
    expect_rows(db, "b|2", "SELECT * FROM other");
    expect_rows(db, "ok", "SELECT kevo_check('kv')");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("drop");
    TCase *tc = tcase_create("drop");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, after_spilling);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, rows_and_entries_go);
    tcase_add_loop_test(tc, rolled_back, 0, 6);
    tcase_add_test(tc, savepoints);
    tcase_add_test(tc, after_writes);
    tcase_add_test(tc, others_go_on);
    tcase_add_test(tc, commit_refused);
    tcase_add_loop_test(tc, commit_busy, 0, 2);
    tcase_add_loop_test(tc, crash, 0, 4);
    tcase_add_loop_test(tc, main_is_locked_for_another, 0, 2);
    tcase_add_test(tc, attached);
    tcase_add_test(tc, main_is_locked);
    tcase_add_test(tc, name_is_taken);
    tcase_add_test(tc, store_of_its_own);
    tcase_add_loop_test(tc, lost_table, 0, LOSSES);
    tcase_add_loop_test(tc, lost_meanwhile, 0, LOSSES);
    tcase_add_test(tc, lost_store_and_a_new_one);
    tcase_add_test(tc, lost_table_keeps_its_store);
    tcase_add_test(tc, lost_table_in_small_letters);
    tcase_add_loop_test(tc, space_is_freed, 0, 2);
    tcase_add_loop_test(tc, definition_was_deleted, 0, 2);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
