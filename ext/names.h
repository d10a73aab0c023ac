/* names.h - the names of tables in a store that has no database file.
 *
 * Such a store outlives the database that says which id a table has, so it keeps the names
 * itself, under table id 0 (engine/FORMAT.md, "Keys and values in a table of rows").
 *
 * CREATE writes them in its transaction, and DROP too when the heir takes part in it
 * (heir.h). SQLite asks nobody to commit after a RENAME alone, so that writes at once, and so
 * does DROP without the heir; inside an explicit transaction, which a ROLLBACK could undo,
 * DROP leaves the name where it is then and RENAME is refused. */
#ifndef KEVO_EXT_NAMES_H
#define KEVO_EXT_NAMES_H

#include "ext/vtab.h"

/* Whether the table's store keeps names. */
bool names_are_kept(const struct vtab *t);

/* Find the id that the store has for this table, or give it one there: t->table_id. *found
 * tells that the store had it, and may have rows of it. */
int names_claim(struct vtab *t, bool *found, char **message);
int names_forget(struct vtab *t, char **message);
int names_rename(struct vtab *t, const char *name, char **message);

#endif
