/* version.h - which tables make up the tree: an immutable list a level, shared
 * by reference.
 *
 * Level 0 holds flushed memtables, whose key ranges overlap; its files are
 * ordered from the newest (largest max_seq) to the oldest. In levels 1 and
 * deeper files are disjoint and ordered by key. Which of two versions of a key is
 * newer is told by their sequence numbers alone, never by a place in a list or a
 * file's number.
 *
 * A table file is deleted from disk when it has been marked obsolete and its last
 * reference goes; a version holds one reference on each of its files.
 *
 * Threads: versions and files are immutable and counted atomically; any thread.
 * A file's table is opened at first use. */
#ifndef KEVO_TREE_VERSION_H
#define KEVO_TREE_VERSION_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/table/table.h"

struct version_edit;

/* What all tables of a store share. Outlives them. */
struct table_home {
    struct env *env;
    const char *dir;
    struct cache *cache; /* may be NULL: table files are not opened then */
};

struct table_file {
    _Atomic unsigned refs;
    _Atomic bool obsolete;
    const struct table_home *home;
    uint64_t number;     /* the file is table_file_name(number) */
    uint64_t size_bytes; /* of the file */
    uint64_t checksum;   /* of its footer */
    uint64_t entry_count, tombstone_count, range_count, key_count, min_seq, max_seq;
    uint64_t garbage_seq; /* as in struct table_properties */
    uint64_t base_seq;    /* to be added to the sequence numbers in the file; those here are true */
    uint8_t compression;  /* enum kevo_compression */
    bool ends_below;      /* max_key itself is outside, as in struct table_properties */
    struct buf min_key, max_key;
    pthread_mutex_t open_mutex;
    struct table *_Atomic table; /* NULL until first used */
};

enum { TABLE_NAME_BYTES = 32 };
void table_file_name(char name[TABLE_NAME_BYTES], uint64_t number); /* "000042.sst" */

/* A new file with one reference; takes nothing over, copies the keys. */
struct table_file *table_file_new(const struct table_home *home, uint64_t number,
                                  uint64_t size_bytes, uint64_t checksum,
                                  const struct table_properties *props, slice min_key,
                                  slice max_key);
/* The file's entries belong to batch `base_seq`, which had no id when they were written.
 * Before anybody else knows of the file. */
void table_file_set_base(struct table_file *f, uint64_t base_seq);
void table_file_ref(struct table_file *f);
/* With the last reference closes the table, and unlinks the file if obsolete;
 * an unlink that fails leaves an orphan for the next sweep. f may be NULL. */
void table_file_unref(struct table_file *f);

/* The opened table; it lives as long as the file is referenced. */
int table_file_open(struct table_file *f, struct table **t, struct kevo_err *err);

struct level {
    struct table_file **files;
    size_t count;
    uint64_t bytes;       /* sum of size_bytes */
    uint64_t range_count; /* and of range_count */
};

/* Whether a file of that level is worth merging for the sake of what it drops: it has range
 * tombstones, or a quarter of its entries or more are tombstones or old versions. What goes
 * into level 0 is merged soon anyway; there half must be tombstones. */
static inline bool table_file_is_dense(const struct table_file *f, unsigned level) {
    if (level == 0) return f->tombstone_count >= f->entry_count - f->tombstone_count;
    if (f->range_count) return true;
    return f->garbage_seq &&
           f->tombstone_count + (f->entry_count - f->key_count) >= (f->entry_count + 3) / 4;
}

struct version {
    _Atomic unsigned refs;
    uint64_t dense_seq; /* the smallest max_seq of a dense file: from that snapshot on all
                           that is old in it can go; UINT64_MAX when there is none */
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

/* Whether all that the file holds is below `key`, or above it. */
static inline bool table_file_is_below(const struct table_file *f, slice key) {
    int c = slice_cmp(buf_slice(&f->max_key), key);
    return c < 0 || (c == 0 && f->ends_below);
}
static inline bool table_file_is_above(const struct table_file *f, slice key) {
    return slice_cmp(buf_slice(&f->min_key), key) > 0;
}

/* In a level below 0: index of the first file that is not below `key`, or count. */
size_t level_find(const struct level *l, slice key);

/* Whether the file may hold keys in [lower, upper); data NULL means open. */
bool table_file_overlaps(const struct table_file *f, slice lower, slice upper);

/* The newest version of `key` with seq <= max_seq over all levels, unless a range
 * tombstone with a seq <= max_seq hides it, or `cover`, the largest seq of those met
 * before (0: none), does; the pinned block is in v->block as from table_get. Files that
 * cannot hold a newer version are not asked. KEVO_NOTFOUND. Adds to *filter_checks and
 * *filter_rejects. */
int version_get(const struct version *version, const struct table_home *home, slice key,
                uint64_t max_seq, uint64_t cover, struct table_value *v, uint64_t *filter_checks,
                uint64_t *filter_rejects, struct kevo_err *err);

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

/* An iterator over disjoint files in ascending order, as compactions have them: one
 * child for a merge instead of many. The array and the files must outlive it. */
int files_iter_new(struct table_file **files, size_t count, bool keep, struct iter **it,
                   struct kevo_err *err);

/* About how many entries, and bytes, lie in [lower, upper) over all levels. */
int version_estimate(const struct version *version, slice lower, slice upper, uint64_t *entries,
                     uint64_t *bytes, struct kevo_err *err);

#endif
