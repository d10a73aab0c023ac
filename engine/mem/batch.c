#include "engine/mem/batch.h"

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/base/error.h"

int batch_put_entry(struct buf *b, uint8_t type, slice key, slice value, struct kevo_err *err) {
    if (type == CHANGE_DELETE_RANGE) value = range_end_shorten(value);
    if (!buf_reserve(b, 2 * VARINT64_MAX_BYTES + key.len + value.len)) return kevo_nomem(err);
    uint8_t *p = b->data + b->len;
    p = put_varint(p, (uint64_t)key.len << 2 | type);
    if (type != ENTRY_DELETE) p = put_varint(p, value.len);
    if (key.len) memcpy(p, key.data, key.len);
    p += key.len;
    if (value.len) memcpy(p, value.data, value.len);
    p += value.len;
    b->len = (size_t)(p - b->data);
    return 0;
}

/* The union of a buffer's range tombstones: what came when does not matter between them. */
static int unite_ranges(const struct memtable *m, struct range_set **set, struct kevo_err *err) {
    struct range_list list = {0};
    *set = NULL;
    int rc = range_stack_list(&m->ranges, &list, err);
    for (size_t i = 0; i < list.count; i++)
        list.ranges[i].seq = 1;
    if (rc == 0) rc = range_set_new(&list, false, set, err);
    range_list_release(&list);
    return rc;
}

static int put_ranges(struct buf *b, const struct memtable *m, struct batch_totals *totals,
                      struct kevo_err *err) {
    struct range_set *set;
    if (range_stack_is_empty(&m->ranges)) return 0;
    int rc = unite_ranges(m, &set, err);
    if (rc) return rc;
    for (size_t i = 0; i < set->count && rc == 0; i++) {
        const struct range_fragment *f = &set->fragments[i];
        rc = batch_put_entry(b, CHANGE_DELETE_RANGE, f->lower, f->upper, err);
        totals->user_bytes += f->lower.len + range_end_shorten(f->upper).len;
    }
    totals->range_deletes += set->count;
    range_set_free(set);
    return rc;
}

/* The range tombstones that are newer than every entry: of what they cover nothing needs to be
 * looked at. */
static int list_newest(const struct memtable *m, uint64_t newest_entry, struct range_set **set,
                       struct kevo_err *err) {
    struct range_list list = {0};
    size_t kept = 0;
    *set = NULL;
    if (range_stack_is_empty(&m->ranges)) return 0;
    int rc = range_stack_list(&m->ranges, &list, err);
    for (size_t i = 0; i < list.count; i++)
        if (list.ranges[i].seq > newest_entry) list.ranges[kept++] = list.ranges[i];
    list.count = kept;
    if (rc == 0) rc = range_set_new(&list, true, set, err);
    range_list_release(&list);
    return rc;
}

static int put_entry(struct buf *b, const struct iter *it, struct batch_totals *totals,
                     struct kevo_err *err) {
    int rc = batch_put_entry(b, it->type, it->key, it->value, err);
    if (rc) return rc;
    if (it->type == ENTRY_PUT)
        totals->puts++;
    else
        totals->deletes++;
    totals->user_bytes += it->key.len + it->value.len;
    return 0;
}

/* The entry is covered: go on to the next that may not be. */
static int pass_covered(struct iter *it, const struct range_set *newest, uint64_t newest_entry,
                        struct kevo_err *err) {
    slice end = newest ? range_set_skip_up(newest, it->key, newest_entry) : slice_of(NULL, 0);
    return end.data ? it->ops->seek(it, end, SEQ_MAX, err) : it->ops->next(it, err);
}

static int put_entries(struct buf *b, struct memtable *m, struct iter *it,
                       struct batch_totals *totals, struct kevo_err *err) {
    uint64_t newest_entry = atomic_load_explicit(&m->max_seq, memory_order_relaxed);
    slice last = slice_of(NULL, 0);
    struct range_set *newest;
    int rc = list_newest(m, newest_entry, &newest, err);
    if (rc == 0) rc = it->ops->seek_first(it, err);
    while (rc == 0 && it->valid) {
        /* Memtable keys stay where they are, so the last one can be kept as it is. */
        bool older = last.data && slice_eq(last, it->key);
        last = it->key;
        if (!older && memtable_cover(m, it->key, SEQ_MAX) > it->seq) {
            rc = pass_covered(it, newest, newest_entry, err);
            continue;
        }
        if (!older) rc = put_entry(b, it, totals, err);
        if (rc == 0) rc = it->ops->next(it, err);
    }
    range_set_free(newest);
    return rc;
}

int batch_put_memtable(struct buf *b, struct memtable *m, struct batch_totals *totals,
                       struct kevo_err *err) {
    struct iter *it;
    int rc = put_ranges(b, m, totals, err);
    if (rc == 0) rc = memtable_iter_new(m, &it, err);
    if (rc) return rc;
    rc = put_entries(b, m, it, totals, err);
    iter_close(it);
    return rc;
}

struct change {
    uint8_t type;
    slice key, value;
};

static bool read_change(struct reader *r, struct change *c) {
    uint64_t tag = read_varint(r), key_bytes = tag >> 2;
    c->type = tag & 3;
    uint64_t value_bytes = c->type == ENTRY_DELETE ? 0 : read_varint(r);
    c->key = read_bytes(r, key_bytes);
    c->value = read_bytes(r, value_bytes);
    if (r->bad || key_bytes == 0 || key_bytes > KEVO_MAX_KEY_BYTES) return false;
    if (c->type != CHANGE_DELETE_RANGE)
        return c->type <= ENTRY_PUT && value_bytes <= KEVO_MAX_VALUE_BYTES;
    if (value_bytes > KEVO_MAX_KEY_BYTES) return false;
    c->value = range_end_restore(c->value);
    return slice_cmp(c->key, c->value) < 0;
}

/* Range tombstones are gathered, to be added all at once. */
static int insert_change(struct memtable *m, const struct change *c, uint64_t seq,
                         struct range_list *ranges, struct kevo_err *err) {
    if (c->type == CHANGE_DELETE_RANGE) return range_list_add(ranges, c->key, c->value, seq, err);
    return memtable_add(m, c->key, seq, c->type, c->value, err);
}

static int insert_all(slice payload, struct memtable *m, uint64_t seq, const char *where,
                      struct range_list *ranges, struct kevo_err *err) {
    struct reader r = reader_of(payload);
    struct change c;
    while (reader_left(&r) > 0) {
        if (!read_change(&r, &c))
            return kevo_fail(err, KEVO_CORRUPT, "%s: a change in batch %llu makes no sense", where,
                             (unsigned long long)seq);
        int rc = insert_change(m, &c, seq, ranges, err);
        if (rc) return rc;
    }
    return ranges->count ? memtable_delete_ranges(m, ranges, seq, err) : 0;
}

int batch_insert(slice payload, struct memtable *m, uint64_t seq, const char *where,
                 struct kevo_err *err) {
    struct range_list ranges = {0};
    int rc = insert_all(payload, m, seq, where, &ranges, err);
    range_list_release(&ranges);
    return rc;
}
