#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/env.h"
#include "engine/base/error.h"
#include "engine/store/dir.h"
#include "engine/store/opened.h"
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

int store_refuse_writing(const kevo_store *s, struct kevo_err *err) {
    return kevo_fail(err, KEVO_READONLY, "%s: the store is open for reading only", s->dir);
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

/* Whether what the directory holds is what was asked for. */
static int check_kind(const kevo_store *s, enum dir_kind kind, struct kevo_err *err) {
    const struct kevo_options *o = &s->options;
    bool create = o->create_if_missing && !o->read_only;
    if (kind == DIR_OTHER)
        return kevo_fail(err, KEVO_CANTOPEN,
                         "%s: the directory holds something else than a kevo store; %s", s->dir,
                         create ? "name another" : "put back the one that belongs here");
    if (kind == DIR_STORE && o->error_if_exists)
        return kevo_fail(err, KEVO_CANTOPEN, "%s: there is a store already; name another directory",
                         s->dir);
    if (kind != DIR_STORE && !create)
        return kevo_fail(err, KEVO_CANTOPEN,
                         "%s: there is no kevo store%s; put back the one that belongs here", s->dir,
                         kind == DIR_MISSING ? ": no such directory" : "");
    return 0;
}

static int make_dir(kevo_store *s, struct kevo_err *err) {
    const struct kevo_options *o = &s->options;
    int rc = s->env->make_dir(s->env, s->dir, dir_search_mode(o->file_mode), err);
    if (rc || !o->set_owner) return rc;
    rc = s->env->set_owner(s->env, s->dir, o->owner_user, o->owner_group, err);
    return rc == KEVO_CANTOPEN ? 0 : rc; /* not permitted: it stays ours */
}

/* Find the store in s->dir, or make one if that is wanted, and lock it. */
static int find_or_create(kevo_store *s, struct kevo_err *err) {
    enum dir_kind kind;
    int rc = dir_look(s->env, s->dir, &kind, err);
    if (rc == 0) rc = check_kind(s, kind, err);
    if (rc) return rc;
    if (s->read_only) return dir_lock_shared(s->env, s->dir, &s->lock_file, err);
    bool made = kind == DIR_MISSING;
    if (made) rc = make_dir(s, err);
    if (rc == 0 && kind != DIR_STORE) rc = dir_sync_parent(s->env, s->dir, made, err);
    if (rc) return rc;
    rc = dir_lock(s->env, s->dir, kind != DIR_STORE, s->options.file_mode, &s->lock_file, err);
    /* With the lock held look again: another process may have been faster. */
    if (rc == 0 && kind != DIR_STORE) rc = dir_look(s->env, s->dir, &kind, err);
    if (rc == 0 && kind != DIR_STORE) rc = create_manifest(s, err);
    return rc;
}

/* ---- open and close ------------------------------------------------------------------- */

/* Release all that the store holds, but not its own memory. */
static void store_release(kevo_store *s) {
    superversion_release(s->current);
    ingest_void(s, 0, false);
    mem_free(s->spare);
    mem_free(s->recovered);
    manifest_state_release(&s->state);
    manifest_close(s->manifest);
    wal_close(s->wal);
    syncer_release(&s->syncer);
    for (unsigned i = 0; i < s->spare_count; i++)
        wal_remove_spare(s->env, s->dir, s->spares[i]);
    buf_release(&s->run.bytes);
    buf_release(&s->borrowed.bytes);
    mem_free(s->pins);
    epoch_unref(s->epoch);
    open_tables_release(&s->open_tables);
    cache_free(s->cache);
    s->env->close(s->env, s->lock_file);
    pthread_mutex_destroy(&s->write_mutex);
    pthread_mutex_destroy(&s->door);
    pthread_mutex_destroy(&s->manifest_mutex);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->work_cond);
    pthread_cond_destroy(&s->done_cond);
    mem_free(s->dir);
}

static int store_new(const char *dir, const struct kevo_options *o, kevo_store **store,
                     struct kevo_err *err) {
    kevo_store *s = mem_zalloc(sizeof *s);
    if (!s) return kevo_nomem(err);
    s->env = o->env ? o->env : env_posix();
    s->options = *o;
    s->idle.edits = s->settle.edits = s->settle.failed_batch = UINT64_MAX;
    atomic_init(&s->read_only, o->read_only);
    s->drop.wait.horizon = SEQ_MAX;
    open_tables_init(&s->open_tables, 1, 0);
    s->open_tables.closed = store_close_tables;
    s->open_tables.arg = s;
    syncer_init(&s->syncer, s->env);
    pthread_mutex_init(&s->write_mutex, NULL);
    pthread_mutex_init(&s->door, NULL);
    pthread_mutex_init(&s->manifest_mutex, NULL);
    pthread_mutex_init(&s->mutex, NULL);
    env_cond_init(&s->work_cond);
    pthread_cond_init(&s->done_cond, NULL);
    s->dir = mem_strdup(dir);
    *store = s;
    if (!s->dir) return kevo_nomem(err);
    s->home = (struct table_home){s->env, s->dir, NULL, &s->open_tables};
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

size_t kevo_get_owner(kevo_store *store, void *data, size_t capacity) {
    if (store_check_process(store, NULL)) return 0;
    pthread_mutex_lock(&store->manifest_mutex);
    const struct buf *owner = &store->state.owner;
    size_t len = owner->len;
    if (len) memcpy(data, owner->data, len < capacity ? len : capacity);
    pthread_mutex_unlock(&store->manifest_mutex);
    return len;
}

static int set_owner(kevo_store *s, struct kevo_slice owner, struct kevo_err *err) {
    struct version_edit edit;
    edit_init(&edit);
    edit.has_owner = true;
    int rc = buf_set(&edit.owner, owner) ? 0 : kevo_nomem(err);
    pthread_mutex_lock(&s->manifest_mutex);
    if (rc == 0) rc = manifest_append(s->manifest, &edit, &s->state, err);
    pthread_mutex_unlock(&s->manifest_mutex);
    edit_release(&edit);
    return rc;
}

int kevo_set_owner(kevo_store *store, struct kevo_slice owner, struct kevo_err *err) {
    int rc = store_check_process(store, err);
    if (rc) return rc;
    if (owner.len > KEVO_MAX_OWNER_BYTES)
        return kevo_fail(err, KEVO_INVALID, "%s: an owner of more than %u bytes", store->dir,
                         KEVO_MAX_OWNER_BYTES);
    pthread_mutex_lock(&store->write_mutex);
    rc = store_check_read_only(store, err);
    if (rc == 0) rc = set_owner(store, owner, err);
    pthread_mutex_unlock(&store->write_mutex);
    return rc;
}

/* There may be work from before. */
static void start_work(kevo_store *s) {
    pthread_mutex_lock(&s->mutex);
    if (s->resolved) work_schedule(s);
    pthread_mutex_unlock(&s->mutex);
}

static int open_first(kevo_store *s, struct kevo_err *err) {
    int rc = find_or_create(s, err);
    if (rc == 0) rc = store_recover(s, err);
    if (rc == 0 && !s->read_only) rc = keep_options(s, err);
    if (rc == 0) rc = opened_identify(s, err);
    if (rc == 0) start_work(s);
    return rc;
}

/* A store that is open for reading only was not changed by anybody since, as its lock is
 * held. Needs write_mutex and manifest_mutex. */
static int become_writable(kevo_store *s, const struct kevo_options *o, struct kevo_err *err) {
    struct kevo_err ignored;
    int rc = dir_lock_for_writing(s->env, s->dir, s->lock_file, err);
    if (rc) return rc;
    rc = manifest_make_writable(s->manifest, err);
    if (rc == 0) rc = store_return_borrowed(s, err);
    if (rc == 0 && !o->use_kept) rc = keep_options(s, err);
    if (rc) {
        s->env->lock(s->env, s->lock_file, true, &ignored);
        return rc;
    }
    pthread_mutex_lock(&s->mutex);
    s->options.background = o->background;
    s->options.file_mode = o->file_mode;
    atomic_store(&s->read_only, false);
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

/* The process has the store open already. */
static int open_again(kevo_store *s, const struct kevo_options *o, struct kevo_err *err) {
    if (o->error_if_exists)
        return kevo_fail(err, KEVO_CANTOPEN, "%s: there is a store already; name another directory",
                         s->dir);
    int rc = store_check_authority(s, o->authority, err);
    const char *name = o->use_kept ? NULL : options_difference(o, &s->options);
    if (rc == 0 && name)
        rc = kevo_fail(err, KEVO_INVALID,
                       "%s: the store is open in this process with another %s; use what it has, or "
                       "close it first",
                       s->dir, name);
    if (rc || o->read_only || !s->read_only) return rc;
    pthread_mutex_lock(&s->write_mutex);
    pthread_mutex_lock(&s->manifest_mutex);
    rc = become_writable(s, o, err);
    pthread_mutex_unlock(&s->manifest_mutex);
    pthread_mutex_unlock(&s->write_mutex);
    if (rc == 0) start_work(s);
    return rc;
}

static int open_or_share(kevo_store *s, const struct kevo_options *o, kevo_store **store,
                         struct kevo_err *err) {
    kevo_store *found;
    int rc = opened_enter(s, &found, err);
    if (rc == 0 && !found) {
        rc = open_first(s, err);
        if (rc == 0) {
            opened_settle(s);
            *store = s;
            return 0;
        }
        store_release(s);
        opened_remove(s);
    } else {
        store_release(s);
    }
    mem_free(s);
    if (rc) return rc;
    rc = open_again(found, o, err);
    opened_settle(found);
    if (rc)
        kevo_close(found);
    else
        *store = found;
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
        rc = kevo_fail(err, KEVO_CANTOPEN, "the directory's name is too long; name a shorter one");
    if (rc) return rc;
    rc = store_new(dir, o, &s, err);
    if (rc == 0) return open_or_share(s, o, store, err);
    if (s) store_release(s);
    mem_free(s);
    return rc;
}

void kevo_close(kevo_store *store) {
    if (!store || store->fork_generation != fork_generation() || !opened_leave(store)) return;
    work_stop(store);
    assert(store->pin_count == 0);
    store_release(store);
    opened_remove(store);
    mem_free(store);
    mem_trim(); /* this code may be unloaded next */
}

void kevo_get_options(kevo_store *store, struct kevo_options *o) {
    pthread_mutex_lock(&store->mutex);
    *o = store->options;
    pthread_mutex_unlock(&store->mutex);
    o->read_only = store->read_only;
}

const uint8_t *kevo_store_uuid(const kevo_store *store) {
    return store->state.uuid;
}
