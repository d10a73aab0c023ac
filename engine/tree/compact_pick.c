#include "engine/tree/compact_pick.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"

enum {
    GRANDPARENT_TABLES = 10, /* overlap two levels below that an output table may have */
    WIDEN_TABLES = 25        /* input bytes up to which the upper side is widened */
};

/* Inclusive, but for max when `ends_below`. */
struct span {
    slice min, max;
    bool ends_below;
};

void compact_cursor_release(struct compact_cursor *c) {
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        buf_release(&c->after[l]);
}

void compaction_release(struct compaction *c) {
    mem_free(c->inputs[0]);
    mem_free(c->inputs[1]);
    version_unref(c->version);
    *c = (struct compaction){0};
}

/* ---- scores ----------------------------------------------------------------------- */

double compact_score(const struct version *v, const struct compact_options *o, unsigned *level) {
    double best = (double)v->levels[0].count / o->l0_trigger;
    double target = (double)o->level1_bytes;
    *level = 0;
    for (unsigned l = 1; l + 1 < KEVO_MAX_LEVELS; l++, target *= o->level_factor) {
        double score = (double)v->levels[l].bytes / target;
        if (score > best) {
            best = score;
            *level = l;
        }
    }
    return best;
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

/* Where a deeper level's turn stands: the first file behind the cursor. */
static struct table_file *next_in_turn(const struct level *l, const struct buf *after) {
    for (size_t i = 0; after->len && i < l->count; i++)
        if (slice_cmp(buf_slice(&l->files[i]->max_key), buf_slice(after)) > 0) return l->files[i];
    return l->files[0];
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

/* Whether an only input can sink as it is. Not when it would carry tombstones to
 * where they have nothing to hide: merging it alone drops them. */
static bool can_move(const struct compaction *c, const struct compact_options *o) {
    if (c->input_count[0] != 1 || c->input_count[1] != 0) return false;
    struct span s = span_of(c->inputs[0], 1, (struct span){0});
    bool bottom = true;
    for (unsigned l = c->output_level + 1; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &c->version->levels[l];
        uint64_t bytes = 0;
        for (size_t i = level_find(level, s.min); i < level->count; i++) {
            if (!in_span(level->files[i], &s)) break;
            bytes += level->files[i]->size_bytes;
            bottom = false;
        }
        if (l == c->output_level + 1 && bytes > o->table_bytes * GRANDPARENT_TABLES) return false;
    }
    const struct table_file *f = c->inputs[0][0];
    return !bottom || f->tombstone_count + f->range_count == 0;
}

static int compaction_init(struct compaction *c, struct version *v, unsigned level,
                           struct kevo_err *err) {
    *c = (struct compaction){.level = level, .output_level = level + 1, .version = v};
    version_ref(v);
    for (unsigned side = 0; side < 2; side++) {
        c->inputs[side] = mem_array(v->levels[level + side].count, sizeof(struct table_file *));
        if (!c->inputs[side]) {
            compaction_release(c);
            return kevo_nomem(err);
        }
    }
    return 0;
}

/* The lower side of what inputs[0] holds. */
static void choose_lower(struct compaction *c) {
    struct span s = span_of(c->inputs[0], c->input_count[0], (struct span){0});
    c->input_count[1] = overlapping(&c->version->levels[c->output_level], &s, c->inputs[1]);
}

static void sum_inputs(struct compaction *c) {
    c->input_bytes =
        sum_bytes(c->inputs[0], c->input_count[0]) + sum_bytes(c->inputs[1], c->input_count[1]);
}

int compact_pick(struct version *v, const struct compact_options *o, struct compact_cursor *cursor,
                 struct compaction *c, struct kevo_err *err) {
    unsigned level;
    *c = (struct compaction){0};
    if (compact_score(v, o, &level) < 1) return KEVO_NOTFOUND;
    const struct level *upper = &v->levels[level];
    if (upper->count == 0) return KEVO_NOTFOUND; /* a trigger or target of 0 */
    int rc = compaction_init(c, v, level, err);
    if (rc) return rc;
    struct table_file *seed =
        level == 0 ? upper->files[upper->count - 1] : next_in_turn(upper, &cursor->after[level]);
    c->input_count[0] = choose(c, level, span_of(&seed, 1, (struct span){0}), c->inputs[0]);
    choose_lower(c);
    rc = widen_upper(c, o, err);
    if (rc == 0 && level > 0) {
        struct span s = span_of(c->inputs[0], c->input_count[0], (struct span){0});
        if (!buf_set(&cursor->after[level], s.max)) rc = kevo_nomem(err);
    }
    if (rc) {
        compaction_release(c);
        return rc;
    }
    sum_inputs(c);
    c->trivial_move = can_move(c, o);
    return 0;
}

int compact_pick_all(struct version *v, struct compaction *c, struct kevo_err *err) {
    unsigned top = 0, bottom = KEVO_MAX_LEVELS;
    *c = (struct compaction){0};
    while (top < KEVO_MAX_LEVELS && v->levels[top].count == 0)
        top++;
    while (bottom > 0 && v->levels[bottom - 1].count == 0)
        bottom--;
    if (top >= bottom || (top + 1 == bottom && top > 0)) return KEVO_NOTFOUND;
    int rc = compaction_init(c, v, top, err);
    if (rc) return rc;
    const struct level *upper = &v->levels[top];
    memcpy(c->inputs[0], upper->files, upper->count * sizeof(struct table_file *));
    c->input_count[0] = upper->count;
    choose_lower(c);
    sum_inputs(c);
    /* Through an empty level on the way down. */
    c->trivial_move = top > 0 && v->levels[top + 1].count == 0;
    return 0;
}

/* ---- questions of a build ---------------------------------------------------------- */

void bottom_finder_init(struct bottom_finder *b, const struct compaction *c) {
    *b = (struct bottom_finder){.version = c->version, .below = c->output_level};
}

bool bottom_finder_ask(struct bottom_finder *b, slice key) {
    for (unsigned l = b->below + 1; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &b->version->levels[l];
        size_t *at = &b->at[l];
        while (*at < level->count && table_file_is_below(level->files[*at], key))
            ++*at;
        if (*at < level->count && !table_file_is_above(level->files[*at], key)) return false;
    }
    return true;
}

void overlap_meter_init(struct overlap_meter *m, const struct compaction *c, uint64_t table_bytes) {
    *m = (struct overlap_meter){.limit = table_bytes * GRANDPARENT_TABLES};
    if (c->output_level + 1 < KEVO_MAX_LEVELS) m->level = &c->version->levels[c->output_level + 1];
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
