#include "tests/bench/load.h"

#include <stdlib.h>

enum { POOL_BYTES = 1 << 20, RANGES = 20, SYNCED_ROWS = 5000, NEXTS = 100 };

/* Values are taken from here: far more than a block, so that nothing is found twice. */
static char pool[POOL_BYTES + LOAD_VALUE_BYTES];

/* A permutation of 64-bit numbers (the finish of splitmix64: Steele, Lea, Flood 2014). */
static uint64_t scatter(uint64_t z) {
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void load_init(void) {
    for (size_t at = 0; at + LOAD_VALUE_BYTES <= sizeof pool; at += LOAD_VALUE_BYTES) {
        memset(pool + at, 'v', LOAD_VALUE_BYTES);
        for (size_t i = 0; i < LOAD_VALUE_BYTES / 2; i++)
            pool[at + i] = (char)(scatter(at + i + 1) >> 24);
    }
}

static struct bytes value_of(uint64_t i) {
    uint64_t at = i % (POOL_BYTES / LOAD_VALUE_BYTES) * LOAD_VALUE_BYTES;
    return (struct bytes){pool + at, LOAD_VALUE_BYTES};
}

static struct bytes hex_of(uint64_t n, char key[LOAD_KEY_BYTES]) {
    for (int i = LOAD_KEY_BYTES; i-- > 0; n >>= 4)
        key[i] = "0123456789abcdef"[n & 15];
    return (struct bytes){key, LOAD_KEY_BYTES};
}

static struct bytes random_key(uint64_t i, char key[LOAD_KEY_BYTES]) {
    return hex_of(scatter(i + 1), key);
}

/* ---- writing ------------------------------------------------------------------------- */

static uint64_t fill(struct load_state *s, bool sequential, bool batches) {
    char key[LOAD_KEY_BYTES];
    s->generation++;
    for (uint64_t i = 0; i < s->rows; i++) {
        struct bytes k = sequential ? hex_of(i, key) : random_key(i, key);
        struct bytes v = value_of(i + s->generation);
        if (!batches) {
            s->peer->put(s->db, k, v);
            continue;
        }
        s->peer->batch_put(s->db, k, v);
        if (i % LOAD_BATCH == LOAD_BATCH - 1 || i + 1 == s->rows) s->peer->batch_commit(s->db);
    }
    return s->rows;
}

static uint64_t fillseq(struct load_state *s) {
    return fill(s, true, false);
}

static uint64_t fillseq_batch(struct load_state *s) {
    return fill(s, true, true);
}

static uint64_t fillrandom(struct load_state *s) {
    return fill(s, false, false);
}

static uint64_t fillrandom_batch(struct load_state *s) {
    return fill(s, false, true);
}

static uint64_t fillsync(struct load_state *s) {
    uint64_t all = s->rows;
    if (s->rows > SYNCED_ROWS) s->rows = SYNCED_ROWS;
    uint64_t done = fill(s, false, false);
    s->rows = all;
    return done;
}

/* Each row once on average, in another order than they were written in. */
static uint64_t overwrite(struct load_state *s) {
    char key[LOAD_KEY_BYTES];
    s->generation++;
    for (uint64_t i = 0; i < s->rows; i++)
        s->peer->put(s->db, random_key(scatter(i * 77 + 5) % s->rows, key),
                     value_of(i + s->generation));
    return s->rows;
}

/* ---- reading ------------------------------------------------------------------------- */

static uint64_t walk(struct load_state *s, bool backward) {
    const struct peer *p = s->peer;
    uint64_t n = 0;
    void *it = p->iter_new(s->db);
    bool on = backward ? p->last(it) : p->first(it);
    for (; on; on = backward ? p->prev(it) : p->next(it)) {
        s->digest += digest_of(p->key(it)) * digest_of(p->value(it));
        n++;
    }
    p->iter_free(it);
    return n;
}

static uint64_t readseq(struct load_state *s) {
    uint64_t n = walk(s, false);
    if (n != s->rows) bench_die("readseq", "found another number of rows than were written");
    return n;
}

static uint64_t readreverse(struct load_state *s) {
    uint64_t n = walk(s, true);
    if (n != s->rows) bench_die("readreverse", "found another number of rows than were written");
    return n;
}

/* Of what is left after a deletion, an operation for each row that there was. */
static uint64_t readseq_deleted(struct load_state *s) {
    if (walk(s, false) == s->rows) bench_die("readseq_deleted", "nothing was deleted");
    return s->rows;
}

static uint64_t read_random(struct load_state *s, uint64_t rows, bool missing) {
    char key[LOAD_KEY_BYTES];
    for (uint64_t i = 0; i < s->reads; i++) {
        uint64_t at = scatter(i * 31 + 7) % rows;
        struct bytes k = random_key(missing ? at + s->rows * 10 : at, key);
        if (s->peer->get(s->db, k, &s->digest) == missing)
            bench_die("a read", missing ? "found a key that is not there" : "missed a key");
    }
    return s->reads;
}

static uint64_t readrandom(struct load_state *s) {
    return read_random(s, s->rows, false);
}

/* Of one row in a hundred, so that a cache holds them all. */
static uint64_t readhot(struct load_state *s) {
    return read_random(s, s->rows / 100 + 1, false);
}

static uint64_t readmissing(struct load_state *s) {
    return read_random(s, s->rows, true);
}

/* Seek and read, then `nexts` entries more; with an iterator for each seek, or one. */
static uint64_t seek_random(struct load_state *s, uint64_t seeks, unsigned nexts, bool reuse) {
    const struct peer *p = s->peer;
    char key[LOAD_KEY_BYTES];
    void *it = reuse ? p->iter_new(s->db) : NULL;
    for (uint64_t i = 0; i < seeks; i++) {
        if (!reuse) it = p->iter_new(s->db);
        bool on = p->seek(it, random_key(scatter(i * 19 + 3) % s->rows, key));
        if (!on) bench_die("a seek", "missed a key");
        for (unsigned k = 0; on; k++) {
            s->digest += digest_of(p->key(it)) * digest_of(p->value(it));
            if (k == nexts) break;
            on = p->next(it);
        }
        if (!reuse) p->iter_free(it);
    }
    if (reuse) p->iter_free(it);
    return seeks;
}

static uint64_t seekrandom(struct load_state *s) {
    return seek_random(s, s->reads / 2 + 1, 0, false);
}

static uint64_t seekrandom_reused(struct load_state *s) {
    return seek_random(s, s->reads / 2 + 1, 0, true);
}

static uint64_t seekrandom_next100(struct load_state *s) {
    return seek_random(s, s->reads / 20 + 1, NEXTS, false);
}

/* ---- the rest -------------------------------------------------------------------------- */

static uint64_t compact(struct load_state *s) {
    if (s->peer->compact) s->peer->compact(s->db);
    return s->rows;
}

/* Twenty ranges of a hundredth of the rows each: a fifth of all. The operation is one row
 * less. */
static uint64_t deleterange(struct load_state *s) {
    const uint64_t hundredth = UINT64_MAX / 100;
    char from[LOAD_KEY_BYTES], to[LOAD_KEY_BYTES];
    for (uint64_t i = 0; i < RANGES; i++)
        s->peer->delete_range(s->db, hex_of(5 * i * hundredth, from),
                              hex_of((5 * i + 1) * hundredth, to));
    return s->rows * RANGES / 100;
}

void load_prepare(struct load_state *s, enum load_content content, enum load_content wanted) {
    if (content != CONTENT_ROWS) {
        fill(s, false, true);
        overwrite(s);
    }
    if (wanted == CONTENT_DELETED) deleterange(s);
}

const struct load loads[] = {
    {"fillsync", "put", true, CONTENT_SYNCED, CONTENT_OTHER, fillsync},
    {"fillseq", "put", true, CONTENT_EMPTY, CONTENT_OTHER, fillseq},
    {"fillseq_batch", "row", true, CONTENT_EMPTY, CONTENT_OTHER, fillseq_batch},
    {"fillrandom", "put", true, CONTENT_EMPTY, CONTENT_ROWS, fillrandom},
    {"fillrandom_batch", "row", true, CONTENT_EMPTY, CONTENT_ROWS, fillrandom_batch},
    {"overwrite", "put", true, CONTENT_ROWS, CONTENT_ROWS, overwrite},
    {"readseq", "row", false, CONTENT_ROWS, CONTENT_ROWS, readseq},
    {"readreverse", "row", false, CONTENT_ROWS, CONTENT_ROWS, readreverse},
    {"readrandom", "get", false, CONTENT_ROWS, CONTENT_ROWS, readrandom},
    {"readhot", "get", false, CONTENT_ROWS, CONTENT_ROWS, readhot},
    {"readmissing", "get", false, CONTENT_ROWS, CONTENT_ROWS, readmissing},
    {"seekrandom", "seek", false, CONTENT_ROWS, CONTENT_ROWS, seekrandom},
    {"seekrandom_reused", "seek", false, CONTENT_ROWS, CONTENT_ROWS, seekrandom_reused},
    {"seekrandom_next100", "seek", false, CONTENT_ROWS, CONTENT_ROWS, seekrandom_next100},
    {"compact", "row", true, CONTENT_ROWS, CONTENT_ROWS, compact},
    {"deleterange", "row", true, CONTENT_ROWS, CONTENT_DELETED, deleterange},
    {"readseq_deleted", "row", false, CONTENT_DELETED, CONTENT_DELETED, readseq_deleted},
};
const unsigned load_count = sizeof loads / sizeof loads[0];
