#include "ext/reprepare.h"

#include <string.h>

/* Whether a statement may have changed something before its UPDATE of a kevo table looks for rows:
 * only one with triggers, which are programs of their own. */
static bool runs_triggers(sqlite3 *db, sqlite3_stmt *stmt) {
    sqlite3_stmt *explained = NULL;
    char *sql = sqlite3_mprintf("EXPLAIN %s", sqlite3_sql(stmt));
    bool program = false;
    int rc = sql ? sqlite3_prepare_v2(db, sql, -1, &explained, NULL) : SQLITE_NOMEM;
    while (rc == SQLITE_OK && !program && (rc = sqlite3_step(explained)) == SQLITE_ROW) {
        const char *opcode = (const char *)sqlite3_column_text(explained, 1);
        program = !opcode || strcmp(opcode, "Program") == 0;
        rc = SQLITE_OK;
    }
    sqlite3_finalize(explained);
    sqlite3_free(sql);
    return program || rc != SQLITE_DONE;
}

bool reprepare_is_safe(sqlite3 *db) {
    sqlite3_stmt *writer = NULL;
    unsigned running = 0, writing = 0;
    if (!sqlite3_get_autocommit(db)) return true;
    for (sqlite3_stmt *s = sqlite3_next_stmt(db, NULL); s; s = sqlite3_next_stmt(db, s)) {
        if (!sqlite3_stmt_busy(s)) continue;
        running++;
        if (sqlite3_stmt_readonly(s)) continue;
        writing++;
        writer = s;
    }
    return running == 1 || writing != 1 || !runs_triggers(db, writer);
}
