/* heir.h - taking part in a transaction in the place of tables that were dropped in it.
 *
 * SQLite calls nothing of a table that was dropped, not even when it commits, so what the
 * transaction wrote to it and to others of its store would stay behind, and nobody would be
 * asked to remove its rows. The heir is a virtual table of the connection, kevo_heir, always
 * empty, which is made to join the transaction then. It passes on to the sessions that it has
 * inherited what SQLite tells it of savepoints and of the end.
 *
 * It belongs to the schema main, whatever schema the dropped table is of, and so may be
 * refused: where main may only be read, or another connection is writing to it. */
#ifndef KEVO_EXT_HEIR_H
#define KEVO_EXT_HEIR_H

#include "ext/session.h"

int heir_register(struct connection *connection);

/* Have the heir take part for the session, which is begun if it was not; until the end of
 * the transaction it has a reference. SQLite's write lock of the schema is held. *taken false:
 * it could not be, and nothing has changed. */
int heir_take(struct session *s, bool *taken);

#endif
