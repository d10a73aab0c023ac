#include "tests/lib/crash_env.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/error.h"
#include "tests/lib/harness.h"

enum { SECTOR = 512 };

/* A sector that was written since the last sync. */
struct sector {
    bool dirty;
    uint8_t *between; /* its bytes between two unsynced writes, or NULL */
};

struct name {
    char *text;
    struct inode *inode;
};

struct names {
    struct name *at;
    size_t count;
};

enum change_kind { LINKED, UNLINKED, RENAMED };

struct change {
    enum change_kind kind;
    char *name, *to;
    struct inode *inode;
};

/* A file or directory. Lives as long as the env: an image may need it after it
 * was removed. */
struct inode {
    struct inode *next;
    bool is_dir;
    unsigned mode;

    /* files: `live` reads what was written, `disk` is what was synced */
    struct env_file *live;
    uint64_t live_size;
    uint8_t *disk;
    uint64_t disk_size;
    struct sector *sectors;
    uint64_t sector_count;

    /* directories */
    struct names now, synced;
    struct change *changes;
    size_t change_count;
};

struct env_file {
    struct env_file *below;
    struct inode *inode;
};

struct crash_env {
    struct env env; /* first: the two pointers are one */
    struct env *below;
    pthread_mutex_t lock;
    struct inode root, *inodes;
    uint64_t changes, stop_at, fail_sync_in;
    bool stopped;
    void (*watch)(void *arg);
    void *watch_arg;
};

static struct crash_env *self(struct env *env) {
    return (struct crash_env *)env;
}

static void *need(void *p) {
    if (!p) abort();
    return p;
}

static char *copy_text(const char *s, size_t len) {
    char *copy = need(malloc(len + 1));
    memcpy(copy, s, len);
    copy[len] = 0;
    return copy;
}

/* ---- the power ---- */

static int refuse(struct crash_env *c, const char *path, struct kevo_err *err) {
    c->stopped = true;
    return kevo_fail(err, KEVO_IOERR, "%.400s: the power is off", path);
}

/* A change is about to be made; false when the power is off. */
static bool may_change(struct crash_env *c) {
    if (c->changes >= c->stop_at) return false;
    if (c->watch) c->watch(c->watch_arg);
    c->changes++;
    return true;
}

/* ---- names ---- */

static struct name *find_name(const struct names *n, const char *text) {
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->at[i].text, text) == 0) return &n->at[i];
    return NULL;
}

static void drop_name(struct names *n, const char *text) {
    struct name *found = find_name(n, text);
    if (!found) return;
    free(found->text);
    *found = n->at[--n->count];
}

static void set_name(struct names *n, const char *text, struct inode *inode) {
    drop_name(n, text);
    n->at = need(realloc(n->at, (n->count + 1) * sizeof *n->at));
    n->at[n->count++] = (struct name){copy_text(text, strlen(text)), inode};
}

static void free_names(struct names *n) {
    for (size_t i = 0; i < n->count; i++)
        free(n->at[i].text);
    free(n->at);
    *n = (struct names){0};
}

static void copy_names(struct names *to, const struct names *from) {
    for (size_t i = 0; i < from->count; i++)
        set_name(to, from->at[i].text, from->at[i].inode);
}

static void apply(struct names *n, const struct change *c) {
    switch (c->kind) {
    case LINKED: set_name(n, c->name, c->inode); break;
    case UNLINKED: {
        /* Not a later file of that name. */
        struct name *found = find_name(n, c->name);
        if (found && found->inode == c->inode) drop_name(n, c->name);
        break;
    }
    case RENAMED:
        /* Whatever it was called: an earlier rename may not have reached the disk. */
        for (size_t i = n->count; i-- > 0;)
            if (n->at[i].inode == c->inode) drop_name(n, n->at[i].text);
        set_name(n, c->to, c->inode);
        break;
    }
}

static void change_names(struct inode *dir, enum change_kind kind, const char *name, const char *to,
                         struct inode *inode) {
    dir->changes = need(realloc(dir->changes, (dir->change_count + 1) * sizeof *dir->changes));
    struct change *c = &dir->changes[dir->change_count++];
    *c = (struct change){kind, copy_text(name, strlen(name)), NULL, inode};
    if (to) c->to = copy_text(to, strlen(to));
    apply(&dir->now, c);
}

static void forget_changes(struct inode *dir) {
    for (size_t i = 0; i < dir->change_count; i++) {
        free(dir->changes[i].name);
        free(dir->changes[i].to);
    }
    free(dir->changes);
    dir->changes = NULL;
    dir->change_count = 0;
}

static void sync_names(struct inode *dir) {
    free_names(&dir->synced);
    copy_names(&dir->synced, &dir->now);
    forget_changes(dir);
}

/* The directory of the last name in `path`, and that name into `name`. The env
 * below has found that it exists. */
static struct inode *dir_of(struct crash_env *c, const char *path, char name[ENV_PATH_MAX]) {
    struct inode *dir = &c->root;
    name[0] = 0;
    for (;;) {
        path += strspn(path, "/");
        size_t len = strcspn(path, "/");
        if (len == 0) return dir;
        if (len == 1 && path[0] == '.') {
            path++;
            continue;
        }
        if (name[0]) dir = find_name(&dir->now, name)->inode;
        snprintf(name, ENV_PATH_MAX, "%.*s", (int)len, path);
        path += len;
    }
}

static struct inode *inode_at(struct crash_env *c, const char *path) {
    char name[ENV_PATH_MAX];
    struct inode *dir = dir_of(c, path, name);
    if (!name[0]) return &c->root;
    struct name *found = find_name(&dir->now, name);
    return found ? found->inode : NULL;
}

static struct inode *add_inode(struct crash_env *c, const char *path, bool is_dir, unsigned mode) {
    char name[ENV_PATH_MAX];
    struct inode *dir = dir_of(c, path, name), *n = need(calloc(1, sizeof *n));
    n->is_dir = is_dir;
    n->mode = mode;
    n->next = c->inodes;
    c->inodes = n;
    change_names(dir, LINKED, name, NULL, n);
    return n;
}

/* ---- contents ---- */

static void read_live(struct crash_env *c, struct inode *n, uint64_t offset, uint8_t *data,
                      size_t len) {
    size_t got;
    if (c->below->read(c->below, n->live, offset, data, len, &got, NULL) < 0) abort();
    memset(data + got, 0, len - got);
}

static void grow_sectors(struct inode *n, uint64_t end) {
    uint64_t count = (end + SECTOR - 1) / SECTOR;
    if (count <= n->sector_count) return;
    uint64_t room = count + count / 2;
    n->sectors = need(realloc(n->sectors, room * sizeof *n->sectors));
    n->disk = need(realloc(n->disk, room * SECTOR));
    memset(n->sectors + n->sector_count, 0, (room - n->sector_count) * sizeof *n->sectors);
    memset(n->disk + n->sector_count * SECTOR, 0, (room - n->sector_count) * SECTOR);
    n->sector_count = room;
}

/* [offset, end) is about to change. */
static void mark_dirty(struct crash_env *c, struct inode *n, uint64_t offset, uint64_t end) {
    if (offset >= end) return;
    grow_sectors(n, end);
    for (uint64_t i = offset / SECTOR; i * SECTOR < end; i++) {
        struct sector *s = &n->sectors[i];
        if (s->dirty && !s->between) {
            s->between = need(malloc(SECTOR));
            read_live(c, n, i * SECTOR, s->between, SECTOR);
        }
        s->dirty = true;
    }
}

static void clean(struct sector *s) {
    free(s->between);
    *s = (struct sector){0};
}

/* `lost`: the system says the sectors are clean, but the disk never got them. */
static void sync_contents(struct crash_env *c, struct inode *n, bool lost) {
    for (uint64_t i = 0; i < n->sector_count; i++) {
        if (!n->sectors[i].dirty) continue;
        if (!lost) read_live(c, n, i * SECTOR, n->disk + i * SECTOR, SECTOR);
        clean(&n->sectors[i]);
    }
    if (!lost) n->disk_size = n->live_size;
}

static void note_size(struct crash_env *c, struct inode *n) {
    if (c->below->size(c->below, n->live, &n->live_size, NULL) < 0) abort();
}

/* ---- open files ---- */

static int open_below(struct crash_env *c, const char *path, unsigned flags, unsigned mode,
                      struct env_file *f, struct kevo_err *err) {
    struct env_stat st;
    bool existed = c->below->stat(c->below, path, &st, NULL) == KEVO_OK;
    bool changes = (!existed && (flags & ENV_CREATE)) || (flags & ENV_TRUNCATE);
    if (c->changes >= c->stop_at) return refuse(c, path, err);
    if (changes && c->watch) c->watch(c->watch_arg);
    int rc = c->below->open(c->below, path, flags & ~(unsigned)ENV_TRUNCATE, mode, &f->below, err);
    if (rc < 0) return rc;
    if (changes) c->changes++;
    f->inode = existed ? inode_at(c, path) : add_inode(c, path, false, mode);
    if (!existed) {
        rc = c->below->open(c->below, path, ENV_READ | ENV_WRITE, 0, &f->inode->live, err);
        if (rc < 0) abort();
    }
    if (flags & ENV_TRUNCATE) {
        mark_dirty(c, f->inode, 0, f->inode->live_size);
        if (c->below->truncate(c->below, f->inode->live, 0, err) < 0) abort();
        f->inode->live_size = 0;
    }
    return KEVO_OK;
}

static int crash_open(struct env *env, const char *path, unsigned flags, unsigned mode,
                      struct env_file **file, struct kevo_err *err) {
    struct env_file *f = need(calloc(1, sizeof *f));
    *file = NULL;
    pthread_mutex_lock(&self(env)->lock);
    int rc = open_below(self(env), path, flags, mode, f, err);
    pthread_mutex_unlock(&self(env)->lock);
    if (rc == KEVO_OK)
        *file = f;
    else
        free(f);
    return rc;
}

static void crash_close(struct env *env, struct env_file *f) {
    if (!f) return;
    struct env *below = self(env)->below;
    below->close(below, f->below);
    free(f);
}

static int crash_read(struct env *env, struct env_file *f, uint64_t offset, void *data, size_t len,
                      size_t *got, struct kevo_err *err) {
    struct env *below = self(env)->below;
    return below->read(below, f->below, offset, data, len, got, err);
}

static int crash_write(struct env *env, struct env_file *f, uint64_t offset, const void *data,
                       size_t len, struct kevo_err *err) {
    struct crash_env *c = self(env);
    int rc;
    pthread_mutex_lock(&c->lock);
    if (may_change(c)) {
        if (len) mark_dirty(c, f->inode, offset, offset + len);
        rc = c->below->write(c->below, f->below, offset, data, len, err);
        note_size(c, f->inode);
    } else {
        rc = refuse(c, "write", err);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int crash_sync(struct env *env, struct env_file *f, struct kevo_err *err) {
    struct crash_env *c = self(env);
    int rc = KEVO_OK;
    pthread_mutex_lock(&c->lock);
    if (!may_change(c)) {
        rc = refuse(c, "sync", err);
    } else {
        bool lost = c->fail_sync_in == 1;
        if (c->fail_sync_in) c->fail_sync_in--;
        sync_contents(c, f->inode, lost);
        if (lost) rc = kevo_fail(err, KEVO_IOERR, "cannot sync a file: told to fail");
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int crash_truncate(struct env *env, struct env_file *f, uint64_t size_bytes,
                          struct kevo_err *err) {
    struct crash_env *c = self(env);
    int rc;
    pthread_mutex_lock(&c->lock);
    if (may_change(c)) {
        mark_dirty(c, f->inode, size_bytes, f->inode->live_size);
        grow_sectors(f->inode, size_bytes);
        rc = c->below->truncate(c->below, f->below, size_bytes, err);
        note_size(c, f->inode);
    } else {
        rc = refuse(c, "truncate", err);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int crash_allocate(struct env *env, struct env_file *f, uint64_t size_bytes,
                          struct kevo_err *err) {
    struct crash_env *c = self(env);
    int rc;
    pthread_mutex_lock(&c->lock);
    if (may_change(c)) {
        grow_sectors(f->inode, size_bytes);
        rc = c->below->allocate(c->below, f->below, size_bytes, err);
        note_size(c, f->inode);
    } else {
        rc = refuse(c, "allocate", err);
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static void crash_write_soon(struct env *env, struct env_file *f, uint64_t offset, uint64_t len) {
    (void)env;
    (void)f;
    (void)offset;
    (void)len;
}

static int crash_size(struct env *env, struct env_file *f, uint64_t *size_bytes,
                      struct kevo_err *err) {
    struct env *below = self(env)->below;
    return below->size(below, f->below, size_bytes, err);
}

static int crash_map(struct env *env, struct env_file *f, uint64_t size_bytes, const uint8_t **data,
                     struct kevo_err *err) {
    struct env *below = self(env)->below;
    return below->map(below, f->below, size_bytes, data, err);
}

static void crash_unmap(struct env *env, const uint8_t *data, uint64_t size_bytes) {
    struct env *below = self(env)->below;
    below->unmap(below, data, size_bytes);
}

static int crash_lock(struct env *env, struct env_file *f, bool shared, struct kevo_err *err) {
    struct env *below = self(env)->below;
    return below->lock(below, f->below, shared, err);
}

/* ---- names, as calls ---- */

static int crash_make_dir(struct env *env, const char *path, unsigned mode, struct kevo_err *err) {
    struct crash_env *c = self(env);
    pthread_mutex_lock(&c->lock);
    int rc = may_change(c) ? c->below->make_dir(c->below, path, mode, err) : refuse(c, path, err);
    if (rc == KEVO_OK) add_inode(c, path, true, mode);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int remove_name(struct crash_env *c, const char *path, bool is_dir, struct kevo_err *err) {
    if (!may_change(c)) return refuse(c, path, err);
    int rc =
        is_dir ? c->below->remove_dir(c->below, path, err) : c->below->unlink(c->below, path, err);
    if (rc < 0) return rc;
    char name[ENV_PATH_MAX];
    struct inode *dir = dir_of(c, path, name);
    change_names(dir, UNLINKED, name, NULL, find_name(&dir->now, name)->inode);
    return KEVO_OK;
}

static int crash_remove_dir(struct env *env, const char *path, struct kevo_err *err) {
    pthread_mutex_lock(&self(env)->lock);
    int rc = remove_name(self(env), path, true, err);
    pthread_mutex_unlock(&self(env)->lock);
    return rc;
}

static int crash_unlink(struct env *env, const char *path, struct kevo_err *err) {
    pthread_mutex_lock(&self(env)->lock);
    int rc = remove_name(self(env), path, false, err);
    pthread_mutex_unlock(&self(env)->lock);
    return rc;
}

static int crash_sync_dir(struct env *env, const char *path, struct kevo_err *err) {
    struct crash_env *c = self(env);
    pthread_mutex_lock(&c->lock);
    int rc = may_change(c) ? c->below->sync_dir(c->below, path, err) : refuse(c, path, err);
    if (rc == KEVO_OK) sync_names(inode_at(c, path));
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int crash_list(struct env *env, const char *path, int (*visit)(void *arg, const char *name),
                      void *arg, struct kevo_err *err) {
    struct env *below = self(env)->below;
    return below->list(below, path, visit, arg, err);
}

static bool same_dir(const char *a, const char *b) {
    const char *end_a = strrchr(a, '/'), *end_b = strrchr(b, '/');
    size_t len_a = end_a ? (size_t)(end_a - a) : 0, len_b = end_b ? (size_t)(end_b - b) : 0;
    return len_a == len_b && memcmp(a, b, len_a) == 0;
}

static int rename_in_dir(struct crash_env *c, const char *from, const char *to,
                         struct kevo_err *err) {
    if (!same_dir(from, to))
        return kevo_fail(err, KEVO_INVALID, "%.200s: renamed to another directory", from);
    if (!may_change(c)) return refuse(c, from, err);
    int rc = c->below->rename(c->below, from, to, err);
    if (rc < 0 || strcmp(from, to) == 0) return rc;
    char name[ENV_PATH_MAX], to_name[ENV_PATH_MAX];
    struct inode *dir = dir_of(c, from, name);
    dir_of(c, to, to_name);
    change_names(dir, RENAMED, name, to_name, find_name(&dir->now, name)->inode);
    return KEVO_OK;
}

static int crash_rename(struct env *env, const char *from, const char *to, struct kevo_err *err) {
    pthread_mutex_lock(&self(env)->lock);
    int rc = rename_in_dir(self(env), from, to, err);
    pthread_mutex_unlock(&self(env)->lock);
    return rc;
}

static int link_file(struct crash_env *c, const char *from, const char *to, struct kevo_err *err) {
    if (!may_change(c)) return refuse(c, to, err);
    int rc = c->below->link(c->below, from, to, err);
    if (rc < 0) return rc;
    char name[ENV_PATH_MAX];
    struct inode *dir = dir_of(c, to, name);
    change_names(dir, LINKED, name, NULL, inode_at(c, from));
    return KEVO_OK;
}

static int crash_link(struct env *env, const char *from, const char *to, struct kevo_err *err) {
    pthread_mutex_lock(&self(env)->lock);
    int rc = link_file(self(env), from, to, err);
    pthread_mutex_unlock(&self(env)->lock);
    return rc;
}

static int crash_set_owner(struct env *env, const char *path, unsigned user, unsigned group,
                           struct kevo_err *err) {
    struct env *below = self(env)->below;
    return below->set_owner(below, path, user, group, err);
}

static int crash_stat(struct env *env, const char *path, struct env_stat *st,
                      struct kevo_err *err) {
    struct env *below = self(env)->below;
    return below->stat(below, path, st, err);
}

/* ---- making and freeing ---- */

struct env *crash_env_new(void) {
    struct crash_env *c = need(calloc(1, sizeof *c));
    c->below = need(env_memory_new());
    /* Recursive, for images drawn by who watches. */
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&c->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    c->root.is_dir = true;
    c->stop_at = UINT64_MAX;

    c->env = *c->below; /* clock, randomness, threads, hints: need no env of their own */
    c->env.open = crash_open;
    c->env.close = crash_close;
    c->env.read = crash_read;
    c->env.write = crash_write;
    c->env.sync = crash_sync;
    c->env.truncate = crash_truncate;
    c->env.allocate = crash_allocate;
    c->env.write_soon = crash_write_soon;
    c->env.size = crash_size;
    c->env.map = crash_map;
    c->env.unmap = crash_unmap;
    c->env.lock = crash_lock;
    c->env.make_dir = crash_make_dir;
    c->env.remove_dir = crash_remove_dir;
    c->env.sync_dir = crash_sync_dir;
    c->env.list = crash_list;
    c->env.rename = crash_rename;
    c->env.link = crash_link;
    c->env.unlink = crash_unlink;
    c->env.stat = crash_stat;
    c->env.set_owner = crash_set_owner;
    return &c->env;
}

static void release_inode(struct crash_env *c, struct inode *n) {
    c->below->close(c->below, n->live);
    for (uint64_t i = 0; i < n->sector_count; i++)
        free(n->sectors[i].between);
    free(n->sectors);
    free(n->disk);
    forget_changes(n);
    free_names(&n->now);
    free_names(&n->synced);
}

void crash_env_free(struct env *env) {
    if (!env) return;
    struct crash_env *c = self(env);
    for (struct inode *n = c->inodes, *next; n; n = next) {
        next = n->next;
        release_inode(c, n);
        free(n);
    }
    release_inode(c, &c->root);
    env_memory_free(c->below);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

uint64_t crash_env_changes(struct env *env) {
    pthread_mutex_lock(&self(env)->lock);
    uint64_t changes = self(env)->changes;
    pthread_mutex_unlock(&self(env)->lock);
    return changes;
}

void crash_env_watch(struct env *env, void (*watch)(void *arg), void *arg) {
    pthread_mutex_lock(&self(env)->lock);
    self(env)->watch = watch;
    self(env)->watch_arg = arg;
    pthread_mutex_unlock(&self(env)->lock);
}

void crash_env_stop_after(struct env *env, uint64_t n) {
    struct crash_env *c = self(env);
    pthread_mutex_lock(&c->lock);
    c->stop_at = n > UINT64_MAX - c->changes ? UINT64_MAX : c->changes + n;
    c->stopped = false;
    pthread_mutex_unlock(&c->lock);
}

bool crash_env_stopped(struct env *env) {
    pthread_mutex_lock(&self(env)->lock);
    bool stopped = self(env)->stopped;
    pthread_mutex_unlock(&self(env)->lock);
    return stopped;
}

void crash_env_fail_sync(struct env *env, uint64_t n) {
    pthread_mutex_lock(&self(env)->lock);
    self(env)->fail_sync_in = n;
    pthread_mutex_unlock(&self(env)->lock);
}

/* ---- images ---- */

struct image {
    struct crash_env *from;
    struct env *to;
    enum crash_mode mode;
    struct rng rng;
};

/* How much of what was not synced a file keeps. */
enum fate { EACH_ALONE, FIRST_PART, ALL_BUT_ONE, ALL, NONE, FATES };

static enum fate draw_fate(struct image *im) {
    if (im->mode == CRASH_DROPPED) return NONE;
    if (im->mode == CRASH_KEPT) return ALL;
    return (enum fate)rng_below(&im->rng, FATES);
}

static void fill_garbage(struct image *im, uint8_t *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)rng_next(&im->rng);
}

/* The bytes of dirty sector `i`, when it does (`kept`) or does not reach the disk. */
static void draw_sector(struct image *im, struct inode *n, uint64_t i, bool kept, uint8_t *data) {
    if (kept)
        read_live(im->from, n, i * SECTOR, data, SECTOR);
    else if (im->mode == CRASH_GARBAGE && rng_below(&im->rng, 2))
        fill_garbage(im, data, SECTOR);
    else if (im->mode != CRASH_DROPPED && n->sectors[i].between && rng_below(&im->rng, 2))
        memcpy(data, n->sectors[i].between, SECTOR);
    else
        memcpy(data, n->disk + i * SECTOR, SECTOR);
}

static uint64_t draw_size(struct image *im, const struct inode *n, enum fate fate) {
    uint64_t a = n->disk_size, b = n->live_size;
    if (fate == NONE) return a;
    if (fate == ALL || fate == ALL_BUT_ONE || a == b) return b;
    switch (rng_below(&im->rng, 4)) {
    case 0: return a;
    case 1: return a < b ? a + rng_below(&im->rng, b - a) : a;
    default: return b;
    }
}

/* All of the file's sectors as the disk might hold them. */
static uint8_t *draw_contents(struct image *im, struct inode *n, enum fate fate) {
    uint8_t *data = need(malloc(n->sector_count * SECTOR + 1));
    uint64_t group = rng_below(&im->rng, 2) ? 1 : 8; /* sectors of 512 bytes or 4 KB */
    uint64_t groups = n->sector_count / group + 1;
    uint64_t chosen = rng_below(&im->rng, groups);
    for (uint64_t g = 0; g < groups; g++) {
        bool kept = fate == ALL || (fate == EACH_ALONE && rng_below(&im->rng, 2)) ||
                    (fate == FIRST_PART && g < chosen) || (fate == ALL_BUT_ONE && g != chosen);
        for (uint64_t i = g * group; i < (g + 1) * group && i < n->sector_count; i++) {
            /* What was cut off is there as it was, if the cut is not. */
            if (n->sectors[i].dirty && i * SECTOR < n->live_size)
                draw_sector(im, n, i, kept, data + i * SECTOR);
            else
                memcpy(data + i * SECTOR, n->disk + i * SECTOR, SECTOR);
        }
    }
    return data;
}

static void draw_file(struct image *im, struct inode *n, const char *path) {
    struct env *to = im->to;
    struct env_file *f;
    enum fate fate = draw_fate(im);
    uint64_t size = draw_size(im, n, fate);
    uint8_t *data = draw_contents(im, n, fate);
    uint64_t len = size < n->sector_count * SECTOR ? size : n->sector_count * SECTOR;
    if (to->open(to, path, ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, n->mode, &f, NULL) < 0) abort();
    if (to->write(to, f, 0, data, (size_t)len, NULL) < 0) abort();
    if (to->truncate(to, f, size, NULL) < 0 || to->sync(to, f, NULL) < 0) abort();
    to->close(to, f);
    free(data);
}

static void draw_names(struct image *im, const struct inode *dir, struct names *names) {
    copy_names(names, &dir->synced);
    bool in_order = rng_below(&im->rng, 2); /* as a journal would: a first part of them */
    uint64_t first = rng_below(&im->rng, dir->change_count + 1);
    for (size_t i = 0; i < dir->change_count; i++) {
        bool kept = in_order ? i < first : rng_below(&im->rng, 2);
        if (im->mode == CRASH_DROPPED) kept = false;
        if (im->mode == CRASH_KEPT) kept = true;
        if (kept) apply(names, &dir->changes[i]);
    }
}

static void draw_dir(struct image *im, const struct inode *dir, const char *path) {
    struct names names = {0};
    draw_names(im, dir, &names);
    for (size_t i = 0; i < names.count; i++) {
        char child[ENV_PATH_MAX];
        if (env_join(child, path, names.at[i].text, NULL) < 0) abort();
        struct inode *n = names.at[i].inode;
        if (!n->is_dir) {
            draw_file(im, n, child);
        } else {
            if (im->to->make_dir(im->to, child, n->mode, NULL) < 0) abort();
            draw_dir(im, n, child);
        }
    }
    free_names(&names);
    if (im->to->sync_dir(im->to, path[0] ? path : "/", NULL) < 0) abort();
}

struct env *crash_env_image(struct env *env, enum crash_mode mode, uint64_t seed) {
    struct image im = {self(env), crash_env_new(), mode, rng_of(seed)};
    pthread_mutex_lock(&im.from->lock);
    draw_dir(&im, &im.from->root, "");
    pthread_mutex_unlock(&im.from->lock);
    self(im.to)->changes = 0;
    return im.to;
}
