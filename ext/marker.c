#include "ext/marker.h"

#include <stdarg.h>
#include <string.h>

#include "engine/base/coding.h"
#include "ext/inner_sql.h"

enum { OVERFLOW_LINK_BYTES = 4 }; /* of each page that holds nothing but a part of a value */

/* SQLite names a table that the user has not made. */
static void explain_missing(char **message) {
    static const char missing[] = "no such table: ";
    if (!*message || strncmp(*message, missing, sizeof missing - 1) != 0) return;
    const char *way = strstr(*message, "kevo_marker") ? ", or take the store as it is: SELECT "
                                                        "kevo_adopt('TABLE')"
                                                      : ", or DROP TABLE all kevo tables";
    char *longer = sqlite3_mprintf("kevo: %s: kevo keeps there what was committed, and refuses to "
                                   "guess; put back a backup of the database file%s",
                                   *message, way);
    if (!longer) return;
    sqlite3_free(*message);
    *message = longer;
}

/* The connection's own error as a message. */
static int fail(sqlite3 *db, int rc, char **message) {
    inner_error(db, rc, NULL, message);
    explain_missing(message);
    return rc;
}

static int corrupt(const char *schema, const char *what, char **message) {
    sqlite3_free(*message);
    *message = sqlite3_mprintf("kevo: %s.%s", schema, what);
    return SQLITE_CORRUPT_VTAB;
}

static int prepare(sqlite3 *db, sqlite3_stmt **stmt, char **message, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int rc = inner_prepare_va(db, SQLITE_PREPARE_PERSISTENT, stmt, message, format, args);
    va_end(args);
    if (rc != SQLITE_OK) explain_missing(message);
    return rc;
}

/* How many columns a query's program fetches: not those for which an authorizer has put NULL by
 * SQLITE_IGNORE. */
static int count_fetched(sqlite3 *db, const char *schema, const char *query, int *count,
                         char **message) {
    sqlite3_stmt *stmt;
    *count = 0;
    int rc = prepare(db, &stmt, message, query, schema);
    if (rc != SQLITE_OK) return rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *opcode = (const char *)sqlite3_column_text(stmt, 1);
        *count += opcode && (strcmp(opcode, "Column") == 0 || strcmp(opcode, "Rowid") == 0);
    }
    if (rc != SQLITE_DONE) fail(db, rc, message);
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

/* Run a statement that returns nothing, and finalize it. What it inserts is no
 * business of last_insert_rowid(). */
static int finish(sqlite3 *db, sqlite3_stmt *stmt, char **message) {
    sqlite3_int64 rowid = sqlite3_last_insert_rowid(db);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_DONE || rc == SQLITE_ROW) rc = SQLITE_OK;
    if (rc != SQLITE_OK) fail(db, rc, message);
    sqlite3_finalize(stmt);
    sqlite3_set_last_insert_rowid(db, rowid);
    return rc;
}

static int row_is_lost(const char *schema, char **message) {
    return corrupt(schema,
                   "kevo_marker: the store's row is missing; SELECT kevo_adopt('TABLE') makes "
                   "another from what the store has",
                   message);
}

static int open_blob(sqlite3 *db, const char *schema, const char *column, sqlite3_int64 store_row,
                     bool write, sqlite3_blob **blob, char **message) {
    *blob = NULL;
    int rc = sqlite3_blob_open(db, schema, "kevo_marker", column, store_row, write, blob);
    if (rc == SQLITE_OK) return rc;
    static const char missing[] = "no such rowid";
    if (strncmp(sqlite3_errmsg(db), missing, sizeof missing - 1) == 0)
        return row_is_lost(schema, message);
    return fail(db, rc, message);
}

/* After a use of the blob that ended with `rc`. */
static int close_blob(sqlite3 *db, sqlite3_blob *blob, int rc, char **message) {
    if (rc != SQLITE_OK && !*message) fail(db, rc, message);
    int close_rc = sqlite3_blob_close(blob);
    return rc == SQLITE_OK && close_rc != SQLITE_OK ? fail(db, close_rc, message) : rc;
}

static int create_table(sqlite3 *db, const char *schema, const char *definition, char **message) {
    sqlite3_stmt *stmt;
    int rc =
        prepare(db, &stmt, message, "CREATE TABLE IF NOT EXISTS \"%w\".%s", schema, definition);
    return rc == SQLITE_OK ? finish(db, stmt, message) : rc;
}

int marker_init(sqlite3 *db, const char *schema, char **message) {
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
static int read_store(sqlite3_stmt *stmt, int first, const char *schema, struct marker_store *store,
                      char **message) {
    *store = (struct marker_store){.row = sqlite3_column_int64(stmt, first)};
    const void *uuid = sqlite3_column_blob(stmt, first + 2);
    if (!uuid || sqlite3_column_bytes(stmt, first + 2) != (int)sizeof store->uuid) {
        int rc = refuse_hidden(sqlite3_db_handle(stmt), schema, message);
        if (rc != SQLITE_OK) return rc;
        return corrupt(schema,
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
    return rc == SQLITE_OK ? corrupt(schema, "kevo_table: a table's id is damaged", message) : rc;
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

int marker_find_table(sqlite3 *db, const char *schema, const char *table,
                      struct marker_store *store, uint32_t *table_id, char **message) {
    sqlite3_stmt *stmt;
    *store = (struct marker_store){.row = 0};
    int rc = prepare(db, &stmt, message,
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
        fail(db, rc, message);
    }
    sqlite3_finalize(stmt);
    return rc;
}

int marker_each_store(sqlite3 *db, const char *schema,
                      bool (*visit)(void *arg, const struct marker_store *store), void *arg,
                      bool *found, char **message) {
    sqlite3_stmt *stmt;
    *found = false;
    int rc = refuse_hidden(db, schema, message);
    if (rc == SQLITE_OK)
        rc = prepare(db, &stmt, message, "SELECT id, directory, uuid FROM \"%w\".kevo_store",
                     schema);
    if (rc != SQLITE_OK) return rc;
    while (!*found && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct marker_store store;
        rc = read_store(stmt, 0, schema, &store, message);
        if (rc == SQLITE_OK) *found = visit(arg, &store);
        sqlite3_free(store.directory);
        if (rc != SQLITE_OK) break;
    }
    if (rc == SQLITE_DONE)
        rc = SQLITE_OK;
    else if (rc != SQLITE_OK && !*message)
        fail(db, rc, message);
    sqlite3_finalize(stmt);
    return rc;
}

/* A marker without `log` is as earlier builds made it. */
static uint32_t format_of(const struct marker_state *state) {
    return state->log_size ? MARKER_FORMAT : MARKER_FORMAT_ALONE;
}

static int header_bytes(const struct marker_state *state) {
    return state->log_size ? MARKER_HEADER_BYTES : MARKER_HEADER_ALONE;
}

/* 0 format, 4 bytes in `state`, 8 batch, 16 nonce, 24 segment, 32 offset, 40 bytes in `log`, 44 its
 * size, 48 salt. */
static void encode(uint8_t out[MARKER_HEADER_BYTES], const struct marker_state *state) {
    put_fixed32(out, format_of(state));
    put_fixed32(out + 4, state->tail_bytes);
    put_fixed64(out + 8, state->last.batch);
    put_fixed64(out + 16, state->last.nonce);
    put_fixed64(out + 24, state->segment);
    put_fixed64(out + 32, state->offset);
    put_fixed32(out + 40, state->log_bytes);
    put_fixed32(out + 44, state->log_size);
    put_fixed64(out + 48, state->salt);
}

/* From a blob of `len` bytes. False when it is no marker. */
static bool decode(const uint8_t *blob, int len, struct marker_state *state) {
    if (!blob || len < MARKER_HEADER_BYTES) return false;
    *state = (struct marker_state){
        .last = {get_fixed64(blob + 8), get_fixed64(blob + 16)},
        .segment = get_fixed64(blob + 24),
        .offset = get_fixed64(blob + 32),
        .log_bytes = get_fixed32(blob + 40),
        .tail_bytes = get_fixed32(blob + 4),
        .log_size = get_fixed32(blob + 44),
    };
    if (state->log_size) state->salt = get_fixed64(blob + 48);
    return get_fixed32(blob) == format_of(state) &&
           state->tail_bytes <= (uint32_t)(len - header_bytes(state)) &&
           state->log_bytes <= state->log_size && state->log_size <= MARKER_LOG_MAX_BYTES;
}

static int damaged(const char *schema, char **message) {
    return corrupt(schema,
                   "kevo_marker: the marker is damaged; SELECT kevo_adopt('TABLE') makes another "
                   "from what the store has",
                   message);
}

/* What to say of a marker that decode() does not take. */
static int strange(const uint8_t *blob, int len, const char *schema, char **message) {
    uint32_t format = blob && len >= MARKER_HEADER_BYTES ? get_fixed32(blob) : 0;
    if (format <= MARKER_FORMAT || format > MARKER_FORMAT_LAST) return damaged(schema, message);
    sqlite3_free(*message);
    *message = sqlite3_mprintf("kevo: %s.kevo_marker: format version %u, of a newer kevo; this one "
                               "reads none above %d",
                               schema, format, MARKER_FORMAT);
    return SQLITE_CANTOPEN;
}

/* How large the two blobs are: `state` needs no page beyond its leaf, and `log` fills pages of its
 * own. */
static int marker_bytes(sqlite3 *db, const char *schema, int *state, int *log, char **message) {
    sqlite3_stmt *stmt;
    int rc = prepare(db, &stmt, message, "PRAGMA \"%w\".page_size", schema);
    if (rc != SQLITE_OK) return rc;
    int page = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int(stmt, 0) : 4096;
    sqlite3_finalize(stmt);
    int filled = page - OVERFLOW_LINK_BYTES;
    *state = page - 64 < MARKER_MAX_BYTES ? page - 64 : MARKER_MAX_BYTES;
    *log = filled < MARKER_LOG_BYTES ? MARKER_LOG_BYTES / filled * filled : filled;
    /* A table that was made without the column does without. */
    rc = sqlite3_table_column_metadata(db, schema, "kevo_marker", "log", NULL, NULL, NULL, NULL,
                                       NULL);
    if (rc == SQLITE_ERROR)
        *log = 0;
    else if (rc != SQLITE_OK)
        return fail(db, rc, message);
    return SQLITE_OK;
}

/* Not under a number that tables still have whose store's row was deleted. */
static int insert_store(sqlite3 *db, const char *schema, struct marker_store *store,
                        char **message) {
    sqlite3_stmt *stmt;
    int rc =
        prepare(db, &stmt, message,
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
        fail(db, rc, message);
    }
    sqlite3_finalize(stmt);
    sqlite3_set_last_insert_rowid(db, rowid);
    return rc;
}

static int insert_marker(sqlite3 *db, const char *schema, sqlite3_int64 store_row, int state_bytes,
                         int log_bytes, char **message) {
    sqlite3_stmt *stmt;
    int rc = prepare(db, &stmt, message,
                     log_bytes ? "REPLACE INTO \"%w\".kevo_marker(store, state, log) "
                                 "VALUES(?1, zeroblob(?2), zeroblob(?3))"
                               : "REPLACE INTO \"%w\".kevo_marker(store, state) "
                                 "VALUES(?1, zeroblob(?2))",
                     schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_int(stmt, 2, state_bytes);
    if (log_bytes) sqlite3_bind_int(stmt, 3, log_bytes);
    return finish(db, stmt, message);
}

/* A marker of full size in a row of its own. */
static int put_marker(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                      struct kevo_commit last, char **message) {
    struct marker_state state = {.last = last};
    uint8_t header[MARKER_HEADER_BYTES];
    sqlite3_blob *blob;
    int state_bytes, log_bytes;
    int rc = marker_bytes(db, schema, &state_bytes, &log_bytes, message);
    if (rc == SQLITE_OK) rc = insert_marker(db, schema, store_row, state_bytes, log_bytes, message);
    if (rc == SQLITE_OK) rc = open_blob(db, schema, "state", store_row, true, &blob, message);
    if (rc != SQLITE_OK) return rc;
    state.log_size = (uint32_t)log_bytes;
    encode(header, &state);
    return close_blob(db, blob, sqlite3_blob_write(blob, header, header_bytes(&state), 0), message);
}

int marker_add_store(sqlite3 *db, const char *schema, struct marker_store *store,
                     struct kevo_commit last, char **message) {
    int rc = insert_store(db, schema, store, message);
    return rc == SQLITE_OK ? put_marker(db, schema, store->row, last, message) : rc;
}

int marker_read_uuid(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint8_t uuid[16],
                     char **message) {
    sqlite3_stmt *stmt;
    struct marker_store store = {.row = 0};
    int rc = prepare(db, &stmt, message,
                     "SELECT id, directory, uuid FROM \"%w\".kevo_store WHERE id = ?1", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        rc = read_store(stmt, 0, schema, &store, message);
    else if (rc == SQLITE_DONE)
        rc = corrupt(schema, "kevo_store: the store's row is missing", message);
    else
        fail(db, rc, message);
    if (rc == SQLITE_OK) memcpy(uuid, store.uuid, sizeof store.uuid);
    sqlite3_free(store.directory);
    sqlite3_finalize(stmt);
    return rc;
}

int marker_adopt(sqlite3 *db, const char *schema, sqlite3_int64 store_row, const uint8_t uuid[16],
                 struct kevo_commit last, char **message) {
    sqlite3_stmt *stmt;
    int rc =
        prepare(db, &stmt, message, "UPDATE \"%w\".kevo_store SET uuid = ?2 WHERE id = ?1", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_blob(stmt, 2, uuid, 16, SQLITE_STATIC);
    rc = finish(db, stmt, message);
    return rc == SQLITE_OK ? put_marker(db, schema, store_row, last, message) : rc;
}

/* Take the next id of the store, or make sure that no later one is `*table_id`. */
static int take_id(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint32_t *table_id,
                   char **message) {
    sqlite3_stmt *stmt;
    int rc = prepare(db, &stmt, message,
                     "UPDATE \"%w\".kevo_store SET next_table = max(next_table, ?2) + 1 "
                     "WHERE id = ?1 RETURNING next_table - 1",
                     schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_int64(stmt, 2, *table_id);
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        sqlite3_int64 id = sqlite3_column_int64(stmt, 0);
        rc = SQLITE_OK;
        if (id < 1 || id > UINT32_MAX)
            rc = corrupt(schema, "kevo_store: next_table is damaged", message);
        else if (*table_id == 0)
            *table_id = (uint32_t)id;
    } else if (rc == SQLITE_DONE) {
        rc = corrupt(schema, "kevo_store: the store's row is missing", message);
    } else {
        fail(db, rc, message);
    }
    sqlite3_finalize(stmt);
    return rc;
}

int marker_add_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, const char *table,
                     uint32_t *table_id, char **message) {
    sqlite3_stmt *stmt;
    int rc = take_id(db, schema, store_row, table_id, message);
    if (rc == SQLITE_OK)
        rc = prepare(db, &stmt, message,
                     "INSERT INTO \"%w\".kevo_table(store, id, name) VALUES(?1, ?2, ?3)", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_int64(stmt, 2, *table_id);
    sqlite3_bind_text(stmt, 3, table, -1, SQLITE_STATIC);
    return finish(db, stmt, message);
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
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) fail(db, rc, message);
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int marker_has_store(sqlite3 *db, const char *schema, sqlite3_int64 store_row, bool *found,
                     char **message) {
    return exists(db, schema, "SELECT 1 FROM \"%w\".kevo_store WHERE id = ?1 + ?2", store_row, 0,
                  found, message);
}

int marker_has_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint32_t table_id,
                     bool *found, char **message) {
    int rc = exists(db, schema, "SELECT 1 FROM \"%w\".kevo_table WHERE store = ?1 AND id = ?2",
                    store_row, table_id, found, message);
    return rc == SQLITE_OK && !*found ? refuse_hidden(db, schema, message) : rc;
}

int marker_table_is_live(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                         uint32_t table_id, bool *live, char **message) {
    return exists(db, schema,
                  "SELECT 1 FROM \"%w\".kevo_table WHERE store = ?1 AND id = ?2 AND name IS NOT "
                  "NULL",
                  store_row, table_id, live, message);
}

int marker_store_is_used(sqlite3 *db, const char *schema, sqlite3_int64 store_row, bool *used,
                         char **message) {
    return exists(db, schema,
                  "SELECT 1 FROM \"%w\".kevo_table WHERE store = ?1 + ?2 AND name IS NOT NULL",
                  store_row, 0, used, message);
}

int marker_forget_store(sqlite3 *db, const char *schema, sqlite3_int64 store_row, char **message) {
    static const char *const wheres[] = {"kevo_table WHERE store", "kevo_marker WHERE store",
                                         "kevo_store WHERE id"};
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof wheres / sizeof wheres[0]; i++) {
        sqlite3_stmt *stmt;
        rc = prepare(db, &stmt, message, "DELETE FROM \"%w\".%s = ?1", schema, wheres[i]);
        if (rc != SQLITE_OK) break;
        sqlite3_bind_int64(stmt, 1, store_row);
        rc = finish(db, stmt, message);
    }
    return rc;
}

int marker_has_stray(sqlite3 *db, const char *schema, const char *except, bool *found,
                     char **message) {
    sqlite3_stmt *stmt;
    *found = false;
    int rc = prepare(db, &stmt, message,
                     "SELECT 1 FROM \"%w\".sqlite_master WHERE type = 'table' AND rootpage = 0 "
                     "AND instr(lower(sql), 'kevo') AND name COLLATE NOCASE NOT IN "
                     "(SELECT name FROM \"%w\".kevo_table WHERE name NOT NULL UNION ALL SELECT ?1)",
                     schema, schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_text(stmt, 1, except, -1, SQLITE_STATIC);
    rc = sqlite3_step(stmt);
    *found = rc == SQLITE_ROW;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) fail(db, rc, message);
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int marker_forget_stray(sqlite3 *db, const char *schema, const char *table, char **message) {
    sqlite3_stmt *stmt;
    char *why = NULL;
    int rc = inner_prepare(db, 0, &stmt, &why, "DELETE FROM \"%w\".kevo_table WHERE name = %Q",
                           schema, table);
    return rc == SQLITE_OK ? finish(db, stmt, message) : unless_missing(rc, why, message);
}

int marker_rename_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint32_t table_id,
                        const char *name, char **message) {
    sqlite3_stmt *stmt;
    int rc = prepare(db, &stmt, message,
                     "UPDATE \"%w\".kevo_table SET name = ?3 WHERE store = ?1 AND id = ?2", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_int64(stmt, 2, table_id);
    sqlite3_bind_text(stmt, 3, name, -1, SQLITE_STATIC);
    return finish(db, stmt, message);
}

int marker_drop_table(sqlite3 *db, const char *schema, sqlite3_int64 store_row, uint32_t table_id,
                      char **message) {
    return marker_rename_table(db, schema, store_row, table_id, NULL, message);
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
    return rc == SQLITE_DONE ? SQLITE_OK : fail(db, rc, message);
}

/* Prepare what finds the dropped tables of a store, and what forgets them. */
static int prepare_dropped(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                           sqlite3_stmt **found, sqlite3_stmt **forget, char **message) {
    *forget = NULL;
    int rc = prepare(db, found, message,
                     "SELECT id FROM \"%w\".kevo_table WHERE store = ?1 AND name IS NULL", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(*found, 1, store_row);
    rc = sqlite3_step(*found);
    sqlite3_reset(*found);
    if (rc == SQLITE_DONE) return SQLITE_OK;
    if (rc != SQLITE_ROW) return fail(db, rc, message);
    /* A hidden name must not pass for that of a dropped table. */
    rc = refuse_hidden(db, schema, message);
    if (rc == SQLITE_OK)
        rc = prepare(db, forget, message,
                     "DELETE FROM \"%w\".kevo_table WHERE store = ?1 AND name IS NULL", schema);
    if (rc == SQLITE_OK) sqlite3_bind_int64(*forget, 1, store_row);
    return rc;
}

int marker_take_dropped(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                        int (*visit)(void *arg, uint32_t table_id, char **message), void *arg,
                        char **message) {
    sqlite3_stmt *found, *forget;
    int rc = prepare_dropped(db, schema, store_row, &found, &forget, message);
    if (rc == SQLITE_OK && forget) rc = visit_dropped(db, found, schema, visit, arg, message);
    sqlite3_finalize(found);
    if (rc == SQLITE_OK && forget) return finish(db, forget, message);
    sqlite3_finalize(forget);
    return rc;
}

static int read_by_statement(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                             sqlite3_stmt **stmt, struct kevo_commit *last, char **message) {
    struct marker_state state;
    int rc = SQLITE_OK;
    if (!*stmt)
        rc = prepare(db, stmt, message, "SELECT state FROM \"%w\".kevo_marker WHERE store = ?1",
                     schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(*stmt, 1, store_row);
    rc = sqlite3_step(*stmt);
    if (rc == SQLITE_ROW) {
        const uint8_t *blob = sqlite3_column_blob(*stmt, 0);
        int len = sqlite3_column_bytes(*stmt, 0);
        rc = decode(blob, len, &state) ? SQLITE_OK : strange(blob, len, schema, message);
        if (rc == SQLITE_OK) *last = state.last;
    } else if (rc == SQLITE_DONE) {
        rc = row_is_lost(schema, message);
    } else {
        fail(db, rc, message);
    }
    /* A statement left open would stop COMMIT and DROP. */
    sqlite3_reset(*stmt);
    return rc;
}

/* Open the column `log`, which must be what the marker says. */
static int open_log(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                    const struct marker_state *state, bool write, sqlite3_blob **blob,
                    char **message) {
    int rc = open_blob(db, schema, "log", store_row, write, blob, message);
    if (rc == SQLITE_ERROR) return damaged(schema, message); /* no blob, or no column */
    if (rc != SQLITE_OK || sqlite3_blob_bytes(*blob) == (int)state->log_size) return rc;
    return close_blob(db, *blob, damaged(schema, message), message);
}

static int read_log(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                    const struct marker_state *state, uint8_t *bytes, char **message) {
    sqlite3_blob *blob;
    int rc = open_log(db, schema, store_row, state, false, &blob, message);
    if (rc != SQLITE_OK) return rc;
    rc = sqlite3_blob_read(blob, bytes, (int)state->log_bytes, 0);
    return close_blob(db, blob, rc, message);
}

static int write_log(struct marker *m, slice bytes, uint32_t offset, char **message) {
    sqlite3_blob *blob;
    int rc = open_log(m->db, m->schema, m->store_row, &m->now, true, &blob, message);
    if (rc != SQLITE_OK) return rc;
    rc = sqlite3_blob_write(blob, bytes.data, (int)bytes.len, (int)offset);
    return close_blob(m->db, blob, rc, message);
}

static int read_state(sqlite3_blob *blob, const char *schema, struct marker_state *state,
                      char **message) {
    uint8_t header[MARKER_HEADER_BYTES] = {0};
    int len = sqlite3_blob_bytes(blob);
    int rc = SQLITE_OK;
    if (len >= MARKER_HEADER_BYTES) rc = sqlite3_blob_read(blob, header, MARKER_HEADER_BYTES, 0);
    if (rc != SQLITE_OK || decode(header, len, state)) return rc;
    return strange(header, len, schema, message);
}

/* The marker, and behind each other what `log` and `state` have of the log. */
static int read_kept(sqlite3 *db, const char *schema, sqlite3_int64 store_row, sqlite3_blob *blob,
                     struct marker_state *state, struct buf *bytes, char **message) {
    buf_reset(bytes);
    int rc = read_state(blob, schema, state, message);
    if (rc != SQLITE_OK) return rc;
    if (!buf_reserve(bytes, (size_t)state->log_bytes + state->tail_bytes)) return SQLITE_NOMEM;
    if (state->log_bytes) rc = read_log(db, schema, store_row, state, bytes->data, message);
    if (rc == SQLITE_OK && state->tail_bytes)
        rc = sqlite3_blob_read(blob, bytes->data + state->log_bytes, (int)state->tail_bytes,
                               header_bytes(state));
    bytes->len = (size_t)state->log_bytes + state->tail_bytes;
    return rc;
}

static int read_by_blob(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                        struct kevo_commit *last, char **message) {
    struct marker_state state;
    sqlite3_blob *blob;
    int rc = open_blob(db, schema, "state", store_row, false, &blob, message);
    if (rc != SQLITE_OK) return rc;
    rc = close_blob(db, blob, read_state(blob, schema, &state, message), message);
    if (rc == SQLITE_OK) *last = state.last;
    return rc;
}

int marker_read(sqlite3 *db, const char *schema, sqlite3_int64 store_row, sqlite3_stmt **stmt,
                struct kevo_commit *last, char **message) {
    int rc = read_by_statement(db, schema, store_row, stmt, last, message);
    if (rc != SQLITE_AUTH && rc != SQLITE_CORRUPT_VTAB) return rc;
    /* An authorizer denied it, or has hidden what is there. It is not asked about blobs, which are
     * slower. */
    sqlite3_finalize(*stmt);
    *stmt = NULL;
    sqlite3_free(*message);
    *message = NULL;
    return read_by_blob(db, schema, store_row, last, message);
}

int marker_read_tail(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                     struct kevo_tail *tail, struct buf *bytes, char **message) {
    struct marker_state state;
    sqlite3_blob *blob;
    int rc = open_blob(db, schema, "state", store_row, false, &blob, message);
    if (rc != SQLITE_OK) return rc;
    rc = read_kept(db, schema, store_row, blob, &state, bytes, message);
    rc = close_blob(db, blob, rc, message);
    if (rc == SQLITE_OK)
        *tail = (struct kevo_tail){state.segment, state.offset, state.salt, buf_slice(bytes)};
    return rc;
}

int marker_open(sqlite3 *db, const char *schema, sqlite3_int64 store_row, struct marker *m,
                char **message) {
    *m = (struct marker){.db = db, .schema = schema, .store_row = store_row};
    int rc = open_blob(db, schema, "state", store_row, true, &m->blob, message);
    if (rc != SQLITE_OK) return rc;
    rc = read_state(m->blob, schema, &m->now, message);
    if (rc != SQLITE_OK) return close_blob(db, m->blob, rc, message);
    m->tail_size = (size_t)(sqlite3_blob_bytes(m->blob) - header_bytes(&m->now));
    m->capacity_bytes = m->tail_size > m->now.log_size ? m->tail_size : m->now.log_size;
    return SQLITE_OK;
}

/* How many of the tail's bytes `log` has already. A segment's number may be given again, as by a
 * repair: its salt tells. */
static uint32_t known_bytes(const struct marker_state *now, const struct kevo_tail *tail) {
    bool same =
        now->segment == tail->segment && now->offset == tail->offset && now->salt == tail->salt;
    return same && now->log_bytes <= tail->bytes.len ? now->log_bytes : 0;
}

/* The tail's new bytes go into `state` as long as there is room, then all at once into `log`. */
static int keep(struct marker *m, const struct kevo_tail *tail, char **message) {
    struct marker_state *now = &m->now;
    uint32_t known = known_bytes(now, tail);
    slice fresh = tail->bytes; /* NULL when there are none: nothing is added to that */
    if (known) fresh = slice_of(tail->bytes.data + known, tail->bytes.len - known);
    now->segment = tail->segment;
    now->offset = tail->offset;
    now->salt = tail->salt;
    now->log_bytes = known;
    now->tail_bytes = (uint32_t)fresh.len;
    if (fresh.len == 0) return SQLITE_OK;
    if (fresh.len <= m->tail_size)
        return sqlite3_blob_write(m->blob, fresh.data, (int)fresh.len, header_bytes(now));
    now->log_bytes = (uint32_t)tail->bytes.len;
    now->tail_bytes = 0;
    return write_log(m, fresh, known, message);
}

int marker_set(struct marker *m, struct kevo_commit last, const struct kevo_tail *tail,
               char **message) {
    uint8_t header[MARKER_HEADER_BYTES];
    int rc = keep(m, tail, message);
    m->now.last = last;
    encode(header, &m->now);
    if (rc == SQLITE_OK) rc = sqlite3_blob_write(m->blob, header, header_bytes(&m->now), 0);
    return close_blob(m->db, m->blob, rc, message);
}

void marker_close(struct marker *m) {
    sqlite3_blob_close(m->blob);
}

int marker_lock(sqlite3 *db, const char *schema, sqlite3_int64 store_row, char **message) {
    struct marker m;
    int rc = marker_open(db, schema, store_row, &m, message);
    if (rc == SQLITE_OK) marker_close(&m);
    return rc;
}
