#include "sql/plan.h"

/* A table that is empty when a statement is prepared may be large when it runs. */
static const double least_rows = 1000;
static const double seek_cost = 10, row_cost = 1; /* of the table */
/* Of an index: finding a place, the next entry, the row of an entry. An entry is mostly
 * shorter than a row. */
static const double range_cost = 15, entry_cost = 0.75, lookup_cost = 10;
static const double sort_cost = 1.2; /* a row, times the logarithm of their number */
enum { LIST_VALUES = 10 };           /* a guess: the length of an IN list is not told */

/* ---- which constraints ----------------------------------------------------------- */

/* Whether the comparison finds nothing but what is in its key range. Only TEXT may
 * meet a comparison of another affinity, and ANY one of any. */
static bool is_exact(const struct schema *s, unsigned n, const struct plan_constraint *c) {
    if (c->op == PLAN_NOT_NULL) return true;
    if (s->key[n].type == COLUMN_ANY)
        return c->rhs_known && c->rhs_type != VALUE_INTEGER && c->rhs_type != VALUE_REAL;
    if (s->key[n].type != COLUMN_TEXT) return true;
    if (c->op == PLAN_IS && c->rhs_known && c->rhs_type == VALUE_NULL) return true;
    return c->rhs_known && (c->rhs_type == VALUE_TEXT || c->rhs_type == VALUE_BLOB);
}

static bool is_equality(const struct plan_constraint *c) {
    return c->op == PLAN_EQ || c->op == PLAN_IS;
}

/* The better the lower; 0: none. */
static unsigned equality_rank(const struct schema *s, unsigned n, const struct plan_constraint *c) {
    if (!c->usable || !is_equality(c) || schema_key_position(s, c->column) != (int)n) return 0;
    return (c->in_list ? 3 : 1) + !is_exact(s, n, c);
}

/* SQLite itself loops over a list that is not taken whole, and then tests each row with
 * the column's affinity instead of the list's, which makes `textcol IN (SELECT intcol)`
 * lose rows. */
static bool may_loop(const struct schema *s, unsigned n) {
    return s->key[n].type != COLUMN_TEXT && s->key[n].type != COLUMN_ANY;
}

static struct plan_constraint *find_equality(const struct schema *s, const struct plan_query *q,
                                             unsigned n, bool has_list) {
    struct plan_constraint *best = NULL;
    unsigned best_rank = 0;
    for (unsigned i = 0; i < q->constraint_count; i++) {
        unsigned rank = equality_rank(s, n, &q->constraints[i]);
        if (rank == 0 || (best && rank >= best_rank)) continue;
        if (q->constraints[i].in_list && has_list && !may_loop(s, n)) continue;
        best = &q->constraints[i];
        best_rank = rank;
    }
    return best;
}

static bool has_op(const struct schema *s, const struct plan_query *q, unsigned n,
                   enum plan_op op) {
    for (unsigned i = 0; i < q->constraint_count; i++)
        if (q->constraints[i].op == op &&
            schema_key_position(s, q->constraints[i].column) == (int)n)
            return true;
    return false;
}

/* Whether what looks like a bound may come from a pattern that keys outside of it match: blobs, and
 * infinity, whose text is Inf. (Of a pattern that looks like a number SQLite makes no bounds.) */
static bool bounds_miss_keys(const struct schema *s, const struct plan_query *q, unsigned n) {
    enum column_type type = s->key[n].type;
    if (!has_op(s, q, n, PLAN_GLOB) && !has_op(s, q, n, PLAN_LIKE)) return false;
    if (type == COLUMN_REAL || type == COLUMN_ANY) return true;
    return type == COLUMN_BLOB && q->patterns_match_blobs;
}

/* The bound on key column n with one of two operators, one known to be exact rather
 * than another. */
static struct plan_constraint *find_bound(const struct schema *s, const struct plan_query *q,
                                          unsigned n, enum plan_op strict, enum plan_op loose) {
    struct plan_constraint *best = NULL;
    for (unsigned i = 0; i < q->constraint_count; i++) {
        struct plan_constraint *c = &q->constraints[i];
        if (!c->usable || (c->op != strict && c->op != loose)) continue;
        if (schema_key_position(s, c->column) != (int)n) continue;
        if (!best || (is_exact(s, n, c) && !is_exact(s, n, best))) best = c;
    }
    return best;
}

/* What the choice of constraints says beyond the plan itself. */
struct choice {
    int next_arg;                  /* argv index of the next constraint used */
    bool exact[SCHEMA_MAX_LAYOUT]; /* of each equality: it means one value */
    bool looped;                   /* SQLite calls xFilter for each value of a list */
};

static void choose_equalities(const struct schema *s, struct plan_query *q, struct plan *plan,
                              struct choice *choice) {
    for (unsigned n = 0; n < s->key_count; n++) {
        struct plan_constraint *c = find_equality(s, q, n, plan->in_column >= 0);
        if (!c) break;
        c->argv_index = choice->next_arg++;
        choice->exact[n] = is_exact(s, n, c);
        plan->nulls |= c->op == PLAN_IS && s->key[n].tagged;
        if (c->in_list && plan->in_column < 0) {
            c->take_list = true;
            plan->in_column = (int)n;
        } else if (c->in_list) {
            choice->looped = true;
        }
        plan->eq_count = n + 1;
    }
}

/* Whether the query is about this table alone: only then does SQLite offer its LIMIT. */
static bool is_alone(const struct plan_query *q) {
    for (unsigned i = 0; i < q->constraint_count; i++)
        if (q->constraints[i].op == PLAN_LIMIT) return true;
    return false;
}

/* IS NOT NULL is offered of the ON of a LEFT JOIN, too, to the table on the left, none of whose
 * rows may be left out because of it; nothing tells. (Of other comparisons SQLite says there that
 * they are not usable.) */
static void choose_bounds(const struct schema *s, struct plan_query *q, struct plan *plan,
                          struct choice *choice) {
    unsigned n = plan->eq_count;
    if (n == s->key_count || bounds_miss_keys(s, q, n)) return;
    struct plan_constraint *lower = find_bound(s, q, n, PLAN_GT, PLAN_GE);
    struct plan_constraint *upper = find_bound(s, q, n, PLAN_LT, PLAN_LE);
    if (lower) {
        plan->lower = lower->op == PLAN_GT ? PLAN_EXCLUSIVE : PLAN_INCLUSIVE;
    }
    if (!lower && s->key[n].tagged && is_alone(q)) {
        lower = find_bound(s, q, n, PLAN_NOT_NULL, PLAN_NOT_NULL);
        if (lower) plan->lower = PLAN_ABOVE_NULL;
    }
    if (lower) lower->argv_index = choice->next_arg++;
    if (upper) {
        plan->upper = upper->op == PLAN_LT ? PLAN_EXCLUSIVE : PLAN_INCLUSIVE;
        plan->upper_known = upper->rhs_known;
        upper->argv_index = choice->next_arg++;
    }
    plan->prefix = lower && plan->lower != PLAN_ABOVE_NULL && upper && has_op(s, q, n, PLAN_GLOB);
}

/* ---- order -------------------------------------------------------------------------- */

struct order_match {
    const struct schema *s;
    const struct plan_query *q;
    const struct plan *plan;
    const struct choice *choice;
    bool trust_eq; /* take every equality for one value */
};

static bool is_constant(const struct order_match *m, unsigned n) {
    if (n >= m->plan->eq_count || (int)n == m->plan->in_column) return false;
    return m->trust_eq || m->choice->exact[n];
}

static unsigned skip_constants(const struct order_match *m, unsigned n) {
    while (n < m->s->key_count && is_constant(m, n))
        n++;
    return n;
}

/* Whether rows in key order, or in reverse, are in the order asked for. */
static bool order_follows_key(const struct order_match *m, bool *reverse) {
    unsigned n = skip_constants(m, 0); /* the key columns before are settled */
    bool directed = false;
    *reverse = false;
    for (unsigned i = 0; i < m->q->order_count && n < m->s->key_count; i++) {
        const struct plan_order *term = &m->q->order[i];
        int at = schema_key_position(m->s, term->column);
        if (at < 0) return false;
        if ((unsigned)at < n || is_constant(m, (unsigned)at)) continue;
        if ((unsigned)at != n) return false;
        bool backwards = term->desc != m->s->key[n].desc;
        if (directed && backwards != *reverse) return false;
        directed = true;
        *reverse = backwards;
        n = skip_constants(m, n + 1);
    }
    return true;
}

static bool is_order_column(const struct order_match *m, unsigned n) {
    for (unsigned i = 0; i < m->q->order_count; i++)
        if (schema_key_position(m->s, m->q->order[i].column) == (int)n) return true;
    return false;
}

/* Whether rows that are equal in the columns asked for come one after the other. */
static bool groups_follow_key(const struct order_match *m) {
    unsigned n = 0;
    while (n < m->s->key_count && (is_constant(m, n) || is_order_column(m, n)))
        n++;
    if (n == m->s->key_count) return true; /* every row is a group of its own */
    for (unsigned i = 0; i < m->q->order_count; i++) {
        int at = schema_key_position(m->s, m->q->order[i].column);
        if (at < 0 || ((unsigned)at >= n && !is_constant(m, (unsigned)at))) return false;
    }
    return true;
}

static bool order_holds(const struct order_match *m, bool *reverse) {
    if (order_follows_key(m, reverse)) return true;
    *reverse = false;
    bool any_order = m->q->distinct == PLAN_GROUPED || m->q->distinct == PLAN_DISTINCT;
    return any_order && groups_follow_key(m);
}

/* Whether the order asked for is among texts that an equality may find several of. Rows are brought
 * into the order of what is behind them in the key only. */
static bool orders_uncertain(const struct order_match *m) {
    for (unsigned i = 0; i < m->q->order_count; i++) {
        int at = schema_key_position(m->s, m->q->order[i].column);
        if (at < 0 || at >= (int)m->plan->eq_count || at == m->plan->in_column) continue;
        if (!m->choice->exact[at]) return true;
    }
    return false;
}

static void consume_order(const struct schema *s, const struct plan_query *q, struct plan *plan,
                          const struct choice *choice) {
    struct order_match m = {s, q, plan, choice, false};
    bool reverse = false;
    if (q->order_count == 0) return;
    plan->order_consumed = order_holds(&m, &reverse);
    if (!plan->order_consumed && !orders_uncertain(&m)) {
        m.trust_eq = true;
        plan->order_consumed = plan->order_needs_eq = order_holds(&m, &reverse);
    }
    plan->reverse = plan->order_consumed && reverse;
}

/* ---- what SQLite need not test again -------------------------------------------------------- */

/* Whether every row of the plan's ranges fulfils a constraint that the plan uses. */
static bool is_met(const struct schema *s, const struct plan_query *q, const struct plan *plan,
                   const struct plan_constraint *c) {
    unsigned n = (unsigned)schema_key_position(s, c->column);
    if (q->utf16 && (s->key[n].type == COLUMN_TEXT || s->key[n].type == COLUMN_ANY)) return false;
    if (c->op == PLAN_EQ && plan->nulls && s->key[n].tagged) return false;
    return is_exact(s, n, c);
}

/* How many of the first key columns do what their constraints say, whatever the arguments: the
 * texts that may equal a number are ranges by themselves, without the columns behind them. */
static unsigned certain_columns(const struct plan *plan, const struct choice *choice) {
    unsigned n = 0;
    while (n < plan->eq_count && choice->exact[n])
        n++;
    return n;
}

/* A test costs as much as the column that it needs, or more, in each row. Of a list only what is
 * taken whole: SQLite's loop over another one belongs to the test. (a, b) > (?, ?) is offered as
 * a >= ?, but SQLite knows, and tests it whatever is said here. */
static void omit_tests(const struct schema *s, struct plan_query *q, const struct plan *plan,
                       const struct choice *choice) {
    unsigned certain = certain_columns(plan, choice);
    for (unsigned i = 0; i < q->constraint_count; i++) {
        struct plan_constraint *c = &q->constraints[i];
        if (c->argv_index == 0 || (c->in_list && !c->take_list)) continue;
        if (schema_key_position(s, c->column) <= (int)certain) c->omit = is_met(s, q, plan, c);
    }
}

/* ---- LIMIT and OFFSET -------------------------------------------------------------------- */

/* Rows may be counted by the module only if it gives no row that SQLite drops. */
static bool all_exact(const struct schema *s, const struct plan_query *q, const struct plan *plan) {
    for (unsigned i = 0; i < q->constraint_count; i++) {
        const struct plan_constraint *c = &q->constraints[i];
        if (c->op == PLAN_LIMIT || c->op == PLAN_OFFSET) continue;
        if (c->argv_index == 0 || c->in_list) return false;
        if (!is_met(s, q, plan, c)) return false;
        /* (a, b) > (?, ?) is offered as a >= ?, and nothing tells. */
        if ((c->op == PLAN_GE || c->op == PLAN_LE) && !c->rhs_known) return false;
    }
    return true;
}

static struct plan_constraint *find_op(const struct plan_query *q, enum plan_op op) {
    for (unsigned i = 0; i < q->constraint_count; i++)
        if (q->constraints[i].op == op) return &q->constraints[i];
    return NULL;
}

static void choose_limit(const struct schema *s, struct plan_query *q, struct plan *plan,
                         struct choice *choice) {
    struct plan_constraint *limit = find_op(q, PLAN_LIMIT), *offset = find_op(q, PLAN_OFFSET);
    if (!limit || !limit->usable || (offset && !offset->usable)) return;
    if (q->distinct != PLAN_ORDERED || (q->order_count && !plan->order_consumed)) return;
    if (plan->order_needs_eq || choice->looped || !all_exact(s, q, plan)) return;
    plan->has_limit = true;
    limit->argv_index = choice->next_arg++;
    if (!offset) return;
    plan->has_offset = true;
    offset->argv_index = choice->next_arg++;
    offset->omit = true;
}

/* ---- costs --------------------------------------------------------------------------------- */

/* rows to the power of left/of, to a factor of two. */
static double root_rows(double rows, unsigned left, unsigned of) {
    uint64_t n = rows < 1 ? 1 : rows < 1e15 ? (uint64_t)rows : (uint64_t)1e15;
    unsigned bits = 63 - (unsigned)__builtin_clzll(n);
    return (double)(1ull << bits * left / of);
}

static bool names_one_key(const struct schema *s, const struct plan *plan) {
    unsigned enough = s->unique ? s->lead_count : s->key_count;
    return plan->eq_count >= enough && !plan->nulls;
}

/* By rule of thumb, the rows that values nobody knows select by equality. */
static double thumb_rows(const struct schema *s, const struct plan *plan, double all) {
    if (s->number) /* made because it tells rows apart, but for NULLs */
        return root_rows(all, 1, 2 * plan->eq_count) * (plan->nulls ? 2 : 0.25);
    return root_rows(all, s->key_count - plan->eq_count, s->key_count);
}

/* When nothing is known of the values: an average one for equalities, rules of thumb for
 * bounds. */
static double guess_rows(const struct schema *s, const struct plan_query *q,
                         const struct plan *plan, double all) {
    double rows = all;
    if (names_one_key(s, plan)) {
        rows = 1;
    } else if (plan->eq_count) {
        rows = q->group_size ? q->group_size(q->arg, s, plan->eq_count) : -1;
        if (rows < 0) rows = thumb_rows(s, plan, all);
    }
    if (plan->prefix)
        rows /= 64;
    else if (plan->lower && plan->upper)
        rows /= 16;
    else if (plan->lower && plan->lower != PLAN_ABOVE_NULL)
        rows /= 4;
    else if (plan->upper)
        rows /= 4;
    return plan->in_column < 0 ? rows : rows * LIST_VALUES;
}

/* The arguments of the plan, as far as they are given; false: one of them is not. */
static bool given_arguments(const struct schema *s, const struct plan_query *q,
                            const struct plan *plan, struct plan_arg *args) {
    unsigned count = plan->eq_count + plan_bound_count(plan);
    for (unsigned i = 0; i < q->constraint_count; i++) {
        const struct plan_constraint *c = &q->constraints[i];
        unsigned a = (unsigned)c->argv_index - 1;
        if (c->argv_index == 0 || a >= count) continue;
        if (!c->rhs_given || c->in_list) return false;
        /* Texts that are equal to a number are few; any may be below one. */
        args[a] = (struct plan_arg){c->rhs, is_equality(c)};
        if (plan_convert(s, plan, a, &args[a]) != PLAN_KEEP) return false;
    }
    return true;
}

/* What the store says of the plan's ranges; negative: it cannot. */
static double count_rows(const struct schema *s, const struct plan_query *q,
                         const struct plan *plan) {
    struct plan_arg args[SCHEMA_MAX_LAYOUT + 2];
    struct plan_ranges ranges = {.spans = NULL};
    double rows = 0;
    if (!q->count || plan->eq_count + plan_bound_count(plan) == 0) return -1;
    if (!given_arguments(s, q, plan, args)) return -1;
    if (plan_ranges_add(&ranges, s, q->table_id, plan, args, NULL)) rows = -1;
    plan_ranges_finish(&ranges);
    for (size_t i = 0; rows >= 0 && i < ranges.count; i++) {
        struct key_range r = plan_range_at(&ranges, i);
        rows += r.point ? 1 : q->count(q->arg, r.lower, r.upper);
    }
    plan_ranges_release(&ranges);
    return rows;
}

static void estimate(const struct schema *s, const struct plan_query *q, struct plan *plan) {
    double all = q->rows > least_rows ? q->rows : least_rows, rows = count_rows(s, q, plan);
    double seeks = plan->in_column < 0 ? 1 : LIST_VALUES, each = row_cost;
    if (rows < 0) rows = guess_rows(s, q, plan, all);
    if (rows < 1) rows = 1;
    if (rows > all) rows = all;
    if (s->number) each = plan->covering ? entry_cost : entry_cost + lookup_cost;
    plan->rows = rows;
    plan->cost = seeks * (s->number ? range_cost : seek_cost) + rows * each;
}

/* An UPDATE saves half of its time when it knows that it finds one row: SQLite needs no temporary
 * table of the rows, and no savepoint. A proof is rare where keys are texts, since nobody knows what
 * a parameter will be. Elsewhere nothing is gained, and a SELECT leaves out the right side of a
 * LEFT JOIN for that promise. */
static void find_one_row(const struct schema *s, const struct plan_query *q, struct plan *plan,
                         const struct choice *choice) {
    unsigned enough = s->unique ? s->lead_count : s->key_count;
    bool exact = true;
    if (!names_one_key(s, plan) || plan->in_column >= 0 || choice->looped) return;
    for (unsigned n = 0; n < enough; n++)
        exact &= choice->exact[n];
    plan->presumed = q->updates && plan->upper == PLAN_NO_BOUND;
    plan->unique = exact || plan->presumed;
}

/* ---- the table or an index ---------------------------------------------------------------------- */

/* Whether an index has all that is asked for. The 64th bit of the mask stands for all
 * columns from there on; the hidden column with the encoded key can be made. */
static bool covers(const struct schema *s, uint64_t used) {
    for (unsigned i = 0; i < s->column_count; i++) {
        if (used >> (i < 63 ? i : 63) & 1 && schema_key_position(s, (int)i) < 0) return false;
    }
    return true;
}

static void plan_over(const struct schema *s, struct plan_query *q, struct plan *plan) {
    struct choice choice = {.next_arg = 1};
    *plan = (struct plan){.index = s->number, .in_column = -1};
    for (unsigned i = 0; i < q->constraint_count; i++) {
        q->constraints[i].argv_index = 0;
        q->constraints[i].take_list = q->constraints[i].omit = false;
    }
    choose_equalities(s, q, plan, &choice);
    choose_bounds(s, q, plan, &choice);
    consume_order(s, q, plan, &choice);
    find_one_row(s, q, plan, &choice);
    plan->covering = s->number && covers(s, q->used);
    omit_tests(s, q, plan, &choice);
    choose_limit(s, q, plan, &choice);
    estimate(s, q, plan);
}

static double log2_of(double rows) {
    return rows < 2 ? 1 : 64 - (double)__builtin_clzll((uint64_t)(rows < 1e18 ? rows : 1e18));
}

/* Sorting is SQLite's work, but who chooses has to think of it. */
static double whole_cost(const struct plan_query *q, const struct plan *plan) {
    bool sorts = q->order_count && !plan->order_consumed;
    return plan->cost + (sorts ? plan->rows * log2_of(plan->rows) * sort_cost : 0);
}

void plan_make(const struct schema *s, struct plan_query *q, struct plan *plan) {
    const struct schema *best = s;
    plan_over(s, q, plan);
    double least = whole_cost(q, plan);
    for (unsigned i = 0; i < s->index_count; i++) {
        plan_over(&s->indexes[i], q, plan);
        double cost = whole_cost(q, plan);
        if (cost >= least) continue;
        least = cost;
        best = &s->indexes[i];
    }
    if (plan->index != best->number) plan_over(best, q, plan);
}

/* ---- idxNum and idxStr ------------------------------------------------------------------------ */

_Static_assert(SCHEMA_MAX_LAYOUT < 127, "counts of key columns fit into seven bits");
_Static_assert(SCHEMA_MAX_INDEXES < 64, "numbers of indexes fit into six bits");

/* `upper_known` and `presumed` share a bit: one is of plans that have an upper bound only, the other
 * of those that have none. */
int plan_index(const struct plan *plan) {
    unsigned shared = plan->upper ? plan->upper_known : plan->presumed;
    unsigned bits = plan->reverse | plan->nulls << 1 | plan->order_consumed << 2 |
                    plan->order_needs_eq << 3 | shared << 4 | plan->has_limit << 5 |
                    plan->has_offset << 6;
    return (int)(plan->eq_count | (unsigned)(plan->in_column + 1) << 7 |
                 (unsigned)plan->lower << 14 | (unsigned)plan->upper << 16 | bits << 18 |
                 plan->index << 25);
}

struct plan plan_of_index(int index) {
    unsigned u = (unsigned)index, bits = u >> 18;
    bool shared = bits >> 4 & 1, has_upper = u >> 16 & 3;
    return (struct plan){.index = u >> 25,
                         .eq_count = u & 127,
                         .in_column = (int)(u >> 7 & 127) - 1,
                         .lower = (enum plan_bound)(u >> 14 & 3),
                         .upper = (enum plan_bound)(u >> 16 & 3),
                         .reverse = bits & 1,
                         .nulls = bits >> 1 & 1,
                         .order_consumed = bits >> 2 & 1,
                         .order_needs_eq = bits >> 3 & 1,
                         .upper_known = has_upper && shared,
                         .presumed = !has_upper && shared,
                         .has_limit = bits >> 5 & 1,
                         .has_offset = bits >> 6 & 1};
}
