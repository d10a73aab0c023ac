#include "tests/bench/load.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    POOL_BYTES = 1 << 20,
    RANGES = 20,
    SYNCED_ROWS = 5000,
    NEXTS = 100,
    SCANNED_ROWS = 5000000, /* beside writes, in whole scans */
    WRITES_A_MS = 20
};

/* Values are taken from here: far more than a block, so that nothing is found twice. */
static char pool[POOL_BYTES + LOAD_VALUE_BYTES];

void load_init(void) {
    for (size_t at = 0; at + LOAD_VALUE_BYTES <= sizeof pool; at += LOAD_VALUE_BYTES) {
        memset(pool + at, 'v', LOAD_VALUE_BYTES);
        for (size_t i = 0; i < LOAD_VALUE_BYTES / 2; i++)
            pool[at + i] = (char)(scatter(at + i + 1) >> 24);
    }
}

void load_release(struct load_state *s) {
    free(s->zipfian);
    s->zipfian = NULL;
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
    s->rows = all / 10 < SYNCED_ROWS ? all / 10 : SYNCED_ROWS;
    uint64_t done = fill(s, false, false);
    s->rows = all;
    return done;
}

/* As fillrandom, each call timed. */
static uint64_t fillsteady(struct load_state *s) {
    char key[LOAD_KEY_BYTES];
    s->generation++;
    series_begin(&s->series);
    uint64_t before = now_ns();
    for (uint64_t i = 0; i < s->rows; i++) {
        s->peer->put(s->db, random_key(i, key), value_of(i + s->generation));
        uint64_t now = now_ns();
        latencies_add(&s->timed, now - before);
        series_add(&s->series, now, now - before);
        before = now;
    }
    series_end(&s->series);
    return s->rows;
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

static uint64_t walk(struct load_state *s, bool backward, bool with_values) {
    const struct peer *p = s->peer;
    uint64_t n = 0;
    void *it = p->iter_new(s->db);
    bool on = backward ? p->last(it) : p->first(it);
    for (; on; on = backward ? p->prev(it) : p->next(it)) {
        struct bytes value = p->value(it);
        s->digest += digest_of(p->key(it)) * (with_values ? digest_of(value) : value.len);
        n++;
    }
    p->iter_free(it);
    return n;
}

static uint64_t readseq(struct load_state *s) {
    uint64_t n = walk(s, false, true);
    if (n != s->rows) bench_die("readseq", "found another number of rows than were written");
    return n;
}

static uint64_t readreverse(struct load_state *s) {
    uint64_t n = walk(s, true, true);
    if (n != s->rows) bench_die("readreverse", "found another number of rows than were written");
    return n;
}

/* Of what is left after a deletion, an operation for each row that there was. The values
 * may be those of readseq_writing, which nobody knows. */
static uint64_t readseq_deleted(struct load_state *s) {
    if (walk(s, false, false) == s->rows) bench_die("readseq_deleted", "nothing was deleted");
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

/* ---- both ------------------------------------------------------------------------------ */

static uint64_t mixed_operations(const struct load_state *s) {
    return s->reads * 4 < s->rows ? s->reads * 4 : s->rows;
}

/* Which rows the mixed loads take: zipfian with the constant 0.99, as YCSB has it, by the
 * method of Gray et al. (Quickly Generating Billion-Record Synthetic Databases, 1994). The
 * frequent ones are spread over all rows. */
static void choose_zipfian(struct load_state *s) {
    const double theta = 0.99, n = (double)s->rows, alpha = 1 / (1 - theta);
    uint64_t operations = mixed_operations(s);
    double zeta = 0;
    if (s->zipfian) return;
    s->zipfian = calloc(operations, sizeof *s->zipfian);
    if (!s->zipfian) bench_die("zipfian keys", "no memory");
    for (uint64_t i = 1; i <= s->rows; i++)
        zeta += pow((double)i, -theta);
    double zeta2 = 1 + pow(2, -theta);
    double eta = (1 - pow(2 / n, 1 - theta)) / (1 - zeta2 / zeta);
    for (uint64_t i = 0; i < operations; i++) {
        double u = (double)(scatter(i * 17 + 9) >> 11) / 9007199254740992.0, uz = u * zeta;
        uint64_t rank = uz < 1 ? 0 : uz < zeta2 ? 1 : (uint64_t)(n * pow(eta * u - eta + 1, alpha));
        s->zipfian[i] = (uint32_t)(scatter(rank) % s->rows);
    }
}

/* Gets and puts of rows that are there. */
static uint64_t read_and_write(struct load_state *s, unsigned write_percent) {
    char key[LOAD_KEY_BYTES];
    uint64_t operations = mixed_operations(s);
    s->generation++;
    uint64_t before = now_ns();
    for (uint64_t i = 0; i < operations; i++) {
        struct bytes k = random_key(s->zipfian[i], key);
        if (scatter(i * 53 + 11) % 100 < write_percent)
            s->peer->put(s->db, k, value_of(i + s->generation));
        else if (!s->peer->get(s->db, k, &s->digest))
            bench_die("a read", "missed a key");
        uint64_t now = now_ns();
        latencies_add(&s->timed, now - before);
        before = now;
    }
    return operations;
}

static uint64_t readwrite95(struct load_state *s) {
    return read_and_write(s, 5);
}

static uint64_t readwrite50(struct load_state *s) {
    return read_and_write(s, 50);
}

struct writer {
    struct load_state *s;
    atomic_bool stop;
    uint64_t puts;
};

/* Overwrites random rows, so many in each millisecond: more at once after a delay, so that
 * all engines have the same to do as long as they keep up. */
static void *write_beside(void *arg) {
    struct writer *w = arg;
    struct load_state *s = w->s;
    char key[LOAD_KEY_BYTES];
    uint64_t start = now_ns();
    while (!atomic_load(&w->stop)) {
        if (w->puts >= (now_ns() - start) / 1000000 * WRITES_A_MS) {
            sleep_ms(1);
            continue;
        }
        for (unsigned i = 0; i < WRITES_A_MS; i++, w->puts++) {
            uint64_t begun = now_ns();
            s->peer->put(s->db, random_key(scatter(w->puts * 41 + 13) % s->rows, key),
                         value_of(w->puts + s->generation));
            latencies_add(&s->timed, now_ns() - begun);
        }
    }
    return NULL;
}

/* Whole scans while rows are overwritten; what values they see is a matter of chance, which
 * keys is not. */
static uint64_t readseq_writing(struct load_state *s) {
    const struct peer *p = s->peer;
    uint64_t n = 0, scans = SCANNED_ROWS / s->rows;
    struct writer w = {.s = s};
    pthread_t thread;
    scans = scans < 2 ? 2 : scans > 10 ? 10 : scans;
    s->generation++;
    if (pthread_create(&thread, NULL, write_beside, &w)) bench_die("a thread", NULL);
    for (uint64_t i = 0; i < scans; i++) {
        void *it = p->iter_new(s->db);
        for (bool on = p->first(it); on; on = p->next(it), n++)
            s->digest += digest_of(p->key(it)) + p->value(it).len;
        p->iter_free(it);
    }
    atomic_store(&w.stop, true);
    pthread_join(thread, NULL);
    s->beside = w.puts;
    if (n != scans * s->rows) bench_die("readseq_writing", "missed a row");
    return n;
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
    {"fillsync", "put", true, CONTENT_SYNCED, CONTENT_OTHER, fillsync, NULL},
    {"fillseq", "put", true, CONTENT_EMPTY, CONTENT_OTHER, fillseq, NULL},
    {"fillseq_batch", "row", true, CONTENT_EMPTY, CONTENT_OTHER, fillseq_batch, NULL},
    {"fillrandom", "put", true, CONTENT_EMPTY, CONTENT_ROWS, fillrandom, NULL},
    {"fillrandom_batch", "row", true, CONTENT_EMPTY, CONTENT_ROWS, fillrandom_batch, NULL},
    {"fillsteady", "put", true, CONTENT_EMPTY, CONTENT_ROWS, fillsteady, NULL},
    {"overwrite", "put", true, CONTENT_ROWS, CONTENT_ROWS, overwrite, NULL},
    {"readseq", "row", false, CONTENT_ROWS, CONTENT_ROWS, readseq, NULL},
    {"readreverse", "row", false, CONTENT_ROWS, CONTENT_ROWS, readreverse, NULL},
    {"readrandom", "get", false, CONTENT_ROWS, CONTENT_ROWS, readrandom, NULL},
    {"readhot", "get", false, CONTENT_ROWS, CONTENT_ROWS, readhot, NULL},
    {"readmissing", "get", false, CONTENT_ROWS, CONTENT_ROWS, readmissing, NULL},
    {"seekrandom", "seek", false, CONTENT_ROWS, CONTENT_ROWS, seekrandom, NULL},
    {"seekrandom_reused", "seek", false, CONTENT_ROWS, CONTENT_ROWS, seekrandom_reused, NULL},
    {"seekrandom_next100", "seek", false, CONTENT_ROWS, CONTENT_ROWS, seekrandom_next100, NULL},
    {"readwrite95", "call", true, CONTENT_ROWS, CONTENT_ROWS, readwrite95, choose_zipfian},
    {"readwrite50", "call", true, CONTENT_ROWS, CONTENT_ROWS, readwrite50, choose_zipfian},
    {"readseq_writing", "row", true, CONTENT_ROWS, CONTENT_ROWS, readseq_writing, NULL},
    {"compact", "row", true, CONTENT_ROWS, CONTENT_ROWS, compact, NULL},
    {"deleterange", "row", true, CONTENT_ROWS, CONTENT_DELETED, deleterange, NULL},
    {"readseq_deleted", "row", false, CONTENT_DELETED, CONTENT_DELETED, readseq_deleted, NULL},
};
const unsigned load_count = sizeof loads / sizeof loads[0];
