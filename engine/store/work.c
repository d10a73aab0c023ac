#include "engine/store/work.h"

#include "engine/base/alloc.h"
#include "engine/base/error.h"

/* A job that failed is tried again after RETRY_US, then twice as long each time. */
enum { RETRY_US = 1000000, RETRY_DOUBLINGS = 6 };

/* ---- errors ---------------------------------------------------------------------- */

int work_check(const kevo_store *s, struct kevo_err *err) {
    int rc = store_check_read_only(s, err);
    if (rc || !s->fatal.rc) return rc;
    return kevo_fail(err, KEVO_READONLY,
                     "writes are refused until the store is opened again, after: %s", s->fatal.msg);
}

/* An attempt failed. Want of space or memory may pass; anything else may not. Needs mutex. */
static void note_failure(kevo_store *s, enum work_job job, const struct kevo_err *err) {
    if (err->rc == KEVO_CANCELLED) return;
    s->jobs[job].failures++;
    s->jobs[job].in_a_row++;
    s->jobs[job].err = *err;
    if (!s->fatal.rc && err->rc != KEVO_FULL && err->rc != KEVO_NOMEM) s->fatal = *err;
}

/* ---- what both jobs share -------------------------------------------------------------- */

bool work_closing(void *arg) {
    kevo_store *s = arg;
    pthread_mutex_lock(&s->mutex);
    bool closing = s->closing;
    pthread_mutex_unlock(&s->mutex);
    return closing;
}

struct table_writer_options work_writer_options(const kevo_store *s, unsigned level) {
    /* Level 0, by default, is short-lived and read while hot: compressing it costs more than it
     * saves. */
    return (struct table_writer_options){
        .block_bytes = s->options.block_bytes,
        .restart_interval = 16,
        .compression =
            level < s->options.uncompressed_levels ? KEVO_COMPRESSION_NONE : s->options.compression,
        .filter_bits_per_key = s->options.filter_bits_per_key,
        .file_mode = s->options.file_mode,
    };
}

/* What a job may not drop, and the promise to those who pin snapshots meanwhile. */
int work_begin_gc(kevo_store *s, int job, bool lag, struct build *b, uint64_t **ids,
                  struct kevo_err *err) {
    pthread_mutex_lock(&s->mutex);
    int rc = gc_snapshots(s, lag, ids, &b->snapshot_count, err);
    if (rc == 0) {
        b->snapshots = *ids;
        s->running_floor[job] = (*ids)[b->snapshot_count - 1];
    }
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

/* Needs mutex. A job that dropped nothing hurts no old snapshot. */
void work_end_gc(kevo_store *s, int job, const struct build *b, bool installed) {
    s->running_floor[job] = 0;
    if (installed && b->max_dropped_by > s->gc_floor) s->gc_floor = b->max_dropped_by;
}

/* What readers see has tables that the manifest does not name yet: they stay. Needs
 * manifest_mutex. */
static int apply_to_shown(kevo_store *s, const struct version_edit *edit, struct version **shown,
                          struct kevo_err *err) {
    struct superversion *sv = superversion_acquire(s);
    int rc = version_apply(sv->version, edit, shown, err);
    superversion_release(sv);
    return rc;
}

/* Make the edit durable and let readers see the new version, without the oldest
 * memtable if `flushed`. Files are only handed over, so nothing fails after the
 * manifest has it. */
int work_install(kevo_store *s, struct version_edit *edit, bool flushed, int job,
                 const struct build *b, struct kevo_err *err) {
    struct superversion *sv = superversion_alloc(), *old = NULL;
    struct version *shown = NULL;
    if (!sv) return kevo_nomem(err);
    pthread_mutex_lock(&s->manifest_mutex);
    /* Read in here: of two jobs that end at once, the later edit must not name less. */
    edit->has_next_file = true;
    edit->next_file = atomic_load(&s->next_file);
    int rc = s->recovered_count ? apply_to_shown(s, edit, &shown, err) : 0;
    if (rc == 0) rc = manifest_append(s->manifest, edit, &s->state, err);
    if (rc == 0) {
        pthread_mutex_lock(&s->mutex);
        old = s->current;
        superversion_init(sv, old->active, old->immutable, old->immutable_count - flushed,
                          shown ? shown : s->state.version);
        superversion_install(s, sv);
        s->flushed = s->state.flushed;
        if (flushed) s->virgin = false;
        work_end_gc(s, job, b, true);
        drop_look_at(s, edit);
        pthread_mutex_unlock(&s->mutex);
    }
    pthread_mutex_unlock(&s->manifest_mutex);
    if (rc) mem_free(sv);
    version_unref(shown);
    superversion_release(old);
    return rc;
}

/* An edit that is certainly not in the manifest: its new tables go at once, since a full
 * disk may be what hindered it. */
void work_discard(const struct version_edit *edit, int rc) {
    if (rc == 0 || rc == KEVO_READONLY) return;
    for (size_t i = 0; i < edit->added_count; i++)
        atomic_store(&edit->added[i].file->obsolete, true);
}

/* ---- threads --------------------------------------------------------------------------------- */

int work_sweep(kevo_store *s, struct kevo_err *err) {
    pthread_mutex_lock(&s->write_mutex);
    int rc = s->swept ? 0 : store_start_writing(s, err);
    pthread_mutex_unlock(&s->write_mutex);
    return rc;
}

bool work_flush_pending(const kevo_store *s) {
    return s->resolved && s->current->immutable_count > 0;
}

static int run_flusher(kevo_store *s, struct kevo_err *err) {
    pthread_mutex_lock(&s->mutex);
    bool flush = work_flush_pending(s);
    pthread_mutex_unlock(&s->mutex);
    if (flush) return flush_run(s, err);
    settle_memory(s);
    return 0;
}

static int (*const run[])(kevo_store *, struct kevo_err *) = {run_flusher, compact_run};

/* Run a job with mutex given up, and note how it went. Needs mutex. */
static int do_job(kevo_store *s, enum work_job job, struct kevo_err *err) {
    struct kevo_err own;
    if (!err) err = &own;
    s->jobs[job].running = true;
    pthread_mutex_unlock(&s->mutex);
    int rc = run[job](s, err);
    pthread_mutex_lock(&s->mutex);
    s->jobs[job].running = false;
    if (rc < 0)
        note_failure(s, job, err);
    else
        s->jobs[job].in_a_row = 0;
    pthread_cond_broadcast(&s->done_cond);
    return rc;
}

static bool compactor_is_kept_out(const kevo_store *s) {
    return s->manual || s->manual_waits || s->overlaid;
}

/* Whether a job should be started now. Needs mutex. */
static bool wanted(kevo_store *s, enum work_job job) {
    if (s->fatal.rc || !s->swept || s->jobs[job].running) return false;
    if (job == FLUSHER) return work_flush_pending(s) || settle_memory_in(s) == 0;
    return !compactor_is_kept_out(s) && compact_pending(s);
}

/* In how many microseconds a job may be wanted when nothing happens but that time passes;
 * SETTLE_NEVER. Needs mutex. */
static uint64_t wanted_in(kevo_store *s, enum work_job job) {
    if (s->fatal.rc || !s->swept) return SETTLE_NEVER;
    if (job == FLUSHER) return settle_memory_in(s);
    return compactor_is_kept_out(s) ? SETTLE_NEVER : compact_pending_in(s);
}

/* Needs mutex, which it gives up meanwhile. */
static void wait_for_work(kevo_store *s, enum work_job job) {
    enum { LEAST_US = 1000 }; /* clocks may tick more slowly than this one */
    uint64_t us = wanted_in(s, job);
    if (job == FLUSHER) s->settle.watched = us != SETTLE_NEVER;
    if (us == SETTLE_NEVER)
        pthread_cond_wait(&s->work_cond, &s->mutex);
    else
        s->env->cond_wait_us(s->env, &s->work_cond, &s->mutex, us > LEAST_US ? us : LEAST_US);
}

static uint64_t retry_us(const kevo_store *s, enum work_job job, uint64_t batch) {
    unsigned doublings = s->jobs[job].in_a_row ? s->jobs[job].in_a_row - 1 : 0;
    if (s->committed.batch != batch || doublings == 0) return RETRY_US;
    return (uint64_t)RETRY_US << (doublings < RETRY_DOUBLINGS ? doublings : RETRY_DOUBLINGS);
}

/* After a failure that may pass, as on a full disk: the longer it lasts the longer the wait, but
 * RETRY_US while commits come. Not past the store's end, and not while somebody waits for the job.
 * Needs mutex. */
static void wait_before_retry(kevo_store *s, enum work_job job) {
    uint64_t hurries = s->hurries, batch = s->committed.batch, begun = s->env->now_us(s->env);
    while (!s->closing && !s->fatal.rc && s->hurries == hurries) {
        uint64_t waited = s->env->now_us(s->env) - begun, us = retry_us(s, job, batch);
        if (waited >= us) return;
        if (s->committed.batch == batch) s->retry_at_commit = true;
        s->env->cond_wait_us(s->env, &s->work_cond, &s->mutex, us - waited);
    }
}

void work_note_commit(kevo_store *s) {
    if (!s->retry_at_commit) return;
    s->retry_at_commit = false;
    pthread_cond_broadcast(&s->work_cond);
}

static void thread_loop(kevo_store *s, enum work_job job) {
    pthread_mutex_lock(&s->mutex);
    while (!s->closing) {
        if (!wanted(s, job))
            wait_for_work(s, job);
        else if (do_job(s, job, NULL) < 0)
            wait_before_retry(s, job);
        else
            work_schedule(s); /* a flush makes work for the compactor */
    }
    pthread_mutex_unlock(&s->mutex);
}

static void flusher(void *arg) {
    thread_loop(arg, FLUSHER);
}

static void compactor(void *arg) {
    thread_loop(arg, COMPACTOR);
}

/* Needs mutex. A thread that cannot be started is tried again at the next occasion;
 * whoever waits for its work gets the error. */
static void start_thread(kevo_store *s, enum work_job job, void (*loop)(void *)) {
    struct job *j = &s->jobs[job];
    if (j->thread || !(wanted(s, job) || wanted_in(s, job) != SETTLE_NEVER)) return;
    if (s->env->thread_start(s->env, loop, s, &j->thread, &j->err)) {
        j->failures++;
        pthread_cond_broadcast(&s->done_cond);
    }
}

void work_schedule(kevo_store *s) {
    if (!s->options.background || s->closing) return;
    start_thread(s, FLUSHER, flusher);
    start_thread(s, COMPACTOR, compactor);
    pthread_cond_broadcast(&s->work_cond);
}

/* Some piece of work; KEVO_NOTFOUND when there is none. Needs mutex. */
static int do_something(kevo_store *s, struct kevo_err *err) {
    if (wanted(s, FLUSHER)) return do_job(s, FLUSHER, err);
    if (wanted(s, COMPACTOR)) return do_job(s, COMPACTOR, err);
    return KEVO_NOTFOUND;
}

int work_await(kevo_store *s, enum work_job job, struct kevo_err *err) {
    struct job *j = &s->jobs[job];
    if (!s->options.background && wanted(s, job)) {
        int rc = do_job(s, job, err);
        return rc < 0 ? rc : 0;
    }
    uint64_t failures = j->failures;
    if (failures) s->hurries++;
    work_schedule(s);
    if (j->failures == failures) pthread_cond_wait(&s->done_cond, &s->mutex);
    if (j->failures == failures) return 0;
    if (err) *err = j->err;
    return j->err.rc;
}

void work_stop(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    s->closing = true;
    pthread_cond_broadcast(&s->work_cond);
    pthread_cond_broadcast(&s->done_cond);
    pthread_mutex_unlock(&s->mutex);
    for (int i = 0; i < 2; i++) {
        if (s->jobs[i].thread) s->env->thread_join(s->env, s->jobs[i].thread);
    }
}

/* What is to leave the log by its age. An external authority does that itself. */
static int rotate_old(kevo_store *s, struct kevo_err *err) {
    int rc = 0;
    if (s->options.authority != KEVO_AUTHORITY_SELF) return 0;
    pthread_mutex_lock(&s->write_mutex);
    if (store_active_is_old(s) && !store_pending(s)) rc = store_rotate(s, err);
    pthread_mutex_unlock(&s->write_mutex);
    return rc;
}

int kevo_step(kevo_store *store, struct kevo_err *err) {
    int rc = store_check_writable(store, err);
    if (rc == 0) rc = work_sweep(store, err);
    if (rc == 0) rc = rotate_old(store, err);
    if (rc) return rc;
    pthread_mutex_lock(&store->mutex);
    rc = work_check(store, err);
    if (rc == 0) rc = do_something(store, err);
    pthread_mutex_unlock(&store->mutex);
    return rc;
}
