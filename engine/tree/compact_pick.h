/* compact_pick.h - which tables to merge next. Pure: a version in, a job out.
 *
 * Leveled compaction. Level 0's score is its file count over l0_trigger, a deeper
 * level's its bytes over its target; the highest score of 1 or more wins. Targets grow
 * by level_factor from level1_bytes on, but those above the deepest level that has
 * files are at most what it holds, divided by level_factor for each level between: so
 * most data lies in one level, and what newer versions hide above it stays a small
 * part (RocksDB's dynamic level sizes, with the levels left where they are).
 *
 * From level 0 all files that overlap the oldest go together; from a deeper level the
 * file that overlaps least below for its size. Inputs widen to whole files of the next
 * level, and the upper side widens again where that adds nothing below. When level 0 is
 * small against what it would be merged with, its newest files are merged with one
 * another first, like with like. A file with nothing to merge with below, and not too
 * much two levels below, just moves (a trivial move), unless it has tombstones that a
 * merge would drop or is less compressed than its new level wants.
 *
 * When no level asks for anything: a file of which a good part is garbage (struct
 * version, dense_seq) is merged down, or rewritten where it is when it has nothing
 * below. Each time old versions go, and tombstones sink or go, so that ends. Then levels
 * with many small files: some of like size that lie side by side become one. */
#ifndef KEVO_TREE_COMPACT_PICK_H
#define KEVO_TREE_COMPACT_PICK_H

#include "engine/tree/version.h"

struct compact_options {
    unsigned l0_trigger;
    uint64_t level1_bytes;
    unsigned level_factor;
    uint64_t table_bytes;
    uint8_t compression[KEVO_MAX_LEVELS]; /* enum kevo_compression, wanted in each level */
    uint64_t oldest_snapshot;             /* no snapshot is older; what is replaced up to
                                             here can go */
};

struct compaction {
    unsigned level;                /* of inputs[0] */
    unsigned output_level;         /* of inputs[1], one deeper; or `level` itself, and
                                      then inputs[1] is empty */
    struct table_file **inputs[2]; /* borrowed from the version */
    size_t input_count[2];
    uint64_t input_bytes;
    bool trivial_move;       /* all of inputs[0] change their level as they are */
    struct version *version; /* a reference */
};

/* The score that would be acted on, for statistics and for stalls. */
double compact_score(const struct version *v, const struct compact_options *o, unsigned *level);

/* Whether compact_pick() may find something; not when false. Does not look at files. */
bool compact_is_due(const struct version *v, const struct compact_options *o);

/* KEVO_NOTFOUND when nothing needs compaction; KEVO_NOMEM. */
int compact_pick(struct version *v, const struct compact_options *o, struct compaction *c,
                 struct kevo_err *err);

/* What is worth it when there is time, in a level that does not ask for it: files that can sink
 * into the level below, above the deepest one that has any, while there is overlap of at most
 * level_factor times their size; and files over nothing a level_factor'th of whose entries are
 * garbage, when all of it can go. So at most level_factor bytes of the level below are written
 * anew for each that sinks; but levels that are not full may be passed sooner than they would be
 * in writing without a pause. KEVO_NOTFOUND when nothing is; KEVO_NOMEM. */
int compact_pick_idle(struct version *v, const struct compact_options *o, struct compaction *c,
                      struct kevo_err *err);

void compaction_release(struct compaction *c);

/* A manual compaction of the keys in [lower, upper): level by level everything sinks to
 * the deepest level that has files there, and what lies in that level already is
 * rewritten only where there is garbage or small files are neighbours. Each level is
 * walked once, by key, so that it ends whatever is flushed meanwhile. */
struct compact_pass {
    slice lower, upper;    /* data NULL: open */
    unsigned level;        /* that the pass is in */
    struct buf after;      /* the largest key done in that level; empty: none */
    bool after_ends_below; /* ... that key itself is not done */
    uint64_t left_bytes;   /* out: about how many input bytes are still to come, those of
                            the compaction just picked included */
};

/* The next step. KEVO_NOTFOUND when the pass is over; KEVO_NOMEM. */
int compact_pick_pass(struct version *v, const struct compact_options *o, struct compact_pass *p,
                      struct compaction *c, struct kevo_err *err);

void compact_pass_release(struct compact_pass *p);

/* For struct build: whether nothing older than the inputs can hold `key` in the output
 * level or below, asked with ascending keys. */
struct bottom_finder {
    const struct version *version;
    unsigned below;
    size_t at[KEVO_MAX_LEVELS];
};
void bottom_finder_init(struct bottom_finder *b, const struct compaction *c);
bool bottom_finder_ask(struct bottom_finder *b, slice key);
/* The same for all keys in [lower, upper), in any order. */
bool bottom_finder_ask_range(const struct bottom_finder *b, slice lower, slice upper);

/* Whether output should be cut before `key`: it would overlap more than ten
 * tables' worth of the level after the output level. Ascending keys. */
struct overlap_meter {
    const struct level *level; /* NULL when there is none */
    size_t at;
    uint64_t bytes, limit;
    bool started;
};
void overlap_meter_init(struct overlap_meter *m, const struct compaction *c, uint64_t table_bytes);
bool overlap_meter_cut(struct overlap_meter *m, slice key);

#endif
