/* batch.h - the changes of one batch as bytes: what a log record carries. The
 * layout is in engine/FORMAT.md, "Write-ahead log".
 *
 * Each key occurs at most once. */
#ifndef KEVO_MEM_BATCH_H
#define KEVO_MEM_BATCH_H

#include "engine/base/buf.h"
#include "engine/mem/memtable.h"

struct batch_totals {
    uint64_t puts, deletes;
    uint64_t user_bytes; /* keys and values */
};

/* Append one change. KEVO_NOMEM changes nothing. */
int batch_put_entry(struct buf *b, uint8_t type, slice key, slice value, struct kevo_err *err);

/* Append the newest version of each key in a write buffer. KEVO_NOMEM. */
int batch_put_memtable(struct buf *b, struct memtable *m, struct batch_totals *totals,
                       struct kevo_err *err);

/* Add every change in `payload` to the memtable under `seq`. KEVO_CORRUPT when the
 * bytes make no sense (`where` names them), KEVO_NOMEM; some may have been added
 * then. */
int batch_insert(slice payload, struct memtable *m, uint64_t seq, const char *where,
                 struct kevo_err *err);

#endif
