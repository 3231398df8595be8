/* Taking a request's body apart. */
#include "take.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "body.h"

void dlx_srv_take_fail(dlx_srv_take *t, const char *param, const char *format, ...)
{
    char message[900];
    va_list list;
    if (t->failed) return;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    t->failed = true;
    dlx_srv_reply_error(t->reply, 400, NULL, param, "%s", message);
}

void dlx_srv_take_failure(dlx_srv_take *t, const dlx_error *err, const char *param)
{
    if (t->failed) return;
    t->failed = true;
    dlx_srv_reply_failure(t->reply, err, param);
}

void dlx_srv_take_open(dlx_srv_take *t, const char *body, size_t n, dlx_srv_reply *reply)
{
    dlx_srv_body_error error;
    *t = (dlx_srv_take){.reply = reply};
    t->root = dlx_srv_body_read(body ? body : "", n, 1, &error);
    if (!t->root)
        dlx_srv_take_fail(t, *error.param ? error.param : NULL, "the body %s", error.message);
    else if (!json_is_object(t->root))
        dlx_srv_take_fail(t, NULL, "the body is JSON, but no object");
}

void dlx_srv_take_close(dlx_srv_take *t)
{
    json_decref(t->root);
    t->root = NULL;
}

json_t *dlx_srv_take_any(dlx_srv_take *t, const char *name)
{
    if (t->failed) return NULL;
    json_t *value = json_object_get(t->root, name);
    value = value && !json_is_null(value) ? json_incref(value) : NULL;
    json_object_del(t->root, name);
    return value;
}

json_t *dlx_srv_take_kind(dlx_srv_take *t, const char *name, json_type kind, const char *expected)
{
    json_t *value = dlx_srv_take_any(t, name);
    if (!value || json_typeof(value) == kind) return value;
    dlx_srv_take_fail(t, name, "'%s': expected %s", name, expected);
    json_decref(value);
    return NULL;
}

bool dlx_srv_take_int(dlx_srv_take *t, const char *name, int64_t min, int64_t max, int64_t *out)
{
    json_t *value = dlx_srv_take_any(t, name);
    if (!value) return false;
    /* 16.0 is what some clients make of 16. */
    double real = json_is_real(value) ? json_real_value(value) : 0;
    bool whole = json_is_integer(value) ||
                 (json_is_real(value) && real >= -9e15 && real <= 9e15 && real == (double)(int64_t)real);
    int64_t number = json_is_integer(value) ? (int64_t)json_integer_value(value) : whole ? (int64_t)real : 0;
    json_decref(value);
    if (whole && number >= min && number <= max) {
        *out = number;
        return true;
    }
    if (min == INT64_MIN) /* the body's reader takes the upper half of 64 bits as well */
        dlx_srv_take_fail(t, name, "'%s': expected a whole number of up to 64 bits", name);
    else
        dlx_srv_take_fail(t, name, "'%s': expected a whole number from %lld to %lld", name, (long long)min,
                          (long long)max);
    return false;
}

bool dlx_srv_take_number(dlx_srv_take *t, const char *name, double min, double max, double *out)
{
    json_t *value = dlx_srv_take_any(t, name);
    if (!value) return false;
    bool number = json_is_number(value);
    double real = json_number_value(value);
    json_decref(value);
    if (number && real >= min && real <= max) {
        *out = real;
        return true;
    }
    dlx_srv_take_fail(t, name, "'%s': expected a number from %g to %g", name, min, max);
    return false;
}

bool dlx_srv_take_bool(dlx_srv_take *t, const char *name, bool *out)
{
    json_t *value = dlx_srv_take_any(t, name);
    if (!value) return false;
    bool fits = json_is_boolean(value);
    *out = json_is_true(value);
    json_decref(value);
    if (!fits) dlx_srv_take_fail(t, name, "'%s': expected true or false", name);
    return fits;
}

bool dlx_srv_take_text(dlx_srv_take *t, const char *name, char **out)
{
    json_t *value = dlx_srv_take_kind(t, name, JSON_STRING, "a string");
    *out = NULL;
    if (!value) return false;
    *out = strdup(json_string_value(value));
    json_decref(value);
    if (!*out) dlx_srv_take_fail(t, name, "out of memory reading '%s'", name);
    return *out != NULL;
}

/* false, "", or a list or an object of which no member says anything. */
static bool says_nothing(const json_t *value)
{
    const char *name;
    json_t *member;
    size_t i;
    json_object_foreach((json_t *)value, name, member) if (!says_nothing(member)) return false;
    json_array_foreach(value, i, member) if (!says_nothing(member)) return false;
    return json_is_object(value) || json_is_array(value) || json_is_false(value) || json_is_null(value) ||
           (json_is_string(value) && !json_string_length(value));
}

static bool is_one_of(const char *words, const char *word)
{
    size_t n = word ? strlen(word) : 0;
    for (; n && *words; words += strcspn(words, " "), words += *words == ' ')
        if (strcspn(words, " ") == n && !memcmp(words, word, n)) return true;
    return false;
}

void dlx_srv_take_idle(dlx_srv_take *t, const char *name, const char *words)
{
    json_t *value = dlx_srv_take_any(t, name);
    if (value && !says_nothing(value) && !is_one_of(words, json_string_value(value)))
        dlx_srv_take_fail(t, name, "'%s' is not supported%s%s", name, *words ? ", but for " : "", words);
    json_decref(value);
}

void dlx_srv_take_harmless(dlx_srv_take *t, const char *names)
{
    char name[64];
    while (!t->failed && *names) {
        size_t n = strcspn(names, " ");
        snprintf(name, sizeof name, "%.*s", (int)n, names);
        json_object_del(t->root, name);
        names += n + (names[n] == ' ');
    }
}

bool dlx_srv_take_end(dlx_srv_take *t)
{
    const char *name;
    json_t *value;
    if (t->failed) return false;
    json_object_foreach(t->root, name, value)
    {
        if (json_is_null(value)) continue;
        dlx_srv_take_fail(t, name, "there is no parameter '%.100s' here, or it is not supported", name);
        break;
    }
    return !t->failed;
}
