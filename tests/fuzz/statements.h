/* statements.h - random tables and random statements on them, for comparing a kevo table
 * with an ordinary one. Both are called `t` and live in databases of their own, each with
 * an ordinary table side(id INTEGER PRIMARY KEY, n INTEGER, s TEXT, x) and one more that is
 * a kevo table in the one and an ordinary table in the other: u(a INTEGER PRIMARY KEY, b ANY). */
#ifndef KEVO_TESTS_STATEMENTS_H
#define KEVO_TESTS_STATEMENTS_H

#include <sqlite3.h>

#include "tests/lib/harness.h"

enum { FUZZ_COLUMNS = 100, FUZZ_BINDS = 24, FUZZ_INDEXES = 3 };

struct fuzz_table {
    unsigned column_count, key_count; /* key_count 0: a hidden rowid */
    char names[FUZZ_COLUMNS][8];
    const char *types[FUZZ_COLUMNS]; /* INTEGER, INT, REAL, TEXT, BLOB, ANY */
    bool not_null[FUZZ_COLUMNS];
    unsigned key[FUZZ_COLUMNS];
    bool desc[FUZZ_COLUMNS];
    unsigned index_count;
    struct fuzz_index {
        unsigned column_count, columns[FUZZ_COLUMNS];
        bool desc[FUZZ_COLUMNS], unique;
    } indexes[FUZZ_INDEXES];
    bool rowid;            /* the key is the rowid */
    bool plain;            /* kevo's own columns: USING kevo, without any arguments */
    unsigned depth;        /* of transaction and savepoints, if the statements so far succeeded */
    char *kevo, *ordinary; /* the statements that make it; sqlite3_free */
};

static inline bool fuzz_is_key(const struct fuzz_table *t, unsigned column) {
    for (unsigned i = 0; i < t->key_count; i++)
        if (t->key[i] == column) return true;
    return false;
}

static inline unsigned below(struct rng *r, unsigned n) {
    return (unsigned)rng_below(r, n);
}

static inline bool chance(struct rng *r, unsigned percent) {
    return below(r, 100) < percent;
}

/* The number-th table: the first are the usual ones, then random ones. */
void fuzz_table_make(struct fuzz_table *t, unsigned number, struct rng *r);
void fuzz_table_release(struct fuzz_table *t);

enum fuzz_flags {
    FUZZ_ORDERED = 1,   /* the order of the rows counts */
    FUZZ_KEVO_ONLY = 2, /* not for the ordinary table */
    FUZZ_REOPEN = 4,    /* close both databases and open them again */
    FUZZ_REFUSED = 8,   /* for the kevo table, which SQLite must refuse */
};

struct fuzz_statement {
    char *sql;  /* sqlite3_free */
    char *twin; /* what the ordinary table gets instead, with the same effect on the rows but
                   another result; NULL: the same. sqlite3_free */
    unsigned flags;
    unsigned bind_count;
    struct fuzz_bind {
        char type; /* n, i, r, t, u (text given as UTF-16), b */
        sqlite3_int64 integer;
        double real;
        const char *bytes; /* static */
        int len;
    } binds[FUZZ_BINDS];
};

/* A random statement; free sql and twin. */
void fuzz_statement_make(struct fuzz_statement *s, struct fuzz_table *t, struct rng *r);

/* The statement with its values, to be shown. */
char *fuzz_statement_text(const struct fuzz_statement *s);

#endif
