/* marker.h - how far a store is committed, in an ordinary table of its database:
 *
 *   kevo_marker(store, state, log)                a row a store
 *
 * The marker is a blob that fills a page: the last committed batch and its nonce, and
 * behind them the end of the store's log as far as it was not durable at that commit
 * (kevo_log_tail()). The page is written anyway, so the log of small transactions needs no
 * sync of its own. When the page is full its bytes move to a second blob, `log`, which has pages
 * that are written only then: one more page or two every twenty small transactions or so. The
 * layout is in engine/FORMAT.md, "Marker".
 *
 * The marker changes in the same SQLite transaction as everything else, so whoever reads it
 * knows exactly which batches belong to the snapshot he reads in. It is written
 * through an incremental blob handle, which counts no changes and calls no update
 * hooks: changes() after COMMIT stays what it was.
 *
 * The table is input like any other: a hostile database can hold anything in it. Every value is
 * checked.
 *
 * All functions return SQLite codes; *message is set by sqlite3_mprintf on failure. */
#ifndef KEVO_EXT_MARKER_H
#define KEVO_EXT_MARKER_H

#include "engine/base/buf.h"
#include "ext/sqlite_api.h"

enum {
    MARKER_FORMAT_ALONE = 1, /* without `log` */
    MARKER_FORMAT = 2,
    MARKER_HEADER_ALONE = 48, /* bytes */
    MARKER_HEADER_BYTES = 56,
    MARKER_SIGN_BYTES = 8,
    MARKER_MAX_BYTES = 4096 - 64,    /* `state` */
    MARKER_LOG_BYTES = 60 << 10,     /* `log`, in pages that are smaller */
    MARKER_LOG_MAX_BYTES = 64 << 10, /* `log` */
};

/* What a marker of a version above MARKER_FORMAT ends with: without it the version itself is
 * damaged, since there is no other checksum. */
uint64_t marker_sign(uint32_t format);

/* Put a marker of full size in the row of the store, whatever is there. */
int marker_put(sqlite3 *db, const char *schema, sqlite3_int64 store_row, struct kevo_commit last,
               char **message);

/* Read the marker as this connection's snapshot has it, whatever an authorizer says. *stmt is
 * prepared at first use and kept by the caller. */
int marker_read(sqlite3 *db, const char *schema, sqlite3_int64 store_row, sqlite3_stmt **stmt,
                struct kevo_commit *last, char **message);

/* Read the end of the log that was kept with the marker; *bytes is replaced and
 * tail->bytes lies in it. */
int marker_read_tail(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                     struct kevo_tail *tail, struct buf *bytes, char **message);

/* What a marker says, but for the log's bytes. */
struct marker_state {
    struct kevo_commit last;
    uint64_t segment, offset; /* where in the log what is kept of it begins: */
    uint64_t salt;            /* of that segment */
    uint32_t log_bytes;       /* so many bytes in the column `log`, */
    uint32_t tail_bytes;      /* and so many behind them in `state` */
    uint32_t log_size;        /* bytes of the column `log`; 0: there is none */
};

/* A marker that is open for writing. */
struct marker {
    sqlite3 *db;
    const char *schema; /* the caller's */
    sqlite3_int64 store_row;
    sqlite3_blob *blob;
    struct marker_state now;
    size_t tail_size;      /* bytes of the log that `state` can take */
    size_t capacity_bytes; /* ... and the marker, whatever it has now */
};

/* Open the marker inside a write transaction. Ended by marker_set() or marker_close(). */
int marker_open(sqlite3 *db, const char *schema, sqlite3_int64 store_row, struct marker *m,
                char **message);

/* Set the marker and close it, also on failure. The tail has m->capacity_bytes at most. */
int marker_set(struct marker *m, struct kevo_commit last, const struct kevo_tail *tail,
               char **message);
void marker_close(struct marker *m);

/* Take SQLite's write lock of the schema, inside a transaction. */
int marker_lock(sqlite3 *db, const char *schema, sqlite3_int64 store_row, char **message);

#endif
