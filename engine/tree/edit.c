#include "engine/tree/edit.h"

#include <assert.h>
#include <inttypes.h>

#include "engine/base/alloc.h"
#include "engine/base/coding.h"
#include "engine/base/error.h"

enum edit_tag {
    TAG_NEXT_FILE = 1,
    TAG_WAL_FLOOR = 2,
    TAG_FLUSHED = 3,
    TAG_COMMITTED = 4,
    TAG_ADD = 5,
    TAG_DELETE = 6,
    TAG_OPTIONS = 7,
    TAG_INGESTED = 8,
    TAG_OWNER = 9
};

/* Flags of an added table. */
enum { TABLE_ENDS_BELOW = 1 };

void edit_init(struct version_edit *e) {
    *e = (struct version_edit){0};
}

void edit_release(struct version_edit *e) {
    for (size_t i = 0; i < e->added_count; i++)
        table_file_unref(e->added[i].file);
    mem_free(e->added);
    mem_free(e->deleted);
    buf_release(&e->options);
    buf_release(&e->owner);
    edit_init(e);
}

int edit_add_file(struct version_edit *e, unsigned level, struct table_file *file,
                  struct kevo_err *err) {
    assert(level < KEVO_MAX_LEVELS);
    if (!mem_grow((void **)&e->added, &e->added_cap, e->added_count + 1, sizeof *e->added))
        return kevo_nomem(err);
    table_file_ref(file);
    e->added[e->added_count++] = (struct edit_file){level, file};
    return 0;
}

int edit_delete_file(struct version_edit *e, unsigned level, uint64_t number,
                     struct kevo_err *err) {
    assert(level < KEVO_MAX_LEVELS);
    if (!mem_grow((void **)&e->deleted, &e->deleted_cap, e->deleted_count + 1, sizeof *e->deleted))
        return kevo_nomem(err);
    e->deleted[e->deleted_count++] = (struct edit_delete){level, number};
    return 0;
}

/* ---- writing ------------------------------------------------------------------ */

static bool put_number(struct buf *b, bool present, enum edit_tag tag, uint64_t number) {
    return !present || (buf_put_varint(b, tag) && buf_put_varint(b, number));
}

static bool put_commit(struct buf *b, bool present, enum edit_tag tag, struct kevo_commit c) {
    return !present ||
           (buf_put_varint(b, tag) && buf_put_varint(b, c.batch) && buf_put_fixed64(b, c.nonce));
}

static bool put_bytes(struct buf *b, bool present, enum edit_tag tag, const struct buf *bytes) {
    return !present || (buf_put_varint(b, tag) && buf_put_slice(b, buf_slice(bytes)));
}

static bool put_file(struct buf *b, unsigned level, const struct table_file *f) {
    return buf_put_varint(b, TAG_ADD) && buf_put_varint(b, level) && buf_put_varint(b, f->number) &&
           buf_put_varint(b, f->size_bytes) && buf_put_fixed64(b, f->checksum) &&
           buf_put_varint(b, f->entry_count) && buf_put_varint(b, f->tombstone_count) &&
           buf_put_varint(b, f->range_count) && buf_put_varint(b, f->ends_below) &&
           buf_put_varint(b, f->key_count) && buf_put_varint(b, f->garbage_seq) &&
           buf_put_varint(b, f->compression) && buf_put_varint(b, f->min_seq) &&
           buf_put_varint(b, f->max_seq) && buf_put_varint(b, f->base_seq) &&
           buf_put_slice(b, buf_slice(&f->min_key)) &&
           buf_put_slice(b, range_end_shorten(buf_slice(&f->max_key)));
}

static bool put_delete(struct buf *b, const struct edit_delete *d) {
    return buf_put_varint(b, TAG_DELETE) && buf_put_varint(b, d->level) &&
           buf_put_varint(b, d->number);
}

int edit_encode(const struct version_edit *e, struct buf *out, struct kevo_err *err) {
    bool ok = put_number(out, e->has_next_file, TAG_NEXT_FILE, e->next_file) &&
              put_number(out, e->has_wal_floor, TAG_WAL_FLOOR, e->wal_floor) &&
              put_commit(out, e->has_flushed, TAG_FLUSHED, e->flushed) &&
              put_commit(out, e->has_committed, TAG_COMMITTED, e->committed) &&
              put_bytes(out, e->has_options, TAG_OPTIONS, &e->options) &&
              put_number(out, e->has_ingested, TAG_INGESTED, e->ingested) &&
              put_bytes(out, e->has_owner, TAG_OWNER, &e->owner);
    for (size_t i = 0; i < e->deleted_count && ok; i++)
        ok = put_delete(out, &e->deleted[i]);
    for (size_t i = 0; i < e->added_count && ok; i++)
        ok = put_file(out, e->added[i].level, e->added[i].file);
    return ok ? 0 : kevo_nomem(err);
}

/* ---- reading ------------------------------------------------------------------ */

struct place {
    const char *name;
    uint64_t offset;
};

static int damaged(const struct place *at, const char *what, struct kevo_err *err) {
    return kevo_fail(err, KEVO_CORRUPT, "%s: record at offset %" PRIu64 ": %s", at->name,
                     at->offset, what);
}

static int get_number(struct reader *r, bool *has, uint64_t *number, const struct place *at,
                      struct kevo_err *err) {
    *number = read_varint(r);
    if (r->bad || *has) return damaged(at, "bad number", err);
    *has = true;
    return 0;
}

static int get_commit(struct reader *r, bool *has, struct kevo_commit *c, const struct place *at,
                      struct kevo_err *err) {
    c->batch = read_varint(r);
    c->nonce = read_fixed64(r);
    if (r->bad || *has || c->batch >= SEQ_PRIVATE) return damaged(at, "bad batch id", err);
    *has = true;
    return 0;
}

/* Whether strings, names and values in turn, make up the bytes. */
static bool good_options(slice options) {
    struct reader r = reader_of(options);
    while (reader_left(&r) > 0) {
        slice name = read_slice(&r);
        read_slice(&r);
        if (r.bad || name.len == 0) return false;
    }
    return true;
}

static int get_options(struct reader *r, struct version_edit *e, const struct place *at,
                       struct kevo_err *err) {
    slice options = read_slice(r);
    if (r->bad || e->has_options || !good_options(options)) return damaged(at, "bad options", err);
    e->has_options = true;
    return buf_set(&e->options, options) ? 0 : kevo_nomem(err);
}

static int get_owner(struct reader *r, struct version_edit *e, const struct place *at,
                     struct kevo_err *err) {
    slice owner = read_slice(r);
    if (r->bad || e->has_owner || owner.len > KEVO_MAX_OWNER_BYTES)
        return damaged(at, "bad owner", err);
    e->has_owner = true;
    return buf_set(&e->owner, owner) ? 0 : kevo_nomem(err);
}

static bool good_key(slice key) {
    return key.len >= 1 && key.len <= KEVO_MAX_KEY_BYTES;
}

static bool good_end(slice key, bool ends_below) {
    return good_key(key) || (ends_below && key.data == range_end().data);
}

static int get_file(struct reader *r, const struct table_home *home, struct version_edit *e,
                    const struct place *at, struct kevo_err *err) {
    struct table_properties p = {0};
    uint64_t level = read_varint(r), number = read_varint(r), size_bytes = read_varint(r);
    uint64_t checksum = read_fixed64(r);
    p.entry_count = read_varint(r);
    p.tombstone_count = read_varint(r);
    p.range_count = read_varint(r);
    uint64_t flags = read_varint(r);
    p.key_count = read_varint(r);
    p.garbage_seq = read_varint(r);
    uint64_t compression = read_varint(r);
    p.min_seq = read_varint(r);
    p.max_seq = read_varint(r);
    uint64_t base_seq = read_varint(r);
    slice min_key = read_slice(r), max_key = read_slice(r);
    if (r->bad) return damaged(at, "a table is cut short", err);
    if (level >= KEVO_MAX_LEVELS || number == 0 || size_bytes == 0 || size_bytes > INT64_MAX)
        return damaged(at, "a table's level, number or size", err);
    if (p.entry_count + p.range_count == 0 || p.tombstone_count > p.entry_count)
        return damaged(at, "a table's count of entries", err);
    if (p.min_seq == 0 || p.min_seq > p.max_seq || p.max_seq >= SEQ_PRIVATE || base_seq > p.min_seq)
        return damaged(at, "a table's sequence numbers", err);
    p.ends_below = flags & TABLE_ENDS_BELOW;
    if (!table_properties_make_sense(&p) || compression > KEVO_COMPRESSION_LZ4 ||
        flags > TABLE_ENDS_BELOW)
        return damaged(at, "a table's properties", err);
    p.compression = (uint8_t)compression;
    if (p.ends_below) max_key = range_end_restore(max_key);
    if (!good_key(min_key) || !good_end(max_key, p.ends_below) || slice_cmp(min_key, max_key) > 0)
        return damaged(at, "a table's key range", err);
    struct table_file *f = table_file_new(home, number, size_bytes, checksum, &p, min_key, max_key);
    if (!f) return kevo_nomem(err);
    f->base_seq = base_seq; /* the other numbers are true ones already */
    int rc = edit_add_file(e, (unsigned)level, f, err);
    table_file_unref(f);
    return rc;
}

static int get_delete(struct reader *r, struct version_edit *e, const struct place *at,
                      struct kevo_err *err) {
    uint64_t level = read_varint(r), number = read_varint(r);
    if (r->bad || level >= KEVO_MAX_LEVELS) return damaged(at, "bad deletion", err);
    return edit_delete_file(e, (unsigned)level, number, err);
}

static int get_field(struct reader *r, const struct table_home *home, struct version_edit *e,
                     const struct place *at, struct kevo_err *err) {
    uint64_t tag = read_varint(r);
    switch (tag) {
    case TAG_NEXT_FILE: return get_number(r, &e->has_next_file, &e->next_file, at, err);
    case TAG_WAL_FLOOR: return get_number(r, &e->has_wal_floor, &e->wal_floor, at, err);
    case TAG_FLUSHED: return get_commit(r, &e->has_flushed, &e->flushed, at, err);
    case TAG_COMMITTED: return get_commit(r, &e->has_committed, &e->committed, at, err);
    case TAG_ADD: return get_file(r, home, e, at, err);
    case TAG_DELETE: return get_delete(r, e, at, err);
    case TAG_OPTIONS: return get_options(r, e, at, err);
    case TAG_INGESTED: return get_number(r, &e->has_ingested, &e->ingested, at, err);
    case TAG_OWNER: return get_owner(r, e, at, err);
    default: return damaged(at, "a field this version does not know", err);
    }
}

int edit_decode(slice payload, const struct table_home *home, const char *name, uint64_t offset,
                struct version_edit *e, struct kevo_err *err) {
    struct reader r = reader_of(payload);
    struct place at = {name, offset};
    edit_init(e);
    while (reader_left(&r) > 0) {
        int rc = get_field(&r, home, e, &at, err);
        if (rc) {
            edit_release(e);
            return rc;
        }
    }
    return 0;
}
