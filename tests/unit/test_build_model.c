/* Builds, versions and views together, by a model of what each snapshot sees. */
#include "engine/tree/build.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/tree/compact_pick.h"
#include "engine/tree/hidden.h"
#include "engine/tree/merge_iter.h"
#include "engine/tree/view_iter.h"
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
    ck_assert_uint_eq(array_iter_live, 0);
}

static uint64_t next_number(void *arg) {
    (void)arg;
    return tree.next_number++;
}

static struct build build_of(const uint64_t *snapshots, size_t count) {
    return (struct build){.home = &tree.home,
                          .table = tree_table_options(),
                          .snapshots = snapshots,
                          .snapshot_count = count,
                          .next_file_number = next_number};
}

/* ---- the model ---------------------------------------------------------------------- */

enum { MODEL_KEYS = 150, MAX_PINS = 6 };

struct change {
    uint64_t seq;
    uint8_t type;
    uint8_t value_bytes; /* all of them the seq's low byte */
};

struct model {
    struct change *changes[MODEL_KEYS]; /* oldest first */
    size_t counts[MODEL_KEYS];
    char keys[MODEL_KEYS][24];
    uint64_t seq;     /* the last one used */
    uint64_t flushed; /* the last one in tables */
    uint64_t floor;   /* snapshots from here on are right, pinned or not */
    uint64_t pins[MAX_PINS];
    size_t pin_count;
    struct version *version;
};

static const struct compact_options model_options = {
    .l0_trigger = 3, .level1_bytes = 6000, .level_factor = 3, .table_bytes = 2000};

static struct compact_options options_of(const struct model *m) {
    struct compact_options o = model_options;
    o.oldest_snapshot = m->pin_count ? m->pins[0] : m->seq;
    return o;
}

static void model_init(struct model *m) {
    *m = (struct model){.version = version_new()};
    for (unsigned k = 0; k < MODEL_KEYS; k++)
        snprintf(m->keys[k], sizeof m->keys[k], "%s%04u", k % 3 ? "row" : "a-longer-", k);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(a, b);
}

static void model_release(struct model *m) {
    for (unsigned k = 0; k < MODEL_KEYS; k++)
        free(m->changes[k]);
    version_unref(m->version);
}

/* The newest change of a key up to a snapshot, or NULL when it is no row then. */
static const struct change *model_row(const struct model *m, unsigned k, uint64_t snapshot) {
    for (size_t i = m->counts[k]; i-- > 0;)
        if (m->changes[k][i].seq <= snapshot)
            return m->changes[k][i].type == ENTRY_PUT ? &m->changes[k][i] : NULL;
    return NULL;
}

static bool is_value(slice value, const struct change *c) {
    if (value.len != c->value_bytes) return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] != (uint8_t)c->seq) return false;
    return true;
}

static slice model_bound(const struct model *m, unsigned k) {
    return k < MODEL_KEYS ? slice_of_str(m->keys[k]) : range_end();
}

/* Delete a range of keys at m->seq: each of them, but those that the same batch changes. */
static void model_delete_range(struct model *m, struct rng *rng, struct range_list *list) {
    unsigned low = (unsigned)rng_below(rng, MODEL_KEYS);
    unsigned high = low + (unsigned)rng_below(rng, rng_below(rng, 3) ? 20 : MODEL_KEYS);
    if (high > MODEL_KEYS) high = MODEL_KEYS;
    must(range_list_add(list, model_bound(m, low), model_bound(m, high), m->seq, &test_err));
    for (unsigned k = low; k < high; k++) {
        size_t count = m->counts[k];
        if (count && m->changes[k][count - 1].seq == m->seq) continue;
        m->changes[k] = realloc(m->changes[k], (count + 1) * sizeof(struct change));
        m->changes[k][m->counts[k]++] = (struct change){m->seq, ENTRY_DELETE, 0};
    }
}

static struct range_set *set_of(struct range_list *list, bool newest_only) {
    struct range_set *set;
    must(range_set_new(list, newest_only, &set, &test_err));
    range_list_release(list);
    return set;
}

/* Write a batch or more, of random keys or one change of each, and flush them as a
 * memtable would be. */
static void model_write(struct model *m, struct rng *rng, size_t changes, bool each_key) {
    struct iter_suite_entry *entries = calloc(changes, sizeof *entries);
    uint8_t(*values)[256] = calloc(changes, sizeof *values);
    size_t n = 0;
    struct range_list list = {0};
    m->seq++;
    for (size_t i = 0; i < changes; i++) {
        if (rng_below(rng, 10) == 0) m->seq++;
        if (rng_below(rng, 25) == 0 && !each_key) model_delete_range(m, rng, &list);
        unsigned k = (unsigned)(each_key ? i : rng_below(rng, MODEL_KEYS));
        size_t count = m->counts[k];
        if (count && m->changes[k][count - 1].seq == m->seq) continue;
        struct change c = {m->seq, rng_below(rng, 3) ? ENTRY_PUT : ENTRY_DELETE, 0};
        if (c.type == ENTRY_PUT) c.value_bytes = (uint8_t)rng_below(rng, 120);
        m->changes[k] = realloc(m->changes[k], (count + 1) * sizeof c);
        m->changes[k][m->counts[k]++] = c;
        memset(values[n], (int)(uint8_t)c.seq, c.value_bytes);
        entries[n] = (struct iter_suite_entry){slice_of_str(m->keys[k]), c.seq, c.type,
                                               slice_of(values[n], c.value_bytes)};
        n++;
    }
    struct iter_suite_set *set = iter_suite_sorted(entries, n);
    uint64_t snapshots[MAX_PINS + 1];
    memcpy(snapshots, m->pins, sizeof m->pins);
    snapshots[m->pin_count] = m->seq;
    struct build b = build_of(snapshots, m->pin_count + 1);
    struct range_set *ranges = set_of(&list, false);
    struct iter *source = array_iter_new(set->entries, set->count);
    struct version_edit e;
    edit_init(&e);
    b.ranges = ranges;
    must(build_tables(&b, source, &e, &test_err));
    range_set_free(ranges);
    m->version = tree_apply(m->version, &e);
    m->flushed = m->seq;
    if (b.max_dropped_by > m->floor) m->floor = b.max_dropped_by;
    edit_release(&e);
    iter_close(source);
    iter_suite_free(set);
    free(entries);
    free(values);
}

struct questions {
    struct bottom_finder bottom;
    struct overlap_meter overlap;
};

static bool ask_bottom(void *arg, slice key) {
    return bottom_finder_ask(&((struct questions *)arg)->bottom, key);
}

static bool ask_bottom_range(void *arg, slice lower, slice upper) {
    return bottom_finder_ask_range(&((struct questions *)arg)->bottom, lower, upper);
}

static bool ask_cut(void *arg, slice key) {
    return overlap_meter_cut(&((struct questions *)arg)->overlap, key);
}

static struct iter *inputs_iter(const struct compaction *c) {
    struct iter *list[64], *merged;
    size_t n = 0;
    for (size_t i = 0; c->level == 0 && i < c->input_count[0]; i++)
        must(file_iter_new(c->inputs[0][i], false, &list[n++], &test_err));
    for (unsigned side = c->level == 0; side < 2 && c->input_count[side]; side++)
        must(files_iter_new(c->inputs[side], c->input_count[side], false, &list[n++], &test_err));
    must(merge_iter_new(list, n, &merged, &test_err));
    return merged;
}

static void delete_inputs(const struct compaction *c, struct version_edit *e) {
    for (unsigned side = 0; side < 2; side++)
        for (size_t i = 0; i < c->input_count[side]; i++) {
            must(edit_delete_file(e, side ? c->output_level : c->level, c->inputs[side][i]->number,
                                  &test_err));
            if (!c->trivial_move) atomic_store(&c->inputs[side][i]->obsolete, true);
        }
}

static void model_run(struct model *m, struct compaction *c) {
    struct version_edit e;
    edit_init(&e);
    if (c->trivial_move) {
        for (size_t i = 0; i < c->input_count[0]; i++)
            must(edit_add_file(&e, c->output_level, c->inputs[0][i], &test_err));
    } else {
        uint64_t snapshots[MAX_PINS + 1];
        struct questions q;
        struct iter *merged = inputs_iter(c);
        struct range_list list = {0};
        for (int side = 0; side < 2; side++)
            must(hidden_list(c->inputs[side], c->input_count[side], &list, &test_err));
        struct range_set *ranges = set_of(&list, false);
        memcpy(snapshots, m->pins, sizeof m->pins);
        snapshots[m->pin_count] = m->seq;
        struct build b = build_of(snapshots, m->pin_count + 1);
        bottom_finder_init(&q.bottom, c);
        overlap_meter_init(&q.overlap, c, model_options.table_bytes);
        b.level = c->output_level;
        b.table_bytes = c->output_level ? model_options.table_bytes : 0;
        b.ranges = ranges;
        b.is_bottom = ask_bottom;
        b.is_bottom_range = ask_bottom_range;
        b.cut_before = ask_cut;
        b.arg = &q;
        must(build_tables(&b, merged, &e, &test_err));
        if (b.max_dropped_by > m->floor) m->floor = b.max_dropped_by;
        iter_close(merged);
        range_set_free(ranges);
    }
    delete_inputs(c, &e);
    m->version = tree_apply(m->version, &e);
    edit_release(&e);
    compaction_release(c);
}

/* Drop what range tombstones hide as a whole. */
static unsigned model_drop(struct model *m) {
    uint64_t snapshots[MAX_PINS + 1], max_hider;
    struct hidden_wait wait;
    struct version_edit e;
    edit_init(&e);
    memcpy(snapshots, m->pins, sizeof m->pins);
    snapshots[m->pin_count] = m->seq;
    must(hidden_pick(m->version, snapshots, m->pin_count + 1, &e, &max_hider, &wait, &test_err));
    ck_assert_uint_eq(wait.horizon, SEQ_MAX);
    ck_assert_int_eq(max_hider > 0, e.deleted_count > 0);
    if (max_hider > m->floor) m->floor = max_hider;
    for (size_t d = 0; d < e.deleted_count; d++) {
        const struct level *l = &m->version->levels[e.deleted[d].level];
        for (size_t i = 0; i < l->count; i++)
            if (l->files[i]->number == e.deleted[d].number)
                atomic_store(&l->files[i]->obsolete, true);
    }
    unsigned dropped = (unsigned)e.deleted_count;
    m->version = tree_apply(m->version, &e);
    edit_release(&e);
    return dropped;
}

/* ---- checks ------------------------------------------------------------------------------------- */

/* What hides keys at a snapshot. */
static struct range_set *version_hidden(struct version *v, uint64_t snapshot) {
    struct range_list all = {0}, list = {0};
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        must(hidden_list(v->levels[l].files, v->levels[l].count, &all, &test_err));
    struct range_set *set = set_of(&all, false);
    must(range_list_add_visible(&list, set, slice_of(NULL, 0), slice_of(NULL, 0), snapshot,
                                &test_err));
    range_set_free(set);
    return set_of(&list, true);
}

static struct iter *version_iter(struct version *v, slice lower, slice upper,
                                 const struct range_set *hidden) {
    struct iter *list[64], *merged;
    size_t n = 0;
    for (size_t i = 0; i < v->levels[0].count; i++)
        if (table_file_overlaps(v->levels[0].files[i], lower, upper))
            must(file_iter_new(v->levels[0].files[i], true, &list[n++], &test_err));
    for (unsigned l = 1; l < KEVO_MAX_LEVELS; l++)
        must(level_iter_new(v, l, lower, upper, true, &list[n++], &test_err));
    for (size_t i = 0; i < n; i++)
        level_iter_hide(list[i], hidden);
    must(merge_iter_new(list, n, &merged, &test_err));
    return merged;
}

static void expect_row(const struct view_iter *v, const struct model *m, unsigned k,
                       uint64_t snapshot) {
    const struct change *c = model_row(m, k, snapshot);
    if (!v->entry.valid) ck_abort_msg("ended before %s at snapshot %d", m->keys[k], (int)snapshot);
    if (!slice_eq(v->entry.key, slice_of_str(m->keys[k])))
        ck_abort_msg("at %.*s, expected %s at snapshot %d", (int)v->entry.key.len,
                     (const char *)v->entry.key.data, m->keys[k], (int)snapshot);
    if (!is_value(v->entry.value, c)) ck_abort_msg("value of %s", m->keys[k]);
}

/* Both ways through the keys [low, high). */
static void check_scan(const struct model *m, uint64_t snapshot, unsigned low, unsigned high) {
    struct view_iter v;
    slice lower = low ? slice_of_str(m->keys[low]) : slice_of(NULL, 0);
    slice upper = high < MODEL_KEYS ? slice_of_str(m->keys[high]) : slice_of(NULL, 0);
    struct range_set *hidden = version_hidden(m->version, snapshot);
    must(view_iter_init(&v, version_iter(m->version, lower, upper, hidden), snapshot, lower, upper,
                        &test_err));
    view_iter_hide(&v, hidden);
    must(view_iter_first(&v, &test_err));
    for (unsigned k = low; k < high; k++) {
        if (!model_row(m, k, snapshot)) continue;
        expect_row(&v, m, k, snapshot);
        must(view_iter_next(&v, &test_err));
    }
    if (v.entry.valid)
        ck_abort_msg("%.*s is too much", (int)v.entry.key.len, (const char *)v.entry.key.data);
    must(view_iter_last(&v, &test_err));
    for (unsigned k = high; k-- > low;) {
        if (!model_row(m, k, snapshot)) continue;
        expect_row(&v, m, k, snapshot);
        must(view_iter_prev(&v, &test_err));
    }
    if (v.entry.valid)
        ck_abort_msg("%.*s is too much", (int)v.entry.key.len, (const char *)v.entry.key.data);
    view_iter_release(&v);
    range_set_free(hidden);
}

static void check_gets(const struct model *m, uint64_t snapshot) {
    uint64_t checks = 0, rejects = 0;
    for (unsigned k = 0; k < MODEL_KEYS; k++) {
        const struct change *c = model_row(m, k, snapshot);
        struct table_value v;
        int rc = tree_get(m->version, &tree.home, slice_of_str(m->keys[k]), snapshot, 0, &v,
                          &checks, &rejects, &test_err);
        if (rc < 0) ck_abort_msg("%s", test_err.msg);
        bool found = rc == 0 && v.type == ENTRY_PUT;
        if (found != (c != NULL))
            ck_abort_msg("%s at %d: found %d", m->keys[k], (int)snapshot, found);
        if (found && (v.seq != c->seq || !is_value(v.value, c)))
            ck_abort_msg("value of %s", m->keys[k]);
        if (rc == 0 && v.block) cache_unpin(tree.cache, v.block);
    }
}

static void check_snapshot(const struct model *m, uint64_t snapshot, struct rng *rng) {
    unsigned low = (unsigned)rng_below(rng, MODEL_KEYS);
    unsigned high = low + (unsigned)rng_below(rng, MODEL_KEYS - low + 1);
    check_scan(m, snapshot, 0, MODEL_KEYS);
    check_scan(m, snapshot, low, high);
    check_gets(m, snapshot);
}

/* A key ends with its index. */
static unsigned index_of(slice key) {
    unsigned k = 0;
    for (size_t i = key.len - 4; i < key.len; i++)
        k = k * 10 + key.data[i] - '0';
    return k;
}

/* Going down a tree, the versions of a key get older. */
static void check_order(const struct model *m) {
    uint64_t oldest[MODEL_KEYS];
    for (unsigned k = 0; k < MODEL_KEYS; k++)
        oldest[k] = UINT64_MAX;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        for (size_t i = 0; i < m->version->levels[l].count; i++) {
            struct iter *it;
            must(file_iter_new(m->version->levels[l].files[i], false, &it, &test_err));
            must(it->ops->seek_first(it, &test_err));
            while (it->valid) {
                unsigned k = index_of(it->key);
                if (it->seq >= oldest[k])
                    ck_abort_msg("%s: %d below %d in level %u", m->keys[k], (int)it->seq,
                                 (int)oldest[k], l);
                oldest[k] = it->seq;
                must(it->ops->next(it, &test_err));
            }
            iter_close(it);
        }
    }
}

static void check_model(const struct model *m, struct rng *rng) {
    for (size_t i = 0; i < m->pin_count; i++)
        check_snapshot(m, m->pins[i], rng);
    check_snapshot(m, m->flushed, rng);
    if (m->floor <= m->flushed)
        check_snapshot(m, m->floor + rng_below(rng, m->flushed - m->floor + 1), rng);
}

static void change_pins(struct model *m, struct rng *rng) {
    if (m->pin_count && rng_below(rng, 2)) {
        size_t i = rng_below(rng, m->pin_count--);
        memmove(&m->pins[i], &m->pins[i + 1], (m->pin_count - i) * sizeof *m->pins);
    }
    if (m->pin_count < MAX_PINS && m->flushed && rng_below(rng, 2) &&
        (m->pin_count == 0 || m->pins[m->pin_count - 1] < m->flushed))
        m->pins[m->pin_count++] = m->flushed;
}

static size_t file_total(const struct version *v) {
    size_t count = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        count += v->levels[l].count;
    return count;
}

/* At last nobody needs anything old: one version a row is left, and no tombstone. */
static void check_end(struct model *m, struct rng *rng) {
    struct compaction c;
    struct compact_pass pass = {0};
    m->pin_count = 0;
    struct compact_options o = options_of(m);
    for (unsigned steps = 0; compact_pick_pass(m->version, &o, &pass, &c, &test_err) == 0;
         steps++) {
        model_run(m, &c);
        check_snapshot(m, m->flushed, rng);
        ck_assert_uint_lt(steps, 200);
    }
    compact_pass_release(&pass);
    uint64_t entries = 0, rows = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        for (size_t i = 0; i < m->version->levels[l].count; i++) {
            entries += m->version->levels[l].files[i]->entry_count;
            ck_assert_uint_eq(m->version->levels[l].files[i]->tombstone_count, 0);
            ck_assert_uint_eq(m->version->levels[l].files[i]->range_count, 0);
        }
    for (unsigned k = 0; k < MODEL_KEYS; k++)
        rows += model_row(m, k, m->flushed) != NULL;
    ck_assert_uint_eq(entries, rows);
}

START_TEST(model) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct model m;
    unsigned merges = 0, moves = 0, drops = 0;
    model_init(&m);
    qsort(m.keys, MODEL_KEYS, sizeof *m.keys, compare_names);
    for (unsigned k = 0; k < MODEL_KEYS; k++) /* check_order reads the index from a key's end */
        snprintf(m.keys[k] + strlen(m.keys[k]) - 4, 5, "%04u", k);
    for (unsigned round = 0; round < 25; round++) {
        struct compaction c;
        struct compact_options o;
        unsigned steps = 0;
        change_pins(&m, &rng);
        model_write(&m, &rng, 1 + rng_below(&rng, 80), false);
        check_model(&m, &rng);
        if (rng_below(&rng, 2)) {
            drops += model_drop(&m);
            check_model(&m, &rng);
        }
        while ((o = options_of(&m), compact_pick(m.version, &o, &c, &test_err)) == 0) {
            if (++steps > 500) ck_abort_msg("compaction never ends");
            moves += c.trivial_move;
            merges += !c.trivial_move;
            model_run(&m, &c);
            check_order(&m);
            check_model(&m, &rng);
            if (rng_below(&rng, 3) == 0) change_pins(&m, &rng);
            if (tree_file_count(&tree) != file_total(m.version)) ck_abort_msg("files too many");
        }
    }
    ck_assert_uint_gt(merges, 5);
    (void)moves;
    (void)drops;
    model_write(&m, &rng, MODEL_KEYS, true);
    check_end(&m, &rng);
    model_release(&m);
}
END_TEST
int main(void) {
    Suite *suite = suite_create("build_model");
    TCase *tcase = tcase_create("build_model");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, model, 0, 8);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
