/* kevo_ext.c - where SQLite enters: .load kevo, or sqlite3_kevo_init() of a host
 * program that links it statically (compiled with SQLITE_CORE). */
#include <pthread.h>
#include <sqlite3ext.h>
#include <string.h>

#include "ext/heir.h"
#include "ext/lender.h"
#include "ext/reports.h"
#include "ext/store_function.h"
#include "ext/vtab.h"

SQLITE_EXTENSION_INIT1

enum { OLDEST_SQLITE = 3040000 };

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
int sqlite3_kevo_init(sqlite3 *db, char **message, const sqlite3_api_routines *api);

static void connection_free(void *arg) {
    struct connection *c = arg;
    session_free_all(c);
    lender_free(c->lender);
    sqlite3_free(c);
}

/* Whether a PRAGMA lists `name`. With a SELECT, of a table or, in newer versions, of none, SQLite
 * would read the schema first, and wait for whoever writes to it. */
static bool lists(sqlite3 *db, const char *pragma, const char *name) {
    sqlite3_stmt *stmt = NULL;
    bool listed = false;
    if (sqlite3_prepare_v2(db, pragma, -1, &stmt, NULL) == SQLITE_OK)
        while (!listed && sqlite3_step(stmt) == SQLITE_ROW)
            listed = sqlite3_stricmp((const char *)sqlite3_column_text(stmt, 0), name) == 0;
    sqlite3_finalize(stmt);
    return listed;
}

/* Loading twice must not take a store in memory away from the tables that use it. */
static bool is_loaded(sqlite3 *db) {
    return lists(db, "PRAGMA module_list", "kevo");
}

/* Whether SQLite was compiled so; true when in doubt, which is never wrong. */
static bool patterns_match_blobs(sqlite3 *db) {
    return !lists(db, "PRAGMA compile_options", "LIKE_DOESNT_MATCH_BLOBS");
}

/* Each connection's load brings the same table of functions, while threads of others call
 * through it: it is written once. */
static void set_api(const sqlite3_api_routines *api) {
#ifdef SQLITE_CORE
    (void)api;
#else
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    if (sqlite3_api != api) SQLITE_EXTENSION_INIT2(api);
    pthread_mutex_unlock(&mutex);
#endif
}

int sqlite3_kevo_init(sqlite3 *db, char **message, const sqlite3_api_routines *api) {
    set_api(api);
    if (sqlite3_libversion_number() < OLDEST_SQLITE) {
        *message =
            sqlite3_mprintf("kevo needs SQLite 3.40.0 or newer; this is %s", sqlite3_libversion());
        return SQLITE_ERROR;
    }
    /* The code stays in memory: other connections' stores have threads in it. */
    if (is_loaded(db)) return SQLITE_OK_LOAD_PERMANENTLY;
    struct connection *c = sqlite3_malloc64(sizeof *c);
    if (!c) return SQLITE_NOMEM;
    memset(c, 0, sizeof *c);
    c->db = db;
    c->patterns_match_blobs = patterns_match_blobs(db);
    /* The module owns the connection's data from here on, also when this fails. */
    int rc = sqlite3_create_module_v2(db, "kevo", kevo_module(), c, connection_free);
    if (rc == SQLITE_OK) rc = functions_register(c);
    if (rc == SQLITE_OK) rc = heir_register(c);
    if (rc == SQLITE_OK) rc = reports_register(c);
    if (rc == SQLITE_OK) rc = store_function_register(c, &stats_function);
    if (rc == SQLITE_OK) rc = store_function_register(c, &options_function);
    return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}
