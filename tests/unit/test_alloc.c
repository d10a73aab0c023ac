#include "engine/base/alloc.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/error.h"
#include "engine/base/fork.h"
#include "tests/lib/harness.h"

START_TEST(zeroed_and_never_null_for_nothing) {
    void *p[] = {mem_alloc(0), mem_zalloc(0), mem_array(0, 8), mem_array(8, 0),
                 mem_resize(NULL, 0)};
    for (size_t i = 0; i < 5; i++)
        ck_assert_ptr_nonnull(p[i]);
    ck_assert_uint_eq(fault_alloc_live(), 5);
    for (size_t i = 0; i < 5; i++)
        mem_free(p[i]);
    mem_free(NULL);
    static const uint8_t zeros[800];
    uint8_t *z = mem_zalloc(800), *a = mem_array(100, 8);
    ck_assert_mem_eq(z, zeros, 800);
    ck_assert_mem_eq(a, zeros, 800);
    mem_free(z);
    mem_free(a);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

START_TEST(sizes_that_overflow) {
    ck_assert_ptr_null(mem_array(SIZE_MAX / 2, 3));
    ck_assert_ptr_null(mem_array(SIZE_MAX, SIZE_MAX));
    void *array = NULL;
    size_t cap = 0;
    ck_assert(!mem_grow(&array, &cap, SIZE_MAX, 8));
    ck_assert(!mem_grow(&array, &cap, SIZE_MAX / 8 + 1, 8));
    ck_assert_ptr_null(array);
    ck_assert_uint_eq(cap, 0);
}
END_TEST

START_TEST(grow_keeps_contents) {
    void *array = NULL;
    size_t cap = 0;
    unsigned moves = 0;
    for (size_t i = 0; i < 100000; i++) {
        size_t before = cap;
        if (!mem_grow(&array, &cap, i + 1, sizeof i) || cap <= i) ck_abort();
        ((size_t *)array)[i] = i;
        moves += cap != before;
    }
    ck_assert_uint_lt(moves, 40);
    for (size_t i = 0; i < 100000; i++)
        if (((size_t *)array)[i] != i) ck_abort_msg("element %zu", i);
    size_t before = cap;
    fault_alloc_fail_at(1, false);
    ck_assert(!mem_grow(&array, &cap, cap + 1, sizeof(size_t)));
    ck_assert_uint_eq(cap, before);
    ck_assert_uint_eq(((size_t *)array)[99999], 99999);
    mem_free(array);
}
END_TEST

START_TEST(strdup_copies) {
    char text[] = "hello";
    char *copy = mem_strdup(text);
    text[0] = 'j';
    ck_assert_str_eq(copy, "hello");
    mem_free(copy);
    fault_alloc_fail_at(1, false);
    ck_assert_ptr_null(mem_strdup(text));
}
END_TEST

START_TEST(faults_once_and_for_good) {
    void *p[4] = {NULL};
    fault_alloc_fail_at(2, false);
    for (int i = 0; i < 4; i++)
        p[i] = mem_alloc(8);
    ck_assert(fault_alloc_hit());
    ck_assert(p[0] && !p[1] && p[2] && p[3]);
    fault_alloc_fail_at(2, true);
    ck_assert(!fault_alloc_hit());
    ck_assert(p[1] = mem_alloc(8));
    ck_assert_ptr_null(mem_resize(p[0], 16));
    ck_assert_ptr_null(mem_alloc(8));
    fault_alloc_fail_at(0, false);
    ck_assert(fault_alloc_hit());
    ck_assert(p[0] = mem_resize(p[0], 16));
    ck_assert_uint_eq(fault_alloc_live(), 4);
    for (int i = 0; i < 4; i++)
        mem_free(p[i]);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

START_TEST(allocator_can_be_replaced_and_given_back) {
    kevo_set_allocator(NULL);
    fault_alloc_fail_at(1, true);
    void *p = mem_alloc(8);
    ck_assert_ptr_nonnull(p); /* the C library's, not the counted one */
    p = mem_resize(p, 100000);
    ck_assert_ptr_nonnull(p);
    mem_free(p);
}
END_TEST

/* Whole, aligned and zeroed from the system; from a host's allocator like all else. */
START_TEST(huge_pages) {
    static const uint8_t zeros[MEM_HUGE_BYTES];
    uint8_t *p[4];
    for (unsigned i = 0; i < 4; i++) {
        p[i] = mem_alloc_huge();
        ck_assert_ptr_nonnull(p[i]);
        memset(p[i], (int)i, MEM_HUGE_BYTES);
    }
    ck_assert_uint_eq(fault_alloc_live(), 4);
    fault_alloc_fail_at(1, false);
    ck_assert_ptr_null(mem_alloc_huge());
    for (unsigned i = 0; i < 4; i++)
        mem_free_huge(p[i]);
    ck_assert_uint_eq(fault_alloc_live(), 0);
    kevo_set_allocator(NULL); /* in this test's process */
    for (unsigned i = 0; i < 4; i++) {
        p[i] = mem_alloc_huge();
        ck_assert_ptr_nonnull(p[i]);
        ck_assert_uint_eq((uintptr_t)p[i] % MEM_HUGE_BYTES, 0);
        ck_assert_mem_eq(p[i], zeros, MEM_HUGE_BYTES);
        memset(p[i], (int)i + 1, MEM_HUGE_BYTES);
    }
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(p[i][0], i + 1);
        ck_assert_uint_eq(p[i][MEM_HUGE_BYTES - 1], i + 1);
        mem_free_huge(p[i]);
    }
    mem_free_huge(NULL);
}
END_TEST

static bool is_mapped(void *p) {
    return msync(p, MEM_HUGE_BYTES, MS_ASYNC) == 0;
}

/* Freed pages are handed out again, so many of them, and given back to the system when asked. */
START_TEST(spare_huge_pages) {
    enum { COUNT = MEM_SPARE_PAGES + 3 };
    uint8_t *p[COUNT];
    kevo_set_allocator(NULL); /* in this test's process */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            p[i] = mem_alloc_huge();
            ck_assert_ptr_nonnull(p[i]);
            for (int k = 0; k < i; k++)
                ck_assert_ptr_ne(p[i], p[k]);
            memset(p[i], i, MEM_HUGE_BYTES);
        }
        for (int i = 0; i < COUNT; i++)
            mem_free_huge(p[i]);
        for (int i = 0; i < COUNT; i++)
            ck_assert_int_eq(is_mapped(p[i]), i < MEM_SPARE_PAGES);
    }
    uint8_t *again = mem_alloc_huge();
    ck_assert_ptr_eq(again, p[0]);
    mem_trim();
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(is_mapped(p[i]), i == 0);
    mem_free_huge(again);
    mem_trim();
    mem_trim();
    ck_assert(!is_mapped(again));
}
END_TEST

static void *take_and_give(void *arg) {
    (void)arg;
    for (int i = 0; i < 3000; i++) {
        uint8_t *p = mem_alloc_huge(), *q = mem_alloc_huge();
        p[i] = 1, q[i] = 2;
        if (p[i] != 1 || q[i] != 2) abort();
        mem_free_huge(q);
        if (i % 100 == 0) mem_trim();
        mem_free_huge(p);
    }
    return NULL;
}

START_TEST(spare_huge_pages_of_threads) {
    pthread_t threads[4];
    kevo_set_allocator(NULL);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_and_give, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    mem_trim();
}
END_TEST

/* Whether the system has memory for all of it already. */
static bool is_touched(void *p) {
    enum { PAGE_BYTES = 4096 };
    unsigned char there[MEM_HUGE_BYTES / PAGE_BYTES];
    ck_assert_int_eq(mincore(p, MEM_HUGE_BYTES, there), 0);
    for (size_t i = 0; i < sizeof there; i++)
        if (!(there[i] & 1)) return false;
    return true;
}

/* How many pages that nobody used lie ready; they go back to the system. */
static unsigned count_ready(void) {
    uint8_t *p[MEM_READY_PAGES + 1];
    unsigned count = 0;
    for (int i = 0; i <= MEM_READY_PAGES; i++) {
        p[i] = mem_alloc_huge();
        ck_assert_ptr_nonnull(p[i]);
        count += is_touched(p[i]);
    }
    for (int i = 0; i <= MEM_READY_PAGES; i++)
        mem_free_huge(p[i]);
    mem_trim();
    return count;
}

/* Touched but empty, so many at most and not at all when freed ones lie there. */
START_TEST(pages_made_ready) {
    static const uint8_t zeros[MEM_HUGE_BYTES];
    kevo_set_allocator(NULL);
    ck_assert(!mem_is_short(0) && !mem_make_ready(0));
    for (unsigned n = 1; n <= MEM_READY_PAGES; n++) {
        ck_assert(mem_is_short(n) && mem_make_ready(n));
        ck_assert(!mem_is_short(n) && !mem_make_ready(n));
    }
    ck_assert(!mem_is_short(99) && !mem_make_ready(99));
    uint8_t *p = mem_alloc_huge();
    ck_assert_uint_eq((uintptr_t)p % MEM_HUGE_BYTES, 0);
    ck_assert(is_touched(p));
    ck_assert_mem_eq(p, zeros, MEM_HUGE_BYTES);
    ck_assert(mem_is_short(99) && mem_make_ready(99));
    ck_assert_uint_eq(count_ready(), MEM_READY_PAGES);
    uint8_t *fresh = mem_alloc_huge();
    ck_assert(!is_touched(fresh));
    mem_free_huge(fresh);
    mem_free_huge(p);
    ck_assert(!mem_is_short(2) && !mem_make_ready(2));
    mem_trim();
    ck_assert(!is_mapped(p) && !is_mapped(fresh) && mem_is_short(1));
}
END_TEST

START_TEST(nothing_is_made_ready_by_a_hosts_allocator) {
    ck_assert(!mem_is_short(1) && !mem_make_ready(1));
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

START_TEST(nothing_is_made_ready_without_memory) {
    struct rlimit before, none;
    kevo_set_allocator(NULL);
    getrlimit(RLIMIT_AS, &before);
    none = (struct rlimit){1, before.rlim_max};
    setrlimit(RLIMIT_AS, &none);
    bool made = mem_make_ready(1);
    setrlimit(RLIMIT_AS, &before);
    ck_assert(!made && mem_is_short(1));
    ck_assert(mem_make_ready(1) && !mem_is_short(1)); /* the failure has left no trace */
    ck_assert_uint_eq(count_ready(), 1);
}
END_TEST

static void *make_ready(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++)
        mem_make_ready(MEM_READY_PAGES);
    return NULL;
}

START_TEST(threads_make_no_more_ready_together) {
    pthread_t threads[4];
    kevo_set_allocator(NULL);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, make_ready, NULL), 0);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        mem_make_ready(MEM_READY_PAGES); /* another thread may have been at it */
        mem_make_ready(MEM_READY_PAGES);
        uint8_t *p[MEM_READY_PAGES];
        for (int i = 0; i < MEM_READY_PAGES; i++)
            ck_assert(is_touched(p[i] = mem_alloc_huge()));
        ck_assert(mem_is_short(1));
        for (int i = 0; i < MEM_READY_PAGES; i++)
            mem_free_huge(p[i]);
        mem_trim();
    }
}
END_TEST

static atomic_bool stop;

static void *make_ready_for_ever(void *arg) {
    (void)arg;
    while (!atomic_load(&stop)) {
        mem_make_ready(1);
        mem_trim();
    }
    return NULL;
}

/* A child may go on, whatever a thread of its parent was at. */
START_TEST(children_make_pages_ready) {
    pthread_t thread;
    kevo_set_allocator(NULL);
    ck_assert_int_eq(fork_watch(), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, make_ready_for_ever, NULL), 0);
    for (int i = 0; i < 30; i++) {
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            mem_trim();
            _exit(mem_make_ready(1) && !mem_is_short(1) ? 0 : 1);
        }
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    mem_trim();
}
END_TEST

START_TEST(errors_carry_code_and_text) {
    struct kevo_err err = {0};
    ck_assert_int_eq(kevo_fail(&err, KEVO_CORRUPT, "%s: block %u", "f", 3u), KEVO_CORRUPT);
    ck_assert_int_eq(err.rc, KEVO_CORRUPT);
    ck_assert_str_eq(err.msg, "f: block 3");
    ck_assert_int_eq(kevo_fail(NULL, KEVO_BUSY, "x"), KEVO_BUSY);
    ck_assert_int_eq(kevo_nomem(&err), KEVO_NOMEM);
    char lengthy[2000];
    memset(lengthy, 'l', sizeof lengthy);
    lengthy[sizeof lengthy - 1] = 0;
    kevo_fail(&err, KEVO_IOERR, "%s", lengthy);
    ck_assert_uint_eq(strlen(err.msg), sizeof err.msg - 1);
}
END_TEST

START_TEST(every_code_has_a_name) {
    for (int rc = KEVO_NEWER; rc <= KEVO_NOTFOUND; rc++) {
        ck_assert_int_eq(strncmp(kevo_rc_name(rc), "KEVO_", 5), 0);
        for (int other = KEVO_NEWER; other < rc; other++)
            ck_assert_str_ne(kevo_rc_name(rc), kevo_rc_name(other));
    }
    ck_assert_str_eq(kevo_rc_name(-1000), "unknown code");
}
END_TEST

int main(void) {
    Suite *s = suite_create("alloc");
    TCase *t = tcase_create("alloc");
    tcase_add_test(t, zeroed_and_never_null_for_nothing);
    tcase_add_test(t, sizes_that_overflow);
    tcase_add_test(t, grow_keeps_contents);
    tcase_add_test(t, strdup_copies);
    tcase_add_test(t, faults_once_and_for_good);
    tcase_add_test(t, allocator_can_be_replaced_and_given_back);
    tcase_add_test(t, huge_pages);
    tcase_add_test(t, spare_huge_pages);
    tcase_add_test(t, spare_huge_pages_of_threads);
    tcase_add_test(t, pages_made_ready);
    tcase_add_test(t, nothing_is_made_ready_by_a_hosts_allocator);
    tcase_add_test(t, nothing_is_made_ready_without_memory);
    tcase_add_test(t, threads_make_no_more_ready_together);
    tcase_add_test(t, children_make_pages_ready);
    tcase_add_test(t, errors_carry_code_and_text);
    tcase_add_test(t, every_code_has_a_name);
    suite_add_tcase(s, t);
    return harness_run(s);
}
