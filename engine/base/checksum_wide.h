/* checksum_wide.h - XXH3 for processors that have AVX2; others must not call it. Where the compiler
 * knows of such, CHECKSUM_WIDE is defined. Private to checksum.c. */
#ifndef KEVO_BASE_CHECKSUM_WIDE_H
#define KEVO_BASE_CHECKSUM_WIDE_H

#include <stddef.h>
#include <stdint.h>

uint64_t checksum_wide(const void *data, size_t len, uint64_t seed);

#endif
