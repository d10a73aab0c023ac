#include "engine/base/alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/fork.h"

static void *libc_resize(void *ctx, void *p, size_t n) {
    (void)ctx;
    if (n == 0) {
        free(p);
        return NULL;
    }
    return realloc(p, n);
}

static struct kevo_allocator allocator = {libc_resize, NULL};

void kevo_set_allocator(const struct kevo_allocator *a) {
    allocator = a ? *a : (struct kevo_allocator){libc_resize, NULL};
}

void *mem_alloc(size_t bytes) {
    return allocator.resize(allocator.ctx, NULL, bytes ? bytes : 1);
}

void *mem_zalloc(size_t bytes) {
    void *p = mem_alloc(bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

void *mem_resize(void *p, size_t bytes) {
    return allocator.resize(allocator.ctx, p, bytes ? bytes : 1);
}

/* ---- huge pages ---- */

static void *map_pages(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Where the system does not align what it maps, map twice as much and cut it to size. */
static uint8_t *map_aligned(void) {
    uint8_t *p = map_pages(MEM_HUGE_BYTES);
    if (!p || (uintptr_t)p % MEM_HUGE_BYTES == 0) return p;
    munmap(p, MEM_HUGE_BYTES);
    p = map_pages(2 * (size_t)MEM_HUGE_BYTES);
    if (!p) return NULL;
    size_t before = -(uintptr_t)p % MEM_HUGE_BYTES;
    if (before) munmap(p, before);
    munmap(p + before + MEM_HUGE_BYTES, MEM_HUGE_BYTES - before);
    return p + before;
}

/* Pages that were given back, or made ready. A fresh one has to be cleared by the system, which
 * takes longer than many uses of it. No lock, so that a fork at any moment leaves no trouble to
 * the child. */
static void *_Atomic spares[MEM_SPARE_PAGES];

static void *take_spare(void) {
    for (int i = 0; i < MEM_SPARE_PAGES; i++) {
        if (!atomic_load_explicit(&spares[i], memory_order_relaxed)) continue;
        void *p = atomic_exchange(&spares[i], NULL);
        if (p) return p;
    }
    return NULL;
}

static unsigned count_spares(void) {
    unsigned count = 0;
    for (int i = 0; i < MEM_SPARE_PAGES; i++)
        count += atomic_load_explicit(&spares[i], memory_order_relaxed) != NULL;
    return count;
}

/* False: there are enough. */
static bool put_spare(void *p) {
    for (int i = 0; i < MEM_SPARE_PAGES; i++) {
        void *none = NULL;
        if (atomic_load_explicit(&spares[i], memory_order_relaxed)) continue;
        if (atomic_compare_exchange_strong(&spares[i], &none, p)) return true;
    }
    return false;
}

/* What it held is of no use to anybody: the system may take the memory when it runs short. */
static bool keep_spare(void *p) {
    if (count_spares() == MEM_SPARE_PAGES) return false;
    madvise(p, MEM_HUGE_BYTES, MADV_FREE);
    return put_spare(p);
}

void mem_trim(void) {
    for (void *p; (p = take_spare());)
        munmap(p, MEM_HUGE_BYTES);
}

static void *map_huge(void) {
    void *p = map_aligned();
    if (p) madvise(p, MEM_HUGE_BYTES, MADV_HUGEPAGE); /* a hint: small pages do as well */
    return p;
}

void *mem_alloc_huge(void) {
    if (allocator.resize != libc_resize) return mem_alloc(MEM_HUGE_BYTES);
    void *p = take_spare();
    return p ? p : map_huge();
}

void mem_free_huge(void *p) {
    if (!p) return;
    if (allocator.resize != libc_resize)
        mem_free(p);
    else if (!keep_spare(p))
        munmap(p, MEM_HUGE_BYTES);
}

/* 1 + fork_generation() of the process in which a thread makes a page ready. In a child there is
 * no such thread: the page is lost to it. */
static _Atomic unsigned making_ready;

bool mem_is_short(unsigned count) {
    if (count > MEM_READY_PAGES) count = MEM_READY_PAGES;
    return allocator.resize == libc_resize && count_spares() < count;
}

/* By writing, which alone has the system take memory for it, to all pages if they are small ones.
 * A system call for this would keep other threads from mapping meanwhile. */
static void touch(uint8_t *page) {
    enum { LEAST_PAGE_BYTES = 4096 };
    for (size_t i = 0; i < MEM_HUGE_BYTES; i += LEAST_PAGE_BYTES)
        *(volatile uint8_t *)(page + i) = 0;
}

static bool add_touched(void) {
    uint8_t *p = map_huge();
    if (!p) return false;
    touch(p);
    if (put_spare(p)) return true;
    munmap(p, MEM_HUGE_BYTES);
    return false;
}

bool mem_make_ready(unsigned count) {
    unsigned mine = fork_generation() + 1, was = atomic_load(&making_ready);
    if (was == mine || !atomic_compare_exchange_strong(&making_ready, &was, mine)) return false;
    bool made = mem_is_short(count) && add_touched();
    atomic_store(&making_ready, 0);
    return made;
}

/* ---- built on the above ---- */

void *mem_array(size_t count, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) return NULL;
    return mem_zalloc(total);
}

void mem_free(void *p) {
    if (p) allocator.resize(allocator.ctx, p, 0);
}

char *mem_strdup(const char *s) {
    size_t n = strlen(s) + 1;
    char *copy = mem_alloc(n);
    if (copy) memcpy(copy, s, n);
    return copy;
}

bool mem_grow(void **array, size_t *cap, size_t need, size_t bytes) {
    if (need <= *cap) return true;
    size_t want = *cap + *cap / 2 + 8, total;
    if (want < need) want = need;
    if (__builtin_mul_overflow(want, bytes, &total)) return false;
    void *p = mem_resize(*array, total);
    if (!p) return false;
    *array = p;
    *cap = want;
    return true;
}
