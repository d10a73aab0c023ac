/* sql.h - connections with the extension loaded, and SQL in one line, for the tests of
 * the whole. The extension is the file that the environment variable KEVO_MODULE names.
 *
 * Functions that format take printf's conversions of sqlite3_mprintf: %q, %Q, %w too. */
#ifndef KEVO_TESTS_SQL_H
#define KEVO_TESTS_SQL_H

#include <sqlite3.h>

#include "tests/lib/harness.h"

/* Set in a process that is not Check's: failures are printed, and end it. */
extern bool sql_outside_check;

/* A connection to the file, made if missing, with the extension. */
sqlite3 *sql_open(const char *path);
/* Without it. */
sqlite3 *sql_open_plain(const char *path);
int sql_load(sqlite3 *db);
void sql_close(sqlite3 *db); /* must succeed; NULL is fine */

/* A file of that name in a new scratch directory. The string lives as long as the test. */
const char *sql_file(const char *name);

/* Run a command of the shell in the directory, printf's conversions; it must succeed. */
void sql_shell(const char *dir, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Run all statements of the text. The extended result code. */
int sql_try(sqlite3 *db, const char *format, ...);
/* The same, which must succeed. */
void sql_exec(sqlite3 *db, const char *format, ...);

/* A commit hook that refuses. */
int sql_veto(void *arg);

/* The rows of a query, or of several: columns separated by '|', rows by ';', values as
 * quote() writes them but for text, which is bare. An error is "error N: message". Lives
 * until 16 more calls. */
const char *sql_rows(sqlite3 *db, const char *format, ...);
sqlite3_int64 sql_int(sqlite3 *db, const char *format, ...);

/* Prepare one statement, which must succeed. */
sqlite3_stmt *sql_prepare(sqlite3 *db, const char *format, ...);

/* Expect those rows of the query. */
#define expect_rows(db, expected, ...)                                                             \
    do {                                                                                           \
        const char *rows_ = sql_rows(db, __VA_ARGS__);                                             \
        if (strcmp(rows_, expected) != 0)                                                          \
            ck_abort_msg("%s\n  gave     %s\n  expected %s", #__VA_ARGS__, rows_, expected);       \
    } while (0)

/* Expect the statement to fail with that code, extended or not, and a message that has
 * `part` in it. */
#define expect_error(db, code, part, ...)                                                          \
    do {                                                                                           \
        int rc_ = sql_try(db, __VA_ARGS__);                                                        \
        if ((rc_ != (code) && (rc_ & 0xff) != (code)) || !strstr(sqlite3_errmsg(db), part))        \
            ck_abort_msg("%s\n  gave     %d, %s\n  expected %d, %s", #__VA_ARGS__, rc_,            \
                         sqlite3_errmsg(db), code, part);                                          \
    } while (0)

#endif
