#include "engine/tree/build.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/tree/compact_pick.h"
#include "engine/tree/hidden.h"
#include "engine/tree/merge_iter.h"
#include "engine/tree/view_iter.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"
#include "tests/lib/tree.h"

static struct tree tree;

static void setup(void) {
    tree_init(&tree);
}

static void teardown(void) {
    tree_release(&tree);
    ck_assert_uint_eq(fault_alloc_live(), 0);
    ck_assert_uint_eq(array_iter_live, 0);
}

static uint64_t next_number(void *arg) {
    (void)arg;
    return tree.next_number++;
}

static bool always(void *arg, slice key) {
    (void)arg;
    (void)key;
    return true;
}

static struct build build_of(const uint64_t *snapshots, size_t count) {
    return (struct build){.home = &tree.home,
                          .table = tree_table_options(),
                          .snapshots = snapshots,
                          .snapshot_count = count,
                          .next_file_number = next_number};
}

/* ---- which versions survive -------------------------------------------------------------- */

/* "a5 b-3": key a at 5, a tombstone of b at 3. Keys are letters, seqs below 10. */
static size_t parse(const char *text, struct iter_suite_entry *entries) {
    size_t n = 0;
    for (; *text; text++) {
        if (*text == ' ') continue;
        struct iter_suite_entry *e = &entries[n++];
        *e = (struct iter_suite_entry){.key = slice_of(text, 1), .type = ENTRY_PUT};
        if (*++text == '-') {
            e->type = ENTRY_DELETE;
            text++;
        } else {
            e->value = slice_of(text, 1);
        }
        e->seq = (uint64_t)(*text - '0');
    }
    return n;
}

static const struct {
    const char *name, *in;
    uint64_t snapshots[4];
    bool bottom;
    const char *out;
    uint64_t dropped_by;
} drop_cases[] = {
    {"nothing", "", {5}, true, "", 0},
    {"one version", "a3", {5}, false, "a3", 0},
    {"older versions go", "a3 a2 a1 b4 b1", {5}, false, "a3 b4", 4},
    {"newer than every snapshot", "a9 a8 a7", {6}, false, "a9 a8 a7", 0},
    {"the newest up to the snapshot stays", "a9 a5 a4 a1", {6}, false, "a9 a5", 5},
    {"as new as the snapshot", "a9 a6 a4", {6}, false, "a9 a6", 6},
    {"one for each snapshot", "a9 a7 a6 a4 a3 a2 a1", {2, 4, 8}, false, "a9 a7 a4 a2", 7},
    {"two snapshots between two versions", "a9 a1", {3, 4}, false, "a9 a1", 0},
    {"tombstone stays above others", "a-3 a2", {5}, false, "a-3", 3},
    {"tombstone goes at the bottom", "a-3 a2", {5}, true, "", 3},
    {"tombstone above a snapshot stays", "a-3 a2", {2}, true, "a-3 a2", 0},
    {"tombstone between snapshots stays", "a-3 a2", {2, 5}, true, "a-3 a2", 0},
    {"tombstone at the oldest snapshot goes", "a-2 a1", {2, 5}, true, "", 2},
    {"tombstone below the oldest snapshot goes, the put stays", "a4 a-2 a1", {3, 5}, true, "a4", 2},
    {"tombstone hidden by a put", "a4 a-2 a1", {5}, true, "a4", 4},
    {"tombstone over a tombstone", "a-4 a-2", {5}, true, "", 4},
    {"each key by itself", "a-4 b3 b-2 c-1 d1", {5}, true, "b3 d1", 4},
};

static void print_table(struct table_file *f, struct buf *out) {
    struct iter *it;
    must(file_iter_new(f, false, &it, &test_err));
    must(it->ops->seek_first(it, &test_err));
    while (it->valid) {
        char text[16];
        int n = snprintf(text, sizeof text, "%s%c%s%d", out->len ? " " : "", it->key.data[0],
                         it->type == ENTRY_DELETE ? "-" : "", (int)it->seq);
        if (!buf_append(out, text, (size_t)n)) abort();
        must(it->ops->next(it, &test_err));
    }
    iter_close(it);
}

START_TEST(drop_case) {
    struct iter_suite_entry entries[16];
    size_t n = parse(drop_cases[_i].in, entries), snapshots = 0;
    while (snapshots < 4 && drop_cases[_i].snapshots[snapshots])
        snapshots++;
    struct build b = build_of(drop_cases[_i].snapshots, snapshots);
    struct iter *source = array_iter_new(entries, n);
    struct version_edit e;
    struct buf out = {0};
    edit_init(&e);
    b.level = 3;
    if (drop_cases[_i].bottom) b.is_bottom = always;
    ck_ok(build_tables(&b, source, &e, &test_err));
    ck_assert_uint_eq(e.added_count, *drop_cases[_i].out ? 1 : 0);
    ck_assert_uint_eq(b.tables_written, e.added_count);
    ck_assert_uint_eq(tree_file_count(&tree), e.added_count);
    if (e.added_count) {
        ck_assert_uint_eq(e.added[0].level, 3);
        ck_assert_uint_eq(e.added[0].file->size_bytes, b.bytes_written);
        print_table(e.added[0].file, &out);
    }
    ck_assert(buf_append(&out, "", 1));
    ck_assert_str_eq((char *)out.data, drop_cases[_i].out);
    ck_assert_uint_eq(b.max_dropped_by, drop_cases[_i].dropped_by);
    buf_release(&out);
    edit_release(&e);
    iter_close(source);
}
END_TEST

/* ---- what is kept, against what somebody needs ------------------------------------------------ */

enum { NEED_KEYS = 12, NEED_VERSIONS = 8, NEED_SEQS = 30 };

struct history_of_key {
    uint64_t seqs[NEED_VERSIONS]; /* descending */
    uint8_t types[NEED_VERSIONS];
    size_t count;
    bool bottom;
};

static struct history_of_key histories[NEED_KEYS];

static bool bottom_of_key(void *arg, slice key) {
    (void)arg;
    return histories[key.data[0] - 'a'].bottom;
}

/* The index of the version that a reader at `seq` sees; count: none. */
static size_t seen_at(const struct history_of_key *h, uint64_t seq) {
    size_t i = 0;
    while (i < h->count && h->seqs[i] > seq)
        i++;
    return i;
}

/* By asking every reader there is or may come: the snapshots, and all states after the last
 * of them. A tombstone that everybody sees who sees anything of that age has nothing to hide
 * at the bottom. */
static void find_needed(const struct history_of_key *h, const uint64_t *snapshots, size_t count,
                        bool needed[NEED_VERSIONS]) {
    memset(needed, 0, NEED_VERSIONS);
    for (uint64_t seq = 0; seq <= NEED_SEQS; seq++) {
        bool reads = seq > snapshots[count - 1];
        for (size_t i = 0; i < count; i++)
            reads |= snapshots[i] == seq;
        if (reads && seen_at(h, seq) < h->count) needed[seen_at(h, seq)] = true;
    }
    for (size_t i = 0; i < h->count; i++)
        if (h->types[i] == ENTRY_DELETE && h->bottom && h->seqs[i] <= snapshots[0])
            needed[i] = false;
}

static void random_histories(struct rng *rng) {
    for (unsigned k = 0; k < NEED_KEYS; k++) {
        struct history_of_key *h = &histories[k];
        *h = (struct history_of_key){.bottom = rng_below(rng, 2)};
        size_t want = rng_below(rng, NEED_VERSIONS + 1);
        for (uint64_t seq = NEED_SEQS; seq > 0 && h->count < want; seq--) {
            if (rng_below(rng, 4)) continue;
            h->types[h->count] = rng_below(rng, 3) ? ENTRY_PUT : ENTRY_DELETE;
            h->seqs[h->count++] = seq;
        }
    }
}

static size_t random_snapshots(struct rng *rng, uint64_t snapshots[5]) {
    size_t count = 0, want = 1 + rng_below(rng, 5);
    for (uint64_t seq = rng_below(rng, 6); seq <= NEED_SEQS && count < want;
         seq += 1 + rng_below(rng, 9))
        snapshots[count++] = seq;
    return count;
}

/* Every reader finds in what was kept what it found before; below the bottom nothing is. */
static void check_readers(const struct history_of_key *before, const struct history_of_key *after,
                          const uint64_t *snapshots, size_t count) {
    for (uint64_t seq = 0; seq <= NEED_SEQS; seq++) {
        bool reads = seq > snapshots[count - 1];
        for (size_t i = 0; i < count; i++)
            reads |= snapshots[i] == seq;
        if (!reads) continue;
        size_t a = seen_at(before, seq), b = seen_at(after, seq);
        bool was = a < before->count && before->types[a] == ENTRY_PUT;
        bool is = b < after->count && after->types[b] == ENTRY_PUT;
        if (was != is || (was && before->seqs[a] != after->seqs[b]))
            ck_abort_msg("the reader at %d sees something else", (int)seq);
        if (!before->bottom && a < before->count &&
            (b == after->count || before->seqs[a] != after->seqs[b]))
            ck_abort_msg("the reader at %d sees through to below", (int)seq);
    }
}

/* What was written, and the property that says when something of it can go. */
static void check_kept(const struct version_edit *e, const uint64_t *snapshots, size_t count) {
    struct history_of_key kept[NEED_KEYS] = {{{0}, {0}, 0, false}};
    for (size_t i = 0; i < e->added_count; i++) {
        struct iter *it;
        must(file_iter_new(e->added[i].file, false, &it, &test_err));
        must(it->ops->seek_first(it, &test_err));
        while (it->valid) {
            struct history_of_key *h = &kept[it->key.data[0] - 'a'];
            h->types[h->count] = it->type;
            h->seqs[h->count++] = it->seq;
            must(it->ops->next(it, &test_err));
        }
        iter_close(it);
    }
    for (unsigned k = 0; k < NEED_KEYS; k++) {
        const struct history_of_key *h = &histories[k];
        bool needed[NEED_VERSIONS];
        size_t n = 0;
        find_needed(h, snapshots, count, needed);
        for (size_t i = 0; i < h->count; i++) {
            bool is_kept = n < kept[k].count && kept[k].seqs[n] == h->seqs[i];
            if (is_kept != needed[i])
                ck_abort_msg("key %c at %d: %s", 'a' + k, (int)h->seqs[i],
                             needed[i] ? "gone too early" : "not needed any more");
            n += is_kept;
        }
        ck_assert_uint_eq(n, kept[k].count);
        check_readers(h, &kept[k], snapshots, count);
    }
}

START_TEST(kept_is_what_is_needed) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    for (unsigned round = 0; round < 400; round++) {
        struct iter_suite_entry entries[NEED_KEYS * NEED_VERSIONS];
        char names[NEED_KEYS];
        uint64_t snapshots[5];
        size_t n = 0, count = random_snapshots(&rng, snapshots);
        random_histories(&rng);
        for (unsigned k = 0; k < NEED_KEYS; k++) {
            names[k] = (char)('a' + k);
            for (size_t i = 0; i < histories[k].count; i++)
                entries[n++] = (struct iter_suite_entry){.key = slice_of(&names[k], 1),
                                                         .seq = histories[k].seqs[i],
                                                         .type = histories[k].types[i]};
        }
        struct build b = build_of(snapshots, count);
        struct iter *source = array_iter_new(entries, n);
        struct version_edit e;
        edit_init(&e);
        b.level = 1;
        b.is_bottom = bottom_of_key;
        b.table_bytes = rng_below(&rng, 2) ? 300 : 0;
        must(build_tables(&b, source, &e, &test_err));
        check_kept(&e, snapshots, count);
        for (size_t i = 0; i < e.added_count; i++)
            atomic_store(&e.added[i].file->obsolete, true);
        edit_release(&e);
        iter_close(source);
    }
}
END_TEST

/* ---- where tables are cut ------------------------------------------------------------------ */

enum { KEYS = 400, VERSIONS = 5 };

struct rows {
    struct iter_suite_entry entries[KEYS * VERSIONS];
    char keys[KEYS][16];
    char value[100];
};

static struct rows *make_rows(void) {
    struct rows *r = calloc(1, sizeof *r);
    for (unsigned k = 0; k < KEYS; k++) {
        snprintf(r->keys[k], sizeof r->keys[k], "k%05u", k);
        for (unsigned v = 0; v < VERSIONS; v++)
            r->entries[k * VERSIONS + v] = (struct iter_suite_entry){
                slice_of_str(r->keys[k]), 100 - v, ENTRY_PUT, slice_of(r->value, sizeof r->value)};
    }
    return r;
}

static bool cut_at_hundreds(void *arg, slice key) {
    ++*(unsigned *)arg;
    return key.data[4] == '0' && key.data[5] == '0';
}

static uint64_t numbers_with_arg(void *arg) {
    (void)arg;
    return tree.next_number++;
}

/* All versions are there once, none of a key in two tables. */
static void check_tables(const struct version_edit *e, const struct rows *r) {
    size_t at = 0;
    for (size_t i = 0; i < e->added_count; i++) {
        struct iter *it;
        must(file_iter_new(e->added[i].file, false, &it, &test_err));
        must(it->ops->seek_first(it, &test_err));
        if (at % VERSIONS) ck_abort_msg("a key straddles two tables");
        for (; it->valid; at++) {
            iter_suite_expect(it, r->entries, KEYS * VERSIONS, at, "table");
            must(it->ops->next(it, &test_err));
        }
        iter_close(it);
    }
    ck_assert_uint_eq(at, KEYS * VERSIONS);
}

START_TEST(cuts) {
    struct rows *r = make_rows();
    uint64_t snapshots[] = {1};
    unsigned asked = 0;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct build b = build_of(snapshots, 1);
        struct iter *source = array_iter_new(r->entries, KEYS * VERSIONS);
        struct version_edit e;
        edit_init(&e);
        b.arg = &asked;
        if (kind == 1) b.table_bytes = 4000;
        if (kind == 2) b.cut_before = cut_at_hundreds;
        ck_ok(build_tables(&b, source, &e, &test_err));
        check_tables(&e, r);
        if (kind == 0) ck_assert_uint_eq(e.added_count, 1);
        if (kind == 2) ck_assert_uint_eq(e.added_count, 4);
        if (kind == 1) {
            ck_assert_uint_gt(e.added_count, 4);
            for (size_t i = 0; i + 1 < e.added_count; i++) {
                ck_assert_uint_gt(e.added[i].file->size_bytes, 3500);
                ck_assert_uint_lt(e.added[i].file->size_bytes, 6500);
            }
        }
        edit_release(&e);
        iter_close(source);
    }
    ck_assert_uint_eq(asked, KEYS);
    free(r);
}
END_TEST

/* ---- failures ------------------------------------------------------------------------------- */

static bool count_down(void *arg) {
    unsigned *left = arg;
    return (*left)-- == 0;
}

/* A build of several tables into an edit that has one file already. */
static int build_rows(const struct rows *r, struct iter *source, bool (*cancelled)(void *),
                      void *arg, struct version_edit *e) {
    uint64_t snapshots[] = {1};
    struct build b = build_of(snapshots, 1);
    (void)r;
    b.table_bytes = 4000;
    b.cancelled = cancelled;
    b.arg = arg;
    b.next_file_number = numbers_with_arg;
    return build_tables(&b, source, e, &test_err);
}

static void expect_untouched(const struct version_edit *e) {
    if (e->added_count != 1) ck_abort_msg("%zu files in the edit", e->added_count);
    if (tree_file_count(&tree) != 1) ck_abort_msg("%zu files are left", tree_file_count(&tree));
}

static void edit_with_file(struct version_edit *e, const struct rows *r) {
    struct table_file *f = tree_write(&tree, r->entries, 1);
    edit_init(e);
    must(edit_add_file(e, 0, f, &test_err));
    table_file_unref(f);
}

START_TEST(failing_calls) {
    struct rows *r = make_rows();
    struct version_edit e;
    edit_with_file(&e, r);
    struct fault_plan plan = {.kinds = FAULT_ALL & ~FAULT_UNLINK, .nth = 1, .for_good = _i & 1};
    plan.partial_write = _i & 2;
    for (int rc = KEVO_FULL; rc; plan.nth++) {
        struct iter *source = array_iter_new(r->entries, KEYS * VERSIONS);
        plan.rc = plan.nth % 2 ? KEVO_FULL : KEVO_IOERR;
        fault_env_plan(tree.fault, plan);
        rc = build_rows(r, source, NULL, NULL, &e);
        if (rc != (fault_env_hit(tree.fault) ? plan.rc : 0)) ck_abort_msg("%s", test_err.msg);
        if (rc) expect_untouched(&e);
        iter_close(source);
    }
    ck_assert_uint_gt(plan.nth, 10);
    edit_release(&e);
    free(r);
}
END_TEST

START_TEST(failing_source) {
    struct rows *r = make_rows();
    struct version_edit e;
    edit_with_file(&e, r);
    for (uint64_t n = 1; n < KEYS * VERSIONS; n += 77) {
        struct iter *source = array_iter_new(r->entries, KEYS * VERSIONS);
        array_iter_fail_at(source, n);
        ck_assert_int_eq(build_rows(r, source, NULL, NULL, &e), KEVO_IOERR);
        expect_untouched(&e);
        iter_close(source);
    }
    edit_release(&e);
    free(r);
}
END_TEST

START_TEST(cancelled) {
    struct rows *r = make_rows();
    struct version_edit e;
    edit_with_file(&e, r);
    unsigned polls = 0;
    for (int rc = KEVO_CANCELLED; rc; polls++) {
        struct iter *source = array_iter_new(r->entries, KEYS * VERSIONS);
        unsigned left = polls;
        rc = build_rows(r, source, count_down, &left, &e);
        ck_assert(rc == KEVO_CANCELLED || rc == 0);
        if (rc) expect_untouched(&e);
        iter_close(source);
    }
    ck_assert_uint_eq(polls, 1 + KEYS * VERSIONS / 1024 + 1);
    edit_release(&e);
    free(r);
}
END_TEST

START_TEST(out_of_order) {
    struct iter_suite_entry entries[4];
    uint64_t snapshots[] = {5};
    static const char *const texts[] = {"b1 a1", "a1 a1", "a1 a2", "a1 b2 b2"};
    for (size_t i = 0; i < 4; i++) {
        struct build b = build_of(snapshots, 1);
        struct iter *source = array_iter_new(entries, parse(texts[i], entries));
        struct version_edit e;
        edit_init(&e);
        ck_assert_int_eq(build_tables(&b, source, &e, &test_err), KEVO_CORRUPT);
        ck_assert_uint_eq(tree_file_count(&tree), 0);
        iter_close(source);
        edit_release(&e);
    }
}
END_TEST

START_TEST(no_memory) {
    struct rows *r = make_rows();
    struct version_edit e;
    edit_with_file(&e, r);
    int rc = KEVO_NOMEM;
    for (uint64_t n = 1; rc; n += 1 + n / 16) {
        struct iter *source = array_iter_new(r->entries, KEYS * VERSIONS);
        fault_alloc_fail_at(n, n % 2);
        rc = build_rows(r, source, NULL, NULL, &e);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        /* The files in memory are refused memory too. */
        if (rc ? !hit || (rc != KEVO_NOMEM && rc != KEVO_FULL) : 0)
            ck_abort_msg("%s", test_err.msg);
        if (rc) expect_untouched(&e);
        iter_close(source);
    }
    edit_release(&e);
    free(r);
}
END_TEST
int main(void) {
    Suite *suite = suite_create("build");
    TCase *tcase = tcase_create("build");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, drop_case, 0, (int)(sizeof drop_cases / sizeof *drop_cases));
    tcase_add_loop_test(tcase, kept_is_what_is_needed, 0, 8);
    tcase_add_test(tcase, cuts);
    tcase_add_loop_test(tcase, failing_calls, 0, 4);
    tcase_add_test(tcase, failing_source);
    tcase_add_test(tcase, cancelled);
    tcase_add_test(tcase, out_of_order);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
