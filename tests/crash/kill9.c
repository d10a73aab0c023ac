/* kill9.c - kill -9 at random moments, and what must be so afterwards.
 *
 * A child runs transactions over an ordinary table and two kevo tables: money moves
 * between them, some savepoints and some transactions are rolled back, and each that
 * commits writes its number, one more than the last, into all three. It tells the number
 * through a pipe once COMMIT has returned. The parent kills it, sometimes while it is
 * still recovering from the last time, opens the database anew and expects: every number
 * that was told, no gap, the same numbers on both sides, and all the money.
 *
 * KEVO_ROUNDS: how many times, 50 by default. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/sql.h"

enum { ACCOUNTS = 40, MONEY = 1000 };

static const char *const journals[] = {"WAL", "DELETE", "TRUNCATE", "PERSIST"};
static const char *const levels[] = {"FULL", "NORMAL", "OFF", "EXTRA"};
static const char *path;

static void make_database(void) {
    sqlite3 *db = sql_open(path);
    sql_exec(db, "CREATE TABLE account(id INTEGER PRIMARY KEY, money INTEGER NOT NULL);"
                 "CREATE TABLE done(n INTEGER PRIMARY KEY);"
                 "CREATE VIRTUAL TABLE kv USING kevo(memtable_size='128 KB', table_size='64 KB');"
                 "CREATE VIRTUAL TABLE note USING kevo(n INTEGER, part INTEGER, text ANY,"
                 "PRIMARY KEY(n, part DESC))");
    sql_exec(db,
             "BEGIN; WITH RECURSIVE i(x) AS (VALUES(0) UNION ALL SELECT x + 1 FROM i WHERE x < %d)"
             "INSERT INTO account SELECT x, %d FROM i;"
             "INSERT INTO kv SELECT printf('%%03d', id), money FROM account; COMMIT",
             ACCOUNTS - 1, MONEY);
    sql_close(db);
}

/* ---- the child ---------------------------------------------------------------------- */

static void move_money(sqlite3 *db, struct rng *r) {
    int from = (int)rng_below(r, ACCOUNTS), to = (int)rng_below(r, ACCOUNTS);
    int sum = (int)rng_below(r, 100);
    if (rng_below(r, 2))
        sql_exec(db,
                 "UPDATE account SET money = money - %d WHERE id = %d;"
                 "UPDATE kv SET value = value + %d WHERE key = '%03d'",
                 sum, from, sum, to);
    else
        sql_exec(db,
                 "UPDATE kv SET value = value - %d WHERE key = '%03d';"
                 "UPDATE account SET money = money + %d WHERE id = %d",
                 sum, from, sum, to);
}

/* Changes that never count. */
static void spoil(sqlite3 *db, struct rng *r) {
    sql_exec(db, "SAVEPOINT spoil; UPDATE kv SET value = value * 2; DELETE FROM note;"
                 "UPDATE account SET money = 0; DELETE FROM done");
    if (rng_below(r, 2)) move_money(db, r);
    sql_exec(db, "ROLLBACK TO spoil; RELEASE spoil");
}

static void transact(sqlite3 *db, struct rng *r, sqlite3_int64 n) {
    sql_exec(db, "BEGIN");
    for (uint64_t i = rng_below(r, 5) + 1; i > 0; i--)
        move_money(db, r);
    if (rng_below(r, 8) == 0) spoil(db, r);
    sql_exec(db, "INSERT INTO done VALUES(%lld)", n);
    for (uint64_t i = rng_below(r, 4) + 1; i > 0; i--)
        sql_exec(db, "INSERT INTO note VALUES(%lld, %d, randomblob(%d))", n, (int)i,
                 (int)rng_below(r, rng_below(r, 10) ? 300 : 9000));
}

static void run_child(const char *journal, const char *level, uint64_t seed, int pipe_fd) {
    struct rng r = rng_of(seed);
    sqlite3 *db = sql_open(path);
    sqlite3_busy_timeout(db, 5000);
    sql_rows(db, "PRAGMA journal_mode=%s", journal);
    sql_exec(db, "PRAGMA synchronous=%s", level);
    sqlite3_int64 n = sql_int(db, "SELECT coalesce(max(n), 0) FROM done");
    for (;;) {
        transact(db, &r, n + 1);
        if (rng_below(&r, 10) == 0) {
            sql_exec(db, "ROLLBACK");
            continue;
        }
        sql_exec(db, "COMMIT");
        n++;
        if (write(pipe_fd, &n, sizeof n) != sizeof n) _exit(1);
        if (rng_below(&r, 200) == 0) sql_rows(db, "SELECT kevo_flush('kv')");
    }
}

/* ---- the parent ----------------------------------------------------------------------- */

static void sleep_us(uint64_t us) {
    struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    nanosleep(&t, NULL);
}

/* The last number that the child told before it was killed; 0: none. */
static sqlite3_int64 run_and_kill(uint64_t round, struct rng *r) {
    int fds[2], status;
    ck_assert_int_eq(pipe(fds), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        close(fds[0]);
        run_child(journals[round % 4], levels[round / 4 % 4], rng_next(r), fds[1]);
    }
    close(fds[1]);
    /* A third of them dies young, many of these while it opens and recovers. */
    sleep_us(rng_below(r, rng_below(r, 3) ? 500000 : 20000));
    kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFSIGNALED(status), "the child failed by itself, round %d", (int)round);
    sqlite3_int64 told = 0, n;
    while (read(fds[0], &n, sizeof n) == sizeof n)
        told = n;
    close(fds[0]);
    return told;
}

static void expect_all_there(sqlite3_int64 told) {
    sqlite3 *db = sql_open(path);
    ck_assert_int_ge(sql_int(db, "SELECT coalesce(max(n), 0) FROM done"), told);
    expect_rows(db, "1", "SELECT count(*) = coalesce(max(n), 0) FROM done");
    expect_rows(db, "", "SELECT n FROM done EXCEPT SELECT n FROM note");
    expect_rows(db, "", "SELECT n FROM note EXCEPT SELECT n FROM done");
    ck_assert_int_eq(sql_int(db, "SELECT (SELECT sum(money) FROM account) + sum(value) FROM kv"),
                     2 * ACCOUNTS * MONEY);
    expect_rows(db, "ok", "SELECT kevo_check('kv')");
    expect_rows(db, "ok", "PRAGMA integrity_check");
    sql_close(db);
}

START_TEST(kill_at_random) {
    uint64_t rounds = harness_count("KEVO_ROUNDS", 50), acknowledged = 0, silent = 0;
    struct rng r = rng_of(harness_seed());
    path = sql_file("app.db");
    make_database();
    for (uint64_t round = 0; round < rounds; round++) {
        sqlite3_int64 told = run_and_kill(round, &r);
        expect_all_there(told);
        if (told)
            acknowledged = (uint64_t)told;
        else
            silent++;
    }
    printf("%llu kills, %llu of them before the first commit; %llu transactions\n",
           (unsigned long long)rounds, (unsigned long long)silent,
           (unsigned long long)acknowledged);
    /* A child that never gets anywhere would prove nothing. */
    ck_assert_uint_gt(acknowledged, rounds);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("kill9");
    TCase *tcase = tcase_create("kill9");
    tcase_set_timeout(tcase, 3600);
    tcase_add_test(tcase, kill_at_random);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
