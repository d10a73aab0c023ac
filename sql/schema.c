#include "sql/schema.h"

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "sql/token.h"

void schema_free(struct schema *s) {
    if (!s) return;
    for (unsigned i = 0; i < s->index_count; i++) {
        mem_free(s->indexes[i].name);
        mem_free(s->indexes[i].key);
    }
    mem_free(s->indexes);
    for (unsigned i = 0; i < s->column_count; i++)
        mem_free(s->columns[i].name);
    mem_free(s->columns);
    mem_free(s->key);
    mem_free(s->row);
    mem_free(s->row_index);
    mem_free(s->table);
    mem_free(s->directory);
    mem_free(s);
}

static const char *type_name(const struct column *c) {
    static const char *const names[] = {"INTEGER", "REAL", "TEXT", "BLOB", "ANY"};
    return c->is_int ? "INT" : names[c->type];
}

/* ---- the statement for sqlite3_declare_vtab ------------------------------ */

static bool put(struct buf *sql, const char *text) {
    return buf_append(sql, text, strlen(text));
}

static bool put_name(struct buf *sql, const char *name) {
    bool ok = put(sql, "\"");
    for (const char *p = name; ok && *p; p++)
        ok = buf_append(sql, p, 1) && (*p != '"' || put(sql, "\""));
    return ok && put(sql, "\"");
}

static bool put_column(struct buf *sql, const struct schema *s, unsigned i) {
    const struct column *c = &s->columns[i];
    bool is_key = s->kind != SCHEMA_COMPOSITE && s->key[0].column == (int)i;
    if (!put_name(sql, c->name)) return false;
    /* The word ANY would give NUMERIC affinity; no word gives none. */
    if (c->type != COLUMN_ANY && !(put(sql, " ") && put(sql, type_name(c)))) return false;
    if (c->not_null && !put(sql, " NOT NULL")) return false;
    return !is_key || put(sql, " PRIMARY KEY");
}

/* A name for the hidden column that no other column has. */
static bool put_hidden_key(struct buf *sql, const struct schema *s) {
    size_t start = sql->len;
    if (!put(sql, "kevo_key")) return false;
    for (unsigned i = 0; i < s->column_count; i++) {
        if (!buf_append(sql, "", 1)) return false;
        bool taken = names_equal((const char *)sql->data + start, s->columns[i].name);
        sql->len--;
        if (!taken) continue;
        if (!put(sql, "_")) return false;
        i = (unsigned)-1; /* from the first column again */
    }
    return put(sql, " BLOB HIDDEN NOT NULL PRIMARY KEY");
}

int schema_declare(const struct schema *s, struct buf *sql, struct kevo_err *err) {
    bool ok = put(sql, "CREATE TABLE x(");
    for (unsigned i = 0; ok && i < s->column_count; i++)
        ok = (i == 0 || put(sql, ", ")) && put_column(sql, s, i);
    if (s->kind == SCHEMA_COMPOSITE) ok = ok && put(sql, ", ") && put_hidden_key(sql, s);
    ok = ok && put(sql, s->kind == SCHEMA_ROWID ? ")" : ") WITHOUT ROWID");
    return ok && buf_append(sql, "", 1) ? 0 : kevo_nomem(err);
}

static bool put_index(struct buf *text, const struct schema *index) {
    bool ok = put(text, index->unique ? ", UNIQUE " : ", INDEX ") && put_name(text, index->name);
    for (unsigned n = 0; ok && n < index->lead_count; n++)
        ok = put(text, n ? ", " : " (") &&
             put_name(text, index->columns[index->key[n].column].name) &&
             (!index->key[n].desc || put(text, " DESC"));
    return ok && put(text, ")");
}

int schema_describe_indexes(const struct schema *s, struct buf *text, struct kevo_err *err) {
    bool ok = true;
    for (unsigned i = 0; ok && i < s->index_count; i++)
        ok = put_index(text, &s->indexes[i]);
    return ok ? 0 : kevo_nomem(err);
}

/* ---- a value into a column ------------------------------------------------ */

static enum column_accept mismatch(const struct schema *s, const struct column *c,
                                   const struct value *v, struct kevo_err *err) {
    kevo_fail(err, KEVO_INVALID, "cannot store %s value in %s column %s.%s",
              value_type_name(v->type), type_name(c), s->table, c->name);
    return COLUMN_MISMATCH;
}

enum column_accept column_convert(const struct schema *s, unsigned column, struct value *v,
                                  bool asked, struct kevo_err *err) {
    const struct column *c = &s->columns[column];
    if (v->type == VALUE_NULL) {
        if (!c->not_null) return COLUMN_OK;
        kevo_fail(err, KEVO_INVALID, "NOT NULL constraint failed: %s.%s", s->table, c->name);
        return COLUMN_IS_NULL;
    }
    switch (c->type) {
    case COLUMN_INTEGER:
        if (v->type == VALUE_TEXT && !asked) return COLUMN_WANTS_NUMBER;
        if (v->type == VALUE_REAL && value_real_to_int(v->real, &v->integer))
            v->type = VALUE_INTEGER;
        return v->type == VALUE_INTEGER ? COLUMN_OK : mismatch(s, c, v, err);
    case COLUMN_REAL:
        if (v->type == VALUE_TEXT && !asked) return COLUMN_WANTS_NUMBER;
        if (v->type == VALUE_INTEGER) *v = value_real((double)v->integer);
        if (v->type != VALUE_REAL) return mismatch(s, c, v, err);
        v->real += 0.0; /* -0.0 becomes 0.0, as SQLite stores it */
        return COLUMN_OK;
    case COLUMN_TEXT:
        if (value_is_number(v) && !asked) return COLUMN_WANTS_TEXT;
        return v->type == VALUE_TEXT ? COLUMN_OK : mismatch(s, c, v, err);
    case COLUMN_BLOB: return v->type == VALUE_BLOB ? COLUMN_OK : mismatch(s, c, v, err);
    case COLUMN_ANY: return COLUMN_OK;
    }
    return COLUMN_OK;
}
