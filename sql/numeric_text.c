#include "sql/numeric_text.h"

#include <assert.h>
#include <stdio.h>

/* Texts and numbers are rounded to and from 15 digits at the worst, and by different
 * releases differently; this many are the same in all texts of about one value. */
enum { SURE_DIGITS = 13 };
static const int64_t most = 100000000000000; /* 10^14 */

struct span_list {
    struct text_span *spans;
    unsigned count;
    const char *sign;
};

static void add(struct span_list *l, const char *lower, const char *upper) {
    assert(l->count < NUMERIC_TEXT_MAX_SPANS);
    struct text_span *s = &l->spans[l->count++];
    snprintf(s->lower, sizeof s->lower, "%s", lower);
    snprintf(s->upper, sizeof s->upper, "%s", upper);
}

/* All texts that begin with the sign, n bytes of a, and b. */
static void add_prefix(struct span_list *l, const char *a, unsigned n, const char *b) {
    char text[sizeof l->spans->lower], next[sizeof text];
    int len = snprintf(text, sizeof text, "%s%.*s%s", l->sign, (int)n, a, b);
    assert(len > 0 && len < (int)sizeof text);
    memcpy(next, text, sizeof next);
    next[len - 1]++;
    add(l, text, next);
}

/* The digits, with a point behind each of them but the last. */
static void add_points(struct span_list *l, const char *digits, unsigned count) {
    for (unsigned i = 1; i < count; i++) {
        char fraction[SURE_DIGITS + 4];
        snprintf(fraction, sizeof fraction, ".%.*s", (int)(count - i), digits + i);
        add_prefix(l, digits, i, fraction);
    }
}

/* White space, a plus sign, leading zeros and a leading point are not followed up. */
static void add_odd_beginnings(struct span_list *l) {
    add(l, "\t", "\x0e");
    add(l, " ", "!");
    if (*l->sign) {
        add(l, "-.", "-1");
    } else {
        add(l, "+", ",");
        add(l, ".", "1");
    }
}

/* The digits of the number itself; those below its trailing zeros may be all there is
 * in front of a point or an exponent. */
static void add_digits(struct span_list *l, uint64_t u) {
    char digits[24];
    unsigned all = (unsigned)snprintf(digits, sizeof digits, "%llu", (unsigned long long)u);
    unsigned significant = all;
    while (digits[significant - 1] == '0')
        significant--;
    add_prefix(l, digits, all, "");
    for (unsigned n = significant; n < all; n++) {
        add_prefix(l, digits, n, ".");
        add_prefix(l, digits, n, "E");
        add_prefix(l, digits, n, "e");
    }
    add_points(l, digits, significant);
}

/* The digits of what lies so little below the number that it is rounded up to it. */
static void add_nines(struct span_list *l, uint64_t u) {
    char digits[24] = "";
    unsigned n = 0;
    if (u > 1) n = (unsigned)snprintf(digits, sizeof digits, "%llu", (unsigned long long)u - 1);
    while (n < SURE_DIGITS)
        digits[n++] = '9';
    add_prefix(l, digits, SURE_DIGITS, "");
    add_points(l, digits, SURE_DIGITS);
}

const struct text_span *numeric_text_all(const struct value *number) {
    /* White space, signs, a point, digits; and SQLite's text of infinity is Inf. */
    static const struct text_span finite = {"\t", ":"}, infinite = {"\t", "J"};
    bool is_infinite = number->type == VALUE_REAL && number->real > 1.7976931348623157e308;
    return is_infinite ? &infinite : &finite;
}

unsigned numeric_text_spans(const struct value *number,
                            struct text_span spans[NUMERIC_TEXT_MAX_SPANS]) {
    int64_t i = 0;
    if (number->type == VALUE_INTEGER)
        i = number->integer;
    else if (!value_real_to_int(number->real, &i))
        i = 0;
    if (i == 0 || i <= -most || i >= most) {
        spans[0] = *numeric_text_all(number);
        return 1;
    }
    uint64_t u = i < 0 ? (uint64_t)-i : (uint64_t)i;
    struct span_list l = {spans, 0, i < 0 ? "-" : ""};
    add_odd_beginnings(&l);
    add_digits(&l, u);
    add_nines(&l, u);
    return l.count;
}
