/* clearing.h - a DELETE that leaves nothing between two keys.
 *
 * SQLite lists the rows that a DELETE is about, and then has them deleted one by one, in the
 * order of their keys: each is a tombstone of its own, though all of them together mean no more
 * than one range tombstone does, which the log, the memtable and the tables carry at once.
 * Whether they do is known without another look at the rows:
 *  1. A cursor that goes forward shows each row that the transaction sees between the first row
 *     and the last one that it has shown, and no other. They are counted, until one is deleted.
 *  2. Deleted are, in ascending order and beginning with the first of them, rows that were shown:
 *     no other cursor is open that SQLite could have them from. They are counted as well.
 *  3. Nothing else is written, undone or committed from the first of these rows shown to the last
 *     one deleted: the transaction has made as many writes as were noticed here.
 * So when as many rows were deleted as were shown, and the last one deleted is the last one
 * shown, they are the same rows, and none is left between them. Then their range is deleted too:
 * it hides the tombstones as well, which are left out of the batch.
 *
 * A range costs who reads nearby more than a few tombstones do, so it is for many rows only. */
#ifndef KEVO_EXT_CLEARING_H
#define KEVO_EXT_CLEARING_H

#include "engine/tree/iter.h"
#include "ext/session.h"
#include "ext/world.h"

enum { CLEARING_LEAST_ROWS = 1000 };

/* Rows that make it worth it. */
static inline uint64_t clearing_least_rows(void) {
    return world.clearing_rows ? world.clearing_rows : CLEARING_LEAST_ROWS;
}

struct clearing {
    const void *by;         /* the cursor that shows rows; NULL: none any more */
    uint64_t shown, gone;   /* rows; 0 shown: nothing is known */
    struct buf first, last; /* of those shown */
    struct buf gone_last;   /* of those deleted */
    uint64_t op;            /* of the transaction: its writes up to now are known of */
    unsigned epoch, undos;  /* of the session, then */
};

void clearing_release(struct clearing *c);

static inline void clearing_forget(struct clearing *c) {
    c->by = NULL;
    c->shown = 0;
}

/* `by` goes forward from the row of that key on, in the transaction of the session if it has
 * one. */
void clearing_begin(struct clearing *c, const void *by, const struct session *s, slice key);

/* Some cursor, which may be `by`, has gone on to this row, the next there is. */
static inline void clearing_note(struct clearing *c, const void *by, slice key) {
    if (c->by != by) return;
    c->shown++;
    if (!iter_save_key(&c->last, key)) clearing_forget(c);
}

/* `by` is closed, or goes elsewhere. */
static inline void clearing_end(struct clearing *c, const void *by) {
    if (c->by == by) clearing_forget(c);
}

/* A row is about to be deleted, after `op` writes of the transaction, none of which is about it.
 * Whether clearing_went_on() is to be called once it was. */
bool clearing_is_next(struct clearing *c, const struct session *s, uint64_t op, slice key);
static inline bool clearing_goes_on(struct clearing *c, const struct session *s, uint64_t op,
                                    slice key) {
    return c->shown >= clearing_least_rows() && clearing_is_next(c, s, op, key);
}

/* Take note of it, and delete the range if that was its last row. An error of the engine: then the
 * row's deletion is to be undone. */
int clearing_went_on(struct clearing *c, struct session *s, slice key, struct kevo_err *err);

#endif
