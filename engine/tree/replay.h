/* replay.h - what a sequence of edits adds up to, without a version for each. */
#ifndef KEVO_TREE_REPLAY_H
#define KEVO_TREE_REPLAY_H

#include "engine/tree/edit.h"

/* A file as far as the edits so far tell. */
struct live {
    uint64_t number;
    unsigned level;          /* KEVO_MAX_LEVELS once it was deleted */
    struct table_file *file; /* a reference */
};

/* A zeroed struct has seen no edit. */
struct replay {
    struct live *files; /* by ascending number */
    size_t count, cap;
    struct version_edit numbers; /* the fields as last set */
};

void replay_release(struct replay *r);

/* KEVO_CORRUPT when the edit deletes a file that is not there or adds one that is;
 * KEVO_NOMEM. Only replay_release() may follow a failure. */
int replay_edit(struct replay *r, const struct version_edit *e, struct kevo_err *err);

/* The version that results, one reference. Only replay_release() may follow.
 * KEVO_CORRUPT when files of a level below 0 overlap, or one is not below
 * numbers.next_file; KEVO_NOMEM. */
int replay_version(struct replay *r, struct version **v, struct kevo_err *err);

#endif
