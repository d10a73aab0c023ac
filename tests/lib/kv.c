#include "tests/lib/kv.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/array_iter.h"

struct kevo_options kv_options(struct env *env) {
    struct kevo_options o;
    kevo_options_default(&o);
    o.env = env;
    o.memtable_bytes = 256 << 10;
    o.cache_bytes = 256 << 10;
    o.block_bytes = 256;
    o.table_bytes = 16 << 10;
    o.level1_bytes = 64 << 10;
    o.retain_ms = 0;
    o.settle_ms = 0;
    o.background = false;
    return o;
}

kevo_store *kv_open(const struct kevo_options *o) {
    kevo_store *s;
    ck_ok(kevo_open(KV_DIR, o, &s, &test_err));
    return s;
}

void kv_put(kevo_store *s, const char *key, const char *value) {
    ck_ok(kevo_put(s, kv_slice(key), kv_slice(value), &test_err));
}

void kv_put_number(kevo_store *s, unsigned i, const char *value) {
    char key[16];
    snprintf(key, sizeof key, "%06u", i);
    kv_put(s, key, value);
}

void kv_delete(kevo_store *s, const char *key) {
    ck_ok(kevo_delete(s, kv_slice(key), &test_err));
}

void kv_txn_put(kevo_txn *t, const char *key, const char *value) {
    ck_ok(kevo_txn_put(t, kv_slice(key), kv_slice(value), &test_err));
}

void kv_txn_delete(kevo_txn *t, const char *key) {
    ck_ok(kevo_txn_delete(t, kv_slice(key), &test_err));
}

kevo_txn *kv_txn(kevo_store *s) {
    kevo_txn *t;
    ck_ok(kevo_txn_new(s, &t, &test_err));
    return t;
}

kevo_snapshot *kv_snapshot(kevo_store *s) {
    kevo_snapshot *snap;
    ck_ok(kevo_snapshot_new(s, &snap, &test_err));
    return snap;
}

kevo_iter *kv_iter(kevo_store *s, const struct kevo_read *read) {
    kevo_iter *it;
    ck_ok(kevo_iter_new(s, read, &it, &test_err));
    return it;
}

const char *kv_get(kevo_store *s, const struct kevo_read *read, const char *key) {
    static char texts[8][256];
    static unsigned turn;
    struct kevo_value v;
    int rc = kevo_get(s, read, kv_slice(key), &v, &test_err);
    if (rc == KEVO_NOTFOUND) return NULL;
    ck_ok(rc);
    char *text = texts[turn++ % 8];
    snprintf(text, sizeof texts[0], "%.*s", (int)v.slice.len, (const char *)v.slice.data);
    kevo_value_release(&v);
    return text;
}

const char *kv_entry(const kevo_iter *it) {
    static char texts[8][512];
    static unsigned turn;
    char *text = texts[turn++ % 8];
    if (!kevo_iter_valid(it)) return "-";
    struct kevo_slice k = kevo_iter_key(it), v = kevo_iter_value(it);
    snprintf(text, sizeof texts[0], "%.*s=%.*s", (int)k.len, (const char *)k.data, (int)v.len,
             (const char *)v.data);
    return text;
}

const char *kv_dump(kevo_store *s, const struct kevo_read *read) {
    static char *text;
    size_t size, count = 0;
    free(text);
    FILE *out = open_memstream(&text, &size);
    kevo_iter *it = kv_iter(s, read);
    ck_ok(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); count++) {
        fprintf(out, "%s%s", count ? " " : "", kv_entry(it));
        ck_ok(kevo_iter_next(it, &test_err));
    }
    fclose(out);
    char *end = text + strlen(text);
    ck_ok(kevo_iter_last(it, &test_err));
    for (; count > 0; count--) {
        const char *entry = kv_entry(it);
        end -= strlen(entry);
        ck_assert_msg(end >= text && memcmp(end, entry, strlen(entry)) == 0,
                      "backward, %s does not belong into %s", entry, text);
        if (count > 1) end--;
        ck_ok(kevo_iter_prev(it, &test_err));
    }
    ck_assert(!kevo_iter_valid(it));
    kevo_iter_free(it);
    return text;
}

unsigned kv_count(kevo_store *s, const struct kevo_read *read) {
    unsigned n = 0;
    kevo_iter *it = kv_iter(s, read);
    must(kevo_iter_first(it, &test_err));
    for (; kevo_iter_valid(it); n++)
        must(kevo_iter_next(it, &test_err));
    kevo_iter_free(it);
    return n;
}

struct kevo_stats kv_stats(kevo_store *s) {
    struct kevo_stats stats;
    kevo_get_stats(s, &stats);
    return stats;
}

unsigned kv_tables(kevo_store *s) {
    struct kevo_stats stats = kv_stats(s);
    unsigned count = 0;
    for (unsigned l = 0; l < KEVO_MAX_LEVELS; l++)
        count += stats.table_count[l];
    return count;
}

struct file_count {
    const char *suffix;
    unsigned count;
};

static int count_file(void *arg, const char *name) {
    struct file_count *c = arg;
    size_t n = strlen(name), k = strlen(c->suffix);
    c->count += n >= k && strcmp(name + n - k, c->suffix) == 0;
    return 0;
}

unsigned kv_files(struct env *env, const char *suffix) {
    struct file_count c = {suffix, 0};
    ck_ok(env->list(env, KV_DIR, count_file, &c, &test_err));
    return c.count;
}

static char *read_file(struct env *env, const char *path, size_t *size) {
    struct env_file *f;
    uint64_t size_bytes;
    ck_ok(env->open(env, path, ENV_READ, 0, &f, &test_err));
    ck_ok(env->size(env, f, &size_bytes, &test_err));
    char *bytes = malloc((size_t)size_bytes + 1);
    ck_assert_ptr_nonnull(bytes);
    ck_ok(env->read(env, f, 0, bytes, (size_t)size_bytes, size, &test_err));
    env->close(env, f);
    return bytes;
}

struct copy {
    struct env *from, *to;
};

static int copy_file(void *arg, const char *name) {
    struct copy *c = arg;
    struct env_file *f;
    char path[ENV_PATH_MAX];
    size_t size;
    ck_ok(env_join(path, KV_DIR, name, &test_err));
    char *bytes = read_file(c->from, path, &size);
    ck_ok(c->to->open(c->to, path, ENV_WRITE | ENV_CREATE, 0600, &f, &test_err));
    if (size) ck_ok(c->to->write(c->to, f, 0, bytes, size, &test_err));
    c->to->close(c->to, f);
    free(bytes);
    return 0;
}

struct env *kv_copy(struct env *env) {
    struct copy c = {env, env_memory_new()};
    ck_assert_ptr_nonnull(c.to);
    ck_ok(c.to->make_dir(c.to, KV_DIR, 0700, &test_err));
    ck_ok(env->list(env, KV_DIR, copy_file, &c, &test_err));
    return c.to;
}

struct print {
    struct env *env;
    FILE *out;
};

static int print_file(void *arg, const char *name) {
    struct print *p = arg;
    char path[ENV_PATH_MAX];
    size_t size;
    if (strcmp(name, "LOCK") == 0) return 0;
    ck_ok(env_join(path, KV_DIR, name, &test_err));
    char *bytes = read_file(p->env, path, &size);
    fprintf(p->out, "%s %zu ", name, size);
    fwrite(bytes, 1, size, p->out);
    free(bytes);
    return 0;
}

char *kv_contents(struct env *env, size_t *size) {
    char *text;
    struct print p = {env, open_memstream(&text, size)};
    ck_ok(env->list(env, KV_DIR, print_file, &p, &test_err));
    fclose(p.out);
    return text;
}
