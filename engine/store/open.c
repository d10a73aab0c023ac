#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/env.h"
#include "engine/base/error.h"
#include "engine/store/dir.h"
#include "engine/store/options.h"
#include "engine/store/store.h"

uint64_t store_next_file(void *store) {
    return atomic_fetch_add_explicit(&((kevo_store *)store)->next_file, 1, memory_order_relaxed);
}

int store_forked(const kevo_store *s, struct kevo_err *err) {
    return kevo_fail(err, KEVO_FORKED,
                     "%s: opened by the parent process; a child must open its own connection",
                     s->dir);
}

/* ---- making a store ------------------------------------------------------------- */

static int create_manifest(kevo_store *s, struct kevo_err *err) {
    struct manifest_state state = {
        .authority = s->options.authority,
        .next_file = 1,
        .wal_floor = 1,
        .version = version_new(),
    };
    int rc = state.version ? 0 : kevo_nomem(err);
    if (rc == 0) rc = options_encode(&s->options, slice_of(NULL, 0), &state.options, err);
    if (rc == 0) rc = dir_remove_leftovers(s->env, s->dir, err);
    if (rc == 0) rc = s->env->random(s->env, state.uuid, sizeof state.uuid, err);
    if (rc == 0) rc = manifest_create(&s->home, &state, s->options.file_mode, &s->manifest, err);
    manifest_close(s->manifest);
    s->manifest = NULL;
    manifest_state_release(&state);
    return rc;
}

/* Find the store in s->dir, or make one if that is wanted, and lock it. */
static int find_or_create(kevo_store *s, struct kevo_err *err) {
    enum dir_kind kind;
    const struct kevo_options *o = &s->options;
    int rc = dir_look(s->env, s->dir, &kind, err);
    if (rc) return rc;
    if (kind == DIR_OTHER)
        return kevo_fail(err, KEVO_CANTOPEN,
                         "%s: the directory holds something else than a kevo store; name another",
                         s->dir);
    if (kind == DIR_STORE && o->error_if_exists)
        return kevo_fail(err, KEVO_CANTOPEN, "%s: there is a store already", s->dir);
    if (kind != DIR_STORE && !o->create_if_missing)
        return kevo_fail(err, KEVO_CANTOPEN,
                         "%s: there is no kevo store%s; put back the one that belongs here", s->dir,
                         kind == DIR_MISSING ? ": no such directory" : "");
    bool made = kind == DIR_MISSING;
    if (made) rc = s->env->make_dir(s->env, s->dir, dir_search_mode(o->file_mode), err);
    if (rc == 0 && kind != DIR_STORE) rc = dir_sync_parent(s->env, s->dir, made, err);
    if (rc) return rc;
    rc = dir_lock(s->env, s->dir, kind != DIR_STORE, o->file_mode, &s->lock_file, err);
    /* With the lock held look again: another process may have been faster. */
    if (rc == 0 && kind != DIR_STORE) rc = dir_look(s->env, s->dir, &kind, err);
    if (rc == 0 && kind != DIR_STORE) rc = create_manifest(s, err);
    return rc;
}

/* ---- open and close ------------------------------------------------------------------- */

static void store_free(kevo_store *s) {
    superversion_release(s->current);
    ingest_void(s, 0);
    mem_free(s->recovered);
    manifest_state_release(&s->state);
    manifest_close(s->manifest);
    wal_close(s->wal);
    for (unsigned i = 0; i < s->spare_count; i++)
        wal_remove_spare(s->env, s->dir, s->spares[i]);
    buf_release(&s->run.bytes);
    mem_free(s->pins);
    cache_free(s->cache);
    s->env->close(s->env, s->lock_file);
    pthread_mutex_destroy(&s->write_mutex);
    pthread_mutex_destroy(&s->door);
    pthread_mutex_destroy(&s->manifest_mutex);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->work_cond);
    pthread_cond_destroy(&s->done_cond);
    mem_free(s->dir);
    mem_free(s);
}

static int store_new(const char *dir, const struct kevo_options *o, kevo_store **store,
                     struct kevo_err *err) {
    kevo_store *s = mem_zalloc(sizeof *s);
    if (!s) return kevo_nomem(err);
    s->env = o->env ? o->env : env_posix();
    s->options = *o;
    s->idle.edits = UINT64_MAX;
    pthread_mutex_init(&s->write_mutex, NULL);
    pthread_mutex_init(&s->door, NULL);
    pthread_mutex_init(&s->manifest_mutex, NULL);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->work_cond, NULL);
    pthread_cond_init(&s->done_cond, NULL);
    s->dir = mem_strdup(dir);
    *store = s;
    if (!s->dir) return kevo_nomem(err);
    s->home = (struct table_home){s->env, s->dir, NULL};
    if (fork_watch()) return kevo_nomem(err);
    s->fork_generation = fork_generation();
    return s->env->random(s->env, &s->nonce_state, sizeof s->nonce_state, err);
}

/* Let the next one who opens the store find these options, unless they are there already. */
static int keep_options(kevo_store *s, struct kevo_err *err) {
    struct kevo_options kept;
    struct version_edit edit;
    options_decode(buf_slice(&s->state.options), &kept);
    if (!options_difference(&kept, &s->options)) return 0;
    edit_init(&edit);
    edit.has_options = true;
    int rc = options_encode(&s->options, buf_slice(&s->state.options), &edit.options, err);
    if (rc == 0) rc = manifest_append(s->manifest, &edit, &s->state, err);
    edit_release(&edit);
    return rc;
}

int kevo_open(const char *dir, const struct kevo_options *o, kevo_store **store,
              struct kevo_err *err) {
    struct kevo_options standard;
    kevo_store *s = NULL;
    *store = NULL;
    if (!o) {
        kevo_options_default(&standard);
        standard.use_kept = true;
        o = &standard;
    }
    int rc = options_check(o, err);
    if (rc == 0 && strlen(dir) + 64 > ENV_PATH_MAX)
        rc = kevo_fail(err, KEVO_CANTOPEN, "the directory's name is too long");
    if (rc) return rc;
    rc = store_new(dir, o, &s, err);
    if (rc == 0) rc = find_or_create(s, err);
    if (rc == 0) rc = store_recover(s, err);
    if (rc == 0) rc = keep_options(s, err);
    if (rc) {
        if (s) store_free(s);
        return rc;
    }
    if (s->resolved) {
        pthread_mutex_lock(&s->mutex);
        work_schedule(s);
        pthread_mutex_unlock(&s->mutex);
    }
    *store = s;
    return 0;
}

void kevo_close(kevo_store *store) {
    if (!store || store->fork_generation != fork_generation()) return;
    work_stop(store);
    assert(store->pin_count == 0);
    store_free(store);
}

void kevo_get_options(kevo_store *store, struct kevo_options *o) {
    *o = store->options;
}

const uint8_t *kevo_store_uuid(const kevo_store *store) {
    return store->state.uuid;
}
