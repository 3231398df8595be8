/*
 * A template is recognised by what it can print. Checkpoints carry the same template in many spellings (other variable
 * names, literals cut at other places), so its text is not compared as a whole: every string literal must be made up
 * entirely of the pieces that one built-in template prints or asks for, the pieces and names that tell the templates
 * apart must be there, statements, filters, calls and operators must be among those that the built-in ones use, and
 * text between tags must vanish. A changed system prompt, an added instruction or another operation is thus noticed,
 * and the template counts as another one.
 */
#include "text/full/recognise.h"

#include <stdbool.h>
#include <string.h>

#include "text/buffer.h"
#include "text/chat.h"

/* What was found in a template, as bits. */
enum {
    SEEN_START = 1 << 0,
    SEEN_END = 1 << 1,
    SEEN_TOOLS_OPEN = 1 << 2,
    SEEN_TOOLS_CLOSE = 1 << 3,
    SEEN_CALL = 1 << 4,
    SEEN_RESPONSE = 1 << 5,
    SEEN_NAME = 1 << 6,
    SEEN_ARGUMENTS = 1 << 7,
    SEEN_DREAM = 1 << 8,
    SEEN_QWEN = 1 << 9,
    SEEN_THINK = 1 << 10,
    SEEN_HEADER = 1 << 11,
    SEEN_TURN_END = 1 << 12,
    SEEN_SYSTEM = 1 << 13, /* roles */
    SEEN_USER = 1 << 14,
    SEEN_ASSISTANT = 1 << 15,
    SEEN_TOOL = 1 << 16,
    NAME_PROMPT = 1 << 17,
    NAME_THINKING = 1 << 18,
    NAME_TRIM = 1 << 19,
    NAME_BOS = 1 << 20,
    NAME_TOJSON = 1 << 21,
    NAME_REASONING = 1 << 22,
    NAME_SPLIT = 1 << 23,
    UNKNOWN = 1 << 24, /* a literal, an operation or a text between tags that no built-in template has */
};

typedef struct piece {
    const char *text;
    unsigned seen;
} piece;

static const piece pieces[] = {
    {"<|im_start|>", SEEN_START},
    {"<|im_end|>", SEEN_END},
    {DLX_CHAT_TOOLS_OPEN, SEEN_TOOLS_OPEN},
    {DLX_CHAT_TOOLS_CLOSE, SEEN_TOOLS_CLOSE},
    {DLX_CHAT_SYSTEM_DREAM, SEEN_DREAM},
    {DLX_CHAT_SYSTEM_QWEN, SEEN_QWEN},
    {"<tool_call>", SEEN_CALL},
    {"</tool_call>", SEEN_CALL},
    {"<tool_response>", SEEN_RESPONSE},
    {"</tool_response>", SEEN_RESPONSE},
    {"{\"name\": \"", SEEN_NAME},
    {"\", \"arguments\": ", SEEN_ARGUMENTS},
    {"}", 0},
    {"<think>", SEEN_THINK},
    {"</think>", SEEN_THINK},
    {"<|start_header_id|>", SEEN_HEADER},
    {"<|end_header_id|>", SEEN_HEADER},
    {"<|eot_id|>", SEEN_TURN_END},
    {"\n", 0},
    {"system", SEEN_SYSTEM},
    {"user", SEEN_USER},
    {"assistant", SEEN_ASSISTANT},
    {"tool", SEEN_TOOL},
    {"tool_calls", 0}, /* keys of messages */
    {"role", 0},
    {"content", 0},
    {"reasoning_content", 0},
    {"function", 0},
    {"name", 0},
    {"arguments", 0},
};

/* Names that tell the templates apart. All others are variables, which every spelling calls as it likes. */
static const piece names[] = {
    {"add_generation_prompt", NAME_PROMPT},
    {"enable_thinking", NAME_THINKING},
    {"bos_token", NAME_BOS},
    {"reasoning_content", NAME_REASONING},
    {"eos_token", UNKNOWN},
    {"strftime_now", UNKNOWN},
};

/* Lists of what may stand where; anything else there changes what is printed. */
static const piece statements[] = {{"for", 0},  {"endfor", 0}, {"if", 0}, {"elif", 0},
                                   {"else", 0}, {"endif", 0},  {"set", 0}};
static const piece filters[] = {{"trim", NAME_TRIM}, {"tojson", NAME_TOJSON}, {"length", 0}};
static const piece calls[] = {{"namespace", 0}, {"startswith", 0}, {"endswith", 0}, {"split", NAME_SPLIT},
                              {"lstrip", 0},    {"rstrip", 0},     {"strip", 0},    {"not", 0},
                              {"and", 0},       {"or", 0},         {"in", 0},       {"is", 0},
                              {"if", 0},        {"elif", 0},       {"else", 0}};
static const piece loop_members[] = {{"first", 0}, {"last", 0}, {"index0", 0}};
static const piece numbers[] = {{"0", 0}, {"1", 0}};

#define LOOK_UP(list, p, n, missing) look_up(list, sizeof(list) / sizeof((list)[0]), p, n, missing)

static unsigned look_up(const piece *list, size_t count, const char *p, size_t n, unsigned missing)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(list[i].text) == n && memcmp(p, list[i].text, n) == 0) return list[i].seen;
    return missing;
}

/* Splits a literal into pieces, always the longest that fits. */
static unsigned look_at_literal(const char *p, size_t n)
{
    unsigned seen = 0;
    while (n) {
        const piece *best = NULL;
        size_t best_n = 0;
        for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
            size_t length = strlen(pieces[i].text);
            if (length > best_n && length <= n && memcmp(p, pieces[i].text, length) == 0) {
                best = &pieces[i];
                best_n = length;
            }
        }
        if (!best) return UNKNOWN;
        seen |= best->seen;
        p += best_n;
        n -= best_n;
    }
    return seen;
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Reads the literal that opens at p; returns the bytes it takes, or 0. Jinja knows Python's escapes. */
static size_t read_literal(const char *p, size_t n, dlx_buffer *out)
{
    out->n = 0;
    for (size_t i = 1; i < n; i++) {
        if (p[i] == p[0]) return i + 1;
        char c = p[i];
        if (c == '\\') {
            if (++i == n) return 0;
            static const char letters[] = "nrt\\'\"", meanings[] = "\n\r\t\\'\"";
            const char *known = p[i] ? strchr(letters, p[i]) : NULL;
            if (!known) return 0;
            c = meanings[known - letters];
        }
        dlx_buffer_add(out, &c, 1);
    }
    return 0;
}

/* Position in a template, and what was found up to there. */
typedef struct scan {
    const char *p;
    size_t n, at;
    unsigned seen;
    dlx_buffer literal; /* scratch */
} scan;

static bool follows(const scan *s, const char *text)
{
    size_t n = strlen(text);
    return s->n - s->at >= n && memcmp(s->p + s->at, text, n) == 0;
}

/* The last character before `at` that is no blank. */
static char before_blanks(const scan *s, size_t at)
{
    while (at > 0 && strchr(" \t\r\n", s->p[at - 1]) && s->p[at - 1]) at--;
    return at > 0 ? s->p[at - 1] : '\0';
}

static bool is_call(const scan *s)
{
    size_t at = s->at;
    while (at < s->n && (s->p[at] == ' ' || s->p[at] == '\n')) at++;
    return at < s->n && s->p[at] == '(';
}

/* A name or number: what it is depends on what stands around it. */
static void look_at_name(scan *s, bool opens_statement)
{
    size_t first = s->at;
    while (s->at < s->n && is_name_char(s->p[s->at])) s->at++;
    const char *name = s->p + first;
    size_t n = s->at - first;
    char before = before_blanks(s, first);
    if (opens_statement) s->seen |= LOOK_UP(statements, name, n, UNKNOWN);
    if (*name >= '0' && *name <= '9') s->seen |= LOOK_UP(numbers, name, n, UNKNOWN);
    if (first >= 5 && memcmp(name - 5, "loop.", 5) == 0) s->seen |= LOOK_UP(loop_members, name, n, UNKNOWN);
    if (before == '|')
        s->seen |= is_call(s) ? UNKNOWN : LOOK_UP(filters, name, n, UNKNOWN);
    else if (is_call(s))
        s->seen |= LOOK_UP(calls, name, n, UNKNOWN);
    else
        s->seen |= LOOK_UP(names, name, n, 0);
}

/* The inside of a tag; afterwards s->at is behind its closing brackets. */
static void look_at_tag(scan *s, char kind)
{
    const char close[3] = {kind == '{' ? '}' : kind, '}', '\0'};
    bool opens_statement = kind == '%';
    while (s->at < s->n && !(s->seen & UNKNOWN)) {
        char c = s->p[s->at];
        if (follows(s, close)) {
            s->at += 2;
            return;
        }
        if (kind == '#') {
            s->at++;
        } else if (c == '\'' || c == '"') {
            size_t length = read_literal(s->p + s->at, s->n - s->at, &s->literal);
            s->seen |= length ? look_at_literal(s->literal.data, s->literal.n) : UNKNOWN;
            s->at += length;
        } else if (is_name_char(c)) {
            look_at_name(s, opens_statement);
            opens_statement = false;
        } else if (follows(s, "[::-1]")) {
            s->at += 6; /* the one slice */
        } else if (strchr(":{}*/%<;\\", c) || follows(s, ">=")) {
            s->seen |= UNKNOWN;
        } else {
            s->at++;
        }
    }
    s->seen |= UNKNOWN; /* it does not end */
}

static bool only(const char *p, size_t n, const char *characters)
{
    for (size_t i = 0; i < n; i++)
        if (!p[i] || !strchr(characters, p[i])) return false;
    return true;
}

/*
 * Whether text between two tags is never printed. transformers sets trim_blocks (the first line break behind a block
 * goes) and lstrip_blocks (blanks before a block on its line go); Jinja drops one line break at the very end. `before`
 * and `behind`: the kind of the neighbouring tags, '%', '{', '#', or 0 at the ends of the template.
 */
static bool vanishes(const char *p, size_t n, char before, char behind, bool stripped)
{
    if (!only(p, n, " \t\r\n")) return false;
    if (stripped || n == 0) return true;
    if (!behind && p[n - 1] == '\n') n--;
    if (n && (before == '%' || before == '#') && *p == '\n') {
        p++;
        n--;
    }
    return n == 0 || ((behind == '%' || behind == '#') && only(p, n, " \t"));
}

static void look_at_template(scan *s)
{
    const char *p = s->p;
    size_t text = 0; /* where the text between tags begins */
    char before = 0;
    bool stripped = false;
    while (s->at + 1 < s->n && !(s->seen & UNKNOWN)) {
        size_t open = s->at;
        char kind = p[open + 1];
        if (p[open] != '{' || (kind != '{' && kind != '%' && kind != '#')) {
            s->at++;
            continue;
        }
        s->at += 2;
        if (!vanishes(p + text, open - text, before, kind, stripped || follows(s, "-"))) s->seen |= UNKNOWN;
        if (follows(s, "+")) s->seen |= UNKNOWN; /* keeps blanks that otherwise go */
        look_at_tag(s, kind);
        if (s->seen & UNKNOWN) return;
        text = s->at;
        stripped = p[text - 3] == '-';
        before = kind;
        if (p[text - 3] == '+') s->seen |= UNKNOWN;
    }
    if (!vanishes(p + text, s->n - text, before, 0, stripped)) s->seen |= UNKNOWN;
}

dlx_status dlx_recognise_template(dlx_chat_template *out, const char *jinja, size_t n, const char *bos_token,
                                  dlx_error *err)
{
    enum {
        CHATML = SEEN_START | SEEN_END | SEEN_TOOLS_OPEN | SEEN_TOOLS_CLOSE | SEEN_CALL | SEEN_RESPONSE | SEEN_NAME |
                 SEEN_ARGUMENTS | SEEN_SYSTEM | SEEN_USER | SEEN_ASSISTANT | SEEN_TOOL | NAME_PROMPT | NAME_TOJSON,
        SDAR = CHATML | SEEN_THINK | NAME_THINKING | NAME_REASONING | NAME_SPLIT,
        LLADA = SEEN_HEADER | SEEN_TURN_END | SEEN_ASSISTANT | NAME_TRIM | NAME_BOS,
    };
    scan s = {.p = jinja, .n = n};
    look_at_template(&s);
    bool failed = s.literal.failed;
    dlx_buffer_free(&s.literal);
    if (failed) return dlx_fail(err, DLX_E_NOMEM, "out of memory recognising a chat template of %zu bytes", n);
    bool llada = s.seen == LLADA && bos_token && strcmp(bos_token, DLX_CHAT_BOS_LLADA) == 0;
    *out = llada                             ? DLX_CHAT_LLADA
           : s.seen == (CHATML | SEEN_DREAM) ? DLX_CHAT_CHATML_DREAM
           : s.seen == (CHATML | SEEN_QWEN)  ? DLX_CHAT_CHATML_QWEN
           : s.seen == SDAR                  ? DLX_CHAT_SDAR
                                             : DLX_CHAT_OTHER;
    return DLX_OK;
}
