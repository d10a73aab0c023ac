/* syncer.h - a thread that syncs a file while its owner does something else.
 *
 * A sync is time that the disk takes, not the processor: whoever has something to do before it must
 * have succeeded begins it here and waits for it later. The thread is started with the first sync,
 * sleeps between them, and lives until release. Where it cannot be started the owner syncs.
 *
 * States: idle; asked, from syncer_begin() until the thread comes to it; busy; done. Only
 * syncer_end() makes it idle again: one that nobody has taken up by then it does itself.
 *
 * Threads: syncer_begin() and syncer_end() by one at a time; the file stays open, and nobody else
 * syncs it, in between. Inside, its own mutex is the last one. */
#ifndef KEVO_LOG_SYNCER_H
#define KEVO_LOG_SYNCER_H

#include "engine/base/env.h"

struct syncer {
    struct env *env;
    pthread_mutex_t mutex;
    pthread_cond_t wish, done;
    struct env_thread *thread; /* NULL: not started */
    struct env_file *file;     /* of the sync that was begun, */
    void (*failed)(void *arg); /* ... and what was said with it */
    void *arg;
    enum syncer_state { SYNCER_IDLE, SYNCER_ASKED, SYNCER_BUSY, SYNCER_DONE } state;
    int rc; /* of the one that is done, with: */
    struct kevo_err err;
    bool closing;
};

void syncer_init(struct syncer *s, struct env *env);
void syncer_release(struct syncer *s); /* an idle one */

/* Begin to sync the file. Where that fails on the thread it calls failed(arg) at once, before anybody
 * has asked. False: there is no thread for it, and nothing was begun. */
bool syncer_begin(struct syncer *s, struct env_file *file, void (*failed)(void *arg), void *arg);

/* Wait for the sync that was begun; what env->sync() said of it. */
int syncer_end(struct syncer *s, struct kevo_err *err);

#endif
