#include "engine/base/buf.h"

#include "tests/lib/harness.h"

static void expect(const struct buf *b, const char *text) {
    ck_assert(slice_eq(buf_slice(b), slice_of_str(text)));
}

START_TEST(append_and_reset) {
    struct buf b = {0};
    ck_assert(buf_append(&b, NULL, 0));
    ck_assert_ptr_null(b.data);
    ck_assert(buf_append(&b, "hello", 5));
    ck_assert(buf_append(&b, " you", 4));
    expect(&b, "hello you");
    const uint8_t *data = b.data;
    buf_reset(&b);
    expect(&b, "");
    ck_assert(buf_append(&b, "x", 1));
    ck_assert_ptr_eq(b.data, data);
    buf_release(&b);
    ck_assert_ptr_null(b.data);
    buf_release(&b);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

START_TEST(set_from_itself) {
    struct buf b = {0};
    ck_assert(buf_set(&b, slice_of(NULL, 0)));
    ck_assert(buf_set(&b, slice_of_str("hello you")));
    ck_assert(buf_set(&b, slice_of(b.data + 6, 3)));
    expect(&b, "you");
    ck_assert(buf_set(&b, buf_slice(&b)));
    expect(&b, "you");
    ck_assert(buf_set(&b, slice_of(b.data + 1, 0)));
    expect(&b, "");
    buf_release(&b);
}
END_TEST

START_TEST(grows_in_few_steps) {
    struct buf b = {0};
    unsigned moves = 0;
    for (size_t i = 0; i < 1000000; i++) {
        size_t cap = b.cap;
        uint8_t c = (uint8_t)i;
        if (!buf_append(&b, &c, 1)) ck_abort();
        moves += b.cap != cap;
    }
    ck_assert_uint_lt(moves, 40);
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] != (uint8_t)i) ck_abort_msg("byte %zu", i);
    buf_release(&b);
}
END_TEST

START_TEST(unchanged_without_memory) {
    struct buf b = {0};
    ck_assert(buf_set(&b, slice_of_str("hello")));
    char big[1000] = {0};
    fault_alloc_fail_at(1, true);
    ck_assert(!buf_append(&b, big, sizeof big));
    ck_assert(!buf_reserve(&b, sizeof big));
    ck_assert(!buf_set(&b, slice_of(big, sizeof big)));
    fault_alloc_fail_at(0, false);
    ck_assert(!buf_reserve(&b, SIZE_MAX));
    ck_assert(!buf_reserve(&b, SIZE_MAX - b.len));
    expect(&b, "hello");
    buf_release(&b);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("buf");
    TCase *t = tcase_create("buf");
    tcase_add_test(t, append_and_reset);
    tcase_add_test(t, set_from_itself);
    tcase_add_test(t, grows_in_few_steps);
    tcase_add_test(t, unchanged_without_memory);
    suite_add_tcase(s, t);
    return harness_run(s);
}
