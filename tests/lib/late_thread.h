/* late_thread.h - an env whose one thread gets to nothing until it is joined. */
#ifndef KEVO_TESTS_LATE_THREAD_H
#define KEVO_TESTS_LATE_THREAD_H

#include "engine/base/env.h"

static struct late_thread {
    void (*run)(void *arg);
    void *arg;
} late;

static inline int start_late(struct env *env, void (*run)(void *arg), void *arg,
                             struct env_thread **thread, struct kevo_err *err) {
    (void)env, (void)err;
    late = (struct late_thread){run, arg};
    *thread = (struct env_thread *)(void *)&late;
    return 0;
}

static inline void join_late(struct env *env, struct env_thread *thread) {
    (void)env, (void)thread;
    late.run(late.arg);
}

/* `below`, but for its threads. */
static inline struct env with_late_thread(const struct env *below) {
    struct env env = *below;
    env.thread_start = start_late;
    env.thread_join = join_late;
    return env;
}

#endif
