#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "ext/vtab.h"
#include "sql/indexcode.h"
#include "sql/rowcode.h"

/* Comparing the rows of a table with its definition and its indexes, and making the indexes agree.
 * Each row is asked for its entries, each entry for its row; a repair writes only what differs, so
 * that it needs memory for that alone. A row that does not fit the definition is told of; it may be
 * one of another table, which a store that was adopted had there. */

struct checking {
    struct vtab *t;
    struct kevo_read read;
    bool repair;
    sqlite3_stmt *probe; /* tells of sqlite3_interrupt() */
    unsigned steps;
    struct value *values;
    struct buf decoded, lower, upper, key, types, row_key;
    struct tally {
        uint64_t missing, extra; /* entries that a row lacks; entries of no row */
    } * tallies;                 /* of each index */
    uint64_t misfits;            /* rows that do not fit the definition; what is wrong with one: */
    char misfit[200];
    struct kevo_err err;
};

static int checking_init(struct checking *c, struct vtab *t) {
    const struct schema *s = t->schema;
    *c = (struct checking){.t = t};
    c->values = mem_array(s->column_count + 1, sizeof *c->values);
    c->tallies = mem_array(s->index_count + 1, sizeof *c->tallies);
    if (!c->values || !c->tallies) return SQLITE_NOMEM;
    for (unsigned i = 0; i < s->index_count; i++)
        c->tallies[i] = (struct tally){0, 0};
    return sqlite3_prepare_v2(t->connection->db, "SELECT 1", -1, &c->probe, NULL);
}

static void checking_release(struct checking *c) {
    sqlite3_finalize(c->probe);
    mem_free(c->values);
    mem_free(c->tallies);
    buf_release(&c->decoded);
    buf_release(&c->lower);
    buf_release(&c->upper);
    buf_release(&c->key);
    buf_release(&c->types);
    buf_release(&c->row_key);
}

static int check_interrupt(struct checking *c) {
    if (++c->steps % 1024 || !vtab_interrupted(c->probe)) return 0;
    return kevo_fail(&c->err, KEVO_CANCELLED, "interrupted");
}

/* An iterator over all keys of the table or index, on the first. */
static int begin_walk(struct checking *c, const struct schema *s, kevo_iter **it) {
    int rc = keycode_range(s, c->t->table_id, &c->lower, &c->upper, &c->err);
    struct kevo_read read = c->read;
    read.lower = buf_slice(&c->lower);
    read.upper = buf_slice(&c->upper);
    *it = NULL;
    if (rc == 0) rc = kevo_iter_new(c->t->session->store, &read, it, &c->err);
    return rc ? rc : kevo_iter_first(*it, &c->err);
}

/* ---- does each row fit the definition? -------------------------------------------------- */

static bool fits(const struct column *column, const struct value *v) {
    static const enum value_type types[] = {[COLUMN_INTEGER] = VALUE_INTEGER,
                                            [COLUMN_REAL] = VALUE_REAL,
                                            [COLUMN_TEXT] = VALUE_TEXT,
                                            [COLUMN_BLOB] = VALUE_BLOB};
    if (v->type == VALUE_NULL) return !column->not_null;
    return column->type == COLUMN_ANY || v->type == types[column->type];
}

/* Decode a row into c->values. KEVO_CORRUPT, as to the engine too, when it is none of this table. */
static int read_row(struct checking *c, slice key, slice row) {
    const struct schema *s = c->t->schema;
    int rc = indexes_decode_row(s, key, row, c->values, &c->decoded, &c->err);
    if (rc == 0) rc = rowcode_check(row, s->row_count, &c->err);
    for (unsigned i = 0; rc == 0 && i < s->column_count; i++) {
        if (!fits(&s->columns[i], &c->values[i]))
            rc = kevo_fail(&c->err, KEVO_CORRUPT, "column %.100s has a value of type %s",
                           s->columns[i].name, value_type_name(c->values[i].type));
    }
    return rc;
}

static int note_misfit(struct checking *c) {
    if (c->misfits++ == 0) snprintf(c->misfit, sizeof c->misfit, "%.199s", c->err.msg);
    return 0;
}

/* ---- does each row have its entries? -------------------------------------------------- */

/* The entry in c->key and c->types is to be put in, unless another row is equal. */
static int put_missing(struct checking *c, const struct schema *index, slice row_key) {
    struct vtab *t = c->t;
    bool found = false;
    int rc = 0;
    if (index->unique) rc = indexes_find_equal(t, index, c->values, row_key, &found, &c->err);
    if (rc == 0 && found)
        return kevo_fail(&c->err, KEVO_INVALID,
                         "index %s of table %s: two rows are equal in its columns", index->name,
                         t->name);
    if (rc == 0)
        rc = kevo_txn_put(t->session->txn, buf_slice(&c->key), buf_slice(&c->types), &c->err);
    return rc;
}

static int check_entry_of_row(struct checking *c, unsigned i, slice row_key) {
    const struct schema *index = &c->t->schema->indexes[i];
    struct kevo_value entry;
    int rc = indexcode_encode(index, c->t->table_id, c->values, &c->key, &c->types, &c->err);
    if (rc) return rc;
    rc = kevo_get(c->t->session->store, &c->read, buf_slice(&c->key), &entry, &c->err);
    if (rc < 0) return rc;
    bool right = rc == 0 && slice_eq(entry.slice, buf_slice(&c->types));
    if (rc == 0) kevo_value_release(&entry);
    if (right) return 0;
    c->tallies[i].missing++;
    return c->repair ? put_missing(c, index, row_key) : 0;
}

static int check_rows(struct checking *c) {
    const struct schema *s = c->t->schema;
    kevo_iter *it;
    int rc = begin_walk(c, s, &it);
    while (rc == 0 && kevo_iter_valid(it)) {
        slice key = kevo_iter_key(it);
        rc = read_row(c, key, kevo_iter_value(it));
        bool misfit = rc == KEVO_CORRUPT && !c->repair;
        if (misfit) rc = note_misfit(c);
        for (unsigned i = 0; rc == 0 && !misfit && i < s->index_count; i++)
            rc = check_entry_of_row(c, i, key);
        if (rc == 0) rc = check_interrupt(c);
        if (rc == 0) rc = kevo_iter_next(it, &c->err);
    }
    kevo_iter_free(it);
    return rc;
}

/* ---- does each entry have its row? ------------------------------------------------------- */

/* Whether there is a row whose entry has this key. */
static int find_row_of(struct checking *c, const struct schema *index, slice key, bool *found) {
    struct vtab *t = c->t;
    struct key_place start = {0};
    struct kevo_value row;
    *found = false;
    int rc = indexcode_row_key(t->schema, index, t->table_id, key, &start, c->values, &c->decoded,
                               &c->row_key, &c->err);
    if (rc) return rc == KEVO_NOMEM ? rc : 0; /* it does not decode: nobody's */
    rc = kevo_get(t->session->store, &c->read, buf_slice(&c->row_key), &row, &c->err);
    if (rc) return rc < 0 ? rc : 0;
    rc = indexes_decode_row(t->schema, buf_slice(&c->row_key), row.slice, c->values, &c->decoded,
                            &c->err);
    if (rc == 0) rc = indexcode_encode(index, t->table_id, c->values, &c->key, &c->types, &c->err);
    *found = rc == 0 && slice_eq(key, buf_slice(&c->key));
    kevo_value_release(&row);
    return rc;
}

static int check_entries(struct checking *c, unsigned i) {
    const struct schema *index = &c->t->schema->indexes[i];
    kevo_iter *it;
    bool found;
    int rc = begin_walk(c, index, &it);
    while (rc == 0 && kevo_iter_valid(it)) {
        slice key = kevo_iter_key(it);
        rc = find_row_of(c, index, key, &found);
        if (rc == 0 && !found) {
            c->tallies[i].extra++;
            if (c->repair) rc = kevo_txn_delete(c->t->session->txn, key, &c->err);
        }
        if (rc == 0) rc = check_interrupt(c);
        if (rc == 0) rc = kevo_iter_next(it, &c->err);
    }
    kevo_iter_free(it);
    return rc;
}

/* ---- both ---------------------------------------------------------------------------------- */

/* Where rows do not fit, entries say nothing. In a repair entries of no row go first, so that they
 * are in nobody's way. */
static int check_all(struct checking *c) {
    int rc = c->repair ? 0 : check_rows(c);
    if (c->misfits) return rc;
    for (unsigned i = 0; rc == 0 && i < c->t->schema->index_count; i++)
        rc = check_entries(c, i);
    return rc == 0 && c->repair ? check_rows(c) : rc;
}

static char *describe_misfits(const struct checking *c) {
    return sqlite3_mprintf("kevo: %llu rows of table %s do not fit its definition; in one of them: "
                           "%s; make the table anew with the columns that the rows were written "
                           "with, or put back a backup",
                           (unsigned long long)c->misfits, c->t->name, c->misfit);
}

static char *describe(const struct checking *c) {
    if (c->misfits) return describe_misfits(c);
    sqlite3_str *text = sqlite3_str_new(c->t->connection->db);
    for (unsigned i = 0; i < c->t->schema->index_count; i++) {
        struct tally *n = &c->tallies[i];
        if (n->missing == 0 && n->extra == 0) continue;
        sqlite3_str_appendf(
            text,
            "%sindex %s of table %s lacks entries of %llu rows and has %llu "
            "that belong to no row",
            sqlite3_str_length(text) ? "; " : "kevo: ", c->t->schema->indexes[i].name, c->t->name,
            (unsigned long long)n->missing, (unsigned long long)n->extra);
    }
    if (sqlite3_str_length(text))
        sqlite3_str_appendf(text, ": SELECT kevo_reindex('%s') makes them right", c->t->name);
    return sqlite3_str_finish(text);
}

int index_check(struct vtab *t, char **message) {
    struct checking c;
    int rc = checking_init(&c, t);
    if (rc == SQLITE_OK) rc = session_read(t->session, &c.read, message);
    if (rc == SQLITE_OK && check_all(&c)) rc = report(message, &c.err);
    if (rc == SQLITE_OK) *message = describe(&c);
    if (rc == SQLITE_OK && *message) rc = SQLITE_CORRUPT_VTAB;
    checking_release(&c);
    return rc;
}

int index_rebuild(struct vtab *t, char **message) {
    struct checking c;
    if (t->schema->index_count == 0) return SQLITE_OK;
    int rc = checking_init(&c, t);
    if (rc == SQLITE_OK) rc = session_begin(t->session, message);
    c.read = (struct kevo_read){.txn = t->session->txn};
    c.repair = true;
    if (rc == SQLITE_OK && check_all(&c)) rc = report(message, &c.err);
    if (rc == SQLITE_OK) session_written(t->session);
    checking_release(&c);
    return rc;
}

/* ---- the table as a whole ------------------------------------------------------------------- */

/* Everything that can be wrong shows when the store is opened, when the database's last
 * commit is looked for in it, or when its files are read. */
static int check_store(struct session *s, char **message) {
    struct kevo_read read;
    struct kevo_err err;
    int rc = session_open(s, message);
    if (rc == SQLITE_OK) rc = session_read(s, &read, message);
    if (rc == SQLITE_OK && kevo_verify(s->store, &err)) rc = report(message, &err);
    return rc;
}

int table_check(struct vtab *t, bool indexes, char **message) {
    int rc = check_store(t->session, message);
    return rc == SQLITE_OK && indexes ? index_check(t, message) : rc;
}

/* What keeps the table from being checked is a finding as well, and the pragma goes on to the
 * next one. */
int vtab_integrity(sqlite3_vtab *table, const char *schema, const char *name, int quick,
                   char **found) {
    struct vtab *t = vtab_of(table);
    char *message = NULL;
    (void)schema;
    *found = NULL;
    int rc = table_check(t, !quick, &message);
    if (rc == SQLITE_OK) return rc;
    if (rc == SQLITE_NOMEM || rc == SQLITE_INTERRUPT) {
        sqlite3_free(message);
        return rc;
    }
    *found = sqlite3_mprintf("table %s: %s", name, message ? message : sqlite3_errstr(rc));
    sqlite3_free(message);
    return *found ? SQLITE_OK : SQLITE_NOMEM;
}
