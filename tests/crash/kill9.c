/* kill -9 at random moments. A child runs transactions that move money between an ordinary
 * table and kevo tables and says through a pipe which ones were committed; the parent
 * kills it, opens the database, and knows from the same random numbers what must be there:
 * every transaction that was acknowledged, at most one more, and none in part.
 *
 *     KEVO_ROUNDS=1000 KEVO_MODULE=.../kevo.so kill9 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/sql.h"

enum { ACCOUNTS = 20, PLACES = 3, PADS = 1500, MANY = 4000 };
enum { MAX_OPS = 40, ACK_FD = 3, ROUNDS_PER_FILE = 10 };

/* ---- what transaction n does ------------------------------------------------------------- */

enum op_kind {
    OP_MOVE,
    OP_PUT,
    OP_DELETE,
    OP_DELETE_RANGE,
    OP_REMAKE,
    OP_FILL, /* a row for each of these numbers */
    OP_CLEAR /* a DELETE of them, which leaves a range when they are many */
};

struct op {
    enum op_kind kind;
    unsigned from,
        to;     /* accounts, counted over all places; or the pad or row, and behind the last */
    int amount; /* money, or bytes */
};

struct plan {
    struct op ops[MAX_OPS];
    unsigned count;
    unsigned undo_from, undo_to; /* these are rolled back to a savepoint */
    bool rehearse;               /* all of it is done and rolled back before */
};

static void make_plan(struct plan *p, uint64_t seed, uint64_t n) {
    struct rng r = rng_of(seed * 1000003u + n);
    unsigned most = rng_below(&r, 10) == 0 ? MAX_OPS : 6;
    p->count = 1 + (unsigned)rng_below(&r, most);
    p->undo_from = p->undo_to = p->count;
    if (rng_below(&r, 3) == 0) {
        p->undo_from = (unsigned)rng_below(&r, p->count);
        p->undo_to = p->undo_from + (unsigned)rng_below(&r, p->count - p->undo_from + 1);
    }
    p->rehearse = rng_below(&r, 8) == 0;
    for (unsigned i = 0; i < p->count; i++) {
        struct op *op = &p->ops[i];
        unsigned dice = (unsigned)rng_below(&r, 10);
        op->kind = dice < 5 ? OP_MOVE : dice < 9 ? OP_PUT : OP_DELETE;
        if (dice == 9 && rng_below(&r, 3) == 0)
            op->kind = rng_below(&r, 3) == 0 ? OP_REMAKE : OP_DELETE_RANGE;
        op->from = (unsigned)rng_below(&r, op->kind == OP_MOVE ? PLACES * ACCOUNTS : PADS);
        op->to = (unsigned)rng_below(&r, PLACES * ACCOUNTS);
        if (op->kind == OP_DELETE_RANGE) op->to = op->from + (unsigned)rng_below(&r, PADS / 4);
        op->amount = (int)rng_below(&r, op->kind == OP_MOVE ? 100 : 3000);
        if (rng_below(&r, 40) == 0) {
            op->kind = rng_below(&r, 2) ? OP_FILL : OP_CLEAR;
            op->from = (unsigned)rng_below(&r, MANY);
            op->to = op->from + 1 + (unsigned)rng_below(&r, MANY);
            if (op->to > MANY) op->to = MANY;
        }
    }
}

/* ---- the child --------------------------------------------------------------------------- */

struct child {
    sqlite3 *db;
    sqlite3_stmt *add[PLACES], *put, *delete, *fill, *clear, *log, *klog;
    uint64_t seed;
};

static void create_tables(sqlite3 *db, uint64_t seed) {
    /* With the smallest memory nearly every transaction is one that outgrows it. */
    const char *memory =
        seed & 2 ? "memtable_size=64 KB, txn_memory_size=4 KB" : "memtable_size=64 KB";
    sql_exec(db,
             "BEGIN; CREATE TABLE log(n INTEGER PRIMARY KEY);"
             "CREATE TABLE acct(id INTEGER PRIMARY KEY, v INTEGER);"
             "CREATE VIRTUAL TABLE kv USING kevo(key TEXT PRIMARY KEY, value INTEGER, %s);"
             "CREATE VIRTUAL TABLE two USING kevo(a INTEGER, b TEXT, v INTEGER, "
             "PRIMARY KEY(a, b DESC), INDEX by_v (v), UNIQUE (b));"
             "CREATE VIRTUAL TABLE many USING kevo(k INTEGER PRIMARY KEY, n INTEGER);"
             "CREATE VIRTUAL TABLE klog USING kevo(n INTEGER PRIMARY KEY)",
             memory);
    char second[64];
    snprintf(second, sizeof second, "%s, ", memory);
    /* Sometimes a second store takes part. */
    sql_exec(db,
             "CREATE VIRTUAL TABLE pad USING kevo(%s%sk INTEGER, n INTEGER, body BLOB, "
             "PRIMARY KEY(k DESC), INDEX by_n (n DESC))",
             seed & 1 ? "'second.store', " : "", seed & 1 ? second : "");
    for (unsigned i = 0; i < ACCOUNTS; i++)
        sql_exec(db,
                 "INSERT INTO acct VALUES(%u, 1000); INSERT INTO kv VALUES('a%02u', 1000);"
                 "INSERT INTO two VALUES(%u, 'b%u', 1000)",
                 i, i, i % 3, i);
    sql_exec(db, "INSERT INTO log VALUES(0); INSERT INTO klog VALUES(0); COMMIT");
}

static void run(struct child *c, sqlite3_stmt *stmt) {
    int rc = sqlite3_step(stmt);
    if (rc != SQLITE_DONE) {
        fprintf(stderr, "child: %s: %s\n", sqlite3_sql(stmt), sqlite3_errmsg(c->db));
        _exit(1);
    }
    sqlite3_reset(stmt);
}

static void add_money(struct child *c, unsigned account, int amount) {
    char key[8];
    unsigned place = account / ACCOUNTS, i = account % ACCOUNTS;
    sqlite3_bind_int(c->add[place], 1, amount);
    snprintf(key, sizeof key, place == 1 ? "a%02u" : "b%u", i);
    if (place == 0)
        sqlite3_bind_int(c->add[place], 2, (int)i);
    else
        sqlite3_bind_text(c->add[place], 2, key, -1, SQLITE_TRANSIENT);
    if (place == 2) sqlite3_bind_int(c->add[place], 3, (int)i % 3);
    run(c, c->add[place]);
}

/* A table that is dropped and made again, with ten rows. */
static void remake(struct child *c, uint64_t n) {
    sql_exec(c->db,
             "DROP TABLE IF EXISTS made; CREATE VIRTUAL TABLE made USING kevo(n INTEGER PRIMARY "
             "KEY, w INTEGER); WITH RECURSIVE r(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM r "
             "LIMIT 10) INSERT INTO made SELECT %lld + i, i FROM r",
             (long long)n);
}

static void run_many(struct child *c, sqlite3_stmt *stmt, const struct op *op, uint64_t n) {
    sqlite3_bind_int(stmt, 1, (int)op->from);
    sqlite3_bind_int(stmt, 2, (int)op->to);
    if (op->kind == OP_FILL) sqlite3_bind_int64(stmt, 3, (sqlite3_int64)n);
    run(c, stmt);
}

static void do_op(struct child *c, const struct op *op, uint64_t n) {
    switch (op->kind) {
    case OP_MOVE:
        add_money(c, op->from, -op->amount);
        add_money(c, op->to, op->amount);
        break;
    case OP_PUT:
        sqlite3_bind_int(c->put, 1, (int)op->from);
        sqlite3_bind_int64(c->put, 2, (sqlite3_int64)n);
        sqlite3_bind_zeroblob(c->put, 3, op->amount);
        run(c, c->put);
        break;
    case OP_DELETE:
        sqlite3_bind_int(c->delete, 1, (int)op->from);
        run(c, c->delete);
        break;
    case OP_DELETE_RANGE:
        sql_exec(c->db, "SELECT kevo_delete_range('pad', 'k >=', %u, 'k <', %u)", op->from, op->to);
        break;
    case OP_REMAKE: remake(c, n); break;
    case OP_FILL: run_many(c, c->fill, op, n); break;
    case OP_CLEAR: run_many(c, c->clear, op, n); break;
    }
}

static void do_ops(struct child *c, const struct plan *p, uint64_t n) {
    for (unsigned i = 0; i <= p->count; i++) {
        if (i == p->undo_to && p->undo_from < p->undo_to)
            sql_exec(c->db, "ROLLBACK TO s; RELEASE s");
        if (i == p->count) break;
        if (i == p->undo_from && p->undo_from < p->undo_to) sql_exec(c->db, "SAVEPOINT s");
        do_op(c, &p->ops[i], n);
    }
}

static void do_transaction(struct child *c, uint64_t n) {
    struct plan p;
    make_plan(&p, c->seed, n);
    if (p.rehearse) {
        sql_exec(c->db, "BEGIN");
        do_ops(c, &p, n + 1000000);
        sql_exec(c->db, "ROLLBACK");
    }
    sql_exec(c->db, "BEGIN");
    do_ops(c, &p, n);
    sqlite3_bind_int64(c->log, 1, (sqlite3_int64)n);
    sqlite3_bind_int64(c->klog, 1, (sqlite3_int64)n);
    run(c, c->log);
    run(c, c->klog);
    sql_exec(c->db, "COMMIT");
    if (write(ACK_FD, &n, sizeof n) != sizeof n) _exit(1);
    if (n % 97 == 0) sql_exec(c->db, "SELECT kevo_flush('pad')");
    if (n % 397 == 0) sql_exec(c->db, "SELECT kevo_compact('kv')");
}

/* kill9 child PATH SEED JOURNAL SYNCHRONOUS */
static _Noreturn void child_main(char **argv) {
    sql_outside_check = true;
    struct child c = {.seed = strtoull(argv[3], NULL, 10)};
    c.db = sql_open(argv[2]);
    sql_exec(c.db, "PRAGMA journal_mode=%s; PRAGMA synchronous=%s", argv[4], argv[5]);
    if (sql_int(c.db, "SELECT count(*) FROM sqlite_schema WHERE name = 'log'") == 0)
        create_tables(c.db, c.seed);
    c.add[0] = sql_prepare(c.db, "UPDATE acct SET v = v + ?1 WHERE id = ?2");
    c.add[1] = sql_prepare(c.db, "UPDATE kv SET value = value + ?1 WHERE key = ?2");
    c.add[2] = sql_prepare(c.db, "UPDATE two SET v = v + ?1 WHERE b = ?2 AND a = ?3");
    c.put = sql_prepare(c.db, "REPLACE INTO pad VALUES(?1, ?2, ?3)");
    c.delete = sql_prepare(c.db, "DELETE FROM pad WHERE k = ?1");
    c.fill = sql_prepare(c.db, "WITH r(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM r WHERE i + 1 "
                               "< ?2) REPLACE INTO many SELECT i, ?3 FROM r");
    c.clear = sql_prepare(c.db, "DELETE FROM many WHERE k >= ?1 AND k < ?2");
    c.log = sql_prepare(c.db, "INSERT INTO log VALUES(?1)");
    c.klog = sql_prepare(c.db, "INSERT INTO klog VALUES(?1)");
    uint64_t n = (uint64_t)sql_int(c.db, "SELECT max(n) FROM log");
    for (;;)
        do_transaction(&c, ++n);
}

/* ---- the model ------------------------------------------------------------------------------ */

struct model {
    uint64_t n; /* transactions done */
    int money[PLACES * ACCOUNTS];
    struct {
        uint64_t n; /* 0: not there */
        int bytes;
    } pads[PADS];
    uint64_t many[MANY]; /* by which transaction; 0: not there */
    uint64_t made;       /* the transaction that made the table last; 0: there is none */
};

static void model_reset(struct model *m) {
    memset(m, 0, sizeof *m);
    for (unsigned i = 0; i < PLACES * ACCOUNTS; i++)
        m->money[i] = 1000;
}

static void model_step(struct model *m, uint64_t seed) {
    struct plan p;
    make_plan(&p, seed, ++m->n);
    for (unsigned i = 0; i < p.count; i++) {
        const struct op *op = &p.ops[i];
        if (i >= p.undo_from && i < p.undo_to) continue;
        if (op->kind == OP_MOVE) {
            m->money[op->from] -= op->amount;
            m->money[op->to] += op->amount;
        } else if (op->kind == OP_DELETE_RANGE) {
            for (unsigned k = op->from; k < op->to && k < PADS; k++)
                m->pads[k].n = 0;
        } else if (op->kind == OP_FILL || op->kind == OP_CLEAR) {
            for (unsigned k = op->from; k < op->to; k++)
                m->many[k] = op->kind == OP_FILL ? m->n : 0;
        } else if (op->kind == OP_REMAKE) {
            m->made = m->n;
        } else {
            m->pads[op->from].n = op->kind == OP_PUT ? m->n : 0;
            m->pads[op->from].bytes = op->amount;
        }
    }
}

static void check_money(sqlite3 *db, const struct model *m) {
    sqlite3_stmt *stmt = sql_prepare(db,
                                     "SELECT id, v FROM acct UNION ALL "
                                     "SELECT %d + substr(key, 2), value FROM kv UNION ALL "
                                     "SELECT %d + substr(b, 2), v FROM two ORDER BY 1",
                                     ACCOUNTS, 2 * ACCOUNTS);
    for (int i = 0; i < PLACES * ACCOUNTS; i++) {
        ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
        ck_assert_int_eq(sqlite3_column_int(stmt, 0), i);
        ck_assert_msg(sqlite3_column_int(stmt, 1) == m->money[i],
                      "after %d transactions account %d has %d, not %d", (int)m->n, i,
                      sqlite3_column_int(stmt, 1), m->money[i]);
    }
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
}

static void check_pads(sqlite3 *db, const struct model *m) {
    sqlite3_stmt *stmt = sql_prepare(db, "SELECT k, n, length(body) FROM pad ORDER BY k");
    for (int k = 0; k < PADS; k++) {
        if (m->pads[k].n == 0) continue;
        ck_assert_msg(sqlite3_step(stmt) == SQLITE_ROW, "pad %d: %s", k, sqlite3_errmsg(db));
        ck_assert_int_eq(sqlite3_column_int(stmt, 0), k);
        ck_assert_int_eq(sqlite3_column_int64(stmt, 1), (int64_t)m->pads[k].n);
        ck_assert_int_eq(sqlite3_column_int(stmt, 2), m->pads[k].bytes);
    }
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
}

static void check_many(sqlite3 *db, const struct model *m) {
    sqlite3_stmt *stmt = sql_prepare(db, "SELECT k, n FROM many ORDER BY k");
    for (int k = 0; k < MANY; k++) {
        if (m->many[k] == 0) continue;
        ck_assert_msg(sqlite3_step(stmt) == SQLITE_ROW, "row %d: %s", k, sqlite3_errmsg(db));
        ck_assert_int_eq(sqlite3_column_int(stmt, 0), k);
        ck_assert_int_eq(sqlite3_column_int64(stmt, 1), (int64_t)m->many[k]);
    }
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
}

static void check_made(sqlite3 *db, const struct model *m) {
    bool there = sql_int(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'made'") > 0;
    ck_assert_int_eq(there, m->made > 0);
    if (!there) return;
    ck_assert_int_eq(sql_int(db, "SELECT count(*) FROM made"), 10);
    ck_assert_int_eq(sql_int(db, "SELECT sum(n - w = %lld) FROM made", (long long)m->made), 10);
}

/* ---- the parent ------------------------------------------------------------------------------- */

struct file {
    const char *path;
    uint64_t seed, acknowledged;
    unsigned kills; /* since the last check: each may leave a transaction unacknowledged */
    struct model model;
};

static const char *const journals[] = {"WAL", "DELETE", "TRUNCATE", "PERSIST"};
static const char *const levels[] = {"FULL", "NORMAL", "OFF", "EXTRA"};
static uint64_t transactions, early_kills;

static pid_t spawn(const struct file *f, unsigned mode, int *acks) {
    int ends[2];
    char seed[32];
    ck_assert_int_eq(pipe(ends), 0);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)f->seed);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(ends[1], ACK_FD);
        fcntl(ACK_FD, F_SETFD, 0);
        execl("/proc/self/exe", "kill9", "child", f->path, seed, journals[mode % 4],
              levels[mode / 4 % 4], (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *acks = ends[0];
    return pid;
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void read_acks(struct file *f, int acks, uint64_t until_ms) {
    for (;;) {
        struct pollfd p = {.fd = acks, .events = POLLIN};
        uint64_t now = now_ms(), n;
        if (now >= until_ms || poll(&p, 1, (int)(until_ms - now)) <= 0) return;
        if (read(acks, &n, sizeof n) != sizeof n) return;
        f->acknowledged = n;
    }
}

/* Let a child run for a while; `after_first` counts the time from its first commit. */
static void run_and_kill(struct file *f, unsigned mode, unsigned ms, bool after_first) {
    int acks, status;
    uint64_t before = f->acknowledged;
    pid_t pid = spawn(f, mode, &acks);
    if (after_first) {
        struct pollfd p = {.fd = acks, .events = POLLIN};
        poll(&p, 1, 60000);
    }
    read_acks(f, acks, now_ms() + ms);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child ended by itself");
    read_acks(f, acks, UINT64_MAX / 2);
    close(acks);
    f->kills = f->acknowledged == before ? f->kills + 1 : 1;
}

static void check_file(struct file *f) {
    sqlite3 *db = sql_open(f->path);
    if (sql_int(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'log'") == 0) {
        ck_assert_uint_eq(f->acknowledged, 0);
        sql_close(db);
        return;
    }
    uint64_t last = (uint64_t)sql_int(db, "SELECT max(n) FROM log");
    ck_assert_msg(last >= f->acknowledged, "transaction %llu is lost, the last one is %llu",
                  (unsigned long long)f->acknowledged, (unsigned long long)last);
    ck_assert_uint_le(last, f->acknowledged + f->kills);
    ck_assert_uint_eq((uint64_t)sql_int(db, "SELECT count(*) FROM log"), last + 1);
    ck_assert_uint_eq((uint64_t)sql_int(db, "SELECT count(*) FROM klog"), last + 1);
    ck_assert_uint_eq((uint64_t)sql_int(db, "SELECT max(n) FROM klog"), last);
    transactions += last - f->model.n;
    while (f->model.n < last)
        model_step(&f->model, f->seed);
    check_money(db, &f->model);
    check_pads(db, &f->model);
    check_many(db, &f->model);
    check_made(db, &f->model);
    expect_rows(db, "ok;ok;ok;ok;ok",
                "SELECT kevo_check('kv'); SELECT kevo_check('pad'); SELECT kevo_check('two');"
                "SELECT kevo_check('many');"
                "PRAGMA integrity_check");
    f->acknowledged = last;
    f->kills = 0;
    sql_close(db);
}

static void new_file(struct file *f, uint64_t seed) {
    f->path = sql_file("app.db");
    f->seed = seed & 0xffffffff;
    f->acknowledged = 0;
    f->kills = 0;
    model_reset(&f->model);
}

START_TEST(kill9) {
    uint64_t rounds = harness_count("KEVO_ROUNDS", 50);
    struct rng r = rng_of(harness_seed());
    static struct file f;
    for (uint64_t round = 0; round < rounds; round++) {
        unsigned mode = (unsigned)(round % 16 + round / 16);
        if (round % ROUNDS_PER_FILE == 0) new_file(&f, rng_next(&r));
        bool early = rng_below(&r, 4) == 0;
        run_and_kill(&f, mode, (unsigned)rng_below(&r, early ? 30 : 150), !early);
        for (; rng_below(&r, 3) == 0; early_kills++)
            run_and_kill(&f, mode + 1, (unsigned)rng_below(&r, 25), false);
        check_file(&f);
    }
    printf("%llu rounds, %llu transactions, %llu more kills while opening\n",
           (unsigned long long)rounds, (unsigned long long)transactions,
           (unsigned long long)early_kills);
    /* Children that never got anywhere would prove nothing. */
    ck_assert_uint_gt(transactions, rounds);
}
END_TEST

int main(int argc, char **argv) {
    if (argc == 6 && strcmp(argv[1], "child") == 0) child_main(argv);
    Suite *suite = suite_create("kill9");
    TCase *tcase = tcase_create("kill9");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, kill9);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
