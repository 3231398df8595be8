/* Reading held-out questions. */
#include "full/jsonl.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "output.h"

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* What the model's chat template makes of them is known when they are asked; here only their shape is looked at. */
static const char *read_messages(dlx_cli_question *q, const json_t *list, const json_t *tools)
{
    size_t n = json_array_size(list);
    if (!n) return "\"messages\" is not a list of messages";
    for (size_t i = 0; i < n; i++)
        if (!text_of(json_array_get(list, i), "role")) return "a message has no \"role\"";
    if (tools && !json_is_array(tools) && !json_is_null(tools)) return "\"tools\" is not a list";
    q->messages = json_dumps(list, JSON_COMPACT);
    q->tools = tools ? json_dumps(tools, JSON_COMPACT) : NULL;
    return !q->messages || (tools && !q->tools) ? "out of memory" : NULL;
}

/* What is wrong with the line, or NULL. */
static const char *read_question(dlx_cli_question *q, const json_t *line)
{
    const json_t *messages = json_object_get(line, "messages");
    if (!json_is_object(line)) return "it is no JSON object";
    q->prompt = text_of(line, "prompt");
    q->answer = text_of(line, "answer");
    if (!q->answer) return "it has no text \"answer\"";
    if (!q->prompt == !messages) return "it needs either a text \"prompt\" or \"messages\"";
    return messages ? read_messages(q, messages, json_object_get(line, "tools")) : NULL;
}

static dlx_status add(dlx_cli_questions *out, size_t *room, const char *text, size_t length, const char *path,
                      size_t number, dlx_error *err)
{
    json_error_t problem;
    if (out->n == *room) {
        size_t more = *room ? 2 * *room : 256;
        dlx_cli_question *list = realloc(out->list, more * sizeof *list);
        if (!list) return dlx_cli_error(err, DLX_E_NOMEM, "out of memory reading '%s'", path);
        out->list = list;
        *room = more;
    }
    json_t *line = json_loadb(text, length, JSON_REJECT_DUPLICATES, &problem);
    if (!line) return dlx_cli_error(err, DLX_E_FORMAT, "'%s', line %zu: %s", path, number, problem.text);
    if (json_array_append_new(out->lines, line) != 0)
        return dlx_cli_error(err, DLX_E_NOMEM, "out of memory reading '%s'", path);
    dlx_cli_question *q = &out->list[out->n++];
    *q = (dlx_cli_question){0};
    const char *wrong = read_question(q, line);
    return wrong ? dlx_cli_error(err, DLX_E_FORMAT, "'%s', line %zu: %s", path, number, wrong) : DLX_OK;
}

dlx_status dlx_cli_questions_read(dlx_cli_questions *out, const char *path, size_t most, dlx_error *err)
{
    char *text;
    size_t n, room = 0, number = 0;
    *out = (dlx_cli_questions){.lines = json_array()};
    dlx_status s = dlx_cli_read_text(path, &text, &n, err);
    if (s != DLX_OK) return s;
    for (char *line = text, *end; s == DLX_OK && line < text + n && (!most || out->n < most); line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + n - line));
        if (!end) end = text + n;
        number++;
        size_t length = dlx_cli_trimmed(line, (size_t)(end - line));
        if (length) s = add(out, &room, line, length, path, number, err);
    }
    free(text);
    if (s == DLX_OK && !out->n) s = dlx_cli_error(err, DLX_E_FORMAT, "'%s' has no line to read", path);
    return s;
}

void dlx_cli_questions_free(dlx_cli_questions *questions)
{
    for (size_t i = 0; i < questions->n; i++) {
        free(questions->list[i].messages);
        free(questions->list[i].tools);
    }
    free(questions->list);
    json_decref(questions->lines);
    *questions = (dlx_cli_questions){0};
}
