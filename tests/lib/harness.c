#include "tests/lib/harness.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct kevo_err test_err;

/* ---- the counting allocator ---- */

static _Atomic uint64_t alloc_countdown; /* requests until the refusal, 0: off */
static _Atomic uint64_t alloc_live;
static atomic_bool alloc_for_good, alloc_refused;

static bool refuse_request(void) {
    uint64_t left = atomic_load(&alloc_countdown), next;
    do {
        if (left == 0) return false;
        next = left > 1 ? left - 1 : (atomic_load(&alloc_for_good) ? 1 : 0);
    } while (!atomic_compare_exchange_weak(&alloc_countdown, &left, next));
    if (left > 1) return false;
    atomic_store(&alloc_refused, true);
    return true;
}

static void *counting_resize(void *ctx, void *p, size_t bytes) {
    (void)ctx;
    if (bytes == 0) {
        if (p) atomic_fetch_sub(&alloc_live, 1);
        free(p);
        return NULL;
    }
    /* The C library refuses the absurd itself; the address sanitizer would abort. */
    if (refuse_request() || bytes > (size_t)1 << 40) return NULL;
    void *result = realloc(p, bytes);
    if (result && !p) atomic_fetch_add(&alloc_live, 1);
    return result;
}

void fault_alloc_fail_at(uint64_t n, bool for_good) {
    atomic_store(&alloc_countdown, 0);
    if (n) atomic_store(&alloc_refused, false);
    atomic_store(&alloc_for_good, for_good);
    atomic_store(&alloc_countdown, n);
}

bool fault_alloc_hit(void) {
    return atomic_load(&alloc_refused);
}

uint64_t fault_alloc_live(void) {
    return atomic_load(&alloc_live);
}

/* ---- random numbers ---- */

static uint64_t seed_value;
/* Shared with the forked test processes, so that the seed is printed once. */
static atomic_bool *seed_printed;

static void choose_seed(void) {
    if (seed_printed) return;
    seed_printed =
        mmap(NULL, sizeof *seed_printed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seed_printed == MAP_FAILED) abort();
    const char *given = getenv("KEVO_SEED");
    if (given && *given) {
        seed_value = strtoull(given, NULL, 0);
    } else {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        seed_value = ((uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec) & 0xffffffffu;
    }
}

uint64_t harness_seed(void) {
    choose_seed();
    if (!atomic_exchange(seed_printed, true)) {
        printf("KEVO_SEED=%" PRIu64 "\n", seed_value);
        fflush(stdout);
    }
    return seed_value;
}

uint64_t harness_count(const char *variable, uint64_t standard) {
    const char *given = getenv(variable);
    return given && *given ? strtoull(given, NULL, 0) : standard;
}

struct rng rng_of(uint64_t seed) {
    return (struct rng){seed};
}

/* splitmix64: any seed is a good one. */
uint64_t rng_next(struct rng *r) {
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *r, uint64_t n) {
    return rng_next(r) % n;
}

/* ---- scratch directories ---- */

struct scratch {
    struct scratch *next;
    pid_t owner;
    char path[];
};

static struct scratch *scratches;
/* Made by harness_run, so that nothing stays behind a test that was killed. */
static char run_dir[512];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path) {
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_scratches(void) {
    for (struct scratch *s = scratches, *next; s; s = next) {
        next = s->next;
        if (s->owner == getpid()) remove_tree(s->path);
        free(s);
    }
    scratches = NULL;
}

static void make_dir_below(const char *parent, char *path, size_t bytes) {
    snprintf(path, bytes, "%s/kevo-test-XXXXXX", parent);
    if (!mkdtemp(path)) {
        fprintf(stderr, "cannot make a directory in %s\n", parent);
        abort();
    }
}

static const char *temporary_dir(void) {
    const char *dir = getenv("TMPDIR");
    return dir && *dir && strlen(dir) < 256 ? dir : "/tmp";
}

const char *scratch_dir(void) {
    static bool registered;
    struct scratch *s = malloc(sizeof *s + 1024);
    if (!s) abort();
    make_dir_below(run_dir[0] ? run_dir : temporary_dir(), s->path, 1024);
    s->owner = getpid();
    s->next = scratches;
    scratches = s;
    if (!registered) atexit(remove_scratches);
    registered = true;
    return s->path;
}

/* ---- running ---- */

/* Check reads its default when a test case is made, before harness_run. Check
 * itself multiplies it by CK_TIMEOUT_MULTIPLIER. */
__attribute__((constructor)) static void set_default_timeout(void) {
    setenv("CK_DEFAULT_TIMEOUT", "120", 0);
}

int harness_run(Suite *suite) {
    struct kevo_allocator counting = {counting_resize, NULL};
    kevo_set_allocator(&counting);
    choose_seed();
    make_dir_below(temporary_dir(), run_dir, sizeof run_dir);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);

    remove_tree(run_dir);
    run_dir[0] = 0;
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
