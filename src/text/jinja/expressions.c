/* Evaluating expressions. */
#include <string.h>

#include "text/jinja/methods.h"
#include "text/jinja/names.h"
#include "text/jinja/run.h"

static const dlx_jinja_text *text_of(const dlx_jx *x, uint32_t number)
{
    return &x->tree->strings[number];
}

static bool eval_list(dlx_jx *x, uint32_t first, bool tuple, dlx_jv *out)
{
    dlx_jv_list *list;
    dlx_jv item;
    if (!dlx_jv_new_list(x, 0, &list)) return false;
    for (uint32_t i = first; i != DLX_JINJA_NONE; i = x->tree->nodes[i].next)
        if (!dlx_jx_eval(x, i, &item) || !dlx_jv_push(x, list, item)) return false;
    *out = dlx_jv_of_list(list, tuple);
    return true;
}

static bool eval_dict(dlx_jx *x, uint32_t first, dlx_jv *out)
{
    dlx_jv_dict *d;
    dlx_jv key, value;
    if (!dlx_jv_new_dict(x, &d)) return false;
    for (uint32_t i = first; i != DLX_JINJA_NONE; i = x->tree->nodes[i].next) {
        const dlx_jinja_node *pair = &x->tree->nodes[i];
        if (!dlx_jx_eval(x, pair->f[0], &key) || !dlx_jx_eval(x, pair->f[1], &value) ||
            !dlx_jv_dict_set(x, d, key, value))
            return false;
    }
    *out = (dlx_jv){.type = DLX_JV_DICT, .as.dict = d};
    return true;
}

static bool eval_name(dlx_jx *x, uint32_t name, dlx_jv *out)
{
    const dlx_jv *value = dlx_jx_get(x, name);
    if (value) {
        *out = *value;
        return true;
    }
    const dlx_jinja_text *text = text_of(x, name);
    if (dlx_jx_find_global(text->p, text->n, out)) return true;
    dlx_jv string;
    if (!dlx_jv_text(x, text->p, text->n, true, &string)) return false;
    *out = dlx_jv_undefined(string.as.string);
    return true;
}

static bool eval_compare(dlx_jx *x, const dlx_jinja_node *node, dlx_jv *out)
{
    dlx_jv left, right;
    bool result = true;
    if (!dlx_jx_eval(x, node->f[0], &left)) return false;
    for (uint32_t i = node->f[1]; i != DLX_JINJA_NONE && result; i = x->tree->nodes[i].next) {
        const dlx_jinja_node *operand = &x->tree->nodes[i];
        if (!dlx_jx_eval(x, operand->f[1], &right) || !dlx_jv_compare(x, (int)operand->f[0], &left, &right, &result))
            return false;
        left = right;
    }
    *out = dlx_jv_bool(result);
    return true;
}

static bool eval_concat(dlx_jx *x, uint32_t first, dlx_jv *out)
{
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    dlx_jv item;
    if (!b) return false;
    for (uint32_t i = first; i != DLX_JINJA_NONE; i = x->tree->nodes[i].next)
        if (!dlx_jx_eval(x, i, &item) || !dlx_jv_print(x, b, &item)) return false;
    return dlx_jv_bytes_end(x, b, 0, out);
}

static bool eval_optional(dlx_jx *x, uint32_t node, dlx_jv *out)
{
    *out = dlx_jv_absent();
    return node == DLX_JINJA_NONE || dlx_jx_eval(x, node, out);
}

static bool eval_item(dlx_jx *x, const dlx_jinja_node *node, dlx_jv *out)
{
    dlx_jv object, key;
    const dlx_jinja_node *k = &x->tree->nodes[node->f[1]];
    if (!dlx_jx_eval(x, node->f[0], &object)) return false;
    if (k->kind != DLX_JINJA_SLICE) return dlx_jx_eval(x, node->f[1], &key) && dlx_jx_item(x, &object, &key, out);
    dlx_jv parts[3];
    for (int i = 0; i < 3; i++)
        if (!eval_optional(x, k->f[i], &parts[i])) return false;
    if (object.type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, &object);
    if (dlx_jv_is_sequence(&object)) return dlx_jv_slice(x, &object, parts, out);
    return dlx_jx_fail(x, DLX_E_INVALID, "a value of type %s has no slices", dlx_jv_type_name(&object));
}

static bool add_argument(dlx_jx *x, dlx_jx_arguments *a, size_t *capacity, dlx_jv value)
{
    if (!dlx_jx_step(x, 1) || !dlx_jx_grow(x, &a->v, capacity, a->n + 1, sizeof *a->v)) return false;
    a->v[a->n++] = value;
    return true;
}

static bool add_keyword(dlx_jx *x, dlx_jx_arguments *a, size_t *capacity, const dlx_jv_string *name, dlx_jv value)
{
    for (size_t i = 0; i < a->n_keywords; i++)
        if (a->keywords[i].name->n == name->n && memcmp(a->keywords[i].name->p, name->p, name->n) == 0)
            return dlx_jx_fail(x, DLX_E_INVALID, "an argument is given twice: '%.*s'", name->n < 60 ? (int)name->n : 60,
                               name->p);
    if (!dlx_jx_grow(x, &a->keywords, capacity, a->n_keywords + 1, sizeof *a->keywords)) return false;
    a->keywords[a->n_keywords++] = (dlx_jx_keyword){name, value};
    return true;
}

static bool spread_keywords(dlx_jx *x, dlx_jx_arguments *a, size_t *capacity, const dlx_jv *v)
{
    if (v->type != DLX_JV_DICT)
        return dlx_jx_fail(x, DLX_E_INVALID, "'**' needs a mapping, not %s", dlx_jv_type_name(v));
    for (size_t i = 0; i < v->as.dict->n; i++) {
        const dlx_jv_string *name;
        if (!dlx_jx_need_string(x, &v->as.dict->keys[i], "**", &name) ||
            !add_keyword(x, a, capacity, name, v->as.dict->values[i]))
            return false;
    }
    return true;
}

bool dlx_jx_arguments_of(dlx_jx *x, uint32_t first, dlx_jx_arguments *a)
{
    size_t values = 0, keywords = 0;
    memset(a, 0, sizeof *a);
    for (uint32_t i = first; i != DLX_JINJA_NONE; i = x->tree->nodes[i].next) {
        const dlx_jinja_node *node = &x->tree->nodes[i];
        dlx_jv value, name;
        if (node->kind == DLX_JINJA_KEYWORD) {
            const dlx_jinja_text *text = text_of(x, node->f[0]);
            if (!dlx_jx_eval(x, node->f[1], &value) || !dlx_jv_text(x, text->p, text->n, true, &name) ||
                !add_keyword(x, a, &keywords, name.as.string, value))
                return false;
        } else if (node->kind == DLX_JINJA_SPREAD) {
            dlx_jv_list *list;
            if (!dlx_jx_eval(x, node->f[0], &value) || !dlx_jx_to_list(x, &value, &list)) return false;
            for (size_t k = 0; k < list->n; k++)
                if (!add_argument(x, a, &values, list->v[k])) return false;
        } else if (node->kind == DLX_JINJA_SPREAD_KEYWORDS) {
            if (!dlx_jx_eval(x, node->f[0], &value) || !spread_keywords(x, a, &keywords, &value)) return false;
        } else if (!dlx_jx_eval(x, i, &value) || !add_argument(x, a, &values, value)) {
            return false;
        }
    }
    return true;
}

static bool eval_call(dlx_jx *x, const dlx_jinja_node *node, dlx_jv *out)
{
    dlx_jv function;
    dlx_jx_arguments a;
    uint32_t line = x->line;
    if (!dlx_jx_eval(x, node->f[0], &function) || !dlx_jx_arguments_of(x, node->f[1], &a)) return false;
    x->line = node->line;
    bool fine = dlx_jx_call(x, &function, &a, out);
    if (fine) x->line = line;
    return fine;
}

static bool eval_filter_or_test(dlx_jx *x, const dlx_jinja_node *node, dlx_jv *out)
{
    dlx_jv v;
    dlx_jx_arguments a;
    bool result;
    if (!dlx_jx_eval(x, node->f[1], &v) || !dlx_jx_arguments_of(x, node->f[2], &a)) return false;
    x->line = node->line;
    if (node->kind == DLX_JINJA_FILTER) return dlx_jx_filter(x, (int)node->f[0], &v, &a, out);
    if (!dlx_jx_test(x, (int)node->f[0], &v, &a, &result)) return false;
    *out = dlx_jv_bool(result);
    return true;
}

static bool eval_choice(dlx_jx *x, const dlx_jinja_node *node, dlx_jv *out)
{
    dlx_jv test;
    if (node->kind == DLX_JINJA_CONDITION) {
        if (!dlx_jx_eval(x, node->f[0], &test)) return false;
        if (dlx_jv_truth(&test)) return dlx_jx_eval(x, node->f[1], out);
        if (node->f[2] != DLX_JINJA_NONE) return dlx_jx_eval(x, node->f[2], out);
        return dlx_jv_undefined_because(
            x, "the inline if-expression evaluated to false and no else section was defined", out);
    }
    if (!dlx_jx_eval(x, node->f[0], out)) return false;
    return dlx_jv_truth(out) == (node->kind == DLX_JINJA_OR) || dlx_jx_eval(x, node->f[1], out);
}

static int64_t number_of(const dlx_jinja_node *node)
{
    return (int64_t)((uint64_t)node->f[1] << 32 | node->f[0]);
}

static bool eval_constant(dlx_jx *x, const dlx_jinja_node *node, dlx_jv *out)
{
    switch (node->kind) {
    case DLX_JINJA_NULL: *out = dlx_jv_none(); return true;
    case DLX_JINJA_TRUE:
    case DLX_JINJA_FALSE: *out = dlx_jv_bool(node->kind == DLX_JINJA_TRUE); return true;
    case DLX_JINJA_INTEGER: *out = dlx_jv_int(number_of(node)); return true;
    case DLX_JINJA_FLOAT: {
        int64_t bits = number_of(node);
        double v;
        memcpy(&v, &bits, sizeof v);
        *out = dlx_jv_float(v);
        return true;
    }
    default: {
        const dlx_jinja_text *text = text_of(x, node->f[0]);
        return dlx_jv_text(x, text->p, text->n, true, out);
    }
    }
}

static bool eval_operator(dlx_jx *x, const dlx_jinja_node *node, dlx_jv *out)
{
    dlx_jv a, b;
    switch (node->kind) {
    case DLX_JINJA_NOT:
        if (!dlx_jx_eval(x, node->f[0], &a)) return false;
        *out = dlx_jv_bool(!dlx_jv_truth(&a));
        return true;
    case DLX_JINJA_NEGATE:
    case DLX_JINJA_PLUS:
        return dlx_jx_eval(x, node->f[0], &a) && dlx_jv_negate(x, &a, node->kind == DLX_JINJA_NEGATE, out);
    default:
        if (!dlx_jx_eval(x, node->f[1], &a) || !dlx_jx_eval(x, node->f[2], &b)) return false;
        x->line = node->line;
        return dlx_jv_arithmetic(x, (int)node->f[0], &a, &b, out);
    }
}

static bool eval_attribute(dlx_jx *x, const dlx_jinja_node *node, dlx_jv *out)
{
    dlx_jv object, name;
    const dlx_jinja_text *text = text_of(x, node->f[1]);
    return dlx_jx_eval(x, node->f[0], &object) && dlx_jv_text(x, text->p, text->n, true, &name) &&
           dlx_jx_attribute(x, &object, name.as.string, out);
}

static bool eval_node(dlx_jx *x, const dlx_jinja_node *node, dlx_jv *out)
{
    switch (node->kind) {
    case DLX_JINJA_NAME: return eval_name(x, node->f[0], out);
    case DLX_JINJA_LIST:
    case DLX_JINJA_TUPLE: return eval_list(x, node->f[0], node->kind == DLX_JINJA_TUPLE, out);
    case DLX_JINJA_DICT: return eval_dict(x, node->f[0], out);
    case DLX_JINJA_CONDITION:
    case DLX_JINJA_OR:
    case DLX_JINJA_AND: return eval_choice(x, node, out);
    case DLX_JINJA_COMPARE: return eval_compare(x, node, out);
    case DLX_JINJA_NOT:
    case DLX_JINJA_NEGATE:
    case DLX_JINJA_PLUS:
    case DLX_JINJA_BINARY: return eval_operator(x, node, out);
    case DLX_JINJA_CONCAT: return eval_concat(x, node->f[0], out);
    case DLX_JINJA_ATTRIBUTE: return eval_attribute(x, node, out);
    case DLX_JINJA_ITEM: return eval_item(x, node, out);
    case DLX_JINJA_CALL: return eval_call(x, node, out);
    case DLX_JINJA_FILTER:
    case DLX_JINJA_TEST: return eval_filter_or_test(x, node, out);
    case DLX_JINJA_INPUT: *out = *x->input; return true;
    default: return eval_constant(x, node, out);
    }
}

bool dlx_jx_eval(dlx_jx *x, uint32_t i, dlx_jv *out)
{
    const dlx_jinja_node *node = &x->tree->nodes[i];
    *out = dlx_jv_none();
    if (!dlx_jx_step(x, 1) || !dlx_jx_enter(x)) return false;
    x->line = node->line;
    bool fine = eval_node(x, node, out);
    dlx_jx_leave(x);
    return fine;
}
