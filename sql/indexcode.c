#include "sql/indexcode.h"

#include "engine/base/error.h"

/* What the value of an entry says of a number in a column of type ANY, a byte for each
 * column of the index up to the last that is not TYPE_AS_READ. */
enum { TYPE_AS_READ = 0, TYPE_REAL = 1, TYPE_MINUS_ZERO = 2 };

static const double two_to_63 = 9223372036854775808.0;

static uint8_t type_byte(const struct schema *index, unsigned n, const struct value *v) {
    if (index->key[n].type != COLUMN_ANY || v->type != VALUE_REAL) return TYPE_AS_READ;
    if (v->real == 0) return __builtin_signbit(v->real) ? TYPE_MINUS_ZERO : TYPE_REAL;
    bool reads_as_integer =
        v->real >= -two_to_63 && v->real < two_to_63 && (double)(int64_t)v->real == v->real;
    return reads_as_integer ? TYPE_REAL : TYPE_AS_READ;
}

static const struct value *value_at(const struct schema *index, unsigned n,
                                    const struct value *values) {
    return &values[schema_value_place(index, index->key[n].column)];
}

int indexcode_encode(const struct schema *index, uint32_t table_id, const struct value *values,
                     struct buf *key, struct buf *types, struct kevo_err *err) {
    int rc = keycode_encode(index, table_id, values, key, err);
    if (rc) return rc;
    buf_reset(types);
    if (!buf_reserve(types, index->lead_count)) return kevo_nomem(err);
    for (unsigned n = 0; n < index->lead_count; n++) {
        types->data[n] = type_byte(index, n, value_at(index, n, values));
        if (types->data[n] != TYPE_AS_READ) types->len = n + 1;
    }
    return 0;
}

int indexcode_set_type(const struct schema *index, slice types, unsigned n, struct value *v,
                       struct kevo_err *err) {
    if (types.data[n] == TYPE_AS_READ) return 0;
    bool zero = v->type == VALUE_INTEGER && v->integer == 0;
    if (v->type != VALUE_INTEGER || types.data[n] > TYPE_MINUS_ZERO ||
        (types.data[n] == TYPE_MINUS_ZERO && !zero))
        return kevo_fail(err, KEVO_CORRUPT, "index %s of table %s: an entry has a bad value",
                         index->name, index->table);
    *v = value_real(types.data[n] == TYPE_MINUS_ZERO ? -0.0 : (double)v->integer);
    return 0;
}

/* The row's key is the end of the entry's, behind the table's id. */
static int copy_row_key(const struct schema *table, const struct schema *index, uint32_t table_id,
                        slice key, struct key_place *from, struct buf *row_key,
                        struct kevo_err *err) {
    int rc = keycode_go_to(index, key, from, index->lead_count, err);
    if (rc) return rc;
    size_t len = key.len - from->at;
    buf_reset(row_key);
    if (!buf_reserve(row_key, KEYCODE_MAX_PREFIX_BYTES + len)) return kevo_nomem(err);
    row_key->len = keycode_prefix(table, table_id, row_key->data);
    buf_append(row_key, key.data + from->at, len);
    return 0;
}

int indexcode_row_key(const struct schema *table, const struct schema *index, uint32_t table_id,
                      slice key, struct key_place *from, struct value *values, struct buf *scratch,
                      struct buf *row_key, struct kevo_err *err) {
    if (index->key_count == index->lead_count + table->key_count)
        return copy_row_key(table, index, table_id, key, from, row_key, err);
    int rc = keycode_decode(index, key, values, scratch, err);
    return rc ? rc : keycode_encode(table, table_id, values, row_key, err);
}

bool indexcode_has_null(const struct schema *index, const struct value *values) {
    for (unsigned n = 0; n < index->lead_count; n++)
        if (value_at(index, n, values)->type == VALUE_NULL) return true;
    return false;
}

int indexcode_equal_range(const struct schema *index, uint32_t table_id, const struct value *values,
                          struct buf *lower, struct buf *upper, struct kevo_err *err) {
    /* The key of the whole entry was made before, so its beginning is not too big. */
    buf_reset(lower);
    if (!buf_reserve(lower, KEYCODE_MAX_PREFIX_BYTES)) return kevo_nomem(err);
    lower->len = keycode_prefix(index, table_id, lower->data);
    for (unsigned n = 0; n < index->lead_count; n++) {
        int rc = keycode_append(index, n, value_at(index, n, values), lower, err);
        if (rc) return rc;
    }
    if (!buf_set(upper, buf_slice(lower))) return kevo_nomem(err);
    bool verbatim = keycode_is_verbatim(index, index->lead_count - 1);
    if (verbatim) return buf_append(upper, "", 1) ? 0 : kevo_nomem(err);
    keycode_successor(upper);
    return 0;
}
