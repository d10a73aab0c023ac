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
    buf_release(&b->heads);
    buf_release(&b->last_key);
    mem_free(b->restarts);
    b->restarts = NULL;
    b->restart_count = b->restart_cap = 0;
}

void block_builder_reset(struct block_builder *b) {
    buf_reset(&b->data);
    buf_reset(&b->heads);
    buf_reset(&b->last_key);
    b->restart_count = 0;
    b->since_restart = 0;
    b->entry_count = 0;
}

static bool add_restart(struct block_builder *b) {
    if (!mem_grow((void **)&b->restarts, &b->restart_cap, b->restart_count + 1,
                  sizeof *b->restarts))
        return false;
    b->restarts[b->restart_count++] =
        (struct block_restart){(uint32_t)b->heads.len, (uint32_t)b->data.len};
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
    size_t head_max = HEAD_MAX_BYTES + key.len, more = head_max + value.len + BLOCK_RESTART_BYTES;
    if (more > BLOCK_MAX_BYTES || block_builder_bytes(b) + more > BLOCK_MAX_BYTES)
        return kevo_fail(err, KEVO_TOOBIG, "an entry of %zu bytes does not fit a block", more);
    bool restart = b->restart_count == 0 || b->since_restart == b->restart_interval;
    size_t shared = 0;
    if (!restart) {
        size_t n = key.len < b->last_key.len ? key.len : b->last_key.len;
        shared = common_prefix(b->last_key.data, key.data, n);
    }
    size_t unshared = key.len - shared;
    b->last_key.len = shared;
    if (!buf_reserve(&b->heads, head_max) || !buf_reserve(&b->data, value.len) ||
        !buf_reserve(&b->last_key, unshared) || (restart && !add_restart(b)))
        return kevo_nomem(err);
    uint8_t *p = b->heads.data + b->heads.len;
    p = put_head(p, shared, unshared, value.len, seq, type);
    if (unshared) memcpy(p, key.data + shared, unshared);
    if (unshared) memcpy(b->last_key.data + shared, key.data + shared, unshared);
    if (value.len) memcpy(b->data.data + b->data.len, value.data, value.len);
    b->heads.len = (size_t)(p + unshared - b->heads.data);
    b->last_key.len = key.len;
    b->data.len += value.len;
    b->since_restart++;
    b->entry_count++;
    return 0;
}

size_t block_builder_bytes(const struct block_builder *b) {
    size_t restarts = b->restart_count ? b->restart_count : 1;
    return b->data.len + b->heads.len + BLOCK_RESTART_BYTES * restarts + BLOCK_FRAME_BYTES;
}

int block_builder_finish(struct block_builder *b, slice *block, struct kevo_err *err) {
    if (b->restart_count == 0 && !add_restart(b)) return kevo_nomem(err);
    if (!buf_reserve(&b->data, block_builder_bytes(b) - b->data.len)) return kevo_nomem(err);
    uint32_t heads_at = (uint32_t)b->data.len;
    buf_append(&b->data, b->heads.data, b->heads.len);
    for (size_t i = 0; i < b->restart_count; i++) {
        buf_put_fixed32(&b->data, heads_at + b->restarts[i].head);
        buf_put_fixed32(&b->data, b->restarts[i].value);
    }
    buf_put_fixed32(&b->data, heads_at);
    buf_put_fixed32(&b->data, (uint32_t)b->restart_count);
    *block = buf_slice(&b->data);
    return 0;
}

/* ---- finding --------------------------------------------------------------- */

bool block_entry_decode_slow(const struct block_frame *f, struct block_entry *e) {
    struct reader r = {f->data + e->at, f->data + f->heads_end, false};
    uint8_t flags = read_byte(&r);
    e->type = (flags & ENTRY_TYPE_BIT) != 0;
    e->shared = read_varint32(&r);
    e->unshared = read_varint32(&r);
    uint32_t value_len = read_varint32(&r);
    unsigned code = flags & ENTRY_SEQ_CODE;
    slice seq = read_bytes(&r, code + (code == 7));
    e->key_at = (uint32_t)(r.p - f->data);
    read_bytes(&r, e->unshared);
    if (r.bad || flags & ENTRY_FLAGS_RESERVED) return false;
    if (value_len > f->heads_at - e->value_at || (value_len && !e->type)) return false;
    e->seq = 0;
    for (size_t i = seq.len; i-- > 0;)
        e->seq = e->seq << 8 | seq.data[i];
    e->end = (uint32_t)(r.p - f->data);
    e->value_end = e->value_at + value_len;
    return true;
}

/* The first eight bytes of the key at restart point `i`, as slice_prefix64() has them. False when
 * its head has to be looked at more closely. */
static inline bool restart_prefix(const struct block_frame *f, uint32_t i, uint64_t *prefix) {
    uint32_t at = block_restart_at(f, i);
    if (unlikely(at < f->heads_at || at >= f->heads_end)) return false;
    uint32_t head = get_fixed32(f->data + at), len = (head >> 16) & 0xff;
    if (unlikely(head & (0x8080ff00u | ENTRY_FLAGS_RESERVED) || len < 8)) return false;
    uint32_t code = head & ENTRY_SEQ_CODE, key_at = at + 4 + code + (code == 7);
    if (unlikely(key_at + len > f->heads_end)) return false;
    *prefix = slice_prefix64(slice_of(f->data + key_at, len));
    return true;
}

/* Whether the entry at restart point `i` comes before (key, seq): 1, 0, or -1 when
 * it is damaged. */
static inline int restart_is_before(const struct block_frame *f, uint32_t i, slice key,
                                    uint64_t key_prefix, uint64_t seq) {
    struct block_entry e;
    uint64_t prefix;
    if (restart_prefix(f, i, &prefix) && prefix != key_prefix) return prefix < key_prefix;
    if (unlikely(!block_restart_decode(f, i, &e))) return -1;
    const uint8_t *bytes = f->data + e.key_at;
    size_t n = e.unshared < key.len ? e.unshared : key.len;
    size_t common = common_prefix(bytes, key.data, n);
    if (common < n) return bytes[common] < key.data[common];
    if (e.unshared != key.len) return e.unshared < key.len;
    return e.seq > seq;
}

int block_find_restart(const struct block_frame *f, slice key, uint64_t seq, uint32_t *restart) {
    uint32_t low = 0, high = f->restart_count;
    uint64_t key_prefix = slice_prefix64(key);
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        int before = restart_is_before(f, mid, key, key_prefix, seq);
        if (unlikely(before < 0)) return KEVO_CORRUPT;
        if (before)
            low = mid;
        else
            high = mid;
    }
    *restart = low;
    return 0;
}

int block_locate(const struct block_frame *f, slice key, uint64_t seq, struct block_entry *e,
                 bool *same) {
    uint32_t restart;
    *same = false;
    if (f->heads_at == f->heads_end) return KEVO_NOTFOUND;
    if (key.len == 0) key.data = (const uint8_t *)"";
    if (unlikely(block_find_restart(f, key, seq, &restart))) return KEVO_CORRUPT;
    if (unlikely(!block_restart_decode(f, restart, e))) return KEVO_CORRUPT;
    for (size_t matched = 0, passed_len;;) {
        if (!block_entry_is_before(f, e, key, seq, &matched, same)) return 0;
        if (e->end == f->heads_end) return KEVO_NOTFOUND;
        passed_len = (size_t)e->shared + e->unshared;
        if (unlikely(!block_entry_decode(f, e->end, e->value_end, e) || e->shared > passed_len))
            return KEVO_CORRUPT;
    }
}

static int damaged(const char *name, uint64_t offset, struct kevo_err *err) {
    return kevo_fail(err, KEVO_CORRUPT, "%s: block at %llu: an entry does not make sense", name,
                     (unsigned long long)offset);
}

int block_get(slice block, slice key, uint64_t max_seq, uint8_t *type, uint64_t *seq, slice *value,
              bool *past_end, const char *name, uint64_t offset, struct kevo_err *err) {
    struct block_frame f;
    struct block_entry e;
    bool same;
    *past_end = false;
    int rc = block_frame_of(block, &f, name, offset, err);
    if (unlikely(rc)) return rc;
    rc = block_locate(&f, key, max_seq, &e, &same);
    if (unlikely(rc < 0)) return damaged(name, offset, err);
    *past_end = rc == KEVO_NOTFOUND;
    if (rc || !same) return KEVO_NOTFOUND;
    *type = e.type;
    *seq = e.seq;
    *value = slice_of(f.data + e.value_at, e.value_end - e.value_at);
    /* It lies far from the heads, and is read soon. */
    __builtin_prefetch(value->data);
    if (value->len > 64) __builtin_prefetch(value->data + 64);
    return 0;
}

/* ---- counting -------------------------------------------------------------- */

/* The entries from restart point i on up to offset `limit`; 0: they do not end there. */
static uint32_t count_run(const struct block_frame *f, uint32_t i, uint32_t limit) {
    struct block_entry e;
    uint32_t count = 1;
    if (!block_restart_decode(f, i, &e)) return 0;
    for (; e.end < limit; count++)
        if (!block_entry_decode(f, e.end, e.value_end, &e)) return 0;
    return e.end == limit ? count : 0;
}

int block_count(slice block, uint32_t *count, const char *name, uint64_t offset,
                struct kevo_err *err) {
    struct block_frame f;
    *count = 0;
    int rc = block_frame_of(block, &f, name, offset, err);
    if (rc || f.heads_at == f.heads_end) return rc;
    uint32_t last = f.restart_count - 1, rest = count_run(&f, last, f.heads_end);
    uint32_t each = last ? count_run(&f, 0, block_restart_at(&f, 1)) : 1;
    if (rest == 0 || each == 0 || (uint64_t)each * last + rest > block.len)
        return damaged(name, offset, err);
    *count = each * last + rest;
    return 0;
}
