#include "engine/tree/table_file.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"

/* ---- which tables are open --------------------------------------------------- */

void open_tables_init(struct open_tables *o, unsigned max_count, uint64_t max_bytes) {
    *o = (struct open_tables){.max_count = max_count, .max_bytes = max_bytes};
    pthread_mutex_init(&o->mutex, NULL);
}

void open_tables_release(struct open_tables *o) {
    assert(o->count == 0);
    table_list_close(&o->closing);
    pthread_mutex_destroy(&o->mutex);
}

struct table_list open_tables_take(struct open_tables *o) {
    pthread_mutex_lock(&o->mutex);
    struct table_list list = o->closing;
    o->closing = (struct table_list){NULL};
    pthread_mutex_unlock(&o->mutex);
    return list;
}

/* Behind all others: the hand comes to it last. Needs mutex. */
static void ring_add(struct open_tables *o, struct table_file *f, const struct table *t) {
    if (!o->hand) {
        o->hand = f->open_next = f->open_prev = f;
    } else {
        f->open_next = o->hand;
        f->open_prev = o->hand->open_prev;
        f->open_prev->open_next = f->open_next->open_prev = f;
    }
    o->count++;
    o->opened++;
    o->bytes += table_memory_bytes(t);
}

/* Needs mutex. */
static void ring_remove(struct open_tables *o, struct table_file *f, const struct table *t) {
    f->open_prev->open_next = f->open_next;
    f->open_next->open_prev = f->open_prev;
    if (o->hand == f) o->hand = f->open_next == f ? NULL : f->open_next;
    o->count--;
    o->bytes -= table_memory_bytes(t);
}

static bool too_many(const struct open_tables *o) {
    return o->count > o->max_count || (o->bytes > o->max_bytes && o->count > LEAST_OPEN_TABLES);
}

/* Take the table of `f` away from it, unless somebody uses it or is about to. Needs mutex. */
static void detach(struct open_tables *o, struct table_file *f) {
    if (f->range_count || pthread_mutex_trylock(&f->open_mutex)) return;
    struct table *t = atomic_load_explicit(&f->table, memory_order_relaxed);
    if (!table_is_shared(t)) {
        atomic_store_explicit(&f->table, NULL, memory_order_relaxed);
        ring_remove(o, f, t);
        table_list_add(&o->closing, t);
    }
    pthread_mutex_unlock(&f->open_mutex);
}

/* Needs mutex. */
static void close_some(struct open_tables *o, const struct table_file *except) {
    /* Going round twice passes every file: the first time clears its mark. */
    for (unsigned steps = 2 * o->count; steps > 0 && too_many(o); steps--) {
        struct table_file *f = o->hand;
        o->hand = f->open_next;
        if (f == except) continue;
        if (!atomic_exchange_explicit(&f->used, false, memory_order_relaxed)) detach(o, f);
    }
    atomic_store_explicit(&o->crowded, too_many(o), memory_order_relaxed);
}

void open_tables_trim(struct open_tables *o) {
    if (!atomic_load_explicit(&o->crowded, memory_order_relaxed)) return;
    pthread_mutex_lock(&o->mutex);
    close_some(o, NULL);
    bool closing = o->closing.first != NULL;
    pthread_mutex_unlock(&o->mutex);
    if (closing && o->closed) o->closed(o->arg);
}

/* A table was opened. Needs the file's open_mutex. Whether some are to be closed. */
static bool note_open(struct open_tables *o, struct table_file *f, const struct table *t) {
    if (!o) return false;
    pthread_mutex_lock(&o->mutex);
    ring_add(o, f, t);
    if (too_many(o)) close_some(o, f);
    bool closing = o->closing.first != NULL;
    pthread_mutex_unlock(&o->mutex);
    return closing;
}

/* ---- table files ------------------------------------------------------------ */

void table_file_name(char name[TABLE_NAME_BYTES], uint64_t number) {
    snprintf(name, TABLE_NAME_BYTES, "%06" PRIu64 ".sst", number);
}

struct table_file *table_file_new(const struct table_home *home, uint64_t number,
                                  uint64_t size_bytes, uint64_t checksum,
                                  const struct table_properties *props, slice min_key,
                                  slice max_key) {
    struct table_file *f = mem_zalloc(sizeof *f);
    if (!f) return NULL;
    if (!buf_set(&f->min_key, min_key) || !buf_set(&f->max_key, max_key) ||
        pthread_mutex_init(&f->open_mutex, NULL)) {
        buf_release(&f->min_key);
        buf_release(&f->max_key);
        mem_free(f);
        return NULL;
    }
    atomic_init(&f->refs, 1);
    f->home = home;
    f->number = number;
    f->size_bytes = size_bytes;
    f->checksum = checksum;
    f->entry_count = props->entry_count;
    f->tombstone_count = props->tombstone_count;
    f->range_count = props->range_count;
    f->ends_below = props->ends_below;
    f->key_count = props->key_count;
    f->garbage_seq = props->garbage_seq;
    f->compression = props->compression;
    f->min_seq = props->min_seq;
    f->max_seq = props->max_seq;
    return f;
}

void table_file_set_base(struct table_file *f, uint64_t base_seq) {
    bool has_garbage = f->tombstone_count || f->range_count || f->key_count != f->entry_count;
    assert(f->base_seq == 0);
    f->base_seq = base_seq;
    f->min_seq += base_seq;
    f->max_seq += base_seq;
    if (has_garbage) f->garbage_seq += base_seq;
}

struct table_file *table_file_rebased(struct table_file *f, uint64_t base_seq) {
    struct table_properties p = {.entry_count = f->entry_count,
                                 .tombstone_count = f->tombstone_count,
                                 .range_count = f->range_count,
                                 .ends_below = f->ends_below,
                                 .key_count = f->key_count,
                                 .compression = f->compression,
                                 .min_seq = f->min_seq - f->base_seq,
                                 .max_seq = f->max_seq - f->base_seq};
    if (f->garbage_seq) p.garbage_seq = f->garbage_seq - f->base_seq;
    struct table_file *copy = table_file_new(f->home, f->number, f->size_bytes, f->checksum, &p,
                                             buf_slice(&f->min_key), buf_slice(&f->max_key));
    if (!copy) return NULL;
    table_file_set_base(copy, base_seq);
    copy->original = f;
    table_file_ref(f);
    return copy;
}

void table_file_ref(struct table_file *f) {
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

static void remove_from_disk(const struct table_file *f) {
    char name[TABLE_NAME_BYTES], path[ENV_PATH_MAX];
    table_file_name(name, f->number);
    if (env_join(path, f->home->dir, name, NULL) == 0)
        f->home->env->unlink(f->home->env, path, NULL);
}

/* Out of the ring first: until then the hand may be at it. */
static void close_file(struct table_file *f) {
    struct open_tables *o = f->home->open;
    if (o) pthread_mutex_lock(&o->mutex);
    struct table *t = atomic_load_explicit(&f->table, memory_order_acquire);
    if (o && t) ring_remove(o, f, t);
    if (o) pthread_mutex_unlock(&o->mutex);
    table_close(t);
    if (f->cache_id) cache_erase(f->home->cache, f->cache_id);
}

void table_file_unref(struct table_file *f) {
    if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1) return;
    close_file(f);
    bool obsolete = atomic_load_explicit(&f->obsolete, memory_order_acquire);
    if (obsolete && f->original)
        atomic_store_explicit(&f->original->obsolete, true, memory_order_release);
    else if (obsolete)
        remove_from_disk(f);
    table_file_unref(f->original);
    pthread_mutex_destroy(&f->open_mutex);
    buf_release(&f->min_key);
    buf_release(&f->max_key);
    mem_free(f);
}

/* Only the first to use it after the hand came by writes. */
static void mark_used(struct table_file *f) {
    if (!atomic_load_explicit(&f->used, memory_order_relaxed))
        atomic_store_explicit(&f->used, true, memory_order_relaxed);
}

/* The manifest names it: without it there is no store but a part of one. */
static int tell_missing(const struct table_file *f, const char *path, int rc,
                        struct kevo_err *err) {
    struct env_stat st;
    if (rc != KEVO_CANTOPEN || f->home->env->stat(f->home->env, path, &st, NULL) != KEVO_NOTFOUND)
        return rc;
    return kevo_fail(err, KEVO_CORRUPT, "%s: the table file is missing", path);
}

/* Under open_mutex. */
static int open_locked(struct table_file *f, struct table **t, bool *closing,
                       struct kevo_err *err) {
    char name[TABLE_NAME_BYTES], path[ENV_PATH_MAX];
    *t = atomic_load_explicit(&f->table, memory_order_relaxed);
    if (*t) return 0;
    assert(f->home->cache);
    table_file_name(name, f->number);
    int rc = env_join(path, f->home->dir, name, err);
    if (rc == 0)
        rc = table_open(f->home->env, path, f->number, f->size_bytes, f->checksum, f->home->cache,
                        &f->cache_id, t, err);
    if (rc) return tell_missing(f, path, rc, err);
    table_set_base(*t, f->base_seq);
    atomic_store_explicit(&f->table, *t, memory_order_release);
    *closing = note_open(f->home->open, f, *t);
    return 0;
}

static int open_it(struct table_file *f, bool ref, struct table **t, struct kevo_err *err) {
    struct open_tables *o = f->home->open;
    bool closing = false;
    pthread_mutex_lock(&f->open_mutex);
    int rc = open_locked(f, t, &closing, err);
    if (rc == 0 && ref) table_ref(*t);
    pthread_mutex_unlock(&f->open_mutex);
    if (closing && o->closed) o->closed(o->arg);
    return rc;
}

int table_file_acquire(struct table_file *f, struct table **t, struct kevo_err *err) {
    mark_used(f);
    return open_it(f, true, t, err);
}

int table_file_borrow(struct table_file *f, struct table **t, struct kevo_err *err) {
    mark_used(f);
    *t = atomic_load_explicit(&f->table, memory_order_acquire);
    return *t ? 0 : open_it(f, false, t, err);
}

bool table_file_is_hidden(const struct table_file *f, const struct range_set *set,
                          uint64_t *hider) {
    uint64_t least;
    return set && range_set_hides(set, buf_slice(&f->min_key), buf_slice(&f->max_key),
                                  f->ends_below, f->max_seq, hider ? hider : &least);
}

bool table_file_overlaps(const struct table_file *f, slice lower, slice upper) {
    if (lower.data && table_file_is_below(f, lower)) return false;
    return !upper.data || slice_cmp(buf_slice(&f->min_key), upper) < 0;
}
