/* Databases and stores that do not belong together: copies, restored files, directories
 * that vanished or that two want. Nothing may be shown or written that is not so. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/sql.h"

static const char *dir; /* with a slash at the end */

static void setup(void) {
    static char text[1100];
    snprintf(text, sizeof text, "%s", sql_file(""));
    dir = text;
}

#define shell(...) sql_shell(dir, __VA_ARGS__)

static sqlite3 *open_in(const char *name) {
    char path[1200];
    snprintf(path, sizeof path, "%s%s", dir, name);
    return sql_open(path);
}

/* Run statements in a connection of their own. */
static void run(const char *name, const char *sql) {
    sqlite3 *db = open_in(name);
    sql_exec(db, "%s", sql);
    sql_close(db);
}

static void expect_in(const char *name, const char *rows, const char *sql) {
    sqlite3 *db = open_in(name);
    expect_rows(db, rows, "%s", sql);
    sql_close(db);
}

static void refused_in(const char *name, int code, const char *why, const char *sql) {
    sqlite3 *db = open_in(name);
    expect_error(db, code, why, "%s", sql);
    sql_close(db);
}

static const char all[] = "SELECT * FROM kv";

/* A file put back is an older commit of the same history: that is a rewind, and legal. One
 * that was rewound over is not. */
START_TEST(file_put_back) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    shell("cp a.db one.db");
    run("a.db", "INSERT INTO kv VALUES('b', 2)");
    shell("cp a.db two.db && cp one.db a.db");
    expect_in("a.db", "a|1", all);
    run("a.db", "INSERT INTO kv VALUES('c', 3)");
    shell("cp a.db three.db && cp two.db a.db");
    refused_in("a.db", SQLITE_CORRUPT, "different moments", all);
    expect_in("a.db", "", "SELECT 1 WHERE kevo_check('kv') = 'ok'");
    refused_in("a.db", SQLITE_CORRUPT, "backup", "INSERT INTO kv VALUES('d', 4)");
    shell("cp three.db a.db");
    expect_in("a.db", "a|1;c|3", all);
}
END_TEST

/* The tail in a copy's marker must not find its way into the original's log. */
START_TEST(marker_of_a_copy) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    shell("mkdir copy && cp -r a.db a.db-kevo copy");
    run("a.db", "INSERT INTO kv VALUES('b', 'original')");
    run("copy/a.db", "INSERT INTO kv VALUES('b', 'copy....')");
    run("copy/a.db", "INSERT INTO kv VALUES('c', 'copy')");
    shell("cp a.db mine.db && cp copy/a.db a.db && cp a.db-kevo/000001.wal before");
    refused_in("a.db", SQLITE_CORRUPT, "backup", all);
    shell("cmp before a.db-kevo/000001.wal && cp mine.db a.db");
    expect_in("a.db", "a|1;b|original", all);
    run("a.db", "INSERT INTO kv VALUES('d', 1)");
    expect_in("a.db", "ok", "SELECT kevo_check('kv')");
}
END_TEST

/* Power was lost before the log reached the disk: the marker has its end. */
START_TEST(log_behind_the_marker) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    shell("cp -r a.db-kevo older");
    run("a.db", "INSERT INTO kv VALUES('b', 2)");
    shell("rm -r a.db-kevo && cp -r older a.db-kevo");
    expect_in("a.db", "a|1;b|2", all);
    shell("rm -r a.db-kevo && cp -r older a.db-kevo");
    run("a.db", "INSERT INTO kv VALUES('c', 3)");
    expect_in("a.db", "a|1;b|2;c|3", all);
    /* Two commits behind, each by a connection of its own, which leaves nothing unsynced
     * to the next: that is more than a tail can mend. */
    if (_i) {
        run("a.db", "INSERT INTO kv VALUES('big', hex(zeroblob(40000)))");
        run("a.db", "INSERT INTO kv VALUES('d', 4)");
        shell("rm -r a.db-kevo && cp -r older a.db-kevo");
        refused_in("a.db", SQLITE_CORRUPT, "one backup", all);
    }
}
END_TEST

START_TEST(two_spellings) {
    run("a.db", "CREATE VIRTUAL TABLE one USING kevo('st')");
    shell("ln -s . here");
    char sql[1300];
    snprintf(sql, sizeof sql,
             "CREATE VIRTUAL TABLE two USING kevo('./st/'); CREATE VIRTUAL TABLE three USING "
             "kevo('%shere/st'); INSERT INTO two VALUES(2, 2); INSERT INTO three VALUES(3, 3)",
             dir);
    run("a.db", sql);
    run("a.db", "INSERT INTO one VALUES(1, 1)");
    expect_in("a.db", "1|1;2|2;3|3",
              "SELECT * FROM one UNION ALL SELECT * FROM two UNION ALL SELECT * FROM three");
    expect_in("a.db", "1", "SELECT count(*) FROM kevo_store");
}
END_TEST

static const char create_in_st[] = "CREATE VIRTUAL TABLE kv USING kevo('st')";

/* An empty store is somebody's all the same, as long as there is that database. */
START_TEST(two_databases) {
    run("a.db", create_in_st);
    refused_in("b.db", SQLITE_CANTOPEN, "another database, ", create_in_st);
    run("a.db", "INSERT INTO kv VALUES('a', 1)");
    refused_in("c.db", SQLITE_CANTOPEN, "another database", create_in_st);
    expect_in("a.db", "a|1", all);
}
END_TEST

START_TEST(empty_store_taken_over) {
    run("a.db", create_in_st);
    shell("mv a.db away");
    run("b.db", create_in_st);
    run("b.db", "INSERT INTO kv VALUES('b', 1)");
    shell("mv away a.db");
    refused_in("a.db", SQLITE_CANTOPEN, "another database", "INSERT INTO kv VALUES('a', 1)");
    expect_in("b.db", "b|1", all);
    sqlite3 *b = open_in("b.db"), *a = open_in("a.db");
    expect_rows(b, "b|1", "%s", all);
    expect_error(a, SQLITE_BUSY, "another database", "%s", all);
    sql_close(a);
    sql_close(b);
}
END_TEST

/* ---- copies that find the original's store ------------------------------------------- */

static void make_original(void) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo('st'); INSERT INTO kv VALUES('a', 1)");
}

/* Neither reads nor writes, nor DROP and CREATE, which would begin with an empty store. */
static void expect_refused(const char *name) {
    refused_in(name, SQLITE_CANTOPEN, "a.db, and a copy", all);
    refused_in(name, SQLITE_CANTOPEN, "belongs to another database", "DELETE FROM kv");
    refused_in(name, SQLITE_CANTOPEN, "belongs to another database",
               "INSERT INTO kv VALUES('copy', 1)");
}

START_TEST(copy_beside) {
    make_original();
    if (_i) {
        sqlite3 *db = open_in("a.db");
        sql_exec(db, "VACUUM INTO '%qb.db'", dir);
        sql_close(db);
    } else {
        shell("cp a.db b.db");
    }
    expect_refused("b.db");
    run("b.db", "DROP TABLE kv");
    refused_in("b.db", SQLITE_CANTOPEN, "belongs to another database", create_in_st);
    run("b.db", "CREATE VIRTUAL TABLE kv USING kevo('other'); INSERT INTO kv VALUES('b', 2)");
    expect_in("a.db", "a|1", all);
    run("a.db", "INSERT INTO kv VALUES('b', 1)");
    expect_in("a.db", "a|1;b|1", all);
    expect_in("b.db", "b|2", all);
}
END_TEST

/* A copy that takes the original's place has the store, and what was the original has not. */
START_TEST(copy_in_its_place) {
    make_original();
    shell("cp a.db b.db && mv a.db away.db");
    run("b.db", "INSERT INTO kv VALUES('b', 2)");
    refused_in("away.db", SQLITE_CANTOPEN, "b.db, and a copy", all);
    shell("mv b.db a.db && rm away.db");
    expect_in("a.db", "a|1;b|2", all);
}
END_TEST

START_TEST(moved) {
    make_original();
    shell("mv a.db b.db");
    run("b.db", "INSERT INTO kv VALUES('b', 2)");
    shell("mkdir dir && mv b.db st dir && mv dir elsewhere");
    run("elsewhere/b.db", "INSERT INTO kv VALUES('c', 3)");
    /* A whole copy in the place of the original. */
    shell("cp -r elsewhere dir");
    run("dir/b.db", "INSERT INTO kv VALUES('d', 4)");
    run("elsewhere/b.db", "INSERT INTO kv VALUES('e', 5)");
    expect_in("dir/b.db", "a|1;b|2;c|3;d|4", all);
    expect_in("elsewhere/b.db", "a|1;b|2;c|3;e|5", all);
}
END_TEST

/* Another inode under the same name, and other names of the same inode. */
START_TEST(restored_over_itself) {
    make_original();
    shell("cp a.db copy && mv copy a.db");
    run("a.db", "INSERT INTO kv VALUES('b', 2)");
    run("a.db", "VACUUM");
    shell("ln a.db b.db && ln -s a.db c.db");
    expect_in("b.db", "a|1;b|2", all);
    expect_in("c.db", "a|1;b|2", all);
    expect_in("a.db", "a|1;b|2", all);
    run("b.db", "INSERT INTO kv VALUES('c', 3)");
    expect_in("a.db", "a|1;b|2;c|3", all);
}
END_TEST

START_TEST(copy_far_away) {
    char sql[1300];
    snprintf(sql, sizeof sql, "CREATE VIRTUAL TABLE kv USING kevo('%sst')", dir);
    run("a.db", sql);
    run("a.db", "INSERT INTO kv VALUES('a', 1)");
    shell("mkdir far && cp a.db far/b.db");
    expect_refused("far/b.db");
    expect_in("a.db", "a|1", all);
}
END_TEST

/* A link in a store's place is not followed, so no copy gets at the default directory by one. */
START_TEST(default_directory_by_a_link) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    shell("mkdir far && cp a.db far/b.db && ln -s ../a.db-kevo far/b.db-kevo");
    refused_in("far/b.db", SQLITE_CANTOPEN, "not a directory", all);
    expect_in("a.db", "a|1", all);
}
END_TEST

/* What lies where the database was is none that has the store. */
START_TEST(others_in_its_place) {
    static const char *const makers[] = {
        "mkdir a.db",       "mkfifo a.db",
        ": > a.db",         "echo 'not a database, and long enough' > a.db",
        "mv other.db a.db", "ln -s nowhere a.db"};
    make_original();
    run("other.db", "CREATE VIRTUAL TABLE kv USING kevo('st2'); INSERT INTO kv VALUES('b', 2)");
    shell("mv a.db b.db && %s", makers[_i]);
    expect_in("b.db", "a|1", all);
    run("b.db", "INSERT INTO kv VALUES('b', 2)");
    expect_in("b.db", "a|1;b|2", all);
}
END_TEST

/* What the original says may be in its WAL, and it may be locked. */
START_TEST(original_in_use) {
    run("a.db", "PRAGMA journal_mode=WAL");
    sqlite3 *plain = sql_open_plain(sql_file("unused"));
    sql_exec(plain, "ATTACH '%qa.db' AS a; BEGIN; SELECT * FROM a.sqlite_schema", dir);
    make_original();
    shell("test $(stat -c %%s a.db) -lt 9000 && cp a.db b.db && cp a.db-wal b.db-wal");
    expect_refused("b.db");
    sql_exec(plain, "COMMIT; DETACH a");
    sql_close(plain);
    run("a.db", "PRAGMA journal_mode=DELETE");
    plain = sql_open_plain(sql_file("unused"));
    sql_exec(plain, "ATTACH '%qa.db' AS a; BEGIN EXCLUSIVE; DELETE FROM a.kevo_table WHERE 0", dir);
    refused_in("b.db", SQLITE_BUSY, "a.db, which cannot be looked at", all);
    sql_exec(plain, "COMMIT");
    sql_close(plain);
    expect_in("a.db", "a|1", all);
}
END_TEST

/* Many connections to an original do not meet their own claim. */
START_TEST(copy_while_in_use) {
    make_original();
    sqlite3 *one = open_in("a.db"), *two = open_in("a.db");
    expect_rows(one, "a|1", "%s", all);
    expect_rows(two, "a|1", "%s", all);
    shell("cp a.db b.db");
    refused_in("b.db", SQLITE_BUSY, "another database", all);
    sql_close(one);
    expect_rows(two, "a|1", "%s", all);
    sql_close(two);
    expect_refused("b.db");
}
END_TEST

START_TEST(directory_lost) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    shell("rm -r a.db-kevo");
    refused_in("a.db", SQLITE_CANTOPEN, "DROP TABLE", all);
    refused_in("a.db", SQLITE_CANTOPEN, "put back", "CREATE VIRTUAL TABLE k2 USING kevo");
    run("a.db", "DROP TABLE kv");
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('b', 2)");
    expect_in("a.db", "b|2", all);
}
END_TEST

/* The last table's space is given back when the next is made, but never inside a
 * transaction that could bring the table back. */
START_TEST(all_tables_dropped) {
    run("a.db",
        "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', randomblob(900000))");
    run("a.db", "BEGIN; DROP TABLE kv; CREATE VIRTUAL TABLE kv USING kevo; ROLLBACK");
    expect_in("a.db", "a|900000", "SELECT key, length(value) FROM kv");
    run("a.db", "DROP TABLE kv");
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo");
    expect_in("a.db", "", all);
    shell("test $(du -sk a.db-kevo | cut -f1) -lt 200");
}
END_TEST

START_TEST(options_belong_to_the_store) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo(block_size='8 KB')");
    refused_in("a.db", SQLITE_ERROR, "option memtable_size belongs to the store",
               "CREATE VIRTUAL TABLE k2 USING kevo(memtable_size='8 MB')");
    run("a.db", "CREATE VIRTUAL TABLE k2 USING kevo; CREATE VIRTUAL TABLE k3 USING "
                "kevo('other', memtable_size='8 MB')");
}
END_TEST

/* ---- kevo_adopt() ----------------------------------------------------------------------------- */

static const char adopt[] = "SELECT kevo_adopt('kv')";

/* The two agree: the rows are these, more can be written, all is sound, and there is nothing
 * left to adopt. */
static void expect_sound(const char *name, const char *rows) {
    char more[300];
    expect_in(name, rows, "SELECT * FROM kv ORDER BY key");
    expect_in(name, "ok", adopt);
    run(name, "INSERT INTO kv VALUES('z', 1)");
    snprintf(more, sizeof more, "%s%sz|1", rows, *rows ? ";" : "");
    expect_in(name, more, "SELECT * FROM kv ORDER BY key");
    expect_in(name, "ok", "SELECT kevo_check('kv')");
}

/* An older database file, and a store that can still go back there. */
START_TEST(adopt_what_can_go_back) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    expect_in("a.db", "ok", adopt);
    shell("cp a.db one.db");
    run("a.db", "INSERT INTO kv VALUES('b', 2); INSERT INTO kv VALUES('c', 3)");
    shell("cp one.db a.db");
    expect_in("a.db", "dropped batches 2 to 3 of the store: the database's last commit is batch 1",
              adopt);
    expect_sound("a.db", "a|1");
}
END_TEST

/* ... and one that cannot. */
START_TEST(adopt_with_an_older_database) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    shell("cp a.db one.db");
    run("a.db", "INSERT INTO kv VALUES('b', 2); SELECT kevo_flush('kv')");
    run("a.db", "INSERT INTO kv VALUES('c', 3)");
    shell("cp one.db a.db");
    refused_in("a.db", SQLITE_CORRUPT, "SELECT kevo_adopt(", all);
    refused_in("a.db", SQLITE_CORRUPT, "SELECT kevo_adopt(", "DELETE FROM kv");
    expect_in("a.db",
              "took the store as it is, up to batch 3: the database's last commit was batch 1, and "
              "kevo tables have later changes than ordinary ones",
              adopt);
    expect_sound("a.db", "a|1;b|2;c|3");
}
END_TEST

/* A store directory from an earlier moment. */
START_TEST(adopt_with_an_older_store) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    shell("cp -r a.db-kevo older");
    run("a.db", "INSERT INTO kv VALUES('big', hex(zeroblob(40000)))");
    run("a.db", "INSERT INTO kv VALUES('c', 3)");
    shell("rm -r a.db-kevo && mv older a.db-kevo");
    refused_in("a.db", SQLITE_CORRUPT, "SELECT kevo_adopt(", all);
    expect_in("a.db",
              "took the store as it is, up to batch 1: what the database committed to kevo tables "
              "in batches 2 to 3 is lost",
              adopt);
    expect_sound("a.db", "a|1");
}
END_TEST

/* One more commit than the store has is in the marker, and is put back. */
START_TEST(adopt_puts_the_end_of_the_log_back) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    shell("cp -r a.db-kevo older");
    run("a.db", "INSERT INTO kv VALUES('b', 2)");
    shell("rm -r a.db-kevo && mv older a.db-kevo");
    expect_in("a.db", "ok", adopt);
    expect_sound("a.db", "a|1;b|2");
}
END_TEST

/* A database that was rewound over: the same batch ids, other batches. */
START_TEST(adopt_on_another_branch) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    shell("mkdir copy && cp -r a.db a.db-kevo copy");
    run("a.db", "INSERT INTO kv VALUES('b', 'original')");
    run("copy/a.db", "INSERT INTO kv VALUES('b', 'copy')");
    shell("cp copy/a.db a.db");
    refused_in("a.db", SQLITE_CORRUPT, "SELECT kevo_adopt(", all);
    expect_in("a.db",
              "took the store as it is, up to batch 2: kevo tables are as it has them, and what "
              "the database committed up to another batch 2 is lost",
              adopt);
    expect_sound("a.db", "a|1;b|original");
}
END_TEST

/* The store of another database in the place of this one's: connections that have met it go on
 * as well. */
START_TEST(adopt_another_store) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    run("b.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('b', 1),('c', 2)");
    shell("rm -r a.db-kevo && mv b.db-kevo a.db-kevo");
    sqlite3 *db = open_in("a.db");
    expect_error(db, SQLITE_CANTOPEN, "SELECT kevo_adopt(", "%s", all);
    expect_in("a.db",
              "took another store as it is, up to batch 1: kevo tables are as it has them, and "
              "what the database committed up to another batch 1 is lost",
              adopt);
    expect_rows(db, "b|1;c|2", "%s", all);
    sql_exec(db, "INSERT INTO kv VALUES('d', 3)");
    sql_close(db);
    expect_sound("a.db", "b|1;c|2;d|3");
}
END_TEST

/* The database file is lost: its tables, made again in their order, find their rows. */
START_TEST(adopt_by_a_new_database) {
    static const char make[] = "CREATE VIRTUAL TABLE kv USING kevo; CREATE VIRTUAL TABLE k2 USING "
                               "kevo(id INTEGER PRIMARY KEY, t TEXT, INDEX by_t(t))";
    run("a.db", make);
    run("a.db", "INSERT INTO kv VALUES('a', 1); INSERT INTO k2 VALUES(7, 'x')");
    if (_i) run("a.db", "SELECT kevo_flush('kv')");
    shell("rm a.db");
    refused_in("a.db", SQLITE_CANTOPEN, "there is a store already", make);
    shell("mv a.db-kevo saved");
    run("a.db", make);
    shell("rm -r a.db-kevo && mv saved a.db-kevo");
    expect_in("a.db", "1", "SELECT kevo_adopt('k2') LIKE 'took another store as it is%'");
    expect_in("a.db", "7", "SELECT id FROM k2 WHERE t = 'x'");
    expect_in("a.db", "ok", "SELECT kevo_check('k2')");
    expect_sound("a.db", "a|1");
}
END_TEST

/* The copy takes the store from the original, and that one takes it back. */
static const struct {
    const char *columns, *part; /* NULL: there is nothing wrong to see */
} definitions[] = {
    {"id INTEGER PRIMARY KEY, name TEXT, n INTEGER, x ANY", NULL},
    {"id INTEGER PRIMARY KEY, name ANY, n ANY, x ANY, more BLOB", NULL},
    {"id INTEGER PRIMARY KEY, n INTEGER, name TEXT, x ANY", "column n has a value of type TEXT"},
    {"id INTEGER PRIMARY KEY, name TEXT, n REAL, x ANY", "column n has a value of type INTEGER"},
    {"id INTEGER PRIMARY KEY, name BLOB, n INTEGER, x ANY, INDEX i (name)", "column name has"},
    {"id INTEGER PRIMARY KEY, name TEXT, n INTEGER NOT NULL, x ANY", "a value of type NULL"},
    {"id INTEGER PRIMARY KEY, name TEXT, n INTEGER", "more than 2 columns"},
    {"id TEXT PRIMARY KEY, name TEXT, n INTEGER, x BLOB", "column x has a value of type REAL"},
    {"id REAL, name TEXT, n INTEGER, x ANY, PRIMARY KEY (id, n)", ""},
};

/* The new database has not quite the old one's tables. */
START_TEST(adopt_with_other_columns) {
    char sql[300];
    run("a.db",
        "CREATE VIRTUAL TABLE kv USING kevo(id INTEGER PRIMARY KEY, name TEXT, n INTEGER, x "
        "ANY); INSERT INTO kv VALUES(1, 'one', 10, 0.5), (2, NULL, NULL, 1)");
    shell("mv a.db-kevo saved && rm a.db*");
    snprintf(sql, sizeof sql, "CREATE VIRTUAL TABLE kv USING kevo(%s)", definitions[_i].columns);
    run("a.db", sql);
    shell("rm -r a.db-kevo && mv saved a.db-kevo");
    sqlite3 *db = open_in("a.db");
    sql_exec(db, "%s", adopt);
    const char *found = sql_rows(db, "SELECT kevo_check('kv')"), *part = definitions[_i].part;
    bool right =
        part ? strstr(found, "rows of table kv do not fit its definition") && strstr(found, part)
             : strcmp(found, "ok") == 0;
    ck_assert_msg(right, "%s: %s", definitions[_i].columns, found);
    sql_close(db);
}
END_TEST

START_TEST(adopt_by_a_copy) {
    make_original();
    shell("cp a.db b.db");
    refused_in("b.db", SQLITE_CANTOPEN, "SELECT kevo_adopt(", all);
    expect_in("b.db", "took the store; the database that had the store is refused from now on",
              adopt);
    expect_in("b.db", "ok", adopt);
    run("b.db", "INSERT INTO kv VALUES('b', 2)");
    refused_in("a.db", SQLITE_CANTOPEN, "b.db, and a copy", all);
    /* It has not committed since: so this is the state to go back to. */
    if (_i) {
        run("b.db", "SELECT kevo_flush('kv')");
        expect_in("a.db", "1",
                  "SELECT kevo_adopt('kv') LIKE 'took the store as it is, up to "
                  "batch 2: the database''s last commit was batch 1,%'");
    } else {
        expect_in("a.db", "1", "SELECT kevo_adopt('kv') LIKE 'dropped batches 2 to 2 %'");
    }
    expect_refused("b.db");
    expect_sound("a.db", _i ? "a|1;b|2" : "a|1");
}
END_TEST

/* Without a table of kevo's there is nothing to go by. */
START_TEST(table_of_kevos_is_missing) {
    static const char *const names[] = {"kevo_store", "kevo_marker", "kevo_table"};
    char sql[100];
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    snprintf(sql, sizeof sql, "DROP TABLE %s", names[_i]);
    run("a.db", sql);
    refused_in("a.db", SQLITE_ERROR, "put back a backup of the database file", all);
}
END_TEST

START_TEST(adopt_without_a_marker) {
    static const char *const losses[] = {"DELETE FROM kevo_marker", "DROP TABLE kevo_marker",
                                         "UPDATE kevo_marker SET state = x'00'",
                                         "UPDATE kevo_marker SET state = zeroblob(4000)"};
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    run("a.db", losses[_i]);
    refused_in("a.db", _i == 1 ? SQLITE_ERROR : SQLITE_CORRUPT, "SELECT kevo_adopt(", all);
    expect_in("a.db", "took the store as it is, up to batch 1: the database had no marker", adopt);
    expect_sound("a.db", "a|1");
}
END_TEST

/* Not where something would have to be taken back, or is being read. */
START_TEST(adopt_refused) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1),('b', 2)");
    sqlite3 *db = open_in("a.db");
    expect_error(db, SQLITE_ERROR, "outside of transactions", "BEGIN; %s", adopt);
    sql_exec(db, "ROLLBACK");
    expect_error(db, SQLITE_LOCKED, "reads a table", "SELECT kevo_adopt('kv') FROM kv");
    expect_error(db, SQLITE_ERROR, "unsafe use",
                 "CREATE VIEW v AS SELECT kevo_adopt('kv'); SELECT "
                 "* FROM v");
    expect_error(db, SQLITE_ERROR, "no such table", "SELECT kevo_adopt('nothing')");
    sqlite3 *other = open_in("a.db");
    sql_exec(other, "BEGIN IMMEDIATE");
    expect_error(db, SQLITE_BUSY, "locked", "%s", adopt);
    sql_close(other);
    expect_rows(db, "ok", "%s", adopt);
    expect_rows(db, "a|1;b|2", "%s", all);
    sql_close(db);
    db = sql_open(":memory:");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo");
    expect_error(db, SQLITE_ERROR, "decides its commits itself", "%s", adopt);
    sql_close(db);
    shell("mv a.db-kevo away");
    refused_in("a.db", SQLITE_CANTOPEN, "no kevo store", adopt);
    shell("mv away a.db-kevo && printf X | dd of=a.db-kevo/MANIFEST bs=1 seek=20 conv=notrunc "
          "2>&1 | cat >&2");
    refused_in("a.db", SQLITE_CORRUPT, "MANIFEST", adopt);
}
END_TEST

/* ---- kevo_repair() ---------------------------------------------------------------------------- */

/* Save what can be read, put it in the place of the damaged store, and make the two agree. */
START_TEST(repair_and_adopt) {
    char sql[2600];
    run("a.db",
        "CREATE VIRTUAL TABLE kv USING kevo(key TEXT PRIMARY KEY, value ANY, INDEX i(value))");
    run("a.db", "INSERT INTO kv VALUES('a', 1),('b', 2); SELECT kevo_flush('kv')");
    run("a.db", "INSERT INTO kv VALUES('c', 3)");
    run("a.db",
        _i ? "INSERT INTO kv VALUES('d', hex(zeroblob(20000)))" : "INSERT INTO kv VALUES('d', 4)");
    run("a.db", "INSERT INTO kv VALUES('e', 5)");
    if (_i == 0) {
        shell("rm a.db-kevo/MANIFEST");
    } else {
        /* The middle of the record with 'd'. */
        shell(
            "f=$(ls a.db-kevo/*.wal) && printf X | dd of=$f bs=1 seek=4000 conv=notrunc 2>&1 | cat "
            ">&2");
    }
    refused_in("a.db", SQLITE_CORRUPT, "SELECT kevo_repair('STORE', 'NEW_STORE')", all);
    snprintf(sql, sizeof sql,
             "SELECT kevo_repair('%sa.db-kevo', '%snew') LIKE '%%%s%%entries of%%'", dir, dir,
             _i ? "wal" : "MANIFEST");
    expect_in("a.db", "1", sql);
    refused_in("a.db", SQLITE_CANTOPEN, "not empty", sql);
    shell("mv a.db-kevo damaged && mv new a.db-kevo");
    run("a.db", "SELECT kevo_adopt('kv'); SELECT kevo_reindex('kv')");
    expect_sound("a.db", _i ? "a|1;b|2;c|3;e|5" : "a|1;b|2;c|3;d|4;e|5");
}
END_TEST

static int interrupt_soon(void *arg) {
    sqlite3_interrupt(arg);
    return 0;
}

START_TEST(repair_interrupted) {
    char sql[2600];
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1);"
                "SELECT kevo_flush('kv')");
    sqlite3 *db = open_in("b.db");
    snprintf(sql, sizeof sql, "SELECT kevo_repair('%sa.db-kevo', '%snew') LIKE '%%1 entries of%%'",
             dir, dir);
    sqlite3_progress_handler(db, 1, interrupt_soon, db);
    expect_error(db, SQLITE_INTERRUPT, "interrupted", "%s", sql);
    sqlite3_progress_handler(db, 0, NULL, NULL);
    expect_rows(db, "1", "%s", sql); /* nothing was left in the new directory */
    sql_close(db);
}
END_TEST

START_TEST(repair_refused) {
    sqlite3 *db = open_in("a.db");
    expect_error(db, SQLITE_ERROR, "name a store", "SELECT kevo_repair(NULL, 'x')");
    expect_error(db, SQLITE_CANTOPEN, "nothing", "SELECT kevo_repair('%qnothing', '%qx')", dir,
                 dir);
    expect_error(db, SQLITE_ERROR, "unsafe use",
                 "CREATE VIEW v AS SELECT kevo_repair('a', 'b'); SELECT * FROM v");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES(1, 1)");
    expect_error(db, SQLITE_BUSY, "in this process", "SELECT kevo_repair('%qa.db-kevo', '%qx')",
                 dir, dir);
    sql_close(db);
}
END_TEST

START_TEST(empty_arguments) {
    refused_in("a.db", SQLITE_ERROR, "empty argument",
               "CREATE VIRTUAL TABLE t USING kevo(a TEXT,)");
    refused_in("a.db", SQLITE_ERROR, "empty argument",
               "CREATE VIRTUAL TABLE temp.t USING kevo(a TEXT,,b INT)");
    run("a.db", "CREATE VIRTUAL TABLE t USING kevo(); CREATE VIRTUAL TABLE temp.\"t,)\" USING "
                "kevo(a TEXT)");
}
END_TEST

/* Damage in the log shows when it is opened, or when it is checked. */
START_TEST(damaged_log) {
    run("a.db", "CREATE VIRTUAL TABLE kv USING kevo");
    sqlite3 *db = open_in("a.db");
    for (int i = 0; i < 3; i++)
        sql_exec(db, "INSERT INTO kv VALUES(%d, hex(zeroblob(40000)))", i);
    expect_rows(db, "ok", "SELECT kevo_check('kv')");
    shell("printf X | dd of=a.db-kevo/000001.wal bs=1 seek=20000 conv=notrunc 2>&1 | cat >&2");
    if (sqlite3_libversion_number() >= 3044000) {
        const char *pragmas[] = {"integrity_check", "quick_check", "integrity_check('kv')"};
        for (int i = 0; i < 3; i++) {
            const char *said = sql_rows(db, "PRAGMA %s", pragmas[i]);
            ck_assert_msg(strstr(said, "000001.wal") && strstr(said, "damaged"), "%s", said);
        }
    }
    expect_rows(db, "1", "SELECT kevo_check('kv') LIKE '%%000001.wal%%damaged%%'");
    sql_close(db);
    refused_in("a.db", SQLITE_CORRUPT, "a.db-kevo", all);
    expect_in("a.db", "1", "SELECT kevo_check('kv') LIKE 'kevo: %%a.db-kevo%%'");
    refused_in("a.db", SQLITE_CORRUPT, "a.db-kevo", "SELECT kevo_flush('kv')");
}
END_TEST

/* A store without a database file keeps its tables' names itself; a ROLLBACK undoes what
 * was done to them, or nothing was done. */
START_TEST(names_in_a_store_of_its_own) {
    char create[1300];
    snprintf(create, sizeof create, "CREATE VIRTUAL TABLE kv USING kevo('%sst')", dir);
    sqlite3 *db = sql_open(":memory:");
    sql_exec(db, "BEGIN; CREATE VIRTUAL TABLE kv USING kevo('%qst', a INTEGER, b REAL); ROLLBACK",
             dir);
    sql_exec(db, "%s; INSERT INTO kv VALUES('a', 1)", create);
    sql_exec(db, "BEGIN; DROP TABLE kv; ROLLBACK");
    expect_error(db, SQLITE_ERROR, "inside a transaction", "BEGIN; ALTER TABLE kv RENAME TO kw");
    sql_exec(db, "ROLLBACK");
    expect_rows(db, "a|1", "%s", all);
    sql_close(db);
    db = sql_open(":memory:");
    sql_exec(db, "%s", create);
    expect_rows(db, "a|1", "%s", all);
    /* Dropped for good, and the name given to another. */
    sql_exec(db, "BEGIN; DROP TABLE kv; COMMIT; %s; INSERT INTO kv VALUES('b', 2)", create);
    expect_rows(db, "b|2", "%s", all);
    sql_exec(db, "ALTER TABLE kv RENAME TO kw");
    sql_close(db);
    db = sql_open(":memory:");
    sql_exec(db, "CREATE VIRTUAL TABLE kw USING kevo('%qst')", dir);
    expect_rows(db, "b|2", "SELECT * FROM kw");
    sql_exec(db, "DROP TABLE kw");
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("moments");
    TCase *tcase = tcase_create("moments");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, file_put_back);
    tcase_add_test(tcase, marker_of_a_copy);
    tcase_add_loop_test(tcase, log_behind_the_marker, 0, 2);
    tcase_add_test(tcase, two_spellings);
    tcase_add_test(tcase, two_databases);
    tcase_add_test(tcase, empty_store_taken_over);
    tcase_add_loop_test(tcase, copy_beside, 0, 2);
    tcase_add_test(tcase, copy_in_its_place);
    tcase_add_test(tcase, moved);
    tcase_add_test(tcase, restored_over_itself);
    tcase_add_test(tcase, copy_far_away);
    tcase_add_test(tcase, default_directory_by_a_link);
    tcase_add_loop_test(tcase, others_in_its_place, 0, 6);
    tcase_add_test(tcase, original_in_use);
    tcase_add_test(tcase, copy_while_in_use);
    tcase_add_test(tcase, directory_lost);
    tcase_add_test(tcase, all_tables_dropped);
    tcase_add_test(tcase, options_belong_to_the_store);
    tcase_add_test(tcase, adopt_what_can_go_back);
    tcase_add_test(tcase, adopt_with_an_older_database);
    tcase_add_test(tcase, adopt_with_an_older_store);
    tcase_add_test(tcase, adopt_puts_the_end_of_the_log_back);
    tcase_add_test(tcase, adopt_on_another_branch);
    tcase_add_test(tcase, adopt_another_store);
    tcase_add_loop_test(tcase, adopt_by_a_new_database, 0, 2);
    tcase_add_loop_test(tcase, adopt_with_other_columns, 0,
                        (int)(sizeof definitions / sizeof definitions[0]));
    tcase_add_loop_test(tcase, adopt_by_a_copy, 0, 2);
    tcase_add_loop_test(tcase, adopt_without_a_marker, 0, 4);
    tcase_add_loop_test(tcase, table_of_kevos_is_missing, 0, 3);
    tcase_add_test(tcase, adopt_refused);
    tcase_add_loop_test(tcase, repair_and_adopt, 0, 2);
    tcase_add_test(tcase, repair_refused);
    tcase_add_test(tcase, repair_interrupted);
    tcase_add_test(tcase, empty_arguments);
    tcase_add_test(tcase, damaged_log);
    tcase_add_test(tcase, names_in_a_store_of_its_own);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
