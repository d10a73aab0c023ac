/* slab.h - pieces of memory of one size, many to a huge page: what is read at random finds the
 * addresses of its pages in the processor's cache then.
 *
 * A page goes back to the system when all of its pieces have come back, but for the last one
 * with room, so that one piece that comes and goes does not move a page each time. Where that would
 * take too long, slab_condemn() chooses one whose pieces are to come back.
 *
 * Threads: one at a time. */
#ifndef KEVO_TABLE_SLAB_H
#define KEVO_TABLE_SLAB_H

#include "engine/base/slice.h"

struct slab_page;

struct slab {
    size_t piece_bytes;                /* 0: none was chosen */
    unsigned page_count, limit;        /* pages held, and how many at most: it may be changed */
    unsigned condemned_count;          /* of those held */
    struct slab_page *open;            /* those with room, in a list */
    struct slab_page *oldest, *newest; /* all but the condemned, in a list */
};

enum { SLAB_ALIGN = 64, SLAB_MAX_PIECE = 64 << 10 };

/* Without pages; no size is chosen. */
void slab_init(struct slab *s, unsigned limit);
/* Frees all pages: every piece has come back. */
void slab_release(struct slab *s);

/* From now on pieces have so many bytes, rounded up to SLAB_ALIGN: there are no pages, and it is
 * at most SLAB_MAX_PIECE. */
void slab_choose(struct slab *s, size_t piece_bytes);

/* A piece, aligned to SLAB_ALIGN where the allocator aligns pages so, and the page it is of, to be
 * given back with it. NULL when the limit is reached or there is no memory. */
void *slab_take(struct slab *s, struct slab_page **page);
void slab_give(struct slab *s, struct slab_page *page, void *piece);

/* A piece is there without another page. */
static inline bool slab_has_room(const struct slab *s) {
    return s->open != NULL;
}

/* While more pages are held than the limit, not counting those that were condemned: no piece of
 * the returned page is given out any more, and it goes back to the system with the last of its
 * pieces; NULL when none is left to choose, or too few pages are held. Who holds pieces finds
 * them by their addresses, MEM_HUGE_BYTES from the page's on. */
struct slab_page *slab_condemn(struct slab *s);
/* From any thread at any time, while it has a piece. */
bool slab_is_condemned(const struct slab_page *page);

#endif
