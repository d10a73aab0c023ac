#include "engine/log/wal.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/checksum.h"
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

static void plan_fault(unsigned kinds, uint64_t nth, int rc, bool half) {
    fault_env_plan(
        fault, (struct fault_plan){.kinds = kinds, .nth = nth, .rc = rc, .partial_write = half});
}

/* ---- writing and reading, in short ---------------------------------------------------- */

/* Payloads are made from the batch id. */
static size_t payload_bytes(uint64_t batch) {
    return batch % 10 == 0 ? 3000 + (size_t)batch : batch % 7 == 0 ? 0 : (size_t)batch * 13 % 90;
}

static int add_to_run(struct wal_run *run, struct wal_writer *w, uint64_t batch) {
    size_t len = payload_bytes(batch);
    int rc = wal_begin_record(run, &test_err);
    if (rc == 0 && !buf_reserve(&run->bytes, len)) rc = KEVO_NOMEM;
    if (rc) return rc;
    for (size_t i = 0; i < len; i++)
        run->bytes.data[run->bytes.len++] = (uint8_t)(batch + i);
    return wal_end_record(run, w, WAL_BATCH, (struct kevo_commit){batch, batch * 3}, &test_err);
}

static int append(struct wal_writer *w, uint64_t batch) {
    struct wal_run run = {.begin = 0};
    wal_run_reset(&run, w);
    int rc = add_to_run(&run, w, batch);
    if (rc == 0) rc = wal_append_run(w, &run, &test_err);
    buf_release(&run.bytes);
    return rc;
}

static struct wal_writer *create(uint64_t number, struct wal_link last) {
    struct wal_writer *w;
    ck_ok(wal_create(fault, DIR, number, 0, uuid, last, 0600, &w, &test_err));
    return w;
}

static struct wal_reader *open_reader(uint64_t number) {
    struct wal_reader *r;
    ck_ok(wal_reader_open(memory, DIR, number, uuid, &r, &test_err));
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

static uint64_t file_size(uint64_t number) {
    struct buf b = file_bytes(number);
    uint64_t size = b.len;
    buf_release(&b);
    return size;
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
    wal_spare_name(name, 7);
    ck_assert_str_eq(name, "000007.spare");
    wal_spare_name(name, UINT64_MAX);
    ck_assert_str_eq(name, "18446744073709551615.spare");
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
    ck_assert(r[50] == 0 && r[51] == 0);
    ck_assert_uint_eq(get_fixed32(r + 52), checksum32(r + 8, 44, salt));
    uint64_t checksum = get_fixed64(r);
    ck_assert_uint_eq(checksum, checksum64(r + 8, 48 + payload_bytes(50), salt));
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
    uint8_t other[16] = "another store";
    write_segment(1, none, 1, 3, 1);
    ck_assert_int_eq(wal_reader_open(memory, DIR, 2, uuid, &r, &test_err), KEVO_NOTFOUND);
    ck_assert_ptr_null(r);
    ck_assert_int_eq(wal_reader_open(memory, DIR, 1, other, &r, &test_err), KEVO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test_err.msg, DIR "/000001.wal: belongs to another store"));
    struct buf b = file_bytes(1);
    set_file(2, b.data, b.len); /* renamed */
    ck_assert_int_eq(wal_reader_open(memory, DIR, 2, uuid, &r, &test_err), KEVO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "holds segment 1"));
    buf_release(&b);
}
END_TEST

/* A segment gets its name when its header is durable. */
START_TEST(a_segment_without_a_whole_header_is_damaged) {
    struct wal_reader *r;
    write_segment(1, none, 1, 0, 1);
    struct buf b = file_bytes(1);
    for (size_t len = 0; len < WAL_SEGMENT_HEADER_BYTES; len++) {
        set_file(1, b.data, len);
        ck_assert_int_eq(wal_reader_open(memory, DIR, 1, uuid, &r, &test_err), KEVO_CORRUPT);
        ck_assert_ptr_nonnull(strstr(test_err.msg, DIR "/000001.wal: the header is damaged"));
    }
    buf_release(&b);
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

/* One write for several records, each of them whole by itself. */
START_TEST(a_run_is_appended_by_one_write) {
    struct wal_writer *w = create(1, none);
    struct wal_run run = {.begin = 0};
    must(append(w, 1));
    for (uint64_t batch = 2; batch < 42; batch += 8) {
        if (batch % 3 == 0) must(wal_sync(w, &test_err));
        wal_run_reset(&run, w);
        for (uint64_t i = 0; i < 8; i++) {
            must(add_to_run(&run, w, batch + i));
            ck_assert_uint_eq(run.payload_bytes, payload_bytes(batch + i));
        }
        fault_env_plan(fault, (struct fault_plan){.kinds = FAULT_WRITE});
        must(wal_append_run(w, &run, &test_err));
        ck_assert_uint_eq(fault_env_calls(fault), 1);
    }
    buf_release(&run.bytes);
    wal_close(w);
    expect_records(1, 1, 41);
}
END_TEST

/* A run of which only a first part reached the disk is a shorter log. */
START_TEST(a_run_may_be_torn_between_its_records) {
    struct wal_writer *w = create(1, none);
    struct wal_run run = {.begin = 0};
    uint64_t ends[6] = {w->offset};
    wal_run_reset(&run, w);
    for (uint64_t batch = 1; batch <= 5; batch++) {
        must(add_to_run(&run, w, batch));
        ends[batch] = ends[0] + run.bytes.len;
    }
    must(wal_append_run(w, &run, &test_err));
    buf_release(&run.bytes);
    wal_close(w);
    struct buf b = file_bytes(1);
    for (uint64_t count = 0; count <= 5; count++) {
        set_file(1, b.data, ends[count]);
        expect_records(1, 1, count);
    }
    buf_release(&b);
}
END_TEST

/* ---- used again --------------------------------------------------------------------------- */

static void retire(uint64_t number) {
    ck_assert(wal_retire(fault, DIR, number, 1 << 20));
}

static struct wal_writer *create_from(uint64_t number, uint64_t spare, struct wal_link last) {
    struct wal_writer *w;
    ck_ok(wal_create(fault, DIR, number, spare, uuid, last, 0600, &w, &test_err));
    return w;
}

/* The log ends after `count` records, with nothing behind them that counts. */
static void expect_end(uint64_t number, uint64_t first, uint64_t count) {
    struct wal_reader *r = open_reader(number);
    int rc;
    uint64_t got = read_all(r, first, &rc);
    ck_assert_msg(rc == KEVO_NOTFOUND && got == count && r->torn_bytes == 0,
                  "%llu records, then %d, %llu bytes torn", (unsigned long long)got, rc,
                  (unsigned long long)r->torn_bytes);
    wal_reader_close(r);
}

START_TEST(retired_segments) {
    struct env_stat st;
    write_segment(1, none, 1, 30, 2);
    ck_assert(!wal_retire(fault, DIR, 1, 0)); /* none is wanted */
    ck_assert_int_eq(memory->stat(memory, DIR "/000001.wal", &st, &test_err), KEVO_NOTFOUND);
    write_segment(1, none, 1, 30, 2);
    ck_ok(memory->stat(memory, DIR "/000001.wal", &st, &test_err));
    ck_assert(!wal_retire(fault, DIR, 1, st.size_bytes - 1)); /* too large */
    ck_assert_int_eq(memory->stat(memory, DIR "/000001.wal", &st, &test_err), KEVO_NOTFOUND);
    write_segment(1, none, 1, 30, 2);
    retire(1);
    ck_assert_int_eq(memory->stat(memory, DIR "/000001.wal", &st, &test_err), KEVO_NOTFOUND);
    ck_ok(memory->stat(memory, DIR "/000001.spare", &st, &test_err));
    wal_remove_spare(fault, DIR, 1);
    ck_assert_int_eq(memory->stat(memory, DIR "/000001.spare", &st, &test_err), KEVO_NOTFOUND);
    write_segment(2, none, 1, 30, 2);
    plan_fault(FAULT_RENAME, 1, 0, false);
    ck_assert(!wal_retire(fault, DIR, 2, 1 << 20));
    ck_assert_int_eq(memory->stat(memory, DIR "/000002.wal", &st, &test_err), KEVO_NOTFOUND);
}
END_TEST

/* Nothing is taken for a record of this life: not with the old ones right behind the end, on
 * their own boundaries or not, not with the same batch ids. */
START_TEST(records_of_a_former_life_do_not_count) {
    uint64_t group = 1 + (uint64_t)_i % 4, former_group = 1 + (uint64_t)_i / 4;
    bool same_ids = _i % 2;
    uint64_t first = same_ids ? 1 : 101;
    struct wal_link before = same_ids ? none : (struct wal_link){100, 77};
    write_segment(1, none, 1, 100, former_group);
    uint64_t size = file_size(1);
    retire(1);
    struct wal_writer *w = create_from(2, 1, before);
    ck_assert_uint_eq(w->allocated, size);
    fault_env_plan(fault, (struct fault_plan){.kinds = FAULT_ALLOCATE});
    expect_end(2, first, 0);
    for (uint64_t n = 1; n <= 40; n++) {
        must(append(w, first + n - 1));
        if (n % group == 0) must(wal_sync(w, &test_err));
        expect_end(2, first, n);
    }
    ck_assert_uint_eq(fault_env_calls(fault), 0);
    ck_assert_uint_eq(file_size(2), size);
    wal_close(w);
    ck_assert_uint_lt(file_size(2), size);
    expect_end(2, first, 40);
}
END_TEST

/* What a crash leaves at the end of such a segment is cut, all that lies behind with it. */
START_TEST(a_torn_end_before_a_former_life) {
    write_segment(1, none, 1, 100, 3);
    retire(1);
    struct wal_writer *w = create_from(2, 1, (struct wal_link){100, 77});
    for (uint64_t batch = 101; batch <= 109; batch++)
        must(append(w, batch));
    uint64_t end = w->offset;
    must(append(w, 110)); /* a long one */
    uint64_t salt = w->salt, torn_bytes = w->offset - end;
    wal_close_full(w);
    struct buf b = file_bytes(2), old = file_bytes(2);
    for (uint64_t kept = 0; kept < torn_bytes; kept += 100) {
        memcpy(b.data, old.data, b.len);
        memset(b.data + end + kept, 0xa5, torn_bytes - kept); /* garbage, or */
        if (kept % 200) memset(b.data + end + kept, 0, torn_bytes - kept);
        set_file(2, b.data, b.len);
        struct wal_reader *r = open_reader(2);
        int rc;
        ck_assert_uint_eq(read_all(r, 101, &rc), 9);
        ck_assert_int_eq(rc, KEVO_NOTFOUND);
        uint64_t told =
            kept < WAL_RECORD_HEADER_BYTES ? 0 : WAL_RECORD_HEADER_BYTES + payload_bytes(110);
        ck_assert_uint_eq(r->torn_bytes, told);
        must(wal_reopen(memory, DIR, 2, salt, &w, &test_err));
        must(wal_cut(w, r->at, r->last, &test_err));
        wal_reader_close(r);
        must(append(w, 110));
        must(append(w, 111));
        expect_end(2, 101, 11);
        wal_close(w);
    }
    buf_release(&b);
    buf_release(&old);
}
END_TEST

/* Damage to what was synced is seen, also with old records behind. */
START_TEST(damage_before_a_former_life) {
    write_segment(1, none, 1, 100, 1);
    retire(1);
    struct wal_writer *w = create_from(2, 1, (struct wal_link){100, 77});
    for (uint64_t batch = 101; batch <= 105; batch++) {
        must(append(w, batch));
        must(wal_sync(w, &test_err));
    }
    wal_close_full(w);
    struct buf b = file_bytes(2);
    b.data[3 * WAL_SECTOR + 60] ^= 1; /* batch 103 */
    set_file(2, b.data, b.len);
    struct wal_reader *r = open_reader(2);
    int rc;
    ck_assert_uint_eq(read_all(r, 101, &rc), 2);
    ck_assert_int_eq(rc, KEVO_CORRUPT);
    wal_reader_close(r);
    buf_release(&b);
}
END_TEST

/* Values that look like records do not make the search for damage long: their headers have no
 * seal, and so nobody looks at what they call their payload. If they were forged with the salt, the
 * search ends soon as well, as damage. */
START_TEST(values_that_look_like_records) {
    const uint64_t sectors = _i ? 2000 : 20000;
    struct wal_writer *w = create(1, none);
    struct wal_run run = {.begin = 0};
    must(append(w, 1));
    must(append(w, 2));
    uint64_t end = w->offset, at = w->offset + WAL_RECORD_HEADER_BYTES;
    wal_run_reset(&run, w);
    must(wal_begin_record(&run, &test_err));
    if (!buf_reserve(&run.bytes, sectors * WAL_SECTOR)) abort();
    memset(run.bytes.data + run.bytes.len, 0, sectors * WAL_SECTOR);
    for (uint64_t i = wal_sector_end(at) - at; i + 64 < sectors * WAL_SECTOR; i += WAL_SECTOR) {
        struct wal_record_header h = {.payload_bytes = sectors * WAL_SECTOR - i - 64,
                                      .commit = {1000, 1},
                                      .previous = {2, w->last.checksum},
                                      .type = WAL_BATCH,
                                      .synced_before = true};
        wal_encode_record_header(run.bytes.data + WAL_RECORD_HEADER_BYTES + i, &h,
                                 _i ? w->salt : ~w->salt);
    }
    run.bytes.len += sectors * WAL_SECTOR;
    must(wal_end_record(&run, w, WAL_BATCH, (struct kevo_commit){3, 9}, &test_err));
    run.bytes.data[0] ^= 1; /* torn */
    for (uint64_t i = wal_sector_end(at) - at; _i && i + 64 < sectors * WAL_SECTOR; i += WAL_SECTOR)
        run.bytes.data[WAL_RECORD_HEADER_BYTES + i] ^= 1;
    must(wal_append_run(w, &run, &test_err));
    buf_release(&run.bytes);
    wal_close(w);
    struct wal_reader *r = open_reader(1);
    int rc;
    ck_assert_uint_eq(read_all(r, 1, &rc), 2);
    ck_assert_int_eq(rc, _i ? KEVO_CORRUPT : KEVO_NOTFOUND);
    ck_assert_uint_eq(r->at, end);
    ck_assert_uint_gt(r->torn_bytes, sectors * WAL_SECTOR);
    if (_i) {
        struct wal_record record;
        bool follows;
        ck_assert_msg(strstr(test_err.msg, "than a crash could leave"), "%s", test_err.msg);
        ck_assert_int_eq(wal_reader_salvage(r, &record, &follows), KEVO_NOTFOUND);
    }
    wal_reader_close(r);
}
END_TEST

/* A write fails, perhaps when all of the record is on the disk: it must not come back after a
 * power loss. Where that is not certain the log refuses to go on. */
START_TEST(what_is_cut_off_is_synced) {
    struct wal_writer *w = create(1, none);
    must(append(w, 1));
    fault_env_plan(fault, (struct fault_plan){.kinds = FAULT_WRITE | (_i ? FAULT_SYNC : 0),
                                              .nth = 1,
                                              .for_good = _i,
                                              .partial_write = true});
    ck_assert_int_eq(append(w, 2), KEVO_IOERR);
    ck_assert_int_eq(w->failed, _i);
    plan_fault(0, 0, 0, false);
    ck_assert_int_eq(append(w, 2), _i ? KEVO_READONLY : 0);
    wal_close(w);
}
END_TEST

START_TEST(a_segment_that_cannot_be_made_from_a_spare) {
    for (uint64_t n = 1;; n++) {
        struct wal_writer *w = NULL;
        struct env_stat st;
        plan_fault(0, 0, 0, false);
        write_segment(1, none, 1, 20, 3);
        retire(1);
        plan_fault(FAULT_ALL, n, 0, true);
        int rc = wal_create(fault, DIR, 2, 1, uuid, none, 0600, &w, &test_err);
        bool hit = fault_env_hit(fault);
        ck_assert_int_eq(rc, hit ? KEVO_IOERR : 0);
        plan_fault(0, 0, 0, false);
        wal_close(w);
        ck_assert_int_eq(memory->stat(memory, DIR "/000002.wal", &st, &test_err),
                         hit ? KEVO_NOTFOUND : 0);
        ck_assert_int_eq(memory->stat(memory, DIR "/000001.spare", &st, &test_err), KEVO_NOTFOUND);
        if (!hit) break;
    }
    struct wal_writer *w;
    ck_assert_int_lt(wal_create(fault, DIR, 3, 7, uuid, none, 0600, &w, &test_err), 0);
    ck_assert_ptr_null(w);
}
END_TEST

/* ---- damage ------------------------------------------------------------------------------- */

/* Read a damaged copy of a segment with batches 1 to `count`. Whatever is read must be right
 * and a first part; *rc tells the end. */
static uint64_t read_damaged(const uint8_t *data, size_t len, int *rc) {
    struct wal_reader *r;
    set_file(9, data, len);
    *rc = wal_reader_open(memory, DIR, 9, uuid, &r, &test_err);
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
        int rc = wal_create(fault, DIR, 1, 0, uuid, none, 0600, &w, &test_err);
        bool hit = fault_env_hit(fault);
        ck_assert_int_eq(rc, hit ? KEVO_IOERR : 0);
        ck_assert((w != NULL) == !hit);
        wal_close(w);
        int there = memory->stat(memory, DIR "/000001.wal", &st, &test_err);
        ck_assert_int_eq(there, hit ? KEVO_NOTFOUND : 0);
        there = memory->stat(memory, DIR "/000001.spare", &st, &test_err);
        ck_assert_int_eq(there, KEVO_NOTFOUND);
        if (!hit) break;
    }
    /* If even the removal is not certain, it says so. */
    for (unsigned kind = FAULT_RENAME;; kind = FAULT_SYNC_DIR) {
        struct wal_writer *w;
        fault_env_plan(fault, (struct fault_plan){.kinds = kind | FAULT_STAT | FAULT_UNLINK,
                                                  .nth = 1,
                                                  .for_good = true});
        ck_assert_int_eq(wal_create(fault, DIR, 2, 0, uuid, none, 0600, &w, &test_err),
                         KEVO_READONLY);
        ck_assert_ptr_nonnull(strstr(test_err.msg, DIR "/000002.wal"));
        ck_assert_ptr_null(w);
        if (kind == FAULT_SYNC_DIR) break;
    }
}
END_TEST

START_TEST(without_memory) {
    write_segment(1, none, 1, 5, 2);
    for (uint64_t n = 1;; n++) {
        struct wal_writer *w = NULL;
        struct wal_reader *r = NULL;
        fault_alloc_fail_at(n, false);
        int rc = wal_create(memory, DIR, 2, 0, uuid, none, 0600, &w, &test_err);
        if (rc == 0) rc = append(w, 1);
        if (rc == 0) rc = append(w, 2);
        if (rc == 0) rc = wal_sync(w, &test_err);
        if (rc == 0) rc = wal_reader_open(memory, DIR, 1, uuid, &r, &test_err);
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
        plan_fault(FAULT_ALL, n, 0, false);
        int rc = wal_reader_open(fault, DIR, 1, uuid, &r, &test_err);
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
    tcase_add_test(tc, a_segment_without_a_whole_header_is_damaged);
    tcase_add_loop_test(tc, a_segment_is_continued_after_a_crash, 1, 7);
    tcase_add_test(tc, synced_sectors_are_left_alone);
    tcase_add_test(tc, the_unsynced_end_is_kept);
    tcase_add_test(tc, a_run_is_appended_by_one_write);
    tcase_add_test(tc, a_run_may_be_torn_between_its_records);
    suite_add_tcase(suite, tc);

    TCase *again = tcase_create("used again");
    tcase_add_checked_fixture(again, setup, teardown);
    tcase_add_test(again, retired_segments);
    tcase_add_loop_test(again, records_of_a_former_life_do_not_count, 0, 16);
    tcase_add_test(again, a_torn_end_before_a_former_life);
    tcase_add_test(again, damage_before_a_former_life);
    tcase_add_loop_test(again, values_that_look_like_records, 0, 2);
    tcase_add_loop_test(again, what_is_cut_off_is_synced, 0, 2);
    tcase_add_test(again, a_segment_that_cannot_be_made_from_a_spare);
    suite_add_tcase(suite, again);

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
