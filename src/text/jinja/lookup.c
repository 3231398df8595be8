/* What a name behind a dot or a key in brackets finds, as Jinja's sandbox looks it up; and calling what was found. */
#include <string.h>

#include "text/jinja/methods.h"
#include "text/jinja/run.h"

static bool is_private(const dlx_jv_string *name)
{
    return name->n && name->p[0] == '_';
}

/* What Jinja's macros tell about themselves. */
static bool macro_attribute(dlx_jx *x, const dlx_jv_macro *macro, const dlx_jv_string *name, dlx_jv *out, bool *found)
{
    static const char *const uses[] = {"caller", "catch_kwargs", "catch_varargs"};
    const dlx_jinja_node *node = &x->tree->nodes[macro->node];
    dlx_jv key = {.type = DLX_JV_STRING, .as.string = name};
    if (node->kind != DLX_JINJA_MACRO) return true;
    *found = true;
    if (dlx_jv_is_text(&key, "name")) {
        const dlx_jinja_text *text = &x->tree->strings[node->f[0]];
        return dlx_jv_text(x, text->p, text->n, true, out);
    }
    if (dlx_jv_is_text(&key, "arguments")) {
        dlx_jv_list *list;
        dlx_jv item;
        if (!dlx_jv_new_list(x, 0, &list)) return false;
        for (uint32_t i = node->f[1]; i != DLX_JINJA_NONE; i = x->tree->nodes[i].next) {
            const dlx_jinja_text *text = &x->tree->strings[x->tree->nodes[i].f[0]];
            if (!dlx_jv_text(x, text->p, text->n, true, &item) || !dlx_jv_push(x, list, item)) return false;
        }
        *out = dlx_jv_of_list(list, true);
        return true;
    }
    for (uint32_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        if (!dlx_jv_is_text(&key, uses[i])) continue;
        *out = dlx_jv_bool(node->f[3] & 1U << i);
        return true;
    }
    *found = false;
    return true;
}

/* A method or an attribute that Python's object would have. */
static bool find_attribute(dlx_jx *x, const dlx_jv *object, const dlx_jv_string *name, dlx_jv *out, bool *found)
{
    uint32_t number;
    *found = false;
    if (object->type == DLX_JV_NAMESPACE) {
        dlx_jv key = {.type = DLX_JV_STRING, .as.string = name};
        const dlx_jv *value;
        if (!dlx_jv_dict_get(x, object->as.dict, &key, &value)) return false;
        *found = value && !is_private(name);
        if (*found) *out = *value;
        return true;
    }
    if (object->type == DLX_JV_CYCLER && name->n == 7 && memcmp(name->p, "current", 7) == 0) {
        *out = object->as.state->p[object->as.state->used];
        *found = true;
        return true;
    }
    if (object->type == DLX_JV_MACRO) return macro_attribute(x, object->as.macro, name, out, found);
    if (object->type == DLX_JV_LOOP) return dlx_jx_loop_attribute(x, object->as.loop, name, out, found);
    if (dlx_jx_attribute_is_missing(object, name->p, name->n))
        return dlx_jx_fail(x, DLX_E_UNSUPPORTED, "'%.*s' of a %s is not supported in chat templates", (int)name->n,
                           name->p, dlx_jv_type_name(object));
    if (!dlx_jx_find_method(object, name->p, name->n, &number)) return true;
    dlx_jv *self = dlx_jx_alloc(x, sizeof *self);
    if (!self) return false;
    *self = *object;
    *out = (dlx_jv){.type = DLX_JV_METHOD, .number = number, .as.self = self};
    *found = true;
    return true;
}

/* object[key] of Python; *found is false where Python raises a TypeError or LookupError. */
static bool find_item(dlx_jx *x, const dlx_jv *object, const dlx_jv *key, dlx_jv *out, bool *found)
{
    *found = false;
    if (object->type == DLX_JV_DICT) {
        const dlx_jv *value;
        if (key->type == DLX_JV_LIST || key->type == DLX_JV_DICT || key->type == DLX_JV_VIEW) return true;
        if (!dlx_jv_dict_get(x, object->as.dict, key, &value)) return false;
        *found = value != NULL;
        if (value) *out = *value;
        return true;
    }
    if (!dlx_jv_is_sequence(object) || !dlx_jv_is_int(key)) return true;
    size_t n;
    int64_t i = dlx_jv_to_int(key);
    if (!dlx_jv_length(x, object, &n)) return false;
    if (i < 0) i += (int64_t)n;
    if (i < 0 || i >= (int64_t)n) return true;
    *found = true;
    return dlx_jv_element(x, object, (size_t)i, out);
}

/* Undefined, with the sentence that Jinja has for it. */
static bool undefined_attribute(dlx_jx *x, const dlx_jv *object, const dlx_jv *name, dlx_jv *out)
{
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    const char *type = dlx_jv_type_name(object),
               *behind = name->type == DLX_JV_STRING ? "' object has no attribute " : "' object has no element ";
    dlx_jv text;
    if (!b || !dlx_jv_bytes_text(x, b, "'", 1, true) || !dlx_jv_bytes_text(x, b, type, strlen(type), true) ||
        !dlx_jv_bytes_text(x, b, behind, strlen(behind), true))
        return false;
    if (name->type == DLX_JV_STRING || name->type == DLX_JV_INT) {
        if (!dlx_jv_repr(x, b, name)) return false;
    }
    if (!dlx_jv_bytes_end(x, b, 0, &text)) return false;
    *out = dlx_jv_undefined(text.as.string);
    out->which = 1;
    return true;
}

static bool look_up(dlx_jx *x, const dlx_jv *object, const dlx_jv_string *name, bool keys, dlx_jv *out)
{
    bool found;
    dlx_jv key = {.type = DLX_JV_STRING, .as.string = name};
    if (object->type == DLX_JV_UNDEFINED && !is_private(name)) return dlx_jx_fail_undefined(x, object);
    if (!find_attribute(x, object, name, out, &found)) return false;
    if (!found && keys && !find_item(x, object, &key, out, &found)) return false;
    return found || undefined_attribute(x, object, &key, out);
}

bool dlx_jx_attribute(dlx_jx *x, const dlx_jv *object, const dlx_jv_string *name, dlx_jv *out)
{
    return look_up(x, object, name, true, out);
}

bool dlx_jx_own_attribute(dlx_jx *x, const dlx_jv *object, const dlx_jv_string *name, dlx_jv *out)
{
    return look_up(x, object, name, false, out);
}

bool dlx_jx_item(dlx_jx *x, const dlx_jv *object, const dlx_jv *key, dlx_jv *out)
{
    bool found;
    if (object->type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, object);
    if (!find_item(x, object, key, out, &found)) return false;
    if (!found && key->type == DLX_JV_STRING && !find_attribute(x, object, key->as.string, out, &found)) return false;
    return found || undefined_attribute(x, object, key, out);
}

/* ---- calling ------------------------------------------------------------------------------------------------------
 */

static bool call_joiner(dlx_jx *x, const dlx_jv *self, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv none;
    if (!dlx_jx_bind(x, a, "joiner", "", 0, &none)) return false;
    dlx_jv_items *state = self->as.state; /* used: 0 before the first call */
    if (state->used++ == 0) return dlx_jv_text(x, "", 0, true, out);
    *out = state->p[0];
    return true;
}

/* loop(sequence): the body of a recursive loop over another sequence. */
static bool call_loop(dlx_jx *x, dlx_jv_loop *loop, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv sequence;
    if (!x->tree->nodes[loop->node].f[5])
        return dlx_jx_fail(x, DLX_E_INVALID, "the loop must have the 'recursive' marker to be called recursively");
    if (!dlx_jx_bind(x, a, "loop", "iterable", 1, &sequence)) return false;
    dlx_jv_bytes *printed = dlx_jv_new_bytes(x), *before = x->out;
    if (!printed) return false;
    x->out = printed;
    dlx_jx_flow flow = dlx_jx_run_loop(x, loop->node, loop->scope, &sequence, loop->depth0 + 1);
    x->out = before;
    return flow != DLX_JX_FAILED && dlx_jv_bytes_end(x, printed, 0, out);
}

bool dlx_jx_call(dlx_jx *x, const dlx_jv *function, const dlx_jx_arguments *a, dlx_jv *out)
{
    if (!dlx_jx_enter(x)) return false;
    bool fine;
    switch (function->type) {
    case DLX_JV_UNDEFINED: fine = dlx_jx_fail_undefined(x, function); break;
    case DLX_JV_MACRO: fine = dlx_jx_call_macro(x, function->as.macro, a, out); break;
    case DLX_JV_FUNCTION: fine = dlx_jx_call_global(x, function->number, a, out); break;
    case DLX_JV_METHOD: fine = dlx_jx_call_method(x, function->as.self, function->number, a, out); break;
    case DLX_JV_JOINER: fine = call_joiner(x, function, a, out); break;
    case DLX_JV_LOOP: fine = call_loop(x, function->as.loop, a, out); break;
    default:
        fine = dlx_jx_fail(x, DLX_E_INVALID, "a value of type %s cannot be called", dlx_jv_type_name(function));
        break;
    }
    dlx_jx_leave(x);
    return fine;
}
