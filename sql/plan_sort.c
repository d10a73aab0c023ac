#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "sql/keycode.h"
#include "sql/plan.h"

struct sort_entry {
    slice list; /* the column with an IN list, if any */
    slice rest; /* the key behind the columns with an equality */
    slice key;
};

static int compare_entries(const void *a, const void *b) {
    const struct sort_entry *x = a, *y = b;
    int c = slice_cmp(x->list, y->list);
    if (c == 0) c = slice_cmp(x->rest, y->rest);
    return c ? c : slice_cmp(x->key, y->key);
}

static int fill_entry(const struct schema *s, const struct plan *plan, slice key,
                      struct sort_entry *e, struct kevo_err *err) {
    int n = plan->in_column;
    slice from, behind;
    e->key = key;
    e->list = slice_of(key.data, 0);
    int rc = keycode_rest(s, key, plan->eq_count, &e->rest, err);
    if (rc || n < 0) return rc;
    rc = keycode_rest(s, key, (unsigned)n, &from, err);
    if (rc == 0) rc = keycode_rest(s, key, (unsigned)n + 1, &behind, err);
    if (rc == 0) e->list = slice_of(from.data, from.len - behind.len);
    return rc;
}

static int fill_entries(const struct schema *s, const struct plan *plan, slice keys, size_t count,
                        struct sort_entry *entries, struct kevo_err *err) {
    const uint8_t *p = keys.data;
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        size_t len;
        memcpy(&len, p, sizeof len);
        rc = fill_entry(s, plan, slice_of(p + sizeof len, len), &entries[i], err);
        p += sizeof len + len;
    }
    return rc;
}

int plan_ranges_sort(struct plan_ranges *r, const struct schema *s, const struct plan *plan,
                     slice keys, size_t count, struct kevo_err *err) {
    struct sort_entry *entries = mem_array(count + 1, sizeof *entries);
    if (!entries) return kevo_nomem(err);
    int rc = fill_entries(s, plan, keys, count, entries, err);
    if (rc == 0) {
        qsort(entries, count, sizeof *entries, compare_entries);
        plan_ranges_reset(r);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (!plan_ranges_add_point(r, slice_of(NULL, 0), entries[i].key)) rc = kevo_nomem(err);
    }
    mem_free(entries);
    return rc;
}
