/* keycode.h - keys of rows, and of the entries of indexes, as bytes whose memcmp order
 * is the SQL order of the key columns, each ASC or DESC.
 *
 * A key is the table's id, in an index also a byte that tells it from a row and the index's
 * number, then the key columns one after the other; in rowid
 * tables the only column is the rowid. The layout is in engine/FORMAT.md, "Keys
 * and values in a table of rows". All columns but a last one of TEXT or BLOB ASC
 * end by themselves, so the keys that begin with certain values of the first n
 * columns are exactly those with a certain prefix of bytes.
 *
 * Values given here have passed column_accept(): key columns are of their column's type,
 * and never NULL but where they are tagged. Reals: -0.0 is 0.0. In a column of type ANY
 * numbers that are equal have the same bytes, and are read back as integers where they can
 * be: indexcode.h keeps the rest. */
#ifndef KEVO_SQL_KEYCODE_H
#define KEVO_SQL_KEYCODE_H

#include "engine/base/buf.h"
#include "sql/schema.h"

enum {
    KEYCODE_MAX_TABLE_BYTES = 5,
    KEYCODE_MAX_PREFIX_BYTES = KEYCODE_MAX_TABLE_BYTES + 2,
    KEYCODE_MAX_INTEGER_BYTES = 9
};

/* Write the table's id at p, which has room for KEYCODE_MAX_TABLE_BYTES; the
 * length is returned: 1 for ids below 248. No table's bytes begin another's. */
size_t keycode_table_bytes(uint8_t *p, uint32_t table_id);

/* The id that a key begins with, and the key behind it. KEVO_CORRUPT. */
int keycode_split(slice key, uint32_t *table_id, slice *rest, struct kevo_err *err);

/* Write what the keys of a table or index begin with at p, which has room for
 * KEYCODE_MAX_PREFIX_BYTES; the length is returned. */
size_t keycode_prefix(const struct schema *s, uint32_t table_id, uint8_t *p);

/* Replace *key by the key of a row; values[] has all columns of the schema (and behind
 * them the hidden rowid, for an index that has it), of which the key columns are used. For SCHEMA_ROWID use keycode_rowid_key().
 * KEVO_TOOBIG beyond KEVO_MAX_KEY_BYTES; KEVO_NOMEM. */
int keycode_encode(const struct schema *s, uint32_t table_id, const struct value *values,
                   struct buf *key, struct kevo_err *err);

/* The key of a rowid into p, which has room for KEYCODE_MAX_TABLE_BYTES +
 * KEYCODE_MAX_INTEGER_BYTES; the length is returned. */
size_t keycode_rowid_key(uint32_t table_id, int64_t rowid, uint8_t *p);
int keycode_rowid(slice key, int64_t *rowid, struct kevo_err *err); /* KEVO_CORRUPT */

/* Decode the n-th key column (an index into s->key), the table's id being in front.
 * Bytes point into the key, or into *scratch (replaced) where they had to be
 * unescaped. KEVO_CORRUPT; KEVO_NOMEM. */
int keycode_column(const struct schema *s, slice key, unsigned n, struct value *v,
                   struct buf *scratch, struct kevo_err *err);

/* Where the column-th key column begins in a key. Nothing is known with `at` 0, as in a zeroed
 * struct; column key_count begins at the key's end. */
struct key_place {
    unsigned column;
    size_t at; /* bytes */
};

/* Go to column n from *place, which is one in this key. KEVO_CORRUPT. */
int keycode_go_to(const struct schema *s, slice key, struct key_place *place, unsigned n,
                  struct kevo_err *err);

/* The place behind the columns that are the same, and of the same bytes, in all keys of the
 * table or index in [lower, upper). The bounds begin as its keys do, or where these end. */
struct key_place keycode_common(const struct schema *s, uint32_t table_id, slice lower,
                                slice upper);

/* As keycode_column(), from *from on; it is then at column n. */
int keycode_column_from(const struct schema *s, slice key, struct key_place *from, unsigned n,
                        struct value *v, struct buf *scratch, struct kevo_err *err);

/* Decode all key columns into values[] of all columns of the schema and, behind them, the
 * hidden rowid if it is in the key. Bytes point into the key or into *scratch (replaced). */
int keycode_decode(const struct schema *s, slice key, struct value *values, struct buf *scratch,
                   struct kevo_err *err);

/* What follows the first n key columns (and the table's id). memcmp of two such
 * rests is the order by the remaining columns. KEVO_CORRUPT. */
int keycode_rest(const struct schema *s, slice key, unsigned n, slice *rest, struct kevo_err *err);

/* ---- bounds ------------------------------------------------------------- */

/* Whether the n-th key column is the last one, TEXT or BLOB, ASC: its bytes stand as they
 * are up to the key's end, and longer values begin with shorter ones. */
static inline bool keycode_is_verbatim(const struct schema *s, unsigned n) {
    const struct key_column *k = &s->key[n];
    return n + 1 == s->key_count && !k->desc && !k->tagged &&
           (k->type == COLUMN_TEXT || k->type == COLUMN_BLOB);
}

/* Append the encoding of a value of the n-th key column, which is of its type, or NULL where
 * it is tagged. */
int keycode_append(const struct schema *s, unsigned n, const struct value *v, struct buf *key,
                   struct kevo_err *err);

/* Make of a prefix the smallest byte string above all that begin with it. It must
 * contain a byte below 0xff; a table's id always does. */
void keycode_successor(struct buf *key);

/* All keys of a table: lower and upper are replaced. KEVO_NOMEM. */
int keycode_table_range(uint32_t table_id, struct buf *lower, struct buf *upper,
                        struct kevo_err *err);

/* All entries of the table's indexes: lower and upper are replaced. KEVO_NOMEM. */
int keycode_indexes_range(uint32_t table_id, struct buf *lower, struct buf *upper,
                          struct kevo_err *err);

/* All entries of an index, or all rows of a table. KEVO_NOMEM. */
int keycode_range(const struct schema *s, uint32_t table_id, struct buf *lower, struct buf *upper,
                  struct kevo_err *err);

#endif
