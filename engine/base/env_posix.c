#include "engine/base/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"

struct env_file {
    int fd;
    pid_t locked_by; /* the process that took the lock, 0: nobody */
    bool may_map;    /* a log, see "logs" */
    uint8_t *window; /* the part of it that is mapped, NULL: none */
    uint64_t window_at;
    size_t window_bytes;
    uint64_t unsynced_bytes; /* written since the last sync */
    uint64_t end;            /* behind all that was written */
    int lost;                /* errno of a write that the system gave up, 0: none is known of */
    char path[];
};

struct env_thread {
    pthread_t id;
    void (*run)(void *arg);
    void *arg;
};

static int open_flags(unsigned flags) {
    int f = (flags & ENV_WRITE) ? ((flags & ENV_READ) ? O_RDWR : O_WRONLY) : O_RDONLY;
    if (flags & ENV_CREATE) f |= O_CREAT;
    if (flags & ENV_EXCLUSIVE) f |= O_EXCL;
    if (flags & ENV_TRUNCATE) f |= O_TRUNC;
    /* O_NONBLOCK: a FIFO put in a file's place must not hang the process. */
    return f | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
}

/* A descriptor of 0 to 2 would receive what the host prints when it runs with its
 * standard streams closed. */
static int above_standard_streams(int fd) {
    if (fd < 0 || fd > STDERR_FILENO) return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int error = errno;
    close(fd);
    errno = error;
    return moved;
}

static int open_plain(const char *path, int flags, unsigned mode) {
    int fd;
    do {
        fd = open(path, flags, (mode_t)mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* What root makes in somebody's directory is that user's, as with SQLite's journals. Failing
 * is no harm: the file is only less useful to others. */
static void give_to_directory_owner(int fd, const char *path) {
    char dir[ENV_PATH_MAX];
    struct stat st;
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    if (len >= sizeof dir) return;
    memcpy(dir, path, len);
    strcpy(dir + len, ".");
    if (stat(dir, &st) == 0 && fchown(fd, st.st_uid, st.st_gid) < 0) errno = 0;
}

/* For root a new file is told from one that was there, which may be a link to anything. */
static int open_fd(const char *path, unsigned flags, unsigned mode) {
    int how = open_flags(flags), fd;
    if (!(flags & ENV_CREATE) || geteuid() != 0)
        return above_standard_streams(open_plain(path, how, mode));
    fd = open_plain(path, how | O_EXCL, mode);
    if (fd >= 0)
        give_to_directory_owner(fd, path);
    else if (errno == EEXIST && !(flags & ENV_EXCLUSIVE))
        fd = open_plain(path, how, mode);
    return above_standard_streams(fd);
}

/* ---- logs ----
 *
 * A system call costs as much as all else that a small write does. A log that is not synced
 * for a while is therefore written by storing into a map of it, which the kernel keeps like
 * what was written otherwise, whatever becomes of the process.
 *
 * A store cannot fail but by a signal, so all that may fail is done beforehand: the pages
 * are made present and writable by a call that reports errors (MADV_POPULATE_WRITE, Linux
 * 5.14), on file systems that write in place to what is allocated. Where any of this is not
 * to be had, for what is synced often, and for what is long enough that a call hardly counts
 * beside its pages, there is pwrite.
 *
 * The pages behind the log's end get zeros by pwrite first: the file system makes many of them at
 * once so, and one by one when they are mapped. What is mapped is written to the disk as a whole,
 * so the map grows with what is not synced. */

enum {
    WINDOW_LEAST_BYTES = 64 << 10,
    WINDOW_MOST_BYTES = 256 << 10,
    WINDOW_WORTH_BYTES = 8 << 10,
    WINDOW_WRITE_MAX = 16 << 10
};

static bool may_be_mapped(int fd) {
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && (fs.f_type == EXT4_SUPER_MAGIC ||
                                     fs.f_type == XFS_SUPER_MAGIC || fs.f_type == TMPFS_MAGIC);
}

static void drop_window(struct env_file *f) {
    if (f->window) munmap(f->window, f->window_bytes);
    f->window = NULL;
    f->window_bytes = 0;
}

/* Zeros from `at` to `end`, as far as it goes. */
static void write_zeros(const struct env_file *f, uint64_t at, uint64_t end) {
    static const uint8_t zeros[WINDOW_MOST_BYTES];
    while (at < end) {
        ssize_t n = pwrite(f->fd, zeros, (size_t)(end - at), (off_t)at);
        if (n <= 0) return;
        at += (uint64_t)n;
    }
}

static uint64_t next_window_bytes(const struct env_file *f) {
    uint64_t bytes = 2 * (uint64_t)f->window_bytes;
    if (bytes < WINDOW_LEAST_BYTES) return WINDOW_LEAST_BYTES;
    return bytes < WINDOW_MOST_BYTES ? bytes : WINDOW_MOST_BYTES;
}

/* Let the window begin with the page of `offset` and hold `len` bytes from there. */
static bool move_window(struct env_file *f, uint64_t offset, size_t len) {
    struct stat st;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), at = offset / page * page;
    uint64_t most = at + next_window_bytes(f);
    drop_window(f);
    if (fstat(f->fd, &st) < 0) return false;
    uint64_t end = (uint64_t)st.st_size / page * page;
    if (end > most) end = most;
    if (end < offset + len) return false;
    if (f->end > offset) offset = f->end; /* it is written over */
    write_zeros(f, (offset + page - 1) / page * page, end);
    void *p = mmap(NULL, (size_t)(end - at), PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, (off_t)at);
    if (p == MAP_FAILED) return false;
    f->window = p;
    f->window_at = at;
    f->window_bytes = (size_t)(end - at);
    if (madvise(p, f->window_bytes, MADV_POPULATE_WRITE) == 0) return true;
    drop_window(f);
    f->may_map = false;
    return false;
}

static bool store_into_map(struct env_file *f, uint64_t offset, const void *data, size_t len) {
    if (!f->may_map || f->unsynced_bytes < WINDOW_WORTH_BYTES || len > WINDOW_WRITE_MAX)
        return false;
    if ((!f->window || offset < f->window_at || offset + len > f->window_at + f->window_bytes) &&
        !move_window(f, offset, len))
        return false;
    memcpy(f->window + (offset - f->window_at), data, len);
    if (f->end < offset + len) f->end = offset + len;
    return true;
}

/* ---- open files ---- */

static int posix_open(struct env *env, const char *path, unsigned flags, unsigned mode,
                      struct env_file **file, struct kevo_err *err) {
    (void)env;
    *file = NULL;
    size_t path_bytes = strlen(path) + 1;
    struct env_file *f = mem_alloc(sizeof *f + path_bytes);
    if (!f) return kevo_nomem(err);
    *f = (struct env_file){.fd = open_fd(path, flags, mode)};
    memcpy(f->path, path, path_bytes);

    int rc;
    struct stat st;
    if (f->fd < 0)
        rc = env_fail_path(err, "open", path, errno);
    else if (fstat(f->fd, &st) < 0)
        rc = env_fail_file(err, "stat", path, errno);
    else if (S_ISDIR(st.st_mode))
        rc = env_fail_path(err, "open", path, EISDIR);
    else if (!S_ISREG(st.st_mode))
        rc = kevo_fail(err, KEVO_CANTOPEN, "cannot open %.400s: not a regular file", path);
    else
        rc = KEVO_OK;
    if (rc == KEVO_OK) {
        f->may_map = (flags & ENV_LOG) && may_be_mapped(f->fd);
        *file = f;
        return KEVO_OK;
    }
    if (f->fd >= 0) close(f->fd);
    mem_free(f);
    return rc;
}

static void posix_close(struct env *env, struct env_file *f) {
    (void)env;
    if (!f) return;
    /* A forked child may have inherited the descriptor, and would hold the lock
     * on after this close; the child's own close leaves it alone. */
    if (f->locked_by && f->locked_by == getpid()) {
        struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
        fcntl(f->fd, F_OFD_SETLK, &all);
    }
    drop_window(f);
    close(f->fd);
    mem_free(f);
}

static int posix_read(struct env *env, struct env_file *f, uint64_t offset, void *data, size_t len,
                      size_t *got, struct kevo_err *err) {
    (void)env;
    *got = 0;
    while (*got < len) {
        ssize_t n = pread(f->fd, (char *)data + *got, len - *got, (off_t)(offset + *got));
        if (n == 0) break;
        if (n > 0)
            *got += (size_t)n;
        else if (errno != EINTR)
            return env_fail_file(err, "read", f->path, errno);
    }
    return KEVO_OK;
}

static int posix_write(struct env *env, struct env_file *f, uint64_t offset, const void *data,
                       size_t len, struct kevo_err *err) {
    (void)env;
    size_t done = 0;
    if (store_into_map(f, offset, data, len)) return KEVO_OK;
    f->unsynced_bytes += len;
    while (done < len) {
        ssize_t n = pwrite(f->fd, (const char *)data + done, len - done, (off_t)(offset + done));
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return env_fail_file(err, "write", f->path, n == 0 ? ENOSPC : errno);
    }
    if (f->end < offset + len) f->end = offset + len;
    return KEVO_OK;
}

static int posix_sync(struct env *env, struct env_file *f, struct kevo_err *err) {
    (void)env;
    drop_window(f); /* its pages are clean now, and would have to be made writable again */
    f->unsynced_bytes = 0;
    if (f->lost) return env_fail_file(err, "write", f->path, f->lost);
    while (fdatasync(f->fd) < 0)
        if (errno != EINTR) return env_fail_file(err, "sync", f->path, errno);
    return KEVO_OK;
}

static int posix_truncate(struct env *env, struct env_file *f, uint64_t size_bytes,
                          struct kevo_err *err) {
    (void)env;
    drop_window(f);
    while (ftruncate(f->fd, (off_t)size_bytes) < 0)
        if (errno != EINTR) return env_fail_file(err, "truncate", f->path, errno);
    return KEVO_OK;
}

static int posix_size(struct env *env, struct env_file *f, uint64_t *size_bytes,
                      struct kevo_err *err) {
    (void)env;
    struct stat st;
    *size_bytes = 0;
    if (fstat(f->fd, &st) < 0) return env_fail_file(err, "stat", f->path, errno);
    *size_bytes = (uint64_t)st.st_size;
    return KEVO_OK;
}

/* fallocate and not posix_fallocate, which writes to every block where the file
 * system cannot reserve. */
static int posix_allocate(struct env *env, struct env_file *f, uint64_t size_bytes,
                          struct kevo_err *err) {
    uint64_t present;
    int rc = posix_size(env, f, &present, err);
    if (rc < 0 || size_bytes == 0) return rc;
    int result;
    do {
        result = fallocate(f->fd, 0, 0, (off_t)size_bytes);
    } while (result < 0 && errno == EINTR);
    if (result == 0) return KEVO_OK;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return env_fail_file(err, "reserve space for", f->path, errno);
    return present < size_bytes ? posix_truncate(env, f, size_bytes, err) : KEVO_OK;
}

static void posix_write_soon(struct env *env, struct env_file *f, uint64_t offset, uint64_t len) {
    (void)env;
    if (sync_file_range(f->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE) == 0) return;
    /* No later sync may tell. Other errors mean that there is no such call for the file. */
    if (errno == EIO || errno == ENOSPC || errno == EDQUOT) f->lost = errno;
}

static int posix_map(struct env *env, struct env_file *f, uint64_t size_bytes, const uint8_t **data,
                     struct kevo_err *err) {
    *data = NULL;
    uint64_t present;
    int rc = posix_size(env, f, &present, err);
    if (rc < 0 || size_bytes == 0) return rc;
    /* Reading past the end of a mapped file would kill the process. */
    if (present < size_bytes)
        return kevo_fail(err, KEVO_IOERR, "cannot map %.400s: it has %llu bytes instead of %llu",
                         f->path, (unsigned long long)present, (unsigned long long)size_bytes);
    if (size_bytes > SIZE_MAX) return kevo_nomem(err);
    void *p = mmap(NULL, (size_t)size_bytes, PROT_READ, MAP_SHARED, f->fd, 0);
    if (p == MAP_FAILED) return env_fail_file(err, "map", f->path, errno);
    *data = p;
    return KEVO_OK;
}

static void posix_unmap(struct env *env, const uint8_t *data, uint64_t size_bytes) {
    (void)env;
    if (data) munmap((void *)(uintptr_t)data, (size_t)size_bytes);
}

static void posix_advise(struct env *env, const uint8_t *data, size_t len, bool soon) {
    (void)env;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t)data & ~(page - 1);
    if (len)
        madvise((void *)begin, (uintptr_t)data + len - begin, soon ? MADV_WILLNEED : MADV_DONTNEED);
}

static int posix_lock(struct env *env, struct env_file *f, bool shared, struct kevo_err *err) {
    (void)env;
    struct flock all = {.l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    int result;
    do {
        result = fcntl(f->fd, F_OFD_SETLK, &all);
    } while (result < 0 && errno == EINTR);
    if (result == 0) {
        f->locked_by = getpid();
        return KEVO_OK;
    }
    if (errno == EAGAIN || errno == EACCES)
        return kevo_fail(err, KEVO_BUSY, "%.400s is locked", f->path);
    return env_fail_file(err, "lock", f->path, errno);
}

/* ---- names ---- */

static int posix_make_dir(struct env *env, const char *path, unsigned mode, struct kevo_err *err) {
    (void)env;
    return mkdir(path, (mode_t)mode) < 0 ? env_fail_path(err, "make directory", path, errno)
                                         : KEVO_OK;
}

static int posix_set_owner(struct env *env, const char *path, unsigned user, unsigned group,
                           struct kevo_err *err) {
    (void)env;
    return lchown(path, user, group) < 0 ? env_fail_path(err, "give away", path, errno) : KEVO_OK;
}

static int posix_remove_dir(struct env *env, const char *path, struct kevo_err *err) {
    (void)env;
    return rmdir(path) < 0 ? env_fail_path(err, "remove directory", path, errno) : KEVO_OK;
}

static int posix_sync_dir(struct env *env, const char *path, struct kevo_err *err) {
    (void)env;
    int fd, rc = KEVO_OK;
    do {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) return env_fail_path(err, "open directory", path, errno);
    while (rc == KEVO_OK && fsync(fd) < 0) {
        /* Some network file systems have no such thing; their servers order names
         * themselves. */
        if (errno == EINVAL || errno == ENOTSUP) break;
        if (errno != EINTR) rc = env_fail_file(err, "sync directory", path, errno);
    }
    close(fd);
    return rc;
}

static int posix_list(struct env *env, const char *path, int (*visit)(void *arg, const char *name),
                      void *arg, struct kevo_err *err) {
    (void)env;
    DIR *dir = opendir(path);
    if (!dir) return env_fail_path(err, "list", path, errno);
    int rc = KEVO_OK;
    while (rc == KEVO_OK) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry) {
            if (errno) rc = env_fail_file(err, "list", path, errno);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = visit(arg, entry->d_name);
    }
    closedir(dir);
    return rc;
}

static int posix_rename(struct env *env, const char *from, const char *to, struct kevo_err *err) {
    (void)env;
    return rename(from, to) < 0 ? env_fail_path(err, "rename", from, errno) : KEVO_OK;
}

static int posix_link(struct env *env, const char *from, const char *to, struct kevo_err *err) {
    (void)env;
    if (link(from, to) == 0) return KEVO_OK;
    switch (errno) {
    case EXDEV:
    case EPERM:
    case EMLINK:
    case EOPNOTSUPP:
    case ENOSYS:
        return kevo_fail(err, KEVO_INVALID, "cannot link %.200s to %.200s: %s", to, from,
                         strerror(errno));
    }
    return env_fail_path(err, "link", to, errno);
}

static int posix_unlink(struct env *env, const char *path, struct kevo_err *err) {
    (void)env;
    return unlink(path) < 0 ? env_fail_path(err, "remove", path, errno) : KEVO_OK;
}

static int posix_stat(struct env *env, const char *path, struct env_stat *result,
                      struct kevo_err *err) {
    (void)env;
    struct stat st;
    *result = (struct env_stat){0};
    if (lstat(path, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR) return KEVO_NOTFOUND;
        return env_fail_path(err, "stat", path, errno);
    }
    result->size_bytes = (uint64_t)st.st_size;
    result->is_dir = S_ISDIR(st.st_mode);
    result->mode = st.st_mode & 07777;
    result->user = st.st_uid;
    result->group = st.st_gid;
    result->device = st.st_dev;
    result->inode = st.st_ino;
    return KEVO_OK;
}

/* ---- clock, randomness, threads ---- */

static uint64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t posix_now_ns(struct env *env) {
    (void)env;
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t posix_now_us(struct env *env) {
    (void)env;
    return clock_ns(CLOCK_MONOTONIC) / 1000;
}

/* It moves with the kernel's ticks, of which there are 100 a second at least. */
static uint64_t posix_recent_us(struct env *env) {
    (void)env;
    return clock_ns(CLOCK_MONOTONIC_COARSE) / 1000;
}

static void posix_sleep_us(struct env *env, uint64_t us) {
    (void)env;
    struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR) {
    }
}

void env_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void posix_cond_wait_us(struct env *env, pthread_cond_t *cond, pthread_mutex_t *mutex,
                               uint64_t us) {
    (void)env;
    uint64_t ns = clock_ns(CLOCK_MONOTONIC) + us * 1000;
    struct timespec until = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    pthread_cond_timedwait(cond, mutex, &until);
}

static int posix_random(struct env *env, void *data, size_t len, struct kevo_err *err) {
    (void)env;
    size_t done = 0;
    while (done < len) {
        ssize_t n = getrandom((char *)data + done, len - done, 0);
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR)
            return kevo_fail(err, KEVO_IOERR, "cannot draw random bytes: %s", strerror(errno));
    }
    return KEVO_OK;
}

static unsigned posix_process_id(struct env *env) {
    (void)env;
    return (unsigned)getpid();
}

static void *thread_main(void *arg) {
    struct env_thread *t = arg;
    t->run(t->arg);
    return NULL;
}

static int create_thread_without_signals(struct env_thread *t) {
    sigset_t blocked, before;
    sigfillset(&blocked);
    static const int own_fault[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    for (size_t i = 0; i < sizeof own_fault / sizeof *own_fault; i++)
        sigdelset(&blocked, own_fault[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(&t->id, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static int posix_thread_start(struct env *env, void (*run)(void *arg), void *arg,
                              struct env_thread **thread, struct kevo_err *err) {
    (void)env;
    *thread = NULL;
    struct env_thread *t = mem_alloc(sizeof *t);
    if (!t) return kevo_nomem(err);
    t->run = run;
    t->arg = arg;
    int error = create_thread_without_signals(t);
    if (error) {
        mem_free(t);
        return kevo_fail(err, KEVO_NOMEM, "cannot start a thread: %s", strerror(error));
    }
    *thread = t;
    return KEVO_OK;
}

static void posix_thread_join(struct env *env, struct env_thread *t) {
    (void)env;
    pthread_join(t->id, NULL);
    mem_free(t);
}

struct env *env_posix(void) {
    static struct env env = {
        .open = posix_open,
        .close = posix_close,
        .read = posix_read,
        .write = posix_write,
        .sync = posix_sync,
        .truncate = posix_truncate,
        .allocate = posix_allocate,
        .write_soon = posix_write_soon,
        .size = posix_size,
        .map = posix_map,
        .unmap = posix_unmap,
        .advise = posix_advise,
        .lock = posix_lock,
        .make_dir = posix_make_dir,
        .set_owner = posix_set_owner,
        .remove_dir = posix_remove_dir,
        .sync_dir = posix_sync_dir,
        .list = posix_list,
        .rename = posix_rename,
        .link = posix_link,
        .unlink = posix_unlink,
        .stat = posix_stat,
        .now_ns = posix_now_ns,
        .now_us = posix_now_us,
        .recent_us = posix_recent_us,
        .sleep_us = posix_sleep_us,
        .cond_wait_us = posix_cond_wait_us,
        .random = posix_random,
        .process_id = posix_process_id,
        .thread_start = posix_thread_start,
        .thread_join = posix_thread_join,
    };
    return &env;
}
