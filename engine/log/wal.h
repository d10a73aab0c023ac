/* wal.h - the write-ahead log: segments of records, one record a batch. The layout
 * is in engine/FORMAT.md, "Write-ahead log".
 *
 * Segments are numbered 1, 2, 3, ... without gaps; one protects one memtable. Each
 * record names the record before it by batch id and checksum, and a segment's
 * header the last record of the segment before, so all of the log is one chain and
 * nothing in it can be lost, doubled or reordered unseen.
 *
 * A record that was written after all before it had been synced says so, and begins a
 * sector: so no write ever touches a sector that holds synced bytes. Others follow their
 * predecessor closely.
 *
 * When is a record valid? Iff (1) its header and payload lie inside the file, (2) its
 * seal, over the header, and its checksum, over header and payload, both seeded with the
 * segment's random salt, match, (3) it names its predecessor, (4) its batch id is larger
 * than the predecessor's.
 *
 * Where does the log end? At the first place where there is no valid record. That
 * is a torn tail, the trace of a crash, unless a valid record that was written
 * after this place had been synced follows later in the segment: then synced data
 * is damaged, which is KEVO_CORRUPT.
 *
 * Batches are not cut off but declared void by a later record: a crash leaves either
 * all of that or nothing.
 *
 * A segment is made under the name of a spare, which means nothing, and gets its own when
 * its header is durable: so a segment that has its name has its header. When all it holds
 * is in tables it becomes a spare again, and a later segment is made from it: its space
 * is allocated and was written before, so that a sync has no metadata to write. (In one
 * that is new a log of small syncs writes zeros ahead of its end for that.) The records of
 * its former life lie on behind the end of the log then. They are of another salt and of
 * older batches. (Whoever copies a store copies the log's bytes; a hard link to a segment
 * would be written over.)
 *
 * Threads: one at a time for each writer and reader. */
#ifndef KEVO_LOG_WAL_H
#define KEVO_LOG_WAL_H

#include "engine/base/buf.h"
#include "engine/base/env.h"
#include "engine/base/file_bytes.h"
#include "engine/log/syncer.h"

enum {
    WAL_SEGMENT_HEADER_BYTES = 80,
    WAL_RECORD_HEADER_BYTES = 56,
    WAL_NAME_BYTES = 32,
    WAL_ALIGN = 8,           /* records begin at multiples of this */
    WAL_SECTOR = 512,        /* ... or of this */
    WAL_VOID_BYTES = 16,     /* payload of a void record */
    WAL_WRITE_SOON = 1 << 20 /* unsynced bytes that are sent on their way to the disk */
};

enum wal_type {
    WAL_BATCH = 1,
    WAL_VOID = 2,  /* the batches before it, down to one that it names, never were */
    WAL_TABLES = 3 /* a batch whose changes are tables, which it names */
};

/* A record as its successor names it. */
struct wal_link {
    uint64_t batch;
    uint64_t checksum;
};

void wal_segment_name(char name[WAL_NAME_BYTES], uint64_t number); /* "000007.wal" */
void wal_spare_name(char name[WAL_NAME_BYTES], uint64_t number);   /* "000007.spare" */

/* ---- writing ---------------------------------------------------------------- */

struct wal_writer {
    struct env *env;
    struct env_file *file;
    char *path;
    uint64_t number;
    uint64_t salt;
    uint64_t offset;       /* where the next record begins */
    uint64_t synced;       /* everything below is durable */
    uint64_t started;      /* everything below is at least on its way to the disk */
    uint64_t allocated;    /* size of the file */
    uint64_t written;      /* below, all of it was written once */
    struct wal_link last;  /* the record before `offset` */
    struct buf recent;     /* a copy of the bytes from `synced` to `offset`, while short */
    struct syncer *syncer; /* syncs all up to `offset`; NULL: none does */
    bool failed;           /* what is on disk is not known any more */
    struct kevo_err cause; /* of that, if it was the syncer's sync; msg empty: another */
};

enum { WAL_RECENT_MAX = 64 << 10 }; /* bytes of `recent` */

/* Make segment `number` in `dir`, following record `last`, from the spare of that number,
 * or from nothing when it is 0; the file and its name are durable when this returns 0. On
 * failure there is no such segment, durably, so that the predecessor may grow further, and
 * the spare is gone; KEVO_READONLY when that is not certain. */
int wal_create(struct env *env, const char *dir, uint64_t number, uint64_t spare,
               const uint8_t uuid[16], struct wal_link last, unsigned file_mode,
               struct wal_writer **w, struct kevo_err *err);

/* Open an existing segment. Before anything is appended wal_cut() says where its last
 * record ends. */
int wal_reopen(struct env *env, const char *dir, uint64_t number, uint64_t salt,
               struct wal_writer **w, struct kevo_err *err);

/* Several records are appended by one write: for each of them wal_begin_record(), the
 * payload behind what `run` has then, wal_end_record(); then wal_append_run(). */
struct wal_run {
    struct buf bytes;     /* of whole records, but for the last while it is being made */
    size_t begin;         /* where that one begins */
    size_t payload_bytes; /* of the last one that was ended */
    struct wal_link last; /* the record before it */
};

/* Empty the run, to follow what the log has now. It keeps its memory. */
void wal_run_reset(struct wal_run *run, const struct wal_writer *w);
int wal_begin_record(struct wal_run *run, struct kevo_err *err);
int wal_end_record(struct wal_run *run, const struct wal_writer *w, enum wal_type type,
                   struct kevo_commit commit, struct kevo_err *err);
/* When this fails the log is as it was before; if even that cannot be brought about,
 * `failed` is set and all further appends are refused with KEVO_READONLY. */
int wal_append_run(struct wal_writer *w, const struct wal_run *run, struct kevo_err *err);

/* wal_sync() will come soon if there is more to sync than wal_unsynced() keeps: let `syncer`, which
 * is idle, do it meanwhile, or without one the disk begin with it. A hint: whether it succeeds is
 * wal_sync()'s to say, and any other call that changes the file waits for it. */
void wal_start_sync(struct wal_writer *w, struct syncer *syncer);

/* Wait for what wal_start_sync() began, before the file is changed or closed. Nobody relies on what it
 * made durable; if it failed, that sets `failed`. */
void wal_drop_sync(struct wal_writer *w);

/* Make everything appended durable. A failure sets `failed`. Where that was little, what comes next
 * finds its place written already. */
int wal_sync(struct wal_writer *w, struct kevo_err *err);

/* Nothing more can be appended, since it is not known what the disk has of the log: after a sync
 * that failed it may lack what is read from memory, and no later sync will tell. Leaves a mark
 * beside the segment for whoever opens it before that memory is gone; as far as that is possible. */
void wal_fail(struct wal_writer *w);
/* The mark alone, from any thread. */
void wal_mark_unsynced(struct wal_writer *w);

/* If there is such a mark: write the segment anew, as far as `end`, from what is read of it, durably. */
int wal_renew(struct env *env, const char *dir, uint64_t number, uint64_t end, unsigned mode,
              struct kevo_err *err);

/* Cut what a crash left behind record `last`, which ends at `offset`: there is no valid
 * record. The sector that it ends in stays as it is. Synced. A failure sets `failed`. */
int wal_cut(struct wal_writer *w, uint64_t offset, struct wal_link last, struct kevo_err *err);

/* The bytes from w->synced to w->offset. False when they are too many to be kept. */
bool wal_unsynced(const struct wal_writer *w, slice *bytes);

/* Give back the space that is reserved behind the log's end, at best effort. */
void wal_trim(struct wal_writer *w);

/* Close; w may be NULL. The first gives back the space that was reserved behind the log's
 * end, at best effort. */
void wal_close(struct wal_writer *w);
void wal_close_full(struct wal_writer *w);

/* Segment `number` is not needed any more: make it a spare, unless it has more than
 * `most_bytes`, else remove it. Whether it became one. What cannot be removed is an orphan
 * that means nothing. */
bool wal_retire(struct env *env, const char *dir, uint64_t number, uint64_t most_bytes);
void wal_remove_spare(struct env *env, const char *dir, uint64_t number); /* best effort */

/* ---- reading ---------------------------------------------------------------- */

struct wal_record {
    enum wal_type type;
    struct kevo_commit commit;
    slice payload; /* borrowed from the reader */
    uint64_t offset, end;
    struct wal_link link; /* as its successor will name it */
};

struct wal_reader {
    struct env *env;
    char *path;
    struct file_bytes file; /* whose bytes these are: */
    const uint8_t *data;
    uint64_t size, at;
    uint64_t salt;
    struct wal_link before; /* the record before the segment, from its header */
    struct wal_link last;   /* the last record read, or `before` */
    uint64_t searched;      /* bytes hashed by wal_reader_salvage() */
    uint64_t torn_bytes;    /* at the end of the log: what a crash left of records behind
                               it, as far as their headers tell */
};

/* Open segment `number`. KEVO_NOTFOUND when there is no such file; KEVO_CORRUPT
 * when its header is damaged. */
int wal_reader_open(struct env *env, const char *dir, uint64_t number, const uint8_t uuid[16],
                    struct wal_reader **r, struct kevo_err *err);

/* The next record; KEVO_NOTFOUND at the end of the log in this segment;
 * KEVO_CORRUPT names file and offset. */
int wal_reader_next(struct wal_reader *r, struct wal_record *record, struct kevo_err *err);

void wal_reader_close(struct wal_reader *r); /* r may be NULL */

/* ---- repair ----------------------------------------------------------------- */

/* The store that a segment belongs to. KEVO_CORRUPT when its header is damaged. */
int wal_identity(struct env *env, const char *dir, uint64_t number, uint8_t uuid[16],
                 struct kevo_err *err);

/* wal_reader_open() for a file that may lie on a failing disk: see file_bytes.h. */
int wal_reader_open_damaged(struct env *env, const char *dir, uint64_t number,
                            const uint8_t uuid[16], struct wal_reader **r, struct kevo_err *err);

/* The next whole record with a right checksum and an id above that of the last one,
 * wherever it lies behind that; *follows tells whether it is the one that follows it.
 * KEVO_NOTFOUND when there is none, or when so many headers were forged that looking at what they
 * stand for would take for ever. */
int wal_reader_salvage(struct wal_reader *r, struct wal_record *record, bool *follows);

/* ---- shared by the two -------------------------------------------------------- */

struct wal_segment_header {
    uint64_t number, salt;
    uint8_t uuid[16];
    struct wal_link before;
};

struct wal_record_header {
    uint64_t checksum; /* over the rest of the header and the payload */
    uint64_t payload_bytes;
    struct kevo_commit commit;
    struct wal_link previous;
    uint8_t type;
    bool synced_before; /* all of the segment before it was durable */
    bool strange;       /* read: its type, flags, nonce or zeros are none that are written */
};

/* The first sector that begins at or after `offset`. */
static inline uint64_t wal_sector_end(uint64_t offset) {
    return (offset + WAL_SECTOR - 1) / WAL_SECTOR * WAL_SECTOR;
}

/* The payload of a void record: the newest batch that stays. */
void wal_encode_void(uint8_t payload[WAL_VOID_BYTES], struct kevo_commit keep);
bool wal_decode_void(slice payload, struct kevo_commit *keep); /* false: it makes no sense */

void wal_encode_segment_header(uint8_t out[WAL_SEGMENT_HEADER_BYTES],
                               const struct wal_segment_header *h);
/* Of the file at `path`. KEVO_CORRUPT when the bytes are no header, KEVO_NEWER. */
int wal_decode_segment_header(const uint8_t in[WAL_SEGMENT_HEADER_BYTES],
                              struct wal_segment_header *h, const char *path, struct kevo_err *err);
/* `record` begins with the room for the header; fills it, checksum included. */
void wal_encode_record_header(uint8_t *record, struct wal_record_header *h, uint64_t salt);
/* False when the header is not whole, or of another segment: `h` means nothing then. */
bool wal_decode_record_header(const uint8_t *record, struct wal_record_header *h, uint64_t salt);
uint64_t wal_record_checksum(const uint8_t *record, uint64_t payload_bytes, uint64_t salt);

#endif
