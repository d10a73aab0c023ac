#include "engine/kevo.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/buf.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

/* Old versions that got a number in common in compactions of whole stores: they are still told
 * from newer and from older ones, by readers and by a repair. */

#define NEW "/new"

static struct env *env;
static struct kevo_options options;
static kevo_store *store;

static void setup(void) {
    env = env_memory_new();
    options = kv_options(env);
    options.sync = KEVO_SYNC_OFF;
    options.block_bytes = 64;
    options.table_bytes = 4 << 10;
    options.level1_bytes = 8 << 10;
    options.level_factor = 2;
    store = kv_open(&options);
}

static void teardown(void) {
    kevo_close(store);
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void flush(void) {
    ck_ok(kevo_flush(store, &test_err));
}

/* ---- which number ---------------------------------------------------------------------- */

struct span {
    uint64_t first, last;
};

static int widen(void *arg, const struct kevo_file *file) {
    struct span *s = arg;
    if (s->first == 0 || file->first_batch < s->first) s->first = file->first_batch;
    if (file->last_batch > s->last) s->last = file->last_batch;
    return 0;
}

static struct span span_of_store(void) {
    struct span s = {0, 0};
    ck_ok(kevo_each_file(store, widen, &s));
    return s;
}

/* a and z, b and y in two tables that overlap; returns the batch of the last one. */
static uint64_t put_four(void) {
    kv_put(store, "a", "1");
    kv_put(store, "z", "2");
    flush();
    kv_put(store, "b", "3");
    kv_put(store, "y", "4");
    uint64_t last = kevo_last_commit(store).batch;
    flush();
    return last;
}

/* That of the last batch that is in tables, unless a snapshot is older. */
START_TEST(one_number_for_all) {
    uint64_t flushed = put_four();
    kevo_snapshot *snap = _i ? kv_snapshot(store) : NULL;
    ck_assert_uint_eq(span_of_store().first, flushed - 3);
    if (_i) kv_put(store, "m", "5");
    ck_ok(kv_compact(store, &test_err));
    struct span s = span_of_store();
    ck_assert_uint_eq(s.first, flushed);
    ck_assert_uint_eq(s.last, flushed + (unsigned)_i);
    ck_assert_str_eq(kv_dump(store, NULL), _i ? "a=1 b=3 m=5 y=4 z=2" : "a=1 b=3 y=4 z=2");
    ck_ok(kevo_verify(store, &test_err));
    kevo_snapshot_free(snap);
}
END_TEST

START_TEST(not_where_nothing_is_compressed) {
    kevo_close(store);
    options.compression = KEVO_COMPRESSION_NONE;
    store = kv_open(&options);
    uint64_t flushed = put_four();
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(kv_tables(store), 1);
    ck_assert_uint_eq(span_of_store().first, flushed - 3);
}
END_TEST

/* ---- snapshots --------------------------------------------------------------------------- */

/* A reader who comes late is refused, not shown less than there was. */
START_TEST(late_snapshot) {
    kevo_snapshot *snap;
    kv_put(store, "m", "1");
    struct kevo_commit early = kevo_last_commit(store);
    put_four();
    ck_ok(kevo_snapshot_at(store, early, &snap, &test_err));
    if (_i == 0) kevo_snapshot_free(snap);
    ck_ok(kv_compact(store, &test_err));
    if (_i == 1) {
        struct kevo_read read = {.snapshot = snap};
        ck_assert_str_eq(kv_dump(store, &read), "m=1");
        kevo_snapshot_free(snap);
        return;
    }
    ck_assert_int_eq(kevo_snapshot_at(store, early, &snap, &test_err), KEVO_SNAPSHOT);
    ck_ok(kevo_snapshot_at(store, kevo_last_commit(store), &snap, &test_err));
    kevo_snapshot_free(snap);
}
END_TEST

/* ---- against an array, and repaired ----------------------------------------------------------- */

enum { KEYS = 40, SNAPSHOTS = 4, TABLES = 400 };

struct state {
    unsigned number[KEYS]; /* 0: no row */
};

struct world {
    struct rng rng;
    struct state now;
    unsigned number;
    struct {
        kevo_snapshot *snap;
        struct state state;
    } snapshots[SNAPSHOTS];
    struct {
        char name[32];
        struct buf bytes;
    } tables[TABLES]; /* that there have been */
    unsigned table_count;
};

static const char *name_of(unsigned k) {
    static char names[4][16];
    static unsigned turn;
    char *name = names[turn++ % 4];
    snprintf(name, 16, "key-%03u", k);
    return name;
}

static const char *value_of(unsigned k, unsigned number) {
    static char value[200];
    snprintf(value, sizeof value, "%u of %u, and the same for all: %060u", number, k, 0);
    return value;
}

static void change(struct world *w) {
    unsigned k = (unsigned)rng_below(&w->rng, KEYS), what = (unsigned)rng_below(&w->rng, 20);
    unsigned end = k + (unsigned)rng_below(&w->rng, KEYS - k);
    if (what == 0) {
        ck_ok(kevo_delete_range(store, kv_slice(name_of(k)), kv_slice(name_of(end)), &test_err));
        for (; k < end; k++)
            w->now.number[k] = 0;
    } else if (what < 5) {
        kv_delete(store, name_of(k));
        w->now.number[k] = 0;
    } else {
        w->now.number[k] = ++w->number;
        kv_put(store, name_of(k), value_of(k, w->number));
    }
}

static void change_snapshots(struct world *w) {
    size_t i = rng_below(&w->rng, SNAPSHOTS);
    kevo_snapshot_free(w->snapshots[i].snap);
    w->snapshots[i].snap = NULL;
    if (rng_below(&w->rng, 3) == 0) return;
    w->snapshots[i].snap = kv_snapshot(store);
    w->snapshots[i].state = w->now;
}

static void check(kevo_store *s, kevo_snapshot *snap, const struct state *state, bool no_more) {
    struct kevo_read read = {.snapshot = snap};
    for (unsigned k = 0; k < KEYS; k++) {
        const char *value = kv_get(s, &read, name_of(k)), *want = NULL;
        if (state->number[k]) want = value_of(k, state->number[k]);
        if (!want && !no_more) continue;
        if (!value != !want || (value && strcmp(value, want)))
            ck_abort_msg("%s is %s, not %s", name_of(k), value ? value : "missing",
                         want ? want : "missing");
    }
}

static void check_all(struct world *w) {
    check(store, NULL, &w->now, true);
    for (size_t i = 0; i < SNAPSHOTS; i++)
        if (w->snapshots[i].snap) check(store, w->snapshots[i].snap, &w->snapshots[i].state, true);
    ck_ok(kevo_verify(store, &test_err));
}

/* ---- files */

static const char *path_of(const char *name) {
    static char path[64];
    snprintf(path, sizeof path, KV_DIR "/%s", name);
    return path;
}

static int keep_table(void *arg, const char *name) {
    struct world *w = arg;
    struct env_file *f;
    uint64_t size;
    if (!strstr(name, ".sst")) return 0;
    for (unsigned i = 0; i < w->table_count; i++)
        if (strcmp(w->tables[i].name, name) == 0) return 0;
    if (w->table_count == TABLES) return 0;
    struct buf *b = &w->tables[w->table_count].bytes;
    snprintf(w->tables[w->table_count++].name, sizeof w->tables[0].name, "%s", name);
    must(env->open(env, path_of(name), ENV_READ, 0, &f, &test_err));
    must(env->size(env, f, &size, &test_err));
    if (!buf_reserve(b, size)) abort();
    must(env->read(env, f, 0, b->data, size, &b->len, &test_err));
    env->close(env, f);
    return 0;
}

/* As if the disk had not taken every removal. */
static void put_back_some(struct world *w, struct env *to) {
    for (unsigned i = 0; i < w->table_count; i++) {
        struct env_file *f;
        if (rng_below(&w->rng, 3)) continue;
        must(to->open(to, path_of(w->tables[i].name), ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, 0600,
                      &f, &test_err));
        must(to->write(to, f, 0, w->tables[i].bytes.data, w->tables[i].bytes.len, &test_err));
        to->close(to, f);
    }
}

/* A store that is killed and repaired. Without its manifest all tables count that are there:
 * what was deleted may be back then, but no row is older than it was. */
static void check_repaired(struct world *w, bool has_manifest) {
    struct env *copy = kv_copy(env);
    struct kevo_options o = options;
    kevo_store *s;
    o.env = copy;
    put_back_some(w, copy);
    if (!has_manifest) must(copy->unlink(copy, path_of("MANIFEST"), &test_err));
    ck_ok(kevo_repair(KV_DIR, NEW, &o, NULL, &test_err));
    ck_ok(kevo_open(NEW, &o, &s, &test_err));
    check(s, NULL, &w->now, has_manifest);
    ck_ok(kevo_verify(s, &test_err));
    kevo_close(s);
    env_memory_free(copy);
}

static void work(struct world *w) {
    switch (rng_below(&w->rng, 6)) {
    case 0: ck_ok(kv_compact(store, &test_err)); break;
    case 1:
        kevo_close(store);
        store = kv_open(&options);
        break;
    case 2:
        while (kevo_step(store, &test_err) == 0)
            continue;
        break;
    default: flush();
    }
    must(env->list(env, KV_DIR, keep_table, w, &test_err));
}

static void drop_snapshots(struct world *w) {
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        kevo_snapshot_free(w->snapshots[i].snap);
        w->snapshots[i].snap = NULL;
    }
}

START_TEST(history) {
    static struct world w;
    w = (struct world){.rng = rng_of(harness_seed() + (uint64_t)_i)};
    for (unsigned round = 0; round < 120; round++) {
        for (uint64_t n = rng_below(&w.rng, 40); n > 0; n--)
            change(&w);
        if (rng_below(&w.rng, 3) == 0) change_snapshots(&w);
        if (rng_below(&w.rng, 15) == 0) drop_snapshots(&w);
        check_all(&w);
        if (rng_below(&w.rng, 6) == 0) drop_snapshots(&w); /* before it may be closed */
        bool pinned = false;
        for (size_t i = 0; i < SNAPSHOTS; i++)
            pinned |= w.snapshots[i].snap != NULL;
        if (pinned)
            flush();
        else
            work(&w);
        if (pinned && rng_below(&w.rng, 2)) ck_ok(kv_compact(store, &test_err));
        must(env->list(env, KV_DIR, keep_table, &w, &test_err));
        check_all(&w);
        if (round % 4 == 0) check_repaired(&w, round % 8 == 0);
    }
    drop_snapshots(&w);
    for (unsigned i = 0; i < w.table_count; i++)
        buf_release(&w.tables[i].bytes);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("common_seq");
    TCase *tcase = tcase_create("common_seq");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, one_number_for_all, 0, 2);
    tcase_add_test(tcase, not_where_nothing_is_compressed);
    tcase_add_loop_test(tcase, late_snapshot, 0, 2);
    tcase_add_loop_test(tcase, history, 0, 8);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
