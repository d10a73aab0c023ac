/* env_kinds.h - the setup of suites that run over the operating system and over files in memory: each
 * test once with _i POSIX, once with MEMORY. */
#ifndef KEVO_TESTS_ENV_KINDS_H
#define KEVO_TESTS_ENV_KINDS_H

#include <stdio.h>
#include <string.h>

#include "engine/base/env.h"
#include "tests/lib/harness.h"

enum { POSIX, MEMORY, KINDS };

static struct env *env;
static char dir[ENV_PATH_MAX];

static inline void set_up(int kind) {
    if (kind == POSIX) {
        env = env_posix();
        snprintf(dir, sizeof dir, "%s", scratch_dir());
    } else {
        env = env_memory_new();
        ck_assert_ptr_nonnull(env);
        snprintf(dir, sizeof dir, "/some");
        ck_ok(env->make_dir(env, dir, 0755, &test_err));
    }
}

static inline void tear_down(int kind) {
    if (kind == MEMORY) env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static inline const char *at(const char *name) {
    static char paths[4][ENV_PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    ck_ok(env_join(path, dir, name, &test_err));
    return path;
}

static inline struct env_file *open_file(const char *name, unsigned flags) {
    struct env_file *f;
    ck_ok(env->open(env, at(name), flags, 0644, &f, &test_err));
    return f;
}

static inline struct env_file *create_file(const char *name, const char *text) {
    struct env_file *f = open_file(name, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNCATE);
    ck_ok(env->write(env, f, 0, text, strlen(text), &test_err));
    return f;
}

static inline void make_file(const char *name, const char *text) {
    env->close(env, create_file(name, text));
}

static inline void expect_bytes(struct env_file *f, uint64_t offset, const void *want, size_t len) {
    char got_bytes[4096];
    size_t got;
    ck_assert_uint_lt(len, sizeof got_bytes);
    ck_ok(env->read(env, f, offset, got_bytes, sizeof got_bytes, &got, &test_err));
    ck_assert_uint_eq(got, len);
    ck_assert_mem_eq(got_bytes, want, len);
}

#endif
