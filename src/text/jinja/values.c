/* Making values, and what Python does with them: truth, comparing, printing. */
#include "text/jinja/value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja/run.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

/* ---- making -------------------------------------------------------------------------------------------------------
 */

dlx_jv dlx_jv_none(void)
{
    return (dlx_jv){.type = DLX_JV_NONE};
}

dlx_jv dlx_jv_bool(bool b)
{
    return (dlx_jv){.type = DLX_JV_BOOL, .as.b = b};
}

dlx_jv dlx_jv_int(int64_t i)
{
    return (dlx_jv){.type = DLX_JV_INT, .as.i = i};
}

dlx_jv dlx_jv_float(double f)
{
    return (dlx_jv){.type = DLX_JV_FLOAT, .as.f = f};
}

dlx_jv dlx_jv_absent(void)
{
    return (dlx_jv){.type = DLX_JV_ABSENT};
}

dlx_jv dlx_jv_undefined(const dlx_jv_string *name)
{
    return (dlx_jv){.type = DLX_JV_UNDEFINED, .as.string = name};
}

bool dlx_jv_undefined_because(dlx_jx *x, const char *sentence, dlx_jv *out)
{
    dlx_jv text;
    if (!dlx_jv_text(x, sentence, strlen(sentence), true, &text)) return false;
    *out = dlx_jv_undefined(text.as.string);
    out->which = 1;
    return true;
}

bool dlx_jv_new_list(dlx_jx *x, size_t capacity, dlx_jv_list **out)
{
    dlx_jv_list *list = dlx_jx_alloc(x, sizeof *list);
    dlx_jv_items *items = dlx_jx_alloc(x, sizeof *items);
    if (!list || !items || (capacity && !dlx_jx_grow(x, &items->p, &items->capacity, capacity, sizeof *items->p)))
        return false;
    list->items = items;
    list->v = items->p;
    *out = list;
    return true;
}

bool dlx_jv_push(dlx_jx *x, dlx_jv_list *list, dlx_jv value)
{
    dlx_jv_items *items = list->items;
    if (!dlx_jx_step(x, 1) || (items->used == items->capacity &&
                               !dlx_jx_grow(x, &items->p, &items->capacity, items->used + 1, sizeof *items->p)))
        return false;
    items->p[items->used++] = value;
    list->v = items->p;
    list->n++;
    return true;
}

dlx_jv dlx_jv_of_list(const dlx_jv_list *list, bool tuple)
{
    return (dlx_jv){.type = tuple ? DLX_JV_TUPLE : DLX_JV_LIST, .as.list = list};
}

bool dlx_jv_pair(dlx_jx *x, dlx_jv a, dlx_jv b, dlx_jv *tuple)
{
    dlx_jv_list *list;
    if (!dlx_jv_new_list(x, 2, &list) || !dlx_jv_push(x, list, a) || !dlx_jv_push(x, list, b)) return false;
    *tuple = dlx_jv_of_list(list, true);
    return true;
}

bool dlx_jv_new_dict(dlx_jx *x, dlx_jv_dict **out)
{
    *out = dlx_jx_alloc(x, sizeof **out);
    return *out != NULL;
}

static bool can_be_key(const dlx_jv *v)
{
    if (v->type == DLX_JV_TUPLE) {
        for (size_t i = 0; i < v->as.list->n; i++)
            if (!can_be_key(&v->as.list->v[i])) return false;
        return true;
    }
    return v->type != DLX_JV_LIST && v->type != DLX_JV_DICT && v->type != DLX_JV_VIEW;
}

bool dlx_jv_dict_add(dlx_jx *x, dlx_jv_dict *d, dlx_jv key, dlx_jv value)
{
    if (d->n == d->capacity) {
        size_t capacity = d->capacity;
        if (!dlx_jx_grow(x, &d->keys, &capacity, d->n + 1, sizeof *d->keys)) return false;
        capacity = d->capacity;
        if (!dlx_jx_grow(x, &d->values, &capacity, d->n + 1, sizeof *d->values)) return false;
        d->capacity = capacity;
    }
    d->keys[d->n] = key;
    d->values[d->n++] = value;
    return true;
}

bool dlx_jv_dict_get(dlx_jx *x, const dlx_jv_dict *d, const dlx_jv *key, const dlx_jv **value)
{
    *value = NULL;
    if (!can_be_key(key))
        return dlx_jx_fail(x, DLX_E_INVALID, "a %s cannot be the key of a dict", dlx_jv_type_name(key));
    if (!dlx_jx_step(x, d->n)) return false;
    for (size_t i = 0; i < d->n; i++) {
        bool equal;
        if (!dlx_jv_equal(x, &d->keys[i], key, &equal)) return false;
        if (!equal) continue;
        *value = &d->values[i];
        return true;
    }
    return true;
}

bool dlx_jv_dict_set(dlx_jx *x, dlx_jv_dict *d, dlx_jv key, dlx_jv value)
{
    const dlx_jv *there;
    if (!dlx_jv_dict_get(x, d, &key, &there)) return false;
    if (!there) return dlx_jv_dict_add(x, d, key, value);
    d->values[there - d->values] = value;
    return true;
}

const dlx_jv *dlx_jv_dict_find(const dlx_jv_dict *d, const char *name)
{
    for (size_t i = 0; i < d->n; i++)
        if (dlx_jv_is_text(&d->keys[i], name)) return &d->values[i];
    return NULL;
}

/* ---- facts --------------------------------------------------------------------------------------------------------
 */

const char *dlx_jv_type_name(const dlx_jv *v)
{
    static const char *const names[] = {"undefined value", "None",      "bool",     "int",       "int",
                                        "float",           "str",       "list",     "tuple",     "dict",
                                        "range",           "dict view", "iterator", "namespace", "loop",
                                        "macro",           "function",  "method",   "cycler",    "joiner"};
    return v->type < DLX_JV_ABSENT ? names[v->type] : "missing value";
}

bool dlx_jv_is_number(const dlx_jv *v)
{
    return dlx_jv_is_int(v) || v->type == DLX_JV_FLOAT;
}

bool dlx_jv_is_int(const dlx_jv *v)
{
    return v->type == DLX_JV_BOOL || v->type == DLX_JV_INT;
}

int64_t dlx_jv_to_int(const dlx_jv *v)
{
    return v->type == DLX_JV_BOOL ? v->as.b : v->as.i;
}

bool dlx_jv_is_given(const dlx_jv *v)
{
    return v->type != DLX_JV_ABSENT && v->type != DLX_JV_NONE;
}

bool dlx_jv_is_text(const dlx_jv *v, const char *text)
{
    size_t n = strlen(text);
    return v->type == DLX_JV_STRING && v->as.string->n == n && memcmp(v->as.string->p, text, n) == 0;
}

double dlx_jv_to_double(const dlx_jv *v)
{
    return v->type == DLX_JV_FLOAT ? v->as.f : (double)dlx_jv_to_int(v);
}

bool dlx_jv_truth(const dlx_jv *v)
{
    switch (v->type) {
    case DLX_JV_UNDEFINED:
    case DLX_JV_NONE:
    case DLX_JV_ABSENT: return false;
    case DLX_JV_BOOL: return v->as.b;
    case DLX_JV_INT: return v->as.i != 0;
    case DLX_JV_FLOAT: return v->as.f != 0;
    case DLX_JV_STRING: return v->as.string->n != 0;
    case DLX_JV_LIST:
    case DLX_JV_TUPLE: return v->as.list->n != 0;
    case DLX_JV_DICT:
    case DLX_JV_VIEW: return v->as.dict->n != 0;
    case DLX_JV_RANGE: return v->as.range->n != 0;
    default: return true;
    }
}

bool dlx_jv_is_sequence(const dlx_jv *v)
{
    return v->type == DLX_JV_STRING || v->type == DLX_JV_LIST || v->type == DLX_JV_TUPLE || v->type == DLX_JV_RANGE;
}

bool dlx_jv_length(dlx_jx *x, const dlx_jv *v, size_t *n)
{
    switch (v->type) {
    case DLX_JV_UNDEFINED: *n = 0; return true;
    case DLX_JV_STRING: *n = v->as.string->chars; return true;
    case DLX_JV_LIST:
    case DLX_JV_TUPLE: *n = v->as.list->n; return true;
    case DLX_JV_DICT:
    case DLX_JV_VIEW: *n = v->as.dict->n; return true;
    case DLX_JV_RANGE: *n = v->as.range->n; return true;
    default: return dlx_jx_fail(x, DLX_E_INVALID, "a value of type %s has no length", dlx_jv_type_name(v));
    }
}

bool dlx_jv_element(dlx_jx *x, const dlx_jv *v, size_t i, dlx_jv *out)
{
    if (v->type == DLX_JV_STRING) {
        const dlx_jv_string *s = v->as.string;
        uint32_t c;
        size_t at = dlx_jv_offset(s, i);
        return dlx_jx_step(x, s->chars == s->n ? 1 : 1 + at / 16) &&
               dlx_jv_substring(x, s, at, at + dlx_utf8_next(s->p + at, s->n - at, &c), out);
    }
    if (v->type == DLX_JV_RANGE)
        *out = dlx_jv_int(v->as.range->start + (int64_t)i * v->as.range->step);
    else
        *out = v->as.list->v[i];
    return true;
}

/* ---- comparing ----------------------------------------------------------------------------------------------------
 */

static bool equal_lists(dlx_jx *x, const dlx_jv_list *a, const dlx_jv_list *b, bool *equal)
{
    *equal = a->n == b->n;
    for (size_t i = 0; i < a->n && *equal; i++)
        if (!dlx_jv_equal(x, &a->v[i], &b->v[i], equal)) return false;
    return true;
}

static bool equal_dicts(dlx_jx *x, const dlx_jv_dict *a, const dlx_jv_dict *b, bool *equal)
{
    *equal = a->n == b->n;
    for (size_t i = 0; i < a->n && *equal; i++) {
        const dlx_jv *value;
        if (!dlx_jv_dict_get(x, b, &a->keys[i], &value)) return false;
        *equal = value != NULL;
        if (value && !dlx_jv_equal(x, &a->values[i], value, equal)) return false;
    }
    return true;
}

static bool equal_same_type(dlx_jx *x, const dlx_jv *a, const dlx_jv *b, bool *equal)
{
    switch (a->type) {
    case DLX_JV_UNDEFINED:
    case DLX_JV_NONE: *equal = true; return true;
    case DLX_JV_STRING:
    case DLX_JV_BIG:
        *equal = a->as.string->n == b->as.string->n && memcmp(a->as.string->p, b->as.string->p, a->as.string->n) == 0;
        return dlx_jx_step(x, *equal ? a->as.string->n / 64 : 0);
    case DLX_JV_LIST:
    case DLX_JV_TUPLE: return equal_lists(x, a->as.list, b->as.list, equal);
    case DLX_JV_DICT: return equal_dicts(x, a->as.dict, b->as.dict, equal);
    case DLX_JV_RANGE:
        *equal = a->as.range->n == b->as.range->n &&
                 (a->as.range->n == 0 || (a->as.range->start == b->as.range->start &&
                                          (a->as.range->n == 1 || a->as.range->step == b->as.range->step)));
        return true;
    case DLX_JV_VIEW:
        if (a->which == DLX_JV_VALUES || a->which != b->which) {
            *equal = a->as.dict == b->as.dict && a->which == b->which && a->which != DLX_JV_VALUES;
            return true;
        }
        return dlx_jx_fail(x, DLX_E_INVALID, "keys() and items() cannot be compared");
    case DLX_JV_FUNCTION: *equal = a->number == b->number; return true;
    case DLX_JV_METHOD: *equal = a->number == b->number && a->as.self == b->as.self; return true;
    default: *equal = a->as.dict == b->as.dict; return true; /* identity */
    }
}

/* An integer and a float, without rounding the integer. */
static bool equal_mixed(int64_t i, double f)
{
    return f >= -9223372036854775808.0 && f < 9223372036854775808.0 && f == floor(f) && (int64_t)f == i;
}

bool dlx_jv_equal(dlx_jx *x, const dlx_jv *a, const dlx_jv *b, bool *equal)
{
    *equal = false;
    if (dlx_jv_is_number(a) && dlx_jv_is_number(b)) {
        if (a->type == DLX_JV_FLOAT && b->type == DLX_JV_FLOAT)
            *equal = a->as.f == b->as.f;
        else if (a->type == DLX_JV_FLOAT)
            *equal = equal_mixed(dlx_jv_to_int(b), a->as.f);
        else if (b->type == DLX_JV_FLOAT)
            *equal = equal_mixed(dlx_jv_to_int(a), b->as.f);
        else
            *equal = dlx_jv_to_int(a) == dlx_jv_to_int(b);
        return true;
    }
    if (a->type != b->type) return true;
    if (!dlx_jx_step(x, 1) || !dlx_jx_enter(x)) return false;
    bool fine = equal_same_type(x, a, b, equal);
    dlx_jx_leave(x);
    return fine;
}

int dlx_jv_order_strings(const dlx_jv_string *a, const dlx_jv_string *b)
{
    return dlx_utf8_compare(a->p, a->n, b->p, b->n);
}

/* -1, 0, 1; 2 for NaN. */
static bool order(dlx_jx *x, const dlx_jv *a, const dlx_jv *b, int *result)
{
    if (dlx_jv_is_number(a) && dlx_jv_is_number(b)) {
        double p = dlx_jv_to_double(a), q = dlx_jv_to_double(b);
        if (a->type != DLX_JV_FLOAT && b->type != DLX_JV_FLOAT) {
            int64_t i = dlx_jv_to_int(a), j = dlx_jv_to_int(b);
            *result = (i > j) - (i < j);
        } else {
            *result = isnan(p) || isnan(q) ? 2 : (p > q) - (p < q);
        }
        return true;
    }
    if (a->type == DLX_JV_STRING && b->type == DLX_JV_STRING) {
        int c = dlx_jv_order_strings(a->as.string, b->as.string);
        *result = (c > 0) - (c < 0);
        return dlx_jx_step(x, 1);
    }
    if (a->type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, a);
    if (b->type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, b);
    if (a->type != b->type || (a->type != DLX_JV_LIST && a->type != DLX_JV_TUPLE))
        return dlx_jx_fail(x, DLX_E_INVALID, "'%s' and '%s' have no order", dlx_jv_type_name(a), dlx_jv_type_name(b));
    const dlx_jv_list *l = a->as.list, *m = b->as.list;
    for (size_t i = 0; i < l->n && i < m->n; i++) {
        bool equal;
        if (!dlx_jv_equal(x, &l->v[i], &m->v[i], &equal)) return false;
        if (equal) continue;
        if (!dlx_jx_enter(x)) return false;
        bool fine = order(x, &l->v[i], &m->v[i], result);
        dlx_jx_leave(x);
        return fine;
    }
    *result = (l->n > m->n) - (l->n < m->n);
    return true;
}

bool dlx_jv_less(dlx_jx *x, const dlx_jv *a, const dlx_jv *b, bool *less)
{
    int result;
    if (!order(x, a, b, &result)) return false;
    *less = result == -1;
    return true;
}

static bool contains(dlx_jx *x, const dlx_jv *container, const dlx_jv *v, bool *result)
{
    *result = false;
    if (container->type == DLX_JV_STRING) {
        if (v->type != DLX_JV_STRING)
            return dlx_jx_fail(x, DLX_E_INVALID, "'in <str>' needs a str, not %s", dlx_jv_type_name(v));
        const dlx_jv_string *s = container->as.string;
        *result = dlx_jv_find(s, 0, s->n, v->as.string, false) != SIZE_MAX;
        return dlx_jx_step(x, s->n / 64);
    }
    if (container->type == DLX_JV_DICT || (container->type == DLX_JV_VIEW && container->which == DLX_JV_KEYS)) {
        const dlx_jv *value;
        if (!dlx_jv_dict_get(x, container->as.dict, v, &value)) return false;
        *result = value != NULL;
        return true;
    }
    dlx_jv_iterator *it;
    dlx_jv item;
    if (!dlx_jx_is_iterable(container))
        return dlx_jx_fail(x, DLX_E_INVALID, "a value of type %s is no container for 'in'",
                           dlx_jv_type_name(container));
    if (!dlx_jx_iterate(x, container, &it)) return false;
    for (;;) {
        int more = dlx_jx_next(x, it, &item);
        if (more <= 0) return more == 0;
        if (!dlx_jv_equal(x, &item, v, result)) return false;
        if (*result) return true;
    }
}

bool dlx_jv_compare(dlx_jx *x, int comparison, const dlx_jv *a, const dlx_jv *b, bool *result)
{
    int c;
    switch (comparison) {
    case DLX_JINJA_EQ: return dlx_jv_equal(x, a, b, result);
    case DLX_JINJA_NE:
        if (!dlx_jv_equal(x, a, b, result)) return false;
        *result = !*result;
        return true;
    case DLX_JINJA_IN: return contains(x, b, a, result);
    case DLX_JINJA_NOT_IN:
        if (!contains(x, b, a, result)) return false;
        *result = !*result;
        return true;
    default: break;
    }
    if (!order(x, a, b, &c)) return false;
    *result = comparison == DLX_JINJA_LT   ? c == -1
              : comparison == DLX_JINJA_LE ? c == -1 || c == 0
              : comparison == DLX_JINJA_GT ? c == 1
                                           : c == 1 || c == 0;
    return true;
}

/* ---- printing -----------------------------------------------------------------------------------------------------
 */

static bool add(dlx_jx *x, dlx_jv_bytes *out, const char *text, const dlx_jv *like)
{
    return dlx_jv_bytes_text(x, out, text, strlen(text), !like->foreign);
}

/* In single quotes, unless it holds some and no double ones. */
static bool repr_string(dlx_jx *x, dlx_jv_bytes *out, const dlx_jv_string *s)
{
    bool single = s->n && memchr(s->p, '\'', s->n), other = s->n && memchr(s->p, '"', s->n);
    char quote = single && !other ? '"' : '\'';
    bool own = s->n == 0 || s->own[0];
    if (!dlx_jv_bytes_text(x, out, &quote, 1, own)) return false;
    for (size_t i = 0; i < s->n;) {
        uint32_t c;
        char escape[16] = "";
        size_t step = dlx_utf8_next(s->p + i, s->n - i, &c);
        if (c == (unsigned char)quote || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (!dlx_jinja_is(DLX_JINJA_IS_PRINTABLE, c))
            snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
        if (!(*escape ? dlx_jv_bytes_text(x, out, escape, strlen(escape), s->own[i])
                      : dlx_jv_bytes_add(x, out, s->p + i, s->own + i, step)))
            return false;
        i += step;
    }
    return dlx_jv_bytes_text(x, out, &quote, 1, own);
}

static bool repr_elements(dlx_jx *x, dlx_jv_bytes *out, const dlx_jv *v)
{
    bool tuple = v->type == DLX_JV_TUPLE;
    const dlx_jv_list *l = v->as.list;
    if (!add(x, out, tuple ? "(" : "[", v)) return false;
    for (size_t i = 0; i < l->n; i++)
        if ((i && !add(x, out, ", ", v)) || !dlx_jv_repr(x, out, &l->v[i])) return false;
    return add(x, out, tuple ? (l->n == 1 ? ",)" : ")") : "]", v);
}

static bool repr_dict(dlx_jx *x, dlx_jv_bytes *out, const dlx_jv *v)
{
    const dlx_jv_dict *d = v->as.dict;
    static const char *const views[] = {"dict_keys([", "dict_values([", "dict_items(["};
    bool view = v->type == DLX_JV_VIEW;
    if (!add(x, out, view ? views[v->which] : "{", v)) return false;
    for (size_t i = 0; i < d->n; i++) {
        bool key = !view || v->which != DLX_JV_VALUES, value = !view || v->which != DLX_JV_KEYS;
        bool pair = view && key && value;
        if ((i && !add(x, out, ", ", v)) || (pair && !add(x, out, "(", v)) ||
            (key && !dlx_jv_repr(x, out, &d->keys[i])) || (key && value && !add(x, out, view ? ", " : ": ", v)) ||
            (value && !dlx_jv_repr(x, out, &d->values[i])) || (pair && !add(x, out, ")", v)))
            return false;
    }
    return add(x, out, view ? "])" : "}", v);
}

static bool print_simple(dlx_jx *x, dlx_jv_bytes *out, const dlx_jv *v)
{
    char text[96];
    switch (v->type) {
    case DLX_JV_NONE: return add(x, out, "None", v);
    case DLX_JV_BOOL: return add(x, out, v->as.b ? "True" : "False", v);
    case DLX_JV_INT: snprintf(text, sizeof text, "%lld", (long long)v->as.i); return add(x, out, text, v);
    case DLX_JV_FLOAT: text[dlx_jinja_print_float(text, v->as.f)] = '\0'; return add(x, out, text, v);
    case DLX_JV_BIG: return dlx_jv_bytes_string(x, out, v->as.string);
    case DLX_JV_RANGE:
        snprintf(text, sizeof text, v->as.range->step == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)",
                 (long long)v->as.range->start, (long long)v->as.range->stop, (long long)v->as.range->step);
        return add(x, out, text, v);
    default: return dlx_jx_fail(x, DLX_E_INVALID, "a value of type %s cannot be printed", dlx_jv_type_name(v));
    }
}

bool dlx_jv_repr(dlx_jx *x, dlx_jv_bytes *out, const dlx_jv *v)
{
    if (!dlx_jx_step(x, 1) || !dlx_jx_enter(x)) return false;
    bool fine;
    switch (v->type) {
    case DLX_JV_UNDEFINED: fine = add(x, out, "Undefined", v); break;
    case DLX_JV_STRING:
        fine = (!v->markup || add(x, out, "Markup(", v)) && repr_string(x, out, v->as.string) &&
               (!v->markup || add(x, out, ")", v));
        break;
    case DLX_JV_LIST:
    case DLX_JV_TUPLE: fine = repr_elements(x, out, v); break;
    case DLX_JV_DICT:
    case DLX_JV_VIEW: fine = repr_dict(x, out, v); break;
    default: fine = print_simple(x, out, v); break;
    }
    dlx_jx_leave(x);
    return fine;
}

bool dlx_jv_print(dlx_jx *x, dlx_jv_bytes *out, const dlx_jv *v)
{
    if (v->type == DLX_JV_STRING) return dlx_jv_bytes_string(x, out, v->as.string);
    if (v->type == DLX_JV_UNDEFINED) return true;
    return dlx_jv_repr(x, out, v);
}

bool dlx_jv_to_string(dlx_jx *x, const dlx_jv *v, dlx_jv *out)
{
    if (v->type == DLX_JV_STRING) {
        *out = *v;
        return true;
    }
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    return b && dlx_jv_print(x, b, v) && dlx_jv_bytes_end(x, b, 0, out);
}
