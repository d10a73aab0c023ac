/* edit.h - a change of the store's set of files and of its few numbers, in memory
 * and as the payload of a manifest record (engine/FORMAT.md, "Manifest"). */
#ifndef KEVO_TREE_EDIT_H
#define KEVO_TREE_EDIT_H

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
 * false) stay as they were. Deletions come before additions: a file that moves is
 * deleted from one level and added to the other. */
struct version_edit {
    struct edit_file *added;
    size_t added_count, added_cap;
    struct edit_delete *deleted;
    size_t deleted_count, deleted_cap;
    bool has_next_file, has_wal_floor, has_flushed, has_committed, has_options, has_ingested,
        has_owner;
    uint64_t next_file;           /* no file of this number or above was ever used; it
                                     only grows: a smaller one changes nothing */
    uint64_t wal_floor;           /* log segments below this number are not needed */
    struct kevo_commit flushed;   /* every batch up to this one is in tables */
    struct kevo_commit committed; /* a batch known committed */
    struct buf options;           /* all that are kept: strings, names and values in turn */
    uint64_t ingested;            /* a batch id: what log records up to it say of tables is
                                     done */
    struct buf owner;             /* what the authority is recognised by: any bytes, at most
                                     KEVO_MAX_OWNER_BYTES */
};

void edit_init(struct version_edit *e);
void edit_release(struct version_edit *e);
/* Takes a reference of its own on `file`. KEVO_NOMEM. */
int edit_add_file(struct version_edit *e, unsigned level, struct table_file *file,
                  struct kevo_err *err);
int edit_delete_file(struct version_edit *e, unsigned level, uint64_t number, struct kevo_err *err);

/* Append the edit's payload to `out`; nothing when it changes nothing. KEVO_NOMEM. */
int edit_encode(const struct version_edit *e, struct buf *out, struct kevo_err *err);

/* The edit of a payload; its files belong to `home`. Every number is checked.
 * `name` and `offset` say where the payload lies. KEVO_CORRUPT, KEVO_NOMEM; *e is
 * empty after a failure. */
int edit_decode(slice payload, const struct table_home *home, const char *name, uint64_t offset,
                struct version_edit *e, struct kevo_err *err);

#endif
