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
 * When is a record valid? Iff (1) its header and payload lie inside the file,
 * (2) its checksum, seeded with the segment's random salt, covers length, ids, type
 * and payload and matches, (3) it names its predecessor, (4) its batch id is larger
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
 * Threads: one at a time for each writer and reader. */
#ifndef KEVO_LOG_WAL_H
#define KEVO_LOG_WAL_H

#include "engine/base/buf.h"
#include "engine/base/env.h"

enum {
    WAL_SEGMENT_HEADER_BYTES = 80,
    WAL_RECORD_HEADER_BYTES = 56,
    WAL_NAME_BYTES = 32,
    WAL_ALIGN = 8,      /* records begin at multiples of this */
    WAL_SECTOR = 512,   /* ... or of this */
    WAL_VOID_BYTES = 16 /* payload of a void record */
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

/* ---- writing ---------------------------------------------------------------- */

struct wal_writer {
    struct env *env;
    struct env_file *file;
    char *path;
    uint64_t number;
    uint64_t salt;
    uint64_t offset;      /* where the next record begins */
    uint64_t synced;      /* everything below is durable */
    uint64_t allocated;   /* size of the file */
    struct wal_link last; /* the record before `offset` */
    struct buf recent;    /* a copy of the bytes from `synced` to `offset`, while short */
    bool failed;          /* what is on disk is not known any more */
};

enum { WAL_RECENT_MAX = 64 << 10 }; /* bytes of `recent` */

/* Make segment `number` in `dir`, following record `last`; the file and its name
 * are durable when this returns 0. On failure nothing is left, durably, so that the
 * predecessor may grow further; KEVO_READONLY when that is not certain. */
int wal_create(struct env *env, const char *dir, uint64_t number, const uint8_t uuid[16],
               struct wal_link last, unsigned file_mode, struct wal_writer **w,
               struct kevo_err *err);

/* Open an existing segment. Before anything is appended wal_cut() says where its last
 * record ends. */
int wal_reopen(struct env *env, const char *dir, uint64_t number, uint64_t salt,
               struct wal_writer **w, struct kevo_err *err);

/* Append a record. `record` holds WAL_RECORD_HEADER_BYTES of room, then the payload;
 * the header and padding are filled in here (so it may grow). When this fails the
 * log is as it was before; if even that cannot be brought about, `failed` is set
 * and all further appends are refused with KEVO_READONLY. */
int wal_append(struct wal_writer *w, enum wal_type type, struct kevo_commit commit,
               struct buf *record, struct kevo_err *err);

/* Make everything appended durable. A failure sets `failed`. */
int wal_sync(struct wal_writer *w, struct kevo_err *err);

/* Cut what a crash left behind record `last`, which ends at `offset`: there is no valid
 * record. The sector that it ends in stays as it is. Synced. A failure sets `failed`. */
int wal_cut(struct wal_writer *w, uint64_t offset, struct wal_link last, struct kevo_err *err);

/* The bytes from w->synced to w->offset. False when they are too many to be kept. */
bool wal_unsynced(const struct wal_writer *w, slice *bytes);

/* Give back preallocated space and close; w may be NULL. Best effort. */
void wal_close(struct wal_writer *w);

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
    const uint8_t *data;
    uint64_t size, at;
    uint64_t salt;
    struct wal_link before; /* the record before the segment, from its header */
    struct wal_link last;   /* the last record read, or `before` */
    uint64_t torn_bytes;    /* not zero: bytes after the end that are no record */
};

/* Open segment `number`. KEVO_NOTFOUND when there is no such file; KEVO_CORRUPT
 * when its header is damaged. A segment whose creation was cut short has no valid
 * header and nothing behind it: KEVO_NOTFOUND too, with *unfinished true. */
int wal_reader_open(struct env *env, const char *dir, uint64_t number, const uint8_t uuid[16],
                    struct wal_reader **r, bool *unfinished, struct kevo_err *err);

/* The next record; KEVO_NOTFOUND at the end of the log in this segment;
 * KEVO_CORRUPT names file and offset. */
int wal_reader_next(struct wal_reader *r, struct wal_record *record, struct kevo_err *err);

void wal_reader_close(struct wal_reader *r); /* r may be NULL */

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
/* False when the bytes are not a header of this format version. */
bool wal_decode_segment_header(const uint8_t in[WAL_SEGMENT_HEADER_BYTES],
                               struct wal_segment_header *h);
/* `record` begins with the room for the header; fills it, checksum included. */
void wal_encode_record_header(uint8_t *record, struct wal_record_header *h, uint64_t salt);
void wal_decode_record_header(const uint8_t *record, struct wal_record_header *h);
uint64_t wal_record_checksum(const uint8_t *record, uint64_t payload_bytes, uint64_t salt);

#endif
