#include "engine/tree/seq_iter.h"

#include <stdlib.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/iter_suite.h"

enum { MAX_SEQ = 60 };

/* The entries up to `most`, made smaller. */
static struct iter_suite_set *left_of(const struct iter_suite_set *set, uint64_t most,
                                      uint64_t less) {
    struct iter_suite_entry *left = calloc(set->count + 1, sizeof *left);
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->entries[i].seq > most) continue;
        left[count] = set->entries[i];
        left[count++].seq -= less;
    }
    struct iter_suite_set *sorted = iter_suite_sorted(left, count);
    free(left);
    return sorted;
}

START_TEST(every_motion) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 120;
    shape.max_versions = 4;
    shape.max_seq = MAX_SEQ;
    shape.max_value_bytes = 40;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    uint64_t less = _i % 2 ? SEQ_PRIVATE : 0;
    for (size_t i = 0; i < set->count; i++)
        set->entries[i].seq += less;
    uint64_t most = _i % 3 ? less + rng_below(&rng, MAX_SEQ + 1) : SEQ_MAX;
    struct iter_suite_set *left = left_of(set, most, less);
    struct iter *it;
    must(seq_iter_new(array_iter_new(set->entries, set->count), most, less, &it, &test_err));
    iter_suite_check(it, left->entries, left->count, &rng);
    iter_close(it);
    iter_suite_free(left);
    iter_suite_free(set);
    ck_assert_uint_eq(array_iter_live, 0);
}
END_TEST

START_TEST(without_memory) {
    struct iter *it, *source = array_iter_new(NULL, 0);
    fault_alloc_fail_at(1, false);
    ck_assert_int_eq(seq_iter_new(source, 1, 0, &it, &test_err), KEVO_NOMEM);
    fault_alloc_fail_at(0, false);
    ck_assert_ptr_null(it);
    iter_close(source); /* still the caller's */
    ck_assert_uint_eq(array_iter_live, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("seq_iter");
    TCase *tc = tcase_create("seq_iter");
    tcase_add_loop_test(tc, every_motion, 0, 30);
    tcase_add_test(tc, without_memory);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
