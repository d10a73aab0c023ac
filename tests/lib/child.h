/* child.h - a part of a test that is a process of its own. */
#ifndef KEVO_TESTS_CHILD_H
#define KEVO_TESTS_CHILD_H

#include <stdio.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/harness.h"

/* In the child, where Check's assertions mean nothing. */
#define CHILD_EXPECTS(condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s: %s\n", #condition, test_err.msg);                                 \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static inline void child_run(void (*run)(void), bool without_root) {
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        alarm(20);
        if (without_root && geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(2);
        run();
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}

/* Run in a child, which must exit by itself with status 0. */
static inline void in_child(void (*run)(void)) {
    child_run(run, false);
}

/* The same, as somebody else if this is root. */
static inline void as_somebody(void (*run)(void)) {
    child_run(run, true);
}

#endif
