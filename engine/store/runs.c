#include "engine/store/runs.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/checksum.h"
#include "engine/base/error.h"
#include "engine/store/work.h"
#include "engine/tree/hidden.h"
#include "engine/tree/merge_iter.h"
#include "engine/tree/seq_iter.h"

/* ---- what there is ----------------------------------------------------------------- */

static const struct level *level_of(const struct runs *r, unsigned level) {
    return &r->version->levels[level];
}

/* The newest run comes first in level 0, and its cap last. */
static uint64_t cap_of(const struct runs *r, unsigned level, size_t file) {
    return level ? r->level_cap[level] : r->cap[level_of(r, 0)->count - 1 - file];
}

static bool counts(const struct runs *r, unsigned level, size_t file) {
    return level_of(r, level)->files[file]->min_seq <= cap_of(r, level, file);
}

/* Whether some of the table was undone. */
static bool is_cut(const struct runs *r, unsigned level, size_t file) {
    return level_of(r, level)->files[file]->max_seq > cap_of(r, level, file);
}

static void mark_obsolete(const struct version *v, unsigned level) {
    for (size_t i = 0; i < v->levels[level].count; i++)
        atomic_store(&v->levels[level].files[i]->obsolete, true);
}

static void forget_caps(struct runs *r) {
    for (unsigned i = 0; i < RUNS_MERGE; i++)
        r->cap[i] = SEQ_MAX;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        r->level_cap[l] = SEQ_MAX;
}

void runs_release(struct runs *r) {
    if (!r->version) return;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS && !r->handed_over; l++)
        mark_obsolete(r->version, l);
    version_unref(r->version);
    r->version = NULL;
    r->handed_over = false;
    r->changes++;
}

bool runs_is_empty(const struct runs *r) {
    for (unsigned l = 0; r->version && l < KEVO_MAX_LEVELS; l++) {
        for (size_t i = 0; i < level_of(r, l)->count; i++)
            if (counts(r, l, i)) return false;
    }
    return true;
}

void runs_undo(struct runs *r, uint64_t op) {
    uint64_t most = SEQ_PRIVATE + op;
    if (!r->version) return;
    for (size_t i = 0; i < level_of(r, 0)->count; i++)
        if (r->cap[i] > most) r->cap[i] = most;
    for (unsigned l = 1; l < KEVO_MAX_LEVELS; l++)
        if (level_of(r, l)->count && r->level_cap[l] > most) r->level_cap[l] = most;
    r->changes++;
}

/* ---- reading ------------------------------------------------------------------------ */

static int get_in(struct table_file *f, uint64_t cap, slice key, struct table_value *v,
                  uint64_t *cover, struct kevo_err *err) {
    struct table *t;
    if (!table_file_overlaps(f, key, slice_of(NULL, 0)) || table_file_is_above(f, key))
        return KEVO_NOTFOUND;
    int rc = table_file_borrow(f, &t, err);
    if (rc) return rc;
    if (table_ranges(t)) *cover = range_set_cover(table_ranges(t), key, cap);
    return table_get(t, key, key_hash(key), cap, v, NULL, err);
}

/* What a run has of a key is newer than what the next one has. */
int runs_get(const struct runs *r, slice key, struct table_value *v, uint64_t *cover,
             struct kevo_err *err) {
    int rc = KEVO_NOTFOUND;
    *v = (struct table_value){0};
    *cover = 0;
    for (unsigned l = 0; r->version && l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = level_of(r, l);
        for (size_t i = l ? level_find(level, key) : 0; i < level->count; i++) {
            rc = get_in(level->files[i], cap_of(r, l, i), key, v, cover, err);
            if (rc != KEVO_NOTFOUND || *cover) return rc;
            if (l) break;
        }
    }
    return rc;
}

int runs_list_ranges(const struct runs *r, slice lower, slice upper, struct range_list *list,
                     struct kevo_err *err) {
    int rc = 0;
    for (unsigned l = 0; r->version && l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = level_of(r, l);
        for (size_t i = 0; level->range_count && i < level->count && rc == 0; i++) {
            struct table_file *f = level->files[i];
            struct table *t;
            if (f->range_count == 0 || !table_file_overlaps(f, lower, upper)) continue;
            rc = table_file_borrow(f, &t, err);
            if (rc == 0)
                rc = range_list_add_visible(list, table_ranges(t), lower, upper, cap_of(r, l, i),
                                            err);
        }
    }
    return rc;
}

/* A source without what was undone, its numbers less `less`; the source is taken over in any
 * case. */
static int limit(struct iter *source, uint64_t cap, uint64_t less, struct iter **it,
                 struct kevo_err *err) {
    *it = source;
    if (cap == SEQ_MAX && less == 0) return 0;
    int rc = seq_iter_new(source, cap, less, it, err);
    if (rc) iter_close(source);
    return rc;
}

static int open_level0(const struct runs *r, slice lower, slice upper,
                       const struct range_set *hidden, struct iter **list, size_t *count,
                       struct kevo_err *err) {
    const struct level *level = level_of(r, 0);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < level->count; i++) {
        struct iter *it;
        if (!counts(r, 0, i) || !table_file_overlaps(level->files[i], lower, upper)) continue;
        rc = file_iter_new(level->files[i], true, &it, err);
        if (rc) break;
        if (hidden) level_iter_hide(it, hidden);
        rc = limit(it, cap_of(r, 0, i), 0, &list[*count], err);
        if (rc == 0) ++*count;
    }
    return rc;
}

static int open_deeper(const struct runs *r, unsigned l, slice lower, slice upper,
                       const struct range_set *hidden, struct iter **list, size_t *count,
                       struct kevo_err *err) {
    const struct level *level = level_of(r, l);
    struct iter *it;
    size_t first = lower.data ? level_find(level, lower) : 0;
    if (first == level->count || !table_file_overlaps(level->files[first], lower, upper)) return 0;
    int rc = level_iter_new(r->version, l, lower, upper, true, &it, err);
    if (rc) return rc;
    if (hidden) level_iter_hide(it, hidden);
    rc = limit(it, r->level_cap[l], 0, &list[*count], err);
    if (rc == 0) ++*count;
    return rc;
}

static void close_all(struct iter **list, size_t *count) {
    while (*count > 0)
        iter_close(list[--*count]);
}

int runs_iters(const struct runs *r, slice lower, slice upper, const struct range_set *hidden,
               struct iter **list, size_t *count, struct kevo_err *err) {
    *count = 0;
    if (!r->version) return 0;
    int rc = open_level0(r, lower, upper, hidden, list, count, err);
    for (unsigned l = 1; rc == 0 && l < KEVO_MAX_LEVELS; l++)
        rc = open_deeper(r, l, lower, upper, hidden, list, count, err);
    if (rc) close_all(list, count);
    return rc;
}

/* ---- writing ------------------------------------------------------------------------- */

static const uint64_t no_snapshot = 0; /* every version stays */

static uint64_t next_file(void *arg) {
    struct runs *r = arg;
    return store_next_file(r->store);
}

static bool is_cancelled(void *arg) {
    struct runs *r = arg;
    return r->cancelled && r->cancelled(r->cancelled_arg);
}

static struct build build_of(struct runs *r, unsigned level, uint64_t table_bytes) {
    kevo_store *s = r->store;
    return (struct build){
        .home = &s->home,
        /* They will lie deep in the tree, most of them. */
        .table = work_writer_options(s, KEVO_MAX_LEVELS - 1),
        .table_bytes = table_bytes,
        .level = level,
        .snapshots = &no_snapshot,
        .snapshot_count = 1,
        .next_file_number = next_file,
        .cancelled = is_cancelled,
        .arg = r,
    };
}

/* The part of a list from `from` on, read with SEQ_PRIVATE added: without what was undone, and
 * counted from 1. */
static void lower_ranges(struct range_list *list, size_t from, uint64_t cap) {
    size_t kept = from;
    for (size_t i = from; i < list->count; i++) {
        if (list->ranges[i].seq > cap) continue;
        list->ranges[kept] = list->ranges[i];
        list->ranges[kept++].seq -= SEQ_PRIVATE;
    }
    list->count = kept;
}

/* Build tables of a source and a list of range tombstones into the edit. The source is taken
 * over in any case, NULL: there is none. */
static int build(struct runs *r, struct iter *source, struct range_list *ranges, unsigned level,
                 uint64_t table_bytes, struct version_edit *edit, struct kevo_err *err) {
    struct build b = build_of(r, level, table_bytes);
    struct range_set *set;
    size_t before = edit->added_count;
    int rc = range_set_new(ranges, false, &set, err);
    b.ranges = set;
    if (rc == 0) rc = build_tables(&b, source, edit, err);
    for (size_t i = before; rc == 0 && i < edit->added_count; i++)
        table_file_set_base(edit->added[i].file, SEQ_PRIVATE);
    range_set_free(set);
    iter_close(source);
    return rc;
}

/* The edit becomes the state of the runs, or its new files go. */
static int apply(struct runs *r, struct version_edit *edit, struct kevo_err *err) {
    struct version *fresh = NULL, *base = r->version;
    if (!base) base = version_new();
    int rc = base ? version_apply(base, edit, &fresh, err) : kevo_nomem(err);
    if (base != r->version) version_unref(base);
    if (rc) {
        for (size_t i = 0; i < edit->added_count; i++)
            atomic_store(&edit->added[i].file->obsolete, true);
        return rc;
    }
    if (!r->version) forget_caps(r);
    version_unref(r->version);
    r->version = fresh;
    r->changes++;
    return 0;
}

/* ---- merging -------------------------------------------------------------------------- */

/* What is merged: tables of level 0 from `first` on, `count` of them, and the levels from
 * `from` to `to`. */
struct merge {
    size_t first, count;
    unsigned from, to; /* from > to: no level */
    unsigned into;     /* the level of the result */
    uint64_t in_bytes; /* of all of it */
};

static int merge_sources(const struct runs *r, const struct merge *m, struct iter **list,
                         size_t *opened, struct range_list *ranges, struct kevo_err *err) {
    const struct level *level = level_of(r, 0);
    int rc = 0;
    for (size_t i = m->first; rc == 0 && i < m->first + m->count; i++) {
        struct iter *it;
        size_t had = ranges->count;
        rc = file_iter_new(level->files[i], false, &it, err);
        if (rc == 0) rc = limit(it, cap_of(r, 0, i), SEQ_PRIVATE, &list[*opened], err);
        if (rc == 0) ++*opened;
        if (rc == 0) rc = hidden_list(&level->files[i], 1, ranges, err);
        if (rc == 0) lower_ranges(ranges, had, cap_of(r, 0, i));
    }
    for (unsigned l = m->from; rc == 0 && l <= m->to; l++) {
        struct iter *it;
        size_t had = ranges->count;
        level = level_of(r, l);
        if (level->count == 0) continue;
        rc = files_iter_new(level->files, level->count, false, &it, err);
        if (rc == 0) rc = limit(it, r->level_cap[l], SEQ_PRIVATE, &list[*opened], err);
        if (rc == 0) ++*opened;
        if (rc == 0) rc = hidden_list(level->files, level->count, ranges, err);
        if (rc == 0) lower_ranges(ranges, had, r->level_cap[l]);
    }
    return rc;
}

static int delete_sources(const struct runs *r, const struct merge *m, struct version_edit *edit,
                          struct kevo_err *err) {
    const struct level *level = level_of(r, 0);
    int rc = 0;
    for (size_t i = m->first; rc == 0 && i < m->first + m->count; i++)
        rc = edit_delete_file(edit, 0, level->files[i]->number, err);
    for (unsigned l = m->from; rc == 0 && l <= m->to; l++) {
        level = level_of(r, l);
        for (size_t i = 0; rc == 0 && i < level->count; i++)
            rc = edit_delete_file(edit, l, level->files[i]->number, err);
    }
    return rc;
}

static void retire_sources(const struct version *old, const struct merge *m) {
    for (size_t i = m->first; i < m->first + m->count; i++)
        atomic_store(&old->levels[0].files[i]->obsolete, true);
    for (unsigned l = m->from; l <= m->to; l++)
        mark_obsolete(old, l);
}

/* The caps of what is left: what was written anew has none. Level 0 has the newest files
 * first, the caps last. */
static void keep_caps(struct runs *r, const struct version *old, const struct merge *m) {
    size_t had = old->levels[0].count, has = level_of(r, 0)->count;
    for (unsigned l = m->from; l <= m->to; l++)
        r->level_cap[l] = SEQ_MAX;
    r->level_cap[m->into] = SEQ_MAX;
    if (m->count == 0) return;
    size_t oldest = had - m->first - m->count; /* the place in `cap` of the oldest merged */
    if (m->into == 0 && has == had) {
        r->cap[oldest] = SEQ_MAX;
        return;
    }
    for (size_t i = oldest; i + m->count < RUNS_MERGE; i++)
        r->cap[i] = r->cap[i + m->count];
    for (size_t i = has; i < RUNS_MERGE; i++)
        r->cap[i] = SEQ_MAX;
}

static int merge(struct runs *r, const struct merge *m, struct kevo_err *err) {
    struct iter *list[RUNS_MAX_ITERS], *merged = NULL;
    struct range_list ranges = {0};
    struct version_edit edit;
    struct version *old = r->version;
    size_t opened = 0;
    uint64_t table_bytes = m->in_bytes / RUNS_MAX_TABLES;
    if (table_bytes < r->store->options.table_bytes) table_bytes = r->store->options.table_bytes;
    edit_init(&edit);
    int rc = merge_sources(r, m, list, &opened, &ranges, err);
    if (rc == 0) rc = merge_iter_new(list, opened, &merged, err);
    if (rc) close_all(list, &opened);
    if (rc == 0) rc = build(r, merged, &ranges, m->into, m->into ? table_bytes : 0, &edit, err);
    if (rc == 0) rc = delete_sources(r, m, &edit, err);
    version_ref(old);
    if (rc == 0)
        rc = apply(r, &edit, err);
    else
        work_discard(&edit, rc);
    if (rc == 0) {
        retire_sources(old, m);
        keep_caps(r, old, m);
    }
    version_unref(old);
    range_list_release(&ranges);
    edit_release(&edit);
    return rc;
}

/* All of level 0, into the level above the shallowest run; if that is level 0, together with
 * the runs below that are no larger than what comes to them, or at least the first. */
static int merge_down(struct runs *r, struct kevo_err *err) {
    const struct version *v = r->version;
    struct merge m = {.count = v->levels[0].count, .from = 1, .in_bytes = v->levels[0].bytes};
    unsigned free = 1;
    while (free < KEVO_MAX_LEVELS && v->levels[free].count == 0)
        free++;
    m.into = free - 1;
    if (m.into == 0) {
        for (m.into = 1; m.into + 1 < KEVO_MAX_LEVELS; m.into++) {
            m.in_bytes += v->levels[m.into].bytes;
            if (v->levels[m.into + 1].bytes > m.in_bytes) break;
        }
        m.to = m.into;
    }
    return merge(r, &m, err);
}

/* Whether a file has no key range in common with any that is there. */
static bool stands_alone(const struct runs *r, const struct table_file *f) {
    slice min = buf_slice(&f->min_key), max = buf_slice(&f->max_key);
    for (unsigned l = 0; r->version && l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = level_of(r, l);
        for (size_t i = l ? level_find(level, min) : 0; i < level->count; i++) {
            if (!table_file_is_below(level->files[i], min) &&
                !table_file_is_above(level->files[i], max))
                return false;
            if (l) break;
        }
    }
    return true;
}

int runs_add(struct runs *r, struct memtable *buffer, struct kevo_err *err) {
    struct range_list ranges = {0};
    struct version_edit edit;
    struct iter *it = NULL, *source;
    enum { DEEPEST = KEVO_MAX_LEVELS - 1 };
    if (r->version && level_of(r, 0)->count == RUNS_MERGE) {
        int rc = merge_down(r, err);
        if (rc) return rc;
    }
    edit_init(&edit);
    int rc = range_stack_list(&buffer->ranges, &ranges, err);
    if (rc == 0) lower_ranges(&ranges, 0, SEQ_MAX);
    if (rc == 0) rc = memtable_iter_new(buffer, &it, err);
    if (rc == 0) rc = limit(it, SEQ_MAX, SEQ_PRIVATE, &source, err);
    if (rc == 0) rc = build(r, source, &ranges, 0, 0, &edit, err);
    if (rc == 0 && edit.added_count && stands_alone(r, edit.added[0].file) &&
        (!r->version || r->level_cap[DEEPEST] == SEQ_MAX))
        edit.added[0].level = DEEPEST;
    if (rc == 0) rc = apply(r, &edit, err);
    range_list_release(&ranges);
    edit_release(&edit);
    return rc;
}

/* ---- before the commit ------------------------------------------------------------------ */

static bool level_is_cut(const struct runs *r, unsigned l) {
    for (size_t i = 0; i < level_of(r, l)->count; i++)
        if (is_cut(r, l, i)) return true;
    return false;
}

static int settle_level(struct runs *r, unsigned l, struct kevo_err *err) {
    struct merge m = {.from = l, .to = l, .into = l, .in_bytes = level_of(r, l)->bytes};
    return level_is_cut(r, l) ? merge(r, &m, err) : 0;
}

static int settle_level0(struct runs *r, struct kevo_err *err) {
    for (size_t i = level_of(r, 0)->count; i-- > 0;) {
        if (!is_cut(r, 0, i)) continue;
        struct merge m = {.first = i, .count = 1, .from = 1, .into = 0};
        int rc = merge(r, &m, err);
        if (rc) return rc;
    }
    return 0;
}

int runs_settle(struct runs *r, struct kevo_err *err) {
    kevo_store *s = r->store;
    int rc = settle_level0(r, err);
    for (unsigned l = 1; rc == 0 && l < KEVO_MAX_LEVELS; l++)
        rc = settle_level(r, l, err);
    return rc ? rc : s->env->sync_dir(s->env, s->dir, err);
}

static int name_file(struct table_file *f, uint64_t base_seq, struct version_edit *edit,
                     struct kevo_err *err) {
    struct table_file *copy = table_file_rebased(f, base_seq);
    int rc = copy ? edit_add_file(edit, 0, copy, err) : kevo_nomem(err);
    table_file_unref(copy);
    return rc;
}

int runs_name(const struct runs *r, uint64_t base_seq, struct version_edit *edit,
              struct kevo_err *err) {
    int rc = 0;
    for (unsigned l = KEVO_MAX_LEVELS; rc == 0 && l-- > 0;) {
        for (size_t i = level_of(r, l)->count; rc == 0 && i-- > 0;)
            rc = name_file(level_of(r, l)->files[i], base_seq, edit, err);
    }
    return rc;
}
