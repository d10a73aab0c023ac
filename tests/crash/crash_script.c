#include "tests/crash/crash_script.h"

#include <stdio.h>
#include <string.h>

enum { ACCOUNTS = 4, PADS = 6, MANY = 24 };

static const char options[] = "memtable_size=%d, memtable_count=2, l0_trigger=2, l0_slow=3, "
                              "l0_stop=3, table_size=4096, level1_size=4096, retain_ms=0%s";

static const char create_all[] =
    "BEGIN; CREATE TABLE acct(id INTEGER PRIMARY KEY, v INTEGER);"
    "CREATE VIRTUAL TABLE kv USING kevo(key TEXT PRIMARY KEY, value INTEGER, %s);"
    "CREATE VIRTUAL TABLE two USING kevo(b TEXT, a INTEGER, v INTEGER, "
    "PRIMARY KEY(a, b DESC), INDEX by_v (v), UNIQUE (b));"
    "CREATE VIRTUAL TABLE many USING kevo(k INTEGER PRIMARY KEY, n INTEGER);"
    "CREATE VIRTUAL TABLE pad USING kevo('second.store', k INTEGER, n INTEGER, body BLOB, "
    "PRIMARY KEY(k DESC), INDEX by_n (n DESC), %s);";

static const char create_attached[] =
    "CREATE TABLE x.acctx(id INTEGER PRIMARY KEY, v INTEGER);"
    "CREATE VIRTUAL TABLE x.kvx USING kevo(key TEXT PRIMARY KEY, value INTEGER, INDEX by_value "
    "(value), %s);"
    "CREATE VIRTUAL TABLE x.padx USING kevo('far.store', k INTEGER PRIMARY KEY, n INTEGER, body "
    "BLOB, %s);";

static void put_account(sqlite3_str *s, unsigned account, int amount) {
    static const char *const updates[] = {
        "UPDATE acct SET v = v + %d WHERE id = %u;",
        "UPDATE kv SET value = value + %d WHERE key = 'k%u';",
        "UPDATE two SET v = v + %d WHERE b = 'b%u';",
        "UPDATE acctx SET v = v + %d WHERE id = %u;",
        "UPDATE kvx SET value = value + %d WHERE key = 'k%u';",
    };
    sqlite3_str_appendf(s, updates[account / ACCOUNTS], amount, account % ACCOUNTS);
}

static unsigned any_account(struct script *p) {
    return (unsigned)rng_below(&p->rng, p->kind.attached ? 5 * ACCOUNTS : 3 * ACCOUNTS);
}

/* Rows side by side that come, or are written over. */
static void put_fill(struct script *p, sqlite3_str *s) {
    unsigned from = (unsigned)rng_below(&p->rng, MANY / 2);
    sqlite3_str_appendf(s,
                        "WITH r(i) AS (SELECT %u UNION ALL SELECT i + 1 FROM r WHERE i < %u) "
                        "REPLACE INTO many SELECT i, %u FROM r;",
                        from, from + (unsigned)rng_below(&p->rng, MANY), ++p->number);
}

/* ... that go at once, which often leaves a range. */
static void put_clearing(struct script *p, sqlite3_str *s) {
    unsigned from = (unsigned)rng_below(&p->rng, MANY);
    if (rng_below(&p->rng, 3))
        sqlite3_str_appendf(s, "DELETE FROM many WHERE k BETWEEN %u AND %u;", from,
                            from + (unsigned)rng_below(&p->rng, MANY / 2));
    else
        sqlite3_str_appendall(s, "DELETE FROM many;");
}

static void put_op(struct script *p, sqlite3_str *s) {
    struct rng *r = &p->rng;
    unsigned k = (unsigned)rng_below(r, PADS);
    int amount = 1 + (int)rng_below(r, 99);
    switch (rng_below(r, 10)) {
    default:
        put_account(s, any_account(p), -amount);
        put_account(s, any_account(p), amount);
        break;
    case 4:
    case 5: {
        int bytes = (int)rng_below(r, rng_below(r, 4) ? 300 : 6000);
        const char *name = p->kind.attached && rng_below(r, 2) ? "padx" : "pad";
        sqlite3_str_appendf(s, "REPLACE INTO %s VALUES(%u, %u, zeroblob(%d));", name, k,
                            ++p->number, bytes);
        break;
    }
    case 6:
        sqlite3_str_appendf(s, "DELETE FROM %s WHERE k BETWEEN %u AND %u;",
                            p->kind.attached && rng_below(r, 2) ? "padx" : "pad", k,
                            rng_below(r, 2) ? k : (unsigned)rng_below(r, PADS));
        break;
    case 8:
    case 9:
        if (rng_below(r, 4)) put_fill(p, s);
        if (rng_below(r, 4)) put_clearing(p, s);
        if (rng_below(r, 4) == 0) put_fill(p, s);
        break;
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
    if (p->kind.undoes && rng_below(r, 3) == 0) {
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
                        name, place == SCRIPT_MAX_EXTRA - 1 ? "'third.store', " : "");
}

static void put_extra(struct script *p, sqlite3_str *s) {
    struct rng *r = &p->rng;
    unsigned place = (unsigned)rng_below(r, SCRIPT_MAX_EXTRA);
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
    /* Of the attached database. */
    "SELECT kevo_flush('kvx')",
    "SELECT kevo_flush('padx')",
    "PRAGMA x.wal_checkpoint(TRUNCATE)",
    "VACUUM x",
};
enum { UPKEEP = sizeof upkeep / sizeof upkeep[0], UPKEEP_OF_MAIN = UPKEEP - 4 };

static void put_step(struct script *p, sqlite3_str *s) {
    struct rng *r = &p->rng;
    switch (rng_below(r, 18)) {
    case 16:
        sqlite3_str_appendall(s, p->kind.long_reads ? SCRIPT_LONG_READ : "DELETE FROM many");
        break;
    case 0:
        sqlite3_str_appendall(s, upkeep[rng_below(r, p->kind.attached ? UPKEEP : UPKEEP_OF_MAIN)]);
        break;
    case 1: break; /* another connection */
    case 2:
        if (!p->kind.undoes) break;
        sqlite3_str_appendall(s, "BEGIN;");
        put_transaction(p, s);
        if (rng_below(r, 2)) {
            put_create(s, "gone", (unsigned)rng_below(r, SCRIPT_MAX_EXTRA));
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
    char with[sizeof options + 60];
    /* In half of the scripts each write of a transaction is a file; in some the log's end grows
     * long before there is a new segment. */
    const char *in_runs = rng_below(&p->rng, 2) ? ", txn_memory_size=4096" : "";
    snprintf(with, sizeof with, options, rng_below(&p->rng, 4) ? 4096 : 65536, in_runs);
    sqlite3_str_appendf(s, create_all, with, with);
    if (p->kind.attached) sqlite3_str_appendf(s, create_attached, with, with);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        sqlite3_str_appendf(s,
                            "INSERT INTO acct VALUES(%u, 1000); INSERT INTO kv VALUES('k%u', 1000);"
                            "INSERT INTO two VALUES('b%u', %u, 1000);",
                            i, i, i, i % 2);
    for (unsigned i = 0; p->kind.attached && i < ACCOUNTS; i++)
        sqlite3_str_appendf(s,
                            "INSERT INTO acctx VALUES(%u, 1000); INSERT INTO kvx VALUES('k%u', "
                            "1000);",
                            i, i);
    if (rng_below(&p->rng, 2)) sqlite3_str_appendall(s, "INSERT INTO pad VALUES(1, 1, x'00');");
    sqlite3_str_appendall(s, "COMMIT");
}

void script_init(struct script *p, struct script_kind kind, uint64_t seed, unsigned steps) {
    static const int pages[] = {4096, 1024, 512};
    *p = (struct script){.kind = kind, .rng = rng_of(seed), .count = steps};
    p->page_bytes = pages[rng_below(&p->rng, 3)];
    for (unsigned i = 0; i < steps; i++) {
        sqlite3_str *s = sqlite3_str_new(NULL);
        if (i == 0)
            put_first(p, s);
        else
            put_step(p, s);
        bool empty = sqlite3_str_length(s) == 0;
        p->steps[i] = sqlite3_str_finish(s);
        if (empty) p->steps[i] = NULL;
    }
}

void script_release(struct script *p) {
    for (unsigned i = 0; i < p->count; i++)
        sqlite3_free(p->steps[i]);
}
