#include <stdio.h>
#include <string.h>

#include "tests/fuzz/statements.h"

#define COUNT(array) (sizeof array / sizeof array[0])

static const struct {
    const char *names; /* of the columns, a letter each */
    const char *types;
    const char *key; /* letters, upper case: DESC */
} usual[] = {
    {"kv", "TA", "k"}, /* but for the names, what USING kevo alone makes */
    {"ab", "IA", "a"}, /* the rowid */
    {"ab", "iT", "a"}, /* INT: a key, but not the rowid */
    {"abc", "TIA", "aB"},   {"ab", "TA", ""},    {"abc", "RAI", "a"},
    {"abcd", "BTRA", "Ba"}, {"abc", "ITA", "A"},
};

static const char *type_name(char letter) {
    switch (letter) {
    case 'I': return "INTEGER";
    case 'i': return "INT";
    case 'R': return "REAL";
    case 'T': return "TEXT";
    case 'B': return "BLOB";
    default: return "ANY";
    }
}

static void make_usual(struct fuzz_table *t, unsigned number) {
    for (const char *p = usual[number].names; *p; p++) {
        unsigned i = t->column_count++;
        snprintf(t->names[i], sizeof t->names[i], "%s",
                 *p == 'k'   ? "key"
                 : *p == 'v' ? "value"
                             : (char[]){*p, 0});
        t->types[i] = type_name(usual[number].types[i]);
    }
    for (const char *k = usual[number].key; *k; k++) {
        bool desc = *k >= 'A' && *k <= 'Z';
        for (unsigned i = 0; i < t->column_count; i++) {
            if (t->names[i][0] != (desc ? *k + 32 : *k)) continue;
            t->desc[t->key_count] = desc;
            t->key[t->key_count++] = i;
        }
    }
}

static void make_random(struct fuzz_table *t, struct rng *r) {
    t->column_count = chance(r, 4) ? FUZZ_COLUMNS : 1 + below(r, 6);
    for (unsigned i = 0; i < t->column_count; i++) {
        snprintf(t->names[i], sizeof t->names[i], i < 6 ? "%c" : "%c%u", 'a' + i % 6, i);
        t->types[i] = type_name("IiRTTBA"[below(r, 7)]);
        t->not_null[i] = chance(r, 20);
    }
    for (unsigned i = below(r, 4); i > 0; i--) {
        unsigned column = below(r, t->column_count);
        if (fuzz_is_key(t, column) || t->types[column][0] == 'A') continue;
        t->desc[t->key_count] = chance(r, 40);
        t->key[t->key_count++] = column;
    }
}

static void make_indexes(struct fuzz_table *t, struct rng *r) {
    unsigned count = chance(r, 30) ? 0 : 1 + below(r, FUZZ_INDEXES);
    for (; t->index_count < count; t->index_count++) {
        struct fuzz_index *index = &t->indexes[t->index_count];
        index->unique = chance(r, 40);
        for (unsigned n = 1 + below(r, 3); n > 0; n--) {
            unsigned column = below(r, t->column_count), i = 0;
            while (i < index->column_count && index->columns[i] != column)
                i++;
            if (i < index->column_count) continue;
            index->desc[i] = chance(r, 30);
            index->columns[i] = column;
            index->column_count++;
        }
    }
}

static void put_index_columns(const struct fuzz_table *t, const struct fuzz_index *index,
                              sqlite3_str *out) {
    for (unsigned i = 0; i < index->column_count; i++)
        sqlite3_str_appendf(out, "%s%s%s", i ? ", " : " (", t->names[index->columns[i]],
                            index->desc[i] ? " DESC" : "");
    sqlite3_str_appendall(out, ")");
}

/* UNIQUE for both, INDEX as the one or the other of them has it. */
static void put_indexes(const struct fuzz_table *t, bool unique, const char *before,
                        sqlite3_str *out) {
    for (unsigned i = 0; i < t->index_count; i++) {
        if (t->indexes[i].unique != unique) continue;
        if (unique)
            sqlite3_str_appendall(out, before);
        else
            sqlite3_str_appendf(out, before, i);
        put_index_columns(t, &t->indexes[i], out);
    }
}

static void put_definition(const struct fuzz_table *t, sqlite3_str *out) {
    bool alias = t->rowid && t->key_count;
    for (unsigned i = 0; i < t->column_count; i++)
        sqlite3_str_appendf(out, "%s%s %s%s%s", i ? ", " : "(", t->names[i], t->types[i],
                            alias && t->key[0] == i ? " PRIMARY KEY" : "",
                            t->not_null[i] ? " NOT NULL" : "");
    if (alias || t->key_count == 0) return;
    sqlite3_str_appendall(out, ", PRIMARY KEY (");
    for (unsigned i = 0; i < t->key_count; i++)
        sqlite3_str_appendf(out, "%s%s%s", i ? ", " : "", t->names[t->key[i]],
                            t->desc[i] ? " DESC" : "");
    sqlite3_str_appendall(out, ")");
}

void fuzz_table_make(struct fuzz_table *t, unsigned number, struct rng *r) {
    memset(t, 0, sizeof *t);
    if (number < COUNT(usual))
        make_usual(t, number);
    else
        make_random(t, r);
    t->plain = number == 0;
    if (!t->plain) make_indexes(t, r);
    t->rowid = t->key_count == 0 ||
               (t->key_count == 1 && !t->desc[0] && strcmp(t->types[t->key[0]], "INTEGER") == 0);
    /* NOT NULL on the alias would refuse the NULL that asks for a new one. */
    if (t->rowid && t->key_count) t->not_null[t->key[0]] = false;

    sqlite3_str *kevo = sqlite3_str_new(NULL), *ordinary = sqlite3_str_new(NULL);
    sqlite3_str_appendall(kevo, "CREATE VIRTUAL TABLE t USING kevo");
    if (!t->plain) {
        put_definition(t, kevo);
        put_indexes(t, true, ", UNIQUE", kevo);
        put_indexes(t, false, ", INDEX i%u", kevo);
        sqlite3_str_appendall(kevo, ", memtable_size=64 KB, retain_ms=10");
        /* Each write of a transaction makes a file. */
        if (number % 4 == 3) sqlite3_str_appendall(kevo, ", txn_memory_size=4 KB");
        sqlite3_str_appendall(kevo, ")");
    }
    sqlite3_str_appendall(ordinary, "CREATE TABLE t");
    put_definition(t, ordinary);
    put_indexes(t, true, ", UNIQUE", ordinary);
    sqlite3_str_appendf(ordinary, ") STRICT%s", t->rowid ? "" : ", WITHOUT ROWID");
    put_indexes(t, false, "; CREATE INDEX i%u ON t", ordinary);
    t->kevo = sqlite3_str_finish(kevo);
    t->ordinary = sqlite3_str_finish(ordinary);
}

void fuzz_table_release(struct fuzz_table *t) {
    sqlite3_free(t->kevo);
    sqlite3_free(t->ordinary);
}
