/* coding.h - numbers as bytes, and bytes from disk as numbers.
 *
 * Fixed-width numbers are little-endian. A varint holds seven bits a byte, the
 * low ones first, the top bit set on all bytes but the last; at most 10 bytes
 * for 64 bits, 5 for 32.
 *
 * Bytes from disk are read through a struct reader, which never runs past its
 * end: a get that does not fit sets `bad` and yields zero, so a decoder may read
 * a whole structure and ask once. */
#ifndef KEVO_BASE_CODING_H
#define KEVO_BASE_CODING_H

#include "engine/base/buf.h"

enum { VARINT32_MAX_BYTES = 5, VARINT64_MAX_BYTES = 10 };

static inline void put_fixed32(uint8_t *p, uint32_t v) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    memcpy(p, &v, 4);
}

static inline void put_fixed64(uint8_t *p, uint64_t v) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, 8);
}

static inline uint32_t get_fixed32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline uint64_t get_fixed64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

/* Write v at p, which has room for VARINT64_MAX_BYTES; returns the end. */
static inline uint8_t *put_varint(uint8_t *p, uint64_t v) {
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static inline size_t varint_bytes(uint64_t v) {
    size_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

/* Read a varint from [p, end). Returns the end of it, NULL when it does not fit
 * or is longer than 64 bits. */
static inline const uint8_t *get_varint(const uint8_t *p, const uint8_t *end, uint64_t *v) {
    if (p < end && *p < 0x80) {
        *v = *p;
        return p + 1;
    }
    if (end - p > 1 && p[1] < 0x80) {
        *v = (uint64_t)p[1] << 7 | (p[0] & 0x7f);
        return p + 2;
    }
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
        uint8_t byte = *p++;
        if (shift == 63 && byte > 1) return NULL;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *v = result;
            return p;
        }
    }
    return NULL;
}

/* Append to a buf; false when there is no memory. */
bool buf_put_fixed32(struct buf *b, uint32_t v);
bool buf_put_fixed64(struct buf *b, uint64_t v);
bool buf_put_varint(struct buf *b, uint64_t v);
bool buf_put_slice(struct buf *b, slice s); /* varint length, then the bytes */

struct reader {
    const uint8_t *p, *end;
    bool bad;
};

static inline struct reader reader_of(slice s) {
    /* NULL + 0 is undefined in C. */
    return (struct reader){s.data, s.len ? s.data + s.len : s.data, false};
}

static inline size_t reader_left(const struct reader *r) {
    return (size_t)(r->end - r->p);
}

uint8_t read_byte(struct reader *r);
uint32_t read_fixed32(struct reader *r);
uint64_t read_fixed64(struct reader *r);
uint64_t read_varint(struct reader *r);
uint32_t read_varint32(struct reader *r);       /* bad when above 32 bits */
slice read_bytes(struct reader *r, size_t len); /* empty when bad */
slice read_slice(struct reader *r);             /* varint length, then the bytes */

#endif
