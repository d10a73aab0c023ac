#include "sql/numeric_text.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/rows.h"

static bool in_spans(const struct value *number, const char *text) {
    struct text_span spans[NUMERIC_TEXT_MAX_SPANS];
    unsigned count = numeric_text_spans(number, spans);
    for (unsigned i = 0; i < count; i++)
        if (strcmp(text, spans[i].lower) >= 0 && strcmp(text, spans[i].upper) < 0) return true;
    return false;
}

static const struct {
    struct value number;
    const char *text;
    bool inside;
} cases[] = {
#define I(i)                                                                                       \
    { .type = VALUE_INTEGER, .integer = (i) }
#define R(r)                                                                                       \
    { .type = VALUE_REAL, .real = (r) }
    {I(5), "5", true},
    {I(5), " 5 ", true},
    {I(5), "\v5", true},
    {I(5), "+5", true},
    {I(5), "05", true},
    {I(5), "5.", true},
    {I(5), "5.0", true},
    {I(5), ".5e1", true},
    {I(5), "0.05E+2", true},
    {I(5), "50e-1", true},
    {I(5), "4.99999999999999999999", true},
    {I(5), "499999999999999999999e-20", true},
    {I(5), "500000000000000000000e-20", true},
    {I(5), "6", false},
    {I(5), "-5", false},
    {I(5), "4", false},
    {I(5), "a", false},
    {I(5), "", false},
    {R(5), "5", true},
    {R(5), "5.0", true},
    {R(5), "6", false},
    {I(-5), "-5", true},
    {I(-5), " -5", true},
    {I(-5), "-.5e1", true},
    {I(-5), "-05", true},
    {I(-5), "5", false},
    {I(-5), "+5", false},
    {I(-5), "-6", false},
    {I(1), "1", true},
    {I(1), "0.99999999999999999999", true},
    {I(1), "9.9999999999999999999e-1", true},
    {I(1), "99999999999999999999e-20", true},
    {I(1), "2", false},
    {I(1000), "1000", true},
    {I(1000), "1e3", true},
    {I(1000), "1E3", true},
    {I(1000), "1.e3", true},
    {I(1000), "10e2", true},
    {I(1000), "100.0e1", true},
    {I(1000), "999.99999999999999999", true},
    {I(1000), "1001", false},
    {I(1000), "1100", false},
    {I(1000), "11", false},
    {I(1000), "1", false},
    {I(1200), "1.2e3", true},
    {I(1200), "12e2", true},
    {I(1200), "12", false},
    {I(1200), "1201", false},
    {I(12345678), "12345678", true},
    {I(12345678), "1.2345678e7", true},
    {I(12345678), "1234567.79999999999999999e1", true},
    {I(12345678), "12345679", false},
    {I(12345678), "12345677", false},
    {I(99999999999999), "99999999999999", true},
    {I(99999999999999), "9.9999999999999e13", true},
    {I(-99999999999999), "-99999999999998.99999999", true},
    {I(0), "-0", true}, /* all that may be a number */
    {I(0), "1e-400", true},
    {I(100000000000000), "7", true},
    {I(INT64_MIN), "-9223372036854775808", true},
    {R(0.5), "5e-1", true},
    {R(1e300), "1.0e+300", true},
    {R(1.0 / 0.0), "Inf", true},
    {R(1.0 / 0.0), "9e999", true},
    {R(-1.0 / 0.0), "-Inf", true},
    {R(0.5), "a", false},
};

START_TEST(spans) {
    ck_assert_msg(in_spans(&cases[_i].number, cases[_i].text) == cases[_i].inside, "%s",
                  cases[_i].text);
}
END_TEST

/* Write a number as somebody might, with its point and exponent anywhere. */
static void write_oddly(struct rng *r, int64_t i, char *text) {
    static const char *const spaces[] = {"", "", "", " ", "\t", "\n\v", "\f\r "};
    char digits[64], *p = text;
    unsigned long long u = (unsigned long long)(i < 0 ? -i : i);
    bool below = rng_below(r, 4) == 0;
    int n = below && u == 1 ? 0 : snprintf(digits, sizeof digits, "%llu", below ? u - 1 : u);
    int tail = below ? 18 + (int)rng_below(r, 6) : (int)rng_below(r, 3) * 3, point = n;
    memset(digits + n, below ? '9' : '0', (size_t)tail);
    n += tail;
    if (!below && rng_below(r, 2)) /* as short as can be */
        while (n > 1 && digits[n - 1] == '0')
            n--;
    p += sprintf(p, "%s%s", spaces[rng_below(r, 7)], i < 0 ? "-" : rng_below(r, 8) ? "" : "+");
    for (uint64_t zeros = rng_below(r, 3); zeros > 0; zeros--)
        *p++ = '0';
    int at = (int)rng_below(r, (uint64_t)n + 1);
    p += sprintf(p, "%.*s", at, digits);
    if (at < n || rng_below(r, 2)) p += sprintf(p, ".%.*s", n - at, digits + at);
    if (at != point || rng_below(r, 4) == 0)
        p += sprintf(p, "%c%s%d", rng_below(r, 2) ? 'e' : 'E',
                     point >= at && rng_below(r, 2) ? "+" : "", point - at);
    sprintf(p, "%s", spaces[rng_below(r, 7)]);
}

START_TEST(odd_texts) {
    struct rng r = rng_of(harness_seed());
    for (unsigned n = 0; n < 100000; n++) {
        static const int64_t scale[] = {1, 1, 1, 10, 1000, 1000000};
        int64_t i = (int64_t)(rng_next(&r) >> (18 + rng_below(&r, 45)));
        i = i / 10 * scale[rng_below(&r, 6)] % 100000000000000;
        if (i == 0) i = 7;
        if (rng_below(&r, 3) == 0) i = -i;
        struct value number = rng_below(&r, 2) ? value_integer(i) : value_real((double)i);
        char text[128];
        write_oddly(&r, i, text);
        ck_assert_msg(strtod(text, NULL) == (double)i, "%s is not %lld", text, (long long)i);
        ck_assert_msg(in_spans(&number, text), "%s is not found by %lld", text, (long long)i);
    }
}
END_TEST

/* Among the numbers as they are usually written few are visited. */
START_TEST(few_others) {
    struct rng r = rng_of(harness_seed());
    unsigned others = 0;
    for (unsigned n = 0; n < 20000; n++) {
        struct value number = value_integer(10000000 + (int64_t)rng_below(&r, 90000000));
        char text[32];
        snprintf(text, sizeof text, "%llu", 10000000 + (unsigned long long)rng_below(&r, 90000000));
        others += in_spans(&number, text);
    }
    ck_assert_uint_le(others, 5);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("numeric_text");
    TCase *tc = tcase_create("numeric_text");
    tcase_add_loop_test(tc, spans, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(tc, odd_texts);
    tcase_add_test(tc, few_others);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
