#include "engine/base/env.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"

/* A file's bytes. A map holds the buffer itself, so bytes never move under it: a
 * file that must grow while it is mapped goes on in a new buffer. */
struct buffer {
    _Atomic unsigned refs; /* the file, and each map */
    uint64_t cap;          /* bytes of data[] */
    _Alignas(16) uint8_t data[];
};

struct node;

/* A name in a directory. A file may have several. */
struct entry {
    char *name;
    struct node *node;
};

/* A file or directory. Lives while it has a name or is open. */
struct node {
    bool is_dir;
    unsigned mode, user, group;
    unsigned refs; /* each name counts one, each open file one */

    /* directories: sorted by name */
    struct entry *children;
    size_t child_count, child_cap;

    /* files: lock guards what follows, so that a long copy into one file keeps
     * nobody from another */
    pthread_mutex_t lock;
    struct buffer *buffer;    /* NULL: no bytes yet */
    uint64_t size;            /* the file's size */
    uint64_t filled;          /* bytes from here to size read as zeros and have no memory */
    struct env_file *lock_by; /* who took the file's lock for itself */
    unsigned lock_sharers;    /* open files that share it */
};

struct env_file {
    struct node *node;
    unsigned flags;
    bool shares_lock;
    char path[];
};

struct memory_env {
    struct env env;       /* first: the two pointers are one */
    pthread_mutex_t lock; /* of the tree and the reference counts */
    struct node root;
};

static struct memory_env *self(struct env *env) {
    return (struct memory_env *)env;
}

/* ---- buffers ---- */

static void buffer_unref(struct buffer *b) {
    if (b && atomic_fetch_sub(&b->refs, 1) == 1) mem_free(b);
}

static bool is_mapped(const struct buffer *b) {
    return b && atomic_load(&b->refs) > 1;
}

/* Change the capacity of an unmapped buffer, or move a mapped file to a new one. */
static bool set_capacity(struct node *n, uint64_t cap) {
    if (cap > SIZE_MAX - sizeof(struct buffer)) return false;
    bool mapped = is_mapped(n->buffer);
    struct buffer *b = mem_resize(mapped ? NULL : n->buffer, sizeof *b + (size_t)cap);
    if (!b) return false;
    if (mapped) memcpy(b->data, n->buffer->data, (size_t)n->filled);
    if (mapped) buffer_unref(n->buffer);
    atomic_store(&b->refs, 1);
    b->cap = cap;
    n->buffer = b;
    return true;
}

/* Give [filled, end) memory, as zeros up to `zero_end`. */
static bool fill(struct node *n, uint64_t zero_end, uint64_t end) {
    uint64_t cap = n->buffer ? n->buffer->cap : 0;
    if (end > cap) {
        uint64_t want = cap + cap / 2 + 64;
        if (!set_capacity(n, want > end ? want : end)) return false;
    }
    if (zero_end > n->filled) {
        memset(n->buffer->data + n->filled, 0, (size_t)(zero_end - n->filled));
        n->filled = zero_end;
    }
    return true;
}

/* ---- the tree ---- */

static char *copy_name(slice name) {
    char *copy = mem_alloc(name.len + 1);
    if (!copy) return NULL;
    memcpy(copy, name.data, name.len);
    copy[name.len] = 0;
    return copy;
}

static struct node *new_node(bool is_dir, unsigned mode) {
    struct node *n = mem_zalloc(sizeof *n);
    if (!n) return NULL;
    n->is_dir = is_dir;
    n->mode = mode & 0777;
    n->refs = 1;
    pthread_mutex_init(&n->lock, NULL);
    return n;
}

static void node_unref(struct node *n) {
    if (--n->refs > 0) return;
    assert(n->child_count == 0);
    buffer_unref(n->buffer);
    pthread_mutex_destroy(&n->lock);
    mem_free(n->children);
    mem_free(n);
}

/* The place of `name` among the children; *found tells whether it is taken. */
static size_t child_place(const struct node *dir, slice name, bool *found) {
    size_t low = 0, high = dir->child_count;
    *found = false;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = slice_cmp(slice_of_str(dir->children[mid].name), name);
        if (c == 0) *found = true;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct node *child_named(const struct node *dir, slice name) {
    bool found;
    size_t at = child_place(dir, name, &found);
    return found ? dir->children[at].node : NULL;
}

static bool reserve_child(struct node *dir) {
    return mem_grow((void **)&dir->children, &dir->child_cap, dir->child_count + 1,
                    sizeof *dir->children);
}

/* Room was reserved and the name, which is taken over, is free. So is a reference. */
static void add_child(struct node *dir, char *name, struct node *child) {
    bool found;
    size_t at = child_place(dir, slice_of_str(name), &found);
    assert(!found && dir->child_count < dir->child_cap);
    memmove(dir->children + at + 1, dir->children + at,
            (dir->child_count - at) * sizeof *dir->children);
    dir->children[at] = (struct entry){name, child};
    dir->child_count++;
}

/* The reference that the name had is the caller's now. */
static void take_child(struct node *dir, slice name) {
    bool found;
    size_t at = child_place(dir, name, &found);
    assert(found);
    mem_free(dir->children[at].name);
    dir->child_count--;
    memmove(dir->children + at, dir->children + at + 1,
            (dir->child_count - at) * sizeof *dir->children);
}

struct place {
    struct node *dir;  /* the directory the last name is in; NULL for the root itself */
    slice name;        /* the last name */
    struct node *node; /* what is there, or NULL */
};

/* Returns 0 or an errno. */
static int find(struct memory_env *m, const char *path, struct place *p) {
    *p = (struct place){.node = &m->root};
    for (;;) {
        path += strspn(path, "/");
        slice name = slice_of(path, strcspn(path, "/"));
        path += name.len;
        if (name.len == 0) return 0;
        if (name.len == 1 && name.data[0] == '.') continue;
        if (!p->node) return ENOENT;
        if (!p->node->is_dir) return ENOTDIR;
        *p = (struct place){p->node, name, child_named(p->node, name)};
    }
}

/* Give the place's free name to a node, whose reference is taken over. */
static int give_name(struct place *p, struct node *n) {
    char *name = reserve_child(p->dir) ? copy_name(p->name) : NULL;
    if (!name) return ENOMEM;
    add_child(p->dir, name, n);
    return 0;
}

static int create(struct place *p, bool is_dir, unsigned mode) {
    struct node *n = new_node(is_dir, mode);
    int error = n ? give_name(p, n) : ENOMEM;
    if (error) {
        if (n) node_unref(n);
        return error;
    }
    p->node = n;
    return 0;
}

/* ---- open files ---- */

static int open_node(struct memory_env *m, const char *path, unsigned flags, unsigned mode,
                     struct place *p) {
    int error = find(m, path, p);
    if (error) return error;
    if (!p->node) return (flags & ENV_CREATE) ? create(p, false, mode) : ENOENT;
    if ((flags & ENV_CREATE) && (flags & ENV_EXCLUSIVE)) return EEXIST;
    return p->node->is_dir ? EISDIR : 0;
}

static void set_size(struct node *n, uint64_t size_bytes) {
    n->size = size_bytes;
    if (n->filled > size_bytes) n->filled = size_bytes;
}

static int memory_open(struct env *env, const char *path, unsigned flags, unsigned mode,
                       struct env_file **file, struct kevo_err *err) {
    *file = NULL;
    size_t path_bytes = strlen(path) + 1;
    struct env_file *f = mem_alloc(sizeof *f + path_bytes);
    if (!f) return kevo_nomem(err);
    memcpy(f->path, path, path_bytes);
    f->flags = flags;
    f->shares_lock = false;

    struct memory_env *m = self(env);
    struct place p;
    pthread_mutex_lock(&m->lock);
    int error = open_node(m, path, flags, mode, &p);
    if (!error) {
        f->node = p.node;
        f->node->refs++;
    }
    pthread_mutex_unlock(&m->lock);
    if (error) {
        mem_free(f);
        return env_fail_path(err, "open", path, error);
    }
    if (flags & ENV_TRUNCATE) {
        pthread_mutex_lock(&f->node->lock);
        set_size(f->node, 0);
        pthread_mutex_unlock(&f->node->lock);
    }
    *file = f;
    return KEVO_OK;
}

static void memory_close(struct env *env, struct env_file *f) {
    if (!f) return;
    struct memory_env *m = self(env);
    pthread_mutex_lock(&f->node->lock);
    if (f->node->lock_by == f) f->node->lock_by = NULL;
    f->node->lock_sharers -= f->shares_lock;
    pthread_mutex_unlock(&f->node->lock);
    pthread_mutex_lock(&m->lock);
    node_unref(f->node);
    pthread_mutex_unlock(&m->lock);
    mem_free(f);
}

static int memory_read(struct env *env, struct env_file *f, uint64_t offset, void *data, size_t len,
                       size_t *got, struct kevo_err *err) {
    (void)env;
    *got = 0;
    if (!(f->flags & ENV_READ)) return env_fail_file(err, "read", f->path, EBADF);
    struct node *n = f->node;
    pthread_mutex_lock(&n->lock);
    if (offset < n->size) {
        *got = len < n->size - offset ? len : (size_t)(n->size - offset);
        uint64_t bytes = offset < n->filled ? n->filled - offset : 0;
        size_t copied = *got < bytes ? *got : (size_t)bytes;
        if (copied) memcpy(data, n->buffer->data + offset, copied);
        if (*got > copied) memset((uint8_t *)data + copied, 0, *got - copied);
    }
    pthread_mutex_unlock(&n->lock);
    return KEVO_OK;
}

static int memory_write(struct env *env, struct env_file *f, uint64_t offset, const void *data,
                        size_t len, struct kevo_err *err) {
    (void)env;
    if (!(f->flags & ENV_WRITE)) return env_fail_file(err, "write", f->path, EBADF);
    if (len == 0) return KEVO_OK;
    uint64_t end;
    if (__builtin_add_overflow(offset, len, &end))
        return env_fail_file(err, "write", f->path, EFBIG);
    struct node *n = f->node;
    pthread_mutex_lock(&n->lock);
    bool ok = fill(n, offset, end);
    if (ok) {
        memcpy(n->buffer->data + offset, data, len);
        if (end > n->filled) n->filled = end;
        if (end > n->size) n->size = end;
    }
    pthread_mutex_unlock(&n->lock);
    return ok ? KEVO_OK : env_fail_file(err, "write", f->path, ENOMEM);
}

static int memory_sync(struct env *env, struct env_file *f, struct kevo_err *err) {
    (void)env;
    (void)f;
    (void)err;
    return KEVO_OK;
}

static int resize(struct env_file *f, uint64_t size_bytes, bool may_shrink, const char *action,
                  struct kevo_err *err) {
    if (!(f->flags & ENV_WRITE)) return env_fail_file(err, action, f->path, EBADF);
    struct node *n = f->node;
    pthread_mutex_lock(&n->lock);
    if (may_shrink || n->size < size_bytes) set_size(n, size_bytes);
    pthread_mutex_unlock(&n->lock);
    return KEVO_OK;
}

static int memory_truncate(struct env *env, struct env_file *f, uint64_t size_bytes,
                           struct kevo_err *err) {
    (void)env;
    return resize(f, size_bytes, true, "truncate", err);
}

/* Takes no memory: what is reserved for a log is mostly never written. */
static int memory_allocate(struct env *env, struct env_file *f, uint64_t size_bytes,
                           struct kevo_err *err) {
    (void)env;
    return resize(f, size_bytes, false, "reserve space for", err);
}

static void memory_write_soon(struct env *env, struct env_file *f, uint64_t offset, uint64_t len) {
    (void)env;
    (void)f;
    (void)offset;
    (void)len;
}

static int memory_size(struct env *env, struct env_file *f, uint64_t *size_bytes,
                       struct kevo_err *err) {
    (void)env;
    (void)err;
    pthread_mutex_lock(&f->node->lock);
    *size_bytes = f->node->size;
    pthread_mutex_unlock(&f->node->lock);
    return KEVO_OK;
}

static int map_node(struct node *n, uint64_t size_bytes, const uint8_t **data) {
    if (n->size < size_bytes) return EINVAL;
    /* What is mapped is hardly ever written again: give the slack back. A failure
     * to shrink leaves it as it was. */
    if (n->filled == n->size && n->buffer->cap > n->size && !is_mapped(n->buffer))
        set_capacity(n, n->size);
    if (!fill(n, n->size, n->size)) return ENOMEM;
    atomic_fetch_add(&n->buffer->refs, 1);
    *data = n->buffer->data;
    return 0;
}

static int memory_map(struct env *env, struct env_file *f, uint64_t size_bytes,
                      const uint8_t **data, struct kevo_err *err) {
    (void)env;
    *data = NULL;
    if (size_bytes == 0) return KEVO_OK;
    pthread_mutex_lock(&f->node->lock);
    int error = map_node(f->node, size_bytes, data);
    pthread_mutex_unlock(&f->node->lock);
    return error ? env_fail_file(err, "map", f->path, error) : KEVO_OK;
}

static void memory_unmap(struct env *env, const uint8_t *data, uint64_t size_bytes) {
    (void)env;
    (void)size_bytes;
    if (data) buffer_unref((struct buffer *)((uintptr_t)data - offsetof(struct buffer, data)));
}

static void memory_advise(struct env *env, const uint8_t *data, size_t len, bool soon) {
    (void)env;
    (void)data;
    (void)len;
    (void)soon;
}

static int memory_lock(struct env *env, struct env_file *f, bool shared, struct kevo_err *err) {
    (void)env;
    if (!shared && !(f->flags & ENV_WRITE)) return env_fail_file(err, "lock", f->path, EBADF);
    pthread_mutex_lock(&f->node->lock);
    bool free = !f->node->lock_by || f->node->lock_by == f;
    if (!shared && f->node->lock_sharers > f->shares_lock) free = false;
    if (free) {
        f->node->lock_by = shared ? NULL : f;
        f->node->lock_sharers += (unsigned)shared - (unsigned)f->shares_lock;
        f->shares_lock = shared;
    }
    pthread_mutex_unlock(&f->node->lock);
    return free ? KEVO_OK : kevo_fail(err, KEVO_BUSY, "%.400s is locked", f->path);
}

/* ---- names ---- */

static int memory_make_dir(struct env *env, const char *path, unsigned mode, struct kevo_err *err) {
    struct memory_env *m = self(env);
    struct place p;
    pthread_mutex_lock(&m->lock);
    int error = find(m, path, &p);
    if (!error) error = p.node ? EEXIST : create(&p, true, mode);
    pthread_mutex_unlock(&m->lock);
    return error ? env_fail_path(err, "make directory", path, error) : KEVO_OK;
}

static int memory_set_owner(struct env *env, const char *path, unsigned user, unsigned group,
                            struct kevo_err *err) {
    struct memory_env *m = self(env);
    struct place p;
    pthread_mutex_lock(&m->lock);
    int error = find(m, path, &p);
    if (!error && !p.node) error = ENOENT;
    if (!error) {
        p.node->user = user;
        p.node->group = group;
    }
    pthread_mutex_unlock(&m->lock);
    return error ? env_fail_path(err, "give away", path, error) : KEVO_OK;
}

static int remove_name(struct memory_env *m, const char *path, bool is_dir) {
    struct place p;
    int error = find(m, path, &p);
    if (error) return error;
    if (!p.node) return ENOENT;
    if (p.node->is_dir != is_dir) return is_dir ? ENOTDIR : EISDIR;
    if (p.node->child_count) return ENOTEMPTY;
    if (!p.dir) return EBUSY;
    take_child(p.dir, p.name);
    node_unref(p.node);
    return 0;
}

static int memory_remove_dir(struct env *env, const char *path, struct kevo_err *err) {
    pthread_mutex_lock(&self(env)->lock);
    int error = remove_name(self(env), path, true);
    pthread_mutex_unlock(&self(env)->lock);
    return error ? env_fail_path(err, "remove directory", path, error) : KEVO_OK;
}

static int memory_unlink(struct env *env, const char *path, struct kevo_err *err) {
    pthread_mutex_lock(&self(env)->lock);
    int error = remove_name(self(env), path, false);
    pthread_mutex_unlock(&self(env)->lock);
    return error ? env_fail_path(err, "remove", path, error) : KEVO_OK;
}

/* The directory at `path`. */
static int find_dir(struct memory_env *m, const char *path, struct node **dir) {
    struct place p;
    int error = find(m, path, &p);
    if (error) return error;
    if (!p.node) return ENOENT;
    *dir = p.node;
    return p.node->is_dir ? 0 : ENOTDIR;
}

static int memory_sync_dir(struct env *env, const char *path, struct kevo_err *err) {
    struct node *dir;
    pthread_mutex_lock(&self(env)->lock);
    int error = find_dir(self(env), path, &dir);
    pthread_mutex_unlock(&self(env)->lock);
    return error ? env_fail_path(err, "sync directory", path, error) : KEVO_OK;
}

/* The children's names, one after the other, each with its NUL. */
static int copy_names(struct memory_env *m, const char *path, char **names, size_t *count) {
    struct node *dir = NULL;
    int error = find_dir(m, path, &dir);
    if (error) return error;
    size_t bytes = 0;
    for (size_t i = 0; i < dir->child_count; i++)
        bytes += strlen(dir->children[i].name) + 1;
    char *at = *names = mem_alloc(bytes);
    if (!at) return ENOMEM;
    *count = dir->child_count;
    for (size_t i = 0; i < dir->child_count; i++) {
        size_t n = strlen(dir->children[i].name) + 1;
        memcpy(at, dir->children[i].name, n);
        at += n;
    }
    return 0;
}

static int memory_list(struct env *env, const char *path, int (*visit)(void *arg, const char *name),
                       void *arg, struct kevo_err *err) {
    char *names = NULL;
    size_t count = 0;
    pthread_mutex_lock(&self(env)->lock);
    int error = copy_names(self(env), path, &names, &count);
    pthread_mutex_unlock(&self(env)->lock);
    if (error) return env_fail_path(err, "list", path, error);
    int rc = KEVO_OK;
    const char *name = names;
    for (size_t i = 0; i < count && rc == KEVO_OK; i++) {
        rc = visit(arg, name);
        name += strlen(name) + 1;
    }
    mem_free(names);
    return rc;
}

static int rename_file(struct memory_env *m, const char *from, const char *to) {
    struct place source, target;
    int error = find(m, from, &source);
    if (!error) error = find(m, to, &target);
    if (error) return error;
    if (!source.node) return ENOENT;
    if (source.node == target.node) return 0;
    if (!source.dir || !target.dir) return EBUSY;
    /* Moving directories is nothing the engine does. */
    if (source.node->is_dir || (target.node && target.node->is_dir)) return EISDIR;

    char *name = reserve_child(target.dir) ? copy_name(target.name) : NULL;
    if (!name) return ENOMEM;
    if (target.node) {
        take_child(target.dir, target.name);
        node_unref(target.node);
    }
    take_child(source.dir, source.name);
    add_child(target.dir, name, source.node);
    return 0;
}

static int memory_rename(struct env *env, const char *from, const char *to, struct kevo_err *err) {
    pthread_mutex_lock(&self(env)->lock);
    int error = rename_file(self(env), from, to);
    pthread_mutex_unlock(&self(env)->lock);
    return error ? env_fail_path(err, "rename", from, error) : KEVO_OK;
}

static int link_file(struct memory_env *m, const char *from, const char *to) {
    struct place source, target;
    int error = find(m, from, &source);
    if (!error) error = find(m, to, &target);
    if (error) return error;
    if (!source.node) return ENOENT;
    if (target.node) return EEXIST;
    if (source.node->is_dir) return EISDIR;
    error = give_name(&target, source.node);
    if (!error) source.node->refs++;
    return error;
}

static int memory_link(struct env *env, const char *from, const char *to, struct kevo_err *err) {
    pthread_mutex_lock(&self(env)->lock);
    int error = link_file(self(env), from, to);
    pthread_mutex_unlock(&self(env)->lock);
    return error ? env_fail_path(err, "link", to, error) : KEVO_OK;
}

static int memory_stat(struct env *env, const char *path, struct env_stat *st,
                       struct kevo_err *err) {
    (void)err;
    struct memory_env *m = self(env);
    struct place p;
    *st = (struct env_stat){0};
    pthread_mutex_lock(&m->lock);
    bool found = find(m, path, &p) == 0 && p.node;
    if (found) {
        pthread_mutex_lock(&p.node->lock);
        *st = (struct env_stat){.size_bytes = p.node->size,
                                .is_dir = p.node->is_dir,
                                .mode = p.node->mode,
                                .user = p.node->user,
                                .group = p.node->group,
                                .inode = (uintptr_t)p.node};
        pthread_mutex_unlock(&p.node->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return found ? KEVO_OK : KEVO_NOTFOUND;
}

/* ---- making and freeing ---- */

struct env *env_memory_new(void) {
    struct memory_env *m = mem_zalloc(sizeof *m);
    if (!m) return NULL;
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->root.lock, NULL);
    m->root.is_dir = true;
    m->root.mode = 0777;
    m->root.refs = 1;

    m->env = *env_posix(); /* clock, randomness, threads */
    m->env.open = memory_open;
    m->env.close = memory_close;
    m->env.read = memory_read;
    m->env.write = memory_write;
    m->env.sync = memory_sync;
    m->env.truncate = memory_truncate;
    m->env.allocate = memory_allocate;
    m->env.write_soon = memory_write_soon;
    m->env.size = memory_size;
    m->env.map = memory_map;
    m->env.unmap = memory_unmap;
    m->env.advise = memory_advise;
    m->env.lock = memory_lock;
    m->env.make_dir = memory_make_dir;
    m->env.set_owner = memory_set_owner;
    m->env.remove_dir = memory_remove_dir;
    m->env.sync_dir = memory_sync_dir;
    m->env.list = memory_list;
    m->env.rename = memory_rename;
    m->env.link = memory_link;
    m->env.unlink = memory_unlink;
    m->env.stat = memory_stat;
    return &m->env;
}

static void free_children(struct node *dir) {
    for (size_t i = 0; i < dir->child_count; i++) {
        struct entry *e = &dir->children[i];
        if (e->node->is_dir) free_children(e->node);
        node_unref(e->node);
        mem_free(e->name);
    }
    dir->child_count = 0;
}

void env_memory_free(struct env *env) {
    if (!env) return;
    struct memory_env *m = self(env);
    free_children(&m->root);
    mem_free(m->root.children);
    pthread_mutex_destroy(&m->root.lock);
    pthread_mutex_destroy(&m->lock);
    mem_free(m);
}
