/* What SQLite refuses on all virtual tables, each with the way around it: the list in README.md,
 * "What SQLite refuses on virtual tables", in its order. Should a newer SQLite take one of
 * them, the test says so, and the list is to be made shorter. */
#include <string.h>

#include "tests/lib/sql.h"

/* With t(id, word, n), rows (1, 'one', 10) and (2, 'two', 20), and an ordinary o(id, x). */
static const struct {
    const char *refused, *message;
    const char *instead; /* the way around */
    const char *query, *rows;
} list[] = {
    {"INSERT INTO t VALUES (1, 'one', 5) ON CONFLICT (id) DO UPDATE SET n = n + excluded.n",
     "UPSERT not implemented for virtual table",
     "BEGIN; INSERT OR IGNORE INTO t VALUES (1, 'one', 0), (3, 'three', 0); "
     "UPDATE t SET n = n + 5 WHERE id IN (1, 3); COMMIT",
     "SELECT id, n FROM t", "1|15;2|20;3|5"},
    {"INSERT INTO t VALUES (1, 'one', 5) ON CONFLICT DO NOTHING",
     "UPSERT not implemented for virtual table",
     "INSERT OR IGNORE INTO t VALUES (1, 'uno', 5), (4, 'four', 4)", "SELECT * FROM t",
     "1|one|10;2|two|20;4|four|4"},
    {"UPDATE t SET n = n + 1 WHERE id = 1 RETURNING n", "RETURNING is not available",
     "BEGIN IMMEDIATE; UPDATE t SET n = n + 1 WHERE id = 1; CREATE TEMP TABLE got AS SELECT n FROM "
     "t WHERE id = 1; COMMIT",
     "SELECT n FROM got", "11"},
    {"DELETE FROM t WHERE n > 15 RETURNING word", "RETURNING is not available",
     "BEGIN IMMEDIATE; CREATE TEMP TABLE got AS SELECT word FROM t WHERE n > 15; DELETE FROM t "
     "WHERE n > 15; COMMIT",
     "SELECT word, (SELECT count(*) FROM t) FROM got", "two|1"},
    {"CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO o VALUES (new.id, new.n); END",
     "cannot create triggers on virtual tables",
     "CREATE VIEW v AS SELECT * FROM t; CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN INSERT INTO "
     "t VALUES (new.id, new.word, new.n); INSERT INTO o VALUES (new.id, new.n); END; INSERT INTO "
     "v VALUES (5, 'five', 50)",
     "SELECT o.*, t.* FROM o JOIN t USING (id)", "5|50|5|five|50"},
    {"CREATE INDEX i ON t (n)", "virtual tables may not be indexed",
     "CREATE VIRTUAL TABLE t2 USING kevo(id INTEGER PRIMARY KEY, word TEXT, n INT, INDEX i (n)); "
     "INSERT INTO t2 SELECT * FROM t; DROP TABLE t; ALTER TABLE t2 RENAME TO t",
     "SELECT id FROM t WHERE n = 20", "2"},
    {"ALTER TABLE t ADD COLUMN extra", "virtual tables may not be altered",
     "CREATE VIRTUAL TABLE t2 USING kevo(id INTEGER PRIMARY KEY, word TEXT, n INT, extra ANY); "
     "INSERT INTO t2 SELECT *, NULL FROM t; DROP TABLE t; ALTER TABLE t2 RENAME TO t",
     "SELECT * FROM t", "1|one|10|NULL;2|two|20|NULL"},
    {"ALTER TABLE t DROP COLUMN n", "cannot drop column from virtual table",
     "CREATE VIRTUAL TABLE t2 USING kevo(id INTEGER PRIMARY KEY, word TEXT); "
     "INSERT INTO t2 SELECT id, word FROM t; DROP TABLE t; ALTER TABLE t2 RENAME TO t",
     "SELECT * FROM t", "1|one;2|two"},
    {"ALTER TABLE t RENAME COLUMN n TO amount", "cannot rename columns of virtual table",
     "CREATE VIEW v (id, word, amount) AS SELECT * FROM t", "SELECT amount FROM v", "10;20"},
    {"CREATE VIRTUAL TABLE g USING kevo(a INT, b INT GENERATED ALWAYS AS (a * 2))", "no GENERATED",
     "CREATE VIEW v AS SELECT *, n * 2 AS twice FROM t", "SELECT twice FROM v", "20;40"},
    {"CREATE VIRTUAL TABLE g USING kevo(a INT DEFAULT 5)", "no DEFAULT",
     "CREATE VIEW v AS SELECT * FROM t; CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN INSERT INTO "
     "t VALUES (new.id, new.word, coalesce(new.n, 5)); END; INSERT INTO v (id, word) VALUES (6, "
     "'six')",
     "SELECT n FROM t WHERE id = 6", "5"},
    {"CREATE VIRTUAL TABLE g USING kevo(a INT CHECK (a > 0))", "no CHECK",
     "CREATE VIEW v AS SELECT * FROM t; CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN SELECT "
     "RAISE(ABORT, 'n is negative') WHERE new.n < 0; INSERT INTO t VALUES (new.id, new.word, "
     "new.n); END",
     "INSERT INTO v VALUES (7, 'seven', -1)", "error 1811: n is negative"},
    {"CREATE VIRTUAL TABLE g USING kevo(a INT REFERENCES o (id))", "no REFERENCES",
     "INSERT INTO o VALUES (8, NULL); INSERT INTO t SELECT id, 'eight', 8 FROM o WHERE id = 8; "
     "INSERT INTO t SELECT id, 'nine', 9 FROM o WHERE id = 9",
     "SELECT id FROM t WHERE id > 2", "8"},
    {"PRAGMA foreign_keys = 1; CREATE TABLE c (x REFERENCES t (id)); INSERT INTO c VALUES (1)",
     "foreign key mismatch",
     "CREATE TABLE d (x); INSERT INTO d SELECT id FROM t WHERE id = 1; "
     "INSERT INTO d SELECT id FROM t WHERE id = 10",
     "SELECT * FROM d", "1"},
    {"SELECT * FROM t INDEXED BY i", "no such index", NULL,
     "SELECT count(*) FROM t CROSS JOIN o WHERE +t.n = 5", "0"},
    {"CREATE TEMP VIRTUAL TABLE g USING kevo", "syntax error",
     "CREATE VIRTUAL TABLE temp.g USING kevo", "SELECT count(*) FROM temp.g", "0"},
    {"CREATE VIRTUAL TABLE g USING kevo AS SELECT 1", "syntax error",
     "CREATE VIRTUAL TABLE g USING kevo(a INT); INSERT INTO g SELECT 1", "SELECT a FROM g", "1"},
    {"CREATE VIRTUAL TABLE g USING kevo(a INT PRIMARY KEY) WITHOUT ROWID", "syntax error",
     "CREATE VIRTUAL TABLE g USING kevo(a INT PRIMARY KEY)", "SELECT count(*) FROM g", "0"},
};
enum { LIST = sizeof list / sizeof list[0] };

static sqlite3 *open_tables(void) {
    sqlite3 *db = sql_open(sql_file("app.db"));
    sql_exec(db, "PRAGMA synchronous = OFF; CREATE TABLE o (id INTEGER, x);"
                 "CREATE VIRTUAL TABLE t USING kevo(id INTEGER PRIMARY KEY, word TEXT, n INT);"
                 "INSERT INTO t VALUES (1, 'one', 10), (2, 'two', 20)");
    return db;
}

START_TEST(way_around) {
    sqlite3 *db = open_tables();
    expect_error(db, SQLITE_ERROR, list[_i].message, "%s", list[_i].refused);
    sql_exec(db, "PRAGMA foreign_keys = 0");
    expect_rows(db, "1|one|10;2|two|20", "SELECT * FROM t");
    if (list[_i].instead) sql_exec(db, "%s", list[_i].instead);
    expect_rows(db, list[_i].rows, "%s", list[_i].query);
    sql_close(db);
}
END_TEST

/* The C interface: a value is read whole instead of opened as a stream. */
START_TEST(incremental_blob) {
    sqlite3 *db = open_tables();
    sqlite3_blob *blob = NULL;
    ck_assert_int_eq(sqlite3_blob_open(db, "main", "t", "word", 1, 0, &blob), SQLITE_ERROR);
    ck_assert_ptr_nonnull(strstr(sqlite3_errmsg(db), "cannot open virtual table: t"));
    expect_rows(db, "wo", "SELECT substr(word, 2, 2) FROM t WHERE id = 2");
    sql_close(db);
}
END_TEST

static void count_change(void *arg, int op, const char *schema, const char *table,
                         sqlite3_int64 rowid) {
    (void)op, (void)schema, (void)rowid;
    *(int *)arg += strcmp(table, "t") == 0;
}

/* sqlite3_update_hook() hears nothing of virtual tables: a trigger on a view can tell. */
START_TEST(update_hook) {
    sqlite3 *db = open_tables();
    int heard = 0;
    sqlite3_update_hook(db, count_change, &heard);
    sql_exec(db, "INSERT INTO t VALUES (3, 'three', 30); UPDATE t SET n = 0; DELETE FROM t");
    ck_assert_int_eq(heard, 0);
    sql_close(db);
}
END_TEST

/* Nothing is refused, but nothing happens either. */
START_TEST(analyze) {
    sqlite3 *db = open_tables();
    sql_exec(db, "ANALYZE t; REINDEX t");
    expect_rows(db, "0", "SELECT count(*) FROM sqlite_stat1");
    expect_rows(db, "ok", "SELECT kevo_reindex('t')");
    sql_close(db);
}
END_TEST

/* Of an INSERT, RETURNING works, but shows what the statement gave: no automatic rowid, and
 * also the rows that OR IGNORE passed over. */
START_TEST(insert_returning) {
    sqlite3 *db = open_tables();
    expect_rows(db, "3|three", "INSERT INTO t VALUES (3, 'three', 30) RETURNING id, word");
    expect_rows(db, "NULL|four", "INSERT INTO t (word) VALUES ('four') RETURNING id, word");
    expect_rows(db, "4", "SELECT last_insert_rowid()");
    expect_rows(db, "1|uno", "INSERT OR IGNORE INTO t VALUES (1, 'uno', 0) RETURNING id, word");
    expect_rows(db, "one", "SELECT word FROM t WHERE id = 1");
    sql_close(db);
}
END_TEST

/* What the schema says is not trusted then; a view that the connection makes for itself is, but
 * a trigger is not. */
START_TEST(untrusted_schema) {
    sqlite3 *db = open_tables();
    sql_exec(db, "CREATE VIEW v AS SELECT * FROM t; PRAGMA trusted_schema = OFF");
    expect_error(db, SQLITE_ERROR, "unsafe use of virtual table", "SELECT * FROM v");
    sql_exec(db, "CREATE TEMP VIEW w AS SELECT * FROM t");
    expect_rows(db, "1|one|10;2|two|20", "SELECT * FROM w");
    sql_exec(db, "CREATE TEMP TRIGGER g INSTEAD OF DELETE ON w BEGIN DELETE FROM t WHERE id = "
                 "old.id; END");
    expect_error(db, SQLITE_ERROR, "unsafe use of virtual table", "DELETE FROM w WHERE id = 1");
    sql_exec(db, "DELETE FROM t WHERE id = 1");
    expect_rows(db, "2", "SELECT id FROM t");
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("refused");
    TCase *tcase = tcase_create("refused");
    tcase_add_loop_test(tcase, way_around, 0, LIST);
    tcase_add_test(tcase, incremental_blob);
    tcase_add_test(tcase, update_hook);
    tcase_add_test(tcase, analyze);
    tcase_add_test(tcase, insert_returning);
    tcase_add_test(tcase, untrusted_schema);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
