#include "sql/rowcode.h"

#include "tests/lib/rows.h"

static bool same(const struct value *a, const struct value *b) {
    if (a->type != b->type) return false;
    switch (a->type) {
    case VALUE_NULL: return true;
    case VALUE_INTEGER: return a->integer == b->integer;
    case VALUE_REAL: return memcmp(&a->real, &b->real, 8) == 0;
    default: return slice_eq(a->bytes, b->bytes);
    }
}

static const char nine[] = "a ANY|b ANY|k TEXT PRIMARY KEY|c ANY|d ANY|e ANY|f ANY|g ANY|h ANY";

static void random_row(struct rng *r, struct value *values, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        values[i] = rows_value(r, (enum value_type)rng_below(r, 5), i);
}

/* The short way to a text or blob tells the same, where it tells anything: of column i, which is
 * the reader's next one if it tells something. */
static bool told_at_once(const struct row_reader *reader, unsigned i) {
    struct row_reader copy = *reader;
    enum value_type type;
    struct value v;
    slice bytes;
    if (!row_reader_bytes(reader, i, &type, &bytes)) return false;
    ck_assert_uint_eq(reader->next, i);
    ck_ok(row_reader_column(&copy, i, &v, &test_err));
    ck_assert_int_eq(v.type, type);
    ck_assert(v.bytes.data == bytes.data && v.bytes.len == bytes.len);
    return true;
}

START_TEST(round_trip) {
    struct rng r = rng_of(harness_seed());
    struct schema *s = rows_schema(nine);
    struct buf row = {0};
    struct value in[9], out;
    unsigned at_once = 0;
    for (unsigned n = 0; n < 20000; n++) {
        random_row(&r, in, 9);
        ck_ok(rowcode_encode(s, in, &row, &test_err));
        ck_ok(rowcode_check(buf_slice(&row), s->row_count, &test_err));
        struct row_reader reader = row_reader_of(buf_slice(&row));
        for (unsigned k = 0; k < 12; k++) {
            unsigned i = k < 8 ? k : (unsigned)rng_below(&r, 8);
            at_once += told_at_once(&reader, i);
            ck_ok(row_reader_column(&reader, i, &out, &test_err));
            ck_assert(same(&in[s->row[i]], &out));
            ck_ok(rowcode_column(buf_slice(&row), i, &out, &test_err));
            ck_assert(same(&in[s->row[i]], &out));
        }
        ck_ok(rowcode_column(buf_slice(&row), 8, &out, &test_err)); /* a later column */
        ck_assert_int_eq(out.type, VALUE_NULL);
    }
    ck_assert_uint_gt(at_once, 1000);
    buf_release(&row);
    schema_free(s);
}
END_TEST

static const struct {
    struct value value;
    unsigned len;
    const char *bytes;
} layouts[] = {
    {{.type = VALUE_NULL}, 0, ""},
    {{.type = VALUE_INTEGER, .integer = 0}, 1, "\x0c"},
    {{.type = VALUE_INTEGER, .integer = 11}, 1, "\x17"},
    {{.type = VALUE_INTEGER, .integer = 12}, 2, "\x01\x0c"},
    {{.type = VALUE_INTEGER, .integer = -1}, 2, "\x01\xff"},
    {{.type = VALUE_INTEGER, .integer = -128}, 2, "\x01\x80"},
    {{.type = VALUE_INTEGER, .integer = 128}, 3, "\x02\x80\x00"},
    {{.type = VALUE_INTEGER, .integer = INT64_MIN}, 9, "\x08\0\0\0\0\0\0\0\x80"},
    {{.type = VALUE_REAL, .real = 1.5}, 5, "\x0a\x00\x00\xc0\x3f"},
    {{.type = VALUE_REAL, .real = 0.1}, 9, "\x09\x9a\x99\x99\x99\x99\x99\xb9\x3f"},
    {{.type = VALUE_TEXT, .bytes = {(const uint8_t *)"", 0}}, 1, "\x18"},
    {{.type = VALUE_BLOB, .bytes = {(const uint8_t *)"", 0}}, 1, "\x19"},
    {{.type = VALUE_TEXT, .bytes = {(const uint8_t *)"a\0", 2}},
     3,
     "\x1c"
     "a\0"},
    {{.type = VALUE_BLOB, .bytes = {(const uint8_t *)"a\0", 2}},
     3,
     "\x1d"
     "a\0"},
};

START_TEST(layout) {
    struct schema *s = rows_schema("k TEXT PRIMARY KEY|a ANY");
    struct value v[] = {value_text("k", 1), layouts[_i].value};
    struct buf row = {0};
    ck_ok(rowcode_encode(s, v, &row, &test_err));
    ck_assert_uint_eq(row.len, layouts[_i].len);
    if (row.len) ck_assert_mem_eq(row.data, layouts[_i].bytes, row.len);
    buf_release(&row);
    schema_free(s);
}
END_TEST

START_TEST(trailing_nulls) {
    struct schema *s = rows_schema(nine);
    struct value v[9], out;
    struct buf row = {0};
    for (unsigned i = 0; i < 9; i++)
        v[i] = value_null();
    ck_ok(rowcode_encode(s, v, &row, &test_err));
    ck_assert_uint_eq(row.len, 0);
    ck_ok(rowcode_column(slice_of(NULL, 0), 0, &out, &test_err));
    ck_assert_int_eq(out.type, VALUE_NULL);
    ck_ok(rowcode_check(slice_of(NULL, 0), 0, &test_err));
    v[1] = value_integer(5);
    ck_ok(rowcode_encode(s, v, &row, &test_err));
    ck_assert_uint_eq(row.len, 2);
    ck_assert_int_eq(rowcode_check(buf_slice(&row), 1, &test_err), KEVO_CORRUPT);
    buf_release(&row);
    schema_free(s);
}
END_TEST

/* Damaged rows read as something or are refused; nothing is read past the end. */
START_TEST(any_bytes) {
    struct rng r = rng_of(harness_seed());
    struct schema *s = rows_schema(nine);
    struct value v[9], out;
    struct buf row = {0};
    unsigned bad = 0;
    for (unsigned n = 0; n < 20000; n++) {
        random_row(&r, v, 9);
        ck_ok(rowcode_encode(s, v, &row, &test_err));
        if (rng_below(&r, 2)) row.len = rng_below(&r, row.len + 1);
        for (unsigned k = (unsigned)rng_below(&r, 3); k > 0 && row.len; k--)
            row.data[rng_below(&r, row.len)] = (uint8_t)rng_next(&r);
        struct buf exact = {0};
        ck_assert(buf_set(&exact, buf_slice(&row)));
        int rc = rowcode_check(buf_slice(&exact), 8, &test_err);
        ck_assert(rc == 0 || rc == KEVO_CORRUPT);
        bad += rc != 0;
        struct row_reader reader = row_reader_of(buf_slice(&exact));
        for (unsigned i = 0; i < 9; i++) {
            told_at_once(&reader, i);
            if (row_reader_column(&reader, i, &out, &test_err)) break;
        }
        for (unsigned i = 0; i < 9; i++) {
            int one = rowcode_column(buf_slice(&exact), i, &out, &test_err);
            ck_assert(one == 0 || one == KEVO_CORRUPT);
            if (rc == 0) ck_assert_int_eq(one, 0);
            if (one == 0 && out.type >= VALUE_TEXT && out.bytes.len)
                ck_assert(out.bytes.data >= exact.data &&
                          out.bytes.data + out.bytes.len <= exact.data + exact.len);
        }
        buf_release(&exact);
    }
    ck_assert_uint_gt(bad, 100);
    buf_release(&row);
    schema_free(s);
}
END_TEST

static const struct {
    slice row;
} damaged[] = {
    {{(const uint8_t *)"\x0b", 1}},               /* a tag that is not written */
    {{(const uint8_t *)"\x08\1\2\3\4\5\6\7", 8}}, /* a body cut short */
    {{(const uint8_t *)"\x1c"
                       "a",
      2}},                                                               /* text cut short */
    {{(const uint8_t *)"\x80", 1}},                                      /* a varint cut short */
    {{(const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10}}, /* 2^63 bytes */
    {{(const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10}}, /* more than 64 bits */
    {{(const uint8_t *)"\x09\0\0\0\0\0\0\xf8\x7f", 9}},                  /* not a number */
    {{(const uint8_t *)"\x0a\0\0\xc0\x7f", 5}},
};

START_TEST(damage) {
    struct value v;
    ck_assert_int_eq(rowcode_column(damaged[_i].row, 0, &v, &test_err), KEVO_CORRUPT);
    ck_assert_int_eq(rowcode_check(damaged[_i].row, 1, &test_err), KEVO_CORRUPT);
}
END_TEST

START_TEST(too_big) {
    struct schema *s = rows_schema("k TEXT PRIMARY KEY|a BLOB");
    struct value v[] = {value_text("k", 1), value_blob("", (size_t)KEVO_MAX_VALUE_BYTES + 1)};
    struct buf row = {0};
    ck_assert_int_eq(rowcode_encode(s, v, &row, &test_err), KEVO_TOOBIG);
    buf_release(&row);
    schema_free(s);
}
END_TEST

START_TEST(no_memory) {
    struct schema *s = rows_schema(nine);
    struct rng r = rng_of(harness_seed());
    struct value v[9];
    int rc = KEVO_NOMEM;
    random_row(&r, v, 8);
    v[8] = value_integer(1); /* so that there is something to write */
    for (uint64_t n = 1; rc == KEVO_NOMEM; n++) {
        struct buf row = {0};
        fault_alloc_fail_at(n, _i);
        rc = rowcode_encode(s, v, &row, &test_err);
        fault_alloc_fail_at(0, false);
        buf_release(&row);
    }
    ck_ok(rc);
    schema_free(s);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rowcode");
    TCase *tc = tcase_create("rowcode");
    tcase_add_test(tc, round_trip);
    tcase_add_loop_test(tc, layout, 0, sizeof layouts / sizeof layouts[0]);
    tcase_add_test(tc, trailing_nulls);
    tcase_add_test(tc, any_bytes);
    tcase_add_loop_test(tc, damage, 0, sizeof damaged / sizeof damaged[0]);
    tcase_add_test(tc, too_big);
    tcase_add_loop_test(tc, no_memory, 0, 2);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
