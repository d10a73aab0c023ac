#include "tests/lib/fault_env.h"

#include "tests/lib/harness.h"

static struct env *memory, *env;

static void set_up(void) {
    memory = env_memory_new();
    env = fault_env_new(memory);
}

static void tear_down(void) {
    fault_env_free(env);
    fault_env_free(NULL);
    env_memory_free(memory);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void nothing(void *arg) {
    (void)arg;
}

static int visit(void *arg, const char *name) {
    (void)name;
    ++*(int *)arg;
    return 0;
}

/* Each kind of call once; the codes OR-ed, so that any failure shows. */
static int each_call_once(const char *path, unsigned *failed) {
    struct env_file *f = NULL;
    struct env_thread *t = NULL;
    struct env_stat st;
    const uint8_t *map = NULL;
    uint64_t size;
    size_t got;
    char bytes[8];
    int names = 0, rc = 0;
#define CALL(kind, call)                                                                           \
    do {                                                                                           \
        int call_rc = (call);                                                                      \
        if (call_rc) *failed |= (kind);                                                            \
        if (call_rc) rc = call_rc;                                                                 \
    } while (0)
    unsigned flags = ENV_READ | ENV_WRITE | ENV_CREATE;
    *failed = 0;
    CALL(FAULT_MAKE_DIR, env->make_dir(env, "/d", 0755, &test_err));
    CALL(FAULT_OPEN, env->open(env, path, flags, 0644, &f, &test_err));
    if (f) {
        CALL(FAULT_WRITE, env->write(env, f, 0, "12345678", 8, &test_err));
        CALL(FAULT_READ, env->read(env, f, 0, bytes, 8, &got, &test_err));
        CALL(FAULT_TRUNCATE, env->truncate(env, f, 4, &test_err));
        CALL(FAULT_ALLOCATE, env->allocate(env, f, 16, &test_err));
        CALL(FAULT_SIZE, env->size(env, f, &size, &test_err));
        CALL(FAULT_MAP, env->map(env, f, 4, &map, &test_err));
        env->advise(env, map, 4, true);
        env->unmap(env, map, 4);
        CALL(FAULT_LOCK, env->lock(env, f, false, &test_err));
        CALL(FAULT_SYNC, env->sync(env, f, &test_err));
        env->close(env, f);
    }
    CALL(FAULT_STAT, env->stat(env, "/", &st, &test_err));
    CALL(FAULT_LIST, env->list(env, "/", visit, &names, &test_err));
    CALL(FAULT_SYNC_DIR, env->sync_dir(env, "/", &test_err));
    if (f) CALL(FAULT_RENAME, env->rename(env, path, path, &test_err));
    if (f) CALL(FAULT_SET_OWNER, env->set_owner(env, path, 1, 2, &test_err));
    if (f) CALL(FAULT_LINK, env->link(env, path, "/g", &test_err));
    if (f) CALL(FAULT_UNLINK, env->unlink(env, path, &test_err));
    if (!(*failed & FAULT_MAKE_DIR)) CALL(FAULT_REMOVE_DIR, env->remove_dir(env, "/d", &test_err));
    CALL(FAULT_RANDOM, env->random(env, bytes, 8, &test_err));
    CALL(FAULT_THREAD, env->thread_start(env, nothing, NULL, &t, &test_err));
    if (t) env->thread_join(env, t);
    env->sleep_us(env, 1);
    ck_assert_uint_gt(env->now_us(env), 0);
    ck_assert_uint_gt(env->process_id(env), 0);
    return rc;
}

START_TEST(each_kind_fails) {
    set_up();
    unsigned failed;
    ck_ok(each_call_once("/f", &failed));
    for (unsigned kind = 1; kind & FAULT_ALL; kind <<= 1) {
        fault_env_plan(env, (struct fault_plan){.kinds = kind, .nth = 1});
        ck_assert_int_eq(each_call_once("/f", &failed), KEVO_IOERR);
        ck_assert_uint_eq(failed, kind);
        ck_assert(fault_env_hit(env));
        ck_assert_uint_eq(fault_env_calls(env), 1);
        tear_down();
        set_up();
    }
    tear_down();
}
END_TEST

START_TEST(the_nth_of_all) {
    set_up();
    unsigned failed, all = 0;
    for (uint64_t n = 1;; n++) {
        fault_env_plan(env, (struct fault_plan){.kinds = FAULT_ALL, .nth = n, .rc = KEVO_FULL});
        int rc = each_call_once("/f", &failed);
        all |= failed;
        if (!fault_env_hit(env)) {
            ck_assert_int_eq(rc, KEVO_OK);
            ck_assert_uint_eq(n, fault_env_calls(env) + 1);
            break;
        }
        ck_assert_int_eq(rc, KEVO_FULL);
        tear_down();
        set_up();
    }
    ck_assert_uint_eq(all, FAULT_ALL);
    tear_down();
}
END_TEST

START_TEST(once_or_for_good) {
    set_up();
    for (int for_good = 0; for_good < 2; for_good++) {
        struct env_stat st;
        fault_env_plan(env,
                       (struct fault_plan){.kinds = FAULT_STAT, .nth = 2, .for_good = for_good});
        ck_ok(env->stat(env, "/", &st, &test_err));
        ck_assert(!fault_env_hit(env));
        ck_assert_int_eq(env->stat(env, "/", &st, &test_err), KEVO_IOERR);
        ck_assert_int_eq(env->stat(env, "/", &st, &test_err), for_good ? KEVO_IOERR : KEVO_OK);
        ck_assert_uint_eq(fault_env_calls(env), 3);
    }
    tear_down();
}
END_TEST

START_TEST(only_on_some_paths) {
    set_up();
    struct env_file *log, *table;
    unsigned flags = ENV_READ | ENV_WRITE | ENV_CREATE;
    ck_ok(env->open(env, "/1.wal", flags, 0644, &log, &test_err));
    ck_ok(env->open(env, "/1.sst", flags, 0644, &table, &test_err));
    fault_env_plan(
        env, (struct fault_plan){.kinds = FAULT_ALL, .path = ".wal", .nth = 1, .for_good = true});
    ck_ok(env->write(env, table, 0, "x", 1, &test_err));
    ck_ok(env->unlink(env, "/1.sst", &test_err));
    ck_assert_int_eq(env->write(env, log, 0, "x", 1, &test_err), KEVO_IOERR);
    ck_assert_int_eq(env->unlink(env, "/1.wal", &test_err), KEVO_IOERR);
    ck_assert_uint_eq(fault_env_calls(env), 2);
    env->close(env, log);
    env->close(env, table);
    tear_down();
}
END_TEST

START_TEST(part_of_a_write) {
    set_up();
    struct env_file *f;
    char bytes[8];
    size_t got;
    unsigned flags = ENV_READ | ENV_WRITE | ENV_CREATE;
    ck_ok(env->open(env, "/f", flags, 0644, &f, &test_err));
    fault_env_plan(env, (struct fault_plan){.kinds = FAULT_WRITE, .nth = 1, .partial_write = true});
    ck_assert_int_eq(env->write(env, f, 0, "12345678", 8, &test_err), KEVO_IOERR);
    ck_ok(env->read(env, f, 0, bytes, 8, &got, &test_err));
    ck_assert_uint_eq(got, 4);
    ck_assert_mem_eq(bytes, "1234", 4);
    env->close(env, f);
    tear_down();
}
END_TEST

int main(void) {
    Suite *s = suite_create("fault_env");
    TCase *t = tcase_create("fault_env");
    tcase_add_test(t, each_kind_fails);
    tcase_add_test(t, the_nth_of_all);
    tcase_add_test(t, once_or_for_good);
    tcase_add_test(t, only_on_some_paths);
    tcase_add_test(t, part_of_a_write);
    suite_add_tcase(s, t);
    return harness_run(s);
}
