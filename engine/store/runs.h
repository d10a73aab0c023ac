/* runs.h - the part of a transaction that memory does not hold: sorted runs on disk.
 *
 * When its write buffer is full a transaction writes it to a table, a run, and begins an empty
 * one. Runs make a small tree of their own, with the structure of the store's: level 0 has
 * runs as they come, which overlap; each deeper level has one run, in tables that do not. When
 * there are RUNS_MERGE runs in level 0 they are merged into a free deeper level, or, if there
 * is none, together with what lies there already and is no larger (size-tiered compaction:
 * O'Neil and others, The Log-Structured Merge-Tree, 1996, with lazy levels). A run that
 * overlaps no other goes to the deepest level at once: ascending input is never merged. So a
 * read asks few runs, and what it costs to write them is bounded.
 *
 * The writes of a transaction are numbered from 1 on, undone ones too, and these numbers are the
 * sequence numbers in the tables: every version of a key is kept. To the transaction itself they
 * are read with SEQ_PRIVATE added (table_file.base_seq), so that they are newer than all of the
 * store. At the commit the batch takes as many ids as there were writes and one for itself; the
 * files are then named with that base, and nothing is written again.
 *
 * Undoing needs neither memory nor files: a run is cut, that is, read without what is newer than
 * the mark (`cap`, for all of a run's tables together). What a cut run still holds is written
 * anew when it is merged, or before the commit (runs_settle()). Writes after the undo have larger
 * numbers than all that was undone, so a cut never hides them.
 *
 * The files are known to nobody else before the commit: a crash leaves orphans, which the next
 * writer sweeps.
 *
 * Threads: those of the transaction; a version is counted, and may be read by any. */
#ifndef KEVO_STORE_RUNS_H
#define KEVO_STORE_RUNS_H

#include "engine/store/store.h"
#include "engine/tree/edit.h"

enum { RUNS_MERGE = 16, RUNS_MAX_TABLES = 16 };

/* A zeroed struct but for `store` has no runs. */
struct runs {
    kevo_store *store;
    struct version *version;             /* NULL: none */
    uint64_t cap[RUNS_MERGE];            /* level 0: of its runs, from the oldest on */
    uint64_t level_cap[KEVO_MAX_LEVELS]; /* of the deeper ones */
    uint64_t changes;                    /* grows when readers have to look anew, also since the
                                            transaction has another buffer */
    bool handed_over;                    /* the files are the store's: they are not removed here */
    bool (*cancelled)(void *arg); /* asked now and then while files are written; may be NULL */
    void *cancelled_arg;
};

/* Remove all runs, unless they were handed over. */
void runs_release(struct runs *r);

/* Write a buffer, which is not empty, as the newest run. After an error nothing has changed.
 * KEVO_FULL, KEVO_IOERR, KEVO_NOMEM, KEVO_CANCELLED. */
int runs_add(struct runs *r, struct memtable *buffer, struct kevo_err *err);

/* Undo the writes with a number > op. Cannot fail. */
void runs_undo(struct runs *r, uint64_t op);

/* Whether there is nothing that counts. */
bool runs_is_empty(const struct runs *r);

/* Let the files hold what counts and nothing else, durably and with their names. */
int runs_settle(struct runs *r, struct kevo_err *err);

/* Add all tables to an edit, the older ones first, as files of their own with their sequence
 * numbers raised by base_seq. The runs are settled. KEVO_NOMEM. */
int runs_name(const struct runs *r, uint64_t base_seq, struct version_edit *edit,
              struct kevo_err *err);

/* ---- reading ------------------------------------------------------------------- */

/* The newest version of `key`, and the largest seq of a range tombstone that covers it, 0: none.
 * What is older than either is not looked for. KEVO_NOTFOUND. */
int runs_get(const struct runs *r, slice key, struct table_value *v, uint64_t *cover,
             struct kevo_err *err);

/* Add the range tombstones that count, as range_list_add_visible() does. */
int runs_list_ranges(const struct runs *r, slice lower, slice upper, struct range_list *list,
                     struct kevo_err *err);

/* At most so many sources does runs_iters() add. */
enum { RUNS_MAX_ITERS = RUNS_MERGE + KEVO_MAX_LEVELS };

/* Iterators over what counts, into list[0..*count). `hidden` as for level_iter_hide(), or NULL.
 * After an error there are none. */
int runs_iters(const struct runs *r, slice lower, slice upper, const struct range_set *hidden,
               struct iter **list, size_t *count, struct kevo_err *err);

#endif
