/* Stores as earlier versions wrote them, kept in tests/data: each must be read, checked and
 * written to by every later version. tests/data/v1/NAME/ is the directory of a store whose
 * process was killed, tests/data/v1/NAME.rows what it holds. The tables in tests/data/v2 have
 * packed blocks.
 *
 * They were made by this program: KEVO_MAKE_GOLDEN=directory makes such stores there. The
 * files of a released format are never made anew; a new format gets a directory of its own. */
#include "engine/kevo.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/kv.h"

static const char *const names[] = {"self", "external"};
enum { NAMES = sizeof names / sizeof names[0], ROWS = 240 };

static const char *const versions[] = {"v1", "v2"};
enum { VERSIONS = sizeof versions / sizeof versions[0], STORES = VERSIONS * NAMES };

/* ---- files -------------------------------------------------------------------------- */

struct copy {
    struct env *from, *to;
    const char *from_dir, *to_dir;
};

static int copy_file(void *arg, const char *name) {
    struct copy *c = arg;
    struct env_file *f;
    char path[ENV_PATH_MAX];
    uint64_t size;
    size_t got;
    ck_ok(env_join(path, c->from_dir, name, &test_err));
    ck_ok(c->from->open(c->from, path, ENV_READ, 0, &f, &test_err));
    ck_ok(c->from->size(c->from, f, &size, &test_err));
    char *bytes = malloc((size_t)size + 1);
    ck_assert_ptr_nonnull(bytes);
    ck_ok(c->from->read(c->from, f, 0, bytes, (size_t)size, &got, &test_err));
    ck_assert_uint_eq(got, size);
    c->from->close(c->from, f);
    ck_ok(env_join(path, c->to_dir, name, &test_err));
    ck_ok(c->to->open(c->to, path, ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, 0644, &f, &test_err));
    if (got) ck_ok(c->to->write(c->to, f, 0, bytes, got, &test_err));
    c->to->close(c->to, f);
    free(bytes);
    return 0;
}

static void copy_dir(struct env *from, const char *from_dir, struct env *to, const char *to_dir) {
    struct copy c = {from, to, from_dir, to_dir};
    ck_ok(to->make_dir(to, to_dir, 0755, &test_err));
    ck_ok(from->list(from, from_dir, copy_file, &c, &test_err));
}

/* What is in the store, and for an external authority the commit that it named last: a
 * line of two numbers, then the rows. */
static void save_rows(const char *path, struct kevo_commit last, const char *rows) {
    FILE *out = fopen(path, "w");
    ck_assert_ptr_nonnull(out);
    fprintf(out, "%llu %llu\n%s\n", (unsigned long long)last.batch, (unsigned long long)last.nonce,
            rows);
    ck_assert_int_eq(fclose(out), 0);
}

static char *load_rows(const char *path, struct kevo_commit *last) {
    unsigned long long batch, nonce;
    char *rows = NULL;
    size_t size = 0;
    FILE *in = fopen(path, "r");
    ck_assert_msg(in != NULL, "cannot open %s", path);
    ck_assert_int_eq(fscanf(in, "%llu %llu\n", &batch, &nonce), 2);
    ssize_t len = getline(&rows, &size, in);
    ck_assert_int_gt(len, 0);
    rows[len - 1] = 0;
    fclose(in);
    *last = (struct kevo_commit){batch, nonce};
    return rows;
}

/* ---- making them -------------------------------------------------------------------- */

static const char *key_of(unsigned i) {
    static char text[4][32];
    static unsigned turn;
    char *key = text[turn++ % 4];
    snprintf(key, sizeof text[0], "row:%05u", i * 7919 % 10000);
    return key;
}

static const char *value_of(unsigned i, const char *word) {
    static char text[200];
    snprintf(text, sizeof text, "%s %u, and %s again, %u times %s", word, i, word, i % 9, word);
    return i % 17 == 0 ? "" : text; /* empty values are values */
}

static void run_out_of_work(kevo_store *s) {
    int rc;
    while ((rc = kevo_step(s, &test_err)) == 0) {
    }
    ck_assert_int_eq(rc, KEVO_NOTFOUND);
}

static void put_round(kevo_store *s, unsigned from, unsigned to, const char *word) {
    for (unsigned i = from; i < to; i++)
        kv_put(s, key_of(i), value_of(i, word));
}

static void ingest_some(kevo_store *s) {
    kevo_ingest *ingest;
    char key[32];
    ck_ok(kevo_ingest_new(s, &ingest, &test_err));
    for (unsigned i = 0; i < 60; i++) {
        snprintf(key, sizeof key, "bulk:%03u", i);
        ck_ok(kevo_ingest_put(ingest, kv_slice(key), kv_slice(value_of(i, "bulk")), &test_err));
    }
    ck_ok(kevo_ingest_finish(ingest, NULL, &test_err));
    kevo_ingest_free(ingest);
}

/* A batch that is in the log and never was: the void record behind it says so. */
static void take_back_a_batch(kevo_store *s) {
    struct kevo_commit commit;
    kevo_txn *t = kv_txn(s);
    kv_txn_put(t, "never", "was");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &commit, &test_err));
    kevo_txn_rollback(t);
    ck_ok(kevo_resolve(s, kevo_last_commit(s), &test_err));
    kevo_txn_unref(t);
}

/* Tables in several levels, raw and compressed, of rows, tombstones and range tombstones;
 * ingested ones; old versions kept for a snapshot; two log segments with every kind of record. */
static void make_self(kevo_store *s) {
    put_round(s, 0, ROWS, "first");
    ck_ok(kevo_flush(s, &test_err));
    ck_ok(kv_compact(s, &test_err));
    ingest_some(s);
    put_round(s, ROWS / 3, ROWS, "second");
    for (unsigned i = 0; i < ROWS; i += 10)
        kv_delete(s, key_of(i));
    ck_ok(kevo_flush(s, &test_err));
    run_out_of_work(s);
    kevo_snapshot *snap = kv_snapshot(s);
    ck_ok(kevo_delete_range(s, kv_slice("row:02000"), kv_slice("row:02500"), &test_err));
    put_round(s, 0, ROWS / 4, "third");
    ck_ok(kevo_flush(s, &test_err));
    ck_ok(kevo_delete_range(s, kv_slice("bulk:010"), kv_slice("bulk:020"), &test_err));
    kv_put(s, "bulk:015", "after the range");
    ck_ok(kevo_rotate(s, &test_err));
    kevo_snapshot_free(snap);
    put_round(s, ROWS, ROWS + 10, "in the log");
    kv_delete(s, key_of(ROWS));
    ck_ok(kevo_delete_range(s, kv_slice("row:09900"), kv_all, &test_err));
    take_back_a_batch(s);
    kv_put(s, "last", "in the log");
}

static struct kevo_commit commit_round(kevo_store *s, unsigned from, unsigned to,
                                       const char *word) {
    struct kevo_commit commit;
    kevo_txn *t = kv_txn(s);
    for (unsigned i = from; i < to; i++)
        kv_txn_put(t, key_of(i), value_of(i, word));
    kv_txn_delete(t, key_of(from));
    ck_ok(kevo_txn_delete_range(t, kv_slice("row:04000"), kv_slice("row:04100"), &test_err));
    kv_txn_put(t, "row:04050", word);
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_OFF, &commit, &test_err));
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    return commit;
}

/* Ends with a batch that the authority did not commit. */
static struct kevo_commit make_external(kevo_store *s) {
    struct kevo_commit last, doubt;
    ck_ok(kevo_resolve(s, (struct kevo_commit){0, 0}, &test_err));
    last = commit_round(s, 0, ROWS / 2, "first");
    ck_ok(kevo_resolve(s, last, &test_err));
    ck_ok(kevo_rotate(s, &test_err));
    run_out_of_work(s);
    last = commit_round(s, ROWS / 4, ROWS, "second");
    kevo_txn *t = kv_txn(s);
    kv_txn_put(t, "never", "was");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_OFF, &doubt, &test_err));
    kevo_txn_rollback(t);
    kevo_txn_unref(t);
    return last;
}

static struct kevo_options golden_options(struct env *env, unsigned which) {
    struct kevo_options o = kv_options(env);
    o.authority = which == 0 ? KEVO_AUTHORITY_SELF : KEVO_AUTHORITY_EXTERNAL;
    o.table_bytes = 4096;
    o.level1_bytes = 8192;
    return o;
}

static void make(const char *dir, unsigned which) {
    struct env *memory = env_memory_new();
    struct kevo_options o = golden_options(memory, which);
    char path[ENV_PATH_MAX];
    kevo_store *s = kv_open(&o);
    struct kevo_commit last = {0, 0};
    if (which == 0)
        make_self(s);
    else
        last = make_external(s);
    ck_ok(env_join(path, dir, names[which], &test_err));
    copy_dir(memory, KV_DIR, env_posix(), path);
    strcat(path, ".rows");
    save_rows(path, last, kv_dump(s, NULL));
    kevo_close(s);
    env_memory_free(memory);
}

/* ---- reading them ------------------------------------------------------------------- */

struct golden {
    struct env *memory;
    struct kevo_options options;
    struct kevo_commit last;
    char *rows;
};

static struct golden load(unsigned n) {
    struct golden g = {.memory = env_memory_new()};
    unsigned which = n % NAMES;
    char dir[ENV_PATH_MAX], path[ENV_PATH_MAX];
    ck_ok(env_join(dir, KEVO_TEST_DATA, versions[n / NAMES], &test_err));
    ck_ok(env_join(path, dir, names[which], &test_err));
    copy_dir(env_posix(), path, g.memory, KV_DIR);
    strcat(path, ".rows");
    g.rows = load_rows(path, &g.last);
    g.options = golden_options(g.memory, which);
    g.options.use_kept = true;
    g.options.create_if_missing = false;
    return g;
}

static void unload(struct golden *g) {
    env_memory_free(g->memory);
    free(g->rows);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static kevo_store *open_golden(const struct golden *g) {
    kevo_store *s = kv_open(&g->options);
    if (g->options.authority == KEVO_AUTHORITY_EXTERNAL) ck_ok(kevo_resolve(s, g->last, &test_err));
    return s;
}

START_TEST(reads_what_was_written) {
    struct golden g = load((unsigned)_i);
    kevo_store *s = open_golden(&g);
    ck_ok(kevo_verify(s, &test_err));
    ck_assert_str_eq(kv_dump(s, NULL), g.rows);
    kevo_close(s);
    unload(&g);
}
END_TEST

START_TEST(reads_the_same_when_all_is_written_anew) {
    struct golden g = load((unsigned)_i);
    kevo_store *s = open_golden(&g);
    ck_ok(kevo_rotate(s, &test_err));
    ck_ok(kv_compact(s, &test_err));
    ck_ok(kevo_verify(s, &test_err));
    ck_assert_str_eq(kv_dump(s, NULL), g.rows);
    kevo_close(s);
    s = open_golden(&g);
    ck_assert_str_eq(kv_dump(s, NULL), g.rows);
    kevo_close(s);
    unload(&g);
}
END_TEST

START_TEST(is_read_without_changing_it) {
    struct golden g = load((unsigned)_i);
    size_t before_size, after_size;
    char *before = kv_contents(g.memory, &before_size);
    g.options.read_only = true;
    kevo_store *s = kv_open(&g.options);
    if (g.options.authority == KEVO_AUTHORITY_SELF) ck_assert_str_eq(kv_dump(s, NULL), g.rows);
    kevo_close(s);
    char *after = kv_contents(g.memory, &after_size);
    ck_assert_uint_eq(before_size, after_size);
    ck_assert(memcmp(before, after, before_size) == 0);
    free(before);
    free(after);
    unload(&g);
}
END_TEST

START_TEST(takes_more) {
    struct golden g = load((unsigned)_i * NAMES); /* it decides its commits itself */
    kevo_store *s = open_golden(&g);
    kv_put(s, "zzz", "new");
    kevo_close(s);
    s = open_golden(&g);
    ck_assert_str_eq(kv_get(s, NULL, "zzz"), "new");
    ck_ok(kevo_delete_range(s, kv_slice("zzz"), kv_all, &test_err));
    ck_assert_str_eq(kv_dump(s, NULL), g.rows);
    kevo_close(s);
    unload(&g);
}
END_TEST

int main(void) {
    const char *dir = getenv("KEVO_MAKE_GOLDEN");
    if (dir) {
        for (unsigned i = 0; i < NAMES; i++)
            make(dir, i);
        return 0;
    }
    Suite *suite = suite_create("golden");
    TCase *tc = tcase_create("earlier formats");
    tcase_add_loop_test(tc, reads_what_was_written, 0, STORES);
    tcase_add_loop_test(tc, reads_the_same_when_all_is_written_anew, 0, STORES);
    tcase_add_loop_test(tc, is_read_without_changing_it, 0, STORES);
    tcase_add_loop_test(tc, takes_more, 0, VERSIONS);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
