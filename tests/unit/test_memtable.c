#include "engine/mem/memtable.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/coding.h"
#include "tests/lib/array_iter.h"

static struct memtable *memtable;

static void setup(void) {
    memtable = memtable_new(7, 64);
    ck_assert_ptr_nonnull(memtable);
}

static void setup_with_filter(void) {
    setup();
    memtable_add_filter(memtable, 1 << 20);
    ck_assert_ptr_nonnull(memtable->filter.words);
}

static void setup_with_chains(void) {
    setup_with_filter();
    memtable_add_chains(memtable, 1 << 20, 0);
}

/* They come late, and some are too long to be searched. */
static void setup_with_few_chains(void) {
    setup();
    memtable_add_chains(memtable, 1 << 11, 20);
    ck_assert_uint_eq(memtable->chains.count, 4);
}

static void setup_own(void) {
    setup();
    memtable_own(memtable);
}

static void setup_own_with_filter(void) {
    setup_with_filter();
    memtable_own(memtable);
}

static void teardown(void) {
    memtable_unref(memtable);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void add(const char *key, uint64_t seq, const char *value) {
    slice v = value ? slice_of_str(value) : slice_of(NULL, 0);
    must(memtable_add(memtable, slice_of_str(key), seq, value ? ENTRY_PUT : ENTRY_DELETE, v,
                      &test_err));
}

/* The version seen at `seq`: "value@seq", "deleted@seq", or "none". */
static const char *get(const char *key, uint64_t seq) {
    static char text[64];
    uint8_t type;
    uint64_t found;
    slice value;
    int rc = memtable_get(memtable, slice_of_str(key), seq, &type, &found, &value);
    if (rc == KEVO_NOTFOUND) return "none";
    ck_assert_int_eq(rc, 0);
    snprintf(text, sizeof text, "%.*s@%llu", type == ENTRY_PUT ? (int)value.len : 7,
             type == ENTRY_PUT ? (const char *)value.data : "deleted", (unsigned long long)found);
    return text;
}

static const char *walk(void) {
    static char text[512];
    struct iter *it;
    size_t len = 0;
    text[0] = 0;
    must(memtable_iter_new(memtable, &it, &test_err));
    must(it->ops->seek_first(it, &test_err));
    while (it->valid) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s%llu ", (int)it->key.len,
                                (const char *)it->key.data, (unsigned long long)it->seq);
        must(it->ops->next(it, &test_err));
    }
    iter_close(it);
    return text;
}

/* ---- named cases --------------------------------------------------------------------- */

START_TEST(an_empty_one) {
    ck_assert_str_eq(get("a", SEQ_MAX), "none");
    ck_assert_str_eq(walk(), "");
    ck_assert_uint_eq(memtable_live_count(memtable), 0);
    ck_assert_uint_eq(memtable->segment, 7);
    memtable_void(memtable, (struct arena_mark){NULL, 0}, 0);
    memtable_unref(NULL);
}
END_TEST

START_TEST(versions_of_a_key) {
    add("b", 5, "five");
    add("b", 9, NULL);
    add("b", 7, "seven");
    add("a", 6, "");
    add("bb", 1, "x");
    ck_assert_str_eq(walk(), "a6 b9 b7 b5 bb1 ");
    ck_assert_str_eq(get("b", SEQ_MAX), "deleted@9");
    ck_assert_str_eq(get("b", 9), "deleted@9");
    ck_assert_str_eq(get("b", 8), "seven@7");
    ck_assert_str_eq(get("b", 6), "five@5");
    ck_assert_str_eq(get("b", 4), "none");
    ck_assert_str_eq(get("a", 6), "@6");
    ck_assert_str_eq(get("", SEQ_MAX), "none");
    ck_assert_str_eq(get("c", SEQ_MAX), "none");
    ck_assert_uint_eq(memtable_live_count(memtable), 5);
}
END_TEST

/* Keys that agree in the first eight bytes, and some that differ in zeros behind them. */
START_TEST(keys_with_one_prefix) {
    static const char *const keys[] = {"", "\0", "\0\0", "aaaaaaaa", "aaaaaaaa\0", "aaaaaaaab"};
    static const size_t lens[] = {1, 1, 2, 8, 9, 9};
    for (unsigned i = 6; i-- > 1;)
        must(memtable_add(memtable, slice_of(keys[i], lens[i]), i, ENTRY_PUT, slice_of(NULL, 0),
                          &test_err));
    for (unsigned i = 1; i < 6; i++) {
        uint8_t type;
        uint64_t seq;
        slice value;
        must(memtable_get(memtable, slice_of(keys[i], lens[i]), SEQ_MAX, &type, &seq, &value));
        ck_assert_uint_eq(seq, i);
    }
    struct iter *it;
    must(memtable_iter_new(memtable, &it, &test_err));
    must(it->ops->seek_first(it, &test_err));
    for (unsigned i = 1; i < 6; i++) {
        ck_assert_uint_eq(it->seq, i);
        must(it->ops->next(it, &test_err));
    }
    iter_close(it);
}
END_TEST

START_TEST(the_later_of_two_equal_entries_wins) {
    add("a", 3, "first");
    add("a", 3, "second");
    ck_assert_str_eq(get("a", 3), "second@3");
}
END_TEST

START_TEST(void_entries_were_never_there) {
    add("a", 1, "1");
    struct arena_mark mark = memtable_mark(memtable);
    add("a", 2, "2");
    add("b", 3, "3");
    add("c", 4, NULL);
    memtable_void(memtable, mark, 3);
    ck_assert_str_eq(walk(), "a2 a1 b3 ");
    memtable_void(memtable, mark, 1);
    ck_assert_str_eq(walk(), "a1 ");
    ck_assert_str_eq(get("a", SEQ_MAX), "1@1");
    ck_assert_str_eq(get("b", SEQ_MAX), "none");
    ck_assert_uint_eq(memtable_live_count(memtable), 1);
    add("b", 5, "5");
    memtable_void(memtable, memtable_mark(memtable), 0); /* nothing since */
    ck_assert_str_eq(walk(), "a1 b5 ");
    memtable_void(memtable, (struct arena_mark){NULL, 0}, 0);
    ck_assert_str_eq(walk(), "");
    ck_assert_uint_eq(memtable_live_count(memtable), 0);
}
END_TEST

START_TEST(an_iterator_on_an_entry_made_void) {
    struct iter *it;
    add("a", 1, "1");
    struct arena_mark mark = memtable_mark(memtable);
    add("b", 2, "2");
    add("c", 3, "3");
    must(memtable_iter_new(memtable, &it, &test_err));
    must(it->ops->seek(it, slice_of_str("b"), SEQ_MAX, &test_err));
    memtable_void(memtable, mark, 0);
    ck_assert(it->valid && slice_eq(it->key, slice_of_str("b")));
    ck_assert(slice_eq(it->value, slice_of_str("2"))); /* what it has shown stays */
    must(it->ops->prev(it, &test_err));
    ck_assert(it->valid && it->seq == 1);
    must(it->ops->next(it, &test_err));
    ck_assert(!it->valid);
    iter_close(it);
}
END_TEST

START_TEST(an_iterator_keeps_its_memtable) {
    struct iter *it;
    add("a", 1, "1");
    must(memtable_iter_new(memtable, &it, &test_err));
    memtable_unref(memtable);
    must(it->ops->seek_last(it, &test_err));
    ck_assert(it->valid && slice_eq(it->value, slice_of_str("1")));
    iter_close(it);
    memtable = NULL;
}
END_TEST

START_TEST(reset_gives_memory_back) {
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++) {
            char key[16];
            snprintf(key, sizeof key, "%d", i);
            add(key, 1, "value");
        }
        ck_assert_uint_gt(memtable_bytes(memtable), 10000);
        memtable_reset(memtable);
        uint64_t kept = memtable_bytes(memtable); /* one chunk, which the next entries use */
        ck_assert_uint_le(kept, ARENA_MAX_CHUNK_BYTES + 64);
        ck_assert_str_eq(walk(), "");
        add("x", 1, "y");
        ck_assert_str_eq(get("x", 1), "y@1");
        ck_assert_uint_eq(memtable_bytes(memtable), kept);
        memtable_reset(memtable);
    }
}
END_TEST

START_TEST(without_memory_nothing_changes) {
    for (uint64_t n = 1;; n++) {
        fault_alloc_fail_at(n, false);
        struct memtable *m = memtable_new(1, 64);
        struct iter *it = NULL;
        int rc = m ? 0 : KEVO_NOMEM, done = 0;
        if (m) memtable_add_filter(m, 1 << 16); /* done without, if need be */
        if (m) memtable_add_chains(m, 1 << 16, 0);
        for (int i = 0; rc == 0 && i < 20; i++) {
            char key[16];
            snprintf(key, sizeof key, "key %02d", i);
            rc = memtable_add(m, slice_of_str(key), 1, ENTRY_PUT, slice_of_str("value"), &test_err);
            done += rc == 0;
        }
        if (rc == 0) rc = memtable_iter_new(m, &it, &test_err);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        if (rc) ck_assert_int_eq(rc, KEVO_NOMEM);
        if (m) ck_assert_uint_eq(memtable_live_count(m), (uint64_t)done);
        iter_close(it);
        memtable_unref(m);
        if (!hit) break;
    }
}
END_TEST

/* ---- against an array -------------------------------------------------------------------- */

static void add_somehow(struct rng *rng, slice key, uint64_t seq, uint8_t type, slice value) {
    must(memtable_add(memtable, key, seq, type, value, &test_err));
    if (rng_below(rng, 2)) memtable_link(memtable);
}

/* Insert in random order; some entries are made void again, in between others. */
static void fill(const struct iter_suite_set *set, struct rng *rng) {
    size_t *order = malloc((set->count + 1) * sizeof *order);
    for (size_t i = 0; i < set->count; i++)
        order[i] = i;
    for (size_t i = set->count; i > 1; i--) {
        size_t j = rng_below(rng, i), kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
    for (size_t i = 0; i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[order[i]];
        add_somehow(rng, e->key, e->seq, e->type, e->value);
        if (rng_below(rng, 4)) continue;
        struct arena_mark mark = memtable_mark(memtable);
        for (uint64_t n = rng_below(rng, 4); n > 0; n--) {
            const struct iter_suite_entry *f = &set->entries[rng_below(rng, set->count)];
            add_somehow(rng, f->key, SEQ_PRIVATE + n, ENTRY_PUT, f->value);
        }
        memtable_void(memtable, mark, 0);
    }
    free(order);
    ck_assert_uint_eq(memtable_live_count(memtable), set->count);
}

static void check_gets(const struct iter_suite_set *set, struct rng *rng) {
    for (size_t i = 0; i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        uint64_t seq = rng_below(rng, 2) ? e->seq : rng_below(rng, e->seq * 2) + 1, found;
        size_t at = iter_suite_seek_index(set->entries, set->count, e->key, seq);
        uint8_t type;
        slice value;
        int rc = memtable_get(memtable, e->key, seq, &type, &found, &value);
        if (at == set->count || !slice_eq(set->entries[at].key, e->key)) {
            ck_assert_int_eq(rc, KEVO_NOTFOUND);
            continue;
        }
        e = &set->entries[at];
        if (rc || type != e->type || found != e->seq || !slice_eq(value, e->value))
            ck_abort_msg("get of entry %zu at %llu: wrong", i, (unsigned long long)seq);
    }
}

START_TEST(random_entries) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = (size_t)rng_below(&rng, 300);
    struct iter_suite_set *set = iter_suite_random(&rng, &shape);
    struct iter *it;
    if (set->count) fill(set, &rng);
    if (_i % 2) check_gets(set, &rng); /* some may not be linked yet */
    must(memtable_iter_new(memtable, &it, &test_err));
    iter_suite_check(it, set->entries, set->count, &rng);
    iter_close(it);
    check_gets(set, &rng);
    iter_suite_free(set);
}
END_TEST

/* Ascending, descending, and runs: what the writer's remembered place is for. */
START_TEST(orders_of_insertion) {
    enum { COUNT = 3000 };
    for (unsigned i = 0; i < COUNT; i++) {
        uint8_t key[8];
        unsigned n = _i == 0   ? i
                     : _i == 1 ? COUNT - 1 - i
                     : _i == 2 ? i % 30 * 100 + i / 30
                               : i * 1999 % COUNT;
        put_fixed64(key, __builtin_bswap64(n));
        must(memtable_add(memtable, slice_of(key, 8), 1, ENTRY_PUT, slice_of(key, 8), &test_err));
    }
    struct iter *it;
    must(memtable_iter_new(memtable, &it, &test_err));
    must(it->ops->seek_first(it, &test_err));
    for (unsigned i = 0; i < COUNT; i++) {
        if (!it->valid || get_fixed64(it->key.data) != __builtin_bswap64(i))
            ck_abort_msg("entry %u", i);
        must(it->ops->next(it, &test_err));
    }
    ck_assert(!it->valid);
    iter_close(it);
}
END_TEST

/* ---- entries that are linked later ---------------------------------------------------- */

START_TEST(apart_until_linked) {
    struct iter *it;
    add("k", 1, "x");
    must(memtable_iter_new(memtable, &it, &test_err));
    add("z", 2, "x"); /* behind the last one: nothing to search for */
    add("b", 3, "x");
    add("a", 4, "x");
    add("b", 5, "y");
    ck_assert_uint_eq(memtable_live_count(memtable), 5);
    ck_assert_str_eq(get("a", 9), "x@4");
    ck_assert_str_eq(get("b", 9), "y@5");
    ck_assert_str_eq(get("b", 4), "x@3");
    ck_assert_str_eq(get("b", 2), "none");
    ck_assert_str_eq(get("z", 9), "x@2");
    must(it->ops->seek_first(it, &test_err));
    ck_assert(slice_eq(it->key, slice_of_str("k")));
    memtable_link(memtable);
    must(it->ops->seek_first(it, &test_err));
    ck_assert(slice_eq(it->key, slice_of_str("a")));
    iter_close(it);
    add("c", 6, "x");
    add("b", 7, NULL);
    ck_assert_str_eq(walk(), "a4 b7 b5 b3 c6 k1 z2 "); /* by a later iterator */
    ck_assert_str_eq(get("b", 9), "deleted@7");
}
END_TEST

START_TEST(ranges_know_what_is_apart) {
    slice open = slice_of(NULL, 0);
    uint64_t entries, bytes;
    add("k", 1, "x");
    add("b", 2, "x");
    ck_assert(memtable_overlaps(memtable, open, slice_of_str("c")));
    add("d", 3, "x");
    memtable_estimate(memtable, slice_of_str("c"), slice_of_str("e"), &entries, &bytes);
    ck_assert_uint_eq(entries, 1);
    ck_assert_uint_eq(bytes, 2);
}
END_TEST

/* It has what is there already, also what is not linked yet. */
START_TEST(a_filter_that_comes_later) {
    add("k", 1, "x");
    add("c", 2, "x");
    add("l", 3, "x");
    memtable_add_filter(memtable, 1 << 20);
    add("b", 4, "x");
    for (int linked = 0; linked < 2; linked++) {
        ck_assert_str_eq(get("k", 9), "x@1");
        ck_assert_str_eq(get("c", 9), "x@2");
        ck_assert_str_eq(get("l", 9), "x@3");
        ck_assert_str_eq(get("b", 9), "x@4");
        ck_assert_str_eq(get("d", 9), "none");
        memtable_link(memtable);
    }
}
END_TEST

START_TEST(apart_and_void) {
    add("k", 1, "x");
    struct arena_mark mark = memtable_mark(memtable);
    add("c", 2, "x");
    add("b", 3, "x");
    add("c", 4, "y");
    memtable_void(memtable, mark, 2);
    ck_assert_uint_eq(memtable_live_count(memtable), 2);
    ck_assert_str_eq(get("c", 9), "x@2");
    ck_assert_str_eq(get("b", 9), "none");
    add("a", 5, "x");
    ck_assert_str_eq(walk(), "a5 c2 k1 ");
    add("b", 6, "x");
    memtable_reset(memtable);
    ck_assert_str_eq(get("b", 9), "none");
    ck_assert_str_eq(walk(), "");
}
END_TEST

/* Of the same entries, linked in groups and one by one, come the same lists: few keys and many versions,
 * so that those of a group lie between each other, in runs upwards and at random. */
START_TEST(apart_is_as_at_once) {
    struct rng rng = rng_of(harness_seed());
    uint64_t seldom = memtable->has_one_owner ? 6000 : 40;
    struct memtable *other = memtable_new(0, 4096);
    for (uint64_t seq = 1, at = 0; seq <= 20000; seq++) {
        uint8_t key[12] = {0};
        at = rng_below(&rng, 4) ? at + 1 : rng_below(&rng, 3000);
        put_fixed64(key + rng_below(&rng, 2) * 4, __builtin_bswap64(at % 3000));
        slice k = slice_of(key, sizeof key), v = slice_of(&seq, sizeof seq);
        uint64_t same = rng_below(&rng, 8) ? seq : seq - 1; /* equal ones: the later wins */
        must(memtable_add(other, k, same, ENTRY_PUT, v, &test_err));
        memtable_link(other);
        must(memtable_add(memtable, k, same, ENTRY_PUT, v, &test_err));
        if (rng_below(&rng, seldom) == 0) memtable_link(memtable);
    }
    struct iter *a, *b;
    must(memtable_iter_new(memtable, &a, &test_err));
    must(memtable_iter_new(other, &b, &test_err));
    must(a->ops->seek_first(a, &test_err));
    must(b->ops->seek_first(b, &test_err));
    while (b->valid) {
        if (!a->valid || !slice_eq(a->key, b->key) || a->seq != b->seq ||
            !slice_eq(a->value, b->value))
            ck_abort_msg("other entries");
        must(a->ops->next(a, &test_err));
        must(b->ops->next(b, &test_err));
    }
    ck_assert(!a->valid);
    iter_close(a);
    iter_close(b);
    memtable_unref(other);
}
END_TEST

/* ---- chains --------------------------------------------------------------------------- */

static void add_to_both(struct memtable *other, unsigned n, uint64_t seq) {
    uint8_t key[12] = {0};
    put_fixed64(key + 4, __builtin_bswap64(n));
    slice k = slice_of(key, sizeof key), v = slice_of(&n, sizeof n);
    must(memtable_add(other, k, seq, n % 5 ? ENTRY_PUT : ENTRY_DELETE, v, &test_err));
    must(memtable_add(memtable, k, seq, n % 5 ? ENTRY_PUT : ENTRY_DELETE, v, &test_err));
}

static void get_from_both(struct memtable *other, unsigned n, uint64_t seq) {
    uint8_t key[12] = {0}, types[2] = {0};
    uint64_t found[2] = {0};
    slice values[2] = {{NULL, 0}, {NULL, 0}};
    put_fixed64(key + 4, __builtin_bswap64(n));
    slice k = slice_of(key, sizeof key);
    int rc = memtable_get(memtable, k, seq, &types[0], &found[0], &values[0]);
    if (rc != memtable_get(other, k, seq, &types[1], &found[1], &values[1]) ||
        found[0] != found[1] || types[0] != types[1] || !slice_eq(values[0], values[1]))
        ck_abort_msg("key %u at %llu", n, (unsigned long long)seq);
}

/* The same is found with chains and without: some keys of many versions, some that have a chain to
 * themselves, batches that are void, and an old snapshot now and then. In the end one comes late, from
 * where on the chains are in no order. */
START_TEST(as_without_chains) {
    enum { KEYS = 400, BATCHES = 1000 };
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct memtable *other = memtable_new(0, 4096);
    for (uint64_t seq = 1; seq <= BATCHES; seq++) {
        struct arena_mark mark = memtable_mark(memtable), mark_of_other = memtable_mark(other);
        uint64_t late = seq > BATCHES - 10 ? rng_below(&rng, BATCHES) : 0;
        for (uint64_t count = rng_below(&rng, 8) + 1; count > 0; count--)
            add_to_both(other, (unsigned)rng_below(&rng, rng_below(&rng, 2) ? 5 : KEYS),
                        seq - (late < seq ? late : 0));
        if (rng_below(&rng, 9) == 0) {
            memtable_void(memtable, mark, seq - 1);
            memtable_void(other, mark_of_other, seq - 1);
        }
        for (int i = 0; i < 5; i++)
            get_from_both(other, (unsigned)rng_below(&rng, rng_below(&rng, 2) ? 5 : KEYS),
                          rng_below(&rng, 4) ? seq : rng_below(&rng, seq + 1));
    }
    for (unsigned n = 0; n < KEYS; n++) {
        get_from_both(other, n, SEQ_MAX);
        get_from_both(other, n, BATCHES / 2);
    }
    memtable_unref(other);
}
END_TEST

/* What is not there counts for nothing, and an entry that nobody asked for again has no chains. */
START_TEST(chains_come_when_they_are_of_use) {
    memtable_add_chains(memtable, 1 << 20, 3);
    add("k", 1, "x");
    add("b", 2, "x");
    memtable_link(memtable);
    for (int i = 0; i < 10; i++)
        ck_assert_str_eq(get("c", 9), "none");
    for (int i = 0; i < 3; i++) {
        add("c", 3, "x");
        ck_assert_uint_eq(node_chains_bytes(&memtable->chains), 0);
        ck_assert_str_eq(get("b", 9), "x@2");
    }
    ck_assert_str_eq(get("b", 9), "x@2");
    ck_assert_uint_eq(memtable->finds, 3); /* readers write to it no more */
    add("b", 4, "y");
    ck_assert_uint_eq(node_chains_bytes(&memtable->chains), (1 << 20) / 64);
    memtable_link(memtable);
    ck_assert_str_eq(get("b", 9), "y@4");
    ck_assert_str_eq(get("b", 3), "x@2");
    ck_assert_str_eq(get("k", 3), "x@1");
    ck_assert_str_eq(get("c", 9), "x@3");
    memtable_reset(memtable);
    ck_assert_str_eq(get("b", 9), "none");
    add("b", 1, "z");
    memtable_link(memtable);
    ck_assert_str_eq(get("b", 9), "z@1");
}
END_TEST

/* ---- entries of one owner -------------------------------------------------------------- */

/* The same is found of what waits and of what is in the list at once, whether it was asked for often
 * or not for long; of the first half of the tests all keys have one prefix. */
START_TEST(waiting_is_as_at_once) {
    enum { ADDS = 6000, KEYS = 700 };
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct memtable *other = memtable_new(0, 4096);
    uint64_t gets = _i % 2 ? 1 : 3000;
    for (uint64_t seq = 1; seq <= ADDS; seq++) {
        struct arena_mark mark = memtable_mark(memtable), mark_of_other = memtable_mark(other);
        unsigned key = (unsigned)rng_below(&rng, rng_below(&rng, 2) ? 5 : KEYS);
        add_to_both(other, _i < 4 ? key : key << 16, seq);
        memtable_link(other);
        if (rng_below(&rng, 9) == 0) {
            memtable_void(memtable, mark, seq - 1);
            memtable_void(other, mark_of_other, seq - 1);
        }
        if (rng_below(&rng, gets)) continue;
        key = (unsigned)rng_below(&rng, KEYS);
        get_from_both(other, _i < 4 ? key : key << 16, rng_below(&rng, 4) ? seq : seq / 2);
    }
    for (unsigned n = 0; n < KEYS; n++)
        get_from_both(other, _i < 4 ? n : n << 16, SEQ_MAX);
    memtable_unref(other);
}
END_TEST

/* Entries that cannot wait go to the list at once; those that cannot be sorted go as they come. */
START_TEST(waiting_without_memory) {
    enum { ADDS = 100 };
    for (uint64_t nth = 1;; nth++) {
        struct rng rng = rng_of(harness_seed() + nth);
        struct memtable *m = memtable_new(0, 1 << 20);
        struct iter *it;
        unsigned seen = 0;
        memtable_own(m);
        must(memtable_add(m, slice_of_str("z"), 1, ENTRY_PUT, slice_of(NULL, 0), &test_err));
        fault_alloc_fail_at(nth, _i == 1);
        for (unsigned i = 0; i < ADDS; i++) {
            uint8_t key[8];
            put_fixed64(key, rng_below(&rng, UINT64_MAX / 2));
            must(memtable_add(m, slice_of(key, 8), i + 2, ENTRY_PUT, slice_of(NULL, 0), &test_err));
        }
        memtable_link(m);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        must(memtable_iter_new(m, &it, &test_err));
        must(it->ops->seek_first(it, &test_err));
        uint8_t last[8] = {0};
        for (; it->valid; seen++) {
            if (it->key.len == 8) {
                ck_assert(seen == 0 || slice_cmp(slice_of(last, 8), it->key) < 0);
                memcpy(last, it->key.data, 8);
            }
            must(it->ops->next(it, &test_err));
        }
        ck_assert_uint_eq(seen, ADDS + 1);
        iter_close(it);
        memtable_unref(m);
        if (!hit) break;
    }
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------ */

enum { BATCHES = 3000, BATCH_KEYS = 5 };
static _Atomic uint64_t published, stopped;

/* Batch n puts n into all of these keys and one more that only it has; some are void. */
static bool is_void(uint64_t batch) {
    return batch % 7 == 3;
}

static void write_batch(uint64_t batch) {
    struct arena_mark mark = memtable_mark(memtable);
    uint8_t value[8], own[9] = "own";
    put_fixed64(value, batch);
    put_fixed32(own + 3, (uint32_t)batch * 2654435761u);
    for (unsigned i = 0; i < BATCH_KEYS; i++) {
        uint8_t key = (uint8_t)('a' + i);
        must(memtable_add(memtable, slice_of(&key, 1), batch, ENTRY_PUT, slice_of(value, 8),
                          &test_err));
    }
    must(memtable_add(memtable, slice_of(own, 7), batch, ENTRY_PUT, slice_of(value, 8), &test_err));
    memtable_link(memtable);
    if (is_void(batch))
        memtable_void(memtable, mark, batch - 1);
    else
        atomic_store_explicit(&published, batch, memory_order_release);
}

static void *get_loop(void *arg) {
    struct rng rng = rng_of((uint64_t)(size_t)arg);
    while (!atomic_load(&stopped)) {
        uint64_t snapshot = atomic_load_explicit(&published, memory_order_acquire), seq;
        if (snapshot == 0) continue;
        uint8_t key = (uint8_t)('a' + rng_below(&rng, BATCH_KEYS)), type;
        slice value;
        sure(memtable_get(memtable, slice_of(&key, 1), snapshot, &type, &seq, &value) == 0);
        sure(seq == snapshot && get_fixed64(value.data) == snapshot);
    }
    return NULL;
}

static void *walk_loop(void *arg) {
    struct iter *it;
    sure(memtable_iter_new(memtable, &it, NULL) == 0);
    while (!atomic_load(&stopped)) {
        uint64_t snapshot = atomic_load_explicit(&published, memory_order_acquire), seen = 0;
        bool forward = arg != NULL;
        sure((forward ? it->ops->seek_first(it, NULL) : it->ops->seek_last(it, NULL)) == 0);
        while (it->valid) {
            sure(it->value.len == 8 && get_fixed64(it->value.data) == it->seq);
            seen += it->seq <= snapshot && !is_void(it->seq);
            sure((forward ? it->ops->next(it, NULL) : it->ops->prev(it, NULL)) == 0);
        }
        sure(seen == (snapshot - (snapshot + 3) / 7) * (BATCH_KEYS + 1));
    }
    iter_close(it);
    return NULL;
}

START_TEST(readers_need_no_lock) {
    pthread_t threads[4];
    atomic_store(&published, 0);
    atomic_store(&stopped, 0);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(
            pthread_create(&threads[i], NULL, i < 2 ? get_loop : walk_loop, (void *)(i % 2)), 0);
    for (uint64_t batch = 1; batch <= BATCHES; batch++)
        write_batch(batch);
    atomic_store(&stopped, 1);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}
END_TEST

/* Single entries, of which nobody but readers links the last ones: number n is a version of key
 * n % SINGLE_KEYS, and the keys come in no order. Pauses let readers meet a list at rest. */
enum { SINGLES = 60000, SINGLE_KEYS = 37 };

static slice single_key(uint64_t n, uint8_t key[8]) {
    put_fixed64(key, n % SINGLE_KEYS * UINT64_C(0x9e3779b97f4a7c15));
    return slice_of(key, 8);
}

static void write_single(uint64_t n, struct rng *rng) {
    uint8_t key[8], value[8];
    put_fixed64(value, n);
    must(memtable_add(memtable, single_key(n, key), n, ENTRY_PUT, slice_of(value, 8), &test_err));
    atomic_store_explicit(&published, n, memory_order_release);
    if (rng_below(rng, 100) == 0) sched_yield();
}

static void *get_single_loop(void *arg) {
    struct rng rng = rng_of((uint64_t)(size_t)arg);
    while (!atomic_load(&stopped)) {
        uint64_t snapshot = atomic_load_explicit(&published, memory_order_acquire), seq;
        if (snapshot < SINGLE_KEYS) continue;
        uint64_t wanted = snapshot - (rng_below(&rng, 2) ? 0 : rng_below(&rng, SINGLE_KEYS));
        uint8_t key[8], type;
        slice value;
        sure(memtable_get(memtable, single_key(wanted, key), snapshot, &type, &seq, &value) == 0);
        sure(seq == wanted && get_fixed64(value.data) == wanted);
    }
    return NULL;
}

static void *walk_single_loop(void *arg) {
    (void)arg;
    while (!atomic_load(&stopped)) {
        uint64_t snapshot = atomic_load_explicit(&published, memory_order_acquire), seen = 0;
        uint8_t key[8];
        struct iter *it;
        if (snapshot == 0) continue;
        sure(memtable_iter_new(memtable, &it, NULL) == 0);
        slice wanted = single_key(snapshot, key);
        sure(it->ops->seek(it, wanted, snapshot, NULL) == 0);
        while (it->valid && slice_eq(it->key, wanted)) {
            seen++;
            sure(it->ops->next(it, NULL) == 0);
        }
        sure(seen == (snapshot + SINGLE_KEYS - 1) / SINGLE_KEYS);
        iter_close(it);
    }
    return NULL;
}

START_TEST(single_entries_are_found_at_once) {
    struct rng rng = rng_of(harness_seed());
    pthread_t threads[3];
    atomic_store(&published, 0);
    atomic_store(&stopped, 0);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL,
                                        i < 2 ? get_single_loop : walk_single_loop, (void *)i),
                         0);
    for (uint64_t n = 1; n <= SINGLES; n++)
        write_single(n, &rng);
    atomic_store(&stopped, 1);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}
END_TEST

int main(void) {
    static const struct {
        const char *name;
        void (*setup)(void);
    } kinds[] = {{"plain", setup},
                 {"with filter", setup_with_filter},
                 {"with filter and chains", setup_with_chains},
                 {"with few chains", setup_with_few_chains},
                 {"own", setup_own},
                 {"own, with filter", setup_own_with_filter}};
    Suite *suite = suite_create("memtable");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        TCase *tc = tcase_create(kinds[i].name);
        tcase_add_checked_fixture(tc, kinds[i].setup, teardown);
        tcase_add_test(tc, an_empty_one);
        tcase_add_test(tc, versions_of_a_key);
        tcase_add_test(tc, keys_with_one_prefix);
        tcase_add_test(tc, the_later_of_two_equal_entries_wins);
        tcase_add_test(tc, void_entries_were_never_there);
        tcase_add_test(tc, an_iterator_on_an_entry_made_void);
        tcase_add_test(tc, an_iterator_keeps_its_memtable);
        tcase_add_test(tc, reset_gives_memory_back);
        tcase_add_test(tc, without_memory_nothing_changes);
        tcase_add_loop_test(tc, random_entries, 0, 12);
        tcase_add_loop_test(tc, orders_of_insertion, 0, 4);
        tcase_add_test(tc, apart_until_linked);
        tcase_add_test(tc, apart_and_void);
        tcase_add_test(tc, ranges_know_what_is_apart);
        if (i == 0) tcase_add_test(tc, a_filter_that_comes_later);
        if (i == 0) tcase_add_test(tc, chains_come_when_they_are_of_use);
        if (i > 0) tcase_add_loop_test(tc, as_without_chains, 0, 8);
        tcase_add_test(tc, apart_is_as_at_once);
        if (kinds[i].setup == setup_own) {
            tcase_add_test(tc, a_filter_that_comes_later);
            tcase_add_loop_test(tc, waiting_without_memory, 0, 2);
        }
        if (kinds[i].setup == setup_own || kinds[i].setup == setup_own_with_filter) {
            tcase_add_loop_test(tc, waiting_is_as_at_once, 0, 8);
            suite_add_tcase(suite, tc);
            continue;
        }
        tcase_add_test(tc, readers_need_no_lock);
        tcase_add_test(tc, single_entries_are_found_at_once);
        suite_add_tcase(suite, tc);
    }
    return harness_run(suite);
}
