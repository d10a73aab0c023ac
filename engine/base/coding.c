#include "engine/base/coding.h"

bool buf_put_fixed32(struct buf *b, uint32_t v) {
    if (!buf_reserve(b, 4)) return false;
    put_fixed32(b->data + b->len, v);
    b->len += 4;
    return true;
}

bool buf_put_fixed64(struct buf *b, uint64_t v) {
    if (!buf_reserve(b, 8)) return false;
    put_fixed64(b->data + b->len, v);
    b->len += 8;
    return true;
}

bool buf_put_varint(struct buf *b, uint64_t v) {
    if (!buf_reserve(b, VARINT64_MAX_BYTES)) return false;
    b->len = (size_t)(put_varint(b->data + b->len, v) - b->data);
    return true;
}

bool buf_put_slice(struct buf *b, slice s) {
    if (!buf_reserve(b, VARINT64_MAX_BYTES + s.len)) return false;
    return buf_put_varint(b, s.len) && buf_append(b, s.data, s.len);
}

static bool want(struct reader *r, size_t len) {
    if (r->bad || reader_left(r) < len) {
        r->bad = true;
        return false;
    }
    return true;
}

uint8_t read_byte(struct reader *r) {
    return want(r, 1) ? *r->p++ : 0;
}

uint32_t read_fixed32(struct reader *r) {
    if (!want(r, 4)) return 0;
    uint32_t v = get_fixed32(r->p);
    r->p += 4;
    return v;
}

uint64_t read_fixed64(struct reader *r) {
    if (!want(r, 8)) return 0;
    uint64_t v = get_fixed64(r->p);
    r->p += 8;
    return v;
}

uint64_t read_varint(struct reader *r) {
    uint64_t v = 0;
    const uint8_t *p = r->bad ? NULL : get_varint(r->p, r->end, &v);
    if (!p) {
        r->bad = true;
        return 0;
    }
    r->p = p;
    return v;
}

uint32_t read_varint32(struct reader *r) {
    uint64_t v = read_varint(r);
    if (v > UINT32_MAX) {
        r->bad = true;
        return 0;
    }
    return (uint32_t)v;
}

slice read_bytes(struct reader *r, size_t len) {
    if (!want(r, len)) return slice_of(NULL, 0);
    slice s = slice_of(r->p, len);
    if (len) r->p += len; /* NULL + 0 is undefined in C */
    return s;
}

slice read_slice(struct reader *r) {
    uint64_t len = read_varint(r);
    return read_bytes(r, len > SIZE_MAX ? SIZE_MAX : (size_t)len);
}
