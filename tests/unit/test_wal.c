#include "engine/log/wal.h"

#include <stdlib.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/wal_log.h"

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
    log_write_segment(1, log_nothing, 1, 120, (uint64_t)_i);
    log_expect(1, 1, 120);
}
END_TEST

START_TEST(an_empty_segment) {
    log_write_segment(1, log_nothing, 1, 0, 1);
    log_expect(1, 1, 0);
}
END_TEST

/* FORMAT.md, "Write-ahead log", field by field. */
START_TEST(the_bytes_are_those_of_the_format) {
    struct wal_writer *w = log_create(3, (struct wal_link){41, 0x1122334455667788});
    must(log_append(w, 50));
    must(log_append(w, 51));
    must(wal_sync(w, &test_err));
    must(log_append(w, 52));
    uint64_t salt = w->salt;
    wal_close(w);
    struct buf b = log_file(3);
    ck_assert_int_eq(memcmp(b.data, "KEVOWAL\n", 8), 0);
    ck_assert_uint_eq(get_fixed32(b.data + 8), 1);
    ck_assert_uint_eq(get_fixed64(b.data + 16), 3);
    ck_assert_uint_eq(get_fixed64(b.data + 24), salt);
    ck_assert_int_eq(memcmp(b.data + 32, log_uuid, 16), 0);
    ck_assert_uint_eq(get_fixed64(b.data + 48), 41);
    ck_assert_uint_eq(get_fixed64(b.data + 56), 0x1122334455667788);
    const uint8_t *r = b.data + 512;
    ck_assert_uint_eq(get_fixed64(r + 8), log_payload_bytes(50));
    ck_assert_uint_eq(get_fixed64(r + 16), 50);
    ck_assert_uint_eq(get_fixed64(r + 24), 150);
    ck_assert_uint_eq(get_fixed64(r + 32), 41);
    ck_assert_uint_eq(get_fixed64(r + 40), 0x1122334455667788);
    ck_assert_uint_eq(r[48], WAL_BATCH);
    ck_assert_uint_eq(r[49], 1); /* nothing was written before it that is not durable */
    ck_assert(r[50] == 0 && r[51] == 0);
    ck_assert_uint_eq(get_fixed32(r + 52), checksum32(r + 8, 44, salt));
    uint64_t checksum = get_fixed64(r);
    ck_assert_uint_eq(checksum, checksum64(r + 8, 48 + log_payload_bytes(50), salt));
    const uint8_t *close_behind = r + (56 + log_payload_bytes(50) + 7) / 8 * 8;
    ck_assert_uint_eq(get_fixed64(close_behind + 16), 51);
    ck_assert_uint_eq(get_fixed64(close_behind + 32), 50);
    ck_assert_uint_eq(get_fixed64(close_behind + 40), checksum);
    ck_assert_uint_eq(close_behind[49], 0);
    size_t end = (size_t)(close_behind - b.data) + 56 + log_payload_bytes(51);
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
    struct wal_link end = log_write_segment(1, log_nothing, 1, 9, 4);
    log_write_segment(2, end, 10, 15, 1);
    log_expect(1, 1, 9);
    log_expect(2, 10, 6);
    struct wal_reader *r = log_open(2);
    ck_assert(r->before.batch == 9 && r->before.checksum == end.checksum);
    wal_reader_close(r);
}
END_TEST

START_TEST(what_a_reader_refuses) {
    struct wal_reader *r;
    uint8_t other[16] = "another store";
    log_write_segment(1, log_nothing, 1, 3, 1);
    ck_assert_int_eq(wal_reader_open(log_memory, LOG_DIR, 2, log_uuid, &r, &test_err),
                     KEVO_NOTFOUND);
    ck_assert_ptr_null(r);
    ck_assert_int_eq(wal_reader_open(log_memory, LOG_DIR, 1, other, &r, &test_err), KEVO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test_err.msg, LOG_DIR "/000001.wal: belongs to another store"));
    struct buf b = log_file(1);
    log_set_file(2, b.data, b.len); /* renamed */
    ck_assert_int_eq(wal_reader_open(log_memory, LOG_DIR, 2, log_uuid, &r, &test_err),
                     KEVO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "holds segment 1"));
    buf_release(&b);
}
END_TEST

/* A segment gets its name when its header is durable. */
START_TEST(a_segment_without_a_whole_header_is_damaged) {
    struct wal_reader *r;
    log_write_segment(1, log_nothing, 1, 0, 1);
    struct buf b = log_file(1);
    for (size_t len = 0; len < WAL_SEGMENT_HEADER_BYTES; len++) {
        log_set_file(1, b.data, len);
        ck_assert_int_eq(wal_reader_open(log_memory, LOG_DIR, 1, log_uuid, &r, &test_err),
                         KEVO_CORRUPT);
        ck_assert_ptr_nonnull(strstr(test_err.msg, LOG_DIR "/000001.wal: the header is damaged"));
    }
    buf_release(&b);
}
END_TEST

START_TEST(a_segment_is_continued_after_a_crash) {
    struct wal_writer *w;
    struct wal_record record;
    int rc;
    log_write_segment(1, log_nothing, 1, 5, (uint64_t)_i);
    struct wal_reader *r = log_open(1);
    while (wal_reader_next(r, &record, &test_err) == 0)
        ;
    wal_reader_close(r);
    struct buf b = log_file(1);
    b.data[record.offset + WAL_RECORD_HEADER_BYTES] ^= 1; /* the last one is torn */
    log_set_file(1, b.data, b.len);
    buf_release(&b);
    r = log_open(1);
    ck_assert_uint_eq(log_read_all(r, 1, &rc), 4);
    ck_assert_int_eq(rc, KEVO_NOTFOUND);
    ck_assert_uint_gt(r->torn_bytes, 0);
    must(wal_reopen(log_memory, LOG_DIR, 1, r->salt, &w, &test_err));
    must(wal_cut(w, r->at, r->last, &test_err));
    wal_reader_close(r);
    for (uint64_t batch = 5; batch <= 12; batch++)
        must(log_append(w, batch));
    must(wal_sync(w, &test_err));
    wal_close(w);
    log_expect(1, 1, 12);
}
END_TEST

/* What is synced is never written to again, not even its last sector. */
START_TEST(synced_sectors_are_left_alone) {
    struct wal_writer *w = log_create(1, log_nothing);
    for (uint64_t batch = 1; batch <= 30; batch++) {
        must(log_append(w, batch));
        if (batch % 3) continue;
        must(wal_sync(w, &test_err));
        ck_assert_uint_eq(w->offset % WAL_SECTOR, 0);
        ck_assert_uint_eq(w->synced, w->offset);
    }
    wal_close(w);
    log_expect(1, 1, 30);
}
END_TEST

/* A log of small syncs has its next records in places that were written before, as long as it is not
 * made longer, and whether or not that can be done. Others do not pay for it. */
START_TEST(small_syncs_write_ahead) {
    struct wal_writer *w = log_create(1, log_nothing);
    unsigned behind = 0;
    for (uint64_t batch = 1; batch <= 300; batch++) {
        uint64_t begin = w->offset, written = w->written;
        if (_i == 0) log_plan_fault(FAULT_WRITE, 2, KEVO_IOERR, true);
        must(log_append(w, batch));
        behind += w->offset > written && begin > WAL_SECTOR;
        must(wal_sync(w, &test_err));
        log_plan_fault(0, 0, 0, false);
        ck_assert_uint_le(w->written, w->allocated);
    }
    if (_i == 0)
        ck_assert_uint_gt(behind, 250);
    else
        ck_assert_uint_lt(behind, 8);
    for (uint64_t batch = 301; batch <= 400; batch++)
        must(log_append(w, batch));
    uint64_t end = w->offset > w->written ? w->offset : w->written;
    must(wal_sync(w, &test_err));
    ck_assert_uint_lt(w->written, end + WAL_SECTOR);
    wal_close(w);
    log_expect(1, 1, 400);
}
END_TEST

START_TEST(the_unsynced_end_is_kept) {
    struct wal_writer *w = log_create(1, log_nothing);
    slice bytes;
    ck_assert(wal_unsynced(w, &bytes) && bytes.len == 0);
    must(log_append(w, 1));
    must(log_append(w, 2));
    ck_assert(wal_unsynced(w, &bytes));
    ck_assert_uint_eq(bytes.len, w->offset - w->synced);
    struct buf b = log_file(1);
    ck_assert_int_eq(memcmp(bytes.data, b.data + w->synced, bytes.len), 0);
    buf_release(&b);
    must(wal_sync(w, &test_err));
    ck_assert(wal_unsynced(w, &bytes) && bytes.len == 0);
    for (uint64_t batch = 10; batch < 400; batch += 10)
        must(log_append(w, batch));
    ck_assert(!wal_unsynced(w, &bytes)); /* too much */
    must(wal_sync(w, &test_err));
    must(log_append(w, 500));
    ck_assert(wal_unsynced(w, &bytes) && bytes.len == w->offset - w->synced);
    wal_close(w);
}
END_TEST

/* One write for several records, each of them whole by itself. */
START_TEST(a_run_is_appended_by_one_write) {
    struct wal_writer *w = log_create(1, log_nothing);
    struct wal_run run = {.begin = 0};
    must(log_append(w, 1));
    for (uint64_t batch = 2; batch < 42; batch += 8) {
        if (batch % 3 == 0) must(wal_sync(w, &test_err));
        wal_run_reset(&run, w);
        for (uint64_t i = 0; i < 8; i++) {
            must(log_add_to_run(&run, w, batch + i));
            ck_assert_uint_eq(run.payload_bytes, log_payload_bytes(batch + i));
        }
        fault_env_plan(log_fault, (struct fault_plan){.kinds = FAULT_WRITE});
        must(wal_append_run(w, &run, &test_err));
        ck_assert_uint_eq(fault_env_calls(log_fault), 1);
    }
    buf_release(&run.bytes);
    wal_close(w);
    log_expect(1, 1, 41);
}
END_TEST

/* A run of which only a first part reached the disk is a shorter log. */
START_TEST(a_run_may_be_torn_between_its_records) {
    struct wal_writer *w = log_create(1, log_nothing);
    struct wal_run run = {.begin = 0};
    uint64_t ends[6] = {w->offset};
    wal_run_reset(&run, w);
    for (uint64_t batch = 1; batch <= 5; batch++) {
        must(log_add_to_run(&run, w, batch));
        ends[batch] = ends[0] + run.bytes.len;
    }
    must(wal_append_run(w, &run, &test_err));
    buf_release(&run.bytes);
    wal_close(w);
    struct buf b = log_file(1);
    for (uint64_t count = 0; count <= 5; count++) {
        log_set_file(1, b.data, ends[count]);
        log_expect(1, 1, count);
    }
    buf_release(&b);
}
END_TEST

/* ---- used again --------------------------------------------------------------------------- */

static void retire(uint64_t number) {
    ck_assert(wal_retire(log_fault, LOG_DIR, number, 1 << 20));
}

static struct wal_writer *create_from(uint64_t number, uint64_t spare, struct wal_link last) {
    struct wal_writer *w;
    ck_ok(wal_create(log_fault, LOG_DIR, number, spare, log_uuid, last, 0600, &w, &test_err));
    return w;
}

/* The log ends after `count` records, with nothing behind them that counts. */
static void expect_end(uint64_t number, uint64_t first, uint64_t count) {
    struct wal_reader *r = log_open(number);
    int rc;
    uint64_t got = log_read_all(r, first, &rc);
    ck_assert_msg(rc == KEVO_NOTFOUND && got == count && r->torn_bytes == 0,
                  "%llu records, then %d, %llu bytes torn", (unsigned long long)got, rc,
                  (unsigned long long)r->torn_bytes);
    wal_reader_close(r);
}

START_TEST(retired_segments) {
    struct env_stat st;
    log_write_segment(1, log_nothing, 1, 30, 2);
    ck_assert(!wal_retire(log_fault, LOG_DIR, 1, 0)); /* log_nothing is wanted */
    ck_assert_int_eq(log_memory->stat(log_memory, LOG_DIR "/000001.wal", &st, &test_err),
                     KEVO_NOTFOUND);
    log_write_segment(1, log_nothing, 1, 30, 2);
    ck_ok(log_memory->stat(log_memory, LOG_DIR "/000001.wal", &st, &test_err));
    ck_assert(!wal_retire(log_fault, LOG_DIR, 1, st.size_bytes - 1)); /* too large */
    ck_assert_int_eq(log_memory->stat(log_memory, LOG_DIR "/000001.wal", &st, &test_err),
                     KEVO_NOTFOUND);
    log_write_segment(1, log_nothing, 1, 30, 2);
    retire(1);
    ck_assert_int_eq(log_memory->stat(log_memory, LOG_DIR "/000001.wal", &st, &test_err),
                     KEVO_NOTFOUND);
    ck_ok(log_memory->stat(log_memory, LOG_DIR "/000001.spare", &st, &test_err));
    wal_remove_spare(log_fault, LOG_DIR, 1);
    ck_assert_int_eq(log_memory->stat(log_memory, LOG_DIR "/000001.spare", &st, &test_err),
                     KEVO_NOTFOUND);
    log_write_segment(2, log_nothing, 1, 30, 2);
    log_plan_fault(FAULT_RENAME, 1, 0, false);
    ck_assert(!wal_retire(log_fault, LOG_DIR, 2, 1 << 20));
    ck_assert_int_eq(log_memory->stat(log_memory, LOG_DIR "/000002.wal", &st, &test_err),
                     KEVO_NOTFOUND);
}
END_TEST

/* Nothing is taken for a record of this life: not with the old ones right behind the end, on
 * their own boundaries or not, not with the same batch ids. */
START_TEST(records_of_a_former_life_do_not_count) {
    uint64_t group = 1 + (uint64_t)_i % 4, former_group = 1 + (uint64_t)_i / 4;
    bool same_ids = _i % 2;
    uint64_t first = same_ids ? 1 : 101;
    struct wal_link before = same_ids ? log_nothing : (struct wal_link){100, 77};
    log_write_segment(1, log_nothing, 1, 100, former_group);
    uint64_t size = log_file_size(1);
    retire(1);
    struct wal_writer *w = create_from(2, 1, before);
    ck_assert_uint_eq(w->allocated, size);
    fault_env_plan(log_fault, (struct fault_plan){.kinds = FAULT_ALLOCATE});
    expect_end(2, first, 0);
    for (uint64_t n = 1; n <= 40; n++) {
        must(log_append(w, first + n - 1));
        if (n % group == 0) must(wal_sync(w, &test_err));
        expect_end(2, first, n);
    }
    ck_assert_uint_eq(fault_env_calls(log_fault), 0);
    ck_assert_uint_eq(log_file_size(2), size);
    wal_close(w);
    ck_assert_uint_lt(log_file_size(2), size);
    expect_end(2, first, 40);
}
END_TEST

/* What a crash leaves at the end of such a segment is cut, all that lies behind with it. */
START_TEST(a_torn_end_before_a_former_life) {
    log_write_segment(1, log_nothing, 1, 100, 3);
    retire(1);
    struct wal_writer *w = create_from(2, 1, (struct wal_link){100, 77});
    for (uint64_t batch = 101; batch <= 109; batch++)
        must(log_append(w, batch));
    uint64_t end = w->offset;
    must(log_append(w, 110)); /* a long one */
    uint64_t salt = w->salt, torn_bytes = w->offset - end;
    wal_close_full(w);
    struct buf b = log_file(2), old = log_file(2);
    for (uint64_t kept = 0; kept < torn_bytes; kept += 100) {
        memcpy(b.data, old.data, b.len);
        memset(b.data + end + kept, 0xa5, torn_bytes - kept); /* garbage, or */
        if (kept % 200) memset(b.data + end + kept, 0, torn_bytes - kept);
        log_set_file(2, b.data, b.len);
        struct wal_reader *r = log_open(2);
        int rc;
        ck_assert_uint_eq(log_read_all(r, 101, &rc), 9);
        ck_assert_int_eq(rc, KEVO_NOTFOUND);
        uint64_t told =
            kept < WAL_RECORD_HEADER_BYTES ? 0 : WAL_RECORD_HEADER_BYTES + log_payload_bytes(110);
        ck_assert_uint_eq(r->torn_bytes, told);
        must(wal_reopen(log_memory, LOG_DIR, 2, salt, &w, &test_err));
        must(wal_cut(w, r->at, r->last, &test_err));
        wal_reader_close(r);
        must(log_append(w, 110));
        must(log_append(w, 111));
        expect_end(2, 101, 11);
        wal_close(w);
    }
    buf_release(&b);
    buf_release(&old);
}
END_TEST

/* Damage to what was synced is seen, also with old records behind. */
START_TEST(damage_before_a_former_life) {
    log_write_segment(1, log_nothing, 1, 100, 1);
    retire(1);
    struct wal_writer *w = create_from(2, 1, (struct wal_link){100, 77});
    for (uint64_t batch = 101; batch <= 105; batch++) {
        must(log_append(w, batch));
        must(wal_sync(w, &test_err));
    }
    wal_close_full(w);
    struct buf b = log_file(2);
    b.data[3 * WAL_SECTOR + 60] ^= 1; /* batch 103 */
    log_set_file(2, b.data, b.len);
    struct wal_reader *r = log_open(2);
    int rc;
    ck_assert_uint_eq(log_read_all(r, 101, &rc), 2);
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
    struct wal_writer *w = log_create(1, log_nothing);
    struct wal_run run = {.begin = 0};
    must(log_append(w, 1));
    must(log_append(w, 2));
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
    struct wal_reader *r = log_open(1);
    int rc;
    ck_assert_uint_eq(log_read_all(r, 1, &rc), 2);
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
    struct wal_writer *w = log_create(1, log_nothing);
    must(log_append(w, 1));
    fault_env_plan(log_fault, (struct fault_plan){.kinds = FAULT_WRITE | (_i ? FAULT_SYNC : 0),
                                                  .nth = 1,
                                                  .for_good = _i,
                                                  .partial_write = true});
    ck_assert_int_eq(log_append(w, 2), KEVO_IOERR);
    ck_assert_int_eq(w->failed, _i);
    log_plan_fault(0, 0, 0, false);
    ck_assert_int_eq(log_append(w, 2), _i ? KEVO_READONLY : 0);
    wal_close(w);
}
END_TEST

START_TEST(a_segment_that_cannot_be_made_from_a_spare) {
    for (uint64_t n = 1;; n++) {
        struct wal_writer *w = NULL;
        struct env_stat st;
        log_plan_fault(0, 0, 0, false);
        log_write_segment(1, log_nothing, 1, 20, 3);
        retire(1);
        log_plan_fault(FAULT_ALL, n, 0, true);
        int rc = wal_create(log_fault, LOG_DIR, 2, 1, log_uuid, log_nothing, 0600, &w, &test_err);
        bool hit = fault_env_hit(log_fault);
        ck_assert_int_eq(rc, hit ? KEVO_IOERR : 0);
        log_plan_fault(0, 0, 0, false);
        wal_close(w);
        ck_assert_int_eq(log_memory->stat(log_memory, LOG_DIR "/000002.wal", &st, &test_err),
                         hit ? KEVO_NOTFOUND : 0);
        ck_assert_int_eq(log_memory->stat(log_memory, LOG_DIR "/000001.spare", &st, &test_err),
                         KEVO_NOTFOUND);
        if (!hit) break;
    }
    struct wal_writer *w;
    ck_assert_int_lt(
        wal_create(log_fault, LOG_DIR, 3, 7, log_uuid, log_nothing, 0600, &w, &test_err), 0);
    ck_assert_ptr_null(w);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("wal");
    TCase *tc = tcase_create("wal");
    tcase_add_checked_fixture(tc, log_setup, log_teardown);
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
    tcase_add_loop_test(tc, small_syncs_write_ahead, 0, 2);
    tcase_add_test(tc, the_unsynced_end_is_kept);
    tcase_add_test(tc, a_run_is_appended_by_one_write);
    tcase_add_test(tc, a_run_may_be_torn_between_its_records);
    suite_add_tcase(suite, tc);

    TCase *again = tcase_create("used again");
    tcase_add_checked_fixture(again, log_setup, log_teardown);
    tcase_add_test(again, retired_segments);
    tcase_add_loop_test(again, records_of_a_former_life_do_not_count, 0, 16);
    tcase_add_test(again, a_torn_end_before_a_former_life);
    tcase_add_test(again, damage_before_a_former_life);
    tcase_add_loop_test(again, values_that_look_like_records, 0, 2);
    tcase_add_loop_test(again, what_is_cut_off_is_synced, 0, 2);
    tcase_add_test(again, a_segment_that_cannot_be_made_from_a_spare);
    suite_add_tcase(suite, again);
    return harness_run(suite);
}
