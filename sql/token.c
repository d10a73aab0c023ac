#include "sql/token.h"

#include "engine/base/alloc.h"

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
           c == '$' || (unsigned char)c >= 0x80;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* Past white space and comments; NULL at a comment that does not end. */
static const char *skip_blank(const char *p) {
    for (;;) {
        if (is_space(*p)) {
            p++;
        } else if (p[0] == '-' && p[1] == '-') {
            while (*p && *p != '\n')
                p++;
        } else if (p[0] == '/' && p[1] == '*') {
            const char *end = strstr(p + 2, "*/");
            if (!end) return NULL;
            p = end + 2;
        } else {
            return p;
        }
    }
}

/* Behind the closing quote, two of which stand for one; NULL if there is none. */
static const char *skip_quoted(const char *p, char close) {
    for (p++; *p; p++) {
        if (*p != close) continue;
        if (close == ']' || p[1] != close) return p + 1;
        p++;
    }
    return NULL;
}

static struct token quoted(const char **p, enum token_kind kind, char close) {
    const char *start = *p, *end = skip_quoted(start, close);
    if (!end) {
        *p = start + strlen(start);
        return (struct token){TOKEN_OPEN, start, strlen(start)};
    }
    *p = end;
    return (struct token){kind, start, (size_t)(end - start)};
}

struct token token_next(const char **p) {
    const char *start = skip_blank(*p);
    if (!start) {
        start = *p;
        *p += strlen(start);
        return (struct token){TOKEN_OPEN, start, strlen(start)};
    }
    *p = start;
    switch (*start) {
    case '\0': return (struct token){TOKEN_END, start, 0};
    case '\'': return quoted(p, TOKEN_STRING, '\'');
    case '"': return quoted(p, TOKEN_QUOTED, '"');
    case '`': return quoted(p, TOKEN_QUOTED, '`');
    case '[': return quoted(p, TOKEN_QUOTED, ']');
    default: break;
    }
    const char *end = start + 1;
    if (!is_word(*start)) {
        *p = end;
        return (struct token){TOKEN_MARK, start, 1};
    }
    while (is_word(*end))
        end++;
    *p = end;
    return (struct token){is_digit(*start) ? TOKEN_NUMBER : TOKEN_WORD, start,
                          (size_t)(end - start)};
}

bool token_is(struct token t, const char *word) {
    if (t.kind != TOKEN_WORD || strlen(word) != t.len) return false;
    for (size_t i = 0; i < t.len; i++)
        if (lower(t.start[i]) != lower(word[i])) return false;
    return true;
}

bool token_is_mark(struct token t, char c) {
    return t.kind == TOKEN_MARK && *t.start == c;
}

bool token_is_name(struct token t) {
    return t.kind == TOKEN_WORD || t.kind == TOKEN_QUOTED || t.kind == TOKEN_STRING;
}

char *token_text(struct token t) {
    char *text = mem_alloc(t.len + 1);
    if (!text) return NULL;
    size_t n = 0;
    if (t.kind == TOKEN_QUOTED || t.kind == TOKEN_STRING) {
        char close = *t.start == '[' ? ']' : *t.start;
        for (size_t i = 1; i + 1 < t.len; i++) {
            text[n++] = t.start[i];
            if (t.start[i] == close) i++; /* the first of two */
        }
    } else {
        memcpy(text, t.start, t.len);
        n = t.len;
    }
    text[n] = '\0';
    return text;
}

bool names_equal(const char *a, const char *b) {
    while (*a && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return *a == *b;
}
