/* stats_table.h - the table-valued function kevo_stats('kv'): a row a figure of the store
 * that the table lives in, name and value, the unit in the name. */
#ifndef KEVO_EXT_STATS_TABLE_H
#define KEVO_EXT_STATS_TABLE_H

#include "ext/session.h"

int stats_table_register(struct connection *connection);

#endif
