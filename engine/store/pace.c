/* How writers are kept from outrunning flush and compaction: each byte written costs the more
 * time the more memory or level 0 fill up, so that writers slow down in small steps to what
 * the background can do, instead of running into the wall where they have to stop. Without
 * threads writers do the work themselves. */
#include "engine/store/store.h"

/* What a byte costs when memory is full (20 MB a second), and when level 0 is (4 MB). */
static const double MEMORY_NS_PER_BYTE = 50, L0_NS_PER_BYTE = 250;
/* Shorter sleeps are not precise; longer ones are stalls themselves. */
static const double MIN_SLEEP_NS = 1e6, MAX_SLEEP_NS = 20e6, MAX_OWED_NS = 200e6;

/* From 0, where half of the memory is in use, to 1. */
static double memory_pressure(const kevo_store *s) {
    uint64_t immutable = s->current->immutable_count * s->options.memtable_bytes;
    if (immutable == 0) return 0;
    double used = (double)(immutable + memtable_bytes(s->active));
    double half = (double)(s->options.memtable_bytes * s->options.memtable_count) / 2;
    return used < half ? 0 : used < 2 * half ? used / half - 1 : 1;
}

/* From 0, below l0_slow tables there or on their way, to 1 at l0_stop. */
static double l0_pressure(const kevo_store *s) {
    size_t tables = s->current->version->levels[0].count + s->current->immutable_count;
    unsigned slow = s->options.l0_slow, stop = s->options.l0_stop;
    if (tables < slow) return 0;
    return tables < stop ? (double)(tables - slow + 1) / (stop - slow + 1) : 1;
}

void pace_look(kevo_store *s) {
    if (!s->options.background) return;
    double memory = memory_pressure(s) * MEMORY_NS_PER_BYTE;
    double l0 = l0_pressure(s) * L0_NS_PER_BYTE;
    s->pace.ns_per_byte = memory > l0 ? memory : l0;
}

void pace_owe(kevo_store *s, uint64_t bytes) {
    s->pace.owed_ns += (double)bytes * s->pace.ns_per_byte;
    if (s->pace.owed_ns > MAX_OWED_NS) s->pace.owed_ns = MAX_OWED_NS;
}

void pace_wait(kevo_store *s) {
    if (s->pace.owed_ns < MIN_SLEEP_NS) return;
    double ns = s->pace.owed_ns < MAX_SLEEP_NS ? s->pace.owed_ns : MAX_SLEEP_NS;
    uint64_t start = store_now(s);
    s->env->sleep_us(s->env, (uint64_t)(ns / 1000));
    uint64_t slept_ns = store_now(s) - start;
    s->pace.owed_ns -= (double)slept_ns;
    if (s->pace.owed_ns < 0) s->pace.owed_ns = 0;
    pace_count_stall(s, slept_ns);
}

void pace_count_stall(kevo_store *s, uint64_t ns) {
    count_write(&s->counters.stalls, 1);
    count_write(&s->counters.stall_us, ns / 1000);
    histogram_add(&s->counters.stall, ns);
    pace_note_longest(s, ns);
}

void pace_note_longest(kevo_store *s, uint64_t ns) {
    uint64_t us = ns / 1000;
    if (us > atomic_load_explicit(&s->counters.max_stall_us, memory_order_relaxed))
        atomic_store_explicit(&s->counters.max_stall_us, us, memory_order_relaxed);
}
