#include "engine/tree/manifest.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/crash_env.h"
#include "tests/lib/fault_env.h"

/* ---- a store's directory in memory ----------------------------------------------------- */

#define DIR       "/store"
#define MANIFEST  DIR "/MANIFEST"
#define NEW_NAME  DIR "/MANIFEST.new"
#define FILE_MODE 0640

static struct env *memory;
static struct env *fault;
static struct table_home home;

static void setup(void) {
    memory = env_memory_new();
    ck_assert_ptr_nonnull(memory);
    fault = fault_env_new(memory);
    home = (struct table_home){.env = fault, .dir = DIR};
    ck_ok(memory->make_dir(memory, DIR, 0700, &test_err));
}

static void teardown(void) {
    fault_env_free(fault);
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

/* Let fault_env_calls() count what changes the disk from now on. */
static void count_changes(void) {
    fault_env_plan(fault, (struct fault_plan){.kinds = FAULT_CHANGES});
}

static struct buf file_bytes(const char *path) {
    struct env_file *file;
    struct buf b = {0};
    uint64_t size;
    must(memory->open(memory, path, ENV_READ, 0, &file, &test_err));
    must(memory->size(memory, file, &size, &test_err));
    if (!buf_reserve(&b, size)) abort();
    must(memory->read(memory, file, 0, b.data, size, &b.len, &test_err));
    memory->close(memory, file);
    return b;
}

static void set_file(const char *path, slice bytes) {
    struct env_file *file;
    must(memory->open(memory, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, 0600, &file, &test_err));
    if (bytes.len) must(memory->write(memory, file, 0, bytes.data, bytes.len, &test_err));
    memory->close(memory, file);
}

static uint64_t manifest_bytes(void) {
    struct env_stat st;
    must(memory->stat(memory, MANIFEST, &st, &test_err));
    return st.size_bytes;
}

static bool exists(const char *path) {
    struct env_stat st;
    int rc = memory->stat(memory, path, &st, &test_err);
    ck_assert(rc == 0 || rc == KEVO_NOTFOUND);
    return rc == 0;
}

/* ---- states ----------------------------------------------------------------------------- */

static struct manifest_state fresh_state(void) {
    struct manifest_state s = {
        .authority = KEVO_AUTHORITY_EXTERNAL, .next_file = 1, .wal_floor = 1};
    memcpy(s.uuid, "0123456789abcdef", 16);
    s.version = version_new();
    return s;
}

static void state_release(struct manifest_state *s) {
    manifest_state_release(s);
}

/* Everything a state says, as text. */
static char *dump(const struct manifest_state *s) {
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
static char *dump_disk(int *rc) {
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

static void expect_disk(const char *text) {
    int rc;
    char *found = dump_disk(&rc);
    if (!found) ck_abort_msg("%d, %s", rc, test_err.msg);
    if (strcmp(found, text)) ck_abort_msg("expected:\n%sfound:\n%s", text, found);
    free(found);
}

/* ---- random edits ------------------------------------------------------------------------ */

static struct table_file *random_file(struct rng *rng, uint64_t number, size_t key_bytes) {
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

static struct table_file *any_file(struct rng *rng, const struct version *v, unsigned *level) {
    *level = (unsigned)rng_below(rng, KEVO_MAX_LEVELS);
    const struct level *l = &v->levels[*level];
    return l->count ? l->files[rng_below(rng, l->count)] : NULL;
}

static void random_options(struct rng *rng, struct version_edit *e) {
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

static void random_owner(struct rng *rng, struct version_edit *e) {
    uint8_t owner[60];
    for (unsigned i = 0; i < sizeof owner; i++)
        owner[i] = (uint8_t)rng_next(rng);
    e->has_owner = true;
    if (!buf_set(&e->owner, slice_of(owner, rng_below(rng, 1 + sizeof owner)))) abort();
}

static void random_edit(struct rng *rng, const struct manifest_state *s, size_t key_bytes,
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

static void append_random(struct rng *rng, struct manifest *m, struct manifest_state *s,
                          size_t key_bytes) {
    struct version_edit e;
    random_edit(rng, s, key_bytes, &e);
    must(manifest_append(m, &e, s, &test_err));
    edit_release(&e);
}

/* ---- what is written is read ---------------------------------------------------------------- */

START_TEST(create_and_open) {
    struct manifest_state s;
    struct manifest *m;
    ck_assert_int_eq(manifest_open(&home, FILE_MODE, &m, &s, &test_err), KEVO_CANTOPEN);
    ck_assert_ptr_null(m);
    ck_assert_ptr_null(s.version);
    s = fresh_state();
    ck_ok(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    ck_assert(!exists(NEW_NAME));
    struct env_stat st;
    ck_ok(memory->stat(memory, MANIFEST, &st, &test_err));
    ck_assert_uint_eq(st.mode, FILE_MODE);
    char *text = dump(&s);
    count_changes();
    expect_disk(text);
    ck_assert_uint_eq(fault_env_calls(fault), 0);
    free(text);
    state_release(&s);
    manifest_close(m);
}
END_TEST

START_TEST(random_edits) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct manifest_state s = fresh_state();
    struct manifest *m;
    unsigned rewrites = 0;
    size_t key_bytes = _i % 2 ? 280 : 8;
    uint64_t size = 0;
    must(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    for (unsigned i = 0; i < 800; i++) {
        append_random(&rng, m, &s, key_bytes);
        rewrites += manifest_bytes() < size;
        size = manifest_bytes();
        if (rng_below(&rng, 20)) continue;
        char *text = dump(&s);
        count_changes();
        expect_disk(text);
        if (fault_env_calls(fault)) ck_abort_msg("opening has changed something");
        if (rng_below(&rng, 2)) {
            manifest_close(m);
            state_release(&s);
            must(manifest_open(&home, FILE_MODE, &m, &s, &test_err));
        }
        free(text);
    }
    ck_assert_uint_ge(rewrites, 1);
    ck_assert(!exists(NEW_NAME));
    manifest_close(m);
    state_release(&s);
}
END_TEST

/* An edit that changes nothing writes nothing. */
START_TEST(empty_edit) {
    struct manifest_state s = fresh_state();
    struct manifest *m;
    struct version_edit e;
    edit_init(&e);
    ck_ok(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    count_changes();
    ck_ok(manifest_append(m, &e, &s, &test_err));
    ck_assert_uint_eq(fault_env_calls(fault), 0);
    manifest_close(m);
    state_release(&s);
}
END_TEST

/* An edit that does not fit the version is refused, and nothing has happened. */
START_TEST(wrong_edits) {
    struct rng rng = rng_of(harness_seed());
    struct manifest_state s = fresh_state();
    struct manifest *m;
    struct version_edit e;
    struct table_file *f = random_file(&rng, 1, 8);
    ck_ok(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    edit_init(&e);
    e.has_next_file = true;
    e.next_file = 10;
    ck_ok(edit_add_file(&e, 2, f, &test_err));
    ck_ok(manifest_append(m, &e, &s, &test_err));
    char *text = dump(&s);
    ck_assert_int_eq(manifest_append(m, &e, &s, &test_err), KEVO_CORRUPT);
    edit_release(&e);
    ck_ok(edit_delete_file(&e, 3, 1, &test_err));
    ck_assert_int_eq(manifest_append(m, &e, &s, &test_err), KEVO_CORRUPT);
    edit_release(&e);
    expect_disk(text);
    ck_ok(edit_delete_file(&e, 2, 1, &test_err));
    ck_ok(manifest_append(m, &e, &s, &test_err));
    edit_release(&e);
    free(text);
    table_file_unref(f);
    manifest_close(m);
    state_release(&s);
}
END_TEST

/* ---- torn and damaged files -------------------------------------------------------------------- */

enum { EDITS = 5 };

/* A manifest's bytes, where each record begins and ends, and what it says up to there.
 * Record 0 states the empty store; the place after the last record has the end mark. */
struct history {
    struct buf bytes;
    size_t starts[EDITS + 2], ends[EDITS + 1];
    char *texts[EDITS + 1];
};

enum { SECTOR_BYTES = 512 };

static void history_make(struct history *h, struct rng *rng) {
    struct manifest_state s = fresh_state();
    struct manifest *m;
    must(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    h->starts[0] = SECTOR_BYTES;
    for (unsigned i = 0;; i++) {
        h->starts[i + 1] = manifest_bytes() - SECTOR_BYTES;
        h->texts[i] = dump(&s);
        if (i == EDITS) break;
        do
            append_random(rng, m, &s, i == EDITS - 1 ? 280 : 12);
        while (manifest_bytes() < h->starts[i + 1] + 2 * SECTOR_BYTES);
    }
    h->bytes = file_bytes(MANIFEST);
    for (unsigned i = 0; i <= EDITS; i++)
        h->ends[i] = h->starts[i] + 12 + get_fixed32(h->bytes.data + h->starts[i] + 8);
    manifest_close(m);
    state_release(&s);
}

/* Whether a record's own bytes, or the header's, include this one. */
static bool is_covered(const struct history *h, size_t at) {
    bool covered = at < 48;
    for (unsigned i = 0; i <= EDITS; i++)
        covered |= at >= h->starts[i] && at < h->ends[i];
    return covered;
}

static void history_free(struct history *h) {
    buf_release(&h->bytes);
    for (unsigned i = 0; i <= EDITS; i++)
        free(h->texts[i]);
}

/* Open the file, expect the state after `edits`, and that the log goes on from there. */
static void expect_history(const struct history *h, unsigned edits, bool append) {
    expect_disk(h->texts[edits]);
    if (!append) return;
    struct rng rng = rng_of(7);
    struct manifest_state s;
    struct manifest *m;
    must(manifest_open(&home, FILE_MODE, &m, &s, &test_err));
    append_random(&rng, m, &s, 40);
    append_random(&rng, m, &s, 40);
    char *text = dump(&s);
    manifest_close(m);
    state_release(&s);
    expect_disk(text);
    free(text);
}

/* However much of the file is there: what its whole records say, or KEVO_CORRUPT when
 * not even the first is whole. */
START_TEST(every_length) {
    struct rng rng = rng_of(harness_seed());
    struct history h;
    history_make(&h, &rng);
    for (size_t len = 0; len <= h.bytes.len; len++) {
        set_file(MANIFEST, slice_of(h.bytes.data, len));
        unsigned edits = EDITS;
        while (edits > 0 && h.ends[edits] > len)
            edits--;
        if (len < h.ends[0]) {
            int rc;
            if (dump_disk(&rc) || rc != KEVO_CORRUPT || !strstr(test_err.msg, MANIFEST))
                ck_abort_msg("length %zu: %d, %s", len, rc, test_err.msg);
        } else {
            expect_history(&h, edits, len % 7 == 0);
        }
    }
    history_free(&h);
}
END_TEST

/* An append that was cut by a power loss: any part of it may be there, with zeros or
 * garbage in place of the rest, or of the first part. */
START_TEST(torn_appends) {
    struct rng rng = rng_of(harness_seed());
    struct history h;
    history_make(&h, &rng);
    size_t start = h.starts[EDITS], end = h.ends[EDITS];
    for (unsigned round = 0; round < 4; round++) {
        for (size_t cut = start; cut < end; cut++) {
            struct buf b = {0};
            if (!buf_append(&b, h.bytes.data, end)) abort();
            size_t from = round < 2 ? cut : start, to = round < 2 ? end : cut + 1;
            for (size_t i = from; i < to; i++)
                b.data[i] = round % 2 ? (uint8_t)rng_next(&rng) : 0;
            if (memcmp(b.data, h.bytes.data, end)) {
                set_file(MANIFEST, buf_slice(&b));
                expect_history(&h, EDITS - 1, cut % 5 == 0);
            }
            buf_release(&b);
        }
    }
    history_free(&h);
}
END_TEST

/* Every byte damaged: KEVO_CORRUPT, or the right state where it does not matter. */
START_TEST(every_byte) {
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    struct rng rng = rng_of(harness_seed());
    struct history h;
    history_make(&h, &rng);
    for (size_t at = 0; at < h.bytes.len; at++) {
        h.bytes.data[at] ^= masks[_i];
        set_file(MANIFEST, buf_slice(&h.bytes));
        h.bytes.data[at] ^= masks[_i];
        int rc;
        char *text = dump_disk(&rc);
        if (text ? strcmp(text, h.texts[EDITS]) != 0 || is_covered(&h, at)
                 : rc != KEVO_CORRUPT || !strstr(test_err.msg, MANIFEST))
            ck_abort_msg("byte %zu: %d, %s", at, rc, text ? text : test_err.msg);
        free(text);
    }
    history_free(&h);
}
END_TEST

/* Records of an earlier file in the same place do not count. */
START_TEST(stale_bytes) {
    struct rng rng = rng_of(harness_seed());
    struct history old, h;
    history_make(&old, &rng);
    memory->unlink(memory, MANIFEST, &test_err);
    rng = rng_of(harness_seed());
    history_make(&h, &rng);
    ck_assert_uint_eq(old.bytes.len, h.bytes.len);
    for (unsigned keep = EDITS; keep-- > 0;) {
        size_t end = h.starts[keep + 1];
        memcpy(h.bytes.data + end, old.bytes.data + end, h.bytes.len - end);
        set_file(MANIFEST, buf_slice(&h.bytes));
        expect_history(&h, keep, false);
    }
    history_free(&old);
    history_free(&h);
}
END_TEST

/* Long garbage takes no long time and is a torn tail; a file of plausible lengths is
 * not searched for ever. */
START_TEST(long_garbage) {
    struct rng rng = rng_of(harness_seed());
    struct history h;
    history_make(&h, &rng);
    struct buf b = {0};
    ck_assert(buf_append(&b, h.bytes.data, h.bytes.len));
    for (unsigned i = 0; i < 40000; i++)
        if (!buf_put_fixed64(&b, rng_next(&rng))) abort();
    set_file(MANIFEST, buf_slice(&b));
    expect_history(&h, EDITS, true);
    ck_assert_uint_lt(manifest_bytes(), 16 << 10); /* cut off by the first append */
    b.len = h.bytes.len;
    for (unsigned i = 0; i < 2000000; i++)
        if (!buf_put_fixed32(&b, 0x00020202)) abort();
    set_file(MANIFEST, buf_slice(&b));
    int rc;
    ck_assert_ptr_null(dump_disk(&rc));
    ck_assert_int_eq(rc, KEVO_CORRUPT);
    buf_release(&b);
    history_free(&h);
}
END_TEST

/* ---- faults -------------------------------------------------------------------------------------- */

/* What the state would say after an edit. */
static char *dump_after(const struct manifest_state *s, const struct version_edit *e) {
    struct manifest_state t = *s;
    must(version_apply(s->version, e, &t.version, &test_err));
    if (e->has_next_file && e->next_file > t.next_file) t.next_file = e->next_file;
    if (e->has_wal_floor) t.wal_floor = e->wal_floor;
    if (e->has_flushed) t.flushed = e->flushed;
    if (e->has_committed) t.committed = e->committed;
    if (e->has_options) t.options = e->options; /* borrowed */
    if (e->has_owner) t.owner = e->owner;
    char *text = dump(&t);
    version_unref(t.version);
    return text;
}

/* An append failed: nothing has changed in the state; on disk nothing has either, or
 * the manifest does not know and refuses to go on. */
static void check_failed_append(struct manifest *m, struct manifest_state *s,
                                const struct version_edit *e, const char *before, int rc) {
    char *now = dump(s), *after = dump_after(s, e);
    if (strcmp(now, before)) ck_abort_msg("the state has changed");
    if (rc == KEVO_READONLY) {
        if (manifest_append(m, e, s, &test_err) != KEVO_READONLY) ck_abort_msg("not refused");
        char *found = dump_disk(&rc);
        if (!found) ck_abort_msg("%d, %s", rc, test_err.msg);
        if (strcmp(found, before) && strcmp(found, after)) ck_abort_msg("neither: %s", found);
        free(found);
    } else {
        expect_disk(before);
        must(manifest_append(m, e, s, &test_err));
        expect_disk(after);
    }
    free(now);
    free(after);
}

/* A manifest that a few edits will cause to be written anew, or not. */
static struct buf make_manifest(struct rng *rng, bool nearly_full) {
    struct manifest_state s = fresh_state();
    struct manifest *m;
    must(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    while (nearly_full && manifest_bytes() < (64 << 10) - 2 * SECTOR_BYTES)
        append_random(rng, m, &s, 280);
    manifest_close(m);
    state_release(&s);
    return file_bytes(MANIFEST);
}

static const struct fault_plan no_faults = {0};

/* Fail the n-th call of some kinds in a run of appends. False when all went well. */
static bool appends_with_fault(struct rng *rng, struct fault_plan plan, unsigned appends) {
    struct manifest_state s;
    struct manifest *m;
    bool failed = false, hit = false;
    must(manifest_open(&home, FILE_MODE, &m, &s, &test_err));
    plan.rc = plan.nth % 2 ? KEVO_IOERR : KEVO_FULL;
    fault_env_plan(fault, plan);
    for (unsigned i = 0; i < appends && !failed; i++) {
        struct version_edit e;
        random_edit(rng, &s, 280, &e);
        char *before = dump(&s);
        int rc = manifest_append(m, &e, &s, &test_err);
        failed = rc != 0;
        if (failed) {
            hit = true;
            fault_env_plan(fault, no_faults);
            check_failed_append(m, &s, &e, before, rc);
        }
        edit_release(&e);
        free(before);
    }
    hit = hit || fault_env_hit(fault);
    fault_env_plan(fault, no_faults);
    if (!hit && exists(NEW_NAME)) ck_abort_msg("left behind");
    manifest_close(m);
    state_release(&s);
    return hit;
}

static const unsigned fault_kinds[] = {FAULT_OPEN,   FAULT_WRITE,    FAULT_SYNC,   FAULT_TRUNCATE,
                                       FAULT_RENAME, FAULT_SYNC_DIR, FAULT_RANDOM, FAULT_ALL};

START_TEST(failing_appends) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct fault_plan plan = {.kinds = fault_kinds[_i % 8]};
    plan.for_good = _i & 8;
    plan.partial_write = _i & 16;
    for (unsigned nearly_full = 0; nearly_full < 2; nearly_full++) {
        struct buf image = make_manifest(&rng, nearly_full);
        for (plan.nth = 1; plan.nth < 20; plan.nth++) {
            set_file(MANIFEST, buf_slice(&image));
            if (!appends_with_fault(&rng, plan, nearly_full ? 8 : 3)) break;
        }
        buf_release(&image);
    }
}
END_TEST

START_TEST(failing_create_and_open) {
    struct manifest_state s;
    struct manifest *m;
    int rc = KEVO_IOERR;
    for (uint64_t n = 1; rc; n++) {
        s = fresh_state();
        fault_env_plan(fault, (struct fault_plan){.kinds = FAULT_ALL, .nth = n});
        rc = manifest_create(&home, &s, FILE_MODE, &m, &test_err);
        ck_assert_int_eq(rc, fault_env_hit(fault) ? KEVO_IOERR : 0);
        ck_assert(rc == 0 || !m);
        ck_assert(rc == 0 || !exists(MANIFEST));
        ck_assert(!exists(NEW_NAME));
        state_release(&s);
    }
    manifest_close(m);
    rc = KEVO_IOERR;
    for (uint64_t n = 1; rc; n++) {
        fault_env_plan(fault, (struct fault_plan){.kinds = FAULT_ALL, .nth = n});
        rc = manifest_open(&home, FILE_MODE, &m, &s, &test_err);
        ck_assert_int_eq(rc, fault_env_hit(fault) ? KEVO_IOERR : 0);
        ck_assert(rc == 0 || (!m && !s.version));
    }
    fault_env_plan(fault, no_faults);
    manifest_close(m);
    state_release(&s);
}
END_TEST

/* A rename that fails leaves two files that say the same: the append has happened, the
 * next is refused. */
START_TEST(failing_rename) {
    struct rng rng = rng_of(harness_seed());
    struct manifest_state s;
    struct manifest *m;
    struct buf image = make_manifest(&rng, true);
    buf_release(&image);
    ck_ok(manifest_open(&home, FILE_MODE, &m, &s, &test_err));
    ck_ok(manifest_sync(m, &s, &test_err)); /* its name is durable now */
    fault_env_plan(fault,
                   (struct fault_plan){.kinds = _i ? FAULT_SYNC_DIR : FAULT_RENAME, .nth = 1});
    while (!fault_env_hit(fault))
        append_random(&rng, m, &s, 280);
    char *text = dump(&s);
    expect_disk(text);
    struct version_edit e;
    do {
        random_edit(&rng, &s, 280, &e);
        ck_assert_int_eq(manifest_append(m, &e, &s, &test_err), KEVO_READONLY);
        edit_release(&e);
    } while (rng_below(&rng, 3));
    ck_assert_ptr_nonnull(strstr(test_err.msg, "told to fail"));
    expect_disk(text);
    manifest_close(m);
    state_release(&s);
    ck_ok(manifest_open(&home, FILE_MODE, &m, &s, &test_err));
    for (unsigned i = 0; i < 20; i++)
        append_random(&rng, m, &s, 280);
    manifest_close(m);
    state_release(&s);
    free(text);
}
END_TEST

/* ---- power loss -------------------------------------------------------------------------------- */

enum { CRASH_APPENDS = 8 };

/* Append until the power fails. texts[0..*acknowledged] are the states so far, the
 * next one the state that was under way, if any. */
static void append_until_stopped(struct env *disk, uint64_t stop_after, char **texts,
                                 unsigned *acknowledged) {
    struct rng rng = rng_of(5);
    struct manifest_state s;
    struct manifest *m;
    home.env = disk;
    must(manifest_open(&home, FILE_MODE, &m, &s, &test_err));
    crash_env_stop_after(disk, stop_after);
    *acknowledged = 0;
    texts[0] = dump(&s);
    for (unsigned i = 0; i < CRASH_APPENDS; i++) {
        struct version_edit e;
        random_edit(&rng, &s, 280, &e);
        while (e.added_count == 0) {
            edit_release(&e);
            random_edit(&rng, &s, 280, &e);
        }
        texts[i + 1] = dump_after(&s, &e);
        int rc = manifest_append(m, &e, &s, &test_err);
        edit_release(&e);
        if (rc) break;
        *acknowledged = i + 1;
    }
    manifest_close(m);
    state_release(&s);
}

static void check_image(struct env *disk, enum crash_mode mode, uint64_t seed, char **texts,
                        unsigned acknowledged) {
    int rc;
    home.env = crash_env_image(disk, mode, seed);
    char *found = dump_disk(&rc);
    if (!found) ck_abort_msg("mode %d: %d, %s", mode, rc, test_err.msg);
    const char *under_way = texts[acknowledged + 1];
    if (strcmp(found, texts[acknowledged]) && (!under_way || strcmp(found, under_way)))
        ck_abort_msg("mode %d: neither: %s", mode, found);
    free(found);
    crash_env_free(home.env);
}

/* Wherever the power fails in a run of appends that includes a rewrite, whatever the
 * disk makes of what was not synced: all that was acknowledged is there. */
START_TEST(power_loss) {
    struct rng rng = rng_of(harness_seed());
    struct buf image = make_manifest(&rng, true);
    bool stopped = true;
    for (uint64_t n = _i; stopped; n += 4) {
        struct env *disk = crash_env_new(), *ordinary = memory;
        char *texts[CRASH_APPENDS + 2] = {0};
        unsigned acknowledged;
        must(disk->make_dir(disk, DIR, 0700, &test_err));
        memory = disk;
        set_file(MANIFEST, buf_slice(&image));
        memory = ordinary;
        struct env_file *file;
        must(disk->open(disk, MANIFEST, ENV_READ | ENV_WRITE, 0, &file, &test_err));
        must(disk->sync(disk, file, &test_err));
        disk->close(disk, file);
        must(disk->sync_dir(disk, DIR, &test_err));
        must(disk->sync_dir(disk, "/", &test_err));
        append_until_stopped(disk, n, texts, &acknowledged);
        stopped = crash_env_stopped(disk);
        for (uint64_t seed = 0; seed < 8; seed++)
            for (enum crash_mode mode = 0; mode < CRASH_MODES; mode++)
                check_image(disk, mode, rng_next(&rng), texts, acknowledged);
        for (unsigned i = 0; i < CRASH_APPENDS + 2; i++)
            free(texts[i]);
        crash_env_free(disk);
    }
    home.env = fault;
    buf_release(&image);
}
END_TEST

static int work(struct manifest **m, struct manifest_state *s, uint64_t *appended) {
    struct rng rng = rng_of(3);
    struct version_edit e;
    int rc = manifest_open(&home, FILE_MODE, m, s, &test_err);
    for (unsigned i = 0; i < 30 && rc == 0; i++) {
        edit_init(&e);
        struct table_file *f = random_file(&rng, 1000 + i, 200);
        rc = f ? edit_add_file(&e, 1, f, &test_err) : KEVO_NOMEM;
        e.has_next_file = true;
        e.next_file = 1001 + i;
        table_file_unref(f);
        if (rc == 0) rc = manifest_append(*m, &e, s, &test_err);
        edit_release(&e);
        *appended += rc == 0;
    }
    return rc;
}

START_TEST(no_memory) {
    struct rng rng = rng_of(harness_seed());
    struct buf image = make_manifest(&rng, false);
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc; n += 1 + rng_below(&rng, 3)) {
        struct manifest_state s;
        struct manifest *m;
        uint64_t appended = 0;
        set_file(MANIFEST, buf_slice(&image));
        uint64_t before = fault_alloc_live();
        fault_alloc_fail_at(n, n % 2);
        rc = work(&m, &s, &appended);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        /* The files in memory are refused memory too. */
        if (rc && (!hit || (rc != KEVO_NOMEM && rc != KEVO_READONLY && rc != KEVO_FULL)))
            ck_abort_msg("%d, %s", rc, test_err.msg);
        if (m) {
            char *text = dump(&s);
            expect_disk(text);
            free(text);
            manifest_close(m);
            state_release(&s);
        }
        set_file(MANIFEST, buf_slice(&image));
        if (fault_alloc_live() != before) ck_abort_msg("leak at request %d", (int)n);
    }
    buf_release(&image);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("manifest");
    TCase *tcase = tcase_create("manifest");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, create_and_open);
    tcase_add_loop_test(tcase, random_edits, 0, 4);
    tcase_add_test(tcase, empty_edit);
    tcase_add_test(tcase, wrong_edits);
    tcase_add_test(tcase, every_length);
    tcase_add_test(tcase, torn_appends);
    tcase_add_loop_test(tcase, every_byte, 0, 3);
    tcase_add_test(tcase, stale_bytes);
    tcase_add_test(tcase, long_garbage);
    tcase_add_loop_test(tcase, failing_appends, 0, 32);
    tcase_add_test(tcase, failing_create_and_open);
    tcase_add_loop_test(tcase, failing_rename, 0, 2);
    tcase_add_loop_test(tcase, power_loss, 0, 4);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
