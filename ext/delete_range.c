#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "ext/vtab.h"
#include "sql/condition.h"
#include "sql/indexcode.h"

/* kevo_delete_range(): one range tombstone for the rows, and one for the entries of each
 * index in which they lie together. What other indexes have of these rows is scattered: such
 * entries are deleted one by one. */

struct deleting {
    struct vtab *t;
    struct condition list[CONDITIONS_MAX];
    sqlite3_value *values[CONDITIONS_MAX]; /* of the conditions, as SQLite would compare them */
    struct plan_arg args[CONDITIONS_MAX];
    unsigned count;
    struct plan_ranges rows;
    sqlite3_stmt *probe; /* tells of sqlite3_interrupt() */
    struct kevo_err err;
};

static void deleting_release(struct deleting *d) {
    for (unsigned i = 0; i < d->count; i++)
        sqlite3_value_free(d->values[i]);
    plan_ranges_release(&d->rows);
    sqlite3_finalize(d->probe);
}

/* ---- the range ------------------------------------------------------------------------ */

/* Give the value its column's affinity, and note what it is then. */
static int take_value(struct deleting *d, unsigned i) {
    sqlite3_value *v = d->values[i];
    struct plan_arg *arg = &d->args[i];
    if (value_of(v, &arg->value, &d->err)) return d->err.rc;
    switch (condition_affinity(d->t->schema, &d->list[i], arg->value.type)) {
    case AFFINITY_NONE: return 0;
    case AFFINITY_NUMBER: sqlite3_value_numeric_type(v); return value_of(v, &arg->value, &d->err);
    case AFFINITY_TEXT: break;
    }
    const unsigned char *text = sqlite3_value_text(v);
    if (!text) return kevo_nomem(&d->err);
    arg->value = value_text(text, (size_t)sqlite3_value_bytes(v));
    return 0;
}

static int take_condition(struct deleting *d, sqlite3_value *condition, sqlite3_value *value) {
    unsigned i = d->count;
    const char *text = (const char *)sqlite3_value_text(condition);
    if (!text) return kevo_fail(&d->err, KEVO_INVALID, "a condition is NULL");
    int rc = condition_parse(d->t->schema, text, &d->list[i], &d->err);
    if (rc) return rc;
    d->values[i] = sqlite3_value_dup(value);
    if (!d->values[i]) return kevo_nomem(&d->err);
    d->count++;
    d->args[i].bare = true;
    return take_value(d, i);
}

/* Conditions and values alternate. */
static int take_conditions(struct deleting *d, int argc, sqlite3_value **argv) {
    int rc = 0;
    if (argc % 2)
        return kevo_fail(&d->err, KEVO_INVALID, "a condition has no value: '%.100s'",
                         (const char *)sqlite3_value_text(argv[argc - 1]));
    if (argc / 2 > CONDITIONS_MAX)
        return kevo_fail(&d->err, KEVO_INVALID, "there are more conditions than key columns");
    for (int i = 0; rc == 0 && i < argc; i += 2)
        rc = take_condition(d, argv[i], argv[i + 1]);
    return rc;
}

/* The keys, of the table or of an index, for which the conditions are true. KEVO_INVALID
 * when they are no range there. */
static int find_ranges(struct deleting *d, const struct schema *s, struct plan_ranges *ranges) {
    struct plan plan;
    struct plan_arg args[CONDITIONS_MAX];
    unsigned order[CONDITIONS_MAX];
    int rc = conditions_plan(s, d->list, d->count, &plan, order, &d->err);
    if (rc) return rc;
    for (unsigned i = 0; i < d->count; i++)
        args[i] = d->args[order[i]];
    plan_ranges_reset(ranges);
    rc = plan_ranges_add(ranges, s, d->t->table_id, &plan, args, &d->err);
    plan_ranges_finish(ranges);
    return rc;
}

static int delete_ranges(struct deleting *d, const struct plan_ranges *ranges) {
    struct session *s = d->t->session;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ranges->count; i++) {
        struct key_range r = plan_range_at(ranges, i);
        s->freed_bytes += kevo_approximate_size(s->store, r.lower, r.upper);
        rc = kevo_txn_delete_range(s->txn, r.lower, r.upper, &d->err);
    }
    return rc;
}

/* ---- indexes ------------------------------------------------------------------------------ */

/* True for each index whose entries of these rows do not lie together. */
struct scattered {
    bool in[SCHEMA_MAX_INDEXES];
    bool any;
};

static int delete_entries_together(struct deleting *d, struct scattered *scattered) {
    const struct schema *s = d->t->schema;
    struct plan_ranges ranges = {.spans = NULL};
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < s->index_count; i++) {
        rc = find_ranges(d, &s->indexes[i], &ranges);
        scattered->in[i] = rc == KEVO_INVALID;
        scattered->any |= scattered->in[i];
        if (rc == KEVO_INVALID)
            rc = 0;
        else if (rc == 0)
            rc = delete_ranges(d, &ranges);
    }
    plan_ranges_release(&ranges);
    return rc;
}

static int delete_entries_of_row(struct deleting *d, const struct scattered *scattered, slice key,
                                 slice row) {
    struct vtab *t = d->t;
    struct index_scratch *scratch = &t->indexes;
    int rc = indexes_decode_row(t->schema, key, row, scratch->values, &scratch->decoded, &d->err);
    for (unsigned i = 0; rc == 0 && i < t->schema->index_count; i++) {
        if (!scattered->in[i]) continue;
        rc = indexcode_encode(&t->schema->indexes[i], t->table_id, scratch->values,
                              &scratch->old_key, &scratch->old_types, &d->err);
        if (rc == 0) rc = kevo_txn_delete(t->session->txn, buf_slice(&scratch->old_key), &d->err);
    }
    return rc;
}

static int check_interrupt(struct deleting *d, uint64_t rows) {
    if (rows % 1024 || !vtab_interrupted(d->probe)) return 0;
    return kevo_fail(&d->err, KEVO_CANCELLED, "interrupted");
}

static int delete_scattered_in(struct deleting *d, const struct scattered *scattered,
                               struct key_range range) {
    struct kevo_read read = {.txn = d->t->session->txn, .lower = range.lower, .upper = range.upper};
    kevo_iter *it = NULL;
    uint64_t rows = 0;
    int rc = kevo_iter_new(d->t->session->store, &read, &it, &d->err);
    if (rc == 0) rc = kevo_iter_first(it, &d->err);
    while (rc == 0 && kevo_iter_valid(it)) {
        rc = delete_entries_of_row(d, scattered, kevo_iter_key(it), kevo_iter_value(it));
        if (rc == 0) rc = check_interrupt(d, ++rows);
        if (rc == 0) rc = kevo_iter_next(it, &d->err);
    }
    kevo_iter_free(it);
    return rc;
}

/* While the rows are still there. */
static int delete_entries(struct deleting *d) {
    struct scattered scattered = {.any = false};
    int rc = delete_entries_together(d, &scattered);
    for (size_t i = 0; rc == 0 && scattered.any && i < d->rows.count; i++)
        rc = delete_scattered_in(d, &scattered, plan_range_at(&d->rows, i));
    return rc;
}

/* ---- both ------------------------------------------------------------------------------------ */

static int delete_all(struct deleting *d, int argc, sqlite3_value **argv) {
    int rc = take_conditions(d, argc, argv);
    if (rc == 0) rc = find_ranges(d, d->t->schema, &d->rows);
    if (rc == 0 && d->t->schema->index_count) rc = delete_entries(d);
    return rc ? rc : delete_ranges(d, &d->rows);
}

int delete_range(struct vtab *t, int argc, sqlite3_value **argv, char **message) {
    struct deleting d = {.t = t};
    int rc = session_begin(t->session, message);
    if (rc == SQLITE_OK) rc = sqlite3_prepare_v2(t->connection->db, "SELECT 1", -1, &d.probe, NULL);
    if (rc == SQLITE_OK) {
        t->max_rowid_known = false;
        session_written(t->session);
        if (delete_all(&d, argc, argv)) rc = report(message, &d.err);
    }
    deleting_release(&d);
    return rc;
}
