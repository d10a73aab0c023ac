#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/store/work.h"
#include "engine/tree/hidden.h"
#include "engine/tree/merge_iter.h"

/* ---- whether to -------------------------------------------------------------------------- */

/* Needs mutex. */
static struct compact_options pick_options(kevo_store *s, bool lag) {
    struct compact_options o = {.l0_trigger = s->options.l0_trigger,
                                .level1_bytes = s->options.level1_bytes,
                                .level_factor = s->options.level_factor,
                                .table_bytes = s->options.table_bytes,
                                .oldest_snapshot = gc_oldest(s, lag)};
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        o.compression[l] = (uint8_t)work_writer_options(s, l).compression;
    return o;
}

static bool is_due(kevo_store *s) {
    struct compact_options o = pick_options(s, true);
    if (s->idle.edits == s->edits && s->idle.oldest == o.oldest_snapshot) return false;
    return compact_is_due(s->current->version, &o);
}

bool compact_pending(kevo_store *s) {
    return drop_pending(s) || is_due(s) || settle_tables_in(s) == 0 || warm_in(s) == 0;
}

/* Waits for retain_ms to be over are looked at as often as commits are told apart by time. */
static uint64_t look_again_in(const kevo_store *s) {
    enum { LEAST_US = 20000 };
    uint64_t us = s->options.retain_ms * 1000 / COMMIT_SAMPLES;
    return us > LEAST_US ? us : LEAST_US;
}

uint64_t compact_pending_in(kevo_store *s) {
    uint64_t dense_seq = s->current->version->dense_seq;
    uint64_t settles = settle_tables_in(s), warms = warm_in(s), look = look_again_in(s);
    if (warms < settles) settles = warms;
    bool soon = drop_pending_soon(s) ||
                (dense_seq > gc_oldest(s, true) && dense_seq <= gc_oldest(s, false));
    return soon && look < settles ? look : settles;
}

/* ---- one compaction ------------------------------------------------------------------------ */

/* A call of kevo_compact(). */
struct manual {
    kevo_store *store;
    struct compact_pass pass;
    kevo_progress *progress; /* NULL: nobody asks */
    void *arg;
    uint64_t done_bytes; /* of the compactions that are done */
};

/* Why and how a compaction is made. */
struct terms {
    const struct manual *manual; /* NULL: background work */
    bool lag;                    /* as in gc_snapshots() */
    bool settles;                /* nobody needs it: it gives way to writers */
    bool installing;             /* out: what was made of the inputs goes to the manifest */
};

/* What build_tables asks about a compaction. */
struct compact_context {
    kevo_store *store;
    struct bottom_finder bottom;
    struct overlap_meter overlap;
    const struct build *build;
    uint64_t input_bytes, input_entries;
    struct terms terms;
};

static bool ask_bottom(void *arg, slice key) {
    return bottom_finder_ask(&((struct compact_context *)arg)->bottom, key);
}

static bool ask_bottom_range(void *arg, slice lower, slice upper) {
    return bottom_finder_ask_range(&((struct compact_context *)arg)->bottom, lower, upper);
}

static bool ask_cut(void *arg, slice key) {
    return overlap_meter_cut(&((struct compact_context *)arg)->overlap, key);
}

static uint64_t ask_number(void *arg) {
    return store_next_file(((struct compact_context *)arg)->store);
}

/* Tell how far a manual compaction is, `bytes` into its present step. True: stop. */
static bool report(const struct manual *m, uint64_t bytes) {
    if (!m->progress) return false;
    uint64_t total = m->done_bytes + m->pass.left_bytes, done = m->done_bytes + bytes;
    return m->progress(m->arg, done < total ? done : total, total);
}

static bool gives_way(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    bool gives_way = settle_gives_way(s);
    pthread_mutex_unlock(&s->mutex);
    return gives_way;
}

static bool ask_cancelled(void *arg) {
    struct compact_context *c = arg;
    const struct manual *manual = c->terms.manual;
    if (work_closing(c->store) || (c->terms.settles && gives_way(c->store))) return true;
    if (!manual) return false;
    if (c->input_entries == 0) return report(manual, 0); /* range tombstones alone */
    double share = (double)c->build->entries_read / (double)c->input_entries;
    return report(manual, (uint64_t)(share * (double)c->input_bytes));
}

/* What is to be read for a merge: the inputs but those that range tombstones hide as a
 * whole, and the range tombstones of all. */
struct sources {
    struct table_file **files[2];
    size_t count[2];
    struct range_set *ranges;
    uint64_t max_hider; /* 0: no input is hidden */
};

static void sources_release(struct sources *from) {
    mem_free(from->files[0]);
    mem_free(from->files[1]);
    range_set_free(from->ranges);
}

static int list_ranges(const struct compaction *c, struct range_set **set, struct kevo_err *err) {
    struct range_list list = {0};
    int rc = hidden_list(c->inputs[0], c->input_count[0], &list, err);
    if (rc == 0) rc = hidden_list(c->inputs[1], c->input_count[1], &list, err);
    if (rc == 0) rc = range_set_new(&list, false, set, err);
    range_list_release(&list);
    return rc;
}

static int find_sources(const struct compaction *c, const struct build *b, struct sources *from,
                        struct kevo_err *err) {
    int rc = list_ranges(c, &from->ranges, err);
    for (int side = 0; side < 2 && rc == 0; side++) {
        from->files[side] = mem_array(c->input_count[side], sizeof *from->files[side]);
        if (!from->files[side]) rc = kevo_nomem(err);
        for (size_t i = 0; rc == 0 && i < c->input_count[side]; i++) {
            struct table_file *f = c->inputs[side][i];
            uint64_t hider;
            if (!hidden_is(f, from->ranges, b->snapshots, b->snapshot_count, &hider))
                from->files[side][from->count[side]++] = f;
            else if (hider > from->max_hider)
                from->max_hider = hider;
        }
    }
    return rc;
}

/* Tables of level 0 overlap and are walked one by one; those of a deeper level follow one
 * another and are one source together. */
static int open_side(const struct compaction *c, const struct sources *from, int side,
                     struct iter **list, size_t *opened, struct kevo_err *err) {
    size_t count = from->count[side];
    if (side == 1 || c->level > 0) {
        int rc = count ? files_iter_new(from->files[side], count, false, &list[*opened], err) : 0;
        if (rc == 0 && count) ++*opened;
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        int rc = file_iter_new(from->files[side][i], false, &list[*opened], err);
        if (rc) return rc;
        ++*opened;
    }
    return 0;
}

static int open_inputs(const struct compaction *c, const struct sources *from, struct iter **merged,
                       struct kevo_err *err) {
    size_t opened = 0;
    struct iter **list = mem_array(from->count[0] + from->count[1], sizeof *list);
    int rc = list ? 0 : kevo_nomem(err);
    if (rc == 0) rc = open_side(c, from, 0, list, &opened, err);
    if (rc == 0) rc = open_side(c, from, 1, list, &opened, err);
    if (rc == 0) rc = merge_iter_new(list, opened, merged, err);
    if (rc) {
        for (size_t i = 0; i < opened; i++)
            iter_close(list[i]);
    }
    mem_free(list);
    return rc;
}

/* The new tables of a compaction, into the edit. */
static int build_outputs(const struct compaction *c, struct build *b, struct version_edit *edit,
                         struct kevo_err *err) {
    struct sources from = {.max_hider = 0};
    struct iter *merged = NULL;
    int rc = find_sources(c, b, &from, err);
    b->ranges = from.ranges;
    if (rc == 0) rc = open_inputs(c, &from, &merged, err);
    if (rc == 0) rc = build_tables(b, merged, edit, err);
    if (b->max_dropped_by < from.max_hider) b->max_dropped_by = from.max_hider;
    iter_close(merged);
    sources_release(&from);
    b->ranges = NULL;
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

static int move_inputs(kevo_store *s, struct compaction *c, struct terms *terms,
                       struct kevo_err *err) {
    static const struct build nothing_dropped;
    struct version_edit edit;
    edit_init(&edit);
    int rc = delete_inputs(c, &edit, err);
    for (size_t i = 0; rc == 0 && i < c->input_count[0]; i++)
        rc = edit_add_file(&edit, c->output_level, c->inputs[0][i], err);
    terms->installing = rc == 0;
    if (rc == 0) rc = work_install(s, &edit, false, COMPACTOR, &nothing_dropped, err);
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

static void count_merge(kevo_store *s, const struct compaction *c, const struct build *b,
                        uint64_t start) {
    count(&s->counters.compactions, 1);
    count(&s->counters.compact_read_bytes, c->input_bytes);
    count(&s->counters.compact_write_bytes, b->bytes_written);
    count(&s->counters.level_written_bytes[c->output_level], b->bytes_written);
    for (int side = 0; side < 2; side++) {
        unsigned level = side == 0 ? c->level : c->output_level;
        for (size_t i = 0; i < c->input_count[side]; i++)
            count(&s->counters.level_read_bytes[level], c->inputs[side][i]->size_bytes);
    }
    count_since(s, &s->counters.compaction, start);
}

static int merge_inputs(kevo_store *s, struct compaction *c, struct terms *terms, struct build *b,
                        struct kevo_err *err) {
    uint64_t start = store_now(s);
    struct version_edit edit;
    edit_init(&edit);
    int rc = build_outputs(c, b, &edit, err);
    if (rc == 0) rc = delete_inputs(c, &edit, err);
    terms->installing = rc == 0;
    if (rc == 0) rc = work_install(s, &edit, false, COMPACTOR, b, err);
    work_discard(&edit, rc);
    if (rc == 0) mark_obsolete(c);
    edit_release(&edit);
    if (rc == 0) count_merge(s, c, b, start);
    return rc;
}

static uint64_t count_entries(const struct compaction *c) {
    uint64_t entries = 0;
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < c->input_count[side]; i++)
            entries += c->inputs[side][i]->entry_count;
    }
    return entries;
}

static int run_merge(kevo_store *s, struct compaction *c, struct terms *terms,
                     struct kevo_err *err) {
    struct compact_context context = {.store = s,
                                      .terms = *terms,
                                      .input_bytes = c->input_bytes,
                                      .input_entries = count_entries(c)};
    struct build b = {
        .home = &s->home,
        .table = work_writer_options(s, c->output_level),
        /* Files of level 0 are counted: those that were merged stay one. */
        .table_bytes = c->output_level ? s->options.table_bytes : 0,
        .level = c->output_level,
        .is_bottom = ask_bottom,
        .is_bottom_range = ask_bottom_range,
        .cut_before = ask_cut,
        .next_file_number = ask_number,
        .cancelled = ask_cancelled,
        .arg = &context,
    };
    uint64_t *ids = NULL;
    context.build = &b;
    bottom_finder_init(&context.bottom, c);
    overlap_meter_init(&context.overlap, c, s->options.table_bytes);
    int rc = work_begin_gc(s, COMPACTOR, terms->lag, &b, &ids, err);
    if (rc == 0) rc = merge_inputs(s, c, terms, &b, err);
    if (rc) {
        pthread_mutex_lock(&s->mutex);
        work_end_gc(s, COMPACTOR, &b, false);
        pthread_mutex_unlock(&s->mutex);
    }
    mem_free(ids);
    return rc;
}

/* Widen [*lower, *upper] by the files' keys. */
static void widen(struct table_file *const *files, size_t count, slice *lower, slice *upper) {
    for (size_t i = 0; i < count; i++) {
        slice min = buf_slice(&files[i]->min_key), max = buf_slice(&files[i]->max_key);
        if (!lower->data || slice_cmp(min, *lower) < 0) *lower = min;
        if (!upper->data || slice_cmp(max, *upper) > 0) *upper = max;
    }
}

/* Keep ingested tables out of where the output goes: it may reach over gaps between the
 * inputs. Needs manifest_mutex. */
static void claim_output(kevo_store *s, const struct compaction *c) {
    s->merging.output_level = c->output_level;
    s->merging.lower = s->merging.upper = slice_of(NULL, 0);
    for (int side = 0; side < 2; side++)
        widen(c->inputs[side], c->input_count[side], &s->merging.lower, &s->merging.upper);
}

static int run_one(kevo_store *s, struct compaction *c, struct terms *terms, struct kevo_err *err) {
    int rc = c->trivial_move ? move_inputs(s, c, terms, err) : run_merge(s, c, terms, err);
    pthread_mutex_lock(&s->manifest_mutex);
    s->merging.output_level = 0;
    pthread_mutex_unlock(&s->manifest_mutex);
    compaction_release(c);
    return rc;
}

/* What to choose from, the version referenced. */
struct choice {
    struct version *version;
    struct compact_options options;
    uint64_t edits;
    bool settles; /* the time has come for what nobody needs */
};

/* Needs manifest_mutex. */
static void begin_choice(kevo_store *s, bool lag, struct choice *choice) {
    pthread_mutex_lock(&s->mutex);
    choice->version = s->state.version;
    version_ref(choice->version);
    choice->options = pick_options(s, lag);
    choice->edits = s->edits;
    choice->settles = settle_tables_in(s) == 0;
    pthread_mutex_unlock(&s->mutex);
}

/* A merge that nobody needs failed. Who reads damaged tables is told; no writer need be stopped,
 * and a full disk is not to be filled again and again. Not so when the manifest is concerned. */
static int forgive(kevo_store *s, const struct choice *choice, const struct terms *terms, int rc) {
    if (terms->installing && rc != KEVO_FULL && rc != KEVO_NOMEM) return rc;
    pthread_mutex_lock(&s->mutex);
    settle_note_none(s, choice->edits, SETTLE_ANY);
    pthread_mutex_unlock(&s->mutex);
    return KEVO_NOTFOUND;
}

static void note_none(kevo_store *s, const struct choice *choice, bool settles) {
    uint64_t oldest = choice->options.oldest_snapshot;
    pthread_mutex_lock(&s->mutex);
    s->idle.edits = choice->edits;
    s->idle.oldest = oldest;
    if (settles) settle_note_none(s, choice->edits, oldest);
    pthread_mutex_unlock(&s->mutex);
}

/* What asks for a compaction now, done, or without `manual`, which is told while it runs, what
 * is worth it when the store settles. */
static int run_automatic(kevo_store *s, const struct manual *manual, struct kevo_err *err) {
    struct choice choice;
    struct compaction c;
    struct terms terms = {.manual = manual, .lag = true};
    pthread_mutex_lock(&s->manifest_mutex); /* nothing comes in between choice and claim */
    begin_choice(s, true, &choice);
    int rc =
        s->recovered_count ? KEVO_NOTFOUND : compact_pick(choice.version, &choice.options, &c, err);
    if (rc == KEVO_NOTFOUND && s->recovered_count == 0 && choice.settles && !manual) {
        terms.settles = true;
        rc = compact_pick_idle(choice.version, &choice.options, &c, err);
    }
    if (rc == 0) claim_output(s, &c);
    pthread_mutex_unlock(&s->manifest_mutex);
    version_unref(choice.version);
    if (rc == 0)
        rc = run_one(s, &c, &terms, err);
    else if (rc == KEVO_NOTFOUND)
        note_none(s, &choice, terms.settles);
    if (!terms.settles || rc == KEVO_NOTFOUND) return rc;
    if (rc == 0) count(&s->counters.settled_merges, 1);
    if (rc == KEVO_CANCELLED) return work_closing(s) ? rc : 0; /* others need it now */
    return rc ? forgive(s, &choice, &terms, rc) : 0;
}

int compact_run(kevo_store *s, struct kevo_err *err) {
    int rc = drop_run(s, err);
    if (rc == KEVO_NOTFOUND) rc = run_automatic(s, NULL, err);
    return rc == KEVO_NOTFOUND ? warm_run(s) : rc;
}

/* ---- on demand ---------------------------------------------------------------------------- */

/* Keep the compactor out, waiting for the job it has, which is given up if nobody needs it. */
static void begin_manual(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    s->manual_waits++;
    while (s->manual || s->jobs[COMPACTOR].running)
        pthread_cond_wait(&s->done_cond, &s->mutex);
    s->manual_waits--;
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

/* Writers go on meanwhile, and must not stand still for want of their compactor. */
static int relieve_level0(const struct manual *m, struct kevo_err *err) {
    kevo_store *s = m->store;
    pthread_mutex_lock(&s->mutex);
    bool slow = s->current->version->levels[0].count >= s->options.l0_slow;
    pthread_mutex_unlock(&s->mutex);
    int rc = slow ? run_automatic(s, m, err) : 0;
    if (!slow || rc) return rc == KEVO_NOTFOUND ? 0 : rc;
    pthread_mutex_lock(&s->mutex);
    pthread_cond_broadcast(&s->done_cond);
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

/* Where these tables are going to lie is not certain: nothing is merged beside them. */
static int await_decision(const kevo_store *s, struct kevo_err *err) {
    return kevo_fail(err, KEVO_BUSY,
                     "%s: the tables of a large transaction are not the store's own yet; try again "
                     "when it is committed or rolled back",
                     s->dir);
}

/* KEVO_NOTFOUND when the pass is over. */
static int manual_step(struct manual *m, struct kevo_err *err) {
    kevo_store *s = m->store;
    /* Who asks for a compaction wants space back now, not in a second; but with an external
     * authority there may be readers that have their snapshot and did not pin it yet. */
    bool lag = s->options.authority == KEVO_AUTHORITY_EXTERNAL;
    struct choice choice;
    struct compaction c;
    int rc = relieve_level0(m, err);
    if (rc) return rc;
    pthread_mutex_lock(&s->manifest_mutex);
    begin_choice(s, lag, &choice);
    rc = s->recovered_count ? await_decision(s, err)
                            : compact_pick_pass(choice.version, &choice.options, &m->pass, &c, err);
    if (rc == 0) claim_output(s, &c);
    pthread_mutex_unlock(&s->manifest_mutex);
    version_unref(choice.version);
    if (rc) return rc;
    uint64_t bytes = c.input_bytes;
    rc = run_one(s, &c, &(struct terms){.manual = m, .lag = lag}, err);
    if (rc) return rc;
    m->done_bytes += bytes;
    m->pass.left_bytes -= bytes;
    return 0;
}

int kevo_compact(kevo_store *store, slice lower, slice upper, kevo_progress *progress, void *arg,
                 struct kevo_err *err) {
    struct manual m = {.store = store, .progress = progress, .arg = arg};
    m.pass.lower = lower;
    m.pass.upper = upper;
    int rc = kevo_flush(store, err);
    if (rc) return rc;
    begin_manual(store);
    while (rc == 0) {
        rc = manual_step(&m, err);
        if (rc == 0 && report(&m, 0)) rc = kevo_fail(err, KEVO_CANCELLED, "cancelled");
    }
    end_manual(store);
    compact_pass_release(&m.pass);
    if (rc == KEVO_NOTFOUND) report(&m, 0);
    return rc == KEVO_NOTFOUND ? 0 : rc;
}
