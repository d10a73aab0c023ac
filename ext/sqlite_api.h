/* sqlite_api.h - SQLite as a loadable extension sees it: through a table of
 * function pointers, which kevo_ext.c receives. */
#ifndef KEVO_EXT_SQLITE_API_H
#define KEVO_EXT_SQLITE_API_H

#include <sqlite3ext.h>

#ifndef SQLITE_CORE
SQLITE_EXTENSION_INIT3
#endif

#endif
