#include "engine/table/ranges.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/tree/iter.h"

/* ---- open ends ------------------------------------------------------------------ */

#define FOUR(x) x, x, x, x
#define B4      FOUR(0xff)
#define B64     FOUR(FOUR(B4))
#define B1K     FOUR(FOUR(B64))
#define B16K    FOUR(FOUR(B1K))

static const uint8_t end_bytes[] = {FOUR(B16K), 0xff};
_Static_assert(sizeof end_bytes == KEVO_MAX_KEY_BYTES + 1, "above every key");

slice range_end(void) {
    return slice_of(end_bytes, sizeof end_bytes);
}

slice range_start(void) {
    return slice_of("", 1);
}

/* ---- lists ---------------------------------------------------------------------- */

void range_list_release(struct range_list *list) {
    mem_free(list->ranges);
    *list = (struct range_list){0};
}

int range_list_add(struct range_list *list, slice lower, slice upper, uint64_t seq,
                   struct kevo_err *err) {
    if (slice_cmp(lower, upper) >= 0) return 0;
    if (!mem_grow((void **)&list->ranges, &list->cap, list->count + 1, sizeof *list->ranges))
        return kevo_nomem(err);
    list->ranges[list->count++] = (struct range){lower, upper, seq};
    return 0;
}

/* How many seqs of the fragment are > seq. */
static size_t count_above(const struct range_fragment *f, uint64_t seq) {
    size_t low = 0, high = f->seq_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (f->seqs[mid] > seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int range_list_add_set(struct range_list *list, const struct range_set *set, slice lower,
                       slice upper, struct kevo_err *err) {
    if (!set) return 0;
    for (size_t i = lower.data ? range_set_find(set, lower) : 0; i < set->count; i++) {
        const struct range_fragment *f = &set->fragments[i];
        slice from = f->lower, to = f->upper;
        if (upper.data && slice_cmp(from, upper) >= 0) break;
        if (lower.data && slice_cmp(from, lower) < 0) from = lower;
        if (upper.data && slice_cmp(to, upper) > 0) to = upper;
        for (size_t k = 0; k < f->seq_count; k++) {
            int rc = range_list_add(list, from, to, f->seqs[k], err);
            if (rc) return rc;
        }
    }
    return 0;
}

int range_list_add_visible(struct range_list *list, const struct range_set *set, slice lower,
                           slice upper, uint64_t max_seq, struct kevo_err *err) {
    if (!set || set->min_seq > max_seq) return 0;
    for (size_t i = lower.data ? range_set_find(set, lower) : 0; i < set->count; i++) {
        const struct range_fragment *f = &set->fragments[i];
        if (upper.data && slice_cmp(f->lower, upper) >= 0) break;
        size_t newest = count_above(f, max_seq);
        if (newest == f->seq_count) continue;
        int rc = range_list_add(list, f->lower, f->upper, f->seqs[newest], err);
        if (rc) return rc;
    }
    return 0;
}

/* ---- cutting into fragments --------------------------------------------------------- */

/* A sweep over the list in the order of lower ends. */
struct sweep {
    struct range *active; /* those that cover the place reached, by descending seq */
    size_t active_count, active_cap;
    struct range_set *set; /* what has been made */
    size_t *first_seq;     /* of each fragment, in set->seqs, which may move still */
    size_t fragment_cap, first_seq_cap, seq_cap;
    bool newest_only;
};

static int by_lower(const void *a, const void *b) {
    const struct range *x = a, *y = b;
    int c = slice_cmp(x->lower, y->lower);
    return c ? c : (x->seq < y->seq) - (x->seq > y->seq);
}

static bool activate(struct sweep *s, const struct range *r) {
    size_t at = s->active_count;
    if (!mem_grow((void **)&s->active, &s->active_cap, at + 1, sizeof *s->active)) return false;
    for (; at > 0 && s->active[at - 1].seq < r->seq; at--)
        s->active[at] = s->active[at - 1];
    s->active[at] = *r;
    s->active_count++;
    return true;
}

static void drop_ended(struct sweep *s, slice at) {
    size_t kept = 0;
    for (size_t i = 0; i < s->active_count; i++)
        if (slice_cmp(s->active[i].upper, at) > 0) s->active[kept++] = s->active[i];
    s->active_count = kept;
}

static slice nearest_end(const struct sweep *s) {
    slice end = s->active[0].upper;
    for (size_t i = 1; i < s->active_count; i++)
        if (slice_cmp(s->active[i].upper, end) < 0) end = s->active[i].upper;
    return end;
}

/* Append the sequence numbers of what is active, each once. */
static bool put_seqs(struct sweep *s) {
    struct range_set *set = s->set;
    size_t count = s->newest_only ? 1 : s->active_count;
    if (!mem_grow((void **)&set->seqs, &s->seq_cap, set->seq_count + count, sizeof *set->seqs))
        return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t seq = s->active[i].seq;
        if (i == 0 || seq != s->active[i - 1].seq) set->seqs[set->seq_count++] = seq;
    }
    return true;
}

/* Whether the fragment before ends at `lower` and has the seqs from `begin` on. */
static bool continues(const struct sweep *s, slice lower, size_t begin) {
    const struct range_set *set = s->set;
    if (set->count == 0 || !slice_eq(set->fragments[set->count - 1].upper, lower)) return false;
    size_t before = s->first_seq[set->count - 1], n = begin - before;
    return set->seq_count - begin == n &&
           memcmp(set->seqs + before, set->seqs + begin, n * sizeof *set->seqs) == 0;
}

static bool put_fragment(struct sweep *s, slice lower, slice upper) {
    struct range_set *set = s->set;
    size_t begin = set->seq_count;
    if (!put_seqs(s)) return false;
    if (continues(s, lower, begin)) {
        set->fragments[set->count - 1].upper = upper;
        set->seq_count = begin;
        return true;
    }
    if (!mem_grow((void **)&set->fragments, &s->fragment_cap, set->count + 1,
                  sizeof *set->fragments) ||
        !mem_grow((void **)&s->first_seq, &s->first_seq_cap, set->count + 1, sizeof *s->first_seq))
        return false;
    s->first_seq[set->count] = begin;
    set->fragments[set->count++] =
        (struct range_fragment){lower, upper, NULL, set->seq_count - begin};
    return true;
}

static bool sweep_list(struct sweep *s, const struct range_list *list) {
    slice at = {0};
    for (size_t next = 0; next < list->count || s->active_count;) {
        if (s->active_count == 0) at = list->ranges[next].lower;
        while (next < list->count && slice_eq(list->ranges[next].lower, at))
            if (!activate(s, &list->ranges[next++])) return false;
        slice end = nearest_end(s);
        if (next < list->count && slice_cmp(list->ranges[next].lower, end) < 0)
            end = list->ranges[next].lower;
        if (!put_fragment(s, at, end)) return false;
        drop_ended(s, end);
        at = end;
    }
    return true;
}

/* Now that the sequence numbers stay where they are. */
static void point_at_seqs(struct range_set *set) {
    const uint64_t *seq = set->seqs;
    set->min_seq = SEQ_MAX;
    for (size_t i = 0; i < set->count; i++) {
        struct range_fragment *f = &set->fragments[i];
        f->seqs = seq;
        seq += f->seq_count;
        if (f->seqs[0] > set->max_seq) set->max_seq = f->seqs[0];
        if (seq[-1] < set->min_seq) set->min_seq = seq[-1];
    }
}

int range_set_new(struct range_list *list, bool newest_only, struct range_set **set,
                  struct kevo_err *err) {
    *set = NULL;
    if (list->count == 0) return 0;
    if (list->count > 1) qsort(list->ranges, list->count, sizeof *list->ranges, by_lower);
    struct sweep s = {.newest_only = newest_only, .set = mem_zalloc(sizeof *s.set)};
    bool ok = s.set && sweep_list(&s, list);
    mem_free(s.active);
    mem_free(s.first_seq);
    if (!ok) {
        range_set_free(s.set);
        return kevo_nomem(err);
    }
    point_at_seqs(s.set);
    *set = s.set;
    return 0;
}

void range_set_free(struct range_set *set) {
    if (!set) return;
    mem_free(set->fragments);
    mem_free(set->seqs);
    mem_free(set);
}

void range_set_raise(struct range_set *set, uint64_t base_seq) {
    if (!set) return;
    for (size_t i = 0; i < set->seq_count; i++)
        set->seqs[i] += base_seq;
    set->min_seq += base_seq;
    set->max_seq += base_seq;
}

/* ---- asking ---------------------------------------------------------------------------- */

size_t range_set_find(const struct range_set *set, slice key) {
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (slice_cmp(set->fragments[mid].upper, key) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The fragment that covers `key`, or NULL. */
static const struct range_fragment *fragment_of(const struct range_set *set, slice key) {
    size_t i = range_set_find(set, key);
    if (i == set->count || slice_cmp(set->fragments[i].lower, key) > 0) return NULL;
    return &set->fragments[i];
}

uint64_t range_set_cover(const struct range_set *set, slice key, uint64_t max_seq) {
    if (set->min_seq > max_seq) return 0;
    const struct range_fragment *f = fragment_of(set, key);
    size_t above = f ? count_above(f, max_seq) : 0;
    return f && above < f->seq_count ? f->seqs[above] : 0;
}

uint64_t range_fragment_above(const struct range_fragment *f, uint64_t seq) {
    size_t above = count_above(f, seq);
    return above ? f->seqs[above - 1] : SEQ_MAX;
}

uint64_t range_set_above(const struct range_set *set, slice key, uint64_t seq) {
    if (set->max_seq <= seq) return SEQ_MAX;
    const struct range_fragment *f = fragment_of(set, key);
    return f ? range_fragment_above(f, seq) : SEQ_MAX;
}

bool range_set_hides(const struct range_set *set, slice first, slice last, bool exclusive,
                     uint64_t seq, uint64_t *hider) {
    if (set->max_seq <= seq) return false;
    slice at = first;
    *hider = 0;
    for (size_t i = range_set_find(set, first); i < set->count; i++) {
        const struct range_fragment *f = &set->fragments[i];
        uint64_t above = range_fragment_above(f, seq);
        if (slice_cmp(f->lower, at) > 0 || above == SEQ_MAX) return false;
        if (above > *hider) *hider = above;
        int c = slice_cmp(f->upper, last);
        if (c > 0 || (c == 0 && exclusive)) return true;
        at = f->upper;
    }
    return false;
}

slice range_set_skip_up(const struct range_set *set, slice key, uint64_t seq) {
    slice end = {NULL, 0}, at = key;
    for (size_t i = range_set_find(set, key); i < set->count; i++) {
        const struct range_fragment *f = &set->fragments[i];
        if (slice_cmp(f->lower, at) > 0 || f->seqs[0] <= seq) break;
        at = end = f->upper;
    }
    return end;
}

slice range_set_skip_down(const struct range_set *set, slice key, uint64_t seq) {
    slice start = {NULL, 0};
    size_t i = range_set_find(set, key);
    if (i == set->count || slice_cmp(set->fragments[i].lower, key) > 0) return start;
    for (i++; i-- > 0;) {
        const struct range_fragment *f = &set->fragments[i];
        if ((start.data && !slice_eq(f->upper, start)) || f->seqs[0] <= seq) break;
        start = f->lower;
    }
    return start;
}

/* ---- bytes --------------------------------------------------------------------------------- */

static bool put_range(struct buf *out, const struct range_fragment *f) {
    if (!buf_put_slice(out, f->lower) || !buf_put_slice(out, range_end_shorten(f->upper)) ||
        !buf_put_varint(out, f->seq_count) || !buf_put_varint(out, f->seqs[0]))
        return false;
    for (size_t i = 1; i < f->seq_count; i++)
        if (!buf_put_varint(out, f->seqs[i - 1] - f->seqs[i])) return false;
    return true;
}

int range_set_encode(const struct range_set *set, struct buf *out, struct kevo_err *err) {
    for (size_t i = 0; set && i < set->count; i++)
        if (!put_range(out, &set->fragments[i])) return kevo_nomem(err);
    return 0;
}

/* Read one fragment into the list. False when it makes no sense. */
static bool read_fragment(struct reader *r, struct range_fragment *f, uint64_t *seq) {
    f->lower = read_slice(r);
    f->upper = read_slice(r);
    f->seq_count = read_varint(r);
    *seq = read_varint(r);
    if (r->bad || f->lower.len == 0 || f->lower.len > KEVO_MAX_KEY_BYTES ||
        f->upper.len > KEVO_MAX_KEY_BYTES || f->seq_count == 0 ||
        f->seq_count - 1 > reader_left(r) || *seq == 0 || *seq >= SEQ_PRIVATE)
        return false;
    f->upper = range_end_restore(f->upper);
    return slice_cmp(f->lower, f->upper) < 0;
}

static int read_fragments(struct reader *r, struct range_list *list, struct kevo_err *err) {
    slice end = {NULL, 0};
    while (reader_left(r) > 0) {
        struct range_fragment f;
        uint64_t seq;
        if (!read_fragment(r, &f, &seq)) return KEVO_CORRUPT;
        if (slice_cmp(f.lower, end) < 0) return KEVO_CORRUPT;
        end = f.upper;
        for (size_t i = 0; i < f.seq_count; i++) {
            uint64_t step = i ? read_varint(r) : 0;
            if (r->bad || (i && step == 0) || step >= seq) return KEVO_CORRUPT;
            seq -= step;
            int rc = range_list_add(list, f.lower, f.upper, seq, err);
            if (rc) return rc;
        }
    }
    return 0;
}

int range_set_decode(slice bytes, struct range_set **set, struct kevo_err *err) {
    struct reader r = reader_of(bytes);
    struct range_list list = {0};
    *set = NULL;
    int rc = read_fragments(&r, &list, err);
    if (rc == 0) rc = range_set_new(&list, false, set, err);
    range_list_release(&list);
    return rc;
}
