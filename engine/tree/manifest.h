/* manifest.h - the log of version edits: the only truth about which files make
 * up a store. The layout is in engine/FORMAT.md, "Manifest".
 *
 * One file, MANIFEST, begins with a header and a record that states the whole
 * store; each further record is an edit, synced before anything relies on it. A
 * torn last record is the trace of a crash and is ignored (and overwritten by the
 * next append); any other damage is KEVO_CORRUPT. When the log has grown past
 * what its contents need it is written anew as MANIFEST.new, synced, renamed over
 * MANIFEST, and the directory synced.
 *
 * After a sync that failed the disk may lack what is read from memory, and no later sync will
 * tell: a file MANIFEST.unsynced is left as a mark, and whoever opens the store next for writing
 * writes the manifest anew before anything else.
 *
 * After a record has been synced an end mark is written behind it, which the next
 * record overwrites: it tells a last record that was damaged later from one that
 * was never whole. Losing a mark loses only that. */
#ifndef KEVO_TREE_MANIFEST_H
#define KEVO_TREE_MANIFEST_H

#include "engine/tree/edit.h"

/* What a manifest says. */
struct manifest_state {
    uint8_t uuid[16];
    int authority; /* enum kevo_authority */
    uint64_t next_file, wal_floor, ingested;
    struct kevo_commit flushed, committed;
    struct version *version;
    struct buf options; /* that are kept: strings, names and values in turn; store/options.h */
    struct buf owner;   /* what the authority is recognised by */
};

/* Give back what the state holds. */
void manifest_state_release(struct manifest_state *state);

struct manifest;

/* Make a new store's manifest in home->dir, which exists and holds none: MANIFEST.new
 * written, synced, renamed, directory synced. state->version is empty. */
int manifest_create(const struct table_home *home, const struct manifest_state *state,
                    unsigned file_mode, struct manifest **m, struct kevo_err *err);

/* Read the manifest of an existing store; changes nothing on disk. *state is the caller's to
 * release. KEVO_CANTOPEN when there is none. */
int manifest_open(const struct table_home *home, unsigned file_mode, struct manifest **m,
                  struct manifest_state *state, struct kevo_err *err);
/* The same for a file that may only be read. Only manifest_make_writable() and
 * manifest_close() may follow. */
int manifest_open_read_only(const struct table_home *home, unsigned file_mode, struct manifest **m,
                            struct manifest_state *state, struct kevo_err *err);
/* Open it for appending after all; nobody has changed it since. */
int manifest_make_writable(struct manifest *m, struct kevo_err *err);

/* What the header alone says, for a manifest that cannot be opened: the store's id and
 * authority. KEVO_CORRUPT when the header is damaged too, KEVO_IOERR and others. */
int manifest_identity(const struct table_home *home, uint8_t uuid[16], int *authority,
                      struct kevo_err *err);

/* Make an edit durable, then apply it to *state (state->version is replaced, the
 * old one unreferenced). After a failure nothing has changed in *state. KEVO_READONLY
 * means that what is on disk is not known until it is opened again: the edit may be
 * in force then, so what it needs must stay; all further appends are refused. After
 * any other failure the edit is certainly not in the manifest, and an append may be
 * tried again. One thread at a time. */
int manifest_append(struct manifest *m, const struct version_edit *edit,
                    struct manifest_state *state, struct kevo_err *err);

/* After manifest_open(), before anything is deleted for what it says, which is *state: what was
 * read may not be durable yet, if its writer was killed. If a sync had failed it is written anew.
 * A failure is final, as for manifest_append(), but for KEVO_FULL and the like. */
int manifest_sync(struct manifest *m, const struct manifest_state *state, struct kevo_err *err);

void manifest_close(struct manifest *m); /* m may be NULL */

#endif
