#include <assert.h>

#include "engine/base/alloc.h"
#include "engine/base/error.h"
#include "engine/table/block.h"
#include "engine/table/filter.h"
#include "engine/table/table_impl.h"

/* ---- opening ---------------------------------------------------------------- */

static int damaged(const struct table *t, const char *what, struct kevo_err *err) {
    return kevo_fail(err, KEVO_CORRUPT, "%s: %s", t->path, what);
}

static int map_file(struct table *t, struct kevo_err *err) {
    struct env *env = t->env;
    struct env_file *file;
    uint64_t size_bytes;
    int rc = env->open(env, t->path, ENV_READ, 0, &file, err);
    if (rc) return rc;
    rc = env->size(env, file, &size_bytes, err);
    if (rc == 0 && size_bytes != t->size_bytes)
        rc = kevo_fail(err, KEVO_CORRUPT, "%s: has %llu bytes instead of %llu", t->path,
                       (unsigned long long)size_bytes, (unsigned long long)t->size_bytes);
    if (rc == 0) rc = env->map(env, file, t->size_bytes, &t->map, err);
    env->close(env, file); /* the map stays */
    return rc;
}

static int open_section(const struct table *t, const struct table_section *s, const char *what,
                        slice *bytes, struct kevo_err *err) {
    *bytes = slice_of(t->map + s->offset, (size_t)s->len);
    if (t->was_open || checksum64(bytes->data, bytes->len, 0) == s->checksum) return 0;
    return kevo_fail(err, KEVO_CORRUPT, "%s: the checksum of the %s differs", t->path, what);
}

/* The range tombstones, which must be those that the properties tell of. */
static int open_ranges(struct table *t, slice bytes, struct kevo_err *err) {
    const struct table_properties *p = &t->properties;
    int rc = range_set_decode(bytes, &t->ranges, err);
    if (rc == KEVO_NOMEM) return rc;
    const struct range_set *set = t->ranges;
    uint64_t count = set ? set->seq_count : 0;
    if (rc || count != p->range_count) return damaged(t, "its range tombstones make no sense", err);
    if (!set) return 0;
    slice upper = set->fragments[set->count - 1].upper;
    int end = slice_cmp(upper, t->max_key);
    if (slice_cmp(set->fragments[0].lower, t->min_key) < 0 ||
        (p->ends_below ? end != 0 : end > 0) || set->min_seq < p->min_seq ||
        set->max_seq > p->max_seq)
        return damaged(t, "its range tombstones lie outside of its range", err);
    return 0;
}

static int open_sections(struct table *t, const struct table_footer *f, struct kevo_err *err) {
    slice index, ranges, properties;
    int rc = open_section(t, &f->filter, "filter", &t->filter, err);
    if (rc == 0) rc = open_section(t, &f->index, "index", &index, err);
    if (rc == 0) rc = open_section(t, &f->ranges, "range tombstones", &ranges, err);
    if (rc == 0) rc = open_section(t, &f->properties, "properties", &properties, err);
    if (rc) return rc;
    if (!table_index_open(&t->index, index)) return damaged(t, "the index makes no sense", err);
    if (!table_properties_decode(&t->properties, &t->min_key, &t->max_key, properties) ||
        t->properties.block_count != t->index.count)
        return damaged(t, "the properties make no sense", err);
    rc = open_ranges(t, ranges, err);
    if (rc) return rc;
    uint64_t data_end = table_index_offset(&t->index, t->index.count);
    if (data_end > f->filter.offset || f->filter.offset - data_end >= FILTER_ALIGNMENT)
        return damaged(t, "the blocks do not end where the filter begins", err);
    size_t words = (t->index.count + 31) / 32, posts = table_index_post_count(&t->index);
    /* Not filter and index: they lie in the map, and the system keeps of it what is used. Tables were
     * closed for them once, which does not give their pages back, and opened for each read when the
     * filters of all came to more than the cache. */
    t->memory_bytes = sizeof *t + 2 * ranges.len + words * sizeof *t->verified +
                      posts * sizeof *t->posts + t->index.count * sizeof *t->places;
    t->verified = mem_array(words, sizeof *t->verified);
    t->posts = mem_array(posts, sizeof *t->posts);
    t->places = mem_array(t->index.count, sizeof *t->places);
    if (!t->verified || !t->posts || !t->places) return kevo_nomem(err);
    table_index_set_posts(&t->index, t->posts);
    t->index.places = t->places;
    return 0;
}

static int open_table(struct table *t, uint64_t checksum, struct kevo_err *err) {
    struct table_footer footer;
    uint64_t found;
    if (t->size_bytes < TABLE_FOOTER_BYTES) return damaged(t, "too short for a table", err);
    int rc = map_file(t, err);
    if (rc) return rc;
    slice bytes = slice_of(t->map + t->size_bytes - TABLE_FOOTER_BYTES, TABLE_FOOTER_BYTES);
    const char *wrong = table_footer_decode(&footer, bytes, t->size_bytes, &found);
    if (footer.format > TABLE_FORMAT_NEWEST)
        return kevo_newer(err, t->path, footer.format, TABLE_FORMAT_NEWEST);
    if (wrong) return damaged(t, wrong, err);
    if (footer.number != t->number)
        return kevo_fail(err, KEVO_CORRUPT, "%s: is table %llu, not %llu", t->path,
                         (unsigned long long)footer.number, (unsigned long long)t->number);
    if (found != checksum) return damaged(t, "another table than the manifest names", err);
    return open_sections(t, &footer, err);
}

static void table_free(struct table *t) {
    if (t->map) t->env->unmap(t->env, t->map, t->size_bytes);
    range_set_free(t->ranges);
    mem_free(t->verified);
    mem_free(t->posts);
    mem_free(t->places);
    mem_free(t->path);
    mem_free(t);
}

uint64_t table_memory_bytes(const struct table *t) {
    return t->memory_bytes;
}

int table_open(struct env *env, const char *path, uint64_t number, uint64_t size_bytes,
               uint64_t checksum, struct cache *cache, uint64_t *cache_id, struct table **table,
               struct kevo_err *err) {
    *table = NULL;
    struct table *t = mem_zalloc(sizeof *t);
    if (!t) return kevo_nomem(err);
    *t = (struct table){.env = env, .cache = cache, .number = number, .size_bytes = size_bytes};
    atomic_init(&t->refs, 1);
    t->was_open = *cache_id != 0;
    t->path = mem_strdup(path);
    int rc = t->path ? open_table(t, checksum, err) : kevo_nomem(err);
    if (rc) {
        table_free(t);
        return rc;
    }
    if (*cache_id == 0) *cache_id = cache_new_id(cache);
    t->cache_id = *cache_id;
    cache_charge(cache, table_memory_bytes(t));
    *table = t;
    return 0;
}

void table_ref(struct table *t) {
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}

void table_close(struct table *t) {
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1) return;
    cache_uncharge(t->cache, table_memory_bytes(t));
    table_free(t);
}

bool table_is_shared(const struct table *t) {
    return atomic_load_explicit(&t->refs, memory_order_acquire) > 1;
}

void table_list_add(struct table_list *l, struct table *t) {
    t->next = l->first;
    l->first = t;
}

void table_list_close(struct table_list *l) {
    while (l->first) {
        struct table *t = l->first;
        l->first = t->next;
        table_close(t);
    }
}

void table_set_base(struct table *t, uint64_t base_seq) {
    t->base_seq = base_seq;
    range_set_raise(t->ranges, base_seq);
}

/* ---- asking ------------------------------------------------------------------ */

const struct table_properties *table_properties(const struct table *t) {
    return &t->properties;
}

const struct range_set *table_ranges(const struct table *t) {
    return t->ranges;
}

void table_will_get(const struct table *t, uint64_t hash) {
    filter_prefetch(t->filter, hash);
}

/* Most keys of a run of questions are in the table, or most are not: what the filter says is
 * guessed to be what it said the last time. While its memory comes a search begins. */
static bool guess(const struct table *t) {
    return atomic_load_explicit(&t->had_last, memory_order_relaxed);
}

static bool ask_filter(struct table *t, uint64_t hash, bool guessed) {
    bool maybe = filter_may_contain(t->filter, hash);
    if (maybe != guessed) atomic_store_explicit(&t->had_last, maybe, memory_order_relaxed);
    return maybe;
}

static size_t find_block(const struct table *t, slice key) {
    size_t i = table_index_find(&t->index, key);
    if (i < t->index.count) table_block_prefetch(t, i, CACHE_END_LINES);
    return i;
}

static int search(const struct table *t, const struct table_block *b, const struct table_hold *hold,
                  slice key, uint64_t max_seq, struct table_value *v, bool *past_end,
                  struct kevo_err *err) {
    struct block_tags tags;
    if (b->pin && table_block_tags(b->pin, true, &tags)) {
        unsigned aim = hold->aimed ? hold->aim : block_tags_aim(b->bytes, &tags, key, false);
        if (block_tags_get(b->bytes, &tags, aim, key, max_seq, &v->type, &v->seq, &v->value))
            return 0;
    }
    return block_get(b->bytes, key, max_seq, &v->type, &v->seq, &v->value, past_end, t->path,
                     b->offset, err);
}

bool table_may_have(struct table *t, uint64_t hash, uint64_t max_seq) {
    return max_seq >= t->base_seq && ask_filter(t, hash, guess(t));
}

size_t table_will_find(const struct table *t, slice key) {
    return table_index_aim(&t->index, key);
}

size_t table_find(const struct table *t, slice key, size_t aim) {
    size_t i = table_index_find_aimed(&t->index, key, aim);
    if (i == t->index.count) return i;
    table_block_prefetch(t, i, CACHE_ENTRY_LINES);
    table_block_aim(t, i, 1);
    return i;
}

static const struct table_hold not_asked = {.asked = false};

static inline int get_from(struct table *t, size_t i, const struct table_hold *hold, slice key,
                           uint64_t max_seq, struct table_value *v, struct kevo_err *err) {
    bool past_end = true;
    *v = (struct table_value){0};
    for (; i < t->index.count; i++, hold = &not_asked) {
        struct table_block b;
        int rc = hold->asked ? table_block_get_held(t, i, hold->block, &b, err)
                             : table_block_get(t, i, NULL, &b, err);
        if (rc) return rc;
        rc = search(t, &b, hold, key, max_seq - t->base_seq, v, &past_end, err);
        if (rc == 0) {
            v->seq += t->base_seq;
            v->block = b.pin;
            return 0;
        }
        table_block_release(t, &b);
        if (rc < 0) return rc;
        /* Only the versions of the separator's own key go on in the next block. */
        if (!past_end || !table_index_is_key(&t->index, i, key)) break;
    }
    return KEVO_NOTFOUND;
}

int table_get(struct table *t, slice key, uint64_t hash, uint64_t max_seq, struct table_value *v,
              bool *filtered, struct kevo_err *err) {
    bool guessed = guess(t);
    size_t i = guessed ? find_block(t, key) : 0;
    bool maybe = max_seq >= t->base_seq && ask_filter(t, hash, guessed);
    *v = (struct table_value){0};
    if (filtered) *filtered = !maybe;
    if (!maybe) return KEVO_NOTFOUND;
    if (!guessed) i = find_block(t, key);
    return get_from(t, i, &not_asked, key, max_seq, v, err);
}

void table_hold(struct table *t, size_t i, slice key, struct table_hold *hold) {
    struct block_tags tags;
    if (i == t->index.count) return;
    struct cache_block *b = table_block_hold(t, i);
    hold->block = b;
    hold->asked = true;
    if (!b || !table_block_tags(b, false, &tags)) return;
    hold->aim = block_tags_aim(slice_of(b->data, b->len), &tags, key, true);
    hold->aimed = true;
}

void table_will_read(const struct table *t, size_t i, const struct table_hold *hold) {
    if (hold->asked && !hold->block && table_index_kind(&t->index, i) == BLOCK_LZ4)
        table_block_fetch(t, i);
}

int table_get_at(struct table *t, size_t i, const struct table_hold *hold, slice key,
                 uint64_t max_seq, struct table_value *v, struct kevo_err *err) {
    return get_from(t, i, hold, key, max_seq, v, err);
}

void table_position(struct table *t, slice key, uint64_t *file_bytes, uint64_t *entries) {
    size_t i = table_index_find(&t->index, key);
    *file_bytes = *entries = 0;
    if (i == 0) return;
    double at = (double)table_index_offset(&t->index, i);
    double end = (double)table_index_offset(&t->index, t->index.count);
    /* The handles of a damaged index may be anything. */
    *file_bytes = at < end ? (uint64_t)((double)t->size_bytes * (at / end)) : t->size_bytes;
    *entries = (uint64_t)((double)t->properties.entry_count * (double)i / t->index.count);
}
