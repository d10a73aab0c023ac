/* manifest_disk.h - a manifest on a disk in memory that can be told to fail, random edits of it, and
 * what it says as text. */
#ifndef KEVO_TESTS_MANIFEST_DISK_H
#define KEVO_TESTS_MANIFEST_DISK_H

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/checksum.h"
#include "engine/tree/manifest.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/files.h"

enum { SECTOR_BYTES = 512 };

#define DIR       "/store"
#define MANIFEST  DIR "/MANIFEST"
#define NEW_NAME  DIR "/MANIFEST.new"
#define FILE_MODE 0640

static struct env *memory;
static struct env *fault;
static struct table_home home;

static inline void setup(void) {
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    fault = fault_env_new(memory);
    home = (struct table_home){.env = fault, .dir = DIR};
    ck_ok(memory->make_dir(memory, DIR, 0700, &test_err));
}

static inline void teardown(void) {
    fault_env_free(fault);
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

/* Let fault_env_calls() count what changes the disk from now on. */
static inline void count_changes(void) {
    fault_env_plan(fault, (struct fault_plan){.kinds = FAULT_CHANGES});
}

static inline uint64_t manifest_bytes(void) {
    return files_size(memory, MANIFEST);
}

/* ---- states ----------------------------------------------------------------------------- */

static inline struct manifest_state fresh_state(void) {
    struct manifest_state s = {
        .authority = KEVO_AUTHORITY_EXTERNAL, .next_file = 1, .wal_floor = 1};
    memcpy(s.uuid, "0123456789abcdef", 16);
    s.version = version_new();
    return s;
}

static inline void state_release(struct manifest_state *s) {
    manifest_state_release(s);
}

/* Everything a state says, as text. */
static inline char *dump(const struct manifest_state *s) {
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    fprintf(out, "%.16s authority %d next %llu floor %llu flushed %llu/%llx committed %llu/%llx\n",
            (const char *)s->uuid, s->authority, (unsigned long long)s->next_file,
            (unsigned long long)s->wal_floor, (unsigned long long)s->flushed.batch,
            (unsigned long long)s->flushed.nonce, (unsigned long long)s->committed.batch,
            (unsigned long long)s->committed.nonce);
    for (size_t i = 0; i < s->options.len; i++)
        fprintf(out, "%02x%s", s->options.data[i], i + 1 < s->options.len ? "" : " options\n");
    for (size_t i = 0; i < s->owner.len; i++)
        fprintf(out, "%02x%s", s->owner.data[i], i + 1 < s->owner.len ? "" : " owner\n");
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        for (size_t i = 0; i < s->version->levels[l].count; i++) {
            const struct table_file *f = s->version->levels[l].files[i];
            fprintf(out,
                    "L%u %llu size %llu sum %llx entries %llu/%llu ranges %llu/%d keys %llu "
                    "garbage %llu "
                    "compression %d seq %llu-%llu ",
                    l, (unsigned long long)f->number, (unsigned long long)f->size_bytes,
                    (unsigned long long)f->checksum, (unsigned long long)f->entry_count,
                    (unsigned long long)f->tombstone_count, (unsigned long long)f->range_count,
                    f->ends_below, (unsigned long long)f->key_count,
                    (unsigned long long)f->garbage_seq, f->compression,
                    (unsigned long long)f->min_seq, (unsigned long long)f->max_seq);
            fprintf(out, "keys %zu/%llx %zu/%llx\n", f->min_key.len,
                    (unsigned long long)key_hash(buf_slice(&f->min_key)), f->max_key.len,
                    (unsigned long long)key_hash(buf_slice(&f->max_key)));
        }
    fclose(out);
    return text;
}

/* Open what is on disk; NULL and the code when that fails. */
static inline char *dump_disk(int *rc) {
    struct manifest *m;
    struct manifest_state s;
    *rc = manifest_open(&home, FILE_MODE, &m, &s, &test_err);
    if (*rc) {
        if (m || s.version || s.options.data || s.owner.data)
            ck_abort_msg("out-parameters after a failure");
        return NULL;
    }
    char *text = dump(&s);
    state_release(&s);
    manifest_close(m);
    return text;
}

static inline void expect_disk(const char *text) {
    int rc;
    char *found = dump_disk(&rc);
    if (!found) ck_abort_msg("%d, %s", rc, test_err.msg);
    if (strcmp(found, text)) ck_abort_msg("expected:\n%sfound:\n%s", text, found);
    free(found);
}

/* ---- random edits ------------------------------------------------------------------------ */

static inline struct table_file *random_file(struct rng *rng, uint64_t number, size_t key_bytes) {
    uint8_t min[300], max[300];
    struct table_properties p = {.entry_count = 1 + rng_below(rng, 1000)};
    p.tombstone_count = rng_below(rng, p.entry_count + 1);
    p.min_seq = 1 + rng_below(rng, 1000);
    p.max_seq = p.min_seq + rng_below(rng, 1000);
    p.key_count = 1 + rng_below(rng, p.entry_count);
    p.compression = (uint8_t)rng_below(rng, 2);
    p.range_count = rng_below(rng, 2) * rng_below(rng, 1000);
    if (p.range_count && rng_below(rng, 2)) p.entry_count = p.tombstone_count = p.key_count = 0;
    p.ends_below = p.range_count && rng_below(rng, 2);
    if (p.range_count || p.tombstone_count || p.key_count < p.entry_count)
        p.garbage_seq = p.min_seq + rng_below(rng, p.max_seq - p.min_seq + 1);
    /* Ranges ascend with the number, so that no level ever overlaps. */
    memset(min, 0xee, sizeof min);
    memset(max, 0xef, sizeof max);
    for (unsigned i = 0; i < 8; i++)
        min[i] = max[i] = (uint8_t)(number >> (56 - 8 * i));
    return table_file_new(&home, number, 1 + rng_below(rng, 1u << 26), rng_next(rng), &p,
                          slice_of(min, 8 + rng_below(rng, key_bytes)),
                          slice_of(max, 9 + rng_below(rng, key_bytes)));
}

static inline struct table_file *any_file(struct rng *rng, const struct version *v,
                                          unsigned *level) {
    *level = (unsigned)rng_below(rng, KEVO_MAX_LEVELS);
    const struct level *l = &v->levels[*level];
    return l->count ? l->files[rng_below(rng, l->count)] : NULL;
}

static inline void random_options(struct rng *rng, struct version_edit *e) {
    uint8_t name[40], value[40];
    memset(name, 'n', sizeof name);
    memset(value, 'v', sizeof value);
    e->has_options = true;
    for (uint64_t n = rng_below(rng, 4); n > 0; n--) {
        if (!buf_put_slice(&e->options, slice_of(name, 1 + rng_below(rng, 40))) ||
            !buf_put_slice(&e->options, slice_of(value, rng_below(rng, 40))))
            abort();
    }
}

static inline void random_owner(struct rng *rng, struct version_edit *e) {
    uint8_t owner[60];
    for (unsigned i = 0; i < sizeof owner; i++)
        owner[i] = (uint8_t)rng_next(rng);
    e->has_owner = true;
    if (!buf_set(&e->owner, slice_of(owner, rng_below(rng, 1 + sizeof owner)))) abort();
}

static inline void random_edit(struct rng *rng, const struct manifest_state *s, size_t key_bytes,
                               struct version_edit *e) {
    unsigned level;
    struct table_file *f;
    edit_init(e);
    e->next_file = s->next_file;
    for (uint64_t n = rng_below(rng, 4); n > 0; n--) {
        f = random_file(rng, e->next_file++, key_bytes);
        must(edit_add_file(e, (unsigned)rng_below(rng, KEVO_MAX_LEVELS), f, &test_err));
        table_file_unref(f);
    }
    e->has_next_file = e->next_file > s->next_file || rng_below(rng, 4) == 0;
    /* Two jobs may append in another order than they drew numbers. */
    if (e->next_file == s->next_file && rng_below(rng, 2)) e->next_file = 1;
    if ((f = any_file(rng, s->version, &level))) {
        must(edit_delete_file(e, level, f->number, &test_err));
        if (rng_below(rng, 3) == 0) /* it moves, or stays after all */
            must(edit_add_file(e, (unsigned)rng_below(rng, KEVO_MAX_LEVELS), f, &test_err));
    }
    if ((e->has_wal_floor = rng_below(rng, 3) == 0)) e->wal_floor = rng_next(rng);
    if ((e->has_flushed = rng_below(rng, 3) == 0))
        e->flushed = (struct kevo_commit){rng_below(rng, SEQ_PRIVATE), rng_next(rng)};
    if ((e->has_committed = rng_below(rng, 3) == 0))
        e->committed = (struct kevo_commit){rng_below(rng, SEQ_PRIVATE), rng_next(rng)};
    if (rng_below(rng, 5) == 0) random_options(rng, e);
    if (rng_below(rng, 5) == 0) random_owner(rng, e);
}

static inline void append_random(struct rng *rng, struct manifest *m, struct manifest_state *s,
                                 size_t key_bytes) {
    struct version_edit e;
    random_edit(rng, s, key_bytes, &e);
    must(manifest_append(m, &e, s, &test_err));
    edit_release(&e);
}

#endif
