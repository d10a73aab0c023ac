/* sql_load.h - what bench_sql does to a database: its rows, its statements, and the loops
 * that are timed.
 *
 * Keys are text of 16 hexadecimal digits; in fillseq key i is the number i, elsewhere a
 * permutation of i, so that keys do not repeat. Values are blobs of 100 bytes, of which half
 * are random. The same statements with the same values come in every run and for every side,
 * but for deleterange, for which ordinary tables have no command but DELETE.
 *
 * Transactions are timed one by one where that costs nothing beside them. Queries are timed
 * alone in a second loop of the same kind with other keys, after the one that gives the
 * mean, since the clock would be a part of what the fast ones take.
 *
 * Threads: one. */
#ifndef KEVO_BENCH_SQL_LOAD_H
#define KEVO_BENCH_SQL_LOAD_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/bench/measure.h"

enum { SQL_KEY_BYTES = 16, SQL_VALUE_BYTES = 100, SQL_BATCH = 1000 };

struct sql_side {
    const char *name;
    bool kevo;
    uint64_t cache_mb; /* of SQLite's own; 0: its default */
    char path[1024];   /* of the database */
    const char *extension;
    sqlite3 *db;
    uint64_t rows, reads;
    uint64_t generation; /* of the values: grows with each load that writes */
    uint64_t digest;     /* of all that was read: the same for all sides */
    struct latencies timed;
};

/* What is in the table. */
enum sql_content {
    SQL_EMPTY,
    SQL_ROWS,    /* all rows under random keys */
    SQL_DELETED, /* the same, but for ranges that were deleted, or not yet */
    SQL_OTHER    /* what no load needs */
};

struct sql_load {
    const char *name;
    const char *unit;  /* of what is counted */
    const char *timed; /* what the percentiles are of, or NULL */
    bool writes;
    enum sql_content needs, leaves;
    unsigned flags;
    uint64_t (*run)(struct sql_side *s, const struct sql_load *l); /* returns the operations */
    void (*after)(struct sql_side *s, const struct sql_load *l);   /* not timed, or NULL */
    void (*before)(struct sql_side *s);                            /* the same */
};

enum {
    SQL_MISSING = 1,       /* keys that are not there */
    SQL_HOT = 2,           /* of one row in a hundred */
    SQL_IN_TXN = 4,        /* all queries in one transaction */
    SQL_TIMED_ALONE = 8,   /* its time is the sum of those that it measures */
    SQL_KEVO_COMMAND = 16, /* kevo_delete_range() where there is one */
};

extern const struct sql_load sql_loads[];
extern const unsigned sql_load_count;

/* Open the side's database, which is closed if it is open; a fresh one is made anew, with
 * an empty table. */
void sql_open(struct sql_side *s, bool fresh);
void sql_fill(struct sql_side *s); /* all rows under random keys into an empty table */

#endif
