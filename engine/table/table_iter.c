#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/table/block_entry.h"
#include "engine/table/table_impl.h"

/* An iterator over a table is the iterator over one of its blocks, and knows how to
 * go on to the next: inside a block nothing is copied between the two. */
struct table_iter {
    struct block_iter block; /* first: its base is this iterator's */
    struct table *table;
    struct table_block source; /* what `block` looks at */
    struct buf scratch;        /* decompressed blocks that bypass the cache */
    size_t at;                 /* which block that is; the table's count: none */
    size_t aimed;              /* the block that the seek announced will look at */
    unsigned run;              /* blocks passed since the last seek */
    uint64_t passed;           /* see table_pass(); unless `keep` */
    bool keep;
};

/* A scan that has passed so many blocks leaves the cache as it is: what it reads once
 * costs less in a buffer that stays in the processor's cache than memory of its own. */
enum { SCAN_RUN = 8 };

/* What a parked iterator keeps at most of what it needed to go backward. */
enum { PARKED_BYTES = 64 << 10 };

/* ---- blocks ---------------------------------------------------------------- */

static void leave_block(struct table_iter *it) {
    table_block_release(it->table, &it->source);
    it->block.base.valid = false;
    it->at = it->table->index.count;
}

/* When the blocks come to a new window of the file, ask for the one behind it. */
static void read_ahead(const struct table_iter *it) {
    const uint64_t window = 2 << 20;
    const struct table *t = it->table;
    uint64_t begin = it->source.offset, end = table_index_offset(&t->index, it->at + 1);
    uint64_t from = (end / window + 1) * window, last = from + window;
    if (begin == 0)
        from = 0;
    else if (begin / window == end / window)
        return;
    if (last > t->size_bytes) last = t->size_bytes;
    if (from < last) t->env->advise(t->env, t->map + from, (size_t)(last - from), true);
}

static int enter_block(struct table_iter *it, size_t i, struct kevo_err *err) {
    struct table *t = it->table;
    it->block.base.valid = false;
    if (it->at == i) return 0;
    leave_block(it);
    struct buf *scratch = it->run < SCAN_RUN ? NULL : &it->scratch;
    if (it->keep) table_block_prefetch(t, i, CACHE_END_LINES);
    int rc = it->keep ? table_block_get(t, i, scratch, &it->source, err)
                      : table_block_read(t, i, false, &it->scratch, &it->source, err);
    if (rc) return rc;
    rc = block_iter_set(&it->block, it->source.bytes, t->path, it->source.offset, err);
    if (rc) {
        leave_block(it);
        return rc;
    }
    it->at = i;
    return 0;
}

/* The iterator stands in a block, and will come to the `next` one, mostly, and then to the one
 * `after` it: bring in the first, from the cache or as it is stored, and where the second will
 * be looked up. A long scan leaves the cache alone, so it finds little there. */
static void prepare_next(const struct table_iter *it, size_t next, size_t after) {
    const struct table *t = it->table;
    if (it->run >= SCAN_RUN || !it->keep) {
        table_block_fetch(t, next);
        return;
    }
    if (next < t->index.count && !table_block_prefetch(t, next, CACHE_END_LINES))
        table_block_aim(t, next, 2);
    if (after < t->index.count) table_block_aim(t, after, 1);
}

/* From the end of block i on: the first entry of the blocks behind it. */
static int go_forward(struct table_iter *it, size_t i, struct kevo_err *err) {
    while (++i < it->table->index.count) {
        it->run++;
        int rc = enter_block(it, i, err);
        if (rc == 0 && (!it->keep || it->run >= SCAN_RUN)) read_ahead(it);
        if (rc == 0 && !it->keep) table_pass(it->table, it->source.offset, &it->passed);
        prepare_next(it, i + 1, i + 2);
        if (rc == 0) rc = block_iter_ops.seek_first(&it->block.base, err);
        if (rc || it->block.base.valid) return rc;
    }
    leave_block(it);
    return 0;
}

/* From the beginning of block i back. */
static int go_backward(struct table_iter *it, size_t i, struct kevo_err *err) {
    while (i-- > 0) {
        it->run++;
        int rc = enter_block(it, i, err);
        prepare_next(it, i - 1, i - 2); /* before the first: beyond the last */
        if (rc == 0) rc = block_iter_ops.seek_last(&it->block.base, err);
        if (rc || it->block.base.valid) return rc;
    }
    leave_block(it);
    return 0;
}

/* ---- motions --------------------------------------------------------------- */

static int table_next(struct iter *base, struct kevo_err *err) {
    struct table_iter *it = (struct table_iter *)base;
    assert(base->valid);
    int rc = block_iter_step(&it->block, err);
    if (likely(base->valid) || rc) return rc;
    return go_forward(it, it->at, err);
}

static int table_prev(struct iter *base, struct kevo_err *err) {
    struct table_iter *it = (struct table_iter *)base;
    int rc = block_iter_ops.prev(base, err);
    if (likely(base->valid) || rc) return rc;
    return go_backward(it, it->at, err);
}

static int table_seek_first(struct iter *base, struct kevo_err *err) {
    struct table_iter *it = (struct table_iter *)base;
    it->run = 0;
    if (it->table->index.count == 0) return 0; /* range tombstones alone */
    int rc = enter_block(it, 0, err);
    if (rc == 0 && !it->keep) read_ahead(it);
    if (rc == 0) rc = block_iter_ops.seek_first(base, err);
    if (base->valid || rc) return rc;
    return go_forward(it, 0, err);
}

static int table_seek_last(struct iter *base, struct kevo_err *err) {
    struct table_iter *it = (struct table_iter *)base;
    it->run = 0;
    return go_backward(it, it->table->index.count, err);
}

static int table_seek(struct iter *base, slice key, uint64_t seq, struct kevo_err *err) {
    struct table_iter *it = (struct table_iter *)base;
    it->run = 0;
    size_t i = table_index_find(&it->table->index, key);
    if (i == it->table->index.count) {
        leave_block(it);
        return 0;
    }
    int rc = enter_block(it, i, err);
    if (rc == 0) rc = block_iter_ops.seek(base, key, seq, err);
    /* Old versions of one key may reach over several blocks. */
    while (rc == 0 && !base->valid && table_index_is_key(&it->table->index, i, key) &&
           i + 1 < it->table->index.count) {
        rc = enter_block(it, ++i, err);
        if (rc == 0) rc = block_iter_ops.seek(base, key, seq, err);
    }
    if (base->valid || rc) return rc;
    return go_forward(it, i, err);
}

static void table_aim(struct iter *base, slice key, unsigned step) {
    struct table_iter *it = (struct table_iter *)base;
    const struct table *t = it->table;
    if (step == 0) table_index_aim(&t->index, key);
    if (step == 1) it->aimed = table_index_find(&t->index, key);
    if (step > 0 && it->aimed < t->index.count && it->aimed != it->at)
        table_block_aim(t, it->aimed, step);
}

static int table_seek_before(struct iter *base, slice key, struct kevo_err *err) {
    struct table_iter *it = (struct table_iter *)base;
    it->run = 0;
    size_t i = table_index_find(&it->table->index, key);
    if (i == it->table->index.count) return go_backward(it, i, err);
    int rc = enter_block(it, i, err);
    if (rc == 0) rc = block_iter_ops.seek_before(base, key, err);
    if (base->valid || rc) return rc;
    return go_backward(it, i, err);
}

static void table_iter_close(struct iter *base) {
    struct table_iter *it = (struct table_iter *)base;
    if (it->table) leave_block(it);
    block_iter_release(&it->block);
    buf_release(&it->scratch);
    mem_free(it);
}

static const struct iter_ops table_iter_ops = {
    .seek = table_seek,
    .seek_first = table_seek_first,
    .seek_before = table_seek_before,
    .seek_last = table_seek_last,
    .next = table_next,
    .prev = table_prev,
    .close = table_iter_close,
    .aim = table_aim,
};

void table_iter_bind(struct iter *base, struct table *t) {
    struct table_iter *it = (struct table_iter *)base;
    if (it->table) leave_block(it);
    it->block.base_seq = t->base_seq;
    it->table = t;
    it->at = t->index.count;
    it->run = 0;
    it->passed = 0;
}

void table_iter_park(struct iter *base) {
    struct table_iter *it = (struct table_iter *)base;
    if (it->table) leave_block(it);
    it->table = NULL;
    buf_release(&it->scratch);
    if (it->block.run_keys.cap > PARKED_BYTES) block_iter_release(&it->block);
}

int table_iter_new(struct table *t, bool keep, struct iter **iter, struct kevo_err *err) {
    *iter = NULL;
    struct table_iter *it = mem_zalloc(sizeof *it);
    if (!it) return kevo_nomem(err);
    block_iter_init(&it->block);
    it->block.base.ops = &table_iter_ops;
    it->keep = keep;
    table_iter_bind(&it->block.base, t);
    *iter = &it->block.base;
    return 0;
}
