/* Power lost, or the process killed, at every change that SQLite or a store makes to the disk
 * that both lie on; then again at every change of the recovery.
 *
 * A script of random transactions over ordinary and kevo tables in three stores, or in two
 * databases and five stores, runs once and is watched: before changes of the disk, images are
 * drawn of what it could hold if all ended there. Each is opened afterwards. All tables together
 * must be as they were after one and the same transaction: with a synchronous level that promises
 * it, after the last one that was acknowledged or the one that was under way. Nothing may be
 * damaged, no store in the way of a new one, and writing must go on.
 *
 * Where there is a WAL, connections that read for long see what was there when they began, whatever
 * the script does meanwhile.
 *
 * Where SQLite promises less, less is asked for. Two databases commit together with a rollback
 * journal on disk that is synced, else each for itself. With the journal modes MEMORY and OFF all
 * that holds between transactions; in the middle of one SQLite's file may come to anything, but
 * a kevo table that can be read still has the rows of before or after.
 *
 *     test_commit_crash                     a sample of the changes, some ten seconds of work
 *     KEVO_SCRIPTS=1 test_commit_crash      so many scripts in each mode, every change: one is
 *                                           more than 50,000 states, each looked at
 *     KEVO_STRIDE=n                         the n-th part of the changes of each recovery (97)
 *     KEVO_MODE=n                           one of the modes alone
 *     KEVO_SEED=n                           the same scripts again */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ext/world.h"
#include "tests/crash/crash_script.h"
#include "tests/lib/crash_env.h"
#include "tests/lib/disk_vfs.h"
#include "tests/lib/linked.h"

enum { CHUNK = 48, SCHEMAS = 2 };

static const char *const schemas[SCHEMAS] = {"main", "x"};

/* ---- a machine with a disk ------------------------------------------------------------------- */

struct mode {
    const char *journal, *synchronous;
    bool attached; /* a second database */
};

struct machine {
    struct env *disk;
    struct disk_vfs *vfs;
    sqlite3 *db;
    sqlite3 *reader;         /* reads for long; NULL: there is none */
    char *was_read[SCHEMAS]; /* when it began */
};

static int set_up(sqlite3 *db, const char *schema, const struct mode *mode, int page_bytes) {
    return sql_try(db,
                   "PRAGMA %s.page_size=%d; PRAGMA %s.journal_mode=%s; PRAGMA %s.synchronous=%s;"
                   "PRAGMA %s.cache_size=20",
                   schema, page_bytes, schema, mode->journal, schema, mode->synchronous, schema);
}

static int connect_as(const struct machine *m, sqlite3 **db, const struct mode *mode,
                      int page_bytes) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2("/app.db", db, flags, disk_vfs_name(m->vfs));
    if (rc == SQLITE_OK)
        rc = sql_try(*db, "PRAGMA wal_autocheckpoint=15; PRAGMA temp_store=MEMORY");
    if (rc == SQLITE_OK) rc = set_up(*db, "main", mode, page_bytes);
    if (rc != SQLITE_OK || !mode->attached) return rc;
    rc = sql_try(*db, "ATTACH '/other.db' AS x");
    return rc == SQLITE_OK ? set_up(*db, "x", mode, page_bytes) : rc;
}

static int connect_to(struct machine *m, const struct mode *mode, int page_bytes) {
    return connect_as(m, &m->db, mode, page_bytes);
}

static void start(struct machine *m, struct env *disk, bool powersafe) {
    *m = (struct machine){.disk = disk, .vfs = disk_vfs_new(disk, powersafe)};
    world = (struct world){.env = disk, .no_threads = true, .clearing_rows = SCRIPT_CLEARING_ROWS};
}

static void stop(struct machine *m) {
    sql_close(m->db);
    disk_vfs_free(m->vfs);
    world = (struct world){0};
    m->db = NULL;
    m->vfs = NULL;
}

/* ---- what is there ------------------------------------------------------------------------------ */

static void put_blob(sqlite3_str *s, sqlite3_stmt *stmt, int i) {
    const unsigned char *p = sqlite3_column_blob(stmt, i);
    int len = sqlite3_column_bytes(stmt, i);
    unsigned hash = 2166136261u;
    for (int k = 0; k < len; k++)
        hash = (hash ^ p[k]) * 16777619u;
    sqlite3_str_appendf(s, "x%d.%x", len, hash);
}

static int put_table(sqlite3_str *s, sqlite3 *db, const char *schema, const char *name) {
    sqlite3_stmt *stmt = NULL;
    char *sql = sqlite3_mprintf("SELECT * FROM %s.\"%w\"", schema, name);
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    sqlite3_free(sql);
    sqlite3_str_appendf(s, "%s:", name);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW) break;
        for (int i = 0; i < sqlite3_column_count(stmt); i++) {
            sqlite3_str_appendall(s, i ? "," : " ");
            if (sqlite3_column_type(stmt, i) == SQLITE_BLOB)
                put_blob(s, stmt, i);
            else
                sqlite3_str_appendf(s, "%s", sqlite3_column_text(stmt, i));
        }
    }
    sqlite3_str_appendall(s, "\n");
    if (rc != SQLITE_DONE) sqlite3_str_appendf(s, "%s", sqlite3_errmsg(db));
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* All rows of all tables of the schema but those that a check makes, in one read transaction, as
 * text: a line a table. */
static int dump(sqlite3 *db, const char *schema, char **text) {
    sqlite3_stmt *stmt = NULL;
    sqlite3_str *s = sqlite3_str_new(NULL);
    char *sql = sqlite3_mprintf("SELECT name FROM %s.sqlite_schema WHERE type = 'table' AND name "
                                "NOT GLOB 'kevo_*' AND name NOT GLOB '*go' AND name NOT GLOB "
                                "'kgo?' ORDER BY name",
                                schema);
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    sqlite3_free(sql);
    while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        rc = put_table(s, db, schema, (const char *)sqlite3_column_text(stmt, 0));
    int end = sqlite3_finalize(stmt);
    if (rc == SQLITE_DONE) rc = end;
    *text = sqlite3_str_finish(s);
    if (!*text) *text = sqlite3_mprintf("");
    return rc;
}

/* ---- images ---------------------------------------------------------------------------------------- */

static const char *const crash_names[] = {"dropped", "kept", "random", "garbage"};

struct image {
    struct env *disk;
    enum crash_mode crash;
    uint64_t change;
    unsigned acknowledged; /* steps */
    bool at_rest;          /* nothing of the next one has begun */
};

struct pictures {
    struct env *of;
    uint64_t change, from, to, stride; /* changes seen; those that are wanted */
    uint64_t seed;
    bool powersafe;
    const unsigned *acknowledged;
    uint64_t rest;    /* the change with which a step begins */
    bool all_at_rest; /* are wanted as well */
    struct image at[(CHUNK + SCRIPT_MAX_STEPS) * CRASH_MODES];
    unsigned count;
};

enum { CHANGES_OF_A_LOOK = 4000 };

/* Those of one recovery, and of going on: one for each change that is wanted. */
struct again {
    struct env *of;
    uint64_t change, first, stride, seed;
    bool powersafe;
    struct image at[CHANGES_OF_A_LOOK];
    unsigned count;
};

static void take_again(void *arg) {
    struct again *a = arg;
    uint64_t n = a->change++;
    if (n % a->stride != a->first || a->count == CHANGES_OF_A_LOOK) return;
    /* A kill of the process is as likely as the loss of power. */
    enum crash_mode crash = (enum crash_mode)((a->seed + n) % (CRASH_MODES - a->powersafe));
    a->at[a->count++] =
        (struct image){crash_env_image(a->of, crash, a->seed + n), crash, n, 0, false};
}

static void take_pictures(void *arg) {
    struct pictures *p = arg;
    uint64_t n = p->change++;
    bool at_rest = n == p->rest;
    if (n < p->from || n >= p->to) return;
    if ((n - p->from) % p->stride && !(at_rest && p->all_at_rest)) return;
    for (enum crash_mode crash = 0; crash < CRASH_MODES; crash++) {
        if (crash == CRASH_GARBAGE && p->powersafe) continue;
        p->at[p->count++] = (struct image){crash_env_image(p->of, crash, p->seed + n), crash, n,
                                           *p->acknowledged, at_rest};
    }
}

static void pictures_release(struct pictures *p) {
    for (unsigned i = 0; i < p->count; i++)
        crash_env_free(p->at[i].disk);
    p->count = 0;
}

/* ---- the run ------------------------------------------------------------------------------------------ */

struct run {
    const struct mode *mode;
    struct script script;
    uint64_t seed;
    bool powersafe;
    unsigned schemas;
    char *states[SCHEMAS][SCRIPT_MAX_STEPS + 1]; /* after so many steps */
    unsigned acknowledged;
    struct pictures pictures;
    struct again again;
    uint64_t again_stride; /* of a recovery's changes, those at which all ends again */
    unsigned checked, checked_again, refused, torn;
};

static void begin_long_read(struct run *run, struct machine *m) {
    ck_assert_int_eq(connect_as(m, &m->reader, run->mode, run->script.page_bytes), SQLITE_OK);
    sql_exec(m->reader, "BEGIN");
    for (unsigned i = 0; i < run->schemas; i++)
        if (dump(m->reader, schemas[i], &m->was_read[i]) != SQLITE_OK)
            ck_abort_msg("seed %llu, step %u, reading: %s", (unsigned long long)run->seed,
                         run->acknowledged, m->was_read[i]);
}

static void end_long_read(const struct run *run, struct machine *m) {
    for (unsigned i = 0; i < run->schemas; i++) {
        char *now;
        if (dump(m->reader, schemas[i], &now) != SQLITE_OK || strcmp(now, m->was_read[i]) != 0)
            ck_abort_msg("seed %llu, step %u, read for long:\n%sand before\n%s",
                         (unsigned long long)run->seed, run->acknowledged, now, m->was_read[i]);
        sqlite3_free(now);
        sqlite3_free(m->was_read[i]);
        m->was_read[i] = NULL;
    }
    sql_close(m->reader);
    m->reader = NULL;
}

static void run_step(struct run *run, struct machine *m, const char *sql) {
    run->pictures.rest = run->pictures.change;
    if (sql && strcmp(sql, SCRIPT_LONG_READ) == 0) {
        if (m->reader)
            end_long_read(run, m);
        else
            begin_long_read(run, m);
        return;
    }
    if (!sql) {
        sql_close(m->db);
        ck_assert_int_eq(connect_to(m, run->mode, run->script.page_bytes), SQLITE_OK);
        return;
    }
    char *message = NULL;
    if (sqlite3_exec(m->db, sql, NULL, NULL, &message) != SQLITE_OK)
        ck_abort_msg("seed %llu, step %u, %s: %s", (unsigned long long)run->seed, run->acknowledged,
                     sql, message);
}

static void note_state(struct run *run, struct machine *m) {
    for (unsigned i = 0; i < run->schemas; i++) {
        char **state = &run->states[i][run->acknowledged];
        sqlite3_free(*state);
        int rc = dump(m->db, schemas[i], state);
        if (rc != SQLITE_OK) ck_abort_msg("reading: %d, %s", rc, sqlite3_errmsg(m->db));
    }
}

/* The whole script; returns how many changes of the disk it made. */
static uint64_t run_script(struct run *run) {
    struct machine m;
    struct env *disk = crash_env_new();
    start(&m, disk, run->powersafe);
    run->acknowledged = 0;
    run->pictures.of = disk;
    run->pictures.change = run->pictures.rest = 0;
    run->pictures.acknowledged = &run->acknowledged;
    crash_env_watch(disk, take_pictures, &run->pictures);
    ck_assert_int_eq(connect_to(&m, run->mode, run->script.page_bytes), SQLITE_OK);
    note_state(run, &m);
    while (run->acknowledged < run->script.count) {
        run_step(run, &m, run->script.steps[run->acknowledged]);
        run->acknowledged++;
        note_state(run, &m);
    }
    crash_env_watch(disk, NULL, NULL);
    if (m.reader) end_long_read(run, &m);
    stop(&m);
    crash_env_free(disk);
    return run->pictures.change;
}

/* ---- what must be there ------------------------------------------------------------------------------- */

static bool is(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

/* No journal on disk: SQLite cannot undo half a commit after a crash. */
static bool is_unjournaled(const struct mode *m) {
    return is(m->journal, "MEMORY") || is(m->journal, "OFF");
}

/* Whether anything is promised of the image at all. With NORMAL SQLite itself is at the disk's
 * mercy in two cases. The end of its log is not padded to whole sectors, so what is written
 * later, and torn, can damage what was synced. And a rollback journal is synced once, its header
 * with its pages: what of them did not reach the disk can pass for whole, since their checksums
 * look at every 200th byte. */
static bool is_promised(const struct run *run, enum crash_mode crash) {
    const struct mode *m = run->mode;
    if (crash == CRASH_KEPT) return true;
    if (is(m->synchronous, "OFF")) return false;
    if (is_unjournaled(m)) return true;
    if (!is(m->synchronous, "NORMAL")) return true;
    return is(m->journal, "WAL") ? crash != CRASH_GARBAGE : crash == CRASH_DROPPED;
}

/* Whether a commit that was acknowledged may be undone as long as nothing else was synced: the
 * end of a rollback journal that was not made durable. */
static bool last_may_go(const struct mode *m) {
    if (is(m->journal, "DELETE")) return !is(m->synchronous, "EXTRA");
    return is(m->journal, "TRUNCATE") && is(m->synchronous, "NORMAL");
}

/* Whether transactions over two databases are one all the same: by a super-journal, which there
 * is for rollback journals that are synced. The end of one that is truncated is not, with NORMAL:
 * that database alone may go back then. */
static bool is_joint(const struct run *run) {
    const struct mode *m = run->mode;
    if (!m->attached) return true;
    if (is(m->journal, "WAL") || is_unjournaled(m) || is(m->synchronous, "OFF")) return false;
    return !is(m->journal, "TRUNCATE") || !is(m->synchronous, "NORMAL");
}

/* From the oldest to the newest state that may be found. */
struct span {
    unsigned from, to;
};

static bool same_states(const struct run *run, unsigned schema, unsigned a, unsigned b) {
    for (unsigned i = 0; i < run->schemas; i++)
        if ((i == schema || is_joint(run)) && !is(run->states[i][a], run->states[i][b]))
            return false;
    return true;
}

static unsigned oldest(const struct run *run, unsigned schema, const struct image *image) {
    unsigned n = image->acknowledged;
    if (image->crash == CRASH_KEPT) return n;
    if (is(run->mode->journal, "WAL") && is(run->mode->synchronous, "NORMAL")) return 0;
    if (!last_may_go(run->mode)) return n;
    while (n > 0 && same_states(run, schema, n, image->acknowledged))
        n--;
    return n;
}

static unsigned newest(const struct run *run, const struct image *image) {
    return image->acknowledged + (image->acknowledged < run->script.count);
}

/* ---- looking at an image --------------------------------------------------------------------------------- */

struct look {
    const struct run *run;
    struct machine m;
    char when[300];
};

#define fault(l, ...)                                                                              \
    do {                                                                                           \
        char what_[3000];                                                                          \
        snprintf(what_, sizeof what_, __VA_ARGS__);                                                \
        ck_abort_msg("%s: %s", (l)->when, what_);                                                  \
    } while (0)

static void try_connect(struct look *l) {
    int rc = connect_to(&l->m, l->run->mode, l->run->script.page_bytes);
    if (rc != SQLITE_OK) fault(l, "open: %d, %s", rc, sqlite3_errmsg(l->m.db));
}

static void need_exec(struct look *l, const char *sql) {
    char *message = NULL;
    if (sqlite3_exec(l->m.db, sql, NULL, NULL, &message) != SQLITE_OK)
        fault(l, "%s: %d, %s", sql, sqlite3_extended_errcode(l->m.db), message);
}

/* Whether what was found are the states of that number, of the schema or of all. */
static bool matches(const struct run *run, unsigned schema, char *found[SCHEMAS], unsigned n) {
    for (unsigned i = 0; i < run->schemas; i++)
        if ((i == schema || is_joint(run)) && !is(found[i], run->states[i][n])) return false;
    return true;
}

static unsigned match(struct look *l, unsigned schema, char *found[SCHEMAS], struct span want) {
    for (unsigned n = want.to + 1; n-- > want.from;)
        if (matches(l->run, schema, found, n)) return n;
    fault(l, "%s is in no state from %u to %u. There is\n%sand not\n%snor\n%s", schemas[schema],
          want.from, want.to, found[schema], l->run->states[schema][want.from],
          l->run->states[schema][want.to]);
    return 0;
}

/* Which states the databases are in; narrows the spans to these. */
static void find_state(struct look *l, struct span want[SCHEMAS]) {
    char *found[SCHEMAS] = {NULL, NULL};
    for (unsigned i = 0; i < l->run->schemas; i++) {
        int rc = dump(l->m.db, schemas[i], &found[i]);
        if (rc != SQLITE_OK) fault(l, "reading: %d, %s\n%s", rc, sqlite3_errmsg(l->m.db), found[i]);
    }
    for (unsigned i = 0; i < l->run->schemas; i++) {
        unsigned n = match(l, i, found, want[i]);
        want[i] = (struct span){n, n};
    }
    for (unsigned i = 0; i < l->run->schemas; i++)
        sqlite3_free(found[i]);
}

static void check_schema(struct look *l, const char *schema) {
    sqlite3_stmt *stmt = sql_prepare(
        l->m.db, "SELECT name FROM %s.sqlite_schema WHERE sql LIKE '%%USING kevo%%'", schema);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(stmt, 0);
        const char *rows = sql_rows(l->m.db, "SELECT kevo_check('%s.%q')", schema, name);
        if (!is(rows, "ok")) fault(l, "kevo_check of %s: %s", name, rows);
    }
    sqlite3_finalize(stmt);
}

static void check_sound(struct look *l) {
    const char *rows = sql_rows(l->m.db, "PRAGMA integrity_check");
    if (!is(rows, "ok")) fault(l, "integrity_check: %s", rows);
    for (unsigned i = 0; i < l->run->schemas; i++)
        check_schema(l, schemas[i]);
}

/* New tables in all places, and rows in all stores. */
static void go_on(struct look *l) {
    need_exec(l, "CREATE TABLE IF NOT EXISTS go(n INTEGER PRIMARY KEY, t TEXT)");
    need_exec(
        l,
        "BEGIN; CREATE VIRTUAL TABLE IF NOT EXISTS kgo USING kevo(n INTEGER PRIMARY KEY, t TEXT);"
        "INSERT INTO go(t) VALUES('on'); INSERT INTO kgo(t) VALUES('on'); COMMIT");
    need_exec(l, "BEGIN; INSERT INTO go(t) VALUES('and'); INSERT INTO kgo(t) VALUES('and');"
                 "SAVEPOINT a; DELETE FROM kgo; ROLLBACK TO a; COMMIT; SELECT kevo_flush('kgo')");
    need_exec(
        l,
        "SAVEPOINT a;"
        "CREATE VIRTUAL TABLE IF NOT EXISTS kgo2 USING kevo('second.store', n INTEGER PRIMARY KEY);"
        "CREATE VIRTUAL TABLE IF NOT EXISTS kgo3 USING kevo('third.store', n INTEGER PRIMARY KEY);"
        "REPLACE INTO kgo2 VALUES(1); REPLACE INTO kgo3 VALUES(1); RELEASE a;"
        "DROP TABLE kgo2; DROP TABLE kgo3");
    if (l->run->mode->attached)
        need_exec(l, "BEGIN; CREATE TABLE IF NOT EXISTS x.xgo(n);"
                     "CREATE VIRTUAL TABLE IF NOT EXISTS x.kgo4 USING kevo(n INTEGER PRIMARY KEY);"
                     "INSERT INTO xgo VALUES(1); REPLACE INTO kgo4 VALUES(1); REPLACE INTO kgo "
                     "VALUES(1, 'on'); COMMIT; SELECT kevo_flush('kgo4'); DROP TABLE kgo4");
}

static void compare_new(struct look *l) {
    const char *a = sql_rows(l->m.db, "SELECT * FROM go"),
               *b = sql_rows(l->m.db, "SELECT * FROM kgo");
    if (!is(a, b)) fault(l, "what was written on goes apart: %s and %s", a, b);
}

/* The image, its recovery, and how it goes on. Narrows the spans to the states that were found. */
static void look_at(const struct run *run, struct env *disk, struct span want[SCHEMAS],
                    const char *when) {
    struct look l = {.run = run};
    snprintf(l.when, sizeof l.when, "%s", when);
    start(&l.m, disk, run->powersafe);
    try_connect(&l);
    find_state(&l, want);
    check_sound(&l);
    go_on(&l);
    find_state(&l, want);
    compare_new(&l);
    sql_close(l.m.db);
    try_connect(&l);
    find_state(&l, want);
    compare_new(&l);
    check_sound(&l);
    stop(&l.m);
}

/* ---- in the middle of a commit without a journal ------------------------------------------------ */

static bool has_line(const char *state, const char *line) {
    const char *at = strstr(state, line);
    return at && (at == state || at[-1] == '\n');
}

/* Tables of one store that can be read are in one and the same state, before or after. What cannot
 * be read is told as an error. */
static void look_at_torn(struct look *l, const char *const *tables, unsigned count,
                         const struct image *image) {
    char *lines[4] = {NULL};
    bool before = true, after = true;
    for (unsigned i = 0; i < count; i++) {
        sqlite3_str *s = sqlite3_str_new(NULL);
        int rc = put_table(s, l->m.db, "main", tables[i]);
        lines[i] = sqlite3_str_finish(s);
        if (rc != SQLITE_OK) continue;
        before = before && has_line(l->run->states[0][image->acknowledged], lines[i]);
        after = after && has_line(l->run->states[0][newest(l->run, image)], lines[i]);
    }
    if (!before && !after)
        fault(l, "there is\n%s\n%s\nbetween\n%s\nand\n%s", lines[0], lines[1] ? lines[1] : "",
              l->run->states[0][image->acknowledged], l->run->states[0][newest(l->run, image)]);
    for (unsigned i = 0; i < count; i++)
        sqlite3_free(lines[i]);
}

static void check_torn(struct run *run, struct image *image, const char *when) {
    static const char *const first[] = {"kv", "two"}, *const second[] = {"pad"};
    struct look l = {.run = run};
    snprintf(l.when, sizeof l.when, "%s", when);
    if (image->acknowledged == 0) return;
    start(&l.m, image->disk, run->powersafe);
    if (connect_to(&l.m, run->mode, run->script.page_bytes) == SQLITE_OK) {
        look_at_torn(&l, first, 2, image);
        look_at_torn(&l, second, 1, image);
    }
    stop(&l.m);
    run->torn++;
}

/* ---- looking at all images -------------------------------------------------------------------------- */

static void say_when(const struct run *run, const struct image *image, char when[200]) {
    snprintf(when, 200,
             "journal_mode=%s synchronous=%s%s script %llu, at change %llu (step %u%s), %s",
             run->mode->journal, run->mode->synchronous, run->mode->attached ? " attached" : "",
             (unsigned long long)run->seed, (unsigned long long)image->change, image->acknowledged,
             image->at_rest ? ", at rest" : "", crash_names[image->crash]);
}

/* Whether the store refuses what SQLite's file has gone back to. */
static bool is_refused(const struct run *run, struct env *disk) {
    struct look l = {.run = run, .when = "is it refused"};
    struct env *copy = crash_env_image(disk, CRASH_KEPT, 0);
    bool refused = false;
    start(&l.m, copy, run->powersafe);
    try_connect(&l);
    for (unsigned i = 0; i < run->schemas && !refused; i++) {
        char *text;
        refused = dump(l.m.db, schemas[i], &text) == SQLITE_CORRUPT_VTAB &&
                  strstr(text, "different moments");
        sqlite3_free(text);
    }
    stop(&l.m);
    crash_env_free(copy);
    return refused;
}

/* What was found once is found again, though the process ends anywhere in between. On a disk where
 * a torn write damages what lies beside it SQLite's log cannot promise that: it is padded to
 * whole sectors as commits are synced, but is written on, after recovery, from the end of
 * the last whole frame, in the middle of a sector. Then both sides must have lost the same, or a
 * store that had put into tables what SQLite had synced says so. */
static void check_again(struct run *run, const struct span found[SCHEMAS], const char *when) {
    struct again *a = &run->again;
    for (unsigned i = 0; i < a->count; i++) {
        char again[300];
        snprintf(again, sizeof again, "%s, and again at change %llu, %s", when,
                 (unsigned long long)a->at[i].change, crash_names[a->at[i].crash]);
        if (is_promised(run, a->at[i].crash)) {
            bool torn = a->at[i].crash == CRASH_GARBAGE && is(run->mode->journal, "WAL");
            struct span want[SCHEMAS] = {found[0], found[1]};
            if (torn) want[0].from = want[1].from = 0;
            if (torn && is_refused(run, a->at[i].disk))
                run->refused++;
            else
                look_at(run, a->at[i].disk, want, again);
            run->checked_again++;
        }
        crash_env_free(a->at[i].disk);
    }
}

static void check_image(struct run *run, struct image *image) {
    char when[200];
    struct again *a = &run->again;
    struct span want[SCHEMAS];
    bool unjournaled = is_unjournaled(run->mode);
    say_when(run, image, when);
    if (unjournaled && !image->at_rest) {
        check_torn(run, image, when);
        return;
    }
    for (unsigned i = 0; i < SCHEMAS; i++)
        want[i] = (struct span){i < run->schemas ? oldest(run, i, image) : 0, newest(run, image)};
    uint64_t first = (image->change * 7 + image->crash) % run->again_stride;
    *a = (struct again){image->disk,    0,         first, run->again_stride, image->change,
                        run->powersafe, .count = 0};
    if (!unjournaled) crash_env_watch(image->disk, take_again, a);
    look_at(run, image->disk, want, when);
    run->checked++;
    check_again(run, want, when);
}

/* ---- the loops ------------------------------------------------------------------------------------------- */

#define LEVELS(journal)                                                                            \
    {journal, "FULL", false}, {journal, "NORMAL", false}, {journal, "EXTRA", false}, {             \
        journal, "OFF", false                                                                      \
    }
static const struct mode modes[] = {
    LEVELS("WAL"),
    LEVELS("DELETE"),
    LEVELS("TRUNCATE"),
    LEVELS("PERSIST"),
    LEVELS("MEMORY"),
    LEVELS("OFF"),
    {"WAL", "FULL", true},
    {"WAL", "NORMAL", true},
    {"WAL", "OFF", true},
    {"DELETE", "FULL", true},
    {"DELETE", "NORMAL", true},
    {"DELETE", "EXTRA", true},
    {"DELETE", "OFF", true},
    {"TRUNCATE", "FULL", true},
    {"TRUNCATE", "NORMAL", true},
    {"PERSIST", "FULL", true},
    {"PERSIST", "NORMAL", true},
};
enum { MODES = sizeof modes / sizeof modes[0] };

static void crash_everywhere(struct run *run, uint64_t stride) {
    struct pictures *p = &run->pictures;
    uint64_t changes = UINT64_MAX;
    p->seed = run->seed;
    p->powersafe = run->powersafe;
    p->stride = stride;
    p->all_at_rest = is_unjournaled(run->mode);
    for (p->from = 0; p->from < changes; p->from = p->to) {
        p->to = p->from + CHUNK * stride;
        changes = run_script(run);
        for (unsigned i = 0; i < p->count; i++)
            if (is_promised(run, p->at[i].crash)) check_image(run, &p->at[i]);
        pictures_release(p);
    }
}

static void run_release(struct run *run) {
    for (unsigned i = 0; i < SCHEMAS; i++) {
        for (unsigned n = 0; n <= SCRIPT_MAX_STEPS; n++)
            sqlite3_free(run->states[i][n]);
    }
    script_release(&run->script);
}

START_TEST(crashes) {
    static struct run run;
    const struct mode *mode = &modes[_i];
    uint64_t scripts = harness_count("KEVO_SCRIPTS", 0);
    struct script_kind kind = {mode->attached, !is(mode->journal, "OFF"), is(mode->journal, "WAL")};
    sqlite3_auto_extension((void (*)(void))linked_load);
    for (uint64_t n = 0; n < (scripts ? scripts : 1); n++) {
        run = (struct run){.mode = mode, .seed = harness_seed() + n * MODES + (unsigned)_i};
        run.powersafe = run.seed & 1;
        run.schemas = mode->attached ? 2 : 1;
        script_init(&run.script, kind, run.seed, 30);
        run.again_stride = harness_count("KEVO_STRIDE", 97);
        crash_everywhere(&run, scripts ? 1 : mode->attached ? 307 : 101);
        printf("%s %s%s: %u states, %u in recovery", mode->journal, mode->synchronous,
               mode->attached ? ", attached" : "", run.checked, run.checked_again);
        if (run.refused) printf(", %u refused", run.refused);
        if (run.torn) printf(", %u in the middle of a commit", run.torn);
        printf("\n");
        run_release(&run);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("commit_crash");
    TCase *tc = tcase_create("commit_crash");
    tcase_set_timeout(tc, 0);
    uint64_t mode = harness_count("KEVO_MODE", MODES);
    tcase_add_loop_test(tc, crashes, mode < MODES ? (int)mode : 0,
                        mode < MODES ? (int)mode + 1 : MODES);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
