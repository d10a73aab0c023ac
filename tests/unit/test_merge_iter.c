#include "engine/tree/merge_iter.h"

#include <stdlib.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/iter_suite.h"

enum { MAX_CHILDREN = 9 };

/* A set of versions dealt out to several children. */
struct deal {
    struct iter_suite_set *set;
    struct iter_suite_entry *parts[MAX_CHILDREN];
    size_t sizes[MAX_CHILDREN], count;
};

/* `runs`: neighbours go to the same child often, as in the levels of a tree. */
static void deal_out(struct deal *d, struct iter_suite_set *set, size_t count, bool runs,
                     struct rng *rng) {
    size_t child = 0;
    *d = (struct deal){.set = set, .count = count};
    for (size_t c = 0; c < count; c++)
        d->parts[c] = calloc(set->count + 1, sizeof *d->parts[c]);
    for (size_t i = 0; i < set->count; i++) {
        if (!runs || rng_below(rng, 8) == 0) child = rng_below(rng, count);
        d->parts[child][d->sizes[child]++] = set->entries[i];
    }
}

static void deal_free(struct deal *d) {
    for (size_t c = 0; c < d->count; c++)
        free(d->parts[c]);
    iter_suite_free(d->set);
}

static int merge_of(const struct deal *d, struct iter *children[MAX_CHILDREN], struct iter **it) {
    for (size_t c = 0; c < d->count; c++)
        children[c] = array_iter_new(d->parts[c], d->sizes[c]);
    return merge_iter_new(children, d->count, it, &test_err);
}

START_TEST(random_merges) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    struct iter *children[MAX_CHILDREN], *it;
    struct deal d;
    shape.key_count = 1 + rng_below(&rng, 100);
    shape.max_key_bytes = 60;
    shape.max_value_bytes = 30;
    deal_out(&d, iter_suite_random(&rng, &shape), 1 + rng_below(&rng, MAX_CHILDREN), _i % 2, &rng);
    ck_ok(merge_of(&d, children, &it));
    iter_suite_check(it, d.set->entries, d.set->count, &rng);
    iter_close(it);
    ck_assert_uint_eq(array_iter_live, 0);
    deal_free(&d);
}
END_TEST

START_TEST(no_children) {
    struct rng rng = rng_of(harness_seed());
    struct iter *it;
    ck_ok(merge_iter_new(NULL, 0, &it, &test_err));
    ck_assert(!it->valid);
    iter_suite_check(it, NULL, 0, &rng);
    iter_close(it);
}
END_TEST

START_TEST(one_child_is_returned) {
    struct iter *child = array_iter_new(NULL, 0), *it;
    ck_ok(merge_iter_new(&child, 1, &it, &test_err));
    ck_assert_ptr_eq(it, child);
    iter_close(it);
}
END_TEST

/* The same entries in several children come as often as they are there, in the
 * order of the children, and back again the other way round. */
START_TEST(equal_entries) {
    enum { CHILDREN = 4, KEYS = 6 };
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_entry parts[CHILDREN][KEYS], all[CHILDREN * KEYS];
    static const char *const keys[KEYS] = {"a", "b", "prefix-of-eight", "prefix-of-nine",
                                           "z", "zz"};
    static const char *const names[CHILDREN] = {"0", "1", "2", "3"};
    struct iter *children[CHILDREN], *it;
    size_t n = 0, sizes[CHILDREN] = {0};
    for (size_t k = 0; k < KEYS; k++)
        for (size_t c = 0; c < CHILDREN; c++) {
            if (rng_below(&rng, 3) == 0) continue;
            struct iter_suite_entry e = {slice_of_str(keys[k]), 7, ENTRY_PUT,
                                         slice_of_str(names[c])};
            parts[c][sizes[c]++] = all[n++] = e;
        }
    for (size_t c = 0; c < CHILDREN; c++)
        children[c] = array_iter_new(parts[c], sizes[c]);
    ck_ok(merge_iter_new(children, CHILDREN, &it, &test_err));
    for (unsigned step = 0; step < 300 && n; step++) {
        size_t at;
        if (rng_below(&rng, 2)) {
            must(it->ops->seek_first(it, &test_err));
            at = 0;
        } else {
            must(it->ops->seek_last(it, &test_err));
            at = n - 1;
        }
        for (;;) {
            iter_suite_expect(it, all, n, at, "walk");
            if (rng_below(&rng, 20) == 0) break;
            bool forward = rng_below(&rng, 2);
            if (forward ? at + 1 == n : at == 0) break;
            must(forward ? it->ops->next(it, &test_err) : it->ops->prev(it, &test_err));
            at = forward ? at + 1 : at - 1;
        }
    }
    iter_close(it);
}
END_TEST

/* A child's error is returned once, makes the merge invalid, and a seek mends it. */
START_TEST(child_errors) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    struct iter *children[MAX_CHILDREN], *it;
    struct deal d;
    shape.key_count = 20;
    shape.max_value_bytes = 8;
    deal_out(&d, iter_suite_random(&rng, &shape), 4, false, &rng);
    ck_ok(merge_of(&d, children, &it));
    for (uint64_t n = 1; n < 40; n++) {
        array_iter_fail_at(children[rng_below(&rng, d.count)], n);
        int rc = 0;
        for (unsigned step = 0; step < 400 && rc == 0; step++) {
            if (!it->valid || step % 40 == 0)
                rc = step % 3 ? it->ops->seek_first(it, &test_err)
                              : it->ops->seek_last(it, &test_err);
            else
                rc = rng_below(&rng, 3) ? it->ops->next(it, &test_err)
                                        : it->ops->prev(it, &test_err);
        }
        ck_assert(rc == 0 || rc == KEVO_IOERR);
        ck_assert(rc == 0 || !it->valid);
        for (size_t c = 0; c < d.count; c++)
            array_iter_fail_at(children[c], 0);
        ck_ok(it->ops->seek_first(it, &test_err));
        iter_suite_expect(it, d.set->entries, d.set->count, 0, "seek_first");
    }
    iter_suite_check(it, d.set->entries, d.set->count, &rng);
    iter_close(it);
    deal_free(&d);
}
END_TEST

START_TEST(no_memory) {
    struct deal d = {.count = 3};
    struct iter *children[MAX_CHILDREN], *it;
    uint64_t before = fault_alloc_live();
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc; n++) {
        fault_alloc_fail_at(n, false);
        rc = merge_of(&d, children, &it);
        fault_alloc_fail_at(0, false);
        ck_assert_int_eq(rc, fault_alloc_hit() ? KEVO_NOMEM : 0);
        if (rc) {
            ck_assert_ptr_null(it);
            ck_assert_uint_eq(fault_alloc_live(), before);
            for (size_t c = 0; c < d.count; c++)
                iter_close(children[c]);
        }
    }
    iter_close(it);
    ck_assert_uint_eq(array_iter_live, 0);
    ck_assert_uint_eq(fault_alloc_live(), before);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("merge_iter");
    TCase *tcase = tcase_create("merge_iter");
    tcase_add_loop_test(tcase, random_merges, 0, 24);
    tcase_add_test(tcase, no_children);
    tcase_add_test(tcase, one_child_is_returned);
    tcase_add_loop_test(tcase, equal_entries, 0, 10);
    tcase_add_loop_test(tcase, child_errors, 0, 4);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
