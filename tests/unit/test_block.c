#include "engine/table/block.h"

#include <stdlib.h>

#include "tests/lib/harness.h"
#include "tests/lib/iter_suite.h"

static const char name[] = "test.sst";

/* The block of the entries, in memory of exactly its size. The caller frees. */
static slice build(const struct iter_suite_entry *entries, size_t n, unsigned restart_interval) {
    struct block_builder b;
    slice built;
    block_builder_init(&b, restart_interval);
    for (size_t i = 0; i < n; i++)
        ck_ok(block_builder_add(&b, entries[i].key, entries[i].seq, entries[i].type,
                                entries[i].value, &test_err));
    size_t bytes = block_builder_bytes(&b);
    ck_ok(block_builder_finish(&b, &built, &test_err));
    ck_assert_uint_eq(built.len, bytes);
    uint8_t *copy = malloc(built.len);
    memcpy(copy, built.data, built.len);
    block_builder_release(&b);
    return slice_of(copy, bytes);
}

static void check_get(slice block, const struct iter_suite_entry *sorted, size_t n, slice key,
                      uint64_t max_seq) {
    uint8_t type = 9;
    uint64_t seq = 0;
    slice value = {0};
    bool past_end;
    size_t at = iter_suite_seek_index(sorted, n, key, max_seq);
    int rc = block_get(block, key, max_seq, &type, &seq, &value, &past_end, name, 0, &test_err);
    if (at == n || !slice_eq(sorted[at].key, key)) {
        ck_assert_int_eq(rc, KEVO_NOTFOUND);
        ck_assert_int_eq(past_end, at == n);
        return;
    }
    ck_ok(rc);
    ck_assert_uint_eq(seq, sorted[at].seq);
    ck_assert_int_eq(type, sorted[at].type);
    ck_assert(slice_eq(value, sorted[at].value));
}

static void check_gets(slice block, const struct iter_suite_entry *sorted, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct iter_suite_entry *e = &sorted[i];
        check_get(block, sorted, n, e->key, SEQ_MAX);
        check_get(block, sorted, n, e->key, e->seq);
        check_get(block, sorted, n, e->key, e->seq - 1);
        uint8_t *key = malloc(e->key.len + 1);
        memcpy(key, e->key.data, e->key.len);
        key[e->key.len] = 0;
        check_get(block, sorted, n, slice_of(key, e->key.len + 1), SEQ_MAX);
        check_get(block, sorted, n, slice_of(key, e->key.len - 1), SEQ_MAX);
        key[e->key.len - 1]++;
        check_get(block, sorted, n, slice_of(key, e->key.len), e->seq);
        free(key);
    }
    check_get(block, sorted, n, slice_of(NULL, 0), SEQ_MAX);
}

START_TEST(random_blocks) {
    static const unsigned intervals[] = {1, 2, 3, 16, 1000};
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 1 + rng_below(&rng, 120);
    if (_i % 3 == 0) shape.max_key_bytes = 5;
    if (_i % 5 == 0) shape.max_seq = UINT64_MAX >> 2;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    slice block = build(set->entries, set->count, intervals[_i % 5]);
    struct block_iter it;
    block_iter_init(&it);
    ck_ok(block_iter_set(&it, block, name, 0, &test_err));
    iter_suite_check(&it.base, set->entries, set->count, &rng);
    check_gets(block, set->entries, set->count);
    iter_close(&it.base);
    free((void *)block.data);
    iter_suite_free(set);
}
END_TEST

/* Long keys behind one restart point: more than a step back keeps of them at once. */
START_TEST(backward_over_long_keys) {
    enum { KEYS = 70, KEY_BYTES = 40000 };
    struct iter_suite_entry entries[KEYS];
    uint8_t *bytes = calloc(KEYS, KEY_BYTES);
    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t *key = bytes + (size_t)i * KEY_BYTES;
        key[KEY_BYTES - 1] = (uint8_t)i;
        entries[i] = (struct iter_suite_entry){
            .key = slice_of(key, KEY_BYTES), .seq = i + 1, .type = ENTRY_PUT};
    }
    slice block = build(entries, KEYS, 1000);
    struct block_iter it;
    block_iter_init(&it);
    ck_ok(block_iter_set(&it, block, name, 0, &test_err));
    ck_ok(block_iter_ops.seek_last(&it.base, &test_err));
    for (size_t i = KEYS; i-- > 0;) {
        iter_suite_expect(&it.base, entries, KEYS, i, "backward");
        if (i % 9 == 4) { /* there and back */
            ck_ok(block_iter_ops.next(&it.base, &test_err));
            iter_suite_expect(&it.base, entries, KEYS, i + 1, "forward again");
            ck_ok(block_iter_ops.prev(&it.base, &test_err));
        }
        ck_assert_uint_lt(it.run_keys.cap, 4 << 20);
        ck_ok(block_iter_ops.prev(&it.base, &test_err));
    }
    ck_assert(!it.base.valid);
    iter_close(&it.base);
    free((void *)block.data);
    free(bytes);
}
END_TEST

START_TEST(empty_block) {
    slice block = build(NULL, 0, 16);
    struct rng rng = rng_of(1);
    struct block_iter it;
    block_iter_init(&it);
    iter_suite_check(&it.base, NULL, 0, &rng); /* over no block at all */
    ck_ok(block_iter_set(&it, block, name, 0, &test_err));
    iter_suite_check(&it.base, NULL, 0, &rng);
    check_get(block, NULL, 0, slice_of_str("a"), SEQ_MAX);
    block_iter_release(&it);
    free((void *)block.data);
}
END_TEST

/* Every width of every number in an entry's head, and every sequence number. */
START_TEST(widths) {
    static const char text[] = "a very long key that is shared by all";
    struct iter_suite_entry entries[64 * 2 + 1];
    size_t n = 0;
    slice key = slice_of_str(text);
    for (unsigned bit = 1; bit < 64; bit++) {
        uint64_t power = (uint64_t)1 << bit;
        entries[n++] = (struct iter_suite_entry){
            .key = key, .seq = power, .type = ENTRY_PUT, .value = slice_of(text, bit % 9)};
        entries[n++] = (struct iter_suite_entry){.key = key, .seq = power - 1};
    }
    entries[n++] = (struct iter_suite_entry){.key = slice_of_str("z"), .seq = 0, .type = ENTRY_PUT};
    struct iter_suite_set *set = iter_suite_sorted(entries, n);
    slice block = build(set->entries, set->count, 16);
    struct rng rng = rng_of(harness_seed());
    struct block_iter it;
    block_iter_init(&it);
    ck_ok(block_iter_set(&it, block, name, 0, &test_err));
    iter_suite_check(&it.base, set->entries, set->count, &rng);
    check_gets(block, set->entries, set->count);
    block_iter_release(&it);
    free((void *)block.data);
    iter_suite_free(set);
}
END_TEST

/* One iterator moved from block to block, as a table does. */
START_TEST(many_blocks_one_iterator) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    struct block_iter it;
    block_iter_init(&it);
    for (int round = 0; round < 20; round++) {
        shape.key_count = 1 + rng_below(&rng, 20);
        shape.max_key_bytes = round % 2 ? 300 : 3000;
        struct iter_suite_set *set = iter_suite_random(&rng, &shape);
        slice block = build(set->entries, set->count, 4);
        ck_ok(block_iter_set(&it, block, name, 0, &test_err));
        ck_assert(!it.base.valid);
        iter_suite_check(&it.base, set->entries, set->count, &rng);
        free((void *)block.data);
        iter_suite_free(set);
    }
    block_iter_release(&it);
}
END_TEST

/* A sequential set: what the size of a head is. */
START_TEST(small_heads) {
    struct iter_suite_entry e[] = {
        {slice_of_str("key0000"), 0, ENTRY_PUT, slice_of_str("v")},
        {slice_of_str("key0001"), 200, ENTRY_PUT, slice_of_str("v")},
        {slice_of_str("key0002"), 60000, ENTRY_DELETE, {0}},
    };
    slice block = build(e, 3, 16);
    ck_assert_uint_eq(block.len, 2 + (4 + 0 + 7) + (4 + 1 + 1) + (4 + 2 + 1) + 8 + 8);
    free((void *)block.data);
}
END_TEST

/* Walk and ask a block whatever it holds; nothing but KEVO_CORRUPT may come. */
static void exercise(slice block, const struct iter_suite_set *set) {
    struct block_iter it;
    block_iter_init(&it);
    int rc = block_iter_set(&it, block, name, 0, &test_err);
    if (rc == 0) {
        rc = it.base.ops->seek_first(&it.base, &test_err);
        while (rc == 0 && it.base.valid)
            rc = it.base.ops->next(&it.base, &test_err);
        ck_assert(rc == 0 || rc == KEVO_CORRUPT);
        rc = it.base.ops->seek_last(&it.base, &test_err);
        while (rc == 0 && it.base.valid)
            rc = it.base.ops->prev(&it.base, &test_err);
        ck_assert(rc == 0 || rc == KEVO_CORRUPT);
    }
    for (size_t i = 0; i < set->count; i++) {
        uint8_t type;
        uint64_t seq;
        slice value, key = set->entries[i].key;
        bool past_end;
        rc = block_get(block, key, SEQ_MAX, &type, &seq, &value, &past_end, name, 0, &test_err);
        ck_assert(rc == 0 || rc == KEVO_NOTFOUND || rc == KEVO_CORRUPT);
        rc = it.base.ops->seek(&it.base, key, SEQ_MAX, &test_err);
        for (int steps = 0; rc == 0 && it.base.valid && steps < 5; steps++)
            rc = it.base.ops->prev(&it.base, &test_err);
        ck_assert(rc == 0 || rc == KEVO_CORRUPT);
        uint32_t count;
        rc = block_count(block, &count, name, 0, &test_err);
        ck_assert(rc == 0 || rc == KEVO_CORRUPT);
        rc = it.base.ops->seek_before(&it.base, key, &test_err);
        for (int steps = 0; rc == 0 && it.base.valid && steps < 40; steps++)
            rc = it.base.ops->prev(&it.base, &test_err);
        ck_assert(rc == 0 || rc == KEVO_CORRUPT);
    }
    block_iter_release(&it);
}

START_TEST(damaged_bytes) {
    static const uint8_t masks[] = {0x01, 0x80, 0xff, 0x10, 0x7f};
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 20;
    shape.max_value_bytes = 10;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    slice block = build(set->entries, set->count, 4);
    uint8_t *bytes = (uint8_t *)block.data;
    for (size_t i = 0; i < block.len; i++) {
        for (size_t m = 0; m < sizeof masks; m++) {
            bytes[i] ^= masks[m];
            exercise(block, set);
            bytes[i] ^= masks[m];
        }
    }
    for (size_t len = 0; len < block.len; len++) {
        uint8_t *cut = malloc(len ? len : 1);
        memcpy(cut, block.data, len);
        exercise(slice_of(cut, len), set);
        free(cut);
    }
    free(bytes);
    iter_suite_free(set);
}
END_TEST

/* One wrong field each: what must be refused. */
static const struct {
    const char *what;
    size_t at;     /* offset in the block that the test makes */
    uint8_t value; /* what to put there */
} corrupt_fields[] = {
    {"reserved flag", 2, 0x18},
    {"shared without a predecessor", 3, 1},
    {"key too long", 4, 100},
    {"value too long", 5, 100},
    {"values too long together", 5, 2},
    {"seq too wide", 2, 0x0f},
    {"tombstone with a value", 2, 0x00},
    {"shared beyond the key", 9, 3},
    {"restart before the heads", 13, 1},
    {"restart behind the heads", 13, 13},
    {"restart's value behind the values", 17, 3},
    {"heads behind their end", 21, 14},
    {"restart count zero", 25, 0},
    {"restart count too large", 25, 9},
};

START_TEST(corrupt_field) {
    struct iter_suite_entry e[] = {{slice_of_str("aa"), 0, ENTRY_PUT, slice_of_str("v")},
                                   {slice_of_str("ab"), 0, ENTRY_PUT, slice_of_str("v")}};
    /* values at 0, heads at 2 and 8, restart point at 13, frame at 21 */
    slice block = build(e, 2, 16);
    ck_assert_uint_eq(block.len, 29);
    ((uint8_t *)block.data)[corrupt_fields[_i].at] = corrupt_fields[_i].value;
    struct block_iter it;
    block_iter_init(&it);
    int rc = block_iter_set(&it, block, name, 77, &test_err);
    if (rc == 0) rc = it.base.ops->seek_first(&it.base, &test_err);
    while (rc == 0 && it.base.valid)
        rc = it.base.ops->next(&it.base, &test_err);
    if (rc == 0) rc = it.base.ops->seek_last(&it.base, &test_err);
    ck_assert_msg(rc == KEVO_CORRUPT, "%s: %d", corrupt_fields[_i].what, rc);
    ck_assert(!it.base.valid);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "test.sst: block at 77"));
    uint8_t type;
    uint64_t seq;
    slice value;
    bool past_end;
    rc = block_get(block, slice_of_str("ac"), 0, &type, &seq, &value, &past_end, name, 77,
                   &test_err);
    ck_assert_msg(rc == KEVO_CORRUPT, "%s: %d", corrupt_fields[_i].what, rc);
    block_iter_release(&it);
    free((void *)block.data);
}
END_TEST

static int build_and_walk(const struct iter_suite_set *set) {
    struct block_builder b;
    struct block_iter it;
    slice block;
    block_builder_init(&b, 3);
    block_iter_init(&it);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        rc = block_builder_add(&b, e->key, e->seq, e->type, e->value, &test_err);
    }
    if (rc == 0) rc = block_builder_finish(&b, &block, &test_err);
    if (rc == 0) rc = block_iter_set(&it, block, name, 0, &test_err);
    if (rc == 0) rc = it.base.ops->seek_last(&it.base, &test_err);
    for (size_t i = set->count; rc == 0 && i-- > 0;) {
        iter_suite_expect(&it.base, set->entries, set->count, i, "prev");
        rc = it.base.ops->prev(&it.base, &test_err);
    }
    block_iter_release(&it);
    block_builder_release(&b);
    return rc;
}

START_TEST(no_memory) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 40;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    uint64_t before = fault_alloc_live();
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc; n++) {
        fault_alloc_fail_at(n, n % 2);
        rc = build_and_walk(set);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        ck_assert_int_eq(rc, hit ? KEVO_NOMEM : 0);
        ck_assert_uint_eq(fault_alloc_live(), before);
    }
    iter_suite_free(set);
}
END_TEST

/* A builder that was refused memory goes on with the same entry. */
START_TEST(builder_survives_no_memory) {
    struct block_builder b;
    block_builder_init(&b, 2);
    for (uint64_t i = 0; i < 200; i++) {
        uint8_t key[3] = {'k', (uint8_t)(i >> 4), (uint8_t)i};
        fault_alloc_fail_at(1, true);
        int rc = block_builder_add(&b, slice_of(key, 3), i, ENTRY_PUT, slice_of(key, 3), &test_err);
        fault_alloc_fail_at(0, false);
        if (rc == 0) continue;
        ck_assert_int_eq(rc, KEVO_NOMEM);
        ck_ok(block_builder_add(&b, slice_of(key, 3), i, ENTRY_PUT, slice_of(key, 3), &test_err));
    }
    slice block;
    struct block_iter it;
    block_iter_init(&it);
    ck_ok(block_builder_finish(&b, &block, &test_err));
    ck_ok(block_iter_set(&it, block, name, 0, &test_err));
    ck_ok(it.base.ops->seek_first(&it.base, &test_err));
    for (uint64_t i = 0; i < 200; i++) {
        ck_assert(it.base.valid && it.base.seq == i && it.base.key.data[2] == (uint8_t)i);
        ck_ok(it.base.ops->next(&it.base, &test_err));
    }
    ck_assert(!it.base.valid);
    block_iter_release(&it);
    block_builder_release(&b);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("block");
    TCase *tcase = tcase_create("block");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, random_blocks, 0, 30);
    tcase_add_test(tcase, backward_over_long_keys);
    tcase_add_test(tcase, empty_block);
    tcase_add_test(tcase, widths);
    tcase_add_test(tcase, many_blocks_one_iterator);
    tcase_add_test(tcase, small_heads);
    tcase_add_test(tcase, damaged_bytes);
    tcase_add_loop_test(tcase, corrupt_field, 0,
                        (int)(sizeof corrupt_fields / sizeof *corrupt_fields));
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, builder_survives_no_memory);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
