#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/table/block.h"
#include "engine/table/filter.h"
#include "engine/table/stored_block.h"
#include "engine/table/table_format.h"

enum { WRITE_BYTES = 256 * 1024 };

struct table_writer {
    struct env *env;
    struct env_file *file;
    uint64_t number;
    struct table_writer_options options;
    struct buf out;         /* not yet written */
    uint64_t written_bytes; /* of the file, before `out` */
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

static int write_out(struct table_writer *w, slice bytes, struct kevo_err *err) {
    int rc = w->env->write(w->env, w->file, w->written_bytes, bytes.data, bytes.len, err);
    if (rc == 0) w->written_bytes += bytes.len;
    return rc;
}

/* A huge value must not leave a huge buffer behind. */
static void empty_buffer(struct buf *b) {
    if (b->cap > 8 * WRITE_BYTES)
        buf_release(b);
    else
        buf_reset(b);
}

static int flush(struct table_writer *w, struct kevo_err *err) {
    int rc = w->out.len ? write_out(w, buf_slice(&w->out), err) : 0;
    if (rc == 0) empty_buffer(&w->out);
    return rc;
}

static uint64_t file_offset(const struct table_writer *w) {
    return w->written_bytes + w->out.len;
}

/* ---- blocks ---------------------------------------------------------------- */

static void put_trailer(struct buf *b, size_t payload_len, enum block_kind kind, uint64_t seed) {
    uint8_t *payload = b->data + b->len - payload_len;
    payload[payload_len] = (uint8_t)kind;
    put_fixed32(payload + payload_len + 1, checksum32(payload, payload_len + 1, seed));
    b->len += BLOCK_TRAILER_BYTES;
}

/* A large raw block is written from where it is. */
static int write_large(struct table_writer *w, size_t len, uint64_t seed, struct kevo_err *err) {
    if (!buf_reserve(&w->block.data, BLOCK_TRAILER_BYTES)) return kevo_nomem(err);
    put_trailer(&w->block.data, len, BLOCK_RAW, seed);
    int rc = flush(w, err);
    return rc ? rc : write_out(w, buf_slice(&w->block.data), err);
}

static int write_block(struct table_writer *w, struct kevo_err *err) {
    slice raw;
    uint64_t offset = file_offset(w), seed = block_seed(w->number, offset);
    enum block_kind kind = BLOCK_RAW;
    int rc = block_builder_finish(&w->block, &raw, err);
    if (rc) return rc;
    if (!buf_reserve(&w->out, raw.len + BLOCK_TRAILER_BYTES)) return kevo_nomem(err);
    size_t len = 0;
    rc = stored_write(&w->stored, raw, w->block.entry_count, w->options.restart_interval,
                      w->out.data + w->out.len, &len, &kind, err);
    if (rc) return rc;
    if (kind == BLOCK_RAW && raw.len > WRITE_BYTES) {
        rc = write_large(w, raw.len, seed, err);
    } else {
        if (kind == BLOCK_RAW) memcpy(w->out.data + w->out.len, raw.data, raw.len);
        if (kind == BLOCK_RAW) len = raw.len;
        w->out.len += len;
        put_trailer(&w->out, len, kind, seed);
        if (w->out.len >= WRITE_BYTES) rc = flush(w, err);
    }
    w->pending_offset = offset;
    w->has_packed |= kind == BLOCK_PACKED;
    w->pending_kind = kind == BLOCK_RAW ? BLOCK_RAW : BLOCK_LZ4;
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
    if (!buf_reserve(&w->out, WRITE_BYTES + WRITE_BYTES / 8)) return kevo_nomem(err);
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
    size_t over = file_offset(w) % alignment;
    if (over && !buf_append(&w->out, zeros, alignment - over)) return kevo_nomem(err);
    return 0;
}

/* What was appended to `out` since file offset s->offset. */
static void end_section(const struct table_writer *w, struct table_section *s) {
    s->len = file_offset(w) - s->offset;
    s->checksum = checksum64(w->out.data + (s->offset - w->written_bytes), (size_t)s->len, 0);
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

/* Filter, index, range tombstones, properties and footer, into `out`. */
static int put_sections(struct table_writer *w, uint64_t *checksum, struct kevo_err *err) {
    struct table_footer footer = {.number = w->number, .has_packed = w->has_packed};
    uint64_t data_end = file_offset(w);
    int rc = align(w, FILTER_ALIGNMENT, err);
    if (rc) return rc;
    footer.filter.offset = file_offset(w);
    rc = filter_builder_finish(&w->filter, w->options.filter_bits_per_key, &w->out, err);
    if (rc) return rc;
    end_section(w, &footer.filter);
    rc = align(w, INDEX_ALIGNMENT, err);
    if (rc) return rc;
    footer.index.offset = file_offset(w);
    rc = index_builder_finish(&w->index, data_end, &w->out, err);
    if (rc) return rc;
    end_section(w, &footer.index);
    footer.ranges.offset = file_offset(w);
    rc = range_set_encode(w->ranges, &w->out, err);
    if (rc == 0) rc = span_ranges(w, err);
    if (rc) return rc;
    end_section(w, &footer.ranges);
    footer.properties.offset = file_offset(w);
    if (!table_properties_encode(&w->properties, buf_slice(&w->min_key), buf_slice(&w->pending_key),
                                 &w->out))
        return kevo_nomem(err);
    end_section(w, &footer.properties);
    if (!buf_reserve(&w->out, TABLE_FOOTER_BYTES)) return kevo_nomem(err);
    *checksum = table_footer_encode(&footer, w->out.data + w->out.len);
    w->out.len += TABLE_FOOTER_BYTES;
    return 0;
}

static int finish(struct table_writer *w, uint64_t *checksum, struct kevo_err *err) {
    int rc = w->block.entry_count ? cut_block(w, err) : 0;
    if (rc == 0 && w->is_pending) rc = add_separator(w, buf_slice(&w->pending_key), err);
    if (rc == 0) rc = flush(w, err);
    if (rc == 0) rc = put_sections(w, checksum, err);
    if (rc == 0) rc = flush(w, err);
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
