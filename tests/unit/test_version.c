#include "engine/tree/version.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/tree.h"

static struct tree tree;

static void setup(void) {
    tree_init(&tree);
}

static void teardown(void) {
    tree_release(&tree);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

/* ---- edits applied to made-up versions -------------------------------------------------- */

struct sketch {
    unsigned level;
    uint64_t number;
    const char *min, *max;
    uint64_t max_seq;
};

static struct table_file *file_of(const struct sketch *s) {
    struct table_properties p = {.entry_count = 10, .min_seq = 1, .max_seq = s->max_seq};
    return table_file_new(&tree.home, s->number, 100 + s->number, 0, &p, slice_of_str(s->min),
                          slice_of_str(s->max));
}

/* "1 2 | 3 |..." : the numbers in each level. */
static const char *describe(const struct version *v, char text[256]) {
    int at = 0;
    text[0] = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        uint64_t bytes = 0;
        if (v->levels[l].count) at += snprintf(text + at, 256 - (size_t)at, "L%u:", l);
        for (size_t i = 0; i < v->levels[l].count; i++) {
            bytes += v->levels[l].files[i]->size_bytes;
            at += snprintf(text + at, 256 - (size_t)at, " %d", (int)v->levels[l].files[i]->number);
        }
        if (v->levels[l].count) at += snprintf(text + at, 256 - (size_t)at, ";");
        ck_assert_uint_eq(bytes, v->levels[l].bytes);
    }
    return text;
}

static const struct sketch base_files[] = {
    {0, 1, "a", "m", 50}, {0, 2, "c", "z", 70}, {0, 3, "a", "b", 60},
    {1, 4, "d", "f", 40}, {1, 5, "h", "h", 45}, {2, 6, "a", "z", 30},
};

static const struct {
    const char *name;
    struct edit_delete deleted[4];
    size_t deleted_count;
    struct sketch added[4];
    const char *result; /* NULL: KEVO_CORRUPT */
} edit_cases[] = {
    {"nothing", {{0}}, 0, {{0}}, "L0: 2 3 1;L1: 4 5;L2: 6;"},
    {"level 0 is ordered by sequence numbers, not by file numbers",
     {{0}},
     0,
     {{0, 9, "a", "b", 55}, {0, 8, "a", "b", 80}},
     "L0: 8 2 3 9 1;L1: 4 5;L2: 6;"},
    {"level 1 is ordered by keys",
     {{0}},
     0,
     {{1, 9, "g", "g", 99}, {1, 7, "a", "c", 1}, {1, 8, "x", "y", 5}},
     "L0: 2 3 1;L1: 7 4 9 5 8;L2: 6;"},
    {"deletions", {{0, 2}, {0, 1}, {2, 6}}, 3, {{0}}, "L0: 3;L1: 4 5;"},
    {"a file in place of others",
     {{1, 4}, {1, 5}},
     2,
     {{1, 7, "d", "h", 45}},
     "L0: 2 3 1;L1: 7;L2: 6;"},
    {"a file that moves", {{1, 4}}, 1, {{3, 4, "d", "f", 40}}, "L0: 2 3 1;L1: 5;L2: 6;L3: 4;"},
    {"deleting what is not there", {{1, 6}}, 1, {{0}}, NULL},
    {"deleting twice", {{1, 4}, {1, 4}}, 2, {{0}}, NULL},
    {"adding what is there", {{0}}, 0, {{3, 4, "d", "f", 40}}, NULL},
    {"adding twice", {{0}}, 0, {{0, 9, "d", "f", 90}, {3, 9, "d", "f", 90}}, NULL},
    {"overlap with an old file", {{0}}, 0, {{1, 9, "f", "g", 90}}, NULL},
    {"overlap with a new file", {{0}}, 0, {{1, 9, "s", "u", 90}, {1, 10, "t", "t", 90}}, NULL},
    {"inside another", {{0}}, 0, {{2, 9, "k", "k", 90}}, NULL},
};

static struct version *base_version(void) {
    struct version *v = version_new();
    for (size_t i = 0; i < sizeof base_files / sizeof *base_files; i++)
        v = tree_add(v, base_files[i].level, file_of(&base_files[i]));
    return v;
}

static void edit_of(size_t i, struct version_edit *e) {
    edit_init(e);
    for (size_t d = 0; d < edit_cases[i].deleted_count; d++)
        must(edit_delete_file(e, edit_cases[i].deleted[d].level, edit_cases[i].deleted[d].number,
                              &test_err));
    for (size_t a = 0; a < 4 && edit_cases[i].added[a].min; a++) {
        struct table_file *f = file_of(&edit_cases[i].added[a]);
        must(edit_add_file(e, edit_cases[i].added[a].level, f, &test_err));
        table_file_unref(f);
    }
}

START_TEST(edit_case) {
    struct version *base = base_version(), *v;
    struct version_edit e;
    char text[256];
    edit_of((size_t)_i, &e);
    int rc = version_apply(base, &e, &v, &test_err);
    if (edit_cases[_i].result) {
        ck_ok(rc);
        ck_assert_str_eq(describe(v, text), edit_cases[_i].result);
    } else {
        ck_assert_int_eq(rc, KEVO_CORRUPT);
        ck_assert_ptr_null(v);
    }
    ck_assert_str_eq(describe(base, text), edit_cases[0].result);
    version_unref(v);
    version_unref(base);
    edit_release(&e);
}
END_TEST

START_TEST(apply_without_memory) {
    struct version *base = base_version(), *v = NULL;
    struct version_edit e;
    edit_of(2, &e);
    uint64_t before = fault_alloc_live();
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc; n++) {
        fault_alloc_fail_at(n, false);
        rc = version_apply(base, &e, &v, &test_err);
        fault_alloc_fail_at(0, false);
        ck_assert_int_eq(rc, fault_alloc_hit() ? KEVO_NOMEM : 0);
        if (rc) ck_assert_uint_eq(fault_alloc_live(), before);
    }
    version_unref(v);
    version_unref(base);
    edit_release(&e);
}
END_TEST

START_TEST(finding_files) {
    static const struct {
        const char *key;
        size_t at;
    } asked[] = {{"", 0}, {"a", 0}, {"d", 0}, {"e", 0}, {"f", 0}, {"f0", 1}, {"h", 1}, {"h0", 2}};
    struct version *v = base_version();
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        ck_assert_uint_eq(level_find(&v->levels[1], slice_of_str(asked[i].key)), asked[i].at);
    const struct table_file *f = v->levels[1].files[0]; /* d to f */
    slice open = slice_of(NULL, 0);
    ck_assert(table_file_overlaps(f, open, open));
    ck_assert(table_file_overlaps(f, slice_of_str("f"), open));
    ck_assert(!table_file_overlaps(f, slice_of_str("f0"), open));
    ck_assert(table_file_overlaps(f, open, slice_of_str("d0")));
    ck_assert(!table_file_overlaps(f, open, slice_of_str("d")));
    ck_assert(table_file_overlaps(f, slice_of_str("e"), slice_of_str("e0")));
    ck_assert(!table_file_overlaps(f, open, slice_of_str("")));
    version_unref(v);
}
END_TEST

START_TEST(names) {
    char name[TABLE_NAME_BYTES];
    table_file_name(name, 42);
    ck_assert_str_eq(name, "000042.sst");
    table_file_name(name, UINT64_MAX);
    ck_assert_str_eq(name, "18446744073709551615.sst");
}
END_TEST

/* ---- the life of a file -------------------------------------------------------------------- */

static const struct iter_suite_entry few[] = {
    {{(const uint8_t *)"a", 1}, 5, ENTRY_PUT, {(const uint8_t *)"x", 1}},
    {{(const uint8_t *)"b", 1}, 3, ENTRY_DELETE, {NULL, 0}},
};

START_TEST(obsolete_files_go_with_their_last_reference) {
    struct table_file *f = tree_write(&tree, few, 2), *g = tree_write(&tree, few, 2);
    struct version *v = tree_add(tree_add(version_new(), 0, f), 1, g);
    struct table *t;
    struct iter *it;
    ck_ok(table_file_borrow(f, &t, &test_err));
    ck_ok(level_iter_new(v, 1, slice_of(NULL, 0), slice_of(NULL, 0), true, &it, &test_err));
    ck_ok(it->ops->seek_first(it, &test_err));
    atomic_store(&f->obsolete, true);
    atomic_store(&g->obsolete, true);
    ck_assert_uint_eq(tree_file_count(&tree), 2);
    version_unref(v);
    ck_assert_uint_eq(tree_file_count(&tree), 2); /* the iterator holds the version */
    ck_assert(it->valid && slice_eq(it->key, few[0].key));
    iter_close(it);
    ck_assert_uint_eq(tree_file_count(&tree), 0);
    f = tree_write(&tree, few, 2);
    table_file_unref(f);
    ck_assert_uint_eq(tree_file_count(&tree), 1);
    table_file_unref(NULL);
    version_unref(NULL);
}
END_TEST

START_TEST(file_that_is_missing) {
    struct table_file *f = tree_write(&tree, few, 2);
    struct table *t;
    struct iter *it;
    struct table_value value;
    uint64_t checks = 0, rejects = 0;
    ck_ok(tree.memory->unlink(tree.memory, TREE_DIR "/000001.sst", &test_err));
    ck_assert_int_lt(table_file_borrow(f, &t, &test_err), 0);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "000001.sst"));
    ck_ok(file_iter_new(f, true, &it, &test_err));
    ck_assert_int_lt(it->ops->seek_first(it, &test_err), 0);
    ck_assert(!it->valid);
    iter_close(it);
    struct version *v = tree_add(version_new(), 0, f);
    ck_assert_int_lt(
        tree_get(v, &tree.home, few[0].key, 9, 0, &value, &checks, &rejects, &test_err), 0);
    version_unref(v);
}
END_TEST

struct opener {
    struct table_file *file;
    struct table *table;
    int rc;
};

static void open_it(void *arg) {
    struct opener *o = arg;
    o->rc = table_file_borrow(o->file, &o->table, NULL);
}

START_TEST(opened_once_by_many_threads) {
    struct table_file *f = tree_write(&tree, few, 2);
    struct opener openers[8];
    struct env_thread *threads[8];
    fault_env_plan(tree.fault, (struct fault_plan){.kinds = FAULT_OPEN});
    for (unsigned i = 0; i < 8; i++) {
        openers[i] = (struct opener){.file = f};
        ck_ok(tree.home.env->thread_start(tree.home.env, open_it, &openers[i], &threads[i],
                                          &test_err));
    }
    for (unsigned i = 0; i < 8; i++) {
        tree.home.env->thread_join(tree.home.env, threads[i]);
        ck_ok(openers[i].rc);
        ck_assert_ptr_eq(openers[i].table, openers[0].table);
    }
    ck_assert_uint_eq(fault_env_calls(tree.fault), 1);
    table_file_unref(f);
}
END_TEST

/* ---- walks ------------------------------------------------------------------------------------ */

static bool same_key(const struct iter_suite_set *set, size_t a, size_t b) {
    return slice_eq(set->entries[a].key, set->entries[b].key);
}

/* A level of several tables; versions of one key stay together. */
static struct version *split_level(const struct iter_suite_set *set, struct rng *rng) {
    struct version *v = version_new();
    for (size_t begin = 0, end; begin < set->count; begin = end) {
        end = begin + 1 + rng_below(rng, 40);
        if (end > set->count) end = set->count;
        while (end < set->count && same_key(set, end - 1, end))
            end++;
        v = tree_add(v, 3, tree_write(&tree, set->entries + begin, end - begin));
    }
    return v;
}

START_TEST(level_walks) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = _i == 0 ? 1 : 120;
    shape.max_key_bytes = 60;
    shape.max_value_bytes = 100;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct version *v = split_level(set, &rng);
    struct iter *it;
    ck_ok(level_iter_new(v, 3, slice_of(NULL, 0), slice_of(NULL, 0), _i % 2, &it, &test_err));
    version_unref(v);
    iter_suite_check(it, set->entries, set->count, &rng);
    iter_close(it);
    struct table_file *f = tree_write(&tree, set->entries, set->count);
    ck_ok(file_iter_new(f, _i % 2, &it, &test_err));
    table_file_unref(f);
    iter_suite_check(it, set->entries, set->count, &rng);
    iter_close(it);
    iter_suite_free(set);
}
END_TEST

START_TEST(empty_level) {
    struct rng rng = rng_of(harness_seed());
    struct version *v = version_new();
    struct iter *it;
    ck_ok(level_iter_new(v, 1, slice_of_str("a"), slice_of_str("b"), true, &it, &test_err));
    iter_suite_check(it, NULL, 0, &rng);
    iter_close(it);
    version_unref(v);
}
END_TEST

/* Files outside the bounds are not opened, and what lies inside is all there. */
START_TEST(bounded_walks) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 100;
    shape.max_key_bytes = 30;
    shape.max_value_bytes = 20;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct version *v = split_level(set, &rng);
    for (unsigned round = 0; round < 50; round++) {
        size_t low = rng_below(&rng, set->count), high = rng_below(&rng, set->count);
        slice lower = set->entries[low].key, upper = set->entries[high].key;
        size_t inside = 0, seen = 0;
        for (size_t i = 0; i < set->count; i++)
            inside += slice_cmp(set->entries[i].key, lower) >= 0 &&
                      slice_cmp(set->entries[i].key, upper) < 0;
        struct iter *it;
        must(level_iter_new(v, 3, lower, upper, true, &it, &test_err));
        must(it->ops->seek(it, lower, SEQ_MAX, &test_err));
        for (; it->valid && slice_cmp(it->key, upper) < 0; seen++)
            must(it->ops->next(it, &test_err));
        if (seen != inside) ck_abort_msg("%zu of %zu", seen, inside);
        must(it->ops->seek_before(it, upper, &test_err));
        for (seen = 0; it->valid && slice_cmp(it->key, lower) >= 0; seen++)
            must(it->ops->prev(it, &test_err));
        if (seen != inside) ck_abort_msg("%zu of %zu back", seen, inside);
        iter_close(it);
    }
    for (size_t i = 0; i < v->levels[3].count; i++) {
        struct table_file *f = v->levels[3].files[i];
        struct iter *it;
        size_t mid = rng_below(&rng, v->levels[3].count);
        slice lower = buf_slice(&v->levels[3].files[mid]->min_key);
        slice upper = buf_slice(&v->levels[3].files[mid]->max_key);
        if (i == mid) continue;
        char name[TABLE_NAME_BYTES];
        table_file_name(name, f->number);
        fault_env_plan(tree.fault, (struct fault_plan){.kinds = FAULT_ALL, .path = name});
        must(level_iter_new(v, 3, lower, upper, true, &it, &test_err));
        must(it->ops->seek_first(it, &test_err));
        while (it->valid)
            must(it->ops->next(it, &test_err));
        must(it->ops->seek_last(it, &test_err));
        if (fault_env_calls(tree.fault)) ck_abort_msg("%s was touched", name);
        iter_close(it);
    }
    version_unref(v);
    iter_suite_free(set);
}
END_TEST

static int walk_level(struct version *v) {
    struct iter *it;
    int rc = level_iter_new(v, 3, slice_of(NULL, 0), slice_of(NULL, 0), true, &it, &test_err);
    if (rc) return rc;
    rc = it->ops->seek_first(it, &test_err);
    while (rc == 0 && it->valid)
        rc = it->ops->next(it, &test_err);
    if (rc == 0) rc = it->ops->seek_last(it, &test_err);
    while (rc == 0 && it->valid)
        rc = it->ops->prev(it, &test_err);
    ck_assert(!it->valid);
    iter_close(it);
    return rc;
}

START_TEST(failing_walks) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 50;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    int rc = 1;
    for (uint64_t n = 1; rc; n++) {
        struct version *v = split_level(set, &rng); /* anew: an opened file stays so */
        fault_env_plan(tree.fault, (struct fault_plan){.kinds = FAULT_ALL, .nth = n});
        rc = walk_level(v);
        ck_assert_int_eq(rc, fault_env_hit(tree.fault) ? KEVO_IOERR : 0);
        fault_env_plan(tree.fault, (struct fault_plan){0});
        if (rc) ck_ok(walk_level(v));
        version_unref(v);
    }
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        struct version *v = split_level(set, &rng);
        fault_alloc_fail_at(n, n % 2);
        rc = walk_level(v);
        hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        /* The cache may do without some of its memory. */
        ck_assert(rc == 0 || (rc == KEVO_NOMEM && hit));
        ck_ok(walk_level(v));
        version_unref(v);
    }
    iter_suite_free(set);
}
END_TEST

/* ---- lookups ------------------------------------------------------------------------------------ */

static const struct iter_suite_entry *newest(const struct iter_suite_set *set, slice key,
                                             uint64_t max_seq) {
    size_t i = iter_suite_seek_index(set->entries, set->count, key, max_seq);
    return i < set->count && slice_eq(set->entries[i].key, key) ? &set->entries[i] : NULL;
}

/* Versions thrown into any table of level 0 and of disjoint ones below: whatever the
 * places, the sequence number decides. */
static struct version *scatter(const struct iter_suite_set *set, struct rng *rng) {
    enum { TOP = 4, DEEP = 3 };
    struct iter_suite_entry *parts[TOP + DEEP];
    size_t sizes[TOP + DEEP] = {0};
    struct version *v = version_new();
    for (size_t p = 0; p < TOP + DEEP; p++)
        parts[p] = calloc(set->count, sizeof *parts[p]);
    for (size_t i = 0; i < set->count; i++) {
        size_t p = rng_below(rng, TOP + DEEP);
        parts[p][sizes[p]++] = set->entries[i];
    }
    for (size_t p = 0; p < TOP + DEEP; p++) {
        unsigned level = p < TOP ? 0 : (unsigned)(p - TOP) * 2 + 1;
        if (sizes[p]) v = tree_add(v, level, tree_write(&tree, parts[p], sizes[p]));
        free(parts[p]);
    }
    return v;
}

static void check_get(const struct version *v, const struct iter_suite_set *set, slice key,
                      uint64_t max_seq) {
    const struct iter_suite_entry *e = newest(set, key, max_seq);
    struct table_value value;
    uint64_t checks = 0, rejects = 0;
    int rc = tree_get(v, &tree.home, key, max_seq, 0, &value, &checks, &rejects, &test_err);
    if (rc < 0) ck_abort_msg("%s", test_err.msg);
    if ((rc == 0) != (e != NULL))
        ck_abort_msg("rc %d, max_seq %llu", rc, (unsigned long long)max_seq);
    if (e && (value.seq != e->seq || value.type != e->type || !slice_eq(value.value, e->value)))
        ck_abort_msg("seq %d, expected %d", (int)value.seq, (int)e->seq);
    if (value.block) cache_unpin(tree.cache, value.block);
    if (rejects > checks) ck_abort_msg("filter statistics");
}

START_TEST(random_gets) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 150;
    shape.max_seq = 200;
    shape.max_key_bytes = 40;
    shape.max_value_bytes = 60;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct version *v = scatter(set, &rng);
    for (size_t i = 0; i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        check_get(v, set, e->key, SEQ_MAX);
        check_get(v, set, e->key, e->seq);
        check_get(v, set, e->key, e->seq - 1);
        check_get(v, set, e->key, rng_below(&rng, 220));
        check_get(v, set, slice_of(e->key.data, e->key.len - 1), SEQ_MAX);
        if (i + 1 < set->count) check_get(v, set, set->entries[i + 1].key, e->seq);
    }
    version_unref(v);
    iter_suite_free(set);
}
END_TEST

/* Once the newest is found, tables that only have older entries are not opened. */
START_TEST(gets_stop_early) {
    struct iter_suite_entry e[3][2];
    struct version *v = version_new();
    for (unsigned i = 0; i < 3; i++) {
        e[i][0] = few[0];
        e[i][1] = few[1];
        e[i][0].seq = e[i][1].seq = 30 - 10 * i;
        v = tree_add(v, i, tree_write(&tree, e[i], 2));
    }
    struct table_value value;
    uint64_t checks = 0, rejects = 0;
    fault_env_plan(tree.fault, (struct fault_plan){.kinds = FAULT_OPEN});
    ck_ok(tree_get(v, &tree.home, few[0].key, 99, 0, &value, &checks, &rejects, &test_err));
    ck_assert_uint_eq(value.seq, 30);
    if (value.block) cache_unpin(tree.cache, value.block);
    ck_assert_uint_eq(checks, 1);
    ck_assert_uint_eq(fault_env_calls(tree.fault), 1);
    /* A snapshot does not even look into tables that are all newer. */
    ck_ok(tree_get(v, &tree.home, few[1].key, 15, 0, &value, &checks, &rejects, &test_err));
    ck_assert_uint_eq(value.seq, 10);
    ck_assert_int_eq(value.type, ENTRY_DELETE);
    if (value.block) cache_unpin(tree.cache, value.block);
    ck_assert_uint_eq(checks, 2);
    ck_assert_uint_eq(fault_env_calls(tree.fault), 2);
    ck_assert_int_eq(
        tree_get(v, &tree.home, slice_of_str("aa"), 99, 0, &value, &checks, &rejects, &test_err),
        KEVO_NOTFOUND);
    ck_assert_ptr_null(value.block);
    version_unref(v);
}
END_TEST

START_TEST(failing_gets) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 40;
    shape.max_seq = 50;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    slice key = set->entries[set->count / 2].key;
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        struct version *v = scatter(set, &rng);
        struct table_value value;
        uint64_t checks = 0, rejects = 0;
        fault_alloc_fail_at(n, n % 2);
        int rc = tree_get(v, &tree.home, key, SEQ_MAX, 0, &value, &checks, &rejects, &test_err);
        hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        /* The cache may do without some of its memory. */
        ck_assert(rc == 0 || (rc == KEVO_NOMEM && hit && !value.block));
        if (rc == 0) ck_assert_uint_eq(value.seq, newest(set, key, SEQ_MAX)->seq);
        if (value.block) cache_unpin(tree.cache, value.block);
        version_unref(v);
    }
    iter_suite_free(set);
}
END_TEST

/* ---- estimates -------------------------------------------------------------------------------------- */

START_TEST(estimates) {
    struct rng rng = rng_of(harness_seed());
    enum { ROWS = 3000 };
    struct iter_suite_entry *e = calloc(ROWS, sizeof *e);
    char(*keys)[16] = calloc(ROWS, sizeof *keys);
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(keys[i], sizeof keys[i], "%08u", i);
        e[i] = (struct iter_suite_entry){slice_of_str(keys[i]), 1 + i, ENTRY_PUT,
                                         slice_of_str("a value of some length")};
    }
    struct version *v = version_new();
    uint64_t total = 0;
    for (unsigned i = 0; i < ROWS; i += 500) { /* every row twice: in level 0 and in level 2 */
        v = tree_add(v, 2, tree_write(&tree, e + i, 500));
        v = tree_add(v, 0, tree_write(&tree, e + i, 500));
    }
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        total += v->levels[l].bytes;
    for (unsigned i = 0; i < 300; i++) {
        uint64_t low = rng_below(&rng, ROWS), high = rng_below(&rng, ROWS), entries, bytes;
        ck_ok(version_estimate(v, e[low].key, e[high].key, NULL, &entries, &bytes, &test_err));
        uint64_t expected = high > low ? 2 * (high - low) : 0;
        uint64_t slack = expected ? 200 : 0;
        ck_assert_uint_le(entries, expected + slack);
        ck_assert_uint_ge(entries + slack, expected);
        ck_assert_uint_le(bytes, total);
        ck_assert_uint_ge(bytes + total / 10, total * expected / (2 * ROWS));
    }
    uint64_t entries, bytes;
    ck_ok(version_estimate(v, slice_of(NULL, 0), slice_of(NULL, 0), NULL, &entries, &bytes,
                           &test_err));
    ck_assert_uint_eq(entries, 2 * ROWS);
    ck_assert_uint_eq(bytes, total);
    ck_ok(version_estimate(v, slice_of_str("x"), slice_of(NULL, 0), NULL, &entries, &bytes,
                           &test_err));
    ck_assert_uint_eq(entries + bytes, 0);
    version_unref(v);
    free(keys);
    free(e);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("version");
    TCase *tcase = tcase_create("version");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, edit_case, 0, (int)(sizeof edit_cases / sizeof *edit_cases));
    tcase_add_test(tcase, apply_without_memory);
    tcase_add_test(tcase, finding_files);
    tcase_add_test(tcase, names);
    tcase_add_test(tcase, obsolete_files_go_with_their_last_reference);
    tcase_add_test(tcase, file_that_is_missing);
    tcase_add_test(tcase, opened_once_by_many_threads);
    tcase_add_loop_test(tcase, level_walks, 0, 6);
    tcase_add_test(tcase, empty_level);
    tcase_add_loop_test(tcase, bounded_walks, 0, 4);
    tcase_add_test(tcase, failing_walks);
    tcase_add_loop_test(tcase, random_gets, 0, 6);
    tcase_add_test(tcase, gets_stop_early);
    tcase_add_test(tcase, failing_gets);
    tcase_add_test(tcase, estimates);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
