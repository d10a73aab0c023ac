#include "sql/value.h"

static const double two_to_63 = 9223372036854775808.0;

const char *value_type_name(enum value_type type) {
    static const char *const names[] = {"NULL", "INTEGER", "REAL", "TEXT", "BLOB"};
    return names[type];
}

int value_cmp_int_real(int64_t i, double r) {
    if (r < -two_to_63) return 1;
    if (r >= two_to_63) return -1;
    int64_t whole = (int64_t)r;
    if (i != whole) return i < whole ? -1 : 1;
    double back = (double)whole; /* exact: it came out of r */
    return (back > r) - (back < r);
}

bool value_real_to_int(double r, int64_t *i) {
    if (!(r > -two_to_63 && r < two_to_63)) return false;
    int64_t whole = (int64_t)r;
    if ((double)whole != r) return false;
    *i = whole;
    return true;
}

static int cmp_numbers(const struct value *a, const struct value *b) {
    if (a->type == VALUE_INTEGER) {
        if (b->type == VALUE_REAL) return value_cmp_int_real(a->integer, b->real);
        return (a->integer > b->integer) - (a->integer < b->integer);
    }
    if (b->type == VALUE_INTEGER) return -value_cmp_int_real(b->integer, a->real);
    return (a->real > b->real) - (a->real < b->real);
}

int value_cmp(const struct value *a, const struct value *b) {
    static const uint8_t class_of[] = {[VALUE_NULL] = 0,
                                       [VALUE_INTEGER] = 1,
                                       [VALUE_REAL] = 1,
                                       [VALUE_TEXT] = 2,
                                       [VALUE_BLOB] = 3};
    int class = class_of[a->type], other = class_of[b->type];
    if (class != other) return class - other;
    switch (class) {
    case 0: return 0;
    case 1: return cmp_numbers(a, b);
    default: return slice_cmp(a->bytes, b->bytes);
    }
}
