/* equality.h - whether a text is equal to a number, asked of SQLite itself: how it reads numbers
 * differs from release to release. */
#ifndef KEVO_EXT_EQUALITY_H
#define KEVO_EXT_EQUALITY_H

#include <stdbool.h>

#include "engine/base/slice.h"
#include "ext/sqlite_api.h"

/* As a comparison of numbers or one of texts would find. *stmt, NULL at first, is kept for the
 * next question; the caller finalizes it. An SQLite code. */
int text_equals_number(sqlite3 *db, sqlite3_stmt **stmt, slice text, sqlite3_value *number,
                       bool *equal);

#endif
