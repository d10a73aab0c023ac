/* Files of a format that a later kevo may have: refused by that name, not as damage, and neither
 * opening nor a repair changes or drops any of them. */
#include <stdlib.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "engine/table/table_format.h"
#include "tests/lib/kv.h"

#define NEW "/new"

static struct env *env;
static struct kevo_options options;

/* Where a file tells its version, and the bytes whose checksum lies behind them. Below zero: from
 * its end. */
static const struct place {
    const char *file;
    int version, begin, checksum;
    bool opens; /* it is looked at when it is read */
} places[] = {
    {KV_DIR "/MANIFEST", 8, 0, 40, false},
    {KV_DIR "/000002.wal", 8, 0, 72, false},
    {KV_DIR "/000001.sst", -24, -TABLE_FOOTER_BYTES, -8, true},
};
enum { PLACES = sizeof places / sizeof places[0] };

/* A table with a=1, and b=2 in the log. */
static void setup(void) {
    env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    options = kv_options(env);
    kevo_store *s = kv_open(&options);
    kv_put(s, "a", "1");
    ck_ok(kevo_flush(s, &test_err));
    kv_put(s, "b", "2");
    kevo_close(s);
}

static void teardown(void) {
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void set_version(const struct place *p, uint32_t version, bool seal) {
    struct env_file *f;
    uint8_t *bytes;
    uint64_t size;
    size_t got;
    ck_ok(env->open(env, p->file, ENV_READ | ENV_WRITE, 0, &f, &test_err));
    ck_ok(env->size(env, f, &size, &test_err));
    bytes = malloc(size);
    ck_ok(env->read(env, f, 0, bytes, size, &got, &test_err));
    uint8_t *from = p->version < 0 ? bytes + size : bytes;
    put_fixed32(from + p->version, version);
    if (seal)
        put_fixed64(from + p->checksum,
                    checksum64(from + p->begin, (size_t)(p->checksum - p->begin), 0));
    ck_ok(env->write(env, f, 0, bytes, size, &test_err));
    env->close(env, f);
    free(bytes);
}

static void expect_code(int rc, int code, const char *file) {
    ck_assert_msg(rc == code, "%s: expected %d, got %d: %s", file, code, rc, test_err.msg);
    ck_assert_msg(strstr(test_err.msg, file), "\"%s\" lacks \"%s\"", test_err.msg, file);
    if (code == KEVO_NEWER)
        ck_assert_msg(strstr(test_err.msg, "of a newer kevo"), "\"%s\"", test_err.msg);
}

/* What opening and all that reads says. */
static void expect_refused(const struct place *p, int code) {
    struct kevo_value v;
    kevo_store *s;
    int rc = kevo_open(KV_DIR, &options, &s, &test_err);
    if (!p->opens) {
        ck_assert_ptr_null(s);
        expect_code(rc, code, p->file);
        return;
    }
    ck_ok(rc);
    expect_code(kevo_get(s, NULL, kv_slice("a"), &v, &test_err), code, p->file);
    expect_code(kevo_verify(s, &test_err), code, p->file);
    kevo_close(s);
}

START_TEST(refused) {
    const struct place *p = &places[_i];
    size_t before_size, after_size;
    set_version(p, 77, true);
    char *before = kv_contents(env, &before_size);
    expect_refused(p, KEVO_NEWER);
    expect_code(kevo_repair(KV_DIR, NEW, &options, NULL, &test_err), KEVO_NEWER, p->file);
    struct env_stat st;
    ck_assert_int_eq(env->stat(env, NEW, &st, &test_err), KEVO_NOTFOUND);
    char *after = kv_contents(env, &after_size);
    ck_assert(before_size == after_size && memcmp(before, after, after_size) == 0);
    free(before);
    free(after);
}
END_TEST

/* One that compacts finds it too, and leaves it. */
START_TEST(not_merged) {
    const struct place *p = &places[2];
    set_version(p, 3, true);
    kevo_store *s = kv_open(&options);
    ck_ok(kevo_flush(s, &test_err));
    expect_code(kv_compact(s, &test_err), KEVO_NEWER, p->file);
    kevo_close(s);
    set_version(p, 1, true);
    s = kv_open(&options);
    ck_assert_str_eq(kv_dump(s, NULL), "a=1 b=2");
    kevo_close(s);
}
END_TEST

/* Version 0 there is not, and a version without its checksum is nobody's word. */
START_TEST(damage_is_damage) {
    const struct place *p = &places[_i / 2];
    set_version(p, _i % 2 ? 77 : 0, _i % 2 == 0);
    expect_refused(p, KEVO_CORRUPT);
    ck_ok(kevo_repair(KV_DIR, NEW, &options, NULL, &test_err));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("newer");
    TCase *tcase = tcase_create("newer");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, refused, 0, PLACES);
    tcase_add_test(tcase, not_merged);
    tcase_add_loop_test(tcase, damage_is_damage, 0, 2 * PLACES);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
