/* What can be read of a damaged store, in a new one.
 *
 * The new store gets, in one level, the newest version of every key that the tables hold up to
 * the flushed batch F, and a log with the batches behind it. Which version is newer is told by
 * sequence numbers alone. So what an external authority may still cut stays in the log.
 *
 * The manifest tells which tables count, and F. Without it all tables that are found count, and
 * F is the newest batch that any of them has an entry of; batches up to it that the log has as
 * well are merged with them. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/mem/batch.h"
#include "engine/store/dir.h"
#include "engine/store/options.h"
#include "engine/store/store.h"
#include "engine/table/table_salvage.h"
#include "engine/tree/build.h"
#include "engine/tree/merge_iter.h"

/* How far above the last id that was found the next one lies: ids that were lost are not
 * given out again. */
enum { ID_GAP = 1 << 20 };

struct numbers {
    uint64_t *at; /* ascending */
    size_t count, cap;
};

/* A record of the log that counts. */
struct kept_record {
    enum wal_type type;
    struct kevo_commit commit;
    slice payload; /* in its reader's map */
};

struct repair {
    struct env *env;
    const char *dir;
    const struct kevo_options *options;
    struct kevo_repair_report *report;
    struct table_home home, new_home;
    struct numbers tables, segments; /* that are there */
    struct manifest_state state;
    bool has_uuid;

    struct wal_reader **readers;
    size_t reader_count, reader_cap;
    struct kept_record *records;
    size_t record_count, record_cap;
    uint64_t last_id;    /* the largest batch id in the log, 0: none */
    uint64_t last_taken; /* ... of the records that were taken */
    bool ids_lost;

    struct version_edit ingested; /* tables that the log names and the manifest does not */
    struct table_salvage **found;
    size_t found_count, found_cap;
    struct memtable *flat; /* batches of the log that are merged with the tables */
    uint64_t next_file;
};

static bool is_good(const struct repair *r) {
    return r->report->manifest == KEVO_MANIFEST_GOOD;
}

static void pass_note(void *arg, const char *text) {
    struct kevo_repair_report *report = arg;
    report->notes++;
    if (report->note) report->note(report->note_arg, text);
}

static void note(struct repair *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct repair *r, const char *fmt, ...) {
    char text[600];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    pass_note(r->report, text);
}

/* What ends a repair, other than damage. A file that a newer kevo has written is whole: what this
 * one made of it would be less. */
static bool is_fatal(int rc) {
    return rc == KEVO_NOMEM || rc == KEVO_FULL || rc == KEVO_NEWER;
}

/* ---- what is there --------------------------------------------------------------- */

static int compare_numbers(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool add_number(struct numbers *n, uint64_t number) {
    if (!mem_grow((void **)&n->at, &n->cap, n->count + 1, sizeof *n->at)) return false;
    n->at[n->count++] = number;
    return true;
}

static bool has_number(const struct numbers *n, uint64_t number) {
    return n->count && bsearch(&number, n->at, n->count, sizeof number, compare_numbers);
}

static int see_name(void *arg, const char *name) {
    struct repair *r = arg;
    uint64_t number;
    bool ok = true;
    if (dir_parse_name(name, "sst", &number)) ok = add_number(&r->tables, number);
    if (dir_parse_name(name, "wal", &number)) ok = add_number(&r->segments, number);
    return ok ? 0 : KEVO_NOMEM;
}

static int look(struct repair *r, struct kevo_err *err) {
    int rc = r->env->list(r->env, r->dir, see_name, r, err);
    if (rc) return rc == KEVO_NOMEM ? kevo_nomem(err) : rc;
    if (r->tables.count) qsort(r->tables.at, r->tables.count, sizeof(uint64_t), compare_numbers);
    if (r->segments.count)
        qsort(r->segments.at, r->segments.count, sizeof(uint64_t), compare_numbers);
    r->report->tables_found = r->tables.count;
    r->report->segments_found = r->segments.count;
    return 0;
}

/* ---- the manifest ------------------------------------------------------------------ */

/* Whether the manifest speaks of an earlier moment than the files: the log begins behind the
 * segment that it names, and there are tables that it says were never made. Cut off behind one
 * of its records it cannot be told from a whole one. */
static bool is_outdated(const struct repair *r) {
    return r->segments.count && r->segments.at[0] > r->state.wal_floor && r->tables.count &&
           r->tables.at[r->tables.count - 1] >= r->state.next_file;
}

static void distrust(struct repair *r, const char *path, const char *why) {
    r->report->manifest = KEVO_MANIFEST_DAMAGED;
    note(r, "%.300s", why);
    note(r, "%.400s: cannot be used: all tables that are found are, and deleted rows may be back",
         path);
}

static int read_manifest(struct repair *r, struct kevo_err *err) {
    struct kevo_err cause;
    struct manifest *m;
    struct env_stat st;
    char path[ENV_PATH_MAX];
    int rc = env_join(path, r->dir, "MANIFEST", err);
    if (rc == 0) rc = r->env->stat(r->env, path, &st, err);
    if (rc < 0) return rc;
    if (rc == KEVO_NOTFOUND) {
        r->report->manifest = KEVO_MANIFEST_MISSING;
        note(r, "%s: missing: all tables that are found are used, and deleted rows may be back",
             path);
        return 0;
    }
    rc = manifest_open_read_only(&r->home, r->options->file_mode, &m, &r->state, &cause);
    manifest_close(m);
    if (is_fatal(rc)) return kevo_fail(err, rc, "%s", cause.msg);
    if (rc == 0 && !is_outdated(r)) {
        r->has_uuid = true;
        return 0;
    }
    manifest_state_release(&r->state);
    distrust(r, path, rc ? cause.msg : "the files are newer than the manifest");
    r->has_uuid = manifest_identity(&r->home, r->state.uuid, &r->state.authority, &cause) == 0;
    return 0;
}

/* Whose store it is, when the manifest does not tell: the log's segments do. */
static int find_identity(struct repair *r, struct kevo_err *err) {
    if (r->state.authority == 0) r->state.authority = r->options->authority;
    for (size_t i = r->segments.count; i-- > 0 && !r->has_uuid;) {
        struct kevo_err cause;
        int rc = wal_identity(r->env, r->dir, r->segments.at[i], r->state.uuid, &cause);
        if (is_fatal(rc)) return kevo_fail(err, rc, "%s", cause.msg);
        r->has_uuid = rc == 0;
    }
    if (r->has_uuid) return 0;
    note(r, "%s: the store's id is lost: the new store has another", r->dir);
    return r->env->random(r->env, r->state.uuid, sizeof r->state.uuid, err);
}

/* ---- the log -------------------------------------------------------------------------- */

static int keep_record(struct repair *r, const struct wal_record *record, struct kevo_err *err) {
    if (!mem_grow((void **)&r->records, &r->record_cap, r->record_count + 1, sizeof *r->records))
        return kevo_nomem(err);
    r->records[r->record_count++] =
        (struct kept_record){record->type, record->commit, record->payload};
    r->report->records_salvaged++;
    r->report->bytes_salvaged += record->payload.len;
    return 0;
}

/* The batches above `keep` never were: not those before an earlier void record either, which
 * itself stays, since ids are used up. */
static void drop_records(struct repair *r, uint64_t keep) {
    size_t first = r->record_count;
    while (first > 0 && r->records[first - 1].commit.batch > keep)
        first--;
    size_t kept = first;
    for (size_t i = first; i < r->record_count; i++) {
        if (r->records[i].type == WAL_VOID) {
            r->records[kept++] = r->records[i];
        } else {
            r->report->records_salvaged--;
            r->report->bytes_salvaged -= r->records[i].payload.len;
        }
    }
    r->record_count = kept;
}

/* Whether a batch's payload makes sense: recovery will not take less. */
static int check_payload(struct repair *r, const struct wal_record *record, const char *path,
                         struct kevo_err *err) {
    struct kevo_err cause;
    struct kevo_commit keep;
    if (record->type == WAL_VOID) return wal_decode_void(record->payload, &keep) ? 0 : KEVO_CORRUPT;
    if (record->type == WAL_TABLES) {
        struct version_edit e;
        int rc = edit_decode(record->payload, &r->home, path, record->offset, &e, &cause);
        edit_release(&e);
        return rc == KEVO_NOMEM ? kevo_nomem(err) : rc;
    }
    struct memtable *m = memtable_new(0, 4096);
    if (!m) return kevo_nomem(err);
    int rc = batch_insert(record->payload, m, record->commit.batch, path, &cause);
    memtable_unref(m);
    return rc == KEVO_NOMEM ? kevo_nomem(err) : rc;
}

/* Whether a record can have this id: they ascend over all segments, one that was put there from
 * elsewhere included, and end where a store could not go on. */
static bool is_possible(const struct repair *r, uint64_t batch) {
    return batch > r->last_taken && batch < SEQ_PRIVATE - 2 * (uint64_t)ID_GAP;
}

static int take_record(struct repair *r, const struct wal_record *record, const char *path,
                       struct kevo_err *err) {
    struct kevo_commit keep;
    int rc =
        is_possible(r, record->commit.batch) ? check_payload(r, record, path, err) : KEVO_CORRUPT;
    if (rc == KEVO_NOMEM) return rc;
    if (rc) {
        note(r, "%.400s: the record at offset %llu makes no sense", path,
             (unsigned long long)record->offset);
        r->report->log_gaps++;
        r->report->bytes_lost += record->payload.len;
        r->ids_lost = true;
        return 0;
    }
    r->last_taken = record->commit.batch;
    if (record->commit.batch > r->last_id) r->last_id = record->commit.batch;
    if (record->type == WAL_VOID) {
        wal_decode_void(record->payload, &keep);
        drop_records(r, keep.batch);
    }
    return keep_record(r, record, err);
}

static void note_gap(struct repair *r, const struct wal_reader *reader, uint64_t offset,
                     uint64_t bytes, const char *what) {
    note(r, "%.400s: %s at offset %llu, %llu bytes", reader->path, what, (unsigned long long)offset,
         (unsigned long long)bytes);
    r->report->log_gaps++;
    r->report->bytes_lost += bytes;
    r->ids_lost = true;
}

/* All records of a segment. *last: what it should begin behind, and what it ends with. */
static int take_segment(struct repair *r, struct wal_reader *reader, struct wal_link *last,
                        bool is_first, struct kevo_err *err) {
    struct wal_record record;
    if (!is_first && reader->before.checksum != last->checksum)
        note_gap(r, reader, 0, 0, "records before this segment are missing, found");
    if (reader->before.batch > r->last_id && is_possible(r, reader->before.batch))
        r->last_id = reader->before.batch;
    for (;;) {
        uint64_t at = reader->at;
        bool follows;
        if (wal_reader_salvage(reader, &record, &follows)) break;
        if (!follows)
            note_gap(r, reader, at, record.offset - at, "one or more records are missing");
        int rc = take_record(r, &record, reader->path, err);
        if (rc) return rc;
    }
    *last = reader->last;
    return 0;
}

static int open_segment(struct repair *r, uint64_t number, struct wal_reader **reader,
                        struct kevo_err *err) {
    struct kevo_err cause;
    if (!mem_grow((void **)&r->readers, &r->reader_cap, r->reader_count + 1, sizeof(void *)))
        return kevo_nomem(err);
    int rc = wal_reader_open_damaged(r->env, r->dir, number, r->state.uuid, reader, &cause);
    if (rc == 0) {
        r->readers[r->reader_count++] = *reader;
        if ((*reader)->file.unreadable)
            note(r, "%.400s: %llu bytes cannot be read", (*reader)->path,
                 (unsigned long long)(*reader)->file.unreadable);
        return 0;
    }
    if (is_fatal(rc)) return kevo_fail(err, rc, "%s", cause.msg);
    note(r, "%.400s: this log segment is lost", rc > 0 ? "a file that has vanished" : cause.msg);
    r->report->segments_lost++;
    r->ids_lost = true;
    return 0;
}

static int read_log(struct repair *r, struct kevo_err *err) {
    struct wal_link last = {0, 0};
    uint64_t expected = is_good(r) ? r->state.wal_floor : 0;
    bool is_first = true;
    for (size_t i = 0; i < r->segments.count; i++) {
        struct wal_reader *reader = NULL;
        uint64_t number = r->segments.at[i];
        if (number < expected && is_first && is_good(r)) continue; /* all of it is in tables */
        if (expected && number > expected) {
            note(r, "%s: log segments %llu to %llu are missing", r->dir,
                 (unsigned long long)expected, (unsigned long long)number - 1);
            r->report->segments_lost += number - expected;
            r->ids_lost = true;
        }
        int rc = open_segment(r, number, &reader, err);
        if (rc == 0 && reader) rc = take_segment(r, reader, &last, is_first, err);
        if (rc) return rc;
        is_first = is_first && !reader;
        expected = number + 1;
    }
    if (is_good(r) && is_first && r->state.wal_floor > 1) {
        note(r, "%s: the log is missing", r->dir);
        r->ids_lost = true;
    }
    return 0;
}

/* ---- the tables ---------------------------------------------------------------------------- */

/* Tables that the log names count as if the manifest named them. */
static int take_ingested(struct repair *r, struct kevo_err *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->record_count; i++) {
        struct version_edit e;
        const struct kept_record *k = &r->records[i];
        if (k->type != WAL_TABLES || (is_good(r) && k->commit.batch <= r->state.ingested)) continue;
        rc = edit_decode(k->payload, &r->home, r->dir, 0, &e, err);
        for (size_t f = 0; rc == 0 && f < e.added_count; f++)
            rc = edit_add_file(&r->ingested, 0, e.added[f].file, err);
        edit_release(&e);
        if (k->commit.batch > r->state.ingested) r->state.ingested = k->commit.batch;
    }
    return rc;
}

static bool is_cancelled(void *arg) {
    const struct kevo_repair_report *report = ((const struct repair *)arg)->report;
    return report->cancelled && report->cancelled(report->cancelled_arg);
}

static int salvage_table(struct repair *r, uint64_t number, const struct table_claim *claim,
                         uint64_t base_seq, struct kevo_err *err) {
    char name[TABLE_NAME_BYTES], path[ENV_PATH_MAX];
    struct table_salvage *s;
    struct kevo_repair_report *report = r->report;
    if (is_cancelled(r)) return kevo_fail(err, KEVO_CANCELLED, "cancelled");
    table_file_name(name, number);
    int rc = env_join(path, r->dir, name, err);
    if (rc) return rc;
    if (!mem_grow((void **)&r->found, &r->found_cap, r->found_count + 1, sizeof(void *)))
        return kevo_nomem(err);
    rc = table_salvage_open(r->env, path, number, claim, base_seq, pass_note, report, &s, err);
    if (rc) return rc;
    r->found[r->found_count++] = s;
    report->blocks_lost += s->blocks_lost;
    report->bytes_lost += s->bytes_lost;
    report->bytes_salvaged += s->data_bytes;
    report->entries_salvaged += s->entry_count;
    if (s->block_count == 0 && !s->ranges) {
        note(r, "%.400s: nothing of this table can be read", path);
        report->tables_lost++;
    } else {
        report->tables_used++;
    }
    return 0;
}

static int salvage_file(struct repair *r, const struct table_file *f, struct kevo_err *err) {
    struct table_claim claim = {
        f->checksum,           f->base_seq, f->min_seq, f->max_seq, buf_slice(&f->min_key),
        buf_slice(&f->max_key)};
    if (has_number(&r->tables, f->number)) return salvage_table(r, f->number, &claim, 0, err);
    note(r, "%s: table %llu is missing, with %llu entries", r->dir, (unsigned long long)f->number,
         (unsigned long long)f->entry_count);
    r->report->tables_lost++;
    return 0;
}

static int salvage_named(struct repair *r, struct kevo_err *err) {
    int rc = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++) {
        const struct level *level = &r->state.version->levels[l];
        for (size_t i = 0; rc == 0 && i < level->count; i++)
            rc = salvage_file(r, level->files[i], err);
    }
    for (size_t i = 0; rc == 0 && i < r->ingested.added_count; i++)
        rc = salvage_file(r, r->ingested.added[i].file, err);
    return rc;
}

static bool is_ingested(const struct repair *r, uint64_t number) {
    for (size_t i = 0; i < r->ingested.added_count; i++)
        if (r->ingested.added[i].file->number == number) return true;
    return false;
}

/* Every table that is there. One that was ingested and whose batch the log does not tell any
 * more has entries without age: they are taken for the oldest of all. */
static int salvage_all(struct repair *r, struct kevo_err *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->ingested.added_count; i++)
        rc = salvage_file(r, r->ingested.added[i].file, err);
    for (size_t i = 0; rc == 0 && i < r->tables.count; i++) {
        if (is_ingested(r, r->tables.at[i])) continue;
        rc = salvage_table(r, r->tables.at[i], NULL, 0, err);
        struct table_salvage *s = rc ? NULL : r->found[r->found_count - 1];
        if (!s || s->max_seq || s->block_count == 0) continue;
        s->base_seq = s->max_seq = 1;
        note(r, "%s: was ingested, nobody knows when: what others say of its keys goes first",
             s->path);
    }
    return rc;
}

static int read_tables(struct repair *r, struct kevo_err *err) {
    int rc = take_ingested(r, err);
    if (rc == 0) rc = is_good(r) ? salvage_named(r, err) : salvage_all(r, err);
    r->report->tables_ignored =
        r->tables.count > r->found_count ? r->tables.count - r->found_count : 0;
    return rc;
}

/* ---- what is flushed ---------------------------------------------------------------------- */

/* Without a manifest: the newest batch in tables. */
static void find_flushed(struct repair *r) {
    struct kevo_commit *f = &r->state.flushed;
    *f = (struct kevo_commit){0, 0};
    for (size_t i = 0; i < r->found_count; i++) {
        if (r->found[i]->max_seq > f->batch) f->batch = r->found[i]->max_seq;
        const struct range_set *set = r->found[i]->ranges;
        if (set && set->max_seq > f->batch) f->batch = set->max_seq;
    }
    for (size_t i = 0; i < r->record_count; i++)
        if (r->records[i].type != WAL_VOID && r->records[i].commit.batch == f->batch)
            *f = r->records[i].commit;
    if (f->batch > r->state.ingested) r->state.ingested = f->batch;
}

/* Batches up to the flushed one go with the tables. */
static int flatten_log(struct repair *r, struct kevo_err *err) {
    size_t kept = 0;
    r->flat = memtable_new(0, 4096);
    if (!r->flat) return kevo_nomem(err);
    for (size_t i = 0; i < r->record_count; i++) {
        struct kept_record *k = &r->records[i];
        if (k->commit.batch > r->state.flushed.batch) {
            r->records[kept++] = *k;
        } else if (k->type == WAL_BATCH && !is_good(r)) {
            int rc = batch_insert(k->payload, r->flat, k->commit.batch, r->dir, err);
            if (rc) return rc;
        }
    }
    r->record_count = kept;
    return 0;
}

/* ---- merging ---------------------------------------------------------------------------------- */

/* What of the sources counts: no version twice, none that a range tombstone hides. */
struct sieve {
    struct iter base;
    struct iter *merged;
    const struct range_set *ranges; /* NULL: none */
    struct buf key;                 /* of the entry shown last */
    uint64_t seq;
    bool any;
};

static bool is_wanted(const struct sieve *f) {
    const struct iter *e = f->merged;
    if (f->any && e->seq == f->seq && slice_eq(e->key, buf_slice(&f->key))) return false;
    return !f->ranges || range_set_cover(f->ranges, e->key, SEQ_PRIVATE) <= e->seq;
}

static int sift(struct sieve *f, int rc, struct kevo_err *err) {
    f->base.valid = false;
    while (rc == 0 && f->merged->valid && !is_wanted(f))
        rc = f->merged->ops->next(f->merged, err);
    if (rc || !f->merged->valid) return rc;
    if (!buf_set(&f->key, f->merged->key)) return kevo_nomem(err);
    f->seq = f->merged->seq;
    f->any = true;
    iter_show(&f->base, f->merged);
    return 0;
}

static int sieve_first(struct iter *base, struct kevo_err *err) {
    struct sieve *f = (struct sieve *)base;
    f->any = false;
    return sift(f, f->merged->ops->seek_first(f->merged, err), err);
}

static int sieve_next(struct iter *base, struct kevo_err *err) {
    struct sieve *f = (struct sieve *)base;
    return sift(f, f->merged->ops->next(f->merged, err), err);
}

static const struct iter_ops sieve_ops = {.seek_first = sieve_first, .next = sieve_next};

static int open_sources(struct repair *r, struct iter **merged, struct kevo_err *err) {
    size_t opened = 0;
    struct iter **list = mem_array(r->found_count + 1, sizeof *list);
    int rc = list ? 0 : kevo_nomem(err);
    for (size_t i = 0; rc == 0 && i < r->found_count; i++) {
        rc = table_salvage_iter_new(r->found[i], &list[opened], err);
        opened += rc == 0;
    }
    if (rc == 0) {
        rc = memtable_iter_new(r->flat, &list[opened], err);
        opened += rc == 0;
    }
    if (rc == 0) rc = merge_iter_new(list, opened, merged, err);
    for (size_t i = 0; rc && i < opened; i++)
        iter_close(list[i]);
    mem_free(list);
    return rc;
}

static int merge_ranges(struct repair *r, struct range_set **set, struct kevo_err *err) {
    struct range_list list = {0};
    int rc = 0;
    *set = NULL;
    for (size_t i = 0; rc == 0 && i < r->found_count; i++)
        rc = range_list_add_set(&list, r->found[i]->ranges, slice_of(NULL, 0), slice_of(NULL, 0),
                                err);
    if (rc == 0) rc = range_stack_list(&r->flat->ranges, &list, err);
    if (rc == 0) rc = range_set_new(&list, true, set, err);
    range_list_release(&list);
    return rc;
}

static bool is_bottom(void *arg, slice key) {
    (void)arg;
    (void)key;
    return true;
}

static uint64_t next_number(void *arg) {
    return ((struct repair *)arg)->next_file++;
}

static int build(struct repair *r, struct version_edit *edit, struct kevo_err *err) {
    const struct kevo_options *o = r->options;
    static const uint64_t newest_only[] = {SEQ_PRIVATE};
    struct build b = {
        .home = &r->new_home,
        .table = {.block_bytes = o->block_bytes,
                  .restart_interval = 16,
                  .compression = o->compression,
                  .filter_bits_per_key = o->filter_bits_per_key,
                  .file_mode = o->file_mode},
        .table_bytes = o->table_bytes,
        .level = KEVO_MAX_LEVELS - 1,
        .snapshots = newest_only,
        .snapshot_count = 1,
        .is_bottom = is_bottom,
        .next_file_number = next_number,
        .cancelled = is_cancelled,
        .arg = r,
    };
    struct sieve sieve = {.base.ops = &sieve_ops};
    struct range_set *ranges;
    int rc = merge_ranges(r, &ranges, err);
    if (rc == 0) rc = open_sources(r, &sieve.merged, err);
    sieve.ranges = ranges;
    if (rc == 0) rc = build_tables(&b, &sieve.base, edit, err);
    iter_close(sieve.merged);
    range_set_free(ranges);
    buf_release(&sieve.key);
    return rc;
}

/* ---- the new store -------------------------------------------------------------------------- */

static int append(struct wal_writer *w, enum wal_type type, struct kevo_commit commit,
                  slice payload, struct wal_run *run, struct kevo_err *err) {
    wal_run_reset(run, w);
    int rc = wal_begin_record(run, err);
    if (rc) return rc;
    if (!buf_append(&run->bytes, payload.data, payload.len)) return kevo_nomem(err);
    rc = wal_end_record(run, w, type, commit, err);
    return rc ? rc : wal_append_run(w, run, err);
}

/* A void record keeps ids from being given out again. It names the batch before it in the
 * new log: the one that it named may be lost. */
static int append_void(struct wal_writer *w, struct kevo_commit id, struct kevo_commit keep,
                       struct wal_run *run, struct kevo_err *err) {
    uint8_t payload[WAL_VOID_BYTES];
    wal_encode_void(payload, keep);
    return append(w, WAL_VOID, (struct kevo_commit){id.batch, 0}, slice_of(payload, sizeof payload),
                  run, err);
}

/* Behind all that was found: no id is given out again, and no table is newer than the newest
 * batch. It would be if it was ingested and the log has lost the record; then a batch without
 * changes makes it seen. */
static int append_last(struct repair *r, struct wal_writer *w, struct kevo_commit *newest,
                       struct wal_run *run, struct kevo_err *err) {
    uint64_t highest = r->last_id > w->last.batch ? r->last_id : w->last.batch;
    if (highest < r->state.ingested) highest = r->state.ingested;
    bool unseen = newest->batch < r->state.ingested;
    if (!unseen && !r->ids_lost && highest == w->last.batch) return 0;
    if (highest >= SEQ_PRIVATE - ID_GAP)
        return kevo_fail(err, KEVO_CORRUPT, "%s: batch id %llu leaves none for more", r->dir,
                         (unsigned long long)highest);
    struct kevo_commit last = {highest + ID_GAP, 0};
    if (unseen) {
        last.nonce = last.batch; /* a batch has one, and nobody else knows of this batch */
        *newest = last;
        return append(w, WAL_BATCH, last, slice_of(NULL, 0), run, err);
    }
    return append_void(w, last, *newest, run, err);
}

static int append_all(struct repair *r, struct wal_writer *w, struct kevo_commit *newest,
                      struct kevo_err *err) {
    struct wal_run run = {.begin = 0};
    int rc = 0;
    *newest = r->state.flushed;
    for (size_t i = 0; rc == 0 && i < r->record_count; i++) {
        const struct kept_record *k = &r->records[i];
        if (k->type == WAL_VOID) {
            rc = append_void(w, k->commit, *newest, &run, err);
        } else {
            rc = append(w, k->type, k->commit, k->payload, &run, err);
            *newest = k->commit;
        }
    }
    if (rc == 0) rc = append_last(r, w, newest, &run, err);
    buf_release(&run.bytes);
    return rc;
}

static int write_log(struct repair *r, struct kevo_err *err) {
    struct wal_writer *w;
    struct wal_link before = {r->state.flushed.batch, 0};
    int rc = wal_create(r->env, r->new_home.dir, 1, 0, r->state.uuid, before, r->options->file_mode,
                        &w, err);
    if (rc) return rc;
    rc = append_all(r, w, &r->report->last_commit, err);
    if (rc == 0) rc = wal_sync(w, err);
    wal_close(w);
    return rc;
}

static int write_manifest(struct repair *r, struct version_edit *edit, struct kevo_err *err) {
    struct manifest_state state = r->state;
    struct manifest *m;
    struct version *empty = version_new();
    int rc = empty ? version_apply(empty, edit, &state.version, err) : kevo_nomem(err);
    version_unref(empty);
    if (rc) return rc;
    state.next_file = r->next_file;
    state.wal_floor = 1;
    /* What the log does not have any more is not to be promised. */
    if (state.committed.batch > r->report->last_commit.batch || !is_good(r))
        state.committed = state.flushed;
    rc = r->env->sync_dir(r->env, r->new_home.dir, err);
    if (rc == 0) rc = manifest_create(&r->new_home, &state, r->options->file_mode, &m, err);
    if (rc == 0) manifest_close(m);
    version_unref(state.version);
    return rc;
}

static int write_store(struct repair *r, struct kevo_err *err) {
    struct version_edit edit;
    edit_init(&edit);
    r->next_file = 1;
    int rc = build(r, &edit, err);
    if (rc == 0) rc = write_log(r, err);
    if (rc == 0) rc = write_manifest(r, &edit, err);
    edit_release(&edit);
    return rc;
}

static int make_store(struct repair *r, struct kevo_err *err) {
    struct dir_build build;
    int rc = dir_build_begin(&build, r->env, r->new_home.dir, r->options->file_mode, err);
    if (rc == 0) rc = write_store(r, err);
    return dir_build_end(&build, rc);
}

/* ---- all of it --------------------------------------------------------------------------------- */

static int salvage(struct repair *r, struct kevo_err *err) {
    int rc = look(r, err);
    if (rc == 0) rc = read_manifest(r, err);
    if (rc == 0 && !is_good(r) && r->tables.count == 0 && r->segments.count == 0)
        rc = kevo_fail(err, KEVO_CANTOPEN, "%s: there is nothing of a kevo store", r->dir);
    if (rc == 0) rc = find_identity(r, err);
    if (rc == 0) rc = read_log(r, err);
    if (rc == 0) rc = read_tables(r, err);
    if (rc == 0 && !is_good(r)) find_flushed(r);
    if (rc == 0) rc = flatten_log(r, err);
    return rc ? rc : make_store(r, err);
}

static void release(struct repair *r) {
    memtable_unref(r->flat);
    for (size_t i = 0; i < r->found_count; i++)
        table_salvage_close(r->found[i]);
    for (size_t i = 0; i < r->reader_count; i++)
        wal_reader_close(r->readers[i]);
    edit_release(&r->ingested);
    manifest_state_release(&r->state);
    mem_free(r->found);
    mem_free(r->readers);
    mem_free(r->records);
    mem_free(r->tables.at);
    mem_free(r->segments.at);
}

/* Nobody may write to the store meanwhile. Without its lock file nobody can. */
static int lock_damaged(struct repair *r, struct env_file **lock, struct kevo_err *err) {
    char path[ENV_PATH_MAX];
    struct env_stat st;
    *lock = NULL;
    int rc = env_join(path, r->dir, "LOCK", err);
    if (rc == 0) rc = r->env->stat(r->env, path, &st, err);
    if (rc) return rc == KEVO_NOTFOUND ? 0 : rc;
    return dir_lock_shared(r->env, r->dir, lock, err);
}

int kevo_repair(const char *dir, const char *newdir, const struct kevo_options *o,
                struct kevo_repair_report *report, struct kevo_err *err) {
    struct kevo_options standard;
    struct kevo_repair_report nobody = {.note = NULL};
    struct env_file *lock;
    if (!report) report = &nobody;
    *report = (struct kevo_repair_report){.note = report->note,
                                          .note_arg = report->note_arg,
                                          .cancelled = report->cancelled,
                                          .cancelled_arg = report->cancelled_arg};
    kevo_options_default(&standard);
    if (!o) o = &standard;
    int rc = options_check(o, err);
    if (rc) return rc;
    struct env *env = o->env ? o->env : env_posix();
    struct repair r = {.env = env,
                       .dir = dir,
                       .options = o,
                       .report = report,
                       .home = {.env = env, .dir = dir},
                       .new_home = {.env = env, .dir = newdir}};
    edit_init(&r.ingested);
    rc = lock_damaged(&r, &lock, err);
    if (rc == 0) rc = salvage(&r, err);
    release(&r);
    env->close(env, lock);
    return rc;
}
