/* Iterators: over sequences and dicts, and the lazy ones that map, select and their like make. */
#include <string.h>

#include "text/jinja/run.h"

dlx_jv dlx_jv_of_iterator(dlx_jv_iterator *it)
{
    return (dlx_jv){.type = DLX_JV_ITERATOR, .as.iterator = it};
}

bool dlx_jx_is_iterable(const dlx_jv *v)
{
    return v->type == DLX_JV_UNDEFINED || (v->type >= DLX_JV_STRING && v->type <= DLX_JV_ITERATOR) ||
           v->type == DLX_JV_LOOP;
}

bool dlx_jx_iterate(dlx_jx *x, const dlx_jv *v, dlx_jv_iterator **out)
{
    if (v->type == DLX_JV_ITERATOR) {
        *out = v->as.iterator;
        return true;
    }
    if (!dlx_jx_is_iterable(v) || v->type == DLX_JV_LOOP)
        return dlx_jx_fail(x, DLX_E_INVALID, "a value of type %s cannot be iterated over", dlx_jv_type_name(v));
    dlx_jv_iterator *it = dlx_jx_alloc(x, sizeof *it);
    if (!it) return false;
    it->source = *v;
    it->kind = DLX_JV_OVER_ITEMS;
    if (v->type == DLX_JV_DICT || v->type == DLX_JV_VIEW) {
        it->kind = DLX_JV_OVER_DICT;
        it->which = v->type == DLX_JV_DICT ? DLX_JV_KEYS : v->which;
        it->n = v->as.dict->n;
    } else if (!dlx_jv_length(x, v, &it->n)) {
        return false;
    }
    *out = it;
    return true;
}

static int next_of_dict(dlx_jx *x, dlx_jv_iterator *it, dlx_jv *out)
{
    const dlx_jv_dict *d = it->source.as.dict;
    size_t i = it->at++;
    if (it->which == DLX_JV_KEYS)
        *out = d->keys[i];
    else if (it->which == DLX_JV_VALUES)
        *out = d->values[i];
    else if (!dlx_jv_pair(x, d->keys[i], d->values[i], out))
        return -1;
    return 1;
}

/* Strings keep the byte offset, so that going over them takes one pass. */
static int next_char(dlx_jx *x, dlx_jv_iterator *it, dlx_jv *out)
{
    const dlx_jv_string *s = it->source.as.string;
    size_t end = it->at + 1;
    if (it->at >= s->n) return 0;
    while (end < s->n && ((unsigned char)s->p[end] & 0xC0) == 0x80) end++;
    if (!dlx_jv_substring(x, s, it->at, end, out)) return -1;
    it->at = end;
    return 1;
}

static int next_mapped(dlx_jx *x, dlx_jv_iterator *it, dlx_jv *out)
{
    dlx_jv item;
    int more = dlx_jx_next(x, it->inner, &item);
    if (more <= 0) return more;
    bool fine = it->by_attribute ? dlx_jx_attribute_path(x, &item, &it->attribute, &it->otherwise, out)
                                 : dlx_jx_filter(x, it->function, &item, &it->arguments, out);
    return fine ? 1 : -1;
}

static int next_selected(dlx_jx *x, dlx_jv_iterator *it, dlx_jv *out)
{
    for (;;) {
        dlx_jv tested;
        bool passes;
        int more = dlx_jx_next(x, it->inner, out);
        if (more <= 0) return more;
        tested = *out;
        if (it->by_attribute && !dlx_jx_attribute_path(x, out, &it->attribute, &it->otherwise, &tested)) return -1;
        if (it->has_function) {
            if (!dlx_jx_test(x, it->function, &tested, &it->arguments, &passes)) return -1;
        } else {
            passes = dlx_jv_truth(&tested);
        }
        if (passes != it->reject) return 1;
    }
}

static int next_any(dlx_jx *x, dlx_jv_iterator *it, dlx_jv *out)
{
    switch (it->kind) {
    case DLX_JV_OVER_MAP: return next_mapped(x, it, out);
    case DLX_JV_OVER_SELECT: return next_selected(x, it, out);
    case DLX_JV_OVER_DICT: return it->at < it->n ? next_of_dict(x, it, out) : 0;
    case DLX_JV_OVER_REVERSED:
        if (it->at >= it->n) return 0;
        return dlx_jv_element(x, &it->source, it->n - ++it->at, out) ? 1 : -1;
    case DLX_JV_OVER_LAZY: {
        dlx_jv_list *list;
        if (!dlx_jx_lazy_filter(x, it, &list)) return -1;
        it->kind = DLX_JV_OVER_ITEMS;
        it->source = dlx_jv_of_list(list, false);
        it->n = list->n;
        break;
    }
    default: break;
    }
    if (it->source.type == DLX_JV_STRING) return next_char(x, it, out);
    if (it->at >= it->n) return 0;
    return dlx_jv_element(x, &it->source, it->at++, out) ? 1 : -1;
}

int dlx_jx_next(dlx_jx *x, dlx_jv_iterator *it, dlx_jv *out)
{
    if (it->source.type == DLX_JV_UNDEFINED && it->kind == DLX_JV_OVER_ITEMS) return 0;
    if (!dlx_jx_step(x, 1) || !dlx_jx_enter(x)) return -1;
    int more = next_any(x, it, out);
    dlx_jx_leave(x);
    return more;
}

bool dlx_jx_to_list(dlx_jx *x, const dlx_jv *v, dlx_jv_list **out)
{
    dlx_jv_iterator *it;
    dlx_jv item;
    if (!dlx_jx_iterate(x, v, &it) || !dlx_jv_new_list(x, 0, out)) return false;
    for (;;) {
        int more = dlx_jx_next(x, it, &item);
        if (more <= 0) return more == 0;
        if (!dlx_jv_push(x, *out, item)) return false;
    }
}
