/* The functions that every template sees: Jinja's own and those that transformers adds. */
#include <string.h>

#include "text/jinja/run.h"

enum { RANGE, DICT, NAMESPACE, CYCLER, JOINER, RAISE, STRFTIME_NOW, N_GLOBALS };

static const char *const names[N_GLOBALS] = {"range",           "dict",        "namespace", "cycler", "joiner",
                                             "raise_exception", "strftime_now"};

bool dlx_jx_find_global(const char *name, size_t n, dlx_jv *out)
{
    for (uint32_t i = 0; i < N_GLOBALS; i++) {
        if (strlen(names[i]) != n || memcmp(names[i], name, n) != 0) continue;
        *out = (dlx_jv){.type = DLX_JV_FUNCTION, .number = i};
        return true;
    }
    return false;
}

static bool call_range(dlx_jx *x, const dlx_jx_arguments *a, dlx_jv *out)
{
    int64_t v[3] = {0, 0, 1};
    if (a->n_keywords || a->n < 1 || a->n > 3) return dlx_jx_fail(x, DLX_E_INVALID, "'range' takes 1 to 3 integers");
    for (size_t i = 0; i < a->n; i++)
        if (!dlx_jx_need_int(x, &a->v[i], "range", &v[i])) return false;
    if (a->n == 1) {
        v[1] = v[0];
        v[0] = 0;
    }
    if (v[2] == 0) return dlx_jx_fail(x, DLX_E_INVALID, "the step of 'range' is 0");
    uint64_t n = 0, step = v[2] > 0 ? (uint64_t)v[2] : 0 - (uint64_t)v[2];
    if (v[2] > 0 && v[0] < v[1]) n = ((uint64_t)v[1] - (uint64_t)v[0] - 1) / step + 1;
    if (v[2] < 0 && v[0] > v[1]) n = ((uint64_t)v[0] - (uint64_t)v[1] - 1) / step + 1;
    if (n > DLX_JX_MAX_RANGE) return dlx_jx_fail(x, DLX_E_LIMIT, "'range' has more than %d elements", DLX_JX_MAX_RANGE);
    dlx_jv_range *r = dlx_jx_alloc(x, sizeof *r);
    if (!r) return false;
    *r = (dlx_jv_range){v[0], v[1], v[2], (size_t)n};
    *out = (dlx_jv){.type = DLX_JV_RANGE, .as.range = r};
    return true;
}

/* What dict() and namespace() are made of: a mapping or pairs, then names. */
static bool collect(dlx_jx *x, const dlx_jx_arguments *a, const char *what, dlx_jv_dict **out)
{
    if (!dlx_jv_new_dict(x, out)) return false;
    if (a->n > 1) return dlx_jx_fail(x, DLX_E_INVALID, "'%s' takes at most one value without a name", what);
    if (a->n == 1 && a->v[0].type == DLX_JV_DICT) {
        const dlx_jv_dict *d = a->v[0].as.dict;
        for (size_t i = 0; i < d->n; i++)
            if (!dlx_jv_dict_add(x, *out, d->keys[i], d->values[i])) return false;
    } else if (a->n == 1) {
        dlx_jv_list *list, *pair;
        if (!dlx_jx_to_list(x, &a->v[0], &list)) return false;
        for (size_t i = 0; i < list->n; i++) {
            if (!dlx_jx_to_list(x, &list->v[i], &pair)) return false;
            if (pair->n != 2) return dlx_jx_fail(x, DLX_E_INVALID, "'%s' needs pairs", what);
            if (!dlx_jv_dict_set(x, *out, pair->v[0], pair->v[1])) return false;
        }
    }
    for (size_t i = 0; i < a->n_keywords; i++) {
        dlx_jv key = {.type = DLX_JV_STRING, .as.string = a->keywords[i].name};
        if (!dlx_jv_dict_set(x, *out, key, a->keywords[i].value)) return false;
    }
    return true;
}

static bool call_namespace(dlx_jx *x, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv_dict *d;
    if (!collect(x, a, "namespace", &d)) return false;
    for (size_t i = 0; i < d->n; i++)
        if (d->keys[i].type == DLX_JV_STRING && d->keys[i].as.string->n && d->keys[i].as.string->p[0] == '_')
            return dlx_jx_fail(x, DLX_E_INVALID, "a namespace cannot hold names that begin with '_'");
    *out = (dlx_jv){.type = DLX_JV_NAMESPACE, .as.dict = d};
    return true;
}

static bool call_cycler(dlx_jx *x, const dlx_jx_arguments *a, dlx_jv *out)
{
    if (a->n == 0 || a->n_keywords) return dlx_jx_fail(x, DLX_E_INVALID, "'cycler' needs at least one item");
    dlx_jv_items *state = dlx_jx_alloc(x, sizeof *state);
    if (!state) return false;
    *state = (dlx_jv_items){.p = a->v, .used = 0, .capacity = a->n};
    *out = (dlx_jv){.type = DLX_JV_CYCLER, .as.state = state};
    return true;
}

static bool call_joiner(dlx_jx *x, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv_items *state = dlx_jx_alloc(x, sizeof *state);
    dlx_jv *separator = dlx_jx_alloc(x, sizeof *separator);
    if (!state || !separator || !dlx_jx_bind(x, a, "joiner", "sep", 0, separator)) return false;
    if (separator->type == DLX_JV_ABSENT && !dlx_jv_text(x, ", ", 2, true, separator)) return false;
    state->p = separator;
    *out = (dlx_jv){.type = DLX_JV_JOINER, .as.state = state};
    return true;
}

/* The template's own refusal, in its own words. */
static bool call_raise(dlx_jx *x, const dlx_jx_arguments *a)
{
    dlx_jv message, text;
    if (!dlx_jx_bind(x, a, "raise_exception", "message", 1, &message) || !dlx_jv_to_string(x, &message, &text))
        return false;
    const dlx_jv_string *s = text.as.string;
    return dlx_jx_fail(x, DLX_E_INVALID, "%.*s", s->n < 300 ? (int)s->n : 300, s->p);
}

bool dlx_jx_call_global(dlx_jx *x, uint32_t number, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv_dict *d;
    switch (number) {
    case RANGE: return call_range(x, a, out);
    case DICT:
        if (!collect(x, a, "dict", &d)) return false;
        *out = (dlx_jv){.type = DLX_JV_DICT, .as.dict = d};
        return true;
    case NAMESPACE: return call_namespace(x, a, out);
    case CYCLER: return call_cycler(x, a, out);
    case JOINER: return call_joiner(x, a, out);
    case RAISE: return call_raise(x, a);
    default: return dlx_jx_strftime_now(x, a, out);
    }
}
