/* block_tags.h - a byte for each entry, made of its key, in the order of the entries, beside a block
 * in memory: a point lookup compares them with its own all at once and goes to the one entry that
 * has the same, where a search takes several steps of which each may go either way. And it knows
 * where the value will be before it has come to the entry.
 *
 * The byte of a key that is there is among them; that it is does not mean that the key is there.
 *
 * Threads: tags are made by one, and only read afterwards. */
#ifndef KEVO_TABLE_BLOCK_TAGS_H
#define KEVO_TABLE_BLOCK_TAGS_H

#include "engine/base/slice.h"

struct block_tags {
    const uint8_t *tags; /* those behind are looked at as well, up to BLOCK_TAGS_GROUP of them */
    uint16_t count;
    uint16_t interval; /* entries from one restart point to the next */
};

enum { BLOCK_TAGS_GROUP = 8, BLOCK_TAGS_MAX_KEY = 240 };

/* Bytes of room for so many tags. */
static inline size_t block_tags_room(size_t count) {
    return (count + BLOCK_TAGS_GROUP - 1) / BLOCK_TAGS_GROUP * BLOCK_TAGS_GROUP;
}

/* Make the tags of a block at `to`. False when they need more room, a key is longer than
 * BLOCK_TAGS_MAX_KEY, keys end alike so that tags do not tell them apart, or the block is not like
 * those that builders make. */
bool block_tags_make(slice block, uint8_t *to, size_t room, struct block_tags *t);

/* The first entry that may be the key's, or t->count or more: none is. Its value is asked for; `early`,
 * where block_tags_get() does not follow at once, what that reads as well. */
unsigned block_tags_aim(slice block, const struct block_tags *t, slice key, bool early);

/* As block_get(), for a key that is in the block, most likely; `aim` is what block_tags_aim() says.
 * False: ask block_get(), which tells as well what may be wrong. */
bool block_tags_get(slice block, const struct block_tags *t, unsigned aim, slice key,
                    uint64_t max_seq, uint8_t *type, uint64_t *seq, slice *value);

#endif
