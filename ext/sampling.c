#include "ext/sampling.h"

#include <math.h>

#include "engine/base/alloc.h"
#include "sql/keycode.h"

enum {
    SAMPLES = 8,
    COUNTED = 64,       /* groups up to this size are counted exactly */
    SEARCHED_BYTES = 6, /* places are searched for no longer */
    LEAST_ROWS = 64,    /* below, any plan will do */
};

struct sampled {
    double rows;     /* of the table when the sizes were found out */
    unsigned counts; /* how many columns there are sizes for */
    double sizes[];  /* [n]: of groups with the same first n + 1 columns; negative: unknown */
};

struct sampled **sampling_new(const struct schema *s) {
    return mem_array(s->index_count + 1, sizeof(struct sampled *));
}

void sampling_free(struct sampled **samples, const struct schema *s) {
    if (!samples) return;
    for (unsigned i = 0; i <= s->index_count; i++)
        mem_free(samples[i]);
    mem_free(samples);
}

/* ---- places ------------------------------------------------------------------------- */

/* One table or index while it is looked at. */
struct search {
    kevo_store *store;
    const struct schema *s;
    kevo_iter *iter;
    struct buf lower, upper; /* of its keys */
    struct buf place;        /* a key, or the beginning of one */
    struct buf first, end;   /* of a group */
    size_t common;           /* all keys have so many bytes in common */
    struct kevo_err err;
};

static size_t common_bytes(slice a, slice b) {
    size_t n = 0;
    while (n < a.len && n < b.len && a.data[n] == b.data[n])
        n++;
    return n;
}

/* What all keys begin with: what the first and the last have in common. False: there are
 * none, or they cannot be read. */
static bool find_common(struct search *h) {
    if (kevo_iter_first(h->iter, &h->err) || !kevo_iter_valid(h->iter)) return false;
    if (!buf_set(&h->place, kevo_iter_key(h->iter))) return false;
    if (kevo_iter_last(h->iter, &h->err) || !kevo_iter_valid(h->iter)) return false;
    h->common = common_bytes(buf_slice(&h->place), kevo_iter_key(h->iter));
    return true;
}

static double rank_of(struct search *h) {
    return (double)kevo_approximate_count(h->store, buf_slice(&h->lower), buf_slice(&h->place));
}

/* Make the byte at the end of h->place the largest one with not more than `rank` keys before
 * it. About how many keys begin with it is returned. */
static double search_byte(struct search *h, double rank) {
    uint8_t *byte = &h->place.data[h->place.len - 1];
    double before = 0, to_end = HUGE_VAL;
    unsigned low = 0, high = 256;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        *byte = (uint8_t)middle;
        double found = rank_of(h);
        if (found <= rank) {
            low = middle;
            before = found;
        } else {
            high = middle;
            to_end = found;
        }
    }
    *byte = (uint8_t)low;
    return to_end - before;
}

/* Put the iterator on a key that has about `rank` keys before it, of `rows`. */
static bool go_to_rank(struct search *h, double rank, double rows) {
    double around = rows;
    h->place.len = h->common;
    for (unsigned i = 0; i < SEARCHED_BYTES && around > rows / (4 * SAMPLES); i++) {
        if (!buf_append(&h->place, "", 1)) return false;
        around = search_byte(h, rank);
    }
    if (kevo_iter_seek(h->iter, buf_slice(&h->place), &h->err)) return false;
    if (!kevo_iter_valid(h->iter) && kevo_iter_last(h->iter, &h->err)) return false;
    return kevo_iter_valid(h->iter) && buf_set(&h->place, kevo_iter_key(h->iter));
}

/* ---- groups --------------------------------------------------------------------------- */

/* About how many keys begin with the same n columns as h->place; negative: unknown. */
static double size_of_group(struct search *h, unsigned n) {
    slice key = buf_slice(&h->place), rest;
    unsigned count = 0;
    if (keycode_rest(h->s, key, n, &rest, &h->err)) return -1;
    slice prefix = slice_of(key.data, key.len - rest.len);
    if (!buf_set(&h->first, prefix) || !buf_set(&h->end, prefix)) return -1;
    keycode_successor(&h->end);
    int rc = kevo_iter_seek(h->iter, buf_slice(&h->first), &h->err);
    for (; rc == 0 && kevo_iter_valid(h->iter) && count < COUNTED; count++) {
        if (slice_cmp(kevo_iter_key(h->iter), buf_slice(&h->end)) >= 0) break;
        rc = kevo_iter_next(h->iter, &h->err);
    }
    if (rc || count == 0) return -1;
    if (count < COUNTED) return count;
    double more =
        (double)kevo_approximate_count(h->store, buf_slice(&h->first), buf_slice(&h->end));
    return more > count ? more : count;
}

static void sample(struct search *h, double rows, struct sampled *sampled) {
    double inverses[SCHEMA_MAX_LAYOUT] = {0};
    unsigned seen = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        bool whole = go_to_rank(h, rows * (2 * i + 1) / (2 * SAMPLES), rows);
        for (unsigned n = 0; whole && n < sampled->counts; n++) {
            double size = size_of_group(h, n + 1);
            whole = size > 0;
            if (whole) inverses[n] += 1 / size;
        }
        if (!whole) return; /* the query will say what is wrong */
        seen++;
    }
    for (unsigned n = 0; n < sampled->counts; n++)
        sampled->sizes[n] = seen / inverses[n];
}

static void find_out(kevo_store *store, const struct schema *s, uint32_t table_id, double rows,
                     struct sampled *sampled) {
    struct search h = {.store = store, .s = s};
    sampled->rows = rows;
    for (unsigned n = 0; n < sampled->counts; n++)
        sampled->sizes[n] = -1;
    if (keycode_range(s, table_id, &h.lower, &h.upper, &h.err) == 0) {
        struct kevo_read read = {.lower = buf_slice(&h.lower), .upper = buf_slice(&h.upper)};
        if (kevo_iter_new(store, &read, &h.iter, &h.err) == 0 && find_common(&h))
            sample(&h, rows, sampled);
        kevo_iter_free(h.iter);
    }
    buf_release(&h.lower);
    buf_release(&h.upper);
    buf_release(&h.place);
    buf_release(&h.first);
    buf_release(&h.end);
}

/* ---- what is kept ------------------------------------------------------------------------ */

static struct sampled *sampled_new(const struct schema *s) {
    unsigned counts = s->number ? s->lead_count : s->key_count;
    struct sampled *sampled = mem_alloc(sizeof *sampled + counts * sizeof sampled->sizes[0]);
    if (sampled) *sampled = (struct sampled){.counts = counts};
    return sampled;
}

double sampling_group_size(struct sampled **samples, kevo_store *store, const struct schema *s,
                           uint32_t table_id, double rows, unsigned n) {
    struct sampled **slot = &samples[s->number];
    if (rows < LEAST_ROWS) return -1;
    if (!*slot) *slot = sampled_new(s);
    if (!*slot) return -1;
    if (rows > (*slot)->rows * 2 || rows < (*slot)->rows / 2)
        find_out(store, s, table_id, rows, *slot);
    if (n > (*slot)->counts) return 1; /* columns of the primary key, behind those of the index */
    return (*slot)->sizes[n - 1];
}
