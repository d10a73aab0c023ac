#include "ext/cursor.h"

#include <assert.h>
#include <string.h>

#include "engine/base/error.h"
#include "ext/equality.h"
#include "ext/reprepare.h"
#include "ext/thin.h"

enum { MAX_ARGS = SCHEMA_MAX_LAYOUT + 4 };

char **cursor_message(struct cursor *c) {
    sqlite3_free(c->table->base.zErrMsg);
    c->table->base.zErrMsg = NULL;
    return &c->table->base.zErrMsg;
}

/* A query of one row opens and closes a cursor: the last one's memory is kept for it. */
int cursor_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor) {
    struct vtab *t = vtab_of(table);
    struct cursor *c = t->spare;
    bool joining = t->joining;
    t->joining = false;
    if (c) {
        t->spare = NULL;
    } else {
        c = sqlite3_malloc64(sizeof *c);
        if (!c) return SQLITE_NOMEM;
        memset(c, 0, sizeof *c);
        c->table = t;
    }
    c->eof = true;
    c->reads = false;
    c->of_writer = joining;
    session_cursor_opened(t->session);
    *cursor = &c->base;
    return SQLITE_OK;
}

/* The value stays until the next row is got, which goes on from there. */
static void leave_looked_up(struct cursor *c) {
    c->lookup.have_row = c->lookup.have_key = false;
}

static void leave_points(struct cursor *c) {
    struct points *p = &c->points;
    for (unsigned i = 0; i < p->count; i++)
        kevo_value_release(&p->values[i]);
    p->count = 0;
}

/* Let go of the row and of what it lies in. */
static void leave_row(struct cursor *c) {
    leave_points(c);
    kevo_value_release(&c->value);
    kevo_value_release(&c->lookup.value);
    c->on_point = false;
    leave_looked_up(c);
}

static void stop_counting(struct cursor *c) {
    kevo_counter_free(c->counting.counter);
    c->counting = (struct counting){.refused = true};
}

static void leave_span(struct cursor *c) {
    clearing_end(&c->table->clearing, c);
    if (c->counting.counter) stop_counting(c);
    if (!c->iter) return;
    kevo_iter_park(c->iter);
    c->parked = c->iter;
    c->iter = NULL;
}

static void leave_range(struct cursor *c) {
    leave_row(c);
    leave_span(c);
}

static void cursor_free(struct cursor *c) {
    kevo_iter_free(c->parked);
    plan_ranges_release(&c->ranges);
    buf_release(&c->scratch);
    buf_release(&c->common.bytes);
    buf_release(&c->lookup.key);
    buf_release(&c->saved);
    buf_release(&c->sorted);
    sqlite3_free(c);
}

void cursor_free_spare(struct vtab *t) {
    if (t->spare) cursor_free(t->spare);
    t->spare = NULL;
}

int cursor_close(sqlite3_vtab_cursor *cursor) {
    struct cursor *c = cursor_of(cursor);
    leave_span(c);
    session_cursor_closed(session_of(c), &c->value);
    leave_row(c);
    /* Memory that a large sort or list took is not kept. */
    if (c->table->spare || c->sorted.cap || c->ranges.bytes.cap > 4096)
        cursor_free(c);
    else
        c->table->spare = c;
    return SQLITE_OK;
}

/* ---- moving ------------------------------------------------------------------------ */

int cursor_read_now(struct cursor *c, struct kevo_read *read) {
    struct session *s = session_of(c);
    if (!c->reads) session_resume(s, &c->value);
    int rc = c->reads ? session_read_on(s, c->read_epoch, read, cursor_message(c))
                      : session_read(s, read, cursor_message(c));
    c->reads = rc == SQLITE_OK;
    c->read_epoch = s->epoch;
    return rc;
}

static void stand_on(struct cursor *c, slice key, slice row) {
    c->key = key;
    c->row = row;
    c->place = c->start;
    c->asked_before = c->asked;
    c->asked = 0;
    if (c->plan.index)
        leave_looked_up(c);
    else
        c->reader = row_reader_of(row);
}

/* Another range is entered. */
static void forget_start(struct cursor *c) {
    c->start = (struct key_place){0};
    c->start_known = c->common.known = false;
}

/* Whether the point of this range was got with others before, and is still what `read` sees. */
static bool has_point(const struct cursor *c, const struct kevo_read *read) {
    const struct points *p = &c->points;
    return c->range - p->first < p->count && read->snapshot && !read->txn &&
           c->read_epoch == p->epoch && kevo_snapshot_id(read->snapshot) == p->snapshot_id;
}

enum { POINTS_AT_FIRST = 4 };

/* Get the points of this range and the next ones at once: fewer at first, since nobody may ask for
 * more. *rc is kevo_get_many()'s. False: it is one alone. */
static bool get_points(struct cursor *c, const struct kevo_read *read, int *rc,
                       struct kevo_err *err) {
    struct points *p = &c->points;
    slice keys[KEVO_GET_MANY];
    unsigned n = 0;
    leave_points(c);
    if (!read->snapshot || read->txn) return false;
    for (; n < p->size && c->range + n < c->ranges.count; n++) {
        struct key_range r = cursor_range_at(c, c->range + n);
        if (!r.point) break;
        keys[n] = r.lower;
    }
    if (n < 2) return false;
    p->size = p->size * 2 < KEVO_GET_MANY ? p->size * 2 : KEVO_GET_MANY;
    p->first = c->range;
    p->count = n;
    p->epoch = c->read_epoch;
    p->snapshot_id = kevo_snapshot_id(read->snapshot);
    *rc = kevo_get_many(session_of(c)->store, read, keys, &p->count, p->values, p->found, err);
    return true;
}

static int get_point(struct cursor *c, const struct kevo_read *read, slice key,
                     struct kevo_err *err) {
    struct points *p = &c->points;
    int rc = 0;
    if (!has_point(c, read) && !get_points(c, read, &rc, err))
        return kevo_get_again(session_of(c)->store, read, key, &c->value, err);
    if (rc) return rc;
    size_t i = c->range - p->first;
    kevo_value_release(&c->value);
    if (!p->found[i]) return KEVO_NOTFOUND;
    c->value = p->values[i];
    p->values[i] = (struct kevo_value){.slice = {NULL, 0}};
    return 0;
}

static int enter_point(struct cursor *c, const struct kevo_read *read, slice key, bool *found,
                       struct kevo_err *err) {
    leave_span(c);
    leave_looked_up(c);
    c->on_point = false;
    int rc = c->ranges.count > 1 ? get_point(c, read, key, err)
                                 : kevo_get_again(session_of(c)->store, read, key, &c->value, err);
    *found = rc == 0;
    if (rc) return rc == KEVO_NOTFOUND ? 0 : rc;
    c->on_point = true;
    forget_start(c);
    stand_on(c, key, c->value.slice);
    return 0;
}

static int enter_span(struct cursor *c, struct kevo_read *read, slice lower, slice upper,
                      bool *found, struct kevo_err *err) {
    leave_range(c);
    forget_start(c);
    read->lower = lower;
    read->upper = upper;
    int rc = kevo_iter_again(session_of(c)->store, read, &c->parked, err);
    c->iter = c->parked;
    c->parked = NULL;
    if (rc == 0) {
        c->entry = kevo_iter_entry(c->iter);
        rc = c->plan.reverse ? kevo_iter_last(c->iter, err) : kevo_iter_first(c->iter, err);
    }
    *found = rc == 0 && c->entry->valid;
    if (*found) stand_on(c, c->entry->key, c->entry->value);
    if (*found && read->txn && !c->plan.index && !c->plan.reverse)
        clearing_begin(&c->table->clearing, c, session_of(c), c->key);
    c->epoch = session_of(c)->epoch;
    c->counting.unseen = 0;
    return rc;
}

/* Stand on the first row of this range or of one of the next. */
static int enter_ranges(struct cursor *c) {
    struct kevo_read read;
    struct kevo_err err;
    bool found = false;
    int rc = SQLITE_OK;
    if (c->range < c->ranges.count) rc = cursor_read_now(c, &read);
    for (; rc == SQLITE_OK && c->range < c->ranges.count; c->range++) {
        struct key_range r = cursor_range(c);
        if (r.point ? enter_point(c, &read, r.lower, &found, &err)
                    : enter_span(c, &read, r.lower, r.upper, &found, &err))
            return vtab_report(c->table, &err);
        if (found) return SQLITE_OK;
    }
    c->eof = true;
    return rc;
}

/* The connection began, committed or rolled back while this cursor was open: go on
 * behind the key it stood on, in what is to be seen now. */
static int enter_again(struct cursor *c) {
    struct kevo_read read;
    struct kevo_err err;
    bool found;
    struct key_range r = cursor_range(c);
    if (!buf_set(&c->saved, c->key)) return SQLITE_NOMEM;
    if (!c->plan.reverse && !buf_append(&c->saved, "", 1)) return SQLITE_NOMEM;
    leave_range(c);
    c->counting.refused = true; /* its rows are no more those of one moment */
    int rc = session_read(session_of(c), &read, cursor_message(c));
    if (rc != SQLITE_OK) return rc;
    slice lower = c->plan.reverse ? r.lower : buf_slice(&c->saved);
    slice upper = c->plan.reverse ? buf_slice(&c->saved) : r.upper;
    if (enter_span(c, &read, lower, upper, &found, &err)) return vtab_report(c->table, &err);
    if (found) return SQLITE_OK;
    c->range++;
    return enter_ranges(c);
}

static int advance(struct cursor *c) {
    struct kevo_err err;
    if (c->on_point) {
        c->range++;
        return enter_ranges(c);
    }
    if (c->epoch != session_of(c)->epoch) return enter_again(c);
    if (c->plan.reverse ? kevo_iter_prev(c->iter, &err) : kevo_iter_next(c->iter, &err)) {
        c->eof = true;
        return vtab_report(c->table, &err);
    }
    if (c->entry->valid) {
        stand_on(c, c->entry->key, c->entry->value);
        clearing_note(&c->table->clearing, c, c->key);
        return SQLITE_OK;
    }
    c->range++;
    return enter_ranges(c);
}

/* ---- counting ------------------------------------------------------------------------ */

/* count(*), which SQLite makes of a virtual table by asking for one row after the other: when
 * so many rows of a range have gone by without a question about any of them, the rows to
 * come are counted instead of visited. The iterator stays where it is, to catch up if a column
 * is asked for after all. */
enum { UNSEEN_ROWS = 256 };

static bool may_count(struct cursor *c) {
    const struct session *s = session_of(c);
    return !c->counting.refused && !c->on_point && c->iter && !c->plan.reverse &&
           !c->plan.has_limit && !session_is_open(s) && c->epoch == s->epoch;
}

/* The connection began, committed or rolled back: go on behind what was counted, in what is to
 * be seen now. */
static int leave_counter(struct cursor *c) {
    struct kevo_read read;
    struct kevo_err err;
    bool found;
    if (!buf_set(&c->saved, kevo_counter_end(c->counting.counter))) return SQLITE_NOMEM;
    leave_range(c);
    int rc = session_read(session_of(c), &read, cursor_message(c));
    if (rc != SQLITE_OK) return rc;
    if (enter_span(c, &read, buf_slice(&c->saved), cursor_range(c).upper, &found, &err))
        return vtab_report(c->table, &err);
    if (found) return SQLITE_OK;
    c->range++;
    return enter_ranges(c);
}

/* The stretch has been used up: on to the next that has rows, or to the next range. */
static int count_on(struct cursor *c) {
    struct counting *counting = &c->counting;
    struct kevo_err err;
    if (c->epoch != session_of(c)->epoch) return leave_counter(c);
    for (uint64_t n;;) {
        int rc = kevo_counter_next(counting->counter, &n, &err);
        if (rc == KEVO_NOTFOUND) break;
        if (rc) {
            c->eof = true;
            return vtab_report(c->table, &err);
        }
        if (n > counting->visited) {
            counting->ahead = n - counting->visited - 1;
            counting->visited = 0;
            counting->behind++;
            return SQLITE_OK;
        }
        counting->visited -= n;
    }
    c->range++;
    return enter_ranges(c);
}

/* Tables are counted as a whole, so the count begins where the range does. */
static int start_counting(struct cursor *c) {
    struct kevo_read read;
    struct kevo_err err;
    struct key_range r = cursor_range(c);
    int rc = session_read(session_of(c), &read, cursor_message(c));
    if (rc != SQLITE_OK) return rc;
    read.lower = r.lower;
    read.upper = r.upper;
    rc = kevo_counter_new(session_of(c)->store, &read, &c->counting.counter, &err);
    if (rc < 0) return vtab_report(c->table, &err);
    c->counting.visited = c->counting.unseen;
    if (rc == 0) return count_on(c);
    c->counting.refused = true;
    return advance(c);
}

int cursor_be_seen(struct cursor *c) {
    struct kevo_err err;
    c->counting.refused = true;
    for (; c->counting.behind; c->counting.behind--) {
        if (kevo_iter_next(c->iter, &err)) return vtab_report(c->table, &err);
        if (!c->entry->valid) return SQLITE_CORRUPT_VTAB;
    }
    if (!c->counting.counter) return SQLITE_OK;
    stop_counting(c);
    stand_on(c, c->entry->key, c->entry->value);
    return SQLITE_OK;
}

int cursor_next(sqlite3_vtab_cursor *cursor) {
    struct cursor *c = cursor_of(cursor);
    if (c->counting.ahead) {
        c->counting.ahead--;
        c->counting.behind++;
        return SQLITE_OK;
    }
    if (c->counting.counter) return count_on(c);
    if (!c->counting.refused && ++c->counting.unseen >= UNSEEN_ROWS && may_count(c))
        return start_counting(c);
    return advance(c);
}

int cursor_eof(sqlite3_vtab_cursor *cursor) {
    return cursor_of(cursor)->eof;
}

/* ---- the ranges of a query ---------------------------------------------------------------- */

/* The arguments of a plan, with the copies that a conversion needs. */
struct arguments {
    struct plan_arg list[MAX_ARGS];
    sqlite3_value *copies[MAX_ARGS];
};

/* Whether argument i is compared with a key column of texts. One that is a text is taken as it
 * lies there: nobody needs the zero byte behind it, for which SQLite would copy it. */
static bool is_for_text(const struct cursor *c, unsigned i) {
    unsigned eq = c->plan.eq_count;
    unsigned column = i < eq ? i : eq;
    return i < eq + plan_bound_count(&c->plan) && c->keys->key[column].type == COLUMN_TEXT;
}

static int fill_argument(struct cursor *c, struct arguments *a, unsigned i, sqlite3_value *v) {
    struct kevo_err err;
    struct plan_arg *arg = &a->list[i];
    sqlite3_value_free(a->copies[i]);
    a->copies[i] = NULL;
    if (value_in_place(v, is_for_text(c, i) && c->table->utf8, &arg->value, &err))
        return SQLITE_NOMEM;
    arg->bare = plan_arg_is_bare(&arg->value, sqlite3_value_frombind(v));
    if (plan_convert(c->keys, &c->plan, i, arg) == PLAN_KEEP) return SQLITE_OK;

    sqlite3_value *copy = a->copies[i] = sqlite3_value_dup(v);
    if (!copy) return SQLITE_NOMEM;
    sqlite3_value_numeric_type(copy);
    return value_of(copy, &arg->value, &err) ? SQLITE_NOMEM : SQLITE_OK;
}

static void free_arguments(struct arguments *a, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        sqlite3_value_free(a->copies[i]);
}

static int add_ranges(struct cursor *c, const struct arguments *a) {
    struct kevo_err err;
    return plan_ranges_add(&c->ranges, c->keys, c->table->table_id, &c->plan, a->list, &err)
               ? vtab_report(c->table, &err)
               : SQLITE_OK;
}

/* A key that is one text, as what add_ranges() would come to. False: ask that. */
static bool add_text(struct cursor *c, sqlite3_value *v) {
    if (sqlite3_value_type(v) != SQLITE_TEXT) return false;
    const void *text = sqlite3_value_blob(v); /* NULL when it is empty */
    size_t len = (size_t)sqlite3_value_bytes(v);
    return len <= KEVO_MAX_KEY_BYTES - KEYCODE_MAX_PREFIX_BYTES &&
           plan_ranges_add_point(&c->ranges, slice_of(c->prefix, c->verbatim_at),
                                 slice_of(text, text ? len : 0));
}

static int add_argument(struct cursor *c, struct arguments *a, sqlite3_value *v) {
    if (c->texts && add_text(c, v)) return SQLITE_OK;
    int rc = fill_argument(c, a, (unsigned)c->plan.in_column, v);
    return rc == SQLITE_OK ? add_ranges(c, a) : rc;
}

/* One set of ranges for each value of the IN list. */
static int add_list(struct cursor *c, struct arguments *a, sqlite3_value *list) {
    sqlite3_value *v = NULL;
    int rc = sqlite3_vtab_in_first(list, &v);
    while (rc == SQLITE_OK && v) {
        rc = add_argument(c, a, v);
        if (rc == SQLITE_OK) rc = sqlite3_vtab_in_next(list, &v);
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int list_ranges(struct cursor *c, bool coarse, int argc, sqlite3_value **argv) {
    struct arguments a;
    int rc = SQLITE_OK;
    memset(a.copies, 0, (size_t)argc * sizeof a.copies[0]);
    plan_ranges_reset(&c->ranges);
    c->ranges.coarse = coarse;
    for (int i = 0; rc == SQLITE_OK && i < argc; i++) {
        if (i != c->plan.in_column) rc = fill_argument(c, &a, (unsigned)i, argv[i]);
    }
    if (rc == SQLITE_OK)
        rc = c->plan.in_column < 0 ? add_ranges(c, &a) : add_list(c, &a, argv[c->plan.in_column]);
    plan_ranges_finish(&c->ranges);
    free_arguments(&a, (unsigned)argc);
    return rc;
}

/* Leave out the texts that are equal to a number where there are none. */
static int leave_out_texts(struct cursor *c) {
    struct kevo_read read;
    struct kevo_err err;
    int rc = session_read(session_of(c), &read, cursor_message(c));
    if (rc != SQLITE_OK) return rc;
    return thin_ranges(&c->ranges, session_of(c)->store, &read, &err) ? vtab_report(c->table, &err)
                                                                      : SQLITE_OK;
}

/* Numbers may be equal to texts that look like them. Mostly nothing there looks like a number:
 * one search for any such text is cheaper than to make the many ranges of one number. */
static int make_ranges(struct cursor *c, int argc, sqlite3_value **argv) {
    int rc = list_ranges(c, true, argc, argv);
    if (rc == SQLITE_OK && c->ranges.texts) rc = leave_out_texts(c);
    if (rc != SQLITE_OK || !c->ranges.texts) return rc;
    rc = list_ranges(c, false, argc, argv);
    return rc == SQLITE_OK ? leave_out_texts(c) : rc;
}

/* ---- rows that have to be sorted -------------------------------------------------------- */

/* Read the keys of all ranges into c->sorted, each behind its length. */
static int collect_keys(struct cursor *c, size_t *count) {
    buf_reset(&c->sorted);
    c->range = 0;
    c->eof = false;
    for (int rc = enter_ranges(c);; rc = advance(c)) {
        if (rc != SQLITE_OK) return rc;
        if (c->eof) return SQLITE_OK;
        size_t len = c->key.len;
        if (!buf_append(&c->sorted, &len, sizeof len) ||
            !buf_append(&c->sorted, c->key.data, c->key.len))
            return SQLITE_NOMEM;
        ++*count;
    }
}

/* An equality that means several texts ('5', '05', ...) brings the rest of the key out
 * of order. It is rare, and then a must: replace the ranges by one point a row, in the
 * order that was promised. */
static int sort_rows(struct cursor *c) {
    size_t count = 0;
    int rc = collect_keys(c, &count);
    leave_range(c);
    if (rc != SQLITE_OK) return rc;
    struct kevo_err err;
    slice keys = buf_slice(&c->sorted);
    return plan_ranges_sort(&c->ranges, c->keys, &c->plan, keys, count, &err)
               ? vtab_report(c->table, &err)
               : SQLITE_OK;
}

/* ---- the one row of an UPDATE ------------------------------------------------------------ */

/* The statement looks at one row, and there are more: numbers that are meant as such equal
 * texts as different as 7 and 007. Prepared again, as SQLITE_SCHEMA makes SQLite do by itself, it
 * will look at all of them. */
static int refuse_several(struct cursor *c) {
    sqlite3 *db = c->table->connection->db;
    c->table->connection->refusals += !c->table->several;
    c->table->several = true;
    leave_range(c);
    if (reprepare_is_safe(db)) return SQLITE_SCHEMA;
    *cursor_message(c) = sqlite3_mprintf("kevo: several keys of table %s equal the number; BEGIN a "
                                         "transaction, or end the statements that are running",
                                         c->table->name);
    return SQLITE_LOCKED;
}

/* Whether the n-th column of the key is equal to its argument, whatever the comparison is of. */
static int may_equal(struct cursor *c, unsigned n, sqlite3_value *arg, bool *may) {
    struct session *s = session_of(c);
    int type = sqlite3_value_type(arg);
    struct kevo_err err;
    struct value v, wanted;
    if (cursor_key_column(c, n, &v, &err)) return vtab_report(c->table, &err);
    if (v.type == VALUE_TEXT && (type == SQLITE_INTEGER || type == SQLITE_FLOAT))
        return text_equals_number(s->connection->db, &s->equality, v.bytes, arg, may);
    if (value_in_place(arg, c->table->utf8, &wanted, &err)) return SQLITE_NOMEM;
    *may = v.type != wanted.type || v.type == VALUE_REAL || value_cmp(&v, &wanted) == 0;
    return SQLITE_OK;
}

static int row_may_match(struct cursor *c, sqlite3_value **argv, bool *may) {
    int rc = SQLITE_OK;
    *may = true;
    for (unsigned n = 0; rc == SQLITE_OK && *may && n < c->plan.eq_count; n++)
        rc = may_equal(c, n, argv[n], may);
    return rc;
}

/* Go on to the next row that may match, or to the end. */
static int next_match(struct cursor *c, sqlite3_value **argv, bool first) {
    bool may = false;
    int rc = first ? enter_ranges(c) : advance(c);
    while (rc == SQLITE_OK && !c->eof && !may) {
        rc = row_may_match(c, argv, &may);
        if (rc == SQLITE_OK && !may) rc = advance(c);
    }
    return rc;
}

/* Make the ranges the one row that matches. */
static int narrow_to_one(struct cursor *c, sqlite3_value **argv) {
    int rc = next_match(c, argv, true);
    bool found = rc == SQLITE_OK && !c->eof;
    if (found) {
        if (!buf_set(&c->saved, c->key)) return SQLITE_NOMEM;
        rc = next_match(c, argv, false);
        if (rc == SQLITE_OK && !c->eof) return refuse_several(c);
    }
    leave_range(c);
    plan_ranges_reset(&c->ranges);
    if (rc == SQLITE_OK && found &&
        !plan_ranges_add_point(&c->ranges, slice_of(NULL, 0), buf_slice(&c->saved)))
        rc = SQLITE_NOMEM;
    return rc;
}

/* Before the ranges are entered. */
static int make_sure_of_one(struct cursor *c, sqlite3_value **argv) {
    c->range = 0;
    c->eof = false;
    if (c->ranges.count == 0 || (c->ranges.count == 1 && cursor_range(c).point)) return SQLITE_OK;
    return narrow_to_one(c, argv);
}

/* ---- xFilter ------------------------------------------------------------------------------ */

static int skip_offset(struct cursor *c, sqlite3_value *offset) {
    int rc = SQLITE_OK;
    for (sqlite3_int64 n = sqlite3_value_int64(offset); rc == SQLITE_OK && n > 0 && !c->eof; n--)
        rc = advance(c);
    return rc;
}

static void take_plan(struct cursor *c, int index) {
    const struct plan *plan = &c->plan;
    if (c->keys && c->index == index) return; /* as the time before */
    c->index = index;
    c->plan = plan_of_index(index);
    c->keys = plan_schema(c->table->schema, plan);
    c->verbatim_at = 0;
    if (!plan->index && keycode_is_verbatim(c->keys, 0)) {
        c->verbatim_at = keycode_prefix(c->keys, c->table->table_id, c->prefix);
        c->verbatim_type = c->keys->key[0].type == COLUMN_TEXT ? VALUE_TEXT : VALUE_BLOB;
    }
    c->texts = c->verbatim_at && c->verbatim_type == VALUE_TEXT && plan->eq_count == 1 &&
               plan_arg_count(plan) == 1 && c->table->utf8;
}

/* Begin anew with the one key asked for. False: there are no ranges yet, and make_ranges() is to make them. */
static bool make_point(struct cursor *c, sqlite3_value *v) {
    plan_ranges_reset(&c->ranges);
    return c->texts && c->plan.in_column < 0 && add_text(c, v);
}

int cursor_filter(sqlite3_vtab_cursor *cursor, int index, const char *words, int argc,
                  sqlite3_value **argv) {
    struct cursor *c = cursor_of(cursor);
    (void)words;
    leave_span(c);
    leave_points(c);
    c->points.size = POINTS_AT_FIRST;
    c->counting = (struct counting){.refused = false};
    take_plan(c, index);
    /* A statement that writes may want to know less than that: see result_column(). */
    bool plain = !c->plan.index && !session_is_open(session_of(c));
    c->plain_count = plain ? (int)c->table->schema->column_count : 0;
    c->plain_index = c->table->schema->row_index;
    assert(argc == (int)plan_arg_count(&c->plan) && argc <= MAX_ARGS);
    int rc = argc && make_point(c, argv[0]) ? SQLITE_OK : make_ranges(c, argc, argv);
    if (rc == SQLITE_OK && c->ranges.unordered && c->plan.order_consumed) rc = sort_rows(c);
    if (rc == SQLITE_OK && c->plan.presumed) rc = make_sure_of_one(c, argv);
    if (rc != SQLITE_OK) return rc;
    c->range = 0;
    c->eof = false;
    rc = enter_ranges(c);
    if (rc == SQLITE_OK && c->plan.has_offset) rc = skip_offset(c, argv[plan_offset_arg(&c->plan)]);
    return rc;
}
