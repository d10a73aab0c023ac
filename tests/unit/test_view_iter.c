#include "engine/tree/view_iter.h"

#include <stdlib.h>

#include "engine/tree/merge_iter.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/iter_suite.h"

/* ---- the model: what a reader sees, as a list of pairs --------------------------- */

struct pair {
    slice key, value;
};

struct model {
    struct pair *pairs;
    size_t count;
};

static bool in_bounds(slice key, slice lower, slice upper) {
    return (!lower.data || slice_cmp(key, lower) >= 0) &&
           (!upper.data || slice_cmp(key, upper) < 0);
}

static struct model model_of(const struct iter_suite_set *set, uint64_t snapshot, slice lower,
                             slice upper) {
    struct model m = {calloc(set->count + 1, sizeof(struct pair)), 0};
    bool decided = false;
    for (size_t i = 0; i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        if (i == 0 || !slice_eq(e->key, e[-1].key)) decided = false;
        if (decided || (e->seq > snapshot && e->seq < SEQ_PRIVATE)) continue;
        decided = true;
        if (e->type == ENTRY_PUT && in_bounds(e->key, lower, upper))
            m.pairs[m.count++] = (struct pair){e->key, e->value};
    }
    return m;
}

/* First pair with a key >= `key`. */
static size_t model_find(const struct model *m, slice key) {
    size_t i = 0;
    while (i < m->count && slice_cmp(m->pairs[i].key, key) < 0)
        i++;
    return i;
}

static void expect(const struct view_iter *v, const struct model *m, size_t at, const char *what) {
    if (at >= m->count) {
        if (v->entry.valid) ck_abort_msg("%s: valid, expected the end", what);
        return;
    }
    if (!v->entry.valid) ck_abort_msg("%s: invalid, expected pair %zu of %zu", what, at, m->count);
    if (!slice_eq(v->entry.key, m->pairs[at].key))
        ck_abort_msg("%s: key of pair %zu differs", what, at);
    if (!slice_eq(v->entry.value, m->pairs[at].value))
        ck_abort_msg("%s: value of pair %zu differs", what, at);
}

/* ---- walks ------------------------------------------------------------------------- */

static size_t jump(struct view_iter *v, const struct model *m, slice key, unsigned kind) {
    size_t at;
    switch (kind) {
    case 0:
        must(view_iter_first(v, &test_err));
        at = 0;
        break;
    case 1:
        must(view_iter_last(v, &test_err));
        at = m->count - 1;
        break;
    case 2:
        must(view_iter_seek(v, key, &test_err));
        at = model_find(m, key);
        break;
    default:
        must(view_iter_seek_for_prev(v, key, &test_err));
        at = model_find(m, key);
        if (at == m->count || !slice_eq(m->pairs[at].key, key)) at--;
    }
    expect(v, m, at, "jump");
    return at < m->count ? at : m->count;
}

static void check_scans(struct view_iter *v, const struct model *m) {
    must(view_iter_first(v, &test_err));
    for (size_t i = 0; i < m->count; i++) {
        expect(v, m, i, "scan");
        must(view_iter_next(v, &test_err));
    }
    expect(v, m, m->count, "scan");
    must(view_iter_last(v, &test_err));
    for (size_t i = m->count; i-- > 0;) {
        expect(v, m, i, "scan back");
        must(view_iter_prev(v, &test_err));
    }
    expect(v, m, m->count, "scan back");
}

static void check_view(struct view_iter *v, const struct model *m, const struct iter_suite_set *set,
                       struct rng *rng) {
    check_scans(v, m);
    size_t at = m->count;
    for (unsigned i = 0; i < 600 && set->count; i++) {
        if (at == m->count || rng_below(rng, 8) == 0) {
            slice key = set->entries[rng_below(rng, set->count)].key;
            if (v->entry.valid && rng_below(rng, 4) == 0)
                key = m->pairs[at].key;
            else if (key.len > 1 && rng_below(rng, 4) == 0)
                key.len--;
            at = jump(v, m, key, (unsigned)rng_below(rng, 4));
            continue;
        }
        bool forward = rng_below(rng, 2);
        must(forward ? view_iter_next(v, &test_err) : view_iter_prev(v, &test_err));
        at = forward ? at + 1 : at - 1;
        if (at > m->count) at = m->count;
        expect(v, m, at, forward ? "next" : "prev");
    }
}

/* Versions whose sequence numbers are small, some in a private buffer. */
static struct iter_suite_set *make_set(struct rng *rng, size_t keys, unsigned versions) {
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = keys;
    shape.max_versions = versions;
    shape.max_seq = 60;
    shape.max_value_bytes = 40;
    struct iter_suite_set *set = iter_suite_random(rng, &shape);
    for (size_t i = 0; i < set->count; i++) {
        bool newest = i == 0 || !slice_eq(set->entries[i].key, set->entries[i - 1].key);
        if (newest && rng_below(rng, 10) == 0) set->entries[i].seq += SEQ_PRIVATE;
    }
    return set;
}

static slice random_bound(struct rng *rng, const struct iter_suite_set *set) {
    return rng_below(rng, 3) ? set->entries[rng_below(rng, set->count)].key : slice_of(NULL, 0);
}

START_TEST(random_views) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_set *set = make_set(&rng, 1 + rng_below(&rng, 60), _i % 3 ? 60 : 3);
    for (unsigned round = 0; round < 12; round++) {
        uint64_t snapshot = rng_below(&rng, 64);
        slice lower = random_bound(&rng, set), upper = random_bound(&rng, set);
        struct model m = model_of(set, snapshot, lower, upper);
        struct view_iter v;
        must(view_iter_init(&v, array_iter_new(set->entries, set->count), snapshot, lower, upper,
                            &test_err));
        check_view(&v, &m, set, &rng);
        view_iter_release(&v);
        free(m.pairs);
    }
    ck_assert_uint_eq(array_iter_live, 0);
    iter_suite_free(set);
}
END_TEST

/* ---- named cases -------------------------------------------------------------------- */

#define PUT(k, s, v)                                                                               \
    {                                                                                              \
        {(const uint8_t *)(k), sizeof(k) - 1}, s, ENTRY_PUT, {                                     \
            (const uint8_t *)(v), sizeof(v) - 1                                                    \
        }                                                                                          \
    }
#define DEL(k, s)                                                                                  \
    {                                                                                              \
        {(const uint8_t *)(k), sizeof(k) - 1}, s, ENTRY_DELETE, {                                  \
            NULL, 0                                                                                \
        }                                                                                          \
    }

static const struct {
    const char *name;
    struct iter_suite_entry entries[6];
    size_t count;
    uint64_t snapshot;
    const char *seen; /* keys and values, in turn */
} cases[] = {
    {"nothing", {PUT("", 1, "")}, 0, 9, ""},
    {"newer than the snapshot", {PUT("a", 5, "1")}, 1, 4, ""},
    {"as new as the snapshot", {PUT("a", 5, "1")}, 1, 5, "a1"},
    {"empty value is a value", {PUT("a", 5, ""), PUT("b", 5, "2")}, 2, 5, "ab2"},
    {"tombstone hides", {DEL("a", 5), PUT("a", 4, "1"), PUT("b", 1, "2")}, 3, 5, "b2"},
    {"tombstone above the snapshot", {DEL("a", 5), PUT("a", 4, "1")}, 2, 4, "a1"},
    {"put, delete, put", {PUT("a", 6, "3"), DEL("a", 5), PUT("a", 4, "1")}, 3, 9, "a3"},
    {"own write wins", {PUT("a", SEQ_PRIVATE, "2"), PUT("a", 4, "1")}, 2, 9, "a2"},
    {"own write over the snapshot",
     {PUT("a", SEQ_PRIVATE, "2"), PUT("a", 9, "1"), PUT("a", 1, "0")},
     3,
     4,
     "a2"},
    {"own tombstone", {DEL("a", SEQ_PRIVATE + 3), PUT("a", 4, "1"), PUT("b", 1, "2")}, 3, 4, "b2"},
    {"prefixes",
     {PUT("a", 1, "1"), PUT("a\0", 1, "2"), PUT("a\0\0", 1, "3")},
     3,
     1,
     "a1a\0"
     "2a\0\0"
     "3"},
};

START_TEST(named_case) {
    struct view_iter v;
    must(view_iter_init(&v, array_iter_new(cases[_i].entries, cases[_i].count), cases[_i].snapshot,
                        slice_of(NULL, 0), slice_of(NULL, 0), &test_err));
    struct buf seen = {0};
    must(view_iter_first(&v, &test_err));
    for (; v.entry.valid; view_iter_next(&v, &test_err)) {
        ck_assert(buf_append(&seen, v.entry.key.data, v.entry.key.len));
        ck_assert(buf_append(&seen, v.entry.value.data, v.entry.value.len));
    }
    ck_assert(buf_append(&seen, "", 1));
    ck_assert_msg(memcmp(seen.data, cases[_i].seen, seen.len) == 0, "%s", cases[_i].name);
    buf_release(&seen);
    view_iter_release(&v);
}
END_TEST

/* Where two sources have a key, the rest of one of them is no stretch: its next key begins with the
 * one that the other is at, and that one has a key between the two. */
START_TEST(key_in_two_sources) {
    static const struct iter_suite_entry newer[] = {PUT("a", 5, "1"), PUT("ab", 5, "3")};
    static const struct iter_suite_entry older[] = {PUT("a", 4, "0"), PUT("aa", 4, "2")};
    struct iter *sources[] = {array_iter_new(newer, 2), array_iter_new(older, 2)}, *merged;
    struct view_iter v;
    struct buf seen = {0};
    must(merge_iter_new(sources, 2, &merged, &test_err));
    must(view_iter_init(&v, merged, 9, slice_of(NULL, 0), slice_of(NULL, 0), &test_err));
    must(view_iter_first(&v, &test_err));
    for (; v.entry.valid; view_iter_next(&v, &test_err))
        ck_assert(buf_append(&seen, v.entry.value.data, v.entry.value.len));
    ck_assert(slice_eq(buf_slice(&seen), slice_of_str("123")));
    buf_release(&seen);
    view_iter_release(&v);
}
END_TEST

/* ---- cost ------------------------------------------------------------------------------ */

enum { MANY = 2000 };

struct many {
    struct iter_suite_entry entries[MANY];
    uint8_t keys[MANY][4];
};

static struct many *many_tombstones(void) {
    struct many *m = calloc(1, sizeof *m);
    for (unsigned i = 0; i < MANY; i++) {
        uint8_t key[4] = {'k', (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        memcpy(m->keys[i], key, 4);
        m->entries[i] = (struct iter_suite_entry){slice_of(m->keys[i], 4), 3, ENTRY_DELETE, {0}};
    }
    return m;
}

/* Tombstones outside the bounds are not walked. */
START_TEST(bounds_stop_at_tombstones) {
    struct many *m = many_tombstones();
    struct view_iter v;
    must(view_iter_init(&v, array_iter_new(m->entries, MANY), 9, slice_of(m->keys[1000], 4),
                        slice_of(m->keys[1010], 4), &test_err));
    array_iter_motions = 0;
    must(view_iter_first(&v, &test_err));
    ck_assert(!v.entry.valid);
    must(view_iter_last(&v, &test_err));
    ck_assert(!v.entry.valid);
    must(view_iter_seek(&v, slice_of(m->keys[5], 4), &test_err));
    ck_assert(!v.entry.valid);
    must(view_iter_seek_for_prev(&v, slice_of(m->keys[1500], 4), &test_err));
    ck_assert(!v.entry.valid);
    ck_assert_uint_lt(array_iter_motions, 60);
    must(view_iter_seek(&v, slice_of(m->keys[1500], 4), &test_err));
    must(view_iter_seek_for_prev(&v, slice_of(m->keys[5], 4), &test_err));
    ck_assert_uint_lt(array_iter_motions, 60);
    view_iter_release(&v);
    free(m);
}
END_TEST

/* Thousands of versions of one key cost a seek or two, each way, whether they are
 * passed or not visible. */
START_TEST(many_versions_of_a_key) {
    struct iter_suite_entry *e = calloc(MANY + 2, sizeof *e);
    e[0] = (struct iter_suite_entry)PUT("a", 1, "first");
    for (unsigned i = 0; i < MANY; i++)
        e[1 + i] =
            (struct iter_suite_entry){slice_of_str("b"), MANY - i, ENTRY_PUT, slice_of_str("v")};
    e[MANY + 1] = (struct iter_suite_entry)PUT("c", 1, "last");
    for (uint64_t snapshot = 1; snapshot <= MANY; snapshot += 333) {
        struct view_iter v;
        must(view_iter_init(&v, array_iter_new(e, MANY + 2), snapshot, slice_of(NULL, 0),
                            slice_of(NULL, 0), &test_err));
        array_iter_motions = 0;
        static const char walk[] = ">>>>|<<<<|>><>><<>";
        must(view_iter_first(&v, &test_err));
        for (const char *w = walk; *w; w++) {
            if (*w == '|') {
                if (w[1] == '<') must(view_iter_last(&v, &test_err));
                if (w[1] == '>') must(view_iter_first(&v, &test_err));
            } else if (v.entry.valid) {
                must(*w == '>' ? view_iter_next(&v, &test_err) : view_iter_prev(&v, &test_err));
            }
        }
        ck_assert_uint_lt(array_iter_motions, 400);
        view_iter_release(&v);
    }
    free(e);
}
END_TEST

/* ---- faults --------------------------------------------------------------------------- */

START_TEST(source_errors) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_set *set = make_set(&rng, 12, 40);
    struct model m = model_of(set, 30, slice_of(NULL, 0), slice_of(NULL, 0));
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct iter *source = array_iter_new(set->entries, set->count);
        struct view_iter v;
        must(view_iter_init(&v, source, 30, slice_of(NULL, 0), slice_of(NULL, 0), &test_err));
        array_iter_fail_at(source, n);
        int rc = view_iter_first(&v, &test_err);
        while (rc == 0 && v.entry.valid)
            rc = view_iter_next(&v, &test_err);
        if (rc == 0) rc = view_iter_last(&v, &test_err);
        while (rc == 0 && v.entry.valid)
            rc = view_iter_prev(&v, &test_err);
        failed = rc != 0;
        ck_assert(!failed || (rc == KEVO_IOERR && !v.entry.valid));
        array_iter_fail_at(source, 0);
        check_scans(&v, &m);
        view_iter_release(&v);
    }
    free(m.pairs);
    iter_suite_free(set);
}
END_TEST

static int walk_with(struct iter *source, slice lower, slice upper, bool *taken) {
    struct view_iter v;
    int rc = view_iter_init(&v, source, 30, lower, upper, &test_err);
    *taken = rc == 0;
    if (rc) return rc;
    rc = view_iter_first(&v, &test_err);
    while (rc == 0 && v.entry.valid)
        rc = view_iter_next(&v, &test_err);
    if (rc == 0) rc = view_iter_last(&v, &test_err);
    while (rc == 0 && v.entry.valid)
        rc = view_iter_prev(&v, &test_err);
    view_iter_release(&v);
    return rc;
}

START_TEST(no_memory) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_set *set = make_set(&rng, 30, 20);
    uint64_t before = fault_alloc_live();
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc; n++) {
        struct iter *source = array_iter_new(set->entries, set->count);
        bool taken;
        fault_alloc_fail_at(n, n % 2);
        rc = walk_with(source, slice_of("\1", 1), slice_of("\xfe", 1), &taken);
        fault_alloc_fail_at(0, false);
        ck_assert_int_eq(rc, fault_alloc_hit() ? KEVO_NOMEM : 0);
        if (!taken) iter_close(source);
        ck_assert_uint_eq(fault_alloc_live(), before);
        ck_assert_uint_eq(array_iter_live, 0);
    }
    iter_suite_free(set);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("view_iter");
    TCase *tcase = tcase_create("view_iter");
    tcase_add_loop_test(tcase, random_views, 0, 40);
    tcase_add_loop_test(tcase, named_case, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tcase, key_in_two_sources);
    tcase_add_test(tcase, bounds_stop_at_tombstones);
    tcase_add_test(tcase, many_versions_of_a_key);
    tcase_add_test(tcase, source_errors);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
