#include "engine/mem/batch.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/array_iter.h"

static struct memtable *memtable;
static struct buf payload;

static void setup(void) {
    memtable = memtable_new(0, 64);
    ck_assert_ptr_nonnull(memtable);
}

static void teardown(void) {
    memtable_unref(memtable);
    buf_release(&payload);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void put_entry(uint8_t type, slice key, slice value) {
    must(batch_put_entry(&payload, type, key, value, &test_err));
}

static void expect_entries(const struct iter_suite_entry *sorted, size_t count) {
    struct iter *it;
    must(memtable_iter_new(memtable, &it, &test_err));
    must(it->ops->seek_first(it, &test_err));
    for (size_t i = 0; i < count; i++) {
        iter_suite_expect(it, sorted, count, i, "next");
        must(it->ops->next(it, &test_err));
    }
    ck_assert(!it->valid);
    iter_close(it);
}

/* Leave the newest version of each key, under that sequence number. */
static void keep_newest(struct iter_suite_set *set, uint64_t seq) {
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (count && slice_eq(set->entries[count - 1].key, set->entries[i].key)) continue;
        set->entries[count] = set->entries[i];
        set->entries[count++].seq = seq;
    }
    set->count = count;
}

/* FORMAT.md, "Write-ahead log". */
START_TEST(the_bytes_are_those_of_the_format) {
    static const uint8_t expected[] = {5,   2, 'k', 'v', 'w', 8,   'a', 'b', 5,  0,
                                       'z', 6, 2,   'c', 'd', 'e', 6,   0,   'f'};
    put_entry(ENTRY_PUT, slice_of_str("k"), slice_of_str("vw"));
    put_entry(ENTRY_DELETE, slice_of_str("ab"), slice_of(NULL, 0));
    put_entry(ENTRY_PUT, slice_of_str("z"), slice_of(NULL, 0));
    put_entry(CHANGE_DELETE_RANGE, slice_of_str("c"), slice_of_str("de"));
    put_entry(CHANGE_DELETE_RANGE, slice_of_str("f"), range_end());
    ck_assert(slice_eq(buf_slice(&payload), slice_of(expected, sizeof expected)));
}
END_TEST

START_TEST(an_empty_batch) {
    must(batch_insert(slice_of(NULL, 0), memtable, 5, "here", &test_err));
    ck_assert_uint_eq(memtable_live_count(memtable), 0);
    struct batch_totals totals = {0};
    must(batch_put_memtable(&payload, memtable, &totals, &test_err));
    ck_assert_uint_eq(payload.len, 0);
}
END_TEST

/* Entries through bytes and back; more than are read in one go, keys and values of all
 * sizes. */
START_TEST(round_trip) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.max_versions = 1;
    shape.max_key_bytes = _i ? 300 : KEVO_MAX_KEY_BYTES;
    shape.max_value_bytes = _i ? 2000 : 100000;
    shape.key_count = _i ? (size_t)rng_below(&rng, 200) : 20;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    keep_newest(set, 77);
    for (size_t i = 0; i < set->count; i++)
        put_entry(set->entries[i].type, set->entries[i].key, set->entries[i].value);
    must(batch_insert(buf_slice(&payload), memtable, 77, "here", &test_err));
    expect_entries(set->entries, set->count);
    iter_suite_free(set);
}
END_TEST

/* Of a write buffer the newest version of each key goes into the batch. */
START_TEST(the_newest_version_counts) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct memtable *buffer = memtable_new(0, 64);
    struct batch_totals totals = {0}, expected = {0};
    for (size_t i = 0; i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        must(memtable_add(buffer, e->key, SEQ_PRIVATE + e->seq, e->type, e->value, &test_err));
        bool newest = i == 0 || !slice_eq(set->entries[i - 1].key, e->key);
        if (!newest) continue;
        if (e->type == ENTRY_PUT)
            expected.puts++;
        else
            expected.deletes++;
        expected.user_bytes += e->key.len + e->value.len;
    }
    must(batch_put_memtable(&payload, buffer, &totals, &test_err));
    ck_assert_uint_eq(totals.puts, expected.puts);
    ck_assert_uint_eq(totals.deletes, expected.deletes);
    ck_assert_uint_eq(totals.user_bytes, expected.user_bytes);
    must(batch_insert(buf_slice(&payload), memtable, 9, "here", &test_err));
    keep_newest(set, 9);
    expect_entries(set->entries, set->count);
    memtable_unref(buffer);
    iter_suite_free(set);
}
END_TEST

/* "lower-upper" of each range tombstone in a memtable, "$" for no end. */
static const char *ranges_of(const struct memtable *m) {
    static char text[200];
    struct range_list list = {0};
    struct range_set *set;
    size_t len = 0;
    text[0] = 0;
    must(range_stack_list(&m->ranges, &list, &test_err));
    must(range_set_new(&list, false, &set, &test_err));
    for (size_t i = 0; set && i < set->count; i++) {
        const struct range_fragment *f = &set->fragments[i];
        bool open = slice_eq(f->upper, range_end());
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s-%.*s@%llu ", (int)f->lower.len,
                                (const char *)f->lower.data, open ? 1 : (int)f->upper.len,
                                open ? "$" : (const char *)f->upper.data,
                                (unsigned long long)f->seqs[0]);
    }
    range_list_release(&list);
    range_set_free(set);
    return text;
}

static void buffer_put(struct memtable *buffer, const char *key, uint64_t op) {
    must(memtable_add(buffer, slice_of_str(key), op, ENTRY_PUT, slice_of_str("v"), &test_err));
}

static void buffer_delete_range(struct memtable *buffer, const char *lower, const char *upper,
                                uint64_t op) {
    struct range_list list = {0};
    slice end = upper ? slice_of_str(upper) : range_end();
    must(range_list_add(&list, slice_of_str(lower), end, op, &test_err));
    must(memtable_delete_ranges(buffer, &list, op, &test_err));
    range_list_release(&list);
}

/* What was put before a range was deleted is left out, what came later stays; ranges that
 * touch are one. */
START_TEST(ranges_apply_in_order) {
    struct memtable *buffer = memtable_new(0, 64);
    struct batch_totals totals = {0};
    buffer_put(buffer, "b", 1);
    buffer_put(buffer, "d", 2);
    buffer_delete_range(buffer, "a", "c", 3);
    buffer_put(buffer, "a", 4);
    buffer_delete_range(buffer, "c", "d", 5);
    buffer_delete_range(buffer, "x", NULL, 6);
    buffer_put(buffer, "y", 7);
    must(batch_put_memtable(&payload, buffer, &totals, &test_err));
    ck_assert_uint_eq(totals.puts, 3);
    ck_assert_uint_eq(totals.range_deletes, 2);
    ck_assert_uint_eq(totals.user_bytes, 3 * 2 + 2 + 1);
    must(batch_insert(buf_slice(&payload), memtable, 9, "here", &test_err));
    ck_assert_str_eq(ranges_of(memtable), "a-d@9 x-$@9 ");
    static const char *const left[] = {"a", "d", "y"};
    struct iter_suite_entry expected[3];
    for (int i = 0; i < 3; i++)
        expected[i] =
            (struct iter_suite_entry){slice_of_str(left[i]), 9, ENTRY_PUT, slice_of_str("v")};
    expect_entries(expected, 3);
    ck_assert_uint_eq(memtable_cover(memtable, slice_of_str("a"), 9), 9);
    ck_assert_uint_eq(memtable_cover(memtable, slice_of_str("a"), 8), 0);
    memtable_unref(buffer);
}
END_TEST

/* Random changes of single keys and of ranges, often with a range at the end that is newer than
 * all of them, against what was last said of each key. */
START_TEST(buffers_against_an_array) {
    enum { KEYS = 26, NOTHING = 9 };
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct memtable *buffer = memtable_new(0, 64);
    struct batch_totals totals = {0};
    uint8_t last[KEYS], type;
    uint64_t singles = 1 + rng_below(&rng, 60), ranges = rng_below(&rng, 5), op = 0, seq;
    memset(last, NOTHING, sizeof last);
    while (singles + ranges > 0) {
        bool single = ranges == 0 || (singles > 0 && rng_below(&rng, 6) > 0);
        uint64_t low = rng_below(&rng, KEYS), high = low + 1 + rng_below(&rng, KEYS - low);
        char lower[2] = {(char)('a' + low)}, upper[2] = {(char)('a' + high)};
        if (single) {
            singles--;
            last[low] = rng_below(&rng, 2) ? ENTRY_PUT : ENTRY_DELETE;
            must(memtable_add(buffer, slice_of_str(lower), ++op, last[low],
                              slice_of_str(last[low] == ENTRY_PUT ? "v" : ""), &test_err));
        } else {
            ranges--;
            memset(last + low, CHANGE_DELETE_RANGE, high - low);
            buffer_delete_range(buffer, lower, high < KEYS ? upper : NULL, ++op);
        }
    }
    must(batch_put_memtable(&payload, buffer, &totals, &test_err));
    must(batch_insert(buf_slice(&payload), memtable, 9, "here", &test_err));
    for (int i = 0; i < KEYS; i++) {
        char text[2] = {(char)('a' + i)};
        slice key = slice_of_str(text), value;
        int rc = memtable_get(memtable, key, 9, &type, &seq, &value);
        bool single = last[i] <= ENTRY_PUT;
        ck_assert_int_eq(rc, single ? 0 : KEVO_NOTFOUND);
        if (single) ck_assert_int_eq(type, last[i]);
        if (last[i] == CHANGE_DELETE_RANGE) ck_assert_uint_eq(memtable_cover(memtable, key, 9), 9);
        if (last[i] == NOTHING) ck_assert_uint_eq(memtable_cover(memtable, key, 9), 0);
    }
    memtable_unref(buffer);
}
END_TEST

/* A stack of range tombstones against an array, with random undoing. */
START_TEST(range_stack_against_an_array) {
    enum { KEYS = 26, OPS = 400 };
    static struct {
        char lower, upper;
        uint64_t seq;
    } ranges[OPS];
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    size_t count = 0;
    uint64_t seq = 0;
    for (int op = 0; op < OPS; op++) {
        if (rng_below(&rng, 12) == 0) {
            uint64_t keep = seq - rng_below(&rng, seq < 20 ? seq + 1 : 20);
            memtable_void(memtable, (struct arena_mark){NULL, 0}, keep);
            while (count && ranges[count - 1].seq > keep)
                count--;
            continue;
        }
        char lower[] = {(char)('a' + rng_below(&rng, KEYS)), 0};
        char upper[] = {(char)(lower[0] + 1 + (char)rng_below(&rng, 5)), 0};
        buffer_delete_range(memtable, lower, upper, ++seq);
        ranges[count].lower = lower[0];
        ranges[count].upper = upper[0];
        ranges[count++].seq = seq;
        uint64_t max_seq = rng_below(&rng, seq + 2);
        for (char c = 'a'; c < 'a' + KEYS; c++) {
            uint64_t expected = 0;
            for (size_t i = 0; i < count; i++)
                if (ranges[i].lower <= c && c < ranges[i].upper && ranges[i].seq <= max_seq)
                    expected = ranges[i].seq;
            char key[] = {c, 0};
            if (memtable_cover(memtable, slice_of_str(key), max_seq) != expected)
                ck_abort_msg("op %d: %c at %llu", op, c, (unsigned long long)max_seq);
        }
    }
    memtable_void(memtable, (struct arena_mark){NULL, 0}, 0);
    ck_assert(memtable_is_empty(memtable));
    ck_assert_uint_gt(memtable_bytes(memtable), 0);
    memtable_reset(memtable);
    ck_assert_str_eq(ranges_of(memtable), "");
}
END_TEST

static const struct {
    const char *name;
    uint8_t bytes[12];
    size_t len;
} nonsense[] = {
    {"an empty key", {1, 0}, 2},
    {"an empty key deleted", {0}, 1},
    {"a key that runs past the end", {13, 1, 'a', 'b'}, 4},
    {"a value that runs past the end", {5, 5, 'a', 'b'}, 4},
    {"no length of the value", {5}, 1},
    {"a key too long", {0x85, 0x80, 0x10, 1, 'a'}, 5},
    {"a value too long", {5, 0x80, 0x80, 0x80, 0x80, 0x08, 'a'}, 7},
    {"an unknown kind of change", {7, 1, 'a', 'b'}, 4},
    {"a range without a lower bound", {2, 1, 'a'}, 3},
    {"an empty range", {6, 1, 'a', 'a'}, 4},
    {"a range upside down", {6, 1, 'b', 'a'}, 4},
    {"an upper bound that runs past the end", {6, 2, 'a', 'b'}, 4},
    {"an upper bound too long", {6, 0x81, 0x80, 0x04, 'a', 'b'}, 6},
    {"a length of 2^63", {0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 10},
    {"a varint without end", {0x80, 0x80, 0x80}, 3},
    {"a varint of 11 bytes", {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}, 11},
    {"one good entry, then half of one", {4, 'a', 5, 1, 'b'}, 5},
};

START_TEST(nonsense_is_corrupt) {
    slice bytes = slice_of(nonsense[_i].bytes, nonsense[_i].len);
    int rc = batch_insert(bytes, memtable, 42, "/dir/file", &test_err);
    ck_assert_msg(rc == KEVO_CORRUPT, "%s: %d", nonsense[_i].name, rc);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "/dir/file"));
    ck_assert_ptr_nonnull(strstr(test_err.msg, "42"));
}
END_TEST

/* Every byte damaged, every length: entries or KEVO_CORRUPT, never a read out of bounds. The
 * log's checksum is not there to help. */
START_TEST(any_bytes_are_safe) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 30;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    for (size_t i = 0; i < set->count; i++)
        put_entry(set->entries[i].type, set->entries[i].key, set->entries[i].value);
    put_entry(CHANGE_DELETE_RANGE, slice_of_str("b"), slice_of_str("bcd"));
    put_entry(CHANGE_DELETE_RANGE, slice_of_str("c"), range_end());
    size_t len = payload.len < 3000 ? payload.len : 3000;
    for (size_t i = 0; i < len; i++) {
        for (unsigned turn = 0; turn < 3; turn++) {
            /* A block of its own, so that the sanitizer sees its end. */
            size_t copy_len = turn == 2 ? i : len;
            uint8_t *copy = malloc(copy_len + 1);
            memcpy(copy, payload.data, copy_len);
            if (turn < 2) copy[i] ^= turn ? 0xff : 1;
            int rc = batch_insert(slice_of(copy, copy_len), memtable, 1, "here", &test_err);
            if (rc && rc != KEVO_CORRUPT) ck_abort_msg("byte %zu: %d", i, rc);
            free(copy);
            memtable_reset(memtable);
        }
    }
    iter_suite_free(set);
}
END_TEST

START_TEST(without_memory) {
    for (int i = 0; i < 40; i++) {
        char key[] = {'k', (char)('0' + i), 0};
        put_entry(ENTRY_PUT, slice_of_str(key), slice_of_str("value"));
    }
    put_entry(CHANGE_DELETE_RANGE, slice_of_str("k"), slice_of_str("m"));
    put_entry(CHANGE_DELETE_RANGE, slice_of_str("x"), range_end());
    for (uint64_t n = 1;; n++) {
        struct buf copy = {0};
        struct batch_totals totals = {0};
        fault_alloc_fail_at(n, false);
        int rc = batch_insert(buf_slice(&payload), memtable, 1, "here", &test_err);
        if (rc == 0) rc = batch_put_memtable(&copy, memtable, &totals, &test_err);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (hit) ck_assert_int_eq(rc, KEVO_NOMEM);
        if (rc == 0) ck_assert_uint_eq(copy.len, payload.len); /* ranges come first */
        buf_release(&copy);
        memtable_reset(memtable);
        if (!hit) break;
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("batch");
    TCase *tc = tcase_create("batch");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_bytes_are_those_of_the_format);
    tcase_add_test(tc, an_empty_batch);
    tcase_add_loop_test(tc, round_trip, 0, 6);
    tcase_add_loop_test(tc, the_newest_version_counts, 0, 4);
    tcase_add_test(tc, ranges_apply_in_order);
    tcase_add_loop_test(tc, buffers_against_an_array, 0, 300);
    tcase_add_loop_test(tc, range_stack_against_an_array, 0, 6);
    tcase_add_loop_test(tc, nonsense_is_corrupt, 0, sizeof nonsense / sizeof nonsense[0]);
    tcase_add_test(tc, any_bytes_are_safe);
    tcase_add_test(tc, without_memory);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
