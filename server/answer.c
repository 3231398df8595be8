/*
 * Decoding one answer. What the decoder tells goes three ways: text through the splitter into the answer's parts, the
 * accepted tokens into scores and frames, and counts into the view of the seat. Streams are written as it happens.
 */
#include "answer.h"

#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "wait.h"

/* ---- parts of the text ------------------------------------------------------------------------------------------- */

static void append(dlx_srv_answer *a, dlx_srv_string_buffer *b, const char *text, size_t n)
{
    if (b->n + n + 1 > b->capacity) {
        size_t capacity = 2 * (b->n + n + 1);
        char *grown = realloc(b->text, capacity);
        if (!grown) {
            a->out_of_memory = true;
            return;
        }
        b->text = grown;
        b->capacity = capacity;
    }
    memcpy(b->text + b->n, text, n);
    b->n += n;
    b->text[b->n] = '\0';
}

/* How many scored tokens have all their text out. Those without text wait for what follows: they may be what ended the
 * answer, which is no part of it. */
static size_t tokens_out(const dlx_srv_answer *a)
{
    size_t n = a->told, before = n ? a->tokens[n - 1].end : 0;
    for (size_t i = n; i < a->n_tokens && a->tokens[i].end <= a->n_given; i++) {
        if (a->tokens[i].end > before) n = i + 1;
        before = a->tokens[i].end;
    }
    return n;
}

/* The scored tokens below the n-th that were not told; NULL: none. */
static json_t *tell_scores(dlx_srv_answer *a, size_t n)
{
    json_t *list = NULL;
    while (a->told < a->n_tokens && a->told < n) {
        if (!list) list = json_array();
        json_array_append(list, a->tokens[a->told++].value);
    }
    return list;
}

/* OpenAI's form of {"name": ..., "arguments": {...}}; NULL when it is something else. */
static json_t *tool_call(dlx_srv_answer *a, const char *text, size_t n)
{
    dlx_srv_id id;
    json_t *call = json_loadb(text, n, 0, NULL), *out = NULL;
    const char *name = json_string_value(json_object_get(call, "name"));
    json_t *given = json_object_get(call, "arguments");
    char *arguments = json_is_object(given)   ? json_dumps(given, 0)
                      : json_is_string(given) ? strdup(json_string_value(given))
                      : given                 ? NULL
                                              : strdup("{}");
    if (name && arguments) {
        dlx_srv_new_id(a->work->state, "call_", id);
        out = json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", id, "type", "function", "function", "name", name, "arguments",
                        arguments);
    }
    free(arguments);
    json_decref(call);
    return out;
}

static void take_part(void *ctx, dlx_srv_part part, const char *text, size_t n)
{
    dlx_srv_answer *a = ctx;
    json_t *call = NULL;
    if (part == DLX_SRV_TOOL_CALL) {
        call = tool_call(a, text, n);
        if (call && !a->calls) a->calls = json_array();
        if (call && json_array_append(a->calls, call) != 0) a->out_of_memory = true;
        if (!call) {
            take_part(a, DLX_SRV_CONTENT, "<tool_call>", strlen("<tool_call>"));
            take_part(a, DLX_SRV_CONTENT, text, n);
            take_part(a, DLX_SRV_CONTENT, "</tool_call>", strlen("</tool_call>"));
            return;
        }
    } else {
        append(a, part == DLX_SRV_REASONING ? &a->reasoning : &a->content, text, n);
    }
    if (a->work->has_outbox) {
        json_t *scores = tell_scores(a, tokens_out(a));
        a->work->form->part(a, part, text, n, call, scores);
        json_decref(scores);
    }
    json_decref(call);
}

static bool on_text(void *ctx, const char *text, size_t n)
{
    dlx_srv_answer *a = ctx;
    dlx_srv_work *w = a->work;
    if (!a->first_text_ms) a->first_text_ms = dlx_srv_now_ms();
    pthread_mutex_lock(&w->lock);
    a->n_given += n;
    dlx_srv_split_push(&a->split, text, n);
    pthread_mutex_unlock(&w->lock);
    if (a->split.failed) a->out_of_memory = true;
    return !a->out_of_memory && !atomic_load(&w->cancelled);
}

/* ---- accepted tokens --------------------------------------------------------------------------------------------- */

static json_t *score_value(const dlx_srv_answer *a, int32_t id, double logprob)
{
    const dlx_srv_engine *e = &a->work->state->engine;
    /* JSON has no infinity. */
    return json_pack("{s:o, s:f, s:o, s:i}", "token", dlx_srv_ids_text(e, &id, 1), "logprob",
                     logprob < -9999 ? -9999.0 : logprob, "bytes", dlx_srv_id_bytes(e, id), "id", id);
}

static void score(dlx_srv_answer *a, const dlx_accepted *accepted)
{
    dlx_srv_score best[32];
    double logprob;
    int top = a->work->plan.top_logprobs;
    int64_t at = accepted->position - (int64_t)a->prompt->n;
    if (at < 0 || at >= a->max_new || a->scored[at]) return;
    if (!dlx_srv_scores_of(&a->rows, accepted->position, accepted->id, &logprob, best, top)) return;
    json_t *value = score_value(a, accepted->id, logprob), *list = json_array();
    for (int i = 0; i < top && best[i].id >= 0; i++)
        json_array_append_new(list, score_value(a, best[i].id, best[i].logprob));
    if (!value || json_object_set_new(value, "top_logprobs", list) != 0) a->out_of_memory = true;
    a->scored[at] = value;
}

/* Where the text of each token of the known prefix ends. */
static void follow_tokens(dlx_srv_answer *a, const int32_t *answer, size_t n)
{
    const char *piece;
    size_t bytes;
    while (a->n_tokens < n && a->scored[a->n_tokens]) {
        if (dlx_text_stream_push(a->text_of, &answer[a->n_tokens], 1, &piece, &bytes, NULL) != DLX_OK) return;
        a->n_bytes += bytes;
        a->tokens[a->n_tokens] = (dlx_srv_token){a->n_bytes, a->scored[a->n_tokens]};
        a->n_tokens++;
    }
}

static void take_scores(dlx_srv_answer *a, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    int32_t mask = a->work->state->engine.facts->mask_id;
    size_t known = 0, most = n_ids > a->prompt->n ? n_ids - a->prompt->n : 0;
    for (size_t i = 0; i < step->n_accepted; i++) score(a, &step->accepted[i]);
    if (most > (size_t)a->max_new) most = (size_t)a->max_new;
    while (known < most && ids[a->prompt->n + known] != mask) known++;
    follow_tokens(a, ids + a->prompt->n, known);
}

static void tell_step(dlx_srv_answer *a, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    json_t *frame = dlx_srv_frame(a, step, ids, n_ids);
    if (!frame) a->out_of_memory = true;
    pthread_mutex_lock(&a->work->lock);
    if (frame) a->work->form->step(a, frame);
    pthread_mutex_unlock(&a->work->lock);
    json_decref(frame);
}

/* Leading tokens of the prompt that others can begin behind: whole blocks without a mask, which would be filled in. */
static size_t shared_of(const dlx_srv_answer *a)
{
    const dlx_model_facts *f = a->work->state->engine.facts;
    size_t block = (size_t)f->attn_block, n = 0;
    while (block && n < a->prompt->n && a->prompt->ids[n] != f->mask_id) n++;
    return block ? n / block * block : 0;
}

/* As soon as they are stored, which they are when a block behind them is begun, if not before. ids [n]: the canvas. */
static void share_prompt(dlx_srv_answer *a, bool begun, const int32_t *ids, size_t n)
{
    dlx_srv_engine *e = &a->work->state->engine;
    size_t shared = shared_of(a);
    /* One more than there are: the last row of a prompt is never reused. */
    begun |=
        n > shared && dlx_session_reusable(a->lease.session, ids, shared + 1, e->facts->attn_block) >= (int32_t)shared;
    a->shared = begun;
    if (begun && shared >= DLX_SRV_LEAST_SHARED) dlx_srv_cache_share(&e->cache, &a->lease, a->prompt->ids, shared);
}

static void show_seat(dlx_srv_answer *a, bool busy, int32_t known)
{
    dlx_srv_state *s = a->work->state;
    pthread_mutex_lock(&s->seats_lock);
    s->seats[a->seat] = (dlx_srv_seat_view){.busy = busy,
                                            .prompt_tokens = busy ? (int32_t)a->prompt->n : 0,
                                            .known_tokens = busy ? known : 0,
                                            .max_tokens = busy ? a->max_new : 0,
                                            .passes = busy ? a->passes : 0};
    pthread_mutex_unlock(&s->seats_lock);
}

static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    dlx_srv_answer *a = ctx;
    int32_t mask = a->work->state->engine.facts->mask_id, known = 0;
    a->passes++;
    for (size_t i = a->prompt->n; i < n_ids; i++) known += ids[i] != mask;
    show_seat(a, true, known);
    if (!a->shared) share_prompt(a, step->block >= 0, ids, n_ids);
    if (a->rows.remember) take_scores(a, step, ids, n_ids);
    if (a->work->plan.steps) tell_step(a, step, ids, n_ids);
    return !a->out_of_memory && !atomic_load(&a->work->cancelled);
}

/* ---- from seat to end -------------------------------------------------------------------------------------------- */

void dlx_srv_answer_init(dlx_srv_answer *a, dlx_srv_work *w, int index, const dlx_srv_prompt *prompt, int k)
{
    const dlx_srv_plan *p = &w->plan;
    *a = (dlx_srv_answer){.work = w, .index = index, .k = k, .prompt = prompt};
    a->statistics.struct_size = sizeof a->statistics;
    a->finish_reason = "cancelled";
    dlx_srv_split_open(&a->split, p->begin, p->tools, take_part, a);
}

void dlx_srv_answer_free(dlx_srv_answer *a)
{
    for (int32_t i = 0; a->scored && i < a->max_new; i++) json_decref(a->scored[i]);
    free(a->scored);
    free(a->filled);
    free(a->tokens);
    free(a->content.text);
    free(a->reasoning.text);
    json_decref(a->calls);
    json_decref(a->scores);
    dlx_srv_split_close(&a->split);
    dlx_srv_scores_free(&a->rows);
    dlx_text_stream_close(a->text_of);
}

void dlx_srv_answer_fail(dlx_srv_answer *a, dlx_status status, const char *message)
{
    dlx_srv_work *w = a->work;
    dlx_error err;
    dlx_srv_fail(&err, status, "%s", message);
    pthread_mutex_lock(&w->lock);
    a->failed = true;
    a->err = err;
    if (w->has_outbox)
        dlx_srv_work_event(w, dlx_srv_error_value(message, status == DLX_E_CANCELLED ? 503 : dlx_srv_status_of(&err),
                                                  status == DLX_E_CANCELLED ? "stopping" : NULL, NULL));
    pthread_mutex_unlock(&w->lock);
}

/* What logprobs need. */
static dlx_status prepare_scores(dlx_srv_answer *a, dlx_error *err)
{
    const dlx_srv_plan *p = &a->work->plan;
    const dlx_srv_engine *e = &a->work->state->engine;
    a->rows = (dlx_srv_scores){.facts = e->facts, .bias = p->bias, .n_bias = p->n_bias};
    if (p->top_logprobs < 0) return DLX_OK;
    a->rows.remember = true;
    a->scored = calloc((size_t)a->max_new, sizeof *a->scored);
    a->tokens = calloc((size_t)a->max_new, sizeof *a->tokens);
    if (!a->scored || !a->tokens) return dlx_srv_fail(err, DLX_E_NOMEM, "out of memory for %d tokens", a->max_new);
    return dlx_text_stream_open(&a->text_of, e->tokenizer, true, err);
}

static dlx_status complete(dlx_srv_answer *a, dlx_decode_options *decode, dlx_completion **out, dlx_error *err)
{
    const dlx_srv_plan *p = &a->work->plan;
    dlx_srv_engine *e = &a->work->state->engine;
    dlx_completion_options o = dlx_completion_options_default();
    dlx_seat *seat = NULL;
    o.decode = decode;
    o.tokenizer = e->tokenizer;
    o.session = a->lease.session;
    o.stop = (const char *const *)p->stop;
    o.n_stop = p->n_stop;
    o.on_text = on_text;
    o.on_step = on_step;
    o.text_ctx = o.step_ctx = a;
    dlx_status s = dlx_batcher_join(&seat, e->batcher, a->lease.session, err);
    if (s != DLX_OK) return s;
    a->rows.forward = dlx_batcher_forward;
    a->rows.ctx = seat;
    bool between = a->rows.remember || a->rows.n_bias;
    s = dlx_complete(e->facts, between ? dlx_srv_scores_forward : dlx_batcher_forward,
                     between ? (void *)&a->rows : seat, &o, a->prompt->ids, a->prompt->n, out, err);
    dlx_batcher_leave(seat);
    return s;
}

/* The prompt with what was accepted in the place of its masks. */
static void take_fills(dlx_srv_answer *a, const dlx_generation *generation)
{
    dlx_step step = {.struct_size = sizeof step};
    a->filled = malloc(a->prompt->n * sizeof *a->filled);
    if (!a->filled) return;
    memcpy(a->filled, a->prompt->ids, a->prompt->n * sizeof *a->filled);
    for (size_t i = 0; dlx_generation_step(generation, i, &step); i++)
        for (size_t k = 0; k < step.n_accepted; k++) {
            if ((size_t)step.accepted[k].position >= a->prompt->n) continue;
            a->filled[step.accepted[k].position] = step.accepted[k].id;
            a->statistics.new_tokens++; /* the library counts those behind the prompt */
        }
}

/* An answer that is bound is there as a whole when it has as many tokens as it may have, too. */
static const char *finish_reason(const dlx_srv_answer *a, const dlx_completion *c)
{
    const dlx_srv_built *bound = a->work->plan.constraint;
    const char *reason = dlx_completion_finish_reason(c);
    size_t n;
    const char *text = dlx_completion_text(c, &n);
    bool whole = bound && !strcmp(reason, "length") && dlx_constraint_accepts(dlx_srv_constraint_of(bound), text, n);
    return whole ? "stop" : reason;
}

/* The answer's parts are there: numbers, scores, and the end of the stream. */
static void conclude(dlx_srv_answer *a, const dlx_completion *c)
{
    dlx_srv_work *w = a->work;
    size_t n;
    (void)dlx_completion_ids(c, &n);
    (void)dlx_completion_statistics(c, &a->statistics, NULL);
    if (w->plan.fill) take_fills(a, dlx_completion_generation(c));
    pthread_mutex_lock(&w->lock);
    a->finish_reason = finish_reason(a, c);
    dlx_srv_split_finish(&a->split);
    if (a->scored && !w->has_outbox) {
        a->scores = json_array();
        for (size_t i = 0; i < n; i++)
            if (a->scored[i]) json_array_append(a->scores, a->scored[i]);
    }
    if (w->has_outbox) {
        json_t *scores = tell_scores(a, n);
        w->form->finish(a, scores);
        json_decref(scores);
    }
    pthread_mutex_unlock(&w->lock);
}

static void count(const dlx_srv_answer *a, bool cancelled)
{
    const dlx_statistics *s = &a->statistics;
    const dlx_srv_counts counts = {.prompt_tokens = s->prompt_tokens,
                                   .cached_tokens = s->cached_tokens,
                                   .answer_tokens = s->new_tokens,
                                   .passes = s->forwards,
                                   .rows = s->rows,
                                   .decode_seconds = (double)(dlx_srv_now_ms() - a->taken_ms) / 1e3,
                                   .waited_seconds = (double)(a->taken_ms - a->work->submitted_ms) / 1e3,
                                   .first_text_seconds =
                                       a->first_text_ms ? (double)(a->first_text_ms - a->work->submitted_ms) / 1e3 : -1,
                                   .cancelled = cancelled};
    dlx_srv_metrics_answer(&a->work->state->metrics, &counts);
}

/* What frames need. */
static dlx_status prepare_frames(dlx_srv_answer *a, const dlx_decode_options *options, dlx_error *err)
{
    char text[256];
    if (!a->work->plan.steps) return DLX_OK;
    dlx_status s = dlx_decode_option_in_force(a->work->state->engine.facts, options, a->prompt->ids, a->prompt->n,
                                              "block_length", text, sizeof text, err);
    if (s == DLX_OK) a->block_length = atoi(text); /* "" of algorithms that have none */
    return s;
}

static dlx_status decode(dlx_srv_answer *a, dlx_decode_options **options, dlx_completion **completion, dlx_error *err)
{
    dlx_srv_work *w = a->work;
    dlx_srv_engine *e = &w->state->engine;
    int64_t positions = (int64_t)a->prompt->n + a->max_new + 2 * e->facts->block_length;
    dlx_status s = dlx_srv_plan_options(&w->plan, e, a->prompt->n, a->k, options, err);
    if (s == DLX_OK) s = prepare_scores(a, err);
    if (s == DLX_OK) s = prepare_frames(a, *options, err);
    if (s != DLX_OK) return s;
    if (positions > e->facts->max_context) positions = e->facts->max_context;
    const dlx_srv_claim claim = {.ids = a->prompt->ids,
                                 .n = a->prompt->n,
                                 .n_shared = shared_of(a),
                                 .positions = (int32_t)positions,
                                 .cancelled = &w->cancelled};
    if (!dlx_srv_cache_take(&e->cache, &claim, &a->lease))
        return dlx_srv_fail(err, DLX_E_NOMEM, "out of memory for a sequence of %lld positions", (long long)positions);
    s = complete(a, *options, completion, err);
    size_t n = 0;
    const int32_t *ids = s == DLX_OK ? dlx_generation_output_ids(dlx_completion_generation(*completion), &n) : NULL;
    dlx_srv_cache_give(&e->cache, &a->lease, ids, n);
    return s;
}

void dlx_srv_answer_run(dlx_srv_answer *a, int seat)
{
    dlx_srv_work *w = a->work;
    dlx_decode_options *options = NULL;
    dlx_completion *completion = NULL;
    dlx_error err = {0};
    a->seat = seat;
    a->taken_ms = dlx_srv_now_ms();
    a->max_new = dlx_srv_plan_max_new(&w->plan, &w->state->engine, a->prompt->n);
    if (w->has_outbox) {
        pthread_mutex_lock(&w->lock);
        w->form->begin(a);
        pthread_mutex_unlock(&w->lock);
    }
    show_seat(a, true, 0);
    dlx_status s = decode(a, &options, &completion, &err);
    bool cancelled = s == DLX_OK && !strcmp(dlx_completion_finish_reason(completion), "cancelled");
    if (s != DLX_OK)
        dlx_srv_answer_fail(a, s, err.message);
    else if (a->out_of_memory)
        dlx_srv_answer_fail(a, DLX_E_NOMEM, "out of memory putting the answer together");
    else if (cancelled)
        dlx_srv_answer_fail(a, DLX_E_CANCELLED, "the answer was cancelled: the server is stopping");
    else
        conclude(a, completion);
    if (cancelled) (void)dlx_completion_statistics(completion, &a->statistics, NULL);
    dlx_completion_free(completion);
    dlx_decode_options_free(options);
    show_seat(a, false, 0);
    count(a, cancelled);
}
