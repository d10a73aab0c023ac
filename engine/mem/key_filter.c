#include "engine/mem/key_filter.h"

#include "engine/base/alloc.h"

bool key_filter_init(struct key_filter *f, uint64_t bytes) {
    uint64_t lines = 1;
    while (lines * KEY_FILTER_LINE_BYTES < bytes)
        lines *= 2;
    f->words = mem_zalloc(lines * KEY_FILTER_LINE_BYTES);
    f->lines = lines;
    return f->words != NULL;
}

void key_filter_release(struct key_filter *f) {
    mem_free(f->words);
    *f = (struct key_filter){.words = NULL};
}
