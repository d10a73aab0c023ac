#include "ext/shadow.h"

#include <stdarg.h>
#include <string.h>

#include "ext/inner_sql.h"

/* SQLite names a table that the user has not made. */
static void explain_missing(char **message) {
    static const char missing[] = "no such table: ";
    if (!*message || strncmp(*message, missing, sizeof missing - 1) != 0) return;
    const char *way = strstr(*message, "kevo_marker") ? ", or take the store as it is: SELECT "
                                                        "kevo_adopt('TABLE')"
                                                      : ", or DROP TABLE all kevo tables";
    char *longer = sqlite3_mprintf("kevo: %s: kevo keeps there what was committed, and refuses to "
                                   "guess; put back a backup of the database file%s",
                                   *message, way);
    if (!longer) return;
    sqlite3_free(*message);
    *message = longer;
}

int shadow_fail(sqlite3 *db, int rc, char **message) {
    inner_error(db, rc, NULL, message);
    explain_missing(message);
    return rc;
}

int shadow_corrupt(const char *schema, const char *what, char **message) {
    sqlite3_free(*message);
    *message = sqlite3_mprintf("kevo: %s.%s", schema, what);
    return SQLITE_CORRUPT_VTAB;
}

int shadow_prepare(sqlite3 *db, sqlite3_stmt **stmt, char **message, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int rc = inner_prepare_va(db, SQLITE_PREPARE_PERSISTENT, stmt, message, format, args);
    va_end(args);
    if (rc != SQLITE_OK) explain_missing(message);
    return rc;
}

int shadow_finish(sqlite3 *db, sqlite3_stmt *stmt, char **message) {
    sqlite3_int64 rowid = sqlite3_last_insert_rowid(db);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_DONE || rc == SQLITE_ROW) rc = SQLITE_OK;
    if (rc != SQLITE_OK) shadow_fail(db, rc, message);
    sqlite3_finalize(stmt);
    sqlite3_set_last_insert_rowid(db, rowid);
    return rc;
}

int shadow_update(sqlite3 *db, sqlite3_stmt *stmt, char **message) {
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW && !sqlite3_column_int(stmt, 0))
        rc = inner_error(db, SQLITE_AUTH, sqlite3_sql(stmt), message);
    else if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        rc = SQLITE_OK;
    else
        shadow_fail(db, rc, message);
    sqlite3_finalize(stmt);
    return rc;
}
