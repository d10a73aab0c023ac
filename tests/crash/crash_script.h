/* crash_script.h - random transactions over ordinary and kevo tables, as a list of statements:
 * what the crash test runs.
 *
 * The money in all accounts stays the same. The tables lie in three stores; with an attached
 * database x in five, two of them its own. Who runs a script sets world.clearing_rows to
 * SCRIPT_CLEARING_ROWS, so that its DELETEs of a few neighbours leave ranges, as those of many rows
 * do. */
#ifndef KEVO_TESTS_CRASH_SCRIPT_H
#define KEVO_TESTS_CRASH_SCRIPT_H

#include "tests/lib/sql.h"

enum { SCRIPT_MAX_STEPS = 64, SCRIPT_MAX_EXTRA = 3, SCRIPT_CLEARING_ROWS = 3 };

/* A step: another connection begins to read, and goes on with it until the next such step. */
#define SCRIPT_LONG_READ "-- long read"

/* What a script is to have. */
struct script_kind {
    bool attached;   /* tables in the schema x as well */
    bool undoes;     /* ROLLBACK and ROLLBACK TO, which journal_mode=OFF has not */
    bool long_reads; /* SCRIPT_LONG_READ, which is in the way of writers without a WAL */
};

struct script {
    struct script_kind kind;
    char *steps[SCRIPT_MAX_STEPS]; /* at most one commit each; NULL: close the connection and
                                      open another */
    unsigned count;
    struct rng rng;
    int page_bytes;
    unsigned number;                 /* for values that differ */
    char extra[SCRIPT_MAX_EXTRA][8]; /* tables that come and go; "" not there */
    unsigned extra_born;
};

/* `steps` of them, at most SCRIPT_MAX_STEPS. */
void script_init(struct script *p, struct script_kind kind, uint64_t seed, unsigned steps);
void script_release(struct script *p);

#endif
