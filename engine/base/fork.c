#include "engine/base/fork.h"

#include <pthread.h>

#include "engine/kevo.h"

_Atomic unsigned fork_count;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int watch_rc;

static void in_child(void) {
    atomic_fetch_add_explicit(&fork_count, 1, memory_order_relaxed);
}

static void watch(void) {
    watch_rc = pthread_atfork(NULL, NULL, in_child) == 0 ? 0 : KEVO_NOMEM;
}

int fork_watch(void) {
    pthread_once(&once, watch);
    return watch_rc;
}
