/* build.h - entries in, tables out: the common work of flush and compaction.
 *
 * Which versions are dropped: let the snapshots be s1 < s2 < ... < sn. A version
 * is needed iff it is newer than sn, or it is the newest one with seq <= si for
 * some i. A needed tombstone is dropped as well when its seq <= s1 and nothing
 * older of that key can lie deeper (`is_bottom` says so): the versions it hides in
 * the same input are not needed then either.
 *
 * Range tombstones take part in this as if each were a version of every key it covers:
 * what decides about a version is the smallest larger seq, of a version or of a range
 * tombstone over its key, and the same goes for the range tombstones of a fragment. */
#ifndef KEVO_TREE_BUILD_H
#define KEVO_TREE_BUILD_H

#include "engine/tree/manifest.h"

struct build {
    const struct table_home *home;
    struct table_writer_options table;
    uint64_t table_bytes; /* cut output tables at this size; 0: never */
    unsigned level;       /* of the output */

    const struct range_set *ranges; /* the range tombstones of all inputs; NULL: none */
    const uint64_t *snapshots;      /* ascending, at least one */
    size_t snapshot_count;

    /* Whether no level below the output may hold `key`. Keys come in ascending
     * order. NULL: nothing is ever the bottom. */
    bool (*is_bottom)(void *arg, slice key);
    /* The same for all keys in [lower, upper); in any order. */
    bool (*is_bottom_range)(void *arg, slice lower, slice upper);
    /* Whether a table should be cut before `key`, so that it does not overlap too
     * much of the level below. May be NULL. */
    bool (*cut_before)(void *arg, slice key);
    uint64_t (*next_file_number)(void *arg);
    bool (*cancelled)(void *arg); /* polled now and then; may be NULL */
    void *arg;

    /* out */
    uint64_t entries_read;   /* up to date when `cancelled` is called */
    uint64_t max_dropped_by; /* largest seq of a version that made an older one
                                unneeded, or of a tombstone dropped; 0: none */
    uint64_t bytes_written, tables_written;
};

/* Write what is needed of `source` (which this positions) and of b->ranges to new tables and add
 * them to *edit at b->level. Versions of one key never straddle two tables, and
 * range tombstones are cut where tables are. All
 * tables are synced, and the directory with them, when this returns 0. On failure
 * (KEVO_CANCELLED too) the files written are removed and the edit is as before. */
int build_tables(struct build *b, struct iter *source, struct version_edit *edit,
                 struct kevo_err *err);

#endif
