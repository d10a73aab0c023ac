#include "sql/condition.h"

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "sql/token.h"

/* ---- one condition ------------------------------------------------------------------ */

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The operator that all of the text is, but for white space around it. */
static bool find_op(const char *text, enum plan_op *op) {
    static const struct {
        const char *text;
        enum plan_op op;
    } ops[] = {{"=", PLAN_EQ},  {"==", PLAN_EQ}, {"<", PLAN_LT},
               {"<=", PLAN_LE}, {">", PLAN_GT},  {">=", PLAN_GE}};
    while (is_space(*text))
        text++;
    size_t len = strlen(text);
    while (len && is_space(text[len - 1]))
        len--;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        *op = ops[i].op;
        if (strlen(ops[i].text) == len && memcmp(text, ops[i].text, len) == 0) return true;
    }
    return false;
}

/* Only where no column has such a name. */
static bool is_rowid_name(const char *name) {
    return names_equal(name, "rowid") || names_equal(name, "_rowid_") || names_equal(name, "oid");
}

static bool find_column(const struct schema *s, const char *name, int *column) {
    for (unsigned i = 0; i < s->column_count; i++) {
        *column = (int)i;
        if (names_equal(name, s->columns[i].name)) return true;
    }
    if (s->kind != SCHEMA_ROWID || !is_rowid_name(name)) return false;
    *column = s->alias; /* SCHEMA_NO_COLUMN when it has no other name */
    return true;
}

int condition_parse(const struct schema *s, const char *text, struct condition *condition,
                    struct kevo_err *err) {
    const char *p = text;
    int rc = 0;
    struct token t = token_next(&p);
    if (!token_is_name(t) || !find_op(p, &condition->op))
        return kevo_fail(err, KEVO_INVALID,
                         "\"%.100s\" is no condition: write a column and one of = < <= > >=, as in "
                         "'%.60s >='",
                         text, s->key[0].column < 0 ? "rowid" : s->columns[s->key[0].column].name);
    char *name = token_text(t);
    if (!name) return kevo_nomem(err);
    if (!find_column(s, name, &condition->column))
        rc = kevo_fail(err, KEVO_INVALID, "table %s has no column %.100s", s->table, name);
    mem_free(name);
    return rc;
}

enum condition_affinity condition_affinity(const struct schema *s, const struct condition *c,
                                           enum value_type type) {
    bool number = type == VALUE_INTEGER || type == VALUE_REAL;
    if (c->column == SCHEMA_NO_COLUMN) return type == VALUE_TEXT ? AFFINITY_NUMBER : AFFINITY_NONE;
    switch (s->columns[c->column].type) {
    case COLUMN_INTEGER:
    case COLUMN_REAL: return type == VALUE_TEXT ? AFFINITY_NUMBER : AFFINITY_NONE;
    case COLUMN_TEXT: return number ? AFFINITY_TEXT : AFFINITY_NONE;
    default: return AFFINITY_NONE;
    }
}

/* ---- all of them ----------------------------------------------------------------------- */

static const char *column_name(const struct schema *s, unsigned n) {
    int column = s->key[n].column;
    return column == SCHEMA_NO_COLUMN ? "rowid" : s->columns[column].name;
}

/* Which condition, counted from 1, is on what. */
struct places {
    unsigned equal[SCHEMA_MAX_LAYOUT]; /* on each key column */
    unsigned lower, upper;
    unsigned lower_place, upper_place; /* the key columns that these are on */
    unsigned equal_count;
};

static int refuse_second(const struct schema *s, unsigned n, const char *what,
                         struct kevo_err *err) {
    return kevo_fail(err, KEVO_INVALID, "there are two %s on %s", what, column_name(s, n));
}

static int place_one(const struct schema *s, const struct condition *c, unsigned number,
                     struct places *p, struct kevo_err *err) {
    int n = schema_key_position(s, c->column);
    if (n < 0)
        return kevo_fail(err, KEVO_INVALID, "column %s is not in the primary key of %s: use DELETE",
                         c->column < 0 ? "rowid" : s->columns[c->column].name, s->table);
    unsigned place = (unsigned)n;
    switch (c->op) {
    case PLAN_EQ:
        if (p->equal[place]) return refuse_second(s, place, "equalities", err);
        p->equal[place] = number;
        p->equal_count++;
        return 0;
    case PLAN_GT:
    case PLAN_GE:
        if (p->lower) return refuse_second(s, place, "lower bounds", err);
        p->lower = number;
        p->lower_place = place;
        return 0;
    default:
        if (p->upper) return refuse_second(s, place, "upper bounds", err);
        p->upper = number;
        p->upper_place = place;
        return 0;
    }
}

/* Every column in front of `n` must be equal to something. */
static int check_before(const struct schema *s, const struct places *p, unsigned n,
                        struct kevo_err *err) {
    for (unsigned i = 0; i < n; i++) {
        if (!p->equal[i])
            return kevo_fail(err, KEVO_INVALID,
                             "a condition on %s makes a range only together with '%s =', since %s "
                             "comes first in the key: use DELETE",
                             column_name(s, n), column_name(s, i), column_name(s, i));
    }
    return 0;
}

static int check_bound(const struct schema *s, const struct places *p, unsigned number,
                       unsigned place, struct kevo_err *err) {
    if (!number) return 0;
    if (p->equal[place])
        return kevo_fail(err, KEVO_INVALID, "there is an equality and a bound on %s",
                         column_name(s, place));
    return check_before(s, p, place, err);
}

static int check_places(const struct schema *s, const struct places *p, struct kevo_err *err) {
    for (unsigned n = 0; n < s->key_count; n++) {
        int rc = p->equal[n] ? check_before(s, p, n, err) : 0;
        if (rc) return rc;
    }
    int rc = check_bound(s, p, p->lower, p->lower_place, err);
    return rc ? rc : check_bound(s, p, p->upper, p->upper_place, err);
}

/* 0: no bound. */
static enum plan_bound bound_of(const struct condition *list, unsigned number) {
    if (!number) return PLAN_NO_BOUND;
    enum plan_op op = list[number - 1].op;
    return op == PLAN_GT || op == PLAN_LT ? PLAN_EXCLUSIVE : PLAN_INCLUSIVE;
}

int conditions_plan(const struct schema *s, const struct condition *list, unsigned count,
                    struct plan *plan, unsigned *order, struct kevo_err *err) {
    struct places p = {.equal = {0}};
    unsigned n = 0;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = place_one(s, &list[i], i + 1, &p, err);
    if (rc == 0) rc = check_places(s, &p, err);
    if (rc) return rc;
    /* Values have the column's affinity by then, so the type of a bound is as good as known. */
    *plan = (struct plan){.index = s->number,
                          .eq_count = p.equal_count,
                          .in_column = -1,
                          .lower = bound_of(list, p.lower),
                          .upper = bound_of(list, p.upper),
                          .upper_known = true};
    for (; n < p.equal_count; n++)
        order[n] = p.equal[n] - 1;
    if (p.lower) order[n++] = p.lower - 1;
    if (p.upper) order[n++] = p.upper - 1;
    return 0;
}
