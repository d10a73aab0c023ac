/* claim.h - which database file a store belongs to.
 *
 * A copy of a database names the same store in its marker as the original. If it also finds the
 * same directory, since it lies beside the original or the directory is an absolute path,
 * then each of them would write what the other does not know. So the store keeps whose it is:
 * device, inode and path of the database file (kevo_set_owner(); the layout is in
 * engine/FORMAT.md, "Marker"). Another file is refused as long as the one of that path is a database
 * that names this very store too. Once that one is gone or names another store the file was moved,
 * or copied along with its store, and takes the claim over.
 *
 * The path decides, not the inode: a file restored by way of rename has another inode, and inodes
 * are given out again. The inode counts only when what lies at the path cannot be looked at.
 *
 * Results are SQLite codes; *message is set by sqlite3_mprintf on failure. */
#ifndef KEVO_EXT_CLAIM_H
#define KEVO_EXT_CLAIM_H

#include "engine/kevo.h"
#include "ext/sqlite_api.h"

/* Whether the database may have the store, which is open and lies in directory `path`.
 * SQLITE_CANTOPEN: another one has it; SQLITE_BUSY: another one may have it, and is locked. */
int claim_check(sqlite3 *db, const char *schema, const char *path, kevo_store *store,
                char **message);

/* Whether the store has been this database's since it was last opened for writing: the claim has its
 * path. */
bool claim_is_held(sqlite3 *db, const char *schema, kevo_store *store);

/* From now on the store is this database's. Writes nothing when that is known already. */
int claim_take(sqlite3 *db, const char *schema, kevo_store *store, char **message);

#endif
