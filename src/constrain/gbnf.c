/* A recursive reader of GBNF; its depth is bounded. */
#include "constrain/gbnf.h"

#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "constrain/reading.h"

enum { MOST_DEPTH = 200, MOST_NESTED = 8, MOST_REPEATS = 65535, MOST_TEXT = 1 << 18, MOST_RULES = 2000 };

typedef struct reader {
    dlx_arena *arena;
    const char *text;
    size_t n, at;
    int depth;
    dlx_rule **rules;
    size_t *used; /* [n_rules] where a rule's name stands first */
    size_t n_rules, rules_capacity, used_capacity;
    dlx_error *err;
} reader;

static dlx_status out_of_memory(const reader *r)
{
    return dlx_fail(r->err, DLX_E_NOMEM, "out of memory for a grammar of %zu bytes", r->n);
}

static dlx_status bad(const reader *r, size_t at, const char *what)
{
    size_t line, column = dlx_column(r->text, at < r->n ? at : r->n, &line);
    return dlx_fail(r->err, DLX_E_INVALID, "grammar, line %zu, character %zu: %s", line, column, what);
}

#define BAD(r, what) bad((r), (r)->at, what)

/* The byte at the reader's place, NUL at the end. */
static char here(const reader *r)
{
    return r->at < r->n ? r->text[r->at] : '\0';
}

static bool take(reader *r, char c)
{
    if (r->at == r->n || r->text[r->at] != c) return false;
    r->at++;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || is_digit(c) || c == '-';
}

/* Passes blanks and comments; `lines`: line ends as well. */
static void skip(reader *r, bool lines)
{
    for (; r->at < r->n; r->at++) {
        char c = r->text[r->at];
        if (c == '#') {
            while (r->at < r->n && r->text[r->at] != '\n' && r->text[r->at] != '\r') r->at++;
            c = here(r);
            if (r->at == r->n) return;
        }
        if (c != ' ' && c != '\t' && !(lines && (c == '\n' || c == '\r'))) return;
    }
}

/* ---- rules ------------------------------------------------------------------------------------------------------- */

/* The rule of the name at the reader's place, a new one where it has not been seen. */
static dlx_status read_name(reader *r, dlx_rule **out)
{
    size_t begin = r->at, i = 0;
    while (is_word(here(r))) r->at++;
    size_t n = r->at - begin;
    if (!n) return BAD(r, "the name of a rule is expected: letters, digits and hyphens");
    for (; i < r->n_rules; i++)
        if (r->rules[i]->name_length == n && !memcmp(r->rules[i]->name, r->text + begin, n)) break;
    if (i == r->n_rules) {
        dlx_rule *rule = dlx_arena_alloc(r->arena, sizeof *rule);
        if (i == MOST_RULES) return bad(r, begin, "a grammar has 2000 rules at most");
        if (!rule || !(rule->name = dlx_arena_strndup(r->arena, r->text + begin, n)) ||
            dlx_grow(&r->rules, &r->rules_capacity, i + 1, sizeof *r->rules) != 0 ||
            dlx_grow(&r->used, &r->used_capacity, i + 1, sizeof *r->used) != 0)
            return out_of_memory(r);
        rule->name_length = n;
        rule->number = (int32_t)i;
        r->used[i] = begin;
        r->rules[r->n_rules++] = rule;
    }
    *out = r->rules[i];
    return DLX_OK;
}

static dlx_status read_alternatives(reader *r, bool nested, const dlx_expr **out);

static dlx_status read_rule(reader *r)
{
    dlx_rule *rule;
    size_t begin = r->at;
    DLX_TRY(read_name(r, &rule));
    if (rule->body) return bad(r, begin, "this rule is defined twice; | stands between its alternatives");
    skip(r, false);
    if (r->n - r->at < 3 || memcmp(r->text + r->at, "::=", 3) != 0)
        return BAD(r, "::= is expected behind the name of a rule");
    r->at += 3;
    skip(r, true);
    const dlx_expr *body = NULL;
    DLX_TRY(read_alternatives(r, false, &body));
    if (!body) return out_of_memory(r);
    rule->body = body;
    if (r->at < r->n && here(r) != '\n' && here(r) != '\r')
        return BAD(r, here(r) == ')' ? "a ) closes no group" : "a line end, or a part of a rule is expected");
    skip(r, true);
    return DLX_OK;
}

/* ---- characters -------------------------------------------------------------------------------------------------- */

/* One character of a literal or a class. */
static dlx_status read_char(reader *r, uint32_t *c)
{
    size_t begin = r->at;
    *c = dlx_next_char(r->text, &r->at);
    if (*c != '\\') return DLX_OK;
    char e = here(r);
    if (r->at++ >= r->n) return bad(r, begin, "a backslash ends the grammar");
    static const char letters[] = "tnr\\\"[]-", meant[] = "\t\n\r\\\"[]-";
    const char *found = e ? strchr(letters, e) : NULL;
    int digits = e == 'x' ? 2 : e == 'u' ? 4 : e == 'U' ? 8 : 0;
    if (found) {
        *c = (uint8_t)meant[found - letters];
        return DLX_OK;
    }
    if (!digits) return bad(r, begin, "the escapes are \\t \\n \\r \\\\ \\\" \\[ \\] \\- \\xHH \\uHHHH \\UHHHHHHHH");
    if (!dlx_next_hex(r->text, r->n, &r->at, digits, digits, c))
        return bad(r, begin, "\\x takes two hexadecimal digits, \\u four, \\U eight");
    if (*c > DLX_MAX_CODE_POINT || (*c >= 0xD800 && *c < 0xE000))
        return bad(r, begin, "no character has this number (a surrogate, or beyond U+10FFFF); \\U takes whole ones");
    return DLX_OK;
}

static dlx_status read_literal(reader *r, const dlx_expr **out)
{
    size_t begin = r->at++;
    dlx_exprs chars = {0};
    dlx_status status = DLX_OK;
    while (status == DLX_OK && !take(r, '"')) {
        uint32_t c = 0;
        status = r->at < r->n ? read_char(r, &c) : bad(r, begin, "a text is not closed; \" is missing");
        if (status == DLX_OK && !dlx_exprs_add(&chars, dlx_expr_char(r->arena, c))) status = out_of_memory(r);
    }
    if (status == DLX_OK) *out = dlx_expr_cat(r->arena, chars.items, chars.n);
    free(chars.items);
    return status;
}

static dlx_status read_ranges(reader *r, size_t begin, dlx_ranges *set)
{
    while (!take(r, ']')) {
        size_t at = r->at;
        uint32_t first, last;
        if (at == r->n) return bad(r, begin, "a class is not closed; ] is missing");
        DLX_TRY(read_char(r, &first));
        last = first;
        if (here(r) == '-' && r->at + 1 < r->n && r->text[r->at + 1] != ']') {
            r->at++;
            DLX_TRY(read_char(r, &last));
        }
        if (last < first) return bad(r, at, "a range goes from a character to one that is not lower");
        if (!dlx_ranges_add(set, first, last)) return out_of_memory(r);
    }
    return set->n ? DLX_OK : bad(r, begin, "a class is empty; write \\] for a bracket in it, . for any character");
}

static dlx_status read_class(reader *r, const dlx_expr **out)
{
    size_t begin = r->at++;
    dlx_ranges set = {0};
    bool inverted = take(r, '^');
    dlx_status status = read_ranges(r, begin, &set);
    if (status == DLX_OK)
        *out = inverted ? dlx_expr_set_but(r->arena, set.items, set.n) : dlx_expr_set(r->arena, set.items, set.n);
    free(set.items);
    return status;
}

/* ---- groups and repetitions -------------------------------------------------------------------------------------- */

static dlx_status read_group(reader *r, const dlx_expr **out)
{
    size_t begin = r->at++;
    if (++r->depth > MOST_DEPTH) return bad(r, begin, "groups are nested more than 200 deep");
    skip(r, true);
    DLX_TRY(read_alternatives(r, true, out));
    r->depth--;
    return take(r, ')') ? DLX_OK : bad(r, begin, "a group is not closed; ) is missing");
}

static dlx_status read_number(reader *r, int32_t *value)
{
    size_t begin = r->at;
    for (*value = 0; is_digit(here(r)); r->at++)
        if (*value <= MOST_REPEATS) *value = *value * 10 + (here(r) - '0');
    if (r->at == begin) return BAD(r, "a number of repetitions is expected: {n}, {n,} or {n,m}");
    return *value > MOST_REPEATS ? bad(r, begin, "at most 65535 repetitions are supported") : DLX_OK;
}

static dlx_status read_bounds(reader *r, bool nested, int32_t *least, int32_t *most)
{
    size_t begin = r->at++;
    skip(r, nested);
    DLX_TRY(read_number(r, least));
    *most = *least;
    skip(r, nested);
    if (take(r, ',')) {
        skip(r, nested);
        *most = DLX_UNBOUNDED;
        if (is_digit(here(r))) DLX_TRY(read_number(r, most));
        skip(r, nested);
    }
    if (!take(r, '}')) return BAD(r, "} is expected behind the bounds of a repetition");
    if (*most != DLX_UNBOUNDED && *most < *least) return bad(r, begin, "the bounds are the wrong way round");
    return DLX_OK;
}

static dlx_status read_repetitions(reader *r, bool nested, const dlx_expr **out)
{
    for (int i = 0;; i++) {
        int32_t least = 0, most = DLX_UNBOUNDED;
        skip(r, nested);
        if (here(r) == '{')
            DLX_TRY(read_bounds(r, nested, &least, &most));
        else if (take(r, '+'))
            least = 1;
        else if (take(r, '?'))
            most = 1;
        else if (!take(r, '*'))
            return DLX_OK;
        if (i == MOST_NESTED) return BAD(r, "more than 8 repetitions stand behind each other");
        *out = dlx_expr_repeat(r->arena, *out, least, most);
    }
}

/* A part with its repetitions; *out stays as it is where none begins. */
static dlx_status read_part(reader *r, bool nested, const dlx_expr **out)
{
    dlx_rule *rule;
    char c = here(r);
    size_t begin = r->at;
    if (c == '"') {
        DLX_TRY(read_literal(r, out));
    } else if (c == '[') {
        DLX_TRY(read_class(r, out));
    } else if (c == '(') {
        DLX_TRY(read_group(r, out));
    } else if (c == '.') {
        r->at++;
        *out = dlx_expr_set_but(r->arena, NULL, 0);
    } else if (is_word(c)) {
        DLX_TRY(read_name(r, &rule));
        *out = dlx_expr_rule(r->arena, rule);
    } else if (c == '<' || c == '!') {
        return BAD(r, "tokens (<...>, !<...>) are not supported; write the text that they stand for");
    } else if (c == '*' || c == '+' || c == '?' || c == '{') {
        return BAD(r, "there is nothing to repeat");
    }
    return r->at > begin ? read_repetitions(r, nested, out) : DLX_OK;
}

static dlx_status read_sequence(reader *r, bool nested, const dlx_expr **out)
{
    dlx_exprs parts = {0};
    dlx_status status = DLX_OK;
    for (size_t begin = r->n; status == DLX_OK && r->at != begin;) {
        const dlx_expr *part = NULL;
        begin = r->at;
        status = read_part(r, nested, &part);
        if (status == DLX_OK && r->at > begin && !dlx_exprs_add(&parts, part)) status = out_of_memory(r);
    }
    if (status == DLX_OK) *out = dlx_expr_cat(r->arena, parts.items, parts.n);
    free(parts.items);
    return status;
}

static dlx_status read_alternatives(reader *r, bool nested, const dlx_expr **out)
{
    dlx_exprs all = {0};
    dlx_status status;
    bool more;
    do {
        const dlx_expr *one = NULL;
        status = read_sequence(r, nested, &one);
        if (status == DLX_OK && !dlx_exprs_add(&all, one)) status = out_of_memory(r);
        more = status == DLX_OK && take(r, '|');
        if (more) skip(r, true);
    } while (more);
    if (status == DLX_OK) *out = dlx_expr_alt(r->arena, all.items, all.n);
    free(all.items);
    return status;
}

static dlx_status read_rules(reader *r, dlx_grammar *out)
{
    skip(r, true);
    while (r->at < r->n) DLX_TRY(read_rule(r));
    for (size_t i = 0; i < r->n_rules; i++) {
        const dlx_rule *rule = r->rules[i];
        if (!rule->body) return bad(r, r->used[i], "this rule is not defined");
        if (rule->name_length == 4 && !memcmp(rule->name, "root", 4)) out->root = r->rules[i];
    }
    if (!out->root) return dlx_fail(r->err, DLX_E_INVALID, "grammar: no rule is called 'root', which answers are of");
    dlx_rule **rules = dlx_arena_array(r->arena, r->n_rules, sizeof *rules);
    if (!rules) return out_of_memory(r);
    memcpy(rules, r->rules, r->n_rules * sizeof *rules);
    out->rules = rules;
    out->n_rules = (int32_t)r->n_rules;
    return DLX_OK;
}

dlx_status dlx_gbnf_parse(dlx_grammar *out, dlx_arena *arena, const char *text, size_t n, dlx_error *err)
{
    reader r = {.arena = arena, .text = text, .n = n, .err = err};
    memset(out, 0, sizeof *out);
    if (n > MOST_TEXT)
        return dlx_fail(err, DLX_E_LIMIT, "a grammar of %zu bytes; at most %d are supported", n, MOST_TEXT);
    dlx_status status = read_rules(&r, out);
    free(r.rules);
    free(r.used);
    return status;
}
