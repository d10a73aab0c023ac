/* compact_pick.h - which tables to merge next. Pure: a version in, a job out.
 *
 * Leveled compaction. Level 0's score is its file count over l0_trigger, a deeper
 * level's its bytes over its target (level1_bytes * level_factor^(level - 1));
 * the highest score of 1 or more wins. From level 0 all files that overlap the
 * picked ones go together; from a deeper level one file, round robin by key, so
 * that the whole level has its turn. Inputs widen to whole files of the next level,
 * and the upper side widens again where that adds nothing below. A file with
 * nothing to merge with below, and not too much two levels below, just moves
 * (a trivial move), unless it has tombstones that a merge would drop. */
#ifndef KEVO_TREE_COMPACT_PICK_H
#define KEVO_TREE_COMPACT_PICK_H

#include "engine/tree/version.h"

struct compact_options {
    unsigned l0_trigger;
    uint64_t level1_bytes;
    unsigned level_factor;
    uint64_t table_bytes;
};

/* Where the round robin stands: the largest key compacted last, a level. */
struct compact_cursor {
    struct buf after[KEVO_MAX_LEVELS];
};
void compact_cursor_release(struct compact_cursor *c);

struct compaction {
    unsigned level; /* of inputs[0]; inputs[1] lie one deeper */
    unsigned output_level;
    struct table_file **inputs[2]; /* borrowed from the version */
    size_t input_count[2];
    uint64_t input_bytes;
    bool trivial_move;       /* all of inputs[0] change their level as they are */
    struct version *version; /* a reference */
};

/* The score that would be acted on, for statistics and for stalls. */
double compact_score(const struct version *v, const struct compact_options *o, unsigned *level);

/* KEVO_NOTFOUND when nothing needs compaction; KEVO_NOMEM. Updates *cursor. */
int compact_pick(struct version *v, const struct compact_options *o, struct compact_cursor *cursor,
                 struct compaction *c, struct kevo_err *err);

/* The next step of a manual compaction of everything: the shallowest level that has
 * files while a deeper one has too, or level 0 alone, merged down whole.
 * KEVO_NOTFOUND when all is in one level below 0. */
int compact_pick_all(struct version *v, struct compaction *c, struct kevo_err *err);

void compaction_release(struct compaction *c);

/* For struct build: whether no level below c->output_level can hold `key`, asked
 * with ascending keys. */
struct bottom_finder {
    const struct version *version;
    unsigned below;
    size_t at[KEVO_MAX_LEVELS];
};
void bottom_finder_init(struct bottom_finder *b, const struct compaction *c);
bool bottom_finder_ask(struct bottom_finder *b, slice key);

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
