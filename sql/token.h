/* token.h - SQL tokens of one argument of CREATE VIRTUAL TABLE. */
#ifndef KEVO_SQL_TOKEN_H
#define KEVO_SQL_TOKEN_H

#include "engine/base/slice.h"

enum token_kind {
    TOKEN_END,
    TOKEN_WORD,   /* an identifier or keyword without quotes */
    TOKEN_QUOTED, /* "..", [..] or `..` */
    TOKEN_STRING, /* '..' */
    TOKEN_NUMBER, /* begins with a digit; letters may follow, as in 64MB */
    TOKEN_MARK,   /* any other single character */
    TOKEN_OPEN    /* a quote or comment that does not end */
};

struct token {
    enum token_kind kind;
    const char *start; /* as written, quotes included */
    size_t len;
};

/* The token at *p, which is moved behind it; white space and comments are passed
 * over. */
struct token token_next(const char **p);

/* Whether the token is that keyword, in any case and without quotes. */
bool token_is(struct token t, const char *word);
bool token_is_mark(struct token t, char c);

/* WORD, QUOTED or STRING: what SQL takes for a name. */
bool token_is_name(struct token t);

/* The token without its quotes, NUL-terminated, for mem_free(); NULL when there is
 * no memory. */
char *token_text(struct token t);

/* Equal but for the case of ASCII letters, as SQL compares names. */
bool names_equal(const char *a, const char *b);

#endif
