#include "engine/base/error.h"
#include "sql/plan.h"

static bool put(struct buf *words, const char *text) {
    return buf_append(words, text, strlen(text));
}

/* "(a, b)" of key columns [from, to). */
static bool put_columns(struct buf *words, const struct schema *s, unsigned from, unsigned to) {
    bool ok = put(words, "(");
    for (unsigned n = from; ok && n < to; n++)
        ok = (n == from || put(words, ", ")) && put(words, s->columns[s->key[n].column].name);
    return ok && put(words, ")");
}

static bool put_composite(struct buf *words, const struct schema *s, const struct plan *plan) {
    bool ok = true;
    if (plan->eq_count)
        ok = put(words, "key=") && put_columns(words, s, 0, plan->eq_count);
    else if (!plan->prefix)
        ok = put(words, "key");
    if (plan->in_column >= 0) {
        unsigned n = (unsigned)plan->in_column;
        ok = ok && put(words, " in list") && put_columns(words, s, n, n + 1);
    }
    if (plan_bound_count(plan) == 0) return ok;
    if (ok && (plan->eq_count || !plan->prefix)) ok = put(words, " ");
    return ok && put(words, plan->prefix ? "prefix" : "range") &&
           put_columns(words, s, plan->eq_count, plan->eq_count + 1);
}

static bool put_simple(struct buf *words, const struct plan *plan) {
    if (plan->in_column >= 0) return put(words, "key in list");
    if (plan->eq_count) return put(words, "key=?");
    return put(words, plan->prefix ? "prefix" : "key range");
}

/* ---- an index -------------------------------------------------------------------------------- */

static const char *column_name(const struct schema *s, unsigned n) {
    int column = s->key[n].column;
    return column == SCHEMA_NO_COLUMN ? "rowid" : s->columns[column].name;
}

static bool put_term(struct buf *words, const struct schema *s, unsigned n, const char *test,
                     bool *first) {
    bool ok = put(words, *first ? " (" : " AND ");
    *first = false;
    return ok && put(words, column_name(s, n)) && put(words, test);
}

static bool put_bounds(struct buf *words, const struct schema *s, const struct plan *plan,
                       bool *first) {
    static const char *const lower[] = {"", ">=?", ">?", " IS NOT NULL"};
    static const char *const upper[] = {"", "<=?", "<?"};
    unsigned n = plan->eq_count;
    if (plan->prefix) return put_term(words, s, n, " prefix", first);
    return (!plan->lower || put_term(words, s, n, lower[plan->lower], first)) &&
           (!plan->upper || put_term(words, s, n, upper[plan->upper], first));
}

static bool put_index(struct buf *words, const struct schema *s, const struct plan *plan) {
    bool first = true;
    bool ok = put(words, plan->covering ? "covering index " : "index ") && put(words, s->name);
    for (unsigned n = 0; ok && n < plan->eq_count; n++)
        ok = put_term(words, s, n, (int)n == plan->in_column ? " in list" : "=?", &first);
    ok = ok && put_bounds(words, s, plan, &first);
    return ok && (first || put(words, ")"));
}

/* ---- either ------------------------------------------------------------------------------------ */

int plan_words(const struct schema *s, const struct plan *plan, struct buf *words,
               struct kevo_err *err) {
    bool ok = put(words, "kevo: ");
    if (plan->index)
        ok = ok && put_index(words, plan_schema(s, plan), plan);
    else if (plan->eq_count == 0 && plan_bound_count(plan) == 0)
        ok = ok && put(words, "full scan");
    else if (s->kind == SCHEMA_COMPOSITE)
        ok = ok && put_composite(words, s, plan);
    else
        ok = ok && put_simple(words, plan);
    if (plan->reverse) ok = ok && put(words, ", desc");
    return ok && buf_append(words, "", 1) ? 0 : kevo_nomem(err);
}
