#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/store/work.h"
#include "engine/tree/merge_iter.h"

static struct compact_options pick_options(const kevo_store *s) {
    return (struct compact_options){s->options.l0_trigger, s->options.level1_bytes,
                                    s->options.level_factor, s->options.table_bytes};
}

bool compact_pending(const kevo_store *s) {
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
    return work_closing(c->store) || (c->cancel && c->cancel(c->cancel_arg));
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

static int merge_inputs(kevo_store *s, struct compaction *c, struct build *b,
                        struct kevo_err *err) {
    uint64_t start = store_now(s);
    struct version_edit edit;
    struct iter *merged = NULL;
    edit_init(&edit);
    int rc = open_inputs(c, &merged, err);
    if (rc == 0) rc = build_tables(b, merged, &edit, err);
    if (rc == 0) rc = delete_inputs(c, &edit, err);
    if (rc == 0) rc = work_install(s, &edit, false, COMPACTOR, b, err);
    work_discard(&edit, rc);
    if (rc == 0) mark_obsolete(c);
    iter_close(merged);
    edit_release(&edit);
    if (rc == 0) count_merge(s, c, b, start);
    return rc;
}

static int run_merge(kevo_store *s, struct compaction *c, bool manual, bool (*cancel)(void *),
                     void *cancel_arg, struct kevo_err *err) {
    struct compact_context context = {.store = s, .cancel = cancel, .cancel_arg = cancel_arg};
    struct build b = {
        .home = &s->home,
        .table = work_writer_options(s, c->output_level),
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
    int rc = work_begin_gc(s, COMPACTOR, lag, &b, &ids, err);
    if (rc == 0) rc = merge_inputs(s, c, &b, err);
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
 * inputs. False when some came since the choice was made. */
static bool claim_output(kevo_store *s, const struct compaction *c, uint64_t ingests) {
    pthread_mutex_lock(&s->manifest_mutex);
    bool current = s->ingests == ingests;
    if (current) {
        s->merging.output_level = c->output_level;
        s->merging.lower = s->merging.upper = slice_of(NULL, 0);
        for (int side = 0; side < 2; side++)
            widen(c->inputs[side], c->input_count[side], &s->merging.lower, &s->merging.upper);
    }
    pthread_mutex_unlock(&s->manifest_mutex);
    return current;
}

static void release_output(kevo_store *s) {
    pthread_mutex_lock(&s->manifest_mutex);
    s->merging.output_level = 0;
    pthread_mutex_unlock(&s->manifest_mutex);
}

static struct version *current_version(kevo_store *s, uint64_t *ingests) {
    pthread_mutex_lock(&s->mutex);
    struct version *v = s->current->version;
    version_ref(v);
    *ingests = s->ingests;
    pthread_mutex_unlock(&s->mutex);
    return v;
}

/* Needs jobs[COMPACTOR].running, taken under mutex. KEVO_NOTFOUND: nothing to do. */
int compact_run(kevo_store *s, struct kevo_err *err) {
    struct compact_options o = pick_options(s);
    struct compaction c;
    uint64_t ingests;
    struct version *v = current_version(s, &ingests);
    int rc = compact_pick(v, &o, &s->cursor, &c, err);
    version_unref(v);
    if (rc) return rc;
    if (claim_output(s, &c, ingests)) {
        rc = c.trivial_move ? move_inputs(s, &c, err) : run_merge(s, &c, false, NULL, NULL, err);
        release_output(s);
    }
    compaction_release(&c);
    return rc;
}

/* ---- on demand ---------------------------------------------------------------------------------- */

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
        uint64_t ingests;
        struct version *v = current_version(store, &ingests);
        rc = compact_pick_all(v, &c, err);
        version_unref(v);
        if (rc == 0) {
            if (claim_output(store, &c, ingests)) {
                rc = run_merge(store, &c, true, cancel, arg, err);
                release_output(store);
            }
            compaction_release(&c);
        }
    }
    end_manual(store);
    return rc == KEVO_NOTFOUND ? 0 : rc;
}
