#include "ext/marker.h"

#include <string.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "ext/shadow.h"

enum { OVERFLOW_LINK_BYTES = 4 }; /* of each page that holds nothing but a part of a value */

static int row_is_lost(const char *schema, char **message) {
    return shadow_corrupt(
        schema,
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
    return shadow_fail(db, rc, message);
}

/* After a use of the blob that ended with `rc`. */
static int close_blob(sqlite3 *db, sqlite3_blob *blob, int rc, char **message) {
    if (rc != SQLITE_OK && !*message) shadow_fail(db, rc, message);
    int close_rc = sqlite3_blob_close(blob);
    return rc == SQLITE_OK && close_rc != SQLITE_OK ? shadow_fail(db, close_rc, message) : rc;
}

uint64_t marker_sign(uint32_t format) {
    uint8_t bytes[4];
    put_fixed32(bytes, format);
    return checksum64(bytes, sizeof bytes, 0);
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
    return shadow_corrupt(
        schema,
        "kevo_marker: the marker is damaged; SELECT kevo_adopt('TABLE') makes another "
        "from what the store has",
        message);
}

/* What to say of a marker that decode() does not take: `sign` are its last bytes, NULL when it is too
 * short for any. */
static int strange(const uint8_t *header, const uint8_t *sign, const char *schema, char **message) {
    uint32_t format = sign ? get_fixed32(header) : 0;
    if (format <= MARKER_FORMAT || get_fixed64(sign) != marker_sign(format))
        return damaged(schema, message);
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
    int rc = shadow_prepare(db, &stmt, message, "PRAGMA \"%w\".page_size", schema);
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
        return shadow_fail(db, rc, message);
    return SQLITE_OK;
}

static int insert_marker(sqlite3 *db, const char *schema, sqlite3_int64 store_row, int state_bytes,
                         int log_bytes, char **message) {
    sqlite3_stmt *stmt;
    int rc = shadow_prepare(db, &stmt, message,
                            log_bytes ? "REPLACE INTO \"%w\".kevo_marker(store, state, log) "
                                        "VALUES(?1, zeroblob(?2), zeroblob(?3))"
                                      : "REPLACE INTO \"%w\".kevo_marker(store, state) "
                                        "VALUES(?1, zeroblob(?2))",
                            schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(stmt, 1, store_row);
    sqlite3_bind_int(stmt, 2, state_bytes);
    if (log_bytes) sqlite3_bind_int(stmt, 3, log_bytes);
    return shadow_finish(db, stmt, message);
}

/* A marker of full size in a row of its own. */
int marker_put(sqlite3 *db, const char *schema, sqlite3_int64 store_row, struct kevo_commit last,
               char **message) {
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

static int read_by_statement(sqlite3 *db, const char *schema, sqlite3_int64 store_row,
                             sqlite3_stmt **stmt, struct kevo_commit *last, char **message) {
    struct marker_state state;
    int rc = SQLITE_OK;
    if (!*stmt)
        rc = shadow_prepare(db, stmt, message,
                            "SELECT state FROM \"%w\".kevo_marker WHERE store = ?1", schema);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(*stmt, 1, store_row);
    rc = sqlite3_step(*stmt);
    if (rc == SQLITE_ROW) {
        const uint8_t *blob = sqlite3_column_blob(*stmt, 0);
        int len = sqlite3_column_bytes(*stmt, 0);
        const uint8_t *sign = len < MARKER_HEADER_BYTES ? NULL : blob + len - MARKER_SIGN_BYTES;
        rc = decode(blob, len, &state) ? SQLITE_OK : strange(blob, sign, schema, message);
        if (rc == SQLITE_OK) *last = state.last;
    } else if (rc == SQLITE_DONE) {
        rc = row_is_lost(schema, message);
    } else {
        shadow_fail(db, rc, message);
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
    uint8_t header[MARKER_HEADER_BYTES] = {0}, sign[MARKER_SIGN_BYTES];
    int len = sqlite3_blob_bytes(blob);
    if (len < MARKER_HEADER_BYTES) return strange(NULL, NULL, schema, message);
    int rc = sqlite3_blob_read(blob, header, MARKER_HEADER_BYTES, 0);
    if (rc != SQLITE_OK || decode(header, len, state)) return rc;
    rc = sqlite3_blob_read(blob, sign, MARKER_SIGN_BYTES, len - MARKER_SIGN_BYTES);
    return rc == SQLITE_OK ? strange(header, sign, schema, message) : rc;
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
