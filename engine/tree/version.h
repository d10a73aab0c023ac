/* version.h - which tables make up the tree: an immutable list a level, shared
 * by reference.
 *
 * Level 0 holds flushed memtables, whose key ranges overlap; its files are
 * ordered from the newest (largest max_seq) to the oldest. In levels 1 and
 * deeper files are disjoint and ordered by key. Which of two versions of a key is
 * newer is told by their sequence numbers alone, never by a place in a list or a
 * file's number.
 *
 * A version holds one reference on each of its files.
 *
 * Threads: versions are immutable and counted atomically; any thread. */
#ifndef KEVO_TREE_VERSION_H
#define KEVO_TREE_VERSION_H

#include "engine/tree/table_file.h"

struct version_edit;

struct level {
    struct table_file **files;
    size_t count;
    uint64_t bytes;       /* sum of size_bytes */
    uint64_t range_count; /* and of range_count */
};

struct version {
    _Atomic unsigned refs;
    uint64_t dense_seq; /* the smallest max_seq of a dense file: from that snapshot on all
                           that is old in it can go; UINT64_MAX when there is none */
    bool is_settled;    /* one level has all, and no garbage: compact_pick_idle() finds nothing */
    struct level levels[KEVO_MAX_LEVELS];
};

struct version *version_new(void); /* empty, one reference; NULL: no memory */
void version_ref(struct version *v);
void version_unref(struct version *v); /* v may be NULL */

/* `base` with the edit's files deleted and added, one reference. Files that the
 * edit deletes without adding them elsewhere are not marked obsolete here.
 * KEVO_CORRUPT when the edit deletes a file that is not there, adds one twice, or
 * makes a level below 0 overlap; KEVO_NOMEM. */
int version_apply(const struct version *base, const struct version_edit *edit, struct version **v,
                  struct kevo_err *err);

/* In a level below 0: index of the first file that is not below `key`, or count. */
size_t level_find(const struct level *l, slice key);

/* The newest version of `key` with seq <= max_seq over all levels, unless a range
 * tombstone with a seq <= max_seq hides it, or `cover`, the largest seq of those met
 * before (0: none), does; the pinned block is in v->block as from table_get. Files that
 * cannot hold a newer version are not asked. KEVO_NOTFOUND. In two steps, for callers with
 * something to do in between: the first finds the files below level 0 and asks memory for all
 * filters at once. */
struct version_lookup {
    const struct version *version;
    const struct table_home *home;
    slice key;
    uint64_t hash, max_seq; /* key_hash(key) */
    uint64_t cover;         /* largest seq of a range tombstone over the key so far */
    uint64_t filter_checks, filter_rejects;
    struct table_value best;
    bool found;
    struct table_file *deeper[KEVO_MAX_LEVELS]; /* that may hold it, the newest first */
    size_t deeper_count;
    size_t top_next, deeper_next; /* of level 0, and of deeper[]: who is asked next */
    struct table *table;          /* its filter said that it may have the key, or NULL */
    size_t place;                 /* ... as table_will_find() and table_find() say it */
    struct table_hold hold;
};
void version_lookup_init(struct version_lookup *q, const struct version *version,
                         const struct table_home *home, slice key, uint64_t hash, uint64_t max_seq);
int version_lookup_get(struct version_lookup *q, uint64_t cover, struct table_value *v,
                       struct kevo_err *err);

/* Two more steps in between, which may be left out, for callers that look up several keys at once:
 * ask the filters which table is the first to be searched, and find the block in it. They ask for
 * the memory that the next step reads. What goes wrong in them does so again in
 * version_lookup_get(), which gets the same `cover`. */
void version_lookup_aim(struct version_lookup *q, uint64_t cover);
void version_lookup_find(struct version_lookup *q);

/* ... and two more: have the cache look up that block, but not where the lookup before this one, NULL
 * for the first, has the same block; and bring in what is stored of it, if the cache does not have
 * it, shortly before version_lookup_get(). Who held and will not get calls version_lookup_drop(). */
void version_lookup_hold(struct version_lookup *q, const struct version_lookup *before);
void version_lookup_will_read(const struct version_lookup *q);
void version_lookup_drop(struct version_lookup *q);

/* An iterator over one level below 0, opening its files as it goes; holds a
 * reference on the version. Files outside [lower, upper) are never touched (data
 * NULL: open); entries outside may be yielded. `keep` as in table_iter_new. */
int level_iter_new(struct version *version, unsigned level, slice lower, slice upper, bool keep,
                   struct iter **it, struct kevo_err *err);

/* Let an iterator of level_iter_new() or file_iter_new(), before its first motion, leave
 * out what these range tombstones hide of files that are older as a whole: it jumps over
 * it, and opens no file that is hidden all through. The set must outlive the iterator. */
void level_iter_hide(struct iter *it, const struct range_set *hidden);

/* An iterator over one table file; holds a reference on it. */
int file_iter_new(struct table_file *f, bool keep, struct iter **it, struct kevo_err *err);

/* Let an iterator of level_iter_new() or file_iter_new() go of all that it holds, so that it is
 * memory and nothing else, for these to make what the functions above do, with the same `keep`,
 * of it. They cannot fail. */
void level_iter_park(struct iter *it);
void level_iter_bind(struct iter *it, struct version *version, unsigned level, slice lower,
                     slice upper);
void file_iter_bind(struct iter *it, struct table_file *f);

/* An iterator over disjoint files in ascending order, as compactions have them: one
 * child for a merge instead of many. The array and the files must outlive it. */
int files_iter_new(struct table_file **files, size_t count, bool keep, struct iter **it,
                   struct kevo_err *err);

/* About how many bytes of the tables are rows: in each table what is neither a tombstone nor
 * an old version, but nothing of those that overlap a table of a deeper level, since they are
 * likely to replace what is there. Opens no table. */
uint64_t version_live_bytes(const struct version *version);

/* About how many entries, and bytes, lie in [lower, upper) over all levels. The entries of
 * files that `hidden` (which may be NULL) hides as a whole are not counted. */
int version_estimate(const struct version *version, slice lower, slice upper,
                     const struct range_set *hidden, uint64_t *entries, uint64_t *bytes,
                     struct kevo_err *err);

#endif
