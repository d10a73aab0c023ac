#include "ext/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "ext/beside.h"
#include "ext/claim.h"
#include "ext/convert.h"
#include "ext/dropped.h"
#include "ext/durable.h"
#include "ext/inner_sql.h"
#include "ext/own.h"
#include "ext/session_impl.h"
#include "ext/sharers.h"
#include "ext/vtab.h"
#include "ext/world.h"

/* ---- where the store is ---------------------------------------------------------- */

const char *session_filename(sqlite3 *db, const char *schema) {
    sqlite3_vfs *vfs = NULL;
    const char *filename = sqlite3_db_filename(db, schema);
    if (!filename || !*filename) return NULL;
    sqlite3_file_control(db, schema, SQLITE_FCNTL_VFS_POINTER, &vfs);
    return vfs && strcmp(vfs->zName, "memdb") == 0 ? NULL : filename;
}

/* Whether the schema has a file. Some VFSs have names without files behind them. The file is not
 * opened: closing it would drop SQLite's locks on it. */
static bool find_file(sqlite3 *db, const char *schema, const char **filename, struct env_stat *st) {
    struct env *env = world_env();
    struct kevo_err ignored;
    *filename = session_filename(db, schema);
    return *filename && env->stat(env, *filename, st, &ignored) == KEVO_OK;
}

int session_resolve_path(sqlite3 *db, const char *schema, const char *directory, char **path,
                         char **message) {
    const char *filename;
    struct env_stat st;
    bool file = find_file(db, schema, &filename, &st);
    *path = NULL;
    if (!directory && !file) return SQLITE_OK;
    if (directory && !*directory) {
        *message = sqlite3_mprintf("kevo: the store's directory is an empty string");
        return SQLITE_ERROR;
    }
    const char *slash = file ? strrchr(filename, '/') : NULL;
    if (!directory)
        *path = sqlite3_mprintf("%s-kevo", filename);
    else if (*directory == '/' || !slash)
        *path = sqlite3_mprintf("%s", directory);
    else
        *path = sqlite3_mprintf("%.*s/%s", (int)(slash - filename), filename, directory);
    return *path ? SQLITE_OK : SQLITE_NOMEM;
}

/* The database file decides the commits, its mode is the store's. */
static void describe_owner(struct session *s, sqlite3 *db) {
    const char *filename;
    struct env_stat st;
    s->options.authority = KEVO_AUTHORITY_SELF;
    s->owner = (struct store_owner){.connection = s->connection};
    if (!find_file(db, s->schema, &filename, &st)) return;
    s->options.authority = KEVO_AUTHORITY_EXTERNAL;
    s->options.file_mode = st.mode & 0666;
    s->options.set_owner = geteuid() == 0;
    s->options.owner_user = st.user;
    s->options.owner_group = st.group;
    s->owner = (struct store_owner){st.device, st.inode, NULL, filename};
}

/* ---- what SQLite has committed -------------------------------------------------------- */

/* Make what SQLite has committed durable, since the store is about to let go of the batches
 * that belong to it. In WAL mode with synchronous=NORMAL the log is not synced at commits;
 * with a rollback journal only EXTRA makes the journal's end durable in all modes: that is its
 * unlinking, or that it is emptied or overwritten. SQLite has closed the file by then. */
int session_sync_database(struct session *s) {
    sqlite3 *db = s->connection->db;
    sqlite3_file *log = NULL;
    const char *filename;
    struct env_stat st;
    struct kevo_err err;
    if (session_decides_itself(s)) return SQLITE_OK;
    int rc = sqlite3_file_control(db, s->schema, SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (rc == SQLITE_OK && log && log->pMethods) rc = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
    /* A file that has another name now: what belongs to it cannot be told. */
    if (rc == SQLITE_OK && !find_file(db, s->schema, &filename, &st)) rc = SQLITE_CANTOPEN;
    if (rc == SQLITE_OK) rc = sqlite_code(durable_file(filename, "-journal", &err));
    return rc == SQLITE_OK ? sqlite_code(durable_directory(filename, &err)) : rc;
}

/* ---- life --------------------------------------------------------------------------- */

/* A statement that is not finalized keeps its connection open. */
static void finalize_statements(struct session *s) {
    sqlite3_finalize(s->marker_stmt);
    sqlite3_finalize(s->probe);
    sqlite3_finalize(s->equality);
    s->marker_stmt = s->probe = s->equality = NULL;
}

/* What the log holds has to be read when the store is opened again, some hundred milliseconds of it
 * at most: the last one to leave writes it to a table, as SQLite's last one checkpoints. It may
 * fail; then the log stays. After a DETACH the schema is gone, or another database by now, so the
 * file is synced by its name. */
static void leave_tables(struct session *s) {
    enum { LITTLE_BYTES = 512 << 10 };
    struct kevo_stats stats;
    struct kevo_err ignored;
    if (!s->store || !s->path || s->in_force.read_only || session_is_open(s) ||
        !registry_is_last(s->shared) || kevo_needs_resolve(s->store))
        return;
    kevo_get_stats(s->store, &stats);
    if (stats.memtable_used_bytes < LITTLE_BYTES) return;
    int rc = session_decides_itself(s) ? 0 : registry_make_durable(s->shared, &ignored);
    if (rc == 0 && kevo_rotate(s->store, &ignored) == 0) kevo_flush(s->store, &ignored);
}

void session_free(struct session *s) {
    finalize_statements(s);
    leave_tables(s);
    sharers_remove(s);
    kevo_snapshot_free(s->snapshot);
    kevo_txn_unref(s->txn);
    registry_close(s->shared);
    sqlite3_free(s->schema);
    sqlite3_free(s->path);
    sqlite3_free(s->lost);
    mem_free(s->savepoints);
    sqlite3_free(s);
}

struct session *session_new(struct connection *connection, const char *schema,
                            const struct catalogue_store *store, const struct schema *table,
                            int *rc, char **message) {
    struct session *s = sqlite3_malloc64(sizeof *s);
    *rc = SQLITE_NOMEM;
    if (!s) return NULL;
    memset(s, 0, sizeof *s);
    s->connection = connection;
    s->refs = 1;
    s->store_row = store->row;
    memcpy(s->uuid, store->uuid, sizeof s->uuid);
    s->schema = sqlite3_mprintf("%s", schema);
    if (s->schema)
        *rc = session_resolve_path(connection->db, schema, store->directory, &s->path, message);
    if (*rc != SQLITE_OK) {
        session_free(s);
        return NULL;
    }
    s->options = table->options.values;
    s->options.env = world.env;
    if (world.no_threads) s->options.background = false;
    s->options_given = table->options.given != 0;
    describe_owner(s, connection->db);
    return s;
}

int session_get(struct connection *connection, const char *schema,
                const struct catalogue_store *store, const struct schema *table,
                struct session **session, char **message) {
    int rc = SQLITE_OK;
    struct session *s = connection->sessions;
    while (s && (s->lost || s->store_row != store->row || strcmp(s->schema, schema) != 0 ||
                 memcmp(s->uuid, store->uuid, sizeof s->uuid) != 0))
        s = s->next;
    if (s) {
        s->refs++;
    } else {
        s = session_new(connection, schema, store, table, &rc, message);
        if (!s) return rc;
        s->next = connection->sessions;
        connection->sessions = s;
    }
    *session = s;
    return SQLITE_OK;
}

int session_get_lost(struct connection *connection, const char *schema, const struct schema *table,
                     int lost_rc, struct session **session, char **message) {
    const struct catalogue_store none = {.row = 0};
    char *why = *message;
    int rc;
    *message = NULL;
    struct session *s = session_new(connection, schema, &none, table, &rc, message);
    if (!s) {
        sqlite3_free(why);
        return rc;
    }
    s->lost = why;
    s->lost_rc = lost_rc;
    s->next = connection->sessions;
    connection->sessions = s;
    *session = s;
    return SQLITE_OK;
}

static void unlink_session(struct session *s) {
    struct session **p = &s->connection->sessions;
    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
}

void session_unref(struct session *s) {
    if (--s->refs > 0) return;
    /* A store in memory lives as long as the connection, whatever SQLite forgets
     * and reads again of the schema meanwhile. One whose creation was rolled back stays
     * open: nobody who opens it anew could tell that its batches were not committed. */
    if ((s->path || s->lost) && !s->created) {
        unlink_session(s);
        session_free(s);
        return;
    }
    finalize_statements(s);
    session_drop_snapshot(s);
    s->seen.known = false;
}

void session_free_all(struct connection *connection) {
    while (connection->sessions) {
        struct session *s = connection->sessions;
        connection->sessions = s->next;
        session_free(s);
    }
}

/* ---- opening the store ------------------------------------------------------------------ */

/* Another process may close the store while this one still has patience. */
static int open_patiently(struct session *s, const struct kevo_options *o, struct kevo_err *err) {
    enum { STEP_MS = 20 };
    int rc = registry_open(s->path, o, s->owner, &s->shared, err);
    int left = rc == KEVO_BUSY && !s->hurried ? inner_busy_timeout(s->connection->db) : 0;
    for (; rc == KEVO_BUSY && left > 0; left -= STEP_MS) {
        sqlite3_sleep(left < STEP_MS ? left : STEP_MS);
        rc = registry_open(s->path, o, s->owner, &s->shared, err);
    }
    return rc;
}

/* A connection that may only read opens no store for writing, and one that may do more is
 * content with reading where the store's files cannot be written. */
static int open_store(struct session *s, struct kevo_options *o, struct kevo_err *err) {
    o->read_only = sqlite3_db_readonly(s->connection->db, s->schema) == 1;
    int rc = open_patiently(s, o, err);
    if (rc != KEVO_CANTOPEN || o->create_if_missing || o->read_only) return rc;
    struct kevo_err ignored;
    o->read_only = true;
    return open_patiently(s, o, &ignored) == 0 ? 0 : rc;
}

/* There are rows of no store: say how to get rid of their tables. */
static int report_open(const struct session *s, bool create, char **message,
                       const struct kevo_err *err) {
    struct stat st;
    int rc = report(message, err);
    if (rc != SQLITE_CANTOPEN || create || !s->path || world_stat(s->path, &st) == 0 ||
        errno != ENOENT)
        return rc;
    char *longer = sqlite3_mprintf("%s, or DROP TABLE the tables whose rows it had", *message);
    if (!longer) return SQLITE_NOMEM;
    sqlite3_free(*message);
    *message = longer;
    return rc;
}

/* What the definition of a table says of options counts when its store is made; from then on
 * the store knows them. */
int session_open_shared(struct session *s, bool create, char **message) {
    struct kevo_err err;
    struct kevo_options o = s->options;
    o.create_if_missing = create;
    o.use_kept = !create || !s->options_given;
    int rc = s->path ? open_store(s, &o, &err) : registry_open_memory(&o, &s->shared, &err);
    if (rc) return report_open(s, create, message, &err);
    s->store = s->shared->store;
    kevo_get_options(s->store, &s->in_force);
    sharers_add(s);
    return SQLITE_OK;
}

void session_close_shared(struct session *s) {
    sharers_remove(s);
    registry_close(s->shared);
    s->shared = NULL;
    s->store = NULL;
}

/* Whether another database file has the open store. */
int session_check_claim(struct session *s, char **message) {
    if (session_decides_itself(s)) return SQLITE_OK;
    return claim_check(s->connection->db, s->schema, s->path, s->store, message);
}

/* Whether the open store is the one that the database names, which may have come to name another
 * one since. */
static int check_id(struct session *s, char **message) {
    const uint8_t *id = kevo_store_uuid(s->store);
    if (memcmp(id, s->uuid, sizeof s->uuid) == 0) return SQLITE_OK;
    int rc = catalogue_read_uuid(s->connection->db, s->schema, s->store_row, s->uuid, message);
    if (rc != SQLITE_OK || memcmp(id, s->uuid, sizeof s->uuid) == 0) return rc;
    *message = sqlite3_mprintf("kevo: %s: the store there belongs to another database; put back "
                               "the one that was saved with this database file, or take that "
                               "one as it is with SELECT kevo_adopt('TABLE')",
                               s->path);
    return SQLITE_CANTOPEN;
}

static int check_store(struct session *s, char **message) {
    int rc = check_id(s, message);
    return rc == SQLITE_OK ? session_check_claim(s, message) : rc;
}

/* The store shall know this database file when it meets a copy. A disk that is full is no
 * reason not to read: the next one who opens it tries again. */
static void note_claim(struct session *s) {
    char *ignored = NULL;
    if (!session_decides_itself(s) && !s->in_force.read_only)
        claim_take(s->connection->db, s->schema, s->store, &ignored);
    sqlite3_free(ignored);
}

static int refuse_lost(const struct session *s, char **message) {
    *message = sqlite3_mprintf("%s", s->lost);
    return s->lost_rc;
}

int session_open(struct session *s, char **message) {
    if (s->store) return SQLITE_OK;
    if (s->lost) return refuse_lost(s, message);
    if (!s->path) {
        *message = sqlite3_mprintf(
            "kevo: there is no kevo store: one in memory goes with its connection, and no copy of "
            "a database has it; DROP TABLE the tables whose rows it had");
        return SQLITE_CANTOPEN;
    }
    int rc = session_open_shared(s, false, message);
    if (rc == SQLITE_OK) rc = check_store(s, message);
    if (rc != SQLITE_OK)
        session_close_shared(s);
    else
        note_claim(s);
    return rc;
}

bool session_open_now(struct session *s) {
    char *ignored = NULL;
    s->hurried = true;
    int rc = session_open(s, &ignored);
    s->hurried = false;
    sqlite3_free(ignored);
    return rc == SQLITE_OK;
}

int session_open_any(struct session *s, char **message) {
    if (s->lost) return refuse_lost(s, message);
    int rc = session_open_shared(s, false, message);
    if (rc != SQLITE_OK || !s->in_force.read_only) return rc;
    session_close_shared(s);
    *message = sqlite3_mprintf("kevo: %s: the store can only be read", s->path);
    return SQLITE_READONLY;
}

void session_close(struct session *s) {
    assert(!session_is_open(s) && s->open_cursors == 0);
    session_drop_snapshot(s);
    s->seen.known = false; /* another look may find a store that has to be mended */
    session_close_shared(s);
    s->epoch++;
}

/* ---- reading ---------------------------------------------------------------------------- */

void session_drop_snapshot(struct session *s) {
    kevo_snapshot_free(s->snapshot);
    s->snapshot = NULL;
    s->parked = false;
}

void session_resume(struct session *s, struct kevo_value *value) {
    if (!s->parked) return;
    s->parked = false;
    if (!kevo_snapshot_resume(s->snapshot, value)) session_drop_snapshot(s);
}

/* After a power loss the store may lack what the marker kept of its log. */
static int restore_tail(struct session *s, struct kevo_commit last, char **message) {
    struct kevo_tail tail;
    struct buf bytes = {0};
    struct kevo_err err;
    int rc = marker_read_tail(s->connection->db, s->schema, s->store_row, &tail, &bytes, message);
    if (rc == SQLITE_OK && kevo_restore(s->store, last, &tail, &err)) rc = report(message, &err);
    buf_release(&bytes);
    return rc;
}

/* What was committed last, as SQLite's snapshot has it; the store has it too when this
 * returns SQLITE_OK. */
static int read_last_commit(struct session *s, struct kevo_commit *last, char **message) {
    if (session_decides_itself(s)) {
        *last = kevo_last_commit(s->store);
        return SQLITE_OK;
    }
    int rc =
        marker_read(s->connection->db, s->schema, s->store_row, &s->marker_stmt, last, message);
    if (rc == SQLITE_OK && kevo_lacks(s->store, *last)) rc = restore_tail(s, *last, message);
    return rc;
}

/* Each statement asks. Without a name SQLite takes the first schema, which is always to be had as
 * main; it compares names letter by letter. */
static int file_version(const struct session *s, unsigned *version) {
    const char *schema = strcmp(s->schema, "main") == 0 ? NULL : s->schema;
    return sqlite3_file_control(s->connection->db, schema, SQLITE_FCNTL_DATA_VERSION, version);
}

/* The marker is read again only when something was committed since: that is a quarter of the
 * work of a short query. */
static int find_last_commit(struct session *s, unsigned version, char **message) {
    if (s->seen.known && s->seen.version == version) return SQLITE_OK;
    s->seen.known = false;
    int rc = read_last_commit(s, &s->seen.last, message);
    if (rc != SQLITE_OK) return rc;
    s->seen.version = version;
    s->seen.known = !session_decides_itself(s); /* the version is that of a file */
    return SQLITE_OK;
}

/* To a store that was opened again since, a transaction that began before newer commits left its
 * log looks like an old copy of the database. */
static int refuse_snapshot(struct session *s, const struct kevo_err *err, char **message) {
    struct kevo_commit seen = s->seen.last;
    bool newer = false;
    int rc = SQLITE_OK;
    s->seen.known = false;
    if (err->rc == KEVO_DIVERGED)
        rc = beside_is_newer(s->connection->db, s->schema, s->store_row, seen, &newer, message);
    if (rc != SQLITE_OK) return rc;
    if (!newer) return report(message, err);
    *message = sqlite3_mprintf("kevo: %s: the snapshot of batch %llu is too old; start the "
                               "transaction again",
                               s->path, (unsigned long long)seen.batch);
    return SQLITE_BUSY_SNAPSHOT;
}

static int take_snapshot(struct session *s, unsigned version, char **message) {
    struct kevo_err err;
    int rc = find_last_commit(s, version, message);
    if (rc != SQLITE_OK) return rc;
    if (s->snapshot && kevo_snapshot_id(s->snapshot) == s->seen.last.batch) return SQLITE_OK;
    session_drop_snapshot(s);
    int failed = kevo_snapshot_at(s->store, s->seen.last, &s->snapshot, &err);
    return failed ? refuse_snapshot(s, &err, message) : SQLITE_OK;
}

int session_read(struct session *s, struct kevo_read *read, char **message) {
    unsigned version = 0;
    *read = (struct kevo_read){.snapshot = NULL};
    if (session_is_open(s)) {
        read->txn = s->txn;
        return SQLITE_OK;
    }
    session_resume(s, NULL);
    int rc = session_open(s, message);
    if (rc == SQLITE_OK) rc = file_version(s, &version);
    if (rc == SQLITE_OK && (!s->snapshot || version != s->seen.version))
        rc = take_snapshot(s, version, message);
    read->snapshot = s->snapshot;
    return rc;
}

int session_read_on(struct session *s, unsigned epoch, struct kevo_read *read, char **message) {
    if (epoch != s->epoch || !s->snapshot || session_is_open(s))
        return session_read(s, read, message);
    *read = (struct kevo_read){.snapshot = s->snapshot};
    return SQLITE_OK;
}

void session_cursor_opened(struct session *s) {
    s->open_cursors++;
}

void session_cursor_closed(struct session *s, struct kevo_value *value) {
    assert(s->open_cursors > 0);
    if (--s->open_cursors > 0 || !sqlite3_get_autocommit(s->connection->db)) return;
    if (!s->snapshot || s->parked) return;
    /* Whether the next statement sees the same is asked of a file. */
    s->parked = !session_decides_itself(s) && kevo_snapshot_park(s->snapshot, value);
    if (!s->parked) session_drop_snapshot(s);
}

/* ---- writing ---------------------------------------------------------------------------- */

/* Tell the store what was committed last, and give it room for more. */
static int bring_up_to_date(struct session *s, char **message) {
    struct kevo_err err;
    unsigned version;
    int rc = file_version(s, &version);
    if (rc == SQLITE_OK) rc = find_last_commit(s, version, message);
    /* What is decided may leave the log, and the first commit keeps the store for good. */
    if (rc == SQLITE_OK && (kevo_needs_resolve(s->store) || !kevo_is_confirmed(s->store)))
        rc = session_sync_database(s);
    if (rc != SQLITE_OK) return rc;
    if (kevo_resolve(s->store, s->seen.last, &err)) {
        s->seen.known = false;
        return report(message, &err);
    }
    if (!kevo_wants_rotate(s->store) && !s->shared->rotate_due) return SQLITE_OK;
    sharers_drop_idle_snapshots(s);
    rc = session_sync_database(s);
    if (rc == SQLITE_OK && kevo_rotate(s->store, &err)) rc = report(message, &err);
    if (rc == SQLITE_OK) s->shared->rotate_due = false;
    return rc;
}

/* Asked while a large transaction's files are merged, which may take long. SQLite prepares
 * nothing either once it is interrupted. */
static bool is_interrupted(void *arg) {
    struct session *s = arg;
    int rc = s->probe ? SQLITE_OK
                      : sqlite3_prepare_v2(s->connection->db, "SELECT 1", -1, &s->probe, NULL);
    return rc == SQLITE_INTERRUPT || (rc == SQLITE_OK && vtab_interrupted(s->probe));
}

int session_begin(struct session *s, char **message) {
    struct kevo_err err;
    if (session_is_open(s)) return SQLITE_OK;
    int rc = session_open(s, message);
    if (rc == SQLITE_OK) rc = bring_up_to_date(s, message);
    if (rc != SQLITE_OK) return rc;
    if (kevo_txn_new(s->store, &s->txn, &err)) return report(message, &err);
    kevo_txn_on_merge(s->txn, is_interrupted, s);
    session_drop_snapshot(s);
    s->seen.known = false;
    session_enter(s, SESSION_BEGIN);
    s->epoch++;
    return SQLITE_OK;
}

void session_written(struct session *s) {
    session_enter(s, SESSION_WRITE);
}

/* Write the marker, and with it the end of the log, so that the log is durable as soon as
 * the marker is. When that is too long the log is synced first. */
static int set_marker(struct session *s, struct kevo_commit commit, char **message) {
    struct kevo_tail tail = {0};
    struct kevo_err err;
    struct marker marker;
    int rc = marker_open(s->connection->db, s->schema, s->store_row, &marker, message);
    if (rc != SQLITE_OK) return rc;
    bool sync = s->in_force.sync != KEVO_SYNC_OFF;
    if (kevo_log_tail(s->store, marker.capacity_bytes, sync, &tail, &err)) {
        marker_close(&marker);
        return report(message, &err);
    }
    return marker_set(&marker, commit, &tail, message);
}

/* How a batch is synced as it is prepared. With a database file the marker sees to it. */
static int prepare_mode(const struct session *s) {
    if (session_decides_itself(s)) return s->in_force.sync;
    return s->in_force.sync == KEVO_SYNC_OFF ? KEVO_SYNC_OFF : KEVO_SYNC_SOON;
}

/* Once a transaction, after all that it has dropped. */
static int sweep(struct session *s, char **message) {
    bool found;
    uint64_t bytes;
    if (s->swept) return SQLITE_OK;
    int rc = dropped_sweep(s, &found, &bytes, message);
    if (found) session_written(s);
    s->swept = rc == SQLITE_OK;
    if (rc == SQLITE_AUTH) { /* the application may not forget them, but what it does it may */
        sqlite3_free(*message);
        *message = NULL;
        rc = SQLITE_OK;
    }
    s->freed_bytes += bytes;
    return rc;
}

int session_sync(struct session *s, char **message) {
    struct kevo_commit commit;
    struct kevo_err err;
    if (!session_is_open(s)) return SQLITE_OK;
    int rc = sweep(s, message);
    if (rc != SQLITE_OK || (s->state == SESSION_OPEN && kevo_txn_is_empty(s->txn))) return rc;
    if (kevo_txn_is_large(s->txn)) rc = session_sync_database(s);
    if (rc != SQLITE_OK) return rc;
    if (kevo_txn_prepare(s->txn, prepare_mode(s), &commit, &err)) return report(message, &err);
    /* Also when the batch is the one of an earlier, failed COMMIT: a ROLLBACK TO may have
     * undone the marker since. */
    if (!session_decides_itself(s)) rc = set_marker(s, commit, message);
    if (rc == SQLITE_OK) rc = file_version(s, &s->marked.version);
    if (rc != SQLITE_OK) return rc;
    s->marked.last = commit;
    session_enter(s, SESSION_SYNC);
    return rc;
}

static void end_transaction(struct session *s, enum session_event how) {
    session_enter(s, how);
    kevo_txn_unref(s->txn);
    s->txn = NULL;
    s->savepoint_count = 0;
    s->freed_bytes = 0;
    s->frees_many = false;
    s->epoch++;
}

/* A large transaction is tables already. The store makes them its own as soon as SQLite's commit
 * is durable; if that cannot be done now, the next writer does it. */
static void take_over_tables(struct session *s) {
    struct kevo_err ignored;
    if (!session_decides_itself(s) && session_sync_database(s) == SQLITE_OK)
        kevo_rotate(s->store, &ignored);
}

/* After the first commit: the store is no leftover of its creation. If that cannot be noted, the
 * next writer does it. */
static void confirm(struct session *s) {
    struct kevo_err ignored;
    if (session_decides_itself(s) || kevo_is_confirmed(s->store)) return;
    if (session_sync_database(s) == SQLITE_OK) kevo_confirm(s->store, &ignored);
}

/* What the marker says is known from here on, if nobody else has committed since SQLite let go of
 * its lock: a commit adds one to the version, and so does what is noticed of another one's. */
static void note_commit(struct session *s) {
    unsigned version;
    if (session_decides_itself(s) || file_version(s, &version) != SQLITE_OK) return;
    s->seen.last = s->marked.last;
    s->seen.version = version;
    s->seen.known = version == s->marked.version + 1;
}

void session_commit(struct session *s) {
    s->savepoint_count = 0;
    s->created = false;
    if (!session_is_open(s)) return;
    assert(s->state == SESSION_SYNCED || kevo_txn_is_empty(s->txn));
    bool large = s->state == SESSION_SYNCED && kevo_txn_is_large(s->txn);
    if (s->state == SESSION_SYNCED) {
        kevo_txn_commit(s->txn);
        note_commit(s);
        confirm(s);
    }
    /* A flush writes a memtable at most. */
    if (s->freed_bytes > s->in_force.memtable_bytes) s->shared->rotate_due = s->frees_many = true;
    if (s->frees_many) kevo_settle_all(s->store);
    end_transaction(s, SESSION_COMMIT);
    if (large) take_over_tables(s);
}

void session_rollback(struct session *s) {
    s->savepoint_count = 0;
    s->swept = false;
    if (!session_is_open(s)) return;
    kevo_txn_rollback(s->txn);
    /* Here nothing is in doubt: the batch is cut now, or if that fails, by the next
     * writer. */
    if (session_decides_itself(s)) {
        struct kevo_err ignored;
        kevo_resolve(s->store, kevo_last_commit(s->store), &ignored);
    }
    end_transaction(s, SESSION_ROLLBACK);
}

void session_abandon(struct session *s) {
    static const struct kevo_commit none;
    struct kevo_err ignored;
    session_rollback(s);
    /* With the write lock held it is certain that nothing was committed. */
    kevo_resolve(s->store, none, &ignored);
}

/* ---- flush -------------------------------------------------------------------------------------- */

/* With SQLite's write lock held nobody else prepares a batch. */
static int rotate_locked(struct session *s, char **message) {
    struct kevo_err err;
    int rc = marker_lock(s->connection->db, s->schema, s->store_row, message);
    if (rc == SQLITE_OK && !session_is_open(s)) rc = bring_up_to_date(s, message);
    if (rc == SQLITE_OK) rc = session_sync_database(s);
    sharers_drop_idle_snapshots(s);
    if (rc == SQLITE_OK && kevo_rotate(s->store, &err)) rc = report(message, &err);
    return rc;
}

int session_flush(struct session *s, char **message) {
    struct kevo_err err;
    struct own own;
    int rc = session_open(s, message);
    if (rc == SQLITE_OK) rc = own_begin(&own, s->connection->db, s->schema, message);
    if (rc != SQLITE_OK) return rc;
    rc = own_end(&own, rotate_locked(s, message), message);
    if (rc == SQLITE_OK && kevo_flush(s->store, &err)) rc = report(message, &err);
    return rc;
}
