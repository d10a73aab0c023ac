#include "engine/kevo.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/settle_store.h"

/* What a store does when it is left alone, and what it leaves alone. */

static unsigned runs(void) {
    struct kevo_stats stats = kv_stats(store);
    unsigned runs = stats.table_count[0];
    for (unsigned l = 1; l < KEVO_MAX_LEVELS; l++)
        runs += stats.table_count[l] > 0;
    return runs;
}

static bool in_memory(void) {
    return kv_stats(store).memtable_used_bytes >= 16 << 10;
}

/* ---- memory ------------------------------------------------------------------------- */

START_TEST(memory_is_flushed_when_it_is_time) {
    store = kv_open(&options);
    fill(0, 300, 1);
    ck_assert_uint_eq(steps(), 0);
    pass(199 * MS);
    ck_assert_uint_eq(steps(), 0);
    kv_put(store, "a", "1"); /* which counts from now on */
    pass(199 * MS);
    ck_assert_uint_eq(steps(), 0);
    pass(1 * MS);
    ck_assert_uint_ge(steps(), 2);
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_eq(stats.settled_memtables, 1);
    ck_assert_uint_eq(stats.table_entries, 301);
    ck_assert(!in_memory());
    ck_assert_uint_eq(kv_files(memory, ".wal"), 1);
    ck_assert_uint_eq(kv_files(memory, ".spare"), 0);
    ck_assert_uint_eq(steps(), 0);
}
END_TEST

START_TEST(little_stays_in_the_log) {
    store = kv_open(&options);
    fill(0, 40, 1);
    pass(60 * SECOND);
    ck_assert_uint_eq(steps(), 0);
    ck_assert_uint_eq(kv_tables(store), 0);
}
END_TEST

START_TEST(little_that_frees_much_does_not) {
    store = kv_open(&options);
    fill(0, 3000, 1);
    must(kevo_flush(store, &test_err));
    pass(2 * SECOND);
    steps();
    must(kevo_delete_range(store, kv_all, kv_all, &test_err));
    pass(2 * SECOND);
    ck_assert_uint_eq(steps(), 0);
    kevo_settle_all(store);
    ck_assert_uint_gt(steps(), 0);
    ck_assert_uint_eq(kv_stats(store).table_entries, 0);
    kv_put(store, "a", "1"); /* that was for once */
    pass(2 * SECOND);
    ck_assert_uint_eq(steps(), 0);
}
END_TEST

START_TEST(spare_segments_go) {
    options.memtable_bytes = 16 << 10;
    store = kv_open(&options);
    fill(0, 3000, 1);
    steps();
    ck_assert_uint_gt(kv_files(memory, ".spare"), 0);
    pass(200 * MS);
    steps();
    ck_assert_uint_eq(kv_files(memory, ".spare"), 0);
    fill(0, 3000, 1); /* and are not missed */
    ck_assert_uint_eq(kv_stats(store).puts, 6000);
}
END_TEST

START_TEST(it_can_be_switched_off) {
    options.settle_ms = 0;
    store = kv_open(&options);
    fill(0, 300, 1);
    must(kevo_flush(store, &test_err));
    fill(0, 300, 1);
    pass(60 * SECOND);
    ck_assert_uint_eq(steps(), 0);
    ck_assert_uint_eq(kv_stats(store).table_count[0], 1);
    ck_assert(in_memory());
}
END_TEST

START_TEST(what_is_not_decided_stays) {
    store = kv_open(&options);
    fill(0, 300, 1);
    kevo_txn *t = kv_txn(store);
    struct kevo_commit c;
    kv_txn_put(t, "a", "1");
    must(kevo_txn_prepare(t, KEVO_SYNC_OFF, &c, &test_err));
    pass(60 * SECOND);
    steps();
    ck_assert(in_memory());
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    pass(200 * MS);
    steps();
    ck_assert(!in_memory());
}
END_TEST

/* ---- an external authority ------------------------------------------------------------ */

static struct authority {
    unsigned calls;
    int rc;
} authority;

static int make_durable(void *arg, struct kevo_err *err) {
    struct authority *a = arg;
    a->calls++;
    if (a->rc && err) *err = (struct kevo_err){a->rc, "the authority's disk"};
    return a->rc;
}

static void open_external(void) {
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    authority = (struct authority){0, 0};
    store = kv_open(&options);
    must(kevo_resolve(store, (struct kevo_commit){0, 0}, &test_err));
}

static struct kevo_commit commit_rows(unsigned rows) {
    kevo_txn *t = kv_txn(store);
    struct kevo_commit c;
    for (unsigned i = 0; i < rows; i++) {
        char key[20], value[120] = "";
        snprintf(key, sizeof key, "%08u", i);
        memset(value, 'x', 110);
        kv_txn_put(t, key, value);
    }
    must(kevo_txn_prepare(t, KEVO_SYNC_OFF, &c, &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    return c;
}

START_TEST(an_authority_that_says_nothing_keeps_it) {
    open_external();
    commit_rows(300);
    pass(60 * SECOND);
    steps();
    ck_assert(in_memory());
    kevo_on_settle(store, make_durable, &authority);
    steps();
    ck_assert(!in_memory());
    ck_assert_uint_eq(authority.calls, 1);
}
END_TEST

START_TEST(an_authority_that_fails_is_asked_again_after_a_commit) {
    open_external();
    kevo_on_settle(store, make_durable, &authority);
    authority.rc = KEVO_IOERR;
    commit_rows(300);
    pass(60 * SECOND);
    steps();
    pass(60 * SECOND);
    steps();
    ck_assert_uint_eq(authority.calls, 1);
    ck_assert(in_memory());
    authority.rc = 0;
    struct kevo_commit last = commit_rows(1); /* the store goes on */
    pass(200 * MS);
    steps();
    ck_assert(!in_memory());
    must(kevo_resolve(store, last, &test_err));
}
END_TEST

START_TEST(a_full_disk_is_tried_again) {
    open_external();
    kevo_on_settle(store, make_durable, &authority);
    authority.rc = KEVO_FULL;
    commit_rows(300);
    pass(200 * MS);
    steps();
    ck_assert_uint_eq(authority.calls, 1);
    pass(SECOND);
    steps();
    ck_assert_uint_eq(authority.calls, 1); /* a second, and then as long as ever */
    pass(200 * MS);
    steps();
    ck_assert_uint_eq(authority.calls, 2);
    authority.rc = 0;
    pass(2 * SECOND);
    steps();
    ck_assert(!in_memory());
}
END_TEST

/* Tables that the manifest lacks are in the way until the next writer comes. */
START_TEST(nothing_is_asked_for_while_it_would_be_in_vain) {
    options.txn_memory_bytes = 64 << 10;
    open_external();
    kevo_on_settle(store, make_durable, &authority);
    commit_rows(300);
    kevo_txn *large = kv_txn(store);
    struct kevo_commit c;
    for (unsigned i = 0; !kevo_txn_is_large(large); i++) {
        char key[20], value[120] = "";
        snprintf(key, sizeof key, "z%08u", i);
        memset(value, 'x', 110);
        kv_txn_put(large, key, value);
    }
    must(kevo_txn_prepare(large, KEVO_SYNC_OFF, &c, &test_err));
    kevo_txn_commit(large);
    kevo_txn_unref(large);
    ck_assert(in_memory());
    for (unsigned i = 0; i < 10; i++) {
        pass(SECOND);
        steps();
    }
    ck_assert_uint_eq(authority.calls, 0);
    ck_assert(kevo_wants_rotate(store));
    must(kevo_rotate(store, &test_err));
    commit_rows(300);
    pass(SECOND);
    steps();
    ck_assert_uint_eq(authority.calls, 1);
    ck_assert(!in_memory());
}
END_TEST

/* Each call fails in turn; the store goes on and has everything. */
START_TEST(nothing_breaks_it) {
    unsigned kinds[] = {FAULT_ALL & ~FAULT_UNLINK, FAULT_CHANGES};
    for (uint64_t n = 1, hit = 1; hit; n++) {
        store = kv_open(&options);
        fill(0, 300, 1);
        pass(200 * MS);
        fault_env_plan(env, (struct fault_plan){.kinds = kinds[_i % 2],
                                                .nth = n,
                                                .for_good = _i >= 2,
                                                .rc = _i >= 2 ? KEVO_FULL : KEVO_IOERR});
        int rc;
        while ((rc = kevo_step(store, &test_err)) == 0)
            ;
        hit = fault_env_hit(env);
        fault_env_plan(env, (struct fault_plan){.kinds = 0});
        kevo_close(store);
        store = kv_open(&options);
        must(kevo_verify(store, &test_err));
        kevo_iter *it = kv_iter(store, NULL);
        unsigned found = 0;
        must(kevo_iter_first(it, &test_err));
        for (; kevo_iter_valid(it); found++)
            must(kevo_iter_next(it, &test_err));
        kevo_iter_free(it);
        ck_assert_uint_eq(found, 300);
        kevo_close(store);
        store = NULL;
        must(kevo_destroy(KV_DIR, &options, &test_err));
    }
}
END_TEST

/* ---- tables ---------------------------------------------------------------------------- */

START_TEST(tables_become_one_run) {
    store = kv_open(&options);
    for (unsigned i = 0; i < 2; i++) {
        fill(i, 250, 2);
        must(kevo_flush(store, &test_err));
    }
    fill(0, 250, 2); /* newer versions of the first ones */
    pass(200 * MS);
    steps();
    ck_assert_uint_eq(kv_stats(store).settled_memtables, 1);
    ck_assert_uint_gt(runs(), 1);
    pass(799 * MS);
    steps();
    ck_assert_uint_gt(runs(), 1); /* what was replaced just now is to be readable still */
    pass(1 * MS);
    steps();
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_eq(runs(), 1);
    ck_assert_uint_eq(stats.table_count[0], 0);
    ck_assert_uint_eq(stats.table_entries, 500); /* and what was replaced is gone */
    ck_assert_uint_ge(stats.settled_merges, 1);
    ck_assert_uint_eq(steps(), 0);
}
END_TEST

START_TEST(a_snapshot_keeps_what_it_sees) {
    store = kv_open(&options);
    fill(0, 400, 3);
    kevo_snapshot *snap = kv_snapshot(store);
    fill(0, 400, 3);
    pass(2 * SECOND);
    steps();
    ck_assert_uint_eq(kv_stats(store).table_entries, 800);
    struct kevo_read read = {.snapshot = snap};
    ck_assert_ptr_nonnull(kv_get(store, &read, "00000003"));
    kevo_snapshot_free(snap);
    steps();
    ck_assert_uint_eq(kv_stats(store).table_entries, 400);
}
END_TEST

/* The tree is a hundred times larger than what trickles in. */
START_TEST(what_is_not_worth_it_stays) {
    options.level1_bytes = 64 << 20;
    store = kv_open(&options);
    fill(0, 30000, 2);
    must(kv_compact(store, &test_err));
    uint64_t before = kv_stats(store).compact_write_bytes;
    fill(1, 300, 200);
    pass(2 * SECOND);
    steps();
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_eq(stats.settled_memtables, 1);
    ck_assert_uint_eq(stats.compact_write_bytes, before);
    ck_assert_uint_eq(stats.table_count[0], 1);
}
END_TEST

/* However long it goes on, what merges write is a bounded multiple of what came in. */
START_TEST(a_trickle_is_not_amplified_without_end) {
    options.level1_bytes = 256 << 10;
    store = kv_open(&options);
    struct rng rng = rng_of(harness_seed());
    for (unsigned round = 0; round < 400; round++) {
        for (unsigned i = 0; i < 160; i++) {
            char key[20], value[120] = "";
            snprintf(key, sizeof key, "%08u", (unsigned)rng_below(&rng, 100000000));
            memset(value, 'x', 100);
            kv_put(store, key, value);
        }
        pass(2 * SECOND);
        steps();
    }
    struct kevo_stats stats = kv_stats(store);
    double factor = (double)stats.compact_write_bytes / (double)stats.user_bytes;
    ck_assert_msg(factor < 25, "%.1f bytes for each", factor);
    ck_assert_uint_eq(stats.settled_memtables, 400);
}
END_TEST

/* What is replaced can go an hour later, bit by bit: that is no reason to write all anew each time. */
START_TEST(what_can_go_bit_by_bit_is_not_written_as_often) {
    options.retain_ms = 3600000;
    options.level1_bytes = 64 << 20;
    store = kv_open(&options);
    fill(0, 10000, 1);
    must(kv_compact(store, &test_err));
    struct kevo_stats before = kv_stats(store);
    for (unsigned minute = 0; minute < 150; minute++) {
        fill(minute * 37 % 58, 170, 58);
        for (unsigned i = 0; i < 6; i++) {
            pass(10 * SECOND);
            steps();
        }
    }
    struct kevo_stats after = kv_stats(store);
    double factor = (double)(after.compact_write_bytes - before.compact_write_bytes) /
                    (double)(after.user_bytes - before.user_bytes);
    ck_assert_msg(factor < 15, "%.1f bytes for each", factor);
}
END_TEST

/* While a merge writes, a writer comes back and fills level 0. */
static int (*plain_write)(struct env *, struct env_file *, uint64_t, const void *, size_t,
                          struct kevo_err *);
static unsigned intrusions;
static bool intruding;

static int intruding_write(struct env *e, struct env_file *f, uint64_t offset, const void *data,
                           size_t len, struct kevo_err *err) {
    while (intrusions > 0 && !intruding) {
        intruding = true;
        kv_put(store, "intruder", "1");
        must(kevo_flush(store, &test_err));
        intruding = false;
        intrusions--;
    }
    return plain_write(e, f, offset, data, len, err);
}

START_TEST(a_merge_gives_way) {
    int rc = 0;
    options.l0_slow = 6;
    options.memtable_bytes = 256 << 10;
    options.table_bytes = 128 << 10; /* it writes when a table is whole */
    store = kv_open(&options);
    fill(0, 5000, 2);
    must(kv_compact(store, &test_err));
    fill(1, 1000, 10);
    must(kevo_flush(store, &test_err));
    pass(2 * SECOND);
    plain_write = memory->write;
    memory->write = intruding_write;
    intrusions = 6;
    while (intrusions > 0 && (rc = kevo_step(store, &test_err)) == 0)
        ;
    must(rc);
    memory->write = plain_write;
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_eq(stats.settled_merges, 0);
    ck_assert_uint_ge(stats.table_count[0], 6); /* nothing of it was merged */
    steps();
    ck_assert_uint_lt(kv_stats(store).table_count[0], 4);
    ck_assert_uint_eq(kv_files(memory, ".sst"), kv_tables(store));
    must(kevo_verify(store, &test_err));
}
END_TEST

/* Damage is told to those who read it; writers go on. */
START_TEST(damage_stops_no_writer) {
    store = kv_open(&options);
    fill(0, 200, 2);
    must(kevo_flush(store, &test_err));
    fill(1, 200, 2);
    must(kevo_flush(store, &test_err));
    kevo_close(store);
    struct env_file *f;
    char path[100];
    for (unsigned n = 1; n < 20; n++) {
        snprintf(path, sizeof path, KV_DIR "/%06u.sst", n);
        if (memory->open(memory, path, ENV_READ | ENV_WRITE, 0, &f, NULL)) continue;
        must(memory->write(memory, f, 1000, "damage", 6, &test_err));
        memory->close(memory, f);
        break;
    }
    store = kv_open(&options);
    kv_put(store, "a", "1");
    pass(2 * SECOND);
    steps();
    kv_put(store, "b", "2");
    ck_assert_int_eq(kevo_verify(store, &test_err), KEVO_CORRUPT);
}
END_TEST

/* Two tables of level 0 that are merged when the store settles. */
static void make_two_tables(void) {
    for (unsigned i = 0; i < 2; i++) {
        fill(i, 200, 2);
        must(kevo_flush(store, &test_err));
    }
}

static unsigned refused;

static int full_write(struct env *e, struct env_file *f, uint64_t offset, const void *data,
                      size_t len, struct kevo_err *err) {
    (void)e, (void)f, (void)offset, (void)data, (void)len;
    refused++;
    if (err) *err = (struct kevo_err){KEVO_FULL, "the disk is full"};
    return KEVO_FULL;
}

/* A merge that fails would fill the disk whenever it is tried. */
START_TEST(a_full_disk_is_left_alone) {
    store = kv_open(&options);
    make_two_tables();
    plain_write = memory->write;
    memory->write = full_write;
    refused = 0;
    for (unsigned i = 0; i < 20; i++) {
        pass(SECOND);
        steps();
    }
    ck_assert_uint_eq(refused, 1);
    memory->write = plain_write;
    fill(0, 300, 2);
    pass(2 * SECOND);
    steps();
    ck_assert_uint_eq(runs(), 1);
}
END_TEST

/* Only what may have spoilt the manifest does: of all that is written that is one piece. */
START_TEST(an_error_in_a_merge_stops_no_writer) {
    unsigned stopped = 0;
    uint64_t n = 1;
    options.table_bytes = 16 << 10; /* several are written */
    for (bool hit = true; hit; n++) {
        store = kv_open(&options);
        make_two_tables();
        pass(2 * SECOND);
        fault_env_plan(env, (struct fault_plan){.kinds = FAULT_WRITE, .nth = n, .rc = KEVO_IOERR});
        while (kevo_step(store, &test_err) == 0)
            ;
        hit = fault_env_hit(env);
        fault_env_plan(env, (struct fault_plan){.kinds = 0});
        int rc = kevo_put(store, kv_slice("a"), kv_slice("b"), &test_err);
        stopped += rc == KEVO_READONLY;
        must(rc == KEVO_READONLY ? 0 : rc);
        must(kevo_verify(store, &test_err));
        kevo_close(store);
        store = NULL;
        must(kevo_destroy(KV_DIR, &options, &test_err));
    }
    ck_assert_uint_gt(n, 5);
    ck_assert_uint_le(stopped, 1);
}
END_TEST

/* ---- with threads ----------------------------------------------------------------------- */

static void await_runs(unsigned wanted) {
    for (unsigned n = 0; n < 20000 && (runs() != wanted || in_memory()); n++)
        memory->sleep_us(memory, 1000);
    ck_assert_uint_eq(runs(), wanted);
    ck_assert(!in_memory());
}

START_TEST(threads_do_it_and_sleep) {
    options.background = true;
    store = kv_open(&options);
    for (unsigned i = 0; i < 3; i++) {
        fill(i, 400, 3);
        must(kevo_flush(store, &test_err));
    }
    fill(0, 400, 3);
    pass(2 * SECOND);
    await_runs(1);
    memory->sleep_us(memory, 50 * MS);
    uint64_t before = atomic_load(&waits);
    memory->sleep_us(memory, 100 * MS);
    ck_assert_uint_eq(atomic_load(&waits), before); /* nothing changes: nobody wakes up */
    fill(1, 400, 3);
    pass(2 * SECOND);
    await_runs(1);
}
END_TEST

/* Tombstones in a table may go in an hour. */
START_TEST(who_waits_long_looks_seldom) {
    options.background = true;
    options.retain_ms = 3600000;
    store = kv_open(&options);
    fill(0, 200, 1);
    for (unsigned i = 0; i < 200; i++) {
        char key[20];
        snprintf(key, sizeof key, "%08u", i);
        kv_delete(store, key);
    }
    must(kevo_flush(store, &test_err));
    for (unsigned n = 0; n < 20000 && atomic_load(&waits) == 0; n++)
        memory->sleep_us(memory, 1000);
    ck_assert_uint_gt(atomic_load(&waits), 0);
    memory->sleep_us(memory, 50 * MS);
    uint64_t before = atomic_load(&waits);
    memory->sleep_us(memory, 200 * MS);
    ck_assert_uint_eq(atomic_load(&waits), before);
}
END_TEST

/* A thread that waits for the time to come does not keep the store open. */
START_TEST(closing_does_not_wait_for_it) {
    options.background = true;
    options.settle_ms = 3600000;
    store = kv_open(&options);
    fill(0, 300, 1);
    for (unsigned n = 0; n < 20000 && atomic_load(&waits) == 0; n++)
        memory->sleep_us(memory, 1000);
    ck_assert_uint_gt(atomic_load(&waits), 0);
    kevo_close(store);
    store = kv_open(&options);
    ck_assert(in_memory());
}
END_TEST

START_TEST(little_needs_no_thread) {
    options.background = true;
    fault_env_plan(env, (struct fault_plan){.kinds = FAULT_THREAD, .nth = 1});
    store = kv_open(&options);
    fill(0, 40, 1);
    pass(2 * SECOND);
    kv_put(store, "a", "1");
    ck_assert(!fault_env_hit(env));
    fill(0, 300, 1);
    ck_assert(fault_env_hit(env));
    kv_put(store, "a", "2");
    pass(2 * SECOND);
    await_runs(1); /* one that could not be started was tried again */
}
END_TEST

/* While a merge that nobody needs writes, somebody wants to compact. */
static pthread_t impatient;
static _Atomic bool began;

static void *compact_now(void *arg) {
    struct kevo_err err;
    (void)arg;
    ck_assert_int_eq(kv_compact(store, &err), 0);
    return NULL;
}

static int slow_write(struct env *e, struct env_file *f, uint64_t offset, const void *data,
                      size_t len, struct kevo_err *err) {
    if (!atomic_exchange(&began, true)) {
        ck_assert_int_eq(pthread_create(&impatient, NULL, compact_now, NULL), 0);
        memory->sleep_us(memory, 200 * MS);
    }
    return plain_write(e, f, offset, data, len, err);
}

START_TEST(a_merge_gives_way_to_who_compacts) {
    options.memtable_bytes = 1 << 20;
    options.table_bytes = 128 << 10; /* it writes when a table is whole */
    store = kv_open(&options);
    fill(0, 2000, 2);
    must(kevo_flush(store, &test_err));
    fill(1, 2000, 2);
    must(kevo_flush(store, &test_err));
    pass(2 * SECOND);
    plain_write = memory->write;
    memory->write = slow_write;
    atomic_store(&began, false);
    steps();
    ck_assert(atomic_load(&began));
    ck_assert_int_eq(pthread_join(impatient, NULL), 0);
    memory->write = plain_write;
    ck_assert_uint_eq(kv_stats(store).settled_merges, 0);
    ck_assert_uint_eq(runs(), 1);
}
END_TEST

/* The child has no thread and no store; it ends, and the parent's settles. */
START_TEST(a_child_is_not_concerned) {
    options.background = true;
    store = kv_open(&options);
    fill(0, 300, 1);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int rc = kevo_put(store, kv_slice("a"), kv_slice("1"), NULL);
        kevo_close(store);
        _exit(rc == KEVO_FORKED ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    pass(2 * SECOND);
    await_runs(1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("settle");
    TCase *mem = tcase_create("memory");
    tcase_add_checked_fixture(mem, setup, teardown);
    tcase_add_test(mem, memory_is_flushed_when_it_is_time);
    tcase_add_test(mem, little_stays_in_the_log);
    tcase_add_test(mem, little_that_frees_much_does_not);
    tcase_add_test(mem, spare_segments_go);
    tcase_add_test(mem, it_can_be_switched_off);
    tcase_add_test(mem, what_is_not_decided_stays);
    tcase_add_test(mem, an_authority_that_says_nothing_keeps_it);
    tcase_add_test(mem, an_authority_that_fails_is_asked_again_after_a_commit);
    tcase_add_test(mem, a_full_disk_is_tried_again);
    tcase_add_test(mem, nothing_is_asked_for_while_it_would_be_in_vain);
    tcase_add_loop_test(mem, nothing_breaks_it, 0, 4);
    suite_add_tcase(suite, mem);

    TCase *tables = tcase_create("tables");
    tcase_add_checked_fixture(tables, setup, teardown);
    tcase_set_timeout(tables, 120);
    tcase_add_test(tables, tables_become_one_run);
    tcase_add_test(tables, a_snapshot_keeps_what_it_sees);
    tcase_add_test(tables, what_is_not_worth_it_stays);
    tcase_add_test(tables, a_trickle_is_not_amplified_without_end);
    tcase_add_test(tables, what_can_go_bit_by_bit_is_not_written_as_often);
    tcase_add_test(tables, a_merge_gives_way);
    tcase_add_test(tables, damage_stops_no_writer);
    tcase_add_test(tables, a_full_disk_is_left_alone);
    tcase_add_test(tables, an_error_in_a_merge_stops_no_writer);
    suite_add_tcase(suite, tables);

    TCase *threads = tcase_create("threads");
    tcase_add_checked_fixture(threads, setup, teardown);
    tcase_set_timeout(threads, 60);
    tcase_add_test(threads, threads_do_it_and_sleep);
    tcase_add_test(threads, who_waits_long_looks_seldom);
    tcase_add_test(threads, closing_does_not_wait_for_it);
    tcase_add_test(threads, little_needs_no_thread);
    tcase_add_test(threads, a_merge_gives_way_to_who_compacts);
    tcase_add_test(threads, a_child_is_not_concerned);
    suite_add_tcase(suite, threads);
    return harness_run(suite);
}
