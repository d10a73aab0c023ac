#include "engine/base/error.h"
#include "engine/table/block.h"
#include "engine/table/filter.h"
#include "engine/table/table_impl.h"

/* What has been read so far. */
struct audit {
    struct table *table;
    size_t block_at;
    uint64_t offset; /* of that block */
    uint64_t passed; /* see table_pass() */
    struct table_properties seen;
    struct buf last_key;
    uint64_t last_seq;
};

static int wrong(const struct audit *a, const char *what, struct kevo_err *err) {
    return kevo_fail(err, KEVO_CORRUPT, "%s: block at %llu: %s", a->table->path,
                     (unsigned long long)a->offset, what);
}

/* Whether a range tombstone begins where the table does. */
static bool lowest_is_range(const struct table *t) {
    return t->ranges && slice_eq(t->ranges->fragments[0].lower, t->min_key);
}

static int check_entry(struct audit *a, const struct iter *e, struct kevo_err *err) {
    const struct table *t = a->table;
    struct table_properties *p = &a->seen;
    bool is_first = p->entry_count == 0;
    if (is_first && !slice_eq(e->key, t->min_key) && !lowest_is_range(t))
        return wrong(a, "another first key", err);
    if (is_first && slice_cmp(e->key, t->min_key) < 0) return wrong(a, "another first key", err);
    if (!is_first && entry_cmp(buf_slice(&a->last_key), a->last_seq, e->key, e->seq) >= 0)
        return wrong(a, "entries out of order", err);
    if (table_index_compare(&t->index, a->block_at, e->key) < 0)
        return wrong(a, "a key above the separator", err);
    if (a->block_at && table_index_compare(&t->index, a->block_at - 1, e->key) > 0)
        return wrong(a, "a key below the separator before", err);
    if (!filter_may_contain(t->filter, key_hash(e->key)))
        return wrong(a, "a key is missing in the filter", err);
    uint64_t newer_seq = !is_first && slice_eq(buf_slice(&a->last_key), e->key) ? a->last_seq : 0;
    if (is_first || e->seq < p->min_seq) p->min_seq = e->seq;
    if (e->seq > p->max_seq) p->max_seq = e->seq;
    p->entry_count++;
    p->tombstone_count += e->type == ENTRY_DELETE;
    p->key_count += newer_seq == 0;
    table_properties_add_garbage(p, e->seq, e->type, newer_seq);
    p->key_bytes += e->key.len;
    p->value_bytes += e->value.len;
    a->last_seq = e->seq;
    return buf_set(&a->last_key, e->key) ? 0 : kevo_nomem(err);
}

/* A separator that equals the first key of the next block must be the last key of
 * its own: else that key's newest versions would be looked for in the wrong one. */
static int check_boundary(struct audit *a, const struct iter *e, struct kevo_err *err) {
    if (a->block_at == 0 || !e->valid ||
        !table_index_is_key(&a->table->index, a->block_at - 1, e->key) ||
        slice_eq(buf_slice(&a->last_key), e->key))
        return 0;
    return wrong(a, "its first key is the separator before", err);
}

/* Counting a range goes by that, without a look at the entries. */
static int check_count(const struct audit *a, slice block, uint64_t entries, struct kevo_err *err) {
    uint32_t count;
    int rc = block_count(block, &count, a->table->path, a->offset, err);
    if (rc || count == entries) return rc;
    return wrong(a, "its restart points are not as far apart as they should be", err);
}

static int check_block(struct audit *a, struct block_iter *it, struct buf *scratch,
                       struct kevo_err *err) {
    uint64_t before = a->seen.entry_count;
    struct table_block b;
    int rc = table_block_read(a->table, a->block_at, true, scratch, &b, err);
    a->offset = b.offset;
    table_pass(a->table, b.offset, &a->passed);
    if (rc == 0) rc = block_iter_set(it, b.bytes, a->table->path, b.offset, err);
    if (rc == 0) rc = it->base.ops->seek_first(&it->base, err);
    if (rc == 0) rc = check_boundary(a, &it->base, err);
    while (rc == 0 && it->base.valid) {
        rc = check_entry(a, &it->base, err);
        if (rc == 0) rc = it->base.ops->next(&it->base, err);
    }
    if (rc == 0) rc = check_count(a, b.bytes, a->seen.entry_count - before, err);
    a->seen.block_count++;
    return rc;
}

/* What the range tombstones add. */
static void add_ranges(struct audit *a) {
    const struct range_set *set = a->table->ranges;
    struct table_properties *p = &a->seen;
    if (!set) return;
    uint64_t min_seq = set->min_seq - a->table->base_seq,
             max_seq = set->max_seq - a->table->base_seq;
    p->range_count = set->seq_count;
    if (p->entry_count == 0 || min_seq < p->min_seq) p->min_seq = min_seq;
    if (max_seq > p->max_seq) p->max_seq = max_seq;
    if (p->garbage_seq == 0 || min_seq < p->garbage_seq) p->garbage_seq = min_seq;
}

/* The largest key: of an entry, or else, and above it, where a range tombstone ends. That
 * the ranges reach up to there, and not further, was checked on opening. */
static bool ends_right(const struct audit *a) {
    const struct table *t = a->table;
    if (!t->properties.ends_below) return slice_eq(buf_slice(&a->last_key), t->max_key);
    return slice_cmp(buf_slice(&a->last_key), t->max_key) < 0;
}

static bool begins_right(const struct audit *a) {
    return a->seen.entry_count > 0 || lowest_is_range(a->table);
}

static int check_properties(const struct audit *a, struct kevo_err *err) {
    const struct table_properties *p = &a->table->properties, *seen = &a->seen;
    if (p->entry_count == seen->entry_count && p->tombstone_count == seen->tombstone_count &&
        p->key_count == seen->key_count && p->garbage_seq == seen->garbage_seq &&
        p->key_bytes == seen->key_bytes && p->value_bytes == seen->value_bytes &&
        p->block_count == seen->block_count && p->min_seq == seen->min_seq &&
        p->max_seq == seen->max_seq && p->range_count == seen->range_count && begins_right(a) &&
        ends_right(a))
        return 0;
    return kevo_fail(err, KEVO_CORRUPT, "%s: the properties differ from the entries",
                     a->table->path);
}

int table_verify(struct table *t, struct kevo_err *err) {
    struct audit a = {.table = t};
    struct block_iter it;
    struct buf scratch = {0};
    int rc = 0;
    if (!table_index_is_true(&t->index))
        return kevo_fail(err, KEVO_CORRUPT, "%s: the index contradicts itself", t->path);
    block_iter_init(&it);
    for (; rc == 0 && a.block_at < t->index.count; a.block_at++)
        rc = check_block(&a, &it, &scratch, err);
    add_ranges(&a);
    if (rc == 0) rc = check_properties(&a, err);
    block_iter_release(&it);
    buf_release(&a.last_key);
    buf_release(&scratch);
    return rc;
}
