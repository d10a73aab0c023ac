/* What the marker keeps of the log: the end of it that is not durable yet, in a page that every
 * commit writes and in pages behind that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
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

/* ---- the marker's bytes, as FORMAT.md says ------------------------------------------------ */

static uint64_t fixed(const uint8_t *p, int bytes) {
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | p[bytes];
    return value;
}

static size_t read_segment(const char *name, uint64_t offset, uint8_t *bytes, size_t len) {
    char file_name[1300];
    snprintf(file_name, sizeof file_name, "%sa.db-kevo/%s", dir, name);
    FILE *f = fopen(file_name, "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, (long)offset, SEEK_SET), 0);
    size_t got = fread(bytes, 1, len, f);
    fclose(f);
    return got;
}

/* What is kept is what the store's log has there. Returns how much it is. */
static size_t expect_kept(sqlite3 *db) {
    static uint8_t kept[2 << 16], there[2 << 16];
    char name[40];
    sqlite3_stmt *stmt = sql_prepare(db, "SELECT state, log FROM kevo_marker");
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    const uint8_t *state = sqlite3_column_blob(stmt, 0), *log = sqlite3_column_blob(stmt, 1);
    ck_assert_uint_eq(fixed(state, 4), 2);
    size_t in_state = fixed(state + 4, 4), in_log = fixed(state + 40, 4);
    ck_assert_uint_eq(fixed(state + 44, 4), sqlite3_column_bytes(stmt, 1));
    memcpy(kept, log, in_log);
    memcpy(kept + in_log, state + 56, in_state);
    snprintf(name, sizeof name, "%06d.wal", (int)fixed(state + 24, 8));
    size_t len = in_log + in_state;
    if (len) {
        uint8_t header[32];
        ck_assert_uint_eq(read_segment(name, 0, header, sizeof header), sizeof header);
        ck_assert_uint_eq(fixed(header + 24, 8), fixed(state + 48, 8)); /* the salt */
        ck_assert_uint_eq(read_segment(name, fixed(state + 32, 8), there, len), len);
        ck_assert_mem_eq(kept, there, len);
    }
    sqlite3_finalize(stmt);
    return len;
}

/* Commit a row of 0 to `most` bytes into kv and beside it. */
static void commit_row(sqlite3 *db, int i, int most) {
    int bytes = i * 7919 % (most + 1);
    sql_exec(db,
             "BEGIN; INSERT INTO kv VALUES(%d, zeroblob(%d)); "
             "INSERT INTO plain VALUES(%d, zeroblob(%d)); COMMIT",
             i, bytes, i, bytes);
}

static void commit_rows(sqlite3 *db, int from, int to, int most) {
    for (int i = from; i < to; i++) {
        commit_row(db, i, most);
        expect_kept(db);
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

/* A batch is in the log and its bytes in the marker, and then it never was; or it is committed
 * after all, with more. */
START_TEST(not_committed_at_first) {
    sqlite3 *db = open_with(figures[_i].page_bytes, "DELETE");
    sqlite3 *reader = sql_open(path);
    sql_exec(db, "%s", tables);
    commit_rows(db, 0, 1, 10);
    shell("cp -r a.db-kevo older");
    for (int i = 1; i < 80; i += 8) {
        commit_rows(db, i, i + 7, figures[_i].most);
        sql_exec(reader, "BEGIN; SELECT count(*) FROM plain");
        sql_exec(db,
                 "BEGIN; INSERT INTO plain VALUES(%d, zeroblob(%d)); SAVEPOINT s; "
                 "INSERT INTO kv SELECT * FROM plain WHERE key = %d",
                 i + 7, i * 180, i + 7);
        expect_error(db, SQLITE_BUSY, "locked", "COMMIT");
        if (i % 3)
            sql_exec(db, "ROLLBACK TO s; INSERT INTO kv SELECT * FROM plain WHERE key = %d", i + 7);
        sql_exec(reader, "COMMIT");
        sql_exec(db,
                 i % 2 ? "COMMIT"
                       : "ROLLBACK; BEGIN; INSERT INTO plain VALUES(%d, x'');"
                         "INSERT INTO kv VALUES(%d, x''); COMMIT",
                 i + 7, i + 7);
        expect_kept(db);
    }
    expect_same(path, 81);
    sql_close(reader);
    sql_close(db);
    expect_same(path, 81);
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

/* A repaired store has a log with the same numbers. */
START_TEST(repaired) {
    char sql[2600];
    sqlite3 *db = open_with(4096, "WAL");
    sql_exec(db, "%s", tables);
    commit_rows(db, 0, 100, 100);
    ck_assert_uint_gt(expect_kept(db), 10000);
    sql_exec(db, "SELECT kevo_flush('kv')");
    sql_close(db);
    snprintf(sql, sizeof sql, "SELECT kevo_repair('%sa.db-kevo', '%snew')", dir, dir);
    db = sql_open(path);
    sql_exec(db, "%s", sql);
    shell("mv a.db-kevo damaged && mv new a.db-kevo");
    if (_i) expect_rows(db, "ok", "SELECT kevo_adopt('kv')");
    shell("cp -r a.db-kevo older");
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES(1000, randomblob(27000)); "
                 "INSERT INTO plain SELECT * FROM kv WHERE key = 1000; COMMIT");
    ck_assert_uint_gt(expect_kept(db), 27000);
    sql_close(db);
    shell("rm -r a.db-kevo && mv older a.db-kevo");
    expect_same(path, 101);
}
END_TEST

/* Whoever comes to a store that lost the end of its log mends it, also one who knows the marker. */
START_TEST(opened_again) {
    sqlite3 *db = open_with(4096, "WAL"), *other = sql_open(path);
    sql_exec(db, "%s", tables);
    commit_rows(db, 0, 1, 10);
    shell("cp -r a.db-kevo older");
    commit_rows(db, 1, 60, 100);
    shell("rm -r a.db-kevo && mv older a.db-kevo");
    sql_exec(other, "BEGIN IMMEDIATE");
    expect_error(db, SQLITE_BUSY, "locked", "SELECT kevo_adopt('kv')"); /* opens it anew */
    sql_close(other);
    sql_exec(db, "INSERT INTO kv VALUES(60, x''); INSERT INTO plain VALUES(60, x'')");
    sql_close(db);
    expect_same(path, 61);
}
END_TEST

/* ---- a commit that ends after another one's ------------------------------------------------- */

/* Its xCommit lets another connection commit, and looks at the database then. It is called before
 * that of the tables that joined later. */
static struct {
    sqlite3 *own, *other;
    bool armed, look;
} late;

static int late_connect(sqlite3 *db, void *arg, int argc, const char *const *argv,
                        sqlite3_vtab **table, char **message) {
    (void)arg, (void)argc, (void)argv, (void)message;
    *table = sqlite3_malloc64(sizeof **table);
    if (!*table) return SQLITE_NOMEM;
    memset(*table, 0, sizeof **table);
    return sqlite3_declare_vtab(db, "CREATE TABLE x(a)");
}

static int late_disconnect(sqlite3_vtab *table) {
    sqlite3_free(table);
    return SQLITE_OK;
}

static int late_best_index(sqlite3_vtab *table, sqlite3_index_info *info) {
    (void)table, (void)info;
    return SQLITE_OK;
}

static int late_update(sqlite3_vtab *table, int argc, sqlite3_value **argv, sqlite3_int64 *rowid) {
    (void)table, (void)argc, (void)argv;
    *rowid = 1;
    return SQLITE_OK;
}

static int late_begin(sqlite3_vtab *table) {
    (void)table;
    return SQLITE_OK;
}

static int late_commit(sqlite3_vtab *table) {
    (void)table;
    if (!late.armed) return SQLITE_OK;
    late.armed = false;
    commit_rows(late.other, 1, 2, 10);
    if (late.look) sql_exec(late.own, "SELECT count(*) FROM plain");
    return SQLITE_OK;
}

static const sqlite3_module late_module = {
    .xCreate = late_connect,
    .xConnect = late_connect,
    .xBestIndex = late_best_index,
    .xDisconnect = late_disconnect,
    .xDestroy = late_disconnect,
    .xUpdate = late_update,
    .xBegin = late_begin,
    .xCommit = late_commit,
};

START_TEST(commits_overlap) {
    sqlite3 *db = open_with(4096, "WAL");
    sql_exec(db, "%s", tables);
    late.own = db;
    late.other = sql_open(path);
    late.look = _i;
    sqlite3_create_module(db, "late", &late_module, NULL);
    sql_exec(db, "CREATE VIRTUAL TABLE late USING late");
    late.armed = true;
    sql_exec(db, "BEGIN; INSERT INTO late VALUES(1); INSERT INTO kv VALUES(0, x''); "
                 "INSERT INTO plain VALUES(0, x''); COMMIT");
    ck_assert(!late.armed);
    expect_rows(db, "2|2", "SELECT (SELECT count(*) FROM kv), (SELECT count(*) FROM plain)");
    commit_rows(db, 2, 3, 10);
    commit_rows(late.other, 3, 4, 10);
    sql_exec(db, "DROP TABLE late");
    sql_close(late.other);
    sql_close(db);
    expect_same(path, 4);
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
    sql_exec(db,
             "UPDATE kevo_marker SET state = CAST(x'01' || substr(state, 2, 39) || zeroblob(8) || "
             "substr(state, 49) AS BLOB)");
    sql_close(db);
    db = sql_open_plain(path);
    sql_exec(db, "ALTER TABLE kevo_marker DROP COLUMN log");
    sql_close(db);
    db = open_with(4096, "WAL");
    for (int i = 0; i < 100; i++)
        commit_row(db, i, 100);
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

enum { SIZES_WRONG = 4 };
static const char *const losses[] = {"NULL", "x''", "zeroblob(100)", "'text'", "randomblob(61380)"};

/* Whatever the column holds: an error that tells the way out, and nothing that is not so. */
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
    if (_i < SIZES_WRONG) {
        expect_error(db, SQLITE_CORRUPT, "SELECT kevo_adopt(",
                     "INSERT INTO kv VALUES(-1, zeroblob(5000))");
        sql_exec(db, "SELECT kevo_adopt('kv')");
    }
    sql_exec(db, "INSERT INTO kv VALUES(-1, zeroblob(5000))");
    expect_kept(db);
    sql_close(db);
    /* The store has lost the end of its log as well. */
    shell("rm -r a.db-kevo && mv older a.db-kevo && rm -f a.db-wal a.db-shm && mv copy.db a.db");
    db = sql_open(path);
    expect_error(db, SQLITE_CORRUPT, "SELECT kevo_adopt(", "SELECT count(*) FROM kv");
    expect_rows(db,
                "took the store as it is, up to batch 1: what the database committed to kevo "
                "tables in batches 2 to 60 is lost",
                "SELECT kevo_adopt('kv')");
    expect_rows(db, "1", "SELECT count(*) FROM kv");
    sql_exec(db, "INSERT INTO kv VALUES(-1, zeroblob(5000))");
    expect_kept(db);
    sql_close(db);
}
END_TEST

/* Whatever needs the marker tells where another comes from. */
START_TEST(row_is_missing) {
    static const char *const uses[] = {"SELECT kevo_flush('kv')", "SELECT kevo_compact('kv')",
                                       "INSERT INTO kv VALUES(-1, x'01')",
                                       "SELECT count(*) FROM kv"};
    sqlite3 *db = open_with(4096, "WAL");
    sql_exec(db, "%s", tables);
    commit_rows(db, 0, 1, 10);
    sql_exec(db, "DELETE FROM kevo_marker");
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        expect_error(db, SQLITE_CORRUPT, "SELECT kevo_adopt(", uses[i]);
    sql_exec(db, "SELECT kevo_adopt('kv')");
    sql_exec(db, "INSERT INTO kv VALUES(-1, x'01')");
    sql_exec(db, "SELECT kevo_flush('kv')");
    sql_close(db);
}
END_TEST

static void set_version(sqlite3 *db, uint8_t version) {
    sql_exec(db, "UPDATE kevo_marker SET state = CAST(x'%02x' || substr(state, 2) AS BLOB)",
             version);
}

/* As a newer kevo would. */
static void set_newer_version(sqlite3 *db, uint8_t version) {
    uint8_t bytes[4] = {version}, sign[8];
    put_fixed64(sign, checksum64(bytes, sizeof bytes, 0));
    sqlite3_stmt *stmt = sql_prepare(
        db,
        "UPDATE kevo_marker SET state = CAST(substr(state, 1, length(state) - 8) || ? AS BLOB)");
    sqlite3_bind_blob(stmt, 1, sign, sizeof sign, SQLITE_STATIC);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
    set_version(db, version);
}

/* It is not taken for damage, which could be adopted away. */
START_TEST(newer_marker) {
    sqlite3 *db = sql_open(path);
    sql_exec(db, "%s", tables);
    sql_exec(db, "INSERT INTO kv VALUES(1, x'01')");
    set_newer_version(db, 3);
    for (int i = 0; i < 2; i++) {
        expect_error(db, SQLITE_CANTOPEN, "kevo_marker: format version 3, of a newer kevo",
                     "SELECT * FROM kv");
        expect_error(db, SQLITE_CANTOPEN, "newer kevo", "INSERT INTO kv VALUES(2, x'01')");
        expect_error(db, SQLITE_CANTOPEN, "newer kevo", "SELECT kevo_adopt('kv')");
        sql_close(db);
        db = sql_open(path);
    }
    set_version(db, 2);
    expect_rows(db, "1|x'01'", "SELECT * FROM kv");
    sql_close(db);
}
END_TEST

/* A bit of the version that is the wrong way round does not make a newer one of it. */
START_TEST(damaged_version) {
    sqlite3 *db = sql_open(path);
    sql_exec(db, "%s", tables);
    sql_exec(db, "INSERT INTO kv VALUES(1, x'01')");
    for (int bit = 0; bit < 8; bit++) {
        set_version(db, (uint8_t)(2 ^ 1 << bit));
        expect_error(db, SQLITE_CORRUPT, "kevo_marker: the marker is damaged; SELECT kevo_adopt(",
                     "SELECT * FROM kv");
        expect_error(db, SQLITE_CORRUPT, "the marker is damaged",
                     "INSERT INTO kv VALUES(2, x'01')");
        sql_exec(db, "SELECT kevo_adopt('kv')");
        expect_rows(db, "1|x'01'", "SELECT * FROM kv");
    }
    sql_close(db);
}
END_TEST

/* The same of a file of the store: what kevo_check() and kevo_repair() say of it. */
START_TEST(newer_table) {
    char name[1300];
    sqlite3 *db = sql_open(path);
    sql_exec(db, "%s", tables);
    sql_exec(db, "INSERT INTO kv VALUES(1, x'01'); SELECT kevo_flush('kv')");
    sql_close(db);
    snprintf(name, sizeof name, "%sa.db-kevo/000001.sst", dir);
    uint8_t footer[128];
    FILE *f = fopen(name, "r+b");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, -(long)sizeof footer, SEEK_END), 0);
    ck_assert_uint_eq(fread(footer, 1, sizeof footer, f), sizeof footer);
    put_fixed32(footer + 104, 9);
    put_fixed64(footer + 120, checksum64(footer, 120, 0));
    ck_assert_int_eq(fseek(f, -(long)sizeof footer, SEEK_END), 0);
    ck_assert_uint_eq(fwrite(footer, 1, sizeof footer, f), sizeof footer);
    fclose(f);
    db = sql_open(path);
    const char says[] = "a.db-kevo/000001.sst: format version 9, of a newer kevo";
    expect_error(db, SQLITE_CANTOPEN, says, "SELECT * FROM kv");
    expect_error(db, SQLITE_CANTOPEN, says, "SELECT kevo_check('kv')");
    sql_close(db);
    db = sql_open(":memory:");
    expect_error(db, SQLITE_CANTOPEN, says, "SELECT kevo_repair('%sa.db-kevo', '%snew')", dir, dir);
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("marker");
    TCase *tcase = tcase_create("marker");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_loop_test(tcase, log_is_lost, 0, FIGURES);
    tcase_add_loop_test(tcase, not_committed_at_first, 0, FIGURES);
    tcase_add_loop_test(tcase, repaired, 0, 2);
    tcase_add_test(tcase, opened_again);
    tcase_add_loop_test(tcase, commits_overlap, 0, 2);
    tcase_add_loop_test(tcase, after_a_flush, 0, FIGURES);
    tcase_add_test(tcase, hardly_a_sync);
    tcase_add_test(tcase, without_the_column);
    tcase_add_test(tcase, row_is_missing);
    tcase_add_loop_test(tcase, tampered, 0, sizeof losses / sizeof losses[0]);
    tcase_add_test(tcase, newer_marker);
    tcase_add_test(tcase, damaged_version);
    tcase_add_test(tcase, newer_table);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
