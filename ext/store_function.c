#include "ext/store_function.h"

#include <string.h>

#include "ext/vtab.h"

struct function_table {
    sqlite3_vtab base; /* must be first */
    struct connection *connection;
    const struct store_function *function;
};

struct function_cursor {
    sqlite3_vtab_cursor base; /* must be first */
    const struct store_function *function;
    char *argument;
    size_t at, rows;
    void *data;
};

/* What a module of SQLite's is registered with. */
struct registration {
    struct connection *connection;
    const struct store_function *function;
};

static struct function_cursor *of(sqlite3_vtab_cursor *cursor) {
    return (struct function_cursor *)cursor;
}

static int function_connect(sqlite3 *db, void *arg, int argc, const char *const *argv,
                            sqlite3_vtab **table, char **message) {
    const struct registration *r = arg;
    (void)argc;
    (void)argv;
    (void)message;
    int rc = sqlite3_declare_vtab(db, r->function->declaration);
    if (rc == SQLITE_OK) rc = sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    if (rc != SQLITE_OK) return rc;
    struct function_table *t = sqlite3_malloc64(sizeof *t);
    if (!t) return SQLITE_NOMEM;
    *t = (struct function_table){.connection = r->connection, .function = r->function};
    *table = &t->base;
    return SQLITE_OK;
}

static int function_disconnect(sqlite3_vtab *table) {
    sqlite3_free(table->zErrMsg);
    sqlite3_free(table);
    return SQLITE_OK;
}

/* The argument is an equality on the hidden column, and must be there. SQLite asks for the
 * terms of an OR alone as well: what that costs is told here, that it is wrong in xFilter. */
static int function_best_index(sqlite3_vtab *table, sqlite3_index_info *info) {
    const struct store_function *f = ((struct function_table *)table)->function;
    bool unusable = false;
    for (int i = 0; i < info->nConstraint; i++) {
        const struct sqlite3_index_constraint *c = &info->aConstraint[i];
        if (c->iColumn != f->argument_column || c->op != SQLITE_INDEX_CONSTRAINT_EQ) continue;
        if (!c->usable) {
            unusable = true;
            continue;
        }
        info->aConstraintUsage[i].argvIndex = 1;
        info->aConstraintUsage[i].omit = 1;
        info->estimatedCost = (double)f->rows();
        info->estimatedRows = (sqlite3_int64)f->rows();
        return SQLITE_OK;
    }
    if (unusable) return SQLITE_CONSTRAINT;
    info->estimatedCost = 1e99;
    return SQLITE_OK;
}

static int function_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor) {
    const struct store_function *f = ((struct function_table *)table)->function;
    struct function_cursor *c = sqlite3_malloc64(sizeof *c);
    void *data = sqlite3_malloc64(f->data_bytes);
    if (!c || !data) {
        sqlite3_free(c);
        sqlite3_free(data);
        return SQLITE_NOMEM;
    }
    *c = (struct function_cursor){.function = f, .rows = f->rows(), .data = data};
    *cursor = &c->base;
    return SQLITE_OK;
}

static int function_close(sqlite3_vtab_cursor *cursor) {
    struct function_cursor *c = of(cursor);
    sqlite3_free(c->argument);
    sqlite3_free(c->data);
    sqlite3_free(c);
    return SQLITE_OK;
}

static void skip_hidden(struct function_cursor *c) {
    const struct store_function *f = c->function;
    while (f->is_shown && c->at < c->rows && !f->is_shown(c->data, c->at))
        c->at++;
}

static int function_filter(sqlite3_vtab_cursor *cursor, int index, const char *words, int argc,
                           sqlite3_value **argv) {
    struct function_cursor *c = of(cursor);
    struct function_table *table = (struct function_table *)cursor->pVtab;
    (void)index;
    (void)words;
    char **message = &table->base.zErrMsg;
    c->at = c->rows;
    sqlite3_free(*message);
    *message = NULL;
    if (argc == 0) {
        *message = sqlite3_mprintf("%s: name a table, as in %s('kv')", c->function->name,
                                   c->function->name);
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
    c->function->take(t->session->store, c->data);
    c->at = 0;
    skip_hidden(c);
    return SQLITE_OK;
}

static int function_next(sqlite3_vtab_cursor *cursor) {
    of(cursor)->at++;
    skip_hidden(of(cursor));
    return SQLITE_OK;
}

static int function_eof(sqlite3_vtab_cursor *cursor) {
    return of(cursor)->at >= of(cursor)->rows;
}

static int function_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column) {
    struct function_cursor *c = of(cursor);
    if (column == c->function->argument_column)
        sqlite3_result_text(context, c->argument, -1, SQLITE_TRANSIENT);
    else
        c->function->column(c->data, c->at, column, context);
    return SQLITE_OK;
}

static int function_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid) {
    *rowid = (sqlite3_int64)of(cursor)->at + 1;
    return SQLITE_OK;
}

/* Without xCreate it is eponymous only: there is nothing to create. */
static const sqlite3_module function_module = {
    .xConnect = function_connect,
    .xBestIndex = function_best_index,
    .xDisconnect = function_disconnect,
    .xOpen = function_open,
    .xClose = function_close,
    .xFilter = function_filter,
    .xNext = function_next,
    .xEof = function_eof,
    .xColumn = function_column,
    .xRowid = function_rowid,
};

int store_function_register(struct connection *connection, const struct store_function *f) {
    struct registration *r = sqlite3_malloc64(sizeof *r);
    if (!r) return SQLITE_NOMEM;
    *r = (struct registration){connection, f};
    /* Frees r also when it fails. */
    return sqlite3_create_module_v2(connection->db, f->name, &function_module, r, sqlite3_free);
}
