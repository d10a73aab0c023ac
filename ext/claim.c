#include "ext/claim.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/coding.h"
#include "engine/base/env.h"
#include "ext/beside.h"
#include "ext/convert.h"
#include "ext/session.h"
#include "ext/world.h"

enum { CLAIM_HEADER_BYTES = 16, CLAIM_MAX_BYTES = CLAIM_HEADER_BYTES + ENV_PATH_MAX };

/* 0 device, 8 inode, 16 path. */
struct claim {
    uint8_t bytes[CLAIM_MAX_BYTES + 1]; /* and a NUL behind the path */
    size_t len;                         /* 0: nobody's */
};

static const char *path_of(const struct claim *c) {
    return (const char *)c->bytes + CLAIM_HEADER_BYTES;
}

static bool is_file(const struct claim *c, const struct stat *st) {
    return get_fixed64(c->bytes) == st->st_dev && get_fixed64(c->bytes + 8) == st->st_ino;
}

/* What the store has kept; what is no claim counts as none. */
static void read_claim(kevo_store *store, struct claim *c) {
    c->len = kevo_get_owner(store, c->bytes, CLAIM_MAX_BYTES);
    if (c->len <= CLAIM_HEADER_BYTES || c->len > CLAIM_MAX_BYTES) c->len = 0;
    c->bytes[c->len] = 0;
    if (c->len && strlen(path_of(c)) != c->len - CLAIM_HEADER_BYTES) c->len = 0;
}

/* That of the database; none when it has no file. stat() only: opening and closing the file would
 * drop SQLite's locks on it. */
static void make_claim(sqlite3 *db, const char *schema, struct claim *c, struct stat *st) {
    const char *filename = session_filename(db, schema);
    size_t n = filename ? strlen(filename) : 0;
    c->len = 0;
    if (n == 0 || n > ENV_PATH_MAX || world_stat(filename, st) != 0) return;
    put_fixed64(c->bytes, st->st_dev);
    put_fixed64(c->bytes + 8, st->st_ino);
    memcpy(c->bytes + CLAIM_HEADER_BYTES, filename, n + 1);
    c->len = CLAIM_HEADER_BYTES + n;
}

/* ---- the other database ------------------------------------------------------------ */

/* A connection that can only read, with the same patience. */
static int open_other(sqlite3 *db, const char *schema, const char *path, sqlite3 **other) {
    sqlite3_stmt *stmt = NULL;
    int rc = beside_open(db, schema, path, other);
    if (rc != SQLITE_OK) return rc;
    if (sqlite3_prepare_v2(db, "PRAGMA busy_timeout", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        sqlite3_busy_timeout(*other, sqlite3_column_int(stmt, 0));
    sqlite3_finalize(stmt);
    return SQLITE_OK;
}

/* Whether that directory of the other database is the one that `ours` tells of. */
static int is_directory(sqlite3 *other, const char *directory, const struct stat *ours,
                        bool *same) {
    char *path = NULL, *message = NULL;
    struct stat st;
    int rc = session_resolve_path(other, "main", directory, &path, &message);
    *same = path && world_stat(path, &st) == 0 && st.st_dev == ours->st_dev &&
            st.st_ino == ours->st_ino;
    sqlite3_free(path);
    sqlite3_free(message);
    return rc == SQLITE_NOMEM ? rc : SQLITE_OK;
}

/* Whether the other database names the store of that id in our directory. */
static int names_store(sqlite3 *other, const uint8_t uuid[16], const struct stat *ours,
                       bool *found) {
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(other, "SELECT directory FROM kevo_store WHERE uuid = ?1", -1,
                                &stmt, NULL);
    /* There is no such table, or it is no database. */
    if (rc == SQLITE_ERROR || rc == SQLITE_NOTADB) return SQLITE_OK;
    if (rc == SQLITE_OK) rc = sqlite3_bind_blob(stmt, 1, uuid, 16, SQLITE_STATIC);
    while (rc == SQLITE_OK && !*found && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        rc = is_directory(other, (const char *)sqlite3_column_text(stmt, 0), ours, found);
    sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int cannot_tell(const char *path, const char *other, const char *why, int rc,
                       char **message) {
    *message = sqlite3_mprintf("kevo: %s: the store may belong to %s, which cannot be looked at "
                               "(%s), and only one database can have it; if this one is to "
                               "have it, move that file away or SELECT "
                               "kevo_adopt('TABLE')",
                               path, other, why);
    rc &= 0xff;
    return rc == SQLITE_NOMEM || rc == SQLITE_BUSY ? rc : SQLITE_CANTOPEN;
}

/* Look at the database in another file that has the claim. */
static int check_other(sqlite3 *db, const char *schema, const char *path, kevo_store *store,
                       const char *other_path, char **message) {
    sqlite3 *other = NULL;
    struct stat dir;
    bool found = false;
    int rc = open_other(db, schema, other_path, &other);
    if (rc == SQLITE_OK && world_stat(path, &dir) == 0)
        rc = names_store(other, kevo_store_uuid(store), &dir, &found);
    if (rc != SQLITE_OK)
        rc = cannot_tell(path, other_path, other ? sqlite3_errmsg(other) : sqlite3_errstr(rc), rc,
                         message);
    sqlite3_close(other);
    if (rc != SQLITE_OK || !found) return rc;
    *message = sqlite3_mprintf("kevo: %s: the store belongs to another database, %s, and a copy of "
                               "that needs a copy of the store or a directory of its own; if this "
                               "database is to have the store, move that file away or SELECT "
                               "kevo_adopt('TABLE')",
                               path, other_path);
    return SQLITE_CANTOPEN;
}

/* ---- checking and taking -------------------------------------------------------------- */

int claim_check(sqlite3 *db, const char *schema, const char *path, kevo_store *store,
                char **message) {
    struct claim claim, mine;
    struct stat st, there;
    read_claim(store, &claim);
    make_claim(db, schema, &mine, &st);
    if (claim.len == 0 || mine.len == 0) return SQLITE_OK;
    if (world_stat(path_of(&claim), &there) == 0) {
        bool same = there.st_dev == st.st_dev && there.st_ino == st.st_ino;
        /* What is no file cannot be a database, and opening it might wait for ever. */
        if (same || !S_ISREG(there.st_mode)) return SQLITE_OK;
        return check_other(db, schema, path, store, path_of(&claim), message);
    }
    if (errno == ENOENT || errno == ENOTDIR || is_file(&claim, &st)) return SQLITE_OK;
    return cannot_tell(path, path_of(&claim), strerror(errno), SQLITE_CANTOPEN, message);
}

bool claim_is_held(sqlite3 *db, const char *schema, kevo_store *store) {
    struct claim claim, mine;
    struct stat st;
    read_claim(store, &claim);
    make_claim(db, schema, &mine, &st);
    return claim.len && mine.len && strcmp(path_of(&claim), path_of(&mine)) == 0;
}

int claim_take(sqlite3 *db, const char *schema, kevo_store *store, char **message) {
    struct claim claim, mine;
    struct stat st;
    struct kevo_err err;
    read_claim(store, &claim);
    make_claim(db, schema, &mine, &st);
    if (mine.len == 0 || (claim.len == mine.len && !memcmp(claim.bytes, mine.bytes, mine.len)))
        return SQLITE_OK;
    struct kevo_slice bytes = {mine.bytes, mine.len};
    return kevo_set_owner(store, bytes, &err) ? report(message, &err) : SQLITE_OK;
}
