/* kevo.h - the C interface of the Kevo storage engine.
 *
 * An ordered store of byte-string keys and values in one directory: a
 * log-structured merge tree with a write-ahead log, memtables, compressed
 * sorted tables and background compaction. It knows nothing of SQL.
 *
 * Keys are ordered by memcmp, a shorter key before its extensions. Keys are 1
 * to KEVO_MAX_KEY_BYTES bytes, values 0 to KEVO_MAX_VALUE_BYTES; an empty
 * value is a value.
 *
 * Batches. Every change belongs to a batch: all of it happens or none of it,
 * through any crash. Batches carry ids that grow and are never used twice,
 * not even after a batch was cut off. A snapshot is a batch id: a reader at
 * snapshot S sees every committed batch with an id up to S.
 *
 * Who decides. A store is created with one of two authorities, for good:
 *   KEVO_AUTHORITY_SELF      a batch is committed when its record is whole in
 *                            the write-ahead log.
 *   KEVO_AUTHORITY_EXTERNAL  somebody else's commit decides (SQLite's, in the
 *                            extension). kevo_txn_prepare() makes a batch
 *                            ready, and kevo_resolve() tells later which batch
 *                            was the last one committed; all above are cut.
 *
 * Errors. Functions that can fail return 0 (KEVO_OK), a positive code where
 * the description says so (KEVO_NOTFOUND), or a negative enum kevo_rc, and
 * then fill *err with a sentence that names the thing. err may be NULL.
 * Out-parameters are NULL or zero after a failure.
 *
 * Threads. A store may be used from any number of threads. Iterators,
 * transactions and pinned values belong to one thread at a time. Readers never
 * wait for writers, flushes or compactions. After fork() the child must not
 * use a store that the parent opened; calls in the child fail with
 * KEVO_FORKED, except kevo_close(), which does nothing there.
 *
 * Lifetime. A struct kevo_slice never owns its bytes; each function says how
 * long they live.
 */
#ifndef KEVO_H
#define KEVO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEVO_VERSION "0.1.0"

#define KEVO_MAX_KEY_BYTES   65536u      /* 64 KB */
#define KEVO_MAX_VALUE_BYTES 0x7fffffffu /* 2 GB - 1, SQLite's own limit */

enum kevo_rc {
    KEVO_OK = 0,
    KEVO_NOTFOUND = 1, /* no such key, or no more */
    KEVO_NOMEM = -1,
    KEVO_IOERR = -2,      /* the system refused a read, write or sync */
    KEVO_FULL = -3,       /* no space left on the device, or quota reached */
    KEVO_CORRUPT = -4,    /* a file does not hold what was written to it */
    KEVO_BUSY = -5,       /* another process has the store open */
    KEVO_SNAPSHOT = -6,   /* the snapshot is older than what the store keeps */
    KEVO_DIVERGED = -7,   /* the store and its authority tell different stories */
    KEVO_INVALID = -8,    /* a wrong argument or option, or a call out of order */
    KEVO_TOOBIG = -9,     /* a key or value beyond its limit */
    KEVO_READONLY = -10,  /* the store was opened for reading, or refuses writes
                            after a failed sync until it is opened again */
    KEVO_CANTOPEN = -11,  /* missing directory, no permission, not a store */
    KEVO_FORKED = -12,    /* used in a child of the process that opened it */
    KEVO_CANCELLED = -13, /* a long call was told to stop */
    KEVO_NEWER = -14      /* a file has a format that only a newer kevo reads */
};

struct kevo_err {
    int rc;        /* the code that was returned */
    char msg[500]; /* one sentence without a full stop, NUL-terminated */
};

struct kevo_slice {
    const uint8_t *data; /* may be NULL when len is 0 */
    size_t len;          /* bytes */
};

typedef struct kevo_store kevo_store;
typedef struct kevo_txn kevo_txn;
typedef struct kevo_iter kevo_iter;
typedef struct kevo_counter kevo_counter;
typedef struct kevo_snapshot kevo_snapshot;
struct kevo_value;
typedef struct kevo_batch kevo_batch;
typedef struct kevo_ingest kevo_ingest;
struct env; /* engine/base/env.h */

/* ---- opening ---------------------------------------------------------- */

enum kevo_authority { KEVO_AUTHORITY_SELF = 1, KEVO_AUTHORITY_EXTERNAL = 2 };

/* When a commit reaches the disk. */
enum kevo_sync {
    KEVO_SYNC_OFF = 0,    /* never asked for: a power loss may lose any commit */
    KEVO_SYNC_NORMAL = 1, /* after every wal_sync_bytes */
    KEVO_SYNC_FULL = 2,   /* before each commit returns */
    KEVO_SYNC_SOON = 3    /* kevo_txn_prepare() only: kevo_log_tail() comes next, and has the batch
                             synced if it is long; that begins meanwhile, on a
                             thread if there are to be any */
};

enum kevo_compression { KEVO_COMPRESSION_NONE = 0, KEVO_COMPRESSION_LZ4 = 1 };

/* How to open a store. Those from `sync` to `settle_ms` are tunable: they are kept with the
 * store, and have names for kevo_options_set(): those of the fields, but for _size instead of
 * _bytes, and filter_bits. */
struct kevo_options {
    struct env *env;              /* NULL: the operating system */
    bool create_if_missing;       /* make the directory's store when there is none */
    bool error_if_exists;         /* refuse a directory that has a store */
    bool read_only;               /* change no file; neither makes a store nor writes */
    bool use_kept;                /* of an existing store, take the tunable options from it and not
                                     from here */
    int authority;                /* enum kevo_authority; must match an existing store */
    int sync;                     /* enum kevo_sync, for kevo_put and its like */
    uint64_t wal_sync_bytes;      /* KEVO_SYNC_NORMAL: bytes between syncs */
    uint64_t memtable_bytes;      /* a memtable this large becomes immutable */
    uint64_t memtable_age_ms;     /* one whose first entry is older becomes immutable at
                                     the next write or kevo_step(), so that the log does
                                     not hold old data for ever; 0: no limit */
    unsigned memtable_count;      /* active and immutable ones together, 2 to 16 */
    uint64_t cache_bytes;         /* decompressed blocks, and what open tables keep in memory;
                                     as much again at most is lent to them of two memtables'
                                     memory, while memtables and transactions do without, and
                                     none when that is less than an eighth of it. A quarter
                                     is for blocks in any case; when tables take more
                                     than the rest those not used for longest are closed, but
                                     for the last eight. A reader that needs more of them at
                                     once opens them again and again: some ten us each */
    unsigned max_open_tables;     /* as many tables are open at most, but for those that
                                     iterators stand in, and those with deletions of ranges */
    uint32_t block_bytes;         /* uncompressed size at which a block is cut */
    int compression;              /* enum kevo_compression, of the lower levels */
    unsigned uncompressed_levels; /* so many levels from level 0 on are not compressed */
    uint32_t filter_bits_per_key; /* 0: no filters */
    uint64_t table_bytes;         /* compaction cuts its output files at this size */
    unsigned l0_trigger;          /* tables in level 0 that start a compaction */
    unsigned l0_slow;             /* ... that slow writers down */
    unsigned l0_stop;             /* ... that stop them */
    uint64_t level1_bytes;        /* target size of level 1 */
    unsigned level_factor;        /* each next level's target is this much larger */
    uint64_t txn_memory_bytes;    /* what a transaction writes beyond this goes to files */
    uint64_t retain_ms;           /* versions replaced this recently stay readable for
                                   snapshots that are not pinned yet */
    uint64_t settle_ms;           /* when nothing was committed for so long the store settles, as
                                   said at kevo_on_settle(); 0: never */
    bool background;              /* run flush and compaction on threads, sync a long batch on one,
                                   and touch memory on another ahead of who needs it,
                                   readers too; if not, kevo_step() flushes and compacts */
    unsigned file_mode;           /* permission bits of new files, e.g. 0644;
                                   directories get the search bits as well */
    bool set_owner;               /* a new directory is given to owner_user and owner_group, if
                                     possible: what root makes for others. New files belong to
                                     the owner of their directory in any case */
    unsigned owner_user, owner_group;
};

/* Fill *o with the defaults: 32 MB memtables, 4 of them, 64 MB cache, 4 KB
 * blocks, LZ4, background on, sync full, authority self. */
void kevo_options_default(struct kevo_options *o);

/* One of the tunable options. */
struct kevo_option {
    const char *name;
#define KEVO_OPTION_TEXT 64          /* bytes for a value or range as text */
    char standard[KEVO_OPTION_TEXT]; /* the default */
    char range[KEVO_OPTION_TEXT];    /* "2 to 16", "4 KB to 4 GB", "none, lz4" */
    const char *effect;
};

/* The tunable option at `index`, counted from 0; false behind the last one. */
bool kevo_option_at(unsigned index, struct kevo_option *option);

/* Set an option from text: "64 MB", "4096", "lz4", "full", in any case of letters. KEVO_INVALID
 * for a name that is unknown and for a value out of range, with the choice in the message. */
int kevo_options_set(struct kevo_options *o, const char *name, const char *value,
                     struct kevo_err *err);
/* The value of an option as text that kevo_options_set() would take. KEVO_INVALID. */
int kevo_options_get(const struct kevo_options *o, const char *name, char text[KEVO_OPTION_TEXT],
                     struct kevo_err *err);

/* Open the store in directory `dir`. With options, those that are tunable are in force and
 * kept with the store from then on; with NULL, or with use_kept, what an existing store has
 * kept is in force. Opening replays the write-ahead log into memory and changes no file of
 * an existing store, but to keep other options than before.
 *
 * A store is open for writing in one process, or for reading in any number: they hold its lock
 * until kevo_close. Others get KEVO_BUSY, with the writer's pid in the message. A store opened
 * with read_only needs no permission to write, nor a medium that could be written; no file of
 * it changes, the lock file neither, and whatever would write is KEVO_READONLY. With an external
 * authority, whose word is needed to know what is committed, kevo_snapshot_at() gives its
 * snapshots and kevo_snapshot_new() sees what is certain.
 *
 * In one process a store is open once, whatever its directory is called: opening it again
 * gives the same store, counted, and each needs its kevo_close(). Tunable options given then
 * must be those in force (KEVO_INVALID); `background` and the rest are left as they are. A store
 * open for writing stays so: read_only shares it. One open for reading only is opened for
 * writing when that is asked for, unless another process reads it too (KEVO_BUSY).
 *
 * Errors: KEVO_CANTOPEN (no directory or store, no permission, the directory holds something
 * else), KEVO_NEWER, KEVO_BUSY, KEVO_CORRUPT, KEVO_INVALID (option out of range, authority or options
 * differ), KEVO_NOMEM, KEVO_IOERR, KEVO_FULL. */
int kevo_open(const char *dir, const struct kevo_options *o, kevo_store **store,
              struct kevo_err *err);

/* Whether this process has the store in `dir` open, through o's env (o may be NULL). */
bool kevo_is_open(const char *dir, const struct kevo_options *o);

/* The options in force, env included, and whether the store is read_only; *o is filled. */
void kevo_get_options(kevo_store *store, struct kevo_options *o);

/* Give the store back. The last one who does stops background work, waits for it, and releases
 * the lock and all memory. Writes nothing but what is already under way: an unflushed memtable
 * stays in the write-ahead log. All iterators, transactions, snapshots and pinned values must
 * have been released by then. `store` may be NULL. */
void kevo_close(kevo_store *store);

/* Whether there is a store in `dir`, through o's env (o may be NULL). Not when the directory is
 * missing, empty, or has only what an interrupted creation or removal of a store left; in doubt
 * there is. */
bool kevo_is_store(const char *dir, const struct kevo_options *o);

/* Remove the store in `dir` with all its files, and the directory itself if it
 * is empty then. Refuses a directory that is not a store, and one in use. */
int kevo_destroy(const char *dir, const struct kevo_options *o, struct kevo_err *err);

/* ---- identity and commits decided elsewhere --------------------------- */

struct kevo_commit {
    uint64_t batch; /* batch id, 0: none yet */
    uint64_t nonce; /* random number drawn for that batch, 0 for batch 0 */
};

/* 16 random bytes drawn when the store was created. */
const uint8_t *kevo_store_uuid(const kevo_store *store);

/* Whom the store belongs to, in the words of its authority: any bytes, which are kept with the
 * store and go along into copies. There are none at first. Returns how many there are, and
 * copies at most `capacity` of them to `data`. */
#define KEVO_MAX_OWNER_BYTES 8192u
size_t kevo_get_owner(kevo_store *store, void *data, size_t capacity);
/* Durable when it returns 0. KEVO_INVALID: too long. KEVO_READONLY, KEVO_NOMEM, KEVO_FULL,
 * KEVO_IOERR. */
int kevo_set_owner(kevo_store *store, struct kevo_slice owner, struct kevo_err *err);

/* The newest batch known committed. */
struct kevo_commit kevo_last_commit(kevo_store *store);

/* The newest batch that the store holds, durable when this returns 0: what an authority that has
 * lost track may take as its last commit. It is the newest one known committed, or, as long as
 * kevo_resolve() has not succeeded since the store was opened, the last one in log or tables, whose
 * commit may not be certain. KEVO_READONLY, KEVO_IOERR and others as from a sync. */
int kevo_newest_commit(kevo_store *store, struct kevo_commit *newest, struct kevo_err *err);

/* True while the store holds no batch that is committed or may be: what a creation that
 * was rolled back leaves behind. */
bool kevo_is_virgin(kevo_store *store);

/* Whether the store has durable word that a batch in it was committed. Without it, a store that
 * its owner does not know is what a crash left of its creation. */
bool kevo_is_confirmed(kevo_store *store);
/* Give it that word, if anything was committed. kevo_resolve() with a batch, and every flush, do it
 * too. The authority makes its own state durable first: afterwards the store stays. */
int kevo_confirm(kevo_store *store, struct kevo_err *err);

/* For KEVO_AUTHORITY_EXTERNAL, by the only writer (who holds the authority's write lock): `last`
 * is the last committed batch. Batches above it are cut from the log and from memory before this
 * returns, and their ids stay used. KEVO_DIVERGED when the store does not hold that batch, when
 * it holds another one under the same id, or when a batch above it has left the log. */
int kevo_resolve(kevo_store *store, struct kevo_commit last, struct kevo_err *err);

/* The end of the log that is not known to be durable. An authority may keep these bytes with its
 * own commit, which makes them durable, instead of having the log synced for each small batch. */
struct kevo_tail {
    uint64_t segment, offset; /* where they lie */
    uint64_t salt; /* of that segment, which no other segment has, of whatever number: what
                                 lies between two places of one and the same segment stays what it is */
    struct kevo_slice bytes; /* empty: all of the log is durable */
};

/* Get the tail, after kevo_txn_prepare() with KEVO_SYNC_SOON or KEVO_SYNC_OFF. When it has more than
 * `capacity_bytes` the tail is empty, and with `sync` the log is synced now. The bytes live until the
 * next call for this store that writes. */
int kevo_log_tail(kevo_store *store, size_t capacity_bytes, bool sync, struct kevo_tail *tail,
                  struct kevo_err *err);

/* Whether the store lacks a commit that its authority has: power was lost before the log
 * was synced. Then kevo_restore() is due. */
bool kevo_lacks(kevo_store *store, struct kevo_commit last);

/* Put back what the log lacks from the tail that was kept with `last`. Does nothing when
 * the store has that batch already. KEVO_DIVERGED when the tail does not lead to it. May
 * be called by a reader; once it returns 0 the bytes are durable in the log, or, if the store is
 * open for reading only, in memory. */
int kevo_restore(kevo_store *store, struct kevo_commit last, const struct kevo_tail *tail,
                 struct kevo_err *err);

/* True after recovery while the log holds batches that kevo_resolve() has not decided. Deciding
 * lets them leave the log, so the authority makes its own committed state durable first. */
bool kevo_needs_resolve(kevo_store *store);

/* True when the active memtable is full, or older than memtable_age_ms, and should be replaced
 * before the next prepare. The authority then makes its own committed state durable first, since
 * what leaves the log cannot be cut any more, and then calls kevo_rotate(). */
bool kevo_wants_rotate(kevo_store *store);

/* Make the active memtable immutable and let it be flushed. Only between
 * kevo_resolve() and the next kevo_txn_prepare() when the authority is external. */
int kevo_rotate(kevo_store *store, struct kevo_err *err);

/* ---- simple writes (KEVO_AUTHORITY_SELF) ------------------------------- */

/* Threads that write at once share writes to the log and syncs: the batches of those that
 * wait go along with the first one's, each still a batch of its own. They become visible
 * together; when the write or sync fails, all of them fail, and none is visible. */
int kevo_put(kevo_store *store, struct kevo_slice key, struct kevo_slice value,
             struct kevo_err *err);
int kevo_delete(kevo_store *store, struct kevo_slice key, struct kevo_err *err);

/* Delete all keys in [lower, upper); data NULL: open. One small record in the log, whatever lies
 * in the range, and no look at it; a table that has nothing else goes as a whole soon after. An
 * empty range does nothing and is no error. Bounds are at most KEVO_MAX_KEY_BYTES long. */
int kevo_delete_range(kevo_store *store, struct kevo_slice lower, struct kevo_slice upper,
                      struct kevo_err *err);

/* A batch of changes; a later change of a key replaces an earlier one, and what follows
 * the deletion of a range is not touched by it. */
int kevo_batch_new(kevo_batch **batch, struct kevo_err *err);
int kevo_batch_put(kevo_batch *batch, struct kevo_slice key, struct kevo_slice value,
                   struct kevo_err *err);
int kevo_batch_delete(kevo_batch *batch, struct kevo_slice key, struct kevo_err *err);
int kevo_batch_delete_range(kevo_batch *batch, struct kevo_slice lower, struct kevo_slice upper,
                            struct kevo_err *err);
void kevo_batch_reset(kevo_batch *batch); /* empty, keeps its memory */
void kevo_batch_free(kevo_batch *batch);

/* Commit a batch. On success its id is in *id (which may be NULL). The batch
 * may be reset and used again, or applied again. */
int kevo_apply_batch(kevo_store *store, const kevo_batch *batch, uint64_t *id,
                     struct kevo_err *err);

/* ---- bulk writes (KEVO_AUTHORITY_SELF) ----------------------------------- */

/* One batch of any size from input in ascending order of keys: it is written once, to
 * tables, and takes little memory. Puts only. Nobody sees anything of it before the end, and
 * other writes go on meanwhile.
 *
 *     kevo_ingest_new(store, &ingest, &err);
 *     for each key, ascending:
 *         kevo_ingest_put(ingest, key, value, &err);
 *     kevo_ingest_finish(ingest, &id, &err);
 *     kevo_ingest_free(ingest);
 *
 * An ingestion belongs to one thread at a time, and is freed before the store is closed.
 * Several may be under way; their order is that of kevo_ingest_finish(). */
int kevo_ingest_new(kevo_store *store, kevo_ingest **ingest, struct kevo_err *err);

/* KEVO_INVALID: the key is empty or not above the one before; KEVO_TOOBIG. These change
 * nothing. After any other error the ingestion can only be freed. */
int kevo_ingest_put(kevo_ingest *ingest, struct kevo_slice key, struct kevo_slice value,
                    struct kevo_err *err);

/* Commit what was put as one batch, durably whatever the sync mode; its id is in *id (which
 * may be NULL). Without puts nothing happens, and *id is that of the newest batch. What lies
 * in memory within the range of the keys is flushed first; writers wait for that. Afterwards,
 * also after an error, the ingestion can only be freed. After an error nothing was committed,
 * but for KEVO_READONLY and a failed write or sync of the log: then it may turn out, when the
 * store is opened again, that it was. */
int kevo_ingest_finish(kevo_ingest *ingest, uint64_t *id, struct kevo_err *err);

/* Without kevo_ingest_finish() before: undo. What a crash leaves is removed by the next
 * writer. ingest may be NULL. */
void kevo_ingest_free(kevo_ingest *ingest);

/* ---- transactions: a private write buffer over a snapshot -------------- */

/* States: open -> prepared -> (commit | doubt), prepared -> open by another
 * write. One prepared transaction exists at a time in a store. */

/* A transaction that reads at the newest committed state plus its own writes. It
 * pins that snapshot until freed. When the authority is external its only writer
 * calls this, after kevo_resolve(). */
int kevo_txn_new(kevo_store *store, kevo_txn **txn, struct kevo_err *err);

/* Ask `cancelled` now and then while what a large transaction wrote is put into files or merged:
 * if it answers true, the call that does so, a write or kevo_txn_prepare(), changes nothing and
 * returns KEVO_CANCELLED. NULL, as at first: never. */
void kevo_txn_on_merge(kevo_txn *txn, bool (*cancelled)(void *arg), void *arg);

/* Write into the private buffer; nothing shared changes. Either all of one
 * call happens or, on error, nothing. Beyond txn_memory_bytes the buffer is written to a file
 * first, which nobody else knows of: KEVO_FULL, KEVO_IOERR. */
int kevo_txn_put(kevo_txn *txn, struct kevo_slice key, struct kevo_slice value,
                 struct kevo_err *err);
int kevo_txn_delete(kevo_txn *txn, struct kevo_slice key, struct kevo_err *err);
int kevo_txn_delete_range(kevo_txn *txn, struct kevo_slice lower, struct kevo_slice upper,
                          struct kevo_err *err);

/* A place to come back to: everything written after it is undone by kevo_txn_rollback_to(). A
 * zeroed mark is the beginning. Marks stay good until something before them is undone. */
struct kevo_mark {
    uint64_t op; /* writes before it */
    void *chunk; /* private */
    size_t used; /* private */
};
struct kevo_mark kevo_txn_mark(const kevo_txn *txn);
void kevo_txn_rollback_to(kevo_txn *txn, struct kevo_mark mark);

/* Bytes of memory held by the buffer. */
uint64_t kevo_txn_bytes(const kevo_txn *txn);

/* Whether the transaction holds anything that a commit would write. */
bool kevo_txn_is_empty(const kevo_txn *txn);

/* Whether it has outgrown its memory (txn_memory_bytes), so that part of it is in files: sorted
 * tables, which the commit takes over as they are. Then, when the authority is external,
 *  - it makes its own committed state durable before kevo_txn_prepare(), as for kevo_rotate():
 *    what the log holds of the same keys is moved to tables;
 *  - after kevo_txn_commit(), as soon as its own commit is durable, it calls kevo_rotate(), for
 *    which kevo_wants_rotate() asks until then: nothing is compacted before. */
bool kevo_txn_is_large(const kevo_txn *txn);

/* Do everything that can fail: give the buffer a fresh batch id, append it to the log (synced
 * when `sync` is KEVO_SYNC_FULL), and put its entries where readers find them once the batch is
 * visible. A transaction that was prepared and not written since keeps its batch; one written
 * since is prepared anew and the earlier batch is cut. *commit gets the batch. */
int kevo_txn_prepare(kevo_txn *txn, int sync, struct kevo_commit *commit, struct kevo_err *err);

/* After prepare, when the authority has committed. Cannot fail. */
void kevo_txn_commit(kevo_txn *txn);

/* Drop the buffer's contents. If the transaction was prepared, its batch is in
 * doubt and stays in the log until the next kevo_resolve() decides. */
void kevo_txn_rollback(kevo_txn *txn);

/* Counted: iterators over a transaction keep it alive. */
void kevo_txn_ref(kevo_txn *txn);
void kevo_txn_unref(kevo_txn *txn); /* txn may be NULL */

/* ---- reading ------------------------------------------------------------ */

/* Pin the newest committed state. */
int kevo_snapshot_new(kevo_store *store, kevo_snapshot **snap, struct kevo_err *err);

/* Pin the state as of a batch that the external authority says is committed.
 * KEVO_SNAPSHOT when versions it needs may be gone; KEVO_DIVERGED when the store
 * never had that batch, or another one under its id, or when newer ones had left its log
 * before it was opened: then nobody's snapshot is that old, but the database may be. */
int kevo_snapshot_at(kevo_store *store, struct kevo_commit as_of, kevo_snapshot **snap,
                     struct kevo_err *err);
uint64_t kevo_snapshot_id(const kevo_snapshot *snap);
void kevo_snapshot_free(kevo_snapshot *snap); /* snap may be NULL */

/* Let a snapshot, which one thread at a time uses, rest until its next use. It keeps nothing from
 * going, and so may end meanwhile. What a get by it has filled in `value` with is released, if the
 * next get could not use it. False: it cannot rest, free it. One that rests may be freed, too. */
bool kevo_snapshot_park(kevo_snapshot *snap, struct kevo_value *value);
/* Go on with one that rests, as if it had been held, with what went with it in `value`, which is
 * zeroed, for kevo_get_again(), or NULL. False: it has ended, free it. */
bool kevo_snapshot_resume(kevo_snapshot *snap, struct kevo_value *value);

struct kevo_read {
    const kevo_snapshot *snapshot; /* NULL: the newest committed state */
    kevo_txn *txn;                 /* NULL, or writes seen on top; then its base
                                      snapshot is used when snapshot is NULL */
    struct kevo_slice lower;       /* first key wanted; data NULL: from the beginning */
    struct kevo_slice upper;       /* first key not wanted; data NULL: to the end */
    struct kevo_slice prefix;      /* only keys that begin with it; costs nothing, since it is
                                      a bound like the others; empty: all */
    struct kevo_slice suffix;      /* only keys that end with it: the others are read and
                                      passed over; empty: all */
};

/* A value that stays where it is until released. */
struct kevo_value {
    struct kevo_slice slice;
    void *pin[4]; /* private */
};

/* The value of `key`, pinned; `read` may be NULL, its bounds, prefix and suffix are not used.
 * KEVO_NOTFOUND when there is none. */
int kevo_get(kevo_store *store, const struct kevo_read *read, struct kevo_slice key,
             struct kevo_value *value, struct kevo_err *err);
void kevo_value_release(struct kevo_value *value); /* a zeroed one is fine */

/* The same for a `value` that is zeroed, or that a get of this store has filled in: it is released,
 * but for what serves this read as well. For one get after the other. `key` may not lie in it. */
int kevo_get_again(kevo_store *store, const struct kevo_read *read, struct kevo_slice key,
                   struct kevo_value *value, struct kevo_err *err);

/* The values of several keys, as kevo_get() would find them, by a `read` without a transaction.
 * Their waits for memory overlap, so this takes less time than to ask for one after the other.
 * found[i] tells whether there is a values[i], which is to be released. *count is at first how
 * many keys there are, then how many were asked for: fewer when one fails, none when the first
 * one does, and only then is that an error. */
enum { KEVO_GET_MANY = 16 }; /* at most */
int kevo_get_many(kevo_store *store, const struct kevo_read *read, const struct kevo_slice *keys,
                  unsigned *count, struct kevo_value *values, bool *found, struct kevo_err *err);

/* An iterator over the keys in [lower, upper) that have the prefix and the suffix, which
 * hold together; seeks land on such keys only. They are all copied. It starts
 * invalid. What deletions of ranges hide is gathered now, for which tables may be read. Writes
 * made to read->txn later are seen from the next motion on. */
int kevo_iter_new(kevo_store *store, const struct kevo_read *read, kevo_iter **iter,
                  struct kevo_err *err);
/* The same with the memory of *iter, which may be NULL, or an iterator that is not needed any more.
 * NULL after an error. For many short ranges one after the other. */
int kevo_iter_again(kevo_store *store, const struct kevo_read *read, kevo_iter **iter,
                    struct kevo_err *err);
/* Let the iterator, which may be NULL, go of all that it holds but some memory. Only
 * kevo_iter_again() and kevo_iter_free() may follow, the latter even when the store is closed. */
void kevo_iter_park(kevo_iter *iter);
/* Motions return 0 also when they leave the range: ask kevo_iter_valid(). On
 * error the iterator is invalid. */
int kevo_iter_first(kevo_iter *iter, struct kevo_err *err);
int kevo_iter_last(kevo_iter *iter, struct kevo_err *err);
int kevo_iter_seek(kevo_iter *iter, struct kevo_slice key, struct kevo_err *err); /* first >= key */
int kevo_iter_seek_for_prev(kevo_iter *iter, struct kevo_slice key,
                            struct kevo_err *err);         /* last <= key */
int kevo_iter_next(kevo_iter *iter, struct kevo_err *err); /* must be valid */
int kevo_iter_prev(kevo_iter *iter, struct kevo_err *err); /* must be valid */
bool kevo_iter_valid(const kevo_iter *iter);
/* Live until the next motion or kevo_iter_free(). Must be valid. */
struct kevo_slice kevo_iter_key(const kevo_iter *iter);
struct kevo_slice kevo_iter_value(const kevo_iter *iter);
void kevo_iter_free(kevo_iter *iter); /* iter may be NULL */

/* The same without a call for each: what the iterator stands on, in a place of its own that
 * every motion writes to. */
struct kevo_entry {
    bool valid;
    struct kevo_slice key, value; /* undefined while it is not */
};
const struct kevo_entry *kevo_iter_entry(const kevo_iter *iter);

/* Counts the keys in [lower, upper) that read->snapshot sees, stretch by stretch: exactly, and
 * mostly without looking at the larger part of them. The bounds are copied; `read` must have a
 * snapshot and neither transaction, prefix nor suffix (KEVO_INVALID). KEVO_NOTFOUND when
 * deletions of ranges hide something there: use an iterator. */
int kevo_counter_new(kevo_store *store, const struct kevo_read *read, kevo_counter **counter,
                     struct kevo_err *err);
/* Count the next stretch, which may have none; its work is about that of walking through what
 * lies over one table. KEVO_NOTFOUND behind the last one. After an error it may be called again. */
int kevo_counter_next(kevo_counter *counter, uint64_t *count, struct kevo_err *err);
/* The first key that has not been counted, or may not have; the upper bound at the end. Lives
 * until the next call. */
struct kevo_slice kevo_counter_end(const kevo_counter *counter);
void kevo_counter_free(kevo_counter *counter); /* counter may be NULL */

/* ---- upkeep ------------------------------------------------------------- */

/* Write all committed data to tables and wait until it is durable there. When the
 * authority is external only what is in immutable memtables: see kevo_rotate(). */
int kevo_flush(kevo_store *store, struct kevo_err *err);

/* How far a long call is, told now and then on the thread that made it: `done_bytes` of
 * about `total_bytes` were read and merged. The total is an estimate and may change; the last
 * call before a success has both equal. True: stop, with KEVO_CANCELLED. */
typedef bool kevo_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes);

/* Flush what is in memory, then merge the tables that have keys in [lower, upper) (data NULL:
 * open) into one level and drop what no snapshot needs: afterwards they hold no tombstone and
 * no old version but for the sake of a snapshot, or of readers within retain_ms when the
 * authority is external. Tables that have none, lie there already and are of a decent size
 * are left alone. Writers and readers go on meanwhile; what is written later than the call
 * may stay where it is. `progress` may be NULL. When it stops the call (KEVO_CANCELLED), and
 * after an error, the store is sound and what was merged so far stays merged. KEVO_BUSY: a
 * transaction that outgrew its memory is not decided, or with an external authority kevo_rotate()
 * was not called since; nothing is merged until then. */
int kevo_compact(kevo_store *store, struct kevo_slice lower, struct kevo_slice upper,
                 kevo_progress *progress, void *arg, struct kevo_err *err);

/* A store that is left alone settles. settle_ms after the last commit what is in memory is
 * flushed, unless it is little (below 512 KB and below a quarter of memtable_bytes), and log
 * segments that nobody needs are removed. When retain_ms is over too, ten seconds at most, tables
 * are merged into the level below where that writes at most level_factor bytes there for each of
 * theirs, and tables with as large a share of old versions and tombstones, all of which can go, are
 * written anew: so most keys come to lie in one sorted run. Done by the background threads or
 * kevo_step(), once something was written since the store was opened. A merge that fails is not
 * tried again before tables or the memtable have changed.
 *
 * What leaves the log cannot be cut any more. So with an external authority memory is flushed
 * only if the authority has told how: `make_durable` returns 0 when all that was committed
 * before it was called is durable on the authority's side, or an error, and then memory is left
 * alone until the next commit; KEVO_FULL, KEVO_NOMEM and KEVO_BUSY may pass, so that it is called
 * again without one, a second, or settle_ms, later. It is called by any thread, never by two at
 * once, with no lock held, and must not call the store. `arg` must live until the store is closed
 * or this is called again, with NULL perhaps, which waits for a call that is being made. */
void kevo_on_settle(kevo_store *store, int (*make_durable)(void *arg, struct kevo_err *err),
                    void *arg);

/* What is in memory now is to be flushed when the store settles, however little it is: much space
 * is free once deletions of ranges in it have come to a table. Without effect while settle_ms is
 * 0. */
void kevo_settle_all(kevo_store *store);

/* Do one piece of background work if there is any: KEVO_OK when something was
 * done, KEVO_NOTFOUND when there was nothing to do. For stores without threads. */
int kevo_step(kevo_store *store, struct kevo_err *err);

/* Read the log and every block of every table and check them. The first damage found is
 * returned as KEVO_CORRUPT. Writers wait while the log is read. */
int kevo_verify(kevo_store *store, struct kevo_err *err);

/* About how many entries there are for keys in [lower, upper), data NULL: open, and how
 * many bytes they take: of their tables on disk, and of keys and values in memory. Older
 * versions and tombstones count as well, but not the entries of tables that deletions of
 * ranges hide as a whole. Nothing is read but the tables' indexes and a few dozen entries of
 * each memtable; the error is that of a block at either end of a table, and mostly below a
 * quarter in a memtable. 0 where a table cannot be opened. */
uint64_t kevo_approximate_count(kevo_store *store, struct kevo_slice lower,
                                struct kevo_slice upper);
uint64_t kevo_approximate_size(kevo_store *store, struct kevo_slice lower, struct kevo_slice upper);

/* ---- copies --------------------------------------------------------------- */

/* Make `dir` a store that holds what this one holds at one moment during the call: every
 * batch that had been committed when the call began, none without all those before it. `dir`
 * must be missing, empty, or hold what an interrupted copy or removal left (else
 * KEVO_CANTOPEN); its parent directory exists. Tables become hard links where the file system
 * can do that, else copies; the log is copied. Writers wait for a few system calls only.
 * When it returns 0 the copy is durable, whatever `sync` says of commits; after an error,
 * also after a crash, `dir` is no store, and kevo_destroy() removes what a crash left.
 *
 * The copy has the same id and authority. With KEVO_AUTHORITY_SELF it holds exactly the
 * committed batches; one that is prepared and not committed is not in it. With
 * KEVO_AUTHORITY_EXTERNAL it holds, besides, what the authority may have committed without
 * having said so: kevo_resolve() in the copy accepts as last commit each batch that it would
 * have accepted here, at that moment, after a crash. These are the newest one in tables and
 * all behind it. So a copy of the authority's state belongs to this copy when no writer
 * committed between the two, or when what writers committed in between was not flushed by
 * the time of the later one: keep writers out, or try again after KEVO_DIVERGED.
 *
 * Works beside everything else, also while batches are in doubt and when the store refuses
 * writes, unless it is the log that failed: KEVO_READONLY. KEVO_CORRUPT: the log is damaged;
 * tables are not read. KEVO_BUSY, KEVO_NOMEM, KEVO_FULL, KEVO_IOERR. */
int kevo_checkpoint(kevo_store *store, const char *dir, struct kevo_err *err);

enum kevo_manifest { KEVO_MANIFEST_GOOD, KEVO_MANIFEST_DAMAGED, KEVO_MANIFEST_MISSING };

struct kevo_repair_report {
    /* in: told of each damaged file and place, a sentence at a time; may be NULL */
    void (*note)(void *arg, const char *text);
    void *note_arg;
    /* in: asked between tables and while they are merged; true: stop. May be NULL. */
    bool (*cancelled)(void *arg);
    void *cancelled_arg;
    /* out */
    uint64_t notes; /* how many of them: 0, nothing was wrong */
    int manifest;   /* enum kevo_manifest */
    uint64_t tables_found, tables_used, tables_lost;
    uint64_t tables_ignored; /* found, but the manifest does not name them */
    uint64_t blocks_lost;    /* of tables, with all their entries; or damaged places in tables
                                without a sound index */
    uint64_t entries_salvaged;
    uint64_t segments_found, segments_lost; /* of the log */
    uint64_t records_salvaged, log_gaps;    /* places where records are missing or damaged */
    uint64_t bytes_salvaged, bytes_lost;    /* of blocks and records; what is missing is not
                                               counted */
    struct kevo_commit last_commit;         /* the newest batch in the new store */
};

/* Save what can be read of the store in `dir`, which is damaged or not, into a new one in
 * `newdir`, which must be missing or empty as for kevo_checkpoint(). The old one is not changed
 * and need not be writable; it may be open for reading meanwhile, not for writing (KEVO_BUSY).
 * Opening a store never repairs anything: this is the only thing that leaves out what is damaged.
 *
 * Blocks of tables and records of the log that have right checksums are taken, one by one, and of
 * each key the version with the largest batch id wins. With a good manifest the tables that it
 * names count, and no others, so what was deleted stays deleted; but where a block with a
 * deletion is lost, an older version of the row may be back. Without one all tables that are
 * found count, and deleted rows may be back that a merge had done away with; the notes say so.
 * Rows are never made up: each was written once. Of a batch whose record is damaged nothing is
 * there if it was only in the log, and parts of it may be if it was in tables.
 *
 * Id and authority of the store stay, and so do the batches in the log, under their ids, with
 * what was cut off left out. So an external authority opens the new store like the old one:
 * kevo_resolve() with its last commit works if that batch was saved, or was the newest one in
 * tables and the manifest is good. If it was lost, kevo_resolve() says KEVO_DIVERGED. The way out
 * is the authority's: to take report->last_commit as its own last commit, and to do without what
 * was lost; or to restore both from a backup. A tail that it keeps with its commit
 * (kevo_log_tail()) does not fit the new log.
 *
 * o->env, o->file_mode and the options for tables are used, o->authority when the manifest does
 * not tell. `report` may be NULL. 0 when there is a new store, however much was lost.
 * KEVO_CANTOPEN when there is nothing of a store in `dir`, or newdir is not empty; KEVO_NOMEM,
 * KEVO_FULL, KEVO_IOERR, KEVO_CANCELLED, and KEVO_CORRUPT when the ids of batches have come to
 * their end: then newdir is no store. A file that cannot be read counts as lost, and so do
 * sectors of one, for which it is copied to memory. */
int kevo_repair(const char *dir, const char *newdir, const struct kevo_options *o,
                struct kevo_repair_report *report, struct kevo_err *err);

#define KEVO_MAX_LEVELS 7

/* How long one kind of operation took, since the store was opened. Buckets grow by powers
 * of two, four to each, so a quantile is exact to a quarter. */
enum { KEVO_LATENCY_BUCKETS = 160 };

struct kevo_latency {
    uint64_t count;  /* durations measured */
    uint64_t sum_ns; /* of all of them */
    uint64_t max_ns; /* exact */
    uint64_t buckets[KEVO_LATENCY_BUCKETS];
};

/* What the fraction q of the durations (0.5: the median) did not exceed: the upper end of
 * that bucket, at most max_ns; 0 when nothing was measured. */
uint64_t kevo_latency_quantile_ns(const struct kevo_latency *latency, double q);
/* Count what `from` counted in `into` as well, e.g. for several stores. */
void kevo_latency_merge(struct kevo_latency *into, const struct kevo_latency *from);

/* Of each KEVO_GET_SAMPLE calls of kevo_get() one is measured. */
enum { KEVO_GET_SAMPLE = 16 };

struct kevo_stats {
    /* operations since open */
    uint64_t batches, puts, deletes, range_deletes, gets, gets_found, iterators, seeks;
    uint64_t iterator_sources; /* memtables, tables and levels that iterators had to merge */
    /* bytes since open */
    uint64_t user_bytes; /* keys and values given to writes */
    uint64_t wal_bytes, wal_syncs;
    uint64_t flushes, flush_bytes;
    uint64_t compactions, compact_read_bytes, compact_write_bytes, trivial_moves;
    uint64_t dropped_tables; /* hidden by deletions of ranges, removed without being read */
    uint64_t settled_memtables, settled_merges; /* flushes, and compactions and trivial moves, that
                                                   were made because nothing was written */
    uint64_t settled_blocks;                    /* read into the cache for the same reason */
    uint64_t level_read_bytes[KEVO_MAX_LEVELS]; /* tables of it that compactions read */
    uint64_t level_written_bytes[KEVO_MAX_LEVELS]; /* tables that were written into it */
    uint64_t stalls, stall_us;                     /* writers slowed or stopped, and for how long */
    uint64_t max_stall_us; /* the longest of them; a change of memtables counts as well */
    uint64_t cache_hits, cache_misses, cache_used_bytes; /* of blocks */
    uint64_t tables_opened;                              /* again, when they had been closed */
    uint64_t filter_checks, filter_rejects;
    /* state now */
    uint64_t memtable_used_bytes; /* active and immutable */
    unsigned immutable_count;
    unsigned open_tables;
    uint64_t open_table_bytes;  /* what open tables keep in memory; with cache_used_bytes
                                   within cache_limit_bytes */
    uint64_t cache_limit_bytes; /* cache_bytes and what is lent to the cache */
    unsigned table_count[KEVO_MAX_LEVELS];
    uint64_t level_bytes[KEVO_MAX_LEVELS];
    uint64_t level_entries[KEVO_MAX_LEVELS], level_tombstones[KEVO_MAX_LEVELS];
    uint64_t live_bytes; /* about so much of level_bytes is rows; the sum of those over this is
                            the space amplification, that of flush_bytes and
                            compact_write_bytes over user_bytes the write amplification */
    uint64_t table_entries, table_tombstones; /* of all levels; tombstones are entries too */
    uint64_t snapshot_count, oldest_snapshot; /* a batch id; last commit when none */
    uint64_t last_batch;                      /* last committed */
    /* the last recovery */
    uint64_t recovered_batches, recovered_bytes, recovery_us, torn_bytes;
    /* durations since open */
    struct kevo_latency get;      /* one call of KEVO_GET_SAMPLE */
    struct kevo_latency write;    /* kevo_put, kevo_delete, kevo_apply_batch, kevo_txn_prepare that
                                  succeeded, waiting for others and stalls included */
    struct kevo_latency wal_sync; /* of one that a thread began: what was left to wait for */
    struct kevo_latency flush;    /* of one memtable */
    struct kevo_latency compaction; /* of one merge; trivial moves are not measured */
    struct kevo_latency stall;      /* of one writer, slowed down or stopped */
};

void kevo_get_stats(kevo_store *store, struct kevo_stats *stats);

/* A file of sorted entries, as there is one at the moment. */
struct kevo_file {
    const char *name; /* in the store's directory */
    unsigned level;
    uint64_t bytes, entries, tombstones; /* tombstones are entries too */
    uint64_t range_tombstones;           /* deletions of ranges */
    uint64_t first_batch, last_batch;    /* of which it has something, between which it has */
    struct kevo_slice smallest, largest; /* keys, of what is deleted too */
};

/* Call visit for each, level by level, until it returns other than 0, which is returned then.
 * What *file points to lives during the call. KEVO_FORKED. */
int kevo_each_file(kevo_store *store, int (*visit)(void *arg, const struct kevo_file *file),
                   void *arg);

/* The figures of kevo_get_stats() as a report for people: tables by level, operations, latencies, stalls, cache,
 * filters, snapshots, recovery. At most `capacity` bytes of it with a NUL go to `text`, which
 * may be NULL when that is 0. Returns the length of the whole, without the NUL, or
 * KEVO_FORKED. */
int kevo_stats_text(kevo_store *store, char *text, size_t capacity);

/* ---- memory -------------------------------------------------------------- */

/* All heap memory of the engine. resize(ctx, NULL, n) allocates, resize(ctx, p,
 * 0) frees and returns NULL, otherwise as realloc(). */
struct kevo_allocator {
    void *(*resize)(void *ctx, void *p, size_t n);
    void *ctx;
};

/* Process-wide; call before anything else of the engine. NULL: the C library's. */
void kevo_set_allocator(const struct kevo_allocator *a);

#endif
