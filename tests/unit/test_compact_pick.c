#include "engine/tree/compact_pick.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/tree/manifest.h"
#include "tests/lib/array_iter.h"

/* ---- versions made up from text ---------------------------------------------------- */

static const struct table_home home; /* without a cache: tables are never opened */

struct sketch {
    unsigned level;
    uint64_t number;
    const char *min, *max;
    uint64_t size_bytes, tombstones, old; /* of 1,000 entries */
};

static struct table_file *file_of(const struct sketch *s) {
    struct table_properties p = {.entry_count = 1000, .tombstone_count = s->tombstones};
    /* In level 0 the numbers tell the age. */
    p.min_seq = s->number * 100;
    p.max_seq = s->number * 100 + 99;
    p.key_count = p.entry_count - s->old;
    if (s->tombstones || s->old) p.garbage_seq = p.min_seq + 50;
    return table_file_new(&home, s->number, s->size_bytes, 0, &p, slice_of_str(s->min),
                          slice_of_str(s->max));
}

static struct version *version_of(const struct sketch *s, size_t count) {
    struct version_edit e;
    struct version *empty = version_new(), *v;
    edit_init(&e);
    for (size_t i = 0; i < count && s[i].min; i++) {
        struct table_file *f = file_of(&s[i]);
        must(edit_add_file(&e, s[i].level, f, &test_err));
        table_file_unref(f);
    }
    must(version_apply(empty, &e, &v, &test_err));
    version_unref(empty);
    edit_release(&e);
    return v;
}

static const struct compact_options options = {.l0_trigger = 4,
                                               .level1_bytes = 100,
                                               .level_factor = 10,
                                               .table_bytes = 10,
                                               .oldest_snapshot = 1000};

/* "L1 move 3 4 | 7": level, whether it moves or stays, inputs[0] and inputs[1]. */
static const char *describe(const struct compaction *c, char text[256]) {
    int at = snprintf(text, 256, "L%u%s", c->level,
                      c->trivial_move               ? " move"
                      : c->output_level == c->level ? " stay"
                                                    : "");
    for (unsigned side = 0; side < 2; side++) {
        if (side) at += snprintf(text + at, 256 - (size_t)at, " |");
        for (size_t i = 0; i < c->input_count[side]; i++)
            at += snprintf(text + at, 256 - (size_t)at, " %llu",
                           (unsigned long long)c->inputs[side][i]->number);
    }
    return text;
}

/* ---- named cases ---------------------------------------------------------------------- */

static const struct {
    const char *name;
    struct sketch files[16];
    const char *picked;
} cases[] = {
    {"empty", {{0}}, NULL},
    {"below the trigger",
     {{0, 1, "a", "z", 5, 0, 0}, {0, 2, "a", "z", 5, 0, 0}, {0, 3, "a", "z", 5, 0, 0}},
     NULL},
    {"all of level 0 overlaps",
     {{0, 1, "a", "z", 5, 0, 0},
      {0, 2, "b", "z", 5, 0, 0},
      {0, 3, "a", "y", 5, 0, 0},
      {0, 4, "a", "z", 5, 0, 0},
      {1, 9, "c", "d", 5, 0, 0}},
     "L0 4 3 2 1 | 9"},
    {"the oldest and what hangs on it, in steps",
     {{0, 1, "a", "c", 5, 0, 0},
      {0, 2, "c", "f", 5, 0, 0},
      {0, 3, "f", "h", 5, 0, 0},
      {0, 4, "x", "z", 5, 0, 0},
      {1, 9, "h", "i", 5, 0, 0},
      {1, 10, "j", "k", 5, 0, 0}},
     "L0 3 2 1 | 9"},
    {"a longer chain",
     {{0, 1, "a", "b", 90, 0, 0},
      {0, 2, "b", "c", 90, 0, 0},
      {0, 3, "c", "d", 90, 0, 0},
      {0, 4, "d", "e", 90, 0, 0},
      {0, 5, "e", "f", 90, 0, 0},
      {0, 6, "g", "h", 90, 0, 0}},
     "L0 5 4 3 2 1 |"},
    {"a lone file of level 0 moves",
     {{0, 1, "a", "c", 5, 0, 0},
      {0, 2, "d", "f", 5, 0, 0},
      {0, 3, "g", "h", 5, 0, 0},
      {0, 4, "x", "z", 5, 0, 0}},
     "L0 move 1 |"},
    {"a newer file that touches it by one key comes along",
     {{0, 1, "a", "c", 5, 0, 0},
      {0, 2, "d", "f", 5, 0, 0},
      {0, 3, "g", "h", 5, 0, 0},
      {0, 4, "c", "c", 5, 0, 0}},
     "L0 4 1 |"},
    {"level 1 is too big: its first file",
     {{1, 1, "a", "c", 60, 0, 0}, {1, 2, "d", "f", 60, 0, 0}, {2, 3, "b", "e", 60, 0, 0}},
     "L1 1 2 | 3"},
    {"not widened where that reaches more below",
     {{1, 1, "a", "c", 60, 0, 0},
      {1, 2, "d", "f", 60, 0, 0},
      {2, 3, "b", "e", 60, 0, 0},
      {2, 4, "f", "g", 60, 0, 0}},
     "L1 1 | 3"},
    {"not widened beyond a bound of bytes",
     {{1, 1, "a", "c", 60, 0, 0}, {1, 2, "d", "f", 160, 0, 0}, {2, 3, "b", "e", 60, 0, 0}},
     "L1 2 | 3"},
    {"level 0 is widened too",
     {{0, 1, "a", "c", 5, 0, 0},
      {0, 2, "d", "f", 5, 0, 0},
      {0, 3, "p", "q", 5, 0, 0},
      {0, 4, "x", "z", 5, 0, 0},
      {1, 9, "b", "g", 5, 0, 0}},
     "L0 2 1 | 9"},
    {"the file that overlaps least for its size",
     {{1, 1, "a", "c", 60, 0, 0},
      {1, 2, "d", "f", 20, 0, 0},
      {1, 3, "g", "i", 60, 0, 0},
      {2, 4, "b", "e", 60, 0, 0},
      {2, 5, "h", "l", 40, 0, 0}},
     "L1 3 | 5"},
    {"level 2 holds a tenth of level 3",
     {{2, 1, "a", "c", 60, 0, 0}, {2, 2, "d", "f", 60, 0, 0}, {3, 3, "a", "c", 1100, 0, 0}},
     "L2 move 2 |"},
    {"but never less than level 1",
     {{2, 1, "a", "c", 50, 0, 0}, {2, 2, "d", "f", 49, 0, 0}, {3, 3, "a", "c", 900, 0, 0}},
     NULL},
    {"level 0 small against what it overlaps: its newest files become one",
     {{0, 1, "a", "z", 1, 0, 0},
      {0, 2, "b", "z", 1, 0, 0},
      {0, 3, "a", "y", 1, 0, 0},
      {0, 4, "a", "z", 1, 0, 0},
      {1, 9, "c", "d", 17, 0, 0}},
     "L0 stay 4 3 2 1 |"},
    {"not a large one with small ones",
     {{0, 1, "a", "z", 7, 0, 0},
      {0, 2, "b", "z", 1, 0, 0},
      {0, 3, "a", "y", 1, 0, 0},
      {0, 4, "a", "z", 1, 0, 0},
      {1, 9, "c", "d", 41, 0, 0}},
     "L0 stay 4 3 2 |"},
    {"all of them when no two are alike",
     {{0, 1, "a", "z", 4, 0, 0},
      {0, 2, "b", "z", 3, 0, 0},
      {0, 3, "a", "y", 3, 0, 0},
      {0, 4, "a", "z", 1, 0, 0},
      {1, 9, "c", "d", 99, 0, 0}},
     "L0 4 3 2 1 | 9"},
    {"a file that is not compressed does not move where it should be",
     {{4, 1, "a", "c", 150000, 0, 0}},
     "L4 1 |"},
    {"a move needs little two levels below",
     {{1, 1, "a", "c", 60, 0, 0}, {1, 2, "d", "f", 60, 0, 0}, {3, 3, "b", "e", 100, 0, 0}},
     "L1 move 1 |"},
    {"no move onto much two levels below",
     {{1, 1, "a", "c", 60, 0, 0}, {1, 2, "d", "f", 60, 0, 0}, {3, 3, "b", "e", 101, 0, 0}},
     "L1 1 |"},
    {"no move of tombstones that hide nothing",
     {{1, 1, "a", "c", 60, 1, 0}, {1, 2, "d", "f", 60, 0, 0}},
     "L1 1 |"},
    {"a move of tombstones that hide something",
     {{1, 1, "a", "c", 60, 1, 0}, {1, 2, "d", "f", 60, 0, 0}, {4, 3, "b", "b", 60, 0, 0}},
     "L1 move 1 |"},
    {"the highest score wins",
     {{0, 1, "a", "z", 5, 0, 0},
      {0, 2, "b", "z", 5, 0, 0},
      {0, 3, "a", "y", 5, 0, 0},
      {0, 4, "a", "z", 5, 0, 0},
      {1, 9, "c", "d", 101, 0, 0},
      {2, 10, "c", "d", 2000, 0, 0}},
     "L2 move 10 |"},
    {"tombstones, a quarter, with something below",
     {{2, 1, "a", "c", 5, 250, 0}, {3, 2, "b", "b", 5, 0, 0}},
     "L2 1 | 2"},
    {"fewer", {{2, 1, "a", "c", 5, 249, 0}, {3, 2, "b", "b", 5, 0, 0}}, NULL},
    {"with something far below",
     {{2, 1, "a", "c", 5, 250, 0}, {5, 2, "b", "b", 5, 0, 0}},
     "L2 move 1 |"},
    {"with nothing below", {{2, 1, "a", "c", 5, 250, 0}, {3, 2, "d", "e", 5, 0, 0}}, "L2 stay 1 |"},
    {"in the last level", {{6, 1, "a", "c", 5, 250, 0}}, "L6 stay 1 |"},
    {"old versions", {{2, 1, "a", "c", 5, 0, 250}}, "L2 stay 1 |"},
    {"together", {{2, 1, "a", "c", 5, 100, 150}}, "L2 stay 1 |"},
    {"a snapshot needs them", {{2, 10, "a", "c", 5, 0, 250}}, NULL},
    {"a snapshot needs one of them",
     {{2, 10, "a", "c", 5, 250, 0}, {3, 2, "b", "b", 5, 0, 0}},
     NULL},
    {"level 0: half", {{0, 1, "a", "c", 5, 500, 0}, {0, 2, "b", "d", 5, 0, 0}}, "L0 2 1 |"},
    {"level 0: fewer", {{0, 1, "a", "c", 5, 499, 0}}, NULL},
    {"level 0: old versions do not count", {{0, 1, "a", "c", 5, 0, 900}}, NULL},
    {"a level that asks goes first",
     {{1, 1, "a", "c", 101, 0, 0}, {2, 2, "b", "d", 5, 250, 0}},
     "L1 1 | 2"},
    {"nothing below the last level", {{6, 1, "a", "z", 1000000000, 0, 0}}, NULL},
};

START_TEST(named_case) {
    struct version *v = version_of(cases[_i].files, 16);
    struct compaction c;
    char text[256];
    struct compact_options o = options;
    o.compression[5] = KEVO_COMPRESSION_LZ4;
    int rc = compact_pick(v, &o, &c, &test_err);
    if (rc == 0) ck_assert(compact_is_due(v, &o));
    if (cases[_i].picked) {
        ck_ok(rc);
        ck_assert_str_eq(describe(&c, text), cases[_i].picked);
    } else {
        ck_assert_int_eq(rc, KEVO_NOTFOUND);
    }
    compaction_release(&c);
    version_unref(v);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* ---- rules that hold for every version ------------------------------------------------- */

enum { FILES = 24 };

struct names {
    char text[2 * FILES][8];
};

/* Files of levels 0 to 4; deeper levels take disjoint stretches in turn. */
static struct version *random_version(struct rng *rng, struct names *names) {
    struct sketch s[FILES];
    unsigned at[KEVO_MAX_LEVELS] = {0};
    for (unsigned i = 0; i < FILES; i++) {
        unsigned level = (unsigned)rng_below(rng, 5);
        unsigned min =
            level ? at[level] + (unsigned)rng_below(rng, 60) : (unsigned)rng_below(rng, 900);
        unsigned max = min + (unsigned)rng_below(rng, 40);
        at[level] = max + 1;
        snprintf(names->text[2 * i], 8, "%05u", min);
        snprintf(names->text[2 * i + 1], 8, "%05u", max);
        s[i] = (struct sketch){level,
                               i + 1,
                               names->text[2 * i],
                               names->text[2 * i + 1],
                               1 + rng_below(rng, 80),
                               rng_below(rng, 2) * rng_below(rng, 1000),
                               0};
    }
    return version_of(s, FILES);
}

static bool picked(const struct compaction *c, unsigned side, const struct table_file *f) {
    for (size_t i = 0; i < c->input_count[side]; i++)
        if (c->inputs[side][i] == f) return true;
    return false;
}

static bool touches(const struct table_file *a, const struct table_file *b) {
    return slice_cmp(buf_slice(&a->min_key), buf_slice(&b->max_key)) <= 0 &&
           slice_cmp(buf_slice(&b->min_key), buf_slice(&a->max_key)) <= 0;
}

static bool touches_inputs(const struct compaction *c, const struct table_file *f) {
    for (size_t i = 0; i < c->input_count[0]; i++)
        if (touches(f, c->inputs[0][i])) return true;
    return false;
}

/* Rewritten where they are: neighbours, so that what comes of them overlaps nothing. In
 * level 0 neighbours in age: else old versions would come to lie above newer ones. */
static void check_stay(const struct compaction *c) {
    const struct level *l = &c->version->levels[c->level];
    size_t first = 0;
    if (c->input_count[1] || c->trivial_move) ck_abort_msg("inputs below");
    while (l->files[first] != c->inputs[0][0])
        first++;
    for (size_t i = 0; i < c->input_count[0]; i++)
        if (l->files[first + i] != c->inputs[0][i]) ck_abort_msg("not neighbours");
    if (c->level == 0 && first) ck_abort_msg("not the newest");
}

/* What would let an old version surface: an upper file left behind that overlaps a
 * picked one, or a lower one that is not merged with. */
static void check_rules(const struct compaction *c) {
    const struct level *upper = &c->version->levels[c->level];
    const struct level *lower = &c->version->levels[c->output_level];
    uint64_t bytes = 0;
    if (c->input_count[0] == 0) ck_abort_msg("no input");
    if (c->output_level == c->level) {
        check_stay(c);
        return;
    }
    if (c->output_level != c->level + 1) ck_abort_msg("output level");
    for (size_t i = 0; i < upper->count; i++) {
        if (picked(c, 0, upper->files[i]))
            bytes += upper->files[i]->size_bytes;
        else if (touches_inputs(c, upper->files[i]))
            ck_abort_msg("file %llu was left behind", (unsigned long long)upper->files[i]->number);
    }
    for (size_t i = 0; i < lower->count; i++) {
        if (picked(c, 1, lower->files[i]))
            bytes += lower->files[i]->size_bytes;
        else if (touches_inputs(c, lower->files[i]))
            ck_abort_msg("file %llu is overlapped", (unsigned long long)lower->files[i]->number);
    }
    if (bytes != c->input_bytes) ck_abort_msg("input bytes");
    if (c->trivial_move && c->input_count[1]) ck_abort_msg("a move onto files");
}

START_TEST(random_versions) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    for (unsigned round = 0; round < 100; round++) {
        struct names names;
        struct version *v = random_version(&rng, &names);
        struct compaction c;
        struct compact_options o = options;
        unsigned level;
        o.oldest_snapshot = rng_below(&rng, 2 * FILES * 100);
        o.table_bytes = 1 + rng_below(&rng, 200);
        double score = compact_score(v, &o, &level);
        int rc = compact_pick(v, &o, &c, &test_err);
        if (score >= 1 && (rc || c.level != level)) ck_abort_msg("score %f, rc %d", score, rc);
        if (rc == 0 && !compact_is_due(v, &o)) ck_abort_msg("not due");
        if (rc == 0) check_rules(&c);
        compaction_release(&c);
        version_unref(v);
    }
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* ---- crowds of small files ---------------------------------------------------------------- */

/* Files like "k007 to k007" of these sizes side by side in level 1, up to a 0. */
static struct version *crowd_of(const uint64_t *sizes, const struct sketch *more) {
    static char names[200][8];
    struct sketch s[201];
    size_t n = 0;
    for (; sizes[n]; n++) {
        snprintf(names[n], 8, "k%03u", (unsigned)n);
        s[n] = (struct sketch){1, n + 1, names[n], names[n], sizes[n], 0, 0};
    }
    if (more) s[n++] = *more;
    return version_of(s, n);
}

static const struct {
    const char *name;
    uint64_t table_bytes, sizes[40];
    const char *picked;
} crowd_cases[] = {
    {"sixteen are no crowd", 1000, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, NULL},
    {"seventeen are",
     1000,
     {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
     "L1 stay 1 2 3 4 5 6 7 8 |"},
    {"the cheapest run",
     1000,
     {9, 9, 9, 9, 9, 9, 9, 9, 9, 1, 1, 1, 1, 1, 1, 1, 1},
     "L1 stay 10 11 12 13 14 15 16 17 |"},
    {"not one large file again for a few small ones: up to the next one like it",
     1000,
     {1, 1, 1, 90, 1, 1, 1, 1, 1, 1, 90, 1, 1, 1, 1, 1, 1},
     "L1 stay 1 2 3 4 5 6 7 8 9 10 11 |"},
    {"nothing worth it", 1000, {1, 1, 1, 1, 90, 1, 1, 1, 1, 1, 400, 1, 1, 1, 1, 1, 1}, NULL},
    {"not files that are half a table", 100, {1, 1, 1, 1, 1, 1, 1, 50, 1, 1, 1, 1, 1, 1, 1}, NULL},
    {"as many files as their bytes justify",
     10,
     {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
     NULL},
};

START_TEST(crowd_case) {
    struct version *v = crowd_of(crowd_cases[_i].sizes, NULL);
    struct compact_options o = options;
    struct compaction c;
    char text[256];
    o.level1_bytes = 1000000;
    o.table_bytes = crowd_cases[_i].table_bytes;
    int rc = compact_pick(v, &o, &c, &test_err);
    ck_assert_int_eq(rc, crowd_cases[_i].picked ? 0 : KEVO_NOTFOUND);
    if (rc == 0) {
        ck_assert_str_eq(describe(&c, text), crowd_cases[_i].picked);
        check_rules(&c);
    }
    compaction_release(&c);
    version_unref(v);
}
END_TEST

/* What would be cut again for what it overlaps below stays apart. */
START_TEST(crowd_over_much) {
    uint64_t sizes[40] = {0};
    struct sketch below = {2, 999, "k000", "k999", 10001, 0, 0};
    for (unsigned i = 0; i < 20; i++)
        sizes[i] = 1;
    struct compact_options o = options;
    struct compaction c;
    o.level1_bytes = 1000000;
    for (unsigned wide = 0; wide < 2; wide++) {
        below.size_bytes = 10000 + wide;
        struct version *v = crowd_of(sizes, &below);
        o.table_bytes = 1000;
        ck_assert_int_eq(compact_pick(v, &o, &c, &test_err), wide ? KEVO_NOTFOUND : 0);
        compaction_release(&c);
        version_unref(v);
    }
}
END_TEST

/* ---- a pass over everything, or a range --------------------------------------------------- */

/* What a compaction does to the list of files: one with all keys instead, of garbage rid. */
static struct version *applied(const struct compaction *c, uint64_t number) {
    struct version_edit e;
    struct version *v;
    struct table_properties p = {.entry_count = 1, .key_count = 1, .min_seq = 1, .max_seq = 9};
    slice min = buf_slice(&c->inputs[0][0]->min_key), max = buf_slice(&c->inputs[0][0]->max_key);
    edit_init(&e);
    for (unsigned side = 0; side < 2; side++)
        for (size_t i = 0; i < c->input_count[side]; i++) {
            const struct table_file *f = c->inputs[side][i];
            must(edit_delete_file(&e, side ? c->output_level : c->level, f->number, &test_err));
            if (slice_cmp(buf_slice(&f->min_key), min) < 0) min = buf_slice(&f->min_key);
            if (slice_cmp(buf_slice(&f->max_key), max) > 0) max = buf_slice(&f->max_key);
        }
    struct table_file *f = table_file_new(&home, number, c->input_bytes, 0, &p, min, max);
    for (size_t i = 0; c->trivial_move && i < c->input_count[0]; i++)
        must(edit_add_file(&e, c->output_level, c->inputs[0][i], &test_err));
    if (!c->trivial_move) must(edit_add_file(&e, c->output_level, f, &test_err));
    must(version_apply(c->version, &e, &v, &test_err));
    table_file_unref(f);
    edit_release(&e);
    return v;
}

/* Run a pass to its end; gives the reference on `v` back. *text gets what was done, when
 * it is not NULL. */
static struct version *pass_through(struct version *v, slice lower, slice upper, char *text) {
    struct compact_pass pass = {.lower = lower, .upper = upper};
    struct compaction c;
    uint64_t number = 1000;
    for (unsigned steps = 0; compact_pick_pass(v, &options, &pass, &c, &test_err) == 0; steps++) {
        char one[256];
        check_rules(&c);
        if (pass.left_bytes < c.input_bytes) ck_abort_msg("left %d", (int)pass.left_bytes);
        if (text) text += sprintf(text, "%s%s", steps ? ", " : "", describe(&c, one));
        struct version *next = applied(&c, number++);
        compaction_release(&c);
        version_unref(v);
        v = next;
        if (steps > 3 * FILES) ck_abort_msg("the pass never ends");
    }
    compact_pass_release(&pass);
    return v;
}

START_TEST(all_into_one_level) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct names names;
    slice open = slice_of(NULL, 0);
    struct version *v = pass_through(random_version(&rng, &names), open, open, NULL);
    unsigned levels = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        levels += v->levels[l].count > 0;
        for (size_t i = 0; i < v->levels[l].count; i++)
            ck_assert(v->levels[l].files[i]->garbage_seq == 0 ||
                      v->levels[l].files[i]->garbage_seq > options.oldest_snapshot);
    }
    ck_assert_uint_eq(levels, 1);
    ck_assert_uint_eq(v->levels[0].count, 0);
    char text[4096] = "";
    v = pass_through(v, open, open, text); /* nothing to do any more */
    ck_assert_str_eq(text, "");
    version_unref(v);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* A range is one level, for itself, and what lies outside keeps its place. */
START_TEST(a_range_into_one_level) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct names names;
    slice lower = slice_of_str("00100"), upper = slice_of_str("00200");
    struct version *before = random_version(&rng, &names);
    version_ref(before);
    struct version *v = pass_through(before, lower, upper, NULL);
    unsigned levels = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        bool any = false;
        for (size_t i = 0; i < v->levels[l].count; i++)
            any |= table_file_overlaps(v->levels[l].files[i], lower, upper);
        levels += any;
    }
    ck_assert_uint_le(levels, 1);
    version_unref(before);
    version_unref(v);
}
END_TEST

static const struct {
    const char *name;
    struct sketch files[6];
    const char *lower, *upper;
    const char *done;
} pass_cases[] = {
    {"empty", {{0}}, NULL, NULL, ""},
    {"one level, clean", {{3, 1, "a", "b", 9, 0, 0}, {3, 2, "c", "d", 9, 0, 0}}, NULL, NULL, ""},
    {"one level with tombstones",
     {{3, 1, "a", "b", 9, 0, 0}, {3, 2, "c", "d", 9, 1, 0}, {3, 3, "e", "f", 9, 0, 0}},
     NULL,
     NULL,
     "L3 stay 2 |"},
    {"old versions", {{3, 1, "a", "b", 9, 0, 1}}, NULL, NULL, "L3 stay 1 |"},
    {"that a snapshot needs", {{3, 11, "a", "b", 9, 0, 1}}, NULL, NULL, ""},
    {"the last level", {{6, 1, "a", "b", 5, 1, 0}}, NULL, NULL, "L6 stay 1 |"},
    {"small neighbours",
     {{3, 1, "a", "b", 4, 0, 0}, {3, 2, "c", "d", 4, 0, 0}, {3, 3, "e", "f", 4, 0, 0}},
     NULL,
     NULL,
     "L3 stay 1 2 |"},
    {"level 0 alone",
     {{0, 1, "a", "b", 5, 0, 0}, {0, 2, "x", "y", 5, 0, 0}},
     NULL,
     NULL,
     "L0 2 1 |"},
    {"level 0 goes first, all of it",
     {{0, 1, "a", "d", 5, 0, 0},
      {0, 2, "x", "y", 5, 0, 0},
      {1, 3, "b", "c", 5, 0, 0},
      {4, 4, "m", "n", 9, 0, 0}},
     NULL,
     NULL,
     "L0 2 1 | 3, L1 move 1000 |, L2 move 1000 |, L3 1000 | 4"},
    {"through an empty level, but not with garbage",
     {{1, 1, "a", "b", 5, 0, 0}, {1, 2, "c", "e", 5, 1, 0}, {3, 4, "a", "b", 5, 0, 0}},
     NULL,
     NULL,
     "L1 move 1 |, L1 2 |, L2 1 | 4, L2 move 1001 |"},
    {"a range",
     {{1, 1, "a", "b", 5, 0, 0},
      {1, 2, "c", "e", 5, 0, 0},
      {2, 3, "a", "b", 5, 0, 0},
      {2, 4, "d", "d", 5, 0, 0}},
     "c",
     "dd",
     "L1 2 | 4"},
    {"a range with nothing in it",
     {{1, 1, "a", "b", 5, 1, 0}, {2, 2, "d", "e", 5, 1, 0}},
     "bb",
     "d",
     ""},
};

START_TEST(pass_case) {
    char text[4096] = "";
    slice open = slice_of(NULL, 0);
    slice lower = pass_cases[_i].lower ? slice_of_str(pass_cases[_i].lower) : open;
    slice upper = pass_cases[_i].upper ? slice_of_str(pass_cases[_i].upper) : open;
    struct version *v = pass_through(version_of(pass_cases[_i].files, 6), lower, upper, text);
    ck_assert_str_eq(text, pass_cases[_i].done);
    version_unref(v);
}
END_TEST

/* ---- when there is time -------------------------------------------------------------------- */

/* Until nothing is worth it; gives the reference on `v` back. No step writes more than ten bytes
 * of the lower level for each of the upper one. */
static struct version *idle_through(struct version *v, char *text) {
    struct compaction c;
    uint64_t number = 1000;
    for (unsigned steps = 0; compact_pick_idle(v, &options, &c, &test_err) == 0; steps++) {
        char one[256];
        uint64_t upper = 0;
        check_rules(&c);
        for (size_t i = 0; i < c.input_count[0]; i++)
            upper += c.inputs[0][i]->size_bytes;
        if ((c.input_bytes - upper) / 10 > upper) ck_abort_msg("%s is too much", describe(&c, one));
        if (text) text += sprintf(text, "%s%s", steps ? ", " : "", describe(&c, one));
        struct version *next = applied(&c, number++);
        compaction_release(&c);
        version_unref(v);
        v = next;
        if (steps > 5 * FILES) ck_abort_msg("it never ends");
    }
    return v;
}

static const struct {
    const char *name;
    struct sketch files[6];
    const char *done;
} idle_cases[] = {
    {"empty", {{0}}, ""},
    {"one run", {{2, 1, "a", "b", 9, 0, 0}, {2, 2, "c", "d", 9, 0, 0}}, ""},
    {"the first table", {{0, 1, "a", "d", 5, 0, 0}}, "L0 move 1 |"},
    {"level 0 that overlaps",
     {{0, 1, "a", "d", 5, 0, 0}, {0, 2, "c", "f", 5, 0, 0}, {1, 3, "a", "m", 99, 0, 0}},
     "L0 2 1 | 3"},
    {"too little of it", {{0, 1, "a", "d", 5, 0, 0}, {1, 3, "a", "m", 99, 0, 0}}, ""},
    {"too little of one, not of the other",
     {{0, 1, "a", "b", 1, 0, 0},
      {0, 2, "c", "f", 5, 0, 0},
      {1, 3, "a", "b", 99, 0, 0},
      {1, 4, "d", "e", 9, 0, 0}},
     "L0 2 | 4"},
    {"a tenth of the level below",
     {{1, 1, "a", "d", 5, 0, 0}, {2, 2, "b", "c", 54, 0, 0}},
     "L1 1 | 2"},
    {"less than that", {{1, 1, "a", "d", 5, 0, 0}, {2, 2, "b", "c", 60, 0, 0}}, ""},
    {"to the deepest level where nothing is in the way",
     {{1, 1, "a", "b", 5, 0, 0}, {1, 2, "c", "e", 5, 0, 0}, {3, 4, "c", "d", 99, 0, 0}},
     "L1 move 1 |, L1 move 2 |, L2 move 1 |"},
    {"a tenth of old versions", {{2, 1, "a", "d", 5, 0, 100}}, "L2 stay 1 |"},
    {"fewer of them", {{2, 1, "a", "d", 5, 0, 99}}, ""},
    {"a tenth of tombstones", {{2, 1, "a", "d", 5, 100, 0}}, "L2 stay 1 |"},
    {"that a snapshot needs", {{2, 11, "a", "d", 5, 0, 500}}, ""},
    {"that hide what lies below", {{1, 1, "a", "d", 5, 500, 0}, {2, 2, "b", "c", 99, 0, 0}}, ""},
};

START_TEST(idle_case) {
    char text[4096] = "";
    struct version *v = idle_through(version_of(idle_cases[_i].files, 6), text);
    ck_assert_str_eq(text, idle_cases[_i].done);
    version_unref(v);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* It ends, and what is called settled is. */
START_TEST(idle_versions) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    for (unsigned round = 0; round < 50; round++) {
        struct names names;
        struct version *v = random_version(&rng, &names);
        struct compaction c;
        if (v->is_settled)
            ck_assert_int_eq(compact_pick_idle(v, &options, &c, &test_err), KEVO_NOTFOUND);
        v = idle_through(v, NULL);
        version_unref(v);
    }
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* ---- the questions of a build ------------------------------------------------------------- */

START_TEST(bottom) {
    static const struct sketch files[] = {{1, 1, "a", "z", 5, 0, 0}, {2, 2, "a", "z", 5, 0, 0},
                                          {3, 3, "c", "d", 5, 0, 0}, {3, 4, "m", "n", 5, 0, 0},
                                          {5, 5, "d", "e", 5, 0, 0}, {6, 6, "x", "x", 5, 0, 0}};
    static const struct {
        const char *key;
        bool bottom;
    } asked[] = {{"a", true},  {"bz", true}, {"c", false}, {"d", false}, {"e", false},
                 {"e0", true}, {"l", true},  {"m", false}, {"n", false}, {"o", true},
                 {"x", false}, {"x", false}, {"x0", true}};
    struct version *v = version_of(files, sizeof files / sizeof *files);
    struct compaction c = {.level = 1, .output_level = 2, .version = v};
    struct bottom_finder b;
    bottom_finder_init(&b, &c);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        ck_assert_msg(bottom_finder_ask(&b, slice_of_str(asked[i].key)) == asked[i].bottom, "%s",
                      asked[i].key);
    version_unref(v);
}
END_TEST

START_TEST(overlap) {
    struct sketch s[40];
    char names[40][4];
    for (unsigned i = 0; i < 40; i++) {
        snprintf(names[i], 4, "k%02u", i);
        s[i] = (struct sketch){3, i + 1, names[i], names[i], 30, 0, 0};
    }
    struct version *v = version_of(s, 40);
    struct compaction c = {.level = 1, .output_level = 2, .version = v};
    struct overlap_meter m;
    overlap_meter_init(&m, &c, 10);                         /* cut above 100 bytes: four files */
    ck_assert(!overlap_meter_cut(&m, slice_of_str("k08"))); /* those before do not count */
    ck_assert(!overlap_meter_cut(&m, slice_of_str("k10")));
    ck_assert(!overlap_meter_cut(&m, slice_of_str("k105")));
    ck_assert(overlap_meter_cut(&m, slice_of_str("k115")));
    ck_assert(!overlap_meter_cut(&m, slice_of_str("k121")));
    ck_assert(!overlap_meter_cut(&m, slice_of_str("k15")));
    ck_assert(overlap_meter_cut(&m, slice_of_str("k39")));
    ck_assert(!overlap_meter_cut(&m, slice_of_str("z")));
    c.output_level = KEVO_MAX_LEVELS - 1;
    overlap_meter_init(&m, &c, 10);
    ck_assert(!overlap_meter_cut(&m, slice_of_str("k39")));
    version_unref(v);
}
END_TEST

START_TEST(no_memory) {
    struct rng rng = rng_of(harness_seed());
    struct names names;
    struct version *v = random_version(&rng, &names);
    struct compact_options eager = options;
    eager.level1_bytes = 1;
    uint64_t before = fault_alloc_live();
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc; n++) {
        struct compaction c;
        fault_alloc_fail_at(n, false);
        rc = compact_pick(v, &eager, &c, &test_err);
        fault_alloc_fail_at(0, false);
        ck_assert_int_eq(rc, fault_alloc_hit() ? KEVO_NOMEM : 0);
        compaction_release(&c);
        ck_assert_uint_eq(fault_alloc_live(), before);
    }
    version_unref(v);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("compact_pick");
    TCase *tcase = tcase_create("compact_pick");
    tcase_add_loop_test(tcase, named_case, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_loop_test(tcase, random_versions, 0, 10);
    tcase_add_loop_test(tcase, crowd_case, 0, (int)(sizeof crowd_cases / sizeof *crowd_cases));
    tcase_add_test(tcase, crowd_over_much);
    tcase_add_loop_test(tcase, all_into_one_level, 0, 20);
    tcase_add_loop_test(tcase, a_range_into_one_level, 0, 20);
    tcase_add_loop_test(tcase, pass_case, 0, (int)(sizeof pass_cases / sizeof *pass_cases));
    tcase_add_loop_test(tcase, idle_case, 0, (int)(sizeof idle_cases / sizeof *idle_cases));
    tcase_add_loop_test(tcase, idle_versions, 0, 20);
    tcase_add_test(tcase, bottom);
    tcase_add_test(tcase, overlap);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
