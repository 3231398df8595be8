/* tojson: json.dumps of Python, with the options that transformers' filter has. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja/run.h"
#include "text/utf8.h"

typedef struct dumper {
    dlx_jv_bytes *out;
    const dlx_jv_string *indent;     /* of one level; NULL: on one line */
    const dlx_jv_string *item, *key; /* separators */
    bool ascii, sorted;
    int level;
} dumper;

static bool dump_string(dlx_jx *x, const dumper *d, const dlx_jv_string *s, bool own_quotes)
{
    static const char meanings[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    if (!dlx_jv_bytes_text(x, d->out, "\"", 1, own_quotes)) return false;
    for (size_t i = 0; i < s->n;) {
        uint32_t c;
        char escape[16] = "";
        size_t step = dlx_utf8_next(s->p + i, s->n - i, &c);
        const char *known = c && c < 0x80 ? strchr(meanings, (int)c) : NULL;
        if (known)
            snprintf(escape, sizeof escape, "\\%c", letters[known - meanings]);
        else if (c < 0x20 || (d->ascii && c > 0x7E && c < 0x10000))
            snprintf(escape, sizeof escape, "\\u%04x", c);
        else if (d->ascii && c >= 0x10000)
            snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + (c & 0x3FF));
        if (!(*escape ? dlx_jv_bytes_text(x, d->out, escape, strlen(escape), s->own[i])
                      : dlx_jv_bytes_add(x, d->out, s->p + i, s->own + i, step)))
            return false;
        i += step;
    }
    return dlx_jv_bytes_text(x, d->out, "\"", 1, own_quotes);
}

static bool add(dlx_jx *x, const dumper *d, const char *text, const dlx_jv *like)
{
    return dlx_jv_bytes_text(x, d->out, text, strlen(text), !like->foreign);
}

static bool dump(dlx_jx *x, dumper *d, const dlx_jv *v);

/* A line break with the indentation of the level, when lines are wanted. */
static bool new_line(dlx_jx *x, const dumper *d)
{
    if (!d->indent) return true;
    if (!dlx_jv_bytes_text(x, d->out, "\n", 1, true)) return false;
    for (int i = 0; i < d->level; i++)
        if (!dlx_jv_bytes_string(x, d->out, d->indent)) return false;
    return true;
}

/* A key as text: words and numbers become strings. */
static bool dump_key(dlx_jx *x, const dumper *d, const dlx_jv *key)
{
    dlx_jv text;
    if (key->type == DLX_JV_STRING)
        return dump_string(x, d, key->as.string, key->as.string->n && key->as.string->own[0]);
    if (key->type == DLX_JV_NONE) return add(x, d, "\"null\"", key);
    if (key->type == DLX_JV_BOOL) return add(x, d, key->as.b ? "\"true\"" : "\"false\"", key);
    if (!dlx_jv_is_number(key) && key->type != DLX_JV_BIG)
        return dlx_jx_fail(x, DLX_E_INVALID, "'tojson' needs keys that are strings, not %s", dlx_jv_type_name(key));
    return dlx_jv_to_string(x, key, &text) && dump_string(x, d, text.as.string, !key->foreign);
}

static bool dump_members(dlx_jx *x, dumper *d, const dlx_jv *v)
{
    const dlx_jv_dict *dict = v->as.dict;
    dlx_jv *keys = dict->keys, *values = dict->values;
    if (dict->n == 0) return add(x, d, "{}", v);
    if (d->sorted) {
        keys = dlx_jx_alloc(x, 2 * dict->n * sizeof *keys);
        if (!keys) return false;
        values = keys + dict->n;
        memcpy(keys, dict->keys, dict->n * sizeof *keys);
        memcpy(values, dict->values, dict->n * sizeof *values);
        if (!dlx_jx_sort(x, keys, values, dict->n, false)) return false;
    }
    if (!add(x, d, "{", v)) return false;
    d->level++;
    for (size_t i = 0; i < dict->n; i++)
        if ((i && !dlx_jv_bytes_string(x, d->out, d->item)) || !new_line(x, d) || !dump_key(x, d, &keys[i]) ||
            !dlx_jv_bytes_string(x, d->out, d->key) || !dump(x, d, &values[i]))
            return false;
    d->level--;
    return new_line(x, d) && add(x, d, "}", v);
}

static bool dump_elements(dlx_jx *x, dumper *d, const dlx_jv *v)
{
    const dlx_jv_list *list = v->as.list;
    if (list->n == 0) return add(x, d, "[]", v);
    if (!add(x, d, "[", v)) return false;
    d->level++;
    for (size_t i = 0; i < list->n; i++)
        if ((i && !dlx_jv_bytes_string(x, d->out, d->item)) || !new_line(x, d) || !dump(x, d, &list->v[i]))
            return false;
    d->level--;
    return new_line(x, d) && add(x, d, "]", v);
}

static bool dump_value(dlx_jx *x, dumper *d, const dlx_jv *v)
{
    switch (v->type) {
    case DLX_JV_NONE: return add(x, d, "null", v);
    case DLX_JV_BOOL: return add(x, d, v->as.b ? "true" : "false", v);
    case DLX_JV_FLOAT:
        if (isnan(v->as.f)) return add(x, d, "NaN", v);
        if (isinf(v->as.f)) return add(x, d, v->as.f < 0 ? "-Infinity" : "Infinity", v);
        return dlx_jv_print(x, d->out, v);
    case DLX_JV_INT:
    case DLX_JV_BIG: return dlx_jv_print(x, d->out, v);
    case DLX_JV_STRING: return dump_string(x, d, v->as.string, v->as.string->n && v->as.string->own[0]);
    case DLX_JV_LIST:
    case DLX_JV_TUPLE: return dump_elements(x, d, v);
    case DLX_JV_DICT: return dump_members(x, d, v);
    default: return dlx_jx_fail(x, DLX_E_INVALID, "'tojson' cannot write a value of type %s", dlx_jv_type_name(v));
    }
}

static bool dump(dlx_jx *x, dumper *d, const dlx_jv *v)
{
    if (!dlx_jx_step(x, 1) || !dlx_jx_enter(x)) return false;
    bool fine = dump_value(x, d, v);
    dlx_jx_leave(x);
    return fine;
}

/* separators: a pair of strings, or none for Python's. */
static bool read_separators(dlx_jx *x, dumper *d, const dlx_jv *v)
{
    dlx_jv item, key;
    dlx_jv_list *list;
    if (!dlx_jv_is_given(v))
        return dlx_jv_text(x, ", ", d->indent ? 1 : 2, true, &item) && dlx_jv_text(x, ": ", 2, true, &key) &&
               dlx_jx_need_string(x, &item, "tojson", &d->item) && dlx_jx_need_string(x, &key, "tojson", &d->key);
    if (!dlx_jx_to_list(x, v, &list)) return false;
    if (list->n != 2) return dlx_jx_fail(x, DLX_E_INVALID, "'tojson' needs two separators");
    return dlx_jx_need_string(x, &list->v[0], "tojson", &d->item) &&
           dlx_jx_need_string(x, &list->v[1], "tojson", &d->key);
}

static bool read_indent(dlx_jx *x, dumper *d, const dlx_jv *v)
{
    int64_t width;
    dlx_jv blanks;
    if (!dlx_jv_is_given(v)) return true;
    if (v->type == DLX_JV_STRING) {
        d->indent = v->as.string;
        return true;
    }
    if (!dlx_jx_need_int(x, v, "tojson", &width)) return false;
    if (width > 1000) return dlx_jx_fail(x, DLX_E_LIMIT, "'tojson' indents by at most 1000 blanks");
    if (!dlx_jv_blanks(x, width, &blanks)) return false;
    d->indent = blanks.as.string;
    return true;
}

bool dlx_jx_tojson(dlx_jx *x, const dlx_jv *v, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv b[4];
    dumper d = {.out = dlx_jv_new_bytes(x)};
    if (!d.out || !dlx_jx_bind(x, a, "tojson", "ensure_ascii indent separators sort_keys", 0, b) ||
        !read_indent(x, &d, &b[1]) || !read_separators(x, &d, &b[2]))
        return false;
    d.ascii = dlx_jv_truth(&b[0]);
    d.sorted = dlx_jv_truth(&b[3]);
    return dump(x, &d, v) && dlx_jv_bytes_end(x, d.out, 0, out);
}
