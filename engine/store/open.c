#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/env.h"
#include "engine/base/error.h"
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

/* ---- the lock file ----------------------------------------------------------- */

static const char lock_name[] = "LOCK";
/* What MANIFEST is called while kevo_destroy() removes the rest. */
static const char gone_name[] = "MANIFEST.gone";

/* The holder's pid, as it wrote it; 0 when it cannot be read. */
static unsigned lock_holder(struct env *env, struct env_file *file) {
    char text[32] = "";
    size_t got;
    struct kevo_err ignored;
    if (env->read(env, file, 0, text, sizeof text - 1, &got, &ignored)) return 0;
    text[got] = 0;
    return (unsigned)strtoul(text, NULL, 10);
}

/* Take the store's lock. The file is part of every store: opening one makes none. */
static int lock_store(struct env *env, const char *dir, bool create, unsigned mode,
                      struct env_file **file, struct kevo_err *err) {
    char path[ENV_PATH_MAX], text[32];
    *file = NULL;
    int rc = env_join(path, dir, lock_name, err);
    if (rc) return rc;
    unsigned flags = ENV_READ | ENV_WRITE | (create ? ENV_CREATE : 0);
    rc = env->open(env, path, flags, mode, file, err);
    if (rc) return rc;
    rc = env->lock(env, *file, err);
    if (rc == KEVO_BUSY) {
        unsigned pid = lock_holder(env, *file);
        rc = pid == env->process_id(env)
                 ? kevo_fail(err, KEVO_BUSY, "%s: the store is open in this process already", dir)
                 : kevo_fail(err, KEVO_BUSY,
                             "%s: the store is in use by process %u, and only one can have it", dir,
                             pid);
    } else if (rc == 0) {
        int len = snprintf(text, sizeof text, "%-20u\n", env->process_id(env));
        rc = env->write(env, *file, 0, text, (size_t)len, err);
    }
    if (rc) {
        env->close(env, *file);
        *file = NULL;
    }
    return rc;
}

/* ---- making a store ------------------------------------------------------------- */

enum dir_kind { DIR_MISSING, DIR_EMPTY, DIR_STORE, DIR_UNFINISHED, DIR_HALF_REMOVED, DIR_OTHER };

struct dir_look {
    bool manifest, gone, data, ours, other;
};

/* Whether the name is a table's or log segment's: digits and a known ending. */
static bool is_data_name(const char *name) {
    size_t digits = strspn(name, "0123456789");
    return digits >= 6 &&
           (strcmp(name + digits, ".sst") == 0 || strcmp(name + digits, ".wal") == 0);
}

/* Whether the name is one that a store makes. */
static bool is_store_name(const char *name) {
    return strcmp(name, lock_name) == 0 || strcmp(name, "MANIFEST") == 0 ||
           strcmp(name, "MANIFEST.new") == 0 || strcmp(name, gone_name) == 0 || is_data_name(name);
}

static int look_at_name(void *arg, const char *name) {
    struct dir_look *look = arg;
    look->manifest |= strcmp(name, "MANIFEST") == 0;
    look->gone |= strcmp(name, gone_name) == 0;
    look->data |= is_data_name(name);
    look->ours |= is_store_name(name);
    look->other |= !is_store_name(name);
    return 0;
}

/* What a directory holds. */
static int look_at_dir(struct env *env, const char *dir, enum dir_kind *kind,
                       struct kevo_err *err) {
    struct env_stat st;
    int rc = env->stat(env, dir, &st, err);
    if (rc == KEVO_NOTFOUND) {
        *kind = DIR_MISSING;
        return 0;
    }
    if (rc) return rc;
    if (!st.is_dir) return kevo_fail(err, KEVO_CANTOPEN, "%s: not a directory", dir);
    struct dir_look look = {0};
    rc = env->list(env, dir, look_at_name, &look, err);
    if (rc) return rc;
    if (look.data && !look.manifest && !look.gone && !look.other)
        return kevo_fail(err, KEVO_CORRUPT, "%s/MANIFEST: missing, but there is data", dir);
    *kind = look.manifest ? DIR_STORE
            : look.gone   ? DIR_HALF_REMOVED
            : look.other  ? DIR_OTHER
            : look.ours   ? DIR_UNFINISHED
                          : DIR_EMPTY;
    return 0;
}

/* The directory that `dir` lies in, for syncing its entry. */
static void parent_of(char parent[ENV_PATH_MAX], const char *dir) {
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    while (n > 0 && dir[n - 1] != '/')
        n--;
    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (n == 0)
        snprintf(parent, ENV_PATH_MAX, ".");
    else
        snprintf(parent, ENV_PATH_MAX, "%.*s", (int)n, dir);
}

static unsigned dir_mode(unsigned file_mode) {
    return file_mode | (file_mode & 0444) >> 2; /* who may read may search */
}

/* A power loss must not take away the directory with a store in it. One that was there
 * before may be of a creation that failed, or somebody else's in a place that is not ours
 * to look at. */
static int sync_parent(struct env *env, const char *dir, bool made, struct kevo_err *err) {
    char parent[ENV_PATH_MAX];
    parent_of(parent, dir);
    int rc = env->sync_dir(env, parent, err);
    return rc == KEVO_CANTOPEN && !made ? 0 : rc;
}

struct removal {
    struct env *env;
    const char *dir;
    struct kevo_err *err;
};

/* Remove all of a store's files but the lock, and the mark of a removal under way,
 * which go last. */
static int remove_name(void *arg, const char *name) {
    struct removal *r = arg;
    char path[ENV_PATH_MAX];
    if (!is_store_name(name) || strcmp(name, lock_name) == 0 || strcmp(name, gone_name) == 0)
        return 0;
    int rc = env_join(path, r->dir, name, r->err);
    return rc ? rc : r->env->unlink(r->env, path, r->err);
}

static int unlink_if_there(struct env *env, const char *dir, const char *name,
                           struct kevo_err *err) {
    char path[ENV_PATH_MAX];
    struct env_stat st;
    int rc = env_join(path, dir, name, err);
    if (rc == 0) rc = env->stat(env, path, &st, err);
    if (rc == 0) rc = env->unlink(env, path, err);
    return rc == KEVO_NOTFOUND ? 0 : rc;
}

/* Clear a directory of everything a store may have left. */
static int remove_leftovers(struct env *env, const char *dir, struct kevo_err *err) {
    struct removal r = {env, dir, err};
    int rc = env->list(env, dir, remove_name, &r, err);
    if (rc == 0) rc = env->sync_dir(env, dir, err);
    if (rc == 0) rc = unlink_if_there(env, dir, gone_name, err);
    return rc;
}

static int create_manifest(kevo_store *s, struct kevo_err *err) {
    struct manifest_state state = {
        .authority = s->options.authority,
        .next_file = 1,
        .wal_floor = 1,
        .version = version_new(),
    };
    int rc = state.version ? 0 : kevo_nomem(err);
    if (rc == 0) rc = remove_leftovers(s->env, s->dir, err);
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
    int rc = look_at_dir(s->env, s->dir, &kind, err);
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
    if (made) rc = s->env->make_dir(s->env, s->dir, dir_mode(o->file_mode), err);
    if (rc == 0 && kind != DIR_STORE) rc = sync_parent(s->env, s->dir, made, err);
    if (rc) return rc;
    rc = lock_store(s->env, s->dir, kind != DIR_STORE, o->file_mode, &s->lock_file, err);
    /* With the lock held look again: another process may have been faster. */
    if (rc == 0 && kind != DIR_STORE) rc = look_at_dir(s->env, s->dir, &kind, err);
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

/* ---- destroy ------------------------------------------------------------------------------ */

/* The manifest is renamed first: whatever a crash leaves then is no store, and may
 * be removed or built over. */
static int remove_files(struct env *env, const char *dir, enum dir_kind kind,
                        struct kevo_err *err) {
    char from[ENV_PATH_MAX], to[ENV_PATH_MAX];
    int rc = env_join(from, dir, "MANIFEST", err);
    if (rc == 0) rc = env_join(to, dir, gone_name, err);
    if (rc == 0 && kind == DIR_STORE) rc = env->rename(env, from, to, err);
    if (rc == 0) rc = env->sync_dir(env, dir, err);
    if (rc == 0) rc = remove_leftovers(env, dir, err);
    if (rc == 0) rc = unlink_if_there(env, dir, lock_name, err);
    return rc;
}

int kevo_destroy(const char *dir, const struct kevo_options *o, struct kevo_err *err) {
    struct env *env = o && o->env ? o->env : env_posix();
    struct env_file *lock = NULL;
    enum dir_kind kind;
    struct dir_look look = {0};
    char parent[ENV_PATH_MAX];
    int rc = look_at_dir(env, dir, &kind, err);
    if (rc) return rc;
    if (kind != DIR_STORE && kind != DIR_HALF_REMOVED)
        return kevo_fail(err, KEVO_CANTOPEN, "%s: there is no kevo store", dir);
    rc = lock_store(env, dir, kind == DIR_HALF_REMOVED, 0600, &lock, err);
    if (rc == 0) rc = remove_files(env, dir, kind, err);
    env->close(env, lock);
    if (rc == 0) rc = env->list(env, dir, look_at_name, &look, err);
    if (rc || look.other) return rc;
    rc = env->remove_dir(env, dir, err);
    if (rc) return rc;
    parent_of(parent, dir);
    return env->sync_dir(env, parent, err);
}
