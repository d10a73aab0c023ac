/* reports.h - table-valued functions about stores: kevo_levels('kv'), kevo_files('kv') and
 * kevo_tables. Units are in the names of columns. */
#ifndef KEVO_EXT_REPORTS_H
#define KEVO_EXT_REPORTS_H

#include "ext/session.h"

int reports_register(struct connection *connection);

#endif
