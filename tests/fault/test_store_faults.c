#include "tests/lib/fault_env.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/crash_env.h"
#include "tests/lib/kv.h"

/* One workload, run again and again with another call failing each time. Whatever fails:
 * the error is the expected one and comes once, what was acknowledged is there and nothing
 * else is seen, nothing leaks, and after a reopen, also after a power loss, the store is
 * sound. */

enum { KEYS = 6, MAYBES = 64, HISTORY = 64 };

static struct env *disk, *faulty;
static struct kevo_options options;

/* A key's value is a number, 0: none. */
struct model {
    uint64_t now[KEYS];
    uint64_t maybe[KEYS][MAYBES]; /* written by calls that failed since */
    unsigned maybe_count;
};

struct world {
    kevo_store *store; /* NULL: could not be opened */
    struct model model;
    struct kevo_commit last; /* the authority's marker */
    struct past {
        struct kevo_commit commit;
        uint64_t now[KEYS];
    } past[HISTORY]; /* what it committed */
    unsigned past_count;
    uint64_t number;          /* of the last value written */
    bool (*expected)(int rc); /* whether this error may come */
    bool once;                /* only one call fails */
    unsigned failures;        /* errors seen, refusals because of them not counted */
    bool unsure;              /* reopened, but what it holds could not be read */
};

static slice key_of(unsigned key) {
    static const char names[KEYS][8] = {"a", "b", "c", "d", "e", "f"};
    return kv_slice(names[key]);
}

static slice value_of(uint64_t number) {
    static char text[400];
    memset(text, 'v', sizeof text);
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    text[len] = ' ';
    return slice_of(text, 20 + number * 37 % 300);
}

static uint64_t number_in(slice value) {
    char text[20];
    ck_assert_uint_ge(value.len, sizeof text);
    memcpy(text, value.data, sizeof text);
    text[19] = 0;
    return strtoull(text, NULL, 10);
}

static int note(struct world *w, int rc) {
    if (rc < 0 && !w->expected(rc)) ck_abort_msg("error %d was not expected: %s", rc, test_err.msg);
    if (rc < 0 && test_err.rc != rc) ck_abort_msg("%d returned, %d told", rc, test_err.rc);
    if (rc < 0 && rc != KEVO_READONLY && w->failures++ && w->once)
        ck_abort_msg("one call failed, this comes of it later: %s", test_err.msg);
    return rc;
}

/* A large transaction's tables that no rotation has taken over keep it away. */
static void compact(struct world *w) {
    int rc = kv_compact(w->store, &test_err);
    if (rc != KEVO_BUSY) note(w, rc);
}

/* ---- looking ------------------------------------------------------------------------ */

static int read_all(kevo_store *s, const struct kevo_read *read, uint64_t found[KEYS]) {
    kevo_iter *it;
    memset(found, 0, KEYS * sizeof *found);
    int rc = kevo_iter_new(s, read, &it, &test_err);
    if (rc == 0) rc = kevo_iter_first(it, &test_err);
    for (unsigned k = 0; rc == 0 && k < KEYS && kevo_iter_valid(it); k++) {
        if (!slice_eq(kevo_iter_key(it), key_of(k))) continue;
        found[k] = number_in(kevo_iter_value(it));
        rc = kevo_iter_next(it, &test_err);
    }
    if (rc == 0) ck_assert(!kevo_iter_valid(it));
    kevo_iter_free(it);
    return rc;
}

static bool may_be(const struct model *m, unsigned key, uint64_t number) {
    bool may = m->now[key] == number;
    for (unsigned i = 0; i < m->maybe_count; i++)
        may |= m->maybe[key][i] == number;
    return may;
}

static void check(struct world *w, const uint64_t found[KEYS], bool strict) {
    for (unsigned k = 0; k < KEYS; k++) {
        bool right = strict ? found[k] == w->model.now[k] : may_be(&w->model, k, found[k]);
        if (!right)
            ck_abort_msg("key %u is %llu instead of %llu", k, (unsigned long long)found[k],
                         (unsigned long long)w->model.now[k]);
    }
}

/* After a reopen: what failed may have happened, and is certain now. */
static void adopt(struct world *w) {
    uint64_t found[KEYS];
    w->unsure = note(w, read_all(w->store, NULL, found)) != 0;
    if (w->unsure) return;
    check(w, found, false);
    /* It was read, but may not be durable before the next write. */
    struct model *m = &w->model;
    if (memcmp(m->now, found, sizeof found) == 0) return;
    ck_assert_uint_lt(m->maybe_count, MAYBES);
    for (unsigned k = 0; k < KEYS; k++)
        m->maybe[k][m->maybe_count] = m->now[k];
    m->maybe_count++;
    memcpy(m->now, found, sizeof found);
}

static void look(struct world *w) {
    uint64_t found[KEYS];
    struct kevo_value v;
    if (note(w, read_all(w->store, NULL, found)) == 0) check(w, found, !w->unsure);
    unsigned k = (unsigned)(w->number % KEYS);
    int rc = note(w, kevo_get(w->store, NULL, key_of(k), &v, &test_err));
    if (!w->unsure && rc >= 0) {
        ck_assert_int_eq(rc, w->model.now[k] ? 0 : KEVO_NOTFOUND);
        if (rc == 0) ck_assert_uint_eq(number_in(v.slice), w->model.now[k]);
    }
    kevo_value_release(&v);
}

/* ---- a store that decides itself ------------------------------------------------------ */

static void wrote(struct world *w, int rc, const uint64_t changes[KEYS], const bool touched[KEYS]) {
    struct model *m = &w->model;
    note(w, rc);
    if (rc) ck_assert_uint_lt(m->maybe_count, MAYBES);
    for (unsigned k = 0; k < KEYS; k++) {
        if (rc) m->maybe[k][m->maybe_count] = touched[k] ? changes[k] : m->now[k];
        if (!rc && touched[k]) m->now[k] = changes[k];
    }
    /* What comes after a failed write either has it undone or is refused. */
    m->maybe_count = rc ? m->maybe_count + 1 : 0;
}

static void put(struct world *w, unsigned key) {
    uint64_t changes[KEYS] = {0};
    bool touched[KEYS] = {false};
    changes[key] = ++w->number;
    touched[key] = true;
    wrote(w, kevo_put(w->store, key_of(key), value_of(w->number), &test_err), changes, touched);
}

static void delete (struct world *w, unsigned key) {
    uint64_t changes[KEYS] = {0};
    bool touched[KEYS] = {false};
    touched[key] = true;
    wrote(w, kevo_delete(w->store, key_of(key), &test_err), changes, touched);
}

/* The keys from `first` on, up to `end` or to the last. */
static void delete_range(struct world *w, unsigned first, unsigned end) {
    uint64_t changes[KEYS] = {0};
    bool touched[KEYS] = {false};
    slice upper = end < KEYS ? key_of(end) : slice_of(NULL, 0);
    for (unsigned k = first; k < end && k < KEYS; k++)
        touched[k] = true;
    wrote(w, kevo_delete_range(w->store, key_of(first), upper, &test_err), changes, touched);
}

static void batch(struct world *w, unsigned first) {
    uint64_t changes[KEYS] = {0};
    bool touched[KEYS] = {false};
    kevo_batch *b;
    int rc = note(w, kevo_batch_new(&b, &test_err));
    if (rc) return;
    for (unsigned i = 0; rc == 0 && i < 3; i++) {
        unsigned key = (first + i) % KEYS;
        touched[key] = true;
        changes[key] = i == 1 ? 0 : ++w->number;
        rc = i == 1 ? kevo_batch_delete(b, key_of(key), &test_err)
                    : kevo_batch_put(b, key_of(key), value_of(w->number), &test_err);
    }
    unsigned last = (first + 2) % KEYS; /* what was just put */
    if (rc == 0 && first % 10 == 6) {
        rc = kevo_batch_delete_range(b, key_of(last), slice_of(NULL, 0), &test_err);
        for (unsigned k = last; k < KEYS; k++) {
            touched[k] = true;
            changes[k] = 0;
        }
    }
    if (rc == 0)
        wrote(w, kevo_apply_batch(w->store, b, NULL, &test_err), changes, touched);
    else
        note(w, rc);
    kevo_batch_free(b);
}

static void reopen(struct world *w) {
    kevo_close(w->store);
    note(w, kevo_open(KV_DIR, &options, &w->store, &test_err));
    if (w->store) adopt(w);
}

static void run_self(struct world *w) {
    for (unsigned i = 0; i < 30; i++) {
        if (!w->store || i % 11 == 10) reopen(w);
        if (!w->store) continue;
        if (i % 5 == 1)
            batch(w, i);
        else if (i % 10 == 4)
            delete_range(w, i % KEYS, i % KEYS + 3);
        else if (i % 5 == 3)
            delete (w, i % KEYS);
        else
            put(w, i * 5 % KEYS);
        if (i % 6 == 5) note(w, kevo_flush(w->store, &test_err));
        if (i % 13 == 12) compact(w);
        if (i % 3 == 2) look(w);
        if (i == 20) note(w, kevo_verify(w->store, &test_err));
    }
}

/* ---- a store whose commits are decided elsewhere ---------------------------------------- */

/* One transaction with a part undone. True when the authority committed it. */
static bool transact(struct world *w, unsigned i, bool commits) {
    uint64_t next[KEYS];
    struct kevo_commit c;
    kevo_txn *t;
    if (note(w, kevo_txn_new(w->store, &t, &test_err))) return false;
    memcpy(next, w->model.now, sizeof next);
    int rc = 0;
    for (unsigned k = 0; rc == 0 && k < 3; k++) {
        unsigned key = (i + k) % KEYS;
        next[key] = k == 2 ? 0 : ++w->number;
        rc = k == 2 ? kevo_txn_delete(t, key_of(key), &test_err)
                    : kevo_txn_put(t, key_of(key), value_of(w->number), &test_err);
    }
    if (rc == 0 && i % 3 == 1) {
        rc = kevo_txn_delete_range(t, key_of(3), key_of(5), &test_err);
        next[3] = next[4] = 0;
    }
    struct kevo_mark mark = kevo_txn_mark(t);
    if (rc == 0) rc = kevo_txn_put(t, key_of(i % KEYS), value_of(1), &test_err);
    if (rc == 0) rc = kevo_txn_delete_range(t, slice_of(NULL, 0), key_of(4), &test_err);
    kevo_txn_rollback_to(t, mark);
    if (rc == 0 && i % 4 == 3) rc = kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err);
    if (rc == 0 && i % 4 == 3)
        rc = kevo_txn_put(t, key_of(i % KEYS), value_of(++w->number), &test_err);
    if (rc == 0 && i % 4 == 3) next[i % KEYS] = w->number;
    if (rc == 0) rc = kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err);
    note(w, rc);
    if (rc == 0 && commits) {
        memcpy(w->model.now, next, sizeof next);
        w->last = c;
        ck_assert_uint_lt(w->past_count, HISTORY);
        struct past *p = &w->past[w->past_count++];
        p->commit = c;
        memcpy(p->now, next, sizeof next);
    }
    if (rc == 0 && commits && i % 3)
        kevo_txn_commit(t);
    else
        kevo_txn_rollback(t); /* its outcome is found out by kevo_resolve() */
    kevo_txn_unref(t);
    return rc == 0 && commits;
}

static void look_at_marker(struct world *w) {
    uint64_t found[KEYS];
    struct kevo_read read = {.snapshot = NULL};
    kevo_snapshot *snap;
    if (note(w, kevo_snapshot_at(w->store, w->last, &snap, &test_err))) return;
    read.snapshot = snap;
    if (note(w, read_all(w->store, &read, found)) == 0) check(w, found, true);
    kevo_snapshot_free(snap);
}

/* A database under synchronous=NORMAL may lose its newest commits with the power: the
 * marker goes back, as far as the store can follow. */
static void lose_commits(struct world *w, unsigned i) {
    uint64_t oldest = kevo_last_commit(w->store).batch;
    for (unsigned back = 0; back < i % 5 && w->past_count > 1; back++) {
        if (w->past[w->past_count - 2].commit.batch < oldest) break;
        w->past_count--;
    }
    if (w->past_count == 0) return;
    w->last = w->past[w->past_count - 1].commit;
    memcpy(w->model.now, w->past[w->past_count - 1].now, sizeof w->model.now);
}

static void reopen_external(struct world *w, unsigned i) {
    kevo_close(w->store);
    note(w, kevo_open(KV_DIR, &options, &w->store, &test_err));
    if (w->store) lose_commits(w, i);
}

static void run_external(struct world *w) {
    for (unsigned i = 0; i < 26; i++) {
        if (!w->store || i % 7 == 6) reopen_external(w, i);
        if (!w->store) continue;
        look_at_marker(w);
        if (note(w, kevo_resolve(w->store, w->last, &test_err))) continue;
        look_at_marker(w);
        if (i % 4 == 2 || kevo_wants_rotate(w->store)) note(w, kevo_rotate(w->store, &test_err));
        if (i % 8 == 5) note(w, kevo_flush(w->store, &test_err));
        if (i % 11 == 10) compact(w);
        transact(w, i, i % 5 != 4 && i % 7 != 5);
    }
}

/* ---- the loops ----------------------------------------------------------------------------- */

static struct model nothing;

static void setup_on(struct env *env) {
    disk = env;
    faulty = fault_env_new(disk);
    options = kv_options(faulty);
    options.memtable_bytes = 4096;
    options.memtable_count = 3;
    options.l0_trigger = 2;
    options.l0_slow = options.l0_stop = 3;
    options.level1_bytes = 4096;
    options.table_bytes = 4096;
    options.cache_bytes = 8192;
}

/* A crash_env has no patience with exhausted memory. */
static void memory_setup(void) {
    struct env *env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    setup_on(env);
}

static void memory_teardown(void) {
    fault_env_free(faulty);
    env_memory_free(disk);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void crash_setup(void) {
    setup_on(crash_env_new());
}

static void crash_teardown(void) {
    fault_env_free(faulty);
    crash_env_free(disk);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void run(struct world *w, int authority) {
    *w = (struct world){.model = nothing, .expected = w->expected, .once = w->once};
    options.authority = authority;
    if (authority == KEVO_AUTHORITY_SELF)
        run_self(w);
    else
        run_external(w);
    kevo_close(w->store);
    w->store = NULL;
}

static bool none_expected(int rc) {
    (void)rc;
    return false;
}

/* On this disk, without faults, all that was acknowledged is there. Then the store goes. */
static void check_on(const struct world *before, struct env *env) {
    struct world world = *before, *w = &world;
    w->expected = none_expected;
    options.env = env;
    w->store = kv_open(&options);
    if (options.authority == KEVO_AUTHORITY_SELF) {
        adopt(w);
        put(w, 0);
        look(w);
    } else {
        look_at_marker(w);
        ck_ok(kevo_resolve(w->store, w->last, &test_err));
        look_at_marker(w);
        transact(w, 1, true);
        look_at_marker(w);
        ck_ok(kevo_resolve(w->store, w->last, &test_err));
        ck_ok(kevo_rotate(w->store, &test_err));
    }
    ck_ok(kevo_verify(w->store, &test_err));
    ck_ok(kv_compact(w->store, &test_err));
    ck_assert_uint_eq(kv_files(env, ".sst"), kv_tables(w->store)); /* no orphans */
    kevo_close(w->store);
    ck_ok(kevo_destroy(KV_DIR, &options, &test_err));
    options.env = faulty;
}

/* After a power loss; then as if only the process had ended. */
static void check_after_crash(const struct world *w, uint64_t n) {
    enum crash_mode mode = (enum crash_mode)(n % CRASH_MODES);
    struct env *image = crash_env_image(disk, mode, harness_seed() + n);
    check_on(w, image);
    crash_env_free(image);
    check_on(w, disk);
}

/* A crash_env remembers every file that there ever was. */
static void change_disks(void) {
    fault_env_free(faulty);
    crash_env_free(disk);
    disk = crash_env_new();
    faulty = fault_env_new(disk);
    options.env = faulty;
}

static bool nomem_expected(int rc) {
    return rc == KEVO_NOMEM;
}

/* In the quick form of the loops every so many-th call fails. */
static uint64_t stride(void) {
    return harness_count("KEVO_STRIDE", 7);
}

/* The same by transactions all of whose writes go to files. */
START_TEST(every_allocation_fails_with_runs) {
    struct world w = {.expected = nomem_expected, .once = !_i};
    options.txn_memory_bytes = 4096;
    for (uint64_t n = 1;; n += n < 100 ? 1 : 5 * stride()) {
        fault_alloc_fail_at(n, _i);
        run(&w, KEVO_AUTHORITY_EXTERNAL);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        check_on(&w, disk);
        if (!hit) break;
    }
}
END_TEST

START_TEST(every_allocation_fails) {
    int authority = _i & 1 ? KEVO_AUTHORITY_EXTERNAL : KEVO_AUTHORITY_SELF;
    bool for_good = _i & 2;
    struct world w = {.expected = nomem_expected, .once = !for_good};
    for (uint64_t n = 1;; n += n < 100 ? 1 : stride()) {
        fault_alloc_fail_at(n, for_good);
        run(&w, authority);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        check_on(&w, disk);
        if (!hit) break;
    }
}
END_TEST

static int plan_rc;

static bool io_expected(int rc) {
    return rc == plan_rc || rc == KEVO_READONLY;
}

static const struct {
    const char *name;
    struct fault_plan plan;
} plans[] = {
    {"open", {.kinds = FAULT_OPEN}},
    {"open of too many", {.kinds = FAULT_OPEN, .rc = KEVO_CANTOPEN}},
    {"read", {.kinds = FAULT_READ}},
    {"write", {.kinds = FAULT_WRITE}},
    {"half a write", {.kinds = FAULT_WRITE, .partial_write = true}},
    {"full disk", {.kinds = FAULT_WRITE | FAULT_ALLOCATE, .rc = KEVO_FULL}},
    {"full disk half way", {.kinds = FAULT_WRITE, .rc = KEVO_FULL, .partial_write = true}},
    {"sync", {.kinds = FAULT_SYNC}},
    {"sync of the log", {.kinds = FAULT_SYNC, .path = ".wal"}},
    {"truncate", {.kinds = FAULT_TRUNCATE}},
    {"allocate", {.kinds = FAULT_ALLOCATE}},
    {"size", {.kinds = FAULT_SIZE}},
    {"map", {.kinds = FAULT_MAP}},
    {"lock", {.kinds = FAULT_LOCK}},
    {"make_dir", {.kinds = FAULT_MAKE_DIR}},
    {"sync_dir", {.kinds = FAULT_SYNC_DIR}},
    {"list", {.kinds = FAULT_LIST}},
    {"rename", {.kinds = FAULT_RENAME}},
    {"unlink", {.kinds = FAULT_UNLINK}},
    {"stat", {.kinds = FAULT_STAT}},
    {"random", {.kinds = FAULT_RANDOM}},
    {"anything", {.kinds = FAULT_ALL}},
    {"any change", {.kinds = FAULT_CHANGES}},
};
enum { PLANS = sizeof plans / sizeof plans[0] };

static void fail_each_call(struct fault_plan plan, const char *name, int authority) {
    struct world w = {.expected = io_expected, .once = !plan.for_good};
    plan_rc = plan.rc ? plan.rc : KEVO_IOERR;
    for (plan.nth = 1;; plan.nth++) {
        fault_env_plan(faulty, plan);
        run(&w, authority);
        bool hit = fault_env_hit(faulty);
        fault_env_plan(faulty, (struct fault_plan){.nth = 0});
        check_after_crash(&w, plan.nth);
        change_disks();
        if (!hit) break;
    }
    ck_assert_msg(plan.nth > 1, "%s: never called", name);
}

START_TEST(every_call_fails_with_runs) {
    struct fault_plan plan = {.kinds = _i & 1 ? FAULT_CHANGES : FAULT_ALL, .for_good = _i & 2};
    struct world w = {.expected = io_expected, .once = !plan.for_good};
    plan_rc = KEVO_IOERR;
    options.txn_memory_bytes = 4096;
    for (plan.nth = 1;; plan.nth += 1 + plan.nth % 3 * stride()) {
        fault_env_plan(faulty, plan);
        run(&w, KEVO_AUTHORITY_EXTERNAL);
        bool hit = fault_env_hit(faulty);
        fault_env_plan(faulty, (struct fault_plan){.nth = 0});
        check_after_crash(&w, plan.nth);
        change_disks();
        if (!hit) break;
    }
}
END_TEST

START_TEST(every_call_fails_once) {
    fail_each_call(plans[_i].plan, plans[_i].name, KEVO_AUTHORITY_SELF);
    fail_each_call(plans[_i].plan, plans[_i].name, KEVO_AUTHORITY_EXTERNAL);
}
END_TEST

START_TEST(every_call_fails_for_good) {
    struct fault_plan plan = plans[_i].plan;
    plan.for_good = true;
    fail_each_call(plan, plans[_i].name, KEVO_AUTHORITY_SELF);
    fail_each_call(plan, plans[_i].name, KEVO_AUTHORITY_EXTERNAL);
}
END_TEST

/* ---- named cases --------------------------------------------------------------------------- */

static void put_number(kevo_store *s, unsigned i, int expected) {
    char key[16];
    snprintf(key, sizeof key, "%06u", i);
    int rc = kevo_put(s, kv_slice(key), value_of(i), &test_err);
    if (rc != expected) ck_abort_msg("put: %d instead of %d, %s", rc, expected, test_err.msg);
}

/* Until space or patience ends. Returns the first number not written. */
static unsigned put_until(kevo_store *s, unsigned from, unsigned to, int *rc) {
    *rc = 0;
    for (unsigned i = from; i < to; i++) {
        char key[16];
        snprintf(key, sizeof key, "%06u", i);
        *rc = kevo_put(s, kv_slice(key), value_of(i), &test_err);
        if (*rc) return i;
    }
    return to;
}

static unsigned count_numbers(kevo_store *s) {
    unsigned count = 0;
    kevo_iter *it = kv_iter(s, NULL);
    must(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); count++)
        must(kevo_iter_next(it, &test_err));
    kevo_iter_free(it);
    return count;
}

/* Nobody can know what the disk has after a failed sync: no more writes until a reopen has
 * looked, but reads go on. */
START_TEST(a_failed_sync_of_the_log_refuses_writes) {
    kevo_store *s = kv_open(&options);
    put_number(s, 1, 0);
    fault_env_plan(faulty, (struct fault_plan){.kinds = FAULT_SYNC, .path = ".wal", .nth = 1});
    put_number(s, 2, KEVO_IOERR);
    put_number(s, 3, KEVO_READONLY);
    ck_assert_int_eq(kevo_flush(s, &test_err), KEVO_READONLY);
    ck_assert_uint_eq(count_numbers(s), 1);
    kevo_close(s);
    s = kv_open(&options);
    unsigned found = count_numbers(s);
    ck_assert(found == 1 || found == 2);
    put_number(s, 3, 0);
    ck_assert_uint_eq(count_numbers(s), found + 1);
    kevo_close(s);
}
END_TEST

START_TEST(a_failed_sync_of_the_manifest_refuses_writes) {
    kevo_store *s = kv_open(&options);
    put_number(s, 1, 0);
    fault_env_plan(faulty, (struct fault_plan){.kinds = FAULT_SYNC, .path = "MANIFEST", .nth = 1});
    ck_assert_int_eq(kevo_flush(s, &test_err), KEVO_READONLY);
    put_number(s, 2, KEVO_READONLY);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "MANIFEST"));
    ck_assert_uint_eq(count_numbers(s), 1);
    kevo_close(s);
    s = kv_open(&options);
    ck_assert_uint_eq(count_numbers(s), 1);
    put_number(s, 2, 0);
    ck_ok(kevo_flush(s, &test_err));
    kevo_close(s);
}
END_TEST

/* Each sync fails once as disks do: what it should have saved is lost, and later ones say that
 * all is well. Nothing acknowledged may be among it. */
START_TEST(every_sync_fails_and_its_data_is_lost) {
    struct world w = {.expected = io_expected, .once = true};
    plan_rc = KEVO_IOERR;
    fault_env_plan(faulty, (struct fault_plan){.nth = 0});
    for (uint64_t n = 1;; n++) {
        crash_env_fail_sync(disk, n);
        run(&w, KEVO_AUTHORITY_SELF);
        bool hit = w.failures > 0;
        crash_env_fail_sync(disk, 0);
        struct env *image = crash_env_image(disk, CRASH_DROPPED, n);
        /* What was read after a reopen may be lost all the same: the system lied about it. */
        if (hit) w.unsure = true;
        check_on(&w, image);
        crash_env_free(image);
        check_on(&w, disk);
        if (!hit) break;
    }
}
END_TEST

/* The disk is full: writers are told so, and go on when there is room, with threads or not. */
START_TEST(a_full_disk_is_survived) {
    int rc;
    options.background = _i & 1;
    options.sync = KEVO_SYNC_OFF;
    const char *what = _i & 2 ? ".wal" : ".sst";
    kevo_store *s = kv_open(&options);
    unsigned n = put_until(s, 0, 200, &rc);
    ck_assert_int_eq(rc, 0);
    for (int round = 0; round < 3; round++) {
        fault_env_plan(faulty, (struct fault_plan){.kinds = FAULT_WRITE | FAULT_ALLOCATE,
                                                   .path = what,
                                                   .nth = 1,
                                                   .for_good = true,
                                                   .rc = KEVO_FULL,
                                                   .partial_write = true});
        n = put_until(s, n, n + 10000, &rc);
        ck_assert_int_eq(rc, KEVO_FULL);
        if (!(_i & 2)) ck_assert_int_eq(kevo_flush(s, &test_err), KEVO_FULL);
        ck_assert_uint_eq(count_numbers(s), n);
        if (!options.background) /* no litter on a full disk */
            ck_assert_uint_eq(kv_files(disk, ".sst"), kv_tables(s));
        fault_env_plan(faulty, (struct fault_plan){.nth = 0});
        n = put_until(s, n, n + 200, &rc);
        ck_assert_int_eq(rc, 0);
        ck_ok(kevo_flush(s, &test_err));
        ck_ok(kv_compact(s, &test_err));
        ck_ok(kevo_verify(s, &test_err));
        ck_assert_uint_eq(count_numbers(s), n);
    }
    kevo_close(s);
    s = kv_open(&options);
    ck_assert_uint_eq(count_numbers(s), n);
    kevo_close(s);
}
END_TEST

START_TEST(threads_that_cannot_be_started) {
    int rc;
    options.background = true;
    options.sync = KEVO_SYNC_OFF;
    fault_env_plan(
        faulty,
        (struct fault_plan){.kinds = FAULT_THREAD, .nth = 1, .for_good = true, .rc = KEVO_NOMEM});
    kevo_store *s = kv_open(&options);
    unsigned n = put_until(s, 0, 10000, &rc);
    ck_assert_int_eq(rc, KEVO_NOMEM);
    ck_assert_uint_gt(n, 10);
    ck_assert_int_eq(kevo_flush(s, &test_err), KEVO_NOMEM);
    fault_env_plan(faulty, (struct fault_plan){.nth = 0});
    n = put_until(s, n, n + 500, &rc);
    ck_assert_int_eq(rc, 0);
    ck_ok(kevo_flush(s, &test_err));
    ck_assert_uint_eq(count_numbers(s), n);
    kevo_close(s);
}
END_TEST

/* Calls that fail at random while threads work: no crash, no hang, no loss, no leak. */
START_TEST(faults_while_threads_work) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    options.background = true;
    unsigned count = 0;
    for (int round = 0; round < 15; round++) {
        struct fault_plan plan = plans[rng_below(&rng, PLANS)].plan;
        plan.nth = 1 + rng_below(&rng, 300);
        plan.for_good = rng_below(&rng, 2);
        fault_env_plan(faulty, plan);
        kevo_store *s = NULL;
        int rc = kevo_open(KV_DIR, &options, &s, &test_err);
        unsigned n = s ? put_until(s, count, count + 150, &rc) : count;
        if (s && rng_below(&rng, 2)) kevo_flush(s, &test_err);
        if (s && rng_below(&rng, 2)) kv_compact(s, &test_err);
        kevo_close(s);
        fault_env_plan(faulty, (struct fault_plan){.nth = 0});
        s = kv_open(&options);
        count = count_numbers(s);
        /* The write that failed may be there after all. */
        if (count != n && !(rc && count == n + 1)) ck_abort_msg("%u instead of %u", count, n);
        ck_ok(kevo_verify(s, &test_err));
        kevo_close(s);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_faults");
    TCase *memory = tcase_create("memory");
    tcase_add_checked_fixture(memory, memory_setup, memory_teardown);
    tcase_add_loop_test(memory, every_allocation_fails, 0, 4);
    tcase_add_loop_test(memory, every_allocation_fails_with_runs, 0, 2);
    suite_add_tcase(suite, memory);
    TCase *calls = tcase_create("calls");
    tcase_add_checked_fixture(calls, crash_setup, crash_teardown);
    tcase_add_loop_test(calls, every_call_fails_once, 0, PLANS);
    tcase_add_loop_test(calls, every_call_fails_with_runs, 0, 4);
    tcase_add_loop_test(calls, every_call_fails_for_good, 0, PLANS);
    suite_add_tcase(suite, calls);
    TCase *named = tcase_create("named");
    tcase_add_checked_fixture(named, crash_setup, crash_teardown);
    tcase_add_test(named, a_failed_sync_of_the_log_refuses_writes);
    tcase_add_test(named, a_failed_sync_of_the_manifest_refuses_writes);
    tcase_add_test(named, every_sync_fails_and_its_data_is_lost);
    tcase_add_loop_test(named, a_full_disk_is_survived, 0, 4);
    tcase_add_test(named, threads_that_cannot_be_started);
    tcase_add_loop_test(named, faults_while_threads_work, 0, 6);
    suite_add_tcase(suite, named);
    return harness_run(suite);
}
