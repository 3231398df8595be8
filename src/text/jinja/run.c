/* A rendering's memory and bounds, its errors, and the arguments of functions. */
#include "text/jinja/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void *dlx_jx_alloc(dlx_jx *x, size_t size)
{
    if (size > DLX_JX_MAX_MEMORY - x->memory) {
        dlx_jx_fail(x, DLX_E_LIMIT, "takes more than %d MiB of memory", DLX_JX_MAX_MEMORY >> 20);
        return NULL;
    }
    void *p = dlx_arena_alloc(&x->arena, size);
    if (!p) dlx_jx_fail(x, DLX_E_NOMEM, "out of memory after %zu bytes", x->memory);
    x->memory += size;
    return p;
}

bool dlx_jx_grow(dlx_jx *x, void *items, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity) return true;
    size_t more = *capacity ? *capacity * 2 : 4;
    if (more < need) more = need;
    if (more > DLX_JX_MAX_MEMORY / size) return dlx_jx_fail(x, DLX_E_LIMIT, "a list grows beyond %zu elements", more);
    void *grown = dlx_jx_alloc(x, more * size), *old;
    if (!grown) return false;
    memcpy(&old, items, sizeof old);
    if (*capacity) memcpy(grown, old, *capacity * size);
    memcpy(items, &grown, sizeof grown);
    *capacity = more;
    return true;
}

bool dlx_jx_fail(dlx_jx *x, dlx_status status, const char *fmt, ...)
{
    char text[400];
    va_list args;
    if (x->status != DLX_OK) return false; /* the first failure is the reason */
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    x->status = status;
    if (x->line)
        dlx_set_error(x->err, status, "chat template, line %u: %s", x->line, text);
    else
        dlx_set_error(x->err, status, "chat: %s", text);
    return false;
}

bool dlx_jx_fail_undefined(dlx_jx *x, const dlx_jv *v)
{
    const dlx_jv_string *s = v->as.string;
    if (!s) return dlx_jx_fail(x, DLX_E_INVALID, "a value is undefined");
    int n = s->n < 200 ? (int)s->n : 200;
    return v->which ? dlx_jx_fail(x, DLX_E_INVALID, "%.*s", n, s->p)
                    : dlx_jx_fail(x, DLX_E_INVALID, "'%.*s' is undefined", n, s->p);
}

bool dlx_jx_step(dlx_jx *x, size_t n)
{
    if (n > (size_t)DLX_JX_MAX_STEPS || (x->steps -= (int64_t)n) < 0)
        return dlx_jx_fail(x, DLX_E_LIMIT, "takes more than %d steps", DLX_JX_MAX_STEPS);
    return true;
}

bool dlx_jx_enter(dlx_jx *x)
{
    if (x->depth >= DLX_JX_MAX_DEPTH)
        return dlx_jx_fail(x, DLX_E_LIMIT, "more than %d levels are nested", DLX_JX_MAX_DEPTH);
    x->depth++;
    return true;
}

void dlx_jx_leave(dlx_jx *x)
{
    x->depth--;
}

/* ---- arguments ----------------------------------------------------------------------------------------------------
 */

/* Place of a name in a list with blanks between names, or -1. */
static int place_of(const char *names, const dlx_jv_string *name)
{
    int i = 0;
    for (const char *p = names; *p; i++) {
        size_t n = strcspn(p, " ");
        if (n == name->n && memcmp(p, name->p, n) == 0) return i;
        p += n + (p[n] == ' ');
    }
    return -1;
}

static size_t count_names(const char *names)
{
    size_t n = *names != '\0';
    for (const char *p = names; *p; p++) n += *p == ' ';
    return n;
}

bool dlx_jx_bind(dlx_jx *x, const dlx_jx_arguments *a, const char *what, const char *names, size_t needed, dlx_jv *out)
{
    size_t count = count_names(names);
    if (a->n > count)
        return dlx_jx_fail(x, DLX_E_INVALID, "'%s' takes at most %zu arguments, got %zu", what, count, a->n);
    for (size_t i = 0; i < count; i++) out[i] = i < a->n ? a->v[i] : dlx_jv_absent();
    for (size_t i = 0; i < a->n_keywords; i++) {
        const dlx_jv_string *name = a->keywords[i].name;
        int place = place_of(names, name);
        if (place < 0 || out[place].type != DLX_JV_ABSENT)
            return dlx_jx_fail(x, DLX_E_INVALID, "'%s' got an unexpected argument '%.*s'", what,
                               name->n < 60 ? (int)name->n : 60, name->p);
        out[place] = a->keywords[i].value;
    }
    for (size_t i = 0; i < needed; i++)
        if (out[i].type == DLX_JV_ABSENT)
            return dlx_jx_fail(x, DLX_E_INVALID, "'%s' needs %zu argument%s", what, needed, needed == 1 ? "" : "s");
    return true;
}

bool dlx_jx_need_int(dlx_jx *x, const dlx_jv *v, const char *what, int64_t *out)
{
    if (v->type == DLX_JV_UNDEFINED) return dlx_jx_fail_undefined(x, v);
    if (!dlx_jv_is_int(v))
        return dlx_jx_fail(x, DLX_E_INVALID, "'%s' needs an integer, not %s", what, dlx_jv_type_name(v));
    *out = dlx_jv_to_int(v);
    return true;
}

bool dlx_jx_need_string(dlx_jx *x, const dlx_jv *v, const char *what, const dlx_jv_string **out)
{
    if (v->type != DLX_JV_STRING)
        return dlx_jx_fail(x, DLX_E_INVALID, "'%s' needs a str, not %s", what, dlx_jv_type_name(v));
    *out = v->as.string;
    return true;
}
