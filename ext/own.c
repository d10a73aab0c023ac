#include "ext/own.h"

#include "ext/inner_sql.h"

/* The function is part of a statement; a transaction cannot end under one that writes. */
static bool is_in_a_write(sqlite3 *db) {
    for (sqlite3_stmt *s = sqlite3_next_stmt(db, NULL); s; s = sqlite3_next_stmt(db, s))
        if (sqlite3_stmt_busy(s) && !sqlite3_stmt_readonly(s)) return true;
    return false;
}

/* Run BEGIN or COMMIT, which an authorizer can have SQLite ignore. */
static int run(sqlite3 *db, const char *word, bool autocommit, char **message) {
    int rc = inner_run(db, message, "%s", word);
    if (rc != SQLITE_OK || !sqlite3_get_autocommit(db) == !autocommit) return rc;
    *message = sqlite3_mprintf("kevo: the application's authorizer has to allow what kevo itself "
                               "runs: %s",
                               word);
    return SQLITE_AUTH;
}

/* No transaction is left. */
static void release(struct own *o) {
    if (!sqlite3_get_autocommit(o->db)) sqlite3_step(o->rollback);
    if (!sqlite3_get_autocommit(o->db)) sqlite3_step(o->write);
    sqlite3_finalize(o->rollback);
    sqlite3_finalize(o->write);
}

int own_begin(struct own *o, sqlite3 *db, const char *schema, char **message) {
    *o = (struct own){.db = db};
    if (is_in_a_write(db)) {
        *message = sqlite3_mprintf("kevo: call this in a SELECT of its own: it cannot be part of a "
                                   "statement that writes");
        return SQLITE_ERROR;
    }
    if (!sqlite3_get_autocommit(db)) return SQLITE_OK;
    int rc = inner_prepare(db, 0, &o->rollback, message, "ROLLBACK");
    if (rc == SQLITE_OK)
        rc = inner_prepare(db, 0, &o->write, message,
                           "UPDATE \"%w\".kevo_store SET id = id WHERE 0", schema);
    if (rc == SQLITE_OK) rc = run(db, "BEGIN", false, message);
    o->begun = rc == SQLITE_OK;
    if (rc != SQLITE_OK) release(o); /* an interrupt may come when BEGIN has begun */
    return rc;
}

int own_end(struct own *o, int rc, char **message) {
    if (!o->begun) return rc;
    if (rc == SQLITE_OK) rc = run(o->db, "COMMIT", true, message);
    release(o);
    return rc;
}
