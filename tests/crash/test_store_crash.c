#include "tests/lib/crash_env.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/kv.h"

/* Power lost at every change of the disk, in each way; then again at every change while the
 * store recovers. With sync=full all that was acknowledged is there, otherwise all up to some
 * batch that is not older than the last flush; nothing is there in part, and an authority
 * finds the batch that it committed last, be it by putting back the log's end that it kept. */

enum { KEYS = 8, MAX_PAST = 400, MAX_TAIL = 3000 };

/* A state is a number for each key, 0: none. States have numbers too: the history. */
struct past {
    struct kevo_commit commit;
    uint64_t now[KEYS];
};

struct world {
    struct env *disk;
    struct kevo_options options;
    kevo_store *store;
    struct rng rng;
    struct past past[MAX_PAST]; /* [0]: the empty store */
    unsigned count;             /* states that were reached or may have been */
    unsigned acknowledged;      /* index of the last one that surely was */
    unsigned durable;           /* index of one that cannot be lost */
    bool unsure;                /* a commit was under way when the power went */
    unsigned spares;            /* operations after which there was one */
    uint64_t number;
    struct kevo_tail tail; /* kept with the last acknowledged commit */
    uint8_t tail_bytes[MAX_TAIL];
};

static slice key_of(unsigned key) {
    static const char names[KEYS][4] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    return kv_slice(names[key]);
}

static slice value_of(uint64_t number) {
    static char text[1500];
    memset(text, 'v', sizeof text);
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    text[len] = ' ';
    return slice_of(text, 20 + number * 101 % (number % 13 == 0 ? 1400 : 300));
}

enum { IN_RUNS = 4096 }; /* txn_memory_bytes such that each write of a transaction is a file */

/* Stands still, but where the store is to settle. */
static uint64_t clock_us;

static uint64_t read_clock(struct env *env) {
    (void)env;
    return clock_us;
}

/* The authority's marker is on a disk of its own, which loses nothing. */
static int is_durable(void *arg, struct kevo_err *err) {
    (void)arg;
    (void)err;
    return 0;
}

static int open_store(struct world *w) {
    int rc = kevo_open(KV_DIR, &w->options, &w->store, &test_err);
    if (rc == 0) kevo_on_settle(w->store, is_durable, NULL);
    return rc;
}

static int settle(struct world *w) {
    clock_us += 1000000;
    int rc;
    while ((rc = kevo_step(w->store, &test_err)) == 0) {
    }
    return rc == KEVO_NOTFOUND ? 0 : rc;
}

static void setup(struct world *w, int authority, int sync, uint64_t seed) {
    *w = (struct world){.disk = crash_env_new(), .rng = rng_of(seed), .count = 1};
    w->options = kv_options(w->disk);
    w->options.settle_ms = 100;
    w->disk->recent_us = w->disk->now_us = read_clock;
    w->options.authority = authority;
    w->options.sync = sync;
    w->options.wal_sync_bytes = 2000;
    w->options.memtable_bytes = 4096;
    w->options.memtable_count = 3;
    w->options.l0_trigger = 2;
    w->options.l0_slow = w->options.l0_stop = 4;
    w->options.level1_bytes = 4096;
    w->options.table_bytes = 4096;
}

/* ---- what is there ------------------------------------------------------------------- */

static int read_state(kevo_store *s, uint64_t found[KEYS]) {
    kevo_iter *it;
    memset(found, 0, KEYS * sizeof *found);
    int rc = kevo_iter_new(s, NULL, &it, &test_err);
    if (rc) return rc; /* range tombstones of tables are read then */
    rc = kevo_iter_first(it, &test_err);
    for (unsigned k = 0; rc == 0 && k < KEYS && kevo_iter_valid(it); k++) {
        if (!slice_eq(kevo_iter_key(it), key_of(k))) continue;
        slice v = kevo_iter_value(it);
        char text[20] = "";
        if (v.len >= 20) memcpy(text, v.data, 19);
        found[k] = strtoull(text, NULL, 10);
        if (!slice_eq(v, value_of(found[k]))) ck_abort_msg("key %u has a damaged value", k);
        rc = kevo_iter_next(it, &test_err);
    }
    if (rc == 0 && kevo_iter_valid(it)) ck_abort_msg("there is a key too many");
    kevo_iter_free(it);
    return rc;
}

/* The id of a commit that was under way is not known. */
static bool is_state(const struct world *w, unsigned i, const uint64_t found[KEYS],
                     struct kevo_commit now) {
    const struct past *p = &w->past[i];
    return memcmp(p->now, found, sizeof p->now) == 0 &&
           (i == w->count || (now.batch == p->commit.batch && now.nonce == p->commit.nonce));
}

/* ---- the workload ----------------------------------------------------------------------- */

/* The state after a few random changes, which are made through `put` and `remove`. */
static struct past *next_state(struct world *w) {
    if (w->count == MAX_PAST) ck_abort_msg("more history than there is room for");
    struct past *p = &w->past[w->count];
    *p = w->past[w->acknowledged];
    return p;
}

/* Up to four keys, or all up to the last one. */
static int remove_range(struct world *w, unsigned first, struct past *next, kevo_batch *b,
                        kevo_txn *t) {
    unsigned end = first + 1 + (unsigned)rng_below(&w->rng, 4);
    slice upper = end < KEYS ? key_of(end) : slice_of(NULL, 0);
    for (unsigned k = first; k < end && k < KEYS; k++)
        next->now[k] = 0;
    return b ? kevo_batch_delete_range(b, key_of(first), upper, &test_err)
             : kevo_txn_delete_range(t, key_of(first), upper, &test_err);
}

static int change(struct world *w, struct past *next, kevo_batch *b, kevo_txn *t) {
    unsigned k = (unsigned)rng_below(&w->rng, KEYS);
    if (rng_below(&w->rng, 8) == 0) return remove_range(w, k, next, b, t);
    bool removes = rng_below(&w->rng, 3) == 0;
    next->now[k] = removes ? 0 : ++w->number;
    slice v = value_of(w->number);
    if (b)
        return removes ? kevo_batch_delete(b, key_of(k), &test_err)
                       : kevo_batch_put(b, key_of(k), v, &test_err);
    return removes ? kevo_txn_delete(t, key_of(k), &test_err)
                   : kevo_txn_put(t, key_of(k), v, &test_err);
}

static int write_self(struct world *w) {
    struct past *next = next_state(w);
    kevo_batch *b;
    must(kevo_batch_new(&b, &test_err));
    for (unsigned n = 1 + (unsigned)rng_below(&w->rng, 5); n > 0; n--)
        must(change(w, next, b, NULL));
    int rc = kevo_apply_batch(w->store, b, NULL, &test_err);
    kevo_batch_free(b);
    next->commit = kevo_last_commit(w->store);
    w->unsure = rc != 0; /* it may have happened */
    if (rc == 0) w->acknowledged = w->count++;
    if (w->options.sync == KEVO_SYNC_FULL) w->durable = w->acknowledged;
    return rc;
}

/* The same by a transaction. Its runs are tables when it is prepared; then it is committed. */
static int write_runs(struct world *w) {
    struct past *next = next_state(w);
    kevo_txn *t;
    int rc = kevo_txn_new(w->store, &t, &test_err);
    if (rc) return rc;
    for (unsigned n = 2 + (unsigned)rng_below(&w->rng, 5); rc == 0 && n > 0; n--)
        rc = change(w, next, NULL, t);
    w->unsure = rc == 0; /* it may happen */
    if (rc == 0) rc = kevo_txn_prepare(t, w->options.sync, &next->commit, &test_err);
    if (rc == 0) kevo_txn_commit(t);
    kevo_txn_unref(t);
    if (rc) return rc;
    w->unsure = false;
    w->acknowledged = w->durable = w->count++;
    return 0;
}

/* A batch of puts that becomes a table at once. It is durable, and so is all before it. */
static int ingest(struct world *w) {
    struct past *next = next_state(w);
    kevo_ingest *g;
    uint64_t id = 0;
    int rc = kevo_ingest_new(w->store, &g, &test_err);
    if (rc) return rc;
    for (unsigned k = 0; rc == 0 && k < KEYS; k++) {
        if (rng_below(&w->rng, 3)) continue;
        next->now[k] = ++w->number;
        rc = kevo_ingest_put(g, key_of(k), value_of(w->number), &test_err);
    }
    w->unsure = rc == 0; /* it may have happened */
    if (rc == 0) rc = kevo_ingest_finish(g, &id, &test_err);
    kevo_ingest_free(g);
    next->commit = kevo_last_commit(w->store);
    if (rc == 0 && id == w->past[w->acknowledged].commit.batch) return 0; /* no puts */
    if (rc == 0) w->unsure = false;
    if (rc == 0) w->acknowledged = w->durable = w->count++;
    return rc;
}

/* With sync=full the log is synced, else the authority keeps its end. */
static int prepare(struct world *w, kevo_txn *t, struct past *next, struct kevo_tail *tail) {
    int rc = kevo_txn_prepare(t, w->options.sync, &next->commit, &test_err);
    *tail = (struct kevo_tail){.segment = 0};
    if (rc || w->options.sync == KEVO_SYNC_FULL) return rc;
    return kevo_log_tail(w->store, MAX_TAIL, true, tail, &test_err);
}

static void keep_tail(struct world *w, struct kevo_tail tail) {
    w->tail = tail;
    if (tail.bytes.len) memcpy(w->tail_bytes, tail.bytes.data, tail.bytes.len);
    w->tail.bytes.data = NULL;
}

/* The authority writes its marker to a disk of its own, which loses nothing. */
static int write_external(struct world *w) {
    struct past *next = next_state(w);
    struct kevo_tail tail;
    kevo_txn *t;
    int rc = kevo_resolve(w->store, w->past[w->acknowledged].commit, &test_err);
    if (rc == 0 && kevo_wants_rotate(w->store)) rc = kevo_rotate(w->store, &test_err);
    if (rc) return rc;
    must(kevo_txn_new(w->store, &t, &test_err));
    for (unsigned n = 1 + (unsigned)rng_below(&w->rng, 5); rc == 0 && n > 0; n--)
        rc = change(w, next, NULL, t); /* it may have to write a file */
    if (rng_below(&w->rng, 8) == 0) rc = prepare(w, t, next, &tail);
    if (rc == 0) rc = change(w, next, NULL, t);
    if (rc == 0) rc = prepare(w, t, next, &tail);
    bool commits = rc == 0 && rng_below(&w->rng, 4);
    if (commits) w->acknowledged = w->count++;
    if (commits) keep_tail(w, tail);
    if (commits && rng_below(&w->rng, 2))
        kevo_txn_commit(t);
    else
        kevo_txn_rollback(t);
    kevo_txn_unref(t);
    return rc;
}

static int do_something(struct world *w) {
    uint64_t what = rng_below(&w->rng, 24);
    if (what <= 2) {
        int rc = 0;
        if (w->options.authority == KEVO_AUTHORITY_EXTERNAL) {
            rc = kevo_resolve(w->store, w->past[w->acknowledged].commit, &test_err);
            if (rc == 0) rc = kevo_rotate(w->store, &test_err);
        }
        if (rc == 0) rc = what ? kevo_flush(w->store, &test_err) : kv_compact(w->store, &test_err);
        if (rc == 0) w->durable = w->acknowledged;
        return rc;
    }
    if (what == 3) {
        kevo_close(w->store);
        w->store = NULL;
        return open_store(w);
    }
    if (what == 4) return settle(w);
    if (w->options.authority == KEVO_AUTHORITY_EXTERNAL) return write_external(w);
    if (w->options.txn_memory_bytes == IN_RUNS && what % 2) return write_runs(w);
    return what <= 6 ? ingest(w) : write_self(w);
}

/* Until the power goes. */
static void work(struct world *w, unsigned operations) {
    int rc = open_store(w);
    for (unsigned n = 0; rc == 0 && n < operations; n++) {
        rc = do_something(w);
        w->spares += kv_files(w->disk, ".spare") > 0;
    }
    if (rc && !crash_env_stopped(w->disk))
        ck_abort_msg("an error, though the power is on: %s", test_err.msg);
    kevo_close(w->store);
    w->store = NULL;
}

/* ---- after the power is back --------------------------------------------------------------- */

/* Open, decide, write, flush. Power may go here as well. Returns the state's index. */
static int recover(struct world *w, const char *when, unsigned *index) {
    uint64_t found[KEYS];
    bool self = w->options.authority == KEVO_AUTHORITY_SELF;
    const struct past *last = &w->past[w->acknowledged];
    int rc = kevo_open(KV_DIR, &w->options, &w->store, &test_err);
    if (rc) return rc;
    if (!self && kevo_lacks(w->store, last->commit)) {
        struct kevo_tail tail = w->tail;
        tail.bytes.data = w->tail_bytes;
        rc = kevo_restore(w->store, last->commit, &tail, &test_err);
    }
    if (!self && rc == 0) rc = kevo_resolve(w->store, last->commit, &test_err);
    if (rc) return rc;
    if ((rc = read_state(w->store, found))) return rc;
    unsigned newest = self && w->unsure ? w->count : w->acknowledged;
    struct kevo_commit now = kevo_last_commit(w->store);
    for (*index = newest; !is_state(w, *index, found, now); --*index)
        if (*index == (self ? w->durable : newest)) ck_abort_msg("%s: a wrong state", when);
    return 0;
}

/* The store goes on: writes, flushes, verifies, and is right after another reopen. */
static int go_on(struct world *w, unsigned index, const char *when) {
    uint64_t found[KEYS];
    struct world next = {.disk = w->disk,
                         .options = w->options,
                         .store = w->store,
                         .rng = w->rng,
                         .past = {w->past[index]},
                         .count = 1,
                         .number = w->number + 1000};
    bool external = next.options.authority == KEVO_AUTHORITY_EXTERNAL;
    int rc = external ? write_external(&next) : write_self(&next);
    if (rc == 0) rc = kevo_verify(w->store, &test_err);
    if (rc == 0 && external) {
        rc = kevo_resolve(w->store, next.past[next.acknowledged].commit, &test_err);
        if (rc == 0) rc = kevo_rotate(w->store, &test_err);
    }
    if (rc == 0) rc = kv_compact(w->store, &test_err);
    if (rc) return rc;
    kevo_close(w->store);
    w->store = NULL;
    rc = kevo_open(KV_DIR, &w->options, &w->store, &test_err);
    if (rc == 0 && next.options.authority == KEVO_AUTHORITY_EXTERNAL)
        rc = kevo_resolve(w->store, next.past[next.acknowledged].commit, &test_err);
    if (rc == 0) rc = read_state(w->store, found);
    if (rc) return rc;
    if (!is_state(&next, next.acknowledged, found, kevo_last_commit(w->store)))
        ck_abort_msg("%s: wrong after going on", when);
    return 0;
}

static void use_disk(struct world *w, struct env *disk) {
    w->disk = w->options.env = disk;
}

static void check_image(const struct world *crashed, struct env *image, const char *when) {
    struct world w = *crashed;
    unsigned index;
    use_disk(&w, image);
    int rc = recover(&w, when, &index);
    if (rc == 0) rc = go_on(&w, index, when);
    if (rc) ck_abort_msg("%s: %s", when, test_err.msg);
    kevo_close(w.store);
}

/* Lose power again at every `stride`-th change of the recovery, and look at what that leaves. */
static void crash_again(const struct world *crashed, enum crash_mode mode, uint64_t seed,
                        uint64_t stride, const char *when) {
    for (uint64_t n = 0;; n += stride) {
        char again[200];
        struct world w = *crashed;
        unsigned index = 0;
        struct env *image = crash_env_image(crashed->disk, mode, seed);
        use_disk(&w, image);
        crash_env_stop_after(image, n);
        int rc = recover(&w, when, &index);
        if (rc == 0) {
            /* Going on is recovery too, as far as it does not change what is committed. */
            rc = kevo_step(w.store, &test_err);
            if (rc == 0) rc = kv_compact(w.store, &test_err);
            if (rc == KEVO_NOTFOUND) rc = kv_compact(w.store, &test_err);
        }
        if (rc && !crash_env_stopped(image)) ck_abort_msg("%s: %s", when, test_err.msg);
        kevo_close(w.store);
        w.store = NULL;
        bool stopped = crash_env_stopped(image);
        snprintf(again, sizeof again, "%s, and again at change %llu", when, (unsigned long long)n);
        struct env *second = crash_env_image(image, mode, seed + n);
        check_image(&w, second, again);
        crash_env_free(second);
        crash_env_free(image);
        if (!stopped) break;
    }
}

/* ---- the loops -------------------------------------------------------------------------------- */

static const char *const modes[] = {"dropped", "kept", "random", "garbage"};

static const struct kind {
    int authority, sync;
    bool in_runs;
} kinds[] = {
    {KEVO_AUTHORITY_SELF, KEVO_SYNC_FULL, false},
    {KEVO_AUTHORITY_SELF, KEVO_SYNC_NORMAL, false},
    {KEVO_AUTHORITY_SELF, KEVO_SYNC_OFF, false},
    {KEVO_AUTHORITY_EXTERNAL, KEVO_SYNC_FULL, false},
    {KEVO_AUTHORITY_EXTERNAL, KEVO_SYNC_OFF, false}, /* with tails */
    {KEVO_AUTHORITY_SELF, KEVO_SYNC_FULL, true},
    {KEVO_AUTHORITY_EXTERNAL, KEVO_SYNC_OFF, true},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* `stride` between the changes at which the power goes; every `again`-th image is used to
 * lose it during recovery too. */
static void crash_everywhere(const struct kind *kind, uint64_t seed, unsigned operations,
                             uint64_t stride, unsigned again) {
    static struct world world;
    unsigned images = 0;
    for (uint64_t n = rng_below(&(struct rng){seed}, stride);; n += stride) {
        struct world *w = &world;
        setup(w, kind->authority, kind->sync, seed);
        if (kind->in_runs) w->options.txn_memory_bytes = IN_RUNS;
        crash_env_stop_after(w->disk, n);
        work(w, operations);
        bool stopped = crash_env_stopped(w->disk);
        for (enum crash_mode mode = 0; mode < CRASH_MODES; mode++) {
            char when[100];
            snprintf(when, sizeof when, "seed %llu, power lost at change %llu, %s",
                     (unsigned long long)seed, (unsigned long long)n, modes[mode]);
            struct env *image = crash_env_image(w->disk, mode, seed + n);
            check_image(w, image, when);
            crash_env_free(image);
            if (++images % again == 0) crash_again(w, mode, seed + n, again > 5 ? 5 : 1, when);
        }
        crash_env_free(w->disk);
        ck_assert_uint_eq(fault_alloc_live(), 0);
        if (!stopped) break;
    }
}

/* These workloads do make segments from spares, so that the power is lost amid it. */
START_TEST(segments_are_used_again) {
    static struct world world;
    setup(&world, kinds[_i].authority, kinds[_i].sync, harness_seed());
    work(&world, 120);
    ck_assert_uint_gt(world.spares, 10);
    crash_env_free(world.disk);
}
END_TEST

START_TEST(power_lost_anywhere) {
    uint64_t seeds = harness_count("KEVO_SEEDS", 1);
    uint64_t stride = harness_count("KEVO_STRIDE", 9);
    unsigned operations = (unsigned)harness_count("KEVO_OPS", 120);
    for (uint64_t i = 0; i < seeds; i++)
        crash_everywhere(&kinds[_i], harness_seed() + i, operations,
                         kinds[_i].in_runs ? 4 * stride : stride, 40);
}
END_TEST

/* A short workload, completely. */
START_TEST(power_lost_at_every_change) {
    crash_everywhere(&kinds[_i], harness_seed() + 77, kinds[_i].in_runs ? 10 : 25, 1, 25);
}
END_TEST

/* ---- killed, and then the power goes ------------------------------------------------------ */

/* A process that was killed leaves what is not durable to the next one, which reads it as if it
 * were. */
struct heir {
    const struct world *world; /* as of the kill */
    const char *what;          /* happened to the process before */
    uint64_t n, changes;       /* ... at its n-th change or sync */
};

static void lose_power(void *arg) {
    struct heir *h = arg;
    char when[120];
    enum crash_mode mode = (enum crash_mode)((h->n + h->changes++) % CRASH_MODES);
    snprintf(when, sizeof when, "%s %llu, power lost before change %llu then, %s", h->what,
             (unsigned long long)h->n, (unsigned long long)h->changes, modes[mode]);
    struct env *image = crash_env_image(h->world->disk, mode, h->n + h->changes);
    check_image(h->world, image, when);
    crash_env_free(image);
}

/* The next process recovers and goes on, as far as it does not change what is committed. */
static void inherit(const struct world *killed, const char *what, uint64_t n) {
    struct world w = *killed;
    struct heir heir = {killed, what, n, 0};
    unsigned index;
    char when[60];
    snprintf(when, sizeof when, "%s %llu", what, (unsigned long long)n);
    crash_env_stop_after(w.disk, UINT64_MAX);
    crash_env_watch(w.disk, lose_power, &heir);
    int rc = recover(&w, when, &index);
    if (rc == 0) rc = kevo_step(w.store, &test_err);
    if (rc == 0 || rc == KEVO_NOTFOUND) rc = kv_compact(w.store, &test_err);
    crash_env_watch(w.disk, NULL, NULL);
    if (rc) ck_abort_msg("%s: %s", when, test_err.msg);
    kevo_close(w.store);
}

START_TEST(killed_and_then_power_lost) {
    static struct world world;
    uint64_t seed = harness_seed() + 3;
    uint64_t stride = harness_count("KEVO_STRIDE", 9);
    for (uint64_t n = rng_below(&(struct rng){seed}, stride);; n += stride) {
        struct world *w = &world;
        setup(w, kinds[_i].authority, kinds[_i].sync, seed);
        if (kinds[_i].in_runs) w->options.txn_memory_bytes = IN_RUNS;
        crash_env_stop_after(w->disk, n);
        work(w, 40);
        bool stopped = crash_env_stopped(w->disk);
        inherit(w, "killed at change", n);
        crash_env_free(w->disk);
        ck_assert_uint_eq(fault_alloc_live(), 0);
        if (!stopped) break;
    }
}
END_TEST

/* A sync fails, and what it should have made durable never is; who opens the store next sees it
 * all the same. */
START_TEST(a_sync_failed_and_then_power_lost) {
    static struct world world;
    uint64_t seed = harness_seed() + 4;
    for (uint64_t n = 1; n < 150; n++) {
        struct world *w = &world;
        setup(w, kinds[_i].authority, kinds[_i].sync, seed);
        if (kinds[_i].in_runs) w->options.txn_memory_bytes = IN_RUNS;
        int rc = kevo_open(KV_DIR, &w->options, &w->store, &test_err);
        crash_env_fail_sync(w->disk, n);
        for (unsigned i = 0; rc == 0 && i < 40; i++)
            rc = do_something(w);
        crash_env_fail_sync(w->disk, 0);
        kevo_close(w->store);
        w->store = NULL;
        if (rc) inherit(w, "failed sync", n);
        crash_env_free(w->disk);
        ck_assert_uint_eq(fault_alloc_live(), 0);
        if (!rc) break;
    }
}
END_TEST

/* The manifest was just written anew, and its name was not durable yet. */
START_TEST(killed_while_the_manifest_is_replaced) {
    static struct world world;
    static char long_owner[7000];
    memset(long_owner, 'o', sizeof long_owner);
    for (uint64_t n = 0;; n++) {
        struct world *w = &world;
        char owner[8];
        kevo_store *s;
        setup(w, KEVO_AUTHORITY_SELF, KEVO_SYNC_FULL, 1);
        must(kevo_open(KV_DIR, &w->options, &s, &test_err));
        crash_env_stop_after(w->disk, crash_env_changes(w->disk) + n);
        int rc = 0;
        for (size_t i = 1; rc == 0 && i < 12; i++)
            rc = kevo_set_owner(s, slice_of(long_owner, sizeof long_owner - i), &test_err);
        kevo_close(s);
        crash_env_stop_after(w->disk, UINT64_MAX);
        must(kevo_open(KV_DIR, &w->options, &s, &test_err));
        must(kevo_set_owner(s, kv_slice("heir"), &test_err));
        struct env *image = crash_env_image(w->disk, CRASH_DROPPED, n);
        kevo_close(s);
        crash_env_free(w->disk);
        w->options.env = image;
        must(kevo_open(KV_DIR, &w->options, &s, &test_err));
        ck_assert_uint_eq(kevo_get_owner(s, owner, sizeof owner), 4);
        ck_assert(memcmp(owner, "heir", 4) == 0);
        kevo_close(s);
        crash_env_free(image);
        if (rc == 0) break;
    }
}
END_TEST

/* Power lost while a store is removed: it is there, all of it, or it is gone, and what is left
 * is in nobody's way. */
START_TEST(power_lost_while_a_store_is_removed) {
    static struct world world;
    struct world *w = &world;
    for (uint64_t n = 0;; n++) {
        setup(w, KEVO_AUTHORITY_SELF, KEVO_SYNC_FULL, harness_seed());
        work(w, 40);
        uint64_t found[KEYS];
        crash_env_stop_after(w->disk, n);
        int rc = kevo_destroy(KV_DIR, &w->options, &test_err);
        ck_assert(rc == 0 || crash_env_stopped(w->disk));
        for (enum crash_mode mode = 0; mode < CRASH_MODES; mode++) {
            for (unsigned again = 0; again < 2; again++) {
                struct env *image = crash_env_image(w->disk, mode, harness_seed() + n);
                struct kevo_options o = w->options;
                o.env = image;
                if (again) {
                    int second = kevo_destroy(KV_DIR, &o, &test_err);
                    struct env_stat st;
                    if (second) {
                        ck_assert_int_eq(second, KEVO_CANTOPEN);
                        int rest = image->stat(image, KV_DIR "/MANIFEST.gone", &st, &test_err);
                        ck_assert_int_eq(rest, KEVO_NOTFOUND);
                    }
                    if (second == 0)
                        ck_assert_int_eq(image->stat(image, KV_DIR, &st, &test_err), KEVO_NOTFOUND);
                }
                kevo_store *s = kv_open(&o);
                must(read_state(s, found));
                bool gone = true;
                for (unsigned k = 0; k < KEYS; k++)
                    gone &= found[k] == 0;
                if (!gone || !(again || n > 0))
                    ck_assert(is_state(w, w->acknowledged, found, kevo_last_commit(s)));
                must(kevo_put(s, key_of(0), value_of(1), &test_err));
                kevo_close(s);
                crash_env_free(image);
            }
        }
        crash_env_free(w->disk);
        if (rc == 0) break;
    }
}
END_TEST

/* ---- copies -------------------------------------------------------------------------------- */

#define COPY "/copy"

/* The state of the copy in an image, if it is a store there at all. */
static bool copy_is_right(const struct world *w, struct env *image, const char *when) {
    uint64_t found[KEYS];
    struct kevo_options o = w->options;
    const struct past *last = &w->past[w->acknowledged];
    kevo_store *s;
    o.env = image;
    o.create_if_missing = false;
    int rc = kevo_open(COPY, &o, &s, &test_err);
    if (rc == KEVO_CANTOPEN) return false;
    if (rc == 0 && o.authority == KEVO_AUTHORITY_EXTERNAL)
        rc = kevo_resolve(s, last->commit, &test_err);
    if (rc == 0) rc = read_state(s, found);
    if (rc == 0) rc = kevo_verify(s, &test_err);
    if (rc) ck_abort_msg("%s: %s", when, test_err.msg);
    if (!is_state(w, w->acknowledged, found, kevo_last_commit(s)))
        ck_abort_msg("%s: the copy is wrong", when);
    kevo_close(s);
    return true;
}

/* Removes what a crash left of a copy, or copies over it. */
static void copy_again(const struct world *w, struct env *image, const char *when) {
    struct kevo_options o = w->options;
    kevo_store *s;
    o.env = image;
    if (kevo_destroy(COPY, &o, &test_err)) ck_assert_int_eq(test_err.rc, KEVO_CANTOPEN);
    must(kevo_open(KV_DIR, &o, &s, &test_err));
    must(kevo_checkpoint(s, COPY, &test_err));
    kevo_close(s);
    if (!copy_is_right(w, image, when)) ck_abort_msg("%s: no second copy", when);
}

/* Power lost while a store is copied: the copy is whole or no store, and the store is as it
 * was. Once the call has returned, the copy stays. */
START_TEST(power_lost_while_a_store_is_copied) {
    static struct world world;
    struct world *w = &world;
    unsigned whole = 0, none = 0;
    for (uint64_t n = 0;; n++) {
        setup(w, kinds[_i].authority, kinds[_i].sync, harness_seed() + 5);
        must(kevo_open(KV_DIR, &w->options, &w->store, &test_err));
        for (unsigned i = 0; i < 40; i++)
            must(do_something(w));
        crash_env_stop_after(w->disk, n);
        int rc = kevo_checkpoint(w->store, COPY, &test_err);
        if (rc && !crash_env_stopped(w->disk)) ck_abort_msg("%s", test_err.msg);
        for (enum crash_mode mode = 0; mode < CRASH_MODES; mode++) {
            char when[100];
            snprintf(when, sizeof when, "power lost at change %llu of a copy, %s",
                     (unsigned long long)n, modes[mode]);
            struct env *image = crash_env_image(w->disk, mode, n + 1);
            bool there = copy_is_right(w, image, when);
            if (rc == 0 && !there) ck_abort_msg("%s: the copy is not there", when);
            whole += there;
            none += !there;
            if (!there && n % 3 == 0 && w->options.sync == KEVO_SYNC_FULL)
                copy_again(w, image, when);
            check_image(w, image, when);
            crash_env_free(image);
        }
        kevo_close(w->store);
        crash_env_free(w->disk);
        ck_assert_uint_eq(fault_alloc_live(), 0);
        if (rc == 0) break;
    }
    ck_assert_uint_gt(whole, CRASH_MODES);
    ck_assert_uint_gt(none, CRASH_MODES);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_crash");
    TCase *tc = tcase_create("crash"), *killed = tcase_create("killed");
    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, segments_are_used_again, 0, 5); /* those without runs */
    tcase_add_loop_test(tc, power_lost_anywhere, 0, KINDS);
    tcase_add_loop_test(tc, power_lost_at_every_change, 0, KINDS);
    tcase_add_test(tc, power_lost_while_a_store_is_removed);
    tcase_add_loop_test(tc, power_lost_while_a_store_is_copied, 0, KINDS);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(killed, 600);
    tcase_add_loop_test(killed, killed_and_then_power_lost, 0, KINDS);
    tcase_add_test(killed, killed_while_the_manifest_is_replaced);
    tcase_add_loop_test(killed, a_sync_failed_and_then_power_lost, 0, KINDS);
    suite_add_tcase(suite, killed);
    return harness_run(suite);
}
