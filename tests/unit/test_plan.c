#include "sql/plan.h"

#include <stdio.h>

#include "sql/keycode.h"
#include "tests/lib/rows.h"

/* ---- planning ------------------------------------------------------------------------ */

/* A query in short: constraints "column op flags" and an order, separated by commas.
 * Flags: ! not usable, L a list, = known TEXT, # known INTEGER, 0 known NULL. */
static const struct {
    const char *table, *query, *order;
    enum plan_distinct distinct;
    const char *words;
    const char *args; /* the argv index of each constraint */
    bool consumed, needs_eq, unique;
} cases[] = {
#define KV     "key TEXT PRIMARY KEY|v ANY"
#define ROW    "id INTEGER PRIMARY KEY|v ANY"
#define HIDDEN "v ANY"
#define LOG    "device TEXT|ts INTEGER|v ANY|PRIMARY KEY (device, ts DESC)"
#define INTS   "a INT|b INT|c INT|v ANY|PRIMARY KEY (a, b, c)"
    {KV, "", "", 0, "kevo: full scan", "", false, false, false},
    {KV, "0=", "", 0, "kevo: key=?", "1", false, false, false},
    {KV, "0==", "", 0, "kevo: key=?", "1O", false, false, true},
    {KV, "0=#", "", 0, "kevo: key=?", "1", false, false, false},
    {KV, "0is=", "", 0, "kevo: key=?", "1O", false, false, true},
    {KV, "0=!", "", 0, "kevo: full scan", "0", false, false, false},
    {KV, "1=", "", 0, "kevo: full scan", "0", false, false, false},
    {KV, "0=,0==", "", 0, "kevo: key=?", "01O", false, false, true},
    {KV, "0=L", "", 0, "kevo: key in list", "1L", false, false, false},
    {KV, "0=L,0=", "", 0, "kevo: key=?", "01", false, false, false},
    {KV, "0=L", "+0", 0, "kevo: key in list", "1L", true, false, false},
    {KV, "0=L", "-0", 0, "kevo: key in list, desc", "1L", true, false, false},
    {KV, "0>", "", 0, "kevo: key range", "1", false, false, false},
    {KV, "0<,0>", "", 0, "kevo: key range", "21", false, false, false},
    {KV, "0<=,0>=", "-0", 0, "kevo: key range, desc", "21", true, false, false},
    {KV, "0>,0>", "", 0, "kevo: key range", "10", false, false, false},
    {KV, "0>,0>==", "", 0, "kevo: key range", "01O", false, false, false},
    {KV, "0>==,0<=,0glob", "", 0, "kevo: prefix", "1O20", false, false, false},
    {KV, "0glob", "", 0, "kevo: full scan", "0", false, false, false},
    {KV, "0other,1>", "", 0, "kevo: full scan", "00", false, false, false},
    {KV, "", "+0", 0, "kevo: full scan", "", true, false, false},
    {KV, "", "-0", 0, "kevo: full scan, desc", "", true, false, false},
    {KV, "", "+0+1", 0, "kevo: full scan", "", true, false, false},
    {KV, "", "+1", 0, "kevo: full scan", "", false, false, false},
    {KV, "", "+1+0", 0, "kevo: full scan", "", false, false, false},
    {KV, "", "-0", 1, "kevo: full scan, desc", "", true, false, false},
    {KV, "", "+1+0", 1, "kevo: full scan", "", true, false, false},
    {KV, "0==", "+1", 0, "kevo: key=?", "1O", true, false, true},
    {KV, "0=", "+1", 0, "kevo: key=?", "1", true, true, false},
    {ROW, "-=", "", 0, "kevo: key=?", "1O", false, false, true},
    {ROW, "0=", "", 0, "kevo: key=?", "1O", false, false, true},
    {ROW, "0>,-<", "-0", 0, "kevo: key range, desc", "1O2O", true, false, false},
    {ROW, "", "--", 0, "kevo: full scan, desc", "", true, false, false},
    {HIDDEN, "-=", "", 0, "kevo: key=?", "1O", false, false, true},
    {HIDDEN, "0=", "+-", 0, "kevo: full scan", "0", true, false, false},
    {LOG, "0==", "", 0, "kevo: key=(device)", "1O", false, false, false},
    {LOG, "0==,1>", "-1", 0, "kevo: key=(device) range(ts)", "1O2O", true, false, false},
    {LOG, "0==,1>", "+1", 0, "kevo: key=(device) range(ts), desc", "1O2O", true, false, false},
    {LOG, "0=,1<,1>=", "+1", 0, "kevo: key=(device) range(ts), desc", "132", true, true, false},
    {LOG, "1>", "", 0, "kevo: full scan", "0", false, false, false},
    {LOG, "0>,1=", "", 0, "kevo: key range(device)", "10", false, false, false},
    {LOG, "1=,0==", "", 0, "kevo: key=(device, ts)", "2O1O", false, false, true},
    {LOG, "0>==,0<=,0glob", "", 0, "kevo: prefix(device)", "1O20", false, false, false},
    {LOG, "0=L,1>", "", 0, "kevo: key=(device) in list(device) range(ts)", "1L2", false, false,
     false},
    {LOG, "0=L,1>", "+0-1", 0, "kevo: key=(device) in list(device) range(ts)", "1L2", true, false,
     false},
    {LOG, "0=L,1>", "+1", 0, "kevo: key=(device) in list(device) range(ts)", "1L2", false, false,
     false},
    {LOG, "0=L,1=L", "", 0, "kevo: key=(device, ts) in list(device)", "1L2", false, false, false},
    {"a INT|b TEXT|PRIMARY KEY (a, b)", "0=L,1=L", "", 0, "kevo: key=(a) in list(a)", "1LO0", false,
     false, false},
    {LOG, "", "+0-1", 0, "kevo: full scan", "", true, false, false},
    {LOG, "", "-0+1", 0, "kevo: full scan, desc", "", true, false, false},
    {LOG, "", "+0+1", 0, "kevo: full scan", "", false, false, false},
    {LOG, "", "+0+1", 1, "kevo: full scan", "", true, false, false},
    {LOG, "", "+1", 2, "kevo: full scan", "", false, false, false},
    {LOG, "0==", "+1", 2, "kevo: key=(device), desc", "1O", true, false, false},
    {LOG, "0==", "+0-1", 0, "kevo: key=(device)", "1O", true, false, false},
    {LOG, "0=", "-0-1", 0, "kevo: key=(device)", "1", false, false, false},
    {LOG, "0=", "-0+1", 0, "kevo: key=(device), desc", "1", true, false, false},
    {INTS, "0=,2=", "+1", 0, "kevo: key=(a)", "1O0", true, false, false},
    {INTS, "0=,1=,2<", "+0-2+3", 0, "kevo: key=(a, b) range(c), desc", "1O2O3O", true, false,
     false},
    {INTS, "0=,1=,2=", "+3", 0, "kevo: key=(a, b, c)", "1O2O3O", true, false, true},
    {INTS, "1=", "+0+1+2", 3, "kevo: full scan", "0", true, false, false},
    {INTS, "", "+0+2", 0, "kevo: full scan", "", false, false, false},
    {INTS, "", "+1+0", 1, "kevo: full scan", "", true, false, false},
    {INTS, "", "+1+0", 3, "kevo: full scan", "", false, false, false},
    {INTS, "1=L,0=", "+1", 0, "kevo: key=(a, b) in list(b)", "2LO1O", true, false, false},
    /* LIMIT and OFFSET, only when every other constraint is met exactly */
    {KV, "limit,offset", "", 0, "kevo: full scan", "12O", false, false, false},
    {KV, "limit", "-0", 0, "kevo: full scan, desc", "1", true, false, false},
    {KV, "limit", "+1", 0, "kevo: full scan", "0", false, false, false},
    {KV, "0>=,limit,offset", "", 0, "kevo: key range", "100", false, false, false},
    {KV, "0>==,limit,offset", "", 0, "kevo: key range", "1O23O", false, false, false},
    {KV, "0>==,1other,limit", "", 0, "kevo: key range", "1O00", false, false, false},
    {KV, "0==L,limit", "", 0, "kevo: key in list", "1LO0", false, false, false},
    {KV, "limit!,offset", "", 0, "kevo: full scan", "00", false, false, false},
    {KV, "limit,offset!", "", 0, "kevo: full scan", "00", false, false, false},
    {KV, "limit,offset", "+0", 2, "kevo: full scan", "00", true, false, false},
    {INTS, "0=,1>,limit,offset", "+1", 0, "kevo: key=(a) range(b)", "1O2O34O", true, false, false},
    {INTS, "0=,1>=,limit,offset", "+1", 0, "kevo: key=(a) range(b)", "1O2O00", true, false, false},
    {INTS, "0=,1<==,limit", "+1", 0, "kevo: key=(a) range(b)", "1O2O3", true, false, false},
};

static enum plan_op parse_op(const char **p) {
    static const struct {
        const char *text;
        enum plan_op op;
    } ops[] = {{"limit", PLAN_LIMIT},
               {"offset", PLAN_OFFSET},
               {"other", PLAN_OTHER},
               {"glob", PLAN_GLOB},
               {"like", PLAN_LIKE},
               {"is", PLAN_IS},
               {"notnull", PLAN_NOT_NULL},
               {">=", PLAN_GE},
               {"<=", PLAN_LE},
               {">", PLAN_GT},
               {"<", PLAN_LT},
               {"=", PLAN_EQ}};
    for (unsigned i = 0;; i++) {
        size_t n = strlen(ops[i].text);
        if (strncmp(*p, ops[i].text, n) != 0) continue;
        *p += n;
        return ops[i].op;
    }
}

static int parse_column(const char **p) {
    if (**p == '-') return ++*p, -1;
    return **p >= '0' && **p <= '9' ? *(*p)++ - '0' : 0;
}

static unsigned parse_constraints(const char *p, struct plan_constraint *c) {
    unsigned n = 0;
    for (; *p; n++) {
        c[n] = (struct plan_constraint){.column = parse_column(&p), .usable = true};
        c[n].op = parse_op(&p);
        for (; *p && *p != ','; p++) {
            if (*p == '!') c[n].usable = false;
            if (*p == 'L') c[n].in_list = true;
            if (*p == '=' || *p == '#' || *p == '0') c[n].rhs_known = true;
            c[n].rhs_type = *p == '0' ? VALUE_NULL : *p == '#' ? VALUE_INTEGER : VALUE_TEXT;
        }
        if (*p == ',') p++;
    }
    return n;
}

static unsigned parse_order(const char *p, struct plan_order *order) {
    unsigned n = 0;
    for (; *p; n++) {
        order[n].desc = *p++ == '-';
        order[n].column = parse_column(&p);
    }
    return n;
}

START_TEST(planning) {
    struct plan_constraint c[8];
    struct plan_order order[8];
    struct schema *s = rows_schema(cases[_i].table);
    struct plan_query q = {.constraints = c,
                           .constraint_count = parse_constraints(cases[_i].query, c),
                           .order = order,
                           .order_count = parse_order(cases[_i].order, order),
                           .distinct = cases[_i].distinct,
                           .rows = 1e6};
    struct plan plan;
    struct buf words = {0};
    plan_make(s, &q, &plan);
    ck_ok(plan_words(s, &plan, &words, &test_err));
    ck_assert_str_eq((char *)words.data, cases[_i].words);

    char args[64] = "";
    unsigned most = 0;
    for (unsigned i = 0; i < q.constraint_count; i++) {
        snprintf(args + strlen(args), 8, "%d%s%s", c[i].argv_index, c[i].take_list ? "L" : "",
                 c[i].omit ? "O" : "");
        if ((unsigned)c[i].argv_index > most) most = (unsigned)c[i].argv_index;
    }
    ck_assert_str_eq(args, cases[_i].args);
    ck_assert_uint_eq(most, plan_arg_count(&plan));
    ck_assert(plan.order_consumed == cases[_i].consumed);
    ck_assert(plan.order_needs_eq == cases[_i].needs_eq);
    ck_assert(plan.unique == cases[_i].unique);

    struct plan back = plan_of_index(plan_index(&plan));
    ck_assert_int_ge(plan_index(&plan), 0);
    back.prefix = plan.prefix;
    back.unique = plan.unique;
    back.covering = plan.covering;
    back.rows = plan.rows;
    back.cost = plan.cost;
    struct buf again = {0};
    ck_ok(plan_words(s, &back, &again, &test_err));
    ck_assert_str_eq((char *)again.data, (char *)words.data);
    ck_assert_int_eq(plan_index(&back), plan_index(&plan));
    ck_assert_uint_eq(plan_arg_count(&back), most);
    buf_release(&again);
    buf_release(&words);
    schema_free(s);
}
END_TEST

/* ---- the table or one of its indexes ------------------------------------------------------- */

#define PERSON                                                                                     \
    "id INTEGER PRIMARY KEY|name TEXT NOT NULL|born INT|note ANY|mail TEXT UNIQUE|x INT|"          \
    "INDEX by_name (name, born DESC)|INDEX by_note (note)"

/* `used`: the columns asked for, a bit each. */
static const struct {
    const char *query, *order;
    enum plan_distinct distinct;
    uint64_t used;
    const char *words, *args;
    bool consumed, needs_eq, unique;
} choices[] = {
#define EVERY 0x3f
#define BOTH  0x7 /* what by_name covers */
    {"", "", 0, EVERY, "kevo: full scan", "", false, false, false},
    {"", "", 0, BOTH, "kevo: covering index by_name", "", false, false, false},
    {"1==", "", 0, EVERY, "kevo: index by_name (name=?)", "1O", false, false, false},
    {"1==", "", 0, BOTH, "kevo: covering index by_name (name=?)", "1O", false, false, false},
    {"1==,2>", "", 0, EVERY, "kevo: index by_name (name=? AND born>?)", "1O2O", false, false,
     false},
    {"2<,1==,2>=", "", 0, EVERY, "kevo: index by_name (name=? AND born>=? AND born<?)", "3O1O2O",
     false, false, false},
    {"1==,2=", "", 0, EVERY, "kevo: index by_name (name=? AND born=?)", "1O2O", false, false,
     false},
    {"1==,2=,0>", "", 0, EVERY, "kevo: index by_name (name=? AND born=? AND id>?)", "1O2O3O", false,
     false, false},
    {"1==,2is0", "", 0, EVERY, "kevo: index by_name (name=? AND born=?)", "1O2O", false, false,
     false},
    {"1==,2notnull,limit", "", 0, EVERY, "kevo: index by_name (name=? AND born IS NOT NULL)",
     "1O2O3", false, false, false},
    /* of the ON of a LEFT JOIN, perhaps */
    {"1==,2notnull", "", 0, EVERY, "kevo: index by_name (name=?)", "1O0", false, false, false},
    {"1>==,1<,1glob", "", 0, EVERY, "kevo: index by_name (name prefix)", "1O20", false, false,
     false},
    {"1==L", "", 0, EVERY, "kevo: index by_name (name in list)", "1LO", false, false, false},
    {"1==!", "", 0, EVERY, "kevo: full scan", "0", false, false, false},
    {"2=", "", 0, EVERY, "kevo: full scan", "0", false, false, false},
    {"0=", "", 0, EVERY, "kevo: key=?", "1O", false, false, true},
    {"0=,1==", "", 0, EVERY, "kevo: key=?", "1O0", false, false, true},
    {"-=,1==", "", 0, BOTH, "kevo: key=?", "1O0", false, false, true},
    {"4==", "", 0, EVERY, "kevo: index unique_1 (mail=?)", "1O", false, false, true},
    {"4=", "", 0, EVERY, "kevo: index unique_1 (mail=?)", "1", false, false, false},
    {"4is=", "", 0, EVERY, "kevo: index unique_1 (mail=?)", "1O", false, false, false},
    {"4==,1==", "", 0, EVERY, "kevo: index unique_1 (mail=?)", "1O0", false, false, true},
    {"4notnull", "", 0, EVERY, "kevo: full scan", "0", false, false, false},
    {"4notnull,limit", "+4", 0, EVERY, "kevo: index unique_1 (mail IS NOT NULL)", "1O2", true,
     false, false},
    {"3=", "", 0, EVERY, "kevo: index by_note (note=?)", "1", false, false, false},
    {"3>#", "+3", 0, EVERY, "kevo: index by_note (note>?)", "1", true, false, false},
    {"3=", "+0", 0, EVERY, "kevo: index by_note (note=?)", "1", true, true, false},
    {"3==", "+0", 0, EVERY, "kevo: index by_note (note=?)", "1O", true, false, false},
    /* order */
    {"", "+1-2", 0, EVERY, "kevo: index by_name", "", true, false, false},
    {"", "-1+2", 0, EVERY, "kevo: index by_name, desc", "", true, false, false},
    {"", "-1", 0, BOTH, "kevo: covering index by_name, desc", "", true, false, false},
    {"", "+1-2+0+5", 0, EVERY, "kevo: index by_name", "", true, false, false},
    {"", "+1-2+-", 0, EVERY, "kevo: index by_name", "", true, false, false},
    {"", "+1+2", 0, EVERY, "kevo: full scan", "", false, false, false},
    {"", "+1+2", 1, EVERY, "kevo: index by_name", "", true, false, false},
    {"", "+1", 2, BOTH, "kevo: covering index by_name", "", true, false, false},
    {"", "+5", 0, EVERY, "kevo: full scan", "", false, false, false},
    {"1==", "+2", 0, EVERY, "kevo: index by_name (name=?), desc", "1O", true, false, false},
    {"0>", "+0", 0, EVERY, "kevo: key range", "1O", true, false, false},
    /* LIMIT */
    {"1==,limit,offset", "-2", 0, EVERY, "kevo: index by_name (name=?)", "1O23O", true, false,
     false},
    {"1=,limit", "", 0, EVERY, "kevo: index by_name (name=?)", "10", false, false, false},
    {"1==,2is0,limit", "", 0, EVERY, "kevo: index by_name (name=? AND born=?)", "1O2O3", false,
     false, false},
    {"3==,limit", "", 0, EVERY, "kevo: index by_note (note=?)", "1O2", false, false, false},
    {"3=#,limit", "", 0, EVERY, "kevo: index by_note (note=?)", "10", false, false, false},
};

static void argument_text(const struct plan_query *q, char *text, size_t size) {
    *text = '\0';
    for (unsigned i = 0; i < q->constraint_count; i++)
        snprintf(text + strlen(text), size - strlen(text), "%d%s%s", q->constraints[i].argv_index,
                 q->constraints[i].take_list ? "L" : "", q->constraints[i].omit ? "O" : "");
}

START_TEST(choice_of_index) {
    struct plan_constraint c[8];
    struct plan_order order[8];
    struct schema *s = rows_schema(PERSON);
    struct plan_query q = {.constraints = c,
                           .constraint_count = parse_constraints(choices[_i].query, c),
                           .order = order,
                           .order_count = parse_order(choices[_i].order, order),
                           .distinct = choices[_i].distinct,
                           .used = choices[_i].used,
                           .rows = 1e6};
    struct plan plan;
    struct buf words = {0};
    char args[64];
    plan_make(s, &q, &plan);
    ck_ok(plan_words(s, &plan, &words, &test_err));
    ck_assert_str_eq((char *)words.data, choices[_i].words);
    argument_text(&q, args, sizeof args);
    ck_assert_str_eq(args, choices[_i].args);
    ck_assert(plan.order_consumed == choices[_i].consumed);
    ck_assert(plan.order_needs_eq == choices[_i].needs_eq);
    ck_assert(plan.unique == choices[_i].unique);
    ck_assert_int_ge(plan_index(&plan), 0);
    struct plan back = plan_of_index(plan_index(&plan));
    ck_assert_uint_eq(back.index, plan.index);
    ck_assert(back.nulls == plan.nulls && back.lower == plan.lower);
    ck_assert_int_eq(plan_index(&back), plan_index(&plan));
    buf_release(&words);
    schema_free(s);
}
END_TEST

/* ---- one row ---------------------------------------------------------------------------------- */

static const struct {
    const char *table, *query;
    bool unique;            /* in any statement */
    bool updated, presumed; /* `unique` in an UPDATE, and why */
} updates[] = {
    {KV, "0=", false, true, true},          {KV, "0==", true, true, true},
    {KV, "0=#", false, true, true},         {KV, "0is", false, true, true},
    {KV, "0=,1=", false, true, true},       {KV, "0=!", false, false, false},
    {KV, "0=L", false, false, false},       {KV, "0>,0<", false, false, false},
    {KV, "1=", false, false, false},        {ROW, "0=", true, true, true},
    {HIDDEN, "-=", true, true, true},       {LOG, "0=", false, false, false},
    {LOG, "0=,1=", false, true, true},      {LOG, "0==,1=", true, true, true},
    {LOG, "0=L,1=", false, false, false},   {LOG, "0=L,1=L", false, false, false},
    {PERSON, "4=", false, true, true},      {PERSON, "4==", true, true, true},
    {PERSON, "4is", false, false, false},   {PERSON, "4=,0>", false, true, true},
    {PERSON, "4=,0<", false, false, false}, /* the bit that it needs is another's */
    {PERSON, "4==,0<", true, true, false},  {PERSON, "1=", false, false, false},
};

START_TEST(one_row_of_an_update) {
    struct plan_constraint c[8];
    struct schema *s = rows_schema(updates[_i].table);
    struct plan_query q = {.constraints = c,
                           .constraint_count = parse_constraints(updates[_i].query, c),
                           .used = UINT64_MAX,
                           .rows = 1e6};
    struct plan plan;
    plan_make(s, &q, &plan);
    ck_assert(plan.unique == updates[_i].unique && !plan.presumed);
    q.updates = true;
    plan_make(s, &q, &plan);
    ck_assert(plan.unique == updates[_i].updated && plan.presumed == updates[_i].presumed);
    struct plan back = plan_of_index(plan_index(&plan));
    ck_assert(back.presumed == plan.presumed && back.upper_known == plan.upper_known);
    schema_free(s);
}
END_TEST

/* ---- what the store counts -------------------------------------------------------------------- */

/* What the store counts in the ranges decides where the values are known. */
struct counts {
    unsigned index; /* has many keys in any range, others few */
};

static double count_most(void *arg, slice lower, slice upper) {
    const struct counts *counts = arg;
    ck_assert_int_lt(slice_cmp(lower, upper), 0);
    ck_assert_uint_eq(lower.data[0], 0xfc);
    return lower.data[2] == counts->index ? 500000 : 3;
}

START_TEST(counts_decide) {
    struct schema *s = rows_schema("a INT|b INT|x INT|INDEX i (a)|INDEX j (b)");
    struct plan_constraint c[2];
    struct counts counts = {1 + (unsigned)_i};
    struct plan_query q = {.constraints = c,
                           .constraint_count = 2,
                           .used = 7,
                           .rows = 1e6,
                           .table_id = 1,
                           .count = count_most,
                           .arg = &counts};
    struct plan plan;
    for (unsigned i = 0; i < 2; i++)
        c[i] = (struct plan_constraint){.column = (int)i,
                                        .op = PLAN_EQ,
                                        .usable = true,
                                        .rhs_known = true,
                                        .rhs_type = VALUE_INTEGER,
                                        .rhs = value_integer(5),
                                        .rhs_given = true};
    plan_make(s, &q, &plan);
    ck_assert_uint_eq(plan.index, 2 - (unsigned)_i);
    ck_assert(plan.rows >= 3 && plan.rows < 4);
    /* Both find half of the table: better to read it from end to end. */
    q.constraint_count = 1;
    c[0].column = _i;
    plan_make(s, &q, &plan);
    ck_assert_uint_eq(plan.index, 0);
    /* The same where nobody knows: the rules of thumb. */
    c[0].rhs_given = false;
    plan_make(s, &q, &plan);
    ck_assert_uint_eq(plan.index, 1 + (unsigned)_i);
    schema_free(s);
}
END_TEST

static double size_in(void *arg, const struct schema *s, unsigned n) {
    const struct counts *counts = arg;
    ck_assert_uint_eq(n, 1);
    return s->number == counts->index ? 300000 : 2;
}

/* Of values that are not known, those of one index have few rows each. */
START_TEST(group_sizes_decide) {
    struct schema *s = rows_schema("a INT|b INT|x INT|INDEX i (a)|INDEX j (b)");
    struct plan_constraint c[2];
    struct counts counts = {1 + (unsigned)_i};
    struct plan_query q = {.constraints = c,
                           .constraint_count = parse_constraints("0=,1=", c),
                           .used = 7,
                           .rows = 1e6,
                           .table_id = 1,
                           .group_size = size_in,
                           .arg = &counts};
    struct plan plan;
    plan_make(s, &q, &plan);
    ck_assert_uint_eq(plan.index, 2 - (unsigned)_i);
    ck_assert(plan.rows >= 2 && plan.rows < 3);
    /* With one value of three it is better to read the table from end to end. */
    q.constraint_count = 1;
    c[0].column = _i;
    plan_make(s, &q, &plan);
    ck_assert_uint_eq(plan.index, 0);
    schema_free(s);
}
END_TEST

/* The bounds of a pattern leave out blobs, which may match it, and infinity. */
START_TEST(patterns_and_blobs) {
    static const struct {
        const char *table, *query;
        bool narrows, numbers;
    } patterns[] = {
        {"a TEXT PRIMARY KEY", "0>==,0<=,0glob", true, false},
        {"a BLOB PRIMARY KEY", "0>==,0<=,0glob", false, false},
        {"a BLOB PRIMARY KEY", "0>==,0<=,0like", false, false},
        {"a BLOB PRIMARY KEY", "0>==,0<=,0other", true, false},
        {"a BLOB|b BLOB|PRIMARY KEY (a, b)", "0=,1glob,1>=,1<", false, false},
        {"a BLOB|b BLOB|PRIMARY KEY (a, b)", "0>=,0<,1glob", true, false},
        {"a INT|b ANY|INDEX i (b)", "1glob,1>=,1<", false, true},
        {"a REAL PRIMARY KEY", "0>==,0<=,0glob", false, true},
    };
    for (unsigned i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct schema *s = rows_schema(patterns[i].table);
        struct plan_constraint c[8];
        struct plan_query q = {.constraints = c, .rows = 1e6};
        struct plan plan;
        q.constraint_count = parse_constraints(patterns[i].query, c);
        q.patterns_match_blobs = true;
        plan_make(s, &q, &plan);
        ck_assert_uint_eq(plan_bound_count(&plan), patterns[i].narrows ? 2 : 0);
        q.patterns_match_blobs = false;
        plan_make(s, &q, &plan);
        ck_assert_uint_eq(plan_bound_count(&plan), patterns[i].numbers ? 0 : 2);
        schema_free(s);
    }
}
END_TEST

/* Each of these queries is cheaper than the next. */
START_TEST(costs) {
    static const char *const ladder[] = {"0==", "0=L", "0>=,0<=,0glob", "0>=,0<=", "0>=", "", NULL};
    static const double sizes[] = {0, 1e3, 1e6, 1e9};
    struct schema *s = rows_schema(KV);
    double cost = 0, rows = 0;
    for (unsigned i = 0; ladder[i]; i++) {
        struct plan_constraint c[8];
        struct plan_query q = {.constraints = c, .rows = sizes[_i]};
        struct plan plan;
        q.constraint_count = parse_constraints(ladder[i], c);
        plan_make(s, &q, &plan);
        if (_i >= 2) ck_assert(plan.cost > cost);
        ck_assert(plan.rows >= 1 && plan.rows >= rows);
        cost = plan.cost;
        rows = plan.rows;
    }
    schema_free(s);
}
END_TEST
int main(void) {
    Suite *suite = suite_create("plan");
    TCase *tc = tcase_create("plan");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, planning, 0, sizeof cases / sizeof cases[0]);
    tcase_add_loop_test(tc, one_row_of_an_update, 0, (int)(sizeof updates / sizeof updates[0]));
    tcase_add_loop_test(tc, choice_of_index, 0, sizeof choices / sizeof choices[0]);
    tcase_add_loop_test(tc, counts_decide, 0, 2);
    tcase_add_loop_test(tc, group_sizes_decide, 0, 2);
    tcase_add_test(tc, patterns_and_blobs);
    tcase_add_loop_test(tc, costs, 0, 4);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
