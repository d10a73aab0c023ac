#include "engine/table/block_tags.h"

#include "engine/table/block_entry.h"

enum { MOST_TAGS = 1024, TAGGED_BYTES = 16, MOST_TRIES = 3 };

/* The key of the entry that a walk has come to, with room before it for zeros, which tag_of() reads,
 * and behind it for a wide copy. */
struct walk {
    size_t len;
    unsigned keys; /* while tags are made: other ones than the one before */
    uint8_t bytes[TAGGED_BYTES + BLOCK_TAGS_MAX_KEY + BLOCK_KEY_SLOP];
};

/* False: the entry does not fit the one before, or its key is too long. */
static inline bool take_key(struct walk *w, const struct block_frame *f,
                            const struct block_entry *e) {
    size_t len = (size_t)e->shared + e->unshared;
    if (unlikely(e->shared > w->len || len > BLOCK_TAGS_MAX_KEY)) return false;
    uint8_t *to = w->bytes + TAGGED_BYTES + e->shared;
    memcpy(to, f->data + e->key_at, 16);
    if (unlikely(e->unshared > 16)) memcpy(to, f->data + e->key_at, e->unshared);
    w->len = len;
    return true;
}

/* Of a key that ends there: of its length and its last bytes, in which those of a block differ,
 * mostly. TAGGED_BYTES before the end are read. */
static inline uint8_t tag_of(const uint8_t *end, size_t len) {
    uint64_t h = (get_fixed64(end - 8) + len) * UINT64_C(0x9e3779b97f4a7c15);
    h = (get_fixed64(end - 16) ^ h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return (uint8_t)(h >> 56);
}

static uint8_t tag_of_key(slice key) {
    uint8_t bytes[2 * TAGGED_BYTES] = {0};
    if (key.len >= TAGGED_BYTES) return tag_of(key.data + key.len, key.len);
    memcpy(bytes + TAGGED_BYTES, key.data, key.len);
    return tag_of(bytes + TAGGED_BYTES + key.len, key.len);
}

/* ---- making ---------------------------------------------------------------------- */

/* Whether it has the key of the entry before. But for restart points an entry shares all that it
 * can. */
static inline bool is_same_key(const struct walk *w, const struct block_frame *f,
                               const struct block_entry *e, bool restart) {
    if ((size_t)e->shared + e->unshared != w->len) return false;
    if (e->unshared == 0 || !restart) return e->unshared == 0;
    return memcmp(w->bytes + TAGGED_BYTES, f->data + e->key_at, w->len) == 0;
}

/* The tags of the entries from a restart point to `end`, where the next one is. Returns their count,
 * 0 when that goes wrong. */
static unsigned tag_run(struct walk *w, const struct block_frame *f, struct block_entry *e,
                        uint32_t end, uint8_t *to, size_t room) {
    for (unsigned n = 0; n < room; n++) {
        w->keys += !is_same_key(w, f, e, n == 0);
        if (!take_key(w, f, e)) return 0;
        to[n] = tag_of(w->bytes + TAGGED_BYTES + w->len, w->len);
        if (e->end >= end) return e->end == end ? n + 1 : 0;
        if (!block_entry_decode(f, e->end, e->value_end, e)) return 0;
    }
    return 0;
}

/* Whether there are half as many tags as keys, or half of all tags: where keys end alike, and
 * differ farther ahead, a get would go to several entries that are not its own, and then search. */
static bool tell_apart(const uint8_t *tags, unsigned count, unsigned keys) {
    uint64_t seen[4] = {0};
    unsigned distinct = 0;
    for (unsigned i = 0; i < count; i++)
        seen[tags[i] / 64] |= UINT64_C(1) << tags[i] % 64;
    for (unsigned i = 0; i < 4; i++)
        distinct += (unsigned)__builtin_popcountll(seen[i]);
    return distinct >= (keys < 256 ? keys : 256) / 2;
}

bool block_tags_make(slice block, uint8_t *to, size_t room, struct block_tags *t) {
    struct block_frame f;
    struct block_entry e;
    struct walk w = {.len = 0};
    unsigned count = 0, interval = 0;
    if (block_frame_of(block, &f, "", 0, NULL) || f.heads_at == f.heads_end) return false;
    room = room / BLOCK_TAGS_GROUP * BLOCK_TAGS_GROUP;
    if (room > MOST_TAGS) room = MOST_TAGS;
    for (uint32_t i = 0; i < f.restart_count; i++) {
        bool last = i + 1 == f.restart_count;
        if (!block_restart_decode(&f, i, &e)) return false;
        unsigned n = tag_run(&w, &f, &e, last ? f.heads_end : block_restart_at(&f, i + 1),
                             to + count, room - count);
        if (i == 0) interval = n;
        if (n == 0 || n > interval || (n < interval && !last)) return false;
        /* Known behind the first run already, where there will be too many. */
        if ((uint64_t)interval * (f.restart_count - 1) >= room) return false;
        count += n;
    }
    if (!tell_apart(to, count, w.keys)) return false;
    memset(to + count, 0, block_tags_room(count) - count);
    *t = (struct block_tags){to, (uint16_t)count, (uint16_t)interval};
    return true;
}

/* ---- asking ------------------------------------------------------------------------ */

/* The first tag from `from` on that is `tag`, or one of t->count or above. */
static unsigned find_tag(const struct block_tags *t, unsigned from, uint8_t tag) {
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    unsigned i = from / BLOCK_TAGS_GROUP * BLOCK_TAGS_GROUP;
    uint64_t before = (UINT64_C(1) << 8 * (from - i)) - 1;
    for (; i < t->count; i += BLOCK_TAGS_GROUP, before = 0) {
        uint64_t differ = (get_fixed64(t->tags + i) ^ ones * tag) | before;
        /* The lowest of the bits that are set is that of the first byte that is zero. */
        uint64_t zero = (differ - ones) & ~differ & tops;
        if (zero) return i + (unsigned)__builtin_ctzll(zero) / 8;
    }
    return i;
}

/* Where the value of the nth entry of a restart run would be if all of the run were as long. */
static const uint8_t *guess_value(const struct block_frame *f, const struct block_tags *t,
                                  unsigned restart, unsigned nth) {
    bool last = restart + 1 == f->restart_count;
    uint32_t from = block_restart_value_at(f, restart);
    uint32_t to = last ? f->heads_at : block_restart_value_at(f, restart + 1);
    unsigned count = last ? t->count - restart * t->interval : t->interval;
    if (from > to || to > f->heads_at) return f->data;
    return f->data + from + (uint64_t)(to - from) * nth / count;
}

/* Pass one entry whose head is longer than four bytes. */
static bool pass_unusual(struct walk *w, const struct block_frame *f, uint32_t *at,
                         uint32_t *value_at) {
    struct block_entry e;
    if (!block_entry_decode(f, *at, *value_at, &e) || !take_key(w, f, &e)) return false;
    w->len = BLOCK_TAGS_MAX_KEY;
    *at = e.end;
    *value_at = e.value_end;
    return true;
}

/* Pass `left` entries, from the one whose head lies at e->at and its value at e->value_at, and come
 * to the next. What they are was looked at when the tags were made: here it is just where the next
 * one lies, and inside the block. */
static inline bool pass(struct walk *w, const struct block_frame *f, unsigned left,
                        struct block_entry *e) {
    const uint32_t unusual = 0x80808000u | ENTRY_FLAGS_RESERVED;
    uint32_t at = e->at, value_at = e->value_at, heads_end = f->heads_end;
    const uint8_t *data = f->data;
    uint8_t *key = w->bytes + TAGGED_BYTES;
    for (; left > 0; left--) {
        uint32_t head = get_fixed32(data + at);
        if (unlikely(head & unusual)) {
            if (!pass_unusual(w, f, &at, &value_at)) return false;
            continue;
        }
        uint32_t code = head & ENTRY_SEQ_CODE, unshared = head >> 16 & 0xff;
        uint32_t key_at = at + 4 + code + (code == 7);
        at = key_at + unshared;
        value_at += head >> 24;
        if (unlikely(at > heads_end)) return false;
        uint8_t *to = key + (head >> 8 & 0xff);
        memcpy(to, data + key_at, 16);
        if (unlikely(unshared > 16)) memcpy(to, data + key_at, unshared);
    }
    e->at = at;
    e->value_at = value_at;
    return true;
}

unsigned block_tags_aim(slice block, const struct block_tags *t, slice key, bool early) {
    enum { LINE = 64, HEADS_LINES = 5, VALUE_LINES = 3 };
    struct block_frame f = {0};
    if (key.len == 0 || block_frame_of(block, &f, "", 0, NULL)) return t->count;
    unsigned i = find_tag(t, 0, tag_of_key(key));
    if (i >= t->count) return i;
    unsigned restart = i / t->interval;
    if (unlikely(restart >= f.restart_count)) return t->count;
    const uint8_t *value = guess_value(&f, t, restart, i % t->interval);
    for (unsigned k = 0; k < VALUE_LINES; k++)
        __builtin_prefetch(value + (size_t)LINE * k);
    if (!early) return i;
    const uint8_t *heads = f.data + block_restart_at(&f, restart);
    for (unsigned k = 0; k < HEADS_LINES; k++)
        __builtin_prefetch(heads + (size_t)LINE * k);
    return i;
}

/* Whether entry i has that key. */
static bool walk_to(const struct block_frame *f, const struct block_tags *t, unsigned i, slice key,
                    struct block_entry *e) {
    struct walk w;
    unsigned restart = i / t->interval, left = i % t->interval;
    if (unlikely(restart >= f->restart_count)) return false;
    e->at = block_restart_at(f, restart);
    e->value_at = block_restart_value_at(f, restart);
    w.len = BLOCK_TAGS_MAX_KEY;
    if (unlikely(e->at >= f->heads_end || !pass(&w, f, left, e))) return false;
    if (unlikely(!block_entry_decode(f, e->at, e->value_at, e) || !take_key(&w, f, e)))
        return false;
    return w.len == key.len && memcmp(w.bytes + TAGGED_BYTES, key.data, key.len) == 0;
}

bool block_tags_get(slice block, const struct block_tags *t, unsigned aim, slice key,
                    uint64_t max_seq, uint8_t *type, uint64_t *seq, slice *value) {
    struct block_frame f;
    struct block_entry e;
    if (aim >= t->count || block_frame_of(block, &f, "", 0, NULL)) return false;
    for (unsigned tries = 0; aim < t->count && tries < MOST_TRIES; tries++) {
        if (!walk_to(&f, t, aim, key, &e)) {
            aim = find_tag(t, aim + 1, tag_of_key(key));
            continue;
        }
        if (e.seq > max_seq) break;
        *type = e.type;
        *seq = e.seq;
        *value = slice_of(f.data + e.value_at, e.value_end - e.value_at);
        /* If that was not where it was guessed. */
        __builtin_prefetch(value->data);
        if (value->len > 64) __builtin_prefetch(value->data + 64);
        return true;
    }
    return false;
}
