#include "sql/rowcode.h"

#include <float.h>

#include "engine/base/coding.h"
#include "engine/base/error.h"

/* The tags. Text and blobs: TAG_BYTES + 2 * length, one more for a blob. */
enum {
    TAG_NULL = 0,
    TAG_INT = 1, /* 1..8: so many bytes of two's complement, little-endian */
    TAG_REAL = 9,
    TAG_FLOAT = 10,  /* a real that is a single-precision number */
    TAG_UNUSED = 11, /* not written */
    TAG_SMALL = 12,  /* 12..23: the integers 0..11 */
    TAG_BYTES = ROWCODE_TAG_BYTES,
    SMALL_COUNT = TAG_BYTES - TAG_SMALL,
    MAX_NUMBER_BYTES = 9 /* tag and body of anything but text and blobs */
};

/* ---- writing --------------------------------------------------------------------- */

static uint8_t *put_integer(uint8_t *p, int64_t i) {
    if (i >= 0 && i < SMALL_COUNT) {
        *p++ = (uint8_t)(TAG_SMALL + i);
        return p;
    }
    uint64_t u = i < 0 ? ~(uint64_t)i : (uint64_t)i;
    unsigned bits = u ? 64 - (unsigned)__builtin_clzll(u) : 0;
    unsigned bytes = bits / 8 + 1; /* one bit for the sign */
    *p++ = (uint8_t)(TAG_INT - 1 + bytes);
    for (unsigned k = 0; k < bytes; k++)
        *p++ = (uint8_t)((uint64_t)i >> 8 * k);
    return p;
}

static uint8_t *put_real(uint8_t *p, double r) {
    float f = r >= -FLT_MAX && r <= FLT_MAX ? (float)r : 0;
    double back = (double)f;
    uint64_t u;
    uint32_t u32;
    if (memcmp(&back, &r, sizeof r) == 0) {
        memcpy(&u32, &f, 4);
        *p++ = TAG_FLOAT;
        put_fixed32(p, u32);
        return p + 4;
    }
    memcpy(&u, &r, 8);
    *p++ = TAG_REAL;
    put_fixed64(p, u);
    return p + 8;
}

static int fail_too_big(const struct schema *s, size_t bytes, struct kevo_err *err) {
    return kevo_fail(err, KEVO_TOOBIG, "row of table %s is too big: %zu bytes, the limit is %u",
                     s->table, bytes, KEVO_MAX_VALUE_BYTES);
}

static int append_bytes(const struct schema *s, struct buf *row, const struct value *v,
                        struct kevo_err *err) {
    size_t len = v->bytes.len;
    if (len > KEVO_MAX_VALUE_BYTES) return fail_too_big(s, row->len + len, err);
    if (!buf_reserve(row, VARINT64_MAX_BYTES + len)) return kevo_nomem(err);
    uint8_t *p = put_varint(row->data + row->len, TAG_BYTES + 2 * len + (v->type == VALUE_BLOB));
    if (len) memcpy(p, v->bytes.data, len);
    row->len = (size_t)(p - row->data) + len;
    return 0;
}

static int append(const struct schema *s, struct buf *row, const struct value *v,
                  struct kevo_err *err) {
    if (v->type >= VALUE_TEXT) return append_bytes(s, row, v, err);
    if (!buf_reserve(row, MAX_NUMBER_BYTES)) return kevo_nomem(err);
    uint8_t *p = row->data + row->len;
    if (v->type == VALUE_INTEGER)
        p = put_integer(p, v->integer);
    else if (v->type == VALUE_REAL)
        p = put_real(p, v->real);
    else
        *p++ = TAG_NULL;
    row->len = (size_t)(p - row->data);
    return 0;
}

int rowcode_encode(const struct schema *s, const struct value *values, struct buf *row,
                   struct kevo_err *err) {
    unsigned count = s->row_count;
    buf_reset(row);
    while (count && values[s->row[count - 1]].type == VALUE_NULL)
        count--;
    for (unsigned i = 0; i < count; i++) {
        int rc = append(s, row, &values[s->row[i]], err);
        if (rc) return rc;
    }
    return row->len > KEVO_MAX_VALUE_BYTES ? fail_too_big(s, row->len, err) : 0;
}

/* ---- reading --------------------------------------------------------------------------- */

static const uint8_t *row_end(slice row) {
    return row.len ? row.data + row.len : row.data;
}

static int fail_row(unsigned index, struct kevo_err *err) {
    return kevo_fail(err, KEVO_CORRUPT, "column %u of a stored row does not decode", index);
}

/* The body's length by its tag, UINT64_MAX for a tag that is not written. */
static inline uint64_t body_bytes(uint64_t tag) {
    static const uint8_t fixed[TAG_BYTES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 4};
    if (tag >= TAG_BYTES) return (tag - TAG_BYTES) >> 1;
    return tag == TAG_UNUSED ? UINT64_MAX : fixed[tag];
}

/* Read a tag at p: its body is [*body, *body + *len). False: not a row of ours. */
static inline bool read_tag(const uint8_t *p, const uint8_t *end, uint64_t *tag,
                            const uint8_t **body, size_t *len) {
    p = get_varint(p, end, tag);
    if (!p) return false;
    uint64_t bytes = body_bytes(*tag);
    if (bytes > (uint64_t)(end - p)) return false;
    *body = p;
    *len = (size_t)bytes;
    return true;
}

static int64_t get_integer(const uint8_t *p, size_t bytes) {
    uint64_t u = 0;
    for (size_t k = 0; k < bytes; k++)
        u |= (uint64_t)p[k] << 8 * k;
    unsigned spare = 64 - 8 * (unsigned)bytes;
    return (int64_t)(u << spare) >> spare;
}

static inline bool get_value(uint64_t tag, const uint8_t *body, size_t len, struct value *v) {
    if (tag >= TAG_BYTES) {
        v->type = tag & 1 ? VALUE_BLOB : VALUE_TEXT;
        v->bytes = slice_of(body, len);
    } else if (tag >= TAG_SMALL) {
        *v = value_integer((int64_t)tag - TAG_SMALL);
    } else if (tag == TAG_NULL) {
        *v = value_null();
    } else if (tag < TAG_REAL) {
        *v = value_integer(get_integer(body, len));
    } else if (tag == TAG_REAL) {
        uint64_t u = get_fixed64(body);
        v->type = VALUE_REAL;
        memcpy(&v->real, &u, 8);
        return v->real == v->real;
    } else {
        uint32_t u = get_fixed32(body);
        float f;
        memcpy(&f, &u, 4);
        *v = value_real((double)f);
        return f == f;
    }
    return true;
}

int row_reader_column(struct row_reader *r, unsigned index, struct value *v, struct kevo_err *err) {
    const uint8_t *end = row_end(r->row), *body;
    uint64_t tag;
    size_t len;
    if (index < r->next) *r = row_reader_of(r->row);
    for (; r->p < end; r->next++) {
        if (!read_tag(r->p, end, &tag, &body, &len)) return fail_row(r->next, err);
        if (r->next == index) return get_value(tag, body, len, v) ? 0 : fail_row(index, err);
        r->p = body + len;
    }
    *v = value_null();
    return 0;
}

int rowcode_column(slice row, unsigned index, struct value *v, struct kevo_err *err) {
    struct row_reader r = row_reader_of(row);
    return row_reader_column(&r, index, v, err);
}

int rowcode_check(slice row, unsigned columns, struct kevo_err *err) {
    const uint8_t *p = row.data, *end = row_end(row), *body;
    uint64_t tag;
    size_t len;
    struct value v;
    for (unsigned index = 0; p < end; index++) {
        if (index >= columns)
            return kevo_fail(err, KEVO_CORRUPT, "a stored row has more than %u columns", columns);
        if (!read_tag(p, end, &tag, &body, &len) || !get_value(tag, body, len, &v))
            return fail_row(index, err);
        p = body + len;
    }
    return 0;
}
