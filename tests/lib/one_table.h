/* one_table.h - a table in memory made from a set of entries, and its answers
 * against that set. */
#ifndef KEVO_TESTS_ONE_TABLE_H
#define KEVO_TESTS_ONE_TABLE_H

#include "engine/table/table.h"
#include "tests/lib/iter_suite.h"

#define ONE_TABLE_NUMBER 42
#define ONE_TABLE_PATH   "/000042.sst"

struct one_table {
    struct env *env; /* in memory, with this file alone */
    struct cache *cache;
    struct table_summary summary;
    struct table *table; /* open, or NULL */
};

/* Some 60 keys from the run's seed. */
struct iter_suite_set *one_table_set(void);

/* What every table that is written gets besides; NULL: none. */
extern const struct range_set *one_table_ranges;

/* Restart interval 16, the rest as given. */
struct table_writer_options table_options(uint32_t block_bytes, int compression,
                                          uint32_t filter_bits);

/* Write, open and close; the test fails when that does. */
void one_table_init(struct one_table *o, const struct iter_suite_set *set,
                    const struct table_writer_options *options, uint64_t cache_bytes);
void one_table_release(struct one_table *o);

/* The steps of it, for tests in which they may fail. */
int one_table_write(struct env *env, const char *path, const struct iter_suite_set *set,
                    const struct table_writer_options *options, struct table_summary *summary);
int one_table_open(struct one_table *o); /* as o->summary says */
void one_table_close(struct one_table *o);
void table_summary_release(struct table_summary *summary);

/* Write a table of the set to ONE_TABLE_PATH of env, open it and ask for everything
 * in it; 0 or the first error, with nothing left behind but the file. */
int one_table_life(struct env *env, const struct iter_suite_set *set);

/* Ask for each version, and what lies before and, if wanted, beside it. 0 when all
 * answers were right, or the error that was reported; a wrong answer fails the
 * test. */
int check_gets(struct table *t, struct cache *cache, const struct iter_suite_set *set, bool misses);

/* All entries forward and backward, likewise. */
int check_scans(struct table *t, const struct iter_suite_set *set, bool keep);

#endif
