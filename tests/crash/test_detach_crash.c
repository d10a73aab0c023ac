/* DETACH closes a store, which writes what it has in memory to a table; then power is lost. What is
 * in a table cannot be taken back, so all of it must be durable on SQLite's side by then, of which
 * nothing but the file's name is left: the schema has gone before. */
#include <stdio.h>

#include "ext/world.h"
#include "tests/lib/crash_env.h"
#include "tests/lib/disk_vfs.h"
#include "tests/lib/linked.h"
#include "tests/lib/sql.h"

enum { ROWS = 200, IMAGES = 6 };

static const struct {
    const char *journal, *synchronous;
    bool with_reader; /* who keeps the log of WAL mode from being checkpointed */
} modes[] = {
    {"DELETE", "FULL", false},    {"DELETE", "NORMAL", false}, {"TRUNCATE", "NORMAL", false},
    {"PERSIST", "NORMAL", false}, {"WAL", "NORMAL", false},    {"WAL", "NORMAL", true},
};

static sqlite3 *open_at(struct disk_vfs *vfs, const char *path) {
    sqlite3 *db;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE;
    ck_assert_int_eq(sqlite3_open_v2(path, &db, flags, disk_vfs_name(vfs)), SQLITE_OK);
    return db;
}

/* Both kinds of tables have the same rows, and writing goes on. */
static void look_at(struct env *disk, int seed) {
    struct env *image = crash_env_image(disk, seed ? CRASH_RANDOM : CRASH_DROPPED, (unsigned)seed);
    struct disk_vfs *vfs = disk_vfs_new(image, true);
    world = (struct world){.env = image, .no_threads = true};
    sqlite3 *db = open_at(vfs, "/aux.db");
    expect_rows(db, "1", "SELECT (SELECT count(*) FROM plain) = (SELECT count(*) FROM kv)");
    sql_exec(db, "INSERT INTO kv VALUES(-1, x'01')");
    expect_rows(db, "ok", "SELECT kevo_check('kv')");
    sql_close(db);
    disk_vfs_free(vfs);
    crash_env_free(image);
}

START_TEST(detach) {
    sqlite3_auto_extension((void (*)(void))linked_load);
    struct env *disk = crash_env_new();
    struct disk_vfs *vfs = disk_vfs_new(disk, true);
    world = (struct world){.env = disk};
    sqlite3 *db = open_at(vfs, "/main.db"), *reader = NULL;
    sql_exec(db, "ATTACH '/aux.db' AS x; PRAGMA x.journal_mode=%s; PRAGMA x.synchronous=%s",
             modes[_i].journal, modes[_i].synchronous);
    sql_exec(db, "PRAGMA wal_autocheckpoint=0; CREATE TABLE x.plain(id INTEGER PRIMARY KEY); "
                 "CREATE VIRTUAL TABLE x.kv USING kevo(id INTEGER PRIMARY KEY, body BLOB, "
                 "settle_ms=0)");
    if (modes[_i].with_reader) {
        reader = open_at(vfs, "/aux.db");
        sql_exec(reader, "PRAGMA wal_autocheckpoint=0; SELECT count(*) FROM plain");
    }
    for (int i = 0; i < ROWS; i++)
        sql_exec(db,
                 "BEGIN; INSERT INTO x.plain VALUES(%d); INSERT INTO x.kv VALUES(%d, "
                 "randomblob(5000)); COMMIT",
                 i, i);
    sql_exec(db, "DETACH x");
    expect_rows(db, "1", "SELECT 1"); /* what is left of the tables goes with the next statement */
    for (int seed = 0; seed < IMAGES; seed++) {
        look_at(disk, seed);
        world = (struct world){.env = disk};
    }
    if (reader) sql_close(reader);
    sql_close(db);
    disk_vfs_free(vfs);
    crash_env_free(disk);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("detach_crash");
    TCase *tcase = tcase_create("detach_crash");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, detach, 0, sizeof modes / sizeof modes[0]);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
