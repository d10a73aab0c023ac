#include "tests/fuzz/statements.h"

#include <string.h>

#include "tests/fuzz/values.h"

#define COUNT(array) (sizeof array / sizeof array[0])

/* ---- putting statements together -------------------------------------------------------- */

struct builder {
    struct fuzz_statement *s;
    struct fuzz_table *t;
    struct rng *r;
    sqlite3_str *sql;
    bool loose; /* several texts may be equal to one number, but SQLite sorts as if not */
};

static void put(struct builder *b, const char *text) {
    sqlite3_str_appendall(b->sql, text);
}

static void put_value(struct builder *b, struct fuzz_bind v) {
    if (b->s->bind_count == FUZZ_BINDS || chance(b->r, 50)) {
        fuzz_put_literal(b->sql, &v);
        return;
    }
    if (v.type == 't' && chance(b->r, 20)) v.type = 'u';
    b->s->binds[b->s->bind_count++] = v;
    put(b, "?");
}

static const char *random_column(struct builder *b) {
    return b->t->names[below(b->r, b->t->column_count)];
}

static const char *random_side_column(struct builder *b) {
    static const char *const side[] = {"n", "s", "x", "id"};
    return side[below(b->r, COUNT(side))];
}

/* What a column is compared with. */
static void put_operand(struct builder *b, unsigned column) {
    static const char *const casts[] = {"INTEGER", "REAL", "TEXT", "BLOB", "NUMERIC"};
    struct fuzz_bind v = fuzz_column_value(b->t, column, b->r);
    /* What has a numeric affinity makes SQLite take different values of an ANY column for
     * the same, also when it sorts. */
    char type = b->t->types[column][0];
    switch (type != 'A' ? below(b->r, 14) : chance(b->r, 70) ? 0 : 4) {
    case 0: put_value(b, v); break;
    case 4:
        b->loose |= type == 'T' || type == 'A';
        put(b, "CAST(");
        put_value(b, v);
        sqlite3_str_appendf(b->sql, " AS %s)", casts[below(b->r, COUNT(casts))]);
        break;
    case 1:
        put(b, "+");
        put_value(b, v);
        break;
    case 2:
        b->loose |= type == 'T';
        sqlite3_str_appendf(b->sql, "(SELECT %s FROM side WHERE id = %u)", random_side_column(b),
                            below(b->r, 10));
        break;
    case 3:
        put(b, "(");
        put_value(b, v);
        put(b, " || '')");
        break;
    default: put_value(b, v);
    }
}

static unsigned interesting_column(struct builder *b) {
    const struct fuzz_table *t = b->t;
    if (t->index_count && chance(b->r, 60)) {
        const struct fuzz_index *index = &t->indexes[below(b->r, t->index_count)];
        return index->columns[below(b->r, index->column_count)];
    }
    if (t->key_count && chance(b->r, 75)) return t->key[below(b->r, t->key_count)];
    return below(b->r, t->column_count);
}

static void put_list(struct builder *b, unsigned column) {
    unsigned n = below(b->r, 5);
    put(b, " IN (");
    for (unsigned i = 0; i < n; i++) {
        if (i) put(b, ", ");
        put_value(b, fuzz_column_value(b->t, column, b->r));
    }
    put(b, ")");
}

static void put_pattern(struct builder *b, bool glob) {
    static const char *const globs[] = {"a*",   "a?", "*",         "5*", "[ab]*",
                                        "ab*c", "",   "\xc3\xa9*", "A*"};
    static const char *const likes[] = {"a%", "a_", "%", "5%", "A%", "ab%", "", "%b", "a\\%"};
    struct fuzz_bind v = {.type = 't'};
    v.bytes = glob ? globs[below(b->r, COUNT(globs))] : likes[below(b->r, COUNT(likes))];
    v.len = (int)strlen(v.bytes);
    put(b, glob ? " GLOB " : " LIKE ");
    put_value(b, v);
}

static void put_condition_on(struct builder *b, const char *prefix, unsigned column) {
    static const char *const ops[] = {"=", "=", "==", "<", "<=", ">", ">=", "!=", "IS", "IS NOT"};
    unsigned kind = below(b->r, 12);
    sqlite3_str_appendf(b->sql, "%s%s%s", prefix, b->t->names[column],
                        kind < 5 && chance(b->r, 12) ? " NOT" : "");
    switch (kind) {
    case 0:
        put(b, " BETWEEN ");
        put_operand(b, column);
        put(b, " AND ");
        put_operand(b, column);
        break;
    case 1:
    case 2: put_list(b, column); break;
    case 3:
        sqlite3_str_appendf(b->sql, " IN (SELECT %s FROM side WHERE id < %u)",
                            random_side_column(b), below(b->r, 10));
        break;
    case 4: put_pattern(b, chance(b->r, 60)); break;
    case 5: put(b, chance(b->r, 50) ? " IS NULL" : " IS NOT NULL"); break;
    default:
        sqlite3_str_appendf(b->sql, " %s ", ops[below(b->r, COUNT(ops))]);
        put_operand(b, column);
    }
}

static void put_rowid_condition(struct builder *b, const char *prefix) {
    static const char *const ops[] = {"=", "<", "<=", ">", ">=", "!=", "IS"};
    sqlite3_str_appendf(b->sql, "%srowid %s ", prefix, ops[below(b->r, COUNT(ops))]);
    put_value(b, fuzz_random_value(b->r, "iiirtb"[below(b->r, 6)]));
}

/* Conditions on a leading part of these columns, as queries usually have them. */
static void put_leading_conditions(struct builder *b, const char *prefix, const unsigned *columns,
                                   unsigned count) {
    unsigned n = 1 + below(b->r, count);
    for (unsigned i = 0; i < n; i++) {
        if (i) put(b, " AND ");
        if (i + 1 == n) {
            put_condition_on(b, prefix, columns[i]);
        } else if (chance(b->r, 15)) {
            sqlite3_str_appendf(b->sql, "%s%s IS NULL", prefix, b->t->names[columns[i]]);
        } else {
            sqlite3_str_appendf(b->sql, "%s%s = ", prefix, b->t->names[columns[i]]);
            put_operand(b, columns[i]);
        }
    }
}

static const struct fuzz_index *random_index(struct builder *b) {
    return &b->t->indexes[below(b->r, b->t->index_count)];
}

static void put_row_value(struct builder *b, const unsigned *columns, unsigned n) {
    put(b, "(");
    for (unsigned i = 0; i < n; i++) {
        if (i) put(b, ", ");
        put_value(b, fuzz_column_value(b->t, columns[i], b->r));
    }
    put(b, ")");
}

/* (a, b) > (?, ?), (a, b) IN (VALUES (?, ?), ...) */
static void put_row_value_condition(struct builder *b, const char *prefix, const unsigned *columns,
                                    unsigned n) {
    static const char *const ops[] = {"=", "<", "<=", ">", ">=", "!=", "IS"};
    put(b, "(");
    for (unsigned i = 0; i < n; i++)
        sqlite3_str_appendf(b->sql, "%s%s%s", i ? ", " : "", prefix, b->t->names[columns[i]]);
    if (chance(b->r, 25)) {
        put(b, ") IN (VALUES ");
        for (unsigned i = 0, rows = 1 + below(b->r, 3); i < rows; i++) {
            if (i) put(b, ", ");
            put_row_value(b, columns, n);
        }
        put(b, ")");
        return;
    }
    sqlite3_str_appendf(b->sql, ") %s ", ops[below(b->r, COUNT(ops))]);
    put_row_value(b, columns, n);
}

static void put_condition(struct builder *b, const char *prefix, unsigned depth) {
    unsigned kind = below(b->r, 20);
    if (depth < 2 && kind < 3) {
        put(b, "(");
        put_condition(b, prefix, depth + 1);
        put(b, kind == 0 ? " OR " : " AND ");
        put_condition(b, prefix, depth + 1);
        put(b, ")");
    } else if (depth < 2 && kind == 3) {
        put(b, "NOT (");
        put_condition(b, prefix, depth + 1);
        put(b, ")");
    } else if (kind == 4 && b->t->rowid) {
        put_rowid_condition(b, prefix);
    } else if (kind < 11 && b->t->index_count && chance(b->r, 70)) {
        const struct fuzz_index *index = random_index(b);
        put_leading_conditions(b, prefix, index->columns, index->column_count);
    } else if (kind < 11 && b->t->key_count) {
        put_leading_conditions(b, prefix, b->t->key, b->t->key_count);
    } else if (kind == 11 && b->t->key_count > 1) {
        put_row_value_condition(b, prefix, b->t->key, b->t->key_count);
    } else if (kind == 12 && b->t->index_count) {
        const struct fuzz_index *index = random_index(b);
        if (index->column_count > 1)
            put_row_value_condition(b, prefix, index->columns, index->column_count);
        else
            put_condition_on(b, prefix, index->columns[0]);
    } else {
        put_condition_on(b, prefix, interesting_column(b));
    }
}

static void put_where(struct builder *b) {
    if (chance(b->r, 15)) return;
    put(b, " WHERE ");
    put_condition(b, "", 0);
}

/* ---- queries ----------------------------------------------------------------------------------- */

/* An order in which no two rows are the same: all columns of the key come in it. */
static void put_order_terms(struct builder *b) {
    const struct fuzz_table *t = b->t;
    bool reverse = chance(b->r, 50), follow = chance(b->r, 70);
    if (t->index_count && chance(b->r, 50)) {
        const struct fuzz_index *index = random_index(b);
        for (unsigned i = 0; i < index->column_count; i++)
            sqlite3_str_appendf(b->sql, "%s%s, ", t->names[index->columns[i]],
                                index->desc[i] != reverse ? " DESC" : "");
    } else if (!follow)
        sqlite3_str_appendf(b->sql, "%s%s, ", random_column(b), reverse ? " DESC" : "");
    if (t->rowid) sqlite3_str_appendf(b->sql, "rowid%s", reverse ? " DESC" : "");
    for (unsigned i = 0; !t->rowid && i < t->key_count; i++) {
        bool desc = follow ? t->desc[i] != reverse : chance(b->r, 50);
        sqlite3_str_appendf(b->sql, "%s%s%s", i ? ", " : "", t->names[t->key[i]],
                            desc ? " DESC" : "");
    }
}

static void put_order(struct builder *b) {
    put(b, " ORDER BY ");
    put_order_terms(b);
    b->s->flags |= FUZZ_ORDERED;
}

static void make_select(struct builder *b) {
    bool count = chance(b->r, 35);
    if (!count && b->t->index_count && chance(b->r, 40)) {
        const struct fuzz_index *index = random_index(b);
        for (unsigned i = 0; i < index->column_count; i++)
            sqlite3_str_appendf(b->sql, "%s %s", i ? "," : "SELECT",
                                b->t->names[index->columns[i]]);
        put(b, " FROM t");
    } else {
        sqlite3_str_appendf(b->sql, "SELECT %s FROM t", count ? "count(*)" : "*");
    }
    put_where(b);
    if (count || b->loose || chance(b->r, 30)) return;
    put_order(b);
    if (chance(b->r, 50)) return;
    sqlite3_str_appendf(b->sql, " LIMIT %d", (int)below(b->r, 8) - 1);
    if (chance(b->r, 50)) sqlite3_str_appendf(b->sql, " OFFSET %u", below(b->r, 4));
}

/* Something harmless instead. */
static void put_count(struct builder *b) {
    sqlite3_str_reset(b->sql);
    b->s->bind_count = 0;
    put(b, "SELECT count(*) FROM t");
}

static bool is_any(const struct fuzz_table *t, const char *name) {
    for (unsigned i = 0; i < t->column_count; i++) {
        if (strcmp(t->names[i], name) == 0) return t->types[i][0] == 'A';
    }
    return false;
}

static void make_aggregate(struct builder *b) {
    unsigned column = below(b->r, b->t->column_count), shape = below(b->r, 6);
    /* Which of 1 and 1.0 stands for both depends on the order of the rows. */
    if (b->t->index_count && b->t->types[column][0] == 'A') {
        put_count(b);
        return;
    }
    const char *x = b->t->names[column], *y = random_column(b);
    /* For the same reason no maximum where GROUP BY may read the rows of a group backward. */
    const char *figure = is_any(b->t, y) ? "count(DISTINCT " : "max(";
    switch (shape) {
    case 0:
        sqlite3_str_appendf(b->sql, "SELECT min(%s), max(%s), count(%s) FROM t", x, x, y);
        break;
    case 1: sqlite3_str_appendf(b->sql, "SELECT max(%s) FROM t", x); break;
    case 2: sqlite3_str_appendf(b->sql, "SELECT min(%s) FROM t", x); break;
    case 3: sqlite3_str_appendf(b->sql, "SELECT DISTINCT %s, %s FROM t", x, y); break;
    case 4: sqlite3_str_appendf(b->sql, "SELECT DISTINCT %s FROM t", x); break;
    default: sqlite3_str_appendf(b->sql, "SELECT %s, count(*), %s%s) FROM t", x, figure, y);
    }
    /* SQLite takes the first row for the largest, or for all of them, when an equality says
     * that all are equal, which is wrong for texts and numbers. */
    bool largest = shape == 1 || shape == 2;
    if (!largest || b->t->types[column][0] != 'A') put_where(b);
    if (shape >= 1 && b->loose)
        put_count(b); /* as one value it makes no groups either: a group may come in pieces */
    else if (shape == 5)
        sqlite3_str_appendf(b->sql, " GROUP BY %s", x);
}

static void make_join(struct builder *b) {
    static const char *const ops[] = {"=", "=", "=", "=", "<", ">=", "IS"};
    const char *column = b->t->names[interesting_column(b)], *op = ops[below(b->r, COUNT(ops))];
    const char *join = chance(b->r, 25) ? "LEFT JOIN" : "JOIN";
    const char *prefix = "t.", *other = chance(b->r, 70) ? "a" : "b";
    switch (below(b->r, 8)) {
    case 0:
        prefix = "v.";
        sqlite3_str_appendf(b->sql, "SELECT * FROM t AS v %s t AS w ON v.%s %s w.%s", join, column,
                            op, random_column(b));
        break;
    case 1:
    case 2:
        sqlite3_str_appendf(b->sql, "SELECT * FROM t %s side ON t.%s %s side.%s", join, column, op,
                            random_side_column(b));
        break;
    case 3:
        sqlite3_str_appendf(b->sql, "SELECT * FROM u %s t ON t.%s %s u.%s", join, column, op,
                            other);
        break;
    case 4:
        sqlite3_str_appendf(b->sql, "SELECT * FROM t %s u ON t.%s %s u.%s", join, column, op,
                            other);
        break;
    case 5:
        sqlite3_str_appendf(b->sql,
                            "SELECT * FROM side %s u ON u.%s = side.%s JOIN t ON t.%s %s side.%s",
                            join, other, random_side_column(b), column, op, random_side_column(b));
        break;
    default:
        sqlite3_str_appendf(b->sql, "SELECT * FROM side %s t ON t.%s %s side.%s", join, column, op,
                            random_side_column(b));
    }
    if (chance(b->r, 50)) return;
    put(b, " WHERE ");
    put_condition(b, prefix, 1);
}

/* Functions of a window in which no two rows are the same. */
static void make_window(struct builder *b) {
    static const char *const frames[] = {
        "",
        "",
        " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
        " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        " GROUPS 2 PRECEDING",
        " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW"};
    const char *y = random_column(b);
    sqlite3_str_appendf(b->sql,
                        "SELECT %s, row_number() OVER w, lag(%s) OVER w, last_value(%s) OVER w, "
                        "count(%s) OVER w FROM t",
                        random_column(b), y, y, random_column(b));
    put_where(b);
    if (b->loose) {
        put_count(b);
        return;
    }
    put(b, " WINDOW w AS (");
    if (chance(b->r, 60)) sqlite3_str_appendf(b->sql, "PARTITION BY %s ", random_column(b));
    put(b, "ORDER BY ");
    put_order_terms(b);
    sqlite3_str_appendf(b->sql, "%s)", frames[below(b->r, COUNT(frames))]);
}

/* Two queries of one column put together. */
static void make_compound(struct builder *b) {
    static const char *const operators[] = {"UNION ALL", "UNION", "EXCEPT", "INTERSECT"};
    unsigned column = interesting_column(b);
    /* Which of 1 and 1.0 stays depends on the order of the rows. */
    if (b->t->types[column][0] == 'A') column = 0;
    const char *operator= operators[b->t->types[column][0] == 'A' ? 0 : below(b->r, 4)];
    sqlite3_str_appendf(b->sql, "SELECT %s FROM t", b->t->names[column]);
    put_where(b);
    sqlite3_str_appendf(b->sql, " %s SELECT %s FROM t", operator, b->t->names[column]);
    put_where(b);
}

static void make_subquery(struct builder *b) {
    static const char *const ops[] = {"=", "=", "IS", "<", ">="};
    const char *column = b->t->names[interesting_column(b)], *op = ops[below(b->r, COUNT(ops))];
    const char *other = chance(b->r, 70) ? "a" : "b", *not = chance(b->r, 30) ? "NOT " : "";
    switch (below(b->r, 5)) {
    case 0:
        sqlite3_str_appendf(b->sql,
                            "SELECT * FROM t WHERE %sEXISTS (SELECT 1 FROM u WHERE u.%s %s "
                            "t.%s)",
                            not, other, op, column);
        break;
    case 1:
        sqlite3_str_appendf(b->sql, "SELECT * FROM t WHERE %s %sIN (SELECT %s FROM u)", column, not,
                            other);
        break;
    case 2:
        sqlite3_str_appendf(b->sql, "SELECT a, (SELECT count(*) FROM t WHERE t.%s %s u.%s) FROM u",
                            column, op, other);
        break;
    case 3:
        sqlite3_str_appendf(b->sql,
                            "SELECT id FROM side WHERE %sEXISTS (SELECT 1 FROM t WHERE t.%s "
                            "%s side.%s)",
                            not, column, op, random_side_column(b));
        break;
    default:
        sqlite3_str_appendf(b->sql, "WITH c AS (SELECT %s AS x FROM t", column);
        put_where(b);
        sqlite3_str_appendf(
            b->sql, ") SELECT count(*), count(u.a) FROM c LEFT JOIN u ON u.%s %s c.x", other, op);
    }
}

/* ---- changes ---------------------------------------------------------------------------------------- */

static const char *random_conflict(struct builder *b) {
    static const char *const clauses[] = {
        "",           "",         "",          " OR REPLACE", " OR REPLACE",
        " OR IGNORE", " OR FAIL", " OR ABORT", " OR ROLLBACK"};
    return clauses[below(b->r, COUNT(clauses))];
}

static void put_rows(struct builder *b, const unsigned *columns, unsigned n) {
    unsigned rows = chance(b->r, 60) ? 1 : 2 + below(b->r, 3);
    put(b, " VALUES");
    for (unsigned row = 0; row < rows; row++) {
        put(b, row ? ", (" : "(");
        for (unsigned i = 0; i < n; i++) {
            if (i) put(b, ", ");
            put_value(b, fuzz_column_value(b->t, columns[i], b->r));
        }
        put(b, ")");
    }
}

/* Something of `side` that fits the column. */
static const char *side_expression(struct builder *b, unsigned column) {
    switch (b->t->types[column][0]) {
    case 'I': return chance(b->r, 50) ? "id" : "n";
    case 'R': return "n * 0.5";
    case 'T': return "s";
    case 'B': return "CAST(s AS BLOB)";
    default: return "x";
    }
}

static void put_query(struct builder *b, const unsigned *columns, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        sqlite3_str_appendf(b->sql, "%s%s", i ? ", " : " SELECT ", side_expression(b, columns[i]));
    unsigned from = below(b->r, 8), to = 2 + below(b->r, 8);
    sqlite3_str_appendf(b->sql, " FROM side WHERE id BETWEEN %u AND %u ORDER BY id", from, to);
}

static void make_insert(struct builder *b) {
    const struct fuzz_table *t = b->t;
    unsigned columns[FUZZ_COLUMNS], n = 0;
    const char *conflict = random_conflict(b);
    bool all = chance(b->r, 60);
    sqlite3_str_appendf(b->sql, "INSERT%s INTO t", conflict);
    for (unsigned i = 0; i < t->column_count; i++)
        if (all || chance(b->r, 75)) columns[n++] = i;
    if (n == 0) columns[n++] = 0;
    if (!all || n < t->column_count || chance(b->r, 30)) {
        for (unsigned i = 0; i < n; i++)
            sqlite3_str_appendf(b->sql, "%s%s", i ? ", " : "(", t->names[columns[i]]);
        put(b, ")");
    }
    if (chance(b->r, 20))
        put_query(b, columns, n);
    else
        put_rows(b, columns, n);
    /* On virtual tables RETURNING shows ignored rows too, and not the rowids given. */
    bool returns = !strstr(conflict, "IGNORE") && !(t->rowid && t->key_count);
    if (returns && chance(b->r, 12)) put(b, " RETURNING *");
}

/* Whether a change of the column may meet a row in its way. */
static bool is_unique(const struct fuzz_table *t, unsigned column) {
    for (unsigned i = 0; i < t->index_count; i++)
        for (unsigned k = 0; t->indexes[i].unique && k < t->indexes[i].column_count; k++)
            if (t->indexes[i].columns[k] == column) return true;
    return fuzz_is_key(t, column);
}

static void put_assignment(struct builder *b, unsigned column) {
    const char *name = b->t->names[column];
    unsigned kind = below(b->r, 10);
    sqlite3_str_appendf(b->sql, "%s = ", name);
    if (kind == 0 && b->t->types[column][0] == 'I')
        sqlite3_str_appendf(b->sql, "%s + %d", name, (int)below(b->r, 5) - 2);
    else if (kind == 0 && b->t->types[column][0] == 'T')
        sqlite3_str_appendf(b->sql, "%s || 'a'", name);
    else if (kind == 1)
        put(b, random_column(b));
    else
        put_value(b, fuzz_column_value(b->t, column, b->r));
}

/* One row at most: when keys move, what happens depends on the order of the rows. */
static void put_whole_key(struct builder *b) {
    const struct fuzz_table *t = b->t;
    put(b, " WHERE ");
    if (t->key_count == 0) sqlite3_str_appendf(b->sql, "rowid = %u", below(b->r, 8));
    for (unsigned i = 0; i < t->key_count; i++) {
        sqlite3_str_appendf(b->sql, "%s%s IS ", i ? " AND " : "", t->names[t->key[i]]);
        put_value(b, fuzz_column_value(t, t->key[i], b->r));
    }
}

/* Rows made of the table's own, in an order that is the same on both sides. */
static void make_self_insert(struct builder *b) {
    const struct fuzz_table *t = b->t;
    static const char *const changed[] = {"%s + %u", "%s * -%u", "%s"};
    sqlite3_str_appendf(b->sql, "INSERT%s INTO t", random_conflict(b));
    for (unsigned i = 0; i < t->column_count; i++)
        sqlite3_str_appendf(b->sql, "%s%s", i ? ", " : "(", t->names[i]);
    put(b, ") SELECT ");
    for (unsigned i = 0; i < t->column_count; i++) {
        bool moves = is_unique(t, i) || chance(b->r, 20);
        char type = t->types[i][0];
        if (i) put(b, ", ");
        if (moves && (type == 'I' || type == 'R'))
            sqlite3_str_appendf(b->sql, changed[below(b->r, 3)], t->names[i], 1 + below(b->r, 20));
        else if (moves && type == 'T')
            sqlite3_str_appendf(b->sql, "%s || 'x'", t->names[i]);
        else
            put(b, t->names[i]);
    }
    put(b, " FROM t");
    put_where(b);
    if (b->loose) {
        put_count(b);
        return;
    }
    put(b, " ORDER BY ");
    put_order_terms(b);
    sqlite3_str_appendf(b->sql, " LIMIT %u", 1 + below(b->r, 6));
}

/* What no virtual table can do, and what must leave no trace. */
static void make_refused(struct builder *b) {
    static const char *const clauses[] = {"NOTHING", "UPDATE SET %s = NULL"};
    const char *column = random_column(b);
    b->s->flags = FUZZ_REFUSED;
    switch (below(b->r, 4)) {
    case 0:
        sqlite3_str_appendf(b->sql, "INSERT INTO t(%s) VALUES (NULL) ON CONFLICT DO ", column);
        sqlite3_str_appendf(b->sql, clauses[below(b->r, 2)], column);
        break;
    case 1: sqlite3_str_appendf(b->sql, "DELETE FROM t RETURNING %s", column); break;
    case 2: sqlite3_str_appendf(b->sql, "UPDATE t SET %s = NULL RETURNING *", column); break;
    default: sqlite3_str_appendf(b->sql, "CREATE INDEX more ON t (%s)", column);
    }
}

static void make_update(struct builder *b) {
    /* Which row fails first depends on the order of the rows. */
    const char *conflict = random_conflict(b);
    bool moves = strstr(conflict, "FAIL") != NULL;
    sqlite3_str_appendf(b->sql, "UPDATE%s t SET ", conflict);
    unsigned n = 1 + below(b->r, 2), last = FUZZ_COLUMNS;
    for (unsigned i = 0; i < n; i++) {
        unsigned column = below(b->r, b->t->column_count);
        if (fuzz_is_key(b->t, column) && chance(b->r, 50)) column = below(b->r, b->t->column_count);
        if (column == last) break;
        if (i) put(b, ", ");
        put_assignment(b, column);
        moves |= is_unique(b->t, column);
        last = column;
    }
    if (moves)
        put_whole_key(b);
    else
        put_where(b);
}

static void make_update_from(struct builder *b) {
    unsigned column = interesting_column(b), target = below(b->r, b->t->column_count);
    if (is_unique(b->t, target) || b->t->types[column][0] != 'I') {
        make_update(b);
        return;
    }
    sqlite3_str_appendf(b->sql, "UPDATE t SET %s = %s FROM side WHERE side.id = t.%s",
                        b->t->names[target], side_expression(b, target), b->t->names[column]);
}

static void make_delete(struct builder *b) {
    put(b, "DELETE FROM t");
    if (chance(b->r, 3)) return;
    put(b, " WHERE ");
    put_condition(b, "", 0);
    if (chance(b->r, 50)) return;
    put(b, " AND ");
    put_condition(b, "", 1);
}

/* One bound of a range, or both; the conditions of the twin in turn with those of the
 * function, so that both bind the same values. */
static void put_bounds(struct builder *b, sqlite3_str *twin, unsigned column, unsigned n) {
    static const char *const ops[] = {"=", ">", ">=", "<", "<="};
    const char *name = b->t->names[column];
    unsigned first = 1 + below(b->r, 4), count = 1;
    if (chance(b->r, 30)) first = 0;
    if (first == 1 || first == 2) count += below(b->r, 2);
    for (unsigned i = 0; i < count; i++) {
        const char *op = ops[i ? 3 + below(b->r, 2) : first];
        sqlite3_str *sql = b->sql;
        sqlite3_str_appendf(sql, ", '%w %s', ", name, op);
        int value = sqlite3_str_length(sql);
        put_value(b, fuzz_column_value(b->t, column, b->r));
        sqlite3_str_appendf(twin, "%s%s %s %s", n || i ? " AND " : " WHERE ", name, op,
                            sqlite3_str_value(sql) + value);
    }
}

/* Deleting a range, for which an ordinary table has only DELETE. */
static void make_delete_range(struct builder *b) {
    const struct fuzz_table *t = b->t;
    sqlite3_str *twin = sqlite3_str_new(NULL);
    unsigned n = t->key_count && !chance(b->r, 4) ? 1 + below(b->r, t->key_count) : 0;
    put(b, "SELECT kevo_delete_range('t'");
    sqlite3_str_appendall(twin, "DELETE FROM t");
    for (unsigned i = 0; i + 1 < n; i++) {
        sqlite3_str_appendf(b->sql, ", '%s =', ", t->names[t->key[i]]);
        int value = sqlite3_str_length(b->sql);
        put_value(b, fuzz_column_value(t, t->key[i], b->r));
        sqlite3_str_appendf(twin, "%s%s = %s", i ? " AND " : " WHERE ", t->names[t->key[i]],
                            sqlite3_str_value(b->sql) + value);
    }
    if (n) put_bounds(b, twin, t->key[n - 1], n - 1);
    put(b, ")");
    b->s->twin = sqlite3_str_finish(twin);
}

static void make_side(struct builder *b) {
    unsigned id = below(b->r, 10);
    if (chance(b->r, 30)) {
        sqlite3_str_appendf(b->sql, "DELETE FROM side WHERE id = %u", id);
        return;
    }
    sqlite3_str_appendf(b->sql, "REPLACE INTO side VALUES(%u, ", id);
    put_value(b, fuzz_random_value(b->r, 'i'));
    put(b, ", ");
    put_value(b, fuzz_random_value(b->r, 't'));
    put(b, ", ");
    put_value(b, fuzz_random_value(b->r, "nirtb"[below(b->r, 5)]));
    put(b, ")");
}

/* A second table in the same transactions. */
static void make_other(struct builder *b) {
    unsigned id = below(b->r, 10);
    switch (below(b->r, 5)) {
    case 0: sqlite3_str_appendf(b->sql, "DELETE FROM u WHERE a = %u", id); return;
    case 1: sqlite3_str_appendf(b->sql, "DELETE FROM u WHERE a > %u", id); return;
    case 2:
        sqlite3_str_appendf(b->sql, "INSERT OR IGNORE INTO u SELECT id, x FROM side WHERE id > %u",
                            id);
        return;
    case 3: sqlite3_str_appendf(b->sql, "UPDATE u SET b = "); break;
    default: sqlite3_str_appendf(b->sql, "INSERT%s INTO u VALUES(%u, ", random_conflict(b), id);
    }
    bool insert = sqlite3_str_value(b->sql)[0] == 'I';
    put_value(b, fuzz_random_value(b->r, "nirtb"[below(b->r, 5)]));
    if (insert)
        put(b, ")");
    else
        sqlite3_str_appendf(b->sql, " WHERE a < %u", id);
}

/* ---- transactions and upkeep ------------------------------------------------------------------------------ */

static void make_any_transaction(struct builder *b) {
    static const char *const whole[] = {"BEGIN", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"};
    static const char *const parts[] = {"SAVEPOINT", "RELEASE", "ROLLBACK TO"};
    if (chance(b->r, 50))
        put(b, whole[below(b->r, COUNT(whole))]);
    else
        sqlite3_str_appendf(b->sql, "%s s%u", parts[below(b->r, COUNT(parts))], below(b->r, 3));
}

/* Mostly what makes sense after the ones before. */
static void make_transaction(struct builder *b) {
    unsigned *depth = &b->t->depth, dice = below(b->r, 100);
    if (dice < 20) {
        make_any_transaction(b);
    } else if (*depth == 0) {
        put(b, chance(b->r, 70) ? "BEGIN" : "SAVEPOINT s0");
        *depth = 1;
    } else if (dice < 50 && *depth < 5) {
        sqlite3_str_appendf(b->sql, "SAVEPOINT s%u", (*depth)++);
    } else if (dice < 75 && *depth > 1) {
        *depth = 1 + below(b->r, *depth);
        sqlite3_str_appendf(b->sql, "ROLLBACK TO s%u", *depth - 1);
    } else if (dice < 85 && *depth > 1) {
        *depth = 1 + below(b->r, *depth - 1);
        sqlite3_str_appendf(b->sql, "RELEASE s%u", *depth);
    } else {
        put(b, chance(b->r, 70) ? "COMMIT" : "ROLLBACK");
        *depth = 0;
    }
}

/* kevo_compact() waits until nobody can need what it drops, so it is rare, and retain_ms low. */
static void make_upkeep(struct builder *b) {
    unsigned kind = below(b->r, 100);
    b->s->flags = kind < 40 ? FUZZ_REOPEN : FUZZ_KEVO_ONLY;
    put(b, kind < 40   ? "-- close and open again"
           : kind < 60 ? "SELECT kevo_flush('t')"
           : kind < 90 ? "SELECT kevo_check('t')"
           : kind < 98 ? "SELECT kevo_reindex('t')"
                       : "SELECT kevo_compact('t')");
}

void fuzz_statement_make(struct fuzz_statement *s, struct fuzz_table *t, struct rng *r) {
    static const struct {
        unsigned percent;
        void (*make)(struct builder *);
    } kinds[] = {{22, make_insert},     {2, make_self_insert}, {9, make_update},
                 {2, make_update_from}, {4, make_delete},      {2, make_delete_range},
                 {15, make_select},     {7, make_aggregate},   {7, make_join},
                 {3, make_window},      {2, make_compound},    {3, make_subquery},
                 {4, make_side},        {5, make_other},       {10, make_transaction},
                 {2, make_upkeep},      {1, make_refused}};
    memset(s, 0, sizeof *s);
    struct builder b = {s, t, r, sqlite3_str_new(NULL), false};
    unsigned dice = below(r, 100), i = 0;
    while (dice >= kinds[i].percent)
        dice -= kinds[i++].percent;
    kinds[i].make(&b);
    s->sql = sqlite3_str_finish(b.sql);
}

char *fuzz_statement_text(const struct fuzz_statement *s) {
    sqlite3_str *out = sqlite3_str_new(NULL);
    sqlite3_str_appendall(out, s->sql);
    for (unsigned i = 0; i < s->bind_count; i++) {
        sqlite3_str_appendall(out, i ? ", " : " -- ");
        fuzz_put_literal(out, &s->binds[i]);
    }
    return sqlite3_str_finish(out);
}
