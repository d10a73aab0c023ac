#include "engine/table/block_tags.h"

#include <stdlib.h>

#include "engine/table/block.h"
#include "tests/lib/harness.h"
#include "tests/lib/iter_suite.h"

/* A block in memory of exactly its size, and its tags, likewise. */
struct tagged {
    slice block;
    uint8_t *room;
    struct block_tags tags;
    bool made;
};

static slice build(const struct iter_suite_entry *entries, size_t n, unsigned interval) {
    struct block_builder b;
    slice built;
    block_builder_init(&b, interval);
    for (size_t i = 0; i < n; i++)
        ck_ok(block_builder_add(&b, entries[i].key, entries[i].seq, entries[i].type,
                                entries[i].value, &test_err));
    ck_ok(block_builder_finish(&b, &built, &test_err));
    uint8_t *copy = malloc(built.len);
    memcpy(copy, built.data, built.len);
    block_builder_release(&b);
    return slice_of(copy, built.len);
}

static void make(struct tagged *t, slice block, size_t room) {
    t->block = block;
    t->room = malloc(room ? room : 1);
    t->made = block_tags_make(block, t->room, room, &t->tags);
}

static void release(struct tagged *t) {
    free(t->room);
    free((void *)(uintptr_t)t->block.data);
}

/* What block_tags_get() finds is what block_get() finds. Returns whether it found it. */
static bool ask(const struct tagged *t, slice block, slice key, uint64_t max_seq) {
    uint8_t type = 9, other_type = 9;
    uint64_t seq = 0, other_seq = 0;
    slice value = {0}, other = {0};
    bool past_end;
    unsigned aim = block_tags_aim(block, &t->tags, key, max_seq % 2);
    if (!block_tags_get(block, &t->tags, aim, key, max_seq, &type, &seq, &value)) return false;
    ck_ok(block_get(block, key, max_seq, &other_type, &other_seq, &other, &past_end, "test.sst", 0,
                    &test_err));
    ck_assert_int_eq(type, other_type);
    ck_assert_uint_eq(seq, other_seq);
    ck_assert_ptr_eq(value.data, other.data);
    ck_assert_uint_eq(value.len, other.len);
    return true;
}

static void ask_beside(const struct tagged *t, slice key, uint64_t max_seq) {
    uint8_t *other = malloc(key.len + 1);
    if (key.len) memcpy(other, key.data, key.len);
    other[key.len] = 0;
    ask(t, t->block, slice_of(other, key.len + 1), max_seq);
    if (key.len) ask(t, t->block, slice_of(other, key.len - 1), max_seq);
    if (key.len) other[key.len - 1]++;
    ask(t, t->block, slice_of(other, key.len), max_seq);
    free(other);
}

/* ---- there --------------------------------------------------------------------------- */

static struct iter_suite_set *random_set(struct rng *rng, int i) {
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 1 + rng_below(rng, 120);
    shape.max_key_bytes = i % 4 ? BLOCK_TAGS_MAX_KEY : 5;
    shape.max_value_bytes = i % 3 ? 300 : 20;
    return iter_suite_random(rng, &shape);
}

START_TEST(random_blocks) {
    static const unsigned intervals[] = {16, 1, 2, 3, 255, 1000};
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_set *set = random_set(&rng, _i);
    struct tagged t;
    size_t keys = 0, found = 0;
    make(&t, build(set->entries, set->count, intervals[_i % 6]), block_tags_room(set->count));
    ck_assert(t.made == (set->count <= 1024));
    for (size_t i = 0; t.made && i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        if (i == 0 || !slice_eq(set->entries[i - 1].key, e->key)) {
            keys++;
            found += ask(&t, t.block, e->key, SEQ_MAX);
        }
        ask(&t, t.block, e->key, e->seq);
        ask(&t, t.block, e->key, e->seq - 1);
        ask_beside(&t, e->key, e->seq);
    }
    /* But for those before which some have the same tag. */
    ck_assert_uint_ge(found + 1, keys * 3 / 4);
    release(&t);
    iter_suite_free(set);
}
END_TEST

/* Many keys have the same tag. */
START_TEST(same_tags) {
    enum { COUNT = 1000 };
    static uint8_t keys[COUNT][2];
    static struct iter_suite_entry entries[COUNT];
    struct tagged t;
    for (size_t i = 0; i < COUNT; i++) {
        keys[i][0] = (uint8_t)(i >> 8);
        keys[i][1] = (uint8_t)i;
        entries[i] =
            (struct iter_suite_entry){slice_of(keys[i], 2), 7, ENTRY_PUT, slice_of(keys[i], i % 3)};
    }
    make(&t, build(entries, COUNT, 16), block_tags_room(COUNT));
    ck_assert(t.made);
    ck_assert_uint_eq(t.tags.count, COUNT);
    ck_assert_uint_eq(t.tags.interval, 16);
    size_t found = 0;
    for (size_t i = 0; i < COUNT; i++) {
        found += ask(&t, t.block, entries[i].key, 7);
        ck_assert(!ask(&t, t.block, entries[i].key, 6));
        ask_beside(&t, entries[i].key, 7);
    }
    ck_assert_uint_gt(found, COUNT / 2);
    ck_assert_uint_lt(found, COUNT);
    release(&t);
}
END_TEST

/* ---- not made -------------------------------------------------------------------------- */

START_TEST(too_little_room) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_set *set = random_set(&rng, 1);
    struct tagged t;
    for (size_t room = 0; room < block_tags_room(set->count); room++) {
        make(&t, build(set->entries, set->count, 16), room);
        ck_assert(!t.made);
        release(&t);
    }
    iter_suite_free(set);
}
END_TEST

START_TEST(long_key) {
    uint8_t bytes[BLOCK_TAGS_MAX_KEY + 1] = {1};
    for (size_t len = BLOCK_TAGS_MAX_KEY; len <= BLOCK_TAGS_MAX_KEY + 1; len++) {
        struct iter_suite_entry e = {slice_of(bytes, len), 1, ENTRY_PUT, slice_of(bytes, 1)};
        struct tagged t;
        make(&t, build(&e, 1, 16), block_tags_room(1));
        ck_assert(t.made == (len == BLOCK_TAGS_MAX_KEY));
        if (t.made) ck_assert(ask(&t, t.block, e.key, 1));
        release(&t);
    }
}
END_TEST

/* Keys whose ends say little about which one it is: of so many kinds, or versions of one key. */
START_TEST(keys_that_end_alike) {
    enum { COUNT = 40, LEN = 28 };
    static const struct {
        unsigned kinds, versions;
        bool made;
    } cases[] = {{1, 1, false},    {4, 1, false},    {16, 1, false},       {30, 1, true},
                 {COUNT, 1, true}, {1, COUNT, true}, {2, COUNT / 2, true}, {10, 4, true}};
    uint8_t keys[COUNT][LEN] = {0};
    struct iter_suite_entry entries[COUNT];
    struct tagged t;
    for (unsigned i = 0; i < COUNT; i++) {
        unsigned key = i / cases[_i].versions;
        keys[i][0] = (uint8_t)(key / cases[_i].kinds);
        keys[i][LEN - 1] = (uint8_t)(key % cases[_i].kinds);
        entries[i] = (struct iter_suite_entry){slice_of(keys[i], LEN), COUNT - i, ENTRY_PUT,
                                               slice_of(keys[i], i % 5)};
    }
    make(&t, build(entries, COUNT, 16), block_tags_room(COUNT));
    ck_assert(t.made == cases[_i].made);
    for (unsigned i = 0; t.made && i < COUNT; i++)
        ask(&t, t.block, entries[i].key, entries[i].seq);
    release(&t);
}
END_TEST

START_TEST(empty_block) {
    struct tagged t;
    make(&t, build(NULL, 0, 16), 64);
    ck_assert(!t.made);
    release(&t);
}
END_TEST

/* ---- damage ------------------------------------------------------------------------------ */

static void ask_for_all(const struct block_tags *tags, slice block,
                        const struct iter_suite_set *set) {
    uint8_t type;
    uint64_t seq;
    slice value;
    for (size_t i = 0; i < set->count; i++) {
        slice key = set->entries[i].key;
        unsigned aim = block_tags_aim(block, tags, key, i % 2);
        if (!block_tags_get(block, tags, aim, key, SEQ_MAX, &type, &seq, &value)) continue;
        ck_assert(value.data >= block.data && value.data + value.len <= block.data + block.len);
    }
}

/* A block that is not what it was, with the tags of before, and with its own if it has any: what is
 * touched lies inside of it. */
START_TEST(damaged) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_set *set = random_set(&rng, _i);
    struct tagged t;
    make(&t, build(set->entries, set->count, 1 + (unsigned)rng_below(&rng, 20)),
         block_tags_room(set->count));
    uint8_t *bytes = (uint8_t *)(uintptr_t)t.block.data;
    for (unsigned n = 0; t.made && n < 200; n++) {
        size_t at = rng_below(&rng, t.block.len);
        if (n % 2 && t.block.len > 64) at = t.block.len - 1 - rng_below(&rng, 64);
        uint8_t was = bytes[at];
        struct tagged own;
        bytes[at] = (uint8_t)rng_below(&rng, 256);
        ask_for_all(&t.tags, t.block, set);
        own.room = malloc(block_tags_room(set->count));
        if (block_tags_make(t.block, own.room, block_tags_room(set->count), &own.tags))
            ask_for_all(&own.tags, t.block, set);
        free(own.room);
        bytes[at] = was;
    }
    release(&t);
    iter_suite_free(set);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("block_tags");
    TCase *tc = tcase_create("block_tags");
    tcase_add_loop_test(tc, random_blocks, 0, 120);
    tcase_add_test(tc, same_tags);
    tcase_add_test(tc, too_little_room);
    tcase_add_test(tc, long_key);
    tcase_add_loop_test(tc, keys_that_end_alike, 0, 8);
    tcase_add_test(tc, empty_block);
    tcase_add_loop_test(tc, damaged, 0, 40);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
