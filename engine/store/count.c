/* Counting keys without visiting them all.
 *
 * Of the tables one run is chosen, a level or a table of level 0, whichever has most keys. A
 * table in it that holds values alone, all of them visible, says itself how many keys it has, be
 * it with several versions of some. Of one that has keys outside of the bounds as well, those of an
 * index or of another SQL table say, the blocks tell, unless there are several versions. Everything
 * else in the store is merged and walked, and for each key the table's filter, seldom the table,
 * tells whether it is counted twice:
 *
 *   the version that decides       in the table?     changes the table's count by
 *   a value                        no                 1
 *   a value, newer                 yes                0
 *   a tombstone                    no                 0
 *   a tombstone, newer             yes               -1
 *   either, older                  yes                0
 *
 * A stretch reaches to the end of the run's next table, so the work between two returns is
 * bounded by what lies over one table. */
#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/checksum.h"
#include "engine/base/error.h"
#include "engine/store/txn.h"
#include "engine/tree/merge_iter.h"

struct kevo_counter {
    kevo_store *store;
    struct superversion *sv;
    uint64_t snapshot;
    struct level run;          /* borrowed from sv, or `single` */
    unsigned run_level;        /* which level it is; 0: `single` of level 0 */
    struct table_file *single; /* NULL: no table of level 0 was chosen */
    bool walk_all;             /* most keys are in the run as well: merge it with the rest */
    bool done;
    struct buf at; /* the next stretch begins here */
    struct buf upper;
    bool has_upper;
};

/* An empty key is a bound, no pointer is none. */
static slice key_in(const struct buf *b) {
    return slice_of(b->len ? b->data : (const uint8_t *)"", b->len);
}

static slice upper_of(const struct kevo_counter *c) {
    return c->has_upper ? key_in(&c->upper) : slice_of(NULL, 0);
}

/* ---- the run --------------------------------------------------------------------------- */

static bool is_inside(const struct table_file *f, slice lower, slice upper) {
    return slice_cmp(buf_slice(&f->min_key), lower) >= 0 &&
           (!upper.data || slice_cmp(buf_slice(&f->max_key), upper) < 0);
}

/* How many keys a table between the bounds has, about if it has others as well; 0: it cannot be
 * counted on. */
static uint64_t may_count(const struct table_file *f, slice lower, slice upper, uint64_t snapshot) {
    if (f->tombstone_count || f->range_count || f->max_seq > snapshot) return 0;
    if (is_inside(f, lower, upper)) return f->key_count;
    bool says = f->key_count == f->entry_count && table_file_overlaps(f, lower, upper);
    return says ? (f->key_count + 1) / 2 : 0;
}

static uint64_t may_count_now(const struct kevo_counter *c, const struct table_file *f) {
    return may_count(f, key_in(&c->at), upper_of(c), c->snapshot);
}

static uint64_t counted_by(const struct kevo_counter *c, const struct level *l) {
    uint64_t keys = 0;
    for (size_t i = level_find(l, key_in(&c->at)); i < l->count; i++)
        keys += may_count_now(c, l->files[i]);
    return keys;
}

static void choose_run(struct kevo_counter *c) {
    const struct version *v = c->sv->version;
    uint64_t best = 0;
    for (size_t i = 0; i < v->levels[0].count; i++) {
        struct table_file *f = v->levels[0].files[i];
        uint64_t keys = may_count_now(c, f);
        if (keys <= best) continue;
        best = keys;
        c->single = f;
    }
    c->run = (struct level){.files = &c->single, .count = c->single != NULL};
    for (unsigned l = 1; l < KEVO_MAX_LEVELS; l++) {
        uint64_t keys = counted_by(c, &v->levels[l]);
        if (keys <= best) continue;
        best = keys;
        c->single = NULL;
        c->run_level = l;
        c->run = v->levels[l];
    }
}

/* ---- what is walked ----------------------------------------------------------------------- */

enum { MAX_WALKED = 256 };

struct sources {
    struct iter *list[MAX_WALKED];
    size_t count;
};

static int add_memtables(const struct kevo_counter *c, slice end, struct sources *s,
                         struct kevo_err *err) {
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i <= c->sv->immutable_count; i++) {
        struct memtable *m = i ? c->sv->immutable[i - 1] : c->sv->active;
        if (!memtable_overlaps(m, key_in(&c->at), end)) continue;
        rc = memtable_iter_new(m, &s->list[s->count], err);
        if (rc == 0) s->count++;
    }
    return rc;
}

static int add_file(const struct kevo_counter *c, struct table_file *f, slice end,
                    struct sources *s, struct kevo_err *err) {
    if (!table_file_overlaps(f, key_in(&c->at), end)) return 0;
    int rc = file_iter_new(f, true, &s->list[s->count], err);
    if (rc == 0) s->count++;
    return rc;
}

static int add_level(const struct kevo_counter *c, unsigned level, slice end, struct sources *s,
                     struct kevo_err *err) {
    struct version *v = c->sv->version;
    size_t i = level_find(&v->levels[level], key_in(&c->at));
    if (i == v->levels[level].count ||
        !table_file_overlaps(v->levels[level].files[i], key_in(&c->at), end))
        return 0;
    int rc = level_iter_new(v, level, key_in(&c->at), end, true, &s->list[s->count], err);
    if (rc == 0) s->count++;
    return rc;
}

/* Everything up to `end` but the run's table `base`, which may be NULL. */
static int add_sources(const struct kevo_counter *c, const struct table_file *base, slice end,
                       struct sources *s, struct kevo_err *err) {
    const struct level *l0 = &c->sv->version->levels[0];
    int rc = add_memtables(c, end, s, err);
    for (size_t i = 0; rc == 0 && i < l0->count; i++) {
        if (l0->files[i] != base) rc = add_file(c, l0->files[i], end, s, err);
    }
    for (unsigned l = 1; rc == 0 && l < KEVO_MAX_LEVELS; l++) {
        /* The stretch has one table of the run's level, and only its end is in it. */
        if (!base || l != c->run_level) rc = add_level(c, l, end, s, err);
    }
    return rc;
}

static int open_walk(const struct kevo_counter *c, const struct table_file *base, slice end,
                     struct iter **it, struct kevo_err *err) {
    struct sources s = {.count = 0};
    *it = NULL;
    int rc = add_sources(c, base, end, &s, err);
    if (rc == 0) rc = merge_iter_new(s.list, s.count, it, err);
    for (size_t i = 0; rc && i < s.count; i++)
        iter_close(s.list[i]);
    return rc;
}

/* ---- walking -------------------------------------------------------------------------------- */

/* The key that was met last, with the version that decides. What is known of it is used when
 * the next key comes, by when the filter's memory has arrived. */
struct walk {
    struct kevo_counter *counter;
    struct table *base; /* NULL: nothing is counted but what is walked */
    struct buf key;
    bool pending;
    uint8_t type;
    uint64_t hash, seq;
    uint64_t walked, met; /* keys, and those of them that the table has */
    int64_t count;
};

/* So many keys met in the table are not worth looking up one by one. */
static bool meets_too_many(const struct walk *w) {
    enum { PATIENCE = 256 };
    return w->met > PATIENCE && w->met > w->walked / 16;
}

static inline int use_pending(struct walk *w, struct kevo_err *err) {
    struct table_value v = {.block = NULL};
    if (!w->pending) return 0;
    w->pending = false;
    w->walked++;
    bool lives = w->type == ENTRY_PUT;
    int rc = w->base ? table_get(w->base, buf_slice(&w->key), w->hash, w->counter->snapshot, &v,
                                 NULL, err)
                     : KEVO_NOTFOUND;
    if (rc == KEVO_NOTFOUND) {
        w->count += lives;
        return 0;
    }
    if (rc) return rc;
    if (v.block) cache_unpin(w->counter->store->cache, v.block);
    w->met++;
    if (v.seq < w->seq) w->count -= !lives;
    return 0;
}

static inline int meet(struct walk *w, const struct iter *it, struct kevo_err *err) {
    int rc = use_pending(w, err);
    if (rc) return rc;
    if (!iter_save_key(&w->key, it->key)) return kevo_nomem(err);
    w->pending = true;
    w->type = it->type;
    w->seq = it->seq;
    if (!w->base) return 0;
    w->hash = key_hash(it->key);
    table_will_get(w->base, w->hash);
    return 0;
}

/* An entry: the first version of a key that is visible decides about it. */
static inline int look_at(struct walk *w, const struct iter *it, struct kevo_err *err) {
    if (it->seq > w->counter->snapshot) return 0;
    if (w->walked + w->pending && iter_is_key(&w->key, it->key)) return 0;
    return meet(w, it, err);
}

/* What one source has for itself, or an entry. */
static int walk_stretch(struct walk *w, struct iter *it, slice end, struct kevo_err *err) {
    struct iter_stretch s;
    iter_begin_stretch(it, &s);
    if (end.data) iter_cut_stretch(&s, end, true);
    if (!iter_in_stretch(&s, s.leaf->key, true)) {
        int rc = look_at(w, it, err);
        return rc ? rc : it->ops->next(it, err);
    }
    do {
        int rc = look_at(w, s.leaf, err);
        if (rc == 0) rc = s.leaf->ops->next(s.leaf, err);
        if (rc || meets_too_many(w)) return rc;
    } while (s.leaf->valid && iter_in_stretch(&s, s.leaf->key, true));
    return iter_rejoin(it, err);
}

static int walk_to(struct walk *w, struct iter *it, slice end, struct kevo_err *err) {
    uint64_t end_prefix = end.data ? slice_prefix64(end) : UINT64_MAX;
    int rc = it->ops->seek(it, key_in(&w->counter->at), SEQ_MAX, err);
    while (rc == 0 && it->valid) {
        if (end.data && slice_prefix64(it->key) >= end_prefix && slice_cmp(it->key, end) >= 0)
            break;
        rc = walk_stretch(w, it, end, err);
        if (rc || meets_too_many(w)) return rc;
    }
    return rc ? rc : use_pending(w, err);
}

static int count_base(const struct kevo_counter *c, const struct table_file *base, struct table *t,
                      slice end, uint64_t *count, struct kevo_err *err) {
    *count = base->key_count;
    return is_inside(base, key_in(&c->at), end) ? 0
                                                : table_count(t, key_in(&c->at), end, count, err);
}

static int count_stretch(struct kevo_counter *c, struct table_file *base, slice end,
                         uint64_t *count, struct kevo_err *err) {
    struct walk w = {.counter = c};
    struct iter *it = NULL;
    uint64_t in_base = 0;
    int rc = base ? table_file_acquire(base, &w.base, err) : 0;
    if (rc == 0) rc = open_walk(c, base, end, &it, err);
    if (rc == 0) rc = walk_to(&w, it, end, err);
    c->walk_all |= meets_too_many(&w);
    if (rc == 0 && base && !c->walk_all) rc = count_base(c, base, w.base, end, &in_base, err);
    iter_close(it);
    table_close(w.base);
    buf_release(&w.key);
    *count = (uint64_t)(w.count + (int64_t)in_base);
    return rc;
}

/* ---- counters ---------------------------------------------------------------------------------- */

static int counter_init(struct kevo_counter *c, const struct kevo_read *read,
                        struct kevo_err *err) {
    struct range_set *hidden = NULL;
    c->sv = superversion_own(superversion_acquire(c->store));
    c->snapshot = read->snapshot->id;
    c->has_upper = read->upper.data != NULL;
    if (!c->sv || !buf_set(&c->at, read->lower) || !buf_set(&c->upper, read->upper))
        return kevo_nomem(err);
    int rc = hide_find(c->sv, read, c->snapshot, &hidden, err);
    if (rc) return rc;
    if (hidden || c->sv->version->levels[0].count + 64 > MAX_WALKED) rc = KEVO_NOTFOUND;
    range_set_free(hidden);
    if (rc == 0) choose_run(c);
    return rc;
}

int kevo_counter_new(kevo_store *store, const struct kevo_read *read, kevo_counter **counter,
                     struct kevo_err *err) {
    *counter = NULL;
    int rc = store_check_process(store, err);
    if (rc) return rc;
    if (!read->snapshot || read->txn || read->prefix.len || read->suffix.len)
        return kevo_fail(err, KEVO_INVALID,
                         "a counter needs a snapshot, and knows bounds only, without a "
                         "transaction, prefix or suffix");
    struct kevo_counter *c = mem_zalloc(sizeof *c);
    if (!c) return kevo_nomem(err);
    c->store = store;
    rc = counter_init(c, read, err);
    if (rc) {
        kevo_counter_free(c);
        return rc;
    }
    count(&store->counters.iterators, 1);
    *counter = c;
    return 0;
}

/* Put into *end where the stretch ends that has the run's next table in it, which is the
 * result unless it has to be walked. Nothing is behind the end: `last`. */
static int find_stretch(struct kevo_counter *c, struct table_file **base, struct buf *end,
                        bool *last, struct kevo_err *err) {
    slice at = key_in(&c->at), upper = upper_of(c);
    size_t i = level_find(&c->run, at);
    *base = NULL;
    *last = i == c->run.count ||
            (upper.data && slice_cmp(buf_slice(&c->run.files[i]->max_key), upper) >= 0);
    if (i == c->run.count) return 0;
    struct table_file *f = c->run.files[i];
    if (!c->walk_all && may_count_now(c, f)) *base = f;
    if (*last) return 0;
    if (!buf_set(end, buf_slice(&f->max_key)) || !buf_append(end, "", 1)) return kevo_nomem(err);
    return 0;
}

int kevo_counter_next(kevo_counter *c, uint64_t *count, struct kevo_err *err) {
    struct table_file *base;
    struct buf end = {0};
    bool last;
    *count = 0;
    int rc = store_check_process(c->store, err);
    if (rc) return rc;
    if (c->done) return KEVO_NOTFOUND;
    do {
        rc = find_stretch(c, &base, &end, &last, err);
        if (rc == 0) rc = count_stretch(c, base, last ? upper_of(c) : key_in(&end), count, err);
    } while (rc == 0 && base && c->walk_all);
    if (rc == 0 && last)
        c->done = true;
    else if (rc == 0 && !buf_set(&c->at, key_in(&end)))
        rc = kevo_nomem(err);
    buf_release(&end);
    return rc;
}

slice kevo_counter_end(const kevo_counter *c) {
    return c->done ? upper_of(c) : key_in(&c->at);
}

void kevo_counter_free(kevo_counter *c) {
    if (!c || store_check_process(c->store, NULL)) return; /* as for iterators */
    superversion_release(c->sv);
    open_tables_trim(&c->store->open_tables);
    buf_release(&c->at);
    buf_release(&c->upper);
    mem_free(c);
}
