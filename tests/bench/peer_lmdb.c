/* LMDB, a memory-mapped B+tree, for comparison with another kind of engine: uncompressed,
 * MDB_NOSYNC (its files may be damaged by a power loss, which the log-structured engines'
 * are not) unless commits are synced; the cache is the operating system's. */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/bench/peer.h"

struct lmdb_db {
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *batch; /* NULL: none begun */
    MDB_txn *read;  /* reset between reads */
};

struct lmdb_iter {
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
};

static void check(int rc, const char *what) {
    if (rc) bench_die(what, mdb_strerror(rc));
}

static MDB_val val_from(struct bytes b) {
    return (MDB_val){b.len, (void *)(uintptr_t)b.data};
}

static void describe(char *text, size_t room) {
    snprintf(text, room, "%d.%d.%d, a B+tree, uncompressed", MDB_VERSION_MAJOR, MDB_VERSION_MINOR,
             MDB_VERSION_PATCH);
}

static void *db_open(const struct peer_config *c) {
    struct lmdb_db *db = calloc(1, sizeof *db);
    if (!db) bench_die("lmdb", "no memory");
    mkdir(c->dir, 0755);
    check(mdb_env_create(&db->env), "mdb_env_create");
    check(mdb_env_set_mapsize(db->env, (size_t)64 << 30), "mdb_env_set_mapsize");
    check(
        mdb_env_open(db->env, c->dir, MDB_NOTLS | MDB_NORDAHEAD | (c->sync ? 0 : MDB_NOSYNC), 0644),
        "mdb_env_open");
    MDB_txn *txn;
    check(mdb_txn_begin(db->env, NULL, 0, &txn), "mdb_txn_begin");
    check(mdb_dbi_open(txn, NULL, 0, &db->dbi), "mdb_dbi_open");
    check(mdb_txn_commit(txn), "mdb_txn_commit");
    check(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &db->read), "mdb_txn_begin");
    mdb_txn_reset(db->read);
    return db;
}

static void db_close(void *arg) {
    struct lmdb_db *db = arg;
    mdb_txn_abort(db->read);
    mdb_env_close(db->env);
    free(db);
}

static void batch_put(void *arg, struct bytes key, struct bytes value) {
    struct lmdb_db *db = arg;
    MDB_val k = val_from(key), v = val_from(value);
    if (!db->batch) check(mdb_txn_begin(db->env, NULL, 0, &db->batch), "mdb_txn_begin");
    check(mdb_put(db->batch, db->dbi, &k, &v, 0), "mdb_put");
}

static void batch_commit(void *arg) {
    struct lmdb_db *db = arg;
    check(mdb_txn_commit(db->batch), "mdb_txn_commit");
    db->batch = NULL;
}

static void put(void *arg, struct bytes key, struct bytes value) {
    batch_put(arg, key, value);
    batch_commit(arg);
}

static bool get(void *arg, struct bytes key, uint64_t *digest) {
    struct lmdb_db *db = arg;
    MDB_val k = val_from(key), v;
    check(mdb_txn_renew(db->read), "mdb_txn_renew");
    int rc = mdb_get(db->read, db->dbi, &k, &v);
    if (rc == 0) *digest += digest_of((struct bytes){v.mv_data, v.mv_size});
    mdb_txn_reset(db->read);
    if (rc != MDB_NOTFOUND) check(rc, "mdb_get");
    return rc == 0;
}

static void delete_range(void *arg, struct bytes from, struct bytes to) {
    struct lmdb_db *db = arg;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key = val_from(from), end = val_from(to), value;
    check(mdb_txn_begin(db->env, NULL, 0, &txn), "mdb_txn_begin");
    check(mdb_cursor_open(txn, db->dbi, &cursor), "mdb_cursor_open");
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && mdb_cmp(txn, db->dbi, &key, &end) < 0) {
        check(mdb_cursor_del(cursor, 0), "mdb_cursor_del");
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (rc != MDB_NOTFOUND) check(rc, "mdb_cursor_get");
    mdb_cursor_close(cursor);
    check(mdb_txn_commit(txn), "mdb_txn_commit");
}

/* ---- iterators ------------------------------------------------------------------------ */

static void *iter_new(void *arg) {
    struct lmdb_db *db = arg;
    struct lmdb_iter *it = calloc(1, sizeof *it);
    if (!it) bench_die("lmdb", "no memory");
    check(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &it->txn), "mdb_txn_begin");
    check(mdb_cursor_open(it->txn, db->dbi, &it->cursor), "mdb_cursor_open");
    return it;
}

static void iter_free(void *arg) {
    struct lmdb_iter *it = arg;
    mdb_cursor_close(it->cursor);
    mdb_txn_abort(it->txn);
    free(it);
}

static bool move(struct lmdb_iter *it, MDB_cursor_op op) {
    int rc = mdb_cursor_get(it->cursor, &it->key, &it->value, op);
    if (rc != MDB_NOTFOUND) check(rc, "mdb_cursor_get");
    return rc == 0;
}

static bool first(void *it) {
    return move(it, MDB_FIRST);
}

static bool last(void *it) {
    return move(it, MDB_LAST);
}

static bool seek(void *arg, struct bytes key) {
    struct lmdb_iter *it = arg;
    it->key = val_from(key);
    return move(it, MDB_SET_RANGE);
}

static bool next(void *it) {
    return move(it, MDB_NEXT);
}

static bool prev(void *it) {
    return move(it, MDB_PREV);
}

static struct bytes key_of(void *arg) {
    struct lmdb_iter *it = arg;
    return (struct bytes){it->key.mv_data, it->key.mv_size};
}

static struct bytes value_of(void *arg) {
    struct lmdb_iter *it = arg;
    return (struct bytes){it->value.mv_data, it->value.mv_size};
}

const struct peer peer_lmdb = {
    .name = "lmdb",
    .describe = describe,
    .open = db_open,
    .close = db_close,
    .put = put,
    .batch_put = batch_put,
    .batch_commit = batch_commit,
    .get = get,
    .delete_range = delete_range,
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
