#include "engine/base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/harness.h"

/* A piece that tells its own size, as arena_walk() needs. */
struct piece {
    uint32_t bytes, serial;
};

static struct piece *add_piece(struct arena *a, size_t bytes, uint32_t serial) {
    struct piece *p = arena_alloc(a, bytes);
    if (!p) return NULL;
    ck_assert_uint_eq((uintptr_t)p % 8, 0);
    memset(p, (int)serial, bytes);
    p->bytes = (uint32_t)bytes;
    p->serial = serial;
    return p;
}

struct walk {
    uint32_t next, count;
};

static size_t check_piece(void *arg, void *at) {
    struct walk *w = arg;
    struct piece *p = at;
    if (p->serial != w->next) ck_abort_msg("piece %u instead of %u", p->serial, w->next);
    for (size_t i = sizeof *p; i < p->bytes; i++)
        if (((uint8_t *)p)[i] != (uint8_t)p->serial) ck_abort_msg("piece %u", p->serial);
    w->next++;
    w->count++;
    return p->bytes;
}

START_TEST(pieces_of_all_sizes) {
    struct rng r = rng_of(harness_seed());
    struct arena a;
    arena_init(&a, 1000);
    ck_assert_uint_eq(arena_bytes(&a), 0);
    struct arena_mark marks[300];
    size_t given = 0;
    for (uint32_t i = 0; i < 300; i++) {
        size_t most = rng_below(&r, 20) == 0 ? 100000 : 300;
        size_t bytes = sizeof(struct piece) + rng_below(&r, most);
        marks[i] = arena_mark(&a);
        ck_assert_ptr_nonnull(add_piece(&a, bytes, i));
        given += bytes;
    }
    ck_assert_uint_ge(arena_bytes(&a), given);
    for (uint32_t i = 0; i < 300; i++) {
        struct walk w = {.next = i};
        arena_walk(&a, marks[i], check_piece, &w);
        ck_assert_uint_eq(w.count, 300 - i);
    }
    struct walk end = {.next = 300};
    arena_walk(&a, arena_mark(&a), check_piece, &end);
    ck_assert_uint_eq(end.count, 0);
    arena_release(&a);
    ck_assert_uint_eq(arena_bytes(&a), 0);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

START_TEST(usable_after_release) {
    struct arena a;
    arena_init(&a, 64);
    arena_release(&a);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 100; i++)
            ck_assert_ptr_nonnull(add_piece(&a, 24, i));
        struct walk w = {.next = 0};
        arena_walk(&a, (struct arena_mark){NULL, 0}, check_piece, &w);
        ck_assert_uint_eq(w.count, 100);
        arena_release(&a);
    }
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

/* What is filled and emptied over and over asks for no memory after the first time. */
START_TEST(reset_keeps_a_chunk) {
    struct arena a;
    arena_init(&a, 64);
    arena_reset(&a);
    ck_assert_uint_eq(arena_bytes(&a), 0);
    for (int round = 0; round < 20; round++) {
        if (round == 10) fault_alloc_fail_at(1, true);
        for (uint32_t i = 0; i < 100; i++)
            ck_assert_ptr_nonnull(add_piece(&a, 24, i));
        struct walk w = {.next = 0};
        arena_walk(&a, (struct arena_mark){NULL, 0}, check_piece, &w);
        ck_assert_uint_eq(w.count, 100);
        arena_reset(&a);
        ck_assert_uint_eq(fault_alloc_live(), 1);
        ck_assert_uint_eq(arena_bytes(&a), sizeof *a.last + a.last->cap);
    }
    ck_assert(!fault_alloc_hit());
    fault_alloc_fail_at(0, false);
    ck_assert_ptr_nonnull(arena_alloc(&a, 2 * ARENA_MAX_CHUNK_BYTES)); /* but not a giant's */
    arena_reset(&a);
    ck_assert_uint_eq(arena_bytes(&a), 0);
    arena_release(&a);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

START_TEST(chunks_are_few) {
    struct arena a;
    arena_init(&a, 4096);
    for (uint32_t i = 0; i < 200000; i++)
        if (!arena_alloc(&a, 64)) ck_abort();
    ck_assert_uint_le(fault_alloc_live(), 24); /* 8 doublings, then a megabyte each */
    ck_assert_uint_le(arena_bytes(&a), 200000 * 64 + 2 * ARENA_MAX_CHUNK_BYTES);
    arena_release(&a);
}
END_TEST

START_TEST(no_memory) {
    struct arena a;
    arena_init(&a, 64);
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX - 7));
    fault_alloc_fail_at(1, false);
    ck_assert_ptr_null(arena_alloc(&a, 8));
    ck_assert_uint_eq(arena_bytes(&a), 0);
    ck_assert_ptr_nonnull(add_piece(&a, 40, 0));
    fault_alloc_fail_at(1, false);
    ck_assert_ptr_null(arena_alloc(&a, 1000));
    ck_assert_ptr_nonnull(add_piece(&a, 1000, 1));
    struct walk w = {.next = 0};
    arena_walk(&a, (struct arena_mark){NULL, 0}, check_piece, &w);
    ck_assert_uint_eq(w.count, 2);
    arena_release(&a);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("arena");
    TCase *t = tcase_create("arena");
    tcase_add_test(t, pieces_of_all_sizes);
    tcase_add_test(t, usable_after_release);
    tcase_add_test(t, reset_keeps_a_chunk);
    tcase_add_test(t, chunks_are_few);
    tcase_add_test(t, no_memory);
    suite_add_tcase(s, t);
    return harness_run(s);
}
