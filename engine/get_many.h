/* get_many.h - what kevo.h has of point reads, for several keys at once. */
#ifndef KEVO_GET_MANY_H
#define KEVO_GET_MANY_H

#include "engine/kevo.h"

/* The values of several keys, as kevo_get() would find them, by a `read` without a transaction. Their
 * waits for memory overlap, so this takes less time than to ask for one after the other. found[i]
 * tells whether there is a values[i], which is to be released. *count is at first how many keys there
 * are, then how many were asked for: fewer when one fails, none when the first one does, and only
 * then is that an error. */
enum { KEVO_GET_MANY = 16 }; /* at most */
int kevo_get_many(kevo_store *store, const struct kevo_read *read, const struct kevo_slice *keys,
                  unsigned *count, struct kevo_value *values, bool *found, struct kevo_err *err);

#endif
