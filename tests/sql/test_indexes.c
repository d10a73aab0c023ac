/* Secondary indexes through SQLite: every kind of table, transactions, stores that outlive
 * their database, damaged entries. Answers and conflicts in general are the business of
 * tests/fuzz. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kevo.h"
#include "tests/lib/sql.h"

#define CHECK(db) expect_rows(db, "ok", "SELECT kevo_check('t')")

/* ---- every kind of table beside an ordinary one -------------------------------------------- */

static const struct {
    const char *kevo, *ordinary, *index;
} kinds[] = {
    {"id INTEGER PRIMARY KEY, a TEXT, b INTEGER UNIQUE, c ANY, INDEX i (a, b)",
     "id INTEGER PRIMARY KEY, a TEXT, b INTEGER UNIQUE, c ANY) STRICT", "(a, b)"},
    {"id INTEGER, a TEXT, b INTEGER, c ANY, UNIQUE (b), INDEX i (a DESC)",
     "id INTEGER, a TEXT, b INTEGER, c ANY, UNIQUE (b)) STRICT", "(a DESC)"},
    {"id INTEGER, a TEXT, b INTEGER, c ANY, PRIMARY KEY (id DESC), INDEX i (c), UNIQUE (b)",
     "id INTEGER, a TEXT, b INTEGER, c ANY, PRIMARY KEY (id DESC), UNIQUE (b)) STRICT, "
     "WITHOUT ROWID",
     "(c)"},
    {"id INTEGER, a TEXT, b INTEGER, c ANY, PRIMARY KEY (a, id DESC), UNIQUE (b, c), INDEX i (id)",
     "id INTEGER, a TEXT, b INTEGER, c ANY, PRIMARY KEY (a, id DESC), UNIQUE (b, c)) STRICT, "
     "WITHOUT ROWID",
     "(id)"},
    {"id INTEGER, a TEXT, b INTEGER, c ANY, PRIMARY KEY (a, id), UNIQUE (id, a), INDEX i (b, a)",
     "id INTEGER, a TEXT, b INTEGER, c ANY, PRIMARY KEY (a, id), UNIQUE (id, a)) STRICT, "
     "WITHOUT ROWID",
     "(b, a)"},
};

static const char *const changes[] = {
    ("INSERT INTO t VALUES(1, 'x', 10, 5), (2, 'y', 20, 5.0), (3, 'x', NULL, NULL), "
     "(4, 'z', NULL, x'00')"),
    "INSERT INTO t VALUES(5, 'w', 10, 5)",
    "INSERT OR REPLACE INTO t VALUES(5, 'w', 10, 5)",
    "INSERT OR REPLACE INTO t VALUES(2, 'y', 10, 6)",
    "INSERT OR IGNORE INTO t VALUES(7, 'q', 10, 6), (8, 'r', 80, 6)",
    "UPDATE t SET a = a || 'a' WHERE b IS NULL",
    "UPDATE t SET b = b + 1 WHERE b >= 10",
    "UPDATE t SET id = id + 100 WHERE a > 'w'",
    "UPDATE OR REPLACE t SET b = 81 WHERE id = 103",
    "UPDATE t SET c = 7 WHERE c = 6",
    "UPDATE t SET c = c",
    "DELETE FROM t WHERE c = 7",
    "DELETE FROM t",
};

START_TEST(every_kind) {
    static const char *const queries[] = {"SELECT * FROM t ORDER BY id, a",
                                          "SELECT id, a FROM t WHERE a = 'xa' ORDER BY id",
                                          "SELECT id FROM t WHERE b = 10 ORDER BY id",
                                          "SELECT id FROM t WHERE b IS NULL ORDER BY id",
                                          "SELECT id, c FROM t WHERE c = 5 ORDER BY id",
                                          "SELECT max(b), max(a), count(*) FROM t"};
    sqlite3 *db = sql_open(sql_file("a.db")), *plain = sql_open_plain(":memory:");
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(%s)", kinds[_i].kevo);
    sql_exec(plain, "CREATE TABLE t(%s; CREATE INDEX i ON t %s", kinds[_i].ordinary,
             kinds[_i].index);
    for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        int rc = sql_try(db, "%s", changes[i]), other = sql_try(plain, "%s", changes[i]);
        ck_assert_msg((rc & 0xff) == (other & 0xff), "%s: %s, not %s", changes[i],
                      sqlite3_errmsg(db), sqlite3_errmsg(plain));
        ck_assert_int_eq(sqlite3_changes(db), sqlite3_changes(plain));
        CHECK(db);
        for (unsigned q = 0; q < sizeof queries / sizeof queries[0]; q++)
            expect_rows(db, sql_rows(plain, "%s", queries[q]), "%s", queries[q]);
    }
    sql_close(db);
    sql_close(plain);
}
END_TEST

/* Columns in front of those that a range's entries differ in, in any order, of one range after
 * the other. */
START_TEST(columns_of_ranges) {
    static const char *const queries[] = {
        "SELECT b, a, id, a, c FROM t WHERE a = 'x' AND b = 1 ORDER BY c, id",
        "SELECT c, b, a, b, id FROM t WHERE a IN ('x', '', 'yy', 'none') AND b = 2 ORDER BY a, c, "
        "id",
        "SELECT c, quote(a), b, id FROM t WHERE a IS NULL AND b > 0 ORDER BY b, c, id",
        "SELECT a, id, quote(c) FROM t WHERE a = 'yy' ORDER BY b DESC, c DESC, id DESC",
        "SELECT id, c, b, a, c, a, b FROM t WHERE a > '' ORDER BY a, b, c, id",
        "SELECT id, a, c, b, id FROM t WHERE a = 'x' AND b > 1 ORDER BY b DESC, c DESC, id DESC",
        "SELECT quote(d), typeof(d), a, id FROM t WHERE d = 1 ORDER BY a, id",
        "SELECT quote(d), typeof(d), a, id FROM t WHERE d IN (1, 0, '1', x'31') ORDER BY id",
        "SELECT p.a, t.a, t.b, t.id FROM t AS p, t WHERE t.a = p.a AND t.b = p.b ORDER BY p.id, "
        "t.id",
        "SELECT a, b, count(*), max(c) FROM t GROUP BY a, b ORDER BY a, b",
    };
    static const char *const columns = "id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c TEXT, d ANY";
    sqlite3 *db = sql_open(sql_file("a.db")), *plain = sql_open_plain(":memory:");
    const char *sides = _i ? "DESC" : "ASC";
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(%s, INDEX i (a %s, b, c), INDEX j (d, a %s))",
             columns, sides, sides);
    sql_exec(plain, "CREATE TABLE t(%s) STRICT", columns);
    for (int i = 0; i < 2; i++)
        sql_exec(
            i ? plain : db,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200) "
            "INSERT INTO t SELECT i, CASE i %% 5 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN "
            "'yy' ELSE 'x' END, i / 5 %% 4, CASE i %% 7 WHEN 0 THEN '' ELSE 'c' || i %% 3 END, "
            "CASE i %% 6 WHEN 0 THEN 1 WHEN 1 THEN 1.0 WHEN 2 THEN -0.0 WHEN 3 THEN '1' "
            "WHEN 4 THEN x'31' END FROM n");
    for (unsigned q = 0; q < sizeof queries / sizeof queries[0]; q++)
        expect_rows(db, sql_rows(plain, "%s", queries[q]), "%s", queries[q]);
    sql_close(db);
    sql_close(plain);
}
END_TEST

/* ---- transactions --------------------------------------------------------------------------- */

static void fill(sqlite3 *db) {
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(k TEXT PRIMARY KEY, n INTEGER UNIQUE, "
                 "v ANY, INDEX by_v (v DESC))");
    sql_exec(db, "INSERT INTO t VALUES('a', 1, 10), ('b', 2, 20), ('c', NULL, 20), "
                 "('d', NULL, NULL)");
}

START_TEST(transactions) {
    sqlite3 *db = sql_open(sql_file("a.db"));
    fill(db);
    sql_exec(db, "BEGIN; INSERT INTO t VALUES('e', 3, 30)");
    sql_exec(db, "SAVEPOINT s; REPLACE INTO t VALUES('f', 1, 40); DELETE FROM t WHERE v = 20");
    expect_rows(db, "f;e", "SELECT k FROM t WHERE v > 10");
    CHECK(db);
    sql_exec(db, "ROLLBACK TO s");
    expect_rows(db, "e;b;c", "SELECT k FROM t WHERE v > 10");
    expect_rows(db, "a", "SELECT k FROM t WHERE n = 1");
    CHECK(db);
    sql_exec(db, "RELEASE s; ROLLBACK");
    expect_rows(db, "b;c", "SELECT k FROM t WHERE v > 10");
    CHECK(db);
    /* The second row fails; the first is undone with its entries. */
    sql_exec(db, "BEGIN; UPDATE t SET v = 11 WHERE k = 'a'");
    expect_error(db, SQLITE_CONSTRAINT_UNIQUE, "UNIQUE constraint failed: t.n",
                 "INSERT INTO t VALUES('x', 7, 70), ('y', 2, 70)");
    expect_rows(db, "", "SELECT k FROM t WHERE v = 70");
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE",
                 "INSERT OR FAIL INTO t VALUES('x', 7, 70), ('y', 2, 70)");
    expect_rows(db, "x", "SELECT k FROM t WHERE v = 70");
    CHECK(db);
    sql_exec(db, "COMMIT");
    expect_rows(db, "a", "SELECT k FROM t WHERE v = 11");
    expect_error(db, SQLITE_CONSTRAINT, "UNIQUE",
                 "BEGIN; DELETE FROM t WHERE k = 'a'; INSERT OR ROLLBACK INTO t VALUES('y', 2, 0)");
    ck_assert(sqlite3_get_autocommit(db));
    expect_rows(db, "a", "SELECT k FROM t WHERE n = 1");
    CHECK(db);
    sql_close(db);
}
END_TEST

/* Other connections see rows and entries of the same moment. */
START_TEST(snapshots) {
    const char *path = sql_file("a.db");
    sqlite3 *db = sql_open(path), *reader = sql_open(path);
    sql_exec(db, "PRAGMA journal_mode=WAL");
    fill(db);
    sql_exec(reader, "BEGIN");
    expect_rows(reader, "b;c", "SELECT k FROM t WHERE v = 20");
    sql_exec(db, "UPDATE t SET v = 21 WHERE k = 'b'; DELETE FROM t WHERE k = 'c'; "
                 "INSERT INTO t VALUES('z', 9, 20)");
    expect_rows(reader, "b;c", "SELECT k FROM t WHERE v = 20");
    CHECK(reader);
    sql_exec(reader, "COMMIT");
    expect_rows(reader, "z", "SELECT k FROM t WHERE v = 20");
    CHECK(reader);
    sql_close(reader);
    sql_close(db);
}
END_TEST

/* A cursor over an index goes on while its connection changes what it walks over. */
START_TEST(open_cursor) {
    sqlite3 *db = sql_open(sql_file("a.db"));
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(k INTEGER PRIMARY KEY, n INTEGER, w TEXT, "
                 "INDEX by_n (n))");
    sql_exec(db, "INSERT INTO t SELECT value, value / 2, 'w' || value FROM "
                 "(WITH RECURSIVE c(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM c "
                 "WHERE value < 100) SELECT value FROM c)");
    sql_exec(db, "BEGIN");
    sqlite3_stmt *stmt = sql_prepare(db, "SELECT k, w FROM t WHERE n >= 10 ORDER BY n");
    unsigned rows = 0;
    for (; sqlite3_step(stmt) == SQLITE_ROW; rows++) {
        int k = sqlite3_column_int(stmt, 0);
        ck_assert_int_eq(atoi((const char *)sqlite3_column_text(stmt, 1) + 1), k);
        sql_exec(db, "DELETE FROM t WHERE k = %d; DELETE FROM t WHERE k = %d", k, k + 40);
        if (rows == 5) sql_exec(db, "COMMIT");
    }
    ck_assert_uint_eq(rows, 41);
    sqlite3_finalize(stmt);
    CHECK(db);
    sql_close(db);
}
END_TEST

/* ---- names, directories, drop ------------------------------------------------------------------ */

START_TEST(names_and_drop) {
    const char *path = sql_file("a.db");
    sqlite3 *db = sql_open(path);
    fill(db);
    sql_exec(db, "ALTER TABLE t RENAME TO \"odd name\"");
    expect_error(db, SQLITE_CONSTRAINT_UNIQUE, "odd name.n",
                 "INSERT INTO \"odd name\" VALUES('x', 1, 1)");
    sql_exec(db, "ALTER TABLE \"odd name\" RENAME TO t");
    sql_close(db);
    db = sql_open(path);
    expect_rows(db, "a", "SELECT k FROM t WHERE n = 1");
    CHECK(db);
    sql_exec(db, "DROP TABLE t");
    fill(db);
    expect_rows(db, "4", "SELECT count(*) FROM t WHERE v IS NULL OR v > 0");
    CHECK(db);
    /* A table that a ROLLBACK takes back leaves nothing to the next one with its id. */
    sql_exec(db, "BEGIN; SAVEPOINT s; CREATE VIRTUAL TABLE u USING kevo(a INT, INDEX i (a)); "
                 "INSERT INTO u VALUES(1), (2); ROLLBACK TO s; "
                 "CREATE VIRTUAL TABLE u USING kevo(a INT, INDEX i (a)); COMMIT");
    expect_rows(db, "ok", "SELECT kevo_check('u')");
    expect_rows(db, "0", "SELECT count(*) FROM u WHERE a > 0");
    sql_close(db);
}
END_TEST

START_TEST(kept_store) {
    const char *dir = sql_file("kept.store");
#define KEPT "CREATE VIRTUAL TABLE t USING kevo('%s', a TEXT PRIMARY KEY, b INT%s)"
    sqlite3 *db = sql_open(":memory:");
    sql_exec(db, KEPT, dir, ", INDEX i (b)");
    sql_exec(db, "INSERT INTO t VALUES('x', 5), ('y', 6)");
    sql_close(db);
    db = sql_open(":memory:");
    expect_error(db, SQLITE_ERROR, "other columns or indexes", KEPT, dir, "");
    expect_error(db, SQLITE_ERROR, "other columns or indexes", KEPT, dir, " UNIQUE");
    expect_error(db, SQLITE_ERROR, "INDEX \"i\" (\"b\")", KEPT, dir, ", INDEX i (b DESC)");
    sql_exec(db, KEPT, dir, ", INDEX i (b)");
    expect_rows(db, "y", "SELECT a FROM t WHERE b = 6");
    CHECK(db);
    sql_close(db);
}
END_TEST

START_TEST(in_memory) {
    sqlite3 *db = sql_open(":memory:");
    fill(db);
    sql_exec(db, "UPDATE t SET n = n + 10; DELETE FROM t WHERE v IS NULL");
    expect_rows(db, "a|11;b|12", "SELECT k, n FROM t WHERE n > 0");
    CHECK(db);
    sql_close(db);
}
END_TEST

START_TEST(too_big) {
    sqlite3 *db = sql_open(sql_file("a.db"));
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(a TEXT, b INT, INDEX by_a (a))");
    sql_exec(db, "INSERT INTO t VALUES('small', 1)");
    expect_error(db, SQLITE_TOOBIG, "entry of index by_a of table t is too big",
                 "INSERT INTO t VALUES(hex(zeroblob(40000)), 2)");
    expect_error(db, SQLITE_TOOBIG, "by_a", "UPDATE t SET a = hex(zeroblob(40000))");
    expect_rows(db, "small|1", "SELECT * FROM t");
    CHECK(db);
    sql_close(db);
}
END_TEST

/* ---- damage --------------------------------------------------------------------------------------- */

/* Change entries behind SQLite's back, in a store that decides itself: the first entry of the
 * indexes goes, or one that belongs to no row comes, or its value is changed. */
enum damage { LOSE_ENTRY, ADD_ENTRY, CHANGE_VALUE, LOSE_ROW };

static void damage(const char *dir, enum damage what) {
    static const uint8_t first[] = {0xfc};
    struct kevo_options o;
    kevo_store *store;
    kevo_iter *it;
    uint8_t key[64];
    kevo_options_default(&o);
    ck_ok(kevo_open(dir, &o, &store, &test_err));
    ck_ok(kevo_iter_new(store, NULL, &it, &test_err));
    struct kevo_slice from = {what == LOSE_ROW ? (const uint8_t *)"\1" : first, 1};
    ck_ok(kevo_iter_seek(it, from, &test_err));
    ck_assert(kevo_iter_valid(it));
    struct kevo_slice k = kevo_iter_key(it), one = {(const uint8_t *)"\1", 1}, none = {key, 0};
    memcpy(key, k.data, k.len);
    k.data = key;
    kevo_iter_free(it);
    switch (what) {
    case LOSE_ENTRY:
    case LOSE_ROW: ck_ok(kevo_delete(store, k, &test_err)); break;
    case CHANGE_VALUE: ck_ok(kevo_put(store, k, one, &test_err)); break;
    case ADD_ENTRY: key[k.len++] = 'x'; ck_ok(kevo_put(store, k, none, &test_err));
    }
    kevo_close(store);
}

static const struct {
    enum damage what;
    const char *found;
} damages[] = {{LOSE_ENTRY, "index by_b of table t lacks entries of 1 rows and has 0"},
               {ADD_ENTRY, "index by_b of table t lacks entries of 0 rows and has 1"},
               {CHANGE_VALUE, "index by_b of table t lacks entries of 1 rows and has 0"},
               {LOSE_ROW, "index by_b of table t lacks entries of 0 rows and has 1"}};

START_TEST(damaged) {
    const char *dir = sql_file("kept.store");
#define DAMAGED                                                                                    \
    "CREATE VIRTUAL TABLE t USING kevo('%s', a TEXT PRIMARY KEY, b ANY, d INT, INDEX by_b (b))"
    sqlite3 *db = sql_open(":memory:");
    sql_exec(db, DAMAGED, dir);
    sql_exec(db, "INSERT INTO t VALUES('x', 5, 1), ('y', 6, 2), ('z', NULL, 3)");
    sql_exec(db, "DELETE FROM t WHERE a = 'z'");
    CHECK(db);
    sql_close(db);
    damage(dir, damages[_i].what);
    db = sql_open(":memory:");
    sql_exec(db, DAMAGED, dir);
    const char *said = sql_rows(db, "SELECT kevo_check('t')");
    ck_assert_msg(strstr(said, damages[_i].found) != NULL, "%s", said);
    /* Which is what the pragma says, since there is a way for it to ask. */
    bool asks = sqlite3_libversion_number() >= 3044000;
    said = sql_rows(db, "PRAGMA integrity_check");
    ck_assert_msg(asks == (strstr(said, damages[_i].found) != NULL), "%s", said);
    ck_assert(asks == (strncmp(said, "table t: kevo: ", 15) == 0));
    expect_rows(db, "ok", "PRAGMA quick_check");
    if (damages[_i].what == LOSE_ROW)
        expect_error(db, SQLITE_CORRUPT, "index by_b of table t has an entry of a row that is not",
                     "SELECT d FROM t WHERE b = ?1 OR b > 0");
    /* Part of a transaction, and of its rollback. */
    sql_exec(db, "BEGIN");
    expect_rows(db, "ok", "SELECT kevo_reindex('t')");
    CHECK(db);
    sql_exec(db, "ROLLBACK");
    ck_assert_ptr_nonnull(strstr(sql_rows(db, "SELECT kevo_check('t')"), damages[_i].found));
    expect_rows(db, "ok", "SELECT kevo_reindex('t')");
    CHECK(db);
    sql_close(db);
    db = sql_open(":memory:");
    sql_exec(db, DAMAGED, dir);
    CHECK(db);
    sql_close(db);
}
END_TEST

/* A row in whose way there is one by several constraints: which of them the message names. */
static const char *const constraints[] = {
    "PRIMARY KEY (a DESC), UNIQUE (b, a)",
    "PRIMARY KEY (a DESC), UNIQUE (a), UNIQUE (b, a)",
    "PRIMARY KEY (a DESC), UNIQUE (a DESC), UNIQUE (b DESC, a DESC)",
    "UNIQUE (a), UNIQUE (b, a), PRIMARY KEY (a DESC)",
    "UNIQUE (b), PRIMARY KEY (a DESC), UNIQUE (a), UNIQUE (b, a)",
    "UNIQUE (b, a), PRIMARY KEY (a DESC)",
    "PRIMARY KEY (b, a), UNIQUE (a), UNIQUE (b)",
    "UNIQUE (a), PRIMARY KEY (b, a), UNIQUE (a, b)",
};

START_TEST(first_constraint) {
    static const char insert[] = "INSERT INTO t VALUES(1, 'x')";
    sqlite3 *db = sql_open(":memory:"), *plain = sql_open_plain(":memory:");
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo(a INTEGER, b TEXT, %s)", constraints[_i]);
    sql_exec(plain, "CREATE TABLE t(a INTEGER, b TEXT, %s) STRICT, WITHOUT ROWID", constraints[_i]);
    sql_exec(db, insert);
    sql_exec(plain, insert);
    ck_assert_int_eq(sql_try(plain, insert) & 0xff, SQLITE_CONSTRAINT);
    expect_error(db, SQLITE_CONSTRAINT, sqlite3_errmsg(plain), insert);
    sql_close(db);
    sql_close(plain);
}
END_TEST

/* A UNIQUE entry is lost, an equal row comes in its place, and then there is no way to make
 * the index right. */
START_TEST(two_equal_rows) {
    const char *dir = sql_file("kept.store");
    sqlite3 *db = sql_open(":memory:");
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo('%s', a TEXT PRIMARY KEY, b INT UNIQUE)", dir);
    sql_exec(db, "INSERT INTO t VALUES('x', 5)");
    sql_close(db);
    damage(dir, LOSE_ENTRY);
    db = sql_open(":memory:");
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo('%s', a TEXT PRIMARY KEY, b INT UNIQUE)", dir);
    sql_exec(db, "INSERT INTO t VALUES('y', 5)");
    expect_error(db, SQLITE_ERROR, "index unique_1 of table t: two rows are equal in its columns",
                 "SELECT kevo_reindex('t')");
    ck_assert(sqlite3_get_autocommit(db));
    sql_exec(db, "DELETE FROM t WHERE a = 'x'");
    expect_rows(db, "ok", "SELECT kevo_reindex('t')");
    CHECK(db);
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("indexes");
    TCase *tc = tcase_create("indexes");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_kind, 0, sizeof kinds / sizeof kinds[0]);
    tcase_add_loop_test(tc, columns_of_ranges, 0, 2);
    tcase_add_test(tc, transactions);
    tcase_add_test(tc, snapshots);
    tcase_add_test(tc, open_cursor);
    tcase_add_test(tc, names_and_drop);
    tcase_add_test(tc, kept_store);
    tcase_add_test(tc, in_memory);
    tcase_add_test(tc, too_big);
    tcase_add_loop_test(tc, damaged, 0, sizeof damages / sizeof damages[0]);
    tcase_add_test(tc, two_equal_rows);
    tcase_add_loop_test(tc, first_constraint, 0, sizeof constraints / sizeof constraints[0]);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
