#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "ext/vtab.h"

/* One row's change. All of it happens or nothing: SQLite makes no savepoint for a
 * statement that changes one row. */
struct change {
    struct vtab *t;
    bool has_old;      /* DELETE or UPDATE: t->old_key is the row's */
    int64_t rowid;     /* of the new row, in rowid tables */
    bool have_old_row; /* t->old_row was read */
    bool old_is_gone;  /* ... but is not there */
    bool key_is_kept;  /* no column of the key is named by the UPDATE: t->key is not made */
};

static char **message_of(struct vtab *t) {
    sqlite3_free(t->base.zErrMsg);
    t->base.zErrMsg = NULL;
    return &t->base.zErrMsg;
}

/* ---- constraints ---------------------------------------------------------------------- */

/* SQLite carries out the conflict clause of a plain SQLITE_CONSTRAINT; an extended code
 * it takes for ABORT. */
static int constraint_code(struct vtab *t, int extended) {
    return sqlite3_vtab_on_conflict(t->connection->db) == SQLITE_ABORT ? extended
                                                                       : SQLITE_CONSTRAINT;
}

/* `s` is the table, for its primary key, or one of its indexes. */
static int unique_failed(struct vtab *t, const struct schema *s) {
    char **message = message_of(t);
    sqlite3_str *text = sqlite3_str_new(t->connection->db);
    sqlite3_str_appendf(text, "UNIQUE constraint failed: ");
    unsigned count = s->number ? s->lead_count : s->key_count;
    for (unsigned i = 0; i < count; i++) {
        int column = s->key[i].column;
        sqlite3_str_appendf(text, "%s%s.%s", i ? ", " : "", t->name,
                            column < 0 ? "rowid" : s->columns[column].name);
    }
    *message = sqlite3_str_finish(text);
    if (s->number) return constraint_code(t, SQLITE_CONSTRAINT_UNIQUE);
    bool hidden_rowid = s->key[0].column < 0;
    return constraint_code(t,
                           hidden_rowid ? SQLITE_CONSTRAINT_ROWID : SQLITE_CONSTRAINT_PRIMARYKEY);
}

static int not_null_failed(struct vtab *t, const struct kevo_err *err) {
    *message_of(t) = sqlite3_mprintf("%s", err->msg);
    return constraint_code(t, SQLITE_CONSTRAINT_NOTNULL);
}

/* A code of its own: SQLite would swallow a constraint error under OR IGNORE, and a
 * value of the wrong type is an error always. */
static int mismatch(struct vtab *t, const char *message) {
    *message_of(t) = sqlite3_mprintf("%s", message);
    return SQLITE_MISMATCH;
}

/* ---- the new row's values ------------------------------------------------------------- */

static int accept_value(struct vtab *t, unsigned column, sqlite3_value *v) {
    struct kevo_err err;
    struct value *out = &t->values[column];
    bool is_text = t->schema->columns[column].type == COLUMN_TEXT;
    if (value_in_place(v, is_text && t->utf8, out, &err)) return vtab_report(t, &err);
    enum column_accept accept = column_accept(t->schema, column, out, false, &err);
    if (accept == COLUMN_WANTS_TEXT) {
        const unsigned char *text = sqlite3_value_text(v);
        if (!text) return SQLITE_NOMEM;
        *out = value_text(text, (size_t)sqlite3_value_bytes(v));
    } else if (accept == COLUMN_WANTS_NUMBER) {
        sqlite3_value_numeric_type(v);
        if (value_of(v, out, &err)) return vtab_report(t, &err);
    }
    if (accept == COLUMN_WANTS_TEXT || accept == COLUMN_WANTS_NUMBER)
        accept = column_accept(t->schema, column, out, true, &err);
    if (accept == COLUMN_OK) return SQLITE_OK;
    return accept == COLUMN_IS_NULL ? not_null_failed(t, &err) : mismatch(t, err.msg);
}

/* The row that an UPDATE starts from, for the columns that it does not name. */
static int read_old_row(struct change *c) {
    struct vtab *t = c->t;
    struct kevo_read read = {.txn = t->session->txn};
    struct kevo_value v;
    struct kevo_err err;
    if (c->have_old_row) return SQLITE_OK;
    int rc = kevo_get(t->session->store, &read, buf_slice(&t->old_key), &v, &err);
    if (rc == KEVO_NOTFOUND) {
        c->old_is_gone = true;
        rc = kevo_fail(&err, KEVO_CORRUPT, "table %s: a row to be updated is not there", t->name);
    } else if (rc == 0 && !buf_set(&t->old_row, v.slice)) {
        rc = kevo_nomem(&err);
    }
    kevo_value_release(&v);
    if (rc) return vtab_report(t, &err);
    c->have_old_row = true;
    return SQLITE_OK;
}

/* Of the key what the UPDATE does not name; what it does is put over that. The value of a key of
 * one column is where find_old_key() has put it. */
static int keep_key_values(struct change *c) {
    struct vtab *t = c->t;
    struct kevo_err err;
    bool wanted = !c->key_is_kept || t->schema->index_count > 0;
    if (!c->has_old || !wanted || t->schema->kind != SCHEMA_COMPOSITE) return SQLITE_OK;
    return keycode_decode(t->schema, buf_slice(&t->old_key), t->values, &t->kept, &err)
               ? vtab_report(t, &err)
               : SQLITE_OK;
}

static int keep_value(struct change *c, unsigned column) {
    struct vtab *t = c->t;
    struct kevo_err err;
    if (t->schema->row_index[column] < 0) return SQLITE_OK; /* keep_key_values() */
    int rc = read_old_row(c);
    if (rc != SQLITE_OK) return rc;
    return rowcode_column(buf_slice(&t->old_row), (unsigned)t->schema->row_index[column],
                          &t->values[column], &err)
               ? vtab_report(t, &err)
               : SQLITE_OK;
}

/* As cursor_column() leaves it out. */
static bool is_kept(const struct change *c, unsigned column, sqlite3_value *v) {
    const struct schema *s = c->t->schema;
    bool may_be = c->has_old && (s->row_index[column] >= 0 || s->kind != SCHEMA_ROWID);
    return may_be && sqlite3_value_nochange(v);
}

static bool is_key_kept(const struct change *c, sqlite3_value **argv) {
    const struct schema *s = c->t->schema;
    if (!c->has_old || s->kind == SCHEMA_ROWID) return false;
    for (unsigned n = 0; n < s->key_count; n++) {
        unsigned column = (unsigned)s->key[n].column;
        if (!is_kept(c, column, argv[2 + column])) return false;
    }
    return true;
}

/* The rowid comes first: SQLite refuses a wrong one before all else. */
static int collect_values(struct change *c, sqlite3_value **argv, unsigned *mismatched) {
    struct vtab *t = c->t;
    int alias = schema_rowid_alias(t->schema), rc = keep_key_values(c);
    if (rc == SQLITE_OK && alias != SCHEMA_NO_COLUMN)
        rc = accept_value(t, (unsigned)alias, argv[2 + alias]);
    *mismatched = (unsigned)alias;
    for (unsigned i = 0; rc == SQLITE_OK && i < t->schema->column_count; i++) {
        sqlite3_value *v = argv[2 + i];
        if ((int)i == alias) continue;
        rc = is_kept(c, i, v) ? keep_value(c, i) : accept_value(t, i, v);
        if (rc == SQLITE_MISMATCH) *mismatched = i;
    }
    return rc;
}

/* ---- keys ---------------------------------------------------------------------------------- */

static int set_rowid_key(struct vtab *t, struct buf *key, int64_t rowid) {
    if (!buf_reserve(key, KEYCODE_MAX_TABLE_BYTES + KEYCODE_MAX_INTEGER_BYTES)) return SQLITE_NOMEM;
    key->len = keycode_rowid_key(t->table_id, rowid, key->data);
    return SQLITE_OK;
}

/* The key of the row that SQLite names by argv[0]. */
static int find_old_key(struct vtab *t, sqlite3_value *old) {
    const struct schema *s = t->schema;
    struct kevo_err err;
    if (s->kind == SCHEMA_ROWID) return set_rowid_key(t, &t->old_key, sqlite3_value_int64(old));
    if (s->kind == SCHEMA_COMPOSITE) {
        uint8_t prefix[KEYCODE_MAX_TABLE_BYTES];
        slice mine = slice_of(prefix, keycode_table_bytes(prefix, t->table_id));
        slice key = slice_of(sqlite3_value_blob(old), (size_t)sqlite3_value_bytes(old));
        if (!slice_has_prefix(key, mine)) return mismatch(t, "kevo: not a key of this table");
        return buf_set(&t->old_key, key) ? SQLITE_OK : SQLITE_NOMEM;
    }
    struct value *v = &t->values[s->key[0].column];
    bool text = s->key[0].type == COLUMN_TEXT;
    if (value_in_place(old, text && t->utf8, v, &err)) return vtab_report(t, &err);
    /* SQLite makes integers of reals in the lists of keys that it keeps. */
    if (s->key[0].type == COLUMN_REAL && v->type == VALUE_INTEGER)
        *v = value_real((double)v->integer);
    return keycode_encode(s, t->table_id, t->values, &t->old_key, &err) ? vtab_report(t, &err)
                                                                        : SQLITE_OK;
}

static bool max_rowid_is_known(const struct vtab *t) {
    return t->max_rowid_known && t->max_rowid_epoch == t->session->epoch &&
           t->max_rowid_undos == t->session->undos;
}

static int find_max_rowid(struct vtab *t, bool *empty, struct kevo_err *err) {
    struct kevo_read read = {.txn = t->session->txn};
    kevo_iter *it = NULL;
    int rc = keycode_table_range(t->table_id, &t->key, &t->scratch, err);
    read.lower = buf_slice(&t->key);
    read.upper = buf_slice(&t->scratch);
    if (rc == 0) rc = kevo_iter_new(t->session->store, &read, &it, err);
    if (rc == 0) rc = kevo_iter_last(it, err);
    *empty = rc == 0 && !kevo_iter_valid(it);
    if (rc == 0 && !*empty) rc = keycode_rowid(kevo_iter_key(it), &t->max_rowid, err);
    kevo_iter_free(it);
    return rc;
}

static int row_exists(struct vtab *t, slice key, bool *exists) {
    struct kevo_read read = {.txn = t->session->txn};
    struct kevo_value v;
    struct kevo_err err;
    int rc = kevo_get(t->session->store, &read, key, &v, &err);
    *exists = rc == 0;
    if (rc < 0) return vtab_report(t, &err);
    kevo_value_release(&v);
    return SQLITE_OK;
}

/* At the end of the range SQLite tries positive numbers at random, a hundred times. */
static int random_rowid(struct change *c) {
    struct vtab *t = c->t;
    for (int i = 0; i < 100; i++) {
        bool exists;
        uint64_t r;
        sqlite3_randomness(sizeof r, &r);
        c->rowid = (int64_t)(r >> 2) + 1;
        int rc = set_rowid_key(t, &t->key, c->rowid);
        if (rc == SQLITE_OK) rc = row_exists(t, buf_slice(&t->key), &exists);
        if (rc != SQLITE_OK || !exists) return rc;
    }
    *message_of(t) = sqlite3_mprintf("kevo: table %s has no rowid left", t->name);
    return SQLITE_FULL;
}

static int automatic_rowid(struct change *c) {
    struct vtab *t = c->t;
    struct kevo_err err;
    bool empty = false;
    if (!max_rowid_is_known(t)) {
        if (find_max_rowid(t, &empty, &err)) return vtab_report(t, &err);
        if (empty) t->max_rowid = 0;
        t->max_rowid_known = true;
        t->max_rowid_epoch = t->session->epoch;
        t->max_rowid_undos = t->session->undos;
    }
    if (t->max_rowid == INT64_MAX) return random_rowid(c);
    c->rowid = t->max_rowid + 1;
    return SQLITE_OK;
}

/* argv[1] is what was given for the rowid by that name; the column that is its alias
 * counts more. */
static int choose_rowid(struct change *c, sqlite3_value **argv) {
    struct vtab *t = c->t;
    int alias = schema_rowid_alias(t->schema);
    bool given = sqlite3_value_type(argv[1]) != SQLITE_NULL;
    if (alias != SCHEMA_NO_COLUMN) {
        const struct value *v = &t->values[alias];
        bool changed =
            !c->has_old || v->type == VALUE_NULL || v->integer != sqlite3_value_int64(argv[0]);
        if (changed && v->type == VALUE_INTEGER) {
            c->rowid = v->integer;
            return SQLITE_OK;
        }
        if (changed && c->has_old) return mismatch(t, "datatype mismatch");
    }
    if (!given) return automatic_rowid(c);
    if (sqlite3_value_numeric_type(argv[1]) != SQLITE_INTEGER)
        return mismatch(t, "datatype mismatch");
    c->rowid = sqlite3_value_int64(argv[1]);
    return SQLITE_OK;
}

static int make_new_key(struct change *c, sqlite3_value **argv) {
    struct vtab *t = c->t;
    struct kevo_err err;
    if (c->key_is_kept) return SQLITE_OK;
    if (t->schema->kind == SCHEMA_ROWID) {
        int rc = choose_rowid(c, argv);
        return rc == SQLITE_OK ? set_rowid_key(t, &t->key, c->rowid) : rc;
    }
    return keycode_encode(t->schema, t->table_id, t->values, &t->key, &err) ? vtab_report(t, &err)
                                                                            : SQLITE_OK;
}

/* ---- the change ------------------------------------------------------------------------------ */

static void note_rowid(struct change *c) {
    struct vtab *t = c->t;
    if (t->schema->kind == SCHEMA_ROWID && max_rowid_is_known(t) && c->rowid > t->max_rowid)
        t->max_rowid = c->rowid;
}

static bool replaces(const struct change *c) {
    return sqlite3_vtab_on_conflict(c->t->connection->db) == SQLITE_REPLACE;
}

/* Delete the row in the way, whose key is in t->indexes.other_key. */
static int delete_other(struct change *c, struct kevo_err *err) {
    struct vtab *t = c->t;
    bool found;
    /* Its key outlives the search that another index may need. */
    if (!buf_set(&t->scratch, buf_slice(&t->indexes.other_key))) return kevo_nomem(err);
    int rc = indexes_forget_row(t, buf_slice(&t->scratch), &found, err);
    if (rc == 0 && !found)
        rc = kevo_fail(err, KEVO_CORRUPT,
                       "table %s: an index has an entry of a row that is not there", t->name);
    t->max_rowid_known = false;
    return rc ? rc : kevo_txn_delete(t->session->txn, buf_slice(&t->scratch), err);
}

/* OR REPLACE: what is in the way of the new row goes, entries and all. */
static int clear_way(struct change *c, bool key_changed, struct kevo_err *err) {
    struct vtab *t = c->t;
    const struct schema *s = t->schema;
    bool found;
    slice own = c->has_old ? buf_slice(&t->old_key) : slice_of(NULL, 0);
    int rc = key_changed ? indexes_forget_row(t, buf_slice(&t->key), &found, err) : 0;
    for (unsigned i = 0; rc == 0 && i < s->index_count; i++) {
        if (!s->indexes[i].unique) continue;
        rc = indexes_find_equal(t, &s->indexes[i], t->values, own, &found, err);
        if (rc == 0 && found) rc = delete_other(c, err);
    }
    return rc;
}

/* The entries of the row that an UPDATE or DELETE starts from to those of the new one. */
static int write_indexes(struct change *c, const struct value *new, struct kevo_err *err) {
    struct vtab *t = c->t;
    const struct value *old = c->has_old ? t->indexes.values : NULL;
    int rc = 0;
    if (old)
        rc = indexes_decode_row(t->schema, buf_slice(&t->old_key), buf_slice(&t->old_row),
                                t->indexes.values, &t->indexes.decoded, err);
    return rc ? rc : indexes_write(t, old, new, err);
}

/* Put the new row, and take the old one away if its key is another. */
static int write_row(struct change *c, bool key_changed) {
    struct vtab *t = c->t;
    kevo_txn *txn = t->session->txn;
    struct kevo_err err;
    struct kevo_mark mark = kevo_txn_mark(txn);
    bool indexed = t->schema->index_count > 0;
    int rc = rowcode_encode(t->schema, t->values, &t->row, &err);
    if (rc == 0 && indexed && replaces(c)) rc = clear_way(c, key_changed, &err);
    if (rc == 0 && indexed) rc = write_indexes(c, t->values, &err);
    if (rc == 0 && key_changed && c->has_old) {
        rc = kevo_txn_delete(txn, buf_slice(&t->old_key), &err);
        t->max_rowid_known = false;
        t->moved = true;
    }
    slice key = buf_slice(c->key_is_kept ? &t->old_key : &t->key);
    if (rc == 0) rc = kevo_txn_put(txn, key, buf_slice(&t->row), &err);
    if (rc) {
        kevo_txn_rollback_to(txn, mark);
        return vtab_report(t, &err);
    }
    note_rowid(c);
    return SQLITE_OK;
}

/* The new key must not be there already, unless the new row may replace it: then nobody
 * needs to look. */
static int check_key(struct change *c, bool key_changed) {
    struct vtab *t = c->t;
    bool exists = false;
    int rc = SQLITE_OK;
    if (key_changed && !replaces(c)) rc = row_exists(t, buf_slice(&t->key), &exists);
    return rc == SQLITE_OK && exists ? unique_failed(t, t->schema) : rc;
}

/* The same for UNIQUE indexes, the last but `from` down to number `to`. */
static int check_indexes(struct change *c, unsigned from, unsigned to) {
    struct vtab *t = c->t;
    const struct schema *s = t->schema;
    struct kevo_err err;
    bool found;
    slice own = c->has_old ? buf_slice(&t->old_key) : slice_of(NULL, 0);
    if (replaces(c)) return SQLITE_OK;
    for (unsigned i = from; i-- > to;) {
        if (!s->indexes[i].unique) continue;
        if (indexes_find_equal(t, &s->indexes[i], t->values, own, &found, &err))
            return vtab_report(t, &err);
        if (found) return unique_failed(t, &s->indexes[i]);
    }
    return SQLITE_OK;
}

/* In SQLite's order, which the message tells: the rowid, then from the last constraint that
 * was written to the first. */
static int check_unique(struct change *c, bool key_changed) {
    const struct schema *s = c->t->schema;
    unsigned place = s->kind == SCHEMA_ROWID ? s->index_count : s->key_place;
    if (s->index_count == 0) return check_key(c, key_changed);
    int rc = check_indexes(c, s->index_count, place);
    if (rc == SQLITE_OK) rc = check_key(c, key_changed);
    return rc == SQLITE_OK ? check_indexes(c, place, 0) : rc;
}

static bool is_key_changed(const struct change *c) {
    const struct vtab *t = c->t;
    if (c->key_is_kept) return false;
    return !c->has_old || !slice_eq(buf_slice(&t->key), buf_slice(&t->old_key));
}

/* A column has a value of the wrong type. SQLite looks at the type of the rowid first,
 * then for NULLs in the whole row, then for another row with that rowid, and at the other
 * types last. It matters under OR IGNORE. */
static int explain_mismatch(struct change *c, unsigned column, sqlite3_value **argv) {
    struct vtab *t = c->t;
    const struct schema *s = t->schema;
    int rc = SQLITE_OK;
    if ((int)column == schema_rowid_alias(s)) return SQLITE_MISMATCH;
    for (unsigned i = column + 1; rc == SQLITE_OK && i < s->column_count; i++) {
        sqlite3_value *v = argv[2 + i];
        bool null = !is_kept(c, i, v) && sqlite3_value_type(v) == SQLITE_NULL;
        if (null && s->columns[i].not_null) rc = accept_value(t, i, v);
    }
    if (rc == SQLITE_OK && s->kind == SCHEMA_ROWID) {
        rc = make_new_key(c, argv);
        if (rc == SQLITE_OK) rc = check_key(c, is_key_changed(c));
    }
    return rc == SQLITE_OK ? accept_value(t, column, argv[2 + column]) : rc;
}

/* Entries of indexes have the rowid as it is, given or not. */
static void set_rowid_value(struct change *c) {
    struct vtab *t = c->t;
    if (t->schema->kind == SCHEMA_ROWID)
        t->values[schema_value_place(t->schema, t->schema->key[0].column)] =
            value_integer(c->rowid);
}

/* Whether the row is not there any more: REPLACE deleted it for a row before, by a UNIQUE index; or
 * it has another key by now, as an UPDATE ... FROM comes to a row once for each row that it
 * matches. */
static bool is_gone(struct change *c) {
    bool may_be = c->has_old && (c->t->schema->index_count > 0 || c->t->moved);
    return may_be && read_old_row(c) != SQLITE_OK && c->old_is_gone;
}

/* INSERT and UPDATE. */
static int store_row(struct change *c, sqlite3_value **argv, sqlite3_int64 *rowid) {
    struct vtab *t = c->t;
    unsigned mismatched;
    c->key_is_kept = is_key_kept(c, argv);
    if (is_gone(c)) return SQLITE_OK;
    int rc = collect_values(c, argv, &mismatched);
    if (rc == SQLITE_MISMATCH) return explain_mismatch(c, mismatched, argv);
    if (rc == SQLITE_OK) rc = make_new_key(c, argv);
    if (rc != SQLITE_OK) return rc;
    bool key_changed = is_key_changed(c);
    set_rowid_value(c);
    rc = check_unique(c, key_changed);
    if (rc == SQLITE_OK) rc = write_row(c, key_changed);
    if (rc != SQLITE_OK || c->has_old) return rc;
    /* What is left here becomes last_insert_rowid(), without a rowid as well. */
    *rowid =
        t->schema->kind == SCHEMA_ROWID ? c->rowid : sqlite3_last_insert_rowid(t->connection->db);
    return SQLITE_OK;
}

static int delete_row(struct change *c) {
    struct vtab *t = c->t;
    kevo_txn *txn = t->session->txn;
    struct kevo_err err;
    struct kevo_mark mark = kevo_txn_mark(txn);
    slice key = buf_slice(&t->old_key);
    bool clears = clearing_goes_on(&t->clearing, t->session, mark.op, key), found;
    int rc = 0;
    t->max_rowid_known = false;
    if (t->schema->index_count > 0) rc = indexes_forget_row(t, key, &found, &err);
    if (rc == 0) rc = kevo_txn_delete(txn, key, &err);
    if (rc == 0 && clears) rc = clearing_went_on(&t->clearing, t->session, key, &err);
    if (rc == 0) return SQLITE_OK;
    kevo_txn_rollback_to(txn, mark);
    return vtab_report(t, &err);
}

int vtab_update(sqlite3_vtab *table, int argc, sqlite3_value **argv, sqlite3_int64 *rowid) {
    struct change c = {.t = vtab_of(table)};
    c.t->joining = false;
    /* A table made in this transaction is written to without xBegin. */
    int rc = session_begin(c.t->session, message_of(c.t));
    if (rc != SQLITE_OK) return rc;
    c.has_old = sqlite3_value_type(argv[0]) != SQLITE_NULL;
    if (c.has_old) rc = find_old_key(c.t, argv[0]);
    if (rc == SQLITE_OK) rc = argc == 1 ? delete_row(&c) : store_row(&c, argv, rowid);
    if (rc == SQLITE_OK) session_written(c.t->session);
    return rc;
}
