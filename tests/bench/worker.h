/* worker.h - a process of its own for each side of a comparison, so that its memory and its
 * processor time are its alone. It does what it is asked, one task at a time; its parent
 * waits, and looks at its memory meanwhile, so that no thread for that disturbs it.
 *
 * Threads: one. */
#ifndef KEVO_BENCH_WORKER_H
#define KEVO_BENCH_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Of a process, less what it had when it was ready. Private memory is what no file backs;
 * resident memory has the pages of mapped files as well. */
struct worker_memory {
    uint64_t peak_resident, peak_private, private;
};

struct worker {
    pid_t pid;
    int to, from; /* the parent's ends of the pipes, or the child's own */
    uint64_t base_resident, base_private;
};

/* Start all[at]; those before it have been started. Returns true in the child, which then
 * calls worker_next() until that returns false, answers each task, and exits. */
bool worker_start(struct worker *all, unsigned at);
bool worker_next(struct worker *w, unsigned *task);
void worker_answer(struct worker *w, const void *answer, size_t size);

/* In the parent: have a task done. Exits when the process ends without an answer. */
struct worker_memory worker_ask(struct worker *w, const char *name, unsigned task, void *answer,
                                size_t size);
void worker_stop(struct worker *w, const char *name); /* waits for its end */

#endif
