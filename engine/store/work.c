#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/store/store.h"
#include "engine/tree/build.h"
#include "engine/tree/merge_iter.h"

enum { RETRY_US = 1000000 };

/* ---- errors ---------------------------------------------------------------------- */

int work_check(const kevo_store *s, struct kevo_err *err) {
    if (!s->fatal.rc) return 0;
    return kevo_fail(err, KEVO_READONLY,
                     "writes are refused until the store is opened again, after: %s", s->fatal.msg);
}

/* An attempt failed. Want of space or memory may pass; anything else may not. Needs mutex. */
static void note_failure(kevo_store *s, enum work_job job, const struct kevo_err *err) {
    if (err->rc == KEVO_CANCELLED) return;
    s->jobs[job].failures++;
    s->jobs[job].err = *err;
    if (!s->fatal.rc && err->rc != KEVO_FULL && err->rc != KEVO_NOMEM) s->fatal = *err;
}

/* ---- what both jobs share -------------------------------------------------------------- */

static bool is_cancelled(void *arg) {
    kevo_store *s = arg;
    pthread_mutex_lock(&s->mutex);
    bool closing = s->closing;
    pthread_mutex_unlock(&s->mutex);
    return closing;
}

static struct table_writer_options writer_options(const kevo_store *s, unsigned level) {
    /* Level 0 is short-lived and read while hot: compressing it costs more than it saves. */
    return (struct table_writer_options){
        .block_bytes = s->options.block_bytes,
        .restart_interval = 16,
        .compression = level == 0 ? KEVO_COMPRESSION_NONE : s->options.compression,
        .filter_bits_per_key = s->options.filter_bits_per_key,
        .file_mode = s->options.file_mode,
    };
}

/* What a job may not drop, and the promise to those who pin snapshots meanwhile. */
static int begin_gc(kevo_store *s, int job, bool lag, struct build *b, uint64_t **ids,
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
static void end_gc(kevo_store *s, int job, const struct build *b, bool installed) {
    s->running_floor[job] = 0;
    if (installed && b->max_dropped_by > s->gc_floor) s->gc_floor = b->max_dropped_by;
}

/* Make the edit durable and let readers see the new version, without the oldest
 * memtable if `flushed`. Files are only handed over, so nothing fails after the
 * manifest has it. */
static int install(kevo_store *s, struct version_edit *edit, bool flushed, int job,
                   const struct build *b, struct kevo_err *err) {
    struct superversion *sv = superversion_alloc(), *old = NULL;
    if (!sv) return kevo_nomem(err);
    pthread_mutex_lock(&s->manifest_mutex);
    /* Read in here: of two jobs that end at once, the later edit must not name less. */
    edit->has_next_file = true;
    edit->next_file = atomic_load(&s->next_file);
    int rc = manifest_append(s->manifest, edit, &s->state, err);
    if (rc == 0) {
        pthread_mutex_lock(&s->mutex);
        old = s->current;
        superversion_init(sv, old->active, old->immutable, old->immutable_count - flushed,
                          s->state.version);
        superversion_install(s, sv);
        s->flushed = s->state.flushed;
        if (flushed) s->virgin = false;
        end_gc(s, job, b, true);
        pthread_mutex_unlock(&s->mutex);
    }
    pthread_mutex_unlock(&s->manifest_mutex);
    if (rc) mem_free(sv);
    superversion_release(old);
    return rc;
}

/* An edit that is certainly not in the manifest: its new tables go at once, since a full
 * disk may be what hindered it. */
static void discard_tables(const struct version_edit *edit, int rc) {
    if (rc == 0 || rc == KEVO_READONLY) return;
    for (size_t i = 0; i < edit->added_count; i++)
        atomic_store(&edit->added[i].file->obsolete, true);
}

/* ---- flush -------------------------------------------------------------------------------- */

bool work_flush_pending(const kevo_store *s) {
    return s->resolved && s->current->immutable_count > 0;
}

/* The oldest immutable memtable, referenced. */
static struct memtable *take_oldest(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    struct superversion *sv = s->current;
    struct memtable *m = sv->immutable[sv->immutable_count - 1];
    memtable_ref(m);
    pthread_mutex_unlock(&s->mutex);
    return m;
}

static void remove_segment(kevo_store *s, uint64_t number) {
    char name[WAL_NAME_BYTES], path[ENV_PATH_MAX];
    struct kevo_err ignored;
    wal_segment_name(name, number);
    /* What cannot be removed now is an orphan that the next sweep finds. */
    if (env_join(path, s->dir, name, &ignored) == 0) s->env->unlink(s->env, path, &ignored);
}

static int flush_memtable(kevo_store *s, struct memtable *m, struct build *b,
                          struct kevo_err *err) {
    struct version_edit edit;
    struct iter *it = NULL;
    edit_init(&edit);
    int rc = memtable_iter_new(m, &it, err);
    if (rc == 0) rc = build_tables(b, it, &edit, err);
    if (rc == 0) {
        edit.has_wal_floor = edit.has_flushed = true;
        edit.wal_floor = m->segment + 1;
        edit.flushed = m->last_commit;
        rc = install(s, &edit, true, FLUSHER, b, err);
        discard_tables(&edit, rc);
    }
    iter_close(it);
    edit_release(&edit);
    return rc;
}

/* Needs jobs[FLUSHER].running, taken under mutex, and work_flush_pending(). */
static int run_flush(kevo_store *s, struct kevo_err *err) {
    uint64_t *ids = NULL;
    struct build b = {
        .home = &s->home,
        .table = writer_options(s, 0),
        .next_file_number = store_next_file,
        .cancelled = is_cancelled,
        .arg = s,
    };
    struct memtable *m = take_oldest(s);
    int rc = begin_gc(s, FLUSHER, true, &b, &ids, err);
    if (rc == 0) rc = flush_memtable(s, m, &b, err);
    if (rc == 0) {
        remove_segment(s, m->segment);
        count(&s->counters.flushes, 1);
        count(&s->counters.flush_bytes, b.bytes_written);
    } else {
        pthread_mutex_lock(&s->mutex);
        end_gc(s, FLUSHER, &b, false);
        pthread_mutex_unlock(&s->mutex);
    }
    memtable_unref(m);
    mem_free(ids);
    return rc;
}

/* ---- compaction ----------------------------------------------------------------------------- */

static struct compact_options pick_options(const kevo_store *s) {
    return (struct compact_options){s->options.l0_trigger, s->options.level1_bytes,
                                    s->options.level_factor, s->options.table_bytes};
}

static bool compaction_pending(const kevo_store *s) {
    struct compact_options o = pick_options(s);
    unsigned level;
    return compact_score(s->current->version, &o, &level) >= 1.0;
}

/* What build_tables asks about a compaction. */
struct compact_context {
    kevo_store *store;
    struct bottom_finder bottom;
    struct overlap_meter overlap;
    bool (*cancel)(void *);
    void *cancel_arg;
};

static bool ask_bottom(void *arg, slice key) {
    return bottom_finder_ask(&((struct compact_context *)arg)->bottom, key);
}

static bool ask_cut(void *arg, slice key) {
    return overlap_meter_cut(&((struct compact_context *)arg)->overlap, key);
}

static uint64_t ask_number(void *arg) {
    return store_next_file(((struct compact_context *)arg)->store);
}

static bool ask_cancelled(void *arg) {
    struct compact_context *c = arg;
    return is_cancelled(c->store) || (c->cancel && c->cancel(c->cancel_arg));
}

/* Tables of level 0 overlap and are walked one by one; those of a deeper level follow one
 * another and are one source together. */
static int open_side(const struct compaction *c, int side, struct iter **list, size_t *opened,
                     struct kevo_err *err) {
    size_t count = c->input_count[side];
    if (side == 1 || c->level > 0) {
        int rc = count ? files_iter_new(c->inputs[side], count, false, &list[*opened], err) : 0;
        if (rc == 0 && count) ++*opened;
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        int rc = file_iter_new(c->inputs[side][i], false, &list[*opened], err);
        if (rc) return rc;
        ++*opened;
    }
    return 0;
}

static int open_inputs(const struct compaction *c, struct iter **merged, struct kevo_err *err) {
    size_t opened = 0;
    struct iter **list = mem_array(c->input_count[0] + c->input_count[1], sizeof *list);
    int rc = list ? 0 : kevo_nomem(err);
    if (rc == 0) rc = open_side(c, 0, list, &opened, err);
    if (rc == 0) rc = open_side(c, 1, list, &opened, err);
    if (rc == 0) rc = merge_iter_new(list, opened, merged, err);
    if (rc) {
        for (size_t i = 0; i < opened; i++)
            iter_close(list[i]);
    }
    mem_free(list);
    return rc;
}

static int delete_inputs(const struct compaction *c, struct version_edit *edit,
                         struct kevo_err *err) {
    int rc = 0;
    for (unsigned side = 0; side < 2; side++) {
        unsigned level = side == 0 ? c->level : c->output_level;
        for (size_t i = 0; rc == 0 && i < c->input_count[side]; i++)
            rc = edit_delete_file(edit, level, c->inputs[side][i]->number, err);
    }
    return rc;
}

static int move_inputs(kevo_store *s, struct compaction *c, struct kevo_err *err) {
    static const struct build nothing_dropped;
    struct version_edit edit;
    edit_init(&edit);
    int rc = delete_inputs(c, &edit, err);
    for (size_t i = 0; rc == 0 && i < c->input_count[0]; i++)
        rc = edit_add_file(&edit, c->output_level, c->inputs[0][i], err);
    if (rc == 0) rc = install(s, &edit, false, COMPACTOR, &nothing_dropped, err);
    edit_release(&edit);
    if (rc == 0) count(&s->counters.trivial_moves, 1);
    return rc;
}

static void mark_obsolete(const struct compaction *c) {
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < c->input_count[side]; i++)
            atomic_store(&c->inputs[side][i]->obsolete, true);
    }
}

static int merge_inputs(kevo_store *s, struct compaction *c, struct build *b,
                        struct kevo_err *err) {
    struct version_edit edit;
    struct iter *merged = NULL;
    edit_init(&edit);
    int rc = open_inputs(c, &merged, err);
    if (rc == 0) rc = build_tables(b, merged, &edit, err);
    if (rc == 0) rc = delete_inputs(c, &edit, err);
    if (rc == 0) rc = install(s, &edit, false, COMPACTOR, b, err);
    discard_tables(&edit, rc);
    if (rc == 0) mark_obsolete(c);
    iter_close(merged);
    edit_release(&edit);
    if (rc == 0) {
        count(&s->counters.compactions, 1);
        count(&s->counters.compact_read_bytes, c->input_bytes);
        count(&s->counters.compact_write_bytes, b->bytes_written);
    }
    return rc;
}

static int run_merge(kevo_store *s, struct compaction *c, bool manual, bool (*cancel)(void *),
                     void *cancel_arg, struct kevo_err *err) {
    struct compact_context context = {.store = s, .cancel = cancel, .cancel_arg = cancel_arg};
    struct build b = {
        .home = &s->home,
        .table = writer_options(s, c->output_level),
        .table_bytes = s->options.table_bytes,
        .level = c->output_level,
        .is_bottom = ask_bottom,
        .cut_before = ask_cut,
        .next_file_number = ask_number,
        .cancelled = ask_cancelled,
        .arg = &context,
    };
    uint64_t *ids = NULL;
    bottom_finder_init(&context.bottom, c);
    overlap_meter_init(&context.overlap, c, s->options.table_bytes);
    /* Who asks for a compaction wants space back now, not in a second; but with an external
     * authority there may be readers that have their snapshot and did not pin it yet. */
    bool lag = !manual || s->options.authority == KEVO_AUTHORITY_EXTERNAL;
    int rc = begin_gc(s, COMPACTOR, lag, &b, &ids, err);
    if (rc == 0) rc = merge_inputs(s, c, &b, err);
    if (rc) {
        pthread_mutex_lock(&s->mutex);
        end_gc(s, COMPACTOR, &b, false);
        pthread_mutex_unlock(&s->mutex);
    }
    mem_free(ids);
    return rc;
}

static struct version *current_version(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    struct version *v = s->current->version;
    version_ref(v);
    pthread_mutex_unlock(&s->mutex);
    return v;
}

/* Needs jobs[COMPACTOR].running, taken under mutex. KEVO_NOTFOUND: nothing to do. */
static int run_compaction(kevo_store *s, struct kevo_err *err) {
    struct compact_options o = pick_options(s);
    struct compaction c;
    struct version *v = current_version(s);
    int rc = compact_pick(v, &o, &s->cursor, &c, err);
    version_unref(v);
    if (rc) return rc;
    rc = c.trivial_move ? move_inputs(s, &c, err) : run_merge(s, &c, false, NULL, NULL, err);
    compaction_release(&c);
    return rc;
}

/* ---- threads --------------------------------------------------------------------------------- */

/* The trace of a crash goes before the first new file is made. */
static int sweep_first(kevo_store *s, struct kevo_err *err) {
    pthread_mutex_lock(&s->write_mutex);
    int rc = s->swept ? 0 : store_start_writing(s, err);
    pthread_mutex_unlock(&s->write_mutex);
    return rc;
}

static int (*const run[])(kevo_store *, struct kevo_err *) = {run_flush, run_compaction};

/* Run a job with mutex given up, and note how it went. Needs mutex. */
static int do_job(kevo_store *s, enum work_job job, struct kevo_err *err) {
    struct kevo_err own;
    if (!err) err = &own;
    s->jobs[job].running = true;
    pthread_mutex_unlock(&s->mutex);
    int rc = run[job](s, err);
    pthread_mutex_lock(&s->mutex);
    s->jobs[job].running = false;
    if (rc < 0) note_failure(s, job, err);
    pthread_cond_broadcast(&s->done_cond);
    return rc;
}

/* Whether a job should be started now. Needs mutex. */
static bool wanted(const kevo_store *s, enum work_job job) {
    if (s->fatal.rc || !s->swept || s->jobs[job].running) return false;
    return job == FLUSHER ? work_flush_pending(s) : !s->manual && compaction_pending(s);
}

/* After a failure that may pass: wait, but not past the store's end, and not while
 * somebody waits. Needs mutex. */
static void wait_before_retry(kevo_store *s) {
    uint64_t hurries = s->hurries;
    for (uint64_t waited = 0; waited < RETRY_US; waited += RETRY_US / 50) {
        if (s->closing || s->hurries != hurries) return;
        pthread_mutex_unlock(&s->mutex);
        s->env->sleep_us(s->env, RETRY_US / 50);
        pthread_mutex_lock(&s->mutex);
    }
}

static void thread_loop(kevo_store *s, enum work_job job) {
    pthread_mutex_lock(&s->mutex);
    while (!s->closing) {
        int rc = wanted(s, job) ? do_job(s, job, NULL) : KEVO_NOTFOUND;
        if (rc == KEVO_NOTFOUND)
            pthread_cond_wait(&s->work_cond, &s->mutex);
        else if (rc < 0)
            wait_before_retry(s);
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
    if (j->thread || !wanted(s, job)) return;
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

int kevo_step(kevo_store *store, struct kevo_err *err) {
    int rc = store_check_process(store, err);
    if (rc == 0) rc = sweep_first(store, err);
    if (rc) return rc;
    pthread_mutex_lock(&store->mutex);
    rc = work_check(store, err);
    if (rc == 0) rc = do_something(store, err);
    pthread_mutex_unlock(&store->mutex);
    return rc;
}

/* ---- on demand ---------------------------------------------------------------------------------- */

/* Wait until all memtables that are immutable now have been flushed. */
static int drain(kevo_store *s, struct kevo_err *err) {
    int rc = 0;
    pthread_mutex_lock(&s->mutex);
    uint64_t last = s->current->immutable_count ? s->current->immutable[0]->segment : 0;
    while (rc == 0 && work_flush_pending(s)) {
        if (s->current->immutable[s->current->immutable_count - 1]->segment > last) break;
        rc = work_check(s, err);
        if (rc == 0) rc = work_await(s, FLUSHER, err);
    }
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

int kevo_flush(kevo_store *store, struct kevo_err *err) {
    int rc = store_check_process(store, err);
    if (rc == 0) rc = sweep_first(store, err);
    if (rc == 0 && store->options.authority == KEVO_AUTHORITY_SELF) rc = kevo_rotate(store, err);
    return rc ? rc : drain(store, err);
}

/* Keep the compactor out, waiting for the job it has. */
static void begin_manual(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    while (s->manual || s->jobs[COMPACTOR].running)
        pthread_cond_wait(&s->done_cond, &s->mutex);
    s->manual = true;
    pthread_mutex_unlock(&s->mutex);
}

static void end_manual(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    s->manual = false;
    work_schedule(s);
    pthread_cond_broadcast(&s->done_cond);
    pthread_mutex_unlock(&s->mutex);
}

int kevo_compact(kevo_store *store, bool (*cancel)(void *), void *arg, struct kevo_err *err) {
    int rc = kevo_flush(store, err);
    if (rc) return rc;
    begin_manual(store);
    while (rc == 0) {
        struct compaction c;
        struct version *v = current_version(store);
        rc = compact_pick_all(v, &c, err);
        version_unref(v);
        if (rc == 0) {
            rc = run_merge(store, &c, true, cancel, arg, err);
            compaction_release(&c);
        }
    }
    end_manual(store);
    return rc == KEVO_NOTFOUND ? 0 : rc;
}
