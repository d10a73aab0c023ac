#include "engine/table/slab.h"

#include <assert.h>
#include <stdatomic.h>

#include "engine/base/alloc.h"

/* At the beginning of a page; the pieces follow. */
struct slab_page {
    struct slab_page *next, *previous; /* in the list of those with room */
    struct slab_page *older, *newer;   /* in the list of all */
    struct free_piece *free;           /* given back */
    uint8_t *fresh;                    /* from here on nothing was ever taken */
    uint16_t used, fit;                /* pieces taken, pieces in all */
    _Atomic bool condemned;
};

struct free_piece {
    struct free_piece *next;
};

_Static_assert(MEM_HUGE_BYTES / SLAB_ALIGN <= UINT16_MAX, "pieces can be counted");
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

static void add_newest(struct slab *s, struct slab_page *p) {
    p->older = s->newest;
    if (s->newest)
        s->newest->newer = p;
    else
        s->oldest = p;
    s->newest = p;
}

static void remove_from_all(struct slab *s, struct slab_page *p) {
    if (p->older)
        p->older->newer = p->newer;
    else
        s->oldest = p->newer;
    if (p->newer)
        p->newer->older = p->older;
    else
        s->newest = p->older;
}

/* One that is in no list any more. */
static void drop_page(struct slab *s, struct slab_page *p) {
    assert(p->used == 0);
    mem_free_huge(p);
    s->page_count--;
}

static void free_page(struct slab *s, struct slab_page *p) {
    close_page(s, p);
    remove_from_all(s, p);
    drop_page(s, p);
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
        .fit = (uint16_t)((MEM_HUGE_BYTES - SLAB_ALIGN) / s->piece_bytes),
    };
    s->page_count++;
    open_page(s, p);
    add_newest(s, p);
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
    if (slab_is_condemned(page)) {
        if (--page->used > 0) return;
        s->condemned_count--;
        drop_page(s, page);
        return;
    }
    if (page->used-- == page->fit) open_page(s, page);
    if (page->used == 0 && (page->next || page->previous)) free_page(s, page);
}

/* What has the fewest pieces to be moved. */
static struct slab_page *dispensable(const struct slab *s) {
    struct slab_page *found = s->oldest;
    for (struct slab_page *p = s->oldest; p; p = p->newer)
        if (p->used < found->used) found = p;
    return found;
}

struct slab_page *slab_condemn(struct slab *s) {
    for (;;) {
        struct slab_page *p = dispensable(s);
        if (!p || s->page_count - s->condemned_count <= s->limit) return NULL;
        if (p->used == 0) {
            free_page(s, p);
            continue;
        }
        if (p->used < p->fit) close_page(s, p);
        remove_from_all(s, p);
        atomic_store_explicit(&p->condemned, true, memory_order_relaxed);
        s->condemned_count++;
        return p;
    }
}

bool slab_is_condemned(const struct slab_page *page) {
    return atomic_load_explicit(&page->condemned, memory_order_relaxed);
}
