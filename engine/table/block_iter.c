#include "engine/table/block.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/table/block_entry.h"

void block_iter_init(struct block_iter *it) {
    *it = (struct block_iter){.base.ops = &block_iter_ops};
}

void block_iter_release(struct block_iter *it) {
    buf_release(&it->key);
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
 * its restart point and records where its entries lie; the steps after it take
 * one entry each, until the run is used up. */

static bool record(struct block_iter *it, const struct block_run_entry *entry) {
    if (it->run_count == it->run_cap &&
        !mem_grow((void **)&it->run, &it->run_cap, it->run_count + 1, sizeof *it->run))
        return false;
    it->run[it->run_count++] = *entry;
    return true;
}

/* Record the entries from restart point `restart` to offset `limit`, which must be
 * where one of them ends. */
static int record_run(struct block_iter *it, uint32_t restart, uint32_t limit,
                      struct kevo_err *err) {
    struct block_entry e;
    size_t passed_len = 0;
    it->run_restart = restart;
    it->run_count = 0;
    if (!block_restart_decode(&it->frame, restart, &e)) return block_iter_damaged(it, err);
    while (e.at < limit && e.shared <= passed_len) {
        if (!record(it, &(struct block_run_entry){e.at, e.value_at, e.shared})) {
            it->base.valid = false;
            return kevo_nomem(err);
        }
        if (e.end == limit) return 0;
        passed_len = (size_t)e.shared + e.unshared;
        if (!block_entry_decode(&it->frame, e.end, e.value_end, &e)) break;
    }
    return block_iter_damaged(it, err);
}

/* Put the first `need` key bytes of run[pos] together from the entries before it;
 * the first `have` are in place already. */
static bool gather_key(struct block_iter *it, size_t pos, size_t need, size_t have) {
    struct block_entry e;
    while (need > have) {
        if (pos-- == 0 ||
            !block_entry_decode(&it->frame, it->run[pos].at, it->run[pos].value_at, &e))
            return false;
        if (e.shared >= need) continue;
        size_t from = e.shared > have ? e.shared : have;
        if (need - e.shared > e.unshared) return false;
        memcpy(it->key.data + from, it->frame.data + e.key_at + (from - e.shared), need - from);
        need = from;
    }
    return true;
}

/* Stand on run[pos], the first `have` bytes of whose key are in place. */
static int stand_in_run(struct block_iter *it, size_t pos, size_t have, struct kevo_err *err) {
    struct block_entry e;
    if (!block_entry_decode(&it->frame, it->run[pos].at, it->run[pos].value_at, &e))
        return block_iter_damaged(it, err);
    if (unlikely(e.shared > it->key.cap)) {
        int rc = block_iter_grow_key(it, e.shared, err);
        if (rc) return rc;
    }
    if (!gather_key(it, pos, e.shared, have)) return block_iter_damaged(it, err);
    it->run_pos = pos;
    return block_iter_stand(it, &e, err);
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
    if (it->run_pos >= it->run_count || it->run[it->run_pos].at != at)
        return enter_run(it, restart_before(&it->frame, at), at, err);
    /* The entry before has the bytes in place that this one shares with it. */
    if (it->run_pos > 0) return stand_in_run(it, it->run_pos - 1, it->run[it->run_pos].shared, err);
    if (it->run_restart == 0) return block_iter_damaged(it, err);
    return enter_run(it, it->run_restart - 1, at, err);
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
