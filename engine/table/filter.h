/* filter.h - a cache-line-blocked Bloom filter over all keys of a table.
 *
 * Each key sets all its bits inside one 64-byte block chosen by its hash, so a
 * question costs one cache miss (Putze, Sanders, Singler: Cache-, Hash- and
 * Space-Efficient Bloom Filters, 2007). The layout is in engine/FORMAT.md,
 * "Filter". */
#ifndef KEVO_TABLE_FILTER_H
#define KEVO_TABLE_FILTER_H

#include "engine/base/arena.h"
#include "engine/base/buf.h"

/* Collects the hashes of keys (key_hash() of checksum.h), each key once. Zeroed: none. They lie in
 * chunks, whose memory others use again: an array that grows to megabytes in a background thread
 * leaves its allocator with holes as large. */
struct filter_builder {
    struct arena hashes;
    size_t count;
};

int filter_builder_add(struct filter_builder *b, uint64_t hash,
                       struct kevo_err *err); /* KEVO_NOMEM */
void filter_builder_release(struct filter_builder *b);

/* Append the filter of the collected hashes to `out`. KEVO_NOMEM. */
int filter_builder_finish(const struct filter_builder *b, unsigned bits_per_key, struct buf *out,
                          struct kevo_err *err);

/* False only if no key of that hash was added. A filter whose bytes make no
 * sense answers true. */
bool filter_may_contain(slice filter, uint64_t hash);

/* The same question is near. */
void filter_prefetch(slice filter, uint64_t hash);

#endif
