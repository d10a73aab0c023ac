#include "sql/schema_option.h"

#include "engine/base/error.h"
#include "sql/token.h"

void schema_options_clear(struct schema_options *o) {
    o->given = 0;
    kevo_options_default(&o->values);
}

int schema_option_set(struct schema_options *o, const char *name, const char *value,
                      struct kevo_err *err) {
    struct kevo_option option = {.name = ""};
    unsigned i = 0;
    while (kevo_option_at(i, &option) && !names_equal(name, option.name))
        i++;
    if (o->given >> i & 1)
        return kevo_fail(err, KEVO_INVALID, "option %s is given twice", option.name);
    int rc = kevo_options_set(&o->values, name, value, err);
    if (rc == 0) o->given |= (uint64_t)1 << i;
    return rc;
}

const char *schema_given_option(const struct schema *s) {
    struct kevo_option option;
    if (!s->options.given) return NULL;
    kevo_option_at((unsigned)__builtin_ctzll(s->options.given), &option);
    return option.name;
}
