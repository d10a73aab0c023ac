#include "ext/dropped.h"

#include "ext/convert.h"
#include "sql/keycode.h"

struct sweep {
    struct session *s;
    struct buf lower, upper;
    uint64_t count, bytes;
    struct kevo_err err;
};

static int delete_all(struct sweep *w) {
    slice lower = buf_slice(&w->lower), upper = buf_slice(&w->upper);
    w->bytes += kevo_approximate_size(w->s->store, lower, upper);
    return kevo_txn_delete_range(w->s->txn, lower, upper, &w->err);
}

static int sweep_table(void *arg, uint32_t table_id, char **message) {
    struct sweep *w = arg;
    w->count++;
    int rc = keycode_table_range(table_id, &w->lower, &w->upper, &w->err);
    if (rc == 0) rc = delete_all(w);
    if (rc == 0) rc = keycode_indexes_range(table_id, &w->lower, &w->upper, &w->err);
    if (rc == 0) rc = delete_all(w);
    return rc ? report(message, &w->err) : SQLITE_OK;
}

int dropped_sweep(struct session *s, bool *found, uint64_t *bytes, char **message) {
    struct sweep w = {.s = s};
    int rc = catalogue_take_dropped(s->connection->db, s->schema, s->store_row, sweep_table, &w,
                                    message);
    *found = w.count > 0;
    *bytes = w.bytes;
    buf_release(&w.lower);
    buf_release(&w.upper);
    return rc;
}
