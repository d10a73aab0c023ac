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

/* Entries know their successors only. So the first step back walks the run from its restart point
 * and records its entries; the steps after it take one of them each, until the run is used up.
 * A scan has use for the keys of all of them, which are put together on the way then. After a seek
 * it is mostly for one row or a few, and their keys are made when they are stood on. */

static int begin_run(struct block_iter *it, uint32_t restart, bool has_keys, struct block_entry *e,
                     struct kevo_err *err) {
    it->run_restart = restart;
    it->run_count = 0;
    it->run_has_keys = has_keys;
    buf_reset(&it->run_keys);
    return block_restart_decode(&it->frame, restart, e) ? 0 : block_iter_damaged(it, err);
}

static inline int record(struct block_iter *it, const struct block_entry *e, struct kevo_err *err) {
    if (unlikely(it->run_count == it->run_cap) &&
        !mem_grow((void **)&it->run, &it->run_cap, it->run_count + 1, sizeof *it->run)) {
        it->base.valid = false;
        return kevo_nomem(err);
    }
    it->run[it->run_count++] = (struct block_run_entry){*e, it->run_keys.len};
    return 0;
}

static inline size_t key_len(const struct block_entry *e) {
    return (size_t)e->shared + e->unshared;
}

/* What long keys take of memory is bounded: then only the last entry is kept, and those before
 * it are recorded when it comes to them. */
enum { RUN_KEYS_BYTES = 1 << 20 };

static void forget_older(struct block_iter *it) {
    struct block_run_entry last = it->run[it->run_count - 1];
    size_t len = key_len(&last.head);
    memmove(it->run_keys.data, it->run_keys.data + last.key_at, len);
    it->run_keys.len = len;
    last.key_at = 0;
    it->run[0] = last;
    it->run_count = 1;
}

static int record_with_key(struct block_iter *it, const struct block_entry *e,
                           struct kevo_err *err) {
    struct buf *keys = &it->run_keys;
    if (unlikely(keys->len > RUN_KEYS_BYTES)) forget_older(it);
    if (!buf_reserve(keys, key_len(e) + 1)) {
        it->base.valid = false;
        return kevo_nomem(err);
    }
    uint8_t *key = keys->data + keys->len;
    if (e->shared) memcpy(key, keys->data + it->run[it->run_count - 1].key_at, e->shared);
    if (e->unshared) memcpy(key + e->shared, it->frame.data + e->key_at, e->unshared);
    int rc = record(it, e, err);
    if (rc == 0) keys->len += key_len(e);
    return rc;
}

/* Go to the entry behind *e. */
static inline int pass(struct block_iter *it, struct block_entry *e, struct kevo_err *err) {
    size_t passed_len = key_len(e);
    bool fits = block_entry_decode(&it->frame, e->end, e->value_end, e) && e->shared <= passed_len;
    return likely(fits) ? 0 : block_iter_damaged(it, err);
}

/* Record the entries from restart point `restart` to offset `limit`, which must be
 * where one of them ends. */
static int record_run(struct block_iter *it, uint32_t restart, uint32_t limit,
                      struct kevo_err *err) {
    struct block_entry e;
    int rc = begin_run(it, restart, true, &e, err);
    while (rc == 0 && e.at < limit) {
        rc = record_with_key(it, &e, err);
        if (rc || e.end == limit) return rc;
        rc = pass(it, &e, err);
    }
    return rc ? rc : block_iter_damaged(it, err);
}

/* Record the entries from restart point `restart` to the last that lies before `key`. */
static int record_before(struct block_iter *it, uint32_t restart, slice key, struct kevo_err *err) {
    struct block_entry e;
    size_t matched = 0;
    bool same;
    int rc = begin_run(it, restart, false, &e, err);
    while (rc == 0 && block_entry_is_before(&it->frame, &e, key, SEQ_MAX, &matched, &same)) {
        rc = record(it, &e, err);
        if (rc || e.end == it->frame.heads_end) return rc;
        rc = pass(it, &e, err);
    }
    return rc;
}

/* Put the key of run[pos] into `key`, of which the first `there` bytes are there already. */
static int put_key(struct block_iter *it, size_t pos, size_t there, struct kevo_err *err) {
    const struct block_entry *e = &it->run[pos].head;
    size_t need = key_len(e);
    if (unlikely(need + BLOCK_KEY_SLOP > it->key.cap)) {
        int rc = block_iter_grow_key(it, need, err);
        if (rc) return rc;
        there = 0;
    }
    /* Each entry in front of it has the bytes that it shares with the one behind, so the run's
     * first, which shares none, ends it. */
    while (need > there) {
        e = &it->run[pos--].head;
        if (e->shared >= need) continue;
        memcpy(it->key.data + e->shared, it->frame.data + e->key_at, need - e->shared);
        need = e->shared;
    }
    return 0;
}

/* Stand on run[pos]. A key of the run stays where it is until a step forward. If it is to be made,
 * its first `there` bytes are in place. */
static int stand_in_run(struct block_iter *it, size_t pos, size_t there, struct kevo_err *err) {
    const struct block_entry *e = &it->run[pos].head;
    int rc = it->run_has_keys ? 0 : put_key(it, pos, there, err);
    if (rc) return rc;
    const uint8_t *key = it->run_has_keys ? it->run_keys.data + it->run[pos].key_at : it->key.data;
    it->run_pos = pos;
    it->at = e->at;
    it->next = e->end;
    it->value_next = e->value_end;
    it->base.valid = true;
    it->base.type = e->type;
    it->base.seq = e->seq + it->base_seq;
    it->base.key = slice_of(key, key_len(e));
    it->base.value = slice_of(it->frame.data + e->value_at, e->value_end - e->value_at);
    return 0;
}

/* Stand on the last entry before offset `limit`, coming from restart point
 * `restart`. */
static int enter_run(struct block_iter *it, uint32_t restart, uint32_t limit,
                     struct kevo_err *err) {
    int rc = record_run(it, restart, limit, err);
    return rc ? rc : stand_in_run(it, it->run_count - 1, 0, err);
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
    if (it->run_pos >= it->run_count || it->run[it->run_pos].head.at != at)
        return enter_run(it, restart_before(&it->frame, at), at, err);
    if (it->run_pos > 0)
        return stand_in_run(it, it->run_pos - 1, it->run[it->run_pos].head.shared, err);
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
    struct block_iter *it = (struct block_iter *)base;
    uint32_t restart;
    it->base.valid = false;
    if (it->frame.heads_at == it->frame.heads_end) return 0;
    if (key.len == 0) return 0;
    if (block_find_restart(&it->frame, key, SEQ_MAX, &restart)) return block_iter_damaged(it, err);
    int rc = record_before(it, restart, key, err);
    if (rc || it->run_count == 0) return rc;
    return stand_in_run(it, it->run_count - 1, 0, err);
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
