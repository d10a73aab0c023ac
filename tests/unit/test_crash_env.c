#include "tests/lib/crash_env.h"

#include <stdio.h>
#include <string.h>

#include "tests/lib/harness.h"

static struct env *env;

static void set_up(void) {
    env = crash_env_new();
}

static void tear_down(void) {
    crash_env_free(env);
    crash_env_free(NULL);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static struct env_file *open_file(const char *path) {
    struct env_file *f;
    unsigned flags = ENV_READ | ENV_WRITE | ENV_CREATE;
    ck_ok(env->open(env, path, flags, 0644, &f, &test_err));
    return f;
}

static void put(struct env_file *f, uint64_t offset, const char *text) {
    ck_ok(env->write(env, f, offset, text, strlen(text), &test_err));
}

/* A file of one sector with this text, synced, name and all. */
static struct env_file *durable_file(const char *path, const char *text) {
    struct env_file *f = open_file(path);
    put(f, 0, text);
    ck_ok(env->sync(env, f, &test_err));
    ck_ok(env->sync_dir(env, "/", &test_err));
    return f;
}

/* The text of a file in an image, or "-" when there is none. */
static const char *text_in(struct env *image, const char *path) {
    static char text[4096];
    struct env_file *f;
    size_t got;
    if (image->open(image, path, ENV_READ, 0, &f, NULL) < 0) return "-";
    ck_ok(image->read(image, f, 0, text, sizeof text - 1, &got, &test_err));
    text[got] = 0;
    image->close(image, f);
    return text;
}

static void expect(enum crash_mode mode, const char *path, const char *want) {
    struct env *image = crash_env_image(env, mode, 1);
    ck_assert_str_eq(text_in(image, path), want);
    crash_env_free(image);
}

/* Draws images until each of the texts was seen, and nothing else. */
static void expect_each_of(enum crash_mode mode, const char *path, const char *const *wants) {
    unsigned seen = 0, all = 0;
    for (unsigned i = 0; wants[i]; i++)
        all |= 1u << i;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct env *image = crash_env_image(env, mode, seed);
        const char *got = text_in(image, path);
        unsigned i = 0;
        while (wants[i] && strcmp(wants[i], got) != 0)
            i++;
        if (!wants[i]) ck_abort_msg("seed %d: %s", (int)seed, got);
        seen |= 1u << i;
        crash_env_free(image);
    }
    ck_assert_uint_eq(seen, all);
}

START_TEST(unsynced_bytes) {
    set_up();
    struct env_file *f = durable_file("/f", "old");
    put(f, 0, "new");
    expect(CRASH_DROPPED, "/f", "old");
    expect(CRASH_KEPT, "/f", "new");
    expect_each_of(CRASH_RANDOM, "/f", (const char *const[]){"old", "new", NULL});
    put(f, 0, "yet");
    expect_each_of(CRASH_RANDOM, "/f", (const char *const[]){"old", "new", "yet", NULL});
    ck_ok(env->sync(env, f, &test_err));
    for (int mode = 0; mode < CRASH_MODES; mode++)
        expect(mode, "/f", "yet");
    env->close(env, f);
    tear_down();
}
END_TEST

START_TEST(garbage) {
    set_up();
    struct env_file *f = durable_file("/f", "old");
    put(f, 0, "new");
    unsigned other = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct env *image = crash_env_image(env, CRASH_GARBAGE, seed);
        const char *got = text_in(image, "/f");
        other += strcmp(got, "old") != 0 && strcmp(got, "new") != 0;
        crash_env_free(image);
    }
    ck_assert_uint_gt(other, 0);
    env->close(env, f);
    tear_down();
}
END_TEST

START_TEST(sizes) {
    set_up();
    struct env_file *f = durable_file("/f", "old");
    put(f, 3, "er");
    expect(CRASH_DROPPED, "/f", "old");
    expect(CRASH_KEPT, "/f", "older");
    ck_ok(env->truncate(env, f, 1, &test_err));
    expect(CRASH_DROPPED, "/f", "old");
    expect(CRASH_KEPT, "/f", "o");
    ck_ok(env->sync(env, f, &test_err));
    ck_ok(env->allocate(env, f, 100, &test_err));
    struct env *image = crash_env_image(env, CRASH_KEPT, 1);
    struct env_stat st;
    ck_ok(image->stat(image, "/f", &st, &test_err));
    ck_assert_uint_eq(st.size_bytes, 100);
    ck_assert_str_eq(text_in(image, "/f"), "o"); /* and not what was cut off */
    crash_env_free(image);
    expect(CRASH_DROPPED, "/f", "o");
    env->close(env, f);

    ck_ok(env->open(env, "/f", ENV_WRITE | ENV_TRUNCATE, 0, &f, &test_err));
    expect(CRASH_DROPPED, "/f", "o");
    expect(CRASH_KEPT, "/f", "");
    env->close(env, f);
    tear_down();
}
END_TEST

/* Of many unsynced sectors, images hold all sorts of subsets. */
START_TEST(subsets_of_sectors) {
    enum { SECTORS = 64 };
    set_up();
    struct env_file *f = open_file("/f");
    static char zeros[SECTORS * 512], ones[SECTORS * 512];
    memset(ones, 1, sizeof ones);
    ck_ok(env->write(env, f, 0, zeros, sizeof zeros, &test_err));
    ck_ok(env->sync(env, f, &test_err));
    ck_ok(env->sync_dir(env, "/", &test_err));
    ck_ok(env->write(env, f, 0, ones, sizeof ones, &test_err));
    unsigned none = 0, all = 0, some = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct env *image = crash_env_image(env, CRASH_RANDOM, seed);
        static uint8_t got_bytes[SECTORS * 512];
        struct env_file *g;
        size_t got, kept = 0;
        ck_ok(image->open(image, "/f", ENV_READ, 0, &g, &test_err));
        ck_ok(image->read(image, g, 0, got_bytes, sizeof got_bytes, &got, &test_err));
        ck_assert_uint_eq(got, sizeof got_bytes);
        for (size_t i = 0; i < SECTORS; i++) {
            const void *whole = got_bytes[i * 512] ? ones : zeros; /* never torn */
            ck_assert_mem_eq(got_bytes + i * 512, whole, 512);
            kept += got_bytes[i * 512];
        }
        none += kept == 0;
        all += kept == SECTORS;
        some += kept > 0 && kept < SECTORS;
        image->close(image, g);
        crash_env_free(image);
    }
    ck_assert_uint_gt(none, 10);
    ck_assert_uint_gt(all, 10);
    ck_assert_uint_gt(some, 50);
    env->close(env, f);
    tear_down();
}
END_TEST

START_TEST(names) {
    set_up();
    struct env_file *f = open_file("/f");
    put(f, 0, "text");
    ck_ok(env->sync(env, f, &test_err)); /* the bytes, not the name */
    env->close(env, f);
    expect(CRASH_DROPPED, "/f", "-");
    expect(CRASH_KEPT, "/f", "text");
    expect_each_of(CRASH_RANDOM, "/f", (const char *const[]){"-", "text", NULL});
    ck_ok(env->sync_dir(env, "/", &test_err));
    expect(CRASH_DROPPED, "/f", "text");
    ck_ok(env->unlink(env, "/f", &test_err));
    expect(CRASH_DROPPED, "/f", "text");
    expect(CRASH_KEPT, "/f", "-");
    expect_each_of(CRASH_RANDOM, "/f", (const char *const[]){"-", "text", NULL});
    env->close(env, open_file("/f")); /* another file of that name */
    ck_ok(env->sync_dir(env, "/", &test_err));
    for (int mode = 0; mode < CRASH_MODES; mode++)
        expect(mode, "/f", "");
    tear_down();
}
END_TEST

START_TEST(rename_is_atomic) {
    set_up();
    env->close(env, durable_file("/name", "old"));
    env->close(env, durable_file("/new", "new"));
    ck_ok(env->rename(env, "/new", "/name", &test_err));
    expect(CRASH_DROPPED, "/name", "old");
    expect(CRASH_KEPT, "/name", "new");
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct env *image = crash_env_image(env, CRASH_RANDOM, seed);
        bool done = strcmp(text_in(image, "/name"), "new") == 0;
        ck_assert_str_eq(text_in(image, "/new"), done ? "-" : "new");
        if (!done) ck_assert_str_eq(text_in(image, "/name"), "old");
        crash_env_free(image);
    }
    ck_ok(env->make_dir(env, "/d", 0755, &test_err));
    ck_assert_int_eq(env->rename(env, "/name", "/d/name", &test_err), KEVO_INVALID);
    ck_ok(env->rename(env, "/name", "/a", &test_err));
    ck_ok(env->rename(env, "/a", "/b", &test_err));
    for (uint64_t seed = 0; seed < 50; seed++) {
        static const char *const paths[] = {"/new", "/name", "/a", "/b"};
        struct env *image = crash_env_image(env, CRASH_RANDOM, seed);
        unsigned found = 0;
        for (size_t i = 0; i < 4; i++)
            found += strcmp(text_in(image, paths[i]), "new") == 0;
        ck_assert_uint_eq(found, 1);
        crash_env_free(image);
    }
    tear_down();
}
END_TEST

START_TEST(a_link_is_as_durable_as_its_directory) {
    set_up();
    env->close(env, durable_file("/f", "text"));
    ck_ok(env->make_dir(env, "/d", 0755, &test_err));
    ck_ok(env->sync_dir(env, "/", &test_err));
    ck_ok(env->link(env, "/f", "/d/g", &test_err));
    expect(CRASH_DROPPED, "/d/g", "-");
    expect(CRASH_KEPT, "/d/g", "text");
    ck_ok(env->sync_dir(env, "/d", &test_err));
    ck_ok(env->unlink(env, "/f", &test_err));
    expect(CRASH_DROPPED, "/d/g", "text");
    expect(CRASH_KEPT, "/f", "-");
    crash_env_stop_after(env, 0);
    ck_assert_int_eq(env->link(env, "/d/g", "/d/h", &test_err), KEVO_IOERR);
    tear_down();
}
END_TEST

START_TEST(directories) {
    set_up();
    struct env_stat st;
    ck_ok(env->make_dir(env, "/d", 0750, &test_err));
    struct env_file *f = open_file("/d/./f");
    put(f, 0, "text");
    ck_ok(env->sync(env, f, &test_err));
    env->close(env, f);
    ck_ok(env->sync_dir(env, "/d", &test_err)); /* /d itself is not durable yet */
    expect(CRASH_DROPPED, "/d/f", "-");
    ck_ok(env->sync_dir(env, "/", &test_err));
    expect(CRASH_DROPPED, "/d/f", "text");
    struct env *image = crash_env_image(env, CRASH_DROPPED, 1);
    ck_ok(image->stat(image, "/d", &st, &test_err));
    ck_assert(st.is_dir);
    ck_assert_uint_eq(st.mode, 0750);
    crash_env_free(image);
    ck_ok(env->unlink(env, "/d/f", &test_err));
    ck_ok(env->remove_dir(env, "/d", &test_err));
    expect(CRASH_DROPPED, "/d/f", "text");
    expect(CRASH_KEPT, "/d", "-");
    tear_down();
}
END_TEST

START_TEST(an_image_is_an_env) {
    set_up();
    struct env *first = env;
    env->close(env, durable_file("/f", "old"));
    env = crash_env_image(first, CRASH_RANDOM, 7);
    ck_assert_uint_eq(crash_env_changes(env), 0);
    expect(CRASH_DROPPED, "/f", "old"); /* all of it is durable */
    struct env_file *f = open_file("/f");
    put(f, 0, "new");
    expect(CRASH_DROPPED, "/f", "old");
    ck_ok(env->sync(env, f, &test_err));
    expect(CRASH_DROPPED, "/f", "new");
    env->close(env, f);
    ck_assert_uint_eq(crash_env_changes(env), 2);
    crash_env_free(env);
    env = first;
    expect(CRASH_KEPT, "/f", "old");
    tear_down();
}
END_TEST

START_TEST(the_power_goes_off) {
    set_up();
    struct env_file *f = durable_file("/f", "old"), *g;
    const uint8_t *map;
    crash_env_stop_after(env, 1);
    put(f, 0, "new");
    ck_assert(!crash_env_stopped(env));
    ck_assert_int_eq(env->write(env, f, 0, "xxx", 3, &test_err), KEVO_IOERR);
    ck_assert(crash_env_stopped(env));
    ck_assert_int_eq(env->sync(env, f, &test_err), KEVO_IOERR);
    ck_assert_int_eq(env->truncate(env, f, 0, &test_err), KEVO_IOERR);
    ck_assert_int_eq(env->allocate(env, f, 100, &test_err), KEVO_IOERR);
    ck_assert_int_eq(env->open(env, "/f", ENV_READ, 0, &g, &test_err), KEVO_IOERR);
    ck_assert_int_eq(env->rename(env, "/f", "/g", &test_err), KEVO_IOERR);
    ck_assert_int_eq(env->unlink(env, "/f", &test_err), KEVO_IOERR);
    ck_assert_int_eq(env->make_dir(env, "/d", 0755, &test_err), KEVO_IOERR);
    ck_assert_int_eq(env->remove_dir(env, "/d", &test_err), KEVO_IOERR);
    ck_assert_int_eq(env->sync_dir(env, "/", &test_err), KEVO_IOERR);
    ck_ok(env->map(env, f, 3, &map, &test_err));
    ck_assert_mem_eq(map, "new", 3);
    env->unmap(env, map, 3);
    expect(CRASH_DROPPED, "/f", "old");
    expect(CRASH_KEPT, "/f", "new");
    crash_env_stop_after(env, UINT64_MAX);
    ck_assert(!crash_env_stopped(env));
    ck_ok(env->sync(env, f, &test_err));
    env->close(env, f);
    tear_down();
}
END_TEST

START_TEST(a_failed_sync_loses_its_bytes) {
    set_up();
    struct env_file *f = durable_file("/f", "old");
    crash_env_fail_sync(env, 2);
    ck_ok(env->sync(env, f, &test_err));
    put(f, 0, "new");
    ck_assert_int_eq(env->sync(env, f, &test_err), KEVO_IOERR);
    ck_ok(env->sync(env, f, &test_err)); /* says yes, and yet */
    ck_assert_str_eq(text_in(env, "/f"), "new");
    for (int mode = 0; mode < CRASH_MODES; mode++)
        expect(mode, "/f", "old");
    put(f, 0, "yet");
    ck_ok(env->sync(env, f, &test_err));
    expect(CRASH_DROPPED, "/f", "yet");
    env->close(env, f);
    tear_down();
}
END_TEST

static unsigned watched;
static struct env *seen;

static void watch(void *arg) {
    ck_assert_ptr_eq(arg, &watched);
    if (++watched == 3) seen = crash_env_image(env, CRASH_KEPT, 1);
}

/* Who watches is told before each change, and can draw what is there. */
START_TEST(changes_are_watched) {
    set_up();
    watched = 0;
    crash_env_watch(env, watch, &watched);
    struct env_file *f = open_file("/a");
    put(f, 0, "first");
    put(f, 0, "other");
    ck_assert_uint_eq(watched, 3);
    ck_assert_str_eq(text_in(seen, "/a"), "first");
    crash_env_watch(env, NULL, NULL);
    put(f, 0, "third");
    ck_assert_uint_eq(watched, 3);
    crash_env_free(seen);
    env->close(env, f);
    tear_down();
}
END_TEST

/* Random operations; the image with everything kept equals the live files, the
 * image right after syncing everything does so in every mode. */
START_TEST(random_operations) {
    set_up();
    struct rng r = rng_of(harness_seed());
    static char data[3000], live[4096];
    char path[32], to[32];
    for (int i = 0; i < 1500; i++) {
        snprintf(path, sizeof path, "/%d", (int)rng_below(&r, 6));
        snprintf(to, sizeof to, "/%d", (int)rng_below(&r, 6));
        struct env_file *f = open_file(path);
        memset(data, 'a' + (int)rng_below(&r, 26), sizeof data);
        switch (rng_below(&r, 8)) {
        case 0: ck_ok(env->unlink(env, path, &test_err)); break;
        case 1: ck_ok(env->rename(env, path, to, &test_err)); break;
        case 2: ck_ok(env->truncate(env, f, rng_below(&r, 4000), &test_err)); break;
        case 3: ck_ok(env->sync_dir(env, "/", &test_err)); break;
        case 4: ck_ok(env->sync(env, f, &test_err)); break;
        default:
            ck_ok(env->write(env, f, rng_below(&r, 1000), data, rng_below(&r, 3000), &test_err));
        }
        env->close(env, f);
        bool settled = i % 10 == 0;
        for (int n = 0; n < 6 && settled; n++) {
            snprintf(path, sizeof path, "/%d", n);
            f = open_file(path);
            ck_ok(env->sync(env, f, &test_err));
            env->close(env, f);
        }
        if (settled) ck_ok(env->sync_dir(env, "/", &test_err));
        enum crash_mode mode = settled ? (enum crash_mode)rng_below(&r, CRASH_MODES) : CRASH_KEPT;
        struct env *image = crash_env_image(env, mode, rng_next(&r));
        for (int n = 0; n < 6; n++) {
            snprintf(path, sizeof path, "/%d", n);
            strcpy(live, text_in(env, path));
            ck_assert_str_eq(text_in(image, path), live);
        }
        crash_env_free(image);
    }
    tear_down();
}
END_TEST

int main(void) {
    Suite *s = suite_create("crash_env");
    TCase *t = tcase_create("crash_env");
    tcase_add_test(t, unsynced_bytes);
    tcase_add_test(t, garbage);
    tcase_add_test(t, sizes);
    tcase_add_test(t, subsets_of_sectors);
    tcase_add_test(t, names);
    tcase_add_test(t, rename_is_atomic);
    tcase_add_test(t, a_link_is_as_durable_as_its_directory);
    tcase_add_test(t, directories);
    tcase_add_test(t, an_image_is_an_env);
    tcase_add_test(t, the_power_goes_off);
    tcase_add_test(t, changes_are_watched);
    tcase_add_test(t, a_failed_sync_loses_its_bytes);
    tcase_add_test(t, random_operations);
    suite_add_tcase(s, t);
    return harness_run(s);
}
