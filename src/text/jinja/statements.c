/* Running statements: scopes, assignments, macros, blocks. */
#include <string.h>

#include "text/jinja/run.h"

/* ---- scopes -------------------------------------------------------------------------------------------------------
 */

static dlx_jx_scope *new_scope(dlx_jx *x, dlx_jx_scope *parent)
{
    dlx_jx_scope *s = dlx_jx_alloc(x, sizeof *s);
    if (s) s->parent = parent;
    return s;
}

bool dlx_jx_push_scope(dlx_jx *x)
{
    dlx_jx_scope *s = new_scope(x, x->scope);
    if (!s) return false;
    x->scope = s;
    return true;
}

bool dlx_jx_set(dlx_jx *x, dlx_jx_scope *s, uint32_t name, dlx_jv value)
{
    size_t i = 0, capacity = s->capacity;
    while (i < s->n && s->names[i] != name) i++;
    if (i == s->n) {
        if (!dlx_jx_grow(x, &s->names, &capacity, s->n + 1, sizeof *s->names)) return false;
        capacity = s->capacity;
        if (!dlx_jx_grow(x, &s->values, &capacity, s->n + 1, sizeof *s->values)) return false;
        s->capacity = capacity;
        s->names[s->n++] = name;
    }
    s->values[i] = value;
    return true;
}

const dlx_jv *dlx_jx_get(const dlx_jx *x, uint32_t name)
{
    for (const dlx_jx_scope *s = x->scope; s; s = s->parent)
        for (size_t i = s->n; i-- > 0;)
            if (s->names[i] == name) return &s->values[i];
    return NULL;
}

bool dlx_jx_set_name(dlx_jx *x, dlx_jx_scope *scope, int which, dlx_jv value)
{
    return !x->mentions[which] || dlx_jx_set(x, scope, x->names[which], value);
}

static bool unpack(dlx_jx *x, uint32_t first, const dlx_jv *value)
{
    dlx_jv_iterator *it;
    dlx_jv item;
    if (!dlx_jx_iterate(x, value, &it)) return false;
    for (uint32_t i = first; i != DLX_JINJA_NONE; i = x->tree->nodes[i].next) {
        int more = dlx_jx_next(x, it, &item);
        if (more == 0) return dlx_jx_fail(x, DLX_E_INVALID, "not enough values to unpack");
        if (more < 0 || !dlx_jx_assign(x, i, &item)) return false;
    }
    int more = dlx_jx_next(x, it, &item);
    return more == 0 || (more > 0 && dlx_jx_fail(x, DLX_E_INVALID, "too many values to unpack"));
}

/* namespace.attribute = value */
static bool assign_member(dlx_jx *x, const dlx_jinja_node *node, const dlx_jv *value)
{
    const dlx_jv *space = dlx_jx_get(x, node->f[0]);
    if (!space || space->type != DLX_JV_NAMESPACE)
        return dlx_jx_fail(x, DLX_E_INVALID, "cannot assign attribute on a value that is no namespace");
    const dlx_jinja_text *text = &x->tree->strings[node->f[1]];
    dlx_jv name;
    if (text->n && text->p[0] == '_')
        return dlx_jx_fail(x, DLX_E_INVALID, "a namespace cannot hold '%.*s': names that begin with '_' are private",
                           text->n < 60 ? (int)text->n : 60, text->p);
    return dlx_jv_text(x, text->p, text->n, true, &name) && dlx_jv_dict_set(x, space->as.dict, name, *value);
}

bool dlx_jx_assign(dlx_jx *x, uint32_t target, const dlx_jv *value)
{
    const dlx_jinja_node *node = &x->tree->nodes[target];
    if (node->kind == DLX_JINJA_TUPLE) return unpack(x, node->f[0], value);
    if (node->kind == DLX_JINJA_MEMBER) return assign_member(x, node, value);
    return dlx_jx_set(x, x->scope, node->f[0], *value);
}

/* ---- bodies that become text --------------------------------------------------------------------------------------
 */

/* Runs statements in a scope of their own inside `scope`; *out is what they print. */
static dlx_jx_flow capture(dlx_jx *x, uint32_t body, dlx_jx_scope *scope, dlx_jv *out)
{
    dlx_jx_scope *before = x->scope;
    dlx_jv_bytes *sink = x->out, *printed = dlx_jv_new_bytes(x);
    if (!printed || !(x->scope = new_scope(x, scope))) return DLX_JX_FAILED;
    x->out = printed;
    dlx_jx_flow flow = dlx_jx_run(x, body);
    x->out = sink;
    x->scope = before;
    if (flow == DLX_JX_FAILED || !dlx_jv_bytes_end(x, printed, 0, out)) return DLX_JX_FAILED;
    return flow;
}

static bool filter_input(dlx_jx *x, uint32_t filters, const dlx_jv *text, dlx_jv *out)
{
    const dlx_jv *before = x->input;
    if (filters == DLX_JINJA_NONE) {
        *out = *text;
        return true;
    }
    x->input = text;
    bool fine = dlx_jx_eval(x, filters, out);
    x->input = before;
    return fine;
}

static dlx_jx_flow run_set_block(dlx_jx *x, const dlx_jinja_node *node)
{
    dlx_jv text, value;
    dlx_jx_flow flow = capture(x, node->f[2], x->scope, &text);
    if (flow != DLX_JX_GO_ON) return flow;
    return filter_input(x, node->f[1], &text, &value) && dlx_jx_assign(x, node->f[0], &value) ? DLX_JX_GO_ON
                                                                                              : DLX_JX_FAILED;
}

static dlx_jx_flow run_filter_block(dlx_jx *x, const dlx_jinja_node *node)
{
    dlx_jv text, value;
    dlx_jx_flow flow = capture(x, node->f[1], x->scope, &text);
    if (flow != DLX_JX_GO_ON) return flow;
    return filter_input(x, node->f[0], &text, &value) && dlx_jv_print(x, x->out, &value) ? DLX_JX_GO_ON : DLX_JX_FAILED;
}

static dlx_jx_flow run_with(dlx_jx *x, const dlx_jinja_node *node)
{
    dlx_jx_scope *outer = x->scope, *inner = new_scope(x, outer);
    if (!inner) return DLX_JX_FAILED;
    for (uint32_t i = node->f[0]; i != DLX_JINJA_NONE; i = x->tree->nodes[i].next) {
        const dlx_jinja_node *variable = &x->tree->nodes[i];
        dlx_jv value;
        if (!dlx_jx_eval(x, variable->f[1], &value)) return DLX_JX_FAILED; /* values see what is around */
        x->scope = inner;
        bool fine = dlx_jx_assign(x, variable->f[0], &value);
        x->scope = outer;
        if (!fine) return DLX_JX_FAILED;
    }
    x->scope = inner;
    dlx_jx_flow flow = dlx_jx_run(x, node->f[1]);
    x->scope = outer;
    return flow;
}

/* ---- macros -------------------------------------------------------------------------------------------------------
 */

/* What a macro gets beyond its parameters. */
static bool set_rest(dlx_jx *x, dlx_jx_scope *s, const dlx_jx_arguments *a, size_t n, const bool *used, uint32_t uses)
{
    dlx_jv_list *more;
    dlx_jv_dict *named;
    dlx_jv caller = dlx_jv_absent();
    if (!dlx_jv_new_list(x, 0, &more) || !dlx_jv_new_dict(x, &named)) return false;
    for (size_t i = n; i < a->n; i++)
        if (!dlx_jv_push(x, more, a->v[i])) return false;
    for (size_t i = 0; i < a->n_keywords; i++) {
        dlx_jv key = {.type = DLX_JV_STRING, .as.string = a->keywords[i].name};
        if (used[i]) continue;
        if ((uses & DLX_JINJA_USES_CALLER) && dlx_jv_is_text(&key, "caller"))
            caller = a->keywords[i].value;
        else if (!dlx_jv_dict_add(x, named, key, a->keywords[i].value))
            return false;
    }
    if (more->n && !(uses & DLX_JINJA_USES_VARARGS))
        return dlx_jx_fail(x, DLX_E_INVALID, "a macro takes not more than %zu arguments", n);
    if (named->n && !(uses & DLX_JINJA_USES_KWARGS))
        return dlx_jx_fail(x, DLX_E_INVALID, "a macro takes no argument '%.*s'", (int)named->keys[0].as.string->n,
                           named->keys[0].as.string->p);
    if (caller.type == DLX_JV_ABSENT && !dlx_jv_undefined_because(x, "no caller defined", &caller)) return false;
    return (!(uses & DLX_JINJA_USES_CALLER) || dlx_jx_set_name(x, s, DLX_JX_CALLER, caller)) &&
           (!(uses & DLX_JINJA_USES_VARARGS) || dlx_jx_set_name(x, s, DLX_JX_VARARGS, dlx_jv_of_list(more, true))) &&
           (!(uses & DLX_JINJA_USES_KWARGS) ||
            dlx_jx_set_name(x, s, DLX_JX_KWARGS, (dlx_jv){.type = DLX_JV_DICT, .as.dict = named}));
}

/* The argument of a parameter, by place or by name; ABSENT when it was not given. */
static dlx_jv argument_of(const dlx_jx *x, const dlx_jx_arguments *a, size_t place, uint32_t name, bool *used)
{
    const dlx_jinja_text *text = &x->tree->strings[name];
    if (place < a->n) return a->v[place];
    for (size_t i = 0; i < a->n_keywords; i++) {
        const dlx_jv_string *s = a->keywords[i].name;
        if (s->n != text->n || memcmp(s->p, text->p, s->n) != 0) continue;
        used[i] = true;
        return a->keywords[i].value;
    }
    return dlx_jv_absent();
}

static bool missing_parameter(dlx_jx *x, uint32_t name, dlx_jv *out)
{
    char sentence[128];
    const dlx_jinja_text *text = &x->tree->strings[name];
    int n = text->n < 60 ? (int)text->n : 60;
    memcpy(sentence, "parameter '", 11);
    memcpy(sentence + 11, text->p, (size_t)n);
    memcpy(sentence + 11 + n, "' was not provided", 19);
    return dlx_jv_undefined_because(x, sentence, out);
}

/* Sets the parameters in the scope of the call, in which defaults are evaluated too. */
static bool set_parameters(dlx_jx *x, uint32_t first, uint32_t uses, const dlx_jx_arguments *a)
{
    size_t place = 0;
    bool *used = dlx_jx_alloc(x, a->n_keywords + 1);
    if (!used) return false;
    for (uint32_t i = first; i != DLX_JINJA_NONE; i = x->tree->nodes[i].next, place++)
        if (place >= a->n) argument_of(x, a, place, x->tree->nodes[i].f[0], used);
    if (!set_rest(x, x->scope, a, place, used, uses)) return false;
    place = 0;
    for (uint32_t i = first; i != DLX_JINJA_NONE; i = x->tree->nodes[i].next, place++) {
        const dlx_jinja_node *parameter = &x->tree->nodes[i];
        dlx_jv value = argument_of(x, a, place, parameter->f[0], used);
        if (value.type == DLX_JV_ABSENT) {
            if (!(parameter->f[1] != DLX_JINJA_NONE ? dlx_jx_eval(x, parameter->f[1], &value)
                                                    : missing_parameter(x, parameter->f[0], &value)))
                return false;
        }
        if (!dlx_jx_set(x, x->scope, parameter->f[0], value)) return false;
    }
    return true;
}

bool dlx_jx_call_macro(dlx_jx *x, const dlx_jv_macro *macro, const dlx_jx_arguments *a, dlx_jv *out)
{
    const dlx_jinja_node *node = &x->tree->nodes[macro->node];
    dlx_jx_scope *before = x->scope;
    dlx_jv_bytes *sink = x->out, *printed = dlx_jv_new_bytes(x);
    if (!printed || !dlx_jx_enter(x)) return false;
    x->scope = new_scope(x, macro->scope);
    x->out = printed;
    bool generation = node->kind == DLX_JINJA_GENERATION;
    bool fine = x->scope && (generation || set_parameters(x, node->f[1], node->f[3], a)) &&
                dlx_jx_run(x, node->f[generation ? 0 : 2]) != DLX_JX_FAILED;
    x->out = sink;
    x->scope = before;
    dlx_jx_leave(x);
    return fine && dlx_jv_bytes_end(x, printed, 0, out);
}

static bool make_macro(dlx_jx *x, uint32_t i, dlx_jv *out)
{
    dlx_jv_macro *macro = dlx_jx_alloc(x, sizeof *macro);
    if (!macro) return false;
    for (dlx_jx_scope *s = x->scope; s && !s->kept; s = s->parent) s->kept = true;
    *macro = (dlx_jv_macro){.node = i, .scope = x->scope};
    *out = (dlx_jv){.type = DLX_JV_MACRO, .as.macro = macro};
    return true;
}

/* {% call %}: calls something with the body as the argument `caller`. */
static bool run_call_block(dlx_jx *x, uint32_t i, const dlx_jinja_node *node)
{
    const dlx_jinja_node *call = &x->tree->nodes[node->f[0]];
    dlx_jv function, caller, name, printed;
    dlx_jx_arguments a;
    if (!dlx_jx_eval(x, call->f[0], &function) || !dlx_jx_arguments_of(x, call->f[1], &a) ||
        !make_macro(x, i, &caller) || !dlx_jv_text(x, "caller", 6, true, &name))
        return false;
    for (size_t k = 0; k < a.n_keywords; k++) {
        dlx_jv key = {.type = DLX_JV_STRING, .as.string = a.keywords[k].name};
        if (dlx_jv_is_text(&key, "caller")) return dlx_jx_fail(x, DLX_E_INVALID, "'caller' is given twice");
    }
    dlx_jx_keyword *keywords = dlx_jx_alloc(x, (a.n_keywords + 1) * sizeof *keywords);
    if (!keywords) return false;
    if (a.n_keywords) memcpy(keywords, a.keywords, a.n_keywords * sizeof *keywords);
    keywords[a.n_keywords++] = (dlx_jx_keyword){name.as.string, caller};
    a.keywords = keywords;
    x->line = call->line;
    return dlx_jx_call(x, &function, &a, &printed) && dlx_jv_print(x, x->out, &printed);
}

/* ---- statements ---------------------------------------------------------------------------------------------------
 */

static dlx_jx_flow run_if(dlx_jx *x, const dlx_jinja_node *node)
{
    dlx_jv test;
    if (!dlx_jx_eval(x, node->f[0], &test)) return DLX_JX_FAILED;
    return dlx_jx_run(x, node->f[dlx_jv_truth(&test) ? 1 : 2]);
}

static dlx_jx_flow run_for(dlx_jx *x, uint32_t i, const dlx_jinja_node *node)
{
    dlx_jv sequence;
    if (!dlx_jx_eval(x, node->f[1], &sequence)) return DLX_JX_FAILED;
    return dlx_jx_run_loop(x, i, x->scope, &sequence, 0);
}

/* Statements that only succeed or fail. */
static bool run_simple(dlx_jx *x, uint32_t i, const dlx_jinja_node *node)
{
    dlx_jv value;
    switch (node->kind) {
    case DLX_JINJA_DATA:
        return dlx_jv_bytes_text(x, x->out, x->tree->strings[node->f[0]].p, x->tree->strings[node->f[0]].n, true);
    case DLX_JINJA_PRINT: return dlx_jx_eval(x, node->f[0], &value) && dlx_jv_print(x, x->out, &value);
    case DLX_JINJA_SET: return dlx_jx_eval(x, node->f[1], &value) && dlx_jx_assign(x, node->f[0], &value);
    case DLX_JINJA_MACRO: return make_macro(x, i, &value) && dlx_jx_set(x, x->scope, node->f[0], value);
    case DLX_JINJA_CALL_BLOCK: return run_call_block(x, i, node);
    default: /* GENERATION */
        return make_macro(x, i, &value) && dlx_jx_call_macro(x, value.as.macro, NULL, &value) &&
               dlx_jv_print(x, x->out, &value);
    }
}

static dlx_jx_flow run_statement(dlx_jx *x, uint32_t i)
{
    const dlx_jinja_node *node = &x->tree->nodes[i];
    switch (node->kind) {
    case DLX_JINJA_IF: return run_if(x, node);
    case DLX_JINJA_FOR: return run_for(x, i, node);
    case DLX_JINJA_SET_BLOCK: return run_set_block(x, node);
    case DLX_JINJA_FILTER_BLOCK: return run_filter_block(x, node);
    case DLX_JINJA_WITH: return run_with(x, node);
    case DLX_JINJA_BREAK: return DLX_JX_BREAK;
    case DLX_JINJA_CONTINUE: return DLX_JX_CONTINUE;
    default: return run_simple(x, i, node) ? DLX_JX_GO_ON : DLX_JX_FAILED;
    }
}

dlx_jx_flow dlx_jx_run(dlx_jx *x, uint32_t first)
{
    dlx_jx_flow flow = DLX_JX_GO_ON;
    if (!dlx_jx_enter(x)) return DLX_JX_FAILED;
    for (uint32_t i = first; i != DLX_JINJA_NONE && flow == DLX_JX_GO_ON; i = x->tree->nodes[i].next) {
        x->line = x->tree->nodes[i].line;
        flow = dlx_jx_step(x, 1) ? run_statement(x, i) : DLX_JX_FAILED;
    }
    dlx_jx_leave(x);
    return flow;
}
