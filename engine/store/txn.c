#include "engine/store/txn.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/store/work.h"

enum { BUFFER_CHUNK_BYTES = 4096 };

int txn_check_sizes(slice key, slice value, struct kevo_err *err) {
    if (key.len == 0) return kevo_fail(err, KEVO_INVALID, "a key must not be empty");
    if (key.len > KEVO_MAX_KEY_BYTES)
        return kevo_fail(err, KEVO_TOOBIG, "the key has %zu bytes; at most %u are possible",
                         key.len, KEVO_MAX_KEY_BYTES);
    if (value.len > KEVO_MAX_VALUE_BYTES)
        return kevo_fail(err, KEVO_TOOBIG, "the value has %zu bytes; at most %u are possible",
                         value.len, KEVO_MAX_VALUE_BYTES);
    return 0;
}

/* Put the real bounds in place of open ones. KEVO_NOTFOUND when nothing lies in between. */
int txn_check_range(slice *lower, slice *upper, struct kevo_err *err) {
    const slice *longer = lower->len > upper->len ? lower : upper;
    if (longer->len > KEVO_MAX_KEY_BYTES)
        return kevo_fail(err, KEVO_TOOBIG, "a bound has %zu bytes; at most %u are possible",
                         longer->len, KEVO_MAX_KEY_BYTES);
    if (lower->len == 0) *lower = range_start();
    if (!upper->data) *upper = range_end();
    return slice_cmp(*lower, *upper) < 0 ? 0 : KEVO_NOTFOUND;
}

int txn_add_range(struct memtable *m, slice lower, slice upper, uint64_t seq,
                  struct kevo_err *err) {
    struct range_list list = {0};
    int rc = range_list_add(&list, lower, upper, seq, err);
    if (rc == 0) rc = memtable_delete_ranges(m, &list, seq, err);
    range_list_release(&list);
    return rc;
}

/* ---- transactions ---------------------------------------------------------------- */

static struct memtable *new_buffer(kevo_store *s) {
    struct memtable *m = memtable_new(0, BUFFER_CHUNK_BYTES);
    if (!m) return NULL;
    memtable_borrow(m, s->cache);
    memtable_own(m);
    return m;
}

int kevo_txn_new(kevo_store *store, kevo_txn **txn, struct kevo_err *err) {
    *txn = NULL;
    kevo_txn *t = mem_zalloc(sizeof *t);
    if (!t) return kevo_nomem(err);
    int rc = kevo_snapshot_new(store, &t->base, err);
    if (rc) {
        mem_free(t);
        return rc;
    }
    t->buffer = new_buffer(store);
    if (!t->buffer) {
        kevo_snapshot_free(t->base);
        mem_free(t);
        return kevo_nomem(err);
    }
    atomic_init(&t->refs, 1);
    t->store = t->runs.store = store;
    *txn = t;
    return 0;
}

void kevo_txn_on_merge(kevo_txn *txn, bool (*cancelled)(void *arg), void *arg) {
    txn->runs.cancelled = cancelled;
    txn->runs.cancelled_arg = arg;
}

void kevo_txn_ref(kevo_txn *txn) {
    atomic_fetch_add_explicit(&txn->refs, 1, memory_order_relaxed);
}

void kevo_txn_unref(kevo_txn *txn) {
    if (!txn || atomic_fetch_sub_explicit(&txn->refs, 1, memory_order_acq_rel) > 1) return;
    /* In a forked child the files are the parent's. */
    if (store_check_process(txn->store, NULL) == 0) runs_release(&txn->runs);
    memtable_unref(txn->buffer);
    kevo_snapshot_free(txn->base);
    mem_free(txn);
}

/* The batch of an earlier prepare never was; its tables are the transaction's again, if it has
 * them still. Needs write_mutex. */
static int cut_prepared(kevo_txn *txn, struct kevo_err *err) {
    kevo_store *s = txn->store;
    txn->prepared.batch = 0;
    if (txn->runs.handed_over) ingest_keep_files(s);
    int rc = store_cut_pending(s, err);
    if (rc == 0) txn->runs.handed_over = false;
    return rc;
}

/* Files are not to be changed while the log names them. */
static int take_runs_back(kevo_txn *txn, struct kevo_err *err) {
    if (!txn->runs.handed_over) return 0;
    if (!txn->prepared.batch)
        return kevo_fail(err, KEVO_READONLY, "%s: the transaction could not be prepared before",
                         txn->store->dir);
    pthread_mutex_lock(&txn->store->write_mutex);
    int rc = cut_prepared(txn, err);
    pthread_mutex_unlock(&txn->store->write_mutex);
    return rc;
}

/* The buffer becomes a run. */
static int spill(kevo_txn *txn, struct kevo_err *err) {
    struct memtable *fresh = new_buffer(txn->store);
    int rc = fresh ? take_runs_back(txn, err) : kevo_nomem(err);
    if (rc == 0 && !memtable_is_empty(txn->buffer)) {
        rc = work_sweep(txn->store, err); /* not after there are files that nobody knows of */
        if (rc == 0) rc = runs_add(&txn->runs, txn->buffer, err);
    }
    if (rc) {
        memtable_unref(fresh);
        return rc;
    }
    memtable_unref(txn->buffer); /* iterators and values keep it */
    txn->buffer = fresh;
    txn->runs.changes++;
    txn->buffer_from = txn->ops;
    return 0;
}

static int make_room(kevo_txn *txn, struct kevo_err *err) {
    bool full = memtable_bytes(txn->buffer) >= txn->store->options.txn_memory_bytes;
    return full ? spill(txn, err) : 0;
}

static int txn_write(kevo_txn *txn, uint8_t type, slice key, slice value, struct kevo_err *err) {
    int rc = store_check_process(txn->store, err);
    if (rc == 0) rc = store_check_read_only(txn->store, err);
    if (rc == 0) rc = txn_check_sizes(key, value, err);
    if (rc == 0) rc = make_room(txn, err);
    if (rc == 0) rc = memtable_add(txn->buffer, key, SEQ_PRIVATE + txn->ops + 1, type, value, err);
    if (rc) return rc;
    txn->totals.puts += type == ENTRY_PUT;
    txn->totals.deletes += type == ENTRY_DELETE;
    txn->totals.user_bytes += key.len + value.len;
    txn->ops++;
    txn->changes++;
    return 0;
}

int kevo_txn_put(kevo_txn *txn, slice key, slice value, struct kevo_err *err) {
    return txn_write(txn, ENTRY_PUT, key, value, err);
}

int kevo_txn_delete(kevo_txn *txn, slice key, struct kevo_err *err) {
    return txn_write(txn, ENTRY_DELETE, key, slice_of(NULL, 0), err);
}

int kevo_txn_delete_range(kevo_txn *txn, slice lower, slice upper, struct kevo_err *err) {
    int rc = store_check_process(txn->store, err);
    if (rc == 0) rc = store_check_read_only(txn->store, err);
    if (rc == 0) rc = txn_check_range(&lower, &upper, err);
    if (rc == KEVO_NOTFOUND) return 0;
    if (rc == 0) rc = make_room(txn, err);
    if (rc == 0) rc = txn_add_range(txn->buffer, lower, upper, SEQ_PRIVATE + txn->ops + 1, err);
    if (rc) return rc;
    txn->totals.range_deletes++;
    txn->totals.user_bytes += lower.len + range_end_shorten(upper).len;
    txn->ops++;
    txn->changes++;
    return 0;
}

struct kevo_mark kevo_txn_mark(const kevo_txn *txn) {
    struct arena_mark m = memtable_mark(txn->buffer);
    return (struct kevo_mark){txn->ops, m.chunk, m.used};
}

void kevo_txn_rollback_to(kevo_txn *txn, struct kevo_mark mark) {
    if (txn->ops == mark.op) return;
    struct arena_mark from = {mark.chunk, mark.used};
    if (mark.op <= txn->buffer_from) from = (struct arena_mark){NULL, 0}; /* of an older buffer */
    memtable_void(txn->buffer, from, SEQ_PRIVATE + mark.op);
    if (mark.op < txn->buffer_from) runs_undo(&txn->runs, mark.op);
    if (mark.op == 0) runs_release(&txn->runs);
    txn->changes++;
}

uint64_t kevo_txn_bytes(const kevo_txn *txn) {
    return memtable_bytes(txn->buffer);
}

bool kevo_txn_is_empty(const kevo_txn *txn) {
    return memtable_is_empty(txn->buffer) && runs_is_empty(&txn->runs);
}

bool kevo_txn_is_large(const kevo_txn *txn) {
    return !runs_is_empty(&txn->runs);
}

/* Put the buffer's changes into a record of their own. Needs write_mutex. */
static int build_record(kevo_store *s, struct memtable *buffer, struct kevo_commit *commit,
                        struct batch_totals *totals, struct kevo_err *err) {
    int rc = store_begin_run(s, err);
    if (rc == 0) rc = wal_begin_record(&s->run, err);
    if (rc == 0) rc = batch_put_memtable(&s->run.bytes, buffer, totals, err);
    return rc ? rc : store_end_record(s, WAL_BATCH, commit, err);
}

static int prepare_buffer(kevo_store *s, struct memtable *buffer, int sync,
                          struct kevo_commit *commit, struct kevo_err *err) {
    struct batch_totals totals = {0};
    struct kevo_commit fresh;
    int rc = build_record(s, buffer, &fresh, &totals, err);
    if (rc == 0) rc = store_prepare(s, sync, fresh, err);
    store_end_run(s);
    if (rc) return rc;
    store_count_batches(s, 1, &totals);
    *commit = fresh;
    return 0;
}

static int check_no_stranger(const kevo_txn *txn, struct kevo_err *err) {
    uint64_t pending = store_pending(txn->store);
    if (pending == 0 || pending == txn->prepared.batch) return 0;
    return kevo_fail(err, KEVO_INVALID, "%s: batch %llu of another transaction is in doubt",
                     txn->store->dir, (unsigned long long)pending);
}

static bool is_prepared(const kevo_txn *txn) {
    return txn->prepared.batch && txn->prepared_changes == txn->changes;
}

/* All of the transaction goes into its runs, durably. */
static int end_runs(kevo_txn *txn, struct kevo_err *err) {
    int rc = 0;
    if (runs_is_empty(&txn->runs)) return 0;
    rc = take_runs_back(txn, err);
    if (rc == 0 && !memtable_is_empty(txn->buffer)) rc = spill(txn, err);
    return rc ? rc : runs_settle(&txn->runs, err);
}

/* From the moment that the log may name them the files are the store's. Needs write_mutex. */
static int prepare_runs(kevo_txn *txn, struct kevo_commit *commit, struct kevo_err *err) {
    int rc = ingest_prepare(txn->store, &txn->runs, txn->ops, commit, err);
    if (rc == 0) store_count_batches(txn->store, 1, &txn->totals);
    return rc;
}

/* Needs write_mutex. */
static int txn_prepare(kevo_txn *txn, int sync, struct kevo_commit *commit, struct kevo_err *err) {
    kevo_store *s = txn->store;
    int rc = check_no_stranger(txn, err);
    if (rc) return rc;
    if (is_prepared(txn)) {
        struct kevo_err ignored;
        bool owed = sync == KEVO_SYNC_FULL && s->wal->offset > s->wal->synced;
        rc = owed ? store_sync_log(s, err) : 0;
        if (rc)
            cut_prepared(txn, &ignored); /* as if this had been the first time */
        else
            *commit = txn->prepared;
        return rc;
    }
    if (txn->prepared.batch) rc = cut_prepared(txn, err);
    if (rc) return rc;
    rc = runs_is_empty(&txn->runs) ? prepare_buffer(s, txn->buffer, sync, commit, err)
                                   : prepare_runs(txn, commit, err);
    if (rc) return rc;
    txn->prepared = *commit;
    txn->prepared_changes = txn->changes;
    return 0;
}

int kevo_txn_prepare(kevo_txn *txn, int sync, struct kevo_commit *commit, struct kevo_err *err) {
    kevo_store *s = txn->store;
    int rc = store_check_process(s, err);
    *commit = (struct kevo_commit){0, 0};
    if (rc) return rc;
    pthread_mutex_lock(&s->mutex);
    rc = work_check(s, err);
    pthread_mutex_unlock(&s->mutex);
    if (rc) return rc;
    uint64_t start = store_now(s);
    if (!is_prepared(txn)) rc = end_runs(txn, err);
    if (rc) return rc;
    pthread_mutex_lock(&s->write_mutex);
    rc = txn_prepare(txn, sync, commit, err);
    pthread_mutex_unlock(&s->write_mutex);
    if (rc == 0) count_since(s, &s->counters.write, start);
    return rc;
}

void kevo_txn_commit(kevo_txn *txn) {
    kevo_store *s = txn->store;
    assert(txn->prepared.batch != 0);
    store_publish(s, txn->prepared);
    txn->prepared.batch = 0;
    if (txn->runs.handed_over && s->options.authority == KEVO_AUTHORITY_SELF) ingest_settle(s);
}

void kevo_txn_rollback(kevo_txn *txn) {
    kevo_txn_rollback_to(txn, (struct kevo_mark){0, NULL, 0});
    txn->prepared.batch = 0;
}

/* ---- batches ------------------------------------------------------------------------ */

int kevo_batch_new(kevo_batch **batch, struct kevo_err *err) {
    *batch = NULL;
    kevo_batch *b = mem_zalloc(sizeof *b);
    if (!b) return kevo_nomem(err);
    b->buffer = memtable_new(0, BUFFER_CHUNK_BYTES);
    if (!b->buffer) {
        mem_free(b);
        return kevo_nomem(err);
    }
    memtable_own(b->buffer);
    *batch = b;
    return 0;
}

static int batch_write(kevo_batch *b, uint8_t type, slice key, slice value, struct kevo_err *err) {
    int rc = txn_check_sizes(key, value, err);
    if (rc == 0) rc = memtable_add(b->buffer, key, ++b->ops, type, value, err);
    if (rc == 0) b->bytes += key.len + value.len;
    return rc;
}

int kevo_batch_put(kevo_batch *batch, slice key, slice value, struct kevo_err *err) {
    return batch_write(batch, ENTRY_PUT, key, value, err);
}

int kevo_batch_delete(kevo_batch *batch, slice key, struct kevo_err *err) {
    return batch_write(batch, ENTRY_DELETE, key, slice_of(NULL, 0), err);
}

int kevo_batch_delete_range(kevo_batch *batch, slice lower, slice upper, struct kevo_err *err) {
    int rc = txn_check_range(&lower, &upper, err);
    if (rc == KEVO_NOTFOUND) return 0;
    if (rc == 0) rc = txn_add_range(batch->buffer, lower, upper, ++batch->ops, err);
    if (rc == 0) batch->bytes += lower.len + range_end_shorten(upper).len;
    return rc;
}

void kevo_batch_reset(kevo_batch *batch) {
    memtable_reset(batch->buffer);
    batch->ops = batch->bytes = 0;
}

void kevo_batch_free(kevo_batch *batch) {
    if (!batch) return;
    memtable_unref(batch->buffer);
    mem_free(batch);
}
