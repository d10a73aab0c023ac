#include "engine/log/wal.h"
#include "tests/lib/repair_store.h"

START_TEST(of_a_sound_store) {
    size_t size_before, size_after;
    make_store();
    struct kevo_options o = options;
    kevo_store *s = kv_open(&o);
    struct kevo_commit last = kevo_last_commit(s);
    uint8_t uuid[16];
    memcpy(uuid, kevo_store_uuid(s), 16);
    char *dump = strdup(kv_dump(s, NULL));
    kevo_close(s);
    char *before = kv_contents(memory, &size_before);
    ck_ok(repair());
    char *after = kv_contents(memory, &size_after);
    ck_assert_uint_eq(size_before, size_after);
    ck_assert_mem_eq(before, after, size_before);
    ck_assert_str_eq(notes, "");
    ck_assert_int_eq(report.manifest, KEVO_MANIFEST_GOOD);
    ck_assert_uint_eq(report.tables_found, 2);
    ck_assert_uint_eq(report.tables_used, 2);
    ck_assert_uint_eq(report.tables_lost + report.tables_ignored + report.blocks_lost +
                          report.log_gaps + report.segments_lost + report.bytes_lost + report.notes,
                      0);
    ck_assert_uint_eq(report.entries_salvaged, 2 * ROWS);
    ck_assert_uint_eq(report.records_salvaged, ROWS);
    ck_assert_uint_eq(report.last_commit.batch, last.batch);
    ck_assert_uint_eq(report.last_commit.nonce, last.nonce);
    s = repaired();
    ck_assert_mem_eq(kevo_store_uuid(s), uuid, 16);
    ck_assert_uint_eq(kevo_last_commit(s).batch, last.batch);
    ck_assert_uint_eq(kevo_last_commit(s).nonce, last.nonce);
    kevo_close(s);
    expect(dump);
    free(dump);
    free(before);
    free(after);
}
END_TEST

START_TEST(of_an_empty_store) {
    kevo_close(kv_open(&options));
    ck_ok(repair());
    ck_assert_str_eq(notes, "");
    expect("");
}
END_TEST

/* Beside those who read it, and without a trace: the lock file names whom it named. */
START_TEST(of_a_store_that_may_only_be_read) {
    struct env_file *f;
    char text[8] = "";
    size_t got;
    make_store();
    files_write(memory, path_of("LOCK"), kv_slice("whoever"));
    struct kevo_options o = options;
    o.read_only = true;
    kevo_store *s = kv_open(&o);
    char *dump = strdup(kv_dump(s, NULL));
    ck_ok(repair());
    kevo_close(s);
    ck_ok(memory->open(memory, path_of("LOCK"), ENV_READ, 0, &f, &test_err));
    ck_ok(memory->read(memory, f, 0, text, sizeof text - 1, &got, &test_err));
    memory->close(memory, f);
    ck_assert_str_eq(text, "whoever");
    expect(dump);
    free(dump);
}
END_TEST

START_TEST(of_nothing) {
    ck_assert_int_eq(repair(), KEVO_CANTOPEN);
    ck_ok(memory->make_dir(memory, KV_DIR, 0700, &test_err));
    ck_assert_int_eq(repair(), KEVO_CANTOPEN);
    files_write(memory, path_of("LOCK"), kv_slice(""));
    ck_assert_int_eq(repair(), KEVO_CANTOPEN);
    make_store();
    kevo_store *s = kv_open(&options);
    ck_assert_int_eq(repair(), KEVO_BUSY);
    kevo_close(s);
    ck_assert_int_eq(kevo_repair(KV_DIR, KV_DIR, &options, NULL, &test_err), KEVO_CANTOPEN);
    ck_ok(repair());
    ck_assert_int_eq(repair(), KEVO_CANTOPEN); /* NEW is there already */
}
END_TEST

/* Without a manifest all that is found is used. */
START_TEST(without_a_manifest) {
    make_store();
    kevo_store *s = kv_open(&options);
    kv_put(s, "b03", "newer");
    kv_delete(s, "a05");
    uint8_t uuid[16];
    memcpy(uuid, kevo_store_uuid(s), 16);
    char *dump = strdup(kv_dump(s, NULL));
    kevo_close(s);
    if (_i == 0) lose("MANIFEST");
    if (_i == 1) flip("MANIFEST", 600, 1);
    if (_i == 2) flip("MANIFEST", 3, 1);
    if (_i == 3) cut("MANIFEST", 100);
    ck_assert_int_lt(kevo_open(KV_DIR, &options, &s, &test_err), 0);
    ck_ok(repair());
    ck_assert_int_eq(report.manifest, _i ? KEVO_MANIFEST_DAMAGED : KEVO_MANIFEST_MISSING);
    ck_assert_ptr_nonnull(strstr(notes, "MANIFEST"));
    ck_assert_uint_eq(report.tables_used, 2);
    s = repaired();
    ck_assert_mem_eq(kevo_store_uuid(s), uuid, 16);
    kevo_close(s);
    expect(dump);
    free(dump);
}
END_TEST

/* A table that was merged away must not bring back what was deleted since. */
START_TEST(orphans_do_not_count) {
    kevo_store *s = kv_open(&options);
    kv_put(s, "a", "1");
    kv_put(s, "b", "1");
    struct buf segment = files_read(memory, path_of("000001.wal"));
    ck_ok(kevo_flush(s, &test_err));
    struct buf orphan = files_read(memory, path_of("000001.sst"));
    kv_delete(s, "a");
    ck_ok(kv_compact(s, &test_err));
    kevo_close(s);
    files_write(memory, path_of("000001.sst"), buf_slice(&orphan));
    files_write(memory, path_of("000001.wal"), buf_slice(&segment));
    ck_ok(repair());
    ck_assert_uint_eq(report.tables_ignored, 1);
    expect("b=1");
    lose("MANIFEST");
    ck_ok(repair());
    expect("a=1 b=1"); /* and the report says so */
    ck_assert_ptr_nonnull(strstr(notes, "deleted rows may be back"));
    buf_release(&orphan);
    buf_release(&segment);
}
END_TEST

START_TEST(one_block_of_a_table) {
    make_store();
    flip(table_a, 10, 0x40);
    ck_ok(repair());
    ck_assert_uint_eq(report.blocks_lost, 1);
    ck_assert_ptr_nonnull(strstr(notes, ": block at 0: checksum differs"));
    ck_assert_uint_eq(report.tables_used, 2);
    expect_rows(ROWS - 4, ROWS, ROWS);
}
END_TEST

/* Blocks are found without the index. */
START_TEST(the_rest_of_a_table) {
    make_store();
    uint64_t size = size_of(table_a);
    if (_i == 0) flip(table_a, size - 1, 1);
    if (_i == 1) cut(table_a, size - 10);
    if (_i == 2) flip(table_a, index_of(table_a), 1);
    if (_i == 3) {
        flip(table_a, size - 1, 1);
        flip(table_a, 10, 1);
    }
    ck_ok(repair());
    ck_assert_ptr_nonnull(strstr(notes, table_a));
    ck_assert_uint_eq(report.tables_used, 2);
    expect_rows(_i == 3 ? ROWS - 4 : ROWS, ROWS, ROWS);
}
END_TEST

START_TEST(half_a_table) {
    make_store();
    cut(table_a, size_of(table_a) / 4);
    ck_ok(repair());
    expect_rows(1, ROWS, ROWS);
    drop_new();
    cut(table_a, 0);
    ck_ok(repair());
    ck_assert_uint_eq(report.tables_lost, 1);
    expect_rows(0, ROWS, ROWS);
    drop_new();
    lose(table_a);
    ck_ok(repair());
    ck_assert_uint_eq(report.tables_lost, 1);
    ck_assert_ptr_nonnull(strstr(notes, "is missing, with 12 entries"));
    expect_rows(0, ROWS, ROWS);
}
END_TEST

/* A record in the middle: those behind it are taken, and no id comes again. */
START_TEST(a_record_of_the_log) {
    make_store();
    kevo_store *s = kv_open(&options);
    uint64_t last = kevo_last_commit(s).batch;
    kevo_close(s);
    flip("000003.wal", 512 * 4 + 60, 1);
    ck_assert_int_eq(kevo_open(KV_DIR, &options, &s, &test_err), KEVO_CORRUPT);
    ck_ok(repair());
    ck_assert_uint_eq(report.records_salvaged, ROWS - 1);
    ck_assert_uint_eq(report.log_gaps, 1);
    ck_assert_ptr_nonnull(strstr(notes, "000003.wal"));
    ck_assert_uint_eq(report.last_commit.batch, last);
    expect_rows(ROWS, ROWS, ROWS - 1);
    s = repaired();
    uint64_t id;
    kevo_batch *b;
    ck_ok(kevo_batch_new(&b, &test_err));
    ck_ok(kevo_batch_put(b, kv_slice("x"), kv_slice("y"), &test_err));
    ck_ok(kevo_apply_batch(s, b, &id, &test_err));
    ck_assert_uint_gt(id, last + 1000);
    kevo_batch_free(b);
    kevo_close(s);
}
END_TEST

START_TEST(a_segment_of_the_log) {
    make_store();
    if (_i)
        flip("000003.wal", 20, 1);
    else
        lose("000003.wal");
    ck_ok(repair());
    ck_assert_uint_eq(report.records_salvaged, 0);
    ck_assert_uint_eq(report.segments_lost, _i ? 1 : 0);
    ck_assert_uint_gt(report.notes, 0);
    expect_rows(ROWS, ROWS, 0);
}
END_TEST

/* ---- a log with records that cannot be its own --------------------------------------------------- */

/* Append segment 4, behind batch `before`, with a batch of that id that puts x=y. */
static void add_segment(uint64_t before, uint64_t id) {
    uint8_t uuid[16];
    struct wal_writer *w;
    struct wal_run run = {.begin = 0};
    must(wal_identity(memory, KV_DIR, 3, uuid, &test_err));
    must(
        wal_create(memory, KV_DIR, 4, 0, uuid, (struct wal_link){before, 77}, 0600, &w, &test_err));
    wal_run_reset(&run, w);
    must(wal_begin_record(&run, &test_err));
    if (!buf_append(&run.bytes, "\x05\x01xy", 4)) abort();
    must(wal_end_record(&run, w, WAL_BATCH, (struct kevo_commit){id, 9}, &test_err));
    must(wal_append_run(w, &run, &test_err));
    buf_release(&run.bytes);
    wal_close(w);
}

/* A segment of an older copy of the store, say, and forged ones, whose ids leave no more. */
START_TEST(records_that_cannot_be) {
    static const uint64_t ids[][2] = {{1, 2},
                                      {1, 30},
                                      {1, UINT64_MAX},
                                      {UINT64_MAX - 1, UINT64_MAX},
                                      {40, ((uint64_t)1 << 62) - 9}};
    make_store();
    add_segment(ids[_i][0], ids[_i][1]);
    ck_ok(repair());
    ck_assert_uint_ge(report.log_gaps, 1);
    ck_assert_ptr_nonnull(strstr(notes, "000004.wal"));
    ck_assert_uint_eq(report.records_salvaged, ROWS);
    ck_assert(report.bytes_lost >= 4);
    expect_rows(ROWS, ROWS, ROWS);
}
END_TEST

/* ---- an authority elsewhere ------------------------------------------------------------------- */

static struct kevo_commit transact(kevo_store *s, struct kevo_commit last, const char *key) {
    struct kevo_commit c;
    ck_ok(kevo_resolve(s, last, &test_err));
    kevo_txn *t = kv_txn(s);
    kv_txn_put(t, key, "1");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    return c;
}

/* What it may still decide about, it decides in the repaired store. */
START_TEST(for_an_authority_elsewhere) {
    struct kevo_commit c[4] = {{0, 0}};
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    kevo_store *s = kv_open(&options);
    c[1] = transact(s, c[0], "a");
    ck_ok(kevo_resolve(s, c[1], &test_err));
    ck_ok(kevo_rotate(s, &test_err));
    ck_ok(kevo_flush(s, &test_err));
    c[2] = transact(s, c[1], "b");
    c[3] = transact(s, c[2], "c");
    kevo_close(s);
    static const char *const dumps[] = {"", "a=1", "a=1 b=1", "a=1 b=1 c=1"};
    for (unsigned i = 1; i < 4; i++) {
        ck_ok(repair());
        ck_assert_uint_eq(report.last_commit.batch, c[3].batch);
        s = repaired();
        ck_ok(kevo_resolve(s, c[i], &test_err));
        ck_assert_str_eq(kv_dump(s, NULL), dumps[i]);
        kevo_close(s);
        drop_new();
    }
    /* The batch that it committed last is lost: it may take what there is. */
    flip("000002.wal", 512 + 512 + 58, 1);
    ck_ok(repair());
    ck_assert_uint_eq(report.last_commit.batch, c[2].batch);
    s = repaired();
    ck_assert_int_eq(kevo_resolve(s, c[3], &test_err), KEVO_DIVERGED);
    ck_ok(kevo_resolve(s, report.last_commit, &test_err));
    ck_assert_str_eq(kv_dump(s, NULL), "a=1 b=1");
    kevo_close(s);
}
END_TEST

/* Batches that were cut stay cut. */
START_TEST(cut_batches_do_not_come_back) {
    struct kevo_commit c, none = {0, 0};
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    kevo_store *s = kv_open(&options);
    ck_ok(kevo_resolve(s, none, &test_err));
    kevo_txn *t = kv_txn(s);
    kv_txn_put(t, "a", "never");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err));
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    c = transact(s, none, "b");
    kevo_close(s);
    ck_ok(repair());
    ck_assert_uint_eq(report.records_salvaged, 2); /* "b" and that "a" never was */
    s = repaired();
    ck_ok(kevo_resolve(s, c, &test_err));
    ck_assert_str_eq(kv_dump(s, NULL), "b=1");
    kevo_close(s);
    drop_new();
    lose("MANIFEST");
    ck_ok(repair());
    s = repaired();
    ck_ok(kevo_resolve(s, c, &test_err));
    ck_assert_str_eq(kv_dump(s, NULL), "b=1");
    kevo_close(s);
}
END_TEST

/* A batch that was cut later than one behind it stays cut too. */
START_TEST(batches_cut_twice_do_not_come_back) {
    struct kevo_commit kept, c, none = {0, 0};
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    kevo_store *s = kv_open(&options);
    kept = transact(s, none, "a");
    c = transact(s, kept, "never");
    ck_ok(kevo_resolve(s, c, &test_err));
    kevo_txn *t = kv_txn(s);
    kv_txn_put(t, "b", "never");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &(struct kevo_commit){0, 0}, &test_err));
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    transact(s, c, "neither");
    kevo_close(s);
    s = kv_open(&options);
    c = transact(s, kept, "d");
    ck_ok(kevo_resolve(s, c, &test_err));
    ck_assert_str_eq(kv_dump(s, NULL), "a=1 d=1");
    kevo_close(s);
    ck_ok(repair());
    s = repaired();
    ck_ok(kevo_resolve(s, c, &test_err));
    ck_assert_str_eq(kv_dump(s, NULL), "a=1 d=1");
    kevo_close(s);
}
END_TEST

/* ---- tables that were ingested ------------------------------------------------------------------ */

static void ingest(kevo_store *s, const char *key, const char *value) {
    kevo_ingest *g;
    ck_ok(kevo_ingest_new(s, &g, &test_err));
    ck_ok(kevo_ingest_put(g, kv_slice(key), kv_slice(value), &test_err));
    ck_ok(kevo_ingest_finish(g, NULL, &test_err));
    kevo_ingest_free(g);
}

START_TEST(ingested_tables_keep_their_age) {
    kevo_store *s = kv_open(&options);
    kv_put(s, "a", "1");
    ck_ok(kevo_flush(s, &test_err));
    kv_put(s, "b", "1");
    ingest(s, "a", "2");
    struct kevo_commit last = kevo_last_commit(s);
    kevo_close(s);
    ck_ok(repair());
    ck_assert_uint_eq(report.last_commit.batch, last.batch);
    expect("a=2 b=1");
    lose("MANIFEST"); /* the log tells */
    ck_ok(repair());
    expect("a=2 b=1");
    lose("000002.wal");
    ck_ok(repair()); /* nobody tells */
    ck_assert_ptr_nonnull(strstr(notes, "nobody knows when"));
    expect("a=1");
}
END_TEST

/* The record of an ingested batch is lost, but its tables are not: readers see them. */
START_TEST(ingested_tables_without_their_record) {
    kevo_store *s = kv_open(&options);
    kv_put(s, "a", "1");
    ck_ok(kevo_flush(s, &test_err));
    kv_put(s, "b", "1");
    ingest(s, "a", "2");
    struct kevo_commit last = kevo_last_commit(s);
    kevo_close(s);
    flip("000002.wal", 512 + 512 + 58, 1);
    ck_ok(repair());
    ck_assert_uint_gt(report.last_commit.batch, last.batch);
    expect("a=2 b=1");
    lose("000002.wal");
    ck_ok(repair());
    ck_assert_uint_gt(report.last_commit.batch, last.batch);
    expect("a=2");
}
END_TEST

/* Without a manifest batches of the log that are older than an ingested one are merged with the
 * tables, deletions of ranges too. */
START_TEST(a_range_deleted_before_tables_were_ingested) {
    kevo_store *s = kv_open(&options);
    kv_put(s, "a", "1");
    kv_put(s, "b", "1");
    ck_ok(kevo_flush(s, &test_err));
    ck_ok(kevo_delete_range(s, kv_slice("b"), kv_slice("c"), &test_err));
    ingest(s, "x", "2");
    kevo_close(s);
    lose("MANIFEST");
    ck_ok(repair());
    expect("a=1 x=2");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("repair");
    TCase *tc = tcase_create("repair");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, of_a_sound_store);
    tcase_add_test(tc, of_an_empty_store);
    tcase_add_test(tc, of_a_store_that_may_only_be_read);
    tcase_add_test(tc, of_nothing);
    tcase_add_loop_test(tc, without_a_manifest, 0, 4);
    tcase_add_test(tc, orphans_do_not_count);
    tcase_add_test(tc, one_block_of_a_table);
    tcase_add_loop_test(tc, the_rest_of_a_table, 0, 4);
    tcase_add_test(tc, half_a_table);
    tcase_add_test(tc, a_record_of_the_log);
    tcase_add_loop_test(tc, a_segment_of_the_log, 0, 2);
    tcase_add_loop_test(tc, records_that_cannot_be, 0, 5);
    tcase_add_test(tc, for_an_authority_elsewhere);
    tcase_add_test(tc, cut_batches_do_not_come_back);
    tcase_add_test(tc, batches_cut_twice_do_not_come_back);
    tcase_add_test(tc, ingested_tables_keep_their_age);
    tcase_add_test(tc, ingested_tables_without_their_record);
    tcase_add_test(tc, a_range_deleted_before_tables_were_ingested);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
