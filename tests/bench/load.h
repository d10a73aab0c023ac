/* load.h - what bench_engine does to an engine: its keys, its values, and the loops that
 * are timed.
 *
 * Keys are 16 hexadecimal digits. In sequential loads key i is the number i; in random
 * ones it is a permutation of i, so that keys never repeat. Values have 100 bytes, of
 * which half are random. The same numbers come in every run and for every engine.
 *
 * Calls are timed one by one in fillsteady (each put, from the end of the one before it),
 * in the mixed loads (gets and puts) and in readseq_writing (the puts beside the scan); the
 * clock costs 33 ns a call, which all engines pay. The list of rows that the mixed loads take
 * is 4 bytes an operation of the engine's memory from then on.
 *
 * Threads: one; readseq_writing has another one that puts. */
#ifndef KEVO_BENCH_LOAD_H
#define KEVO_BENCH_LOAD_H

#include "tests/bench/peer.h"

enum { LOAD_KEY_BYTES = 16, LOAD_VALUE_BYTES = 100, LOAD_BATCH = 1000 };

struct load_state {
    const struct peer *peer;
    void *db;
    uint64_t rows, reads;
    uint64_t generation; /* of the values: grows with each overwrite */
    uint64_t digest;     /* of all that was read: the same for all engines */
    uint64_t beside;     /* operations of another thread */
    uint32_t *zipfian;   /* rows in the order in which mixed loads take them, or NULL */
    struct latencies timed;
    struct series series;
};

/* What is in the database. */
enum load_content {
    CONTENT_EMPTY,
    CONTENT_SYNCED,  /* nothing, and each commit is synced */
    CONTENT_ROWS,    /* all rows under random keys */
    CONTENT_DELETED, /* the same, then a fifth of them deleted */
    CONTENT_OTHER    /* what no load needs */
};

struct load {
    const char *name;
    const char *unit; /* of what is counted */
    bool writes;
    enum load_content needs, leaves;
    uint64_t (*run)(struct load_state *s); /* returns the number of operations */
    void (*prepare)(struct load_state *s); /* before it, not timed; or NULL */
};

extern const struct load loads[];
extern const unsigned load_count;

void load_init(void); /* once, before any load */
void load_release(struct load_state *s);

/* Bring the database from `content` (empty or rows) to rows, or to deleted: what loads
 * find that are asked for alone. Rows are written by batches, and over once more. */
void load_prepare(struct load_state *s, enum load_content content, enum load_content wanted);

#endif
