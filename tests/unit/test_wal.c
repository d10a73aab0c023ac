#include "engine/log/wal.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/coding.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"

#define DIR "/log"

static struct env *memory, *fault;
static const uint8_t uuid[16] = "0123456789abcdef";
static const struct wal_link none = {0, 0};

static void setup(void) {
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    fault = fault_env_new(memory);
    ck_ok(memory->make_dir(memory, DIR, 0700, &test_err));
}

static void teardown(void) {
    fault_env_free(fault);
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

/* ---- writing and reading, in short ---------------------------------------------------- */

/* Payloads are made from the batch id. */
static size_t payload_bytes(uint64_t batch) {
    return batch % 10 == 0 ? 3000 + (size_t)batch : batch % 7 == 0 ? 0 : (size_t)batch * 13 % 90;
}

static int append(struct wal_writer *w, uint64_t batch) {
    struct buf record = {0};
    size_t len = payload_bytes(batch);
    if (!buf_reserve(&record, WAL_RECORD_HEADER_BYTES + len)) return KEVO_NOMEM;
    for (size_t i = 0; i < len; i++)
        record.data[WAL_RECORD_HEADER_BYTES + i] = (uint8_t)(batch + i);
    record.len = WAL_RECORD_HEADER_BYTES + len;
    int rc = wal_append(w, WAL_BATCH, (struct kevo_commit){batch, batch * 3}, &record, &test_err);
    buf_release(&record);
    return rc;
}

static struct wal_writer *create(uint64_t number, struct wal_link last) {
    struct wal_writer *w;
    ck_ok(wal_create(fault, DIR, number, uuid, last, 0600, &w, &test_err));
    return w;
}

static struct wal_reader *open_reader(uint64_t number) {
    struct wal_reader *r;
    bool unfinished;
    ck_ok(wal_reader_open(memory, DIR, number, uuid, &r, &unfinished, &test_err));
    return r;
}

static void check_record(const struct wal_record *record, uint64_t batch) {
    if (record->type != WAL_BATCH || record->commit.batch != batch ||
        record->commit.nonce != batch * 3 || record->payload.len != payload_bytes(batch))
        ck_abort_msg("record %llu: wrong", (unsigned long long)batch);
    for (size_t i = 0; i < record->payload.len; i++)
        if (record->payload.data[i] != (uint8_t)(batch + i))
            ck_abort_msg("record %llu: wrong at byte %zu", (unsigned long long)batch, i);
}

/* Read batches first, first + 1, ...; returns how many, *rc is what ended it. */
static uint64_t read_all(struct wal_reader *r, uint64_t first, int *rc) {
    struct wal_record record;
    uint64_t count = 0;
    while ((*rc = wal_reader_next(r, &record, &test_err)) == 0)
        check_record(&record, first + count++);
    return count;
}

static void expect_records(uint64_t number, uint64_t first, uint64_t count) {
    struct wal_reader *r = open_reader(number);
    int rc;
    uint64_t got = read_all(r, first, &rc);
    ck_assert_msg(rc == KEVO_NOTFOUND && got == count, "%llu records, then %d: %s",
                  (unsigned long long)got, rc, test_err.msg);
    wal_reader_close(r);
}

static struct buf file_bytes(uint64_t number) {
    char name[WAL_NAME_BYTES], path[64];
    struct env_file *f;
    struct buf b = {0};
    uint64_t size;
    wal_segment_name(name, number);
    snprintf(path, sizeof path, DIR "/%s", name);
    must(memory->open(memory, path, ENV_READ, 0, &f, &test_err));
    must(memory->size(memory, f, &size, &test_err));
    if (!buf_reserve(&b, size + 1)) abort();
    must(memory->read(memory, f, 0, b.data, size, &b.len, &test_err));
    memory->close(memory, f);
    return b;
}

static void set_file(uint64_t number, const uint8_t *data, size_t len) {
    char name[WAL_NAME_BYTES], path[64];
    struct env_file *f;
    wal_segment_name(name, number);
    snprintf(path, sizeof path, DIR "/%s", name);
    must(memory->open(memory, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, 0600, &f, &test_err));
    if (len) must(memory->write(memory, f, 0, data, len, &test_err));
    memory->close(memory, f);
}

/* A segment with batches first to last, synced after each that `group` divides. */
static struct wal_link write_segment(uint64_t number, struct wal_link before, uint64_t first,
                                     uint64_t last, uint64_t group) {
    struct wal_writer *w = create(number, before);
    for (uint64_t batch = first; batch <= last; batch++) {
        must(append(w, batch));
        if (batch % group == 0) must(wal_sync(w, &test_err));
    }
    struct wal_link link = w->last;
    wal_close(w);
    return link;
}

/* ---- named cases ----------------------------------------------------------------------- */

START_TEST(names) {
    char name[WAL_NAME_BYTES];
    wal_segment_name(name, 7);
    ck_assert_str_eq(name, "000007.wal");
    wal_segment_name(name, UINT64_MAX);
    ck_assert_str_eq(name, "18446744073709551615.wal");
}
END_TEST

START_TEST(round_trip) {
    write_segment(1, none, 1, 120, (uint64_t)_i);
    expect_records(1, 1, 120);
}
END_TEST

START_TEST(an_empty_segment) {
    write_segment(1, none, 1, 0, 1);
    expect_records(1, 1, 0);
}
END_TEST

/* FORMAT.md, "Write-ahead log", field by field. */
START_TEST(the_bytes_are_those_of_the_format) {
    struct wal_writer *w = create(3, (struct wal_link){41, 0x1122334455667788});
    must(append(w, 50));
    must(append(w, 51));
    must(wal_sync(w, &test_err));
    must(append(w, 52));
    uint64_t salt = w->salt;
    wal_close(w);
    struct buf b = file_bytes(3);
    ck_assert_int_eq(memcmp(b.data, "KEVOWAL\n", 8), 0);
    ck_assert_uint_eq(get_fixed32(b.data + 8), 1);
    ck_assert_uint_eq(get_fixed64(b.data + 16), 3);
    ck_assert_uint_eq(get_fixed64(b.data + 24), salt);
    ck_assert_int_eq(memcmp(b.data + 32, uuid, 16), 0);
    ck_assert_uint_eq(get_fixed64(b.data + 48), 41);
    ck_assert_uint_eq(get_fixed64(b.data + 56), 0x1122334455667788);
    const uint8_t *r = b.data + 512;
    ck_assert_uint_eq(get_fixed64(r + 8), payload_bytes(50));
    ck_assert_uint_eq(get_fixed64(r + 16), 50);
    ck_assert_uint_eq(get_fixed64(r + 24), 150);
    ck_assert_uint_eq(get_fixed64(r + 32), 41);
    ck_assert_uint_eq(get_fixed64(r + 40), 0x1122334455667788);
    ck_assert_uint_eq(r[48], WAL_BATCH);
    ck_assert_uint_eq(r[49], 1); /* nothing was written before it that is not durable */
    uint64_t checksum = get_fixed64(r);
    const uint8_t *close_behind = r + (56 + payload_bytes(50) + 7) / 8 * 8;
    ck_assert_uint_eq(get_fixed64(close_behind + 16), 51);
    ck_assert_uint_eq(get_fixed64(close_behind + 32), 50);
    ck_assert_uint_eq(get_fixed64(close_behind + 40), checksum);
    ck_assert_uint_eq(close_behind[49], 0);
    size_t end = (size_t)(close_behind - b.data) + 56 + payload_bytes(51);
    const uint8_t *next_sector = b.data + (end + 511) / 512 * 512;
    ck_assert_uint_eq(get_fixed64(next_sector + 16), 52);
    ck_assert_uint_eq(next_sector[49], 1);
    buf_release(&b);
}
END_TEST

START_TEST(void_records) {
    uint8_t payload[WAL_VOID_BYTES];
    struct kevo_commit keep;
    wal_encode_void(payload, (struct kevo_commit){5, 6});
    ck_assert(wal_decode_void(slice_of(payload, sizeof payload), &keep));
    ck_assert(keep.batch == 5 && keep.nonce == 6);
    ck_assert(!wal_decode_void(slice_of(payload, sizeof payload - 1), &keep));
    ck_assert(!wal_decode_void(slice_of(NULL, 0), &keep));
}
END_TEST

START_TEST(segments_are_chained) {
    struct wal_link end = write_segment(1, none, 1, 9, 4);
    write_segment(2, end, 10, 15, 1);
    expect_records(1, 1, 9);
    expect_records(2, 10, 6);
    struct wal_reader *r = open_reader(2);
    ck_assert(r->before.batch == 9 && r->before.checksum == end.checksum);
    wal_reader_close(r);
}
END_TEST

START_TEST(what_a_reader_refuses) {
    struct wal_reader *r;
    bool unfinished;
    uint8_t other[16] = "another store";
    write_segment(1, none, 1, 3, 1);
    ck_assert_int_eq(wal_reader_open(memory, DIR, 2, uuid, &r, &unfinished, &test_err),
                     KEVO_NOTFOUND);
    ck_assert(!unfinished);
    ck_assert_ptr_null(r);
    ck_assert_int_eq(wal_reader_open(memory, DIR, 1, other, &r, &unfinished, &test_err),
                     KEVO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test_err.msg, DIR "/000001.wal: belongs to another store"));
    struct buf b = file_bytes(1);
    set_file(2, b.data, b.len); /* renamed */
    ck_assert_int_eq(wal_reader_open(memory, DIR, 2, uuid, &r, &unfinished, &test_err),
                     KEVO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "holds segment 1"));
    buf_release(&b);
}
END_TEST

/* A crash while a segment is made leaves a part of the header, or zeros. */
START_TEST(unfinished_segments_are_none) {
    struct wal_reader *r;
    bool unfinished;
    write_segment(1, none, 1, 0, 1);
    struct buf b = file_bytes(1);
    for (size_t len = 0; len < WAL_SEGMENT_HEADER_BYTES; len++) {
        set_file(1, b.data, len);
        ck_assert_int_eq(wal_reader_open(memory, DIR, 1, uuid, &r, &unfinished, &test_err),
                         KEVO_NOTFOUND);
        ck_assert(unfinished);
    }
    uint8_t zeros[2000] = {0};
    set_file(1, zeros, sizeof zeros);
    ck_assert_int_eq(wal_reader_open(memory, DIR, 1, uuid, &r, &unfinished, &test_err),
                     KEVO_NOTFOUND);
    ck_assert(unfinished);
    buf_release(&b);
    write_segment(1, none, 1, 4, 1); /* over what was left */
    expect_records(1, 1, 4);
}
END_TEST

START_TEST(a_segment_is_continued_after_a_crash) {
    struct wal_writer *w;
    struct wal_record record;
    int rc;
    write_segment(1, none, 1, 5, (uint64_t)_i);
    struct wal_reader *r = open_reader(1);
    while (wal_reader_next(r, &record, &test_err) == 0)
        ;
    wal_reader_close(r);
    struct buf b = file_bytes(1);
    b.data[record.offset + WAL_RECORD_HEADER_BYTES] ^= 1; /* the last one is torn */
    set_file(1, b.data, b.len);
    buf_release(&b);
    r = open_reader(1);
    ck_assert_uint_eq(read_all(r, 1, &rc), 4);
    ck_assert_int_eq(rc, KEVO_NOTFOUND);
    ck_assert_uint_gt(r->torn_bytes, 0);
    must(wal_reopen(memory, DIR, 1, r->salt, &w, &test_err));
    must(wal_cut(w, r->at, r->last, &test_err));
    wal_reader_close(r);
    for (uint64_t batch = 5; batch <= 12; batch++)
        must(append(w, batch));
    must(wal_sync(w, &test_err));
    wal_close(w);
    expect_records(1, 1, 12);
}
END_TEST

/* What is synced is never written to again, not even its last sector. */
START_TEST(synced_sectors_are_left_alone) {
    struct wal_writer *w = create(1, none);
    for (uint64_t batch = 1; batch <= 30; batch++) {
        must(append(w, batch));
        if (batch % 3) continue;
        must(wal_sync(w, &test_err));
        ck_assert_uint_eq(w->offset % WAL_SECTOR, 0);
        ck_assert_uint_eq(w->synced, w->offset);
    }
    wal_close(w);
    expect_records(1, 1, 30);
}
END_TEST

START_TEST(the_unsynced_end_is_kept) {
    struct wal_writer *w = create(1, none);
    slice bytes;
    ck_assert(wal_unsynced(w, &bytes) && bytes.len == 0);
    must(append(w, 1));
    must(append(w, 2));
    ck_assert(wal_unsynced(w, &bytes));
    ck_assert_uint_eq(bytes.len, w->offset - w->synced);
    struct buf b = file_bytes(1);
    ck_assert_int_eq(memcmp(bytes.data, b.data + w->synced, bytes.len), 0);
    buf_release(&b);
    must(wal_sync(w, &test_err));
    ck_assert(wal_unsynced(w, &bytes) && bytes.len == 0);
    for (uint64_t batch = 10; batch < 400; batch += 10)
        must(append(w, batch));
    ck_assert(!wal_unsynced(w, &bytes)); /* too much */
    must(wal_sync(w, &test_err));
    must(append(w, 500));
    ck_assert(wal_unsynced(w, &bytes) && bytes.len == w->offset - w->synced);
    wal_close(w);
}
END_TEST

/* ---- damage ------------------------------------------------------------------------------- */

/* Read a damaged copy of a segment with batches 1 to `count`. Whatever is read must be right
 * and a first part; *rc tells the end. */
static uint64_t read_damaged(const uint8_t *data, size_t len, int *rc) {
    struct wal_reader *r;
    bool unfinished;
    set_file(9, data, len);
    *rc = wal_reader_open(memory, DIR, 9, uuid, &r, &unfinished, &test_err);
    if (*rc) return 0;
    uint64_t count = read_all(r, 1, rc);
    wal_reader_close(r);
    return count;
}

/* How many records end at or before `len`. */
static uint64_t whole_records(uint64_t number, size_t len) {
    struct wal_reader *r = open_reader(number);
    struct wal_record record;
    uint64_t count = 0;
    while (wal_reader_next(r, &record, &test_err) == 0)
        count += record.offset + WAL_RECORD_HEADER_BYTES + record.payload.len <= len;
    wal_reader_close(r);
    return count;
}

START_TEST(torn_at_every_byte) {
    write_segment(9, none, 1, 12, (uint64_t)_i);
    struct buf b = file_bytes(9);
    for (size_t len = WAL_SEGMENT_HEADER_BYTES; len <= b.len; len++) {
        int rc;
        set_file(9, b.data, b.len);
        uint64_t whole = whole_records(9, len), got = read_damaged(b.data, len, &rc);
        if (rc != KEVO_NOTFOUND || got != whole)
            ck_abort_msg("%zu bytes: %llu records instead of %llu, then %d", len,
                         (unsigned long long)got, (unsigned long long)whole, rc);
        /* The same with zeros behind, as preallocated space has. */
        if (len % 5) continue;
        uint8_t *padded = calloc(1, b.len);
        memcpy(padded, b.data, len);
        got = read_damaged(padded, b.len, &rc);
        if (rc != KEVO_NOTFOUND || got < whole)
            ck_abort_msg("%zu bytes, then zeros: %llu records, then %d", len,
                         (unsigned long long)got, rc);
        free(padded);
    }
    buf_release(&b);
}
END_TEST

/* A damaged record is the end of the log only when nothing behind it was written after it had
 * been synced. */
START_TEST(every_byte_damaged) {
    enum { COUNT = 9 };
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    uint64_t group = (uint64_t)_i, starts[COUNT + 1], ends[COUNT + 1];
    write_segment(9, none, 1, COUNT, group);
    struct wal_reader *r = open_reader(9);
    struct wal_record record;
    for (unsigned i = 1; i <= COUNT; i++) {
        must(wal_reader_next(r, &record, &test_err));
        starts[i] = record.offset;
        ends[i] = record.offset + WAL_RECORD_HEADER_BYTES + record.payload.len;
    }
    wal_reader_close(r);
    struct buf b = file_bytes(9);
    for (size_t at = 0; at < b.len; at++) {
        for (unsigned m = 0; m < sizeof masks; m++) {
            int rc, expected = KEVO_NOTFOUND;
            uint64_t count = COUNT, last_synced = COUNT / group * group;
            if (at < WAL_SEGMENT_HEADER_BYTES) count = 0, expected = KEVO_CORRUPT;
            for (unsigned i = 1; i <= COUNT; i++) {
                if (at < starts[i] || at >= ends[i]) continue;
                count = i - 1;
                /* Batch last_synced + 1, if there is one, was written after the sync. */
                bool witness =
                    last_synced < COUNT ? i <= last_synced : i <= (COUNT - 1) / group * group;
                if (witness) expected = KEVO_CORRUPT;
            }
            b.data[at] ^= masks[m];
            uint64_t got = read_damaged(b.data, b.len, &rc);
            b.data[at] ^= masks[m];
            if (rc != expected || got != count)
                ck_abort_msg("byte %zu: %llu records, then %d; expected %llu, then %d", at,
                             (unsigned long long)got, rc, (unsigned long long)count, expected);
            if (rc == KEVO_CORRUPT && !strstr(test_err.msg, DIR "/000009.wal"))
                ck_abort_msg("no file is named: %s", test_err.msg);
        }
    }
    buf_release(&b);
}
END_TEST

/* A record that is whole, but in the wrong place: of another segment, another time, or twice. */
START_TEST(strange_records_are_not_taken) {
    int rc;
    write_segment(1, none, 1, 3, 1);
    write_segment(2, none, 1, 3, 1); /* another salt */
    struct buf a = file_bytes(1), b = file_bytes(2);
    uint64_t third = 3 * WAL_SECTOR;
    memcpy(a.data + third, b.data + third, b.len - third);
    set_file(1, a.data, a.len);
    struct wal_reader *r = open_reader(1);
    ck_assert_uint_eq(read_all(r, 1, &rc), 2);
    ck_assert_int_eq(rc, KEVO_NOTFOUND); /* it might be torn */
    wal_reader_close(r);
    buf_release(&a);
    a = file_bytes(2);
    memcpy(a.data + third, a.data + third - WAL_SECTOR, 200); /* record 2 once more */
    set_file(2, a.data, a.len);
    r = open_reader(2);
    ck_assert_uint_eq(read_all(r, 1, &rc), 2);
    ck_assert_int_eq(rc, KEVO_NOTFOUND);
    wal_reader_close(r);
    buf_release(&a);
    buf_release(&b);
}
END_TEST

START_TEST(random_bytes_are_safe) {
    struct rng rng = rng_of(harness_seed());
    write_segment(9, none, 1, 20, 3);
    struct buf b = file_bytes(9);
    for (unsigned n = 0; n < 2000; n++) {
        uint8_t *copy = malloc(b.len);
        int rc;
        memcpy(copy, b.data, b.len);
        for (uint64_t hits = 1 + rng_below(&rng, 5); hits > 0; hits--) {
            size_t at = rng_below(&rng, b.len), len = rng_below(&rng, 40);
            for (size_t i = 0; i < len && at + i < b.len; i++)
                copy[at + i] = (uint8_t)(rng_below(&rng, 3) ? rng_next(&rng) : 0);
        }
        read_damaged(copy, rng_below(&rng, 2) ? b.len : rng_below(&rng, b.len), &rc);
        if (rc != KEVO_NOTFOUND && rc != KEVO_CORRUPT) ck_abort_msg("%d: %s", rc, test_err.msg);
        free(copy);
    }
    buf_release(&b);
}
END_TEST

/* ---- faults --------------------------------------------------------------------------------- */

static void plan_fault(unsigned kinds, uint64_t nth, int rc, bool half) {
    fault_env_plan(
        fault, (struct fault_plan){.kinds = kinds, .nth = nth, .rc = rc, .partial_write = half});
}

START_TEST(a_failed_append_leaves_the_log_as_it_was) {
    static const struct {
        unsigned kinds;
        int rc;
        bool half;
    } faults[] = {{FAULT_WRITE, KEVO_IOERR, false},
                  {FAULT_WRITE, KEVO_IOERR, true},
                  {FAULT_WRITE, KEVO_FULL, true},
                  {FAULT_ALLOCATE, KEVO_IOERR, false}};
    for (unsigned i = 0; i < 4; i++) {
        struct wal_writer *w = create(1, none);
        uint64_t batch = 1;
        if (faults[i].kinds != FAULT_ALLOCATE) must(append(w, batch++));
        plan_fault(faults[i].kinds, 1, faults[i].rc, faults[i].half);
        ck_assert_int_eq(append(w, 90), faults[i].rc);
        ck_assert(fault_env_hit(fault));
        must(append(w, batch++));
        must(wal_sync(w, &test_err));
        must(append(w, batch++));
        wal_close(w);
        expect_records(1, 1, batch - 1);
    }
}
END_TEST

/* A disk that is nearly full has no room in advance, but for the record itself. */
START_TEST(preallocation_is_given_up_first) {
    struct wal_writer *w = create(1, none);
    plan_fault(FAULT_ALLOCATE, 1, KEVO_FULL, false);
    must(append(w, 1));
    ck_assert(fault_env_hit(fault));
    wal_close(w);
    expect_records(1, 1, 1);
}
END_TEST

START_TEST(what_cannot_be_undone_closes_the_log) {
    struct wal_writer *w = create(1, none);
    must(append(w, 1));
    fault_env_plan(fault, (struct fault_plan){.kinds = FAULT_WRITE | FAULT_TRUNCATE,
                                              .nth = 1,
                                              .for_good = true,
                                              .partial_write = true});
    ck_assert_int_eq(append(w, 2), KEVO_IOERR);
    plan_fault(0, 0, 0, false);
    ck_assert_int_eq(append(w, 2), KEVO_READONLY);
    ck_assert_ptr_nonnull(strstr(test_err.msg, DIR "/000001.wal"));
    ck_assert_int_eq(wal_sync(w, &test_err), KEVO_READONLY);
    ck_assert_int_eq(wal_cut(w, 512, none, &test_err), KEVO_READONLY);
    wal_close(w);
    expect_records(1, 1, 1);
}
END_TEST

START_TEST(a_failed_sync_closes_the_log) {
    struct wal_writer *w = create(1, none);
    must(append(w, 1));
    plan_fault(FAULT_SYNC, 1, 0, false);
    ck_assert_int_eq(wal_sync(w, &test_err), KEVO_IOERR);
    ck_assert_int_eq(wal_sync(w, &test_err), KEVO_READONLY);
    ck_assert_int_eq(append(w, 2), KEVO_READONLY);
    wal_close(w);
}
END_TEST

START_TEST(nothing_is_left_of_a_segment_that_could_not_be_made) {
    for (uint64_t n = 1;; n++) {
        struct wal_writer *w = NULL;
        struct env_stat st;
        plan_fault(FAULT_ALL, n, 0, true);
        int rc = wal_create(fault, DIR, 1, uuid, none, 0600, &w, &test_err);
        bool hit = fault_env_hit(fault);
        ck_assert_int_eq(rc, hit ? KEVO_IOERR : 0);
        ck_assert((w != NULL) == !hit);
        wal_close(w);
        int there = memory->stat(memory, DIR "/000001.wal", &st, &test_err);
        ck_assert_int_eq(there, hit ? KEVO_NOTFOUND : 0);
        if (!hit) break;
    }
    /* If even the removal is not certain, it says so. */
    for (uint64_t n = 3; n <= 5; n++) { /* write, sync, sync_dir */
        struct wal_writer *w;
        fault_env_plan(fault, (struct fault_plan){.kinds = FAULT_ALL, .nth = n, .for_good = true});
        ck_assert_int_eq(wal_create(fault, DIR, 1, uuid, none, 0600, &w, &test_err), KEVO_READONLY);
        ck_assert_ptr_null(w);
    }
}
END_TEST

START_TEST(without_memory) {
    write_segment(1, none, 1, 5, 2);
    for (uint64_t n = 1;; n++) {
        struct wal_writer *w = NULL;
        struct wal_reader *r = NULL;
        bool unfinished;
        fault_alloc_fail_at(n, false);
        int rc = wal_create(memory, DIR, 2, uuid, none, 0600, &w, &test_err);
        if (rc == 0) rc = append(w, 1);
        if (rc == 0) rc = append(w, 2);
        if (rc == 0) rc = wal_sync(w, &test_err);
        if (rc == 0) rc = wal_reader_open(memory, DIR, 1, uuid, &r, &unfinished, &test_err);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (rc) ck_assert_int_eq(rc, KEVO_NOMEM);
        wal_close(w);
        wal_reader_close(r);
        if (!hit) break;
    }
    expect_records(2, 1, 2);
}
END_TEST

START_TEST(read_errors_are_told) {
    write_segment(1, none, 1, 5, 2);
    for (uint64_t n = 1;; n++) {
        struct wal_reader *r;
        bool unfinished;
        plan_fault(FAULT_ALL, n, 0, false);
        int rc = wal_reader_open(fault, DIR, 1, uuid, &r, &unfinished, &test_err);
        bool hit = fault_env_hit(fault);
        ck_assert_int_eq(rc, hit ? KEVO_IOERR : 0);
        ck_assert((r != NULL) == !hit);
        plan_fault(0, 0, 0, false);
        wal_reader_close(r);
        if (!hit) break;
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("wal");
    TCase *tc = tcase_create("wal");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, names);
    tcase_add_loop_test(tc, round_trip, 1, 6);
    tcase_add_test(tc, an_empty_segment);
    tcase_add_test(tc, the_bytes_are_those_of_the_format);
    tcase_add_test(tc, void_records);
    tcase_add_test(tc, segments_are_chained);
    tcase_add_test(tc, what_a_reader_refuses);
    tcase_add_test(tc, unfinished_segments_are_none);
    tcase_add_loop_test(tc, a_segment_is_continued_after_a_crash, 1, 7);
    tcase_add_test(tc, synced_sectors_are_left_alone);
    tcase_add_test(tc, the_unsynced_end_is_kept);
    suite_add_tcase(suite, tc);

    TCase *damage = tcase_create("damage");
    tcase_add_checked_fixture(damage, setup, teardown);
    tcase_add_loop_test(damage, torn_at_every_byte, 1, 6);
    tcase_add_loop_test(damage, every_byte_damaged, 1, 6);
    tcase_add_test(damage, strange_records_are_not_taken);
    tcase_add_test(damage, random_bytes_are_safe);
    suite_add_tcase(suite, damage);

    TCase *faults = tcase_create("faults");
    tcase_add_checked_fixture(faults, setup, teardown);
    tcase_add_test(faults, a_failed_append_leaves_the_log_as_it_was);
    tcase_add_test(faults, preallocation_is_given_up_first);
    tcase_add_test(faults, what_cannot_be_undone_closes_the_log);
    tcase_add_test(faults, a_failed_sync_closes_the_log);
    tcase_add_test(faults, nothing_is_left_of_a_segment_that_could_not_be_made);
    tcase_add_test(faults, without_memory);
    tcase_add_test(faults, read_errors_are_told);
    suite_add_tcase(suite, faults);
    return harness_run(suite);
}
