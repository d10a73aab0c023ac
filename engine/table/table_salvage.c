#include "engine/table/table_salvage.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/table/block_entry.h"
#include "engine/table/stored_block.h"
#include "engine/table/table_format.h"

enum {
    MIN_BLOCK_BYTES = 16,
    NEAR_BYTES = 256 << 10, /* a raw block that ends further away is found only from where the one
                               before it ends */
    MAX_NOTES = 8           /* of damaged blocks of one table, one by one */
};

/* What walking may cost: bytes looked at, and bytes hashed. Damage that is too odd is given
 * up then. */
#define WALK_STEPS  ((uint64_t)1 << 33)
#define WALK_HASHED ((uint64_t)1 << 34)

/* ---- notes -------------------------------------------------------------------- */

static void note(const struct table_salvage *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void note(const struct table_salvage *s, const char *fmt, ...) {
    char text[600];
    va_list args;
    int len = snprintf(text, sizeof text, "%.400s: ", s->path);
    va_start(args, fmt);
    vsnprintf(text + len, sizeof text - (size_t)len, fmt, args);
    va_end(args);
    s->note(s->note_arg, text);
}

static void note_block(struct table_salvage *s, uint64_t offset, uint64_t bytes, const char *why) {
    s->blocks_lost++;
    s->bytes_lost += bytes;
    if (s->blocks_lost <= MAX_NOTES) note(s, "block at %llu: %s", (unsigned long long)offset, why);
}

/* ---- one block ----------------------------------------------------------------- */

static bool checksum_is_right(const struct table_salvage *s, const struct salvage_block *b) {
    const uint8_t *payload = s->map + b->offset;
    return payload[b->len] == b->kind &&
           get_fixed32(payload + b->len + 1) ==
               checksum32(payload, (size_t)b->len + 1, block_seed(s->number, b->offset));
}

/* The contents of a block whose checksum was right; KEVO_CORRUPT when they make no sense. */
static int unpack(const struct table_salvage *s, const struct salvage_block *b, struct buf *scratch,
                  slice *bytes) {
    const uint8_t *payload = s->map + b->offset;
    *bytes = slice_of(payload, b->len);
    struct stored_block compressed;
    if (b->kind == BLOCK_RAW) return 0;
    if (!stored_block_open(*bytes, (enum block_kind)b->kind, &compressed)) return KEVO_CORRUPT;
    buf_reset(scratch);
    if (!buf_reserve(scratch, compressed.len)) return KEVO_NOMEM;
    *bytes = slice_of(scratch->data, compressed.len);
    return stored_block_expand(&compressed, scratch->data);
}

/* What is known while the blocks are gone through. */
struct search {
    struct table_salvage *s;
    const struct table_claim *claim;
    struct block_iter it;
    struct buf scratch;
    struct buf last_key; /* of the last block taken */
    uint64_t last_seq;
    bool any; /* there is one */
};

static bool is_claimed(const struct table_claim *c, const struct iter *e) {
    return e->seq >= c->min_seq && e->seq <= c->max_seq && slice_cmp(e->key, c->min_key) >= 0 &&
           slice_cmp(e->key, c->max_key) <= 0;
}

static const char *check_entry(const struct search *q, const struct iter *e) {
    if (e->key.len == 0 || e->key.len > KEVO_MAX_KEY_BYTES || e->seq >= SEQ_PRIVATE)
        return "an entry makes no sense";
    if (q->claim && !is_claimed(q->claim, e)) return "an entry is none of this table's";
    return NULL;
}

/* Go through the entries of a block. *why tells what is wrong with it; NULL: nothing. */
static int check_entries(struct search *q, uint64_t *count, uint64_t *max_seq, const char **why) {
    struct iter *e = &q->it.base;
    struct kevo_err ignored;
    struct buf key = {0};
    uint64_t seq = q->last_seq;
    bool any = q->any;
    int rc = buf_set(&key, buf_slice(&q->last_key)) ? 0 : KEVO_NOMEM;
    if (rc == 0) rc = e->ops->seek_first(e, &ignored);
    *count = *max_seq = 0;
    *why = NULL;
    for (; rc == 0 && !*why && e->valid; ++*count) {
        *why = check_entry(q, e);
        if (any && entry_cmp(buf_slice(&key), seq, e->key, e->seq) >= 0)
            *why = "an entry is out of order";
        if (e->seq > *max_seq) *max_seq = e->seq;
        seq = e->seq;
        any = true;
        rc = buf_set(&key, e->key) ? e->ops->next(e, &ignored) : KEVO_NOMEM;
    }
    if (rc == 0 && !*why) {
        buf_release(&q->last_key);
        q->last_key = key;
        q->last_seq = seq;
        q->any = any;
        return 0;
    }
    buf_release(&key);
    if (rc == KEVO_CORRUPT) *why = "an entry makes no sense";
    return rc == KEVO_NOMEM ? KEVO_NOMEM : 0;
}

/* Take a block whose checksum is right, if its contents are. */
static int take_block(struct search *q, const struct salvage_block *b, struct kevo_err *err) {
    struct table_salvage *s = q->s;
    struct kevo_err ignored;
    const char *why = "its contents make no sense";
    uint64_t count = 0, max_seq = 0;
    slice bytes;
    int rc = unpack(s, b, &q->scratch, &bytes);
    if (rc == 0) rc = block_iter_set(&q->it, bytes, s->path, b->offset, &ignored);
    if (rc == 0) rc = check_entries(q, &count, &max_seq, &why);
    if (rc == KEVO_NOMEM) return kevo_nomem(err);
    if (why) {
        note_block(s, b->offset, b->len, why);
        return 0;
    }
    if (!mem_grow((void **)&s->blocks, &s->block_cap, s->block_count + 1, sizeof *s->blocks))
        return kevo_nomem(err);
    s->blocks[s->block_count++] = *b;
    s->entry_count += count;
    s->data_bytes += b->len;
    if (max_seq > s->max_seq) s->max_seq = max_seq;
    return 0;
}

/* ---- by the index ----------------------------------------------------------------- */

static int take_by_index(struct search *q, const struct table_index *index, uint64_t end,
                         struct kevo_err *err) {
    struct table_salvage *s = q->s;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < index->count; i++) {
        uint64_t from = table_index_offset(index, i), to = table_index_offset(index, i + 1);
        enum block_kind kind = table_index_kind(index, i);
        struct salvage_block b = {.offset = from, .kind = (uint8_t)kind};
        if (from > to || to > end || to - from <= BLOCK_TRAILER_BYTES ||
            to - from > (uint64_t)UINT32_MAX) {
            note_block(s, from, 0, "its place makes no sense");
            continue;
        }
        b.len = (uint32_t)(to - from) - BLOCK_TRAILER_BYTES;
        uint8_t trailer = s->map[from + b.len];
        if (stored_kind_fits(trailer, kind)) b.kind = trailer;
        if (checksum_is_right(s, &b))
            rc = take_block(q, &b, err);
        else
            note_block(s, from, to - from, "checksum differs");
    }
    return rc;
}

/* ---- by walking --------------------------------------------------------------------- */

struct walk {
    uint64_t end;                      /* of what may be blocks */
    uint64_t *raw_ends;                /* where the payloads of raw blocks may end, ascending */
    size_t raw_count, raw_cap, raw_at; /* the first one behind where the walk is */
    uint64_t steps, hashed;            /* what it has cost */
};

static bool is_exhausted(const struct walk *w) {
    return w->steps > WALK_STEPS || w->hashed > WALK_HASHED;
}

/* Signs that a raw block ends at `end`: there is a frame, and the first restart point is the first
 * entry, whose value is the first one. */
static bool may_be_raw_end(const uint8_t *map, uint64_t end) {
    uint32_t heads_at = get_fixed32(map + end - 8), restarts = get_fixed32(map + end - 4);
    uint64_t behind = 8 + (uint64_t)restarts * 8;
    return map[end] == BLOCK_RAW && restarts > 0 && behind + heads_at <= end &&
           get_fixed64(map + end - behind) == heads_at;
}

static int find_raw_ends(const struct table_salvage *s, struct walk *w, struct kevo_err *err) {
    for (uint64_t at = MIN_BLOCK_BYTES; at + BLOCK_TRAILER_BYTES <= w->end; at++) {
        if (!may_be_raw_end(s->map, at)) continue;
        if (!mem_grow((void **)&w->raw_ends, &w->raw_cap, w->raw_count + 1, sizeof *w->raw_ends))
            return kevo_nomem(err);
        w->raw_ends[w->raw_count++] = at;
    }
    return 0;
}

static bool is_block(const struct table_salvage *s, struct walk *w, uint64_t offset, uint64_t len,
                     enum block_kind kind, struct salvage_block *b) {
    if (len < MIN_BLOCK_BYTES || len > UINT32_MAX || w->end - offset < len + BLOCK_TRAILER_BYTES ||
        s->map[offset + len] != kind)
        return false;
    *b = (struct salvage_block){offset, (uint32_t)len, (uint8_t)kind};
    w->hashed += len;
    return checksum_is_right(s, b);
}

/* Whether entries, in their own lengths, fill a raw block just so. */
static bool may_be_raw(const uint8_t *payload, uint64_t len, uint64_t *steps) {
    struct block_frame f;
    struct block_entry e;
    if (block_frame_of(slice_of(payload, (size_t)len), &f, "", 0, NULL)) return false;
    e.end = f.heads_at;
    e.value_end = 0;
    do {
        bool is_first = e.end == f.heads_at;
        ++*steps;
        if (!block_entry_decode(&f, e.end, e.value_end, &e) || e.shared + e.unshared == 0 ||
            (is_first && e.shared))
            return false;
    } while (e.end < f.heads_end);
    return e.value_end == f.heads_at;
}

/* Whether a block begins at `offset`, which is never below that of the call before; a raw one that
 * ends by `limit`. */
static bool find_end(const struct table_salvage *s, struct walk *w, uint64_t offset, uint64_t limit,
                     struct salvage_block *b) {
    slice rest = slice_of(s->map + offset, (size_t)(w->end - offset));
    for (int kind = BLOCK_LZ4; kind <= BLOCK_PACKED; kind++) {
        size_t len = stored_block_measure(rest, (enum block_kind)kind, &w->steps);
        if (len && is_block(s, w, offset, len, (enum block_kind)kind, b)) return true;
    }
    while (w->raw_at < w->raw_count && w->raw_ends[w->raw_at] < offset + MIN_BLOCK_BYTES)
        w->raw_at++;
    for (size_t i = w->raw_at; i < w->raw_count && !is_exhausted(w); i++, w->steps++) {
        if (w->raw_ends[i] > limit) break;
        uint64_t len = w->raw_ends[i] - offset;
        if (may_be_raw(rest.data, len, &w->steps) && is_block(s, w, offset, len, BLOCK_RAW, b))
            return true;
    }
    return false;
}

/* The next block that begins at `offset` or behind it. */
static bool find_next(const struct table_salvage *s, struct walk *w, uint64_t offset,
                      struct salvage_block *b) {
    uint64_t limit = w->end;
    for (; offset + MIN_BLOCK_BYTES + BLOCK_TRAILER_BYTES <= w->end && !is_exhausted(w); offset++) {
        if (find_end(s, w, offset, limit, b)) return true;
        limit = offset + NEAR_BYTES;
    }
    return false;
}

static int walk_on(struct search *q, struct walk *w, bool end_is_known, struct kevo_err *err) {
    struct table_salvage *s = q->s;
    struct salvage_block b;
    int rc = 0;
    for (uint64_t at = 0; rc == 0;) {
        bool found = find_next(s, w, at, &b);
        uint64_t lost = (found ? b.offset : w->end) - at;
        /* Behind the last block lie zeros and the rest of the file. */
        if (lost && (found || (end_is_known && lost >= FILTER_ALIGNMENT)))
            note_block(s, at, lost, "no block can be recognised here");
        if (is_exhausted(w))
            note(s, "searching for blocks was given up at %llu", (unsigned long long)at);
        if (!found) return 0;
        rc = take_block(q, &b, err);
        at = b.offset + b.len + BLOCK_TRAILER_BYTES;
    }
    return rc;
}

static int take_by_walk(struct search *q, uint64_t end, bool end_is_known, struct kevo_err *err) {
    struct walk w = {.end = end};
    int rc = find_raw_ends(q->s, &w, err);
    if (rc == 0) rc = walk_on(q, &w, end_is_known, err);
    mem_free(w.raw_ends);
    return rc;
}

/* ---- the file ------------------------------------------------------------------------- */

static bool section_is_sound(const struct table_salvage *s, const struct table_section *section,
                             slice *bytes) {
    *bytes = slice_of(s->map + section->offset, (size_t)section->len);
    return checksum64(bytes->data, bytes->len, 0) == section->checksum;
}

static int take_ranges(struct table_salvage *s, const struct table_section *section,
                       struct kevo_err *err) {
    slice bytes;
    int rc = section_is_sound(s, section, &bytes) ? range_set_decode(bytes, &s->ranges, err)
                                                  : KEVO_CORRUPT;
    range_set_raise(s->ranges, s->base_seq);
    if (rc == KEVO_CORRUPT)
        note(s, "its range tombstones are lost: rows that they deleted may be back");
    return rc == KEVO_CORRUPT ? 0 : rc;
}

static int take_file(struct search *q, struct kevo_err *err) {
    struct table_salvage *s = q->s;
    struct table_footer footer = {.format = 0};
    struct table_index index;
    slice bytes;
    uint64_t checksum;
    const char *wrong = "too short for a table";
    if (s->size_bytes >= TABLE_FOOTER_BYTES) {
        bytes = slice_of(s->map + s->size_bytes - TABLE_FOOTER_BYTES, TABLE_FOOTER_BYTES);
        wrong = table_footer_decode(&footer, bytes, s->size_bytes, &checksum);
    }
    if (footer.format > TABLE_FORMAT_NEWEST)
        return kevo_newer(err, s->path, footer.format, TABLE_FORMAT_NEWEST);
    if (wrong) {
        note(s, "%s; range tombstones of it are lost, if there were any", wrong);
        return take_by_walk(q, s->size_bytes, false, err);
    }
    if (footer.number != s->number || (q->claim && checksum != q->claim->checksum)) {
        note(s, "another table than the one that belongs here");
        s->blocks_lost++;
        return 0;
    }
    int rc = take_ranges(s, &footer.ranges, err);
    if (rc) return rc;
    if (section_is_sound(s, &footer.index, &bytes) && table_index_open(&index, bytes))
        return take_by_index(q, &index, footer.filter.offset, err);
    note(s, "the index is damaged");
    return take_by_walk(q, footer.filter.offset, true, err);
}

/* A file that cannot be read is lost, and no error. */
static int map_file(struct table_salvage *s, struct kevo_err *err) {
    struct env *env = s->env;
    struct env_file *file = NULL;
    struct kevo_err cause;
    int rc = env->open(env, s->path, ENV_READ, 0, &file, &cause);
    if (rc == 0) rc = file_bytes_init(&s->file, env, file, &cause);
    env->close(env, file);
    s->map = s->file.data;
    s->size_bytes = s->file.size;
    if (s->file.unreadable)
        note(s, "%llu bytes cannot be read", (unsigned long long)s->file.unreadable);
    if (rc == 0) return 0;
    s->blocks_lost++;
    if (rc == KEVO_NOMEM) return kevo_nomem(err);
    s->note(s->note_arg, cause.msg);
    return 0;
}

int table_salvage_open(struct env *env, const char *path, uint64_t number,
                       const struct table_claim *claim, uint64_t base_seq,
                       void (*notes)(void *arg, const char *text), void *note_arg,
                       struct table_salvage **salvage, struct kevo_err *err) {
    *salvage = NULL;
    struct table_salvage *s = mem_zalloc(sizeof *s);
    if (!s) return kevo_nomem(err);
    struct search q = {.s = s, .claim = claim};
    *s = (struct table_salvage){.env = env,
                                .number = number,
                                .base_seq = claim ? claim->base_seq : base_seq,
                                .note = notes,
                                .note_arg = note_arg};
    block_iter_init(&q.it);
    q.it.base_seq = s->base_seq;
    s->path = mem_strdup(path);
    int rc = s->path ? map_file(s, err) : kevo_nomem(err);
    if (rc == 0 && s->map) rc = take_file(&q, err);
    if (rc == 0 && s->blocks_lost > MAX_NOTES)
        note(s, "and %llu more damaged blocks", (unsigned long long)(s->blocks_lost - MAX_NOTES));
    block_iter_release(&q.it);
    buf_release(&q.scratch);
    buf_release(&q.last_key);
    if (rc) {
        table_salvage_close(s);
        return rc;
    }
    *salvage = s;
    return 0;
}

void table_salvage_close(struct table_salvage *s) {
    if (!s) return;
    range_set_free(s->ranges);
    file_bytes_release(&s->file, s->env);
    mem_free(s->blocks);
    mem_free(s->path);
    mem_free(s);
}

/* ---- walking over what was found --------------------------------------------------------- */

struct salvage_iter {
    struct block_iter block; /* first: its base is this iterator's */
    struct table_salvage *s;
    size_t at;
    struct buf scratch;
};

/* To the first entry of block `at`, or of one behind it. */
static int enter(struct salvage_iter *it, size_t at, struct kevo_err *err) {
    struct table_salvage *s = it->s;
    int rc = 0;
    it->block.base.valid = false;
    for (it->at = at; rc == 0 && !it->block.base.valid && it->at < s->block_count; it->at++) {
        slice bytes;
        const struct salvage_block *b = &s->blocks[it->at];
        rc = unpack(s, b, &it->scratch, &bytes);
        if (rc == KEVO_NOMEM) return kevo_nomem(err);
        if (rc) return kevo_fail(err, rc, "%s: changes while it is read", s->path);
        rc = block_iter_set(&it->block, bytes, s->path, b->offset, err);
        if (rc == 0) rc = block_iter_ops.seek_first(&it->block.base, err);
    }
    return rc;
}

static int salvage_first(struct iter *base, struct kevo_err *err) {
    return enter((struct salvage_iter *)base, 0, err);
}

static int salvage_next(struct iter *base, struct kevo_err *err) {
    struct salvage_iter *it = (struct salvage_iter *)base;
    int rc = block_iter_ops.next(base, err);
    return rc || base->valid ? rc : enter(it, it->at, err);
}

static void salvage_iter_close(struct iter *base) {
    struct salvage_iter *it = (struct salvage_iter *)base;
    block_iter_release(&it->block);
    buf_release(&it->scratch);
    mem_free(it);
}

static const struct iter_ops salvage_ops = {
    .seek_first = salvage_first, .next = salvage_next, .close = salvage_iter_close};

int table_salvage_iter_new(struct table_salvage *s, struct iter **iter, struct kevo_err *err) {
    *iter = NULL;
    struct salvage_iter *it = mem_zalloc(sizeof *it);
    if (!it) return kevo_nomem(err);
    block_iter_init(&it->block);
    it->block.base.ops = &salvage_ops;
    it->block.base_seq = s->base_seq;
    it->s = s;
    *iter = &it->block.base;
    return 0;
}
