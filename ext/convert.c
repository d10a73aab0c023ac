#include "ext/convert.h"

#include <stdarg.h>
#include <string.h>

#include "engine/base/error.h"

int sqlite_code(int rc) {
    switch ((enum kevo_rc)rc) {
    case KEVO_OK: return SQLITE_OK;
    case KEVO_NOTFOUND: return SQLITE_NOTFOUND;
    case KEVO_NOMEM: return SQLITE_NOMEM;
    case KEVO_IOERR: return SQLITE_IOERR;
    case KEVO_FULL: return SQLITE_FULL;
    case KEVO_CORRUPT: return SQLITE_CORRUPT_VTAB;
    case KEVO_BUSY: return SQLITE_BUSY;
    case KEVO_SNAPSHOT: return SQLITE_BUSY_SNAPSHOT;
    case KEVO_DIVERGED: return SQLITE_CORRUPT_VTAB;
    case KEVO_INVALID: return SQLITE_ERROR;
    case KEVO_TOOBIG: return SQLITE_TOOBIG;
    case KEVO_READONLY: return SQLITE_READONLY;
    case KEVO_CANTOPEN: return SQLITE_CANTOPEN;
    case KEVO_FORKED: return SQLITE_MISUSE;
    case KEVO_CANCELLED: return SQLITE_INTERRUPT;
    case KEVO_NEWER: return SQLITE_CANTOPEN;
    }
    return SQLITE_ERROR;
}

/* What can be done in SQL about an error of the engine, which knows none. */
static const char *way_on(int rc) {
    if (rc == KEVO_DIVERGED)
        return ", or take the store as it is with SELECT kevo_adopt('TABLE'), and if its log "
               "may be damaged save it with SELECT kevo_repair('STORE', 'NEW_STORE') before";
    if (rc == KEVO_CORRUPT)
        return "; put back a backup, or save what can be read with SELECT kevo_repair('STORE', "
               "'NEW_STORE')";
    return "";
}

int report(char **message, const struct kevo_err *err) {
    sqlite3_free(*message);
    *message =
        err->rc == KEVO_NOMEM ? NULL : sqlite3_mprintf("kevo: %s%s", err->msg, way_on(err->rc));
    return sqlite_code(err->rc);
}

int value_of(sqlite3_value *v, struct value *out, struct kevo_err *err) {
    switch (sqlite3_value_type(v)) {
    case SQLITE_INTEGER: *out = value_integer(sqlite3_value_int64(v)); return 0;
    case SQLITE_FLOAT: *out = value_real(sqlite3_value_double(v)); return 0;
    case SQLITE_TEXT: {
        const unsigned char *text = sqlite3_value_text(v);
        if (!text) return kevo_nomem(err);
        *out = value_text(text, (size_t)sqlite3_value_bytes(v));
        return 0;
    }
    case SQLITE_BLOB: {
        const void *blob = sqlite3_value_blob(v);
        int len = sqlite3_value_bytes(v);
        if (!blob && len > 0) return kevo_nomem(err);
        *out = value_blob(blob, (size_t)len);
        return 0;
    }
    default: *out = value_null(); return 0;
    }
}

int value_in_place(sqlite3_value *v, bool utf8, struct value *out, struct kevo_err *err) {
    if (!utf8 || sqlite3_value_type(v) != SQLITE_TEXT) return value_of(v, out, err);
    const void *text = sqlite3_value_blob(v); /* NULL when it is empty */
    *out = value_text(text ? text : "", (size_t)sqlite3_value_bytes(v));
    return 0;
}

bool texts_are_utf8(sqlite3 *db) {
    sqlite3_stmt *stmt = NULL;
    bool utf8 = sqlite3_prepare_v2(db, "PRAGMA encoding", -1, &stmt, NULL) == SQLITE_OK &&
                sqlite3_step(stmt) == SQLITE_ROW &&
                sqlite3_stricmp((const char *)sqlite3_column_text(stmt, 0), "UTF-8") == 0;
    sqlite3_finalize(stmt);
    return utf8;
}

/* Not 0 if one of the bytes is. */
static inline uint64_t zeros_in(uint64_t word) {
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    return (word - ones) & ~word & tops;
}

/* Copy the word at `at`. Not 0 if one of its bytes is. */
static inline uint64_t copy_word(char *to, slice text, size_t at) {
    uint64_t word;
    memcpy(&word, text.data + at, 8);
    memcpy(to + at, &word, 8);
    return zeros_in(word);
}

/* Copy at least 8 bytes a word at a time, since they are few. Whether one of them is zero. */
static inline bool copy_short(char *to, slice text) {
    size_t last = text.len - 8;
    uint64_t zeros = copy_word(to, text, last);
    for (size_t at = 0; at < last; at += 8)
        zeros |= copy_word(to, text, at);
    return zeros != 0;
}

enum { SHORTEST_BYTES = 8, SHORT_BYTES = 64 };

static inline bool is_short(slice text) {
    return text.len >= SHORTEST_BYTES && text.len <= SHORT_BYTES;
}

static bool copy_text(char *to, slice text) {
    if (is_short(text)) return copy_short(to, text);
    if (text.len) memcpy(to, text.data, text.len);
    return text.len && memchr(text.data, 0, text.len);
}

static char *lend(struct lender **lender, size_t bytes) {
    return lender ? lender_take(lender, bytes) : NULL;
}

static void result_as_it_is(sqlite3_context *context, slice text) {
    sqlite3_result_text64(context, (const char *)text.data, text.len, SQLITE_TRANSIENT,
                          SQLITE_UTF8);
}

static __attribute__((noinline)) void result_any_text(sqlite3_context *context, slice text,
                                                      struct lender **lender) {
    char local[256];
    char *lent = lend(lender, text.len + 1);
    char *copy = lent ? lent : text.len < sizeof local ? local : NULL;
    if (!copy || copy_text(copy, text)) {
        if (lent) lender_return(lent);
        result_as_it_is(context, text);
        return;
    }
    copy[text.len] = 0;
    sqlite3_result_text(context, copy, -1, lent ? lender_return : SQLITE_TRANSIENT);
}

/* SQLite copies a text that is known to end in a zero byte together with it. One that is not is
 * copied once more, into memory allocated for it, when it is asked for by
 * sqlite3_column_text(). */
void result_text(sqlite3_context *context, slice text, struct lender **lender) {
    char local[SHORT_BYTES + 1];
    if (lender || !is_short(text)) {
        result_any_text(context, text, lender);
    } else if (copy_short(local, text)) {
        result_as_it_is(context, text);
    } else {
        local[text.len] = 0;
        sqlite3_result_text(context, local, -1, SQLITE_TRANSIENT);
    }
}

/* A NULL pointer would make NULL of an empty blob. */
void result_blob(sqlite3_context *context, slice blob, struct lender **lender) {
    char *lent = lend(lender, blob.len);
    if (lent && blob.len) memcpy(lent, blob.data, blob.len);
    const void *data = lent ? lent : blob.len ? (const void *)blob.data : "";
    sqlite3_result_blob64(context, data, blob.len, lent ? lender_return : SQLITE_TRANSIENT);
}

void result_text_to_compare(sqlite3_context *context, slice text) {
    sqlite3_result_text64(context, text.len ? (const char *)text.data : "", text.len,
                          SQLITE_TRANSIENT, SQLITE_UTF8);
}

void result_value(sqlite3_context *context, const struct value *v, struct lender **lender) {
    switch (v->type) {
    case VALUE_NULL: sqlite3_result_null(context); break;
    case VALUE_INTEGER: sqlite3_result_int64(context, v->integer); break;
    case VALUE_REAL: sqlite3_result_double(context, v->real); break;
    case VALUE_TEXT: result_text(context, v->bytes, lender); break;
    case VALUE_BLOB: result_blob(context, v->bytes, lender); break;
    }
}
