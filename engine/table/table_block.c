#include <assert.h>

#include "engine/base/error.h"
#include "engine/table/block.h"
#include "engine/table/stored_block.h"
#include "engine/table/table_impl.h"

/* A block as it lies in the file. */
struct stored {
    slice payload;
    uint64_t offset;
    enum block_kind kind;
};

static int damaged(const struct table *t, uint64_t offset, const char *what, struct kevo_err *err) {
    return kevo_fail(err, KEVO_CORRUPT, "%s: block at %llu: %s", t->path,
                     (unsigned long long)offset, what);
}

static int find_stored(const struct table *t, size_t i, struct stored *s, struct kevo_err *err) {
    uint64_t end = table_index_offset(&t->index, i + 1);
    s->offset = table_index_offset(&t->index, i);
    s->kind = table_index_kind(&t->index, i);
    /* table_open() made sure that the last block ends inside the file. */
    if (end > table_index_offset(&t->index, t->index.count) || s->offset > end ||
        end - s->offset <= BLOCK_TRAILER_BYTES ||
        end - s->offset > (uint64_t)UINT32_MAX + BLOCK_TRAILER_BYTES)
        return damaged(t, s->offset, "its place makes no sense", err);
    s->payload = slice_of(t->map + s->offset, (size_t)(end - s->offset) - BLOCK_TRAILER_BYTES);
    return 0;
}

/* Ask memory for all of it at once. More than a few blocks' worth would push out what is
 * needed first. `early`: something else is done before it is read, and that should not wait, as it
 * would for the few lines that can be on their way to the first level of the cache. */
static inline void fetch(slice stored, bool early) {
    enum { LINE = 64, MOST_BYTES = 8192 };
    size_t len = stored.len < MOST_BYTES ? stored.len : MOST_BYTES;
    for (size_t at = 0; at < len; at += LINE) {
        if (early)
            __builtin_prefetch(stored.data + at, 0, 2);
        else
            __builtin_prefetch(stored.data + at);
    }
}

void table_block_fetch(const struct table *t, size_t i) {
    struct stored s;
    if (i < t->index.count && find_stored(t, i, &s, NULL) == 0) fetch(s.payload, true);
}

void table_block_aim(const struct table *t, size_t i, unsigned step) {
    uint64_t offset = table_index_offset(&t->index, i);
    bool cached = table_index_kind(&t->index, i) == BLOCK_LZ4;
    if (step == 1 && cached) cache_aim(t->cache, t->cache_id, offset);
    if (step == 2 && !(cached && cache_peek(t->cache, t->cache_id, offset)))
        table_block_fetch(t, i);
}

/* The checksum is right, and the kind the one that the index says; it gets exact then. */
static int verify(const struct table *t, struct stored *s, struct kevo_err *err) {
    const uint8_t *trailer = s->payload.data + s->payload.len;
    uint32_t checksum =
        checksum32(s->payload.data, s->payload.len + 1, block_seed(t->number, s->offset));
    if (checksum != get_fixed32(trailer + 1)) return damaged(t, s->offset, "checksum differs", err);
    if (!stored_kind_fits(*trailer, s->kind))
        return damaged(t, s->offset, "another kind than the index says", err);
    s->kind = (enum block_kind) * trailer;
    return 0;
}

static int verify_once(struct table *t, size_t i, struct stored *s, struct kevo_err *err) {
    _Atomic uint32_t *word = &t->verified[i / 32];
    uint32_t bit = (uint32_t)1 << i % 32;
    if (atomic_load_explicit(word, memory_order_relaxed) & bit) return 0;
    int rc = verify(t, s, err);
    if (rc == 0) atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
    return rc;
}

static int open_compressed(const struct table *t, struct stored *s, struct stored_block *b,
                           struct kevo_err *err) {
    int rc = verify(t, s, err);
    if (rc || stored_block_open(s->payload, s->kind, b)) return rc;
    return damaged(t, s->offset, "its lengths make no sense", err);
}

static int read_error(const struct table *t, const struct stored *s, int rc, struct kevo_err *err) {
    if (rc == KEVO_NOMEM) return kevo_nomem(err);
    return rc ? damaged(t, s->offset, "bad compressed data", err) : 0;
}

static int expand(const struct table *t, const struct stored *s, const struct stored_block *b,
                  uint8_t *to, struct kevo_err *err) {
    return read_error(t, s, stored_block_expand(b, to), err);
}

/* A compressed block into the cache; `guess` as in cache_new_block(). */
static int bring_in(struct table *t, struct stored *s, bool guess, struct cache_block **pin,
                    struct kevo_err *err) {
    struct stored_block compressed;
    fetch(s->payload, false);
    int rc = open_compressed(t, s, &compressed, err);
    if (rc) return rc;
    struct cache_block *b = cache_new_block(t->cache, compressed.len, guess);
    if (!b) return kevo_nomem(err);
    rc = expand(t, s, &compressed, cache_block_bytes(b), err);
    if (rc) {
        cache_unpin(t->cache, b);
        return rc;
    }
    *pin = cache_publish(t->cache, b, t->cache_id, s->offset);
    return 0;
}

static int expand_into(const struct table *t, const struct stored *s, const struct stored_block *b,
                       struct buf *scratch, slice *bytes, struct kevo_err *err) {
    buf_reset(scratch);
    if (!buf_reserve(scratch, b->len)) return kevo_nomem(err);
    *bytes = slice_of(scratch->data, b->len);
    return expand(t, s, b, scratch->data, err);
}

/* Block s by itself, decompressed into *scratch if need be. */
static int pass_by(struct table *t, struct stored *s, struct buf *scratch, slice *bytes,
                   struct kevo_err *err) {
    struct stored_block compressed;
    int rc = open_compressed(t, s, &compressed, err);
    return rc ? rc : expand_into(t, s, &compressed, scratch, bytes, err);
}

/* Block i in the cache, pinned, or NULL; and note where it is. */
static struct cache_block *look_up(struct table *t, size_t i, uint64_t offset) {
    struct cache_block *place = atomic_load_explicit(&t->places[i], memory_order_relaxed);
    struct cache_block *b = cache_get(t->cache, t->cache_id, offset);
    if (b != place) atomic_store_explicit(&t->places[i], b, memory_order_relaxed);
    return b;
}

struct cache_block *table_block_hold(struct table *t, size_t i) {
    assert(i < t->index.count);
    if (table_index_kind(&t->index, i) != BLOCK_LZ4) return NULL;
    return look_up(t, i, table_index_offset(&t->index, i));
}

/* As the cache has it, or by itself. */
static int get_block(struct table *t, size_t i, struct cache_block *held, struct buf *scratch,
                     struct table_block *b, struct kevo_err *err) {
    struct stored s;
    *b = (struct table_block){.offset = table_index_offset(&t->index, i), .pin = held};
    if (!held) {
        int rc = find_stored(t, i, &s, err);
        if (rc) return rc;
        if (s.kind == BLOCK_LZ4 && scratch) return pass_by(t, &s, scratch, &b->bytes, err);
        rc =
            s.kind == BLOCK_RAW ? verify_once(t, i, &s, err) : bring_in(t, &s, false, &b->pin, err);
        if (rc) return rc;
        if (s.kind == BLOCK_RAW) b->bytes = s.payload;
    }
    if (b->pin) b->bytes = slice_of(b->pin->data, b->pin->len);
    return 0;
}

int table_block_get(struct table *t, size_t i, struct buf *scratch, struct table_block *b,
                    struct kevo_err *err) {
    return get_block(t, i, table_block_hold(t, i), scratch, b, err);
}

int table_block_get_held(struct table *t, size_t i, struct cache_block *held, struct table_block *b,
                         struct kevo_err *err) {
    bool kept = table_index_kind(&t->index, i) == BLOCK_LZ4;
    if (!held && kept && cache_peek(t->cache, t->cache_id, table_index_offset(&t->index, i)))
        held = table_block_hold(t, i);
    return get_block(t, i, held, NULL, b, err);
}

int table_warm(struct table *t, size_t *block, unsigned count, uint64_t *bytes, uint64_t *brought,
               struct kevo_err *err) {
    for (; count > 0 && *bytes > 0 && *block < t->index.count; ++*block, count--) {
        struct stored s;
        struct cache_block *pin;
        int rc = find_stored(t, *block, &s, err);
        if (rc) return rc;
        if (s.kind != BLOCK_LZ4 || cache_peek(t->cache, t->cache_id, s.offset)) continue;
        if ((rc = bring_in(t, &s, true, &pin, err))) return rc;
        *bytes -= pin->len < *bytes ? pin->len : *bytes;
        cache_unpin(t->cache, pin);
        ++*brought;
    }
    return *block < t->index.count ? 0 : KEVO_NOTFOUND;
}

/* Of a block in the cache is noted how often it was asked for, at first, and then what its tags
 * are like: TAGS_AT, their interval, and above TAGS_COUNT their count. */
enum { TAGS_PAYING = 2, TAGS_BEING_MADE, TAGS_REFUSED, TAGS_AT = 8, TAGS_COUNT = 1 << 16 };

/* Whether the tags are worth making: many a block is gone before it has been asked for twice. */
static bool is_time(struct cache_block *b, uint32_t note) {
    if (note > TAGS_PAYING) return false;
    uint32_t next = note < TAGS_PAYING ? note + 1 : TAGS_BEING_MADE;
    return atomic_compare_exchange_strong(&b->note, &note, next) && next == TAGS_BEING_MADE;
}

static void make_tags(struct cache_block *b) {
    struct block_tags t;
    size_t room;
    uint8_t *to = cache_block_room(b, &room);
    uint32_t note = TAGS_REFUSED;
    if (block_tags_make(slice_of(b->data, b->len), to, room, &t))
        note = t.count * (uint32_t)TAGS_COUNT + t.interval + TAGS_AT;
    atomic_store_explicit(&b->note, note, memory_order_release);
}

bool table_block_tags(struct cache_block *b, bool asked_for, struct block_tags *t) {
    uint32_t note = atomic_load_explicit(&b->note, memory_order_acquire);
    if (note < TAGS_AT) {
        if (asked_for && is_time(b, note)) make_tags(b);
        return false;
    }
    *t = (struct block_tags){b->data + b->len, (uint16_t)(note / TAGS_COUNT),
                             (uint16_t)(note % TAGS_COUNT - TAGS_AT)};
    return true;
}

int table_block_read(struct table *t, size_t i, bool again, struct buf *scratch,
                     struct table_block *b, struct kevo_err *err) {
    struct stored s;
    *b = (struct table_block){0};
    int rc = find_stored(t, i, &s, err);
    if (rc) return rc;
    b->offset = s.offset;
    b->bytes = s.payload;
    if (s.kind == BLOCK_RAW) return again ? verify(t, &s, err) : verify_once(t, i, &s, err);
    return pass_by(t, &s, scratch, &b->bytes, err);
}

void table_pass(const struct table *t, uint64_t offset, uint64_t *passed) {
    const uint64_t window = 2 << 20;
    uint64_t end = offset / window * window;
    if (end <= *passed) return;
    t->env->advise(t->env, t->map + *passed, (size_t)(end - *passed), false);
    *passed = end;
}

static int count_compressed(const struct table *t, const struct stored *s,
                            const struct stored_block *b, struct buf *scratch, uint32_t *count,
                            struct kevo_err *err) {
    slice bytes;
    if (b->is_packed) return read_error(t, s, stored_block_count(b, scratch, count), err);
    int rc = expand_into(t, s, b, scratch, &bytes, err);
    return rc ? rc : block_count(bytes, count, t->path, s->offset, err);
}

int table_block_count(struct table *t, size_t i, struct buf *scratch, uint32_t *count,
                      struct kevo_err *err) {
    struct stored s;
    struct stored_block compressed;
    int rc = find_stored(t, i, &s, err);
    if (rc) return rc;
    if (s.kind == BLOCK_RAW) {
        rc = verify_once(t, i, &s, err);
        return rc ? rc : block_count(s.payload, count, t->path, s.offset, err);
    }
    rc = open_compressed(t, &s, &compressed, err);
    return rc ? rc : count_compressed(t, &s, &compressed, scratch, count, err);
}
