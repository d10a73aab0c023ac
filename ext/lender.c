#include "ext/lender.h"

#include <stdbool.h>
#include <string.h>

#include "ext/sqlite_api.h"

struct loan {
    struct lender *lender;
    char bytes[LENDER_BYTES];
};

struct lender {
    unsigned idle; /* a bit for each loan that is here */
    bool ended;    /* the last loan to come back frees it */
    struct loan loans[LENDER_BUFFERS];
};

enum { ALL_IDLE = (1 << LENDER_BUFFERS) - 1 };

static struct lender *lender_new(void) {
    struct lender *l = sqlite3_malloc64(sizeof *l);
    if (!l) return NULL;
    l->idle = ALL_IDLE;
    l->ended = false;
    for (int i = 0; i < LENDER_BUFFERS; i++)
        l->loans[i].lender = l;
    return l;
}

char *lender_take(struct lender **lender, size_t bytes) {
    if (bytes > LENDER_BYTES) return NULL;
    if (!*lender) *lender = lender_new();
    struct lender *l = *lender;
    if (!l || !l->idle) return NULL;
    int i = __builtin_ctz(l->idle);
    l->idle &= l->idle - 1;
    return l->loans[i].bytes;
}

void lender_return(void *buffer) {
    struct loan *loan = (struct loan *)((char *)buffer - offsetof(struct loan, bytes));
    struct lender *l = loan->lender;
    l->idle |= 1U << (loan - l->loans);
    if (l->ended && l->idle == ALL_IDLE) sqlite3_free(l);
}

void lender_free(struct lender *l) {
    if (!l) return;
    l->ended = true;
    if (l->idle == ALL_IDLE) sqlite3_free(l);
}
