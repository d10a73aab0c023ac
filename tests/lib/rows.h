/* rows.h - tables and values for the tests of sql/. */
#ifndef KEVO_TESTS_ROWS_H
#define KEVO_TESTS_ROWS_H

#include "sql/schema.h"
#include "tests/lib/harness.h"

/* The table `t` with these arguments, separated by '|', as SQLite would pass them. */
int rows_parse(const char *arguments, struct schema **schema);
struct schema *rows_schema(const char *arguments); /* which must be right */

/* A value of that type, often one near a boundary of the codecs. Its bytes live until
 * the next call with the same `slot` (below ROWS_SLOTS). */
enum { ROWS_SLOTS = 64 };
struct value rows_value(struct rng *r, enum value_type type, unsigned slot);

/* A random table with `keys` key columns of random types and directions, and two more
 * columns. */
struct schema *rows_random_schema(struct rng *r, unsigned keys);

/* A random table of up to six columns, with or without a primary key, and one index on up to
 * three of them, of all types and directions, NULL allowed in most. */
struct schema *rows_random_indexed(struct rng *r);

/* The type of value that a column holds; for ANY some type. */
enum value_type rows_type(struct rng *r, enum column_type type);

#endif
