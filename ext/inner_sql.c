#include "ext/inner_sql.h"

#include <string.h>

#include "ext/convert.h"

static char *denied(sqlite3 *db, int rc, const char *sql) {
    return sqlite3_mprintf("kevo: %s: the application's authorizer has to allow what kevo itself "
                           "runs: %s",
                           sqlite3_errcode(db) == rc ? sqlite3_errmsg(db) : sqlite3_errstr(rc),
                           sql);
}

int inner_error(sqlite3 *db, int rc, const char *sql, char **message) {
    char *text = rc == SQLITE_NOMEM         ? NULL
                 : rc == SQLITE_AUTH && sql ? denied(db, rc, sql)
                                            : sqlite3_mprintf("%s", sqlite3_errmsg(db));
    sqlite3_free(*message);
    *message = text;
    return rc;
}

static bool begins(const char *sql, const char *word) {
    return strncmp(sql, word, strlen(word)) == 0;
}

/* An ignored SELECT has no columns, and an ignored INSERT writes nothing. */
static bool is_ignored(sqlite3_stmt *stmt, const char *sql) {
    if (begins(sql, "SELECT ")) return sqlite3_column_count(stmt) == 0;
    return (begins(sql, "INSERT ") || begins(sql, "REPLACE ")) && sqlite3_stmt_readonly(stmt);
}

/* *sql is freed by the caller, also on failure. */
static int prepare(sqlite3 *db, unsigned flags, sqlite3_stmt **stmt, const char *sql) {
    *stmt = NULL;
    if (!sql) return SQLITE_NOMEM;
    int rc = sqlite3_prepare_v3(db, sql, -1, flags, stmt, NULL);
    if (rc != SQLITE_OK || !is_ignored(*stmt, sql)) return rc;
    sqlite3_finalize(*stmt);
    *stmt = NULL;
    return SQLITE_AUTH;
}

int inner_prepare_va(sqlite3 *db, unsigned flags, sqlite3_stmt **stmt, char **message,
                     const char *format, va_list args) {
    char *sql = sqlite3_vmprintf(format, args);
    int rc = prepare(db, flags, stmt, sql);
    if (rc != SQLITE_OK) inner_error(db, rc, sql, message);
    sqlite3_free(sql);
    return rc;
}

int inner_prepare(sqlite3 *db, unsigned flags, sqlite3_stmt **stmt, char **message,
                  const char *format, ...) {
    va_list args;
    va_start(args, format);
    int rc = inner_prepare_va(db, flags, stmt, message, format, args);
    va_end(args);
    return rc;
}

int inner_run(sqlite3 *db, char **message, const char *format, ...) {
    sqlite3_stmt *stmt;
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int rc = inner_prepare_va(db, 0, &stmt, &text, format, args);
    va_end(args);
    if (rc == SQLITE_OK) {
        sqlite3_step(stmt);
        rc = sqlite3_finalize(stmt);
        if (rc != SQLITE_OK) inner_error(db, rc, NULL, &text);
    }
    if (*message)
        sqlite3_free(text);
    else
        *message = text;
    return rc;
}

int inner_busy_timeout(sqlite3 *db) {
    sqlite3_stmt *stmt = NULL;
    int ms = 0;
    if (sqlite3_prepare_v2(db, "PRAGMA busy_timeout", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        ms = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    return ms;
}
