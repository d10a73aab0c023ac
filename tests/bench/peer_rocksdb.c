/* RocksDB: lz4 on all levels, a Bloom filter of 10 bits a key in each table, an LRU cache,
 * level sizes set from the last level up (which saves space, as its own tuning guide says),
 * otherwise its defaults: 4 KB blocks, two background jobs, checksums verified. */
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/peer.h"

struct rocks_db {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    rocksdb_writebatch_t *batch;
};

static void check(char *message, const char *what) {
    if (message) bench_die(what, message);
}

static void describe(char *text, size_t room) {
    snprintf(text, room, "%s, lz4", ROCKSDB_VERSION);
}

static void set_options(struct rocks_db *db, const struct peer_config *c) {
    db->options = rocksdb_options_create();
    db->table = rocksdb_block_based_options_create();
    db->cache = rocksdb_cache_create_lru((size_t)c->cache_bytes);
    rocksdb_block_based_options_set_block_cache(db->table, db->cache);
    /* The table options take the policy over. */
    rocksdb_block_based_options_set_filter_policy(db->table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(db->options, db->table);
    rocksdb_options_set_create_if_missing(db->options, 1);
    rocksdb_options_set_write_buffer_size(db->options, (size_t)c->memtable_bytes);
    rocksdb_options_set_compression(db->options, rocksdb_lz4_compression);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(db->options, 1);
}

static void *db_open(const struct peer_config *c) {
    char *message = NULL;
    struct rocks_db *db = calloc(1, sizeof *db);
    if (!db) bench_die("rocksdb", "no memory");
    set_options(db, c);
    db->read = rocksdb_readoptions_create();
    db->write = rocksdb_writeoptions_create();
    db->batch = rocksdb_writebatch_create();
    rocksdb_writeoptions_set_sync(db->write, c->sync);
    db->db = rocksdb_open(db->options, c->dir, &message);
    check(message, "rocksdb_open");
    return db;
}

static void db_close(void *arg) {
    struct rocks_db *db = arg;
    rocksdb_close(db->db);
    rocksdb_writebatch_destroy(db->batch);
    rocksdb_writeoptions_destroy(db->write);
    rocksdb_readoptions_destroy(db->read);
    rocksdb_options_destroy(db->options);
    rocksdb_block_based_options_destroy(db->table);
    rocksdb_cache_destroy(db->cache);
    free(db);
}

static void put(void *arg, struct bytes key, struct bytes value) {
    struct rocks_db *db = arg;
    char *message = NULL;
    rocksdb_put(db->db, db->write, key.data, key.len, value.data, value.len, &message);
    check(message, "rocksdb_put");
}

static void batch_put(void *arg, struct bytes key, struct bytes value) {
    struct rocks_db *db = arg;
    rocksdb_writebatch_put(db->batch, key.data, key.len, value.data, value.len);
}

static void batch_commit(void *arg) {
    struct rocks_db *db = arg;
    char *message = NULL;
    rocksdb_write(db->db, db->write, db->batch, &message);
    check(message, "rocksdb_write");
    rocksdb_writebatch_clear(db->batch);
}

static bool get(void *arg, struct bytes key, uint64_t *digest) {
    struct rocks_db *db = arg;
    char *message = NULL;
    rocksdb_pinnableslice_t *pinned =
        rocksdb_get_pinned(db->db, db->read, key.data, key.len, &message);
    check(message, "rocksdb_get_pinned");
    if (!pinned) return false;
    struct bytes value;
    value.data = rocksdb_pinnableslice_value(pinned, &value.len);
    *digest += digest_of(value);
    rocksdb_pinnableslice_destroy(pinned);
    return true;
}

static void delete_range(void *arg, struct bytes from, struct bytes to) {
    struct rocks_db *db = arg;
    rocksdb_writebatch_delete_range(db->batch, from.data, from.len, to.data, to.len);
    batch_commit(db);
}

static void compact(void *arg) {
    struct rocks_db *db = arg;
    rocksdb_compact_range(db->db, NULL, 0, NULL, 0);
}

/* ---- iterators ------------------------------------------------------------------------ */

static void *iter_new(void *arg) {
    struct rocks_db *db = arg;
    return rocksdb_create_iterator(db->db, db->read);
}

static void iter_free(void *it) {
    rocksdb_iter_destroy(it);
}

static bool stands(void *it) {
    char *message = NULL;
    if (rocksdb_iter_valid(it)) return true;
    rocksdb_iter_get_error(it, &message);
    check(message, "a rocksdb iterator");
    return false;
}

static bool first(void *it) {
    rocksdb_iter_seek_to_first(it);
    return stands(it);
}

static bool last(void *it) {
    rocksdb_iter_seek_to_last(it);
    return stands(it);
}

static bool seek(void *it, struct bytes key) {
    rocksdb_iter_seek(it, key.data, key.len);
    return stands(it);
}

static bool next(void *it) {
    rocksdb_iter_next(it);
    return stands(it);
}

static bool prev(void *it) {
    rocksdb_iter_prev(it);
    return stands(it);
}

static struct bytes key_of(void *it) {
    struct bytes b;
    b.data = rocksdb_iter_key(it, &b.len);
    return b;
}

static struct bytes value_of(void *it) {
    struct bytes b;
    b.data = rocksdb_iter_value(it, &b.len);
    return b;
}

const struct peer peer_rocksdb = {
    .name = "rocksdb",
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
