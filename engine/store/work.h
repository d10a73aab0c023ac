/* work.h - what flush, compaction and the threads that run them have in common.
 * Private to engine/store.
 *
 * A job drops only what gc_snapshots() lets go. While it runs, its floor is in
 * store->running_floor, so that no older snapshot is pinned on what it is dropping. */
#ifndef KEVO_STORE_WORK_H
#define KEVO_STORE_WORK_H

#include "engine/store/store.h"
#include "engine/tree/build.h"

/* ---- work.c ---- */
/* Before the first new file is made: remove the trace of a crash. Takes write_mutex. */
int work_sweep(kevo_store *s, struct kevo_err *err);
/* Whether the store is closing; for struct build. `arg` is the store. Takes mutex. */
bool work_closing(void *arg);
/* How tables of that level are written. */
struct table_writer_options work_writer_options(const kevo_store *s, unsigned level);
/* What a job may not drop into b->snapshots, which are *ids, freed by the caller; and the
 * promise to those who pin snapshots meanwhile. `lag` as in gc_snapshots(). Takes mutex. */
int work_begin_gc(kevo_store *s, int job, bool lag, struct build *b, uint64_t **ids,
                  struct kevo_err *err);
/* Needs mutex. A job that dropped nothing hurts no old snapshot. */
void work_end_gc(kevo_store *s, int job, const struct build *b, bool installed);
/* Make the edit durable and let readers see the new version, without the oldest
 * memtable if `flushed`. On success the job's work_end_gc() is done. */
int work_install(kevo_store *s, struct version_edit *edit, bool flushed, int job,
                 const struct build *b, struct kevo_err *err);
/* After work_install() returned rc: remove the tables of an edit that is certainly not
 * in the manifest. */
void work_discard(const struct version_edit *edit, int rc);

/* ---- flush.c ---- */
/* Write the oldest immutable memtable to a table. Needs jobs[FLUSHER].running, taken
 * under mutex, and work_flush_pending(). */
int flush_run(kevo_store *s, struct kevo_err *err);

/* ---- compact.c ---- */
/* Whether compact_run() has something to do. Needs mutex. */
bool compact_pending(kevo_store *s);
/* In how many microseconds it may have, with nothing but time passing: until retain_ms is over
 * for something, or the store settles. SETTLE_NEVER; needs mutex. */
uint64_t compact_pending_in(kevo_store *s);
/* One compaction. Needs jobs[COMPACTOR].running, taken under mutex. KEVO_NOTFOUND:
 * nothing to do. */
int compact_run(kevo_store *s, struct kevo_err *err);

/* ---- drop.c ---- */
/* Whether tables may be hidden as a whole by range tombstones. Needs mutex. */
bool drop_pending(const kevo_store *s);
/* Whether it will be so, with nothing but time passing. Needs mutex. */
bool drop_pending_soon(const kevo_store *s);
/* An edit is installed: note whether it brings range tombstones. Needs mutex. */
void drop_look_at(kevo_store *s, const struct version_edit *edit);
/* Remove the tables that are. Conditions and results as for compact_run(). */
int drop_run(kevo_store *s, struct kevo_err *err);

/* ---- settle.c ---- */
#define SETTLE_NEVER UINT64_MAX
/* In how many microseconds memory, or tables, may be settled, with nothing but time passing; 0:
 * now. SETTLE_NEVER: there is nothing to settle. Needs mutex. */
uint64_t settle_memory_in(const kevo_store *s);
uint64_t settle_tables_in(kevo_store *s);
/* Until settle_ms have passed since the last commit. */
uint64_t settle_time_left(const kevo_store *s);
/* Replace the active memtable, or remove spare log segments. What fails for a writer, or for want
 * of space or memory, is tried again later; anything else after the next commit. Needs
 * jobs[FLUSHER].running. */
void settle_memory(kevo_store *s);
/* Whether a merge that nobody asked for is to stop, since writers need the compactor, or
 * kevo_compact() does. Needs mutex. */
bool settle_gives_way(const kevo_store *s);
/* No merge was found worth it, with so many edits and that oldest snapshot, or with SETTLE_ANY.
 * Needs mutex. */
#define SETTLE_ANY UINT64_MAX
void settle_note_none(kevo_store *s, uint64_t edits, uint64_t oldest);

/* ---- warm.c ---- */
/* As settle_tables_in(): until tables may be brought into the cache. */
uint64_t warm_in(kevo_store *s);
/* Bring tables that are new into what is free of the cache. Needs jobs[COMPACTOR].running.
 * KEVO_NOTFOUND: it is not the time for that, or there are none. */
int warm_run(kevo_store *s);

#endif
