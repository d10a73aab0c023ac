/* linked.h - the extension linked in, so that the engine's allocator, disk and world are the
 * tests'. */
#ifndef KEVO_TESTS_LINKED_H
#define KEVO_TESTS_LINKED_H

#include <sqlite3.h>

int sqlite3_kevo_init(sqlite3 *db, char **message, const void *api);

/* As SQLite loads it, but that statically linked extensions have no other word for success. For
 * sqlite3_auto_extension(). */
static inline int linked_load(sqlite3 *db, char **message, const void *api) {
    int rc = sqlite3_kevo_init(db, message, api);
    return rc == SQLITE_OK_LOAD_PERMANENTLY ? SQLITE_OK : rc;
}

#endif
