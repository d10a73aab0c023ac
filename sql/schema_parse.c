#include "sql/schema.h"

#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "sql/schema_option.h"
#include "sql/token.h"

#define TYPES "INTEGER, REAL, TEXT, BLOB or ANY"

/* A column of a key, until all columns are known. */
struct key_part {
    char *name;
    bool desc;
};

struct key_list {
    struct key_part *parts;
    size_t count, cap;
};

/* An INDEX or UNIQUE, until all columns are known. */
struct index_part {
    char *name; /* NULL: none was given */
    bool unique;
    struct key_list columns;
};

struct parser {
    struct schema *s;
    size_t column_cap;
    struct key_list key;
    bool key_given;
    bool key_listed;       /* as a table constraint */
    size_t key_place;      /* how many indexes were before it */
    bool key_repeated;     /* a UNIQUE says the same */
    unsigned repeat_place; /* how many indexes were before the first of those */
    struct index_part *indexes;
    size_t index_count, index_cap;
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
    {"AUTOINCREMENT", "the rowid of a deleted row may be given again"},
    {"ON", "ON CONFLICT is for the statement: INSERT OR REPLACE, OR IGNORE and so on"},
    {"NULLS", "NULLs come first, with DESC last"},
    {"WHERE", "an index has all rows"},
};

static const char *why_refused(struct token t, const char **word) {
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (!token_is(t, refused[i].word)) continue;
        *word = refused[i].word;
        return refused[i].why;
    }
    return NULL;
}

/* Refuse the current token in the definition of `of` ("column kv.a"). */
static int fail_token(struct parser *ps, const char *of) {
    struct token t = ps->token;
    const char *word, *why = why_refused(t, &word);
    if (t.kind == TOKEN_OPEN) return fail_open(ps);
    if (why)
        return kevo_fail(ps->err, KEVO_INVALID, "%s of table %s: no %s here: %s", of, ps->s->table,
                         word, why);
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
    ps->key_place = ps->index_count;
    advance(ps);
    return 0;
}

/* Takes `name`, also when it fails. */
static int add_key_part(struct parser *ps, struct key_list *list, char *name, bool desc) {
    if (!name ||
        !mem_grow((void **)&list->parts, &list->cap, list->count + 1, sizeof *list->parts)) {
        mem_free(name);
        return kevo_nomem(ps->err);
    }
    list->parts[list->count++] = (struct key_part){name, desc};
    return 0;
}

static void release_list(struct key_list *list) {
    for (size_t i = 0; i < list->count; i++)
        mem_free(list->parts[i].name);
    mem_free(list->parts);
}

/* An index without columns; `name` is the token of its name, or of another kind. */
static int add_index(struct parser *ps, struct token name, bool unique, struct index_part **index) {
    if (!mem_grow((void **)&ps->indexes, &ps->index_cap, ps->index_count + 1, sizeof **index))
        return kevo_nomem(ps->err);
    *index = &ps->indexes[ps->index_count++];
    **index = (struct index_part){.unique = unique};
    if (!token_is_name(name)) return 0;
    (*index)->name = token_text(name);
    if (!(*index)->name) return kevo_nomem(ps->err);
    if (*(*index)->name) return 0;
    return kevo_fail(ps->err, KEVO_INVALID, "an index of table %s has an empty name", ps->s->table);
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

static bool begins_column_constraint(struct token t) {
    return token_is(t, "CONSTRAINT") || token_is(t, "PRIMARY") || token_is(t, "UNIQUE") ||
           token_is(t, "NOT") || token_is(t, "NULL") || token_is(t, "COLLATE");
}

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
    const char *word;
    if (ps->token.kind == TOKEN_OPEN || why_refused(ps->token, &word)) return fail_token(ps, of);
    if (ps->token.kind == TOKEN_END || begins_column_constraint(ps->token))
        return kevo_fail(ps->err, KEVO_INVALID,
                         "missing type of %s of table %s: give " TYPES
                         " (a store directory is written in 'single quotes')",
                         of, ps->s->table);
    return kevo_fail(ps->err, KEVO_INVALID, "unknown type %.*s of %s of table %s: give " TYPES,
                     SHOW(ps->token), of, ps->s->table);
}

/* What has been said of a column. */
struct said {
    bool key, unique, not_null, null, collate;
};

static int said_twice(struct parser *ps, const char *what, const char *of) {
    return kevo_fail(ps->err, KEVO_INVALID, "%s of table %s: %s is given twice", of, ps->s->table,
                     what);
}

static int parse_column_key(struct parser *ps, const struct column *c, const char *of) {
    advance(ps);
    int rc = begin_key(ps, of);
    if (rc) return rc;
    return add_key_part(ps, &ps->key, mem_strdup(c->name), parse_desc(ps));
}

static int parse_column_unique(struct parser *ps, const struct column *c, struct token name,
                               struct said *said, const char *of) {
    struct index_part *index;
    if (said->unique) return said_twice(ps, "UNIQUE", of);
    said->unique = true;
    advance(ps);
    int rc = add_index(ps, name, true, &index);
    return rc ? rc : add_key_part(ps, &index->columns, mem_strdup(c->name), false);
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
    struct token name = {.kind = TOKEN_END};
    if (token_is(ps->token, "CONSTRAINT")) {
        advance(ps);
        if (!token_is_name(ps->token)) return fail_token(ps, of);
        name = ps->token;
        advance(ps);
        if (ps->token.kind == TOKEN_END) return fail_token(ps, of);
    }
    if (token_is(ps->token, "PRIMARY")) {
        said->key = true;
        return parse_column_key(ps, c, of);
    }
    if (token_is(ps->token, "UNIQUE")) return parse_column_unique(ps, c, name, said, of);
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

/* The current token should be the ( of a list of columns. */
static int parse_key_list(struct parser *ps, struct key_list *list, const char *of) {
    if (!token_is_mark(ps->token, '(')) return fail_token(ps, of);
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
        rc = add_key_part(ps, list, name, parse_desc(ps));
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

/* INDEX or UNIQUE has been read; a name may have come before the latter. */
static int parse_index(struct parser *ps, struct token name, bool unique) {
    struct index_part *index;
    char of[120];
    int rc = add_index(ps, name, unique, &index);
    if (rc) return rc;
    snprintf(of, sizeof of, "%s%.100s", unique ? "UNIQUE" : "INDEX ", unique ? "" : index->name);
    return parse_key_list(ps, &index->columns, of);
}

static int parse_named_index(struct parser *ps) {
    advance(ps);
    struct token name = ps->token;
    if (name.kind != TOKEN_END && name.kind != TOKEN_OPEN && !token_is_name(name))
        return kevo_fail(ps->err, KEVO_INVALID,
                         "an INDEX of table %s has no name: write INDEX name (column, ...)",
                         ps->s->table);
    if (!token_is_name(name)) return fail_token(ps, "INDEX");
    advance(ps);
    return parse_index(ps, name, false);
}

static int parse_table_constraint(struct parser *ps) {
    const char *of = "a constraint";
    struct token name = {.kind = TOKEN_END};
    if (token_is(ps->token, "CONSTRAINT")) {
        advance(ps);
        if (!token_is_name(ps->token)) return fail_token(ps, of);
        name = ps->token;
        advance(ps);
    }
    if (token_is(ps->token, "UNIQUE")) {
        advance(ps);
        return parse_index(ps, name, true);
    }
    if (!token_is(ps->token, "PRIMARY")) return fail_token(ps, of);
    advance(ps);
    of = "PRIMARY KEY";
    int rc = begin_key(ps, of);
    if (rc) return rc;
    ps->key_listed = true;
    return parse_key_list(ps, &ps->key, of);
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
    if (token_is(ps->token, "INDEX")) return parse_named_index(ps);
    if (begins_table_constraint(ps->token)) return parse_table_constraint(ps);
    if (token_is_name(ps->token)) return parse_column(ps);
    return kevo_fail(ps->err, KEVO_INVALID,
                     "argument \"%.100s\" of table %s is no column, option, PRIMARY KEY, "
                     "INDEX or 'directory'",
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
    if (ps->key_given || ps->index_count)
        return kevo_fail(ps->err, KEVO_INVALID,
                         "table %s has a PRIMARY KEY or index but no columns", ps->s->table);
    int rc = add_default_column(ps, "key", COLUMN_TEXT);
    if (rc == 0) rc = add_default_column(ps, "value", COLUMN_ANY);
    if (rc == 0) rc = add_key_part(ps, &ps->key, mem_strdup("key"), false);
    return rc;
}

static int find_column(const struct schema *s, const char *name) {
    for (unsigned i = 0; i < s->column_count; i++)
        if (names_equal(s->columns[i].name, name)) return (int)i;
    return SCHEMA_NO_COLUMN;
}

/* Append the column to the key of a table or index, of which `of` is the name. */
static int resolve_part(struct parser *ps, const char *of, const struct key_part *part,
                        struct schema *s) {
    int column = find_column(ps->s, part->name);
    if (column < 0)
        return kevo_fail(ps->err, KEVO_INVALID,
                         "%s of table %s names %s, which is none of its "
                         "columns",
                         of, s->table, part->name);
    const struct column *c = &s->columns[column];
    for (unsigned i = 0; i < s->key_count; i++)
        if (s->key[i].column == column)
            return kevo_fail(ps->err, KEVO_INVALID, "%s of table %s names %s twice", of, s->table,
                             c->name);
    s->key[s->key_count++] =
        (struct key_column){.column = column, .type = c->type, .desc = part->desc};
    return 0;
}

static int resolve_key_part(struct parser *ps, const struct key_part *part) {
    struct schema *s = ps->s;
    int rc = resolve_part(ps, "PRIMARY KEY", part, s);
    if (rc) return rc;
    struct column *c = &s->columns[s->key[s->key_count - 1].column];
    if (c->type == COLUMN_ANY)
        return kevo_fail(
            ps->err, KEVO_INVALID,
            "key column %s.%s may not be of type ANY: give INTEGER, REAL, TEXT or BLOB", s->table,
            c->name);
    c->not_null = true;
    return 0;
}

static int resolve_key(struct parser *ps) {
    struct schema *s = ps->s;
    size_t n = ps->key.count;
    s->alias = SCHEMA_NO_COLUMN;
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
        int rc = resolve_key_part(ps, &ps->key.parts[i]);
        if (rc) return rc;
    }
    struct column *first = &s->columns[s->key[0].column];
    s->kind = n > 1 ? SCHEMA_COMPOSITE : SCHEMA_KEYED_ONE;
    if (n == 1 && first->type == COLUMN_INTEGER && !first->is_int && !s->key[0].desc) {
        s->kind = SCHEMA_ROWID;
        s->alias = s->key[0].column;
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

/* ---- indexes ------------------------------------------------------------------------ */

static bool same_columns(const struct schema *a, unsigned a_count, const struct schema *b,
                         unsigned b_count) {
    for (unsigned n = 0; n < a_count && n < b_count; n++)
        if (a->key[n].column != b->key[n].column) return false;
    return a_count == b_count;
}

/* Whether it is unique already by what was said before. */
static bool says_nothing_new(const struct schema *s, const struct schema *index) {
    if (!index->unique) return false;
    if (same_columns(s, s->key_count, index, index->lead_count)) return true;
    for (unsigned i = 0; i < s->index_count; i++)
        if (s->indexes[i].unique &&
            same_columns(&s->indexes[i], s->indexes[i].lead_count, index, index->lead_count))
            return true;
    return false;
}

/* Behind the columns of an index those of the primary key make every entry another. */
static void append_primary_key(const struct schema *s, struct schema *index) {
    for (unsigned n = 0; n < s->key_count; n++) {
        unsigned i = 0;
        while (i < index->lead_count && index->key[i].column != s->key[n].column)
            i++;
        if (i == index->lead_count) index->key[index->key_count++] = s->key[n];
    }
}

static int resolve_index(struct parser *ps, const struct index_part *part, struct schema *index) {
    const struct schema *s = ps->s;
    char of[120];
    snprintf(of, sizeof of, part->name ? "%s %.100s" : "%s", part->unique ? "UNIQUE" : "INDEX",
             part->name);
    size_t n = part->columns.count;
    if (n > SCHEMA_MAX_INDEX_COLUMNS)
        return kevo_fail(ps->err, KEVO_INVALID, "%s of table %s has more than %d columns", of,
                         s->table, SCHEMA_MAX_INDEX_COLUMNS);
    index->key = mem_array(n + s->key_count, sizeof *index->key);
    if (!index->key) return kevo_nomem(ps->err);
    for (size_t i = 0; i < n; i++) {
        int rc = resolve_part(ps, of, &part->columns.parts[i], index);
        if (rc) return rc;
        struct key_column *k = &index->key[i];
        k->tagged =
            k->type == COLUMN_ANY || (!s->columns[k->column].not_null && k->column != s->alias);
    }
    index->lead_count = (unsigned)n;
    append_primary_key(s, index);
    return 0;
}

static const struct schema *find_index(const struct schema *s, const char *name) {
    for (unsigned i = 0; i < s->index_count; i++)
        if (s->indexes[i].name && names_equal(s->indexes[i].name, name)) return &s->indexes[i];
    return NULL;
}

/* A UNIQUE without a name is called unique_1, by its number, or with more underscores. */
static int name_index(struct parser *ps, struct schema *index) {
    char name[40];
    int at = snprintf(name, sizeof name, "unique_%u", index->number);
    while (find_index(ps->s, name) && at < (int)sizeof name - 1) {
        name[at++] = '_';
        name[at] = '\0';
    }
    index->name = mem_strdup(name);
    return index->name ? 0 : kevo_nomem(ps->err);
}

/* As a table with the same columns, which are shared. */
static int add_index_schema(struct parser *ps, struct index_part *part) {
    struct schema *s = ps->s, *index = &s->indexes[s->index_count];
    *index = *s;
    index->key = NULL;
    index->row = NULL;
    index->row_index = NULL;
    index->indexes = NULL;
    index->key_count = index->row_count = index->index_count = 0;
    index->number = s->index_count + 1;
    index->unique = part->unique;
    int rc = resolve_index(ps, part, index);
    if (rc == 0 && part->name && find_index(s, part->name))
        rc = kevo_fail(ps->err, KEVO_INVALID, "table %s has two indexes called %s", s->table,
                       part->name);
    if (rc || says_nothing_new(s, index)) {
        if (rc == 0 && !ps->key_repeated &&
            same_columns(s, s->key_count, index, index->lead_count)) {
            ps->key_repeated = true;
            ps->repeat_place = s->index_count;
        }
        mem_free(index->key);
        return rc;
    }
    if (s->index_count == SCHEMA_MAX_INDEXES) {
        mem_free(index->key);
        return kevo_fail(ps->err, KEVO_INVALID, "table %s has more than %d indexes", s->table,
                         SCHEMA_MAX_INDEXES);
    }
    index->name = part->name;
    part->name = NULL;
    s->index_count++;
    return 0;
}

static int resolve_indexes(struct parser *ps) {
    struct schema *s = ps->s;
    int rc = 0;
    if (ps->index_count == 0) return 0;
    s->indexes = mem_array(ps->index_count, sizeof *s->indexes);
    if (!s->indexes) return kevo_nomem(ps->err);
    for (size_t i = 0; rc == 0 && i < ps->index_count; i++) {
        if (i == ps->key_place) s->key_place = s->index_count;
        rc = add_index_schema(ps, &ps->indexes[i]);
    }
    /* SQLite itself makes an index of PRIMARY KEY (integer) last, or has it by then from a
     * UNIQUE that says the same. */
    const struct column *first = s->key[0].column < 0 ? NULL : &s->columns[s->key[0].column];
    bool last =
        ps->key_listed && s->key_count == 1 && first->type == COLUMN_INTEGER && !first->is_int;
    if (last && ps->key_repeated)
        s->key_place = ps->repeat_place;
    else if (last || ps->key_place == ps->index_count)
        s->key_place = s->index_count;
    for (unsigned i = 0; rc == 0 && i < s->index_count; i++)
        if (!s->indexes[i].name) rc = name_index(ps, &s->indexes[i]);
    return rc;
}

/* ---- the whole ---------------------------------------------------------------------- */

static void release_parser(struct parser *ps) {
    release_list(&ps->key);
    for (size_t i = 0; i < ps->index_count; i++) {
        mem_free(ps->indexes[i].name);
        release_list(&ps->indexes[i].columns);
    }
    mem_free(ps->indexes);
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
    if (rc == 0) rc = resolve_indexes(&ps);
    release_parser(&ps);
    if (rc == 0)
        *schema = ps.s;
    else
        schema_free(ps.s);
    return rc;
}

int schema_check_commas(const char *table, const char *sql, struct kevo_err *err) {
    unsigned depth = 0;
    char before = 0; /* the mark before, 0: it was none, or there was something in between */
    struct token t = token_next(&sql);
    for (; t.kind != TOKEN_END && t.kind != TOKEN_OPEN; t = token_next(&sql)) {
        char mark = t.kind == TOKEN_MARK ? *t.start : 0;
        bool ends = depth == 1 && (mark == ',' || mark == ')');
        /* () is no argument at all. */
        if (ends && (before == ',' || (before == '(' && mark == ',')))
            return kevo_fail(err, KEVO_INVALID,
                             "table %s has an empty argument: a comma too many near \"%.1s\"",
                             table, t.start);
        if (mark == '(') depth++;
        if (mark == ')' && --depth == 0) break;
        before = mark;
    }
    return 0;
}
