/* schema_option.h - the `name = value` arguments of a table: the tunable options of the
 * engine, by their names there. */
#ifndef KEVO_SQL_SCHEMA_OPTION_H
#define KEVO_SQL_SCHEMA_OPTION_H

#include "sql/schema.h"

/* Every option as not given. */
void schema_options_clear(struct schema_options *o);

/* Set the option `name` from its value's text, without quotes. KEVO_INVALID for an
 * unknown name, a wrong value, or an option given before. */
int schema_option_set(struct schema_options *o, const char *name, const char *value,
                      struct kevo_err *err);

#endif
