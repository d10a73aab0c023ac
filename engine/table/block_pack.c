#include "engine/table/block_pack.h"

#include "engine/table/block_entry.h"

enum {
    MAX_KEY_BYTES = 255,
    MAX_LETTERS = 16,
    MAX_RUNS = 8,
    HEADER_MAX_BYTES = 3 * VARINT32_MAX_BYTES + 2 + 2 * MAX_RUNS,
    SEQ_MAX_BYTES = 8,
    WORTH_PART = 16 /* of a block: heads that are less stay as they are */
};

/* ---- letters ------------------------------------------------------------------ */

/* The bytes that keys are made of, in ascending order: runs of such that follow one another. Four
 * bits are enough to name one. */
struct letters {
    unsigned run_count; /* 0: there are too many, keys are as they are */
    uint8_t first[MAX_RUNS], count[MAX_RUNS];
};

/* Those that are set in `seen`. */
static struct letters letters_of(const bool seen[256]) {
    struct letters l = {0};
    unsigned total = 0, last = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        if (!seen[byte]) continue;
        if (l.run_count && byte == last + 1) {
            l.count[l.run_count - 1]++;
        } else {
            if (l.run_count == MAX_RUNS) return (struct letters){0};
            l.first[l.run_count] = (uint8_t)byte;
            l.count[l.run_count++] = 1;
        }
        last = byte;
        if (++total > MAX_LETTERS) return (struct letters){0};
    }
    return l;
}

static bool letters_decode(struct letters *l, struct reader *r) {
    unsigned total = 0, next = 0;
    l->run_count = read_byte(r);
    if (l->run_count > MAX_RUNS) return false;
    for (unsigned i = 0; i < l->run_count; i++) {
        l->first[i] = read_byte(r);
        l->count[i] = read_byte(r);
        if (l->count[i] == 0 || l->first[i] < next) return false;
        total += l->count[i];
        next = (unsigned)l->first[i] + l->count[i];
    }
    return !r->bad && total <= MAX_LETTERS && next <= 256;
}

/* Sixteen at a time. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));

/* Eight bytes of each by turns, from byte `at` on, which is a constant. */
#ifdef __clang__
#define INTERLEAVE(a, b, at)                                                                       \
    __builtin_shufflevector(a, b, (at), (at) + 16, (at) + 1, (at) + 17, (at) + 2, (at) + 18,       \
                            (at) + 3, (at) + 19, (at) + 4, (at) + 20, (at) + 5, (at) + 21,         \
                            (at) + 6, (at) + 22, (at) + 7, (at) + 23)
#else
#define INTERLEAVE(a, b, at)                                                                       \
    __builtin_shuffle(a, b,                                                                        \
                      (bytes16){(at), (at) + 16, (at) + 1, (at) + 17, (at) + 2, (at) + 18,         \
                                (at) + 3, (at) + 19, (at) + 4, (at) + 20, (at) + 5, (at) + 21,     \
                                (at) + 6, (at) + 22, (at) + 7, (at) + 23})
#endif

static inline bytes16 load16(const uint8_t *p) {
    bytes16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline bytes16 all16(unsigned byte) {
    return (bytes16){0} + (uint8_t)byte;
}

/* How numbers become letters: add the first letter, and from each number on where another run
 * begins what lies between the two runs. */
struct alphabet {
    bytes16 first;
    unsigned gap_count;
    bytes16 from[MAX_RUNS], gap[MAX_RUNS];
};

static void alphabet_init(struct alphabet *a, const struct letters *l) {
    unsigned number = 0;
    a->first = all16(l->first[0]);
    a->gap_count = l->run_count - 1;
    for (unsigned i = 0; i < a->gap_count; i++) {
        number += l->count[i];
        a->from[i] = all16(number);
        a->gap[i] = all16((unsigned)l->first[i + 1] - l->first[i] - l->count[i]);
    }
}

/* Numbers that there are not (the fraud of whoever made the checksum right) give bytes all the
 * same. */
static inline bytes16 letters16(const struct alphabet *a, bytes16 numbers) {
    bytes16 letters = numbers + a->first;
    for (unsigned i = 0; i < a->gap_count; i++)
        letters += (bytes16)(numbers >= a->from[i]) & a->gap[i];
    return letters;
}

/* Write two letters for each of `len` bytes, the one of the lower four bits first. Up to fifteen
 * bytes behind them are read, and twice as many written. */
static void put_letters(const struct letters *l, const uint8_t *from, size_t len, uint8_t *to) {
    struct alphabet a;
    alphabet_init(&a, l);
    for (size_t i = 0; i < len; i += 16) {
        bytes16 two = load16(from + i), low = letters16(&a, two & 15),
                high = letters16(&a, two >> 4);
        bytes16 one = INTERLEAVE(low, high, 0), other = INTERLEAVE(low, high, 8);
        memcpy(to + 2 * i, &one, sizeof one);
        memcpy(to + 2 * i + 16, &other, sizeof other);
    }
}

/* Up to seven bytes behind them are read, and written, as well. */
static inline void copy_eights(uint8_t *to, const uint8_t *from, size_t len) {
    for (size_t i = 0; i < len; i += 8)
        memcpy(to + i, from + i, 8);
}

static inline unsigned seq_bytes(uint8_t flags) {
    unsigned code = flags & ENTRY_SEQ_CODE;
    return code + (code == 7);
}

/* ---- packing --------------------------------------------------------------------- */

/* The columns as they come to be, each in room for the longest that it can get. */
struct packing {
    uint8_t *flags, *shared, *key_len, *value_len, *seqs, *letters; /* where the next ones go */
    uint8_t *value_lens_at, *seqs_at, *letters_at;                  /* where they begin */
    size_t last_len, first_len; /* of keys: the last one put down, the first one */
    bool seen[256];             /* letters of keys but the first */
    uint8_t key[MAX_KEY_BYTES + 1 + BLOCK_PACK_SLOP];
};

/* False: the key is too long. */
static inline bool add_entry(struct packing *p, const uint8_t *data, const struct block_entry *e) {
    size_t shared = e->shared, len = shared + e->unshared;
    const uint8_t *bytes = data + e->key_at;
    if (len > MAX_KEY_BYTES) return false;
    if (shared == 0) shared = common_prefix(p->key, bytes, len < p->last_len ? len : p->last_len);
    copy_eights(p->key + e->shared, bytes, e->unshared);
    *p->flags++ = data[e->at];
    *p->shared++ = (uint8_t)shared;
    *p->key_len++ = (uint8_t)len;
    p->value_len = put_varint(p->value_len, e->value_end - e->value_at);
    unsigned n = seq_bytes(data[e->at]);
    memcpy(p->seqs, bytes - n, SEQ_MAX_BYTES);
    p->seqs += n;
    copy_eights(p->letters, p->key + shared, len - shared);
    p->letters += len - shared;
    p->last_len = len;
    return true;
}

static bool add_entries(struct packing *p, const struct block_frame *f, uint32_t count) {
    struct block_entry e = {.end = f->heads_at};
    for (uint32_t i = 0; i < count; i++) {
        if (!block_entry_decode(f, e.end, e.value_end, &e) || !add_entry(p, f->data, &e))
            return false;
        if (i == 0) p->first_len = p->last_len;
    }
    for (const uint8_t *at = p->letters_at + p->first_len; at < p->letters; at++)
        p->seen[*at] = true;
    return true;
}

/* Two letters to a byte, from `from` on to `to`, which may be the same. Returns the end. */
static uint8_t *put_numbers(const struct letters *l, const uint8_t *from, size_t count,
                            uint8_t *to) {
    uint8_t number[256], next = 0;
    for (unsigned i = 0; i < l->run_count; i++) {
        for (unsigned k = 0; k < l->count[i]; k++)
            number[l->first[i] + k] = next++;
    }
    for (; count >= 2; count -= 2, from += 2)
        *to++ = (uint8_t)(number[from[0]] | number[from[1]] << 4);
    if (count) *to++ = number[from[0]];
    return to;
}

static uint8_t *put(uint8_t *to, const uint8_t *from, const uint8_t *end) {
    memmove(to, from, (size_t)(end - from));
    return to + (end - from);
}

static uint8_t *put_header(uint8_t *to, const struct packing *p, uint32_t count,
                           unsigned restart_interval, const struct letters *l) {
    to = put_varint(to, count);
    *to++ = (uint8_t)restart_interval;
    to = put_varint(to, (uint64_t)(p->value_len - p->value_lens_at));
    to = put_varint(to, (uint64_t)(p->seqs - p->seqs_at));
    *to++ = (uint8_t)l->run_count;
    for (unsigned i = 0; i < l->run_count; i++) {
        *to++ = l->first[i];
        *to++ = l->count[i];
    }
    return to;
}

/* Put them together at `to`, which is below all of them. Returns the end. */
static uint8_t *join_columns(uint8_t *to, const struct packing *p, uint32_t count,
                             unsigned restart_interval) {
    struct letters l = letters_of(p->seen);
    uint8_t *first_end = p->letters_at + p->first_len;
    to = put_header(to, p, count, restart_interval, &l);
    to = put(to, p->flags - count, p->flags);
    to = put(to, p->shared - count, p->shared);
    to = put(to, p->key_len - count, p->key_len);
    to = put(to, p->value_lens_at, p->value_len);
    to = put(to, p->seqs_at, p->seqs);
    to = put(to, p->letters_at, first_end);
    if (l.run_count == 0) return put(to, first_end, p->letters);
    return put_numbers(&l, first_end, (size_t)(p->letters - first_end), to);
}

int block_pack(slice block, uint32_t entry_count, unsigned restart_interval, struct buf *out,
               size_t *values_len, struct kevo_err *err) {
    struct block_frame f;
    struct packing p;
    size_t n = entry_count;
    int rc = block_frame_of(block, &f, "", 0, err);
    if (rc) return rc;
    size_t rest = block.len - f.heads_at;
    if (rest < block.len / WORTH_PART || restart_interval > UINT8_MAX) return KEVO_NOTFOUND;
    buf_reset(out);
    /* A restart point's key is as long as its head says. */
    if (!buf_reserve(out, f.heads_at + HEADER_MAX_BYTES + n * (3 + VARINT32_MAX_BYTES) +
                              (n + 1) * SEQ_MAX_BYTES + rest + BLOCK_PACK_SLOP))
        return kevo_nomem(err);
    if (f.heads_at) memcpy(out->data, f.data, f.heads_at);
    uint8_t *columns = out->data + f.heads_at;
    p.flags = columns + HEADER_MAX_BYTES;
    p.shared = p.flags + n;
    p.key_len = p.shared + n;
    p.value_len = p.value_lens_at = p.key_len + n;
    p.seqs = p.seqs_at = p.value_len + n * VARINT32_MAX_BYTES;
    p.letters = p.letters_at = p.seqs + (n + 1) * SEQ_MAX_BYTES;
    p.last_len = p.first_len = 0;
    memset(p.seen, 0, sizeof p.seen);
    if (!add_entries(&p, &f, entry_count)) return KEVO_NOTFOUND;
    out->len = (size_t)(join_columns(columns, &p, entry_count, restart_interval) - out->data);
    *values_len = f.heads_at;
    return out->len < block.len ? 0 : KEVO_NOTFOUND;
}

/* ---- unpacking ------------------------------------------------------------------------ */

/* The columns, of which the next items are looked at, and the block as it comes to be. */
struct unpacking {
    uint32_t count;
    unsigned restart_interval;
    const uint8_t *flags, *shared, *key_len;
    const uint8_t *value_lens, *value_lens_end, *seqs, *seqs_end;
    const uint8_t *letters, *letters_end;
    bool are_numbers; /* in the packed block: of an odd count one is left over */
    uint8_t *head, *heads_end;
    uint32_t value_at, values_len;
    uint8_t key[MAX_KEY_BYTES + 1 + BLOCK_PACK_SLOP];
};

/* Keys are read as letters from `room` on, if they are numbers. */
static bool find_columns(struct unpacking *u, slice columns, uint8_t *room) {
    struct reader r = reader_of(columns);
    struct letters l;
    u->count = read_varint32(&r);
    u->restart_interval = read_byte(&r);
    uint32_t value_lens = read_varint32(&r), seqs = read_varint32(&r);
    if (!letters_decode(&l, &r) || u->count == 0 || u->restart_interval == 0) return false;
    u->flags = read_bytes(&r, u->count).data;
    u->shared = read_bytes(&r, u->count).data;
    u->key_len = read_bytes(&r, u->count).data;
    u->value_lens = read_bytes(&r, value_lens).data;
    u->seqs = read_bytes(&r, seqs).data;
    if (r.bad || u->shared[0]) return false;
    slice first = read_bytes(&r, u->key_len[0]), keys = slice_of(r.p, reader_left(&r));
    if (r.bad) return false;
    u->value_lens_end = u->value_lens + value_lens;
    u->seqs_end = u->seqs + seqs;
    memcpy(u->key, first.data, first.len);
    u->are_numbers = l.run_count > 0;
    u->letters = u->are_numbers ? room : keys.data;
    u->letters_end = u->letters + (u->are_numbers ? 2 * keys.len : keys.len);
    if (u->are_numbers) put_letters(&l, keys.data, keys.len, room);
    return true;
}

/* Head i; the one at a restart point has its key as a whole. False: it would run over the end of
 * its part, or of a column. Behind the heads at least sixteen bytes of the block follow, and some of
 * room behind the columns, so that copies in eights do no harm. */
static inline bool unpack_head(struct unpacking *u, uint32_t i, bool restart) {
    uint8_t flags = u->flags[i];
    size_t shared = u->shared[i], len = u->key_len[i], more = len - shared, n = seq_bytes(flags);
    uint64_t value_len;
    if (unlikely(shared > len || (i && shared > u->key_len[i - 1]))) return false;
    if (i) {
        if (unlikely((size_t)(u->letters_end - u->letters) < more)) return false;
        copy_eights(u->key + shared, u->letters, more);
        u->letters += more;
    }
    u->value_lens = get_varint(u->value_lens, u->value_lens_end, &value_len);
    if (unlikely(!u->value_lens || value_len > u->values_len - u->value_at)) return false;
    if (unlikely((size_t)(u->seqs_end - u->seqs) < n)) return false;
    if (restart) more = len;
    uint8_t *p = u->head;
    size_t left = (size_t)(u->heads_end - p);
    if (likely((len | value_len) < 0x80)) {
        if (unlikely(left < 4 + n + more)) return false;
        put_fixed32(p, (uint32_t)(flags | (len - more) << 8 | more << 16 | value_len << 24));
        p += 4;
    } else {
        size_t lens = varint_bytes(len - more) + varint_bytes(more) + varint_bytes(value_len);
        if (unlikely(left < 1 + lens + n + more)) return false;
        *p++ = flags;
        p = put_varint(p, len - more);
        p = put_varint(p, more);
        p = put_varint(p, value_len);
    }
    memcpy(p, u->seqs, SEQ_MAX_BYTES);
    copy_eights(p + n, u->key + (len - more), more);
    u->head = p + n + more;
    u->seqs += n;
    u->value_at += (uint32_t)value_len;
    return true;
}

/* Up to sixteen bytes behind them are read, and written, as well. */
static inline void copy_sixteens(uint8_t *to, const uint8_t *from, size_t len) {
    bytes16 first = load16(from);
    memcpy(to, &first, sizeof first);
    for (size_t i = 16; unlikely(i < len); i += 16)
        memcpy(to + i, from + i, 16);
}

/* Heads from i up to `end`, none of which is at a restart point, as long as all of their lengths are
 * short and nothing is wrong. Returns the first one left over. What is looked at for each head is
 * in registers here, which stores of bytes do not allow otherwise. */
static uint32_t unpack_short_heads(struct unpacking *u, uint32_t i, uint32_t end) {
    const uint8_t *letters = u->letters, *seqs = u->seqs, *value_lens = u->value_lens;
    const uint8_t *letters_end = u->letters_end, *seqs_end = u->seqs_end;
    const uint8_t *flags_at = u->flags, *shared_at = u->shared, *len_at = u->key_len;
    uint8_t *head = u->head, *heads_end = u->heads_end, *key = u->key;
    size_t values_left = u->values_len - u->value_at, last_len = u->key_len[i - 1];
    size_t most = (size_t)(u->value_lens_end - value_lens);
    if (most < end - i) end = i + (uint32_t)most;
    for (; i < end; i++) {
        uint8_t flags = flags_at[i];
        size_t shared = shared_at[i], len = len_at[i], more = len - shared;
        size_t n = seq_bytes(flags), value_len = *value_lens;
        if (unlikely((len | value_len) >= 0x80 || shared > len || shared > last_len)) break;
        if (unlikely((size_t)(letters_end - letters) < more || (size_t)(seqs_end - seqs) < n ||
                     (size_t)(heads_end - head) < 4 + n + more || value_len > values_left))
            break;
        put_fixed32(head, (uint32_t)(flags | shared << 8 | more << 16 | value_len << 24));
        memcpy(head + 4, seqs, SEQ_MAX_BYTES);
        copy_sixteens(head + 4 + n, letters, more);
        copy_sixteens(key + shared, letters, more);
        head += 4 + n + more;
        letters += more;
        seqs += n;
        value_lens++;
        values_left -= value_len;
        last_len = len;
    }
    u->letters = letters;
    u->seqs = seqs;
    u->value_lens = value_lens;
    u->head = head;
    u->value_at = u->values_len - (uint32_t)values_left;
    return i;
}

static bool unpack_heads(struct unpacking *u, uint8_t *to) {
    uint8_t *restart = u->heads_end;
    uint64_t early[2]; /* restart points that lie where copies of more than a key may write */
    for (uint32_t i = 0; i < u->count;) {
        uint32_t end = u->count - i > u->restart_interval ? i + u->restart_interval : u->count;
        uint64_t point = (uint64_t)u->value_at << 32 | (uint32_t)(u->head - to);
        size_t n = (size_t)(restart - u->heads_end) / BLOCK_RESTART_BYTES;
        if (n < 2) early[n] = point;
        put_fixed64(restart, point);
        restart += BLOCK_RESTART_BYTES;
        if (!unpack_head(u, i++, true)) return false;
        for (;;) {
            i = unpack_short_heads(u, i, end);
            if (i == end) break;
            if (!unpack_head(u, i++, false)) return false;
        }
    }
    put_fixed64(u->heads_end, early[0]);
    if (restart - u->heads_end > BLOCK_RESTART_BYTES)
        put_fixed64(u->heads_end + BLOCK_RESTART_BYTES, early[1]);
    return true;
}

bool block_unpack(uint8_t *block, size_t len, size_t values_len, size_t packed_len, uint8_t *room) {
    struct unpacking u;
    if (!block_pack_may_be(len, values_len, packed_len)) return false;
    slice columns = slice_of(room, packed_len - values_len);
    memcpy(room, block + values_len, columns.len);
    if (!find_columns(&u, columns, room + columns.len + BLOCK_PACK_SLOP)) return false;
    uint32_t restarts = u.count / u.restart_interval + (u.count % u.restart_interval != 0);
    size_t behind = BLOCK_RESTART_BYTES * (size_t)restarts + BLOCK_FRAME_BYTES;
    if (len > BLOCK_MAX_BYTES || len < behind || len - behind < values_len) return false;
    u.head = block + values_len;
    u.heads_end = block + len - behind;
    u.value_at = 0;
    u.values_len = (uint32_t)values_len;
    if (!unpack_heads(&u, block)) return false;
    put_fixed32(block + len - 8, (uint32_t)values_len);
    put_fixed32(block + len - 4, restarts);
    return u.head == u.heads_end && u.value_at == values_len && u.value_lens == u.value_lens_end &&
           u.seqs == u.seqs_end && u.letters_end - u.letters <= u.are_numbers;
}
