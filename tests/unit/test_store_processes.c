/* A store and other processes: who has it, fork(), the mode of its files. */
#include "engine/kevo.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/slice.h"
#include "tests/lib/child.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

static struct kevo_options options;
static kevo_store *store;

static char posix_dir[512];

static void posix_setup(void) {
    snprintf(posix_dir, sizeof posix_dir, "%s/store", scratch_dir());
    options = kv_options(NULL);
    options.file_mode = 0640;
    umask(022);
    ck_ok(kevo_open(posix_dir, &options, &store, &test_err));
    kv_put(store, "a", "1");
}

static void posix_teardown(void) {
    kevo_close(store);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void open_again(void) {
    kevo_store *s;
    char holder[64];
    snprintf(holder, sizeof holder, "in use by process %ld", (long)getppid());
    CHILD_EXPECTS(kevo_open(posix_dir, &options, &s, &test_err) == KEVO_BUSY);
    CHILD_EXPECTS(strstr(test_err.msg, holder));
    CHILD_EXPECTS(kevo_destroy(posix_dir, &options, &test_err) == KEVO_BUSY);
}

START_TEST(another_process_is_told_who_has_the_store) {
    in_child(open_again);
    kv_put(store, "b", "2");
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=2");
}
END_TEST

static kevo_txn *parents_txn;
static kevo_iter *parents_iter;
static kevo_batch *parents_batch;
static struct kevo_value parents_value;
static kevo_snapshot *parents_snapshot;

#define CHILD_REFUSED(call) CHILD_EXPECTS((call) == KEVO_FORKED && test_err.rc == KEVO_FORKED)

static void use_parents_store(void) {
    slice a = kv_slice("a");
    struct kevo_value v;
    struct kevo_commit commit = {0, 0};
    struct kevo_stats stats;
    kevo_iter *it;
    kevo_txn *t;
    kevo_snapshot *snap;
    CHILD_REFUSED(kevo_put(store, a, a, &test_err));
    CHILD_REFUSED(kevo_delete(store, a, &test_err));
    CHILD_REFUSED(kevo_apply_batch(store, parents_batch, NULL, &test_err));
    CHILD_REFUSED(kevo_get(store, NULL, a, &v, &test_err));
    CHILD_REFUSED(kevo_iter_new(store, NULL, &it, &test_err));
    CHILD_REFUSED(kevo_txn_new(store, &t, &test_err));
    CHILD_REFUSED(kevo_txn_put(parents_txn, a, a, &test_err));
    CHILD_REFUSED(kevo_txn_delete(parents_txn, a, &test_err));
    CHILD_REFUSED(kevo_txn_prepare(parents_txn, KEVO_SYNC_OFF, &commit, &test_err));
    CHILD_REFUSED(kevo_snapshot_new(store, &snap, &test_err));
    CHILD_REFUSED(kevo_snapshot_at(store, commit, &snap, &test_err));
    CHILD_REFUSED(kevo_resolve(store, commit, &test_err));
    CHILD_REFUSED(kevo_rotate(store, &test_err));
    CHILD_REFUSED(kevo_flush(store, &test_err));
    CHILD_REFUSED(kv_compact(store, &test_err));
    CHILD_REFUSED(kevo_step(store, &test_err));
    CHILD_REFUSED(kevo_verify(store, &test_err));
    CHILD_REFUSED(kevo_iter_seek(parents_iter, a, &test_err));
    CHILD_REFUSED(kevo_iter_seek_for_prev(parents_iter, a, &test_err));
    CHILD_REFUSED(kevo_iter_first(parents_iter, &test_err));
    CHILD_REFUSED(kevo_iter_last(parents_iter, &test_err));
    CHILD_EXPECTS(!kevo_iter_valid(parents_iter));
    kevo_get_stats(store, &stats);
    CHILD_EXPECTS(stats.batches == 0);
    CHILD_EXPECTS(kevo_approximate_count(store, a, a) == 0);
    CHILD_EXPECTS(kevo_last_commit(store).batch == 0);
    CHILD_EXPECTS(!kevo_is_virgin(store) && !kevo_needs_resolve(store));
    CHILD_EXPECTS(!kevo_wants_rotate(store));
    kevo_iter_free(parents_iter);
    kevo_txn_unref(parents_txn);
    kevo_snapshot_free(parents_snapshot);
    kevo_value_release(&parents_value);
    kevo_close(store);
}

static void move_parents_iter(void) {
    CHILD_REFUSED(kevo_iter_next(parents_iter, &test_err));
    CHILD_EXPECTS(!kevo_iter_valid(parents_iter));
}

static void move_parents_iter_back(void) {
    CHILD_REFUSED(kevo_iter_prev(parents_iter, &test_err));
    CHILD_EXPECTS(!kevo_iter_valid(parents_iter));
}

START_TEST(fork_is_refused) {
    kv_put(store, "b", "2");
    ck_ok(kevo_flush(store, &test_err));
    parents_txn = kv_txn(store);
    parents_snapshot = kv_snapshot(store);
    parents_iter = kv_iter(store, NULL);
    ck_ok(kevo_batch_new(&parents_batch, &test_err));
    ck_ok(kevo_batch_put(parents_batch, kv_slice("x"), kv_slice("y"), &test_err));
    ck_ok(kevo_get(store, NULL, kv_slice("a"), &parents_value, &test_err));
    ck_ok(kevo_iter_first(parents_iter, &test_err));
    /* The tables that the parent's iterator reads become obsolete. */
    kv_put(store, "c", "3");
    ck_ok(kv_compact(store, &test_err));
    in_child(use_parents_store);
    in_child(move_parents_iter);
    in_child(move_parents_iter_back);
    ck_ok(kevo_iter_next(parents_iter, &test_err));
    ck_assert_str_eq(kv_entry(parents_iter), "b=2");
    kevo_iter_free(parents_iter);
    kevo_value_release(&parents_value);
    kevo_txn_unref(parents_txn);
    kevo_snapshot_free(parents_snapshot);
    kevo_batch_free(parents_batch);
    kv_put(store, "d", "4");
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=2 c=3 d=4");
    kevo_close(store);
    ck_ok(kevo_open(posix_dir, &options, &store, &test_err));
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=2 c=3 d=4");
}
END_TEST

/* What the child leaves of its parent's iterator must not remove the parent's tables. */
static void free_parents_iter(void) {
    kevo_iter_free(parents_iter);
}

START_TEST(a_forked_child_removes_no_table) {
    ck_ok(kevo_flush(store, &test_err));
    parents_iter = kv_iter(store, NULL); /* its table is not open yet */
    kv_delete(store, "a");
    ck_ok(kv_compact(store, &test_err));
    in_child(free_parents_iter);
    ck_ok(kevo_iter_first(parents_iter, &test_err));
    ck_assert_str_eq(kv_entry(parents_iter), "a=1");
    kevo_iter_free(parents_iter);
}
END_TEST

static void open_own_store(void) {
    char dir[600];
    kevo_store *s;
    snprintf(dir, sizeof dir, "%s.child", posix_dir);
    CHILD_EXPECTS(kevo_open(dir, &options, &s, &test_err) == 0);
    CHILD_EXPECTS(kevo_put(s, kv_slice("k"), kv_slice("v"), &test_err) == 0);
    kevo_close(s);
}

START_TEST(a_forked_child_may_open_its_own) {
    in_child(open_own_store);
}
END_TEST

static unsigned mode_of(const char *name) {
    char path[1024];
    struct stat st;
    snprintf(path, sizeof path, "%s%s", posix_dir, name);
    ck_assert_int_eq(stat(path, &st), 0);
    return st.st_mode & 07777;
}

START_TEST(files_have_the_mode_wanted) {
    kv_put(store, "b", "2");
    ck_ok(kevo_flush(store, &test_err));
    kv_put(store, "b", "3");
    ck_assert_uint_eq(mode_of(""), 0750);
    ck_assert_uint_eq(mode_of("/LOCK"), 0640);
    ck_assert_uint_eq(mode_of("/MANIFEST"), 0640);
    ck_assert_uint_eq(mode_of("/000001.sst"), 0640);
    ck_assert_uint_eq(mode_of("/000002.wal"), 0640);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_processes");
    TCase *processes = tcase_create("processes");
    tcase_add_checked_fixture(processes, posix_setup, posix_teardown);
    tcase_add_test(processes, another_process_is_told_who_has_the_store);
    tcase_add_test(processes, fork_is_refused);
    tcase_add_test(processes, a_forked_child_removes_no_table);
    tcase_add_test(processes, a_forked_child_may_open_its_own);
    tcase_add_test(processes, files_have_the_mode_wanted);
    suite_add_tcase(suite, processes);
    return harness_run(suite);
}
