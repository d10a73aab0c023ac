/* store.h - the storage manager: ties log, memtables and tree together.
 *
 * What a reader needs is one object, the superversion: the active memtable, the
 * immutable ones, and the version of the tree. It is replaced as a whole when a
 * memtable is rotated and when a flush or a compaction is done; readers take a
 * reference and are never disturbed.
 *
 *     open.c       open, close
 *     opened.c     the stores that the process has open
 *     options.c    the tunable options, by name
 *     dir.c        a store's directory: what lies there, lock, destroy
 *     checkpoint.c a copy as of one moment
 *     repair.c     what can be read of a damaged store, in a new one
 *     ingest.c     batches that are tables: sorted input, large transactions
 *     recover.c    what the manifest and the log say, when a store is opened
 *     write.c      resolve, prepare, commit, rotate; the log and the memtables
 *     group.c      put, delete, apply_batch: writers that commit together
 *     pace.c       when writers are slowed down
 *     restore.c    the log's tail kept by the authority, and back
 *     txn.c        transactions and batches: private write buffers
 *     runs.c       what of a transaction memory does not hold
 *     hide.c       what deletions of ranges hide from a reader
 *     superversion.c  what a reader needs, and when tables are closed
 *     read.c       snapshots, get
 *     park.c       snapshots that rest between two uses
 *     iterate.c    iterators
 *     count.c      counting keys without visiting them all
 *     flush.c      memtables to tables
 *     compact.c    tables merged, one job at a time or all on demand
 *     drop.c       tables that deletions of ranges hide, removed unread
 *     settle.c     flushes and merges, when nothing is written for a while
 *     warm.c       blocks brought into the cache then
 *     work.c       the threads that do it, or kevo_step(); the cache and the log have one each
 *     stats.c      statistics, verification, estimates
 *     report.c     statistics as text
 *
 * Locks, taken in this order:
 *   write_mutex     one writer at a time: the log, the active memtable's inside
 *   door            the queue of writers; held for a few instructions, nothing inside
 *   manifest_mutex  the manifest and `state`; held over its fsync
 *   mutex           everything else below; held for a few instructions
 * and inside of any the cache's and the syncer's own.
 *
 * Invariants:
 *  1. Memtable and log segment go together: segment n protects the memtable whose
 *     `segment` is n, and nothing else.
 *  2. Batches in immutable memtables that may be flushed are committed; at most
 *     one batch, `pending`, is not known to be, and it lies in the active memtable.
 *     (After recovery with an external authority nothing is known until
 *     kevo_resolve(): `resolved` is false and nothing is flushed.)
 *  3. What is in tables is committed and never cut. */
#ifndef KEVO_STORE_STORE_H
#define KEVO_STORE_STORE_H

#include "engine/base/fork.h"
#include "engine/base/histogram.h"
#include "engine/log/wal.h"
#include "engine/mem/memtable.h"
#include "engine/store/history.h"
#include "engine/tree/compact_pick.h"
#include "engine/tree/hidden.h"
#include "engine/tree/manifest.h"
#include "engine/tree/view_iter.h"

/* Level 0 may exceed MAX_L0_STOP by what was in memory and by the tables of a batch. */
enum { MAX_MEMTABLES = 16, COMMIT_SAMPLES = 32, MAX_L0_STOP = 150, MAX_SPARES = 2 };

enum work_job { FLUSHER, COMPACTOR };

struct superversion {
    _Atomic unsigned refs;
    struct memtable *active;
    struct memtable *immutable[MAX_MEMTABLES]; /* from the newest to the oldest */
    unsigned immutable_count;
    struct version *version;
    struct epoch *epoch; /* NULL: tables are not borrowed through it */
};

struct pin {
    uint64_t id;
    uint64_t count;
};

/* A batch that is in the log and the active memtable but not known committed. */
struct pending {
    struct kevo_commit commit; /* batch 0: there is none */
    struct arena_mark mark;    /* its first entry in the active memtable */
};

struct commit_sample {
    uint64_t at_us, batch;
};

struct counters {
    _Atomic uint64_t batches, puts, deletes, range_deletes, gets, gets_missed, iterators, seeks,
        user_bytes, wal_bytes, wal_syncs, settled_memtables, settled_merges, settled_blocks,
        flushes, flush_bytes, compactions, compact_read_bytes, compact_write_bytes, trivial_moves,
        dropped_tables, stalls, stall_us, max_stall_us, filter_checks, filter_rejects,
        iterator_sources, level_read_bytes[KEVO_MAX_LEVELS], level_written_bytes[KEVO_MAX_LEVELS];
    struct histogram get, write, wal_sync, flush, compaction, stall;
};

/* Its place among the stores that the process has open; opened.c's mutex guards it. */
struct opened {
    kevo_store *next;
    unsigned refs;          /* kevo_open() less kevo_close() */
    bool settled;           /* neither being opened nor closed */
    bool known;             /* the file that it is locked by: */
    uint64_t device, inode; /* struct env_stat's */
};

/* The end of the log that a reader has put back from what the authority kept, in memory only:
 * a writer has to do it on disk. */
struct borrowed {
    uint64_t segment, offset; /* where the bytes belong */
    struct buf bytes;         /* empty: nothing is missing on disk */
};

struct kevo_store {
    struct opened opened;
    _Atomic bool read_only; /* no file may be changed; changes under write_mutex */
    struct env *env;
    char *dir;
    struct kevo_options options;
    struct env_file *lock_file;
    unsigned fork_generation; /* of the process that opened it */
    struct cache *cache;
    struct table_home home;
    struct open_tables open_tables;

    pthread_mutex_t write_mutex;
    struct memtable *active;  /* the current superversion's, which holds the reference */
    uint64_t active_since_us; /* when its first entry came, 0: it has none */
    struct wal_writer *wal;   /* NULL until the first write since open */
    struct syncer syncer;     /* syncs the log while the memtable takes a batch */
    struct wal_run run;       /* the log records being built */
    uint64_t nonce_state;     /* random numbers for nonces */
    uint64_t last_id;         /* largest batch id ever used */
    struct pace {
        double ns_per_byte; /* what is written now costs so much time */
        double owed_ns;     /* not waited for yet */
    } pace;
    struct wal_segment_end { /* where recovery found the last segment's end */
        uint64_t number;     /* 0: there is no segment yet */
        uint64_t salt, offset;
        struct wal_link last;
    } tail;
    struct borrowed borrowed;
    bool swept; /* orphans were removed */
    /* Batches in the log that are tables, which the manifest lacks: found by recovery, pending,
     * or committed a moment ago. In the order of their ids; changes with manifest_mutex as well
     * once the store is open. Nothing is compacted while there are any. */
    struct recovered_tables *recovered;
    size_t recovered_count, recovered_cap;

    pthread_mutex_t door;
    struct writer *first_writer, *last_writer; /* the queue; the first one leads */

    pthread_mutex_t manifest_mutex;
    struct manifest *manifest;
    struct manifest_state state;
    struct {
        unsigned output_level; /* of the running compaction, 0: none runs, or into level 0 */
        slice lower, upper;    /* its keys, all inclusive; borrowed from its files */
    } merging;

    pthread_mutex_t mutex;
    pthread_cond_t work_cond;             /* background threads: there may be work */
    pthread_cond_t done_cond;             /* writers and waiters: something was done */
    struct superversion *_Atomic current; /* changed under the mutex; without it, only to be
                                             compared */
    struct epoch *epoch;                  /* of `current` */
    struct kevo_commit committed;         /* newest known committed */
    struct kevo_commit flushed;           /* every batch up to this one is in tables */
    struct kevo_commit flushed_at_open;   /* ... when the store was opened */
    uint64_t left_log_at_open;            /* the newest batch that was in tables by then */
    struct kevo_commit ingested_at_open;  /* the newest batch of tables that the log names and the
                                            manifest had by then */
    struct history history;               /* of what was committed, or found in the log */
    struct kevo_commit newest;            /* newest batch in log or tables, committed or not */
    struct pending pending;
    bool void_owed; /* the log has batches behind `committed` that never were */
    bool resolved;
    bool virgin;      /* the manifest does not know yet that anything was committed */
    struct pin *pins; /* ascending by id */
    size_t pin_count, pin_cap;
    kevo_snapshot *parkable;   /* snapshots that nobody has counted on: see park.c */
    uint64_t gc_floor;         /* older snapshots may miss versions */
    uint64_t running_floor[2]; /* the same while flush [0], compaction [1] runs; 0: none */
    struct commit_sample samples[COMMIT_SAMPLES]; /* a ring, to know what was committed when */
    unsigned sample_next;
    uint64_t committed_at_us; /* when `committed` was set last */
    struct {
        bool due;                /* range tombstones have come to a table */
        struct hidden_wait wait; /* ... but a snapshot was in the way */
    } drop;
    _Atomic uint64_t next_file;
    uint64_t warmed_to; /* tables with smaller numbers are not to be brought into the cache */
    uint64_t spares[MAX_SPARES]; /* former log segments, to be used again */
    unsigned spare_count;
    struct job {
        bool running;
        struct env_thread *thread; /* NULL: not started */
        uint64_t failures;         /* attempts that failed */
        unsigned in_a_row;         /* ... one after the other, up to now */
        struct kevo_err err;       /* of the last of them */
    } jobs[2];                     /* enum work_job */
    unsigned log_holds;            /* segments that are not needed any more stay till 0 */
    uint64_t held_from;            /* ... the first of them, while there are holds */
    bool manual;                   /* kevo_compact() runs, the compactor does not */
    unsigned manual_waits;         /* calls of it that wait for the compactor or another one */
    uint64_t edits;                /* superversions since open */
    bool overlaid;                 /* `current` has tables of `recovered` */
    struct superversion *spare;    /* to take them out again; with write_mutex */
    struct {
        uint64_t edits, oldest; /* when the compactor found nothing to do: `edits` then, and the
                                   oldest snapshot */
    } idle;
    struct {
        int (*make_durable)(void *arg, struct kevo_err *err); /* of an external authority */
        void *arg;
        bool calling;           /* it is being called */
        bool all;               /* the active memtable is worth a table of any size */
        uint64_t ready_at_us;   /* when orphans were removed */
        bool watched;           /* the flusher is to look at the active memtable, or does */
        uint64_t tried_at_us;   /* when replacing it was tried last, or is not to be before */
        uint64_t failed_batch;  /* not to be tried again while this is the newest */
        uint64_t edits, oldest; /* as in `idle`: when no merge was found worth it, or SETTLE_ANY */
    } settle;
    bool closing;
    uint64_t hurries;      /* grows when somebody waits for a job that failed */
    bool retry_at_commit;  /* a job that failed waits for that, among others */
    struct kevo_err fatal; /* rc 0: none; else writes are refused until reopened */

    struct counters counters;
    uint64_t recovered_batches, recovered_bytes, recovery_us, torn_bytes;
};

static inline void count(_Atomic uint64_t *counter, uint64_t n) {
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* The same for a counter that changes with write_mutex held only: no locked instruction. */
static inline void count_write(_Atomic uint64_t *counter, uint64_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* The clock, to measure with, and: count what has passed since `start`. */
static inline uint64_t store_now(const kevo_store *s) {
    return s->env->now_ns(s->env);
}

static inline void count_since(const kevo_store *s, struct histogram *h, uint64_t start) {
    histogram_add(h, store_now(s) - start);
}

int store_forked(const kevo_store *s, struct kevo_err *err); /* KEVO_FORKED */

/* KEVO_FORKED in a child of the process that opened the store. */
static inline int store_check_process(const kevo_store *s, struct kevo_err *err) {
    return s->fork_generation == fork_generation() ? 0 : store_forked(s, err);
}

/* ---- open.c ---- */
int store_refuse_writing(const kevo_store *s, struct kevo_err *err); /* KEVO_READONLY */

/* KEVO_READONLY for a store that is open for reading only. */
static inline int store_check_read_only(const kevo_store *s, struct kevo_err *err) {
    return atomic_load_explicit(&s->read_only, memory_order_relaxed) ? store_refuse_writing(s, err)
                                                                     : 0;
}

uint64_t store_next_file(void *store); /* a fresh table file number */

/* ---- recover.c ---- */
/* KEVO_INVALID when the store has another one. */
int store_check_authority(const kevo_store *s, int authority, struct kevo_err *err);
/* Read what is on disk; fills in all that is not known before. */
int store_recover(kevo_store *s, struct kevo_err *err);
/* Read the records of a segment, from where the reader stands to the end of the log, into
 * the last of these memtables, whose segment it is; the others are those of the segments
 * before it. s->tail, s->newest and s->last_id follow. */
int store_replay(kevo_store *s, struct wal_reader *reader, struct memtable *const *memtables,
                 unsigned count, struct kevo_err *err);
/* The batches above `keep` never were: make their entries void. */
void store_void(struct memtable *const *memtables, unsigned count, struct kevo_commit keep);

/* ---- restore.c ---- */
/* Write what was borrowed where it belongs. Needs write_mutex. */
int store_return_borrowed(kevo_store *s, struct kevo_err *err);

/* ---- write.c ---- */
/* Make the store ready for changes on disk: orphans swept, log open. Needs
 * write_mutex. */
int store_start_writing(kevo_store *s, struct kevo_err *err);
/* Sync the log, and count it. Needs write_mutex and an open log. */
int store_sync_log(kevo_store *s, struct kevo_err *err);
uint64_t store_next_nonce(kevo_store *s);
/* Make ready for batches: nothing owed, the log open, an empty s->run. Needs write_mutex. */
int store_begin_run(kevo_store *s, struct kevo_err *err);
/* End the record being built in s->run: it is that of a fresh batch. */
int store_end_record(kevo_store *s, enum wal_type type, struct kevo_commit *commit,
                     struct kevo_err *err);
/* Append the one batch in s->run, put its entries into the active memtable, and make it
 * pending. Needs write_mutex and no pending batch. */
int store_prepare(kevo_store *s, int sync, struct kevo_commit commit, struct kevo_err *err);
/* Append s->run and sync the log as the mode says. */
int store_append_run(kevo_store *s, int sync, struct kevo_err *err);
/* Batches above the newest committed one are in the log and, from `mark` on, in the active
 * memtable, and are known not to be committed: undo them. Needs write_mutex. */
int store_cut(kevo_store *s, struct arena_mark mark, struct kevo_err *err);
/* Give back a giant's memory. */
void store_end_run(kevo_store *s);
struct batch_totals;
void store_count_batches(kevo_store *s, uint64_t batches, const struct batch_totals *totals);
/* Whether the log holds that batch; read again from disk, so slow. Takes write_mutex. */
int store_find_commit(kevo_store *s, struct kevo_commit commit, bool *found, struct kevo_err *err);
/* The id of the pending batch, 0 when there is none. Takes mutex. With write_mutex
 * held none can appear, but the one there is may become committed. */
uint64_t store_pending(kevo_store *s);
/* Undo the pending batch, which is known not to be committed. Needs write_mutex. */
int store_cut_pending(kevo_store *s, struct kevo_err *err);
/* The pending batch `commit` is committed. Takes mutex; cannot fail. */
void store_publish(kevo_store *s, struct kevo_commit commit);
/* Remember when what was committed, a few times per retain_ms. Needs mutex. */
void store_sample_commit(kevo_store *s, uint64_t now_us);
/* Append a void record: the batches above `keep` never were. Needs write_mutex. */
int store_append_void(kevo_store *s, struct kevo_commit keep, struct kevo_err *err);
/* The same for what is owed, before anything else is appended. Needs write_mutex. */
int store_settle_void(kevo_store *s, struct kevo_err *err);
/* The active memtable has an entry now. Needs write_mutex. */
void store_note_age(kevo_store *s);
/* Whether the active memtable is full or too old. Needs write_mutex. */
bool store_wants_rotate(const kevo_store *s);
bool store_active_is_old(const kevo_store *s);
/* KEVO_FORKED, or the fatal error. Takes mutex. */
int store_check_writable(kevo_store *s, struct kevo_err *err);
/* An empty memtable; NULL when there is no memory. */
struct memtable *store_memtable_new(const kevo_store *s, uint64_t segment);
/* Replace the active memtable and its log segment, waiting for room. Needs
 * write_mutex, which is kept. */
int store_rotate(kevo_store *s, struct kevo_err *err);
/* The same when there is room and the store is ready for changes. */
int store_replace_active(kevo_store *s, struct kevo_err *err);
/* Wait while memory or level 0 is full. Takes mutex. */
int store_await_room(kevo_store *s, struct kevo_err *err);

/* ---- ingest.c ---- */
struct recovered_tables {
    struct kevo_commit commit;
    struct version_edit edit;
    bool keep_files; /* when the batch never was */
};
/* A record of tables was found in the log: remember what the manifest lacks. */
int ingest_replay(kevo_store *s, const struct wal_record *record, const char *path,
                  struct kevo_err *err);
/* Forget the recovered tables of batches above `keep`; with `remove` the log says for certain that
 * they never were, and the files go as well. */
void ingest_void(kevo_store *s, uint64_t keep, bool remove);
/* The same for the batch that was pending, and let readers see what is left. Needs write_mutex;
 * cannot fail. */
void ingest_cut(kevo_store *s, uint64_t keep, bool remove);
/* The files of the pending batch are not to be removed when it is cut. Needs write_mutex. */
void ingest_keep_files(kevo_store *s);
struct runs;
/* Make a batch of settled runs with `ops` writes pending: clear memtables of what is older, append
 * the record that names the tables, synced, and show them to readers, who do not see them before
 * the commit. Then r->handed_over is set, also if it is not known what the log has. Needs
 * write_mutex and no pending batch; what is committed is durable with the authority. */
int ingest_prepare(kevo_store *s, struct runs *r, uint64_t ops, struct kevo_commit *commit,
                   struct kevo_err *err);
/* Try ingest_adopt() for what is committed. Takes write_mutex. */
void ingest_settle(kevo_store *s);
/* The manifest's version with the recovered tables, one reference. */
int ingest_version(kevo_store *s, struct version **v, struct kevo_err *err);
/* Let readers see that version. Needs write_mutex. */
int ingest_show(kevo_store *s, struct kevo_err *err);
/* The recovered tables are committed: into the manifest with them. Needs write_mutex. */
int ingest_adopt(kevo_store *s, struct kevo_err *err);

/* ---- checkpoint.c ---- */
/* Whether somebody reads this log segment, though it is not needed any more, and will remove
 * it. One that began with a later segment will not. Takes mutex. */
bool store_segment_is_held(kevo_store *s, uint64_t number);

/* ---- flush.c ---- */
/* A log segment below the floor goes. */
void store_remove_segment(kevo_store *s, uint64_t number);

/* ---- pace.c ---- */
/* See how far flush and compaction lag behind. Needs write_mutex and mutex. */
void pace_look(kevo_store *s);
/* So much was written: the next writer may have to wait. Needs write_mutex. */
void pace_owe(kevo_store *s, uint64_t bytes);
/* Wait as long as what was written before says. Needs write_mutex, which is kept. */
void pace_wait(kevo_store *s);
/* A writer was slowed or stopped for so long, or kept by something else: for the
 * statistics. Needs write_mutex. */
void pace_count_stall(kevo_store *s, uint64_t ns);
void pace_note_longest(kevo_store *s, uint64_t ns);

/* ---- superversion.c ---- */
struct epoch *epoch_new(void);        /* with one reference; NULL: no memory */
void epoch_unref(struct epoch *e);    /* e may be NULL */
void store_close_tables(void *store); /* for struct open_tables. Takes mutex. */
/* A superversion for long use, which keeps no table from being closed, instead of `sv`,
 * which is released. Its tables are not to be borrowed. NULL: no memory. */
struct superversion *superversion_own(struct superversion *sv);
/* The same in memory of the caller's, who empties it afterwards; its version is NULL then. */
void superversion_copy(struct superversion *own, struct superversion *sv);
void superversion_empty(struct superversion *sv);
struct superversion *superversion_acquire(kevo_store *s);
void superversion_release(struct superversion *sv); /* sv may be NULL */
/* A superversion of these parts; references are taken. `sv` comes from
 * superversion_alloc(), so that only that can fail (NULL: no memory). */
struct superversion *superversion_alloc(void);
void superversion_init(struct superversion *sv, struct memtable *active,
                       struct memtable *const *immutable, unsigned immutable_count,
                       struct version *version);
/* Let readers see sv, whose reference is taken over. Needs mutex. Returns the old
 * one, to be released after the mutex. */
struct superversion *superversion_install(kevo_store *s, struct superversion *sv);

/* ---- read.c ---- */
/* What a read may see, and where. The caller's snapshot keeps what it needs. Without one
 * the newest state is used; what that needs is in the superversion of the same moment: a
 * later one may come from a compaction that kept only what was newest by then. */
struct superversion *read_begin(kevo_store *s, const struct kevo_read *read, uint64_t *seq);
/* Pin or release a batch id. Needs mutex. pin_add: KEVO_NOMEM. */
int pin_add(kevo_store *s, uint64_t id, struct kevo_err *err);
void pin_remove(kevo_store *s, uint64_t id);
/* The same for a pin that nobody knows of, and so waits for. */
void pin_take_back(kevo_store *s, uint64_t id);
/* Whether something may be there to do once a pin has gone. Needs mutex. */
bool pins_are_awaited(const kevo_store *s);
/* The newest batch whose predecessors may go when nobody has pinned them. `lag` keeps what was
 * replaced within retain_ms as well. Needs mutex. */
uint64_t gc_horizon(const kevo_store *s, bool lag);
/* What must stay readable, ascending, the last element being the newest batch whose
 * predecessors may go. Snapshots that are parked end. Needs mutex. The caller frees *ids. */
int gc_snapshots(kevo_store *s, bool lag, uint64_t **ids, size_t *id_count, struct kevo_err *err);
/* The first of them. Needs mutex. */
uint64_t gc_oldest(kevo_store *s, bool lag);

/* The superversion of the value, if it is the present one, with its reference: the rest of the value
 * is released. Else NULL, and the value is as it was. */
struct superversion *read_keep(kevo_store *s, struct kevo_value *value);
/* Make the zeroed value one that kevo_get_again() takes that reference from. NULL: release it. */
void read_carry_on(kevo_store *s, struct superversion *sv, struct kevo_value *value);

/* ---- park.c ---- */
/* End all snapshots that are parked. Needs mutex. */
void park_end_all(kevo_store *s);
/* A snapshot was made, or is to be freed: then, whether it has a pin still. Need mutex. */
void park_enlist(kevo_store *s, kevo_snapshot *snap);
bool park_leave(kevo_snapshot *snap);

/* ---- hide.c ---- */
/* The range tombstones that a reader sees at `snapshot` inside the bounds of `read`, and of its
 * transaction; NULL: none. Their bounds live as long as the superversion and the transaction. */
int hide_find(const struct superversion *sv, const struct kevo_read *read, uint64_t snapshot,
              struct range_set **hidden, struct kevo_err *err);

/* ---- settle.c ---- */
/* A batch was committed. Needs mutex. */
void settle_note_commit(kevo_store *s);

/* ---- work.c ---- */
/* Start threads if there is work and none runs. Needs mutex. */
void work_schedule(kevo_store *s);
/* A batch was committed: a job that failed need wait no longer. Needs mutex. */
void work_note_commit(kevo_store *s);
/* Whether there is a memtable that may be flushed. Needs mutex. */
bool work_flush_pending(const kevo_store *s);
/* Wait for a job of that kind to end, or do one here when there are no threads. An error
 * is that of an attempt made meanwhile. There is such work. Needs mutex, which it gives
 * up meanwhile. */
int work_await(kevo_store *s, enum work_job job, struct kevo_err *err);
/* Wait for both threads to end. */
void work_stop(kevo_store *s);
/* The fatal error, as an error of a write. Needs mutex. */
int work_check(const kevo_store *s, struct kevo_err *err);

#endif
