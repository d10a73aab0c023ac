/* indexcode.h - entries of a secondary index.
 *
 * An entry is a key and a value. The key (keycode.h) has the columns of the index and
 * behind them those of the primary key, so it names its row. The value is empty but for
 * numbers in columns of type ANY whose type the key does not tell: keys are equal where SQL
 * says that numbers are, 1 and 1.0, 0.0 and -0.0. So an entry gives back exactly what is in
 * the row, and a query of these columns alone need not look at it.
 *
 * Arrays of values have all columns of the schema and, behind them, the hidden rowid. */
#ifndef KEVO_SQL_INDEXCODE_H
#define KEVO_SQL_INDEXCODE_H

#include "sql/keycode.h"

/* Replace *key and *types by the entry of a row. KEVO_TOOBIG, KEVO_NOMEM. */
int indexcode_encode(const struct schema *index, uint32_t table_id, const struct value *values,
                     struct buf *key, struct buf *types, struct kevo_err *err);

/* Let *v, the n-th key column's, be of the type that the entry's value says. KEVO_CORRUPT. */
int indexcode_set_type(const struct schema *index, slice types, unsigned n, struct value *v,
                       struct kevo_err *err);

/* Decode the n-th key column of an entry, from a place in its key on; that is moved, as
 * keycode_column_from() does. Bytes point into the key or into *scratch (replaced).
 * KEVO_CORRUPT, KEVO_NOMEM. */
static inline int indexcode_column(const struct schema *index, slice key, slice types,
                                   struct key_place *from, unsigned n, struct value *v,
                                   struct buf *scratch, struct kevo_err *err) {
    int rc = keycode_column_from(index, key, from, n, v, scratch, err);
    return rc || n >= types.len ? rc : indexcode_set_type(index, types, n, v, err);
}

/* Replace *row_key by the key of the entry's row, which an entry that is damaged may not have.
 * *from is a place in the entry's key, and may be moved; values[] and *scratch are used on the
 * way. KEVO_CORRUPT, KEVO_NOMEM. */
int indexcode_row_key(const struct schema *table, const struct schema *index, uint32_t table_id,
                      slice key, struct key_place *from, struct value *values, struct buf *scratch,
                      struct buf *row_key, struct kevo_err *err);

/* Whether one of the columns of the index is NULL, so that it equals no other row. */
bool indexcode_has_null(const struct schema *index, const struct value *values);

/* The entries with the same values in the columns of the index: lower and upper are
 * replaced. KEVO_TOOBIG, KEVO_NOMEM. */
int indexcode_equal_range(const struct schema *index, uint32_t table_id, const struct value *values,
                          struct buf *lower, struct buf *upper, struct kevo_err *err);

#endif
