#include "engine/store/options.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/coding.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/kv.h"

static struct env *env;
static struct kevo_options options;

static void setup(void) {
    env = env_memory_new();
    ck_assert_ptr_nonnull(env);
    options = kv_options(env);
}

static void teardown(void) {
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static void expect_error(int rc, int code, const char *part) {
    ck_assert_msg(rc == code, "expected %d, got %d: %s", code, rc, test_err.msg);
    ck_assert_msg(strstr(test_err.msg, part), "\"%s\" does not say \"%s\"", test_err.msg, part);
}

static void expect_refused(const struct kevo_options *o, const char *part) {
    kevo_store *s;
    expect_error(kevo_open("/new", o, &s, &test_err), KEVO_INVALID, part);
    ck_assert_ptr_null(s);
}

static bool exists(const char *path) {
    struct env_stat st;
    return env->stat(env, path, &st, &test_err) == 0;
}

/* ---- values ------------------------------------------------------------------------- */

START_TEST(defaults_are_those_promised) {
    struct kevo_options o;
    kevo_options_default(&o);
    ck_assert_uint_eq(o.memtable_bytes, 32 << 20);
    ck_assert_uint_eq(o.memtable_age_ms, 3600000);
    ck_assert_uint_eq(o.memtable_count, 4);
    ck_assert_uint_eq(o.cache_bytes, 64 << 20);
    ck_assert_uint_eq(o.block_bytes, 4096);
    ck_assert_int_eq(o.compression, KEVO_COMPRESSION_LZ4);
    ck_assert_int_eq(o.sync, KEVO_SYNC_FULL);
    ck_assert_int_eq(o.authority, KEVO_AUTHORITY_SELF);
    ck_assert(o.background && o.create_if_missing && !o.error_if_exists);
    ck_assert_ptr_null(o.env);
}
END_TEST

#define REFUSED(field, name, value)                                                                \
    do {                                                                                           \
        struct kevo_options o_ = options;                                                          \
        o_.field = value;                                                                          \
        expect_refused(&o_, "option " name);                                                       \
        ck_assert(!exists("/new"));                                                                \
    } while (0)

START_TEST(options_out_of_range_are_refused_by_name) {
    REFUSED(authority, "authority", 0);
    REFUSED(authority, "authority", 3);
    REFUSED(sync, "sync", -1);
    REFUSED(sync, "sync", 3);
    REFUSED(wal_sync_bytes, "wal_sync_size", 0);
    REFUSED(memtable_bytes, "memtable_size", 4095);
    REFUSED(memtable_bytes, "memtable_size", ((uint64_t)1 << 32) + 1);
    REFUSED(memtable_age_ms, "memtable_age_ms", 2592000001);
    REFUSED(memtable_count, "memtable_count", 1);
    REFUSED(memtable_count, "memtable_count", 17);
    REFUSED(cache_bytes, "cache_size", UINT64_MAX);
    REFUSED(block_bytes, "block_size", 63);
    REFUSED(block_bytes, "block_size", (1 << 20) + 1);
    REFUSED(compression, "compression", 2);
    REFUSED(compression, "compression", -1);
    REFUSED(filter_bits_per_key, "filter_bits", 33);
    REFUSED(table_bytes, "table_size", 0);
    REFUSED(max_open_tables, "max_open_tables", 0);
    REFUSED(max_open_tables, "max_open_tables", 65537);
    REFUSED(uncompressed_levels, "uncompressed_levels", 8);
    REFUSED(l0_trigger, "l0_trigger", 0);
    REFUSED(l0_slow, "l0_slow", 1);
    REFUSED(l0_stop, "l0_stop", 1);
    REFUSED(l0_stop, "l0_stop", 151);
    REFUSED(level1_bytes, "level1_size", 1);
    REFUSED(level_factor, "level_factor", 1);
    REFUSED(retain_ms, "retain_ms", UINT64_MAX);
    REFUSED(settle_ms, "settle_ms", 86400001);
    REFUSED(file_mode, "file_mode", 010000);
}
END_TEST

/* ---- as text ------------------------------------------------------------------------- */

static const struct text_case {
    const char *name, *value, *text; /* what is read back; NULL: refused */
    const char *message;
} text_cases[] = {
    {"memtable_size", "64MB", "64 MB", NULL},
    {"MEMTABLE_SIZE", " 64 mb ", "64 MB", NULL},
    {"memtable_size", "1 GB", "1 GB", NULL},
    {"memtable_size", "65536", "64 KB", NULL},
    {"memtable_size", "4097", "4097", NULL},
    {"cache_size", "0", "0", NULL},
    {"cache_size", "1024GB", "1024 GB", NULL},
    {"block_size", "64", "64", NULL},
    {"compression", "LZ4", "lz4", NULL},
    {"compression", "none", "none", NULL},
    {"sync", "normal", "normal", NULL},
    {"l0_stop", "150", "150", NULL},
    {"retain_ms", "0", "0", NULL},
    {"settle_ms", "0", "0", NULL},
    {"memtable_size", "4095", NULL, "memtable_size = 4095: give a size from 4 KB to 4 GB, as a"},
    {"memtable_size", "", NULL, "give a size"},
    {"memtable_size", "MB", NULL, "give a size"},
    {"memtable_size", "-1", NULL, "give a size"},
    {"memtable_size", "5 TB", NULL, "5 TB"},
    {"memtable_size", "1 GBs", NULL, "1 GBs"},
    {"memtable_size", "64 MB of it", NULL, "64 MB of it"},
    {"memtable_size", "18446744073709551616", NULL, "give a size"},
    {"memtable_size", "18014398509481984 KB", NULL, "give a size"},
    {"block_size", "2 MB", NULL, "from 64 bytes to 1 MB"},
    {"cache_size", "1025 GB", NULL, "from 0 to 1024 GB"},
    {"l0_stop", "151", NULL, "l0_stop = 151: give a number from 1 to 150"},
    {"l0_stop", "1 KB", NULL, "give a number"},
    {"sync", "1", NULL, "sync = 1: give off, normal or full"},
    {"sync", "", NULL, "give off"},
    {"compression", "zstd", NULL, "give none or lz4"},
    {"level1_bytes", "1", NULL, "unknown option level1_bytes: there are sync, "},
    {"", "1", NULL, "unknown option "},
};

START_TEST(text_is_parsed_and_printed) {
    const struct text_case *c = &text_cases[_i];
    struct kevo_options o = options, before = options;
    char text[KEVO_OPTION_TEXT];
    int rc = kevo_options_set(&o, c->name, c->value, &test_err);
    if (!c->text) {
        expect_error(rc, KEVO_INVALID, c->message);
        ck_assert_ptr_null(options_difference(&o, &before));
        return;
    }
    ck_ok(rc);
    ck_ok(kevo_options_get(&o, c->name, text, &test_err));
    ck_assert_str_eq(text, c->text);
}
END_TEST

START_TEST(every_option_is_there_by_name) {
    struct kevo_options o, other;
    struct kevo_option option;
    char text[KEVO_OPTION_TEXT];
    unsigned count = 0;
    kevo_options_default(&o);
    for (; kevo_option_at(count, &option); count++) {
        ck_ok(kevo_options_get(&o, option.name, text, &test_err));
        ck_assert_str_eq(text, option.standard);
        other = o;
        ck_ok(kevo_options_set(&other, option.name, option.standard, &test_err));
        ck_assert_ptr_null(options_difference(&o, &other));
        ck_assert(strlen(option.effect) > 0 && strlen(option.range) > 0);
    }
    ck_assert_uint_ge(count, 15);
    expect_error(kevo_options_get(&o, "speed", text, &test_err), KEVO_INVALID, "retain_ms");
}
END_TEST

/* ---- README ---------------------------------------------------------------------------- */

static char *read_text(const char *path) {
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s: cannot be opened", path);
    char *text = calloc(1, 1 << 20);
    ck_assert(text && fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return text;
}

/* Words come as code, figures as they are. */
static void print_cell(FILE *out, const char *text) {
    bool word = text[0] > '9';
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, ",");
        fprintf(out, word ? "`%.*s`" : "%.*s", (int)n, p);
        p += n;
        if (*p) fprintf(out, ", ");
        p += strspn(p, ", ");
    }
}

START_TEST(readme_has_the_very_table) {
    char *table, *readme = read_text(README);
    size_t size;
    struct kevo_option option;
    FILE *out = open_memstream(&table, &size);
    fprintf(out, "| option | default | range | effect |\n|---|---|---|---|\n");
    for (unsigned i = 0; kevo_option_at(i, &option); i++) {
        fprintf(out, "| `%s` | ", option.name);
        print_cell(out, option.standard);
        fprintf(out, " | ");
        print_cell(out, option.range);
        fprintf(out, " | %s |\n", option.effect);
    }
    fprintf(out, "\n"); /* and nothing more */
    fclose(out);
    if (!strstr(readme, table)) ck_abort_msg("README.md does not have this table:\n%s", table);
    free(table);
    free(readme);
}
END_TEST

/* ---- kept with the store ------------------------------------------------------------------ */

/* Open with NULL's options, but in `env`, and say what is in force. */
static struct kevo_options kept_in(struct env *e) {
    struct kevo_options o;
    kevo_store *s;
    kevo_options_default(&o);
    o.env = e;
    o.use_kept = true;
    o.background = false;
    ck_ok(kevo_open(KV_DIR, &o, &s, &test_err));
    kevo_get_options(s, &o);
    kevo_close(s);
    return o;
}

static void expect_kept(const struct kevo_options *expected) {
    struct kevo_options found = kept_in(env);
    const char *name = options_difference(&found, expected);
    ck_assert_msg(!name, "%s differs", name);
}

START_TEST(options_are_kept_until_others_are_given) {
    kevo_store *s = kv_open(&options);
    kevo_close(s);
    expect_kept(&options);
    kevo_options_set(&options, "sync", "normal", NULL);
    options.l0_stop = 99;
    s = kv_open(&options);
    kevo_close(s); /* without a write */
    expect_kept(&options);
    kevo_options_default(&options);
    options.env = env;
    options.background = false;
    kevo_close(kv_open(&options));
    expect_kept(&options);
}
END_TEST

START_TEST(what_is_kept_counts_for_everything) {
    options.memtable_bytes = 4096;
    options.cache_bytes = 12345;
    kevo_close(kv_open(&options));
    struct kevo_options o = options;
    kevo_options_default(&o);
    o.env = env;
    o.background = false;
    o.use_kept = true;
    kevo_store *s = kv_open(&o);
    char value[8192];
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = 0;
    kv_put(s, "a", value);
    kv_put(s, "b", value);
    ck_assert_uint_gt(kv_stats(s).immutable_count + kv_tables(s), 0);
    kevo_close(s);
}
END_TEST

/* Opening with the options that are kept already changes no file. */
START_TEST(the_same_options_are_not_written_again) {
    size_t before_size, after_size;
    kevo_close(kv_open(&options));
    char *before = kv_contents(env, &before_size);
    kevo_close(kv_open(&options));
    kept_in(env);
    char *after = kv_contents(env, &after_size);
    ck_assert(before_size == after_size && memcmp(before, after, before_size) == 0);
    free(before);
    free(after);
}
END_TEST

START_TEST(kept_options_survive_a_new_manifest) {
    struct kevo_options o = options;
    for (unsigned i = 0; i < 400; i++) { /* each an edit of 512 bytes: more than one rewrite */
        o.retain_ms = i + 1;
        kevo_close(kv_open(&o));
    }
    expect_kept(&o);
    struct env_stat st;
    ck_ok(env->stat(env, KV_DIR "/MANIFEST", &st, &test_err));
    ck_assert_uint_lt(st.size_bytes, 100 << 10);
}
END_TEST

static void put_pair(struct buf *b, const char *name, const char *value) {
    ck_assert(buf_put_slice(b, slice_of_str(name)) && buf_put_slice(b, slice_of_str(value)));
}

START_TEST(what_a_later_version_keeps_is_ignored_and_handed_on) {
    struct buf kept = {0}, again = {0}, expected = {0};
    char lengthy[200];
    memset(lengthy, 'l', sizeof lengthy);
    lengthy[sizeof lengthy - 1] = 0;
    put_pair(&kept, "zebra", "striped");
    put_pair(&kept, "compression", "zstd");
    put_pair(&kept, "level_factor", "1000");
    put_pair(&kept, lengthy, lengthy);
    put_pair(&kept, "l0_trigger", "50");
    struct kevo_options o;
    kevo_options_default(&o);
    o.sync = KEVO_SYNC_OFF; /* replaced: the default is not kept */
    options_decode(buf_slice(&kept), &o);
    ck_assert_int_eq(o.sync, KEVO_SYNC_FULL);
    ck_assert_int_eq(o.compression, KEVO_COMPRESSION_LZ4);
    ck_assert_uint_eq(o.level_factor, 10);
    ck_assert_uint_eq(o.l0_trigger, 50);
    ck_ok(options_check(&o, &test_err)); /* l0_slow and l0_stop followed */

    kevo_options_default(&o);
    o.cache_bytes = 0;
    ck_ok(options_encode(&o, buf_slice(&kept), &again, &test_err));
    put_pair(&expected, "cache_size", "0");
    put_pair(&expected, "zebra", "striped");
    put_pair(&expected, lengthy, lengthy);
    ck_assert(slice_eq(buf_slice(&again), buf_slice(&expected)));
    buf_release(&kept);
    buf_release(&again);
    buf_release(&expected);
}
END_TEST

START_TEST(options_that_cannot_be_kept_are_an_error) {
    struct env *fault = fault_env_new(env);
    kevo_close(kv_open(&options));
    struct kevo_options changed = options;
    changed.env = fault;
    changed.level_factor = 7;
    unsigned failures = 0;
    for (uint64_t n = 1;; n++) {
        kevo_store *s;
        fault_env_plan(fault, (struct fault_plan){.nth = n, .kinds = FAULT_WRITE | FAULT_SYNC});
        int rc = kevo_open(KV_DIR, &changed, &s, &test_err);
        bool hit = fault_env_hit(fault);
        fault_env_plan(fault, (struct fault_plan){0});
        kevo_close(s);
        if (rc) {
            ck_assert(hit);
            failures++;
            struct kevo_options kept = kept_in(env);
            /* A failed sync leaves open which it is. */
            ck_assert(kept.level_factor == options.level_factor || kept.level_factor == 7);
            kevo_close(kv_open(&options));
        } else if (!hit) {
            break;
        }
    }
    ck_assert_uint_ge(failures, 3); /* the lock's pid, the record, its sync */
    expect_kept(&changed);
    fault_env_free(fault);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("options");

    TCase *values = tcase_create("values");
    tcase_add_checked_fixture(values, setup, teardown);
    tcase_add_test(values, defaults_are_those_promised);
    tcase_add_test(values, options_out_of_range_are_refused_by_name);
    tcase_add_loop_test(values, text_is_parsed_and_printed, 0,
                        sizeof text_cases / sizeof *text_cases);
    tcase_add_test(values, every_option_is_there_by_name);
    tcase_add_test(values, readme_has_the_very_table);
    suite_add_tcase(suite, values);

    TCase *kept = tcase_create("kept");
    tcase_add_checked_fixture(kept, setup, teardown);
    tcase_add_test(kept, options_are_kept_until_others_are_given);
    tcase_add_test(kept, what_is_kept_counts_for_everything);
    tcase_add_test(kept, the_same_options_are_not_written_again);
    tcase_add_test(kept, kept_options_survive_a_new_manifest);
    tcase_add_test(kept, what_a_later_version_keeps_is_ignored_and_handed_on);
    tcase_add_test(kept, options_that_cannot_be_kept_are_an_error);
    suite_add_tcase(suite, kept);

    return harness_run(suite);
}
