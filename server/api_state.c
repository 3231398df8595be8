/* What the server says of itself: /v1/models, /health, /props, /slots and /metrics. */
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "route.h"
#include "wait.h"

void dlx_srv_models(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    const dlx_srv_engine *e = &r->state->engine;
    json_t *model =
        json_pack("{s:s, s:s, s:I, s:s, s:{s:s, s:i, s:i}}", "id", e->name, "object", "model", "created", (json_int_t)0,
                  "owned_by", "diffulex-edge", "meta", "family", dlx_family_name(e->facts->family), "n_vocab",
                  e->facts->vocab_size, "n_ctx", e->facts->max_context);
    const char *named = r->path + strlen("/v1/models");
    if (*named == '\0') {
        dlx_srv_reply_json(reply, 200, json_pack("{s:s, s:[o]}", "object", "list", "data", model));
    } else if (!strcmp(named + 1, e->name)) {
        dlx_srv_reply_json(reply, 200, model);
    } else {
        json_decref(model);
        dlx_srv_reply_error(reply, 404, "model_not_found", "model", "there is no model '%.100s', but '%s'", named + 1,
                            e->name);
    }
}

void dlx_srv_health(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    if (atomic_load(&r->state->stopping))
        dlx_srv_reply_error(reply, 503, "stopping", NULL, "the server is stopping");
    else
        dlx_srv_reply_json(reply, 200, json_pack("{s:s}", "status", "ok"));
}

/* The options of the model's decoders that a request may set, with what they are by themselves. */
static json_t *option_list(const dlx_srv_engine *e)
{
    dlx_option_info info = {.struct_size = sizeof info};
    const int32_t prompt = e->facts->mask_id == 0;
    json_t *list = json_array();
    char value[256];
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++) {
        if (info.same_as || !strcmp(info.name, "n_cached") || !strcmp(info.name, "published")) continue;
        if (dlx_decode_option_in_force(e->facts, NULL, &prompt, 1, info.name, value, sizeof value, NULL) != DLX_OK)
            *value = '\0';
        json_t *option =
            json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "name", info.name, "kind", info.kind, "algorithms",
                      info.algorithms, "help", info.help, "words", info.words ? json_string(info.words) : json_null(),
                      "default", *value ? json_string(value) : json_null());
        if (info.max > info.min) {
            json_object_set_new(option, "min", json_real(info.min));
            json_object_set_new(option, "max", json_real(info.max));
        }
        json_array_append_new(list, option);
    }
    return list;
}

/* The words that the option `preset` may be. */
static json_t *presets(void)
{
    dlx_option_info info = {.struct_size = sizeof info};
    json_t *list = json_array();
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++) {
        const char *words = strcmp(info.name, "preset") ? "" : info.words;
        for (size_t n; (n = strcspn(words, "|")) > 0; words += n + (words[n] == '|'))
            json_array_append_new(list, json_stringn(words, n));
    }
    return list;
}

static json_t *measured(const dlx_srv_engine *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < e->n_measured; i++)
        json_array_append_new(list, json_pack("{s:i, s:f}", "rows", e->measured[i].rows, "ms", e->measured[i].ms));
    return list;
}

/* What sharing passes came to so far. */
static json_t *passes(const dlx_srv_engine *e)
{
    dlx_batcher_counts n = {.struct_size = sizeof n};
    (void)dlx_batcher_get_counts(e->batcher, &n, NULL);
    return json_pack("{s:I, s:I, s:I, s:I, s:f}", "passes", (json_int_t)n.passes, "shared", (json_int_t)n.shared,
                     "calls", (json_int_t)n.calls, "rows", (json_int_t)n.rows, "calls_per_pass",
                     n.passes ? (double)n.calls / (double)n.passes : 0);
}

void dlx_srv_props(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    const dlx_srv_engine *e = &r->state->engine;
    const dlx_model_facts *f = e->facts;
    json_t *model = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:b}", "name", e->name, "family",
                              dlx_family_name(f->family), "n_vocab", f->vocab_size, "n_ctx", f->max_context,
                              "block_length", f->block_length, "attn_block", f->attn_block, "mask_id", f->mask_id,
                              "has_chat_template", dlx_tokenizer_has_chat_template(e->tokenizer));
    json_t *value = json_pack("{s:s, s:o, s:i, s:i, s:o, s:o, s:o, s:o}", "version", dlx_version_string(), "model",
                              model, "total_slots", e->seats, "row_budget", e->row_budget, "measured", measured(e),
                              "batching", passes(e), "presets", presets(), "options", option_list(e));
    dlx_srv_reply_json(reply, 200, value);
}

void dlx_srv_slots(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    dlx_srv_state *s = r->state;
    json_t *list = json_array();
    pthread_mutex_lock(&s->seats_lock);
    for (int i = 0; i < s->engine.seats; i++) {
        const dlx_srv_seat_view *v = &s->seats[i];
        json_array_append_new(list, json_pack("{s:i, s:b, s:i, s:i, s:i, s:i}", "id", i, "is_processing", v->busy,
                                              "prompt_tokens", v->prompt_tokens, "known_tokens", v->known_tokens,
                                              "max_tokens", v->max_tokens, "passes", v->passes));
    }
    pthread_mutex_unlock(&s->seats_lock);
    dlx_srv_reply_json(reply, 200, list);
}

void dlx_srv_show_metrics(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    dlx_srv_state *s = r->state;
    const dlx_srv_load load = dlx_srv_scheduler_load(s->scheduler);
    const dlx_srv_cache_load kept = dlx_srv_cache_loaded(&s->engine.cache);
    const dlx_srv_constraints_load constraints = dlx_srv_constraints_loaded(&s->engine.constraints);
    dlx_batcher_counts batcher = {.struct_size = sizeof batcher};
    (void)dlx_batcher_get_counts(s->engine.batcher, &batcher, NULL);
    const dlx_srv_gauges now = {.waiting = load.waiting,
                                .kept = kept.kept,
                                .running = load.running,
                                .seats = load.seats,
                                .free_positions = dlx_workspace_free_positions(s->engine.workspace),
                                .row_budget = s->engine.row_budget,
                                .dropped = kept.dropped,
                                .prompts_waited = kept.waited,
                                .passes = batcher.passes,
                                .passes_shared = batcher.shared,
                                .pass_rows = batcher.rows,
                                .constraints_built = constraints.built,
                                .constraints_found = constraints.found,
                                .constraint_bytes = constraints.bytes,
                                .up_seconds = (double)(dlx_srv_now_ms() - s->started_ms) / 1e3};
    size_t n = 0;
    char *text = dlx_srv_metrics_text(&s->metrics, &now, &n);
    if (text)
        dlx_srv_reply_text(reply, 200, "text/plain; version=0.0.4; charset=utf-8", text, n);
    else
        dlx_srv_reply_error(reply, 503, NULL, NULL, "out of memory");
    free(text);
}
