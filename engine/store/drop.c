/* Tables that range tombstones hide as a whole go without being read, by an edit that only
 * deletes. They are looked for when range tombstones have come to a table, and, when a
 * snapshot was in the way of some, again once that is gone. */
#include "engine/base/alloc.h"
#include "engine/store/work.h"

bool drop_pending(const kevo_store *s) {
    return s->drop.due || gc_horizon(s, true) >= s->drop.wait.horizon;
}

bool drop_pending_soon(const kevo_store *s) {
    return !drop_pending(s) && gc_horizon(s, false) >= s->drop.wait.horizon;
}

void drop_look_at(kevo_store *s, const struct version_edit *edit) {
    for (size_t i = 0; i < edit->added_count; i++)
        s->drop.due |= edit->added[i].file->range_count > 0;
}

static void mark_obsolete(const struct version *v, const struct version_edit *edit) {
    for (size_t d = 0; d < edit->deleted_count; d++) {
        const struct level *l = &v->levels[edit->deleted[d].level];
        for (size_t i = 0; i < l->count; i++)
            if (l->files[i]->number == edit->deleted[d].number)
                atomic_store(&l->files[i]->obsolete, true);
    }
}

static int drop_hidden(kevo_store *s, const struct version *v, struct build *b,
                       struct kevo_err *err) {
    struct version_edit edit;
    struct hidden_wait wait;
    edit_init(&edit);
    int rc = hidden_pick(v, b->snapshots, b->snapshot_count, &edit, &b->max_dropped_by, &wait, err);
    pthread_mutex_lock(&s->mutex);
    s->drop.wait = wait;
    pthread_mutex_unlock(&s->mutex);
    if (rc == 0) rc = edit.deleted_count ? 0 : KEVO_NOTFOUND;
    if (rc == 0) rc = work_install(s, &edit, false, COMPACTOR, b, err);
    if (rc == 0) mark_obsolete(v, &edit);
    if (rc == 0) count(&s->counters.dropped_tables, edit.deleted_count);
    edit_release(&edit);
    return rc;
}

/* What to look at, referenced, if there is anything; not while tables lie over the manifest's
 * version that it does not name yet. */
static struct version *take_version(kevo_store *s) {
    struct version *v = NULL;
    pthread_mutex_lock(&s->manifest_mutex);
    pthread_mutex_lock(&s->mutex);
    if (drop_pending(s) && s->recovered_count == 0) {
        v = s->state.version;
        version_ref(v);
        s->drop.due = false;
    }
    pthread_mutex_unlock(&s->mutex);
    pthread_mutex_unlock(&s->manifest_mutex);
    return v;
}

int drop_run(kevo_store *s, struct kevo_err *err) {
    struct build b = {.snapshot_count = 0};
    uint64_t *ids = NULL;
    struct version *v = take_version(s);
    if (!v) return KEVO_NOTFOUND;
    int rc = work_begin_gc(s, COMPACTOR, true, &b, &ids, err);
    if (rc == 0) rc = drop_hidden(s, v, &b, err);
    if (rc) {
        pthread_mutex_lock(&s->mutex);
        work_end_gc(s, COMPACTOR, &b, false);
        if (rc < 0) s->drop.due = true;
        pthread_mutex_unlock(&s->mutex);
    }
    mem_free(ids);
    version_unref(v);
    return rc;
}
