#include "ext/stats_table.h"

#include <stddef.h>
#include <string.h>

#include "ext/vtab.h"

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
    FIGURE("stalls", stalls),
    FIGURE("stall_us", stall_us),
    FIGURE("max_stall_us", max_stall_us),
    FIGURE("cache_hits", cache_hits),
    FIGURE("cache_misses", cache_misses),
    FIGURE("cache_bytes", cache_used_bytes),
    {"open_tables", offsetof(struct kevo_stats, open_tables), true, -1},
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

struct stats_table {
    sqlite3_vtab base; /* must be first */
    struct connection *connection;
};

struct stats_cursor {
    sqlite3_vtab_cursor base; /* must be first */
    struct kevo_stats stats;
    char *argument;
    size_t at;
};

static struct stats_cursor *of(sqlite3_vtab_cursor *cursor) {
    return (struct stats_cursor *)cursor;
}

static int stats_connect(sqlite3 *db, void *arg, int argc, const char *const *argv,
                         sqlite3_vtab **table, char **message) {
    (void)argc;
    (void)argv;
    (void)message;
    int rc = sqlite3_declare_vtab(db, "CREATE TABLE x(name TEXT, value INTEGER, of HIDDEN)");
    if (rc == SQLITE_OK) rc = sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    if (rc != SQLITE_OK) return rc;
    struct stats_table *t = sqlite3_malloc64(sizeof *t);
    if (!t) return SQLITE_NOMEM;
    memset(t, 0, sizeof *t);
    t->connection = arg;
    *table = &t->base;
    return SQLITE_OK;
}

static int stats_disconnect(sqlite3_vtab *table) {
    sqlite3_free(table);
    return SQLITE_OK;
}

/* The argument is an equality on the hidden column, and must be there. SQLite asks for the
 * terms of an OR alone as well: what that costs is told here, that it is wrong in xFilter. */
static int stats_best_index(sqlite3_vtab *table, sqlite3_index_info *info) {
    (void)table;
    bool unusable = false;
    for (int i = 0; i < info->nConstraint; i++) {
        const struct sqlite3_index_constraint *c = &info->aConstraint[i];
        if (c->iColumn != COLUMN_ARGUMENT || c->op != SQLITE_INDEX_CONSTRAINT_EQ) continue;
        if (!c->usable) {
            unusable = true;
            continue;
        }
        info->aConstraintUsage[i].argvIndex = 1;
        info->aConstraintUsage[i].omit = 1;
        info->estimatedCost = FIGURE_COUNT;
        info->estimatedRows = FIGURE_COUNT;
        return SQLITE_OK;
    }
    if (unusable) return SQLITE_CONSTRAINT;
    info->estimatedCost = 1e99;
    return SQLITE_OK;
}

static int stats_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor) {
    (void)table;
    struct stats_cursor *c = sqlite3_malloc64(sizeof *c);
    if (!c) return SQLITE_NOMEM;
    memset(c, 0, sizeof *c);
    *cursor = &c->base;
    return SQLITE_OK;
}

static int stats_close(sqlite3_vtab_cursor *cursor) {
    sqlite3_free(of(cursor)->argument);
    sqlite3_free(cursor);
    return SQLITE_OK;
}

static bool is_shown(const struct stats_cursor *c) {
    const struct figure *f = &figures[c->at];
    return f->level < 0 || c->stats.table_count[f->level] > 0;
}

static void skip_empty_levels(struct stats_cursor *c) {
    while (c->at < FIGURE_COUNT && !is_shown(c))
        c->at++;
}

static int stats_filter(sqlite3_vtab_cursor *cursor, int index, const char *words, int argc,
                        sqlite3_value **argv) {
    struct stats_cursor *c = of(cursor);
    struct stats_table *table = (struct stats_table *)cursor->pVtab;
    (void)index;
    (void)words;
    char **message = &table->base.zErrMsg;
    c->at = FIGURE_COUNT;
    sqlite3_free(*message);
    *message = NULL;
    if (argc == 0) {
        *message = sqlite3_mprintf("kevo_stats: name a table, as in kevo_stats('kv')");
        return SQLITE_ERROR;
    }
    const char *name = (const char *)sqlite3_value_text(argv[0]);
    if (!name) return SQLITE_OK; /* of NULL there is nothing */
    sqlite3_free(c->argument);
    c->argument = sqlite3_mprintf("%s", name);
    if (!c->argument) return SQLITE_NOMEM;
    struct vtab *t;
    int rc = vtab_find(table->connection, name, &t, message);
    if (rc == SQLITE_OK) rc = session_open(t->session, message);
    if (rc != SQLITE_OK) return rc;
    kevo_get_stats(t->session->store, &c->stats);
    c->at = 0;
    skip_empty_levels(c);
    return SQLITE_OK;
}

static int stats_next(sqlite3_vtab_cursor *cursor) {
    of(cursor)->at++;
    skip_empty_levels(of(cursor));
    return SQLITE_OK;
}

static int stats_eof(sqlite3_vtab_cursor *cursor) {
    return of(cursor)->at >= FIGURE_COUNT;
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

static int stats_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column) {
    struct stats_cursor *c = of(cursor);
    const struct figure *f = &figures[c->at];
    if (column == COLUMN_NAME) {
        sqlite3_result_text(context, f->name, -1, SQLITE_STATIC);
    } else if (column == COLUMN_ARGUMENT) {
        sqlite3_result_text(context, c->argument, -1, SQLITE_TRANSIENT);
    } else {
        sqlite3_result_int64(context, (sqlite3_int64)figure_value(&c->stats, f));
    }
    return SQLITE_OK;
}

static int stats_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid) {
    *rowid = (sqlite3_int64)of(cursor)->at + 1;
    return SQLITE_OK;
}

/* Without xCreate it is eponymous only: there is nothing to create. */
static const sqlite3_module stats_module = {
    .xConnect = stats_connect,
    .xBestIndex = stats_best_index,
    .xDisconnect = stats_disconnect,
    .xOpen = stats_open,
    .xClose = stats_close,
    .xFilter = stats_filter,
    .xNext = stats_next,
    .xEof = stats_eof,
    .xColumn = stats_column,
    .xRowid = stats_rowid,
};

int stats_table_register(struct connection *connection) {
    return sqlite3_create_module_v2(connection->db, "kevo_stats", &stats_module, connection, NULL);
}
