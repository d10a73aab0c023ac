#include <assert.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/mem/batch.h"
#include "engine/store/store.h"

enum { MEMTABLE_CHUNK_MAX = 64 << 10 }; /* bytes of a memtable's first chunk, at most */
enum { FINDS_FOR_CHAINS = 64 };         /* who finds so much of what was just written goes on */
enum { RUN_KEEP_BYTES = 4 << 20 };      /* memory of the run that is kept for the next one */

/* ---- getting ready ---------------------------------------------------------------- */

struct sweep {
    kevo_store *store;
    uint64_t *live; /* the numbers of all tables, ascending */
    size_t live_count;
    struct kevo_err *err;
};

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int list_live_tables(struct sweep *sweep, const struct version *v) {
    size_t count = 0;
    for (unsigned level = 0; level < KEVO_MAX_LEVELS; level++)
        count += v->levels[level].count;
    sweep->live = mem_array(count + 1, sizeof *sweep->live);
    if (!sweep->live) return kevo_nomem(sweep->err);
    for (unsigned level = 0; level < KEVO_MAX_LEVELS; level++) {
        for (size_t i = 0; i < v->levels[level].count; i++)
            sweep->live[sweep->live_count++] = v->levels[level].files[i]->number;
    }
    qsort(sweep->live, count, sizeof *sweep->live, by_number);
    return 0;
}

static bool is_live_table(const struct sweep *s, uint64_t number) {
    return bsearch(&number, s->live, s->live_count, sizeof number, by_number) != NULL;
}

/* Remove a file that nothing refers to: the trace of a crash. */
static int sweep_name(void *arg, const char *name) {
    struct sweep *sweep = arg;
    kevo_store *s = sweep->store;
    size_t digits = strspn(name, "0123456789");
    uint64_t number = strtoull(name, NULL, 10);
    bool orphan = false;
    if (digits >= 6 && strcmp(name + digits, ".sst") == 0)
        orphan = !is_live_table(sweep, number);
    else if (digits >= 6 && strcmp(name + digits, ".wal") == 0)
        orphan = number < s->state.wal_floor;
    else if (digits >= 6 && strcmp(name + digits, ".spare") == 0)
        orphan = true;
    else if (digits >= 6 && strcmp(name + digits, ".unsynced") == 0)
        orphan = number < s->wal->number;
    if (!orphan) return 0;
    char path[ENV_PATH_MAX];
    int rc = env_join(path, s->dir, name, sweep->err);
    return rc ? rc : s->env->unlink(s->env, path, sweep->err);
}

static int sweep_orphans(kevo_store *s, struct kevo_err *err) {
    struct superversion *sv = superversion_acquire(s);
    struct sweep sweep = {.store = s, .err = err};
    int rc = list_live_tables(&sweep, sv->version);
    /* Tables being written by a flush are not in the version yet: none runs before
     * the first sweep. */
    pthread_mutex_lock(&s->manifest_mutex);
    if (rc == 0) rc = manifest_sync(s->manifest, &s->state, err);
    if (rc == 0) rc = s->env->list(s->env, s->dir, sweep_name, &sweep, err);
    pthread_mutex_unlock(&s->manifest_mutex);
    superversion_release(sv);
    mem_free(sweep.live);
    /* Before a flush may move the log's floor past the records that name them. */
    if (rc == 0 && s->options.authority == KEVO_AUTHORITY_SELF) rc = ingest_adopt(s, err);
    if (rc) return rc;
    pthread_mutex_lock(&s->mutex);
    s->swept = true;
    s->settle.ready_at_us = s->env->recent_us(s->env);
    if (s->resolved) work_schedule(s); /* what was left to do when it was closed */
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

/* Go on behind what recovery found in the log, which is durable then. */
static int open_log(kevo_store *s, struct kevo_err *err) {
    if (s->tail.number == 0)
        return wal_create(s->env, s->dir, s->active->segment, 0, s->state.uuid, s->tail.last,
                          s->options.file_mode, &s->wal, err);
    int rc = wal_renew(s->env, s->dir, s->tail.number, s->tail.offset, s->options.file_mode, err);
    if (rc == 0) rc = wal_reopen(s->env, s->dir, s->tail.number, s->tail.salt, &s->wal, err);
    /* If this fails, what the log holds is not known: the writer stays, and refuses. */
    return rc ? rc : wal_cut(s->wal, s->tail.offset, s->tail.last, err);
}

/* The log comes first: what a process that was killed left of it may not be durable, and tables go
 * or become part of the tree for what it says. */
int store_start_writing(kevo_store *s, struct kevo_err *err) {
    int rc = store_check_read_only(s, err);
    if (rc == 0 && !s->wal) rc = open_log(s, err);
    if (rc || s->swept) return rc;
    rc = wal_sync(s->wal, err); /* refused when it could not be opened well */
    return rc ? rc : sweep_orphans(s, err);
}

uint64_t store_next_nonce(kevo_store *s) {
    /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = s->nonce_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return z ? z : 1;
}

/* ---- one batch ------------------------------------------------------------------------ */

int store_sync_log(kevo_store *s, struct kevo_err *err) {
    uint64_t start = store_now(s);
    int rc = wal_sync(s->wal, err);
    count(&s->counters.wal_syncs, 1);
    count_since(s, &s->counters.wal_sync, start);
    return rc;
}

static int sync_log(kevo_store *s, int sync, struct kevo_err *err) {
    uint64_t unsynced = s->wal->offset - s->wal->synced;
    bool wanted = sync == KEVO_SYNC_FULL ||
                  (sync == KEVO_SYNC_NORMAL && unsynced >= s->options.wal_sync_bytes);
    return wanted && unsynced ? store_sync_log(s, err) : 0;
}

/* Tell the log that what it has behind the newest committed batch never was. The record
 * takes an id, so that those it makes void are not given out again. It fits into the stack:
 * this must not fail for want of memory. */
int store_append_void(kevo_store *s, struct kevo_commit keep, struct kevo_err *err) {
    uint8_t bytes[WAL_RECORD_HEADER_BYTES + WAL_VOID_BYTES], payload[WAL_VOID_BYTES];
    _Static_assert(sizeof bytes % WAL_ALIGN == 0, "it would be grown");
    struct wal_run run = {.bytes = {bytes, 0, sizeof bytes}};
    struct kevo_commit id = {++s->last_id, 0};
    wal_encode_void(payload, keep);
    wal_run_reset(&run, s->wal);
    int rc = wal_begin_record(&run, err);
    if (rc == 0 && !buf_append(&run.bytes, payload, sizeof payload)) rc = kevo_nomem(err);
    if (rc == 0) rc = wal_end_record(&run, s->wal, WAL_VOID, id, err);
    if (rc == 0) rc = wal_append_run(s->wal, &run, err);
    return rc ? rc : store_sync_log(s, err);
}

int store_settle_void(kevo_store *s, struct kevo_err *err) {
    if (!s->void_owed) return 0;
    int rc = store_append_void(s, s->committed, err);
    if (rc == 0) s->void_owed = false;
    return rc;
}

int store_begin_run(kevo_store *s, struct kevo_err *err) {
    int rc = store_start_writing(s, err);
    if (rc == 0) rc = store_settle_void(s, err);
    if (rc == 0) wal_run_reset(&s->run, s->wal);
    return rc;
}

/* The id is used up even if the append fails: what it left may come back after a power
 * loss, and must not be taken for another batch. */
int store_end_record(kevo_store *s, enum wal_type type, struct kevo_commit *commit,
                     struct kevo_err *err) {
    *commit = (struct kevo_commit){++s->last_id, store_next_nonce(s)};
    return wal_end_record(&s->run, s->wal, type, *commit, err);
}

int store_append_run(kevo_store *s, int sync, struct kevo_err *err) {
    int rc = wal_append_run(s->wal, &s->run, err);
    if (rc) return rc;
    count_write(&s->counters.wal_bytes, s->run.bytes.len);
    return sync_log(s, sync, err);
}

void store_end_run(kevo_store *s) {
    if (s->run.bytes.cap > RUN_KEEP_BYTES) buf_release(&s->run.bytes);
}

void store_count_batches(kevo_store *s, uint64_t batches, const struct batch_totals *totals) {
    count_write(&s->counters.batches, batches);
    count_write(&s->counters.puts, totals->puts);
    count_write(&s->counters.deletes, totals->deletes);
    count_write(&s->counters.range_deletes, totals->range_deletes);
    count_write(&s->counters.user_bytes, totals->user_bytes);
}

static void make_pending(kevo_store *s, struct pending p) {
    pthread_mutex_lock(&s->mutex);
    assert(s->pending.commit.batch == 0);
    s->newest = p.commit;
    s->pending = p;
    pace_look(s);
    pthread_mutex_unlock(&s->mutex);
}

int store_prepare(kevo_store *s, int sync, struct kevo_commit commit, struct kevo_err *err) {
    struct memtable *active = s->active;
    struct pending p = {commit, memtable_mark(active)};
    slice payload = slice_of(s->run.bytes.data + WAL_RECORD_HEADER_BYTES, s->run.payload_bytes);
    pace_wait(s);
    int rc = wal_append_run(s->wal, &s->run, err);
    if (rc) return rc;
    make_pending(s, p);
    count_write(&s->counters.wal_bytes, s->run.bytes.len);
    /* The disk takes about as long for the batch as the memtable. */
    if (sync == KEVO_SYNC_SOON) wal_start_sync(s->wal, s->options.background ? &s->syncer : NULL);
    rc = sync_log(s, sync, err);
    if (rc == 0) rc = batch_insert(payload, active, commit.batch, s->wal->path, err);
    if (rc) {
        struct kevo_err ignored;
        store_cut_pending(s, &ignored); /* before the next append at the latest */
        return rc;
    }
    store_note_age(s);
    pace_owe(s, s->run.bytes.len);
    return 0;
}

uint64_t store_pending(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    uint64_t batch = s->pending.commit.batch;
    pthread_mutex_unlock(&s->mutex);
    return batch;
}

int store_cut(kevo_store *s, struct arena_mark mark, struct kevo_err *err) {
    pthread_mutex_lock(&s->mutex);
    uint64_t committed = s->committed.batch;
    pthread_mutex_unlock(&s->mutex);
    memtable_void(s->active, mark, committed);
    pthread_mutex_lock(&s->mutex);
    s->pending.commit.batch = 0;
    s->newest = s->committed;
    pthread_mutex_unlock(&s->mutex);
    s->void_owed = true;
    int rc = store_settle_void(s, err);
    ingest_cut(s, committed, rc == 0);
    return rc;
}

int store_cut_pending(kevo_store *s, struct kevo_err *err) {
    pthread_mutex_lock(&s->mutex);
    struct pending p = s->pending;
    pthread_mutex_unlock(&s->mutex);
    assert(p.commit.batch != 0);
    return store_cut(s, p.mark, err);
}

void store_sample_commit(kevo_store *s, uint64_t now) {
    struct commit_sample *last = &s->samples[(s->sample_next - 1) % COMMIT_SAMPLES];
    s->committed_at_us = now;
    if (s->sample_next && now - last->at_us < s->options.retain_ms * 1000 / (COMMIT_SAMPLES / 2))
        return;
    s->samples[s->sample_next++ % COMMIT_SAMPLES] = (struct commit_sample){now, s->committed.batch};
}

void store_publish(kevo_store *s, struct kevo_commit commit) {
    pthread_mutex_lock(&s->mutex);
    /* The next writer may have found out already that this batch is committed. */
    if (s->pending.commit.batch == commit.batch) {
        s->pending.commit.batch = 0;
        s->committed = commit;
        history_add(&s->history, commit);
        store_sample_commit(s, s->env->recent_us(s->env));
        settle_note_commit(s);
    }
    pthread_mutex_unlock(&s->mutex);
}

/* ---- rotation ----------------------------------------------------------------------------- */

/* A memtable counts as large as the chunks it holds: they begin small enough that a few
 * of them make a full one. */
struct memtable *store_memtable_new(const kevo_store *s, uint64_t segment) {
    uint64_t chunk_bytes = s->options.memtable_bytes / 8;
    struct memtable *m =
        memtable_new(segment, chunk_bytes < MEMTABLE_CHUNK_MAX ? chunk_bytes : MEMTABLE_CHUNK_MAX);
    if (!m) return NULL;
    memtable_borrow(m, s->cache);
    memtable_add_filter(m, s->options.memtable_bytes);
    memtable_add_chains(m, s->options.memtable_bytes, FINDS_FOR_CHAINS);
    return m;
}

/* Keep writers at the door while memory or level 0 is full. What waits for its flush counts
 * for level 0 already, so that it never has more than l0_stop files. Needs mutex, which it
 * gives up meanwhile. */
static int wait_for_room(kevo_store *s, struct kevo_err *err) {
    uint64_t start = 0;
    int rc;
    while ((rc = work_check(s, err)) == 0) {
        unsigned immutable = s->current->immutable_count;
        size_t l0_tables = s->current->version->levels[0].count;
        bool memory_full = immutable + 1 >= s->options.memtable_count;
        bool l0_full = l0_tables >= s->options.l0_stop;
        if (!memory_full && l0_tables + immutable < s->options.l0_stop) break;
        if (!start) start = store_now(s);
        rc = work_await(s, immutable && (memory_full || !l0_full) ? FLUSHER : COMPACTOR, err);
        if (rc) break;
    }
    if (start) pace_count_stall(s, store_now(s) - start);
    return rc;
}

int store_await_room(kevo_store *s, struct kevo_err *err) {
    pthread_mutex_lock(&s->mutex);
    int rc = wait_for_room(s, err);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

static uint64_t take_spare(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    uint64_t number = s->spare_count ? s->spares[--s->spare_count] : 0;
    pthread_mutex_unlock(&s->mutex);
    return number;
}

/* The next log segment, its predecessor sealed: all of it is durable first. */
static int next_segment(kevo_store *s, struct wal_writer **next, struct kevo_err *err) {
    int rc = store_settle_void(s, err);
    if (rc == 0) rc = store_sync_log(s, err);
    if (rc) return rc;
    rc = wal_create(s->env, s->dir, s->wal->number + 1, take_spare(s), s->state.uuid, s->wal->last,
                    s->options.file_mode, next, err);
    if (rc == KEVO_READONLY) s->wal->failed = true; /* it may not grow beyond what has begun */
    return rc;
}

static void swap_memtable(kevo_store *s, struct superversion *sv, struct memtable *fresh) {
    struct memtable *immutable[MAX_MEMTABLES];
    pthread_mutex_lock(&s->mutex);
    struct superversion *old = s->current;
    immutable[0] = old->active;
    memcpy(immutable + 1, old->immutable, old->immutable_count * sizeof immutable[0]);
    superversion_init(sv, fresh, immutable, old->immutable_count + 1, old->version);
    old->active->last_commit = s->committed;
    s->active = fresh;
    s->settle.watched = s->settle.all = false;
    superversion_install(s, sv);
    work_schedule(s);
    pthread_mutex_unlock(&s->mutex);
    superversion_release(old);
}

int store_replace_active(kevo_store *s, struct kevo_err *err) {
    /* All memory first: once the new segment exists, it must be used. */
    struct wal_writer *next = NULL;
    struct superversion *sv = superversion_alloc();
    struct memtable *fresh = store_memtable_new(s, s->wal->number + 1);
    int rc = sv && fresh ? next_segment(s, &next, err) : kevo_nomem(err);
    if (rc) {
        memtable_unref(fresh);
        mem_free(sv);
        return rc;
    }
    swap_memtable(s, sv, fresh);
    memtable_unref(fresh);
    wal_close_full(s->wal);
    s->wal = next;
    s->active_since_us = 0;
    return 0;
}

int store_rotate(kevo_store *s, struct kevo_err *err) {
    uint64_t start = store_now(s);
    int rc = store_start_writing(s, err);
    /* The segment that names them may go then. */
    if (rc == 0) rc = ingest_adopt(s, err);
    if (rc == 0) rc = store_await_room(s, err);
    if (rc == 0) rc = store_replace_active(s, err);
    pace_note_longest(s, store_now(s) - start);
    return rc;
}

void store_note_age(kevo_store *s) {
    if (s->active_since_us == 0) s->active_since_us = s->env->recent_us(s->env);
}

bool store_active_is_old(const kevo_store *s) {
    uint64_t age_us = s->options.memtable_age_ms * 1000;
    return age_us && s->active_since_us && !memtable_is_empty(s->active) &&
           s->env->recent_us(s->env) - s->active_since_us >= age_us;
}

bool store_wants_rotate(const kevo_store *s) {
    return memtable_bytes(s->active) >= s->options.memtable_bytes || store_active_is_old(s);
}

bool kevo_wants_rotate(kevo_store *store) {
    if (store_check_process(store, NULL)) return false;
    pthread_mutex_lock(&store->write_mutex);
    bool wanted = store_wants_rotate(store) || (store->resolved && store->recovered_count);
    pthread_mutex_unlock(&store->write_mutex);
    return wanted;
}

int store_check_writable(kevo_store *s, struct kevo_err *err) {
    int rc = store_check_process(s, err);
    if (rc) return rc;
    pthread_mutex_lock(&s->mutex);
    rc = work_check(s, err);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

int kevo_rotate(kevo_store *store, struct kevo_err *err) {
    int rc = store_check_writable(store, err);
    if (rc) return rc;
    pthread_mutex_lock(&store->write_mutex);
    if (!store->resolved || store_pending(store))
        rc = kevo_fail(err, KEVO_INVALID, "%s: a batch is in doubt; kevo_resolve() comes first",
                       store->dir);
    else
        rc = ingest_adopt(store, err);
    if (rc == 0 && (!memtable_is_empty(store->active) || store_wants_rotate(store)))
        rc = store_rotate(store, err);
    pthread_mutex_unlock(&store->write_mutex);
    return rc;
}

/* ---- resolve -------------------------------------------------------------------------------- */

static int diverged(const kevo_store *s, struct kevo_commit last, const char *why,
                    struct kevo_err *err) {
    return kevo_fail(err, KEVO_DIVERGED,
                     "%s: the database's last commit is batch %llu, %s; the database file and the "
                     "store belong to different moments: restore both from one backup",
                     s->dir, (unsigned long long)last.batch, why);
}

/* Whether `commit` is among the records of a segment, and not made void by a later one. */
static int scan_segment(struct wal_reader *reader, struct kevo_commit commit, bool *found,
                        struct kevo_err *err) {
    struct wal_record record;
    struct kevo_commit keep;
    int rc;
    while ((rc = wal_reader_next(reader, &record, err)) == 0) {
        if (record.type != WAL_VOID)
            *found |= same_commit(record.commit, commit);
        else if (wal_decode_void(record.payload, &keep) && keep.batch < commit.batch)
            *found = false;
    }
    return rc == KEVO_NOTFOUND ? 0 : rc;
}

/* Needs write_mutex. */
static int find_in_log(kevo_store *s, struct kevo_commit commit, bool *found,
                       struct kevo_err *err) {
    int rc = 0;
    *found = false;
    pthread_mutex_lock(&s->manifest_mutex);
    uint64_t first = s->state.wal_floor;
    pthread_mutex_unlock(&s->manifest_mutex);
    uint64_t last = s->wal ? s->wal->number : s->tail.number;
    for (uint64_t number = first; rc == 0 && number <= last; number++) {
        struct wal_reader *reader;
        rc = wal_reader_open(s->env, s->dir, number, s->state.uuid, &reader, err);
        if (rc == 0) rc = scan_segment(reader, commit, found, err);
        wal_reader_close(reader);
        if (rc == KEVO_NOTFOUND) rc = 0; /* flushed meanwhile */
    }
    return rc;
}

int store_find_commit(kevo_store *s, struct kevo_commit commit, bool *found, struct kevo_err *err) {
    pthread_mutex_lock(&s->write_mutex);
    int rc = find_in_log(s, commit, found, err);
    pthread_mutex_unlock(&s->write_mutex);
    return rc;
}

/* After recovery the log is longer than `last`: whether it has that batch at all. */
static int check_has(kevo_store *s, struct kevo_commit last, struct kevo_err *err) {
    bool found;
    if (last.batch < s->state.ingested)
        return diverged(s, last, "but newer ones have left the store's log already", err);
    if (same_commit(last, s->flushed_at_open)) return 0;
    int rc = find_in_log(s, last, &found, err);
    if (rc || found) return rc;
    if (last.batch > s->last_id) return diverged(s, last, "which the store never saw", err);
    if (last.batch < s->flushed_at_open.batch)
        return diverged(s, last, "but newer ones have left the store's log already", err);
    return diverged(s, last, "which is another one in the store", err);
}

static void void_recovered(kevo_store *s, struct kevo_commit keep) {
    struct superversion *sv = superversion_acquire(s);
    store_void(sv->immutable, sv->immutable_count, keep);
    store_void(&sv->active, 1, keep);
    superversion_release(sv);
}

/* The first resolve after recovery. */
static int resolve_tail(kevo_store *s, struct kevo_commit last, struct kevo_err *err) {
    bool longer = !same_commit(last, s->newest);
    int rc = longer ? check_has(s, last, err) : 0;
    if (rc == 0) rc = store_start_writing(s, err);
    if (rc == 0 && longer) rc = store_append_void(s, last, err);
    if (rc) return rc;
    if (longer) void_recovered(s, last);
    if (s->recovered_count) {
        pthread_mutex_lock(&s->manifest_mutex);
        ingest_void(s, last.batch, true);
        pthread_mutex_unlock(&s->manifest_mutex);
        rc = ingest_adopt(s, err);
        if (rc == 0) rc = ingest_show(s, err);
        if (rc) return rc;
    }
    pthread_mutex_lock(&s->mutex);
    history_cut(&s->history, last.batch);
    s->committed = s->newest = last;
    s->resolved = true;
    store_sample_commit(s, s->env->recent_us(s->env));
    /* Each memtable's last batch is committed now; the flusher may have them. */
    work_schedule(s);
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

/* A batch of this process is in doubt, or none. */
static int resolve_pending(kevo_store *s, struct kevo_commit last, struct kevo_err *err) {
    pthread_mutex_lock(&s->mutex);
    struct kevo_commit pending = s->pending.commit, committed = s->committed;
    pthread_mutex_unlock(&s->mutex);
    if (pending.batch && same_commit(last, pending)) {
        store_publish(s, pending);
        return 0;
    }
    if (same_commit(last, committed))
        return pending.batch ? store_cut_pending(s, err) : store_settle_void(s, err);
    if (last.batch > s->last_id) return diverged(s, last, "which the store never saw", err);
    return diverged(s, last, "which is not what the store committed last", err);
}

/* Once in a store's life: something is committed, so it is not to be swept. */
static int record_first_commit(kevo_store *s, struct kevo_commit last, struct kevo_err *err) {
    struct version_edit edit;
    edit_init(&edit);
    edit.has_committed = true;
    edit.committed = last;
    pthread_mutex_lock(&s->manifest_mutex);
    int rc = manifest_append(s->manifest, &edit, &s->state, err);
    pthread_mutex_unlock(&s->manifest_mutex);
    edit_release(&edit);
    if (rc) return rc;
    pthread_mutex_lock(&s->mutex);
    s->virgin = false;
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

/* A flush may end at any moment and be the first to know of a commit. */
static bool was_never_committed(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    bool virgin = s->virgin;
    pthread_mutex_unlock(&s->mutex);
    return virgin;
}

int kevo_resolve(kevo_store *store, struct kevo_commit last, struct kevo_err *err) {
    int rc = store_check_writable(store, err);
    if (rc) return rc;
    pthread_mutex_lock(&store->write_mutex);
    rc = store->resolved ? resolve_pending(store, last, err) : resolve_tail(store, last, err);
    if (rc == 0 && last.batch && was_never_committed(store))
        rc = record_first_commit(store, last, err);
    pthread_mutex_unlock(&store->write_mutex);
    return rc;
}

struct kevo_commit kevo_last_commit(kevo_store *store) {
    if (store_check_process(store, NULL)) return (struct kevo_commit){0, 0};
    pthread_mutex_lock(&store->mutex);
    struct kevo_commit c = store->committed;
    pthread_mutex_unlock(&store->mutex);
    return c;
}

/* Needs write_mutex. */
static int make_durable(kevo_store *s, struct kevo_err *err) {
    bool open = s->wal != NULL;
    int rc = store_start_writing(s, err); /* which syncs the log that recovery found */
    return rc == 0 && open ? store_sync_log(s, err) : rc;
}

int kevo_newest_commit(kevo_store *store, struct kevo_commit *newest, struct kevo_err *err) {
    *newest = (struct kevo_commit){0, 0};
    int rc = store_check_writable(store, err);
    if (rc) return rc;
    pthread_mutex_lock(&store->write_mutex);
    rc = make_durable(store, err);
    pthread_mutex_lock(&store->mutex);
    if (rc == 0) *newest = store->resolved ? store->committed : store->newest;
    pthread_mutex_unlock(&store->mutex);
    pthread_mutex_unlock(&store->write_mutex);
    return rc;
}

bool kevo_is_virgin(kevo_store *store) {
    if (store_check_process(store, NULL)) return false;
    pthread_mutex_lock(&store->mutex);
    bool virgin = store->virgin && store->newest.batch == 0;
    pthread_mutex_unlock(&store->mutex);
    return virgin;
}

bool kevo_is_confirmed(kevo_store *store) {
    return !store_check_process(store, NULL) && !was_never_committed(store);
}

int kevo_confirm(kevo_store *store, struct kevo_err *err) {
    int rc = store_check_writable(store, err);
    struct kevo_commit last = kevo_last_commit(store);
    if (rc || last.batch == 0) return rc;
    pthread_mutex_lock(&store->write_mutex);
    if (was_never_committed(store)) rc = record_first_commit(store, last, err);
    pthread_mutex_unlock(&store->write_mutex);
    return rc;
}

bool kevo_needs_resolve(kevo_store *store) {
    if (store_check_process(store, NULL)) return false;
    pthread_mutex_lock(&store->write_mutex);
    bool needed = !store->resolved;
    pthread_mutex_unlock(&store->write_mutex);
    return needed;
}
