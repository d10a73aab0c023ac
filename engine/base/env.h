/* env.h - the world outside: files, directories, clock, randomness, threads.
 *
 * The engine reaches the system through a struct env alone, so that tests can
 * fail any call, drop what was not synced, or stop time. Two live here: the
 * operating system (env_posix.c) and one whose files are in memory
 * (env_memory.c); tests wrap either.
 *
 * Paths. A path is used as given. Names inside a directory that the engine
 * makes never contain '/'.
 *
 * Durability. What was written to a file survives a power loss once file_sync()
 * has returned 0. That a name exists, or no longer exists, survives once
 * sync_dir() of its directory has returned 0.
 *
 * Errors. 0, or a negative enum kevo_rc with a message that names the path and
 * the system's reason: KEVO_FULL for no space or quota, KEVO_CANTOPEN for a
 * missing file or permission, KEVO_BUSY for a lock held elsewhere, KEVO_NOMEM,
 * else KEVO_IOERR. Calls interrupted by a signal are continued.
 *
 * Threads. All calls may be made from any thread; calls on one file that
 * overlap in bytes are the caller's to order. */
#ifndef KEVO_BASE_ENV_H
#define KEVO_BASE_ENV_H

#include <pthread.h>

#include "engine/base/slice.h"

struct env_file;   /* an open file */
struct env_thread; /* a started thread */

enum env_open {
    ENV_READ = 1,
    ENV_WRITE = 2,
    ENV_CREATE = 4,    /* make it if missing, with `mode` less the umask */
    ENV_EXCLUSIVE = 8, /* with ENV_CREATE: KEVO_CANTOPEN if it is there already */
    ENV_TRUNCATE = 16,
    ENV_LOG = 32 /* with ENV_READ: it will be written front to back, in small pieces; what lies
                    behind all that was written may become zeros */
};

struct env_stat {
    uint64_t size_bytes;
    bool is_dir;
    unsigned mode; /* permission bits */
    unsigned user, group;
    uint64_t device, inode; /* which file it is, by whatever name */
};

struct env {
    /* Symbolic links in the last part of `path` are not followed. A new file belongs to the
     * owner of its directory, if the process may give it away. */
    int (*open)(struct env *env, const char *path, unsigned flags, unsigned mode,
                struct env_file **file, struct kevo_err *err);
    void (*close)(struct env *env, struct env_file *file); /* file may be NULL */

    /* Read up to `len` bytes at `offset`; *got is less only at the end of file. */
    int (*read)(struct env *env, struct env_file *file, uint64_t offset, void *data, size_t len,
                size_t *got, struct kevo_err *err);
    /* Write all of it or fail; after a failure any part may have been written. */
    int (*write)(struct env *env, struct env_file *file, uint64_t offset, const void *data,
                 size_t len, struct kevo_err *err);
    /* Make the contents durable, the size with them. After a failure what was
     * written since the last success may be lost for good: do not try again. */
    int (*sync)(struct env *env, struct env_file *file, struct kevo_err *err);
    int (*truncate)(struct env *env, struct env_file *file, uint64_t size_bytes,
                    struct kevo_err *err);
    /* Reserve space up to `size_bytes` and let the file have that size, the new
     * part reading as zeros. May be refused with KEVO_FULL; where the system
     * cannot reserve it does as truncate. */
    int (*allocate)(struct env *env, struct env_file *file, uint64_t size_bytes,
                    struct kevo_err *err);
    /* Start to write [offset, offset + len) to the disk, so that a later sync finds less
     * to do. A hint: nothing is durable by it. But if the system tells of a write that it gave up,
     * later syncs of the file fail. */
    void (*write_soon)(struct env *env, struct env_file *file, uint64_t offset, uint64_t len);
    int (*size)(struct env *env, struct env_file *file, uint64_t *size_bytes, struct kevo_err *err);
    /* All of the file, read-only, until unmap. A file of 0 bytes maps to NULL. */
    int (*map)(struct env *env, struct env_file *file, uint64_t size_bytes, const uint8_t **data,
               struct kevo_err *err);
    void (*unmap)(struct env *env, const uint8_t *data, uint64_t size_bytes);
    /* Tell that [data, data + len) of a mapped file will not be read again soon
     * (`soon` false) or will be (true). A hint. */
    void (*advise)(struct env *env, const uint8_t *data, size_t len, bool soon);
    /* Take the lock of the file, without waiting: for itself alone, which needs a file open for
     * writing, or shared with others that share it. KEVO_BUSY when another open file has the
     * lock otherwise, also one of this process. A lock that the file has already is changed,
     * and stays as it is on failure. Released by close and by the process's end. */
    int (*lock)(struct env *env, struct env_file *file, bool shared, struct kevo_err *err);

    /* With `mode` less the umask. KEVO_CANTOPEN if the name is taken. */
    int (*make_dir)(struct env *env, const char *path, unsigned mode, struct kevo_err *err);
    /* Give a file or directory away, which takes privileges. */
    int (*set_owner)(struct env *env, const char *path, unsigned user, unsigned group,
                     struct kevo_err *err);
    int (*remove_dir)(struct env *env, const char *path, struct kevo_err *err); /* must be empty */
    int (*sync_dir)(struct env *env, const char *path, struct kevo_err *err);
    /* Call visit for each name but . and .., until it returns non-zero; that is
     * returned then. The directory may be changed meanwhile. */
    int (*list)(struct env *env, const char *path, int (*visit)(void *arg, const char *name),
                void *arg, struct kevo_err *err);
    int (*rename)(struct env *env, const char *from, const char *to, struct kevo_err *err);
    /* Let the file `from` have the name `to` as well, which is free. KEVO_INVALID where that
     * cannot be, since the two lie on different devices or the file system or its rules do
     * not allow it: the file can only be copied then. */
    int (*link)(struct env *env, const char *from, const char *to, struct kevo_err *err);
    int (*unlink)(struct env *env, const char *path, struct kevo_err *err);
    /* KEVO_NOTFOUND when there is nothing of that name. A symbolic link is not
     * followed and is neither a directory nor a file that open would take. */
    int (*stat)(struct env *env, const char *path, struct env_stat *st, struct kevo_err *err);

    /* One monotonic clock, from any origin. */
    uint64_t (*now_ns)(struct env *env);
    uint64_t (*now_us)(struct env *env);
    /* As it stood at most 20 ms ago, several times cheaper. */
    uint64_t (*recent_us)(struct env *env);
    void (*sleep_us)(struct env *env, uint64_t us);
    /* Wait for `cond`, which env_cond_init() made, with `mutex` held, but not much longer than
     * `us`; may return early, as pthread_cond_wait(). */
    void (*cond_wait_us)(struct env *env, pthread_cond_t *cond, pthread_mutex_t *mutex,
                         uint64_t us);
    int (*random)(struct env *env, void *data, size_t len, struct kevo_err *err);
    unsigned (*process_id)(struct env *env);

    /* All signals are blocked in the new thread, but those that a thread raises
     * by its own fault (SIGSEGV and the like): blocked, they would kill the process
     * past the host's handlers. */
    int (*thread_start)(struct env *env, void (*run)(void *arg), void *arg,
                        struct env_thread **thread, struct kevo_err *err);
    void (*thread_join)(struct env *env, struct env_thread *thread);
};

/* The operating system. Never freed. */
struct env *env_posix(void);

/* As pthread_cond_init(), for cond_wait_us(). */
void env_cond_init(pthread_cond_t *cond);

/* A tree of files in memory, empty at first; the clock, randomness and threads
 * are the system's. Freed with env_memory_free when nothing uses it any more. */
struct env *env_memory_new(void); /* NULL when there is no memory */
void env_memory_free(struct env *env);

/* dir + "/" + name into path; KEVO_CANTOPEN when it does not fit. */
enum { ENV_PATH_MAX = 4096 };
int env_join(char path[ENV_PATH_MAX], const char *dir, const char *name, struct kevo_err *err);

/* For implementations: "cannot <action> <path>: <reason>", with the code that
 * belongs to `error`, an errno. The first is for calls that name a path, the
 * second for calls on an open file, where a missing permission is an I/O error. */
int env_fail_path(struct kevo_err *err, const char *action, const char *path, int error);
int env_fail_file(struct kevo_err *err, const char *action, const char *path, int error);

#endif
