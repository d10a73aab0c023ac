#include "engine/kevo.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/coding.h"
#include "engine/log/wal.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

#define NEW "/new"

static struct env *memory, *env;
static struct kevo_options options;
static struct kevo_repair_report report;
static char notes[8192];

static void take_note(void *arg, const char *text) {
    (void)arg;
    size_t at = strlen(notes);
    snprintf(notes + at, sizeof notes - at, "%s\n", text);
}

static void setup(void) {
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    env = fault_env_new(memory);
    options = kv_options(env);
    options.block_bytes = 64;
    options.memtable_bytes = 64 << 10;
    notes[0] = 0;
}

static void teardown(void) {
    fault_env_free(env);
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static int repair(void) {
    report = (struct kevo_repair_report){.note = take_note};
    notes[0] = 0;
    return kevo_repair(KV_DIR, NEW, &options, &report, &test_err);
}

/* The repaired store, opened, verified, and able to go on. */
static kevo_store *repaired(void) {
    kevo_store *s;
    struct kevo_options o = options;
    o.create_if_missing = false;
    ck_ok(kevo_open(NEW, &o, &s, &test_err));
    ck_ok(kevo_verify(s, &test_err));
    return s;
}

static void drop_new(void) {
    ck_ok(kevo_destroy(NEW, &options, &test_err));
}

static void expect(const char *dump) {
    kevo_store *s = repaired();
    ck_assert_str_eq(kv_dump(s, NULL), dump);
    if (options.authority == KEVO_AUTHORITY_SELF) {
        kv_put(s, "zz", "more");
        ck_ok(kv_compact(s, &test_err));
        kv_delete(s, "zz");
        ck_assert_str_eq(kv_dump(s, NULL), dump);
    }
    kevo_close(s);
    drop_new();
}

/* ---- files ------------------------------------------------------------------------------ */

static const char *path_of(const char *name) {
    static char path[ENV_PATH_MAX];
    snprintf(path, sizeof path, KV_DIR "/%s", name);
    return path;
}

static struct buf read_file(const char *name) {
    struct env_file *f;
    struct buf b = {0};
    uint64_t size;
    must(memory->open(memory, path_of(name), ENV_READ, 0, &f, &test_err));
    must(memory->size(memory, f, &size, &test_err));
    if (!buf_reserve(&b, size + 1)) abort();
    must(memory->read(memory, f, 0, b.data, size, &b.len, &test_err));
    memory->close(memory, f);
    return b;
}

static void write_file(const char *name, slice bytes) {
    struct env_file *f;
    must(memory->open(memory, path_of(name), ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, 0600, &f,
                      &test_err));
    if (bytes.len) must(memory->write(memory, f, 0, bytes.data, bytes.len, &test_err));
    memory->close(memory, f);
}

static void flip(const char *name, uint64_t offset, uint8_t mask) {
    struct env_file *f;
    uint8_t byte;
    size_t got;
    must(memory->open(memory, path_of(name), ENV_READ | ENV_WRITE, 0, &f, &test_err));
    must(memory->read(memory, f, offset, &byte, 1, &got, &test_err));
    byte ^= mask;
    must(memory->write(memory, f, offset, &byte, 1, &test_err));
    memory->close(memory, f);
}

static uint64_t size_of(const char *name) {
    struct env_stat st;
    must(memory->stat(memory, path_of(name), &st, &test_err));
    return st.size_bytes;
}

static void cut(const char *name, uint64_t size) {
    struct env_file *f;
    must(memory->open(memory, path_of(name), ENV_WRITE, 0, &f, &test_err));
    must(memory->truncate(memory, f, size, &test_err));
    memory->close(memory, f);
}

/* Where a table's index lies: its footer says it. */
static uint64_t index_of(const char *name) {
    struct buf b = read_file(name);
    uint64_t offset = get_fixed64(b.data + b.len - 128 + 32);
    buf_release(&b);
    ck_assert_uint_lt(offset, size_of(name));
    return offset;
}

static void lose(const char *name) {
    ck_ok(memory->unlink(memory, path_of(name), &test_err));
}

/* ---- a store with something everywhere ------------------------------------------------------ */

enum { ROWS = 12 };

static void put_rows(kevo_store *s, char group) {
    for (unsigned i = 0; i < ROWS; i++) {
        char key[8], value[40];
        snprintf(key, sizeof key, "%c%02u", group, i);
        snprintf(value, sizeof value, "the value of row %c%02u, %08u", group, i, i * 1234567);
        kv_put(s, key, value);
    }
}

static char table_a[16], table_b[16]; /* names */

static int see_table(void *arg, const char *name) {
    (void)arg;
    if (!strstr(name, ".sst")) return 0;
    snprintf(table_a[0] ? table_b : table_a, sizeof table_a, "%s", name);
    return 0;
}

/* a and b in tables of their own, in different levels, c in the log. */
static void make_store(void) {
    kevo_store *s = kv_open(&options);
    put_rows(s, 'a');
    ck_ok(kv_compact(s, &test_err));
    put_rows(s, 'b');
    ck_ok(kevo_flush(s, &test_err));
    put_rows(s, 'c');
    kevo_close(s);
    table_a[0] = table_b[0] = 0;
    ck_ok(memory->list(memory, KV_DIR, see_table, NULL, &test_err));
    ck_assert_int_lt(strcmp(table_a, table_b), 0);
}

/* How many rows of a group are there; each is as it was written. */
static unsigned rows_in(kevo_store *s, char group) {
    char first[2] = {group, 0}, end[2] = {(char)(group + 1), 0};
    struct kevo_read read = {.lower = kv_slice(first), .upper = kv_slice(end)};
    kevo_iter *it = kv_iter(s, &read);
    unsigned count = 0;
    must(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); count++) {
        char value[40];
        slice k = kevo_iter_key(it);
        ck_assert_uint_eq(k.len, 3);
        unsigned i = (unsigned)(k.data[1] - '0') * 10 + k.data[2] - '0';
        ck_assert_uint_lt(i, ROWS);
        snprintf(value, sizeof value, "the value of row %c%02u, %08u", group, i, i * 1234567);
        if (!slice_eq(kevo_iter_value(it), kv_slice(value))) ck_abort_msg("a row was invented");
        must(kevo_iter_next(it, &test_err));
    }
    kevo_iter_free(it);
    return count;
}

static unsigned rows_in_all(kevo_store *s) {
    unsigned count = 0;
    kevo_iter *it = kv_iter(s, NULL);
    must(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); count++)
        must(kevo_iter_next(it, &test_err));
    kevo_iter_free(it);
    return count;
}

/* The rows that were saved: at least these of each group, and no others. */
static void expect_rows(unsigned a, unsigned b, unsigned c) {
    kevo_store *s = repaired();
    unsigned x = rows_in(s, 'a'), y = rows_in(s, 'b'), z = rows_in(s, 'c');
    if (x < a || y < b || z < c) ck_abort_msg("%u, %u and %u rows: %s", x, y, z, notes);
    ck_assert_uint_eq(rows_in_all(s), x + y + z);
    kevo_close(s);
}

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
    write_file("LOCK", kv_slice("whoever"));
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
    write_file("LOCK", kv_slice(""));
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
    struct buf segment = read_file("000001.wal");
    ck_ok(kevo_flush(s, &test_err));
    struct buf orphan = read_file("000001.sst");
    kv_delete(s, "a");
    ck_ok(kv_compact(s, &test_err));
    kevo_close(s);
    write_file("000001.sst", buf_slice(&orphan));
    write_file("000001.wal", buf_slice(&segment));
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

/* ---- sectors that cannot be read ------------------------------------------------------------------ */

static int (*plain_open)(struct env *, const char *, unsigned, unsigned, struct env_file **,
                         struct kevo_err *);
static int (*plain_read)(struct env *, struct env_file *, uint64_t, void *, size_t, size_t *,
                         struct kevo_err *);
static int (*plain_map)(struct env *, struct env_file *, uint64_t, const uint8_t **,
                        struct kevo_err *);
static struct {
    const char *name;
    struct env_file *file;
    uint64_t offset;
} bad; /* a sector */

static int open_bad(struct env *e, const char *path, unsigned flags, unsigned mode,
                    struct env_file **file, struct kevo_err *err) {
    int rc = plain_open(e, path, flags, mode, file, err);
    if (rc) return rc;
    if (strcmp(path, path_of(bad.name)) == 0)
        bad.file = *file;
    else if (bad.file == *file)
        bad.file = NULL; /* that one was closed */
    return 0;
}

static int read_bad(struct env *e, struct env_file *file, uint64_t offset, void *data, size_t len,
                    size_t *got, struct kevo_err *err) {
    *got = 0;
    if (file == bad.file && bad.offset < offset + len && offset < bad.offset + 512)
        return KEVO_IOERR;
    return plain_read(e, file, offset, data, len, got, err);
}

/* Reading it through a map would be the end. */
static int map_bad(struct env *e, struct env_file *file, uint64_t size, const uint8_t **data,
                   struct kevo_err *err) {
    ck_assert_ptr_ne(file, bad.file);
    return plain_map(e, file, size, data, err);
}

static void expect_bad_sector(const char *name, uint64_t offset) {
    plain_open = env->open;
    plain_read = env->read;
    plain_map = env->map;
    bad.name = name;
    bad.offset = offset;
    bad.file = NULL;
    env->open = open_bad;
    env->read = read_bad;
    env->map = map_bad;
    ck_ok(repair());
    env->open = plain_open;
    env->read = plain_read;
    env->map = plain_map;
    ck_assert_ptr_nonnull(strstr(notes, "bytes cannot be read"));
    ck_assert_ptr_nonnull(strstr(notes, name));
}

START_TEST(a_sector_of_a_table) {
    kevo_store *s = kv_open(&options);
    enum { MANY = 1000 };
    for (unsigned i = 0; i < MANY; i++) {
        char key[8];
        snprintf(key, sizeof key, "%05u", i);
        kv_put(s, key, key);
    }
    ck_ok(kevo_flush(s, &test_err));
    kevo_close(s);
    table_a[0] = 0;
    ck_ok(memory->list(memory, KV_DIR, see_table, NULL, &test_err));
    ck_assert_uint_gt(index_of(table_a), 3 * 4096);
    expect_bad_sector(table_a, 5000);
    ck_assert_uint_eq(report.tables_lost, 0);
    ck_assert_uint_gt(report.blocks_lost, 1);
    s = repaired();
    unsigned rows = rows_in_all(s);
    ck_assert_uint_ge(rows, MANY / 4);
    ck_assert_uint_lt(rows, MANY);
    ck_assert_uint_eq(rows, report.entries_salvaged);
    kevo_close(s);
}
END_TEST

START_TEST(a_sector_of_the_log) {
    make_store();
    kevo_store *s = kv_open(&options);
    for (unsigned i = 0; i < 40; i++)
        put_rows(s, 'c');
    kevo_close(s);
    expect_bad_sector("000003.wal", 8192);
    ck_assert_uint_ge(report.log_gaps, 1);
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

/* ---- every byte ------------------------------------------------------------------------------------- */

static void damage_each_byte(const char *name, uint8_t mask, unsigned a, unsigned b, unsigned c) {
    uint64_t size = size_of(name), step = harness_count("KEVO_STRIDE", 3);
    for (uint64_t at = rng_below(&(struct rng){harness_seed() + mask}, step); at < size;
         at += step) {
        flip(name, at, mask);
        int rc = repair();
        if (rc) ck_abort_msg("%s, byte %llu: %s", name, (unsigned long long)at, test_err.msg);
        expect_rows(a, b, c);
        drop_new();
        flip(name, at, mask);
    }
}

static const struct {
    const char *name;
    unsigned a, b, c; /* rows that must be there at least */
} files[] = {
    {table_a, 0, ROWS, ROWS},
    {table_b, ROWS, 0, ROWS},
    {"000003.wal", ROWS, ROWS, 0},
    {"MANIFEST", ROWS, ROWS, ROWS},
};
enum { FILES = sizeof files / sizeof files[0] };

START_TEST(every_byte) {
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    make_store();
    damage_each_byte(files[_i].name, masks[harness_seed() % 3], files[_i].a, files[_i].b,
                     files[_i].c);
}
END_TEST

/* The same without a manifest: nothing is invented then either. */
START_TEST(every_byte_without_a_manifest) {
    make_store();
    lose("MANIFEST");
    damage_each_byte(files[_i].name, 0xff, files[_i].a, files[_i].b, files[_i].c);
}
END_TEST

START_TEST(every_length) {
    make_store();
    struct buf whole = read_file(files[_i].name);
    for (uint64_t size = 0; size < whole.len; size += 7) {
        cut(files[_i].name, size);
        ck_ok(repair());
        expect_rows(files[_i].a, files[_i].b, files[_i].c);
        drop_new();
        write_file(files[_i].name, buf_slice(&whole));
    }
    buf_release(&whole);
}
END_TEST

/* ---- faults ------------------------------------------------------------------------------------------- */

static bool is_store(void) {
    struct kevo_options o = options;
    kevo_store *s;
    o.create_if_missing = false;
    int rc = kevo_open(NEW, &o, &s, &test_err);
    if (rc) ck_assert_int_eq(rc, KEVO_CANTOPEN);
    kevo_close(s);
    return rc == 0;
}

/* A file that the system does not let read is a lost one, and the report says so; anything
 * else ends the repair. */
START_TEST(every_call_fails) {
    make_store();
    for (uint64_t n = 1;; n++) {
        fault_env_plan(env, (struct fault_plan){.kinds = FAULT_ALL, .nth = n});
        int rc = repair();
        bool hit = fault_env_hit(env);
        fault_env_plan(env, (struct fault_plan){.nth = 0});
        if (rc) ck_assert_int_eq(rc, KEVO_IOERR);
        ck_assert(is_store() == (rc == 0));
        if (rc == 0) {
            expect_rows(0, 0, 0);
            if (report.notes == 0) expect_rows(ROWS, ROWS, ROWS);
            drop_new();
        }
        if (!hit) break;
        ck_assert_uint_lt(n, 1000);
    }
}
END_TEST

START_TEST(every_allocation_fails) {
    make_store();
    if (_i) flip(table_a, size_of(table_a) - 1, 1);
    for (uint64_t n = 1;; n++) {
        fault_alloc_fail_at(n, false);
        int rc = repair();
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (rc) ck_assert_int_eq(rc, KEVO_NOMEM);
        ck_assert(is_store() == (rc == 0));
        if (rc == 0) expect_rows(ROWS, ROWS, ROWS);
        if (rc == 0) drop_new();
        if (!hit) break;
    }
}
END_TEST

static bool count_down(void *left) {
    return (*(unsigned *)left)-- == 0;
}

START_TEST(every_question_is_answered_with_stop) {
    make_store();
    for (unsigned n = 0;; n++) {
        unsigned left = n;
        report = (struct kevo_repair_report){.cancelled = count_down, .cancelled_arg = &left};
        int rc = kevo_repair(KV_DIR, NEW, &options, &report, &test_err);
        ck_assert(is_store() == (rc == 0));
        if (rc == 0) {
            ck_assert_uint_gt(n, 2); /* two tables and a merge */
            break;
        }
        ck_assert_int_eq(rc, KEVO_CANCELLED);
    }
    expect_rows(ROWS, ROWS, ROWS);
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
    tcase_add_test(tc, a_sector_of_a_table);
    tcase_add_test(tc, a_sector_of_the_log);
    tcase_add_test(tc, for_an_authority_elsewhere);
    tcase_add_test(tc, cut_batches_do_not_come_back);
    tcase_add_test(tc, batches_cut_twice_do_not_come_back);
    tcase_add_test(tc, ingested_tables_keep_their_age);
    tcase_add_test(tc, ingested_tables_without_their_record);
    tcase_add_test(tc, a_range_deleted_before_tables_were_ingested);
    tcase_add_loop_test(tc, every_byte, 0, FILES);
    tcase_add_loop_test(tc, every_byte_without_a_manifest, 0, FILES - 1);
    tcase_add_loop_test(tc, every_length, 0, FILES);
    tcase_add_test(tc, every_call_fails);
    tcase_add_loop_test(tc, every_allocation_fails, 0, 2);
    tcase_add_test(tc, every_question_is_answered_with_stop);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
