#include "engine/store/options.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/coding.h"
#include "engine/base/error.h"
#include "engine/store/store.h"

#define KB ((uint64_t)1 << 10)
#define MB ((uint64_t)1 << 20)
#define GB ((uint64_t)1 << 30)

enum option_kind {
    OPTION_SIZE,  /* bytes, also written with a unit */
    OPTION_COUNT, /* a number */
    OPTION_WORD   /* an index into `words` */
};

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset, field_bytes; /* in struct kevo_options; an unsigned number of 4 or 8 */
    uint64_t standard, least, most;
    const char *const *words;
    const char *effect;
};

static const char *const sync_words[] = {
    [KEVO_SYNC_OFF] = "off", [KEVO_SYNC_NORMAL] = "normal", [KEVO_SYNC_FULL] = "full"};
static const char *const compression_words[] = {
    [KEVO_COMPRESSION_NONE] = "none", [KEVO_COMPRESSION_LZ4] = "lz4"};

#define FIELD(f)     offsetof(struct kevo_options, f), sizeof(((struct kevo_options *)NULL)->f)
#define WORDS(words) 0, sizeof words / sizeof *words - 1, words

static const struct option options[] = {
    {"sync", OPTION_WORD, FIELD(sync), KEVO_SYNC_FULL, WORDS(sync_words),
     "when commits are synced, by a store that decides them itself; with a database file only "
     "`off` matters: large batches are not synced in the log, so that a power loss may leave the "
     "two apart for good"},
    {"wal_sync_size", OPTION_SIZE, FIELD(wal_sync_bytes), MB, 1, 1024 * GB, NULL,
     "with `sync = normal`, the log is synced after so many bytes"},
    {"memtable_size", OPTION_SIZE, FIELD(memtable_bytes), 32 * MB, 4 * KB, 4 * GB, NULL,
     "rows are sorted in memory up to this size, then written to a table file"},
    {"memtable_age_ms", OPTION_COUNT, FIELD(memtable_age_ms), 3600000, 0, 2592000000, NULL,
     "and are written to one at the next commit when the first of them is so many milliseconds "
     "old, so that the log does not keep old rows for ever; 0: at any age"},
    {"memtable_count", OPTION_COUNT, FIELD(memtable_count), 4, 2, MAX_MEMTABLES, NULL,
     "so many of them at most, then writers wait"},
    {"cache_size", OPTION_SIZE, FIELD(cache_bytes), 64 * MB, 0, 1024 * GB, NULL,
     "decompressed blocks, and what is kept in memory of open table files, about 9 bytes a block; "
     "their indexes and filters are read in place, in the system's cache of files. Of the memory "
     "that two memtables may take, what they do not take is lent to it: as much again at most, and "
     "nothing when they may take less than an eighth of it"},
    {"max_open_tables", OPTION_COUNT, FIELD(max_open_tables), 1024, 1, 65536, NULL,
     "so many table files are open at once; others are opened again when they are read"},
    {"block_size", OPTION_SIZE, FIELD(block_bytes), 4 * KB, 64, MB, NULL,
     "what is read and decompressed at once"},
    {"compression", OPTION_WORD, FIELD(compression), KEVO_COMPRESSION_LZ4, WORDS(compression_words),
     "of table files below `uncompressed_levels`; keys up to 255 bytes long that are of at most "
     "sixteen different bytes, as digits and hexadecimal text are, take half of what they do not "
     "share with their neighbours"},
    {"uncompressed_levels", OPTION_COUNT, FIELD(uncompressed_levels), 1, 0, KEVO_MAX_LEVELS, NULL,
     "so many levels, from level 0 on, are not compressed"},
    {"filter_bits", OPTION_COUNT, FIELD(filter_bits_per_key), 12, 0, 32, NULL,
     "Bloom filter bits a key; 0: no filters"},
    {"table_size", OPTION_SIZE, FIELD(table_bytes), 64 * MB, 4 * KB, 4 * GB, NULL,
     "table files are cut at this size"},
    {"l0_trigger", OPTION_COUNT, FIELD(l0_trigger), 4, 1, MAX_L0_STOP, NULL,
     "so many table files in level 0, where memtables arrive, start a compaction"},
    {"l0_slow", OPTION_COUNT, FIELD(l0_slow), 20, 1, MAX_L0_STOP, NULL,
     "so many slow writers down; not below `l0_trigger`"},
    {"l0_stop", OPTION_COUNT, FIELD(l0_stop), 32, 1, MAX_L0_STOP, NULL,
     "so many make writers wait; not below `l0_slow`"},
    {"level1_size", OPTION_SIZE, FIELD(level1_bytes), 128 * MB, 4 * KB, 1024 * GB, NULL,
     "level 1 is compacted into the next one when it has grown beyond this size"},
    {"level_factor", OPTION_COUNT, FIELD(level_factor), 10, 2, 100, NULL,
     "each next level may be so many times larger"},
    {"txn_memory_size", OPTION_SIZE, FIELD(txn_memory_bytes), 64 * MB, 4 * KB, 4 * GB, NULL,
     "a transaction that has written more than this goes on in files, which become table files at "
     "its commit"},
    {"retain_ms", OPTION_COUNT, FIELD(retain_ms), 1000, 0, 86400000, NULL,
     "what was replaced stays readable for so many milliseconds, for readers that have just begun"},
    {"settle_ms", OPTION_COUNT, FIELD(settle_ms), 200, 0, 86400000, NULL,
     "when nothing was committed for so many milliseconds the store settles: rows go from memory "
     "and log to table files, and those are merged where that is worth it; 0: never"},
};

enum { OPTION_COUNT_OF = sizeof options / sizeof *options };

static uint64_t get_field(const struct kevo_options *o, const struct option *option) {
    const char *field = (const char *)o + option->offset;
    uint32_t narrow;
    uint64_t wide;
    if (option->field_bytes == sizeof wide) {
        memcpy(&wide, field, sizeof wide);
        return wide;
    }
    memcpy(&narrow, field, sizeof narrow);
    return narrow;
}

static void set_field(struct kevo_options *o, const struct option *option, uint64_t value) {
    char *field = (char *)o + option->offset;
    uint32_t narrow = (uint32_t)value;
    assert(option->field_bytes == sizeof narrow || option->field_bytes == sizeof value);
    if (option->field_bytes == sizeof value)
        memcpy(field, &value, sizeof value);
    else
        memcpy(field, &narrow, sizeof narrow);
}

void kevo_options_default(struct kevo_options *o) {
    *o = (struct kevo_options){
        .create_if_missing = true,
        .authority = KEVO_AUTHORITY_SELF,
        .background = true,
        .file_mode = 0644,
    };
    for (size_t i = 0; i < OPTION_COUNT_OF; i++)
        set_field(o, &options[i], options[i].standard);
}

void options_copy(struct kevo_options *o, const struct kevo_options *from) {
    for (size_t i = 0; i < OPTION_COUNT_OF; i++)
        set_field(o, &options[i], get_field(from, &options[i]));
}

const char *options_difference(const struct kevo_options *a, const struct kevo_options *b) {
    for (size_t i = 0; i < OPTION_COUNT_OF; i++) {
        if (get_field(a, &options[i]) != get_field(b, &options[i])) return options[i].name;
    }
    return NULL;
}

/* ---- as text ------------------------------------------------------------------------ */

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* Equal but for the case of ASCII letters. */
static bool same_word(const char *a, const char *b) {
    while (*a && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return lower(*a) == lower(*b);
}

static const char *skip_spaces(const char *p) {
    while (*p == ' ' || (*p >= '\t' && *p <= '\r'))
        p++;
    return p;
}

/* What a unit stands for, 0: it is none. No unit stands for 1. */
static uint64_t unit_bytes(const char *text) {
    static const char *const units[] = {"", "KB", "MB", "GB"};
    char word[3] = "";
    size_t n = strcspn(text, " \t\n\v\f\r");
    if (n >= sizeof word || *skip_spaces(text + n)) return 0;
    memcpy(word, text, n);
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++) {
        if (same_word(word, units[i])) return (uint64_t)1 << 10 * i;
    }
    return 0;
}

/* Digits, and for a size perhaps a unit. */
static bool parse_number(const char *text, bool size, uint64_t *number) {
    const char *p = skip_spaces(text), *digits = p;
    uint64_t n = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
            return false;
    }
    if (p == digits) return false;
    uint64_t unit = unit_bytes(skip_spaces(p));
    return (unit == 1 || (unit && size)) && !__builtin_mul_overflow(n, unit, number);
}

static bool parse_value(const struct option *option, const char *text, uint64_t *value) {
    if (option->kind == OPTION_WORD) {
        for (*value = 0; *value <= option->most; ++*value) {
            if (same_word(text, option->words[*value])) return true;
        }
        return false;
    }
    return parse_number(text, option->kind == OPTION_SIZE, value) && *value >= option->least &&
           *value <= option->most;
}

static void print_size(char text[KEVO_OPTION_TEXT], uint64_t bytes) {
    static const char *const units[] = {" bytes", " KB", " MB", " GB"};
    unsigned unit = 0;
    for (; unit < 3 && bytes && bytes % KB == 0; unit++)
        bytes /= KB;
    snprintf(text, KEVO_OPTION_TEXT, "%" PRIu64 "%s", bytes, unit || bytes > 1 ? units[unit] : "");
}

/* What parse_value() takes for the same value. */
static void print_value(char text[KEVO_OPTION_TEXT], const struct option *option, uint64_t value) {
    if (option->kind == OPTION_WORD && value <= option->most)
        snprintf(text, KEVO_OPTION_TEXT, "%s", option->words[value]);
    else if (option->kind == OPTION_SIZE && value && value % KB == 0)
        print_size(text, value);
    else
        snprintf(text, KEVO_OPTION_TEXT, "%" PRIu64, value);
}

/* "4 KB to 4 GB"; the words there are with `between` them and `last` before the last one. */
static void print_range(char text[KEVO_OPTION_TEXT], const struct option *option,
                        const char *between, const char *last) {
    if (option->kind != OPTION_WORD) {
        char least[KEVO_OPTION_TEXT], most[KEVO_OPTION_TEXT];
        bool size = option->kind == OPTION_SIZE;
        if (size)
            print_size(least, option->least);
        else
            print_value(least, option, option->least);
        print_value(most, option, option->most);
        snprintf(text, KEVO_OPTION_TEXT, "%.28s to %.28s", least, most);
        return;
    }
    size_t len = 0;
    for (uint64_t i = 0; i <= option->most && len < KEVO_OPTION_TEXT; i++) {
        const char *joint = i == 0 ? "" : i == option->most ? last : between;
        len +=
            (size_t)snprintf(text + len, KEVO_OPTION_TEXT - len, "%s%s", joint, option->words[i]);
    }
}

static const struct option *find_option(const char *name) {
    for (size_t i = 0; i < OPTION_COUNT_OF; i++) {
        if (same_word(name, options[i].name)) return &options[i];
    }
    return NULL;
}

static int unknown_option(const char *name, struct kevo_err *err) {
    char list[400];
    size_t len = 0;
    for (size_t i = 0; i < OPTION_COUNT_OF && len < sizeof list; i++) {
        const char *joint = i == 0 ? "" : i + 1 == OPTION_COUNT_OF ? " and " : ", ";
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", joint, options[i].name);
    }
    return kevo_fail(err, KEVO_INVALID, "unknown option %.60s: there are %s", name, list);
}

int kevo_options_set(struct kevo_options *o, const char *name, const char *value,
                     struct kevo_err *err) {
    const struct option *option = find_option(name);
    char range[KEVO_OPTION_TEXT];
    uint64_t number;
    if (!option) return unknown_option(name, err);
    if (parse_value(option, value, &number)) {
        set_field(o, option, number);
        return 0;
    }
    print_range(range, option, ", ", " or ");
    if (option->kind == OPTION_WORD)
        return kevo_fail(err, KEVO_INVALID, "%s = %.100s: give %s", option->name, value, range);
    if (option->kind == OPTION_COUNT)
        return kevo_fail(err, KEVO_INVALID, "%s = %.100s: give a number from %s", option->name,
                         value, range);
    return kevo_fail(err, KEVO_INVALID,
                     "%s = %.100s: give a size from %s, as a number of bytes, KB, MB or GB, such "
                     "as '16 MB'",
                     option->name, value, range);
}

int kevo_options_get(const struct kevo_options *o, const char *name, char text[KEVO_OPTION_TEXT],
                     struct kevo_err *err) {
    const struct option *option = find_option(name);
    text[0] = 0;
    if (!option) return unknown_option(name, err);
    print_value(text, option, get_field(o, option));
    return 0;
}

bool kevo_option_at(unsigned index, struct kevo_option *info) {
    if (index >= OPTION_COUNT_OF) return false;
    const struct option *option = &options[index];
    info->name = option->name;
    info->effect = option->effect;
    print_value(info->standard, option, option->standard);
    print_range(info->range, option, ", ", ", ");
    return true;
}

/* ---- checks --------------------------------------------------------------------------- */

static int out_of_range(const struct option *option, uint64_t value, struct kevo_err *err) {
    char text[KEVO_OPTION_TEXT], range[KEVO_OPTION_TEXT];
    print_value(text, option, value);
    print_range(range, option, ", ", " or ");
    return kevo_fail(err, KEVO_INVALID, "option %s is %s; it must be %s%s", option->name, text,
                     option->kind == OPTION_WORD ? "" : "from ", range);
}

static int check_order(const char *low_name, unsigned low, const char *high_name, unsigned high,
                       struct kevo_err *err) {
    if (low <= high) return 0;
    return kevo_fail(err, KEVO_INVALID, "option %s is %u; it must not be below %s, which is %u",
                     high_name, high, low_name, low);
}

int options_check(const struct kevo_options *o, struct kevo_err *err) {
    if (o->authority != KEVO_AUTHORITY_SELF && o->authority != KEVO_AUTHORITY_EXTERNAL)
        return kevo_fail(err, KEVO_INVALID, "option authority is %d; it must be %d or %d",
                         o->authority, KEVO_AUTHORITY_SELF, KEVO_AUTHORITY_EXTERNAL);
    if (o->file_mode > 07777)
        return kevo_fail(err, KEVO_INVALID, "option file_mode is %#o; it must be from 0 to 07777",
                         o->file_mode);
    for (size_t i = 0; i < OPTION_COUNT_OF; i++) {
        uint64_t value = get_field(o, &options[i]);
        if (value < options[i].least || value > options[i].most)
            return out_of_range(&options[i], value, err);
    }
    int rc = check_order("l0_trigger", o->l0_trigger, "l0_slow", o->l0_slow, err);
    return rc ? rc : check_order("l0_slow", o->l0_slow, "l0_stop", o->l0_stop, err);
}

/* ---- kept ------------------------------------------------------------------------------- */

static bool put_pair(struct buf *kept, slice name, slice value) {
    return buf_put_slice(kept, name) && buf_put_slice(kept, value);
}

/* The next pair, its strings NUL-terminated; false behind the last one. The manifest has seen
 * to it that pairs are whole; one too long is none that this version writes. */
static bool next_pair(struct reader *r, char name[KEVO_OPTION_TEXT], char value[KEVO_OPTION_TEXT],
                      slice *name_bytes, slice *value_bytes) {
    if (reader_left(r) == 0) return false;
    *name_bytes = read_slice(r);
    *value_bytes = read_slice(r);
    if (r->bad) return false;
    snprintf(name, KEVO_OPTION_TEXT, "%.*s", (int)name_bytes->len, (const char *)name_bytes->data);
    snprintf(value, KEVO_OPTION_TEXT, "%.*s", (int)value_bytes->len,
             (const char *)value_bytes->data);
    return true;
}

int options_encode(const struct kevo_options *o, slice before, struct buf *kept,
                   struct kevo_err *err) {
    char name[KEVO_OPTION_TEXT], value[KEVO_OPTION_TEXT];
    slice name_bytes, value_bytes;
    struct reader r = reader_of(before);
    bool ok = true;
    for (size_t i = 0; i < OPTION_COUNT_OF && ok; i++) {
        uint64_t number = get_field(o, &options[i]);
        print_value(value, &options[i], number);
        if (number != options[i].standard)
            ok = put_pair(kept, slice_of_str(options[i].name), slice_of_str(value));
    }
    while (ok && next_pair(&r, name, value, &name_bytes, &value_bytes)) {
        if (!find_option(name)) ok = put_pair(kept, name_bytes, value_bytes);
    }
    return ok ? 0 : kevo_nomem(err);
}

void options_decode(slice kept, struct kevo_options *o) {
    char name[KEVO_OPTION_TEXT], value[KEVO_OPTION_TEXT];
    slice name_bytes, value_bytes;
    struct reader r = reader_of(kept);
    struct kevo_options found;
    kevo_options_default(&found);
    while (next_pair(&r, name, value, &name_bytes, &value_bytes)) {
        const struct option *option = find_option(name);
        uint64_t number;
        if (option && parse_value(option, value, &number)) set_field(&found, option, number);
    }
    /* Each value is in its range; together they may not be, if a later version has written them. */
    if (found.l0_slow < found.l0_trigger) found.l0_slow = found.l0_trigger;
    if (found.l0_stop < found.l0_slow) found.l0_stop = found.l0_slow;
    options_copy(o, &found);
}
