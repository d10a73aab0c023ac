#include "ext/beside.h"

#include "ext/inner_sql.h"
#include "ext/session.h"

int beside_open(sqlite3 *db, const char *schema, const char *path, sqlite3 **other) {
    sqlite3_vfs *vfs = NULL;
    sqlite3_file_control(db, schema, SQLITE_FCNTL_VFS_POINTER, &vfs);
    /* In a shared cache it would see this connection's own transaction, and wait for a mutex that
     * this thread holds. */
    return sqlite3_open_v2(path, other, SQLITE_OPEN_READONLY | SQLITE_OPEN_PRIVATECACHE,
                           vfs ? vfs->zName : NULL);
}

/* The schema's file; NULL when there is none, or none that others can look into. */
static const char *file_of(sqlite3 *db, const char *schema) {
    const char *path = session_filename(db, schema);
    return path && !sqlite3_uri_boolean(path, "immutable", 0) ? path : NULL;
}

/* Whether this connection may keep a lock that another one would wait for in vain. */
static bool keeps_locks(sqlite3 *db, const char *schema) {
    sqlite3_stmt *stmt = NULL;
    char *ignored = NULL;
    bool keeps = false;
    if (inner_prepare(db, 0, &stmt, &ignored, "PRAGMA \"%w\".locking_mode", schema) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        keeps = sqlite3_stricmp((const char *)sqlite3_column_text(stmt, 0), "exclusive") == 0;
    sqlite3_finalize(stmt);
    sqlite3_free(ignored);
    return keeps;
}

int beside_find_table(sqlite3 *db, const char *schema, const char *table,
                      struct catalogue_store *store, uint32_t *table_id) {
    sqlite3 *other = NULL;
    char *ignored = NULL;
    int patience = keeps_locks(db, schema) ? 0 : inner_busy_timeout(db);
    const char *path = file_of(db, schema);
    *store = (struct catalogue_store){.directory = NULL};
    if (!path) return SQLITE_NOTFOUND;
    int rc = beside_open(db, schema, path, &other);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(other, patience);
        rc = catalogue_find_table(other, "main", table, store, table_id, &ignored);
    }
    sqlite3_close(other);
    sqlite3_free(ignored);
    if (rc == SQLITE_OK || (rc == SQLITE_BUSY && patience > 0)) return rc;
    return SQLITE_NOTFOUND;
}

int beside_is_newer(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                    struct kevo_commit seen, bool *newer, char **message) {
    sqlite3 *other = NULL;
    sqlite3_stmt *stmt = NULL;
    struct kevo_commit last;
    char *ignored = NULL;
    const char *path = file_of(db, schema);
    *newer = false;
    if (!path) return SQLITE_OK;
    int rc = beside_open(db, schema, path, &other);
    if (rc == SQLITE_OK) rc = marker_read(other, "main", store_row, &stmt, &last, &ignored);
    *newer = rc == SQLITE_OK && last.batch > seen.batch;
    rc &= 0xff;
    if (rc != SQLITE_NOMEM && rc != SQLITE_IOERR && rc != SQLITE_CANTOPEN) rc = SQLITE_OK;
    if (rc == SQLITE_IOERR || rc == SQLITE_CANTOPEN)
        *message = sqlite3_mprintf("kevo: %s: the store is newer than what this transaction sees; "
                                   "whether the file is as well cannot be looked up (%s)",
                                   path, other ? sqlite3_errmsg(other) : sqlite3_errstr(rc));
    sqlite3_finalize(stmt);
    sqlite3_close(other);
    sqlite3_free(ignored);
    return rc;
}
