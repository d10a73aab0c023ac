/* kevo_stats('kv'): a row a figure of the store that the table lives in, the unit in its name. */
#include <stddef.h>

#include "ext/store_function.h"

enum { COLUMN_NAME, COLUMN_VALUE, COLUMN_ARGUMENT };

/* How a figure is read from struct kevo_stats. */
enum kind {
    COUNT,    /* a uint64_t */
    UNSIGNED, /* an unsigned */
    /* of a struct kevo_latency */
    MEASURED,
    MEDIAN,
    P90,
    P99,
    P999,
    LONGEST
};

struct figure {
    const char *name;
    size_t offset; /* in struct kevo_stats */
    enum kind kind;
    int level; /* >= 0: of this level, and left out while it has no tables */
};

#define AT(field) offsetof(struct kevo_stats, field)
#define FIGURE(name, field)                                                                        \
    { name, AT(field), COUNT, -1 }
#define OF_LEVEL(name, field, kind, n)                                                             \
    { "level" #n name, AT(field[n]), kind, n }
#define LEVEL(n)                                                                                   \
    OF_LEVEL("_tables", table_count, UNSIGNED, n), OF_LEVEL("_bytes", level_bytes, COUNT, n),      \
        OF_LEVEL("_entries", level_entries, COUNT, n),                                             \
        OF_LEVEL("_tombstones", level_tombstones, COUNT, n),                                       \
        OF_LEVEL("_read_bytes", level_read_bytes, COUNT, n),                                       \
        OF_LEVEL("_written_bytes", level_written_bytes, COUNT, n)
#define OF_LATENCY(name, field, kind)                                                              \
    { name, AT(field), kind, -1 }
#define LATENCY(name, field)                                                                       \
    OF_LATENCY(name "_measured", field, MEASURED), OF_LATENCY(name "_p50_ns", field, MEDIAN),      \
        OF_LATENCY(name "_p90_ns", field, P90), OF_LATENCY(name "_p99_ns", field, P99),            \
        OF_LATENCY(name "_p999_ns", field, P999), OF_LATENCY(name "_max_ns", field, LONGEST)

static const struct figure figures[] = {
    FIGURE("last_batch", last_batch),
    FIGURE("oldest_snapshot", oldest_snapshot),
    FIGURE("snapshots", snapshot_count),
    FIGURE("memtable_bytes", memtable_used_bytes),
    {"immutable_memtables", offsetof(struct kevo_stats, immutable_count), UNSIGNED, -1},
    FIGURE("table_entries", table_entries),
    FIGURE("table_tombstones", table_tombstones),
    FIGURE("live_bytes", live_bytes),
    LEVEL(0),
    LEVEL(1),
    LEVEL(2),
    LEVEL(3),
    LEVEL(4),
    LEVEL(5),
    LEVEL(6),
    FIGURE("batches", batches),
    FIGURE("puts", puts),
    FIGURE("deletes", deletes),
    FIGURE("range_deletes", range_deletes),
    FIGURE("gets", gets),
    FIGURE("gets_found", gets_found),
    FIGURE("iterators", iterators),
    FIGURE("iterator_sources", iterator_sources),
    FIGURE("seeks", seeks),
    FIGURE("user_bytes", user_bytes),
    FIGURE("log_bytes", wal_bytes),
    FIGURE("log_syncs", wal_syncs),
    FIGURE("flushes", flushes),
    FIGURE("flush_bytes", flush_bytes),
    FIGURE("compactions", compactions),
    FIGURE("compaction_read_bytes", compact_read_bytes),
    FIGURE("compaction_written_bytes", compact_write_bytes),
    FIGURE("trivial_moves", trivial_moves),
    FIGURE("dropped_tables", dropped_tables),
    FIGURE("settled_memtables", settled_memtables),
    FIGURE("settled_merges", settled_merges),
    FIGURE("settled_blocks", settled_blocks),
    FIGURE("stalls", stalls),
    FIGURE("stall_us", stall_us),
    FIGURE("max_stall_us", max_stall_us),
    FIGURE("cache_hits", cache_hits),
    FIGURE("cache_misses", cache_misses),
    FIGURE("cache_bytes", cache_used_bytes),
    FIGURE("cache_limit_bytes", cache_limit_bytes),
    {"open_tables", offsetof(struct kevo_stats, open_tables), UNSIGNED, -1},
    FIGURE("open_table_bytes", open_table_bytes),
    FIGURE("tables_opened", tables_opened),
    FIGURE("filter_checks", filter_checks),
    FIGURE("filter_rejects", filter_rejects),
    FIGURE("recovered_batches", recovered_batches),
    FIGURE("recovered_bytes", recovered_bytes),
    FIGURE("recovery_us", recovery_us),
    FIGURE("torn_bytes", torn_bytes),
    LATENCY("get", get),
    LATENCY("write", write),
    LATENCY("log_sync", wal_sync),
    LATENCY("flush", flush),
    LATENCY("compaction", compaction),
    LATENCY("stall", stall),
};
enum { FIGURE_COUNT = sizeof figures / sizeof figures[0] };

static size_t rows(void) {
    return FIGURE_COUNT;
}

static void take(kevo_store *store, void *data) {
    kevo_get_stats(store, data);
}

static bool is_shown(const void *data, size_t row) {
    const struct kevo_stats *stats = data;
    int level = figures[row].level;
    return level < 0 || stats->table_count[level] > 0;
}

static uint64_t figure_value(const struct kevo_stats *stats, const struct figure *f) {
    const void *at = (const char *)stats + f->offset;
    const struct kevo_latency *latency = at;
    switch (f->kind) {
    case COUNT: break;
    case UNSIGNED: return *(const unsigned *)at;
    case MEASURED: return latency->count;
    case MEDIAN: return kevo_latency_quantile_ns(latency, 0.5);
    case P90: return kevo_latency_quantile_ns(latency, 0.9);
    case P99: return kevo_latency_quantile_ns(latency, 0.99);
    case P999: return kevo_latency_quantile_ns(latency, 0.999);
    case LONGEST: return latency->max_ns;
    }
    return *(const uint64_t *)at;
}

static void tell(const void *data, size_t row, int column, sqlite3_context *context) {
    const struct figure *f = &figures[row];
    if (column == COLUMN_NAME)
        sqlite3_result_text(context, f->name, -1, SQLITE_STATIC);
    else
        sqlite3_result_int64(context, (sqlite3_int64)figure_value(data, f));
}

const struct store_function stats_function = {
    .name = "kevo_stats",
    .declaration = "CREATE TABLE x(name TEXT, value INTEGER, of HIDDEN)",
    .argument_column = COLUMN_ARGUMENT,
    .data_bytes = sizeof(struct kevo_stats),
    .rows = rows,
    .take = take,
    .is_shown = is_shown,
    .column = tell,
};
