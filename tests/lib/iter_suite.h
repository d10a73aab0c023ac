/* iter_suite.h - one test suite for everything that is a struct iter.
 *
 * A test makes a sorted set of versions, feeds them to what it tests, and lets
 * iter_suite_check() compare every motion with the array:
 *
 *     struct iter_suite_set *set = iter_suite_random(&rng, &shape);
 *     ... build a block, memtable, table or merge from set->entries ...
 *     iter_suite_check(it, set->entries, set->count, &rng);
 *     iter_suite_free(set);
 *
 * The suite's own memory comes from malloc, so that fault_alloc_live() counts the
 * engine's blocks alone. */
#ifndef KEVO_TESTS_ITER_SUITE_H
#define KEVO_TESTS_ITER_SUITE_H

#include "engine/tree/iter.h"
#include "tests/lib/harness.h"

struct iter_suite_entry {
    slice key;
    uint64_t seq;
    uint8_t type; /* enum entry_type; value is empty for ENTRY_DELETE */
    slice value;
};

struct iter_suite_set {
    struct iter_suite_entry *entries; /* in internal order, no two the same */
    size_t count;
    uint8_t *bytes; /* what keys and values point into */
};

struct iter_suite_shape {
    size_t key_count;       /* about; a few may fall together */
    unsigned max_versions;  /* of one key, at least 1 */
    size_t max_key_bytes;   /* most keys are shorter than 40 bytes */
    size_t max_value_bytes; /* most values are shorter than 40 bytes */
    uint64_t max_seq;       /* seqs lie in 1..max_seq, most are small */
};

/* 300 keys, 6 versions, keys to 300 bytes, values to 2,000, seqs below 2^56. */
struct iter_suite_shape iter_suite_shape_default(void);

/* Random versions: shared prefixes, keys that are prefixes of others, bytes 0x00
 * and 0xff, long keys, empty values, tombstones, several versions a key. */
struct iter_suite_set *iter_suite_random(struct rng *rng, const struct iter_suite_shape *shape);
/* The same, from versions in any order; the bytes are copied. */
struct iter_suite_set *iter_suite_sorted(const struct iter_suite_entry *entries, size_t count);
void iter_suite_free(struct iter_suite_set *set); /* set may be NULL */

/* Every motion from everywhere against the sorted entries, then random walks with
 * changes of direction. Fails the test at the first difference. */
void iter_suite_check(struct iter *it, const struct iter_suite_entry *sorted, size_t n,
                      struct rng *rng);

/* Expect the iterator at sorted[index], or invalid when index is n. `motion` names
 * the motion in the message. */
void iter_suite_expect(const struct iter *it, const struct iter_suite_entry *sorted, size_t n,
                       size_t index, const char *motion);

/* Where a motion must lead: an index, or n for "invalid". */
size_t iter_suite_seek_index(const struct iter_suite_entry *sorted, size_t n, slice key,
                             uint64_t seq);
size_t iter_suite_before_index(const struct iter_suite_entry *sorted, size_t n, slice key);

#endif
