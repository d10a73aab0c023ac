/* SQLITE_BUSY where a database with an ordinary table gives it, and nowhere else: three
 * connections to such a database and three to one with a kevo table in its place do the same at
 * random, and get the same codes, locks and rows, after as many calls of the busy handler. Then
 * what takes time: busy_timeout, and threads that want each other's locks. */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/lib/sql.h"

enum { CONNECTIONS = 3, KEYS = 8, PATIENCE = 2 };

static const char *const journals[] = {"WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY"};
enum { JOURNALS = sizeof journals / sizeof journals[0] };

/* Of each database's table kv, and of one that comes and goes. */
static const char *const definitions[] = {
    "CREATE TABLE %s(key INTEGER PRIMARY KEY, v INTEGER NOT NULL) STRICT",
    "CREATE VIRTUAL TABLE %s USING kevo(key INTEGER PRIMARY KEY, v INTEGER NOT NULL)",
};
enum { SIDES = 2 };

static sqlite3 *open_with(const char *path, const char *journal) {
    sqlite3 *db = sql_open(path);
    sql_exec(db, "PRAGMA journal_mode = %s; PRAGMA synchronous = OFF", journal);
    return db;
}

static const char *make_database(const char *name, const char *journal, const char *definition) {
    const char *path = sql_file(name);
    sqlite3 *db = open_with(path, journal);
    sql_exec(db, definition, "kv");
    sql_exec(db, "INSERT INTO kv VALUES(1, 0), (2, 0);"
                 "CREATE TABLE plain(id INTEGER PRIMARY KEY, v); INSERT INTO plain VALUES(1, 0)");
    sql_close(db);
    return path;
}

/* ---- the same on both sides ---------------------------------------------------------------- */

struct side {
    const char *path;
    sqlite3 *db[CONNECTIONS];
    sqlite3_stmt *open[CONNECTIONS]; /* a query that stands in its first row */
    unsigned waits;                  /* calls of the busy handler */
};

struct twins {
    struct side side[SIDES];
    struct rng rng;
    const char *journal;
    bool saved[CONNECTIONS]; /* there is a savepoint */
    char story[60][140];     /* the last steps */
    unsigned steps;
};

static int wait_a_little(void *arg, int calls) {
    struct side *s = arg;
    s->waits++;
    return calls < PATIENCE;
}

static void connect_to(struct side *s, int c, const char *path, const char *journal) {
    s->db[c] = open_with(path, journal);
    sqlite3_busy_handler(s->db[c], wait_a_little, s);
}

static void start(struct twins *t, const char *journal, uint64_t seed) {
    *t = (struct twins){.rng = rng_of(seed), .journal = journal};
    for (int i = 0; i < SIDES; i++) {
        struct side *s = &t->side[i];
        s->path = make_database(i ? "kevo.db" : "plain.db", journal, definitions[i]);
        for (int c = 0; c < CONNECTIONS; c++)
            connect_to(s, c, s->path, journal);
    }
}

static void end(struct twins *t) {
    for (int i = 0; i < SIDES; i++) {
        for (int c = 0; c < CONNECTIONS; c++) {
            sqlite3_finalize(t->side[i].open[c]);
            sql_close(t->side[i].db[c]);
        }
    }
}

/* What can be seen of a step and of the connection behind it. Messages may differ. */
static void run(struct side *s, int c, const char *sql, char text[400]) {
    const char *rows = sql_rows(s->db[c], "%s", sql);
    bool failed = strncmp(rows, "error ", 6) == 0;
    snprintf(text, 400, "%.*s; autocommit %d, transaction %d, %u waits",
             failed ? (int)strcspn(rows, ":") : 300, rows, sqlite3_get_autocommit(s->db[c]),
             sqlite3_txn_state(s->db[c], "main"), s->waits);
}

static void compare(struct twins *t, int c, const char *what, char text[SIDES][400]) {
    snprintf(t->story[t->steps++ % 60], sizeof t->story[0], "%d: %.50s -> %.70s", c, what, text[0]);
    if (strcmp(text[0], text[1]) == 0) return;
    for (unsigned i = t->steps > 60 ? t->steps - 60 : 0; i < t->steps; i++)
        printf("%s\n", t->story[i % 60]);
    ck_abort_msg("%d: %s\n  an ordinary table gives  %s\n  a kevo table gives       %s", c, what,
                 text[0], text[1]);
}

static void both(struct twins *t, int c, const char *format, ...) {
    char text[SIDES][400];
    va_list args;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args);
    va_end(args);
    for (int i = 0; i < SIDES; i++)
        run(&t->side[i], c, sql, text[i]);
    compare(t, c, sql, text);
    sqlite3_free(sql);
}

/* A query that is left in its first row, or ended. */
static void stand(struct twins *t, int c) {
    char text[SIDES][400];
    bool begins = !t->side[0].open[c];
    for (int i = 0; i < SIDES; i++) {
        struct side *s = &t->side[i];
        int rc;
        if (begins) {
            /* A kevo table is looked up as its first statement is prepared. */
            rc = sqlite3_prepare_v2(s->db[c], "SELECT count(*) OVER (), key FROM kv", -1,
                                    &s->open[c], NULL);
            if (rc == SQLITE_OK) rc = sqlite3_step(s->open[c]);
            if (rc == SQLITE_BUSY) {
                sqlite3_finalize(s->open[c]);
                s->open[c] = NULL;
            }
        } else {
            rc = sqlite3_finalize(s->open[c]);
            s->open[c] = NULL;
        }
        snprintf(text[i], 400, "%d; transaction %d, %u waits", rc,
                 sqlite3_txn_state(s->db[c], "main"), s->waits);
    }
    compare(t, c, begins ? "a query begins" : "the query ends", text);
}

/* A connection that has used nothing yet takes the place of one that is idle. It sets the journal mode,
 * and so is made while no other has a lock. */
static void replace_connection(struct twins *t, int c) {
    for (int k = 0; k < CONNECTIONS; k++)
        if (sqlite3_txn_state(t->side[0].db[k], NULL) != SQLITE_TXN_NONE) return;
    if (!sqlite3_get_autocommit(t->side[0].db[c])) return;
    for (int i = 0; i < SIDES; i++) {
        sql_close(t->side[i].db[c]);
        connect_to(&t->side[i], c, t->side[i].path, t->journal);
    }
}

static void write_something(struct twins *t, int c) {
    unsigned key = (unsigned)rng_below(&t->rng, KEYS), v = t->steps;
    switch (rng_below(&t->rng, 6)) {
    case 0: both(t, c, "INSERT INTO kv VALUES(%u, %u)", key, v); break;
    case 1: both(t, c, "REPLACE INTO kv VALUES(%u, %u)", key, v); break;
    case 2: both(t, c, "UPDATE kv SET v = v + %u WHERE key = %u", v, key); break;
    case 3: both(t, c, "UPDATE kv SET v = %u", v); break;
    case 4: both(t, c, "DELETE FROM kv WHERE key = %u", key); break;
    default: both(t, c, "UPDATE plain SET v = %u", v);
    }
}

/* Something is written outside of the savepoint. Otherwise, when all is taken back again, an
 * ordinary table's pages would still be written at COMMIT, and could be BUSY, where a kevo table
 * has nothing to commit. */
static void use_savepoint(struct twins *t, int c) {
    if (t->saved[c] && !sqlite3_get_autocommit(t->side[0].db[c])) {
        both(t, c, rng_below(&t->rng, 2) ? "ROLLBACK TO s" : "RELEASE s");
        t->saved[c] = false;
    } else if (!sqlite3_get_autocommit(t->side[0].db[c])) {
        both(t, c, "UPDATE plain SET v = v + 1");
        if (sqlite3_txn_state(t->side[0].db[c], "main") != SQLITE_TXN_WRITE) return; /* BUSY */
        both(t, c, "SAVEPOINT s");
        t->saved[c] = true;
    }
}

static void step(struct twins *t) {
    static const char *const begins[] = {"BEGIN", "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"};
    int c = (int)rng_below(&t->rng, CONNECTIONS);
    if (sqlite3_get_autocommit(t->side[0].db[c])) t->saved[c] = false;
    switch (rng_below(&t->rng, 13)) {
    case 12: replace_connection(t, c); break;
    case 0:
    case 1: both(t, c, "%s", begins[rng_below(&t->rng, 4)]); break;
    case 2: both(t, c, "SELECT * FROM kv"); break;
    case 3: both(t, c, "SELECT sum(kv.v), sum(plain.v) FROM plain, kv"); break;
    case 4: both(t, c, "SELECT * FROM plain"); break;
    case 5: stand(t, c); break;
    case 6: use_savepoint(t, c); break;
    case 7: both(t, c, rng_below(&t->rng, 3) ? "COMMIT" : "ROLLBACK"); break;
    case 8: both(t, c, "COMMIT"); break;
    default: write_something(t, c);
    }
}

START_TEST(the_same_as_an_ordinary_table) {
    static struct twins t;
    uint64_t steps = harness_count("KEVO_OPS", 3000);
    start(&t, journals[_i], harness_seed() + (uint64_t)_i);
    while (t.steps < steps)
        step(&t);
    end(&t);
}
END_TEST

/* A connection waits for the writer, or gives up, with its first statement in a transaction too:
 * nothing that it looks up for that keeps it from waiting. */
START_TEST(first_use) {
    static const char *const statements[] = {
        "INSERT INTO kv VALUES(3, 3)",       "REPLACE INTO kv VALUES(1, 3)", "DELETE FROM kv",
        "UPDATE kv SET v = 3 WHERE key = 1", "DELETE FROM kv WHERE key = 2", "SELECT * FROM kv"};
    static struct twins t;
    start(&t, journals[_i], 0);
    for (size_t n = 0; n < sizeof statements / sizeof statements[0]; n++) {
        replace_connection(&t, 0);
        both(&t, 1, "BEGIN IMMEDIATE");
        both(&t, 1, "UPDATE plain SET v = v + 1");
        both(&t, 0, "BEGIN");
        both(&t, 0, "%s", statements[n]);
        both(&t, 0, "%s", statements[n]);
        both(&t, 1, "COMMIT");
        both(&t, 0, "%s", statements[n]);
        both(&t, 0, "ROLLBACK");
        both(&t, 1, "ROLLBACK");
    }
    end(&t);
}
END_TEST

/* A connection that keeps its locks, with a WAL or a journal, waits for nobody: it is the only one. */
START_TEST(first_use_beside_own_locks) {
    const char *path = make_database("app.db", journals[_i], definitions[1]);
    sqlite3 *db = sql_open(path);
    sqlite3_busy_timeout(db, 200);
    sql_exec(db, "PRAGMA locking_mode = EXCLUSIVE; UPDATE plain SET v = 1");
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES(3, 3); COMMIT");
    expect_rows(db, "1|0;2|0;3|3", "SELECT * FROM kv");
    sql_close(db);
}
END_TEST

/* ---- busy_timeout ------------------------------------------------------------------------------ */

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

enum { TIMEOUT_MS = 150 };

/* It fails, but not before the time is over. */
static void expect_patience(sqlite3 *db, const char *sql) {
    uint64_t begun = now_ms();
    sqlite3_busy_timeout(db, TIMEOUT_MS);
    expect_error(db, SQLITE_BUSY, "locked", "%s", sql);
    ck_assert_uint_ge(now_ms() - begun, TIMEOUT_MS);
}

static void *commit_soon(void *db) {
    sqlite3_sleep(TIMEOUT_MS / 2);
    sql_exec(db, "COMMIT");
    return NULL;
}

/* It is granted as soon as the other one commits. */
static void expect_grant(sqlite3 *db, sqlite3 *other, const char *sql) {
    pthread_t thread;
    sqlite3_busy_timeout(db, 60000);
    ck_assert_int_eq(pthread_create(&thread, NULL, commit_soon, other), 0);
    sql_exec(db, "%s", sql);
    pthread_join(thread, NULL);
}

START_TEST(timeouts) {
    const char *journal = journals[_i % JOURNALS];
    const char *path = make_database("app.db", journal, definitions[_i / JOURNALS]);
    sqlite3 *db = open_with(path, journal), *other = open_with(path, journal);
    /* Its COMMIT may meet the lock with which the other one looks whether it may write. */
    sqlite3_busy_timeout(other, 60000);
    sql_exec(other, "BEGIN; UPDATE kv SET v = 1");
    expect_patience(db, "UPDATE kv SET v = 2");
    expect_patience(db, "BEGIN IMMEDIATE");
    expect_grant(db, other, "UPDATE kv SET v = 3");
    if (strcmp(journal, "WAL") != 0) {
        sql_exec(other, "BEGIN; SELECT * FROM kv");
        sql_exec(db, "BEGIN; UPDATE kv SET v = v + 1");
        expect_patience(db, "COMMIT");
        sql_exec(db, "UPDATE kv SET v = v + 1");
        expect_grant(db, other, "COMMIT");
        sql_exec(db, "UPDATE kv SET v = v - 1");
    } else {
        /* What waiting cannot help is told at once. */
        sql_exec(other, "BEGIN; SELECT * FROM kv");
        sql_exec(db, "UPDATE kv SET v = 4");
        sqlite3_busy_timeout(other, 600000);
        expect_error(other, SQLITE_BUSY_SNAPSHOT, "locked", "UPDATE kv SET v = 5");
        sql_exec(other, "COMMIT");
    }
    expect_rows(other, "1|4;2|4", "SELECT * FROM kv");
    sql_close(db);
    sql_close(other);
}
END_TEST

/* ---- threads that want each other's locks ---------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 40 };

struct player {
    pthread_t thread;
    const char *path, *journal;
    sqlite3 *db;
    unsigned number, done;
    char failure[300];
};

/* One transaction over both databases, each player in an order of its own; those that begin by
 * reading stand in each other's way at once. */
static int play(struct player *p) {
    const char *first = p->number & 1 ? "x" : "main", *second = p->number & 1 ? "main" : "x";
    char *sql = sqlite3_mprintf("BEGIN; %s; UPDATE %s.kv SET v = v + 1 WHERE key = 1; SELECT * FROM"
                                " %s.kv; UPDATE %s.kv SET v = v + 1 WHERE key = 1; COMMIT",
                                p->number & 2 ? "SELECT count(*) FROM main.kv, x.kv" : "", first,
                                second, second);
    int rc = sqlite3_exec(p->db, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
        snprintf(p->failure, sizeof p->failure, "%d, %s", rc, sqlite3_errmsg(p->db));
    sqlite3_free(sql);
    if (!sqlite3_get_autocommit(p->db)) sqlite3_exec(p->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static void *play_all(void *arg) {
    struct player *p = arg;
    while (p->done < ROUNDS && !p->failure[0]) {
        if (play(p) == SQLITE_OK)
            p->done++;
        else
            sqlite3_sleep(1 + (int)p->number);
    }
    return NULL;
}

/* They all come to their end, and no update is lost in either database. */
START_TEST(no_deadlock) {
    struct player p[THREADS];
    char expected[20];
    memset(p, 0, sizeof p);
    const char *path = make_database("app.db", journals[_i], definitions[1]);
    const char *second = make_database("second.db", journals[_i], definitions[1]);
    for (unsigned i = 0; i < THREADS; i++) {
        p[i].number = i;
        p[i].db = open_with(path, journals[_i]);
        sql_exec(p[i].db, "ATTACH %Q AS x; PRAGMA x.synchronous = OFF", second);
        sqlite3_busy_timeout(p[i].db, 20);
    }
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&p[i].thread, NULL, play_all, &p[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(p[i].thread, NULL);
    snprintf(expected, sizeof expected, "%d|%d", THREADS * ROUNDS, THREADS * ROUNDS);
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_msg(!p[i].failure[0], "%s", p[i].failure);
        expect_rows(p[i].db, expected,
                    "SELECT a.v, b.v FROM main.kv a, x.kv b WHERE a.key = 1 AND b.key = 1");
        sql_close(p[i].db);
    }
}
END_TEST

/* As programs do that open a connection for each piece of work: all of them get their turn, with the
 * first statement of their connection. */
static void *work_and_leave(void *arg) {
    struct player *p = arg;
    for (; p->done < ROUNDS && !p->failure[0]; p->done++) {
        p->db = sql_open(p->path);
        sqlite3_busy_timeout(p->db, 60000);
        int rc =
            sql_try(p->db,
                    "PRAGMA journal_mode = %s; PRAGMA synchronous = OFF; BEGIN; REPLACE INTO kv "
                    "VALUES(%u, %u); UPDATE plain SET v = v + 1; COMMIT",
                    p->journal, p->number, p->done);
        if (rc != SQLITE_OK)
            snprintf(p->failure, sizeof p->failure, "%d, %s", rc, sqlite3_errmsg(p->db));
        sql_close(p->db);
    }
    return NULL;
}

START_TEST(connections_of_one_transaction) {
    struct player p[THREADS];
    memset(p, 0, sizeof p);
    const char *path = make_database("app.db", journals[_i], definitions[1]);
    for (unsigned i = 0; i < THREADS; i++) {
        p[i].number = i;
        p[i].path = path;
        p[i].journal = journals[_i];
        ck_assert_int_eq(pthread_create(&p[i].thread, NULL, work_and_leave, &p[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(p[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_msg(!p[i].failure[0], "%s", p[i].failure);
    sqlite3 *db = sql_open(path);
    ck_assert_int_eq(sql_int(db, "SELECT v FROM plain"), THREADS * ROUNDS);
    sql_close(db);
}
END_TEST

/* ---- loading --------------------------------------------------------------------------------- */

/* Whoever locks the database does not keep others from loading the extension, once or again. */
START_TEST(loading_waits_for_nobody) {
    struct side s = {.waits = 0};
    const char *path = make_database("app.db", "DELETE", definitions[1]);
    sqlite3 *other = sql_open(path), *db = sql_open_plain(path);
    sqlite3_busy_handler(db, wait_a_little, &s);
    sql_exec(other, "BEGIN EXCLUSIVE");
    sql_load(db);
    sql_exec(other, "COMMIT");
    sql_exec(db, "CREATE VIRTUAL TABLE temp.t USING kevo; INSERT INTO t VALUES('a', 1);"
                 "PRAGMA writable_schema = RESET"); /* it is to be read again */
    sql_exec(other, "BEGIN EXCLUSIVE");
    sql_load(db);
    sql_exec(other, "COMMIT");
    ck_assert_uint_eq(s.waits, 0);
    expect_rows(db, "a|1", "SELECT * FROM temp.t");
    sql_close(other);
    sql_close(db);
}
END_TEST

/* ---- kevo_compact() ---------------------------------------------------------------------------- */

enum { RETAIN_MS = 1000 };

static atomic_bool compacted;
static bool in_time; /* the transaction came before the merges began */

static void *compact(void *db) {
    expect_rows(db, "ok", "SELECT kevo_compact('kv')");
    atomic_store(&compacted, true);
    return NULL;
}

/* The tables are there and not decided. */
static int hold_up(void *arg) {
    (void)arg;
    in_time = !atomic_load(&compacted);
    sqlite3_sleep(RETAIN_MS + 200);
    return 0;
}

static const char flushes[] = "SELECT value FROM kevo_stats('kv') WHERE name = 'flushes'";

/* A transaction larger than memory is committed while kevo_compact() lets retain_ms pass: it is
 * waited for, as by one who writes, and compacted too. */
START_TEST(compact_waits_for_a_large_transaction) {
    pthread_t thread;
    const char *path = sql_file("app.db");
    sqlite3 *db = sql_open(path);
    sql_exec(db,
             "PRAGMA journal_mode = WAL; CREATE VIRTUAL TABLE kv USING kevo(txn_memory_size = 4096,"
             " retain_ms = %d); INSERT INTO kv VALUES('a', 1)",
             RETAIN_MS);
    sqlite3 *other = sql_open(path);
    sqlite3_busy_timeout(other, 60000);
    sqlite3_int64 before = sql_int(db, "%s", flushes);
    ck_assert_int_eq(pthread_create(&thread, NULL, compact, other), 0);
    while (sql_int(db, "%s", flushes) == before)
        sqlite3_sleep(1);
    sqlite3_commit_hook(db, hold_up, NULL);
    sqlite3_busy_timeout(db, 60000);
    sql_exec(db, "WITH n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
                 "REPLACE INTO kv SELECT char(97 + i %% 26) || i, i FROM n");
    pthread_join(thread, NULL);
    if (in_time) expect_rows(db, "1", "SELECT count(*) FROM kevo_files('kv')");
    expect_rows(db, "502", "SELECT count(*) FROM kv");
    sql_close(other);
    sql_close(db);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("busy");
    TCase *tc = tcase_create("busy");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, the_same_as_an_ordinary_table, 0, JOURNALS);
    tcase_add_loop_test(tc, first_use, 0, JOURNALS);
    tcase_add_loop_test(tc, first_use_beside_own_locks, 0, 2);
    tcase_add_loop_test(tc, timeouts, 0, SIDES * JOURNALS);
    tcase_add_loop_test(tc, no_deadlock, 0, JOURNALS);
    tcase_add_loop_test(tc, connections_of_one_transaction, 0, JOURNALS);
    tcase_add_test(tc, loading_waits_for_nobody);
    tcase_add_test(tc, compact_waits_for_a_large_transaction);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
