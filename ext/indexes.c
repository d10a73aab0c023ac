#include "ext/indexes.h"

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "ext/vtab.h"
#include "sql/indexcode.h"

bool index_scratch_init(struct index_scratch *scratch, const struct schema *s) {
    if (s->index_count == 0) return true;
    scratch->values = mem_array(s->column_count + 1, sizeof *scratch->values);
    return scratch->values != NULL;
}

void index_scratch_release(struct index_scratch *scratch) {
    mem_free(scratch->values);
    buf_release(&scratch->decoded);
    buf_release(&scratch->key);
    buf_release(&scratch->types);
    buf_release(&scratch->old_key);
    buf_release(&scratch->old_types);
    buf_release(&scratch->other_key);
    buf_release(&scratch->other_row);
}

int indexes_decode_row(const struct schema *s, slice key, slice row, struct value *values,
                       struct buf *decoded, struct kevo_err *err) {
    struct row_reader reader = row_reader_of(row);
    int rc = keycode_decode(s, key, values, decoded, err);
    for (unsigned i = 0; rc == 0 && i < s->row_count; i++)
        rc = row_reader_column(&reader, i, &values[s->row[i]], err);
    return rc;
}

int indexes_find_equal(struct vtab *t, const struct schema *index, const struct value *values,
                       slice own, bool *found, struct kevo_err *err) {
    struct index_scratch *scratch = &t->indexes;
    struct kevo_read read = {.txn = t->session->txn};
    struct key_place start = {0};
    kevo_iter *it = NULL;
    *found = false;
    if (indexcode_has_null(index, values)) return 0;
    int rc =
        indexcode_equal_range(index, t->table_id, values, &scratch->old_key, &scratch->key, err);
    read.lower = buf_slice(&scratch->old_key);
    read.upper = buf_slice(&scratch->key);
    if (rc == 0) rc = kevo_iter_new(t->session->store, &read, &it, err);
    if (rc == 0) rc = kevo_iter_first(it, err);
    if (rc == 0 && kevo_iter_valid(it)) {
        rc = indexcode_row_key(t->schema, index, t->table_id, kevo_iter_key(it), &start,
                               scratch->values, &scratch->decoded, &scratch->other_key, err);
        *found = rc == 0 && !slice_eq(buf_slice(&scratch->other_key), own);
    }
    kevo_iter_free(it);
    return rc;
}

static int write_entry(struct vtab *t, const struct schema *index, const struct value *old,
                       const struct value *new, struct kevo_err *err) {
    struct index_scratch *s = &t->indexes;
    kevo_txn *txn = t->session->txn;
    int rc = 0;
    if (old) rc = indexcode_encode(index, t->table_id, old, &s->old_key, &s->old_types, err);
    if (rc == 0 && new) rc = indexcode_encode(index, t->table_id, new, &s->key, &s->types, err);
    if (rc) return rc;
    bool same_key = old && new &&slice_eq(buf_slice(&s->old_key), buf_slice(&s->key));
    if (same_key && slice_eq(buf_slice(&s->old_types), buf_slice(&s->types))) return 0;
    if (old && !same_key) rc = kevo_txn_delete(txn, buf_slice(&s->old_key), err);
    if (rc == 0 && new) rc = kevo_txn_put(txn, buf_slice(&s->key), buf_slice(&s->types), err);
    return rc;
}

int indexes_write(struct vtab *t, const struct value *old, const struct value *new,
                  struct kevo_err *err) {
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < t->schema->index_count; i++)
        rc = write_entry(t, &t->schema->indexes[i], old, new, err);
    return rc;
}

int indexes_forget_row(struct vtab *t, slice key, bool *found, struct kevo_err *err) {
    struct index_scratch *s = &t->indexes;
    struct kevo_read read = {.txn = t->session->txn};
    struct kevo_value row;
    int rc = kevo_get(t->session->store, &read, key, &row, err);
    *found = rc == 0;
    if (rc) return rc == KEVO_NOTFOUND ? 0 : rc;
    /* A copy: what is written next may move what the transaction holds. */
    if (!buf_set(&s->other_row, row.slice)) rc = kevo_nomem(err);
    kevo_value_release(&row);
    if (rc == 0)
        rc = indexes_decode_row(t->schema, key, buf_slice(&s->other_row), s->values, &s->decoded,
                                err);
    return rc ? rc : indexes_write(t, s->values, NULL, err);
}
