#include "tests/lib/iter_suite.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- sets ------------------------------------------------------------------ */

struct iter_suite_shape iter_suite_shape_default(void) {
    return (struct iter_suite_shape){.key_count = 300,
                                     .max_versions = 6,
                                     .max_key_bytes = 300,
                                     .max_value_bytes = 2000,
                                     .max_seq = ((uint64_t)1 << 56) - 1};
}

static void *must_alloc(size_t bytes) {
    void *p = calloc(1, bytes ? bytes : 1);
    ck_assert_ptr_nonnull(p);
    return p;
}

static int compare_entries(const void *pa, const void *pb) {
    const struct iter_suite_entry *a = pa, *b = pb;
    return entry_cmp(a->key, a->seq, b->key, b->seq);
}

struct iter_suite_set *iter_suite_sorted(const struct iter_suite_entry *entries, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += entries[i].key.len + entries[i].value.len;
    struct iter_suite_set *set = must_alloc(sizeof *set);
    set->entries = must_alloc(count * sizeof *set->entries);
    set->bytes = must_alloc(bytes);
    uint8_t *p = set->bytes;
    for (size_t i = 0; i < count; i++) {
        struct iter_suite_entry *e = &set->entries[i];
        *e = entries[i];
        if (e->key.len) memcpy(p, e->key.data, e->key.len);
        e->key.data = p;
        p += e->key.len;
        if (e->value.len) memcpy(p, e->value.data, e->value.len);
        e->value.data = p;
        p += e->value.len;
    }
    if (count) qsort(set->entries, count, sizeof *set->entries, compare_entries);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept && compare_entries(&set->entries[kept - 1], &set->entries[i]) == 0) continue;
        set->entries[kept++] = set->entries[i];
    }
    set->count = kept;
    return set;
}

void iter_suite_free(struct iter_suite_set *set) {
    if (!set) return;
    free(set->entries);
    free(set->bytes);
    free(set);
}

static uint8_t random_byte(struct rng *rng) {
    static const uint8_t favourites[] = {0x00, 0xff, 'a', 'b', 0x01, 0xfe, 0x7f, 0x80};
    if (rng_below(rng, 4) == 0) return (uint8_t)rng_next(rng);
    return favourites[rng_below(rng, sizeof favourites)];
}

static size_t random_len(struct rng *rng, size_t least, size_t most) {
    size_t usual = most < 40 ? most : 40;
    size_t limit = rng_below(rng, 20) == 0 ? most : usual;
    return least + rng_below(rng, limit - least + 1);
}

/* A key beside `old`: extended, cut, or changed near its end; or one of its own. */
static size_t random_key(struct rng *rng, const struct iter_suite_shape *shape, slice old,
                         uint8_t *key) {
    size_t len = random_len(rng, 1, shape->max_key_bytes), keep = 0;
    if (old.len && rng_below(rng, 8) != 0) {
        keep = old.len - rng_below(rng, old.len < 4 ? old.len + 1 : 4);
        if (rng_below(rng, 4) == 0) keep = rng_below(rng, old.len + 1);
        len = keep + rng_below(rng, 4);
        if (len > shape->max_key_bytes) len = shape->max_key_bytes;
        if (len == 0) len = 1;
        if (keep > len) keep = len;
        memcpy(key, old.data, keep);
    }
    for (size_t i = keep; i < len; i++)
        key[i] = random_byte(rng);
    return len;
}

static uint64_t random_seq(struct rng *rng, uint64_t max_seq) {
    unsigned bits = 1 + (unsigned)rng_below(rng, rng_below(rng, 3) ? 12 : 63);
    uint64_t seq = rng_next(rng) & (((uint64_t)1 << bits) - 1);
    return seq % max_seq + 1;
}

static slice random_value(struct rng *rng, const struct iter_suite_shape *shape, uint8_t *bytes) {
    size_t len = rng_below(rng, 6) ? random_len(rng, 0, shape->max_value_bytes) : 0;
    uint8_t fill = (uint8_t)rng_next(rng);
    for (size_t i = 0; i < len; i++)
        bytes[i] = i % 3 ? fill : (uint8_t)rng_next(rng);
    return slice_of(bytes, len);
}

struct iter_suite_set *iter_suite_random(struct rng *rng, const struct iter_suite_shape *shape) {
    size_t most = shape->key_count * shape->max_versions, count = 0;
    struct iter_suite_entry *entries = must_alloc(most * sizeof *entries);
    uint8_t **memory = must_alloc((most + shape->key_count) * sizeof *memory);
    size_t pieces = 0;
    for (size_t k = 0; k < shape->key_count; k++) {
        slice old = {0};
        if (count) old = entries[rng_below(rng, count)].key;
        uint8_t *bytes = memory[pieces++] = must_alloc(shape->max_key_bytes);
        slice key = slice_of(bytes, random_key(rng, shape, old, bytes));
        unsigned versions = 1;
        if (rng_below(rng, 3) == 0) versions += (unsigned)rng_below(rng, shape->max_versions);
        for (unsigned v = 0; v < versions; v++) {
            struct iter_suite_entry *e = &entries[count++];
            *e = (struct iter_suite_entry){.key = key, .seq = random_seq(rng, shape->max_seq)};
            e->type = rng_below(rng, 5) ? ENTRY_PUT : ENTRY_DELETE;
            if (e->type == ENTRY_DELETE) continue;
            bytes = memory[pieces++] = must_alloc(shape->max_value_bytes);
            e->value = random_value(rng, shape, bytes);
        }
    }
    struct iter_suite_set *set = iter_suite_sorted(entries, count);
    while (pieces)
        free(memory[--pieces]);
    free(memory);
    free(entries);
    return set;
}

/* ---- expectations ---------------------------------------------------------- */

size_t iter_suite_seek_index(const struct iter_suite_entry *sorted, size_t n, slice key,
                             uint64_t seq) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (entry_cmp(sorted[mid].key, sorted[mid].seq, key, seq) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

size_t iter_suite_before_index(const struct iter_suite_entry *sorted, size_t n, slice key) {
    size_t i = iter_suite_seek_index(sorted, n, key, SEQ_MAX);
    return i ? i - 1 : n;
}

static const char *hex(slice s, char text[64]) {
    size_t shown = s.len < 24 ? s.len : 24, at = 0;
    for (size_t i = 0; i < shown; i++)
        at += (size_t)snprintf(text + at, 64 - at, "%02x", s.data[i]);
    if (shown < s.len) snprintf(text + at, 64 - at, "...%zu", s.len);
    if (s.len == 0) snprintf(text, 64, "(empty)");
    return text;
}

/* Check's own assertions write to a file each time they hold: too slow here. */
void iter_suite_expect(const struct iter *it, const struct iter_suite_entry *sorted, size_t n,
                       size_t index, const char *motion) {
    const struct iter_suite_entry *e = index < n ? &sorted[index] : NULL;
    if (!e && !it->valid) return;
    if (e && it->valid && it->seq == e->seq && it->type == e->type && slice_eq(it->key, e->key) &&
        slice_eq(it->value, e->value))
        return;
    char is_key[64], is_value[64], key[64], value[64];
    if (!e)
        ck_abort_msg("%s: at %s #%llu, expected the end", motion, hex(it->key, is_key),
                     (unsigned long long)it->seq);
    if (!it->valid)
        ck_abort_msg("%s: invalid, expected entry %zu of %zu, %s #%llu", motion, index, n,
                     hex(e->key, key), (unsigned long long)e->seq);
    ck_abort_msg("%s: at %s #%llu type %d value %s, expected entry %zu of %zu, %s #%llu type %d "
                 "value %s",
                 motion, hex(it->key, is_key), (unsigned long long)it->seq, it->type,
                 hex(it->value, is_value), index, n, hex(e->key, key), (unsigned long long)e->seq,
                 e->type, hex(e->value, value));
}

/* ---- motions --------------------------------------------------------------- */

/* The iterator under test beside the place where it must be. */
struct walk {
    struct iter *it;
    const struct iter_suite_entry *sorted;
    size_t n, at; /* at == n: invalid */
};

static void moved(const char *motion, int rc) {
    if (rc) ck_abort_msg("%s: %d, %s", motion, rc, test_err.msg);
}

static void first(struct walk *w) {
    moved("seek_first", w->it->ops->seek_first(w->it, &test_err));
    w->at = 0;
    iter_suite_expect(w->it, w->sorted, w->n, w->at, "seek_first");
}

static void last(struct walk *w) {
    moved("seek_last", w->it->ops->seek_last(w->it, &test_err));
    w->at = w->n ? w->n - 1 : w->n;
    iter_suite_expect(w->it, w->sorted, w->n, w->at, "seek_last");
}

/* `it` has come to w->at from the entry before: as many bytes as it says are still there. */
static void check_kept(const struct walk *w, const struct iter *it) {
    if (w->at == w->n) return;
    slice before = w->sorted[w->at - 1].key;
    ck_assert_uint_le(it->kept, before.len);
    ck_assert_uint_le(it->kept, it->key.len);
    if (it->kept) ck_assert_mem_eq(it->key.data, before.data, it->kept);
}

static void next(struct walk *w) {
    moved("next", w->it->ops->next(w->it, &test_err));
    w->at++;
    check_kept(w, w->it);
    iter_suite_expect(w->it, w->sorted, w->n, w->at, "next");
}

static void prev(struct walk *w) {
    moved("prev", w->it->ops->prev(w->it, &test_err));
    w->at = w->at ? w->at - 1 : w->n;
    iter_suite_expect(w->it, w->sorted, w->n, w->at, "prev");
}

/* The target lies in memory of exactly its size, so that a read beyond is seen,
 * and is overwritten afterwards, so that a borrowed one is seen. */
static void seek(struct walk *w, slice key, uint64_t seq) {
    uint8_t *copy = must_alloc(key.len);
    if (key.len) memcpy(copy, key.data, key.len);
    moved("seek", w->it->ops->seek(w->it, slice_of(copy, key.len), seq, &test_err));
    if (key.len) memset(copy, 0x5a, key.len);
    free(copy);
    w->at = iter_suite_seek_index(w->sorted, w->n, key, seq);
    iter_suite_expect(w->it, w->sorted, w->n, w->at, "seek");
}

static void seek_before(struct walk *w, slice key) {
    uint8_t *copy = must_alloc(key.len);
    if (key.len) memcpy(copy, key.data, key.len);
    moved("seek_before", w->it->ops->seek_before(w->it, slice_of(copy, key.len), &test_err));
    if (key.len) memset(copy, 0x5a, key.len);
    free(copy);
    w->at = iter_suite_before_index(w->sorted, w->n, key);
    iter_suite_expect(w->it, w->sorted, w->n, w->at, "seek_before");
}

static void step(struct walk *w, bool forward) {
    if (forward)
        next(w);
    else
        prev(w);
}

/* Both ways from a position, and back. */
static void around(struct walk *w, struct rng *rng) {
    unsigned steps = (unsigned)rng_below(rng, 4);
    bool forward = rng_below(rng, 2);
    for (unsigned i = 0; i < steps && w->at < w->n; i++)
        step(w, forward);
    for (unsigned i = 0; i < steps && w->at < w->n; i++)
        step(w, !forward);
}

static void check_scans(struct walk *w) {
    first(w);
    while (w->at < w->n)
        next(w);
    last(w);
    while (w->at < w->n)
        prev(w);
}

/* Let the stretch, which goes forward, end no later than at a key to come, or at what one begins
 * with. */
static void cut_stretch(const struct walk *w, struct iter_stretch *s, struct rng *rng) {
    size_t last = w->at + rng_below(rng, 20);
    slice end = w->sorted[last < w->n ? last : w->n - 1].key;
    end.len = rng_below(rng, end.len + 1);
    if (slice_cmp(end, s->leaf->key) > 0) iter_cut_stretch(s, end, true);
}

static bool in_stretch(struct iter_stretch *s, bool forward) {
    bool is_in = iter_in_stretch(s, s->leaf->key, forward);
    if (forward) ck_assert(iter_stays_in_stretch(s) == is_in);
    return is_in;
}

/* Walk the leaf through its stretch, or a part of it, and let the iterator follow. */
static void walk_stretch(struct walk *w, bool forward, struct rng *rng) {
    struct iter_stretch s;
    iter_begin_stretch(w->it, &s);
    if (!iter_in_stretch(&s, s.leaf->key, forward)) {
        step(w, forward); /* another has the same key */
        return;
    }
    if (forward && rng_below(rng, 2)) cut_stretch(w, &s, rng);
    unsigned most = rng_below(rng, 3) ? UINT_MAX : (unsigned)rng_below(rng, 4);
    while (s.leaf->valid && in_stretch(&s, forward)) {
        iter_suite_expect(s.leaf, w->sorted, w->n, w->at, "in a stretch");
        if (most-- == 0) break;
        moved("motion in a stretch", forward ? s.leaf->ops->next(s.leaf, &test_err)
                                             : s.leaf->ops->prev(s.leaf, &test_err));
        w->at = forward ? w->at + 1 : w->at ? w->at - 1 : w->n;
        if (forward && s.leaf->valid) check_kept(w, s.leaf);
    }
    moved("rejoin", iter_rejoin(w->it, &test_err));
    iter_suite_expect(w->it, w->sorted, w->n, w->at, "rejoin");
}

/* Once in each direction, with a turn now and then. */
static void check_stretches(struct walk *w, struct rng *rng) {
    for (int backward = 0; backward < 2; backward++) {
        if (backward)
            last(w);
        else
            first(w);
        while (w->at < w->n) {
            walk_stretch(w, !backward, rng);
            if (w->at == w->n || rng_below(rng, 8)) continue;
            step(w, backward);
            if (w->at < w->n) step(w, !backward);
        }
    }
}

static void check_seeks_at(struct walk *w, slice key, uint64_t seq, struct rng *rng) {
    uint64_t seqs[] = {SEQ_MAX, seq, seq + 1, seq - 1, 0};
    for (size_t i = 0; i < sizeof seqs / sizeof *seqs; i++) {
        seek(w, key, seqs[i]);
        around(w, rng);
    }
    seek_before(w, key);
    around(w, rng);
}

/* Keys just beside that of an entry. */
static void check_near(struct walk *w, const struct iter_suite_entry *e, struct rng *rng) {
    uint8_t *key = must_alloc(e->key.len + 1);
    size_t len = e->key.len;
    if (len) memcpy(key, e->key.data, len);
    key[len] = 0;
    check_seeks_at(w, slice_of(key, len + 1), e->seq, rng);
    if (len) {
        check_seeks_at(w, slice_of(key, len - 1), e->seq, rng);
        key[len - 1]++;
        check_seeks_at(w, slice_of(key, len), e->seq, rng);
        key[len - 1] -= 2;
        check_seeks_at(w, slice_of(key, len), e->seq, rng);
    }
    free(key);
}

static void check_seeks(struct walk *w, struct rng *rng) {
    static const uint8_t high[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    check_seeks_at(w, slice_of(NULL, 0), 7, rng);
    check_seeks_at(w, slice_of("\0", 1), 7, rng);
    check_seeks_at(w, slice_of(high, sizeof high), 7, rng);
    size_t stride = w->n / 1000 + 1;
    for (size_t i = 0; i < w->n; i += 1 + rng_below(rng, stride)) {
        check_seeks_at(w, w->sorted[i].key, w->sorted[i].seq, rng);
        check_near(w, &w->sorted[i], rng);
    }
}

static void random_jump(struct walk *w, struct rng *rng) {
    const struct iter_suite_entry *e = &w->sorted[rng_below(rng, w->n)];
    switch (rng_below(rng, 6)) {
    case 0: first(w); break;
    case 1: last(w); break;
    case 2: seek_before(w, e->key); break;
    case 3: seek(w, e->key, SEQ_MAX); break;
    default: seek(w, e->key, e->seq + 1 - rng_below(rng, 3)); break;
    }
}

static void check_random_walk(struct walk *w, struct rng *rng, size_t steps) {
    bool forward = true;
    random_jump(w, rng);
    for (size_t i = 0; i < steps; i++) {
        if (w->at == w->n || rng_below(rng, 50) == 0) random_jump(w, rng);
        if (rng_below(rng, 5) == 0) forward = !forward;
        if (w->at == w->n) continue;
        step(w, forward);
    }
}

void iter_suite_check(struct iter *it, const struct iter_suite_entry *sorted, size_t n,
                      struct rng *rng) {
    struct walk w = {.it = it, .sorted = sorted, .n = n, .at = n};
    check_scans(&w);
    check_stretches(&w, rng);
    check_seeks(&w, rng);
    if (n == 0) return;
    check_random_walk(&w, rng, n < 5000 ? 4 * n + 200 : 20000);
    check_scans(&w);
}
