/* Making a store for a CREATE, and removing one of which no table is left. */
#include <string.h>

#include "ext/claim.h"
#include "ext/convert.h"
#include "ext/session_impl.h"
#include "ext/vtab.h"
#include "ext/world.h"

static bool is_missing(const char *path) {
    struct env *env = world_env();
    struct env_stat st;
    struct kevo_err ignored;
    return env->stat(env, path, &st, &ignored) == KEVO_NOTFOUND;
}

static bool same_path(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : !a && !b;
}

/* The session of an earlier CREATE in that place, which was rolled back: the database does
 * not know its store. Nothing in it was committed. */
static struct session *find_abandoned(struct connection *connection, const struct session *like) {
    static const struct kevo_commit none;
    struct session *s = connection->sessions;
    while (s &&
           (!s->created || strcmp(s->schema, like->schema) != 0 || !same_path(s->path, like->path)))
        s = s->next;
    struct kevo_err err;
    if (s && !session_is_open(s) && kevo_resolve(s->store, none, &err)) return NULL;
    return s;
}

/* What a CREATE of this database left that a crash cut short: the database does not know the
 * store, and the store of no commit. */
static bool is_leftover(const struct session *s) {
    return !kevo_is_confirmed(s->store) && claim_is_held(s->connection->db, s->schema, s->store);
}

static int belongs_to_another(struct session *s, char **message) {
    *message = sqlite3_mprintf("kevo: %s: there is a store already, of another database or of an "
                               "earlier state of this one; move it away or name another directory",
                               s->path);
    return SQLITE_CANTOPEN;
}

/* A store that this database does not know. It may be empty and yet belong to another
 * one, which has written nothing yet: so it is not taken over but made anew, with another
 * identity. One that has something, or may have, belongs to somebody, but for leftovers of
 * this database. */
static int open_new(struct session *s, char **message) {
    static const struct kevo_commit none;
    struct kevo_err err;
    bool existed = s->path && !is_missing(s->path);
    /* One that is open already belongs to this database: see registry.h. */
    bool ours = !existed || kevo_is_open(s->path, &s->options);
    int rc = session_open_shared(s, true, message);
    if (rc != SQLITE_OK || session_decides_itself(s)) return rc;
    bool useless = kevo_is_virgin(s->store) || is_leftover(s);
    if (ours && useless)
        return kevo_resolve(s->store, none, &err) ? report(message, &err) : SQLITE_OK;
    if (useless) rc = session_check_claim(s, message);
    session_close_shared(s);
    if (rc != SQLITE_OK) return rc;
    if (!useless) return belongs_to_another(s, message);
    if (kevo_destroy(s->path, &s->options, &err)) return report(message, &err);
    return session_open_shared(s, true, message);
}

/* A new session in the list, with its store open, or an abandoned one. */
static int open_created(struct connection *connection, const char *schema,
                        const struct schema *table, const struct catalogue_store *store,
                        struct session **session, char **message) {
    int rc;
    struct session *s = session_new(connection, schema, store, table, &rc, message);
    if (!s) return rc;
    *session = find_abandoned(connection, s);
    if (*session) {
        session_free(s);
        return SQLITE_OK;
    }
    rc = open_new(s, message);
    if (rc == SQLITE_OK && !session_decides_itself(s))
        rc = claim_take(connection->db, schema, s->store, message);
    if (rc != SQLITE_OK) {
        session_free(s);
        return rc;
    }
    /* Kept in the list for the session_get() that follows. */
    memcpy(s->uuid, kevo_store_uuid(s->store), sizeof s->uuid);
    s->refs = 0;
    s->created = true;
    s->next = connection->sessions;
    connection->sessions = s;
    *session = s;
    return SQLITE_OK;
}

int session_create_store(struct connection *connection, const char *schema,
                         const struct schema *table, struct catalogue_store *store,
                         char **message) {
    static const struct kevo_commit none;
    struct session *s = NULL;
    int rc = open_created(connection, schema, table, store, &s, message);
    if (rc != SQLITE_OK) return rc;
    memcpy(store->uuid, s->uuid, sizeof store->uuid);
    rc = catalogue_add_store(connection->db, schema, store, none, message);
    if (rc == SQLITE_OK) s->store_row = store->row;
    return rc;
}

/* Whether the store in the session's directory may be removed: it is the one it should be, all
 * tables of which were dropped, or one of no use to anybody, and no other database has it. In an
 * explicit transaction, the ROLLBACK of which could bring a table back, only the latter. */
static bool may_remove(struct session *s) {
    struct kevo_options o = s->options;
    struct kevo_err err;
    char *ignored = NULL;
    o.create_if_missing = false;
    o.use_kept = true;
    if (registry_open(s->path, &o, s->owner, &s->shared, &err)) return false;
    s->store = s->shared->store;
    bool own = memcmp(kevo_store_uuid(s->store), s->uuid, sizeof s->uuid) == 0;
    bool may = own ? sqlite3_get_autocommit(s->connection->db) != 0
                   : kevo_is_virgin(s->store) || is_leftover(s);
    may = may && session_check_claim(s, &ignored) == SQLITE_OK;
    sqlite3_free(ignored);
    session_close_shared(s);
    return may;
}

int session_remove_unused(struct connection *connection, const char *schema,
                          const struct catalogue_store *store, const struct schema *table,
                          bool *gone, char **message) {
    int rc;
    *gone = false;
    struct session *s = session_new(connection, schema, store, table, &rc, message);
    if (!s) return rc;
    if (s->path && !kevo_is_open(s->path, &s->options)) {
        struct kevo_err ignored;
        if (!kevo_is_store(s->path, &s->options))
            *gone = true;
        else if (may_remove(s) && session_sync_database(s) == SQLITE_OK)
            *gone = kevo_destroy(s->path, &s->options, &ignored) == 0;
    }
    session_free(s);
    return SQLITE_OK;
}

/* The first tunable option that differs. */
static bool find_difference(const struct kevo_options *a, const struct kevo_options *b,
                            struct kevo_option *option, char wanted[KEVO_OPTION_TEXT],
                            char found[KEVO_OPTION_TEXT]) {
    for (unsigned i = 0; kevo_option_at(i, option); i++) {
        kevo_options_get(a, option->name, wanted, NULL);
        kevo_options_get(b, option->name, found, NULL);
        if (strcmp(wanted, found) != 0) return true;
    }
    return false;
}

int session_match_options(struct connection *connection, const char *schema,
                          const struct catalogue_store *store, const struct schema *table,
                          char **message) {
    struct kevo_option option;
    char wanted[KEVO_OPTION_TEXT], found[KEVO_OPTION_TEXT];
    int rc;
    struct session *s = session_new(connection, schema, store, table, &rc, message);
    if (!s) return rc;
    rc = session_open_shared(s, false, message);
    if (rc == SQLITE_OK && find_difference(&s->options, &s->in_force, &option, wanted, found)) {
        *message =
            sqlite3_mprintf("kevo: option %s would be %s here, but is %s in the store of the "
                            "dropped tables, which another connection has open: close that "
                            "one, give the option as it is, or give this table a directory "
                            "of its own",
                            option.name, wanted, found);
        rc = SQLITE_ERROR;
    }
    session_free(s);
    return rc;
}
