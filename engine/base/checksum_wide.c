#include "engine/base/checksum_wide.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t checksum_wide(const void *data, size_t len, uint64_t seed) {
    return XXH3_64bits_withSeed(data, len, seed);
}
