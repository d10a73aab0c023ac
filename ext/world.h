/* world.h - the files, clock and threads of the extension: those of the system, until a test
 * that links the extension in puts a simulated disk in their place, before the first
 * connection has it and only while none has a store open. */
#ifndef KEVO_EXT_WORLD_H
#define KEVO_EXT_WORLD_H

#include <sys/stat.h>

#include "engine/base/env.h"

struct world {
    struct env *env;        /* NULL: the operating system */
    bool no_threads;        /* stores do their work on the thread that waits for it */
    uint64_t clearing_rows; /* what is said of them in clearing.h; 0: the usual number */
};
extern struct world world;

static inline struct env *world_env(void) {
    return world.env ? world.env : env_posix();
}

/* As stat(), which follows symbolic links; of a test's env, device, inode and kind. */
int world_stat(const char *path, struct stat *st);

#endif
