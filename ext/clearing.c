#include "ext/clearing.h"

#include "engine/base/error.h"

/* Their tombstones would have been flushed when the store settled. */
enum { MANY_ROWS = 10000 };

void clearing_release(struct clearing *c) {
    buf_release(&c->first);
    buf_release(&c->last);
    buf_release(&c->gone_last);
}

static uint64_t writes_of(const struct session *s) {
    return kevo_txn_mark(s->txn).op;
}

static bool is_up_to_date(const struct clearing *c, const struct session *s, uint64_t op) {
    return c->op == op && c->epoch == s->epoch && c->undos == s->undos;
}

void clearing_begin(struct clearing *c, const void *by, const struct session *s, slice key) {
    clearing_forget(c);
    if (!session_is_open(s) || !buf_set(&c->first, key) || !buf_set(&c->last, key)) return;
    c->by = by;
    c->shown = 1;
    c->gone = 0;
    c->op = writes_of(s);
    c->epoch = s->epoch;
    c->undos = s->undos;
}

/* SQLite's list is of the rows that the one open cursor has shown. They are complete now. */
static bool may_start(struct clearing *c, const struct session *s, slice key) {
    bool alone = c->by && s->open_cursors == 1;
    c->by = NULL;
    return alone && slice_eq(key, buf_slice(&c->first));
}

static bool goes_up(const struct clearing *c, slice key) {
    uint64_t prefix = slice_prefix64(key), before = slice_prefix64(buf_slice(&c->gone_last));
    if (prefix != before) return prefix > before;
    return slice_cmp(key, buf_slice(&c->gone_last)) > 0;
}

bool clearing_is_next(struct clearing *c, const struct session *s, uint64_t op, slice key) {
    bool next = is_up_to_date(c, s, op) && c->gone < c->shown &&
                (c->gone ? goes_up(c, key) : may_start(c, s, key));
    if (!next) clearing_forget(c);
    return next;
}

/* All rows from the first to the last are gone. */
static int delete_range(struct clearing *c, struct session *s, struct kevo_err *err) {
    clearing_forget(c);
    if (c->last.len >= KEVO_MAX_KEY_BYTES) return 0; /* the bound would be too long */
    /* With a zero byte it is the very next key there can be. */
    if (!buf_append(&c->last, "", 1)) return kevo_nomem(err);
    s->frees_many |= c->gone >= MANY_ROWS;
    return kevo_txn_delete_range(s->txn, buf_slice(&c->first), buf_slice(&c->last), err);
}

int clearing_went_on(struct clearing *c, struct session *s, slice key, struct kevo_err *err) {
    c->op = writes_of(s);
    c->gone++;
    if (!iter_save_key(&c->gone_last, key)) {
        clearing_forget(c);
        return kevo_nomem(err);
    }
    bool last = c->gone == c->shown && slice_eq(key, buf_slice(&c->last));
    return last ? delete_range(c, s, err) : 0;
}
