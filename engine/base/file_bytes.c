#include "engine/base/file_bytes.h"

#include "engine/base/alloc.h"
#include "engine/base/error.h"

/* A file is read in chunks; of one that fails each piece is tried: a sector of most disks. */
enum { CHUNK_BYTES = 256 << 10, PIECE_BYTES = 4096 };

static uint64_t at_most(uint64_t bytes, uint64_t left) {
    return bytes < left ? bytes : left;
}

/* Whether all of the file can be read. */
static bool is_readable(struct env *env, struct env_file *file, uint64_t size, uint8_t *chunk) {
    size_t got;
    for (uint64_t at = 0; at < size; at += CHUNK_BYTES)
        if (env->read(env, file, at, chunk, at_most(CHUNK_BYTES, size - at), &got, NULL))
            return false;
    return true;
}

static void copy_chunk(struct file_bytes *b, struct env *env, struct env_file *file, uint64_t at,
                       uint8_t *data) {
    size_t got;
    uint64_t end = at + at_most(CHUNK_BYTES, b->size - at);
    if (env->read(env, file, at, data + at, end - at, &got, NULL) == 0) return;
    for (; at < end; at += PIECE_BYTES) {
        uint64_t len = at_most(PIECE_BYTES, end - at);
        if (env->read(env, file, at, data + at, len, &got, NULL) == 0) continue;
        memset(data + at, 0, len);
        b->unreadable += len;
    }
}

static int copy_file(struct file_bytes *b, struct env *env, struct env_file *file,
                     struct kevo_err *err) {
    uint8_t *data = b->size <= SIZE_MAX ? mem_zalloc((size_t)b->size) : NULL;
    if (!data) return kevo_nomem(err);
    for (uint64_t at = 0; at < b->size; at += CHUNK_BYTES)
        copy_chunk(b, env, file, at, data);
    b->data = data;
    b->copied = true;
    return 0;
}

int file_bytes_init(struct file_bytes *b, struct env *env, struct env_file *file,
                    struct kevo_err *err) {
    *b = (struct file_bytes){.data = NULL};
    uint8_t *chunk = mem_alloc(CHUNK_BYTES);
    int rc = chunk ? env->size(env, file, &b->size, err) : kevo_nomem(err);
    if (rc == 0)
        rc = is_readable(env, file, b->size, chunk) ? env->map(env, file, b->size, &b->data, err)
                                                    : copy_file(b, env, file, err);
    mem_free(chunk);
    if (rc) *b = (struct file_bytes){.data = NULL};
    return rc;
}

void file_bytes_release(struct file_bytes *b, struct env *env) {
    if (b->copied)
        mem_free((void *)(uintptr_t)b->data);
    else if (b->data)
        env->unmap(env, b->data, b->size);
    *b = (struct file_bytes){.data = NULL};
}
