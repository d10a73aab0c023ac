#include "ext/sharers.h"

#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct session *sharers;

void sharers_add(struct session *s) {
    pthread_mutex_lock(&mutex);
    s->next_sharer = sharers;
    sharers = s;
    s->shares = true;
    pthread_mutex_unlock(&mutex);
}

void sharers_remove(struct session *s) {
    if (!s->shares) return;
    pthread_mutex_lock(&mutex);
    struct session **p = &sharers;
    while (*p != s)
        p = &(*p)->next_sharer;
    *p = s->next_sharer;
    s->shares = false;
    pthread_mutex_unlock(&mutex);
}

/* Needs the mutex of the connection. */
static bool is_idle(const struct session *s) {
    return s->snapshot && s->open_cursors == 0 && !session_is_open(s) &&
           sqlite3_txn_state(s->connection->db, s->schema) == SQLITE_TXN_NONE;
}

void sharers_drop_idle_snapshots(const struct session *asks) {
    pthread_mutex_lock(&mutex);
    for (struct session *s = sharers; s; s = s->next_sharer) {
        sqlite3_mutex *lock = sqlite3_db_mutex(s->connection->db);
        if (s->connection == asks->connection || s->shared != asks->shared || !lock) continue;
        if (sqlite3_mutex_try(lock) != SQLITE_OK) continue;
        if (is_idle(s)) session_drop_snapshot(s);
        sqlite3_mutex_leave(lock);
    }
    pthread_mutex_unlock(&mutex);
}
