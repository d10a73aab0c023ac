/* batch.h - the changes of one batch as bytes: what a log record carries. The
 * layout is in engine/FORMAT.md, "Write-ahead log".
 *
 * Each key occurs at most once. All changes of a batch get one sequence number, and a
 * deletion of a range hides only smaller ones: so it does not touch the batch's own
 * puts, and those that came before it in the same batch are left out. */
#ifndef KEVO_MEM_BATCH_H
#define KEVO_MEM_BATCH_H

#include "engine/base/buf.h"
#include "engine/mem/memtable.h"

/* Besides enum entry_type's, which are types of changes as well. */
enum { CHANGE_DELETE_RANGE = 2 };

struct batch_totals {
    uint64_t puts, deletes, range_deletes;
    uint64_t user_bytes; /* keys, values, and bounds of ranges */
};

/* Append one change; of CHANGE_DELETE_RANGE `key` is the lower bound and `value` the
 * upper. KEVO_NOMEM changes nothing. */
int batch_put_entry(struct buf *b, uint8_t type, slice key, slice value, struct kevo_err *err);

/* Append what a write buffer amounts to: its range tombstones, united, and the newest
 * version of each key that none of them is newer than. KEVO_NOMEM. */
int batch_put_memtable(struct buf *b, struct memtable *m, struct batch_totals *totals,
                       struct kevo_err *err);

/* Add every change in `payload` to the memtable under `seq`. KEVO_CORRUPT when the
 * bytes make no sense (`where` names them), KEVO_NOMEM; some may have been added
 * then. */
int batch_insert(slice payload, struct memtable *m, uint64_t seq, const char *where,
                 struct kevo_err *err);

#endif
