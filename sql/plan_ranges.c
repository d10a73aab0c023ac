#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "sql/keycode.h"
#include "sql/numeric_text.h"
#include "sql/plan.h"

static const double two_to_63 = 9223372036854775808.0;

static struct value text_of(const char *s) {
    return value_text(s, strlen(s));
}

enum plan_convert plan_convert(const struct schema *s, const struct plan *plan, unsigned i,
                               const struct plan_arg *arg) {
    unsigned n = i < plan->eq_count ? i : plan->eq_count;
    if (i >= plan->eq_count + plan_bound_count(plan)) return PLAN_KEEP;
    switch (s->key[n].type) {
    case COLUMN_INTEGER:
    case COLUMN_REAL: return arg->value.type == VALUE_TEXT ? PLAN_TO_NUMBER : PLAN_KEEP;
    default: return PLAN_KEEP;
    }
}

/* ---- one comparison with a key column ----------------------------------------------- */

/* What is left of a column's domain, in the column's own type. */
struct limit {
    enum { LIMIT_NONE, LIMIT_ALL, LIMIT_AT } what;
    struct value at;
    bool strict;
};

static const struct limit nothing = {.what = LIMIT_NONE}, everything = {.what = LIMIT_ALL};

static struct limit limit_at(struct value at, bool strict) {
    return (struct limit){LIMIT_AT, at, strict};
}

/* An argument longer than any key orders as its beginning does, and equals none. */
static struct value shortened(struct value v) {
    if (v.type >= VALUE_TEXT && v.bytes.len > KEVO_MAX_KEY_BYTES + 1)
        v.bytes.len = KEVO_MAX_KEY_BYTES + 1;
    return v;
}

/* Integers above (or below) r. */
static struct limit integer_limit(double r, bool upper, bool strict) {
    if (r >= two_to_63) return upper ? everything : nothing;
    if (r < -two_to_63) return upper ? nothing : everything;
    int64_t whole = (int64_t)r;
    double back = (double)whole;
    if (back == r) return limit_at(value_integer(whole), strict);
    /* A real with a fraction lies between whole and its neighbour. */
    if (upper) return limit_at(value_integer(whole), back > r);
    return limit_at(value_integer(whole), back < r);
}

/* Reals above (or below) i. */
static struct limit real_limit(int64_t i, bool upper, bool strict) {
    double r = (double)i;
    int c = value_cmp_int_real(i, r);
    if (c == 0) return limit_at(value_real(r), strict);
    /* r is the neighbour of i, above it if c < 0. */
    if (upper) return limit_at(value_real(r), c < 0);
    return limit_at(value_real(r), c > 0);
}

static struct limit number_limit(const struct schema *s, unsigned n, const struct value *v,
                                 bool upper, bool strict) {
    if (!value_is_number(v)) return upper ? everything : nothing; /* below text and blobs */
    if (s->key[n].type == COLUMN_INTEGER)
        return v->type == VALUE_INTEGER ? limit_at(*v, strict)
                                        : integer_limit(v->real, upper, strict);
    return v->type == VALUE_REAL ? limit_at(*v, strict) : real_limit(v->integer, upper, strict);
}

static struct limit text_limit(const struct plan_arg *arg, bool known, bool upper, bool strict) {
    const struct value *v = &arg->value;
    if (v->type == VALUE_BLOB) return upper ? everything : nothing;
    /* Whatever looks like a number, and the texts of numbers, are below this. */
    struct value end = text_of(numeric_text_all(v)->upper);
    if (v->type != VALUE_TEXT) return upper ? limit_at(end, true) : everything;
    if (upper && !known && !arg->bare && slice_cmp(v->bytes, end.bytes) < 0)
        return limit_at(end, true);
    return limit_at(shortened(*v), strict);
}

/* Of a column of type ANY, which has no affinity: but the other side may have one that makes
 * numbers of the column's texts. */
static struct limit any_limit(const struct plan_arg *arg, bool known, bool upper, bool strict) {
    const struct value *v = &arg->value;
    return upper && v->type == VALUE_TEXT ? text_limit(arg, known, upper, strict)
                                          : limit_at(shortened(*v), strict);
}

static struct limit limit_of(const struct schema *s, unsigned n, const struct plan_arg *arg,
                             bool known, bool upper, bool strict) {
    if (arg->value.type == VALUE_NULL) return nothing;
    switch (s->key[n].type) {
    case COLUMN_INTEGER:
    case COLUMN_REAL: return number_limit(s, n, &arg->value, upper, strict);
    case COLUMN_TEXT: return text_limit(arg, known, upper, strict);
    case COLUMN_ANY: return any_limit(arg, known, upper, strict);
    default:
        if (arg->value.type != VALUE_BLOB) return upper ? nothing : everything;
        return limit_at(shortened(arg->value), strict);
    }
}

/* ---- one equality ------------------------------------------------------------------------ */

/* EQUAL_NUMERIC_TEXTS: the texts that may be equal to the number, and in a column of type
 * ANY that number too. */
enum equal { EQUAL_NONE, EQUAL_ONE, EQUAL_NUMERIC_TEXTS };

/* Make of *v the one value of the column that equals it. */
static enum equal equal_in_column(enum column_type type, struct value *v) {
    int64_t i;
    switch (type) {
    case COLUMN_INTEGER:
        if (v->type == VALUE_REAL) {
            if (!(v->real >= -two_to_63 && v->real < two_to_63)) return EQUAL_NONE;
            i = (int64_t)v->real;
            if ((double)i != v->real) return EQUAL_NONE;
            *v = value_integer(i);
        }
        return v->type == VALUE_INTEGER ? EQUAL_ONE : EQUAL_NONE;
    case COLUMN_REAL:
        if (v->type == VALUE_INTEGER) {
            i = v->integer;
            *v = value_real((double)i);
            if (value_cmp_int_real(i, v->real) != 0) return EQUAL_NONE;
        }
        return v->type == VALUE_REAL ? EQUAL_ONE : EQUAL_NONE;
    case COLUMN_TEXT:
        if (value_is_number(v)) return EQUAL_NUMERIC_TEXTS;
        return v->type == VALUE_TEXT && v->bytes.len <= KEVO_MAX_KEY_BYTES ? EQUAL_ONE : EQUAL_NONE;
    default:
        return v->type == VALUE_BLOB && v->bytes.len <= KEVO_MAX_KEY_BYTES ? EQUAL_ONE : EQUAL_NONE;
    }
}

static enum equal equal_any(const struct plan_arg *arg) {
    const struct value *v = &arg->value;
    if (value_is_number(v)) return arg->bare ? EQUAL_ONE : EQUAL_NUMERIC_TEXTS;
    return v->bytes.len <= KEVO_MAX_KEY_BYTES ? EQUAL_ONE : EQUAL_NONE;
}

static enum equal equal_to(const struct key_column *k, const struct plan *plan,
                           const struct plan_arg *arg, struct value *v) {
    if (v->type == VALUE_NULL) return k->tagged && plan->nulls ? EQUAL_ONE : EQUAL_NONE;
    return k->type == COLUMN_ANY ? equal_any(arg) : equal_in_column(k->type, v);
}

/* ---- building a span ----------------------------------------------------------------------- */

void plan_ranges_reset(struct plan_ranges *r) {
    buf_reset(&r->bytes);
    r->count = 0;
    r->unordered = r->coarse = r->texts = false;
}

void plan_ranges_release(struct plan_ranges *r) {
    buf_release(&r->bytes);
    mem_free(r->spans);
    *r = (struct plan_ranges){.spans = NULL};
}

static bool reserve_spans(struct plan_ranges *r, size_t more) {
    return mem_grow((void **)&r->spans, &r->cap, r->count + more, sizeof *r->spans);
}

/* Make of the bytes from `start` on the smallest string above all that begin so. */
static void successor_from(struct buf *bytes, size_t start) {
    struct buf tail = {bytes->data + start, bytes->len - start, bytes->cap - start};
    keycode_successor(&tail);
    bytes->len = start + tail.len;
}

/* Append the bound of key column n behind the prefix, which is the bytes
 * [prefix, prefix + len) of the same buffer: the first key at or behind the value, or
 * with `past` the first key behind all keys with it. */
static int append_bound(struct buf *bytes, size_t prefix, size_t len, const struct schema *s,
                        unsigned n, const struct value *v, bool past, struct kevo_err *err) {
    size_t start = bytes->len;
    if (!buf_reserve(bytes, len + 1)) return kevo_nomem(err);
    memcpy(bytes->data + start, bytes->data + prefix, len);
    bytes->len += len;
    if (v) {
        int rc = keycode_append(s, n, v, bytes, err);
        if (rc) return rc;
    }
    if (bytes->len - start > KEVO_MAX_KEY_BYTES) {
        /* Keys are shorter: none lies between its longest beginning and this. */
        bytes->len = start + KEVO_MAX_KEY_BYTES;
        past = true;
    } else if (past && v && keycode_is_verbatim(s, n)) {
        return buf_append(bytes, "", 1) ? 0 : kevo_nomem(err);
    }
    if (past) successor_from(bytes, start);
    return 0;
}

/* The span under construction: its prefix, then lower and upper behind it. */
struct building {
    const struct schema *s;
    struct buf *bytes;
    size_t prefix, prefix_len;
    struct kevo_err *err;
};

/* The keys whose key column n lies between two limits in SQL's order. */
static int add_between(struct plan_ranges *r, const struct building *b, unsigned n,
                       const struct limit *low, const struct limit *high) {
    if (low->what == LIMIT_NONE || high->what == LIMIT_NONE) return 0;
    bool desc = b->s->key[n].desc;
    const struct limit *first = desc ? high : low, *last = desc ? low : high;
    size_t lower = b->bytes->len;
    int rc = append_bound(b->bytes, b->prefix, b->prefix_len, b->s, n,
                          first->what == LIMIT_AT ? &first->at : NULL,
                          first->what == LIMIT_AT && first->strict, b->err);
    if (rc) return rc;
    size_t upper = b->bytes->len;
    rc = append_bound(b->bytes, b->prefix, b->prefix_len, b->s, n,
                      last->what == LIMIT_AT ? &last->at : NULL,
                      last->what == LIMIT_ALL || !last->strict, b->err);
    if (rc) return rc;
    size_t end = b->bytes->len;
    slice l = slice_of(b->bytes->data + lower, upper - lower);
    slice u = slice_of(b->bytes->data + upper, end - upper);
    if (slice_cmp(l, u) >= 0) return 0;
    r->spans[r->count++] = (struct plan_span){lower, upper, upper - lower, end - upper, 0, false};
    return 0;
}

/* The key [lower, lower + len) of r->bytes, whose end it is, as a point: with a zero byte behind it it
 * is the first key above as well. False without memory. */
static inline bool push_point(struct plan_ranges *r, size_t lower, size_t len) {
    if (!reserve_spans(r, 1) || !buf_append(&r->bytes, "", 1)) return false;
    r->spans[r->count++] = (struct plan_span){lower, lower, len, len + 1, 0, true};
    return true;
}

/* All columns are equal to something: one key, the prefix itself. */
static int add_point(struct plan_ranges *r, const struct building *b) {
    if (b->prefix_len > KEVO_MAX_KEY_BYTES) return 0;
    return push_point(r, b->prefix, b->prefix_len) ? 0 : kevo_nomem(b->err);
}

/* Append the equality columns' values to the prefix. *equal tells about the last one
 * looked at, number *n. */
static int append_equalities(struct building *b, const struct plan *plan,
                             const struct plan_arg *args, unsigned *n, enum equal *equal) {
    *equal = EQUAL_ONE;
    for (*n = 0; *n < plan->eq_count; ++*n) {
        struct value v = args[*n].value;
        *equal = equal_to(&b->s->key[*n], plan, &args[*n], &v);
        if (*equal != EQUAL_ONE) break;
        int rc = keycode_append(b->s, *n, &v, b->bytes, b->err);
        if (rc) return rc;
    }
    b->prefix_len = b->bytes->len - b->prefix;
    return 0;
}

/* The keys whose key column n may be equal to a number. */
static int add_numeric_texts(struct plan_ranges *r, const struct building *b, unsigned n,
                             const struct value *number) {
    struct text_span spans[NUMERIC_TEXT_MAX_SPANS];
    size_t first = r->count;
    unsigned count = 1;
    if (r->coarse)
        spans[0] = *numeric_text_all(number);
    else
        count = numeric_text_spans(number, spans);
    if (!reserve_spans(r, count)) return kevo_nomem(b->err);
    for (unsigned i = 0; i < count; i++) {
        struct limit low = limit_at(text_of(spans[i].lower), false);
        struct limit high = limit_at(text_of(spans[i].upper), true);
        int rc = add_between(r, b, n, &low, &high);
        if (rc) return rc;
    }
    for (; first < r->count; first++)
        r->spans[first].stem = b->prefix_len;
    r->texts = true;
    return 0;
}

/* The keys whose key column n, of type ANY, is this value. */
static int add_value(struct plan_ranges *r, const struct building *b, unsigned n,
                     const struct value *v) {
    struct limit at = limit_at(*v, false);
    return reserve_spans(r, 1) ? add_between(r, b, n, &at, &at) : kevo_nomem(b->err);
}

/* Just above NULL. */
static const struct limit above_null = {.what = LIMIT_AT, .strict = true};

/* A column of type ANY below a number that may have numeric affinity: texts that look like
 * numbers are compared as numbers. */
static int add_texts_below(struct plan_ranges *r, const struct building *b, unsigned n,
                           const struct plan_arg *arg, const struct limit *low) {
    const struct text_span *all = numeric_text_all(&arg->value);
    struct limit from = limit_at(text_of(all->lower), false);
    struct limit to = limit_at(text_of(all->upper), true);
    if (low->what == LIMIT_AT && value_cmp(&low->at, &from.at) > 0) from = *low;
    return reserve_spans(r, 1) ? add_between(r, b, n, &from, &to) : kevo_nomem(b->err);
}

static int add_bounded(struct plan_ranges *r, const struct building *b, const struct plan *plan,
                       const struct plan_arg *args) {
    struct limit low = everything, high = everything;
    unsigned n = plan->eq_count;
    const struct plan_arg *arg = &args[n];
    bool tagged = b->s->key[n].tagged && plan_bound_count(plan);
    if (plan->lower == PLAN_ABOVE_NULL)
        arg++;
    else if (plan->lower)
        low = limit_of(b->s, n, arg++, true, false, plan->lower == PLAN_EXCLUSIVE);
    if (plan->upper)
        high = limit_of(b->s, n, arg, plan->upper_known, true, plan->upper == PLAN_EXCLUSIVE);
    if (low.what == LIMIT_ALL && tagged) low = above_null;
    if (plan->upper && b->s->key[n].type == COLUMN_ANY && value_is_number(&arg->value) &&
        !arg->bare && low.what != LIMIT_NONE) {
        int rc = add_texts_below(r, b, n, arg, &low);
        if (rc) return rc;
        if (!reserve_spans(r, 1)) return kevo_nomem(b->err);
    }
    return add_between(r, b, n, &low, &high);
}

static int add_span(struct plan_ranges *r, struct building *b, const struct plan *plan,
                    const struct plan_arg *args) {
    enum equal equal;
    unsigned n;
    int rc = append_equalities(b, plan, args, &n, &equal);
    if (rc || equal == EQUAL_NONE) return rc;
    if (equal == EQUAL_NUMERIC_TEXTS) {
        r->unordered |= plan->order_needs_eq;
        if (b->s->key[n].type == COLUMN_ANY) rc = add_value(r, b, n, &args[n].value);
        return rc ? rc : add_numeric_texts(r, b, n, &args[n].value);
    }
    return n == b->s->key_count ? add_point(r, b) : add_bounded(r, b, plan, args);
}

int plan_ranges_add(struct plan_ranges *r, const struct schema *s, uint32_t table_id,
                    const struct plan *plan, const struct plan_arg *args, struct kevo_err *err) {
    struct building b = {.s = s, .bytes = &r->bytes, .prefix = r->bytes.len, .err = err};
    size_t count = r->count;
    if (!reserve_spans(r, 1) || !buf_reserve(&r->bytes, KEYCODE_MAX_PREFIX_BYTES))
        return kevo_nomem(err);
    r->bytes.len += keycode_prefix(s, table_id, r->bytes.data + r->bytes.len);
    int rc = add_span(r, &b, plan, args);
    if (rc) r->count = count;
    if (r->count == count) r->bytes.len = b.prefix; /* nothing came of it */
    return rc;
}

/* ---- sorting ---------------------------------------------------------------------------------- */

static int cmp_spans(const struct plan_ranges *r, size_t a, size_t b) {
    return slice_cmp(plan_range_at(r, a).lower, plan_range_at(r, b).lower);
}

static void swap_spans(struct plan_ranges *r, size_t a, size_t b) {
    struct plan_span t = r->spans[a];
    r->spans[a] = r->spans[b];
    r->spans[b] = t;
}

static void sift_down(struct plan_ranges *r, size_t root, size_t count) {
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && cmp_spans(r, child, child + 1) < 0) child++;
        if (cmp_spans(r, root, child) >= 0) return;
        swap_spans(r, root, child);
    }
}

/* Heapsort: in place, and no list is slow. */
static void sort_spans(struct plan_ranges *r) {
    for (size_t i = r->count / 2; i-- > 0;)
        sift_down(r, i, r->count);
    for (size_t n = r->count; n-- > 1;) {
        swap_spans(r, 0, n);
        sift_down(r, 0, n);
    }
}

/* In order, and none begins inside the one before it. */
static bool is_finished(const struct plan_ranges *r) {
    for (size_t i = 1; i < r->count; i++)
        if (slice_cmp(plan_range_at(r, i - 1).upper, plan_range_at(r, i).lower) > 0) return false;
    return true;
}

/* Let *into reach as far as the next span, which begins inside it. */
static void join_spans(struct plan_ranges *r, size_t into, size_t next) {
    struct plan_span *a = &r->spans[into], *b = &r->spans[next];
    if (slice_cmp(plan_range_at(r, into).upper, plan_range_at(r, next).upper) < 0) {
        a->upper = b->upper;
        a->upper_len = b->upper_len;
    }
    a->point &= b->point;
    if (a->stem == 0 || (b->stem && b->stem < a->stem)) a->stem = b->stem;
}

void plan_ranges_finish(struct plan_ranges *r) {
    if (is_finished(r)) return;
    sort_spans(r);
    size_t last = 0;
    for (size_t i = 1; i < r->count; i++) {
        if (slice_cmp(plan_range_at(r, i).lower, plan_range_at(r, last).upper) < 0)
            join_spans(r, last, i);
        else
            r->spans[++last] = r->spans[i];
    }
    r->count = last + 1;
}

/* ---- ranges that have no key -------------------------------------------------------------------- */

/* The ranges from i on that are texts behind the same columns end there. */
static size_t end_of_texts(const struct plan_ranges *r, size_t i) {
    size_t stem = r->spans[i].stem, end = i + 1;
    const uint8_t *bytes = plan_range_at(r, i).lower.data;
    while (end < r->count && r->spans[end].stem == stem &&
           memcmp(plan_range_at(r, end).lower.data, bytes, stem) == 0)
        end++;
    return end;
}

int plan_ranges_thin(struct plan_ranges *r,
                     int (*find)(void *arg, slice lower, slice upper, slice *key,
                                 struct kevo_err *err),
                     void *arg, struct kevo_err *err) {
    size_t kept = 0;
    r->texts = false;
    for (size_t i = 0; i < r->count;) {
        if (r->spans[i].stem == 0) {
            r->spans[kept++] = r->spans[i++];
            continue;
        }
        size_t end = end_of_texts(r, i);
        slice key, upper = plan_range_at(r, end - 1).upper;
        while (i < end) {
            int rc = find(arg, plan_range_at(r, i).lower, upper, &key, err);
            if (rc == KEVO_NOTFOUND)
                i = end;
            else if (rc)
                return rc;
            while (i < end && slice_cmp(plan_range_at(r, i).upper, key) <= 0)
                i++;
            if (i == end || slice_cmp(key, plan_range_at(r, i).lower) < 0) continue;
            r->spans[kept++] = r->spans[i++];
            r->texts = true;
        }
    }
    r->count = kept;
    r->unordered &= r->texts;
    return 0;
}

bool plan_ranges_add_point(struct plan_ranges *r, slice prefix, slice rest) {
    size_t at = r->bytes.len, len = prefix.len + rest.len;
    if (!buf_reserve(&r->bytes, len + 1)) return false;
    uint8_t *to = r->bytes.data + at;
    if (prefix.len) memcpy(to, prefix.data, prefix.len);
    if (rest.len) memcpy(to + prefix.len, rest.data, rest.len);
    r->bytes.len = at + len;
    if (push_point(r, at, len)) return true;
    r->bytes.len = at;
    return false;
}
