#include "engine/base/coding.h"
#include "tests/lib/manifest_disk.h"

/* ---- what is written is read ---------------------------------------------------------------- */

START_TEST(create_and_open) {
    struct manifest_state s;
    struct manifest *m;
    ck_assert_int_eq(manifest_open(&home, FILE_MODE, &m, &s, &test_err), KEVO_CANTOPEN);
    ck_assert_ptr_null(m);
    ck_assert_ptr_null(s.version);
    s = fresh_state();
    ck_ok(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    ck_assert(!files_exist(memory, NEW_NAME));
    struct env_stat st;
    ck_ok(memory->stat(memory, MANIFEST, &st, &test_err));
    ck_assert_uint_eq(st.mode, FILE_MODE);
    char *text = dump(&s);
    count_changes();
    expect_disk(text);
    ck_assert_uint_eq(fault_env_calls(fault), 0);
    free(text);
    state_release(&s);
    manifest_close(m);
}
END_TEST

START_TEST(random_edits) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct manifest_state s = fresh_state();
    struct manifest *m;
    unsigned rewrites = 0;
    size_t key_bytes = _i % 2 ? 280 : 8;
    uint64_t size = 0;
    must(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    for (unsigned i = 0; i < 800; i++) {
        append_random(&rng, m, &s, key_bytes);
        rewrites += manifest_bytes() < size;
        size = manifest_bytes();
        if (rng_below(&rng, 20)) continue;
        char *text = dump(&s);
        count_changes();
        expect_disk(text);
        if (fault_env_calls(fault)) ck_abort_msg("opening has changed something");
        if (rng_below(&rng, 2)) {
            manifest_close(m);
            state_release(&s);
            must(manifest_open(&home, FILE_MODE, &m, &s, &test_err));
        }
        free(text);
    }
    ck_assert_uint_ge(rewrites, 1);
    ck_assert(!files_exist(memory, NEW_NAME));
    manifest_close(m);
    state_release(&s);
}
END_TEST

/* An edit that changes nothing writes nothing. */
START_TEST(empty_edit) {
    struct manifest_state s = fresh_state();
    struct manifest *m;
    struct version_edit e;
    edit_init(&e);
    ck_ok(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    count_changes();
    ck_ok(manifest_append(m, &e, &s, &test_err));
    ck_assert_uint_eq(fault_env_calls(fault), 0);
    manifest_close(m);
    state_release(&s);
}
END_TEST

/* An edit that does not fit the version is refused, and nothing has happened. */
START_TEST(wrong_edits) {
    struct rng rng = rng_of(harness_seed());
    struct manifest_state s = fresh_state();
    struct manifest *m;
    struct version_edit e;
    struct table_file *f = random_file(&rng, 1, 8);
    ck_ok(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    edit_init(&e);
    e.has_next_file = true;
    e.next_file = 10;
    ck_ok(edit_add_file(&e, 2, f, &test_err));
    ck_ok(manifest_append(m, &e, &s, &test_err));
    char *text = dump(&s);
    ck_assert_int_eq(manifest_append(m, &e, &s, &test_err), KEVO_CORRUPT);
    edit_release(&e);
    ck_ok(edit_delete_file(&e, 3, 1, &test_err));
    ck_assert_int_eq(manifest_append(m, &e, &s, &test_err), KEVO_CORRUPT);
    edit_release(&e);
    expect_disk(text);
    ck_ok(edit_delete_file(&e, 2, 1, &test_err));
    ck_ok(manifest_append(m, &e, &s, &test_err));
    edit_release(&e);
    free(text);
    table_file_unref(f);
    manifest_close(m);
    state_release(&s);
}
END_TEST

/* ---- torn and damaged files -------------------------------------------------------------------- */

enum { EDITS = 5 };

/* A manifest's bytes, where each record begins and ends, and what it says up to there.
 * Record 0 states the empty store; the place after the last record has the end mark. */
struct history {
    struct buf bytes;
    size_t starts[EDITS + 2], ends[EDITS + 1];
    char *texts[EDITS + 1];
};

static void history_make(struct history *h, struct rng *rng) {
    struct manifest_state s = fresh_state();
    struct manifest *m;
    must(manifest_create(&home, &s, FILE_MODE, &m, &test_err));
    h->starts[0] = SECTOR_BYTES;
    for (unsigned i = 0;; i++) {
        h->starts[i + 1] = manifest_bytes() - SECTOR_BYTES;
        h->texts[i] = dump(&s);
        if (i == EDITS) break;
        do
            append_random(rng, m, &s, i == EDITS - 1 ? 280 : 12);
        while (manifest_bytes() < h->starts[i + 1] + 2 * SECTOR_BYTES);
    }
    h->bytes = files_read(memory, MANIFEST);
    for (unsigned i = 0; i <= EDITS; i++)
        h->ends[i] = h->starts[i] + 12 + get_fixed32(h->bytes.data + h->starts[i] + 8);
    manifest_close(m);
    state_release(&s);
}

/* Whether a record's own bytes, or the header's, include this one. */
static bool is_covered(const struct history *h, size_t at) {
    bool covered = at < 48;
    for (unsigned i = 0; i <= EDITS; i++)
        covered |= at >= h->starts[i] && at < h->ends[i];
    return covered;
}

static void history_free(struct history *h) {
    buf_release(&h->bytes);
    for (unsigned i = 0; i <= EDITS; i++)
        free(h->texts[i]);
}

/* Open the file, expect the state after `edits`, and that the log goes on from there. */
static void expect_history(const struct history *h, unsigned edits, bool append) {
    expect_disk(h->texts[edits]);
    if (!append) return;
    struct rng rng = rng_of(7);
    struct manifest_state s;
    struct manifest *m;
    must(manifest_open(&home, FILE_MODE, &m, &s, &test_err));
    append_random(&rng, m, &s, 40);
    append_random(&rng, m, &s, 40);
    char *text = dump(&s);
    manifest_close(m);
    state_release(&s);
    expect_disk(text);
    free(text);
}

/* However much of the file is there: what its whole records say, or KEVO_CORRUPT when
 * not even the first is whole. */
START_TEST(every_length) {
    struct rng rng = rng_of(harness_seed());
    struct history h;
    history_make(&h, &rng);
    for (size_t len = 0; len <= h.bytes.len; len++) {
        files_write(memory, MANIFEST, slice_of(h.bytes.data, len));
        unsigned edits = EDITS;
        while (edits > 0 && h.ends[edits] > len)
            edits--;
        if (len < h.ends[0]) {
            int rc;
            if (dump_disk(&rc) || rc != KEVO_CORRUPT || !strstr(test_err.msg, MANIFEST))
                ck_abort_msg("length %zu: %d, %s", len, rc, test_err.msg);
        } else {
            expect_history(&h, edits, len % 7 == 0);
        }
    }
    history_free(&h);
}
END_TEST

/* An append that was cut by a power loss: any part of it may be there, with zeros or
 * garbage in place of the rest, or of the first part. */
START_TEST(torn_appends) {
    struct rng rng = rng_of(harness_seed());
    struct history h;
    history_make(&h, &rng);
    size_t start = h.starts[EDITS], end = h.ends[EDITS];
    for (unsigned round = 0; round < 4; round++) {
        for (size_t cut = start; cut < end; cut++) {
            struct buf b = {0};
            if (!buf_append(&b, h.bytes.data, end)) abort();
            size_t from = round < 2 ? cut : start, to = round < 2 ? end : cut + 1;
            for (size_t i = from; i < to; i++)
                b.data[i] = round % 2 ? (uint8_t)rng_next(&rng) : 0;
            if (memcmp(b.data, h.bytes.data, end)) {
                files_write(memory, MANIFEST, buf_slice(&b));
                expect_history(&h, EDITS - 1, cut % 5 == 0);
            }
            buf_release(&b);
        }
    }
    history_free(&h);
}
END_TEST

/* Every byte damaged: KEVO_CORRUPT, or the right state where it does not matter. */
START_TEST(every_byte) {
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    struct rng rng = rng_of(harness_seed());
    struct history h;
    history_make(&h, &rng);
    for (size_t at = 0; at < h.bytes.len; at++) {
        h.bytes.data[at] ^= masks[_i];
        files_write(memory, MANIFEST, buf_slice(&h.bytes));
        h.bytes.data[at] ^= masks[_i];
        int rc;
        char *text = dump_disk(&rc);
        if (text ? strcmp(text, h.texts[EDITS]) != 0 || is_covered(&h, at)
                 : rc != KEVO_CORRUPT || !strstr(test_err.msg, MANIFEST))
            ck_abort_msg("byte %zu: %d, %s", at, rc, text ? text : test_err.msg);
        free(text);
    }
    history_free(&h);
}
END_TEST

/* Records of an earlier file in the same place do not count. */
START_TEST(stale_bytes) {
    struct rng rng = rng_of(harness_seed());
    struct history old, h;
    history_make(&old, &rng);
    memory->unlink(memory, MANIFEST, &test_err);
    rng = rng_of(harness_seed());
    history_make(&h, &rng);
    ck_assert_uint_eq(old.bytes.len, h.bytes.len);
    for (unsigned keep = EDITS; keep-- > 0;) {
        size_t end = h.starts[keep + 1];
        memcpy(h.bytes.data + end, old.bytes.data + end, h.bytes.len - end);
        files_write(memory, MANIFEST, buf_slice(&h.bytes));
        expect_history(&h, keep, false);
    }
    history_free(&old);
    history_free(&h);
}
END_TEST

/* Long garbage takes no long time and is a torn tail; a file of plausible lengths is
 * not searched for ever. */
START_TEST(long_garbage) {
    struct rng rng = rng_of(harness_seed());
    struct history h;
    history_make(&h, &rng);
    struct buf b = {0};
    ck_assert(buf_append(&b, h.bytes.data, h.bytes.len));
    for (unsigned i = 0; i < 40000; i++)
        if (!buf_put_fixed64(&b, rng_next(&rng))) abort();
    files_write(memory, MANIFEST, buf_slice(&b));
    expect_history(&h, EDITS, true);
    ck_assert_uint_lt(manifest_bytes(), 16 << 10); /* cut off by the first append */
    b.len = h.bytes.len;
    for (unsigned i = 0; i < 2000000; i++)
        if (!buf_put_fixed32(&b, 0x00020202)) abort();
    files_write(memory, MANIFEST, buf_slice(&b));
    int rc;
    ck_assert_ptr_null(dump_disk(&rc));
    ck_assert_int_eq(rc, KEVO_CORRUPT);
    buf_release(&b);
    history_free(&h);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("manifest");
    TCase *tcase = tcase_create("manifest");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, create_and_open);
    tcase_add_loop_test(tcase, random_edits, 0, 4);
    tcase_add_test(tcase, empty_edit);
    tcase_add_test(tcase, wrong_edits);
    tcase_add_test(tcase, every_length);
    tcase_add_test(tcase, torn_appends);
    tcase_add_loop_test(tcase, every_byte, 0, 3);
    tcase_add_test(tcase, stale_bytes);
    tcase_add_test(tcase, long_garbage);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
