/* Ingestions at random against a model, and while threads write, compact and read. */
#include "engine/kevo.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/ingest_store.h"

/* ---- against a model -------------------------------------------------------------------------- */

enum { KEYS = 30, SNAPS = 4 };

struct model {
    unsigned now[KEYS];
    struct {
        kevo_snapshot *snap;
        unsigned now[KEYS];
    } past[SNAPS];
};

static const char *key_text(unsigned k) {
    static char text[8][8];
    static unsigned turn;
    char *t = text[turn++ % 8];
    snprintf(t, 8, "k%02u", k);
    return t;
}

static void check_state(const unsigned now[KEYS], kevo_snapshot *snap) {
    char text[KEYS * 20] = "";
    size_t at = 0;
    struct kevo_read read = {.snapshot = snap};
    for (unsigned k = 0; k < KEYS; k++) {
        if (now[k])
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s=%u", at ? " " : "",
                                   key_text(k), now[k]);
        const char *found = kv_get(store, &read, key_text(k));
        if (now[k])
            ck_assert_uint_eq(found ? strtoul(found, NULL, 10) : 0, now[k]);
        else
            ck_assert_ptr_null(found);
    }
    ck_assert_str_eq(kv_dump(store, &read), text);
}

static void release_snapshots(struct model *m) {
    for (unsigned i = 0; i < SNAPS; i++)
        kevo_snapshot_free(m->past[i].snap);
    memset(m->past, 0, sizeof m->past);
}

static void random_ingest(struct model *m, struct rng *rng, unsigned *number) {
    kevo_ingest *g = begin();
    unsigned first = (unsigned)rng_below(rng, KEYS), density = 1 + (unsigned)rng_below(rng, 4);
    unsigned next[KEYS];
    memcpy(next, m->now, sizeof next);
    for (unsigned k = first; k < KEYS && k < first + 10; k++) {
        char value[16];
        if (rng_below(rng, density)) continue;
        snprintf(value, sizeof value, "%u", next[k] = ++*number);
        put(g, key_text(k), value);
    }
    if (rng_below(rng, 8) == 0) {
        kevo_ingest_free(g);
        return;
    }
    finish(g);
    memcpy(m->now, next, sizeof next);
}

static void random_step(struct model *m, struct rng *rng, unsigned *number) {
    unsigned k = (unsigned)rng_below(rng, KEYS), slot = (unsigned)rng_below(rng, SNAPS);
    char value[16];
    switch (rng_below(rng, 12)) {
    case 0:
    case 1:
    case 2:
        snprintf(value, sizeof value, "%u", m->now[k] = ++*number);
        kv_put(store, key_text(k), value);
        break;
    case 3:
    case 4:
        m->now[k] = 0;
        kv_delete(store, key_text(k));
        break;
    case 5: ck_ok(kevo_flush(store, &test_err)); break;
    case 6:
        if (rng_below(rng, 3) == 0) ck_ok(kv_compact(store, &test_err));
        while (kevo_step(store, &test_err) == 0) {
        }
        break;
    case 7:
        kevo_snapshot_free(m->past[slot].snap);
        m->past[slot].snap = kv_snapshot(store);
        memcpy(m->past[slot].now, m->now, sizeof m->now);
        break;
    case 8:
        if (rng_below(rng, 3)) break;
        release_snapshots(m);
        reopen();
        break;
    default: random_ingest(m, rng, number);
    }
}

START_TEST(as_a_model_says) {
    struct rng rng = rng_of(harness_seed() + (uint64_t)_i);
    struct model m = {0};
    unsigned number = 0;
    options.table_bytes = 4096;
    options.block_bytes = 64;
    store = kv_open(&options);
    for (uint64_t i = 0; i < harness_count("KEVO_OPS", 400); i++) {
        random_step(&m, &rng, &number);
        check_state(m.now, NULL);
        for (unsigned s = 0; s < SNAPS && i % 5 == 0; s++)
            if (m.past[s].snap) check_state(m.past[s].now, m.past[s].snap);
    }
    ck_ok(kevo_verify(store, &test_err));
    release_snapshots(&m);
}
END_TEST

/* ---- while others work -------------------------------------------------------------------------- */

static atomic_bool stop;

/* Keys between those that are ingested, and beyond. */
static void *write_others(void *arg) {
    struct kevo_err err;
    (void)arg;
    for (unsigned i = 0; !atomic_load(&stop); i++) {
        char key[16], value[100];
        memset(value, 'v', sizeof value);
        snprintf(key, sizeof key, "k%02u%c%u", i % 40, i % 3 ? 'x' : 'y', i % 100);
        int rc = i % 7 ? kevo_put(store, kv_slice(key), slice_of(value, 100), &err)
                       : kevo_delete(store, kv_slice(key), &err);
        sure(rc == 0);
    }
    return NULL;
}

static void *compact(void *arg) {
    struct kevo_err err;
    (void)arg;
    while (!atomic_load(&stop)) {
        sure(kv_compact(store, &err) == 0);
        sure(kevo_flush(store, &err) == 0);
    }
    return NULL;
}

/* All keys of the ingestions have one number at each moment. */
static void *read_all(void *arg) {
    struct kevo_err err;
    unsigned long last = 0;
    (void)arg;
    while (!atomic_load(&stop)) {
        kevo_snapshot *snap;
        sure(kevo_snapshot_new(store, &snap, &err) == 0);
        struct kevo_read read = {.snapshot = snap};
        unsigned long number = 0;
        for (unsigned k = 0; k < KEYS; k++) {
            struct kevo_value v;
            char key[8], text[16] = "";
            snprintf(key, sizeof key, "k%02u", k);
            int rc = kevo_get(store, &read, kv_slice(key), &v, &err);
            sure(rc == 0 || (rc == KEVO_NOTFOUND && number == 0));
            if (rc == 0) memcpy(text, v.slice.data, v.slice.len);
            unsigned long found = strtoul(text, NULL, 10);
            if (k == 0) number = found;
            sure(found == number);
            kevo_value_release(&v);
        }
        sure(number >= last);
        last = number;
        kevo_snapshot_free(snap);
    }
    return NULL;
}

START_TEST(while_all_goes_on) {
    static void *(*const work[])(void *) = {write_others, compact, read_all};
    pthread_t threads[3];
    options.background = true;
    options.sync = KEVO_SYNC_OFF;
    options.l0_slow = options.l0_stop = 8;
    store = kv_open(&options);
    atomic_store(&stop, false);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work[i], NULL), 0);
    unsigned rounds = (unsigned)harness_count("KEVO_OPS", 100);
    for (unsigned n = 1; n <= rounds; n++) {
        char value[16];
        kevo_ingest *g = begin();
        snprintf(value, sizeof value, "%u", n);
        for (unsigned k = 0; k < KEYS; k++)
            put(g, key_text(k), value);
        finish(g);
        if (n % 25 == 0) {
            ck_ok(kevo_checkpoint(store, "/copy", &test_err));
            kevo_store *copy;
            ck_ok(kevo_open("/copy", &options, &copy, &test_err));
            ck_assert_str_eq(kv_get(copy, NULL, key_text(KEYS - 1)), value);
            ck_ok(kevo_verify(copy, &test_err));
            kevo_close(copy);
            ck_ok(kevo_destroy("/copy", &options, &test_err));
        }
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    reopen();
    char value[16];
    snprintf(value, sizeof value, "%u", rounds);
    for (unsigned k = 0; k < KEYS; k++)
        ck_assert_str_eq(kv_get(store, NULL, key_text(k)), value);
    ck_ok(kevo_verify(store, &test_err));
}
END_TEST
int main(void) {
    Suite *suite = suite_create("ingest_model");
    TCase *tc = tcase_create("ingest_model");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, as_a_model_says, 0, 4);
    tcase_add_test(tc, while_all_goes_on);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
