#include "sql/keycode.h"

#include "tests/lib/rows.h"

static int sign(int c) {
    return (c > 0) - (c < 0);
}

static void random_row(struct rng *r, const struct schema *s, struct value *values, unsigned slot) {
    for (unsigned i = 0; i < s->column_count; i++)
        values[i] = rows_value(r, rows_type(r, s->columns[i].type), slot + i);
}

/* Rows that share the first key columns are where the order gets hard. */
static void share_columns(struct rng *r, const struct schema *s, const struct value *from,
                          struct value *to) {
    for (unsigned n = 0; n < s->key_count && rng_below(r, 3); n++)
        to[s->key[n].column] = from[s->key[n].column];
}

static int sql_order(const struct schema *s, const struct value *a, const struct value *b,
                     unsigned from) {
    for (unsigned n = from; n < s->key_count; n++) {
        int c = sign(value_cmp(&a[s->key[n].column], &b[s->key[n].column]));
        if (c) return s->key[n].desc ? -c : c;
    }
    return 0;
}

START_TEST(order_is_sql_order) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct buf a = {0}, b = {0};
    struct value x[8], y[8];
    for (unsigned round = 0; round < 40; round++) {
        struct schema *s = rows_random_schema(&r, (unsigned)_i);
        for (unsigned n = 0; n < 500; n++) {
            slice p, q;
            random_row(&r, s, x, 0);
            random_row(&r, s, y, 10);
            share_columns(&r, s, x, y);
            uint32_t id = (uint32_t)rng_below(&r, 2) * 1000;
            ck_ok(keycode_encode(s, id, x, &a, &test_err));
            ck_ok(keycode_encode(s, id, y, &b, &test_err));
            ck_assert_int_eq(sign(slice_cmp(buf_slice(&a), buf_slice(&b))), sql_order(s, x, y, 0));
            /* What follows n columns orders by the others. */
            unsigned skip = (unsigned)rng_below(&r, s->key_count);
            ck_ok(keycode_rest(s, buf_slice(&a), skip, &p, &test_err));
            ck_ok(keycode_rest(s, buf_slice(&b), skip, &q, &test_err));
            ck_assert_int_eq(sign(slice_cmp(p, q)), sql_order(s, x, y, skip));
        }
        schema_free(s);
    }
    buf_release(&a);
    buf_release(&b);
}
END_TEST

static void check_same(const struct value *a, const struct value *b) {
    ck_assert_int_eq(a->type, b->type);
    ck_assert_int_eq(value_cmp(a, b), 0);
    if (b->type == VALUE_REAL && b->real == 0) ck_assert(!__builtin_signbit(b->real));
}

START_TEST(decode_gives_back) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct buf key = {0}, scratch = {0};
    struct value in[8], out[8], one;
    for (unsigned round = 0; round < 40; round++) {
        struct schema *s = rows_random_schema(&r, (unsigned)_i);
        for (unsigned n = 0; n < 300; n++) {
            uint32_t id = (uint32_t)(rng_next(&r) >> (32 + rng_below(&r, 32))), back;
            slice rest;
            random_row(&r, s, in, 0);
            ck_ok(keycode_encode(s, id, in, &key, &test_err));
            ck_ok(keycode_split(buf_slice(&key), &back, &rest, &test_err));
            ck_assert_uint_eq(back, id);
            ck_ok(keycode_decode(s, buf_slice(&key), out, &scratch, &test_err));
            for (unsigned k = 0; k < s->key_count; k++)
                check_same(&in[s->key[k].column], &out[s->key[k].column]);
            unsigned k = (unsigned)rng_below(&r, s->key_count);
            ck_ok(keycode_column(s, buf_slice(&key), k, &one, &scratch, &test_err));
            check_same(&in[s->key[k].column], &one);
        }
        schema_free(s);
    }
    buf_release(&key);
    buf_release(&scratch);
}
END_TEST

/* The keys with the same values in the first `same` columns as `v`, or a range from there on. */
static void random_bounds(struct rng *r, const struct schema *s, const struct value *v,
                          unsigned same, struct buf *lower, struct buf *upper) {
    struct value other[8];
    uint8_t prefix[KEYCODE_MAX_PREFIX_BYTES];
    struct buf *bounds[] = {lower, upper};
    for (unsigned i = 0; i < 2; i++) {
        buf_reset(bounds[i]);
        ck_assert(buf_append(bounds[i], prefix, keycode_prefix(s, 1, prefix)));
        for (unsigned n = 0; n < same; n++)
            ck_ok(keycode_append(s, n, &v[s->key[n].column], bounds[i], &test_err));
        if (same == s->key_count || rng_below(r, 3) == 0) continue;
        random_row(r, s, other, 5);
        ck_ok(keycode_append(s, same, &other[s->key[same].column], bounds[i], &test_err));
    }
    if (rng_below(r, 2)) keycode_successor(upper);
}

/* Columns are the same from wherever in the key their place was known. */
START_TEST(places) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct buf key = {0}, lower = {0}, upper = {0}, scratch = {0};
    struct value in[8], other[8], v;
    unsigned known = 0;
    for (unsigned round = 0; round < 400; round++) {
        struct schema *s = rows_random_schema(&r, (unsigned)_i);
        random_row(&r, s, in, 5);
        unsigned same = (unsigned)rng_below(&r, s->key_count + 1);
        random_bounds(&r, s, in, same, &lower, &upper);
        struct key_place start = keycode_common(s, 1, buf_slice(&lower), buf_slice(&upper));
        for (unsigned n = 0; n < 50; n++) {
            random_row(&r, s, other, 5);
            for (unsigned k = 0; k < same; k++)
                other[s->key[k].column] = in[s->key[k].column];
            ck_ok(keycode_encode(s, 1, other, &key, &test_err));
            if (slice_cmp(buf_slice(&key), buf_slice(&lower)) < 0 ||
                slice_cmp(buf_slice(&key), buf_slice(&upper)) >= 0)
                continue;
            known += start.column > 0;
            struct key_place place = start;
            for (unsigned i = 0; i < 4; i++) {
                unsigned k = (unsigned)rng_below(&r, s->key_count);
                ck_ok(keycode_column_from(s, buf_slice(&key), &place, k, &v, &scratch, &test_err));
                check_same(&other[s->key[k].column], &v);
            }
        }
        schema_free(s);
    }
    ck_assert_uint_gt(known, 0);
    buf_release(&key);
    buf_release(&lower);
    buf_release(&upper);
    buf_release(&scratch);
}
END_TEST

/* ---- the bytes themselves, as FORMAT.md has them --------------------------------- */

static const struct {
    const char *arguments;
    struct value value;
    unsigned len;
    const char *bytes; /* behind the table id 1 */
} layouts[] = {
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = 0}, 1, "\x80"},
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = 63}, 1, "\xbf"},
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = 64}, 2, "\xc0\x00"},
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = 8255}, 2, "\xdf\xff"},
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = 8256}, 3, "\xe0\x00\x00"},
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = 1056831}, 3, "\xef\xff\xff"},
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = 1056832}, 4, "\xf0\x00\x00\x00"},
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = 135274559}, 4, "\xf7\xff\xff\xff"},
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = 135274560}, 5, "\xf8\x08\x10\x20\x40"},
    {"a INT PRIMARY KEY",
     {.type = VALUE_INTEGER, .integer = INT64_MAX},
     9,
     "\xfc\x7f\xff\xff\xff\xff\xff\xff\xff"},
    {"a INT PRIMARY KEY",
     {.type = VALUE_INTEGER, .integer = INT64_MIN},
     9,
     "\x03\x80\x00\x00\x00\x00\x00\x00\x00"},
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = -1}, 1, "\x7f"},
    {"a INT PRIMARY KEY", {.type = VALUE_INTEGER, .integer = -65}, 2, "\x3f\xff"},
    {"a INT PRIMARY KEY DESC", {.type = VALUE_INTEGER, .integer = 0}, 1, "\x7f"},
    {"a INT PRIMARY KEY DESC", {.type = VALUE_INTEGER, .integer = 64}, 2, "\x3f\xff"},
    {"a REAL PRIMARY KEY", {.type = VALUE_REAL, .real = 1}, 8, "\xbf\xf0\0\0\0\0\0\0"},
    {"a REAL PRIMARY KEY", {.type = VALUE_REAL, .real = 0}, 8, "\x80\0\0\0\0\0\0\0"},
    {"a REAL PRIMARY KEY", {.type = VALUE_REAL, .real = -0.0}, 8, "\x80\0\0\0\0\0\0\0"},
    {"a REAL PRIMARY KEY", {.type = VALUE_REAL, .real = -1}, 8, "\x40\x0f\xff\xff\xff\xff\xff\xff"},
    {"a TEXT PRIMARY KEY",
     {.type = VALUE_TEXT, .bytes = {(const uint8_t *)"x\0\1\xff", 4}},
     4,
     "x\0\1\xff"},
    {"a TEXT PRIMARY KEY DESC",
     {.type = VALUE_TEXT, .bytes = {(const uint8_t *)"x\0\1\xff", 4}},
     7,
     "\x87\xfe\xfe\xfe\xfd\x00\xff"},
};

START_TEST(layout) {
    struct schema *s = rows_schema(layouts[_i].arguments);
    struct buf key = {0};
    ck_ok(keycode_encode(s, 1, &layouts[_i].value, &key, &test_err));
    ck_assert_uint_eq(key.len, layouts[_i].len + 1);
    ck_assert_uint_eq(key.data[0], 1);
    ck_assert_mem_eq(key.data + 1, layouts[_i].bytes, layouts[_i].len);
    buf_release(&key);
    schema_free(s);
}
END_TEST

START_TEST(composite_layout) {
    struct schema *s = rows_schema("a TEXT|b BLOB|c INT|PRIMARY KEY (a, c, b)");
    struct value v[] = {value_text("x\0\1", 3), value_blob("\0", 1), value_integer(2)};
    struct buf key = {0};
    ck_ok(keycode_encode(s, 248, v, &key, &test_err));
    ck_assert_uint_eq(key.len, 10);
    ck_assert_mem_eq(key.data, "\xf8\0x\1\1\1\2\0\x82\0", 10);
    buf_release(&key);
    schema_free(s);
}
END_TEST

START_TEST(table_ids) {
    static const uint32_t ids[] = {
        0, 1, 247, 248, 503, 504, 65783, 65784, 16777463, 16777464, UINT32_MAX - 1, UINT32_MAX};
    enum { IDS = sizeof ids / sizeof ids[0] };
    struct buf lower[IDS], upper[IDS];
    memset(lower, 0, sizeof lower);
    memset(upper, 0, sizeof upper);
    for (unsigned i = 0; i < IDS; i++) {
        uint32_t back;
        slice rest;
        ck_ok(keycode_table_range(ids[i], &lower[i], &upper[i], &test_err));
        ck_ok(keycode_split(buf_slice(&lower[i]), &back, &rest, &test_err));
        ck_assert_uint_eq(back, ids[i]);
        ck_assert_uint_eq(rest.len, 0);
        ck_assert_int_lt(slice_cmp(buf_slice(&lower[i]), buf_slice(&upper[i])), 0);
        if (i) ck_assert_int_le(slice_cmp(buf_slice(&upper[i - 1]), buf_slice(&lower[i])), 0);
        if (ids[i] < 248) ck_assert_uint_eq(lower[i].len, 1);
    }
    for (unsigned i = 0; i < IDS; i++) {
        buf_release(&lower[i]);
        buf_release(&upper[i]);
    }
}
END_TEST

START_TEST(rowids) {
    struct rng r = rng_of(harness_seed());
    uint8_t p[2][KEYCODE_MAX_TABLE_BYTES + KEYCODE_MAX_INTEGER_BYTES];
    struct schema *s = rows_schema("id INTEGER PRIMARY KEY");
    struct buf key = {0};
    for (unsigned n = 0; n < 20000; n++) {
        struct value a = rows_value(&r, VALUE_INTEGER, 0), b = rows_value(&r, VALUE_INTEGER, 0);
        int64_t back;
        slice x = slice_of(p[0], keycode_rowid_key(7, a.integer, p[0]));
        slice y = slice_of(p[1], keycode_rowid_key(7, b.integer, p[1]));
        ck_assert_int_eq(sign(slice_cmp(x, y)), sign(value_cmp(&a, &b)));
        ck_ok(keycode_rowid(x, &back, &test_err));
        ck_assert_int_eq(back, a.integer);
        ck_ok(keycode_encode(s, 7, &a, &key, &test_err));
        ck_assert(slice_eq(buf_slice(&key), x));
    }
    buf_release(&key);
    schema_free(s);
}
END_TEST

/* ---- limits and damage --------------------------------------------------------------- */

START_TEST(too_big) {
    static char text[KEVO_MAX_KEY_BYTES + 2];
    struct buf key = {0};
    struct schema *s = rows_schema("a TEXT PRIMARY KEY");
    struct value v = value_text(text, KEVO_MAX_KEY_BYTES - 1);
    memset(text, 0, sizeof text);
    ck_ok(keycode_encode(s, 1, &v, &key, &test_err));
    ck_assert_uint_eq(key.len, KEVO_MAX_KEY_BYTES);
    v.bytes.len++;
    ck_assert_int_eq(keycode_encode(s, 1, &v, &key, &test_err), KEVO_TOOBIG);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "table t is too big: 65537 bytes"));
    v.bytes.len++;
    ck_assert_int_eq(keycode_encode(s, 1, &v, &key, &test_err), KEVO_TOOBIG);
    schema_free(s);
    s = rows_schema("a TEXT PRIMARY KEY DESC"); /* escaped, twice as long */
    v.bytes.len = KEVO_MAX_KEY_BYTES / 2 - 1;
    ck_ok(keycode_encode(s, 1, &v, &key, &test_err));
    ck_assert_uint_eq(key.len, KEVO_MAX_KEY_BYTES);
    v.bytes.len++;
    ck_assert_int_eq(keycode_encode(s, 1, &v, &key, &test_err), KEVO_TOOBIG);
    schema_free(s);
    buf_release(&key);
}
END_TEST

/* Any bytes decode to what encodes to them again, or are refused. */
START_TEST(any_bytes) {
    struct rng r = rng_of(harness_seed() + (uint64_t)_i);
    struct buf key = {0}, again = {0}, scratch = {0};
    struct value v[8];
    unsigned good = 0, bad = 0;
    for (unsigned round = 0; round < 40; round++) {
        struct schema *s = rows_random_schema(&r, (unsigned)_i);
        for (unsigned n = 0; n < 500; n++) {
            random_row(&r, s, v, 0);
            ck_ok(keycode_encode(s, 300, v, &key, &test_err));
            if (rng_below(&r, 2)) key.len = rng_below(&r, key.len + 1);
            for (unsigned k = (unsigned)rng_below(&r, 3); k > 0 && key.len; k--)
                key.data[rng_below(&r, key.len)] = (uint8_t)rng_next(&r);
            if (rng_below(&r, 4) == 0)
                ck_assert(buf_append(&key, "\0\1\xff", 1 + rng_below(&r, 3)));
            /* in memory of its own size, so that a step too far is seen */
            struct buf exact = {0};
            ck_assert(buf_set(&exact, buf_slice(&key)));
            int rc = keycode_decode(s, buf_slice(&exact), v, &scratch, &test_err);
            ck_assert(rc == 0 || rc == KEVO_CORRUPT);
            rc ? bad++ : good++;
            if (rc == 0) {
                uint32_t id;
                slice rest;
                ck_ok(keycode_split(buf_slice(&exact), &id, &rest, &test_err));
                ck_ok(keycode_encode(s, id, v, &again, &test_err));
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
}
END_TEST

START_TEST(successor) {
    struct buf b = {0};
    ck_assert(buf_set(&b, slice_of_str("\x01"
                                       "a\xff\xff")));
    keycode_successor(&b);
    ck_assert(slice_eq(buf_slice(&b), slice_of_str("\x01"
                                                   "b")));
    keycode_successor(&b);
    ck_assert(slice_eq(buf_slice(&b), slice_of_str("\x01"
                                                   "c")));
    buf_release(&b);
}
END_TEST

START_TEST(no_memory) {
    struct schema *s = rows_schema("a TEXT|b BLOB|PRIMARY KEY (a DESC, b)");
    struct value v[] = {value_text("some\0text that is longer", 24), value_blob("another", 7)},
                 w[2];
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc == KEVO_NOMEM; n++) {
        struct buf key = {0}, scratch = {0};
        fault_alloc_fail_at(n, _i);
        rc = keycode_encode(s, 1, v, &key, &test_err);
        if (rc == 0) rc = keycode_decode(s, buf_slice(&key), w, &scratch, &test_err);
        fault_alloc_fail_at(0, false);
        if (rc == 0) ck_assert(value_cmp(&v[0], &w[0]) == 0 && value_cmp(&v[1], &w[1]) == 0);
        buf_release(&key);
        buf_release(&scratch);
    }
    ck_ok(rc);
    schema_free(s);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("keycode");
    TCase *tc = tcase_create("keycode");
    tcase_add_loop_test(tc, order_is_sql_order, 1, 5);
    tcase_add_loop_test(tc, decode_gives_back, 1, 5);
    tcase_add_loop_test(tc, places, 1, 5);
    tcase_add_loop_test(tc, layout, 0, sizeof layouts / sizeof layouts[0]);
    tcase_add_test(tc, composite_layout);
    tcase_add_test(tc, table_ids);
    tcase_add_test(tc, rowids);
    tcase_add_test(tc, too_big);
    tcase_add_loop_test(tc, any_bytes, 1, 5);
    tcase_add_test(tc, successor);
    tcase_add_loop_test(tc, no_memory, 0, 2);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
