/* arena.h - memory that is given out piece by piece and freed all at once.
 *
 * Pieces are aligned to 8 bytes and lie in chunks, in the order they were asked
 * for, without gaps inside a chunk; arena_walk() visits them again from a mark
 * on. A piece larger than a chunk gets one of its own.
 *
 * Threads: one allocates; others may read what they were handed. arena_bytes()
 * may be called from any thread. */
#ifndef KEVO_BASE_ARENA_H
#define KEVO_BASE_ARENA_H

#include <stdatomic.h>

#include "engine/kevo.h"

struct arena_chunk {
    struct arena_chunk *next; /* the one allocated after this, NULL on the last */
    size_t used, cap;         /* bytes of data[] */
    uint8_t data[];
};

/* Who is told of the memory that an arena takes, before it does and when it has it, and of what it
 * has given back; by the thread that allocates or releases. */
struct arena_watch {
    void (*takes)(void *arg, uint64_t bytes);
    void (*took)(void *arg, uint64_t bytes);
    void (*gave)(void *arg, uint64_t bytes);
    void *arg;
};

struct arena {
    struct arena_chunk *first, *last;
    _Atomic uint64_t bytes;   /* memory held, chunk headers included */
    size_t chunk_bytes;       /* data bytes of the next ordinary chunk */
    struct arena_watch watch; /* without functions: nobody is told */
};

struct arena_mark {
    struct arena_chunk *chunk; /* NULL: the arena was empty */
    size_t used;
};

/* Chunks start at `first_chunk_bytes` and double up to ARENA_MAX_CHUNK_BYTES. */
void arena_init(struct arena *a, size_t first_chunk_bytes);
void arena_release(struct arena *a);
/* While the arena is empty: who is told from now on. */
void arena_tell(struct arena *a, struct arena_watch watch);
/* Take back all that was given out, and keep the last chunk, if it is an ordinary one: an
 * arena that is filled again and again soon needs no more memory. */
void arena_reset(struct arena *a);
void *arena_alloc(struct arena *a, size_t bytes); /* NULL when there is no memory */
uint64_t arena_bytes(const struct arena *a);

/* Where the next piece will lie. */
struct arena_mark arena_mark(const struct arena *a);

/* Visit the pieces given out since `mark`, in order. `visit` returns the size it
 * asked for when it allocated that piece. */
void arena_walk(struct arena *a, struct arena_mark mark, size_t (*visit)(void *arg, void *piece),
                void *arg);

enum { ARENA_MAX_CHUNK_BYTES = (2 << 20) - sizeof(struct arena_chunk) };

#endif
