#include "text/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/structs.h"
#include "text/jinja/jinja.h"

/* ---- output -------------------------------------------------------------------------------------------------------
 */

void dlx_rendered_free(dlx_rendered *r)
{
    dlx_buffer_free(&r->text);
    free(r->spans);
    memset(r, 0, sizeof *r);
}

/* What a template printed, with neighbouring bytes of one origin in one span. */
static dlx_status take_output(dlx_rendered *r, const dlx_jv_bytes *b, dlx_error *err)
{
    dlx_buffer_add(&r->text, b->p, b->used);
    for (size_t i = 0; i < b->used && !r->text.failed; i++) {
        if (r->n_spans && r->spans[r->n_spans - 1].own == (b->own[i] != 0)) {
            r->spans[r->n_spans - 1].end = i + 1;
        } else if (dlx_grow(&r->spans, &r->capacity, r->n_spans + 1, sizeof *r->spans) != 0) {
            r->text.failed = true;
        } else {
            r->spans[r->n_spans++] = (dlx_text_span){.end = i + 1, .own = b->own[i] != 0};
        }
    }
    if (!r->text.failed) return DLX_OK;
    dlx_rendered_free(r);
    return dlx_fail(err, DLX_E_NOMEM, "out of memory for a rendered chat of %zu bytes", b->used);
}

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

/* The caller's text, with U+FFFD for what is not UTF-8. */
static bool foreign_text(dlx_jx *x, const char *s, dlx_jv *out)
{
    dlx_buffer clean = {0};
    dlx_buffer_add_utf8(&clean, s, strlen(s));
    bool fine = !clean.failed ? dlx_jv_text(x, clean.n ? clean.data : "", clean.n, false, out)
                              : dlx_jx_fail(x, DLX_E_NOMEM, "out of memory for a message");
    dlx_buffer_free(&clean);
    return fine;
}

static bool set_key(dlx_jx *x, dlx_jv_dict *d, const char *key, dlx_jv value)
{
    dlx_jv name;
    return dlx_jv_text(x, key, strlen(key), false, &name) && dlx_jv_dict_set(x, d, name, value);
}

static bool set_text(dlx_jx *x, dlx_jv_dict *d, const char *key, const char *text)
{
    dlx_jv value;
    return foreign_text(x, text, &value) && set_key(x, d, key, value);
}

/* The caller's JSON: an array or an object; with `or_null` also null. */
static bool read_typed(dlx_jx *x, const char *json, size_t n, const char *what, dlx_jv_type type, bool or_null,
                       dlx_jv *out)
{
    if (!dlx_jx_read_json(x, json, n, what, false, out)) return false;
    return out->type == type || (or_null && out->type == DLX_JV_NONE) ||
           dlx_jx_fail(x, DLX_E_INVALID, "%s: must be a JSON %s", what, type == DLX_JV_LIST ? "array" : "object");
}

static bool add_more(dlx_jx *x, dlx_jv_dict *d, const char *json)
{
    dlx_jv more;
    if (!json || !*json) return true;
    if (!read_typed(x, json, strlen(json), "more", DLX_JV_DICT, false, &more)) return false;
    for (size_t i = 0; i < more.as.dict->n; i++)
        if (!dlx_jv_dict_set(x, d, more.as.dict->keys[i], more.as.dict->values[i])) return false;
    return true;
}

static bool from_structure(dlx_jx *x, const dlx_chat_message *m, dlx_jv *out)
{
    dlx_jv_dict *d;
    dlx_jv calls;
    if (!dlx_jv_new_dict(x, &d) || !set_text(x, d, "role", m->role) ||
        !set_text(x, d, "content", m->content ? m->content : "") ||
        (m->reasoning_content && !set_text(x, d, "reasoning_content", m->reasoning_content)))
        return false;
    if (m->tool_calls && *m->tool_calls &&
        (!read_typed(x, m->tool_calls, strlen(m->tool_calls), "tool_calls", DLX_JV_LIST, true, &calls) ||
         !set_key(x, d, "tool_calls", calls)))
        return false;
    *out = (dlx_jv){.type = DLX_JV_DICT, .foreign = true, .as.dict = d};
    return add_more(x, d, m->more);
}

/* A copy of the caller's messages, which may be shorter or longer than this library's structures. */
static bool from_structures(dlx_jx *x, const dlx_chat_input *in, dlx_jv_list *list)
{
    size_t n = in->n_messages;
    if (!in->messages && n) return dlx_jx_fail(x, DLX_E_INVALID, "messages must not be NULL");
    dlx_chat_message *m = calloc(n ? n : 1, sizeof *m);
    if (!m) return dlx_jx_fail(x, DLX_E_NOMEM, "out of memory for %zu messages", n);
    dlx_status status = dlx_struct_array_in(m, sizeof *m, in->messages, n, "dlx_chat_message", x->err);
    if (status != DLX_OK) x->status = status;
    for (size_t i = 0; i < n && x->status == DLX_OK; i++) {
        dlx_jv message;
        if (!m[i].role)
            dlx_jx_fail(x, DLX_E_INVALID, "message %zu has no role", i);
        else if (from_structure(x, &m[i], &message))
            dlx_jv_push(x, list, message);
    }
    free(m);
    return x->status == DLX_OK;
}

/* Text of one part of a message's content, NULL: none; fails for what is no text. */
static bool text_of_part(dlx_jx *x, const dlx_jv *part, size_t message, const dlx_jv_string **out)
{
    const dlx_jv *type = NULL, *text = part;
    *out = NULL;
    if (part->type == DLX_JV_DICT) {
        type = dlx_jv_dict_find(part->as.dict, "type");
        text = dlx_jv_dict_find(part->as.dict, "text");
        if (!text && type && dlx_jv_is_text(type, "refusal")) text = dlx_jv_dict_find(part->as.dict, "refusal");
    }
    if (text && text->type == DLX_JV_STRING) {
        *out = text->as.string;
        return true;
    }
    /* Clients that dump their models send null for what is not there: *out stays NULL. */
    if (type && dlx_jv_is_text(type, "text") && text && text->type == DLX_JV_NONE) return true;
    if (type && dlx_jv_is_text(type, "text") && !text)
        return dlx_jx_fail(x, DLX_E_INVALID, "message %zu: a part of the content is of type text and has no \"text\"",
                           message);
    bool named = type && type->type == DLX_JV_STRING && type->as.string->n < 60;
    return dlx_jx_fail(
        x, DLX_E_INVALID, "message %zu: this model's chat template takes text, and a part of the content is %s%.*s",
        message, named ? "of type " : "no text", named ? (int)type->as.string->n : 0, named ? type->as.string->p : "");
}

/* The texts of a list of parts in one. */
static bool join_parts(dlx_jx *x, const dlx_jv_list *parts, size_t message, dlx_jv *out)
{
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    for (size_t i = 0; i < parts->n && b; i++) {
        const dlx_jv_string *text = NULL;
        if (!text_of_part(x, &parts->v[i], message, &text) || (text && !dlx_jv_bytes_string(x, b, text))) return false;
    }
    return b && dlx_jv_bytes_end(x, b, 0, out);
}

/* As transformers does: one text of reasoning under each of its names. */
static bool alias_reasoning(dlx_jx *x, dlx_jv *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const dlx_jv_dict *d = message->as.dict;
    const dlx_jv *reasoning = NULL;
    dlx_jv_dict *copy;
    for (int i = 0; i < 3 && !reasoning; i++) {
        reasoning = dlx_jv_dict_find(d, names[i]);
        if (reasoning && reasoning->type == DLX_JV_NONE) reasoning = NULL;
    }
    if (!reasoning) return true;
    if (!dlx_jv_new_dict(x, &copy) || !set_key(x, copy, "thinking", *reasoning)) return false;
    for (size_t i = 0; i < d->n; i++)
        if (!dlx_jv_dict_set(x, copy, d->keys[i], d->values[i])) return false;
    message->as.dict = copy;
    return set_key(x, copy, "reasoning_content", *reasoning);
}

/* What clients write differently than templates read it. */
static bool settle_message(dlx_jx *x, dlx_jv *message, size_t i, bool reads_parts, bool *has_null)
{
    if (message->type != DLX_JV_DICT) return dlx_jx_fail(x, DLX_E_INVALID, "message %zu must be an object", i);
    const dlx_jv *content = dlx_jv_dict_find(message->as.dict, "content"),
                 *role = dlx_jv_dict_find(message->as.dict, "role");
    dlx_jv joined;
    if (!role || role->type != DLX_JV_STRING) return dlx_jx_fail(x, DLX_E_INVALID, "message %zu has no role", i);
    *has_null = *has_null || (content && content->type == DLX_JV_NONE);
    if (content && content->type == DLX_JV_LIST && !reads_parts &&
        (!join_parts(x, content->as.list, i, &joined) || !set_key(x, message->as.dict, "content", joined)))
        return false;
    return alias_reasoning(x, message);
}

static bool read_messages(dlx_jx *x, const dlx_chat_input *in, const dlx_jinja *t, dlx_jv *out, bool *has_null)
{
    dlx_jv_list *list;
    *has_null = false;
    if (in->json) {
        if (!read_typed(x, in->json, in->n_json, "messages", DLX_JV_LIST, false, out)) return false;
    } else {
        if (!dlx_jv_new_list(x, in->n_messages, &list) || !from_structures(x, in, list)) return false;
        *out = dlx_jv_of_list(list, false);
        out->foreign = true;
    }
    for (size_t i = 0; i < out->as.list->n; i++)
        if (!settle_message(x, &out->as.list->v[i], i, dlx_jinja_reads_parts(t), has_null)) return false;
    return true;
}

/* "" in place of null. */
static bool fill_null_contents(dlx_jx *x, const dlx_jv *messages)
{
    for (size_t i = 0; i < messages->as.list->n; i++) {
        dlx_jv_dict *d = messages->as.list->v[i].as.dict;
        const dlx_jv *content = dlx_jv_dict_find(d, "content");
        dlx_jv empty;
        if (!content || content->type != DLX_JV_NONE) continue;
        if (!dlx_jv_text(x, "", 0, false, &empty) || !set_key(x, d, "content", empty)) return false;
    }
    return true;
}

/* ---- variables ----------------------------------------------------------------------------------------------------
 */

static bool set_variable(dlx_jx *x, const char *name, dlx_jv value)
{
    return dlx_jx_variable(x, name, strlen(name), value);
}

/* A JSON array; none when there is no text. */
static bool set_array(dlx_jx *x, const char *name, const char *json)
{
    dlx_jv value = dlx_jv_none();
    if (json && *json && !read_typed(x, json, strlen(json), name, DLX_JV_LIST, true, &value)) return false;
    return set_variable(x, name, value);
}

static bool set_members(dlx_jx *x, const dlx_jv *object)
{
    for (size_t i = 0; i < object->as.dict->n; i++) {
        const dlx_jv_string *name = object->as.dict->keys[i].as.string;
        if (!dlx_jx_variable(x, name->p, name->n, object->as.dict->values[i])) return false;
    }
    return true;
}

static bool set_kwargs(dlx_jx *x, const dlx_chat_options *o)
{
    static const char *const taken[] = {"messages", "tools", "documents", "add_generation_prompt"};
    dlx_jv kwargs;
    if (!o->template_kwargs || !*o->template_kwargs) return true;
    if (!read_typed(x, o->template_kwargs, strlen(o->template_kwargs), "template_kwargs", DLX_JV_DICT, true, &kwargs))
        return false;
    if (kwargs.type == DLX_JV_NONE) return true;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (dlx_jv_dict_find(kwargs.as.dict, taken[i]))
            return dlx_jx_fail(x, DLX_E_INVALID, "template_kwargs: '%s' is given by other means", taken[i]);
    if (o->enable_thinking && dlx_jv_dict_find(kwargs.as.dict, "enable_thinking"))
        return dlx_jx_fail(x, DLX_E_INVALID, "template_kwargs: 'enable_thinking' is given twice");
    return set_members(x, &kwargs);
}

static bool set_variables(dlx_jx *x, const dlx_tokenizer *t, const dlx_chat_options *o)
{
    dlx_jv own, thinking = dlx_jv_bool(o->enable_thinking > 0);
    if (t->variables &&
        (!dlx_jx_read_json(x, t->variables, t->n_variables, "special tokens", true, &own) || !set_members(x, &own)))
        return false;
    return set_array(x, "tools", o->tools) && set_array(x, "documents", o->documents) &&
           set_variable(x, "add_generation_prompt", dlx_jv_bool(o->add_generation_prompt)) &&
           (!o->enable_thinking || set_variable(x, "enable_thinking", thinking)) && set_kwargs(x, o);
}

dlx_status dlx_chat_check_variables(const char *json, size_t n, dlx_error *err)
{
    static const dlx_jinja nothing;
    dlx_jx x;
    dlx_jv v;
    if (dlx_jx_open(&x, &nothing, err) == DLX_OK && dlx_jx_read_json(&x, json, n, "special tokens", true, &v) &&
        v.type != DLX_JV_DICT)
        dlx_jx_fail(&x, DLX_E_FORMAT, "special tokens: must be a JSON object");
    dlx_jx_close(&x);
    return x.status;
}

/* ---- rendering ----------------------------------------------------------------------------------------------------
 */

/* Renders once. *has_null: some content is null; `fill`: as "". */
static dlx_status render(dlx_rendered *out, const dlx_jinja *chat, const dlx_tokenizer *t, const dlx_chat_input *in,
                         const dlx_chat_options *o, bool fill, bool *has_null, dlx_error *err)
{
    dlx_jx x;
    dlx_jv messages;
    *has_null = false;
    dlx_status status = dlx_jx_open(&x, chat, err);
    if (status == DLX_OK && set_variables(&x, t, o) && read_messages(&x, in, chat, &messages, has_null) &&
        (!fill || fill_null_contents(&x, &messages)) && set_variable(&x, "messages", messages) && dlx_jx_render(&x))
        status = take_output(out, x.out, err);
    else
        status = x.status;
    dlx_jx_close(&x);
    return status;
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

/* The template for a conversation; *made is one that was compiled for it, to be freed. */
static dlx_status choose(const dlx_jinja **out, dlx_jinja **made, const dlx_tokenizer *t, const dlx_chat_options *o,
                         dlx_error *err)
{
    *made = NULL;
    if (o->chat_template) {
        DLX_TRY(dlx_jinja_compile(made, o->chat_template, strlen(o->chat_template), err));
        *out = *made;
        return DLX_OK;
    }
    bool tools = o->tools && *o->tools && strcmp(o->tools, "null") != 0;
    *out = tools && t->chat_tools ? t->chat_tools : t->chat;
    if (*out) return DLX_OK;
    if (t->chat_lost)
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "this file is from a version that did not keep its chat template: export the checkpoint again, or "
            "give the template's text (chat_template)");
    if (t->chat_tools)
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "this tokenizer has a chat template for conversations with tools only: give tools, or the text of "
            "another template (chat_template)");
    return dlx_fail(err, DLX_E_UNSUPPORTED,
                    "this tokenizer has no chat template (a base model): give it the text of the prompt itself");
}

dlx_status dlx_chat_render_spans(dlx_rendered *out, const dlx_tokenizer *t, const dlx_chat_input *in,
                                 const dlx_chat_options *options, dlx_error *err)
{
    dlx_chat_options o;
    const dlx_jinja *chat;
    dlx_jinja *made;
    bool has_null;
    memset(out, 0, sizeof *out);
    DLX_TRY(take_options(&o, options, err));
    DLX_TRY(choose(&chat, &made, t, &o, err));
    dlx_status status = render(out, chat, t, in, &o, false, &has_null, err);
    /* Clients write null for the content of a message that calls tools; a template that fails on it may mean "". */
    if (status == DLX_E_INVALID && has_null && render(out, chat, t, in, &o, true, &has_null, NULL) == DLX_OK)
        status = DLX_OK;
    dlx_jinja_free(made);
    return status;
}

static dlx_status render_text(const dlx_tokenizer *t, const dlx_chat_input *in, const dlx_chat_options *options,
                              const char *function, char **text, size_t *n, dlx_error *err)
{
    if (n) *n = 0;
    if (text) *text = NULL;
    if (!text) return dlx_fail(err, DLX_E_INVALID, "%s: text must not be NULL", function);
    if (!t) return dlx_fail(err, DLX_E_INVALID, "%s: tokenizer must not be NULL", function);
    dlx_rendered r;
    DLX_TRY(dlx_chat_render_spans(&r, t, in, options, err));
    dlx_status status = dlx_buffer_take(&r.text, text, n, "a rendered chat", err);
    dlx_rendered_free(&r);
    return status;
}

dlx_status dlx_chat_render(const dlx_tokenizer *t, const dlx_chat_message *messages, size_t n_messages,
                           const dlx_chat_options *options, char **text, size_t *n, dlx_error *err)
{
    const dlx_chat_input in = {.messages = messages, .n_messages = n_messages};
    return render_text(t, &in, options, "dlx_chat_render", text, n, err);
}

dlx_status dlx_chat_render_json(const dlx_tokenizer *t, const char *json, size_t n_json,
                                const dlx_chat_options *options, char **text, size_t *n, dlx_error *err)
{
    const dlx_chat_input in = {.json = json ? json : "", .n_json = json ? n_json : 0};
    return render_text(t, &in, options, "dlx_chat_render_json", text, n, err);
}
