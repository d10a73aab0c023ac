/* tree.h - a directory in memory with tables in it, for tests of the tree. */
#ifndef KEVO_TESTS_TREE_H
#define KEVO_TESTS_TREE_H

#include "engine/tree/manifest.h"
#include "tests/lib/iter_suite.h"

#define TREE_DIR "/tree"

struct tree {
    struct env *memory; /* the files */
    struct env *fault;  /* a fault_env over them, the home's */
    struct cache *cache;
    struct table_home home;
    uint64_t next_number;
};

void tree_init(struct tree *t);
void tree_release(struct tree *t);

/* Small blocks, so that a few entries make many. */
struct table_writer_options tree_table_options(void);

/* A table with these entries, in internal order; one reference. */
struct table_file *tree_write(struct tree *t, const struct iter_suite_entry *sorted, size_t count);

/* Number of files in the directory. */
size_t tree_file_count(const struct tree *t);

/* `v` with an edit applied; gives the reference on `v` back. */
struct version *tree_apply(struct version *v, const struct version_edit *e);

/* `v` with one more file, whose reference is taken over. */
struct version *tree_add(struct version *v, unsigned level, struct table_file *f);

/* Both steps of a lookup (version.h) in one. Adds to *filter_checks and *filter_rejects. */
int tree_get(const struct version *version, const struct table_home *home, slice key,
             uint64_t max_seq, uint64_t cover, struct table_value *v, uint64_t *filter_checks,
             uint64_t *filter_rejects, struct kevo_err *err);

#endif
