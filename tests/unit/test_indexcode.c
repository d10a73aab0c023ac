#include "sql/indexcode.h"

#include <stdio.h>

#include "tests/lib/rows.h"

enum { COLUMNS = 6, TABLE = 300 };

static int sign(int c) {
    return (c > 0) - (c < 0);
}

/* A value of the column, NULL where that may be. */
static struct value column_value(struct rng *r, const struct schema *s, unsigned i, unsigned slot) {
    const struct column *c = &s->columns[i];
    bool null = !c->not_null && (int)i != s->alias && rng_below(r, 5) == 0;
    if (null) return value_null();
    enum value_type type = rows_type(r, c->type);
    while (c->not_null && type == VALUE_NULL)
        type = rows_type(r, c->type);
    struct value v = rows_value(r, type, slot);
    if (c->type == COLUMN_REAL && v.type == VALUE_REAL) v.real += 0.0;
    return v;
}

/* All columns, and behind them the hidden rowid. */
static void random_row(struct rng *r, const struct schema *s, struct value *row, unsigned slot) {
    for (unsigned i = 0; i < s->column_count; i++)
        row[i] = column_value(r, s, i, slot + i);
    row[s->column_count] = rows_value(r, VALUE_INTEGER, 0);
}

/* The same number in the other type, where there is one. */
static void retype(struct value *v) {
    int64_t i;
    if (v->type == VALUE_REAL && value_real_to_int(v->real, &i))
        *v = value_integer(i);
    else if (v->type == VALUE_INTEGER && value_cmp_int_real(v->integer, (double)v->integer) == 0)
        *v = value_real(v->integer == 0 ? -0.0 : (double)v->integer);
}

/* Rows that agree in some columns, or nearly, are those where it gets hard. */
static void share_columns(struct rng *r, const struct schema *index, const struct value *from,
                          struct value *to) {
    for (unsigned n = 0; n < index->key_count && rng_below(r, 4); n++) {
        unsigned at = schema_value_place(index, index->key[n].column);
        to[at] = from[at];
        if (index->key[n].type == COLUMN_ANY && rng_below(r, 2)) retype(&to[at]);
    }
}

static int sql_order(const struct schema *index, const struct value *a, const struct value *b,
                     unsigned from, unsigned to) {
    for (unsigned n = from; n < to; n++) {
        unsigned at = schema_value_place(index, index->key[n].column);
        int c = sign(value_cmp(&a[at], &b[at]));
        if (c) return index->key[n].desc ? -c : c;
    }
    return 0;
}

START_TEST(order_is_sql_order) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct buf a = {0}, b = {0}, types = {0};
    struct value x[COLUMNS + 1], y[COLUMNS + 1];
    unsigned equal = 0;
    for (unsigned round = 0; round < 100; round++) {
        struct schema *s = rows_random_indexed(&r);
        const struct schema *index = &s->indexes[0];
        for (unsigned n = 0; n < 300; n++) {
            slice p, q;
            random_row(&r, s, x, 0);
            random_row(&r, s, y, 10);
            share_columns(&r, index, x, y);
            ck_ok(indexcode_encode(index, TABLE, x, &a, &types, &test_err));
            ck_ok(indexcode_encode(index, TABLE, y, &b, &types, &test_err));
            int order = sql_order(index, x, y, 0, index->key_count);
            ck_assert_int_eq(sign(slice_cmp(buf_slice(&a), buf_slice(&b))), order);
            equal += order == 0;
            unsigned skip = (unsigned)rng_below(&r, index->key_count);
            ck_ok(keycode_rest(index, buf_slice(&a), skip, &p, &test_err));
            ck_ok(keycode_rest(index, buf_slice(&b), skip, &q, &test_err));
            ck_assert_int_eq(sign(slice_cmp(p, q)), sql_order(index, x, y, skip, index->key_count));
        }
        schema_free(s);
    }
    ck_assert_uint_gt(equal, 100);
    buf_release(&a);
    buf_release(&b);
    buf_release(&types);
}
END_TEST

static bool same_bits(const struct value *a, const struct value *b) {
    if (a->type != b->type || value_cmp(a, b) != 0) return false;
    return a->type != VALUE_REAL || __builtin_signbit(a->real) == __builtin_signbit(b->real);
}

/* Every column of the index comes back as it is in the row, type and bits, and the row's key
 * as well. */
START_TEST(entries_cover) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct buf key = {0}, types = {0}, scratch = {0}, row_key = {0}, found = {0};
    struct value in[COLUMNS + 1], out, values[COLUMNS + 1];
    for (unsigned round = 0; round < 100; round++) {
        struct schema *s = rows_random_indexed(&r);
        const struct schema *index = &s->indexes[0];
        for (unsigned n = 0; n < 200; n++) {
            random_row(&r, s, in, 0);
            for (unsigned k = 0; k < s->key_count; k++) /* -0.0 is no key */
                in[schema_value_place(s, s->key[k].column)].real += 0.0;
            ck_ok(indexcode_encode(index, TABLE, in, &key, &types, &test_err));
            struct key_place from = {0};
            for (unsigned k = 0; k < index->key_count; k++) {
                ck_ok(indexcode_column(index, buf_slice(&key), buf_slice(&types), &from, k, &out,
                                       &scratch, &test_err));
                unsigned at = schema_value_place(index, index->key[k].column);
                ck_assert_msg(same_bits(&in[at], &out), "column %u of %s", k, index->name);
            }
            ck_ok(keycode_encode(s, TABLE, in, &row_key, &test_err));
            ck_ok(indexcode_row_key(s, index, TABLE, buf_slice(&key), &from, values, &scratch,
                                    &found, &test_err));
            ck_assert(slice_eq(buf_slice(&row_key), buf_slice(&found)));
        }
        schema_free(s);
    }
    buf_release(&key);
    buf_release(&types);
    buf_release(&scratch);
    buf_release(&row_key);
    buf_release(&found);
}
END_TEST

START_TEST(equal_range) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct buf key = {0}, types = {0}, lower = {0}, upper = {0};
    struct value x[COLUMNS + 1], y[COLUMNS + 1];
    unsigned inside = 0;
    for (unsigned round = 0; round < 100; round++) {
        struct schema *s = rows_random_indexed(&r);
        const struct schema *index = &s->indexes[0];
        for (unsigned n = 0; n < 200; n++) {
            random_row(&r, s, x, 0);
            random_row(&r, s, y, 10);
            share_columns(&r, index, x, y);
            ck_ok(indexcode_equal_range(index, TABLE, x, &lower, &upper, &test_err));
            ck_ok(indexcode_encode(index, TABLE, y, &key, &types, &test_err));
            bool in = slice_cmp(buf_slice(&lower), buf_slice(&key)) <= 0 &&
                      slice_cmp(buf_slice(&key), buf_slice(&upper)) < 0;
            ck_assert(in == (sql_order(index, x, y, 0, index->lead_count) == 0));
            inside += in;
            bool null = false;
            for (unsigned k = 0; k < index->lead_count; k++)
                null |= x[schema_value_place(index, index->key[k].column)].type == VALUE_NULL;
            ck_assert(indexcode_has_null(index, x) == null);
        }
        schema_free(s);
    }
    ck_assert_uint_gt(inside, 100);
    buf_release(&key);
    buf_release(&types);
    buf_release(&lower);
    buf_release(&upper);
}
END_TEST

/* Entries lie apart from rows and from each other's indexes, all of a table's in one range. */
START_TEST(places) {
    struct schema *s = rows_schema("a INT|b ANY|INDEX i (a)|INDEX j (b)");
    struct value row[] = {value_integer(5), value_text("x", 1), value_integer(7)};
    struct buf rows[2] = {{0}}, indexes[2] = {{0}}, one[2][2] = {{{0}}}, key = {0}, types = {0};
    ck_ok(keycode_table_range(TABLE, &rows[0], &rows[1], &test_err));
    ck_ok(keycode_indexes_range(TABLE, &indexes[0], &indexes[1], &test_err));
    for (unsigned i = 0; i < 2; i++)
        ck_ok(keycode_range(&s->indexes[i], TABLE, &one[i][0], &one[i][1], &test_err));
    ck_assert_int_le(slice_cmp(buf_slice(&rows[1]), buf_slice(&indexes[0])), 0);
    ck_assert_int_le(slice_cmp(buf_slice(&indexes[0]), buf_slice(&one[0][0])), 0);
    ck_assert_int_le(slice_cmp(buf_slice(&one[0][1]), buf_slice(&one[1][0])), 0);
    ck_assert_int_le(slice_cmp(buf_slice(&one[1][1]), buf_slice(&indexes[1])), 0);
    for (unsigned i = 0; i < 2; i++) {
        ck_ok(indexcode_encode(&s->indexes[i], TABLE, row, &key, &types, &test_err));
        ck_assert_int_le(slice_cmp(buf_slice(&one[i][0]), buf_slice(&key)), 0);
        ck_assert_int_lt(slice_cmp(buf_slice(&key), buf_slice(&one[i][1])), 0);
        struct value v;
        struct buf scratch = {0};
        int rc = keycode_column(&s->indexes[1 - i], buf_slice(&key), 0, &v, &scratch, &test_err);
        ck_assert_int_eq(rc, KEVO_CORRUPT);
        rc = keycode_column(s, buf_slice(&key), 0, &v, &scratch, &test_err);
        ck_assert_int_eq(rc, KEVO_CORRUPT);
        buf_release(&scratch);
        buf_release(&one[i][0]);
        buf_release(&one[i][1]);
        buf_release(&rows[i]);
        buf_release(&indexes[i]);
    }
    buf_release(&key);
    buf_release(&types);
    schema_free(s);
}
END_TEST

/* ---- the bytes themselves, as FORMAT.md has them ---------------------------------------- */

static const struct {
    const char *column;
    struct value value;
    unsigned len;
    const char *bytes; /* behind fc 01 01, before the rowid 0 */
    const char *types;
} layouts[] = {
    {"a INT", {.type = VALUE_NULL}, 1, "\1", ""},
    {"a INT", {.type = VALUE_INTEGER, .integer = 5}, 2, "\2\x85", ""},
    {"a INT NOT NULL", {.type = VALUE_INTEGER, .integer = 5}, 1, "\x85", ""},
    {"a REAL", {.type = VALUE_REAL, .real = 1}, 9, "\2\xbf\xf0\0\0\0\0\0\0", ""},
    {"a TEXT", {.type = VALUE_TEXT, .bytes = {(const uint8_t *)"x\0", 2}}, 5, "\3x\1\1\0", ""},
    {"a BLOB", {.type = VALUE_BLOB, .bytes = {(const uint8_t *)"", 0}}, 2, "\4\0", ""},
    {"a ANY", {.type = VALUE_NULL}, 1, "\1", ""},
    {"a ANY", {.type = VALUE_INTEGER, .integer = 1}, 9, "\2\xbf\xf0\0\0\0\0\0\0", ""},
    {"a ANY", {.type = VALUE_REAL, .real = 1}, 9, "\2\xbf\xf0\0\0\0\0\0\0", "\1"},
    {"a ANY", {.type = VALUE_REAL, .real = -0.0}, 9, "\2\x80\0\0\0\0\0\0\0", "\2"},
    {"a ANY", {.type = VALUE_REAL, .real = 0.5}, 9, "\2\xbf\xe0\0\0\0\0\0\0", ""},
    {"a ANY",
     {.type = VALUE_INTEGER, .integer = (1ll << 53) + 1},
     11,
     "\2\xc3\x40\0\0\0\0\0\0\x80\1",
     ""},
    {"a ANY",
     {.type = VALUE_INTEGER, .integer = INT64_MAX},
     11,
     "\2\xc3\xe0\0\0\0\0\0\0\x7f\xff",
     ""},
    {"a ANY",
     {.type = VALUE_INTEGER, .integer = INT64_MIN},
     11,
     "\2\x3c\x1f\xff\xff\xff\xff\xff\xff\x80\0",
     ""},
    {"a ANY",
     {.type = VALUE_REAL, .real = 9223372036854775808.0},
     11,
     "\2\xc3\xe0\0\0\0\0\0\0\x80\0",
     ""},
    {"a ANY NOT NULL", {.type = VALUE_TEXT, .bytes = {(const uint8_t *)"x", 1}}, 3, "\3x\0", ""},
};

START_TEST(layout) {
    for (unsigned desc = 0; desc < 2; desc++) {
        char arguments[64];
        snprintf(arguments, sizeof arguments, "%s|INDEX i (a%s)", layouts[_i].column,
                 desc ? " DESC" : "");
        struct schema *s = rows_schema(arguments);
        struct value row[] = {layouts[_i].value, value_integer(0)};
        struct buf key = {0}, types = {0};
        ck_ok(indexcode_encode(&s->indexes[0], 1, row, &key, &types, &test_err));
        ck_assert_uint_eq(key.len, 3 + layouts[_i].len + 1);
        ck_assert_mem_eq(key.data, "\xfc\1\1", 3);
        for (unsigned k = 0; k < layouts[_i].len; k++)
            ck_assert_uint_eq(key.data[3 + k] ^ (desc ? 0xff : 0), (uint8_t)layouts[_i].bytes[k]);
        ck_assert_uint_eq(key.data[key.len - 1], 0x80);
        ck_assert(slice_eq(buf_slice(&types), slice_of_str(layouts[_i].types)));
        buf_release(&key);
        buf_release(&types);
        schema_free(s);
    }
}
END_TEST

/* ---- damage and memory -------------------------------------------------------------------- */

/* Any bytes decode to what encodes to them again, or are refused. */
START_TEST(any_bytes) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct buf key = {0}, again = {0}, scratch = {0}, types = {0};
    struct value v[COLUMNS + 1];
    unsigned good = 0, bad = 0;
    for (unsigned round = 0; round < 100; round++) {
        struct schema *s = rows_random_indexed(&r);
        const struct schema *index = &s->indexes[0];
        for (unsigned n = 0; n < 300; n++) {
            random_row(&r, s, v, 0);
            ck_ok(indexcode_encode(index, TABLE, v, &key, &types, &test_err));
            size_t prefix = 4; /* another table's key is not looked at */
            if (rng_below(&r, 2)) key.len = prefix + rng_below(&r, key.len + 1 - prefix);
            for (unsigned k = (unsigned)rng_below(&r, 3); k > 0 && key.len > prefix; k--)
                key.data[prefix + rng_below(&r, key.len - prefix)] = (uint8_t)rng_next(&r);
            struct buf exact = {0};
            ck_assert(buf_set(&exact, buf_slice(&key)));
            int rc = keycode_decode(index, buf_slice(&exact), v, &scratch, &test_err);
            ck_assert(rc == 0 || rc == KEVO_CORRUPT);
            rc ? bad++ : good++;
            if (rc == 0) {
                ck_ok(keycode_encode(index, TABLE, v, &again, &test_err));
                ck_assert(slice_eq(buf_slice(&again), buf_slice(&exact)));
            }
            buf_release(&exact);
        }
        schema_free(s);
    }
    ck_assert(good > 100 && bad > 100);
    buf_release(&key);
    buf_release(&again);
    buf_release(&scratch);
    buf_release(&types);
}
END_TEST

START_TEST(bad_types) {
    static const struct {
        struct value value;
        const char *types;
        int rc;
    } list[] = {{{.type = VALUE_INTEGER, .integer = 1}, "\1", 0},
                {{.type = VALUE_INTEGER, .integer = 1}, "\2", KEVO_CORRUPT},
                {{.type = VALUE_INTEGER, .integer = 0}, "\2", 0},
                {{.type = VALUE_INTEGER, .integer = 0}, "\3", KEVO_CORRUPT},
                {{.type = VALUE_REAL, .real = 0.5}, "\1", KEVO_CORRUPT},
                {{.type = VALUE_NULL}, "\1", KEVO_CORRUPT}};
    struct schema *s = rows_schema("a ANY|INDEX i (a)");
    for (unsigned i = 0; i < sizeof list / sizeof list[0]; i++) {
        struct value row[] = {list[i].value, value_integer(0)}, v;
        struct buf key = {0}, types = {0}, scratch = {0};
        struct key_place from = {0};
        ck_ok(indexcode_encode(&s->indexes[0], 1, row, &key, &types, &test_err));
        int rc = indexcode_column(&s->indexes[0], buf_slice(&key), slice_of_str(list[i].types),
                                  &from, 0, &v, &scratch, &test_err);
        ck_assert_int_eq(rc, list[i].rc);
        buf_release(&key);
        buf_release(&types);
        buf_release(&scratch);
    }
    schema_free(s);
}
END_TEST

START_TEST(too_big) {
    static char text[KEVO_MAX_KEY_BYTES + 2];
    struct schema *s = rows_schema("a TEXT|id INTEGER PRIMARY KEY|INDEX by_a (a)");
    struct value row[] = {value_text(text, KEVO_MAX_KEY_BYTES - 6), value_integer(0), value_null()};
    struct buf key = {0}, types = {0};
    memset(text, 'a', sizeof text);
    ck_ok(indexcode_encode(&s->indexes[0], 1, row, &key, &types, &test_err));
    ck_assert_uint_eq(key.len, KEVO_MAX_KEY_BYTES);
    row[0].bytes.len++;
    ck_assert_int_eq(indexcode_encode(&s->indexes[0], 1, row, &key, &types, &test_err),
                     KEVO_TOOBIG);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "index by_a of table t is too big: 65537 bytes"));
    buf_release(&key);
    buf_release(&types);
    schema_free(s);
}
END_TEST

START_TEST(no_memory) {
    struct schema *s = rows_schema("a TEXT|b ANY|c TEXT PRIMARY KEY|UNIQUE (a DESC, b)");
    struct value v[] = {value_text("some\0text that is longer", 24), value_real(5),
                        value_text("key", 3), value_null()};
    const struct schema *index = &s->indexes[0];
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc == KEVO_NOMEM; n++) {
        struct buf key = {0}, types = {0}, scratch = {0}, row_key = {0};
        struct value out, values[4];
        struct key_place from = {0};
        fault_alloc_fail_at(n, _i);
        rc = indexcode_encode(index, 1, v, &key, &types, &test_err);
        if (rc == 0)
            rc = indexcode_column(index, buf_slice(&key), buf_slice(&types), &from, 1, &out,
                                  &scratch, &test_err);
        if (rc == 0)
            rc = indexcode_row_key(s, index, 1, buf_slice(&key), &from, values, &scratch, &row_key,
                                   &test_err);
        if (rc == 0) rc = indexcode_equal_range(index, 1, v, &scratch, &row_key, &test_err);
        fault_alloc_fail_at(0, false);
        if (rc == 0) ck_assert(same_bits(&v[1], &out));
        buf_release(&key);
        buf_release(&types);
        buf_release(&scratch);
        buf_release(&row_key);
    }
    ck_ok(rc);
    schema_free(s);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("indexcode");
    TCase *tc = tcase_create("indexcode");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, order_is_sql_order, 0, 3);
    tcase_add_loop_test(tc, entries_cover, 0, 3);
    tcase_add_loop_test(tc, equal_range, 0, 3);
    tcase_add_test(tc, places);
    tcase_add_loop_test(tc, layout, 0, sizeof layouts / sizeof layouts[0]);
    tcase_add_loop_test(tc, any_bytes, 0, 3);
    tcase_add_test(tc, bad_types);
    tcase_add_test(tc, too_big);
    tcase_add_loop_test(tc, no_memory, 0, 2);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
