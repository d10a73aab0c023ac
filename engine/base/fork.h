/* fork.h - noticing that this is a child of the process that opened a store.
 *
 * A child inherits locks, file positions and half-held mutexes, but no threads:
 * it must not touch what its parent opened. */
#ifndef KEVO_BASE_FORK_H
#define KEVO_BASE_FORK_H

#include <stdatomic.h>

extern _Atomic unsigned fork_count;

/* A number that differs after every fork(), in the child. Cheap: a plain load. */
static inline unsigned fork_generation(void) {
    return atomic_load_explicit(&fork_count, memory_order_relaxed);
}

/* Start counting; called before the first fork_generation() that is kept. Safe to
 * call again. 0, or KEVO_NOMEM. */
int fork_watch(void);

#endif
