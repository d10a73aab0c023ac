#include "ext/marker.h"

#include <stdarg.h>
#include <string.h>

#include "engine/base/coding.h"

/* The connection's own error as a message. */
static int fail(sqlite3 *db, int rc, char **message) {
    sqlite3_free(*message);
    *message = rc == SQLITE_NOMEM ? NULL : sqlite3_mprintf("%s", sqlite3_errmsg(db));
    return rc;
}

static int corrupt(const char *schema, const char *what, char **message) {
    sqlite3_free(*message);
    *message = sqlite3_mprintf("kevo: %s.%s", schema, what);
    return SQLITE_CORRUPT_VTAB;
}

/* SQLite names a table that the user has not made. */
static void explain_missing(char **message) {
    static const char missing[] = "no such table: ";
    if (!*message || strncmp(*message, missing, sizeof missing - 1) != 0) return;
    char *longer = sqlite3_mprintf("kevo: %s: kevo keeps there what was committed, and refuses to "
                                   "guess; put back a backup of the database file",
                                   *message);
    if (!longer) return;
    sqlite3_free(*message);
    *message = longer;
}

static int prepare(sqlite3 *db, sqlite3_stmt **stmt, char **message, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *sql = sqlite3_vmprintf(format, args);
    va_end(args);
    *stmt = NULL;
    if (!sql) return SQLITE_NOMEM;
    int rc = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL);
    sqlite3_free(sql);
    if (rc == SQLITE_OK) return rc;
    fail(db, rc, message);
    explain_missing(message);
    return rc;
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
        "kevo_marker(store INTEGER PRIMARY KEY, state BLOB NOT NULL)",
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
    if (!uuid || sqlite3_column_bytes(stmt, first + 2) != (int)sizeof store->uuid)
        return corrupt(schema, "kevo_store: the uuid is damaged", message);
    memcpy(store->uuid, uuid, sizeof store->uuid);
    if (sqlite3_column_type(stmt, first + 1) != SQLITE_NULL) {
        store->directory = sqlite3_mprintf("%s", sqlite3_column_text(stmt, first + 1));
        if (!store->directory) return SQLITE_NOMEM;
    }
    return SQLITE_OK;
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
        if (rc == SQLITE_OK && (id < 1 || id > UINT32_MAX))
            rc = corrupt(schema, "kevo_table: a table's id is damaged", message);
    } else if (rc == SQLITE_DONE) {
        sqlite3_free(*message);
        *message = sqlite3_mprintf("kevo: table %s is missing in %s.kevo_table, where its store "
                                   "would be named",
                                   table, schema);
        rc = SQLITE_CORRUPT_VTAB;
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
    int rc =
        prepare(db, &stmt, message, "SELECT id, directory, uuid FROM \"%w\".kevo_store", schema);
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

/* 0 format, 4 length of the tail, 8 batch, 16 nonce, 24 segment, 32 offset, 40 zero. */
static void encode_header(uint8_t out[MARKER_HEADER_BYTES], struct kevo_commit last,
                          const struct kevo_tail *tail) {
    put_fixed32(out, MARKER_FORMAT);
    put_fixed32(out + 4, (uint32_t)tail->bytes.len);
    put_fixed64(out + 8, last.batch);
    put_fixed64(out + 16, last.nonce);
    put_fixed64(out + 24, tail->segment);
    put_fixed64(out + 32, tail->offset);
    put_fixed64(out + 40, 0);
}

/* False when the blob is no marker. */
static bool decode(const uint8_t *blob, int len, struct kevo_commit *last, struct kevo_tail *tail) {
    if (!blob || len < MARKER_HEADER_BYTES || get_fixed32(blob) != MARKER_FORMAT) return false;
    uint32_t tail_bytes = get_fixed32(blob + 4);
    if (tail_bytes > (uint32_t)len - MARKER_HEADER_BYTES) return false;
    *last = (struct kevo_commit){get_fixed64(blob + 8), get_fixed64(blob + 16)};
    *tail = (struct kevo_tail){get_fixed64(blob + 24), get_fixed64(blob + 32),
                               slice_of(blob + MARKER_HEADER_BYTES, tail_bytes)};
    return true;
}

static int damaged(const char *schema, char **message) {
    return corrupt(schema,
                   "kevo_marker: the marker is damaged; SELECT kevo_adopt('TABLE') makes another "
                   "from what the store has",
                   message);
}

/* How large a marker may be without needing a page of its own beyond its leaf. */
static int marker_bytes(sqlite3 *db, const char *schema, int *bytes, char **message) {
    sqlite3_stmt *stmt;
    int rc = prepare(db, &stmt, message, "PRAGMA \"%w\".page_size", schema);
    if (rc != SQLITE_OK) return rc;
    int page = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int(stmt, 0) : 4096;
    sqlite3_finalize(stmt);
    *bytes = page - 64 < MARKER_MAX_BYTES ? page - 64 : MARKER_MAX_BYTES;
    return SQLITE_OK;
}

static int insert_store(sqlite3 *db, const char *schema, struct marker_store *store,
                        char **message) {
    sqlite3_stmt *stmt;
    int rc = prepare(db, &stmt, message,
                     "INSERT INTO \"%w\".kevo_store(id, directory, uuid, next_table) "
                     "SELECT coalesce(max(id), 0) + 1, ?1, ?2, 1 FROM \"%w\".kevo_store "
                     "RETURNING id",
                     schema, schema);
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

/* A marker of full size in a row of its own. */
static int put_marker(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                      struct kevo_commit last, char **message) {
    static const struct kevo_tail nothing;
    sqlite3_stmt *stmt;
    sqlite3_blob *blob;
    size_t capacity;
    int bytes;
    int rc = marker_bytes(db, schema, &bytes, message);
    if (rc == SQLITE_OK)
        rc = prepare(db, &stmt, message,
                     "REPLACE INTO \"%w\".kevo_marker(store, state) VALUES(?1, ?2)", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_zeroblob(stmt, 2, bytes);
    rc = finish(db, stmt, message);
    if (rc == SQLITE_OK) rc = marker_open(db, schema, store_row, &blob, &capacity, message);
    return rc == SQLITE_OK ? marker_set(db, blob, last, &nothing, message) : rc;
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
    sqlite3_stmt *stmt = NULL;
    char *sql = sqlite3_mprintf(query, schema);
    *found = false;
    if (!sql) return SQLITE_NOMEM;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    sqlite3_free(sql);
    if (rc == SQLITE_ERROR) return SQLITE_OK;
    if (rc != SQLITE_OK) return fail(db, rc, message);
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
    return exists(db, schema, "SELECT 1 FROM \"%w\".kevo_table WHERE store = ?1 AND id = ?2",
                  store_row, table_id, found, message);
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

/* *count: how many there were. */
static int visit_dropped(sqlite3 *db, sqlite3_stmt *stmt, const char *schema,
                         int (*visit)(void *arg, uint32_t table_id, char **message), void *arg,
                         unsigned *count, char **message) {
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        sqlite3_int64 id = sqlite3_column_int64(stmt, 0);
        if (id < 1 || id > UINT32_MAX)
            return corrupt(schema, "kevo_table: a table's id is damaged", message);
        rc = visit(arg, (uint32_t)id, message);
        if (rc != SQLITE_OK) return rc;
        ++*count;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : fail(db, rc, message);
}

int marker_take_dropped(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                        int (*visit)(void *arg, uint32_t table_id, char **message), void *arg,
                        char **message) {
    sqlite3_stmt *stmt;
    unsigned count = 0;
    int rc = prepare(db, &stmt, message,
                     "SELECT id FROM \"%w\".kevo_table WHERE store = ?1 AND name IS NULL", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    rc = visit_dropped(db, stmt, schema, visit, arg, &count, message);
    sqlite3_finalize(stmt);
    if (rc != SQLITE_OK || count == 0) return rc;
    rc = prepare(db, &stmt, message,
                 "DELETE FROM \"%w\".kevo_table WHERE store = ?1 AND name IS NULL", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    return finish(db, stmt, message);
}

int marker_read(sqlite3 *db, const char *schema, sqlite3_int64 store_row, sqlite3_stmt **stmt,
                struct kevo_commit *last, char **message) {
    struct kevo_tail tail;
    int rc = SQLITE_OK;
    if (!*stmt)
        rc = prepare(db, stmt, message, "SELECT state FROM \"%w\".kevo_marker WHERE store = ?1",
                     schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(*stmt, 1, store_row);
    rc = sqlite3_step(*stmt);
    if (rc == SQLITE_ROW) {
        const uint8_t *blob = sqlite3_column_blob(*stmt, 0);
        rc = decode(blob, sqlite3_column_bytes(*stmt, 0), last, &tail) ? SQLITE_OK
                                                                       : damaged(schema, message);
    } else if (rc == SQLITE_DONE) {
        rc = corrupt(schema,
                     "kevo_marker: the store's row is missing; SELECT kevo_adopt('TABLE') makes "
                     "another from what the store has",
                     message);
    } else {
        fail(db, rc, message);
    }
    /* A statement left open would stop COMMIT and DROP. */
    sqlite3_reset(*stmt);
    return rc;
}

int marker_read_tail(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                     struct kevo_tail *tail, struct buf *bytes, char **message) {
    struct kevo_commit last;
    sqlite3_blob *blob = NULL;
    int rc = sqlite3_blob_open(db, schema, "kevo_marker", "state", store_row, 0, &blob);
    if (rc != SQLITE_OK) return fail(db, rc, message);
    int len = sqlite3_blob_bytes(blob);
    buf_reset(bytes);
    if (!buf_reserve(bytes, (size_t)len)) rc = SQLITE_NOMEM;
    if (rc == SQLITE_OK) rc = sqlite3_blob_read(blob, bytes->data, len, 0);
    if (rc == SQLITE_OK && !decode(bytes->data, len, &last, tail)) rc = damaged(schema, message);
    sqlite3_blob_close(blob);
    return rc;
}

int marker_open(sqlite3 *db, const char *schema, sqlite3_int64 store_row, sqlite3_blob **blob,
                size_t *capacity_bytes, char **message) {
    *blob = NULL;
    int rc = sqlite3_blob_open(db, schema, "kevo_marker", "state", store_row, 1, blob);
    if (rc != SQLITE_OK) return fail(db, rc, message);
    int len = sqlite3_blob_bytes(*blob);
    if (len < MARKER_HEADER_BYTES) {
        sqlite3_blob_close(*blob);
        return damaged(schema, message);
    }
    *capacity_bytes = (size_t)len - MARKER_HEADER_BYTES;
    return SQLITE_OK;
}

int marker_set(sqlite3 *db, sqlite3_blob *blob, struct kevo_commit last,
               const struct kevo_tail *tail, char **message) {
    uint8_t header[MARKER_HEADER_BYTES];
    encode_header(header, last, tail);
    int rc = sqlite3_blob_write(blob, header, MARKER_HEADER_BYTES, 0);
    if (rc == SQLITE_OK && tail->bytes.len)
        rc = sqlite3_blob_write(blob, tail->bytes.data, (int)tail->bytes.len, MARKER_HEADER_BYTES);
    if (rc != SQLITE_OK) fail(db, rc, message);
    int close_rc = sqlite3_blob_close(blob);
    if (rc == SQLITE_OK && close_rc != SQLITE_OK) rc = fail(db, close_rc, message);
    return rc;
}

int marker_lock(sqlite3 *db, const char *schema, sqlite3_int64 store_row, char **message) {
    sqlite3_blob *blob;
    size_t capacity;
    int rc = marker_open(db, schema, store_row, &blob, &capacity, message);
    if (rc == SQLITE_OK) sqlite3_blob_close(blob);
    return rc;
}
