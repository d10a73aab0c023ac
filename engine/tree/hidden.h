/* hidden.h - tables that range tombstones hide as a whole: nothing in them is needed, and
 * they can go without being read.
 *
 * A table is hidden iff range tombstones newer than all of it cover its key range and no
 * snapshot is as new as its oldest entry but older than those. Then no reader sees
 * anything of it, and what its own tombstones hide the newer ones hide as well, from
 * every reader that would look. So it may go from any level at any time, as long as the
 * range tombstones are there; they go later by the rules of build.h. */
#ifndef KEVO_TREE_HIDDEN_H
#define KEVO_TREE_HIDDEN_H

#include "engine/tree/edit.h"

/* Add the range tombstones of these tables, opening those that have some; the bounds live
 * as long as the files. */
int hidden_list(struct table_file *const *files, size_t count, struct range_list *list,
                struct kevo_err *err);

/* Whether the file is hidden by `set`. *hider gets what struct build's max_dropped_by wants
 * to know. `snapshots` ascend, at least one; the versions before the last may go. */
bool hidden_is(const struct table_file *f, const struct range_set *set, const uint64_t *snapshots,
               size_t snapshot_count, uint64_t *hider);

/* What tables that would be hidden but for a snapshot wait for. */
struct hidden_wait {
    uint64_t horizon; /* some go when the last snapshot has come so far; SEQ_MAX: none */
    bool pin;         /* some go when one of the others goes */
};

/* Delete all hidden tables of `v` in *edit. *max_hider gets the largest hider, 0 if there
 * are none. */
int hidden_pick(const struct version *v, const uint64_t *snapshots, size_t snapshot_count,
                struct version_edit *edit, uint64_t *max_hider, struct hidden_wait *wait,
                struct kevo_err *err);

#endif
