#include "engine/table/slab.h"

#include <assert.h>

#include "engine/base/alloc.h"

/* At the beginning of a page; the pieces follow. */
struct slab_page {
    struct slab_page *next, *previous; /* in the list of those with room */
    struct free_piece *free;           /* given back */
    uint8_t *fresh;                    /* from here on nothing was ever taken */
    unsigned used, fit;                /* pieces taken, pieces in all */
};

struct free_piece {
    struct free_piece *next;
};

_Static_assert(sizeof(struct slab_page) <= SLAB_ALIGN, "the first piece lies behind it");

void slab_init(struct slab *s, unsigned limit) {
    *s = (struct slab){.limit = limit};
}

static void open_page(struct slab *s, struct slab_page *p) {
    p->previous = NULL;
    p->next = s->open;
    if (s->open) s->open->previous = p;
    s->open = p;
}

static void close_page(struct slab *s, struct slab_page *p) {
    if (p->next) p->next->previous = p->previous;
    if (p->previous)
        p->previous->next = p->next;
    else
        s->open = p->next;
}

static void free_page(struct slab *s, struct slab_page *p) {
    assert(p->used == 0);
    close_page(s, p);
    mem_free_huge(p);
    s->page_count--;
}

void slab_release(struct slab *s) {
    while (s->open)
        free_page(s, s->open);
    assert(s->page_count == 0);
}

void slab_choose(struct slab *s, size_t piece_bytes) {
    assert(s->page_count == 0 && piece_bytes > 0 && piece_bytes <= SLAB_MAX_PIECE);
    s->piece_bytes = (piece_bytes + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;
}

static bool add_page(struct slab *s) {
    struct slab_page *p = s->page_count < s->limit ? mem_alloc_huge() : NULL;
    if (!p) return false;
    *p = (struct slab_page){
        .fresh = (uint8_t *)p + SLAB_ALIGN,
        .fit = (unsigned)((MEM_HUGE_BYTES - SLAB_ALIGN) / s->piece_bytes),
    };
    s->page_count++;
    open_page(s, p);
    return true;
}

void *slab_take(struct slab *s, struct slab_page **page) {
    assert(s->piece_bytes > 0);
    if (!s->open && !add_page(s)) return NULL;
    struct slab_page *p = *page = s->open;
    void *piece = p->free;
    if (piece) {
        p->free = p->free->next;
    } else {
        piece = p->fresh;
        p->fresh += s->piece_bytes;
    }
    if (++p->used == p->fit) close_page(s, p);
    return piece;
}

void slab_give(struct slab *s, struct slab_page *page, void *piece) {
    struct free_piece *f = piece;
    assert(page->used > 0);
    f->next = page->free;
    page->free = f;
    if (page->used-- == page->fit) open_page(s, page);
    if (page->used == 0 && (page->next || page->previous)) free_page(s, page);
}
