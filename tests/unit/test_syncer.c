/* A sync that a thread does meanwhile: by itself, of a log, and in a store. */
#include "engine/log/syncer.h"

#include <stdio.h>
#include <unistd.h>

#include "engine/store/store.h"
#include "tests/lib/crash_env.h"
#include "tests/lib/late_thread.h"
#include "tests/lib/txn_store.h"
#include "tests/lib/wal_log.h"

static struct syncer syncer;
static struct env_file *file;
static unsigned told; /* by the thread, of failures */

static void note_failure(void *count) {
    ++*(unsigned *)count;
}

static void setup_alone(void) {
    log_setup();
    ck_ok(log_fault->open(log_fault, LOG_DIR "/file", ENV_READ | ENV_WRITE | ENV_CREATE, 0600,
                          &file, &test_err));
    syncer_init(&syncer, log_fault);
}

static void teardown_alone(void) {
    syncer_release(&syncer);
    log_fault->close(log_fault, file);
    log_teardown();
}

/* ---- by itself ---------------------------------------------------------------------- */

START_TEST(one_thread_for_all) {
    enum { SYNCS = 200 };
    log_plan_fault(FAULT_THREAD | FAULT_SYNC, 0, 0, false);
    for (unsigned i = 0; i < SYNCS; i++) {
        ck_assert(syncer_begin(&syncer, file, note_failure, &told));
        if (i % 3 == 0) usleep(i % 7 * 50);
        ck_ok(syncer_end(&syncer, &test_err));
    }
    ck_assert_uint_eq(fault_env_calls(log_fault), 1 + SYNCS);
}
END_TEST

static bool is_not_done(struct syncer *s) {
    pthread_mutex_lock(&s->mutex);
    bool not_done = s->state != SYNCER_DONE;
    pthread_mutex_unlock(&s->mutex);
    return not_done;
}

/* Whoever did it; the thread tells before it is asked. */
START_TEST(failures) {
    for (unsigned i = 0; i < 20; i++) {
        log_plan_fault(FAULT_SYNC, 1, KEVO_FULL, false);
        told = 0;
        ck_assert(syncer_begin(&syncer, file, note_failure, &told));
        usleep(i * 50);
        while (i % 4 == 0 && is_not_done(&syncer))
            usleep(100);
        ck_assert_int_eq(syncer_end(&syncer, i % 2 ? &test_err : NULL), KEVO_FULL);
        ck_assert_uint_le(told, 1);
        if (i % 4 == 0) ck_assert_uint_eq(told, 1);
        told = 0;
        if (i % 2) ck_assert_ptr_nonnull(strstr(test_err.msg, LOG_DIR "/file"));
        test_err = (struct kevo_err){.rc = 0};
        ck_assert(syncer_begin(&syncer, file, note_failure, &told));
        ck_ok(syncer_end(&syncer, &test_err));
        ck_assert_uint_eq(told, 0);
    }
}
END_TEST

START_TEST(a_thread_that_cannot_be_started) {
    log_plan_fault(FAULT_THREAD | FAULT_SYNC, 1, KEVO_NOMEM, false);
    ck_assert(!syncer_begin(&syncer, file, note_failure, &told));
    ck_assert_uint_eq(fault_env_calls(log_fault), 1);
    ck_assert(syncer_begin(&syncer, file, note_failure, &told));
    ck_ok(syncer_end(&syncer, &test_err));
    ck_assert_uint_eq(fault_env_calls(log_fault), 3);
}
END_TEST

START_TEST(a_thread_without_a_processor) {
    struct env slow = with_late_thread(log_memory);
    struct syncer s;
    syncer_init(&s, &slow);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(syncer_begin(&s, file, note_failure, &told));
        log_plan_fault(FAULT_SYNC, 0, 0, false);
        s.env = log_fault; /* whoever ends it syncs */
        ck_ok(syncer_end(&s, &test_err));
        s.env = &slow;
        ck_assert_uint_eq(fault_env_calls(log_fault), 1);
    }
    syncer_release(&s);
}
END_TEST

START_TEST(released_at_any_moment) {
    for (unsigned i = 0; i < 60; i++) {
        struct syncer s;
        syncer_init(&s, log_fault);
        for (unsigned k = 0; k < i % 4; k++) {
            ck_assert(syncer_begin(&s, file, note_failure, &told));
            usleep(i * 37 % 200);
            ck_ok(syncer_end(&s, &test_err));
        }
        syncer_release(&s);
    }
}
END_TEST

/* ---- a log -------------------------------------------------------------------------- */

/* One with so much that is not synced that nobody keeps it; the next batch's number. */
static uint64_t append_many(struct wal_writer *w, uint64_t batch) {
    slice ignored;
    while (wal_unsynced(w, &ignored) || w->offset - w->synced <= WAL_RECENT_MAX)
        ck_ok(log_append(w, batch++));
    return batch;
}

static uint64_t syncs_of(struct wal_writer *w) {
    ck_ok(wal_sync(w, &test_err));
    return fault_env_calls(log_fault);
}

START_TEST(a_log_is_synced_once) {
    struct wal_writer *w = log_create(1, log_nothing);
    ck_ok(log_append(w, 1));
    log_plan_fault(FAULT_SYNC, 0, 0, false);
    wal_start_sync(w, &syncer); /* too little */
    ck_assert_ptr_null(w->syncer);
    uint64_t next = append_many(w, 2);
    wal_start_sync(w, &syncer);
    ck_assert_ptr_nonnull(w->syncer);
    wal_start_sync(w, &syncer);
    ck_assert_uint_eq(syncs_of(w), 1);
    ck_assert_uint_eq(w->synced, w->offset);
    ck_assert_uint_eq(w->offset % WAL_SECTOR, 0);
    ck_assert_uint_eq(syncs_of(w), 1);
    next = append_many(w, next);
    wal_start_sync(w, &syncer);
    ck_ok(log_append(w, next)); /* what it has is not synced by that */
    ck_assert_uint_gt(w->offset, w->synced);
    ck_assert_uint_eq(syncs_of(w), 3);
    wal_close(w);
    log_expect(1, 1, next);
}
END_TEST

/* Whatever comes instead of wal_sync() waits for it. */
START_TEST(a_log_is_changed_meanwhile) {
    struct wal_writer *w = log_create(1, log_nothing);
    uint64_t next = append_many(w, 1);
    log_plan_fault(FAULT_SYNC, 0, 0, false);
    wal_start_sync(w, &syncer);
    switch (_i) {
    case 0: wal_trim(w); break;
    case 1: ck_ok(wal_cut(w, w->offset, w->last, &test_err)); break;
    case 2: wal_drop_sync(w); break;
    default: break;
    }
    if (_i < 3) ck_assert_ptr_null(w->syncer);
    ck_assert_int_eq(syncer.state, _i < 3 ? SYNCER_IDLE : syncer.state);
    wal_close(w);
    ck_assert_int_eq(syncer.state, SYNCER_IDLE);
    log_expect(1, 1, next - 1);
}
END_TEST

/* Also where nobody asks for it. */
START_TEST(a_failed_sync_closes_the_log) {
    struct wal_writer *w = log_create(1, log_nothing);
    struct env_stat st;
    uint64_t next = append_many(w, 1);
    log_plan_fault(FAULT_SYNC, 1, 0, false);
    wal_start_sync(w, &syncer);
    switch (_i) {
    case 0: ck_assert_int_eq(wal_sync(w, &test_err), KEVO_IOERR); break;
    case 1:
        ck_assert_int_eq(log_append(w, next), KEVO_READONLY);
        ck_assert_ptr_nonnull(strstr(test_err.msg, "opened again: cannot sync " LOG_DIR));
        break;
    case 2: ck_assert_int_eq(wal_cut(w, 512, log_nothing, &test_err), KEVO_READONLY); break;
    default: wal_trim(w); break;
    }
    ck_assert(w->failed);
    ck_ok(log_memory->stat(log_memory, LOG_DIR "/000001.unsynced", &st, &test_err));
    ck_assert_int_eq(wal_sync(w, &test_err), KEVO_READONLY);
    wal_start_sync(w, &syncer);
    ck_assert_ptr_null(w->syncer);
    wal_close(w);
}
END_TEST

/* ---- a store -------------------------------------------------------------------------- */

static struct env *disk; /* `env` through faults */

static void setup_store(void) {
    setup_env();
    disk = fault_env_new(env);
    options.env = disk;
    options.background = true;
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    store = kv_open(&options);
}

static void teardown_store(void) {
    kevo_close(store);
    fault_env_free(disk);
    env_memory_free(env);
}

static void plan(unsigned kinds, const char *path, uint64_t nth) {
    fault_env_plan(disk, (struct fault_plan){.kinds = kinds, .path = path, .nth = nth});
}

/* A long batch, under `key`. */
static int prepare_long(kevo_txn **t, const char *key, struct kevo_commit last,
                        struct kevo_commit *c) {
    static const uint8_t value[2 * WAL_RECENT_MAX];
    int rc = kevo_resolve(store, last, &test_err);
    *t = kv_txn(store);
    ck_ok(kevo_txn_put(*t, slice_of_str(key), slice_of(value, sizeof value), &test_err));
    return rc ? rc : kevo_txn_prepare(*t, KEVO_SYNC_SOON, c, &test_err);
}

static int end_of_log(void) {
    struct kevo_tail tail;
    int rc = kevo_log_tail(store, 1000, true, &tail, &test_err);
    ck_assert_uint_eq(tail.bytes.len, 0);
    return rc;
}

static void commit_long(const char *key, struct kevo_commit last, struct kevo_commit *c) {
    kevo_txn *t;
    ck_ok(prepare_long(&t, key, last, c));
    ck_ok(end_of_log());
    kevo_txn_commit(t);
    kevo_txn_unref(t);
}

static bool has(const char *key) {
    struct kevo_value v;
    int rc = kevo_get(store, NULL, slice_of_str(key), &v, &test_err);
    if (rc == 0) kevo_value_release(&v);
    return rc == 0;
}

START_TEST(a_store_syncs_a_batch_once) {
    struct kevo_commit last = {0, 0};
    char key[] = "a";
    for (unsigned i = 0; i < 10; i++, key[0]++) {
        struct kevo_commit c;
        uint64_t syncs = kv_stats(store).wal_syncs;
        if (i > 0) plan(FAULT_SYNC | FAULT_THREAD, ".wal", 0);
        commit_long(key, last, &c);
        if (i > 0) ck_assert_uint_eq(fault_env_calls(disk), 1);
        ck_assert_uint_eq(kv_stats(store).wal_syncs, syncs + 1);
        last = c;
    }
    ck_assert(has("a") && has("j"));
}
END_TEST

/* What is in doubt then is cut; what was begun is waited for, or whoever closes the store does. */
START_TEST(a_batch_that_nobody_wants) {
    struct kevo_commit last, c, none = {0, 0};
    kevo_txn *t;
    commit_long("a", none, &last);
    ck_ok(prepare_long(&t, "b", last, &c));
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    if (_i == 0) return;
    commit_long("c", last, &c);
    ck_assert(has("a") && !has("b") && has("c"));
}
END_TEST

/* No marker may say that the batch is there. */
START_TEST(a_batch_that_cannot_be_synced) {
    struct kevo_commit last, c, none = {0, 0};
    kevo_txn *t;
    commit_long("a", none, &last);
    plan(FAULT_SYNC, ".wal", 1);
    ck_ok(prepare_long(&t, "b", last, &c));
    ck_assert_int_eq(_i ? end_of_log() : kevo_resolve(store, last, &test_err),
                     _i ? KEVO_IOERR : KEVO_READONLY);
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    ck_assert_int_eq(prepare_long(&t, "c", last, &c), KEVO_READONLY);
    kevo_txn_unref(t);
    ck_assert(has("a") && !has("b") && !has("c"));
}
END_TEST

static void wait_for_file(const char *name) {
    struct env_stat st;
    for (unsigned i = 0; env->stat(env, name, &st, NULL); i++) {
        ck_assert_uint_lt(i, 100000);
        usleep(100);
    }
}

/* A process that is killed before it has asked leaves the mark all the same: the system has told of
 * the failure once, and will not tell the next one. */
START_TEST(the_thread_marks_a_log_itself) {
    struct kevo_commit c, none = {0, 0};
    kevo_txn *t;
    plan(FAULT_SYNC, ".wal", 1);
    ck_ok(prepare_long(&t, "a", none, &c));
    wait_for_file(KV_DIR "/000001.unsynced");
    ck_assert(!store->wal->failed);
    ck_assert_int_eq(kevo_checkpoint(store, "/copy", &test_err), KEVO_READONLY);
    ck_assert_int_eq(end_of_log(), KEVO_READONLY);
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
}
END_TEST

/* Who wants more of a batch that is prepared gets it. */
START_TEST(prepared_again_for_good) {
    struct kevo_commit c, again, none = {0, 0};
    kevo_txn *t;
    ck_ok(kevo_resolve(store, none, &test_err));
    t = kv_txn(store);
    ck_ok(kevo_txn_put(t, slice_of_str("a"), slice_of_str("1"), &test_err));
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_SOON, &c, &test_err));
    ck_assert_uint_lt(store->wal->synced, store->wal->offset);
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_SOON, &again, &test_err));
    ck_assert_uint_lt(store->wal->synced, store->wal->offset);
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &again, &test_err));
    ck_assert_uint_eq(store->wal->synced, store->wal->offset);
    ck_assert_uint_eq(again.batch, c.batch);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
}
END_TEST

/* Or what cannot be had, as if it had been asked for at first. */
START_TEST(prepared_again_in_vain) {
    struct kevo_commit c, none = {0, 0};
    kevo_txn *t;
    ck_ok(kevo_resolve(store, none, &test_err));
    t = kv_txn(store);
    ck_ok(kevo_txn_put(t, slice_of_str("a"), slice_of_str("1"), &test_err));
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_SOON, &c, &test_err));
    plan(FAULT_SYNC, ".wal", 1);
    ck_assert_int_eq(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err), KEVO_IOERR);
    ck_assert_uint_eq(c.batch, 0);
    ck_assert_int_eq(kevo_txn_prepare(t, KEVO_SYNC_OFF, &c, &test_err), KEVO_READONLY);
    ck_assert_uint_eq(c.batch, 0);
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    ck_assert(!has("a"));
}
END_TEST

/* ---- a power loss --------------------------------------------------------------------- */

/* As a marker has it. */
struct kept {
    struct kevo_commit last;
    struct kevo_tail tail;
    uint8_t bytes[WAL_RECENT_MAX];
};

static void commit_and_keep(const char *key, size_t len, struct kept *k) {
    enum { CAPACITY = 60000 };
    static const uint8_t value[2 * WAL_RECENT_MAX];
    struct kevo_tail tail;
    ck_ok(kevo_resolve(store, k->last, &test_err));
    kevo_txn *t = kv_txn(store);
    ck_ok(kevo_txn_put(t, slice_of_str(key), slice_of(value, len), &test_err));
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_SOON, &k->last, &test_err));
    ck_ok(kevo_log_tail(store, CAPACITY, true, &tail, &test_err));
    k->tail = tail;
    k->tail.bytes = slice_of(k->bytes, tail.bytes.len);
    if (tail.bytes.len) memcpy(k->bytes, tail.bytes.data, tail.bytes.len);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
}

/* The store in what the disk could hold has what the marker says. */
static void expect_kept(struct env *image, struct kept *k, const char *key) {
    kevo_store *live = store;
    struct kevo_options o = options;
    o.env = image;
    o.background = false;
    ck_ok(kevo_open(KV_DIR, &o, &store, &test_err));
    if (kevo_lacks(store, k->last)) ck_ok(kevo_restore(store, k->last, &k->tail, &test_err));
    ck_ok(kevo_resolve(store, k->last, &test_err));
    ck_assert(has(key));
    kevo_close(store);
    store = live;
}

/* What kevo_log_tail() has said is durable is, or is in the tail. */
START_TEST(a_power_loss_after_each_batch) {
    static struct kept k;
    struct env *crash = crash_env_new();
    char key[20];
    options = kv_options(crash);
    options.background = true;
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    store = kv_open(&options);
    for (unsigned i = 0; i < 60; i++) {
        snprintf(key, sizeof key, "%05u", i);
        commit_and_keep(key, i % 3 == 1 ? 100 : 2 * WAL_RECENT_MAX - i % 7 * 1000, &k);
        struct env *image = crash_env_image(crash, (enum crash_mode)(i % CRASH_MODES), i);
        expect_kept(image, &k, key);
        crash_env_free(image);
    }
    kevo_close(store);
    crash_env_free(crash);
}
END_TEST

/* Without threads, or where none can be had, the disk begins with it all the same. */
START_TEST(a_store_without_the_thread) {
    struct kevo_commit last, none = {0, 0};
    plan(FAULT_THREAD, NULL, 1);
    if (_i) {
        kevo_close(store);
        options.background = false;
        store = kv_open(&options);
    }
    commit_long("a", none, &last);
    ck_assert(has("a"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("syncer");
    TCase *alone = tcase_create("alone"), *stores = tcase_create("stores"),
          *power = tcase_create("power loss");
    tcase_add_checked_fixture(alone, setup_alone, teardown_alone);
    tcase_add_test(alone, one_thread_for_all);
    tcase_add_test(alone, failures);
    tcase_add_test(alone, a_thread_that_cannot_be_started);
    tcase_add_test(alone, a_thread_without_a_processor);
    tcase_add_test(alone, released_at_any_moment);
    tcase_add_test(alone, a_log_is_synced_once);
    tcase_add_loop_test(alone, a_log_is_changed_meanwhile, 0, 4);
    tcase_add_loop_test(alone, a_failed_sync_closes_the_log, 0, 4);
    suite_add_tcase(suite, alone);
    tcase_add_checked_fixture(stores, setup_store, teardown_store);
    tcase_add_test(stores, a_store_syncs_a_batch_once);
    tcase_add_loop_test(stores, a_batch_that_nobody_wants, 0, 2);
    tcase_add_loop_test(stores, a_batch_that_cannot_be_synced, 0, 2);
    tcase_add_loop_test(stores, a_store_without_the_thread, 0, 2);
    tcase_add_test(stores, the_thread_marks_a_log_itself);
    tcase_add_test(stores, prepared_again_for_good);
    tcase_add_test(stores, prepared_again_in_vain);
    suite_add_tcase(suite, stores);
    tcase_add_test(power, a_power_loss_after_each_batch);
    suite_add_tcase(suite, power);
    return harness_run(suite);
}
