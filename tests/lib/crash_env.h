/* crash_env.h - files in memory that remember what a power loss would leave.
 *
 * For each file it knows the bytes that were synced, sector by sector, and for
 * each directory the changes of names since its last sync_dir. At any moment an
 * image can be drawn: a fresh crash_env, all of it durable, that holds what a disk
 * could hold after the power failed now.
 *
 *   CRASH_DROPPED  nothing that was not synced is there
 *   CRASH_KEPT     everything is there
 *   CRASH_RANDOM   of each unsynced sector the old, the new, or a version between;
 *                  sizes the old, the new or, of a file that grew, between; grown
 *                  parts without data reading as zeros; names created, removed or
 *                  renamed since the last sync_dir so or not so, each alone or a
 *                  prefix of them
 *   CRASH_GARBAGE  as RANDOM, but an unsynced sector may also hold random bytes
 *
 * A rename is atomic, and so is a truncation: file systems change the size, not what is
 * cut off. A sector (512 bytes; in some images 4 KB) is never torn. Renames between two
 * directories are refused. A file with several names is several
 * files in an image, drawn apart.
 *
 *     struct env *e = crash_env_new();
 *     for (uint64_t n = 0;; n++) {
 *         crash_env_stop_after(e, n);      ... the workload, until it fails ...
 *         struct env *image = crash_env_image(e, mode, seed);
 *         ... open the store in the image and look ...
 *     }
 *
 * Threads: any. Its own memory comes from malloc, the files' from the engine's
 * allocator. */
#ifndef KEVO_TESTS_CRASH_ENV_H
#define KEVO_TESTS_CRASH_ENV_H

#include "engine/base/env.h"

enum crash_mode { CRASH_DROPPED, CRASH_KEPT, CRASH_RANDOM, CRASH_GARBAGE, CRASH_MODES };

struct env *crash_env_new(void); /* aborts when there is no memory */
void crash_env_free(struct env *env);

/* What the disk could hold. The same seed draws the same image. The env itself
 * stays as it is and in use. */
struct env *crash_env_image(struct env *env, enum crash_mode mode, uint64_t seed);

/* Changes made so far: writes, syncs, truncations, allocations, names made, linked, removed,
 * renamed, directories made, removed and synced. */
uint64_t crash_env_changes(struct env *env);

/* Call `watch` before each change, which waits for it; from there images may be drawn, and
 * nothing else be asked of the env. NULL: no more. */
void crash_env_watch(struct env *env, void (*watch)(void *arg), void *arg);

/* The power goes off after `n` more changes: from then on every call that changes
 * something, and every open, fails with KEVO_IOERR and does nothing. UINT64_MAX:
 * never (so it begins). */
void crash_env_stop_after(struct env *env, uint64_t n);
bool crash_env_stopped(struct env *env); /* whether a call was refused so */

/* Fail the n-th sync from now, 1-based, once (0: none), as disks do: with
 * KEVO_IOERR, and what it should have made durable never will be, though reading
 * shows it and later syncs succeed. */
void crash_env_fail_sync(struct env *env, uint64_t n);

#endif
