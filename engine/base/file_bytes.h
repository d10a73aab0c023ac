/* file_bytes.h - all bytes of a file that may lie on a failing disk.
 *
 * A mapped file whose sectors cannot be read kills the process with SIGBUS. So the file is read
 * through once first. If that works it is mapped, and comes from the cache; else what can be read
 * is copied to memory, piece by piece, with zeros for the rest. */
#ifndef KEVO_BASE_FILE_BYTES_H
#define KEVO_BASE_FILE_BYTES_H

#include "engine/base/env.h"

struct file_bytes {
    const uint8_t *data; /* NULL: the file is empty */
    uint64_t size;
    uint64_t unreadable; /* so many of them are zeros in their place */
    bool copied;         /* private */
};

/* KEVO_NOMEM, and what env->size and env->map say; *b is empty then. A read that fails is no
 * error. */
int file_bytes_init(struct file_bytes *b, struct env *env, struct env_file *file,
                    struct kevo_err *err);
void file_bytes_release(struct file_bytes *b, struct env *env);

#endif
