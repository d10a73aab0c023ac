/* Failure classes, as in test_failure_classes.c, where the system refuses something: syncs, space,
 * descriptors. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/crash_env.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

static struct env *disk, *env; /* env: the disk, with faults on demand */
static struct kevo_options options;
static kevo_store *store;

static void setup(void) {
    disk = crash_env_new();
    env = fault_env_new(disk);
    options = kv_options(env);
    store = kv_open(&options);
}

static void teardown(void) {
    kevo_close(store);
    fault_env_free(env);
    crash_env_free(disk);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void reopen(void) {
    kevo_close(store);
    store = kv_open(&options);
}

static void flush(void) {
    ck_ok(kevo_flush(store, &test_err));
}

static void compact(void) {
    ck_ok(kv_compact(store, &test_err));
}

static void put_range(unsigned from, unsigned to) {
    for (unsigned i = from; i < to; i++)
        kv_put_number(store, i, "some value, longer than its key");
}

/* ---- refusals of the system ------------------------------------------------------------------- */

/* The kernel forgets the pages of a sync that failed: one that succeeds later proves nothing. */
START_TEST(failed_sync_is_not_retried) {
    kv_put(store, "a", "1");
    fault_env_plan(env, (struct fault_plan){.kinds = FAULT_SYNC, .path = ".wal", .nth = 1});
    ck_assert_int_eq(kevo_put(store, kv_slice("b"), kv_slice("2"), &test_err), KEVO_IOERR);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(kevo_put(store, kv_slice("c"), kv_slice("3"), &test_err), KEVO_READONLY);
        ck_assert_int_eq(kevo_rotate(store, &test_err), KEVO_READONLY);
    }
    ck_assert_uint_eq(fault_env_calls(env), 1);
    ck_assert_str_eq(kv_dump(store, NULL), "a=1");
    reopen();
    kv_put(store, "d", "4");
    ck_assert_str_eq(kv_get(store, NULL, "a"), "1");
}
END_TEST

/* From the n-th write to such a file on. */
static void fill_disk(const char *path, uint64_t nth) {
    fault_env_plan(env, (struct fault_plan){.kinds = FAULT_WRITE | FAULT_ALLOCATE,
                                            .path = path,
                                            .nth = nth,
                                            .for_good = true,
                                            .rc = KEVO_FULL,
                                            .partial_write = true});
}

static void free_disk(void) {
    ck_assert(fault_env_hit(env));
    fault_env_plan(env, (struct fault_plan){.nth = 0});
}

/* Tables of a failed attempt do not stay on a disk that is full, and all goes on when there is
 * room. */
static void expect_sound(unsigned keys) {
    ck_assert_uint_eq(kv_count(store, NULL), keys);
    ck_assert_uint_eq(kv_files(disk, ".sst"), kv_tables(store));
    kv_put_number(store, keys, "one more");
    flush();
    compact();
    ck_ok(kevo_verify(store, &test_err));
    reopen();
    ck_assert_uint_eq(kv_count(store, NULL), keys + 1);
}

START_TEST(disk_full_during_append) {
    put_range(0, 10);
    fill_disk(".wal", 1);
    int rc = kevo_put(store, kv_slice("x"), kv_slice("y"), &test_err);
    for (unsigned i = 0; rc == 0 && i < 100000; i++) /* what was preallocated is there */
        rc = kevo_put(store, kv_slice("000000"), kv_slice("y"), &test_err);
    ck_assert_int_eq(rc, KEVO_FULL);
    free_disk();
    ck_assert_ptr_null(kv_get(store, NULL, "x"));
    expect_sound(10);
}
END_TEST

START_TEST(disk_full_during_flush) {
    put_range(0, 100);
    fill_disk(".sst", 1);
    ck_assert_int_eq(kevo_flush(store, &test_err), KEVO_FULL);
    ck_assert_uint_eq(kv_count(store, NULL), 100);
    free_disk();
    expect_sound(100);
}
END_TEST

START_TEST(disk_full_during_compaction) {
    options.table_bytes = 4096; /* some tables are whole when the disk is full */
    options.compression = KEVO_COMPRESSION_NONE;
    reopen();
    put_range(0, 400);
    flush();
    put_range(200, 400);
    flush();
    int rc = KEVO_FULL;
    for (uint64_t nth = 1; rc == KEVO_FULL; nth++) {
        fill_disk(".sst", nth);
        rc = kv_compact(store, &test_err);
        ck_assert(rc == KEVO_FULL || (rc == 0 && nth > 5));
        ck_assert(rc == 0 || fault_env_hit(env));
        fault_env_plan(env, (struct fault_plan){.nth = 0});
        ck_assert_uint_eq(kv_count(store, NULL), 400);
        ck_assert_uint_eq(kv_files(disk, ".sst"), kv_tables(store));
    }
    expect_sound(400);
}
END_TEST

START_TEST(disk_full_during_manifest) {
    put_range(0, 100);
    fill_disk("MANIFEST", 1);
    int rc = kevo_flush(store, &test_err);
    ck_assert_msg(rc == KEVO_FULL || rc == KEVO_READONLY, "%d, %s", rc, test_err.msg);
    ck_assert_uint_eq(kv_count(store, NULL), 100);
    free_disk();
    if (rc == KEVO_READONLY) reopen();
    expect_sound(100);
}
END_TEST

/* ---- with the operating system ------------------------------------------------------------------ */

static const char *posix_dir;

static void posix_setup(void) {
    posix_dir = scratch_dir();
    options = kv_options(env_posix());
    ck_ok(kevo_open(posix_dir, &options, &store, &test_err));
}

static void posix_teardown(void) {
    kevo_close(store);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static unsigned open_files(void) {
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    return n;
}

/* Tables need no descriptor while they are open; when there is none left for the next file, the
 * call says so, and goes well when there are some again. */
START_TEST(too_many_open_files) {
    struct rlimit before, few;
    options.l0_trigger = 100;
    options.l0_slow = options.l0_stop = 150;
    kevo_close(store);
    ck_ok(kevo_open(posix_dir, &options, &store, &test_err));
    for (unsigned i = 0; i < 60; i++) {
        kv_put_number(store, i, "value");
        flush();
    }
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = open_files() + 4;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    unsigned found = kv_count(store, NULL);
    few.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &few);
    kv_put_number(store, 60, "value"); /* the log is open */
    int rc = kevo_flush(store, &test_err);
    setrlimit(RLIMIT_NOFILE, &before);
    ck_assert_uint_eq(found, 60);
    ck_assert_msg(rc < 0 && strstr(test_err.msg, "open files"), "%d, %s", rc, test_err.msg);
    kevo_close(store);
    ck_ok(kevo_open(posix_dir, &options, &store, &test_err));
    ck_assert_uint_eq(kv_count(store, NULL), 61);
    kv_put_number(store, 61, "value");
    flush();
    ck_assert_uint_eq(kv_count(store, NULL), 62);
}
END_TEST

START_TEST(file_handles_do_not_leak) {
    unsigned before = 0;
    for (unsigned round = 0; round < 6; round++) {
        put_range(0, 200);
        flush();
        kv_count(store, NULL);
        compact();
        ck_ok(kevo_verify(store, &test_err));
        kevo_close(store);
        ck_ok(kevo_open(posix_dir, &options, &store, &test_err));
        if (round == 0) before = open_files();
        ck_assert_uint_eq(open_files(), before);
    }
}
END_TEST

/* POSIX record locks go when any descriptor of the file is closed in the process. */
START_TEST(lock_survives_an_unrelated_close) {
    char path[4096];
    snprintf(path, sizeof path, "%s/LOCK", posix_dir);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    close(fd);
    pid_t pid = fork();
    if (pid == 0) {
        kevo_store *other;
        struct kevo_err err;
        _exit(kevo_open(posix_dir, &options, &other, &err) == KEVO_BUSY ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST
int main(void) {
    Suite *suite = suite_create("system_failures");

    TCase *refusals = tcase_create("refusals");
    tcase_add_checked_fixture(refusals, setup, teardown);
    tcase_add_test(refusals, failed_sync_is_not_retried);
    tcase_add_test(refusals, disk_full_during_append);
    tcase_add_test(refusals, disk_full_during_flush);
    tcase_add_test(refusals, disk_full_during_compaction);
    tcase_add_test(refusals, disk_full_during_manifest);
    suite_add_tcase(suite, refusals);

    TCase *system = tcase_create("system");
    tcase_add_checked_fixture(system, posix_setup, posix_teardown);
    tcase_set_timeout(system, 60);
    tcase_add_test(system, too_many_open_files);
    tcase_add_test(system, file_handles_do_not_leak);
    tcase_add_test(system, lock_survives_an_unrelated_close);
    suite_add_tcase(suite, system);

    return harness_run(suite);
}
