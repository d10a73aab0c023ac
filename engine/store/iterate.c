/* Iterators over what a snapshot or a transaction sees. */
#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/store/txn.h"
#include "engine/tree/hide_iter.h"
#include "engine/tree/merge_iter.h"

/* So many iterators over tables are used again. */
enum { KEPT_TABLES = 8 };

struct kevo_iter {
    struct view_iter view;
    kevo_store *store; /* NULL: the iterator is parked */
    struct superversion sv;
    struct iter *tables[KEPT_TABLES]; /* of the sources those over tables, and parked ones */
    size_t table_count;
    struct range_set *hidden; /* what range tombstones hide from it; NULL: nothing */
    kevo_txn *txn;            /* a reference, or NULL */
    uint64_t seen_changes;    /* of txn */
    const void *seen_ranges;  /* the top of its range tombstones that `hidden` knows */
    uint64_t seen_runs;       /* `changes` of its runs that the view knows */
    struct buf at;            /* the key stood on, while repositioning */
    struct buf suffix;        /* that keys shown have */
};

/* Room for those of a few tables in level 0; others than these are at most so many. A batch
 * that is tables may bring many more into level 0. */
enum { FEW_SOURCES = 128, OTHER_SOURCES = 64 };

struct sources {
    struct iter *few[FEW_SOURCES];
    struct iter **list;      /* `few`, or memory of its own */
    size_t count, memtables; /* of them all; of those that are not over tables, which come first */
    const struct range_set *hidden;
    kevo_iter *parked; /* whose parked iterators are used; NULL: there are none */
};

static int sources_init(struct sources *s, size_t l0_count, const struct range_set *hidden,
                        kevo_iter *parked, struct kevo_err *err) {
    size_t most = l0_count + OTHER_SOURCES;
    s->list = most > FEW_SOURCES ? mem_array(most, sizeof *s->list) : s->few;
    s->count = s->memtables = 0;
    s->hidden = hidden;
    s->parked = parked;
    return s->list ? 0 : kevo_nomem(err);
}

/* Who took the iterators has them. */
static void sources_release(struct sources *s) {
    if (s->list != s->few) mem_free(s->list);
}

static struct iter **next_slot(struct sources *sources) {
    return &sources->list[sources->count];
}

static int keep(struct sources *sources, int rc) {
    if (rc == 0) sources->count++;
    return rc;
}

/* What comes into a memtable from now on is nothing that the snapshot sees. */
static int add_memtable(struct sources *sources, struct memtable *m, struct kevo_err *err) {
    uint64_t max_seq = atomic_load_explicit(&m->max_seq, memory_order_relaxed);
    struct iter *it;
    int rc = memtable_iter_new(m, &it, err);
    if (rc) return rc;
    *next_slot(sources) = it;
    if (sources->hidden && sources->hidden->max_seq > max_seq)
        rc = hide_iter_new(it, sources->hidden, max_seq, next_slot(sources), err);
    if (rc) iter_close(it);
    return keep(sources, rc);
}

static int add_runs(struct sources *sources, const struct runs *r, slice lower, slice upper,
                    struct kevo_err *err) {
    size_t added;
    int rc = runs_iters(r, lower, upper, sources->hidden, next_slot(sources), &added, err);
    sources->count += added;
    return rc;
}

/* A memtable without an entry in the bounds is no source: what is added to the active one
 * later lies above the snapshot. The transaction's own buffer is shown as it grows. */
static int add_memtables(struct sources *sources, const struct superversion *sv, kevo_txn *txn,
                         slice lower, slice upper, struct kevo_err *err) {
    int rc = 0;
    if (txn) rc = keep(sources, memtable_iter_new(txn->buffer, next_slot(sources), err));
    if (txn && rc == 0) rc = add_runs(sources, &txn->runs, lower, upper, err);
    for (unsigned i = 0; rc == 0 && i <= sv->immutable_count; i++) {
        struct memtable *m = i ? sv->immutable[i - 1] : sv->active;
        if (memtable_live_count(m) && memtable_overlaps(m, lower, upper))
            rc = add_memtable(sources, m, err);
    }
    return rc;
}

static int add_table_iter(struct sources *sources, int rc) {
    if (rc == 0 && sources->hidden) level_iter_hide(*next_slot(sources), sources->hidden);
    return keep(sources, rc);
}

/* Put an iterator that is parked into the next slot. False: there is none. */
static bool take_parked(struct sources *sources) {
    kevo_iter *it = sources->parked;
    if (!it || it->table_count == 0) return false;
    *next_slot(sources) = it->tables[--it->table_count];
    return true;
}

static int add_file(struct sources *sources, struct table_file *f, struct kevo_err *err) {
    int rc = 0;
    if (take_parked(sources))
        file_iter_bind(*next_slot(sources), f);
    else
        rc = file_iter_new(f, true, next_slot(sources), err);
    return add_table_iter(sources, rc);
}

static int add_level(struct sources *sources, struct version *v, unsigned level, slice lower,
                     slice upper, struct kevo_err *err) {
    int rc = 0;
    if (take_parked(sources))
        level_iter_bind(*next_slot(sources), v, level, lower, upper);
    else
        rc = level_iter_new(v, level, lower, upper, true, next_slot(sources), err);
    return add_table_iter(sources, rc);
}

static bool level_overlaps(const struct level *l, slice lower, slice upper) {
    size_t i = lower.data ? level_find(l, lower) : 0;
    return i < l->count && table_file_overlaps(l->files[i], lower, upper);
}

static int add_tables(struct sources *sources, struct version *v, uint64_t snapshot, slice lower,
                      slice upper, struct kevo_err *err) {
    int rc = 0;
    const struct level *l0 = &v->levels[0];
    for (size_t i = 0; rc == 0 && i < l0->count; i++) {
        if (l0->files[i]->min_seq <= snapshot && table_file_overlaps(l0->files[i], lower, upper))
            rc = add_file(sources, l0->files[i], err);
    }
    for (unsigned level = 1; rc == 0 && level < KEVO_MAX_LEVELS; level++) {
        const struct level *l = &v->levels[level];
        if (l->count && level_overlaps(l, lower, upper))
            rc = add_level(sources, v, level, lower, upper, err);
    }
    return rc;
}

/* Put the bounds that the prefix makes into *read as well. The bytes are the reader's, or
 * lie in it->at. */
static int find_bounds(kevo_iter *it, struct kevo_read *read, struct kevo_err *err) {
    slice *lower = &read->lower, *upper = &read->upper;
    if (read->prefix.len == 0) return 0;
    if (!buf_set_successor(&it->at, read->prefix)) return kevo_nomem(err);
    slice end = buf_slice(&it->at);
    if (!lower->data || slice_cmp(*lower, read->prefix) < 0) *lower = read->prefix;
    if (end.len && (!upper->data || slice_cmp(end, *upper) < 0)) *upper = end;
    return 0;
}

/* Remember those over tables, for the iterator to use them again. Some may be left that are
 * parked: then none of these is new. */
static void note_tables(kevo_iter *it, const struct sources *sources) {
    size_t count = sources->count - sources->memtables;
    if (it->table_count + count > KEPT_TABLES) return;
    for (size_t i = 0; i < count; i++)
        it->tables[it->table_count++] = sources->list[sources->memtables + i];
}

/* Every version of what the iterator looks at, in one. With `first` it has looked at nothing yet,
 * and may have parked iterators. */
static int merge_sources(kevo_iter *it, const struct kevo_read *read, uint64_t snapshot, bool first,
                         struct range_set *hidden, struct iter **merged, struct kevo_err *err) {
    struct sources sources;
    slice lower = read->lower, upper = read->upper;
    struct version *v = it->sv.version;
    int rc = sources_init(&sources, v->levels[0].count, hidden, first ? it : NULL, err);
    if (rc) return rc;
    rc = add_memtables(&sources, &it->sv, read->txn, lower, upper, err);
    sources.memtables = sources.count;
    if (rc == 0) rc = add_tables(&sources, v, snapshot, lower, upper, err);
    if (rc == 0) rc = merge_iter_new(sources.list, sources.count, merged, err);
    for (size_t i = 0; rc && i < sources.count; i++)
        iter_close(sources.list[i]);
    if (rc == 0) count(&it->store->counters.iterator_sources, sources.count);
    if (rc == 0 && first) note_tables(it, &sources);
    sources_release(&sources);
    return rc;
}

/* Of a view that was parked, or of a zeroed struct. */
static int open_sources(kevo_iter *it, const struct kevo_read *read, uint64_t snapshot, bool first,
                        struct range_set *hidden, struct view_iter *view, struct kevo_err *err) {
    struct iter *merged = NULL;
    int rc = merge_sources(it, read, snapshot, first, hidden, &merged, err);
    if (rc) return rc;
    rc = view_iter_again(view, merged, snapshot, read->lower, read->upper, err);
    if (rc) {
        merge_iter_close_but(merged, it->tables, it->table_count);
        return rc;
    }
    view_iter_hide(view, hidden);
    return 0;
}

static void note_seen(kevo_iter *it, kevo_txn *txn) {
    if (!txn) return;
    it->seen_ranges = range_stack_top(&txn->buffer->ranges);
    it->seen_runs = txn->runs.changes;
}

static void park_sources(kevo_iter *it) {
    merge_iter_close_but(view_iter_park(&it->view), it->tables, it->table_count);
    for (size_t i = 0; i < it->table_count; i++)
        level_iter_park(it->tables[i]);
}

/* Give the iterator another view, and what hides keys in it. After a failure it has what it
 * had before. */
static int open_view(kevo_iter *it, const struct kevo_read *read, uint64_t snapshot,
                     struct kevo_err *err) {
    struct view_iter view = {.source = NULL};
    struct range_set *hidden;
    int rc = hide_find(&it->sv, read, snapshot, &hidden, err);
    if (rc == 0) rc = open_sources(it, read, snapshot, false, hidden, &view, err);
    if (rc) {
        view_iter_release(&view);
        range_set_free(hidden);
        return rc;
    }
    park_sources(it);
    view_iter_release(&it->view);
    it->view = view;
    range_set_free(it->hidden);
    it->hidden = hidden;
    note_seen(it, read->txn);
    return 0;
}

/* Its first view. */
static int open_first(kevo_iter *it, struct kevo_read *read, uint64_t snapshot,
                      struct kevo_err *err) {
    if (!buf_set(&it->suffix, read->suffix)) return kevo_nomem(err);
    int rc = find_bounds(it, read, err);
    if (rc == 0) rc = hide_find(&it->sv, read, snapshot, &it->hidden, err);
    if (rc == 0) rc = open_sources(it, read, snapshot, true, it->hidden, &it->view, err);
    if (rc || !read->txn) return rc;
    note_seen(it, read->txn);
    kevo_txn_ref(read->txn);
    it->txn = read->txn;
    it->seen_changes = read->txn->changes;
    return 0;
}

int kevo_iter_again(kevo_store *store, const struct kevo_read *read, kevo_iter **iter,
                    struct kevo_err *err) {
    struct kevo_read wanted = {.snapshot = NULL};
    kevo_iter *it = *iter;
    *iter = NULL;
    int rc = store_check_process(store, err);
    if (rc) return rc;
    if (read) wanted = *read;
    kevo_iter_park(it);
    if (!it) it = mem_zalloc(sizeof *it);
    if (!it) return kevo_nomem(err);
    uint64_t snapshot;
    superversion_copy(&it->sv, read_begin(store, &wanted, &snapshot));
    it->store = store;
    rc = open_first(it, &wanted, snapshot, err);
    if (rc) {
        kevo_iter_free(it);
        return rc;
    }
    count(&store->counters.iterators, 1);
    *iter = it;
    return 0;
}

int kevo_iter_new(kevo_store *store, const struct kevo_read *read, kevo_iter **iter,
                  struct kevo_err *err) {
    *iter = NULL;
    return kevo_iter_again(store, read, iter, err);
}

void kevo_iter_park(kevo_iter *iter) {
    if (!iter || !iter->store || store_check_process(iter->store, NULL)) return;
    park_sources(iter);
    range_set_free(iter->hidden);
    iter->hidden = NULL;
    superversion_empty(&iter->sv);
    open_tables_trim(&iter->store->open_tables);
    kevo_txn_unref(iter->txn);
    iter->txn = NULL;
    iter->store = NULL;
}

void kevo_iter_free(kevo_iter *iter) {
    if (!iter || (iter->store && store_check_process(iter->store, NULL)))
        return; /* as for values */
    kevo_iter_park(iter);
    for (size_t i = 0; i < iter->table_count; i++)
        iter_close(iter->tables[i]);
    view_iter_release(&iter->view);
    buf_release(&iter->at);
    buf_release(&iter->suffix);
    mem_free(iter);
}

/* A source that had run out may have more since the transaction wrote: position all
 * of them anew before the next motion. */
static bool buffer_changed(kevo_iter *it) {
    return it->txn && it->txn->changes != it->seen_changes;
}

static int refuse(kevo_iter *it, int rc) {
    it->view.entry.valid = false;
    return rc;
}

static slice bound(bool has, const struct buf *bytes) {
    if (!has) return slice_of(NULL, 0);
    return slice_of(bytes->len ? bytes->data : (const uint8_t *)"", bytes->len);
}

/* Whether the transaction has deleted ranges, or undone that, so that the sources leave out other
 * keys now; or there are other sources. */
static bool view_is_old(const kevo_iter *it) {
    const struct kevo_txn *t = it->txn;
    return t && (it->seen_ranges != range_stack_top(&t->buffer->ranges) ||
                 it->seen_runs != t->runs.changes);
}

/* See what the transaction sees now.
 * `key`, if not NULL, may lie in the view that goes. */
static int renew_view(kevo_iter *it, slice *key, struct kevo_err *err) {
    if (!view_is_old(it)) return 0;
    struct kevo_read read = {.txn = it->txn,
                             .lower = bound(it->view.has_lower, &it->view.lower),
                             .upper = bound(it->view.has_upper, &it->view.upper)};
    if (key && !buf_set(&it->at, *key)) return kevo_nomem(err);
    if (key) *key = buf_slice(&it->at);
    return open_view(it, &read, it->view.snapshot, err);
}

/* Before a motion that positions all sources. `key` is what it looks for, or NULL. */
static int begin_seek(kevo_iter *it, slice *key, struct kevo_err *err) {
    int rc = store_check_process(it->store, err);
    if (rc == 0) rc = renew_view(it, key, err);
    if (rc) return refuse(it, rc);
    if (it->txn) {
        memtable_link(it->txn->buffer);
        it->seen_changes = it->txn->changes;
    }
    count(&it->store->counters.seeks, 1);
    return 0;
}

static bool is_wanted(const kevo_iter *it) {
    return it->suffix.len == 0 || slice_has_suffix(it->view.entry.key, buf_slice(&it->suffix));
}

/* A motion was made, forward or backward: go on to a key that is wanted. */
static int pass_forward(kevo_iter *it, int rc, struct kevo_err *err) {
    while (rc == 0 && it->view.entry.valid && !is_wanted(it))
        rc = view_iter_next(&it->view, err);
    return rc;
}

static int pass_backward(kevo_iter *it, int rc, struct kevo_err *err) {
    while (rc == 0 && it->view.entry.valid && !is_wanted(it))
        rc = view_iter_prev(&it->view, err);
    return rc;
}

int kevo_iter_first(kevo_iter *iter, struct kevo_err *err) {
    int rc = begin_seek(iter, NULL, err);
    return rc ? rc : pass_forward(iter, view_iter_first(&iter->view, err), err);
}

int kevo_iter_last(kevo_iter *iter, struct kevo_err *err) {
    int rc = begin_seek(iter, NULL, err);
    return rc ? rc : pass_backward(iter, view_iter_last(&iter->view, err), err);
}

int kevo_iter_seek(kevo_iter *iter, slice key, struct kevo_err *err) {
    int rc = begin_seek(iter, &key, err);
    return rc ? rc : pass_forward(iter, view_iter_seek(&iter->view, key, err), err);
}

int kevo_iter_seek_for_prev(kevo_iter *iter, slice key, struct kevo_err *err) {
    int rc = begin_seek(iter, &key, err);
    return rc ? rc : pass_backward(iter, view_iter_seek_for_prev(&iter->view, key, err), err);
}

/* Whether the iterator stands, after a seek, on the key that it stood on. */
static bool has_not_moved(const kevo_iter *it) {
    return it->view.entry.valid && slice_eq(it->view.entry.key, buf_slice(&it->at));
}

/* Whether a motion is that of the view: nothing comes between two of them, every key is wanted. */
static inline bool is_plain(const kevo_iter *it) {
    return !it->txn && it->suffix.len == 0;
}

/* After a transaction's writes, and where not every key is wanted. */
static __attribute__((noinline)) int next_wanted(kevo_iter *iter, struct kevo_err *err) {
    if (buffer_changed(iter)) {
        if (!buf_set(&iter->at, iter->view.entry.key)) return refuse(iter, kevo_nomem(err));
        int rc = kevo_iter_seek(iter, buf_slice(&iter->at), err);
        if (rc || !has_not_moved(iter)) return rc;
    }
    return pass_forward(iter, view_iter_next(&iter->view, err), err);
}

int kevo_iter_next(kevo_iter *iter, struct kevo_err *err) {
    assert(iter->view.entry.valid);
    int rc = store_check_process(iter->store, err);
    if (rc) return refuse(iter, rc);
    return is_plain(iter) ? view_iter_next(&iter->view, err) : next_wanted(iter, err);
}

int kevo_iter_prev(kevo_iter *iter, struct kevo_err *err) {
    assert(iter->view.entry.valid);
    int rc = store_check_process(iter->store, err);
    if (rc) return refuse(iter, rc);
    if (is_plain(iter)) return view_iter_prev(&iter->view, err);
    if (buffer_changed(iter)) {
        if (!buf_set(&iter->at, iter->view.entry.key)) return refuse(iter, kevo_nomem(err));
        rc = kevo_iter_seek_for_prev(iter, buf_slice(&iter->at), err);
        if (rc || !has_not_moved(iter)) return rc;
    }
    return pass_backward(iter, view_iter_prev(&iter->view, err), err);
}

const struct kevo_entry *kevo_iter_entry(const kevo_iter *iter) {
    return &iter->view.entry;
}

bool kevo_iter_valid(const kevo_iter *iter) {
    return iter->view.entry.valid;
}

slice kevo_iter_key(const kevo_iter *iter) {
    return iter->view.entry.key;
}

slice kevo_iter_value(const kevo_iter *iter) {
    return iter->view.entry.value;
}
