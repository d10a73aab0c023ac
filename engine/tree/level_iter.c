#include "engine/tree/version.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/tree/hide_iter.h"

/* Walks files whose keys ascend, one open at a time. */
struct level_iter {
    struct iter base;
    struct table_file **files; /* those inside the bounds */
    size_t count;
    size_t at;                      /* the file of `child` */
    struct iter *child;             /* NULL: none opened yet; in no table: to be used again */
    bool plain;                     /* `child` is the table's iterator, with nothing around it */
    bool forward;                   /* the direction of the last motion */
    bool aimed;                     /* `child` is where the seek announced will begin */
    struct table *table;            /* that `child` is in, a reference, or NULL */
    bool keep;                      /* blocks read enter the cache */
    const struct range_set *hidden; /* NULL: nothing is left out */
    struct version *version;        /* what keeps the files, or NULL */
    struct table_file *single;      /* the only file, for file_iter_new */
};

static inline int show(struct level_iter *l) {
    if (l->child->valid)
        iter_show(&l->base, l->child);
    else
        l->base.valid = false;
    return 0;
}

static int broken(struct level_iter *l, int rc) {
    l->base.valid = false;
    return rc;
}

/* The first file from files[at] on that is not hidden, or count. */
static size_t next_shown(const struct level_iter *l, size_t at) {
    while (at < l->count && table_file_is_hidden(l->files[at], l->hidden, NULL))
        at++;
    return at;
}

/* How many of the first `n` files are left without the hidden ones at their end. */
static size_t shown_before(const struct level_iter *l, size_t n) {
    while (n > 0 && table_file_is_hidden(l->files[n - 1], l->hidden, NULL))
        n--;
    return n;
}

static bool hides_in(const struct level_iter *l, const struct table_file *f) {
    return l->hidden && l->hidden->max_seq > f->max_seq;
}

static int open_child(const struct level_iter *l, const struct table_file *f, struct table *t,
                      struct iter **child, struct kevo_err *err) {
    struct iter *it = NULL;
    int rc = table_iter_new(t, l->keep, &it, err);
    *child = it;
    if (rc || !hides_in(l, f)) return rc;
    rc = hide_iter_new(it, l->hidden, f->max_seq, child, err);
    if (rc) iter_close(it);
    return rc;
}

/* Make `child` an iterator over that table. */
static int enter_table(struct level_iter *l, const struct table_file *f, struct table *t,
                       struct kevo_err *err) {
    bool plain = !hides_in(l, f);
    struct iter *child;
    if (plain && l->plain) {
        table_iter_bind(l->child, t);
        return 0;
    }
    int rc = open_child(l, f, t, &child, err);
    if (rc) return rc;
    iter_close(l->child);
    l->child = child;
    l->plain = plain;
    return 0;
}

/* Make `child` an iterator over files[at]. */
static int use_file(struct level_iter *l, size_t at, struct kevo_err *err) {
    struct table *t;
    if (l->table && l->at == at) return 0;
    int rc = table_file_acquire(l->files[at], &t, err);
    if (rc) return broken(l, rc);
    rc = enter_table(l, l->files[at], t, err);
    if (rc) {
        table_close(t);
        return broken(l, rc);
    }
    table_close(l->table);
    l->table = t;
    l->at = at;
    return 0;
}

/* While the child has run off its end, go to the beginning of the file after it. */
static int skip_ahead(struct level_iter *l, struct kevo_err *err) {
    size_t next;
    l->forward = true;
    while (!l->child->valid && (next = next_shown(l, l->at + 1)) < l->count) {
        int rc = use_file(l, next, err);
        if (rc == 0) rc = l->child->ops->seek_first(l->child, err);
        if (rc) return broken(l, rc);
    }
    return show(l);
}

static int skip_back(struct level_iter *l, struct kevo_err *err) {
    size_t before;
    l->forward = false;
    while (!l->child->valid && (before = shown_before(l, l->at)) > 0) {
        int rc = use_file(l, before - 1, err);
        if (rc == 0) rc = l->child->ops->seek_last(l->child, err);
        if (rc) return broken(l, rc);
    }
    return show(l);
}

static int level_seek(struct iter *it, slice key, uint64_t seq, struct kevo_err *err) {
    struct level_iter *l = (struct level_iter *)it;
    size_t at = level_find(&(struct level){.files = l->files, .count = l->count}, key);
    at = next_shown(l, at);
    if (at == l->count) return broken(l, 0);
    int rc = use_file(l, at, err);
    if (rc == 0) rc = l->child->ops->seek(l->child, key, seq, err);
    return rc ? broken(l, rc) : skip_ahead(l, err);
}

/* For a seek; one backward may start in the file before, which is then not helped. */
static void level_aim(struct iter *it, slice key, unsigned step) {
    struct level_iter *l = (struct level_iter *)it;
    if (step == 0) {
        size_t at = level_find(&(struct level){.files = l->files, .count = l->count}, key);
        at = next_shown(l, at);
        l->aimed = at < l->count && use_file(l, at, NULL) == 0;
    }
    if (l->aimed && l->child->ops->aim) l->child->ops->aim(l->child, key, step);
}

static int level_seek_first(struct iter *it, struct kevo_err *err) {
    struct level_iter *l = (struct level_iter *)it;
    size_t first = next_shown(l, 0);
    if (first == l->count) return broken(l, 0);
    int rc = use_file(l, first, err);
    if (rc == 0) rc = l->child->ops->seek_first(l->child, err);
    return rc ? broken(l, rc) : skip_ahead(l, err);
}

/* Number of files with min_key < key. */
static size_t files_before(struct table_file *const *files, size_t count, slice key) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (slice_cmp(buf_slice(&files[mid]->min_key), key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int level_seek_before(struct iter *it, slice key, struct kevo_err *err) {
    struct level_iter *l = (struct level_iter *)it;
    size_t before = shown_before(l, files_before(l->files, l->count, key));
    if (before == 0) return broken(l, 0);
    int rc = use_file(l, before - 1, err);
    if (rc == 0) rc = l->child->ops->seek_before(l->child, key, err);
    return rc ? broken(l, rc) : skip_back(l, err);
}

static int level_seek_last(struct iter *it, struct kevo_err *err) {
    struct level_iter *l = (struct level_iter *)it;
    size_t count = shown_before(l, l->count);
    if (count == 0) return broken(l, 0);
    int rc = use_file(l, count - 1, err);
    if (rc == 0) rc = l->child->ops->seek_last(l->child, err);
    return rc ? broken(l, rc) : skip_back(l, err);
}

static int level_next(struct iter *it, struct kevo_err *err) {
    struct level_iter *l = (struct level_iter *)it;
    assert(it->valid);
    int rc = l->child->ops->next(l->child, err);
    return rc ? broken(l, rc) : skip_ahead(l, err);
}

static int level_prev(struct iter *it, struct kevo_err *err) {
    struct level_iter *l = (struct level_iter *)it;
    assert(it->valid);
    int rc = l->child->ops->prev(l->child, err);
    return rc ? broken(l, rc) : skip_back(l, err);
}

static void level_stretch(struct iter *it, struct iter_stretch *s) {
    struct level_iter *l = (struct level_iter *)it;
    iter_begin_stretch(l->child, s);
}

static int level_rejoin(struct iter *it, struct kevo_err *err) {
    struct level_iter *l = (struct level_iter *)it;
    int rc = iter_rejoin(l->child, err);
    if (rc) return broken(l, rc);
    return l->forward ? skip_ahead(l, err) : skip_back(l, err);
}

static void level_close(struct iter *it) {
    struct level_iter *l = (struct level_iter *)it;
    iter_close(l->child); /* before what keeps its table */
    table_close(l->table);
    version_unref(l->version);
    table_file_unref(l->single);
    mem_free(l);
}

static const struct iter_ops level_ops = {
    .seek = level_seek,
    .seek_first = level_seek_first,
    .seek_before = level_seek_before,
    .seek_last = level_seek_last,
    .next = level_next,
    .prev = level_prev,
    .close = level_close,
    .aim = level_aim,
    .stretch = level_stretch,
    .rejoin = level_rejoin,
};

static struct level_iter *level_iter_alloc(bool keep) {
    struct level_iter *l = mem_zalloc(sizeof *l);
    if (!l) return NULL;
    l->base.ops = &level_ops;
    l->keep = keep;
    return l;
}

void level_iter_hide(struct iter *it, const struct range_set *hidden) {
    struct level_iter *l = (struct level_iter *)it;
    assert(it->ops == &level_ops && !l->table);
    l->hidden = hidden;
}

void level_iter_park(struct iter *it) {
    struct level_iter *l = (struct level_iter *)it;
    assert(it->ops == &level_ops);
    if (l->plain) {
        table_iter_park(l->child);
    } else {
        iter_close(l->child);
        l->child = NULL;
    }
    table_close(l->table);
    version_unref(l->version);
    table_file_unref(l->single);
    *l = (struct level_iter){
        .base.ops = &level_ops, .child = l->child, .plain = l->plain, .keep = l->keep};
}

void level_iter_bind(struct iter *it, struct version *version, unsigned level, slice lower,
                     slice upper) {
    struct level_iter *l = (struct level_iter *)it;
    const struct level *all = &version->levels[level];
    assert(level > 0 && level < KEVO_MAX_LEVELS && !l->table && !l->version);
    size_t begin = 0, end = all->count;
    /* One file more does no harm: who moves the iterator looks at its keys. */
    if (end > 1 && lower.data) begin = level_find(all, lower);
    if (end > 1 && upper.data) end = files_before(all->files, end, upper);
    l->version = version;
    version_ref(version);
    if (begin < end) {
        l->files = all->files + begin;
        l->count = end - begin;
    }
}

int level_iter_new(struct version *version, unsigned level, slice lower, slice upper, bool keep,
                   struct iter **it, struct kevo_err *err) {
    *it = NULL;
    struct level_iter *l = level_iter_alloc(keep);
    if (!l) return kevo_nomem(err);
    level_iter_bind(&l->base, version, level, lower, upper);
    *it = &l->base;
    return 0;
}

void file_iter_bind(struct iter *it, struct table_file *f) {
    struct level_iter *l = (struct level_iter *)it;
    assert(!l->table && !l->single);
    l->single = f;
    l->files = &l->single;
    l->count = 1;
    table_file_ref(f);
}

int file_iter_new(struct table_file *f, bool keep, struct iter **it, struct kevo_err *err) {
    *it = NULL;
    struct level_iter *l = level_iter_alloc(keep);
    if (!l) return kevo_nomem(err);
    file_iter_bind(&l->base, f);
    *it = &l->base;
    return 0;
}

int files_iter_new(struct table_file **files, size_t count, bool keep, struct iter **it,
                   struct kevo_err *err) {
    *it = NULL;
    struct level_iter *l = level_iter_alloc(keep);
    if (!l) return kevo_nomem(err);
    l->files = files;
    l->count = count;
    *it = &l->base;
    return 0;
}
