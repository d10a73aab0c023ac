/* What readers see, and when tables that were put aside are closed.
 *
 * A point read borrows tables: it writes nothing to say so. What it has is a reference on
 * a superversion, and that belongs to an epoch. When open tables are put aside, the epoch of
 * that moment ends, a new superversion begins another one, and the tables are closed when no
 * superversion of that epoch or an earlier one is left: epochs hold a reference on the next
 * one, so that they go in order. Who reads for long has a superversion of its own, without
 * an epoch, and references on its tables. */
#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/store/store.h"

struct epoch {
    _Atomic unsigned refs;
    struct epoch *next;        /* a reference; NULL: this is the present one */
    struct table_list closing; /* when the last reference goes */
};

struct epoch *epoch_new(void) {
    struct epoch *e = mem_zalloc(sizeof *e);
    if (e) atomic_init(&e->refs, 1);
    return e;
}

void epoch_unref(struct epoch *e) {
    while (e && atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1) {
        struct epoch *next = e->next;
        table_list_close(&e->closing);
        mem_free(e);
        e = next;
    }
}

struct superversion *superversion_alloc(void) {
    return mem_zalloc(sizeof(struct superversion));
}

void superversion_init(struct superversion *sv, struct memtable *active,
                       struct memtable *const *immutable, unsigned immutable_count,
                       struct version *version) {
    assert(immutable_count <= MAX_MEMTABLES);
    atomic_init(&sv->refs, 1);
    sv->active = active;
    memtable_ref(active);
    sv->immutable_count = immutable_count;
    for (unsigned i = 0; i < immutable_count; i++) {
        sv->immutable[i] = immutable[i];
        memtable_ref(immutable[i]);
    }
    sv->version = version;
    version_ref(version);
}

struct superversion *superversion_acquire(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    struct superversion *sv = s->current;
    atomic_fetch_add_explicit(&sv->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&s->mutex);
    return sv;
}

void superversion_empty(struct superversion *sv) {
    memtable_unref(sv->active);
    for (unsigned i = 0; i < sv->immutable_count; i++)
        memtable_unref(sv->immutable[i]);
    version_unref(sv->version);
    epoch_unref(sv->epoch);
    sv->version = NULL;
}

void superversion_release(struct superversion *sv) {
    if (!sv || atomic_fetch_sub_explicit(&sv->refs, 1, memory_order_acq_rel) > 1) return;
    superversion_empty(sv);
    mem_free(sv);
}

struct superversion *superversion_install(kevo_store *s, struct superversion *sv) {
    struct superversion *old = s->current;
    park_end_all(s);
    s->current = sv;
    sv->epoch = s->epoch;
    atomic_fetch_add_explicit(&sv->epoch->refs, 1, memory_order_relaxed);
    s->edits++;
    return old;
}

struct superversion *superversion_own(struct superversion *sv) {
    struct superversion *own = superversion_alloc();
    if (own)
        superversion_copy(own, sv);
    else
        superversion_release(sv);
    return own;
}

void superversion_copy(struct superversion *own, struct superversion *sv) {
    superversion_init(own, sv->active, sv->immutable, sv->immutable_count, sv->version);
    own->epoch = NULL;
    superversion_release(sv);
}

/* Without memory they stay where they are until the next table is opened. */
void store_close_tables(void *store) {
    kevo_store *s = store;
    struct epoch *next = epoch_new(), *before;
    struct superversion *sv = superversion_alloc(), *old;
    if (!next || !sv) {
        epoch_unref(next);
        mem_free(sv);
        return;
    }
    pthread_mutex_lock(&s->mutex);
    before = s->epoch;
    before->closing = open_tables_take(&s->open_tables);
    before->next = next;
    atomic_fetch_add_explicit(&next->refs, 1, memory_order_relaxed);
    s->epoch = next;
    old = s->current;
    superversion_init(sv, old->active, old->immutable, old->immutable_count, old->version);
    superversion_install(s, sv);
    pthread_mutex_unlock(&s->mutex);
    superversion_release(old);
    epoch_unref(before);
}
