#include "tests/lib/one_table.h"

#include <stdlib.h>

#include "engine/base/checksum.h"
#include "engine/base/error.h"

const struct range_set *one_table_ranges;

struct iter_suite_set *one_table_set(void) {
    struct rng rng = rng_of(harness_seed());
    struct iter_suite_shape shape = iter_suite_shape_default();
    shape.key_count = 60;
    return iter_suite_random(&rng, &shape);
}

struct table_writer_options table_options(uint32_t block_bytes, int compression,
                                          uint32_t filter_bits) {
    return (struct table_writer_options){.block_bytes = block_bytes,
                                         .restart_interval = 16,
                                         .compression = compression,
                                         .filter_bits_per_key = filter_bits,
                                         .file_mode = 0644};
}

/* ---- making tables ----------------------------------------------------------- */

int one_table_write(struct env *env, const char *path, const struct iter_suite_set *set,
                    const struct table_writer_options *options, struct table_summary *summary) {
    struct table_writer *w;
    int rc = table_writer_open(env, path, ONE_TABLE_NUMBER, options, &w, &test_err);
    if (rc) return rc;
    for (size_t i = 0; i < set->count; i++) {
        const struct iter_suite_entry *e = &set->entries[i];
        rc = table_writer_add(w, e->key, e->seq, e->type, e->value, &test_err);
        if (rc == 0) continue;
        table_writer_abandon(w);
        return rc;
    }
    if (table_writer_entries(w) != set->count) ck_abort_msg("entries miscounted");
    slice open = {NULL, 0};
    rc = table_writer_add_ranges(w, one_table_ranges, open, open, &test_err);
    if (rc == 0) return table_writer_finish(w, summary, &test_err);
    table_writer_abandon(w);
    return rc;
}

int one_table_open(struct one_table *o) {
    return table_open(o->env, ONE_TABLE_PATH, ONE_TABLE_NUMBER, o->summary.file_bytes,
                      o->summary.checksum, o->cache, &(uint64_t){0}, &o->table, &test_err);
}

void one_table_close(struct one_table *o) {
    table_close(o->table);
    o->table = NULL;
}

void table_summary_release(struct table_summary *summary) {
    buf_release(&summary->min_key);
    buf_release(&summary->max_key);
}

void one_table_init(struct one_table *o, const struct iter_suite_set *set,
                    const struct table_writer_options *options, uint64_t cache_bytes) {
    o->env = env_memory_new();
    o->cache = cache_new(cache_bytes, 0);
    ck_ok(one_table_write(o->env, ONE_TABLE_PATH, set, options, &o->summary));
    ck_ok(one_table_open(o));
}

void one_table_release(struct one_table *o) {
    table_close(o->table);
    cache_free(o->cache);
    table_summary_release(&o->summary);
    env_memory_free(o->env);
}

/* ---- against the model -------------------------------------------------------- */

/* The answer is right: 0; it is a reported error: that; else the test fails. */
static int check_get(struct table *t, struct cache *cache, const struct iter_suite_entry *sorted,
                     size_t n, slice key, uint64_t max_seq) {
    struct table_value v;
    bool filtered;
    size_t at = iter_suite_seek_index(sorted, n, key, max_seq);
    bool is_there = at < n && slice_eq(sorted[at].key, key);
    int rc = table_get(t, key, key_hash(key), max_seq, &v, &filtered, &test_err);
    if (rc < 0) return rc;
    bool right = rc == (is_there ? 0 : KEVO_NOTFOUND) && (rc == 0 || v.block == NULL);
    if (right && rc == 0)
        right = v.seq == sorted[at].seq && v.type == sorted[at].type &&
                slice_eq(v.value, sorted[at].value);
    if (v.block) cache_unpin(cache, v.block);
    if (!right) ck_abort_msg("entry %zu of %zu: wrong answer, rc %d", at, n, rc);
    return 0;
}

static void check_ranges(const struct table *t) {
    const struct range_set *want = one_table_ranges, *got = table_ranges(t);
    bool same = !want == !got &&
                (!want || (want->count == got->count && want->seq_count == got->seq_count));
    for (size_t i = 0; want && same && i < want->count; i++) {
        const struct range_fragment *w = &want->fragments[i], *g = &got->fragments[i];
        same = slice_eq(w->lower, g->lower) && slice_eq(w->upper, g->upper) &&
               w->seq_count == g->seq_count &&
               memcmp(w->seqs, g->seqs, w->seq_count * sizeof *w->seqs) == 0;
    }
    if (!same) ck_abort_msg("other range tombstones");
}

int check_gets(struct table *t, struct cache *cache, const struct iter_suite_set *set,
               bool misses) {
    const struct iter_suite_entry *s = set->entries;
    size_t n = set->count;
    check_ranges(t);
    for (size_t i = 0; i < n; i++) {
        int rc = check_get(t, cache, s, n, s[i].key, SEQ_MAX);
        if (rc == 0) rc = check_get(t, cache, s, n, s[i].key, s[i].seq);
        if (rc == 0) rc = check_get(t, cache, s, n, s[i].key, s[i].seq - 1);
        if (rc) return rc;
        if (!misses) continue;
        uint8_t *key = malloc(s[i].key.len + 1);
        memcpy(key, s[i].key.data, s[i].key.len);
        key[s[i].key.len] = 0;
        rc = check_get(t, cache, s, n, slice_of(key, s[i].key.len + 1), SEQ_MAX);
        key[s[i].key.len - 1]++;
        if (rc == 0) rc = check_get(t, cache, s, n, slice_of(key, s[i].key.len), SEQ_MAX);
        free(key);
        if (rc) return rc;
    }
    return 0;
}

/* Forward and backward; 0 when all entries came, or the error. */
int check_scans(struct table *t, const struct iter_suite_set *set, bool keep) {
    struct iter *it;
    int rc = table_iter_new(t, keep, &it, &test_err);
    if (rc) return rc;
    rc = it->ops->seek_first(it, &test_err);
    for (size_t i = 0; rc == 0 && i < set->count; i++) {
        iter_suite_expect(it, set->entries, set->count, i, "next");
        rc = it->ops->next(it, &test_err);
    }
    if (rc == 0) iter_suite_expect(it, set->entries, set->count, set->count, "next");
    if (rc == 0) rc = it->ops->seek_last(it, &test_err);
    for (size_t i = set->count; rc == 0 && i-- > 0;) {
        iter_suite_expect(it, set->entries, set->count, i, "prev");
        rc = it->ops->prev(it, &test_err);
    }
    iter_close(it);
    return rc;
}

int one_table_life(struct env *env, const struct iter_suite_set *set) {
    struct table_writer_options options = table_options(500, KEVO_COMPRESSION_LZ4, 10);
    struct one_table o = {.env = env, .cache = cache_new(1 << 20, 0)};
    int rc = o.cache ? 0 : kevo_nomem(&test_err);
    if (rc == 0) rc = one_table_write(env, ONE_TABLE_PATH, set, &options, &o.summary);
    if (rc == 0) rc = one_table_open(&o);
    if (rc == 0) rc = check_gets(o.table, o.cache, set, false);
    if (rc == 0) rc = check_scans(o.table, set, true);
    if (rc == 0) rc = check_scans(o.table, set, false);
    if (rc == 0) rc = table_verify(o.table, &test_err);
    table_close(o.table);
    cache_free(o.cache);
    table_summary_release(&o.summary);
    return rc;
}
