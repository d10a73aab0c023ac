/* error.h - where errors are born. */
#ifndef KEVO_BASE_ERROR_H
#define KEVO_BASE_ERROR_H

#include "engine/kevo.h"

/* Record a failure and return its code: `return kevo_fail(err, KEVO_CORRUPT,
 * "%s: block %u: checksum differs", name, n);`. The one place where errors
 * begin, so the one place for a breakpoint. err may be NULL; no heap is used. */
int kevo_fail(struct kevo_err *err, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* kevo_fail for exhausted memory. */
int kevo_nomem(struct kevo_err *err);

/* KEVO_NEWER: the file has that format version, and this build reads none above `reads`. */
int kevo_newer(struct kevo_err *err, const char *path, uint32_t format, unsigned reads);

/* The name of a code, such as "KEVO_CORRUPT". */
const char *kevo_rc_name(int rc);

#endif
