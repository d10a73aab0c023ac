/* condition.h - comparisons of key columns with values that together mean one range of keys,
 * each written as its first half: "device =", "ts >=".
 *
 * A range it is when the comparisons are equalities with the first columns of the key and,
 * on the column behind them, at most one lower and one upper bound. So it is known which
 * rows the range has without looking at any; that is what deleting a range needs.
 *
 * Operators: = (or ==), <, <=, >, >=. Bounds are meant in SQL's order, of a DESC column too.
 * Names are written as in SQL; a table without a primary key has its rowid by the usual
 * names. */
#ifndef KEVO_SQL_CONDITION_H
#define KEVO_SQL_CONDITION_H

#include "sql/plan.h"

enum { CONDITIONS_MAX = SCHEMA_MAX_KEY_COLUMNS + 1 };

struct condition {
    int column;      /* index into the schema's columns, SCHEMA_NO_COLUMN: the hidden rowid */
    enum plan_op op; /* PLAN_EQ, PLAN_LT, PLAN_LE, PLAN_GT or PLAN_GE */
};

/* What such a text says. KEVO_INVALID with a message that quotes it; KEVO_NOMEM. */
int condition_parse(const struct schema *s, const char *text, struct condition *condition,
                    struct kevo_err *err);

/* A plan whose ranges have the keys for which all conditions are true and no others, when
 * plan_ranges_add() is given, as argument i, the value of condition order[i] as
 * condition_affinity() wants it. `s` is a table, or an index of the table that the columns
 * belong to. At most CONDITIONS_MAX of them; order[] has room for so many. KEVO_INVALID when
 * they are no range of these keys; the message says what is missing or too much. */
int conditions_plan(const struct schema *s, const struct condition *list, unsigned count,
                    struct plan *plan, unsigned *order, struct kevo_err *err);

/* What SQLite makes of a value before it compares it with the column. */
enum condition_affinity { AFFINITY_NONE, AFFINITY_TEXT, AFFINITY_NUMBER };
enum condition_affinity condition_affinity(const struct schema *s, const struct condition *c,
                                           enum value_type type);

#endif
