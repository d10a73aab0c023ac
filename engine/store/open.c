#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/env.h"
#include "engine/base/error.h"
#include "engine/store/dir.h"
#include "engine/store/store.h"

void kevo_options_default(struct kevo_options *o) {
    *o = (struct kevo_options){
        .create_if_missing = true,
        .authority = KEVO_AUTHORITY_SELF,
        .sync = KEVO_SYNC_FULL,
        .wal_sync_bytes = 1 << 20,
        .memtable_bytes = 32 << 20,
        .memtable_count = 4,
        .cache_bytes = 64 << 20,
        .block_bytes = 4096,
        .compression = KEVO_COMPRESSION_LZ4,
        .filter_bits_per_key = 12,
        .table_bytes = 64 << 20,
        .l0_trigger = 4,
        .l0_slow = 12,
        .l0_stop = 20,
        .level1_bytes = 128 << 20,
        .level_factor = 10,
        .retain_ms = 1000,
        .background = true,
        .file_mode = 0644,
    };
}

static int out_of_range(struct kevo_err *err, const char *name, uint64_t value, uint64_t low,
                        uint64_t high) {
    return kevo_fail(err, KEVO_INVALID, "option %s is %llu; it must be from %llu to %llu", name,
                     (unsigned long long)value, (unsigned long long)low, (unsigned long long)high);
}

static int check_options(const struct kevo_options *o, struct kevo_err *err) {
    const struct {
        const char *name;
        uint64_t value, low, high;
    } ranges[] = {
        {"authority", (uint64_t)o->authority, 1, 2},
        {"sync", (uint64_t)o->sync, 0, 2},
        {"wal_sync_bytes", o->wal_sync_bytes, 1, UINT64_MAX},
        {"memtable_bytes", o->memtable_bytes, 4096, (uint64_t)1 << 32},
        {"memtable_count", o->memtable_count, 2, MAX_MEMTABLES},
        {"cache_bytes", o->cache_bytes, 0, (uint64_t)1 << 40},
        {"block_bytes", o->block_bytes, 64, 1 << 20},
        {"compression", (uint64_t)o->compression, 0, 1},
        {"filter_bits_per_key", o->filter_bits_per_key, 0, 32},
        {"table_bytes", o->table_bytes, 4096, (uint64_t)1 << 32},
        {"l0_trigger", o->l0_trigger, 1, MAX_L0_STOP},
        {"l0_slow", o->l0_slow, o->l0_trigger, MAX_L0_STOP},
        {"l0_stop", o->l0_stop, o->l0_slow, MAX_L0_STOP},
        {"level1_bytes", o->level1_bytes, 4096, (uint64_t)1 << 40},
        {"level_factor", o->level_factor, 2, 100},
        {"retain_ms", o->retain_ms, 0, 86400000},
        {"file_mode", o->file_mode, 0, 07777},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (ranges[i].value < ranges[i].low || ranges[i].value > ranges[i].high)
            return out_of_range(err, ranges[i].name, ranges[i].value, ranges[i].low,
                                ranges[i].high);
    }
    return 0;
}

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
    if (rc == 0) rc = dir_remove_leftovers(s->env, s->dir, err);
    if (rc == 0) rc = s->env->random(s->env, state.uuid, sizeof state.uuid, err);
    if (rc == 0) rc = manifest_create(&s->home, &state, s->options.file_mode, &s->manifest, err);
    manifest_close(s->manifest);
    s->manifest = NULL;
    version_unref(state.version);
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
    version_unref(s->state.version);
    manifest_close(s->manifest);
    wal_close(s->wal);
    compact_cursor_release(&s->cursor);
    buf_release(&s->record);
    mem_free(s->pins);
    cache_free(s->cache);
    s->env->close(s->env, s->lock_file);
    pthread_mutex_destroy(&s->write_mutex);
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
    pthread_mutex_init(&s->write_mutex, NULL);
    pthread_mutex_init(&s->manifest_mutex, NULL);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->work_cond, NULL);
    pthread_cond_init(&s->done_cond, NULL);
    s->dir = mem_strdup(dir);
    s->cache = cache_new(o->cache_bytes);
    *store = s;
    if (!s->dir || !s->cache) return kevo_nomem(err);
    s->home = (struct table_home){s->env, s->dir, s->cache};
    if (fork_watch()) return kevo_nomem(err);
    s->fork_generation = fork_generation();
    return s->env->random(s->env, &s->nonce_state, sizeof s->nonce_state, err);
}

int kevo_open(const char *dir, const struct kevo_options *o, kevo_store **store,
              struct kevo_err *err) {
    struct kevo_options standard;
    kevo_store *s = NULL;
    *store = NULL;
    if (!o) {
        kevo_options_default(&standard);
        o = &standard;
    }
    int rc = check_options(o, err);
    if (rc == 0 && strlen(dir) + 64 > ENV_PATH_MAX)
        rc = kevo_fail(err, KEVO_CANTOPEN, "the directory's name is too long");
    if (rc) return rc;
    rc = store_new(dir, o, &s, err);
    if (rc == 0) rc = find_or_create(s, err);
    if (rc == 0) rc = store_recover(s, err);
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

const uint8_t *kevo_store_uuid(const kevo_store *store) {
    return store->state.uuid;
}
