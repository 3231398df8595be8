/*
 * The chat templates of the four families, written out in C.
 *
 * Each renderer follows the published Jinja text of its family step by step. Everything goes through own() (text of the
 * template itself) or foreign() (what the caller supplied), so that a later encoding knows which parts may hold control
 * tokens. Foreign text is made valid UTF-8 on the way in.
 */
#include "text/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/structs.h"
#include "text/chat_json.h"
#include "text/utf8.h"

typedef struct text_view {
    const char *p;
    size_t n;
} text_view;

static text_view view(const char *s)
{
    return (text_view){s ? s : "", s ? strlen(s) : 0};
}

static bool is(const char *role, const char *name)
{
    return role && strcmp(role, name) == 0;
}

/* ---- output --------------------------------------------------------------------------------------------------- */

/* Marks what was added to r->text since the last call. */
static void mark(dlx_rendered *r, bool is_own)
{
    size_t end = r->text.n, before = r->n_spans ? r->spans[r->n_spans - 1].end : 0;
    if (end == before) return;
    if (r->n_spans && r->spans[r->n_spans - 1].own == is_own) {
        r->spans[r->n_spans - 1].end = end;
        return;
    }
    if (dlx_grow(&r->spans, &r->capacity, r->n_spans + 1, sizeof *r->spans) != 0) {
        r->text.failed = true;
        return;
    }
    r->spans[r->n_spans++] = (dlx_text_span){.end = end, .own = is_own};
}

static void own(dlx_rendered *r, const char *s)
{
    dlx_buffer_add_string(&r->text, s);
    mark(r, true);
}

static void foreign(dlx_rendered *r, text_view s)
{
    dlx_buffer_add_utf8(&r->text, s.p, s.n);
    mark(r, false);
}

static void foreign_string(dlx_rendered *r, const char *s)
{
    foreign(r, view(s));
}

static void foreign_json(dlx_rendered *r, const dlx_chat_json *json, uint32_t value)
{
    dlx_chat_json_dump(&r->text, json, value);
    mark(r, false);
}

void dlx_rendered_free(dlx_rendered *r)
{
    dlx_buffer_free(&r->text);
    free(r->spans);
    memset(r, 0, sizeof *r);
}

/* ---- string methods of Python ------------------------------------------------------------------------------------ */

/* str.isspace, which `trim` goes by. */
static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static text_view trim(text_view s)
{
    while (s.n) {
        uint32_t c;
        size_t step = dlx_utf8_next(s.p, s.n, &c);
        if (!is_space(c)) break;
        s.p += step;
        s.n -= step;
    }
    while (s.n) {
        uint32_t c;
        size_t first = s.n - 1;
        while (first > 0 && s.n - first < 3 && ((unsigned char)s.p[first] & 0xC0) == 0x80)
            first--; /* spaces: <= 3 bytes */
        if (dlx_utf8_next(s.p + first, s.n - first, &c) != s.n - first || !is_space(c)) break;
        s.n = first;
    }
    return s;
}

static text_view strip_lines_left(text_view s)
{
    while (s.n && *s.p == '\n') s = (text_view){s.p + 1, s.n - 1};
    return s;
}

static text_view strip_lines_right(text_view s)
{
    while (s.n && s.p[s.n - 1] == '\n') s.n--;
    return s;
}

static bool starts_with(text_view s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

static bool ends_with(text_view s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

/* Place of `mark_text` in s, the first or the last one; s.n when there is none. */
static size_t find(text_view s, const char *mark_text, bool last)
{
    size_t n = strlen(mark_text), found = s.n;
    for (size_t i = 0; i + n <= s.n; i++) {
        if (memcmp(s.p + i, mark_text, n) != 0) continue;
        found = i;
        if (!last) break;
    }
    return found;
}

/* ---- tools ------------------------------------------------------------------------------------------------------- */

/* Reads a JSON array; without text, with null or with an empty array it is NONE and there is nothing to free. */
static dlx_status read_array(dlx_chat_json *json, uint32_t *first, const char *text, const char *what, dlx_error *err)
{
    memset(json, 0, sizeof *json);
    *first = DLX_CHAT_JSON_NONE;
    if (!text || !*text) return DLX_OK;
    DLX_TRY(dlx_chat_json_read(json, text, what, err));
    bool fine = json->values[0].type == DLX_CHAT_JSON_ARRAY || json->values[0].type == DLX_CHAT_JSON_NULL;
    *first = fine ? json->values[0].child : DLX_CHAT_JSON_NONE;
    if (*first == DLX_CHAT_JSON_NONE) dlx_chat_json_free(json);
    return fine ? DLX_OK : dlx_fail(err, DLX_E_INVALID, "%s: must be a JSON array", what);
}

/* "# Tools ...", with the schemas one on each line. */
static void render_tools(dlx_rendered *r, const dlx_chat_json *tools, uint32_t first)
{
    own(r, DLX_CHAT_TOOLS_OPEN);
    for (uint32_t tool = first; tool != DLX_CHAT_JSON_NONE; tool = tools->values[tool].next) {
        own(r, "\n");
        foreign_json(r, tools, tool);
    }
    own(r, DLX_CHAT_TOOLS_CLOSE "<|im_end|>\n");
}

/* <tool_call> blocks. `newline_first`: a line break also before the first one. `raw_strings`: arguments given as a
 * string are printed as they are (SDAR); else as a JSON string. */
static dlx_status render_calls(dlx_rendered *r, const dlx_chat_json *calls, uint32_t first, bool newline_first,
                               bool raw_strings, dlx_error *err)
{
    for (uint32_t call = first; call != DLX_CHAT_JSON_NONE; call = calls->values[call].next) {
        uint32_t function = dlx_chat_json_member(calls, call, "function");
        if (function == DLX_CHAT_JSON_NONE) function = call;
        uint32_t name = dlx_chat_json_member(calls, function, "name");
        uint32_t arguments = dlx_chat_json_member(calls, function, "arguments");
        if (name == DLX_CHAT_JSON_NONE || calls->values[name].type != DLX_CHAT_JSON_STRING ||
            arguments == DLX_CHAT_JSON_NONE)
            return dlx_fail(
                err, DLX_E_INVALID,
                "tool_calls: each call must be an object with \"name\" (a string) and \"arguments\", itself or "
                "in \"function\"");
        if (call != first || newline_first) own(r, "\n");
        own(r, "<tool_call>\n{\"name\": \"");
        dlx_chat_json_string(&r->text, calls, name);
        mark(r, false);
        own(r, "\", \"arguments\": ");
        if (raw_strings && calls->values[arguments].type == DLX_CHAT_JSON_STRING) {
            dlx_chat_json_string(&r->text, calls, arguments);
            mark(r, false);
        } else {
            foreign_json(r, calls, arguments);
        }
        own(r, "}\n</tool_call>");
    }
    return DLX_OK;
}

/* A tool's answer; neighbouring ones share a user turn. */
static void render_tool_answer(dlx_rendered *r, const dlx_chat_message *m, size_t i, size_t n)
{
    if (i == 0 || !is(m[i - 1].role, "tool")) own(r, "<|im_start|>user");
    own(r, "\n<tool_response>\n");
    foreign_string(r, m[i].content);
    own(r, "\n</tool_response>");
    if (i + 1 == n || !is(m[i + 1].role, "tool")) own(r, "<|im_end|>\n");
}

static void render_turn(dlx_rendered *r, const char *role, const char *content)
{
    own(r, "<|im_start|>");
    own(r, role);
    own(r, "\n");
    foreign_string(r, content);
    own(r, "<|im_end|>\n");
}

/* ---- templates --------------------------------------------------------------------------------------------------- */

static dlx_status render_llada(dlx_rendered *r, const dlx_chat_message *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i == 0) own(r, DLX_CHAT_BOS_LLADA);
        own(r, "<|start_header_id|>");
        foreign_string(r, m[i].role);
        own(r, "<|end_header_id|>\n\n");
        foreign(r, trim(view(m[i].content)));
        own(r, "<|eot_id|>");
    }
    own(r, "<|start_header_id|>assistant<|end_header_id|>\n\n");
    return DLX_OK;
}

/* An assistant turn of Qwen2.5 that calls tools. */
static dlx_status render_chatml_calls(dlx_rendered *r, const dlx_chat_message *m, const dlx_chat_json *calls,
                                      uint32_t first, dlx_error *err)
{
    own(r, "<|im_start|>assistant");
    if (m->content && *m->content) {
        own(r, "\n");
        foreign_string(r, m->content);
    }
    DLX_TRY(render_calls(r, calls, first, true, false, err));
    own(r, "<|im_end|>\n");
    return DLX_OK;
}

static dlx_status render_chatml_message(dlx_rendered *r, const dlx_chat_message *m, size_t i, size_t n, dlx_error *err)
{
    const char *role = m[i].role;
    if (is(role, "tool")) {
        render_tool_answer(r, m, i, n);
    } else if (is(role, "assistant")) {
        dlx_chat_json calls;
        uint32_t first;
        DLX_TRY(read_array(&calls, &first, m[i].tool_calls, "tool_calls", err));
        if (first == DLX_CHAT_JSON_NONE) {
            render_turn(r, role, m[i].content);
            return DLX_OK;
        }
        dlx_status status = render_chatml_calls(r, &m[i], &calls, first, err);
        dlx_chat_json_free(&calls);
        return status;
    } else if (is(role, "user") || (is(role, "system") && i > 0)) {
        render_turn(r, role, m[i].content);
    }
    return DLX_OK;
}

static dlx_status render_chatml(dlx_rendered *r, const char *system_default, const dlx_chat_message *m, size_t n,
                                const dlx_chat_options *o, const dlx_chat_json *tools, uint32_t first_tool,
                                dlx_error *err)
{
    own(r, "<|im_start|>system\n");
    if (is(m[0].role, "system"))
        foreign_string(r, m[0].content);
    else
        own(r, system_default);
    if (first_tool != DLX_CHAT_JSON_NONE) {
        own(r, "\n\n");
        render_tools(r, tools, first_tool);
    } else {
        own(r, "<|im_end|>\n");
    }
    for (size_t i = 0; i < n; i++) DLX_TRY(render_chatml_message(r, m, i, n, err));
    if (o->add_generation_prompt) own(r, "<|im_start|>assistant\n");
    return DLX_OK;
}

/* Splits "<think>...</think>answer" when the reasoning was not given apart. */
static void split_thought(const dlx_chat_message *m, text_view *thought, text_view *answer)
{
    *answer = view(m->content);
    *thought = view(m->reasoning_content);
    if (m->reasoning_content) return;
    size_t first = find(*answer, "</think>", false), last = find(*answer, "</think>", true);
    if (first == answer->n) return;
    *thought = strip_lines_right((text_view){answer->p, first});
    size_t open = find(*thought, "<think>", true);
    if (open < thought->n) *thought = (text_view){thought->p + open + 7, thought->n - open - 7};
    *thought = strip_lines_left(*thought);
    last += strlen("</think>");
    *answer = strip_lines_left((text_view){answer->p + last, answer->n - last});
}

static dlx_status render_sdar_answer(dlx_rendered *r, const dlx_chat_message *m, bool after_query, bool is_last,
                                     dlx_error *err)
{
    text_view thought, answer;
    split_thought(m, &thought, &answer);
    own(r, "<|im_start|>assistant\n");
    if (after_query && (is_last || thought.n)) {
        own(r, "<think>\n");
        foreign(r, strip_lines_left(strip_lines_right(thought)));
        own(r, "\n</think>\n\n");
        foreign(r, strip_lines_left(answer));
    } else {
        foreign(r, answer);
    }
    dlx_chat_json calls;
    uint32_t first;
    DLX_TRY(read_array(&calls, &first, m->tool_calls, "tool_calls", err));
    dlx_status status = DLX_OK;
    if (first != DLX_CHAT_JSON_NONE) {
        status = render_calls(r, &calls, first, answer.n > 0, true, err);
        dlx_chat_json_free(&calls);
    }
    own(r, "<|im_end|>\n");
    return status;
}

/* The last user turn that is not the answer of a tool; reasoning before it is left out. */
static size_t last_query(const dlx_chat_message *m, size_t n)
{
    for (size_t i = n; i-- > 0;) {
        text_view content = view(m[i].content);
        if (is(m[i].role, "user") &&
            !(starts_with(content, "<tool_response>") && ends_with(content, "</tool_response>")))
            return i;
    }
    return n - 1;
}

static dlx_status render_sdar(dlx_rendered *r, const dlx_chat_message *m, size_t n, const dlx_chat_options *o,
                              const dlx_chat_json *tools, uint32_t first_tool, dlx_error *err)
{
    bool has_system = is(m[0].role, "system");
    if (first_tool != DLX_CHAT_JSON_NONE) {
        own(r, "<|im_start|>system\n");
        if (has_system) {
            foreign_string(r, m[0].content);
            own(r, "\n\n");
        }
        render_tools(r, tools, first_tool);
    } else if (has_system) {
        render_turn(r, "system", m[0].content);
    }
    size_t query = last_query(m, n);
    for (size_t i = 0; i < n; i++) {
        if (is(m[i].role, "user") || (is(m[i].role, "system") && i > 0))
            render_turn(r, m[i].role, m[i].content);
        else if (is(m[i].role, "assistant"))
            DLX_TRY(render_sdar_answer(r, &m[i], i > query, i + 1 == n, err));
        else if (is(m[i].role, "tool"))
            render_tool_answer(r, m, i, n);
    }
    if (o->add_generation_prompt) {
        own(r, "<|im_start|>assistant\n");
        if (o->enable_thinking < 0) own(r, "<think>\n\n</think>\n\n");
    }
    return DLX_OK;
}

/* ---- entry points ------------------------------------------------------------------------------------------------ */

static dlx_status check_template(dlx_chat_template tmpl, size_t n, dlx_error *err)
{
    if (tmpl == DLX_CHAT_NONE)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "this tokenizer has no chat template (a base model): give it the text of the prompt itself");
    if (tmpl < DLX_CHAT_NONE || tmpl >= DLX_CHAT_OTHER)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "this chat template is not one of the four published ones that are built in: render it with "
                        "tokenizer.apply_chat_template of Python's transformers and pass the text or the ids");
    if (n == 0 && tmpl != DLX_CHAT_LLADA)
        return dlx_fail(err, DLX_E_INVALID, "chat: there must be at least one message");
    return DLX_OK;
}

static dlx_status take_options(dlx_chat_options *o, const dlx_chat_options *options, dlx_error *err)
{
    *o = (dlx_chat_options){.struct_size = sizeof *o};
    DLX_TRY(dlx_struct_in(o, sizeof *o, options, "dlx_chat_options", err));
    if (o->enable_thinking < -1 || o->enable_thinking > 1)
        return dlx_fail(err, DLX_E_INVALID,
                        "chat: enable_thinking is %d; expected 1 (true), -1 (false) or 0 (not given)",
                        o->enable_thinking);
    return DLX_OK;
}

/* A copy of the caller's messages, which may be shorter or longer than this library's. The caller frees *out. */
static dlx_status take_messages(dlx_chat_message **out, const dlx_chat_message *messages, size_t n, dlx_error *err)
{
    if (!messages && n) return dlx_fail(err, DLX_E_INVALID, "chat: messages must not be NULL");
    dlx_chat_message *m = *out = calloc(n ? n : 1, sizeof *m);
    if (!m) return dlx_fail(err, DLX_E_NOMEM, "out of memory for a chat of %zu messages", n);
    DLX_TRY(dlx_struct_array_in(m, sizeof *m, messages, n, "dlx_chat_message", err));
    for (size_t i = 0; i < n; i++)
        if (!m[i].role) return dlx_fail(err, DLX_E_INVALID, "chat: message %zu has no role", i);
    return DLX_OK;
}

static dlx_status render(dlx_rendered *r, dlx_chat_template tmpl, const dlx_chat_message *m, size_t n,
                         const dlx_chat_options *o, dlx_error *err)
{
    if (tmpl == DLX_CHAT_LLADA) return render_llada(r, m, n);
    dlx_chat_json tools;
    uint32_t first;
    DLX_TRY(read_array(&tools, &first, o->tools, "tools", err));
    dlx_status status;
    if (tmpl == DLX_CHAT_SDAR)
        status = render_sdar(r, m, n, o, &tools, first, err);
    else
        status = render_chatml(r, tmpl == DLX_CHAT_CHATML_DREAM ? DLX_CHAT_SYSTEM_DREAM : DLX_CHAT_SYSTEM_QWEN, m, n, o,
                               &tools, first, err);
    if (first != DLX_CHAT_JSON_NONE) dlx_chat_json_free(&tools);
    return status;
}

dlx_status dlx_chat_render_spans(dlx_rendered *out, dlx_chat_template tmpl, const dlx_chat_message *messages,
                                 size_t n_messages, const dlx_chat_options *options, dlx_error *err)
{
    memset(out, 0, sizeof *out);
    dlx_chat_options o;
    dlx_chat_message *m = NULL;
    DLX_TRY(check_template(tmpl, n_messages, err));
    DLX_TRY(take_options(&o, options, err));
    dlx_status status = take_messages(&m, messages, n_messages, err);
    if (status == DLX_OK) status = render(out, tmpl, m, n_messages, &o, err);
    if (status == DLX_OK && out->text.failed)
        status = dlx_fail(err, DLX_E_NOMEM, "out of memory for a rendered chat of %zu messages", n_messages);
    free(m);
    if (status != DLX_OK) dlx_rendered_free(out);
    return status;
}

dlx_status dlx_chat_render(dlx_chat_template tmpl, const dlx_chat_message *messages, size_t n_messages,
                           const dlx_chat_options *options, char **text, size_t *n, dlx_error *err)
{
    if (n) *n = 0;
    if (!text) return dlx_fail(err, DLX_E_INVALID, "dlx_chat_render: text must not be NULL");
    *text = NULL;
    dlx_rendered r;
    DLX_TRY(dlx_chat_render_spans(&r, tmpl, messages, n_messages, options, err));
    dlx_status status = dlx_buffer_take(&r.text, text, n, "a rendered chat", err);
    dlx_rendered_free(&r);
    return status;
}
