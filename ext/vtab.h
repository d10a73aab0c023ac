/* vtab.h - the virtual table as SQLite holds it, and its methods. */
#ifndef KEVO_EXT_VTAB_H
#define KEVO_EXT_VTAB_H

#include "ext/clearing.h"
#include "ext/convert.h"
#include "ext/indexes.h"
#include "ext/sampling.h"
#include "ext/session.h"
#include "sql/keycode.h"
#include "sql/plan.h"
#include "sql/rowcode.h"

struct cursor; /* cursor.c */

struct vtab {
    sqlite3_vtab base; /* must be first */
    struct vtab *next; /* in connection->tables */
    struct connection *connection;
    char *schema_name, *name;
    struct schema *schema;
    struct session *session;
    uint32_t table_id;
    bool utf8;    /* how SQLite keeps its texts */
    bool member;  /* takes part in the session's transaction */
    bool created; /* in a transaction that is not committed */
    bool joining; /* nothing was called since xBegin */
    bool moved;   /* an UPDATE has changed a key since xBegin */
    bool several; /* a number has equalled several texts where an UPDATE expected one row */

    unsigned held; /* by functions that run */
    bool gone;     /* SQLite has disconnected it meanwhile */

    struct cursor *spare; /* a closed cursor, for the next one to take over its memory */

    /* Scratch of xUpdate, kept between rows. */
    struct value *values; /* all columns, and one for the hidden rowid */
    struct buf key, old_key, row, old_row, scratch, kept;
    struct index_scratch indexes;

    struct sampled **samples; /* see sampling.h */
    struct clearing clearing;

    /* The largest rowid, known while nothing is rolled back or begun. */
    int64_t max_rowid;
    bool max_rowid_known;
    unsigned max_rowid_epoch, max_rowid_undos; /* of the session, at that time */
};

static inline struct vtab *vtab_of(sqlite3_vtab *t) {
    return (struct vtab *)t;
}

/* Set the table's error message from *err; the SQLite code is returned. */
int vtab_report(struct vtab *t, const struct kevo_err *err);

/* About how many rows the table has; never fails. */
double vtab_row_estimate(struct vtab *t);

/* best_index.c */
int vtab_best_index(sqlite3_vtab *table, sqlite3_index_info *info);

/* cursor.c */
int cursor_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor);
int cursor_close(sqlite3_vtab_cursor *cursor);
void cursor_free_spare(struct vtab *t);
int cursor_filter(sqlite3_vtab_cursor *cursor, int index, const char *words, int argc,
                  sqlite3_value **argv);
int cursor_next(sqlite3_vtab_cursor *cursor);
int cursor_eof(sqlite3_vtab_cursor *cursor);
int cursor_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column);
int cursor_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid);

/* update.c */
int vtab_update(sqlite3_vtab *table, int argc, sqlite3_value **argv, sqlite3_int64 *rowid);

/* module.c */
/* With what the SQLite that runs knows how to call. */
const sqlite3_module *kevo_module(void);
/* The connected table of that name, connecting it if need be. Else an SQLite result code with
 * *message, SQLITE_INTERRUPT among them. */
int vtab_find(struct connection *connection, const char *name, struct vtab **table, char **message);

/* The one that is connected as that table now; NULL: none. */
struct vtab *vtab_connected(struct connection *connection, const char *schema, const char *name);
/* SQLite disconnects a table that no statement uses when it reads the schema again, as any statement may
 * have it do, kevo's own too: one that is held stays in memory, with its session, until it is let go. */
void vtab_hold(struct vtab *t);
void vtab_let_go(struct vtab *t);

/* delete_range.c */
/* Delete the rows for which all conditions are true, in the transaction of the session:
 * `argv` has conditions (condition.h) and their values in turn. Rows are looked at only when
 * the table has an index in which their entries do not lie together. After an error the
 * caller undoes what was done. */
int delete_range(struct vtab *t, int argc, sqlite3_value **argv, char **message);

/* Before the commit of the session: are the tables that were made in it, and their store,
 * still there? What those that a ROLLBACK TO took back wrote is taken out. */
int forget_undone_tables(struct session *s, char **message);

/* index_check.c */
/* Compare the rows with the definition and the indexes, as a read of the session sees them. *message
 * is NULL when they agree, else it says in words what is wrong; sqlite3_free. */
int index_check(struct vtab *t, char **message);
/* Check the store's files, and with `indexes` the table's rows and indexes too: SQLITE_OK with
 * *message NULL when all is well, SQLITE_CORRUPT or one of its kind with *message in words,
 * or another error. */
int table_check(struct vtab *t, bool indexes, char **message);
/* The same for PRAGMA integrity_check and quick_check. */
int vtab_integrity(sqlite3_vtab *table, const char *schema, const char *name, int quick,
                   char **found);
/* Make the indexes agree with the rows, in the transaction of the session. */
int index_rebuild(struct vtab *t, char **message);

/* functions.c */
/* Whether sqlite3_interrupt() was called: `probe` is a statement SELECT 1. */
bool vtab_interrupted(sqlite3_stmt *probe);
int functions_register(struct connection *connection);

#endif
