#include "ext/equality.h"

static const char question[] = "SELECT ?1 = CAST(?2 AS NUMERIC)";

static int ask(sqlite3_stmt *stmt, slice text, sqlite3_value *number, bool *equal) {
    int rc = sqlite3_bind_text64(stmt, 1, text.len ? (const char *)text.data : "", text.len,
                                 SQLITE_STATIC, SQLITE_UTF8);
    if (rc == SQLITE_OK) rc = sqlite3_bind_value(stmt, 2, number);
    if (rc != SQLITE_OK) return rc;
    rc = sqlite3_step(stmt);
    *equal = rc == SQLITE_ROW && sqlite3_column_int(stmt, 0);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

int text_equals_number(sqlite3 *db, sqlite3_stmt **stmt, slice text, sqlite3_value *number,
                       bool *equal) {
    int rc = *stmt ? SQLITE_OK : sqlite3_prepare_v2(db, question, -1, stmt, NULL);
    *equal = false;
    if (rc != SQLITE_OK) return rc;
    rc = ask(*stmt, text, number, equal);
    sqlite3_reset(*stmt);
    sqlite3_clear_bindings(*stmt);
    return rc;
}
