#include "engine/table/table.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "tests/lib/one_table.h"

static void check_iterators(struct one_table *o, const struct iter_suite_set *set,
                            struct rng *rng) {
    for (int keep = 0; keep < 2; keep++) {
        struct iter *it;
        ck_ok(table_iter_new(o->table, keep, &it, &test_err));
        ck_assert(!it->valid);
        iter_suite_check(it, set->entries, set->count, rng);
        iter_close(it);
    }
}

static void check_properties(const struct one_table *o, const struct iter_suite_set *set) {
    struct table_properties p = {.min_seq = UINT64_MAX};
    for (size_t i = 0; i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        bool same = i > 0 && slice_eq(e->key, set->entries[i - 1].key);
        uint64_t garbage = e->type == ENTRY_DELETE ? e->seq : same ? set->entries[i - 1].seq : 0;
        p.tombstone_count += e->type == ENTRY_DELETE;
        p.key_count += !same;
        if (garbage && (!p.garbage_seq || garbage < p.garbage_seq)) p.garbage_seq = garbage;
        p.key_bytes += e->key.len;
        p.value_bytes += e->value.len;
        if (e->seq < p.min_seq) p.min_seq = e->seq;
        if (e->seq > p.max_seq) p.max_seq = e->seq;
    }
    const struct table_properties *got = table_properties(o->table);
    ck_assert_uint_eq(got->entry_count, set->count);
    ck_assert_uint_eq(got->tombstone_count, p.tombstone_count);
    ck_assert_uint_eq(got->key_count, p.key_count);
    ck_assert_uint_eq(got->garbage_seq, p.garbage_seq);
    ck_assert_uint_eq(got->key_bytes, p.key_bytes);
    ck_assert_uint_eq(got->value_bytes, p.value_bytes);
    ck_assert_uint_eq(got->min_seq, p.min_seq);
    ck_assert_uint_eq(got->max_seq, p.max_seq);
    const struct table_properties *told = &o->summary.properties;
    ck_assert(got->entry_count == told->entry_count && got->key_count == told->key_count &&
              got->tombstone_count == told->tombstone_count &&
              got->garbage_seq == told->garbage_seq && got->compression == told->compression &&
              got->key_bytes == told->key_bytes && got->value_bytes == told->value_bytes &&
              got->block_count == told->block_count && got->min_seq == told->min_seq &&
              got->max_seq == told->max_seq);
    ck_assert(slice_eq(buf_slice(&o->summary.min_key), set->entries[0].key));
    ck_assert(slice_eq(buf_slice(&o->summary.max_key), set->entries[set->count - 1].key));
}

static void check_positions(const struct one_table *o, const struct iter_suite_set *set) {
    uint64_t bytes, entries, last_bytes = 0, last_entries = 0;
    for (size_t i = 0; i < set->count; i++) {
        table_position(o->table, set->entries[i].key, &bytes, &entries);
        ck_assert(bytes >= last_bytes && bytes <= o->summary.file_bytes);
        ck_assert(entries >= last_entries && entries <= set->count);
        last_bytes = bytes;
        last_entries = entries;
    }
    table_position(o->table, slice_of(NULL, 0), &bytes, &entries);
    ck_assert_uint_eq(bytes + entries, 0);
    table_position(o->table, slice_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10), &bytes,
                   &entries);
    ck_assert_uint_eq(entries, set->count);
}

static void check_count(const struct one_table *o, const struct iter_suite_set *set, slice lower,
                        slice upper) {
    uint64_t wanted = 0, count;
    for (size_t i = 0; i < set->count; i++)
        wanted += slice_cmp(set->entries[i].key, lower) >= 0 &&
                  (!upper.data || slice_cmp(set->entries[i].key, upper) < 0);
    ck_ok(table_count(o->table, lower, upper, &count, &test_err));
    ck_assert_uint_eq(count, wanted);
}

static void check_counts(const struct one_table *o, const struct iter_suite_set *set,
                         struct rng *rng) {
    const slice open = {0}, most = slice_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10);
    check_count(o, set, open, open);
    check_count(o, set, open, most);
    check_count(o, set, most, open);
    for (unsigned n = 0; n < 50; n++) {
        slice lower = set->entries[rng_below(rng, set->count)].key;
        slice upper = set->entries[rng_below(rng, set->count)].key;
        check_count(o, set, rng_below(rng, 4) ? lower : open, rng_below(rng, 4) ? upper : open);
    }
}

START_TEST(random_tables) {
    static const uint32_t block_bytes[] = {1, 40, 200, 1000, 4096};
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    struct one_table o;
    shape.key_count = 1 + rng_below(&rng, 120);
    if (_i % 4 == 0) shape.max_versions = 40;
    if (_i % 7 == 0) shape.max_key_bytes = 3;
    if (_i % 3 == 0) shape.max_seq = UINT64_MAX >> 2;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct table_writer_options options =
        table_options(block_bytes[_i % 5], _i % 2, _i % 6 ? 12 : 0);
    options.restart_interval = 1 + (unsigned)rng_below(&rng, 20);
    one_table_init(&o, set, &options, _i % 8 ? 1 << 20 : 0);
    check_iterators(&o, set, &rng);
    ck_ok(check_gets(o.table, o.cache, set, true));
    check_properties(&o, set);
    check_positions(&o, set);
    check_counts(&o, set, &rng);
    ck_ok(table_verify(o.table, &test_err));
    one_table_release(&o);
    iter_suite_free(set);
}
END_TEST

/* One entry, the least a table can hold. */
START_TEST(single_entry) {
    struct iter_suite_entry e = {slice_of_str("k"), 7, ENTRY_DELETE, {0}};
    struct iter_suite_set *set = iter_suite_sorted(&e, 1);
    struct table_writer_options options = table_options(4096, KEVO_COMPRESSION_LZ4, 10);
    struct rng rng = rng_of(1);
    struct one_table o;
    one_table_init(&o, set, &options, 1 << 20);
    check_iterators(&o, set, &rng);
    ck_ok(check_gets(o.table, o.cache, set, true));
    one_table_release(&o);
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
        struct table_writer_options options = table_options(block_bytes, block_bytes % 2, 10);
        struct one_table o;
        one_table_init(&o, set, &options, 1 << 20);
        check_iterators(&o, set, &rng);
        ck_ok(check_gets(o.table, o.cache, set, true));
        check_counts(&o, set, &rng);
        ck_ok(table_verify(o.table, &test_err));
        one_table_release(&o);
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
    struct table_writer_options options = table_options(4096, KEVO_COMPRESSION_LZ4, 10);
    struct one_table o;
    one_table_init(&o, set, &options, 1 << 20);
    ck_assert_uint_eq(table_properties(o.table)->block_count, 3);
    ck_ok(check_scans(o.table, set, true));
    ck_ok(check_scans(o.table, set, false));
    ck_ok(check_gets(o.table, o.cache, set, false));
    ck_ok(table_verify(o.table, &test_err));
    struct cache_stats stats;
    cache_get_stats(o.cache, &stats);
    ck_assert_uint_lt(stats.used_bytes, 1 << 20);
    one_table_release(&o);
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
        struct table_writer_options options = table_options(4096, KEVO_COMPRESSION_LZ4, 10);
        struct table_writer *w;
        struct table_summary summary;
        struct rng rng = rng_of(5);
        const char *name = noise ? "/noise" : "/plain";
        ck_ok(table_writer_open(env, name, ONE_TABLE_NUMBER, &options, &w, &test_err));
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
        ck_assert_uint_le(summary.file_bytes, estimate + estimate / 10 + 20000 * 10 / 8 + 4096);
        table_summary_release(&summary);
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
    struct table_writer_options options = table_options(1000, KEVO_COMPRESSION_LZ4, 12);
    struct one_table o;
    one_table_init(&o, set, &options, 1 << 20);
    unsigned rejected = 0;
    for (unsigned i = 0; i < 1000; i++) {
        struct table_value v;
        bool filtered = false;
        uint8_t key[20];
        for (size_t k = 0; k < sizeof key; k++)
            key[k] = (uint8_t)rng_next(&rng);
        slice s = slice_of(key, sizeof key);
        ck_assert_int_eq(table_get(o.table, s, key_hash(s), SEQ_MAX, &v, &filtered, &test_err),
                         KEVO_NOTFOUND);
        rejected += filtered;
    }
    ck_assert_uint_gt(rejected, 960);
    one_table_release(&o);
    iter_suite_free(set);
}
END_TEST

/* ---- scans and the cache ---------------------------------------------------------------- */

enum { SCANNED = 5000 };

static void write_numbers(struct one_table *o) {
    struct table_writer_options options = table_options(4096, KEVO_COMPRESSION_LZ4, 10);
    struct table_writer *w;
    ck_ok(table_writer_open(o->env, ONE_TABLE_PATH, ONE_TABLE_NUMBER, &options, &w, &test_err));
    for (uint64_t i = 0; i < SCANNED; i++) {
        uint8_t key[8], value[100] = {(uint8_t)i};
        put_fixed64(key, __builtin_bswap64(i));
        ck_ok(table_writer_add(w, slice_of(key, 8), 1, ENTRY_PUT, slice_of(value, 100), &test_err));
    }
    ck_ok(table_writer_finish(w, &o->summary, &test_err));
}

/* Walk on from where the iterator stands, key `at`, to the last number or to the first. */
static void walk_numbers(struct iter *it, uint64_t at, bool forward) {
    for (uint64_t left = forward ? SCANNED - at : at + 1; left > 0; left--) {
        uint8_t key[8];
        put_fixed64(key, __builtin_bswap64(at));
        ck_assert(it->valid && slice_eq(it->key, slice_of(key, 8)));
        ck_assert(it->value.len == 100 && it->value.data[0] == (uint8_t)at);
        at = forward ? at + 1 : at - 1;
        ck_ok(forward ? it->ops->next(it, &test_err) : it->ops->prev(it, &test_err));
    }
    ck_assert(!it->valid);
}

/* A long scan leaves all but its first blocks out of the cache, and uses what is in it;
 * after a seek blocks are kept again. */
START_TEST(scans_spare_the_cache) {
    struct one_table o = {.env = env_memory_new(), .cache = cache_new(4 << 20, 0)};
    struct cache_stats before, after;
    struct iter *it;
    write_numbers(&o);
    ck_ok(one_table_open(&o));
    ck_ok(table_iter_new(o.table, true, &it, &test_err));
    ck_assert_uint_gt(table_properties(o.table)->block_count, 100);
    ck_ok(it->ops->seek_first(it, &test_err));
    walk_numbers(it, 0, true);
    ck_ok(it->ops->seek_last(it, &test_err));
    walk_numbers(it, SCANNED - 1, false);
    cache_get_stats(o.cache, &before);
    ck_assert_uint_gt(before.used_bytes, 8 * 4096);
    ck_assert_uint_lt(before.used_bytes, 25 * 4096);
    uint8_t key[8] = {0, 0, 0, 0, 0, 0, SCANNED / 2 >> 8, SCANNED / 2 & 0xff};
    ck_ok(it->ops->seek(it, slice_of(key, 8), SEQ_MAX, &test_err));
    cache_get_stats(o.cache, &after);
    ck_assert_uint_gt(after.used_bytes, before.used_bytes);
    walk_numbers(it, SCANNED / 2, true);
    cache_get_stats(o.cache, &before);
    ck_ok(it->ops->seek_first(it, &test_err));
    walk_numbers(it, 0, true);
    cache_get_stats(o.cache, &after);
    ck_assert_uint_ge(after.hits - before.hits, 20); /* first, middle and last ones */
    iter_close(it);
    one_table_release(&o);
}
END_TEST

static void get_number(const struct one_table *o, uint64_t i) {
    struct table_value v;
    uint8_t key[8];
    put_fixed64(key, __builtin_bswap64(i));
    slice s = slice_of(key, 8);
    ck_ok(table_get(o->table, s, key_hash(s), SEQ_MAX, &v, NULL, &test_err));
    ck_assert(v.block && v.value.len == 100 && v.value.data[0] == (uint8_t)i);
    cache_unpin(o->cache, v.block);
}

/* Blocks are read again and again while others take their memory, and after all of them have
 * been dropped: where the table noted that they were counts for nothing. */
START_TEST(blocks_come_and_go) {
    struct one_table o = {.env = env_memory_new(), .cache = cache_new(_i ? 100 << 10 : 4 << 20, 0)};
    struct rng rng = rng_of(harness_seed());
    struct cache_stats stats;
    write_numbers(&o);
    ck_ok(one_table_open(&o));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4000; i++)
            get_number(&o, rng_below(&rng, i % 2 ? SCANNED : 100));
        cache_get_stats(o.cache, &stats);
        ck_assert_uint_gt(stats.hits, 1000);
        for (uint64_t id = 0; id < 10; id++)
            cache_erase(o.cache, id);
        cache_get_stats(o.cache, &stats);
        ck_assert_uint_eq(stats.used_bytes, 0);
    }
    one_table_release(&o);
}
END_TEST

static void *get_numbers(void *arg) {
    for (uint64_t i = 0; i < 5 * SCANNED; i++)
        get_number(arg, i * 7919 % SCANNED);
    return NULL;
}

/* All ask for the same blocks at the same time, for the first time and for the fifth. */
START_TEST(readers_at_once) {
    enum { READERS = 4 };
    struct one_table o = {.env = env_memory_new(), .cache = cache_new(_i ? 100 << 10 : 4 << 20, 0)};
    pthread_t readers[READERS];
    write_numbers(&o);
    ck_ok(one_table_open(&o));
    for (int i = 0; i < READERS; i++)
        ck_assert_int_eq(pthread_create(&readers[i], NULL, get_numbers, &o), 0);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    one_table_release(&o);
}
END_TEST

/* ---- range tombstones ------------------------------------------------------------------ */

static struct range_set *random_ranges(struct rng *rng, const struct iter_suite_set *set,
                                       uint64_t max_seq) {
    struct range_list list = {0};
    struct range_set *ranges;
    for (uint64_t n = 1 + rng_below(rng, 8); n > 0 || list.count == 0; n -= n > 0) {
        slice lower = set->entries[rng_below(rng, set->count)].key;
        slice upper = set->entries[rng_below(rng, set->count)].key;
        if (rng_below(rng, 10) == 0) lower = range_start();
        if (rng_below(rng, 10) == 0) upper = range_end();
        if (rng_below(rng, 10) == 0) upper = slice_of("\xff\xff\xff\xff", 4);
        ck_ok(range_list_add(&list, lower, upper, 1 + rng_below(rng, max_seq), &test_err));
    }
    ck_ok(range_set_new(&list, false, &ranges, &test_err));
    range_list_release(&list);
    return ranges;
}

/* The key range is that of entries and range tombstones together. */
static void check_span(const struct one_table *o, const struct iter_suite_set *set,
                       const struct range_set *ranges) {
    const struct table_properties *p = table_properties(o->table);
    slice min = ranges->fragments[0].lower, max = ranges->fragments[ranges->count - 1].upper;
    bool below = true;
    uint64_t min_seq = ranges->min_seq, max_seq = ranges->max_seq;
    for (size_t i = 0; i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        if (slice_cmp(e->key, min) < 0) min = e->key;
        if (slice_cmp(e->key, max) >= 0) {
            max = e->key;
            below = false;
        }
        if (e->seq < min_seq) min_seq = e->seq;
        if (e->seq > max_seq) max_seq = e->seq;
    }
    ck_assert(slice_eq(buf_slice(&o->summary.min_key), min));
    ck_assert(slice_eq(buf_slice(&o->summary.max_key), max));
    ck_assert_int_eq(p->ends_below, below);
    ck_assert_int_eq(o->summary.properties.ends_below, below);
    ck_assert_uint_eq(p->range_count, ranges->seq_count);
    ck_assert_uint_eq(p->entry_count, set->count);
    ck_assert_uint_eq(p->min_seq, min_seq);
    ck_assert_uint_eq(p->max_seq, max_seq);
    ck_assert_uint_ge(ranges->min_seq, p->garbage_seq);
    ck_assert_uint_gt(p->garbage_seq, 0);
}

/* With entries, and every fourth time without any. */
START_TEST(range_tombstones) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 1 + rng_below(&rng, 60);
    shape.max_seq = 2 + rng_below(&rng, 1000);
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct range_set *ranges = random_ranges(&rng, set, shape.max_seq);
    struct table_writer_options options = table_options(200, _i % 2, _i % 3 ? 10 : 0);
    struct one_table o;
    if (_i % 4 == 0) set->count = 0;
    one_table_ranges = ranges;
    one_table_init(&o, set, &options, 1 << 20);
    check_span(&o, set, ranges);
    check_iterators(&o, set, &rng);
    ck_ok(check_gets(o.table, o.cache, set, true));
    ck_ok(check_scans(o.table, set, true));
    ck_ok(table_verify(o.table, &test_err));
    uint64_t bytes, entries;
    table_position(o.table, slice_of_str("m"), &bytes, &entries);
    ck_assert_uint_le(entries, set->count);
    one_table_release(&o);
    one_table_ranges = NULL;
    range_set_free(ranges);
    iter_suite_free(set);
}
END_TEST

/* What readers that pass once have told of the map behind them. */
static const uint8_t *passed_to;
static uint64_t passed_bytes;

static void note_advice(struct env *env, const uint8_t *data, size_t len, bool soon) {
    (void)env;
    if (soon) return;
    if (passed_to) ck_assert_ptr_eq(data, passed_to);
    passed_to = data + len;
    passed_bytes += len;
}

/* Merging and checking give the memory of the map back as they go, and only what lies behind:
 * files larger than memory need little of it. Readers that come again keep it. */
START_TEST(memory_behind_is_given_back) {
    enum { ENTRIES = 450, VALUE = 20000 };
    static struct iter_suite_entry entries[ENTRIES];
    static char keys[ENTRIES][8], value[VALUE];
    for (unsigned i = 0; i < ENTRIES; i++) {
        snprintf(keys[i], sizeof keys[i], "%06u", i);
        entries[i] =
            (struct iter_suite_entry){slice_of_str(keys[i]), 7, ENTRY_PUT, slice_of(value, VALUE)};
    }
    struct iter_suite_set *set = iter_suite_sorted(entries, ENTRIES);
    struct table_writer_options options = table_options(4096, KEVO_COMPRESSION_NONE, 10);
    struct one_table o;
    struct iter *it;
    one_table_init(&o, set, &options, 1 << 20);
    o.env->advise = note_advice;
    for (int keep = 0; keep < 2; keep++) {
        passed_to = NULL;
        passed_bytes = 0;
        ck_ok(table_iter_new(o.table, keep, &it, &test_err));
        ck_ok(it->ops->seek_first(it, &test_err));
        for (unsigned i = 0; it->valid; i++) {
            if (passed_to) ck_assert(it->value.data >= passed_to);
            ck_ok(it->ops->next(it, &test_err));
        }
        iter_close(it);
        ck_assert_uint_eq(passed_bytes, keep ? 0 : 8 << 20);
    }
    passed_to = NULL;
    ck_ok(table_verify(o.table, &test_err));
    ck_assert_uint_eq(passed_bytes, 8 << 20);
    one_table_release(&o);
    iter_suite_free(set);
}
END_TEST

static int (*write_as_is)(struct env *env, struct env_file *file, uint64_t offset, const void *data,
                          size_t len, struct kevo_err *err);
static uint64_t written;
static unsigned odd_ends; /* of writes that did not end a piece of 2 MB */
static uint64_t begun;    /* to be brought to the disk */

static int note_write(struct env *env, struct env_file *file, uint64_t offset, const void *data,
                      size_t len, struct kevo_err *err) {
    ck_assert_uint_eq(offset, written);
    ck_assert_uint_eq(offset % (2 << 20), 0);
    written += len;
    odd_ends += written % (2 << 20) != 0;
    return write_as_is(env, file, offset, data, len, err);
}

static void note_begun(struct env *env, struct env_file *file, uint64_t offset, uint64_t len) {
    (void)env;
    (void)file;
    ck_assert_uint_eq(offset, begun);
    begun += len;
    ck_assert_uint_eq(begun, written);
}

/* Files are written in pieces that the system can keep in huge pages, whatever is in them, and that are
 * on their way to the disk by the time of the sync. */
START_TEST(written_in_pieces) {
    enum { ENTRIES = 450, VALUE = 20000, HUGE = 5 << 20 };
    static struct iter_suite_entry entries[ENTRIES];
    static char keys[ENTRIES][8], value[VALUE];
    char *huge = malloc(HUGE);
    struct rng rng = rng_of(harness_seed());
    for (unsigned i = 0; i < HUGE; i++)
        huge[i] = _i == 1 ? (char)rng_next(&rng) : (char)(i / 3);
    for (unsigned i = 0; i < ENTRIES; i++) {
        slice v = _i > 0 && i == ENTRIES / 2 ? slice_of(huge, HUGE) : slice_of(value, VALUE);
        snprintf(keys[i], sizeof keys[i], "%06u", i);
        entries[i] = (struct iter_suite_entry){slice_of_str(keys[i]), 7, ENTRY_PUT, v};
    }
    struct iter_suite_set *set = iter_suite_sorted(entries, ENTRIES);
    struct table_writer_options options =
        table_options(4096, _i == 2 ? KEVO_COMPRESSION_LZ4 : KEVO_COMPRESSION_NONE, 10);
    struct one_table o = {.env = env_memory_new(), .cache = cache_new(1 << 20, 0)};
    for (unsigned i = 0; i < VALUE; i++)
        value[i] = (char)rng_next(&rng);
    write_as_is = o.env->write;
    o.env->write = note_write;
    o.env->write_soon = note_begun;
    written = begun = 0;
    odd_ends = 0;
    ck_ok(one_table_write(o.env, ONE_TABLE_PATH, set, &options, &o.summary));
    ck_assert_uint_eq(written, o.summary.file_bytes);
    ck_assert_uint_eq(begun, written);
    ck_assert_uint_le(odd_ends, 1);
    ck_ok(one_table_open(&o));
    ck_ok(check_scans(o.table, set, false));
    ck_ok(table_verify(o.table, &test_err));
    one_table_release(&o);
    iter_suite_free(set);
    free(huge);
}
END_TEST

START_TEST(on_disk) {
    struct iter_suite_set *set = one_table_set();
    char file[ENV_PATH_MAX];
    struct table_writer_options options = table_options(500, KEVO_COMPRESSION_LZ4, 10);
    struct table_summary summary;
    struct env *env = env_posix();
    struct cache *cache = cache_new(1 << 20, 0);
    struct table *t;
    ck_ok(env_join(file, scratch_dir(), "000042.sst", &test_err));
    ck_ok(one_table_write(env, file, set, &options, &summary));
    ck_ok(table_open(env, file, ONE_TABLE_NUMBER, summary.file_bytes, summary.checksum, cache,
                     &(uint64_t){0}, &t, &test_err));
    ck_ok(env->unlink(env, file, &test_err)); /* readers go on */
    ck_ok(check_gets(t, cache, set, true));
    ck_ok(check_scans(t, set, false));
    ck_ok(table_verify(t, &test_err));
    table_close(t);
    cache_free(cache);
    table_summary_release(&summary);
    iter_suite_free(set);
}
END_TEST

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
    tcase_add_test(tcase, scans_spare_the_cache);
    tcase_add_loop_test(tcase, blocks_come_and_go, 0, 2);
    tcase_add_loop_test(tcase, readers_at_once, 0, 2);
    tcase_add_loop_test(tcase, range_tombstones, 0, 40);
    tcase_add_test(tcase, memory_behind_is_given_back);
    tcase_add_loop_test(tcase, written_in_pieces, 0, 3);
    tcase_add_test(tcase, on_disk);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
