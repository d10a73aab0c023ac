#include "engine/tree/compact_pick.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"

enum {
    GRANDPARENT_TABLES = 10, /* overlap two levels below that an output table may have */
    WIDEN_TABLES = 25,       /* input bytes up to which the upper side is widened */
    SMALL_L0 = 4,            /* level 0 is small below this part of what it overlaps */
    CROWD_FILES = 16,        /* so many files, and as many for each table's worth of bytes,
                                a level may have before small ones are merged */
    CROWD_RUN = 8,           /* so many of them at once */
    CROWD_LOOK = 64          /* files to look at for such a run */
};

/* Inclusive, but for max when `ends_below`. */
struct span {
    slice min, max;
    bool ends_below;
};

void compaction_release(struct compaction *c) {
    mem_free(c->inputs[0]);
    mem_free(c->inputs[1]);
    version_unref(c->version);
    *c = (struct compaction){0};
}

/* ---- scores ----------------------------------------------------------------------- */

static unsigned deepest_level(const struct version *v) {
    unsigned deepest = KEVO_MAX_LEVELS - 1;
    while (deepest > 0 && v->levels[deepest].count == 0)
        deepest--;
    return deepest;
}

/* What each level may hold. */
static void set_targets(const struct version *v, const struct compact_options *o,
                        double targets[KEVO_MAX_LEVELS]) {
    unsigned deepest = deepest_level(v);
    double target = (double)o->level1_bytes, held = (double)v->levels[deepest].bytes;
    for (unsigned l = 1; l < KEVO_MAX_LEVELS; l++, target *= o->level_factor)
        targets[l] = target;
    for (unsigned l = deepest; l-- > 1;) {
        held /= o->level_factor;
        if (held < (double)o->level1_bytes) held = (double)o->level1_bytes;
        if (targets[l] > held) targets[l] = held;
    }
}

double compact_score(const struct version *v, const struct compact_options *o, unsigned *level) {
    double targets[KEVO_MAX_LEVELS], best = (double)v->levels[0].count / o->l0_trigger;
    set_targets(v, o, targets);
    *level = 0;
    for (unsigned l = 1; l + 1 < KEVO_MAX_LEVELS; l++) {
        double score = (double)v->levels[l].bytes / targets[l];
        if (score > best) {
            best = score;
            *level = l;
        }
    }
    return best;
}

static bool is_crowded(const struct level *l, const struct compact_options *o) {
    return l->count > CROWD_FILES + CROWD_FILES * (l->bytes / o->table_bytes);
}

bool compact_is_due(const struct version *v, const struct compact_options *o) {
    unsigned level;
    bool due = v->dense_seq <= o->oldest_snapshot || compact_score(v, o, &level) >= 1;
    for (unsigned l = 1; l < KEVO_MAX_LEVELS; l++)
        due |= is_crowded(&v->levels[l], o);
    return due;
}

/* ---- choosing files --------------------------------------------------------------- */

static void widen_span(struct span *s, const struct table_file *f) {
    slice min = buf_slice(&f->min_key), max = buf_slice(&f->max_key);
    if (!s->min.data || slice_cmp(min, s->min) < 0) s->min = min;
    int c = s->max.data ? slice_cmp(max, s->max) : 1;
    if (c > 0 || (c == 0 && !f->ends_below)) s->ends_below = f->ends_below;
    if (c > 0) s->max = max;
}

static struct span span_of(struct table_file *const *files, size_t count, struct span s) {
    for (size_t i = 0; i < count; i++)
        widen_span(&s, files[i]);
    return s;
}

static bool in_span(const struct table_file *f, const struct span *s) {
    int c = slice_cmp(buf_slice(&f->min_key), s->max);
    return !table_file_is_below(f, s->min) && (c < 0 || (c == 0 && !s->ends_below));
}

static uint64_t sum_bytes(struct table_file *const *files, size_t count) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += files[i]->size_bytes;
    return bytes;
}

/* The files of a level that overlap the span, in the level's order; out has room
 * for all of the level. */
static size_t overlapping(const struct level *l, const struct span *s, struct table_file **out) {
    size_t count = 0;
    for (size_t i = 0; i < l->count; i++)
        if (in_span(l->files[i], s)) out[count++] = l->files[i];
    return count;
}

/* In level 0 what overlaps a chosen file has to come along, and so on: a newer
 * version of a key must not sink below an older one. */
static size_t overlapping_closure(const struct level *l, struct span s, struct table_file **out) {
    size_t count = overlapping(l, &s, out), before;
    do {
        before = count;
        s = span_of(out, count, s);
        count = overlapping(l, &s, out);
    } while (count > before);
    return count;
}

static size_t choose(const struct compaction *c, unsigned level, struct span s,
                     struct table_file **out) {
    const struct level *l = &c->version->levels[level];
    return level == 0 ? overlapping_closure(l, s, out) : overlapping(l, &s, out);
}

/* More of the upper level, if that brings in nothing more of the lower one. */
static int widen_upper(struct compaction *c, const struct compact_options *o,
                       struct kevo_err *err) {
    const struct level *upper = &c->version->levels[c->level];
    const struct level *lower = &c->version->levels[c->output_level];
    struct table_file **more = mem_array(upper->count, sizeof(struct table_file *));
    struct table_file **below = mem_array(lower->count, sizeof(struct table_file *));
    struct span s = {0};
    int rc = more && below ? 0 : kevo_nomem(err);
    if (rc) goto out;
    s = span_of(c->inputs[0], c->input_count[0], s);
    s = span_of(c->inputs[1], c->input_count[1], s);
    size_t count = choose(c, c->level, s, more);
    if (count == c->input_count[0]) goto out;
    s = span_of(more, count, (struct span){0});
    if (overlapping(lower, &s, below) != c->input_count[1]) goto out;
    if (sum_bytes(more, count) + sum_bytes(c->inputs[1], c->input_count[1]) >
        o->table_bytes * WIDEN_TABLES)
        goto out;
    memcpy(c->inputs[0], more, count * sizeof *more);
    c->input_count[0] = count;
out:
    mem_free(more);
    mem_free(below);
    return rc;
}

/* Whether a level below `above` has files in the span. */
static bool lies_over_files(const struct version *v, unsigned above, const struct span *s) {
    for (unsigned l = above + 1; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &v->levels[l];
        size_t i = level_find(level, s->min);
        if (i < level->count && in_span(level->files[i], s)) return true;
    }
    return false;
}

static uint64_t overlap_bytes(const struct level *l, const struct span *s) {
    uint64_t bytes = 0;
    for (size_t i = level_find(l, s->min); i < l->count && in_span(l->files[i], s); i++)
        bytes += l->files[i]->size_bytes;
    return bytes;
}

/* Whether an only input can sink as it is. Not when it would carry tombstones to
 * where they have nothing to hide: merging it alone drops them. */
static bool can_move(const struct compaction *c, const struct compact_options *o) {
    if (c->input_count[0] != 1 || c->input_count[1] != 0 || c->output_level == c->level)
        return false;
    const struct table_file *f = c->inputs[0][0];
    struct span s = span_of(c->inputs[0], 1, (struct span){0});
    if (f->compression < o->compression[c->output_level]) return false;
    if (c->output_level + 1 < KEVO_MAX_LEVELS &&
        overlap_bytes(&c->version->levels[c->output_level + 1], &s) >
            o->table_bytes * GRANDPARENT_TABLES)
        return false;
    return f->tombstone_count + f->range_count == 0 ||
           lies_over_files(c->version, c->output_level, &s);
}

static bool has_garbage(const struct table_file *f, const struct compact_options *o) {
    return f->garbage_seq && f->garbage_seq <= o->oldest_snapshot;
}

static int compaction_init(struct compaction *c, struct version *v, unsigned level,
                           unsigned output_level, struct kevo_err *err) {
    *c = (struct compaction){.level = level, .output_level = output_level, .version = v};
    version_ref(v);
    for (unsigned side = 0; side < 2; side++) {
        c->inputs[side] =
            mem_array(v->levels[side ? output_level : level].count, sizeof(struct table_file *));
        if (!c->inputs[side]) {
            compaction_release(c);
            return kevo_nomem(err);
        }
    }
    return 0;
}

static void sum_inputs(struct compaction *c) {
    c->input_bytes =
        sum_bytes(c->inputs[0], c->input_count[0]) + sum_bytes(c->inputs[1], c->input_count[1]);
}

/* The lower side of what inputs[0] holds. */
static void choose_lower(struct compaction *c) {
    struct span s = span_of(c->inputs[0], c->input_count[0], (struct span){0});
    c->input_count[1] = overlapping(&c->version->levels[c->output_level], &s, c->inputs[1]);
    sum_inputs(c);
}

/* One level down, beginning with `seed`. */
static int sink(struct compaction *c, struct version *v, unsigned level, struct table_file *seed,
                const struct compact_options *o, struct kevo_err *err) {
    int rc = compaction_init(c, v, level, level + 1, err);
    if (rc) return rc;
    c->input_count[0] = choose(c, level, span_of(&seed, 1, (struct span){0}), c->inputs[0]);
    choose_lower(c);
    rc = widen_upper(c, o, err);
    if (rc) {
        compaction_release(c);
        return rc;
    }
    sum_inputs(c);
    c->trivial_move = can_move(c, o);
    return 0;
}

/* Files [begin, begin + count) of the level, into that level. */
static int rewrite(struct compaction *c, struct version *v, unsigned level, size_t begin,
                   size_t count, struct kevo_err *err) {
    int rc = compaction_init(c, v, level, level, err);
    if (rc) return rc;
    memcpy(c->inputs[0], v->levels[level].files + begin, count * sizeof(struct table_file *));
    c->input_count[0] = count;
    sum_inputs(c);
    return 0;
}

/* ---- what a level asks for ---------------------------------------------------------- */

/* The newest files of level 0 that are of like size: none much larger than those
 * before it together. All of them when the first two differ too much. */
static size_t like_sized(const struct level *l) {
    size_t n = 1;
    uint64_t bytes = l->files[0]->size_bytes;
    while (n < l->count && l->files[n]->size_bytes <= 2 * bytes)
        bytes += l->files[n++]->size_bytes;
    return n > 1 ? n : l->count;
}

static int pick_level0(struct version *v, const struct compact_options *o, struct compaction *c,
                       struct kevo_err *err) {
    const struct level *l = &v->levels[0];
    int rc = sink(c, v, 0, l->files[l->count - 1], o, err);
    if (rc || l->count < 2) return rc;
    size_t run = like_sized(l);
    uint64_t below = sum_bytes(c->inputs[1], c->input_count[1]);
    if ((c->input_bytes - below) * SMALL_L0 >= below || sum_bytes(l->files, run) > o->table_bytes)
        return 0;
    compaction_release(c);
    return rewrite(c, v, 0, 0, run, err);
}

/* The file that overlaps least below for its size: merging it writes least for each byte
 * that leaves the level. */
static struct table_file *least_overlap(const struct version *v, unsigned level) {
    const struct level *upper = &v->levels[level], *lower = &v->levels[level + 1];
    struct table_file *best = NULL;
    double best_ratio = 0;
    for (size_t i = 0; i < upper->count; i++) {
        struct span s = span_of(&upper->files[i], 1, (struct span){0});
        double ratio = (double)overlap_bytes(lower, &s) / (double)upper->files[i]->size_bytes;
        if (best && ratio >= best_ratio) continue;
        best = upper->files[i];
        best_ratio = ratio;
    }
    return best;
}

static int pick_dense(struct version *v, const struct compact_options *o, struct compaction *c,
                      struct kevo_err *err) {
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &v->levels[l];
        for (size_t i = 0; i < level->count; i++) {
            struct table_file *f = level->files[i];
            if (!table_file_is_dense(f, l) || f->max_seq > o->oldest_snapshot) continue;
            struct span s = span_of(&f, 1, (struct span){0});
            if (l == 0 || lies_over_files(v, l, &s)) return sink(c, v, l, f, o, err);
            return rewrite(c, v, l, i, 1, err);
        }
    }
    return KEVO_NOTFOUND;
}

/* The length of the shortest run of small files from `begin` on that is worth merging: no
 * file makes up more than half of it, so that each byte is written again only when it
 * comes into a file at least twice as large. 0: there is none. */
static size_t crowd_run(const struct version *v, unsigned level, size_t begin,
                        const struct compact_options *o, uint64_t *bytes) {
    const struct level *l = &v->levels[level];
    uint64_t largest = 0;
    *bytes = 0;
    for (size_t n = 1; n <= CROWD_LOOK && begin + n <= l->count; n++) {
        uint64_t size = l->files[begin + n - 1]->size_bytes;
        *bytes += size;
        if (size > largest) largest = size;
        if (size >= o->table_bytes / 2 || *bytes > o->table_bytes) return 0;
        if (n < CROWD_RUN || *bytes < 2 * largest) continue;
        struct span s = span_of(l->files + begin, n, (struct span){0});
        bool wide = level + 1 < KEVO_MAX_LEVELS &&
                    overlap_bytes(&v->levels[level + 1], &s) > o->table_bytes * GRANDPARENT_TABLES;
        return wide ? 0 : n; /* it would be cut again */
    }
    return 0;
}

/* The run that costs least for each file that goes. */
static int pick_crowd(struct version *v, const struct compact_options *o, struct compaction *c,
                      struct kevo_err *err) {
    for (unsigned level = 1; level < KEVO_MAX_LEVELS; level++) {
        const struct level *l = &v->levels[level];
        size_t best_begin = 0, best_count = 0;
        double best_cost = 0;
        for (size_t i = 0; is_crowded(l, o) && i + CROWD_RUN <= l->count; i++) {
            uint64_t bytes;
            size_t n = crowd_run(v, level, i, o, &bytes);
            double cost = n ? (double)bytes / (double)(n - 1) : 0;
            if (n == 0 || (best_count && cost >= best_cost)) continue;
            best_begin = i;
            best_count = n;
            best_cost = cost;
        }
        if (best_count) return rewrite(c, v, level, best_begin, best_count, err);
    }
    return KEVO_NOTFOUND;
}

int compact_pick(struct version *v, const struct compact_options *o, struct compaction *c,
                 struct kevo_err *err) {
    unsigned level;
    *c = (struct compaction){0};
    bool asked = compact_score(v, o, &level) >= 1 && v->levels[level].count > 0;
    if (asked && level == 0) return pick_level0(v, o, c, err);
    if (asked) return sink(c, v, level, least_overlap(v, level), o, err);
    int rc = KEVO_NOTFOUND;
    if (v->dense_seq <= o->oldest_snapshot) rc = pick_dense(v, o, c, err);
    return rc == KEVO_NOTFOUND ? pick_crowd(v, o, c, err) : rc;
}

/* ---- when there is time ----------------------------------------------------------------- */

static bool is_worth(const struct compact_options *o, uint64_t upper, uint64_t lower) {
    return lower / o->level_factor <= upper;
}

/* What goes together with that file of level 0. Into an empty tree it sinks as well, to be
 * compressed. */
static int idle_level0(struct version *v, size_t seed, const struct compact_options *o,
                       struct compaction *c, struct kevo_err *err) {
    int rc = sink(c, v, 0, v->levels[0].files[seed], o, err);
    if (rc) return rc;
    if (is_worth(o, sum_bytes(c->inputs[0], c->input_count[0]),
                 sum_bytes(c->inputs[1], c->input_count[1])))
        return 0;
    compaction_release(c);
    return KEVO_NOTFOUND;
}

/* One with nothing below moves, or stays: to write it again would gain nothing. */
static int idle_deeper(struct version *v, unsigned level, struct table_file *f,
                       const struct compact_options *o, struct compaction *c,
                       struct kevo_err *err) {
    struct span s = span_of(&f, 1, (struct span){0});
    if (!is_worth(o, f->size_bytes, overlap_bytes(&v->levels[level + 1], &s))) return KEVO_NOTFOUND;
    int rc = sink(c, v, level, f, o, err);
    if (rc || c->input_count[1] || c->trivial_move) return rc;
    compaction_release(c);
    return KEVO_NOTFOUND;
}

/* ... all of which can go: or it would be written anew whenever some more of it can. */
static bool has_much_garbage(const struct version *v, unsigned level, struct table_file *f,
                             const struct compact_options *o) {
    struct span s = span_of(&f, 1, (struct span){0});
    uint64_t garbage = f->tombstone_count + (f->entry_count - f->key_count);
    return has_garbage(f, o) && f->max_seq <= o->oldest_snapshot &&
           is_worth(o, garbage, f->entry_count) && !lies_over_files(v, level, &s);
}

int compact_pick_idle(struct version *v, const struct compact_options *o, struct compaction *c,
                      struct kevo_err *err) {
    unsigned deepest = deepest_level(v);
    int rc = KEVO_NOTFOUND;
    *c = (struct compaction){0};
    for (size_t i = v->levels[0].count; rc == KEVO_NOTFOUND && i-- > 0;)
        rc = idle_level0(v, i, o, c, err);
    for (unsigned l = 1; rc == KEVO_NOTFOUND && l <= deepest; l++) {
        const struct level *level = &v->levels[l];
        for (size_t i = 0; rc == KEVO_NOTFOUND && i < level->count; i++) {
            if (l < deepest) rc = idle_deeper(v, l, level->files[i], o, c, err);
            if (rc == KEVO_NOTFOUND && has_much_garbage(v, l, level->files[i], o))
                rc = rewrite(c, v, l, i, 1, err);
        }
    }
    return rc;
}

/* ---- a pass over all levels ------------------------------------------------------------ */

void compact_pass_release(struct compact_pass *p) {
    buf_release(&p->after);
}

static bool in_pass(const struct compact_pass *p, const struct table_file *f) {
    return table_file_overlaps(f, p->lower, p->upper);
}

static bool is_done(const struct compact_pass *p, const struct table_file *f) {
    int c = slice_cmp(buf_slice(&f->max_key), buf_slice(&p->after));
    return c < 0 || (c == 0 && (f->ends_below || !p->after_ends_below));
}

/* The first file of the level that is still to be done; all in the range for another
 * level than the pass is in. */
static size_t pass_begin(const struct compact_pass *p, const struct level *l, unsigned level) {
    size_t i = p->lower.data ? level_find(l, p->lower) : 0;
    if (level != p->level || p->after.len == 0) return i;
    while (i < l->count && is_done(p, l->files[i]))
        i++;
    return i;
}

static uint64_t pass_bytes(const struct compact_pass *p, const struct version *v, unsigned level) {
    const struct level *l = &v->levels[level];
    uint64_t bytes = 0;
    for (size_t i = level ? pass_begin(p, l, level) : 0; i < l->count; i++)
        if (in_pass(p, l->files[i])) bytes += l->files[i]->size_bytes;
    return bytes;
}

/* The deepest level with files in the range. */
static unsigned pass_bottom(const struct compact_pass *p, const struct version *v) {
    unsigned l = KEVO_MAX_LEVELS - 1;
    while (l > 0) {
        size_t i = p->lower.data ? level_find(&v->levels[l], p->lower) : 0;
        if (i < v->levels[l].count && in_pass(p, v->levels[l].files[i])) break;
        l--;
    }
    return l;
}

/* Merged on the way down; a file that just moves would take its garbage along. */
static void settle_move(struct compaction *c, const struct compact_options *o) {
    if (c->trivial_move && has_garbage(c->inputs[0][0], o)) c->trivial_move = false;
}

/* All of level 0 in the range at once: one file after the other would write what lies
 * below as often. */
static int pass_level0(struct version *v, const struct compact_options *o,
                       const struct compact_pass *p, struct compaction *c, struct kevo_err *err) {
    const struct level *l = &v->levels[0];
    struct span s = {0};
    for (size_t i = 0; i < l->count; i++)
        if (in_pass(p, l->files[i])) widen_span(&s, l->files[i]);
    if (!s.min.data) return KEVO_NOTFOUND;
    int rc = compaction_init(c, v, 0, 1, err);
    if (rc) return rc;
    c->input_count[0] = overlapping_closure(l, s, c->inputs[0]);
    choose_lower(c);
    c->trivial_move = can_move(c, o);
    return 0;
}

static int pass_upper(struct version *v, const struct compact_options *o,
                      const struct compact_pass *p, struct compaction *c, struct kevo_err *err) {
    const struct level *l = &v->levels[p->level];
    size_t i = pass_begin(p, l, p->level);
    if (i == l->count || !in_pass(p, l->files[i])) return KEVO_NOTFOUND;
    return sink(c, v, p->level, l->files[i], o, err);
}

/* How many files from `begin` on become one, or lose their garbage: more than one, or a
 * single one that has some. 0: the first is well as it is. */
static size_t pass_group(const struct level *l, const struct compact_options *o,
                         const struct compact_pass *p, size_t begin) {
    uint64_t bytes = 0;
    bool garbage = false;
    size_t n = 0;
    for (; begin + n < l->count && in_pass(p, l->files[begin + n]); n++) {
        const struct table_file *f = l->files[begin + n];
        bool mine = has_garbage(f, o);
        bytes += f->size_bytes;
        if (n > 0 && bytes > o->table_bytes) break;
        if (!mine && f->size_bytes >= o->table_bytes / 2) break;
        garbage |= mine;
    }
    return n > 1 || garbage ? n : 0;
}

static int pass_lowest(struct version *v, const struct compact_options *o,
                       const struct compact_pass *p, struct compaction *c, struct kevo_err *err) {
    const struct level *l = &v->levels[p->level];
    for (size_t i = pass_begin(p, l, p->level); i < l->count && in_pass(p, l->files[i]); i++) {
        size_t n = pass_group(l, o, p, i);
        if (n) return rewrite(c, v, p->level, i, n, err);
    }
    return KEVO_NOTFOUND;
}

static int pass_step(struct version *v, const struct compact_options *o, struct compact_pass *p,
                     unsigned bottom, struct compaction *c, struct kevo_err *err) {
    if (p->level == 0 && p->after.len) return KEVO_NOTFOUND; /* once */
    int rc = p->level == 0       ? pass_level0(v, o, p, c, err)
             : p->level < bottom ? pass_upper(v, o, p, c, err)
                                 : pass_lowest(v, o, p, c, err);
    if (rc) return rc;
    struct span s = span_of(c->inputs[0], c->input_count[0], (struct span){0});
    settle_move(c, o);
    p->after_ends_below = s.ends_below;
    if (buf_set(&p->after, s.max)) return 0;
    compaction_release(c);
    return kevo_nomem(err);
}

int compact_pick_pass(struct version *v, const struct compact_options *o, struct compact_pass *p,
                      struct compaction *c, struct kevo_err *err) {
    unsigned bottom = pass_bottom(p, v);
    *c = (struct compaction){0};
    for (; p->level == 0 || p->level <= bottom; p->level++, buf_reset(&p->after)) {
        p->left_bytes = 0;
        for (unsigned l = p->level; l < bottom; l++)
            p->left_bytes += pass_bytes(p, v, l) + pass_bytes(p, v, l + 1);
        int rc = pass_step(v, o, p, bottom, c, err);
        if (rc == KEVO_NOTFOUND) continue;
        if (rc == 0 && p->left_bytes < c->input_bytes) p->left_bytes = c->input_bytes;
        return rc;
    }
    return KEVO_NOTFOUND;
}

/* ---- questions of a build ---------------------------------------------------------- */

void bottom_finder_init(struct bottom_finder *b, const struct compaction *c) {
    *b = (struct bottom_finder){.version = c->version, .below = c->output_level};
}

bool bottom_finder_ask(struct bottom_finder *b, slice key) {
    if (b->below == 0) return false; /* other files of level 0 may be older */
    for (unsigned l = b->below + 1; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &b->version->levels[l];
        size_t *at = &b->at[l];
        while (*at < level->count && table_file_is_below(level->files[*at], key))
            ++*at;
        if (*at < level->count && !table_file_is_above(level->files[*at], key)) return false;
    }
    return true;
}

bool bottom_finder_ask_range(const struct bottom_finder *b, slice lower, slice upper) {
    if (b->below == 0) return false;
    for (unsigned l = b->below + 1; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &b->version->levels[l];
        size_t i = level_find(level, lower);
        if (i < level->count && table_file_overlaps(level->files[i], lower, upper)) return false;
    }
    return true;
}

void overlap_meter_init(struct overlap_meter *m, const struct compaction *c, uint64_t table_bytes) {
    *m = (struct overlap_meter){.limit = table_bytes * GRANDPARENT_TABLES};
    if (c->output_level > 0 && c->output_level + 1 < KEVO_MAX_LEVELS)
        m->level = &c->version->levels[c->output_level + 1];
}

bool overlap_meter_cut(struct overlap_meter *m, slice key) {
    if (!m->level) return false;
    for (; m->at < m->level->count; m->at++) {
        const struct table_file *f = m->level->files[m->at];
        if (!table_file_is_below(f, key)) break;
        /* What lies before the first key is not overlapped. */
        if (m->started) m->bytes += f->size_bytes;
    }
    m->started = true;
    if (m->bytes <= m->limit) return false;
    m->bytes = 0;
    return true;
}
