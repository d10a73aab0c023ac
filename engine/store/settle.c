/* What a store does when it is left alone, so that the next reads find one sorted run.
 *
 * settle_ms after the last commit the flusher makes the active memtable immutable, unless it is
 * tiny, flushes it, and removes spare log segments. The compactor waits until retain_ms is over
 * as well, since before that it would have to keep what was replaced, and then merges what
 * compact_pick_idle() finds worth it. Each tells how long it is until then, and its thread sleeps
 * as long; while there is nothing to settle it sleeps until it is woken.
 *
 * A memtable is replaced only when nobody else writes; a writer who comes back just then waits for
 * the log to be synced and its next segment to be made, as when a memtable is full. A merge keeps
 * no writer: it gives way when writers would be slowed down, and to kevo_compact(). */
#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/store/work.h"

enum { LITTLE_BYTES = 512 << 10, MAX_RETAIN_US = 10000000, RETRY_US = 1000000, MEMORY_US = 20000 };

/* ---- when ------------------------------------------------------------------------------- */

/* Until `wait_us` after the last of these moments: the one given, when the store was made ready
 * for its first write, the last commit. 0: that is over. */
static uint64_t time_left(const kevo_store *s, uint64_t since_us, uint64_t wait_us) {
    uint64_t now = s->env->recent_us(s->env);
    if (since_us < s->settle.ready_at_us) since_us = s->settle.ready_at_us;
    if (since_us < s->committed_at_us) since_us = s->committed_at_us;
    /* It may lie a moment ahead of a clock that ticks. */
    uint64_t passed = now > since_us ? now - since_us : 0;
    return passed < wait_us ? wait_us - passed : 0;
}

static bool is_little(const kevo_store *s, const struct memtable *m) {
    uint64_t quarter = s->options.memtable_bytes / 4;
    return !s->settle.all && memtable_bytes(m) < (quarter < LITTLE_BYTES ? quarter : LITTLE_BYTES);
}

/* Whether the active memtable is worth a table of its own, and may become one. Where compaction
 * has to come first it waits for that. */
static bool has_memtable(const kevo_store *s) {
    const struct memtable *m = s->current->active;
    if (is_little(s, m) || memtable_is_empty(m)) return false;
    if (s->options.authority == KEVO_AUTHORITY_EXTERNAL && !s->settle.make_durable) return false;
    /* The log names tables that the manifest lacks, until the next writer comes. */
    if (s->overlaid) return false;
    return s->pending.commit.batch == 0 && s->settle.failed_batch != s->committed.batch &&
           s->current->immutable_count == 0 &&
           s->current->version->levels[0].count < s->options.l0_trigger;
}

uint64_t settle_memory_in(const kevo_store *s) {
    if (!s->options.settle_ms || !s->resolved) return SETTLE_NEVER;
    if (!has_memtable(s) && s->spare_count == 0) return SETTLE_NEVER;
    return time_left(s, s->settle.tried_at_us, s->options.settle_ms * 1000);
}

static bool is_none_worth(kevo_store *s) {
    if (s->settle.edits != s->edits) return false;
    return s->settle.oldest == SETTLE_ANY || s->settle.oldest == gc_oldest(s, true);
}

uint64_t settle_tables_in(kevo_store *s) {
    uint64_t wait = s->options.settle_ms * 1000, retain = s->options.retain_ms * 1000;
    if (!wait || s->current->version->is_settled || work_flush_pending(s)) return SETTLE_NEVER;
    if (is_none_worth(s)) return SETTLE_NEVER;
    if (retain > MAX_RETAIN_US) retain = MAX_RETAIN_US;
    uint64_t left = time_left(s, 0, wait > retain ? wait : retain);
    return left == 0 && settle_memory_in(s) == 0 ? MEMORY_US : left; /* memory first */
}

uint64_t settle_time_left(const kevo_store *s) {
    return time_left(s, 0, s->options.settle_ms * 1000);
}

void settle_note_commit(kevo_store *s) {
    work_note_commit(s);
    if (s->settle.watched || is_little(s, s->current->active)) return;
    if (!s->options.background || settle_memory_in(s) == SETTLE_NEVER) return;
    work_schedule(s);
    s->settle.watched = s->jobs[FLUSHER].thread != NULL;
}

/* ---- memory ----------------------------------------------------------------------------- */

/* The log's segment may have been a spare, and be longer than it is going to be. */
static void trim_log(kevo_store *s) {
    if (pthread_mutex_trylock(&s->write_mutex)) return;
    pthread_mutex_lock(&s->mutex);
    bool read_by_others = s->log_holds > 0;
    pthread_mutex_unlock(&s->mutex);
    if (s->wal && !read_by_others) wal_trim(s->wal);
    pthread_mutex_unlock(&s->write_mutex);
}

/* Returns whether there were any. */
static bool remove_spares(kevo_store *s) {
    uint64_t spares[MAX_SPARES];
    pthread_mutex_lock(&s->mutex);
    unsigned count = s->spare_count;
    memcpy(spares, s->spares, count * sizeof spares[0]);
    s->spare_count = 0;
    pthread_mutex_unlock(&s->mutex);
    for (unsigned i = 0; i < count; i++)
        wal_remove_spare(s->env, s->dir, spares[i]);
    return count > 0;
}

static int make_durable(kevo_store *s, struct kevo_err *err) {
    if (s->options.authority != KEVO_AUTHORITY_EXTERNAL) return 0;
    pthread_mutex_lock(&s->mutex);
    int (*call)(void *arg, struct kevo_err *err) = s->settle.make_durable;
    void *arg = s->settle.arg;
    s->settle.calling = call != NULL;
    pthread_mutex_unlock(&s->mutex);
    if (!call) return KEVO_CANCELLED;
    int rc = call(arg, err);
    pthread_mutex_lock(&s->mutex);
    s->settle.calling = false;
    pthread_cond_broadcast(&s->done_cond);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

/* Whether all is as it was, `batch` being the newest. Needs write_mutex. */
static bool is_still_idle(kevo_store *s, uint64_t batch) {
    pthread_mutex_lock(&s->mutex);
    bool idle = s->committed.batch == batch && !s->closing && !s->fatal.rc && has_memtable(s);
    pthread_mutex_unlock(&s->mutex);
    return idle && s->recovered_count == 0;
}

/* Not waiting for a writer: it may be waiting for this very thread, to flush. */
static int replace_memtable(kevo_store *s, uint64_t batch, struct kevo_err *err) {
    if (pthread_mutex_trylock(&s->write_mutex)) return KEVO_BUSY;
    int rc = is_still_idle(s, batch) ? store_replace_active(s, err) : KEVO_BUSY;
    if (rc == 0) count(&s->counters.settled_memtables, 1);
    pthread_mutex_unlock(&s->write_mutex);
    return rc;
}

/* Want of space or memory may pass, and so does a writer. Whatever else it was, the next one who
 * replaces the memtable meets it too, and can be told. */
static void note_failure(kevo_store *s, uint64_t batch, int rc) {
    pthread_mutex_lock(&s->mutex);
    if (rc == KEVO_BUSY)
        s->settle.tried_at_us = s->env->recent_us(s->env);
    else if (rc == KEVO_FULL || rc == KEVO_NOMEM)
        s->settle.tried_at_us = s->env->recent_us(s->env) + RETRY_US;
    else
        s->settle.failed_batch = batch;
    pthread_mutex_unlock(&s->mutex);
}

void settle_memory(kevo_store *s) {
    struct kevo_err ignored;
    pthread_mutex_lock(&s->mutex);
    uint64_t batch = s->committed.batch;
    bool memtable = has_memtable(s);
    pthread_mutex_unlock(&s->mutex);
    bool spares = remove_spares(s); /* which the next segment would be made of */
    if (spares && !memtable) trim_log(s);
    if (!memtable) return;
    int rc = make_durable(s, &ignored);
    if (rc == 0) rc = replace_memtable(s, batch, &ignored);
    if (rc) note_failure(s, batch, rc);
}

/* ---- tables ----------------------------------------------------------------------------- */

bool settle_gives_way(const kevo_store *s) {
    if (s->manual_waits) return true;
    return s->current->version->levels[0].count + s->current->immutable_count >= s->options.l0_slow;
}

void settle_note_none(kevo_store *s, uint64_t edits, uint64_t oldest) {
    s->settle.edits = edits;
    s->settle.oldest = oldest;
}

void kevo_on_settle(kevo_store *store, int (*call)(void *arg, struct kevo_err *err), void *arg) {
    if (store_check_process(store, NULL)) return;
    pthread_mutex_lock(&store->mutex);
    while (store->settle.calling)
        pthread_cond_wait(&store->done_cond, &store->mutex);
    store->settle.make_durable = call;
    store->settle.arg = arg;
    pthread_mutex_unlock(&store->mutex);
}

void kevo_settle_all(kevo_store *store) {
    if (store_check_process(store, NULL)) return;
    pthread_mutex_lock(&store->mutex);
    store->settle.all = true;
    settle_note_commit(store);
    pthread_mutex_unlock(&store->mutex);
}
