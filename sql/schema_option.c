#include "sql/schema_option.h"

#include "engine/base/error.h"
#include "sql/token.h"

enum { KB = 1024, MB = 1024 * KB };
static const uint64_t GB = 1024 * (uint64_t)MB;

void schema_options_clear(struct schema_options *o) {
    *o = (struct schema_options){.sync = -1, .compression = -1, .filter_bits = -1};
}

static const char *skip_spaces(const char *p) {
    while (*p == ' ' || (*p >= '\t' && *p <= '\r'))
        p++;
    return p;
}

/* Digits, then with `sizes` perhaps KB, MB or GB. */
static bool parse_number(const char *text, bool sizes, uint64_t *number) {
    const char *p = skip_spaces(text), *digits = p;
    uint64_t n = 0, unit = 1;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
            return false;
    if (p == digits) return false;
    p = skip_spaces(p);
    if (*p && sizes) {
        struct token t = token_next(&p);
        if (token_is(t, "KB"))
            unit = KB;
        else if (token_is(t, "MB"))
            unit = MB;
        else if (token_is(t, "GB"))
            unit = GB;
        else
            return false;
        p = skip_spaces(p);
    }
    return *p == '\0' && !__builtin_mul_overflow(n, unit, number);
}

/* A size as its option would be written. */
static unsigned in_unit(uint64_t bytes, const char **unit) {
    if (bytes % GB == 0) return *unit = " GB", (unsigned)(bytes / GB);
    if (bytes % MB == 0) return *unit = " MB", (unsigned)(bytes / MB);
    if (bytes % KB == 0) return *unit = " KB", (unsigned)(bytes / KB);
    return *unit = " bytes", (unsigned)bytes;
}

static int set_size(const char *name, const char *value, uint64_t least, uint64_t most,
                    uint64_t *bytes, struct kevo_err *err) {
    uint64_t n = 0;
    if (parse_number(value, true, &n) && n >= least && n <= most) {
        *bytes = n;
        return 0;
    }
    const char *low_unit, *high_unit;
    unsigned low = in_unit(least, &low_unit), high = in_unit(most, &high_unit);
    return kevo_fail(err, KEVO_INVALID,
                     "%s = %s: give a size from %u%s to %u%s, as a number of bytes, KB, MB or GB, "
                     "such as '16 MB'",
                     name, value, low, low_unit, high, high_unit);
}

static int set_count(const char *name, const char *value, unsigned least, unsigned most,
                     unsigned *count, struct kevo_err *err) {
    uint64_t n = 0;
    if (!parse_number(value, false, &n) || n < least || n > most)
        return kevo_fail(err, KEVO_INVALID, "%s = %s: give a number from %u to %u", name, value,
                         least, most);
    *count = (unsigned)n;
    return 0;
}

static int set_word(const char *name, const char *value, const char *const *words,
                    const char *choice, int *word, struct kevo_err *err) {
    for (int i = 0; words[i]; i++) {
        if (names_equal(value, words[i])) {
            *word = i;
            return 0;
        }
    }
    return kevo_fail(err, KEVO_INVALID, "%s = %s: give %s", name, value, choice);
}

static int given_twice(const char *name, struct kevo_err *err) {
    return kevo_fail(err, KEVO_INVALID, "option %s is given twice", name);
}

static int set_sync(struct schema_options *o, const char *value, struct kevo_err *err) {
    static const char *const words[] = {
        [KEVO_SYNC_OFF] = "off", [KEVO_SYNC_NORMAL] = "normal", [KEVO_SYNC_FULL] = "full", NULL};
    if (o->sync >= 0) return given_twice("sync", err);
    return set_word("sync", value, words, "full, normal or off", &o->sync, err);
}

static int set_compression(struct schema_options *o, const char *value, struct kevo_err *err) {
    static const char *const words[] = {
        [KEVO_COMPRESSION_NONE] = "none", [KEVO_COMPRESSION_LZ4] = "lz4", NULL};
    if (o->compression >= 0) return given_twice("compression", err);
    return set_word("compression", value, words, "none or lz4", &o->compression, err);
}

static int set_memtable_size(struct schema_options *o, const char *value, struct kevo_err *err) {
    if (o->memtable_bytes) return given_twice("memtable_size", err);
    return set_size("memtable_size", value, 4 * KB, 2 * GB, &o->memtable_bytes, err);
}

static int set_cache_size(struct schema_options *o, const char *value, struct kevo_err *err) {
    if (o->cache_bytes) return given_twice("cache_size", err);
    return set_size("cache_size", value, 64 * KB, 1024 * GB, &o->cache_bytes, err);
}

static int set_table_size(struct schema_options *o, const char *value, struct kevo_err *err) {
    if (o->table_bytes) return given_twice("table_size", err);
    return set_size("table_size", value, 16 * KB, 2 * GB, &o->table_bytes, err);
}

static int set_block_size(struct schema_options *o, const char *value, struct kevo_err *err) {
    uint64_t bytes = 0;
    if (o->block_bytes) return given_twice("block_size", err);
    int rc = set_size("block_size", value, 512, 256 * KB, &bytes, err);
    o->block_bytes = (uint32_t)bytes;
    return rc;
}

static int set_memtable_count(struct schema_options *o, const char *value, struct kevo_err *err) {
    if (o->memtable_count) return given_twice("memtable_count", err);
    return set_count("memtable_count", value, 2, 16, &o->memtable_count, err);
}

static int set_filter_bits(struct schema_options *o, const char *value, struct kevo_err *err) {
    unsigned bits = 0;
    if (o->filter_bits >= 0) return given_twice("filter_bits", err);
    int rc = set_count("filter_bits", value, 0, 32, &bits, err);
    if (rc == 0) o->filter_bits = (int)bits;
    return rc;
}

int schema_option_set(struct schema_options *o, const char *name, const char *value,
                      struct kevo_err *err) {
    static const struct {
        const char *name;
        int (*set)(struct schema_options *o, const char *value, struct kevo_err *err);
    } known[] = {
        {"sync", set_sync},
        {"compression", set_compression},
        {"memtable_size", set_memtable_size},
        {"memtable_count", set_memtable_count},
        {"cache_size", set_cache_size},
        {"block_size", set_block_size},
        {"table_size", set_table_size},
        {"filter_bits", set_filter_bits},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (names_equal(name, known[i].name)) return known[i].set(o, value, err);
    return kevo_fail(err, KEVO_INVALID,
                     "unknown option %s: there are sync, memtable_size, memtable_count, "
                     "cache_size, block_size, table_size, compression and filter_bits",
                     name);
}

void schema_apply_options(const struct schema *s, struct kevo_options *o) {
    const struct schema_options *t = &s->options;
    if (t->memtable_bytes) o->memtable_bytes = t->memtable_bytes;
    if (t->memtable_count) o->memtable_count = t->memtable_count;
    if (t->cache_bytes) o->cache_bytes = t->cache_bytes;
    if (t->block_bytes) o->block_bytes = t->block_bytes;
    if (t->table_bytes) o->table_bytes = t->table_bytes;
    if (t->compression >= 0) o->compression = t->compression;
    if (t->filter_bits >= 0) o->filter_bits_per_key = (uint32_t)t->filter_bits;
}

const char *schema_given_option(const struct schema *s) {
    const struct schema_options *o = &s->options;
    if (o->sync >= 0) return "sync";
    if (o->compression >= 0) return "compression";
    if (o->filter_bits >= 0) return "filter_bits";
    if (o->memtable_count) return "memtable_count";
    if (o->memtable_bytes) return "memtable_size";
    if (o->cache_bytes) return "cache_size";
    if (o->table_bytes) return "table_size";
    return o->block_bytes ? "block_size" : NULL;
}
