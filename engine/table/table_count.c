/* Counting the entries of a table between two keys. */
#include "engine/table/block.h"
#include "engine/table/table_impl.h"

/* Of a block that may have entries outside of the bounds. */
static int count_between(struct table *t, size_t i, slice lower, slice upper, struct buf *scratch,
                         uint64_t *count, struct kevo_err *err) {
    struct block_iter it;
    struct table_block b;
    int rc = table_block_read(t, i, false, scratch, &b, err);
    if (rc) return rc;
    block_iter_init(&it);
    rc = block_iter_set(&it, b.bytes, t->path, b.offset, err);
    if (rc == 0) rc = it.base.ops->seek(&it.base, lower, SEQ_MAX, err);
    while (rc == 0 && it.base.valid && (!upper.data || slice_cmp(it.base.key, upper) < 0)) {
        ++*count;
        rc = it.base.ops->next(&it.base, err);
    }
    block_iter_release(&it);
    return rc;
}

int table_count(struct table *t, slice lower, slice upper, uint64_t *count, struct kevo_err *err) {
    size_t blocks = t->index.count, first = table_index_find(&t->index, lower);
    size_t last = upper.data ? table_index_find(&t->index, upper) : blocks;
    struct buf scratch = {0};
    int rc = 0;
    *count = 0;
    for (size_t i = first; rc == 0 && i < blocks && i <= last; i++) {
        uint32_t n = 0;
        table_block_fetch(t, i + 1);
        if (i > first && i < last)
            rc = table_block_count(t, i, &scratch, &n, err);
        else
            rc = count_between(t, i, lower, upper, &scratch, count, err);
        *count += n;
    }
    buf_release(&scratch);
    return rc;
}
