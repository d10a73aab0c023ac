/* fault_env.h - an env that passes everything on to another one, counts the calls,
 * and fails the one it was told to.
 *
 *     struct env *e = fault_env_new(env_posix());
 *     for (uint64_t n = 1;; n++) {
 *         fault_env_plan(e, (struct fault_plan){.kinds = FAULT_ALL, .nth = n});
 *         ... the workload ...
 *         if (!fault_env_hit(e)) break;
 *     }
 *
 * Threads: as the env below; the count is shared by all. */
#ifndef KEVO_TESTS_FAULT_ENV_H
#define KEVO_TESTS_FAULT_ENV_H

#include "engine/base/env.h"

/* The kinds of calls. */
enum {
    FAULT_OPEN = 1 << 0,
    FAULT_READ = 1 << 1,
    FAULT_WRITE = 1 << 2,
    FAULT_SYNC = 1 << 3,
    FAULT_TRUNCATE = 1 << 4,
    FAULT_ALLOCATE = 1 << 5,
    FAULT_SIZE = 1 << 6,
    FAULT_MAP = 1 << 7,
    FAULT_LOCK = 1 << 8,
    FAULT_MAKE_DIR = 1 << 9,
    FAULT_REMOVE_DIR = 1 << 10,
    FAULT_SYNC_DIR = 1 << 11,
    FAULT_LIST = 1 << 12,
    FAULT_RENAME = 1 << 13,
    FAULT_UNLINK = 1 << 14,
    FAULT_STAT = 1 << 15,
    FAULT_RANDOM = 1 << 16,
    FAULT_THREAD = 1 << 17,
    FAULT_LINK = 1 << 18,
    FAULT_SET_OWNER = 1 << 19,
    FAULT_ALL = (1 << 20) - 1,
    /* what changes the disk */
    FAULT_CHANGES = FAULT_WRITE | FAULT_SYNC | FAULT_TRUNCATE | FAULT_ALLOCATE | FAULT_MAKE_DIR |
                    FAULT_REMOVE_DIR | FAULT_SYNC_DIR | FAULT_RENAME | FAULT_UNLINK | FAULT_LINK |
                    FAULT_SET_OWNER
};

struct fault_plan {
    unsigned kinds;     /* calls that count, and fail */
    const char *path;   /* only those on a path that contains this; NULL: on any. Not
                           copied. Calls without a path count when it is NULL */
    uint64_t nth;       /* fail the n-th of them, 1-based; 0: none */
    bool for_good;      /* and all of them after it */
    int rc;             /* with this code; 0: KEVO_IOERR */
    bool partial_write; /* a write that fails has written half of its bytes */
};

struct env *fault_env_new(struct env *below); /* aborts when there is no memory */
void fault_env_free(struct env *env);         /* not the one below; NULL is fine */

/* Start a plan: counts begin at 0 again. */
void fault_env_plan(struct env *env, struct fault_plan plan);

/* Whether a call was failed since the plan began. */
bool fault_env_hit(struct env *env);

/* Calls counted since the plan began. */
uint64_t fault_env_calls(struct env *env);

#endif
