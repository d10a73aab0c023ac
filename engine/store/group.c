/* Writers that commit together.
 *
 * A writer queues at the door. The first one leads: it takes those behind it along, up to
 * a bound, appends all of their records with one write and one sync, puts their entries
 * into the memtable, publishes them at once, and wakes them; the one behind them leads
 * next. While a leader waits for the disk the next group gathers. (As in LevelDB's
 * DBImpl::Write, but each batch stays a record with an id of its own, and no batch is
 * copied to be part of another.)
 *
 * Whoever finds nobody before it pays two short locks for this. A writer's own struct lies
 * on its stack: it is touched by others only until it is DONE, which is said with the door
 * locked. */
#include <assert.h>

#include "engine/base/error.h"
#include "engine/mem/batch.h"
#include "engine/store/txn.h"

/* A small write does not wait for much more than itself to be written. (LevelDB.) */
enum { GROUP_BYTES = 1 << 20, SMALL_BYTES = 128 << 10 };

struct writer {
    struct writer *_Atomic next; /* behind this one; set once, with the door locked */
    enum { WAITING, LEADING, DONE } state;
    pthread_cond_t wake;

    const kevo_batch *batch; /* what it writes; NULL: one change */
    uint8_t type;
    slice key, value;
    uint64_t bytes; /* about */

    struct kevo_commit commit;
    size_t payload_at, payload_bytes; /* in the run */
    int rc;
    struct kevo_err *err;
};

/* ---- the queue -------------------------------------------------------------------- */

static struct writer *next_of(struct writer *w) {
    return atomic_load_explicit(&w->next, memory_order_acquire);
}

/* Queue up and wait for something to do. Whether that is to lead. */
static bool wait_for_turn(kevo_store *s, struct writer *w) {
    pthread_mutex_lock(&s->door);
    if (s->last_writer) {
        pthread_cond_init(&w->wake, NULL);
        atomic_store_explicit(&s->last_writer->next, w, memory_order_release);
        s->last_writer = w;
        while (w->state == WAITING)
            pthread_cond_wait(&w->wake, &s->door);
        pthread_cond_destroy(&w->wake);
    } else {
        s->first_writer = s->last_writer = w;
        w->state = LEADING;
    }
    bool leads = w->state == LEADING;
    pthread_mutex_unlock(&s->door);
    return leads;
}

/* The group is through. Its followers return, and who is behind them leads. */
static void leave(kevo_store *s, struct writer *leader, struct writer *last, int rc,
                  const struct kevo_err *err) {
    pthread_mutex_lock(&s->door);
    struct writer *behind = next_of(last);
    for (struct writer *w = leader, *next; w != behind; w = next) {
        next = next_of(w);
        w->rc = rc;
        if (rc && w->err) *w->err = *err;
        w->state = DONE;
        if (w != leader) pthread_cond_signal(&w->wake);
    }
    s->first_writer = behind;
    if (behind) {
        behind->state = LEADING;
        pthread_cond_signal(&behind->wake);
    } else {
        s->last_writer = NULL;
    }
    pthread_mutex_unlock(&s->door);
}

/* ---- one group -------------------------------------------------------------------- */

static int check_state(kevo_store *s, struct kevo_err *err) {
    pthread_mutex_lock(&s->mutex);
    int rc = work_check(s, err);
    bool pending = s->pending.commit.batch != 0;
    pthread_mutex_unlock(&s->mutex);
    if (rc || !pending) return rc;
    return kevo_fail(err, KEVO_INVALID, "%s: a prepared transaction is not decided", s->dir);
}

/* Room in the active memtable, and the log ready. */
static int get_ready(kevo_store *s, struct kevo_err *err) {
    int rc = check_state(s, err);
    if (rc) return rc;
    pace_wait(s);
    if (store_wants_rotate(s)) rc = store_rotate(s, err);
    return rc ? rc : store_begin_run(s, err);
}

static int add_record(kevo_store *s, struct writer *w, struct batch_totals *totals,
                      struct kevo_err *err) {
    struct wal_run *run = &s->run;
    struct batch_totals more = {.puts = w->type == ENTRY_PUT,
                                .deletes = w->type == ENTRY_DELETE,
                                .range_deletes = w->type == CHANGE_DELETE_RANGE,
                                .user_bytes = w->bytes};
    size_t begin = run->bytes.len;
    int rc = wal_begin_record(run, err);
    if (rc == 0 && w->batch) {
        more = (struct batch_totals){0};
        rc = batch_put_memtable(&run->bytes, w->batch->buffer, &more, err);
    } else if (rc == 0) {
        rc = batch_put_entry(&run->bytes, w->type, w->key, w->value, err);
    }
    if (rc == 0) rc = store_end_record(s, WAL_BATCH, &w->commit, err);
    if (rc) {
        run->bytes.len = begin;
        return rc;
    }
    w->payload_at = begin + WAL_RECORD_HEADER_BYTES;
    w->payload_bytes = run->payload_bytes;
    totals->puts += more.puts;
    totals->deletes += more.deletes;
    totals->range_deletes += more.range_deletes;
    totals->user_bytes += more.user_bytes;
    return 0;
}

/* The records of the leader and of those behind it that go along. One for which there is
 * no memory leads a group of its own later, and gets its error then. */
static int build_run(kevo_store *s, struct writer *leader, struct writer **last, uint64_t *count,
                     struct batch_totals *totals, struct kevo_err *err) {
    uint64_t most =
        leader->bytes <= SMALL_BYTES ? leader->bytes + SMALL_BYTES : (uint64_t)GROUP_BYTES;
    uint64_t bytes = leader->bytes;
    int rc = add_record(s, leader, totals, err);
    *last = leader;
    *count = 1;
    for (struct writer *w; rc == 0 && (w = next_of(*last)); *last = w) {
        bytes += w->bytes;
        if (bytes > most || add_record(s, w, totals, NULL)) break;
        ++*count;
    }
    return rc;
}

static int insert_one(kevo_store *s, const struct writer *w, struct kevo_err *err) {
    uint64_t seq = w->commit.batch;
    if (!w->batch && w->type == CHANGE_DELETE_RANGE)
        return txn_add_range(s->active, w->key, w->value, seq, err);
    if (!w->batch) return memtable_add(s->active, w->key, seq, w->type, w->value, err);
    slice payload = slice_of(s->run.bytes.data + w->payload_at, w->payload_bytes);
    return batch_insert(payload, s->active, seq, s->wal->path, err);
}

/* All of them or none. */
static int insert_all(kevo_store *s, struct writer *first, struct writer *last,
                      struct kevo_err *err) {
    for (struct writer *w = first;; w = next_of(w)) {
        int rc = insert_one(s, w, err);
        if (rc || w == last) return rc;
    }
}

static void publish_all(kevo_store *s, struct writer *first, struct writer *last) {
    uint64_t now = s->env->recent_us(s->env);
    if (s->active_since_us == 0) s->active_since_us = now;
    pthread_mutex_lock(&s->mutex);
    for (struct writer *w = first;; w = next_of(w)) {
        history_add(&s->history, w->commit);
        if (w == last) break;
    }
    s->committed = s->newest = last->commit;
    store_sample_commit(s, now);
    settle_note_commit(s);
    pace_look(s);
    pthread_mutex_unlock(&s->mutex);
    pace_owe(s, s->run.bytes.len);
}

/* Needs write_mutex. *last is the last of the group, also when this fails. */
static int write_group(kevo_store *s, struct writer *leader, struct writer **last,
                       struct kevo_err *err) {
    struct batch_totals totals = {0};
    uint64_t count;
    *last = leader;
    int rc = get_ready(s, err);
    if (rc == 0) rc = build_run(s, leader, last, &count, &totals, err);
    if (rc) return rc;
    struct arena_mark mark = memtable_mark(s->active);
    uint64_t offset = s->wal->offset;
    rc = store_append_run(s, s->options.sync, err);
    if (rc == 0) rc = insert_all(s, leader, *last, err);
    if (rc) {
        struct kevo_err ignored;
        /* Before the next append at the latest; nothing is owed if none of it is there. */
        if (s->wal->offset != offset) store_cut(s, mark, &ignored);
        return rc;
    }
    publish_all(s, leader, *last);
    store_count_batches(s, count, &totals);
    return 0;
}

static int commit(kevo_store *s, struct writer *w) {
    if (!wait_for_turn(s, w)) return w->rc;
    struct kevo_err err;
    struct writer *last;
    pthread_mutex_lock(&s->write_mutex);
    int rc = write_group(s, w, &last, &err);
    store_end_run(s);
    pthread_mutex_unlock(&s->write_mutex);
    leave(s, w, last, rc, &err);
    return rc;
}

/* ---- the calls -------------------------------------------------------------------- */

static int check_store(const kevo_store *s, struct kevo_err *err) {
    int rc = store_check_process(s, err);
    if (rc || s->options.authority == KEVO_AUTHORITY_SELF) return rc;
    return kevo_fail(err, KEVO_INVALID, "%s: the commits of this store are decided elsewhere",
                     s->dir);
}

/* Nothing to write: what is newest is what the batch leaves behind. */
static int apply_nothing(kevo_store *s, uint64_t *id, struct kevo_err *err) {
    int rc = check_state(s, err);
    if (rc == 0 && id) *id = kevo_last_commit(s).batch;
    return rc;
}

int kevo_apply_batch(kevo_store *store, const kevo_batch *batch, uint64_t *id,
                     struct kevo_err *err) {
    uint64_t start = store_now(store);
    int rc = check_store(store, err);
    if (id) *id = 0;
    if (rc) return rc;
    if (memtable_is_empty(batch->buffer)) return apply_nothing(store, id, err);
    struct writer w = {.batch = batch, .bytes = batch->bytes, .err = err};
    rc = commit(store, &w);
    if (rc) return rc;
    count_since(store, &store->counters.write, start);
    if (id) *id = w.commit.batch;
    return 0;
}

/* The key and the value, or the bounds of a range, are as they should be. */
static int write_one(kevo_store *s, uint8_t type, slice key, slice value, struct kevo_err *err) {
    uint64_t start = store_now(s);
    slice stored = type == CHANGE_DELETE_RANGE ? range_end_shorten(value) : value;
    int rc = check_store(s, err);
    if (rc) return rc;
    struct writer w = {
        .type = type, .key = key, .value = value, .bytes = key.len + stored.len, .err = err};
    rc = commit(s, &w);
    if (rc == 0) count_since(s, &s->counters.write, start);
    return rc;
}

int kevo_put(kevo_store *store, slice key, slice value, struct kevo_err *err) {
    int rc = txn_check_sizes(key, value, err);
    return rc ? rc : write_one(store, ENTRY_PUT, key, value, err);
}

int kevo_delete(kevo_store *store, slice key, struct kevo_err *err) {
    int rc = txn_check_sizes(key, slice_of(NULL, 0), err);
    return rc ? rc : write_one(store, ENTRY_DELETE, key, slice_of(NULL, 0), err);
}

int kevo_delete_range(kevo_store *store, slice lower, slice upper, struct kevo_err *err) {
    int rc = txn_check_range(&lower, &upper, err);
    if (rc == KEVO_NOTFOUND) return check_store(store, err);
    return rc ? rc : write_one(store, CHANGE_DELETE_RANGE, lower, upper, err);
}
