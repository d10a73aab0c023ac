/* own.h - a transaction of a function's own.
 *
 * SELECT kevo_...() changes something outside of a transaction: it then begins and ends one, and
 * must leave none behind, whatever fails. When the connection is interrupted SQLite runs no
 * statement any more until the SELECT is over, not even ROLLBACK; but a statement that would write
 * takes the transaction with it as it is interrupted (sqlite3VdbeHalt: what an interrupted UPDATE
 * does). So one is kept ready. */
#ifndef KEVO_EXT_OWN_H
#define KEVO_EXT_OWN_H

#include "ext/convert.h"

struct own {
    sqlite3 *db;
    bool begun;             /* else the connection is in a transaction already */
    sqlite3_stmt *rollback; /* ROLLBACK */
    sqlite3_stmt *write;    /* a change of no row */
};

/* Begin a transaction unless there is one, `schema` being one with kevo tables. Refused in a
 * statement that writes. After an error there is nothing to end. */
int own_begin(struct own *o, sqlite3 *db, const char *schema, char **message);

/* Commit what was begun when `rc` is SQLITE_OK, else or when that fails roll it back; in a
 * transaction that was there before do neither. The result is the first error. */
int own_end(struct own *o, int rc, char **message);

#endif
