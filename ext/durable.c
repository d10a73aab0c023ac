#include "ext/durable.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "ext/world.h"

/* The first `len` bytes of `name`, and `suffix`; the caller frees it. */
static char *path_of(const char *name, size_t len, const char *suffix) {
    size_t suffix_len = strlen(suffix);
    char *path = mem_alloc(len + suffix_len + 1);
    if (!path) return NULL;
    memcpy(path, name, len);
    memcpy(path + len, suffix, suffix_len + 1);
    return path;
}

static bool is_missing(struct env *env, const char *path) {
    struct env_stat st;
    struct kevo_err ignored;
    return env->stat(env, path, &st, &ignored) == KEVO_NOTFOUND;
}

/* SQLite may remove it at any moment. */
static int sync_path(const char *path, struct kevo_err *err) {
    struct env *env = world_env();
    struct env_file *file = NULL;
    if (is_missing(env, path)) return 0;
    int rc = env->open(env, path, ENV_READ | ENV_WRITE, 0, &file, err);
    if (rc) return is_missing(env, path) ? 0 : rc;
    rc = env->sync(env, file, err);
    env->close(env, file);
    return rc;
}

int durable_file(const char *database, const char *suffix, struct kevo_err *err) {
    char *path = path_of(database, strlen(database), suffix);
    int rc = path ? sync_path(path, err) : kevo_nomem(err);
    mem_free(path);
    return rc;
}

int durable_directory(const char *database, struct kevo_err *err) {
    const char *slash = strrchr(database, '/');
    char *dir = slash ? path_of(database, (size_t)(slash - database) + 1, "") : path_of(".", 1, "");
    struct env *env = world_env();
    int rc = dir ? env->sync_dir(env, dir, err) : kevo_nomem(err);
    mem_free(dir);
    return rc;
}

int durable_database(const char *database, struct kevo_err *err) {
    int rc = durable_file(database, "-wal", err);
    if (rc == 0) rc = durable_file(database, "-journal", err);
    return rc ? rc : durable_directory(database, err);
}
