/* The end of the log, kept by the authority with its commit.
 *
 * Under a full sync mode two files would have to be synced for each commit, the log and
 * the authority's. For a small batch the second sync does for both: the log's bytes that
 * are not durable yet go along as part of the authority's commit. After a power loss
 * they are written back to the very place they came from, so that the log is what it
 * was, and recovery goes on as if nothing had been missing. */
#include "engine/base/error.h"
#include "engine/store/store.h"

int kevo_log_tail(kevo_store *store, size_t capacity_bytes, bool sync, struct kevo_tail *tail,
                  struct kevo_err *err) {
    int rc = store_check_process(store, err);
    *tail = (struct kevo_tail){0};
    if (rc) return rc;
    pthread_mutex_lock(&store->write_mutex);
    struct wal_writer *w = store->wal;
    if (w && w->offset > w->synced) {
        slice bytes;
        if (wal_unsynced(w, &bytes) && bytes.len <= capacity_bytes) {
            *tail = (struct kevo_tail){w->number, w->synced, w->salt, bytes};
        } else if (sync) {
            rc = store_sync_log(store, err);
        }
    }
    pthread_mutex_unlock(&store->write_mutex);
    return rc;
}

bool kevo_lacks(kevo_store *store, struct kevo_commit last) {
    if (store_check_process(store, NULL)) return false;
    pthread_mutex_lock(&store->mutex);
    bool lacks = last.batch > store->newest.batch;
    pthread_mutex_unlock(&store->mutex);
    return lacks;
}

static int does_not_lead(const kevo_store *s, struct kevo_commit last, const char *why,
                         struct kevo_err *err) {
    return kevo_fail(err, KEVO_DIVERGED,
                     "%s: the database's last commit is batch %llu, but the store ends at batch "
                     "%llu, and %s: the store is older than the database file, or its log is "
                     "damaged; restore both from one backup",
                     s->dir, (unsigned long long)last.batch, (unsigned long long)s->last_id, why);
}

/* How much of the tail is known already. */
static uint64_t overlap_of(const kevo_store *s, const struct kevo_tail *tail) {
    return s->tail.offset > tail->offset ? s->tail.offset - tail->offset : 0;
}

/* How much of it the log has on disk. */
static uint64_t disk_overlap(const kevo_store *s, const struct kevo_tail *tail) {
    const struct borrowed *b = &s->borrowed;
    if (b->bytes.len == 0) return overlap_of(s, tail);
    return b->offset > tail->offset ? b->offset - tail->offset : 0;
}

/* A reader of what the log lacks. */
static struct wal_reader tail_reader(const kevo_store *s, const struct kevo_tail *tail) {
    return (struct wal_reader){
        .env = s->env,
        .path = s->dir,
        .data = tail->bytes.data,
        .size = tail->bytes.len,
        .at = overlap_of(s, tail), /* the tail begins a sector, so its sectors are the log's */
        .salt = s->tail.salt,
        .last = s->tail.last,
    };
}

/* Whether the records of the tail go on from the log's end to the commit. What it has in front
 * of that need not be compared: the first one that goes on names its predecessor by checksum,
 * and so all before it. (Nor could it be: between records, where bytes mean nothing, a power
 * loss may have left others on the disk.) */
static bool tail_leads_to(const kevo_store *s, const struct kevo_tail *tail,
                          struct kevo_commit last) {
    struct wal_reader reader = tail_reader(s, tail);
    struct wal_record record = {.commit = {0, 0}};
    while (wal_reader_next(&reader, &record, NULL) == 0) {
    }
    return same_commit(record.commit, last) && reader.at == reader.size;
}

static int open_segment(kevo_store *s, uint64_t segment, unsigned flags, struct env_file **file,
                        struct kevo_err *err) {
    char name[WAL_NAME_BYTES], path[ENV_PATH_MAX];
    *file = NULL;
    wal_segment_name(name, segment);
    int rc = env_join(path, s->dir, name, err);
    return rc ? rc : s->env->open(s->env, path, flags, 0, file, err);
}

/* Nothing is written before it is known to belong there: a marker may come from a copy of
 * the database that went its own way. */
static int check_belongs(const kevo_store *s, struct kevo_commit last, const struct kevo_tail *tail,
                         struct kevo_err *err) {
    if (tail_leads_to(s, tail, last)) return 0;
    return does_not_lead(s, last, "what was kept of its log does not go on from there", err);
}

static int write_durably(kevo_store *s, uint64_t segment, uint64_t offset, slice bytes,
                         struct kevo_err *err) {
    struct env_file *file;
    int rc = open_segment(s, segment, ENV_READ | ENV_WRITE, &file, err);
    if (rc == 0) rc = s->env->write(s->env, file, offset, bytes.data, bytes.len, err);
    if (rc == 0) rc = s->env->sync(s->env, file, err);
    s->env->close(s->env, file);
    return rc;
}

int store_return_borrowed(kevo_store *s, struct kevo_err *err) {
    struct borrowed *b = &s->borrowed;
    if (b->bytes.len == 0) return 0;
    int rc = write_durably(s, b->segment, b->offset, buf_slice(&b->bytes), err);
    if (rc == 0) buf_release(&b->bytes);
    return rc;
}

/* Read on where recovery found the log's end. */
static int replay_more(kevo_store *s, struct wal_reader *reader, struct kevo_err *err) {
    struct memtable *memtables[MAX_MEMTABLES + 1];
    unsigned count = 0;
    pthread_mutex_lock(&s->mutex);
    for (unsigned i = s->current->immutable_count; i-- > 0;)
        memtables[count++] = s->current->immutable[i];
    memtables[count++] = s->active;
    s->resolved = false;
    int rc = store_replay(s, reader, memtables, count, err);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

/* What the log lacks is written to it and read from there. */
static int put_back(kevo_store *s, const struct kevo_tail *tail, struct kevo_err *err) {
    struct wal_reader *reader;
    uint64_t skip = overlap_of(s, tail);
    int rc = write_durably(s, tail->segment, tail->offset + skip,
                           slice_of(tail->bytes.data + skip, tail->bytes.len - skip), err);
    if (rc) return rc;
    rc = wal_reader_open(s->env, s->dir, s->tail.number, s->state.uuid, &reader, err);
    if (rc > 0) return kevo_fail(err, KEVO_IOERR, "%s: a log segment has vanished", s->dir);
    if (rc) return rc;
    reader->at = s->tail.offset;
    reader->last = s->tail.last;
    rc = replay_more(s, reader, err);
    wal_reader_close(reader);
    return rc ? rc : ingest_show(s, err);
}

/* What the log lacks is read from the tail, and kept for a writer to come. */
static int borrow(kevo_store *s, const struct kevo_tail *tail, struct kevo_err *err) {
    struct borrowed *b = &s->borrowed;
    struct wal_reader reader = tail_reader(s, tail);
    uint64_t skip = disk_overlap(s, tail);
    if (!buf_set(&b->bytes, slice_of(tail->bytes.data + skip, tail->bytes.len - skip)))
        return kevo_nomem(err);
    b->segment = tail->segment;
    b->offset = tail->offset + skip;
    int rc = replay_more(s, &reader, err);
    s->tail.offset += tail->offset; /* the reader counts from the tail's beginning */
    return rc;
}

/* Needs write_mutex. */
static int restore(kevo_store *s, struct kevo_commit last, const struct kevo_tail *tail,
                   struct kevo_err *err) {
    if (!kevo_lacks(s, last)) return 0;
    if (s->wal) return does_not_lead(s, last, "it was written to since", err);
    if (tail->bytes.len == 0) return does_not_lead(s, last, "its log should reach there", err);
    if (tail->segment != s->tail.number || tail->offset > wal_sector_end(s->tail.offset) ||
        tail->offset < WAL_SECTOR || tail->offset % WAL_SECTOR)
        return does_not_lead(s, last, "what was kept of its log does not join on", err);
    int rc = check_belongs(s, last, tail, err);
    if (rc == 0) rc = s->read_only ? borrow(s, tail, err) : put_back(s, tail, err);
    if (rc) return rc;
    return kevo_lacks(s, last) ? does_not_lead(s, last, "what was kept of its log ends before", err)
                               : 0;
}

int kevo_restore(kevo_store *store, struct kevo_commit last, const struct kevo_tail *tail,
                 struct kevo_err *err) {
    int rc = store_check_process(store, err);
    if (rc) return rc;
    pthread_mutex_lock(&store->write_mutex);
    rc = restore(store, last, tail, err);
    pthread_mutex_unlock(&store->write_mutex);
    return rc;
}
