/* plan.h - which keys a query needs to look at, in the table or in one of its indexes.
 *
 * plan_make() is the thinking part of xBestIndex: constraints in, a plan with
 * costs out. The plan fits into idxNum; idxStr is only the words that EXPLAIN QUERY
 * PLAN shows. In xFilter plan_of_index() gives the plan back, and plan_ranges_add()
 * makes key ranges of it and of the right-hand sides.
 *
 * Ranges. They never exclude a key for which the comparison is true as SQLite means
 * it, affinities included, and may include more: SQLite tests each row again, unless a
 * constraint says `omit`. They include nothing more except where a TEXT column meets
 *   - a number: `textcol = intcol` of a join compares numbers, `textcol = 5` text, and
 *     nothing tells the two apart. Equality then visits the texts that may have the
 *     number's value (numeric_text.h), in several ranges. So does an ANY column.
 *   - as a bound, a text that is neither bare nor known when planning: its column may
 *     have numeric affinity (DATE), and then keys that look like numbers are below every
 *     text, which widens an upper bound to ":".
 *
 * Arguments. A plan has arguments 0 .. plan_arg_count() - 1, xFilter's argv: those of
 * the equality columns in key order, then the lower and the upper bound, then LIMIT
 * and OFFSET. plan_arg_is_bare() says which are known to have no affinity of their own,
 * plan_convert() what the caller must have SQLite do with an argument before it is used.
 *
 * Using it in xFilter:
 *   plan = plan_of_index(idxNum), and with it s = plan_schema(table, &plan);
 *   for each argument i: fill args[i]; unless it is the IN list, look at
 *       plan_convert() and convert;
 *   plan_ranges_reset(&r);
 *   if (plan.in_column < 0) plan_ranges_add(&r, ...);
 *   else for each value of sqlite3_vtab_in_first/next(argv[plan.in_column]):
 *       fill args[plan.in_column], convert, plan_ranges_add(&r, ...);
 *   plan_ranges_finish(&r);
 *   if (r.texts) plan_ranges_thin(&r, ...);
 * at first with r.coarse, and if r.texts is true in the end, once more without it;
 * and then visit the ranges first to last, or with plan.reverse last to first, each
 * backwards. */
#ifndef KEVO_SQL_PLAN_H
#define KEVO_SQL_PLAN_H

#include "engine/base/buf.h"
#include "sql/schema.h"

/* ---- planning ------------------------------------------------------------ */

enum plan_op {
    PLAN_EQ,
    PLAN_IS, /* SQLITE_INDEX_CONSTRAINT_IS, and ISNULL with a NULL that is known */
    PLAN_GT,
    PLAN_GE,
    PLAN_LT,
    PLAN_LE,
    PLAN_NOT_NULL, /* IS NOT NULL */
    PLAN_GLOB,
    PLAN_LIKE,
    PLAN_LIMIT,
    PLAN_OFFSET,
    PLAN_OTHER /* NE, functions and whatever else */
};

struct plan_constraint {
    /* in */
    int column; /* as SQLite numbers them: -1 is the rowid */
    enum plan_op op;
    bool usable;              /* false also when the collation is not BINARY */
    bool in_list;             /* sqlite3_vtab_in(info, i, -1) said yes */
    bool rhs_known;           /* sqlite3_vtab_rhs_value() gave a value, and */
    enum value_type rhs_type; /* ... this is its type */
    struct value rhs;         /* ... and this the value, if it may be used for estimates */
    bool rhs_given;           /* `rhs` is filled in */
    /* out */
    int argv_index; /* 1-based as SQLite wants it, 0: not used */
    bool take_list; /* call sqlite3_vtab_in(info, i, 1) */
    bool omit;      /* set the usage's omit: the ranges hold nothing else */
};

struct plan_order {
    int column; /* -1 is the rowid */
    bool desc;
};

/* What sqlite3_vtab_distinct() returns. */
enum plan_distinct {
    PLAN_ORDERED = 0,
    PLAN_GROUPED = 1,
    PLAN_DISTINCT = 2,
    PLAN_DISTINCT_ORDERED = 3
};

struct plan_query {
    struct plan_constraint *constraints;
    unsigned constraint_count;
    const struct plan_order *order;
    unsigned order_count;
    enum plan_distinct distinct;
    double rows; /* estimate for the whole table */

    /* GLOB and LIKE find blobs that look like text, as SQLite does unless it was compiled with
     * SQLITE_LIKE_DOESNT_MATCH_BLOBS. The bounds that it derives from a pattern leave them out:
     * for tables of its own it then looks a second time. */
    bool patterns_match_blobs;
    bool utf16;   /* SQLite keeps texts in UTF-16, and compares them in the order of that */
    bool updates; /* for the table that an UPDATE changes: see `presumed` */

    /* For the choice between the table and its indexes: */
    uint64_t used; /* columns that are asked for, as in sqlite3_index_info.colUsed */
    uint32_t table_id;
    /* What the store knows; NULL: nothing. Asked for some of the plans only. */
    /* About how many keys lie in [lower, upper). */
    double (*count)(void *arg, slice lower, slice upper);
    /* About how many keys of a table or index have the same values in its first n columns, for
     * the average of the values; negative: unknown. */
    double (*group_size)(void *arg, const struct schema *s, unsigned n);
    void *arg;
};

enum plan_bound {
    PLAN_NO_BOUND = 0,
    PLAN_INCLUSIVE = 1,
    PLAN_EXCLUSIVE = 2,
    PLAN_ABOVE_NULL = 3 /* lower only: IS NOT NULL, its argument means nothing */
};

struct plan {
    unsigned index;               /* number of the index, 0: the table itself */
    unsigned eq_count;            /* leading key columns with an equality */
    int in_column;                /* the one of them whose argument is a whole IN list, or
                                    -1; also the number of that argument */
    enum plan_bound lower, upper; /* on key column eq_count, in SQL's order (of a DESC
                                     column too) */
    bool upper_known;             /* the upper bound's type was known when planning */
    bool reverse;                 /* visit keys from last to first */
    bool order_consumed;          /* rows come as ORDER BY, GROUP BY or DISTINCT wants */
    bool order_needs_eq;          /* ... if each equality on TEXT means one text */
    bool presumed;                /* of an UPDATE: `unique`, but a number may equal several texts:
                                     who visits the ranges has to make sure that they hold one
                                     row */
    bool nulls;                   /* an equality is IS: a NULL among the arguments means NULL,
                                     and not that nothing is equal */
    bool has_limit, has_offset;   /* LIMIT and OFFSET are arguments; every other
                                    constraint is then met exactly, and OFFSET rows are
                                    to be passed over by the module */
    /* not part of the index number */
    bool prefix;   /* the bounds come from GLOB: only words */
    bool covering; /* no row needs to be looked at: only words */
    bool unique;   /* SQLITE_INDEX_SCAN_UNIQUE: at most one row */
    double rows, cost;
};

/* What the plan walks over. */
static inline const struct schema *plan_schema(const struct schema *table,
                                               const struct plan *plan) {
    return plan->index ? &table->indexes[plan->index - 1] : table;
}

/* Make the cheapest plan and fill in the constraints' `out` fields. */
void plan_make(const struct schema *s, struct plan_query *q, struct plan *plan);

/* To idxNum and back. */
int plan_index(const struct plan *plan);
struct plan plan_of_index(int index);

/* Append the words for EXPLAIN QUERY PLAN, with a NUL: "kevo: key=?", "kevo: key range",
 * "kevo: prefix", "kevo: key in list", "kevo: full scan", for composite keys with the
 * columns' names as in "kevo: key=(device) range(ts)"; for indexes
 * "kevo: index by_name (a=? AND b>?)" or "kevo: covering index by_name"; ", desc" when
 * reversed. `s` is the table. */
int plan_words(const struct schema *s, const struct plan *plan, struct buf *words,
               struct kevo_err *err);

/* ---- ranges ---------------------------------------------------------------- */

struct plan_arg {
    struct value value;
    bool bare; /* plan_arg_is_bare() */
};

/* Whether a right-hand side is known to have no affinity of its own. `bound` is what
 * sqlite3_value_frombind() says, which is true of ? and of CAST(? AS REAL) alike; but only
 * without a cast does it leave a text. */
static inline bool plan_arg_is_bare(const struct value *v, bool bound) {
    return bound && v->type == VALUE_TEXT;
}

enum plan_convert {
    PLAN_KEEP,
    PLAN_TO_NUMBER /* apply numeric affinity: sqlite3_value_numeric_type(), on a
                      sqlite3_value_dup() since it changes the value in place */
};

static inline unsigned plan_bound_count(const struct plan *p) {
    return (p->lower != PLAN_NO_BOUND) + (p->upper != PLAN_NO_BOUND);
}
static inline unsigned plan_arg_count(const struct plan *p) {
    return p->eq_count + plan_bound_count(p) + p->has_limit + p->has_offset;
}
/* The numbers of these arguments; only where the plan has them. */
static inline unsigned plan_limit_arg(const struct plan *p) {
    return p->eq_count + plan_bound_count(p);
}
static inline unsigned plan_offset_arg(const struct plan *p) {
    return p->eq_count + plan_bound_count(p) + p->has_limit;
}

/* What is to be done with argument i before plan_ranges_add(). Here and below `s` is what
 * plan_schema() gives. */
enum plan_convert plan_convert(const struct schema *s, const struct plan *plan, unsigned i,
                               const struct plan_arg *arg);

/* Key ranges in ascending order that do not meet. A zeroed struct has none. */
struct plan_ranges {
    struct buf bytes;
    struct plan_span {
        size_t lower, upper; /* offsets in bytes */
        size_t lower_len, upper_len;
        size_t stem; /* 0, or: texts that may be equal to a number, which are seldom there,
                        and so many bytes of key are in front of them */
        bool point;
    } * spans;
    size_t count, cap;
    bool coarse;    /* to be set before ranges are added: the texts that may be equal to a number
                    are one range, all that look like numbers */
    bool texts;     /* there are such ranges */
    bool unordered; /* the plan's order_consumed does not hold by itself, because an
                       equality on TEXT met a number: visit the rows sorted by
                       column plan.in_column, if there is one, and then by
                       keycode_rest(schema, key, plan.eq_count), with plan.reverse
                       descending. Rare, but then a must. */
};

/* [lower, upper) of keys; a point is one key only, `lower`, to be got rather than
 * sought. Valid until the ranges change. */
struct key_range {
    slice lower, upper;
    bool point;
};

void plan_ranges_reset(struct plan_ranges *r);   /* none, keeps its memory */
void plan_ranges_release(struct plan_ranges *r); /* frees; the struct is empty again */

/* Add the ranges for one set of arguments; nothing when no key can match, as with a
 * NULL. Nothing is allocated once *r has grown. KEVO_NOMEM. Values too long for a key
 * are no error, they just match nothing. */
int plan_ranges_add(struct plan_ranges *r, const struct schema *s, uint32_t table_id,
                    const struct plan *plan, const struct plan_arg *args, struct kevo_err *err);

/* Append one key, `prefix` and `rest`, as a point behind those there are: what plan_ranges_add() makes
 * of equalities with all of the key. For callers that bring the keys in an order of their own it is
 * not to be finished. False when there is no memory. */
bool plan_ranges_add_point(struct plan_ranges *r, slice prefix, slice rest);

/* Replace the ranges by one point for each of `count` keys, in the order that the plan has
 * promised. `keys` has them one behind the other, each behind its length, a size_t. KEVO_NOMEM;
 * KEVO_CORRUPT when one is no key of the schema. */
int plan_ranges_sort(struct plan_ranges *r, const struct schema *s, const struct plan *plan,
                     slice keys, size_t count, struct kevo_err *err);

/* Sort, and join what overlaps. Needed before the ranges are looked at. */
void plan_ranges_finish(struct plan_ranges *r);

/* Of the texts that may be equal to a number, drop the ranges that have no key. What is found
 * for one range tells of all that lie before it, so that ranges between two keys are one
 * search together. `find` gives the first key in [lower, upper), valid until it is called
 * again, or KEVO_NOTFOUND; `upper` stays the same slice while searches may go on from where
 * the last one ended. An error of `find` is returned, and then the ranges are of no use. */
int plan_ranges_thin(struct plan_ranges *r,
                     int (*find)(void *arg, slice lower, slice upper, slice *key,
                                 struct kevo_err *err),
                     void *arg, struct kevo_err *err);

static inline struct key_range plan_range_at(const struct plan_ranges *r, size_t i) {
    const struct plan_span *s = &r->spans[i];
    return (struct key_range){slice_of(r->bytes.data + s->lower, s->lower_len),
                              slice_of(r->bytes.data + s->upper, s->upper_len), s->point};
}

#endif
