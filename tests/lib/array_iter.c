#include "tests/lib/array_iter.h"

#include <stdlib.h>

#include "engine/base/error.h"

struct array_iter {
    struct iter base;
    const struct iter_suite_entry *entries;
    size_t count, at;
    uint8_t *shown;
    uint64_t fail_at;
};

uint64_t array_iter_motions, array_iter_live;

static int show(struct array_iter *a, size_t at, struct kevo_err *err) {
    array_iter_motions++;
    free(a->shown);
    a->shown = NULL;
    a->base.valid = false;
    if (a->fail_at && --a->fail_at == 0) return kevo_fail(err, KEVO_IOERR, "as told");
    if (at >= a->count) return 0;
    const struct iter_suite_entry *e = &a->entries[at];
    a->shown = malloc(e->key.len + e->value.len + 1);
    if (!a->shown) abort();
    if (e->key.len) memcpy(a->shown, e->key.data, e->key.len);
    if (e->value.len) memcpy(a->shown + e->key.len, e->value.data, e->value.len);
    a->at = at;
    a->base.valid = true;
    a->base.type = e->type;
    a->base.seq = e->seq;
    a->base.key = slice_of(a->shown, e->key.len);
    a->base.value = slice_of(a->shown + e->key.len, e->value.len);
    return 0;
}

/* As much as two neighbours have in common, as in a table. */
static uint32_t common(slice a, slice b) {
    uint32_t n = 0;
    while (n < a.len && n < b.len && a.data[n] == b.data[n])
        n++;
    return n;
}

static int array_seek(struct iter *it, slice key, uint64_t seq, struct kevo_err *err) {
    struct array_iter *a = (struct array_iter *)it;
    return show(a, iter_suite_seek_index(a->entries, a->count, key, seq), err);
}

static int array_seek_first(struct iter *it, struct kevo_err *err) {
    return show((struct array_iter *)it, 0, err);
}

static int array_seek_before(struct iter *it, slice key, struct kevo_err *err) {
    struct array_iter *a = (struct array_iter *)it;
    return show(a, iter_suite_before_index(a->entries, a->count, key), err);
}

static int array_seek_last(struct iter *it, struct kevo_err *err) {
    struct array_iter *a = (struct array_iter *)it;
    return show(a, a->count - 1, err); /* wraps past the end when empty */
}

static int array_next(struct iter *it, struct kevo_err *err) {
    struct array_iter *a = (struct array_iter *)it;
    if (!it->valid) ck_abort_msg("motion from nowhere");
    size_t before = a->at;
    int rc = show(a, before + 1, err);
    if (it->valid) it->kept = common(a->entries[before].key, it->key);
    return rc;
}

static int array_prev(struct iter *it, struct kevo_err *err) {
    struct array_iter *a = (struct array_iter *)it;
    if (!it->valid) ck_abort_msg("motion from nowhere");
    return show(a, a->at - 1, err);
}

static void array_close(struct iter *it) {
    struct array_iter *a = (struct array_iter *)it;
    array_iter_live--;
    free(a->shown);
    free(a);
}

static const struct iter_ops array_ops = {
    .seek = array_seek,
    .seek_first = array_seek_first,
    .seek_before = array_seek_before,
    .seek_last = array_seek_last,
    .next = array_next,
    .prev = array_prev,
    .close = array_close,
};

struct iter *array_iter_new(const struct iter_suite_entry *sorted, size_t count) {
    struct array_iter *a = calloc(1, sizeof *a);
    if (!a) abort();
    a->base.ops = &array_ops;
    a->entries = sorted;
    a->count = count;
    array_iter_live++;
    return &a->base;
}

void array_iter_fail_at(struct iter *it, uint64_t n) {
    ((struct array_iter *)it)->fail_at = n;
}
