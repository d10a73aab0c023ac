/* Iterators without what range tombstones hide. */
#include "engine/tree/hide_iter.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/tree/view_iter.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/iter_suite.h"

enum { MAX_SEQ = 60 };

static struct iter_suite_set *make_set(struct rng *rng) {
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 120;
    shape.max_versions = 4;
    shape.max_seq = MAX_SEQ;
    shape.max_value_bytes = 40;
    return iter_suite_random(rng, &shape);
}

/* Between keys of the set, with one sequence number a fragment. */
static struct range_set *make_hidden(struct rng *rng, const struct iter_suite_set *set,
                                     uint64_t max_seq) {
    struct range_list list = {0};
    struct range_set *hidden;
    for (uint64_t n = 1 + rng_below(rng, 12); n > 0; n--) {
        slice lower = set->entries[rng_below(rng, set->count)].key;
        slice upper = set->entries[rng_below(rng, set->count)].key;
        if (rng_below(rng, 12) == 0) lower = range_start();
        if (rng_below(rng, 12) == 0) upper = range_end();
        must(range_list_add(&list, lower, upper, 1 + rng_below(rng, max_seq), &test_err));
    }
    must(range_set_new(&list, true, &hidden, &test_err));
    range_list_release(&list);
    return hidden;
}

/* What of the set is left: all that no fragment with a seq > max_seq covers. */
static struct iter_suite_set *left_of(const struct iter_suite_set *set,
                                      const struct range_set *hidden, uint64_t max_seq) {
    struct iter_suite_entry *left = calloc(set->count + 1, sizeof *left);
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++) {
        uint64_t cover = hidden ? range_set_cover(hidden, set->entries[i].key, SEQ_MAX) : 0;
        if (cover <= max_seq) left[count++] = set->entries[i];
    }
    struct iter_suite_set *sorted = iter_suite_sorted(left, count);
    free(left);
    return sorted;
}

START_TEST(suite) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_set *set = make_set(&rng);
    struct range_set *hidden = make_hidden(&rng, set, 3 * MAX_SEQ / 2);
    if (hidden) {
        struct iter_suite_set *left = left_of(set, hidden, MAX_SEQ);
        struct iter *it;
        must(hide_iter_new(array_iter_new(set->entries, set->count), hidden, MAX_SEQ, &it,
                           &test_err));
        iter_suite_check(it, left->entries, left->count, &rng);
        iter_close(it);
        iter_suite_free(left);
        range_set_free(hidden);
    }
    iter_suite_free(set);
    ck_assert_uint_eq(fault_alloc_live(), 0);
    ck_assert_uint_eq(array_iter_live, 0);
}
END_TEST

/* A long stretch costs a few motions, whatever lies in it. */
START_TEST(stretches_are_jumped_over) {
    enum { MANY = 5000 };
    static char keys[MANY][8];
    static struct iter_suite_entry entries[MANY];
    struct range_list list = {0};
    struct range_set *hidden;
    struct iter *it;
    for (int i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "k%05d", i);
        entries[i] = (struct iter_suite_entry){slice_of_str(keys[i]), 5, ENTRY_PUT, {0}};
    }
    /* Two that touch, and one that is too old to hide anything. */
    must(range_list_add(&list, slice_of_str("k00003"), slice_of_str("k02000"), 6, &test_err));
    must(range_list_add(&list, slice_of_str("k02000"), slice_of_str("k04990"), 7, &test_err));
    must(range_list_add(&list, slice_of_str("k04991"), slice_of_str("k04995"), 5, &test_err));
    must(range_set_new(&list, true, &hidden, &test_err));
    must(hide_iter_new(array_iter_new(entries, MANY), hidden, 5, &it, &test_err));
    uint64_t before = array_iter_motions, count = 0;
    must(it->ops->seek_first(it, &test_err));
    for (; it->valid; count++)
        must(it->ops->next(it, &test_err));
    ck_assert_uint_eq(count, 13);
    must(it->ops->seek_last(it, &test_err));
    for (; it->valid; count++)
        must(it->ops->prev(it, &test_err));
    ck_assert_uint_eq(count, 26);
    ck_assert_uint_lt(array_iter_motions - before, 26 + 8);
    before = array_iter_motions;
    must(it->ops->seek(it, slice_of_str("k01000"), SEQ_MAX, &test_err));
    ck_assert(slice_eq(it->key, slice_of_str("k04990")));
    ck_assert_uint_eq(array_iter_motions - before, 1);
    iter_close(it);
    range_set_free(hidden);
    range_list_release(&list);
}
END_TEST

START_TEST(a_failing_source) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_set *set = make_set(&rng);
    struct range_set *hidden = NULL;
    while (!hidden)
        hidden = make_hidden(&rng, set, 3 * MAX_SEQ / 2);
    for (uint64_t n = 1;; n++) {
        struct iter *source = array_iter_new(set->entries, set->count), *it;
        array_iter_fail_at(source, n);
        must(hide_iter_new(source, hidden, MAX_SEQ / 2, &it, &test_err));
        int rc = it->ops->seek_first(it, &test_err);
        while (rc == 0 && it->valid)
            rc = it->ops->next(it, &test_err);
        if (rc == 0) rc = it->ops->seek_last(it, &test_err);
        while (rc == 0 && it->valid)
            rc = it->ops->prev(it, &test_err);
        if (rc) ck_assert_int_eq(rc, KEVO_IOERR);
        ck_assert(!it->valid);
        iter_close(it);
        if (rc == 0) break;
    }
    range_set_free(hidden);
    iter_suite_free(set);
}
END_TEST

/* ---- the same through a view ------------------------------------------------------------ */

/* The newest visible version of each key, if it is a value and nothing newer hides it. */
static size_t visible_rows(const struct iter_suite_set *set, const struct range_set *hidden,
                           uint64_t snapshot, const struct iter_suite_entry **rows) {
    size_t count = 0;
    bool decided = false;
    for (size_t i = 0; i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        if (i == 0 || !slice_eq(e->key, e[-1].key)) decided = false;
        if (decided || e->seq > snapshot) continue;
        decided = true;
        uint64_t cover = hidden ? range_set_cover(hidden, e->key, SEQ_MAX) : 0;
        if (e->type == ENTRY_PUT && cover <= e->seq) rows[count++] = e;
    }
    return count;
}

START_TEST(views) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_set *set = make_set(&rng);
    uint64_t snapshot = 1 + rng_below(&rng, MAX_SEQ);
    struct range_set *hidden = make_hidden(&rng, set, snapshot);
    const struct iter_suite_entry **rows = calloc(set->count + 1, sizeof *rows);
    size_t count = visible_rows(set, hidden, snapshot, rows), at = count;
    slice open = {NULL, 0};
    struct view_iter v;
    must(view_iter_init(&v, array_iter_new(set->entries, set->count), snapshot, open, open,
                        &test_err));
    view_iter_hide(&v, hidden);
    for (unsigned i = 0; i < 1500; i++) {
        if (at == count || rng_below(&rng, 30) == 0) {
            slice key = set->entries[rng_below(&rng, set->count)].key;
            bool up = rng_below(&rng, 2);
            must(up ? view_iter_seek(&v, key, &test_err)
                    : view_iter_seek_for_prev(&v, key, &test_err));
            for (at = 0; at < count && slice_cmp(rows[at]->key, key) < 0;)
                at++;
            if (!up && (at == count || !slice_eq(rows[at]->key, key))) at = at ? at - 1 : count;
        } else {
            bool up = rng_below(&rng, 5) < 3;
            must(up ? view_iter_next(&v, &test_err) : view_iter_prev(&v, &test_err));
            at = up ? at + 1 : at ? at - 1 : count;
        }
        ck_assert_int_eq(v.entry.valid, at < count);
        if (!v.entry.valid) continue;
        ck_assert(slice_eq(v.entry.key, rows[at]->key));
        ck_assert(slice_eq(v.entry.value, rows[at]->value));
    }
    view_iter_release(&v);
    range_set_free(hidden);
    free(rows);
    iter_suite_free(set);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("hide_iter");
    TCase *tcase = tcase_create("hide_iter");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, suite, 0, 20);
    tcase_add_test(tcase, stretches_are_jumped_over);
    tcase_add_test(tcase, a_failing_source);
    tcase_add_loop_test(tcase, views, 0, 30);
    suite_add_tcase(s, tcase);
    return harness_run(s);
}
