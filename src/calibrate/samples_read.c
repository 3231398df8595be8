/* Calibration data from a file of JSON lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fetched.h"
#include "base/io.h"
#include "base/sizes.h"
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

static const char nothing[] = "there is nothing in it that could be masked";
static const char only_masks[] = "what could be masked in it consists of mask tokens";

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

/* ---- what a line may be -------------------------------------------------------------------------------------------
 */

/* The members that decide what a line is; NULL: it has no such member, or null. */
typedef struct members {
    const json_t *text, *prompt, *messages, *ids, *answer, *start, *tools;
} members;

static const json_t *member(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    return dlx_json_absent(value) ? NULL : value;
}

static members members_of(const json_t *line)
{
    return (members){.text = member(line, "text"),
                     .prompt = member(line, "prompt"),
                     .messages = member(line, "messages"),
                     .ids = member(line, "ids"),
                     .answer = member(line, "answer"),
                     .start = member(line, "answer_start"),
                     .tools = member(line, "tools")};
}

/* Two members, each of which says by itself what the line is, or one that belongs to another. */
static dlx_status check_together(const reader *r, const members *m)
{
    const struct {
        const json_t *a, *b;
        const char *names[2];
    } pairs[] = {{m->text, m->ids, {"text", "ids"}},
                 {m->text, m->prompt, {"text", "prompt"}},
                 {m->text, m->messages, {"text", "messages"}},
                 {m->text, m->answer, {"text", "answer"}},
                 {m->ids, m->prompt, {"ids", "prompt"}},
                 {m->ids, m->messages, {"ids", "messages"}},
                 {m->ids, m->answer, {"ids", "answer"}},
                 {m->prompt, m->messages, {"prompt", "messages"}},
                 {m->text, m->tools, {"text", "tools"}},
                 {m->ids, m->tools, {"ids", "tools"}},
                 {m->prompt, m->tools, {"prompt", "tools"}},
                 {m->text, m->start, {"text", "answer_start"}},
                 {m->prompt, m->start, {"prompt", "answer_start"}},
                 {m->messages, m->start, {"messages", "answer_start"}}};
    for (size_t i = 0; i < DLX_COUNT(pairs); i++)
        if (pairs[i].a && pairs[i].b)
            return dlx_fail(
                r->err, DLX_E_FORMAT,
                "'%s', line %zu: it has \"%s\" and \"%s\", which contradict each other; leave one of them out", r->path,
                r->line, pairs[i].names[0], pairs[i].names[1]);
    return DLX_OK;
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

static dlx_status no_mask(const reader *r, const char *what, size_t i)
{
    return dlx_fail(
        r->err, DLX_E_FORMAT,
        "'%s', line %zu: %s %zu is the mask, %d, in front of what may be masked; prompts are clean: leave it "
        "out, or begin the answer there",
        r->path, r->line, what, i + 1, r->c->facts.mask_id);
}

static dlx_status check_ids(const reader *r, const members *m)
{
    int32_t end = dlx_samples_ids(&r->c->facts, r->t), mask = r->c->facts.mask_id;
    if (!json_is_array(m->ids)) return wrong(r, "its \"ids\" are no list");
    size_t n = json_array_size(m->ids), start = 0, masks = 0;
    if (m->start &&
        (!json_is_integer(m->start) || json_integer_value(m->start) < 0 || (uint64_t)json_integer_value(m->start) > n))
        return wrong(r, "its \"answer_start\" is no place in its \"ids\"");
    if (m->start) start = (size_t)json_integer_value(m->start);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(m->ids, i);
        json_int_t number = json_integer_value(id);
        if (!json_is_integer(id) || number < 0 || number >= end) return no_id(r, id, i, end);
        if (mask < 0 || number != mask) continue;
        if (i < start) return no_mask(r, "entry", i);
        masks++;
    }
    if (n == start) return wrong(r, nothing);
    return masks < n - start ? DLX_OK : wrong(r, only_masks);
}

static dlx_status check_messages(const reader *r, const members *m)
{
    if (!json_is_array(m->messages)) return wrong(r, "its \"messages\" are no list");
    if (m->tools && !json_is_array(m->tools)) return wrong(r, "its \"tools\" are no list");
    for (size_t i = 0; i < json_array_size(m->messages); i++)
        if (!json_is_string(json_object_get(json_array_get(m->messages, i), "role")))
            return wrong(r, "its \"messages\" are to be objects, each with a \"role\", a text");
    if (m->answer) return json_is_string(m->answer) ? DLX_OK : wrong(r, "its \"answer\" is no text");
    size_t n = json_array_size(m->messages);
    const json_t *last = n ? json_array_get(m->messages, n - 1) : NULL;
    const char *role = json_string_value(json_object_get(last, "role"));
    if (n < 2 || !role || strcmp(role, "assistant") != 0)
        return wrong(r, "it has no answer: the last of several \"messages\" is to be the assistant's");
    return DLX_OK;
}

/* Everything that can be seen without a tokenizer's work. */
static dlx_status check_line(const reader *r, const json_t *line)
{
    if (!json_is_object(line)) return wrong(r, "it is no JSON object");
    const members m = members_of(line);
    DLX_TRY(check_together(r, &m));
    if (m.ids) return check_ids(r, &m);
    if (!m.text && !m.prompt && !m.messages)
        return wrong(r, "it has none of \"text\", \"prompt\" with \"answer\", \"messages\", and \"ids\"");
    if (!r->t) return wrong(r, "it needs a tokenizer, which the checkpoint lacks; give \"ids\"");
    if (m.messages) return check_messages(r, &m);
    if (!json_is_string(m.text ? m.text : m.prompt)) return wrong(r, "its \"text\" or \"prompt\" is no text");
    if (m.prompt && !json_is_string(m.answer)) return wrong(r, "its \"answer\" is no text");
    return m.text && !json_string_length(m.text) ? wrong(r, nothing) : DLX_OK;
}

/* ---- reading a line that was checked ------------------------------------------------------------------------------
 */

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
    json_t *asked = json_copy((json_t *)(uintptr_t)messages);
    if (!asked || json_array_remove(asked, json_array_size(messages) - 1)) {
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

static dlx_status read_ids(reader *r, const members *m)
{
    for (size_t i = 0; i < json_array_size(m->ids); i++) {
        int32_t id = (int32_t)json_integer_value(json_array_get(m->ids, i));
        DLX_TRY(append(r, &id, 1));
    }
    r->answer = (size_t)json_integer_value(m->start);
    return DLX_OK;
}

static dlx_status read_line(reader *r, const json_t *line)
{
    const members m = members_of(line);
    if (m.ids) return read_ids(r, &m);
    if (m.messages && !m.answer) return read_last_message(r, m.messages, m.tools);
    DLX_TRY(m.messages ? put_chat(r, m.messages, m.tools, true)
                       : put_text(r, m.text ? m.text : m.prompt, DLX_ENCODE_AROUND));
    return m.answer ? put_answer(r, m.answer) : DLX_OK;
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

/* Masks of a line whose mask is a word that texts may have, and those of an answer. */
static dlx_status check_masks(const reader *r)
{
    int32_t mask = r->c->facts.mask_id;
    bool all = mask >= 0;
    if (r->answer >= r->n) return wrong(r, nothing);
    for (size_t i = 0; mask >= 0 && i < r->answer; i++)
        if (r->ids[i] == mask) return no_mask(r, "its token", i);
    for (size_t i = r->answer; i < r->n; i++) all = all && r->ids[i] == mask;
    return all ? wrong(r, only_masks) : DLX_OK;
}

/* A line as JSON that is what it has to be. */
static dlx_status open_line(json_t **root, reader *r, const line *l)
{
    r->line = l->number;
    DLX_TRY(dlx_json_parse_line(root, l->text, l->n, r->path, l->number, r->err));
    dlx_status s = check_line(r, *root);
    if (s != DLX_OK) json_decref(*root);
    return s;
}

/* All of them, whether or not samples are made of them: what is wrong is wrong with every number of samples. */
static dlx_status check_lines(reader *r, const line *lines, size_t n)
{
    json_t *root;
    for (size_t i = 0; i < n; i++) {
        DLX_TRY(open_line(&root, r, &lines[i]));
        json_decref(root);
    }
    return DLX_OK;
}

static dlx_status add_line(dlx_samples *out, reader *r, const line *l, const dlx_samples_options *o)
{
    json_t *root;
    r->n = r->answer = 0;
    DLX_TRY(open_line(&root, r, l));
    dlx_status s = read_line(r, root);
    json_decref(root);
    if (s == DLX_OK) s = check_masks(r);
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
    dlx_status s = check_lines(&r, lines, n);
    if (s == DLX_OK) s = dlx_samples_begin(out, c, o.count, err);
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
