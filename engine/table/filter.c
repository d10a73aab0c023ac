#include "engine/table/filter.h"

#include "engine/base/coding.h"
#include "engine/base/error.h"

enum {
    FILTER_BLOCK_BYTES = 64, /* one cache line */
    FILTER_WORDS = 8,        /* of 64 bits each; a key sets one bit in every word */
    FILTER_MAX_BITS_PER_KEY = 64,
    FIRST_HASHES_BYTES = 4096
};
_Static_assert(FILTER_WORDS * sizeof(uint64_t) == FILTER_BLOCK_BYTES, "a block is its words");

/* The block: the upper half of the hash, scaled to their number. */
static size_t block_index(uint64_t hash, size_t block_count) {
    return (size_t)(((hash >> 32) * (uint64_t)block_count) >> 32);
}

/* The bits: six of each word's own, from the upper 48 of a product that all of the
 * hash goes into. The multiplier is 2^64 divided by the golden ratio. */
static uint64_t bit_choices(uint64_t hash) {
    return (hash * UINT64_C(0x9e3779b97f4a7c15)) >> 16;
}

int filter_builder_add(struct filter_builder *b, uint64_t hash, struct kevo_err *err) {
    if (b->count == 0 && !b->hashes.first) arena_init(&b->hashes, FIRST_HASHES_BYTES);
    uint64_t *place = arena_alloc(&b->hashes, sizeof hash);
    if (!place) return kevo_nomem(err);
    *place = hash;
    b->count++;
    return 0;
}

void filter_builder_release(struct filter_builder *b) {
    arena_release(&b->hashes);
    *b = (struct filter_builder){0};
}

static void add_hash(uint8_t *blocks, size_t block_count, uint64_t hash) {
    uint8_t *block = blocks + FILTER_BLOCK_BYTES * block_index(hash, block_count);
    uint64_t choices = bit_choices(hash);
    for (unsigned i = 0; i < FILTER_WORDS; i++, choices >>= 6)
        put_fixed64(block + 8 * i, get_fixed64(block + 8 * i) | (uint64_t)1 << (choices & 63));
}

/* Keys are in order, their blocks are not: they are asked for ahead. */
static void add_hashes(uint8_t *blocks, size_t block_count, const uint64_t *hashes, size_t count) {
    enum { AHEAD = 8 };
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            __builtin_prefetch(
                blocks + FILTER_BLOCK_BYTES * block_index(hashes[i + AHEAD], block_count), 1);
        add_hash(blocks, block_count, hashes[i]);
    }
}

int filter_builder_finish(const struct filter_builder *b, unsigned bits_per_key, struct buf *out,
                          struct kevo_err *err) {
    if (bits_per_key == 0 || b->count == 0) return 0;
    if (bits_per_key > FILTER_MAX_BITS_PER_KEY) bits_per_key = FILTER_MAX_BITS_PER_KEY;
    size_t bits;
    if (__builtin_mul_overflow(b->count, bits_per_key, &bits)) return kevo_nomem(err);
    size_t block_count = bits / (8 * FILTER_BLOCK_BYTES) + 1;
    if (block_count > UINT32_MAX) block_count = UINT32_MAX;
    if (!buf_reserve(out, block_count * FILTER_BLOCK_BYTES)) return kevo_nomem(err);
    uint8_t *blocks = out->data + out->len;
    memset(blocks, 0, block_count * FILTER_BLOCK_BYTES);
    for (const struct arena_chunk *c = b->hashes.first; c; c = c->next)
        add_hashes(blocks, block_count, (const uint64_t *)(const void *)c->data,
                   c->used / sizeof(uint64_t));
    out->len += block_count * FILTER_BLOCK_BYTES;
    return 0;
}

bool filter_may_contain(slice filter, uint64_t hash) {
    size_t block_count = filter.len / FILTER_BLOCK_BYTES;
    if (block_count == 0 || block_count > UINT32_MAX || filter.len % FILTER_BLOCK_BYTES)
        return true;
    const uint8_t *block = filter.data + FILTER_BLOCK_BYTES * block_index(hash, block_count);
    uint64_t choices = bit_choices(hash), all = 1;
    for (unsigned i = 0; i < FILTER_WORDS; i++, choices >>= 6)
        all &= get_fixed64(block + 8 * i) >> (choices & 63);
    return all;
}

void filter_prefetch(slice filter, uint64_t hash) {
    size_t block_count = filter.len / FILTER_BLOCK_BYTES;
    if (block_count == 0 || block_count > UINT32_MAX) return;
    __builtin_prefetch(filter.data + FILTER_BLOCK_BYTES * block_index(hash, block_count));
}
