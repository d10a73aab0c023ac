/* Snapshots that rest between two uses.
 *
 * Who reads by one snapshot after the other mostly wants what the last one had: the same batch, the
 * same superversion. A snapshot that is parked keeps both where they are, so that it can be taken up
 * again by one atomic instruction, without the mutex. It promises nothing: who wants to know what is
 * pinned, and who replaces the superversion, ends all that are parked before, so none of them ever
 * keeps anything.
 *
 *   HELD    in use
 *   PARKED  its pin and superversion are anybody's to give back
 *   SEEN    in use, but somebody has counted on its pin, or has replaced the superversion. It is not
 *           parked any more: who waits for the pin to go is told of it by kevo_snapshot_free()
 *   ENDED   has neither pin nor superversion
 *
 * The owner goes from HELD to PARKED and back, others, with the mutex, from HELD to SEEN and from
 * PARKED to ENDED. Those that are HELD or PARKED are in store->parkable. The superversion of one that
 * is PARKED is the present one. */
#include <assert.h>

#include "engine/store/txn.h"

void park_enlist(kevo_store *s, kevo_snapshot *snap) {
    snap->before = &s->parkable;
    snap->after = s->parkable;
    if (snap->after) snap->after->before = &snap->after;
    s->parkable = snap;
}

/* Who waits for a pin to go looks again when it does, and must not find those in the way that rest.
 * (Where nobody waits, those in use stay such that they may be parked.) */
bool park_leave(kevo_snapshot *snap) {
    unsigned state = atomic_load_explicit(&snap->state, memory_order_relaxed);
    if (state == SNAPSHOT_SEEN && pins_are_awaited(snap->store)) park_end_all(snap->store);
    if (state == SNAPSHOT_HELD || state == SNAPSHOT_PARKED) {
        *snap->before = snap->after;
        if (snap->after) snap->after->before = snap->before;
    }
    return state != SNAPSHOT_ENDED;
}

/* Whether it was parked, and is not any more. */
static bool end(kevo_snapshot *snap) {
    unsigned state = atomic_load_explicit(&snap->state, memory_order_relaxed), next;
    do {
        next = state == SNAPSHOT_PARKED ? SNAPSHOT_ENDED : SNAPSHOT_SEEN;
    } while (!atomic_compare_exchange_weak_explicit(&snap->state, &state, next,
                                                    memory_order_acq_rel, memory_order_relaxed));
    return next == SNAPSHOT_ENDED;
}

void park_end_all(kevo_store *s) {
    kevo_snapshot *after;
    for (kevo_snapshot *snap = s->parkable; snap; snap = after) {
        after = snap->after;
        if (!end(snap)) continue;
        pin_take_back(s, snap->id);
        assert(!snap->sv || snap->sv == s->current); /* so this is not its last reference */
        superversion_release(snap->sv);
        snap->sv = NULL;
    }
    s->parkable = NULL;
}

bool kevo_snapshot_park(kevo_snapshot *snap, struct kevo_value *value) {
    unsigned held = SNAPSHOT_HELD;
    if (store_check_process(snap->store, NULL)) return false;
    snap->sv = read_keep(snap->store, value);
    return atomic_compare_exchange_strong_explicit(&snap->state, &held, SNAPSHOT_PARKED,
                                                   memory_order_release, memory_order_relaxed);
}

bool kevo_snapshot_resume(kevo_snapshot *snap, struct kevo_value *value) {
    unsigned parked = SNAPSHOT_PARKED;
    if (store_check_process(snap->store, NULL)) return false;
    if (!atomic_compare_exchange_strong_explicit(&snap->state, &parked, SNAPSHOT_HELD,
                                                 memory_order_acquire, memory_order_relaxed))
        return false;
    if (snap->sv) read_carry_on(snap->store, snap->sv, value);
    snap->sv = NULL;
    return true;
}
