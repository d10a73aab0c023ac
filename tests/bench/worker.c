#include "tests/bench/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/measure.h"

enum { LOOK_EVERY_MS = 10 };

static bool read_all(int fd, void *to, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = read(fd, (char *)to + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static bool write_all(int fd, const void *from, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)from + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

/* ---- the child ------------------------------------------------------------------------- */

bool worker_next(struct worker *w, unsigned *task) {
    return read_all(w->from, task, sizeof *task);
}

void worker_answer(struct worker *w, const void *answer, size_t size) {
    if (!write_all(w->to, answer, size)) exit(1); /* nobody is left who would listen */
}

/* ---- the parent ------------------------------------------------------------------------ */

/* False when the process is gone. */
static bool look_at_memory(pid_t pid, uint64_t *resident, uint64_t *private) {
    unsigned long long pages, shared;
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    bool ok = f && fscanf(f, "%*u %llu %llu", &pages, &shared) == 2;
    if (f) fclose(f);
    if (!ok) return false;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    *resident = pages * page;
    *private = (pages - shared) * page;
    return true;
}

static uint64_t less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

static void note_memory(const struct worker *w, struct worker_memory *m) {
    uint64_t resident, private;
    if (!look_at_memory(w->pid, &resident, &private)) return;
    resident = less(resident, w->base_resident);
    m->private = less(private, w->base_private);
    if (resident > m->peak_resident) m->peak_resident = resident;
    if (m->private > m->peak_private) m->peak_private = m->private;
}

bool worker_start(struct worker *all, unsigned at) {
    struct worker *w = &all[at];
    int down[2], up[2];
    char ready = 0;
    if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC)) bench_die("pipe", strerror(errno));
    fflush(NULL);
    w->pid = fork();
    if (w->pid < 0) bench_die("fork", strerror(errno));
    if (w->pid == 0) {
        for (unsigned i = 0; i < at; i++) { /* or they would not see the end */
            close(all[i].to);
            close(all[i].from);
        }
        close(down[1]);
        close(up[0]);
        w->from = down[0];
        w->to = up[1];
        worker_answer(w, &ready, sizeof ready);
        return true;
    }
    close(down[0]);
    close(up[1]);
    w->to = down[1];
    w->from = up[0];
    if (!read_all(w->from, &ready, sizeof ready) ||
        !look_at_memory(w->pid, &w->base_resident, &w->base_private))
        bench_die("a process", "ended early");
    return false;
}

struct worker_memory worker_ask(struct worker *w, const char *name, unsigned task, void *answer,
                                size_t size) {
    struct worker_memory m = {0};
    struct pollfd answered = {.fd = w->from, .events = POLLIN};
    if (!write_all(w->to, &task, sizeof task)) bench_die(name, "its process ended early");
    while (poll(&answered, 1, LOOK_EVERY_MS) == 0)
        note_memory(w, &m);
    note_memory(w, &m);
    if (!read_all(w->from, answer, size)) bench_die(name, "its process ended early");
    return m;
}

void worker_stop(struct worker *w, const char *name) {
    int status;
    close(w->to);
    close(w->from);
    if (waitpid(w->pid, &status, 0) != w->pid || status != 0)
        bench_die(name, "its process did not end well");
}
