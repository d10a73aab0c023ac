#include "engine/base/env.h"

#include <errno.h>
#include <stdio.h>

#include "engine/base/error.h"

int env_join(char path[ENV_PATH_MAX], const char *dir, const char *name, struct kevo_err *err) {
    size_t dir_len = strlen(dir), name_len = strlen(name);
    if (dir_len + 1 + name_len >= ENV_PATH_MAX) {
        path[0] = 0;
        return kevo_fail(err, KEVO_CANTOPEN, "the path %.100s.../%.100s is too long", dir, name);
    }
    memcpy(path, dir, dir_len);
    path[dir_len] = '/';
    memcpy(path + dir_len + 1, name, name_len + 1);
    return KEVO_OK;
}

/* The end of a path too long for a message says more than its beginning, and the
 * reason behind it most of all. */
static const char *tail_of(const char *path) {
    size_t len = strlen(path), most = 380;
    return len > most ? path + len - most : path;
}

int env_fail_file(struct kevo_err *err, const char *action, const char *path, int error) {
    int rc = KEVO_IOERR;
    switch (error) {
    case ENOSPC:
    case EDQUOT: rc = KEVO_FULL; break;
    case ENOMEM: rc = KEVO_NOMEM; break;
    }
    return kevo_fail(err, rc, "cannot %s %s: %s", action, tail_of(path), strerror(error));
}

int env_fail_path(struct kevo_err *err, const char *action, const char *path, int error) {
    switch (error) {
    case ENOENT:
    case EACCES:
    case EPERM:
    case ENOTDIR:
    case ELOOP:
    case EROFS:
    case EISDIR:
    case EEXIST:
    case ENAMETOOLONG:
        return kevo_fail(err, KEVO_CANTOPEN, "cannot %s %s: %s", action, tail_of(path),
                         strerror(error));
    }
    return env_fail_file(err, action, path, error);
}
