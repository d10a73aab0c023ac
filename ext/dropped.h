/* dropped.h - the rows of tables that were dropped.
 *
 * DROP TABLE takes the name away from the table's row in kevo_table. When a transaction is
 * about to commit, the rows of such tables and the entries of their indexes are deleted in it,
 * a range each, and the rows of kevo_table with them. So both happen or neither, whatever was
 * rolled back before and whenever the process dies. Mostly that is the transaction of the DROP
 * itself (heir.h), else the next one of any connection that writes to the store. */
#ifndef KEVO_EXT_DROPPED_H
#define KEVO_EXT_DROPPED_H

#include "ext/session.h"

/* Delete what is left of them, in the transaction of the session. *bytes: about how large the
 * tables were on disk; *found: whether there were any. */
int dropped_sweep(struct session *s, bool *found, uint64_t *bytes, char **message);

#endif
