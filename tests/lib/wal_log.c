#include "tests/lib/wal_log.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/array_iter.h"

struct env *log_memory, *log_fault;
const uint8_t log_uuid[16] = "0123456789abcdef";
const struct wal_link log_nothing = {0, 0};

void log_setup(void) {
    log_memory = env_memory_new();
    ck_assert_ptr_nonnull(log_memory);
    log_fault = fault_env_new(log_memory);
    ck_ok(log_memory->make_dir(log_memory, LOG_DIR, 0700, &test_err));
}

void log_teardown(void) {
    fault_env_free(log_fault);
    env_memory_free(log_memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

void log_plan_fault(unsigned kinds, uint64_t nth, int rc, bool half) {
    fault_env_plan(log_fault, (struct fault_plan){
                                  .kinds = kinds, .nth = nth, .rc = rc, .partial_write = half});
}

/* Payloads are made from the batch id. */
size_t log_payload_bytes(uint64_t batch) {
    return batch % 10 == 0 ? 3000 + (size_t)batch : batch % 7 == 0 ? 0 : (size_t)batch * 13 % 90;
}

int log_add_to_run(struct wal_run *run, struct wal_writer *w, uint64_t batch) {
    size_t len = log_payload_bytes(batch);
    int rc = wal_begin_record(run, &test_err);
    if (rc == 0 && !buf_reserve(&run->bytes, len)) rc = KEVO_NOMEM;
    if (rc) return rc;
    for (size_t i = 0; i < len; i++)
        run->bytes.data[run->bytes.len++] = (uint8_t)(batch + i);
    return wal_end_record(run, w, WAL_BATCH, (struct kevo_commit){batch, batch * 3}, &test_err);
}

int log_append(struct wal_writer *w, uint64_t batch) {
    struct wal_run run = {.begin = 0};
    wal_run_reset(&run, w);
    int rc = log_add_to_run(&run, w, batch);
    if (rc == 0) rc = wal_append_run(w, &run, &test_err);
    buf_release(&run.bytes);
    return rc;
}

struct wal_writer *log_create(uint64_t number, struct wal_link last) {
    struct wal_writer *w;
    ck_ok(wal_create(log_fault, LOG_DIR, number, 0, log_uuid, last, 0600, &w, &test_err));
    return w;
}

struct wal_reader *log_open(uint64_t number) {
    struct wal_reader *r;
    ck_ok(wal_reader_open(log_memory, LOG_DIR, number, log_uuid, &r, &test_err));
    return r;
}

static void log_check_record(const struct wal_record *record, uint64_t batch) {
    if (record->type != WAL_BATCH || record->commit.batch != batch ||
        record->commit.nonce != batch * 3 || record->payload.len != log_payload_bytes(batch))
        ck_abort_msg("record %llu: wrong", (unsigned long long)batch);
    for (size_t i = 0; i < record->payload.len; i++)
        if (record->payload.data[i] != (uint8_t)(batch + i))
            ck_abort_msg("record %llu: wrong at byte %zu", (unsigned long long)batch, i);
}

/* Read batches first, first + 1, ...; returns how many, *rc is what ended it. */
uint64_t log_read_all(struct wal_reader *r, uint64_t first, int *rc) {
    struct wal_record record;
    uint64_t count = 0;
    while ((*rc = wal_reader_next(r, &record, &test_err)) == 0)
        log_check_record(&record, first + count++);
    return count;
}

void log_expect(uint64_t number, uint64_t first, uint64_t count) {
    struct wal_reader *r = log_open(number);
    int rc;
    uint64_t got = log_read_all(r, first, &rc);
    ck_assert_msg(rc == KEVO_NOTFOUND && got == count, "%llu records, then %d: %s",
                  (unsigned long long)got, rc, test_err.msg);
    wal_reader_close(r);
}

struct buf log_file(uint64_t number) {
    char name[WAL_NAME_BYTES], path[64];
    struct env_file *f;
    struct buf b = {0};
    uint64_t size;
    wal_segment_name(name, number);
    snprintf(path, sizeof path, LOG_DIR "/%s", name);
    must(log_memory->open(log_memory, path, ENV_READ, 0, &f, &test_err));
    must(log_memory->size(log_memory, f, &size, &test_err));
    if (!buf_reserve(&b, size + 1)) abort();
    must(log_memory->read(log_memory, f, 0, b.data, size, &b.len, &test_err));
    log_memory->close(log_memory, f);
    return b;
}

uint64_t log_file_size(uint64_t number) {
    struct buf b = log_file(number);
    uint64_t size = b.len;
    buf_release(&b);
    return size;
}

void log_set_file(uint64_t number, const uint8_t *data, size_t len) {
    char name[WAL_NAME_BYTES], path[64];
    struct env_file *f;
    wal_segment_name(name, number);
    snprintf(path, sizeof path, LOG_DIR "/%s", name);
    must(log_memory->open(log_memory, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, 0600, &f,
                          &test_err));
    if (len) must(log_memory->write(log_memory, f, 0, data, len, &test_err));
    log_memory->close(log_memory, f);
}

/* A segment with batches first to last, synced after each that `group` divides. */
struct wal_link log_write_segment(uint64_t number, struct wal_link before, uint64_t first,
                                  uint64_t last, uint64_t group) {
    struct wal_writer *w = log_create(number, before);
    for (uint64_t batch = first; batch <= last; batch++) {
        must(log_append(w, batch));
        if (batch % group == 0) must(wal_sync(w, &test_err));
    }
    struct wal_link link = w->last;
    wal_close(w);
    return link;
}
