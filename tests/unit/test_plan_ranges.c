/* Ranges of keys against SQLite's comparisons: what a plan's constraints and their values select. */
#include "sql/plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/error.h"
#include "sql/keycode.h"
#include "tests/lib/rows.h"

#define LOG "device TEXT|ts INTEGER|v ANY|PRIMARY KEY (device, ts DESC)"

/* ---- the oracle: SQLite's comparisons ------------------------------------------------------ */

enum affinity { NO_AFFINITY, BLOB_AFFINITY, TEXT_AFFINITY, NUMERIC_AFFINITY };

/* Text that looks like a number becomes one; true if it did. */
static bool apply_numeric(struct value *v) {
    static const char space[] = " \t\n\v\f\r";
    char text[64], *end;
    if (v->type != VALUE_TEXT || v->bytes.len >= sizeof text) return false;
    memcpy(text, v->bytes.data, v->bytes.len);
    text[v->bytes.len] = '\0';
    if (strlen(text) != v->bytes.len) return false;
    const char *p = text + strspn(text, space), *start = p;
    bool whole = true;
    if (*p == '-' || *p == '+') p++;
    size_t digits = strspn(p, "0123456789");
    p += digits;
    if (*p == '.') {
        size_t fraction = strspn(++p, "0123456789");
        whole = false;
        digits += fraction;
        p += fraction;
    }
    if (digits == 0) return false;
    if (*p == 'e' || *p == 'E') {
        whole = false;
        p++;
        if (*p == '-' || *p == '+') p++;
        size_t exponent = strspn(p, "0123456789");
        if (exponent == 0) return false;
        p += exponent;
    }
    if (p[strspn(p, space)] != '\0') return false;
    *v = value_real(strtod(start, &end));
    if (whole) *v = value_integer(strtoll(start, &end, 10)); /* the tests' are short */
    return true;
}

static void apply_text(struct value *v, char text[64]) {
    if (v->type == VALUE_INTEGER)
        snprintf(text, 64, "%lld", (long long)v->integer);
    else if (v->type == VALUE_REAL && v->real - v->real != 0)
        snprintf(text, 64, v->real < 0 ? "-Inf" : "Inf");
    else if (v->type == VALUE_REAL)
        snprintf(text, 64, "%.15g", v->real);
    else
        return;
    if (v->type == VALUE_REAL && v->real - v->real == 0 && !strpbrk(text, ".e")) strcat(text, ".0");
    *v = value_text(text, strlen(text));
}

static bool is_true(struct value key, enum plan_op op, struct value v, enum affinity column,
                    enum affinity other) {
    char text[64];
    enum affinity apply = column;
    if (other != NO_AFFINITY) {
        bool numeric = column == NUMERIC_AFFINITY || other == NUMERIC_AFFINITY;
        apply = numeric ? NUMERIC_AFFINITY : BLOB_AFFINITY;
    }
    if (op == PLAN_NOT_NULL) return key.type != VALUE_NULL;
    if (op == PLAN_IS && (key.type == VALUE_NULL || v.type == VALUE_NULL))
        return key.type == v.type;
    if (v.type == VALUE_NULL || key.type == VALUE_NULL) return false;
    if (apply == NUMERIC_AFFINITY) {
        apply_numeric(&key);
        apply_numeric(&v);
    } else if (apply == TEXT_AFFINITY) {
        apply_text(&v, text);
    }
    int c = value_cmp(&key, &v);
    switch (op) {
    case PLAN_EQ:
    case PLAN_IS: return c == 0;
    case PLAN_GT: return c > 0;
    case PLAN_GE: return c >= 0;
    case PLAN_LT: return c < 0;
    default: return c <= 0;
    }
}

static enum affinity column_affinity(enum column_type type) {
    if (type == COLUMN_TEXT) return TEXT_AFFINITY;
    /* A column that is declared without a type has BLOB affinity. */
    return type == COLUMN_BLOB || type == COLUMN_ANY ? BLOB_AFFINITY : NUMERIC_AFFINITY;
}

/* ---- ranges against the oracle ---------------------------------------------------------------- */

static bool in_ranges(const struct plan_ranges *r, slice key) {
    bool found = false;
    for (size_t i = 0; i < r->count; i++) {
        struct key_range range = plan_range_at(r, i);
        bool inside = slice_cmp(key, range.lower) >= 0 && slice_cmp(key, range.upper) < 0;
        if (range.point) ck_assert(inside == slice_eq(key, range.lower));
        ck_assert(!(inside && found));
        found |= inside;
    }
    return found;
}

static void check_order(const struct plan_ranges *r) {
    for (size_t i = 0; i < r->count; i++) {
        struct key_range range = plan_range_at(r, i);
        ck_assert_int_lt(slice_cmp(range.lower, range.upper), 0);
        if (i) ck_assert_int_le(slice_cmp(plan_range_at(r, i - 1).upper, range.lower), 0);
    }
}

/* A right-hand side as a statement may have it. */
struct side {
    struct value value;
    enum affinity affinity;
    bool bound, known; /* a parameter, or one in a cast; a literal */
};

static struct side random_side(struct rng *r, const struct value *near, unsigned slot) {
    struct side side = {.value = *near};
    side.affinity = (enum affinity)rng_below(r, 4);
    if (side.affinity == NO_AFFINITY) {
        side.bound = rng_below(r, 2);
        side.known = !side.bound && rng_below(r, 2);
    }
    if (rng_below(r, 2)) side.value = rows_value(r, (enum value_type)rng_below(r, 5), slot);
    if (side.value.type == VALUE_REAL) side.value.real += 0.0;
    if (side.affinity == NUMERIC_AFFINITY) {
        apply_numeric(&side.value); /* as it was stored, or by CAST(? AS NUMERIC) */
        side.bound = value_is_number(&side.value) && rng_below(r, 2);
    }
    return side;
}

/* Whether a plan promises to exclude every other key for this comparison. */
static bool promises_exact(enum column_type type, enum plan_op op, const struct side *side) {
    if (op == PLAN_NOT_NULL) return false; /* without a LIMIT */
    if (type == COLUMN_ANY && value_is_number(&side->value)) return false;
    if (type != COLUMN_TEXT && type != COLUMN_ANY) return true;
    if (value_is_number(&side->value)) return false;
    if (op != PLAN_EQ && op != PLAN_IS && side->affinity == NUMERIC_AFFINITY) return false;
    bool upper = op == PLAN_LT || op == PLAN_LE;
    return !upper || side->known || side->bound || side->value.type != VALUE_TEXT;
}

enum { MAX_TERMS = 6, MAX_LIST = 4, MAX_COLUMNS = 8 };

/* One random query: its terms, of which one may be a list. */
struct query {
    struct plan_constraint c[MAX_TERMS];
    struct side sides[MAX_TERMS][MAX_LIST];
    unsigned count, list_len;
    bool coarse;
};

static void random_query(struct rng *r, const struct schema *s, const struct value *near,
                         struct query *q) {
    unsigned slot = 30;
    q->count = 1 + (unsigned)rng_below(r, MAX_TERMS);
    q->coarse = rng_below(r, 2);
    q->list_len = 1 + (unsigned)rng_below(r, MAX_LIST);
    for (unsigned i = 0; i < q->count; i++) {
        /* mostly equalities in front, so that prefixes get long */
        unsigned n = (unsigned)rng_below(r, s->key_count);
        enum plan_op op = rng_below(r, 3) ? PLAN_EQ : (enum plan_op)rng_below(r, PLAN_GLOB);
        bool list = op == PLAN_EQ && rng_below(r, 4) == 0;
        for (unsigned k = 0; k < q->list_len; k++)
            q->sides[i][k] = random_side(r, &near[schema_value_place(s, s->key[n].column)], slot++);
        if (s->number && !list && rng_below(r, 5) == 0) {
            op = rng_below(r, 2) ? PLAN_IS : PLAN_NOT_NULL;
            q->sides[i][0] = (struct side){.affinity = NO_AFFINITY, .known = true};
        }
        q->c[i] = (struct plan_constraint){.column = s->key[n].column,
                                           .op = op,
                                           .usable = rng_below(r, 8) != 0,
                                           .in_list = list,
                                           .rhs_known = !list && q->sides[i][0].known,
                                           .rhs_type = q->sides[i][0].value.type};
    }
}

static void fill_arg(const struct schema *s, const struct plan *plan, unsigned i,
                     const struct side *side, struct plan_arg *arg) {
    *arg = (struct plan_arg){side->value, plan_arg_is_bare(&side->value, side->bound)};
    if (plan_convert(s, plan, i, arg) == PLAN_TO_NUMBER) apply_numeric(&arg->value);
}

static void make_ranges(const struct schema *s, const struct plan *plan, const struct query *q,
                        struct plan_ranges *ranges) {
    struct plan_arg args[MAX_TERMS];
    unsigned list = 0;
    plan_ranges_reset(ranges);
    ranges->coarse = q->coarse;
    for (unsigned i = 0; i < q->count; i++) {
        if (q->c[i].argv_index == 0) continue;
        unsigned a = (unsigned)q->c[i].argv_index - 1;
        fill_arg(s, plan, a, &q->sides[i][0], &args[a]);
        if (q->c[i].take_list) list = i;
    }
    for (unsigned k = 0; k < (plan->in_column < 0 ? 1 : q->list_len); k++) {
        if (plan->in_column >= 0)
            fill_arg(s, plan, (unsigned)plan->in_column, &q->sides[list][k],
                     &args[plan->in_column]);
        ck_ok(plan_ranges_add(ranges, s, 300, plan, args, &test_err));
    }
    plan_ranges_finish(ranges);
    check_order(ranges);
}

/* Whether the used terms are true of a row; *exact: whether all promise to be exact. */
static bool all_true(const struct schema *s, const struct query *q, const struct value *row,
                     bool *exact) {
    bool result = true;
    *exact = true;
    for (unsigned i = 0; i < q->count; i++) {
        if (q->c[i].argv_index == 0) continue;
        int column = q->c[i].column;
        enum column_type type = column < 0 ? COLUMN_INTEGER : s->columns[column].type;
        const struct value *v = &row[schema_value_place(s, column)];
        bool any = false;
        for (unsigned k = 0; k < (q->c[i].take_list ? q->list_len : 1); k++) {
            const struct side *side = &q->sides[i][k];
            any |= is_true(*v, q->c[i].op, side->value, column_affinity(type), side->affinity);
            *exact &= promises_exact(type, q->c[i].op, side);
        }
        result &= any;
    }
    return result;
}

static void random_row(struct rng *r, const struct schema *s, struct value *row,
                       const struct value *near) {
    for (unsigned i = 0; i < s->column_count; i++)
        row[i] = rng_below(r, 3) ? near[i] : rows_value(r, rows_type(r, s->columns[i].type), i);
}

START_TEST(ranges_follow_comparisons) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct plan_ranges ranges = {.spans = NULL};
    struct buf key = {0};
    struct value near[MAX_COLUMNS], row[MAX_COLUMNS];
    unsigned hits = 0, misses = 0;
    for (uint64_t round = harness_count("KEVO_OPS", 20000) / 10; round > 0; round--) {
        struct schema *s = rows_random_schema(&r, (unsigned)_i);
        for (unsigned i = 0; i < s->column_count; i++)
            near[i] = rows_value(&r, rows_type(&r, s->columns[i].type), 20 + i);
        for (unsigned n = 0; n < 4; n++) {
            struct query q;
            struct plan plan;
            random_query(&r, s, near, &q);
            struct plan_query pq = {.constraints = q.c,
                                    .constraint_count = q.count,
                                    .updates = rng_below(&r, 2),
                                    .rows = 1e6};
            plan_make(s, &pq, &plan);
            bool one = plan.unique && !plan.presumed;
            plan = plan_of_index(plan_index(&plan));
            make_ranges(s, &plan, &q, &ranges);
            if (one) ck_assert(ranges.count <= 1 && (!ranges.count || ranges.spans->point));
            for (unsigned k = 0; k < 20; k++) {
                bool exact;
                random_row(&r, s, row, near);
                ck_ok(keycode_encode(s, 300, row, &key, &test_err));
                bool wanted = all_true(s, &q, row, &exact);
                bool found = in_ranges(&ranges, buf_slice(&key));
                ck_assert_msg(found || !wanted, "a key that fits is left out");
                if (exact) ck_assert_msg(found == wanted, "a key that does not fit is visited");
                wanted ? hits++ : misses++;
            }
        }
        schema_free(s);
    }
    ck_assert(hits > 1000 && misses > 1000);
    plan_ranges_release(&ranges);
    buf_release(&key);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* A row for a table with an index: NULL where it may be, and the hidden rowid. */
static void random_nullable_row(struct rng *r, const struct schema *s, struct value *row,
                                const struct value *near, unsigned slot) {
    for (unsigned i = 0; i < s->column_count; i++) {
        const struct column *c = &s->columns[i];
        bool null = !c->not_null && (int)i != s->alias;
        if (near && rng_below(r, 3)) {
            row[i] = near[i];
            continue;
        }
        do
            row[i] = rows_value(r, rows_type(r, c->type), slot + i);
        while (row[i].type == VALUE_NULL && !null);
        if (null && rng_below(r, 4) == 0) row[i] = value_null();
    }
    row[s->column_count] =
        near && rng_below(r, 2) ? near[s->column_count] : rows_value(r, VALUE_INTEGER, 0);
}

/* A NULL meets an equality that another one, by IS, lets through. */
static bool lets_nulls_through(const struct query *q, const struct plan *plan) {
    for (unsigned i = 0; plan->nulls && i < q->count; i++)
        for (unsigned k = 0; k < q->list_len; k++)
            if (q->c[i].op == PLAN_EQ && q->sides[i][k].value.type == VALUE_NULL) return true;
    return false;
}

START_TEST(index_ranges_follow_comparisons) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct plan_ranges ranges = {.spans = NULL};
    struct buf key = {0};
    struct value near[MAX_COLUMNS], row[MAX_COLUMNS];
    unsigned hits = 0, misses = 0, over_index = 0;
    for (uint64_t round = harness_count("KEVO_OPS", 20000) / 10; round > 0; round--) {
        struct schema *s = rows_random_indexed(&r);
        const struct schema *index = &s->indexes[0];
        random_nullable_row(&r, s, near, NULL, 20);
        for (unsigned n = 0; n < 4; n++) {
            struct query q;
            struct plan plan;
            random_query(&r, index, near, &q);
            struct plan_query pq = {
                .constraints = q.c, .constraint_count = q.count, .used = ~0ull, .rows = 1e6};
            plan_make(s, &pq, &plan);
            plan = plan_of_index(plan_index(&plan));
            const struct schema *over = plan_schema(s, &plan);
            over_index += over == index;
            make_ranges(over, &plan, &q, &ranges);
            for (unsigned k = 0; k < 20; k++) {
                bool exact;
                random_nullable_row(&r, s, row, near, 0);
                ck_ok(keycode_encode(over, 300, row, &key, &test_err));
                bool wanted = all_true(over, &q, row, &exact);
                bool found = in_ranges(&ranges, buf_slice(&key));
                ck_assert_msg(found || !wanted, "an entry that fits is left out");
                if (exact && !lets_nulls_through(&q, &plan))
                    ck_assert_msg(found == wanted, "an entry that does not fit is visited");
                wanted ? hits++ : misses++;
            }
        }
        schema_free(s);
    }
    ck_assert(hits > 1000 && misses > 1000 && over_index > 100);
    plan_ranges_release(&ranges);
    buf_release(&key);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* ---- every type against every other, by name ------------------------------------------------------ */

#define T(s)                                                                                       \
    {                                                                                              \
        .type = VALUE_TEXT, .bytes = {(const uint8_t *)(s), sizeof(s) - 1 }                        \
    }
#define B(s)                                                                                       \
    {                                                                                              \
        .type = VALUE_BLOB, .bytes = {(const uint8_t *)(s), sizeof(s) - 1 }                        \
    }
#define I(i)                                                                                       \
    { .type = VALUE_INTEGER, .integer = (i) }
#define R(r)                                                                                       \
    { .type = VALUE_REAL, .real = (r) }
#define BIG (1ll << 53)

/* Keys in ascending order; of these `from` to `to` - 1 must be visited, no others. */
static const struct {
    const char *type;
    enum plan_op op;
    struct value rhs;
    bool bare;
    unsigned from, to;
    struct value keys[8];
} compare[] = {
#define INT_KEYS                                                                                   \
    { I(INT64_MIN), I(-5), I(-4), I(0), I(4), I(5), I(BIG + 1), I(INT64_MAX) }
#define REAL_KEYS                                                                                  \
    { R(-1.0 / 0.0), R(-5), R(-0.5), R(0), R(4.5), R(5), R(9007199254740994.0), R(1.0 / 0.0) }
#define TEXT_KEYS                                                                                  \
    { T(""), T("\b"), T("\t5"), T("05"), T("5"), T(":"), T("Inf"), T("\xff") }
#define BLOB_KEYS                                                                                  \
    { B(""), B("\0"), B("\0\0"), B("5"), B("5\0"), B("a"), B("\xff"), B("\xff\xff") }
    {"INT", PLAN_EQ, I(5), false, 5, 6, INT_KEYS},
    {"INT", PLAN_EQ, R(5), false, 5, 6, INT_KEYS},
    {"INT", PLAN_EQ, R(4.5), false, 0, 0, INT_KEYS},
    {"INT", PLAN_EQ, R(9007199254740992.0), false, 0, 0, INT_KEYS},
    {"INT", PLAN_EQ, R(-9223372036854775808.0), false, 0, 1, INT_KEYS},
    {"INT", PLAN_EQ, R(9223372036854775808.0), false, 0, 0, INT_KEYS},
    {"INT", PLAN_EQ, T("abc"), false, 0, 0, INT_KEYS},
    {"INT", PLAN_EQ, B("5"), false, 0, 0, INT_KEYS},
    {"INT", PLAN_EQ, {.type = VALUE_NULL}, false, 0, 0, INT_KEYS},
    {"INT", PLAN_IS, {.type = VALUE_NULL}, false, 0, 0, INT_KEYS},
    {"INT", PLAN_GT, I(4), false, 5, 8, INT_KEYS},
    {"INT", PLAN_GT, I(INT64_MAX), false, 0, 0, INT_KEYS},
    {"INT", PLAN_GE, I(INT64_MAX), false, 7, 8, INT_KEYS},
    {"INT", PLAN_LT, I(INT64_MIN), false, 0, 0, INT_KEYS},
    {"INT", PLAN_GT, R(4.5), false, 5, 8, INT_KEYS},
    {"INT", PLAN_GE, R(4.5), false, 5, 8, INT_KEYS},
    {"INT", PLAN_GE, R(4), false, 4, 8, INT_KEYS},
    {"INT", PLAN_GT, R(4), false, 5, 8, INT_KEYS},
    {"INT", PLAN_GT, R(-4.5), false, 2, 8, INT_KEYS},
    {"INT", PLAN_LT, R(-4.5), false, 0, 2, INT_KEYS},
    {"INT", PLAN_LE, R(-4.5), false, 0, 2, INT_KEYS},
    {"INT", PLAN_LT, R(4.5), false, 0, 5, INT_KEYS},
    {"INT", PLAN_LE, R(4), false, 0, 5, INT_KEYS},
    {"INT", PLAN_LT, R(4), false, 0, 4, INT_KEYS},
    {"INT", PLAN_GT, R(9007199254740992.0), false, 6, 8, INT_KEYS},
    {"INT", PLAN_LT, R(1e30), false, 0, 8, INT_KEYS},
    {"INT", PLAN_GT, R(1e30), false, 0, 0, INT_KEYS},
    {"INT", PLAN_GT, R(-1e30), false, 0, 8, INT_KEYS},
    {"INT", PLAN_LE, R(-1e30), false, 0, 0, INT_KEYS},
    {"INT", PLAN_GE, R(-9223372036854775808.0), false, 0, 8, INT_KEYS},
    {"INT", PLAN_GT, R(-9223372036854775808.0), false, 1, 8, INT_KEYS},
    {"INT", PLAN_LT, T("abc"), false, 0, 8, INT_KEYS},
    {"INT", PLAN_GT, T("abc"), false, 0, 0, INT_KEYS},
    {"INT", PLAN_LE, B(""), false, 0, 8, INT_KEYS},
    {"INT", PLAN_GE, B(""), false, 0, 0, INT_KEYS},
    {"INT", PLAN_LT, {.type = VALUE_NULL}, false, 0, 0, INT_KEYS},
    {"REAL", PLAN_EQ, I(5), false, 5, 6, REAL_KEYS},
    {"REAL", PLAN_EQ, R(-0.0), false, 3, 4, REAL_KEYS},
    {"REAL", PLAN_EQ, I(BIG + 2), false, 6, 7, REAL_KEYS},
    {"REAL", PLAN_EQ, I(BIG + 1), false, 0, 0, REAL_KEYS},
    {"REAL", PLAN_GT, I(BIG + 1), false, 6, 8, REAL_KEYS},
    {"REAL", PLAN_GE, I(BIG + 3), false, 7, 8, REAL_KEYS},
    {"REAL", PLAN_LT, I(BIG + 1), false, 0, 6, REAL_KEYS},
    {"REAL", PLAN_LE, I(BIG + 3), false, 0, 7, REAL_KEYS},
    {"REAL", PLAN_LT, R(0), false, 0, 3, REAL_KEYS},
    {"REAL", PLAN_LT, R(-0.0), false, 0, 3, REAL_KEYS},
    {"REAL", PLAN_GT, R(-0.0), false, 4, 8, REAL_KEYS},
    {"REAL", PLAN_LT, R(1.0 / 0.0), false, 0, 7, REAL_KEYS},
    {"REAL", PLAN_LE, R(-1.0 / 0.0), false, 0, 1, REAL_KEYS},
    {"REAL", PLAN_LT, I(INT64_MAX), false, 0, 7, REAL_KEYS},
    {"REAL", PLAN_LT, T("x"), false, 0, 8, REAL_KEYS},
    {"REAL", PLAN_EQ, B("x"), false, 0, 0, REAL_KEYS},
    {"TEXT", PLAN_EQ, T("5"), false, 4, 5, TEXT_KEYS},
    {"TEXT", PLAN_EQ, I(5), false, 2, 5, TEXT_KEYS}, /* all that may be 5 */
    {"TEXT", PLAN_EQ, I(5), true, 2, 5, TEXT_KEYS},
    {"TEXT", PLAN_EQ, I(6), true, 2, 4, TEXT_KEYS},
    {"TEXT", PLAN_EQ, R(0.5), true, 2, 5, TEXT_KEYS},
    {"TEXT", PLAN_EQ, R(1.0 / 0.0), false, 2, 7, TEXT_KEYS}, /* and "Inf" */
    {"TEXT", PLAN_EQ, B("5"), false, 0, 0, TEXT_KEYS},
    {"TEXT", PLAN_GT, T("5"), false, 5, 8, TEXT_KEYS},
    {"TEXT", PLAN_GE, T("5"), false, 4, 8, TEXT_KEYS},
    {"TEXT", PLAN_LT, T("5"), true, 0, 4, TEXT_KEYS},
    {"TEXT", PLAN_LE, T("5"), true, 0, 5, TEXT_KEYS},
    {"TEXT", PLAN_LT, T("5"), false, 0, 5, TEXT_KEYS}, /* up to ":" */
    {"TEXT", PLAN_LT, T(""), true, 0, 0, TEXT_KEYS},
    {"TEXT", PLAN_LE, T("\xff"), false, 0, 8, TEXT_KEYS},
    {"TEXT", PLAN_GT, I(5), false, 0, 8, TEXT_KEYS},
    {"TEXT", PLAN_LT, I(5), false, 0, 5, TEXT_KEYS},
    {"TEXT", PLAN_GT, B(""), false, 0, 0, TEXT_KEYS},
    {"TEXT", PLAN_LT, B(""), false, 0, 8, TEXT_KEYS},
    {"BLOB", PLAN_EQ, B("\0"), false, 1, 2, BLOB_KEYS},
    {"BLOB", PLAN_EQ, T("5"), false, 0, 0, BLOB_KEYS},
    {"BLOB", PLAN_GT, B("5"), false, 4, 8, BLOB_KEYS},
    {"BLOB", PLAN_GE, B("5"), false, 3, 8, BLOB_KEYS},
    {"BLOB", PLAN_LE, B("5"), false, 0, 4, BLOB_KEYS},
    {"BLOB", PLAN_LT, B("\xff\xff"), false, 0, 7, BLOB_KEYS},
    {"BLOB", PLAN_GT, T("zzz"), false, 0, 8, BLOB_KEYS},
    {"BLOB", PLAN_LT, I(1), false, 0, 0, BLOB_KEYS},
};

START_TEST(comparisons) {
    static const char *const shapes[] = {
        "k %s PRIMARY KEY DESC|x ANY|y INT", "k %s|x ANY|y INT|PRIMARY KEY (k, y)",
        "k %s|x ANY|y INT|PRIMARY KEY (k DESC, y DESC)", "k %s PRIMARY KEY|x ANY|y INT"};
    for (unsigned shape = 0; shape < 4; shape++) {
        char arguments[128];
        snprintf(arguments, sizeof arguments, shapes[shape], compare[_i].type);
        struct schema *s = rows_schema(arguments);
        struct plan_constraint c = {.op = compare[_i].op, .usable = true};
        struct plan_query q = {.constraints = &c, .constraint_count = 1};
        struct plan plan;
        struct plan_ranges ranges = {.spans = NULL};
        struct plan_arg arg = {compare[_i].rhs, compare[_i].bare};
        struct buf key = {0};
        plan_make(s, &q, &plan);
        ck_ok(plan_ranges_add(&ranges, s, 1, &plan, &arg, &test_err));
        for (unsigned k = 0; k < 8; k++) {
            struct value row[] = {compare[_i].keys[k], value_null(), value_integer(-1)};
            ck_ok(keycode_encode(s, 1, row, &key, &test_err));
            bool wanted = k >= compare[_i].from && k < compare[_i].to;
            ck_assert_msg(in_ranges(&ranges, buf_slice(&key)) == wanted, "%s, key %u", arguments,
                          k);
        }
        buf_release(&key);
        plan_ranges_release(&ranges);
        schema_free(s);
    }
}
END_TEST

/* ---- lists, lengths, memory ------------------------------------------------------------------------- */

START_TEST(lists) {
    struct schema *s = rows_schema("k TEXT PRIMARY KEY");
    struct plan plan = {.eq_count = 1, .in_column = 0};
    static const struct value list[] = {
        T("x"), {.type = VALUE_NULL}, T("b"), T("7"), T("b"), R(0.5), B("b"), I(6), T("zz")};
    struct plan_ranges r = {.spans = NULL};
    for (unsigned round = 0; round < 2; round++) {
        plan_ranges_reset(&r);
        for (unsigned i = 0; i < sizeof list / sizeof list[0]; i++) {
            struct plan_arg arg = {list[i], false};
            ck_ok(plan_ranges_add(&r, s, 1, &plan, &arg, &test_err));
        }
        plan_ranges_finish(&r);
        ck_assert_uint_eq(r.count, 4);
        struct key_range numbers = plan_range_at(&r, 0);
        ck_assert(!numbers.point);
        ck_assert(slice_eq(numbers.lower, slice_of_str("\1\t")));
        ck_assert(slice_eq(numbers.upper, slice_of_str("\1:")));
        ck_assert(plan_range_at(&r, 1).point);
        ck_assert(slice_eq(plan_range_at(&r, 1).lower, slice_of_str("\1"
                                                                    "b")));
        ck_assert(slice_eq(plan_range_at(&r, 2).lower, slice_of_str("\1x")));
        ck_assert(slice_eq(plan_range_at(&r, 3).lower, slice_of_str("\1zz")));
        ck_assert(!r.unordered);
    }
    plan_ranges_release(&r);
    schema_free(s);
}
END_TEST

START_TEST(long_lists) {
    struct rng rng = rng_of(harness_seed());
    struct schema *s = rows_schema("k INT PRIMARY KEY DESC");
    struct plan plan = {.eq_count = 1, .in_column = 0};
    struct plan_ranges r = {.spans = NULL};
    for (unsigned i = 0; i < 5000; i++) {
        int64_t k = _i == 0 ? i : _i == 1 ? -(int64_t)i : (int64_t)rng_below(&rng, 3000);
        struct plan_arg arg = {value_integer(k), false};
        ck_ok(plan_ranges_add(&r, s, 1, &plan, &arg, &test_err));
    }
    plan_ranges_finish(&r);
    check_order(&r);
    if (_i < 2) ck_assert_uint_eq(r.count, 5000);
    plan_ranges_release(&r);
    schema_free(s);
}
END_TEST

/* The order of an equality that met a number has to be made by the caller. */
START_TEST(unordered) {
    struct schema *s = rows_schema(LOG);
    struct plan_constraint c = {.column = 0, .op = PLAN_EQ, .usable = true};
    struct plan_order order = {.column = 1};
    struct plan_query q = {
        .constraints = &c, .constraint_count = 1, .order = &order, .order_count = 1};
    struct plan plan;
    struct plan_ranges r = {.spans = NULL};
    struct plan_arg text = {T("5"), false}, number = {I(5), true};
    plan_make(s, &q, &plan);
    ck_ok(plan_ranges_add(&r, s, 1, &plan, &text, &test_err));
    ck_assert(!r.unordered && r.count == 1);
    ck_ok(plan_ranges_add(&r, s, 1, &plan, &number, &test_err));
    ck_assert(r.unordered && r.count > 2);
    plan_ranges_reset(&r);
    ck_assert(!r.unordered && r.count == 0);
    ck_assert(plan_ranges_add_point(&r, slice_of(NULL, 0), slice_of_str("b")));
    ck_assert(plan_ranges_add_point(&r, slice_of(NULL, 0), slice_of_str("a")));
    ck_assert(plan_range_at(&r, 0).point &&
              slice_eq(plan_range_at(&r, 0).lower, slice_of_str("b")));
    ck_assert(plan_range_at(&r, 1).point &&
              slice_eq(plan_range_at(&r, 1).lower, slice_of_str("a")));
    plan_ranges_release(&r);
    schema_free(s);
}
END_TEST

/* ---- ranges without keys -------------------------------------------------------------------- */

/* Keys in ascending order. */
struct keys {
    struct buf list[256];
    unsigned count, searches, fail_at;
};

static int compare_keys(const void *a, const void *b) {
    return slice_cmp(buf_slice(a), buf_slice(b));
}

static int find_key(void *arg, slice lower, slice upper, slice *key, struct kevo_err *err) {
    struct keys *keys = arg;
    if (++keys->searches == keys->fail_at) return kevo_fail(err, KEVO_IOERR, "as wanted");
    ck_assert_int_lt(slice_cmp(lower, upper), 0);
    for (unsigned i = 0; i < keys->count; i++) {
        *key = buf_slice(&keys->list[i]);
        if (slice_cmp(*key, lower) >= 0) return slice_cmp(*key, upper) < 0 ? 0 : KEVO_NOTFOUND;
    }
    return KEVO_NOTFOUND;
}

static void keys_add(struct keys *keys, const struct schema *s, int64_t a, struct value b,
                     int64_t id) {
    struct value row[] = {value_integer(a), b, value_integer(id)};
    struct buf *key = &keys->list[keys->count++];
    ck_assert_uint_le(keys->count, sizeof keys->list / sizeof keys->list[0]);
    ck_ok(keycode_encode(s, 1, row, key, &test_err));
}

static void keys_release(struct keys *keys) {
    for (unsigned i = 0; i < keys->count; i++)
        buf_release(&keys->list[i]);
}

/* The ranges of a = 1, or of a list of as, and b equal to a number. */
static void list_numbers(struct plan_ranges *r, const struct schema *s, const struct value *number,
                         unsigned as, bool coarse) {
    struct plan plan = {.index = 1, .eq_count = 2, .in_column = 0, .order_needs_eq = true};
    plan_ranges_reset(r);
    r->coarse = coarse;
    for (unsigned a = as; a > 0; a--) {
        struct plan_arg args[] = {{value_integer(a), false}, {*number, false}};
        ck_ok(plan_ranges_add(r, s, 1, &plan, args, &test_err));
    }
    plan_ranges_finish(r);
}

static const char *const thin_shapes[] = {"a INT|b ANY|INDEX i (a, b)",
                                          "a INT|b ANY|INDEX i (a DESC, b DESC)",
                                          "a INT|b TEXT|INDEX i (a, b)"};

/* What is left holds the same of the keys. */
START_TEST(thin_ranges_hold_the_same_keys) {
    static const char *const texts[] = {"",   "\t5",    " 5", "+5",  "0",     "05",  "1",
                                        "12", "4.9999", "5",  "5.0", "50e-1", "5e0", "50",
                                        "7",  "9",      ":",  "Inf", "x"};
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct schema *s = rows_schema(thin_shapes[_i]);
    const struct schema *index = &s->indexes[0];
    struct plan_ranges all = {.spans = NULL}, thin = {.spans = NULL};
    for (unsigned round = 0; round < 500; round++) {
        struct keys keys = {.count = 0};
        unsigned as = 1 + (unsigned)rng_below(&rng, 3), left = 0;
        struct value number = value_integer((int64_t)rng_below(&rng, 60));
        bool coarse = rng_below(&rng, 2);
        for (uint64_t n = rng_below(&rng, 60); n > 0; n--) {
            const char *text = texts[rng_below(&rng, sizeof texts / sizeof texts[0])];
            bool is_number = _i < 2 && rng_below(&rng, 2);
            keys_add(&keys, index, (int64_t)rng_below(&rng, 5),
                     is_number ? value_integer((int64_t)rng_below(&rng, 60))
                               : value_text(text, strlen(text)),
                     (int64_t)n);
        }
        qsort(keys.list, keys.count, sizeof keys.list[0], compare_keys);
        list_numbers(&all, index, &number, as, coarse);
        list_numbers(&thin, index, &number, as, coarse);
        ck_assert(all.texts && all.unordered);
        ck_ok(plan_ranges_thin(&thin, find_key, &keys, &test_err));
        check_order(&thin);
        ck_assert_uint_le(keys.searches, keys.count + as);
        for (unsigned i = 0; i < keys.count; i++) {
            slice key = buf_slice(&keys.list[i]);
            ck_assert(in_ranges(&all, key) == in_ranges(&thin, key));
        }
        for (size_t i = 0; i < thin.count; i++)
            left += thin.spans[i].stem != 0;
        ck_assert(thin.texts == (left > 0) && thin.unordered == thin.texts);
        ck_assert_uint_le(left, keys.count);
        keys_release(&keys);
    }
    plan_ranges_release(&all);
    plan_ranges_release(&thin);
    schema_free(s);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* Ranges between two keys are one search together, and an error is passed on. */
START_TEST(searches_of_ranges) {
    struct schema *s = rows_schema(thin_shapes[0]);
    const struct schema *index = &s->indexes[0];
    struct value number = value_integer(12345678);
    struct plan_ranges r = {.spans = NULL};
    struct keys keys = {.count = 0};
    list_numbers(&r, index, &number, 1, false);
    ck_assert_uint_gt(r.count, 15);
    ck_ok(plan_ranges_thin(&r, find_key, &keys, &test_err));
    ck_assert(keys.searches == 1 && r.count == 1 && !r.texts && !r.unordered);
    keys_add(&keys, index, 1, value_text("12345678", 8), 1);
    keys_add(&keys, index, 1, value_text("12.9", 4), 2);
    keys_add(&keys, index, 1, value_text("9", 1), 3);
    qsort(keys.list, keys.count, sizeof keys.list[0], compare_keys);
    keys.searches = 0;
    list_numbers(&r, index, &number, 1, false);
    ck_ok(plan_ranges_thin(&r, find_key, &keys, &test_err));
    ck_assert(keys.searches == 2 && r.count == 2 && r.texts && r.unordered);
    keys.searches = 0;
    keys.fail_at = 2;
    list_numbers(&r, index, &number, 1, false);
    ck_assert_int_eq(plan_ranges_thin(&r, find_key, &keys, &test_err), KEVO_IOERR);
    keys_release(&keys);
    plan_ranges_release(&r);
    schema_free(s);
}
END_TEST

/* Arguments longer than any key. */
START_TEST(long_arguments) {
    enum { LEN = 3 * KEVO_MAX_KEY_BYTES };
    static char text[LEN];
    struct schema *s =
        rows_schema(_i ? "k TEXT|n INT|PRIMARY KEY (k, n)" : "k TEXT PRIMARY KEY|n INT");
    struct value row[] = {value_text(text, KEVO_MAX_KEY_BYTES - 20), value_integer(5)};
    struct buf key = {0};
    memset(text, 'a', sizeof text);
    for (enum plan_op op = PLAN_EQ; op <= PLAN_LE; op++) {
        struct plan_constraint c = {.column = 0, .op = op, .usable = true};
        struct plan_query q = {.constraints = &c, .constraint_count = 1};
        struct plan plan;
        struct plan_ranges r = {.spans = NULL};
        struct plan_arg arg = {value_text(text, LEN), true};
        plan_make(s, &q, &plan);
        ck_ok(plan_ranges_add(&r, s, 1, &plan, &arg, &test_err));
        for (size_t i = 0; i < r.count; i++) {
            ck_assert_uint_le(plan_range_at(&r, i).lower.len, KEVO_MAX_KEY_BYTES + 1);
            ck_assert_uint_le(plan_range_at(&r, i).upper.len, KEVO_MAX_KEY_BYTES + 1);
        }
        ck_ok(keycode_encode(s, 1, row, &key, &test_err));
        ck_assert(in_ranges(&r, buf_slice(&key)) == (op == PLAN_LT || op == PLAN_LE));
        plan_ranges_release(&r);
    }
    buf_release(&key);
    schema_free(s);
}
END_TEST

START_TEST(no_memory) {
    struct schema *s = rows_schema(LOG);
    struct plan plan = {
        .eq_count = 1, .in_column = 0, .lower = PLAN_EXCLUSIVE, .upper = PLAN_INCLUSIVE};
    struct plan_arg args[] = {{T("some device"), true}, {I(5), true}, {I(1ll << 40), true}};
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc == KEVO_NOMEM; n++) {
        struct plan_ranges r = {.spans = NULL};
        struct buf words = {0};
        fault_alloc_fail_at(n, _i);
        rc = plan_words(s, &plan, &words, &test_err);
        for (unsigned i = 0; rc == 0 && i < 40; i++)
            rc = plan_ranges_add(&r, s, 1, &plan, args, &test_err);
        fault_alloc_fail_at(0, false);
        plan_ranges_finish(&r);
        plan_ranges_release(&r);
        buf_release(&words);
    }
    ck_ok(rc);
    schema_free(s);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST
int main(void) {
    Suite *suite = suite_create("plan_ranges");
    TCase *tc = tcase_create("plan_ranges");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, index_ranges_follow_comparisons, 0, 3);
    tcase_add_loop_test(tc, ranges_follow_comparisons, 1, 4);
    tcase_add_loop_test(tc, comparisons, 0, sizeof compare / sizeof compare[0]);
    tcase_add_test(tc, lists);
    tcase_add_loop_test(tc, long_lists, 0, 3);
    tcase_add_test(tc, unordered);
    tcase_add_loop_test(tc, thin_ranges_hold_the_same_keys, 0, 3);
    tcase_add_test(tc, searches_of_ranges);
    tcase_add_loop_test(tc, long_arguments, 0, 2);
    tcase_add_loop_test(tc, no_memory, 0, 2);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
