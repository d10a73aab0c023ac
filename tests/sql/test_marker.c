/* What the marker keeps of the log: the end of it that is not durable yet, in a page that every
 * commit writes and in pages behind that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/sql.h"

enum { COMMITS = 260, FIGURES = 5 };

static const char *dir; /* with a slash at the end */
static char path[1200];

static void setup(void) {
    static char text[1100];
    snprintf(text, sizeof text, "%s", sql_file(""));
    dir = text;
    snprintf(path, sizeof path, "%sa.db", dir);
}

#define shell(...) sql_shell(dir, __VA_ARGS__)

static sqlite3 *open_with(int page_bytes, const char *journal) {
    sqlite3 *db = sql_open(path);
    sql_exec(db, "PRAGMA page_size=%d; PRAGMA journal_mode=%s; PRAGMA synchronous=NORMAL",
             page_bytes, journal);
    return db;
}

/* Commits of a row each, of 0 to `most` bytes, into kv and beside it. */
static void commit_rows(sqlite3 *db, int from, int to, int most) {
    for (int i = from; i < to; i++) {
        int bytes = i * 7919 % (most + 1);
        sql_exec(db,
                 "BEGIN; INSERT INTO kv VALUES(%d, zeroblob(%d)); "
                 "INSERT INTO plain VALUES(%d, zeroblob(%d)); COMMIT",
                 i, bytes, i, bytes);
    }
}

static void expect_same(const char *name, int count) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%d|0|0", count);
    sqlite3 *db = sql_open(name);
    expect_rows(db, wanted,
                "SELECT (SELECT count(*) FROM kv), "
                "(SELECT count(*) FROM (SELECT * FROM plain EXCEPT SELECT * FROM kv)), "
                "(SELECT count(*) FROM (SELECT * FROM kv EXCEPT SELECT * FROM plain))");
    expect_rows(db, "ok", "SELECT kevo_check('kv')");
    sql_exec(db, "INSERT INTO kv VALUES(-1, x'01'); DELETE FROM kv WHERE key = -1");
    sql_close(db);
}

static const struct {
    int page_bytes;
    const char *journal;
    int most;
} figures[FIGURES] = {
    {4096, "WAL", 100},    {512, "WAL", 300},   {65536, "WAL", 100},
    {4096, "DELETE", 100}, {4096, "WAL", 9000},
};

static const char tables[] =
    "CREATE VIRTUAL TABLE kv USING kevo(key INTEGER PRIMARY KEY, value BLOB);"
    "CREATE TABLE plain(key INTEGER PRIMARY KEY, value BLOB)";

/* The log loses all that was written since its first commit, as it may when power is lost: the
 * marker has it. Looked at while the connection that wrote is open, as a crash would leave it. */
START_TEST(log_is_lost) {
    sqlite3 *db = open_with(figures[_i].page_bytes, figures[_i].journal);
    sql_exec(db, "%s", tables);
    commit_rows(db, 0, 1, 10);
    shell("cp -r a.db-kevo older");
    /* As long as nothing had to be synced. */
    int count = 1;
    const char *syncs = "SELECT value FROM kevo_stats('kv') WHERE name = 'log_syncs'";
    char before[32];
    snprintf(before, sizeof before, "%s", sql_rows(db, "%s", syncs));
    while (count < COMMITS && strcmp(sql_rows(db, "%s", syncs), before) == 0) {
        shell("rm -rf lost && mkdir lost && cp a.db lost && cp -r older lost/a.db-kevo && "
              "if [ -f a.db-wal ]; then cp a.db-wal lost; fi");
        commit_rows(db, count, count + 13, figures[_i].most);
        count += 13;
    }
    ck_assert_int_gt(count, figures[_i].most > 1000 ? 13 : 200);
    char lost[1300];
    snprintf(lost, sizeof lost, "%slost/a.db", dir);
    expect_same(lost, count - 13);
    sql_close(db);
    expect_same(path, count);
}
END_TEST

/* Rolled back, the bytes in `log` are those of before. */
START_TEST(rolled_back_in_between) {
    sqlite3 *db = open_with(figures[_i].page_bytes, figures[_i].journal);
    sqlite3 *reader = sql_open(path);
    sql_exec(db, "%s", tables);
    for (int i = 0; i < COMMITS; i += 10) {
        commit_rows(db, i, i + 10, figures[_i].most);
        /* A batch that is in the log and never was. */
        if (strcmp(figures[_i].journal, "DELETE") == 0) {
            sql_exec(reader, "BEGIN; SELECT count(*) FROM plain");
            sql_exec(db, "BEGIN; INSERT INTO kv VALUES(-5, zeroblob(3000))");
            expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
            sql_exec(reader, "COMMIT");
        } else {
            sql_exec(db, "BEGIN; INSERT INTO kv VALUES(-5, zeroblob(3000))");
        }
        sql_exec(db, "ROLLBACK");
        if (i % 50 == 0) {
            sql_close(db);
            db = open_with(figures[_i].page_bytes, figures[_i].journal);
        }
    }
    sql_close(reader);
    sql_close(db);
    expect_same(path, COMMITS);
}
END_TEST

/* What was kept of the log up to a sync is not taken for what is behind it. */
START_TEST(after_a_flush) {
    sqlite3 *db = open_with(figures[_i].page_bytes, figures[_i].journal);
    sql_exec(db, "%s", tables);
    commit_rows(db, 0, 100, 40);
    sql_exec(db, "SELECT kevo_flush('kv')");
    shell("cp -r a.db-kevo older");
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES(1000, randomblob(27000)); "
                 "INSERT INTO plain SELECT * FROM kv WHERE key = 1000; COMMIT");
    sql_close(db);
    shell("rm -r a.db-kevo && mv older a.db-kevo");
    expect_same(path, 101);
}
END_TEST

/* Three hundred small commits need hardly a sync of the log. */
START_TEST(hardly_a_sync) {
    sqlite3 *db = open_with(4096, "WAL");
    sql_exec(db, "%s", tables);
    commit_rows(db, 0, 1, 10);
    const char *syncs = "SELECT value FROM kevo_stats('kv') WHERE name = 'log_syncs'";
    int before = atoi(sql_rows(db, "%s", syncs));
    commit_rows(db, 1, 300, 40);
    ck_assert_int_le(atoi(sql_rows(db, "%s", syncs)) - before, 1);
    sql_close(db);
    expect_same(path, 300);
}
END_TEST

/* A database of an earlier build has no column for that. */
START_TEST(without_the_column) {
    sqlite3 *db = open_with(4096, "WAL");
    sql_exec(db, "%s", tables);
    sql_exec(db, "UPDATE kevo_marker SET state = CAST(substr(state, 1, 40) || zeroblob(8) || "
                 "substr(state, 49) AS BLOB)");
    sql_close(db);
    db = sql_open_plain(path);
    sql_exec(db, "ALTER TABLE kevo_marker DROP COLUMN log");
    sql_close(db);
    db = open_with(4096, "WAL");
    commit_rows(db, 0, 100, 100);
    sql_exec(db, "CREATE VIRTUAL TABLE second USING kevo('second.store'); "
                 "INSERT INTO second VALUES(1, 2)");
    expect_rows(db, "4032;4032", "SELECT length(state) FROM kevo_marker");
    sql_close(db);
    expect_same(path, 100);
    db = sql_open(path);
    expect_rows(db, "ok", "SELECT kevo_adopt('kv')");
    expect_rows(db, "1|2", "SELECT * FROM second");
    sql_close(db);
    expect_same(path, 100);
}
END_TEST

static const char *const losses[] = {"NULL", "x''", "zeroblob(100)", "randomblob(61380)", "'text'"};

/* Whatever the column holds: an error, and nothing that is not so. */
START_TEST(tampered) {
    sqlite3 *db = open_with(4096, "WAL");
    sql_exec(db, "%s", tables);
    commit_rows(db, 0, 1, 10);
    shell("cp -r a.db-kevo older");
    commit_rows(db, 1, 60, 100);
    sql_close(db);
    db = sql_open_plain(path);
    sql_exec(db, "UPDATE kevo_marker SET log = %s", losses[_i]);
    sql_close(db);
    shell("cp a.db copy.db");
    expect_same(path, 60); /* the log is there: nobody looks at it */
    db = sql_open(path);
    for (int i = 100; i < 200; i++)
        sql_rows(db, "INSERT INTO kv VALUES(%d, zeroblob(100))", i);
    sql_close(db);
    shell("rm -r a.db-kevo && mv older a.db-kevo && rm -f a.db-wal a.db-shm && mv copy.db a.db");
    db = sql_open(path);
    const char *rows = sql_rows(db, "SELECT count(*) FROM kv");
    ck_assert_msg(strstr(rows, "kevo") || strstr(rows, "rror"), "%s", rows);
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("marker");
    TCase *tcase = tcase_create("marker");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_loop_test(tcase, log_is_lost, 0, FIGURES);
    tcase_add_loop_test(tcase, rolled_back_in_between, 0, FIGURES);
    tcase_add_loop_test(tcase, after_a_flush, 0, FIGURES);
    tcase_add_test(tcase, hardly_a_sync);
    tcase_add_test(tcase, without_the_column);
    tcase_add_loop_test(tcase, tampered, 0, sizeof losses / sizeof losses[0]);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
