/* dir.h - the directory of a store: what lies in it, who has it, how it begins and ends.
 *
 * A directory is a store once it has a MANIFEST. While a store is being removed, or copied
 * here, it has MANIFEST.gone and no MANIFEST: what a crash leaves then may be removed, or
 * built over. */
#ifndef KEVO_STORE_DIR_H
#define KEVO_STORE_DIR_H

#include "engine/base/env.h"

enum dir_kind { DIR_MISSING, DIR_EMPTY, DIR_STORE, DIR_UNFINISHED, DIR_HALF_REMOVED, DIR_OTHER };

/* What a directory holds. KEVO_CORRUPT when there is data without a manifest. */
int dir_look(struct env *env, const char *dir, enum dir_kind *kind, struct kevo_err *err);

/* Whether the name is a table's ("sst") or log segment's ("wal"), and its number. */
bool dir_parse_name(const char *name, const char *ending, uint64_t *number);

/* The name of the file that a store is locked by. */
extern const char dir_lock_name[];

/* Take the store's lock for a writer, until the file is closed. It is part of every store:
 * opening one makes none (`create` false). KEVO_BUSY says who has it. */
int dir_lock(struct env *env, const char *dir, bool create, unsigned mode, struct env_file **file,
             struct kevo_err *err);
/* Take the lock for a reader, shared with other readers; changes nothing in the file. */
int dir_lock_shared(struct env *env, const char *dir, struct env_file **file, struct kevo_err *err);
/* A reader becomes the writer, when no other reader has the lock: KEVO_BUSY. KEVO_CANTOPEN
 * when the file may only be read. After a failure it is a reader's lock still. */
int dir_lock_for_writing(struct env *env, const char *dir, struct env_file *file,
                         struct kevo_err *err);

/* Permission bits of a directory whose files have these. */
unsigned dir_search_mode(unsigned file_mode);

/* A power loss must not take away the directory with a store in it. One that was there
 * before (`made` false) may be of a creation that failed, or somebody else's in a place that
 * is not ours to look at. */
int dir_sync_parent(struct env *env, const char *dir, bool made, struct kevo_err *err);

/* Clear a directory of everything a store may have left, but the lock. */
int dir_remove_leftovers(struct env *env, const char *dir, struct kevo_err *err);

/* ---- a store made elsewhere than by kevo_open() --------------------------------- */

struct dir_build {
    struct env *env;
    const char *dir;
    struct env_file *lock;
    bool made, begun;
};

/* Make the directory ready for the files of a store, the manifest last: locked, empty but
 * for the mark that says so. It must be missing, empty, or hold what an interrupted build or
 * removal left: KEVO_CANTOPEN. dir_build_end() follows in any case. */
int dir_build_begin(struct dir_build *b, struct env *env, const char *dir, unsigned file_mode,
                    struct kevo_err *err);

/* The manifest is there and durable (rc 0); or, after a failure, remove everything again as
 * far as that is possible. Returns rc. */
int dir_build_end(struct dir_build *b, int rc);

#endif
