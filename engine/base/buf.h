/* buf.h - a byte string that grows. A zeroed struct is an empty one. */
#ifndef KEVO_BASE_BUF_H
#define KEVO_BASE_BUF_H

#include "engine/base/slice.h"

struct buf {
    uint8_t *data;
    size_t len, cap; /* bytes */
};

/* All return false, and change nothing, when there is no memory. */
bool buf_reserve(struct buf *b, size_t more); /* room for `more` bytes after len */
bool buf_append(struct buf *b, const void *data, size_t len);
bool buf_set(struct buf *b, slice s); /* replace the contents; s may lie inside b */

/* The first string behind all that begin with `prefix`; empty when there is none, which is
 * so when all its bytes are 0xff. */
bool buf_set_successor(struct buf *b, slice prefix);

void buf_reset(struct buf *b);   /* empty, keeps its memory */
void buf_release(struct buf *b); /* frees; the struct is empty again */

static inline slice buf_slice(const struct buf *b) {
    return slice_of(b->data, b->len);
}

#endif
