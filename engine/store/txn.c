#include "engine/store/txn.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/mem/batch.h"

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

/* ---- transactions ---------------------------------------------------------------- */

int kevo_txn_new(kevo_store *store, kevo_txn **txn, struct kevo_err *err) {
    *txn = NULL;
    kevo_txn *t = mem_zalloc(sizeof *t);
    if (!t) return kevo_nomem(err);
    int rc = kevo_snapshot_new(store, &t->base, err);
    if (rc) {
        mem_free(t);
        return rc;
    }
    t->buffer = memtable_new(0, BUFFER_CHUNK_BYTES);
    if (!t->buffer) {
        kevo_snapshot_free(t->base);
        mem_free(t);
        return kevo_nomem(err);
    }
    atomic_init(&t->refs, 1);
    t->store = store;
    *txn = t;
    return 0;
}

void kevo_txn_ref(kevo_txn *txn) {
    atomic_fetch_add_explicit(&txn->refs, 1, memory_order_relaxed);
}

void kevo_txn_unref(kevo_txn *txn) {
    if (!txn || atomic_fetch_sub_explicit(&txn->refs, 1, memory_order_acq_rel) > 1) return;
    memtable_unref(txn->buffer);
    kevo_snapshot_free(txn->base);
    mem_free(txn);
}

static int txn_write(kevo_txn *txn, uint8_t type, slice key, slice value, struct kevo_err *err) {
    int rc = store_check_process(txn->store, err);
    if (rc == 0) rc = txn_check_sizes(key, value, err);
    if (rc == 0) rc = memtable_add(txn->buffer, key, SEQ_PRIVATE + txn->ops + 1, type, value, err);
    if (rc) return rc;
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

struct kevo_mark kevo_txn_mark(const kevo_txn *txn) {
    struct arena_mark m = memtable_mark(txn->buffer);
    return (struct kevo_mark){txn->ops, m.chunk, m.used};
}

void kevo_txn_rollback_to(kevo_txn *txn, struct kevo_mark mark) {
    if (txn->ops == mark.op) return;
    memtable_void(txn->buffer, (struct arena_mark){mark.chunk, mark.used}, SEQ_PRIVATE + mark.op);
    txn->changes++;
}

uint64_t kevo_txn_bytes(const kevo_txn *txn) {
    return memtable_bytes(txn->buffer);
}

bool kevo_txn_is_empty(const kevo_txn *txn) {
    return memtable_live_count(txn->buffer) == 0;
}

/* Put the buffer's changes into the store's record. Needs write_mutex. */
static int build_record(kevo_store *s, struct memtable *buffer, struct batch_totals *totals,
                        struct kevo_err *err) {
    buf_reset(&s->record);
    if (!buf_reserve(&s->record, WAL_RECORD_HEADER_BYTES)) return kevo_nomem(err);
    s->record.len = WAL_RECORD_HEADER_BYTES;
    return batch_put_memtable(&s->record, buffer, totals, err);
}

static void count_batch(kevo_store *s, const struct batch_totals *totals) {
    count(&s->counters.batches, 1);
    count(&s->counters.puts, totals->puts);
    count(&s->counters.deletes, totals->deletes);
    count(&s->counters.user_bytes, totals->user_bytes);
}

/* The record buffer keeps its memory for the next batch, but not that of a giant. */
static void trim_record(kevo_store *s) {
    if (s->record.cap > 4u << 20) buf_release(&s->record);
}

static int prepare_buffer(kevo_store *s, struct memtable *buffer, int sync,
                          struct kevo_commit *commit, struct kevo_err *err) {
    struct batch_totals totals = {0};
    int rc = store_start_writing(s, err);
    if (rc == 0) rc = build_record(s, buffer, &totals, err);
    if (rc == 0) rc = store_prepare(s, sync, commit, err);
    trim_record(s);
    if (rc == 0) count_batch(s, &totals);
    return rc;
}

static int check_no_stranger(const kevo_txn *txn, struct kevo_err *err) {
    uint64_t pending = store_pending(txn->store);
    if (pending == 0 || pending == txn->prepared.batch) return 0;
    return kevo_fail(err, KEVO_INVALID, "%s: batch %llu of another transaction is in doubt",
                     txn->store->dir, (unsigned long long)pending);
}

/* Needs write_mutex. */
static int txn_prepare(kevo_txn *txn, int sync, struct kevo_commit *commit, struct kevo_err *err) {
    kevo_store *s = txn->store;
    int rc = check_no_stranger(txn, err);
    if (rc) return rc;
    if (txn->prepared.batch && txn->prepared_changes == txn->changes) {
        *commit = txn->prepared;
        return 0;
    }
    if (txn->prepared.batch) {
        txn->prepared.batch = 0;
        rc = store_cut_pending(s, err);
        if (rc) return rc;
    }
    rc = prepare_buffer(s, txn->buffer, sync, commit, err);
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
    pthread_mutex_lock(&s->write_mutex);
    rc = txn_prepare(txn, sync, commit, err);
    pthread_mutex_unlock(&s->write_mutex);
    if (rc == 0) count_since(s, &s->counters.write, start);
    return rc;
}

void kevo_txn_commit(kevo_txn *txn) {
    assert(txn->prepared.batch != 0);
    store_publish(txn->store, txn->prepared);
    txn->prepared.batch = 0;
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
    *batch = b;
    return 0;
}

int kevo_batch_put(kevo_batch *batch, slice key, slice value, struct kevo_err *err) {
    int rc = txn_check_sizes(key, value, err);
    return rc ? rc : memtable_add(batch->buffer, key, ++batch->ops, ENTRY_PUT, value, err);
}

int kevo_batch_delete(kevo_batch *batch, slice key, struct kevo_err *err) {
    slice none = slice_of(NULL, 0);
    int rc = txn_check_sizes(key, none, err);
    return rc ? rc : memtable_add(batch->buffer, key, ++batch->ops, ENTRY_DELETE, none, err);
}

void kevo_batch_reset(kevo_batch *batch) {
    memtable_reset(batch->buffer);
    batch->ops = 0;
}

void kevo_batch_free(kevo_batch *batch) {
    if (!batch) return;
    memtable_unref(batch->buffer);
    mem_free(batch);
}

/* ---- writes that commit at once ----------------------------------------------------- */

/* Take the door as the only writer, with room in the active memtable. */
static int begin_write(kevo_store *s, struct kevo_err *err) {
    int rc = store_check_process(s, err);
    if (rc) return rc;
    if (s->options.authority != KEVO_AUTHORITY_SELF)
        return kevo_fail(err, KEVO_INVALID, "%s: the commits of this store are decided elsewhere",
                         s->dir);
    pthread_mutex_lock(&s->mutex);
    rc = work_check(s, err);
    pthread_mutex_unlock(&s->mutex);
    if (rc) return rc;
    pthread_mutex_lock(&s->write_mutex);
    if (store_pending(s))
        rc = kevo_fail(err, KEVO_INVALID, "%s: a prepared transaction is not decided", s->dir);
    else if (memtable_bytes(s->active) >= s->options.memtable_bytes)
        rc = store_rotate(s, err);
    if (rc == 0) rc = store_start_writing(s, err);
    if (rc) pthread_mutex_unlock(&s->write_mutex);
    return rc;
}

static void end_write(kevo_store *s) {
    pthread_mutex_unlock(&s->write_mutex);
}

int kevo_apply_batch(kevo_store *store, const kevo_batch *batch, uint64_t *id,
                     struct kevo_err *err) {
    struct kevo_commit commit = {0, 0};
    uint64_t start = store_now(store);
    int rc = begin_write(store, err);
    if (id) *id = 0;
    if (rc) return rc;
    if (memtable_live_count(batch->buffer) == 0)
        commit = store->newest;
    else
        rc = prepare_buffer(store, batch->buffer, store->options.sync, &commit, err);
    if (rc == 0) store_publish(store, commit);
    end_write(store);
    if (rc) return rc;
    count_since(store, &store->counters.write, start);
    if (id) *id = commit.batch;
    return 0;
}

static int write_one(kevo_store *s, uint8_t type, slice key, slice value, struct kevo_err *err) {
    struct kevo_commit commit;
    uint64_t start = store_now(s);
    int rc = txn_check_sizes(key, value, err);
    if (rc == 0) rc = begin_write(s, err);
    if (rc) return rc;
    struct batch_totals totals = {type == ENTRY_PUT, type == ENTRY_DELETE, key.len + value.len};
    buf_reset(&s->record);
    if (buf_reserve(&s->record, WAL_RECORD_HEADER_BYTES)) {
        s->record.len = WAL_RECORD_HEADER_BYTES;
        rc = batch_put_entry(&s->record, type, key, value, err);
    } else {
        rc = kevo_nomem(err);
    }
    if (rc == 0) rc = store_prepare(s, s->options.sync, &commit, err);
    if (rc == 0) {
        store_publish(s, commit);
        count_batch(s, &totals);
    }
    trim_record(s);
    end_write(s);
    if (rc == 0) count_since(s, &s->counters.write, start);
    return rc;
}

int kevo_put(kevo_store *store, slice key, slice value, struct kevo_err *err) {
    return write_one(store, ENTRY_PUT, key, value, err);
}

int kevo_delete(kevo_store *store, slice key, struct kevo_err *err) {
    return write_one(store, ENTRY_DELETE, key, slice_of(NULL, 0), err);
}
