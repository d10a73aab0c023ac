#include "engine/table/cache_memory.h"

#include "engine/base/alloc.h"

enum { LARGEST_SPARE = 64 * 1024 };
enum { LEAST_PIECE = 2048, LARGEST_PIECE = 32 * 1024, PIECE_RUN = 8 };

/* What the allocator knows it by. */
static uint8_t *memory_of(struct entry *e) {
    return (uint8_t *)e - e->room;
}

/* Needs the mutex. */
static void free_locked(struct cache_memory *m, struct entry *e) {
    if (e->page)
        slab_give(&m->slab, e->page, memory_of(e));
    else
        mem_free(memory_of(e));
}

bool cache_memory_init(struct cache_memory *m, unsigned max_pages, uint64_t spare_bytes) {
    if (pthread_mutex_init(&m->mutex, NULL)) return false;
    m->limit_bytes = spare_bytes;
    slab_init(&m->slab, max_pages);
    return true;
}

void cache_memory_release(struct cache_memory *m) {
    for (unsigned i = 0; i < m->count; i++)
        free_locked(m, m->list[i]);
    slab_release(&m->slab);
    pthread_mutex_destroy(&m->mutex);
}

struct entry *cache_memory_spare(struct cache_memory *m, size_t room) {
    struct entry *found = NULL;
    pthread_mutex_lock(&m->mutex);
    for (unsigned i = m->count; i-- > 0 && !found;) {
        struct entry *e = m->list[i];
        if (e->room < room || e->room - room > room / 8) continue;
        found = e;
        m->list[i] = m->list[--m->count];
        m->bytes -= e->room;
    }
    pthread_mutex_unlock(&m->mutex);
    return found;
}

void cache_memory_give(struct cache_memory *m, struct entry *e) {
    bool kept = false;
    if (e->room <= LARGEST_SPARE) {
        pthread_mutex_lock(&m->mutex);
        kept = m->count < MAX_SPARES && m->bytes + e->room <= m->limit_bytes &&
               !cache_memory_is_condemned(e);
        if (kept) {
            m->list[m->count++] = e;
            m->bytes += e->room;
        } else if (e->page) {
            free_locked(m, e);
            kept = true;
        }
        pthread_mutex_unlock(&m->mutex);
    }
    if (!kept) mem_free(memory_of(e));
}

/* The size of pieces is that of several blocks in a row. It is chosen anew when none is left of
 * another size. Needs the mutex. */
static void see_room(struct cache_memory *m, size_t room) {
    m->run = room == m->last_room ? m->run + 1 : 0;
    m->last_room = room;
    if (m->run < PIECE_RUN || m->slab_room == room || m->slab.page_count > 0) return;
    if (m->slab.limit == 0 || room < LEAST_PIECE || room > LARGEST_PIECE) return;
    slab_choose(&m->slab, room + sizeof(struct entry));
    m->slab_room = room;
}

/* One page or none may be too few for blocks to take turns. */
static bool must_wait(const struct slab *s) {
    return !slab_has_room(s) && s->page_count > 1 && s->page_count < s->limit && mem_is_short(1);
}

struct entry *cache_memory_piece(struct cache_memory *m, size_t room, bool patient,
                                 enum piece_outcome *outcome) {
    struct entry *e = NULL;
    *outcome = PIECE_OR_NONE;
    pthread_mutex_lock(&m->mutex);
    unsigned pages = m->slab.page_count;
    see_room(m, room);
    bool fits = m->slab_room && room <= m->slab_room && m->slab_room - room <= m->slab_room / 16;
    if (fits && patient && must_wait(&m->slab)) {
        *outcome = PAGE_AWAITED;
    } else if (fits) {
        struct slab_page *page;
        uint8_t *bytes = slab_take(&m->slab, &page);
        if (bytes) {
            e = (struct entry *)(bytes + m->slab_room);
            e->room = m->slab_room;
            e->page = page;
        }
    }
    if (m->slab.page_count > pages) *outcome = PAGE_TAKEN;
    pthread_mutex_unlock(&m->mutex);
    return e;
}

struct entry *cache_memory_new(size_t room) {
    size_t total;
    uint8_t *bytes;
    if (__builtin_add_overflow(room, sizeof(struct entry), &total) || !(bytes = mem_alloc(total)))
        return NULL;
    struct entry *e = (struct entry *)(bytes + room);
    e->room = room;
    e->page = NULL;
    return e;
}

void cache_memory_free(struct cache_memory *m, struct entry *e) {
    pthread_mutex_lock(&m->mutex);
    free_locked(m, e);
    pthread_mutex_unlock(&m->mutex);
}

unsigned cache_memory_pages(struct cache_memory *m) {
    pthread_mutex_lock(&m->mutex);
    unsigned pages = m->slab.page_count;
    pthread_mutex_unlock(&m->mutex);
    return pages;
}

/* Spares that lie in a page go back to it. Needs the mutex. */
static void give_spares_of(struct cache_memory *m, const struct slab_page *page) {
    for (unsigned i = m->count; i-- > 0;) {
        struct entry *e = m->list[i];
        if (e->page != page) continue;
        m->list[i] = m->list[--m->count];
        m->bytes -= e->room;
        free_locked(m, e);
    }
}

const struct slab_page *cache_memory_condemn(struct cache_memory *m, unsigned max_pages) {
    pthread_mutex_lock(&m->mutex);
    m->slab.limit = max_pages;
    const struct slab_page *page = slab_condemn(&m->slab);
    if (page) give_spares_of(m, page);
    pthread_mutex_unlock(&m->mutex);
    return page;
}
