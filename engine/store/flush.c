#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/store/work.h"

enum { SPARE_SLACK_BYTES = 64 << 10 }; /* what a log reserves at least */

/* The oldest immutable memtable, referenced. */
static struct memtable *take_oldest(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    struct superversion *sv = s->current;
    struct memtable *m = sv->immutable[sv->immutable_count - 1];
    memtable_ref(m);
    pthread_mutex_unlock(&s->mutex);
    return m;
}

void store_remove_segment(kevo_store *s, uint64_t number) {
    wal_retire(s->env, s->dir, number, 0);
}

/* All that the segment holds is in tables, durably: the manifest says so. Keep it for a
 * later one, if it is of a size that a memtable makes and there are not enough already.
 * Only the flusher, of which there is one, adds spares. */
static void retire_segment(kevo_store *s, uint64_t number) {
    pthread_mutex_lock(&s->mutex);
    bool room = s->spare_count < MAX_SPARES;
    pthread_mutex_unlock(&s->mutex);
    uint64_t most_bytes = s->options.memtable_bytes * 2 + SPARE_SLACK_BYTES;
    if (!wal_retire(s->env, s->dir, number, room ? most_bytes : 0)) return;
    pthread_mutex_lock(&s->mutex);
    s->spares[s->spare_count++] = number;
    pthread_mutex_unlock(&s->mutex);
}

static bool touches_tables(const struct version *v, slice min, slice max) {
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &v->levels[l];
        for (size_t i = l ? level_find(level, min) : 0; i < level->count; i++) {
            const struct table_file *f = level->files[i];
            if (slice_cmp(buf_slice(&f->min_key), max) <= 0 &&
                slice_cmp(buf_slice(&f->max_key), min) >= 0)
                return true;
            if (l) break;
        }
    }
    return false;
}

/* A table that overlaps no other, as in a fill in ascending order, will sink from level to
 * level as it is: it is written as those below want it. */
static int choose_compression(kevo_store *s, struct iter *it, struct build *b,
                              struct kevo_err *err) {
    struct buf min = {0};
    int rc = it->ops->seek_first(it, err);
    if (rc == 0 && it->valid && !buf_set(&min, it->key)) rc = kevo_nomem(err);
    if (rc == 0) rc = it->ops->seek_last(it, err);
    if (rc == 0 && it->valid) {
        struct superversion *sv = superversion_acquire(s);
        if (!touches_tables(sv->version, buf_slice(&min), it->key))
            b->table = work_writer_options(s, KEVO_MAX_LEVELS - 1);
        superversion_release(sv);
    }
    buf_release(&min);
    return rc;
}

/* The range tombstones of a memtable as one set. */
static int memtable_ranges(const struct memtable *m, struct range_set **set, struct kevo_err *err) {
    struct range_list list = {0};
    *set = NULL;
    int rc = range_stack_list(&m->ranges, &list, err);
    if (rc == 0) rc = range_set_new(&list, false, set, err);
    range_list_release(&list);
    return rc;
}

static int flush_memtable(kevo_store *s, struct memtable *m, struct build *b,
                          struct kevo_err *err) {
    struct version_edit edit;
    struct iter *it = NULL;
    struct range_set *ranges;
    edit_init(&edit);
    int rc = memtable_ranges(m, &ranges, err);
    b->ranges = ranges;
    if (rc == 0) rc = memtable_iter_new(m, &it, err);
    if (rc == 0) rc = choose_compression(s, it, b, err);
    if (rc == 0) rc = build_tables(b, it, &edit, err);
    if (rc == 0) {
        edit.has_wal_floor = edit.has_flushed = true;
        edit.wal_floor = m->segment + 1;
        edit.flushed = m->last_commit;
        rc = work_install(s, &edit, true, FLUSHER, b, err);
        work_discard(&edit, rc);
    }
    iter_close(it);
    edit_release(&edit);
    range_set_free(ranges);
    return rc;
}

/* Needs jobs[FLUSHER].running, taken under mutex, and work_flush_pending(). */
int flush_run(kevo_store *s, struct kevo_err *err) {
    uint64_t *ids = NULL;
    struct build b = {
        .home = &s->home,
        .table = work_writer_options(s, 0),
        .next_file_number = store_next_file,
        .cancelled = work_closing,
        .arg = s,
    };
    uint64_t start = store_now(s);
    struct memtable *m = take_oldest(s);
    int rc = work_begin_gc(s, FLUSHER, true, &b, &ids, err);
    if (rc == 0) rc = flush_memtable(s, m, &b, err);
    if (rc == 0) {
        if (!store_segment_is_held(s, m->segment)) retire_segment(s, m->segment);
        count(&s->counters.flushes, 1);
        count(&s->counters.flush_bytes, b.bytes_written);
        count(&s->counters.level_written_bytes[0], b.bytes_written);
        count_since(s, &s->counters.flush, start);
    } else {
        pthread_mutex_lock(&s->mutex);
        work_end_gc(s, FLUSHER, &b, false);
        pthread_mutex_unlock(&s->mutex);
    }
    memtable_unref(m);
    mem_free(ids);
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
    if (rc == 0) rc = work_sweep(store, err);
    if (rc == 0 && store->options.authority == KEVO_AUTHORITY_SELF) rc = kevo_rotate(store, err);
    return rc ? rc : drain(store, err);
}
