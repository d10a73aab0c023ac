/* harness.h - what every test program shares: running a Check suite, random
 * numbers with a printed seed, an allocator that fails on demand, scratch
 * directories. */
#ifndef KEVO_TESTS_HARNESS_H
#define KEVO_TESTS_HARNESS_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/kevo.h"

/* Check's own notes each assertion that holds in a file, to tell where a test was when
 * it crashed. The sanitizers tell that too, and tests make millions of assertions. */
#undef ck_assert_msg
#define ck_assert_msg(expr, ...)                                                                   \
    ((expr) ? (void)0                                                                              \
            : _ck_assert_failed(__FILE__, __LINE__, "Assertion '" #expr "' failed", __VA_ARGS__))

/* Run the suite, print Check's summary, return main()'s exit status. */
int harness_run(Suite *suite);

/* The seed of this run: KEVO_SEED if set, else from the clock. Printed once. */
uint64_t harness_seed(void);

/* A count from the environment, for longer runs: e.g. harness_count("KEVO_OPS", 20000). */
uint64_t harness_count(const char *variable, uint64_t standard);

struct rng {
    uint64_t state;
};
struct rng rng_of(uint64_t seed);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* 0 <= x < n */

/* Expect KEVO_OK; on failure print the code's name and message. */
#define ck_ok(call)                                                                                \
    do {                                                                                           \
        int ck_rc_ = (call);                                                                       \
        ck_assert_msg(ck_rc_ == 0, "%s: %d, %s", #call, ck_rc_, test_err.msg);                     \
    } while (0)
/* Pass &test_err to the calls under test. */
extern struct kevo_err test_err;

/* The engine's allocator, counted. Installed by harness_run for all tests. */
/* Fail the n-th request from now, 1-based, and all after it when `for_good`; 0: off. */
void fault_alloc_fail_at(uint64_t n, bool for_good);
bool fault_alloc_hit(void);      /* whether a request was refused; 0 above keeps the answer */
uint64_t fault_alloc_live(void); /* blocks not freed */

/* A new empty directory below $TMPDIR or /tmp, removed with all in it at exit of
 * the process that made it. */
const char *scratch_dir(void);

/* For threads, which Check's own assertions are not for. */
#define sure(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
