#include "engine/base/arena.h"

#include "engine/base/alloc.h"

_Static_assert(sizeof(struct arena_chunk) + ARENA_MAX_CHUNK_BYTES == MEM_HUGE_BYTES,
               "the largest chunk is a huge page");

static size_t aligned(size_t bytes) {
    return (bytes + 7) & ~(size_t)7;
}

void arena_init(struct arena *a, size_t first_chunk_bytes) {
    *a = (struct arena){.chunk_bytes = aligned(first_chunk_bytes)};
}

/* The largest ordinary chunk is a huge page. */
static bool is_huge(size_t cap) {
    return cap == ARENA_MAX_CHUNK_BYTES;
}

void arena_tell(struct arena *a, struct arena_watch watch) {
    a->watch = watch;
}

static void say_gave(const struct arena *a, uint64_t bytes) {
    if (a->watch.gave && bytes) a->watch.gave(a->watch.arg, bytes);
}

static void free_chunk(struct arena_chunk *c) {
    if (is_huge(c->cap))
        mem_free_huge(c);
    else
        mem_free(c);
}

void arena_release(struct arena *a) {
    for (struct arena_chunk *c = a->first, *next; c; c = next) {
        next = c->next;
        free_chunk(c);
    }
    uint64_t gave = arena_bytes(a);
    *a = (struct arena){.chunk_bytes = a->chunk_bytes, .watch = a->watch};
    say_gave(a, gave);
}

void arena_reset(struct arena *a) {
    struct arena_chunk *keep = a->last;
    if (!keep || keep->cap > ARENA_MAX_CHUNK_BYTES) {
        arena_release(a);
        return;
    }
    for (struct arena_chunk *c = a->first, *next; c != keep; c = next) {
        next = c->next;
        free_chunk(c);
    }
    keep->used = 0;
    uint64_t kept = sizeof *keep + keep->cap, gave = arena_bytes(a) - kept;
    *a = (struct arena){keep, keep, kept, a->chunk_bytes, a->watch};
    say_gave(a, gave);
}

static struct arena_chunk *add_chunk(struct arena *a, size_t bytes) {
    size_t cap = bytes > a->chunk_bytes ? bytes : a->chunk_bytes;
    if (a->watch.takes) a->watch.takes(a->watch.arg, sizeof(struct arena_chunk) + cap);
    struct arena_chunk *c = is_huge(cap) ? mem_alloc_huge() : mem_alloc(sizeof *c + cap);
    if (!c) {
        say_gave(a, sizeof *c + cap);
        return NULL;
    }
    if (a->watch.took) a->watch.took(a->watch.arg, sizeof *c + cap);
    c->next = NULL;
    c->used = 0;
    c->cap = cap;
    if (a->last)
        a->last->next = c;
    else
        a->first = c;
    a->last = c;
    atomic_fetch_add_explicit(&a->bytes, sizeof *c + cap, memory_order_relaxed);
    a->chunk_bytes = a->chunk_bytes < ARENA_MAX_CHUNK_BYTES / 2 ? a->chunk_bytes * 2
                                                                : (size_t)ARENA_MAX_CHUNK_BYTES;
    return c;
}

void *arena_alloc(struct arena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = aligned(bytes);
    struct arena_chunk *c = a->last;
    if (!c || c->cap - c->used < bytes) {
        c = add_chunk(a, bytes);
        if (!c) return NULL;
    }
    void *p = c->data + c->used;
    c->used += bytes;
    return p;
}

uint64_t arena_bytes(const struct arena *a) {
    return atomic_load_explicit(&a->bytes, memory_order_relaxed);
}

struct arena_mark arena_mark(const struct arena *a) {
    return (struct arena_mark){a->last, a->last ? a->last->used : 0};
}

void arena_walk(struct arena *a, struct arena_mark mark, size_t (*visit)(void *arg, void *piece),
                void *arg) {
    size_t at = mark.used;
    for (struct arena_chunk *c = mark.chunk ? mark.chunk : a->first; c; c = c->next) {
        while (at < c->used)
            at += aligned(visit(arg, c->data + at));
        at = 0;
    }
}
