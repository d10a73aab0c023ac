/* table_format.h - the parts of a table file that writer and reader share: block
 * trailer, properties, footer. The layout is in engine/FORMAT.md, "Table". Private
 * to engine/table. */
#ifndef KEVO_TABLE_TABLE_FORMAT_H
#define KEVO_TABLE_TABLE_FORMAT_H

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "engine/table/index.h"
#include "engine/table/table.h"

enum {
    TABLE_FORMAT_PLAIN = 1, /* without packed blocks, as earlier builds read it */
    TABLE_FORMAT_PACKED = 2,
    TABLE_FORMAT_NEWEST = TABLE_FORMAT_PACKED,
    BLOCK_TRAILER_BYTES = 5, /* kind, fixed32 checksum of payload and kind */
    LZ4_HEADER_BYTES = 4,    /* fixed32 uncompressed length, before an LZ4 payload */
    LZ4_MAX_RATIO = 255,     /* a compressed byte stands for no more than this */
    FILTER_ALIGNMENT = 64,
    INDEX_ALIGNMENT = 8,
    TABLE_FOOTER_BYTES = 128
};

/* The seed of a block's checksum: a block of another table, or from another place,
 * does not pass for this one. */
static inline uint64_t block_seed(uint64_t number, uint64_t offset) {
    return number << 40 ^ offset;
}

struct table_section {
    uint64_t offset, len, checksum;
};

struct table_footer {
    uint64_t number; /* of the file */
    uint32_t format; /* version, read: 0 when the footer is not whole */
    bool has_packed; /* blocks: its format version says so */
    struct table_section filter, index, ranges, properties;
};

/* Write the footer; returns its checksum. */
uint64_t table_footer_encode(const struct table_footer *footer, uint8_t out[TABLE_FOOTER_BYTES]);

/* Read and check the footer of a file of `file_bytes`: magic, version, checksum,
 * and that the sections follow one another up to the footer. NULL, or what is
 * wrong: a format above TABLE_FORMAT_NEWEST is, and is to be told from damage. */
const char *table_footer_decode(struct table_footer *footer, slice bytes, uint64_t file_bytes,
                                uint64_t *checksum);

/* Take into account an entry whose newer version before it in the table, of the same key,
 * is at newer_seq (0: there is none). */
static inline void table_properties_add_garbage(struct table_properties *p, uint64_t seq,
                                                uint8_t type, uint64_t newer_seq) {
    uint64_t from = type == ENTRY_DELETE ? seq : newer_seq;
    if (from && (p->garbage_seq == 0 || from < p->garbage_seq)) p->garbage_seq = from;
}

bool table_properties_encode(const struct table_properties *p, slice min_key, slice max_key,
                             struct buf *out); /* false: no memory */
/* min_key and max_key are borrowed from bytes. False when it makes no sense. */
bool table_properties_decode(struct table_properties *p, slice *min_key, slice *max_key,
                             slice bytes);

#endif
