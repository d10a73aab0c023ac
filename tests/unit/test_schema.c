#include "sql/schema.h"

#include <stdio.h>

#include "tests/lib/rows.h"

/* What the arguments declare; NULL: they are refused, with a message that has `words`. */
static const struct {
    const char *arguments, *declared, *words;
} cases[] = {
    /* the default, and the three kinds */
    {"", "CREATE TABLE x(\"key\" TEXT NOT NULL PRIMARY KEY, \"value\") WITHOUT ROWID", NULL},
    {"'some/where'", "CREATE TABLE x(\"key\" TEXT NOT NULL PRIMARY KEY, \"value\") WITHOUT ROWID",
     NULL},
    {"a TEXT|b INT", "CREATE TABLE x(\"a\" TEXT, \"b\" INT)", NULL},
    {"id INTEGER PRIMARY KEY|b ANY NOT NULL",
     "CREATE TABLE x(\"id\" INTEGER PRIMARY KEY, \"b\" NOT NULL)", NULL},
    {"id INTEGER NOT NULL|PRIMARY KEY(ID)", "CREATE TABLE x(\"id\" INTEGER PRIMARY KEY)", NULL},
    {"id INT PRIMARY KEY", "CREATE TABLE x(\"id\" INT NOT NULL PRIMARY KEY) WITHOUT ROWID", NULL},
    {"id INTEGER PRIMARY KEY DESC",
     "CREATE TABLE x(\"id\" INTEGER NOT NULL PRIMARY KEY) WITHOUT ROWID", NULL},
    {"a REAL PRIMARY KEY|b BLOB",
     "CREATE TABLE x(\"a\" REAL NOT NULL PRIMARY KEY, \"b\" BLOB) WITHOUT ROWID", NULL},
    {"device TEXT|ts INTEGER|temp REAL|raw BLOB|note ANY|PRIMARY KEY (device, ts DESC)|"
     "sync=normal|memtable_size='64MB'",
     "CREATE TABLE x(\"device\" TEXT NOT NULL, \"ts\" INTEGER NOT NULL, \"temp\" REAL, "
     "\"raw\" BLOB, \"note\", kevo_key BLOB HIDDEN NOT NULL PRIMARY KEY) WITHOUT ROWID",
     NULL},
    {"PRIMARY KEY (b, a)|a TEXT|b TEXT|KEVO_KEY TEXT|kevo_key_ INT",
     "CREATE TABLE x(\"a\" TEXT NOT NULL, \"b\" TEXT NOT NULL, \"KEVO_KEY\" TEXT, "
     "\"kevo_key_\" INT, kevo_key__ BLOB HIDDEN NOT NULL PRIMARY KEY) WITHOUT ROWID",
     NULL},
    /* quoting, case, comments, keywords as names */
    {"\"a \"\"b\" text|[c]]| `d``e` Int|'f''g' ANY", NULL, "]"},
    {"\"a \"\"b\" text|[c d] REAL| `d``e` Int|'f''g' ANY",
     "CREATE TABLE x(\"a \"\"b\" TEXT, \"c d\" REAL, \"d`e\" INT, \"f'g\")", NULL},
    {"order TEXT|desc any|\"primary\" text|\"check\" text|key int",
     "CREATE TABLE x(\"order\" TEXT, \"desc\", \"primary\" TEXT, \"check\" TEXT, \"key\" INT)",
     NULL},
    {"a /* the first; | -- no */ TEXT", NULL, "does not end"},
    {"a /* it's */ TEXT -- and\n NOT /**/ NULL", "CREATE TABLE x(\"a\" TEXT NOT NULL)", NULL},
    {"\xc3\xa4 TEXT|_b$1 TEXT", "CREATE TABLE x(\"\xc3\xa4\" TEXT, \"_b$1\" TEXT)", NULL},
    /* constraints that say nothing new */
    {"a TEXT NULL COLLATE binary|b INT CONSTRAINT nn NOT NULL",
     "CREATE TABLE x(\"a\" TEXT, \"b\" INT NOT NULL)", NULL},
    {"a TEXT|CONSTRAINT \"pk\" PRIMARY KEY (a COLLATE \"BINARY\" ASC)",
     "CREATE TABLE x(\"a\" TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID", NULL},
    /* refused */
    {"a TEXT DEFAULT 'x'", NULL, "column a of table t: no DEFAULT"},
    {"a TEXT CHECK (a > 1)", NULL, "no CHECK"},
    {"a TEXT COLLATE NOCASE", NULL, "no COLLATE NOCASE"},
    {"a TEXT|PRIMARY KEY (a COLLATE NOCASE)", NULL, "no COLLATE NOCASE"},
    {"a TEXT REFERENCES b(c)", NULL, "no REFERENCES"},
    {"a TEXT GENERATED ALWAYS AS (1)", NULL, "no GENERATED"},
    {"a TEXT AS (1)", NULL, "no AS"},
    {"a AS (1)", NULL, "column a of table t: no AS"},
    {"a GENERATED ALWAYS AS (1)", NULL, "no GENERATED"},
    {"a DEFAULT 5", NULL, "no DEFAULT"},
    {"a INTEGER PRIMARY KEY AUTOINCREMENT", NULL, "no AUTOINCREMENT"},
    {"a INTEGER PRIMARY KEY ON CONFLICT REPLACE", NULL, "no ON"},
    {"a TEXT NOT NULL ON CONFLICT IGNORE", NULL, "no ON"},
    {"a TEXT|CHECK (a)", NULL, "no CHECK"},
    {"a TEXT|CONSTRAINT f FOREIGN KEY (a) REFERENCES b", NULL, "no FOREIGN"},
    {"a TEXT|PRIMARY KEY (a NULLS FIRST)", NULL, "no NULLS"},
    {"a TEXT|PRIMARY KEY (a) UNIQUE (a)", NULL, "UNIQUE is not understood"},
    {"a ANY PRIMARY KEY", NULL, "key column t.a may not be of type ANY"},
    {"a TEXT|b ANY|PRIMARY KEY (a, b)", NULL, "key column t.b"},
    {"a", NULL, "missing type of column a"},
    {"\"path/to\"", NULL, "'single quotes'"},
    {"a VARCHAR(10)", NULL, "unknown type VARCHAR of column a"},
    {"a TEXT(10)", NULL, "( is not understood"},
    {"a PRIMARY KEY", NULL, "missing type of column a"},
    {"a NOT NULL", NULL, "missing type of column a"},
    {"a TEXT HIDDEN", NULL, "HIDDEN is not understood"},
    {"a TEXT NOT", NULL, "not complete"},
    {"a TEXT NOT NULL NOT NULL", NULL, "NOT NULL is given twice"},
    {"a TEXT NOT NULL NULL", NULL, "NULL contradicts NOT NULL"},
    {"a TEXT PRIMARY KEY NULL", NULL, "NULL contradicts PRIMARY KEY"},
    {"a TEXT PRIMARY", NULL, "not complete"},
    {"a TEXT CONSTRAINT x", NULL, "not complete"},
    {"a TEXT|A INT", NULL, "duplicate column name: t.A"},
    {"a TEXT|\"\" INT", NULL, "empty name"},
    {"a TEXT PRIMARY KEY|b TEXT PRIMARY KEY", NULL, "more than one PRIMARY KEY"},
    {"a TEXT PRIMARY KEY|PRIMARY KEY (a)", NULL, "more than one PRIMARY KEY"},
    {"a TEXT|PRIMARY KEY (b)", NULL, "names b, which is none"},
    {"a TEXT|PRIMARY KEY (a, A)", NULL, "names a twice"},
    {"a TEXT|PRIMARY KEY ()", NULL, ") is not understood"},
    {"a TEXT|PRIMARY KEY (a", NULL, "not complete"},
    {"a TEXT|PRIMARY KEY (a) x", NULL, "x is not understood"},
    {"a TEXT|PRIMARY KEY a", NULL, "a is not understood"},
    {"a TEXT|PRIMARY TEXT", NULL, "TEXT is not understood"},
    {"PRIMARY KEY (key)", NULL, "no columns"},
    {"a TEXT|5", NULL, "\"5\" of table t is no column"},
    {"a TEXT|(b TEXT)", NULL, "is no column"},
    {"a TEXT|'x'|'y'", NULL, "two store directories: 'x' and 'y'"},
    {"''", NULL, "directory of table t is empty"},
    {"'x", NULL, "does not end"},
    {"a TEXT 'x", NULL, "does not end"},
    {"a TEXT;", NULL, "; is not understood"},
    {"", "CREATE TABLE x(\"key\" TEXT NOT NULL PRIMARY KEY, \"value\") WITHOUT ROWID", NULL},
    /* options */
    {"snyc=full", NULL, "unknown option snyc"},
    {"sync=maybe", NULL, "sync = maybe: give off, normal or full"},
    {"sync=full|SYNC='off'", NULL, "option sync is given twice"},
    {"sync=", NULL, "sync = : give"},
    {"sync='full", NULL, "does not end"},
    {"sync=full off", NULL, "full off"},
    {"compression=zstd", NULL, "none or lz4"},
    {"memtable_size=64 TB", NULL, "memtable_size = 64 TB: give a size from 4 KB to 4 GB"},
    {"memtable_size=1", NULL, "memtable_size = 1"},
    {"memtable_size=-1", NULL, "-1"},
    {"memtable_size=99999999999999999999", NULL, "give a size"},
    {"memtable_size=99999999999 GB", NULL, "give a size"},
    {"memtable_size=4096|memtable_size=4096", NULL, "twice"},
    {"block_size=2 MB", NULL, "from 64 bytes to 1 MB"},
    {"table_size=1.5 MB", NULL, "1.5 MB"},
    {"cache_size=x", NULL, "cache_size = x"},
    {"memtable_count=1", NULL, "from 2 to 16"},
    {"memtable_count=4 KB", NULL, "from 2 to 16"},
    {"filter_bits=33", NULL, "from 0 to 32"},
};

/* The indexes that the arguments make, as schema_describe_indexes() writes them, each with
 * all of its key columns; NULL: they are refused, with a message that has `words`. */
static const struct {
    const char *arguments, *indexes, *words;
} index_cases[] = {
    {"a TEXT|b INT", "", NULL},
    {"a TEXT|b INT|INDEX by_b (b)", ", INDEX \"by_b\" (\"b\") b?,rowid", NULL},
    {"INDEX by_b (b DESC, a ASC)|id INTEGER PRIMARY KEY|a TEXT NOT NULL|b ANY NOT NULL",
     ", INDEX \"by_b\" (\"b\" DESC, \"a\") b?-,a,id", NULL},
    {"index \"x y\" ([a], `b`)|a TEXT|b INT|PRIMARY KEY (b DESC, a)",
     ", INDEX \"x y\" (\"a\", \"b\") a,b", NULL},
    {"a TEXT|b INT|c REAL|PRIMARY KEY (b DESC, a)|INDEX i (c)", ", INDEX \"i\" (\"c\") c?,b-,a",
     NULL},
    {"a TEXT UNIQUE|b INT CONSTRAINT \"u\" UNIQUE NOT NULL",
     ", UNIQUE \"unique_1\" (\"a\") a?,rowid, UNIQUE \"u\" (\"b\") b,rowid", NULL},
    {"a TEXT|UNIQUE (a)|UNIQUE (a)|CONSTRAINT two UNIQUE (a COLLATE BINARY)",
     ", UNIQUE \"unique_1\" (\"a\") a?,rowid", NULL},
    {"a TEXT PRIMARY KEY UNIQUE|b INT", "", NULL},
    {"id INTEGER PRIMARY KEY|UNIQUE (id)|INDEX i (id)", ", INDEX \"i\" (\"id\") id", NULL},
    {"a TEXT|b INT|PRIMARY KEY (a, b)|UNIQUE (a, b)|UNIQUE (b, a)",
     ", UNIQUE \"unique_1\" (\"b\", \"a\") b,a", NULL},
    {"a TEXT|UNIQUE (a)|INDEX unique_1 (a)",
     ", UNIQUE \"unique_1_\" (\"a\") a?,rowid, INDEX \"unique_1\" (\"a\") a?,rowid", NULL},
    {"a TEXT|\"index\" INT|INDEX \"index\" (\"index\")",
     ", INDEX \"index\" (\"index\") index?,rowid", NULL},
    {"a TEXT|INDEX i (b)", NULL, "INDEX i of table t names b, which is none of its columns"},
    {"a TEXT|UNIQUE (b)", NULL, "UNIQUE of table t names b, which is none of its columns"},
    {"a TEXT|INDEX i (a, A)", NULL, "INDEX i of table t names a twice"},
    {"a TEXT|INDEX i (a)|INDEX I (a)", NULL, "two indexes called I"},
    {"a TEXT|INDEX i (a)|CONSTRAINT i UNIQUE (a)", NULL, "two indexes called i"},
    {"a TEXT|INDEX (a)", NULL, "an INDEX of table t has no name: write INDEX name"},
    {"a TEXT|INDEX i", NULL, "INDEX i of table t is not complete"},
    {"a TEXT|INDEX i a", NULL, "INDEX i of table t: a is not understood"},
    {"a TEXT|INDEX i ()", NULL, "INDEX i of table t: ) is not understood"},
    {"a TEXT|INDEX i (a) x", NULL, "x is not understood"},
    {"a TEXT|INDEX i (lower(a))", NULL, "INDEX i of table t: ( is not understood"},
    {"a TEXT|INDEX i (a) WHERE a > 1", NULL, "no WHERE here: an index has all rows"},
    {"a TEXT|INDEX i (a COLLATE NOCASE)", NULL, "no COLLATE NOCASE"},
    {"a TEXT|INDEX i (a NULLS LAST)", NULL, "no NULLS"},
    {"a TEXT|UNIQUE (a) ON CONFLICT REPLACE", NULL, "no ON"},
    {"a TEXT UNIQUE ON CONFLICT REPLACE", NULL, "no ON"},
    {"a TEXT UNIQUE UNIQUE", NULL, "UNIQUE is given twice"},
    {"a TEXT|INDEX \"\" (a)", NULL, "empty name"},
    {"a TEXT|INDEX 'x", NULL, "does not end"},
    {"a TEXT|UNIQUE", NULL, "UNIQUE of table t is not complete"},
    {"INDEX i (key)", NULL, "no columns"},
};

/* The index's key columns, with ? where NULL may be and - for DESC. */
static void put_layout(char *text, size_t size, const struct schema *index) {
    for (unsigned n = 0; n < index->key_count; n++) {
        const struct key_column *k = &index->key[n];
        snprintf(text + strlen(text), size - strlen(text), "%s%s%s%s", n ? "," : " ",
                 k->column < 0 ? "rowid" : index->columns[k->column].name, k->tagged ? "?" : "",
                 k->desc ? "-" : "");
    }
}

START_TEST(indexes) {
    struct schema *s;
    int rc = rows_parse(index_cases[_i].arguments, &s);
    if (!index_cases[_i].indexes) {
        ck_assert_msg(rc == KEVO_INVALID, "%s is accepted", index_cases[_i].arguments);
        ck_assert_msg(strstr(test_err.msg, index_cases[_i].words) != NULL, "%s: %s",
                      index_cases[_i].arguments, test_err.msg);
    } else {
        char text[500] = "";
        ck_ok(rc);
        unsigned count = s->index_count;
        for (unsigned i = 0; i < count; i++) {
            struct schema one = *s;
            struct buf sql = {0};
            one.indexes = &s->indexes[i];
            one.index_count = 1;
            ck_ok(schema_describe_indexes(&one, &sql, &test_err));
            snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s", (int)sql.len,
                     (char *)sql.data);
            put_layout(text, sizeof text, &s->indexes[i]);
            ck_assert_uint_eq(s->indexes[i].number, i + 1);
            buf_release(&sql);
        }
        ck_assert_str_eq(text, index_cases[_i].indexes);
    }
    schema_free(s);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

START_TEST(many_indexes) {
    static char texts[SCHEMA_MAX_INDEXES + 2][40];
    static const char *argv[SCHEMA_MAX_INDEXES + 2] = {"a INT"};
    struct schema *s;
    for (int i = 1; i <= SCHEMA_MAX_INDEXES + 1; i++) {
        snprintf(texts[i], sizeof texts[i], "INDEX i%d (a)", i);
        argv[i] = texts[i];
    }
    ck_ok(schema_parse("t", SCHEMA_MAX_INDEXES + 1, argv, &s, &test_err));
    ck_assert_uint_eq(s->index_count, SCHEMA_MAX_INDEXES);
    schema_free(s);
    ck_assert_int_eq(schema_parse("t", SCHEMA_MAX_INDEXES + 2, argv, &s, &test_err), KEVO_INVALID);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "more than 63 indexes"));

    char list[1024] = "INDEX i (";
    for (int i = 0; i <= SCHEMA_MAX_INDEX_COLUMNS; i++) {
        snprintf(texts[i], sizeof texts[i], "c%d INT", i);
        snprintf(list + strlen(list), 24, "%sc%d", i ? "," : "", i);
        argv[i] = texts[i];
    }
    strcat(list, ")");
    argv[SCHEMA_MAX_INDEX_COLUMNS + 1] = list;
    ck_assert_int_eq(schema_parse("t", SCHEMA_MAX_INDEX_COLUMNS + 2, argv, &s, &test_err),
                     KEVO_INVALID);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "INDEX i of table t has more than 32 columns"));
}
END_TEST

START_TEST(arguments) {
    struct schema *s;
    struct buf sql = {0};
    int rc = rows_parse(cases[_i].arguments, &s);
    if (cases[_i].declared) {
        ck_assert_msg(rc == 0, "%s: %s", cases[_i].arguments, test_err.msg);
        ck_ok(schema_declare(s, &sql, &test_err));
        ck_assert_str_eq((char *)sql.data, cases[_i].declared);
    } else {
        ck_assert_msg(rc == KEVO_INVALID, "%s is accepted", cases[_i].arguments);
        ck_assert_ptr_null(s);
        ck_assert_msg(strstr(test_err.msg, cases[_i].words) != NULL, "%s: %s", cases[_i].arguments,
                      test_err.msg);
    }
    buf_release(&sql);
    schema_free(s);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

START_TEST(commas) {
    static const struct {
        const char *sql;
        bool good;
    } statements[] = {
        {"CREATE VIRTUAL TABLE t USING kevo", true},
        {"CREATE VIRTUAL TABLE t USING kevo()", true},
        {"CREATE VIRTUAL TABLE \"(,\" USING kevo( /* , */ )", true},
        {"CREATE VIRTUAL TABLE t USING kevo(a TEXT, b INT, PRIMARY KEY(a, b), ',', x = 'a,,')",
         true},
        {"CREATE VIRTUAL TABLE t USING kevo(a TEXT,)", false},
        {"CREATE VIRTUAL TABLE t USING kevo(a TEXT, -- b\n )", false},
        {"CREATE VIRTUAL TABLE t USING kevo(a TEXT,,b INT)", false},
        {"CREATE VIRTUAL TABLE t USING kevo(,a TEXT)", false},
        {"CREATE VIRTUAL TABLE t USING kevo(,)", false},
        {"CREATE VIRTUAL TABLE t USING kevo(PRIMARY KEY(a),)", false},
        {"CREATE VIRTUAL TABLE t USING kevo(a TEXT))", true}, /* SQLite's to refuse */
    };
    int rc = schema_check_commas("t", statements[_i].sql, &test_err);
    ck_assert_msg(rc == (statements[_i].good ? 0 : KEVO_INVALID), "%s: %d", statements[_i].sql, rc);
    if (rc) ck_assert_ptr_nonnull(strstr(test_err.msg, "empty argument"));
}
END_TEST

START_TEST(shape) {
    struct schema *s = rows_schema("note ANY|device TEXT|temp REAL NOT NULL|ts INTEGER|"
                                   "PRIMARY KEY (ts DESC, device)|'a''b'");
    ck_assert_int_eq(s->kind, SCHEMA_COMPOSITE);
    ck_assert_str_eq(s->directory, "a'b");
    ck_assert_uint_eq(s->key_count, 2);
    ck_assert(s->key[0].column == 3 && s->key[0].desc && s->key[0].type == COLUMN_INTEGER);
    ck_assert(s->key[1].column == 1 && !s->key[1].desc && s->key[1].type == COLUMN_TEXT);
    ck_assert_uint_eq(s->row_count, 2);
    ck_assert(s->row[0] == 0 && s->row[1] == 2);
    ck_assert(s->row_index[0] == 0 && s->row_index[1] == -1 && s->row_index[2] == 1);
    ck_assert(!s->columns[0].not_null && s->columns[1].not_null && s->columns[2].not_null);
    ck_assert_int_eq(schema_rowid_alias(s), SCHEMA_NO_COLUMN);
    schema_free(s);

    s = rows_schema("a TEXT|id INTEGER PRIMARY KEY");
    ck_assert(s->kind == SCHEMA_ROWID && schema_rowid_alias(s) == 1 && s->row_count == 1);
    ck_assert(!s->columns[1].not_null);
    schema_free(s);

    s = rows_schema("a TEXT");
    ck_assert(s->kind == SCHEMA_ROWID && schema_rowid_alias(s) == SCHEMA_NO_COLUMN);
    ck_assert(s->key_count == 1 && s->key[0].type == COLUMN_INTEGER && s->row_count == 1);
    ck_assert_ptr_null(s->directory);
    schema_free(s);
}
END_TEST

START_TEST(options) {
    struct kevo_options o;
    struct schema *s = rows_schema("");
    kevo_options_default(&o);
    ck_assert(s->options.given == 0 && !schema_given_option(s));
    ck_assert_uint_eq(s->options.values.memtable_bytes, o.memtable_bytes);
    schema_free(s);

    s = rows_schema("sync = off|memtable_size=64 MB|cache_size='1GB'|\"block_size\"= 8192|"
                    "table_size = \"32 kb\"|memtable_count = '4'|compression=NONE|filter_bits=0");
    o = s->options.values;
    ck_assert_str_eq(schema_given_option(s), "sync");
    ck_assert_int_eq(o.sync, KEVO_SYNC_OFF);
    ck_assert_uint_eq(o.memtable_bytes, 64 << 20);
    ck_assert_uint_eq(o.cache_bytes, 1 << 30);
    ck_assert_uint_eq(o.block_bytes, 8192);
    ck_assert_uint_eq(o.table_bytes, 32 << 10);
    ck_assert_uint_eq(o.memtable_count, 4);
    ck_assert_int_eq(o.compression, KEVO_COMPRESSION_NONE);
    ck_assert_uint_eq(o.filter_bits_per_key, 0);
    schema_free(s);

    s = rows_schema("Retain_MS = 5|L0_STOP = 50");
    ck_assert_str_eq(schema_given_option(s), "l0_stop"); /* in the engine's order */
    ck_assert(s->options.values.retain_ms == 5 && s->options.values.l0_stop == 50);
    schema_free(s);
}
END_TEST

#define TEXT(s)                                                                                    \
    {                                                                                              \
        .type = VALUE_TEXT, .bytes = {(const uint8_t *)(s), sizeof(s) - 1 }                        \
    }
#define BLOB(s)                                                                                    \
    {                                                                                              \
        .type = VALUE_BLOB, .bytes = {(const uint8_t *)(s), sizeof(s) - 1 }                        \
    }
#define INT(i)                                                                                     \
    { .type = VALUE_INTEGER, .integer = (i) }
#define REAL(r)                                                                                    \
    { .type = VALUE_REAL, .real = (r) }
#define NUL                                                                                        \
    { .type = VALUE_NULL }

static const struct {
    unsigned column; /* of i INTEGER, n INT, r REAL, x TEXT, b BLOB, a ANY, nn ANY NOT NULL */
    struct value in;
    bool asked;
    enum column_accept accept;
    struct value out;
    const char *words;
} stores[] = {
    {0, INT(5), false, COLUMN_OK, INT(5), NULL},
    {0, REAL(5), false, COLUMN_OK, INT(5), NULL},
    {0, REAL(-0.0), false, COLUMN_OK, INT(0), NULL},
    {0, REAL(5.5), false, COLUMN_MISMATCH, NUL, "cannot store REAL value in INTEGER column t.i"},
    {0, REAL(-9223372036854775808.0), false, COLUMN_MISMATCH, NUL, "cannot store REAL value"},
    {0, TEXT("5"), false, COLUMN_WANTS_NUMBER, TEXT("5"), NULL},
    {0, TEXT("x"), true, COLUMN_MISMATCH, NUL, "cannot store TEXT value in INTEGER column t.i"},
    {0, REAL(1000), true, COLUMN_OK, INT(1000), NULL},
    {0, BLOB("5"), false, COLUMN_MISMATCH, NUL, "cannot store BLOB value in INTEGER column t.i"},
    {0, NUL, false, COLUMN_OK, NUL, NULL},
    {1, TEXT("x"), true, COLUMN_MISMATCH, NUL, "cannot store TEXT value in INT column t.n"},
    {2, REAL(0.5), false, COLUMN_OK, REAL(0.5), NULL},
    {2, INT((1ll << 53) + 1), false, COLUMN_OK, REAL(9007199254740992.0), NULL},
    {2, TEXT("1"), false, COLUMN_WANTS_NUMBER, TEXT("1"), NULL},
    {2, TEXT("x"), true, COLUMN_MISMATCH, NUL, "cannot store TEXT value in REAL column t.r"},
    {2, BLOB(""), false, COLUMN_MISMATCH, NUL, "cannot store BLOB value in REAL column t.r"},
    {3, TEXT("a\0b"), false, COLUMN_OK, TEXT("a\0b"), NULL},
    {3, INT(5), false, COLUMN_WANTS_TEXT, INT(5), NULL},
    {3, REAL(5), false, COLUMN_WANTS_TEXT, REAL(5), NULL},
    {3, TEXT("5.0"), true, COLUMN_OK, TEXT("5.0"), NULL},
    {3, BLOB("x"), false, COLUMN_MISMATCH, NUL, "cannot store BLOB value in TEXT column t.x"},
    {4, BLOB("x"), false, COLUMN_OK, BLOB("x"), NULL},
    {4, TEXT("x"), false, COLUMN_MISMATCH, NUL, "cannot store TEXT value in BLOB column t.b"},
    {4, INT(1), false, COLUMN_MISMATCH, NUL, "cannot store INTEGER value in BLOB column t.b"},
    {5, TEXT("5"), false, COLUMN_OK, TEXT("5"), NULL},
    {5, NUL, false, COLUMN_OK, NUL, NULL},
    {6, NUL, false, COLUMN_IS_NULL, NUL, "NOT NULL constraint failed: t.nn"},
    {6, REAL(5), false, COLUMN_OK, REAL(5), NULL},
};

START_TEST(storing) {
    struct schema *s = rows_schema("i INTEGER|n INT|r REAL|x TEXT|b BLOB|a ANY|nn ANY NOT NULL");
    struct value v = stores[_i].in;
    enum column_accept accept =
        column_accept(s, stores[_i].column, &v, stores[_i].asked, &test_err);
    ck_assert_int_eq(accept, stores[_i].accept);
    if (stores[_i].words) {
        ck_assert_ptr_nonnull(strstr(test_err.msg, stores[_i].words));
    } else {
        ck_assert_int_eq(v.type, stores[_i].out.type);
        ck_assert_int_eq(value_cmp(&v, &stores[_i].out), 0);
    }
    schema_free(s);
}
END_TEST

START_TEST(negative_zero) {
    struct schema *s = rows_schema("r REAL|a ANY");
    struct value v = value_real(-0.0);
    ck_assert_int_eq(column_accept(s, 1, &v, false, &test_err), COLUMN_OK);
    ck_assert(__builtin_signbit(v.real));
    ck_assert_int_eq(column_accept(s, 0, &v, false, &test_err), COLUMN_OK);
    ck_assert(!__builtin_signbit(v.real));
    schema_free(s);
}
END_TEST

START_TEST(many_columns) {
    static char names[SCHEMA_MAX_COLUMNS + 1][24];
    static const char *argv[SCHEMA_MAX_COLUMNS + 1];
    for (int i = 0; i <= SCHEMA_MAX_COLUMNS; i++) {
        snprintf(names[i], sizeof names[i], "c%d INT", i);
        argv[i] = names[i];
    }
    struct schema *s;
    ck_ok(schema_parse("t", SCHEMA_MAX_COLUMNS, argv, &s, &test_err));
    ck_assert_uint_eq(s->column_count, SCHEMA_MAX_COLUMNS);
    schema_free(s);
    ck_assert_int_eq(schema_parse("t", SCHEMA_MAX_COLUMNS + 1, argv, &s, &test_err), KEVO_INVALID);

    char list[2048] = "PRIMARY KEY (";
    for (int i = 0; i <= SCHEMA_MAX_KEY_COLUMNS; i++)
        snprintf(list + strlen(list), 24, "%sc%d", i ? "," : "", i);
    strcat(list, ")");
    argv[SCHEMA_MAX_KEY_COLUMNS + 1] = list;
    ck_assert_int_eq(schema_parse("t", SCHEMA_MAX_KEY_COLUMNS + 2, argv, &s, &test_err),
                     KEVO_INVALID);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "more than 64 columns"));
}
END_TEST

/* No bytes, however odd, do more than be refused. */
START_TEST(random_arguments) {
    static const char *const pieces[] = {
        "a",          "b",       "\"c\"", "[d]",     "'e'",     "`f`",   "TEXT",   "INTEGER", "INT",
        "ANY",        "REAL",    "BLOB",  "PRIMARY", "KEY",     "NOT",   "(",      ")",       ",",
        "=",          "DESC",    "ASC",   "NULL",    "COLLATE", "sync",  "BINARY", "5",       "KB",
        "/*x*/",      "--",      "\n",    "UNIQUE",  "'",       "INDEX", "\"",     "[",       "/*",
        "CONSTRAINT", "DEFAULT", "full",  "|",       "|"};
    struct rng r = rng_of(harness_seed());
    unsigned accepted = 0;
    for (unsigned n = 0; n < 30000; n++) {
        char text[256] = "";
        for (unsigned k = (unsigned)rng_below(&r, 14); k > 0; k--) {
            strcat(text, pieces[rng_below(&r, sizeof pieces / sizeof pieces[0])]);
            if (rng_below(&r, 8)) strcat(text, " ");
        }
        struct schema *s;
        int rc = rows_parse(text, &s);
        ck_assert(rc == 0 || rc == KEVO_INVALID);
        struct buf sql = {0};
        if (rc == 0) {
            accepted++;
            ck_ok(schema_declare(s, &sql, &test_err));
        }
        buf_release(&sql);
        schema_free(s);
    }
    ck_assert_uint_gt(accepted, 0);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

START_TEST(no_memory) {
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc == KEVO_NOMEM; n++) {
        struct schema *s = NULL;
        struct buf sql = {0};
        fault_alloc_fail_at(n, _i);
        rc = rows_parse(
            "a TEXT|b INT COLLATE binary|'dir'|sync = full|PRIMARY KEY (a, b)|kevo_key INT UNIQUE|"
            "INDEX i (b, a)",
            &s);
        if (rc == 0) rc = schema_describe_indexes(s, &sql, &test_err);
        if (rc == 0) rc = schema_declare(s, &sql, &test_err);
        fault_alloc_fail_at(0, false);
        buf_release(&sql);
        schema_free(s);
        ck_assert_uint_eq(fault_alloc_live(), 0);
    }
    ck_ok(rc);
    rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc == KEVO_NOMEM; n++) {
        struct schema *s = NULL;
        fault_alloc_fail_at(n, _i);
        rc = rows_parse("", &s);
        fault_alloc_fail_at(0, false);
        schema_free(s);
        ck_assert_uint_eq(fault_alloc_live(), 0);
    }
    ck_ok(rc);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("schema");
    TCase *tc = tcase_create("schema");
    tcase_add_loop_test(tc, indexes, 0, sizeof index_cases / sizeof index_cases[0]);
    tcase_add_test(tc, many_indexes);
    tcase_add_loop_test(tc, arguments, 0, sizeof cases / sizeof cases[0]);
    tcase_add_loop_test(tc, commas, 0, 11);
    tcase_add_test(tc, shape);
    tcase_add_test(tc, options);
    tcase_add_loop_test(tc, storing, 0, sizeof stores / sizeof stores[0]);
    tcase_add_test(tc, negative_zero);
    tcase_add_test(tc, many_columns);
    tcase_add_test(tc, random_arguments);
    tcase_add_loop_test(tc, no_memory, 0, 2);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
