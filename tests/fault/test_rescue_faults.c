/* Memory runs out while a store is rescued through SQL: kevo_repair() has made no store then, and
 * kevo_adopt() has decided nothing. The extension is linked in, so that the engine's allocator is
 * the tests'. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/linked.h"
#include "tests/lib/sql.h"

static const char *dir; /* with a slash at the end */

static void setup(void) {
    static char text[1100];
    snprintf(text, sizeof text, "%s", sql_file(""));
    dir = text;
    sqlite3_auto_extension((void (*)(void))linked_load);
}

static sqlite3 *open_in(const char *name) {
    char path[1200];
    snprintf(path, sizeof path, "%s%s", dir, name);
    return sql_open_plain(path);
}

static void run(const char *name, const char *sql) {
    sqlite3 *db = open_in(name);
    sql_exec(db, "%s", sql);
    sql_close(db);
}

/* The n-th allocation of the statement fails, for good or for once. Whether one did. */
static bool try_failing(sqlite3 *db, uint64_t n, bool for_good, int *rc, const char *sql) {
    fault_alloc_fail_at(n, for_good);
    *rc = sql_try(db, "%s", sql);
    bool hit = fault_alloc_hit();
    fault_alloc_fail_at(0, false);
    if (*rc != SQLITE_OK)
        ck_assert_msg((*rc & 0xff) == SQLITE_NOMEM, "allocation %u: %d, %s", (unsigned)n, *rc,
                      sqlite3_errmsg(db));
    return hit;
}

/* `_i & 1`: for good. `_i & 2`: without a manifest. */
START_TEST(repair) {
    char sql[2600];
    unsigned failed = 0;
    int rc;
    bool hit = true;
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1), ('b', 2);"
                "SELECT kevo_flush('kv'); INSERT INTO kv VALUES('c', 3)");
    sql_shell(dir, "cp a.db good.db");
    if (_i & 2) sql_shell(dir, "rm a.db-kevo/MANIFEST");
    sqlite3 *db = open_in("b.db");
    snprintf(sql, sizeof sql, "SELECT kevo_repair('%sa.db-kevo', '%snew.db-kevo')", dir, dir);
    for (uint64_t n = 1; hit; n++) {
        hit = try_failing(db, n, _i & 1, &rc, sql);
        failed += rc != SQLITE_OK;
        if (rc != SQLITE_OK) continue; /* the next call finds the new directory missing or empty */
        sql_shell(dir, "cp good.db new.db");
        run("new.db", "SELECT kevo_adopt('kv')");
        sqlite3 *saved = open_in("new.db");
        expect_rows(saved, "a|1;b|2;c|3", "SELECT * FROM kv ORDER BY key");
        expect_rows(saved, "ok", "SELECT kevo_check('kv')");
        sql_close(saved);
        sql_shell(dir, "rm -r new.db-kevo");
    }
    ck_assert_uint_gt(failed, 20);
    sql_close(db);
}
END_TEST

/* An older database file: the store can go back to it (0), or is taken as it is (1). `_i & 2`:
 * for good. */
START_TEST(adopt) {
    const char *expected = _i & 1 ? "a|1;b|2;c|3" : "a|1";
    unsigned failed = 0;
    int rc;
    bool hit = true;
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    sql_shell(dir, "cp a.db one.db");
    run("a.db", _i & 1 ? "INSERT INTO kv VALUES('b', 2); SELECT kevo_flush('kv')"
                       : "INSERT INTO kv VALUES('b', 2)");
    run("a.db", "INSERT INTO kv VALUES('c', 3)");
    sql_shell(dir, "cp -r a.db-kevo store");
    for (uint64_t n = 1; hit; n++) {
        sql_shell(dir, "rm -rf a.db*; cp one.db a.db && cp -r store a.db-kevo");
        sqlite3 *db = open_in("a.db");
        hit = try_failing(db, n, _i & 2, &rc, "SELECT kevo_adopt('kv')");
        failed += rc != SQLITE_OK;
        if (rc != SQLITE_OK) sql_exec(db, "SELECT kevo_adopt('kv')");
        expect_rows(db, expected, "SELECT * FROM kv ORDER BY key");
        expect_rows(db, "ok", "SELECT kevo_check('kv')");
        sql_close(db);
    }
    ck_assert_uint_gt(failed, 20);
    run("a.db", "INSERT INTO kv VALUES('z', 4)");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rescue_faults");
    TCase *tc = tcase_create("rescue_faults");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_loop_test(tc, repair, 0, 4);
    tcase_add_loop_test(tc, adopt, 0, 4);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
