/*
 * Spells an expression written for Oniguruma anew for PCRE2. A recursive descent over the grammar below; every
 * construct that is not in it is refused with its place.
 *
 *   alternatives  sequence ("|" sequence)*
 *   sequence      (atom quantifier?)*
 *   atom          "(?:" alternatives ")" | "(?i:" alternatives ")" | "(?=" alternatives ")" | "(?!" alternatives ")"
 *               | "(" alternatives ")" | "[" set "]" | "." | escape | character
 *   quantifier    ("?" | "*" | "+") ("?" | "+")? | "{" m ("," n?)? "}"
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "text/full/pattern.h"
#include "text/utf8.h"

/* Inside a set. */
#define SPACES "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define OTHERS                                                                                                         \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}!-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"       \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

/* What Unicode 15.0, 15.1 and 16.0 added, from DerivedGeneralCategory.txt. */
static const struct range {
    uint32_t first, last;
    char category[3];
} added[] = {
    {0x0897, 0x0897, "Mn"},   {0x0CF3, 0x0CF3, "Mc"},   {0x0ECE, 0x0ECE, "Mn"},   {0x1B4E, 0x1B4F, "Po"},
    {0x1B7F, 0x1B7F, "Po"},   {0x1C89, 0x1C89, "Lu"},   {0x1C8A, 0x1C8A, "Ll"},   {0x2427, 0x2429, "So"},
    {0x2FFC, 0x2FFF, "So"},   {0x31E4, 0x31E5, "So"},   {0x31EF, 0x31EF, "So"},   {0xA7CB, 0xA7CC, "Lu"},
    {0xA7CD, 0xA7CD, "Ll"},   {0xA7DA, 0xA7DA, "Lu"},   {0xA7DB, 0xA7DB, "Ll"},   {0xA7DC, 0xA7DC, "Lu"},
    {0x105C0, 0x105F3, "Lo"}, {0x10D40, 0x10D49, "Nd"}, {0x10D4A, 0x10D4D, "Lo"}, {0x10D4E, 0x10D4E, "Lm"},
    {0x10D4F, 0x10D4F, "Lo"}, {0x10D50, 0x10D65, "Lu"}, {0x10D69, 0x10D6D, "Mn"}, {0x10D6E, 0x10D6E, "Pd"},
    {0x10D6F, 0x10D6F, "Lm"}, {0x10D70, 0x10D85, "Ll"}, {0x10D8E, 0x10D8F, "Sm"}, {0x10EC2, 0x10EC4, "Lo"},
    {0x10EFC, 0x10EFF, "Mn"}, {0x1123F, 0x11240, "Lo"}, {0x11241, 0x11241, "Mn"}, {0x11380, 0x11389, "Lo"},
    {0x1138B, 0x1138B, "Lo"}, {0x1138E, 0x1138E, "Lo"}, {0x11390, 0x113B5, "Lo"}, {0x113B7, 0x113B7, "Lo"},
    {0x113B8, 0x113BA, "Mc"}, {0x113BB, 0x113C0, "Mn"}, {0x113C2, 0x113C2, "Mc"}, {0x113C5, 0x113C5, "Mc"},
    {0x113C7, 0x113CA, "Mc"}, {0x113CC, 0x113CD, "Mc"}, {0x113CE, 0x113CE, "Mn"}, {0x113CF, 0x113CF, "Mc"},
    {0x113D0, 0x113D0, "Mn"}, {0x113D1, 0x113D1, "Lo"}, {0x113D2, 0x113D2, "Mn"}, {0x113D3, 0x113D3, "Lo"},
    {0x113D4, 0x113D5, "Po"}, {0x113D7, 0x113D8, "Po"}, {0x113E1, 0x113E2, "Mn"}, {0x116D0, 0x116E3, "Nd"},
    {0x1171E, 0x1171E, "Mc"}, {0x11B00, 0x11B09, "Po"}, {0x11BC0, 0x11BE0, "Lo"}, {0x11BE1, 0x11BE1, "Po"},
    {0x11BF0, 0x11BF9, "Nd"}, {0x11F00, 0x11F01, "Mn"}, {0x11F02, 0x11F02, "Lo"}, {0x11F03, 0x11F03, "Mc"},
    {0x11F04, 0x11F10, "Lo"}, {0x11F12, 0x11F33, "Lo"}, {0x11F34, 0x11F35, "Mc"}, {0x11F36, 0x11F3A, "Mn"},
    {0x11F3E, 0x11F3F, "Mc"}, {0x11F40, 0x11F40, "Mn"}, {0x11F41, 0x11F41, "Mc"}, {0x11F42, 0x11F42, "Mn"},
    {0x11F43, 0x11F4F, "Po"}, {0x11F50, 0x11F59, "Nd"}, {0x11F5A, 0x11F5A, "Mn"}, {0x1342F, 0x1342F, "Lo"},
    {0x13440, 0x13440, "Mn"}, {0x13441, 0x13446, "Lo"}, {0x13447, 0x13455, "Mn"}, {0x13460, 0x143FA, "Lo"},
    {0x16100, 0x1611D, "Lo"}, {0x1611E, 0x16129, "Mn"}, {0x1612A, 0x1612C, "Mc"}, {0x1612D, 0x1612F, "Mn"},
    {0x16130, 0x16139, "Nd"}, {0x16D40, 0x16D42, "Lm"}, {0x16D43, 0x16D6A, "Lo"}, {0x16D6B, 0x16D6C, "Lm"},
    {0x16D6D, 0x16D6F, "Po"}, {0x16D70, 0x16D79, "Nd"}, {0x18CFF, 0x18CFF, "Lo"}, {0x1B132, 0x1B132, "Lo"},
    {0x1B155, 0x1B155, "Lo"}, {0x1CC00, 0x1CCEF, "So"}, {0x1CCF0, 0x1CCF9, "Nd"}, {0x1CD00, 0x1CEB3, "So"},
    {0x1D2C0, 0x1D2D3, "No"}, {0x1DF25, 0x1DF2A, "Ll"}, {0x1E030, 0x1E06D, "Lm"}, {0x1E08F, 0x1E08F, "Mn"},
    {0x1E4D0, 0x1E4EA, "Lo"}, {0x1E4EB, 0x1E4EB, "Lm"}, {0x1E4EC, 0x1E4EF, "Mn"}, {0x1E4F0, 0x1E4F9, "Nd"},
    {0x1E5D0, 0x1E5ED, "Lo"}, {0x1E5EE, 0x1E5EF, "Mn"}, {0x1E5F0, 0x1E5F0, "Lo"}, {0x1E5F1, 0x1E5FA, "Nd"},
    {0x1E5FF, 0x1E5FF, "Po"}, {0x1F6DC, 0x1F6DC, "So"}, {0x1F774, 0x1F776, "So"}, {0x1F77B, 0x1F77F, "So"},
    {0x1F7D9, 0x1F7D9, "So"}, {0x1F8B2, 0x1F8BB, "So"}, {0x1F8C0, 0x1F8C1, "So"}, {0x1FA75, 0x1FA77, "So"},
    {0x1FA87, 0x1FA89, "So"}, {0x1FA8F, 0x1FA8F, "So"}, {0x1FAAD, 0x1FAAF, "So"}, {0x1FABB, 0x1FABF, "So"},
    {0x1FAC6, 0x1FAC6, "So"}, {0x1FACE, 0x1FACF, "So"}, {0x1FADA, 0x1FADC, "So"}, {0x1FADF, 0x1FADF, "So"},
    {0x1FAE8, 0x1FAE9, "So"}, {0x1FAF7, 0x1FAF8, "So"}, {0x1FBCB, 0x1FBEF, "So"}, {0x2B739, 0x2B739, "Lo"},
    {0x2EBF0, 0x2EE5D, "Lo"}, {0x31350, 0x323AF, "Lo"},
};

enum { MOST_DEPTH = 32 };

typedef struct reader {
    const char *text;
    size_t n, at;
    int depth;
    bool caseless;
    uint32_t before; /* the literal in front of this place, 0: something else */
    dlx_buffer *out;
    dlx_error *err;
} reader;

static dlx_status refuse(const reader *r, size_t at, const char *what)
{
    size_t n = r->n < 200 ? r->n : 200;
    while (n && n < r->n && ((unsigned char)r->text[n] & 0xC0) == 0x80) n--; /* not inside a character */
    return dlx_fail(r->err, DLX_E_UNSUPPORTED, "expression '%.*s': %s at byte %zu, which is not supported", (int)n,
                    r->text, what, at);
}

static void emit(reader *r, const char *s)
{
    dlx_buffer_add_string(r->out, s);
}

static void emit_character(reader *r, uint32_t c)
{
    char s[16];
    bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (word || c == ' ')
        snprintf(s, sizeof s, "%c", (int)c);
    else
        snprintf(s, sizeof s, "\\x{%x}", c);
    emit(r, s);
}

static bool looking_at(const reader *r, const char *s)
{
    size_t n = strlen(s);
    return r->n - r->at >= n && memcmp(r->text + r->at, s, n) == 0;
}

static bool skip(reader *r, const char *s)
{
    if (!looking_at(r, s)) return false;
    r->at += strlen(s);
    return true;
}

/* ---- properties and escapes ------------------------------------------------------------------------------------- */

/* The members of a general category, for the inside of a set. */
static void emit_category(reader *r, const char *name)
{
    char s[40];
    size_t n = strlen(name);
    snprintf(s, sizeof s, "\\p{%s}", name);
    emit(r, s);
    for (size_t i = 0; i < DLX_COUNT(added); i++) {
        if (strncmp(added[i].category, name, n) != 0) continue;
        snprintf(s, sizeof s, "\\x{%x}-\\x{%x}", added[i].first, added[i].last);
        emit(r, s);
    }
}

/* "{Lu}" behind \p or \P. */
static dlx_status read_category(reader *r, char name[3])
{
    static const char *const known[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",
                                        "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
                                        "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"};
    size_t start = r->at;
    const char *end = r->at < r->n ? memchr(r->text + r->at, '}', r->n - r->at) : NULL;
    if (end && r->text[start] == '{')
        for (size_t i = 0; i < DLX_COUNT(known); i++)
            if (strlen(known[i]) == (size_t)(end - r->text) - start - 1 &&
                !memcmp(known[i], r->text + start + 1, strlen(known[i]))) {
                strcpy(name, known[i]);
                r->at = (size_t)(end - r->text) + 1;
                return DLX_OK;
            }
    return refuse(r, start, "a property other than a general category such as {L} or {Lu}");
}

/* A character that an escape stands for; the place is behind the backslash. */
static dlx_status read_escaped(reader *r, uint32_t *c)
{
    static const char names[] = "rntvfae", values[] = "\r\n\t\v\f\a\x1b";
    size_t start = r->at;
    char letter = r->text[r->at++];
    const char *name = strchr(names, letter);
    if (letter && name) {
        *c = (uint32_t)(unsigned char)values[name - names];
        return DLX_OK;
    }
    if (letter == 'u' || letter == 'x') {
        char digits[9] = {0};
        bool braces = letter == 'x' && skip(r, "{");
        size_t n = 0, most = braces ? 8 : letter == 'u' ? 4 : 2;
        while (n < most && r->at < r->n && strchr("0123456789abcdefABCDEF", r->text[r->at]) && r->text[r->at])
            digits[n++] = r->text[r->at++];
        *c = (uint32_t)strtoul(digits, NULL, 16);
        bool whole = n && (braces ? skip(r, "}") : n == most) && (braces || letter == 'u' || *c < 0x80);
        if (whole && *c <= 0x10FFFF && !(*c >= 0xD800 && *c < 0xE000)) return DLX_OK;
    }
    *c = (uint32_t)(unsigned char)letter;
    bool sign = *c >= ' ' && *c < 0x7F && !(*c >= '0' && *c <= '9') && !((*c | 32) >= 'a' && (*c | 32) <= 'z');
    return sign ? DLX_OK : refuse(r, start - 1, "an escape that is none of \\s \\S \\d \\p{..} and characters");
}

static dlx_status read_character(reader *r, uint32_t *c)
{
    if (skip(r, "\\")) {
        if (r->at == r->n) return refuse(r, r->at - 1, "a backslash without a character");
        return read_escaped(r, c);
    }
    r->at += dlx_utf8_next(r->text + r->at, r->n - r->at, c);
    return DLX_OK;
}

/* Where case does not count, PCRE2 and Oniguruma agree about single ASCII letters. */
static dlx_status check_caseless(const reader *r, size_t at, uint32_t c)
{
    static const char pairs[][2] = {{'s', 's'}, {'s', 't'}, {'f', 'f'}, {'f', 'i'}, {'f', 'l'}};
    if (!r->caseless) return DLX_OK;
    if (c >= 0x80) return refuse(r, at, "a letter beyond ASCII where case does not count");
    for (size_t i = 0; i < DLX_COUNT(pairs); i++)
        if ((r->before | 32) == (uint32_t)pairs[i][0] && (c | 32) == (uint32_t)pairs[i][1])
            return refuse(r, at, "two letters that have a ligature where case does not count");
    return DLX_OK;
}

/* ---- sets ------------------------------------------------------------------------------------------------------- */

/* A member that is a class: \s, \S, \d, \p{..}; *done says whether it was one. */
static dlx_status set_class(reader *r, bool *done)
{
    char name[3];
    size_t start = r->at;
    *done = true;
    if (skip(r, "\\s")) {
        emit(r, SPACES);
    } else if (skip(r, "\\S")) {
        emit(r, OTHERS);
    } else if (skip(r, "\\d")) {
        emit_category(r, "Nd");
    } else if (skip(r, "\\p")) {
        DLX_TRY(read_category(r, name));
        emit_category(r, name);
    } else {
        *done = false;
        return DLX_OK;
    }
    return r->caseless ? refuse(r, start, "a class where case does not count") : DLX_OK;
}

static dlx_status set_member(reader *r)
{
    bool done;
    uint32_t first, last;
    size_t start = r->at;
    DLX_TRY(set_class(r, &done));
    if (done && !looking_at(r, "-")) return DLX_OK;
    if (done) return looking_at(r, "-]") ? DLX_OK : refuse(r, r->at, "a range that begins with a class");
    if (looking_at(r, "[") || looking_at(r, "&&")) return refuse(r, r->at, "a set inside a set");
    DLX_TRY(read_character(r, &first));
    DLX_TRY(check_caseless(r, start, first));
    emit_character(r, first);
    if (!looking_at(r, "-") || looking_at(r, "-]")) return DLX_OK;
    r->at++;
    if (r->at == r->n) return refuse(r, start, "a set without an end");
    if (looking_at(r, "[") || looking_at(r, "&&")) return refuse(r, r->at, "a set inside a set");
    DLX_TRY(read_character(r, &last));
    DLX_TRY(check_caseless(r, start, last));
    if (last < first) return refuse(r, start, "a range whose end lies before its start");
    emit(r, "-");
    emit_character(r, last);
    return DLX_OK;
}

static dlx_status set(reader *r)
{
    size_t start = r->at - 1;
    emit(r, "[");
    if (skip(r, "^")) emit(r, "^");
    if (looking_at(r, "]")) return refuse(r, r->at, "a set without members");
    r->before = 0;
    while (!looking_at(r, "]")) {
        if (r->at == r->n) return refuse(r, start, "a set without an end");
        DLX_TRY(set_member(r));
    }
    r->at++;
    emit(r, "]");
    return DLX_OK;
}

/* ---- the rest --------------------------------------------------------------------------------------------------- */

static dlx_status alternatives(reader *r, bool *unbounded);

/* An atom; *unbounded: something in it repeats without bound. */
static dlx_status atom(reader *r, bool *unbounded)
{
    static const char *const openings[] = {"(?:", "(?i:", "(?=", "(?!"};
    size_t start = r->at;
    bool caseless = r->caseless;
    char name[3];
    *unbounded = false;
    for (size_t i = 0; i <= DLX_COUNT(openings); i++) {
        bool last = i == DLX_COUNT(openings);
        if (last && looking_at(r, "(?")) return refuse(r, start, "a group other than (?:, (?i:, (?= and (?!");
        if (!skip(r, last ? "(" : openings[i])) continue;
        if (++r->depth > MOST_DEPTH) return refuse(r, start, "a group inside too many others");
        emit(r, last ? "(?:" : openings[i]);
        r->caseless = caseless || i == 1;
        r->before = 0;
        DLX_TRY(alternatives(r, unbounded));
        if (!skip(r, ")")) return refuse(r, start, "a group without an end");
        emit(r, ")");
        r->caseless = caseless;
        r->before = 0;
        r->depth--;
        return DLX_OK;
    }
    if (strchr("?*+{", r->text[start]) && r->text[start])
        return refuse(r, start, "a quantifier with nothing before it");
    if (strchr("^$", r->text[start]) && r->text[start]) return refuse(r, start, "an anchor");
    bool negated = looking_at(r, "\\P");
    uint32_t before = r->before;
    r->before = 0;
    if (skip(r, "[")) return set(r);
    if (skip(r, ".")) {
        emit(r, "[^\\n]");
        return DLX_OK;
    }
    if (looking_at(r, "\\s") || looking_at(r, "\\S") || looking_at(r, "\\d") || looking_at(r, "\\p")) {
        bool done;
        emit(r, "[");
        DLX_TRY(set_class(r, &done));
        emit(r, "]");
        return DLX_OK;
    }
    if (negated) {
        r->at += 2;
        if (r->caseless) return refuse(r, start, "a class where case does not count");
        DLX_TRY(read_category(r, name));
        emit(r, "[^");
        emit_category(r, name);
        emit(r, "]");
        return DLX_OK;
    }
    uint32_t c;
    r->before = before;
    DLX_TRY(read_character(r, &c));
    DLX_TRY(check_caseless(r, start, c));
    emit_character(r, c);
    r->before = c;
    return DLX_OK;
}

static bool number(reader *r, unsigned *value)
{
    size_t start = r->at;
    *value = 0;
    while (r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9' && *value <= 1000)
        *value = *value * 10 + (unsigned)(r->text[r->at++] - '0');
    return r->at > start;
}

/* "{m}", "{m,}" or "{m,n}". */
static dlx_status counted(reader *r, bool *endless)
{
    unsigned low, high;
    size_t start = r->at++;
    char s[32];
    bool fine = number(r, &low);
    high = low;
    *endless = false;
    if (fine && skip(r, ",")) *endless = !number(r, &high);
    fine = fine && skip(r, "}") && low <= 100 && (*endless || (high >= low && high <= 100));
    if (!fine) return refuse(r, start, "a count other than {m}, {m,} and {m,n} up to 100");
    if (*endless)
        snprintf(s, sizeof s, "{%u,}", low);
    else
        snprintf(s, sizeof s, "{%u,%u}", low, high);
    emit(r, s);
    return DLX_OK;
}

/*
 * What repeats without bound must not repeat inside something that repeats: that is where backtracking takes
 * exponential time, and no tokenizer needs it.
 */
static dlx_status quantifier(reader *r, bool *unbounded)
{
    size_t start = r->at;
    bool endless = false;
    if (r->at == r->n) return DLX_OK;
    char c = r->text[r->at];
    if (c == '{') {
        DLX_TRY(counted(r, &endless));
        if (*unbounded) return refuse(r, start, "a repetition inside a repetition");
    } else if (c == '?' || c == '*' || c == '+') {
        char s[3] = {c, 0, 0};
        endless = c != '?';
        if (endless && *unbounded) return refuse(r, start, "a repetition inside a repetition");
        r->at++;
        if (looking_at(r, "?") || looking_at(r, "+")) s[1] = r->text[r->at++];
        emit(r, s);
    } else {
        return DLX_OK;
    }
    r->before = 0;
    *unbounded = *unbounded || endless;
    if (r->at < r->n && r->text[r->at] && strchr("?*+{", r->text[r->at]))
        return refuse(r, r->at, "a quantifier of a quantifier");
    return DLX_OK;
}

static dlx_status alternatives(reader *r, bool *unbounded)
{
    *unbounded = false;
    while (r->at < r->n && r->text[r->at] != ')') {
        bool part;
        if (skip(r, "|")) {
            emit(r, "|");
            r->before = 0;
            continue;
        }
        DLX_TRY(atom(r, &part));
        DLX_TRY(quantifier(r, &part));
        *unbounded = *unbounded || part;
    }
    return DLX_OK;
}

dlx_status dlx_pattern_translate(dlx_buffer *out, const char *regex, size_t n, dlx_error *err)
{
    bool unbounded;
    reader r = {.text = regex, .n = n, .out = out, .err = err};
    DLX_TRY(alternatives(&r, &unbounded));
    if (r.at < r.n) return refuse(&r, r.at, "a parenthesis that closes nothing");
    return out->failed ? dlx_fail(err, DLX_E_NOMEM, "out of memory reading an expression of %zu bytes", n) : DLX_OK;
}
