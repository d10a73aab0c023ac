/* Sets of range tombstones against an array of keys. */
#include "engine/table/ranges.h"

#include <stdio.h>

#include "engine/tree/iter.h"
#include "tests/lib/harness.h"

/* Keys "00", "01", ...; a range ends before one of them, or at KEYS: never. */
enum { KEYS = 60, MAX_RANGES = 40 };

static char names[KEYS][3];

static void make_names(void) {
    for (int i = 0; i < KEYS; i++)
        snprintf(names[i], sizeof names[i], "%02d", i);
}

static slice key_at(int i) {
    return i < KEYS ? slice_of(names[i], 2) : range_end();
}

/* Every range that was added. */
struct model {
    struct {
        int lower, upper;
        uint64_t seq;
    } ranges[MAX_RANGES];
    int count;
};

static bool model_covers(const struct model *m, int range, int key) {
    return m->ranges[range].lower <= key && key < m->ranges[range].upper;
}

static uint64_t model_cover(const struct model *m, int key, uint64_t max_seq) {
    uint64_t best = 0;
    for (int i = 0; i < m->count; i++) {
        uint64_t seq = m->ranges[i].seq;
        if (model_covers(m, i, key) && seq <= max_seq && seq > best) best = seq;
    }
    return best;
}

static uint64_t model_above(const struct model *m, int key, uint64_t seq) {
    uint64_t best = SEQ_MAX;
    for (int i = 0; i < m->count; i++)
        if (model_covers(m, i, key) && m->ranges[i].seq > seq && m->ranges[i].seq < best)
            best = m->ranges[i].seq;
    return best;
}

static void model_add(struct model *m, struct range_list *list, int lower, int upper,
                      uint64_t seq) {
    ck_ok(range_list_add(list, key_at(lower), key_at(upper), seq, &test_err));
    if (lower >= upper) return;
    m->ranges[m->count].lower = lower;
    m->ranges[m->count].upper = upper;
    m->ranges[m->count++].seq = seq;
}

/* Fragments ascend, do not touch where they are alike, and have descending seqs. */
static void check_shape(const struct range_set *set) {
    uint64_t min = SEQ_MAX, max = 0;
    size_t seqs = 0;
    if (!set) return;
    ck_assert_uint_gt(set->count, 0);
    for (size_t i = 0; i < set->count; i++) {
        const struct range_fragment *f = &set->fragments[i], *before = f - 1;
        ck_assert_int_lt(slice_cmp(f->lower, f->upper), 0);
        ck_assert_uint_gt(f->seq_count, 0);
        for (size_t k = 0; k < f->seq_count; k++) {
            if (k) ck_assert_uint_lt(f->seqs[k], f->seqs[k - 1]);
            if (f->seqs[k] < min) min = f->seqs[k];
            if (f->seqs[k] > max) max = f->seqs[k];
        }
        seqs += f->seq_count;
        if (i == 0) continue;
        int c = slice_cmp(before->upper, f->lower);
        ck_assert_int_le(c, 0);
        ck_assert(c || before->seq_count != f->seq_count ||
                  memcmp(before->seqs, f->seqs, f->seq_count * sizeof *f->seqs) != 0);
    }
    ck_assert_uint_eq(set->seq_count, seqs);
    ck_assert_uint_eq(set->min_seq, min);
    ck_assert_uint_eq(set->max_seq, max);
}

static uint64_t cover(const struct range_set *set, int key, uint64_t max_seq) {
    return set ? range_set_cover(set, key_at(key), max_seq) : 0;
}

/* The end of the stretch around `key` with seqs above `seq`, upward. */
static int model_skip_up(const struct model *m, int key, uint64_t seq) {
    int at = key;
    while (at < KEYS && model_cover(m, at, SEQ_MAX) > seq)
        at++;
    return at;
}

static int model_skip_down(const struct model *m, int key, uint64_t seq) {
    int at = key;
    while (at >= 0 && model_cover(m, at, SEQ_MAX) > seq)
        at--;
    return at + 1;
}

static bool model_hides(const struct model *m, int first, int last, bool exclusive, uint64_t seq,
                        uint64_t *hider) {
    *hider = 0;
    for (int key = first; exclusive ? key < last : key <= last; key++) {
        uint64_t above = key < KEYS ? model_above(m, key, seq) : SEQ_MAX;
        if (above == SEQ_MAX) return false;
        if (above > *hider) *hider = above;
    }
    return true;
}

static void check_skips(const struct range_set *set, const struct model *m, int key, uint64_t seq) {
    slice up = range_set_skip_up(set, key_at(key), seq);
    slice down = range_set_skip_down(set, key_at(key), seq);
    int to = model_skip_up(m, key, seq);
    ck_assert_int_eq(up.data != NULL, to > key);
    ck_assert_int_eq(down.data != NULL, to > key);
    if (to == key) return;
    ck_assert(slice_eq(up, key_at(to)));
    ck_assert(slice_eq(down, key_at(model_skip_down(m, key, seq))));
}

static void check_set(const struct range_set *set, const struct model *m, struct rng *rng) {
    check_shape(set);
    for (int key = 0; key < KEYS; key++) {
        uint64_t seq = rng_below(rng, 30);
        ck_assert_uint_eq(cover(set, key, SEQ_MAX), model_cover(m, key, SEQ_MAX));
        ck_assert_uint_eq(cover(set, key, seq), model_cover(m, key, seq));
        if (!set) continue;
        ck_assert_uint_eq(range_set_above(set, key_at(key), seq), model_above(m, key, seq));
        check_skips(set, m, key, seq);
        int last = key + (int)rng_below(rng, (uint64_t)(KEYS - key + 1));
        bool exclusive = last == KEYS || (last > key && rng_below(rng, 2));
        uint64_t hider = 0, expected = 0;
        bool hides = range_set_hides(set, key_at(key), key_at(last), exclusive, seq, &hider);
        ck_assert_int_eq(hides, model_hides(m, key, last, exclusive, seq, &expected));
        if (hides) ck_assert_uint_eq(hider, expected);
    }
}

static void random_ranges(struct model *m, struct range_list *list, struct rng *rng,
                          uint64_t max_seq) {
    int count = (int)rng_below(rng, MAX_RANGES);
    for (int i = 0; i < count; i++) {
        int lower = (int)rng_below(rng, KEYS);
        int length = (int)rng_below(rng, rng_below(rng, 3) ? 6 : KEYS);
        int upper = lower + length > KEYS ? KEYS : lower + length;
        model_add(m, list, lower, upper, 1 + rng_below(rng, max_seq));
    }
}

static struct range_set *set_of(struct range_list *list, bool newest_only) {
    struct range_set *set;
    ck_ok(range_set_new(list, newest_only, &set, &test_err));
    range_list_release(list);
    return set;
}

START_TEST(against_a_model) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct model m = {.count = 0};
    struct range_list list = {0};
    make_names();
    random_ranges(&m, &list, &rng, 25);
    struct range_set *set = set_of(&list, false);
    check_set(set, &m, &rng);

    /* Cut at bounds. */
    int lower = (int)rng_below(&rng, KEYS), upper = lower + (int)rng_below(&rng, KEYS);
    uint64_t snapshot = rng_below(&rng, 25);
    if (upper > KEYS) upper = KEYS;
    ck_ok(range_list_add_set(&list, set, key_at(lower), key_at(upper), &test_err));
    struct range_set *part = set_of(&list, false);
    check_shape(part);
    for (int key = 0; key < KEYS; key++) {
        bool inside = key >= lower && key < upper;
        ck_assert_uint_eq(cover(part, key, snapshot), inside ? model_cover(&m, key, snapshot) : 0);
    }

    /* What a reader sees inside of them, and perhaps a little outside. */
    ck_ok(range_list_add_visible(&list, set, key_at(lower), key_at(upper), snapshot, &test_err));
    struct range_set *view = set_of(&list, true);
    check_shape(view);
    for (int key = 0; key < KEYS; key++) {
        uint64_t seen = model_cover(&m, key, snapshot), told = cover(view, key, SEQ_MAX);
        bool inside = key >= lower && key < upper;
        ck_assert(told == seen || (!inside && told == 0));
    }
    for (size_t i = 0; view && i < view->count; i++)
        ck_assert_uint_eq(view->fragments[i].seq_count, 1);

    /* In bytes and back. */
    struct buf bytes = {0};
    struct range_set *again;
    ck_ok(range_set_encode(set, &bytes, &test_err));
    ck_ok(range_set_decode(buf_slice(&bytes), &again, &test_err));
    ck_assert_int_eq(again != NULL, set != NULL);
    check_set(again, &m, &rng);

    range_set_free(set);
    range_set_free(part);
    range_set_free(view);
    range_set_free(again);
    buf_release(&bytes);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* The union of two sets has the tombstones of both. */
START_TEST(union_of_sets) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct model both = {.count = 0}, part;
    struct range_list list = {0}, all = {0};
    struct range_set *sets[2];
    make_names();
    for (int i = 0; i < 2; i++) {
        part.count = 0;
        random_ranges(&part, &list, &rng, 25);
        part.count = part.count > MAX_RANGES / 2 ? MAX_RANGES / 2 : part.count;
        if (list.count > (size_t)part.count) list.count = (size_t)part.count;
        for (int k = 0; k < part.count; k++)
            both.ranges[both.count++] = part.ranges[k];
        sets[i] = set_of(&list, false);
        ck_ok(range_list_add_set(&all, sets[i], slice_of(NULL, 0), slice_of(NULL, 0), &test_err));
    }
    struct range_set *set = set_of(&all, false);
    check_set(set, &both, &rng);
    range_set_free(set);
    range_set_free(sets[0]);
    range_set_free(sets[1]);
}
END_TEST

START_TEST(ends) {
    uint8_t longest[KEVO_MAX_KEY_BYTES];
    memset(longest, 0xff, sizeof longest);
    ck_assert_int_lt(slice_cmp(slice_of(longest, sizeof longest), range_end()), 0);
    ck_assert_int_lt(slice_cmp(slice_of(longest, 1), range_end()), 0);
    ck_assert_int_le(slice_cmp(range_start(), slice_of("\0", 1)), 0);
    struct range_list list = {0};
    ck_ok(range_list_add(&list, range_start(), range_end(), 7, &test_err));
    struct range_set *set = set_of(&list, false);
    struct buf bytes = {0};
    ck_ok(range_set_encode(set, &bytes, &test_err));
    ck_assert_uint_eq(bytes.len, 5); /* the open end takes no room */
    ck_assert_uint_eq(range_set_cover(set, slice_of(longest, sizeof longest), 7), 7);
    ck_assert_uint_eq(range_set_cover(set, slice_of(longest, sizeof longest), 6), 0);
    range_set_free(set);
    buf_release(&bytes);
}
END_TEST

/* Bytes that make no sense. */
static const struct {
    const char *bytes;
    size_t len;
} bad_cases[] = {
#define BAD(s)                                                                                     \
    { s, sizeof s - 1 }
    BAD("\1a\1a\1\5"),                                     /* empty */
    BAD("\1b\1a\1\5"),                                     /* upside down */
    BAD("\0\1a\1\5"),                                      /* no lower end */
    BAD("\1a\1b\0\5"),                                     /* no seq */
    BAD("\1a\1b\1\0"),                                     /* seq 0 */
    BAD("\1a\1b\2\5\5"),                                   /* down to 0 */
    BAD("\1a\1b\2\5\0"),                                   /* the same twice */
    BAD("\1a\1b\2\5"),                                     /* cut short */
    BAD("\1a\1b\1"),                                       /* cut short */
    BAD("\1a\1b\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\5"), /* more than there is */
    BAD("\1a\1b\1\x80\x80\x80\x80\x80\x80\x80\x80\x40"),   /* a seq of 2^62 */
    BAD("\1a\1c\1\5\1b\1d\1\6"),                           /* overlapping */
    BAD("\1c\1d\1\5\1a\1b\1\6"),                           /* out of order */
    BAD("\1a\0\1\5\1b\1d\1\6"),                            /* behind the end */
};

START_TEST(bytes_that_make_no_sense) {
    struct range_set *set;
    slice bytes = slice_of(bad_cases[_i].bytes, bad_cases[_i].len);
    ck_assert_int_eq(range_set_decode(bytes, &set, &test_err), KEVO_CORRUPT);
    ck_assert_ptr_null(set);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

START_TEST(no_memory) {
    make_names();
    for (uint64_t n = 1;; n++) {
        struct rng rng = rng_of(99);
        struct model m = {.count = 0};
        struct range_list list = {0};
        random_ranges(&m, &list, &rng, 25);
        struct buf bytes = {0};
        struct range_set *set = NULL, *again = NULL;
        fault_alloc_fail_at(n, false);
        int rc = range_set_new(&list, false, &set, &test_err);
        if (rc == 0) rc = range_set_encode(set, &bytes, &test_err);
        if (rc == 0) rc = range_set_decode(buf_slice(&bytes), &again, &test_err);
        fault_alloc_fail_at(0, false);
        ck_assert_int_eq(rc, fault_alloc_hit() ? KEVO_NOMEM : 0);
        range_list_release(&list);
        range_set_free(set);
        range_set_free(again);
        buf_release(&bytes);
        ck_assert_uint_eq(fault_alloc_live(), 0);
        if (rc == 0) break;
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ranges");
    TCase *tcase = tcase_create("ranges");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, against_a_model, 0, 300);
    tcase_add_loop_test(tcase, union_of_sets, 0, 100);
    tcase_add_test(tcase, ends);
    tcase_add_loop_test(tcase, bytes_that_make_no_sense, 0,
                        (int)(sizeof bad_cases / sizeof *bad_cases));
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
