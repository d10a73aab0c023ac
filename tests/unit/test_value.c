#include "sql/value.h"

#include <math.h>

#include "tests/lib/rows.h"

static struct {
    struct value a, b;
    int cmp;
} ordered[] = {
    {{.type = VALUE_NULL}, {.type = VALUE_NULL}, 0},
    {{.type = VALUE_NULL}, {.type = VALUE_INTEGER, .integer = INT64_MIN}, -1},
    {{.type = VALUE_INTEGER, .integer = 5}, {.type = VALUE_REAL, .real = 5.0}, 0},
    {{.type = VALUE_INTEGER, .integer = 5}, {.type = VALUE_REAL, .real = 5.5}, -1},
    {{.type = VALUE_INTEGER, .integer = -5}, {.type = VALUE_REAL, .real = -5.5}, 1},
    {{.type = VALUE_INTEGER, .integer = 0}, {.type = VALUE_REAL, .real = -0.0}, 0},
    {{.type = VALUE_REAL, .real = -0.0}, {.type = VALUE_REAL, .real = 0.0}, 0},
    {{.type = VALUE_INTEGER, .integer = (1ll << 53) + 1},
     {.type = VALUE_REAL, .real = 9007199254740992.0},
     1},
    {{.type = VALUE_INTEGER, .integer = INT64_MAX},
     {.type = VALUE_REAL, .real = 9223372036854775808.0},
     -1},
    {{.type = VALUE_INTEGER, .integer = INT64_MIN},
     {.type = VALUE_REAL, .real = -9223372036854775808.0},
     0},
    {{.type = VALUE_INTEGER, .integer = INT64_MIN}, {.type = VALUE_REAL, .real = -1e19}, 1},
    {{.type = VALUE_INTEGER, .integer = INT64_MAX}, {.type = VALUE_REAL, .real = INFINITY}, -1},
    {{.type = VALUE_INTEGER, .integer = INT64_MIN}, {.type = VALUE_REAL, .real = -INFINITY}, 1},
    {{.type = VALUE_REAL, .real = 1e300}, {.type = VALUE_TEXT, .bytes = {NULL, 0}}, -1},
    {{.type = VALUE_TEXT, .bytes = {(const uint8_t *)"a", 1}},
     {.type = VALUE_TEXT, .bytes = {(const uint8_t *)"a\0", 2}},
     -1},
    {{.type = VALUE_TEXT, .bytes = {(const uint8_t *)"\xff", 1}},
     {.type = VALUE_TEXT, .bytes = {(const uint8_t *)"z", 1}},
     1},
    {{.type = VALUE_TEXT, .bytes = {(const uint8_t *)"z", 1}},
     {.type = VALUE_BLOB, .bytes = {NULL, 0}},
     -1},
};

static int sign(int c) {
    return (c > 0) - (c < 0);
}

START_TEST(order) {
    ck_assert_int_eq(sign(value_cmp(&ordered[_i].a, &ordered[_i].b)), ordered[_i].cmp);
    ck_assert_int_eq(sign(value_cmp(&ordered[_i].b, &ordered[_i].a)), -ordered[_i].cmp);
}
END_TEST

START_TEST(order_is_transitive) {
    struct rng r = rng_of(harness_seed());
    for (unsigned n = 0; n < 100000; n++) {
        struct value v[3];
        for (unsigned i = 0; i < 3; i++)
            v[i] = rows_value(&r, (enum value_type)rng_below(&r, 5), i);
        int ab = sign(value_cmp(&v[0], &v[1])), bc = sign(value_cmp(&v[1], &v[2]));
        ck_assert_int_eq(ab, -sign(value_cmp(&v[1], &v[0])));
        if (ab == bc) ck_assert_int_eq(sign(value_cmp(&v[0], &v[2])), ab);
    }
}
END_TEST

static const struct {
    double r;
    bool ok;
    int64_t i;
} lossless[] = {
    {0, true, 0},
    {-0.0, true, 0},
    {5, true, 5},
    {-5, true, -5},
    {5.5, false, 0},
    {1e15, true, 1000000000000000},
    {9007199254740994.0, true, 9007199254740994},
    {9223372036854774784.0, true, 9223372036854774784},
    {9223372036854775808.0, false, 0},
    {-9223372036854775808.0, false, 0}, /* SQLite leaves the least integer out */
    {1e19, false, 0},
    {INFINITY, false, 0},
    {-INFINITY, false, 0},
};

START_TEST(real_to_int) {
    int64_t i = 0;
    ck_assert(value_real_to_int(lossless[_i].r, &i) == lossless[_i].ok);
    ck_assert_int_eq(i, lossless[_i].i);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("value");
    TCase *tc = tcase_create("value");
    tcase_add_loop_test(tc, order, 0, sizeof ordered / sizeof ordered[0]);
    tcase_add_test(tc, order_is_transitive);
    tcase_add_loop_test(tc, real_to_int, 0, sizeof lossless / sizeof lossless[0]);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
