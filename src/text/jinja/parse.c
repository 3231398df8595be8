/* Statements. */
#include "text/jinja/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens -------------------------------------------------------------------------------------------------------
 */

const dlx_jinja_token *dlx_jinja_peek(const dlx_jinja_parser *p)
{
    return &p->tokens->list[p->at];
}

void dlx_jinja_next(dlx_jinja_parser *p)
{
    if (p->at + 1 < p->tokens->n) p->at++;
}

bool dlx_jinja_token_is(const dlx_jinja_parser *p, const dlx_jinja_token *token, const char *word)
{
    if (token->type != DLX_JINJA_T_NAME) return false;
    const dlx_jinja_text *s = &p->tree->strings[token->string];
    return s->n == strlen(word) && memcmp(s->p, word, s->n) == 0;
}

bool dlx_jinja_is_op(const dlx_jinja_parser *p, const char *op)
{
    const dlx_jinja_token *t = dlx_jinja_peek(p);
    return t->type == DLX_JINJA_T_OPERATOR && strcmp(t->op, op) == 0;
}

bool dlx_jinja_is_word(const dlx_jinja_parser *p, const char *word)
{
    return dlx_jinja_token_is(p, dlx_jinja_peek(p), word);
}

bool dlx_jinja_skip_op(dlx_jinja_parser *p, const char *op)
{
    bool there = dlx_jinja_is_op(p, op);
    if (there) dlx_jinja_next(p);
    return there;
}

bool dlx_jinja_skip_word(dlx_jinja_parser *p, const char *word)
{
    bool there = dlx_jinja_is_word(p, word);
    if (there) dlx_jinja_next(p);
    return there;
}

const char *dlx_jinja_describe(const dlx_jinja_parser *p, char out[64])
{
    const dlx_jinja_token *t = dlx_jinja_peek(p);
    const dlx_jinja_text *s = t->type == DLX_JINJA_T_NAME ? &p->tree->strings[t->string] : NULL;
    switch (t->type) {
    case DLX_JINJA_T_NAME: snprintf(out, 64, "'%.*s'", s->n < 40 ? (int)s->n : 40, s->p); break;
    case DLX_JINJA_T_STRING: snprintf(out, 64, "a string"); break;
    case DLX_JINJA_T_INTEGER:
    case DLX_JINJA_T_FLOAT: snprintf(out, 64, "a number"); break;
    case DLX_JINJA_T_OPERATOR: snprintf(out, 64, "'%s'", t->op); break;
    case DLX_JINJA_T_DATA: snprintf(out, 64, "text"); break;
    case DLX_JINJA_T_END: snprintf(out, 64, "the end of the template"); break;
    case DLX_JINJA_T_BLOCK_BEGIN:
    case DLX_JINJA_T_PRINT_BEGIN: snprintf(out, 64, "the beginning of a tag"); break;
    default: snprintf(out, 64, "the end of the tag"); break;
    }
    return out;
}

dlx_status dlx_jinja_expect_op(dlx_jinja_parser *p, const char *op)
{
    char found[64];
    if (dlx_jinja_skip_op(p, op)) return DLX_OK;
    return DLX_JINJA_SYNTAX(p, "%u: expected '%s', found %s", dlx_jinja_peek(p)->line, op,
                            dlx_jinja_describe(p, found));
}

dlx_status dlx_jinja_expect_name(dlx_jinja_parser *p, uint32_t *name)
{
    char found[64];
    const dlx_jinja_token *t = dlx_jinja_peek(p);
    if (t->type != DLX_JINJA_T_NAME)
        return DLX_JINJA_SYNTAX(p, "%u: expected a name, found %s", t->line, dlx_jinja_describe(p, found));
    *name = t->string;
    dlx_jinja_next(p);
    return DLX_OK;
}

static dlx_status expect_word(dlx_jinja_parser *p, const char *word)
{
    char found[64];
    if (dlx_jinja_skip_word(p, word)) return DLX_OK;
    return DLX_JINJA_SYNTAX(p, "%u: expected '%s', found %s", dlx_jinja_peek(p)->line, word,
                            dlx_jinja_describe(p, found));
}

static dlx_status expect_type(dlx_jinja_parser *p, dlx_jinja_token_type type)
{
    char found[64];
    const dlx_jinja_token *t = dlx_jinja_peek(p);
    if (t->type != type)
        return DLX_JINJA_SYNTAX(p, "%u: expected the end of the tag, found %s", t->line, dlx_jinja_describe(p, found));
    dlx_jinja_next(p);
    return DLX_OK;
}

/* ---- nodes --------------------------------------------------------------------------------------------------------
 */

static dlx_status make(dlx_jinja_parser *p, dlx_jinja_kind kind, uint32_t line, const uint32_t *fields, size_t n,
                       uint32_t *out)
{
    *out = dlx_jinja_new_node(p->tree, kind, line);
    if (*out != DLX_JINJA_NONE) {
        memcpy(p->tree->nodes[*out].f, fields, n * sizeof *fields);
        return DLX_OK;
    }
    if (p->tree->n_nodes >= DLX_JINJA_MAX_NODES)
        return dlx_fail(p->err, DLX_E_LIMIT, "chat template: has more than %d nodes", DLX_JINJA_MAX_NODES);
    return dlx_fail(p->err, DLX_E_NOMEM, "out of memory compiling a chat template");
}

dlx_status dlx_jinja_make(dlx_jinja_parser *p, dlx_jinja_kind kind, uint32_t line, uint32_t a, uint32_t b, uint32_t c,
                          uint32_t *out)
{
    const uint32_t fields[] = {a, b, c};
    return make(p, kind, line, fields, 3, out);
}

void dlx_jinja_append(dlx_jinja_parser *p, dlx_jinja_list *list, uint32_t node)
{
    if (list->last == DLX_JINJA_NONE)
        list->first = node;
    else
        p->tree->nodes[list->last].next = node;
    list->last = node;
}

/* ---- targets ------------------------------------------------------------------------------------------------------
 */

static dlx_status parse_target_item(dlx_jinja_parser *p, bool members, const char *end, uint32_t *out);

/* Targets with commas between them; a single one without a comma is itself. */
static dlx_status parse_targets(dlx_jinja_parser *p, bool members, const char *end, bool brackets, uint32_t *out)
{
    dlx_jinja_list list = {0};
    bool commas = false;
    uint32_t item, line = dlx_jinja_peek(p)->line;
    char found[64];
    for (;;) {
        bool ends = dlx_jinja_is_op(p, ")") || dlx_jinja_peek(p)->type == DLX_JINJA_T_BLOCK_END;
        /* No comma in front of these, in Jinja2. */
        bool goes_on = dlx_jinja_is_op(p, "=") || (end && dlx_jinja_is_word(p, end));
        if (goes_on && commas)
            return DLX_JINJA_SYNTAX(p, "%u: expected a variable, found %s", line, dlx_jinja_describe(p, found));
        if (ends || goes_on) break;
        DLX_TRY(parse_target_item(p, members, end, &item));
        dlx_jinja_append(p, &list, item);
        if (!dlx_jinja_skip_op(p, ",")) break;
        commas = true;
    }
    if (!commas && list.first) {
        *out = list.first;
        return DLX_OK;
    }
    if (!list.first && !brackets)
        return DLX_JINJA_SYNTAX(p, "%u: expected a variable, found %s", line, dlx_jinja_describe(p, found));
    return dlx_jinja_make(p, DLX_JINJA_TUPLE, line, list.first, 0, 0, out);
}

static dlx_status parse_target_item(dlx_jinja_parser *p, bool members, const char *end, uint32_t *out)
{
    static const char *const constants[] = {"true", "false", "none", "True", "False", "None"};
    uint32_t name, attribute, line = dlx_jinja_peek(p)->line;
    if (p->depth >= DLX_JINJA_MAX_DEPTH / 2) return DLX_JINJA_SYNTAX(p, "%u: targets are nested too deeply", line);
    if (dlx_jinja_skip_op(p, "(")) {
        p->depth++;
        dlx_status status = parse_targets(p, members, end, true, out);
        p->depth--;
        return status == DLX_OK ? dlx_jinja_expect_op(p, ")") : status;
    }
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
        if (dlx_jinja_is_word(p, constants[i]))
            return DLX_JINJA_SYNTAX(p, "%u: cannot assign to '%s'", line, constants[i]);
    DLX_TRY(dlx_jinja_expect_name(p, &name));
    if (members && dlx_jinja_skip_op(p, ".")) {
        DLX_TRY(dlx_jinja_expect_name(p, &attribute));
        return dlx_jinja_make(p, DLX_JINJA_MEMBER, line, name, attribute, 0, out);
    }
    return dlx_jinja_make(p, DLX_JINJA_NAME, line, name, 0, 0, out);
}

/* ---- what becomes of a message's content ---------------------------------------------------------------------------
 */

static bool string_is(const dlx_jinja_parser *p, uint32_t string, const char *text)
{
    const dlx_jinja_text *s = &p->tree->strings[string];
    return s->n == strlen(text) && memcmp(s->p, text, s->n) == 0;
}

/* Whether an expression is a message's content, or a variable that was set to one. */
static bool is_content(const dlx_jinja_parser *p, uint32_t i)
{
    const dlx_jinja_node *node = &p->tree->nodes[i];
    while (node->kind == DLX_JINJA_FILTER || node->kind == DLX_JINJA_CONDITION || node->kind == DLX_JINJA_OR ||
           (node->kind == DLX_JINJA_ITEM && p->tree->nodes[node->f[1]].kind == DLX_JINJA_SLICE))
        node = &p->tree->nodes[node->f[node->kind == DLX_JINJA_ITEM || node->kind == DLX_JINJA_OR ? 0 : 1]];
    if (node->kind == DLX_JINJA_ATTRIBUTE) return string_is(p, node->f[1], "content");
    if (node->kind == DLX_JINJA_ITEM) {
        const dlx_jinja_node *key = &p->tree->nodes[node->f[1]];
        return key->kind == DLX_JINJA_STRING && string_is(p, key->f[0], "content");
    }
    if (node->kind != DLX_JINJA_NAME) return false;
    for (size_t k = 0; k < p->n_parts; k++)
        if (p->parts[k] == node->f[0]) return true;
    return string_is(p, node->f[0], "content");
}

void dlx_jinja_note_elements(dlx_jinja_parser *p, uint32_t value)
{
    if (is_content(p, value)) p->tree->flags |= DLX_JINJA_READS_PARTS;
}

static void note_content(dlx_jinja_parser *p, uint32_t target, uint32_t value)
{
    bool fits = p->tree->nodes[target].kind == DLX_JINJA_NAME && p->n_parts < sizeof p->parts / sizeof p->parts[0];
    if (fits && is_content(p, value)) p->parts[p->n_parts++] = p->tree->nodes[target].f[0];
}

/* ---- statements ---------------------------------------------------------------------------------------------------
 */

static dlx_status parse_body(dlx_jinja_parser *p, const char *const *ends, uint32_t *first);

/* The rest of an opening tag, statements, and the word that ends them (of `ends`, which a NULL closes). */
static dlx_status parse_block(dlx_jinja_parser *p, const char *const *ends, uint32_t *first)
{
    dlx_jinja_skip_op(p, ":");
    DLX_TRY(expect_type(p, DLX_JINJA_T_BLOCK_END));
    DLX_TRY(parse_body(p, ends, first));
    char found[64];
    if (dlx_jinja_peek(p)->type == DLX_JINJA_T_END)
        return DLX_JINJA_SYNTAX(p, "%u: expected '%s', found %s", dlx_jinja_peek(p)->line, ends[0],
                                dlx_jinja_describe(p, found));
    return DLX_OK;
}

/* The same where only one word can end it, which is skipped. */
static dlx_status parse_block_to(dlx_jinja_parser *p, const char *end, uint32_t *first)
{
    const char *const ends[] = {end, NULL};
    DLX_TRY(parse_block(p, ends, first));
    return expect_word(p, end);
}

static dlx_status parse_set(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    uint32_t target, value, body, filters = DLX_JINJA_NONE;
    DLX_TRY(parse_targets(p, true, NULL, false, &target));
    if (dlx_jinja_skip_op(p, "=")) {
        DLX_TRY(dlx_jinja_parse_tuple(p, true, NULL, &value));
        note_content(p, target, value);
        return dlx_jinja_make(p, DLX_JINJA_SET, line, target, value, 0, out);
    }
    if (dlx_jinja_is_op(p, "|")) {
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_INPUT, line, 0, 0, 0, &filters));
        DLX_TRY(dlx_jinja_parse_filters(p, false, &filters));
    }
    DLX_TRY(parse_block_to(p, "endset", &body));
    return dlx_jinja_make(p, DLX_JINJA_SET_BLOCK, line, target, filters, body, out);
}

static dlx_status parse_for(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    uint32_t target, sequence, filter = DLX_JINJA_NONE, body, otherwise = DLX_JINJA_NONE;
    DLX_TRY(parse_targets(p, false, "in", false, &target));
    DLX_TRY(expect_word(p, "in"));
    DLX_TRY(dlx_jinja_parse_tuple(p, false, "recursive", &sequence));
    if (dlx_jinja_skip_word(p, "if")) DLX_TRY(dlx_jinja_parse_expression(p, &filter));
    bool recursive = dlx_jinja_skip_word(p, "recursive");
    dlx_jinja_note_elements(p, sequence);
    p->loops++;
    dlx_status status = parse_block(p, ends, &body);
    p->loops--;
    DLX_TRY(status);
    if (dlx_jinja_skip_word(p, "else"))
        DLX_TRY(parse_block_to(p, "endfor", &otherwise));
    else
        DLX_TRY(expect_word(p, "endfor"));
    const uint32_t fields[] = {target, sequence, filter, body, otherwise, recursive};
    return make(p, DLX_JINJA_FOR, line, fields, 6, out);
}

/* `elif` becomes an `if` of its own in the else branch. */
static dlx_status parse_if(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    static const char *const ends[] = {"endif", "elif", "else", NULL};
    uint32_t test, body, otherwise = DLX_JINJA_NONE;
    uint32_t last = DLX_JINJA_NONE;
    int chain = 0;
    for (;;) {
        DLX_TRY(dlx_jinja_parse_tuple(p, false, NULL, &test));
        DLX_TRY(parse_block(p, ends, &body));
        uint32_t node;
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_IF, line, test, body, 0, &node));
        if (last == DLX_JINJA_NONE)
            *out = node;
        else
            p->tree->nodes[last].f[2] = node;
        last = node;
        line = dlx_jinja_peek(p)->line;
        if (!dlx_jinja_skip_word(p, "elif")) break;
        if (++chain + p->depth > DLX_JINJA_MAX_DEPTH / 2)
            return DLX_JINJA_SYNTAX(p, "%u: too many 'elif' follow each other", line);
    }
    if (dlx_jinja_skip_word(p, "else"))
        DLX_TRY(parse_block_to(p, "endif", &otherwise));
    else
        DLX_TRY(expect_word(p, "endif"));
    p->tree->nodes[last].f[2] = otherwise;
    return DLX_OK;
}

static dlx_status parse_with(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    dlx_jinja_list list = {0};
    uint32_t target, value, body, variable;
    while (dlx_jinja_peek(p)->type != DLX_JINJA_T_BLOCK_END) {
        if (list.first) DLX_TRY(dlx_jinja_expect_op(p, ","));
        DLX_TRY(parse_target_item(p, false, NULL, &target));
        DLX_TRY(dlx_jinja_expect_op(p, "="));
        DLX_TRY(dlx_jinja_parse_expression(p, &value));
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_VARIABLE, line, target, value, 0, &variable));
        dlx_jinja_append(p, &list, variable);
    }
    DLX_TRY(parse_block_to(p, "endwith", &body));
    return dlx_jinja_make(p, DLX_JINJA_WITH, line, list.first, body, 0, out);
}

/* "(a, b=1)" of a macro or call block. */
static dlx_status parse_parameters(dlx_jinja_parser *p, uint32_t *first)
{
    dlx_jinja_list list = {0};
    bool defaults = false;
    DLX_TRY(dlx_jinja_expect_op(p, "("));
    while (!dlx_jinja_is_op(p, ")")) {
        uint32_t name, value = DLX_JINJA_NONE, parameter, line = dlx_jinja_peek(p)->line;
        if (list.first) DLX_TRY(dlx_jinja_expect_op(p, ","));
        DLX_TRY(dlx_jinja_expect_name(p, &name));
        if (dlx_jinja_skip_op(p, "=")) {
            DLX_TRY(dlx_jinja_parse_expression(p, &value));
            defaults = true;
        } else if (defaults) {
            return DLX_JINJA_SYNTAX(p, "%u: a parameter without default follows one with a default", line);
        }
        for (uint32_t i = list.first; i != DLX_JINJA_NONE; i = p->tree->nodes[i].next)
            if (p->tree->nodes[i].f[0] == name) return DLX_JINJA_SYNTAX(p, "%u: a parameter is there twice", line);
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_PARAMETER, line, name, value, 0, &parameter));
        dlx_jinja_append(p, &list, parameter);
    }
    *first = list.first;
    return dlx_jinja_expect_op(p, ")");
}

/* The body of what becomes a function: outside every loop, and with its own account of names. */
static dlx_status parse_function_body(dlx_jinja_parser *p, const char *end, uint32_t *body, uint32_t *uses)
{
    int loops = p->loops;
    uint32_t before = p->uses;
    p->loops = 0;
    p->uses = 0;
    dlx_status status = parse_block_to(p, end, body);
    *uses = p->uses;
    p->uses |= before;
    p->loops = loops;
    return status;
}

static dlx_status parse_macro(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    uint32_t name, parameters, body, uses;
    DLX_TRY(dlx_jinja_expect_name(p, &name));
    DLX_TRY(parse_parameters(p, &parameters));
    DLX_TRY(parse_function_body(p, "endmacro", &body, &uses));
    const uint32_t fields[] = {name, parameters, body, uses};
    return make(p, DLX_JINJA_MACRO, line, fields, 4, out);
}

static dlx_status parse_call_block(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    uint32_t call, parameters = DLX_JINJA_NONE, body, uses;
    if (dlx_jinja_is_op(p, "(")) DLX_TRY(parse_parameters(p, &parameters));
    DLX_TRY(dlx_jinja_parse_expression(p, &call));
    if (p->tree->nodes[call].kind != DLX_JINJA_CALL) return DLX_JINJA_SYNTAX(p, "%u: expected a call", line);
    DLX_TRY(parse_function_body(p, "endcall", &body, &uses));
    const uint32_t fields[] = {call, parameters, body, uses};
    return make(p, DLX_JINJA_CALL_BLOCK, line, fields, 4, out);
}

static dlx_status parse_generation(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    uint32_t body, uses;
    DLX_TRY(parse_function_body(p, "endgeneration", &body, &uses));
    return dlx_jinja_make(p, DLX_JINJA_GENERATION, line, body, 0, 0, out);
}

static dlx_status parse_filter_block(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    uint32_t filters, body;
    DLX_TRY(dlx_jinja_make(p, DLX_JINJA_INPUT, line, 0, 0, 0, &filters));
    DLX_TRY(dlx_jinja_parse_filters(p, true, &filters));
    DLX_TRY(parse_block_to(p, "endfilter", &body));
    return dlx_jinja_make(p, DLX_JINJA_FILTER_BLOCK, line, filters, body, 0, out);
}

/* {% print a, b %} */
static dlx_status parse_print(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    dlx_jinja_list list = {0};
    while (dlx_jinja_peek(p)->type != DLX_JINJA_T_BLOCK_END) {
        uint32_t value, node;
        if (list.first) DLX_TRY(dlx_jinja_expect_op(p, ","));
        DLX_TRY(dlx_jinja_parse_expression(p, &value));
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_PRINT, line, value, 0, 0, &node));
        dlx_jinja_append(p, &list, node);
    }
    *out = list.first;
    return DLX_OK;
}

static dlx_status parse_jump(dlx_jinja_parser *p, dlx_jinja_kind kind, const char *word, uint32_t line, uint32_t *out)
{
    if (p->loops == 0) return DLX_JINJA_SYNTAX(p, "%u: '%s' outside of a loop", line, word);
    return dlx_jinja_make(p, kind, line, 0, 0, 0, out);
}

static dlx_status parse_statement(dlx_jinja_parser *p, uint32_t *out)
{
    static const char *const known[] = {"block", "extends", "include", "import", "from", "autoescape"};
    uint32_t line = dlx_jinja_peek(p)->line;
    char found[64];
    dlx_jinja_describe(p, found);
    if (dlx_jinja_skip_word(p, "set")) return parse_set(p, line, out);
    if (dlx_jinja_skip_word(p, "for")) return parse_for(p, line, out);
    if (dlx_jinja_skip_word(p, "if")) return parse_if(p, line, out);
    if (dlx_jinja_skip_word(p, "with")) return parse_with(p, line, out);
    if (dlx_jinja_skip_word(p, "macro")) return parse_macro(p, line, out);
    if (dlx_jinja_skip_word(p, "call")) return parse_call_block(p, line, out);
    if (dlx_jinja_skip_word(p, "generation")) return parse_generation(p, line, out);
    if (dlx_jinja_skip_word(p, "filter")) return parse_filter_block(p, line, out);
    if (dlx_jinja_skip_word(p, "print")) return parse_print(p, line, out);
    if (dlx_jinja_skip_word(p, "break")) return parse_jump(p, DLX_JINJA_BREAK, "break", line, out);
    if (dlx_jinja_skip_word(p, "continue")) return parse_jump(p, DLX_JINJA_CONTINUE, "continue", line, out);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (dlx_jinja_is_word(p, known[i]))
            return DLX_JINJA_REFUSE(p, "%u: the statement '%s' is not supported in chat templates", line, known[i]);
    return DLX_JINJA_SYNTAX(p, "%u: %s is no statement that can stand here", line, found);
}

/* One piece of a body: text, {{ }} or {% %}. *out may be NONE. */
static dlx_status parse_piece(dlx_jinja_parser *p, uint32_t *out)
{
    const dlx_jinja_token *t = dlx_jinja_peek(p);
    uint32_t value;
    *out = DLX_JINJA_NONE;
    dlx_jinja_next(p);
    if (t->type == DLX_JINJA_T_DATA) return dlx_jinja_make(p, DLX_JINJA_DATA, t->line, t->string, 0, 0, out);
    if (t->type == DLX_JINJA_T_PRINT_BEGIN) {
        DLX_TRY(dlx_jinja_parse_tuple(p, true, NULL, &value));
        DLX_TRY(expect_type(p, DLX_JINJA_T_PRINT_END));
        return dlx_jinja_make(p, DLX_JINJA_PRINT, t->line, value, 0, 0, out);
    }
    DLX_TRY(parse_statement(p, out));
    return expect_type(p, DLX_JINJA_T_BLOCK_END);
}

/* Statements up to a tag that begins with one of `ends` (behind which the parser stops), or to the end. */
static dlx_status parse_body(dlx_jinja_parser *p, const char *const *ends, uint32_t *first)
{
    dlx_jinja_list list = {0};
    if (p->depth >= DLX_JINJA_MAX_DEPTH / 2)
        return DLX_JINJA_SYNTAX(p, "%u: blocks are nested too deeply", dlx_jinja_peek(p)->line);
    p->depth++;
    while (dlx_jinja_peek(p)->type != DLX_JINJA_T_END) {
        if (dlx_jinja_peek(p)->type == DLX_JINJA_T_BLOCK_BEGIN) {
            bool ended = false;
            for (size_t i = 0; ends && ends[i]; i++)
                ended = ended || dlx_jinja_token_is(p, dlx_jinja_peek(p) + 1, ends[i]);
            if (ended) {
                dlx_jinja_next(p);
                break;
            }
        }
        uint32_t node;
        DLX_TRY(parse_piece(p, &node));
        if (node == DLX_JINJA_NONE) continue;
        dlx_jinja_append(p, &list, node);
        while (p->tree->nodes[list.last].next) list.last = p->tree->nodes[list.last].next; /* {% print a, b %} */
    }
    p->depth--;
    *first = list.first;
    return DLX_OK;
}

dlx_status dlx_jinja_parse(dlx_jinja_tree *tree, const char *source, size_t n, dlx_error *err)
{
    dlx_jinja_tokens tokens;
    memset(tree, 0, sizeof *tree);
    dlx_status status = dlx_jinja_lex(&tokens, tree, source, n, err);
    dlx_jinja_parser p = {.tokens = &tokens, .tree = tree, .err = err};
    uint32_t root = DLX_JINJA_NONE;
    if (status == DLX_OK) status = parse_body(&p, NULL, &root);
    tree->root = root;
    free(tokens.list);
    if (status != DLX_OK) dlx_jinja_tree_free(tree);
    return status;
}
