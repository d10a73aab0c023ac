/* session_impl.h - what session.c and session_create.c share. */
#ifndef KEVO_EXT_SESSION_IMPL_H
#define KEVO_EXT_SESSION_IMPL_H

#include "ext/session.h"

/* Without a database file the store is its own authority; the marker is not looked at. */
static inline bool session_decides_itself(const struct session *s) {
    return s->options.authority == KEVO_AUTHORITY_SELF;
}

/* A session that is in no list yet, without its store. NULL: *rc is set. `table` gives the options
 * to make the store with. */
struct session *session_new(struct connection *connection, const char *schema,
                            const struct catalogue_store *store, const struct schema *table,
                            int *rc, char **message);
void session_free(struct session *s);

/* Open the store, whosever it is, or make it; and close it. */
int session_open_shared(struct session *s, bool create, char **message);
void session_close_shared(struct session *s);

/* SQLITE_CANTOPEN when another database file has the open store. */
int session_check_claim(struct session *s, char **message);

#endif
