#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "ext/beside.h"
#include "ext/heir.h"
#include "ext/inner_sql.h"
#include "ext/names.h"

/* ---- errors ----------------------------------------------------------------------- */

int vtab_report(struct vtab *t, const struct kevo_err *err) {
    return report(&t->base.zErrMsg, err);
}

/* Replace the table's message; what the session says has its "kevo: " already. */
static char **message_of(struct vtab *t) {
    sqlite3_free(t->base.zErrMsg);
    t->base.zErrMsg = NULL;
    return &t->base.zErrMsg;
}

/* ---- life -------------------------------------------------------------------------- */

static void leave_transaction(struct vtab *t) {
    if (!t->member) return;
    t->member = false;
    struct session *s = t->session;
    /* The last member takes along what nobody else will be asked to commit. */
    if (--s->members == 0 && session_is_open(s)) session_rollback(s);
}

static void join_transaction(struct vtab *t) {
    if (t->member) return;
    t->member = true;
    t->session->members++;
}

static void leave_list(struct vtab *t) {
    struct vtab **p = &t->connection->tables;
    while (*p && *p != t)
        p = &(*p)->next;
    if (*p) *p = t->next;
}

static void vtab_free(struct vtab *t) {
    leave_list(t);
    if (t->session) {
        leave_transaction(t);
        session_unref(t->session);
    }
    cursor_free_spare(t);
    sampling_free(t->samples, t->schema);
    schema_free(t->schema);
    mem_free(t->values);
    index_scratch_release(&t->indexes);
    buf_release(&t->key);
    buf_release(&t->old_key);
    buf_release(&t->row);
    buf_release(&t->old_row);
    buf_release(&t->kept);
    buf_release(&t->scratch);
    clearing_release(&t->clearing);
    sqlite3_free(t->base.zErrMsg); /* what xDestroy said SQLite does not take */
    sqlite3_free(t->schema_name);
    sqlite3_free(t->name);
    sqlite3_free(t);
}

static int declare(sqlite3 *db, const struct schema *schema, char **message) {
    struct buf sql = {0};
    struct kevo_err err;
    int rc;
    if (schema_declare(schema, &sql, &err)) {
        rc = report(message, &err);
    } else {
        rc = sqlite3_declare_vtab(db, (const char *)sql.data);
        if (rc != SQLITE_OK) *message = sqlite3_mprintf("%s", sqlite3_errmsg(db));
    }
    buf_release(&sql);
    return rc;
}

/* The table as its arguments describe it, declared to SQLite, without a store. */
static int vtab_new(sqlite3 *db, struct connection *connection, int argc, const char *const *argv,
                    struct vtab **table, char **message) {
    struct kevo_err err;
    *table = NULL;
    struct vtab *t = sqlite3_malloc64(sizeof *t);
    if (!t) return SQLITE_NOMEM;
    memset(t, 0, sizeof *t);
    t->connection = connection;
    t->utf8 = texts_are_utf8(db);
    t->schema_name = sqlite3_mprintf("%s", argv[1]);
    t->name = sqlite3_mprintf("%s", argv[2]);
    int rc = t->schema_name && t->name ? SQLITE_OK : SQLITE_NOMEM;
    if (rc == SQLITE_OK && schema_parse(argv[2], argc - 3, argv + 3, &t->schema, &err))
        rc = report(message, &err);
    if (rc == SQLITE_OK) rc = declare(db, t->schema, message);
    if (rc == SQLITE_OK) {
        t->values = mem_array(t->schema->column_count + 2, sizeof *t->values);
        t->samples = sampling_new(t->schema);
        if (!t->values || !t->samples || !index_scratch_init(&t->indexes, t->schema))
            rc = SQLITE_NOMEM;
    }
    if (rc == SQLITE_OK) rc = sqlite3_vtab_config(db, SQLITE_VTAB_CONSTRAINT_SUPPORT, 1);
    if (rc != SQLITE_OK) {
        vtab_free(t);
        return rc;
    }
    t->next = connection->tables;
    connection->tables = t;
    *table = t;
    return SQLITE_OK;
}

/* ---- creations taken back by ROLLBACK TO --------------------------------------------------- */

/* SQLite announces no savepoint to a table that it has just made, and so does not tell it
 * when a ROLLBACK TO takes back table and rows; the table stays in the transaction, out of
 * sight. What it wrote is found here by its id, which may be given out again. */

/* Take out of the transaction what it has from t->key to t->scratch. */
static int wipe_range(struct vtab *t, struct kevo_err *err) {
    struct kevo_read all = {
        .txn = t->session->txn, .lower = buf_slice(&t->key), .upper = buf_slice(&t->scratch)};
    kevo_iter *it = NULL;
    int rc = kevo_iter_new(t->session->store, &all, &it, err);
    if (rc == 0) rc = kevo_iter_first(it, err);
    while (rc == 0 && kevo_iter_valid(it)) {
        rc = kevo_txn_delete(t->session->txn, kevo_iter_key(it), err);
        if (rc == 0) rc = kevo_iter_next(it, err);
        session_written(t->session);
    }
    kevo_iter_free(it);
    return rc;
}

/* Take out of the transaction what it has under the table's id. */
static int wipe_table(struct vtab *t, char **message) {
    struct kevo_err err;
    if (!session_is_open(t->session)) return SQLITE_OK;
    int rc = keycode_table_range(t->table_id, &t->key, &t->scratch, &err);
    if (rc == 0) rc = wipe_range(t, &err);
    if (rc == 0) rc = keycode_indexes_range(t->table_id, &t->key, &t->scratch, &err);
    if (rc == 0) rc = wipe_range(t, &err);
    return rc ? report(message, &err) : SQLITE_OK;
}

int forget_undone_tables(struct session *s, char **message) {
    sqlite3 *db = s->connection->db;
    bool found = true;
    int rc = SQLITE_OK;
    if (s->created) rc = catalogue_has_store(db, s->schema, s->store_row, &found, message);
    if (rc == SQLITE_OK && !found) session_abandon(s);
    for (struct vtab *t = s->connection->tables; rc == SQLITE_OK && t; t = t->next) {
        if (t->session != s || !t->created) continue;
        rc = catalogue_has_table(db, s->schema, s->store_row, t->table_id, &found, message);
        if (rc == SQLITE_OK && !found) rc = wipe_table(t, message);
    }
    return rc;
}

/* ---- create and connect ------------------------------------------------------------------ */

/* A table hides the table-valued function of its name, and one named as the bookkeeping is in its
 * way. Those that exist stay usable, and can be renamed. */
static int check_name(const char *name, char **message) {
    static const char *const reserved[] = {
        "kevo_stats", "kevo_options", "kevo_levels", "kevo_files", "kevo_tables",
        "kevo_heir",  "kevo_store",   "kevo_marker", "kevo_table",
    };
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (sqlite3_stricmp(name, reserved[i]) != 0) continue;
        *message = sqlite3_mprintf("kevo: %s is the name of a table or function of kevo's own; "
                                   "give the table another name",
                                   name);
        return SQLITE_ERROR;
    }
    return SQLITE_OK;
}

struct same_path {
    sqlite3 *db;
    const char *schema, *path;
    struct catalogue_store store;
};

/* A path as the system knows it, when it exists. sqlite3_free; NULL: no memory. */
static char *real_path(const char *path) {
    char real[PATH_MAX];
    return sqlite3_mprintf("%s", realpath(path, real) ? real : path);
}

static bool is_same_path(void *arg, const struct catalogue_store *store) {
    struct same_path *same = arg;
    char *path = NULL, *message = NULL;
    session_resolve_path(same->db, same->schema, store->directory, &path, &message);
    char *mine = same->path ? real_path(same->path) : NULL, *other = path ? real_path(path) : NULL;
    bool equal = mine && other ? strcmp(mine, other) == 0 : !path && !same->path;
    sqlite3_free(mine);
    sqlite3_free(other);
    sqlite3_free(path);
    sqlite3_free(message);
    if (equal) {
        same->store = *store;
        same->store.directory = NULL;
    }
    return equal;
}

/* A store of this database whose tables were all dropped, its directory too: start anew. Not while
 * there are tables that may be in it, for all that is known. */
static int forget_unused_store(sqlite3 *db, struct vtab *t, struct same_path *same, bool *found,
                               bool *used, char **message) {
    bool gone = false;
    same->store.directory = t->schema->directory;
    int rc = catalogue_store_is_used(db, t->schema_name, same->store.row, used, message);
    if (rc == SQLITE_OK && !*used)
        rc = catalogue_has_stray(db, t->schema_name, t->name, used, message);
    if (rc == SQLITE_OK && !*used)
        rc = session_remove_unused(t->connection, t->schema_name, &same->store, t->schema, &gone,
                                   message);
    if (rc != SQLITE_OK || !gone) return rc;
    *found = false;
    return catalogue_forget_store(db, t->schema_name, same->store.row, message);
}

/* What the definition says of options cannot be had in a store that exists, unless it has it. In a
 * transaction a ROLLBACK may bring back the tables that the store was made for. */
static int check_options(sqlite3 *db, const struct vtab *t, const struct catalogue_store *store,
                         bool used, char **message) {
    if (!used && sqlite3_get_autocommit(db))
        return session_match_options(t->connection, t->schema_name, store, t->schema, message);
    const char *option = schema_given_option(t->schema);
    if (!option) return SQLITE_OK;
    *message = sqlite3_mprintf("kevo: option %s belongs to the store, which exists: give it with "
                               "the store's first table, or give this table a directory of its "
                               "own",
                               option);
    return SQLITE_ERROR;
}

/* The store of this database in that directory, made if there is none. */
static int find_or_create_store(sqlite3 *db, struct vtab *t, struct catalogue_store *store,
                                char **message) {
    struct same_path same = {.db = db, .schema = t->schema_name};
    char *path = NULL;
    bool found = false, used = true;
    int rc = session_resolve_path(db, t->schema_name, t->schema->directory, &path, message);
    same.path = path;
    if (rc == SQLITE_OK)
        rc = catalogue_each_store(db, t->schema_name, is_same_path, &same, &found, message);
    if (rc == SQLITE_OK && found) rc = forget_unused_store(db, t, &same, &found, &used, message);
    if (rc == SQLITE_OK && found) rc = check_options(db, t, &same.store, used || !path, message);
    sqlite3_free(path);
    if (rc != SQLITE_OK) return rc;
    *store = found ? same.store : (struct catalogue_store){.row = 0};
    store->directory = t->schema->directory;
    return found ? SQLITE_OK
                 : session_create_store(t->connection, t->schema_name, t->schema, store, message);
}

/* What SQLite has left out of the arguments shows in the statement only, which is in the schema
 * already. */
static int check_commas(sqlite3 *db, const struct vtab *t, char **message) {
    sqlite3_stmt *stmt;
    struct kevo_err err;
    int rc =
        inner_prepare(db, 0, &stmt, message, "SELECT sql FROM \"%w\".sqlite_master WHERE name = %Q",
                      t->schema_name, t->name);
    if (rc != SQLITE_OK) return rc;
    const char *sql =
        sqlite3_step(stmt) == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (sql && schema_check_commas(t->name, sql, &err)) rc = report(message, &err);
    sqlite3_finalize(stmt);
    return rc;
}

static int create_in_store(sqlite3 *db, struct vtab *t, char **message) {
    struct catalogue_store store;
    bool found = false;
    int rc = check_commas(db, t, message);
    if (rc == SQLITE_OK) rc = catalogue_init(db, t->schema_name, message);
    if (rc == SQLITE_OK) rc = find_or_create_store(db, t, &store, message);
    if (rc == SQLITE_OK)
        rc = session_get(t->connection, t->schema_name, &store, t->schema, &t->session, message);
    if (rc == SQLITE_OK) rc = session_open(t->session, message);
    /* SQLite calls xSync and xCommit for a new table without xBegin. */
    if (rc == SQLITE_OK) join_transaction(t);
    if (rc == SQLITE_OK && names_are_kept(t)) rc = names_claim(t, &found, message);
    if (rc == SQLITE_OK)
        rc = catalogue_add_table(db, t->schema_name, store.row, t->name, &t->table_id, message);
    return rc == SQLITE_OK && !found ? wipe_table(t, message) : rc;
}

static int vtab_create(sqlite3 *db, void *arg, int argc, const char *const *argv,
                       sqlite3_vtab **table, char **message) {
    struct vtab *t;
    int rc = check_name(argv[2], message);
    if (rc == SQLITE_OK) rc = vtab_new(db, arg, argc, argv, &t, message);
    if (rc != SQLITE_OK) return rc;
    rc = create_in_store(db, t, message);
    if (rc != SQLITE_OK) {
        vtab_free(t);
        return rc;
    }
    t->created = true;
    *table = &t->base;
    return SQLITE_OK;
}

/* A first use by a statement that writes must not begin to read before it has SQLite's write lock. */
static bool may_begin_to_read(sqlite3 *db, const char *schema) {
    return sqlite3_get_autocommit(db) || sqlite3_txn_state(db, schema) != SQLITE_TXN_NONE;
}

static int find_table(sqlite3 *db, struct vtab *t, struct catalogue_store *store, char **message) {
    int rc = SQLITE_NOTFOUND;
    *store = (struct catalogue_store){.directory = NULL};
    if (!may_begin_to_read(db, t->schema_name))
        rc = beside_find_table(db, t->schema_name, t->name, store, &t->table_id);
    if (rc == SQLITE_BUSY) *message = sqlite3_mprintf("%s", sqlite3_errstr(rc));
    if (rc != SQLITE_NOTFOUND) return rc;
    sqlite3_free(store->directory);
    return catalogue_find_table(db, t->schema_name, t->name, store, &t->table_id, message);
}

/* The session of the store that the database names, or one for a table whose store it does not. */
static int find_session(sqlite3 *db, struct vtab *t, char **message) {
    struct catalogue_store store;
    int rc = find_table(db, t, &store, message);
    if (rc == SQLITE_OK)
        rc = session_get(t->connection, t->schema_name, &store, t->schema, &t->session, message);
    sqlite3_free(store.directory);
    if (rc != SQLITE_ERROR && rc != SQLITE_CORRUPT_VTAB) return rc;
    return session_get_lost(t->connection, t->schema_name, t->schema, rc, &t->session, message);
}

static int vtab_connect(sqlite3 *db, void *arg, int argc, const char *const *argv,
                        sqlite3_vtab **table, char **message) {
    struct vtab *t;
    int rc = vtab_new(db, arg, argc, argv, &t, message);
    if (rc != SQLITE_OK) return rc;
    rc = find_session(db, t, message);
    if (rc != SQLITE_OK) {
        vtab_free(t);
        return rc;
    }
    *table = &t->base;
    return SQLITE_OK;
}

static int vtab_disconnect(sqlite3_vtab *table) {
    struct vtab *t = vtab_of(table);
    leave_list(t);
    t->gone = true;
    if (!t->held) vtab_free(t);
    return SQLITE_OK;
}

void vtab_hold(struct vtab *t) {
    t->held++;
}

void vtab_let_go(struct vtab *t) {
    if (--t->held == 0 && t->gone) vtab_free(t);
}

/* SQLite will not call this table's xSync any more. What the transaction wrote to
 * tables of this store would be lost if no other of them takes part, nor the heir, and come back
 * to nobody if the DROP is rolled back. */
static bool drop_would_lose_writes(const struct vtab *t) {
    const struct session *s = t->session;
    return t->member && s->members == 1 && session_is_open(s) && !kevo_txn_is_empty(s->txn);
}

/* Take the table out of the bookkeeping. The rows go when the transaction commits: see
 * dropped.h; those of a table that is not known there stay. */
static int forget_table(struct vtab *t, bool known, char **message) {
    struct session *s = t->session;
    sqlite3 *db = t->connection->db;
    if (!known) return catalogue_forget_stray(db, t->schema_name, t->name, message);
    int rc = catalogue_drop_table(db, t->schema_name, s->store_row, t->table_id, message);
    s->swept = false;
    return rc == SQLITE_OK && names_are_kept(t) ? names_forget(t, message) : rc;
}

static int vtab_destroy(sqlite3_vtab *table) {
    struct vtab *t = vtab_of(table);
    struct session *s = t->session;
    char **message = message_of(t);
    bool known, inherited = false;
    int rc = catalogue_has_table(t->connection->db, t->schema_name, s->store_row, t->table_id,
                                 &known, message);
    if (rc == SQLITE_OK && known) rc = heir_take(s, &inherited);
    if (rc != SQLITE_OK) return rc;
    if (!inherited && drop_would_lose_writes(t)) {
        *message = sqlite3_mprintf("kevo: cannot drop %s after writing in the same transaction; "
                                   "commit or roll back first",
                                   t->name);
        return SQLITE_LOCKED;
    }
    rc = forget_table(t, known, message);
    if (rc == SQLITE_OK) vtab_free(t);
    return rc;
}

static int vtab_rename(sqlite3_vtab *table, const char *name) {
    struct vtab *t = vtab_of(table);
    char **message = message_of(t);
    int rc = check_name(name, message);
    if (rc == SQLITE_OK && t->session->lost) rc = session_open(t->session, message);
    if (rc != SQLITE_OK) return rc;
    char *copy = sqlite3_mprintf("%s", name);
    if (!copy) return SQLITE_NOMEM;
    rc = catalogue_rename_table(t->connection->db, t->schema_name, t->session->store_row,
                                t->table_id, name, message);
    if (rc == SQLITE_OK && names_are_kept(t)) rc = names_rename(t, name, message);
    if (rc != SQLITE_OK) {
        sqlite3_free(copy);
        return rc;
    }
    sqlite3_free(t->name);
    t->name = copy;
    return SQLITE_OK;
}

/* ---- transactions ------------------------------------------------------------------------- */

static int vtab_begin(sqlite3_vtab *table) {
    struct vtab *t = vtab_of(table);
    int rc = session_begin(t->session, message_of(t));
    if (rc == SQLITE_OK) join_transaction(t);
    t->joining = true;
    t->moved = false;
    return rc;
}

static int vtab_sync(sqlite3_vtab *table) {
    struct vtab *t = vtab_of(table);
    char **message = message_of(t);
    assert(t->member);
    int rc = t->created ? forget_undone_tables(t->session, message) : SQLITE_OK;
    return rc == SQLITE_OK ? session_sync(t->session, message) : rc;
}

static int vtab_commit(sqlite3_vtab *table) {
    struct vtab *t = vtab_of(table);
    assert(t->member);
    session_commit(t->session);
    t->created = false;
    leave_transaction(t);
    return SQLITE_OK;
}

static int vtab_rollback(sqlite3_vtab *table) {
    struct vtab *t = vtab_of(table);
    assert(t->member);
    session_rollback(t->session);
    leave_transaction(t);
    return SQLITE_OK;
}

static int vtab_savepoint(sqlite3_vtab *table, int number) {
    struct vtab *t = vtab_of(table);
    bool late = t->joining;
    t->joining = false;
    return session_savepoint(t->session, number, late);
}

static int vtab_release(sqlite3_vtab *table, int number) {
    session_release(vtab_of(table)->session, number);
    return SQLITE_OK;
}

static int vtab_rollback_to(sqlite3_vtab *table, int number) {
    session_rollback_to(vtab_of(table)->session, number);
    return SQLITE_OK;
}

/* ---- finding a table by name, and what is known of it ----------------------------------------- */

struct vtab *vtab_connected(struct connection *connection, const char *schema, const char *name) {
    for (struct vtab *t = connection->tables; t; t = t->next) {
        if (sqlite3_stricmp(t->name, name) == 0 && sqlite3_stricmp(t->schema_name, schema) == 0)
            return t;
    }
    return NULL;
}

/* SQLite's result code for preparing a query of the table, which connects it; *table NULL: it
 * is not there, or not a kevo table. */
static int find_in(struct connection *c, const char *schema, const char *name,
                   struct vtab **table) {
    sqlite3_stmt *stmt = NULL;
    *table = vtab_connected(c, schema, name);
    if (*table) return SQLITE_OK;
    char *sql = sqlite3_mprintf("SELECT 1 FROM \"%w\".\"%w\"", schema, name);
    int rc = sql ? sqlite3_prepare_v2(c->db, sql, -1, &stmt, NULL) : SQLITE_NOMEM;
    sqlite3_finalize(stmt);
    sqlite3_free(sql);
    if (rc == SQLITE_OK) *table = vtab_connected(c, schema, name);
    return rc;
}

static bool is_missing(sqlite3 *db) {
    return strncmp(sqlite3_errmsg(db), "no such table: ", 15) == 0;
}

/* A name alone is looked for as SQLite does it: in temp, main, then what is attached. */
static int find_anywhere(struct connection *c, const char *name, struct vtab **table) {
    static const char *const first[] = {"temp", "main"};
    for (int i = 0;; i++) {
        const char *schema = i < 2 ? first[i] : sqlite3_db_name(c->db, i);
        if (!schema) return SQLITE_ERROR;
        int rc = find_in(c, schema, name, table);
        if (rc == SQLITE_OK || !is_missing(c->db)) return rc;
    }
}

static bool is_schema(sqlite3 *db, const char *name, size_t len) {
    const char *schema;
    for (int i = 0; (schema = sqlite3_db_name(db, i)); i++)
        if (strlen(schema) == len && sqlite3_strnicmp(schema, name, (int)len) == 0) return true;
    return false;
}

/* `name` is table or schema.table. A table may have a dot in its name, too. */
int vtab_find(struct connection *connection, const char *name, struct vtab **table,
              char **message) {
    const char *dot = strchr(name, '.');
    if (dot && !is_schema(connection->db, name, (size_t)(dot - name))) dot = NULL;
    char *schema = dot ? sqlite3_mprintf("%.*s", (int)(dot - name), name) : NULL;
    *table = NULL;
    int rc = dot && !schema ? SQLITE_NOMEM
             : dot          ? find_in(connection, schema, dot + 1, table)
                            : find_anywhere(connection, name, table);
    if (!*table) {
        const char *why = sqlite3_errmsg(connection->db);
        bool missing = !dot && rc != SQLITE_OK && is_missing(connection->db);
        *message = missing           ? sqlite3_mprintf("no such table: %s", name)
                   : rc != SQLITE_OK ? sqlite3_mprintf("%s", why)
                                     : sqlite3_mprintf("kevo: %s is not a kevo table", name);
        if (rc == SQLITE_OK) rc = SQLITE_ERROR;
    }
    sqlite3_free(schema);
    return rc;
}

double vtab_row_estimate(struct vtab *t) {
    struct buf lower = {0}, upper = {0};
    double rows = 1e6;
    if (session_open_now(t->session) && keycode_table_range(t->table_id, &lower, &upper, NULL) == 0)
        rows =
            (double)kevo_approximate_count(t->session->store, buf_slice(&lower), buf_slice(&upper));
    buf_release(&lower);
    buf_release(&upper);
    return rows < 1 ? 1 : rows;
}

/* ---- the module -------------------------------------------------------------------------------- */

#define METHODS(version)                                                                           \
    .iVersion = version, .xCreate = vtab_create, .xConnect = vtab_connect,                         \
    .xBestIndex = vtab_best_index, .xDisconnect = vtab_disconnect, .xDestroy = vtab_destroy,       \
    .xOpen = cursor_open, .xClose = cursor_close, .xFilter = cursor_filter, .xNext = cursor_next,  \
    .xEof = cursor_eof, .xColumn = cursor_column, .xRowid = cursor_rowid, .xUpdate = vtab_update,  \
    .xBegin = vtab_begin, .xSync = vtab_sync, .xCommit = vtab_commit, .xRollback = vtab_rollback,  \
    .xRename = vtab_rename, .xSavepoint = vtab_savepoint, .xRelease = vtab_release,                \
    .xRollbackTo = vtab_rollback_to

static const sqlite3_module module = {METHODS(2)};

/* SQLite 3.44 has one method more, behind those that an older header knows of. */
#if SQLITE_VERSION_NUMBER >= 3044000
static const sqlite3_module checked = {METHODS(4), .xIntegrity = vtab_integrity};
#define CHECKED (&checked)
#else
static const struct {
    sqlite3_module base;
    int (*xIntegrity)(sqlite3_vtab *, const char *, const char *, int, char **);
} checked = {{METHODS(4)}, vtab_integrity};
#define CHECKED (&checked.base)
#endif

const sqlite3_module *kevo_module(void) {
    enum { HAS_INTEGRITY = 3044000 };
    return sqlite3_libversion_number() >= HAS_INTEGRITY ? CHECKED : &module;
}
