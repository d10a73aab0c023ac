/* What range tombstones hide from a reader. */
#include "engine/store/txn.h"

static int list_level(const struct level *l, bool sorted, const struct kevo_read *read,
                      uint64_t snapshot, struct range_list *list, struct kevo_err *err) {
    int rc = 0;
    for (size_t i = sorted && read->lower.data ? level_find(l, read->lower) : 0;
         i < l->count && rc == 0; i++) {
        struct table_file *f = l->files[i];
        struct table *t;
        if (f->range_count == 0 || !table_file_overlaps(f, read->lower, read->upper)) continue;
        rc = table_file_borrow(f, &t, err);
        if (rc == 0)
            rc = range_list_add_visible(list, table_ranges(t), read->lower, read->upper, snapshot,
                                        err);
    }
    return rc;
}

/* The range tombstones that the reader sees. Memtables, tables and the buffer keep their
 * bounds for as long as the iterator holds them. */
static int list_hidden(const struct superversion *sv, const struct kevo_read *read,
                       uint64_t snapshot, struct range_list *list, struct kevo_err *err) {
    slice lower = read->lower, upper = read->upper;
    int rc = 0;
    if (read->txn)
        rc = range_stack_list_visible(&read->txn->buffer->ranges, lower, upper, SEQ_MAX, list, err);
    if (rc == 0 && read->txn) rc = runs_list_ranges(&read->txn->runs, lower, upper, list, err);
    if (rc == 0)
        rc = range_stack_list_visible(&sv->active->ranges, lower, upper, snapshot, list, err);
    for (unsigned i = 0; rc == 0 && i < sv->immutable_count; i++)
        rc = range_stack_list_visible(&sv->immutable[i]->ranges, lower, upper, snapshot, list, err);
    for (unsigned l = 0; rc == 0 && l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &sv->version->levels[l];
        if (level->range_count) rc = list_level(level, l > 0, read, snapshot, list, err);
    }
    return rc;
}

int hide_find(const struct superversion *sv, const struct kevo_read *read, uint64_t snapshot,
              struct range_set **hidden, struct kevo_err *err) {
    struct range_list list = {0};
    *hidden = NULL;
    int rc = list_hidden(sv, read, snapshot, &list, err);
    if (rc == 0) rc = range_set_new(&list, true, hidden, err);
    range_list_release(&list);
    return rc;
}
