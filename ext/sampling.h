/* sampling.h - how many rows have the same value, about, for the planner.
 *
 * A join compares a column with a value that nobody knows yet, so what counts is how many
 * rows an average value has: of two columns with an index one may tell rows apart and the
 * other have three values. SQLite's ANALYZE knows that for its own tables; here it is found
 * out when the planner asks: a few keys are looked at whose places are spread evenly over the
 * table or index, and for each the size g of the group of keys that begin with the same
 * columns is counted or, when it is large, estimated by kevo_approximate_count(). A row
 * taken at random is in a large group more often than in a small one, by the factor g; so
 * the harmonic mean of the sizes is the mean over groups, as the number of keys divided by
 * the number of groups.
 *
 * What was found is kept until the table has become twice as large, or half as large. Looking
 * at the keys takes some hundred microseconds, once. */
#ifndef KEVO_EXT_SAMPLING_H
#define KEVO_EXT_SAMPLING_H

#include "engine/kevo.h"
#include "sql/schema.h"

struct sampled; /* what is known of one table or index */

/* Room for a table and its indexes; NULL without memory. */
struct sampled **sampling_new(const struct schema *s);
void sampling_free(struct sampled **samples, const struct schema *s); /* NULL is fine */

/* About how many keys of the table or index `s` have the same values in its first n columns,
 * 1 <= n. The table has about `rows` rows. Negative: it cannot be told, for example since there
 * are hardly any rows. `samples` is that of the table. Reads the newest committed state. */
double sampling_group_size(struct sampled **samples, kevo_store *store, const struct schema *s,
                           uint32_t table_id, double rows, unsigned n);

#endif
