#include "engine/base/error.h"
#include "ext/adopt.h"
#include "ext/inner_sql.h"
#include "ext/own.h"
#include "ext/vtab.h"

static void fail(sqlite3_context *context, int rc, char *message) {
    if (rc == SQLITE_NOMEM)
        sqlite3_result_error_nomem(context);
    else
        sqlite3_result_error(context, message ? message : sqlite3_errstr(rc), -1);
    if (rc != SQLITE_NOMEM) sqlite3_result_error_code(context, rc);
    sqlite3_free(message);
}

/* The table that the first argument names, to be let go. NULL: the error is set. */
static struct vtab *named_table(sqlite3_context *context, sqlite3_value **argv) {
    struct connection *c = sqlite3_user_data(context);
    const char *name = (const char *)sqlite3_value_text(argv[0]);
    char *message = NULL;
    if (!name) {
        fail(context, SQLITE_ERROR, sqlite3_mprintf("kevo: name a table"));
        return NULL;
    }
    struct vtab *t;
    int rc = vtab_find(c, name, &t, &message);
    if (rc != SQLITE_OK) fail(context, rc, message);
    if (t) vtab_hold(t);
    return t;
}

/* The same, with its store open. */
static struct vtab *table_of(sqlite3_context *context, sqlite3_value **argv) {
    char *message = NULL;
    struct vtab *t = named_table(context, argv);
    int rc = t ? session_open(t->session, &message) : SQLITE_OK;
    if (rc == SQLITE_OK) return t;
    fail(context, rc, message);
    vtab_let_go(t);
    return NULL;
}

static void done(sqlite3_context *context, int rc, char *message) {
    if (rc != SQLITE_OK)
        fail(context, rc, message);
    else
        sqlite3_result_text(context, "ok", -1, SQLITE_STATIC);
}

static void adopt_store(sqlite3_context *context, int argc, sqlite3_value **argv) {
    char *message = NULL, *told;
    struct vtab *t = named_table(context, argv);
    (void)argc;
    if (!t) return;
    int rc = adopt(t->session, &told, &message);
    if (rc == SQLITE_OK)
        sqlite3_result_text(context, told, -1, sqlite3_free);
    else
        sqlite3_free(told);
    if (rc != SQLITE_OK) fail(context, rc, message);
    vtab_let_go(t);
}

/* sqlite3_interrupt() shows in any statement of the connection; SQLite 3.40 has no other
 * way to ask. */
bool vtab_interrupted(sqlite3_stmt *probe) {
    int rc = sqlite3_step(probe);
    sqlite3_reset(probe);
    return rc == SQLITE_INTERRUPT;
}

static bool repair_interrupted(void *probe) {
    return vtab_interrupted(probe);
}

/* What kevo_repair() found. */
static void take_note(void *arg, const char *text) {
    sqlite3_str_appendf(arg, "%s\n", text);
}

static void sum_up(sqlite3_str *text, const char *dir, const struct kevo_repair_report *r) {
    sqlite3_str_appendf(text,
                        "%s: %llu entries of %llu tables and %llu records of the log; lost: %llu "
                        "tables, %llu blocks, %llu log segments, %llu gaps; last batch %llu",
                        dir, r->entries_salvaged, r->tables_used, r->records_salvaged,
                        r->tables_lost, r->blocks_lost, r->segments_lost, r->log_gaps,
                        r->last_commit.batch);
}

/* Both directories as the process would find them. The authority matters only when the manifest
 * does not tell. */
static void repair(sqlite3_context *context, int argc, sqlite3_value **argv) {
    const struct connection *c = sqlite3_user_data(context);
    const char *dir = (const char *)sqlite3_value_text(argv[0]);
    const char *newdir = (const char *)sqlite3_value_text(argv[1]);
    struct kevo_options o;
    struct kevo_err err;
    (void)argc;
    if (!dir || !newdir) {
        fail(context, SQLITE_ERROR, sqlite3_mprintf("kevo: name a store and a new directory"));
        return;
    }
    sqlite3_stmt *probe = NULL;
    int rc = sqlite3_prepare_v2(c->db, "SELECT 1", -1, &probe, NULL);
    if (rc != SQLITE_OK) {
        fail(context, rc, NULL);
        return;
    }
    sqlite3_str *text = sqlite3_str_new(c->db);
    struct kevo_repair_report r = {.note = take_note,
                                   .note_arg = text,
                                   .cancelled = repair_interrupted,
                                   .cancelled_arg = probe};
    kevo_options_default(&o);
    if (session_filename(c->db, "main")) o.authority = KEVO_AUTHORITY_EXTERNAL;
    rc = kevo_repair(dir, newdir, &o, &r, &err);
    sqlite3_finalize(probe);
    if (rc == 0) sum_up(text, newdir, &r);
    int text_rc = sqlite3_str_errcode(text);
    char *told = sqlite3_str_finish(text), *message = NULL;
    if (rc) {
        rc = report(&message, &err);
        fail(context, rc, message);
    } else if (text_rc != SQLITE_OK || !told) {
        fail(context, text_rc ? text_rc : SQLITE_NOMEM, NULL);
    } else {
        sqlite3_result_text(context, told, -1, SQLITE_TRANSIENT);
    }
    sqlite3_free(told);
}

static void version(sqlite3_context *context, int argc, sqlite3_value **argv) {
    (void)argc;
    (void)argv;
    sqlite3_result_text(context, KEVO_VERSION, -1, SQLITE_STATIC);
}

static void flush(sqlite3_context *context, int argc, sqlite3_value **argv) {
    char *message = NULL;
    struct vtab *t = table_of(context, argv);
    (void)argc;
    if (!t) return;
    int rc = session_flush(t->session, &message);
    done(context, rc, message);
    vtab_let_go(t);
}

static bool interrupted(void *probe, uint64_t done_bytes, uint64_t total_bytes) {
    (void)done_bytes;
    (void)total_bytes;
    return vtab_interrupted(probe);
}

/* Who compacts wants the space of what was replaced, the last second's too, which the store
 * keeps for readers that come late: let that time pass. */
static int wait_out_retention(const struct session *s, sqlite3_stmt *probe) {
    enum { STEP_MS = 20 };
    for (uint64_t waited = 0; waited <= s->in_force.retain_ms; waited += STEP_MS) {
        if (vtab_interrupted(probe)) return SQLITE_INTERRUPT;
        sqlite3_sleep(STEP_MS);
    }
    return SQLITE_OK;
}

/* A large transaction that another connection commits just then holds it up. Its tables are the
 * store's own once it is committed and this one has had SQLite's write lock, for which it waits as
 * long as PRAGMA busy_timeout says. */
static int compact_all(struct vtab *t, sqlite3_stmt *probe, char **message) {
    enum { TRIES = 10 };
    const struct kevo_slice everything = {NULL, 0};
    struct kevo_err err;
    int failed = 0;
    for (int i = 0; i < TRIES; i++) {
        int rc = session_flush(t->session, message);
        if (rc == SQLITE_OK && i == 0) rc = wait_out_retention(t->session, probe);
        if (rc != SQLITE_OK) return rc;
        failed = kevo_compact(t->session->store, everything, everything, interrupted, probe, &err);
        if (failed != KEVO_BUSY) break;
    }
    return failed ? report(message, &err) : SQLITE_OK;
}

static void compact(sqlite3_context *context, int argc, sqlite3_value **argv) {
    char *message = NULL;
    sqlite3_stmt *probe = NULL;
    struct vtab *t = table_of(context, argv);
    (void)argc;
    if (!t) return;
    int rc = sqlite3_prepare_v2(t->connection->db, "SELECT 1", -1, &probe, NULL);
    if (rc == SQLITE_OK) rc = compact_all(t, probe, &message);
    sqlite3_finalize(probe);
    done(context, rc, message);
    vtab_let_go(t);
}

/* 'ok', or what is damaged, as PRAGMA integrity_check says it. */
static void check(sqlite3_context *context, int argc, sqlite3_value **argv) {
    char *message = NULL;
    struct vtab *t = named_table(context, argv);
    (void)argc;
    if (!t) return;
    int rc = table_check(t, true, &message);
    if ((rc & 0xff) == SQLITE_CORRUPT && message)
        sqlite3_result_text(context, message, -1, sqlite3_free);
    else
        done(context, rc, message);
    vtab_let_go(t);
}

/* The table that takes part in the transaction under that name. */
static int find_again(struct vtab **t, char **message) {
    struct vtab *now = vtab_connected((*t)->connection, (*t)->schema_name, (*t)->name);
    if (!now) {
        *message = sqlite3_mprintf("kevo: %s is not a kevo table any more", (*t)->name);
        return SQLITE_ERROR;
    }
    *t = now;
    return session_is_open(now->session) ? SQLITE_OK : SQLITE_AUTH; /* it was ignored */
}

/* Have the table's rows changed, in the transaction that there is or in one of its own. A
 * DELETE that finds nothing takes SQLite's write lock and makes the table take part. What was done
 * before an error is undone without SQLite, which does nothing more when it is interrupted. */
static void change(sqlite3_context *context, struct vtab *t, int argc, sqlite3_value **argv,
                   int (*call)(struct vtab *, int, sqlite3_value **, char **)) {
    char *message = NULL;
    sqlite3 *db = t->connection->db;
    struct own own;
    int rc = own_begin(&own, db, t->schema_name, &message);
    if (rc != SQLITE_OK) {
        fail(context, rc, message);
        return;
    }
    rc = inner_run(db, &message, "DELETE FROM \"%w\".\"%w\" WHERE 0", t->schema_name, t->name);
    /* SQLite may have read the schema again for it, which stays as it is now. */
    if (rc == SQLITE_OK) rc = find_again(&t, &message);
    if (rc == SQLITE_OK) {
        struct kevo_mark mark = kevo_txn_mark(t->session->txn);
        rc = call(t, argc, argv, &message);
        if (rc != SQLITE_OK) session_undo(t->session, mark);
    }
    rc = own_end(&own, rc, &message);
    done(context, rc, message);
}

static int rebuild(struct vtab *t, int argc, sqlite3_value **argv, char **message) {
    (void)argc;
    (void)argv;
    return index_rebuild(t, message);
}

static void reindex(sqlite3_context *context, int argc, sqlite3_value **argv) {
    struct vtab *t = table_of(context, argv);
    if (!t) return;
    change(context, t, argc, argv, rebuild);
    vtab_let_go(t);
}

static void range(sqlite3_context *context, int argc, sqlite3_value **argv) {
    if (argc == 0) {
        fail(context, SQLITE_ERROR, sqlite3_mprintf("kevo: name a table"));
        return;
    }
    struct vtab *t = table_of(context, argv);
    if (!t) return;
    change(context, t, argc - 1, argv + 1, delete_range);
    vtab_let_go(t);
}

int functions_register(struct connection *connection) {
    static const struct {
        const char *name;
        int argc, flags;
        void (*call)(sqlite3_context *, int, sqlite3_value **);
    } list[] = {
        {"kevo_version", 0, SQLITE_INNOCUOUS, version},
        {"kevo_flush", 1, SQLITE_DIRECTONLY, flush},
        {"kevo_compact", 1, SQLITE_DIRECTONLY, compact},
        {"kevo_check", 1, SQLITE_DIRECTONLY, check},
        {"kevo_reindex", 1, SQLITE_DIRECTONLY, reindex},
        {"kevo_adopt", 1, SQLITE_DIRECTONLY, adopt_store},
        {"kevo_repair", 2, SQLITE_DIRECTONLY, repair},
        {"kevo_delete_range", -1, SQLITE_DIRECTONLY, range},
    };
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof list / sizeof list[0]; i++)
        rc = sqlite3_create_function_v2(connection->db, list[i].name, list[i].argc,
                                        SQLITE_UTF8 | list[i].flags, connection, list[i].call, NULL,
                                        NULL, NULL);
    return rc;
}
