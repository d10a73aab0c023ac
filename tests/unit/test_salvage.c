/* What is found of tables whose index or footer is lost, and some blocks besides. */
#include "engine/table/table_salvage.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/coding.h"
#include "engine/table/table_format.h"
#include "tests/lib/one_table.h"

enum { ROWS = 20000, EVERY = 7 /* block is damaged */ };

static struct env *env;
static uint64_t file_bytes;
static unsigned given_up;

static void setup(void) {
    env = env_memory_new();
    given_up = 0;
}

static void teardown(void) {
    env_memory_free(env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

/* Values that are worth packing, that are not, and that are not compressed. */
static const struct shape {
    enum block_kind kind;
    size_t text, noise; /* bytes of a value */
} shapes[] = {
    {BLOCK_PACKED, 12, 4},
    {BLOCK_LZ4, 250, 50},
    {BLOCK_RAW, 20, 20},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void make_table(const struct shape *shape) {
    struct rng rng = rng_of(harness_seed());
    struct table_writer_options o = table_options(
        4096, shape->kind == BLOCK_RAW ? KEVO_COMPRESSION_NONE : KEVO_COMPRESSION_LZ4, 10);
    struct table_writer *w;
    struct table_summary summary;
    uint8_t value[300];
    ck_ok(table_writer_open(env, ONE_TABLE_PATH, ONE_TABLE_NUMBER, &o, &w, &test_err));
    for (unsigned i = 0; i < ROWS; i++) {
        char key[16];
        size_t len = (size_t)snprintf(key, sizeof key, "k%08u", i);
        memset(value, 2, shape->text);
        for (size_t k = 0; k < shape->noise; k++)
            value[shape->text + k] = (uint8_t)rng_next(&rng);
        slice v = slice_of(value, shape->text + shape->noise);
        ck_ok(table_writer_add(w, slice_of((uint8_t *)key, len), i + 1, ENTRY_PUT, v, &test_err));
    }
    ck_ok(table_writer_finish(w, &summary, &test_err));
    file_bytes = summary.file_bytes;
    table_summary_release(&summary);
}

static void change(uint64_t offset) {
    struct env_file *f;
    uint8_t byte;
    size_t got;
    ck_ok(env->open(env, ONE_TABLE_PATH, ENV_READ | ENV_WRITE, 0, &f, &test_err));
    ck_ok(env->read(env, f, offset, &byte, 1, &got, &test_err));
    byte ^= 0x5a;
    ck_ok(env->write(env, f, offset, &byte, 1, &test_err));
    env->close(env, f);
}

static uint64_t index_at(void) {
    struct env_file *f;
    uint8_t bytes[8];
    size_t got;
    ck_ok(env->open(env, ONE_TABLE_PATH, ENV_READ, 0, &f, &test_err));
    ck_ok(env->read(env, f, file_bytes - TABLE_FOOTER_BYTES + 32, bytes, 8, &got, &test_err));
    env->close(env, f);
    return get_fixed64(bytes);
}

static void take_note(void *arg, const char *text) {
    (void)arg;
    given_up += strstr(text, "given up") != NULL;
}

static struct table_salvage *salvage(void) {
    struct table_salvage *s;
    ck_ok(table_salvage_open(env, ONE_TABLE_PATH, ONE_TABLE_NUMBER, NULL, 0, take_note, NULL, &s,
                             &test_err));
    return s;
}

/* Each block that is not damaged itself is found, whatever lies between. */
static void expect_others(const struct table_salvage *sound, const struct table_salvage *found) {
    size_t at = 0;
    for (size_t i = 0; i < sound->block_count; i++) {
        if (i % EVERY == 3) continue;
        ck_assert_uint_lt(at, found->block_count);
        ck_assert_uint_eq(found->blocks[at].offset, sound->blocks[i].offset);
        ck_assert_uint_eq(found->blocks[at].len, sound->blocks[i].len);
        ck_assert_uint_eq(found->blocks[at].kind, sound->blocks[i].kind);
        at++;
    }
    ck_assert_uint_eq(at, found->block_count);
    ck_assert_uint_eq(given_up, 0);
}

/* Damage at the beginning of a block, in the middle, or in its trailer; and without the footer, or
 * without the index. */
START_TEST(walking) {
    enum { PLACES = 3 };
    unsigned place = (unsigned)_i % PLACES, without = (unsigned)_i / PLACES % 2;
    const struct shape *shape = &shapes[_i / PLACES / 2];
    make_table(shape);
    struct table_salvage *sound = salvage();
    ck_assert_uint_eq(sound->entry_count, ROWS);
    size_t of_kind = 0;
    for (size_t i = 0; i < sound->block_count; i++) {
        const struct salvage_block *b = &sound->blocks[i];
        of_kind += b->kind == shape->kind;
        if (i % EVERY == 3) change(b->offset + (uint64_t[]){2, b->len / 2, b->len + 2}[place]);
    }
    ck_assert_uint_gt(of_kind, sound->block_count / 2);
    change(without ? index_at() : file_bytes - 30);
    struct table_salvage *found = salvage();
    expect_others(sound, found);
    table_salvage_close(sound);
    table_salvage_close(found);
}
END_TEST

/* Nothing is found where there is nothing, in no long time. */
START_TEST(no_table) {
    struct rng rng = rng_of(harness_seed());
    struct env_file *f;
    enum { BYTES = 1 << 20 };
    uint8_t *bytes = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = _i ? (uint8_t)rng_below(&rng, _i == 1 ? 256 : 3) : 0;
    ck_ok(env->open(env, ONE_TABLE_PATH, ENV_WRITE | ENV_CREATE, 0644, &f, &test_err));
    ck_ok(env->write(env, f, 0, bytes, BYTES, &test_err));
    env->close(env, f);
    free(bytes);
    struct table_salvage *s = salvage();
    ck_assert_uint_eq(s->block_count, 0);
    ck_assert_uint_eq(given_up, 0);
    table_salvage_close(s);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("salvage");
    TCase *tc = tcase_create("salvage");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, walking, 0, 3 * 2 * SHAPES);
    tcase_add_loop_test(tc, no_table, 0, 3);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
