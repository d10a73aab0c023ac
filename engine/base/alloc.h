/* alloc.h - the engine's only door to the heap.
 *
 * Everything goes through the allocator given to kevo_set_allocator(), so that
 * a test can fail the n-th request and count what was not returned. The lint
 * refuses malloc and its kin anywhere else in the engine. */
#ifndef KEVO_BASE_ALLOC_H
#define KEVO_BASE_ALLOC_H

#include "engine/kevo.h"

void *mem_alloc(size_t bytes);               /* NULL when there is none */
void *mem_zalloc(size_t bytes);              /* zeroed */
void *mem_resize(void *p, size_t bytes);     /* p stays valid on failure */
void *mem_array(size_t count, size_t bytes); /* zeroed; NULL also on overflow */
void mem_free(void *p);                      /* p may be NULL */
char *mem_strdup(const char *s);

/* MEM_HUGE_BYTES in one huge page, where the system has such: what is searched at random
 * finds its pages' addresses in the processor's cache then. NULL when there is no memory.
 * An allocator of the host's own is asked for it as for any other memory. */
enum { MEM_HUGE_BYTES = 2 << 20 };
void *mem_alloc_huge(void);
void mem_free_huge(void *p); /* p may be NULL */
/* So many that were freed are kept for the next to ask, in the whole process: as much as a
 * memtable. mem_trim() gives them back to the system. Any thread. */
enum { MEM_SPARE_PAGES = 16 };
void mem_trim(void);

/* The first use of a page takes as long as the system takes to clear it, and, in a virtual
 * machine, the host to find the memory: another thread can do that ahead of who needs it. Any
 * thread; nothing of it is for an allocator of the host's own.
 * mem_is_short: whether fewer than `count` pages lie ready, in the whole process, of which
 * MEM_READY_PAGES are enough at any time. mem_make_ready: make it one more if so; false when not
 * so, when another thread is at it, and when there is no memory. */
enum { MEM_READY_PAGES = 2 };
bool mem_is_short(unsigned count);
bool mem_make_ready(unsigned count);

/* Make room for at least `need` elements in *array (capacity *cap elements of
 * `bytes` each), growing by half again. False when there is no memory; the
 * array is unchanged then. */
bool mem_grow(void **array, size_t *cap, size_t need, size_t bytes);

#endif
