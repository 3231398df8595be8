/* Expressions, by precedence. */
#include <string.h>

#include "text/jinja/methods.h"
#include "text/jinja/names.h"
#include "text/jinja/parse.h"

static dlx_status deeper(dlx_jinja_parser *p)
{
    if (++p->depth < DLX_JINJA_MAX_DEPTH / 2) return DLX_OK;
    return DLX_JINJA_SYNTAX(p, "%u: the expression is nested too deeply", dlx_jinja_peek(p)->line);
}

/* ---- literals ------------------------------------------------------------------------------------------------------
 */

/* Neighbouring strings are one. */
static dlx_status parse_string(dlx_jinja_parser *p, uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line, number = dlx_jinja_peek(p)->string, joined;
    dlx_jinja_next(p);
    while (dlx_jinja_peek(p)->type == DLX_JINJA_T_STRING) {
        dlx_jinja_text a = p->tree->strings[number], b = p->tree->strings[dlx_jinja_peek(p)->string];
        char both[4096];
        if ((size_t)a.n + b.n > sizeof both)
            return DLX_JINJA_SYNTAX(p, "%u: neighbouring strings are too long together", line);
        memcpy(both, a.p, a.n);
        memcpy(both + a.n, b.p, b.n);
        if (!dlx_jinja_intern(p->tree, both, (size_t)a.n + b.n, &joined))
            return dlx_fail(p->err, DLX_E_NOMEM, "chat template: out of memory");
        number = joined;
        dlx_jinja_next(p);
    }
    return dlx_jinja_make(p, DLX_JINJA_STRING, line, number, 0, 0, out);
}

static dlx_status parse_list(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    dlx_jinja_list list = {0};
    while (!dlx_jinja_is_op(p, "]")) {
        uint32_t item;
        if (list.first) DLX_TRY(dlx_jinja_expect_op(p, ","));
        if (dlx_jinja_is_op(p, "]")) break;
        DLX_TRY(dlx_jinja_parse_expression(p, &item));
        dlx_jinja_append(p, &list, item);
    }
    DLX_TRY(dlx_jinja_expect_op(p, "]"));
    return dlx_jinja_make(p, DLX_JINJA_LIST, line, list.first, 0, 0, out);
}

static dlx_status parse_dict(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    dlx_jinja_list list = {0};
    while (!dlx_jinja_is_op(p, "}")) {
        uint32_t key, value, pair;
        if (list.first) DLX_TRY(dlx_jinja_expect_op(p, ","));
        if (dlx_jinja_is_op(p, "}")) break;
        DLX_TRY(dlx_jinja_parse_expression(p, &key));
        DLX_TRY(dlx_jinja_expect_op(p, ":"));
        DLX_TRY(dlx_jinja_parse_expression(p, &value));
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_PAIR, p->tree->nodes[key].line, key, value, 0, &pair));
        dlx_jinja_append(p, &list, pair);
    }
    DLX_TRY(dlx_jinja_expect_op(p, "}"));
    return dlx_jinja_make(p, DLX_JINJA_DICT, line, list.first, 0, 0, out);
}

static bool tuple_ends(const dlx_jinja_parser *p, const char *end)
{
    dlx_jinja_token_type type = dlx_jinja_peek(p)->type;
    return type == DLX_JINJA_T_PRINT_END || type == DLX_JINJA_T_BLOCK_END || dlx_jinja_is_op(p, ")") ||
           (end && dlx_jinja_is_word(p, end));
}

static dlx_status parse_elements(dlx_jinja_parser *p, bool conditions, const char *end, bool brackets, uint32_t *out)
{
    dlx_jinja_list list = {0};
    uint32_t line = dlx_jinja_peek(p)->line, item;
    bool commas = false;
    char found[64];
    while (!tuple_ends(p, end)) {
        DLX_TRY(conditions ? dlx_jinja_parse_expression(p, &item) : dlx_jinja_parse_or(p, &item));
        dlx_jinja_append(p, &list, item);
        if (!dlx_jinja_skip_op(p, ",")) break;
        commas = true;
    }
    if (!commas && list.first) {
        *out = list.first;
        return DLX_OK;
    }
    if (!commas && !brackets)
        return DLX_JINJA_SYNTAX(p, "%u: expected an expression, found %s", line, dlx_jinja_describe(p, found));
    return dlx_jinja_make(p, DLX_JINJA_TUPLE, line, list.first, 0, 0, out);
}

dlx_status dlx_jinja_parse_tuple(dlx_jinja_parser *p, bool conditions, const char *end, uint32_t *out)
{
    return parse_elements(p, conditions, end, false, out);
}

static dlx_status parse_name(dlx_jinja_parser *p, uint32_t *out)
{
    static const struct {
        const char *name;
        dlx_jinja_kind kind;
    } constants[] = {{"true", DLX_JINJA_TRUE},   {"True", DLX_JINJA_TRUE}, {"false", DLX_JINJA_FALSE},
                     {"False", DLX_JINJA_FALSE}, {"none", DLX_JINJA_NULL}, {"None", DLX_JINJA_NULL}};
    static const struct {
        const char *name;
        uint32_t uses;
    } special[] = {
        {"caller", DLX_JINJA_USES_CALLER}, {"kwargs", DLX_JINJA_USES_KWARGS}, {"varargs", DLX_JINJA_USES_VARARGS}};
    static const char *const missing[] = {"lipsum", "super", "self"};
    uint32_t line = dlx_jinja_peek(p)->line, name = dlx_jinja_peek(p)->string;
    for (size_t i = 0; i < 6; i++)
        if (dlx_jinja_skip_word(p, constants[i].name)) return dlx_jinja_make(p, constants[i].kind, line, 0, 0, 0, out);
    for (size_t i = 0; i < 3; i++) {
        if (dlx_jinja_is_word(p, special[i].name)) p->uses |= special[i].uses;
        if (dlx_jinja_is_word(p, missing[i]))
            return DLX_JINJA_REFUSE(p, "%u: '%s' is not supported in chat templates", line, missing[i]);
    }
    dlx_jinja_next(p);
    return dlx_jinja_make(p, DLX_JINJA_NAME, line, name, 0, 0, out);
}

static dlx_status parse_primary(dlx_jinja_parser *p, uint32_t *out)
{
    const dlx_jinja_token *t = dlx_jinja_peek(p);
    char found[64];
    if (t->type == DLX_JINJA_T_NAME) return parse_name(p, out);
    if (t->type == DLX_JINJA_T_STRING) return parse_string(p, out);
    if (t->type == DLX_JINJA_T_INTEGER || t->type == DLX_JINJA_T_FLOAT) {
        dlx_jinja_next(p);
        return dlx_jinja_make(p, t->type == DLX_JINJA_T_FLOAT ? DLX_JINJA_FLOAT : DLX_JINJA_INTEGER, t->line,
                              (uint32_t)t->number, (uint32_t)(t->number >> 32), 0, out);
    }
    if (dlx_jinja_skip_op(p, "(")) {
        DLX_TRY(parse_elements(p, true, NULL, true, out));
        return dlx_jinja_expect_op(p, ")");
    }
    if (dlx_jinja_skip_op(p, "[")) return parse_list(p, t->line, out);
    if (dlx_jinja_skip_op(p, "{")) return parse_dict(p, t->line, out);
    return DLX_JINJA_SYNTAX(p, "%u: expected an expression, found %s", t->line, dlx_jinja_describe(p, found));
}

/* ---- behind an operand ---------------------------------------------------------------------------------------------
 */

/* A part of a slice, NONE where it is left out. */
static dlx_status parse_slice_part(dlx_jinja_parser *p, uint32_t *out)
{
    *out = DLX_JINJA_NONE;
    if (dlx_jinja_is_op(p, ":") || dlx_jinja_is_op(p, "]") || dlx_jinja_is_op(p, ",")) return DLX_OK;
    return dlx_jinja_parse_expression(p, out);
}

static dlx_status parse_subscript(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    uint32_t object = *out, key, start, stop = DLX_JINJA_NONE, step = DLX_JINJA_NONE;
    if (dlx_jinja_is_op(p, "]")) return DLX_JINJA_SYNTAX(p, "%u: expected a subscript, found ']'", line);
    DLX_TRY(parse_slice_part(p, &start));
    key = start;
    if (dlx_jinja_skip_op(p, ":")) {
        DLX_TRY(parse_slice_part(p, &stop));
        if (dlx_jinja_skip_op(p, ":")) DLX_TRY(parse_slice_part(p, &step));
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_SLICE, line, start, stop, step, &key));
    } else if (dlx_jinja_is_op(p, ",")) {
        return DLX_JINJA_REFUSE(p, "%u: a subscript of several values is not supported", line);
    }
    if (dlx_jinja_is_op(p, ",")) return DLX_JINJA_REFUSE(p, "%u: a subscript of several slices is not supported", line);
    DLX_TRY(dlx_jinja_expect_op(p, "]"));
    if (p->tree->nodes[key].kind == DLX_JINJA_INTEGER) dlx_jinja_note_elements(p, object);
    return dlx_jinja_make(p, DLX_JINJA_ITEM, line, object, key, 0, out);
}

static dlx_status parse_attribute(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    const dlx_jinja_token *t = dlx_jinja_peek(p);
    uint32_t key;
    dlx_jinja_next(p);
    if (t->type == DLX_JINJA_T_NAME) {
        dlx_jinja_text name = p->tree->strings[t->string];
        if (dlx_jinja_method_is_missing(name.p, name.n) && dlx_jinja_is_op(p, "("))
            return DLX_JINJA_REFUSE(p, "%u: the method '%.*s' is not supported in chat templates", line, (int)name.n,
                                    name.p);
        return dlx_jinja_make(p, DLX_JINJA_ATTRIBUTE, line, *out, t->string, 0, out);
    }
    if (t->type != DLX_JINJA_T_INTEGER) return DLX_JINJA_SYNTAX(p, "%u: expected a name or number behind '.'", line);
    DLX_TRY(dlx_jinja_make(p, DLX_JINJA_INTEGER, line, (uint32_t)t->number, (uint32_t)(t->number >> 32), 0, &key));
    return dlx_jinja_make(p, DLX_JINJA_ITEM, line, *out, key, 0, out);
}

static dlx_status parse_argument(dlx_jinja_parser *p, bool seen[3], uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line, value;
    bool spread = dlx_jinja_skip_op(p, "*"), keywords = !spread && dlx_jinja_skip_op(p, "**");
    bool named = !spread && !keywords && dlx_jinja_peek(p)->type == DLX_JINJA_T_NAME && p->at + 1 < p->tokens->n &&
                 p->tokens->list[p->at + 1].type == DLX_JINJA_T_OPERATOR &&
                 strcmp(p->tokens->list[p->at + 1].op, "=") == 0;
    /* In this order: values, names, *list, **mapping. */
    bool fine = keywords || named ? !seen[2] : spread ? !seen[1] && !seen[2] : !seen[0] && !seen[1] && !seen[2];
    if (!fine) return DLX_JINJA_SYNTAX(p, "%u: arguments of a call stand in the wrong order", line);
    uint32_t name = dlx_jinja_peek(p)->string;
    if (named) {
        dlx_jinja_next(p);
        dlx_jinja_next(p);
    }
    DLX_TRY(dlx_jinja_parse_expression(p, &value));
    seen[0] = seen[0] || named;
    seen[1] = seen[1] || spread;
    seen[2] = seen[2] || keywords;
    if (named) return dlx_jinja_make(p, DLX_JINJA_KEYWORD, line, name, value, 0, out);
    if (spread) return dlx_jinja_make(p, DLX_JINJA_SPREAD, line, value, 0, 0, out);
    if (keywords) return dlx_jinja_make(p, DLX_JINJA_SPREAD_KEYWORDS, line, value, 0, 0, out);
    *out = value;
    return DLX_OK;
}

/* "(...)" with the opening bracket skipped already. */
static dlx_status parse_arguments(dlx_jinja_parser *p, uint32_t *first)
{
    dlx_jinja_list list = {0};
    bool seen[3] = {false};
    while (!dlx_jinja_is_op(p, ")")) {
        uint32_t argument;
        if (list.first) DLX_TRY(dlx_jinja_expect_op(p, ","));
        if (dlx_jinja_is_op(p, ")")) break;
        DLX_TRY(parse_argument(p, seen, &argument));
        dlx_jinja_append(p, &list, argument);
    }
    *first = list.first;
    return dlx_jinja_expect_op(p, ")");
}

static dlx_status parse_call(dlx_jinja_parser *p, uint32_t line, uint32_t *out)
{
    uint32_t arguments;
    DLX_TRY(parse_arguments(p, &arguments));
    return dlx_jinja_make(p, DLX_JINJA_CALL, line, *out, arguments, 0, out);
}

/* Each link of a chain nests the tree by one. */
static dlx_status count_link(dlx_jinja_parser *p, int *links)
{
    if (++*links + p->depth < DLX_JINJA_MAX_DEPTH / 2) return DLX_OK;
    return DLX_JINJA_SYNTAX(p, "%u: too many operations follow each other", dlx_jinja_peek(p)->line);
}

static dlx_status parse_postfix(dlx_jinja_parser *p, uint32_t *out)
{
    for (int links = 0;;) {
        uint32_t line = dlx_jinja_peek(p)->line;
        if (dlx_jinja_skip_op(p, "."))
            DLX_TRY(parse_attribute(p, line, out));
        else if (dlx_jinja_skip_op(p, "["))
            DLX_TRY(parse_subscript(p, line, out));
        else if (dlx_jinja_skip_op(p, "("))
            DLX_TRY(parse_call(p, line, out));
        else
            return DLX_OK;
        DLX_TRY(count_link(p, &links));
    }
}

static dlx_status parse_filter(dlx_jinja_parser *p, uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line, name, arguments = DLX_JINJA_NONE;
    DLX_TRY(dlx_jinja_expect_name(p, &name));
    dlx_jinja_text text = p->tree->strings[name];
    int filter = dlx_jinja_find_filter(text.p, text.n);
    if (filter < 0)
        return DLX_JINJA_REFUSE(p, "%u: there is no filter '%.*s'", line, text.n < 60 ? (int)text.n : 60, text.p);
    if (dlx_jinja_skip_op(p, "(")) DLX_TRY(parse_arguments(p, &arguments));
    bool of_elements = filter == DLX_JINJA_FILTER_MAP || filter == DLX_JINJA_FILTER_SELECTATTR ||
                       filter == DLX_JINJA_FILTER_REJECTATTR;
    if (of_elements) dlx_jinja_note_elements(p, *out);
    return dlx_jinja_make(p, DLX_JINJA_FILTER, line, (uint32_t)filter, *out, arguments, out);
}

dlx_status dlx_jinja_parse_filters(dlx_jinja_parser *p, bool inline_first, uint32_t *out)
{
    int links = 0;
    if (inline_first) DLX_TRY(parse_filter(p, out));
    while (dlx_jinja_skip_op(p, "|")) {
        DLX_TRY(parse_filter(p, out));
        DLX_TRY(count_link(p, &links));
    }
    return DLX_OK;
}

/* "is not name(arguments)", or with one operand without brackets. */
static dlx_status parse_test(dlx_jinja_parser *p, uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line, name, arguments = DLX_JINJA_NONE;
    bool negated = dlx_jinja_skip_word(p, "not");
    DLX_TRY(dlx_jinja_expect_name(p, &name));
    dlx_jinja_text text = p->tree->strings[name];
    int test = dlx_jinja_find_test(text.p, text.n);
    if (test < 0)
        return DLX_JINJA_REFUSE(p, "%u: there is no test '%.*s'", line, text.n < 60 ? (int)text.n : 60, text.p);
    dlx_jinja_token_type type = dlx_jinja_peek(p)->type;
    bool word = dlx_jinja_is_word(p, "else") || dlx_jinja_is_word(p, "or") || dlx_jinja_is_word(p, "and");
    if (dlx_jinja_skip_op(p, "(")) {
        DLX_TRY(parse_arguments(p, &arguments));
    } else if (((type == DLX_JINJA_T_NAME && !word) || type == DLX_JINJA_T_STRING || type == DLX_JINJA_T_INTEGER ||
                type == DLX_JINJA_T_FLOAT || dlx_jinja_is_op(p, "[") || dlx_jinja_is_op(p, "{"))) {
        if (dlx_jinja_is_word(p, "is"))
            return DLX_JINJA_SYNTAX(p, "%u: several tests with 'is' cannot follow each other", line);
        DLX_TRY(parse_primary(p, &arguments));
        DLX_TRY(parse_postfix(p, &arguments));
    }
    DLX_TRY(dlx_jinja_make(p, DLX_JINJA_TEST, line, (uint32_t)test, *out, arguments, out));
    return negated ? dlx_jinja_make(p, DLX_JINJA_NOT, line, *out, 0, 0, out) : DLX_OK;
}

static dlx_status parse_filter_chain(dlx_jinja_parser *p, uint32_t *out)
{
    for (int links = 0;;) {
        uint32_t line = dlx_jinja_peek(p)->line;
        if (dlx_jinja_skip_op(p, "|"))
            DLX_TRY(parse_filter(p, out));
        else if (dlx_jinja_skip_word(p, "is"))
            DLX_TRY(parse_test(p, out));
        else if (dlx_jinja_skip_op(p, "("))
            DLX_TRY(parse_call(p, line, out));
        else
            return DLX_OK;
        DLX_TRY(count_link(p, &links));
    }
}

/* ---- operators -----------------------------------------------------------------------------------------------------
 */

static dlx_status parse_unary(dlx_jinja_parser *p, bool filters, uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line;
    DLX_TRY(deeper(p));
    if (dlx_jinja_is_op(p, "-") || dlx_jinja_is_op(p, "+")) {
        dlx_jinja_kind kind = dlx_jinja_is_op(p, "-") ? DLX_JINJA_NEGATE : DLX_JINJA_PLUS;
        dlx_jinja_next(p);
        DLX_TRY(parse_unary(p, false, out));
        DLX_TRY(dlx_jinja_make(p, kind, line, *out, 0, 0, out));
    } else {
        DLX_TRY(parse_primary(p, out));
    }
    DLX_TRY(parse_postfix(p, out));
    if (filters) DLX_TRY(parse_filter_chain(p, out));
    p->depth--;
    return DLX_OK;
}

typedef struct operator_name {
    const char *op;
    uint32_t number;
} operator_name;

static const operator_name *find_operator(const dlx_jinja_parser *p, const operator_name *list)
{
    for (; list->op; list++)
        if (dlx_jinja_is_op(p, list->op)) return list;
    return NULL;
}

/* Operands with operators of one row of precedence between them, from the left. */
static dlx_status parse_binary(dlx_jinja_parser *p, const operator_name *list,
                               dlx_status (*parse_operand)(dlx_jinja_parser *p, uint32_t *out), uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line, right;
    const operator_name *op;
    int links = 0;
    DLX_TRY(parse_operand(p, out));
    while ((op = find_operator(p, list))) {
        dlx_jinja_next(p);
        DLX_TRY(parse_operand(p, &right));
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_BINARY, line, op->number, *out, right, out));
        DLX_TRY(count_link(p, &links));
    }
    return DLX_OK;
}

static dlx_status parse_filtered(dlx_jinja_parser *p, uint32_t *out)
{
    return parse_unary(p, true, out);
}

static dlx_status parse_power(dlx_jinja_parser *p, uint32_t *out)
{
    static const operator_name list[] = {{"**", DLX_JINJA_POW}, {NULL, 0}};
    return parse_binary(p, list, parse_filtered, out);
}

static dlx_status parse_product(dlx_jinja_parser *p, uint32_t *out)
{
    static const operator_name list[] = {
        {"*", DLX_JINJA_MUL}, {"/", DLX_JINJA_DIV}, {"//", DLX_JINJA_FLOORDIV}, {"%", DLX_JINJA_MOD}, {NULL, 0}};
    return parse_binary(p, list, parse_power, out);
}

static dlx_status parse_concat(dlx_jinja_parser *p, uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line, item;
    DLX_TRY(parse_product(p, out));
    if (!dlx_jinja_is_op(p, "~")) return DLX_OK;
    dlx_jinja_list list = {0};
    dlx_jinja_append(p, &list, *out);
    while (dlx_jinja_skip_op(p, "~")) {
        DLX_TRY(parse_product(p, &item));
        dlx_jinja_append(p, &list, item);
    }
    return dlx_jinja_make(p, DLX_JINJA_CONCAT, line, list.first, 0, 0, out);
}

static dlx_status parse_sum(dlx_jinja_parser *p, uint32_t *out)
{
    static const operator_name list[] = {{"+", DLX_JINJA_ADD}, {"-", DLX_JINJA_SUB}, {NULL, 0}};
    return parse_binary(p, list, parse_concat, out);
}

static dlx_status parse_compare(dlx_jinja_parser *p, uint32_t *out)
{
    static const operator_name list[] = {{"==", DLX_JINJA_EQ},
                                         {"!=", DLX_JINJA_NE},
                                         {"<", DLX_JINJA_LT},
                                         {"<=", DLX_JINJA_LE},
                                         {">", DLX_JINJA_GT},
                                         {">=", DLX_JINJA_GE},
                                         {NULL, 0}};
    uint32_t line = dlx_jinja_peek(p)->line, right, operand;
    dlx_jinja_list operands = {0};
    DLX_TRY(parse_sum(p, out));
    for (;;) {
        const operator_name *op = find_operator(p, list);
        uint32_t number = op ? op->number : DLX_JINJA_IN;
        bool not_in = dlx_jinja_is_word(p, "not") && p->at + 1 < p->tokens->n &&
                      dlx_jinja_token_is(p, dlx_jinja_peek(p) + 1, "in");
        if (not_in) {
            number = DLX_JINJA_NOT_IN;
            dlx_jinja_next(p);
        } else if (!op && !dlx_jinja_is_word(p, "in")) {
            break;
        }
        dlx_jinja_next(p);
        DLX_TRY(parse_sum(p, &right));
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_OPERAND, line, number, right, 0, &operand));
        dlx_jinja_append(p, &operands, operand);
    }
    return operands.first ? dlx_jinja_make(p, DLX_JINJA_COMPARE, line, *out, operands.first, 0, out) : DLX_OK;
}

static dlx_status parse_not(dlx_jinja_parser *p, uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line;
    if (!dlx_jinja_skip_word(p, "not")) return parse_compare(p, out);
    DLX_TRY(deeper(p));
    DLX_TRY(parse_not(p, out));
    p->depth--;
    return dlx_jinja_make(p, DLX_JINJA_NOT, line, *out, 0, 0, out);
}

static dlx_status parse_and(dlx_jinja_parser *p, uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line, right;
    int links = 0;
    DLX_TRY(parse_not(p, out));
    while (dlx_jinja_skip_word(p, "and")) {
        DLX_TRY(parse_not(p, &right));
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_AND, line, *out, right, 0, out));
        DLX_TRY(count_link(p, &links));
    }
    return DLX_OK;
}

dlx_status dlx_jinja_parse_or(dlx_jinja_parser *p, uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line, right;
    int links = 0;
    DLX_TRY(deeper(p));
    DLX_TRY(parse_and(p, out));
    while (dlx_jinja_skip_word(p, "or")) {
        DLX_TRY(parse_and(p, &right));
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_OR, line, *out, right, 0, out));
        DLX_TRY(count_link(p, &links));
    }
    p->depth--;
    return DLX_OK;
}

dlx_status dlx_jinja_parse_expression(dlx_jinja_parser *p, uint32_t *out)
{
    uint32_t line = dlx_jinja_peek(p)->line, test, otherwise;
    int links = 0;
    DLX_TRY(deeper(p));
    DLX_TRY(dlx_jinja_parse_or(p, out));
    while (dlx_jinja_skip_word(p, "if")) {
        DLX_TRY(dlx_jinja_parse_or(p, &test));
        otherwise = DLX_JINJA_NONE;
        if (dlx_jinja_skip_word(p, "else")) DLX_TRY(dlx_jinja_parse_expression(p, &otherwise));
        DLX_TRY(dlx_jinja_make(p, DLX_JINJA_CONDITION, line, test, *out, otherwise, out));
        DLX_TRY(count_link(p, &links));
    }
    p->depth--;
    return DLX_OK;
}
