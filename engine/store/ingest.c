/* Sorted input that becomes tables at once, without passing the log and a memtable.
 *
 * The tables are written while nobody knows of them, with sequence number 0. To finish is to
 * give them a batch id: a record in the log names them, and is synced: that is the commit. An
 * edit of the manifest adds them then, and says up to which batch such records are done, so
 * that recovery neither misses nor doubles them. Until the edit the record is the truth: the
 * tables of records above that mark are recovered from the log. So the edit may come late.
 *
 * Two rules of the store have to hold for tables that arrive from the side. A memtable is
 * newer than all tables, key by key: memtables that hold keys in the ingested range are
 * flushed first. What lies deeper is older: a table is put into the deepest level such that
 * neither that level nor one above has a file that overlaps it.
 *
 * A transaction that has outgrown its memory commits in the same way (ingest_prepare()), but what
 * it has may still be decided elsewhere. Its tables are shown to readers when it is prepared, and
 * hidden from all that do not know of the commit by their sequence numbers alone. The manifest
 * gets them when they are committed and the authority's commit is durable; until then they lie
 * over its version like those that recovery found in the log (`recovered`). Nothing is
 * compacted meanwhile, so that they can be taken out again when the batch never was. */
#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/store/runs.h"
#include "engine/store/txn.h"
#include "engine/store/work.h"

struct kevo_ingest {
    kevo_store *store;
    struct version_edit edit;    /* the tables that are finished */
    struct table_writer *writer; /* NULL: no table is open */
    uint64_t number;             /* of the open table */
    char path[ENV_PATH_MAX];     /* of the open table */
    struct buf last_key;
    uint64_t puts, user_bytes;
    struct kevo_err failed; /* rc 0: none; else nothing more can be done */
    bool finished;          /* or may be: the files are not to be touched any more */
};

/* ---- where tables go ----------------------------------------------------------------- */

static bool overlaps(const struct table_file *f, slice min, slice max) {
    return slice_cmp(buf_slice(&f->min_key), max) <= 0 &&
           slice_cmp(buf_slice(&f->max_key), min) >= 0;
}

static bool level_has(const struct version *v, unsigned level, slice min, slice max) {
    const struct level *l = &v->levels[level];
    if (level > 0) {
        size_t i = level_find(l, min);
        return i < l->count && overlaps(l->files[i], min, max);
    }
    for (size_t i = 0; i < l->count; i++)
        if (overlaps(l->files[i], min, max)) return true;
    return false;
}

/* The output of the running compaction may reach over gaps between its inputs. Needs
 * manifest_mutex. */
static bool is_claimed(const kevo_store *s, unsigned level, slice min, slice max) {
    return s->merging.output_level == level && slice_cmp(s->merging.lower, max) <= 0 &&
           slice_cmp(s->merging.upper, min) >= 0;
}

/* The deepest level that the file fits into. Needs manifest_mutex. */
static unsigned fitting_level(const kevo_store *s, const struct version *v,
                              const struct table_file *f) {
    slice min = buf_slice(&f->min_key), max = buf_slice(&f->max_key);
    unsigned deepest = 0;
    if (level_has(v, 0, min, max)) return 0;
    for (unsigned level = 1; level < KEVO_MAX_LEVELS && !level_has(v, level, min, max); level++) {
        if (!is_claimed(s, level, min, max)) deepest = level;
    }
    return deepest;
}

/* A file lies above those of the same batch that are older and overlap it, if there is a level
 * for it; in level 0 they may lie together. Needs manifest_mutex. */
static unsigned level_above(const kevo_store *s, const struct version_edit *e, size_t n,
                            unsigned level) {
    slice min = buf_slice(&e->added[n].file->min_key), max = buf_slice(&e->added[n].file->max_key);
    for (size_t i = 0; i < n && level > 0; i++) {
        if (level >= e->added[i].level && overlaps(e->added[i].file, min, max))
            level = e->added[i].level ? e->added[i].level - 1 : 0;
    }
    while (level > 0 && is_claimed(s, level, min, max))
        level--;
    return level;
}

/* The older tables come first. */
static void choose_levels(const kevo_store *s, const struct version *v, struct version_edit *e) {
    slice highest = {NULL, 0};
    for (size_t i = 0; i < e->added_count; i++) {
        const struct table_file *f = e->added[i].file;
        unsigned level = fitting_level(s, v, f);
        bool behind = !highest.data || slice_cmp(buf_slice(&f->min_key), highest) > 0;
        if (!behind) level = level_above(s, e, i, level);
        if (behind || slice_cmp(buf_slice(&f->max_key), highest) > 0)
            highest = buf_slice(&f->max_key);
        e->added[i].level = level;
    }
}

/* ---- recovery ------------------------------------------------------------------------- */

/* Its sequence numbers are new ones up to the batch's own. */
static bool makes_sense(const struct version_edit *e, uint64_t before, uint64_t batch) {
    if (e->added_count == 0 || e->deleted_count || e->has_next_file || e->has_wal_floor ||
        e->has_flushed || e->has_committed || e->has_ingested || e->has_options || e->has_owner)
        return false;
    for (size_t i = 0; i < e->added_count; i++) {
        const struct table_file *f = e->added[i].file;
        if (f->min_seq <= before || f->max_seq > batch || e->added[i].level) return false;
    }
    return true;
}

static void note_numbers(kevo_store *s, const struct version_edit *e) {
    for (size_t i = 0; i < e->added_count; i++) {
        uint64_t number = e->added[i].file->number;
        if (number >= atomic_load(&s->next_file)) atomic_store(&s->next_file, number + 1);
    }
}

int ingest_replay(kevo_store *s, const struct wal_record *record, const char *path,
                  struct kevo_err *err) {
    struct recovered_tables r = {.commit = record->commit};
    if (record->commit.batch == s->state.ingested) s->ingested_at_open = record->commit;
    if (record->commit.batch <= s->state.ingested) return 0;
    int rc = edit_decode(record->payload, &s->home, path, record->offset, &r.edit, err);
    if (rc) return rc;
    if (!makes_sense(&r.edit, s->last_id, record->commit.batch))
        rc = kevo_fail(err, KEVO_CORRUPT, "%s: the record at offset %llu makes no sense", path,
                       (unsigned long long)record->offset);
    else if (!mem_grow((void **)&s->recovered, &s->recovered_cap, s->recovered_count + 1,
                       sizeof *s->recovered))
        rc = kevo_nomem(err);
    if (rc) {
        edit_release(&r.edit);
        return rc;
    }
    note_numbers(s, &r.edit);
    s->recovered[s->recovered_count++] = r;
    return 0;
}

void ingest_void(kevo_store *s, uint64_t keep, bool remove) {
    while (s->recovered_count && s->recovered[s->recovered_count - 1].commit.batch > keep) {
        struct recovered_tables *r = &s->recovered[--s->recovered_count];
        for (size_t i = 0; remove && !r->keep_files && i < r->edit.added_count; i++)
            atomic_store(&r->edit.added[i].file->obsolete, true);
        edit_release(&r->edit);
    }
}

/* Say where an error was found. */
static int locate(const kevo_store *s, struct kevo_commit c, int rc, struct kevo_err *err) {
    if (rc != KEVO_CORRUPT || !err) return rc;
    struct kevo_err inner = *err;
    return kevo_fail(err, rc, "%s: tables that the log names for batch %llu: %.200s", s->dir,
                     (unsigned long long)c.batch, inner.msg);
}

int ingest_version(kevo_store *s, struct version **v, struct kevo_err *err) {
    *v = s->state.version;
    version_ref(*v);
    for (size_t i = 0; i < s->recovered_count; i++) {
        struct version *next;
        choose_levels(s, *v, &s->recovered[i].edit);
        int rc = version_apply(*v, &s->recovered[i].edit, &next, err);
        version_unref(*v);
        *v = next;
        if (rc) return locate(s, s->recovered[i].commit, rc, err);
    }
    return 0;
}

/* Let readers see a version with the memtables there are. Needs write_mutex. */
static void show(kevo_store *s, struct superversion *sv, struct version *v) {
    pthread_mutex_lock(&s->mutex);
    struct superversion *old = s->current;
    superversion_init(sv, old->active, old->immutable, old->immutable_count, v);
    superversion_install(s, sv);
    s->overlaid = s->recovered_count > 0;
    work_schedule(s);
    pthread_mutex_unlock(&s->mutex);
    superversion_release(old);
}

int ingest_show(kevo_store *s, struct kevo_err *err) {
    struct version *v;
    struct superversion *sv = superversion_alloc();
    pthread_mutex_lock(&s->manifest_mutex);
    int rc = sv ? ingest_version(s, &v, err) : kevo_nomem(err);
    if (rc == 0) show(s, sv, v);
    pthread_mutex_unlock(&s->manifest_mutex);
    if (rc)
        mem_free(sv);
    else
        version_unref(v);
    return rc;
}

/* One recovered batch into the manifest. */
static int adopt(kevo_store *s, struct recovered_tables *r, struct kevo_err *err) {
    choose_levels(s, s->state.version, &r->edit);
    r->edit.has_next_file = r->edit.has_ingested = true;
    r->edit.next_file = atomic_load(&s->next_file);
    r->edit.ingested = r->commit.batch;
    return manifest_append(s->manifest, &r->edit, &s->state, err);
}

/* The manifest may have the edit or not, the log has the record: only another opening can
 * tell. */
static void refuse_writes(kevo_store *s, const struct kevo_err *cause) {
    pthread_mutex_lock(&s->mutex);
    if (!s->fatal.rc) s->fatal = *cause;
    pthread_cond_broadcast(&s->done_cond); /* nobody waits for what is not done any more */
    pthread_mutex_unlock(&s->mutex);
}

static void note_adopted(kevo_store *s, struct recovered_tables *r) {
    pthread_mutex_lock(&s->mutex);
    drop_look_at(s, &r->edit);
    pthread_mutex_unlock(&s->mutex);
    edit_release(&r->edit);
}

/* Readers get the new version in the same moment: what chooses tables to compact must not find
 * them shown in other levels than the manifest has them in. */
int ingest_adopt(kevo_store *s, struct kevo_err *err) {
    struct kevo_err cause;
    int rc = 0;
    size_t done = 0;
    if (s->recovered_count == 0) return 0;
    struct superversion *sv = superversion_alloc();
    if (!sv) return kevo_nomem(err);
    pthread_mutex_lock(&s->manifest_mutex);
    for (; rc == 0 && done < s->recovered_count; done += rc == 0)
        rc = adopt(s, &s->recovered[done], &cause);
    for (size_t i = 0; i < done; i++)
        note_adopted(s, &s->recovered[i]);
    s->recovered_count -= done;
    memmove(s->recovered, s->recovered + done, s->recovered_count * sizeof *s->recovered);
    if (rc == 0) show(s, sv, s->state.version);
    pthread_mutex_unlock(&s->manifest_mutex);
    if (rc == 0) return 0;
    mem_free(sv);
    if (rc == KEVO_READONLY) refuse_writes(s, &cause);
    if (err) *err = cause;
    return rc;
}

void ingest_settle(kevo_store *s) {
    struct kevo_err ignored; /* the next writer tries again */
    pthread_mutex_lock(&s->write_mutex);
    if (store_pending(s) == 0) ingest_adopt(s, &ignored);
    pthread_mutex_unlock(&s->write_mutex);
}

void ingest_keep_files(kevo_store *s) {
    if (s->recovered_count) s->recovered[s->recovered_count - 1].keep_files = true;
}

/* When a batch of tables was pending it was the only one that the manifest lacked. */
void ingest_cut(kevo_store *s, uint64_t keep, bool remove) {
    if (s->recovered_count == 0 || s->recovered[s->recovered_count - 1].commit.batch <= keep)
        return;
    pthread_mutex_lock(&s->manifest_mutex);
    ingest_void(s, keep, remove);
    show(s, s->spare, s->state.version);
    pthread_mutex_unlock(&s->manifest_mutex);
    s->spare = NULL;
}

/* ---- writing --------------------------------------------------------------------------- */

static int check_may_ingest(kevo_store *s, struct kevo_err *err) {
    int rc = store_check_process(s, err);
    if (rc) return rc;
    if (s->options.authority != KEVO_AUTHORITY_SELF)
        return kevo_fail(err, KEVO_INVALID, "%s: the commits of this store are decided elsewhere",
                         s->dir);
    pthread_mutex_lock(&s->mutex);
    rc = work_check(s, err);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

int kevo_ingest_new(kevo_store *store, kevo_ingest **ingest, struct kevo_err *err) {
    *ingest = NULL;
    int rc = check_may_ingest(store, err);
    /* No sweep comes after this one while the store is open. */
    if (rc == 0) rc = work_sweep(store, err);
    if (rc) return rc;
    kevo_ingest *g = mem_zalloc(sizeof *g);
    if (!g) return kevo_nomem(err);
    g->store = store;
    *ingest = g;
    return 0;
}

static int open_table(kevo_ingest *g, struct kevo_err *err) {
    kevo_store *s = g->store;
    char name[TABLE_NAME_BYTES];
    struct table_writer_options o = work_writer_options(s, 1);
    g->number = store_next_file(s);
    table_file_name(name, g->number);
    int rc = env_join(g->path, s->dir, name, err);
    return rc ? rc : table_writer_open(s->env, g->path, g->number, &o, &g->writer, err);
}

static void remove_open_table(const kevo_ingest *g) {
    g->store->env->unlink(g->store->env, g->path, NULL);
}

static int close_table(kevo_ingest *g, struct kevo_err *err) {
    struct table_summary sum;
    struct table_file *f = NULL;
    int rc = table_writer_finish(g->writer, &sum, err);
    g->writer = NULL;
    if (rc == 0) {
        f = table_file_new(&g->store->home, g->number, sum.file_bytes, sum.checksum,
                           &sum.properties, buf_slice(&sum.min_key), buf_slice(&sum.max_key));
        rc = f ? edit_add_file(&g->edit, 0, f, err) : kevo_nomem(err);
    }
    if (rc) remove_open_table(g);
    table_file_unref(f);
    buf_release(&sum.min_key);
    buf_release(&sum.max_key);
    return rc;
}

static int put(kevo_ingest *g, slice key, slice value, struct kevo_err *err) {
    int rc = 0;
    if (g->writer && table_writer_bytes(g->writer) >= g->store->options.table_bytes)
        rc = close_table(g, err);
    if (rc == 0 && !g->writer) rc = open_table(g, err);
    if (rc == 0) rc = table_writer_add(g->writer, key, 0, ENTRY_PUT, value, err);
    if (rc == 0 && !buf_set(&g->last_key, key)) rc = kevo_nomem(err);
    return rc;
}

static int check_usable(const kevo_ingest *g, struct kevo_err *err) {
    if (g->failed.rc)
        return kevo_fail(err, g->failed.rc, "nothing is ingested after: %s", g->failed.msg);
    if (g->finished) return kevo_fail(err, KEVO_INVALID, "this ingestion was finished before");
    return store_check_process(g->store, err);
}

/* After a failure nobody knows what the open table holds. */
static int fail(kevo_ingest *g, const struct kevo_err *cause, struct kevo_err *err) {
    g->failed = *cause;
    if (err) *err = *cause;
    return cause->rc;
}

int kevo_ingest_put(kevo_ingest *ingest, slice key, slice value, struct kevo_err *err) {
    struct kevo_err cause;
    int rc = check_usable(ingest, err);
    if (rc == 0) rc = txn_check_sizes(key, value, err);
    if (rc) return rc;
    if (ingest->puts && slice_cmp(key, buf_slice(&ingest->last_key)) <= 0)
        return kevo_fail(err, KEVO_INVALID,
                         "key %llu of those to be ingested is not above the one before it",
                         (unsigned long long)ingest->puts + 1);
    rc = put(ingest, key, value, &cause);
    if (rc) return fail(ingest, &cause, err);
    ingest->puts++;
    ingest->user_bytes += key.len + value.len;
    return 0;
}

/* ---- finishing -------------------------------------------------------------------------- */

static int memtable_has(struct memtable *m, slice min, slice max, bool *has, struct kevo_err *err) {
    struct iter *it;
    *has = false;
    if (memtable_live_count(m) == 0) return 0;
    int rc = memtable_iter_new(m, &it, err);
    if (rc) return rc;
    rc = it->ops->seek(it, min, SEQ_MAX, err);
    *has = rc == 0 && it->valid && slice_cmp(it->key, max) <= 0;
    iter_close(it);
    return rc;
}

/* Which memtables hold keys in the range: the active one, any immutable one. */
static int look_at_memtables(kevo_store *s, slice min, slice max, bool *active, bool *immutable,
                             struct kevo_err *err) {
    struct superversion *sv = superversion_acquire(s);
    int rc = memtable_has(sv->active, min, max, active, err);
    *immutable = false;
    for (unsigned i = 0; rc == 0 && !*immutable && i < sv->immutable_count; i++)
        rc = memtable_has(sv->immutable[i], min, max, immutable, err);
    superversion_release(sv);
    return rc;
}

static int await_flush(kevo_store *s, struct kevo_err *err) {
    pthread_mutex_lock(&s->mutex);
    int rc = work_check(s, err);
    if (rc == 0 && work_flush_pending(s)) rc = work_await(s, FLUSHER, err);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

/* Let no memtable hold keys of the range. Needs write_mutex. */
static int clear_memtables(kevo_store *s, slice min, slice max, struct kevo_err *err) {
    for (;;) {
        bool active, immutable;
        int rc = look_at_memtables(s, min, max, &active, &immutable, err);
        if (rc || (!active && !immutable)) return rc;
        rc = active ? store_rotate(s, err) : await_flush(s, err);
        if (rc) return rc;
    }
}

static slice first_key(const struct version_edit *e) {
    return buf_slice(&e->added[0].file->min_key);
}

static slice last_key(const struct version_edit *e) {
    return buf_slice(&e->added[e->added_count - 1].file->max_key);
}

/* The tables get their batch, and the store's record names them. Needs write_mutex. */
static int build_record(kevo_ingest *g, struct kevo_commit *commit, struct kevo_err *err) {
    kevo_store *s = g->store;
    for (size_t i = 0; i < g->edit.added_count; i++)
        table_file_set_base(g->edit.added[i].file, s->last_id + 1);
    int rc = wal_begin_record(&s->run, err);
    if (rc == 0) rc = edit_encode(&g->edit, &s->run.bytes, err);
    return rc ? rc : store_end_record(s, WAL_TABLES, commit, err);
}

/* The commit. Needs write_mutex. */
static int append_record(kevo_store *s, struct kevo_commit commit, struct kevo_err *err) {
    struct pending p = {.commit = commit, .mark = memtable_mark(s->active)};
    int rc = wal_append_run(s->wal, &s->run, err);
    if (rc) return rc;
    pthread_mutex_lock(&s->mutex);
    s->newest = commit;
    s->pending = p;
    pthread_mutex_unlock(&s->mutex);
    count_write(&s->counters.wal_bytes, s->run.bytes.len);
    return store_sync_log(s, err);
}

/* The tables become part of the tree. Needs write_mutex. */
static int install(kevo_ingest *g, struct superversion *sv, uint64_t batch, struct kevo_err *err) {
    kevo_store *s = g->store;
    struct version_edit *e = &g->edit;
    pthread_mutex_lock(&s->manifest_mutex);
    choose_levels(s, s->state.version, e);
    e->has_next_file = e->has_ingested = true;
    e->next_file = atomic_load(&s->next_file);
    e->ingested = batch;
    int rc = manifest_append(s->manifest, e, &s->state, err);
    if (rc == 0) show(s, sv, s->state.version);
    pthread_mutex_unlock(&s->manifest_mutex);
    return rc;
}

/* The batch is in the log, perhaps, and not in the tree. The files may go once the log says
 * that it never was. Needs write_mutex. */
static void take_back(kevo_ingest *g, const struct kevo_err *cause) {
    kevo_store *s = g->store;
    struct kevo_err ignored;
    g->finished = true;
    if (cause->rc == KEVO_READONLY)
        refuse_writes(s, cause);
    else if (store_pending(s))
        g->finished = store_cut_pending(s, &ignored) != 0;
    else
        g->finished = s->wal->failed;
}

static int commit(kevo_ingest *g, struct superversion *sv, struct kevo_commit *c,
                  struct kevo_err *err) {
    kevo_store *s = g->store;
    struct kevo_err cause;
    int rc = build_record(g, c, err);
    if (rc) return rc;
    rc = append_record(s, *c, &cause);
    if (rc == 0) rc = install(g, sv, c->batch, &cause);
    if (rc) {
        take_back(g, &cause);
        if (err) *err = cause;
        return rc;
    }
    g->finished = true;
    store_publish(s, *c);
    return 0;
}

/* Needs write_mutex. */
static int finish(kevo_ingest *g, struct kevo_commit *c, struct kevo_err *err) {
    kevo_store *s = g->store;
    if (store_pending(s))
        return kevo_fail(err, KEVO_INVALID, "%s: a prepared transaction is not decided", s->dir);
    if (g->edit.added_count == 0) {
        *c = s->newest;
        return 0;
    }
    int rc = store_start_writing(s, err);
    if (rc == 0) rc = ingest_adopt(s, err);
    if (rc == 0) rc = clear_memtables(s, first_key(&g->edit), last_key(&g->edit), err);
    if (rc == 0) rc = store_begin_run(s, err);
    if (rc) return rc;
    struct superversion *sv = superversion_alloc();
    rc = sv ? commit(g, sv, c, err) : kevo_nomem(err);
    if (rc) mem_free(sv);
    return rc;
}

/* All tables are whole and durable, their names too. */
static int end_tables(kevo_ingest *g, struct kevo_err *err) {
    struct env *env = g->store->env;
    int rc = g->writer ? close_table(g, err) : 0;
    return rc ? rc : env->sync_dir(env, g->store->dir, err);
}

static void count_ingested(kevo_store *s, const kevo_ingest *g) {
    count(&s->counters.batches, 1);
    count(&s->counters.puts, g->puts);
    count(&s->counters.user_bytes, g->user_bytes);
    pthread_mutex_lock(&s->mutex);
    work_schedule(s);
    pthread_mutex_unlock(&s->mutex);
}

int kevo_ingest_finish(kevo_ingest *ingest, uint64_t *id, struct kevo_err *err) {
    kevo_store *s = ingest->store;
    struct kevo_commit c = {0, 0};
    struct kevo_err cause;
    if (id) *id = 0;
    int rc = check_usable(ingest, err);
    if (rc == 0) rc = check_may_ingest(s, err);
    if (rc) return rc;
    rc = end_tables(ingest, &cause);
    if (rc == 0) {
        pthread_mutex_lock(&s->write_mutex);
        rc = finish(ingest, &c, &cause);
        pthread_mutex_unlock(&s->write_mutex);
    }
    if (rc) return fail(ingest, &cause, err);
    ingest->finished = true;
    if (id) *id = c.batch;
    if (ingest->puts) count_ingested(s, ingest);
    return 0;
}

void kevo_ingest_free(kevo_ingest *ingest) {
    if (!ingest) return;
    /* As for values: a forked child gives nothing back. */
    if (store_check_process(ingest->store, NULL)) return;
    if (ingest->writer) {
        table_writer_abandon(ingest->writer);
        remove_open_table(ingest);
    }
    for (size_t i = 0; !ingest->finished && i < ingest->edit.added_count; i++)
        atomic_store(&ingest->edit.added[i].file->obsolete, true);
    edit_release(&ingest->edit);
    buf_release(&ingest->last_key);
    mem_free(ingest);
}

/* ---- transactions that are tables -------------------------------------------------------- */

/* What is needed once the record is in the log, had before. */
struct arrival {
    struct recovered_tables tables;
    struct version *version;
    struct superversion *sv, *spare;
};

static void release_arrival(struct arrival *a) {
    edit_release(&a->tables.edit);
    version_unref(a->version);
    mem_free(a->sv);
    mem_free(a->spare);
}

static int get_memory(kevo_store *s, struct arrival *a, struct kevo_err *err) {
    a->sv = superversion_alloc();
    a->spare = superversion_alloc();
    if (!a->sv || !a->spare ||
        !mem_grow((void **)&s->recovered, &s->recovered_cap, s->recovered_count + 1,
                  sizeof *s->recovered))
        return kevo_nomem(err);
    return 0;
}

/* All that lies between the keys of these tables, wherever. */
static void key_range(const struct version_edit *e, slice *min, slice *max) {
    *min = buf_slice(&e->added[0].file->min_key);
    *max = buf_slice(&e->added[0].file->max_key);
    for (size_t i = 1; i < e->added_count; i++) {
        slice first = buf_slice(&e->added[i].file->min_key);
        slice last = buf_slice(&e->added[i].file->max_key);
        if (slice_cmp(first, *min) < 0) *min = first;
        if (slice_cmp(last, *max) > 0) *max = last;
    }
}

/* Room for the tables of these runs, and no memtable that has older versions. */
static int make_way(kevo_store *s, const struct runs *r, struct kevo_err *err) {
    struct version_edit names;
    slice min, max;
    edit_init(&names);
    int rc = store_start_writing(s, err);
    if (rc == 0) rc = ingest_adopt(s, err);
    if (rc == 0) rc = store_await_room(s, err);
    if (rc == 0) rc = runs_name(r, 0, &names, err);
    if (rc == 0) {
        key_range(&names, &min, &max);
        rc = clear_memtables(s, min, max, err);
    }
    edit_release(&names);
    return rc;
}

/* The record. The writes take an id each, the batch the one behind. */
static int name_runs(kevo_store *s, const struct runs *r, uint64_t ops, struct arrival *a,
                     struct kevo_err *err) {
    int rc = store_begin_run(s, err);
    if (rc == 0) rc = runs_name(r, s->last_id, &a->tables.edit, err);
    if (rc == 0) rc = wal_begin_record(&s->run, err);
    if (rc == 0) rc = edit_encode(&a->tables.edit, &s->run.bytes, err);
    if (rc) return rc;
    s->last_id += ops;
    return store_end_record(s, WAL_TABLES, &a->tables.commit, err);
}

/* Readers who will know of the commit find the tables. What runs beside, a flush or a compaction
 * that began before, adds its edit to this version. */
static int overlay(kevo_store *s, struct arrival *a, struct kevo_err *err) {
    pthread_mutex_lock(&s->manifest_mutex);
    choose_levels(s, s->state.version, &a->tables.edit);
    int rc = version_apply(s->state.version, &a->tables.edit, &a->version, err);
    if (rc == 0) {
        s->recovered[s->recovered_count++] = a->tables;
        edit_init(&a->tables.edit);
        show(s, a->sv, a->version);
        a->sv = NULL;
    }
    pthread_mutex_unlock(&s->manifest_mutex);
    if (rc) return rc;
    mem_free(s->spare);
    s->spare = a->spare;
    a->spare = NULL;
    return 0;
}

int ingest_prepare(kevo_store *s, struct runs *r, uint64_t ops, struct kevo_commit *commit,
                   struct kevo_err *err) {
    struct arrival a = {.version = NULL};
    struct kevo_err ignored;
    edit_init(&a.tables.edit);
    int rc = make_way(s, r, err);
    if (rc == 0) rc = get_memory(s, &a, err);
    if (rc == 0) rc = name_runs(s, r, ops, &a, err);
    if (rc) {
        release_arrival(&a);
        return rc;
    }
    struct kevo_commit fresh = a.tables.commit;
    rc = append_record(s, fresh, err);
    if (rc == 0) rc = overlay(s, &a, err);
    release_arrival(&a);
    r->handed_over = rc == 0;
    if (rc && store_pending(s))
        r->handed_over = store_cut_pending(s, &ignored) != 0;
    else if (rc)
        r->handed_over = s->wal->failed;
    if (rc == 0) *commit = fresh;
    return rc;
}
