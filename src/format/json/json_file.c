#include "format/json/json_file.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fetched.h"
#include "base/io.h"

dlx_status dlx_json_parse(json_t **out, const char *text, size_t n, const char *what, dlx_error *err)
{
    json_error_t e;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    if (!*out && json_error_code(&e) == json_error_numeric_overflow)
        *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &e);
    if (*out) return DLX_OK;
    if (json_error_code(&e) == json_error_out_of_memory)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory parsing %s (%zu bytes of JSON)", what, n);
    return dlx_fail(err, DLX_E_FORMAT, "%s is not valid JSON: line %d, column %d: %s", what, e.line, e.column, e.text);
}

/* `text` is freed. */
static dlx_status parse_file(json_t **out, char *text, size_t n, const char *path, dlx_error *err)
{
    char what[1024];
    size_t mark = dlx_byte_order_mark(text, n);
    snprintf(what, sizeof what, "'%s'", path);
    dlx_status s = dlx_check_fetched(text, n, path, err);
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
