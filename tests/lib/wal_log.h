/* wal_log.h - segments of a log in memory whose records are batches, with payloads that follow from
 * their ids: for tests of engine/log alone.
 *
 * All of these fail the test when the log does. */
#ifndef KEVO_TESTS_WAL_LOG_H
#define KEVO_TESTS_WAL_LOG_H

#include "engine/log/wal.h"
#include "tests/lib/fault_env.h"

#define LOG_DIR "/log"

extern struct env *log_memory, *log_fault; /* the files, and the same through faults */
extern const uint8_t log_uuid[16];
extern const struct wal_link log_nothing; /* before a first segment */

/* A checked fixture. */
void log_setup(void);
void log_teardown(void);

void log_plan_fault(unsigned kinds, uint64_t nth, int rc, bool half);

size_t log_payload_bytes(uint64_t batch);

/* Through log_fault. The codes are the log's. */
int log_add_to_run(struct wal_run *run, struct wal_writer *w, uint64_t batch);
int log_append(struct wal_writer *w, uint64_t batch);
struct wal_writer *log_create(uint64_t number, struct wal_link last);
/* A segment with batches first to last, synced after each that `group` divides. */
struct wal_link log_write_segment(uint64_t number, struct wal_link before, uint64_t first,
                                  uint64_t last, uint64_t group);

/* From log_memory. */
struct wal_reader *log_open(uint64_t number);
/* Read batches first, first + 1, ...; returns how many, *rc is what ended it. */
uint64_t log_read_all(struct wal_reader *r, uint64_t first, int *rc);
/* `count` batches from `first` on, and then the end. */
void log_expect(uint64_t number, uint64_t first, uint64_t count);

/* A segment's file; buf_release(). */
struct buf log_file(uint64_t number);
uint64_t log_file_size(uint64_t number);
void log_set_file(uint64_t number, const uint8_t *data, size_t len);

#endif
