/* schema.h - the arguments of CREATE VIRTUAL TABLE t USING kevo(...) and what
 * they mean.
 *
 * Each argument is one of
 *   'directory'                      a single-quoted string: the store
 *   name = value                     an option
 *   name TYPE constraint ...         a column
 *   [CONSTRAINT name] PRIMARY KEY (column [ASC|DESC], ...)
 *   [CONSTRAINT name] UNIQUE (column [ASC|DESC], ...)
 *   INDEX name (column [ASC|DESC], ...)
 * in any order, in SQL's own quoting ("a", [a], `a`, 'a'), with comments. Types:
 * INTEGER, INT, REAL, TEXT, BLOB, ANY. Column constraints: PRIMARY KEY
 * [ASC|DESC], UNIQUE, NOT NULL, NULL, COLLATE BINARY. Without any column the table is
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
 * So column i of the virtual table is columns[i] in all three.
 *
 * Each INDEX and UNIQUE is an index, but for a UNIQUE of just the columns of the primary
 * key or of an earlier UNIQUE, which says nothing new. An index is described as a table of
 * its own: a struct schema with the same columns and another key, the columns of the index
 * and behind them those of the primary key that are not among them. So whatever
 * makes keys, plans or ranges for a table does the same for an index. */
#ifndef KEVO_SQL_SCHEMA_H
#define KEVO_SQL_SCHEMA_H

#include "engine/base/buf.h"
#include "sql/value.h"

enum {
    SCHEMA_MAX_COLUMNS = 1999,
    SCHEMA_MAX_KEY_COLUMNS = 64, /* of a primary key */
    SCHEMA_MAX_INDEXES = 63,
    SCHEMA_MAX_INDEX_COLUMNS = 32, /* as written */
    SCHEMA_MAX_LAYOUT = SCHEMA_MAX_KEY_COLUMNS + SCHEMA_MAX_INDEX_COLUMNS,
    SCHEMA_NO_COLUMN = -1
};

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
    bool tagged; /* of an index, where the column may be NULL or is of type ANY: a byte that
                    tells the value's class comes first */
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
    int alias;      /* the column that is the rowid, or SCHEMA_NO_COLUMN */
    struct schema *indexes;
    unsigned index_count;
    unsigned key_place; /* how many of the indexes were written before the PRIMARY KEY */

    /* Of an index; what it shares with its table (the fields above but for `key`,
     * `key_count`, `row`, `row_index`, `indexes`) belongs to that. */
    unsigned number;     /* 1, 2, ... in the order they were written; 0: a table */
    char *name;          /* NULL: a table */
    unsigned lead_count; /* the key columns that were written, before the primary key's */
    bool unique;
};

/* Parse argv[0..argc), SQLite's argv + 3. KEVO_INVALID with a message that names
 * the piece and says what would be right; KEVO_NOMEM. */
int schema_parse(const char *table, int argc, const char *const *argv, struct schema **schema,
                 struct kevo_err *err);
void schema_free(struct schema *s); /* s may be NULL */

/* SQLite passes over empty arguments, as in (a TEXT,). Refuse them, KEVO_INVALID, in the text of the
 * whole CREATE VIRTUAL TABLE. */
int schema_check_commas(const char *table, const char *sql, struct kevo_err *err);

/* Append the statement for sqlite3_declare_vtab, with its NUL. KEVO_NOMEM. */
int schema_declare(const struct schema *s, struct buf *sql, struct kevo_err *err);

/* The name of an option that the table's definition gives, NULL when it gives none. */
const char *schema_given_option(const struct schema *s);

/* Append what distinguishes tables that have the same columns: the indexes, as they would be
 * written. Nothing for a table without. KEVO_NOMEM. */
int schema_describe_indexes(const struct schema *s, struct buf *text, struct kevo_err *err);

/* The column that is the rowid, or SCHEMA_NO_COLUMN. */
static inline int schema_rowid_alias(const struct schema *s) {
    return s->alias;
}

/* Where the value of a key column lies in an array of the values of all columns and, behind
 * them, of the hidden rowid. */
static inline unsigned schema_value_place(const struct schema *s, int column) {
    return column == SCHEMA_NO_COLUMN ? s->column_count : (unsigned)column;
}

/* The place of a column among the key columns, or -1; SCHEMA_NO_COLUMN is the rowid. */
static inline int schema_key_position(const struct schema *s, int column) {
    if (column == SCHEMA_NO_COLUMN && s->kind != SCHEMA_ROWID) return -1;
    for (unsigned n = 0; n < s->key_count; n++)
        if (s->key[n].column == column ||
            (column == SCHEMA_NO_COLUMN && s->key[n].column == s->alias))
            return (int)n;
    return -1;
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
