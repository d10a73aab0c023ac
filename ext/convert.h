/* convert.h - between SQLite's values and codes and ours. */
#ifndef KEVO_EXT_CONVERT_H
#define KEVO_EXT_CONVERT_H

#include "engine/kevo.h"
#include "ext/lender.h"
#include "ext/sqlite_api.h"
#include "sql/value.h"

/* The SQLite code for an enum kevo_rc; KEVO_NOTFOUND is not expected here. */
int sqlite_code(int rc);

/* Replace *message (a vtab's zErrMsg) by "kevo: " and the error's text, and return
 * its SQLite code. Busy and out of memory keep SQLite's own manners. */
int report(char **message, const struct kevo_err *err);

/* What the value holds; bytes are borrowed from v. KEVO_NOMEM when SQLite has no
 * memory to show a text as UTF-8. */
int value_of(sqlite3_value *v, struct value *out, struct kevo_err *err);

/* The same for a value that is not going to be converted to a number. `utf8`: the database keeps
 * its texts in UTF-8, so they are looked at where they are. sqlite3_value_text() would copy those
 * that do not end in a zero byte, as most that programs bind with their length do not. */
int value_in_place(sqlite3_value *v, bool utf8, struct value *out, struct kevo_err *err);
/* Whether the database keeps its texts in UTF-8. That is settled as soon as there is a table. */
bool texts_are_utf8(sqlite3 *db);

/* Give the value to SQLite: a copy of its bytes, in memory that is lent for it if
 * `lender` is not NULL and has some. */
void result_value(sqlite3_context *context, const struct value *v, struct lender **lender);
/* The same, where it is known what it is. */
void result_text(sqlite3_context *context, slice text, struct lender **lender);
void result_blob(sqlite3_context *context, slice blob, struct lender **lender);
/* The same for a text that nobody asks for by sqlite3_column_text(): a zero byte behind it
 * would be of no use. */
void result_text_to_compare(sqlite3_context *context, slice text);

#endif
