#include "engine/base/coding.h"

#include <stdlib.h>

#include "tests/lib/harness.h"

static const uint64_t numbers[] = {
    0,          1,
    0x7f,       0x80,
    0x3fff,     0x4000,
    65535,      0x0fffffff,
    0x7fffffff, 0x80000000,
    UINT32_MAX, (uint64_t)UINT32_MAX + 1,
    1ull << 35, (1ull << 56) - 1,
    1ull << 56, (1ull << 63) - 1,
    1ull << 63, UINT64_MAX,
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

START_TEST(varint_round_trip) {
    uint8_t bytes[VARINT64_MAX_BYTES];
    uint64_t v = numbers[_i], back = ~v;
    uint8_t *end = put_varint(bytes, v);
    ck_assert_uint_eq(end - bytes, varint_bytes(v));
    ck_assert_uint_le(end - bytes, VARINT64_MAX_BYTES);
    if (v <= UINT32_MAX) ck_assert_uint_le(end - bytes, VARINT32_MAX_BYTES);
    ck_assert_ptr_eq(get_varint(bytes, end, &back), end);
    ck_assert_uint_eq(back, v);
    for (const uint8_t *cut = bytes; cut < end; cut++)
        ck_assert_ptr_null(get_varint(bytes, cut, &back));
}
END_TEST

START_TEST(varint_layout) {
    uint8_t bytes[VARINT64_MAX_BYTES];
    ck_assert_uint_eq(put_varint(bytes, 300) - bytes, 2);
    ck_assert_mem_eq(bytes, "\xac\x02", 2);
}
END_TEST

START_TEST(varint_too_long) {
    static const struct {
        uint8_t bytes[11];
        size_t len;
        bool good;
    } cases[] = {
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 10, true},
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, 10, false},
        {{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00}, 11, false},
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 11, false},
        {{0x80, 0x00}, 2, true}, /* longer than need be, still a number */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t v = 0;
        const uint8_t *end = cases[i].bytes + cases[i].len;
        const uint8_t *got = get_varint(cases[i].bytes, end, &v);
        ck_assert_msg(cases[i].good ? got == end : got == NULL, "case %zu", i);
    }
}
END_TEST

START_TEST(fixed_round_trip) {
    uint8_t bytes[8];
    put_fixed32(bytes, 0x04030201);
    ck_assert_mem_eq(bytes, "\x01\x02\x03\x04", 4);
    ck_assert_uint_eq(get_fixed32(bytes), 0x04030201);
    put_fixed64(bytes, 0x0807060504030201);
    ck_assert_mem_eq(bytes, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    ck_assert_uint_eq(get_fixed64(bytes), 0x0807060504030201);
}
END_TEST

static void put_all(struct buf *b) {
    ck_assert(buf_put_fixed32(b, 0xdeadbeef));
    ck_assert(buf_put_fixed64(b, 0x0123456789abcdef));
    for (size_t i = 0; i < NUMBERS; i++)
        ck_assert(buf_put_varint(b, numbers[i]));
    ck_assert(buf_put_slice(b, slice_of_str("hello")));
    ck_assert(buf_put_slice(b, slice_of(NULL, 0)));
    ck_assert(buf_append(b, "x", 1));
}

/* Reads what put_all wrote; false as soon as it is something else. */
static bool get_all(struct reader *r) {
    bool same = read_fixed32(r) == 0xdeadbeef;
    same &= read_fixed64(r) == 0x0123456789abcdef;
    for (size_t i = 0; i < NUMBERS; i++)
        same &= read_varint(r) == numbers[i];
    same &= slice_eq(read_slice(r), slice_of_str("hello"));
    same &= read_slice(r).len == 0;
    same &= read_byte(r) == 'x';
    return same;
}

START_TEST(reader_round_trip) {
    struct buf b = {0};
    put_all(&b);
    struct reader r = reader_of(buf_slice(&b));
    ck_assert(get_all(&r));
    ck_assert(!r.bad);
    ck_assert_uint_eq(reader_left(&r), 0);
    ck_assert_uint_eq(read_byte(&r), 0);
    ck_assert(r.bad);
    buf_release(&b);
}
END_TEST

/* A reader whose bytes end early turns bad and reads zeros, wherever the end is. */
START_TEST(reader_cut_short) {
    struct buf b = {0};
    put_all(&b);
    for (size_t len = 0; len < b.len; len++) {
        uint8_t *exact = malloc(len ? len : 1); /* for the address sanitizer */
        memcpy(exact, b.data, len);
        struct reader r = reader_of(slice_of(exact, len));
        ck_assert(!get_all(&r));
        ck_assert(r.bad);
        ck_assert_uint_eq(read_fixed64(&r), 0);
        ck_assert_uint_eq(read_varint(&r), 0);
        ck_assert_uint_eq(read_slice(&r).len, 0);
        free(exact);
    }
    buf_release(&b);
}
END_TEST

START_TEST(reader_of_nothing) {
    struct reader r = reader_of(slice_of(NULL, 0));
    ck_assert_uint_eq(reader_left(&r), 0);
    ck_assert_uint_eq(read_bytes(&r, 0).len, 0);
    ck_assert(!r.bad);
    ck_assert_uint_eq(read_fixed32(&r), 0);
    ck_assert(r.bad);
}
END_TEST

START_TEST(reader_lengths_beyond_the_end) {
    static const uint64_t lengths[] = {5, 100, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct buf b = {0};
        ck_assert(buf_put_varint(&b, lengths[i]) && buf_append(&b, "four", 4));
        struct reader r = reader_of(buf_slice(&b));
        ck_assert_uint_eq(read_slice(&r).len, 0);
        ck_assert(r.bad);
        r = reader_of(buf_slice(&b));
        ck_assert_uint_eq(read_bytes(&r, SIZE_MAX).len, 0);
        ck_assert(r.bad);
        buf_release(&b);
    }
}
END_TEST

START_TEST(reader_varint32) {
    for (size_t i = 0; i < NUMBERS; i++) {
        struct buf b = {0};
        ck_assert(buf_put_varint(&b, numbers[i]));
        struct reader r = reader_of(buf_slice(&b));
        bool fits = numbers[i] <= UINT32_MAX;
        ck_assert_uint_eq(read_varint32(&r), fits ? numbers[i] : 0);
        ck_assert(r.bad == !fits);
        buf_release(&b);
    }
}
END_TEST

START_TEST(random_bytes_never_run_over) {
    struct rng r = rng_of(harness_seed());
    for (int i = 0; i < 20000; i++) {
        size_t len = rng_below(&r, 40);
        uint8_t *bytes = malloc(len ? len : 1);
        for (size_t j = 0; j < len; j++)
            bytes[j] = (uint8_t)(rng_next(&r) | (rng_below(&r, 2) ? 0x80 : 0));
        struct reader reader = reader_of(slice_of(bytes, len));
        while (!reader.bad) {
            switch (rng_below(&r, 5)) {
            case 0: read_fixed32(&reader); break;
            case 1: read_fixed64(&reader); break;
            case 2: read_varint(&reader); break;
            case 3: read_slice(&reader); break;
            default: read_byte(&reader);
            }
            if (reader.p > reader.end) ck_abort();
        }
        free(bytes);
    }
}
END_TEST

START_TEST(puts_without_memory) {
    struct buf b = {0};
    fault_alloc_fail_at(1, true);
    ck_assert(!buf_put_fixed32(&b, 1));
    ck_assert(!buf_put_fixed64(&b, 1));
    ck_assert(!buf_put_varint(&b, 1));
    ck_assert(!buf_put_slice(&b, slice_of_str("hello")));
    fault_alloc_fail_at(0, false);
    ck_assert_uint_eq(b.len, 0);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* ---- slices ---- */

static int sign(int c) {
    return (c > 0) - (c < 0);
}

START_TEST(slice_order) {
    /* ascending */
    static const struct kevo_slice s[] = {
        {(const uint8_t *)"", 0},          {(const uint8_t *)"\0", 1},
        {(const uint8_t *)"\0\0", 2},      {(const uint8_t *)"\0\1", 2},
        {(const uint8_t *)"a", 1},         {(const uint8_t *)"a\0", 2},
        {(const uint8_t *)"aaaaaaaa", 8},  {(const uint8_t *)"aaaaaaaa\0", 9},
        {(const uint8_t *)"aaaaaaaab", 9}, {(const uint8_t *)"aaaaaaab", 8},
        {(const uint8_t *)"b", 1},         {(const uint8_t *)"\x7f", 1},
        {(const uint8_t *)"\x80", 1},      {(const uint8_t *)"\xff", 1},
        {(const uint8_t *)"\xff\xff", 2},
    };
    int n = sizeof s / sizeof *s;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            ck_assert_int_eq(sign(slice_cmp(s[i], s[j])), sign(i - j));
            ck_assert(slice_eq(s[i], s[j]) == (i == j));
            uint64_t pi = slice_prefix64(s[i]), pj = slice_prefix64(s[j]);
            if (i <= j) ck_assert_uint_le(pi, pj);
            if (pi < pj) ck_assert_int_lt(i, j);
        }
    }
    ck_assert(slice_eq(slice_of(NULL, 0), s[0]));
    ck_assert(slice_has_prefix(s[7], s[6]));
    ck_assert(slice_has_prefix(s[7], slice_of(NULL, 0)));
    ck_assert(!slice_has_prefix(s[6], s[7]));
    ck_assert(!slice_has_prefix(s[9], s[6]));
}
END_TEST

int main(void) {
    Suite *s = suite_create("coding");
    TCase *t = tcase_create("coding");
    tcase_add_loop_test(t, varint_round_trip, 0, NUMBERS);
    tcase_add_test(t, varint_layout);
    tcase_add_test(t, varint_too_long);
    tcase_add_test(t, fixed_round_trip);
    tcase_add_test(t, reader_round_trip);
    tcase_add_test(t, reader_cut_short);
    tcase_add_test(t, reader_of_nothing);
    tcase_add_test(t, reader_lengths_beyond_the_end);
    tcase_add_test(t, reader_varint32);
    tcase_add_test(t, random_bytes_never_run_over);
    tcase_add_test(t, puts_without_memory);
    tcase_add_test(t, slice_order);
    suite_add_tcase(s, t);
    return harness_run(s);
}
