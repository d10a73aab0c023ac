/* Which comparisons make a range of keys, and which range. */
#include "sql/condition.h"

#include <stdio.h>

#include "sql/keycode.h"
#include "tests/lib/rows.h"

enum { TABLE_ID = 7 };

static struct schema *typed(void) {
    return rows_schema("device TEXT|ts INTEGER|\"odd name\" REAL|v ANY|"
                       "PRIMARY KEY (device, ts DESC, \"odd name\")|"
                       "INDEX by_device (device, v)|INDEX by_v (v)|INDEX by_ts (ts, device)");
}

/* ---- one condition ----------------------------------------------------------------- */

static const struct {
    const char *text;
    int column; /* -2: refused, and the message has `words` */
    enum plan_op op;
    const char *words;
} texts[] = {
    {"device =", 0, PLAN_EQ, NULL},
    {"DEVICE==", 0, PLAN_EQ, NULL},
    {"  ts  <  ", 1, PLAN_LT, NULL},
    {"ts\t<=\n", 1, PLAN_LE, NULL},
    {"[ts]>", 1, PLAN_GT, NULL},
    {"\"odd name\">=", 2, PLAN_GE, NULL},
    {"v =", 3, PLAN_EQ, NULL}, /* of the table, if not of its key */
    {"", -2, 0, "\"\" is no condition"},
    {"ts", -2, 0, "\"ts\" is no condition"},
    {"ts = 5", -2, 0, "no condition"},
    {"ts = ?", -2, 0, "no condition"},
    {"ts < =", -2, 0, "no condition"},
    {"ts !=", -2, 0, "'device >='"},
    {"ts LIKE", -2, 0, "no condition"},
    {"\"ts =", -2, 0, "no condition"},
    {"= ts", -2, 0, "no condition"},
    {"tss =", -2, 0, "table t has no column tss"},
    {"rowid =", -2, 0, "no column rowid"},
};

START_TEST(one) {
    struct schema *s = typed();
    struct condition c;
    int rc = condition_parse(s, texts[_i].text, &c, &test_err);
    if (texts[_i].column == -2) {
        ck_assert_int_eq(rc, KEVO_INVALID);
        ck_assert_msg(strstr(test_err.msg, texts[_i].words), "%s", test_err.msg);
    } else {
        ck_ok(rc);
        ck_assert_int_eq(c.column, texts[_i].column);
        ck_assert_int_eq(c.op, texts[_i].op);
    }
    schema_free(s);
}
END_TEST

START_TEST(rowids) {
    struct schema *s = rows_schema("a TEXT|oid TEXT");
    struct condition c;
    ck_ok(condition_parse(s, "RowId >", &c, &test_err));
    ck_assert_int_eq(c.column, SCHEMA_NO_COLUMN);
    ck_ok(condition_parse(s, "oid >", &c, &test_err));
    ck_assert_int_eq(c.column, 1);
    schema_free(s);
    s = rows_schema("id INTEGER PRIMARY KEY");
    ck_ok(condition_parse(s, "_rowid_ >", &c, &test_err));
    ck_assert_int_eq(c.column, 0);
    schema_free(s);
}
END_TEST

/* ---- several ----------------------------------------------------------------------------- */

static unsigned parse_all(const struct schema *s, const char *text, struct condition *list) {
    char copy[200], *rest = copy, *part;
    unsigned count = 0;
    snprintf(copy, sizeof copy, "%s", text);
    while ((part = strtok_r(rest, ",", &rest)))
        ck_ok(condition_parse(s, part, &list[count++], &test_err));
    return count;
}

static const struct {
    const char *text;  /* conditions with commas between them */
    unsigned index;    /* 0: the table */
    unsigned eq_count; /* of the plan */
    const char *order; /* a letter each; NULL: refused, and the message has `words` */
    const char *words;
} lists[] = {
    {"", 0, 0, "", NULL},
    {"device >", 0, 0, "a", NULL},
    {"device <,device >=", 0, 0, "ba", NULL},
    {"device =", 0, 1, "a", NULL},
    {"ts <,device =", 0, 1, "ba", NULL},
    {"ts <,device =,ts >", 0, 1, "bca", NULL},
    {"[odd name] =,ts =,device =", 0, 3, "cba", NULL},
    {"ts =", 0, 0, NULL, "ts makes a range only together with 'device ='"},
    {"ts >", 0, 0, NULL, "ts makes a range only together with 'device ='"},
    {"device =,[odd name] <", 0, 0, NULL, "odd name makes a range only together with 'ts ='"},
    {"device >,ts <", 0, 0, NULL, "together with 'device ='"},
    {"device >,ts =", 0, 0, NULL, "together with 'device ='"},
    {"v =", 0, 0, NULL, "column v is not in the primary key of t"},
    {"device =,device =", 0, 0, NULL, "two equalities on device"},
    {"device >,device >=", 0, 0, NULL, "two lower bounds on device"},
    {"device <,device <=", 0, 0, NULL, "two upper bounds on device"},
    {"device =,device <", 0, 0, NULL, "an equality and a bound on device"},
    /* the same conditions in an index */
    {"", 2, 0, "", NULL},
    {"device =", 1, 1, "a", NULL},
    {"device >", 1, 0, "a", NULL},
    {"device =,ts >", 1, 0, NULL, "together with 'v ='"},
    {"device =", 2, 0, NULL, "together with 'v ='"},
    {"device =", 3, 0, NULL, "together with 'ts ='"},
    {"device =,ts =", 3, 2, "ba", NULL},
    {"device =,ts =,[odd name] <", 3, 2, "bac", NULL},
    {"device =,ts >", 3, 0, NULL, "together with 'ts ='"},
};

START_TEST(several) {
    struct schema *table = typed();
    const struct schema *s = lists[_i].index ? &table->indexes[lists[_i].index - 1] : table;
    struct condition list[CONDITIONS_MAX];
    unsigned order[CONDITIONS_MAX];
    struct plan plan;
    unsigned count = parse_all(table, lists[_i].text, list);
    int rc = conditions_plan(s, list, count, &plan, order, &test_err);
    if (!lists[_i].order) {
        ck_assert_int_eq(rc, KEVO_INVALID);
        ck_assert_msg(strstr(test_err.msg, lists[_i].words), "%s", test_err.msg);
    } else {
        ck_ok(rc);
        ck_assert_uint_eq(plan.index, lists[_i].index);
        ck_assert_uint_eq(plan.eq_count, lists[_i].eq_count);
        for (unsigned i = 0; i < count; i++)
            ck_assert_int_eq('a' + (int)order[i], lists[_i].order[i]);
    }
    schema_free(table);
}
END_TEST

/* ---- what values become ------------------------------------------------------------------------ */

START_TEST(affinities) {
    struct schema *s = typed();
    struct condition device = {0, PLAN_EQ}, ts = {1, PLAN_EQ}, odd = {2, PLAN_LT}, v = {3, PLAN_EQ};
    ck_assert_int_eq(condition_affinity(s, &device, VALUE_INTEGER), AFFINITY_TEXT);
    ck_assert_int_eq(condition_affinity(s, &device, VALUE_REAL), AFFINITY_TEXT);
    ck_assert_int_eq(condition_affinity(s, &device, VALUE_BLOB), AFFINITY_NONE);
    ck_assert_int_eq(condition_affinity(s, &ts, VALUE_TEXT), AFFINITY_NUMBER);
    ck_assert_int_eq(condition_affinity(s, &ts, VALUE_REAL), AFFINITY_NONE);
    ck_assert_int_eq(condition_affinity(s, &odd, VALUE_TEXT), AFFINITY_NUMBER);
    ck_assert_int_eq(condition_affinity(s, &v, VALUE_TEXT), AFFINITY_NONE);
    schema_free(s);
}
END_TEST

/* The ranges are exact: each key is in one if and only if the conditions hold. */
START_TEST(exact) {
    static const char *const ops[] = {"<", "<=", ">", ">=", "="};
    struct schema *s = rows_schema("a INTEGER|b INTEGER|PRIMARY KEY (a, b DESC)");
    struct plan_ranges ranges = {.spans = NULL};
    struct buf key = {0};
    for (unsigned op = 0; op < 5; op++) {
        char text[40];
        struct condition list[2];
        unsigned order[CONDITIONS_MAX];
        struct plan plan;
        struct value at = value_real(_i / 2.0);
        struct plan_arg args[] = {{value_integer(1), true}, {at, true}};
        snprintf(text, sizeof text, "a =,b %s", ops[op]);
        ck_ok(conditions_plan(s, list, parse_all(s, text, list), &plan, order, &test_err));
        plan_ranges_reset(&ranges);
        ck_ok(plan_ranges_add(&ranges, s, TABLE_ID, &plan, args, &test_err));
        plan_ranges_finish(&ranges);
        for (int i = 0; i < 30; i++) {
            struct value row[] = {value_integer(i / 10), value_integer(i % 10 - 3)};
            int c = value_cmp(&row[1], &at);
            bool holds = op == 0   ? c < 0
                         : op == 1 ? c <= 0
                         : op == 2 ? c > 0
                         : op == 3 ? c >= 0
                                   : c == 0;
            bool found = false;
            ck_ok(keycode_encode(s, TABLE_ID, row, &key, &test_err));
            for (size_t k = 0; k < ranges.count; k++) {
                struct key_range r = plan_range_at(&ranges, k);
                found |= slice_cmp(r.lower, buf_slice(&key)) <= 0 &&
                         slice_cmp(buf_slice(&key), r.upper) < 0;
            }
            ck_assert_int_eq(found, holds && row[0].integer == 1);
        }
    }
    plan_ranges_release(&ranges);
    buf_release(&key);
    schema_free(s);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("condition");
    TCase *tc = tcase_create("condition");
    tcase_add_loop_test(tc, one, 0, sizeof texts / sizeof texts[0]);
    tcase_add_test(tc, rowids);
    tcase_add_loop_test(tc, several, 0, sizeof lists / sizeof lists[0]);
    tcase_add_test(tc, affinities);
    tcase_add_loop_test(tc, exact, -8, 16);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
