/* A recursive reader of regular expressions; its depth is bounded. */
#include "constrain/regex.h"

#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "constrain/reading.h"

enum { MOST_DEPTH = 200, MOST_REPEATS = 65535, MOST_TEXT = 1 << 20 };

typedef struct reader {
    dlx_arena *arena;
    const char *text;
    size_t n, at;
    size_t from; /* where the character, escape or group begins that is read */
    bool ecma;
    int depth;
    dlx_error *err;
} reader;

static dlx_status out_of_memory(const reader *r)
{
    return dlx_fail(r->err, DLX_E_NOMEM, "out of memory for a regular expression of %zu bytes", r->n);
}

#define BAD(r, ...) bad((r), (r)->from, __VA_ARGS__)

/* A refusal that says where: in characters, from 1. */
static dlx_status bad(const reader *r, size_t at, const char *what)
{
    size_t column = dlx_column(r->text, at < r->n ? at : r->n, NULL);
    return dlx_fail(r->err, DLX_E_INVALID, "regular expression, character %zu: %s", column, what);
}

static bool looking_at(const reader *r, const char *s)
{
    size_t n = strlen(s);
    return r->n - r->at >= n && !memcmp(r->text + r->at, s, n);
}

static bool take(reader *r, const char *s)
{
    if (!looking_at(r, s)) return false;
    r->at += strlen(s);
    return true;
}

static uint32_t next_char(reader *r)
{
    return dlx_next_char(r->text, &r->at);
}

static bool is_digit(const reader *r, size_t at)
{
    return at < r->n && r->text[at] >= '0' && r->text[at] <= '9';
}

static bool is_letter(uint32_t c)
{
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}

/* ---- escapes ----------------------------------------------------------------------------------------------------- */

static bool hex(reader *r, int least, int most, uint32_t *value)
{
    return dlx_next_hex(r->text, r->n, &r->at, least, most, value);
}

/* Behind \u: four digits (two such for a character beyond U+FFFF), or some in braces. */
static dlx_status read_unicode(reader *r, uint32_t *c)
{
    bool fine;
    if (take(r, "{")) {
        fine = hex(r, 1, 6, c) && take(r, "}");
    } else {
        fine = hex(r, 4, 4, c);
        size_t behind = r->at;
        uint32_t low;
        if (fine && *c >= 0xD800 && *c < 0xDC00 && take(r, "\\u") && hex(r, 4, 4, &low) && low >= 0xDC00 &&
            low < 0xE000)
            *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
        else
            r->at = behind;
    }
    return fine ? DLX_OK : BAD(r, "\\u takes four hexadecimal digits, or some in braces");
}

/* The character that an escape stands for: `e` came behind the backslash. */
static dlx_status read_escaped_char(reader *r, uint32_t e, uint32_t *c)
{
    static const char letters[] = "tnrfv", meant[] = "\t\n\r\f\v";
    const char *found = e && e < 0x80 ? strchr(letters, (int)e) : NULL;
    *c = e;
    if (found) {
        *c = (uint8_t)meant[found - letters];
        return DLX_OK;
    }
    if (e == 'x') return hex(r, 2, 2, c) ? DLX_OK : BAD(r, "\\x takes two hexadecimal digits");
    if (e == 'U') return hex(r, 8, 8, c) ? DLX_OK : BAD(r, "\\U takes eight hexadecimal digits");
    if (e == 'u') return read_unicode(r, c);
    if (e == '0' && !is_digit(r, r->at)) {
        *c = 0;
        return DLX_OK;
    }
    if (e == 'c' && r->at < r->n && is_letter((uint8_t)r->text[r->at])) {
        *c = (uint8_t)r->text[r->at++] & 31;
        return DLX_OK;
    }
    if (e == '0') return BAD(r, "octal numbers are not supported; write \\xHH");
    if (e >= '1' && e <= '9') return BAD(r, "back references are not regular and not supported");
    if (e == 'k') return BAD(r, "back references (\\k) are not regular and not supported");
    if (e == 'b' || e == 'B') return BAD(r, "word boundaries (\\b, \\B) are not supported");
    if (e == 'p' || e == 'P') return BAD(r, "Unicode properties (\\p) are not supported; write ranges in brackets");
    if (is_letter(e)) return BAD(r, "this escape is not known; only letters that mean something may be escaped");
    return DLX_OK;
}

/* Adds the class \d, \w, \s or its inverse; false when `e` is none of them. */
static bool add_class(const reader *r, uint32_t e, dlx_ranges *out, bool *memory)
{
    static const dlx_code_range digits[] = {{'0', '9'}}, word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                                spaces[] = {{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                                            {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                            {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    uint32_t lower = e | 32;
    const dlx_code_range *all = lower == 'd' ? digits : lower == 'w' ? word : spaces;
    size_t n = lower == 'd' ? 1 : lower == 'w' ? 4 : r->ecma ? DLX_COUNT(spaces) : 2;
    if (lower != 'd' && lower != 'w' && lower != 's') return false;
    if (e != lower) {
        const dlx_expr *others = dlx_expr_set_but(r->arena, all, n);
        all = others ? others->ranges : NULL;
        n = others ? others->n : 0;
    }
    *memory = all && dlx_grow(&out->items, &out->capacity, out->n + n, sizeof *out->items) == 0;
    if (!*memory) return true;
    memcpy(out->items + out->n, all, n * sizeof *all);
    out->n += n;
    return true;
}

static dlx_status read_escape(reader *r, const dlx_expr **out)
{
    dlx_ranges set = {0};
    bool memory;
    uint32_t c;
    if (r->at == r->n) return BAD(r, "a backslash ends it; write \\\\ for a backslash");
    uint32_t e = next_char(r);
    if (add_class(r, e, &set, &memory)) {
        *out = memory ? dlx_expr_set(r->arena, set.items, set.n) : NULL;
        free(set.items);
        return DLX_OK;
    }
    if (e == 'A' || e == 'Z' || e == 'z') {
        *out = e == 'A' ? dlx_expr_begin(r->arena) : dlx_expr_end(r->arena);
        return DLX_OK;
    }
    DLX_TRY(read_escaped_char(r, e, &c));
    if (c > DLX_MAX_CODE_POINT || (c >= 0xD800 && c < 0xE000))
        return BAD(r, "no character has this number (a surrogate, or beyond U+10FFFF)");
    *out = dlx_expr_char(r->arena, c);
    return DLX_OK;
}

/* ---- classes ----------------------------------------------------------------------------------------------------- */

/* One character of the class that begins at `open`; *is_class when it was a whole class, which is in `set` then. */
static dlx_status read_member(reader *r, size_t open, dlx_ranges *set, uint32_t *c, bool *is_class)
{
    bool memory = true;
    *is_class = false;
    r->from = r->at;
    *c = next_char(r);
    if (*c != '\\') return DLX_OK;
    if (r->at == r->n) return bad(r, open, "a class is not closed; ] is missing");
    uint32_t e = next_char(r);
    *is_class = add_class(r, e, set, &memory);
    if (!memory) return out_of_memory(r);
    if (*is_class) return DLX_OK;
    if (e == 'b') {
        *c = '\b';
        return DLX_OK;
    }
    return read_escaped_char(r, e, c);
}

static dlx_status read_members(reader *r, size_t open, dlx_ranges *set)
{
    while (r->at < r->n && r->text[r->at] != ']') {
        uint32_t first, last;
        bool is_class;
        DLX_TRY(read_member(r, open, set, &first, &is_class));
        size_t begin = r->from;
        last = first;
        if (looking_at(r, "-") && r->at + 1 < r->n && r->text[r->at + 1] != ']') {
            r->at++;
            bool second_is_class;
            DLX_TRY(read_member(r, open, set, &last, &second_is_class));
            if (is_class || second_is_class || last < first)
                return bad(r, begin, "a range goes from a character to one that is not lower; write \\- for a hyphen");
        }
        if (is_class) continue;
        if (last > DLX_MAX_CODE_POINT) return BAD(r, "no character has this number (beyond U+10FFFF)");
        if (!dlx_ranges_add(set, first, last)) return out_of_memory(r);
    }
    return take(r, "]") ? DLX_OK : bad(r, open, "a class is not closed; ] is missing");
}

static dlx_status read_class(reader *r, const dlx_expr **out)
{
    dlx_ranges set = {0};
    bool inverted = take(r, "^");
    if (looking_at(r, "]"))
        return BAD(r, "a class is empty; write \\] for a bracket in it, [\\s\\S] for any character");
    dlx_status status = read_members(r, r->from, &set);
    if (status == DLX_OK)
        *out = inverted ? dlx_expr_set_but(r->arena, set.items, set.n) : dlx_expr_set(r->arena, set.items, set.n);
    free(set.items);
    return status;
}

/* ---- groups and repetitions -------------------------------------------------------------------------------------- */

static dlx_status read_alternatives(reader *r, const dlx_expr **out);

/* What follows "(?", the group's own kind. */
static dlx_status read_group_kind(reader *r)
{
    static const struct {
        const char *begin, *refusal;
    } rows[] = {
        {"=", "look-ahead is not supported"},
        {"!", "look-ahead is not supported"},
        {"<=", "look-behind is not supported"},
        {"<!", "look-behind is not supported"},
        {">", "atomic groups are not supported"},
        {"P=", "back references (?P=...) are not regular and not supported"},
        {"P>", "recursion is not regular and not supported"},
        {"(", "conditions (?(...)...) are not supported"},
        {"#", "comments are not supported"},
    };
    if (take(r, ":")) return DLX_OK;
    for (size_t i = 0; i < DLX_COUNT(rows); i++)
        if (looking_at(r, rows[i].begin)) return BAD(r, rows[i].refusal);
    if (!take(r, "P<") && !take(r, "<"))
        return BAD(r, "flags in the expression are not supported; write what they mean ([aA] for a)");
    const char *end = memchr(r->text + r->at, '>', r->n - r->at);
    if (!end || end == r->text + r->at) return BAD(r, "the name of a group is not closed by >");
    r->at = (size_t)(end - r->text) + 1;
    return DLX_OK;
}

static dlx_status read_group(reader *r, const dlx_expr **out)
{
    size_t open = r->at - 1;
    if (take(r, "?")) DLX_TRY(read_group_kind(r));
    if (++r->depth > MOST_DEPTH) return BAD(r, "groups are nested more than 200 deep");
    DLX_TRY(read_alternatives(r, out));
    r->depth--;
    return take(r, ")") ? DLX_OK : bad(r, open, "a group is not closed; ) is missing");
}

static bool read_number(reader *r, int32_t *value)
{
    if (!is_digit(r, r->at)) return false;
    for (*value = 0; is_digit(r, r->at); r->at++)
        if (*value <= MOST_REPEATS) *value = *value * 10 + (r->text[r->at] - '0');
    return true;
}

/* A quantifier at the reader's place; *least -1 when there is none. A brace that opens none is a character. */
static dlx_status read_quantifier(reader *r, int32_t *least, int32_t *most)
{
    size_t begin = r->at;
    *least = -1;
    if (take(r, "*")) return *least = 0, *most = DLX_UNBOUNDED, DLX_OK;
    if (take(r, "+")) return *least = 1, *most = DLX_UNBOUNDED, DLX_OK;
    if (take(r, "?")) return *least = 0, *most = 1, DLX_OK;
    if (!take(r, "{")) return DLX_OK;
    int32_t low = 0, high = DLX_UNBOUNDED;
    bool has_low = read_number(r, &low), comma = take(r, ",");
    if (comma) (void)read_number(r, &high); /* without one there is no bound */
    /* Python alone takes bounds without a lower one. */
    if (!take(r, "}") || !(has_low || (comma && !r->ecma))) {
        r->at = begin;
        return DLX_OK;
    }
    if (!comma) high = low;
    if (low > MOST_REPEATS || high > MOST_REPEATS) return bad(r, begin, "at most 65535 repetitions are supported");
    if (high != DLX_UNBOUNDED && high < low) return bad(r, begin, "the bounds of a repetition are the wrong way round");
    *least = low;
    *most = high;
    return DLX_OK;
}

static dlx_status read_atom(reader *r, const dlx_expr **out)
{
    static const dlx_code_range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    r->from = r->at;
    uint32_t c = next_char(r);
    switch (c) {
    case '(': return read_group(r, out);
    case '[': return read_class(r, out);
    case '\\': return read_escape(r, out);
    case '.': *out = dlx_expr_set_but(r->arena, line_ends, r->ecma ? 3 : 1); return DLX_OK;
    case '^': *out = dlx_expr_begin(r->arena); return DLX_OK;
    case '$': *out = dlx_expr_end(r->arena); return DLX_OK;
    case '*':
    case '+':
    case '?': return BAD(r, "there is nothing to repeat; write a backslash in front of the character itself");
    default: *out = dlx_expr_char(r->arena, c); return DLX_OK;
    }
}

/* An atom and its quantifier. Lazy ones match the same texts. */
static dlx_status read_piece(reader *r, const dlx_expr **out)
{
    int32_t least, most, again;
    bool group = looking_at(r, "(");
    DLX_TRY(read_atom(r, out));
    if (!*out) return out_of_memory(r);
    size_t first = r->at;
    DLX_TRY(read_quantifier(r, &least, &most));
    if (least < 0) return DLX_OK;
    bool anchor = !group && ((*out)->kind == DLX_EXPR_BEGIN || (*out)->kind == DLX_EXPR_END);
    if (anchor) return bad(r, first, "an anchor cannot be repeated");
    if (looking_at(r, "+")) return bad(r, first, "possessive repetitions are not supported");
    (void)take(r, "?");
    size_t second = r->at;
    DLX_TRY(read_quantifier(r, &again, &most));
    if (again >= 0) return bad(r, second, "a repetition of a repetition needs a group around the inner one");
    *out = dlx_expr_repeat(r->arena, *out, least, most);
    return DLX_OK;
}

static dlx_status read_sequence(reader *r, const dlx_expr **out)
{
    dlx_exprs pieces = {0};
    dlx_status status = DLX_OK;
    while (status == DLX_OK && r->at < r->n && r->text[r->at] != '|' && r->text[r->at] != ')') {
        const dlx_expr *piece = NULL;
        status = read_piece(r, &piece);
        if (status == DLX_OK && !dlx_exprs_add(&pieces, piece)) status = out_of_memory(r);
    }
    if (status == DLX_OK) *out = dlx_expr_cat(r->arena, pieces.items, pieces.n);
    free(pieces.items);
    return status;
}

static dlx_status read_alternatives(reader *r, const dlx_expr **out)
{
    dlx_exprs all = {0};
    dlx_status status;
    do {
        const dlx_expr *one = NULL;
        status = read_sequence(r, &one);
        if (status == DLX_OK && !dlx_exprs_add(&all, one)) status = out_of_memory(r);
    } while (status == DLX_OK && take(r, "|"));
    if (status == DLX_OK) *out = dlx_expr_alt(r->arena, all.items, all.n);
    free(all.items);
    return status;
}

dlx_status dlx_regex_parse(const dlx_expr **out, dlx_arena *arena, const char *text, size_t n, bool ecma,
                           dlx_error *err)
{
    reader r = {.arena = arena, .text = text, .n = n, .ecma = ecma, .err = err};
    *out = NULL;
    if (n > MOST_TEXT)
        return dlx_fail(err, DLX_E_LIMIT, "a regular expression of %zu bytes; at most %d are supported", n, MOST_TEXT);
    DLX_TRY(read_alternatives(&r, out));
    if (r.at < n) return bad(&r, r.at, "a ) closes no group; write \\) for the character");
    return *out ? DLX_OK : out_of_memory(&r);
}
