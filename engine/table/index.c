#include "engine/table/index.h"

#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/base/error.h"

enum { INDEX_HEADER_BYTES = 8, POST_GROUP = 16 };

/* ---- writing --------------------------------------------------------------- */

void index_builder_release(struct index_builder *b) {
    buf_release(&b->keys);
    mem_free(b->key_ends);
    mem_free(b->handles);
    *b = (struct index_builder){0};
}

int index_builder_add(struct index_builder *b, slice separator, uint64_t offset,
                      enum block_kind kind, struct kevo_err *err) {
    size_t need = b->count + 1;
    if (!mem_grow((void **)&b->key_ends, &b->key_ends_cap, need, sizeof *b->key_ends) ||
        !mem_grow((void **)&b->handles, &b->handles_cap, need, sizeof *b->handles) ||
        !buf_append(&b->keys, separator.data, separator.len))
        return kevo_nomem(err);
    b->key_ends[b->count] = b->keys.len;
    b->handles[b->count] = offset * 2 + kind;
    b->count++;
    return 0;
}

static slice separator_at(const struct index_builder *b, size_t i) {
    size_t begin = i ? b->key_ends[i - 1] : 0;
    return slice_of(b->keys.data + begin, b->key_ends[i] - begin);
}

static slice without(slice s, size_t prefix_len) {
    return slice_of(s.data + prefix_len, s.len - prefix_len);
}

static size_t shared_len(slice a, slice b) {
    size_t n = 0;
    while (n < a.len && n < b.len && a.data[n] == b.data[n])
        n++;
    return n;
}

int index_builder_finish(const struct index_builder *b, uint64_t data_end, struct buf *out,
                         struct kevo_err *err) {
    size_t prefix_len = 0;
    if (b->count) prefix_len = shared_len(separator_at(b, 0), separator_at(b, b->count - 1));
    if (b->keys.len > UINT32_MAX || b->count > UINT32_MAX)
        return kevo_fail(err, KEVO_TOOBIG, "the index of a table takes more than 4 GB");
    if (!buf_reserve(out, INDEX_HEADER_BYTES + 20 * b->count + 8 + b->keys.len))
        return kevo_nomem(err);
    buf_put_fixed32(out, (uint32_t)b->count);
    buf_put_fixed32(out, (uint32_t)prefix_len);
    for (size_t i = 0; i < b->count; i++)
        buf_put_fixed64(out, slice_prefix64(without(separator_at(b, i), prefix_len)));
    for (size_t i = 0; i < b->count; i++)
        buf_put_fixed64(out, b->handles[i]);
    buf_put_fixed64(out, data_end * 2);
    for (size_t i = 0; i < b->count; i++)
        buf_put_fixed32(out, (uint32_t)(b->key_ends[i] - prefix_len * (i + 1)));
    buf_append(out, b->keys.data, prefix_len);
    for (size_t i = 0; i < b->count; i++) {
        slice tail = without(separator_at(b, i), prefix_len);
        buf_append(out, tail.data, tail.len);
    }
    return 0;
}

slice index_separator(slice last, slice next, uint8_t *scratch) {
    size_t common = shared_len(last, next);
    if (common == last.len) return last; /* the same, or next extends it */
    assert(common < next.len && last.data[common] < next.data[common]);
    if (common + 1 < next.len) return slice_of(next.data, common + 1);
    /* next ends where it differs: go above `last` behind that byte, or in it. */
    size_t i = common;
    if (last.data[i] + 1 == next.data[i]) i++;
    while (i < last.len && last.data[i] == 0xff)
        i++;
    if (i == last.len) return last;
    memcpy(scratch, last.data, i + 1);
    scratch[i]++;
    return slice_of(scratch, i + 1);
}

/* ---- reading --------------------------------------------------------------- */

bool table_index_open(struct table_index *index, slice bytes) {
    struct reader r = reader_of(bytes);
    *index = (struct table_index){.count = read_fixed32(&r)};
    uint32_t prefix_len = read_fixed32(&r);
    size_t count = index->count;
    if (r.bad || count > reader_left(&r) / 20) return false;
    index->heads = read_bytes(&r, 8 * count).data;
    index->handles = read_bytes(&r, 8 * count + 8).data;
    index->tail_ends = read_bytes(&r, 4 * count).data;
    index->prefix = read_bytes(&r, prefix_len);
    index->tails = slice_of(r.p, reader_left(&r));
    if (r.bad) return false;
    return index->tails.len == (count ? get_fixed32(index->tail_ends + 4 * (count - 1)) : 0);
}

uint64_t table_index_offset(const struct table_index *index, size_t i) {
    assert(i <= index->count);
    return get_fixed64(index->handles + 8 * i) / 2;
}

enum block_kind table_index_kind(const struct table_index *index, size_t i) {
    assert(i < index->count);
    return get_fixed64(index->handles + 8 * i) & 1 ? BLOCK_LZ4 : BLOCK_RAW;
}

/* Offsets that make no sense give an empty tail: the answer is wrong then, as the
 * file is, but no byte outside it is touched. */
static slice tail_at(const struct table_index *index, size_t i) {
    uint32_t begin = i ? get_fixed32(index->tail_ends + 4 * (i - 1)) : 0;
    uint32_t end = get_fixed32(index->tail_ends + 4 * i);
    if (begin > end || end > index->tails.len) return slice_of(NULL, 0);
    return slice_of(index->tails.data + begin, end - begin);
}

bool table_index_is_true(const struct table_index *index) {
    for (size_t i = 0; i < index->count; i++) {
        uint32_t begin = i ? get_fixed32(index->tail_ends + 4 * (i - 1)) : 0;
        uint32_t end = get_fixed32(index->tail_ends + 4 * i);
        if (begin > end || end > index->tails.len) return false;
        if (get_fixed64(index->heads + 8 * i) != slice_prefix64(tail_at(index, i))) return false;
    }
    return true;
}

/* n if it is so, else 0: not by a branch, which a search that may go either way takes wrongly every
 * other time. */
static inline size_t only_if(bool is_so, size_t n) {
    return -(size_t)is_so & n;
}

/* The first i in [0, n) with heads[i] >= head, or n. */
static size_t lower_head(const uint8_t *heads, size_t n, uint64_t head) {
    const uint8_t *base = heads;
    if (n == 0) return 0;
    while (n > 1) {
        size_t half = n / 2;
        base += only_if(get_fixed64(base + 8 * (half - 1)) < head, 8 * half);
        n -= half;
    }
    return (size_t)(base - heads) / 8 + (get_fixed64(base) < head);
}

size_t table_index_post_count(const struct table_index *index) {
    return index->count / POST_GROUP;
}

void table_index_set_posts(struct table_index *index, uint64_t *posts) {
    size_t count = table_index_post_count(index);
    for (size_t i = 0; i < count; i++)
        posts[i] = get_fixed64(index->heads + 8 * (POST_GROUP * i + POST_GROUP - 1));
    index->posts = posts;
}

/* The first of n signposts that is >= head, or n. Three are compared at a time: one step waits for
 * the one before it, comparisons do not wait for one another. */
static size_t lower_post(const uint64_t *posts, size_t n, uint64_t head) {
    const uint64_t *base = posts;
    while (n > 3) {
        size_t quarter = n / 4;
        base += only_if(base[quarter - 1] < head, quarter) +
                only_if(base[2 * quarter - 1] < head, quarter) +
                only_if(base[3 * quarter - 1] < head, quarter);
        n -= 3 * quarter;
    }
    size_t low = (size_t)(base - posts);
    for (size_t i = 0; i < n; i++)
        low += base[i] < head;
    return low;
}

/* Where the group begins that holds the first head >= `head`; what is read of it, and beside
 * it, is asked for. Needs signposts. */
static size_t find_group(const struct table_index *index, uint64_t head) {
    size_t first = POST_GROUP * lower_post(index->posts, table_index_post_count(index), head);
    const uint8_t *heads = index->heads + 8 * first, *handles = index->handles + 8 * first;
    __builtin_prefetch(heads);
    __builtin_prefetch(heads + 64);
    __builtin_prefetch(handles);
    __builtin_prefetch(handles + 64);
    if (index->places) {
        const char *places = (const char *)(index->places + first);
        __builtin_prefetch(places);
        __builtin_prefetch(places + 64);
    }
    return first;
}

/* How many heads of a whole group are below `head`: all are compared, none waits for another. */
static size_t count_below(const uint8_t *heads, uint64_t head) {
    size_t n = 0;
    for (size_t i = 0; i < POST_GROUP; i++)
        n += get_fixed64(heads + 8 * i) < head;
    return n;
}

/* The first separator whose head is >= head, or count; `first` is where find_group() says, if there
 * are signposts. */
static size_t find_head(const struct table_index *index, uint64_t head, size_t first) {
    if (!index->posts) return lower_head(index->heads, index->count, head);
    const uint8_t *heads = index->heads + 8 * first;
    size_t n = index->count - first;
    return first + (n < POST_GROUP ? lower_head(heads, n, head) : count_below(heads, head));
}

/* Key against the common prefix: below, above, or inside (0, with its rest). */
static int split(const struct table_index *index, slice key, slice *rest) {
    size_t n = index->prefix.len;
    if (key.len < n) {
        int c = key.len ? memcmp(key.data, index->prefix.data, key.len) : 0;
        return c ? c : -1;
    }
    *rest = slice_of(key.data + n, key.len - n);
    return n ? memcmp(key.data, index->prefix.data, n) : 0;
}

/* `first`: what find_group() said, if there are signposts. */
static inline size_t find_from(const struct table_index *index, slice rest, uint64_t head,
                               size_t first) {
    size_t low = find_head(index, head, first);
    if (low == index->count || get_fixed64(index->heads + 8 * low) != head) return low;
    size_t high = low + 1;
    if (high < index->count && get_fixed64(index->heads + 8 * high) == head) {
        high = index->count;
        if (head != UINT64_MAX)
            high = low + lower_head(index->heads + 8 * low, index->count - low, head + 1);
    }
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (slice_cmp(tail_at(index, mid), rest) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

size_t table_index_find(const struct table_index *index, slice key) {
    slice rest = {0};
    if (key.len == 0) return 0;
    int side = split(index, key, &rest);
    if (side) return side < 0 ? 0 : index->count;
    uint64_t head = slice_prefix64(rest);
    return find_from(index, rest, head, index->posts ? find_group(index, head) : 0);
}

size_t table_index_aim(const struct table_index *index, slice key) {
    slice rest = {0};
    if (!index->posts || key.len == 0 || split(index, key, &rest)) return 0;
    return find_group(index, slice_prefix64(rest));
}

size_t table_index_find_aimed(const struct table_index *index, slice key, size_t aim) {
    slice rest = {0};
    if (key.len == 0) return 0;
    int side = split(index, key, &rest);
    if (side) return side < 0 ? 0 : index->count;
    return find_from(index, rest, slice_prefix64(rest), aim);
}

int table_index_compare(const struct table_index *index, size_t i, slice key) {
    slice rest = {0};
    int side = split(index, key, &rest);
    return side ? (side < 0) - (side > 0) : slice_cmp(tail_at(index, i), rest);
}

bool table_index_is_key(const struct table_index *index, size_t i, slice key) {
    return key.len >= index->prefix.len && table_index_compare(index, i, key) == 0;
}
