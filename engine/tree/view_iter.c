#include "engine/tree/view_iter.h"

#include <assert.h>

#include "engine/base/error.h"

/* So many versions of one key are passed one by one before a seek jumps over the
 * rest of them. */
enum { PATIENCE = 16 };

/* What is kept at most of a value that was shown. */
enum { PARKED_BYTES = 64 << 10 };

/* Fragments passed one by one before a search goes for the right one. */
enum { NEAR_FRAGMENTS = 4 };

static inline bool visible(const struct view_iter *v, uint64_t seq) {
    return seq <= v->snapshot || seq >= SEQ_PRIVATE;
}

static inline bool above_bounds(const struct view_iter *v, slice key) {
    if (slice_prefix64(key) < v->upper_prefix) return false;
    return v->has_upper && slice_cmp(key, buf_slice(&v->upper)) >= 0;
}

static inline bool below_bounds(const struct view_iter *v, slice key) {
    if (slice_prefix64(key) > v->lower_prefix) return false;
    return v->has_lower && slice_cmp(key, buf_slice(&v->lower)) < 0;
}

static inline bool is_saved_key(const struct view_iter *v, slice key) {
    return iter_is_key(&v->saved_key, key);
}

/* `key` may be saved_key. */
static inline int save_key(struct view_iter *v, slice key, struct kevo_err *err) {
    return iter_save_key(&v->saved_key, key) ? 0 : kevo_nomem(err);
}

/* A seek follows, which positions all there is. */
static void forget_stretch(struct view_iter *v) {
    v->stretch.leaf = NULL;
}

int view_iter_init(struct view_iter *v, struct iter *source, uint64_t snapshot, slice lower,
                   slice upper, struct kevo_err *err) {
    *v = (struct view_iter){0};
    int rc = view_iter_again(v, source, snapshot, lower, upper, err);
    if (rc) view_iter_release(v);
    return rc;
}

int view_iter_again(struct view_iter *v, struct iter *source, uint64_t snapshot, slice lower,
                    slice upper, struct kevo_err *err) {
    if (!buf_set(&v->lower, lower) || !buf_set(&v->upper, upper)) return kevo_nomem(err);
    v->has_lower = lower.data != NULL;
    v->has_upper = upper.data != NULL;
    v->lower_prefix = v->has_lower ? slice_prefix64(lower) : 0;
    v->upper_prefix = v->has_upper ? slice_prefix64(upper) : UINT64_MAX;
    v->snapshot = snapshot;
    v->source = source;
    return 0;
}

struct iter *view_iter_park(struct view_iter *v) {
    struct iter *source = v->source;
    v->source = NULL;
    v->entry = (struct kevo_entry){.valid = false};
    view_iter_hide(v, NULL);
    forget_stretch(v);
    if (v->saved_value.cap > PARKED_BYTES) buf_release(&v->saved_value);
    return source;
}

void view_iter_hide(struct view_iter *v, const struct range_set *hidden) {
    v->hidden = hidden;
    v->hidden_at = 0;
}

/* Neighbours are mostly covered by the same fragment, or by its neighbour. */
static bool find_hidden(struct view_iter *v, slice key, uint64_t seq) {
    const struct range_set *set = v->hidden;
    size_t at = v->hidden_at, last = at + NEAR_FRAGMENTS;
    while (at < set->count && at < last && slice_cmp(set->fragments[at].upper, key) <= 0)
        at++;
    bool above = at < set->count && slice_cmp(set->fragments[at].upper, key) <= 0;
    if (above || (at > 0 && slice_cmp(set->fragments[at - 1].upper, key) > 0))
        at = range_set_find(set, key);
    v->hidden_at = at;
    return at < set->count && slice_cmp(set->fragments[at].lower, key) <= 0 &&
           set->fragments[at].seqs[0] > seq;
}

/* Whether the version that decides about `key` is a value that nothing hides. */
static inline bool lives(struct view_iter *v, const struct iter *s) {
    if (s->type != ENTRY_PUT) return false;
    return !v->hidden || v->hidden->max_seq <= s->seq || !find_hidden(v, s->key, s->seq);
}

void view_iter_release(struct view_iter *v) {
    iter_close(v->source);
    buf_release(&v->lower);
    buf_release(&v->upper);
    buf_release(&v->saved_key);
    buf_release(&v->saved_value);
    *v = (struct view_iter){0};
}

/* ---- stretches: what one of the sources has for itself -------------------- */

/* The source stands on an entry. */
static inline void begin_stretch(struct view_iter *v) {
    iter_begin_stretch(v->source, &v->stretch);
    if (v->forward && v->has_upper) iter_cut_stretch(&v->stretch, buf_slice(&v->upper), true);
}

/* The leaf has left the stretch, or the source is to be moved in another way. */
static int end_stretch(struct view_iter *v, struct kevo_err *err) {
    if (!v->stretch.leaf) return 0;
    v->stretch.leaf = NULL;
    return iter_rejoin(v->source, err);
}

/* ---- forward: the source stands on the entry that is shown ---------------- */

/* Go on from where the source stands to the newest visible version of a key that
 * lives; with `passing`, the versions of saved_key are behind us. */
static int find_forward(struct view_iter *v, bool passing, struct kevo_err *err) {
    struct iter *s = v->source;
    unsigned passed = 0; /* versions of one key, about */
    int rc;
    v->forward = true;
    v->entry.valid = false;
    while (s->valid) {
        if (passing && is_saved_key(v, s->key)) {
            if (++passed < PATIENCE) {
                if ((rc = s->ops->next(s, err))) return rc;
            } else {
                passed = 0;
                if ((rc = s->ops->seek(s, buf_slice(&v->saved_key), 0, err))) return rc;
                if (s->valid && is_saved_key(v, s->key) && (rc = s->ops->next(s, err))) return rc;
            }
            continue;
        }
        passing = false;
        if (above_bounds(v, s->key)) return 0;
        if (!visible(v, s->seq)) {
            if (++passed < PATIENCE) {
                if ((rc = s->ops->next(s, err))) return rc;
            } else {
                passed = 0;
                if ((rc = save_key(v, s->key, err))) return rc;
                if ((rc = s->ops->seek(s, buf_slice(&v->saved_key), v->snapshot, err))) return rc;
            }
            continue;
        }
        if (lives(v, s)) {
            v->entry.valid = true;
            slice_copy(&v->entry.key, &s->key);
            slice_copy(&v->entry.value, &s->value);
            begin_stretch(v);
            return 0;
        }
        if ((rc = save_key(v, s->key, err))) return rc;
        if ((rc = s->ops->next(s, err))) return rc;
        passing = true;
        passed = 0;
    }
    return 0;
}

int view_iter_first(struct view_iter *v, struct kevo_err *err) {
    struct iter *s = v->source;
    v->entry.valid = false;
    forget_stretch(v);
    int rc = v->has_lower ? s->ops->seek(s, buf_slice(&v->lower), SEQ_MAX, err)
                          : s->ops->seek_first(s, err);
    return rc ? rc : find_forward(v, false, err);
}

int view_iter_seek(struct view_iter *v, slice key, struct kevo_err *err) {
    struct iter *s = v->source;
    if (below_bounds(v, key)) return view_iter_first(v, err);
    v->entry.valid = false;
    forget_stretch(v);
    if (above_bounds(v, key)) return 0;
    /* `key` may be borrowed from the source itself. */
    int rc = save_key(v, key, err);
    if (rc == 0) rc = s->ops->seek(s, buf_slice(&v->saved_key), SEQ_MAX, err);
    return rc ? rc : find_forward(v, false, err);
}

/* The next entry of the stretch, if it is all that has to be looked at: the first version of
 * a key, visible and alive. */
static inline bool step_in_stretch(struct view_iter *v, struct iter *leaf) {
    if (!leaf->valid || !iter_stays_in_stretch(&v->stretch)) return false;
    if (is_saved_key(v, leaf->key) || !visible(v, leaf->seq) || !lives(v, leaf)) return false;
    v->entry.valid = true;
    slice_copy(&v->entry.key, &leaf->key);
    slice_copy(&v->entry.value, &leaf->value);
    return true;
}

/* The stretch is at its end, or what comes next in it has to be looked at more closely. */
static __attribute__((noinline)) int next_of_all(struct view_iter *v, struct kevo_err *err) {
    int rc = end_stretch(v, err);
    return rc ? rc : find_forward(v, true, err);
}

static __attribute__((noinline)) int turn_forward(struct view_iter *v, struct kevo_err *err) {
    struct iter *s = v->source;
    v->entry.valid = false;
    forget_stretch(v);
    int rc = s->ops->seek(s, buf_slice(&v->saved_key), 0, err);
    return rc ? rc : find_forward(v, true, err);
}

int view_iter_next(struct view_iter *v, struct kevo_err *err) {
    int rc;
    assert(v->entry.valid);
    if (!v->forward) return turn_forward(v, err);
    v->entry.valid = false;
    if ((rc = save_key(v, v->entry.key, err))) return rc;
    struct iter *leaf = v->stretch.leaf;
    if ((rc = leaf->ops->next(leaf, err))) return rc;
    return step_in_stretch(v, leaf) ? 0 : next_of_all(v, err);
}

/* ---- backward: the source stands before all versions of the key shown ----- */

/* Too many versions of saved_key to pass them all: fetch the newest visible one
 * by a seek, and leave the source before the key. */
static int jump_backward(struct view_iter *v, bool *found, struct kevo_err *err) {
    struct iter *s = v->source;
    slice key = buf_slice(&v->saved_key);
    int rc = s->ops->seek(s, key, SEQ_MAX, err);
    if (rc == 0 && s->valid && is_saved_key(v, s->key) && !visible(v, s->seq))
        rc = s->ops->seek(s, key, v->snapshot, err);
    if (rc) return rc;
    *found = s->valid && is_saved_key(v, s->key) && lives(v, s);
    if (*found && !buf_set(&v->saved_value, s->value)) return kevo_nomem(err);
    return s->ops->seek_before(s, key, err);
}

/* Where to look for the key before: in the stretch's leaf, or where another source may have
 * the same key, in all of them. */
static int look_back(struct view_iter *v, struct iter **at, struct kevo_err *err) {
    struct iter *leaf = v->stretch.leaf;
    if (!leaf || !leaf->valid || !iter_in_stretch(&v->stretch, leaf->key, false)) {
        int rc = end_stretch(v, err);
        *at = v->source;
        if (rc || !v->source->valid) return rc;
        begin_stretch(v);
        leaf = v->stretch.leaf;
        if (!iter_in_stretch(&v->stretch, leaf->key, false)) {
            forget_stretch(v);
            return 0;
        }
    }
    *at = leaf;
    return 0;
}

/* Go on from where the source stands to the last key that lives. The versions of a
 * key are met from the oldest to the newest, so the last visible one counts. */
static int find_backward(struct view_iter *v, struct kevo_err *err) {
    struct iter *s;
    int rc;
    v->forward = false;
    v->entry.valid = false;
    while ((rc = look_back(v, &s, err)) == 0 && s->valid) {
        if (below_bounds(v, s->key)) return 0;
        if ((rc = save_key(v, s->key, err))) return rc;
        bool found = false;
        unsigned passed = 0;
        do {
            if (++passed > PATIENCE) {
                forget_stretch(v);
                if ((rc = jump_backward(v, &found, err))) return rc;
                break;
            }
            if (visible(v, s->seq)) {
                found = lives(v, s);
                if (found && !buf_set(&v->saved_value, s->value)) return kevo_nomem(err);
            }
            if ((rc = s->ops->prev(s, err))) return rc;
        } while (s->valid && is_saved_key(v, s->key));
        if (found) {
            v->entry.valid = true;
            v->entry.key = buf_slice(&v->saved_key);
            v->entry.value = buf_slice(&v->saved_value);
            return 0;
        }
    }
    return rc;
}

int view_iter_last(struct view_iter *v, struct kevo_err *err) {
    struct iter *s = v->source;
    v->entry.valid = false;
    forget_stretch(v);
    int rc = v->has_upper ? s->ops->seek_before(s, buf_slice(&v->upper), err)
                          : s->ops->seek_last(s, err);
    return rc ? rc : find_backward(v, err);
}

int view_iter_seek_for_prev(struct view_iter *v, slice key, struct kevo_err *err) {
    struct iter *s = v->source;
    if (above_bounds(v, key)) return view_iter_last(v, err);
    v->entry.valid = false;
    forget_stretch(v);
    if (below_bounds(v, key)) return 0;
    /* key with a zero byte after it is the very next key there can be. */
    int rc = save_key(v, key, err);
    if (rc == 0 && !buf_append(&v->saved_key, "", 1)) rc = kevo_nomem(err);
    if (rc == 0) rc = s->ops->seek_before(s, buf_slice(&v->saved_key), err);
    return rc ? rc : find_backward(v, err);
}

int view_iter_prev(struct view_iter *v, struct kevo_err *err) {
    struct iter *s = v->source;
    int rc;
    assert(v->entry.valid);
    v->entry.valid = false;
    if (v->forward) {
        /* Step off the key shown; newer versions, not visible, may come first. */
        if ((rc = save_key(v, v->entry.key, err))) return rc;
        if ((rc = end_stretch(v, err))) return rc;
        for (unsigned passed = 0;;) {
            rc = ++passed > PATIENCE ? s->ops->seek_before(s, buf_slice(&v->saved_key), err)
                                     : s->ops->prev(s, err);
            if (rc) return rc;
            if (!s->valid || !is_saved_key(v, s->key)) break;
        }
    }
    return find_backward(v, err);
}
