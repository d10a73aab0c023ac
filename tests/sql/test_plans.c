/* Which way SQLite goes: join orders, operators in pairs, min() and max(), DISTINCT and GROUP
 * BY. Work is counted in steps of SQLite's virtual machine, never in time. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/sql.h"

static sqlite3 *open_database(void) {
    sqlite3 *db = sql_open(sql_file("app.db"));
    sql_exec(db, "PRAGMA synchronous = OFF");
    return db;
}

/* How many steps it takes to get all rows. */
static int steps(sqlite3 *db, const char *sql) {
    sqlite3_stmt *stmt = sql_prepare(db, "%s", sql);
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        ;
    ck_assert_int_eq(rc, SQLITE_DONE);
    int n = sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_VM_STEP, 0);
    sqlite3_finalize(stmt);
    return n;
}

static void expect_plan(sqlite3 *db, const char *sql, const char *part, const char *not_part) {
    const char *plan = sql_rows(db, "EXPLAIN QUERY PLAN %s", sql);
    if (!strstr(plan, part) || (not_part && strstr(plan, not_part)))
        ck_abort_msg("%s\n  has the plan %s\n  not %s", sql, plan, part);
}

/* ---- join orders --------------------------------------------------------------------------- */

#define SERIES "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "

/* `wrong` forces with CROSS JOIN the order that costs a hundred times as much. */
static const struct {
    const char *tables;
    const char *query, *wrong, *rows;
} joins[] = {
    /* Sizes: three rows, each with one of many. */
    {"CREATE VIRTUAL TABLE few USING kevo(name TEXT PRIMARY KEY, weight INT);"
     "CREATE VIRTUAL TABLE many USING kevo(name TEXT PRIMARY KEY, size INT);"
     "INSERT INTO few VALUES ('k17', 1), ('k4711', 2), ('none', 3);" SERIES
     "INSERT INTO many SELECT 'k' || i, i FROM n",
     "SELECT sum(weight), sum(size) FROM many JOIN few USING (name)",
     "SELECT sum(weight), sum(size) FROM many CROSS JOIN few USING (name)", "3|4728"},
    /* Values that are known: ten moments, and of each the one device. */
    {"CREATE VIRTUAL TABLE event USING kevo(at INTEGER PRIMARY KEY, device TEXT, INDEX d (device));"
     "CREATE VIRTUAL TABLE device USING kevo(device TEXT PRIMARY KEY, place TEXT);" SERIES
     "INSERT INTO event SELECT i, 'd' || (i / 4) FROM n;"
     "INSERT INTO device SELECT DISTINCT device, 'p' || (at %% 3) FROM event WHERE at %% 4 = 0",
     "SELECT count(*), count(DISTINCT place) FROM device JOIN event ON event.device = "
     "device.device "
     "WHERE event.at BETWEEN 100 AND 109",
     "SELECT count(*), count(DISTINCT place) FROM device CROSS JOIN event "
     "ON event.device = device.device WHERE +event.at BETWEEN 100 AND 109",
     "10|3"},
    /* What an index tells apart: three states, but nearly as many customers as orders. */
    {"CREATE VIRTUAL TABLE purchase USING kevo(id INTEGER PRIMARY KEY, state TEXT, customer INT, "
     "INDEX s (state), INDEX c (customer));"
     "CREATE VIRTUAL TABLE state USING kevo(state TEXT PRIMARY KEY);"
     "CREATE VIRTUAL TABLE caller USING kevo(customer INT PRIMARY KEY);" SERIES
     "INSERT INTO purchase SELECT i, 's' || (i %% 3), i / 2 FROM n;"
     "INSERT INTO state VALUES ('s0'), ('s1'), ('s9');"
     "INSERT INTO caller VALUES (7), (70), (700)",
     "SELECT count(*), sum(id) FROM state JOIN purchase USING (state) JOIN caller USING (customer)",
     "SELECT count(*), sum(id) FROM state CROSS JOIN purchase USING (state) CROSS JOIN caller "
     "USING (customer)",
     "3|1557"},
};

START_TEST(join_order) {
    sqlite3 *db = open_database();
    sql_exec(db, joins[_i / 2].tables, 30000);
    if (_i % 2) /* in table files, not in memory */
        for (const char *
                 t = sql_rows(db, "SELECT group_concat(name, ' ') || ' ' FROM sqlite_schema "
                                  "WHERE sql LIKE 'CREATE VIRTUAL%%'"),
                *end;
             (end = strchr(t, ' ')); t = end + 1)
            expect_rows(db, "ok", "SELECT kevo_flush('%.*s')", (int)(end - t), t);
    int right = steps(db, joins[_i / 2].query), wrong = steps(db, joins[_i / 2].wrong);
    expect_rows(db, joins[_i / 2].rows, "%s", joins[_i / 2].query);
    expect_rows(db, joins[_i / 2].rows, "%s", joins[_i / 2].wrong);
    ck_assert_msg(right * 100 < wrong, "%s: %d steps, the other way round %d", joins[_i / 2].query,
                  right, wrong);
    sql_close(db);
}
END_TEST

/* ---- operators in pairs ----------------------------------------------------------------------- */

static const char *const columns[] = {"a", "b"};
/* What may follow a column; %s is replaced by a value. */
static const char *const operators[] = {
    " = %s",      " == %s",         " IS %s",        " IS NOT %s",
    " != %s",     " < %s",          " <= %s",        " > %s",
    " >= %s",     " BETWEEN %s",    " IN (%s, 'm')", " IN (SELECT %s UNION SELECT 'k')",
    " GLOB 'k*'", " LIKE 'K%%'",    " IS NULL",      " IS NOT NULL",
    " NOT NULL",  " NOT IN (%s, 2)"};
enum { OPERATORS = sizeof operators / sizeof operators[0] };

static const struct {
    const char *definition, *index;
} shapes[] = {
    {"(a TEXT PRIMARY KEY, b INT%s)", NULL},
    {"(a INTEGER PRIMARY KEY, b TEXT%s)", NULL},
    {"(a TEXT, b INT%s, PRIMARY KEY (a, b))", NULL},
    {"(a INT, b TEXT%s, PRIMARY KEY (a DESC, b))", NULL},
    {"(a TEXT, b REAL%s)", "(a, b DESC)"},
    {"(a INT, b ANY%s)", "(b, a)"},
    {"(a BLOB, b TEXT%s)", "(a)"},
    {"(a ANY, b INT%s)", "(a)"},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static const char *value_for(const char *definition, unsigned column, unsigned which) {
    static const char *const numbers[] = {"2", "3.5", "NULL", "'3'"};
    static const char *const texts[] = {"'k'", "'km'", "'3'", "3"};
    const char *type = strstr(definition, column ? "b " : "a ") + 2;
    return (*type == 'I' || *type == 'R') ? numbers[which] : texts[which];
}

static void append_condition(sqlite3_str *sql, const char *definition, unsigned column, unsigned op,
                             unsigned which) {
    const char *value = value_for(definition, column, which);
    sqlite3_str_appendall(sql, columns[column]);
    sqlite3_str_appendf(sql, operators[op], value);
    if (strstr(operators[op], "BETWEEN"))
        sqlite3_str_appendf(sql, " AND %s", value_for(definition, column, (which + 1) % 4));
}

static sqlite3 *make_shape(const char *definition, const char *index) {
    sqlite3 *db = open_database();
    char *with = sqlite3_mprintf(index ? ", INDEX i %s" : "", index);
    char *kevo = sqlite3_mprintf(definition, with), *plain = sqlite3_mprintf(definition, "");
    sql_exec(db, "CREATE VIRTUAL TABLE t USING kevo%s; CREATE TABLE p%s STRICT", kevo, plain);
    sqlite3_free(with);
    sqlite3_free(kevo);
    sqlite3_free(plain);
    if (index) sql_exec(db, "CREATE INDEX i ON p %s", index);
    static const char *const values[] = {"NULL", "-1",  "2",    "3",   "3.5",  "10",
                                         "'3'",  "'k'", "'km'", "'l'", "x'6b'"};
    sql_exec(db, "BEGIN");
    for (unsigned i = 0; i < 11; i++)
        for (unsigned k = 0; k < 11; k++) /* those that fit */
            (void)sql_try(db, "INSERT OR IGNORE INTO p VALUES (%s, %s)", values[i], values[k]);
    sql_exec(db, "INSERT INTO t SELECT * FROM p; COMMIT");
    ck_assert_int_gt(sql_int(db, "SELECT count(*) FROM t"), 6);
    return db;
}

static void expect_same(sqlite3 *db, const char *condition) {
    static const char *const orders[] = {"a, b", "b DESC, a DESC", "a DESC, b"};
    for (unsigned i = 0; i < 3; i++) {
        const char *expected =
            sql_rows(db, "SELECT a, b FROM p WHERE %s ORDER BY %s", condition, orders[i]);
        expect_rows(db, expected, "SELECT a, b FROM t WHERE %s ORDER BY %s", condition, orders[i]);
    }
}

/* Each operator on each column with each other one, in both orders. */
START_TEST(operator_pairs) {
    const char *definition = shapes[_i].definition;
    sqlite3 *db = make_shape(definition, shapes[_i].index);
    for (unsigned pair = 0; pair < 4 * OPERATORS * OPERATORS; pair++) {
        unsigned op1 = pair / 4 / OPERATORS, op2 = pair / 4 % OPERATORS;
        for (unsigned which = pair % 3; which < 4; which += 3) {
            sqlite3_str *sql = sqlite3_str_new(NULL);
            append_condition(sql, definition, pair & 1, op1, which);
            sqlite3_str_appendall(sql, " AND ");
            append_condition(sql, definition, pair >> 1 & 1, op2, (which + pair / 4) % 4);
            char *condition = sqlite3_str_finish(sql);
            expect_same(db, condition);
            sqlite3_free(condition);
        }
    }
    sql_close(db);
}
END_TEST

/* ---- casts of parameters -------------------------------------------------------------------------- */

static const char *const cast_shapes[] = {"(a)", "(a DESC)", "(b, a)", "(a, b)"};

static sqlite3 *make_casts(const char *index) {
    static const char *const values[] = {
        "NULL",     "-5",    "0",     "4",     "5",     "5.0",     "5.5",   "12",
        "100",      "1e300", "''",    "'\t5'", "' 5'",  "'-5'",    "'+5'",  "'.5e1'",
        "'05'",     "'5'",   "'5.0'", "'5 '",  "'5x'",  "'50e-1'", "'5e0'", "'12'",
        "'120e-1'", "'0'",   "'100'", "':'",   "'Inf'", "'x'",     "x'35'"};
    sqlite3 *db = open_database();
    sql_exec(db,
             "CREATE VIRTUAL TABLE t USING kevo(id INTEGER PRIMARY KEY, a ANY, b INT, INDEX i %s);"
             "CREATE TABLE p(id INTEGER PRIMARY KEY, a ANY, b INT) STRICT; CREATE INDEX i ON p %s",
             index, index);
    for (unsigned b = 0; b < 4; b++)
        for (unsigned i = 0; i < sizeof values / sizeof values[0]; i++)
            sql_exec(db, "INSERT INTO p(a, b) VALUES (%s, %u)", values[i], b);
    sql_exec(db, "INSERT INTO t SELECT * FROM p");
    return db;
}

static void append_cast(struct rng *r, sqlite3_str *sql) {
    static const char *const casts[] = {"?",
                                        "CAST(? AS REAL)",
                                        "CAST(? AS INTEGER)",
                                        "CAST(? AS NUMERIC)",
                                        "CAST(? AS TEXT)",
                                        "CAST(? AS BLOB)",
                                        "+CAST(? AS REAL)",
                                        "(SELECT CAST(? AS INTEGER))",
                                        "CAST(CAST(? AS TEXT) AS REAL)"};
    sqlite3_str_appendall(sql, casts[rng_below(r, sizeof casts / sizeof casts[0])]);
}

static void append_comparison(struct rng *r, sqlite3_str *sql) {
    static const char *const parts[][3] = {{"a = ", "", ""},
                                           {"a IS ", "", ""},
                                           {"a < ", "", ""},
                                           {"a <= ", "", ""},
                                           {"a > ", "", ""},
                                           {"a >= ", "", ""},
                                           {"", " = a", ""},
                                           {"", " >= a", ""},
                                           {"a BETWEEN ", " AND ", ""},
                                           {"a IN (", ", ", ")"},
                                           {"a IN (SELECT ", " UNION ALL SELECT ", ")"},
                                           {"a > ", " AND a < ", ""}};
    const char *const *part = parts[rng_below(r, sizeof parts / sizeof parts[0])];
    bool second = strcmp(part[1], ", ") == 0 || strstr(part[1], "A");
    sqlite3_str_appendall(sql, part[0]);
    append_cast(r, sql);
    sqlite3_str_appendall(sql, part[1]);
    if (second || strstr(part[1], "<")) append_cast(r, sql);
    sqlite3_str_appendall(sql, part[2]);
}

static void bind_any(struct rng *r, sqlite3_stmt *of_kevo, sqlite3_stmt *of_sqlite) {
    static const char *const texts[] = {"5", "5.0", " 5", "12", "x", "", "-5", "0", "Inf", "5x"};
    static const double numbers[] = {5, 5, 5.5, -5, 0, 12, 4.999999999999999, 1e300, 100};
    for (int i = 1; i <= sqlite3_bind_parameter_count(of_kevo); i++) {
        const char *text = texts[rng_below(r, sizeof texts / sizeof texts[0])];
        double number = numbers[rng_below(r, sizeof numbers / sizeof numbers[0])];
        unsigned type = (unsigned)rng_below(r, 3);
        for (unsigned k = 0; k < 2; k++) {
            sqlite3_stmt *stmt = k ? of_kevo : of_sqlite;
            if (type == 0)
                sqlite3_bind_text(stmt, i, text, -1, SQLITE_STATIC);
            else if (type == 1 && number < 1e18)
                sqlite3_bind_int64(stmt, i, (sqlite3_int64)number);
            else
                sqlite3_bind_double(stmt, i, number);
        }
    }
}

/* The sum over the rows, in their order. */
static sqlite3_int64 sum_rows(sqlite3_stmt *stmt) {
    sqlite3_int64 sum = 1;
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        sum = (sum * 31 + sqlite3_column_int64(stmt, 0)) % 1000000007;
    ck_assert_int_eq(rc, SQLITE_DONE);
    return sum;
}

/* A cast gives the parameter an affinity, by which texts are compared as numbers. */
START_TEST(casts_of_parameters) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    sqlite3 *db = make_casts(cast_shapes[_i]);
    for (unsigned round = 0; round < 3000; round++) {
        sqlite3_str *sql = sqlite3_str_new(NULL);
        if (rng_below(&r, 2)) sqlite3_str_appendall(sql, "b = 2 AND ");
        append_comparison(&r, sql);
        char *condition = sqlite3_str_finish(sql);
        const char *order = rng_below(&r, 4) ? "id" : "b, id";
        sqlite3_stmt *stmts[2];
        for (unsigned k = 0; k < 2; k++)
            stmts[k] = sql_prepare(db, "SELECT id FROM %s WHERE %s ORDER BY %s", k ? "t" : "p",
                                   condition, order);
        bind_any(&r, stmts[1], stmts[0]);
        sqlite3_int64 expected = sum_rows(stmts[0]), sum = sum_rows(stmts[1]);
        if (sum != expected) ck_abort_msg("%s ORDER BY %s", sqlite3_expanded_sql(stmts[1]), order);
        for (unsigned k = 0; k < 2; k++)
            sqlite3_finalize(stmts[k]);
        sqlite3_free(condition);
    }
    sql_close(db);
}
END_TEST

/* A list beside an equality that means several texts is a part of the order. */
START_TEST(order_of_lists) {
    sqlite3 *db = open_database();
    sql_exec(db,
             "CREATE VIRTUAL TABLE t USING kevo(a INT, s TEXT, c INT, INDEX i %s);"
             "INSERT INTO t VALUES (1, '5', 9), (1, '05', 8), (2, '5', 1), (3, '5.0', 0), "
             "(2, '5', 2), (4, '5', 3)",
             _i & 1 ? "(s, a, c)" : "(a, s, c)");
    expect_rows(db, _i & 2 ? "3|0;2|2;2|1;1|9;1|8" : "1|8;1|9;2|1;2|2;3|0",
                "SELECT a, c FROM t WHERE a IN (3, 1, 2) AND s = CAST(5 AS REAL) ORDER BY a%s, c%s",
                _i & 2 ? " DESC" : "", _i & 2 ? " DESC" : "");
    sql_close(db);
}
END_TEST

/* ---- min, max, DISTINCT, GROUP BY ----------------------------------------------------------------- */

static sqlite3 *open_measures(void) {
    sqlite3 *db = open_database();
    sql_exec(db,
             "CREATE VIRTUAL TABLE m USING kevo(a TEXT, b INT, x INT, y INT NOT NULL, z INT, "
             "PRIMARY KEY (a, b DESC), INDEX x (x), INDEX y (y), INDEX xz (x, z));" SERIES
             "INSERT INTO m SELECT 'a' || (i %% 7), i, nullif(i %% 100, 0), i, i %% 3 FROM n",
             9999);
    return db;
}

/* One entry is looked at, of 10,000. */
START_TEST(least_and_largest) {
    static const struct {
        const char *query, *rows;
    } seeks[] = {
        {"SELECT max(x) FROM m", "99"},
        {"SELECT min(y) FROM m", "0"},
        {"SELECT max(y) FROM m", "9999"},
        {"SELECT min(a) FROM m", "a0"},
        {"SELECT max(a) FROM m", "a6"},
        {"SELECT min(b) FROM m WHERE a = 'a3'", "3"},
        {"SELECT max(b) FROM m WHERE a = 'a3'", "9999"},
        {"SELECT max(z) FROM m WHERE x = 17", "2"},
        /* instead of min(x), where x may be NULL */
        {"SELECT x FROM m WHERE x >= -9e999 ORDER BY x LIMIT 1", "1"},
    };
    sqlite3 *db = open_measures();
    expect_rows(db, seeks[_i].rows, "%s", seeks[_i].query);
    ck_assert_int_lt(steps(db, seeks[_i].query), 100);
    /* SQLite says nothing of the order that it wants here, so every entry is looked at. */
    expect_rows(db, "1", "SELECT min(x) FROM m");
    ck_assert_int_gt(steps(db, "SELECT min(x) FROM m"), 10000);
    sql_close(db);
}
END_TEST

START_TEST(no_temporary_tree) {
    static const char *const queries[] = {
        "SELECT a, count(*) FROM m GROUP BY a",
        "SELECT a, count(*) FROM m GROUP BY a ORDER BY a DESC",
        "SELECT x, z, count(*) FROM m GROUP BY x, z",
        "SELECT z, count(*) FROM m WHERE x = 5 GROUP BY z",
        "SELECT x, count(*) FROM m GROUP BY x ORDER BY x DESC",
        "SELECT * FROM m ORDER BY a, b DESC",
        "SELECT * FROM m ORDER BY a DESC, b",
        "SELECT * FROM m WHERE a = 'a1' ORDER BY b",
        "SELECT x FROM m WHERE x IN (1, 2, 3) ORDER BY x DESC",
    };
    sqlite3 *db = open_measures();
    expect_plan(db, queries[_i], "kevo: ", "TEMP B-TREE");
    sql_exec(db, "CREATE TABLE p AS SELECT * FROM m");
    char *plain = sqlite3_mprintf("%s", queries[_i]), *from = strstr(plain, "FROM m");
    from[5] = 'p';
    bool ordered = strstr(plain, "ORDER BY");
    const char *all = ordered ? "SELECT * FROM (%s)" : "SELECT * FROM (%s) ORDER BY 1";
    expect_rows(db, sql_rows(db, all, plain), all, queries[_i]);
    sqlite3_free(plain);
    sql_close(db);
}
END_TEST

/* Where rows are left out or ordered by something that SQLite does not say, or not in time. */
START_TEST(as_of_a_table) {
    static const char *const queries[] = {
        "SELECT a, x FROM %s LEFT JOIN u ON a IS NOT NULL ORDER BY id",
        "SELECT a, x FROM %s LEFT JOIN u ON a IS NOT NULL AND a = x ORDER BY id",
        "SELECT id FROM %s WHERE a = CAST(?1 AS INTEGER) ORDER BY id",
        "SELECT id FROM %s WHERE a < CAST(?1 AS NUMERIC) ORDER BY id",
        "SELECT id FROM %s WHERE a IN (CAST(?1 AS INTEGER), 7) ORDER BY id",
        "SELECT id FROM %s WHERE CAST(?1 AS REAL) >= a AND a > -1 ORDER BY id",
        "SELECT g, t FROM %s WHERE t = CAST(?1 AS INTEGER) ORDER BY g, t",
        "SELECT g, t FROM %s WHERE t = CAST(?1 AS INTEGER) ORDER BY g DESC, t DESC",
        "SELECT g, t FROM %s WHERE t = CAST(?1 AS INTEGER) ORDER BY g, t DESC",
        "SELECT id FROM %s WHERE a GLOB 'I*' ORDER BY id",
        "SELECT g, t, count(*) FROM %s GROUP BY g, t ORDER BY g, t",
        "SELECT t, g, count(*) FROM %s GROUP BY t, g ORDER BY t DESC, g DESC",
    };
    sqlite3 *db = open_database();
    sql_exec(db, "CREATE VIRTUAL TABLE k USING kevo(id INTEGER PRIMARY KEY, a ANY, g INT, t TEXT, "
                 "INDEX a (a), INDEX t (t, g), INDEX d (t DESC, g));"
                 "CREATE TABLE p(id INTEGER PRIMARY KEY, a BLOB, g INT, t TEXT);"
                 "CREATE TABLE u(x); INSERT INTO u VALUES (1), ('5');"
                 "INSERT INTO k VALUES (1, NULL, 2, '5'), (2, 5, 1, '5'), (3, '5', 1, '05'),"
                 "(4, '-5', 1, '5.0'), (5, 'x', 2, '05'), (6, x'35', 2, '+5'), (7, '05', 1, 'x'), "
                 "(8, 9e999, 3, 'Inf');"
                 "INSERT INTO p SELECT * FROM k");
    char *rows[2];
    for (int i = 0; i < 2; i++) {
        sqlite3_stmt *stmt = sql_prepare(db, queries[_i], i ? "p" : "k");
        sqlite3_bind_text(stmt, 1, "5", -1, SQLITE_STATIC);
        sqlite3_str *s = sqlite3_str_new(db);
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            for (int n = 0; n < sqlite3_column_count(stmt); n++)
                sqlite3_str_appendf(s, "%s|", (const char *)sqlite3_column_text(stmt, n));
        }
        ck_assert_int_eq(sqlite3_finalize(stmt), SQLITE_OK);
        rows[i] = sqlite3_str_finish(s);
    }
    ck_assert_str_eq(rows[0], rows[1]);
    sqlite3_free(rows[0]);
    sqlite3_free(rows[1]);
    sql_close(db);
}
END_TEST

/* What cannot be read in one go. */
START_TEST(sorted_by_sqlite) {
    sqlite3 *db = open_measures();
    expect_plan(db, "SELECT * FROM m ORDER BY a, b", "TEMP B-TREE", NULL);
    /* SQLite 3.40 looks for rows that were there before itself, whatever the order, and 3.54 does
     * not; GROUP BY in its place needs no tree in either. */
    if (sqlite3_libversion_number() < 3041000)
        expect_plan(db, "SELECT DISTINCT a FROM m", "TEMP B-TREE FOR DISTINCT", NULL);
    else if (sqlite3_libversion_number() >= 3054000)
        expect_plan(db, "SELECT DISTINCT a FROM m", "kevo: full scan", "TEMP B-TREE");
    expect_rows(db, sql_rows(db, "SELECT a FROM m GROUP BY a"), "SELECT DISTINCT a FROM m");
    expect_plan(db, "SELECT a FROM m GROUP BY a", "kevo: full scan", "TEMP B-TREE");
    expect_plan(db, "SELECT * FROM m ORDER BY x DESC, z", "TEMP B-TREE", NULL);
    /* Before 3.53 it does not tell this from the same with ORDER BY z, x. */
    bool tells = sqlite3_libversion_number() >= 3053000;
    expect_plan(db, "SELECT x, z, count(*) FROM m GROUP BY z, x", tells ? "kevo: " : "TEMP B-TREE",
                tells ? "TEMP B-TREE" : NULL);
    sql_close(db);
}
END_TEST

/* ---- what SQLite does not test again ------------------------------------------------------- */

static const char *const tested[] = {
    "s.id BETWEEN 100 AND 2900",
    "s.id > +100.5 AND s.id < '2900'",
    "s.id IN (SELECT id FROM odd)",
    "s.name = 'n5' AND s.at < 1000",
    "s.name = 5 AND s.at < 1000", /* several texts may be meant */
    "s.name = (SELECT 5) AND s.at < 1000",
    "s.name = (SELECT id FROM odd LIMIT 1 OFFSET 2) AND s.at < 1000",
    "s.name < (SELECT 'n5')",
    "(s.name, s.at) > ('n5', 1000) AND s.name < 'n6'",
    "(s.id, s.at) > (100, 1000) AND s.id <= 2900",
};
enum { TESTED = sizeof tested / sizeof *tested };

/* The answers are those of an ordinary table, whether rows are visited or counted. */
START_TEST(tests_again) {
    static const char *const tables[] = {
        "CREATE VIRTUAL TABLE s USING kevo(id INTEGER PRIMARY KEY, name TEXT, at INT, "
        "INDEX n (name, at))",
        "CREATE VIRTUAL TABLE s USING kevo(id INT, name TEXT, at INT, PRIMARY KEY (name, at))",
    };
    sqlite3 *db = open_database();
    sql_exec(db, "%s", tables[strstr(tested[_i], "s.id") == NULL]);
    sql_exec(db, "INSERT INTO s WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                 "WHERE i < 3000) SELECT i, CASE i %% 4 WHEN 0 THEN 'n' || i %% 7 WHEN 1 THEN '5' "
                 "WHEN 2 THEN '05' ELSE '5.0' END, i FROM n");
    sql_exec(db, "CREATE TABLE p AS SELECT * FROM s");
    sql_exec(db, "CREATE TABLE odd(id INT); INSERT INTO odd SELECT id FROM p WHERE id %% 2");
    for (int all = 0; all < 2; all++) {
        const char *what = all ? "s.id, s.name, s.at" : "count(*)";
        const char *order = all ? "ORDER BY s.id" : "";
        char *want = sqlite3_mprintf(
            "%s", sql_rows(db, "SELECT %s FROM p s WHERE %s %s", what, tested[_i], order));
        expect_rows(db, want, "SELECT %s FROM s WHERE %s %s", what, tested[_i], order);
        sqlite3_free(want);
    }
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("plans");
    TCase *tcase = tcase_create("plans");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, join_order, 0, 6);
    tcase_add_loop_test(tcase, operator_pairs, 0, SHAPES);
    tcase_add_loop_test(tcase, casts_of_parameters, 0, 4);
    tcase_add_loop_test(tcase, order_of_lists, 0, 4);
    tcase_add_loop_test(tcase, least_and_largest, 0, 9);
    tcase_add_loop_test(tcase, no_temporary_tree, 0, 9);
    tcase_add_loop_test(tcase, as_of_a_table, 0, 12);
    tcase_add_test(tcase, sorted_by_sqlite);
    tcase_add_loop_test(tcase, tests_again, 0, TESTED);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
