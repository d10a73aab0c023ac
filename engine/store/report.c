#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/store/store.h"

/* Text that is cut where it does not fit any more, and measured all the same. */
struct text {
    char *at;
    size_t capacity, length;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...) {
    bool fits = t->length < t->capacity;
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(fits ? t->at + t->length : NULL, fits ? t->capacity - t->length : 0, format,
                      arguments);
    va_end(arguments);
    if (n > 0) t->length += (size_t)n;
}

/* "12.3 MB" and the like, at most 10 characters. */
struct quantity {
    char text[32];
};

struct unit {
    const char *name;
    double size; /* in the smallest one */
};

static struct quantity in_units(uint64_t n, const struct unit *units, size_t unit_count) {
    struct quantity q;
    size_t i = unit_count - 1;
    while (i > 0 && (double)n < units[i].size)
        i--;
    snprintf(q.text, sizeof q.text, i == 0 ? "%.0f %s" : "%.1f %s", (double)n / units[i].size,
             units[i].name);
    return q;
}

static struct quantity bytes(uint64_t n) {
    static const struct unit units[] = {
        {"B", 1}, {"KB", 0x1p10}, {"MB", 0x1p20}, {"GB", 0x1p30}, {"TB", 0x1p40}};
    return in_units(n, units, sizeof units / sizeof units[0]);
}

static struct quantity duration(uint64_t ns) {
    static const struct unit units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
    return in_units(ns, units, sizeof units / sizeof units[0]);
}

static double ratio(uint64_t a, uint64_t b) {
    return b ? (double)a / (double)b : 0;
}

static double percent(uint64_t a, uint64_t b) {
    return 100 * ratio(a, b);
}

/* Sorted runs that a read may have to look into. */
static unsigned runs_of_level(const struct kevo_stats *s, unsigned level) {
    return level == 0 ? s->table_count[0] : s->table_count[level] > 0;
}

/* Written bytes a byte of the user's: what went into each level, and all of it together with
 * the log. */
static void add_levels(struct text *t, const struct kevo_stats *s) {
    unsigned tables = 0, runs = 1 + s->immutable_count;
    uint64_t size = 0, read = 0, written = s->wal_bytes;
    add(t, "level  tables      size     entries  tombstones  read-amp       read    written  "
           "write-amp\n");
    add(t, "  log       -         -           -           -         -          - %10s %10.2f\n",
        bytes(s->wal_bytes).text, ratio(s->wal_bytes, s->user_bytes));
    add(t, "  mem %7u %9s           -           -  %8u          -          -          -\n", runs,
        bytes(s->memtable_used_bytes).text, runs);
    for (unsigned level = 0; level < KEVO_MAX_LEVELS; level++) {
        tables += s->table_count[level];
        runs += runs_of_level(s, level);
        size += s->level_bytes[level];
        read += s->level_read_bytes[level];
        written += s->level_written_bytes[level];
        if (!s->table_count[level] && !s->level_written_bytes[level]) continue;
        add(t, "%5u %7u %9s %11" PRIu64 " %11" PRIu64 "  %8u %10s %10s %10.2f\n", level,
            s->table_count[level], bytes(s->level_bytes[level]).text, s->level_entries[level],
            s->level_tombstones[level], runs_of_level(s, level),
            bytes(s->level_read_bytes[level]).text, bytes(s->level_written_bytes[level]).text,
            ratio(s->level_written_bytes[level], s->user_bytes));
    }
    add(t, "  all %7u %9s %11" PRIu64 " %11" PRIu64 "  %8u %10s %10s %10.2f\n", tables,
        bytes(size).text, s->table_entries, s->table_tombstones, runs, bytes(read).text,
        bytes(written).text, ratio(written, s->user_bytes));
}

static void add_operations(struct text *t, const struct kevo_stats *s) {
    add(t,
        "\nwrites: %" PRIu64 " batches, %" PRIu64 " puts, %" PRIu64 " deletes, %" PRIu64
        " of ranges, %s\n",
        s->batches, s->puts, s->deletes, s->range_deletes, bytes(s->user_bytes).text);
    add(t, "reads: %" PRIu64 " gets (%" PRIu64 " found), %" PRIu64 " iterators over %.1f sources, ",
        s->gets, s->gets_found, s->iterators, ratio(s->iterator_sources, s->iterators));
    add(t, "%" PRIu64 " seeks\n", s->seeks);
    add(t, "work: %" PRIu64 " log syncs, %" PRIu64 " flushes, %" PRIu64 " compactions, %" PRIu64,
        s->wal_syncs, s->flushes, s->compactions, s->trivial_moves);
    add(t, " trivial moves, %" PRIu64 " tables dropped\n", s->dropped_tables);
    add(t, "settled: %" PRIu64 " memtables flushed, %" PRIu64 " merges or moves\n",
        s->settled_memtables, s->settled_merges);
}

static void add_latency(struct text *t, const char *name, const struct kevo_latency *l) {
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    if (l->count == 0) return;
    add(t, "%-10s %10" PRIu64 " %10s", name, l->count, duration(l->sum_ns / l->count).text);
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        add(t, " %10s", duration(kevo_latency_quantile_ns(l, quantiles[i])).text);
    add(t, " %10s\n", duration(l->max_ns).text);
}

static void add_latencies(struct text *t, const struct kevo_stats *s) {
    add(t, "\nlatency      measured       mean        p50        p90        p99      p99.9"
           "        max\n");
    add_latency(t, "get", &s->get);
    add_latency(t, "write", &s->write);
    add_latency(t, "log sync", &s->wal_sync);
    add_latency(t, "flush", &s->flush);
    add_latency(t, "compaction", &s->compaction);
    add_latency(t, "stall", &s->stall);
}

static void add_rates(struct text *t, const struct kevo_stats *s) {
    uint64_t lookups = s->cache_hits + s->cache_misses;
    add(t, "\nstalls: %" PRIu64 ", %s in all, the longest %s\n", s->stalls,
        duration(s->stall_us * 1000).text, duration(s->stall.max_ns).text);
    add(t, "cache: %s of %s, %" PRIu64 " lookups, %.1f %% hits\n", bytes(s->cache_used_bytes).text,
        bytes(s->cache_limit_bytes).text, lookups, percent(s->cache_hits, lookups));
    add(t, "filters: %" PRIu64 " checks, %.1f %% rejected\n", s->filter_checks,
        percent(s->filter_rejects, s->filter_checks));
}

static void add_state(struct text *t, const struct kevo_stats *s) {
    add(t, "commits: up to batch %" PRIu64 "\n", s->last_batch);
    add(t, "snapshots: %" PRIu64 " pinned, the oldest at batch %" PRIu64 "\n", s->snapshot_count,
        s->oldest_snapshot);
    add(t, "recovery: %" PRIu64 " batches, %s of log in %s, %s torn\n", s->recovered_batches,
        bytes(s->recovered_bytes).text, duration(s->recovery_us * 1000).text,
        bytes(s->torn_bytes).text);
}

int kevo_stats_text(kevo_store *store, char *text, size_t capacity) {
    struct text t = {text, capacity, 0};
    struct kevo_stats stats;
    int rc = store_check_process(store, NULL);
    if (capacity) *text = 0;
    if (rc) return rc;
    kevo_get_stats(store, &stats);
    add_levels(&t, &stats);
    add_operations(&t, &stats);
    add_latencies(&t, &stats);
    add_rates(&t, &stats);
    add_state(&t, &stats);
    return (int)t.length;
}
