#include "ext/beside.h"

#include "ext/marker.h"

int beside_open(sqlite3 *db, const char *schema, const char *path, sqlite3 **other) {
    sqlite3_vfs *vfs = NULL;
    sqlite3_file_control(db, schema, SQLITE_FCNTL_VFS_POINTER, &vfs);
    return sqlite3_open_v2(path, other, SQLITE_OPEN_READONLY, vfs ? vfs->zName : NULL);
}

bool beside_is_newer(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                     struct kevo_commit seen) {
    sqlite3 *other = NULL;
    sqlite3_stmt *stmt = NULL;
    struct kevo_commit last;
    char *ignored = NULL;
    const char *path = sqlite3_db_filename(db, schema);
    if (!path || !*path) return false;
    int rc = beside_open(db, schema, path, &other);
    if (rc == SQLITE_OK) rc = marker_read(other, "main", store_row, &stmt, &last, &ignored);
    sqlite3_finalize(stmt);
    sqlite3_close(other);
    sqlite3_free(ignored);
    return rc == SQLITE_OK && last.batch > seen.batch;
}
