#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/checksum.h"
#include "engine/base/error.h"
#include "engine/store/txn.h"
#include "engine/tree/hide_iter.h"
#include "engine/tree/merge_iter.h"

/* ---- snapshots ----------------------------------------------------------------------- */

/* Index of the first pin with an id >= `id`. Pins are few, and mostly the last. */
static size_t pin_find(const kevo_store *s, uint64_t id) {
    size_t i = s->pin_count;
    while (i > 0 && s->pins[i - 1].id >= id)
        i--;
    return i;
}

int pin_add(kevo_store *s, uint64_t id, struct kevo_err *err) {
    size_t i = pin_find(s, id);
    if (i < s->pin_count && s->pins[i].id == id) {
        s->pins[i].count++;
        return 0;
    }
    if (!mem_grow((void **)&s->pins, &s->pin_cap, s->pin_count + 1, sizeof *s->pins))
        return kevo_nomem(err);
    memmove(s->pins + i + 1, s->pins + i, (s->pin_count - i) * sizeof *s->pins);
    s->pins[i] = (struct pin){id, 1};
    s->pin_count++;
    return 0;
}

void pin_remove(kevo_store *s, uint64_t id) {
    size_t i = pin_find(s, id);
    assert(i < s->pin_count && s->pins[i].id == id);
    if (--s->pins[i].count > 0) return;
    s->pin_count--;
    memmove(s->pins + i, s->pins + i + 1, (s->pin_count - i) * sizeof *s->pins);
    /* Tables may have waited for it: for the oldest, or for any that is between what they hold
     * and what hides it. */
    s->drop.due |= s->drop.wait.pin;
    if (s->drop.due || (i == 0 && s->current->version->dense_seq != UINT64_MAX)) work_schedule(s);
}

/* The newest batch that was committed retain_ms ago or earlier, as far as is known. */
static uint64_t committed_before_lag(const kevo_store *s) {
    uint64_t now = s->env->now_us(s->env), lag = s->options.retain_ms * 1000, best = 0;
    unsigned kept = s->sample_next < COMMIT_SAMPLES ? s->sample_next : COMMIT_SAMPLES;
    if (now - s->committed_at_us >= lag) return s->committed.batch;
    for (unsigned i = 0; i < kept; i++) {
        const struct commit_sample *sample = &s->samples[i];
        if (now - sample->at_us >= lag && sample->batch > best) best = sample->batch;
    }
    return best;
}

uint64_t gc_horizon(const kevo_store *s, bool lag) {
    return lag && s->options.retain_ms ? committed_before_lag(s) : s->committed.batch;
}

uint64_t gc_oldest(const kevo_store *s, bool lag) {
    uint64_t horizon = gc_horizon(s, lag);
    return s->pin_count && s->pins[0].id < horizon ? s->pins[0].id : horizon;
}

int gc_snapshots(kevo_store *s, bool lag, uint64_t **ids, size_t *id_count, struct kevo_err *err) {
    uint64_t horizon = gc_horizon(s, lag);
    *ids = mem_array(s->pin_count + 1, sizeof **ids);
    *id_count = 0;
    if (!*ids) return kevo_nomem(err);
    size_t n = 0;
    for (size_t i = 0; i < s->pin_count && s->pins[i].id < horizon; i++)
        (*ids)[n++] = s->pins[i].id;
    (*ids)[n++] = horizon;
    *id_count = n;
    return 0;
}

static int snapshot_new(kevo_store *s, uint64_t id, kevo_snapshot **snap, struct kevo_err *err) {
    kevo_snapshot *p = mem_alloc(sizeof *p);
    int rc = p ? pin_add(s, id, err) : kevo_nomem(err);
    if (rc) {
        mem_free(p);
        return rc;
    }
    *p = (kevo_snapshot){s, id};
    *snap = p;
    return 0;
}

int kevo_snapshot_new(kevo_store *store, kevo_snapshot **snap, struct kevo_err *err) {
    int rc = store_check_process(store, err);
    *snap = NULL;
    if (rc) return rc;
    pthread_mutex_lock(&store->mutex);
    rc = snapshot_new(store, store->committed.batch, snap, err);
    pthread_mutex_unlock(&store->mutex);
    return rc;
}

static int refuse_older_store(const kevo_store *s, struct kevo_commit as_of, struct kevo_err *err) {
    return kevo_fail(err, KEVO_DIVERGED,
                     "%s: the database's last commit is batch %llu, but the store ends at batch "
                     "%llu: the store is older than the database file, or its log is damaged; "
                     "restore both from one backup",
                     s->dir, (unsigned long long)as_of.batch, (unsigned long long)s->newest.batch);
}

static int refuse_stranger(const kevo_store *s, struct kevo_commit as_of, struct kevo_err *err) {
    return kevo_fail(err, KEVO_DIVERGED,
                     "%s: the store does not know batch %llu, the database's last commit: the "
                     "database file and the store are from different moments; restore both from "
                     "one backup",
                     s->dir, (unsigned long long)as_of.batch);
}

/* What can be said at once of a batch that the authority calls committed: an error, 0
 * when the store has it, KEVO_NOTFOUND when only the log can tell. Needs mutex. */
static int check_known(const kevo_store *s, struct kevo_commit as_of, struct kevo_err *err) {
    if (as_of.batch > s->newest.batch) return refuse_older_store(s, as_of, err);
    if (as_of.batch < s->left_log_at_open) return refuse_stranger(s, as_of, err);
    if (same_commit(as_of, s->newest) || same_commit(as_of, s->flushed)) return 0;
    if (as_of.batch == 0) return 0;
    const struct kevo_commit *known = history_find(&s->history, as_of.batch);
    if (!known) return KEVO_NOTFOUND;
    return same_commit(*known, as_of) ? 0 : refuse_stranger(s, as_of, err);
}

/* Whether the versions that such a snapshot needs are still there. Needs mutex. */
static int check_floor(const kevo_store *s, struct kevo_commit as_of, struct kevo_err *err) {
    uint64_t floor = s->gc_floor;
    for (int i = 0; i < 2; i++) {
        if (s->running_floor[i] > floor) floor = s->running_floor[i];
    }
    if (as_of.batch >= floor) return 0;
    return kevo_fail(err, KEVO_SNAPSHOT,
                     "%s: the snapshot of batch %llu is too old; start the transaction again",
                     s->dir, (unsigned long long)as_of.batch);
}

/* A batch older than the history reaches: it is in the log, or was flushed since the store
 * was opened, or it is another database's. */
static int check_log(kevo_store *s, struct kevo_commit as_of, struct kevo_err *err) {
    bool found;
    int rc = store_find_commit(s, as_of, &found, err);
    if (rc || found) return rc;
    pthread_mutex_lock(&s->mutex);
    bool flushed = as_of.batch < s->flushed.batch;
    pthread_mutex_unlock(&s->mutex);
    if (!flushed) return refuse_stranger(s, as_of, err);
    return kevo_fail(err, KEVO_SNAPSHOT,
                     "%s: the snapshot of batch %llu is too old; start the transaction again",
                     s->dir, (unsigned long long)as_of.batch);
}

int kevo_snapshot_at(kevo_store *store, struct kevo_commit as_of, kevo_snapshot **snap,
                     struct kevo_err *err) {
    int rc = store_check_process(store, err);
    *snap = NULL;
    if (rc) return rc;
    pthread_mutex_lock(&store->mutex);
    rc = check_known(store, as_of, err);
    if (rc == KEVO_NOTFOUND) {
        pthread_mutex_unlock(&store->mutex);
        rc = check_log(store, as_of, err);
        pthread_mutex_lock(&store->mutex);
    }
    if (rc == 0) rc = check_floor(store, as_of, err);
    if (rc == 0) rc = snapshot_new(store, as_of.batch, snap, err);
    pthread_mutex_unlock(&store->mutex);
    return rc;
}

uint64_t kevo_snapshot_id(const kevo_snapshot *snap) {
    return snap->id;
}

void kevo_snapshot_free(kevo_snapshot *snap) {
    if (!snap) return;
    kevo_store *s = snap->store;
    if (store_check_process(s, NULL) == 0) {
        pthread_mutex_lock(&s->mutex);
        pin_remove(s, snap->id);
        pthread_mutex_unlock(&s->mutex);
    }
    mem_free(snap);
}

/* What a read may see, and where. The caller's snapshot keeps what it needs. Without one
 * the newest state is used; what that needs is in the superversion of the same moment: a
 * later one may come from a compaction that kept only what was newest by then. */
static struct superversion *begin_read(kevo_store *s, const struct kevo_read *read, uint64_t *seq) {
    pthread_mutex_lock(&s->mutex);
    *seq = s->committed.batch;
    struct superversion *sv = s->current;
    atomic_fetch_add_explicit(&sv->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&s->mutex);
    if (read && read->snapshot)
        *seq = read->snapshot->id;
    else if (read && read->txn)
        *seq = read->txn->base->id;
    return sv;
}

/* ---- point reads --------------------------------------------------------------------- */

/* A version that a range tombstone hides is as good as deleted. */
static int memtable_look(const struct memtable *m, slice key, uint64_t hash, uint64_t max_seq,
                         struct table_value *v, uint64_t *cover) {
    *cover = memtable_cover(m, key, max_seq);
    int rc = memtable_get_hashed(m, key, hash, max_seq, &v->type, &v->seq, &v->value);
    if (rc == 0 && v->seq < *cover) v->type = ENTRY_DELETE;
    return rc;
}

/* A batch is in one memtable, and those behind have older ones only: a range tombstone over
 * the key hides whatever they have of it. *cover gets its seq, 0: there is none. */
static int memtables_get(const struct superversion *sv, slice key, uint64_t hash, uint64_t max_seq,
                         struct table_value *v, uint64_t *cover) {
    int rc = memtable_look(sv->active, key, hash, max_seq, v, cover);
    for (unsigned i = 0; rc == KEVO_NOTFOUND && !*cover && i < sv->immutable_count; i++)
        rc = memtable_look(sv->immutable[i], key, hash, max_seq, v, cover);
    return rc;
}

static int get_committed(kevo_store *s, struct superversion *sv, slice key, uint64_t max_seq,
                         struct table_value *v, struct kevo_err *err) {
    struct version_lookup q;
    uint64_t hash = key_hash(key), cover;
    /* Wait for the memory of all filters at once. */
    memtable_will_get(sv->active, hash);
    for (unsigned i = 0; i < sv->immutable_count; i++)
        memtable_will_get(sv->immutable[i], hash);
    version_lookup_init(&q, sv->version, &s->home, key, hash, max_seq);
    int rc = memtables_get(sv, key, hash, max_seq, v, &cover);
    if (rc != KEVO_NOTFOUND) return rc;
    rc = version_lookup_get(&q, cover, v, err);
    if (q.filter_checks) {
        count(&s->counters.filter_checks, q.filter_checks);
        if (q.filter_rejects) count(&s->counters.filter_rejects, q.filter_rejects);
    }
    return rc;
}

/* What struct kevo_value's pins are. A value from a write buffer has no superversion; one from a
 * transaction's runs has it as well, since it keeps tables open. */
enum { SUPERVERSION = 0, BLOCK = 1, BUFFER = 1, STORE = 2, RUNS = 3 };

/* A transaction that asks for keys while it is neither small nor large goes on like that, as
 * INSERT and UPDATE do: most of what it asks for it has not written. */
static void think_of_filter(struct memtable *buffer) {
    enum { SOME = 64, MANY = 1024, FOR_BYTES = 2 << 20 };
    uint64_t count = memtable_live_count(buffer);
    if (!buffer->filter.words && count >= SOME && count <= MANY)
        memtable_add_filter(buffer, FOR_BYTES);
}

/* What a transaction itself says of a key. *decided false: nothing. */
static int get_own(kevo_store *store, struct memtable *buffer, slice key, bool *decided,
                   struct kevo_value *value) {
    struct table_value v = {.block = NULL};
    uint64_t cover;
    think_of_filter(buffer);
    uint64_t hash = buffer->filter.words ? key_hash(key) : 0;
    int rc = memtable_look(buffer, key, hash, SEQ_MAX, &v, &cover);
    *decided = rc == 0 || cover;
    if (rc || v.type == ENTRY_DELETE) return KEVO_NOTFOUND;
    memtable_ref(buffer); /* its bytes never move */
    value->slice = v.value;
    value->pin[BUFFER] = buffer;
    value->pin[STORE] = store;
    return 0;
}

/* Nothing was found that decides. */
enum { KEVO_MORE = 2 };

/* What the runs of a transaction say of a key. *runs is what keeps the value, borrowed. */
static int get_run(const struct runs *r, slice key, struct table_value *v, struct version **runs,
                   struct kevo_err *err) {
    uint64_t cover;
    if (!r->version) return KEVO_MORE;
    int rc = runs_get(r, key, v, &cover, err);
    if (rc == KEVO_NOTFOUND) return cover ? KEVO_NOTFOUND : KEVO_MORE;
    if (rc) return rc;
    if (v->seq < cover) v->type = ENTRY_DELETE;
    *runs = r->version;
    return 0;
}

/* `sv`, a reference, is where to look, or NULL; see keep_superversion(). */
static int get_value(kevo_store *store, const struct kevo_read *read, slice key,
                     struct superversion *sv, struct kevo_value *value, struct kevo_err *err) {
    struct table_value v = {.block = NULL};
    if (read && read->txn) {
        bool decided;
        int rc = get_own(store, read->txn->buffer, key, &decided, value);
        if (decided) return rc;
    }
    uint64_t max_seq;
    if (sv)
        max_seq = read->snapshot->id;
    else
        sv = begin_read(store, read, &max_seq);
    struct version *runs = NULL;
    int rc = read && read->txn ? get_run(&read->txn->runs, key, &v, &runs, err) : KEVO_MORE;
    if (rc == KEVO_MORE) rc = get_committed(store, sv, key, max_seq, &v, err);
    if (rc == 0 && v.type == ENTRY_DELETE) rc = KEVO_NOTFOUND;
    if (rc) {
        if (v.block) cache_unpin(store->cache, v.block);
        superversion_release(sv);
        return rc;
    }
    if (runs) version_ref(runs);
    value->slice = v.value;
    value->pin[RUNS] = runs;
    value->pin[SUPERVERSION] = sv;
    value->pin[BLOCK] = v.block;
    value->pin[STORE] = store;
    return 0;
}

static int sampled_get(kevo_store *store, const struct kevo_read *read, slice key,
                       struct superversion *sv, struct kevo_value *value, struct kevo_err *err) {
    uint64_t nth = atomic_fetch_add_explicit(&store->counters.gets, 1, memory_order_relaxed);
    /* Two looks at the clock would be a tenth of a short read. */
    bool timed = nth % KEVO_GET_SAMPLE == 0;
    uint64_t start = timed ? store_now(store) : 0;
    int rc = get_value(store, read, key, sv, value, err);
    if (timed) count_since(store, &store->counters.get, start);
    if (rc) count(&store->counters.gets_missed, 1);
    return rc;
}

int kevo_get(kevo_store *store, const struct kevo_read *read, slice key, struct kevo_value *value,
             struct kevo_err *err) {
    *value = (struct kevo_value){.slice = {NULL, 0}};
    int rc = store_check_process(store, err);
    return rc ? rc : sampled_get(store, read, key, NULL, value, err);
}

/* Release the value, but for its superversion when that is still the present one: a read by a
 * snapshot would take the same. */
static struct superversion *keep_superversion(kevo_store *store, const struct kevo_read *read,
                                              struct kevo_value *value) {
    struct superversion *sv = value->pin[SUPERVERSION];
    if (!sv || !read || !read->snapshot || read->txn ||
        atomic_load_explicit(&store->current, memory_order_relaxed) != sv) {
        kevo_value_release(value);
        return NULL;
    }
    if (value->pin[BLOCK]) cache_unpin(store->cache, value->pin[BLOCK]);
    version_unref(value->pin[RUNS]);
    return sv;
}

int kevo_get_again(kevo_store *store, const struct kevo_read *read, slice key,
                   struct kevo_value *value, struct kevo_err *err) {
    int rc = store_check_process(store, err);
    struct superversion *sv = rc ? NULL : keep_superversion(store, read, value);
    *value = (struct kevo_value){.slice = {NULL, 0}};
    return rc ? rc : sampled_get(store, read, key, sv, value, err);
}

/* In a forked child nothing is given back: the parent's threads may have held the locks,
 * and the last reference to an obsolete table would remove the parent's file. */
void kevo_value_release(struct kevo_value *value) {
    kevo_store *s = value->pin[STORE];
    if (s && store_check_process(s, NULL) == 0) {
        if (!value->pin[SUPERVERSION])
            memtable_unref(value->pin[BUFFER]);
        else if (value->pin[BLOCK])
            cache_unpin(s->cache, value->pin[BLOCK]);
        superversion_release(value->pin[SUPERVERSION]);
        version_unref(value->pin[RUNS]);
    }
    *value = (struct kevo_value){.slice = {NULL, 0}};
}

/* ---- iterators ------------------------------------------------------------------------ */

struct kevo_iter {
    struct view_iter view;
    kevo_store *store;
    struct superversion *sv;
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
    struct iter **list; /* `few`, or memory of its own */
    size_t count;
    const struct range_set *hidden;
};

static int sources_init(struct sources *s, size_t l0_count, const struct range_set *hidden,
                        struct kevo_err *err) {
    size_t most = l0_count + OTHER_SOURCES;
    s->list = most > FEW_SOURCES ? mem_array(most, sizeof *s->list) : s->few;
    s->count = 0;
    s->hidden = hidden;
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
        if (memtable_overlaps(m, lower, upper)) rc = add_memtable(sources, m, err);
    }
    return rc;
}

static int add_table_iter(struct sources *sources, int rc) {
    if (rc == 0 && sources->hidden) level_iter_hide(*next_slot(sources), sources->hidden);
    return keep(sources, rc);
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
            rc =
                add_table_iter(sources, file_iter_new(l0->files[i], true, next_slot(sources), err));
    }
    for (unsigned level = 1; rc == 0 && level < KEVO_MAX_LEVELS; level++) {
        if (level_overlaps(&v->levels[level], lower, upper))
            rc = add_table_iter(
                sources, level_iter_new(v, level, lower, upper, true, next_slot(sources), err));
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

/* Every version of what the iterator looks at, in one. */
static int merge_sources(kevo_iter *it, const struct kevo_read *read, uint64_t snapshot,
                         struct range_set *hidden, struct iter **merged, struct kevo_err *err) {
    struct sources sources;
    slice lower = read->lower, upper = read->upper;
    struct version *v = it->sv->version;
    int rc = sources_init(&sources, v->levels[0].count, hidden, err);
    if (rc) return rc;
    rc = add_memtables(&sources, it->sv, read->txn, lower, upper, err);
    if (rc == 0) rc = add_tables(&sources, v, snapshot, lower, upper, err);
    if (rc == 0) rc = merge_iter_new(sources.list, sources.count, merged, err);
    for (size_t i = 0; rc && i < sources.count; i++)
        iter_close(sources.list[i]);
    if (rc == 0) count(&it->store->counters.iterator_sources, sources.count);
    sources_release(&sources);
    return rc;
}

static int open_sources(kevo_iter *it, const struct kevo_read *read, uint64_t snapshot,
                        struct range_set *hidden, struct kevo_err *err) {
    struct iter *merged = NULL;
    slice lower = read->lower, upper = read->upper;
    int rc = merge_sources(it, read, snapshot, hidden, &merged, err);
    if (rc) return rc;
    rc = view_iter_init(&it->view, merged, snapshot, lower, upper, err);
    if (rc) {
        iter_close(merged);
        return rc;
    }
    view_iter_hide(&it->view, hidden);
    return 0;
}

/* Give the iterator its view, and what hides keys in it. After a failure it has what it
 * had before. */
static int open_view(kevo_iter *it, const struct kevo_read *read, uint64_t snapshot,
                     struct kevo_err *err) {
    struct view_iter view = it->view;
    struct range_set *hidden;
    int rc = hide_find(it->sv, read, snapshot, &hidden, err);
    if (rc == 0) rc = open_sources(it, read, snapshot, hidden, err);
    if (rc) {
        it->view = view;
        range_set_free(hidden);
        return rc;
    }
    view_iter_release(&view);
    range_set_free(it->hidden);
    it->hidden = hidden;
    if (!read->txn) return 0;
    it->seen_ranges = range_stack_top(&read->txn->buffer->ranges);
    it->seen_runs = read->txn->runs.changes;
    return 0;
}

int kevo_iter_new(kevo_store *store, const struct kevo_read *read, kevo_iter **iter,
                  struct kevo_err *err) {
    struct kevo_read wanted = {.snapshot = NULL};
    *iter = NULL;
    int rc = store_check_process(store, err);
    if (rc) return rc;
    if (read) wanted = *read;
    kevo_iter *it = mem_zalloc(sizeof *it);
    if (!it) return kevo_nomem(err);
    it->store = store;
    uint64_t snapshot;
    it->sv = superversion_own(begin_read(store, &wanted, &snapshot));
    rc = it->sv && buf_set(&it->suffix, wanted.suffix) ? 0 : kevo_nomem(err);
    if (rc == 0) rc = find_bounds(it, &wanted, err);
    if (rc == 0) rc = open_view(it, &wanted, snapshot, err);
    if (rc) {
        superversion_release(it->sv);
        buf_release(&it->at);
        buf_release(&it->suffix);
        mem_free(it);
        return rc;
    }
    if (wanted.txn) {
        kevo_txn_ref(wanted.txn);
        it->txn = wanted.txn;
        it->seen_changes = wanted.txn->changes;
    }
    count(&store->counters.iterators, 1);
    *iter = it;
    return 0;
}

void kevo_iter_free(kevo_iter *iter) {
    if (!iter || store_check_process(iter->store, NULL)) return; /* as for values */
    view_iter_release(&iter->view);
    range_set_free(iter->hidden);
    superversion_release(iter->sv);
    open_tables_trim(&iter->store->open_tables);
    kevo_txn_unref(iter->txn);
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

int kevo_iter_next(kevo_iter *iter, struct kevo_err *err) {
    assert(iter->view.entry.valid);
    int rc = store_check_process(iter->store, err);
    if (rc) return refuse(iter, rc);
    if (is_plain(iter)) return view_iter_next(&iter->view, err);
    if (buffer_changed(iter)) {
        if (!buf_set(&iter->at, iter->view.entry.key)) return refuse(iter, kevo_nomem(err));
        rc = kevo_iter_seek(iter, buf_slice(&iter->at), err);
        if (rc || !has_not_moved(iter)) return rc;
    }
    return pass_forward(iter, view_iter_next(&iter->view, err), err);
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
