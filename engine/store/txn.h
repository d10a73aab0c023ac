/* txn.h - transactions: a private write buffer over a snapshot.
 *
 * The buffer is a memtable whose sequence numbers count the transaction's writes
 * from SEQ_PRIVATE + 1 on: it keeps every version, so a rollback to a mark makes
 * the later ones void, and what was there before shows again. At prepare the newest
 * version of each key becomes the batch.
 *
 * A buffer that has grown beyond txn_memory_bytes becomes a run (runs.h), and an empty one takes
 * its place. With runs the batch is their tables: see ingest_prepare(). */
#ifndef KEVO_STORE_TXN_H
#define KEVO_STORE_TXN_H

#include "engine/mem/batch.h"
#include "engine/store/runs.h"

struct kevo_txn {
    _Atomic unsigned refs;
    kevo_store *store;
    kevo_snapshot *base;
    struct memtable *buffer;
    struct runs runs;            /* older than what is in the buffer */
    uint64_t buffer_from;        /* `ops` when the buffer was empty: it has the writes behind */
    uint64_t ops;                /* writes ever, those undone included */
    struct batch_totals totals;  /* of all writes ever, for the statistics of runs */
    uint64_t changes;            /* grows with every write and every undo: iterators compare */
    struct kevo_commit prepared; /* batch 0: not prepared */
    uint64_t prepared_changes;   /* `changes` at that time */
};

enum { SNAPSHOT_HELD, SNAPSHOT_PARKED, SNAPSHOT_SEEN, SNAPSHOT_ENDED }; /* see park.c */

struct kevo_snapshot {
    kevo_store *store;
    uint64_t id;
    _Atomic unsigned state;
    struct superversion *sv;        /* while it is parked: a reference, or NULL */
    kevo_snapshot *after, **before; /* in store->parkable; with its mutex */
};

struct kevo_batch {
    struct memtable *buffer;
    uint64_t ops;
    uint64_t bytes; /* of all keys and values ever put into it */
};

/* KEVO_INVALID, KEVO_TOOBIG. */
int txn_check_sizes(slice key, slice value, struct kevo_err *err);
/* Put the real bounds of a range in place of open ones. KEVO_NOTFOUND when nothing lies in
 * between; KEVO_TOOBIG. */
int txn_check_range(slice *lower, slice *upper, struct kevo_err *err);
/* Add one range tombstone. KEVO_NOMEM changes nothing. */
int txn_add_range(struct memtable *m, slice lower, slice upper, uint64_t seq, struct kevo_err *err);

#endif
