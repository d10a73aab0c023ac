/* checksum.h - XXH3, the checksum of every format and the hash of the filters. */
#ifndef KEVO_BASE_CHECKSUM_H
#define KEVO_BASE_CHECKSUM_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/slice.h"

static inline uint64_t checksum64(const void *data, size_t len, uint64_t seed) {
    return XXH3_64bits_withSeed(data, len, seed);
}

static inline uint32_t checksum32(const void *data, size_t len, uint64_t seed) {
    return (uint32_t)checksum64(data, len, seed);
}

static inline uint64_t key_hash(slice key) {
    return XXH3_64bits(key.data, key.len);
}

#endif
