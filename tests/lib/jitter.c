/* jitter.c - to be loaded before a test's libraries (LD_PRELOAD): background threads are held
 * up at random when they let a mutex go.
 *
 * What two threads do between their critical sections takes microseconds, and so the orders in
 * which they may come are seen once in thousands of runs. A thread that sleeps there lets the
 * others overtake it. The main thread is not slowed: it is the one that brings work.
 *
 * KEVO_JITTER_US: how long at most, 400 by default. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ONE_IN = 6 };

static int (*next_unlock)(pthread_mutex_t *);
static uint64_t max_us = 400;

static void __attribute__((constructor)) start(void) {
    const char *us = getenv("KEVO_JITTER_US");
    void *found = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
    memcpy(&next_unlock, &found, sizeof found);
    if (us && atoi(us) > 0) max_us = (uint64_t)atoi(us);
}

/* xorshift64 (Marsaglia, 2003), a sequence for each thread. */
static uint64_t draw(void) {
    static _Thread_local uint64_t x;
    if (x == 0) x = (uint64_t)(uintptr_t)&x ^ (uint64_t)time(NULL) << 32;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    if (!next_unlock) start(); /* a library's constructor came first */
    int rc = next_unlock(mutex);
    if (gettid() == getpid() || draw() % ONE_IN) return rc;
    struct timespec nap = {0, (long)(draw() % max_us) * 1000};
    nanosleep(&nap, NULL);
    return rc;
}
