/* cursor.h - a cursor of a kevo table: cursor.c moves it, columns.c tells what it stands on. */
#ifndef KEVO_EXT_CURSOR_H
#define KEVO_EXT_CURSOR_H

#include "engine/kevo.h"
#include "ext/vtab.h"
#include "sql/keycode.h"

/* Walks the ranges of a plan, each by an iterator or, when it is a point, by a get. Over an
 * index it stands on entries, and gets the row of one only when a column is asked for that
 * the entry does not have. */
struct cursor {
    sqlite3_vtab_cursor base; /* must be first */
    struct vtab *table;
    int index; /* as SQLite numbers the plan */
    struct plan plan;
    const struct schema *keys; /* of the table, or of the index that the plan uses; NULL: no plan */
    size_t verbatim_at;        /* 0, or where in a key its only column stands as it is, */
    enum value_type verbatim_type; /* ... and whether as a text or a blob */
    bool texts;                    /* the plan is the key, which is one text, and nothing else */
    uint8_t prefix[KEYCODE_MAX_PREFIX_BYTES]; /* of the keys; with verbatim_at */
    struct plan_ranges ranges;
    size_t range; /* index of the range we are in */
    bool eof;
    bool on_point;                  /* the row is `value`, not the iterator's */
    kevo_iter *iter;                /* in a range that is no point */
    kevo_iter *parked;              /* else: it, for the next one to take over its memory */
    const struct kevo_entry *entry; /* what it stands on */
    struct kevo_value value;        /* on a point */
    unsigned epoch;                 /* of the session when the iterator was made */
    bool of_writer;                 /* the statement began the transaction */
    int plain_count;          /* 0, or of how many columns there is only to tell what they hold, */
    const int *plain_index;   /* ... and the schema's row_index of them */
    bool reads;               /* cursor_read_now() was called since it was opened, */
    unsigned read_epoch;      /* ... at last in this epoch of the session */
    slice key, row;           /* of the row or entry we stand on, or stood on before counting */
    unsigned asked;           /* how often for the key as it is, of this row, */
    unsigned asked_before;    /* ... and of the one before */
    struct row_reader reader; /* over the row */
    struct key_place place;   /* in the key */
    struct key_place start;   /* ... behind what the keys of the range have in common, */
    bool start_known;         /* ... or at its beginning as long as nobody asks for columns */
    struct looked_up {        /* over an index */
        bool have_key, have_row;
        struct buf key;          /* of the entry's row */
        struct kevo_value value; /* the row, or the one before */
    } lookup;
    struct buf scratch; /* of a key column that had to be decoded */
    struct common {     /* a column in front of `start`, when it was decoded */
        bool known;
        unsigned n;
        struct value value;
        struct buf bytes; /* of the value */
    } common;
    struct buf saved;          /* the key to go on from */
    struct buf sorted;         /* see sort_rows() */
    struct counting {          /* see start_counting() */
        bool refused;          /* not in this query */
        unsigned unseen;       /* rows of the range visited, and no question about them */
        kevo_counter *counter; /* NULL: every row is visited */
        uint64_t visited;      /* rows that it has still to count though they were visited */
        uint64_t ahead;        /* rows known to come in this stretch */
        uint64_t behind;       /* rows that went by since the one the iterator stands on */
    } counting;
    struct points {   /* what was got of this one and those to come */
        size_t first; /* index of the first one's range */
        unsigned count;
        unsigned size;        /* how many are asked for next */
        unsigned epoch;       /* of the session then, */
        uint64_t snapshot_id; /* ... and what was read */
        bool found[KEVO_GET_MANY];
        struct kevo_value values[KEVO_GET_MANY];
    } points;
};

static inline struct cursor *cursor_of(sqlite3_vtab_cursor *c) {
    return (struct cursor *)c;
}

static inline struct session *session_of(struct cursor *c) {
    return c->table->session;
}

/* The i-th range that is visited. */
static inline struct key_range cursor_range_at(const struct cursor *c, size_t i) {
    return plan_range_at(&c->ranges, c->plan.reverse ? c->ranges.count - 1 - i : i);
}

static inline struct key_range cursor_range(const struct cursor *c) {
    return cursor_range_at(c, c->range);
}

/* cursor.c */
/* The message that a session's function may replace. */
char **cursor_message(struct cursor *c);
/* What the cursor sees now. An SQLite result code. */
int cursor_read_now(struct cursor *c, struct kevo_read *read);
/* A question about a row: stand on it. An SQLite result code. */
int cursor_be_seen(struct cursor *c);

/* columns.c */
/* The n-th column of the key that the cursor stands on; its bytes lie in the key or in the
 * cursor until another one is asked for. 0 or a negative enum kevo_rc. */
int cursor_key_column(struct cursor *c, unsigned n, struct value *v, struct kevo_err *err);

#endif
