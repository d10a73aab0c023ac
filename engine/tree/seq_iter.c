#include "engine/tree/seq_iter.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"

struct seq_iter {
    struct iter base;
    struct iter *source;
    uint64_t most, less;
};

static int show(struct seq_iter *s, int rc) {
    if (rc || !s->source->valid) {
        s->base.valid = false;
        return rc;
    }
    iter_show(&s->base, s->source);
    s->base.seq = s->source->seq - s->less;
    return 0;
}

/* A motion was made, forward or backward: go on to what is not left out. */
static int settle_up(struct seq_iter *s, int rc, struct kevo_err *err) {
    while (rc == 0 && s->source->valid && s->source->seq > s->most)
        rc = s->source->ops->next(s->source, err);
    return show(s, rc);
}

static int settle_down(struct seq_iter *s, int rc, struct kevo_err *err) {
    while (rc == 0 && s->source->valid && s->source->seq > s->most)
        rc = s->source->ops->prev(s->source, err);
    return show(s, rc);
}

static int seq_seek(struct iter *it, slice key, uint64_t seq, struct kevo_err *err) {
    struct seq_iter *s = (struct seq_iter *)it;
    uint64_t from = seq < SEQ_MAX - s->less ? seq + s->less : SEQ_MAX;
    if (from > s->most) from = s->most;
    return settle_up(s, s->source->ops->seek(s->source, key, from, err), err);
}

static int seq_seek_first(struct iter *it, struct kevo_err *err) {
    struct seq_iter *s = (struct seq_iter *)it;
    return settle_up(s, s->source->ops->seek_first(s->source, err), err);
}

static int seq_seek_before(struct iter *it, slice key, struct kevo_err *err) {
    struct seq_iter *s = (struct seq_iter *)it;
    return settle_down(s, s->source->ops->seek_before(s->source, key, err), err);
}

static int seq_seek_last(struct iter *it, struct kevo_err *err) {
    struct seq_iter *s = (struct seq_iter *)it;
    return settle_down(s, s->source->ops->seek_last(s->source, err), err);
}

static int seq_next(struct iter *it, struct kevo_err *err) {
    struct seq_iter *s = (struct seq_iter *)it;
    assert(it->valid);
    return settle_up(s, s->source->ops->next(s->source, err), err);
}

static int seq_prev(struct iter *it, struct kevo_err *err) {
    struct seq_iter *s = (struct seq_iter *)it;
    assert(it->valid);
    return settle_down(s, s->source->ops->prev(s->source, err), err);
}

static void seq_close(struct iter *it) {
    iter_close(((struct seq_iter *)it)->source);
    mem_free(it);
}

static void seq_aim(struct iter *it, slice key, unsigned step) {
    struct iter *source = ((struct seq_iter *)it)->source;
    if (source->ops->aim) source->ops->aim(source, key, step);
}

static const struct iter_ops seq_ops = {
    .seek = seq_seek,
    .seek_first = seq_seek_first,
    .seek_before = seq_seek_before,
    .seek_last = seq_seek_last,
    .next = seq_next,
    .prev = seq_prev,
    .close = seq_close,
    .aim = seq_aim,
};

int seq_iter_new(struct iter *source, uint64_t most, uint64_t less, struct iter **it,
                 struct kevo_err *err) {
    *it = NULL;
    struct seq_iter *s = mem_zalloc(sizeof *s);
    if (!s) return kevo_nomem(err);
    s->base.ops = &seq_ops;
    s->source = source;
    s->most = most;
    s->less = less;
    *it = &s->base;
    return 0;
}
