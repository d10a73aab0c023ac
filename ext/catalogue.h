/* catalogue.h - what a database keeps of its kevo tables and their stores, in two ordinary tables:
 *
 *   kevo_store(id, directory, uuid, next_table)   a row a store
 *   kevo_table(store, id, name)                   a row a table
 *
 * and of each store a marker (marker.h).
 *
 * Tables are known by their id; RENAME changes a name here and nothing in the store.
 * A dropped table's row keeps its id, with a NULL name, until its rows are deleted
 * (dropped.h).
 *
 * These tables are input like any other: a hostile database can hold anything in
 * them. Every value is checked.
 *
 * All functions return SQLite codes; *message is set by sqlite3_mprintf on failure. */
#ifndef KEVO_EXT_CATALOGUE_H
#define KEVO_EXT_CATALOGUE_H

#include "ext/marker.h"

struct catalogue_store {
    sqlite3_int64 row;
    char *directory; /* as given in CREATE, NULL: the default; sqlite3_free */
    uint8_t uuid[16];
};

/* Make the tables, and that of the markers, if they are missing. */
int catalogue_init(sqlite3 *db, const char *schema, char **message);

/* The store and id of a table. SQLITE_CORRUPT_VTAB when it is not there. */
int catalogue_find_table(sqlite3 *db, const char *schema, const char *table,
                         struct catalogue_store *store, uint32_t *table_id, char **message);

/* Call visit for each store of the database until it returns true: *found. */
int catalogue_each_store(sqlite3 *db, const char *schema,
                         bool (*visit)(void *arg, const struct catalogue_store *store), void *arg,
                         bool *found, char **message);

/* Add a store whose marker is `last`; store->row is set. */
int catalogue_add_store(sqlite3 *db, const char *schema, struct catalogue_store *store,
                        struct kevo_commit last, char **message);

/* Give the table a new id of that store, or `*table_id` if it is not 0. */
int catalogue_add_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, const char *table,
                        uint32_t *table_id, char **message);

/* Whether the database knows the store, and whether the store has given out that id, as
 * far as this transaction sees. */
int catalogue_has_store(sqlite3 *db, const char *schema, sqlite3_int64 store_row, bool *found,
                        char **message);
int catalogue_has_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint32_t table_id,
                        bool *found, char **message);

/* Whether the table of that id has a name, which a dropped one has not. */
int catalogue_table_is_live(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                            uint32_t table_id, bool *live, char **message);

/* Whether any table of the store is left, and: forget the store. */
int catalogue_store_is_used(sqlite3 *db, const char *schema, sqlite3_int64 store_row, bool *used,
                            char **message);
int catalogue_forget_store(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                           char **message);

/* Whether the schema has a kevo table, but for the one named, of which it is not known in which
 * store it is, since its row was deleted. And: forget what is left of such a table. */
int catalogue_has_stray(sqlite3 *db, const char *schema, const char *except, bool *found,
                        char **message);
int catalogue_forget_stray(sqlite3 *db, const char *schema, const char *table, char **message);

int catalogue_rename_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                           uint32_t table_id, const char *name, char **message);
int catalogue_drop_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                         uint32_t table_id, char **message);

/* Call visit for each table of the store that was dropped, and forget them; an error of it
 * ends that. SQLITE_AUTH: an authorizer does not let them be seen or forgotten, and none was
 * visited. */
int catalogue_take_dropped(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                           int (*visit)(void *arg, uint32_t table_id, char **message), void *arg,
                           char **message);

/* The id of the store in that row. */
int catalogue_read_uuid(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint8_t uuid[16],
                        char **message);

/* From now on the row is that of the store with this id, and its marker is `last`. */
int catalogue_adopt(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                    const uint8_t uuid[16], struct kevo_commit last, char **message);

#endif
