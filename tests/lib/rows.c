#include "tests/lib/rows.h"

#include <stdio.h>
#include <stdlib.h>

int rows_parse(const char *arguments, struct schema **schema) {
    const char *argv[80];
    int argc = 0;
    char *copy = strdup(arguments), *rest = copy;
    ck_assert_ptr_nonnull(copy);
    for (char *arg; *arguments && (arg = strsep(&rest, "|"));)
        argv[argc++] = arg;
    int rc = schema_parse("t", argc, argv, schema, &test_err);
    free(copy);
    return rc;
}

struct schema *rows_schema(const char *arguments) {
    struct schema *s;
    ck_ok(rows_parse(arguments, &s));
    return s;
}

static int64_t random_integer(struct rng *r) {
    static const int64_t edges[] = {0,         1,         11,        12,          63,
                                    64,        127,       128,       255,         256,
                                    8255,      8256,      32767,     32768,       65536,
                                    1056831,   1056832,   135274559, 135274560,   INT32_MAX,
                                    1ll << 32, 1ll << 40, 1ll << 48, (1ll << 53), (1ll << 53) + 1,
                                    1ll << 56, INT64_MAX};
    int64_t i = edges[rng_below(r, sizeof edges / sizeof edges[0])];
    switch (rng_below(r, 6)) {
    case 0: return i;
    case 1: return ~i;
    case 2: return i == INT64_MAX ? i - 1 : i + 1;
    case 3: return (int64_t)rng_below(r, 20) - 10;
    case 4: return (int64_t)(rng_next(r) >> rng_below(r, 64));
    default: return (int64_t)(~0ull - (rng_next(r) >> rng_below(r, 64)));
    }
}

static double random_real(struct rng *r) {
    static const double edges[] = {0.0,
                                   -0.0,
                                   0.1,
                                   1.5,
                                   4.5,
                                   1e300,
                                   5e-324,
                                   1.0 / 0.0,
                                   9007199254740993.0,
                                   9223372036854775808.0,
                                   1.0 / 3,
                                   1e15};
    double d;
    uint64_t u;
    switch (rng_below(r, 4)) {
    case 0: return edges[rng_below(r, sizeof edges / sizeof edges[0])];
    case 1: return -edges[rng_below(r, sizeof edges / sizeof edges[0])];
    case 2: return (double)random_integer(r) / (double)(1 << rng_below(r, 3));
    default: break;
    }
    do {
        u = rng_next(r);
        memcpy(&d, &u, 8);
    } while (d != d);
    return d;
}

static size_t random_bytes(struct rng *r, char *p) {
    static const char *const texts[] = {"",           "5",   "05",  " 5 ", "4.5",  "-3",
                                        "+7",         "1e3", ".5",  "1x",  "0x10", "abc",
                                        "abd",        "Inf", "\t5", ":",   "\xff", "\xff\xff",
                                        "2024-01-01", "9",   "10",  "a",   "ab"};
    size_t len = rng_below(r, 6);
    if (rng_below(r, 2)) {
        const char *s = texts[rng_below(r, sizeof texts / sizeof texts[0])];
        len = strlen(s);
        memcpy(p, s, len);
        return len;
    }
    for (size_t i = 0; i < len; i++)
        p[i] = "\0\1\2\xfe\xff"
               "ab5"[rng_below(r, 8)];
    return len;
}

struct value rows_value(struct rng *r, enum value_type type, unsigned slot) {
    static char bytes[ROWS_SLOTS][16];
    switch (type) {
    case VALUE_NULL: return value_null();
    case VALUE_INTEGER: return value_integer(random_integer(r));
    case VALUE_REAL: return value_real(random_real(r));
    case VALUE_TEXT: return value_text(bytes[slot], random_bytes(r, bytes[slot]));
    default: return value_blob(bytes[slot], random_bytes(r, bytes[slot]));
    }
}

struct schema *rows_random_schema(struct rng *r, unsigned keys) {
    static const char *const types[] = {"INT", "INTEGER", "REAL", "TEXT", "BLOB"};
    char arguments[4096] = "x ANY|y TEXT|PRIMARY KEY (", list[2048] = "";
    for (unsigned i = 0; i < keys; i++)
        snprintf(arguments + strlen(arguments), 64, "%sk%u %s", i ? ", " : "", i,
                 rng_below(r, 2) ? "DESC" : "");
    for (unsigned i = 0; i < keys; i++)
        snprintf(list + strlen(list), 64, "|k%u %s", i, types[rng_below(r, 5)]);
    strcat(strcat(arguments, ")"), list);
    return rows_schema(arguments);
}

/* Append "name (c, c DESC, ...)" of up to `most` different columns that fit. */
static void put_list(struct rng *r, char *text, size_t size, unsigned count, unsigned most,
                     const char *forbidden) {
    unsigned used = 0, put = 0;
    for (unsigned i = 0; i < most || put == 0; i++) {
        unsigned c = (unsigned)rng_below(r, count);
        if (used >> c & 1 || forbidden[c] == 'A') continue;
        used |= 1u << c;
        snprintf(text + strlen(text), size - strlen(text), "%sc%u%s", put++ ? ", " : " (", c,
                 rng_below(r, 3) ? "" : " DESC");
    }
    snprintf(text + strlen(text), size - strlen(text), ")");
}

struct schema *rows_random_indexed(struct rng *r) {
    static const char *const types[] = {"INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY", "ANY"};
    char text[512] = "", letters[7] = "";
    unsigned count = 2 + (unsigned)rng_below(r, 5);
    for (unsigned i = 0; i < count; i++) {
        const char *type = types[rng_below(r, i ? 7 : 5)]; /* one that may be a key */
        letters[i] = type[0];
        snprintf(text + strlen(text), 64, "%sc%u %s%s", i ? "|" : "", i, type,
                 rng_below(r, 3) ? "" : " NOT NULL");
    }
    /* A UNIQUE of just the key's columns would be none. */
    bool key = rng_below(r, 3) != 0, unique = !key && rng_below(r, 2);
    strcat(text, unique ? "|CONSTRAINT i UNIQUE" : "|INDEX i");
    put_list(r, text, sizeof text, count, 1 + (unsigned)rng_below(r, 3), "      ");
    if (key) {
        strcat(text, "|PRIMARY KEY");
        put_list(r, text, sizeof text, count, 1 + (unsigned)rng_below(r, 3), letters);
    }
    return rows_schema(text);
}

enum value_type rows_type(struct rng *r, enum column_type type) {
    switch (type) {
    case COLUMN_INTEGER: return VALUE_INTEGER;
    case COLUMN_REAL: return VALUE_REAL;
    case COLUMN_TEXT: return VALUE_TEXT;
    case COLUMN_BLOB: return VALUE_BLOB;
    default: return (enum value_type)rng_below(r, 5);
    }
}
