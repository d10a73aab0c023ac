/* disk_vfs.h - SQLite's files in an env, so that one simulated disk holds a database and
 * its stores.
 *
 * It does what SQLite's VFS for unix does: the directory is synced with the first sync of a
 * journal or WAL file that was made, and after the unlinking of a journal where SQLite asks for
 * that. Temporary files, which no crash needs, lie elsewhere. Locks and shared memory are those
 * of one process and end with the VFS, as with a machine.
 *
 * Threads: as SQLite wants it, a file belongs to a connection; different ones from any thread. */
#ifndef KEVO_TESTS_DISK_VFS_H
#define KEVO_TESTS_DISK_VFS_H

#include <sqlite3.h>

#include "engine/base/env.h"

struct disk_vfs;

/* `powersafe` promises SQLite that a torn write damages nothing beside it
 * (SQLITE_IOCAP_POWERSAFE_OVERWRITE), as its VFS for unix does by default. */
struct disk_vfs *disk_vfs_new(struct env *env, bool powersafe); /* aborts without memory */
/* All its files must be closed. NULL is fine. */
void disk_vfs_free(struct disk_vfs *vfs);

/* For sqlite3_open_v2(). */
const char *disk_vfs_name(const struct disk_vfs *vfs);

#endif
