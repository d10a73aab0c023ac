/* Power lost, or the process killed, at every change that SQLite or a store makes to the disk
 * that both lie on; then again at every change of the recovery.
 *
 * A script of random transactions over ordinary and kevo tables in three stores runs once and is
 * watched: before changes of the disk, images are drawn of what it could hold if all ended
 * there. Each is opened afterwards. All tables together must be as they were after one and the
 * same transaction: with a synchronous level that promises it, after the last one that was
 * acknowledged or the one that was under way. Nothing may be damaged, no store in the way of a
 * new one, and writing must go on.
 *
 *     test_commit_crash                     a sample of the changes, about ten seconds of work
 *     KEVO_SCRIPTS=20 test_commit_crash     so many scripts in each mode, every change
 *     KEVO_STRIDE=n                         the n-th part of the changes of each recovery (97)
 *     KEVO_MODE=n                           one of the modes alone
 *     KEVO_SEED=n                           the same scripts again */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ext/world.h"
#include "tests/lib/crash_env.h"
#include "tests/lib/disk_vfs.h"
#include "tests/lib/sql.h"

int sqlite3_kevo_init(sqlite3 *db, char **message, const void *api);

enum { MAX_STEPS = 64, MAX_EXTRA = 3, CHUNK = 48, ACCOUNTS = 4, PADS = 6 };

/* ---- the script ------------------------------------------------------------------------ */

/* A step is at most one commit. */
struct step {
    char *sql; /* NULL: close the connection and open another */
};

struct script {
    struct step steps[MAX_STEPS];
    unsigned count;
    struct rng rng;
    int page_bytes;
    unsigned number;          /* for values that differ */
    char extra[MAX_EXTRA][8]; /* tables that come and go; "" not there */
    unsigned extra_born;
};

static const char options[] = "memtable_size=4096, memtable_count=2, l0_trigger=2, l0_slow=3, "
                              "l0_stop=3, table_size=4096, level1_size=4096, retain_ms=0";

static const char create_all[] =
    "BEGIN; CREATE TABLE acct(id INTEGER PRIMARY KEY, v INTEGER);"
    "CREATE VIRTUAL TABLE kv USING kevo(key TEXT PRIMARY KEY, value INTEGER, %s);"
    "CREATE VIRTUAL TABLE two USING kevo(b TEXT, a INTEGER, v INTEGER, "
    "PRIMARY KEY(a, b DESC), INDEX by_v (v), UNIQUE (b));"
    "CREATE VIRTUAL TABLE pad USING kevo('second.store', k INTEGER, n INTEGER, body BLOB, "
    "PRIMARY KEY(k DESC), INDEX by_n (n DESC), %s);";

static void put_account(sqlite3_str *s, unsigned account, int amount) {
    unsigned i = account % ACCOUNTS;
    switch (account / ACCOUNTS) {
    case 0: sqlite3_str_appendf(s, "UPDATE acct SET v = v + %d WHERE id = %u;", amount, i); break;
    case 1:
        sqlite3_str_appendf(s, "UPDATE kv SET value = value + %d WHERE key = 'k%u';", amount, i);
        break;
    default: sqlite3_str_appendf(s, "UPDATE two SET v = v + %d WHERE b = 'b%u';", amount, i);
    }
}

static void put_op(struct script *p, sqlite3_str *s) {
    struct rng *r = &p->rng;
    unsigned k = (unsigned)rng_below(r, PADS);
    int amount = 1 + (int)rng_below(r, 99);
    switch (rng_below(r, 8)) {
    default:
        put_account(s, (unsigned)rng_below(r, 3 * ACCOUNTS), -amount);
        put_account(s, (unsigned)rng_below(r, 3 * ACCOUNTS), amount);
        break;
    case 4:
    case 5: {
        int bytes = (int)rng_below(r, rng_below(r, 4) ? 300 : 6000);
        sqlite3_str_appendf(s, "REPLACE INTO pad VALUES(%u, %u, zeroblob(%d));", k, ++p->number,
                            bytes);
        break;
    }
    case 6: sqlite3_str_appendf(s, "DELETE FROM pad WHERE k = %u;", k); break;
    case 7:
        sqlite3_str_appendf(s,
                            "INSERT OR REPLACE INTO two VALUES('x%u', %u, 0);"
                            "INSERT OR IGNORE INTO two VALUES('b1', 5, 5), ('y%u', 1, 0);"
                            "UPDATE two SET a = a + 1 WHERE b = 'b%u';",
                            k, (unsigned)rng_below(r, 3), k, k % ACCOUNTS);
    }
}

static void put_ops(struct script *p, sqlite3_str *s, uint64_t most) {
    for (uint64_t n = 1 + rng_below(&p->rng, most); n > 0; n--)
        put_op(p, s);
}

static void put_transaction(struct script *p, sqlite3_str *s) {
    struct rng *r = &p->rng;
    if (rng_below(r, 3)) put_ops(p, s, 3);
    if (rng_below(r, 3) == 0) {
        sqlite3_str_appendall(s, "SAVEPOINT a;");
        put_ops(p, s, 3);
        if (rng_below(r, 2)) {
            sqlite3_str_appendall(s, "SAVEPOINT b;");
            put_ops(p, s, 2);
            sqlite3_str_appendall(s, rng_below(r, 2) ? "ROLLBACK TO b;" : "RELEASE b;");
        }
        sqlite3_str_appendall(s, rng_below(r, 2) ? "ROLLBACK TO a; RELEASE a;" : "RELEASE a;");
    }
    put_ops(p, s, 2);
}

/* The last one lies in a store of its own. */
static void put_create(sqlite3_str *s, const char *name, unsigned place) {
    sqlite3_str_appendf(s,
                        "CREATE VIRTUAL TABLE %s USING kevo(%sk INTEGER PRIMARY KEY, v ANY, "
                        "INDEX by_v (v));",
                        name, place == MAX_EXTRA - 1 ? "'third.store', " : "");
}

static void put_extra(struct script *p, sqlite3_str *s) {
    struct rng *r = &p->rng;
    unsigned place = (unsigned)rng_below(r, MAX_EXTRA);
    char *name = p->extra[place];
    uint64_t dice = rng_below(r, 6);
    bool whole = rng_below(r, 2); /* in a transaction with more */
    if (whole) sqlite3_str_appendall(s, "BEGIN;");
    if (!*name) {
        snprintf(name, sizeof p->extra[0], "x%u", ++p->extra_born);
        put_create(s, name, place);
        if (whole)
            sqlite3_str_appendf(s, "INSERT INTO %s VALUES(1, 'one'), (2, zeroblob(30));", name);
    } else if (dice < 2) {
        sqlite3_str_appendf(s, "INSERT OR REPLACE INTO %s VALUES(%u, 'new'), (9, 'nine');", name,
                            ++p->number % 8);
    } else if (dice < 3) {
        sqlite3_str_appendf(s, "ALTER TABLE %s RENAME TO ", name);
        snprintf(name, sizeof p->extra[0], "x%u", ++p->extra_born);
        sqlite3_str_appendf(s, "%s;", name);
        if (whole) sqlite3_str_appendf(s, "INSERT OR REPLACE INTO %s VALUES(5, 'renamed');", name);
    } else {
        sqlite3_str_appendf(s, "DROP TABLE %s;", name);
        name[0] = 0;
    }
    if (!whole) return;
    if (rng_below(r, 2)) put_ops(p, s, 2);
    sqlite3_str_appendall(s, "COMMIT");
}

static const char *const upkeep[] = {
    "SELECT kevo_flush('kv')",
    "SELECT kevo_flush('pad')",
    "SELECT kevo_compact('kv')",
    "PRAGMA wal_checkpoint",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA wal_checkpoint(RESTART)",
    "VACUUM",
};

static void put_step(struct script *p, sqlite3_str *s) {
    struct rng *r = &p->rng;
    switch (rng_below(r, 16)) {
    case 0: sqlite3_str_appendall(s, upkeep[rng_below(r, sizeof upkeep / sizeof upkeep[0])]); break;
    case 1: break; /* another connection */
    case 2:
        sqlite3_str_appendall(s, "BEGIN;");
        put_transaction(p, s);
        if (rng_below(r, 2)) {
            put_create(s, "gone", (unsigned)rng_below(r, MAX_EXTRA));
            sqlite3_str_appendall(s, "INSERT INTO gone VALUES(1, 1);");
        }
        sqlite3_str_appendall(s, "ROLLBACK");
        break;
    case 3:
    case 4:
    case 5:
    case 6: put_extra(p, s); break;
    case 7: sqlite3_str_appendf(s, "UPDATE kv SET value = value + %d - %d", 7, 7); break;
    default:
        sqlite3_str_appendall(s, "BEGIN;");
        put_transaction(p, s);
        sqlite3_str_appendall(s, "COMMIT");
    }
}

static void put_first(struct script *p, sqlite3_str *s) {
    sqlite3_str_appendf(s, create_all, options, options);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        sqlite3_str_appendf(s,
                            "INSERT INTO acct VALUES(%u, 1000); INSERT INTO kv VALUES('k%u', 1000);"
                            "INSERT INTO two VALUES('b%u', %u, 1000);",
                            i, i, i, i % 2);
    if (rng_below(&p->rng, 2)) sqlite3_str_appendall(s, "INSERT INTO pad VALUES(1, 1, x'00');");
    sqlite3_str_appendall(s, "COMMIT");
}

static void script_init(struct script *p, uint64_t seed, unsigned steps) {
    static const int pages[] = {4096, 1024, 512};
    *p = (struct script){.rng = rng_of(seed), .count = steps};
    p->page_bytes = pages[rng_below(&p->rng, 3)];
    for (unsigned i = 0; i < steps; i++) {
        sqlite3_str *s = sqlite3_str_new(NULL);
        if (i == 0)
            put_first(p, s);
        else
            put_step(p, s);
        p->steps[i].sql = sqlite3_str_length(s) ? sqlite3_str_finish(s) : NULL;
        if (!p->steps[i].sql) sqlite3_free(sqlite3_str_finish(s));
    }
}

static void script_release(struct script *p) {
    for (unsigned i = 0; i < p->count; i++)
        sqlite3_free(p->steps[i].sql);
}

/* ---- a machine with a disk ------------------------------------------------------------------- */

struct mode {
    const char *journal, *synchronous;
};

struct machine {
    struct env *disk;
    struct disk_vfs *vfs;
    sqlite3 *db;
};

static int load(sqlite3 *db, char **message, const void *api) {
    int rc = sqlite3_kevo_init(db, message, api);
    return rc == SQLITE_OK_LOAD_PERMANENTLY ? SQLITE_OK : rc;
}

static int connect_to(struct machine *m, const struct mode *mode, int page_bytes) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2("/app.db", &m->db, flags, disk_vfs_name(m->vfs));
    if (rc == SQLITE_OK)
        rc = sql_try(m->db,
                     "PRAGMA page_size=%d; PRAGMA journal_mode=%s; PRAGMA synchronous=%s;"
                     "PRAGMA wal_autocheckpoint=15; PRAGMA cache_size=20; PRAGMA temp_store=MEMORY",
                     page_bytes, mode->journal, mode->synchronous);
    return rc;
}

static void start(struct machine *m, struct env *disk, bool powersafe) {
    *m = (struct machine){.disk = disk, .vfs = disk_vfs_new(disk, powersafe)};
    world = (struct world){.env = disk, .no_threads = true};
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

static int put_table(sqlite3_str *s, sqlite3 *db, const char *name) {
    sqlite3_stmt *stmt = NULL;
    char *sql = sqlite3_mprintf("SELECT * FROM \"%w\"", name);
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

/* All rows of all tables but those that a check makes, in one read transaction, as text. */
static int dump(sqlite3 *db, char **text) {
    sqlite3_stmt *stmt = NULL;
    sqlite3_str *s = sqlite3_str_new(NULL);
    int rc = sqlite3_prepare_v2(db,
                                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT "
                                "GLOB 'kevo_*' AND name NOT GLOB '*go' AND name NOT GLOB "
                                "'kgo?' ORDER BY name",
                                -1, &stmt, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        rc = put_table(s, db, (const char *)sqlite3_column_text(stmt, 0));
    int end = sqlite3_finalize(stmt);
    if (rc == SQLITE_DONE) rc = end;
    bool empty = sqlite3_str_length(s) == 0;
    *text = sqlite3_str_finish(s);
    if (empty) *text = sqlite3_mprintf("");
    return rc;
}

/* ---- images ---------------------------------------------------------------------------------------- */

static const char *const crash_names[] = {"dropped", "kept", "random", "garbage"};

struct image {
    struct env *disk;
    enum crash_mode crash;
    uint64_t change;
    unsigned acknowledged; /* steps */
};

struct pictures {
    struct env *of;
    uint64_t change, from, to, stride; /* changes seen; those that are wanted */
    uint64_t seed;
    bool powersafe;
    const unsigned *acknowledged;
    struct image at[CHUNK * CRASH_MODES];
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
    a->at[a->count++] = (struct image){crash_env_image(a->of, crash, a->seed + n), crash, n, 0};
}

static void take_pictures(void *arg) {
    struct pictures *p = arg;
    uint64_t n = p->change++;
    if (n < p->from || n >= p->to || (n - p->from) % p->stride) return;
    for (enum crash_mode crash = 0; crash < CRASH_MODES; crash++) {
        if (crash == CRASH_GARBAGE && p->powersafe) continue;
        p->at[p->count++] =
            (struct image){crash_env_image(p->of, crash, p->seed + n), crash, n, *p->acknowledged};
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
    char *states[MAX_STEPS + 1]; /* after so many steps */
    unsigned acknowledged;
    struct pictures pictures;
    struct again again;
    uint64_t again_stride; /* of a recovery's changes, those at which all ends again */
    unsigned checked, checked_again;
};

static void run_step(struct run *run, struct machine *m, const struct step *step) {
    if (!step->sql) {
        sql_close(m->db);
        ck_assert_int_eq(connect_to(m, run->mode, run->script.page_bytes), SQLITE_OK);
        return;
    }
    char *message = NULL;
    if (sqlite3_exec(m->db, step->sql, NULL, NULL, &message) != SQLITE_OK)
        ck_abort_msg("seed %llu, step %u, %s: %s", (unsigned long long)run->seed, run->acknowledged,
                     step->sql, message);
}

static void note_state(struct run *run, struct machine *m) {
    char **state = &run->states[run->acknowledged];
    sqlite3_free(*state);
    int rc = dump(m->db, state);
    if (rc != SQLITE_OK) ck_abort_msg("reading: %d, %s", rc, sqlite3_errmsg(m->db));
}

/* The whole script; returns how many changes of the disk it made. */
static uint64_t run_script(struct run *run) {
    struct machine m;
    struct env *disk = crash_env_new();
    start(&m, disk, run->powersafe);
    run->acknowledged = 0;
    run->pictures.of = disk;
    run->pictures.change = 0;
    run->pictures.acknowledged = &run->acknowledged;
    crash_env_watch(disk, take_pictures, &run->pictures);
    ck_assert_int_eq(connect_to(&m, run->mode, run->script.page_bytes), SQLITE_OK);
    note_state(run, &m);
    while (run->acknowledged < run->script.count) {
        run_step(run, &m, &run->script.steps[run->acknowledged]);
        run->acknowledged++;
        note_state(run, &m);
    }
    crash_env_watch(disk, NULL, NULL);
    stop(&m);
    crash_env_free(disk);
    return run->pictures.change;
}

/* ---- what must be there ------------------------------------------------------------------------------- */

static bool is(const char *a, const char *b) {
    return strcmp(a, b) == 0;
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
    if (!is(m->synchronous, "NORMAL")) return true;
    return is(m->journal, "WAL") ? crash != CRASH_GARBAGE : crash == CRASH_DROPPED;
}

/* Whether a commit that was acknowledged may be undone as long as nothing else was synced: the
 * end of a rollback journal that was not made durable. */
static bool last_may_go(const struct mode *m) {
    if (is(m->journal, "DELETE")) return !is(m->synchronous, "EXTRA");
    return is(m->journal, "TRUNCATE") && is(m->synchronous, "NORMAL");
}

/* The oldest state that may be found. */
static unsigned oldest(const struct run *run, const struct image *image) {
    unsigned n = image->acknowledged;
    if (image->crash == CRASH_KEPT) return n;
    if (is(run->mode->journal, "WAL") && is(run->mode->synchronous, "NORMAL")) return 0;
    if (!last_may_go(run->mode)) return n;
    while (n > 0 && is(run->states[n], run->states[image->acknowledged]))
        n--;
    return n;
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

static unsigned find_state(struct look *l, unsigned from, unsigned to) {
    const struct run *run = l->run;
    char *found;
    int rc = dump(l->m.db, &found);
    if (rc != SQLITE_OK) fault(l, "reading: %d, %s\n%s", rc, sqlite3_errmsg(l->m.db), found);
    for (unsigned i = to + 1; i-- > from;) {
        if (!is(found, run->states[i])) continue;
        sqlite3_free(found);
        return i;
    }
    fault(l, "no state from %u to %u. There is\n%sand not\n%snor\n%s", from, to, found,
          run->states[from], run->states[to]);
    return 0;
}

static void check_sound(struct look *l) {
    sqlite3_stmt *stmt = NULL;
    const char *rows = sql_rows(l->m.db, "PRAGMA integrity_check");
    if (!is(rows, "ok")) fault(l, "integrity_check: %s", rows);
    stmt = sql_prepare(l->m.db, "SELECT name FROM sqlite_schema WHERE sql LIKE '%%USING kevo%%'");
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        rows = sql_rows(l->m.db, "SELECT kevo_check('%q')", sqlite3_column_text(stmt, 0));
        if (!is(rows, "ok")) fault(l, "kevo_check of %s: %s", sqlite3_column_text(stmt, 0), rows);
    }
    sqlite3_finalize(stmt);
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
}

static void compare_new(struct look *l) {
    const char *a = sql_rows(l->m.db, "SELECT * FROM go"),
               *b = sql_rows(l->m.db, "SELECT * FROM kgo");
    if (!is(a, b)) fault(l, "what was written on goes apart: %s and %s", a, b);
}

/* The image, its recovery, and how it goes on. Returns the state that was found. */
static unsigned look_at(const struct run *run, struct env *disk, unsigned from, unsigned to,
                        const char *when) {
    struct look l = {.run = run};
    snprintf(l.when, sizeof l.when, "%s", when);
    start(&l.m, disk, run->powersafe);
    try_connect(&l);
    unsigned state = find_state(&l, from, to);
    check_sound(&l);
    go_on(&l);
    find_state(&l, state, state);
    compare_new(&l);
    sql_close(l.m.db);
    try_connect(&l);
    find_state(&l, state, state);
    compare_new(&l);
    check_sound(&l);
    stop(&l.m);
    return state;
}

static void say_when(const struct run *run, const struct image *image, char when[200]) {
    snprintf(when, 200, "journal_mode=%s synchronous=%s script %llu, at change %llu (step %u), %s",
             run->mode->journal, run->mode->synchronous, (unsigned long long)run->seed,
             (unsigned long long)image->change, image->acknowledged, crash_names[image->crash]);
}

/* What was found once is found again, though the process ends anywhere in between. On a disk where
 * a torn write damages what lies beside it SQLite's log cannot promise that: it is padded to
 * whole sectors as commits are synced, but is written on, after recovery, from the end of
 * the last whole frame, in the middle of a sector. Then both sides must have lost the same. */
static void check_again(struct run *run, unsigned state, const char *when) {
    struct again *a = &run->again;
    for (unsigned i = 0; i < a->count; i++) {
        char again[300];
        snprintf(again, sizeof again, "%s, and again at change %llu, %s", when,
                 (unsigned long long)a->at[i].change, crash_names[a->at[i].crash]);
        if (is_promised(run, a->at[i].crash)) {
            bool torn = a->at[i].crash == CRASH_GARBAGE && is(run->mode->journal, "WAL");
            look_at(run, a->at[i].disk, torn ? 0 : state, state, again);
            run->checked_again++;
        }
        crash_env_free(a->at[i].disk);
    }
}

static void check_image(struct run *run, struct image *image) {
    char when[200];
    struct again *a = &run->again;
    say_when(run, image, when);
    unsigned newest = image->acknowledged + (image->acknowledged < run->script.count);
    uint64_t first = (image->change * 7 + image->crash) % run->again_stride;
    *a = (struct again){image->disk,    0,         first, run->again_stride, image->change,
                        run->powersafe, .count = 0};
    crash_env_watch(image->disk, take_again, a);
    unsigned state = look_at(run, image->disk, oldest(run, image), newest, when);
    run->checked++;
    check_again(run, state, when);
}

/* ---- the loops ------------------------------------------------------------------------------------------- */

static const struct mode modes[] = {
    {"WAL", "FULL"},      {"WAL", "NORMAL"},      {"WAL", "EXTRA"},      {"WAL", "OFF"},
    {"DELETE", "FULL"},   {"DELETE", "NORMAL"},   {"DELETE", "EXTRA"},   {"DELETE", "OFF"},
    {"TRUNCATE", "FULL"}, {"TRUNCATE", "NORMAL"}, {"TRUNCATE", "EXTRA"}, {"TRUNCATE", "OFF"},
    {"PERSIST", "FULL"},  {"PERSIST", "NORMAL"},  {"PERSIST", "EXTRA"},  {"PERSIST", "OFF"},
};
enum { MODES = sizeof modes / sizeof modes[0] };

static void crash_everywhere(struct run *run, uint64_t stride) {
    struct pictures *p = &run->pictures;
    uint64_t changes = UINT64_MAX;
    p->seed = run->seed;
    p->powersafe = run->powersafe;
    p->stride = stride;
    for (p->from = 0; p->from < changes; p->from = p->to) {
        p->to = p->from + CHUNK * stride;
        changes = run_script(run);
        for (unsigned i = 0; i < p->count; i++)
            if (is_promised(run, p->at[i].crash)) check_image(run, &p->at[i]);
        pictures_release(p);
    }
}

START_TEST(crashes) {
    static struct run run;
    uint64_t scripts = harness_count("KEVO_SCRIPTS", 0);
    sqlite3_auto_extension((void (*)(void))load);
    for (uint64_t n = 0; n < (scripts ? scripts : 1); n++) {
        run = (struct run){.mode = &modes[_i], .seed = harness_seed() + n * MODES + (unsigned)_i};
        run.powersafe = run.seed & 1;
        script_init(&run.script, run.seed, 30);
        run.again_stride = harness_count("KEVO_STRIDE", 97);
        crash_everywhere(&run, scripts ? 1 : 43);
        printf("%s %s: %u states, %u in recovery\n", run.mode->journal, run.mode->synchronous,
               run.checked, run.checked_again);
        for (unsigned i = 0; i <= MAX_STEPS; i++)
            sqlite3_free(run.states[i]);
        script_release(&run.script);
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
