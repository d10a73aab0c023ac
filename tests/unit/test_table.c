#include "engine/table/table.h"

#include <pthread.h>
#include <stdlib.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "engine/base/error.h"
#include "engine/table/table_format.h"
#include "tests/lib/harness.h"
#include "tests/lib/iter_suite.h"

enum { NUMBER = 42 };
static const char path[] = "/000042.sst";

static struct table_writer_options options_of(uint32_t block_bytes, int compression,
                                              uint32_t filter_bits) {
    return (struct table_writer_options){.block_bytes = block_bytes,
                                         .restart_interval = 16,
                                         .compression = compression,
                                         .filter_bits_per_key = filter_bits,
                                         .file_mode = 0644};
}

/* ---- making tables ----------------------------------------------------------- */

struct made {
    struct env *env;
    struct cache *cache;
    struct table_summary summary;
    struct table *table;
};

static int write_table(struct env *env, const char *to, const struct iter_suite_entry *entries,
                       size_t n, const struct table_writer_options *options,
                       struct table_summary *summary) {
    struct table_writer *w;
    int rc = table_writer_open(env, to, NUMBER, options, &w, &test_err);
    if (rc) return rc;
    for (size_t i = 0; i < n; i++) {
        const struct iter_suite_entry *e = &entries[i];
        rc = table_writer_add(w, e->key, e->seq, e->type, e->value, &test_err);
        if (rc == 0) continue;
        table_writer_abandon(w);
        return rc;
    }
    if (table_writer_entries(w) != n) ck_abort_msg("entries miscounted");
    return table_writer_finish(w, summary, &test_err);
}

static int reopen(struct made *m) {
    return table_open(m->env, path, NUMBER, m->summary.file_bytes, m->summary.checksum, m->cache,
                      &m->table, &test_err);
}

static void make(struct made *m, const struct iter_suite_set *set,
                 const struct table_writer_options *options, uint64_t cache_bytes) {
    m->env = env_memory_new();
    m->cache = cache_new(cache_bytes);
    ck_ok(write_table(m->env, path, set->entries, set->count, options, &m->summary));
    ck_ok(reopen(m));
}

static void unmake(struct made *m) {
    table_close(m->table);
    cache_free(m->cache);
    buf_release(&m->summary.min_key);
    buf_release(&m->summary.max_key);
    env_memory_free(m->env);
}

/* ---- against the model -------------------------------------------------------- */

/* The answer is right: 0; it is a reported error: that; else the test fails. */
static int check_get(struct table *t, struct cache *cache, const struct iter_suite_entry *sorted,
                     size_t n, slice key, uint64_t max_seq) {
    struct table_value v;
    bool filtered;
    size_t at = iter_suite_seek_index(sorted, n, key, max_seq);
    bool is_there = at < n && slice_eq(sorted[at].key, key);
    int rc = table_get(t, key, key_hash(key), max_seq, &v, &filtered, &test_err);
    if (rc < 0) return rc;
    bool right = rc == (is_there ? 0 : KEVO_NOTFOUND) && (rc == 0 || v.block == NULL);
    if (right && rc == 0)
        right = v.seq == sorted[at].seq && v.type == sorted[at].type &&
                slice_eq(v.value, sorted[at].value);
    if (v.block) cache_unpin(cache, v.block);
    if (!right) ck_abort_msg("entry %zu of %zu: wrong answer, rc %d", at, n, rc);
    return 0;
}

static int check_gets(struct table *t, struct cache *cache, const struct iter_suite_set *set,
                      bool misses) {
    const struct iter_suite_entry *s = set->entries;
    size_t n = set->count;
    for (size_t i = 0; i < n; i++) {
        int rc = check_get(t, cache, s, n, s[i].key, SEQ_MAX);
        if (rc == 0) rc = check_get(t, cache, s, n, s[i].key, s[i].seq);
        if (rc == 0) rc = check_get(t, cache, s, n, s[i].key, s[i].seq - 1);
        if (rc) return rc;
        if (!misses) continue;
        uint8_t *key = malloc(s[i].key.len + 1);
        memcpy(key, s[i].key.data, s[i].key.len);
        key[s[i].key.len] = 0;
        rc = check_get(t, cache, s, n, slice_of(key, s[i].key.len + 1), SEQ_MAX);
        key[s[i].key.len - 1]++;
        if (rc == 0) rc = check_get(t, cache, s, n, slice_of(key, s[i].key.len), SEQ_MAX);
        free(key);
        if (rc) return rc;
    }
    return 0;
}

/* Forward and backward; 0 when all entries came, or the error. */
static int check_scans(struct table *t, const struct iter_suite_set *set, bool keep) {
    struct iter *it;
    int rc = table_iter_new(t, keep, &it, &test_err);
    if (rc) return rc;
    rc = it->ops->seek_first(it, &test_err);
    for (size_t i = 0; rc == 0 && i < set->count; i++) {
        iter_suite_expect(it, set->entries, set->count, i, "next");
        rc = it->ops->next(it, &test_err);
    }
    if (rc == 0) iter_suite_expect(it, set->entries, set->count, set->count, "next");
    if (rc == 0) rc = it->ops->seek_last(it, &test_err);
    for (size_t i = set->count; rc == 0 && i-- > 0;) {
        iter_suite_expect(it, set->entries, set->count, i, "prev");
        rc = it->ops->prev(it, &test_err);
    }
    iter_close(it);
    return rc;
}

static void check_iterators(struct made *m, const struct iter_suite_set *set, struct rng *rng) {
    for (int keep = 0; keep < 2; keep++) {
        struct iter *it;
        ck_ok(table_iter_new(m->table, keep, &it, &test_err));
        ck_assert(!it->valid);
        iter_suite_check(it, set->entries, set->count, rng);
        iter_close(it);
    }
}

static void check_properties(const struct made *m, const struct iter_suite_set *set) {
    struct table_properties p = {.min_seq = UINT64_MAX};
    for (size_t i = 0; i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        p.tombstone_count += e->type == ENTRY_DELETE;
        p.key_bytes += e->key.len;
        p.value_bytes += e->value.len;
        if (e->seq < p.min_seq) p.min_seq = e->seq;
        if (e->seq > p.max_seq) p.max_seq = e->seq;
    }
    const struct table_properties *got = table_properties(m->table);
    ck_assert_uint_eq(got->entry_count, set->count);
    ck_assert_uint_eq(got->tombstone_count, p.tombstone_count);
    ck_assert_uint_eq(got->key_bytes, p.key_bytes);
    ck_assert_uint_eq(got->value_bytes, p.value_bytes);
    ck_assert_uint_eq(got->min_seq, p.min_seq);
    ck_assert_uint_eq(got->max_seq, p.max_seq);
    ck_assert_mem_eq(got, &m->summary.properties, sizeof *got);
    ck_assert(slice_eq(buf_slice(&m->summary.min_key), set->entries[0].key));
    ck_assert(slice_eq(buf_slice(&m->summary.max_key), set->entries[set->count - 1].key));
}

static void check_positions(const struct made *m, const struct iter_suite_set *set) {
    uint64_t bytes, entries, last_bytes = 0, last_entries = 0;
    for (size_t i = 0; i < set->count; i++) {
        table_position(m->table, set->entries[i].key, &bytes, &entries);
        ck_assert(bytes >= last_bytes && bytes <= m->summary.file_bytes);
        ck_assert(entries >= last_entries && entries <= set->count);
        last_bytes = bytes;
        last_entries = entries;
    }
    table_position(m->table, slice_of(NULL, 0), &bytes, &entries);
    ck_assert_uint_eq(bytes + entries, 0);
    table_position(m->table, slice_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10), &bytes,
                   &entries);
    ck_assert_uint_eq(entries, set->count);
}

START_TEST(random_tables) {
    static const uint32_t block_bytes[] = {1, 40, 200, 1000, 4096};
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    struct made m;
    shape.key_count = 1 + rng_below(&rng, 250);
    if (_i % 4 == 0) shape.max_versions = 40;
    if (_i % 7 == 0) shape.max_key_bytes = 3;
    if (_i % 3 == 0) shape.max_seq = UINT64_MAX >> 2;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct table_writer_options options = options_of(block_bytes[_i % 5], _i % 2, _i % 6 ? 12 : 0);
    options.restart_interval = 1 + (unsigned)rng_below(&rng, 20);
    make(&m, set, &options, _i % 8 ? 1 << 20 : 0);
    check_iterators(&m, set, &rng);
    ck_ok(check_gets(m.table, m.cache, set, true));
    check_properties(&m, set);
    check_positions(&m, set);
    ck_ok(table_verify(m.table, &test_err));
    unmake(&m);
    iter_suite_free(set);
}
END_TEST

/* One entry, the least a table can hold. */
START_TEST(single_entry) {
    struct iter_suite_entry e = {slice_of_str("k"), 7, ENTRY_DELETE, {0}};
    struct iter_suite_set *set = iter_suite_sorted(&e, 1);
    struct table_writer_options options = options_of(4096, KEVO_COMPRESSION_LZ4, 10);
    struct rng rng = rng_of(1);
    struct made m;
    make(&m, set, &options, 1 << 20);
    check_iterators(&m, set, &rng);
    ck_ok(check_gets(m.table, m.cache, set, true));
    unmake(&m);
    iter_suite_free(set);
}
END_TEST

/* Versions of one key over many blocks, with other keys at both sides. */
START_TEST(versions_straddle_blocks) {
    struct iter_suite_entry e[600];
    size_t n = 0;
    for (uint64_t seq = 1; seq <= 300; seq++)
        e[n++] = (struct iter_suite_entry){slice_of_str("middle"), seq, seq % 5 != 0, {0}};
    for (uint64_t seq = 1; seq <= 20; seq++) {
        e[n++] = (struct iter_suite_entry){slice_of_str("middl"), seq, 1, slice_of_str("a")};
        e[n++] = (struct iter_suite_entry){slice_of("middle\0", 7), seq, 1, slice_of_str("b")};
        e[n++] = (struct iter_suite_entry){slice_of_str("a"), seq, 1, slice_of_str("c")};
    }
    struct iter_suite_set *set = iter_suite_sorted(e, n);
    struct rng rng = rng_of(harness_seed());
    for (uint32_t block_bytes = 1; block_bytes < 2000; block_bytes = block_bytes * 3 + 1) {
        struct table_writer_options options = options_of(block_bytes, block_bytes % 2, 10);
        struct made m;
        make(&m, set, &options, 1 << 20);
        check_iterators(&m, set, &rng);
        ck_ok(check_gets(m.table, m.cache, set, true));
        ck_ok(table_verify(m.table, &test_err));
        unmake(&m);
    }
    iter_suite_free(set);
}
END_TEST

static const uint32_t large_values[] = {9000, 70000, 300000, 3 << 20, 20 << 20};

START_TEST(large_value) {
    size_t len = large_values[_i % 5];
    uint8_t *bytes = malloc(len);
    struct rng rng = rng_of(harness_seed());
    for (size_t i = 0; i < len; i++)
        bytes[i] = _i < 5 ? (uint8_t)rng_next(&rng) : (uint8_t)(i / 100);
    struct iter_suite_entry e[] = {
        {slice_of_str("a"), 1, ENTRY_PUT, slice_of_str("small")},
        {slice_of_str("b"), 1, ENTRY_PUT, slice_of(bytes, len)},
        {slice_of_str("c"), 1, ENTRY_PUT, slice_of_str("small too")},
    };
    struct iter_suite_set *set = iter_suite_sorted(e, 3);
    struct table_writer_options options = options_of(4096, KEVO_COMPRESSION_LZ4, 10);
    struct made m;
    make(&m, set, &options, 1 << 20);
    ck_assert_uint_eq(table_properties(m.table)->block_count, 3);
    ck_ok(check_scans(m.table, set, true));
    ck_ok(check_scans(m.table, set, false));
    ck_ok(check_gets(m.table, m.cache, set, false));
    ck_ok(table_verify(m.table, &test_err));
    struct cache_stats stats;
    cache_get_stats(m.cache, &stats);
    ck_assert_uint_lt(stats.used_bytes, 1 << 20);
    unmake(&m);
    iter_suite_free(set);
    free(bytes);
}
END_TEST

/* Compressible data shrinks, other data stays as it is, and the writer's estimate of
 * the size is near the truth. */
START_TEST(sizes) {
    struct env *env = env_memory_new();
    uint64_t file_bytes[2];
    for (int noise = 0; noise < 2; noise++) {
        struct table_writer_options options = options_of(4096, KEVO_COMPRESSION_LZ4, 10);
        struct table_writer *w;
        struct table_summary summary;
        struct rng rng = rng_of(5);
        const char *name = noise ? "/noise" : "/plain";
        ck_ok(table_writer_open(env, name, NUMBER, &options, &w, &test_err));
        for (uint64_t i = 0; i < 20000; i++) {
            uint8_t key[8], value[100];
            put_fixed64(key, __builtin_bswap64(i));
            for (size_t k = 0; k < sizeof value; k++)
                value[k] = noise ? (uint8_t)rng_next(&rng) : 'v';
            ck_ok(table_writer_add(w, slice_of(key, 8), i, ENTRY_PUT, slice_of(value, 100),
                                   &test_err));
        }
        uint64_t estimate = table_writer_bytes(w);
        ck_ok(table_writer_finish(w, &summary, &test_err));
        file_bytes[noise] = summary.file_bytes;
        ck_assert_uint_ge(summary.file_bytes, estimate);
        ck_assert_uint_le(summary.file_bytes, estimate + estimate / 20 + 20000 * 10 / 8 + 4096);
        buf_release(&summary.min_key);
        buf_release(&summary.max_key);
    }
    ck_assert_uint_lt(file_bytes[0], 20000 * 108 / 5);
    ck_assert_uint_lt(file_bytes[1], 20000 * 108 / 100 * 112);
    env_memory_free(env);
}
END_TEST

/* Missing keys are told apart by the filter, and then no block is read. */
START_TEST(filter_is_asked) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct table_writer_options options = options_of(1000, KEVO_COMPRESSION_LZ4, 12);
    struct made m;
    make(&m, set, &options, 1 << 20);
    unsigned rejected = 0;
    for (unsigned i = 0; i < 1000; i++) {
        struct table_value v;
        bool filtered = false;
        uint8_t key[20];
        for (size_t k = 0; k < sizeof key; k++)
            key[k] = (uint8_t)rng_next(&rng);
        slice s = slice_of(key, sizeof key);
        ck_assert_int_eq(table_get(m.table, s, key_hash(s), SEQ_MAX, &v, &filtered, &test_err),
                         KEVO_NOTFOUND);
        rejected += filtered;
    }
    ck_assert_uint_gt(rejected, 960);
    unmake(&m);
    iter_suite_free(set);
}
END_TEST

/* ---- separators ---------------------------------------------------------------- */

START_TEST(separators) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 3000;
    shape.max_key_bytes = 12;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    uint8_t scratch[12];
    for (size_t i = 0; i + 1 < set->count; i++) {
        slice last = set->entries[i].key, next = set->entries[i + 1].key;
        slice s = index_separator(last, next, scratch);
        ck_assert(slice_cmp(last, s) <= 0);
        ck_assert(slice_eq(last, next) ? slice_eq(s, last) : slice_cmp(s, next) < 0);
        ck_assert(s.len <= last.len || s.len < next.len);
    }
    iter_suite_free(set);
}
END_TEST

static const struct {
    const char *last, *next, *separator;
} separator_cases[] = {
    {"abc", "abd", "abc"},
    {"abcxyz", "abd", "abcy"},
    {"abc", "abe", "abd"},
    {"abc", "abdef", "abd"},
    {"a", "ab", "a"},
    {"a", "a", "a"},
    {"ab\xff", "ac", "ab\xff"},
    {"ab\xff"
     "a",
     "ac",
     "ab\xff"
     "b"},
    {"abz", "b", "ac"},
    {"device1/100", "device2/200", "device2"},
};

START_TEST(separator_case) {
    uint8_t scratch[20];
    slice s = index_separator(slice_of_str(separator_cases[_i].last),
                              slice_of_str(separator_cases[_i].next), scratch);
    ck_assert_msg(slice_eq(s, slice_of_str(separator_cases[_i].separator)), "%s %s: %.*s",
                  separator_cases[_i].last, separator_cases[_i].next, (int)s.len,
                  (const char *)s.data);
}
END_TEST

/* An index of random separators finds what a linear search finds. */
START_TEST(index_finds) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.max_versions = 1;
    shape.max_seq = 1; /* so that no key comes twice */
    shape.max_key_bytes = _i % 2 ? 300 : 10;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct index_builder b = {0};
    struct buf out = {0}, prefixed = {0};
    size_t prefix_len = (size_t)_i * 3;
    for (size_t i = 0; i < set->count; i++) {
        prefixed.len = 0;
        for (size_t k = 0; k < prefix_len; k++)
            ck_assert(buf_append(&prefixed, "p", 1));
        ck_assert(buf_append(&prefixed, set->entries[i].key.data, set->entries[i].key.len));
        ck_ok(index_builder_add(&b, buf_slice(&prefixed), 10 * i, i % 2, &test_err));
    }
    ck_ok(index_builder_finish(&b, 10 * set->count, &out, &test_err));
    struct table_index index;
    ck_assert(table_index_open(&index, buf_slice(&out)));
    for (size_t i = 0; i < set->count; i++) {
        ck_assert_uint_eq(table_index_offset(&index, i), 10 * i);
        ck_assert_int_eq(table_index_kind(&index, i), i % 2);
        prefixed.len = prefix_len;
        ck_assert(buf_append(&prefixed, set->entries[i].key.data, set->entries[i].key.len));
        ck_assert(buf_append(&prefixed, "\0", 1));
        slice key = slice_of(prefixed.data, prefixed.len - 1);
        ck_assert_uint_eq(table_index_find(&index, key), i);
        ck_assert(table_index_is_key(&index, i, key));
        ck_assert_uint_eq(table_index_find(&index, buf_slice(&prefixed)), i + 1);
        ck_assert(!table_index_is_key(&index, i, buf_slice(&prefixed)));
        ck_assert_int_lt(table_index_compare(&index, i, buf_slice(&prefixed)), 0);
        key.len--;
        size_t before = table_index_find(&index, key);
        ck_assert(before == i || table_index_compare(&index, before, key) >= 0);
        if (before) ck_assert_int_lt(table_index_compare(&index, before - 1, key), 0);
    }
    ck_assert_uint_eq(table_index_find(&index, slice_of_str("\xff\xff\xff\xff\xff")), set->count);
    ck_assert_uint_eq(table_index_find(&index, slice_of(NULL, 0)), 0);
    index_builder_release(&b);
    buf_release(&out);
    buf_release(&prefixed);
    iter_suite_free(set);
}
END_TEST

/* ---- damage -------------------------------------------------------------------- */

static struct buf file_bytes(struct env *env, const char *from, uint64_t size) {
    struct buf b = {0};
    struct env_file *f;
    size_t got;
    ck_ok(env->open(env, from, ENV_READ, 0, &f, &test_err));
    ck_assert(buf_reserve(&b, size));
    ck_ok(env->read(env, f, 0, b.data, size, &got, &test_err));
    ck_assert_uint_eq(got, size);
    b.len = size;
    env->close(env, f);
    return b;
}

static void put_file(struct env *env, const char *to, slice bytes) {
    struct env_file *f;
    ck_ok(env->open(env, to, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, 0644, &f, &test_err));
    ck_ok(env->write(env, f, 0, bytes.data, bytes.len, &test_err));
    env->close(env, f);
}

/* A small table, closed, and its bytes. */
static void make_small(struct made *m, struct iter_suite_set **set, struct buf *bytes,
                       int compression) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 30;
    shape.max_key_bytes = 20;
    shape.max_value_bytes = 40;
    *set = iter_suite_random(&rng, &shape);
    struct table_writer_options options = options_of(200, compression, 10);
    make(m, *set, &options, 1 << 20);
    table_close(m->table);
    m->table = NULL;
    *bytes = file_bytes(m->env, path, m->summary.file_bytes);
}

/* Right answers or KEVO_CORRUPT naming the file. */
static void expect_right_or_corrupt(struct made *m, const struct iter_suite_set *set) {
    int rc = reopen(m);
    if (rc == 0) {
        int results[] = {check_gets(m->table, m->cache, set, false),
                         check_scans(m->table, set, true), check_scans(m->table, set, false),
                         table_verify(m->table, &test_err)};
        for (size_t i = 0; i < sizeof results / sizeof *results; i++)
            if (results[i]) rc = results[i];
        table_close(m->table);
        m->table = NULL;
    }
    if (rc && (rc != KEVO_CORRUPT || !strstr(test_err.msg, path)))
        ck_abort_msg("%d, %s", rc, test_err.msg);
}

START_TEST(damaged_byte) {
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    struct made m;
    struct iter_suite_set *set;
    struct buf bytes;
    make_small(&m, &set, &bytes, _i);
    for (size_t i = 0; i < bytes.len; i++) {
        for (size_t k = 0; k < sizeof masks; k++) {
            bytes.data[i] ^= masks[k];
            put_file(m.env, path, buf_slice(&bytes));
            expect_right_or_corrupt(&m, set);
            bytes.data[i] ^= masks[k];
        }
    }
    buf_release(&bytes);
    unmake(&m);
    iter_suite_free(set);
}
END_TEST

START_TEST(truncated) {
    struct made m;
    struct iter_suite_set *set;
    struct buf bytes;
    make_small(&m, &set, &bytes, 1);
    uint64_t whole = bytes.len;
    for (uint64_t len = 0; len < whole; len++) {
        put_file(m.env, path, slice_of(bytes.data, len));
        m.summary.file_bytes = whole;
        ck_assert_int_eq(reopen(&m), KEVO_CORRUPT);
        m.summary.file_bytes = len;
        ck_assert_int_eq(reopen(&m), KEVO_CORRUPT);
    }
    buf_release(&bytes);
    unmake(&m);
    iter_suite_free(set);
}
END_TEST

/* Make all checksums right again, so that what lies behind them is reached. */
static void reseal(struct buf *bytes, uint64_t *checksum) {
    uint8_t *footer = bytes->data + bytes->len - TABLE_FOOTER_BYTES;
    uint64_t limit = bytes->len - TABLE_FOOTER_BYTES;
    struct table_index index = {0};
    for (int s = 0; s < 3; s++) {
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
                    checksum32(bytes->data + begin, covered, block_seed(NUMBER, begin)));
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
        uint64_t bytes, entries;
        slice key = set->entries[i].key;
        rc = table_get(t, key, key_hash(key), SEQ_MAX, &v, NULL, &test_err);
        if (rc == 0 && v.block) cache_unpin(cache, v.block);
        if (rc < 0 && rc != KEVO_CORRUPT) ck_abort_msg("get: %d", rc);
        table_position(t, key, &bytes, &entries);
    }
}

START_TEST(hostile_bytes) {
    struct made m;
    struct iter_suite_set *set;
    struct buf good, bad = {0};
    struct rng rng = rng_of(harness_seed());
    make_small(&m, &set, &good, _i);
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
        uint64_t checksum = m.summary.checksum;
        reseal(&bad, &m.summary.checksum);
        put_file(m.env, path, buf_slice(&bad));
        int rc = reopen(&m);
        m.summary.checksum = checksum;
        if (rc != 0 && rc != KEVO_CORRUPT) ck_abort_msg("open: %d, %s", rc, test_err.msg);
        if (rc) continue;
        opened++;
        exercise(m.table, m.cache, set);
        table_close(m.table);
        m.table = NULL;
    }
    ck_assert_uint_gt(opened, 10);
    buf_release(&good);
    buf_release(&bad);
    unmake(&m);
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
    {"number", 104, 41, "is table 41, not 42"},
    {"filter offset", 96, 1, "places"},
    {"filter length", 88, 1, "places"},
    {"index offset", 72, 1, "places"},
    {"index length high", 58, 1, "places"},
    {"properties length", 40, 200, "places"},
    {"version", 24, 2, "version"},
    {"reserved", 20, 1, "version"},
    {"magic", 16, 'K', "not a table"},
};

START_TEST(corrupt_field) {
    struct made m;
    struct iter_suite_set *set;
    struct buf bytes;
    make_small(&m, &set, &bytes, 1);
    bytes.data[bytes.len - corrupt_fields[_i].from_end] = corrupt_fields[_i].value;
    reseal(&bytes, &m.summary.checksum);
    put_file(m.env, path, buf_slice(&bytes));
    int rc = reopen(&m);
    ck_assert_msg(rc == KEVO_CORRUPT, "%s: %d", corrupt_fields[_i].what, rc);
    ck_assert_msg(strstr(test_err.msg, corrupt_fields[_i].message), "%s: %s",
                  corrupt_fields[_i].what, test_err.msg);
    ck_assert_ptr_null(m.table);
    buf_release(&bytes);
    unmake(&m);
    iter_suite_free(set);
}
END_TEST

START_TEST(another_file) {
    struct made m;
    struct iter_suite_set *set;
    struct buf bytes;
    make_small(&m, &set, &bytes, 1);
    struct table *t;
    ck_assert_int_eq(table_open(m.env, path, NUMBER + 1, m.summary.file_bytes, m.summary.checksum,
                                m.cache, &t, &test_err),
                     KEVO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "is table 42, not 43"));
    ck_assert_int_eq(table_open(m.env, path, NUMBER, m.summary.file_bytes, m.summary.checksum + 1,
                                m.cache, &t, &test_err),
                     KEVO_CORRUPT);
    ck_assert_int_eq(table_open(m.env, "/none", NUMBER, m.summary.file_bytes, m.summary.checksum,
                                m.cache, &t, &test_err),
                     KEVO_CANTOPEN);
    ck_assert_ptr_null(t);
    struct table_writer_options options = options_of(4096, 1, 10);
    struct table_writer *w;
    ck_assert_int_eq(table_writer_open(m.env, path, NUMBER, &options, &w, &test_err),
                     KEVO_CANTOPEN);
    ck_assert_ptr_null(w);
    buf_release(&bytes);
    unmake(&m);
    iter_suite_free(set);
}
END_TEST

/* ---- faults --------------------------------------------------------------------- */

/* An environment that refuses its n-th call. */
struct failing_env {
    struct env base;
    struct env *real;
    uint64_t calls_left;
    bool hit;
};

static bool refuse(struct env *env) {
    struct failing_env *f = (struct failing_env *)env;
    if (f->calls_left == 0 || --f->calls_left > 0) return false;
    f->hit = true;
    return true;
}

#define REAL(env) (((struct failing_env *)(env))->real)

static int fail_open(struct env *env, const char *name, unsigned flags, unsigned mode,
                     struct env_file **file, struct kevo_err *err) {
    *file = NULL;
    if (refuse(env)) return kevo_fail(err, KEVO_IOERR, "refused");
    return REAL(env)->open(REAL(env), name, flags, mode, file, err);
}
static void real_close(struct env *env, struct env_file *file) {
    REAL(env)->close(REAL(env), file);
}
static int fail_write(struct env *env, struct env_file *file, uint64_t offset, const void *data,
                      size_t len, struct kevo_err *err) {
    if (refuse(env)) return kevo_fail(err, KEVO_FULL, "refused");
    return REAL(env)->write(REAL(env), file, offset, data, len, err);
}
static int fail_sync(struct env *env, struct env_file *file, struct kevo_err *err) {
    if (refuse(env)) return kevo_fail(err, KEVO_IOERR, "refused");
    return REAL(env)->sync(REAL(env), file, err);
}
static int fail_size(struct env *env, struct env_file *file, uint64_t *size, struct kevo_err *err) {
    if (refuse(env)) return kevo_fail(err, KEVO_IOERR, "refused");
    return REAL(env)->size(REAL(env), file, size, err);
}
static int fail_map(struct env *env, struct env_file *file, uint64_t size, const uint8_t **data,
                    struct kevo_err *err) {
    *data = NULL;
    if (refuse(env)) return kevo_fail(err, KEVO_IOERR, "refused");
    return REAL(env)->map(REAL(env), file, size, data, err);
}
static void real_unmap(struct env *env, const uint8_t *data, uint64_t size) {
    REAL(env)->unmap(REAL(env), data, size);
}
static void real_advise(struct env *env, const uint8_t *data, size_t len, bool soon) {
    REAL(env)->advise(REAL(env), data, len, soon);
}

static struct failing_env failing_env_over(struct env *real) {
    return (struct failing_env){.base = {.open = fail_open,
                                         .close = real_close,
                                         .write = fail_write,
                                         .sync = fail_sync,
                                         .size = fail_size,
                                         .map = fail_map,
                                         .unmap = real_unmap,
                                         .advise = real_advise},
                                .real = real};
}

static struct iter_suite_set *medium_set(void) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 60;
    return iter_suite_random(&rng, &shape);
}

/* Write, open and read a table: 0 or the first error. All is released. */
static int whole_life(struct env *env, const struct iter_suite_set *set) {
    struct table_writer_options options = options_of(500, KEVO_COMPRESSION_LZ4, 10);
    struct table_summary summary = {0};
    struct table *t = NULL;
    struct cache *cache = cache_new(1 << 20);
    int rc = cache ? 0 : kevo_fail(&test_err, KEVO_NOMEM, "cache");
    if (rc == 0) rc = write_table(env, path, set->entries, set->count, &options, &summary);
    if (rc == 0)
        rc = table_open(env, path, NUMBER, summary.file_bytes, summary.checksum, cache, &t,
                        &test_err);
    if (rc == 0) rc = check_gets(t, cache, set, false);
    if (rc == 0) rc = check_scans(t, set, true);
    if (rc == 0) rc = check_scans(t, set, false);
    if (rc == 0) rc = table_verify(t, &test_err);
    table_close(t);
    cache_free(cache);
    buf_release(&summary.min_key);
    buf_release(&summary.max_key);
    return rc;
}

START_TEST(no_memory) {
    struct iter_suite_set *set = medium_set();
    struct env *memory = env_memory_new();
    ck_ok(whole_life(memory, set)); /* the directory's own memory stays */
    ck_ok(memory->unlink(memory, path, &test_err));
    for (uint64_t n = 1;; n++) {
        uint64_t before = fault_alloc_live();
        fault_alloc_fail_at(n, n % 2);
        int rc = whole_life(memory, set);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (memory->unlink(memory, path, NULL) && !hit) ck_abort_msg("no file was made");
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
    struct iter_suite_set *set = medium_set();
    struct env *memory = env_memory_new();
    for (uint64_t n = 1;; n++) {
        struct failing_env env = failing_env_over(memory);
        env.calls_left = n;
        int rc = whole_life(&env.base, set);
        memory->unlink(memory, path, NULL);
        ck_assert_int_eq(rc != 0, env.hit);
        ck_assert(!rc || strcmp(test_err.msg, "refused") == 0);
        if (!env.hit) break;
        ck_assert_uint_lt(n, 100);
    }
    env_memory_free(memory);
    iter_suite_free(set);
}
END_TEST

/* ---- the real file system, and threads -------------------------------------------- */

START_TEST(on_disk) {
    struct iter_suite_set *set = medium_set();
    char file[ENV_PATH_MAX];
    struct table_writer_options options = options_of(500, KEVO_COMPRESSION_LZ4, 10);
    struct table_summary summary;
    struct env *env = env_posix();
    struct cache *cache = cache_new(1 << 20);
    struct table *t;
    ck_ok(env_join(file, scratch_dir(), "000042.sst", &test_err));
    ck_ok(write_table(env, file, set->entries, set->count, &options, &summary));
    ck_ok(
        table_open(env, file, NUMBER, summary.file_bytes, summary.checksum, cache, &t, &test_err));
    ck_ok(env->unlink(env, file, &test_err)); /* readers go on */
    ck_ok(check_gets(t, cache, set, true));
    ck_ok(check_scans(t, set, false));
    ck_ok(table_verify(t, &test_err));
    table_close(t);
    cache_free(cache);
    buf_release(&summary.min_key);
    buf_release(&summary.max_key);
    iter_suite_free(set);
}
END_TEST

struct crowd {
    struct made *m;
    const struct iter_suite_set *set;
};

static void *read_all(void *arg) {
    struct crowd *c = arg;
    for (int round = 0; round < 5; round++)
        if (check_gets(c->m->table, c->m->cache, c->set, false) ||
            check_scans(c->m->table, c->set, round % 2))
            abort();
    return NULL;
}

START_TEST(many_readers) {
    struct iter_suite_set *set = medium_set();
    struct table_writer_options options = options_of(500, _i, 10);
    struct made m;
    make(&m, set, &options, 40000);
    struct crowd crowd = {&m, set};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_all, &crowd), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    unmake(&m);
    iter_suite_free(set);
}
END_TEST

#define COUNT(cases) ((int)(sizeof(cases) / sizeof *(cases)))

int main(void) {
    Suite *suite = suite_create("table");
    TCase *tcase = tcase_create("table");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, random_tables, 0, 20);
    tcase_add_test(tcase, single_entry);
    tcase_add_test(tcase, versions_straddle_blocks);
    tcase_add_loop_test(tcase, large_value, 0, 10);
    tcase_add_test(tcase, sizes);
    tcase_add_test(tcase, filter_is_asked);
    tcase_add_test(tcase, separators);
    tcase_add_loop_test(tcase, separator_case, 0, COUNT(separator_cases));
    tcase_add_loop_test(tcase, index_finds, 0, 8);
    tcase_add_loop_test(tcase, damaged_byte, 0, 2);
    tcase_add_test(tcase, truncated);
    tcase_add_loop_test(tcase, hostile_bytes, 0, 2);
    tcase_add_loop_test(tcase, corrupt_field, 0, COUNT(corrupt_fields));
    tcase_add_test(tcase, another_file);
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, refused_calls);
    tcase_add_test(tcase, on_disk);
    tcase_add_loop_test(tcase, many_readers, 0, 2);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
