/* Tables whose bytes are wrong, and tables made while calls fail. */
#include <stdlib.h>

#include "engine/base/coding.h"
#include "engine/table/table_format.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/files.h"
#include "tests/lib/one_table.h"

/* ---- damage -------------------------------------------------------------------- */

/* A small table, closed, and its bytes. */
static void make_small(struct one_table *o, struct iter_suite_set **set, struct buf *bytes,
                       int compression) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 30;
    shape.max_key_bytes = 20;
    shape.max_value_bytes = 40;
    *set = iter_suite_random(&rng, &shape);
    struct table_writer_options options = table_options(200, compression, 10);
    one_table_init(o, *set, &options, 1 << 20);
    table_close(o->table);
    o->table = NULL;
    *bytes = files_read(o->env, ONE_TABLE_PATH);
    ck_assert_uint_eq(bytes->len, o->summary.file_bytes);
}

/* All entries from each one on, counted. */
static int check_counts(struct table *t, const struct iter_suite_set *set) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < set->count; i += 7) {
        slice key = set->entries[i].key;
        uint64_t count, before = 0;
        while (before < i && slice_cmp(set->entries[before].key, key) < 0)
            before++;
        rc = table_count(t, key, slice_of(NULL, 0), &count, &test_err);
        if (rc == 0) ck_assert_uint_eq(count, set->count - before);
    }
    return rc;
}

/* Right answers or KEVO_CORRUPT naming the file. */
static void expect_right_or_corrupt(struct one_table *o, const struct iter_suite_set *set) {
    int rc = one_table_open(o);
    if (rc == 0) {
        int results[] = {check_gets(o->table, o->cache, set, false),
                         check_scans(o->table, set, true), check_scans(o->table, set, false),
                         check_counts(o->table, set), table_verify(o->table, &test_err)};
        for (size_t i = 0; i < sizeof results / sizeof *results; i++)
            if (results[i]) rc = results[i];
        table_close(o->table);
        o->table = NULL;
    }
    if (rc && (rc != KEVO_CORRUPT || !strstr(test_err.msg, ONE_TABLE_PATH)))
        ck_abort_msg("%d, %s", rc, test_err.msg);
}

START_TEST(damaged_byte) {
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    struct one_table o;
    struct iter_suite_set *set;
    struct buf bytes;
    make_small(&o, &set, &bytes, _i);
    for (size_t i = 0; i < bytes.len; i++) {
        for (size_t k = 0; k < sizeof masks; k++) {
            bytes.data[i] ^= masks[k];
            files_write(o.env, ONE_TABLE_PATH, buf_slice(&bytes));
            expect_right_or_corrupt(&o, set);
            bytes.data[i] ^= masks[k];
        }
    }
    buf_release(&bytes);
    one_table_release(&o);
    iter_suite_free(set);
}
END_TEST

START_TEST(truncated) {
    struct one_table o;
    struct iter_suite_set *set;
    struct buf bytes;
    make_small(&o, &set, &bytes, 1);
    uint64_t whole = bytes.len;
    for (uint64_t len = 0; len < whole; len++) {
        files_write(o.env, ONE_TABLE_PATH, slice_of(bytes.data, len));
        o.summary.file_bytes = whole;
        ck_assert_int_eq(one_table_open(&o), KEVO_CORRUPT);
        o.summary.file_bytes = len;
        ck_assert_int_eq(one_table_open(&o), KEVO_CORRUPT);
    }
    buf_release(&bytes);
    one_table_release(&o);
    iter_suite_free(set);
}
END_TEST

/* Make all checksums right again, so that what lies behind them is reached. */
static void reseal(struct buf *bytes, uint64_t *checksum) {
    uint8_t *footer = bytes->data + bytes->len - TABLE_FOOTER_BYTES;
    uint64_t limit = bytes->len - TABLE_FOOTER_BYTES;
    struct table_index index = {0};
    for (int s = 0; s < 4; s++) {
        uint8_t *section = footer + 8 + 24 * s;
        uint64_t offset = get_fixed64(section), len = get_fixed64(section + 8);
        if (offset > limit || len > limit - offset) continue;
        put_fixed64(section + 16, checksum64(bytes->data + offset, len, 0));
        if (s == 1 && !table_index_open(&index, slice_of(bytes->data + offset, len)))
            index.count = 0;
    }
    for (size_t i = 0; i < index.count; i++) {
        uint64_t begin = table_index_offset(&index, i), end = table_index_offset(&index, i + 1);
        if (begin > end || end > limit || end - begin <= BLOCK_TRAILER_BYTES) continue;
        uint8_t *trailer = bytes->data + end - BLOCK_TRAILER_BYTES;
        size_t covered = (size_t)(end - begin) - 4;
        put_fixed32(trailer + 1,
                    checksum32(bytes->data + begin, covered, block_seed(ONE_TABLE_NUMBER, begin)));
    }
    *checksum = checksum64(footer, TABLE_FOOTER_BYTES - 8, 0);
    put_fixed64(footer + TABLE_FOOTER_BYTES - 8, *checksum);
}

/* Use all of the table; whatever it says, only KEVO_CORRUPT may go wrong. */
static void exercise(struct table *t, struct cache *cache, const struct iter_suite_set *set) {
    int rc = table_verify(t, &test_err);
    if (rc != 0 && rc != KEVO_CORRUPT) ck_abort_msg("verify: %d", rc);
    for (int keep = 0; keep < 2; keep++) {
        struct iter *it;
        ck_ok(table_iter_new(t, keep, &it, &test_err));
        rc = it->ops->seek_first(it, &test_err);
        while (rc == 0 && it->valid)
            rc = it->ops->next(it, &test_err);
        rc = it->ops->seek_last(it, &test_err);
        while (rc == 0 && it->valid)
            rc = it->ops->prev(it, &test_err);
        for (size_t i = 0; i < set->count; i += 3) {
            slice key = set->entries[i].key;
            rc = it->ops->seek(it, key, SEQ_MAX, &test_err);
            if (rc == 0 && it->valid) rc = it->ops->prev(it, &test_err);
            if (rc == 0) rc = it->ops->seek_before(it, key, &test_err);
            if (rc == 0 && it->valid) rc = it->ops->next(it, &test_err);
            if (rc != 0 && rc != KEVO_CORRUPT) ck_abort_msg("iterator: %d", rc);
        }
        iter_close(it);
    }
    for (size_t i = 0; i < set->count; i++) {
        struct table_value v;
        uint64_t bytes, entries, count;
        slice key = set->entries[i].key;
        rc = table_get(t, key, key_hash(key), SEQ_MAX, &v, NULL, &test_err);
        if (rc == 0 && v.block) cache_unpin(cache, v.block);
        if (rc < 0 && rc != KEVO_CORRUPT) ck_abort_msg("get: %d", rc);
        table_position(t, key, &bytes, &entries);
        rc = table_count(t, key, slice_of(NULL, 0), &count, &test_err);
        if (rc != 0 && rc != KEVO_CORRUPT) ck_abort_msg("count: %d", rc);
    }
}

START_TEST(hostile_bytes) {
    struct one_table o;
    struct iter_suite_set *set;
    struct buf good, bad = {0};
    struct rng rng = rng_of(harness_seed());
    make_small(&o, &set, &good, _i);
    uint64_t rounds = harness_count("KEVO_OPS", 4000);
    unsigned opened = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        ck_assert(buf_set(&bad, buf_slice(&good)));
        for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--) {
            size_t tail = rng_below(&rng, 2) ? bad.len : bad.len / 4;
            size_t at = bad.len - 1 - rng_below(&rng, tail);
            uint8_t bit = (uint8_t)(1u << rng_below(&rng, 8));
            if (rng_below(&rng, 3))
                bad.data[at] = (uint8_t)rng_next(&rng);
            else
                bad.data[at] ^= bit;
        }
        uint64_t checksum = o.summary.checksum;
        reseal(&bad, &o.summary.checksum);
        files_write(o.env, ONE_TABLE_PATH, buf_slice(&bad));
        int rc = one_table_open(&o);
        o.summary.checksum = checksum;
        if (rc != 0 && rc != KEVO_CORRUPT && rc != KEVO_NEWER)
            ck_abort_msg("open: %d, %s", rc, test_err.msg);
        if (rc) continue;
        opened++;
        exercise(o.table, o.cache, set);
        table_close(o.table);
        o.table = NULL;
    }
    ck_assert_uint_gt(opened, 10);
    buf_release(&good);
    buf_release(&bad);
    one_table_release(&o);
    iter_suite_free(set);
}
END_TEST

/* One wrong field each, under right checksums. */
static const struct {
    const char *what;
    size_t from_end; /* of the file: where the field is */
    uint8_t value;
    const char *message;
} corrupt_fields[] = {
    {"number", 128, 41, "is table 41, not 42"},
    {"filter offset", 120, 1, "places"},
    {"filter length", 112, 1, "places"},
    {"index offset", 96, 1, "places"},
    {"index length high", 82, 1, "places"},
    {"ranges offset", 72, 1, "places"},
    {"ranges length", 64, 200, "places"},
    {"properties length", 40, 200, "places"},
    {"version", 24, 0, "version"}, /* one above the newest is no damage */
    {"reserved", 20, 1, "version"},
    {"magic", 16, 'K', "not a table"},
};

START_TEST(corrupt_field) {
    struct one_table o;
    struct iter_suite_set *set;
    struct buf bytes;
    make_small(&o, &set, &bytes, 1);
    bytes.data[bytes.len - corrupt_fields[_i].from_end] = corrupt_fields[_i].value;
    reseal(&bytes, &o.summary.checksum);
    files_write(o.env, ONE_TABLE_PATH, buf_slice(&bytes));
    int rc = one_table_open(&o);
    ck_assert_msg(rc == KEVO_CORRUPT, "%s: %d", corrupt_fields[_i].what, rc);
    ck_assert_msg(strstr(test_err.msg, corrupt_fields[_i].message), "%s: %s",
                  corrupt_fields[_i].what, test_err.msg);
    ck_assert_ptr_null(o.table);
    buf_release(&bytes);
    one_table_release(&o);
    iter_suite_free(set);
}
END_TEST

START_TEST(another_file) {
    struct one_table o;
    struct iter_suite_set *set;
    struct buf bytes;
    make_small(&o, &set, &bytes, 1);
    struct table *t;
    ck_assert_int_eq(table_open(o.env, ONE_TABLE_PATH, ONE_TABLE_NUMBER + 1, o.summary.file_bytes,
                                o.summary.checksum, o.cache, &(uint64_t){0}, &t, &test_err),
                     KEVO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "is table 42, not 43"));
    ck_assert_int_eq(table_open(o.env, ONE_TABLE_PATH, ONE_TABLE_NUMBER, o.summary.file_bytes,
                                o.summary.checksum + 1, o.cache, &(uint64_t){0}, &t, &test_err),
                     KEVO_CORRUPT);
    ck_assert_int_eq(table_open(o.env, "/none", ONE_TABLE_NUMBER, o.summary.file_bytes,
                                o.summary.checksum, o.cache, &(uint64_t){0}, &t, &test_err),
                     KEVO_CANTOPEN);
    ck_assert_ptr_null(t);
    struct table_writer_options options = table_options(4096, 1, 10);
    struct table_writer *w;
    ck_assert_int_eq(
        table_writer_open(o.env, ONE_TABLE_PATH, ONE_TABLE_NUMBER, &options, &w, &test_err),
        KEVO_CANTOPEN);
    ck_assert_ptr_null(w);
    buf_release(&bytes);
    one_table_release(&o);
    iter_suite_free(set);
}
END_TEST

/* ---- faults --------------------------------------------------------------------- */

START_TEST(no_memory) {
    struct iter_suite_set *set = one_table_set();
    struct env *memory = env_memory_new();
    ck_ok(one_table_life(memory, set)); /* the directory's own memory stays */
    ck_ok(memory->unlink(memory, ONE_TABLE_PATH, &test_err));
    for (uint64_t n = 1;; n++) {
        uint64_t before = fault_alloc_live();
        fault_alloc_fail_at(n, n % 2);
        int rc = one_table_life(memory, set);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (memory->unlink(memory, ONE_TABLE_PATH, NULL) && !hit) ck_abort_msg("no file was made");
        /* Some memory is a luxury: then all answers must have been right. */
        ck_assert_msg(rc == 0 || (hit && rc == KEVO_NOMEM), "%d, %s", rc, test_err.msg);
        ck_assert_uint_eq(fault_alloc_live(), before);
        if (!hit) break;
    }
    env_memory_free(memory);
    iter_suite_free(set);
}
END_TEST

START_TEST(refused_calls) {
    struct iter_suite_set *set = one_table_set();
    struct env *memory = env_memory_new(), *env = fault_env_new(memory);
    for (uint64_t n = 1;; n++) {
        struct fault_plan plan = {.kinds = FAULT_ALL,
                                  .nth = n,
                                  .rc = KEVO_FULL,
                                  .for_good = n % 2,
                                  .partial_write = true};
        fault_env_plan(env, plan);
        int rc = one_table_life(env, set);
        bool hit = fault_env_hit(env);
        fault_env_plan(env, (struct fault_plan){0});
        memory->unlink(memory, ONE_TABLE_PATH, NULL);
        ck_assert_int_eq(rc, hit ? KEVO_FULL : 0);
        if (!hit) break;
        ck_assert_uint_lt(n, 100);
    }
    fault_env_free(env);
    env_memory_free(memory);
    iter_suite_free(set);
}
END_TEST

#define COUNT(cases) ((int)(sizeof(cases) / sizeof *(cases)))

/* All tables here have some range tombstones as well. */
static const struct range_set *some_ranges(void) {
    static struct range_list list;
    struct range_set *set;
    must(range_list_add(&list, slice_of_str("b"), slice_of_str("m"), 5, &test_err));
    must(range_list_add(&list, slice_of_str("k"), slice_of_str("p"), 1234, &test_err));
    must(range_list_add(&list, slice_of_str("q"), range_end(), 1u << 30, &test_err));
    must(range_set_new(&list, false, &set, &test_err));
    return set;
}

int main(void) {
    one_table_ranges = some_ranges();
    Suite *suite = suite_create("table_damage");
    TCase *tcase = tcase_create("table_damage");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, damaged_byte, 0, 2);
    tcase_add_test(tcase, truncated);
    tcase_add_loop_test(tcase, hostile_bytes, 0, 2);
    tcase_add_loop_test(tcase, corrupt_field, 0, COUNT(corrupt_fields));
    tcase_add_test(tcase, another_file);
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, refused_calls);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
