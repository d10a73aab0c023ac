#include "engine/table/table_format.h"

static const uint8_t magic[8] = {'k', 'e', 'v', 'o', 0xf5, 't', 'b', 'l'};

/* ---- footer ---------------------------------------------------------------- */

static uint8_t *put_section(uint8_t *p, const struct table_section *s) {
    put_fixed64(p, s->offset);
    put_fixed64(p + 8, s->len);
    put_fixed64(p + 16, s->checksum);
    return p + 24;
}

uint64_t table_footer_encode(const struct table_footer *footer, uint8_t out[TABLE_FOOTER_BYTES]) {
    uint8_t *p = out;
    put_fixed64(p, footer->number);
    p = put_section(p + 8, &footer->filter);
    p = put_section(p, &footer->index);
    p = put_section(p, &footer->ranges);
    p = put_section(p, &footer->properties);
    put_fixed32(p, footer->has_packed ? TABLE_FORMAT_PACKED : TABLE_FORMAT_PLAIN);
    put_fixed32(p + 4, 0);
    memcpy(p + 8, magic, sizeof magic);
    uint64_t checksum = checksum64(out, TABLE_FOOTER_BYTES - 8, 0);
    put_fixed64(p + 16, checksum);
    return checksum;
}
_Static_assert(8 + 4 * 24 + 4 + 4 + sizeof magic + 8 == TABLE_FOOTER_BYTES, "footer layout");

static struct table_section read_section(struct reader *r) {
    struct table_section s = {.offset = read_fixed64(r)};
    s.len = read_fixed64(r);
    s.checksum = read_fixed64(r);
    return s;
}

/* Whether the section begins at the next multiple of `alignment`, and ends by `end`. */
static bool section_follows(const struct table_section *s, uint64_t *at, uint64_t alignment,
                            uint64_t end) {
    if (s->offset < *at || s->offset - *at >= alignment || s->offset % alignment) return false;
    if (s->offset > end || s->len > end - s->offset) return false;
    *at = s->offset + s->len;
    return true;
}

const char *table_footer_decode(struct table_footer *footer, slice bytes, uint64_t file_bytes,
                                uint64_t *checksum) {
    struct reader r = reader_of(bytes);
    footer->format = 0;
    footer->number = read_fixed64(&r);
    footer->filter = read_section(&r);
    footer->index = read_section(&r);
    footer->ranges = read_section(&r);
    footer->properties = read_section(&r);
    uint32_t version = read_fixed32(&r), reserved = read_fixed32(&r);
    slice written_magic = read_bytes(&r, sizeof magic);
    *checksum = read_fixed64(&r);
    if (r.bad || file_bytes < TABLE_FOOTER_BYTES) return "the footer is cut short";
    if (!slice_eq(written_magic, slice_of(magic, sizeof magic))) return "not a table";
    if (*checksum != checksum64(bytes.data, TABLE_FOOTER_BYTES - 8, 0))
        return "the footer's checksum differs";
    footer->format = version;
    footer->has_packed = version == TABLE_FORMAT_PACKED;
    if ((version != TABLE_FORMAT_PLAIN && !footer->has_packed) || reserved)
        return "unknown format version";
    uint64_t end = file_bytes - TABLE_FOOTER_BYTES, at = footer->filter.offset;
    if (!section_follows(&footer->filter, &at, FILTER_ALIGNMENT, end) ||
        !section_follows(&footer->index, &at, INDEX_ALIGNMENT, end) ||
        !section_follows(&footer->ranges, &at, 1, end) ||
        !section_follows(&footer->properties, &at, 1, end) || at != end)
        return "the footer names places that make no sense";
    return NULL;
}

/* ---- properties ------------------------------------------------------------- */

bool table_properties_make_sense(const struct table_properties *p) {
    if (p->entry_count + p->range_count == 0 || p->tombstone_count > p->entry_count ||
        (p->key_count == 0) != (p->entry_count == 0) || p->key_count > p->entry_count ||
        p->min_seq > p->max_seq || (p->ends_below && p->range_count == 0))
        return false;
    if (p->tombstone_count + p->range_count == 0 && p->key_count == p->entry_count)
        return p->garbage_seq == 0;
    return p->garbage_seq >= p->min_seq && p->garbage_seq <= p->max_seq;
}

bool table_properties_encode(const struct table_properties *p, slice min_key, slice max_key,
                             struct buf *out) {
    return buf_put_varint(out, p->entry_count) && buf_put_varint(out, p->tombstone_count) &&
           buf_put_varint(out, p->range_count) && buf_put_varint(out, p->ends_below) &&
           buf_put_varint(out, p->key_count) && buf_put_varint(out, p->garbage_seq) &&
           buf_put_varint(out, p->compression) && buf_put_varint(out, p->key_bytes) &&
           buf_put_varint(out, p->value_bytes) && buf_put_varint(out, p->block_count) &&
           buf_put_varint(out, p->min_seq) && buf_put_varint(out, p->max_seq) &&
           buf_put_slice(out, min_key) && buf_put_slice(out, range_end_shorten(max_key));
}

bool table_properties_decode(struct table_properties *p, slice *min_key, slice *max_key,
                             slice bytes) {
    struct reader r = reader_of(bytes);
    p->entry_count = read_varint(&r);
    p->tombstone_count = read_varint(&r);
    p->range_count = read_varint(&r);
    uint64_t ends_below = read_varint(&r);
    p->key_count = read_varint(&r);
    p->garbage_seq = read_varint(&r);
    uint64_t compression = read_varint(&r);
    p->key_bytes = read_varint(&r);
    p->value_bytes = read_varint(&r);
    p->block_count = read_varint(&r);
    p->min_seq = read_varint(&r);
    p->max_seq = read_varint(&r);
    *min_key = read_slice(&r);
    *max_key = read_slice(&r);
    p->compression = (uint8_t)compression;
    p->ends_below = ends_below;
    if (p->ends_below) *max_key = range_end_restore(*max_key);
    return !r.bad && reader_left(&r) == 0 && compression <= KEVO_COMPRESSION_LZ4 &&
           ends_below <= 1 && table_properties_make_sense(p) && slice_cmp(*min_key, *max_key) <= 0;
}
