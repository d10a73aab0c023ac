/* One test for each field of engine/FORMAT.md that no other program damages alone, with all
 * checksums made right again: it is refused, or what the format says of it holds. The others:
 *
 *   keys, values          test_keycode.c, test_rowcode.c
 *   a batch's payload     test_batch.c: nonsense_is_corrupt
 *   block                 test_block.c: corrupt_field
 *   footer                test_table_damage.c: corrupt_field
 *   range tombstones      test_ranges.c
 *   manifest              test_manifest.c: header_fields, field_case
 *   marker                tests/sql: tampered */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "engine/log/wal.h"
#include "engine/table/table_format.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/files.h"
#include "tests/lib/kv.h"
#include "tests/lib/one_table.h"

#define COUNT(cases) ((int)(sizeof(cases) / sizeof *(cases)))

/* ---- the log ------------------------------------------------------------------------------ */

#define SEGMENT KV_DIR "/000001.wal"

static struct env *env;
static struct kevo_options options;
static uint8_t uuid[16];
static struct buf segment; /* of a closed store with three batches: a, b, c */
static uint64_t records[3];

static void log_setup(void) {
    struct wal_reader *r;
    struct wal_record record;
    env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    options = kv_options(env);
    kevo_store *store = kv_open(&options);
    memcpy(uuid, kevo_store_uuid(store), sizeof uuid);
    kv_put(store, "a", "1");
    kv_put(store, "b", "2");
    kv_put(store, "c", "3");
    kevo_close(store);
    segment = files_read(env, SEGMENT);
    ck_ok(wal_reader_open(env, KV_DIR, 1, uuid, &r, &test_err));
    for (unsigned i = 0; i < 3; i++) {
        ck_ok(wal_reader_next(r, &record, &test_err));
        records[i] = record.offset;
    }
    wal_reader_close(r);
}

static void log_teardown(void) {
    buf_release(&segment);
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

/* Open the store with the log as it is now. NULL: it is refused, as damage that names the
 * segment and says `why`. */
static const char *dump_log(const char *why) {
    kevo_store *store;
    files_write(env, SEGMENT, buf_slice(&segment));
    int rc = kevo_open(KV_DIR, &options, &store, &test_err);
    if (rc == 0) {
        const char *text = kv_dump(store, NULL);
        kevo_close(store);
        return text;
    }
    bool newer = strstr(why, "of a newer kevo");
    ck_assert_msg(rc == (newer ? KEVO_NEWER : KEVO_CORRUPT), "%d, %s", rc, test_err.msg);
    ck_assert_msg(strstr(test_err.msg, SEGMENT) && strstr(test_err.msg, why),
                  "\"%s\" does not say \"%s\"", test_err.msg, why);
    return NULL;
}

static void seal_segment_header(void) {
    put_fixed64(segment.data + 72, checksum64(segment.data, 72, 0));
}

static const struct {
    const char *what;
    size_t at;
    bool sealed; /* the checksum is made right */
    const char *why;
} header_fields[] = {
    {"magic", 0, true, "header is damaged"},
    {"version", 8, true, "version 17, of a newer kevo"},
    {"zero behind the version", 12, true, "header is damaged"},
    {"number", 16, true, "holds segment"},
    {"salt", 24, true, NULL}, /* no record is one any more: an empty segment */
    {"store", 32, true, "belongs to another store"},
    {"record before", 48, true, NULL}, /* likewise: none of the records comes after it */
    {"its checksum", 56, true, "is damaged, though batch 2"},
    {"zero at the end", 64, true, "header is damaged"},
    {"checksum", 72, false, "header is damaged"},
};

/* Two of them are not found out by themselves, which is what the checksum is for: with another
 * salt, or behind a later record, the segment is one that has no records yet. */
START_TEST(segment_header) {
    segment.data[header_fields[_i].at] ^= 0x10;
    if (header_fields[_i].sealed) seal_segment_header();
    const char *text = dump_log(header_fields[_i].why ? header_fields[_i].why : "");
    if (header_fields[_i].why)
        ck_assert_msg(!text, "%s: %s", header_fields[_i].what, text);
    else
        ck_assert_str_eq(text, "");
}
END_TEST

static void seal_record(uint64_t at) {
    uint8_t *record = segment.data + at;
    uint64_t salt = get_fixed64(segment.data + 24);
    put_fixed32(record + 52, checksum32(record + 8, 44, salt));
    put_fixed64(record, wal_record_checksum(record, get_fixed64(record + 8), salt));
}

/* What the store holds when the record of c, which is the last one, is changed, and that of b,
 * which c names by its checksum. NULL: it is refused. */
static const struct {
    const char *what;
    size_t at;
    uint8_t flip;
    const char *last, *why, *middle;
} record_fields[] = {
    {"payload length", 8, 0x01, NULL, "makes no sense", NULL},
    {"payload length, beyond the file", 13, 0x10, "a=1 b=2", NULL, NULL}, /* as if torn */
    {"batch id, larger", 16, 0x10, "a=1 b=2 c=3", NULL, "a=1 b=2"}, /* c is of older times then */
    {"batch id, not larger", 16, 0x02, "a=1 b=2", NULL, NULL},      /* likewise */
    {"record before", 32, 0x10, NULL, "damaged", NULL},
    {"its checksum", 40, 0x10, NULL, "damaged", NULL},
    {"type", 48, 0x10, NULL, "no known kind", NULL},
    {"type, void", 48, 0x03, NULL, "no known kind", NULL},
    {"flag, unknown", 49, 0x80, NULL, "no known kind", NULL},
    {"flag, not synced before", 49, 0x01, "a=1 b=2", NULL, NULL}, /* no record in this sector */
    {"zero", 50, 0x01, NULL, "no known kind", NULL},
    {"other zero", 51, 0x80, NULL, "no known kind", NULL},
};

static void expect_dump(const char *what, const char *why, const char *expected) {
    const char *text = dump_log(why ? why : "");
    ck_assert_msg(expected ? text && strcmp(text, expected) == 0 : !text, "%s: %s", what,
                  text ? text : test_err.msg);
}

START_TEST(record_header_of_the_last) {
    segment.data[records[2] + record_fields[_i].at] ^= record_fields[_i].flip;
    if (get_fixed64(segment.data + records[2] + 8) < 1000) seal_record(records[2]);
    expect_dump(record_fields[_i].what, record_fields[_i].why, record_fields[_i].last);
}
END_TEST

START_TEST(record_header_before_others) {
    segment.data[records[1] + record_fields[_i].at] ^= record_fields[_i].flip;
    if (get_fixed64(segment.data + records[1] + 8) < 1000) seal_record(records[1]);
    expect_dump(record_fields[_i].what, NULL, record_fields[_i].middle);
}
END_TEST

START_TEST(nonce_of_a_batch) {
    memset(segment.data + records[2] + 24, 0, 8);
    seal_record(records[2]);
    ck_assert_ptr_null(dump_log("no known kind"));
}
END_TEST

/* The seal without the checksum, and the checksum without the seal. */
START_TEST(seal_and_checksum) {
    size_t at = _i & 1 ? 52 : 0;
    unsigned record = _i & 2 ? 1 : 2;
    segment.data[records[record] + at] ^= 0x10;
    if (at) {
        uint8_t *r = segment.data + records[record];
        put_fixed64(r, wal_record_checksum(r, get_fixed64(r + 8), get_fixed64(segment.data + 24)));
    }
    const char *text = dump_log("");
    if (record == 1)
        ck_assert_ptr_null(text);
    else
        ck_assert_str_eq(text, "a=1 b=2"); /* a torn end looks like that */
}
END_TEST

/* Padding and what lies between a record and the next sector mean nothing. */
START_TEST(bytes_between_records) {
    for (uint64_t at = records[1] + 64; at < records[2]; at++)
        segment.data[at] ^= 0xff;
    segment.data[records[2] + 60] ^= 0xff;
    ck_assert_str_eq(dump_log(""), "a=1 b=2 c=3");
}
END_TEST

/* Append a record with this payload to the store's log. */
static void append_record(enum wal_type type, slice payload) {
    struct wal_reader *r;
    struct wal_record record;
    struct wal_writer *w;
    struct wal_run run = {0};
    uint64_t nonce = type == WAL_VOID ? 0 : 77;
    ck_ok(wal_reader_open(env, KV_DIR, 1, uuid, &r, &test_err));
    while (wal_reader_next(r, &record, &test_err) == 0)
        ;
    ck_ok(wal_reopen(env, KV_DIR, 1, r->salt, &w, &test_err));
    ck_ok(wal_cut(w, r->at, r->last, &test_err));
    wal_reader_close(r);
    wal_run_reset(&run, w);
    ck_ok(wal_begin_record(&run, &test_err));
    ck_assert(buf_append(&run.bytes, payload.data, payload.len));
    ck_ok(wal_end_record(&run, w, type, (struct kevo_commit){4, nonce}, &test_err));
    ck_ok(wal_append_run(w, &run, &test_err));
    ck_ok(wal_sync(w, &test_err));
    wal_close(w);
    buf_release(&run.bytes);
    buf_release(&segment);
    segment = files_read(env, SEGMENT);
}

static const struct {
    const char *what;
    enum wal_type type;
    const char *payload;
    size_t len;
} payloads[] = {
    {"a batch that is cut short", WAL_BATCH, "\x03\x05xy", 4},
    {"an empty key", WAL_BATCH, "\x01\x00", 2},
    {"a void record that is too short", WAL_VOID, "\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 15},
    {"a void record that is too long", WAL_VOID, "\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 17},
    {"a void record without a payload", WAL_VOID, "", 0},
    {"a void record that keeps what comes later", WAL_VOID, "\x0e\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0",
     16},
    {"tables that make no sense", WAL_TABLES, "\xff\xff\xff", 3},
};

START_TEST(payload) {
    append_record(payloads[_i].type, slice_of(payloads[_i].payload, payloads[_i].len));
    const char *text = dump_log("");
    ck_assert_msg(!text, "%s: %s", payloads[_i].what, text);
}
END_TEST

/* What the fields say when they are right. */
START_TEST(a_void_record_takes_back) {
    append_record(WAL_VOID, slice_of("\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16));
    ck_assert_str_eq(dump_log(""), "a=1");
}
END_TEST

/* ---- tables --------------------------------------------------------------------------------- */

static struct one_table o;
static struct iter_suite_set *set;
static struct buf table;
static struct table_footer footer;

static void table_setup(int compression) {
    static struct iter_suite_entry entries[60];
    static char keys[60][8], value[60];
    struct table_writer_options w = {.block_bytes = 300,
                                     .restart_interval = 4,
                                     .compression = compression,
                                     .filter_bits_per_key = 10,
                                     .file_mode = 0644};
    uint64_t checksum;
    memset(value, 'v', sizeof value);
    for (unsigned i = 0; i < 60; i++) {
        snprintf(keys[i], sizeof keys[i], "key%03u", i * 2);
        bool is_put = i % 9 > 0;
        entries[i] =
            (struct iter_suite_entry){kv_slice(keys[i]), 100 + i, is_put ? ENTRY_PUT : ENTRY_DELETE,
                                      slice_of(value, is_put ? sizeof value : 0)};
    }
    set = iter_suite_sorted(entries, 60);
    one_table_init(&o, set, &w, 1 << 20);
    one_table_close(&o);
    table = files_read(o.env, ONE_TABLE_PATH);
    slice end = slice_of(table.data + table.len - TABLE_FOOTER_BYTES, TABLE_FOOTER_BYTES);
    ck_assert_ptr_null(table_footer_decode(&footer, end, table.len, &checksum));
}

static void table_teardown(void) {
    buf_release(&table);
    one_table_release(&o);
    iter_suite_free(set);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static struct table_index index_of(void) {
    struct table_index index;
    ck_assert(table_index_open(
        &index, slice_of(table.data + footer.index.offset, (size_t)footer.index.len)));
    return index;
}

/* Make every checksum right, those of blocks too. */
static void seal_table(void) {
    struct table_section *sections[] = {&footer.filter, &footer.index, &footer.ranges,
                                        &footer.properties};
    for (int i = 0; i < COUNT(sections); i++)
        sections[i]->checksum =
            checksum64(table.data + sections[i]->offset, (size_t)sections[i]->len, 0);
    o.summary.checksum = table_footer_encode(&footer, table.data + table.len - TABLE_FOOTER_BYTES);
}

static void seal_block(uint64_t begin, uint64_t end) {
    put_fixed32(table.data + end - 4, checksum32(table.data + begin, (size_t)(end - begin - 4),
                                                 block_seed(ONE_TABLE_NUMBER, begin)));
}

/* Open it and look at everything. */
static int look_at_table(void) {
    seal_table();
    files_write(o.env, ONE_TABLE_PATH, buf_slice(&table));
    int rc = one_table_open(&o);
    if (rc == 0) rc = table_verify(o.table, &test_err);
    one_table_close(&o);
    return rc;
}

static void expect_refused(const char *what) {
    int rc = look_at_table();
    ck_assert_msg(rc == KEVO_CORRUPT, "%s: %d", what, rc);
    ck_assert_msg(strstr(test_err.msg, ONE_TABLE_PATH), "%s: %s", what, test_err.msg);
}

START_TEST(an_undamaged_table_passes) {
    table_setup(_i);
    ck_assert_uint_gt(index_of().count, 3);
    ck_ok(look_at_table());
    table_teardown();
}
END_TEST

/* Every bit that a key set: without it the key would not be found. */
START_TEST(filter_bits) {
    table_setup(0);
    unsigned refused = 0, bits = 0;
    for (uint64_t i = 0; i < footer.filter.len * 8; i++) {
        uint8_t *byte = table.data + footer.filter.offset + i / 8, bit = (uint8_t)(1u << i % 8);
        if (!(*byte & bit)) continue;
        *byte ^= bit;
        bits++;
        refused += look_at_table() == KEVO_CORRUPT;
        *byte ^= bit;
    }
    ck_assert_uint_gt(bits, 100);
    ck_assert_uint_eq(refused, bits);
    table_teardown();
}
END_TEST

enum index_field { BLOCK_COUNT, PREFIX_LENGTH, HEAD, OFFSET, END, KIND, TAIL_END, PREFIX, TAIL };

static const struct {
    const char *what;
    enum index_field field;
    uint64_t value; /* what is added to it */
} index_fields[] = {
    {"one block more", BLOCK_COUNT, 1},
    {"one block fewer", BLOCK_COUNT, (uint64_t)-1},
    {"no block", BLOCK_COUNT, (uint64_t)-1000},
    {"a longer prefix", PREFIX_LENGTH, 1},
    {"a shorter prefix", PREFIX_LENGTH, (uint64_t)-1},
    {"a prefix beyond the section", PREFIX_LENGTH, 1000000},
    {"a smaller head", HEAD, (uint64_t)-1 << 56},
    {"a larger head", HEAD, (uint64_t)1 << 56},
    {"a block that begins later", OFFSET, 2},
    {"a block that begins earlier", OFFSET, (uint64_t)-2},
    {"a block beyond the file", OFFSET, (uint64_t)1 << 40},
    {"blocks that end later", END, 128},
    {"blocks that end earlier", END, (uint64_t)-2},
    {"another kind", KIND, 1},
    {"a tail that ends later", TAIL_END, 1},
    {"a tail beyond the section", TAIL_END, 1000000},
    {"another prefix", PREFIX, 1},
    {"another tail", TAIL, 1},
};

static void add32(const uint8_t *at, uint64_t n) {
    put_fixed32((uint8_t *)at, (uint32_t)(get_fixed32(at) + n));
}

static void add64(const uint8_t *at, uint64_t n) {
    put_fixed64((uint8_t *)at, get_fixed64(at) + n);
}

START_TEST(index_field) {
    table_setup(0);
    struct table_index index = index_of();
    const uint8_t *section = table.data + footer.index.offset;
    uint64_t value = index_fields[_i].value;
    switch (index_fields[_i].field) {
    case BLOCK_COUNT:
        add32(section, value == (uint64_t)-1000 ? -(uint64_t)index.count : value);
        break;
    case PREFIX_LENGTH: add32(section + 4, value); break;
    case HEAD: add64(index.heads + 8, value); break;
    case OFFSET: add64(index.handles + 8, value); break;
    case END: add64(index.handles + 8 * (size_t)index.count, value); break;
    case KIND: add64(index.handles + 8, value); break;
    case TAIL_END: add32(index.tail_ends + 4, value); break;
    case PREFIX: ((uint8_t *)index.prefix.data)[0] ^= 1; break;
    case TAIL: ((uint8_t *)index.tails.data)[0] ^= 0x40; break;
    }
    expect_refused(index_fields[_i].what);
    table_teardown();
}
END_TEST

/* Each number of the properties, one more and one less. */
enum { NUMBERS = 10 };

static uint64_t *number_of(struct table_properties *p, int i) {
    uint64_t *numbers[NUMBERS] = {
        &p->entry_count, &p->tombstone_count, &p->range_count, &p->key_count, &p->garbage_seq,
        &p->key_bytes,   &p->value_bytes,     &p->block_count, &p->min_seq,   &p->max_seq};
    return numbers[i];
}

/* Put other properties into the table; what lies behind them moves. */
static void replace_properties(slice bytes) {
    struct buf whole = {0};
    ck_assert(buf_append(&whole, table.data, (size_t)footer.properties.offset));
    ck_assert(buf_append(&whole, bytes.data, bytes.len));
    ck_assert(buf_append(&whole, table.data + table.len - TABLE_FOOTER_BYTES, TABLE_FOOTER_BYTES));
    footer.properties.len = bytes.len;
    buf_release(&table);
    table = whole;
    o.summary.file_bytes = table.len;
}

static void change_properties(int i, int change) {
    struct table_properties p;
    struct buf bytes = {0};
    slice min_key, max_key;
    ck_assert(table_properties_decode(
        &p, &min_key, &max_key,
        slice_of(table.data + footer.properties.offset, (size_t)footer.properties.len)));
    if (i < NUMBERS) *number_of(&p, i) += (uint64_t)change;
    if (i == NUMBERS) min_key = change > 0 ? kv_slice("key0000") : kv_slice("key");
    if (i == NUMBERS + 1) max_key = change > 0 ? kv_slice("key118x") : kv_slice("key117");
    if (i == NUMBERS + 2) p.ends_below = !p.ends_below;
    ck_assert(table_properties_encode(&p, min_key, max_key, &bytes));
    replace_properties(buf_slice(&bytes));
    buf_release(&bytes);
}

START_TEST(properties_field) {
    char what[32];
    for (int change = -1; change <= 1; change += 2) {
        table_setup(0);
        change_properties(_i, change);
        snprintf(what, sizeof what, "number %d by %d", _i, change);
        expect_refused(what);
        table_teardown();
    }
}
END_TEST

START_TEST(properties_cut_short_or_too_long) {
    for (int change = -1; change <= 1; change += 2) {
        table_setup(0);
        struct buf bytes = {0};
        ck_assert(buf_append(&bytes, table.data + footer.properties.offset,
                             (size_t)footer.properties.len));
        ck_assert(buf_append(&bytes, "", 1));
        bytes.len -= change < 0 ? 2 : 0;
        replace_properties(buf_slice(&bytes));
        buf_release(&bytes);
        expect_refused("length");
        table_teardown();
    }
}
END_TEST

enum block_field { STORED_KIND, STORED_LENGTH, STORED_BYTE, OTHER_SEED };

static const struct {
    const char *what;
    enum block_field field;
    int compression;
    uint32_t value;
} block_fields[] = {
    {"raw, said to be LZ4", STORED_KIND, 0, 1},
    {"LZ4, said to be raw", STORED_KIND, 1, 0},
    {"raw, said to be packed", STORED_KIND, 0, 2},
    {"an unknown kind", STORED_KIND, 0, 3},
    {"packed, said to be LZ4", STORED_KIND, 1, 1},
    {"an unknown kind of a compressed one", STORED_KIND, 1, 0x81},
    {"length of 0", STORED_LENGTH, 1, 0},
    {"a length one too small", STORED_LENGTH, 1, (uint32_t)-1},
    {"a length one too large", STORED_LENGTH, 1, 1},
    {"a length that no such block has", STORED_LENGTH, 1, 100000},
    {"a length of 2^31", STORED_LENGTH, 1, 0x80000000},
    {"compressed bytes that make no sense", STORED_BYTE, 1, 0},
    {"a block of another place", OTHER_SEED, 0, 0},
};

START_TEST(stored_block_field) {
    table_setup(block_fields[_i].compression);
    struct table_index index = index_of();
    uint64_t begin = table_index_offset(&index, 1), end = table_index_offset(&index, 2);
    uint8_t *block = table.data + begin;
    uint32_t value = block_fields[_i].value;
    ck_assert_int_eq((int)table_index_kind(&index, 1), block_fields[_i].compression);
    switch (block_fields[_i].field) {
    case STORED_KIND: table.data[end - 5] = (uint8_t)value; break;
    case STORED_LENGTH: put_fixed32(block, value == 0 ? 0 : get_fixed32(block) + value); break;
    case STORED_BYTE: block[4] = 0xff; break;
    case OTHER_SEED: break;
    }
    seal_block(begin, end);
    if (block_fields[_i].field == OTHER_SEED)
        put_fixed32(table.data + end - 4,
                    checksum32(block, (size_t)(end - begin - 4), block_seed(ONE_TABLE_NUMBER, 0)));
    expect_refused(block_fields[_i].what);
    table_teardown();
}
END_TEST

/* Both of a block's restart points are its first entry. */
START_TEST(restart_points) {
    table_setup(0);
    struct table_index index = index_of();
    uint64_t begin = table_index_offset(&index, 1), end = table_index_offset(&index, 2);
    uint8_t *restarts = table.data + end - BLOCK_TRAILER_BYTES - 24; /* two, and the frame */
    ck_assert_uint_eq(get_fixed32(restarts + 20), 2);
    memcpy(restarts + 8, restarts, 8);
    seal_block(begin, end);
    expect_refused("twice the first one");
    table_teardown();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("corrupt_fields");

    TCase *logs = tcase_create("log");
    tcase_add_checked_fixture(logs, log_setup, log_teardown);
    tcase_add_loop_test(logs, segment_header, 0, COUNT(header_fields));
    tcase_add_loop_test(logs, record_header_of_the_last, 0, COUNT(record_fields));
    tcase_add_loop_test(logs, record_header_before_others, 0, COUNT(record_fields));
    tcase_add_test(logs, nonce_of_a_batch);
    tcase_add_loop_test(logs, seal_and_checksum, 0, 4);
    tcase_add_test(logs, bytes_between_records);
    tcase_add_loop_test(logs, payload, 0, COUNT(payloads));
    tcase_add_test(logs, a_void_record_takes_back);
    suite_add_tcase(suite, logs);

    TCase *tables = tcase_create("table");
    tcase_set_timeout(tables, 60);
    tcase_add_loop_test(tables, an_undamaged_table_passes, 0, 2);
    tcase_add_test(tables, filter_bits);
    tcase_add_test(tables, restart_points);
    tcase_add_loop_test(tables, index_field, 0, COUNT(index_fields));
    tcase_add_loop_test(tables, properties_field, 0, NUMBERS + 3);
    tcase_add_test(tables, properties_cut_short_or_too_long);
    tcase_add_loop_test(tables, stored_block_field, 0, COUNT(block_fields));
    suite_add_tcase(suite, tables);

    return harness_run(suite);
}
