/* beside.h - another connection to a database file, to see what this one's does not show. */
#ifndef KEVO_EXT_BESIDE_H
#define KEVO_EXT_BESIDE_H

#include <stdbool.h>

#include "ext/catalogue.h"

/* Open `path`, which may be the schema's own file, for reading, through the schema's VFS. A SQLite
 * code; *other is the caller's to close, also after a failure, and may be NULL then. */
int beside_open(sqlite3 *db, const char *schema, const char *path, sqlite3 **other);

/* catalogue_find_table() by another connection, for a transaction that has not looked into the schema
 * yet: looking there by itself would begin to read, and SQLite has nobody wait for its write lock who
 * has begun to read. SQLITE_BUSY when this connection's busy_timeout is over; SQLITE_NOTFOUND when the
 * other cannot tell, or there is no file. *store is valid in any case. */
int beside_find_table(sqlite3 *db, const char *schema, const char *table,
                      struct catalogue_store *store, uint32_t *table_id);

/* Whether the schema's file has by now a newer commit of the store in that row than the one that
 * this connection's transaction sees. False as well when another connection cannot tell: it has no
 * key to the file, or this one's lock is exclusive, which nobody commits beside.
 * SQLITE_NOMEM, SQLITE_IOERR, SQLITE_CANTOPEN: it may tell the next time. */
int beside_is_newer(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                    struct kevo_commit seen, bool *newer, char **message);

#endif
