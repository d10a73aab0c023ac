#include "tests/lib/disk_vfs.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REGIONS = 16, SECTOR = 512 };

/* What the connections to one file share. */
struct node {
    struct node *next;
    char *path;
    unsigned refs;
    unsigned sharers;                /* files with a SHARED lock or more */
    struct file *reserver, *pending; /* those with more; pending also for EXCLUSIVE */
    unsigned shm_refs;
    char *regions[REGIONS];
    int shm_shared[SQLITE_SHM_NLOCK]; /* how many; -1: exclusive */
};

struct disk_vfs {
    sqlite3_vfs base; /* must be first */
    struct env *env, *scratch;
    bool powersafe;
    char name[40];
    pthread_mutex_t lock;
    struct node *nodes;
    unsigned temporaries;
    uint64_t randomness;
};

struct file {
    sqlite3_file base; /* must be first */
    struct disk_vfs *vfs;
    struct env *env;
    struct env_file *file;
    struct node *node; /* of a main database */
    char *path;
    bool delete_on_close;
    bool sync_dir; /* its name is not durable */
    int level;     /* SQLITE_LOCK_... */
    bool shm;
    uint16_t shm_held, shm_held_alone; /* bits */
};

static struct file *file_of(sqlite3_file *f) {
    return (struct file *)f;
}

static struct disk_vfs *vfs_of(sqlite3_vfs *v) {
    return (struct disk_vfs *)v;
}

static void *need(void *p) {
    if (!p) abort();
    return p;
}

static int result(int rc, int code) {
    return rc == KEVO_OK      ? SQLITE_OK
           : rc == KEVO_FULL  ? SQLITE_FULL
           : rc == KEVO_NOMEM ? SQLITE_NOMEM
                              : code;
}

/* ---- names ---------------------------------------------------------------------------- */

static int sync_dir_of(struct env *env, const char *path) {
    char dir[ENV_PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    return env->sync_dir(env, dir, NULL);
}

static int vfs_delete(sqlite3_vfs *v, const char *path, int sync) {
    struct env *env = vfs_of(v)->env;
    struct env_stat st;
    if (env->stat(env, path, &st, NULL) == KEVO_NOTFOUND) return SQLITE_IOERR_DELETE_NOENT;
    int rc = env->unlink(env, path, NULL);
    if (rc == KEVO_OK && sync && sync_dir_of(env, path)) return SQLITE_IOERR_DIR_FSYNC;
    return result(rc, SQLITE_IOERR_DELETE);
}

static int vfs_access(sqlite3_vfs *v, const char *path, int flags, int *found) {
    struct env *env = vfs_of(v)->env;
    struct env_stat st;
    int rc = env->stat(env, path, &st, NULL);
    *found = rc == KEVO_OK && (flags != SQLITE_ACCESS_EXISTS || st.size_bytes > 0 || st.is_dir);
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *v, const char *path, int capacity, char *full) {
    (void)v;
    sqlite3_snprintf(capacity, full, "%s%s", *path == '/' ? "" : "/", path);
    return SQLITE_OK;
}

/* ---- reading and writing ----------------------------------------------------------------- */

static int file_read(sqlite3_file *base, void *data, int len, sqlite3_int64 offset) {
    struct file *f = file_of(base);
    size_t got;
    if (f->env->read(f->env, f->file, (uint64_t)offset, data, (size_t)len, &got, NULL))
        return SQLITE_IOERR_READ;
    if (got == (size_t)len) return SQLITE_OK;
    memset((char *)data + got, 0, (size_t)len - got);
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *data, int len, sqlite3_int64 offset) {
    struct file *f = file_of(base);
    return result(f->env->write(f->env, f->file, (uint64_t)offset, data, (size_t)len, NULL),
                  SQLITE_IOERR_WRITE);
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size) {
    struct file *f = file_of(base);
    return result(f->env->truncate(f->env, f->file, (uint64_t)size, NULL), SQLITE_IOERR_TRUNCATE);
}

static int file_sync(sqlite3_file *base, int flags) {
    struct file *f = file_of(base);
    (void)flags;
    if (f->env->sync(f->env, f->file, NULL)) return SQLITE_IOERR_FSYNC;
    if (f->sync_dir && sync_dir_of(f->env, f->path)) return SQLITE_IOERR_DIR_FSYNC;
    f->sync_dir = false;
    return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size) {
    struct file *f = file_of(base);
    uint64_t bytes;
    if (f->env->size(f->env, f->file, &bytes, NULL)) return SQLITE_IOERR_FSTAT;
    *size = (sqlite3_int64)bytes;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int op, void *arg) {
    (void)base;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *base) {
    (void)base;
    return SECTOR;
}

static int file_characteristics(sqlite3_file *base) {
    return file_of(base)->vfs->powersafe ? SQLITE_IOCAP_POWERSAFE_OVERWRITE : 0;
}

/* ---- locks ----------------------------------------------------------------------------------- */

static int take(struct file *f, int level) {
    struct node *n = f->node;
    if (level == SQLITE_LOCK_SHARED) {
        if (n->pending) return SQLITE_BUSY;
        n->sharers++;
        return SQLITE_OK;
    }
    if (n->reserver && n->reserver != f) return SQLITE_BUSY;
    n->reserver = f;
    if (level == SQLITE_LOCK_RESERVED) return SQLITE_OK;
    n->pending = f;
    return n->sharers > 1 ? SQLITE_BUSY : SQLITE_OK;
}

static int file_lock(sqlite3_file *base, int level) {
    struct file *f = file_of(base);
    if (f->level >= level) return SQLITE_OK;
    if (!f->node) return SQLITE_OK;
    pthread_mutex_lock(&f->vfs->lock);
    int rc = take(f, level);
    if (rc == SQLITE_OK)
        f->level = level;
    else if (f->node->pending == f)
        f->level = SQLITE_LOCK_PENDING;
    pthread_mutex_unlock(&f->vfs->lock);
    return rc;
}

static int file_unlock(sqlite3_file *base, int level) {
    struct file *f = file_of(base);
    if (f->level <= level || !f->node) return SQLITE_OK;
    pthread_mutex_lock(&f->vfs->lock);
    if (f->node->pending == f) f->node->pending = NULL;
    if (f->node->reserver == f) f->node->reserver = NULL;
    if (level == SQLITE_LOCK_NONE) f->node->sharers--;
    f->level = level;
    pthread_mutex_unlock(&f->vfs->lock);
    return SQLITE_OK;
}

static int file_check_reserved(sqlite3_file *base, int *reserved) {
    struct file *f = file_of(base);
    pthread_mutex_lock(&f->vfs->lock);
    *reserved = f->node && f->node->reserver;
    pthread_mutex_unlock(&f->vfs->lock);
    return SQLITE_OK;
}

/* ---- shared memory ------------------------------------------------------------------------------ */

static int shm_map(sqlite3_file *base, int region, int bytes, int extend, void volatile **at) {
    struct file *f = file_of(base);
    if (region >= REGIONS) abort();
    pthread_mutex_lock(&f->vfs->lock);
    f->node->shm_refs += !f->shm;
    f->shm = true;
    if (!f->node->regions[region] && extend)
        f->node->regions[region] = need(calloc(1, (size_t)bytes));
    *at = f->node->regions[region];
    pthread_mutex_unlock(&f->vfs->lock);
    return SQLITE_OK;
}

/* Whether others have the lock in the way. */
static bool shm_taken(const struct file *f, int i, bool alone) {
    int others = f->node->shm_shared[i];
    if (others < 0) return !(f->shm_held_alone & 1 << i);
    if (f->shm_held & 1 << i) others--;
    return alone && others > 0;
}

static void shm_release(struct file *f, int i) {
    if (f->shm_held_alone & 1 << i)
        f->node->shm_shared[i] = 0;
    else if (f->shm_held & 1 << i)
        f->node->shm_shared[i]--;
    f->shm_held = (uint16_t)(f->shm_held & ~(1 << i));
    f->shm_held_alone = (uint16_t)(f->shm_held_alone & ~(1 << i));
}

static int shm_lock(sqlite3_file *base, int first, int count, int flags) {
    struct file *f = file_of(base);
    bool alone = flags & SQLITE_SHM_EXCLUSIVE;
    int rc = SQLITE_OK;
    pthread_mutex_lock(&f->vfs->lock);
    for (int i = first; flags & SQLITE_SHM_LOCK && i < first + count; i++)
        if (shm_taken(f, i, alone)) rc = SQLITE_BUSY;
    for (int i = first; rc == SQLITE_OK && i < first + count; i++) {
        shm_release(f, i);
        if (flags & SQLITE_SHM_UNLOCK) continue;
        f->node->shm_shared[i] = alone ? -1 : f->node->shm_shared[i] + 1;
        if (alone)
            f->shm_held_alone = (uint16_t)(f->shm_held_alone | 1 << i);
        else
            f->shm_held = (uint16_t)(f->shm_held | 1 << i);
    }
    pthread_mutex_unlock(&f->vfs->lock);
    return rc;
}

static void shm_barrier(sqlite3_file *base) {
    struct file *f = file_of(base);
    pthread_mutex_lock(&f->vfs->lock);
    pthread_mutex_unlock(&f->vfs->lock);
}

static int shm_unmap(sqlite3_file *base, int delete) {
    struct file *f = file_of(base);
    (void)delete;
    pthread_mutex_lock(&f->vfs->lock);
    if (f->shm && --f->node->shm_refs == 0) {
        for (int i = 0; i < REGIONS; i++) {
            free(f->node->regions[i]);
            f->node->regions[i] = NULL;
        }
    }
    f->shm = false;
    pthread_mutex_unlock(&f->vfs->lock);
    return SQLITE_OK;
}

/* ---- opening and closing ---------------------------------------------------------------------------- */

static struct node *node_at(struct disk_vfs *v, const char *path) {
    pthread_mutex_lock(&v->lock);
    struct node *n = v->nodes;
    while (n && strcmp(n->path, path) != 0)
        n = n->next;
    if (!n) {
        n = need(calloc(1, sizeof *n));
        n->path = need(strdup(path));
        n->next = v->nodes;
        v->nodes = n;
    }
    n->refs++;
    pthread_mutex_unlock(&v->lock);
    return n;
}

static void leave_node(struct disk_vfs *v, struct node *n) {
    pthread_mutex_lock(&v->lock);
    if (--n->refs == 0) {
        struct node **p = &v->nodes;
        while (*p != n)
            p = &(*p)->next;
        *p = n->next;
        free(n->path);
        free(n);
    }
    pthread_mutex_unlock(&v->lock);
}

static int file_close(sqlite3_file *base) {
    struct file *f = file_of(base);
    if (f->node) {
        file_unlock(base, SQLITE_LOCK_NONE);
        leave_node(f->vfs, f->node);
    }
    f->env->close(f->env, f->file);
    if (f->delete_on_close) f->env->unlink(f->env, f->path, NULL);
    free(f->path);
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
};

static char *temporary_name(struct disk_vfs *v) {
    char name[40];
    pthread_mutex_lock(&v->lock);
    snprintf(name, sizeof name, "/temporary-%u", ++v->temporaries);
    pthread_mutex_unlock(&v->lock);
    return need(strdup(name));
}

static int vfs_open(sqlite3_vfs *base, const char *path, sqlite3_file *out, int flags,
                    int *out_flags) {
    struct disk_vfs *v = vfs_of(base);
    struct file *f = file_of(out);
    const int journals = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
    struct env_stat st;
    memset(f, 0, sizeof *f);
    f->vfs = v;
    f->env = path ? v->env : v->scratch;
    f->path = path ? need(strdup(path)) : temporary_name(v);
    f->delete_on_close = flags & SQLITE_OPEN_DELETEONCLOSE;
    bool missing = f->env->stat(f->env, f->path, &st, NULL) == KEVO_NOTFOUND;
    f->sync_dir = missing && flags & journals;
    unsigned how = ENV_READ | (flags & SQLITE_OPEN_READWRITE ? ENV_WRITE : 0) |
                   (flags & SQLITE_OPEN_CREATE ? ENV_CREATE : 0);
    int rc = f->env->open(f->env, f->path, how, 0644, &f->file, NULL);
    if (rc) {
        free(f->path);
        return result(rc, SQLITE_CANTOPEN);
    }
    if (flags & SQLITE_OPEN_MAIN_DB) f->node = node_at(v, f->path);
    f->base.pMethods = &methods;
    if (out_flags) *out_flags = flags;
    return SQLITE_OK;
}

/* ---- the rest of the world ----------------------------------------------------------------------------- */

/* The same numbers each time, and so the same files. */
static int vfs_randomness(sqlite3_vfs *base, int len, char *data) {
    struct disk_vfs *v = vfs_of(base);
    pthread_mutex_lock(&v->lock);
    for (int i = 0; i < len; i++) {
        v->randomness = v->randomness * 6364136223846793005u + 1442695040888963407u;
        data[i] = (char)(v->randomness >> 56);
    }
    pthread_mutex_unlock(&v->lock);
    return len;
}

static int vfs_sleep(sqlite3_vfs *base, int us) {
    struct env *env = vfs_of(base)->env;
    env->sleep_us(env, (uint64_t)us);
    return us;
}

static int vfs_time_ms(sqlite3_vfs *base, sqlite3_int64 *now) {
    (void)base;
    *now = 210866760000000 + 1700000000000; /* some moment of the Julian calendar */
    return SQLITE_OK;
}

static int vfs_time(sqlite3_vfs *base, double *days) {
    sqlite3_int64 ms;
    vfs_time_ms(base, &ms);
    *days = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *base, int capacity, char *text) {
    (void)base;
    (void)capacity;
    (void)text;
    return 0;
}

struct disk_vfs *disk_vfs_new(struct env *env, bool powersafe) {
    static unsigned count;
    struct disk_vfs *v = need(calloc(1, sizeof *v));
    snprintf(v->name, sizeof v->name, "disk-%u", ++count);
    v->env = env;
    v->scratch = need(env_memory_new());
    v->powersafe = powersafe;
    pthread_mutex_init(&v->lock, NULL);
    v->base = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = sizeof(struct file),
        .mxPathname = 512,
        .zName = v->name,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xCurrentTimeInt64 = vfs_time_ms,
        .xGetLastError = vfs_last_error,
    };
    if (sqlite3_vfs_register(&v->base, 0) != SQLITE_OK) abort();
    return v;
}

void disk_vfs_free(struct disk_vfs *v) {
    if (!v) return;
    if (v->nodes) abort();
    sqlite3_vfs_unregister(&v->base);
    env_memory_free(v->scratch);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

const char *disk_vfs_name(const struct disk_vfs *v) {
    return v->name;
}
