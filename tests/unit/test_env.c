/* The same suite over the operating system and over files in memory. */
#include "engine/base/env.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "tests/lib/env_kinds.h"

static uint64_t size_of(struct env_file *f) {
    uint64_t size;
    ck_ok(env->size(env, f, &size, &test_err));
    return size;
}

/* ---- logs ---- */

enum { LOG_BYTES = 3 << 20, LOG_PIECE = 150 };

/* Pieces of a log from `at` on, while they fit into what is reserved. */
static uint64_t write_pieces(struct env_file *f, uint64_t begin, uint64_t end, uint8_t *copy) {
    for (; begin + LOG_PIECE <= end; begin += LOG_PIECE) {
        for (unsigned i = 0; i < LOG_PIECE; i++)
            copy[begin + i] = (uint8_t)((begin + i) * 2654435761u >> 13);
        if (env->write(env, f, begin, copy + begin, LOG_PIECE, &test_err)) ck_abort();
        env->write_soon(env, f, begin, LOG_PIECE);
    }
    return begin;
}

static void expect_log(struct env_file *f, const uint8_t *copy, uint64_t len, uint64_t size) {
    uint8_t *bytes = malloc(size + 1);
    size_t got;
    ck_ok(env->read(env, f, 0, bytes, size + 1, &got, &test_err));
    ck_assert_uint_eq(got, size);
    ck_assert_mem_eq(bytes, copy, len);
    for (uint64_t i = len; i < size; i++)
        if (bytes[i]) ck_abort_msg("byte %llu is not zero", (unsigned long long)i);
    free(bytes);
}

/* However it is written: past the end, into what is reserved, after syncs, over again, after
 * it was cut. */
START_TEST(a_log_holds_what_was_written) {
    uint8_t *copy = calloc(1, LOG_BYTES);
    set_up(_i);
    struct env_file *f = open_file("log", ENV_READ | ENV_WRITE | ENV_CREATE | ENV_LOG);
    uint64_t end = write_pieces(f, 0, 100000, copy);
    expect_log(f, copy, end, end);
    for (uint64_t reserved = 300000; reserved <= 1200000; reserved += 300000) {
        ck_ok(env->allocate(env, f, reserved, &test_err));
        end = write_pieces(f, end, reserved - 50000, copy);
        expect_log(f, copy, end, reserved);
        if (reserved == 600000) ck_ok(env->sync(env, f, &test_err));
    }
    ck_ok(env->truncate(env, f, 900000, &test_err)); /* within what is mapped, perhaps */
    expect_log(f, copy, 900000, 900000);
    end = write_pieces(f, 900000, 1000000, copy);
    expect_log(f, copy, end, end);
    ck_ok(env->allocate(env, f, LOG_BYTES, &test_err));
    end = write_pieces(f, end, LOG_BYTES, copy);
    memset(copy + 500000, 7, 1000);
    ck_ok(env->write(env, f, 500000, copy + 500000, 1000, &test_err)); /* back, and large */
    memset(copy + 1000000, 8, 1000000);
    ck_ok(env->write(env, f, 1000000, copy + 1000000, 1000000, &test_err));
    expect_log(f, copy, end, LOG_BYTES);
    const uint8_t *data;
    ck_ok(env->map(env, f, LOG_BYTES, &data, &test_err)); /* as recovery reads it */
    ck_assert_mem_eq(data, copy, end);
    env->unmap(env, data, LOG_BYTES);
    ck_ok(env->truncate(env, f, end, &test_err));
    env->close(env, f);
    f = open_file("log", ENV_READ);
    expect_log(f, copy, end, end);
    env->close(env, f);
    free(copy);
    tear_down(_i);
}
END_TEST

/* What was written is the kernel's at once, whatever becomes of the process. */
START_TEST(a_log_outlives_its_process) {
    uint8_t *copy = calloc(1, LOG_BYTES);
    set_up(POSIX);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct env_file *f = open_file("log", ENV_READ | ENV_WRITE | ENV_CREATE | ENV_LOG);
        if (env->allocate(env, f, LOG_BYTES, NULL)) _exit(1);
        write_pieces(f, 0, LOG_BYTES / 2, copy);
        kill(getpid(), SIGKILL);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    uint64_t end = LOG_BYTES / 2 / LOG_PIECE * LOG_PIECE;
    for (uint64_t i = 0; i < end; i++)
        copy[i] = (uint8_t)(i * 2654435761u >> 13);
    struct env_file *f = open_file("log", ENV_READ);
    expect_log(f, copy, end, LOG_BYTES);
    env->close(env, f);
    free(copy);
    tear_down(POSIX);
}
END_TEST

/* From here on this process cannot begin to write to a disk. */
static bool refuse_write_soon(int reason) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync_file_range, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)reason),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum { NO_FILTERS = 77 };

/* What a sync says after that, of two files, only one of which was to be written soon. */
static int sync_without(int reason) {
    struct env_file *f = create_file("some", "text"), *other = create_file("other", "text");
    if (!refuse_write_soon(reason)) return NO_FILTERS;
    env->write_soon(env, f, 0, 4);
    int first = env->sync(env, f, &test_err), again = env->sync(env, f, NULL);
    if (env->sync(env, other, NULL) || first != again) return 1;
    return first < 0 ? -first : first;
}

/* A write that the system gave up, and tells of then, was not made durable by a sync that comes
 * later. That the file has no such call, or no memory was there for it, is nothing. */
START_TEST(a_write_that_was_given_up) {
    static const struct {
        int reason, rc;
    } cases[] = {{EIO, KEVO_IOERR}, {ENOSPC, KEVO_FULL}, {ESPIPE, 0}, {ENOMEM, 0}};
    int status;
    set_up(POSIX);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) _exit(sync_without(cases[_i].reason));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    if (WEXITSTATUS(status) != NO_FILTERS) ck_assert_int_eq(WEXITSTATUS(status), -cases[_i].rc);
    tear_down(POSIX);
}
END_TEST

/* ---- open ---- */

START_TEST(open_flags) {
    static const struct {
        bool exists;
        unsigned flags;
        int rc;
        uint64_t size; /* afterwards */
    } cases[] = {
        {false, ENV_READ, KEVO_CANTOPEN, 0},
        {false, ENV_READ | ENV_WRITE, KEVO_CANTOPEN, 0},
        {false, ENV_WRITE | ENV_CREATE, 0, 0},
        {false, ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, 0, 0},
        {true, ENV_READ, 0, 5},
        {true, ENV_WRITE, 0, 5},
        {true, ENV_READ | ENV_WRITE | ENV_CREATE, 0, 5},
        {true, ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, KEVO_CANTOPEN, 5},
        {true, ENV_WRITE | ENV_TRUNCATE, 0, 0},
    };
    set_up(_i);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].exists) make_file("f", "hello");
        struct env_file *f = (struct env_file *)&test_err;
        int rc = env->open(env, at("f"), cases[i].flags, 0644, &f, &test_err);
        ck_assert_msg(rc == cases[i].rc, "case %zu: %d", i, rc);
        if (rc == KEVO_OK)
            ck_assert_uint_eq(size_of(f), cases[i].size);
        else
            ck_assert_ptr_null(f);
        env->close(env, f);
        if (env->unlink(env, at("f"), NULL) != KEVO_OK) ck_assert_int_eq(rc, KEVO_CANTOPEN);
    }
    tear_down(_i);
}
END_TEST

START_TEST(messages_name_path_and_reason) {
    set_up(_i);
    struct env_file *f;
    char want[ENV_PATH_MAX + 100];
    ck_assert_int_eq(env->open(env, at("000012.sst"), ENV_READ, 0, &f, &test_err), KEVO_CANTOPEN);
    ck_assert_int_eq(test_err.rc, KEVO_CANTOPEN);
    snprintf(want, sizeof want, "cannot open %s: No such file or directory", at("000012.sst"));
    ck_assert_str_eq(test_err.msg, want);

    ck_assert_int_eq(env->open(env, dir, ENV_READ, 0, &f, &test_err), KEVO_CANTOPEN);
    snprintf(want, sizeof want, "cannot open %s: Is a directory", dir);
    ck_assert_str_eq(test_err.msg, want);

    make_file("f", "x");
    ck_assert_int_eq(env->open(env, at("f/g"), ENV_READ, 0, &f, &test_err), KEVO_CANTOPEN);
    snprintf(want, sizeof want, "cannot open %s: Not a directory", at("f/g"));
    ck_assert_str_eq(test_err.msg, want);
    tear_down(_i);
}
END_TEST

START_TEST(long_path_keeps_its_reason) {
    set_up(_i);
    char name[1500];
    memset(name, 'n', sizeof name);
    for (size_t i = 100; i < sizeof name; i += 100)
        name[i] = '/';
    name[sizeof name - 1] = 0;
    struct env_file *f;
    ck_assert_int_eq(env->open(env, at(name), ENV_READ, 0, &f, &test_err), KEVO_CANTOPEN);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "nnn: No such file or directory"));
    tear_down(_i);
}
END_TEST

START_TEST(access_is_what_was_asked_for) {
    set_up(_i);
    make_file("f", "hello");
    struct env_file *r = open_file("f", ENV_READ), *w = open_file("f", ENV_WRITE);
    char c;
    size_t got;
    ck_assert_int_eq(env->write(env, r, 0, "x", 1, &test_err), KEVO_IOERR);
    ck_assert_int_eq(env->read(env, w, 0, &c, 1, &got, &test_err), KEVO_IOERR);
    ck_assert_uint_eq(got, 0);
    env->close(env, r);
    env->close(env, w);
    tear_down(_i);
}
END_TEST

/* ---- reading and writing ---- */

START_TEST(read_and_write) {
    set_up(_i);
    struct env_file *f = create_file("f", "hello");
    expect_bytes(f, 0, "hello", 5);
    expect_bytes(f, 3, "lo", 2);
    expect_bytes(f, 5, "", 0);
    expect_bytes(f, 500, "", 0);
    ck_ok(env->write(env, f, 8, "you", 3, &test_err));
    expect_bytes(f, 0, "hello\0\0\0you", 11);
    ck_ok(env->write(env, f, 1, "EL", 2, &test_err));
    ck_ok(env->write(env, f, 1000000, "", 0, &test_err));
    ck_ok(env->sync(env, f, &test_err));
    expect_bytes(f, 0, "hELlo\0\0\0you", 11);
    env->close(env, f);
    env->close(env, NULL);
    tear_down(_i);
}
END_TEST

START_TEST(truncate_and_allocate) {
    set_up(_i);
    struct env_file *f = create_file("f", "hello");
    ck_ok(env->truncate(env, f, 2, &test_err));
    expect_bytes(f, 0, "he", 2);
    ck_ok(env->truncate(env, f, 6, &test_err));
    expect_bytes(f, 0, "he\0\0\0\0", 6); /* what was cut off does not come back */
    ck_ok(env->allocate(env, f, 9, &test_err));
    expect_bytes(f, 0, "he\0\0\0\0\0\0\0", 9);
    ck_ok(env->allocate(env, f, 3, &test_err)); /* never shrinks */
    ck_ok(env->allocate(env, f, 0, &test_err));
    ck_assert_uint_eq(size_of(f), 9);
    ck_ok(env->write(env, f, 7, "x", 1, &test_err));
    expect_bytes(f, 0, "he\0\0\0\0\0x\0", 9);
    env->close(env, f);
    tear_down(_i);
}
END_TEST

/* Writes, truncations and reads at random against a plain array. */
START_TEST(random_file_operations) {
    enum { MOST = 3000 };
    set_up(_i);
    struct rng r = rng_of(harness_seed());
    uint8_t model[MOST] = {0}, data[500];
    uint64_t size = 0;
    struct env_file *f = create_file("f", "");
    for (int i = 0; i < 3000; i++) {
        uint64_t offset = rng_below(&r, MOST - sizeof data);
        size_t len = rng_below(&r, sizeof data);
        switch (rng_below(&r, 8)) {
        case 0:
            ck_ok(env->truncate(env, f, offset, &test_err));
            if (offset < size) memset(model + offset, 0, size - offset);
            size = offset;
            break;
        case 1:
            ck_ok(env->allocate(env, f, offset, &test_err));
            if (offset > size) size = offset;
            break;
        case 2: {
            const uint8_t *map;
            ck_ok(env->map(env, f, size, &map, &test_err));
            if (size) ck_assert_mem_eq(map, model, size);
            env->unmap(env, map, size);
            break;
        }
        default:
            for (size_t j = 0; j < len; j++)
                data[j] = (uint8_t)rng_next(&r);
            ck_ok(env->write(env, f, offset, data, len, &test_err));
            memcpy(model + offset, data, len);
            if (len && offset + len > size) size = offset + len;
        }
        expect_bytes(f, 0, model, size);
    }
    env->close(env, f);
    tear_down(_i);
}
END_TEST

START_TEST(growth_is_not_quadratic) {
    set_up(_i);
    struct env_file *f = create_file("f", "");
    char piece[64];
    memset(piece, 'p', sizeof piece);
    uint64_t begin = env->now_us(env);
    for (uint64_t i = 0; i < 200000; i++)
        ck_ok(env->write(env, f, i * sizeof piece, piece, sizeof piece, &test_err));
    ck_assert_uint_lt(env->now_us(env) - begin, 20000000);
    ck_assert_uint_eq(size_of(f), 200000 * sizeof piece);
    env->close(env, f);
    tear_down(_i);
}
END_TEST

/* ---- maps ---- */

START_TEST(map_outlives_close_and_unlink) {
    set_up(_i);
    struct env_file *f = create_file("f", "hello");
    const uint8_t *map;
    ck_ok(env->map(env, f, 5, &map, &test_err));
    env->close(env, f);
    ck_ok(env->unlink(env, at("f"), &test_err));
    env->advise(env, map, 5, true);
    env->advise(env, map + 1, 3, false);
    env->advise(env, map, 0, false);
    ck_assert_mem_eq(map, "hello", 5);
    env->unmap(env, map, 5);
    tear_down(_i);
}
END_TEST

START_TEST(map_of_nothing) {
    set_up(_i);
    struct env_file *f = create_file("f", "");
    const uint8_t *map = (const uint8_t *)"";
    ck_ok(env->map(env, f, 0, &map, &test_err));
    ck_assert_ptr_null(map);
    env->unmap(env, map, 0);
    ck_assert_int_lt(env->map(env, f, 1, &map, &test_err), 0); /* longer than the file */
    ck_assert_ptr_null(map);
    env->close(env, f);
    tear_down(_i);
}
END_TEST

START_TEST(map_stays_while_the_file_grows) {
    set_up(_i);
    struct env_file *f = create_file("f", "hello");
    const uint8_t *map, *second;
    ck_ok(env->map(env, f, 5, &map, &test_err));
    char big[5000];
    memset(big, 'b', sizeof big);
    for (uint64_t i = 0; i < 100; i++)
        ck_ok(env->write(env, f, 5 + i * sizeof big, big, sizeof big, &test_err));
    ck_assert_mem_eq(map, "hello", 5);
    ck_ok(env->map(env, f, size_of(f), &second, &test_err));
    ck_assert_mem_eq(second, "hellobbb", 8);
    env->unmap(env, map, 5);
    env->unmap(env, second, 5 + 100 * sizeof big);
    env->close(env, f);
    tear_down(_i);
}
END_TEST

START_TEST(map_of_reserved_space_reads_zeros) {
    set_up(_i);
    struct env_file *f = create_file("f", "hello");
    const uint8_t *map;
    ck_ok(env->allocate(env, f, 100000, &test_err));
    ck_ok(env->map(env, f, 100000, &map, &test_err));
    ck_assert_mem_eq(map, "hello", 5);
    for (size_t i = 5; i < 100000; i++)
        ck_assert_uint_eq(map[i], 0);
    env->unmap(env, map, 100000);
    env->close(env, f);
    tear_down(_i);
}
END_TEST

/* ---- clock, randomness, threads ---- */

START_TEST(clock_and_randomness) {
    set_up(_i);
    uint64_t begin = env->now_us(env);
    env->sleep_us(env, 20000);
    ck_assert_uint_ge(env->now_us(env) - begin, 20000);
    uint64_t ns = env->now_ns(env);
    ck_assert_uint_ge(env->now_us(env), ns / 1000);
    ck_assert_uint_ge(env->now_ns(env), ns);
    uint64_t recent = env->recent_us(env), now = env->now_us(env);
    ck_assert_uint_le(recent, now);
    ck_assert_uint_ge(recent + 20000, ns / 1000); /* measured after the one before */
    uint8_t a[1000] = {0}, b[1000] = {0};
    ck_ok(env->random(env, a, sizeof a, &test_err));
    ck_ok(env->random(env, b, sizeof b, &test_err));
    ck_assert_mem_ne(a, b, sizeof a);
    ck_assert_uint_eq(env->process_id(env), (unsigned)getpid());
    tear_down(_i);
}
END_TEST

static atomic_bool signal_blocked;

static void look_at_signals(void *arg) {
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    *(atomic_bool *)arg = sigismember(&now, SIGINT) && sigismember(&now, SIGALRM) &&
                          sigismember(&now, SIGTERM) && !sigismember(&now, SIGSEGV);
}

START_TEST(threads_run_without_signals) {
    set_up(_i);
    struct env_thread *t;
    ck_ok(env->thread_start(env, look_at_signals, &signal_blocked, &t, &test_err));
    env->thread_join(env, t);
    ck_assert(signal_blocked);
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    ck_assert(!sigismember(&now, SIGINT));
    tear_down(_i);
}
END_TEST

static _Atomic int worker_count;

static void work_on_files(void *arg) {
    (void)arg;
    char name[32], path[ENV_PATH_MAX];
    snprintf(name, sizeof name, "worker%d", atomic_fetch_add(&worker_count, 1));
    env_join(path, dir, name, NULL);
    for (int i = 0; i < 200; i++) {
        struct env_file *f = NULL;
        const uint8_t *map = NULL;
        unsigned flags = ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNCATE;
        if (env->open(env, path, flags, 0644, &f, NULL) < 0) abort();
        for (uint64_t j = 0; j < 20; j++)
            if (env->write(env, f, j * 100, name, sizeof name, NULL) < 0) abort();
        if (env->map(env, f, 1900 + sizeof name, &map, NULL) < 0) abort();
        env->close(env, f);
        if (env->unlink(env, path, NULL) < 0) abort();
        if (memcmp(map + 1900, name, sizeof name) != 0) abort();
        env->unmap(env, map, 1900 + sizeof name);
    }
}

START_TEST(threads_share_an_env) {
    set_up(_i);
    struct env_thread *t[4];
    for (int i = 0; i < 4; i++)
        ck_ok(env->thread_start(env, work_on_files, NULL, &t[i], &test_err));
    for (int i = 0; i < 4; i++)
        env->thread_join(env, t[i]);
    tear_down(_i);
}
END_TEST

/* ---- memory that runs out ---- */

static void nothing(void *arg) {
    (void)arg;
}

static int see(void *arg, const char *name) {
    unsigned *count = arg;
    *count += name[0] != 0;
    return 0;
}

static int do_everything(struct env *e) {
    struct env_file *f = NULL;
    struct env_thread *t = NULL;
    const uint8_t *map = NULL;
    char base[ENV_PATH_MAX], a[ENV_PATH_MAX], b[ENV_PATH_MAX];
    unsigned count = 0;
    env_join(base, dir, "base", NULL);
    env_join(a, base, "a", NULL);
    env_join(b, base, "b", NULL);
    unsigned flags = ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNCATE;
    int rc = e->make_dir(e, base, 0755, &test_err);
    if (rc == KEVO_OK) rc = e->open(e, a, flags, 0644, &f, &test_err);
    if (rc == KEVO_OK) rc = e->write(e, f, 10, "hello", 5, &test_err);
    if (rc == KEVO_OK) rc = e->map(e, f, 15, &map, &test_err);
    if (rc == KEVO_OK) rc = e->write(e, f, 10000, "hello", 5, &test_err);
    if (rc == KEVO_OK) rc = e->rename(e, a, b, &test_err);
    if (rc == KEVO_OK) rc = e->link(e, b, a, &test_err);
    if (rc == KEVO_OK) rc = e->list(e, base, see, &count, &test_err);
    if (rc == KEVO_OK) rc = e->thread_start(e, nothing, NULL, &t, &test_err);
    if (t) e->thread_join(e, t);
    e->unmap(e, map, 15);
    e->close(e, f);
    fault_alloc_fail_at(0, false);
    e->unlink(e, a, NULL);
    e->unlink(e, b, NULL);
    e->remove_dir(e, base, NULL);
    return rc;
}

START_TEST(every_allocation_fails) {
    for (int for_good = 0; for_good < 2; for_good++) {
        for (uint64_t n = 1;; n++) {
            set_up(_i);
            fault_alloc_fail_at(n, for_good);
            int rc = do_everything(env);
            bool hit = fault_alloc_hit();
            fault_alloc_fail_at(0, false);
            /* A map in memory does without giving the slack back. */
            if (!hit || rc != KEVO_OK || _i != MEMORY)
                ck_assert_int_eq(rc, hit ? KEVO_NOMEM : KEVO_OK);
            tear_down(_i);
            if (!hit) break;
        }
    }
}
END_TEST

START_TEST(no_memory_for_an_env) {
    fault_alloc_fail_at(1, false);
    ck_assert_ptr_null(env_memory_new());
    env_memory_free(NULL);
}
END_TEST

int main(void) {
    Suite *s = suite_create("env");
    TCase *both = tcase_create("both");
    const TTest *const tests[] = {
        a_log_holds_what_was_written,
        open_flags,
        messages_name_path_and_reason,
        long_path_keeps_its_reason,
        access_is_what_was_asked_for,
        read_and_write,
        truncate_and_allocate,
        random_file_operations,
        growth_is_not_quadratic,
        map_outlives_close_and_unlink,
        map_of_nothing,
        map_stays_while_the_file_grows,
        map_of_reserved_space_reads_zeros,
        clock_and_randomness,
        threads_run_without_signals,
        threads_share_an_env,
        every_allocation_fails,
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_loop_test(both, tests[i], 0, KINDS);
    suite_add_tcase(s, both);

    TCase *one = tcase_create("one");
    tcase_add_test(one, a_log_outlives_its_process);
    tcase_add_loop_test(one, a_write_that_was_given_up, 0, 4);
    tcase_add_test(one, no_memory_for_an_env);
    suite_add_tcase(s, one);
    return harness_run(s);
}
