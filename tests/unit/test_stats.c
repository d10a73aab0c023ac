/* What a store tells of itself: counters, latencies, estimates, the report. */
#include "engine/kevo.h"

#include <stdio.h>

#include "engine/base/slice.h"
#include "tests/lib/memory_store.h"

/* Keys 000000, 000001, ... */
static void put_range(unsigned from, unsigned to, const char *value) {
    char key[32];
    for (unsigned i = from; i < to; i++) {
        snprintf(key, sizeof key, "%06u", i);
        kv_put(store, key, value);
    }
}

/* ---- files ----------------------------------------------------------------------- */

struct seen {
    unsigned files, levels, stop_after;
    uint64_t entries, bytes, tombstones, ranges;
    char smallest[32], largest[32];
};

static int see(void *arg, const struct kevo_file *file) {
    struct seen *seen = arg;
    ck_assert_uint_ge(file->level, seen->levels);
    ck_assert_uint_le(file->first_batch, file->last_batch);
    ck_assert_int_le(slice_cmp(file->smallest, file->largest), 0);
    ck_assert_ptr_nonnull(strstr(file->name, ".sst"));
    seen->levels = file->level;
    seen->entries += file->entries;
    seen->bytes += file->bytes;
    seen->tombstones += file->tombstones;
    seen->ranges += file->range_tombstones;
    if (seen->files++ == 0)
        snprintf(seen->smallest, sizeof seen->smallest, "%.*s", (int)file->smallest.len,
                 (const char *)file->smallest.data);
    snprintf(seen->largest, sizeof seen->largest, "%.*s", (int)file->largest.len,
             (const char *)file->largest.data);
    return seen->files == seen->stop_after ? 7 : 0;
}

START_TEST(files) {
    struct seen seen = {.files = 0};
    ck_assert_int_eq(kevo_each_file(store, see, &seen), 0);
    ck_assert_uint_eq(seen.files, 0);
    put_range(0, 100, "v");
    kv_delete(store, "000003");
    ck_ok(kevo_flush(store, &test_err));
    ck_assert_int_eq(kevo_each_file(store, see, &seen), 0);
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_eq(seen.files, 1);
    ck_assert_uint_eq(seen.entries, s.table_entries);
    ck_assert_uint_eq(seen.bytes, s.level_bytes[0]);
    ck_assert_uint_eq(seen.tombstones, s.table_tombstones);
    ck_assert_str_eq(seen.smallest, "000000");
    ck_assert_str_eq(seen.largest, "000099");
    ck_ok(kevo_delete_range(store, kv_slice("000010"), kv_slice("000020"), &test_err));
    put_range(200, 202, "v");
    ck_ok(kevo_flush(store, &test_err));
    seen = (struct seen){.stop_after = 0};
    ck_assert_int_eq(kevo_each_file(store, see, &seen), 0);
    ck_assert_uint_eq(seen.files, 2);
    ck_assert_uint_eq(seen.ranges, 1);
    seen = (struct seen){.stop_after = 1};
    ck_assert_int_eq(kevo_each_file(store, see, &seen), 7);
    ck_assert_uint_eq(seen.files, 1);
}
END_TEST

/* ---- latencies ------------------------------------------------------------------ */

START_TEST(writes_and_syncs_are_measured) {
    kevo_batch *batch;
    put_range(0, 10, "v");
    kv_delete(store, "000003");
    ck_ok(kevo_batch_new(&batch, &test_err));
    ck_ok(kevo_batch_put(batch, kv_slice("a"), kv_slice("1"), &test_err));
    ck_ok(kevo_batch_put(batch, kv_slice("b"), kv_slice("2"), &test_err));
    ck_ok(kevo_apply_batch(store, batch, NULL, &test_err));
    kevo_batch_free(batch);
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_eq(s.write.count, 12);
    ck_assert_uint_eq(s.wal_syncs, 12);
    ck_assert_uint_eq(s.wal_sync.count, 12);
    ck_assert_uint_ge(s.write.sum_ns, s.wal_sync.sum_ns); /* of which they are a part */
    ck_assert_uint_eq(s.flush.count + s.compaction.count + s.stall.count, 0);
    ck_assert_int_eq(kevo_put(store, kv_slice(""), kv_slice(""), &test_err), KEVO_INVALID);
    ck_assert_uint_eq(kv_stats(store).write.count, 12);
}
END_TEST

START_TEST(a_prepare_is_a_write) {
    struct kevo_commit commit;
    kevo_txn *txn = kv_txn(store);
    kv_txn_put(txn, "a", "1");
    ck_assert_uint_eq(kv_stats(store).write.count, 0);
    ck_ok(kevo_txn_prepare(txn, KEVO_SYNC_OFF, &commit, &test_err));
    kevo_txn_commit(txn);
    kevo_txn_unref(txn);
    ck_assert_uint_eq(kv_stats(store).write.count, 1);
    ck_assert_uint_eq(kv_stats(store).wal_sync.count, 0);
}
END_TEST

START_TEST(one_get_of_sixteen_is_measured) {
    for (unsigned i = 0; i < 10 * KEVO_GET_SAMPLE; i++)
        ck_assert_ptr_null(kv_get(store, NULL, "absent"));
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_eq(s.gets, 10 * KEVO_GET_SAMPLE);
    ck_assert_uint_eq(s.get.count, 10);
    ck_assert_uint_gt(s.get.max_ns, 0);
    ck_assert_uint_le(kevo_latency_quantile_ns(&s.get, 0.5), s.get.max_ns);
}
END_TEST

START_TEST(flushes_and_compactions_are_measured) {
    put_range(0, 100, "v");
    ck_ok(kevo_flush(store, &test_err));
    put_range(50, 150, "v");
    ck_ok(kv_compact(store, &test_err));
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_eq(s.flushes, 2);
    ck_assert_uint_eq(s.flush.count, 2);
    ck_assert_uint_ge(s.compactions, 1);
    ck_assert_uint_eq(s.compaction.count, s.compactions);
    ck_assert_uint_gt(s.compaction.max_ns, 0);
}
END_TEST

START_TEST(stalls_are_measured_one_by_one) {
    char value[1000];
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = 0;
    options.memtable_bytes = 64 << 10;
    options.memtable_count = 2; /* who fills the second one flushes the first */
    reopen();
    put_range(0, 500, value);
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_gt(s.stalls, 2);
    ck_assert_uint_eq(s.stall.count, s.stalls);
    ck_assert_uint_ge(s.stall.sum_ns / 1000, s.stall_us);
    ck_assert_uint_le(s.stall.sum_ns / 1000, s.stall_us + s.stalls);
    ck_assert_uint_ge(s.stall.sum_ns, s.flush.sum_ns - s.flush.max_ns);
    ck_assert_uint_ge(s.write.max_ns, s.stall.max_ns);
}
END_TEST

/* ---- levels ----------------------------------------------------------------------- */

START_TEST(levels_add_up) {
    put_range(0, 500, "some value");
    ck_ok(kevo_flush(store, &test_err));
    kv_delete(store, "000001");
    put_range(500, 600, "some value");
    ck_ok(kevo_flush(store, &test_err));
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_eq(s.level_entries[0], 601);
    ck_assert_uint_eq(s.level_tombstones[0], 1);
    ck_assert_uint_eq(s.level_written_bytes[0], s.flush_bytes);
    uint64_t level0_bytes = s.level_bytes[0];
    ck_ok(kv_compact(store, &test_err));
    s = kv_stats(store);
    uint64_t entries = 0, read = 0, written = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        entries += s.level_entries[l];
        read += s.level_read_bytes[l];
        written += s.level_written_bytes[l];
    }
    ck_assert_uint_eq(entries, 599);
    ck_assert_uint_eq(s.table_entries, 599);
    ck_assert_uint_eq(s.level_read_bytes[0], level0_bytes);
    ck_assert_uint_eq(read, s.compact_read_bytes);
    ck_assert_uint_eq(written, s.flush_bytes + s.compact_write_bytes);
    unsigned deepest = KEVO_MAX_LEVELS - 1;
    while (s.table_count[deepest] == 0)
        deepest--;
    uint64_t before = s.level_read_bytes[deepest];
    put_range(0, 600, "another");
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_ge(kv_stats(store).level_read_bytes[deepest] - before, s.level_bytes[deepest]);
}
END_TEST

/* ---- the report --------------------------------------------------------------------- */

static char report[16384];

static void expect_line(const char *part) {
    ck_assert_msg(strstr(report, part), "\"%s\" is not in\n%s", part, report);
}

static void make_report(void) {
    int length = kevo_stats_text(store, report, sizeof report);
    ck_assert_msg(length > 0 && length < (int)sizeof report, "%d", length);
    ck_assert_uint_eq(strlen(report), (size_t)length);
}

START_TEST(the_report_names_everything) {
    put_range(0, 300, "a value of some length");
    ck_ok(kevo_flush(store, &test_err));
    kv_delete(store, "000007");
    put_range(250, 300, "another");
    ck_ok(kevo_flush(store, &test_err));
    ck_ok(kv_compact(store, &test_err));
    put_range(0, 3, "v");
    reopen();
    put_range(0, 3, "v");
    for (unsigned i = 0; i < 32; i++)
        kv_get(store, NULL, "000123");
    kevo_snapshot *snap = kv_snapshot(store);
    kv_dump(store, NULL);
    make_report();
    kevo_snapshot_free(snap);
    expect_line("level  tables");
    expect_line("writes: 3 batches, 3 puts, 0 deletes, 0 of ranges, 21 B");
    expect_line("reads: 32 gets (32 found), 1 iterators over 2.0 sources, 2 seeks");
    expect_line("\nget                 2 ");
    expect_line("\nwrite               3 ");
    expect_line("\nlog sync ");
    expect_line("stalls: 0, 0 ns in all, the longest 0 ns");
    expect_line("cache: ");
    expect_line("filters: 32 checks, 0.0 % rejected");
    expect_line("snapshots: 1 pinned, the oldest at batch 357");
    expect_line("recovery: 3 batches, ");
    expect_line(", 0 B torn");
    ck_assert_ptr_null(strstr(report, "\ncompaction")); /* none since it was opened */
}
END_TEST

START_TEST(levels_of_the_report) {
    put_range(0, 300, "a value of some length");
    ck_ok(kevo_flush(store, &test_err));
    put_range(0, 300, "another value of that length");
    ck_ok(kv_compact(store, &test_err));
    struct kevo_stats s = kv_stats(store);
    unsigned level = 1;
    while (s.table_count[level] == 0)
        level++;
    make_report();
    char line[64];
    snprintf(line, sizeof line, "\n%5u %7u ", level, s.table_count[level]);
    expect_line(line);
    expect_line("         300           0         1 ");
    expect_line("\ncompaction          1 ");
    expect_line("\nflush               2 ");
}
END_TEST

START_TEST(the_report_of_an_empty_store_divides_by_nothing) {
    make_report();
    expect_line("cache: 0 B of 512.0 KB, 0 lookups, 0.0 % hits");
    expect_line("over 0.0 sources");
    ck_assert_ptr_null(strstr(report, "nan"));
    ck_assert_ptr_null(strstr(report, "inf"));
}
END_TEST

START_TEST(a_report_that_does_not_fit_is_cut) {
    static char cut[sizeof report];
    put_range(0, 30, "v");
    make_report();
    int length = (int)strlen(report);
    ck_assert_int_eq(kevo_stats_text(store, NULL, 0), length);
    for (int capacity = 1; capacity <= length + 1; capacity++) {
        memset(cut, '#', sizeof cut);
        ck_assert_int_eq(kevo_stats_text(store, cut, (size_t)capacity), length);
        ck_assert_int_eq((int)strlen(cut), capacity - 1);
        ck_assert_int_eq(strncmp(cut, report, (size_t)capacity - 1), 0);
        ck_assert_int_eq(cut[capacity], '#');
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("stats");

    TCase *latencies = tcase_create("latencies");
    tcase_add_checked_fixture(latencies, setup, teardown);
    tcase_add_test(latencies, files);
    tcase_add_test(latencies, writes_and_syncs_are_measured);
    tcase_add_test(latencies, a_prepare_is_a_write);
    tcase_add_test(latencies, one_get_of_sixteen_is_measured);
    tcase_add_test(latencies, flushes_and_compactions_are_measured);
    tcase_add_test(latencies, stalls_are_measured_one_by_one);
    suite_add_tcase(suite, latencies);

    TCase *figures = tcase_create("figures");
    tcase_add_checked_fixture(figures, setup, teardown);
    tcase_add_test(figures, levels_add_up);
    suite_add_tcase(suite, figures);

    TCase *reports = tcase_create("reports");
    tcase_add_checked_fixture(reports, setup, teardown);
    tcase_add_test(reports, the_report_names_everything);
    tcase_add_test(reports, levels_of_the_report);
    tcase_add_test(reports, the_report_of_an_empty_store_divides_by_nothing);
    tcase_add_test(reports, a_report_that_does_not_fit_is_cut);
    suite_add_tcase(suite, reports);

    return harness_run(suite);
}
