#include "tests/lib/tree.h"

#include <stdlib.h>

#include "engine/base/checksum.h"
#include "tests/lib/array_iter.h"
#include "tests/lib/fault_env.h"

void tree_init(struct tree *t) {
    *t =
        (struct tree){.memory = env_memory_new(), .cache = cache_new(1 << 20, 0), .next_number = 1};
    if (!t->memory || !t->cache) abort();
    t->fault = fault_env_new(t->memory);
    t->home = (struct table_home){.env = t->fault, .dir = TREE_DIR, .cache = t->cache};
    must(t->memory->make_dir(t->memory, TREE_DIR, 0700, &test_err));
}

void tree_release(struct tree *t) {
    cache_free(t->cache);
    fault_env_free(t->fault);
    env_memory_free(t->memory);
}

struct table_writer_options tree_table_options(void) {
    return (struct table_writer_options){.block_bytes = 256,
                                         .restart_interval = 4,
                                         .compression = KEVO_COMPRESSION_LZ4,
                                         .filter_bits_per_key = 10,
                                         .file_mode = 0600};
}

struct table_file *tree_write(struct tree *t, const struct iter_suite_entry *sorted, size_t count) {
    struct table_writer_options options = tree_table_options();
    char name[TABLE_NAME_BYTES], path[ENV_PATH_MAX];
    struct table_summary sum = {0};
    struct table_writer *w;
    uint64_t number = t->next_number++;
    table_file_name(name, number);
    must(env_join(path, TREE_DIR, name, &test_err));
    must(table_writer_open(t->home.env, path, number, &options, &w, &test_err));
    for (size_t i = 0; i < count; i++)
        must(table_writer_add(w, sorted[i].key, sorted[i].seq, sorted[i].type, sorted[i].value,
                              &test_err));
    must(table_writer_finish(w, &sum, &test_err));
    struct table_file *f =
        table_file_new(&t->home, number, sum.file_bytes, sum.checksum, &sum.properties,
                       buf_slice(&sum.min_key), buf_slice(&sum.max_key));
    if (!f) abort();
    buf_release(&sum.min_key);
    buf_release(&sum.max_key);
    return f;
}

static int count_name(void *arg, const char *name) {
    (void)name;
    ++*(size_t *)arg;
    return 0;
}

size_t tree_file_count(const struct tree *t) {
    size_t count = 0;
    must(t->memory->list(t->memory, TREE_DIR, count_name, &count, &test_err));
    return count;
}

struct version *tree_apply(struct version *v, const struct version_edit *e) {
    struct version *next;
    must(version_apply(v, e, &next, &test_err));
    version_unref(v);
    return next;
}

struct version *tree_add(struct version *v, unsigned level, struct table_file *f) {
    struct version_edit e;
    edit_init(&e);
    must(edit_add_file(&e, level, f, &test_err));
    table_file_unref(f);
    v = tree_apply(v, &e);
    edit_release(&e);
    return v;
}

int tree_get(const struct version *version, const struct table_home *home, slice key,
             uint64_t max_seq, uint64_t cover, struct table_value *v, uint64_t *filter_checks,
             uint64_t *filter_rejects, struct kevo_err *err) {
    struct version_lookup q;
    uint64_t hash = key_hash(key);
    version_lookup_init(&q, version, home, key, hash, max_seq);
    /* With and without the steps in between. */
    if (hash & 1) version_lookup_aim(&q, cover);
    if (hash & 1) version_lookup_find(&q);
    if ((hash & 3) == 3) version_lookup_hold(&q, NULL);
    if ((hash & 3) == 3) version_lookup_will_read(&q);
    if ((hash & 15) == 15) version_lookup_drop(&q);
    int rc = version_lookup_get(&q, cover, v, err);
    *filter_checks += q.filter_checks;
    *filter_rejects += q.filter_rejects;
    return rc;
}
