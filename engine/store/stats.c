#include "engine/base/error.h"
#include "engine/store/store.h"

static uint64_t get(const _Atomic uint64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add_counters(const struct counters *c, struct kevo_stats *stats) {
    stats->batches = get(&c->batches);
    stats->puts = get(&c->puts);
    stats->deletes = get(&c->deletes);
    stats->range_deletes = get(&c->range_deletes);
    /* Most gets find something, so those that do not are counted besides. */
    uint64_t missed = atomic_load_explicit(&c->gets_missed, memory_order_acquire);
    stats->gets = get(&c->gets);
    stats->gets_found = stats->gets > missed ? stats->gets - missed : 0;
    stats->iterators = get(&c->iterators);
    stats->seeks = get(&c->seeks);
    stats->user_bytes = get(&c->user_bytes);
    stats->wal_bytes = get(&c->wal_bytes);
    stats->wal_syncs = get(&c->wal_syncs);
    stats->flushes = get(&c->flushes);
    stats->flush_bytes = get(&c->flush_bytes);
    stats->compactions = get(&c->compactions);
    stats->compact_read_bytes = get(&c->compact_read_bytes);
    stats->compact_write_bytes = get(&c->compact_write_bytes);
    stats->trivial_moves = get(&c->trivial_moves);
    stats->dropped_tables = get(&c->dropped_tables);
    stats->settled_memtables = get(&c->settled_memtables);
    stats->settled_merges = get(&c->settled_merges);
    stats->settled_blocks = get(&c->settled_blocks);
    stats->stalls = get(&c->stalls);
    stats->stall_us = get(&c->stall_us);
    stats->max_stall_us = get(&c->max_stall_us);
    stats->filter_checks = get(&c->filter_checks);
    stats->filter_rejects = get(&c->filter_rejects);
    stats->iterator_sources = get(&c->iterator_sources);
    for (unsigned level = 0; level < KEVO_MAX_LEVELS; level++) {
        stats->level_read_bytes[level] = get(&c->level_read_bytes[level]);
        stats->level_written_bytes[level] = get(&c->level_written_bytes[level]);
    }
    histogram_read(&c->get, &stats->get);
    histogram_read(&c->write, &stats->write);
    histogram_read(&c->wal_sync, &stats->wal_sync);
    histogram_read(&c->flush, &stats->flush);
    histogram_read(&c->compaction, &stats->compaction);
    histogram_read(&c->stall, &stats->stall);
}

static void add_tree(const struct superversion *sv, struct kevo_stats *stats) {
    stats->memtable_used_bytes = memtable_bytes(sv->active);
    stats->immutable_count = sv->immutable_count;
    for (unsigned i = 0; i < sv->immutable_count; i++)
        stats->memtable_used_bytes += memtable_bytes(sv->immutable[i]);
    for (unsigned level = 0; level < KEVO_MAX_LEVELS; level++) {
        const struct level *l = &sv->version->levels[level];
        stats->table_count[level] = (unsigned)l->count;
        stats->level_bytes[level] = l->bytes;
        for (size_t i = 0; i < l->count; i++) {
            stats->level_entries[level] += l->files[i]->entry_count;
            stats->level_tombstones[level] += l->files[i]->tombstone_count;
        }
        stats->table_entries += stats->level_entries[level];
        stats->table_tombstones += stats->level_tombstones[level];
    }
}

void kevo_get_stats(kevo_store *store, struct kevo_stats *stats) {
    struct cache_stats cache;
    *stats = (struct kevo_stats){0};
    if (store_check_process(store, NULL)) return;
    add_counters(&store->counters, stats);
    cache_get_stats(store->cache, &cache);
    stats->cache_hits = cache.hits;
    stats->cache_misses = cache.misses;
    stats->cache_used_bytes = cache.used_bytes;
    stats->open_table_bytes = cache.charged_bytes;
    stats->cache_limit_bytes = cache.limit_bytes;
    pthread_mutex_lock(&store->open_tables.mutex);
    stats->open_tables = store->open_tables.count;
    stats->tables_opened = store->open_tables.opened;
    pthread_mutex_unlock(&store->open_tables.mutex);
    struct superversion *sv = superversion_acquire(store);
    add_tree(sv, stats);
    stats->live_bytes = version_live_bytes(sv->version);
    superversion_release(sv);

    pthread_mutex_lock(&store->mutex);
    park_end_all(store);
    stats->last_batch = store->committed.batch;
    stats->oldest_snapshot = store->pin_count ? store->pins[0].id : store->committed.batch;
    for (size_t i = 0; i < store->pin_count; i++)
        stats->snapshot_count += store->pins[i].count;
    stats->recovered_batches = store->recovered_batches;
    stats->recovered_bytes = store->recovered_bytes;
    stats->recovery_us = store->recovery_us;
    stats->torn_bytes = store->torn_bytes;
    pthread_mutex_unlock(&store->mutex);
}

static int visit_file(const struct table_file *f, unsigned level,
                      int (*visit)(void *arg, const struct kevo_file *file), void *arg) {
    char name[TABLE_NAME_BYTES];
    table_file_name(name, f->number);
    struct kevo_file file = {.name = name,
                             .level = level,
                             .bytes = f->size_bytes,
                             .entries = f->entry_count,
                             .tombstones = f->tombstone_count,
                             .range_tombstones = f->range_count,
                             .first_batch = f->min_seq,
                             .last_batch = f->max_seq,
                             .smallest = buf_slice(&f->min_key),
                             .largest = buf_slice(&f->max_key)};
    return visit(arg, &file);
}

int kevo_each_file(kevo_store *store, int (*visit)(void *arg, const struct kevo_file *file),
                   void *arg) {
    int rc = store_check_process(store, NULL);
    if (rc) return rc;
    struct superversion *sv = superversion_acquire(store);
    for (unsigned level = 0; rc == 0 && level < KEVO_MAX_LEVELS; level++) {
        const struct level *l = &sv->version->levels[level];
        for (size_t i = 0; rc == 0 && i < l->count; i++)
            rc = visit_file(l->files[i], level, visit, arg);
    }
    superversion_release(sv);
    return rc;
}

/* Read one segment again: whole records up to the one that it must end with, if known. */
static int verify_segment(kevo_store *s, uint64_t number, const struct wal_link *last,
                          struct kevo_err *err) {
    struct wal_reader *reader;
    struct wal_record record;
    int rc = wal_reader_open(s->env, s->dir, number, s->state.uuid, &reader, err);
    if (rc > 0)
        return kevo_fail(err, KEVO_CORRUPT, "%s: log segment %llu is missing or damaged", s->dir,
                         (unsigned long long)number);
    if (rc) return rc;
    do
        rc = wal_reader_next(reader, &record, err);
    while (rc == 0);
    if (rc == KEVO_NOTFOUND) rc = 0;
    if (rc == 0 && last && reader->last.checksum != last->checksum)
        rc = kevo_fail(err, KEVO_CORRUPT, "%s: the record at offset %llu is damaged", reader->path,
                       (unsigned long long)reader->at);
    wal_reader_close(reader);
    return rc;
}

/* With write_mutex held nothing is appended, and no segment goes that is still needed. */
static int verify_log(kevo_store *s, struct kevo_err *err) {
    int rc = 0;
    pthread_mutex_lock(&s->write_mutex);
    uint64_t last = s->wal ? s->wal->number : s->tail.number;
    const struct wal_link *end = s->wal ? &s->wal->last : &s->tail.last;
    if (s->wal && s->wal->failed) end = NULL; /* nobody knows */
    if (s->borrowed.bytes.len) end = NULL;    /* not on disk yet, but checked when it came */
    pthread_mutex_lock(&s->manifest_mutex);
    for (uint64_t number = s->state.wal_floor; rc == 0 && last && number <= last; number++)
        rc = verify_segment(s, number, number == last ? end : NULL, err);
    pthread_mutex_unlock(&s->manifest_mutex);
    pthread_mutex_unlock(&s->write_mutex);
    return rc;
}

int kevo_verify(kevo_store *store, struct kevo_err *err) {
    int rc = store_check_process(store, err);
    if (rc == 0) rc = verify_log(store, err);
    if (rc) return rc;
    struct superversion *sv = superversion_own(superversion_acquire(store));
    if (!sv) return kevo_nomem(err);
    for (unsigned level = 0; rc == 0 && level < KEVO_MAX_LEVELS; level++) {
        const struct level *l = &sv->version->levels[level];
        for (size_t i = 0; rc == 0 && i < l->count; i++) {
            struct table *t;
            rc = table_file_acquire(l->files[i], &t, err);
            if (rc) break;
            rc = table_verify(t, err);
            table_close(t);
        }
    }
    superversion_release(sv);
    return rc;
}

static void estimate(kevo_store *s, slice lower, slice upper, uint64_t *entries, uint64_t *bytes) {
    *entries = *bytes = 0;
    if (store_check_process(s, NULL)) return;
    if (lower.data && upper.data && slice_cmp(lower, upper) >= 0) return;
    struct superversion *sv = superversion_acquire(s);
    struct kevo_read read = {.lower = lower, .upper = upper};
    struct range_set *hidden;
    if (hide_find(sv, &read, SEQ_PRIVATE - 1, &hidden, NULL) ||
        version_estimate(sv->version, lower, upper, hidden, entries, bytes, NULL))
        *entries = *bytes = 0;
    range_set_free(hidden);
    for (unsigned i = 0; i <= sv->immutable_count; i++) {
        uint64_t more_entries, more_bytes;
        memtable_estimate(i ? sv->immutable[i - 1] : sv->active, lower, upper, &more_entries,
                          &more_bytes);
        *entries += more_entries;
        *bytes += more_bytes;
    }
    superversion_release(sv);
}

uint64_t kevo_approximate_count(kevo_store *store, slice lower, slice upper) {
    uint64_t entries, bytes;
    estimate(store, lower, upper, &entries, &bytes);
    return entries;
}

uint64_t kevo_approximate_size(kevo_store *store, slice lower, slice upper) {
    uint64_t entries, bytes;
    estimate(store, lower, upper, &entries, &bytes);
    return bytes;
}
