#include "engine/base/error.h"

#include <stdarg.h>
#include <stdio.h>

int kevo_fail(struct kevo_err *err, int rc, const char *fmt, ...) {
    if (err) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->msg, sizeof err->msg, fmt, args);
        va_end(args);
        err->rc = rc;
    }
    return rc;
}

int kevo_nomem(struct kevo_err *err) {
    return kevo_fail(err, KEVO_NOMEM, "out of memory");
}

int kevo_newer(struct kevo_err *err, const char *path, uint32_t format, unsigned reads) {
    return kevo_fail(err, KEVO_NEWER,
                     "%s: format version %lu, of a newer kevo; this one reads none above %u", path,
                     (unsigned long)format, reads);
}

const char *kevo_rc_name(int rc) {
    switch ((enum kevo_rc)rc) {
    case KEVO_OK: return "KEVO_OK";
    case KEVO_NOTFOUND: return "KEVO_NOTFOUND";
    case KEVO_NOMEM: return "KEVO_NOMEM";
    case KEVO_IOERR: return "KEVO_IOERR";
    case KEVO_FULL: return "KEVO_FULL";
    case KEVO_CORRUPT: return "KEVO_CORRUPT";
    case KEVO_BUSY: return "KEVO_BUSY";
    case KEVO_SNAPSHOT: return "KEVO_SNAPSHOT";
    case KEVO_DIVERGED: return "KEVO_DIVERGED";
    case KEVO_INVALID: return "KEVO_INVALID";
    case KEVO_TOOBIG: return "KEVO_TOOBIG";
    case KEVO_READONLY: return "KEVO_READONLY";
    case KEVO_CANTOPEN: return "KEVO_CANTOPEN";
    case KEVO_FORKED: return "KEVO_FORKED";
    case KEVO_CANCELLED: return "KEVO_CANCELLED";
    case KEVO_NEWER: return "KEVO_NEWER";
    }
    return "unknown code";
}
