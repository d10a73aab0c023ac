#include "sql/schema.h"

#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "sql/schema_option.h"
#include "sql/token.h"

#define TYPES "INTEGER, REAL, TEXT, BLOB or ANY"

/* A column of the primary key, until all columns are known. */
struct key_part {
    char *name;
    bool desc;
};

struct parser {
    struct schema *s;
    size_t column_cap;
    struct key_part *parts;
    size_t part_count, part_cap;
    bool key_given;
    struct kevo_err *err;
    /* in the argument at hand */
    const char *p;      /* behind the current token */
    struct token token; /* the current one */
};

static void advance(struct parser *ps) {
    ps->token = token_next(&ps->p);
}

static struct token peek(const struct parser *ps) {
    const char *p = ps->p;
    return token_next(&p);
}

/* The current token for a message, shortened. */
static int shown(struct token t) {
    return t.len > 100 ? 100 : (int)t.len;
}
#define SHOW(t) shown(t), (t).start

static int fail_open(struct parser *ps) {
    return kevo_fail(ps->err, KEVO_INVALID, "a quote or comment does not end: %.*s",
                     SHOW(ps->token));
}

/* ---- what is refused, and why ---------------------------------------------- */

static const struct {
    const char *word, *why;
} refused[] = {
    {"DEFAULT", "a virtual table has no default values, give the value in the INSERT"},
    {"CHECK", "kevo checks no conditions"},
    {"REFERENCES", "SQLite has no foreign keys on virtual tables"},
    {"FOREIGN", "SQLite has no foreign keys on virtual tables"},
    {"GENERATED", "SQLite has no generated columns in virtual tables"},
    {"AS", "SQLite has no generated columns in virtual tables"},
    {"UNIQUE", "kevo has no secondary indexes, only the PRIMARY KEY is unique"},
    {"AUTOINCREMENT", "the rowid of a deleted row may be given again"},
    {"ON", "ON CONFLICT is for the statement: INSERT OR REPLACE, OR IGNORE and so on"},
    {"NULLS", "key columns hold no NULLs"},
};

/* Refuse the current token in the definition of `of` ("column kv.a"). */
static int fail_token(struct parser *ps, const char *of) {
    struct token t = ps->token;
    if (t.kind == TOKEN_OPEN) return fail_open(ps);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (token_is(t, refused[i].word))
            return kevo_fail(ps->err, KEVO_INVALID, "%s of table %s: no %s here: %s", of,
                             ps->s->table, refused[i].word, refused[i].why);
    if (t.kind == TOKEN_END)
        return kevo_fail(ps->err, KEVO_INVALID, "%s of table %s is not complete", of, ps->s->table);
    return kevo_fail(ps->err, KEVO_INVALID, "%s of table %s: %.*s is not understood here", of,
                     ps->s->table, SHOW(t));
}

/* ---- pieces ------------------------------------------------------------------ */

/* COLLATE has been read: only BINARY may follow. */
static int parse_collation(struct parser *ps, const char *of) {
    if (!token_is_name(ps->token)) return fail_token(ps, of);
    char *name = token_text(ps->token);
    if (!name) return kevo_nomem(ps->err);
    int rc = 0;
    if (!names_equal(name, "BINARY"))
        rc = kevo_fail(ps->err, KEVO_INVALID,
                       "%s of table %s: no COLLATE %s here: kevo compares text as BINARY", of,
                       ps->s->table, name);
    mem_free(name);
    advance(ps);
    return rc;
}

static bool parse_desc(struct parser *ps) {
    bool desc = token_is(ps->token, "DESC");
    if (desc || token_is(ps->token, "ASC")) advance(ps);
    return desc;
}

/* PRIMARY has been read. */
static int begin_key(struct parser *ps, const char *of) {
    if (!token_is(ps->token, "KEY")) return fail_token(ps, of);
    if (ps->key_given)
        return kevo_fail(ps->err, KEVO_INVALID, "table %s has more than one PRIMARY KEY",
                         ps->s->table);
    ps->key_given = true;
    advance(ps);
    return 0;
}

/* Takes `name`, also when it fails. */
static int add_key_part(struct parser *ps, char *name, bool desc) {
    if (!name ||
        !mem_grow((void **)&ps->parts, &ps->part_cap, ps->part_count + 1, sizeof *ps->parts)) {
        mem_free(name);
        return kevo_nomem(ps->err);
    }
    ps->parts[ps->part_count++] = (struct key_part){name, desc};
    return 0;
}

static int add_column(struct parser *ps, char *name, struct column **column) {
    struct schema *s = ps->s;
    int rc = 0;
    if (*name == '\0')
        rc = kevo_fail(ps->err, KEVO_INVALID, "a column of table %s has an empty name", s->table);
    for (unsigned i = 0; rc == 0 && i < s->column_count; i++)
        if (names_equal(s->columns[i].name, name))
            rc = kevo_fail(ps->err, KEVO_INVALID, "duplicate column name: %s.%s", s->table, name);
    if (rc == 0 && s->column_count == SCHEMA_MAX_COLUMNS)
        rc = kevo_fail(ps->err, KEVO_INVALID, "table %s has more than %d columns", s->table,
                       SCHEMA_MAX_COLUMNS);
    if (rc == 0 &&
        !mem_grow((void **)&s->columns, &ps->column_cap, s->column_count + 1, sizeof *s->columns))
        rc = kevo_nomem(ps->err);
    if (rc) {
        mem_free(name);
        return rc;
    }
    *column = &s->columns[s->column_count++];
    **column = (struct column){.name = name};
    return 0;
}

/* ---- columns ------------------------------------------------------------------ */

static int parse_type(struct parser *ps, struct column *c, const char *of) {
    static const struct {
        const char *word;
        enum column_type type;
    } types[] = {{"INTEGER", COLUMN_INTEGER}, {"INT", COLUMN_INTEGER}, {"REAL", COLUMN_REAL},
                 {"TEXT", COLUMN_TEXT},       {"BLOB", COLUMN_BLOB},   {"ANY", COLUMN_ANY}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (!token_is(ps->token, types[i].word)) continue;
        c->type = types[i].type;
        c->is_int = token_is(ps->token, "INT");
        advance(ps);
        return 0;
    }
    if (ps->token.kind == TOKEN_OPEN) return fail_open(ps);
    if (ps->token.kind == TOKEN_END)
        return kevo_fail(ps->err, KEVO_INVALID,
                         "missing type of %s of table %s: give " TYPES
                         " (a store directory is written in 'single quotes')",
                         of, ps->s->table);
    return kevo_fail(ps->err, KEVO_INVALID, "unknown type %.*s of %s of table %s: give " TYPES,
                     SHOW(ps->token), of, ps->s->table);
}

/* What has been said of a column. */
struct said {
    bool key, not_null, null, collate;
};

static int said_twice(struct parser *ps, const char *what, const char *of) {
    return kevo_fail(ps->err, KEVO_INVALID, "%s of table %s: %s is given twice", of, ps->s->table,
                     what);
}

static int parse_column_key(struct parser *ps, const struct column *c, const char *of) {
    advance(ps);
    int rc = begin_key(ps, of);
    if (rc) return rc;
    return add_key_part(ps, mem_strdup(c->name), parse_desc(ps));
}

static int parse_not_null(struct parser *ps, struct said *said, const char *of) {
    advance(ps);
    if (!token_is(ps->token, "NULL")) return fail_token(ps, of);
    if (said->not_null) return said_twice(ps, "NOT NULL", of);
    said->not_null = true;
    advance(ps);
    return 0;
}

static int parse_column_constraint(struct parser *ps, const struct column *c, struct said *said,
                                   const char *of) {
    if (token_is(ps->token, "CONSTRAINT")) {
        advance(ps);
        if (!token_is_name(ps->token)) return fail_token(ps, of);
        advance(ps);
        if (ps->token.kind == TOKEN_END) return fail_token(ps, of);
    }
    if (token_is(ps->token, "PRIMARY")) {
        said->key = true;
        return parse_column_key(ps, c, of);
    }
    if (token_is(ps->token, "NOT")) return parse_not_null(ps, said, of);
    if (token_is(ps->token, "NULL")) {
        if (said->null) return said_twice(ps, "NULL", of);
        said->null = true;
        advance(ps);
        return 0;
    }
    if (token_is(ps->token, "COLLATE")) {
        if (said->collate) return said_twice(ps, "COLLATE", of);
        said->collate = true;
        advance(ps);
        return parse_collation(ps, of);
    }
    return fail_token(ps, of);
}

static int parse_column(struct parser *ps) {
    struct column *c = NULL;
    char of[120];
    char *name = token_text(ps->token);
    if (!name) return kevo_nomem(ps->err);
    int rc = add_column(ps, name, &c);
    if (rc) return rc;
    snprintf(of, sizeof of, "column %.100s", c->name);
    advance(ps);
    rc = parse_type(ps, c, of);
    struct said said = {false};
    while (rc == 0 && ps->token.kind != TOKEN_END)
        rc = parse_column_constraint(ps, c, &said, of);
    if (rc) return rc;
    if (said.null && (said.not_null || said.key))
        return kevo_fail(ps->err, KEVO_INVALID, "%s of table %s: NULL contradicts %s", of,
                         ps->s->table, said.key ? "PRIMARY KEY" : "NOT NULL");
    c->not_null = said.not_null;
    return 0;
}

/* ---- table constraints, options, directory -------------------------------------- */

static int parse_key_list(struct parser *ps, const char *of) {
    for (;;) {
        advance(ps); /* past ( or , */
        if (!token_is_name(ps->token)) return fail_token(ps, of);
        char *name = token_text(ps->token);
        if (!name) return kevo_nomem(ps->err);
        advance(ps);
        int rc = 0;
        if (token_is(ps->token, "COLLATE")) {
            advance(ps);
            rc = parse_collation(ps, of);
        }
        if (rc) {
            mem_free(name);
            return rc;
        }
        rc = add_key_part(ps, name, parse_desc(ps));
        if (rc) return rc;
        if (!token_is_mark(ps->token, ',')) break;
    }
    if (!token_is_mark(ps->token, ')')) return fail_token(ps, of);
    advance(ps);
    return ps->token.kind == TOKEN_END ? 0 : fail_token(ps, of);
}

static bool begins_table_constraint(struct token t) {
    return token_is(t, "CONSTRAINT") || token_is(t, "PRIMARY") || token_is(t, "UNIQUE") ||
           token_is(t, "CHECK") || token_is(t, "FOREIGN");
}

static int parse_table_constraint(struct parser *ps) {
    const char *of = "a constraint";
    if (token_is(ps->token, "CONSTRAINT")) {
        advance(ps);
        if (!token_is_name(ps->token)) return fail_token(ps, of);
        advance(ps);
    }
    if (!token_is(ps->token, "PRIMARY")) return fail_token(ps, of);
    advance(ps);
    of = "PRIMARY KEY";
    int rc = begin_key(ps, of);
    if (rc) return rc;
    if (!token_is_mark(ps->token, '(')) return fail_token(ps, of);
    return parse_key_list(ps, of);
}

/* The value of an option: one quoted text, or all that is written. */
static char *option_value(struct parser *ps) {
    struct token first = ps->token;
    advance(ps);
    if (ps->token.kind == TOKEN_END) return token_text(first);
    struct token all = {TOKEN_WORD, first.start, strlen(first.start)};
    return token_text(all);
}

static int parse_option(struct parser *ps) {
    char *name = token_text(ps->token), *value = NULL;
    int rc = 0;
    advance(ps);
    advance(ps); /* past = */
    if (ps->token.kind == TOKEN_OPEN) {
        rc = fail_open(ps);
        goto out;
    }
    if (name) value = option_value(ps);
    rc = value ? schema_option_set(&ps->s->options, name, value, ps->err) : kevo_nomem(ps->err);
out:
    mem_free(name);
    mem_free(value);
    return rc;
}

static int parse_directory(struct parser *ps) {
    if (ps->s->directory)
        return kevo_fail(ps->err, KEVO_INVALID, "table %s has two store directories: '%s' and %.*s",
                         ps->s->table, ps->s->directory, SHOW(ps->token));
    ps->s->directory = token_text(ps->token);
    if (!ps->s->directory) return kevo_nomem(ps->err);
    if (*ps->s->directory == '\0')
        return kevo_fail(ps->err, KEVO_INVALID, "the store directory of table %s is empty",
                         ps->s->table);
    return 0;
}

static int parse_argument(struct parser *ps, const char *argument) {
    ps->p = argument;
    advance(ps);
    struct token next = peek(ps);
    if (ps->token.kind == TOKEN_OPEN) return fail_open(ps);
    if (ps->token.kind == TOKEN_STRING && next.kind == TOKEN_END) return parse_directory(ps);
    if (token_is_name(ps->token) && token_is_mark(next, '=')) return parse_option(ps);
    if (begins_table_constraint(ps->token)) return parse_table_constraint(ps);
    if (token_is_name(ps->token)) return parse_column(ps);
    return kevo_fail(ps->err, KEVO_INVALID,
                     "argument \"%.100s\" of table %s is no column, option, PRIMARY KEY or "
                     "'directory'",
                     argument, ps->s->table);
}

/* ---- putting it together ---------------------------------------------------------- */

static int add_default_column(struct parser *ps, const char *text, enum column_type type) {
    struct column *c = NULL;
    char *name = mem_strdup(text);
    int rc = name ? add_column(ps, name, &c) : kevo_nomem(ps->err);
    if (rc == 0) c->type = type;
    return rc;
}

static int add_defaults(struct parser *ps) {
    if (ps->key_given)
        return kevo_fail(ps->err, KEVO_INVALID, "table %s has a PRIMARY KEY but no columns",
                         ps->s->table);
    int rc = add_default_column(ps, "key", COLUMN_TEXT);
    if (rc == 0) rc = add_default_column(ps, "value", COLUMN_ANY);
    if (rc == 0) rc = add_key_part(ps, mem_strdup("key"), false);
    return rc;
}

static int find_column(const struct schema *s, const char *name) {
    for (unsigned i = 0; i < s->column_count; i++)
        if (names_equal(s->columns[i].name, name)) return (int)i;
    return SCHEMA_NO_COLUMN;
}

static int resolve_part(struct parser *ps, const struct key_part *part) {
    struct schema *s = ps->s;
    int column = find_column(s, part->name);
    if (column < 0)
        return kevo_fail(ps->err, KEVO_INVALID,
                         "PRIMARY KEY of table %s names %s, which is none of its columns", s->table,
                         part->name);
    struct column *c = &s->columns[column];
    for (unsigned i = 0; i < s->key_count; i++)
        if (s->key[i].column == column)
            return kevo_fail(ps->err, KEVO_INVALID, "PRIMARY KEY of table %s names %s twice",
                             s->table, c->name);
    if (c->type == COLUMN_ANY)
        return kevo_fail(
            ps->err, KEVO_INVALID,
            "key column %s.%s may not be of type ANY: give INTEGER, REAL, TEXT or BLOB", s->table,
            c->name);
    c->not_null = true;
    s->key[s->key_count++] =
        (struct key_column){.column = column, .type = c->type, .desc = part->desc};
    return 0;
}

static int resolve_key(struct parser *ps) {
    struct schema *s = ps->s;
    size_t n = ps->part_count;
    if (n > SCHEMA_MAX_KEY_COLUMNS)
        return kevo_fail(ps->err, KEVO_INVALID, "PRIMARY KEY of table %s has more than %d columns",
                         s->table, SCHEMA_MAX_KEY_COLUMNS);
    s->key = mem_array(n ? n : 1, sizeof *s->key);
    if (!s->key) return kevo_nomem(ps->err);
    if (n == 0) {
        s->key[0] = (struct key_column){.column = SCHEMA_NO_COLUMN, .type = COLUMN_INTEGER};
        s->key_count = 1;
        s->kind = SCHEMA_ROWID;
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        int rc = resolve_part(ps, &ps->parts[i]);
        if (rc) return rc;
    }
    struct column *first = &s->columns[s->key[0].column];
    s->kind = n > 1 ? SCHEMA_COMPOSITE : SCHEMA_KEYED_ONE;
    if (n == 1 && first->type == COLUMN_INTEGER && !first->is_int && !s->key[0].desc) {
        s->kind = SCHEMA_ROWID;
        first->not_null = false;
    }
    return 0;
}

static bool is_key_column(const struct schema *s, unsigned column) {
    for (unsigned i = 0; i < s->key_count; i++)
        if (s->key[i].column == (int)column) return true;
    return false;
}

static int number_row_columns(struct parser *ps) {
    struct schema *s = ps->s;
    s->row = mem_array(s->column_count, sizeof *s->row);
    s->row_index = mem_array(s->column_count, sizeof *s->row_index);
    if (!s->row || !s->row_index) return kevo_nomem(ps->err);
    for (unsigned i = 0; i < s->column_count; i++) {
        s->row_index[i] = -1;
        if (is_key_column(s, i)) continue;
        s->row_index[i] = (int)s->row_count;
        s->row[s->row_count++] = i;
    }
    return 0;
}

int schema_parse(const char *table, int argc, const char *const *argv, struct schema **schema,
                 struct kevo_err *err) {
    struct parser ps = {.err = err};
    int rc = 0;
    *schema = NULL;
    ps.s = mem_zalloc(sizeof *ps.s);
    if (!ps.s) return kevo_nomem(err);
    schema_options_clear(&ps.s->options);
    ps.s->table = mem_strdup(table);
    if (!ps.s->table) rc = kevo_nomem(err);
    for (int i = 0; rc == 0 && i < argc; i++)
        rc = parse_argument(&ps, argv[i]);
    if (rc == 0 && ps.s->column_count == 0) rc = add_defaults(&ps);
    if (rc == 0) rc = resolve_key(&ps);
    if (rc == 0) rc = number_row_columns(&ps);
    for (size_t i = 0; i < ps.part_count; i++)
        mem_free(ps.parts[i].name);
    mem_free(ps.parts);
    if (rc == 0)
        *schema = ps.s;
    else
        schema_free(ps.s);
    return rc;
}
