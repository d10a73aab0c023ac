/* Fields of a manifest that make no sense, in records that are whole. */
#include "engine/tree/manifest.h"

#include <stdio.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/files.h"

#define DIR       "/store"
#define MANIFEST  DIR "/MANIFEST"
#define FILE_MODE 0640

enum { SECTOR_BYTES = 512 };

static struct env *memory;
static struct table_home home;

static void setup(void) {
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    home = (struct table_home){.env = memory, .dir = DIR};
    ck_ok(memory->make_dir(memory, DIR, 0700, &test_err));
}

static void teardown(void) {
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

struct field_case {
    const char *name;
    const char *fields; /* hex, appended to a sound first record */
    int rc;
};

/* level, number, size, checksum, entries, tombstones, ranges, flags, keys, garbage, compression, min_seq,
 * max_seq, base, min, max */
#define SUM "0000000000000000"
static const struct field_case field_cases[] = {
    {"nothing more", "", 0},
    {"a table", "05 00 01 01" SUM "01 00 00 00 01 00 00 01 01 00 0161 0162", 0},
    {"a table and its deletion",
     "05 00 01 01" SUM "01 00 00 00 01 00 00 01 01 00 0161 0162 06 00 01", KEVO_CORRUPT},
    {"unknown field", "7f", KEVO_CORRUPT},
    {"field 0", "00", KEVO_CORRUPT},
    {"overlong varint", "02 ffffffffffffffffffff01", KEVO_CORRUPT},
    {"number cut short", "02 80", KEVO_CORRUPT},
    {"number twice", "02 01 02 01", KEVO_CORRUPT},
    {"commit cut short", "03 01 00000000", KEVO_CORRUPT},
    {"commit beyond all", "03 808080808080808040 0000000000000000", KEVO_CORRUPT},
    {"level 7", "05 07 01 01" SUM "01 00 00 00 01 00 00 01 01 00 0161 0162", KEVO_CORRUPT},
    {"number 0", "05 00 00 01" SUM "01 00 00 00 01 00 00 01 01 00 0161 0162", KEVO_CORRUPT},
    {"number not below the next", "05 00 09 01" SUM "01 00 00 00 01 00 00 01 01 00 0161 0162",
     KEVO_CORRUPT},
    {"size 0", "05 00 01 00" SUM "01 00 00 00 01 00 00 01 01 00 0161 0162", KEVO_CORRUPT},
    {"no entries", "05 00 01 01" SUM "00 00 00 00 01 00 00 01 01 00 0161 0162", KEVO_CORRUPT},
    {"more tombstones than entries", "05 00 01 01" SUM "01 02 00 00 01 01 00 01 01 00 0161 0162",
     KEVO_CORRUPT},
    {"no key", "05 00 01 01" SUM "01 00 00 00 00 00 00 01 01 00 0161 0162", KEVO_CORRUPT},
    {"more keys than entries", "05 00 01 01" SUM "01 00 00 00 02 00 00 01 01 00 0161 0162",
     KEVO_CORRUPT},
    {"garbage from nothing", "05 00 01 01" SUM "01 00 00 00 01 01 00 01 01 00 0161 0162",
     KEVO_CORRUPT},
    {"a tombstone that is no garbage", "05 00 01 01" SUM "01 01 00 00 01 00 00 01 01 00 0161 0162",
     KEVO_CORRUPT},
    {"a tombstone", "05 00 01 01" SUM "01 01 00 00 01 01 00 01 01 00 0161 0162", 0},
    {"an old version", "05 00 01 01" SUM "02 00 00 00 01 02 00 01 02 00 0161 0162", 0},
    {"garbage from before the first", "05 00 01 01" SUM "02 00 00 00 01 01 00 02 03 00 0161 0162",
     KEVO_CORRUPT},
    {"garbage from after the last", "05 00 01 01" SUM "02 00 00 00 01 04 00 02 03 00 0161 0162",
     KEVO_CORRUPT},
    {"LZ4", "05 00 01 01" SUM "01 00 00 00 01 00 01 01 01 00 0161 0162", 0},
    {"unknown compression", "05 00 01 01" SUM "01 00 00 00 01 00 02 01 01 00 0161 0162",
     KEVO_CORRUPT},
    {"sequence number 0", "05 00 01 01" SUM "01 00 00 00 01 00 00 00 01 00 0161 0162",
     KEVO_CORRUPT},
    {"sequence numbers turned round", "05 00 01 01" SUM "01 00 00 00 01 00 00 02 01 00 0161 0162",
     KEVO_CORRUPT},
    {"private sequence number",
     "05 00 01 01" SUM "01 00 00 00 01 00 00 01 808080808080808040 00 0161 0162", KEVO_CORRUPT},
    {"empty key", "05 00 01 01" SUM "01 00 00 00 01 00 00 01 01 00 00 0162", KEVO_CORRUPT},
    {"keys turned round", "05 00 01 01" SUM "01 00 00 00 01 00 00 01 01 00 0162 0161",
     KEVO_CORRUPT},
    {"key beyond the record", "05 00 01 01" SUM "01 00 00 00 01 00 00 01 01 00 0161 7f62",
     KEVO_CORRUPT},
    {"table twice",
     "05 00 01 01" SUM "01 00 00 00 01 00 00 01 01 00 0161 0162 05 01 01 01" SUM
     "01 00 00 00 01 00 00 01 01 00 0161 0162",
     KEVO_CORRUPT},
    {"overlap in level 0",
     "05 00 01 01" SUM "01 00 00 00 01 00 00 01 01 00 0161 0162 05 00 02 01" SUM
     "01 00 00 00 01 00 00 01 01 00 0162 0163",
     0},
    {"overlap in level 1",
     "05 01 01 01" SUM "01 00 00 00 01 00 00 01 01 00 0161 0162 05 01 02 01" SUM
     "01 00 00 00 01 00 00 01 01 00 0162 0163",
     KEVO_CORRUPT},
    {"a range tombstone", "05 00 01 01" SUM "00 00 01 00 00 01 00 01 01 00 0161 0162", 0},
    {"a range tombstone to the end of its table",
     "05 00 01 01" SUM "00 00 01 01 00 01 00 01 01 00 0161 0162", 0},
    {"a range tombstone without end", "05 00 01 01" SUM "00 00 01 01 00 01 00 01 01 00 0161 00", 0},
    {"no end, but no range tombstone", "05 00 01 01" SUM "01 00 00 01 01 00 00 01 01 00 0161 00",
     KEVO_CORRUPT},
    {"no end where there must be one", "05 00 01 01" SUM "00 00 01 00 00 01 00 01 01 00 0161 00",
     KEVO_CORRUPT},
    {"unknown flag", "05 00 01 01" SUM "00 00 01 02 00 01 00 01 01 00 0161 0162", KEVO_CORRUPT},
    {"a range tombstone that is no garbage",
     "05 00 01 01" SUM "00 00 01 00 00 00 00 01 01 00 0161 0162", KEVO_CORRUPT},
    {"keys without entries", "05 00 01 01" SUM "00 00 01 00 01 01 00 01 01 00 0161 0162",
     KEVO_CORRUPT},
    {"an end where the next table begins",
     "05 01 01 01" SUM "00 00 01 01 00 01 00 01 01 00 0161 0162 05 01 02 01" SUM
     "01 00 00 00 01 00 00 01 01 00 0162 0163",
     0},
    {"an end above the next table's begin",
     "05 01 01 01" SUM "00 00 01 01 00 01 00 01 01 00 0161 026200 05 01 02 01" SUM
     "01 00 00 00 01 00 00 01 01 00 0162 0163",
     KEVO_CORRUPT},
    {"a base", "05 00 01 01" SUM "01 00 00 00 01 00 00 05 05 05 0161 0162", 0},
    {"a base above the smallest", "05 00 01 01" SUM "01 00 00 00 01 00 00 05 06 06 0161 0162",
     KEVO_CORRUPT},
    {"ingested", "08 05", 0},
    {"ingested twice", "08 05 08 05", KEVO_CORRUPT},
    {"ingested cut short", "08 80", KEVO_CORRUPT},
    {"deletion of nothing", "06 00 01", KEVO_CORRUPT},
    {"deletion in level 7", "06 07 01", KEVO_CORRUPT},
    {"options", "07 05 0161 020062", 0},
    {"no options", "07 00", 0},
    {"an empty value", "07 03 0161 00", 0},
    {"options cut short", "07 05 0161 0262", KEVO_CORRUPT},
    {"options without a length", "07", KEVO_CORRUPT},
    {"options of no length that fits", "07 ff 0161", KEVO_CORRUPT},
    {"options twice", "07 00 07 00", KEVO_CORRUPT},
    {"an owner", "09 05 0161 020062", 0},
    {"no owner", "09 00", 0},
    {"an owner cut short", "09 05 0161 0262", KEVO_CORRUPT},
    {"an owner without a length", "09", KEVO_CORRUPT},
    {"an owner too long", "09 8140", KEVO_CORRUPT},
    {"an owner twice", "09 00 09 00", KEVO_CORRUPT},
    {"a name without a value", "07 02 0161", KEVO_CORRUPT},
    {"an empty name", "07 03 00 0161", KEVO_CORRUPT},
    {"a name beyond the options", "07 03 0561 00", KEVO_CORRUPT},
    {"a value beyond the options", "07 04 0161 0561", KEVO_CORRUPT},
};

static void put_hex(struct buf *b, const char *hex) {
    for (; *hex; hex++) {
        unsigned byte;
        if (*hex == ' ') continue;
        ck_assert_int_eq(sscanf(hex++, "%2x", &byte), 1);
        ck_assert(buf_append(b, &(uint8_t){(uint8_t)byte}, 1));
    }
}

/* The format once more, by itself. */
static void pad(struct buf *b) {
    while (b->len % SECTOR_BYTES)
        if (!buf_append(b, "", 1)) abort();
}

static void put_header(struct buf *b, const char *magic, uint32_t version, uint32_t authority) {
    ck_assert(buf_append(b, magic, 8) && buf_put_fixed32(b, version));
    ck_assert(buf_put_fixed32(b, authority) && buf_append(b, "0123456789abcdef", 16));
    ck_assert(buf_put_fixed64(b, 0x5a17));
    ck_assert(buf_put_fixed64(b, checksum64(b->data, 40, 0)));
    pad(b);
}

static void put_record(struct buf *b, const char *hex) {
    struct buf payload = {0}, covered = {0};
    put_hex(&payload, hex);
    ck_assert(buf_put_fixed32(&covered, (uint32_t)payload.len));
    ck_assert(buf_append(&covered, payload.data, payload.len));
    ck_assert(buf_put_fixed64(b, checksum64(covered.data, covered.len, 0x5a17 + b->len)));
    ck_assert(buf_append(b, covered.data, covered.len));
    pad(b);
    buf_release(&payload);
    buf_release(&covered);
}

static const char first_record[] = "01 08 02 01 03 00 0000000000000000 04 05 1122334455667788";

static void expect_code(const struct buf *b, int expected, const char *name) {
    struct manifest *m;
    struct manifest_state state;
    files_write(memory, MANIFEST, buf_slice(b));
    int rc = manifest_open(&home, FILE_MODE, &m, &state, &test_err);
    if (rc && (m || state.version || state.options.data || state.owner.data))
        ck_abort_msg("out-parameters after a failure");
    if (rc == 0) manifest_state_release(&state);
    manifest_close(m);
    ck_assert_msg(rc == expected, "%s: %d, %s", name, rc, test_err.msg);
    ck_assert_msg(rc == 0 || strstr(test_err.msg, MANIFEST), "%s: %s", name, test_err.msg);
}

START_TEST(field_case) {
    const struct field_case *c = &field_cases[_i];
    struct buf b = {0};
    put_header(&b, "kevomani", 1, 1);
    put_record(&b, first_record);
    if (*c->fields) put_record(&b, c->fields);
    expect_code(&b, c->rc, c->name);
    buf_release(&b);
}
END_TEST

START_TEST(header_fields) {
    static const struct {
        const char *magic;
        uint32_t version, authority;
        int rc;
    } cases[] = {{"kevomani", 1, 1, 0},
                 {"kevomani", 1, 2, 0},
                 {"kevomanj", 1, 1, KEVO_CORRUPT},
                 {"kevomani", 2, 1, KEVO_NEWER},
                 {"kevomani", 0, 1, KEVO_CORRUPT},
                 {"kevomani", 1, 0, KEVO_CORRUPT},
                 {"kevomani", 1, 3, KEVO_CORRUPT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        put_header(&b, cases[i].magic, cases[i].version, cases[i].authority);
        put_record(&b, first_record);
        put_record(&b, "");
        expect_code(&b, cases[i].rc, "header");
        if (cases[i].rc == KEVO_NEWER) ck_assert_ptr_nonnull(strstr(test_err.msg, "newer kevo"));
        buf_release(&b);
    }
    struct buf b = {0};
    put_header(&b, "kevomani", 1, 1);
    put_record(&b, "01 08 02 01 04 05 1122334455667788");
    expect_code(&b, KEVO_CORRUPT, "first record incomplete");
    buf_release(&b);
}
END_TEST
int main(void) {
    Suite *suite = suite_create("manifest_fields");
    TCase *tcase = tcase_create("manifest_fields");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, field_case, 0, (int)(sizeof field_cases / sizeof *field_cases));
    tcase_add_test(tcase, header_fields);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
