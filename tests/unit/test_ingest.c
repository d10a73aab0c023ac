#include "engine/kevo.h"

#include <stdio.h>

#include "engine/base/checksum.h"
#include "engine/base/coding.h"
#include "engine/log/wal.h"
#include "engine/tree/edit.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/ingest_store.h"

/* "a=1 b=2" */
static uint64_t ingest(const char *pairs) {
    kevo_ingest *g = begin();
    char text[200], *save, *at;
    snprintf(text, sizeof text, "%s", pairs);
    for (at = strtok_r(text, " =", &save); at; at = strtok_r(NULL, " =", &save))
        put(g, at, strtok_r(NULL, " =", &save));
    return finish(g);
}

static void expect(const char *dump) {
    ck_assert_str_eq(kv_dump(store, NULL), dump);
}

static unsigned tables_in(unsigned level) {
    return kv_stats(store).table_count[level];
}

START_TEST(becomes_one_batch) {
    store = kv_open(&options);
    kv_put(store, "a", "1");
    uint64_t before = kevo_last_commit(store).batch;
    kevo_ingest *g = begin();
    for (unsigned i = 0; i < 1000; i++) {
        char key[16], value[64];
        snprintf(key, sizeof key, "key%05u", i);
        snprintf(value, sizeof value, "value %u of a thousand, some bytes long", i * 7919 % 1000);
        put(g, key, value);
        if (i % 300 == 0) expect("a=1"); /* nobody sees anything yet */
    }
    uint64_t id = finish(g);
    ck_assert_uint_eq(id, before + 1);
    ck_assert_uint_eq(kevo_last_commit(store).batch, id);
    ck_assert_uint_gt(tables_in(KEVO_MAX_LEVELS - 1), 5);
    ck_assert_uint_eq(kv_tables(store), tables_in(KEVO_MAX_LEVELS - 1));
    for (unsigned round = 0; round < 3; round++) {
        ck_assert_str_eq(kv_get(store, NULL, "key00999"),
                         "value 81 of a thousand, some bytes long");
        ck_assert_ptr_null(kv_get(store, NULL, "key00999x"));
        ck_assert_ptr_nonnull(strstr(kv_dump(store, NULL), "key00500=value 500 of"));
        ck_ok(kevo_verify(store, &test_err));
        ck_assert_uint_eq(kevo_last_commit(store).batch, id);
        if (round == 0) reopen();
        if (round == 1) ck_ok(kv_compact(store, &test_err));
    }
}
END_TEST

START_TEST(refuses_what_is_not_in_order) {
    static char big[KEVO_MAX_KEY_BYTES + 2];
    store = kv_open(&options);
    kevo_ingest *g = begin();
    memset(big, 'x', sizeof big - 1);
    slice v = kv_slice("v");
    put(g, "b", "1");
    ck_assert_int_eq(kevo_ingest_put(g, kv_slice("b"), v, &test_err), KEVO_INVALID);
    ck_assert_ptr_nonnull(strstr(test_err.msg, "key 2 "));
    ck_assert_int_eq(kevo_ingest_put(g, kv_slice("a"), v, &test_err), KEVO_INVALID);
    ck_assert_int_eq(kevo_ingest_put(g, kv_slice(""), v, &test_err), KEVO_INVALID);
    ck_assert_int_eq(kevo_ingest_put(g, kv_slice(big), v, &test_err), KEVO_TOOBIG);
    put(g, "ba", ""); /* nothing was changed by all that */
    uint64_t id;
    ck_ok(kevo_ingest_finish(g, &id, &test_err));
    ck_assert_int_eq(kevo_ingest_put(g, kv_slice("c"), v, &test_err), KEVO_INVALID);
    ck_assert_int_eq(kevo_ingest_finish(g, &id, &test_err), KEVO_INVALID);
    kevo_ingest_free(g);
    expect("b=1 ba=");
}
END_TEST

START_TEST(nothing_is_a_batch_too) {
    store = kv_open(&options);
    ck_assert_uint_eq(finish(begin()), 0);
    kv_put(store, "a", "1");
    ck_assert_uint_eq(finish(begin()), 1);
    ck_assert_uint_eq(kevo_last_commit(store).batch, 1);
    kevo_ingest_free(NULL);
}
END_TEST

START_TEST(freed_without_an_end) {
    store = kv_open(&options);
    kevo_ingest *g = begin();
    for (unsigned i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%05u", i);
        put(g, key, "some bytes that make up a value");
    }
    ck_assert_uint_gt(kv_files(memory, ".sst"), 1);
    /* What a crash leaves now is removed by the next writer. */
    struct env *image = kv_copy(memory);
    struct kevo_options o = options;
    o.env = image;
    kevo_store *other = kv_open(&o);
    ck_assert_str_eq(kv_dump(other, NULL), "");
    kv_put(other, "a", "1");
    ck_assert_uint_eq(kv_files(image, ".sst"), 0);
    kevo_close(other);
    env_memory_free(image);

    kevo_ingest_free(g);
    ck_assert_uint_eq(kv_files(memory, ".sst"), 0);
    expect("");
}
END_TEST

/* A key in a memtable, in level 0 and deeper, before and after. */
START_TEST(the_newest_version_wins) {
    store = kv_open(&options);
    kv_put(store, "b", "old");
    if (_i & 1) ck_ok(kevo_flush(store, &test_err));
    if (_i & 2) ck_ok(kv_compact(store, &test_err));
    kv_put(store, "x", "far");
    ingest("a=1 b=2 c=3");
    expect("a=1 b=2 c=3 x=far");
    ck_assert_str_eq(kv_get(store, NULL, "b"), "2");
    kv_delete(store, "b");
    kv_put(store, "c", "new");
    expect("a=1 c=new x=far");
    if (_i & 4) ck_ok(kevo_flush(store, &test_err));
    reopen();
    expect("a=1 c=new x=far");
    ingest("b=4 bb=5");
    expect("a=1 b=4 bb=5 c=new x=far");
    reopen();
    expect("a=1 b=4 bb=5 c=new x=far");
    ck_ok(kv_compact(store, &test_err));
    expect("a=1 b=4 bb=5 c=new x=far");
    ck_ok(kevo_verify(store, &test_err));
}
END_TEST

/* Memory that holds nothing in the range stays where it is. */
START_TEST(flushes_what_overlaps_only) {
    store = kv_open(&options);
    kv_put(store, "a", "1");
    kv_put(store, "z", "1");
    ingest("m=1 n=2");
    ck_assert_uint_eq(kv_stats(store).flushes, 0);
    ck_assert_uint_eq(tables_in(KEVO_MAX_LEVELS - 1), 1);
    ingest("b=1 n=3"); /* level 6 has n */
    ck_assert_uint_eq(kv_stats(store).flushes, 0);
    ck_assert_uint_eq(tables_in(KEVO_MAX_LEVELS - 2), 1);
    ingest("z=2");
    ck_assert_uint_eq(kv_stats(store).flushes, 1);
    ck_assert_uint_eq(tables_in(0), 2); /* above what was flushed */
    expect("a=1 b=1 m=1 n=3 z=2");
    reopen();
    expect("a=1 b=1 m=1 n=3 z=2");
}
END_TEST

START_TEST(older_snapshots_do_not_see_it) {
    store = kv_open(&options);
    kv_put(store, "a", "1");
    kv_put(store, "c", "1");
    kevo_snapshot *snap = kv_snapshot(store);
    struct kevo_read read = {.snapshot = snap};
    kevo_iter *it = kv_iter(store, NULL);
    ingest("a=2 b=2 c=2 d=2");
    kevo_snapshot *later = kv_snapshot(store);
    struct kevo_read read_later = {.snapshot = later};
    kv_put(store, "b", "3");
    for (unsigned round = 0; round < 3; round++) {
        ck_assert_str_eq(kv_dump(store, &read), "a=1 c=1");
        ck_assert_str_eq(kv_dump(store, &read_later), "a=2 b=2 c=2 d=2");
        expect("a=2 b=3 c=2 d=2");
        ck_assert_ptr_null(kv_get(store, &read, "b"));
        ck_assert_str_eq(kv_get(store, &read, "c"), "1");
        ck_assert_str_eq(kv_get(store, &read_later, "b"), "2");
        /* Seeks land behind what is too new. */
        kevo_iter *at = kv_iter(store, &read);
        ck_ok(kevo_iter_seek(at, kv_slice("b"), &test_err));
        ck_assert_str_eq(kv_entry(at), "c=1");
        ck_ok(kevo_iter_seek(at, kv_slice("d"), &test_err));
        ck_assert_str_eq(kv_entry(at), "-");
        ck_ok(kevo_iter_seek_for_prev(at, kv_slice("b"), &test_err));
        ck_assert_str_eq(kv_entry(at), "a=1");
        kevo_iter_free(at);
        if (round == 0) ck_ok(kevo_flush(store, &test_err));
        if (round == 1) ck_ok(kv_compact(store, &test_err));
    }
    ck_ok(kevo_iter_first(it, &test_err));
    ck_assert_str_eq(kv_entry(it), "a=1");
    kevo_iter_free(it);
    kevo_snapshot_free(snap);
    kevo_snapshot_free(later);
    ck_ok(kv_compact(store, &test_err));
    expect("a=2 b=3 c=2 d=2");
}
END_TEST

/* An ingested batch is in tables before older ones are, and may have made versions go. */
START_TEST(snapshots_before_it_after_a_merge_and_an_opening) {
    store = kv_open(&options);
    kv_put(store, "a", "1");
    ck_ok(kevo_flush(store, &test_err));
    kv_put(store, "z", "1");
    struct kevo_commit before = kevo_last_commit(store);
    ingest("a=2");
    struct kevo_commit last = kevo_last_commit(store);
    while (kevo_step(store, &test_err) == 0) {
    }
    ck_assert_uint_eq(kv_stats(store).compactions, 1);
    ck_assert_uint_eq(kv_stats(store).table_entries, 1);
    for (unsigned round = 0; round < 2; round++) {
        kevo_snapshot *snap;
        int refused = round ? KEVO_DIVERGED : KEVO_SNAPSHOT; /* nobody can have it any more */
        ck_assert_int_eq(kevo_snapshot_at(store, before, &snap, &test_err), refused);
        ck_ok(kevo_snapshot_at(store, last, &snap, &test_err));
        struct kevo_read read = {.snapshot = snap};
        ck_assert_str_eq(kv_dump(store, &read), "a=2 z=1");
        kevo_snapshot_free(snap);
        reopen();
    }
}
END_TEST

START_TEST(several_at_once) {
    store = kv_open(&options);
    kevo_ingest *one = begin(), *two = begin();
    put(one, "a", "one");
    put(two, "a", "two");
    put(one, "b", "one");
    put(two, "c", "two");
    finish(two);
    kv_put(store, "c", "put");
    finish(one);
    expect("a=one b=one c=put");
    reopen();
    expect("a=one b=one c=put");
    ck_ok(kv_compact(store, &test_err));
    expect("a=one b=one c=put");
}
END_TEST

START_TEST(not_while_a_transaction_is_in_doubt) {
    struct kevo_commit c;
    store = kv_open(&options);
    kevo_txn *t = kv_txn(store);
    kv_txn_put(t, "a", "1");
    ck_ok(kevo_txn_prepare(t, KEVO_SYNC_FULL, &c, &test_err));
    kevo_ingest *g = begin();
    put(g, "b", "2");
    ck_assert_int_eq(kevo_ingest_finish(g, NULL, &test_err), KEVO_INVALID);
    kevo_ingest_free(g);
    kevo_txn_commit(t);
    kevo_txn_unref(t);
    ingest("b=2");
    expect("a=1 b=2");
    ck_assert_uint_eq(kv_files(memory, ".sst"), kv_tables(store));
}
END_TEST

START_TEST(only_for_stores_that_decide_themselves) {
    kevo_ingest *g;
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    store = kv_open(&options);
    ck_assert_int_eq(kevo_ingest_new(store, &g, &test_err), KEVO_INVALID);
    ck_assert_ptr_null(g);
}
END_TEST

/* ---- a record without its edit ----------------------------------------------------------- */

/* The log has the record, synced; whether the manifest has the edit nobody knows. */
static void ingest_without_edit(const char *key, const char *value) {
    kevo_ingest *g = begin();
    put(g, key, value);
    fault_env_plan(env, (struct fault_plan){.kinds = FAULT_SYNC, .path = "MANIFEST", .nth = 1});
    ck_assert_int_eq(kevo_ingest_finish(g, NULL, &test_err), KEVO_READONLY);
    ck_assert(fault_env_hit(env));
    kevo_ingest_free(g);
}

/* Take the manifest's last record away: it was never written. */
static void lose_edit(struct env *image) {
    struct env_file *f;
    uint64_t size;
    ck_ok(image->open(image, KV_DIR "/MANIFEST", ENV_READ | ENV_WRITE, 0, &f, &test_err));
    ck_ok(image->size(image, f, &size, &test_err));
    ck_ok(image->truncate(image, f, size - 512, &test_err));
    image->close(image, f);
}

START_TEST(the_log_tells_when_the_manifest_does_not) {
    store = kv_open(&options);
    kv_put(store, "a", "1");
    ck_ok(kevo_flush(store, &test_err));
    kv_put(store, "b", "1");
    ingest_without_edit("a", "2");
    expect("a=1 b=1");
    ck_assert_int_eq(kevo_put(store, kv_slice("x"), kv_slice("y"), &test_err), KEVO_READONLY);
    kevo_close(store);
    store = NULL;
    if (_i) lose_edit(memory);
    store = kv_open(&options);
    expect("a=2 b=1");
    ck_ok(kevo_verify(store, &test_err));
    ck_ok(kevo_checkpoint(store, "/copy", &test_err));
    kevo_store *copy;
    ck_ok(kevo_open("/copy", &options, &copy, &test_err));
    ck_assert_str_eq(kv_dump(copy, NULL), "a=2 b=1");
    kv_put(copy, "c", "1");
    ck_ok(kv_compact(copy, &test_err));
    ck_assert_str_eq(kv_dump(copy, NULL), "a=2 b=1 c=1");
    kevo_close(copy);
    reopen(); /* nothing was written meanwhile */
    expect("a=2 b=1");
    kv_put(store, "b", "3");
    expect("a=2 b=3");
    ck_assert_uint_eq(kv_files(memory, ".sst"), kv_tables(store));
    reopen();
    expect("a=2 b=3");
    ck_ok(kv_compact(store, &test_err));
    reopen();
    expect("a=2 b=3");
    ck_assert_uint_eq(kv_files(memory, ".sst"), kv_tables(store));
}
END_TEST

/* The manifest cannot take the edit, and certainly has not: the batch never was. */
START_TEST(taken_back) {
    store = kv_open(&options);
    kv_put(store, "b", "1");
    kevo_ingest *g = begin();
    put(g, "a", "2");
    fault_env_plan(env, (struct fault_plan){
                            .kinds = FAULT_WRITE, .path = "MANIFEST", .nth = 1, .rc = KEVO_FULL});
    ck_assert_int_eq(kevo_ingest_finish(g, NULL, &test_err), KEVO_FULL);
    kevo_ingest_free(g);
    ck_assert_uint_eq(kv_files(memory, ".sst"), 0);
    expect("b=1");
    reopen();
    expect("b=1");
    ingest("a=3");
    expect("a=3 b=1");
    reopen();
    expect("a=3 b=1");
}
END_TEST

/* Let somebody else decide about the commits of the store. */
static void set_authority(uint32_t authority) {
    uint8_t header[48];
    struct env_file *f;
    size_t got;
    ck_ok(memory->open(memory, KV_DIR "/MANIFEST", ENV_READ | ENV_WRITE, 0, &f, &test_err));
    ck_ok(memory->read(memory, f, 0, header, sizeof header, &got, &test_err));
    put_fixed32(header + 12, authority);
    put_fixed64(header + 40, checksum64(header, 40, 0));
    ck_ok(memory->write(memory, f, 0, header, sizeof header, &test_err));
    memory->close(memory, f);
}

/* The authority says that the batch was the last one, or that it never was. */
START_TEST(decided_elsewhere) {
    store = kv_open(&options);
    kv_put(store, "a", "1");
    ck_ok(kevo_flush(store, &test_err));
    struct kevo_commit before = kevo_last_commit(store), last;
    ingest_without_edit("a", "2");
    kevo_close(store);
    lose_edit(memory);
    store = kv_open(&options);
    last = kevo_last_commit(store);
    ck_assert_uint_eq(last.batch, before.batch + 1);
    kevo_close(store);
    set_authority(KEVO_AUTHORITY_EXTERNAL);
    options.authority = KEVO_AUTHORITY_EXTERNAL;
    store = kv_open(&options);
    ck_assert(kevo_needs_resolve(store));
    kevo_snapshot *old, *new;
    ck_ok(kevo_snapshot_at(store, before, &old, &test_err));
    ck_ok(kevo_snapshot_at(store, last, &new, &test_err));
    struct kevo_read read_old = {.snapshot = old}, read_new = {.snapshot = new};
    ck_assert_str_eq(kv_dump(store, &read_old), "a=1");
    ck_assert_str_eq(kv_dump(store, &read_new), "a=2");
    kevo_snapshot_free(old);
    kevo_snapshot_free(new);
    ck_ok(kevo_resolve(store, _i ? last : before, &test_err));
    expect(_i ? "a=2" : "a=1");
    reopen();
    ck_ok(kevo_resolve(store, _i ? last : before, &test_err));
    expect(_i ? "a=2" : "a=1");
    ck_ok(kevo_rotate(store, &test_err));
    ck_ok(kv_compact(store, &test_err));
    expect(_i ? "a=2" : "a=1");
    reopen();
    ck_ok(kevo_resolve(store, _i ? last : before, &test_err));
    expect(_i ? "a=2" : "a=1");
    ck_assert_uint_eq(kv_files(memory, ".sst"), kv_tables(store));
}
END_TEST

/* ---- records that make no sense ------------------------------------------------------------- */

/* A store whose log has one record with this payload. */
static int open_with_record(slice payload, uint64_t batch) {
    uint8_t uuid[16];
    struct wal_writer *w;
    struct wal_run run = {.begin = 0};
    store = kv_open(&options);
    memcpy(uuid, kevo_store_uuid(store), sizeof uuid);
    kevo_close(store);
    store = NULL;
    ck_ok(wal_create(env, KV_DIR, 1, 0, uuid, (struct wal_link){3, 1}, 0600, &w, &test_err));
    wal_run_reset(&run, w);
    ck_ok(wal_begin_record(&run, &test_err));
    ck_assert(buf_append(&run.bytes, payload.data, payload.len));
    ck_ok(wal_end_record(&run, w, WAL_TABLES, (struct kevo_commit){batch, 77}, &test_err));
    ck_ok(wal_append_run(w, &run, &test_err));
    ck_ok(wal_sync(w, &test_err));
    wal_close(w);
    buf_release(&run.bytes);
    int rc = kevo_open(KV_DIR, &options, &store, &test_err);
    kevo_close(store);
    store = NULL;
    return rc;
}

struct field {
    const char *what;
    void (*spoil)(struct version_edit *e);
    int rc;
};

static void as_it_is(struct version_edit *e) {
    (void)e;
}
static void no_table(struct version_edit *e) {
    while (e->added_count)
        table_file_unref(e->added[--e->added_count].file);
}
static void a_level(struct version_edit *e) {
    e->added[0].level = 3;
}
static void another_batch(struct version_edit *e) {
    e->added[0].file->min_seq = e->added[0].file->max_seq = e->added[0].file->base_seq = 10;
}
static void several_writes(struct version_edit *e) {
    e->added[0].file->min_seq = e->added[0].file->base_seq = 8;
}
static void an_earlier_batch(struct version_edit *e) {
    e->added[0].file->min_seq = e->added[0].file->base_seq = 1;
}
static void base_above_the_smallest(struct version_edit *e) {
    e->added[0].file->base_seq = 10;
}
static void a_deletion(struct version_edit *e) {
    must(edit_delete_file(e, 1, 1, &test_err));
}
static void a_number(struct version_edit *e) {
    e->has_wal_floor = true;
    e->wal_floor = 2;
}
static void the_mark(struct version_edit *e) {
    e->has_ingested = true;
    e->ingested = 9;
}
static void a_table_twice(struct version_edit *e) {
    must(edit_add_file(e, 0, e->added[0].file, &test_err));
}
static void no_number(struct version_edit *e) {
    e->added[0].file->number = 0;
}

static const struct field fields[] = {
    {"as it is", as_it_is, 0},
    {"no table", no_table, KEVO_CORRUPT},
    {"a level", a_level, KEVO_CORRUPT},
    {"another batch", another_batch, KEVO_CORRUPT},
    {"several writes", several_writes, 0},
    {"an earlier batch", an_earlier_batch, KEVO_CORRUPT},
    {"base above the smallest", base_above_the_smallest, KEVO_CORRUPT},
    {"a deletion", a_deletion, KEVO_CORRUPT},
    {"a number", a_number, KEVO_CORRUPT},
    {"the mark", the_mark, KEVO_CORRUPT},
    {"a table twice", a_table_twice, KEVO_CORRUPT},
    {"no number", no_number, KEVO_CORRUPT},
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static void some_tables(const struct table_home *home, struct version_edit *e) {
    static const char *const keys[] = {"a", "b", "c", "d"};
    struct table_properties p = {.entry_count = 2, .key_count = 2};
    edit_init(e);
    for (unsigned i = 0; i < 2; i++) {
        struct table_file *f = table_file_new(home, 5 + i, 1000, 1, &p, kv_slice(keys[2 * i]),
                                              kv_slice(keys[2 * i + 1]));
        ck_assert_ptr_nonnull(f);
        table_file_set_base(f, 9);
        ck_ok(edit_add_file(e, 0, f, &test_err));
        table_file_unref(f);
    }
}

START_TEST(each_field_is_checked) {
    struct table_home home = {env, KV_DIR, NULL, NULL};
    struct version_edit e;
    struct buf payload = {0};
    some_tables(&home, &e);
    fields[_i].spoil(&e);
    ck_ok(edit_encode(&e, &payload, &test_err));
    int rc = open_with_record(buf_slice(&payload), 9);
    if (rc != fields[_i].rc) ck_abort_msg("%s: %d", fields[_i].what, rc);
    if (rc) ck_assert_ptr_nonnull(strstr(test_err.msg, KV_DIR));
    edit_release(&e);
    buf_release(&payload);
}
END_TEST

START_TEST(every_truncation_is_noticed) {
    struct table_home home = {env, KV_DIR, NULL, NULL};
    struct version_edit e;
    struct buf payload = {0};
    some_tables(&home, &e);
    ck_ok(edit_encode(&e, &payload, &test_err));
    size_t len = payload.len, one = len / 2;
    for (payload.len = 0; payload.len < len; payload.len++) {
        int rc = open_with_record(buf_slice(&payload), 9);
        ck_assert_int_eq(rc, payload.len == one ? 0 : KEVO_CORRUPT);
        ck_ok(kevo_destroy(KV_DIR, &options, &test_err));
    }
    edit_release(&e);
    buf_release(&payload);
}
END_TEST

/* ---- faults ---------------------------------------------------------------------------------- */

/* All of one ingestion over a store with something everywhere. Whether it may have been
 * committed is told by the error. */
static int whole_life(void) {
    kevo_ingest *g;
    kv_put(store, "m", "old");
    int rc = kevo_ingest_new(store, &g, &test_err);
    for (unsigned i = 0; rc == 0 && i < 60; i++) {
        char key[16];
        snprintf(key, sizeof key, "m%05u", i);
        rc = kevo_ingest_put(g, kv_slice(i ? key : "m"),
                             kv_slice("a value of some bytes, so that there are many tables, or "
                                      "at least more than just a single one of them"),
                             &test_err);
    }
    if (rc == 0) rc = kevo_ingest_finish(g, NULL, &test_err);
    kevo_ingest_free(g);
    return rc;
}

static unsigned count_rows(void) {
    unsigned count = 0;
    kevo_iter *it = kv_iter(store, NULL);
    ck_ok(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); count++)
        ck_ok(kevo_iter_next(it, &test_err));
    kevo_iter_free(it);
    return count;
}

static void start_over(void) {
    kevo_close(store);
    store = NULL;
    fault_env_plan(env, (struct fault_plan){.nth = 0});
    int rc = kevo_destroy(KV_DIR, &options, &test_err);
    if (rc) ck_assert_int_eq(rc, KEVO_CANTOPEN);
    store = kv_open(&options);
    kv_put(store, "a", "1");
    ck_ok(kevo_flush(store, &test_err));
    kv_put(store, "m", "old");
}

/* Nothing or all of it, and after a reopen too. */
static void check_after(int rc, bool may_be) {
    unsigned rows = count_rows();
    ck_assert_uint_eq(rows, rc ? 2 : 61);
    reopen();
    rows = count_rows();
    if (rc == 0 || !may_be)
        ck_assert_uint_eq(rows, rc ? 2 : 61);
    else
        ck_assert(rows == 2 || rows == 61);
    ck_ok(kevo_verify(store, &test_err));
    kv_put(store, "z", "1");
    ck_assert_uint_eq(kv_files(memory, ".sst"), kv_tables(store));
    ck_ok(kv_compact(store, &test_err));
    ck_assert_uint_eq(count_rows(), rows + 1);
    reopen();
    ck_assert_uint_eq(count_rows(), rows + 1);
}

START_TEST(every_call_fails) {
    for (uint64_t n = 1;; n++) {
        start_over();
        kv_put(store, "m", "old");
        fault_env_plan(env, (struct fault_plan){.kinds = FAULT_ALL,
                                                .nth = n + 3, /* the put of whole_life() */
                                                .rc = _i ? KEVO_FULL : KEVO_IOERR,
                                                .partial_write = _i});
        int rc = whole_life();
        bool hit = fault_env_hit(env);
        fault_env_plan(env, (struct fault_plan){.nth = 0});
        if (rc) ck_assert(rc == (_i ? KEVO_FULL : KEVO_IOERR) || rc == KEVO_READONLY);
        check_after(rc, true);
        if (!hit) break;
        ck_assert_uint_lt(n, 1000);
    }
}
END_TEST

START_TEST(every_allocation_fails) {
    for (uint64_t n = 1;; n++) {
        start_over();
        kv_put(store, "m", "old");
        kevo_ingest *g;
        fault_alloc_fail_at(n, false);
        int rc = kevo_ingest_new(store, &g, &test_err);
        for (unsigned i = 0; rc == 0 && i < 60; i++) {
            char key[16];
            snprintf(key, sizeof key, "m%05u", i);
            rc = kevo_ingest_put(g, kv_slice(i ? key : "m"),
                                 kv_slice("a value of some bytes, so that there are many tables, "
                                          "or at least more than just a single one of them"),
                                 &test_err);
        }
        if (rc == 0) rc = kevo_ingest_finish(g, NULL, &test_err);
        bool hit = fault_alloc_hit();
        fault_alloc_fail_at(0, false);
        kevo_ingest_free(g);
        if (rc) ck_assert_int_eq(rc, KEVO_NOMEM);
        check_after(rc, false);
        if (!hit) break;
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ingest");
    TCase *tc = tcase_create("ingest");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, becomes_one_batch);
    tcase_add_test(tc, refuses_what_is_not_in_order);
    tcase_add_test(tc, nothing_is_a_batch_too);
    tcase_add_test(tc, freed_without_an_end);
    tcase_add_loop_test(tc, the_newest_version_wins, 0, 8);
    tcase_add_test(tc, flushes_what_overlaps_only);
    tcase_add_test(tc, older_snapshots_do_not_see_it);
    tcase_add_test(tc, snapshots_before_it_after_a_merge_and_an_opening);
    tcase_add_test(tc, several_at_once);
    tcase_add_test(tc, not_while_a_transaction_is_in_doubt);
    tcase_add_test(tc, only_for_stores_that_decide_themselves);
    tcase_add_loop_test(tc, the_log_tells_when_the_manifest_does_not, 0, 2);
    tcase_add_test(tc, taken_back);
    tcase_add_loop_test(tc, decided_elsewhere, 0, 2);
    tcase_add_loop_test(tc, each_field_is_checked, 0, FIELDS);
    tcase_add_test(tc, every_truncation_is_noticed);
    tcase_add_loop_test(tc, every_call_fails, 0, 2);
    tcase_add_test(tc, every_allocation_fails);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
