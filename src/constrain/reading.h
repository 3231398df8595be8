/* What readers of expressions and grammars share: characters of UTF-8 text, and lists that grow. */
#ifndef DLX_CONSTRAIN_READING_H
#define DLX_CONSTRAIN_READING_H

#include "constrain/expr.h"

/* A list while it grows; its items are free()d by whoever made it. */
typedef struct dlx_exprs {
    const dlx_expr **items;
    size_t n, capacity;
} dlx_exprs;

typedef struct dlx_ranges {
    dlx_code_range *items;
    size_t n, capacity;
} dlx_ranges;

/* False: memory is out, here or where e was made. */
static inline bool dlx_exprs_add(dlx_exprs *l, const dlx_expr *e)
{
    if (!e || dlx_grow(&l->items, &l->capacity, l->n + 1, sizeof *l->items) != 0) return false;
    l->items[l->n++] = e;
    return true;
}

static inline bool dlx_ranges_add(dlx_ranges *l, uint32_t first, uint32_t last)
{
    if (dlx_grow(&l->items, &l->capacity, l->n + 1, sizeof *l->items) != 0) return false;
    l->items[l->n++] = (dlx_code_range){first, last};
    return true;
}

/* The character at *at, which moves on; the text is UTF-8 (checked before). */
static inline uint32_t dlx_next_char(const char *text, size_t *at)
{
    uint8_t b = (uint8_t)text[(*at)++];
    int more = b < 0xC0 ? 0 : b < 0xE0 ? 1 : b < 0xF0 ? 2 : 3;
    uint32_t c = more ? b & (0x3F >> more) : b;
    while (more-- > 0) c = c << 6 | ((uint8_t)text[(*at)++] & 0x3F);
    return c;
}

/* `least` to `most` hexadecimal digits at *at of text [n]. False: there are less. */
static inline bool dlx_next_hex(const char *text, size_t n, size_t *at, int least, int most, uint32_t *value)
{
    int digits = 0;
    *value = 0;
    for (; digits < most && *at < n; digits++, ++*at) {
        char c = text[*at];
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) break;
        *value = *value << 4 | (uint32_t)digit;
    }
    return digits >= least;
}

/* A place in text for a message: in characters, from 1, behind the last line feed where lines count. */
static inline size_t dlx_column(const char *text, size_t at, size_t *line)
{
    size_t column = 1;
    if (line) *line = 1;
    for (size_t i = 0; i < at; i++) {
        column += ((uint8_t)text[i] & 0xC0) != 0x80;
        if (!line || text[i] != '\n') continue;
        column = 1;
        ++*line;
    }
    return column;
}

#endif
