/* The states of a session between its transactions, and the savepoints inside one. */
#include <assert.h>

#include "engine/base/alloc.h"
#include "ext/session.h"

/* ---- the state --------------------------------------------------------------------------- */

enum { NEVER = -1 };

void session_enter(struct session *s, enum session_event event) {
    static const signed char next[][SESSION_ROLLBACK + 1] = {
        [SESSION_NONE] = {SESSION_OPEN, NEVER, NEVER, NEVER, SESSION_NONE, SESSION_NONE},
        [SESSION_OPEN] = {SESSION_OPEN, SESSION_OPEN, SESSION_OPEN, SESSION_SYNCED, SESSION_NONE,
                          SESSION_NONE},
        [SESSION_SYNCED] = {SESSION_SYNCED, SESSION_OPEN, SESSION_OPEN, SESSION_SYNCED,
                            SESSION_NONE, SESSION_DOUBT},
        [SESSION_DOUBT] = {SESSION_OPEN, NEVER, NEVER, NEVER, SESSION_NONE, SESSION_DOUBT},
    };
    assert(next[s->state][event] != NEVER);
    assert(session_is_open(s) == (s->txn != NULL) || event == SESSION_BEGIN);
    s->state = (enum session_state)next[s->state][event];
}

/* ---- savepoints ----------------------------------------------------------------------------- */

/* Savepoints may be announced before the first write, and to several tables. A table that
 * joins is told of the innermost one that is open: if it is not known here then it was
 * opened before any table of the session joined, and all that was written is inside it. */
int session_savepoint(struct session *s, int number, bool late) {
    session_release(s, number + 1);
    if (s->savepoint_count && s->savepoints[s->savepoint_count - 1].number == number)
        return SQLITE_OK;
    if (!mem_grow((void **)&s->savepoints, &s->savepoint_cap, s->savepoint_count + 1,
                  sizeof *s->savepoints))
        return SQLITE_NOMEM;
    struct kevo_mark mark = {0, NULL, 0};
    if (session_is_open(s) && !late) mark = kevo_txn_mark(s->txn);
    s->savepoints[s->savepoint_count++] = (struct session_savepoint){number, mark};
    return SQLITE_OK;
}

void session_release(struct session *s, int number) {
    while (s->savepoint_count && s->savepoints[s->savepoint_count - 1].number >= number)
        s->savepoint_count--;
}

void session_undo(struct session *s, struct kevo_mark mark) {
    kevo_txn_rollback_to(s->txn, mark);
    s->undos++;
    session_enter(s, SESSION_ROLLBACK_TO);
}

/* The number may never have been announced: the transaction was joined inside that
 * savepoint, so the oldest one known, or the beginning, is its place. */
void session_rollback_to(struct session *s, int number) {
    size_t i = s->savepoint_count;
    s->swept = false;
    while (i > 0 && s->savepoints[i - 1].number >= number)
        i--;
    if (!session_is_open(s)) {
        s->savepoint_count = i;
        return;
    }
    struct kevo_mark mark = {0, NULL, 0};
    if (i < s->savepoint_count) {
        mark = s->savepoints[i].mark;
        s->savepoint_count = s->savepoints[i].number == number ? i + 1 : i;
        if (i == 0 && s->savepoints[0].number != number) mark = (struct kevo_mark){0, NULL, 0};
    } else if (i > 0) {
        return; /* younger than all that is known: nothing was written since */
    }
    session_undo(s, mark);
}
