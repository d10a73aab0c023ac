/* inner_sql.h - SQL that kevo runs by itself, on the connection of the application.
 *
 * The application's authorizer (sqlite3_set_authorizer()) is asked about it as about any other;
 * SQLite has no way around it but incremental blob handles. Statements that were prepared before
 * are no way either: setting an authorizer has all of them prepared again. What it denies is an
 * error that names the statement; what it ignores (SQLITE_IGNORE) is one where SQLite would make
 * an empty program of the statement, which would pass for success. */
#ifndef KEVO_EXT_INNER_SQL_H
#define KEVO_EXT_INNER_SQL_H

#include <stdarg.h>

#include "ext/sqlite_api.h"

/* Replace *message by the connection's own error, `sql` being the statement that failed when it was
 * prepared, or NULL. The result is `rc`. */
int inner_error(sqlite3 *db, int rc, const char *sql, char **message);

/* Prepare a statement in the format of sqlite3_mprintf(), `flags` as of sqlite3_prepare_v3(). An
 * SQLite code, with *message replaced; *stmt is NULL then. */
int inner_prepare(sqlite3 *db, unsigned flags, sqlite3_stmt **stmt, char **message,
                  const char *format, ...);
int inner_prepare_va(sqlite3 *db, unsigned flags, sqlite3_stmt **stmt, char **message,
                     const char *format, va_list args);

/* Run a statement that returns nothing. An SQLite code, with *message unless that is set. */
int inner_run(sqlite3 *db, char **message, const char *format, ...);

/* PRAGMA busy_timeout, in milliseconds; 0 too when the application has a busy handler of its own. */
int inner_busy_timeout(sqlite3 *db);

#endif
