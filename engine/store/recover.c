/* Recovery: the manifest, then the log from its floor on, into memtables. Changes nothing on
 * disk. */
#include <stdlib.h>

#include "engine/base/error.h"
#include "engine/mem/batch.h"
#include "engine/store/options.h"
#include "engine/store/store.h"

/* What is built up while the log is read. */
struct recovery {
    struct memtable *memtables[MAX_MEMTABLES + 1]; /* in the order of their segments */
    unsigned count;
};

static int add_memtable(kevo_store *s, struct recovery *r, uint64_t segment, struct kevo_err *err) {
    /* A crash leaves at most memtable_count segments; an option made smaller since
     * does not matter, but the array's end does. */
    if (r->count == MAX_MEMTABLES)
        return kevo_fail(err, KEVO_CORRUPT, "%s: there are more than %d log segments", s->dir,
                         MAX_MEMTABLES);
    struct memtable *m = store_memtable_new(s, segment);
    if (!m) return kevo_nomem(err);
    r->memtables[r->count++] = m;
    return 0;
}

/* Each record counts as soon as it is in: when memory ends, what was read so far is a
 * consistent state to go on from. */
static void note_record(kevo_store *s, const struct wal_record *record) {
    if (record->type != WAL_VOID) {
        s->newest = record->commit;
        history_add(&s->history, record->commit);
        s->recovered_batches++;
    }
    s->last_id = record->commit.batch;
    s->recovered_bytes += record->end - record->offset;
    s->tail.last = record->link;
}

void store_void(struct memtable *const *memtables, unsigned count, struct kevo_commit keep) {
    for (unsigned i = 0; i < count; i++) {
        if (memtables[i]->last_commit.batch <= keep.batch) continue;
        memtable_void(memtables[i], (struct arena_mark){NULL, 0}, keep.batch);
        memtables[i]->last_commit = keep;
    }
}

/* Where a batch begins in its memtable, and what was newest before it. */
struct batch_start {
    struct arena_mark mark;
    struct kevo_commit before;
};

static int replay_batch(kevo_store *s, const struct wal_reader *reader,
                        const struct wal_record *record, struct memtable *m,
                        struct batch_start *start, struct kevo_err *err) {
    *start = (struct batch_start){memtable_mark(m), s->newest};
    int rc = batch_insert(record->payload, m, record->commit.batch, reader->path, err);
    if (rc) {
        memtable_void(m, start->mark, record->commit.batch - 1);
        return rc;
    }
    m->last_commit = record->commit;
    return 0;
}

static int replay_tables(kevo_store *s, const struct wal_reader *reader,
                         const struct wal_record *record, struct memtable *m,
                         struct batch_start *start, struct kevo_err *err) {
    *start = (struct batch_start){memtable_mark(m), s->newest};
    int rc = ingest_replay(s, record, reader->path, err);
    if (rc == 0) m->last_commit = record->commit;
    return rc;
}

static int replay_void(kevo_store *s, const struct wal_reader *reader,
                       const struct wal_record *record, struct memtable *const *memtables,
                       unsigned count, const struct batch_start *start, struct kevo_err *err) {
    struct kevo_commit keep;
    if (!wal_decode_void(record->payload, &keep) || keep.batch > s->newest.batch ||
        keep.batch < s->state.flushed.batch)
        return kevo_fail(err, KEVO_CORRUPT, "%s: the record at offset %llu makes no sense",
                         reader->path, (unsigned long long)record->offset);
    /* Mostly it is the batch just before. */
    if (keep.batch == start->before.batch && s->newest.batch > keep.batch) {
        memtable_void(memtables[count - 1], start->mark, keep.batch);
        memtables[count - 1]->last_commit = keep;
    } else {
        store_void(memtables, count, keep);
    }
    s->newest = keep;
    ingest_void(s, keep.batch, false);
    history_cut(&s->history, keep.batch);
    return 0;
}

int store_replay(kevo_store *s, struct wal_reader *reader, struct memtable *const *memtables,
                 unsigned count, struct kevo_err *err) {
    struct memtable *m = memtables[count - 1];
    struct wal_record record;
    struct batch_start start = {.before = {UINT64_MAX, 0}};
    int rc;
    s->tail.number = m->segment;
    s->tail.salt = reader->salt;
    s->tail.offset = reader->at;
    s->tail.last = reader->last;
    while ((rc = wal_reader_next(reader, &record, err)) == 0) {
        rc = record.type == WAL_BATCH ? replay_batch(s, reader, &record, m, &start, err)
             : record.type == WAL_TABLES
                 ? replay_tables(s, reader, &record, m, &start, err)
                 : replay_void(s, reader, &record, memtables, count, &start, err);
        if (rc) return rc;
        note_record(s, &record);
        /* The file may end within the record's padding, but the next record begins behind it. */
        s->tail.offset = record.end;
    }
    if (rc != KEVO_NOTFOUND) return rc;
    s->torn_bytes += reader->torn_bytes;
    return 0;
}

/* Check that segment `number` continues what was read before it. */
static int check_continues(kevo_store *s, const struct wal_reader *reader, uint64_t number,
                           struct kevo_err *err) {
    bool first = number == s->state.wal_floor;
    if (first) {
        s->tail.last = reader->before;
        if (reader->before.batch > s->last_id) s->last_id = reader->before.batch;
    }
    if (reader->before.batch == s->tail.last.batch &&
        reader->before.checksum == s->tail.last.checksum &&
        reader->before.batch >= s->state.flushed.batch)
        return 0;
    return kevo_fail(err, KEVO_CORRUPT,
                     "%s: follows batch %llu, but the log before it ends at batch %llu: records "
                     "are missing there",
                     reader->path, (unsigned long long)reader->before.batch,
                     (unsigned long long)s->tail.last.batch);
}

static int replay_log(kevo_store *s, struct recovery *r, struct kevo_err *err) {
    for (uint64_t number = s->state.wal_floor;; number++) {
        struct wal_reader *reader;
        int rc = wal_reader_open(s->env, s->dir, number, s->state.uuid, &reader, err);
        if (rc == KEVO_NOTFOUND) return 0;
        if (rc == 0) rc = check_continues(s, reader, number, err);
        if (rc == 0) rc = add_memtable(s, r, number, err);
        /* All of its batches may have been cut. */
        if (rc == 0) r->memtables[r->count - 1]->last_commit = s->newest;
        if (rc == 0) rc = store_replay(s, reader, r->memtables, r->count, err);
        wal_reader_close(reader);
        if (rc) return rc;
    }
}

static bool has_suffix(const char *name, const char *suffix) {
    size_t n = strlen(name), k = strlen(suffix);
    return n > k && strcmp(name + n - k, suffix) == 0;
}

static int find_lost_segment(void *arg, const char *name) {
    uint64_t *highest = arg;
    if (!has_suffix(name, ".wal")) return 0;
    uint64_t number = strtoull(name, NULL, 10);
    if (number > *highest) *highest = number;
    return 0;
}

/* A segment behind a gap means that one in between is gone. */
static int check_no_gap(kevo_store *s, struct kevo_err *err) {
    if (s->tail.number == 0 && s->state.wal_floor > 1) {
        /* A segment is made before the one it follows may go. */
        char name[WAL_NAME_BYTES];
        wal_segment_name(name, s->state.wal_floor);
        return kevo_fail(err, KEVO_CORRUPT, "%s/%s: the log segment is missing or damaged", s->dir,
                         name);
    }
    uint64_t highest = 0, expected = s->tail.number ? s->tail.number + 1 : s->state.wal_floor;
    int rc = s->env->list(s->env, s->dir, find_lost_segment, &highest, err);
    if (rc) return rc;
    if (highest < expected) return 0;
    char name[WAL_NAME_BYTES];
    wal_segment_name(name, expected);
    return kevo_fail(err, KEVO_CORRUPT, "%s/%s: the log segment is missing or damaged", s->dir,
                     name);
}

/* The replayed memtables become the first superversion. */
static int install_recovered(kevo_store *s, struct recovery *r, struct kevo_err *err) {
    struct memtable *immutable[MAX_MEMTABLES];
    if (r->count == 0) {
        int rc = add_memtable(s, r, s->state.wal_floor, err);
        if (rc) return rc;
    }
    for (unsigned i = 0; i + 1 < r->count; i++)
        immutable[r->count - 2 - i] = r->memtables[i];
    struct version *v;
    int rc = ingest_version(s, &v, err);
    if (rc) return rc;
    s->active = r->memtables[r->count - 1];
    s->epoch = epoch_new();
    struct superversion *sv = s->epoch ? superversion_alloc() : NULL;
    if (sv) {
        superversion_init(sv, s->active, immutable, r->count - 1, v);
        superversion_install(s, sv);
        s->overlaid = s->recovered_count > 0;
    }
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        s->drop.due |= v->levels[l].range_count > 0;
    version_unref(v);
    return sv ? 0 : kevo_nomem(err);
}

int store_check_authority(const kevo_store *s, int authority, struct kevo_err *err) {
    if (s->state.authority == authority) return 0;
    return kevo_fail(err, KEVO_INVALID,
                     "%s: the store %s, and cannot be opened otherwise; name another directory",
                     s->dir,
                     s->state.authority == KEVO_AUTHORITY_EXTERNAL
                         ? "belongs to a database file that decides its commits"
                         : "decides its commits itself");
}

/* Two memtables are as much as a store needs that flushes as fast as it is written to. Until then
 * their memory is of use to the cache, but for more than its own it is not meant. A cache that is
 * much larger gains little, and has long to look for what lies in the pages that it gives up. */
static uint64_t lent_bytes(const struct kevo_options *o) {
    uint64_t memtables = 2 * o->memtable_bytes;
    if (memtables < o->cache_bytes / 8) return 0;
    return memtables < o->cache_bytes ? memtables : o->cache_bytes;
}

/* The manifest, and what depends on the options that it keeps. */
static int read_manifest(kevo_store *s, struct kevo_err *err) {
    int rc =
        s->read_only
            ? manifest_open_read_only(&s->home, s->options.file_mode, &s->manifest, &s->state, err)
            : manifest_open(&s->home, s->options.file_mode, &s->manifest, &s->state, err);
    if (rc) return rc;
    if (s->options.use_kept) options_decode(buf_slice(&s->state.options), &s->options);
    s->cache = s->home.cache = cache_new(s->options.cache_bytes, lent_bytes(&s->options));
    if (s->cache && s->options.background) cache_prepare(s->cache, s->env);
    s->open_tables.max_count = s->options.max_open_tables;
    s->open_tables.max_bytes = s->options.cache_bytes / 4 * 3;
    return s->cache ? 0 : kevo_nomem(err);
}

int store_recover(kevo_store *s, struct kevo_err *err) {
    struct recovery r = {.count = 0};
    uint64_t start = s->env->now_us(s->env);
    int rc = read_manifest(s, err);
    if (rc) return rc;
    rc = store_check_authority(s, s->options.authority, err);
    if (rc) return rc;
    atomic_store(&s->next_file, s->state.next_file);
    s->warmed_to = s->state.next_file;
    s->newest = s->flushed = s->flushed_at_open = s->state.flushed;
    history_add(&s->history, s->flushed);
    s->last_id = s->state.flushed.batch;
    /* What earlier processes dropped from the tables is not on record; ingested batches are
     * in tables before older ones are. */
    s->gc_floor = s->state.flushed.batch;
    if (s->state.ingested > s->gc_floor) s->gc_floor = s->state.ingested;
    s->left_log_at_open = s->gc_floor;
    rc = replay_log(s, &r, err);
    if (rc == 0) rc = check_no_gap(s, err);
    if (rc == 0) rc = install_recovered(s, &r, err);
    for (unsigned i = 0; i < r.count; i++)
        memtable_unref(r.memtables[i]);
    if (rc) return rc;

    bool self = s->options.authority == KEVO_AUTHORITY_SELF;
    s->resolved = self || s->newest.batch == s->flushed.batch;
    s->committed = s->resolved ? s->newest : s->state.flushed;
    if (!s->resolved && s->state.committed.batch > s->committed.batch)
        s->committed = s->state.committed;
    /* Tables are in the manifest since they are committed. */
    if (!s->resolved && s->ingested_at_open.batch > s->committed.batch)
        s->committed = s->ingested_at_open;
    s->samples[s->sample_next++] = (struct commit_sample){start, s->committed.batch};
    s->committed_at_us = start;
    s->active_since_us = memtable_is_empty(s->active) ? 0 : s->env->recent_us(s->env);
    s->virgin = s->state.committed.batch == 0 && s->state.flushed.batch == 0;
    s->recovery_us = s->env->now_us(s->env) - start;
    return 0;
}
