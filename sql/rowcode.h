/* rowcode.h - the columns of a row that are not in its key, as bytes.
 *
 * A row is its columns one after the other in the order of schema.row[], each a
 * tag that tells type and length, then the body. NULLs at the end are left out,
 * and a column that is not there reads as NULL, so a row written before its table
 * grew by a column stays right. The layout is in engine/FORMAT.md, "Keys and
 * values in a table of rows". */
#ifndef KEVO_SQL_ROWCODE_H
#define KEVO_SQL_ROWCODE_H

#include "engine/base/buf.h"
#include "sql/schema.h"

enum { ROWCODE_TAG_BYTES = 24 }; /* the least tag of texts and blobs */

/* Replace *row by the bytes of a row; values[] has all columns of the schema, of
 * which those of s->row are used. Nothing is allocated once *row has grown.
 * KEVO_TOOBIG beyond KEVO_MAX_VALUE_BYTES; KEVO_NOMEM. */
int rowcode_encode(const struct schema *s, const struct value *values, struct buf *row,
                   struct kevo_err *err);

/* A place in a row. Reading columns in ascending order passes over each tag once;
 * going back starts again from the front. */
struct row_reader {
    slice row;
    const uint8_t *p; /* the tag of column `next` */
    unsigned next;
};

static inline struct row_reader row_reader_of(slice row) {
    return (struct row_reader){row, row.data, 0};
}

/* Read the index-th column of the row (an index into schema.row[]). Bytes point
 * into the row. KEVO_CORRUPT when a length runs past the row's end. */
int row_reader_column(struct row_reader *r, unsigned index, struct value *v, struct kevo_err *err);

/* The same where it is the next column, and a text or blob of up to 8 KB that makes sense. False:
 * it is not. */
static inline bool row_reader_bytes(const struct row_reader *r, unsigned index,
                                    enum value_type *type, slice *bytes) {
    if (r->next != index || r->row.len < 2) return false;
    size_t left = r->row.len - (size_t)(r->p - r->row.data);
    if (left < 2) return false;
    unsigned tag = r->p[0], head = 1;
    if (tag >= 0x80) {
        if (r->p[1] >= 0x80) return false;
        tag = (unsigned)r->p[1] << 7 | (tag & 0x7f);
        head = 2;
    }
    size_t len = (tag - ROWCODE_TAG_BYTES) >> 1;
    if (tag < ROWCODE_TAG_BYTES || len > left - head) return false;
    *type = tag & 1 ? VALUE_BLOB : VALUE_TEXT;
    *bytes = slice_of(r->p + head, len);
    return true;
}

/* The same for one column alone. */
int rowcode_column(slice row, unsigned index, struct value *v, struct kevo_err *err);

/* Check that the row is well formed and has at most `columns` columns. */
int rowcode_check(slice row, unsigned columns, struct kevo_err *err);

#endif
