/* Kevo: its defaults, but for what all engines are given. Level 0 and the levels below
 * hold what they hold by default, nothing is retained for late snapshots. Its cache borrows the
 * memory of two memtables while they do without it, so that much less is its own: in all it
 * never has more than the others. */
#include "engine/kevo.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/peer.h"

struct kevo_db {
    kevo_store *store;
    kevo_batch *batch;
};

static void check(int rc, const struct kevo_err *err, const char *what) {
    if (rc < 0) bench_die(what, err->msg);
}

static struct kevo_slice slice_from(struct bytes b) {
    return (struct kevo_slice){(const uint8_t *)b.data, b.len};
}

static struct bytes bytes_from(struct kevo_slice s) {
    return (struct bytes){(const char *)s.data, s.len};
}

static void describe(char *text, size_t room) {
    snprintf(text, room, "%s, lz4", KEVO_VERSION);
}

static void *db_open(const struct peer_config *c) {
    struct kevo_err err;
    struct kevo_options o;
    struct kevo_db *db = calloc(1, sizeof *db);
    if (!db) bench_die("kevo", "no memory");
    kevo_options_default(&o);
    o.create_if_missing = true;
    o.sync = c->sync ? KEVO_SYNC_FULL : KEVO_SYNC_OFF;
    o.memtable_bytes = c->memtable_bytes;
    uint64_t lent = 2 * o.memtable_bytes;
    o.cache_bytes = c->cache_bytes > 2 * lent ? c->cache_bytes - lent : c->cache_bytes / 2;
    o.filter_bits_per_key = 10;
    check(kevo_open(c->dir, &o, &db->store, &err), &err, "kevo_open");
    check(kevo_batch_new(&db->batch, &err), &err, "kevo_batch_new");
    return db;
}

static void db_close(void *arg) {
    struct kevo_db *db = arg;
    kevo_batch_free(db->batch);
    kevo_close(db->store);
    free(db);
}

static void put(void *arg, struct bytes key, struct bytes value) {
    struct kevo_db *db = arg;
    struct kevo_err err;
    check(kevo_put(db->store, slice_from(key), slice_from(value), &err), &err, "kevo_put");
}

static void batch_put(void *arg, struct bytes key, struct bytes value) {
    struct kevo_db *db = arg;
    struct kevo_err err;
    check(kevo_batch_put(db->batch, slice_from(key), slice_from(value), &err), &err,
          "kevo_batch_put");
}

static void batch_commit(void *arg) {
    struct kevo_db *db = arg;
    struct kevo_err err;
    check(kevo_apply_batch(db->store, db->batch, NULL, &err), &err, "kevo_apply_batch");
    kevo_batch_reset(db->batch);
}

static bool get(void *arg, struct bytes key, uint64_t *digest) {
    struct kevo_db *db = arg;
    struct kevo_err err;
    struct kevo_value v;
    int rc = kevo_get(db->store, NULL, slice_from(key), &v, &err);
    check(rc, &err, "kevo_get");
    if (rc) return false;
    *digest += digest_of(bytes_from(v.slice));
    kevo_value_release(&v);
    return true;
}

static void delete_range(void *arg, struct bytes from, struct bytes to) {
    struct kevo_db *db = arg;
    struct kevo_err err;
    check(kevo_delete_range(db->store, slice_from(from), slice_from(to), &err), &err,
          "kevo_delete_range");
}

static void compact(void *arg) {
    struct kevo_db *db = arg;
    struct kevo_err err;
    check(kevo_flush(db->store, &err), &err, "kevo_flush");
    check(kevo_compact(db->store, (struct kevo_slice){NULL, 0}, (struct kevo_slice){NULL, 0}, NULL,
                       NULL, &err),
          &err, "kevo_compact");
}

/* ---- iterators ------------------------------------------------------------------------ */

static void *iter_new(void *arg) {
    struct kevo_db *db = arg;
    struct kevo_err err;
    kevo_iter *it;
    check(kevo_iter_new(db->store, NULL, &it, &err), &err, "kevo_iter_new");
    return it;
}

static void iter_free(void *it) {
    kevo_iter_free(it);
}

static bool moved(kevo_iter *it, int rc, const struct kevo_err *err) {
    check(rc, err, "a kevo iterator");
    return kevo_iter_valid(it);
}

static bool first(void *it) {
    struct kevo_err err;
    return moved(it, kevo_iter_first(it, &err), &err);
}

static bool last(void *it) {
    struct kevo_err err;
    return moved(it, kevo_iter_last(it, &err), &err);
}

static bool seek(void *it, struct bytes key) {
    struct kevo_err err;
    return moved(it, kevo_iter_seek(it, slice_from(key), &err), &err);
}

static bool next(void *it) {
    struct kevo_err err;
    return moved(it, kevo_iter_next(it, &err), &err);
}

static bool prev(void *it) {
    struct kevo_err err;
    return moved(it, kevo_iter_prev(it, &err), &err);
}

static struct bytes key_of(void *it) {
    return bytes_from(kevo_iter_key(it));
}

static struct bytes value_of(void *it) {
    return bytes_from(kevo_iter_value(it));
}

const struct peer peer_kevo = {
    .name = "kevo",
    .describe = describe,
    .open = db_open,
    .close = db_close,
    .put = put,
    .batch_put = batch_put,
    .batch_commit = batch_commit,
    .get = get,
    .delete_range = delete_range,
    .compact = compact,
    .iter_new = iter_new,
    .iter_free = iter_free,
    .first = first,
    .last = last,
    .seek = seek,
    .next = next,
    .prev = prev,
    .key = key_of,
    .value = value_of,
};
