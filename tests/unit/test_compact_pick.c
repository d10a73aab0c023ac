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
    uint64_t size_bytes, tombstones;
};

static struct table_file *file_of(const struct sketch *s) {
    struct table_properties p = {.entry_count = 1000, .tombstone_count = s->tombstones};
    /* In level 0 the numbers tell the age. */
    p.min_seq = s->number * 100;
    p.max_seq = s->number * 100 + 99;
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

static const struct compact_options options = {
    .l0_trigger = 4, .level1_bytes = 100, .level_factor = 10, .table_bytes = 10};

/* "L1 move 3 4 | 7": level, whether it moves, inputs[0] and inputs[1]. */
static const char *describe(const struct compaction *c, char text[256]) {
    int at = snprintf(text, 256, "L%u%s", c->level, c->trivial_move ? " move" : "");
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
    const char *after; /* the cursor of level 1 */
    const char *picked;
} cases[] = {
    {"empty", {{0}}, NULL, NULL},
    {"below the trigger",
     {{0, 1, "a", "z", 5, 0}, {0, 2, "a", "z", 5, 0}, {0, 3, "a", "z", 5, 0}},
     NULL,
     NULL},
    {"all of level 0 overlaps",
     {{0, 1, "a", "z", 5, 0},
      {0, 2, "b", "z", 5, 0},
      {0, 3, "a", "y", 5, 0},
      {0, 4, "a", "z", 5, 0},
      {1, 9, "c", "d", 5, 0}},
     NULL,
     "L0 4 3 2 1 | 9"},
    {"the oldest and what hangs on it, in steps",
     {{0, 1, "a", "c", 5, 0},
      {0, 2, "c", "f", 5, 0},
      {0, 3, "f", "h", 5, 0},
      {0, 4, "x", "z", 5, 0},
      {1, 9, "h", "i", 5, 0},
      {1, 10, "j", "k", 5, 0}},
     NULL,
     "L0 3 2 1 | 9"},
    {"a longer chain",
     {{0, 1, "a", "b", 90, 0},
      {0, 2, "b", "c", 90, 0},
      {0, 3, "c", "d", 90, 0},
      {0, 4, "d", "e", 90, 0},
      {0, 5, "e", "f", 90, 0},
      {0, 6, "g", "h", 90, 0}},
     NULL,
     "L0 5 4 3 2 1 |"},
    {"a lone file of level 0 moves",
     {{0, 1, "a", "c", 5, 0},
      {0, 2, "d", "f", 5, 0},
      {0, 3, "g", "h", 5, 0},
      {0, 4, "x", "z", 5, 0}},
     NULL,
     "L0 move 1 |"},
    {"a newer file that touches it by one key comes along",
     {{0, 1, "a", "c", 5, 0},
      {0, 2, "d", "f", 5, 0},
      {0, 3, "g", "h", 5, 0},
      {0, 4, "c", "c", 5, 0}},
     NULL,
     "L0 4 1 |"},
    {"level 1 is too big: its first file",
     {{1, 1, "a", "c", 60, 0}, {1, 2, "d", "f", 60, 0}, {2, 3, "b", "e", 60, 0}},
     NULL,
     "L1 1 2 | 3"},
    {"not widened where that reaches more below",
     {{1, 1, "a", "c", 60, 0},
      {1, 2, "d", "f", 60, 0},
      {2, 3, "b", "e", 60, 0},
      {2, 4, "f", "g", 60, 0}},
     NULL,
     "L1 1 | 3"},
    {"not widened beyond a bound of bytes",
     {{1, 1, "a", "c", 60, 0}, {1, 2, "d", "f", 160, 0}, {2, 3, "b", "e", 60, 0}},
     NULL,
     "L1 1 | 3"},
    {"level 0 is widened too",
     {{0, 1, "a", "c", 5, 0},
      {0, 2, "d", "f", 5, 0},
      {0, 3, "p", "q", 5, 0},
      {0, 4, "x", "z", 5, 0},
      {1, 9, "b", "g", 5, 0}},
     NULL,
     "L0 2 1 | 9"},
    {"round robin: the file behind the cursor",
     {{1, 1, "a", "c", 60, 0}, {1, 2, "d", "f", 60, 0}, {2, 3, "e", "k", 60, 0}},
     "c",
     "L1 2 | 3"},
    {"round robin: from the end to the beginning",
     {{1, 1, "a", "c", 60, 0}, {1, 2, "d", "f", 60, 0}, {2, 3, "c", "c", 60, 0}},
     "f",
     "L1 1 | 3"},
    {"a move needs little two levels below",
     {{1, 1, "a", "c", 60, 0}, {1, 2, "d", "f", 60, 0}, {3, 3, "b", "e", 100, 0}},
     NULL,
     "L1 move 1 |"},
    {"no move onto much two levels below",
     {{1, 1, "a", "c", 60, 0}, {1, 2, "d", "f", 60, 0}, {3, 3, "b", "e", 101, 0}},
     NULL,
     "L1 1 |"},
    {"no move of tombstones that hide nothing",
     {{1, 1, "a", "c", 60, 1}, {1, 2, "d", "f", 60, 0}},
     NULL,
     "L1 1 |"},
    {"a move of tombstones that hide something",
     {{1, 1, "a", "c", 60, 1}, {1, 2, "d", "f", 60, 0}, {4, 3, "b", "b", 60, 0}},
     NULL,
     "L1 move 1 |"},
    {"the highest score wins",
     {{0, 1, "a", "z", 5, 0},
      {0, 2, "b", "z", 5, 0},
      {0, 3, "a", "y", 5, 0},
      {0, 4, "a", "z", 5, 0},
      {1, 9, "c", "d", 101, 0},
      {2, 10, "c", "d", 2000, 0}},
     NULL,
     "L2 move 10 |"},
    {"nothing below the last level", {{6, 1, "a", "z", 1000000000, 0}}, NULL, NULL},
};

START_TEST(named_case) {
    struct version *v = version_of(cases[_i].files, 16);
    struct compact_cursor cursor = {0};
    struct compaction c;
    char text[256];
    if (cases[_i].after) ck_assert(buf_set(&cursor.after[1], slice_of_str(cases[_i].after)));
    int rc = compact_pick(v, &options, &cursor, &c, &test_err);
    if (cases[_i].picked) {
        ck_ok(rc);
        ck_assert_str_eq(describe(&c, text), cases[_i].picked);
    } else {
        ck_assert_int_eq(rc, KEVO_NOTFOUND);
    }
    compaction_release(&c);
    compact_cursor_release(&cursor);
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
                               rng_below(rng, 2)};
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

/* What would let an old version surface: an upper file left behind that overlaps a
 * picked one, or a lower one that is not merged with. */
static void check_rules(const struct compaction *c) {
    const struct level *upper = &c->version->levels[c->level];
    const struct level *lower = &c->version->levels[c->output_level];
    uint64_t bytes = 0;
    if (c->input_count[0] == 0 || c->output_level != c->level + 1) ck_abort_msg("no input");
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
        struct compact_cursor cursor = {0};
        struct compaction c;
        unsigned level;
        double score = compact_score(v, &options, &level);
        for (unsigned turn = 0; turn < 5; turn++) {
            int rc = compact_pick(v, &options, &cursor, &c, &test_err);
            if ((rc == 0) != (score >= 1)) ck_abort_msg("score %f, rc %d", score, rc);
            if (rc) continue;
            if (c.level != level) ck_abort_msg("level %u, expected %u", c.level, level);
            check_rules(&c);
            compaction_release(&c);
        }
        compact_cursor_release(&cursor);
        version_unref(v);
    }
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* The whole of a level has its turn. */
START_TEST(round_robin) {
    struct sketch s[10];
    char names[10][4];
    for (unsigned i = 0; i < 10; i++) {
        snprintf(names[i], 4, "k%u", i);
        s[i] = (struct sketch){1, i + 1, names[i], names[i], 50, 0};
    }
    struct version *v = version_of(s, 10);
    struct compact_cursor cursor = {0};
    for (uint64_t i = 0; i < 30; i++) {
        struct compaction c;
        ck_ok(compact_pick(v, &options, &cursor, &c, &test_err));
        ck_assert_uint_eq(c.input_count[0], 1);
        ck_assert_uint_eq(c.inputs[0][0]->number, i % 10 + 1);
        compaction_release(&c);
    }
    compact_cursor_release(&cursor);
    version_unref(v);
}
END_TEST

/* ---- everything into one level ---------------------------------------------------------- */

/* What a compaction does to the list of files: one with all keys instead. */
static struct version *applied(const struct compaction *c, uint64_t number) {
    struct version_edit e;
    struct version *v;
    struct table_properties p = {.entry_count = 1, .min_seq = 1, .max_seq = 9};
    slice min = buf_slice(&c->inputs[0][0]->min_key), max = buf_slice(&c->inputs[0][0]->max_key);
    edit_init(&e);
    for (unsigned side = 0; side < 2; side++)
        for (size_t i = 0; i < c->input_count[side]; i++) {
            const struct table_file *f = c->inputs[side][i];
            must(edit_delete_file(&e, c->level + side, f->number, &test_err));
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

START_TEST(all_into_one_level) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct names names;
    struct version *v = random_version(&rng, &names);
    uint64_t number = 1000;
    for (unsigned steps = 0;; steps++) {
        struct compaction c;
        int rc = compact_pick_all(v, &c, &test_err);
        if (rc == KEVO_NOTFOUND) break;
        ck_ok(rc);
        check_rules(&c);
        for (unsigned l = 0; l < c.level; l++)
            ck_assert_uint_eq(v->levels[l].count, 0);
        ck_assert_uint_eq(c.input_count[0], v->levels[c.level].count);
        struct version *next = applied(&c, number++);
        compaction_release(&c);
        version_unref(v);
        v = next;
        ck_assert_uint_lt(steps, KEVO_MAX_LEVELS);
    }
    unsigned levels = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        levels += v->levels[l].count > 0;
    ck_assert_uint_eq(levels, 1);
    ck_assert_uint_eq(v->levels[0].count, 0);
    version_unref(v);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

static const struct {
    const char *name;
    struct sketch files[4];
    const char *picked;
} all_cases[] = {
    {"empty", {{0}}, NULL},
    {"one level", {{3, 1, "a", "b", 5, 1}, {3, 2, "c", "d", 5, 1}}, NULL},
    {"the last level", {{6, 1, "a", "b", 5, 1}}, NULL},
    {"level 0 alone", {{0, 1, "a", "b", 5, 0}, {0, 2, "x", "y", 5, 0}}, "L0 2 1 |"},
    {"level 0 goes first",
     {{0, 1, "a", "d", 5, 0},
      {0, 2, "c", "e", 5, 0},
      {1, 3, "b", "c", 5, 0},
      {4, 4, "a", "b", 5, 0}},
     "L0 2 1 | 3"},
    {"through an empty level",
     {{1, 1, "a", "b", 5, 1}, {1, 2, "c", "e", 5, 1}, {4, 4, "a", "b", 5, 0}},
     "L1 move 1 2 |"},
    {"two levels",
     {{1, 1, "a", "b", 5, 0}, {1, 2, "c", "e", 5, 0}, {2, 4, "c", "d", 5, 0}},
     "L1 1 2 | 4"},
};

START_TEST(all_case) {
    struct version *v = version_of(all_cases[_i].files, 4);
    struct compaction c;
    char text[256];
    int rc = compact_pick_all(v, &c, &test_err);
    if (all_cases[_i].picked) {
        ck_ok(rc);
        ck_assert_str_eq(describe(&c, text), all_cases[_i].picked);
    } else {
        ck_assert_int_eq(rc, KEVO_NOTFOUND);
    }
    compaction_release(&c);
    version_unref(v);
}
END_TEST

/* ---- the questions of a build ------------------------------------------------------------- */

START_TEST(bottom) {
    static const struct sketch files[] = {{1, 1, "a", "z", 5, 0}, {2, 2, "a", "z", 5, 0},
                                          {3, 3, "c", "d", 5, 0}, {3, 4, "m", "n", 5, 0},
                                          {5, 5, "d", "e", 5, 0}, {6, 6, "x", "x", 5, 0}};
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
        s[i] = (struct sketch){3, i + 1, names[i], names[i], 30, 0};
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
        struct compact_cursor cursor = {0};
        struct compaction c;
        fault_alloc_fail_at(n, false);
        rc = compact_pick(v, &eager, &cursor, &c, &test_err);
        fault_alloc_fail_at(0, false);
        ck_assert_int_eq(rc, fault_alloc_hit() ? KEVO_NOMEM : 0);
        compaction_release(&c);
        compact_cursor_release(&cursor);
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
    tcase_add_test(tcase, round_robin);
    tcase_add_loop_test(tcase, all_into_one_level, 0, 20);
    tcase_add_loop_test(tcase, all_case, 0, (int)(sizeof all_cases / sizeof *all_cases));
    tcase_add_test(tcase, bottom);
    tcase_add_test(tcase, overlap);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
