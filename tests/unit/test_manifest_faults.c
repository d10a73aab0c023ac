/* A manifest whose disk fails, loses power or has no memory. */
#include "tests/lib/crash_env.h"
#include "tests/lib/manifest_disk.h"

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
    return files_read(memory, MANIFEST);
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
    if (!hit && files_exist(memory, NEW_NAME)) ck_abort_msg("left behind");
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
            files_write(memory, MANIFEST, buf_slice(&image));
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
        ck_assert(rc == 0 || !files_exist(memory, MANIFEST));
        ck_assert(!files_exist(memory, NEW_NAME));
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
        files_write(memory, MANIFEST, buf_slice(&image));
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
        files_write(memory, MANIFEST, buf_slice(&image));
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
        files_write(memory, MANIFEST, buf_slice(&image));
        if (fault_alloc_live() != before) ck_abort_msg("leak at request %d", (int)n);
    }
    buf_release(&image);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("manifest_faults");
    TCase *tcase = tcase_create("manifest_faults");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, failing_appends, 0, 32);
    tcase_add_test(tcase, failing_create_and_open);
    tcase_add_loop_test(tcase, failing_rename, 0, 2);
    tcase_add_loop_test(tcase, power_loss, 0, 4);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
