#include "engine/tree/version.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/checksum.h"
#include "engine/base/error.h"
#include "engine/tree/manifest.h"

/* ---- versions ---------------------------------------------------------------- */

struct version *version_new(void) {
    struct version *v = mem_zalloc(sizeof *v);
    if (!v) return NULL;
    atomic_init(&v->refs, 1);
    v->dense_seq = UINT64_MAX;
    v->is_settled = true;
    return v;
}

void version_ref(struct version *v) {
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
}

void version_unref(struct version *v) {
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1) return;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        for (size_t i = 0; i < v->levels[l].count; i++)
            table_file_unref(v->levels[l].files[i]);
        mem_free(v->levels[l].files);
    }
    mem_free(v);
}

/* Order in level 0: newest first. The number only makes the order total. */
static int compare_age(const struct table_file *a, const struct table_file *b) {
    if (a->max_seq != b->max_seq) return a->max_seq > b->max_seq ? -1 : 1;
    return (a->number < b->number) - (a->number > b->number);
}

static int compare_place(unsigned level, const struct table_file *a, const struct table_file *b) {
    return level == 0 ? compare_age(a, b)
                      : slice_cmp(buf_slice(&a->min_key), buf_slice(&b->min_key));
}

static int sort_by_age(const void *a, const void *b) {
    return compare_age(*(struct table_file *const *)a, *(struct table_file *const *)b);
}

static int sort_by_key(const void *a, const void *b) {
    return compare_place(1, *(struct table_file *const *)a, *(struct table_file *const *)b);
}

static int compare_number(uint64_t a, uint64_t b) {
    return (a > b) - (a < b);
}

static int sort_by_number(const void *a, const void *b) {
    return compare_number(*(const uint64_t *)a, *(const uint64_t *)b);
}

/* The numbers an edit deletes from one level, and those it adds there. */
struct level_edit {
    uint64_t *deleted; /* ascending */
    size_t deleted_count;
    struct table_file **added; /* in the level's order */
    size_t added_count;
};

static void level_edit_release(struct level_edit *e) {
    mem_free(e->deleted);
    mem_free(e->added);
}

static int level_edit_init(struct level_edit *e, const struct version_edit *edit, unsigned level,
                           struct kevo_err *err) {
    *e = (struct level_edit){0};
    for (size_t i = 0; i < edit->deleted_count; i++)
        e->deleted_count += edit->deleted[i].level == level;
    for (size_t i = 0; i < edit->added_count; i++)
        e->added_count += edit->added[i].level == level;
    e->deleted = mem_array(e->deleted_count, sizeof *e->deleted);
    e->added = mem_array(e->added_count, sizeof(struct table_file *));
    if (!e->deleted || !e->added) {
        level_edit_release(e);
        return kevo_nomem(err);
    }
    size_t d = 0, a = 0;
    for (size_t i = 0; i < edit->deleted_count; i++)
        if (edit->deleted[i].level == level) e->deleted[d++] = edit->deleted[i].number;
    for (size_t i = 0; i < edit->added_count; i++)
        if (edit->added[i].level == level) e->added[a++] = edit->added[i].file;
    if (d > 1) qsort(e->deleted, d, sizeof *e->deleted, sort_by_number);
    if (a > 1) qsort(e->added, a, sizeof *e->added, level ? sort_by_key : sort_by_age);
    return 0;
}

static bool is_deleted(const struct level_edit *e, uint64_t number) {
    return e->deleted_count &&
           bsearch(&number, e->deleted, e->deleted_count, sizeof number, sort_by_number);
}

static void level_push(struct level *l, struct table_file *f) {
    table_file_ref(f);
    l->files[l->count++] = f;
    l->bytes += f->size_bytes;
    l->range_count += f->range_count;
}

static int level_apply(const struct level *base, const struct level_edit *e, unsigned level,
                       struct level *out, struct kevo_err *err) {
    size_t added = 0, gone = 0;
    out->files = mem_array(base->count + e->added_count, sizeof(struct table_file *));
    if (!out->files) return kevo_nomem(err);
    for (size_t i = 0; i < base->count; i++) {
        if (is_deleted(e, base->files[i]->number)) {
            gone++;
            continue;
        }
        while (added < e->added_count && compare_place(level, e->added[added], base->files[i]) < 0)
            level_push(out, e->added[added++]);
        level_push(out, base->files[i]);
    }
    while (added < e->added_count)
        level_push(out, e->added[added++]);
    if (gone != e->deleted_count)
        return kevo_fail(err, KEVO_CORRUPT,
                         "version edit deletes a table that level %u does not have", level);
    return 0;
}

static void note_dense(struct version *v, unsigned level) {
    const struct level *l = &v->levels[level];
    for (size_t i = 0; i < l->count; i++) {
        if (table_file_is_dense(l->files[i], level) && l->files[i]->max_seq < v->dense_seq)
            v->dense_seq = l->files[i]->max_seq;
    }
}

static void note_settled(struct version *v) {
    unsigned used = 0;
    v->is_settled = v->levels[0].count == 0;
    for (unsigned l = 1; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &v->levels[l];
        used += level->count > 0;
        for (size_t i = 0; v->is_settled && i < level->count; i++)
            v->is_settled = level->files[i]->garbage_seq == 0;
    }
    v->is_settled &= used <= 1;
}

static int check_level(const struct level *l, unsigned level, struct kevo_err *err) {
    for (size_t i = 0; level > 0 && i + 1 < l->count; i++) {
        const struct table_file *a = l->files[i], *b = l->files[i + 1];
        if (!table_file_is_below(a, buf_slice(&b->min_key)))
            return kevo_fail(err, KEVO_CORRUPT,
                             "tables %" PRIu64 " and %" PRIu64 " of level %u overlap", a->number,
                             b->number, level);
    }
    return 0;
}

/* No file may be in a version twice. Only what was added can be. */
static int check_numbers(const struct version *v, const struct version_edit *edit,
                         struct kevo_err *err) {
    size_t count = edit->added_count;
    if (count == 0) return 0;
    uint64_t *numbers = mem_array(count, sizeof *numbers);
    if (!numbers) return kevo_nomem(err);
    for (size_t i = 0; i < count; i++)
        numbers[i] = edit->added[i].file->number;
    qsort(numbers, count, sizeof *numbers, sort_by_number);
    size_t found = 0;
    bool twice = false;
    for (size_t i = 1; i < count; i++)
        twice |= numbers[i] == numbers[i - 1];
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        for (size_t i = 0; i < v->levels[l].count; i++)
            if (bsearch(&v->levels[l].files[i]->number, numbers, count, sizeof *numbers,
                        sort_by_number))
                found++;
    mem_free(numbers);
    twice |= found != count;
    return twice ? kevo_fail(err, KEVO_CORRUPT, "version edit adds a table twice") : 0;
}

int version_apply(const struct version *base, const struct version_edit *edit, struct version **v,
                  struct kevo_err *err) {
    int rc = 0;
    *v = NULL;
    struct version *next = version_new();
    if (!next) return kevo_nomem(err);
    for (unsigned l = 0; l < KEVO_MAX_LEVELS && rc == 0; l++) {
        struct level_edit e;
        rc = level_edit_init(&e, edit, l, err);
        if (rc) break;
        rc = level_apply(&base->levels[l], &e, l, &next->levels[l], err);
        level_edit_release(&e);
        if (rc == 0) rc = check_level(&next->levels[l], l, err);
        if (rc == 0) note_dense(next, l);
    }
    if (rc == 0) rc = check_numbers(next, edit, err);
    if (rc) {
        version_unref(next);
        return rc;
    }
    note_settled(next);
    *v = next;
    return 0;
}

size_t level_find(const struct level *l, slice key) {
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (table_file_is_below(l->files[mid], key))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* ---- point lookups ------------------------------------------------------------ */

static bool may_hold(const struct table_file *f, slice key, uint64_t max_seq) {
    return f->min_seq <= max_seq && !table_file_is_above(f, key) && !table_file_is_below(f, key);
}

/* The table of file f, or NULL: what its range tombstones hide is all that it could have. */
static inline int open_file(struct version_lookup *q, struct table_file *f, struct table **t,
                            struct kevo_err *err) {
    int rc = table_file_borrow(f, t, err);
    if (rc || !f->range_count || !table_ranges(*t)) return rc;
    uint64_t cover = range_set_cover(table_ranges(*t), q->key, q->max_seq);
    if (cover > q->cover) q->cover = cover;
    if (q->cover > f->max_seq) *t = NULL;
    return 0;
}

/* What a table said: `rc`, and the value. */
static inline int take(struct version_lookup *q, int rc, const struct table_value *v) {
    if (rc) return rc == KEVO_NOTFOUND ? 0 : rc;
    if (q->found && q->best.seq >= v->seq) {
        if (v->block) cache_unpin(q->home->cache, v->block);
        return 0;
    }
    if (q->found && q->best.block) cache_unpin(q->home->cache, q->best.block);
    q->best = *v;
    q->found = true;
    return 0;
}

static int ask(struct version_lookup *q, struct table_file *f, struct kevo_err *err) {
    struct table *t;
    struct table_value v = {0};
    bool filtered = false;
    int rc = open_file(q, f, &t, err);
    if (rc || !t) return rc;
    rc = table_get(t, q->key, q->hash, q->max_seq, &v, &filtered, err);
    q->filter_checks++;
    q->filter_rejects += filtered;
    return take(q, rc, &v);
}

/* The table that the lookup was aimed at. */
static int ask_aimed(struct version_lookup *q, struct kevo_err *err) {
    struct table_value v;
    if (!q->table) return 0;
    return take(q, table_get_at(q->table, q->place, &q->hold, q->key, q->max_seq, &v, err), &v);
}

/* The files below level 0 that may hold the key, newest first: one a level. */
static void find_deeper(struct version_lookup *q) {
    size_t count = 0;
    for (unsigned l = 1; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &q->version->levels[l];
        if (level->count == 0) continue;
        size_t i = level_find(level, q->key), at = count;
        if (i == level->count) continue;
        struct table_file *f = level->files[i]; /* which is not below the key */
        if (f->min_seq > q->max_seq || table_file_is_above(f, q->key)) continue;
        for (; at > 0 && q->deeper[at - 1]->max_seq < f->max_seq; at--)
            q->deeper[at] = q->deeper[at - 1];
        q->deeper[at] = f;
        count++;
    }
    q->deeper_count = count;
}

static void will_ask(const struct version_lookup *q, struct table_file *f) {
    struct table *t = atomic_load_explicit(&f->table, memory_order_acquire);
    if (t) table_will_get(t, q->hash);
}

void version_lookup_init(struct version_lookup *q, const struct version *version,
                         const struct table_home *home, slice key, uint64_t hash,
                         uint64_t max_seq) {
    const struct level *top = &version->levels[0];
    q->version = version;
    q->home = home;
    q->key = key;
    q->hash = hash;
    q->max_seq = max_seq;
    q->filter_checks = q->filter_rejects = 0;
    q->cover = 0;
    q->top_next = q->deeper_next = 0;
    q->table = NULL;
    q->hold = (struct table_hold){.asked = false};
    q->best = (struct table_value){0};
    q->found = false;
    find_deeper(q);
    for (size_t k = 0; k < q->deeper_count; k++)
        will_ask(q, q->deeper[k]);
    for (size_t k = 0; k < top->count; k++)
        if (may_hold(top->files[k], key, max_seq)) will_ask(q, top->files[k]);
}

/* The next file to be asked. Both lists have the newest first: what is found, or hides the rest,
 * ends the search as soon as neither can hold anything newer. */
static inline struct table_file *next_file(struct version_lookup *q) {
    const struct level *top = &q->version->levels[0];
    size_t i = q->top_next;
    while (i < top->count && !may_hold(top->files[i], q->key, q->max_seq))
        i++;
    q->top_next = i;
    struct table_file *f = i < top->count ? top->files[i] : NULL;
    if (q->deeper_next < q->deeper_count && (!f || q->deeper[q->deeper_next]->max_seq > f->max_seq))
        f = q->deeper[q->deeper_next++];
    else
        q->top_next++;
    return f && !(q->found && q->best.seq >= f->max_seq) && q->cover <= f->max_seq ? f : NULL;
}

void version_lookup_aim(struct version_lookup *q, uint64_t cover) {
    q->cover = cover;
    for (struct table_file *f; (f = next_file(q));) {
        struct table *t;
        if (open_file(q, f, &t, NULL)) {
            q->top_next = q->deeper_next = 0;
            return;
        }
        if (!t) continue;
        q->filter_checks++;
        if (table_may_have(t, q->hash, q->max_seq)) {
            q->table = t;
            q->place = table_will_find(t, q->key);
            return;
        }
        q->filter_rejects++;
    }
}

void version_lookup_find(struct version_lookup *q) {
    if (q->table) q->place = table_find(q->table, q->key, q->place);
}

void version_lookup_hold(struct version_lookup *q, const struct version_lookup *before) {
    bool same = before && before->table == q->table && before->place == q->place;
    if (q->table && !same) table_hold(q->table, q->place, q->key, &q->hold);
}

void version_lookup_will_read(const struct version_lookup *q) {
    if (q->table) table_will_read(q->table, q->place, &q->hold);
}

void version_lookup_drop(struct version_lookup *q) {
    if (q->hold.block) cache_unpin(q->home->cache, q->hold.block);
    q->hold = (struct table_hold){.asked = false};
}

int version_lookup_get(struct version_lookup *q, uint64_t cover, struct table_value *v,
                       struct kevo_err *err) {
    if (cover > q->cover) q->cover = cover;
    *v = (struct table_value){0};
    int rc = ask_aimed(q, err);
    for (struct table_file *f; rc == 0 && (f = next_file(q));)
        rc = ask(q, f, err);
    if (rc || (q->found && q->best.seq < q->cover)) {
        if (q->found && q->best.block) cache_unpin(q->home->cache, q->best.block);
        return rc ? rc : KEVO_NOTFOUND;
    }
    *v = q->best;
    return q->found ? 0 : KEVO_NOTFOUND;
}

/* ---- estimates ----------------------------------------------------------------- */

static bool lies_over_others(const struct version *v, unsigned level, const struct table_file *f) {
    for (unsigned l = level + 1; l < KEVO_MAX_LEVELS; l++) {
        const struct level *deeper = &v->levels[l];
        size_t i = level_find(deeper, buf_slice(&f->min_key));
        if (i < deeper->count && !table_file_is_above(deeper->files[i], buf_slice(&f->max_key)))
            return true;
    }
    return false;
}

uint64_t version_live_bytes(const struct version *version) {
    double bytes = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        for (size_t i = 0; i < version->levels[l].count; i++) {
            const struct table_file *f = version->levels[l].files[i];
            if (f->key_count <= f->tombstone_count || lies_over_others(version, l, f)) continue;
            bytes += (double)f->size_bytes * (double)(f->key_count - f->tombstone_count) /
                     (double)f->entry_count;
        }
    }
    return (uint64_t)bytes;
}

static int estimate_file(struct table_file *f, slice lower, slice upper, uint64_t *entries,
                         uint64_t *bytes, struct kevo_err *err) {
    bool from_start = !lower.data || slice_cmp(lower, buf_slice(&f->min_key)) <= 0;
    bool to_end = !upper.data || table_file_is_below(f, upper);
    uint64_t low_bytes = 0, low_entries = 0;
    uint64_t high_bytes = f->size_bytes, high_entries = f->entry_count;
    struct table *t;
    if (!from_start || !to_end) {
        int rc = table_file_acquire(f, &t, err);
        if (rc) return rc;
        if (!from_start) table_position(t, lower, &low_bytes, &low_entries);
        if (!to_end) table_position(t, upper, &high_bytes, &high_entries);
        table_close(t);
    }
    if (high_bytes > low_bytes) *bytes += high_bytes - low_bytes;
    if (high_entries > low_entries) *entries += high_entries - low_entries;
    return 0;
}

int version_estimate(const struct version *version, slice lower, slice upper,
                     const struct range_set *hidden, uint64_t *entries, uint64_t *bytes,
                     struct kevo_err *err) {
    uint64_t nobody_sees = 0;
    *entries = *bytes = 0;
    if (lower.data && upper.data && slice_cmp(lower, upper) >= 0) return 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &version->levels[l];
        for (size_t i = l && lower.data ? level_find(level, lower) : 0; i < level->count; i++) {
            struct table_file *f = level->files[i];
            if (!table_file_overlaps(f, lower, upper)) {
                if (l) break;
                continue;
            }
            int rc = estimate_file(f, lower, upper,
                                   table_file_is_hidden(f, hidden, NULL) ? &nobody_sees : entries,
                                   bytes, err);
            if (rc) return rc;
        }
    }
    return 0;
}
