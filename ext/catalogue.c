#include "ext/catalogue.h"

#include <string.h>

#include "ext/inner_sql.h"
#include "ext/marker.h"
#include "ext/shadow.h"

/* How many columns a query's program fetches: not those for which an authorizer has put NULL by
 * SQLITE_IGNORE. */
static int count_fetched(sqlite3 *db, const char *schema, const char *query, int *count,
                         char **message) {
    sqlite3_stmt *stmt;
    *count = 0;
    int rc = shadow_prepare(db, &stmt, message, query, schema);
    if (rc != SQLITE_OK) return rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *opcode = (const char *)sqlite3_column_text(stmt, 1);
        *count += opcode && (strcmp(opcode, "Column") == 0 || strcmp(opcode, "Rowid") == 0);
    }
    if (rc != SQLITE_DONE) shadow_fail(db, rc, message);
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The result of a statement that could not be prepared because of `why`; a table that is missing is
 * no failure. */
static int unless_missing(int rc, char *why, char **message) {
    if (rc == SQLITE_ERROR) {
        sqlite3_free(why);
        return SQLITE_OK;
    }
    sqlite3_free(*message);
    *message = why;
    return rc;
}

static int refuse_hidden_in(sqlite3 *db, const char *schema, const char *query, int columns,
                            char **message) {
    char *why = NULL;
    int fetched;
    int rc = count_fetched(db, schema, query, &fetched, &why);
    if (rc != SQLITE_OK) return unless_missing(rc, why, message);
    if (fetched >= columns) return SQLITE_OK;
    sqlite3_free(*message);
    *message = sqlite3_mprintf("kevo: the application's authorizer has to let kevo read "
                               "%s.kevo_store and %s.kevo_table",
                               schema, schema);
    return SQLITE_AUTH;
}

/* SQLITE_AUTH when an authorizer hides what is in the tables: looked at before NULLs are taken for
 * the truth, and rows for missing. */
static int refuse_hidden(sqlite3 *db, const char *schema, char **message) {
    static const char stores[] =
        "EXPLAIN SELECT id, directory, uuid, next_table FROM \"%w\".kevo_store";
    static const char tables[] = "EXPLAIN SELECT store, id, name FROM \"%w\".kevo_table";
    int rc = refuse_hidden_in(db, schema, stores, 4, message);
    return rc == SQLITE_OK ? refuse_hidden_in(db, schema, tables, 3, message) : rc;
}

static int create_table(sqlite3 *db, const char *schema, const char *definition, char **message) {
    sqlite3_stmt *stmt;
    int rc = shadow_prepare(db, &stmt, message, "CREATE TABLE IF NOT EXISTS \"%w\".%s", schema,
                            definition);
    return rc == SQLITE_OK ? shadow_finish(db, stmt, message) : rc;
}

int catalogue_init(sqlite3 *db, const char *schema, char **message) {
    static const char *const definitions[] = {
        "kevo_store(id INTEGER PRIMARY KEY, directory TEXT, uuid BLOB NOT NULL, "
        "next_table INTEGER NOT NULL)",
        "kevo_marker(store INTEGER PRIMARY KEY, state BLOB NOT NULL, log BLOB)",
        "kevo_table(store INTEGER NOT NULL, id INTEGER NOT NULL, "
        "name TEXT COLLATE NOCASE UNIQUE, PRIMARY KEY(store, id)) WITHOUT ROWID",
    };
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof definitions / sizeof definitions[0]; i++)
        rc = create_table(db, schema, definitions[i], message);
    return rc;
}

/* Columns first, first + 1, first + 2: id, directory, uuid. */
static int read_store(sqlite3_stmt *stmt, int first, const char *schema,
                      struct catalogue_store *store, char **message) {
    *store = (struct catalogue_store){.row = sqlite3_column_int64(stmt, first)};
    const void *uuid = sqlite3_column_blob(stmt, first + 2);
    if (!uuid || sqlite3_column_bytes(stmt, first + 2) != (int)sizeof store->uuid) {
        int rc = refuse_hidden(sqlite3_db_handle(stmt), schema, message);
        if (rc != SQLITE_OK) return rc;
        return shadow_corrupt(
            schema,
            "kevo_store: the uuid is damaged; put back a backup of the database file, "
            "or DROP TABLE all kevo tables and DELETE that row",
            message);
    }
    memcpy(store->uuid, uuid, sizeof store->uuid);
    if (sqlite3_column_type(stmt, first + 1) != SQLITE_NULL) {
        store->directory = sqlite3_mprintf("%s", sqlite3_column_text(stmt, first + 1));
        if (!store->directory) return SQLITE_NOMEM;
    }
    return SQLITE_OK;
}

static int damaged_id(sqlite3 *db, const char *schema, char **message) {
    int rc = refuse_hidden(db, schema, message);
    return rc == SQLITE_OK ? shadow_corrupt(schema, "kevo_table: a table's id is damaged", message)
                           : rc;
}

static int not_named(sqlite3 *db, const char *schema, const char *table, char **message) {
    int rc = refuse_hidden(db, schema, message);
    if (rc != SQLITE_OK) return rc;
    sqlite3_free(*message);
    *message = sqlite3_mprintf("kevo: %s.kevo_table and kevo_store do not name the store of "
                               "table %s; put back a backup of the database file, or DROP TABLE it",
                               schema, table);
    return SQLITE_CORRUPT_VTAB;
}

int catalogue_find_table(sqlite3 *db, const char *schema, const char *table,
                         struct catalogue_store *store, uint32_t *table_id, char **message) {
    sqlite3_stmt *stmt;
    *store = (struct catalogue_store){.row = 0};
    int rc = shadow_prepare(db, &stmt, message,
                            "SELECT s.id, s.directory, s.uuid, t.id FROM \"%w\".kevo_table t "
                            "JOIN \"%w\".kevo_store s ON s.id = t.store WHERE t.name = ?1",
                            schema, schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        rc = read_store(stmt, 0, schema, store, message);
        sqlite3_int64 id = sqlite3_column_int64(stmt, 3);
        *table_id = (uint32_t)id;
        if (rc == SQLITE_OK && (id < 1 || id > UINT32_MAX)) rc = damaged_id(db, schema, message);
    } else if (rc == SQLITE_DONE) {
        rc = not_named(db, schema, table, message);
    } else {
        shadow_fail(db, rc, message);
    }
    sqlite3_finalize(stmt);
    return rc;
}

int catalogue_each_store(sqlite3 *db, const char *schema,
                         bool (*visit)(void *arg, const struct catalogue_store *store), void *arg,
                         bool *found, char **message) {
    sqlite3_stmt *stmt;
    *found = false;
    int rc = refuse_hidden(db, schema, message);
    if (rc == SQLITE_OK)
        rc = shadow_prepare(db, &stmt, message, "SELECT id, directory, uuid FROM \"%w\".kevo_store",
                            schema);
    if (rc != SQLITE_OK) return rc;
    while (!*found && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct catalogue_store store;
        rc = read_store(stmt, 0, schema, &store, message);
        if (rc == SQLITE_OK) *found = visit(arg, &store);
        sqlite3_free(store.directory);
        if (rc != SQLITE_OK) break;
    }
    if (rc == SQLITE_DONE)
        rc = SQLITE_OK;
    else if (rc != SQLITE_OK && !*message)
        shadow_fail(db, rc, message);
    sqlite3_finalize(stmt);
    return rc;
}

/* Not under a number that tables still have whose store's row was deleted. */
static int insert_store(sqlite3 *db, const char *schema, struct catalogue_store *store,
                        char **message) {
    sqlite3_stmt *stmt;
    int rc = shadow_prepare(
        db, &stmt, message,
        "INSERT INTO \"%w\".kevo_store(id, directory, uuid, next_table) "
        "SELECT coalesce(max(id), 0) + 1, ?1, ?2, 1 FROM (SELECT id FROM "
        "\"%w\".kevo_store UNION ALL SELECT store FROM \"%w\".kevo_table) RETURNING id",
        schema, schema, schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_text(stmt, 1, store->directory, -1, SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 2, store->uuid, sizeof store->uuid, SQLITE_STATIC);
    sqlite3_int64 rowid = sqlite3_last_insert_rowid(db);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        store->row = sqlite3_column_int64(stmt, 0);
        rc = SQLITE_OK;
    } else {
        shadow_fail(db, rc, message);
    }
    sqlite3_finalize(stmt);
    sqlite3_set_last_insert_rowid(db, rowid);
    return rc;
}

int catalogue_add_store(sqlite3 *db, const char *schema, struct catalogue_store *store,
                        struct kevo_commit last, char **message) {
    int rc = insert_store(db, schema, store, message);
    return rc == SQLITE_OK ? marker_put(db, schema, store->row, last, message) : rc;
}

static int store_is_lost(const char *schema, char **message) {
    return shadow_corrupt(schema, "kevo_store: the store's row is missing", message);
}

int catalogue_read_uuid(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint8_t uuid[16],
                        char **message) {
    sqlite3_stmt *stmt;
    struct catalogue_store store = {.row = 0};
    int rc =
        shadow_prepare(db, &stmt, message,
                       "SELECT id, directory, uuid FROM \"%w\".kevo_store WHERE id = ?1", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        rc = read_store(stmt, 0, schema, &store, message);
    else if (rc == SQLITE_DONE)
        rc = store_is_lost(schema, message);
    else
        shadow_fail(db, rc, message);
    if (rc == SQLITE_OK) memcpy(uuid, store.uuid, sizeof store.uuid);
    sqlite3_free(store.directory);
    sqlite3_finalize(stmt);
    return rc;
}

int catalogue_adopt(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                    const uint8_t uuid[16], struct kevo_commit last, char **message) {
    sqlite3_stmt *stmt;
    int rc = shadow_prepare(db, &stmt, message,
                            "UPDATE \"%w\".kevo_store SET uuid = ?2 WHERE id = ?1 "
                            "RETURNING uuid IS ?2",
                            schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_blob(stmt, 2, uuid, 16, SQLITE_STATIC);
    rc = shadow_update(db, stmt, message);
    return rc == SQLITE_OK ? marker_put(db, schema, store_row, last, message) : rc;
}

/* The id that the next table of the store is given. */
static int read_next_id(sqlite3 *db, const char *schema, sqlite3_int64 store_row, sqlite3_int64 *id,
                        char **message) {
    sqlite3_stmt *stmt;
    int rc = refuse_hidden(db, schema, message);
    if (rc == SQLITE_OK)
        rc = shadow_prepare(db, &stmt, message,
                            "SELECT next_table FROM \"%w\".kevo_store WHERE id = ?1", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *id = sqlite3_column_int64(stmt, 0);
        rc = *id >= 1 && *id <= UINT32_MAX
                 ? SQLITE_OK
                 : shadow_corrupt(schema, "kevo_store: next_table is damaged", message);
    } else if (rc == SQLITE_DONE) {
        rc = store_is_lost(schema, message);
    } else {
        shadow_fail(db, rc, message);
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* Take the next id of the store, or make sure that no later one is `*table_id`. */
static int take_id(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint32_t *table_id,
                   char **message) {
    sqlite3_stmt *stmt;
    sqlite3_int64 next = 0;
    int rc = read_next_id(db, schema, store_row, &next, message);
    if (rc == SQLITE_OK)
        rc = shadow_prepare(db, &stmt, message,
                            "UPDATE \"%w\".kevo_store SET next_table = ?2 WHERE id = ?1 "
                            "RETURNING next_table = ?2",
                            schema);
    if (rc != SQLITE_OK) return rc;
    if (*table_id == 0) *table_id = (uint32_t)next;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_int64(stmt, 2, (next > *table_id ? next : *table_id) + 1);
    return shadow_update(db, stmt, message);
}

/* What the statement has failed with that gave a table that name. SQLite says that the schema has no
 * such table, so its definition was deleted there (PRAGMA writable_schema), not by DROP. */
static int explain_taken(int rc, const char *schema, const char *table, char **message) {
    if ((rc & 0xff) != SQLITE_CONSTRAINT || !*message || !strstr(*message, "kevo_table.name"))
        return rc;
    sqlite3_free(*message);
    *message = sqlite3_mprintf("kevo: %s.kevo_table still has a table %s, whose definition was "
                               "deleted from sqlite_schema; "
                               "put that back, or give up its rows: UPDATE \"%w\".kevo_table SET "
                               "name = NULL WHERE name = %Q",
                               schema, table, schema, table);
    return SQLITE_CORRUPT_VTAB;
}

int catalogue_add_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, const char *table,
                        uint32_t *table_id, char **message) {
    sqlite3_stmt *stmt;
    int rc = take_id(db, schema, store_row, table_id, message);
    if (rc == SQLITE_OK)
        rc = shadow_prepare(db, &stmt, message,
                            "INSERT INTO \"%w\".kevo_table(store, id, name) VALUES(?1, ?2, ?3)",
                            schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_int64(stmt, 2, *table_id);
    sqlite3_bind_text(stmt, 3, table, -1, SQLITE_STATIC);
    return explain_taken(shadow_finish(db, stmt, message), schema, table, message);
}

/* Whether a query with two numbers gives a row; not when a table in it is missing. */
static int exists(sqlite3 *db, const char *schema, const char *query, sqlite3_int64 first,
                  sqlite3_int64 second, bool *found, char **message) {
    sqlite3_stmt *stmt;
    char *why = NULL;
    *found = false;
    int rc = inner_prepare(db, 0, &stmt, &why, query, schema);
    if (rc != SQLITE_OK) return unless_missing(rc, why, message);
    sqlite3_bind_int64(stmt, 1, first);
    sqlite3_bind_int64(stmt, 2, second);
    rc = sqlite3_step(stmt);
    *found = rc == SQLITE_ROW;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) shadow_fail(db, rc, message);
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int catalogue_has_store(sqlite3 *db, const char *schema, sqlite3_int64 store_row, bool *found,
                        char **message) {
    return exists(db, schema, "SELECT 1 FROM \"%w\".kevo_store WHERE id = ?1 + ?2", store_row, 0,
                  found, message);
}

int catalogue_has_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint32_t table_id,
                        bool *found, char **message) {
    int rc = exists(db, schema, "SELECT 1 FROM \"%w\".kevo_table WHERE store = ?1 AND id = ?2",
                    store_row, table_id, found, message);
    return rc == SQLITE_OK && !*found ? refuse_hidden(db, schema, message) : rc;
}

int catalogue_table_is_live(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                            uint32_t table_id, bool *live, char **message) {
    return exists(db, schema,
                  "SELECT 1 FROM \"%w\".kevo_table WHERE store = ?1 AND id = ?2 AND name IS NOT "
                  "NULL",
                  store_row, table_id, live, message);
}

int catalogue_store_is_used(sqlite3 *db, const char *schema, sqlite3_int64 store_row, bool *used,
                            char **message) {
    return exists(db, schema,
                  "SELECT 1 FROM \"%w\".kevo_table WHERE store = ?1 + ?2 AND name IS NOT NULL",
                  store_row, 0, used, message);
}

int catalogue_forget_store(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                           char **message) {
    static const char *const wheres[] = {"kevo_table WHERE store", "kevo_marker WHERE store",
                                         "kevo_store WHERE id"};
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof wheres / sizeof wheres[0]; i++) {
        sqlite3_stmt *stmt;
        rc = shadow_prepare(db, &stmt, message, "DELETE FROM \"%w\".%s = ?1", schema, wheres[i]);
        if (rc != SQLITE_OK) break;
        sqlite3_bind_int64(stmt, 1, store_row);
        rc = shadow_finish(db, stmt, message);
    }
    return rc;
}

int catalogue_has_stray(sqlite3 *db, const char *schema, const char *except, bool *found,
                        char **message) {
    sqlite3_stmt *stmt;
    *found = false;
    int rc = shadow_prepare(
        db, &stmt, message,
        "SELECT 1 FROM \"%w\".sqlite_master WHERE type = 'table' AND rootpage = 0 "
        "AND instr(lower(sql), 'kevo') AND name COLLATE NOCASE NOT IN "
        "(SELECT name FROM \"%w\".kevo_table WHERE name NOT NULL UNION ALL SELECT ?1)",
        schema, schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_text(stmt, 1, except, -1, SQLITE_STATIC);
    rc = sqlite3_step(stmt);
    *found = rc == SQLITE_ROW;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) shadow_fail(db, rc, message);
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int catalogue_forget_stray(sqlite3 *db, const char *schema, const char *table, char **message) {
    sqlite3_stmt *stmt;
    char *why = NULL;
    int rc = inner_prepare(db, 0, &stmt, &why, "DELETE FROM \"%w\".kevo_table WHERE name = %Q",
                           schema, table);
    return rc == SQLITE_OK ? shadow_finish(db, stmt, message) : unless_missing(rc, why, message);
}

int catalogue_rename_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                           uint32_t table_id, const char *name, char **message) {
    sqlite3_stmt *stmt;
    int rc = refuse_hidden(db, schema, message);
    if (rc == SQLITE_OK)
        rc = shadow_prepare(db, &stmt, message,
                            "UPDATE \"%w\".kevo_table SET name = ?3 WHERE store = ?1 AND id = ?2 "
                            "RETURNING name IS ?3",
                            schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_int64(stmt, 2, table_id);
    sqlite3_bind_text(stmt, 3, name, -1, SQLITE_STATIC);
    return explain_taken(shadow_update(db, stmt, message), schema, name, message);
}

int catalogue_drop_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                         uint32_t table_id, char **message) {
    return catalogue_rename_table(db, schema, store_row, table_id, NULL, message);
}

static int visit_dropped(sqlite3 *db, sqlite3_stmt *stmt, const char *schema,
                         int (*visit)(void *arg, uint32_t table_id, char **message), void *arg,
                         char **message) {
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        sqlite3_int64 id = sqlite3_column_int64(stmt, 0);
        if (id < 1 || id > UINT32_MAX) return damaged_id(db, schema, message);
        rc = visit(arg, (uint32_t)id, message);
        if (rc != SQLITE_OK) return rc;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : shadow_fail(db, rc, message);
}

/* Prepare what finds the dropped tables of a store, and what forgets them. */
static int prepare_dropped(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                           sqlite3_stmt **found, sqlite3_stmt **forget, char **message) {
    *forget = NULL;
    int rc = shadow_prepare(db, found, message,
                            "SELECT id FROM \"%w\".kevo_table WHERE store = ?1 AND name IS NULL",
                            schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(*found, 1, store_row);
    rc = sqlite3_step(*found);
    sqlite3_reset(*found);
    if (rc == SQLITE_DONE) return SQLITE_OK;
    if (rc != SQLITE_ROW) return shadow_fail(db, rc, message);
    /* A hidden name must not pass for that of a dropped table. */
    rc = refuse_hidden(db, schema, message);
    if (rc == SQLITE_OK)
        rc = shadow_prepare(db, forget, message,
                            "DELETE FROM \"%w\".kevo_table WHERE store = ?1 AND name IS NULL",
                            schema);
    if (rc == SQLITE_OK) sqlite3_bind_int64(*forget, 1, store_row);
    return rc;
}

int catalogue_take_dropped(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                           int (*visit)(void *arg, uint32_t table_id, char **message), void *arg,
                           char **message) {
    sqlite3_stmt *found, *forget;
    int rc = prepare_dropped(db, schema, store_row, &found, &forget, message);
    if (rc == SQLITE_OK && forget) rc = visit_dropped(db, found, schema, visit, arg, message);
    sqlite3_finalize(found);
    if (rc == SQLITE_OK && forget) return shadow_finish(db, forget, message);
    sqlite3_finalize(forget);
    return rc;
}
