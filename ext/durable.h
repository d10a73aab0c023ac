/* durable.h - what SQLite has committed, made durable by the names of its files. No connection is
 * needed, so any thread may do it: SQLite has no locks on the files that are opened here, which
 * closing them would drop. */
#ifndef KEVO_EXT_DURABLE_H
#define KEVO_EXT_DURABLE_H

#include "engine/kevo.h"

/* Sync the file that is called as the database with `suffix` behind it, if there is one. Errors
 * as from the env. */
int durable_file(const char *database, const char *suffix, struct kevo_err *err);

/* Sync the directory that the database is in. */
int durable_directory(const char *database, struct kevo_err *err);

/* All that was committed before the call, in any journal mode: the log of WAL mode, the end of a
 * rollback journal, and the directory. But with a rollback journal and synchronous=OFF SQLite did
 * not sync the database file itself, and neither does this, for the sake of the locks on it: after
 * a power loss the file may be older than a store that has let go of its log, which is refused
 * then instead of cut to what the file says. */
int durable_database(const char *database, struct kevo_err *err);

#endif
