/* kevo_options('kv'): the options of the store that the table lives in, as CREATE VIRTUAL TABLE would
 * take them. */
#include "ext/store_function.h"

enum { COLUMN_NAME, COLUMN_VALUE, COLUMN_STANDARD, COLUMN_RANGE, COLUMN_EFFECT, COLUMN_ARGUMENT };

static size_t rows(void) {
    struct kevo_option option;
    unsigned n = 0;
    while (kevo_option_at(n, &option))
        n++;
    return n;
}

static void take(kevo_store *store, void *data) {
    kevo_get_options(store, data);
}

static const char *text_of(const struct kevo_options *options, const struct kevo_option *option,
                           int column, char value[KEVO_OPTION_TEXT]) {
    switch (column) {
    case COLUMN_NAME: return option->name;
    case COLUMN_STANDARD: return option->standard;
    case COLUMN_RANGE: return option->range;
    case COLUMN_EFFECT: return option->effect;
    default: return kevo_options_get(options, option->name, value, NULL) ? NULL : value;
    }
}

static void tell(const void *data, size_t row, int column, sqlite3_context *context) {
    struct kevo_option option;
    char value[KEVO_OPTION_TEXT];
    kevo_option_at((unsigned)row, &option);
    sqlite3_result_text(context, text_of(data, &option, column, value), -1, SQLITE_TRANSIENT);
}

const struct store_function options_function = {
    .name = "kevo_options",
    .declaration = "CREATE TABLE x(name TEXT, value TEXT, standard TEXT, range TEXT, effect TEXT, "
                   "of HIDDEN)",
    .argument_column = COLUMN_ARGUMENT,
    .data_bytes = sizeof(struct kevo_options),
    .rows = rows,
    .take = take,
    .column = tell,
};
