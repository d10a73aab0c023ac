/* adopt.h - kevo_adopt(): a database and a store that tell different stories agree again.
 *
 * The marker says which batch was committed last. If the store has it and what came later can still
 * be dropped, that is done, as the next writer would, and the marker made anew. Else the store is
 * taken as it is: its newest batch becomes the marker, and its id that of the store which the
 * database names. Both are part of one SQLite transaction; of the store nothing changes but that
 * its log is synced and whose it is (claim.h), after the commit. */
#ifndef KEVO_EXT_ADOPT_H
#define KEVO_EXT_ADOPT_H

#include "ext/session.h"

/* Only outside of a transaction and while no statement reads the store's tables. *report, for
 * sqlite3_free, says what was dropped and what was taken: "ok" when they agreed. */
int adopt(struct session *s, char **report, char **message);

#endif
