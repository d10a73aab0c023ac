#include "sql/keycode.h"

#include "engine/base/coding.h"
#include "engine/base/error.h"

/* ---- the table's id ------------------------------------------------------------ */

enum {
    TABLE_ONE_BYTE = 248, /* ids below this are one byte */
    INDEX_ENTRIES = 252   /* no table's id begins so: an index's entry */
};

size_t keycode_table_bytes(uint8_t *p, uint32_t table_id) {
    if (table_id < TABLE_ONE_BYTE) {
        p[0] = (uint8_t)table_id;
        return 1;
    }
    uint32_t rest = table_id - TABLE_ONE_BYTE;
    unsigned n = rest < 1u << 8 ? 1 : rest < 1u << 16 ? 2 : rest < 1u << 24 ? 3 : 4;
    p[0] = (uint8_t)(TABLE_ONE_BYTE - 1 + n);
    for (unsigned i = 0; i < n; i++)
        p[1 + i] = (uint8_t)(rest >> 8 * (n - 1 - i));
    return 1 + n;
}

int keycode_split(slice key, uint32_t *table_id, slice *rest, struct kevo_err *err) {
    if (key.len == 0) return kevo_fail(err, KEVO_CORRUPT, "an empty key in a table of rows");
    unsigned n = key.data[0] < TABLE_ONE_BYTE ? 0 : key.data[0] - TABLE_ONE_BYTE + 1;
    if (n == 0) {
        *table_id = key.data[0];
        *rest = slice_of(key.data + 1, key.len - 1);
        return 0;
    }
    uint64_t id = 0;
    if (n > 4 || key.len < 1 + n)
        return kevo_fail(err, KEVO_CORRUPT, "a key with a bad table id (first byte %u)",
                         key.data[0]);
    for (unsigned i = 1; i <= n; i++)
        id = id << 8 | key.data[i];
    if ((n > 1 && id >> 8 * (n - 1) == 0) || id + TABLE_ONE_BYTE > UINT32_MAX)
        return kevo_fail(err, KEVO_CORRUPT, "a key with a bad table id");
    *table_id = (uint32_t)id + TABLE_ONE_BYTE;
    *rest = slice_of(key.data + 1 + n, key.len - 1 - n);
    return 0;
}

size_t keycode_prefix(const struct schema *s, uint32_t table_id, uint8_t *p) {
    if (s->number == 0) return keycode_table_bytes(p, table_id);
    p[0] = INDEX_ENTRIES;
    size_t n = 1 + keycode_table_bytes(p + 1, table_id);
    p[n] = (uint8_t)s->number;
    return n + 1;
}

/* What follows the prefix of a table or index. */
static int skip_prefix(const struct schema *s, slice key, slice *rest, struct kevo_err *err) {
    uint32_t table_id;
    if (s->number == 0) return keycode_split(key, &table_id, rest, err);
    if (key.len == 0 || key.data[0] != INDEX_ENTRIES)
        return kevo_fail(err, KEVO_CORRUPT, "index %s of table %s: not a key of an index", s->name,
                         s->table);
    int rc = keycode_split(slice_of(key.data + 1, key.len - 1), &table_id, &key, err);
    if (rc) return rc;
    if (key.len == 0 || key.data[0] != s->number)
        return kevo_fail(err, KEVO_CORRUPT, "index %s of table %s: a key of another index", s->name,
                         s->table);
    *rest = slice_of(key.data + 1, key.len - 1);
    return 0;
}

/* ---- integers --------------------------------------------------------------------- */

/* Of non-negative numbers the first byte tells the length, and holds the high bits
 * of the short ones; each length begins where the shorter one ends. A negative number
 * is the complement of the bytes of -1 - i. */
enum {
    TAG_1 = 0x80, /* 0x80..0xbf: 64 numbers */
    TAG_2 = 0xc0, /* 0xc0..0xdf: 2^13 */
    TAG_3 = 0xe0, /* 0xe0..0xef: 2^20 */
    TAG_4 = 0xf0, /* 0xf0..0xf7: 2^27 */
    TAG_5 = 0xf8, /* 0xf8..0xfc: 4 to 8 bytes follow, the number itself */
    TAG_END = 0xfd,
    BASE_2 = 64,
    BASE_3 = BASE_2 + (1 << 13),
    BASE_4 = BASE_3 + (1 << 20),
    BASE_5 = BASE_4 + (1 << 27)
};

static size_t put_big_endian(uint8_t *p, uint64_t u, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(u >> 8 * (bytes - 1 - i));
    return bytes;
}

/* `flip` is 0xff for a DESC column. */
static size_t put_integer(uint8_t *p, int64_t i, uint8_t flip) {
    uint64_t u = i < 0 ? ~(uint64_t)i : (uint64_t)i;
    size_t n;
    if (i < 0) flip = (uint8_t)~flip;
    if (u < BASE_2) {
        p[0] = (uint8_t)((TAG_1 + u) ^ flip);
        return 1;
    }
    if (u < BASE_3) {
        n = put_big_endian(p, (uint64_t)TAG_2 << 8 | (u - BASE_2), 2);
    } else if (u < BASE_4) {
        n = put_big_endian(p, (uint64_t)TAG_3 << 16 | (u - BASE_3), 3);
    } else if (u < BASE_5) {
        n = put_big_endian(p, (uint64_t)TAG_4 << 24 | (u - BASE_4), 4);
    } else {
        unsigned bytes = (64 - (unsigned)__builtin_clzll(u) + 7) / 8;
        p[0] = (uint8_t)(TAG_5 + bytes - 4);
        n = 1 + put_big_endian(p + 1, u, bytes);
    }
    if (flip)
        for (size_t k = 0; k < n; k++)
            p[k] ^= flip;
    return n;
}

/* Of a number with 4 to 8 bytes behind its tag. */
static bool get_long_integer(const uint8_t *p, const uint8_t *end, uint8_t flip, bool negative,
                             int64_t *i, size_t *used) {
    uint8_t tag = *p ^ flip;
    size_t n = (size_t)(tag - TAG_5 + 5);
    if (tag >= TAG_END || (size_t)(end - p) < n) return false;
    uint64_t u = 0;
    for (size_t k = 1; k < n; k++)
        u = u << 8 | (uint8_t)(p[k] ^ flip);
    if (u > INT64_MAX || u < BASE_5 || (n > 5 && u >> 8 * (n - 2) == 0)) return false;
    *i = negative ? (int64_t)~u : (int64_t)u;
    *used = n;
    return true;
}

/* The first `n` bytes, of up to 4, as a big-endian number. */
static inline uint32_t get_big_endian(const uint8_t *p, const uint8_t *end, size_t n) {
    uint32_t u = 0;
    if (end - p >= 4) return __builtin_bswap32(get_fixed32(p)) >> (32 - 8 * n);
    for (size_t k = 0; k < n; k++)
        u = u << 8 | p[k];
    return u;
}

/* The number in [p, end), which is `*used` bytes long; false: not one of ours. */
static inline bool get_integer(const uint8_t *p, const uint8_t *end, uint8_t flip, int64_t *i,
                               size_t *used) {
    static const uint32_t first[] = {0, TAG_1, ((uint32_t)TAG_2 << 8) - BASE_2,
                                     ((uint32_t)TAG_3 << 16) - BASE_3,
                                     ((uint32_t)TAG_4 << 24) - BASE_4};
    if (p == end) return false;
    bool negative = ((*p ^ flip) & 0x80) == 0;
    if (negative) flip = (uint8_t)~flip;
    uint32_t tag = (uint8_t)(*p ^ flip);
    if (tag >= TAG_5) return get_long_integer(p, end, flip, negative, i, used);
    /* The tag has as many ones in front as there are bytes. */
    size_t n = (size_t)__builtin_clz(~(tag << 24));
    if ((size_t)(end - p) < n) return false;
    uint32_t ones = UINT32_MAX >> (32 - 8 * n);
    uint32_t u = (get_big_endian(p, end, n) ^ (flip ? ones : 0)) - first[n];
    *i = negative ? ~(int64_t)u : (int64_t)u;
    *used = n;
    return true;
}

/* ---- reals -------------------------------------------------------------------------- */

static size_t put_real(uint8_t *p, double r, uint8_t flip) {
    uint64_t u;
    r += 0.0; /* -0.0 is 0.0 */
    memcpy(&u, &r, 8);
    u = u >> 63 ? ~u : u | 1ull << 63;
    return put_big_endian(p, flip ? ~u : u, 8);
}

static bool get_real(const uint8_t *p, uint8_t flip, double *r) {
    uint64_t u = 0;
    for (unsigned i = 0; i < 8; i++)
        u = u << 8 | (uint8_t)(p[i] ^ flip);
    u = u >> 63 ? u & ~(1ull << 63) : ~u;
    memcpy(r, &u, 8);
    return *r == *r && u != 1ull << 63; /* no NaN, no -0.0 */
}

/* ---- numbers of either type ------------------------------------------------------------ */

/* An integer of 2^53 or more may lie between two reals. It is stored as the one that it is
 * rounded to, which keeps the order, and how far from it it is; so equal numbers of either
 * type have the same bytes. */
static const double two_to_53 = 9007199254740992.0, two_to_63 = 9223372036854775808.0;
enum { DELTA_ZERO = 0x8000, NUMBER_MAX_BYTES = 10 };

static bool has_delta(double r) {
    return r >= two_to_53 || r <= -two_to_53;
}

/* A whole real of -2^63 to 2^63 modulo 2^64. */
static uint64_t whole_bits(double r) {
    return r == two_to_63 ? 1ull << 63 : (uint64_t)(int64_t)r;
}

static size_t put_number(uint8_t *p, const struct value *v, uint8_t flip) {
    double r = v->type == VALUE_INTEGER ? (double)v->integer : v->real;
    size_t n = put_real(p, r, flip);
    if (!has_delta(r)) return n;
    uint64_t delta = v->type == VALUE_INTEGER ? (uint64_t)v->integer - whole_bits(r) : 0;
    uint16_t bits = (uint16_t)(delta + DELTA_ZERO);
    return n + put_big_endian(p + n, flip ? (uint16_t)~bits : bits, 2);
}

/* The number that stands in [p, end), an integer if it can be one; 0 when it is not one of
 * ours, else its length. */
static size_t get_number(const uint8_t *p, const uint8_t *end, uint8_t flip, struct value *v) {
    double r;
    if (end - p < 8 || !get_real(p, flip, &r)) return 0;
    *v = value_real(r);
    int64_t delta = 0;
    size_t n = 8;
    if (has_delta(r)) {
        if (end - p < NUMBER_MAX_BYTES) return 0;
        delta = ((p[8] ^ flip) << 8 | (p[9] ^ flip)) - DELTA_ZERO;
        n = NUMBER_MAX_BYTES;
    }
    bool whole = r >= -two_to_63 && r <= two_to_63 && (r == two_to_63 || (double)(int64_t)r == r);
    if (!whole || (r == two_to_63 && delta >= 0)) return delta == 0 ? n : 0;
    int64_t i = (int64_t)(whole_bits(r) + (uint64_t)delta);
    if ((double)i != r) return 0;
    *v = value_integer(i);
    return n;
}

/* ---- text and blobs ------------------------------------------------------------------- */

/* Bytes 0 and 1 are written as 1, 1 and 1, 2; then 0 ends it. */
enum { ESCAPE = 1, TERMINATOR = 0 };

/* p has room for 2 * len + 1 bytes. */
static size_t put_bytes(uint8_t *p, slice bytes, uint8_t flip) {
    uint8_t *start = p;
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.data[i];
        if (c <= ESCAPE) {
            *p++ = ESCAPE ^ flip;
            c++;
        }
        *p++ = c ^ flip;
    }
    *p++ = TERMINATOR ^ flip;
    return (size_t)(p - start);
}

/* Where the text that begins at p ends, without its terminator; NULL if nowhere. */
static const uint8_t *find_end(const uint8_t *p, const uint8_t *end, uint8_t flip) {
    return p == end ? NULL : memchr(p, TERMINATOR ^ flip, (size_t)(end - p));
}

/* Append the bytes that [p, end) stands for to *out, which has room for them. */
static bool get_bytes(const uint8_t *p, const uint8_t *end, uint8_t flip, struct buf *out) {
    while (p < end) {
        uint8_t c = *p++ ^ flip;
        if (c == ESCAPE) {
            if (p == end) return false;
            c = (uint8_t)((*p++ ^ flip) - 1);
            if (c > ESCAPE) return false;
        }
        out->data[out->len++] = c;
    }
    return true;
}

/* ---- columns ------------------------------------------------------------------------------ */

/* What a tagged column begins with: the class of the value, in SQL's order of classes. */
enum { CLASS_NULL = 1, CLASS_NUMBER = 2, CLASS_TEXT = 3, CLASS_BLOB = 4, CLASS_NONE = 0 };

static uint8_t class_of(enum value_type type) {
    static const uint8_t classes[] = {[VALUE_NULL] = CLASS_NULL,
                                      [VALUE_INTEGER] = CLASS_NUMBER,
                                      [VALUE_REAL] = CLASS_NUMBER,
                                      [VALUE_TEXT] = CLASS_TEXT,
                                      [VALUE_BLOB] = CLASS_BLOB};
    return classes[type];
}

/* p has room for NUMBER_MAX_BYTES. */
static size_t put_column_number(enum column_type type, uint8_t *p, const struct value *v,
                                uint8_t flip) {
    switch (type) {
    case COLUMN_INTEGER: return put_integer(p, v->integer, flip);
    case COLUMN_REAL: return put_real(p, v->real, flip);
    default: return put_number(p, v, flip);
    }
}

int keycode_append(const struct schema *s, unsigned n, const struct value *v, struct buf *key,
                   struct kevo_err *err) {
    const struct key_column *k = &s->key[n];
    uint8_t flip = k->desc ? 0xff : 0;
    if (!buf_reserve(key, 1 + NUMBER_MAX_BYTES)) return kevo_nomem(err);
    if (k->tagged) key->data[key->len++] = class_of(v->type) ^ flip;
    if (v->type == VALUE_NULL) return 0;
    if (value_is_number(v)) {
        key->len += put_column_number(k->type, key->data + key->len, v, flip);
        return 0;
    }
    if (keycode_is_verbatim(s, n))
        return buf_append(key, v->bytes.data, v->bytes.len) ? 0 : kevo_nomem(err);
    if (v->bytes.len > SIZE_MAX / 4 || !buf_reserve(key, 2 * v->bytes.len + 1))
        return kevo_nomem(err);
    key->len += put_bytes(key->data + key->len, v->bytes, flip);
    return 0;
}

static int fail_too_big(const struct schema *s, size_t bytes, struct kevo_err *err) {
    if (s->number)
        return kevo_fail(err, KEVO_TOOBIG,
                         "entry of index %s of table %s is too big: %zu bytes, the limit is %u",
                         s->name, s->table, bytes, KEVO_MAX_KEY_BYTES);
    return kevo_fail(err, KEVO_TOOBIG, "key of table %s is too big: %zu bytes, the limit is %u",
                     s->table, bytes, KEVO_MAX_KEY_BYTES);
}

/* The most frequent kind of key: one column, as it is. */
static int encode_verbatim(const struct schema *s, uint32_t table_id, slice bytes, struct buf *key,
                           struct kevo_err *err) {
    if (!buf_reserve(key, KEYCODE_MAX_PREFIX_BYTES + bytes.len)) return kevo_nomem(err);
    key->len = keycode_prefix(s, table_id, key->data);
    if (bytes.len) memcpy(key->data + key->len, bytes.data, bytes.len);
    key->len += bytes.len;
    return key->len > KEVO_MAX_KEY_BYTES ? fail_too_big(s, key->len, err) : 0;
}

int keycode_encode(const struct schema *s, uint32_t table_id, const struct value *values,
                   struct buf *key, struct kevo_err *err) {
    buf_reset(key);
    const struct value *first = &values[schema_value_place(s, s->key[0].column)];
    if (keycode_is_verbatim(s, 0) && first->type >= VALUE_TEXT &&
        first->bytes.len <= KEVO_MAX_KEY_BYTES)
        return encode_verbatim(s, table_id, first->bytes, key, err);
    if (!buf_reserve(key, KEYCODE_MAX_PREFIX_BYTES)) return kevo_nomem(err);
    key->len = keycode_prefix(s, table_id, key->data);
    for (unsigned n = 0; n < s->key_count; n++) {
        const struct value *v = &values[schema_value_place(s, s->key[n].column)];
        if (v->type >= VALUE_TEXT && v->bytes.len > KEVO_MAX_KEY_BYTES)
            return fail_too_big(s, key->len + v->bytes.len, err);
        int rc = keycode_append(s, n, v, key, err);
        if (rc) return rc;
    }
    return key->len > KEVO_MAX_KEY_BYTES ? fail_too_big(s, key->len, err) : 0;
}

size_t keycode_rowid_key(uint32_t table_id, int64_t rowid, uint8_t *p) {
    size_t n = keycode_table_bytes(p, table_id);
    return n + put_integer(p + n, rowid, 0);
}

/* ---- decoding ------------------------------------------------------------------------------- */

static int fail_column(const struct schema *s, unsigned n, struct kevo_err *err) {
    return kevo_fail(err, KEVO_CORRUPT, "%s%s%s: a key does not decode in key column %u",
                     s->number ? s->name : "table ", s->number ? ", an index of table " : "",
                     s->table, n);
}

int keycode_rowid(slice key, int64_t *rowid, struct kevo_err *err) {
    uint32_t table_id;
    size_t used;
    int rc = keycode_split(key, &table_id, &key, err);
    if (rc) return rc;
    if (!get_integer(key.data, key.data + key.len, 0, rowid, &used) || used != key.len)
        return kevo_fail(err, KEVO_CORRUPT, "a rowid key of %zu bytes does not decode", key.len);
    return 0;
}

/* The class that the values of a column without a tag have. */
static inline uint8_t class_of_column(enum column_type type) {
    switch (type) {
    case COLUMN_TEXT: return CLASS_TEXT;
    case COLUMN_BLOB: return CLASS_BLOB;
    case COLUMN_ANY: return CLASS_NONE;
    default: return CLASS_NUMBER;
    }
}

/* The class of the n-th column's value, which begins at *p; *p is moved behind the tag.
 * CLASS_NONE: not one of ours. */
static inline uint8_t get_class(const struct key_column *k, const uint8_t **p, const uint8_t *end) {
    uint8_t of_type = class_of_column(k->type);
    if (!k->tagged) return of_type;
    if (*p == end) return CLASS_NONE;
    uint8_t class = *(*p)++ ^ (k->desc ? 0xff : 0);
    bool known = class >= CLASS_NULL && class <= CLASS_BLOB;
    bool fits = class == CLASS_NULL || of_type == CLASS_NONE || class == of_type;
    return known && fits ? class : CLASS_NONE;
}

/* Decode the number at p; NULL: not one of ours, else its end. */
static inline const uint8_t *get_column_number(const struct key_column *k, const uint8_t *p,
                                               const uint8_t *end, struct value *v) {
    uint8_t flip = k->desc ? 0xff : 0;
    size_t used = 8;
    switch (k->type) {
    case COLUMN_INTEGER:
        v->type = VALUE_INTEGER;
        return get_integer(p, end, flip, &v->integer, &used) ? p + used : NULL;
    case COLUMN_REAL:
        v->type = VALUE_REAL;
        return end - p >= 8 && get_real(p, flip, &v->real) ? p + 8 : NULL;
    default: used = get_number(p, end, flip, v); return used ? p + used : NULL;
    }
}

/* The end of the n-th column, which begins at p; NULL: not one of ours. */
static const uint8_t *skip_column(const struct schema *s, unsigned n, const uint8_t *p,
                                  const uint8_t *end) {
    const struct key_column *k = &s->key[n];
    struct value v;
    if (keycode_is_verbatim(s, n)) return end;
    switch (get_class(k, &p, end)) {
    case CLASS_NONE: return NULL;
    case CLASS_NULL: return p;
    case CLASS_NUMBER: return get_column_number(k, p, end, &v);
    default: p = find_end(p, end, k->desc ? 0xff : 0); return p ? p + 1 : NULL;
    }
}

/* ---- places in a key --------------------------------------------------------------------- */

int keycode_go_to(const struct schema *s, slice key, struct key_place *place, unsigned n,
                  struct kevo_err *err) {
    if (place->at == 0 || place->column > n) {
        slice rest;
        int rc = skip_prefix(s, key, &rest, err);
        if (rc) return rc;
        *place = (struct key_place){0, key.len - rest.len};
    }
    const uint8_t *end = key.data + key.len;
    for (; place->column < n; place->column++) {
        const uint8_t *next = skip_column(s, place->column, key.data + place->at, end);
        if (!next) return fail_column(s, place->column, err);
        place->at = (size_t)(next - key.data);
    }
    return 0;
}

/* How many bytes all keys in [lower, upper) begin with. */
static size_t common_bytes(slice lower, slice upper) {
    size_t n = 0;
    while (n < lower.len && n < upper.len && lower.data[n] == upper.data[n])
        n++;
    if (n == lower.len || n + 1 != upper.len || lower.data[n] + 1 != upper.data[n]) return n;
    /* Nothing above this byte of the lower bound lies below the upper one, and then nothing
     * lies above those that are greatest. */
    for (n++; n < lower.len && lower.data[n] == 0xff;)
        n++;
    return n;
}

struct key_place keycode_common(const struct schema *s, uint32_t table_id, slice lower,
                                slice upper) {
    uint8_t prefix[KEYCODE_MAX_PREFIX_BYTES];
    struct key_place place = {0, keycode_prefix(s, table_id, prefix)};
    size_t common = common_bytes(lower, upper);
    if (common < place.at) return (struct key_place){0};
    while (place.column < s->key_count && !keycode_is_verbatim(s, place.column)) {
        const uint8_t *next =
            skip_column(s, place.column, lower.data + place.at, lower.data + common);
        if (!next) break;
        place.at = (size_t)(next - lower.data);
        place.column++;
    }
    return place;
}

/* ---- decoding columns ---------------------------------------------------------------------- */

/* Decode text or a blob of [p, end), without its terminator; *out has room if it is to be
 * unescaped. */
static bool decode_bytes(const uint8_t *p, const uint8_t *end, uint8_t flip, struct buf *out,
                         struct value *v) {
    size_t len = (size_t)(end - p);
    if (!flip && (len == 0 || !memchr(p, ESCAPE, len))) {
        v->bytes = slice_of(p, len);
        return true;
    }
    size_t start = out->len;
    if (!get_bytes(p, end, flip, out)) return false;
    v->bytes = slice_of(out->data + start, out->len - start);
    return true;
}

static void take_verbatim(const struct schema *s, unsigned n, const uint8_t *p, const uint8_t *end,
                          struct value *v) {
    v->type = s->key[n].type == COLUMN_TEXT ? VALUE_TEXT : VALUE_BLOB;
    v->bytes = slice_of(p, (size_t)(end - p));
}

/* Decode the n-th column, which begins at p; NULL: not one of ours, else its end. */
static const uint8_t *read_column(const struct schema *s, unsigned n, const uint8_t *p,
                                  const uint8_t *end, struct buf *out, struct value *v) {
    const struct key_column *k = &s->key[n];
    uint8_t flip = k->desc ? 0xff : 0;
    if (keycode_is_verbatim(s, n)) {
        take_verbatim(s, n, p, end, v);
        return end;
    }
    uint8_t class = get_class(k, &p, end);
    switch (class) {
    case CLASS_NONE: return NULL;
    case CLASS_NULL: *v = value_null(); return p;
    case CLASS_NUMBER: return get_column_number(k, p, end, v);
    default: break;
    }
    v->type = class == CLASS_TEXT ? VALUE_TEXT : VALUE_BLOB;
    end = find_end(p, end, flip);
    return end && decode_bytes(p, end, flip, out, v) ? end + 1 : NULL;
}

/* A column of type INTEGER or REAL. */
static inline const uint8_t *read_number(const struct key_column *k, const uint8_t *p,
                                         const uint8_t *end, struct value *v) {
    switch (get_class(k, &p, end)) {
    case CLASS_NONE: return NULL;
    case CLASS_NULL: *v = value_null(); return p;
    default: return get_column_number(k, p, end, v);
    }
}

int keycode_column_from(const struct schema *s, slice key, struct key_place *from, unsigned n,
                        struct value *v, struct buf *scratch, struct kevo_err *err) {
    bool there = from->at && from->column == n;
    int rc = there ? 0 : keycode_go_to(s, key, from, n, err);
    if (rc) return rc;
    const uint8_t *p = key.data + from->at, *end = key.data + key.len;
    if (keycode_is_verbatim(s, n)) {
        take_verbatim(s, n, p, end, v);
        return 0;
    }
    if (s->key[n].type < COLUMN_TEXT) {
        p = read_number(&s->key[n], p, end, v);
    } else {
        buf_reset(scratch);
        if (!buf_reserve(scratch, key.len)) return kevo_nomem(err);
        p = read_column(s, n, p, end, scratch, v);
    }
    if (!p) return fail_column(s, n, err);
    return n + 1 == s->key_count && p != end ? fail_column(s, n + 1, err) : 0;
}

int keycode_column(const struct schema *s, slice key, unsigned n, struct value *v,
                   struct buf *scratch, struct kevo_err *err) {
    struct key_place from = {0};
    return keycode_column_from(s, key, &from, n, v, scratch, err);
}

int keycode_decode(const struct schema *s, slice key, struct value *values, struct buf *scratch,
                   struct kevo_err *err) {
    int rc = skip_prefix(s, key, &key, err);
    if (rc) return rc;
    buf_reset(scratch);
    if (!buf_reserve(scratch, key.len)) return kevo_nomem(err);
    const uint8_t *p = key.data, *end = p + key.len;
    for (unsigned n = 0; n < s->key_count; n++) {
        p = read_column(s, n, p, end, scratch, &values[schema_value_place(s, s->key[n].column)]);
        if (!p) return fail_column(s, n, err);
    }
    return p != end ? fail_column(s, s->key_count, err) : 0;
}

int keycode_rest(const struct schema *s, slice key, unsigned n, slice *rest, struct kevo_err *err) {
    struct key_place from = {0};
    int rc = keycode_go_to(s, key, &from, n, err);
    if (rc == 0) *rest = slice_of(key.data + from.at, key.len - from.at);
    return rc;
}

/* ---- bounds ------------------------------------------------------------------------------------ */

void keycode_successor(struct buf *key) {
    while (key->len && key->data[key->len - 1] == 0xff)
        key->len--;
    if (key->len) key->data[key->len - 1]++;
}

static int prefix_range(slice prefix, struct buf *lower, struct buf *upper, struct kevo_err *err) {
    if (!buf_set(lower, prefix) || !buf_set(upper, prefix)) return kevo_nomem(err);
    keycode_successor(upper);
    return 0;
}

int keycode_table_range(uint32_t table_id, struct buf *lower, struct buf *upper,
                        struct kevo_err *err) {
    uint8_t p[KEYCODE_MAX_TABLE_BYTES];
    return prefix_range(slice_of(p, keycode_table_bytes(p, table_id)), lower, upper, err);
}

int keycode_indexes_range(uint32_t table_id, struct buf *lower, struct buf *upper,
                          struct kevo_err *err) {
    uint8_t p[KEYCODE_MAX_PREFIX_BYTES] = {INDEX_ENTRIES};
    return prefix_range(slice_of(p, 1 + keycode_table_bytes(p + 1, table_id)), lower, upper, err);
}

int keycode_range(const struct schema *s, uint32_t table_id, struct buf *lower, struct buf *upper,
                  struct kevo_err *err) {
    uint8_t p[KEYCODE_MAX_PREFIX_BYTES];
    return prefix_range(slice_of(p, keycode_prefix(s, table_id, p)), lower, upper, err);
}
