#include "ext/names.h"

#include <string.h>

#include "engine/base/coding.h"
#include "engine/base/error.h"

bool names_are_kept(const struct vtab *t) {
    return t->session->path && t->session->options.authority == KEVO_AUTHORITY_SELF;
}

static int name_key(struct vtab *t, const char *name, struct kevo_err *err) {
    uint8_t prefix[KEYCODE_MAX_TABLE_BYTES];
    buf_reset(&t->key);
    if (!buf_append(&t->key, prefix, keycode_table_bytes(prefix, 0)) ||
        !buf_append(&t->key, name, strlen(name)))
        return kevo_nomem(err);
    for (size_t i = 1; i < t->key.len; i++) {
        if (t->key.data[i] >= 'A' && t->key.data[i] <= 'Z') t->key.data[i] += 'a' - 'A';
    }
    return 0;
}

/* Under a name that no table can have: the largest id ever given, so that no dropped
 * table's rows come back. */
static int counter_key(struct vtab *t, struct kevo_err *err) {
    int rc = name_key(t, "", err);
    return rc == 0 && !buf_append(&t->key, "", 1) ? kevo_nomem(err) : rc;
}

/* What is kept under t->key, as the transaction sees it. */
static int get(struct vtab *t, struct kevo_value *v, struct kevo_err *err) {
    struct kevo_read read = {.txn = t->session->txn};
    return kevo_get(t->session->store, &read, buf_slice(&t->key), v, err);
}

/* The declaration that a table's rows follow; NUL-terminated. */
static int declaration_of(struct vtab *t, struct buf *sql, struct kevo_err *err) {
    int rc = schema_declare(t->schema, sql, err);
    if (rc) return rc;
    sql->len--;
    rc = schema_describe_indexes(t->schema, sql, err);
    return rc == 0 && !buf_append(sql, "", 1) ? kevo_nomem(err) : rc;
}

/* The id of the table's name, 0: none. It must have the same columns. */
static int find_id(struct vtab *t, const char *declaration, uint32_t *id, struct kevo_err *err) {
    struct kevo_value v;
    *id = 0;
    int rc = name_key(t, t->name, err);
    if (rc == 0) rc = get(t, &v, err);
    if (rc) return rc == KEVO_NOTFOUND ? 0 : rc;
    slice text = slice_of(v.slice.data + 4, v.slice.len - 4);
    if (v.slice.len < 4)
        rc = kevo_fail(err, KEVO_CORRUPT, "%s: what is kept for table %s is damaged",
                       t->session->path, t->name);
    else if (!slice_eq(text, slice_of_str(declaration)))
        rc = kevo_fail(err, KEVO_INVALID,
                       "%s: the store has table %s with other columns or indexes: %.*s",
                       t->session->path, t->name, (int)text.len, (const char *)text.data);
    else
        *id = get_fixed32(v.slice.data);
    kevo_value_release(&v);
    return rc;
}

/* Whether this database has dropped the table of that id: the name was left in the store
 * because the DROP was part of a transaction. */
static int is_dropped(struct vtab *t, uint32_t id, bool *dropped, char **message) {
    bool known, live;
    sqlite3 *db = t->connection->db;
    sqlite3_int64 row = t->session->store_row;
    int rc = catalogue_has_table(db, t->schema_name, row, id, &known, message);
    if (rc == SQLITE_OK) rc = catalogue_table_is_live(db, t->schema_name, row, id, &live, message);
    *dropped = rc == SQLITE_OK && known && !live;
    return rc;
}

static int put_id(struct vtab *t, const char *declaration, uint32_t id, struct kevo_err *err) {
    uint8_t bytes[4];
    put_fixed32(bytes, id);
    buf_reset(&t->row);
    if (!buf_append(&t->row, bytes, sizeof bytes) ||
        !buf_append(&t->row, declaration, strlen(declaration)))
        return kevo_nomem(err);
    return 0;
}

static int give_id(struct vtab *t, const char *declaration, struct kevo_err *err) {
    kevo_txn *txn = t->session->txn;
    struct kevo_value v;
    uint8_t bytes[4];
    uint32_t largest = 0;
    int rc = counter_key(t, err);
    if (rc == 0) rc = get(t, &v, err);
    if (rc < 0) return rc;
    if (rc == 0) {
        if (v.slice.len == sizeof bytes) largest = get_fixed32(v.slice.data);
        kevo_value_release(&v);
        if (largest == 0 || largest == UINT32_MAX)
            return kevo_fail(err, KEVO_CORRUPT, "%s: the count of its tables is damaged",
                             t->session->path);
    }
    t->table_id = largest + 1;
    put_fixed32(bytes, t->table_id);
    rc = kevo_txn_put(txn, buf_slice(&t->key), slice_of(bytes, sizeof bytes), err);
    if (rc == 0) rc = put_id(t, declaration, t->table_id, err);
    if (rc == 0) rc = name_key(t, t->name, err);
    return rc ? rc : kevo_txn_put(txn, buf_slice(&t->key), buf_slice(&t->row), err);
}

int names_claim(struct vtab *t, bool *found, char **message) {
    struct buf sql = {0};
    struct kevo_err err;
    bool dropped = false;
    int failed = 0;
    *found = false;
    int rc = session_begin(t->session, message);
    if (rc != SQLITE_OK) return rc;
    failed = declaration_of(t, &sql, &err);
    const char *declaration = (const char *)sql.data;
    if (failed == 0) failed = find_id(t, declaration, &t->table_id, &err);
    if (failed == 0 && t->table_id) rc = is_dropped(t, t->table_id, &dropped, message);
    *found = t->table_id != 0 && !dropped;
    if (failed == 0 && rc == SQLITE_OK && !*found) {
        failed = give_id(t, declaration, &err);
        session_written(t->session);
    }
    buf_release(&sql);
    return failed ? report(message, &err) : rc;
}

int names_forget(struct vtab *t, char **message) {
    struct session *s = t->session;
    struct kevo_err err;
    bool at_once = !s->inherited;
    if (at_once && !sqlite3_get_autocommit(t->connection->db)) return SQLITE_OK;
    int rc = session_open(s, message);
    if (rc != SQLITE_OK) return rc;
    rc = name_key(t, t->name, &err);
    if (rc == 0)
        rc = at_once ? kevo_delete(s->store, buf_slice(&t->key), &err)
                     : kevo_txn_delete(s->txn, buf_slice(&t->key), &err);
    return rc ? report(message, &err) : SQLITE_OK;
}

int names_rename(struct vtab *t, const char *name, char **message) {
    struct buf sql = {0};
    struct kevo_err err;
    if (!sqlite3_get_autocommit(t->connection->db)) {
        *message = sqlite3_mprintf("kevo: cannot rename %s inside a transaction: its store is not "
                                   "part of a database file",
                                   t->name);
        return SQLITE_ERROR;
    }
    int rc = session_open(t->session, message);
    if (rc != SQLITE_OK) return rc;
    rc = declaration_of(t, &sql, &err);
    if (rc == 0) rc = put_id(t, (const char *)sql.data, t->table_id, &err);
    if (rc == 0) rc = name_key(t, name, &err);
    /* The new name first: a crash in between leaves two, not none. */
    if (rc == 0) rc = kevo_put(t->session->store, buf_slice(&t->key), buf_slice(&t->row), &err);
    if (rc == 0) rc = name_key(t, t->name, &err);
    if (rc == 0) rc = kevo_delete(t->session->store, buf_slice(&t->key), &err);
    buf_release(&sql);
    return rc ? report(message, &err) : SQLITE_OK;
}
