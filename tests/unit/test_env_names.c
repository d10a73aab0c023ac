/* Locks, names and directories, over the operating system and over files in memory. */
#include "engine/base/env.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "tests/lib/env_kinds.h"

/* ---- locks ---- */

START_TEST(lock_is_exclusive) {
    set_up(_i);
    struct env_file *a = create_file("lock", ""), *b = open_file("lock", ENV_READ | ENV_WRITE);
    ck_ok(env->lock(env, a, false, &test_err));
    ck_ok(env->lock(env, a, false, &test_err));
    ck_assert_int_eq(env->lock(env, b, false, &test_err), KEVO_BUSY);
    ck_assert_ptr_nonnull(strstr(test_err.msg, at("lock")));
    env->close(env, open_file("lock", ENV_READ)); /* POSIX locks would be lost here */
    ck_assert_int_eq(env->lock(env, b, false, &test_err), KEVO_BUSY);
    env->close(env, a);
    ck_ok(env->lock(env, b, false, &test_err));
    env->close(env, b);
    tear_down(_i);
}
END_TEST

START_TEST(lock_is_shared) {
    set_up(_i);
    struct env_file *a = create_file("lock", ""), *b = open_file("lock", ENV_READ),
                    *c = open_file("lock", ENV_READ | ENV_WRITE);
    ck_ok(env->lock(env, a, true, &test_err));
    ck_ok(env->lock(env, b, true, &test_err));
    ck_ok(env->lock(env, b, true, &test_err));
    ck_assert_int_eq(env->lock(env, b, false, &test_err), KEVO_IOERR); /* it may only be read */
    ck_assert_int_eq(env->lock(env, c, false, &test_err), KEVO_BUSY);
    ck_assert_int_eq(env->lock(env, a, false, &test_err), KEVO_BUSY);
    env->close(env, b);
    ck_ok(env->lock(env, a, false, &test_err)); /* a's share has become the whole */
    ck_assert_int_eq(env->lock(env, c, true, &test_err), KEVO_BUSY);
    ck_ok(env->lock(env, a, true, &test_err)); /* and a share again */
    ck_ok(env->lock(env, c, true, &test_err));
    ck_assert_int_eq(env->lock(env, a, false, &test_err), KEVO_BUSY);
    env->close(env, c);
    ck_ok(env->lock(env, a, false, &test_err));
    env->close(env, a);
    tear_down(_i);
}
END_TEST

START_TEST(stat_tells_which_file_it_is) {
    set_up(_i);
    struct env_stat a, b, c;
    make_file("a", "");
    make_file("b", "");
    ck_ok(env->link(env, at("a"), at("c"), &test_err));
    ck_ok(env->stat(env, at("a"), &a, &test_err));
    ck_ok(env->stat(env, at("b"), &b, &test_err));
    ck_ok(env->stat(env, at("c"), &c, &test_err));
    ck_assert(a.device == c.device && a.inode == c.inode);
    ck_assert(a.device == b.device && a.inode != b.inode);
    if (geteuid() == 0) {
        ck_ok(env->set_owner(env, at("b"), 12345, 54321, &test_err));
        ck_ok(env->stat(env, at("b"), &b, &test_err));
        ck_assert(b.user == 12345 && b.group == 54321);
    }
    ck_assert_int_eq(env->set_owner(env, at("missing"), 0, 0, &test_err), KEVO_CANTOPEN);
    tear_down(_i);
}
END_TEST

START_TEST(forked_child_neither_keeps_nor_drops_the_lock) {
    set_up(POSIX);
    struct env_file *a = create_file("lock", "");
    ck_ok(env->lock(env, a, false, &test_err));
    int go[2];
    ck_assert_int_eq(pipe(go), 0);
    pid_t closer = fork();
    if (closer == 0) {
        env->close(env, a);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(closer, &status, 0), closer);
    struct env_file *b = open_file("lock", ENV_READ | ENV_WRITE);
    ck_assert_int_eq(env->lock(env, b, false, &test_err), KEVO_BUSY);

    pid_t keeper = fork();
    if (keeper == 0) {
        char c;
        close(go[1]);
        _exit(read(go[0], &c, 1) == 0 ? 0 : 1);
    }
    close(go[0]);
    env->close(env, a);
    ck_ok(env->lock(env, b, false, &test_err));
    close(go[1]);
    ck_assert_int_eq(waitpid(keeper, &status, 0), keeper);
    env->close(env, b);
    tear_down(POSIX);
}
END_TEST

/* ---- names ---- */

struct seen {
    char names[10][32];
    size_t count, stop_at;
};

static int see(void *arg, const char *name) {
    struct seen *s = arg;
    snprintf(s->names[s->count++], sizeof s->names[0], "%s", name);
    return s->count == s->stop_at ? 7 : 0;
}

static int by_text(const void *a, const void *b) {
    return strcmp(a, b);
}

START_TEST(list_names) {
    set_up(_i);
    struct seen s = {.count = 0};
    ck_ok(env->list(env, dir, see, &s, &test_err));
    ck_assert_uint_eq(s.count, 0);
    make_file("b", "");
    make_file("a", "");
    make_file("ab", "");
    ck_ok(env->make_dir(env, at("c"), 0755, &test_err));
    ck_ok(env->list(env, dir, see, &s, &test_err));
    ck_assert_uint_eq(s.count, 4);
    qsort(s.names, s.count, sizeof s.names[0], by_text);
    static const char *const want[] = {"a", "ab", "b", "c"};
    for (size_t i = 0; i < 4; i++)
        ck_assert_str_eq(s.names[i], want[i]);

    s = (struct seen){.stop_at = 2};
    ck_assert_int_eq(env->list(env, dir, see, &s, &test_err), 7);
    ck_assert_uint_eq(s.count, 2);
    ck_assert_int_eq(env->list(env, at("none"), see, &s, &test_err), KEVO_CANTOPEN);
    ck_assert_int_eq(env->list(env, at("a"), see, &s, &test_err), KEVO_CANTOPEN);
    tear_down(_i);
}
END_TEST

static int remove_it(void *arg, const char *name) {
    ++*(int *)arg;
    return env->unlink(env, at(name), &test_err);
}

START_TEST(list_while_removing) {
    set_up(_i);
    char name[32];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "%06d", i);
        make_file(name, "x");
    }
    int removed = 0;
    ck_ok(env->list(env, dir, remove_it, &removed, &test_err));
    ck_assert_int_eq(removed, 50);
    struct seen s = {.count = 0};
    ck_ok(env->list(env, dir, see, &s, &test_err));
    ck_assert_uint_eq(s.count, 0);
    tear_down(_i);
}
END_TEST

START_TEST(directories) {
    set_up(_i);
    struct env_stat st;
    ck_ok(env->make_dir(env, at("d"), 0750, &test_err));
    ck_assert_int_eq(env->make_dir(env, at("d"), 0750, &test_err), KEVO_CANTOPEN);
    ck_assert_int_eq(env->make_dir(env, at("x/y"), 0750, &test_err), KEVO_CANTOPEN);
    ck_ok(env->stat(env, at("d"), &st, &test_err));
    ck_assert(st.is_dir);
    ck_assert_uint_eq(st.mode, 0750);
    make_file("d/f", "hello");
    ck_ok(env->stat(env, at("d/f"), &st, &test_err));
    ck_assert(!st.is_dir);
    ck_assert_uint_eq(st.size_bytes, 5);
    ck_assert_uint_eq(st.mode, 0644);
    ck_ok(env->sync_dir(env, at("d"), &test_err));
    ck_assert_int_eq(env->sync_dir(env, at("d/f"), &test_err), KEVO_CANTOPEN);
    ck_assert_int_eq(env->sync_dir(env, at("e"), &test_err), KEVO_CANTOPEN);
    ck_assert_int_lt(env->remove_dir(env, at("d"), &test_err), 0); /* not empty */
    ck_assert_int_lt(env->unlink(env, at("d"), &test_err), 0);
    ck_assert_int_lt(env->remove_dir(env, at("d/f"), &test_err), 0);
    ck_ok(env->unlink(env, at("d/f"), &test_err));
    ck_ok(env->remove_dir(env, at("d"), &test_err));
    ck_assert_int_eq(env->stat(env, at("d"), &st, &test_err), KEVO_NOTFOUND);
    ck_assert_int_eq(env->stat(env, at("d/f"), &st, &test_err), KEVO_NOTFOUND);
    tear_down(_i);
}
END_TEST

START_TEST(rename_replaces) {
    set_up(_i);
    make_file("new", "new");
    struct env_file *old = create_file("name", "old");
    ck_ok(env->rename(env, at("new"), at("name"), &test_err));
    expect_bytes(old, 0, "old", 3); /* still there for who has it open */
    env->close(env, old);
    struct env_file *f = open_file("name", ENV_READ);
    expect_bytes(f, 0, "new", 3);
    env->close(env, f);
    ck_ok(env->rename(env, at("name"), at("name"), &test_err));
    ck_assert_int_eq(env->rename(env, at("new"), at("other"), &test_err), KEVO_CANTOPEN);
    ck_ok(env->make_dir(env, at("d"), 0755, &test_err));
    ck_ok(env->rename(env, at("name"), at("d/moved"), &test_err));
    ck_assert_int_lt(env->rename(env, at("d/moved"), at("d"), &test_err), 0);
    struct seen s = {.count = 0};
    ck_ok(env->list(env, at("d"), see, &s, &test_err));
    ck_assert_uint_eq(s.count, 1);
    ck_assert_str_eq(s.names[0], "moved");
    tear_down(_i);
}
END_TEST

START_TEST(a_file_with_two_names) {
    set_up(_i);
    make_file("one", "hello");
    ck_ok(env->make_dir(env, at("d"), 0755, &test_err));
    ck_ok(env->link(env, at("one"), at("d/two"), &test_err));
    struct env_file *f = open_file("d/two", ENV_READ | ENV_WRITE);
    expect_bytes(f, 0, "hello", 5);
    ck_assert_int_eq(env->link(env, at("one"), at("d/two"), &test_err), KEVO_CANTOPEN);
    ck_assert_int_eq(env->link(env, at("none"), at("three"), &test_err), KEVO_CANTOPEN);
    ck_assert_int_lt(env->link(env, at("d"), at("three"), &test_err), 0);
    ck_ok(env->write(env, f, 0, "J", 1, &test_err));
    env->close(env, f);
    f = open_file("one", ENV_READ);
    expect_bytes(f, 0, "Jello", 5);
    env->close(env, f);
    ck_ok(env->unlink(env, at("one"), &test_err));
    f = open_file("d/two", ENV_READ);
    expect_bytes(f, 0, "Jello", 5);
    env->close(env, f);
    tear_down(_i);
}
END_TEST

START_TEST(unlinked_file_lives_while_open) {
    set_up(_i);
    struct env_file *f = create_file("f", "hello");
    ck_ok(env->unlink(env, at("f"), &test_err));
    ck_assert_int_eq(env->unlink(env, at("f"), &test_err), KEVO_CANTOPEN);
    make_file("f", "other");
    ck_ok(env->write(env, f, 5, "!", 1, &test_err));
    expect_bytes(f, 0, "hello!", 6);
    env->close(env, f);
    f = open_file("f", ENV_READ);
    expect_bytes(f, 0, "other", 5);
    env->close(env, f);
    tear_down(_i);
}
END_TEST

START_TEST(join_paths) {
    char path[ENV_PATH_MAX], name[ENV_PATH_MAX];
    ck_ok(env_join(path, "/a", "b", &test_err));
    ck_assert_str_eq(path, "/a/b");
    memset(name, 'n', sizeof name);
    name[ENV_PATH_MAX - 4] = 0;
    ck_ok(env_join(path, "/a", name, &test_err));
    ck_assert_uint_eq(strlen(path), ENV_PATH_MAX - 1);
    name[ENV_PATH_MAX - 4] = 'n';
    name[ENV_PATH_MAX - 3] = 0;
    ck_assert_int_eq(env_join(path, "/a", name, &test_err), KEVO_CANTOPEN);
    ck_assert_str_eq(path, "");
}
END_TEST

/* ---- hostile names, standard streams ---- */

START_TEST(refuses_links_and_fifos) {
    set_up(POSIX);
    struct env_file *f;
    struct env_stat st;
    make_file("target", "x");
    ck_assert_int_eq(symlink("target", at("link")), 0);
    ck_assert_int_eq(symlink("nothing", at("dangling")), 0);
    ck_assert_int_eq(mkfifo(at("fifo"), 0644), 0);
    unsigned rw = ENV_READ | ENV_WRITE;
    ck_assert_int_eq(env->open(env, at("link"), rw, 0, &f, &test_err), KEVO_CANTOPEN);
    ck_assert_int_eq(env->open(env, at("dangling"), rw | ENV_CREATE, 0644, &f, &test_err),
                     KEVO_CANTOPEN);
    ck_assert_int_eq(env->stat(env, at("nothing"), &st, &test_err), KEVO_NOTFOUND);
    ck_assert_int_eq(env->open(env, at("fifo"), ENV_READ, 0, &f, &test_err), KEVO_CANTOPEN);
    ck_assert_int_eq(env->open(env, at("fifo"), rw, 0, &f, &test_err), KEVO_CANTOPEN);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "not a regular file"));
    tear_down(POSIX);
}
END_TEST

START_TEST(closed_standard_streams_are_not_taken) {
    set_up(POSIX);
    int kept = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    struct env_file *f = create_file("f", "hello");
    fprintf(stderr, "this must not reach the file\n");
    dup2(kept, STDERR_FILENO);
    expect_bytes(f, 0, "hello", 5);
    env->close(env, f);
    tear_down(POSIX);
}
END_TEST

START_TEST(codes_of_system_errors) {
    static const struct {
        int error, of_path, of_file;
    } cases[] = {
        {ENOENT, KEVO_CANTOPEN, KEVO_IOERR}, {EACCES, KEVO_CANTOPEN, KEVO_IOERR},
        {EPERM, KEVO_CANTOPEN, KEVO_IOERR},  {ENOTDIR, KEVO_CANTOPEN, KEVO_IOERR},
        {ELOOP, KEVO_CANTOPEN, KEVO_IOERR},  {EROFS, KEVO_CANTOPEN, KEVO_IOERR},
        {EISDIR, KEVO_CANTOPEN, KEVO_IOERR}, {ENOSPC, KEVO_FULL, KEVO_FULL},
        {EDQUOT, KEVO_FULL, KEVO_FULL},      {ENOMEM, KEVO_NOMEM, KEVO_NOMEM},
        {EIO, KEVO_IOERR, KEVO_IOERR},       {EMFILE, KEVO_IOERR, KEVO_IOERR},
    };
    ck_assert_int_eq(env_fail_path(&test_err, "open", "/a/b", cases[_i].error), cases[_i].of_path);
    ck_assert_int_eq(test_err.rc, cases[_i].of_path);
    ck_assert_int_eq(env_fail_file(&test_err, "read", "/a/b", cases[_i].error), cases[_i].of_file);
    ck_assert_int_eq(test_err.rc, cases[_i].of_file);
    ck_assert_int_eq(strncmp(test_err.msg, "cannot read /a/b: ", 18), 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("env_names");
    TCase *both = tcase_create("both");
    const TTest *const tests[] = {
        lock_is_exclusive, lock_is_shared,        stat_tells_which_file_it_is,
        list_names,        list_while_removing,   directories,
        rename_replaces,   a_file_with_two_names, unlinked_file_lives_while_open,
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_loop_test(both, tests[i], 0, KINDS);
    suite_add_tcase(s, both);

    TCase *one = tcase_create("one");
    tcase_add_test(one, join_paths);
    tcase_add_test(one, forked_child_neither_keeps_nor_drops_the_lock);
    tcase_add_test(one, refuses_links_and_fifos);
    tcase_add_test(one, closed_standard_streams_are_not_taken);
    tcase_add_loop_test(one, codes_of_system_errors, 0, 12);
    suite_add_tcase(s, one);
    return harness_run(s);
}
