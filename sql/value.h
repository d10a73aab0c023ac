/* value.h - one SQL value, and what SQLite's rules say about it.
 *
 * A value borrows its bytes: whoever filled it in says how long they live.
 * Text is UTF-8, any bytes at all included; a NaN never occurs (SQLite turns it
 * into NULL).
 *
 * Conversions between text and numbers are SQLite's own business: which text
 * looks like a number, how it is rounded and how a real is printed differ from
 * release to release in the last digit. The functions here say when such a
 * conversion is due, and the caller, who holds the sqlite3_value, lets SQLite
 * do it. Everything else (integers and reals into one another, order and
 * equality across types) is done here. */
#ifndef KEVO_SQL_VALUE_H
#define KEVO_SQL_VALUE_H

#include "engine/base/slice.h"

/* In SQL's order of types, but that integers and reals are one class. */
enum value_type { VALUE_NULL, VALUE_INTEGER, VALUE_REAL, VALUE_TEXT, VALUE_BLOB };

struct value {
    enum value_type type;
    int64_t integer; /* VALUE_INTEGER */
    double real;     /* VALUE_REAL */
    slice bytes;     /* VALUE_TEXT, VALUE_BLOB */
};

static inline struct value value_null(void) {
    return (struct value){.type = VALUE_NULL};
}
static inline struct value value_integer(int64_t i) {
    return (struct value){.type = VALUE_INTEGER, .integer = i};
}
static inline struct value value_real(double r) {
    return (struct value){.type = VALUE_REAL, .real = r};
}
static inline struct value value_text(const void *data, size_t len) {
    return (struct value){.type = VALUE_TEXT, .bytes = slice_of(data, len)};
}
static inline struct value value_blob(const void *data, size_t len) {
    return (struct value){.type = VALUE_BLOB, .bytes = slice_of(data, len)};
}

static inline bool value_is_number(const struct value *v) {
    return v->type == VALUE_INTEGER || v->type == VALUE_REAL;
}

/* "NULL", "INTEGER", "REAL", "TEXT", "BLOB": as SQLite's messages spell them. */
const char *value_type_name(enum value_type type);

/* The order of ORDER BY with BINARY collation: NULL, then numbers by their exact
 * value, then text, then blobs, both by memcmp. Negative, 0 or positive. NULLs
 * are equal here. */
int value_cmp(const struct value *a, const struct value *b);

/* An integer against a real, exactly, beyond 2^53 too: -1, 0 or 1. */
int value_cmp_int_real(int64_t i, double r);

/* SQLite's lossless conversion for an INTEGER column: true, and *i set, when r
 * has no fraction and lies strictly between the least and the greatest integer. */
bool value_real_to_int(double r, int64_t *i);

#endif
