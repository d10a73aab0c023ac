#include "ext/equality.h"

/* As numbers, and as texts: a number's text may have fewer digits than it, and infinity's is a
 * word. */
static const char question[] = "SELECT ?1 = CAST(?2 AS NUMERIC) OR ?1 = CAST(?2 AS TEXT)";

/* Digits that nobody reads in different ways, as most keys are that a number is compared with. */
static bool read_digits(slice text, sqlite3_int64 *value) {
    enum { SURE_DIGITS = 15 };
    *value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        if (i < SURE_DIGITS) *value = *value * 10 + (text.data[i] - '0');
    }
    return text.len > 0 && text.len <= SURE_DIGITS;
}

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
    sqlite3_int64 value;
    *equal = false;
    if (sqlite3_value_type(number) == SQLITE_INTEGER && read_digits(text, &value)) {
        *equal = value == sqlite3_value_int64(number);
        return SQLITE_OK;
    }
    int rc = *stmt ? SQLITE_OK : sqlite3_prepare_v2(db, question, -1, stmt, NULL);
    if (rc != SQLITE_OK) return rc;
    rc = ask(*stmt, text, number, equal);
    sqlite3_reset(*stmt);
    sqlite3_clear_bindings(*stmt);
    return rc;
}
