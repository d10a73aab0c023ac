/* reprepare.h - SQLITE_SCHEMA as an answer to the statement that runs: SQLite prepares it again by
 * itself and runs it from its beginning. */
#ifndef KEVO_EXT_REPREPARE_H
#define KEVO_EXT_REPREPARE_H

#include <stdbool.h>

#include "ext/sqlite_api.h"

/* For the xFilter of an UPDATE: whether nothing is done twice then. What triggers have changed
 * before is undone, but not in autocommit mode (3.54) if the statement is the only one that writes
 * of several that run. Without memory false. */
bool reprepare_is_safe(sqlite3 *db);

#endif
