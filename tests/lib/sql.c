#include "tests/lib/sql.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool sql_outside_check;

#define give_up(...)                                                                               \
    do {                                                                                           \
        if (!sql_outside_check) ck_abort_msg(__VA_ARGS__);                                         \
        fprintf(stderr, __VA_ARGS__);                                                              \
        _exit(1);                                                                                  \
    } while (0)

/* ---- connections ----------------------------------------------------------------- */

sqlite3 *sql_open_plain(const char *path) {
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI |
                            SQLITE_OPEN_EXRESCODE,
                        NULL) != SQLITE_OK)
        give_up("%s: %s", path, sqlite3_errmsg(db));
    return db;
}

int sql_load(sqlite3 *db) {
    const char *module = getenv("KEVO_MODULE");
    char *message = NULL;
    if (!module) give_up("KEVO_MODULE names no extension");
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
    int rc = sqlite3_load_extension(db, module, NULL, &message);
    if (rc != SQLITE_OK) give_up("%s: %s", module, message);
    return rc;
}

sqlite3 *sql_open(const char *path) {
    sqlite3 *db = sql_open_plain(path);
    sql_load(db);
    return db;
}

void sql_close(sqlite3 *db) {
    int rc = sqlite3_close(db);
    if (rc != SQLITE_OK) give_up("close: %s", sqlite3_errmsg(db));
}

const char *sql_file(const char *name) {
    static char paths[64][1200];
    static unsigned next;
    char *path = paths[next++ % 64];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_dir(), name);
    return path;
}

/* ---- statements -------------------------------------------------------------------- */

static int try_sql(sqlite3 *db, char *sql) {
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    return rc == SQLITE_OK ? rc : sqlite3_extended_errcode(db);
}

int sql_veto(void *arg) {
    (void)arg;
    return 1;
}

int sql_try(sqlite3 *db, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args);
    va_end(args);
    return try_sql(db, sql);
}

void sql_exec(sqlite3 *db, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args);
    va_end(args);
    char *again = sqlite3_mprintf("%s", sql);
    int rc = try_sql(db, sql);
    if (rc != SQLITE_OK) give_up("%s\n  gave %d, %s", again, rc, sqlite3_errmsg(db));
    sqlite3_free(again);
}

sqlite3_stmt *sql_prepare(sqlite3 *db, const char *format, ...) {
    va_list args;
    sqlite3_stmt *stmt = NULL;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args);
    va_end(args);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        give_up("%s\n  gave %s", sql, sqlite3_errmsg(db));
    sqlite3_free(sql);
    return stmt;
}

/* ---- rows ------------------------------------------------------------------------------ */

static void put_value(sqlite3_str *out, sqlite3_stmt *stmt, int i) {
    switch (sqlite3_column_type(stmt, i)) {
    case SQLITE_NULL: sqlite3_str_appendall(out, "NULL"); break;
    case SQLITE_INTEGER: sqlite3_str_appendf(out, "%lld", sqlite3_column_int64(stmt, i)); break;
    case SQLITE_FLOAT: sqlite3_str_appendf(out, "%!.17g", sqlite3_column_double(stmt, i)); break;
    case SQLITE_TEXT: sqlite3_str_appendf(out, "%s", sqlite3_column_text(stmt, i)); break;
    default: {
        const unsigned char *p = sqlite3_column_blob(stmt, i);
        int n = sqlite3_column_bytes(stmt, i);
        sqlite3_str_appendall(out, "x'");
        for (int k = 0; k < n; k++)
            sqlite3_str_appendf(out, "%02X", p[k]);
        sqlite3_str_appendall(out, "'");
    }
    }
}

static int put_rows(sqlite3_str *out, sqlite3_stmt *stmt) {
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (sqlite3_str_length(out)) sqlite3_str_appendall(out, ";");
        for (int i = 0; i < sqlite3_column_count(stmt); i++) {
            if (i) sqlite3_str_appendall(out, "|");
            put_value(out, stmt, i);
        }
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int put_all(sqlite3_str *out, sqlite3 *db, const char *sql) {
    int rc = SQLITE_OK;
    while (rc == SQLITE_OK && *sql) {
        sqlite3_stmt *stmt = NULL;
        rc = sqlite3_prepare_v2(db, sql, -1, &stmt, &sql);
        if (rc == SQLITE_OK && stmt) rc = put_rows(out, stmt);
        sqlite3_finalize(stmt);
    }
    return rc;
}

const char *sql_rows(sqlite3 *db, const char *format, ...) {
    static char *results[16];
    static unsigned next;
    va_list args;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args);
    va_end(args);
    sqlite3_str *out = sqlite3_str_new(NULL);
    int rc = put_all(out, db, sql);
    if (rc != SQLITE_OK)
        sqlite3_str_appendf(out, "error %d: %s", sqlite3_extended_errcode(db), sqlite3_errmsg(db));
    sqlite3_free(sql);
    char **slot = &results[next++ % 16];
    sqlite3_free(*slot);
    *slot = sqlite3_str_finish(out);
    if (!*slot) *slot = sqlite3_mprintf("");
    return *slot;
}

sqlite3_int64 sql_int(sqlite3 *db, const char *format, ...) {
    va_list args;
    sqlite3_stmt *stmt = NULL;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args);
    va_end(args);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW)
        give_up("%s\n  gave %s", sql, sqlite3_errmsg(db));
    sqlite3_int64 value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_free(sql);
    return value;
}

void sql_shell(const char *dir, const char *format, ...) {
    char *script, *command;
    va_list args;
    va_start(args, format);
    ck_assert_int_ge(vasprintf(&script, format, args), 0);
    va_end(args);
    ck_assert_int_ge(asprintf(&command, "cd '%s' && %s", dir, script), 0);
    ck_assert_int_eq(system(command), 0);
    free(script);
    free(command);
}
