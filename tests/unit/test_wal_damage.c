/* A damaged log, and one whose calls fail. */
#include "engine/log/wal.h"

#include <stdlib.h>

#include "engine/base/coding.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/wal_log.h"

/* ---- damage ------------------------------------------------------------------------------- */

/* Read a damaged copy of a segment with batches 1 to `count`. Whatever is read must be right
 * and a first part; *rc tells the end. */
static uint64_t read_damaged(const uint8_t *data, size_t len, int *rc) {
    struct wal_reader *r;
    log_set_file(9, data, len);
    *rc = wal_reader_open(log_memory, LOG_DIR, 9, log_uuid, &r, &test_err);
    if (*rc) return 0;
    uint64_t count = log_read_all(r, 1, rc);
    wal_reader_close(r);
    return count;
}

/* How many records end at or before `len`. */
static uint64_t whole_records(uint64_t number, size_t len) {
    struct wal_reader *r = log_open(number);
    struct wal_record record;
    uint64_t count = 0;
    while (wal_reader_next(r, &record, &test_err) == 0)
        count += record.offset + WAL_RECORD_HEADER_BYTES + record.payload.len <= len;
    wal_reader_close(r);
    return count;
}

START_TEST(torn_at_every_byte) {
    log_write_segment(9, log_nothing, 1, 12, (uint64_t)_i);
    struct buf b = log_file(9);
    for (size_t len = WAL_SEGMENT_HEADER_BYTES; len <= b.len; len++) {
        int rc;
        log_set_file(9, b.data, b.len);
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
    log_write_segment(9, log_nothing, 1, COUNT, group);
    struct wal_reader *r = log_open(9);
    struct wal_record record;
    for (unsigned i = 1; i <= COUNT; i++) {
        must(wal_reader_next(r, &record, &test_err));
        starts[i] = record.offset;
        ends[i] = record.offset + WAL_RECORD_HEADER_BYTES + record.payload.len;
    }
    wal_reader_close(r);
    struct buf b = log_file(9);
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
            if (rc == KEVO_CORRUPT && !strstr(test_err.msg, LOG_DIR "/000009.wal"))
                ck_abort_msg("no file is named: %s", test_err.msg);
        }
    }
    buf_release(&b);
}
END_TEST

/* A record that is whole, but in the wrong place: of another segment, another time, or twice. */
START_TEST(strange_records_are_not_taken) {
    int rc;
    log_write_segment(1, log_nothing, 1, 3, 1);
    log_write_segment(2, log_nothing, 1, 3, 1); /* another salt */
    struct buf a = log_file(1), b = log_file(2);
    uint64_t third = 3 * WAL_SECTOR;
    memcpy(a.data + third, b.data + third, b.len - third);
    log_set_file(1, a.data, a.len);
    struct wal_reader *r = log_open(1);
    ck_assert_uint_eq(log_read_all(r, 1, &rc), 2);
    ck_assert_int_eq(rc, KEVO_NOTFOUND); /* it might be torn */
    wal_reader_close(r);
    buf_release(&a);
    a = log_file(2);
    memcpy(a.data + third, a.data + third - WAL_SECTOR, 200); /* record 2 once more */
    log_set_file(2, a.data, a.len);
    r = log_open(2);
    ck_assert_uint_eq(log_read_all(r, 1, &rc), 2);
    ck_assert_int_eq(rc, KEVO_NOTFOUND);
    wal_reader_close(r);
    buf_release(&a);
    buf_release(&b);
}
END_TEST

START_TEST(random_bytes_are_safe) {
    struct rng rng = rng_of(harness_seed());
    log_write_segment(9, log_nothing, 1, 20, 3);
    struct buf b = log_file(9);
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
        struct wal_writer *w = log_create(1, log_nothing);
        uint64_t batch = 1;
        if (faults[i].kinds != FAULT_ALLOCATE) must(log_append(w, batch++));
        log_plan_fault(faults[i].kinds, 1, faults[i].rc, faults[i].half);
        ck_assert_int_eq(log_append(w, 90), faults[i].rc);
        ck_assert(fault_env_hit(log_fault));
        must(log_append(w, batch++));
        must(wal_sync(w, &test_err));
        must(log_append(w, batch++));
        wal_close(w);
        log_expect(1, 1, batch - 1);
    }
}
END_TEST

/* A disk that is nearly full has no room in advance, but for the record itself. */
START_TEST(preallocation_is_given_up_first) {
    struct wal_writer *w = log_create(1, log_nothing);
    log_plan_fault(FAULT_ALLOCATE, 1, KEVO_FULL, false);
    must(log_append(w, 1));
    ck_assert(fault_env_hit(log_fault));
    wal_close(w);
    log_expect(1, 1, 1);
}
END_TEST

START_TEST(what_cannot_be_undone_closes_the_log) {
    struct wal_writer *w = log_create(1, log_nothing);
    must(log_append(w, 1));
    fault_env_plan(log_fault, (struct fault_plan){.kinds = FAULT_WRITE | FAULT_TRUNCATE,
                                                  .nth = 1,
                                                  .for_good = true,
                                                  .partial_write = true});
    ck_assert_int_eq(log_append(w, 2), KEVO_IOERR);
    log_plan_fault(0, 0, 0, false);
    ck_assert_int_eq(log_append(w, 2), KEVO_READONLY);
    ck_assert_ptr_nonnull(strstr(test_err.msg, LOG_DIR "/000001.wal"));
    ck_assert_int_eq(wal_sync(w, &test_err), KEVO_READONLY);
    ck_assert_int_eq(wal_cut(w, 512, log_nothing, &test_err), KEVO_READONLY);
    wal_close(w);
    log_expect(1, 1, 1);
}
END_TEST

START_TEST(a_failed_sync_closes_the_log) {
    struct wal_writer *w = log_create(1, log_nothing);
    must(log_append(w, 1));
    log_plan_fault(FAULT_SYNC, 1, 0, false);
    ck_assert_int_eq(wal_sync(w, &test_err), KEVO_IOERR);
    ck_assert_int_eq(wal_sync(w, &test_err), KEVO_READONLY);
    ck_assert_int_eq(log_append(w, 2), KEVO_READONLY);
    wal_close(w);
}
END_TEST

START_TEST(nothing_is_left_of_a_segment_that_could_not_be_made) {
    for (uint64_t n = 1;; n++) {
        struct wal_writer *w = NULL;
        struct env_stat st;
        log_plan_fault(FAULT_ALL, n, 0, true);
        int rc = wal_create(log_fault, LOG_DIR, 1, 0, log_uuid, log_nothing, 0600, &w, &test_err);
        bool hit = fault_env_hit(log_fault);
        ck_assert_int_eq(rc, hit ? KEVO_IOERR : 0);
        ck_assert((w != NULL) == !hit);
        wal_close(w);
        int there = log_memory->stat(log_memory, LOG_DIR "/000001.wal", &st, &test_err);
        ck_assert_int_eq(there, hit ? KEVO_NOTFOUND : 0);
        there = log_memory->stat(log_memory, LOG_DIR "/000001.spare", &st, &test_err);
        ck_assert_int_eq(there, KEVO_NOTFOUND);
        if (!hit) break;
    }
    /* If even the removal is not certain, it says so. */
    for (unsigned kind = FAULT_RENAME;; kind = FAULT_SYNC_DIR) {
        struct wal_writer *w;
        fault_env_plan(log_fault, (struct fault_plan){.kinds = kind | FAULT_STAT | FAULT_UNLINK,
                                                      .nth = 1,
                                                      .for_good = true});
        ck_assert_int_eq(
            wal_create(log_fault, LOG_DIR, 2, 0, log_uuid, log_nothing, 0600, &w, &test_err),
            KEVO_READONLY);
        ck_assert_ptr_nonnull(strstr(test_err.msg, LOG_DIR "/000002.wal"));
        ck_assert_ptr_null(w);
        if (kind == FAULT_SYNC_DIR) break;
    }
}
END_TEST

START_TEST(without_memory) {
    log_write_segment(1, log_nothing, 1, 5, 2);
    for (uint64_t n = 1;; n++) {
        struct wal_writer *w = NULL;
        struct wal_reader *r = NULL;
        fault_alloc_fail_at(n, false);
        int rc = wal_create(log_memory, LOG_DIR, 2, 0, log_uuid, log_nothing, 0600, &w, &test_err);
        if (rc == 0) rc = log_append(w, 1);
        if (rc == 0) rc = log_append(w, 2);
        if (rc == 0) rc = wal_sync(w, &test_err);
        if (rc == 0) rc = wal_reader_open(log_memory, LOG_DIR, 1, log_uuid, &r, &test_err);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (rc) ck_assert_int_eq(rc, KEVO_NOMEM);
        wal_close(w);
        wal_reader_close(r);
        if (!hit) break;
    }
    log_expect(2, 1, 2);
}
END_TEST

START_TEST(read_errors_are_told) {
    log_write_segment(1, log_nothing, 1, 5, 2);
    for (uint64_t n = 1;; n++) {
        struct wal_reader *r;
        log_plan_fault(FAULT_ALL, n, 0, false);
        int rc = wal_reader_open(log_fault, LOG_DIR, 1, log_uuid, &r, &test_err);
        bool hit = fault_env_hit(log_fault);
        ck_assert_int_eq(rc, hit ? KEVO_IOERR : 0);
        ck_assert((r != NULL) == !hit);
        log_plan_fault(0, 0, 0, false);
        wal_reader_close(r);
        if (!hit) break;
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("wal_damage");
    TCase *damage = tcase_create("damage");
    tcase_add_checked_fixture(damage, log_setup, log_teardown);
    tcase_add_loop_test(damage, torn_at_every_byte, 1, 6);
    tcase_add_loop_test(damage, every_byte_damaged, 1, 6);
    tcase_add_test(damage, strange_records_are_not_taken);
    tcase_add_test(damage, random_bytes_are_safe);
    suite_add_tcase(suite, damage);

    TCase *faults = tcase_create("faults");
    tcase_add_checked_fixture(faults, log_setup, log_teardown);
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
