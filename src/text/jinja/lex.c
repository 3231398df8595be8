#include "text/jinja/lex.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/buffer.h"
#include "text/jinja/unicode.h"
#include "text/jinja/value.h"
#include "text/utf8.h"

enum { MAX_BRACKETS = DLX_JINJA_MAX_DEPTH };

typedef struct lexer {
    dlx_jinja_tokens *out;
    dlx_jinja_tree *tree;
    const char *p; /* line breaks are "\n" */
    size_t n, at;
    uint32_t line;
    bool line_starting; /* the last match ended with a line break */
    char brackets[MAX_BRACKETS];
    int n_brackets;
    dlx_buffer scratch;
    dlx_error *err;
} lexer;

#define SYNTAX(lx, ...) dlx_fail((lx)->err, DLX_E_FORMAT, "chat template, line " __VA_ARGS__)

static dlx_status no_memory(lexer *lx)
{
    return dlx_fail(lx->err, DLX_E_NOMEM, "out of memory compiling a chat template of %zu bytes", lx->n);
}

static dlx_status add(lexer *lx, dlx_jinja_token token)
{
    dlx_jinja_tokens *o = lx->out;
    if (dlx_grow(&o->list, &o->capacity, o->n + 1, sizeof *o->list) != 0) return no_memory(lx);
    token.line = lx->line;
    o->list[o->n++] = token;
    return DLX_OK;
}

static dlx_status add_text(lexer *lx, dlx_jinja_token_type type, const char *p, size_t n)
{
    uint32_t number;
    if (type == DLX_JINJA_T_DATA && n == 0) return DLX_OK;
    if (!dlx_jinja_has_room(lx->tree, n))
        return dlx_fail(lx->err, DLX_E_LIMIT, "chat template: has more than %d bytes of text", DLX_JINJA_MAX_TEXT);
    if (!dlx_jinja_intern(lx->tree, p, n, &number)) return no_memory(lx);
    return add(lx, (dlx_jinja_token){.type = type, .string = number});
}

static bool follows_at(const lexer *lx, size_t at, const char *text)
{
    size_t n = strlen(text);
    return at <= lx->n && lx->n - at >= n && memcmp(lx->p + at, text, n) == 0;
}

static bool follows(const lexer *lx, const char *text)
{
    return follows_at(lx, lx->at, text);
}

/* Where the white space that begins at `at` ends. */
static size_t skip_space(const lexer *lx, size_t at)
{
    while (at < lx->n) {
        uint32_t c;
        size_t step = dlx_utf8_next(lx->p + at, lx->n - at, &c);
        if (!dlx_jinja_is_space(c)) break;
        at += step;
    }
    return at;
}

/* Where the white space that ends at `end` begins, not before `begin`. */
static size_t space_before(const lexer *lx, size_t begin, size_t end)
{
    while (end > begin) {
        uint32_t c;
        size_t at = begin + dlx_utf8_before(lx->p + begin, end - begin, &c);
        if (!dlx_jinja_is_space(c)) break;
        end = at;
    }
    return end;
}

/* Moves to `at`, counting lines. */
static void move_to(lexer *lx, size_t at)
{
    for (; lx->at < at; lx->at++) lx->line += lx->p[lx->at] == '\n';
    lx->line_starting = at > 0 && lx->p[at - 1] == '\n';
}

/* Text [begin, end) in front of a tag with this sign, as it is printed: '-' takes white space, and without '+' a tag
 * that is no {{ takes the blanks before it on its line. */
static size_t strip_before_tag(const lexer *lx, size_t begin, size_t end, char sign, bool is_print)
{
    if (sign == '-') return space_before(lx, begin, end);
    if (sign == '+' || is_print) return end;
    size_t line = end;
    while (line > begin && lx->p[line - 1] != '\n') line--;
    if (line == begin && !lx->line_starting) return end;
    return space_before(lx, line, end) == line ? line : end;
}

/* The end of a block tag or comment at `at`, closed by `close`: "+%}", "-%}" with white space behind, "%}" with one
 * line break. 0: it is none. */
static size_t block_end(const lexer *lx, size_t at, const char *close)
{
    if (follows_at(lx, at, "+") && follows_at(lx, at + 1, close)) return at + 3;
    if (follows_at(lx, at, "-") && follows_at(lx, at + 1, close)) return skip_space(lx, at + 3);
    if (follows_at(lx, at, close)) return at + 2 + (follows_at(lx, at + 2, "\n") ? 1 : 0);
    return 0;
}

/* ---- inside tags --------------------------------------------------------------------------------------------------
 */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c) || (unsigned char)c >= 0x80;
}

/* Digits with single underscores between them; where they end. `at` itself when there are none. */
static size_t skip_digits(const lexer *lx, size_t at, int base)
{
    size_t end = at;
    while (end < lx->n && dlx_jinja_digit(lx->p[end]) < base) {
        end++;
        if (end + 1 < lx->n && lx->p[end] == '_' && dlx_jinja_digit(lx->p[end + 1]) < base) end++;
    }
    return end;
}

static dlx_status add_integer(lexer *lx, size_t end, int base)
{
    uint64_t v = 0;
    for (size_t i = lx->at; i < end; i++) {
        if (lx->p[i] == '_') continue;
        if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)dlx_jinja_digit(lx->p[i]), &v) || v > INT64_MAX)
            return SYNTAX(lx, "%u: integer '%.*s' does not fit into 64 bits", lx->line,
                          (int)(end - lx->at < 60 ? end - lx->at : 60), lx->p + lx->at);
    }
    DLX_TRY(add(lx, (dlx_jinja_token){.type = DLX_JINJA_T_INTEGER, .number = v}));
    lx->at = end;
    return DLX_OK;
}

static dlx_status add_float(lexer *lx, size_t end)
{
    lx->scratch.n = 0;
    for (size_t i = lx->at; i < end; i++)
        if (lx->p[i] != '_') dlx_buffer_add(&lx->scratch, lx->p + i, 1);
    dlx_buffer_add(&lx->scratch, "", 1);
    if (lx->scratch.failed) return no_memory(lx);
    double v = dlx_jinja_parse_float(lx->scratch.data, lx->scratch.data + lx->scratch.n - 1);
    dlx_jinja_token token = {.type = DLX_JINJA_T_FLOAT};
    memcpy(&token.number, &v, sizeof v);
    DLX_TRY(add(lx, token));
    lx->at = end;
    return DLX_OK;
}

static dlx_status lex_number(lexer *lx)
{
    size_t whole = skip_digits(lx, lx->at, 10), fraction = whole, exponent;
    bool behind_dot = lx->at > 0 && lx->p[lx->at - 1] == '.';
    if (whole + 1 < lx->n && lx->p[whole] == '.' && is_digit(lx->p[whole + 1]))
        fraction = skip_digits(lx, whole + 1, 10);
    exponent = fraction;
    if (fraction < lx->n && (lx->p[fraction] == 'e' || lx->p[fraction] == 'E')) {
        size_t at = fraction + 1;
        if (at < lx->n && (lx->p[at] == '+' || lx->p[at] == '-')) at++;
        if (skip_digits(lx, at, 10) > at) exponent = skip_digits(lx, at, 10);
    }
    if (exponent > whole && !behind_dot) return add_float(lx, exponent);
    static const char letters[] = "bBoOxX";
    static const int bases[] = {2, 2, 8, 8, 16, 16};
    const char *letter =
        lx->p[lx->at] == '0' && lx->at + 1 < lx->n && lx->p[lx->at + 1] ? strchr(letters, lx->p[lx->at + 1]) : NULL;
    if (letter && skip_digits(lx, lx->at + 2, bases[letter - letters]) > lx->at + 2) {
        lx->at += 2;
        return add_integer(lx, skip_digits(lx, lx->at, bases[letter - letters]), bases[letter - letters]);
    }
    if (lx->p[lx->at] == '0') { /* zeros alone; other digits behind them are a number of their own */
        whole = lx->at + 1;
        while (whole < lx->n && lx->p[whole] == '0') whole++;
    }
    return add_integer(lx, whole, 10);
}

/* Digits of \x, \u and \U, or up to three octal ones; returns how many were read. */
static size_t escape_digits(const char *p, const char *end, size_t most, int base, uint32_t *c)
{
    size_t i = 0;
    for (*c = 0; i < most && p + i < end && dlx_jinja_digit(p[i]) < base; i++)
        *c = *c * (uint32_t)base + (uint32_t)dlx_jinja_digit(p[i]);
    return i;
}

/* Adds what the escape at p (behind its backslash) stands for; returns its end, or NULL when it is malformed. */
static const char *unescape(lexer *lx, const char *p, const char *end)
{
    static const char letters[] = "\\'\"abfnrtv", meanings[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = strchr(letters, *p);
    uint32_t c;
    char utf8[4];
    if (*p && known) {
        dlx_buffer_add(&lx->scratch, &meanings[known - letters], 1);
        return p + 1;
    }
    if (*p == '\n') return p + 1;
    if (*p >= '0' && *p <= '7') {
        p += escape_digits(p, end, 3, 8, &c);
    } else if (*p == 'x' || *p == 'u' || *p == 'U') {
        size_t need = *p == 'x' ? 2 : *p == 'u' ? 4 : 8;
        if (escape_digits(p + 1, end, need, 16, &c) != need || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
            return NULL;
        p += 1 + need;
    } else if (*p == 'N' || (unsigned char)*p >= 0x80) {
        return NULL;
    } else { /* Python keeps the backslash of what is no escape */
        dlx_buffer_add(&lx->scratch, p - 1, 2);
        return p + 1;
    }
    dlx_buffer_add(&lx->scratch, utf8, dlx_utf8_put(utf8, c));
    return p;
}

static dlx_status lex_string(lexer *lx)
{
    char quote = lx->p[lx->at];
    size_t end = lx->at + 1;
    while (end < lx->n && lx->p[end] != quote) end += lx->p[end] == '\\' ? 2 : 1;
    if (end >= lx->n) return SYNTAX(lx, "%u: a string does not end", lx->line);
    lx->scratch.n = 0;
    for (const char *p = lx->p + lx->at + 1, *last = lx->p + end; p < last;) {
        const char *behind = p + 1;
        if (*p == '\\')
            behind = unescape(lx, p + 1, last);
        else
            dlx_buffer_add(&lx->scratch, p, 1);
        if (!behind) return SYNTAX(lx, "%u: a string has an escape that is malformed or not supported", lx->line);
        p = behind;
    }
    if (lx->scratch.failed) return no_memory(lx);
    DLX_TRY(add_text(lx, DLX_JINJA_T_STRING, lx->scratch.data ? lx->scratch.data : "", lx->scratch.n));
    move_to(lx, end + 1);
    return DLX_OK;
}

static dlx_status lex_operator(lexer *lx)
{
    static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                            "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (!follows(lx, operators[i])) continue;
        dlx_jinja_token token = {.type = DLX_JINJA_T_OPERATOR};
        char c = operators[i][0];
        memcpy(token.op, operators[i], strlen(operators[i]));
        if (c == '(' || c == '[' || c == '{') {
            if (lx->n_brackets == MAX_BRACKETS)
                return SYNTAX(lx, "%u: more than %d nested brackets", lx->line, MAX_BRACKETS);
            lx->brackets[lx->n_brackets++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (c == ')' || c == ']' || c == '}') {
            if (lx->n_brackets == 0 || lx->brackets[--lx->n_brackets] != c)
                return SYNTAX(lx, "%u: unexpected '%c'", lx->line, c);
        }
        lx->at += strlen(operators[i]);
        return add(lx, token);
    }
    uint32_t c;
    size_t length = dlx_utf8_next(lx->p + lx->at, lx->n - lx->at, &c);
    return SYNTAX(lx, "%u: unexpected character '%.*s'", lx->line, (int)length, lx->p + lx->at);
}

/* Tokens up to the end of a tag. */
static dlx_status lex_tag(lexer *lx, bool is_print)
{
    lx->n_brackets = 0;
    DLX_TRY(add(lx, (dlx_jinja_token){.type = is_print ? DLX_JINJA_T_PRINT_BEGIN : DLX_JINJA_T_BLOCK_BEGIN}));
    for (;;) {
        size_t end = 0;
        if (lx->n_brackets == 0 && !is_print) end = block_end(lx, lx->at, "%}");
        if (lx->n_brackets == 0 && is_print)
            end = follows(lx, "-}}") ? skip_space(lx, lx->at + 3) : follows(lx, "}}") ? lx->at + 2 : 0;
        if (end) {
            DLX_TRY(add(lx, (dlx_jinja_token){.type = is_print ? DLX_JINJA_T_PRINT_END : DLX_JINJA_T_BLOCK_END}));
            move_to(lx, end);
            return DLX_OK;
        }
        if (lx->at >= lx->n) return SYNTAX(lx, "%u: a tag does not end", lx->line);
        size_t space = skip_space(lx, lx->at);
        char c = lx->p[lx->at];
        if (space > lx->at) {
            move_to(lx, space);
        } else if (is_digit(c)) {
            DLX_TRY(lex_number(lx));
        } else if (is_name(c)) {
            size_t first = lx->at;
            while (lx->at < lx->n && is_name(lx->p[lx->at]) && skip_space(lx, lx->at) == lx->at) lx->at++;
            DLX_TRY(add_text(lx, DLX_JINJA_T_NAME, lx->p + first, lx->at - first));
        } else if (c == '\'' || c == '"') {
            DLX_TRY(lex_string(lx));
        } else {
            DLX_TRY(lex_operator(lx));
        }
    }
}

/* ---- between tags -------------------------------------------------------------------------------------------------
 */

/* Whether the tag that opens at `at` (behind "{%" and its sign) is {% raw %}; where its content begins. */
static bool opens_raw(const lexer *lx, size_t at, size_t *content)
{
    at = skip_space(lx, at);
    if (!follows_at(lx, at, "raw")) return false;
    at = skip_space(lx, at + 3);
    bool strips = follows_at(lx, at, "-%}");
    if (!strips && !follows_at(lx, at, "%}")) return false;
    *content = strips ? skip_space(lx, at + 3) : at + 2;
    return true;
}

/* The content of {% raw %}, which begins at lx->at. */
static dlx_status lex_raw(lexer *lx)
{
    for (size_t open = lx->at; open + 1 < lx->n; open++) {
        if (!follows_at(lx, open, "{%")) continue;
        char sign = open + 2 < lx->n ? lx->p[open + 2] : '\0';
        size_t at = skip_space(lx, open + 2 + (sign == '-' || sign == '+'));
        if (!follows_at(lx, at, "endraw")) continue;
        size_t end = block_end(lx, skip_space(lx, at + 6), "%}");
        if (!end) continue;
        size_t text_end = strip_before_tag(lx, lx->at, open, sign, false);
        DLX_TRY(add_text(lx, DLX_JINJA_T_DATA, lx->p + lx->at, text_end - lx->at));
        move_to(lx, end);
        return DLX_OK;
    }
    return SYNTAX(lx, "%u: {%% raw %%} does not end", lx->line);
}

static dlx_status skip_comment(lexer *lx, size_t at)
{
    for (; at < lx->n; at++) {
        size_t end = block_end(lx, at, "#}");
        if (!end) continue;
        move_to(lx, end);
        return DLX_OK;
    }
    return SYNTAX(lx, "%u: a comment does not end", lx->line);
}

static dlx_status lex_root(lexer *lx)
{
    while (lx->at < lx->n) {
        size_t open = lx->at, content = 0;
        while (open < lx->n &&
               !(lx->p[open] == '{' && open + 1 < lx->n && strchr("{%#", lx->p[open + 1]) && lx->p[open + 1]))
            open++;
        if (open >= lx->n) return add_text(lx, DLX_JINJA_T_DATA, lx->p + lx->at, lx->n - lx->at);
        char kind = lx->p[open + 1], sign = open + 2 < lx->n ? lx->p[open + 2] : '\0';
        size_t inside = open + 2 + (sign == '-' || sign == '+');
        size_t text_end = strip_before_tag(lx, lx->at, open, sign, kind == '{');
        DLX_TRY(add_text(lx, DLX_JINJA_T_DATA, lx->p + lx->at, text_end - lx->at));
        move_to(lx, inside);
        if (kind == '%' && opens_raw(lx, inside, &content)) {
            move_to(lx, content);
            DLX_TRY(lex_raw(lx));
        } else if (kind == '#') {
            DLX_TRY(skip_comment(lx, inside));
        } else {
            DLX_TRY(lex_tag(lx, kind == '{'));
        }
    }
    return DLX_OK;
}

/* The source with "\n" for every line break, and without one at its very end. */
static char *normalize(const char *source, size_t n, size_t *length)
{
    char *p = malloc(n + 1);
    size_t k = 0;
    if (!p) return NULL;
    for (size_t i = 0; i < n; i++) {
        p[k++] = source[i] == '\r' ? '\n' : source[i];
        if (source[i] == '\r' && i + 1 < n && source[i + 1] == '\n') i++;
    }
    if (k && p[k - 1] == '\n') k--;
    p[k] = '\0';
    *length = k;
    return p;
}

dlx_status dlx_jinja_lex(dlx_jinja_tokens *tokens, dlx_jinja_tree *tree, const char *source, size_t n, dlx_error *err)
{
    memset(tokens, 0, sizeof *tokens);
    if (n > DLX_JINJA_MAX_TEXT)
        return dlx_fail(err, DLX_E_LIMIT, "chat template: has %zu bytes; at most %d are taken", n, DLX_JINJA_MAX_TEXT);
    if (!dlx_utf8_valid(source, n)) return dlx_fail(err, DLX_E_FORMAT, "chat template: is not UTF-8");
    lexer lx = {.out = tokens, .tree = tree, .line = 1, .line_starting = true, .err = err};
    char *text = normalize(source, n, &lx.n);
    lx.p = text;
    dlx_status status = text ? lex_root(&lx) : no_memory(&lx);
    if (status == DLX_OK) status = add(&lx, (dlx_jinja_token){.type = DLX_JINJA_T_END});
    dlx_buffer_free(&lx.scratch);
    free(text);
    return status;
}
