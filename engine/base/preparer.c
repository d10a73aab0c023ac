#include "engine/base/preparer.h"

#include "engine/base/alloc.h"

void preparer_init(struct preparer *p, struct env *env) {
    *p = (struct preparer){.env = env};
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wish, NULL);
}

/* One page at a time, so that closing waits for no more. */
static void run(void *arg) {
    struct preparer *p = arg;
    pthread_mutex_lock(&p->mutex);
    while (!p->closing) {
        unsigned wanted = p->wanted;
        if (wanted == 0) {
            atomic_store_explicit(&p->is_busy, false, memory_order_relaxed);
            pthread_cond_wait(&p->wish, &p->mutex);
            continue;
        }
        p->wanted = 0;
        pthread_mutex_unlock(&p->mutex);
        bool made = mem_make_ready(wanted);
        pthread_mutex_lock(&p->mutex);
        if (made && p->wanted == 0) p->wanted = wanted;
    }
    pthread_mutex_unlock(&p->mutex);
}

void preparer_want(struct preparer *p, unsigned pages) {
    struct kevo_err ignored;
    if (!p->env || !mem_is_short(pages)) return;
    pthread_mutex_lock(&p->mutex);
    p->wanted = pages;
    if (!p->thread)
        p->env->thread_start(p->env, run, p, &p->thread, &ignored);
    else
        pthread_cond_signal(&p->wish);
    atomic_store_explicit(&p->is_busy, p->thread != NULL, memory_order_relaxed);
    pthread_mutex_unlock(&p->mutex);
}

void preparer_release(struct preparer *p) {
    if (!p->env) return;
    pthread_mutex_lock(&p->mutex);
    p->closing = true;
    pthread_cond_signal(&p->wish);
    pthread_mutex_unlock(&p->mutex);
    if (p->thread) p->env->thread_join(p->env, p->thread);
    pthread_cond_destroy(&p->wish);
    pthread_mutex_destroy(&p->mutex);
}
