#include "engine/base/alloc.h"
#include "ext/vtab.h"

static enum plan_op op_of(unsigned char op) {
    switch (op) {
    case SQLITE_INDEX_CONSTRAINT_EQ: return PLAN_EQ;
    case SQLITE_INDEX_CONSTRAINT_IS:
    case SQLITE_INDEX_CONSTRAINT_ISNULL: return PLAN_IS;
    case SQLITE_INDEX_CONSTRAINT_ISNOTNULL: return PLAN_NOT_NULL;
    case SQLITE_INDEX_CONSTRAINT_GT: return PLAN_GT;
    case SQLITE_INDEX_CONSTRAINT_GE: return PLAN_GE;
    case SQLITE_INDEX_CONSTRAINT_LT: return PLAN_LT;
    case SQLITE_INDEX_CONSTRAINT_LE: return PLAN_LE;
    case SQLITE_INDEX_CONSTRAINT_GLOB: return PLAN_GLOB;
    case SQLITE_INDEX_CONSTRAINT_LIKE: return PLAN_LIKE;
    case SQLITE_INDEX_CONSTRAINT_LIMIT: return PLAN_LIMIT;
    case SQLITE_INDEX_CONSTRAINT_OFFSET: return PLAN_OFFSET;
    default: return PLAN_OTHER;
    }
}

/* What SQLite offers, in the planner's terms. Only comparisons by BINARY are ours. */
static struct plan_constraint translate(sqlite3_index_info *info, int i) {
    const struct sqlite3_index_constraint *c = &info->aConstraint[i];
    struct plan_constraint p = {.column = c->iColumn, .op = op_of(c->op)};
    bool limit = p.op == PLAN_LIMIT || p.op == PLAN_OFFSET;
    const char *collation = limit ? NULL : sqlite3_vtab_collation(info, i);
    p.usable = c->usable && (!collation || sqlite3_stricmp(collation, "BINARY") == 0);
    p.in_list = p.usable && p.op == PLAN_EQ && sqlite3_vtab_in(info, i, -1);
    sqlite3_value *rhs = NULL;
    struct kevo_err err;
    if (c->op == SQLITE_INDEX_CONSTRAINT_ISNULL || c->op == SQLITE_INDEX_CONSTRAINT_ISNOTNULL)
        p.rhs_known = p.rhs_given = true; /* NULL, which xFilter gets as well */
    else if (!limit && sqlite3_vtab_rhs_value(info, i, &rhs) == SQLITE_OK && rhs)
        p.rhs_known = p.rhs_given = value_of(rhs, &p.rhs, &err) == 0;
    p.rhs_type = p.rhs.type;
    return p;
}

static void hand_over(sqlite3_index_info *info, const struct plan_query *q) {
    for (int i = 0; i < info->nConstraint; i++) {
        const struct plan_constraint *c = &q->constraints[i];
        info->aConstraintUsage[i].argvIndex = c->argv_index;
        info->aConstraintUsage[i].omit = c->omit;
        if (c->take_list) sqlite3_vtab_in(info, i, 1);
    }
}

static int describe(struct vtab *t, sqlite3_index_info *info, const struct plan *plan) {
    struct buf words = {0};
    struct kevo_err err;
    if (plan_words(t->schema, plan, &words, &err)) {
        buf_release(&words);
        return vtab_report(t, &err);
    }
    info->idxNum = plan_index(plan);
    info->idxStr = sqlite3_mprintf("%s", (const char *)words.data);
    info->needToFreeIdxStr = 1;
    buf_release(&words);
    if (!info->idxStr) return SQLITE_NOMEM;
    info->orderByConsumed = plan->order_consumed;
    info->estimatedRows = (sqlite3_int64)plan->rows;
    info->estimatedCost = plan->cost;
    info->idxFlags = plan->unique ? SQLITE_INDEX_SCAN_UNIQUE : 0;
    return SQLITE_OK;
}

/* ---- what the store knows ---------------------------------------------------------------- */

struct knowledge {
    struct vtab *table;
    double rows;
};

static double count_keys(void *arg, slice lower, slice upper) {
    struct knowledge *k = arg;
    return (double)kevo_approximate_count(k->table->session->store, lower, upper);
}

static double group_size(void *arg, const struct schema *s, unsigned n) {
    struct knowledge *k = arg;
    return sampling_group_size(k->table->samples, k->table->session->store, s, k->table->table_id,
                               k->rows, n);
}

/* SQLite gives up a statement that was prepared again 50 times, and a trigger may change as many
 * tables. */
enum { MOST_REFUSALS = 16 };

/* For the table that an UPDATE changes SQLite asks for all columns that there could be; others
 * are asked for one by one. */
static bool is_update(const struct vtab *t, const sqlite3_index_info *info) {
    bool has_spare_bits = t->schema->column_count + 1 < 64; /* and one hidden column */
    return has_spare_bits && info->colUsed == UINT64_MAX;
}

static bool may_presume(const struct vtab *t) {
    return !t->several && t->connection->refusals < MOST_REFUSALS;
}

/* What the planner needs for a choice. The store is open unless it cannot be, and then
 * the query will say so. */
static void describe_choice(struct knowledge *k, sqlite3_index_info *info, struct plan_query *q) {
    q->used = info->colUsed;
    q->updates = is_update(k->table, info) && may_presume(k->table);
    q->table_id = k->table->table_id;
    if (!k->table->session->store) return;
    q->count = count_keys;
    q->group_size = group_size;
    q->arg = k;
}

/* What is wanted of the order of rows. SQLite 3.40 says of GROUP BY a, b ORDER BY a, b that rows
 * are to be grouped, but does not sort the groups if they are; 3.53 says that they are to be
 * ordered. */
static enum plan_distinct distinct_of(sqlite3_index_info *info) {
    enum { TELLS_ORDERED_GROUPS = 3053000 };
    enum plan_distinct distinct = (enum plan_distinct)sqlite3_vtab_distinct(info);
    bool tells = sqlite3_libversion_number() >= TELLS_ORDERED_GROUPS;
    return distinct == PLAN_GROUPED && !tells ? PLAN_DISTINCT_ORDERED : distinct;
}

/* ---- xBestIndex ------------------------------------------------------------------------------ */

int vtab_best_index(sqlite3_vtab *table, sqlite3_index_info *info) {
    struct vtab *t = vtab_of(table);
    struct plan plan;
    struct plan_query q = {
        .constraints = mem_array((size_t)info->nConstraint + 1, sizeof *q.constraints),
        .constraint_count = (unsigned)info->nConstraint,
        .order_count = (unsigned)info->nOrderBy,
        .distinct = distinct_of(info),
        .rows = vtab_row_estimate(t),
        .patterns_match_blobs = t->connection->patterns_match_blobs,
        .utf16 = !t->utf8,
    };
    struct knowledge knowledge = {t, q.rows};
    struct plan_order *order = mem_array((size_t)info->nOrderBy + 1, sizeof *order);
    int rc = SQLITE_NOMEM;
    if (q.constraints && order) {
        for (int i = 0; i < info->nConstraint; i++)
            q.constraints[i] = translate(info, i);
        for (int i = 0; i < info->nOrderBy; i++)
            order[i] = (struct plan_order){info->aOrderBy[i].iColumn, info->aOrderBy[i].desc};
        q.order = order;
        describe_choice(&knowledge, info, &q);
        plan_make(t->schema, &q, &plan);
        hand_over(info, &q);
        rc = describe(t, info, &plan);
    }
    mem_free(q.constraints);
    mem_free(order);
    return rc;
}
