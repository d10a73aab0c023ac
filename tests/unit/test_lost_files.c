/* A store of which something is lost, or something else is in its place: what is said, and that it
 * tells a way on. */
#include "tests/lib/kv.h"

static struct env *env;
static struct kevo_options options, existing, reading;

/* A table with a=1, and b=2 in the log. */
static void setup(void) {
    env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    options = existing = kv_options(env);
    existing.create_if_missing = false;
    reading = existing;
    reading.read_only = true;
    kevo_store *s = kv_open(&options);
    kv_put(s, "a", "1");
    ck_ok(kevo_flush(s, &test_err));
    kv_put(s, "b", "2");
    kevo_close(s);
}

static void teardown(void) {
    env_memory_free(env);
}

static void lose(const char *name) {
    ck_ok(env->unlink(env, name, &test_err));
}

static void make_file(const char *name) {
    struct env_file *f;
    ck_ok(env->open(env, name, ENV_WRITE | ENV_CREATE, 0600, &f, &test_err));
    env->close(env, f);
}

static void expect_error(int rc, int code, const char *what, const char *way) {
    ck_assert_msg(rc == code, "expected %d, got %d: %s", code, rc, test_err.msg);
    ck_assert_msg(strstr(test_err.msg, what), "\"%s\" lacks \"%s\"", test_err.msg, what);
    ck_assert_msg(strstr(test_err.msg, way), "\"%s\" lacks \"%s\"", test_err.msg, way);
}

static void expect_refused(const char *dir, const struct kevo_options *o, int code,
                           const char *what, const char *way) {
    kevo_store *s;
    int rc = kevo_open(dir, o, &s, &test_err);
    ck_assert_ptr_null(s);
    expect_error(rc, code, what, way);
}

START_TEST(the_lock) {
    static const char what[] = "/store/LOCK: missing", way[] = "make an empty file of that name";
    lose(KV_DIR "/LOCK");
    expect_refused(KV_DIR, &options, KEVO_CANTOPEN, what, way);
    expect_refused(KV_DIR, &reading, KEVO_CANTOPEN, what, way);
    expect_error(kevo_destroy(KV_DIR, &options, &test_err), KEVO_CANTOPEN, what, way);
    make_file(KV_DIR "/LOCK");
    kevo_store *s = kv_open(&options);
    ck_assert_str_eq(kv_dump(s, NULL), "a=1 b=2");
    kevo_close(s);
}
END_TEST

/* The code is one of damage, as for the other files: so is what can be done. */
START_TEST(a_table) {
    static const char what[] = "/store/000001.sst: the table file is missing";
    struct kevo_value v;
    lose(KV_DIR "/000001.sst");
    kevo_store *s = kv_open(&options);
    expect_error(kevo_get(s, NULL, kv_slice("a"), &v, &test_err), KEVO_CORRUPT, what, "");
    expect_error(kevo_verify(s, &test_err), KEVO_CORRUPT, what, "");
    ck_assert_str_eq(kv_get(s, NULL, "b"), "2");
    ck_ok(kevo_flush(s, &test_err));
    expect_error(kv_compact(s, &test_err), KEVO_CORRUPT, what, "");
    kevo_close(s);
}
END_TEST

START_TEST(a_segment) {
    lose(KV_DIR "/000002.wal");
    expect_refused(KV_DIR, &options, KEVO_CORRUPT, "/store/000002.wal: ", "missing");
}
END_TEST

START_TEST(the_manifest) {
    lose(KV_DIR "/MANIFEST");
    expect_refused(KV_DIR, &options, KEVO_CORRUPT, "/store/MANIFEST: missing", "there is data");
}
END_TEST

START_TEST(another_thing_in_its_place) {
    make_file("/file");
    expect_refused("/file", &options, KEVO_CANTOPEN, "/file: not a directory", "move that file");
    ck_ok(env->make_dir(env, "/home", 0700, &test_err));
    expect_refused("/home", &existing, KEVO_CANTOPEN, "there is no kevo store", "put back the one");
    make_file("/home/letter");
    expect_refused("/home", &options, KEVO_CANTOPEN, "something else", "name another");
    expect_refused("/home", &existing, KEVO_CANTOPEN, "something else", "put back the one");
    expect_refused("/home", &reading, KEVO_CANTOPEN, "something else", "put back the one");
}
END_TEST

START_TEST(another_store_in_its_place) {
    struct kevo_options o = options;
    o.error_if_exists = true;
    expect_refused(KV_DIR, &o, KEVO_CANTOPEN, "there is a store already", "name another");
    o = options;
    o.authority = KEVO_AUTHORITY_EXTERNAL;
    expect_refused(KV_DIR, &o, KEVO_INVALID, "decides its commits itself", "name another");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("lost_files");
    TCase *tcase = tcase_create("lost_files");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, the_lock);
    tcase_add_test(tcase, a_table);
    tcase_add_test(tcase, a_segment);
    tcase_add_test(tcase, the_manifest);
    tcase_add_test(tcase, another_thing_in_its_place);
    tcase_add_test(tcase, another_store_in_its_place);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
