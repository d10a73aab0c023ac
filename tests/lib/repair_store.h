/* repair_store.h - a store in memory with rows in two tables and in the log, what is done to its files,
 * and what a repair makes of it. */
#ifndef KEVO_TESTS_REPAIR_STORE_H
#define KEVO_TESTS_REPAIR_STORE_H

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/coding.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/files.h"
#include "tests/lib/kv.h"

#define NEW "/new"

static struct env *memory, *env;
static struct kevo_options options;
static struct kevo_repair_report report;
static char notes[8192];

static inline void take_note(void *arg, const char *text) {
    (void)arg;
    size_t at = strlen(notes);
    snprintf(notes + at, sizeof notes - at, "%s\n", text);
}

static inline void setup(void) {
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    env = fault_env_new(memory);
    options = kv_options(env);
    options.block_bytes = 64;
    options.memtable_bytes = 64 << 10;
    notes[0] = 0;
}

static inline void teardown(void) {
    fault_env_free(env);
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static inline int repair(void) {
    report = (struct kevo_repair_report){.note = take_note};
    notes[0] = 0;
    return kevo_repair(KV_DIR, NEW, &options, &report, &test_err);
}

/* The repaired store, opened, verified, and able to go on. */
static inline kevo_store *repaired(void) {
    kevo_store *s;
    struct kevo_options o = options;
    o.create_if_missing = false;
    ck_ok(kevo_open(NEW, &o, &s, &test_err));
    ck_ok(kevo_verify(s, &test_err));
    return s;
}

static inline void drop_new(void) {
    ck_ok(kevo_destroy(NEW, &options, &test_err));
}

static inline void expect(const char *dump) {
    kevo_store *s = repaired();
    ck_assert_str_eq(kv_dump(s, NULL), dump);
    if (options.authority == KEVO_AUTHORITY_SELF) {
        kv_put(s, "zz", "more");
        ck_ok(kv_compact(s, &test_err));
        kv_delete(s, "zz");
        ck_assert_str_eq(kv_dump(s, NULL), dump);
    }
    kevo_close(s);
    drop_new();
}

/* ---- files ------------------------------------------------------------------------------ */

static inline const char *path_of(const char *name) {
    static char path[ENV_PATH_MAX];
    snprintf(path, sizeof path, KV_DIR "/%s", name);
    return path;
}

static inline void flip(const char *name, uint64_t offset, uint8_t mask) {
    files_flip(memory, path_of(name), offset, mask);
}

static inline uint64_t size_of(const char *name) {
    return files_size(memory, path_of(name));
}

static inline void cut(const char *name, uint64_t size) {
    files_cut(memory, path_of(name), size);
}

/* Where a table's index lies: its footer says it. */
static inline uint64_t index_of(const char *name) {
    struct buf b = files_read(memory, path_of(name));
    uint64_t offset = get_fixed64(b.data + b.len - 128 + 32);
    buf_release(&b);
    ck_assert_uint_lt(offset, size_of(name));
    return offset;
}

static inline void lose(const char *name) {
    ck_ok(memory->unlink(memory, path_of(name), &test_err));
}

/* ---- a store with something everywhere ------------------------------------------------------ */

enum { ROWS = 12 };

static inline void put_rows(kevo_store *s, char group) {
    for (unsigned i = 0; i < ROWS; i++) {
        char key[8], value[40];
        snprintf(key, sizeof key, "%c%02u", group, i);
        snprintf(value, sizeof value, "the value of row %c%02u, %08u", group, i, i * 1234567);
        kv_put(s, key, value);
    }
}

static char table_a[16], table_b[16]; /* names */

static inline int see_table(void *arg, const char *name) {
    (void)arg;
    if (!strstr(name, ".sst")) return 0;
    snprintf(table_a[0] ? table_b : table_a, sizeof table_a, "%s", name);
    return 0;
}

/* a and b in tables of their own, in different levels, c in the log. */
static inline void make_store(void) {
    kevo_store *s = kv_open(&options);
    put_rows(s, 'a');
    ck_ok(kv_compact(s, &test_err));
    put_rows(s, 'b');
    ck_ok(kevo_flush(s, &test_err));
    put_rows(s, 'c');
    kevo_close(s);
    table_a[0] = table_b[0] = 0;
    ck_ok(memory->list(memory, KV_DIR, see_table, NULL, &test_err));
    ck_assert_int_lt(strcmp(table_a, table_b), 0);
}

/* How many rows of a group are there; each is as it was written. */
static inline unsigned rows_in(kevo_store *s, char group) {
    char first[2] = {group, 0}, end[2] = {(char)(group + 1), 0};
    struct kevo_read read = {.lower = kv_slice(first), .upper = kv_slice(end)};
    kevo_iter *it = kv_iter(s, &read);
    unsigned count = 0;
    must(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); count++) {
        char value[40];
        slice k = kevo_iter_key(it);
        ck_assert_uint_eq(k.len, 3);
        unsigned i = (unsigned)(k.data[1] - '0') * 10 + k.data[2] - '0';
        ck_assert_uint_lt(i, ROWS);
        snprintf(value, sizeof value, "the value of row %c%02u, %08u", group, i, i * 1234567);
        if (!slice_eq(kevo_iter_value(it), kv_slice(value))) ck_abort_msg("a row was invented");
        must(kevo_iter_next(it, &test_err));
    }
    kevo_iter_free(it);
    return count;
}

/* The rows that were saved: at least these of each group, and no others. */
static inline void expect_rows(unsigned a, unsigned b, unsigned c) {
    kevo_store *s = repaired();
    unsigned x = rows_in(s, 'a'), y = rows_in(s, 'b'), z = rows_in(s, 'c');
    if (x < a || y < b || z < c) ck_abort_msg("%u, %u and %u rows: %s", x, y, z, notes);
    ck_assert_uint_eq(kv_count(s, NULL), x + y + z);
    kevo_close(s);
}

#endif
