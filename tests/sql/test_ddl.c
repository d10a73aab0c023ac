/* CREATE, DROP and RENAME of kevo tables inside transactions, and databases that come and
 * go. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/sql.h"

static sqlite3 *db;
static const char *path;

static void reopen(void) {
    sql_close(db);
    db = sql_open(path);
}

static void setup(void) {
    path = sql_file("app.db");
    db = sql_open(path);
    sql_exec(db, "PRAGMA journal_mode=WAL");
}

static void teardown(void) {
    sql_close(db);
    db = NULL;
}

static void expect_sound(const char *table) {
    expect_rows(db, "ok", "SELECT kevo_check(%Q)", table);
    expect_rows(db, "ok", "PRAGMA integrity_check");
}

/* ---- CREATE ------------------------------------------------------------------------- */

START_TEST(create_then_rollback) {
    sql_exec(db, "BEGIN; CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    expect_rows(db, "a|1", "SELECT * FROM kv");
    sql_exec(db, "ROLLBACK");
    expect_error(db, SQLITE_ERROR, "no such table", "SELECT * FROM kv");
    expect_rows(db, "", "SELECT name FROM sqlite_schema");
    /* What the first attempt left in the directory is taken over. */
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('b', 2)");
    expect_rows(db, "b|2", "SELECT * FROM kv");
    reopen();
    expect_rows(db, "b|2", "SELECT * FROM kv");
    expect_sound("kv");
}
END_TEST

START_TEST(create_then_rollback_then_reopen) {
    sql_exec(db, "BEGIN; CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    sql_exec(db, "ROLLBACK");
    reopen();
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('b', 2)");
    reopen();
    expect_rows(db, "b|2", "SELECT * FROM kv");
}
END_TEST

/* The batch is in the log, and then SQLite does not commit. */
START_TEST(create_then_veto) {
    sqlite3_commit_hook(db, sql_veto, NULL);
    expect_error(db, SQLITE_CONSTRAINT, "",
                 "BEGIN; CREATE VIRTUAL TABLE kv USING kevo;"
                 "INSERT INTO kv VALUES('a', 1); COMMIT");
    sqlite3_commit_hook(db, NULL, NULL);
    expect_rows(db, "", "SELECT name FROM sqlite_schema");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo");
    expect_rows(db, "", "SELECT * FROM kv");
    sql_exec(db, "INSERT INTO kv VALUES('b', 2)");
    reopen();
    expect_rows(db, "b|2", "SELECT * FROM kv");
}
END_TEST

START_TEST(create_then_rollback_to) {
    sql_exec(db, "BEGIN; CREATE TABLE plain(x); SAVEPOINT s; CREATE VIRTUAL TABLE kv USING kevo;"
                 "INSERT INTO kv VALUES('a', 1); ROLLBACK TO s");
    expect_error(db, SQLITE_ERROR, "no such table", "SELECT * FROM kv");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('b', 2)");
    expect_rows(db, "b|2", "SELECT * FROM kv");
    sql_exec(db, "SAVEPOINT t; INSERT INTO kv VALUES('c', 3); ROLLBACK TO t; COMMIT");
    expect_rows(db, "b|2", "SELECT * FROM kv");
    reopen();
    expect_rows(db, "b|2", "SELECT * FROM kv");
    expect_sound("kv");
}
END_TEST

/* The same where the store has committed rows of another table already. */
START_TEST(create_second_then_rollback_to) {
    sql_exec(db, "CREATE VIRTUAL TABLE one USING kevo; INSERT INTO one VALUES('x', 1)");
    sql_exec(db, "BEGIN; INSERT INTO one VALUES('y', 1); SAVEPOINT s;"
                 "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1);"
                 "INSERT INTO one VALUES('z', 1); ROLLBACK TO s");
    expect_error(db, SQLITE_ERROR, "no such table", "SELECT * FROM kv");
    expect_rows(db, "x|1;y|1", "SELECT * FROM one");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo(n INTEGER PRIMARY KEY);"
                 "INSERT INTO kv VALUES(7); COMMIT");
    expect_rows(db, "x|1;y|1", "SELECT * FROM one");
    reopen();
    expect_rows(db, "7", "SELECT * FROM kv");
    expect_rows(db, "x|1;y|1", "SELECT * FROM one");
}
END_TEST

/* No other table of the store takes part, so that SQLite tells nobody of the ROLLBACK TO. */
START_TEST(create_alone_then_rollback_to) {
    sql_exec(db, "CREATE VIRTUAL TABLE one USING kevo; INSERT INTO one VALUES('x', 1)");
    sql_exec(db, "BEGIN; SAVEPOINT s; CREATE VIRTUAL TABLE kv USING kevo;"
                 "INSERT INTO kv VALUES('a', 1); ROLLBACK TO s;"
                 "CREATE VIRTUAL TABLE kw USING kevo");
    expect_rows(db, "", "SELECT * FROM kw");
    sql_exec(db, "INSERT INTO kw VALUES('w', 1); COMMIT");
    expect_rows(db, "w|1", "SELECT * FROM kw");
    sql_exec(db, "BEGIN; SAVEPOINT s; CREATE VIRTUAL TABLE kv USING kevo;"
                 "INSERT INTO kv VALUES('a', 1); ROLLBACK TO s; COMMIT");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo");
    expect_rows(db, "", "SELECT * FROM kv");
    reopen();
    expect_rows(db, "w|1", "SELECT * FROM kw");
    expect_rows(db, "", "SELECT * FROM kv");
    expect_rows(db, "x|1", "SELECT * FROM one");
}
END_TEST

/* The same with the store itself, and a COMMIT that follows. */
START_TEST(create_store_then_rollback_to) {
    sql_exec(db, "CREATE TABLE plain(x); BEGIN; INSERT INTO plain VALUES(1); SAVEPOINT s;"
                 "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1);"
                 "CREATE VIRTUAL TABLE kw USING kevo; INSERT INTO kw VALUES('a', 1);"
                 "ROLLBACK TO s; COMMIT");
    expect_rows(db, "1", "SELECT * FROM plain");
    expect_rows(db, "plain", "SELECT name FROM sqlite_schema");
    sql_exec(db, "CREATE VIRTUAL TABLE kw USING kevo; CREATE VIRTUAL TABLE kv USING kevo");
    expect_rows(db, "", "SELECT * FROM kv UNION ALL SELECT * FROM kw");
    reopen();
    expect_rows(db, "", "SELECT * FROM kv UNION ALL SELECT * FROM kw");
}
END_TEST

START_TEST(create_then_commit_busy) {
    sql_exec(db, "PRAGMA journal_mode=DELETE; CREATE TABLE plain(x)");
    sqlite3 *other = sql_open(path);
    sqlite3_stmt *reader = sql_prepare(other, "SELECT count(*) FROM plain, sqlite_schema");
    ck_assert_int_eq(sqlite3_step(reader), SQLITE_ROW);
    sql_exec(db, "BEGIN; CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    sql_exec(db, "ROLLBACK; BEGIN; CREATE VIRTUAL TABLE kv USING kevo;"
                 "INSERT INTO kv VALUES('b', 1)");
    expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
    sqlite3_finalize(reader);
    sql_exec(db, "COMMIT");
    expect_rows(other, "b|1", "SELECT * FROM kv");
    sql_close(other);
    reopen();
    expect_rows(db, "b|1", "SELECT * FROM kv");
}
END_TEST

/* Another connection makes the table after this one's attempt was rolled back. */
START_TEST(create_then_rollback_then_another) {
    sqlite3 *other = sql_open(path);
    sql_exec(db, "BEGIN; CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1);"
                 "ROLLBACK");
    sql_exec(other, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('b', 1)");
    expect_rows(db, "b|1", "SELECT * FROM kv");
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('c', 1); SAVEPOINT s;"
                 "CREATE VIRTUAL TABLE kw USING kevo; INSERT INTO kw VALUES('a', 1);"
                 "ROLLBACK TO s; COMMIT");
    expect_rows(other, "b|1;c|1", "SELECT * FROM kv");
    sql_close(other);
    reopen();
    expect_rows(db, "b|1;c|1", "SELECT * FROM kv");
}
END_TEST

START_TEST(create_twice) {
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo");
    expect_error(db, SQLITE_ERROR, "already exists", "CREATE VIRTUAL TABLE kv USING kevo");
    sql_exec(db, "CREATE VIRTUAL TABLE IF NOT EXISTS kv USING kevo(a INTEGER PRIMARY KEY)");
    sql_exec(db, "INSERT INTO kv VALUES('a', 1)");
    expect_rows(db, "a|1", "SELECT * FROM kv");
}
END_TEST

/* ---- DROP ---------------------------------------------------------------------------- */

START_TEST(drop_then_create) {
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    sql_exec(db, "DROP TABLE kv");
    expect_error(db, SQLITE_ERROR, "no such table", "SELECT * FROM kv");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo");
    expect_rows(db, "", "SELECT * FROM kv");
    sql_exec(db, "INSERT INTO kv VALUES('b', 2)");
    reopen();
    expect_rows(db, "b|2", "SELECT * FROM kv");
}
END_TEST

START_TEST(drop_then_rollback) {
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    sql_exec(db, "BEGIN; DROP TABLE kv");
    expect_error(db, SQLITE_ERROR, "no such table", "SELECT * FROM kv");
    sql_exec(db, "ROLLBACK");
    expect_rows(db, "a|1", "SELECT * FROM kv");
    sql_exec(db, "INSERT INTO kv VALUES('b', 2)");
    sql_exec(db, "BEGIN; SAVEPOINT s; DROP TABLE kv; ROLLBACK TO s;"
                 "INSERT INTO kv VALUES('c', 3); COMMIT");
    reopen();
    expect_rows(db, "a|1;b|2;c|3", "SELECT * FROM kv");
    expect_sound("kv");
}
END_TEST

/* SQLite forgets a table at once when it is dropped, and would not commit its writes. */
START_TEST(drop_after_writes) {
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1);"
                 "CREATE TABLE plain(x); CREATE VIRTUAL TABLE two USING kevo");
    sql_exec(db, "BEGIN; INSERT INTO plain VALUES(1); INSERT INTO kv VALUES('b', 2)");
    sql_exec(db, "DROP TABLE kv; ROLLBACK");
    expect_rows(db, "a|1", "SELECT * FROM kv");
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('b', 2); INSERT INTO two VALUES('t', 1);"
                 "DROP TABLE kv; COMMIT");
    expect_rows(db, "t|1", "SELECT * FROM two");
    reopen();
    expect_rows(db, "t|1", "SELECT * FROM two");
    expect_error(db, SQLITE_ERROR, "no such table", "SELECT * FROM kv");
}
END_TEST

START_TEST(create_and_drop_in_one) {
    sql_exec(db, "BEGIN; CREATE VIRTUAL TABLE kv USING kevo; DROP TABLE kv; COMMIT");
    sql_exec(db, "BEGIN; CREATE VIRTUAL TABLE kv USING kevo; DROP TABLE kv;"
                 "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1); COMMIT");
    reopen();
    expect_rows(db, "a|1", "SELECT * FROM kv");
}
END_TEST

/* The other connection has the table open. */
START_TEST(drop_by_another) {
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    sqlite3 *other = sql_open(path);
    expect_rows(other, "a|1", "SELECT * FROM kv");
    sql_exec(db, "DROP TABLE kv");
    expect_error(other, SQLITE_ERROR, "no such table", "SELECT * FROM kv");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo(n INTEGER PRIMARY KEY, m TEXT)");
    sql_exec(other, "INSERT INTO kv VALUES(1, 'x')");
    expect_rows(db, "1|x", "SELECT * FROM kv");
    sql_close(other);
}
END_TEST

/* ---- RENAME --------------------------------------------------------------------------- */

START_TEST(rename_then_rollback) {
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    sql_exec(db, "BEGIN; ALTER TABLE kv RENAME TO other; INSERT INTO other VALUES('b', 2)");
    expect_rows(db, "a|1;b|2", "SELECT * FROM other");
    sql_exec(db, "ROLLBACK");
    expect_rows(db, "a|1", "SELECT * FROM kv");
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE constraint failed: kv.key",
                 "INSERT INTO kv VALUES('a', 2)");
    reopen();
    expect_rows(db, "a|1", "SELECT * FROM kv");
}
END_TEST

START_TEST(rename_and_commit) {
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    sql_exec(db, "ALTER TABLE kv RENAME TO \"odd \"\"name\"\"\"");
    expect_rows(db, "a|1", "SELECT * FROM \"odd \"\"name\"\"\"");
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE constraint failed: odd \"name\".key",
                 "INSERT INTO \"odd \"\"name\"\"\" VALUES('a', 2)");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo");
    expect_rows(db, "", "SELECT * FROM kv");
    reopen();
    expect_rows(db, "a|1", "SELECT * FROM \"odd \"\"name\"\"\"");
    sql_exec(db, "ALTER TABLE \"odd \"\"name\"\"\" RENAME TO Kv2; ALTER TABLE kv2 RENAME TO KV3");
    expect_rows(db, "a|1", "SELECT * FROM kv3");
}
END_TEST

/* ---- names of kevo's own --------------------------------------------------------------- */

static const char reserved[] = "give the table another name";

static void expect_reserved(const char *name) {
    expect_error(db, SQLITE_ERROR, reserved, "CREATE VIRTUAL TABLE \"%w\" USING kevo", name);
    expect_error(db, SQLITE_ERROR, reserved, "ALTER TABLE other RENAME TO \"%w\"", name);
}

/* All of the functions that there are, however they are written, and the bookkeeping. */
START_TEST(reserved_names) {
    static const char *const tables[] = {"kevo_store", "kevo_marker", "kevo_table"};
    sqlite3_stmt *stmt =
        sql_prepare(db, "SELECT name FROM pragma_module_list WHERE name GLOB 'kevo_*'");
    int names = 0;
    for (int i = 0; i < 3; i++)
        expect_error(db, SQLITE_ERROR, reserved, "CREATE VIRTUAL TABLE %s USING kevo", tables[i]);
    expect_rows(db, "", "SELECT name FROM sqlite_schema");
    sql_exec(db, "CREATE VIRTUAL TABLE other USING kevo; INSERT INTO other VALUES('a', 1)");
    for (; sqlite3_step(stmt) == SQLITE_ROW; names++)
        expect_reserved((const char *)sqlite3_column_text(stmt, 0));
    expect_reserved("KEVO_Stats");
    sqlite3_finalize(stmt);
    ck_assert_int_eq(names, 6);
    expect_rows(db, "a|1", "SELECT * FROM other");
    sql_exec(db, "CREATE VIRTUAL TABLE kevo USING kevo; ALTER TABLE kevo RENAME TO kevo_stat");
    expect_rows(db, "kevo_stat;other", "SELECT name FROM kevo_tables ORDER BY name");
}
END_TEST

/* ---- databases without a file ------------------------------------------------------------ */

START_TEST(memory_alone) {
    sqlite3 *memory = sql_open(":memory:");
    sql_exec(memory, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    sql_exec(memory, "BEGIN; DELETE FROM kv; ROLLBACK");
    expect_rows(memory, "a|1", "SELECT * FROM kv");
    /* SQLite forgets the schema, and connects the table again. */
    sql_exec(memory, "PRAGMA writable_schema=RESET");
    expect_rows(memory, "a|1", "SELECT * FROM kv");
    sql_exec(memory, "BEGIN; DROP TABLE kv; ROLLBACK");
    expect_rows(memory, "a|1", "SELECT * FROM kv");
    sql_exec(memory, "DROP TABLE kv; CREATE VIRTUAL TABLE kv USING kevo");
    expect_rows(memory, "", "SELECT * FROM kv");
    sql_close(memory);
}
END_TEST

START_TEST(memory_with_directory) {
    const char *dir = sql_file("store");
    for (int round = 0; round < 3; round++) {
        sqlite3 *memory = sql_open(":memory:");
        sql_exec(memory, "CREATE VIRTUAL TABLE kv USING kevo(%Q)", dir);
        ck_assert_int_eq(sql_int(memory, "SELECT count(*) FROM kv"), round);
        sql_exec(memory, "BEGIN; INSERT INTO kv VALUES('lost', 1); ROLLBACK");
        sql_exec(memory, "INSERT INTO kv VALUES(%d, %d)", round, round);
        expect_rows(memory, "ok", "SELECT kevo_flush('kv')");
        expect_rows(memory, "ok", "SELECT kevo_check('kv')");
        sql_close(memory);
    }
}
END_TEST

/* A database in memory may have the name that some file has: it has nothing to do with that. */
START_TEST(memory_with_a_name) {
    sqlite3 *memory = NULL;
    char *uri = sqlite3_mprintf("file:%s?vfs=memdb", path);
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI;
    ck_assert_int_eq(sqlite3_open_v2(uri, &memory, flags, NULL), SQLITE_OK);
    ck_assert_int_eq(sql_load(memory), SQLITE_OK);
    sql_exec(memory, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('m', 2)");
    expect_rows(memory, "m|2", "SELECT * FROM kv");
    expect_rows(memory, "1", "SELECT store = '' FROM kevo_tables");
    expect_rows(db, "a|1", "SELECT * FROM kv");
    sql_close(memory);
    sqlite3_free(uri);
}
END_TEST

/* A copy in memory has no store. */
START_TEST(deserialized) {
    sqlite3_int64 size;
    sqlite3 *memory = sql_open(":memory:");
    sql_exec(db, "PRAGMA journal_mode=DELETE; CREATE VIRTUAL TABLE kv USING kevo;"
                 "INSERT INTO kv VALUES('a', 1)");
    unsigned char *image = sqlite3_serialize(db, "main", &size, 0);
    ck_assert_int_eq(sqlite3_deserialize(memory, "main", image, size, size, 0), SQLITE_OK);
    expect_error(memory, SQLITE_CANTOPEN, "one in memory goes with its connection",
                 "SELECT * FROM kv");
    sql_close(memory);
    sqlite3_free(image);
}
END_TEST

/* An id that a dropped table had is not given to another: its rows would come back. */
START_TEST(memory_drop_and_create) {
    const char *dir = sql_file("store");
    sqlite3 *memory = sql_open(":memory:");
    sql_exec(memory, "CREATE VIRTUAL TABLE kv USING kevo(%Q); INSERT INTO kv VALUES('a', 1)", dir);
    sql_exec(memory, "DROP TABLE kv; CREATE VIRTUAL TABLE kv USING kevo(%Q)", dir);
    expect_rows(memory, "", "SELECT * FROM kv");
    sql_exec(memory, "INSERT INTO kv VALUES('b', 1); DROP TABLE kv");
    sql_close(memory);
    memory = sql_open(":memory:");
    sql_exec(memory, "CREATE VIRTUAL TABLE kv USING kevo(%Q)", dir);
    expect_rows(memory, "", "SELECT * FROM kv");
    sql_exec(memory, "CREATE VIRTUAL TABLE kw USING kevo(%Q)", dir);
    expect_rows(memory, "", "SELECT * FROM kw");
    sql_close(memory);
}
END_TEST

START_TEST(memory_other_columns) {
    const char *dir = sql_file("store");
    sqlite3 *memory = sql_open(":memory:");
    sql_exec(memory, "CREATE VIRTUAL TABLE kv USING kevo(%Q); INSERT INTO kv VALUES('a', 1)", dir);
    sql_close(memory);
    memory = sql_open(":memory:");
    expect_error(memory, SQLITE_ERROR, "other columns",
                 "CREATE VIRTUAL TABLE kv USING kevo(%Q, a INTEGER PRIMARY KEY)", dir);
    sql_exec(memory, "CREATE VIRTUAL TABLE kv2 USING kevo(%Q, a INTEGER PRIMARY KEY)", dir);
    sql_exec(memory, "CREATE VIRTUAL TABLE KV USING kevo(%Q)", dir);
    expect_rows(memory, "a|1", "SELECT * FROM kv");
    sql_close(memory);
}
END_TEST

START_TEST(temp_tables) {
    sql_exec(db, "CREATE VIRTUAL TABLE temp.t USING kevo; INSERT INTO t VALUES('a', 1)");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('b', 2)");
    sql_exec(db, "BEGIN; INSERT INTO kv SELECT * FROM t; DELETE FROM t; ROLLBACK");
    expect_rows(db, "a|1", "SELECT * FROM t");
    sql_exec(db, "INSERT INTO kv SELECT * FROM t");
    expect_rows(db, "a|1;b|2", "SELECT * FROM kv");
    reopen();
    expect_error(db, SQLITE_ERROR, "no such table", "SELECT * FROM t");
    expect_rows(db, "a|1;b|2", "SELECT * FROM kv");
}
END_TEST

/* ---- several databases ------------------------------------------------------------------- */

START_TEST(attached) {
    const char *second = sql_file("second.db");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; ATTACH %Q AS aux", second);
    sql_exec(db, "CREATE VIRTUAL TABLE aux.kv USING kevo");
    sql_exec(db, "BEGIN; INSERT INTO main.kv VALUES('m', 1); INSERT INTO aux.kv VALUES('x', 2);"
                 "COMMIT; BEGIN; DELETE FROM kv; DELETE FROM aux.kv; ROLLBACK");
    expect_rows(db, "m|1|x|2", "SELECT * FROM main.kv JOIN aux.kv AS x");
    sql_exec(db, "UPDATE aux.kv SET value = (SELECT value + 10 FROM main.kv)");
    sql_exec(db, "DETACH aux");
    expect_rows(db, "m|1", "SELECT * FROM kv");
    sqlite3 *other = sql_open(second);
    expect_rows(other, "x|11", "SELECT * FROM kv");
    sql_close(other);
}
END_TEST

/* One file under two names in one connection: SQLite keeps the two apart by its locks. */
START_TEST(attached_twice) {
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    sql_exec(db, "ATTACH %Q AS again", path);
    expect_rows(db, "a|1", "SELECT * FROM again.kv");
    sql_exec(db, "INSERT INTO again.kv VALUES('b', 2)");
    expect_rows(db, "a|1;b|2", "SELECT * FROM main.kv");
    sql_exec(db, "BEGIN; INSERT INTO main.kv VALUES('c', 3)");
    expect_error(db, SQLITE_BUSY, "locked", "INSERT INTO again.kv VALUES('d', 4)");
    sql_exec(db, "COMMIT");
    expect_rows(db, "a|1;b|2;c|3", "SELECT * FROM again.kv");
}
END_TEST

START_TEST(shared_directory) {
    const char *dir = sql_file("store");
    sql_exec(db, "CREATE VIRTUAL TABLE a USING kevo(%Q); CREATE VIRTUAL TABLE b USING kevo(%Q)",
             dir, dir);
    sql_exec(db, "CREATE VIRTUAL TABLE c USING kevo");
    sql_exec(db, "BEGIN; INSERT INTO a VALUES('k', 1); INSERT INTO b VALUES('k', 2);"
                 "INSERT INTO c VALUES('k', 3); COMMIT");
    expect_rows(db, "k|1;k|2;k|3",
                "SELECT * FROM a UNION ALL SELECT * FROM b UNION ALL SELECT * FROM c");
    ck_assert_int_eq(sql_int(db, "SELECT count(*) FROM kevo_store"), 2);
    /* Another database may not have it. */
    sqlite3 *other = sql_open(sql_file("other.db"));
    ck_assert_int_ne(sql_try(other, "CREATE VIRTUAL TABLE a USING kevo(%Q)", dir), SQLITE_OK);
    reopen();
    expect_error(other, SQLITE_CANTOPEN, "another database",
                 "CREATE VIRTUAL TABLE a USING kevo(%Q)", dir);
    sql_close(other);
    expect_rows(db, "k|1;k|2;k|3",
                "SELECT * FROM a UNION ALL SELECT * FROM b UNION ALL SELECT * FROM c");
}
END_TEST

/* A relative directory goes with the database file. */
START_TEST(relative_directory) {
    char from[1200], to[1200];
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo('rel.store'); INSERT INTO kv VALUES('a', 1)");
    sql_close(db);
    const char *folder = scratch_dir();
    snprintf(to, sizeof to, "%s/app.db", folder);
    ck_assert_int_eq(rename(path, to), 0);
    snprintf(from, sizeof from, "%.*s/rel.store", (int)(strrchr(path, '/') - path), path);
    snprintf(to, sizeof to, "%s/rel.store", folder);
    ck_assert_int_eq(rename(from, to), 0);
    snprintf(to, sizeof to, "%s/app.db", folder);
    db = sql_open(to);
    expect_rows(db, "a|1", "SELECT * FROM kv");
}
END_TEST

START_TEST(file_mode) {
    struct stat st;
    char store[1200];
    ck_assert_int_eq(chmod(path, 0600), 0);
    reopen();
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    snprintf(store, sizeof store, "%s-kevo", path);
    ck_assert_int_eq(stat(store, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    snprintf(store, sizeof store, "%s-kevo/MANIFEST", path);
    ck_assert_int_eq(stat(store, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
}
END_TEST

/* ---- bad arguments --------------------------------------------------------------------------- */

static const struct {
    const char *arguments, *message;
} bad[] = {
    {"a WIBBLE", "WIBBLE"},
    {"wibble=3", "wibble"},
    {"sync=sometimes", "sometimes"},
    {"''", "empty"},
    {"'x', 'y'", "y"},
    {"a INTEGER, a TEXT", "a"},
    {"a TEXT DEFAULT 1", "DEFAULT"},
    {"a TEXT UNIQUE ON CONFLICT FAIL", "ON CONFLICT"},
    {"a TEXT CHECK(a > 1)", "CHECK"},
    {"a TEXT COLLATE NOCASE PRIMARY KEY", "NOCASE"},
    {"a ANY PRIMARY KEY", "ANY"},
    {"a TEXT, PRIMARY KEY(b)", "b"},
    {"a TEXT PRIMARY KEY, b TEXT PRIMARY KEY", "PRIMARY KEY"},
};

/* What the store of `path` has kept, as the engine says. */
static struct kevo_options kept_options(void) {
    char dir[1200];
    struct kevo_options o;
    kevo_store *s;
    kevo_options_default(&o);
    o.use_kept = true;
    o.create_if_missing = o.background = false;
    o.authority = KEVO_AUTHORITY_EXTERNAL;
    snprintf(dir, sizeof dir, "%s-kevo", path);
    ck_ok(kevo_open(dir, &o, &s, &test_err));
    kevo_get_options(s, &o);
    kevo_close(s);
    return o;
}

START_TEST(options_are_the_stores) {
    struct kevo_options o;
    sql_exec(db, "CREATE VIRTUAL TABLE a USING kevo(memtable_size='1 MB', l0_stop=50)");
    expect_error(db, SQLITE_ERROR, "option l0_slow belongs to the store",
                 "CREATE VIRTUAL TABLE b USING kevo(l0_slow=5)");
    sql_exec(db, "CREATE VIRTUAL TABLE b USING kevo; INSERT INTO b VALUES('a', 1)");
    /* They outlive the definition that gave them. */
    sql_exec(db, "DROP TABLE a");
    reopen();
    sql_exec(db, "INSERT INTO b VALUES('b', 2)");
    sql_close(db);
    db = NULL;
    o = kept_options();
    ck_assert(o.memtable_bytes == 1 << 20 && o.l0_stop == 50 && o.l0_slow == 20);
    db = sql_open(path);
    expect_rows(db, "a|1;b|2", "SELECT * FROM b");
    /* Refused when the store is made: two that do not go together. */
    expect_error(db, SQLITE_ERROR, "must not be below l0_slow, which is 20",
                 "CREATE VIRTUAL TABLE c USING kevo('c.store', l0_stop=5)");
}
END_TEST

/* The last table was dropped, and another connection has the store open. */
START_TEST(options_of_a_store_in_use) {
    static const char make[] = "CREATE VIRTUAL TABLE a USING kevo";
    sql_exec(db, "%s(memtable_size='1 MB', l0_stop=50); INSERT INTO a VALUES('a', 1)", make);
    sqlite3 *other = sql_open(path);
    expect_rows(other, "a|1", "SELECT * FROM a");
    sql_exec(db, "DROP TABLE a");
    expect_error(db, SQLITE_ERROR, "memtable_size would be 32 MB here, but is 1 MB", "%s", make);
    expect_error(db, SQLITE_ERROR, "l0_stop would be 32 here, but is 50",
                 "%s(memtable_size='1 MB')", make);
    expect_error(db, SQLITE_ERROR, "another connection has open: close that one",
                 "%s(memtable_size='1 MB', l0_stop=50, sync=off)", make);
    sql_exec(db, "%s(memtable_size=1048576, l0_stop=50); INSERT INTO a VALUES('b', 2)", make);
    expect_rows(other, "b|2", "SELECT * FROM a");
    expect_rows(db, "50", "SELECT value FROM kevo_options('a') WHERE name = 'l0_stop'");
    /* In a transaction it is the store of a table that may come back. */
    sql_exec(db, "BEGIN; DROP TABLE a; %s; ROLLBACK; BEGIN; DROP TABLE a; %s; COMMIT", make, make);
    expect_rows(db, "1 MB", "SELECT value FROM kevo_options('a') WHERE name = 'memtable_size'");
    /* And nobody else has it open. */
    sql_close(other);
    sql_exec(db, "DROP TABLE a; %s(l0_stop=60)", make);
    expect_rows(db, "60", "SELECT value FROM kevo_options('a') WHERE name = 'l0_stop'");
    expect_rows(db, "32 MB", "SELECT value FROM kevo_options('a') WHERE name = 'memtable_size'");
}
END_TEST

/* A store of its own authority is found again by CREATE. */
START_TEST(options_given_again_replace_those_kept) {
    const char *dir = sql_file("memory.store");
    struct kevo_options o;
    kevo_store *s;
    static const char *const definitions[] = {"filter_bits=3, sync=off", "filter_bits=4", ""};
    static const unsigned bits[] = {3, 4, 4};
    for (int i = 0; i < 3; i++) {
        sqlite3 *m = sql_open(":memory:");
        sql_exec(m, "CREATE VIRTUAL TABLE kv USING kevo(%Q %s %s)", dir, *definitions[i] ? "," : "",
                 definitions[i]);
        sql_exec(m, "INSERT INTO kv VALUES(%d, 1)", i);
        sql_close(m);
        kevo_options_default(&o);
        ck_ok(kevo_open(dir, NULL, &s, &test_err));
        kevo_get_options(s, &o);
        kevo_close(s);
        ck_assert_uint_eq(o.filter_bits_per_key, bits[i]);
        ck_assert_int_eq(o.sync, i == 0 ? KEVO_SYNC_OFF : KEVO_SYNC_FULL);
    }
}
END_TEST

START_TEST(bad_arguments) {
    expect_error(db, SQLITE_ERROR, bad[_i].message, "CREATE VIRTUAL TABLE t USING kevo(%s)",
                 bad[_i].arguments);
    /* Nothing is left, not even the directory. */
    char store[1200];
    snprintf(store, sizeof store, "%s-kevo", path);
    ck_assert_int_ne(access(store, F_OK), 0);
    expect_rows(db, "", "SELECT name FROM sqlite_schema");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ddl");
    TCase *tcase = tcase_create("ddl");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, create_then_rollback);
    tcase_add_test(tcase, create_then_rollback_then_reopen);
    tcase_add_test(tcase, create_then_veto);
    tcase_add_test(tcase, create_then_rollback_to);
    tcase_add_test(tcase, create_second_then_rollback_to);
    tcase_add_test(tcase, create_alone_then_rollback_to);
    tcase_add_test(tcase, create_store_then_rollback_to);
    tcase_add_test(tcase, create_then_commit_busy);
    tcase_add_test(tcase, create_then_rollback_then_another);
    tcase_add_test(tcase, create_twice);
    tcase_add_test(tcase, drop_then_create);
    tcase_add_test(tcase, drop_then_rollback);
    tcase_add_test(tcase, drop_after_writes);
    tcase_add_test(tcase, create_and_drop_in_one);
    tcase_add_test(tcase, drop_by_another);
    tcase_add_test(tcase, rename_then_rollback);
    tcase_add_test(tcase, rename_and_commit);
    tcase_add_test(tcase, reserved_names);
    tcase_add_test(tcase, memory_alone);
    tcase_add_test(tcase, memory_with_directory);
    tcase_add_test(tcase, memory_with_a_name);
    tcase_add_test(tcase, deserialized);
    tcase_add_test(tcase, memory_drop_and_create);
    tcase_add_test(tcase, memory_other_columns);
    tcase_add_test(tcase, temp_tables);
    tcase_add_test(tcase, attached);
    tcase_add_test(tcase, attached_twice);
    tcase_add_test(tcase, shared_directory);
    tcase_add_test(tcase, relative_directory);
    tcase_add_test(tcase, file_mode);
    tcase_add_test(tcase, options_are_the_stores);
    tcase_add_test(tcase, options_of_a_store_in_use);
    tcase_add_test(tcase, options_given_again_replace_those_kept);
    tcase_add_loop_test(tcase, bad_arguments, 0, (int)(sizeof bad / sizeof bad[0]));
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
