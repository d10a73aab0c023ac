/* One test for each way in which storage engines are known to fail, by its name. Where a class
 * has its test elsewhere, it has this name there:
 *
 *   test_wal_damage.c        every_byte_damaged, torn_at_every_byte, strange_records_are_not_taken
 *   test_store.c             empty_values_are_values, keys_of_64_kb
 *   test_store_processes.c   fork_is_refused
 *   test_system_failures.c   what the system refuses: space, syncs, descriptors
 *   test_scan.c              prefix_ending_in_ff
 *   test_version.c           gets_stop_early: order comes from sequence numbers alone
 *   test_filter.c            false_positives, appends: no false negatives
 *   test_block.c             corrupt_field: lengths of delta keys that overflow
 *   test_table_damage.c      truncated: what a map would raise SIGBUS for is refused when opened
 *   test_store_crash.c       power_lost_anywhere: all of these at every change of the disk
 *   test_store_faults.c      every_call_fails_once and for_good: at every call */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/coding.h"
#include "engine/log/wal.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/crash_env.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

static struct env *disk, *env; /* env: the disk, with faults on demand */
static struct kevo_options options;
static kevo_store *store;

static void setup(void) {
    disk = crash_env_new();
    env = fault_env_new(disk);
    options = kv_options(env);
    store = kv_open(&options);
}

static void teardown(void) {
    kevo_close(store);
    fault_env_free(env);
    crash_env_free(disk);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void reopen(void) {
    kevo_close(store);
    store = kv_open(&options);
}

static void flush(void) {
    ck_ok(kevo_flush(store, &test_err));
}

static void compact(void) {
    ck_ok(kv_compact(store, &test_err));
}

static void put_range(unsigned from, unsigned to) {
    for (unsigned i = from; i < to; i++)
        kv_put_number(store, i, "some value, longer than its key");
}

/* What all keys and values are after the power went now and nothing unsynced is left. */
static const char *dump_after_power_loss(void) {
    struct env *image = crash_env_image(disk, CRASH_DROPPED, 1);
    struct kevo_options o = options;
    o.env = image;
    kevo_store *s = kv_open(&o);
    const char *text = kv_dump(s, NULL);
    kevo_close(s);
    crash_env_free(image);
    return text;
}

/* ---- order on disk ------------------------------------------------------------------ */

START_TEST(directory_is_synced_after_create_and_rename) {
    ck_assert_str_eq(dump_after_power_loss(), ""); /* MANIFEST has its name */
    kv_put(store, "a", "1");
    ck_assert_str_eq(dump_after_power_loss(), "a=1"); /* the first segment has */
    ck_ok(kevo_rotate(store, &test_err));
    kv_put(store, "b", "2");
    ck_assert_str_eq(dump_after_power_loss(), "a=1 b=2"); /* the second one */
    flush();
    ck_assert_str_eq(dump_after_power_loss(), "a=1 b=2"); /* tables */
    compact();
    ck_assert_str_eq(dump_after_power_loss(), "a=1 b=2");
}
END_TEST

/* Keys so long that the manifest, which names the first and last of each table, is written
 * anew before long. */
static void flush_long_key(unsigned i) {
    static char key[20000];
    memset(key, 'k', sizeof key);
    snprintf(key, 8, "%06u", i);
    key[6] = 'k';
    int rc = kevo_put(store, slice_of(key, sizeof key), kv_slice("v"), &test_err);
    if (rc == 0) rc = kevo_flush(store, &test_err);
    if (rc && !crash_env_stopped(disk)) ck_abort_msg("%d, %s", rc, test_err.msg);
}

static uint64_t manifest_bytes(void) {
    struct env_stat st;
    ck_ok(disk->stat(disk, KV_DIR "/MANIFEST", &st, &test_err));
    return st.size_bytes;
}

/* One more key in each image than was acknowledged is possible, one fewer is not. */
static void expect_keys_in_images(unsigned acknowledged) {
    for (int mode = 0; mode < CRASH_MODES; mode++) {
        struct env *image = crash_env_image(disk, (enum crash_mode)mode, harness_seed());
        struct kevo_options o = options;
        kevo_store *running = store;
        o.env = image;
        store = kv_open(&o);
        unsigned n = kv_count(store, NULL);
        if (n != acknowledged && n != acknowledged + 1)
            ck_abort_msg("%u keys of %u are left", n, acknowledged);
        kevo_close(store);
        store = running;
        crash_env_free(image);
    }
}

START_TEST(manifest_is_replaced_atomically) {
    unsigned n = 0;
    uint64_t size;
    /* Once to learn at which flush it is replaced, and by how many changes of the disk. */
    do {
        size = manifest_bytes();
        flush_long_key(n++);
        ck_assert_uint_lt(n, 50);
    } while (manifest_bytes() >= size);
    teardown();
    bool ended = false;
    for (uint64_t changes = 0; !ended; changes++) {
        setup();
        for (unsigned i = 0; i + 1 < n; i++)
            flush_long_key(i);
        crash_env_stop_after(disk, changes);
        flush_long_key(n - 1);
        ended = !crash_env_stopped(disk);
        expect_keys_in_images(ended ? n : n - 1);
        ck_assert(!ended || manifest_bytes() < size);
        teardown();
    }
    setup();
}
END_TEST

/* Else a batch of the new segment could be durable while one before it is lost. */
START_TEST(old_log_is_synced_at_rotation) {
    options.sync = KEVO_SYNC_OFF;
    reopen();
    kv_put(store, "a", "1");
    ck_assert_str_eq(dump_after_power_loss(), "");
    ck_ok(kevo_rotate(store, &test_err));
    ck_assert_str_eq(dump_after_power_loss(), "a=1");
}
END_TEST

/* ---- the log ---------------------------------------------------------------------------- */

static slice log_bytes(const char *path) {
    static uint8_t bytes[1 << 16];
    struct env_file *f;
    size_t got;
    ck_ok(disk->open(disk, path, ENV_READ, 0, &f, &test_err));
    ck_ok(disk->read(disk, f, 0, bytes, sizeof bytes, &got, &test_err));
    disk->close(disk, f);
    return slice_of(bytes, got);
}

/* Offset of the n-th record, 0-based, of the first segment, and where its payload ends. */
static uint64_t find_record(unsigned n, uint64_t *end) {
    struct wal_reader *r;
    struct wal_record record = {.offset = 0};
    struct kevo_options o = options;
    uint8_t uuid[16];
    o.env = disk;
    kevo_store *s = kv_open(&o);
    memcpy(uuid, kevo_store_uuid(s), sizeof uuid);
    kevo_close(s);
    ck_ok(wal_reader_open(disk, KV_DIR, 1, uuid, &r, &test_err));
    for (unsigned i = 0; i <= n; i++)
        ck_ok(wal_reader_next(r, &record, &test_err));
    wal_reader_close(r);
    *end = record.offset + WAL_RECORD_HEADER_BYTES + record.payload.len;
    return record.offset;
}

static void write_log(uint64_t offset, const void *bytes, size_t len) {
    struct env_file *f;
    ck_ok(disk->open(disk, KV_DIR "/000001.wal", ENV_WRITE, 0, &f, &test_err));
    ck_ok(disk->write(disk, f, offset, bytes, len, &test_err));
    disk->close(disk, f);
}

static void flip_log(uint64_t offset) {
    uint8_t byte = (uint8_t)(log_bytes(KV_DIR "/000001.wal").data[offset] ^ 0x40);
    write_log(offset, &byte, 1);
}

/* Only the end is thrown away, not all of the log. */
START_TEST(torn_tail_is_not_corruption) {
    uint64_t end;
    kv_put(store, "a", "1");
    kv_put(store, "b", "2");
    kv_put(store, "c", "3");
    kevo_close(store);
    uint64_t begin = find_record(2, &end);
    uint8_t zeros[512] = {0};
    uint64_t payload = begin + WAL_RECORD_HEADER_BYTES;
    write_log(payload, zeros, (size_t)(end - payload));
    store = kv_open(&options);
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=2");
    ck_assert_uint_gt(kv_stats(store).torn_bytes, 0);
    kv_put(store, "d", "4");
    reopen();
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=2 d=4");
}
END_TEST

/* In front of what had been acknowledged later, damage is told: it loses nothing in silence,
 * wherever in the record it is, the length and the batch id among it. And recovery that fails
 * changes no file. */
START_TEST(corruption_is_not_a_torn_tail) {
    uint64_t end;
    size_t before_len, after_len;
    kv_put(store, "a", "1");
    kv_put(store, "b", "2");
    kv_put(store, "c", "3");
    kevo_close(store);
    uint64_t begin = find_record(1, &end);
    for (uint64_t at = begin; at < end; at++) {
        flip_log(at);
        char *before = kv_contents(disk, &before_len);
        ck_assert_int_eq(kevo_open(KV_DIR, &options, &store, &test_err), KEVO_CORRUPT);
        ck_assert_ptr_nonnull(strstr(test_err.msg, "000001.wal"));
        char *after = kv_contents(disk, &after_len);
        ck_assert(before_len == after_len && memcmp(before, after, after_len) == 0);
        free(before);
        free(after);
        flip_log(at);
    }
    store = kv_open(&options);
    ck_assert_str_eq(kv_dump(store, NULL), "a=1 b=2 c=3");
}
END_TEST

static bool contains(slice bytes, const char *text) {
    size_t len = strlen(text);
    for (size_t i = 0; i + len <= bytes.len; i++)
        if (memcmp(bytes.data + i, text, len) == 0) return true;
    return false;
}

/* A segment that is written over a former one has that one's records behind its end, each of
 * them whole: they are no records of this segment, nor a sign of damage. */
START_TEST(stale_records_of_a_recycled_segment) {
    put_range(0, 50);
    flush(); /* segment 1 is retired */
    kv_put(store, "a", "1");
    ck_ok(kevo_rotate(store, &test_err)); /* segment 3 is made of it */
    kv_delete(store, "000010");
    kv_delete(store, "000045");
    uint64_t batch = kevo_last_commit(store).batch;
    slice log = log_bytes(KV_DIR "/000003.wal");
    ck_assert_msg(contains(log, "000045") && contains(log, "000049"), "nothing is stale");
    for (int mode = 0; mode < CRASH_MODES; mode++) {
        struct env *image = crash_env_image(disk, (enum crash_mode)mode, harness_seed());
        struct kevo_options o = options;
        kevo_store *running = store;
        o.env = image;
        store = kv_open(&o);
        ck_assert_uint_eq(kv_count(store, NULL), 49);
        ck_assert_ptr_null(kv_get(store, NULL, "000045"));
        ck_assert_uint_eq(kevo_last_commit(store).batch, batch);
        kevo_close(store);
        store = running;
        crash_env_free(image);
    }
    reopen();
    kv_put(store, "000045", "back");
    reopen();
    ck_assert_uint_eq(kv_count(store, NULL), 50);
    ck_assert_str_eq(kv_get(store, NULL, "000045"), "back");
}
END_TEST

/* One commit point: whatever is missing of its record, all of the batch is. */
START_TEST(half_a_batch_is_none) {
    uint64_t end;
    kevo_batch *batch;
    kv_put(store, "a", "1");
    ck_ok(kevo_batch_new(&batch, &test_err));
    ck_ok(kevo_batch_put(batch, kv_slice("b"), kv_slice("2"), &test_err));
    ck_ok(kevo_batch_put(batch, kv_slice("c"), kv_slice("3"), &test_err));
    ck_ok(kevo_batch_delete(batch, kv_slice("a"), &test_err));
    ck_ok(kevo_apply_batch(store, batch, NULL, &test_err));
    kevo_batch_free(batch);
    kevo_close(store);
    uint64_t begin = find_record(1, &end);
    for (uint64_t at = begin; at < end; at++) {
        flip_log(at);
        store = kv_open(&options);
        ck_assert_str_eq(kv_dump(store, NULL), "a=1");
        kevo_close(store);
        flip_log(at);
    }
    store = kv_open(&options);
    ck_assert_str_eq(kv_dump(store, NULL), "b=2 c=3");
}
END_TEST

/* Else what was written before would win over what comes after. */
START_TEST(sequence_numbers_do_not_restart) {
    char value[8];
    for (unsigned i = 1; i <= 12; i++) {
        snprintf(value, sizeof value, "%u", i);
        kv_put(store, "a", value);
        uint64_t batch = kevo_last_commit(store).batch;
        if (i % 3 == 0) flush();
        if (i % 6 == 0) compact();
        reopen();
        ck_assert_uint_eq(kevo_last_commit(store).batch, batch);
        ck_assert_str_eq(kv_get(store, NULL, "a"), value);
    }
}
END_TEST

/* ---- tables ------------------------------------------------------------------------------- */

static bool flush_newer(void *arg, uint64_t done_bytes, uint64_t total_bytes) {
    bool *done = arg;
    (void)done_bytes;
    (void)total_bytes;
    if (*done) return false;
    *done = true;
    kv_put_number(store, 1999, "new");
    kv_put(store, "z", "new");
    flush();
    return false;
}

/* The newer value comes into a table with the smaller number: it is flushed while a compaction
 * is at the beginning, and the older one is written at its end. */
START_TEST(order_of_tables_is_not_their_number) {
    bool done = false;
    options.table_bytes = 4096;
    reopen();
    for (unsigned round = 0; round < 2; round++) {
        kv_put(store, "a", "old");
        put_range(0, 2000);
        kv_put(store, "z", "old");
        flush();
    }
    ck_ok(kevo_compact(store, kv_all, kv_all, flush_newer, &done, &test_err));
    ck_assert(done);
    for (unsigned pass = 0; pass < 3; pass++) {
        ck_assert_str_eq(kv_get(store, NULL, "a"), "old");
        ck_assert_str_eq(kv_get(store, NULL, "001999"), "new");
        ck_assert_str_eq(kv_get(store, NULL, "z"), "new");
        struct kevo_read end = {.lower = kv_slice("001999")};
        ck_assert_str_eq(kv_dump(store, &end), "001999=new a=old z=new");
        if (pass == 1) compact();
        reopen();
    }
}
END_TEST

/* Work step by step until there is none. */
static void work(void) {
    int rc;
    while ((rc = kevo_step(store, &test_err)) == 0)
        ;
    ck_assert_int_eq(rc, KEVO_NOTFOUND);
}

/* A tombstone that is merged into a level above older versions must go with it. */
START_TEST(tombstones_live_while_older_versions_lie_deeper) {
    options.l0_trigger = 2;
    options.level1_bytes = 4096;
    options.table_bytes = 4096;
    reopen();
    put_range(0, 3000);
    compact(); /* everything lies at the bottom */
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = round; i < 3000; i += 7) {
            char key[16];
            snprintf(key, sizeof key, "%06u", i);
            kv_delete(store, key);
        }
        flush();
        work(); /* moves part of it down, by far not all */
        unsigned expected = 0;
        for (unsigned i = 0; i < 3000; i++)
            expected += i % 7 > round;
        ck_assert_uint_eq(kv_count(store, NULL), expected);
        reopen();
        ck_assert_uint_eq(kv_count(store, NULL), expected);
    }
    compact();
    ck_assert_uint_eq(kv_count(store, NULL), 3000 / 7);
    ck_assert_uint_eq(kv_stats(store).table_tombstones, 0); /* and not for ever */
}
END_TEST

START_TEST(tombstones_live_while_a_snapshot_needs_them) {
    kv_put(store, "a", "1");
    kevo_snapshot *first = kv_snapshot(store);
    kv_delete(store, "a");
    kevo_snapshot *second = kv_snapshot(store);
    kv_put(store, "a", "2");
    struct kevo_read at_first = {.snapshot = first}, at_second = {.snapshot = second};
    for (unsigned pass = 0; pass < 3; pass++) {
        if (pass == 1) flush();
        if (pass == 2) compact();
        ck_assert_str_eq(kv_dump(store, &at_first), "a=1");
        ck_assert_str_eq(kv_dump(store, &at_second), "");
        ck_assert_str_eq(kv_dump(store, NULL), "a=2");
    }
    kevo_snapshot_free(first);
    kevo_snapshot_free(second);
}
END_TEST

START_TEST(flush_keeps_tombstones) {
    kv_put(store, "a", "1");
    flush();
    kv_delete(store, "a");
    flush();
    ck_assert_str_eq(kv_dump(store, NULL), "");
    reopen();
    ck_assert_ptr_null(kv_get(store, NULL, "a"));
}
END_TEST

/* Each step in a table of its own, or two in one, in every mixture. */
START_TEST(put_delete_put_across_flushes) {
    for (unsigned mixture = 0; mixture < 16; mixture++) {
        kv_put(store, "a", "1");
        if (mixture & 1) flush();
        kv_delete(store, "a");
        if (mixture & 2) flush();
        ck_assert_str_eq(kv_dump(store, NULL), "");
        ck_assert_ptr_null(kv_get(store, NULL, "a"));
        kv_put(store, "a", "2");
        if (mixture & 4) flush();
        if (mixture & 8) compact();
        ck_assert_str_eq(kv_dump(store, NULL), "a=2");
        ck_assert_str_eq(kv_get(store, NULL, "a"), "2");
        kv_delete(store, "a");
    }
}
END_TEST

/* Blocks of one entry or a few: between the last key of a block and the first of the next one
 * is where a search for "the first block whose first key is not smaller" goes wrong. */
START_TEST(seek_past_a_blocks_last_key) {
    options.block_bytes = 64;
    reopen();
    for (unsigned i = 0; i < 500; i++)
        kv_put_number(store, i * 10, "value");
    compact();
    kevo_iter *it = kv_iter(store, NULL);
    for (unsigned i = 0; i < 4990; i++) {
        char key[16], expected[32];
        snprintf(key, sizeof key, "%06u", i);
        snprintf(expected, sizeof expected, "%06u=value", (i + 9) / 10 * 10);
        must(kevo_iter_seek(it, kv_slice(key), &test_err));
        if (strcmp(kv_entry(it), expected) != 0)
            ck_abort_msg("sought %s, found %s", key, kv_entry(it));
        snprintf(expected, sizeof expected, "%06u=value", i / 10 * 10);
        must(kevo_iter_seek_for_prev(it, kv_slice(key), &test_err));
        if (strcmp(kv_entry(it), expected) != 0)
            ck_abort_msg("sought back from %s, found %s", key, kv_entry(it));
    }
    kevo_iter_free(it);
}
END_TEST

START_TEST(filters_are_consulted) {
    struct kevo_value v;
    for (unsigned i = 0; i < 2000; i++)
        kv_put_number(store, i * 2, "value");
    compact();
    for (unsigned i = 0; i < 2000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%06u", i * 2 + (i < 1000)); /* half of them are there */
        ck_assert_int_eq(kevo_get(store, NULL, kv_slice(key), &v, &test_err),
                         i < 1000 ? KEVO_NOTFOUND : 0);
        kevo_value_release(&v);
    }
    struct kevo_stats s = kv_stats(store);
    ck_assert_uint_eq(s.filter_checks, 2000);
    ck_assert_uint_gt(s.filter_rejects, 950); /* at ten bits a key one in a hundred passes */
    ck_assert_uint_le(s.filter_rejects, 1000);
}
END_TEST

/* ---- what outlives what, and what does not --------------------------------------------------- */

START_TEST(iterators_outlive_compaction) {
    put_range(0, 1000);
    flush();
    kevo_iter *forward = kv_iter(store, NULL), *backward = kv_iter(store, NULL);
    ck_ok(kevo_iter_first(forward, &test_err));
    ck_ok(kevo_iter_last(backward, &test_err));
    for (unsigned i = 0; i < 1000; i++) {
        char key[16];
        if (i % 250 == 0) {
            put_range(0, 1000);
            if (i % 500 == 0) flush();
            compact(); /* removes the tables that both stand in */
        }
        snprintf(key, sizeof key, "%06u", i);
        ck_assert(slice_eq(kevo_iter_key(forward), kv_slice(key)));
        snprintf(key, sizeof key, "%06u", 999 - i);
        ck_assert(slice_eq(kevo_iter_key(backward), kv_slice(key)));
        must(kevo_iter_next(forward, &test_err));
        must(kevo_iter_prev(backward, &test_err));
    }
    ck_assert(!kevo_iter_valid(forward) && !kevo_iter_valid(backward));
    ck_assert_uint_gt(kv_files(disk, ".sst"), kv_tables(store));
    kevo_iter_free(forward);
    kevo_iter_free(backward);
    ck_assert_uint_eq(kv_files(disk, ".sst"), kv_tables(store)); /* files go with the last reader */
}
END_TEST

START_TEST(iterators_outlive_rollback) {
    put_range(0, 10);
    kevo_txn *txn = kv_txn(store);
    kv_txn_put(txn, "000003x", "mine");
    struct kevo_read read = {.txn = txn};
    kevo_iter *it = kv_iter(store, &read);
    ck_ok(kevo_iter_seek(it, kv_slice("000003x"), &test_err));
    ck_assert_str_eq(kv_entry(it), "000003x=mine");
    kevo_txn_rollback(txn);
    kevo_txn_unref(txn); /* the iterator has a reference of its own */
    ck_ok(kevo_iter_next(it, &test_err));
    ck_assert(slice_eq(kevo_iter_key(it), kv_slice("000004")));
    ck_ok(kevo_iter_prev(it, &test_err));
    ck_assert(slice_eq(kevo_iter_key(it), kv_slice("000003")));
    kevo_iter_free(it);
}
END_TEST

/* Whatever was open, when it is closed nothing holds old versions back. */
START_TEST(snapshots_do_not_leak) {
    kevo_snapshot *snaps[20];
    for (unsigned i = 0; i < 20; i++) {
        kv_put(store, "a", "x");
        snaps[i] = kv_snapshot(store);
        kevo_txn *txn = kv_txn(store);
        struct kevo_read read = {.snapshot = snaps[i], .txn = txn};
        kevo_iter_free(kv_iter(store, &read));
        kevo_txn_unref(txn);
    }
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 20);
    ck_assert_uint_eq(kv_stats(store).oldest_snapshot, 1);
    compact();
    ck_assert_uint_eq(kv_stats(store).table_entries, 20);
    for (unsigned i = 0; i < 20; i++)
        kevo_snapshot_free(snaps[(i * 7) % 20]);
    ck_assert_uint_eq(kv_stats(store).snapshot_count, 0);
    ck_assert_uint_eq(kv_stats(store).oldest_snapshot, kv_stats(store).last_batch);
    kv_put(store, "a", "x"); /* something to merge */
    compact();
    ck_assert_uint_eq(kv_stats(store).table_entries, 1);
}
END_TEST

START_TEST(memtables_are_freed) {
    uint64_t blocks = 0;
    struct env *memory = env_memory_new(); /* the other one remembers files that are gone */
    ck_assert_ptr_nonnull(memory);
    options.env = memory;
    options.cache_bytes = 0;
    reopen();
    for (unsigned round = 0; round < 20; round++) {
        put_range(0, 500);
        kevo_iter *it = kv_iter(store, NULL); /* keeps the memtable, for now */
        ck_ok(kevo_rotate(store, &test_err));
        compact();
        kevo_iter_free(it);
        struct kevo_stats s = kv_stats(store);
        ck_assert_uint_eq(s.immutable_count, 0);
        ck_assert_uint_lt(s.memtable_used_bytes, 64 << 10);
        if (round == 0) blocks = fault_alloc_live();
        ck_assert_uint_eq(fault_alloc_live(), blocks);
    }
    options.env = env;
    reopen();
    env_memory_free(memory);
}
END_TEST

/* ---- bounds ------------------------------------------------------------------------------------ */

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Read entry after entry of a queue whose head was deleted: with bounds none of the reads walks
 * the tombstones. Would each of them, that were 5 x 10^9 steps. */
START_TEST(tombstone_runs_are_not_quadratic) {
    enum { N = 100000 };
    char key[16], end[16];
    options.memtable_bytes = 64 << 20;
    options.sync = KEVO_SYNC_OFF;
    reopen();
    for (unsigned i = 0; i < N; i++) {
        snprintf(key, sizeof key, "%06u", i);
        must(kevo_delete(store, kv_slice(key), &test_err));
    }
    if (_i) flush();
    double begin = cpu_seconds();
    for (unsigned i = 0; i < N; i += 2) {
        snprintf(key, sizeof key, "%06u", i);
        snprintf(end, sizeof end, "%06u", i + 1);
        struct kevo_read read = {.lower = kv_slice(key), .upper = kv_slice(end)};
        kevo_iter *it = kv_iter(store, &read);
        must(kevo_iter_first(it, &test_err));
        if (kevo_iter_valid(it)) ck_abort_msg("%s lives", key);
        must(kevo_iter_last(it, &test_err));
        kevo_iter_free(it);
    }
    ck_assert_msg(cpu_seconds() - begin < 20, "%.1f s", cpu_seconds() - begin);
}
END_TEST

/* The cache has what is its own, and of what is lent to it, as much again, what memtables leave. */
static void check_cache(void) {
    struct kevo_stats s = kv_stats(store);
    uint64_t taken = s.memtable_used_bytes, lent = options.cache_bytes;
    ck_assert_uint_le(s.cache_used_bytes, s.cache_limit_bytes);
    ck_assert_uint_ge(s.cache_limit_bytes, options.cache_bytes);
    ck_assert_uint_le(s.cache_limit_bytes, options.cache_bytes + (taken < lent ? lent - taken : 0));
}

/* Memtables and cache stay within what the options allow, however much is written and read: a
 * memtable is full within a chunk that may be as large as all before it. */
START_TEST(memory_is_bounded) {
    options.memtable_bytes = 128 << 10;
    options.memtable_count = 3;
    options.cache_bytes = 128 << 10;
    options.sync = KEVO_SYNC_OFF;
    options.background = _i;
    reopen();
    for (unsigned i = 0; i < 30000; i++) {
        kv_put_number(store, i * 7919 % 30000, "a value of about forty bytes, give or take");
        if (i % 100) continue;
        struct kevo_stats s = kv_stats(store);
        ck_assert_uint_lt(s.memtable_used_bytes, 2 * 3 * 128 << 10);
        check_cache();
    }
    ck_assert_uint_eq(kv_count(store, NULL), 30000);
    check_cache();
    flush();
    compact();
    ck_assert_uint_eq(kv_count(store, NULL), 30000);
    ck_assert_uint_gt(kv_stats(store).cache_limit_bytes, options.cache_bytes);
    check_cache();
}
END_TEST

START_TEST(compaction_catches_up) {
    options.memtable_bytes = 16 << 10;
    options.sync = KEVO_SYNC_OFF;
    options.l0_trigger = 3;
    options.l0_slow = options.l0_stop = 8;
    options.background = _i;
    reopen();
    put_range(0, 5000);
    struct kevo_stats s;
    unsigned rounds = 0;
    do {
        if (!_i) work();
        usleep(1000);
        s = kv_stats(store);
    } while ((s.table_count[0] >= 3 || s.immutable_count) && ++rounds < 20000);
    ck_assert_uint_lt(s.table_count[0], 3);
    ck_assert_uint_lt(s.stall.max_ns, 5000000000u);
    ck_assert_uint_eq(kv_count(store, NULL), 5000);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("failure_classes");

    TCase *order = tcase_create("order on disk");
    tcase_add_checked_fixture(order, setup, teardown);
    tcase_set_timeout(order, 120);
    tcase_add_test(order, directory_is_synced_after_create_and_rename);
    tcase_add_test(order, manifest_is_replaced_atomically);
    tcase_add_test(order, old_log_is_synced_at_rotation);
    suite_add_tcase(suite, order);

    TCase *log = tcase_create("log");
    tcase_add_checked_fixture(log, setup, teardown);
    tcase_set_timeout(log, 120);
    tcase_add_test(log, torn_tail_is_not_corruption);
    tcase_add_test(log, corruption_is_not_a_torn_tail);
    tcase_add_test(log, stale_records_of_a_recycled_segment);
    tcase_add_test(log, half_a_batch_is_none);
    tcase_add_test(log, sequence_numbers_do_not_restart);
    suite_add_tcase(suite, log);

    TCase *tables = tcase_create("tables");
    tcase_add_checked_fixture(tables, setup, teardown);
    tcase_set_timeout(tables, 120);
    tcase_add_test(tables, order_of_tables_is_not_their_number);
    tcase_add_test(tables, tombstones_live_while_older_versions_lie_deeper);
    tcase_add_test(tables, tombstones_live_while_a_snapshot_needs_them);
    tcase_add_test(tables, flush_keeps_tombstones);
    tcase_add_test(tables, put_delete_put_across_flushes);
    tcase_add_test(tables, seek_past_a_blocks_last_key);
    tcase_add_test(tables, filters_are_consulted);
    suite_add_tcase(suite, tables);

    TCase *lives = tcase_create("lifetimes");
    tcase_add_checked_fixture(lives, setup, teardown);
    tcase_set_timeout(lives, 120);
    tcase_add_test(lives, iterators_outlive_compaction);
    tcase_add_test(lives, iterators_outlive_rollback);
    tcase_add_test(lives, snapshots_do_not_leak);
    tcase_add_test(lives, memtables_are_freed);
    suite_add_tcase(suite, lives);

    TCase *bounds = tcase_create("bounds");
    tcase_add_checked_fixture(bounds, setup, teardown);
    tcase_set_timeout(bounds, 240);
    tcase_add_loop_test(bounds, tombstone_runs_are_not_quadratic, 0, 2);
    tcase_add_loop_test(bounds, memory_is_bounded, 0, 2);
    tcase_add_loop_test(bounds, compaction_catches_up, 0, 2);
    suite_add_tcase(suite, bounds);

    return harness_run(suite);
}
