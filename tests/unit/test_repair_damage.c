/* A repair of files in which any byte is damaged or cannot be read, and one that fails itself. */
#include "tests/lib/repair_store.h"

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
    unsigned rows = kv_count(s, NULL);
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
    struct buf whole = files_read(memory, path_of(files[_i].name));
    for (uint64_t size = 0; size < whole.len; size += 7) {
        cut(files[_i].name, size);
        ck_ok(repair());
        expect_rows(files[_i].a, files[_i].b, files[_i].c);
        drop_new();
        files_write(memory, path_of(files[_i].name), buf_slice(&whole));
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
    Suite *suite = suite_create("repair_damage");
    TCase *tc = tcase_create("repair_damage");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_sector_of_a_table);
    tcase_add_test(tc, a_sector_of_the_log);
    tcase_add_loop_test(tc, every_byte, 0, FILES);
    tcase_add_loop_test(tc, every_byte_without_a_manifest, 0, FILES - 1);
    tcase_add_loop_test(tc, every_length, 0, FILES);
    tcase_add_test(tc, every_call_fails);
    tcase_add_loop_test(tc, every_allocation_fails, 0, 2);
    tcase_add_test(tc, every_question_is_answered_with_stop);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
