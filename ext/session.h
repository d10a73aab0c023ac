/* session.h - one connection's dealings with one store: its snapshot, its
 * transaction, and the commit protocol between SQLite and the store.
 *
 * All kevo tables of one schema that live in one store share a session, so one
 * transaction over many of them is one batch.
 *
 * States, as the commit protocol names them:
 *   NONE     no write transaction
 *   OPEN     writes collect in `txn`; nothing shared has changed
 *   SYNCED   the batch is in the log and the marker says so, in SQLite's still open
 *            transaction
 *   DOUBT    as NONE, but a batch of this session was in the log when SQLite rolled back;
 *            whoever begins next, here or elsewhere, reads the marker and decides
 *
 *            begin   write  rollback_to  sync    commit  rollback
 *   NONE     OPEN    -      -            -       NONE    NONE
 *   OPEN     OPEN    OPEN   OPEN         SYNCED  NONE    NONE
 *   SYNCED   SYNCED  OPEN   OPEN         SYNCED  NONE    DOUBT
 *   DOUBT    OPEN    -      -            -       NONE    DOUBT
 *
 * A transaction that has written nothing stays OPEN when it is synced, and is committed from
 * there. In SYNCED more may come after a COMMIT that was BUSY. A CREATE that writes no rows is
 * synced and committed without a begin, and changes no state. Debug builds assert that nothing
 * else happens; tests/sql/test_contract.c, that SQLite calls in no other order.
 *
 * SQLite calls per table; the first call of each kind does the work and the others
 * find it done. A table takes part (`members`) from its xBegin or xCreate to its
 * xCommit, xRollback, xDisconnect or xDestroy.
 *
 * Messages go to *message as sqlite3_mprintf strings; results are SQLite codes.
 * Threads: a session belongs to its connection. */
#ifndef KEVO_EXT_SESSION_H
#define KEVO_EXT_SESSION_H

#include "ext/catalogue.h"
#include "ext/registry.h"
#include "sql/schema.h"

enum session_state { SESSION_NONE, SESSION_OPEN, SESSION_SYNCED, SESSION_DOUBT };

struct session_savepoint {
    int number; /* as SQLite counts them */
    struct kevo_mark mark;
};

struct session {
    struct session *next;
    struct connection *connection;
    unsigned refs; /* tables connected */
    char *schema;
    sqlite3_int64 store_row;
    uint8_t uuid[16];
    char *path; /* of the store's directory; NULL: in memory */
    struct store_owner owner;
    struct kevo_options options;  /* to make the store with */
    bool options_given;           /* by the definition of the table that asked first */
    bool created;                 /* the store was made in a transaction that is not committed */
    struct kevo_options in_force; /* of the open store */
    char *lost;                   /* no store is named for the table: what is said of it; or NULL */
    int lost_rc;                  /* ... and its code */
    bool hurried;                 /* another process that has the store is not waited for */

    struct shared_store *shared; /* NULL until first needed */
    kevo_store *store;           /* shared->store */
    struct session *next_sharer; /* see sharers.h */
    bool shares;

    sqlite3_stmt *marker_stmt;
    sqlite3_stmt *probe;    /* tells of sqlite3_interrupt() */
    sqlite3_stmt *equality; /* see equality.h */
    struct {
        bool known;
        unsigned version; /* of SQLite's file (SQLITE_FCNTL_DATA_VERSION) then */
        struct kevo_commit last;
    } seen; /* what the marker said; kept between statements */
    struct {
        struct kevo_commit last;
        unsigned version;
    } marked;                /* what this session has set it to, and the version then, in SYNCED */
    kevo_snapshot *snapshot; /* of that moment; NULL: none pinned */
    bool parked;             /* ... which rests between two statements */
    unsigned open_cursors;

    enum session_state state;
    unsigned members; /* tables that take part in the transaction */
    bool inherited;   /* one of them is the heir: see heir.h */
    bool swept;       /* nothing is left of dropped tables, as far as the transaction sees */
    /* What a commit is to give back soon. A rollback to a savepoint leaves them: at worst the store
     * settles, or writes a memtable, earlier than it had to. */
    uint64_t freed_bytes; /* of tables whose rows the transaction deletes as a whole, about */
    bool frees_many;      /* a statement deletes many rows as one range */
    kevo_txn *txn;
    struct session_savepoint *savepoints;
    size_t savepoint_count, savepoint_cap;
    unsigned undos; /* rollbacks to a savepoint so far */
    unsigned epoch; /* grows when what reads see changes wholesale: begin, commit, rollback */
};

enum session_event {
    SESSION_BEGIN,
    SESSION_WRITE,
    SESSION_ROLLBACK_TO,
    SESSION_SYNC,
    SESSION_COMMIT,
    SESSION_ROLLBACK
};

/* Whether the session has a write transaction. */
static inline bool session_is_open(const struct session *s) {
    return s->state == SESSION_OPEN || s->state == SESSION_SYNCED;
}

/* What the event makes of the state; asserts that it may come now. */
void session_enter(struct session *s, enum session_event event);

/* A loaded extension in one connection. */
struct connection {
    sqlite3 *db;
    struct session *sessions;
    struct vtab *tables;       /* connected, in a list */
    bool patterns_match_blobs; /* see plan.h */
    bool heir_joined;          /* takes part in SQLite's transaction */
    unsigned refusals;         /* see refuse_several() in cursor.c */
    struct lender *lender;     /* of memory for results */
};

/* Find or make the session for a store of the schema; one reference. The store is not
 * opened. `options` are those of the table that asks. */
int session_get(struct connection *connection, const char *schema,
                const struct catalogue_store *store, const struct schema *table,
                struct session **session, char **message);
/* For a table of which the database does not say in which store it is: a session that opens
 * nothing, but fails with that code and message, which is taken over. Such a table can be dropped. */
int session_get_lost(struct connection *connection, const char *schema, const struct schema *table,
                     int lost_rc, struct session **session, char **message);
void session_unref(struct session *s);
/* At the connection's end. */
void session_free_all(struct connection *connection);

/* The schema's file as SQLite has it, symbolic links resolved. NULL: it is in memory or temporary;
 * one in memory may have a name (of the VFS memdb, which sqlite3_deserialize() uses too), and so may
 * some file. */
const char *session_filename(sqlite3 *db, const char *schema);

/* The directory for a store of the schema: `directory` as in CREATE, or NULL. *path is
 * for sqlite3_free; NULL: in memory. */
int session_resolve_path(sqlite3 *db, const char *schema, const char *directory, char **path,
                         char **message);

/* For CREATE: make a store, or take one over that holds nothing, and add it to the
 * marker table. To be called when the database has no store in that directory. */
int session_create_store(struct connection *connection, const char *schema,
                         const struct schema *table, struct catalogue_store *store, char **message);

/* A store of which no table is left may be made anew: *gone tells that there is none any more, or
 * that it was removed here, once it is certain that no power loss brings a table back. In an
 * explicit transaction, the ROLLBACK of which could do so, the store stays. */
int session_remove_unused(struct connection *connection, const char *schema,
                          const struct catalogue_store *store, const struct schema *table,
                          bool *gone, char **message);

/* What is to be in such a store that is still there, since others have it open, finds in force what
 * its definition says of options, also by saying nothing; else this is SQLITE_ERROR. */
int session_match_options(struct connection *connection, const char *schema,
                          const struct catalogue_store *store, const struct schema *table,
                          char **message);

/* Open the store if it is not open; it must be the one that the marker names. */
int session_open(struct session *s, char **message);

/* Open it for an estimate: the query that follows opens it again, and waits and complains then. */
bool session_open_now(struct session *s);

/* As session_open() whatever the store's id is and whoever has it, for writing; session_close() follows.
 * SQLITE_READONLY when it could only be read. */
int session_open_any(struct session *s, char **message);
/* Close it, to be opened again when it is needed. No cursor is open and nothing written. */
void session_close(struct session *s);

/* Make what SQLite has committed durable. */
int session_sync_database(struct session *s);

/* What a read sees now: the transaction's writes, or the snapshot that belongs to
 * SQLite's. Only while SQLite's read transaction is open. */
int session_read(struct session *s, struct kevo_read *read, char **message);
/* The same for who keeps a cursor open since it last asked, when `epoch` was the session's: SQLite's
 * read transaction has not ended meanwhile, so the snapshot is still that of it. */
int session_read_on(struct session *s, unsigned epoch, struct kevo_read *read, char **message);
/* A cursor is opened or closed; with the last one in autocommit the pin goes, or rests together with
 * what the value of its last row holds. */
void session_cursor_opened(struct session *s);
void session_cursor_closed(struct session *s, struct kevo_value *value);
/* Before the cursor's first read, with no value yet: it may get one for kevo_get_again() to use. */
void session_resume(struct session *s, struct kevo_value *value);
/* Let the snapshot go. */
void session_drop_snapshot(struct session *s);

/* Begin if not begun: SQLite's write lock of the schema is held. */
int session_begin(struct session *s, char **message);
/* The transaction was written to: what an earlier, failed COMMIT prepared is old. */
void session_written(struct session *s);
int session_sync(struct session *s, char **message);
void session_commit(struct session *s);
void session_rollback(struct session *s);
/* Instead of session_sync(), when SQLite's transaction took back the creation of the store
 * and so of all its tables. */
void session_abandon(struct session *s);
/* `late`: the savepoint has been open for a while, and a table that joins is told. */
int session_savepoint(struct session *s, int number, bool late);
void session_release(struct session *s, int number);
void session_rollback_to(struct session *s, int number);
/* Undo what was written since the mark was taken, in the transaction that the session has. */
void session_undo(struct session *s, struct kevo_mark mark);

/* Write all committed rows to tables, taking SQLite's write lock for a moment. */
int session_flush(struct session *s, char **message);

#endif
