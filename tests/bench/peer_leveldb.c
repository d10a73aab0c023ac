/* LevelDB: a Bloom filter of 10 bits a key and snappy, the only compression it has;
 * block checksums are not verified on reads, which is its default. It has no call that
 * deletes a range: its keys are deleted one by one, in batches. */
#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/peer.h"

struct level_db {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write;
    leveldb_writebatch_t *batch;
    uint64_t batched;
};

static void check(char *message, const char *what) {
    if (message) bench_die(what, message);
}

static void describe(char *text, size_t room) {
    snprintf(text, room, "%d.%d, snappy", leveldb_major_version(), leveldb_minor_version());
}

static void *db_open(const struct peer_config *c) {
    char *message = NULL;
    struct level_db *db = calloc(1, sizeof *db);
    if (!db) bench_die("leveldb", "no memory");
    db->options = leveldb_options_create();
    db->cache = leveldb_cache_create_lru((size_t)c->cache_bytes);
    db->filter = leveldb_filterpolicy_create_bloom(10);
    db->read = leveldb_readoptions_create();
    db->write = leveldb_writeoptions_create();
    db->batch = leveldb_writebatch_create();
    leveldb_options_set_create_if_missing(db->options, 1);
    leveldb_options_set_cache(db->options, db->cache);
    leveldb_options_set_filter_policy(db->options, db->filter);
    leveldb_options_set_write_buffer_size(db->options, (size_t)c->memtable_bytes);
    leveldb_options_set_compression(db->options, leveldb_snappy_compression);
    leveldb_writeoptions_set_sync(db->write, c->sync);
    db->db = leveldb_open(db->options, c->dir, &message);
    check(message, "leveldb_open");
    return db;
}

static void db_close(void *arg) {
    struct level_db *db = arg;
    leveldb_close(db->db);
    leveldb_writebatch_destroy(db->batch);
    leveldb_writeoptions_destroy(db->write);
    leveldb_readoptions_destroy(db->read);
    leveldb_options_destroy(db->options);
    leveldb_filterpolicy_destroy(db->filter);
    leveldb_cache_destroy(db->cache);
    free(db);
}

static void put(void *arg, struct bytes key, struct bytes value) {
    struct level_db *db = arg;
    char *message = NULL;
    leveldb_put(db->db, db->write, key.data, key.len, value.data, value.len, &message);
    check(message, "leveldb_put");
}

static void batch_put(void *arg, struct bytes key, struct bytes value) {
    struct level_db *db = arg;
    leveldb_writebatch_put(db->batch, key.data, key.len, value.data, value.len);
}

static void batch_commit(void *arg) {
    struct level_db *db = arg;
    char *message = NULL;
    leveldb_write(db->db, db->write, db->batch, &message);
    check(message, "leveldb_write");
    leveldb_writebatch_clear(db->batch);
    db->batched = 0;
}

static bool get(void *arg, struct bytes key, uint64_t *digest) {
    struct level_db *db = arg;
    char *message = NULL;
    size_t len;
    char *value = leveldb_get(db->db, db->read, key.data, key.len, &len, &message);
    check(message, "leveldb_get");
    if (!value) return false;
    *digest += digest_of((struct bytes){value, len});
    leveldb_free(value);
    return true;
}

static void *iter_new(void *arg) {
    struct level_db *db = arg;
    return leveldb_create_iterator(db->db, db->read);
}

static void iter_free(void *it) {
    leveldb_iter_destroy(it);
}

static bool stands(void *it) {
    char *message = NULL;
    if (leveldb_iter_valid(it)) return true;
    leveldb_iter_get_error(it, &message);
    check(message, "a leveldb iterator");
    return false;
}

static bool first(void *it) {
    leveldb_iter_seek_to_first(it);
    return stands(it);
}

static bool last(void *it) {
    leveldb_iter_seek_to_last(it);
    return stands(it);
}

static bool seek(void *it, struct bytes key) {
    leveldb_iter_seek(it, key.data, key.len);
    return stands(it);
}

static bool next(void *it) {
    leveldb_iter_next(it);
    return stands(it);
}

static bool prev(void *it) {
    leveldb_iter_prev(it);
    return stands(it);
}

static struct bytes key_of(void *it) {
    struct bytes b;
    b.data = leveldb_iter_key(it, &b.len);
    return b;
}

static struct bytes value_of(void *it) {
    struct bytes b;
    b.data = leveldb_iter_value(it, &b.len);
    return b;
}

static bool is_before(struct bytes a, struct bytes b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = memcmp(a.data, b.data, n);
    return c ? c < 0 : a.len < b.len;
}

static void delete_range(void *arg, struct bytes from, struct bytes to) {
    struct level_db *db = arg;
    void *it = iter_new(db);
    for (bool on = seek(it, from); on && is_before(key_of(it), to); on = next(it)) {
        struct bytes key = key_of(it);
        leveldb_writebatch_delete(db->batch, key.data, key.len);
        if (++db->batched == 1000) batch_commit(db);
    }
    iter_free(it);
    if (db->batched) batch_commit(db);
}

static void compact(void *arg) {
    struct level_db *db = arg;
    leveldb_compact_range(db->db, NULL, 0, NULL, 0);
}

const struct peer peer_leveldb = {
    .name = "leveldb",
    .is_lsm = true,
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
