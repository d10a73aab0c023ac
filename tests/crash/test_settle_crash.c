/* Power lost while a store settles: at every change of the disk that SQLite's files and the
 * store's lie on, from the last commit until all is quiet. A row is in the ordinary table and in
 * the kevo table, or in neither; once the store has settled every row is in both. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "ext/durable.h"
#include "ext/world.h"
#include "tests/lib/crash_env.h"
#include "tests/lib/disk_vfs.h"
#include "tests/lib/linked.h"
#include "tests/lib/sql.h"

enum { MAX_IMAGES = 400, TRANSACTIONS = 30, ROWS = 20 };

static const struct {
    const char *journal, *synchronous;
} kinds[] = {
    {"WAL", "NORMAL"},      {"WAL", "FULL"},     {"DELETE", "NORMAL"},
    {"TRUNCATE", "NORMAL"}, {"PERSIST", "FULL"}, {"DELETE", "EXTRA"},
};

static struct env *disk;
static struct env *images[MAX_IMAGES]; /* each draws on the disk as it was */
static unsigned image_count;

static sqlite3 *open_on(struct disk_vfs *vfs, int kind) {
    sqlite3 *db;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE;
    ck_assert_int_eq(sqlite3_open_v2("/app.db", &db, flags, disk_vfs_name(vfs)), SQLITE_OK);
    sql_exec(db, "PRAGMA journal_mode=%s; PRAGMA synchronous=%s", kinds[kind].journal,
             kinds[kind].synchronous);
    return db;
}

/* Changes wait for this, so it is never two at once. */
static void draw(void *arg) {
    (void)arg;
    for (enum crash_mode mode = 0; mode < CRASH_MODES && image_count < MAX_IMAGES; mode++) {
        images[image_count] = crash_env_image(disk, mode, image_count);
        image_count++;
    }
}

static sqlite3_int64 figure(sqlite3 *db, const char *name) {
    return sql_int(db, "SELECT value FROM kevo_stats('kv') WHERE name = %Q", name);
}

static void write_rows(sqlite3 *db) {
    sql_exec(db, "CREATE TABLE plain(id INTEGER PRIMARY KEY);"
                 "CREATE VIRTUAL TABLE kv USING kevo(id INTEGER PRIMARY KEY, x BLOB, "
                 "memtable_size='256 KB', settle_ms=100, retain_ms=1, l0_trigger=2)");
    for (int t = 0; t < TRANSACTIONS; t++) {
        sql_exec(db, "BEGIN");
        for (int i = t * ROWS; i < (t + 1) * ROWS; i++)
            sql_exec(db, "INSERT INTO plain VALUES(%d); INSERT INTO kv VALUES(%d, zeroblob(200))",
                     i, i);
        sql_exec(db, "COMMIT");
    }
}

static void check_image(struct env *image, int kind, bool settled, unsigned n) {
    struct disk_vfs *vfs = disk_vfs_new(image, true);
    world = (struct world){.env = image, .no_threads = true};
    sqlite3 *db = open_on(vfs, kind);
    const char *rows = sql_rows(db, "SELECT (SELECT count(*) FROM plain), count(*), "
                                    "kevo_check('kv') FROM kv");
    sqlite3_int64 count = sql_int(db, "SELECT count(*) FROM plain");
    char expected[60];
    snprintf(expected, sizeof expected, "%lld|%lld|ok", (long long)count, (long long)count);
    ck_assert_msg(strcmp(rows, expected) == 0, "image %u: %s", n, rows);
    ck_assert_msg(count % ROWS == 0 && (!settled || count == TRANSACTIONS * ROWS),
                  "image %u: %lld rows", n, (long long)count);
    expect_rows(db, "", "SELECT id FROM plain EXCEPT SELECT id FROM kv");
    sql_exec(db, "INSERT INTO kv VALUES(-1, x'01')");
    sql_close(db);
    disk_vfs_free(vfs);
}

START_TEST(power_lost_while_it_settles) {
    sqlite3_auto_extension((void (*)(void))linked_load);
    disk = crash_env_new();
    image_count = 0;
    struct disk_vfs *vfs = disk_vfs_new(disk, true);
    world = (struct world){.env = disk};
    sqlite3 *db = open_on(vfs, _i);
    write_rows(db);
    crash_env_watch(disk, draw, NULL);
    for (int n = 0; n < 3000 && figure(db, "settled_merges") == 0; n++)
        sqlite3_sleep(10);
    crash_env_watch(disk, NULL, NULL);
    ck_assert_int_ge(figure(db, "settled_memtables"), 1);
    ck_assert_int_ge(figure(db, "settled_merges"), 1);
    struct env *end = crash_env_image(disk, CRASH_DROPPED, 0);
    sql_close(db);
    disk_vfs_free(vfs);
    ck_assert_uint_gt(image_count, 10 * CRASH_MODES);
    for (unsigned n = 0; n < image_count; n++) {
        check_image(images[n], _i, false, n);
        crash_env_free(images[n]);
    }
    check_image(end, _i, true, image_count);
    crash_env_free(end);
    crash_env_free(disk);
    world = (struct world){0};
}
END_TEST

static int (*plain_open)(struct env *, const char *, unsigned, unsigned, struct env_file **,
                         struct kevo_err *);
static bool refuses;

static int open_too_late(struct env *e, const char *path, unsigned flags, unsigned mode,
                         struct env_file **file, struct kevo_err *err) {
    if (!refuses && e->unlink(e, path, err)) return KEVO_IOERR;
    if (err) *err = (struct kevo_err){KEVO_CANTOPEN, "cannot open"};
    return refuses ? KEVO_CANTOPEN : plain_open(e, path, flags, mode, file, err);
}

/* SQLite ends a transaction in the moment between a look at its journal and opening it. */
START_TEST(a_journal_that_has_just_gone) {
    struct env_file *file;
    struct kevo_err err;
    disk = crash_env_new();
    world = (struct world){.env = disk};
    plain_open = disk->open;
    ck_assert_int_eq(disk->open(disk, "/app.db-journal", ENV_WRITE | ENV_CREATE, 0600, &file, &err),
                     0);
    disk->close(disk, file);
    disk->open = open_too_late;
    refuses = true;
    ck_assert_int_eq(durable_database("/app.db", &err), KEVO_CANTOPEN);
    refuses = false;
    ck_assert_int_eq(durable_database("/app.db", &err), 0);
    disk->open = plain_open;
    world = (struct world){0};
    crash_env_free(disk);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("settle_crash");
    TCase *tc = tcase_create("settle_crash");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, power_lost_while_it_settles, 0, sizeof kinds / sizeof kinds[0]);
    tcase_add_test(tc, a_journal_that_has_just_gone);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
