/* array_iter.h - the simplest struct iter: over a sorted array of versions.
 *
 * Each motion shows the entry in fresh memory and frees what it showed before, so
 * that an address sanitizer sees every use of a key or value past its life. */
#ifndef KEVO_TESTS_ARRAY_ITER_H
#define KEVO_TESTS_ARRAY_ITER_H

#include "tests/lib/iter_suite.h"

/* The entries are borrowed. Aborts when there is no memory. */
struct iter *array_iter_new(const struct iter_suite_entry *sorted, size_t count);

/* Let the n-th motion from now fail with KEVO_IOERR, once; 0: never. */
void array_iter_fail_at(struct iter *it, uint64_t n);

/* ck_ok for calls that are made very often: Check notes each of its own assertions
 * in a file. */
#define must(call)                                                                                 \
    do {                                                                                           \
        int must_rc_ = (call);                                                                     \
        if (must_rc_) ck_abort_msg("%s: %d, %s", #call, must_rc_, test_err.msg);                   \
    } while (0)

/* Motions made so far, by all of these iterators. */
extern uint64_t array_iter_motions;
/* Iterators not closed. */
extern uint64_t array_iter_live;

#endif
