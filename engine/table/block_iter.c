#include "engine/table/block.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/table/block_entry.h"

void block_iter_init(struct block_iter *it) {
    *it = (struct block_iter){.base.ops = &block_iter_ops};
}

void block_iter_release(struct block_iter *it) {
    buf_release(&it->key);
    buf_release(&it->run_keys);
    mem_free(it->run);
    it->run = NULL;
    it->run_count = it->run_cap = 0;
    it->base.valid = false;
}

int block_iter_set(struct block_iter *it, slice block, const char *name, uint64_t offset,
                   struct kevo_err *err) {
    it->base.valid = false;
    it->run_count = 0;
    it->name = name;
    it->offset = offset;
    it->frame = (struct block_frame){0};
    return block_frame_of(block, &it->frame, name, offset, err);
}

int block_iter_damaged(struct block_iter *it, struct kevo_err *err) {
    it->base.valid = false;
    return kevo_fail(err, KEVO_CORRUPT, "%s: block at %llu: an entry does not make sense", it->name,
                     (unsigned long long)it->offset);
}

int block_iter_grow_key(struct block_iter *it, size_t len, struct kevo_err *err) {
    enum { FIRST_BYTES = 256 };
    it->key.len = 0; /* growing keeps all that lies in the old memory */
    if (buf_reserve(&it->key, (len < FIRST_BYTES ? FIRST_BYTES : len) + BLOCK_KEY_SLOP)) return 0;
    it->base.valid = false;
    return kevo_nomem(err);
}

int block_iter_take_key(struct block_iter *it, struct kevo_err *err) {
    slice key = it->base.key;
    if (key.len + BLOCK_KEY_SLOP > it->key.cap) {
        int rc = block_iter_grow_key(it, key.len, err);
        if (rc) return rc;
    }
    if (key.len) memcpy(it->key.data, key.data, key.len);
    it->base.key.data = it->key.data;
    return 0;
}

/* ---- moving forward ---------------------------------------------------------- */

static int block_seek_first(struct iter *base, struct kevo_err *err) {
    struct block_iter *it = (struct block_iter *)base;
    it->next = it->frame.heads_at;
    it->value_next = 0;
    it->base.key.len = 0;
    return block_iter_step(it, err);
}

/* Go behind all versions of the key: they are all newer than what is sought. */
static int seek_past(struct block_iter *it, slice key, struct kevo_err *err) {
    int rc = block_iter_ops.seek(&it->base, key, it->base_seq, err);
    while (rc == 0 && it->base.valid && slice_eq(it->base.key, key))
        rc = block_iter_step(it, err);
    return rc;
}

static int block_seek(struct iter *base, slice key, uint64_t seq, struct kevo_err *err) {
    struct block_iter *it = (struct block_iter *)base;
    struct block_entry e;
    bool same;
    it->base.valid = false;
    if (unlikely(seq < it->base_seq)) return seek_past(it, key, err);
    int rc = block_locate(&it->frame, key, seq - it->base_seq, &e, &same);
    if (rc) return rc == KEVO_NOTFOUND ? 0 : block_iter_damaged(it, err);
    if (unlikely(e.shared + (size_t)BLOCK_KEY_SLOP > it->key.cap)) {
        rc = block_iter_grow_key(it, e.shared, err);
        if (rc) return rc;
    }
    if (e.shared) memcpy(it->key.data, key.data, e.shared);
    return block_iter_stand(it, &e, err);
}

static int block_next(struct iter *base, struct kevo_err *err) {
    assert(base->valid);
    return block_iter_step((struct block_iter *)base, err);
}

/* ---- moving backward ---------------------------------------------------------- */

/* Entries know their successors only. So the first step back walks the run from
 * its restart point, records its entries and puts their keys together; the steps after it
 * take one entry each, until the run is used up. */

/* What long keys take of memory is bounded: then only the last entry is kept, and those before
 * it are recorded when it comes to them. */
enum { RUN_KEYS_BYTES = 1 << 20 };

static void forget_older(struct block_iter *it) {
    struct block_run_entry last = it->run[it->run_count - 1];
    memmove(it->run_keys.data, it->run_keys.data + last.key_at, last.key_len);
    it->run_keys.len = last.key_len;
    last.key_at = 0;
    it->run[0] = last;
    it->run_count = 1;
}

static int record(struct block_iter *it, const struct block_entry *e, struct kevo_err *err) {
    size_t key_len = (size_t)e->shared + e->unshared;
    struct buf *keys = &it->run_keys;
    if (unlikely(keys->len > RUN_KEYS_BYTES)) forget_older(it);
    if ((it->run_count == it->run_cap &&
         !mem_grow((void **)&it->run, &it->run_cap, it->run_count + 1, sizeof *it->run)) ||
        !buf_reserve(keys, key_len + 1)) {
        it->base.valid = false;
        return kevo_nomem(err);
    }
    uint8_t *key = keys->data + keys->len;
    if (e->shared) memcpy(key, keys->data + it->run[it->run_count - 1].key_at, e->shared);
    if (e->unshared) memcpy(key + e->shared, it->frame.data + e->key_at, e->unshared);
    it->run[it->run_count++] = (struct block_run_entry){.seq = e->seq,
                                                        .key_at = keys->len,
                                                        .key_len = key_len,
                                                        .at = e->at,
                                                        .end = e->end,
                                                        .value_at = e->value_at,
                                                        .value_end = e->value_end,
                                                        .type = e->type};
    keys->len += key_len;
    return 0;
}

/* Record the entries from restart point `restart` to offset `limit`, which must be
 * where one of them ends. */
static int record_run(struct block_iter *it, uint32_t restart, uint32_t limit,
                      struct kevo_err *err) {
    struct block_entry e;
    size_t passed_len = 0;
    it->run_restart = restart;
    it->run_count = 0;
    buf_reset(&it->run_keys);
    if (!block_restart_decode(&it->frame, restart, &e)) return block_iter_damaged(it, err);
    while (e.at < limit && e.shared <= passed_len) {
        int rc = record(it, &e, err);
        if (rc || e.end == limit) return rc;
        passed_len = (size_t)e.shared + e.unshared;
        if (!block_entry_decode(&it->frame, e.end, e.value_end, &e)) break;
    }
    return block_iter_damaged(it, err);
}

/* Stand on run[pos]. Its key stays where it is until a step forward. */
static void stand_in_run(struct block_iter *it, size_t pos) {
    const struct block_run_entry *e = &it->run[pos];
    it->run_pos = pos;
    it->at = e->at;
    it->next = e->end;
    it->value_next = e->value_end;
    it->base.valid = true;
    it->base.type = e->type;
    it->base.seq = e->seq + it->base_seq;
    it->base.key = slice_of(it->run_keys.data + e->key_at, e->key_len);
    it->base.value = slice_of(it->frame.data + e->value_at, e->value_end - e->value_at);
}

/* Stand on the last entry before offset `limit`, coming from restart point
 * `restart`. */
static int enter_run(struct block_iter *it, uint32_t restart, uint32_t limit,
                     struct kevo_err *err) {
    int rc = record_run(it, restart, limit, err);
    if (rc) return rc;
    stand_in_run(it, it->run_count - 1);
    return 0;
}

/* The last restart point that lies before offset `at`. */
static uint32_t restart_before(const struct block_frame *f, uint32_t at) {
    uint32_t low = 0, high = f->restart_count;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (block_restart_at(f, mid) < at)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static int block_prev(struct iter *base, struct kevo_err *err) {
    struct block_iter *it = (struct block_iter *)base;
    assert(base->valid);
    uint32_t at = it->at;
    if (at == it->frame.heads_at) {
        it->base.valid = false;
        return 0;
    }
    if (it->run_pos >= it->run_count || it->run[it->run_pos].at != at)
        return enter_run(it, restart_before(&it->frame, at), at, err);
    if (it->run_pos > 0) {
        stand_in_run(it, it->run_pos - 1);
        return 0;
    }
    uint32_t restart = it->run_restart;
    if (at == block_restart_at(&it->frame, restart) && restart-- == 0)
        return block_iter_damaged(it, err);
    return enter_run(it, restart, at, err);
}

static int block_seek_last(struct iter *base, struct kevo_err *err) {
    struct block_iter *it = (struct block_iter *)base;
    it->base.valid = false;
    if (it->frame.heads_at == it->frame.heads_end) return 0;
    return enter_run(it, it->frame.restart_count - 1, it->frame.heads_end, err);
}

static int block_seek_before(struct iter *base, slice key, struct kevo_err *err) {
    int rc = block_seek(base, key, SEQ_MAX, err);
    if (rc) return rc;
    return base->valid ? block_prev(base, err) : block_seek_last(base, err);
}

static void block_close(struct iter *base) {
    block_iter_release((struct block_iter *)base);
}

const struct iter_ops block_iter_ops = {
    .seek = block_seek,
    .seek_first = block_seek_first,
    .seek_before = block_seek_before,
    .seek_last = block_seek_last,
    .next = block_next,
    .prev = block_prev,
    .close = block_close,
};
