/* table_file.h - a table of the tree: what the manifest says of it, and the open table.
 *
 * A file is deleted from disk when it has been marked obsolete and its last reference
 * goes. Its table is opened at first use, and closed again when too many are open.
 *
 * Threads: files are immutable, but for the open table, and counted atomically; any
 * thread. */
#ifndef KEVO_TREE_TABLE_FILE_H
#define KEVO_TREE_TABLE_FILE_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/table/table.h"

/* What all tables of a store share. Outlives them. */
struct table_home {
    struct env *env;
    const char *dir;
    struct cache *cache;      /* may be NULL: table files are not opened then */
    struct open_tables *open; /* NULL: what was opened stays open */
};

/* Which tables of a store are open. Beyond max_count tables, or max_bytes of what they take
 * (table_memory_bytes), those that were not used for longest are closed, approximately: a
 * hand goes round and passes those used since it came by last (the clock algorithm: Corbato
 * 1968). A table that somebody has a reference on is passed too, and so is one with range
 * tombstones, whose bounds readers borrow: there are few, and they are merged soon. For want
 * of bytes alone the last LEAST_OPEN_TABLES are not closed. */
struct open_tables {
    pthread_mutex_t mutex; /* taken with a file's open_mutex held; the other way round that is
                              only tried */
    struct table_file *hand;
    unsigned count, max_count;
    uint64_t bytes, max_bytes;
    uint64_t opened;      /* so many times */
    _Atomic bool crowded; /* there were too many the last time, all in use */
    struct table_list closing;
    void (*closed)(void *arg); /* called without locks when `closing` has something; or NULL */
    void *arg;
};
enum { LEAST_OPEN_TABLES = 8 };

void open_tables_init(struct open_tables *o, unsigned max_count, uint64_t max_bytes);
/* No file of theirs may be left. */
void open_tables_release(struct open_tables *o);

/* After references were given back: close what was kept open for them. */
void open_tables_trim(struct open_tables *o);

/* Take over what is to be closed. Who borrowed before this call may use it still; who
 * borrows later does not find it. So it is closed when all readers have gone that began
 * before. */
struct table_list open_tables_take(struct open_tables *o);

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
    struct table_file *original; /* which this has another base of, a reference; NULL: none */
    pthread_mutex_t open_mutex;
    struct table *_Atomic table;              /* NULL: not open */
    uint64_t cache_id;                        /* of its blocks; 0: never opened; under open_mutex */
    _Atomic bool used;                        /* since the hand of open_tables came by */
    struct table_file *open_next, *open_prev; /* the ring of open_tables */
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
/* The same file under another base; NULL when there is no memory. It keeps `f`, and hands on to it
 * that it is obsolete. */
struct table_file *table_file_rebased(struct table_file *f, uint64_t base_seq);
void table_file_ref(struct table_file *f);
/* With the last reference closes the table, and unlinks the file if obsolete;
 * an unlink that fails leaves an orphan for the next sweep. f may be NULL. */
void table_file_unref(struct table_file *f);

/* The table, opened if it is not, with a reference that the caller gives back by
 * table_close(). */
int table_file_acquire(struct table_file *f, struct table **t, struct kevo_err *err);

/* The same without a reference, which writes to no memory that others use: for point reads.
 * The table lives until the file's last reference goes, or, where tables are closed meanwhile
 * (home->open), as open_tables_take() says. */
int table_file_borrow(struct table_file *f, struct table **t, struct kevo_err *err);

/* Whether range tombstones hide all that the file holds; `set` may be NULL. *hider (which may
 * be NULL) as range_set_hides() has it. */
bool table_file_is_hidden(const struct table_file *f, const struct range_set *set, uint64_t *hider);

/* Whether the file may hold keys in [lower, upper); data NULL means open. */
bool table_file_overlaps(const struct table_file *f, slice lower, slice upper);

/* Whether all that the file holds is below `key`, or above it. */
static inline bool table_file_is_below(const struct table_file *f, slice key) {
    int c = slice_cmp(buf_slice(&f->max_key), key);
    return c < 0 || (c == 0 && f->ends_below);
}
static inline bool table_file_is_above(const struct table_file *f, slice key) {
    return slice_cmp(buf_slice(&f->min_key), key) > 0;
}

/* Whether a file of that level is worth merging for the sake of what it drops: it has range
 * tombstones, or a quarter of its entries or more are tombstones or old versions. What goes
 * into level 0 is merged soon anyway; there half must be tombstones. */
static inline bool table_file_is_dense(const struct table_file *f, unsigned level) {
    if (level == 0) return f->tombstone_count >= f->entry_count - f->tombstone_count;
    if (f->range_count) return true;
    return f->garbage_seq &&
           f->tombstone_count + (f->entry_count - f->key_count) >= (f->entry_count + 3) / 4;
}

#endif
