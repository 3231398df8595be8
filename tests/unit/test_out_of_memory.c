/*
 * Memory runs out at every place where the library asks for it: opening, tokenizing, templates, decoding,
 * describing and writing. Each failure is DLX_E_NOMEM with a sentence, leaves nothing behind and breaks nothing: the
 * same call succeeds afterwards. A forward call asks for nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fixed_runner.h"
#include "fail_memory.h"

#include "base/sizes.h"
#include "model/checkpoint.h"

enum { THREADS = 3 };
static copy programs; /* <family>.pte and <family>-int8.pte of every family */

static const char *program(char path[1024], const char *family, bool int8)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s.pte", family, int8 ? "-int8" : "");
    path_in(path, programs.folder, name);
    return path;
}

static int make_programs(void **state)
{
    (void)state;
    char path[1024];
    programs = new_folder();
    for (size_t i = 0; i < FAMILIES; i++)
        for (int int8 = 0; int8 < 2; int8++) export_tiny(program(path, families[i], int8), families[i], int8);
    return 0;
}

static int remove_programs(void **state)
{
    (void)state;
    remove_copy(&programs);
    return 0;
}

/* ---- models and sessions ----------------------------------------------------------------------------------------- */

typedef struct running {
    char path[1024];
    dlx_model *model;
    dlx_session *session;
    float *logits;
} running;

static dlx_status run_open_model(void *ctx, dlx_error *err)
{
    running *r = ctx;
    dlx_model *m = (dlx_model *)1;
    dlx_model_options o = dlx_model_options_default();
    dlx_status s;
    o.threads = THREADS;
    WATCHED(s, dlx_model_open(&m, r->path, &o, err));
    if (s != DLX_OK) assert_null(m);
    dlx_model_close(m);
    return s;
}

static dlx_status run_memory(void *ctx, dlx_error *err)
{
    running *r = ctx;
    dlx_memory need;
    dlx_status s;
    poison(&need, sizeof need);
    need.struct_size = sizeof need;
    WATCHED(s, dlx_model_memory(r->model, 8, 16, &need, err));
    if (s != DLX_OK) assert_zero(&need.file, sizeof need - sizeof need.struct_size);
    return s;
}

static dlx_status run_open_session(void *ctx, dlx_error *err)
{
    running *r = ctx;
    dlx_session *session = (dlx_session *)1;
    dlx_status s;
    WATCHED(s, dlx_session_open(&session, r->model, 8, 0, err));
    if (s != DLX_OK) assert_null(session);
    dlx_session_close(session);
    return s;
}

/* A prefill that the session makes in pieces, a denoising pass, a commit, and one that is refused. */
static dlx_status run_forward(void *ctx, dlx_error *err)
{
    running *r = ctx;
    static const int32_t ids[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3}, wrong[1] = {-1};
    static const int32_t last[] = {3};
    int32_t block = dlx_model_get_facts(r->model)->attn_block, n = block ? 16 : 8;
    const dlx_forward_call calls[] = {
        {.ids = ids, .n_ids = n, .attn_block = block ? 4 : 0, .n_store = n},
        {.ids = ids, .n_ids = 4, .start = n, .context = {{0, n}}, .n_context = 1, .rows = last, .n_rows = 1},
        {.ids = ids, .n_ids = 4, .start = n, .context = {{0, n}}, .n_context = 1, .n_store = 4, .n_rows = 4},
        {.ids = wrong, .n_ids = 1},
    };
    dlx_session_truncate(r->session, 0);
    for (size_t i = 0; i < DLX_COUNT(calls); i++) {
        dlx_forward_call call = calls[i];
        dlx_status s;
        call.struct_size = sizeof call;
        call.logits = r->logits;
        WATCHED(s, dlx_session_forward(r->session, &call, err));
        assert_int_equal(s != DLX_OK, i + 1 == DLX_COUNT(calls));
        if (i + 1 < DLX_COUNT(calls) && s != DLX_OK) return s;
    }
    return DLX_OK;
}

static void open_all(running *r, const char *family, bool int8)
{
    dlx_error err = {0};
    dlx_model_options o = dlx_model_options_default();
    o.threads = THREADS;
    program(r->path, family, int8);
    if (dlx_model_open(&r->model, r->path, &o, &err) != DLX_OK) fail_msg("%s", err.message);
    if (dlx_session_open(&r->session, r->model, 8, 0, &err) != DLX_OK) fail_msg("%s", err.message);
    r->logits = calloc(8 * (size_t)dlx_model_get_facts(r->model)->vocab_size, sizeof *r->logits);
    assert_non_null(r->logits);
}

static void close_all(running *r)
{
    dlx_session_close(r->session);
    dlx_model_close(r->model);
    free(r->logits);
}

/* Decoders whose cache the runtime takes out of the program. */
static void models_with_other_caches(void **state)
{
    static const char *const forms[] = {"explicit", "state"};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(forms); i++) {
        running r;
        char checkpoint[1024], what[64];
        dlx_error err = {0};
        checkpoint_of(checkpoint, "sdar");
        path_in(r.path, programs.folder, "other_cache.pte");
        dlx_export_options o = tiny_export(checkpoint, r.path, true);
        o.kv = forms[i];
        if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
        snprintf(what, sizeof what, "open a model: %s", forms[i]);
        every_request_fails(what, run_open_model, &r);
    }
}

static void models_and_sessions(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++)
        for (int int8 = 0; int8 < 2; int8++) {
            running r;
            char what[64];
            open_all(&r, families[i], int8);
            snprintf(what, sizeof what, "open a model: %s%s", families[i], int8 ? ", int8" : "");
            every_request_fails(what, run_open_model, &r);
            no_request_is_made("forward", run_forward, &r);
            if (i == 2) every_request_fails("measure a session", run_memory, &r);
            every_request_fails("open a session", run_open_session, &r);
            no_request_is_made("forward, after failures", run_forward, &r);
            close_all(&r);
        }
}

/* ---- sessions over programs that somebody else runs -------------------------------------------------------------- */

static dlx_status run_read_fixed(void *ctx, dlx_error *err)
{
    dlx_fixed_program *p = (dlx_fixed_program *)1;
    dlx_status s;
    WATCHED(s, dlx_fixed_program_read(&p, ctx, err));
    if (s != DLX_OK) assert_null(p);
    dlx_fixed_program_free(p);
    return s;
}

static dlx_status run_open_fixed(void *ctx, dlx_error *err)
{
    const runner *r = ctx;
    dlx_fixed_session *session = (dlx_fixed_session *)1;
    dlx_status s;
    WATCHED(s, dlx_fixed_open(&session, r->program, run_method_of, NULL, NULL, err));
    if (s != DLX_OK) assert_null(session);
    dlx_fixed_close(session);
    return s;
}

static dlx_status fixed_call(runner *r, int32_t n, int32_t start, bool store, dlx_error *err)
{
    static const int32_t ids[24] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4};
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = n, .start = start, .attn_block = 4};
    c.context[0] = (dlx_span){0, start};
    c.n_context = start > 0;
    c.n_store = store ? n : 0;
    dlx_status s;
    WATCHED(s, dlx_fixed_forward(r->session, &c, err));
    return s;
}

/* A prefill in pieces, a denoising pass, and a commit. */
static dlx_status run_fixed(void *ctx, dlx_error *err)
{
    dlx_fixed_truncate(((runner *)ctx)->session, 0);
    dlx_status s = fixed_call(ctx, 20, 0, true, err);
    if (s == DLX_OK) s = fixed_call(ctx, 4, 20, false, err);
    return s == DLX_OK ? fixed_call(ctx, 4, 20, true, err) : s;
}

/* What a call of several passes overwrites is kept until it is done. */
static dlx_status run_fixed_again(void *ctx, dlx_error *err)
{
    return fixed_call(ctx, 20, 0, true, err);
}

static void fixed_sessions(void **state)
{
    (void)state;
    static const char *const forms[] = {"fixed", "fixed-fp16"};
    for (size_t i = 0; i < DLX_COUNT(forms); i++) {
        runner r;
        char path[1024];
        path_in(path, programs.folder, "fixed.pte");
        export_fixed(path, "sdar", forms[i], "none", 8, (const int32_t[]){4}, 1);
        open_runner(&r, path);
        every_request_fails("read a program of fixed shapes", run_read_fixed, path);
        every_request_fails("open a session over it", run_open_fixed, &r);
        no_request_is_made("forward over it", run_fixed, &r);
        every_request_fails("overwrite what is stored", run_fixed_again, &r);
        no_request_is_made("forward over it, after failures", run_fixed, &r);
        close_runner(&r);
    }
}

/* ---- methods of programs that PyTorch's exporter wrote ----------------------------------------------------------- */

typedef struct calling {
    char path[1024];
    dlx_method *method;
} calling;

static dlx_status run_open_method(void *ctx, dlx_error *err)
{
    calling *c = ctx;
    dlx_method *m = (dlx_method *)1;
    dlx_method_options o = dlx_method_options_default();
    dlx_status s;
    o.threads = THREADS;
    WATCHED(s, dlx_method_open(&m, c->path, NULL, &o, err));
    if (s != DLX_OK) assert_null(m);
    dlx_method_close(m);
    return s;
}

/* Three tokens, one more, and one that lies outside the vocabulary. */
static dlx_status run_method(void *ctx, dlx_error *err)
{
    calling *c = ctx;
    int64_t ids[3] = {3, 1, 4}, starts[3] = {0, 3, 4}, wrong = -1;
    const int64_t lengths[3] = {3, 1, 1};
    dlx_method_reset(c->method);
    for (int i = 0; i < 3; i++) {
        dlx_tensor in[2] = {{sizeof in[0], DLX_ELEMENT_INT64, 2, {1, lengths[i]}, i == 2 ? &wrong : ids},
                            {sizeof in[0], DLX_ELEMENT_INT64, 1, {1}, &starts[i]}};
        dlx_status s;
        WATCHED(s, dlx_method_run(c->method, in, 2, err));
        assert_int_equal(s != DLX_OK, i == 2);
        if (i < 2 && s != DLX_OK) return s;
    }
    return DLX_OK;
}

static void methods(void **state)
{
    (void)state;
    static const char *const names[] = {"llama_cache", "llama_custom_sdpa", "llama_8da8w"};
    for (size_t i = 0; i < DLX_COUNT(names); i++) {
        calling c;
        char what[64];
        dlx_error err = {0};
        snprintf(c.path, sizeof c.path, DLX_TEST_DATA "/foreign/%s.pte", names[i]);
        snprintf(what, sizeof what, "open a method: %s", names[i]);
        every_request_fails(what, run_open_method, &c);
        if (dlx_method_open(&c.method, c.path, NULL, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
        no_request_is_made("run a method", run_method, &c);
        dlx_method_close(c.method);
        running r;
        snprintf(r.path, sizeof r.path, "%s", c.path);
        snprintf(what, sizeof what, "open a model: %s", names[i]);
        every_request_fails(what, run_open_model, &r);
    }
}

/* ---- tokenizers -------------------------------------------------------------------------------------------------- */

typedef struct text_work {
    char path[1024];
    dlx_tokenizer *t;
    const void *bytes;
    size_t n;
    int flags;
    int32_t *ids;
    size_t n_ids;
    char *expected; /* what the first run gave */
} text_work;

static dlx_status run_open_folder(void *ctx, dlx_error *err)
{
    text_work *w = ctx;
    dlx_tokenizer *t = (dlx_tokenizer *)1;
    dlx_status s;
    WATCHED(s, dlx_tokenizer_open_folder(&t, w->path, err));
    if (s != DLX_OK) assert_null(t);
    dlx_tokenizer_close(t);
    return s;
}

static dlx_status run_open_pte(void *ctx, dlx_error *err)
{
    text_work *w = ctx;
    dlx_tokenizer *t = (dlx_tokenizer *)1;
    dlx_status s;
    WATCHED(s, dlx_tokenizer_open_pte(&t, w->path, err));
    if (s != DLX_OK) assert_null(t);
    dlx_tokenizer_close(t);
    return s;
}

static dlx_status run_open_packed(void *ctx, dlx_error *err)
{
    text_work *w = ctx;
    dlx_tokenizer *t = (dlx_tokenizer *)1;
    dlx_status s;
    WATCHED(s, dlx_tokenizer_open_packed(&t, w->bytes, w->n, err));
    if (s != DLX_OK) assert_null(t);
    dlx_tokenizer_close(t);
    return s;
}

static dlx_status run_pack(void *ctx, dlx_error *err)
{
    text_work *w = ctx;
    void *bytes = (void *)1;
    size_t n = 1;
    dlx_status s;
    WATCHED(s, dlx_tokenizer_pack(w->t, &bytes, &n, err));
    if (s != DLX_OK) assert_true(!bytes && !n);
    dlx_free(bytes);
    return s;
}

static dlx_status run_encode(void *ctx, dlx_error *err)
{
    text_work *w = ctx;
    int32_t *ids = (int32_t *)1;
    size_t n = 1;
    dlx_status s;
    WATCHED(s, dlx_tokenizer_encode(w->t, w->bytes, w->n, w->flags, &ids, &n, err));
    if (s != DLX_OK) assert_true(!ids && !n);
    if (s == DLX_OK && w->ids) {
        assert_int_equal(n, w->n_ids);
        assert_memory_equal(ids, w->ids, n * sizeof *ids);
    }
    if (s == DLX_OK && !w->ids) {
        w->ids = __real_malloc(n * sizeof *ids);
        assert_non_null(w->ids);
        memcpy(w->ids, ids, n * sizeof *ids);
        w->n_ids = n;
    }
    dlx_free(ids);
    return s;
}

static void compare_text(text_work *w, const char *text)
{
    if (!w->expected) w->expected = __real_strdup(text);
    assert_non_null(w->expected);
    assert_string_equal(text, w->expected);
}

static dlx_status run_decode(void *ctx, dlx_error *err)
{
    text_work *w = ctx;
    char *text = (char *)1;
    size_t n = 1;
    dlx_status s;
    WATCHED(s, dlx_tokenizer_decode(w->t, w->ids, w->n_ids, false, &text, &n, err));
    if (s != DLX_OK) assert_true(!text && !n);
    if (s == DLX_OK) compare_text(w, text);
    dlx_free(text);
    return s;
}

/* Appends what a call gave; a stream that could not give it gives it when asked again. */
static void take_piece(char out[4096], dlx_text_stream *stream, const int32_t *id, dlx_status *first, dlx_error *err)
{
    const char *piece = (const char *)1;
    size_t n = 1;
    for (int attempt = 0; attempt < 2; attempt++) {
        dlx_status s;
        WATCHED(s, id ? dlx_text_stream_push(stream, id, 1, &piece, &n, err)
                      : dlx_text_stream_flush(stream, &piece, &n, err));
        if (s == DLX_OK) break;
        assert_true(!piece && !n && attempt == 0);
        memory.fail_at = 0;
        *first = s;
    }
    assert_true(strlen(out) + n < 4096);
    strcat(out, piece);
}

static dlx_status run_stream(void *ctx, dlx_error *err)
{
    text_work *w = ctx;
    dlx_text_stream *stream = (dlx_text_stream *)1;
    dlx_status s, first = DLX_OK;
    WATCHED(s, dlx_text_stream_open(&stream, w->t, false, err));
    if (s != DLX_OK) {
        assert_null(stream);
        return s;
    }
    char text[4096] = "";
    for (size_t i = 0; i < w->n_ids; i++) take_piece(text, stream, &w->ids[i], &first, err);
    take_piece(text, stream, NULL, &first, err);
    compare_text(w, text);
    dlx_text_stream_close(stream);
    return first;
}

static void reading_tokenizer_files(void **state)
{
    (void)state;
    text_work w = {.flags = 0};
    char what[64];
    for (size_t i = 0; i < FAMILIES; i++) {
        checkpoint_of(w.path, families[i]);
        snprintf(what, sizeof what, "open the tokenizer of a folder: %s", families[i]);
        every_request_fails(what, run_open_folder, &w);
        program(w.path, families[i], false);
        snprintf(what, sizeof what, "open the tokenizer of a program: %s", families[i]);
        every_request_fails(what, run_open_pte, &w);
    }
    copy c = copy_checkpoint(TINY("sdar"));
    remove_file(&c, "tokenizer.json");
    snprintf(w.path, sizeof w.path, "%s", c.folder);
    every_request_fails("open vocab.json and merges.txt", run_open_folder, &w);
    remove_copy(&c);
}

/* Added tokens, words, a text that NFC changes, and bytes that are no UTF-8. */
static const char sample[] = "<|im_start|>user\nHow many combining marks: e\xCC\x81\xCC\xA3 \xEA\xB0\x80\xE1\x86\xA8 "
                             "1234 don't\t\xF0\x9F\x98\x80 \xFF\xC3 <|im_end|><think> \xE4\xB8\x96\xE7\x95\x8C";

static void text_and_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++) {
        text_work w = {.bytes = sample, .n = sizeof sample - 1};
        dlx_error err = {0};
        checkpoint_of(w.path, families[i]);
        if (dlx_tokenizer_open_folder(&w.t, w.path, &err) != DLX_OK) fail_msg("%s", err.message);
        every_request_fails("encode", run_encode, &w);
        free(w.ids);
        w.ids = NULL;
        w.flags = DLX_ENCODE_SPECIAL;
        every_request_fails("encode, added tokens too", run_encode, &w);
        w.n_ids--; /* ends inside a character */
        every_request_fails("decode", run_decode, &w);
        every_request_fails("stream", run_stream, &w);
        every_request_fails("pack", run_pack, &w);
        void *packed;
        assert_int_equal(dlx_tokenizer_pack(w.t, &packed, &w.n, &err), DLX_OK);
        w.bytes = packed;
        every_request_fails("open a packed tokenizer", run_open_packed, &w);
        dlx_free(packed);
        dlx_tokenizer_close(w.t);
        free(w.ids);
        free(w.expected);
    }
}

/* ---- chat templates ---------------------------------------------------------------------------------------------- */

static const dlx_chat_message conversation[] = {
    {.struct_size = sizeof(dlx_chat_message), .role = "system", .content = "Be brief."},
    {.struct_size = sizeof(dlx_chat_message), .role = "user", .content = "Weather in K\xC3\xB6ln?\xFF"},
    {.struct_size = sizeof(dlx_chat_message),
     .role = "assistant",
     .content = "I look.",
     .reasoning_content = "A tool knows.",
     .tool_calls = "[{\"name\": \"weather\", \"arguments\": {\"town\": \"K\\u00f6ln\", \"days\": [1, 2.50, null], "
                   "\"town\": \"Bonn\"}}]"},
    {.struct_size = sizeof(dlx_chat_message), .role = "tool", .content = "{\"rain\": true}"},
    {.struct_size = sizeof(dlx_chat_message), .role = "user", .content = "Thanks<|im_end|>"},
};
static const dlx_chat_options chat_options = {
    .struct_size = sizeof chat_options,
    .add_generation_prompt = true,
    .enable_thinking = -1,
    .tools = "[{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"parameters\": {\"a\": 1e3}}}]"};

static dlx_status run_render(void *ctx, dlx_error *err)
{
    const text_work *w = ctx;
    char *text = (char *)1;
    size_t n = 1;
    dlx_status s;
    WATCHED(s, dlx_chat_render(w->t, conversation, DLX_COUNT(conversation), &chat_options, &text, &n, err));
    if (s != DLX_OK) assert_true(!text && !n);
    dlx_free(text);
    return s;
}

static dlx_status run_chat_encode(void *ctx, dlx_error *err)
{
    const text_work *w = ctx;
    int32_t *ids = (int32_t *)1;
    size_t n = 1;
    dlx_status s;
    WATCHED(s, dlx_chat_encode(w->t, conversation, DLX_COUNT(conversation), &chat_options, &ids, &n, err));
    if (s != DLX_OK) assert_true(!ids && !n);
    dlx_free(ids);
    return s;
}

static void chat_templates(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++) {
        text_work w = {.flags = 0};
        dlx_error err = {0};
        char what[64];
        checkpoint_of(w.path, families[i]);
        if (dlx_tokenizer_open_folder(&w.t, w.path, &err) != DLX_OK) fail_msg("%s", err.message);
        snprintf(what, sizeof what, "render a conversation: %s", families[i]);
        every_request_fails(what, run_render, &w);
        snprintf(what, sizeof what, "encode a conversation: %s", families[i]);
        every_request_fails(what, run_chat_encode, &w);
        dlx_tokenizer_close(w.t);
    }
}

/* ---- decoding ---------------------------------------------------------------------------------------------------- */

static const int32_t prompt[] = {20, 21, 22, 23, 24, 25, 26, 27, 28};

typedef struct decoding {
    running r;
    dlx_tokenizer *t;
    dlx_decode_options *options;
    int32_t answer[16];
    size_t n_answer;
    size_t heard; /* bytes of streamed text */
} decoding;

/* The answer is that of the first run. */
static void compare_answer(decoding *d, const int32_t *ids, size_t n)
{
    assert_true(n <= DLX_COUNT(d->answer));
    if (!d->n_answer) memcpy(d->answer, ids, n * sizeof *ids);
    if (!d->n_answer) d->n_answer = n;
    assert_int_equal(n, d->n_answer);
    assert_memory_equal(ids, d->answer, n * sizeof *ids);
}

static dlx_status run_generate(void *ctx, dlx_error *err)
{
    decoding *d = ctx;
    dlx_generation *g = (dlx_generation *)1;
    dlx_status s;
    size_t n;
    WATCHED(s, dlx_generate(dlx_model_get_facts(d->r.model), dlx_session_forward, d->r.session, d->options, prompt,
                            DLX_COUNT(prompt), NULL, NULL, &g, err));
    if (s != DLX_OK) assert_null(g);
    const int32_t *ids = dlx_generation_answer_ids(g, &n);
    if (s == DLX_OK) compare_answer(d, ids, n);
    dlx_generation_free(g);
    return s;
}

static bool hear(void *ctx, const char *text, size_t n)
{
    decoding *d = ctx;
    (void)text;
    d->heard += n;
    return true;
}

static dlx_status run_complete(void *ctx, dlx_error *err)
{
    static const char *const stop[] = {"\x01 never \x02"};
    decoding *d = ctx;
    dlx_completion *c = (dlx_completion *)1;
    dlx_completion_options o = dlx_completion_options_default();
    dlx_status s;
    size_t n;
    o.decode = d->options;
    o.tokenizer = d->t;
    o.session = d->r.session;
    o.stop = stop;
    o.n_stop = DLX_COUNT(stop);
    o.keep_special = true;
    o.on_text = hear;
    o.text_ctx = d;
    d->heard = 0;
    WATCHED(s, dlx_complete(dlx_model_get_facts(d->r.model), dlx_session_forward, d->r.session, &o, prompt,
                            DLX_COUNT(prompt), &c, err));
    if (s != DLX_OK) assert_null(c);
    const int32_t *ids = dlx_completion_ids(c, &n);
    if (s == DLX_OK) compare_answer(d, ids, n);
    dlx_completion_text(c, &n);
    if (s == DLX_OK) assert_int_equal(d->heard, n);
    dlx_completion_free(c);
    return s;
}

static dlx_decode_options *options_of(const char *algorithm)
{
    static const char *const pairs[][2] = {{"max_new_tokens", "12"}, {"temperature", "0.7"}, {"seed", "5"}};
    dlx_decode_options *o;
    dlx_error err = {0};
    assert_int_equal(dlx_decode_options_create(&o, &err), DLX_OK);
    for (size_t i = 0; i < DLX_COUNT(pairs); i++)
        if (dlx_decode_options_set(o, pairs[i][0], pairs[i][1], &err) != DLX_OK) fail_msg("%s", err.message);
    if (algorithm && dlx_decode_options_set(o, "algorithm", algorithm, &err) != DLX_OK) fail_msg("%s", err.message);
    if (algorithm && dlx_decode_options_set(o, "published", "false", &err) != DLX_OK) fail_msg("%s", err.message);
    return o;
}

static void decodes(const char *family, bool int8, const char *algorithm)
{
    decoding d = {.n_answer = 0};
    dlx_error err = {0};
    char what[80];
    open_all(&d.r, family, int8);
    dlx_session_close(d.r.session);
    if (dlx_session_open(&d.r.session, d.r.model, 0, 0, &err) != DLX_OK) fail_msg("%s", err.message);
    if (dlx_tokenizer_open_pte(&d.t, d.r.path, &err) != DLX_OK) fail_msg("%s", err.message);
    d.options = options_of(algorithm);
    snprintf(what, sizeof what, "generate: %s, %s", family, algorithm ? algorithm : "default");
    every_request_fails(what, run_generate, &d);
    snprintf(what, sizeof what, "complete: %s, %s", family, algorithm ? algorithm : "default");
    every_request_fails(what, run_complete, &d);
    dlx_decode_options_free(d.options);
    dlx_tokenizer_close(d.t);
    close_all(&d.r);
}

static void generations_and_completions(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++) decodes(families[i], i % 2, NULL);
    decodes("llada", false, "llada.generate_fast");
    decodes("dream", false, "dream.generate_blocks");
    decodes("sdar", false, "ar.generate");
}

static dlx_status run_options(void *ctx, dlx_error *err)
{
    static const char *const pairs[][2] = {{"max-new-tokens", "12"}, {"algorithm", "sdar.generate"},
                                           {"stop_ids", "1,2,3"},    {"temperature", "0.5"},
                                           {"preset", "fast"},       {"temperature", "null"}};
    dlx_decode_options *o = (dlx_decode_options *)1;
    dlx_status s;
    (void)ctx;
    WATCHED(s, dlx_decode_options_create(&o, err));
    if (s != DLX_OK) assert_null(o);
    for (size_t i = 0; s == DLX_OK && i < DLX_COUNT(pairs); i++)
        WATCHED(s, dlx_decode_options_set(o, pairs[i][0], pairs[i][1], err));
    dlx_decode_options_free(o);
    return s;
}

static void decode_options(void **state)
{
    (void)state;
    every_request_fails("decode options", run_options, NULL);
}

/* ---- describing and writing -------------------------------------------------------------------------------------- */

typedef struct describing {
    char path[1024];
    bool graph, a, b; /* dlx_inspect_graph with raised and dot, else dlx_inspect with json */
    char *expected;
} describing;

static dlx_status run_describe(void *ctx, dlx_error *err)
{
    describing *d = ctx;
    char *text = (char *)1;
    dlx_status s;
    WATCHED(s, d->graph ? dlx_inspect_graph(d->path, d->a, d->b, &text, err)
                        : dlx_inspect(d->path, d->a, NULL, &text, err));
    if (s != DLX_OK) assert_null(text);
    if (s == DLX_OK && !d->expected) d->expected = __real_strdup(text);
    if (s == DLX_OK) assert_string_equal(text, d->expected); /* no description says less than another */
    dlx_free(text);
    return s;
}

static void describe(const char *what, describing *d)
{
    every_request_fails(what, run_describe, d);
    free(d->expected);
    d->expected = NULL;
}

static void descriptions(void **state)
{
    (void)state;
    for (int int8 = 0; int8 < 2; int8++) {
        describing d = {.expected = NULL};
        program(d.path, "sdar", int8);
        describe("inspect, text", &d);
        d.a = true;
        describe("inspect, JSON", &d);
        d.graph = true;
        describe("inspect the graph, raised", &d);
        d.b = true;
        describe("inspect the graph, raised, dot", &d);
        d.a = d.b = false;
        describe("inspect the graph, primitive", &d);
    }
    describing d = {.path = DLX_TEST_DATA "/format/official_8da8w.pte", .a = true};
    describe("inspect a file of PyTorch's exporter", &d);
    describing decoder = {.path = DLX_TEST_DATA "/foreign/llama_custom_sdpa.pte", .a = true};
    describe("inspect a decoder of PyTorch's exporter", &decoder);
    decoder.graph = true;
    describe("inspect the graph of a decoder", &decoder);
}

static dlx_status run_write_logits(void *ctx, dlx_error *err)
{
    static const float logits[6] = {1, 2, 3, 4, 5, 6};
    target *t = ctx;
    dlx_status s;
    reset_target(t, !t->exists);
    WATCHED(s, dlx_write_logits(t->path, logits, 2, 3, err));
    if (s != DLX_OK)
        assert_target_untouched(t);
    else
        assert_int_equal(files_beside(t), 1);
    return s;
}

static dlx_status run_write_tensors(void *ctx, dlx_error *err)
{
    static float numbers[6] = {1, 2, 3, 4, 5, 6};
    static const char *const names[] = {"a", "b"};
    target *t = ctx;
    dlx_status s;
    dlx_tensor tensors[2] = {
        {.struct_size = sizeof *tensors, .element = DLX_ELEMENT_FLOAT32, .data = numbers},
        {.struct_size = sizeof *tensors, .element = DLX_ELEMENT_FLOAT32, .rank = 1, .size = {6}, .data = numbers}};
    reset_target(t, !t->exists);
    WATCHED(s, dlx_write_tensors(t->path, names, tensors, 2, err));
    if (s != DLX_OK)
        assert_target_untouched(t);
    else
        assert_int_equal(files_beside(t), 1);
    return s;
}

static void writing_logits(void **state)
{
    (void)state;
    target t = new_target("logits.safetensors");
    every_request_fails("write logits", run_write_logits, &t);
    every_request_fails("write tensors", run_write_tensors, &t);
    remove_target(&t);
}

static void requests_were_seen(void **state) /* but for those of test_out_of_memory_export */
{
    (void)state;
    assert_seen(~(1u << REQUEST_FOLDER));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_and_sessions),     cmocka_unit_test(models_with_other_caches),
        cmocka_unit_test(fixed_sessions),          cmocka_unit_test(methods),
        cmocka_unit_test(reading_tokenizer_files), cmocka_unit_test(text_and_ids),
        cmocka_unit_test(chat_templates),          cmocka_unit_test(generations_and_completions),
        cmocka_unit_test(decode_options),          cmocka_unit_test(descriptions),
        cmocka_unit_test(writing_logits),          cmocka_unit_test(requests_were_seen),
    };
    return cmocka_run_group_tests(tests, make_programs, remove_programs);
}
