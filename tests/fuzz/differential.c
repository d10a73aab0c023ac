/* Random statements on a kevo table and on an ordinary STRICT table with the same columns:
 * same rows, same changes(), errors of the same class.
 *
 *     KEVO_OPS=100000 KEVO_SEED=1 KEVO_MODULE=.../kevo.so differential
 *
 * A difference is made small by leaving out statements, and printed as a script. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/statements.h"
#include "tests/fuzz/values.h"
#include "tests/lib/sql.h"

enum { OPS_PER_TABLE = 400, MAX_ROWS = 20000 };

/* ---- one database ------------------------------------------------------------------------ */

struct side {
    const char *path;
    sqlite3 *db;
    /* of the statement executed last */
    int rc;
    char *rows[MAX_ROWS];
    size_t row_count;
    char message[500];
    int changes, autocommit;
    sqlite3_int64 rowid;
};
static struct side kevo, plain;

static void open_side(struct side *s, bool with_kevo) {
    s->db = with_kevo ? sql_open(s->path) : sql_open_plain(s->path);
    sql_exec(s->db, "PRAGMA synchronous=OFF");
}

static void forget_rows(struct side *s) {
    for (size_t i = 0; i < s->row_count; i++)
        sqlite3_free(s->rows[i]);
    s->row_count = 0;
}

static void put_column(sqlite3_str *out, sqlite3_stmt *stmt, int i) {
    double real = sqlite3_column_double(stmt, i);
    sqlite3_uint64 bits;
    switch (sqlite3_column_type(stmt, i)) {
    case SQLITE_NULL: sqlite3_str_appendall(out, "NULL"); break;
    case SQLITE_INTEGER: sqlite3_str_appendf(out, "%lld", sqlite3_column_int64(stmt, i)); break;
    case SQLITE_FLOAT:
        memcpy(&bits, &real, sizeof bits);
        sqlite3_str_appendf(out, "%!.17g(%llx)", real, bits);
        break;
    case SQLITE_TEXT: sqlite3_str_appendf(out, "%Q", sqlite3_column_text(stmt, i)); break;
    default: {
        const unsigned char *p = sqlite3_column_blob(stmt, i);
        sqlite3_str_appendall(out, "x'");
        for (int k = 0; k < sqlite3_column_bytes(stmt, i); k++)
            sqlite3_str_appendf(out, "%02x", p[k]);
        sqlite3_str_appendall(out, "'");
    }
    }
}

static char *row_text(sqlite3_stmt *stmt) {
    sqlite3_str *out = sqlite3_str_new(NULL);
    for (int i = 0; i < sqlite3_column_count(stmt); i++) {
        if (i) sqlite3_str_appendall(out, "|");
        put_column(out, stmt, i);
    }
    return sqlite3_str_finish(out);
}

static int cmp_rows(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void execute(struct side *s, const struct fuzz_statement *statement) {
    sqlite3_stmt *stmt = NULL;
    forget_rows(s);
    const char *sql = s == &plain && statement->twin ? statement->twin : statement->sql;
    s->rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);
    if (s->rc == SQLITE_OK) {
        fuzz_bind_all(statement, stmt);
        while ((s->rc = sqlite3_step(stmt)) == SQLITE_ROW && s->row_count < MAX_ROWS)
            s->rows[s->row_count++] = row_text(stmt);
    }
    snprintf(s->message, sizeof s->message, "%s", sqlite3_errmsg(s->db));
    s->rc = s->rc == SQLITE_DONE ? SQLITE_OK : sqlite3_extended_errcode(s->db);
    sqlite3_finalize(stmt);
    s->changes = sqlite3_changes(s->db);
    s->autocommit = sqlite3_get_autocommit(s->db);
    s->rowid = sqlite3_last_insert_rowid(s->db);
    if (!(statement->flags & FUZZ_ORDERED))
        qsort(s->rows, s->row_count, sizeof s->rows[0], cmp_rows);
}

/* ---- comparing ------------------------------------------------------------------------------ */

static char difference[2000];

static bool is_type_error(int rc) {
    return rc == SQLITE_MISMATCH || rc == SQLITE_CONSTRAINT_DATATYPE;
}

static bool differ(const char *what, const char *ours, const char *theirs) {
    snprintf(difference, sizeof difference, "%s\n  kevo:     %.800s\n  ordinary: %.800s", what,
             ours, theirs);
    return true;
}

static bool differ_number(const char *what, sqlite3_int64 ours, sqlite3_int64 theirs) {
    char a[32], b[32];
    snprintf(a, sizeof a, "%lld", (long long)ours);
    snprintf(b, sizeof b, "%lld", (long long)theirs);
    return differ(what, a, b);
}

static bool rows_differ(void) {
    for (size_t i = 0; i < kevo.row_count && i < plain.row_count; i++)
        if (strcmp(kevo.rows[i], plain.rows[i]) != 0)
            return differ("rows", kevo.rows[i], plain.rows[i]);
    if (kevo.row_count != plain.row_count)
        return differ_number("number of rows", (sqlite3_int64)kevo.row_count,
                             (sqlite3_int64)plain.row_count);
    return false;
}

static bool errors_differ(const struct fuzz_statement *s) {
    if (is_type_error(kevo.rc) && is_type_error(plain.rc)) return false;
    /* Of several rows that fail the one that comes first is named. */
    bool refused = is_type_error(kevo.rc) || (kevo.rc & 0xff) == SQLITE_CONSTRAINT;
    if (strncmp(s->sql, "UPDATE", 6) == 0 && refused && (plain.rc & 0xff) == SQLITE_CONSTRAINT)
        return false;
    if ((kevo.rc & 0xff) != (plain.rc & 0xff)) return differ("error", kevo.message, plain.message);
    if ((kevo.rc & 0xff) == SQLITE_CONSTRAINT && strcmp(kevo.message, plain.message) != 0)
        return differ("message", kevo.message, plain.message);
    return false;
}

static bool results_differ(const struct fuzz_statement *s) {
    static const char *const counted[] = {"INSERT", "REPLACE", "UPDATE", "DELETE"};
    bool counts = false;
    for (int i = 0; i < 4; i++)
        counts |= strncmp(s->sql, counted[i], strlen(counted[i])) == 0;
    if (errors_differ(s)) return true;
    if (kevo.autocommit != plain.autocommit)
        return differ_number("autocommit", kevo.autocommit, plain.autocommit);
    if (kevo.rc != SQLITE_OK) return false;
    if (!s->twin && rows_differ()) return true;
    if (counts && kevo.changes != plain.changes)
        return differ_number("changes()", kevo.changes, plain.changes);
    if (kevo.rowid != plain.rowid)
        return differ_number("last_insert_rowid()", kevo.rowid, plain.rowid);
    return false;
}

static bool query_differs(const char *sql) {
    struct fuzz_statement s = {.flags = 0};
    s.sql = (char *)(uintptr_t)sql;
    execute(&kevo, &s);
    execute(&plain, &s);
    return results_differ(&s);
}

static bool tables_differ(const struct fuzz_table *t) {
    return query_differs(t->rowid ? "SELECT rowid, * FROM t" : "SELECT * FROM t") ||
           query_differs("SELECT * FROM side") || query_differs("SELECT * FROM u");
}

/* ---- running -------------------------------------------------------------------------------------- */

static void reopen_both(void) {
    sql_close(kevo.db);
    sql_close(plain.db);
    open_side(&kevo, true);
    open_side(&plain, false);
}

static bool upkeep_fails(const struct fuzz_statement *s) {
    execute(&kevo, s);
    if (kevo.rc == SQLITE_OK && kevo.row_count == 1 && strcmp(kevo.rows[0], "'ok'") == 0)
        return false;
    return differ("upkeep", kevo.row_count ? kevo.rows[0] : kevo.message, "ok");
}

static bool is_taken(const struct fuzz_statement *s) {
    execute(&kevo, s);
    return kevo.rc == SQLITE_ERROR ? false : differ("not refused", s->sql, kevo.message);
}

/* Execute one statement on both sides; true: they differ. */
static bool statement_differs(const struct fuzz_statement *s, const struct fuzz_table *t) {
    if (s->flags & FUZZ_REOPEN) {
        reopen_both();
        return tables_differ(t);
    }
    if (s->flags & FUZZ_KEVO_ONLY) return upkeep_fails(s);
    if (s->flags & FUZZ_REFUSED) return is_taken(s);
    execute(&kevo, s);
    execute(&plain, s);
    if (results_differ(s)) return true;
    /* SQLite keeps the rows before one with a wrong value in some cases, and on virtual
     * tables those before the one where an UPDATE FROM fails. */
    bool half_done = is_type_error(kevo.rc) ||
                     (kevo.rc != SQLITE_OK && strstr(s->sql, " FROM side WHERE side.id = t."));
    if (half_done && !kevo.autocommit) query_differs("ROLLBACK");
    bool changes_rows = kevo.rc != SQLITE_OK || s->twin || strncmp(s->sql, "ROLLBACK", 8) == 0 ||
                        strncmp(s->sql, "UPDATE", 6) == 0 || strncmp(s->sql, "DELETE", 6) == 0;
    return changes_rows && tables_differ(t);
}

static void begin_run(const struct fuzz_table *t) {
    struct side *sides[] = {&kevo, &plain};
    kevo.path = sql_file("kevo.db");
    plain.path = sql_file("plain.db");
    open_side(&kevo, true);
    open_side(&plain, false);
    for (int i = 0; i < 2; i++) {
        sql_exec(sides[i]->db, "CREATE TABLE side(id INTEGER PRIMARY KEY, n INTEGER, s TEXT, x);"
                               "INSERT INTO side VALUES(0, 5, '5', '5'), (1, 1, 'a', 1.5), "
                               "(2, 2, 'ab', x'61'), (3, 5, '05', NULL), (4, NULL, NULL, 5)");
        sql_exec(sides[i]->db, "%s", i ? t->ordinary : t->kevo);
        sql_exec(sides[i]->db, i ? "CREATE TABLE u(a INTEGER PRIMARY KEY, b ANY) STRICT"
                                 : "CREATE VIRTUAL TABLE u USING kevo(a INTEGER PRIMARY KEY, "
                                   "b ANY)");
        sqlite3_set_last_insert_rowid(sides[i]->db, 0);
    }
}

static void end_run(void) {
    forget_rows(&kevo);
    forget_rows(&plain);
    sql_close(kevo.db);
    sql_close(plain.db);
}

/* Run the statements that are not left out; the index of the one that differs, or count. */
static size_t run(const struct fuzz_table *t, const struct fuzz_statement *list, size_t count,
                  const bool *left_out) {
    size_t i = 0;
    begin_run(t);
    while (i < count && (left_out[i] || !statement_differs(&list[i], t)))
        i++;
    if (i == count && tables_differ(t)) i = count - 1;
    end_run();
    return i;
}

/* ---- making a script small -------------------------------------------------------------------------- */

static size_t make_small(const struct fuzz_table *t, const struct fuzz_statement *list, size_t last,
                         bool *left_out) {
    for (size_t step = last / 2 + 1;; step /= 2) {
        for (size_t from = 0; from < last; from += step) {
            bool before[OPS_PER_TABLE];
            memcpy(before, left_out, sizeof before);
            for (size_t i = from; i < from + step && i < last; i++)
                left_out[i] = true;
            if (memcmp(before, left_out, sizeof before) == 0) continue;
            size_t at = run(t, list, last + 1, left_out);
            if (at > last)
                memcpy(left_out, before, sizeof before);
            else
                last = at;
        }
        if (step == 1) return last;
    }
}

static void show(const struct fuzz_table *t, const struct fuzz_statement *list, size_t last,
                 bool *left_out) {
    last = make_small(t, list, last, left_out);
    run(t, list, last + 1, left_out);
    printf("%s;\n%s;\n", t->kevo, t->ordinary);
    for (size_t i = 0; i <= last; i++) {
        if (left_out[i]) continue;
        char *text = fuzz_statement_text(&list[i]);
        printf("%s\n", text);
        sqlite3_free(text);
    }
    printf("differ in %s\n", difference);
}

/* ---- all of it ------------------------------------------------------------------------------------------ */

static bool table_differs(unsigned number, struct rng *r, size_t count) {
    static struct fuzz_statement list[OPS_PER_TABLE];
    bool left_out[OPS_PER_TABLE] = {false};
    struct fuzz_table t;
    fuzz_table_make(&t, number, r);
    for (size_t i = 0; i < count; i++)
        fuzz_statement_make(&list[i], &t, r);
    size_t at = run(&t, list, count, left_out);
    if (at < count) {
        printf("-- KEVO_SEED=%llu KEVO_TABLE=%u\n", (unsigned long long)harness_seed(), number);
        show(&t, list, at, left_out);
        fflush(stdout);
    }
    for (size_t i = 0; i < count; i++) {
        sqlite3_free(list[i].sql);
        sqlite3_free(list[i].twin);
    }
    fuzz_table_release(&t);
    return at < count;
}

START_TEST(differential) {
    uint64_t ops = harness_count("KEVO_OPS", 8000), only = harness_count("KEVO_TABLE", UINT64_MAX);
    uint64_t failures = 0, enough = harness_count("KEVO_FAILURES", 1);
    harness_seed();
    for (unsigned number = 0; ops > 0 && failures < enough; number++) {
        /* Each table has its own random numbers, so that one can be repeated alone. */
        struct rng r = rng_of(harness_seed() + 1000003u * number);
        uint64_t n = ops < OPS_PER_TABLE ? ops : OPS_PER_TABLE;
        ops -= n;
        if (only == UINT64_MAX || only == number) failures += table_differs(number, &r, (size_t)n);
    }
    ck_assert_uint_eq(failures, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("differential");
    TCase *tcase = tcase_create("differential");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, differential);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
