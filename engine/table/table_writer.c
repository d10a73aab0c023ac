#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/table/block.h"
#include "engine/table/filter.h"
#include "engine/table/stored_block.h"
#include "engine/table/table_format.h"

/* A file is written in pieces of so many bytes, each of which the system keeps in one huge page where
 * it can: that is mapped at once and looked up at once, and a table is read at random. The disk gets each
 * as it comes: a sync of all of a table at once would keep those of the log waiting for as long. */
enum { PIECE_BYTES = MEM_HUGE_BYTES };

struct table_writer {
    struct env *env;
    struct env_file *file;
    uint64_t number;
    struct table_writer_options options;
    uint8_t *piece;         /* what is not yet written, */
    size_t piece_len;       /* ... which is less than PIECE_BYTES */
    uint64_t written_bytes; /* of the file, whole pieces until it is finished */
    struct buf out;         /* a block or section as it comes to be */
    struct block_builder block;
    struct index_builder index;
    struct filter_builder filter;
    struct table_properties properties;
    struct buf min_key;
    struct range_set *ranges;     /* NULL: none */
    struct buf pending_key;       /* last key of the block before this one; in the end the
                                     largest key */
    struct buf scratch;           /* for separators */
    bool is_pending;              /* that block still has to get its separator */
    uint64_t pending_offset;      /* where it lies */
    enum block_kind pending_kind; /* and how */
    uint64_t last_seq;
    struct stored_writer stored;
    bool has_packed; /* blocks */
};

/* ---- the file ---------------------------------------------------------------- */

static int write_out(struct table_writer *w, const uint8_t *data, size_t len,
                     struct kevo_err *err) {
    int rc = w->env->write(w->env, w->file, w->written_bytes, data, len, err);
    if (rc) return rc;
    w->env->write_soon(w->env, w->file, w->written_bytes, len);
    w->written_bytes += len;
    return 0;
}

static int write_piece(struct table_writer *w, struct kevo_err *err) {
    int rc = w->piece_len ? write_out(w, w->piece, w->piece_len, err) : 0;
    if (rc == 0) w->piece_len = 0;
    return rc;
}

/* Whole pieces are written from where they are. */
static int append(struct table_writer *w, const uint8_t *data, size_t len, struct kevo_err *err) {
    int rc = 0;
    while (rc == 0 && len > 0) {
        size_t n = PIECE_BYTES - w->piece_len;
        if (w->piece_len == 0 && len >= PIECE_BYTES) {
            n = len / PIECE_BYTES * PIECE_BYTES;
            rc = write_out(w, data, n, err);
        } else {
            if (n > len) n = len;
            memcpy(w->piece + w->piece_len, data, n);
            w->piece_len += n;
            if (w->piece_len == PIECE_BYTES) rc = write_piece(w, err);
        }
        data += n;
        len -= n;
    }
    return rc;
}

/* A huge value must not leave a huge buffer behind. */
static void empty_buffer(struct buf *b) {
    if (b->cap > PIECE_BYTES)
        buf_release(b);
    else
        buf_reset(b);
}

static int append_out(struct table_writer *w, struct kevo_err *err) {
    int rc = append(w, w->out.data, w->out.len, err);
    empty_buffer(&w->out);
    return rc;
}

static uint64_t file_offset(const struct table_writer *w) {
    return w->written_bytes + w->piece_len;
}

/* ---- blocks ---------------------------------------------------------------- */

static void put_trailer(struct buf *b, enum block_kind kind, uint64_t seed) {
    b->data[b->len++] = (uint8_t)kind;
    put_fixed32(b->data + b->len, checksum32(b->data, b->len, seed));
    b->len += BLOCK_TRAILER_BYTES - 1;
}

static int write_block(struct table_writer *w, struct kevo_err *err) {
    slice raw;
    uint64_t offset = file_offset(w), seed = block_seed(w->number, offset);
    enum block_kind kind = BLOCK_RAW;
    int rc = block_builder_finish(&w->block, &raw, err);
    if (rc) return rc;
    if (!buf_reserve(&w->out, raw.len + BLOCK_TRAILER_BYTES) ||
        !buf_reserve(&w->block.data, BLOCK_TRAILER_BYTES))
        return kevo_nomem(err);
    raw.data = w->block.data.data; /* it may have moved */
    rc = stored_write(&w->stored, raw, w->block.entry_count, w->options.restart_interval,
                      w->out.data, &w->out.len, &kind, err);
    if (rc) return rc;
    struct buf *stored = kind == BLOCK_RAW ? &w->block.data : &w->out;
    put_trailer(stored, kind, seed);
    w->pending_offset = offset;
    w->has_packed |= kind == BLOCK_PACKED;
    w->pending_kind = kind == BLOCK_RAW ? BLOCK_RAW : BLOCK_LZ4;
    rc = append(w, stored->data, stored->len, err);
    empty_buffer(&w->out);
    return rc;
}

/* End the current block; its separator waits for the next key. */
static int cut_block(struct table_writer *w, struct kevo_err *err) {
    int rc = write_block(w, err);
    if (rc) return rc;
    if (!buf_set(&w->pending_key, buf_slice(&w->block.last_key))) return kevo_nomem(err);
    w->is_pending = true;
    w->properties.block_count++;
    block_builder_reset(&w->block);
    empty_buffer(&w->block.data);
    return 0;
}

static int add_separator(struct table_writer *w, slice separator, struct kevo_err *err) {
    w->is_pending = false;
    return index_builder_add(&w->index, separator, w->pending_offset, w->pending_kind, err);
}

static int separate(struct table_writer *w, slice next_key, struct kevo_err *err) {
    slice last = buf_slice(&w->pending_key);
    buf_reset(&w->scratch);
    if (!buf_reserve(&w->scratch, last.len + 1)) return kevo_nomem(err);
    return add_separator(w, index_separator(last, next_key, w->scratch.data), err);
}

/* ---- the interface ------------------------------------------------------------ */

static int writer_init(struct table_writer *w, const char *path, struct kevo_err *err) {
    block_builder_init(&w->block, w->options.restart_interval);
    int rc = stored_writer_init(&w->stored, w->options.compression == KEVO_COMPRESSION_LZ4, err);
    if (rc) return rc;
    w->piece = mem_alloc_huge();
    if (!w->piece) return kevo_nomem(err);
    return w->env->open(w->env, path, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE,
                        w->options.file_mode, &w->file, err);
}

int table_writer_open(struct env *env, const char *path, uint64_t number,
                      const struct table_writer_options *options, struct table_writer **writer,
                      struct kevo_err *err) {
    assert(options->restart_interval > 0);
    *writer = NULL;
    struct table_writer *w = mem_zalloc(sizeof *w);
    if (!w) return kevo_nomem(err);
    w->env = env;
    w->number = number;
    w->options = *options;
    w->properties.compression = (uint8_t)options->compression;
    int rc = writer_init(w, path, err);
    if (rc)
        table_writer_abandon(w);
    else
        *writer = w;
    return rc;
}

void table_writer_abandon(struct table_writer *w) {
    if (!w) return;
    if (w->file) w->env->close(w->env, w->file);
    block_builder_release(&w->block);
    index_builder_release(&w->index);
    filter_builder_release(&w->filter);
    mem_free_huge(w->piece);
    buf_release(&w->out);
    buf_release(&w->min_key);
    range_set_free(w->ranges);
    buf_release(&w->pending_key);
    buf_release(&w->scratch);
    stored_writer_release(&w->stored);
    mem_free(w);
}

static void count_entry(struct table_properties *p, slice key, uint64_t seq, uint8_t type,
                        slice value, uint64_t newer_seq) {
    table_properties_add_garbage(p, seq, type, newer_seq);
    if (p->entry_count == 0 || seq < p->min_seq) p->min_seq = seq;
    if (seq > p->max_seq) p->max_seq = seq;
    p->entry_count++;
    p->tombstone_count += type == ENTRY_DELETE;
    p->key_count += newer_seq == 0;
    p->key_bytes += key.len;
    p->value_bytes += value.len;
}

/* The key added last. */
static slice last_key(const struct table_writer *w) {
    return buf_slice(w->block.entry_count ? &w->block.last_key : &w->pending_key);
}

/* What a key that was not there before brings with it. */
static int add_key(struct table_writer *w, slice key, struct kevo_err *err) {
    if (w->properties.entry_count == 0 && !buf_set(&w->min_key, key)) return kevo_nomem(err);
    if (w->options.filter_bits_per_key == 0) return 0;
    return filter_builder_add(&w->filter, key_hash(key), err);
}

int table_writer_add(struct table_writer *w, slice key, uint64_t seq, uint8_t type, slice value,
                     struct kevo_err *err) {
    slice last = last_key(w);
    bool same = w->properties.entry_count && slice_eq(last, key);
    assert(w->properties.entry_count == 0 || entry_cmp(last, w->last_seq, key, seq) < 0);
    int rc = same ? 0 : add_key(w, key, err);
    if (rc) return rc;
    /* A large value gets a block of its own, so that its neighbours stay cheap. */
    if (w->block.entry_count &&
        block_builder_bytes(&w->block) + key.len + value.len > 2 * (size_t)w->options.block_bytes) {
        rc = cut_block(w, err);
        if (rc) return rc;
    }
    if (w->is_pending && (rc = separate(w, key, err))) return rc;
    rc = block_builder_add(&w->block, key, seq, type, value, err);
    if (rc) return rc;
    count_entry(&w->properties, key, seq, type, value, same ? w->last_seq : 0);
    w->last_seq = seq;
    return block_builder_bytes(&w->block) < w->options.block_bytes ? 0 : cut_block(w, err);
}

int table_writer_add_ranges(struct table_writer *w, const struct range_set *set, slice lower,
                            slice upper, struct kevo_err *err) {
    struct range_list list = {0};
    assert(!w->ranges);
    int rc = range_list_add_set(&list, set, lower, upper, err);
    if (rc == 0) rc = range_set_new(&list, false, &w->ranges, err);
    range_list_release(&list);
    return rc;
}

uint64_t table_writer_bytes(const struct table_writer *w) {
    return file_offset(w) + (w->block.entry_count ? block_builder_bytes(&w->block) : 0);
}

uint64_t table_writer_entries(const struct table_writer *w) {
    return w->properties.entry_count;
}

static int align(struct table_writer *w, size_t alignment, struct kevo_err *err) {
    static const uint8_t zeros[FILTER_ALIGNMENT];
    return append(w, zeros, -file_offset(w) % alignment, err);
}

/* Append `out`, which is the section. */
static int append_section(struct table_writer *w, struct table_section *s, struct kevo_err *err) {
    s->offset = file_offset(w);
    s->len = w->out.len;
    s->checksum = checksum64(w->out.data, w->out.len, 0);
    return append_out(w, err);
}

/* Take the range tombstones into the properties and the key range, once all entries are
 * there: pending_key becomes the largest key of both. */
static int span_ranges(struct table_writer *w, struct kevo_err *err) {
    const struct range_set *set = w->ranges;
    struct table_properties *p = &w->properties;
    bool alone = p->entry_count == 0;
    if (!set) return 0;
    p->range_count = set->seq_count;
    if (alone || set->min_seq < p->min_seq) p->min_seq = set->min_seq;
    if (set->max_seq > p->max_seq) p->max_seq = set->max_seq;
    if (p->garbage_seq == 0 || set->min_seq < p->garbage_seq) p->garbage_seq = set->min_seq;
    slice lower = set->fragments[0].lower, upper = set->fragments[set->count - 1].upper;
    p->ends_below = alone || slice_cmp(upper, buf_slice(&w->pending_key)) > 0;
    if (p->ends_below && !buf_set(&w->pending_key, upper)) return kevo_nomem(err);
    if (!alone && slice_cmp(lower, buf_slice(&w->min_key)) >= 0) return 0;
    return buf_set(&w->min_key, lower) ? 0 : kevo_nomem(err);
}

static int append_footer(struct table_writer *w, const struct table_footer *footer,
                         uint64_t *checksum, struct kevo_err *err) {
    if (!buf_reserve(&w->out, TABLE_FOOTER_BYTES)) return kevo_nomem(err);
    *checksum = table_footer_encode(footer, w->out.data);
    w->out.len = TABLE_FOOTER_BYTES;
    return append_out(w, err);
}

/* Filter, index, range tombstones, properties and footer. */
static int append_sections(struct table_writer *w, uint64_t *checksum, struct kevo_err *err) {
    struct table_footer footer = {.number = w->number, .has_packed = w->has_packed};
    uint64_t data_end = file_offset(w);
    int rc = align(w, FILTER_ALIGNMENT, err);
    if (rc == 0)
        rc = filter_builder_finish(&w->filter, w->options.filter_bits_per_key, &w->out, err);
    if (rc == 0) rc = append_section(w, &footer.filter, err);
    if (rc == 0) rc = align(w, INDEX_ALIGNMENT, err);
    if (rc == 0) rc = index_builder_finish(&w->index, data_end, &w->out, err);
    if (rc == 0) rc = append_section(w, &footer.index, err);
    if (rc == 0) rc = range_set_encode(w->ranges, &w->out, err);
    if (rc == 0) rc = append_section(w, &footer.ranges, err);
    if (rc == 0) rc = span_ranges(w, err);
    if (rc) return rc;
    if (!table_properties_encode(&w->properties, buf_slice(&w->min_key), buf_slice(&w->pending_key),
                                 &w->out))
        return kevo_nomem(err);
    rc = append_section(w, &footer.properties, err);
    return rc ? rc : append_footer(w, &footer, checksum, err);
}

static int finish(struct table_writer *w, uint64_t *checksum, struct kevo_err *err) {
    int rc = w->block.entry_count ? cut_block(w, err) : 0;
    if (rc == 0 && w->is_pending) rc = add_separator(w, buf_slice(&w->pending_key), err);
    if (rc == 0) rc = append_sections(w, checksum, err);
    if (rc == 0) rc = write_piece(w, err);
    if (rc == 0) rc = w->env->sync(w->env, w->file, err);
    return rc;
}

int table_writer_finish(struct table_writer *w, struct table_summary *summary,
                        struct kevo_err *err) {
    assert(w->properties.entry_count > 0 || w->ranges);
    *summary = (struct table_summary){0};
    uint64_t checksum = 0;
    int rc = finish(w, &checksum, err);
    if (rc == 0) {
        *summary = (struct table_summary){.properties = w->properties,
                                          .min_key = w->min_key,
                                          .max_key = w->pending_key,
                                          .file_bytes = w->written_bytes,
                                          .checksum = checksum};
        w->min_key = w->pending_key = (struct buf){0};
    }
    table_writer_abandon(w);
    return rc;
}
