#include "engine/table/stored_block.h"

#include <assert.h>
#include <lz4.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/table/block_pack.h"
#include "engine/table/table_format.h"

/* ---- writing ------------------------------------------------------------------- */

int stored_writer_init(struct stored_writer *w, bool compress, struct kevo_err *err) {
    *w = (struct stored_writer){0};
    if (compress) w->lz4_state = mem_alloc((size_t)LZ4_sizeofState());
    return compress && !w->lz4_state ? kevo_nomem(err) : 0;
}

void stored_writer_release(struct stored_writer *w) {
    mem_free(w->lz4_state);
    buf_release(&w->packed);
}

/* Returns the length, 0 when it is above `limit`. */
static size_t compress(struct stored_writer *w, slice bytes, uint8_t *to, size_t limit) {
    int len = LZ4_compress_fast_extState(w->lz4_state, (const char *)bytes.data, (char *)to,
                                         (int)bytes.len, (int)limit, 1);
    return len > 0 ? (size_t)len : 0;
}

int stored_write(struct stored_writer *w, slice raw, uint32_t entry_count,
                 unsigned restart_interval, uint8_t *to, size_t *len, enum block_kind *kind,
                 struct kevo_err *err) {
    size_t values_len;
    *kind = BLOCK_RAW;
    if (!w->lz4_state || raw.len > LZ4_MAX_INPUT_SIZE || raw.len < 32) return 0;
    int rc = block_pack(raw, entry_count, restart_interval, &w->packed, &values_len, err);
    if (rc < 0) return rc;
    slice bytes = rc == 0 ? buf_slice(&w->packed) : raw;
    uint8_t *p = to + LZ4_HEADER_BYTES;
    put_fixed32(to, (uint32_t)raw.len);
    if (rc == 0) p = put_varint(put_varint(p, bytes.len), values_len);
    size_t body = compress(w, bytes, p, raw.len - raw.len / 8 - (size_t)(p - to));
    if (body == 0) return 0;
    *kind = rc == 0 ? BLOCK_PACKED : BLOCK_LZ4;
    *len = body + (size_t)(p - to);
    return 0;
}

/* ---- finding ------------------------------------------------------------------- */

/* A length as LZ4 has it: more bytes follow four bits that are all set. */
static size_t lz4_length(struct reader *r, unsigned bits) {
    size_t len = bits;
    uint8_t more = bits == 15 ? 255 : 0;
    while (more == 255 && !r->bad) {
        more = read_byte(r);
        len += more;
    }
    return len;
}

/* Count what the LZ4 block's sequences make, which tells where it ends. */
static bool lz4_skip(struct reader *r, size_t makes) {
    for (size_t made = 0; !r->bad;) {
        unsigned token = read_byte(r);
        size_t literals = lz4_length(r, token >> 4);
        read_bytes(r, literals);
        made += literals;
        if (r->bad || made >= makes) return !r->bad && made == makes;
        size_t offset = read_byte(r);
        offset |= (size_t)read_byte(r) << 8;
        if (offset == 0 || offset > made) return false;
        made += lz4_length(r, token & 15) + 4;
    }
    return false;
}

size_t stored_block_measure(slice bytes, enum block_kind kind, uint64_t *looked_at) {
    struct stored_block s;
    if (bytes.len > LZ4_MAX_INPUT_SIZE) bytes.len = LZ4_MAX_INPUT_SIZE;
    if (!stored_block_open(bytes, kind, &s)) return 0;
    struct reader r = reader_of(s.lz4);
    bool found = lz4_skip(&r, s.lz4_len);
    size_t len = (size_t)(r.p - bytes.data);
    *looked_at += len;
    return found && len < s.len ? len : 0;
}

/* ---- reading ------------------------------------------------------------------- */

bool stored_block_open(slice payload, enum block_kind kind, struct stored_block *s) {
    struct reader r = reader_of(payload);
    s->len = s->lz4_len = read_fixed32(&r);
    s->values_len = 0;
    s->is_packed = kind == BLOCK_PACKED;
    if (s->is_packed) {
        s->lz4_len = read_varint32(&r);
        s->values_len = read_varint32(&r);
    }
    s->lz4 = slice_of(r.p, reader_left(&r));
    return !r.bad && s->lz4.len > 0 && s->lz4.len <= LZ4_MAX_INPUT_SIZE &&
           s->len <= LZ4_MAX_INPUT_SIZE && s->lz4_len / LZ4_MAX_RATIO <= s->lz4.len &&
           (!s->is_packed || block_pack_may_be(s->len, s->values_len, s->lz4_len));
}

/* It stands behind the values, which an index has none of: the columns are not unpacked. */
int stored_block_count(const struct stored_block *s, struct buf *scratch, uint32_t *count) {
    size_t most = (size_t)s->values_len + VARINT32_MAX_BYTES;
    assert(s->is_packed);
    if (most > s->lz4_len) most = s->lz4_len;
    buf_reset(scratch);
    if (!buf_reserve(scratch, most)) return KEVO_NOMEM;
    int got = LZ4_decompress_safe_partial((const char *)s->lz4.data, (char *)scratch->data,
                                          (int)s->lz4.len, (int)most, (int)most);
    if (got < 0 || (uint32_t)got <= s->values_len) return KEVO_CORRUPT;
    struct reader r =
        reader_of(slice_of(scratch->data + s->values_len, (size_t)got - s->values_len));
    *count = read_varint32(&r);
    return r.bad || *count == 0 ? KEVO_CORRUPT : 0;
}

/* Mostly a block of a few KB. */
static int unpack(const struct stored_block *s, uint8_t *to) {
    enum { STACK_BYTES = 8 << 10 };
    uint8_t stack[STACK_BYTES], *room = stack;
    size_t size;
    if (!block_unpack_room(s->values_len, s->lz4_len, &size)) return KEVO_NOMEM;
    if (size > sizeof stack) room = mem_alloc(size);
    if (!room) return KEVO_NOMEM;
    bool done = block_unpack(to, s->len, s->values_len, s->lz4_len, room);
    if (room != stack) mem_free(room);
    return done ? 0 : KEVO_CORRUPT;
}

int stored_block_expand(const struct stored_block *s, uint8_t *to) {
    int got = LZ4_decompress_safe((const char *)s->lz4.data, (char *)to, (int)s->lz4.len,
                                  (int)s->lz4_len);
    if (got < 0 || (uint32_t)got != s->lz4_len) return KEVO_CORRUPT;
    return s->is_packed ? unpack(s, to) : 0;
}
