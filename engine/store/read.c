#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/checksum.h"
#include "engine/base/error.h"
#include "engine/store/txn.h"

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

void pin_take_back(kevo_store *s, uint64_t id) {
    size_t i = pin_find(s, id);
    assert(i < s->pin_count && s->pins[i].id == id);
    if (--s->pins[i].count > 0) return;
    s->pin_count--;
    memmove(s->pins + i, s->pins + i + 1, (s->pin_count - i) * sizeof *s->pins);
}

/* Tables may wait for the oldest. */
static bool oldest_is_awaited(const kevo_store *s) {
    return s->current->version->dense_seq != UINT64_MAX;
}

bool pins_are_awaited(const kevo_store *s) {
    return s->drop.wait.pin || oldest_is_awaited(s);
}

void pin_remove(kevo_store *s, uint64_t id) {
    size_t i = pin_find(s, id), count = s->pin_count;
    pin_take_back(s, id);
    if (s->pin_count == count) return;
    /* ... or for any that is between what they hold and what hides it. */
    s->drop.due |= s->drop.wait.pin;
    if (s->drop.due || (i == 0 && oldest_is_awaited(s))) work_schedule(s);
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

uint64_t gc_oldest(kevo_store *s, bool lag) {
    park_end_all(s);
    uint64_t horizon = gc_horizon(s, lag);
    return s->pin_count && s->pins[0].id < horizon ? s->pins[0].id : horizon;
}

int gc_snapshots(kevo_store *s, bool lag, uint64_t **ids, size_t *id_count, struct kevo_err *err) {
    uint64_t horizon = gc_horizon(s, lag);
    *ids = mem_array(s->pin_count + 1, sizeof **ids);
    *id_count = 0;
    if (!*ids) return kevo_nomem(err);
    park_end_all(s);
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
    *p = (kevo_snapshot){.store = s, .id = id};
    park_enlist(s, p);
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
        if (park_leave(snap)) pin_remove(s, snap->id);
        pthread_mutex_unlock(&s->mutex);
        superversion_release(snap->sv);
    }
    mem_free(snap);
}

struct superversion *read_begin(kevo_store *s, const struct kevo_read *read, uint64_t *seq) {
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
static int memtable_look(struct memtable *m, slice key, uint64_t hash, uint64_t max_seq,
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

/* Ask memory for the filters of all memtables at once. */
static void will_get(const struct superversion *sv, uint64_t hash) {
    memtable_will_get(sv->active, hash);
    for (unsigned i = 0; i < sv->immutable_count; i++)
        memtable_will_get(sv->immutable[i], hash);
}

static inline void count_filter(kevo_store *s, uint64_t checks, uint64_t rejects) {
    if (checks) count(&s->counters.filter_checks, checks);
    if (rejects) count(&s->counters.filter_rejects, rejects);
}

static inline int ask_tables(kevo_store *s, struct version_lookup *q, uint64_t cover,
                             struct table_value *v, struct kevo_err *err) {
    int rc = version_lookup_get(q, cover, v, err);
    count_filter(s, q->filter_checks, q->filter_rejects);
    return rc;
}

static int get_committed(kevo_store *s, struct superversion *sv, slice key, uint64_t max_seq,
                         struct table_value *v, struct kevo_err *err) {
    struct version_lookup q;
    uint64_t hash = key_hash(key), cover;
    will_get(sv, hash);
    version_lookup_init(&q, sv->version, &s->home, key, hash, max_seq);
    int rc = memtables_get(sv, key, hash, max_seq, v, &cover);
    return rc == KEVO_NOTFOUND ? ask_tables(s, &q, cover, v, err) : rc;
}

/* What struct kevo_value's pins are. One from a transaction's runs has a superversion as well, since it
 * keeps tables open. A value from a write buffer has none, nor has one that was got with others and
 * lies in a block. */
enum { SUPERVERSION = 0, BLOCK = 1, STORE = 2, RUNS = 3, BUFFER = 3 };

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
        sv = read_begin(store, read, &max_seq);
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

struct superversion *read_keep(kevo_store *s, struct kevo_value *value) {
    struct superversion *sv = value->pin[SUPERVERSION];
    if (!sv || atomic_load_explicit(&s->current, memory_order_relaxed) != sv) return NULL;
    if (value->pin[BLOCK]) cache_unpin(s->cache, value->pin[BLOCK]);
    version_unref(value->pin[RUNS]);
    *value = (struct kevo_value){.slice = {NULL, 0}};
    return sv;
}

void read_carry_on(kevo_store *s, struct superversion *sv, struct kevo_value *value) {
    if (!value) {
        superversion_release(sv);
        return;
    }
    assert(!value->pin[STORE]);
    value->pin[SUPERVERSION] = sv;
    value->pin[STORE] = s;
}

/* Release the value, but for its superversion when that is still the present one: a read by a
 * snapshot would take the same. */
static struct superversion *keep_superversion(kevo_store *store, const struct kevo_read *read,
                                              struct kevo_value *value) {
    bool same = read && read->snapshot && !read->txn;
    struct superversion *sv = same ? read_keep(store, value) : NULL;
    if (!sv) kevo_value_release(value);
    return sv;
}

int kevo_get_again(kevo_store *store, const struct kevo_read *read, slice key,
                   struct kevo_value *value, struct kevo_err *err) {
    int rc = store_check_process(store, err);
    struct superversion *sv = rc ? NULL : keep_superversion(store, read, value);
    if (rc) *value = (struct kevo_value){.slice = {NULL, 0}};
    return rc ? rc : sampled_get(store, read, key, sv, value, err);
}

/* ---- several keys at once -------------------------------------------------------------- */

/* One key of several. */
struct lookup {
    struct version_lookup tables;
    uint64_t cover;
    struct table_value value;
    int rc; /* of the memtables; KEVO_NOTFOUND: the tables decide */
};

/* Step by step for all of them, so that they wait for memory together. */
static void begin_lookups(kevo_store *s, const struct superversion *sv,
                          const struct kevo_slice *keys, unsigned count, uint64_t max_seq,
                          struct lookup *list) {
    for (unsigned i = 0; i < count; i++) {
        uint64_t hash = key_hash(keys[i]);
        will_get(sv, hash);
        version_lookup_init(&list[i].tables, sv->version, &s->home, keys[i], hash, max_seq);
    }
    for (unsigned i = 0; i < count; i++) {
        struct lookup *l = &list[i];
        l->value = (struct table_value){0};
        l->rc = memtables_get(sv, keys[i], l->tables.hash, max_seq, &l->value, &l->cover);
        if (l->rc == KEVO_NOTFOUND) version_lookup_aim(&l->tables, l->cover);
    }
    for (unsigned i = 0; i < count; i++)
        version_lookup_find(&list[i].tables);
    for (unsigned i = 0; i < count; i++)
        version_lookup_hold(&list[i].tables, i ? &list[i - 1].tables : NULL);
}

static int end_lookup(kevo_store *s, struct lookup *l, struct kevo_err *err) {
    int rc = l->rc;
    if (rc == KEVO_NOTFOUND) rc = version_lookup_get(&l->tables, l->cover, &l->value, err);
    if (rc || l->value.type != ENTRY_DELETE) return rc;
    if (l->value.block) cache_unpin(s->cache, l->value.block);
    return KEVO_NOTFOUND;
}

/* What version_lookup counts of all of them, and: `gets` ended, of which `hits` found something. */
static void count_gets(kevo_store *s, const struct lookup *list, unsigned wanted, unsigned gets,
                       unsigned hits) {
    uint64_t checks = 0, rejects = 0;
    for (unsigned i = 0; i < wanted; i++) {
        checks += list[i].tables.filter_checks;
        rejects += list[i].tables.filter_rejects;
    }
    count(&s->counters.gets, gets);
    if (hits < gets) count(&s->counters.gets_missed, gets - hits);
    count_filter(s, checks, rejects);
}

/* A value in a block of the cache needs no more than that. The others come with a reference on `sv`
 * each, which are taken at once. */
static int end_lookups(kevo_store *s, struct superversion *sv, struct lookup *list, unsigned *count,
                       struct kevo_value *values, bool *found, struct kevo_err *err) {
    unsigned wanted = *count, hits = 0, refs = 0;
    int rc = 0;
    for (*count = 0; *count < wanted; ++*count) {
        unsigned i = *count;
        if (i + 1 < wanted) version_lookup_will_read(&list[i + 1].tables);
        rc = end_lookup(s, &list[i], i ? NULL : err);
        if (rc < 0) break;
        found[i] = rc == 0;
        values[i] = (struct kevo_value){.slice = {NULL, 0}};
        if (rc) continue;
        values[i].slice = list[i].value.value;
        values[i].pin[SUPERVERSION] = list[i].value.block ? NULL : sv;
        values[i].pin[BLOCK] = list[i].value.block;
        values[i].pin[STORE] = s;
        hits++;
        refs += !list[i].value.block;
    }
    for (unsigned i = *count + 1; i < wanted; i++)
        version_lookup_drop(&list[i].tables);
    if (refs) atomic_fetch_add_explicit(&sv->refs, refs, memory_order_relaxed);
    count_gets(s, list, wanted, *count, hits);
    return rc < 0 && *count == 0 ? rc : 0;
}

int kevo_get_many(kevo_store *store, const struct kevo_read *read, const struct kevo_slice *keys,
                  unsigned *count, struct kevo_value *values, bool *found, struct kevo_err *err) {
    struct lookup list[KEVO_GET_MANY];
    uint64_t max_seq;
    assert(*count > 0 && *count <= KEVO_GET_MANY && !(read && read->txn));
    int rc = store_check_process(store, err);
    if (rc) {
        *count = 0;
        return rc;
    }
    struct superversion *sv = read_begin(store, read, &max_seq);
    begin_lookups(store, sv, keys, *count, max_seq, list);
    rc = end_lookups(store, sv, list, count, values, found, err);
    superversion_release(sv);
    return rc;
}

/* In a forked child nothing is given back: the parent's threads may have held the locks,
 * and the last reference to an obsolete table would remove the parent's file. */
void kevo_value_release(struct kevo_value *value) {
    kevo_store *s = value->pin[STORE];
    if (s && store_check_process(s, NULL) == 0) {
        if (value->pin[BLOCK]) cache_unpin(s->cache, value->pin[BLOCK]);
        if (value->pin[SUPERVERSION]) {
            superversion_release(value->pin[SUPERVERSION]);
            version_unref(value->pin[RUNS]);
        } else {
            memtable_unref(value->pin[BUFFER]);
        }
    }
    *value = (struct kevo_value){.slice = {NULL, 0}};
}
