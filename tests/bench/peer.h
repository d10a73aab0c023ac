/* peer.h - one face for the engines that bench_engine compares, so that the same loops
 * drive all of them through their C interfaces.
 *
 * What is the same for all is in struct peer_config and in the head of bench_engine.c;
 * what an engine has its own way about is said in its file. Anything that fails ends the
 * program.
 *
 * Threads: one, but for put(), which another thread may call while the first one uses
 * iterators. */
#ifndef KEVO_BENCH_PEER_H
#define KEVO_BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/bench/measure.h"

struct peer_config {
    const char *dir; /* of the database; made when it is not there */
    uint64_t cache_bytes, memtable_bytes;
    bool sync; /* each commit is on the disk before it returns */
};

struct bytes {
    const char *data;
    size_t len;
};

struct peer {
    const char *name;
    bool is_lsm; /* counts for "the best peer" */
    void (*describe)(char *text, size_t room);

    void *(*open)(const struct peer_config *c);
    void (*close)(void *db);
    void (*put)(void *db, struct bytes key, struct bytes value); /* a commit */
    void (*batch_put)(void *db, struct bytes key, struct bytes value);
    void (*batch_commit)(void *db); /* of the batch_put calls since the last one */
    /* Adds digest_of() the value to *digest; false when there is none. */
    bool (*get)(void *db, struct bytes key, uint64_t *digest);
    /* [from, to): one call or a loop, whichever the engine's interface has. */
    void (*delete_range)(void *db, struct bytes from, struct bytes to);
    void (*compact)(void *db); /* everything, as far as it goes */

    /* An iterator reads the state of its creation. Motions return whether it stands on
     * an entry; key and value live until the next one. */
    void *(*iter_new)(void *db);
    void (*iter_free)(void *it);
    bool (*first)(void *it);
    bool (*last)(void *it);
    bool (*seek)(void *it, struct bytes key); /* the first key >= `key` */
    bool (*next)(void *it);
    bool (*prev)(void *it);
    struct bytes (*key)(void *it);
    struct bytes (*value)(void *it);
};

extern const struct peer peer_kevo, peer_leveldb, peer_rocksdb, peer_lmdb;

/* A number that tells values apart and that reads them, first byte and last. */
static inline uint64_t digest_of(struct bytes value) {
    uint64_t first = 0;
    memcpy(&first, value.data, value.len < 8 ? value.len : 8);
    return first + (value.len ? (uint8_t)value.data[value.len - 1] : 0) + value.len;
}

#endif
