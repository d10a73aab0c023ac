#include "engine/tree/hidden.h"

int hidden_list(struct table_file *const *files, size_t count, struct range_list *list,
                struct kevo_err *err) {
    slice open = {NULL, 0};
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        struct table *t;
        if (files[i]->range_count == 0) continue;
        rc = table_file_borrow(files[i], &t, err);
        if (rc == 0) rc = range_list_add_set(list, table_ranges(t), open, open, err);
    }
    return rc;
}

/* The first snapshot in [from, to) or, since those behind the last may lie anywhere, the
 * last if it is below `from`; NULL: there is none. */
static const uint64_t *snapshot_in(const uint64_t *snapshots, size_t count, uint64_t from,
                                   uint64_t to) {
    size_t i = 0;
    while (i + 1 < count && snapshots[i] < from)
        i++;
    return snapshots[i] < to ? &snapshots[i] : NULL;
}

bool hidden_is(const struct table_file *f, const struct range_set *set, const uint64_t *snapshots,
               size_t snapshot_count, uint64_t *hider) {
    return table_file_is_hidden(f, set, hider) &&
           !snapshot_in(snapshots, snapshot_count, f->min_seq, *hider);
}

static int version_ranges(const struct version *v, struct range_set **set, struct kevo_err *err) {
    struct range_list list = {0};
    int rc = 0;
    *set = NULL;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS && rc == 0; l++)
        rc = hidden_list(v->levels[l].files, v->levels[l].count, &list, err);
    if (rc == 0) rc = range_set_new(&list, false, set, err);
    range_list_release(&list);
    return rc;
}

static int pick_file(const struct table_file *f, unsigned level, const struct range_set *set,
                     const uint64_t *snapshots, size_t snapshot_count, struct version_edit *edit,
                     uint64_t *max_hider, struct hidden_wait *wait, struct kevo_err *err) {
    uint64_t hider;
    if (!table_file_is_hidden(f, set, &hider)) return 0;
    const uint64_t *seen = snapshot_in(snapshots, snapshot_count, f->min_seq, hider);
    if (seen == &snapshots[snapshot_count - 1]) {
        if (hider < wait->horizon) wait->horizon = hider;
        return 0;
    }
    if (seen) {
        wait->pin = true;
        return 0;
    }
    if (hider > *max_hider) *max_hider = hider;
    return edit_delete_file(edit, level, f->number, err);
}

int hidden_pick(const struct version *v, const uint64_t *snapshots, size_t snapshot_count,
                struct version_edit *edit, uint64_t *max_hider, struct hidden_wait *wait,
                struct kevo_err *err) {
    struct range_set *set;
    *max_hider = 0;
    *wait = (struct hidden_wait){.horizon = SEQ_MAX};
    int rc = version_ranges(v, &set, err);
    for (unsigned l = 0; set && l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &v->levels[l];
        for (size_t i = 0; i < level->count && rc == 0; i++)
            rc = pick_file(level->files[i], l, set, snapshots, snapshot_count, edit, max_hider,
                           wait, err);
    }
    range_set_free(set);
    return rc;
}
