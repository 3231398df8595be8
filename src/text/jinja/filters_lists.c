/* Filters of sequences and dicts. */
#include <string.h>

#include "text/jinja/names.h"
#include "text/jinja/run.h"

/* ---- attributes ---------------------------------------------------------------------------------------------------
 */

static bool is_digits(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9') return false;
    return n > 0 && n < 18;
}

/* One name of a path, or a number when it is written as one. */
static bool step_into(dlx_jx *x, const dlx_jv_string *path, size_t begin, size_t end, const dlx_jv *v, dlx_jv *out)
{
    dlx_jv key;
    if (is_digits(path->p + begin, end - begin)) {
        int64_t i = 0;
        for (size_t k = begin; k < end; k++) i = i * 10 + (path->p[k] - '0');
        key = dlx_jv_int(i);
    } else if (!dlx_jv_substring(x, path, begin, end, &key)) {
        return false;
    }
    return dlx_jx_item(x, v, &key, out);
}

bool dlx_jx_attribute_path(dlx_jx *x, const dlx_jv *v, const dlx_jv *path, const dlx_jv *otherwise, dlx_jv *out)
{
    bool has_default = dlx_jv_is_given(otherwise);
    *out = *v;
    if (!dlx_jv_is_given(path)) return true;
    if (path->type != DLX_JV_STRING) {
        if (!dlx_jx_item(x, v, path, out)) return false;
        if (has_default && out->type == DLX_JV_UNDEFINED) *out = *otherwise;
        return true;
    }
    const dlx_jv_string *s = path->as.string;
    for (size_t begin = 0; begin <= s->n;) {
        const char *dot = s->n > begin ? memchr(s->p + begin, '.', s->n - begin) : NULL;
        size_t end = dot ? (size_t)(dot - s->p) : s->n;
        dlx_jv item = *out;
        if (!step_into(x, s, begin, end, &item, out)) return false;
        if (has_default && out->type == DLX_JV_UNDEFINED) *out = *otherwise;
        begin = end + 1;
    }
    return true;
}

/* The key that sorting and comparing go by: an attribute, in lower case unless case counts. */
static bool key_of(dlx_jx *x, const dlx_jv *v, const dlx_jv *attribute, bool case_sensitive, dlx_jv *out)
{
    dlx_jv none = dlx_jv_absent(), key;
    if (!dlx_jx_attribute_path(x, v, attribute, &none, &key)) return false;
    *out = key;
    return case_sensitive || key.type != DLX_JV_STRING || dlx_jv_change_case(x, key.as.string, DLX_JV_LOWER, out);
}

/* ---- sorting ------------------------------------------------------------------------------------------------------
 */

static bool merge(dlx_jx *x, dlx_jv *keys, dlx_jv *values, dlx_jv *scratch, size_t n, bool reverse)
{
    size_t half = n / 2, i = 0, k = half, at = 0;
    if (n < 2) return true;
    if (!dlx_jx_step(x, n) || !merge(x, keys, values, scratch, half, reverse) ||
        !merge(x, keys + half, values + half, scratch, n - half, reverse))
        return false;
    while (at < n) {
        bool second = i == half;
        if (i < half && k < n &&
            !(reverse ? dlx_jv_less(x, &keys[i], &keys[k], &second) : dlx_jv_less(x, &keys[k], &keys[i], &second)))
            return false;
        size_t from = second ? k++ : i++;
        scratch[2 * at] = keys[from];
        scratch[2 * at + 1] = values[from];
        at++;
    }
    for (at = 0; at < n; at++) {
        keys[at] = scratch[2 * at];
        values[at] = scratch[2 * at + 1];
    }
    return true;
}

bool dlx_jx_sort(dlx_jx *x, dlx_jv *keys, dlx_jv *values, size_t n, bool reverse)
{
    dlx_jv *scratch = dlx_jx_alloc(x, 2 * n * sizeof *scratch + 1);
    return scratch && merge(x, keys, values, scratch, n, reverse);
}

/* Attributes with commas between them; the key is a list of what they are. */
static bool sort_key(dlx_jx *x, const dlx_jv *v, const dlx_jv *attribute, bool case_sensitive, dlx_jv *out)
{
    dlx_jv_list *list;
    dlx_jv key, part;
    if (!dlx_jv_new_list(x, 1, &list)) return false;
    *out = dlx_jv_of_list(list, false); /* its elements compare as equal before they are asked for an order */
    if (attribute->type != DLX_JV_STRING)
        return key_of(x, v, attribute, case_sensitive, &key) && dlx_jv_push(x, list, key);
    const dlx_jv_string *s = attribute->as.string;
    for (size_t begin = 0; begin <= s->n;) {
        const char *comma = s->n > begin ? memchr(s->p + begin, ',', s->n - begin) : NULL;
        size_t end = comma ? (size_t)(comma - s->p) : s->n;
        if (!dlx_jv_substring(x, s, begin, end, &part) || !key_of(x, v, &part, case_sensitive, &key) ||
            !dlx_jv_push(x, list, key))
            return false;
        begin = end + 1;
    }
    return true;
}

static bool sort_list(dlx_jx *x, dlx_jv_list *list, const dlx_jv *attribute, bool case_sensitive, bool reverse)
{
    dlx_jv *keys = dlx_jx_alloc(x, list->n * sizeof *keys + 1);
    if (!keys) return false;
    for (size_t i = 0; i < list->n; i++)
        if (!sort_key(x, &list->v[i], attribute, case_sensitive, &keys[i])) return false;
    return dlx_jx_sort(x, keys, list->v, list->n, reverse);
}

static bool filter_sort(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    dlx_jv_list *list;
    if (!dlx_jx_to_list(x, v, &list) || !sort_list(x, list, &a[2], dlx_jv_truth(&a[1]), dlx_jv_truth(&a[0])))
        return false;
    *out = dlx_jv_of_list(list, false);
    return true;
}

static bool filter_dictsort(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    dlx_jv view = *v, place = dlx_jv_int(0);
    dlx_jv_list *list;
    if (v->type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, v);
    if (v->type != DLX_JV_DICT)
        return dlx_jx_fail(x, DLX_E_INVALID, "'dictsort' needs a dict, not %s", dlx_jv_type_name(v));
    if (dlx_jv_is_text(&a[1], "value"))
        place = dlx_jv_int(1);
    else if (a[1].type != DLX_JV_ABSENT && !dlx_jv_is_text(&a[1], "key"))
        return dlx_jx_fail(x, DLX_E_INVALID, "'dictsort' can only sort by key or value");
    view.type = DLX_JV_VIEW;
    view.which = DLX_JV_ITEMS;
    if (!dlx_jx_to_list(x, &view, &list) || !sort_list(x, list, &place, dlx_jv_truth(&a[0]), dlx_jv_truth(&a[2])))
        return false;
    *out = dlx_jv_of_list(list, false);
    return true;
}

/* min, max: the first of equal ones. */
static bool filter_extreme(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, bool max, dlx_jv *out)
{
    dlx_jv_list *list;
    dlx_jv best, key;
    if (!dlx_jx_to_list(x, v, &list)) return false;
    if (list->n == 0) return dlx_jv_undefined_because(x, "no aggregated item, sequence was empty", out);
    for (size_t i = 0; i < list->n; i++) {
        bool better = i == 0;
        if (!key_of(x, &list->v[i], &a[1], dlx_jv_truth(&a[0]), &key)) return false;
        if (i && !(max ? dlx_jv_less(x, &best, &key, &better) : dlx_jv_less(x, &key, &best, &better))) return false;
        if (!better) continue;
        best = key;
        *out = list->v[i];
    }
    return true;
}

static bool filter_groupby(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    dlx_jv_list *list, *groups, *members = NULL;
    bool case_sensitive = dlx_jv_truth(&a[2]);
    dlx_jv before = dlx_jv_absent(), none = dlx_jv_absent(), group;
    if (!dlx_jx_to_list(x, v, &list) || !dlx_jv_new_list(x, 0, &groups)) return false;
    dlx_jv *keys = dlx_jx_alloc(x, list->n * sizeof *keys + 1);
    if (!keys) return false;
    for (size_t i = 0; i < list->n; i++) {
        dlx_jv key;
        if (!dlx_jx_attribute_path(x, &list->v[i], &a[0], &a[1], &key) ||
            !key_of(x, &key, &none, case_sensitive, &keys[i]))
            return false;
    }
    if (!dlx_jx_sort(x, keys, list->v, list->n, false)) return false;
    for (size_t i = 0; i < list->n; i++) {
        bool same = false;
        if (before.type != DLX_JV_ABSENT && !dlx_jv_equal(x, &before, &keys[i], &same)) return false;
        if (!same) {
            dlx_jv name;
            if (!dlx_jv_new_list(x, 0, &members) || !dlx_jx_attribute_path(x, &list->v[i], &a[0], &a[1], &name) ||
                !dlx_jv_pair(x, case_sensitive ? keys[i] : name, dlx_jv_of_list(members, false), &group) ||
                !dlx_jv_push(x, groups, group))
                return false;
        }
        before = keys[i];
        if (!dlx_jv_push(x, members, list->v[i])) return false;
    }
    *out = dlx_jv_of_list(groups, false);
    return true;
}

/* ---- from sequences to values --------------------------------------------------------------------------------------
 */

static bool filter_join(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    dlx_jv_iterator *it;
    dlx_jv item, text, by, none = dlx_jv_absent();
    bool first = true;
    if (!b || !dlx_jx_iterate(x, v, &it)) return false;
    if (a[0].type == DLX_JV_ABSENT ? !dlx_jv_text(x, "", 0, true, &by) : !dlx_jv_to_string(x, &a[0], &by)) return false;
    for (;;) {
        int more = dlx_jx_next(x, it, &item);
        if (more < 0) return false;
        if (more == 0) return dlx_jv_bytes_end(x, b, 0, out);
        if (!dlx_jx_attribute_path(x, &item, &a[1], &none, &text) ||
            (!first && !dlx_jv_bytes_string(x, b, by.as.string)) || !dlx_jv_print(x, b, &text))
            return false;
        first = false;
    }
}

static bool filter_sum(dlx_jx *x, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    dlx_jv_iterator *it;
    dlx_jv item, value, none = dlx_jv_absent();
    dlx_jv sum = a[1].type == DLX_JV_ABSENT ? dlx_jv_int(0) : a[1];
    if (sum.type == DLX_JV_STRING) return dlx_jx_fail(x, DLX_E_INVALID, "'sum' cannot add strings; use 'join'");
    if (!dlx_jx_iterate(x, v, &it)) return false;
    for (;;) {
        int more = dlx_jx_next(x, it, &item);
        if (more < 0) return false;
        if (more == 0) break;
        dlx_jv before = sum;
        if (!dlx_jx_attribute_path(x, &item, &a[0], &none, &value) ||
            !dlx_jv_arithmetic(x, DLX_JINJA_ADD, &before, &value, &sum))
            return false;
    }
    *out = sum;
    return true;
}

static bool filter_end(dlx_jx *x, const dlx_jv *v, bool last, dlx_jv *out)
{
    dlx_jv_iterator *it;
    if (last && v->type == DLX_JV_UNDEFINED)
        return dlx_jv_undefined_because(x, "no last item, sequence was empty", out);
    if (last && v->type == DLX_JV_ITERATOR)
        return dlx_jx_fail(x, DLX_E_INVALID, "'last' needs a sequence, not an iterator");
    if (last && (dlx_jv_is_sequence(v))) {
        size_t n;
        if (!dlx_jv_length(x, v, &n)) return false;
        if (n) return dlx_jv_element(x, v, n - 1, out);
        return dlx_jv_undefined_because(x, "no last item, sequence was empty", out);
    }
    if (last) {
        dlx_jv_list *list;
        if (!dlx_jx_to_list(x, v, &list)) return false;
        if (list->n == 0) return dlx_jv_undefined_because(x, "no last item, sequence was empty", out);
        *out = list->v[list->n - 1];
        return true;
    }
    if (!dlx_jx_iterate(x, v, &it)) return false;
    int more = dlx_jx_next(x, it, out);
    return more > 0 || (more == 0 && dlx_jv_undefined_because(x, "no first item, sequence was empty", out));
}

static bool filter_reverse(dlx_jx *x, const dlx_jv *v, dlx_jv *out)
{
    if (v->type == DLX_JV_STRING) {
        dlx_jv parts[3] = {dlx_jv_absent(), dlx_jv_absent(), dlx_jv_int(-1)};
        return dlx_jv_slice(x, v, parts, out);
    }
    dlx_jv source = *v;
    if (!dlx_jv_is_sequence(v)) {
        dlx_jv_list *list;
        if (!dlx_jx_to_list(x, v, &list)) return false;
        source = dlx_jv_of_list(list, false);
    }
    dlx_jv_iterator *it = dlx_jx_alloc(x, sizeof *it);
    if (!it || !dlx_jv_length(x, &source, &it->n)) return false;
    it->kind = DLX_JV_OVER_REVERSED;
    it->source = source;
    *out = dlx_jv_of_iterator(it);
    /* reversed() wants a sequence; anything else comes back as a list */
    if (dlx_jv_is_sequence(v) || v->type == DLX_JV_DICT || v->type == DLX_JV_VIEW) return true;
    dlx_jv_list *list;
    if (!dlx_jx_to_list(x, out, &list)) return false;
    *out = dlx_jv_of_list(list, false);
    return true;
}

/* ---- lazy filters -------------------------------------------------------------------------------------------------
 */

static bool new_iterator(dlx_jx *x, int kind, int filter, const dlx_jv *v, dlx_jv *out)
{
    dlx_jv_iterator *it = dlx_jx_alloc(x, sizeof *it);
    if (!it) return false;
    it->kind = (uint8_t)kind;
    it->function = filter;
    it->source = *v;
    it->attribute = it->otherwise = dlx_jv_absent();
    *out = dlx_jv_of_iterator(it);
    return true;
}

/* The arguments behind the first n. */
static dlx_jx_arguments behind(const dlx_jx_arguments *a, size_t n)
{
    return (dlx_jx_arguments){a->v + n, a->n - n, a->keywords, a->n_keywords};
}

static bool named_filter(dlx_jx *x, const dlx_jv *name, bool test, int *out)
{
    const dlx_jv_string *s;
    if (!dlx_jx_need_string(x, name, test ? "select" : "map", &s)) return false;
    *out = test ? dlx_jinja_find_test(s->p, s->n) : dlx_jinja_find_filter(s->p, s->n);
    return *out >= 0 || dlx_jx_fail(x, DLX_E_INVALID, "there is no %s '%.*s'", test ? "test" : "filter",
                                    s->n < 60 ? (int)s->n : 60, s->p);
}

/* An empty sequence needs no arguments to be right: the generator looks at them when it has an element. */
static bool empty_iterator(dlx_jx *x, const dlx_jv *v, dlx_jv *out, bool *done)
{
    *done = !dlx_jv_truth(v);
    if (!*done) return true;
    dlx_jv_list *list;
    dlx_jv_iterator *it;
    dlx_jv empty;
    if (!dlx_jv_new_list(x, 0, &list)) return false;
    empty = dlx_jv_of_list(list, false);
    if (!dlx_jx_iterate(x, &empty, &it)) return false;
    *out = dlx_jv_of_iterator(it);
    return true;
}

static bool filter_map(dlx_jx *x, const dlx_jv *v, const dlx_jx_arguments *a, dlx_jv *out)
{
    bool done;
    if (!empty_iterator(x, v, out, &done) || done) return !(x->status != DLX_OK);
    if (!new_iterator(x, DLX_JV_OVER_MAP, 0, v, out)) return false;
    dlx_jv_iterator *it = out->as.iterator;
    if (!dlx_jx_iterate(x, v, &it->inner)) return false;
    if (a->n == 0) {
        dlx_jv bound[2];
        if (!dlx_jx_bind(x, a, "map", "attribute default", 1, bound)) return false;
        it->by_attribute = true;
        it->attribute = bound[0];
        it->otherwise = bound[1];
        return true;
    }
    it->arguments = behind(a, 1);
    return named_filter(x, &a->v[0], false, &it->function);
}

static bool filter_select(dlx_jx *x, const dlx_jv *v, const dlx_jx_arguments *a, bool attribute, bool reject,
                          dlx_jv *out)
{
    bool done;
    size_t at = attribute;
    if (!empty_iterator(x, v, out, &done) || done) return !(x->status != DLX_OK);
    if (attribute && a->n == 0) return dlx_jx_fail(x, DLX_E_INVALID, "'selectattr' needs the name of an attribute");
    if (!new_iterator(x, DLX_JV_OVER_SELECT, 0, v, out)) return false;
    dlx_jv_iterator *it = out->as.iterator;
    if (!dlx_jx_iterate(x, v, &it->inner)) return false;
    it->reject = reject;
    it->by_attribute = attribute;
    if (attribute) it->attribute = a->v[0];
    it->has_function = a->n > at;
    if (!it->has_function) return true;
    it->arguments = behind(a, at + 1);
    return named_filter(x, &a->v[at], true, &it->function);
}

static bool make_batches(dlx_jx *x, const dlx_jv_iterator *it, dlx_jv_list *all, dlx_jv_list *out)
{
    dlx_jv_list *batch = NULL;
    int64_t size;
    dlx_jv fill = it->arguments.v[1];
    if (!dlx_jx_need_int(x, &it->arguments.v[0], "batch", &size)) return false;
    for (size_t i = 0; i < all->n; i++) {
        if (!batch || (int64_t)batch->n == size) {
            if (batch && !dlx_jv_push(x, out, dlx_jv_of_list(batch, false))) return false;
            if (!dlx_jv_new_list(x, 0, &batch)) return false;
        }
        if (!dlx_jv_push(x, batch, all->v[i])) return false;
    }
    bool fills = dlx_jv_is_given(&fill);
    while (batch && fills && (int64_t)batch->n < size)
        if (!dlx_jv_push(x, batch, fill)) return false;
    return !batch || dlx_jv_push(x, out, dlx_jv_of_list(batch, false));
}

static bool make_slices(dlx_jx *x, const dlx_jv_iterator *it, dlx_jv_list *all, dlx_jv_list *out)
{
    int64_t slices, offset = 0, n = (int64_t)all->n;
    dlx_jv fill = it->arguments.v[1];
    bool fills = dlx_jv_is_given(&fill);
    if (!dlx_jx_need_int(x, &it->arguments.v[0], "slice", &slices)) return false;
    if (slices == 0) return dlx_jx_fail(x, DLX_E_INVALID, "division by zero");
    if (slices < 0) return true;
    int64_t size = n / slices, extra = n % slices;
    for (int64_t k = 0; k < slices; k++) {
        dlx_jv_list *slice;
        int64_t start = offset + k * size;
        if (k < extra) offset++;
        if (!dlx_jx_step(x, 1) || !dlx_jv_new_list(x, 0, &slice)) return false;
        for (int64_t i = start; i < offset + (k + 1) * size; i++)
            if (!dlx_jv_push(x, slice, all->v[i])) return false;
        if ((fills && k >= extra && !dlx_jv_push(x, slice, fill)) || !dlx_jv_push(x, out, dlx_jv_of_list(slice, false)))
            return false;
    }
    return true;
}

/* Compares each with all before it; the count of steps bounds that. */
static bool make_unique(dlx_jx *x, const dlx_jv_iterator *it, dlx_jv_list *all, dlx_jv_list *out)
{
    dlx_jv_dict *seen;
    if (!dlx_jv_new_dict(x, &seen)) return false;
    for (size_t i = 0; i < all->n; i++) {
        const dlx_jv *there;
        dlx_jv key;
        if (!key_of(x, &all->v[i], &it->arguments.v[1], dlx_jv_truth(&it->arguments.v[0]), &key) ||
            !dlx_jv_dict_get(x, seen, &key, &there))
            return false;
        if (!there && (!dlx_jv_dict_add(x, seen, key, dlx_jv_none()) || !dlx_jv_push(x, out, all->v[i]))) return false;
    }
    return true;
}

bool dlx_jx_lazy_filter(dlx_jx *x, const dlx_jv_iterator *it, dlx_jv_list **out)
{
    dlx_jv_list *all;
    if (!dlx_jv_new_list(x, 0, out)) return false;
    dlx_jv view = it->source;
    if (it->function == DLX_JINJA_FILTER_ITEMS) {
        if (view.type == DLX_JV_UNDEFINED) return true;
        if (view.type != DLX_JV_DICT) return dlx_jx_fail(x, DLX_E_INVALID, "'items' needs a mapping");
        view.type = DLX_JV_VIEW;
        view.which = DLX_JV_ITEMS;
        return dlx_jx_to_list(x, &view, out);
    }
    if (!dlx_jx_to_list(x, &view, &all)) return false;
    if (it->function == DLX_JINJA_FILTER_BATCH) return make_batches(x, it, all, *out);
    if (it->function == DLX_JINJA_FILTER_SLICE) return make_slices(x, it, all, *out);
    return make_unique(x, it, all, *out);
}

/* A filter that returns a generator in Jinja: nothing happens before it is asked for an element. */
static bool lazy(dlx_jx *x, int filter, const dlx_jv *v, const dlx_jv *a, dlx_jv *out)
{
    dlx_jv *copy = dlx_jx_alloc(x, 3 * sizeof *copy);
    if (!copy || !new_iterator(x, DLX_JV_OVER_LAZY, filter, v, out)) return false;
    memcpy(copy, a, 3 * sizeof *copy);
    out->as.iterator->arguments = (dlx_jx_arguments){.v = copy, .n = 3};
    return true;
}

/* ---- the table ----------------------------------------------------------------------------------------------------
 */

static const struct {
    const char *parameters;
    size_t needed;
} signatures[DLX_JINJA_FILTERS] = {
    [DLX_JINJA_FILTER_BATCH] = {"linecount fill_with", 1},
    [DLX_JINJA_FILTER_DICTSORT] = {"case_sensitive by reverse", 0},
    [DLX_JINJA_FILTER_FIRST] = {"", 0},
    [DLX_JINJA_FILTER_GROUPBY] = {"attribute default case_sensitive", 1},
    [DLX_JINJA_FILTER_ITEMS] = {"", 0},
    [DLX_JINJA_FILTER_JOIN] = {"d attribute", 0},
    [DLX_JINJA_FILTER_LAST] = {"", 0},
    [DLX_JINJA_FILTER_LENGTH] = {"", 0},
    [DLX_JINJA_FILTER_LIST] = {"", 0},
    [DLX_JINJA_FILTER_MAX] = {"case_sensitive attribute", 0},
    [DLX_JINJA_FILTER_MIN] = {"case_sensitive attribute", 0},
    [DLX_JINJA_FILTER_REVERSE] = {"", 0},
    [DLX_JINJA_FILTER_SLICE] = {"slices fill_with", 1},
    [DLX_JINJA_FILTER_SORT] = {"reverse case_sensitive attribute", 0},
    [DLX_JINJA_FILTER_SUM] = {"attribute start", 0},
    [DLX_JINJA_FILTER_UNIQUE] = {"case_sensitive attribute", 0},
};

static bool filter_length(dlx_jx *x, const dlx_jv *v, dlx_jv *out)
{
    size_t n;
    if (!dlx_jv_length(x, v, &n)) return false;
    *out = dlx_jv_int((int64_t)n);
    return true;
}

bool dlx_jx_list_filter(dlx_jx *x, int filter, const dlx_jv *v, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv b[3] = {dlx_jv_absent(), dlx_jv_absent(), dlx_jv_absent()};
    dlx_jv_list *list;
    if (filter == DLX_JINJA_FILTER_MAP) return filter_map(x, v, a, out);
    if (filter == DLX_JINJA_FILTER_SELECT || filter == DLX_JINJA_FILTER_REJECT)
        return filter_select(x, v, a, false, filter == DLX_JINJA_FILTER_REJECT, out);
    if (filter == DLX_JINJA_FILTER_SELECTATTR || filter == DLX_JINJA_FILTER_REJECTATTR)
        return filter_select(x, v, a, true, filter == DLX_JINJA_FILTER_REJECTATTR, out);
    if (!dlx_jx_bind(x, a, dlx_jinja_filter_name(filter), signatures[filter].parameters, signatures[filter].needed, b))
        return false;
    switch (filter) {
    case DLX_JINJA_FILTER_DICTSORT: return filter_dictsort(x, v, b, out);
    case DLX_JINJA_FILTER_FIRST: return filter_end(x, v, false, out);
    case DLX_JINJA_FILTER_GROUPBY: return filter_groupby(x, v, b, out);
    case DLX_JINJA_FILTER_JOIN: return filter_join(x, v, b, out);
    case DLX_JINJA_FILTER_LAST: return filter_end(x, v, true, out);
    case DLX_JINJA_FILTER_LENGTH: return filter_length(x, v, out);
    case DLX_JINJA_FILTER_LIST:
        if (!dlx_jx_to_list(x, v, &list)) return false;
        *out = dlx_jv_of_list(list, false);
        return true;
    case DLX_JINJA_FILTER_MAX:
    case DLX_JINJA_FILTER_MIN: return filter_extreme(x, v, b, filter == DLX_JINJA_FILTER_MAX, out);
    case DLX_JINJA_FILTER_REVERSE: return filter_reverse(x, v, out);
    case DLX_JINJA_FILTER_SORT: return filter_sort(x, v, b, out);
    case DLX_JINJA_FILTER_SUM: return filter_sum(x, v, b, out);
    default: return lazy(x, filter, v, b, out);
    }
}
