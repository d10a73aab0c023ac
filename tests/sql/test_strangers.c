/* Tables of another module in the same transaction, whose xSync fails before, between or after
 * those of two stores: all that was written goes, in ordinary tables, stores and theirs, or,
 * where SQLite keeps the transaction open, all of it is committed by the next COMMIT. */
#include <string.h>

#include "tests/lib/sql.h"

/* ---- a module that counts and fails ---------------------------------------------------- */

struct stranger {
    sqlite3_vtab base;
    int pending, committed; /* rows */
    int fails;              /* what its xSync answers */
};

static struct stranger *stranger; /* the one there is */

static int stranger_connect(sqlite3 *db, void *arg, int argc, const char *const *argv,
                            sqlite3_vtab **table, char **message) {
    (void)arg, (void)argc, (void)argv, (void)message;
    struct stranger *s = sqlite3_malloc64(sizeof *s);
    if (!s) return SQLITE_NOMEM;
    *s = (struct stranger){.fails = SQLITE_OK};
    stranger = s;
    *table = &s->base;
    return sqlite3_declare_vtab(db, "CREATE TABLE t(x)");
}

static int stranger_disconnect(sqlite3_vtab *t) {
    sqlite3_free(t);
    stranger = NULL;
    return SQLITE_OK;
}

static int stranger_best_index(sqlite3_vtab *t, sqlite3_index_info *info) {
    (void)t;
    info->estimatedCost = 1;
    return SQLITE_OK;
}

static int stranger_open(sqlite3_vtab *t, sqlite3_vtab_cursor **cursor) {
    (void)t;
    *cursor = sqlite3_malloc64(sizeof **cursor);
    return *cursor ? SQLITE_OK : SQLITE_NOMEM;
}

static int stranger_close(sqlite3_vtab_cursor *c) {
    sqlite3_free(c);
    return SQLITE_OK;
}

static int stranger_filter(sqlite3_vtab_cursor *c, int index, const char *words, int argc,
                           sqlite3_value **argv) {
    (void)c, (void)index, (void)words, (void)argc, (void)argv;
    return SQLITE_OK;
}

static int stranger_next(sqlite3_vtab_cursor *c) {
    (void)c;
    return SQLITE_OK;
}

static int stranger_eof(sqlite3_vtab_cursor *c) {
    (void)c;
    return 1;
}

static int stranger_column(sqlite3_vtab_cursor *c, sqlite3_context *context, int column) {
    (void)c, (void)context, (void)column;
    return SQLITE_OK;
}

static int stranger_rowid(sqlite3_vtab_cursor *c, sqlite3_int64 *rowid) {
    (void)c;
    *rowid = 1;
    return SQLITE_OK;
}

static struct stranger *of(sqlite3_vtab *t) {
    return (struct stranger *)t;
}

static int stranger_update(sqlite3_vtab *t, int argc, sqlite3_value **argv, sqlite3_int64 *rowid) {
    (void)argc, (void)argv, (void)rowid;
    of(t)->pending++;
    return SQLITE_OK;
}

static int stranger_begin(sqlite3_vtab *t) {
    of(t)->pending = 0;
    return SQLITE_OK;
}

static int stranger_sync(sqlite3_vtab *t) {
    return of(t)->fails;
}

static int stranger_commit(sqlite3_vtab *t) {
    of(t)->committed += of(t)->pending;
    of(t)->pending = 0;
    return SQLITE_OK;
}

static int stranger_rollback(sqlite3_vtab *t) {
    of(t)->pending = 0;
    return SQLITE_OK;
}

static const sqlite3_module module = {
    .iVersion = 1,
    .xCreate = stranger_connect,
    .xConnect = stranger_connect,
    .xBestIndex = stranger_best_index,
    .xDisconnect = stranger_disconnect,
    .xDestroy = stranger_disconnect,
    .xOpen = stranger_open,
    .xClose = stranger_close,
    .xFilter = stranger_filter,
    .xNext = stranger_next,
    .xEof = stranger_eof,
    .xColumn = stranger_column,
    .xRowid = stranger_rowid,
    .xUpdate = stranger_update,
    .xBegin = stranger_begin,
    .xSync = stranger_sync,
    .xCommit = stranger_commit,
    .xRollback = stranger_rollback,
};

/* ---- the tests --------------------------------------------------------------------------- */

/* They join the transaction, and are synced, in the order in which they are written to. */
static const char *const writes[] = {
    "INSERT INTO s VALUES(1); INSERT INTO kv VALUES('a', 1); INSERT INTO far VALUES(1, 1)",
    "INSERT INTO kv VALUES('a', 1); INSERT INTO s VALUES(1); INSERT INTO far VALUES(1, 1)",
    "INSERT INTO kv VALUES('a', 1); INSERT INTO far VALUES(1, 1); INSERT INTO s VALUES(1)",
};
static const char *const journals[] = {"WAL", "DELETE"};
/* Each write of the smaller one's transactions is a file. */
static const char *const memories[] = {"64 MB", "4 KB"};
enum { CASES = 3 * 2 * 2 };

#define ALL                                                                                        \
    "SELECT 'p', k, v FROM plain UNION ALL SELECT 'k', key, value FROM kv UNION ALL "              \
    "SELECT 'f', a, b FROM far"
#define BEFORE "p|old|0;k|old|0;f|0|0"

static sqlite3 *db, *other;
static const char *path;

static sqlite3 *connect(void) {
    sqlite3 *c = sql_open(path);
    sqlite3_create_module(c, "stranger", &module, NULL);
    return c;
}

static void start(int number) {
    path = sql_file("app.db");
    db = connect();
    sql_exec(db, "PRAGMA journal_mode = %s", journals[number / 3 % 2]);
    sql_exec(db,
             "CREATE TABLE plain(k, v); CREATE VIRTUAL TABLE s USING stranger;"
             "CREATE VIRTUAL TABLE kv USING kevo(txn_memory_size = %s);"
             "CREATE VIRTUAL TABLE far USING kevo('far.store', a INTEGER PRIMARY KEY, b ANY, "
             "txn_memory_size = %s);",
             memories[number / 6], memories[number / 6]);
    sql_exec(db, "INSERT INTO plain VALUES('old', 0); INSERT INTO kv VALUES('old', 0);"
                 "INSERT INTO far VALUES(0, 0)");
    other = sql_open(path);
    expect_rows(other, BEFORE, ALL);
}

/* Everybody sees these rows, and does so after a reopen. */
static void expect_everywhere(const char *expected, int committed) {
    ck_assert_int_eq(stranger->committed, committed);
    expect_rows(db, expected, ALL);
    expect_rows(other, expected, ALL);
}

static void end(const char *expected) {
    sql_close(db);
    sql_close(other);
    db = connect();
    expect_rows(db, expected, ALL);
    expect_rows(db, "ok;ok", "SELECT kevo_check('kv'); SELECT kevo_check('far')");
    sql_close(db);
}

/* A failure ends the transaction; the next one goes through. */
START_TEST(sync_fails) {
    start(_i);
    for (int round = 0; round < 2; round++) {
        stranger->fails = SQLITE_IOERR;
        expect_error(db, SQLITE_IOERR, "", "BEGIN; INSERT INTO plain VALUES('new', 1); %s; COMMIT",
                     writes[_i % 3]);
        ck_assert_int_eq(sqlite3_get_autocommit(db), 1);
        stranger->fails = SQLITE_OK;
        expect_everywhere(BEFORE, 0);
        if (round == 1) sql_exec(other, "INSERT INTO kv VALUES('z', 9)"); /* another decides */
    }
    sql_exec(db, "BEGIN; INSERT INTO plain VALUES('new', 1); %s; COMMIT", writes[_i % 3]);
    expect_everywhere("p|old|0;p|new|1;k|a|1;k|old|0;k|z|9;f|0|0;f|1|1", 1);
    end("p|old|0;p|new|1;k|a|1;k|old|0;k|z|9;f|0|0;f|1|1");
}
END_TEST

/* It is the last that happens before all is closed. */
START_TEST(sync_fails_then_close) {
    start(_i);
    stranger->fails = SQLITE_FULL;
    expect_error(db, SQLITE_FULL, "", "BEGIN; INSERT INTO plain VALUES('new', 1); %s; COMMIT",
                 writes[_i % 3]);
    end(BEFORE);
}
END_TEST

/* After SQLITE_BUSY the transaction is open, and what was prepared is superseded. */
START_TEST(sync_is_busy) {
    start(_i);
    stranger->fails = SQLITE_BUSY;
    sql_exec(db, "BEGIN; INSERT INTO plain VALUES('new', 1); %s", writes[_i % 3]);
    expect_error(db, SQLITE_BUSY, "", "COMMIT");
    ck_assert_int_eq(sqlite3_get_autocommit(db), 0);
    expect_rows(other, BEFORE, ALL);
    sql_exec(db, "SAVEPOINT s; DELETE FROM kv; INSERT INTO far VALUES(2, 2)");
    expect_error(db, SQLITE_BUSY, "", "COMMIT");
    sql_exec(db, "ROLLBACK TO s; INSERT INTO kv VALUES('b', 2)");
    expect_error(db, SQLITE_BUSY, "", "COMMIT");
    expect_rows(other, BEFORE, ALL);
    stranger->fails = SQLITE_OK;
    sql_exec(db, "COMMIT");
    expect_everywhere("p|old|0;p|new|1;k|a|1;k|b|2;k|old|0;f|0|0;f|1|1", 1);
    end("p|old|0;p|new|1;k|a|1;k|b|2;k|old|0;f|0|0;f|1|1");
}
END_TEST

START_TEST(sync_is_busy_then_rollback) {
    start(_i);
    stranger->fails = SQLITE_BUSY;
    sql_exec(db, "BEGIN; INSERT INTO plain VALUES('new', 1); %s", writes[_i % 3]);
    expect_error(db, SQLITE_BUSY, "", "COMMIT");
    sql_exec(db, "ROLLBACK");
    stranger->fails = SQLITE_OK;
    expect_everywhere(BEFORE, 0);
    sql_exec(other, "INSERT INTO far VALUES(2, 2)");
    expect_everywhere(BEFORE ";f|2|2", 0);
    end(BEFORE ";f|2|2");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("strangers");
    TCase *tc = tcase_create("strangers");
    tcase_add_loop_test(tc, sync_fails, 0, CASES);
    tcase_add_loop_test(tc, sync_fails_then_close, 0, CASES);
    tcase_add_loop_test(tc, sync_is_busy, 0, CASES);
    tcase_add_loop_test(tc, sync_is_busy_then_rollback, 0, CASES);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
