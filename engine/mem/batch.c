#include "engine/mem/batch.h"

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/base/error.h"

int batch_put_entry(struct buf *b, uint8_t type, slice key, slice value, struct kevo_err *err) {
    if (!buf_reserve(b, 2 * VARINT64_MAX_BYTES + key.len + value.len)) return kevo_nomem(err);
    uint8_t *p = b->data + b->len;
    p = put_varint(p, (uint64_t)key.len << 1 | type);
    if (type == ENTRY_PUT) p = put_varint(p, value.len);
    if (key.len) memcpy(p, key.data, key.len);
    p += key.len;
    if (value.len) memcpy(p, value.data, value.len);
    p += value.len;
    b->len = (size_t)(p - b->data);
    return 0;
}

int batch_put_memtable(struct buf *b, struct memtable *m, struct batch_totals *totals,
                       struct kevo_err *err) {
    struct iter *it;
    int rc = memtable_iter_new(m, &it, err);
    if (rc) return rc;
    slice last = slice_of(NULL, 0);
    for (rc = it->ops->seek_first(it, err); rc == 0 && it->valid; rc = it->ops->next(it, err)) {
        /* Memtable keys stay where they are, so the last one can be kept as it is. */
        if (last.data && slice_eq(last, it->key)) continue;
        last = it->key;
        rc = batch_put_entry(b, it->type, it->key, it->value, err);
        if (rc) break;
        if (it->type == ENTRY_PUT)
            totals->puts++;
        else
            totals->deletes++;
        totals->user_bytes += it->key.len + it->value.len;
    }
    iter_close(it);
    return rc;
}

struct change {
    uint8_t type;
    slice key, value;
};

static bool read_change(struct reader *r, struct change *c) {
    uint64_t tag = read_varint(r), key_bytes = tag >> 1;
    c->type = tag & 1;
    uint64_t value_bytes = c->type == ENTRY_PUT ? read_varint(r) : 0;
    c->key = read_bytes(r, key_bytes);
    c->value = read_bytes(r, value_bytes);
    return !r->bad && key_bytes > 0 && key_bytes <= KEVO_MAX_KEY_BYTES &&
           value_bytes <= KEVO_MAX_VALUE_BYTES;
}

/* Read the next few changes. False when the bytes make no sense. */
static bool read_group(struct reader *r, struct change group[MEMTABLE_WARM_MAX],
                       unsigned *group_count) {
    *group_count = 0;
    while (*group_count < MEMTABLE_WARM_MAX && reader_left(r) > 0) {
        if (!read_change(r, &group[(*group_count)++])) return false;
    }
    return true;
}

static void warm_group(const struct memtable *m, const struct change *group, unsigned count) {
    slice keys[MEMTABLE_WARM_MAX];
    for (unsigned i = 0; i < count; i++)
        keys[i] = group[i].key;
    memtable_warm(m, keys, count);
}

int batch_insert(slice payload, struct memtable *m, uint64_t seq, const char *where,
                 struct kevo_err *err) {
    struct change group[MEMTABLE_WARM_MAX];
    unsigned count;
    struct reader r = reader_of(payload);
    while (reader_left(&r) > 0) {
        if (!read_group(&r, group, &count))
            return kevo_fail(err, KEVO_CORRUPT, "%s: a change in batch %llu makes no sense", where,
                             (unsigned long long)seq);
        if (count > 1) warm_group(m, group, count);
        for (unsigned i = 0; i < count; i++) {
            int rc = memtable_add(m, group[i].key, seq, group[i].type, group[i].value, err);
            if (rc) return rc;
        }
    }
    return 0;
}
