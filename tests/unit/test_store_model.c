#include "engine/kevo.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/array_iter.h"
#include "tests/lib/kv.h"

/* A store against arrays, under many option sets. A state is a number for each key of a
 * fixed set, 0 when it is not there; key and number make the value. Snapshots, iterators and
 * pinned values stay open while the store is written to, flushed, compacted. */

enum { KEYS = 70, SNAPSHOTS = 5, ITERS = 5, PINS = 5, MARKS = 6 };

struct state {
    uint64_t number[KEYS];
};

static slice keys[KEYS]; /* ascending */

struct walker {
    kevo_iter *it; /* NULL: none */
    struct state state;
    struct state *live; /* instead of `state`: what its transaction sees */
    int low, high;      /* indexes of the keys inside its bounds: [low, high) */
    int at;             /* index of the key it stands on, -1: invalid */
};

struct pinned {
    struct kevo_value value;
    unsigned key;
    uint64_t number; /* 0: none */
};

struct world {
    struct env *env;
    struct kevo_options options;
    kevo_store *store;
    struct rng rng;
    struct state state;      /* committed */
    struct kevo_commit last; /* the authority's marker */
    uint64_t number;         /* of the last value written */
    uint64_t last_batch;     /* ids must grow */
    struct {
        kevo_snapshot *snap;
        struct state state;
    } snapshots[SNAPSHOTS];
    struct walker walkers[ITERS];
    struct pinned pins[PINS];
    struct kevo_value again; /* of a get, for the next one */
};

static uint64_t below(struct world *w, uint64_t n) {
    return rng_below(&w->rng, n);
}

static bool one_in(struct world *w, uint64_t n) {
    return below(w, n) == 0;
}

/* ---- keys and values ----------------------------------------------------------------- */

static int compare_slices(const void *a, const void *b) {
    return slice_cmp(*(const slice *)a, *(const slice *)b);
}

/* Shared prefixes, keys that are prefixes of others, 0x00 and 0xff, two long ones. */
static void make_keys(struct rng *rng) {
    static uint8_t bytes[KEYS][3000];
    static const uint8_t letters[] = {0, 1, 'a', 'b', 0xfe, 0xff};
    for (unsigned i = 0; i < KEYS; i++) {
        size_t len = 1 + rng_below(rng, i < 2 ? 3000 : 24), shared = 0;
        if (i > 2 && rng_below(rng, 2)) {
            const slice from = keys[rng_below(rng, i)];
            shared = from.len < len ? from.len : len;
            memcpy(bytes[i], from.data, shared);
        }
        for (size_t b = shared; b < len; b++)
            bytes[i][b] = letters[rng_below(rng, sizeof letters)];
        keys[i] = slice_of(bytes[i], len);
        for (unsigned j = 0; j < i; j++) {
            if (!slice_eq(keys[i], keys[j])) continue;
            i--; /* once more */
            break;
        }
    }
    qsort(keys, KEYS, sizeof keys[0], compare_slices);
}

static slice value_of(unsigned key, uint64_t number) {
    static uint8_t bytes[3000];
    size_t len = number % 11 == 0 ? 0 : number * 37 % (number % 53 == 0 ? sizeof bytes : 200);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(number + key * 7 + i / 9);
    return slice_of(bytes, len);
}

/* ---- reading ---------------------------------------------------------------------------- */

/* Several keys, some of them twice. */
static void check_many(struct world *w, const struct kevo_read *read, const struct state *state) {
    unsigned count = 1 + (unsigned)below(w, KEVO_GET_MANY), wanted = count, k[KEVO_GET_MANY];
    slice list[KEVO_GET_MANY];
    struct kevo_value v[KEVO_GET_MANY];
    bool found[KEVO_GET_MANY];
    for (unsigned i = 0; i < count; i++)
        list[i] = keys[k[i] = (unsigned)below(w, KEYS)];
    must(kevo_get_many(w->store, read, list, &count, v, found, &test_err));
    ck_assert_uint_eq(count, wanted);
    for (unsigned i = 0; i < count; i++) {
        if (found[i] != (state->number[k[i]] != 0) ||
            (found[i] && !slice_eq(v[i].slice, value_of(k[i], state->number[k[i]]))))
            ck_abort_msg("key %u, one of %u: not the value of %llu", k[i], count,
                         (unsigned long long)state->number[k[i]]);
        kevo_value_release(&v[i]);
    }
}

static void check_get(struct world *w, const struct kevo_read *read, const struct state *state) {
    if (!(read && read->txn) && one_in(w, 3)) check_many(w, read, state);
    unsigned k = (unsigned)below(w, KEYS);
    bool again = one_in(w, 2);
    struct kevo_value v;
    int rc = again ? kevo_get_again(w->store, read, keys[k], &w->again, &test_err)
                   : kevo_get(w->store, read, keys[k], &v, &test_err);
    if (again) v = w->again;
    if (rc != (state->number[k] ? 0 : KEVO_NOTFOUND))
        ck_abort_msg("get of key %u: %d, its number is %llu; %s", k, rc,
                     (unsigned long long)state->number[k], rc < 0 ? test_err.msg : "");
    if (rc == 0 && !slice_eq(v.slice, value_of(k, state->number[k])))
        ck_abort_msg("get of key %u: not the value of %llu", k,
                     (unsigned long long)state->number[k]);
    if (again) return;
    struct pinned *p = &w->pins[below(w, PINS)];
    if (rc || !one_in(w, 8)) {
        kevo_value_release(&v);
        return;
    }
    if (p->number) kevo_value_release(&p->value);
    *p = (struct pinned){v, k, state->number[k]};
}

static void check_all(struct world *w, const struct kevo_read *read, const struct state *state) {
    kevo_iter *it;
    must(kevo_iter_new(w->store, read, &it, &test_err));
    bool forward = one_in(w, 2);
    must(forward ? kevo_iter_first(it, &test_err) : kevo_iter_last(it, &test_err));
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned k = forward ? i : KEYS - 1 - i;
        if (!state->number[k]) continue;
        if (!kevo_iter_valid(it) || !slice_eq(kevo_iter_key(it), keys[k]) ||
            !slice_eq(kevo_iter_value(it), value_of(k, state->number[k])))
            ck_abort_msg("walking %s, key %u is not there with %llu", forward ? "up" : "down", k,
                         (unsigned long long)state->number[k]);
        must(forward ? kevo_iter_next(it, &test_err) : kevo_iter_prev(it, &test_err));
    }
    if (kevo_iter_valid(it)) ck_abort_msg("there is a key too many");
    kevo_iter_free(it);
}

static void check_pins(struct world *w) {
    for (unsigned i = 0; i < PINS; i++) {
        struct pinned *p = &w->pins[i];
        if (p->number && !slice_eq(p->value.slice, value_of(p->key, p->number)))
            ck_abort_msg("a pinned value has changed");
    }
}

/* ---- open iterators ------------------------------------------------------------------------ */

static int find_up(const struct walker *walker, const struct state *state, int from) {
    for (int k = from < walker->low ? walker->low : from; k < walker->high; k++)
        if (state->number[k]) return k;
    return -1;
}

static int find_down(const struct walker *walker, const struct state *state, int from) {
    for (int k = from >= walker->high ? walker->high - 1 : from; k >= walker->low; k--)
        if (state->number[k]) return k;
    return -1;
}

static void random_bounds(struct world *w, struct kevo_read *read, struct walker *walker) {
    walker->low = 0;
    walker->high = KEYS;
    if (one_in(w, 3)) {
        walker->low = (int)below(w, KEYS);
        read->lower = keys[walker->low];
    }
    if (one_in(w, 3)) {
        walker->high = (int)below(w, KEYS);
        read->upper = keys[walker->high];
    }
}

static void walker_close(struct walker *walker) {
    kevo_iter_free(walker->it);
    walker->it = NULL;
    walker->live = NULL;
}

static void walker_open(struct world *w, struct walker *walker, struct kevo_read read,
                        const struct state *state, struct state *live) {
    walker_close(walker);
    walker->state = *state;
    walker->live = live;
    walker->at = -1;
    random_bounds(w, &read, walker);
    must(kevo_iter_new(w->store, &read, &walker->it, &test_err));
}

static void walker_move(struct world *w, struct walker *walker) {
    const struct state *state = walker->live ? walker->live : &walker->state;
    int key = (int)below(w, KEYS);
    unsigned motion = (unsigned)below(w, walker->at < 0 ? 4 : 14);
    switch (motion) {
    case 0:
        must(kevo_iter_first(walker->it, &test_err));
        walker->at = find_up(walker, state, 0);
        break;
    case 1:
        must(kevo_iter_last(walker->it, &test_err));
        walker->at = find_down(walker, state, KEYS - 1);
        break;
    case 2:
        must(kevo_iter_seek(walker->it, keys[key], &test_err));
        walker->at = find_up(walker, state, key);
        break;
    case 3:
        must(kevo_iter_seek_for_prev(walker->it, keys[key], &test_err));
        walker->at = find_down(walker, state, key);
        break;
    default:
        if (motion % 2) {
            must(kevo_iter_next(walker->it, &test_err));
            walker->at = find_up(walker, state, walker->at + 1);
        } else {
            must(kevo_iter_prev(walker->it, &test_err));
            walker->at = find_down(walker, state, walker->at - 1);
        }
    }
    if (kevo_iter_valid(walker->it) != (walker->at >= 0))
        ck_abort_msg("motion %u: valid %d, should stand on %d", motion, kevo_iter_valid(walker->it),
                     walker->at);
    if (walker->at < 0) return;
    uint64_t number = state->number[walker->at];
    if (!slice_eq(kevo_iter_key(walker->it), keys[walker->at]) ||
        !slice_eq(kevo_iter_value(walker->it), value_of((unsigned)walker->at, number)))
        ck_abort_msg("motion %u: does not stand on %d with %llu", motion, walker->at,
                     (unsigned long long)number);
}

static void use_walkers(struct world *w) {
    for (unsigned i = 0; i < ITERS; i++) {
        struct walker *walker = &w->walkers[i];
        for (unsigned moves = (unsigned)below(w, 4); walker->it && moves > 0; moves--)
            walker_move(w, walker);
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

static void check_id(struct world *w, uint64_t batch) {
    if (batch <= w->last_batch)
        ck_abort_msg("batch id %llu comes again", (unsigned long long)batch);
    w->last_batch = batch;
}

/* A range of keys, [low, high) by index. */
struct range {
    slice lower, upper;
    int low, high;
};

/* A bound right before the key: itself, or what comes right behind the key before. */
static slice bound_at(struct world *w, int key, uint8_t *scratch) {
    if (key == 0 || (key < KEYS && !one_in(w, 3)) || keys[key - 1].len > 3000) return keys[key];
    memcpy(scratch, keys[key - 1].data, keys[key - 1].len);
    scratch[keys[key - 1].len] = 0;
    return slice_of(scratch, keys[key - 1].len + 1);
}

static struct range random_range(struct world *w) {
    static uint8_t scratch[2][3001];
    int low = (int)below(w, KEYS), high = low + (int)below(w, one_in(w, 3) ? KEYS : 6);
    if (one_in(w, 12)) low = 0;
    if (high > KEYS || one_in(w, 12)) high = KEYS;
    struct range r = {bound_at(w, low, scratch[0]), bound_at(w, high, scratch[1]), low, high};
    if (low == 0 && one_in(w, 2)) r.lower = slice_of(NULL, 0);
    if (high == KEYS && one_in(w, 2)) r.upper = slice_of(NULL, 0);
    if (!one_in(w, 20) || !r.lower.data || !r.upper.data) return r;
    return (struct range){r.upper, r.lower, low, low}; /* upside down: nothing */
}

static void clear_range(struct state *state, const struct range *r) {
    for (int k = r->low; k < r->high; k++)
        state->number[k] = 0;
}

static void delete_range(struct world *w) {
    struct range r = random_range(w);
    must(kevo_delete_range(w->store, r.lower, r.upper, &test_err));
    clear_range(&w->state, &r);
    uint64_t before = w->last.batch;
    w->last = kevo_last_commit(w->store);
    if (w->last.batch != before) check_id(w, w->last.batch);
}

static void write_one(struct world *w) {
    unsigned k = (unsigned)below(w, KEYS);
    if (one_in(w, 10)) {
        delete_range(w);
        return;
    }
    if (one_in(w, 3)) {
        must(kevo_delete(w->store, keys[k], &test_err));
        w->state.number[k] = 0;
    } else {
        must(kevo_put(w->store, keys[k], value_of(k, ++w->number), &test_err));
        w->state.number[k] = w->number;
    }
    w->last = kevo_last_commit(w->store);
    check_id(w, w->last.batch);
}

/* A random change of `state`, which `put` or `delete` makes in the store as well. */
static void change(struct world *w, struct state *state, kevo_batch *b, kevo_txn *t) {
    unsigned k = (unsigned)below(w, KEYS);
    bool deletes = one_in(w, 3);
    if (one_in(w, 12)) {
        struct range r = random_range(w);
        must(b ? kevo_batch_delete_range(b, r.lower, r.upper, &test_err)
               : kevo_txn_delete_range(t, r.lower, r.upper, &test_err));
        clear_range(state, &r);
        return;
    }
    slice value = value_of(k, deletes ? 0 : ++w->number);
    if (b)
        must(deletes ? kevo_batch_delete(b, keys[k], &test_err)
                     : kevo_batch_put(b, keys[k], value, &test_err));
    else
        must(deletes ? kevo_txn_delete(t, keys[k], &test_err)
                     : kevo_txn_put(t, keys[k], value, &test_err));
    state->number[k] = deletes ? 0 : w->number;
}

static void write_batch(struct world *w) {
    kevo_batch *b;
    uint64_t id;
    must(kevo_batch_new(&b, &test_err));
    for (unsigned n = 1 + (unsigned)below(w, 30); n > 0; n--)
        change(w, &w->state, b, NULL);
    must(kevo_apply_batch(w->store, b, &id, &test_err));
    uint64_t before = w->last.batch;
    w->last = kevo_last_commit(w->store);
    if (id != w->last.batch) ck_abort_msg("another id than the last commit's");
    if (id != before) check_id(w, id); /* all of it may have been nothing */
    kevo_batch_free(b);
}

/* What the authority knows to be committed becomes what the store shows. */
static void settle(struct world *w) {
    must(kevo_resolve(w->store, w->last, &test_err));
    struct kevo_commit c = kevo_last_commit(w->store);
    if (c.batch != w->last.batch || c.nonce != w->last.nonce) ck_abort_msg("resolved to another");
}

static void decide(struct world *w, kevo_txn *t, struct kevo_commit c, const struct state *state) {
    unsigned outcome = (unsigned)below(w, 4);
    if (outcome > 0) {
        w->state = *state;
        w->last = c;
    }
    if (outcome > 1)
        kevo_txn_commit(t);
    else
        kevo_txn_rollback(t); /* committed or not: its authority knows */
}

/* Prepared again without a write since, a transaction keeps its batch. */
static struct kevo_commit prepare(struct world *w, kevo_txn *t, struct kevo_commit before) {
    struct kevo_commit c;
    must(kevo_txn_prepare(t, (int)below(w, 3), &c, &test_err));
    if (c.batch != before.batch) check_id(w, c.batch);
    return c;
}

static void transact(struct world *w) {
    struct state state = w->state, marked[MARKS];
    struct kevo_mark marks[MARKS];
    unsigned mark_count = 0;
    struct kevo_commit c = {0, 0};
    kevo_txn *t;
    must(kevo_txn_new(w->store, &t, &test_err));
    struct kevo_read read = {.txn = t};
    for (unsigned n = (unsigned)below(w, 60); n > 0; n--) {
        unsigned what = (unsigned)below(w, 16);
        if (what == 0 && mark_count < MARKS) {
            marked[mark_count] = state;
            marks[mark_count++] = kevo_txn_mark(t);
        } else if (what == 1 && mark_count > 0) {
            mark_count = (unsigned)below(w, mark_count) + 1; /* the mark itself stays */
            state = marked[mark_count - 1];
            kevo_txn_rollback_to(t, marks[mark_count - 1]);
        } else if (what == 2) {
            check_all(w, &read, &state);
        } else if (what == 3) {
            walker_open(w, &w->walkers[below(w, ITERS)], read, &state, &state);
        } else if (what == 4) {
            check_get(w, &read, &state);
        } else if (what == 5 && one_in(w, 4)) {
            c = prepare(w, t, c);
        } else {
            change(w, &state, NULL, t);
        }
        if (one_in(w, 3)) use_walkers(w);
    }
    check_get(w, NULL, &w->state); /* nobody else has seen any of it */
    for (unsigned i = 0; i < ITERS; i++)
        if (w->walkers[i].live == &state) walker_close(&w->walkers[i]);
    if (one_in(w, 5)) {
        kevo_txn_rollback(t);
    } else {
        decide(w, t, prepare(w, t, c), &state);
    }
    kevo_txn_unref(t);
}

/* ---- everything else ---------------------------------------------------------------------------- */

static void release_all(struct world *w) {
    for (unsigned i = 0; i < ITERS; i++)
        walker_close(&w->walkers[i]);
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        kevo_snapshot_free(w->snapshots[i].snap);
        w->snapshots[i].snap = NULL;
    }
    for (unsigned i = 0; i < PINS; i++) {
        if (w->pins[i].number) kevo_value_release(&w->pins[i].value);
        w->pins[i].number = 0;
    }
    kevo_value_release(&w->again);
    struct kevo_stats stats = kv_stats(w->store);
    if (stats.snapshot_count) ck_abort_msg("a snapshot is left");
}

/* The authority's marker is in memory. */
static int is_durable(void *arg, struct kevo_err *err) {
    (void)arg;
    (void)err;
    return 0;
}

static void open_store(struct world *w) {
    w->store = kv_open(&w->options);
    kevo_on_settle(w->store, is_durable, NULL);
}

static void reopen(struct world *w) {
    release_all(w);
    /* Killed; but files cannot be copied all in one moment while threads change them. */
    if (!w->options.background && one_in(w, 2)) {
        struct env *copy = kv_copy(w->env);
        kevo_close(w->store);
        env_memory_free(w->env);
        w->options.env = w->env = copy;
    } else {
        kevo_close(w->store);
    }
    open_store(w);
    if (w->options.authority == KEVO_AUTHORITY_SELF) return;
    kevo_snapshot *snap;
    must(kevo_snapshot_at(w->store, w->last, &snap, &test_err));
    struct kevo_read read = {.snapshot = snap};
    check_all(w, &read, &w->state);
    kevo_snapshot_free(snap);
}

static void new_snapshot(struct world *w) {
    unsigned i = (unsigned)below(w, SNAPSHOTS);
    kevo_snapshot_free(w->snapshots[i].snap);
    w->snapshots[i].snap = NULL;
    if (one_in(w, 4)) return;
    must(kevo_snapshot_new(w->store, &w->snapshots[i].snap, &test_err));
    w->snapshots[i].state = w->state;
}

/* What to read: the newest state, or a snapshot's. */
static struct kevo_read choose(struct world *w, const struct state **state) {
    unsigned i = (unsigned)below(w, 2 * SNAPSHOTS);
    *state = &w->state;
    if (i >= SNAPSHOTS || !w->snapshots[i].snap) return (struct kevo_read){.snapshot = NULL};
    *state = &w->snapshots[i].state;
    return (struct kevo_read){.snapshot = w->snapshots[i].snap};
}

static void upkeep(struct world *w) {
    int rc;
    switch (below(w, 8)) {
    case 0: must(kv_compact(w->store, &test_err)); break;
    case 1: must(kevo_verify(w->store, &test_err)); break;
    case 2:
        if (w->options.settle_ms) w->env->sleep_us(w->env, 1000 * one_in(w, 3) * 6);
        while ((rc = kevo_step(w->store, &test_err)) == 0)
            ;
        must(rc == KEVO_NOTFOUND ? 0 : rc);
        break;
    case 3: must(kevo_rotate(w->store, &test_err)); break;
    default: must(kevo_flush(w->store, &test_err));
    }
}

static void do_something(struct world *w) {
    bool self = w->options.authority == KEVO_AUTHORITY_SELF;
    uint64_t what = below(w, 100);
    const struct state *state;
    struct kevo_read read = choose(w, &state);
    if (what < 30 && self)
        write_one(w);
    else if (what < 40 && self)
        write_batch(w);
    else if (what < 50)
        transact(w);
    else if (what < 70)
        check_get(w, &read, state);
    else if (what < 76)
        check_all(w, &read, state);
    else if (what < 82)
        new_snapshot(w);
    else if (what < 88)
        walker_open(w, &w->walkers[below(w, ITERS)], read, state, NULL);
    else if (what < 97)
        upkeep(w);
    else if (one_in(w, 3))
        reopen(w);
    if (what < 50 || what >= 97) settle(w);
    if (!self && kevo_wants_rotate(w->store)) must(kevo_rotate(w->store, &test_err));
    if (one_in(w, 2)) use_walkers(w);
    if (one_in(w, 10)) check_pins(w);
}

/* ---- option sets ------------------------------------------------------------------------------------ */

static void as_they_are(struct kevo_options *o) {
    (void)o;
}
static void memtables_of_4_kb(struct kevo_options *o) {
    o->memtable_bytes = 4096;
}
static void two_memtables_of_4_kb(struct kevo_options *o) {
    o->memtable_bytes = 4096;
    o->memtable_count = 2;
}
static void sixteen_memtables(struct kevo_options *o) {
    o->memtable_bytes = 8192;
    o->memtable_count = 16;
}
static void blocks_of_64_bytes(struct kevo_options *o) {
    o->block_bytes = 64;
}
static void blocks_of_1_mb(struct kevo_options *o) {
    o->block_bytes = 1 << 20;
}
static void no_compression(struct kevo_options *o) {
    o->compression = KEVO_COMPRESSION_NONE;
}
static void no_cache(struct kevo_options *o) {
    o->cache_bytes = 0;
}
static void one_open_table(struct kevo_options *o) {
    o->memtable_bytes = 4096;
    o->table_bytes = 4096;
    o->max_open_tables = 1;
}
static void all_levels_raw(struct kevo_options *o) {
    o->uncompressed_levels = 7;
}
static void all_levels_compressed(struct kevo_options *o) {
    o->uncompressed_levels = 0;
}
static void no_filters(struct kevo_options *o) {
    o->filter_bits_per_key = 0;
}
static void poor_filters(struct kevo_options *o) {
    o->filter_bits_per_key = 1;
}
static void trigger_of_1(struct kevo_options *o) {
    o->memtable_bytes = 4096;
    o->l0_trigger = 1;
}
static void stop_at_1(struct kevo_options *o) {
    o->memtable_bytes = 4096;
    o->l0_trigger = o->l0_slow = o->l0_stop = 1;
}
static void lazy_compaction(struct kevo_options *o) {
    o->memtable_bytes = 4096;
    o->l0_trigger = o->l0_slow = o->l0_stop = 50;
}
static void tiny_levels(struct kevo_options *o) {
    o->memtable_bytes = 4096;
    o->level1_bytes = 4096;
    o->level_factor = 2;
    o->table_bytes = 4096;
    o->l0_trigger = 1;
}
static void tiny_tables(struct kevo_options *o) {
    o->memtable_bytes = 8192;
    o->table_bytes = 4096;
}
static void long_retention(struct kevo_options *o) {
    o->memtable_bytes = 4096;
    o->retain_ms = 86400000;
}
static void short_retention(struct kevo_options *o) {
    o->memtable_bytes = 4096;
    o->retain_ms = 1;
}
static void no_syncs(struct kevo_options *o) {
    o->sync = KEVO_SYNC_OFF;
}
static void some_syncs(struct kevo_options *o) {
    o->sync = KEVO_SYNC_NORMAL;
    o->wal_sync_bytes = 1000;
}
static void threads(struct kevo_options *o) {
    o->background = true;
}
static void threads_and_small_memtables(struct kevo_options *o) {
    o->background = true;
    o->memtable_bytes = 4096;
    o->l0_trigger = 2;
    o->l0_slow = o->l0_stop = 4;
}
static void threads_and_everything_tiny(struct kevo_options *o) {
    tiny_levels(o);
    o->background = true;
    o->cache_bytes = 0;
    o->block_bytes = 64;
    o->l0_slow = o->l0_stop = 2;
    o->memtable_count = 2;
    o->max_open_tables = 2;
}
/* Each write of a transaction makes a run, or each few. */
static void runs_of_one_write(struct kevo_options *o) {
    o->txn_memory_bytes = 4096;
}
static void runs_of_some_writes(struct kevo_options *o) {
    tiny_levels(o);
    o->txn_memory_bytes = 5000;
}
static void runs_and_threads(struct kevo_options *o) {
    threads_and_everything_tiny(o);
    o->txn_memory_bytes = 4096;
}
static void runs_in_a_large_store(struct kevo_options *o) {
    o->memtable_bytes = 4096;
    o->table_bytes = 4096;
    o->level1_bytes = 4096;
    o->retain_ms = 1000;
    o->txn_memory_bytes = 4096;
    o->max_open_tables = 3;
}
static void settles(struct kevo_options *o) {
    tiny_levels(o);
    o->l0_trigger = 3;
    o->settle_ms = 1;
}
static void settles_in_threads(struct kevo_options *o) {
    settles(o);
    o->background = true;
}
static void settles_among_runs(struct kevo_options *o) {
    settles_in_threads(o);
    o->retain_ms = 1;
    o->txn_memory_bytes = 4096;
    o->memtable_count = 2;
}
static void defaults(struct kevo_options *o) {
    struct env *env = o->env;
    kevo_options_default(o);
    o->env = env;
}

static const struct {
    const char *name;
    void (*set)(struct kevo_options *o);
} option_sets[] = {
#define SET(name)                                                                                  \
    { #name, name }
    SET(as_they_are),
    SET(memtables_of_4_kb),
    SET(two_memtables_of_4_kb),
    SET(sixteen_memtables),
    SET(blocks_of_64_bytes),
    SET(blocks_of_1_mb),
    SET(no_compression),
    SET(no_cache),
    SET(one_open_table),
    SET(all_levels_raw),
    SET(all_levels_compressed),
    SET(no_filters),
    SET(poor_filters),
    SET(trigger_of_1),
    SET(stop_at_1),
    SET(lazy_compaction),
    SET(tiny_levels),
    SET(tiny_tables),
    SET(long_retention),
    SET(short_retention),
    SET(no_syncs),
    SET(some_syncs),
    SET(threads),
    SET(threads_and_small_memtables),
    SET(threads_and_everything_tiny),
    SET(runs_of_one_write),
    SET(runs_of_some_writes),
    SET(runs_and_threads),
    SET(runs_in_a_large_store),
    SET(settles),
    SET(settles_in_threads),
    SET(settles_among_runs),
    SET(defaults),
};
enum { OPTION_SETS = sizeof option_sets / sizeof option_sets[0] };

/* Each set with both authorities. */
START_TEST(one_history_under_each_option_set) {
    uint64_t seed = harness_seed();
    static struct world world;
    struct world *w = &world;
    w->rng = rng_of(seed * 1000 + (uint64_t)_i);
    make_keys(&w->rng);
    w->env = env_memory_new();
    ck_assert_ptr_nonnull(w->env);
    w->options = kv_options(w->env);
    option_sets[_i / 2].set(&w->options);
    w->options.authority = _i % 2 ? KEVO_AUTHORITY_EXTERNAL : KEVO_AUTHORITY_SELF;
    open_store(w);
    for (uint64_t n = harness_count("KEVO_OPS", 600); n > 0; n--)
        do_something(w);
    check_all(w, NULL, &w->state);
    must(kevo_verify(w->store, &test_err));
    release_all(w);
    kevo_close(w->store);
    env_memory_free(w->env);
    ck_assert_uint_eq(fault_alloc_live(), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store_model");
    TCase *tc = tcase_create("model");
    tcase_add_loop_test(tc, one_history_under_each_option_set, 0, 2 * OPTION_SETS);
    suite_add_tcase(suite, tc);
    return harness_run(suite);
}
