#include "engine/log/syncer.h"

#include <assert.h>

void syncer_init(struct syncer *s, struct env *env) {
    *s = (struct syncer){.env = env};
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->wish, NULL);
    pthread_cond_init(&s->done, NULL);
}

static void run(void *arg) {
    struct syncer *s = arg;
    pthread_mutex_lock(&s->mutex);
    while (!s->closing) {
        if (s->state != SYNCER_ASKED) {
            pthread_cond_wait(&s->wish, &s->mutex);
            continue;
        }
        s->state = SYNCER_BUSY;
        pthread_mutex_unlock(&s->mutex);
        int rc = s->env->sync(s->env, s->file, &s->err);
        if (rc) s->failed(s->arg);
        pthread_mutex_lock(&s->mutex);
        s->rc = rc;
        s->state = SYNCER_DONE;
        pthread_cond_signal(&s->done);
    }
    pthread_mutex_unlock(&s->mutex);
}

void syncer_release(struct syncer *s) {
    assert(s->state == SYNCER_IDLE);
    pthread_mutex_lock(&s->mutex);
    s->closing = true;
    pthread_cond_signal(&s->wish);
    pthread_mutex_unlock(&s->mutex);
    if (s->thread) s->env->thread_join(s->env, s->thread);
    pthread_cond_destroy(&s->wish);
    pthread_cond_destroy(&s->done);
    pthread_mutex_destroy(&s->mutex);
}

bool syncer_begin(struct syncer *s, struct env_file *file, void (*failed)(void *arg), void *arg) {
    struct kevo_err ignored;
    assert(s->state == SYNCER_IDLE);
    if (!s->thread && s->env->thread_start(s->env, run, s, &s->thread, &ignored)) return false;
    pthread_mutex_lock(&s->mutex);
    s->file = file;
    s->failed = failed;
    s->arg = arg;
    s->state = SYNCER_ASKED;
    pthread_mutex_unlock(&s->mutex);
    pthread_cond_signal(&s->wish); /* not before, or the thread would wait for the mutex */
    return true;
}

int syncer_end(struct syncer *s, struct kevo_err *err) {
    pthread_mutex_lock(&s->mutex);
    assert(s->state != SYNCER_IDLE);
    bool mine = s->state == SYNCER_ASKED; /* the thread has not got a processor yet */
    while (!mine && s->state != SYNCER_DONE)
        pthread_cond_wait(&s->done, &s->mutex);
    s->state = SYNCER_IDLE;
    pthread_mutex_unlock(&s->mutex);
    if (mine) return s->env->sync(s->env, s->file, err);
    if (s->rc && err) *err = s->err;
    return s->rc;
}
