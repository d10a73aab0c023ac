/* sharers.h - the sessions of all connections that have a store open, so that one of them can
 * end what another one has forgotten.
 *
 * SQLite tells nobody that a read transaction is over. What a connection has seen in BEGIN ...
 * COMMIT without writing stays pinned until its next use of a kevo table; when it idles, old
 * versions would pile up for it. So a writer that is about to flush looks at the others.
 *
 * Threads: any. A session's own fields are looked at with its connection's mutex held, as it holds
 * it itself whenever SQLite calls it. That one is only tried for, so nobody waits for a
 * connection that is busy, and one without a mutex (SQLITE_OPEN_NOMUTEX) is left alone. */
#ifndef KEVO_EXT_SHARERS_H
#define KEVO_EXT_SHARERS_H

#include "ext/session.h"

/* The session has opened its store, and: it closes it. The latter may be said again. */
void sharers_add(struct session *s);
void sharers_remove(struct session *s);

/* Give back the snapshots that other connections keep of this session's store, and whose read
 * transactions are over. */
void sharers_drop_idle_snapshots(const struct session *asks);

#endif
