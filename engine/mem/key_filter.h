/* key_filter.h - a Bloom filter in memory that keys are added to while others read it.
 *
 * A key has one cache line, and in it one bit in each of four words. (As table/filter.h, but
 * made for single keys.)
 *
 * Threads: one sets; any number read. A bit is seen by whoever learned of the key after it was
 * set. */
#ifndef KEVO_MEM_KEY_FILTER_H
#define KEVO_MEM_KEY_FILTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { KEY_FILTER_LINE_WORDS = 8, KEY_FILTER_LINE_BYTES = 64, KEY_FILTER_KEYS_WORDS = 4 };

struct key_filter {
    _Atomic uint64_t *words; /* NULL: there is none */
    uint64_t lines;          /* a power of two */
};

/* An empty one of `bytes`, or somewhat more. False without memory: there is none. */
bool key_filter_init(struct key_filter *f, uint64_t bytes);
void key_filter_release(struct key_filter *f);

static inline _Atomic uint64_t *key_filter_line(const struct key_filter *f, uint64_t hash) {
    return f->words + (hash & (f->lines - 1)) * KEY_FILTER_LINE_WORDS;
}

/* The i-th word of the line, and the bit in it, that stand for a key. */
static inline unsigned key_filter_word(uint64_t hash, unsigned i) {
    return (unsigned)(hash >> (28 + i * 9)) & (KEY_FILTER_LINE_WORDS - 1);
}

static inline uint64_t key_filter_bit(uint64_t hash, unsigned i) {
    return (uint64_t)1 << (hash >> (31 + i * 9) & 63);
}

/* Only one thread stores, so no read-modify-write is needed. */
static inline void key_filter_set(struct key_filter *f, uint64_t hash) {
    _Atomic uint64_t *line = key_filter_line(f, hash);
    for (unsigned i = 0; i < KEY_FILTER_KEYS_WORDS; i++) {
        _Atomic uint64_t *word = &line[key_filter_word(hash, i)];
        uint64_t had = atomic_load_explicit(word, memory_order_relaxed);
        atomic_store_explicit(word, had | key_filter_bit(hash, i), memory_order_relaxed);
    }
}

/* False: no such key was added. */
static inline bool key_filter_has(const struct key_filter *f, uint64_t hash) {
    const _Atomic uint64_t *line = key_filter_line(f, hash);
    uint64_t missing = 0;
    for (unsigned i = 0; i < KEY_FILTER_KEYS_WORDS; i++)
        missing |= ~atomic_load_explicit(&line[key_filter_word(hash, i)], memory_order_relaxed) &
                   key_filter_bit(hash, i);
    return missing == 0;
}

/* One of the two is near. */
static inline void key_filter_prefetch(const struct key_filter *f, uint64_t hash) {
    __builtin_prefetch(key_filter_line(f, hash));
}

#endif
