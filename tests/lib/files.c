#include "tests/lib/files.h"

#include <stdlib.h>

#include "tests/lib/array_iter.h"

static struct env_file *open_file(struct env *env, const char *path, unsigned flags) {
    struct env_file *f;
    must(env->open(env, path, flags, 0600, &f, &test_err));
    return f;
}

struct buf files_read(struct env *env, const char *path) {
    struct env_file *f = open_file(env, path, ENV_READ);
    struct buf b = {0};
    uint64_t size;
    must(env->size(env, f, &size, &test_err));
    if (!buf_reserve(&b, size + 1)) abort();
    must(env->read(env, f, 0, b.data, size, &b.len, &test_err));
    env->close(env, f);
    return b;
}

void files_write(struct env *env, const char *path, slice bytes) {
    struct env_file *f = open_file(env, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE);
    if (bytes.len) must(env->write(env, f, 0, bytes.data, bytes.len, &test_err));
    env->close(env, f);
}

void files_flip(struct env *env, const char *path, uint64_t offset, uint8_t mask) {
    struct env_file *f = open_file(env, path, ENV_READ | ENV_WRITE);
    uint8_t byte;
    size_t got;
    must(env->read(env, f, offset, &byte, 1, &got, &test_err));
    byte ^= mask;
    must(env->write(env, f, offset, &byte, 1, &test_err));
    env->close(env, f);
}

void files_cut(struct env *env, const char *path, uint64_t size) {
    struct env_file *f = open_file(env, path, ENV_WRITE);
    must(env->truncate(env, f, size, &test_err));
    env->close(env, f);
}

uint64_t files_size(struct env *env, const char *path) {
    struct env_stat st;
    must(env->stat(env, path, &st, &test_err));
    return st.size_bytes;
}

bool files_exist(struct env *env, const char *path) {
    struct env_stat st;
    int rc = env->stat(env, path, &st, &test_err);
    ck_assert(rc == 0 || rc == KEVO_NOTFOUND);
    return rc == 0;
}
