#include "ext/thin.h"

/* Searches for the first key of a range. */
struct probe {
    kevo_store *store;
    struct kevo_read read; /* its upper bound is the iterator's */
    kevo_iter *iter;
};

static int probe_first(void *arg, slice lower, slice upper, slice *key, struct kevo_err *err) {
    struct probe *p = arg;
    int rc;
    if (p->iter && p->read.upper.data == upper.data) {
        rc = kevo_iter_seek(p->iter, lower, err);
    } else {
        kevo_iter_free(p->iter);
        p->read.lower = lower;
        p->read.upper = upper;
        rc = kevo_iter_new(p->store, &p->read, &p->iter, err);
        if (rc == 0) rc = kevo_iter_first(p->iter, err);
    }
    if (rc) return rc;
    if (!kevo_iter_valid(p->iter)) return KEVO_NOTFOUND;
    *key = kevo_iter_key(p->iter);
    return 0;
}

int thin_ranges(struct plan_ranges *ranges, kevo_store *store, const struct kevo_read *read,
                struct kevo_err *err) {
    struct probe p = {.store = store, .read = *read};
    int rc = plan_ranges_thin(ranges, probe_first, &p, err);
    kevo_iter_free(p.iter);
    return rc;
}
