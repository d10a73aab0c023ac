#include "engine/tree/build.h"

#include <assert.h>
#include <stdatomic.h>

#include "engine/base/error.h"

enum { POLL_ENTRIES = 1024, POLL_BYTES = 256 << 10 }; /* whichever comes first */

struct builder {
    struct build *b;
    struct version_edit *edit;
    struct table_writer *writer; /* NULL: no table is open */
    uint64_t number;             /* of the open table */
    char path[ENV_PATH_MAX];     /* of the open table */

    struct range_set *ranges; /* those that are needed; NULL: none */
    struct buf begin;         /* tables before the open one have theirs up to here; empty:
                                 there are none */

    bool started;       /* key and newer_seq are set */
    struct buf key;     /* of the versions being looked at */
    uint64_t newer_seq; /* of the version before, of the same key */
};

/* ---- which versions are needed -------------------------------------------------- */

/* Whether some snapshot sees a version of `seq` whose next newer one is `newer`. */
static bool seen_by_snapshot(const struct build *b, uint64_t seq, uint64_t newer) {
    size_t low = 0, high = b->snapshot_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (b->snapshots[mid] < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low == b->snapshot_count || b->snapshots[low] < newer;
}

static void dropped_by(struct build *b, uint64_t seq) {
    if (b->max_dropped_by < seq) b->max_dropped_by = seq;
}

/* Whether the version the source stands on goes into a table. */
static bool is_needed(struct builder *w, const struct iter *s, bool first_of_key) {
    struct build *b = w->b;
    uint64_t newer = first_of_key ? SEQ_MAX : w->newer_seq;
    uint64_t hider = b->ranges ? range_set_above(b->ranges, s->key, s->seq) : SEQ_MAX;
    if (hider < newer) newer = hider;
    /* Every snapshot sees the newest version, or is older than it. */
    if (newer != SEQ_MAX && !seen_by_snapshot(b, s->seq, newer)) {
        dropped_by(b, newer);
        return false;
    }
    if (s->type == ENTRY_DELETE && s->seq <= b->snapshots[0] && b->is_bottom &&
        b->is_bottom(b->arg, s->key)) {
        dropped_by(b, s->seq);
        return false;
    }
    return true;
}

/* Add to the list the range tombstones of a fragment that are needed. */
static int keep_fragment(struct build *b, const struct range_fragment *f, struct range_list *list,
                         struct kevo_err *err) {
    uint64_t newer = SEQ_MAX;
    for (size_t i = 0; i < f->seq_count; newer = f->seqs[i++]) {
        uint64_t seq = f->seqs[i];
        if (newer != SEQ_MAX && !seen_by_snapshot(b, seq, newer)) {
            dropped_by(b, newer);
        } else if (seq <= b->snapshots[0] && b->is_bottom_range &&
                   b->is_bottom_range(b->arg, f->lower, f->upper)) {
            dropped_by(b, seq);
        } else {
            int rc = range_list_add(list, f->lower, f->upper, seq, err);
            if (rc) return rc;
        }
    }
    return 0;
}

static int keep_ranges(struct builder *w, struct kevo_err *err) {
    struct range_list list = {0};
    const struct range_set *all = w->b->ranges;
    int rc = 0;
    for (size_t i = 0; all && i < all->count && rc == 0; i++)
        rc = keep_fragment(w->b, &all->fragments[i], &list, err);
    if (rc == 0) rc = range_set_new(&list, false, &w->ranges, err);
    range_list_release(&list);
    return rc;
}

/* ---- tables ----------------------------------------------------------------------- */

static int open_table(struct builder *w, struct kevo_err *err) {
    struct build *b = w->b;
    char name[TABLE_NAME_BYTES];
    w->number = b->next_file_number(b->arg);
    table_file_name(name, w->number);
    int rc = env_join(w->path, b->home->dir, name, err);
    if (rc) return rc;
    return table_writer_open(b->home->env, w->path, w->number, &b->table, &w->writer, err);
}

static void unlink_open_table(struct builder *w) {
    w->b->home->env->unlink(w->b->home->env, w->path, NULL);
}

/* The bounds of the open table's range tombstones; data NULL: open. */
static slice table_begin(const struct builder *w) {
    return w->begin.len ? buf_slice(&w->begin) : slice_of(NULL, 0);
}

/* Finish the open table, which has the range tombstones up to `end` (data NULL: all that
 * are left), and add it to the edit. */
static int close_table(struct builder *w, slice end, struct kevo_err *err) {
    struct build *b = w->b;
    struct table_summary sum = {0};
    struct table_writer *writer = w->writer;
    struct table_file *f = NULL;
    int rc = table_writer_add_ranges(writer, w->ranges, table_begin(w), end, err);
    if (rc) return rc;
    w->writer = NULL;
    rc = table_writer_finish(writer, &sum, err);
    if (rc) goto out;
    f = table_file_new(b->home, w->number, sum.file_bytes, sum.checksum, &sum.properties,
                       buf_slice(&sum.min_key), buf_slice(&sum.max_key));
    rc = f ? edit_add_file(w->edit, b->level, f, err) : kevo_nomem(err);
    if (rc) goto out;
    b->bytes_written += sum.file_bytes;
    b->tables_written++;
out:
    if (rc) unlink_open_table(w);
    table_file_unref(f);
    buf_release(&sum.min_key);
    buf_release(&sum.max_key);
    return rc;
}

/* A new key begins: whether the open table ends before it. */
static bool must_cut(struct builder *w, slice key) {
    struct build *b = w->b;
    bool cut = b->cut_before && b->cut_before(b->arg, key);
    if (b->table_bytes && w->writer && table_writer_bytes(w->writer) >= b->table_bytes) cut = true;
    return cut && w->writer;
}

static int cut(struct builder *w, slice key, struct kevo_err *err) {
    int rc = close_table(w, key, err);
    if (rc) return rc;
    return buf_set(&w->begin, key) ? 0 : kevo_nomem(err);
}

/* After the last entry: range tombstones behind it may want a table of their own. */
static int finish(struct builder *w, struct kevo_err *err) {
    slice begin = table_begin(w), open = {NULL, 0};
    int rc = 0;
    bool more = w->ranges && (!begin.data || range_set_find(w->ranges, begin) < w->ranges->count);
    if (more && !w->writer) rc = open_table(w, err);
    return rc || !w->writer ? rc : close_table(w, open, err);
}

static int add(struct builder *w, const struct iter *s, struct kevo_err *err) {
    int rc = 0;
    if (!w->writer) rc = open_table(w, err);
    return rc ? rc : table_writer_add(w->writer, s->key, s->seq, s->type, s->value, err);
}

/* Look at one version. Tables are cut only where a key begins. */
static int take(struct builder *w, const struct iter *s, struct kevo_err *err) {
    int rc = 0, order = w->started ? slice_cmp(s->key, buf_slice(&w->key)) : 1;
    if (order < 0 || (order == 0 && s->seq >= w->newer_seq))
        return kevo_fail(err, KEVO_CORRUPT, "tables to be merged hold entries out of order");
    if (order > 0) {
        if (!buf_set(&w->key, s->key)) return kevo_nomem(err);
        if (must_cut(w, s->key)) rc = cut(w, s->key, err);
    }
    if (rc == 0 && is_needed(w, s, order > 0)) rc = add(w, s, err);
    w->started = true;
    w->newer_seq = s->seq;
    return rc;
}

static int poll(const struct build *b, struct kevo_err *err) {
    if (b->cancelled && b->cancelled(b->arg)) return kevo_fail(err, KEVO_CANCELLED, "cancelled");
    return 0;
}

static int take_all(struct builder *w, struct iter *source, struct kevo_err *err) {
    int rc = poll(w->b, err);
    if (rc == 0) rc = source->ops->seek_first(source, err);
    size_t entries = 0, bytes = 0;
    while (rc == 0 && source->valid) {
        bytes += source->key.len + source->value.len;
        rc = take(w, source, err);
        w->b->entries_read++;
        if (rc == 0 && (++entries == POLL_ENTRIES || bytes >= POLL_BYTES)) {
            entries = bytes = 0;
            rc = poll(w->b, err);
        }
        if (rc == 0) rc = source->ops->next(source, err);
    }
    return rc;
}

/* Take back what was added to the edit from `count` on; the files go with it. */
static void undo(struct version_edit *edit, size_t count) {
    while (edit->added_count > count) {
        struct table_file *f = edit->added[--edit->added_count].file;
        atomic_store(&f->obsolete, true);
        table_file_unref(f);
    }
}

int build_tables(struct build *b, struct iter *source, struct version_edit *edit,
                 struct kevo_err *err) {
    struct builder w = {.b = b, .edit = edit};
    size_t before = edit->added_count;
    assert(b->snapshot_count > 0);
    b->max_dropped_by = b->bytes_written = b->tables_written = b->entries_read = 0;
    int rc = keep_ranges(&w, err);
    if (rc == 0) rc = take_all(&w, source, err);
    if (rc == 0) rc = finish(&w, err);
    if (rc == 0 && b->tables_written) rc = b->home->env->sync_dir(b->home->env, b->home->dir, err);
    if (rc) {
        if (w.writer) {
            table_writer_abandon(w.writer);
            unlink_open_table(&w);
        }
        undo(edit, before);
    }
    range_set_free(w.ranges);
    buf_release(&w.begin);
    buf_release(&w.key);
    return rc;
}
