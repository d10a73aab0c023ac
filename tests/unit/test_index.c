#include "engine/table/index.h"

#include <stdlib.h>

#include "tests/lib/iter_suite.h"

/* ---- separators ---------------------------------------------------------------- */

START_TEST(separators) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 3000;
    shape.max_key_bytes = 12;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    uint8_t scratch[12];
    for (size_t i = 0; i + 1 < set->count; i++) {
        slice last = set->entries[i].key, next = set->entries[i + 1].key;
        slice s = index_separator(last, next, scratch);
        ck_assert(slice_cmp(last, s) <= 0);
        ck_assert(slice_eq(last, next) ? slice_eq(s, last) : slice_cmp(s, next) < 0);
        ck_assert(s.len <= last.len || s.len < next.len);
    }
    iter_suite_free(set);
}
END_TEST

static const struct {
    const char *last, *next, *separator;
} separator_cases[] = {
    {"abc", "abd", "abc"},
    {"abcxyz", "abd", "abcy"},
    {"abc", "abe", "abd"},
    {"abc", "abdef", "abd"},
    {"a", "ab", "a"},
    {"a", "a", "a"},
    {"ab\xff", "ac", "ab\xff"},
    {"ab\xff"
     "a",
     "ac",
     "ab\xff"
     "b"},
    {"abz", "b", "ac"},
    {"device1/100", "device2/200", "device2"},
};

START_TEST(separator_case) {
    uint8_t scratch[20];
    slice s = index_separator(slice_of_str(separator_cases[_i].last),
                              slice_of_str(separator_cases[_i].next), scratch);
    ck_assert_msg(slice_eq(s, slice_of_str(separator_cases[_i].separator)), "%s %s: %.*s",
                  separator_cases[_i].last, separator_cases[_i].next, (int)s.len,
                  (const char *)s.data);
}
END_TEST

static void check_finds(const struct table_index *index, const struct iter_suite_set *set,
                        size_t prefix_len) {
    struct buf prefixed = {0};
    for (size_t k = 0; k < prefix_len; k++)
        ck_assert(buf_append(&prefixed, "p", 1));
    for (size_t i = 0; i < set->count; i++) {
        ck_assert_uint_eq(table_index_offset(index, i), 10 * i);
        ck_assert_int_eq(table_index_kind(index, i), i % 2);
        prefixed.len = prefix_len;
        ck_assert(buf_append(&prefixed, set->entries[i].key.data, set->entries[i].key.len));
        ck_assert(buf_append(&prefixed, "\0", 1));
        slice key = slice_of(prefixed.data, prefixed.len - 1);
        ck_assert_uint_eq(table_index_find(index, key), i);
        ck_assert(table_index_is_key(index, i, key));
        ck_assert_uint_eq(table_index_find(index, buf_slice(&prefixed)), i + 1);
        ck_assert(!table_index_is_key(index, i, buf_slice(&prefixed)));
        ck_assert_int_lt(table_index_compare(index, i, buf_slice(&prefixed)), 0);
        key.len--;
        size_t before = table_index_find(index, key);
        ck_assert(before == i || table_index_compare(index, before, key) >= 0);
        if (before) ck_assert_int_lt(table_index_compare(index, before - 1, key), 0);
    }
    ck_assert_uint_eq(table_index_find(index, slice_of_str("\xff\xff\xff\xff\xff")), set->count);
    ck_assert_uint_eq(table_index_find(index, slice_of(NULL, 0)), 0);
    buf_release(&prefixed);
}

/* An index of random separators finds what a linear search finds, with and without
 * signposts. */
START_TEST(index_finds) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.max_versions = 1;
    shape.max_seq = 1; /* so that no key comes twice */
    shape.max_key_bytes = _i % 2 ? 300 : 10;
    shape.key_count = 1 + 5 * (size_t)_i;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct index_builder b = {0};
    struct buf out = {0}, prefixed = {0};
    size_t prefix_len = (size_t)_i % 8 * 3;
    for (size_t i = 0; i < set->count; i++) {
        prefixed.len = 0;
        for (size_t k = 0; k < prefix_len; k++)
            ck_assert(buf_append(&prefixed, "p", 1));
        ck_assert(buf_append(&prefixed, set->entries[i].key.data, set->entries[i].key.len));
        ck_ok(index_builder_add(&b, buf_slice(&prefixed), 10 * i, i % 2, &test_err));
    }
    ck_ok(index_builder_finish(&b, 10 * set->count, &out, &test_err));
    struct table_index index;
    ck_assert(table_index_open(&index, buf_slice(&out)));
    ck_assert_uint_eq(table_index_post_count(&index), set->count / 16);
    check_finds(&index, set, prefix_len);
    uint64_t *posts = calloc(set->count / 16 + 1, sizeof *posts);
    table_index_set_posts(&index, posts);
    check_finds(&index, set, prefix_len);
    free(posts);
    index_builder_release(&b);
    buf_release(&out);
    buf_release(&prefixed);
    iter_suite_free(set);
}
END_TEST

#define COUNT(cases) ((int)(sizeof(cases) / sizeof *(cases)))

int main(void) {
    Suite *suite = suite_create("index");
    TCase *tcase = tcase_create("index");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, separators);
    tcase_add_loop_test(tcase, separator_case, 0, COUNT(separator_cases));
    tcase_add_loop_test(tcase, index_finds, 0, 40);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
