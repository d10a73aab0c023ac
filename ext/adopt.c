#include "ext/adopt.h"

#include <string.h>

#include "ext/claim.h"
#include "ext/convert.h"
#include "ext/inner_sql.h"
#include "ext/own.h"

/* What the two sides say. */
struct stories {
    bool foreign;              /* the store has another id than the one that the database names */
    bool has_marker;           /* ... and the marker makes sense: */
    struct kevo_commit marker; /* the database's last commit */
    struct kevo_commit newest; /* the store's */
};

static int refuse(int rc, const char *why, char **message) {
    *message = sqlite3_mprintf("kevo: %s", why);
    return rc;
}

static int read_marker(struct session *s, struct stories *told, char **message) {
    char *damage = NULL;
    told->foreign = memcmp(kevo_store_uuid(s->store), s->uuid, sizeof s->uuid) != 0;
    int rc = marker_read(s->connection->db, s->schema, s->store_row, &s->marker_stmt, &told->marker,
                         &damage);
    told->has_marker = rc == SQLITE_OK;
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_CORRUPT) {
        *message = damage;
        return rc;
    }
    sqlite3_free(damage);
    return SQLITE_OK;
}

/* What the log lacks comes from the marker. An error of the engine goes to *err, the code to
 * *engine_rc. */
static int restore_tail(struct session *s, const struct stories *told, int *engine_rc,
                        struct kevo_err *err, char **message) {
    struct kevo_tail tail;
    struct buf bytes = {0};
    if (!kevo_lacks(s->store, told->marker)) return SQLITE_OK;
    int rc = marker_read_tail(s->connection->db, s->schema, s->store_row, &tail, &bytes, message);
    if (rc == SQLITE_OK) *engine_rc = kevo_restore(s->store, told->marker, &tail, err);
    buf_release(&bytes);
    if ((rc & 0xff) != SQLITE_CORRUPT) return rc;
    /* What was kept is lost as well. */
    sqlite3_free(*message);
    *message = NULL;
    *engine_rc = KEVO_DIVERGED;
    return SQLITE_OK;
}

/* Go to the marker as the next writer would: what the store has beyond is dropped.
 * KEVO_DIVERGED when that cannot be. */
static int go_to_marker(struct session *s, struct stories *told, int *engine_rc,
                        struct kevo_err *err, char **message) {
    *engine_rc = 0;
    int rc = restore_tail(s, told, engine_rc, err, message);
    if (rc != SQLITE_OK || *engine_rc) return rc;
    *engine_rc = kevo_newest_commit(s->store, &told->newest, err);
    if (*engine_rc == 0) rc = session_sync_database(s);
    if (rc == SQLITE_OK && *engine_rc == 0) *engine_rc = kevo_resolve(s->store, told->marker, err);
    return rc;
}

/* ---- what was done, in words --------------------------------------------------------- */

static char *tell_dropped(const struct stories *told) {
    unsigned long long marker = told->marker.batch, newest = told->newest.batch;
    if (newest <= marker) return sqlite3_mprintf("ok");
    return sqlite3_mprintf("dropped batches %llu to %llu of the store: the database's last commit "
                           "is batch %llu",
                           marker + 1, newest, marker);
}

static char *tell_taken(const struct stories *told) {
    unsigned long long marker = told->marker.batch, newest = told->newest.batch;
    const char *what = told->foreign ? "another store" : "the store";
    if (!told->has_marker)
        return sqlite3_mprintf("took %s as it is, up to batch %llu: the database had no marker",
                               what, newest);
    if (told->foreign || marker == newest)
        return sqlite3_mprintf(
            "took %s as it is, up to batch %llu: kevo tables are as it has them, "
            "and what the database committed up to another batch %llu is lost",
            what, newest, marker);
    if (marker > newest)
        return sqlite3_mprintf("took the store as it is, up to batch %llu: what the database "
                               "committed to kevo tables in batches %llu to %llu is lost",
                               newest, newest + 1, marker);
    return sqlite3_mprintf("took the store as it is, up to batch %llu: the database's last commit "
                           "was batch %llu, and kevo tables have later changes than ordinary ones",
                           newest, marker);
}

/* ---- adopting ---------------------------------------------------------------------------- */

static int take_as_it_is(struct session *s, struct stories *told, char **message) {
    struct kevo_err err;
    if (kevo_newest_commit(s->store, &told->newest, &err)) return report(message, &err);
    return catalogue_adopt(s->connection->db, s->schema, s->store_row, kevo_store_uuid(s->store),
                           told->newest, message);
}

/* SQLite's write lock is held. */
static int agree(struct session *s, char **text, char **message) {
    struct stories told = {.foreign = false};
    struct kevo_err err;
    int engine_rc = KEVO_DIVERGED;
    int rc = read_marker(s, &told, message);
    if (rc == SQLITE_OK && told.has_marker && !told.foreign)
        rc = go_to_marker(s, &told, &engine_rc, &err, message);
    if (rc != SQLITE_OK) return rc;
    if (engine_rc && engine_rc != KEVO_DIVERGED) return report(message, &err);
    if (engine_rc)
        rc = take_as_it_is(s, &told, message);
    else /* all of it is durable in the log: the marker need keep nothing, and is whole again */
        rc = catalogue_adopt(s->connection->db, s->schema, s->store_row, kevo_store_uuid(s->store),
                             told.marker, message);
    if (rc != SQLITE_OK) return rc;
    *text = engine_rc ? tell_taken(&told) : tell_dropped(&told);
    return *text ? SQLITE_OK : SQLITE_NOMEM;
}

static int agree_in_transaction(struct session *s, char **told, char **message) {
    sqlite3 *db = s->connection->db;
    struct own own;
    int rc = own_begin(&own, db, s->schema, message);
    if (rc != SQLITE_OK) return rc;
    rc = inner_run(db, message, "UPDATE \"%w\".kevo_store SET id = id WHERE 0", s->schema);
    /* The marker may be lost with its table. */
    if (rc == SQLITE_OK) rc = catalogue_init(db, s->schema, message);
    if (rc == SQLITE_OK) rc = agree(s, told, message);
    return own_end(&own, rc, message);
}

/* The store becomes this file's; when that is news for another one, say so. */
static int take_from_others(struct session *s, char **told, char **message) {
    sqlite3 *db = s->connection->db;
    char *ignored = NULL;
    bool others = claim_check(db, s->schema, s->path, s->store, &ignored) == SQLITE_CANTOPEN;
    sqlite3_free(ignored);
    int rc = claim_take(db, s->schema, s->store, message);
    if (rc != SQLITE_OK || !others) return rc;
    char *longer = sqlite3_mprintf("%s; the database that had the store is refused from now on",
                                   strcmp(*told, "ok") == 0 ? "took the store" : *told);
    if (!longer) return SQLITE_NOMEM;
    sqlite3_free(*told);
    *told = longer;
    return SQLITE_OK;
}

int adopt(struct session *s, char **told, char **message) {
    *told = NULL;
    if (!sqlite3_get_autocommit(s->connection->db))
        return refuse(SQLITE_ERROR, "kevo_adopt() works outside of transactions only", message);
    if (s->open_cursors)
        return refuse(SQLITE_LOCKED, "a statement reads a table of the store; finish it first",
                      message);
    if (!s->path || s->options.authority == KEVO_AUTHORITY_SELF)
        return refuse(
            SQLITE_ERROR,
            "a store that decides its commits itself has no marker: there is nothing to adopt",
            message);
    session_close(s);
    int rc = session_open_any(s, message);
    if (rc == SQLITE_OK) rc = agree_in_transaction(s, told, message);
    if (rc == SQLITE_OK) {
        memcpy(s->uuid, kevo_store_uuid(s->store), sizeof s->uuid);
        rc = take_from_others(s, told, message);
    }
    /* Opened again as the database says now. */
    session_close(s);
    return rc;
}
