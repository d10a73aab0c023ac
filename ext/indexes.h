/* indexes.h - keeping a table's indexes in step with its rows.
 *
 * Everything here reads and writes in the session's transaction. Functions return 0 or a
 * negative enum kevo_rc with *err; what they have written by then is the caller's to undo.
 * Values are those of all columns and, behind them, the hidden rowid. */
#ifndef KEVO_EXT_INDEXES_H
#define KEVO_EXT_INDEXES_H

#include "engine/base/buf.h"
#include "sql/schema.h"

struct vtab;

/* Scratch of a table that has indexes, kept between rows. */
struct index_scratch {
    struct value *values; /* of the row that is replaced or deleted */
    struct buf decoded;   /* what they may point into */
    struct buf key, types, old_key, old_types;
    struct buf other_key, other_row; /* of a row in the way */
};

/* False: no memory. */
bool index_scratch_init(struct index_scratch *scratch, const struct schema *s);
void index_scratch_release(struct index_scratch *scratch);

/* Decode a row and its key into values[]. They point into key, row and *decoded. */
int indexes_decode_row(const struct schema *s, slice key, slice row, struct value *values,
                       struct buf *decoded, struct kevo_err *err);

/* Whether a row other than that with the key `own` has the same values in the columns of a
 * UNIQUE index, none of them NULL. Its key is then in t->indexes.other_key. */
int indexes_find_equal(struct vtab *t, const struct schema *index, const struct value *values,
                       slice own, bool *found, struct kevo_err *err);

/* Bring the entries from the row `old` to the row `new`; either may be NULL: none. */
int indexes_write(struct vtab *t, const struct value *old, const struct value *new,
                  struct kevo_err *err);

/* Delete the entries of the row with that key, if there is one. *found tells. */
int indexes_forget_row(struct vtab *t, slice key, bool *found, struct kevo_err *err);

#endif
