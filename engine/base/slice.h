/* slice.h - borrowed bytes. A slice never owns: it lives as long as what it
 * points into. */
#ifndef KEVO_BASE_SLICE_H
#define KEVO_BASE_SLICE_H

#include <string.h>

#include "engine/kevo.h"

typedef struct kevo_slice slice;

static inline slice slice_of(const void *data, size_t len) {
    return (slice){.data = data, .len = len};
}

static inline slice slice_of_str(const char *s) {
    return (slice){.data = (const uint8_t *)s, .len = strlen(s)};
}

/* memcmp order, a prefix before its extensions. */
static inline int slice_cmp(slice a, slice b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_eq(slice a, slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_has_prefix(slice s, slice prefix) {
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

static inline bool slice_has_suffix(slice s, slice suffix) {
    return s.len >= suffix.len &&
           (suffix.len == 0 || memcmp(s.data + s.len - suffix.len, suffix.data, suffix.len) == 0);
}

/* Eight bytes that were loaded as they lie, as a big-endian number. */
static inline uint64_t slice_big_endian64(uint64_t loaded) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return loaded;
#else
    return __builtin_bswap64(loaded);
#endif
}

/* The first eight bytes as a big-endian number, short keys padded with zeros:
 * prefix(a) < prefix(b) implies a < b, and a < b implies prefix(a) <= prefix(b). */
static inline uint64_t slice_prefix64(slice s) {
    uint64_t p = 0;
    if (s.len >= 8) {
        memcpy(&p, s.data, 8);
        return slice_big_endian64(p);
    }
    for (size_t i = 0; i < s.len; i++)
        p |= (uint64_t)s.data[i] << (56 - 8 * i);
    return p;
}

/* *to = *from for a slice whose two halves were stored one by one a moment ago: read
 * back in one piece, as compilers like to, they would keep the processor waiting until
 * both stores have reached the cache. */
static inline void slice_copy(slice *to, const slice *from) {
    const uint8_t *data = from->data;
    size_t len = from->len;
    __asm__("" : "+r"(data), "+r"(len));
    to->data = data;
    to->len = len;
}

#endif
