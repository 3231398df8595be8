#include "format/json/json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fetched.h"
#include "base/io.h"

/* What the parser says is wrong, or, where its own words help nobody, better ones. */
static const char *reason_of(const json_error_t *e, const char *text, size_t n)
{
    const char *nul = memchr(text, '\0', n);
    size_t at = e->position > 0 ? (size_t)e->position : 0;
    if (nul && (size_t)(nul - text) <= at) return "there is a NUL byte, which no text holds";
    if (json_error_code(e) == json_error_null_character || json_error_code(e) == json_error_null_byte_in_key)
        return "\\u0000 is a NUL, which no text here may hold";
    if (strstr(e->text, "near 'NaN'") || strstr(e->text, "near 'Infinity'") ||
        (at < n && n - at >= 8 && !memcmp(text + at, "Infinity", 8)))
        return "JSON has no NaN and no infinities";
    return e->text;
}

/* One value; `e` says what is wrong otherwise. */
static json_t *parse(const char *text, size_t n, size_t flags, json_error_t *e)
{
    json_t *value = json_loadb(text, n, JSON_REJECT_DUPLICATES | flags, e);
    if (value || json_error_code(e) != json_error_numeric_overflow) return value;
    return json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | flags, e);
}

static dlx_status no_memory(const char *what, size_t n, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory parsing %s (%zu bytes of JSON)", what, n);
}

static dlx_status parse_as(json_t **out, const char *text, size_t n, size_t flags, const char *what, dlx_error *err)
{
    json_error_t e;
    *out = parse(text, n, flags, &e);
    if (*out) return DLX_OK;
    if (json_error_code(&e) == json_error_out_of_memory) return no_memory(what, n, err);
    return dlx_fail(err, DLX_E_FORMAT, "%s is not valid JSON: line %d, column %d: %s", what, e.line, e.column,
                    reason_of(&e, text, n));
}

dlx_status dlx_json_parse(json_t **out, const char *text, size_t n, const char *what, dlx_error *err)
{
    return parse_as(out, text, n, 0, what, err);
}

dlx_status dlx_json_parse_any(json_t **out, const char *text, size_t n, const char *what, dlx_error *err)
{
    return parse_as(out, text, n, JSON_DECODE_ANY, what, err);
}

dlx_status dlx_json_parse_line(json_t **out, const char *text, size_t n, const char *path, size_t line, dlx_error *err)
{
    json_error_t e;
    *out = parse(text, n, 0, &e);
    if (*out) return DLX_OK;
    if (json_error_code(&e) == json_error_out_of_memory) return no_memory(path, n, err);
    return dlx_fail(err, DLX_E_FORMAT, "'%s', line %zu is not valid JSON: column %d: %s", path, line, e.column,
                    reason_of(&e, text, n));
}

/* `text` is freed. */
static dlx_status parse_file(json_t **out, char *text, size_t n, const char *path, dlx_error *err)
{
    char what[1024];
    size_t mark = dlx_byte_order_mark(text, n);
    snprintf(what, sizeof what, "'%s'", path);
    dlx_status s = dlx_check_fetched(text, n, path, err);
    if (s == DLX_OK) s = dlx_refuse_utf16(text, n, path, err);
    if (s == DLX_OK) s = dlx_json_parse(out, text + mark, n - mark, what, err);
    free(text);
    return s;
}

dlx_status dlx_json_load(json_t **out, const char *path, size_t limit, dlx_error *err)
{
    char *text;
    size_t n;
    *out = NULL;
    DLX_TRY(dlx_read_file(&text, &n, path, limit, err));
    return parse_file(out, text, n, path, err);
}

dlx_status dlx_json_read(json_t **out, const char *path, size_t limit, dlx_error *err)
{
    char *text;
    size_t n;
    *out = NULL;
    DLX_TRY(dlx_read_text(&text, &n, path, limit, err));
    return parse_file(out, text, n, path, err);
}

const char *dlx_json_type_name(const json_t *value)
{
    if (!value) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: break;
    }
    return "null";
}
