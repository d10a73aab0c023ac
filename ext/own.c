#include "ext/own.h"

/* The function is part of a statement; a transaction cannot end under one that writes. */
static bool is_in_a_write(sqlite3 *db) {
    for (sqlite3_stmt *s = sqlite3_next_stmt(db, NULL); s; s = sqlite3_next_stmt(db, s))
        if (sqlite3_stmt_busy(s) && !sqlite3_stmt_readonly(s)) return true;
    return false;
}

static int prepare(sqlite3 *db, sqlite3_stmt **stmt, char **message, char *sql) {
    int rc = sql ? sqlite3_prepare_v2(db, sql, -1, stmt, NULL) : SQLITE_NOMEM;
    if (rc != SQLITE_OK && sql) *message = sqlite3_mprintf("%s", sqlite3_errmsg(db));
    sqlite3_free(sql);
    return rc;
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
    int rc = prepare(db, &o->rollback, message, sqlite3_mprintf("ROLLBACK"));
    if (rc == SQLITE_OK)
        rc = prepare(db, &o->write, message,
                     sqlite3_mprintf("UPDATE \"%w\".kevo_store SET id = id WHERE 0", schema));
    if (rc == SQLITE_OK) rc = run_sql(db, message, "BEGIN");
    o->begun = rc == SQLITE_OK;
    if (rc != SQLITE_OK) release(o); /* an interrupt may come when BEGIN has begun */
    return rc;
}

int own_end(struct own *o, int rc, char **message) {
    if (!o->begun) return rc;
    if (rc == SQLITE_OK) rc = run_sql(o->db, message, "COMMIT");
    release(o);
    return rc;
}
