#include "engine/table/block_pack.h"

#include <stdlib.h>

#include "engine/table/block.h"
#include "tests/lib/harness.h"
#include "tests/lib/iter_suite.h"

/* A block with its builder, and what it is packed. */
struct packed {
    struct block_builder builder;
    slice block;
    struct buf bytes;
    size_t values_len;
    int rc;
};

static void pack(struct packed *p, const struct iter_suite_entry *entries, size_t n,
                 unsigned interval) {
    *p = (struct packed){.rc = -1};
    block_builder_init(&p->builder, interval);
    for (size_t i = 0; i < n; i++)
        ck_ok(block_builder_add(&p->builder, entries[i].key, entries[i].seq, entries[i].type,
                                entries[i].value, &test_err));
    ck_ok(block_builder_finish(&p->builder, &p->block, &test_err));
    p->rc = block_pack(p->block, p->builder.entry_count, interval, &p->bytes, &p->values_len,
                       &test_err);
    ck_assert_int_ge(p->rc, 0);
}

static void release(struct packed *p) {
    block_builder_release(&p->builder);
    buf_release(&p->bytes);
}

/* In memory of exactly the size that is asked for. */
static bool unpack(slice packed, size_t values_len, size_t len, uint8_t **block) {
    size_t size;
    uint8_t *room = malloc(block_unpack_room(values_len, packed.len, &size) ? size : 1);
    *block = malloc(len > packed.len ? len : packed.len + 1);
    memcpy(*block, packed.data, packed.len);
    bool done = block_unpack(*block, len, values_len, packed.len, room);
    free(room);
    return done;
}

static void expect_same(const struct packed *p) {
    uint8_t *block;
    ck_assert(unpack(buf_slice(&p->bytes), p->values_len, p->block.len, &block));
    ck_assert(memcmp(block, p->block.data, p->block.len) == 0);
    free(block);
}

/* ---- there and back --------------------------------------------------------------------- */

START_TEST(random_blocks) {
    static const unsigned intervals[] = {16, 1, 2, 3, 255};
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    struct packed p;
    shape.key_count = 1 + rng_below(&rng, 120);
    shape.max_key_bytes = _i % 4 ? 250 : 5;
    if (_i % 3) shape.max_value_bytes = _i % 3 == 1 ? 100 : 300;
    if (_i % 5 == 0) shape.max_seq = UINT64_MAX >> 2;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    pack(&p, set->entries, set->count, intervals[_i % 5]);
    if (p.rc == 0) expect_same(&p);
    release(&p);
    iter_suite_free(set);
}
END_TEST

enum { KEY_BYTES = 40, MOST = 200 };

/* Ascending keys of the letters given, each as long as the others. */
static size_t keys_of(slice letters, struct rng *rng, struct iter_suite_entry entries[MOST],
                      uint8_t bytes[MOST][KEY_BYTES]) {
    for (size_t i = 0; i < MOST; i++) {
        size_t n = i;
        for (size_t k = 0; k < KEY_BYTES; k++)
            bytes[i][k] = letters.data[rng_below(rng, letters.len)];
        for (size_t k = 8; k-- > 0; n /= letters.len)
            bytes[i][k] = letters.data[n % letters.len];
        entries[i] = (struct iter_suite_entry){
            .key = slice_of(bytes[i], KEY_BYTES), .seq = i + 1, .type = ENTRY_PUT};
    }
    return MOST;
}

static const struct {
    const char *what;
    slice letters;
    bool are_numbers;
} alphabets[] = {
#define LETTERS(text)                                                                              \
    { (const uint8_t *)(text), sizeof(text) - 1 }
    {"digits", LETTERS("0123456789"), true},
    {"hexadecimal", LETTERS("0123456789abcdef"), true},
    {"two letters", LETTERS("ab"), true},
    {"the lowest and the highest bytes", LETTERS("\x00\x01\x02\xfd\xfe\xff"), true},
    {"sixteen in eight runs", LETTERS("abdeghjkmnpqstvw"), true},
    {"nine runs", LETTERS("acegikmoq"), false},
    {"seventeen", LETTERS("0123456789abcdefg"), false},
#undef LETTERS
};

/* Keys of few letters take half as much, whatever the letters are. */
START_TEST(few_letters) {
    struct iter_suite_entry entries[MOST];
    uint8_t bytes[MOST][KEY_BYTES];
    struct rng rng = rng_of(harness_seed());
    struct packed p;
    size_t n = keys_of(alphabets[_i].letters, &rng, entries, bytes);
    pack(&p, entries, n, 16);
    ck_assert_int_eq(p.rc, 0);
    expect_same(&p);
    size_t unshared = n * (KEY_BYTES - 8), others = n * (8 + 5) + 100;
    if (alphabets[_i].are_numbers)
        ck_assert_uint_le(p.bytes.len, unshared / 2 + others);
    else
        ck_assert_uint_ge(p.bytes.len, unshared);
    release(&p);
}
END_TEST

/* Lengths around what takes another byte in a head, and the longest keys. */
START_TEST(lengths) {
    static const size_t lens[] = {1, 127, 128, 129, 254, 255, 256, 300};
    static const char zeros[70000];
    enum { LENS = sizeof lens / sizeof lens[0], COPIES = 40 };
    static const size_t value_lens[] = {0, 1, 127, 128, 16383, 16384, 65536};
    size_t len = lens[_i];
    for (size_t v = 0; v < sizeof value_lens / sizeof value_lens[0]; v++) {
        struct iter_suite_entry entries[COPIES];
        uint8_t keys[COPIES][300] = {{0}};
        struct packed p;
        for (size_t i = 0; i < COPIES; i++) {
            keys[i][len - 1] = (uint8_t)(i + 1);
            entries[i] = (struct iter_suite_entry){
                .key = slice_of(keys[i], len), .seq = UINT64_C(1) << i, .type = ENTRY_PUT};
        }
        entries[5].type = ENTRY_DELETE;
        entries[7].value = slice_of((const uint8_t *)zeros, value_lens[v]);
        pack(&p, entries, COPIES, 16);
        if (len > 255)
            ck_assert_int_eq(p.rc, KEVO_NOTFOUND);
        else if (value_lens[v] < 1000 && len > 100)
            ck_assert_int_eq(p.rc, 0);
        if (p.rc == 0) expect_same(&p);
        release(&p);
    }
}
END_TEST

/* Where values are nearly all there is, their blocks stay as they are. */
START_TEST(large_values) {
    static const uint8_t zeros[1000];
    struct packed p;
    struct iter_suite_entry entries[4];
    for (size_t i = 0; i < 4; i++)
        entries[i] = (struct iter_suite_entry){.key = slice_of((const uint8_t *)"abcd" + i, 1),
                                               .seq = 1,
                                               .type = ENTRY_PUT,
                                               .value = slice_of(zeros, sizeof zeros)};
    pack(&p, entries, 4, 16);
    ck_assert_int_eq(p.rc, KEVO_NOTFOUND);
    release(&p);
}
END_TEST

/* A byte more is one of no key, also where half a byte may be left. */
START_TEST(a_byte_too_many) {
    struct iter_suite_entry entries[MOST];
    uint8_t bytes[MOST][KEY_BYTES], *block;
    struct rng rng = rng_of(harness_seed());
    struct packed p;
    pack(&p, entries, keys_of(alphabets[_i].letters, &rng, entries, bytes), 16);
    ck_assert(buf_append(&p.bytes, "", 1));
    ck_assert(!unpack(buf_slice(&p.bytes), p.values_len, p.block.len, &block));
    free(block);
    release(&p);
}
END_TEST

/* The columns that make the most: keys of 255 bytes that share all of the one before, each a restart
 * point. */
START_TEST(most_of_columns) {
    enum { COPIES = 2000 };
    static const uint8_t key[255] = {1};
    static struct iter_suite_entry entries[COPIES];
    struct packed p;
    for (size_t i = 0; i < COPIES; i++)
        entries[i] = (struct iter_suite_entry){
            .key = slice_of(key, sizeof key), .seq = COPIES - 1 - i, .type = ENTRY_PUT};
    pack(&p, entries, COPIES, 1);
    ck_assert_int_eq(p.rc, 0);
    expect_same(&p);
    ck_assert_uint_gt(p.block.len, 43 * p.bytes.len); /* sequence numbers take two bytes */
    release(&p);
}
END_TEST

/* A length that no columns make is refused before memory is asked for. */
START_TEST(too_much_of_columns) {
    static const struct {
        size_t len, values_len, packed_len;
        bool may_be;
    } blocks[] = {
        {1000 + 67 * 100, 1000, 1100, true},
        {1000 + 68 * 100, 1000, 1100, false},
        {1 << 20, 0, 1 << 13, false},
        {1100, 1000, 1100, true},
        {1099, 1000, 1100, false},
        {1100, 1101, 1100, false},
        {SIZE_MAX, 0, SIZE_MAX / 67, true},
        {SIZE_MAX, 0, SIZE_MAX / 69, false},
        {SIZE_MAX, SIZE_MAX, SIZE_MAX, true},
    };
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        ck_assert_msg(block_pack_may_be(blocks[i].len, blocks[i].values_len,
                                        blocks[i].packed_len) == blocks[i].may_be,
                      "block %zu", i);
}
END_TEST

/* Where a size_t has 32 bits, 1.5 GB of columns are too many already. */
START_TEST(extreme_room) {
    size_t room, most = (SIZE_MAX - 2 * BLOCK_PACK_SLOP) / 3;
    ck_assert(block_unpack_room(5, 15, &room));
    ck_assert_uint_eq(room, 3 * 10 + 2 * BLOCK_PACK_SLOP);
    ck_assert(block_unpack_room(0, most, &room));
    ck_assert_uint_ge(room, most);
    ck_assert(block_unpack_room(SIZE_MAX - most, SIZE_MAX, &room));
    ck_assert(!block_unpack_room(0, most + 1, &room));
    ck_assert(!block_unpack_room(0, SIZE_MAX, &room));
    ck_assert(!block_unpack_room(SIZE_MAX - most - 1, SIZE_MAX, &room));
    ck_assert(!block_unpack_room(1, 0, &room));
}
END_TEST

/* ---- damage -------------------------------------------------------------------------------- */

/* Bytes changed, cut off or added: refused, or something of that length, and nothing outside of
 * the memory given is touched (which sanitizers see). */
START_TEST(damaged) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    struct packed p;
    uint8_t *block;
    unsigned refused = 0, tried = 0;
    shape.key_count = 20;
    shape.max_key_bytes = 60;
    shape.max_value_bytes = 20;
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    pack(&p, set->entries, set->count, 1 + (unsigned)rng_below(&rng, 16));
    ck_assert_int_eq(p.rc, 0);
    uint8_t *bytes = malloc(p.bytes.len + 20);
    for (size_t at = p.values_len; at < p.bytes.len; at++, tried++) {
        size_t len = p.bytes.len, values_len = p.values_len, block_len = p.block.len;
        memcpy(bytes, p.bytes.data, len);
        bytes[at] ^= (uint8_t)(1 + rng_below(&rng, 255));
        switch (rng_below(&rng, 6)) {
        case 0: len = at; break;
        case 1: len += rng_below(&rng, 20); break;
        case 2: values_len = rng_below(&rng, len + 5); break;
        case 3: block_len = rng_below(&rng, 2 * block_len); break;
        }
        memset(bytes + p.bytes.len, (int)rng_below(&rng, 256), 20);
        refused += !unpack(slice_of(bytes, len), values_len, block_len, &block);
        free(block);
    }
    ck_assert_uint_gt(refused, tried / 4);
    free(bytes);
    release(&p);
    iter_suite_free(set);
}
END_TEST

START_TEST(noise) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    uint8_t bytes[300], *block;
    for (unsigned n = 0; n < 20000; n++) {
        size_t len = 1 + rng_below(&rng, sizeof bytes);
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)rng_below(&rng, rng_below(&rng, 2) ? 4 : 256);
        unpack(slice_of(bytes, len), rng_below(&rng, len + 1), rng_below(&rng, 1000), &block);
        free(block);
    }
}
END_TEST

START_TEST(no_memory) {
    struct packed p;
    struct iter_suite_entry entries[MOST];
    uint8_t bytes[MOST][KEY_BYTES];
    struct rng rng = rng_of(1);
    pack(&p, entries, keys_of(slice_of_str("0123"), &rng, entries, bytes), 16);
    buf_release(&p.bytes);
    fault_alloc_fail_at(1, true);
    ck_assert_int_eq(block_pack(p.block, MOST, 16, &p.bytes, &p.values_len, &test_err), KEVO_NOMEM);
    fault_alloc_fail_at(0, false);
    release(&p);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("block_pack");
    TCase *tc = tcase_create("block_pack");
    tcase_add_loop_test(tc, random_blocks, 0, 120);
    tcase_add_loop_test(tc, few_letters, 0, sizeof alphabets / sizeof alphabets[0]);
    tcase_add_loop_test(tc, a_byte_too_many, 0, sizeof alphabets / sizeof alphabets[0]);
    tcase_add_loop_test(tc, lengths, 0, 8);
    tcase_add_test(tc, large_values);
    tcase_add_test(tc, most_of_columns);
    tcase_add_test(tc, too_much_of_columns);
    tcase_add_test(tc, extreme_room);
    tcase_add_loop_test(tc, damaged, 0, 60);
    tcase_add_loop_test(tc, noise, 0, 3);
    tcase_add_test(tc, no_memory);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
