#include "engine/tree/hide_iter.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"

struct hide_iter {
    struct iter base;
    struct iter *source;
    const struct range_set *hidden;
    uint64_t max_seq;
    /* The keys around the present one up to what hides next; data NULL: open. */
    slice free_from, free_to;
};

static int broken(struct hide_iter *h, int rc) {
    h->base.valid = false;
    return rc;
}

static int show(struct hide_iter *h) {
    iter_show(&h->base, h->source);
    return 0;
}

static bool hides(const struct hide_iter *h, size_t i) {
    return h->hidden->fragments[i].seqs[0] > h->max_seq;
}

/* `key` is not hidden: find how far that goes. */
static void find_free(struct hide_iter *h, slice key) {
    const struct range_set *set = h->hidden;
    size_t to = range_set_find(set, key), from = to;
    while (to < set->count && !hides(h, to))
        to++;
    while (from > 0 && !hides(h, from - 1))
        from--;
    h->free_to = to < set->count ? set->fragments[to].lower : slice_of(NULL, 0);
    h->free_from = from > 0 ? set->fragments[from - 1].upper : slice_of(NULL, 0);
}

/* The source has come to a place whose surroundings are not known. */
static int settle_up(struct hide_iter *h, struct kevo_err *err) {
    struct iter *s = h->source;
    while (s->valid) {
        slice end = range_set_skip_up(h->hidden, s->key, h->max_seq);
        if (!end.data) {
            find_free(h, s->key);
            return show(h);
        }
        int rc = s->ops->seek(s, end, SEQ_MAX, err);
        if (rc) return broken(h, rc);
    }
    return broken(h, 0);
}

static int settle_down(struct hide_iter *h, struct kevo_err *err) {
    struct iter *s = h->source;
    while (s->valid) {
        slice start = range_set_skip_down(h->hidden, s->key, h->max_seq);
        if (!start.data) {
            find_free(h, s->key);
            return show(h);
        }
        int rc = s->ops->seek_before(s, start, err);
        if (rc) return broken(h, rc);
    }
    return broken(h, 0);
}

static int hide_seek(struct iter *it, slice key, uint64_t seq, struct kevo_err *err) {
    struct hide_iter *h = (struct hide_iter *)it;
    slice end = range_set_skip_up(h->hidden, key, h->max_seq);
    int rc = end.data ? h->source->ops->seek(h->source, end, SEQ_MAX, err)
                      : h->source->ops->seek(h->source, key, seq, err);
    return rc ? broken(h, rc) : settle_up(h, err);
}

static int hide_seek_first(struct iter *it, struct kevo_err *err) {
    struct hide_iter *h = (struct hide_iter *)it;
    int rc = h->source->ops->seek_first(h->source, err);
    return rc ? broken(h, rc) : settle_up(h, err);
}

static int hide_seek_before(struct iter *it, slice key, struct kevo_err *err) {
    struct hide_iter *h = (struct hide_iter *)it;
    int rc = h->source->ops->seek_before(h->source, key, err);
    return rc ? broken(h, rc) : settle_down(h, err);
}

static int hide_seek_last(struct iter *it, struct kevo_err *err) {
    struct hide_iter *h = (struct hide_iter *)it;
    int rc = h->source->ops->seek_last(h->source, err);
    return rc ? broken(h, rc) : settle_down(h, err);
}

static int hide_next(struct iter *it, struct kevo_err *err) {
    struct hide_iter *h = (struct hide_iter *)it;
    struct iter *s = h->source;
    assert(it->valid);
    int rc = s->ops->next(s, err);
    if (rc || !s->valid) return broken(h, rc);
    if (!h->free_to.data || slice_cmp(s->key, h->free_to) < 0) return show(h);
    return settle_up(h, err);
}

static int hide_prev(struct iter *it, struct kevo_err *err) {
    struct hide_iter *h = (struct hide_iter *)it;
    struct iter *s = h->source;
    assert(it->valid);
    int rc = s->ops->prev(s, err);
    if (rc || !s->valid) return broken(h, rc);
    if (!h->free_from.data || slice_cmp(s->key, h->free_from) >= 0) return show(h);
    return settle_down(h, err);
}

static void hide_close(struct iter *it) {
    iter_close(((struct hide_iter *)it)->source);
    mem_free(it);
}

static const struct iter_ops hide_ops = {
    .seek = hide_seek,
    .seek_first = hide_seek_first,
    .seek_before = hide_seek_before,
    .seek_last = hide_seek_last,
    .next = hide_next,
    .prev = hide_prev,
    .close = hide_close,
};

int hide_iter_new(struct iter *source, const struct range_set *hidden, uint64_t max_seq,
                  struct iter **it, struct kevo_err *err) {
    *it = NULL;
    struct hide_iter *h = mem_zalloc(sizeof *h);
    if (!h) return kevo_nomem(err);
    h->base.ops = &hide_ops;
    h->source = source;
    h->hidden = hidden;
    h->max_seq = max_seq;
    *it = &h->base;
    return 0;
}
