/* What SQLite promises a virtual table, as far as ext/ relies on it: which methods it calls,
 * in which order and in which state of its own. A module that only writes down what it is
 * called for is run through a table of scenarios on the SQLite that is there; a newer one that
 * does otherwise is found here, and not as a lost transaction. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/sql.h"

static char diary[4000];
static sqlite3 *first, *second;
static bool quiet;
static char failing[40]; /* "method table" that fails once */

/* ---- a module that keeps a diary ------------------------------------------------------- */

struct probe {
    sqlite3_vtab base;
    sqlite3 *db;
    char name[20];
};

struct probe_cursor {
    sqlite3_vtab_cursor base;
    int row;
};

static void note(const char *format, ...) {
    va_list args;
    size_t len = strlen(diary);
    if (quiet) return;
    va_start(args, format);
    if (len) snprintf(diary + len, sizeof diary - len, ", ");
    len = strlen(diary);
    vsnprintf(diary + len, sizeof diary - len, format, args);
    va_end(args);
}

/* Write the call down; an error if it is to fail. */
static int called(sqlite3_vtab *base, const char *method) {
    char what[64];
    snprintf(what, sizeof what, "%s %s", method, ((struct probe *)base)->name);
    bool fails = strcmp(what, failing) == 0;
    if (fails) failing[0] = 0;
    note(fails ? "%s!" : "%s", what);
    return fails ? SQLITE_IOERR : SQLITE_OK;
}

static int probe_new(sqlite3 *db, const char *method, const char *const *argv,
                     sqlite3_vtab **table) {
    struct probe *p = sqlite3_malloc64(sizeof *p);
    if (!p) return SQLITE_NOMEM;
    *p = (struct probe){.db = db};
    snprintf(p->name, sizeof p->name, "%s", argv[2]);
    *table = &p->base;
    called(&p->base, method);
    sqlite3_vtab_config(db, SQLITE_VTAB_CONSTRAINT_SUPPORT, 1);
    return sqlite3_declare_vtab(db, "CREATE TABLE t(x)");
}

static int probe_create(sqlite3 *db, void *arg, int argc, const char *const *argv,
                        sqlite3_vtab **table, char **message) {
    (void)arg, (void)argc, (void)message;
    return probe_new(db, "create", argv, table);
}

static int probe_connect(sqlite3 *db, void *arg, int argc, const char *const *argv,
                         sqlite3_vtab **table, char **message) {
    (void)arg, (void)argc, (void)message;
    return probe_new(db, "connect", argv, table);
}

static int probe_disconnect(sqlite3_vtab *t) {
    called(t, "disconnect");
    sqlite3_free(t);
    return SQLITE_OK;
}

static int probe_destroy(sqlite3_vtab *t) {
    called(t, "destroy");
    sqlite3_free(t);
    return SQLITE_OK;
}

static int probe_best_index(sqlite3_vtab *t, sqlite3_index_info *info) {
    (void)t;
    info->estimatedCost = 10;
    return SQLITE_OK;
}

static int probe_open(sqlite3_vtab *t, sqlite3_vtab_cursor **cursor) {
    (void)t;
    struct probe_cursor *c = sqlite3_malloc64(sizeof *c);
    if (!c) return SQLITE_NOMEM;
    *c = (struct probe_cursor){.row = 0};
    *cursor = &c->base;
    return SQLITE_OK;
}

static int probe_close(sqlite3_vtab_cursor *c) {
    sqlite3_free(c);
    return SQLITE_OK;
}

static int probe_filter(sqlite3_vtab_cursor *c, int index, const char *words, int argc,
                        sqlite3_value **argv) {
    (void)index, (void)words, (void)argc, (void)argv;
    ((struct probe_cursor *)c)->row = 1;
    return SQLITE_OK;
}

static int probe_next(sqlite3_vtab_cursor *c) {
    ((struct probe_cursor *)c)->row++;
    return SQLITE_OK;
}

/* Two rows, always. */
static int probe_eof(sqlite3_vtab_cursor *c) {
    return ((struct probe_cursor *)c)->row > 2;
}

static int probe_column(sqlite3_vtab_cursor *c, sqlite3_context *context, int column) {
    (void)column;
    sqlite3_result_int(context, ((struct probe_cursor *)c)->row);
    return SQLITE_OK;
}

static int probe_rowid(sqlite3_vtab_cursor *c, sqlite3_int64 *rowid) {
    *rowid = ((struct probe_cursor *)c)->row;
    return SQLITE_OK;
}

static int probe_update(sqlite3_vtab *t, int argc, sqlite3_value **argv, sqlite3_int64 *rowid) {
    int rc = called(t, "update");
    if (rc == SQLITE_OK && argc > 2 && sqlite3_value_int(argv[2]) == 13) {
        note("constraint");
        rc = SQLITE_CONSTRAINT;
    }
    if (argc > 1) *rowid = 3;
    return rc;
}

static bool watching;    /* the version is asked for by sync, commit and begin */
static bool interfering; /* a commit does, once */
static unsigned version_before;

static void ask_version(void) {
    unsigned now;
    ck_assert_int_eq(sqlite3_file_control(first, "main", SQLITE_FCNTL_DATA_VERSION, &now),
                     SQLITE_OK);
    note("version +%u", now - version_before);
    version_before = now;
}

/* The write lock is held. */
static int probe_begin(sqlite3_vtab *t) {
    int rc = called(t, "begin");
    if (sqlite3_txn_state(((struct probe *)t)->db, "main") != SQLITE_TXN_WRITE)
        note("without the lock");
    if (watching) ask_version();
    return rc;
}

/* Ordinary tables can be written, and what is written commits with the rest. */
static int probe_sync(sqlite3_vtab *t) {
    int rc = called(t, "sync");
    sqlite3 *db = ((struct probe *)t)->db;
    if (rc == SQLITE_OK && sqlite3_exec(db, "UPDATE marker SET n = n + 1", NULL, NULL, NULL))
        note("cannot write: %s", sqlite3_errmsg(db));
    if (watching) ask_version();
    return rc;
}

/* Others see what is committed already. */
static int probe_commit(sqlite3_vtab *t) {
    called(t, "commit");
    note("%d", (int)sql_int(second, "SELECT n FROM marker"));
    if (interfering) {
        interfering = false;
        sql_exec(second, "UPDATE marker SET n = n + 10");
        sql_exec(((struct probe *)t)->db, "SELECT n FROM marker");
    }
    if (watching) ask_version();
    return SQLITE_OK;
}

static int probe_rollback(sqlite3_vtab *t) {
    return called(t, "rollback");
}

static int probe_rename(sqlite3_vtab *t, const char *name) {
    called(t, "rename");
    snprintf(((struct probe *)t)->name, sizeof((struct probe *)t)->name, "%s", name);
    return SQLITE_OK;
}

static int with_number(sqlite3_vtab *t, const char *method, int number) {
    char text[30];
    snprintf(text, sizeof text, "%s(%d)", method, number);
    return called(t, text);
}

static int probe_savepoint(sqlite3_vtab *t, int number) {
    return with_number(t, "savepoint", number);
}

static int probe_release(sqlite3_vtab *t, int number) {
    return with_number(t, "release", number);
}

static int probe_rollback_to(sqlite3_vtab *t, int number) {
    return with_number(t, "rollback_to", number);
}

static const sqlite3_module probe = {
    .iVersion = 2,
    .xCreate = probe_create,
    .xConnect = probe_connect,
    .xBestIndex = probe_best_index,
    .xDisconnect = probe_disconnect,
    .xDestroy = probe_destroy,
    .xOpen = probe_open,
    .xClose = probe_close,
    .xFilter = probe_filter,
    .xNext = probe_next,
    .xEof = probe_eof,
    .xColumn = probe_column,
    .xRowid = probe_rowid,
    .xUpdate = probe_update,
    .xBegin = probe_begin,
    .xSync = probe_sync,
    .xCommit = probe_commit,
    .xRollback = probe_rollback,
    .xRename = probe_rename,
    .xSavepoint = probe_savepoint,
    .xRelease = probe_release,
    .xRollbackTo = probe_rollback_to,
};

/* ---- scenarios ------------------------------------------------------------------------- */

/* Statements that begin with '2' run on another connection; "fail x t" lets the method x of t
 * fail once, "veto" the next commit hook, "version" says by how much SQLITE_FCNTL_DATA_VERSION
 * has grown since it was asked last; "watch", that sync, commit and begin say it;
 * "interfere" lets another connection commit, and this one look, in the next xCommit. The diary
 * has the calls, and after statements that failed their error codes. */
struct scenario {
    const char *name, *journal, *statements[12], *diary;
};

static const struct scenario scenarios[] = {
    {"a read calls nothing", "WAL", {"SELECT * FROM a", "BEGIN; SELECT * FROM a; COMMIT"}, ""},
    {"one row, by itself",
     "WAL",
     {"INSERT INTO a VALUES(1)"},
     "begin a, update a, sync a, commit a, 1"},
    {"two rows in one statement",
     "WAL",
     {"INSERT INTO a VALUES(1), (2)"},
     "begin a, update a, update a, sync a, commit a, 1"},
    {"two tables in a transaction",
     "WAL",
     {"BEGIN", "INSERT INTO a VALUES(1)", "INSERT INTO b VALUES(1)", "INSERT INTO a VALUES(2)",
      "COMMIT"},
     "begin a, update a, begin b, update b, update a, sync a, sync b, commit a, 2, commit b, 2"},
    {"rollback",
     "DELETE",
     {"BEGIN", "INSERT INTO a VALUES(1)", "ROLLBACK"},
     "begin a, update a, rollback a"},
    {"only ordinary tables", "DELETE", {"BEGIN", "INSERT INTO plain VALUES(1)", "COMMIT"}, ""},
    {"savepoints",
     "WAL",
     {"BEGIN", "INSERT INTO a VALUES(1)", "SAVEPOINT s", "INSERT INTO a VALUES(2)", "SAVEPOINT t",
      "ROLLBACK TO s", "RELEASE s", "COMMIT"},
     "begin a, update a, savepoint(0) a, update a, savepoint(1) a, rollback_to(0) a, release(0) a, "
     "sync a, commit a, 1"},
    {"joined within savepoints",
     "WAL",
     {"SAVEPOINT s", "SAVEPOINT t", "INSERT INTO a VALUES(1)", "ROLLBACK TO t", "ROLLBACK TO s",
      "RELEASE s"},
     "begin a, savepoint(0) a, update a, rollback_to(0) a, rollback_to(-1) a, sync a, commit a, 1"},
    {"told of one savepoint of three",
     "WAL",
     {"BEGIN", "SAVEPOINT s", "SAVEPOINT t", "SAVEPOINT u", "INSERT INTO a VALUES(1), (2)",
      "RELEASE t", "ROLLBACK TO s", "COMMIT"},
     "begin a, savepoint(3) a, update a, update a, release(3) a, release(1) a, rollback_to(0) a, "
     "sync a, commit a, 1"},
    {"a statement that fails midway",
     "WAL",
     {"BEGIN", "INSERT INTO a VALUES(1), (13)", "COMMIT"},
     "begin a, savepoint(0) a, update a, update a, constraint, rollback_to(0) a, release(0) a, "
     "error 19, sync a, commit a, 1"},
    {"a row that fails, by itself",
     "WAL",
     {"INSERT INTO a VALUES(13)"},
     "begin a, update a, constraint, rollback a, error 19"},
    {"update of a scan",
     "WAL",
     {"BEGIN", "UPDATE a SET x = x + 1", "COMMIT"},
     "begin a, savepoint(0) a, update a, update a, release(0) a, sync a, commit a, 1"},
    {"create", "WAL", {"CREATE VIRTUAL TABLE c USING probe"}, "create c, sync c, commit c, 1"},
    {"create, fill, roll back",
     "WAL",
     {"BEGIN", "CREATE VIRTUAL TABLE c USING probe", "INSERT INTO c VALUES(1)", "ROLLBACK"},
     "create c, update c, rollback c, disconnect a, disconnect b, disconnect c"},
    {"create taken back by a savepoint",
     "WAL",
     {"BEGIN", "SAVEPOINT s", "CREATE VIRTUAL TABLE c USING probe", "INSERT INTO c VALUES(1)",
      "ROLLBACK TO s", "COMMIT"},
     "create c, update c, disconnect a, disconnect b, sync c, commit c, 1, disconnect c"},
    {"drop", "WAL", {"DROP TABLE a"}, "destroy a"},
    {"drop, roll back, read",
     "WAL",
     {"BEGIN", "DROP TABLE a", "ROLLBACK", "SELECT * FROM a"},
     "destroy a, disconnect b, connect a"},
    {"write, drop",
     "WAL",
     {"BEGIN", "INSERT INTO a VALUES(1)", "DROP TABLE a", "COMMIT"},
     "begin a, update a, savepoint(0) a, destroy a"},
    {"rename", "WAL", {"ALTER TABLE a RENAME TO d"}, "rename a, disconnect b, disconnect d"},
    {"xSync of the second fails",
     "WAL",
     {"BEGIN", "INSERT INTO a VALUES(1)", "INSERT INTO b VALUES(1)", "fail sync b", "COMMIT"},
     "begin a, update a, begin b, update b, sync a, sync b!, rollback a, rollback b, error 10"},
    {"xSync fails, by itself",
     "DELETE",
     {"fail sync a", "INSERT INTO a VALUES(1)"},
     "begin a, update a, sync a!, rollback a, error 10"},
    {"xBegin fails",
     "WAL",
     {"BEGIN", "INSERT INTO a VALUES(1)", "fail begin b", "INSERT INTO b VALUES(1)", "COMMIT"},
     "begin a, update a, begin b!, rollback a, error 10, error 1"},
    {"a hook vetoes",
     "WAL",
     {"BEGIN", "INSERT INTO a VALUES(1)", "veto", "COMMIT", "INSERT INTO a VALUES(2)"},
     "begin a, update a, sync a, veto, rollback a, error 531, begin a, update a, sync a, commit a, "
     "1"},
    {"COMMIT is busy, again, then more",
     "DELETE",
     {"2BEGIN", "2SELECT * FROM marker", "BEGIN", "INSERT INTO a VALUES(1)", "COMMIT", "COMMIT",
      "INSERT INTO a VALUES(2)", "INSERT INTO b VALUES(1)", "2COMMIT", "COMMIT"},
     "begin a, update a, sync a, error 5, sync a, error 5, update a, begin b, update b, sync a, "
     "sync b, commit a, 4, commit b, 4"},
    {"COMMIT is busy, then ROLLBACK TO",
     "DELETE",
     {"2BEGIN", "2SELECT * FROM marker", "BEGIN", "INSERT INTO a VALUES(1)", "SAVEPOINT s",
      "INSERT INTO a VALUES(2)", "COMMIT", "ROLLBACK TO s", "2COMMIT", "COMMIT"},
     "begin a, update a, savepoint(0) a, update a, sync a, error 5, rollback_to(0) a, sync a, "
     "commit a, 1"},
    {"COMMIT is busy, then ROLLBACK",
     "DELETE",
     {"2BEGIN", "2SELECT * FROM marker", "BEGIN", "INSERT INTO a VALUES(1)", "COMMIT", "ROLLBACK",
      "2COMMIT"},
     "begin a, update a, sync a, error 5, rollback a"},
    {"by itself and busy",
     "DELETE",
     {"2BEGIN", "2SELECT * FROM marker", "INSERT INTO a VALUES(1)", "2COMMIT"},
     "begin a, update a, sync a, rollback a, error 5"},
    {"the lock is another's",
     "WAL",
     {"2BEGIN IMMEDIATE", "INSERT INTO a VALUES(1)", "2COMMIT"},
     "error 5"},
    {"an old snapshot cannot write",
     "WAL",
     {"BEGIN", "SELECT * FROM marker", "2UPDATE marker SET n = 7", "INSERT INTO a VALUES(1)",
      "ROLLBACK"},
     "error 517"},
    {"data version",
     "WAL",
     {"version", "version", "2UPDATE marker SET n = 7", "SELECT * FROM plain", "version",
      "BEGIN; SELECT * FROM plain", "2UPDATE marker SET n = 8", "version",
      "COMMIT; SELECT * FROM plain", "version", "INSERT INTO plain VALUES(1)"},
     "version +0, version +0, version +1, version +0, version +1"},
    {"version at the end of a commit",
     "WAL",
     {"version", "watch", "INSERT INTO a VALUES(1)", "INSERT INTO a VALUES(2)",
      "2UPDATE marker SET n = 7", "INSERT INTO a VALUES(3)"},
     "version +0, begin a, version +0, update a, sync a, version +0, commit a, 1, version +1, "
     "begin a, version +0, update a, sync a, version +0, commit a, 2, version +1, "
     "begin a, version +1, update a, sync a, version +0, commit a, 8, version +1"},
    {"version at the end of a commit, rollback journal",
     "DELETE",
     {"version", "watch", "INSERT INTO a VALUES(1)", "INSERT INTO a VALUES(2)",
      "2UPDATE marker SET n = 7", "INSERT INTO a VALUES(3)"},
     "version +0, begin a, version +0, update a, sync a, version +0, commit a, 1, version +1, "
     "begin a, version +0, update a, sync a, version +0, commit a, 2, version +1, "
     "begin a, version +1, update a, sync a, version +0, commit a, 8, version +1"},
    {"another commit is noticed before the end of this one",
     "WAL",
     {"version", "watch", "interfere", "INSERT INTO a VALUES(1)", "INSERT INTO a VALUES(2)"},
     "version +0, begin a, version +0, update a, sync a, version +0, commit a, 1, version +2, "
     "begin a, version +0, update a, sync a, version +0, commit a, 12, version +1"},
    {"OR ROLLBACK",
     "WAL",
     {"BEGIN", "INSERT INTO a VALUES(1)", "INSERT OR ROLLBACK INTO a VALUES(13)"},
     "begin a, update a, update a, constraint, rollback a, error 19"},
};

static int veto(void *arg) {
    bool *on = arg;
    bool now = *on;
    *on = false;
    if (now) note("veto");
    return now;
}

static void run(const char *statement, bool *vetoes) {
    bool other = *statement == '2';
    if (strncmp(statement, "fail ", 5) == 0) {
        snprintf(failing, sizeof failing, "%s", statement + 5);
    } else if (strcmp(statement, "veto") == 0) {
        *vetoes = true;
    } else if (strcmp(statement, "version") == 0) {
        ask_version();
    } else if (strcmp(statement, "watch") == 0) {
        watching = true;
    } else if (strcmp(statement, "interfere") == 0) {
        interfering = true;
    } else {
        int rc = sql_try(other ? second : first, "%s", statement + other);
        if (rc != SQLITE_OK) note("error %d", rc);
    }
}

static void set_up_tables(const struct scenario *s, bool *vetoes) {
    const char *path = sql_file("contract.db");
    diary[0] = failing[0] = 0;
    *vetoes = watching = interfering = false;
    quiet = true;
    first = sql_open_plain(path);
    sql_exec(first, "PRAGMA journal_mode=%s", s->journal);
    second = sql_open_plain(path);
    sqlite3_create_module(first, "probe", &probe, NULL);
    sqlite3_commit_hook(first, veto, vetoes);
    sql_exec(first, "CREATE TABLE marker(n); CREATE TABLE plain(x); INSERT INTO marker VALUES(0)");
    sql_exec(first, "CREATE VIRTUAL TABLE a USING probe; CREATE VIRTUAL TABLE b USING probe");
    sql_exec(first, "UPDATE marker SET n = 0");
    ask_version();
    quiet = false;
}

START_TEST(contract) {
    const struct scenario *s = &scenarios[_i];
    bool vetoes;
    set_up_tables(s, &vetoes);
    for (unsigned i = 0; i < 12 && s->statements[i]; i++)
        run(s->statements[i], &vetoes);
    quiet = true;
    if (strcmp(diary, s->diary) != 0)
        ck_abort_msg("SQLite %s, %s:\n  %s\n  expected\n  %s", sqlite3_libversion(), s->name, diary,
                     s->diary);
    sql_close(second);
    sql_close(first);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("contract");
    TCase *tc = tcase_create("contract");
    tcase_add_loop_test(tc, contract, 0, sizeof scenarios / sizeof scenarios[0]);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
