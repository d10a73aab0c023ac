/* shadow.h - statements about the ordinary tables in which a database keeps what it knows of its
 * kevo tables: their catalogue (catalogue.h) and the markers (marker.h).
 *
 * A table that is missing is none that the application has forgotten: what SQLite says of it is
 * explained. All functions return SQLite codes; *message is replaced on failure, by
 * sqlite3_mprintf. */
#ifndef KEVO_EXT_SHADOW_H
#define KEVO_EXT_SHADOW_H

#include "ext/sqlite_api.h"

/* The connection's own error as a message; the result is `rc`. */
int shadow_fail(sqlite3 *db, int rc, char **message);

/* SQLITE_CORRUPT_VTAB; `what` begins with the table's name. */
int shadow_corrupt(const char *schema, const char *what, char **message);

/* A statement in the format of sqlite3_mprintf(), which takes the schema's name with %w; to be
 * kept or finalized by the caller. */
int shadow_prepare(sqlite3 *db, sqlite3_stmt **stmt, char **message, const char *format, ...);

/* Run a statement that returns nothing, and finalize it. What it inserts is no
 * business of last_insert_rowid(). */
int shadow_finish(sqlite3 *db, sqlite3_stmt *stmt, char **message);

/* The same of an UPDATE of one row at most, whose RETURNING tells whether it has what was set:
 * SQLITE_AUTH when it has not, since an authorizer ignores that. */
int shadow_update(sqlite3 *db, sqlite3_stmt *stmt, char **message);

#endif
