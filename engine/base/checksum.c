#include "engine/base/checksum.h"

#include "engine/base/checksum_wide.h"

uint64_t checksum_long(const void *data, size_t len, uint64_t seed) {
#ifdef CHECKSUM_WIDE
    if (__builtin_cpu_supports("avx2")) return checksum_wide(data, len, seed);
#endif
    return XXH3_64bits_withSeed(data, len, seed);
}
