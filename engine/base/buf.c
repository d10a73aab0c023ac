#include "engine/base/buf.h"

#include "engine/base/alloc.h"

bool buf_reserve(struct buf *b, size_t more) {
    size_t need;
    if (__builtin_add_overflow(b->len, more, &need)) return false;
    if (need <= b->cap) return true;
    return mem_grow((void **)&b->data, &b->cap, need, 1);
}

bool buf_append(struct buf *b, const void *data, size_t len) {
    if (len == 0) return true;
    if (!buf_reserve(b, len)) return false;
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return true;
}

bool buf_set(struct buf *b, slice s) {
    if (s.len > b->cap) {
        size_t len = b->len;
        /* s cannot lie inside b here: it is longer than b's whole memory. */
        b->len = 0;
        if (!buf_reserve(b, s.len)) {
            b->len = len;
            return false;
        }
    }
    if (s.len) memmove(b->data, s.data, s.len);
    b->len = s.len;
    return true;
}

bool buf_set_successor(struct buf *b, slice prefix) {
    while (prefix.len && prefix.data[prefix.len - 1] == 0xff)
        prefix.len--;
    if (!buf_set(b, prefix)) return false;
    if (b->len) b->data[b->len - 1]++;
    return true;
}

void buf_reset(struct buf *b) {
    b->len = 0;
}

void buf_release(struct buf *b) {
    mem_free(b->data);
    *b = (struct buf){0};
}
