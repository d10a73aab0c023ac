/* Many threads that read one table. */
#include <pthread.h>
#include <stdlib.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "tests/lib/one_table.h"

struct crowd {
    struct one_table *o;
    const struct iter_suite_set *set;
};

static void *read_all(void *arg) {
    struct crowd *c = arg;
    for (int round = 0; round < 5; round++)
        if (check_gets(c->o->table, c->o->cache, c->set, false) ||
            check_scans(c->o->table, c->set, round % 2))
            abort();
    return NULL;
}

START_TEST(many_readers) {
    struct iter_suite_set *set = one_table_set();
    struct table_writer_options options = table_options(500, _i, 10);
    struct one_table o;
    one_table_init(&o, set, &options, 40000);
    struct crowd crowd = {&o, set};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_all, &crowd), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    one_table_release(&o);
    iter_suite_free(set);
}
END_TEST

/* ---- blocks that move ---------------------------------------------------------------- */

enum { MB = 1 << 20, ROWS = 120000, HOT = 3000, BASE_SEQ = 1000, VALUE_MAX = 250 };

/* The versions of a row: some have been put again, some deleted. */
static bool is_version(uint64_t row, uint64_t seq) {
    return seq == 1 || (seq == 2 && row % 5 == 0) || (seq == 3 && row % 3 == 0);
}

static slice row_key(uint64_t row, uint8_t bytes[8]) {
    put_fixed64(bytes, __builtin_bswap64(2 * row));
    return slice_of(bytes, 8);
}

static slice row_value(uint64_t row, uint64_t seq, uint8_t bytes[VALUE_MAX]) {
    if (seq == 2) return slice_of(NULL, 0);
    size_t len = VALUE_MAX - row % 50;
    memset(bytes, (int)(row * 7 + seq), len);
    return slice_of(bytes, len);
}

static void write_rows(struct one_table *o) {
    struct table_writer_options options = table_options(4096, KEVO_COMPRESSION_LZ4, 10);
    struct table_writer *w;
    uint8_t key[8], value[VALUE_MAX];
    ck_ok(table_writer_open(o->env, ONE_TABLE_PATH, ONE_TABLE_NUMBER, &options, &w, &test_err));
    for (uint64_t row = 0; row < ROWS; row++)
        for (uint64_t seq = 3; seq > 0; seq--)
            if (is_version(row, seq))
                ck_ok(table_writer_add(w, row_key(row, key), seq,
                                       seq == 2 ? ENTRY_DELETE : ENTRY_PUT,
                                       row_value(row, seq, value), &test_err));
    ck_ok(table_writer_finish(w, &o->summary, &test_err));
}

/* What the table says of a row, or of the key behind it, which is not there. */
static bool is_right(const struct one_table *o, uint64_t row, bool is_there, uint64_t max_seq) {
    uint8_t key[8], value[VALUE_MAX];
    struct table_value v;
    uint64_t seq = max_seq;
    slice k = row_key(row, key);
    key[7] |= !is_there;
    while (seq > 0 && !is_version(row, seq))
        seq--;
    int rc = table_get(o->table, k, key_hash(k), BASE_SEQ + max_seq, &v, NULL, &test_err);
    if (seq == 0 || !is_there) return rc == KEVO_NOTFOUND;
    bool right = rc == 0 && v.seq == BASE_SEQ + seq && v.type == (seq != 2) &&
                 slice_eq(v.value, row_value(row, seq, value));
    if (rc == 0) cache_unpin(o->cache, v.block);
    return right;
}

struct row_reader {
    const struct one_table *o;
    uint64_t seed;
    _Atomic bool done;
};

static void *read_rows(void *arg) {
    enum { READS = 40000 };
    struct row_reader *r = arg;
    struct rng rng = rng_of(r->seed);
    for (unsigned n = 0; n < READS; n++) {
        uint64_t row = rng_below(&rng, n % 2 ? ROWS : HOT);
        if (!is_right(r->o, row, rng_below(&rng, 4) > 0, rng_below(&rng, 5))) abort();
    }
    r->done = true;
    return NULL;
}

/* What a reader has noted of a block goes where the block goes, when its page is lent. */
START_TEST(readers_of_blocks_that_move) {
    enum { READERS = 3 };
    struct one_table o = {.env = env_memory_new(), .cache = cache_new(16 * MB, 16 * MB)};
    struct row_reader readers[READERS];
    pthread_t threads[READERS];
    write_rows(&o);
    ck_ok(one_table_open(&o));
    table_set_base(o.table, BASE_SEQ);
    for (uint64_t row = 0; row < ROWS; row++)
        ck_assert(is_right(&o, row, true, 1 + row % 3));
    for (uint64_t i = 0; i < READERS; i++) {
        readers[i] = (struct row_reader){.o = &o, .seed = harness_seed() + i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_rows, &readers[i]), 0);
    }
    for (unsigned left = READERS; left > 0;) {
        for (unsigned i = 0; i < 8; i++)
            cache_borrow(o.cache, 2 * MB);
        cache_give_back(o.cache, 16 * MB);
        left = 0;
        for (unsigned i = 0; i < READERS; i++)
            left += !readers[i].done;
    }
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    one_table_release(&o);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("table_readers");
    TCase *tcase = tcase_create("table_readers");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, many_readers, 0, 2);
    tcase_add_test(tcase, readers_of_blocks_that_move);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
