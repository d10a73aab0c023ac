/* manifest.h - the log of version edits: the only truth about which files make
 * up a store. The layout is in engine/FORMAT.md, "Manifest".
 *
 * One file, MANIFEST, begins with a header and a record that states the whole
 * store; each further record is an edit, synced before anything relies on it. A
 * torn last record is the trace of a crash and is ignored (and overwritten by the
 * next append); any other damage is KEVO_CORRUPT. When the log has grown past
 * what its contents need it is written anew as MANIFEST.new, synced, renamed over
 * MANIFEST, and the directory synced. */
#ifndef KEVO_TREE_MANIFEST_H
#define KEVO_TREE_MANIFEST_H

#include "engine/tree/version.h"

struct edit_file {
    unsigned level;
    struct table_file *file; /* a reference of the edit's */
};

struct edit_delete {
    unsigned level;
    uint64_t number;
};

/* A change of the store, or a piece of its state. Fields that are not set (has_*
 * false) stay as they were. */
struct version_edit {
    struct edit_file *added;
    size_t added_count, added_cap;
    struct edit_delete *deleted;
    size_t deleted_count, deleted_cap;
    bool has_next_file, has_wal_floor, has_flushed, has_committed;
    uint64_t next_file;           /* no file of this number or above was ever used */
    uint64_t wal_floor;           /* log segments below this number are not needed */
    struct kevo_commit flushed;   /* every batch up to this one is in tables */
    struct kevo_commit committed; /* a batch known committed; sets virgin to false */
};

void edit_init(struct version_edit *e);
void edit_release(struct version_edit *e);
/* Takes a reference of its own on `file`. KEVO_NOMEM. */
int edit_add_file(struct version_edit *e, unsigned level, struct table_file *file,
                  struct kevo_err *err);
int edit_delete_file(struct version_edit *e, unsigned level, uint64_t number, struct kevo_err *err);

/* What a manifest says. */
struct manifest_state {
    uint8_t uuid[16];
    int authority; /* enum kevo_authority */
    uint64_t next_file, wal_floor;
    struct kevo_commit flushed, committed;
    struct version *version;
};

struct manifest;

/* Make a new store's manifest in home->dir, which exists and holds none: MANIFEST.new
 * written, synced, renamed, directory synced. state->version is empty. */
int manifest_create(const struct table_home *home, const struct manifest_state *state,
                    unsigned file_mode, struct manifest **m, struct kevo_err *err);

/* Read the manifest of an existing store; changes nothing on disk. state->version
 * is the caller's to unref. KEVO_CANTOPEN when there is none. */
int manifest_open(const struct table_home *home, unsigned file_mode, struct manifest **m,
                  struct manifest_state *state, struct kevo_err *err);

/* Make an edit durable, then apply it to *state (state->version is replaced, the
 * old one unreferenced). After a failure nothing has changed in *state and the
 * manifest refuses further appends with KEVO_READONLY: what is on disk is not
 * known until it is opened again. One thread at a time. */
int manifest_append(struct manifest *m, const struct version_edit *edit,
                    struct manifest_state *state, struct kevo_err *err);

void manifest_close(struct manifest *m); /* m may be NULL */

#endif
