/* Calibration data from a file of JSON lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fetched.h"
#include "base/io.h"
#include "calibrate/samples.h"
#include "format/json/json_file.h"

static const size_t most_bytes = (size_t)1 << 28;

typedef struct reader {
    const char *path;
    size_t line; /* of the file, from 1 */
    const dlx_checkpoint *c;
    const dlx_tokenizer *t; /* or NULL */
    int32_t *ids;           /* [n] malloc'd */
    size_t n, answer;
    dlx_error *err;
} reader;

static dlx_status wrong(const reader *r, const char *what)
{
    return dlx_fail(r->err, DLX_E_FORMAT, "'%s', line %zu: %s", r->path, r->line, what);
}

/* The same in front of what a tokenizer or a template says. */
static dlx_status at_line(const reader *r, dlx_status s)
{
    if (s == DLX_OK || s == DLX_E_NOMEM || !r->err) return s;
    return dlx_fail_prefix(r->err, s == DLX_E_INVALID ? DLX_E_FORMAT : s, "'%s', line %zu", r->path, r->line);
}

static dlx_status no_memory(const reader *r)
{
    return dlx_fail(r->err, DLX_E_NOMEM, "out of memory reading '%s'", r->path);
}

static dlx_status append(reader *r, const int32_t *ids, size_t n)
{
    if (!n) return DLX_OK;
    int32_t *all = realloc(r->ids, (r->n + n) * sizeof *all);
    if (!all) return no_memory(r);
    memcpy(all + r->n, ids, n * sizeof *ids);
    r->ids = all;
    r->n += n;
    return DLX_OK;
}

/* ---- kinds of lines --------------------------------------------------------------------------------------------- */

static dlx_status put_text(reader *r, const json_t *text, int flags)
{
    int32_t *ids;
    size_t n;
    dlx_status s =
        dlx_tokenizer_encode(r->t, json_string_value(text), json_string_length(text), flags, &ids, &n, r->err);
    if (s != DLX_OK) return at_line(r, s);
    s = append(r, ids, n);
    free(ids);
    return s;
}

/* The answer, and what ends it. */
static dlx_status put_answer(reader *r, const json_t *answer)
{
    const dlx_model_facts *f = &r->c->facts;
    if (!json_is_string(answer)) return wrong(r, "its \"answer\" is no text");
    r->answer = r->n;
    DLX_TRY(put_text(r, answer, DLX_ENCODE_PLAIN));
    if (f->num_stop_ids) return append(r, f->stop_ids, 1);
    return f->eos_id >= 0 ? append(r, &f->eos_id, 1) : DLX_OK;
}

static dlx_status put_chat(reader *r, const json_t *messages, const json_t *tools, bool asks)
{
    char *text = json_dumps(messages, JSON_COMPACT), *tool_text = tools ? json_dumps(tools, JSON_COMPACT) : NULL;
    dlx_chat_options o = {.struct_size = sizeof o, .add_generation_prompt = asks, .tools = tool_text};
    int32_t *ids = NULL;
    size_t n = 0;
    dlx_status s = text && (!tools || tool_text)
                       ? at_line(r, dlx_chat_encode_json(r->t, text, strlen(text), &o, &ids, &n, r->err))
                       : no_memory(r);
    if (s == DLX_OK) s = append(r, ids, n);
    free(ids);
    free(text);
    free(tool_text);
    return s;
}

/* The answer begins where the whole conversation goes on behind what was asked. */
static dlx_status read_last_message(reader *r, const json_t *messages, const json_t *tools)
{
    size_t n = json_array_size(messages);
    const char *role = n ? json_string_value(json_object_get(json_array_get(messages, n - 1), "role")) : NULL;
    if (n < 2 || !role || strcmp(role, "assistant"))
        return wrong(r, "it has no answer: the last of several \"messages\" is to be the assistant's");
    json_t *asked = json_copy((json_t *)(uintptr_t)messages);
    if (!asked || json_array_remove(asked, n - 1)) {
        json_decref(asked);
        return no_memory(r);
    }
    dlx_status s = put_chat(r, asked, tools, true);
    json_decref(asked);
    if (s != DLX_OK) return s;
    int32_t *prompt = r->ids;
    size_t n_prompt = r->n;
    r->ids = NULL;
    r->n = 0;
    s = put_chat(r, messages, tools, false);
    for (r->answer = 0; r->answer < n_prompt && r->answer < r->n && prompt[r->answer] == r->ids[r->answer];)
        r->answer++;
    free(prompt);
    return s;
}

static dlx_status read_messages(reader *r, const json_t *line, const json_t *messages)
{
    const json_t *answer = json_object_get(line, "answer"), *tools = json_object_get(line, "tools");
    if (!json_is_array(messages)) return wrong(r, "its \"messages\" are no list");
    if (dlx_json_absent(tools)) tools = NULL;
    if (tools && !json_is_array(tools)) return wrong(r, "its \"tools\" are no list");
    if (dlx_json_absent(answer)) return read_last_message(r, messages, tools);
    DLX_TRY(put_chat(r, messages, tools, true));
    return put_answer(r, answer);
}

static dlx_status no_id(const reader *r, const json_t *id, size_t i, int32_t end)
{
    const char *kind = json_is_integer(id) ? "" : dlx_json_type_name(id);
    char number[32] = "";
    if (json_is_integer(id)) snprintf(number, sizeof number, "%lld", (long long)json_integer_value(id));
    return dlx_fail(r->err, DLX_E_FORMAT,
                    "'%s', line %zu: entry %zu of its \"ids\" is %s%s; expected token ids of this model, 0 to %d",
                    r->path, r->line, i + 1, number, kind, end - 1);
}

static dlx_status read_ids(reader *r, const json_t *line, const json_t *ids)
{
    const json_t *start = json_object_get(line, "answer_start");
    int32_t end = dlx_samples_ids(&r->c->facts, r->t);
    if (!json_is_array(ids)) return wrong(r, "its \"ids\" are no list");
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        json_int_t number = json_integer_value(id);
        int32_t known = (int32_t)number;
        if (!json_is_integer(id) || number < 0 || number >= end) return no_id(r, id, i, end);
        DLX_TRY(append(r, &known, 1));
    }
    if (dlx_json_absent(start)) return DLX_OK;
    if (!json_is_integer(start) || json_integer_value(start) < 0 ||
        (uint64_t)json_integer_value(start) > json_array_size(ids))
        return wrong(r, "its \"answer_start\" is no place in its \"ids\"");
    r->answer = (size_t)json_integer_value(start);
    return DLX_OK;
}

static dlx_status read_line(reader *r, const json_t *line)
{
    const json_t *ids = json_object_get(line, "ids"), *text = json_object_get(line, "text"),
                 *prompt = json_object_get(line, "prompt"), *messages = json_object_get(line, "messages");
    if (!json_is_object(line)) return wrong(r, "it is no JSON object");
    if (ids) return read_ids(r, line, ids);
    if (!text && !prompt && !messages)
        return wrong(r, "it has none of \"text\", \"prompt\" with \"answer\", \"messages\", and \"ids\"");
    if (!r->t) return wrong(r, "it needs a tokenizer, which the checkpoint lacks; give \"ids\"");
    if (messages) return read_messages(r, line, messages);
    if (!json_is_string(text ? text : prompt)) return wrong(r, "its \"text\" or \"prompt\" is no text");
    DLX_TRY(put_text(r, text ? text : prompt, DLX_ENCODE_AROUND));
    return text ? DLX_OK : put_answer(r, json_object_get(line, "answer"));
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

typedef struct line {
    const char *text;
    size_t n, number;
} line;

static size_t trimmed(const char *text, size_t n)
{
    while (n && (text[n - 1] == ' ' || text[n - 1] == '\t' || text[n - 1] == '\r')) n--;
    return n;
}

/* The lines that hold something; malloc'd. */
static dlx_status find_lines(line **out, size_t *n_out, const char *text, size_t size, const char *path, dlx_error *err)
{
    size_t n = 0, room = 0, number = 0;
    *out = NULL;
    for (const char *at = text, *end; at < text + size; at = end + 1) {
        end = memchr(at, '\n', (size_t)(text + size - at));
        if (!end) end = text + size;
        number++;
        size_t length = trimmed(at, (size_t)(end - at));
        if (!length) continue;
        if (dlx_grow(out, &room, n + 1, sizeof **out)) {
            free(*out);
            return dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", path);
        }
        (*out)[n++] = (line){.text = at, .n = length, .number = number};
    }
    *n_out = n;
    if (n) return DLX_OK;
    free(*out);
    return dlx_fail(err, DLX_E_FORMAT, "'%s' has no line to read", path);
}

/* Whether nothing is left to mask. */
static bool is_masked(const reader *r)
{
    int32_t mask = r->c->facts.mask_id;
    bool all = mask >= 0;
    for (size_t i = r->answer; i < r->n; i++) all = all && r->ids[i] == mask;
    return all;
}

static dlx_status add_line(dlx_samples *out, reader *r, const line *l, const dlx_samples_options *o)
{
    json_t *root;
    r->line = l->number;
    r->n = r->answer = 0;
    DLX_TRY(dlx_json_parse_line(&root, l->text, l->n, r->path, l->number, r->err));
    dlx_status s = read_line(r, root);
    json_decref(root);
    if (s == DLX_OK && r->answer >= r->n) s = wrong(r, "there is nothing in it that could be masked");
    if (s == DLX_OK && is_masked(r)) s = wrong(r, "what could be masked in it consists of mask tokens");
    if (s == DLX_OK) s = dlx_samples_add(out, r->c, o, r->ids, r->n, r->answer, r->err);
    free(r->ids);
    r->ids = NULL;
    return s;
}

dlx_status dlx_samples_text_read(dlx_samples_text *out, const char *path, dlx_error *err)
{
    *out = (dlx_samples_text){.path = path};
    DLX_TRY(dlx_read_text(&out->text, &out->size, path, most_bytes, err));
    dlx_status s = dlx_check_fetched(out->text, out->size, path, err);
    if (s != DLX_OK) dlx_samples_text_free(out);
    return s;
}

void dlx_samples_text_free(dlx_samples_text *t)
{
    free(t->text);
    *t = (dlx_samples_text){.path = NULL};
}

dlx_status dlx_samples_of(dlx_samples *out, const dlx_samples_text *text, const dlx_checkpoint *c,
                          const dlx_tokenizer *tokenizer, const dlx_samples_options *options, dlx_error *err)
{
    dlx_samples_options o = *options;
    reader r = {.path = text->path, .c = c, .t = tokenizer, .err = err};
    line *lines = NULL;
    size_t n = 0;
    memset(out, 0, sizeof *out);
    DLX_TRY(dlx_samples_options_complete(&o, c, err));
    DLX_TRY(find_lines(&lines, &n, text->text, text->size, text->path, err));
    dlx_status s = dlx_samples_begin(out, c, o.count, err);
    for (size_t i = 0; s == DLX_OK && i < o.count; i++)
        s = add_line(out, &r, &lines[n < o.count ? i % n : i * n / o.count], &o);
    free(lines);
    if (s != DLX_OK) dlx_samples_free(out);
    return s;
}

dlx_status dlx_samples_read(dlx_samples *out, const char *path, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                            const dlx_samples_options *options, dlx_error *err)
{
    dlx_samples_options o = *options;
    dlx_samples_text text;
    memset(out, 0, sizeof *out);
    DLX_TRY(dlx_samples_options_complete(&o, c, err)); /* before anything is read */
    DLX_TRY(dlx_samples_text_read(&text, path, err));
    dlx_status s = dlx_samples_of(out, &text, c, tokenizer, &o, err);
    dlx_samples_text_free(&text);
    return s;
}
