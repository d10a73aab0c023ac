/* schema.h - the arguments of CREATE VIRTUAL TABLE t USING kevo(...) and what
 * they mean.
 *
 * Each argument is one of
 *   'directory'                      a single-quoted string: the store
 *   name = value                     an option
 *   name TYPE constraint ...         a column
 *   [CONSTRAINT name] PRIMARY KEY (column [ASC|DESC], ...)
 * in any order, in SQL's own quoting ("a", [a], `a`, 'a'), with comments. Types:
 * INTEGER, INT, REAL, TEXT, BLOB, ANY. Column constraints: PRIMARY KEY
 * [ASC|DESC], NOT NULL, NULL, COLLATE BINARY. Without any column the table is
 * (key TEXT PRIMARY KEY NOT NULL, value ANY).
 *
 * Options are the engine's, kevo_options_set(). Values may be quoted; SQLite itself refuses
 * the single token 64MB, so a size is written '64MB' or 64 MB or as a number of bytes.
 *
 * Three kinds of table come out of it:
 *   SCHEMA_ROWID      no PRIMARY KEY, or a single key column INTEGER ASC (spelled
 *                     INTEGER, as in SQLite: INT PRIMARY KEY and INTEGER PRIMARY
 *                     KEY DESC are ordinary keys). The key is the rowid. Declared
 *                     to SQLite as a rowid table; the alias column is declared
 *                     INTEGER PRIMARY KEY but SQLite treats an alias of a virtual
 *                     table as an ordinary column, so the module fills it.
 *   SCHEMA_KEYED_ONE  one key column of another type, declared PRIMARY KEY of a
 *                     WITHOUT ROWID table.
 *   SCHEMA_COMPOSITE  several key columns. The declared primary key is a hidden
 *                     BLOB column behind all others (its index in the virtual
 *                     table is column_count), WITHOUT ROWID.
 * So column i of the virtual table is columns[i] in all three. */
#ifndef KEVO_SQL_SCHEMA_H
#define KEVO_SQL_SCHEMA_H

#include "engine/base/buf.h"
#include "sql/value.h"

enum { SCHEMA_MAX_COLUMNS = 1999, SCHEMA_MAX_KEY_COLUMNS = 64, SCHEMA_NO_COLUMN = -1 };

enum schema_kind { SCHEMA_ROWID, SCHEMA_KEYED_ONE, SCHEMA_COMPOSITE };

enum column_type { COLUMN_INTEGER, COLUMN_REAL, COLUMN_TEXT, COLUMN_BLOB, COLUMN_ANY };

struct column {
    char *name;            /* as written, without quotes */
    enum column_type type; /* INT and INTEGER are both COLUMN_INTEGER */
    bool is_int;           /* spelled INT */
    bool not_null;         /* to be enforced; true for key columns, but false for the
                              alias of the rowid, where NULL asks for a new one */
};

struct key_column {
    int column; /* index into columns, or SCHEMA_NO_COLUMN: the hidden rowid */
    enum column_type type;
    bool desc;
};

struct schema_options {
    struct kevo_options values; /* the defaults where nothing is given */
    uint64_t given;             /* bit n: that of kevo_option_at(n) is */
};

struct schema {
    char *table;     /* the table's name, for messages */
    char *directory; /* NULL: not given */
    struct schema_options options;
    enum schema_kind kind;
    struct column *columns; /* in the order they were written */
    unsigned column_count;
    struct key_column *key; /* at least one: the rowid counts */
    unsigned key_count;
    unsigned *row; /* the columns that are not in the key, ascending: what the
                      value of an entry holds (rowcode.h) */
    unsigned row_count;
    int *row_index; /* for each column its place in row[], or -1 */
};

/* Parse argv[0..argc), SQLite's argv + 3. KEVO_INVALID with a message that names
 * the piece and says what would be right; KEVO_NOMEM. */
int schema_parse(const char *table, int argc, const char *const *argv, struct schema **schema,
                 struct kevo_err *err);
void schema_free(struct schema *s); /* s may be NULL */

/* Append the statement for sqlite3_declare_vtab, with its NUL. KEVO_NOMEM. */
int schema_declare(const struct schema *s, struct buf *sql, struct kevo_err *err);

/* The name of an option that the table's definition gives, NULL when it gives none. */
const char *schema_given_option(const struct schema *s);

/* The column that is the rowid, or SCHEMA_NO_COLUMN. */
static inline int schema_rowid_alias(const struct schema *s) {
    return s->kind == SCHEMA_ROWID ? s->key[0].column : SCHEMA_NO_COLUMN;
}

/* ---- a value into a column, by the rules of STRICT tables ---------------- */

enum column_accept {
    COLUMN_OK = 0,       /* *v is what is to be stored; it may have been converted */
    COLUMN_WANTS_TEXT,   /* a number for a TEXT column: let SQLite make text of it
                            (sqlite3_value_text), then ask again */
    COLUMN_WANTS_NUMBER, /* text for a number column: let SQLite make a number of it
                            if it looks like one (sqlite3_value_numeric_type, then
                            fill *v anew, text or not), then ask again */
    COLUMN_IS_NULL,      /* "NOT NULL constraint failed: t.c" is in err */
    COLUMN_MISMATCH      /* "cannot store TEXT value in INTEGER column t.c" is in err */
};

/* The slow part of column_accept(). */
enum column_accept column_convert(const struct schema *s, unsigned column, struct value *v,
                                  bool asked, struct kevo_err *err);

/* Check *v for the column and convert it where that is lossless. `asked`: false
 * at first; true when *v is what SQLite made of it after COLUMN_WANTS_TEXT or
 * COLUMN_WANTS_NUMBER, which are not returned again then. As in SQLite -0.0 becomes
 * 0.0 in a REAL column and stays in an ANY column. */
static inline enum column_accept column_accept(const struct schema *s, unsigned column,
                                               struct value *v, bool asked, struct kevo_err *err) {
    static const uint8_t plain[] = {[COLUMN_INTEGER] = 1 << VALUE_INTEGER,
                                    [COLUMN_REAL] = 0,
                                    [COLUMN_TEXT] = 1 << VALUE_TEXT,
                                    [COLUMN_BLOB] = 1 << VALUE_BLOB,
                                    [COLUMN_ANY] = 0x1e};
    if (plain[s->columns[column].type] >> v->type & 1) return COLUMN_OK;
    return column_convert(s, column, v, asked, err);
}

#endif
