/* What was written while nobody read finds its way into the cache when the store has settled: the
 * first reads after a load need not decompress all they see, as those of a B-tree find the pages
 * that were written in the page cache.
 *
 * Only tables that this store has written since it was opened are read, which are in the system's
 * cache of files; only free room of the cache is filled; no more is read than that, though the cache
 * takes no block that is large; and a commit, or who waits for the compactor, ends it. What is asked
 * for later takes the place of what nobody asked for. */
#include "engine/base/error.h"
#include "engine/store/work.h"

enum { BLOCKS_AT_ONCE = 64, LEAST_FREE_PART = 16 };

uint64_t warm_in(kevo_store *s) {
    if (!s->options.settle_ms || atomic_load(&s->next_file) == s->warmed_to) return SETTLE_NEVER;
    if (work_flush_pending(s)) return SETTLE_NEVER;
    uint64_t settles = settle_tables_in(s);
    return settles == SETTLE_NEVER ? settle_time_left(s) : settles;
}

struct warming {
    uint64_t from;      /* tables with smaller numbers are left alone */
    uint64_t committed; /* when it began */
    uint64_t bytes;     /* that may be read yet */
};

/* Whether it is not the time for that any more. */
static bool gives_way(kevo_store *s, const struct warming *w) {
    pthread_mutex_lock(&s->mutex);
    bool gives_way = s->closing || s->committed.batch != w->committed || s->manual_waits ||
                     work_flush_pending(s);
    pthread_mutex_unlock(&s->mutex);
    return gives_way;
}

static bool has_room(kevo_store *s, const struct warming *w) {
    return w->bytes && cache_free_bytes(s->cache) > s->options.cache_bytes / LEAST_FREE_PART;
}

/* KEVO_NOTFOUND: it is whole. KEVO_FULL, KEVO_CANCELLED: no more. */
static int warm_table(kevo_store *s, struct table *t, struct warming *w, struct kevo_err *err) {
    uint64_t brought = 0;
    size_t block = 0;
    int rc = 0;
    while (rc == 0) {
        if (gives_way(s, w))
            rc = KEVO_CANCELLED;
        else if (!has_room(s, w))
            rc = KEVO_FULL;
        else
            rc = table_warm(t, &block, BLOCKS_AT_ONCE, &w->bytes, &brought, err);
    }
    count(&s->counters.settled_blocks, brought);
    return rc;
}

static int warm_file(kevo_store *s, struct table_file *f, struct warming *w, struct kevo_err *err) {
    struct table *t;
    int rc = table_file_acquire(f, &t, err);
    if (rc) return rc;
    rc = warm_table(s, t, w, err);
    table_close(t);
    return rc;
}

static int warm_version(kevo_store *s, const struct version *v, struct warming *w,
                        struct kevo_err *err) {
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        for (size_t i = 0; i < v->levels[l].count; i++) {
            struct table_file *f = v->levels[l].files[i];
            int rc = f->number < w->from ? KEVO_NOTFOUND : warm_file(s, f, w, err);
            if (rc != KEVO_NOTFOUND) return rc;
        }
    }
    return KEVO_FULL;
}

int warm_run(kevo_store *s) {
    struct kevo_err ignored; /* who reads the table meets it, too, and is told */
    pthread_mutex_lock(&s->mutex);
    bool due = warm_in(s) == 0;
    struct version *v = s->current->version;
    uint64_t to = atomic_load(&s->next_file);
    struct warming w = {.from = s->warmed_to, .committed = s->committed.batch};
    if (due) version_ref(v);
    pthread_mutex_unlock(&s->mutex);
    if (!due) return KEVO_NOTFOUND;
    w.bytes = cache_free_bytes(s->cache);
    int rc = warm_version(s, v, &w, &ignored);
    version_unref(v);
    if (rc == KEVO_CANCELLED) return 0;
    pthread_mutex_lock(&s->mutex);
    s->warmed_to = to;
    pthread_mutex_unlock(&s->mutex);
    return 0;
}
