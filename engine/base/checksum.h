/* checksum.h - XXH3, the checksum of every format and the hash of the filters.
 *
 * Threads: all functions from any thread. */
#ifndef KEVO_BASE_CHECKSUM_H
#define KEVO_BASE_CHECKSUM_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/slice.h"

/* XXH3 goes another way beyond so many bytes, and a call is worth it. */
enum { CHECKSUM_SHORT_BYTES = 240 };

/* checksum64() of more than that: with vectors as wide as the processor has them. */
uint64_t checksum_long(const void *data, size_t len, uint64_t seed);

static inline uint64_t checksum64(const void *data, size_t len, uint64_t seed) {
    if (len > CHECKSUM_SHORT_BYTES) return checksum_long(data, len, seed);
    return XXH3_64bits_withSeed(data, len, seed);
}

static inline uint32_t checksum32(const void *data, size_t len, uint64_t seed) {
    return (uint32_t)checksum64(data, len, seed);
}

static inline uint64_t key_hash(slice key) {
    return XXH3_64bits(key.data, key.len);
}

#endif
