/* preparer.h - a thread that makes huge pages ready (alloc.h) before somebody needs them.
 *
 * It is started at the first wish that is not met already, sleeps while there is none, and lives
 * until release. A wish that cannot be met, for want of memory or of a thread, is dropped: who
 * needs a page takes one as it comes.
 *
 * Threads: preparer_want() from any thread at any time, with whatever held; inside, its own mutex
 * is the last one. */
#ifndef KEVO_BASE_PREPARER_H
#define KEVO_BASE_PREPARER_H

#include <stdatomic.h>

#include "engine/base/env.h"

struct preparer {
    struct env *env; /* NULL: there is none, and nothing is prepared */
    pthread_mutex_t mutex;
    pthread_cond_t wish;
    struct env_thread *thread; /* NULL: not started */
    unsigned wanted;           /* pages that are to lie ready, 0: nobody asked since */
    bool closing;
    _Atomic bool is_busy;
};

void preparer_init(struct preparer *p, struct env *env);
void preparer_release(struct preparer *p); /* a zeroed one as well; waits for a page at most */

/* So many pages are to lie ready, as far as mem_is_short() allows. */
void preparer_want(struct preparer *p, unsigned pages);

/* A page is being made ready, or will be as soon as the thread gets to it. From any thread at any
 * time. */
static inline bool preparer_is_busy(const struct preparer *p) {
    return atomic_load_explicit(&p->is_busy, memory_order_relaxed);
}

#endif
