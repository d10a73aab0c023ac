/* kevo_options() and kevo_stats(), the table-valued functions that tell of a store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kevo.h"
#include "tests/lib/sql.h"

static sqlite3 *db;
static char path[1200];

static void setup(void) {
    snprintf(path, sizeof path, "%s", sql_file("a.db"));
    db = sql_open(path);
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo(key TEXT PRIMARY KEY, value ANY, "
                 "cache_size = '16 MB', retain_ms = 5, compression = none)");
}

static void teardown(void) {
    sql_close(db);
}

static void expect_mine(void) {
    expect_rows(db, "cache_size|16 MB|64 MB;compression|none|lz4;retain_ms|5|1000",
                "SELECT name, value, standard FROM kevo_options('kv') WHERE value <> standard "
                "ORDER BY name");
}

START_TEST(options_in_force) {
    expect_mine();
    sql_exec(db, "CREATE VIRTUAL TABLE plain USING kevo('plain.store')");
    expect_rows(db, "0", "SELECT count(*) FROM kevo_options('plain') WHERE value <> standard");
    /* Later connections find the options of the store. */
    sql_close(db);
    db = sql_open(path);
    expect_mine();
    expect_rows(db, "0 to 7|so many levels, from level 0 on, are not compressed",
                "SELECT range, effect FROM kevo_options('kv') WHERE name = 'uncompressed_levels'");
}
END_TEST

/* What it says makes a store with the same options. */
START_TEST(options_as_a_definition) {
    const char *list = sql_rows(db, "SELECT group_concat(name || ' = ''' || value || '''', ', ') "
                                    "FROM kevo_options('kv')");
    sql_exec(db, "CREATE VIRTUAL TABLE again USING kevo('again.store', %s)", list);
    expect_rows(db, "0",
                "SELECT count(*) FROM (SELECT name, value FROM kevo_options('kv') EXCEPT "
                "SELECT name, value FROM kevo_options('again'))");
}
END_TEST

START_TEST(every_option) {
    struct kevo_option option;
    unsigned count = 0;
    while (kevo_option_at(count, &option))
        count++;
    char wanted[20];
    snprintf(wanted, sizeof wanted, "%u|%u", count, count);
    expect_rows(db, wanted, "SELECT count(*), count(DISTINCT name) FROM kevo_options('kv')");
}
END_TEST

static const char *const names[] = {"kevo_options", "kevo_stats"};

START_TEST(arguments) {
    const char *f = names[_i];
    expect_error(db, SQLITE_ERROR, "name a table, as in kevo_", "SELECT * FROM %s", f);
    expect_error(db, SQLITE_ERROR, "no such", "SELECT * FROM %s('nothing')", f);
    expect_error(db, SQLITE_ERROR, "", "SELECT * FROM %s('kv', 2)", f);
    expect_rows(db, "0", "SELECT count(*) FROM %s(NULL)", f);
    expect_rows(db, "kv", "SELECT DISTINCT of FROM %s('kv')", f);
    sql_exec(db, "CREATE VIRTUAL TABLE plain USING kevo('plain.store')");
    sql_exec(db, "CREATE TABLE tables(t); INSERT INTO tables VALUES('kv'), ('plain'), (NULL)");
    expect_rows(db, "2", "SELECT count(DISTINCT t) FROM tables, %s(t)", f);
    expect_rows(db, "2", "SELECT count(DISTINCT of) FROM %s WHERE of = 'kv' OR of = 'plain'", f);
    /* Text as a user may write it. */
    expect_rows(db, "1", "SELECT count(*) > 10 FROM %s('KV')", f);
    expect_error(db, SQLITE_ERROR, "unsafe use",
                 "CREATE VIEW v AS SELECT * FROM %s('kv'); "
                 "SELECT * FROM v",
                 f);
}
END_TEST

/* What stands before a dot is a database only if there is one of that name. */
START_TEST(names_with_dots) {
    sql_exec(db, "CREATE VIRTUAL TABLE \"a.b\" USING kevo; INSERT INTO \"a.b\" VALUES('k', 1)");
    sql_exec(db, "CREATE VIRTUAL TABLE \"main.kv\" USING kevo");
    expect_rows(db, "ok", "SELECT kevo_check('a.b')");
    expect_rows(db, "ok", "SELECT kevo_check('MAIN.a.b')");
    expect_rows(db, "ok", "SELECT kevo_delete_range('a.b')");
    expect_rows(db, "0", "SELECT count(*) FROM \"a.b\"");
    sql_exec(db, "INSERT INTO kv VALUES('k', 1); SELECT kevo_delete_range('main.kv')");
    expect_rows(db, "0", "SELECT count(*) FROM kv");
    expect_error(db, SQLITE_ERROR, "no such table: nobody.b", "SELECT kevo_check('nobody.b')");
    expect_error(db, SQLITE_ERROR, "no such table: main.nothing",
                 "SELECT kevo_check('main.nothing')");
    sql_exec(db, "ATTACH ':memory:' AS a; CREATE VIRTUAL TABLE a.b USING kevo");
    expect_rows(db, "a", "SELECT schema FROM kevo_tables WHERE name = 'b'");
    sql_exec(db, "INSERT INTO a.b VALUES('k', 1); SELECT kevo_delete_range('a.b')");
    expect_rows(db, "0", "SELECT count(*) FROM a.b");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_functions");
    TCase *tcase = tcase_create("store_functions");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, options_in_force);
    tcase_add_test(tcase, names_with_dots);
    tcase_add_test(tcase, options_as_a_definition);
    tcase_add_test(tcase, every_option);
    tcase_add_loop_test(tcase, arguments, 0, 2);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
