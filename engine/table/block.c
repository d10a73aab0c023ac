#include "engine/table/block.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/table/block_entry.h"

/* ---- writing --------------------------------------------------------------- */

void block_builder_init(struct block_builder *b, unsigned restart_interval) {
    assert(restart_interval > 0);
    *b = (struct block_builder){.restart_interval = restart_interval};
}

void block_builder_release(struct block_builder *b) {
    buf_release(&b->data);
    buf_release(&b->last_key);
    mem_free(b->restarts);
    b->restarts = NULL;
    b->restart_count = b->restart_cap = 0;
}

void block_builder_reset(struct block_builder *b) {
    buf_reset(&b->data);
    buf_reset(&b->last_key);
    b->restart_count = 0;
    b->since_restart = 0;
    b->entry_count = 0;
}

static bool add_restart(struct block_builder *b) {
    if (!mem_grow((void **)&b->restarts, &b->restart_cap, b->restart_count + 1,
                  sizeof *b->restarts))
        return false;
    b->restarts[b->restart_count++] = (uint32_t)b->data.len;
    b->since_restart = 0;
    return true;
}

/* The code of a sequence number's width: 0 to 6 bytes, or 7 for all 8. */
static unsigned seq_code(uint64_t seq) {
    if (seq == 0) return 0;
    unsigned bytes = (71 - (unsigned)__builtin_clzll(seq)) / 8;
    return bytes > 6 ? 7 : bytes;
}

static uint8_t *put_head(uint8_t *p, size_t shared, size_t unshared, size_t value_len, uint64_t seq,
                         uint8_t type) {
    unsigned code = seq_code(seq);
    *p++ = (uint8_t)(code | (type == ENTRY_PUT ? ENTRY_TYPE_BIT : 0));
    p = put_varint(p, shared);
    p = put_varint(p, unshared);
    p = put_varint(p, value_len);
    put_fixed64(p, seq);
    return p + code + (code == 7);
}

int block_builder_add(struct block_builder *b, slice key, uint64_t seq, uint8_t type, slice value,
                      struct kevo_err *err) {
    enum { HEAD_MAX_BYTES = 1 + 3 * VARINT32_MAX_BYTES + 8 };
    assert(type == ENTRY_PUT || value.len == 0);
    size_t more = HEAD_MAX_BYTES + key.len + value.len;
    if (more > UINT32_MAX || block_builder_bytes(b) + 4 + more > UINT32_MAX)
        return kevo_fail(err, KEVO_TOOBIG, "an entry of %zu bytes does not fit a block", more);
    bool restart = b->restart_count == 0 || b->since_restart == b->restart_interval;
    size_t shared = 0;
    if (!restart) {
        size_t n = key.len < b->last_key.len ? key.len : b->last_key.len;
        shared = common_prefix(b->last_key.data, key.data, n);
    }
    b->last_key.len = shared;
    if (!buf_reserve(&b->data, more) || !buf_reserve(&b->last_key, key.len - shared) ||
        (restart && !add_restart(b)))
        return kevo_nomem(err);
    uint8_t *p =
        put_head(b->data.data + b->data.len, shared, key.len - shared, value.len, seq, type);
    if (key.len > shared) {
        memcpy(p, key.data + shared, key.len - shared);
        memcpy(b->last_key.data + shared, key.data + shared, key.len - shared);
    }
    p += key.len - shared;
    if (value.len) memcpy(p, value.data, value.len);
    b->data.len = (size_t)(p + value.len - b->data.data);
    b->last_key.len = key.len;
    b->since_restart++;
    b->entry_count++;
    return 0;
}

size_t block_builder_bytes(const struct block_builder *b) {
    size_t restarts = b->restart_count ? b->restart_count : 1;
    return b->data.len + 4 * restarts + 4;
}

int block_builder_finish(struct block_builder *b, slice *block, struct kevo_err *err) {
    if (b->restart_count == 0 && !add_restart(b)) return kevo_nomem(err);
    if (!buf_reserve(&b->data, 4 * b->restart_count + 4)) return kevo_nomem(err);
    for (size_t i = 0; i < b->restart_count; i++)
        buf_put_fixed32(&b->data, b->restarts[i]);
    buf_put_fixed32(&b->data, (uint32_t)b->restart_count);
    *block = buf_slice(&b->data);
    return 0;
}

/* ---- finding --------------------------------------------------------------- */

bool block_entry_decode_slow(const struct block_frame *f, uint32_t at, struct block_entry *e) {
    struct reader r = {f->data + at, f->data + f->entries_end, false};
    uint8_t flags = read_byte(&r);
    e->type = (flags & ENTRY_TYPE_BIT) != 0;
    e->shared = read_varint32(&r);
    e->unshared = read_varint32(&r);
    e->value_len = read_varint32(&r);
    unsigned code = flags & ENTRY_SEQ_CODE;
    slice seq = read_bytes(&r, code + (code == 7));
    if (r.bad || flags & ENTRY_FLAGS_RESERVED) return false;
    if ((uint64_t)e->unshared + e->value_len > reader_left(&r)) return false;
    e->seq = 0;
    for (size_t i = seq.len; i-- > 0;)
        e->seq = e->seq << 8 | seq.data[i];
    e->key_at = (uint32_t)(r.p - f->data);
    e->value_at = e->key_at + e->unshared;
    e->end = e->value_at + e->value_len;
    return e->type || e->value_len == 0;
}

/* Whether the entry at restart point `i` comes before (key, seq): 1, 0, or -1 when
 * it is damaged. */
static int restart_is_before(const struct block_frame *f, uint32_t i, slice key, uint64_t seq) {
    struct block_entry e;
    if (!block_entry_decode(f, block_restart(f, i), &e) || e.shared) return -1;
    const uint8_t *bytes = f->data + e.key_at;
    size_t n = e.unshared < key.len ? e.unshared : key.len;
    size_t common = common_prefix(bytes, key.data, n);
    if (common < n) return bytes[common] < key.data[common];
    if (e.unshared != key.len) return e.unshared < key.len;
    return e.seq > seq;
}

/* The last restart point before (key, seq), or the first one. */
static int find_restart(const struct block_frame *f, slice key, uint64_t seq, uint32_t *restart) {
    uint32_t low = 0, high = f->restart_count;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        int before = restart_is_before(f, mid, key, seq);
        if (unlikely(before < 0)) return KEVO_CORRUPT;
        if (before)
            low = mid;
        else
            high = mid;
    }
    *restart = low;
    return 0;
}

/* No key is put together on the way. `matched` counts the bytes that the entry
 * passed last has in common with `key`, and that entry lies before (key, seq). One
 * that shares more with it differs from `key` at the same byte, so it lies before
 * too; one that shares less has grown above it at a byte where it equalled `key`,
 * so it lies after, unless it shares nothing because it is a restart point. Only the
 * others are compared, from byte `matched` on. */
int block_locate(const struct block_frame *f, slice key, uint64_t seq, uint32_t *at,
                 struct block_entry *e, bool *same) {
    uint32_t restart;
    if (key.len == 0) key.data = (const uint8_t *)"";
    if (unlikely(find_restart(f, key, seq, &restart))) return KEVO_CORRUPT;
    uint32_t here = block_restart(f, restart);
    size_t matched = 0, passed_len = 0;
    *same = false;
    for (; here < f->entries_end; here = e->end) {
        if (unlikely(!block_entry_decode(f, here, e) || e->shared > passed_len))
            return KEVO_CORRUPT;
        passed_len = (size_t)e->shared + e->unshared;
        if (e->shared > matched) continue;
        *at = here;
        if (e->shared < matched) {
            if (e->shared) return 0;
            matched = 0; /* a restart point shares nothing, whatever its key is */
        }
        const uint8_t *bytes = f->data + e->key_at, *wanted = key.data + matched;
        size_t left = key.len - matched, n = e->unshared < left ? e->unshared : left;
        size_t common = common_prefix(bytes, wanted, n);
        matched += common;
        if (common < n) {
            if (bytes[common] > wanted[common]) return 0;
        } else if (e->unshared > left) {
            return 0;
        } else if (e->unshared == left && e->seq <= seq) {
            *same = true;
            return 0;
        }
    }
    return KEVO_NOTFOUND;
}

static int damaged(const char *name, uint64_t offset, struct kevo_err *err) {
    return kevo_fail(err, KEVO_CORRUPT, "%s: block at %llu: an entry does not make sense", name,
                     (unsigned long long)offset);
}

int block_get(slice block, slice key, uint64_t max_seq, uint8_t *type, uint64_t *seq, slice *value,
              bool *past_end, const char *name, uint64_t offset, struct kevo_err *err) {
    struct block_frame f;
    struct block_entry e;
    uint32_t at;
    bool same;
    *past_end = false;
    int rc = block_frame_of(block, &f, name, offset, err);
    if (unlikely(rc)) return rc;
    rc = block_locate(&f, key, max_seq, &at, &e, &same);
    if (unlikely(rc < 0)) return damaged(name, offset, err);
    *past_end = rc == KEVO_NOTFOUND;
    if (rc || !same) return KEVO_NOTFOUND;
    *type = e.type;
    *seq = e.seq;
    *value = slice_of(f.data + e.value_at, e.value_len);
    return 0;
}
