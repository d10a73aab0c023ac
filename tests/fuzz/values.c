#include "tests/fuzz/values.h"

#include <string.h>

#define COUNT(array) (sizeof array / sizeof array[0])

static const sqlite3_int64 integers[] = {0,
                                         1,
                                         2,
                                         3,
                                         4,
                                         5,
                                         6,
                                         7,
                                         10,
                                         12,
                                         -1,
                                         -2,
                                         -5,
                                         9007199254740992,
                                         9007199254740993,
                                         -9007199254740993,
                                         99,
                                         100,
                                         255,
                                         256,
                                         65536,
                                         INT64_MAX - 9999,
                                         INT64_MIN};
static const double reals[] = {0.0,
                               -0.0,
                               0.5,
                               1.0,
                               2.0,
                               2.5,
                               3.0,
                               5.0,
                               -1.0,
                               -2.5,
                               4.999999999999999,
                               1e15,
                               1e300,
                               -1e300,
                               9007199254740992.0,
                               9007199254740994.0,
                               9223372036854775808.0,
                               1e-300};
static const char *const texts[] = {
    "",
    "a",
    "ab",
    "abc",
    "abd",
    "b",
    "B",
    "A",
    "Ab",
    "c",
    "z",
    "0",
    "1",
    "2",
    "5",
    "05",
    "5.0",
    " 5",
    "5 ",
    "+5",
    "5e0",
    "0.5e1",
    "-1",
    "10",
    "100",
    "1e1",
    "2.5",
    "-0",
    "0x5",
    "a*",
    "a%",
    "a_b",
    "\xc3\xa9",
    "\xe2\x82\xac",
    "\xf0\x9f\x98\x80",
    "9007199254740993",
    "9223372036854775808",
    "4.99999999999999999999",
    "Infinity",
    "a key with a rather long text in it, longer than the head of any node"};
static const struct {
    const char *bytes;
    int len;
} blobs[] = {{"", 0},     {"\0", 1}, {"\0\0", 2},     {"a", 1},      {"a\0", 2}, {"a\0b", 3},
             {"\xff", 1}, {"5", 1},  {"\xff\xff", 2}, {"\0\xff", 2}, {"ab", 2},  {"\x01\x00", 2}};
struct fuzz_bind fuzz_random_value(struct rng *r, char type) {
    struct fuzz_bind v = {.type = type};
    unsigned i;
    switch (type) {
    case 'i':
        i = below(r, COUNT(integers));
        v.integer = chance(r, 70) ? (sqlite3_int64)below(r, 14) - 2 : integers[i];
        break;
    case 'r': v.real = reals[below(r, COUNT(reals))]; break;
    case 't':
        v.bytes = texts[below(r, COUNT(texts))];
        v.len = (int)strlen(v.bytes);
        break;
    case 'b':
        i = below(r, COUNT(blobs));
        v.bytes = blobs[i].bytes;
        v.len = blobs[i].len;
        break;
    default: v.type = 'n';
    }
    return v;
}

struct fuzz_bind fuzz_column_value(const struct fuzz_table *t, unsigned column, struct rng *r) {
    char type = "iirttb"[below(r, 6)];
    if (chance(r, 4)) return fuzz_random_value(r, 'n');
    if (chance(r, 12)) return fuzz_random_value(r, type);
    switch (t->types[column][0]) {
    case 'I': type = 'i'; break;
    case 'R': type = chance(r, 70) ? 'r' : 'i'; break;
    case 'T': type = 't'; break;
    case 'B': type = 'b'; break;
    default: break;
    }
    return fuzz_random_value(r, type);
}

void fuzz_put_literal(sqlite3_str *out, const struct fuzz_bind *v) {
    switch (v->type) {
    case 'i':
        if (v->integer == INT64_MIN)
            sqlite3_str_appendall(out, "(-9223372036854775807 - 1)");
        else
            sqlite3_str_appendf(out, "%lld", v->integer);
        break;
    case 'r': sqlite3_str_appendf(out, "%!.17g", v->real); break;
    case 't':
    case 'u': sqlite3_str_appendf(out, "%Q", v->bytes); break;
    case 'b':
        sqlite3_str_appendall(out, "x'");
        for (int i = 0; i < v->len; i++)
            sqlite3_str_appendf(out, "%02x", (unsigned char)v->bytes[i]);
        sqlite3_str_appendall(out, "'");
        break;
    default: sqlite3_str_appendall(out, "NULL");
    }
}

static void bind_utf16(sqlite3_stmt *stmt, int i, const struct fuzz_bind *v) {
    sqlite3_stmt *convert = NULL;
    sqlite3_prepare_v2(sqlite3_db_handle(stmt), "SELECT ?1", -1, &convert, NULL);
    sqlite3_bind_text(convert, 1, v->bytes, v->len, SQLITE_STATIC);
    sqlite3_step(convert);
    const void *text = sqlite3_column_text16(convert, 0);
    sqlite3_bind_text16(stmt, i, text, sqlite3_column_bytes16(convert, 0), SQLITE_TRANSIENT);
    sqlite3_finalize(convert);
}

void fuzz_bind_all(const struct fuzz_statement *s, sqlite3_stmt *stmt) {
    for (unsigned n = 0; n < s->bind_count; n++) {
        const struct fuzz_bind *v = &s->binds[n];
        int i = (int)n + 1;
        switch (v->type) {
        case 'i': sqlite3_bind_int64(stmt, i, v->integer); break;
        case 'r': sqlite3_bind_double(stmt, i, v->real); break;
        case 't': sqlite3_bind_text(stmt, i, v->bytes, v->len, SQLITE_STATIC); break;
        case 'u': bind_utf16(stmt, i, v); break;
        case 'b': sqlite3_bind_blob(stmt, i, v->bytes, v->len, SQLITE_STATIC); break;
        default: sqlite3_bind_null(stmt, i);
        }
    }
}
