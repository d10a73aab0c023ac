/* memtable_find.h - places in a memtable's list, for who reads it. Private to engine/mem. */
#ifndef KEVO_MEM_MEMTABLE_FIND_H
#define KEVO_MEM_MEMTABLE_FIND_H

#include "engine/mem/memtable.h"

/* First node at or after the target, void or not; NULL when there is none. */
struct memnode *memtable_find(const struct memtable *m, const struct target *t);
/* Last node before the target; the head when there is none. */
struct memnode *memtable_find_before(const struct memtable *m, const struct target *t);
/* Last node; the head when there is none. */
struct memnode *memtable_find_last(const struct memtable *m);

#endif
