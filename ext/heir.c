#include "ext/heir.h"

#include <string.h>

#include "ext/vtab.h"

struct heir {
    sqlite3_vtab base; /* must be first */
    struct connection *connection;
    bool joining; /* nothing was called since xBegin */
};

/* ---- taking over ------------------------------------------------------------------------ */

/* A deletion that finds nothing takes the lock of main and makes the table take part. */
static int join(struct connection *c) {
    if (c->heir_joined) return SQLITE_OK;
    int rc = sqlite3_exec(c->db, "DELETE FROM main.kevo_heir WHERE 0", NULL, NULL, NULL);
    /* There may be an ordinary table of that name. */
    return rc == SQLITE_OK && !c->heir_joined ? SQLITE_ERROR : rc;
}

/* Whether the session can be written to: a table whose store is lost can be dropped, too. */
static int begin(struct session *s, bool *begun) {
    struct kevo_options o = {.env = NULL};
    char *message = NULL;
    int rc = session_begin(s, &message);
    sqlite3_free(message);
    *begun = rc == SQLITE_OK;
    if (rc == SQLITE_OK) kevo_get_options(s->store, &o);
    *begun &= !o.read_only;
    return rc == SQLITE_NOMEM ? rc : SQLITE_OK;
}

static void give_up(struct session *s) {
    s->inherited = false;
    if (--s->members == 0 && session_is_open(s)) session_rollback(s);
    session_unref(s);
}

int heir_take(struct session *s, bool *taken) {
    *taken = s->inherited;
    if (s->inherited) return SQLITE_OK;
    /* Before the heir joins, so that it passes on what it is told of savepoints then. */
    s->inherited = true;
    s->members++;
    s->refs++;
    int rc = begin(s, taken);
    if (rc == SQLITE_OK && *taken) {
        rc = join(s->connection);
        *taken = rc == SQLITE_OK;
        if (rc != SQLITE_NOMEM && rc != SQLITE_INTERRUPT) rc = SQLITE_OK;
    }
    /* An interrupted join ends SQLite's transaction, and the heir with it has left already. */
    if (!*taken && s->inherited) give_up(s);
    return rc;
}

/* ---- the table ------------------------------------------------------------------------------ */

static int heir_connect(sqlite3 *db, void *arg, int argc, const char *const *argv,
                        sqlite3_vtab **table, char **message) {
    (void)argc;
    (void)argv;
    (void)message;
    int rc = sqlite3_declare_vtab(db, "CREATE TABLE x(row)");
    if (rc == SQLITE_OK) rc = sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
    if (rc != SQLITE_OK) return rc;
    struct heir *h = sqlite3_malloc64(sizeof *h);
    if (!h) return SQLITE_NOMEM;
    memset(h, 0, sizeof *h);
    h->connection = arg;
    *table = &h->base;
    return SQLITE_OK;
}

static int heir_disconnect(sqlite3_vtab *table) {
    sqlite3_free(table->zErrMsg);
    sqlite3_free(table);
    return SQLITE_OK;
}

static int heir_best_index(sqlite3_vtab *table, sqlite3_index_info *info) {
    (void)table;
    info->estimatedCost = 1;
    info->estimatedRows = 1;
    return SQLITE_OK;
}

static int heir_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor) {
    (void)table;
    *cursor = sqlite3_malloc64(sizeof **cursor);
    if (!*cursor) return SQLITE_NOMEM;
    memset(*cursor, 0, sizeof **cursor);
    return SQLITE_OK;
}

static int heir_close(sqlite3_vtab_cursor *cursor) {
    sqlite3_free(cursor);
    return SQLITE_OK;
}

static int heir_filter(sqlite3_vtab_cursor *cursor, int index, const char *words, int argc,
                       sqlite3_value **argv) {
    (void)cursor;
    (void)index;
    (void)words;
    (void)argc;
    (void)argv;
    return SQLITE_OK;
}

static int heir_next(sqlite3_vtab_cursor *cursor) {
    (void)cursor;
    return SQLITE_OK;
}

static int heir_eof(sqlite3_vtab_cursor *cursor) {
    (void)cursor;
    return 1;
}

static int heir_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column) {
    (void)cursor;
    (void)context;
    (void)column;
    return SQLITE_OK;
}

static int heir_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid) {
    (void)cursor;
    *rowid = 0;
    return SQLITE_OK;
}

static int heir_update(sqlite3_vtab *table, int argc, sqlite3_value **argv, sqlite3_int64 *rowid) {
    (void)argc;
    (void)argv;
    (void)rowid;
    table->zErrMsg = sqlite3_mprintf("kevo: kevo_heir holds no rows");
    return SQLITE_READONLY;
}

/* ---- its transactions -------------------------------------------------------------------------- */

static struct heir *of(sqlite3_vtab *table) {
    return (struct heir *)table;
}

static int heir_begin(sqlite3_vtab *table) {
    of(table)->connection->heir_joined = true;
    of(table)->joining = true;
    return SQLITE_OK;
}

static int heir_sync(sqlite3_vtab *table) {
    int rc = SQLITE_OK;
    sqlite3_free(table->zErrMsg);
    table->zErrMsg = NULL;
    for (struct session *s = of(table)->connection->sessions; rc == SQLITE_OK && s; s = s->next) {
        if (!s->inherited) continue;
        rc = forget_undone_tables(s, &table->zErrMsg);
        if (rc == SQLITE_OK) rc = session_sync(s, &table->zErrMsg);
    }
    return rc;
}

/* Each session is left when it has ended; it may go then. */
static void end(sqlite3_vtab *table, void (*how)(struct session *)) {
    struct connection *c = of(table)->connection;
    c->heir_joined = false;
    for (struct session *s = c->sessions, *next; s; s = next) {
        next = s->next;
        if (!s->inherited) continue;
        how(s);
        give_up(s);
    }
}

static int heir_commit(sqlite3_vtab *table) {
    end(table, session_commit);
    return SQLITE_OK;
}

static int heir_rollback(sqlite3_vtab *table) {
    end(table, session_rollback);
    return SQLITE_OK;
}

static int heir_savepoint(sqlite3_vtab *table, int number) {
    struct heir *h = of(table);
    bool late = h->joining;
    int rc = SQLITE_OK;
    h->joining = false;
    for (struct session *s = h->connection->sessions; rc == SQLITE_OK && s; s = s->next)
        if (s->inherited) rc = session_savepoint(s, number, late);
    return rc;
}

static int heir_release(sqlite3_vtab *table, int number) {
    for (struct session *s = of(table)->connection->sessions; s; s = s->next)
        if (s->inherited) session_release(s, number);
    return SQLITE_OK;
}

static int heir_rollback_to(sqlite3_vtab *table, int number) {
    for (struct session *s = of(table)->connection->sessions; s; s = s->next)
        if (s->inherited) session_rollback_to(s, number);
    return SQLITE_OK;
}

/* Without xCreate it is eponymous only: there is nothing to create. */
static const sqlite3_module heir_module = {
    .iVersion = 2,
    .xConnect = heir_connect,
    .xBestIndex = heir_best_index,
    .xDisconnect = heir_disconnect,
    .xOpen = heir_open,
    .xClose = heir_close,
    .xFilter = heir_filter,
    .xNext = heir_next,
    .xEof = heir_eof,
    .xColumn = heir_column,
    .xRowid = heir_rowid,
    .xUpdate = heir_update,
    .xBegin = heir_begin,
    .xSync = heir_sync,
    .xCommit = heir_commit,
    .xRollback = heir_rollback,
    .xSavepoint = heir_savepoint,
    .xRelease = heir_release,
    .xRollbackTo = heir_rollback_to,
};

int heir_register(struct connection *connection) {
    return sqlite3_create_module_v2(connection->db, "kevo_heir", &heir_module, connection, NULL);
}
