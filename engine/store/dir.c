#include "engine/store/dir.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/error.h"

/* ---- the lock file ----------------------------------------------------------- */

const char dir_lock_name[] = "LOCK";
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

/* A lock was refused to a reader or a writer: say whose it is. That of readers has no name:
 * they write nothing. */
static int in_use(struct env *env, const char *dir, struct env_file *file, bool shared,
                  struct kevo_err *err) {
    struct kevo_err ignored;
    if (!shared && env->lock(env, file, true, &ignored) == 0)
        return kevo_fail(err, KEVO_BUSY,
                         "%s: the store is open for reading elsewhere, and who writes must have it "
                         "alone; close it there first",
                         dir);
    unsigned pid = lock_holder(env, file);
    if (pid == env->process_id(env))
        return kevo_fail(err, KEVO_BUSY,
                         "%s: the store is open in this process already; close it first", dir);
    return kevo_fail(err, KEVO_BUSY,
                     "%s: the store is in use by process %u, and only one can have it; close it "
                     "there first",
                     dir, pid);
}

/* Which file has the name now; *there is false when none has. */
static int look_at_lock(struct env *env, const char *dir, struct env_stat *st, bool *there,
                        struct kevo_err *err) {
    char path[ENV_PATH_MAX];
    int rc = env_join(path, dir, dir_lock_name, err);
    if (rc == 0) rc = env->stat(env, path, st, err);
    *there = rc == 0;
    return rc == KEVO_NOTFOUND ? 0 : rc;
}

static int open_lock(struct env *env, const char *dir, unsigned flags, unsigned mode,
                     struct env_file **file, struct kevo_err *err) {
    char path[ENV_PATH_MAX];
    *file = NULL;
    int rc = env_join(path, dir, dir_lock_name, err);
    return rc ? rc : env->open(env, path, flags, mode, file, err);
}

static int take_lock(struct env *env, const char *dir, struct env_file *file, bool shared,
                     struct kevo_err *err) {
    int rc = env->lock(env, file, shared, err);
    return rc == KEVO_BUSY ? in_use(env, dir, file, shared, err) : rc;
}

int dir_lock_for_writing(struct env *env, const char *dir, struct env_file *file,
                         struct kevo_err *err) {
    char text[32];
    struct kevo_err ignored;
    int rc = take_lock(env, dir, file, false, err);
    if (rc) return rc;
    int len = snprintf(text, sizeof text, "%-20u\n", env->process_id(env));
    rc = env->write(env, file, 0, text, (size_t)len, err);
    if (rc) env->lock(env, file, true, &ignored);
    return rc;
}

/* How a lock file is opened and locked. */
struct lock_way {
    bool shared, create;
    unsigned mode; /* permission bits of a new one */
};

static int open_and_lock(struct env *env, const char *dir, const struct lock_way *way,
                         struct env_file **file, struct env_stat *opened, struct kevo_err *err) {
    bool there;
    *file = NULL;
    int rc = look_at_lock(env, dir, opened, &there, err);
    if (rc) return rc;
    if (!there && !way->create)
        return kevo_fail(err, KEVO_CANTOPEN,
                         "%s/%s: missing, but there is a store; put it back, or make an empty file "
                         "of that name while nobody has the store open",
                         dir, dir_lock_name);
    /* A reader opens it for writing if possible, only so that its lock may become a writer's. */
    unsigned flags = ENV_READ | ENV_WRITE | (way->create ? ENV_CREATE : 0);
    rc = open_lock(env, dir, flags, way->mode, file, err);
    if (rc == KEVO_CANTOPEN && way->shared) rc = open_lock(env, dir, ENV_READ, 0, file, err);
    if (rc == 0 && !there) rc = look_at_lock(env, dir, opened, &there, err);
    if (rc) return rc;
    return way->shared ? take_lock(env, dir, *file, true, err)
                       : dir_lock_for_writing(env, dir, *file, err);
}

/* Who removes a store removes its lock file before letting go of it. Whoever has waited at that
 * file has then the lock of one that nobody else will look at: he has to take the one that has
 * the name now. */
static int lock_by_name(struct env *env, const char *dir, const struct lock_way *way,
                        struct env_file **file, struct kevo_err *err) {
    enum { TRIES = 100 };
    for (unsigned i = 0; i < TRIES; i++) {
        struct env_stat opened = {0}, named = {0};
        bool there = false;
        int rc = open_and_lock(env, dir, way, file, &opened, err);
        if (rc == 0) rc = look_at_lock(env, dir, &named, &there, err);
        if (rc == 0 && there && opened.device == named.device && opened.inode == named.inode)
            return 0;
        env->close(env, *file);
        *file = NULL;
        if (rc) return rc;
    }
    return kevo_fail(err, KEVO_BUSY,
                     "%s: the store is being removed and made all the time; try again", dir);
}

int dir_lock(struct env *env, const char *dir, bool create, unsigned mode, struct env_file **file,
             struct kevo_err *err) {
    const struct lock_way way = {.create = create, .mode = mode};
    return lock_by_name(env, dir, &way, file, err);
}

int dir_lock_shared(struct env *env, const char *dir, struct env_file **file,
                    struct kevo_err *err) {
    const struct lock_way way = {.shared = true};
    return lock_by_name(env, dir, &way, file, err);
}

/* ---- what lies there ------------------------------------------------------------- */

struct contents {
    bool manifest, gone, data, ours, other;
};

bool dir_parse_name(const char *name, const char *ending, uint64_t *number) {
    size_t digits = strspn(name, "0123456789");
    if (digits < 6 || name[digits] != '.' || strcmp(name + digits + 1, ending) != 0) return false;
    *number = strtoull(name, NULL, 10);
    return true;
}

static bool is_data_name(const char *name) {
    uint64_t number;
    return dir_parse_name(name, "sst", &number) || dir_parse_name(name, "wal", &number);
}

/* Whether the name is one that a store makes. */
static bool is_store_name(const char *name) {
    uint64_t number;
    return strcmp(name, dir_lock_name) == 0 || strcmp(name, "MANIFEST") == 0 ||
           strcmp(name, "MANIFEST.new") == 0 || strcmp(name, gone_name) == 0 ||
           strcmp(name, "MANIFEST.unsynced") == 0 || is_data_name(name) ||
           dir_parse_name(name, "spare", &number) || dir_parse_name(name, "unsynced", &number);
}

static int look_at_name(void *arg, const char *name) {
    struct contents *look = arg;
    look->manifest |= strcmp(name, "MANIFEST") == 0;
    look->gone |= strcmp(name, gone_name) == 0;
    look->data |= is_data_name(name);
    look->ours |= is_store_name(name);
    look->other |= !is_store_name(name);
    return 0;
}

/* What a directory holds. */
int dir_look(struct env *env, const char *dir, enum dir_kind *kind, struct kevo_err *err) {
    struct env_stat st;
    int rc = env->stat(env, dir, &st, err);
    if (rc == KEVO_NOTFOUND) {
        *kind = DIR_MISSING;
        return 0;
    }
    if (rc) return rc;
    if (!st.is_dir)
        return kevo_fail(err, KEVO_CANTOPEN,
                         "%s: not a directory; move that file away, or name another place", dir);
    struct contents look = {0};
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

unsigned dir_search_mode(unsigned file_mode) {
    return file_mode | (file_mode & 0444) >> 2; /* who may read may search */
}

/* A power loss must not take away the directory with a store in it. One that was there
 * before may be of a creation that failed, or somebody else's in a place that is not ours
 * to look at. */
int dir_sync_parent(struct env *env, const char *dir, bool made, struct kevo_err *err) {
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
    if (!is_store_name(name) || strcmp(name, dir_lock_name) == 0 || strcmp(name, gone_name) == 0)
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
int dir_remove_leftovers(struct env *env, const char *dir, struct kevo_err *err) {
    struct removal r = {env, dir, err};
    int rc = env->list(env, dir, remove_name, &r, err);
    if (rc == 0) rc = env->sync_dir(env, dir, err);
    if (rc == 0) rc = unlink_if_there(env, dir, gone_name, err);
    return rc;
}

/* ---- built from a copy ------------------------------------------------------------------ */

/* Whatever is found with this file and without a manifest is of no use. */
static int make_mark(struct dir_build *b, unsigned file_mode, struct kevo_err *err) {
    char path[ENV_PATH_MAX];
    struct env_file *file;
    int rc = env_join(path, b->dir, gone_name, err);
    if (rc == 0) rc = b->env->open(b->env, path, ENV_WRITE | ENV_CREATE, file_mode, &file, err);
    if (rc) return rc;
    b->env->close(b->env, file);
    return b->env->sync_dir(b->env, b->dir, err);
}

int dir_build_begin(struct dir_build *b, struct env *env, const char *dir, unsigned file_mode,
                    struct kevo_err *err) {
    enum dir_kind kind;
    *b = (struct dir_build){.env = env, .dir = dir};
    if (strlen(dir) + 64 > ENV_PATH_MAX)
        return kevo_fail(err, KEVO_CANTOPEN,
                         "the directory's name is too long; name a shorter one");
    int rc = dir_look(env, dir, &kind, err);
    if (rc) return rc;
    if (kind == DIR_STORE || kind == DIR_OTHER)
        return kevo_fail(err, KEVO_CANTOPEN, "%s: the directory is not empty; name another", dir);
    if (kind == DIR_MISSING) rc = env->make_dir(env, dir, dir_search_mode(file_mode), err);
    if (rc) return rc;
    b->made = kind == DIR_MISSING;
    rc = dir_sync_parent(env, dir, b->made, err);
    if (rc == 0) rc = dir_lock(env, dir, true, file_mode, &b->lock, err);
    /* Another process may have been faster. */
    if (rc == 0) rc = dir_look(env, dir, &kind, err);
    if (rc == 0 && (kind == DIR_STORE || kind == DIR_OTHER))
        rc = kevo_fail(err, KEVO_CANTOPEN, "%s: the directory is not empty; name another", dir);
    if (rc) return rc;
    b->begun = true;
    rc = dir_remove_leftovers(env, dir, err);
    return rc ? rc : make_mark(b, file_mode, err);
}

int dir_build_end(struct dir_build *b, int rc) {
    struct env *env = b->env;
    struct kevo_err ignored;
    if (rc == 0) {
        /* Beside a manifest the mark means nothing. */
        if (unlink_if_there(env, b->dir, gone_name, &ignored) == 0)
            env->sync_dir(env, b->dir, &ignored);
    } else if (b->begun) {
        dir_remove_leftovers(env, b->dir, &ignored);
        unlink_if_there(env, b->dir, dir_lock_name, &ignored);
    }
    env->close(env, b->lock);
    if (rc && b->made && env->remove_dir(env, b->dir, &ignored) == 0)
        dir_sync_parent(env, b->dir, true, &ignored);
    return rc;
}

bool kevo_is_store(const char *dir, const struct kevo_options *o) {
    struct env *env = o && o->env ? o->env : env_posix();
    struct kevo_err ignored;
    enum dir_kind kind;
    if (dir_look(env, dir, &kind, &ignored)) return true;
    return kind == DIR_STORE || kind == DIR_OTHER;
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
    if (rc == 0) rc = dir_remove_leftovers(env, dir, err);
    if (rc == 0) rc = unlink_if_there(env, dir, dir_lock_name, err);
    return rc;
}

int kevo_destroy(const char *dir, const struct kevo_options *o, struct kevo_err *err) {
    struct env *env = o && o->env ? o->env : env_posix();
    struct env_file *lock = NULL;
    enum dir_kind kind;
    struct contents look = {0};
    char parent[ENV_PATH_MAX];
    int rc = dir_look(env, dir, &kind, err);
    if (rc) return rc;
    if (kind != DIR_STORE && kind != DIR_HALF_REMOVED)
        return kevo_fail(err, KEVO_CANTOPEN, "%s: there is no kevo store", dir);
    rc = dir_lock(env, dir, kind == DIR_HALF_REMOVED, 0600, &lock, err);
    if (rc == 0) rc = remove_files(env, dir, kind, err);
    env->close(env, lock);
    if (rc == 0) rc = env->list(env, dir, look_at_name, &look, err);
    if (rc || look.other) return rc;
    rc = env->remove_dir(env, dir, err);
    if (rc) return rc;
    parent_of(parent, dir);
    return env->sync_dir(env, parent, err);
}
