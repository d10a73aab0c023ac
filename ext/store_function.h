/* store_function.h - table-valued functions that tell of the store that a table lives in:
 * kevo_stats('kv') and kevo_options('kv'). They read what a store has in memory at one moment. */
#ifndef KEVO_EXT_STORE_FUNCTION_H
#define KEVO_EXT_STORE_FUNCTION_H

#include "ext/session.h"

/* What one of them tells: a table with a row for each number below rows(), but for those that
 * is_shown, unless it is NULL, leaves out. */
struct store_function {
    const char *name;
    const char *declaration; /* the last column is the hidden argument */
    int argument_column;
    size_t data_bytes; /* of what take() fills */

    size_t (*rows)(void);
    void (*take)(kevo_store *store, void *data);
    bool (*is_shown)(const void *data, size_t row);
    void (*column)(const void *data, size_t row, int column, sqlite3_context *context);
};

extern const struct store_function stats_function, options_function;

/* `f` must live as long as the connection. */
int store_function_register(struct connection *connection, const struct store_function *f);

#endif
