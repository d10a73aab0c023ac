#include "ext/reports.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "ext/inner_sql.h"
#include "ext/vtab.h"

/* All rows of a report are made in xFilter, as of one moment, and kept as SQLite's values. */
struct rows {
    sqlite3_value **values; /* row by row */
    size_t count, cap;
    struct connection *connection;
    struct vtab *table; /* the one named; NULL when the report has no argument */
    sqlite3_stmt *bare; /* SELECT ?1: makes values */
    int rc;             /* the first failure; what follows it does nothing */
};

struct report {
    const char *name, *declaration; /* the argument is the last column */
    unsigned column_count;          /* without the argument */
    bool has_argument;
    int (*fill)(struct rows *rows, char **message);
};

struct report_module {
    const struct report *report;
    struct connection *connection;
};

struct report_table {
    sqlite3_vtab base; /* must be first */
    const struct report_module *module;
};

struct report_cursor {
    sqlite3_vtab_cursor base; /* must be first */
    struct rows rows;
    char *argument;
    size_t at;
};

static struct report_cursor *of(sqlite3_vtab_cursor *cursor) {
    return (struct report_cursor *)cursor;
}

static const struct report *report_of(const sqlite3_vtab_cursor *cursor) {
    return ((const struct report_table *)cursor->pVtab)->module->report;
}

/* ---- rows -------------------------------------------------------------------------------- */

static void rows_reset(struct rows *rows) {
    for (size_t i = 0; i < rows->count; i++)
        sqlite3_value_free(rows->values[i]);
    rows->count = 0;
    rows->rc = SQLITE_OK;
}

static void rows_release(struct rows *rows) {
    rows_reset(rows);
    mem_free(rows->values);
    sqlite3_finalize(rows->bare);
    rows->values = NULL;
    rows->bare = NULL;
}

/* Append what is bound to the statement; `rc` is how that went. */
static void add_bound(struct rows *rows, int rc) {
    if (rc == SQLITE_OK && sqlite3_step(rows->bare) != SQLITE_ROW) rc = SQLITE_NOMEM;
    if (rc == SQLITE_OK &&
        !mem_grow((void **)&rows->values, &rows->cap, rows->count + 1, sizeof *rows->values))
        rc = SQLITE_NOMEM;
    if (rc == SQLITE_OK) {
        sqlite3_value *copy = sqlite3_value_dup(sqlite3_column_value(rows->bare, 0));
        if (copy) rows->values[rows->count++] = copy;
        if (!copy) rc = SQLITE_NOMEM;
    }
    sqlite3_reset(rows->bare);
    if (rc != SQLITE_OK) rows->rc = rc;
}

static void add_number(struct rows *rows, uint64_t number) {
    if (rows->rc == SQLITE_OK)
        add_bound(rows, sqlite3_bind_int64(rows->bare, 1, (sqlite3_int64)number));
}

static void add_text(struct rows *rows, const char *text) {
    if (rows->rc == SQLITE_OK)
        add_bound(rows, sqlite3_bind_text(rows->bare, 1, text, -1, SQLITE_TRANSIENT));
}

static void add_blob(struct rows *rows, slice bytes) {
    if (rows->rc == SQLITE_OK)
        add_bound(rows,
                  sqlite3_bind_blob64(rows->bare, 1, bytes.data ? (const void *)bytes.data : "",
                                      bytes.len, SQLITE_TRANSIENT));
}

/* ---- the reports ---------------------------------------------------------------------------- */

static int fill_levels(struct rows *rows, char **message) {
    struct kevo_stats stats;
    (void)message;
    kevo_get_stats(rows->table->session->store, &stats);
    for (unsigned level = 0; level < KEVO_MAX_LEVELS; level++) {
        if (stats.table_count[level] == 0 && stats.level_written_bytes[level] == 0) continue;
        add_number(rows, level);
        add_number(rows, stats.table_count[level]);
        add_number(rows, stats.level_bytes[level]);
        add_number(rows, stats.level_entries[level]);
        add_number(rows, stats.level_tombstones[level]);
        add_number(rows, stats.level_read_bytes[level]);
        add_number(rows, stats.level_written_bytes[level]);
    }
    return rows->rc;
}

static int add_file(void *arg, const struct kevo_file *file) {
    struct rows *rows = arg;
    add_number(rows, file->level);
    add_text(rows, file->name);
    add_number(rows, file->bytes);
    add_number(rows, file->entries);
    add_number(rows, file->tombstones);
    add_number(rows, file->range_tombstones);
    add_number(rows, file->first_batch);
    add_number(rows, file->last_batch);
    add_blob(rows, file->smallest);
    add_blob(rows, file->largest);
    return rows->rc;
}

static int fill_files(struct rows *rows, char **message) {
    (void)message;
    return kevo_each_file(rows->table->session->store, add_file, rows);
}

static uint64_t table_bytes(struct vtab *t) {
    struct buf lower = {0}, upper = {0};
    uint64_t bytes = 0;
    if (keycode_table_range(t->table_id, &lower, &upper, NULL) == 0)
        bytes = kevo_approximate_size(t->session->store, buf_slice(&lower), buf_slice(&upper));
    if (keycode_indexes_range(t->table_id, &lower, &upper, NULL) == 0)
        bytes += kevo_approximate_size(t->session->store, buf_slice(&lower), buf_slice(&upper));
    buf_release(&lower);
    buf_release(&upper);
    return bytes;
}

static int add_table(struct rows *rows, const char *schema, const char *name, char **message) {
    char *both = sqlite3_mprintf("%s.%s", schema, name);
    if (!both) return SQLITE_NOMEM;
    struct vtab *t;
    int rc = vtab_find(rows->connection, both, &t, message);
    sqlite3_free(both);
    if (rc == SQLITE_OK) rc = session_open(t->session, message);
    if (rc != SQLITE_OK) return rc;
    add_text(rows, schema);
    add_text(rows, name);
    add_text(rows, t->session->path ? t->session->path : "");
    add_number(rows, t->schema->index_count);
    add_number(rows, (uint64_t)vtab_row_estimate(t));
    add_number(rows, table_bytes(t));
    return rows->rc;
}

static int add_schema(struct rows *rows, const char *schema, char **message) {
    sqlite3 *db = rows->connection->db;
    sqlite3_stmt *stmt;
    int rc =
        inner_prepare(db, 0, &stmt, message,
                      "SELECT name FROM \"%w\".kevo_table WHERE name NOT NULL ORDER BY 1", schema);
    if (rc == SQLITE_ERROR) { /* without that table there are no kevo tables */
        sqlite3_free(*message);
        *message = NULL;
        return SQLITE_OK;
    }
    while (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
        rc = add_table(rows, schema, (const char *)sqlite3_column_text(stmt, 0), message);
    int end_rc = sqlite3_finalize(stmt);
    return rc == SQLITE_OK ? end_rc : rc;
}

static int fill_tables(struct rows *rows, char **message) {
    sqlite3_stmt *stmt;
    int rc = inner_prepare(rows->connection->db, 0, &stmt, message, "PRAGMA database_list");
    while (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
        rc = add_schema(rows, (const char *)sqlite3_column_text(stmt, 1), message);
    sqlite3_finalize(stmt);
    return rc;
}

static const struct report reports[] = {
    {"kevo_levels",
     "CREATE TABLE x(level INTEGER, files INTEGER, bytes INTEGER, entries INTEGER, tombstones "
     "INTEGER, compaction_read_bytes INTEGER, written_bytes INTEGER, of HIDDEN)",
     7, true, fill_levels},
    {"kevo_files",
     "CREATE TABLE x(level INTEGER, file TEXT, bytes INTEGER, entries INTEGER, tombstones "
     "INTEGER, range_tombstones INTEGER, first_batch INTEGER, last_batch INTEGER, smallest_key "
     "BLOB, largest_key BLOB, of HIDDEN)",
     10, true, fill_files},
    {"kevo_tables",
     "CREATE TABLE x(schema TEXT, name TEXT, store TEXT, indexes INTEGER, approximate_rows "
     "INTEGER, approximate_bytes INTEGER)",
     6, false, fill_tables},
};
enum { REPORT_COUNT = sizeof reports / sizeof reports[0] };

/* ---- the module -------------------------------------------------------------------------------- */

static int report_connect(sqlite3 *db, void *arg, int argc, const char *const *argv,
                          sqlite3_vtab **table, char **message) {
    const struct report_module *module = arg;
    (void)argc;
    (void)argv;
    (void)message;
    int rc = sqlite3_declare_vtab(db, module->report->declaration);
    if (rc == SQLITE_OK) rc = sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    if (rc != SQLITE_OK) return rc;
    struct report_table *t = sqlite3_malloc64(sizeof *t);
    if (!t) return SQLITE_NOMEM;
    memset(t, 0, sizeof *t);
    t->module = module;
    *table = &t->base;
    return SQLITE_OK;
}

static int report_disconnect(sqlite3_vtab *table) {
    sqlite3_free(table->zErrMsg);
    sqlite3_free(table);
    return SQLITE_OK;
}

/* The argument is an equality on the hidden column: as for kevo_stats. */
static int report_best_index(sqlite3_vtab *table, sqlite3_index_info *info) {
    const struct report *report = ((struct report_table *)table)->module->report;
    bool unusable = false;
    info->estimatedCost = 100;
    info->estimatedRows = 100;
    if (!report->has_argument) return SQLITE_OK;
    for (int i = 0; i < info->nConstraint; i++) {
        const struct sqlite3_index_constraint *c = &info->aConstraint[i];
        if (c->iColumn != (int)report->column_count || c->op != SQLITE_INDEX_CONSTRAINT_EQ)
            continue;
        if (!c->usable) {
            unusable = true;
            continue;
        }
        info->aConstraintUsage[i].argvIndex = 1;
        info->aConstraintUsage[i].omit = 1;
        return SQLITE_OK;
    }
    if (unusable) return SQLITE_CONSTRAINT;
    info->estimatedCost = 1e99;
    return SQLITE_OK;
}

static int report_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor) {
    struct report_cursor *c = sqlite3_malloc64(sizeof *c);
    if (!c) return SQLITE_NOMEM;
    memset(c, 0, sizeof *c);
    c->rows.connection = ((struct report_table *)table)->module->connection;
    int rc = sqlite3_prepare_v2(c->rows.connection->db, "SELECT ?1", -1, &c->rows.bare, NULL);
    if (rc != SQLITE_OK) {
        sqlite3_free(c);
        return rc;
    }
    *cursor = &c->base;
    return SQLITE_OK;
}

static int report_close(sqlite3_vtab_cursor *cursor) {
    rows_release(&of(cursor)->rows);
    sqlite3_free(of(cursor)->argument);
    sqlite3_free(cursor);
    return SQLITE_OK;
}

/* *known false: of NULL there is nothing. */
static int take_argument(struct report_cursor *c, const struct report *report, int argc,
                         sqlite3_value **argv, bool *known, char **message) {
    *known = !report->has_argument;
    if (*known) return SQLITE_OK;
    if (argc == 0) {
        *message = sqlite3_mprintf("%s: name a table, as in %s('kv')", report->name, report->name);
        return SQLITE_ERROR;
    }
    const char *name = (const char *)sqlite3_value_text(argv[0]);
    if (!name) return SQLITE_OK;
    sqlite3_free(c->argument);
    c->argument = sqlite3_mprintf("%s", name);
    if (!c->argument) return SQLITE_NOMEM;
    int rc = vtab_find(c->rows.connection, name, &c->rows.table, message);
    *known = rc == SQLITE_OK;
    return *known ? session_open(c->rows.table->session, message) : rc;
}

static int report_filter(sqlite3_vtab_cursor *cursor, int index, const char *words, int argc,
                         sqlite3_value **argv) {
    struct report_cursor *c = of(cursor);
    char **message = &cursor->pVtab->zErrMsg;
    bool known;
    (void)index;
    (void)words;
    c->at = 0;
    rows_reset(&c->rows);
    sqlite3_free(*message);
    *message = NULL;
    int rc = take_argument(c, report_of(cursor), argc, argv, &known, message);
    return rc == SQLITE_OK && known ? report_of(cursor)->fill(&c->rows, message) : rc;
}

static int report_next(sqlite3_vtab_cursor *cursor) {
    of(cursor)->at++;
    return SQLITE_OK;
}

static int report_eof(sqlite3_vtab_cursor *cursor) {
    return of(cursor)->at * report_of(cursor)->column_count >= of(cursor)->rows.count;
}

static int report_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column) {
    struct report_cursor *c = of(cursor);
    unsigned columns = report_of(cursor)->column_count;
    if ((unsigned)column >= columns)
        sqlite3_result_text(context, c->argument, -1, SQLITE_TRANSIENT);
    else
        sqlite3_result_value(context, c->rows.values[c->at * columns + (unsigned)column]);
    return SQLITE_OK;
}

static int report_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid) {
    *rowid = (sqlite3_int64)of(cursor)->at + 1;
    return SQLITE_OK;
}

/* Without xCreate it is eponymous only: there is nothing to create. */
static const sqlite3_module report_module = {
    .xConnect = report_connect,
    .xBestIndex = report_best_index,
    .xDisconnect = report_disconnect,
    .xOpen = report_open,
    .xClose = report_close,
    .xFilter = report_filter,
    .xNext = report_next,
    .xEof = report_eof,
    .xColumn = report_column,
    .xRowid = report_rowid,
};

int reports_register(struct connection *connection) {
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < REPORT_COUNT; i++) {
        struct report_module *module = sqlite3_malloc64(sizeof *module);
        if (!module) return SQLITE_NOMEM;
        *module = (struct report_module){&reports[i], connection};
        rc = sqlite3_create_module_v2(connection->db, reports[i].name, &report_module, module,
                                      sqlite3_free);
    }
    return rc;
}
