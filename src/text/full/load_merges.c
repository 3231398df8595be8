/* Merges in their three spellings: merges.txt, strings of two tokens, pairs of tokens. */
#include <string.h>

#include "format/json/json_file.h"
#include "text/full/load.h"
#include "text/utf8.h"

/* A merge "left right". The byte-level alphabet has no space, so there is exactly one. */
static dlx_status add_line(dlx_vocabulary *v, char *line, size_t number, dlx_error *err)
{
    char *space = strchr(line, ' ');
    if (!space || space == line || !space[1] || strchr(space + 1, ' '))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': merge %zu is '%.60s'; two tokens with one space between are expected",
                        v->file, number, line);
    *space = '\0';
    return dlx_vocabulary_merge(v, line, space + 1, err);
}

dlx_status dlx_load_merges_text(dlx_vocabulary *v, char *text, size_t n, const char *file, dlx_error *err)
{
    v->file = file;
    if (memchr(text, '\0', n) || !dlx_utf8_valid(text, n))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': must be UTF-8 text without NUL characters", file);
    for (char *line = text, *end = text + n; line < end;) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        char *next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        if (stop > line && stop[-1] == '\r') stop--;
        *stop = '\0';
        bool comment = strncmp(line, "#version", 8) == 0;
        if (*line && !comment) DLX_TRY(add_line(v, line, v->n_merges, err));
        line = next;
    }
    return DLX_OK;
}

dlx_status dlx_load_merges_json(dlx_vocabulary *v, const json_t *merges, const char *file, dlx_error *err)
{
    size_t i;
    json_t *merge;
    v->file = file;
    if (!json_is_array(merges))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': \"model\".\"merges\" must be an array, not %s", file,
                        dlx_json_type_name(merges));
    dlx_buffer line = {0};
    dlx_status status = DLX_OK;
    json_array_foreach((json_t *)merges, i, merge)
    {
        const char *left = json_string_value(json_array_get(merge, 0));
        const char *right = json_string_value(json_array_get(merge, 1));
        line.n = 0;
        if (json_is_string(merge)) {
            dlx_buffer_add(&line, json_string_value(merge), json_string_length(merge) + 1);
            status = line.failed ? dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", file)
                                 : add_line(v, line.data, i, err);
        } else if (left && right && json_array_size(merge) == 2) {
            status = dlx_vocabulary_merge(v, left, right, err);
        } else {
            status = dlx_fail(err, DLX_E_FORMAT, "'%s': merge %zu must be a string or an array of two strings, not %s",
                              file, i, dlx_json_type_name(merge));
        }
        if (status != DLX_OK) break;
    }
    dlx_buffer_free(&line);
    return status;
}
