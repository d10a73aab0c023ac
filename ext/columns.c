/* What a cursor says of the row that it stands on. */
#include "engine/base/error.h"
#include "ext/cursor.h"
#include "sql/indexcode.h"

static void find_start(struct cursor *c) {
    struct key_range r = cursor_range(c);
    c->start_known = true;
    if (r.point) return;
    c->place = c->start = keycode_common(c->keys, c->table->table_id, r.lower, r.upper);
}

static inline int decode_column(struct cursor *c, struct key_place *from, unsigned n,
                                struct value *v, struct kevo_err *err) {
    return c->plan.index ? indexcode_column(c->keys, c->key, c->row, from, n, v, &c->scratch, err)
                         : keycode_column_from(c->keys, c->key, from, n, v, &c->scratch, err);
}

/* Decode a column that all keys of the range have in common, and keep it. */
static int keep_common(struct cursor *c, unsigned n, struct kevo_err *err) {
    struct common *common = &c->common;
    struct key_place from = {0};
    common->known = false;
    int rc = decode_column(c, &from, n, &common->value, err);
    if (rc) return rc;
    if (common->value.type >= VALUE_TEXT && common->value.bytes.len) {
        if (!buf_set(&common->bytes, common->value.bytes)) return kevo_nomem(err);
        common->value.bytes = buf_slice(&common->bytes);
    }
    common->n = n;
    common->known = true;
    return 0;
}

/* Of a column of type ANY each entry of an index says what its numbers are. */
static bool is_common(const struct cursor *c, unsigned n) {
    return n < c->start.column && c->keys->key[n].type != COLUMN_ANY;
}

static inline int key_column(struct cursor *c, unsigned n, struct value *v, struct kevo_err *err) {
    if (!c->start_known) find_start(c);
    if (!is_common(c, n)) {
        if (n < c->place.column) c->place = c->start;
        return decode_column(c, &c->place, n, v, err);
    }
    if (!c->common.known || c->common.n != n) {
        int rc = keep_common(c, n, err);
        if (rc) return rc;
    }
    *v = c->common.value;
    return 0;
}

int cursor_key_column(struct cursor *c, unsigned n, struct value *v, struct kevo_err *err) {
    return key_column(c, n, v, err);
}

/* c->lookup.key is the key of the row that the entry is of. */
static int find_row_key(struct cursor *c) {
    struct vtab *t = c->table;
    struct kevo_err err;
    if (c->lookup.have_key) return SQLITE_OK;
    if (!c->start_known) find_start(c);
    if (indexcode_row_key(t->schema, c->keys, t->table_id, c->key, &c->place, t->values,
                          &c->scratch, &c->lookup.key, &err))
        return vtab_report(t, &err);
    c->lookup.have_key = true;
    return SQLITE_OK;
}

/* The row of the entry is not there. A statement of this connection may have deleted it since
 * the cursor came to the entry, which is then gone as well: columns of such a row are NULL, as
 * in SQLite. */
static int miss_row(struct cursor *c, const struct kevo_read *read) {
    struct vtab *t = c->table;
    struct kevo_value entry;
    struct kevo_err err;
    int rc = kevo_get(session_of(c)->store, read, c->key, &entry, &err);
    if (rc == 0) {
        kevo_value_release(&entry);
        rc = kevo_fail(&err, KEVO_CORRUPT,
                       "index %s of table %s has an entry of a row that is not there: SELECT "
                       "kevo_reindex('%s')",
                       c->keys->name, t->name, t->name);
    }
    return rc == KEVO_NOTFOUND ? SQLITE_OK : vtab_report(t, &err);
}

/* Get the row of the entry that the cursor stands on; c->reader is over it. */
static int look_up_row(struct cursor *c) {
    struct kevo_read read;
    struct kevo_err err;
    if (c->lookup.have_row) return SQLITE_OK;
    int rc = find_row_key(c);
    if (rc == SQLITE_OK) rc = cursor_read_now(c, &read);
    if (rc != SQLITE_OK) return rc;
    rc = kevo_get_again(session_of(c)->store, &read, buf_slice(&c->lookup.key), &c->lookup.value,
                        &err);
    if (rc < 0) return vtab_report(c->table, &err);
    if (rc == KEVO_NOTFOUND) {
        c->reader = row_reader_of(slice_of(NULL, 0));
        return miss_row(c, &read);
    }
    c->lookup.have_row = true;
    c->reader = row_reader_of(c->lookup.value.slice);
    return SQLITE_OK;
}

/* In a walk of many rows SQLite's registers keep their memory from one to the next. */
static struct lender **lender_of(struct cursor *c) {
    return c->on_point ? &c->table->connection->lender : NULL;
}

/* The n-th column of the key that the cursor stands on. */
static int result_key_column(struct cursor *c, sqlite3_context *context, unsigned n) {
    struct kevo_err err;
    struct value v;
    if (key_column(c, n, &v, &err)) return vtab_report(c->table, &err);
    result_value(context, &v, lender_of(c));
    return SQLITE_OK;
}

/* A column of the row that c->reader is over. */
static int result_read_column(struct cursor *c, sqlite3_context *context, unsigned index) {
    struct kevo_err err;
    struct value v;
    if (row_reader_column(&c->reader, index, &v, &err)) return vtab_report(c->table, &err);
    result_value(context, &v, lender_of(c));
    return SQLITE_OK;
}

static int result_row_column(struct cursor *c, sqlite3_context *context, unsigned index) {
    int rc = c->plan.index ? look_up_row(c) : SQLITE_OK;
    return rc == SQLITE_OK ? result_read_column(c, context, index) : rc;
}

/* The same of a row that the cursor stands on. */
static inline int result_stored(struct cursor *c, sqlite3_context *context, unsigned index) {
    enum value_type type;
    slice bytes;
    if (!row_reader_bytes(&c->reader, index, &type, &bytes))
        return result_read_column(c, context, index);
    if (type == VALUE_TEXT)
        result_text(context, bytes, lender_of(c));
    else
        result_blob(context, bytes, lender_of(c));
    return SQLITE_OK;
}

/* The hidden column: the encoded key of the row. */
static int result_whole_key(struct cursor *c, sqlite3_context *context) {
    slice key = c->key;
    if (c->plan.index) {
        int rc = find_row_key(c);
        if (rc != SQLITE_OK) return rc;
        key = buf_slice(&c->lookup.key);
    }
    sqlite3_result_blob64(context, key.data, key.len, SQLITE_TRANSIENT);
    return SQLITE_OK;
}

/* Where SQLite asks twice for the key of each row, it tests the first one against a bound, and
 * shows the second. */
static bool is_tested(struct cursor *c) {
    return c->asked++ == 0 && c->asked_before > 1;
}

/* The only column of the key that the cursor stands on, as it is there. */
static slice verbatim_of(const struct cursor *c) {
    size_t at = c->verbatim_at < c->key.len ? c->verbatim_at : c->key.len;
    return slice_of(c->key.data + at, c->key.len - at);
}

/* Tell it where the key is one column that needs no decoding. Statements that write do not show it
 * to anybody: they compare it, and put it into a list. */
static int result_verbatim(struct cursor *c, sqlite3_context *context) {
    if (c->verbatim_type == VALUE_BLOB) {
        result_blob(context, verbatim_of(c), lender_of(c));
    } else if (is_tested(c) || c->of_writer || c->plan.presumed) {
        result_text_to_compare(context, verbatim_of(c));
    } else {
        result_text(context, verbatim_of(c), lender_of(c));
    }
    return SQLITE_OK;
}

/* An UPDATE that leaves a column alone need not carry it along. Of the key it is worth asking where
 * one row is changed; that a rowid is left alone is seen by its value. */
static bool may_keep_key(const struct cursor *c) {
    return c->plan.presumed && c->table->schema->kind != SCHEMA_ROWID;
}

/* Any column, of any plan and statement. */
static __attribute__((noinline)) int result_column(struct cursor *c, sqlite3_context *context,
                                                   int column) {
    const struct schema *s = c->table->schema;
    int rc = c->counting.refused ? SQLITE_OK : cursor_be_seen(c);
    if (rc != SQLITE_OK) return rc;
    bool hidden = column == (int)s->column_count;
    int index = hidden ? -1 : s->row_index[column];
    if ((index >= 0 || may_keep_key(c)) && sqlite3_vtab_nochange(context)) return SQLITE_OK;
    if (hidden) return result_whole_key(c, context);
    if (index >= 0 && !c->plan.index) return result_row_column(c, context, (unsigned)index);
    if (c->verbatim_at) return result_verbatim(c, context);
    int n = schema_key_position(c->keys, column);
    return n >= 0 ? result_key_column(c, context, (unsigned)n)
                  : result_row_column(c, context, (unsigned)index);
}

/* What a walk over the rows of a table asks for is told apart at once. */
int cursor_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column) {
    struct cursor *c = cursor_of(cursor);
    if (!c->counting.refused || column >= c->plain_count) return result_column(c, context, column);
    int index = c->plain_index[column];
    if (index >= 0) return result_stored(c, context, (unsigned)index);
    return c->verbatim_at ? result_verbatim(c, context) : result_column(c, context, column);
}

int cursor_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid) {
    struct cursor *c = cursor_of(cursor);
    struct kevo_err err;
    int64_t value;
    int rc = c->counting.refused ? SQLITE_OK : cursor_be_seen(c);
    if (rc == SQLITE_OK && c->plan.index) rc = find_row_key(c);
    if (rc != SQLITE_OK) return rc;
    if (keycode_rowid(c->plan.index ? buf_slice(&c->lookup.key) : c->key, &value, &err))
        return vtab_report(c->table, &err);
    *rowid = value;
    return SQLITE_OK;
}
