#include "engine/kevo.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

/* The write path under many writers, and over the life of many log segments. */

enum { WRITERS = 8, WRITES = 60 };

static struct env *memory, *env;
static struct kevo_options options;
static kevo_store *store;

/* A clock that tests set, and a disk that takes its time. */
static _Atomic uint64_t clock_us, sync_us, longest_write, sync_calls;
static int (*memory_sync)(struct env *, struct env_file *, struct kevo_err *);
static int (*memory_write)(struct env *, struct env_file *, uint64_t, const void *, size_t,
                           struct kevo_err *);

static uint64_t set_clock(struct env *e) {
    (void)e;
    return atomic_load(&clock_us);
}

static int slow_sync(struct env *e, struct env_file *f, struct kevo_err *err) {
    atomic_fetch_add(&sync_calls, 1);
    if (atomic_load(&sync_us)) e->sleep_us(e, atomic_load(&sync_us));
    return memory_sync(e, f, err);
}

static int watched_write(struct env *e, struct env_file *f, uint64_t offset, const void *data,
                         size_t len, struct kevo_err *err) {
    if (len > atomic_load(&longest_write)) atomic_store(&longest_write, len);
    return memory_write(e, f, offset, data, len, err);
}

static void setup(void) {
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    memory_sync = memory->sync;
    memory_write = memory->write;
    memory->sync = slow_sync;
    memory->write = watched_write;
    memory->recent_us = set_clock;
    atomic_store(&clock_us, 1000000);
    atomic_store(&sync_us, 0);
    atomic_store(&longest_write, 0);
    env = fault_env_new(memory);
    options = kv_options(env);
    store = kv_open(&options);
}

static void teardown(void) {
    kevo_close(store);
    store = NULL;
    fault_env_free(env);
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void reopen(void) {
    kevo_close(store);
    store = kv_open(&options);
}

/* ---- many at once ------------------------------------------------------------------ */

struct job {
    pthread_t id;
    unsigned number;
    size_t value_bytes;
    bool batches;              /* of two rows each, every other time */
    bool done[WRITES];         /* acknowledged */
    uint64_t batch_id[WRITES]; /* where it is known */
    unsigned failures;
    int rc; /* of the last failure */
};

static struct job jobs[WRITERS];
static pthread_barrier_t start;

static slice key_of(char text[24], unsigned writer, unsigned n, char which) {
    snprintf(text, 24, "%02u-%04u%c", writer, n, which);
    return kv_slice(text);
}

static void write_once(struct job *job, unsigned n, kevo_batch **b, slice value) {
    char first[24], second[24];
    struct kevo_err err;
    slice k = key_of(first, job->number, n, 'a');
    int rc;
    if (job->batches && n % 2) {
        rc = *b ? 0 : kevo_batch_new(b, &err);
        if (rc == 0) kevo_batch_reset(*b);
        if (rc == 0) rc = kevo_batch_put(*b, k, value, &err);
        if (rc == 0) rc = kevo_batch_put(*b, key_of(second, job->number, n, 'b'), value, &err);
        if (rc == 0) rc = kevo_apply_batch(store, *b, &job->batch_id[n], &err);
    } else {
        rc = kevo_put(store, k, value, &err);
    }
    job->done[n] = rc == 0;
    if (rc == 0) return;
    job->failures++;
    job->rc = err.rc;
    if (err.rc != rc) abort();
}

static void *write_some(void *arg) {
    struct job *job = arg;
    kevo_batch *b = NULL;
    uint8_t *value = calloc(1, job->value_bytes + 1);
    if (!value) abort();
    pthread_barrier_wait(&start);
    for (unsigned n = 0; n < WRITES; n++)
        write_once(job, n, &b, slice_of(value, job->value_bytes));
    kevo_batch_free(b);
    free(value);
    return NULL;
}

static void run_writers(size_t value_bytes, bool batches) {
    pthread_barrier_init(&start, NULL, WRITERS);
    for (unsigned i = 0; i < WRITERS; i++) {
        jobs[i] = (struct job){.number = i, .value_bytes = value_bytes, .batches = batches};
        ck_assert_int_eq(pthread_create(&jobs[i].id, NULL, write_some, &jobs[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(jobs[i].id, NULL);
    pthread_barrier_destroy(&start);
}

static bool has(slice key) {
    struct kevo_value v;
    int rc = kevo_get(store, NULL, key, &v, &test_err);
    if (rc < 0) ck_abort_msg("%s", test_err.msg);
    if (rc == 0) kevo_value_release(&v);
    return rc == 0;
}

/* All that was acknowledged is there, and of the rest nothing, or, when nobody can know, all
 * of a batch or none of it. */
static void check_rows(bool unknown) {
    char text[24];
    for (unsigned i = 0; i < WRITERS; i++) {
        for (unsigned n = 0; n < WRITES; n++) {
            bool first = has(key_of(text, i, n, 'a')), second = has(key_of(text, i, n, 'b'));
            bool is_batch = jobs[i].batches && n % 2;
            if (second != (is_batch && first) || (jobs[i].done[n] && !first) ||
                (!unknown && first && !jobs[i].done[n]))
                ck_abort_msg("writer %u, write %u: %d %d", i, n, first, second);
        }
    }
}

static uint64_t acknowledged(void) {
    uint64_t count = 0;
    for (unsigned i = 0; i < WRITERS; i++)
        for (unsigned n = 0; n < WRITES; n++)
            count += jobs[i].done[n];
    return count;
}

START_TEST(writers_share_syncs) {
    options.background = _i & 1;
    options.memtable_bytes = 64 << 10; /* rotations among it */
    reopen();
    atomic_store(&sync_us, 1000);
    run_writers(100, true);
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_eq(acknowledged(), WRITERS * WRITES);
    ck_assert_uint_eq(stats.batches, WRITERS * WRITES);
    ck_assert_uint_eq(stats.puts, WRITERS * WRITES * 3 / 2);
    ck_assert_uint_eq(stats.last_batch, WRITERS * WRITES);
    ck_assert_uint_ge(stats.wal_syncs, WRITES / 2); /* by one of them all the time */
    ck_assert_uint_le(stats.wal_syncs, WRITERS * WRITES / 2);
    check_rows(false);
    ck_ok(kevo_verify(store, &test_err));
    reopen();
    check_rows(false);
}
END_TEST

/* Ids are of a batch each, given out without gaps. */
START_TEST(batches_of_a_group_keep_their_own_ids) {
    static bool seen[WRITERS * WRITES + 1];
    memset(seen, 0, sizeof seen);
    atomic_store(&sync_us, 200);
    run_writers(10, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        uint64_t before = 0;
        for (unsigned n = 1; n < WRITES; n += 2) {
            uint64_t id = jobs[i].batch_id[n];
            ck_assert(id > before && id <= WRITERS * WRITES && !seen[id]);
            seen[id] = true;
            before = id;
        }
    }
    reopen();
    ck_assert_uint_eq(kv_stats(store).recovered_batches, WRITERS * WRITES);
}
END_TEST

/* A lone writer has one sync a commit, and nobody to wait for. */
START_TEST(a_lone_writer_syncs_each_commit) {
    kv_put(store, "a", "0");
    uint64_t before = atomic_load(&sync_calls);
    for (int i = 0; i < 50; i++)
        kv_put(store, "a", "1");
    ck_assert_uint_eq(atomic_load(&sync_calls) - before, 50);
}
END_TEST

START_TEST(groups_are_bounded) {
    options.memtable_bytes = 64 << 20;
    reopen();
    atomic_store(&sync_us, 300);
    run_writers(60 << 10, false); /* small ones: not much more than two of them together */
    ck_assert_uint_eq(acknowledged(), WRITERS * WRITES);
    ck_assert_uint_le(atomic_load(&longest_write), (200 << 10) + 1000);
    ck_assert_uint_gt(atomic_load(&longest_write), 120 << 10);
    atomic_store(&longest_write, 0);
    run_writers(150 << 10, false);
    ck_assert_uint_le(atomic_load(&longest_write), (1 << 20) + 1000);
    ck_assert_uint_gt(atomic_load(&longest_write), 300 << 10);
    check_rows(false);
}
END_TEST

static const struct {
    unsigned kinds;
    bool for_good, partial;
    int rc;
} faults[] = {{FAULT_SYNC, false, false, KEVO_IOERR},
              {FAULT_WRITE, false, true, KEVO_FULL},
              {FAULT_WRITE, true, true, KEVO_FULL},
              {FAULT_ALLOCATE, false, false, KEVO_IOERR}};

/* A group whose write or sync failed: all of its writers are told, nothing of it shows. */
START_TEST(a_failure_is_that_of_all_in_the_group) {
    for (uint64_t nth = 1; nth < 30; nth += 7) {
        atomic_store(&sync_us, 100);
        ck_ok(kevo_flush(store, &test_err));
        fault_env_plan(env, (struct fault_plan){.kinds = faults[_i].kinds,
                                                .path = ".wal",
                                                .nth = faults[_i].kinds == FAULT_ALLOCATE ? 1 : nth,
                                                .rc = faults[_i].rc,
                                                .for_good = faults[_i].for_good,
                                                .partial_write = faults[_i].partial});
        run_writers(faults[_i].kinds == FAULT_ALLOCATE ? 1000 : 50, true);
        bool hit = fault_env_hit(env);
        fault_env_plan(env, (struct fault_plan){.nth = 0});
        ck_assert(hit);
        ck_assert_uint_lt(acknowledged(), WRITERS * WRITES);
        for (unsigned i = 0; i < WRITERS; i++)
            if (jobs[i].failures)
                ck_assert(jobs[i].rc == faults[_i].rc || jobs[i].rc == KEVO_READONLY);
        check_rows(false);
        reopen(); /* what was written but not synced may be there */
        check_rows(faults[_i].kinds == FAULT_SYNC);
        kv_put(store, "after", "1");
        kevo_close(store);
        ck_ok(kevo_destroy(KV_DIR, &options, &test_err));
        store = kv_open(&options);
    }
}
END_TEST

START_TEST(without_memory) {
    for (uint64_t n = 1;; n += 1 + n / 8) {
        fault_alloc_fail_at(n, n % 2);
        run_writers(200, true);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        for (unsigned i = 0; i < WRITERS; i++)
            if (jobs[i].failures) ck_assert_int_eq(jobs[i].rc, KEVO_NOMEM);
        check_rows(false);
        kv_put(store, "after", "1");
        reopen();
        check_rows(false);
        kevo_close(store);
        ck_ok(kevo_destroy(KV_DIR, &options, &test_err));
        store = kv_open(&options);
        if (!hit) break;
    }
}
END_TEST

/* Writers of batches and a transaction that is prepared do not mix. */
START_TEST(a_prepared_transaction_keeps_writers_out) {
    struct kevo_commit commit;
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "t", "1");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &commit, &test_err));
    run_writers(10, true);
    ck_assert_uint_eq(acknowledged(), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        ck_assert_int_eq(jobs[i].rc, KEVO_INVALID);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    run_writers(10, true);
    ck_assert_uint_eq(acknowledged(), WRITERS * WRITES);
    check_rows(false);
    ck_assert_str_eq(kv_get(store, NULL, "t"), "1");
}
END_TEST

/* ---- segments used again ------------------------------------------------------------- */

static void fill(unsigned from, unsigned count) {
    char key[16], value[200];
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = 0;
    for (unsigned i = from; i < from + count; i++) {
        snprintf(key, sizeof key, "k%07u", i);
        kv_put(store, key, value);
    }
}

START_TEST(segments_are_used_again) {
    options.sync = KEVO_SYNC_OFF;
    options.memtable_bytes = 64 << 10;
    reopen();
    fill(0, 2000);
    ck_ok(kevo_flush(store, &test_err));
    ck_assert_uint_ge(kv_files(env, ".spare"), 1);
    ck_assert_uint_le(kv_files(env, ".spare"), 2);
    fault_env_plan(env, (struct fault_plan){.kinds = FAULT_ALLOCATE, .path = ".wal"});
    for (unsigned i = 1; i < 30; i++) {
        fill(i * 100, 100); /* never more than there is room for */
        ck_ok(kevo_flush(store, &test_err));
    }
    ck_assert_uint_le(fault_env_calls(env), 1); /* the one that was open before may grow */
    ck_assert_uint_le(kv_files(env, ".spare"), 2);
    fill(3000, 10);
    ck_ok(kevo_verify(store, &test_err));

    struct env *killed = kv_copy(memory); /* with spares, and old records behind the end */
    ck_assert_uint_ge(kv_files(killed, ".spare"), 1);
    struct kevo_options other = options;
    other.env = killed;
    kevo_store *s = kv_open(&other);
    ck_assert_uint_eq(kv_stats(s).recovered_batches, 10);
    ck_assert_uint_eq(kv_stats(s).torn_bytes, 0);
    ck_assert_uint_eq(kevo_approximate_count(s, slice_of(NULL, 0), slice_of(NULL, 0)) > 3000, true);
    kv_put(s, "after", "1"); /* sweeps */
    ck_assert_uint_eq(kv_files(killed, ".spare"), 0);
    kevo_close(s);
    ck_ok(kevo_destroy(KV_DIR, &other, &test_err));
    env_memory_free(killed);

    kevo_close(store);
    ck_assert_uint_eq(kv_files(env, ".spare"), 0);
    store = kv_open(&options);
    ck_assert_uint_eq(kv_stats(store).recovered_batches, 10);
}
END_TEST

/* A log that one huge batch made large is not kept. */
START_TEST(a_giants_segment_is_not_kept) {
    static char giant[300000];
    memset(giant, 'g', sizeof giant - 1);
    options.memtable_bytes = 64 << 10;
    reopen();
    kv_put(store, "a", giant);
    ck_ok(kevo_flush(store, &test_err));
    ck_assert_uint_eq(kv_files(env, ".spare"), 0);
    kv_put(store, "a", "1");
    ck_ok(kevo_flush(store, &test_err));
    ck_assert_uint_eq(kv_files(env, ".spare"), 1);
}
END_TEST

START_TEST(a_small_store_has_a_small_log) {
    struct env_stat st;
    options.memtable_bytes = 32 << 20;
    reopen();
    fill(0, 10);
    ck_ok(memory->stat(memory, KV_DIR "/000001.wal", &st, &test_err));
    ck_assert_uint_le(st.size_bytes, 80 << 10);
    kevo_close(store);
    ck_ok(memory->stat(memory, KV_DIR "/000001.wal", &st, &test_err));
    ck_assert_uint_le(st.size_bytes, 10 << 10);
    store = kv_open(&options);
}
END_TEST

/* ---- age ------------------------------------------------------------------------------- */

static void at_ms(uint64_t ms) {
    atomic_store(&clock_us, 1000000 + ms * 1000);
}

START_TEST(old_memtables_are_replaced_at_the_next_write) {
    options.memtable_age_ms = 1000;
    reopen();
    at_ms(5000); /* an empty one does not age */
    kv_put(store, "a", "1");
    at_ms(5999);
    kv_put(store, "b", "1");
    ck_assert_uint_eq(kv_stats(store).immutable_count, 0);
    at_ms(6000);
    kv_put(store, "c", "1");
    ck_assert_uint_eq(kv_stats(store).immutable_count, 1);
    at_ms(6999);
    kv_put(store, "d", "1");
    ck_assert_uint_eq(kv_stats(store).immutable_count, 1);
    at_ms(8000);
    kv_delete(store, "d");
    ck_assert_uint_eq(kv_stats(store).immutable_count, 2);
    reopen(); /* counts from the opening */
    at_ms(8999);
    kv_put(store, "e", "1");
    unsigned before = kv_stats(store).immutable_count;
    at_ms(9001);
    kv_put(store, "f", "1");
    ck_assert_uint_eq(kv_stats(store).immutable_count, before + 1);
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=1 c=1 e=1 f=1");
}
END_TEST

START_TEST(a_step_replaces_old_memtables) {
    options.memtable_age_ms = 1000;
    reopen();
    at_ms(0);
    kv_put(store, "a", "1");
    ck_assert_int_eq(kevo_step(store, &test_err), KEVO_NOTFOUND);
    at_ms(1000);
    ck_ok(kevo_step(store, &test_err));
    ck_assert_uint_eq(kv_tables(store), 1);
    ck_assert_uint_eq(kv_stats(store).memtable_used_bytes, 0);
    at_ms(100000);
    ck_assert_int_eq(kevo_step(store, &test_err), KEVO_NOTFOUND);
    reopen();
    ck_assert_uint_eq(kv_stats(store).recovered_batches, 0);
}
END_TEST

START_TEST(without_a_limit_memtables_do_not_age) {
    options.memtable_age_ms = 0;
    reopen();
    kv_put(store, "a", "1");
    at_ms((uint64_t)365 * 86400000);
    ck_assert_int_eq(kevo_step(store, &test_err), KEVO_NOTFOUND);
    kv_put(store, "a", "1");
    ck_assert_uint_eq(kv_stats(store).immutable_count, 0);
}
END_TEST

START_TEST(an_authority_is_told_of_the_age) {
    struct kevo_options o = options;
    struct kevo_commit commit;
    o.authority = KEVO_AUTHORITY_EXTERNAL;
    o.memtable_age_ms = 1000;
    kevo_store *s;
    ck_ok(kevo_open("/external", &o, &s, &test_err));
    at_ms(0);
    ck_assert(!kevo_wants_rotate(s));
    kevo_txn *t = kv_txn(s);
    kv_txn_put(t, "a", "1");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &commit, &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    at_ms(999);
    ck_assert(!kevo_wants_rotate(s));
    at_ms(1000);
    ck_assert(kevo_wants_rotate(s));
    ck_assert_int_eq(kevo_step(s, &test_err), KEVO_NOTFOUND); /* not without being told */
    ck_ok(kevo_rotate(s, &test_err));
    ck_assert(!kevo_wants_rotate(s));
    ck_assert_uint_eq(kv_stats(s).immutable_count, 1);
    kevo_close(s);
}
END_TEST

/* A row now and then makes tables of one row; they do not pile up. */
START_TEST(small_tables_do_not_pile_up) {
    char key[16];
    options.memtable_age_ms = 10;
    reopen();
    for (unsigned i = 0; i < 200; i++) {
        at_ms(i * 10);
        snprintf(key, sizeof key, "%04u", i);
        kv_put(store, key, "1");
        while (kevo_step(store, &test_err) == 0) {
        }
        ck_assert_uint_lt(kv_stats(store).table_count[0], options.l0_trigger);
    }
    ck_assert_uint_gt(kv_stats(store).flushes, 150);
}
END_TEST

/* ---- stalls ------------------------------------------------------------------------------ */

START_TEST(the_longest_stall_is_told) {
    ck_assert_uint_eq(kv_stats(store).max_stall_us, 0);
    atomic_store(&sync_us, 5000);
    kv_put(store, "a", "1");
    ck_assert_uint_eq(kv_stats(store).max_stall_us, 0); /* a sync is none */
    ck_ok(kevo_rotate(store, &test_err));
    struct kevo_stats stats = kv_stats(store);
    ck_assert_uint_ge(stats.max_stall_us, 5000);
    ck_assert_uint_eq(stats.stalls, 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("writers");
    TCase *many = tcase_create("many at once");
    tcase_set_timeout(many, 120);
    tcase_add_checked_fixture(many, setup, teardown);
    tcase_add_loop_test(many, writers_share_syncs, 0, 2);
    tcase_add_test(many, batches_of_a_group_keep_their_own_ids);
    tcase_add_test(many, a_lone_writer_syncs_each_commit);
    tcase_add_test(many, groups_are_bounded);
    tcase_add_loop_test(many, a_failure_is_that_of_all_in_the_group, 0,
                        sizeof faults / sizeof faults[0]);
    tcase_add_test(many, without_memory);
    tcase_add_test(many, a_prepared_transaction_keeps_writers_out);
    suite_add_tcase(suite, many);

    TCase *segments = tcase_create("segments");
    tcase_add_checked_fixture(segments, setup, teardown);
    tcase_add_test(segments, segments_are_used_again);
    tcase_add_test(segments, a_giants_segment_is_not_kept);
    tcase_add_test(segments, a_small_store_has_a_small_log);
    suite_add_tcase(suite, segments);

    TCase *age = tcase_create("age");
    tcase_add_checked_fixture(age, setup, teardown);
    tcase_add_test(age, old_memtables_are_replaced_at_the_next_write);
    tcase_add_test(age, a_step_replaces_old_memtables);
    tcase_add_test(age, without_a_limit_memtables_do_not_age);
    tcase_add_test(age, an_authority_is_told_of_the_age);
    tcase_add_test(age, small_tables_do_not_pile_up);
    suite_add_tcase(suite, age);

    TCase *stalls = tcase_create("stalls");
    tcase_add_checked_fixture(stalls, setup, teardown);
    tcase_add_test(stalls, the_longest_stall_is_told);
    suite_add_tcase(suite, stalls);
    return harness_run(suite);
}
