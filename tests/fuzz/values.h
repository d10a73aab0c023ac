/* values.h - the values in random statements: few, so that they meet again, and those among them that
 * are easily mistaken for one another. */
#ifndef KEVO_TESTS_VALUES_H
#define KEVO_TESTS_VALUES_H

#include "tests/fuzz/statements.h"

/* One of the type of fuzz_bind. */
struct fuzz_bind fuzz_random_value(struct rng *r, char type);
/* Of the column's type mostly, else of any. */
struct fuzz_bind fuzz_column_value(const struct fuzz_table *t, unsigned column, struct rng *r);

/* Give the statement its values. */
void fuzz_bind_all(const struct fuzz_statement *s, sqlite3_stmt *stmt);

/* As SQL. */
void fuzz_put_literal(sqlite3_str *out, const struct fuzz_bind *v);

#endif
