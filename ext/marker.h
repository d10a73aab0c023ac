/* marker.h - the ordinary tables in which a database keeps what it knows of its
 * kevo tables.
 *
 *   kevo_store(id, directory, uuid, next_table)   a row a store
 *   kevo_marker(store, state, log)                its marker
 *   kevo_table(store, id, name)                   a row a table
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
 * Tables are known by their id; RENAME changes a name here and nothing in the store.
 * A dropped table's row keeps its id, with a NULL name, until its rows are deleted
 * (dropped.h).
 *
 * These tables are input like any other: a hostile database can hold anything in
 * them. Every value is checked.
 *
 * All functions return SQLite codes; *message is set by sqlite3_mprintf on failure. */
#ifndef KEVO_EXT_MARKER_H
#define KEVO_EXT_MARKER_H

#include "engine/base/buf.h"
#include "ext/sqlite_api.h"

enum {
    MARKER_FORMAT_ALONE = 1, /* without `log` */
    MARKER_FORMAT = 2,
    MARKER_FORMAT_LAST = 255, /* a version beyond that is damage: a marker has no checksum */
    MARKER_HEADER_ALONE = 48, /* bytes */
    MARKER_HEADER_BYTES = 56,
    MARKER_MAX_BYTES = 4096 - 64,    /* `state` */
    MARKER_LOG_BYTES = 60 << 10,     /* `log`, in pages that are smaller */
    MARKER_LOG_MAX_BYTES = 64 << 10, /* `log` */
};

struct marker_store {
    sqlite3_int64 row;
    char *directory; /* as given in CREATE, NULL: the default; sqlite3_free */
    uint8_t uuid[16];
};

/* Make the tables if they are missing. */
int marker_init(sqlite3 *db, const char *schema, char **message);

/* The store and id of a table. SQLITE_CORRUPT_VTAB when it is not there. */
int marker_find_table(sqlite3 *db, const char *schema, const char *table,
                      struct marker_store *store, uint32_t *table_id, char **message);

/* Call visit for each store of the database until it returns true: *found. */
int marker_each_store(sqlite3 *db, const char *schema,
                      bool (*visit)(void *arg, const struct marker_store *store), void *arg,
                      bool *found, char **message);

/* Add a store whose marker is `last`; store->row is set. */
int marker_add_store(sqlite3 *db, const char *schema, struct marker_store *store,
                     struct kevo_commit last, char **message);

/* Give the table a new id of that store, or `*table_id` if it is not 0. */
int marker_add_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, const char *table,
                     uint32_t *table_id, char **message);

/* Whether the database knows the store, and whether the store has given out that id, as
 * far as this transaction sees. */
int marker_has_store(sqlite3 *db, const char *schema, sqlite3_int64 store_row, bool *found,
                     char **message);
int marker_has_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint32_t table_id,
                     bool *found, char **message);

/* Whether the table of that id has a name, which a dropped one has not. */
int marker_table_is_live(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                         uint32_t table_id, bool *live, char **message);

/* Whether any table of the store is left, and: forget the store. */
int marker_store_is_used(sqlite3 *db, const char *schema, sqlite3_int64 store_row, bool *used,
                         char **message);
int marker_forget_store(sqlite3 *db, const char *schema, sqlite3_int64 store_row, char **message);

/* Whether the schema has a kevo table, but for the one named, of which it is not known in which
 * store it is, since its row was deleted. And: forget what is left of such a table. */
int marker_has_stray(sqlite3 *db, const char *schema, const char *except, bool *found,
                     char **message);
int marker_forget_stray(sqlite3 *db, const char *schema, const char *table, char **message);

int marker_rename_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint32_t table_id,
                        const char *name, char **message);
int marker_drop_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint32_t table_id,
                      char **message);

/* Call visit for each table of the store that was dropped, and forget them; an error of it
 * ends that. SQLITE_AUTH: an authorizer does not let them be seen or forgotten, and none was
 * visited. */
int marker_take_dropped(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                        int (*visit)(void *arg, uint32_t table_id, char **message), void *arg,
                        char **message);

/* Read the marker as this connection's snapshot has it, whatever an authorizer says. *stmt is
 * prepared at first use and kept by the caller. */
int marker_read(sqlite3 *db, const char *schema, sqlite3_int64 store_row, sqlite3_stmt **stmt,
                struct kevo_commit *last, char **message);

/* Read the end of the log that was kept with the marker; *bytes is replaced and
 * tail->bytes lies in it. */
int marker_read_tail(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                     struct kevo_tail *tail, struct buf *bytes, char **message);

/* The id of the store in that row. */
int marker_read_uuid(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint8_t uuid[16],
                     char **message);

/* From now on the row is that of the store with this id, and its marker is `last`. */
int marker_adopt(sqlite3 *db, const char *schema, sqlite3_int64 store_row, const uint8_t uuid[16],
                 struct kevo_commit last, char **message);

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
