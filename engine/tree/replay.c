#include "engine/tree/replay.h"

#include <inttypes.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"

enum { DEAD = KEVO_MAX_LEVELS };

void replay_release(struct replay *r) {
    for (size_t i = 0; i < r->count; i++)
        table_file_unref(r->files[i].file);
    mem_free(r->files);
    edit_release(&r->numbers);
}

/* Index of the first file with this number or a larger one. */
static size_t replay_find(const struct replay *r, uint64_t number) {
    size_t low = 0, high = r->count;
    if (high && r->files[high - 1].number < number) return high;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (r->files[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int replay_delete(struct replay *r, const struct edit_delete *d, struct kevo_err *err) {
    size_t i = replay_find(r, d->number);
    if (i == r->count || r->files[i].number != d->number || r->files[i].level != d->level)
        return kevo_fail(err, KEVO_CORRUPT, "deletes table %" PRIu64 " which level %u lacks",
                         d->number, d->level);
    r->files[i].level = DEAD;
    return 0;
}

static int replay_add(struct replay *r, const struct edit_file *a, struct kevo_err *err) {
    uint64_t number = a->file->number;
    size_t i = replay_find(r, number);
    if (i < r->count && r->files[i].number == number) {
        if (r->files[i].level != DEAD)
            return kevo_fail(err, KEVO_CORRUPT, "adds table %" PRIu64 " twice", number);
        table_file_unref(r->files[i].file);
    } else {
        if (!mem_grow((void **)&r->files, &r->cap, r->count + 1, sizeof *r->files))
            return kevo_nomem(err);
        memmove(&r->files[i + 1], &r->files[i], (r->count - i) * sizeof *r->files);
        r->count++;
    }
    table_file_ref(a->file);
    r->files[i] = (struct live){number, a->level, a->file};
    return 0;
}

/* Take over what `from` sets beside files. */
static int merge_numbers(struct version_edit *to, const struct version_edit *from,
                         struct kevo_err *err) {
    if (from->has_options && !buf_set(&to->options, buf_slice(&from->options)))
        return kevo_nomem(err);
    if (from->has_owner && !buf_set(&to->owner, buf_slice(&from->owner))) return kevo_nomem(err);
    if (from->has_next_file && from->next_file > to->next_file) to->next_file = from->next_file;
    if (from->has_wal_floor) to->wal_floor = from->wal_floor;
    if (from->has_flushed) to->flushed = from->flushed;
    if (from->has_committed) to->committed = from->committed;
    if (from->has_ingested) to->ingested = from->ingested;
    to->has_next_file |= from->has_next_file;
    to->has_wal_floor |= from->has_wal_floor;
    to->has_flushed |= from->has_flushed;
    to->has_committed |= from->has_committed;
    to->has_ingested |= from->has_ingested;
    to->has_options |= from->has_options;
    to->has_owner |= from->has_owner;
    return 0;
}

int replay_edit(struct replay *r, const struct version_edit *e, struct kevo_err *err) {
    int rc = 0;
    for (size_t i = 0; i < e->deleted_count && rc == 0; i++)
        rc = replay_delete(r, &e->deleted[i], err);
    for (size_t i = 0; i < e->added_count && rc == 0; i++)
        rc = replay_add(r, &e->added[i], err);
    return rc ? rc : merge_numbers(&r->numbers, e, err);
}

int replay_version(struct replay *r, struct version **v, struct kevo_err *err) {
    struct version_edit *n = &r->numbers;
    *v = NULL;
    if (r->count && r->files[r->count - 1].number >= n->next_file)
        return kevo_fail(err, KEVO_CORRUPT, "table %" PRIu64 " is not below the next number",
                         r->files[r->count - 1].number);
    for (size_t i = 0; i < r->count; i++) {
        if (r->files[i].level == DEAD) continue;
        int rc = edit_add_file(n, r->files[i].level, r->files[i].file, err);
        if (rc) return rc;
    }
    struct version *empty = version_new();
    if (!empty) return kevo_nomem(err);
    int rc = version_apply(empty, n, v, err);
    version_unref(empty);
    return rc;
}
