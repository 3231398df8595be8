/* From a request's parameters to decode options. */
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "limits.h"

enum { DEFAULT_MAX_NEW = 128 }; /* where each pass runs all positions; elsewhere a stop id ends the answer */

static const int64_t seed_mask = ((int64_t)1 << 52) - 1;

void dlx_srv_plan_free(dlx_srv_plan *p)
{
    for (size_t i = 0; i < p->n_prompts; i++) free(p->prompts[i].ids);
    for (size_t i = 0; i < p->n_stop; i++) free(p->stop[i]);
    free(p->prompts);
    free(p->stop);
    free(p->bias);
    free(p->bound);
    dlx_srv_constraints_give(p->constraint);
    *p = (dlx_srv_plan){0};
}

int32_t *dlx_srv_plan_ids(dlx_srv_take *t, const dlx_srv_engine *e, const json_t *list, const char *param, size_t *n)
{
    *n = json_array_size(list);
    int32_t *ids = malloc((*n + 1) * sizeof *ids);
    if (!ids) dlx_srv_take_fail(t, param, "out of memory reading '%s'", param);
    for (size_t i = 0; !t->failed && i < *n; i++) {
        const json_t *id = json_array_get(list, i);
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        ids[i] = (int32_t)value;
        if (value < 0 || value >= e->facts->vocab_size)
            dlx_srv_take_fail(t, param, "'%s': expected token ids from 0 to %d", param, e->facts->vocab_size - 1);
    }
    if (!t->failed) return ids;
    free(ids);
    return NULL;
}

bool dlx_srv_plan_add(dlx_srv_plan *p, const int32_t *ids, size_t n)
{
    int32_t *copy = malloc((n + 1) * sizeof *copy);
    dlx_srv_prompt *grown = realloc(p->prompts, (p->n_prompts + 1) * sizeof *grown);
    if (grown) p->prompts = grown;
    if (!copy || !grown) {
        free(copy);
        return false;
    }
    if (n) memcpy(copy, ids, n * sizeof *copy);
    p->prompts[p->n_prompts++] = (dlx_srv_prompt){copy, n};
    return true;
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static dlx_status make_options(const dlx_srv_plan *p, int32_t max_new, dlx_decode_options **out, dlx_error *err)
{
    char text[32];
    dlx_status s = dlx_decode_options_create(out, err);
    /* max_tokens is exact, whatever algorithm is named. */
    if (s == DLX_OK) s = dlx_decode_options_set(*out, "published", "false", err);
    for (size_t i = 0; s == DLX_OK && i < p->n_settings; i++)
        s = dlx_decode_options_set(*out, p->settings[i].name, p->settings[i].value, err);
    snprintf(text, sizeof text, "%d", max_new);
    if (s == DLX_OK) s = dlx_decode_options_set(*out, "max_new_tokens", text, err);
    if (s == DLX_OK && p->constraint)
        s = dlx_decode_options_set_constraint(*out, dlx_srv_constraint_of(p->constraint), err);
    if (s == DLX_OK) return s;
    dlx_decode_options_free(*out);
    *out = NULL;
    return s;
}

dlx_status dlx_srv_plan_options(const dlx_srv_plan *p, const dlx_srv_engine *e, size_t n, int k,
                                dlx_decode_options **out, dlx_error *err)
{
    char text[32];
    dlx_status s = make_options(p, dlx_srv_plan_max_new(p, e, n), out, err);
    if (s != DLX_OK) return s;
    snprintf(text, sizeof text, "%lld", (long long)((p->seed & seed_mask) + k));
    return dlx_decode_options_set(*out, "seed", text, err); /* the caller frees them in any case */
}

int32_t dlx_srv_plan_max_new(const dlx_srv_plan *p, const dlx_srv_engine *e, size_t n)
{
    int64_t room = e->facts->max_context - (int64_t)n;
    if (p->max_tokens >= 0) return p->max_tokens;
    return (int32_t)(!e->facts->attn_block && room > DEFAULT_MAX_NEW ? DEFAULT_MAX_NEW : room);
}

static dlx_status in_force(const dlx_srv_plan *p, const dlx_srv_engine *e, dlx_error *err)
{
    const int32_t prompt = e->facts->mask_id == 0;
    char text[256];
    dlx_decode_options *options;
    dlx_status s = make_options(p, 1, &options, err);
    if (s != DLX_OK) return s;
    s = dlx_decode_option_in_force(e->facts, options, &prompt, 1, "algorithm", text, sizeof text, err);
    dlx_decode_options_free(options);
    return s;
}

/* What the library says of an option, in the request's word for it. */
static void fail_option(dlx_srv_take *t, const char *option, const char *param, const dlx_error *err)
{
    char own[96];
    int n = snprintf(own, sizeof own, "option '%s': ", option);
    bool named = !strncmp(err->message, own, (size_t)n);
    dlx_srv_take_fail(t, param, "'%s': %s", param, err->message + (named ? n : 0));
}

bool dlx_srv_plan_set(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e, const char *option, const char *value,
                      const char *param)
{
    dlx_error err;
    if (t->failed) return false;
    if (p->n_settings == DLX_SRV_MOST_SETTINGS || strlen(value) >= DLX_SRV_SETTING_SIZE) {
        dlx_srv_take_fail(t, param, "'%s': too many decode options, or a value that is too long", param);
        return false;
    }
    dlx_srv_setting *setting = &p->settings[p->n_settings++];
    setting->name = option;
    snprintf(setting->value, sizeof setting->value, "%s", value);
    if (in_force(p, e, &err) == DLX_OK) return true;
    fail_option(t, option, param, &err);
    return false;
}

/* A JSON value in the words of the table of options; false when it has none. */
static bool option_text(const json_t *value, char text[DLX_SRV_SETTING_SIZE])
{
    size_t n = 0;
    switch (json_typeof(value)) {
    case JSON_STRING: snprintf(text, DLX_SRV_SETTING_SIZE, "%s", json_string_value(value)); return true;
    case JSON_TRUE: snprintf(text, DLX_SRV_SETTING_SIZE, "true"); return true;
    case JSON_FALSE: snprintf(text, DLX_SRV_SETTING_SIZE, "false"); return true;
    case JSON_INTEGER:
        snprintf(text, DLX_SRV_SETTING_SIZE, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return true;
    case JSON_REAL: snprintf(text, DLX_SRV_SETTING_SIZE, "%.17g", json_real_value(value)); return true;
    case JSON_ARRAY:
        if (!json_array_size(value) || json_array_size(value) > DLX_MAX_STOP_IDS) return false;
        for (size_t i = 0; i < json_array_size(value); i++) {
            const json_t *id = json_array_get(value, i);
            if (!json_is_integer(id)) return false;
            n += (size_t)snprintf(text + n, DLX_SRV_SETTING_SIZE - n, "%s%" JSON_INTEGER_FORMAT, i ? "," : "",
                                  json_integer_value(id));
            if (n >= DLX_SRV_SETTING_SIZE) return false;
        }
        return true;
    default: return false;
    }
}

/* The name of a decode option as the table has it, or NULL: there is none, or the request says it in another way. */
static const char *option_name(const char *name)
{
    static const char *const own[] = {"n_cached", "max_new_tokens", "gen_length", "seed", "published"};
    dlx_option_info info = {.struct_size = sizeof info};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strcmp(own[i], name)) return NULL;
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++)
        if (!strcmp(info.name, name)) return info.name;
    return NULL;
}

static void take_diffusion(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e)
{
    json_t *object = dlx_srv_take_kind(t, "diffusion", JSON_OBJECT, "an object"), *value;
    static const char *const first[] = {"algorithm", "preset"}; /* they decide which others there are */
    const char *name;
    char text[DLX_SRV_SETTING_SIZE], param[96];
    if (!object) return;
    for (size_t round = 0; round < 3; round++) json_object_foreach(object, name, value)
        {
            size_t own = 0;
            while (own < 2 && strcmp(name, first[own]) != 0) own++;
            if (own != round || t->failed) continue;
            snprintf(param, sizeof param, "diffusion.%.64s", name);
            const char *option = option_name(name);
            if (!strcmp(name, "steps") && json_is_boolean(value))
                p->steps = json_is_true(value);
            else if (!option)
                dlx_srv_take_fail(t, param, "there is no decode option '%.64s' for a request to set; /props lists them",
                                  name);
            else if (!option_text(value, text))
                dlx_srv_take_fail(t, param, "'%s': expected a string, a number, true, false or a list of ids", param);
            else
                dlx_srv_plan_set(p, t, e, option, text, param);
        }
    json_decref(object);
}

/* ---- what OpenAI's endpoints have in common ---------------------------------------------------------------------- */

static void take_stop(dlx_srv_plan *p, dlx_srv_take *t)
{
    json_t *stop = dlx_srv_take_any(t, "stop");
    if (!stop || (json_is_string(stop) && !json_string_length(stop))) {
        json_decref(stop);
        return;
    }
    size_t n = json_is_array(stop) ? json_array_size(stop) : 1;
    p->stop = calloc(n + 1, sizeof *p->stop);
    if (n > DLX_SRV_MOST_STOPS)
        dlx_srv_take_fail(t, "stop", "'stop': at most %d strings, not %zu", DLX_SRV_MOST_STOPS, n);
    for (size_t i = 0; p->stop && !t->failed && i < n; i++) {
        const char *text = json_string_value(json_is_array(stop) ? json_array_get(stop, i) : stop);
        if (!text || !*text) dlx_srv_take_fail(t, "stop", "'stop': expected a string, or a list of them, none empty");
        if (!text || !*text) break;
        p->stop[i] = strdup(text);
        if (!p->stop[i]) break;
        p->n_stop++;
    }
    if (p->n_stop < n) dlx_srv_take_fail(t, "stop", "out of memory reading 'stop'");
    json_decref(stop);
}

static void take_bias(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e)
{
    json_t *object = dlx_srv_take_kind(t, "logit_bias", JSON_OBJECT, "an object of token ids and numbers"), *value;
    const char *name;
    size_t n = json_object_size(object);
    if (!object || !n) {
        json_decref(object);
        return;
    }
    p->bias = n <= DLX_SRV_MOST_BIASES ? calloc(n, sizeof *p->bias) : NULL;
    if (!p->bias) dlx_srv_take_fail(t, "logit_bias", "'logit_bias': at most %d tokens", DLX_SRV_MOST_BIASES);
    json_object_foreach(object, name, value)
    {
        char *end;
        long id = strtol(name, &end, 10);
        double add = json_number_value(value);
        bool fine = *name && !*end && id >= 0 && id < e->facts->vocab_size && json_is_number(value) && add >= -100 &&
                    add <= 100;
        if (!fine)
            dlx_srv_take_fail(t, "logit_bias", "'logit_bias': expected ids from 0 to %d with numbers from -100 to 100",
                              e->facts->vocab_size - 1);
        if (t->failed) break;
        p->bias[p->n_bias++] = (dlx_srv_bias){(int32_t)id, (float)add};
    }
    json_decref(object);
}

/* Parameters whose one value means that they are not used, as clients send it. */
static void refuse_unless(dlx_srv_take *t, const char *name, double nothing, const char *why)
{
    double value;
    if (dlx_srv_take_number(t, name, -1e300, 1e300, &value) && value != nothing)
        dlx_srv_take_fail(t, name, "'%s': only %g is supported: %s", name, nothing, why);
}

/* What an answer may be made of. */
static void take_modalities(dlx_srv_take *t)
{
    json_t *list = dlx_srv_take_kind(t, "modalities", JSON_ARRAY, "a list");
    const char *only = json_string_value(json_array_get(list, 0));
    if (json_array_size(list) && (json_array_size(list) != 1 || !only || strcmp(only, "text") != 0))
        dlx_srv_take_fail(t, "modalities", "'modalities': only [\"text\"] is supported");
    json_decref(list);
}

static void take_sampling(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e)
{
    char text[32];
    double number;
    int64_t whole;
    if (dlx_srv_take_number(t, "temperature", 0, 2, &number) && number > 0) {
        snprintf(text, sizeof text, "%.9g", number);
        dlx_srv_plan_set(p, t, e, "temperature", text, "temperature");
    }
    if (dlx_srv_take_number(t, "top_p", 0, 1, &number) && number < 1) {
        snprintf(text, sizeof text, "%.9g", number);
        dlx_srv_plan_set(p, t, e, "top_p", text, "top_p");
    }
    if (dlx_srv_take_int(t, "top_k", -1, 1 << 24, &whole) && whole > 0) {
        snprintf(text, sizeof text, "%lld", (long long)whole);
        dlx_srv_plan_set(p, t, e, "top_k", text, "top_k");
    }
    if (dlx_srv_take_number(t, "repetition_penalty", 0.01, 100, &number) && number != 1) {
        snprintf(text, sizeof text, "%.9g", number);
        dlx_srv_plan_set(p, t, e, "repetition_penalty", text, "repetition_penalty");
    }
    p->has_seed = dlx_srv_take_int(t, "seed", INT64_MIN, INT64_MAX, &p->seed);
    refuse_unless(t, "presence_penalty", 0, "tokens of an answer are not chosen one after the other");
    refuse_unless(t, "frequency_penalty", 0, "tokens of an answer are not chosen one after the other");
    refuse_unless(t, "min_p", 0, "the decoders have top_k and top_p");
}

static void take_stream(dlx_srv_plan *p, dlx_srv_take *t)
{
    bool diffusing = false;
    char *mode = NULL;
    dlx_srv_take_bool(t, "stream", &p->stream);
    json_t *options = dlx_srv_take_kind(t, "stream_options", JSON_OBJECT, "an object");
    if (options) {
        p->include_usage = json_is_true(json_object_get(options, "include_usage"));
        if (!p->stream && p->include_usage)
            dlx_srv_take_fail(t, "stream_options", "'stream_options' is for answers with 'stream': true");
        json_decref(options);
    }
    if (dlx_srv_take_bool(t, "diffusing", &diffusing) && diffusing) p->steps = true;
    if (dlx_srv_take_text(t, "stream_mode", &mode)) {
        if (!strcmp(mode, "denoise"))
            p->steps = true;
        else if (strcmp(mode, "block_append") != 0)
            dlx_srv_take_fail(t, "stream_mode", "'stream_mode': expected block_append or denoise");
        free(mode);
    }
    if (p->steps && !p->stream)
        dlx_srv_take_fail(t, "diffusion.steps", "the passes of an answer are told with 'stream': true");
}

void dlx_srv_plan_take(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e, const char *const *max_names)
{
    int64_t n, max;
    p->n = 1;
    p->max_tokens = -1;
    p->top_logprobs = -1;
    take_diffusion(p, t, e);
    for (; *max_names; max_names++)
        if (dlx_srv_take_int(t, *max_names, 1, 1 << 24, &max) && p->max_tokens < 0) {
            p->max_tokens = (int32_t)max;
            p->max_param = *max_names;
        }
    if (dlx_srv_take_int(t, "n", 1, DLX_SRV_MOST_CHOICES, &n)) p->n = (int)n;
    if (dlx_srv_take_int(t, "best_of", 1, DLX_SRV_MOST_CHOICES, &n) && n != p->n)
        dlx_srv_take_fail(t, "best_of", "'best_of': only the value of 'n' is supported: answers are not ranked");
    take_sampling(p, t, e);
    take_stop(p, t);
    take_bias(p, t, e);
    dlx_srv_format_take(p, t);
    take_stream(p, t);
    take_modalities(t);
    dlx_srv_take_idle(t, "functions", "");
    dlx_srv_take_idle(t, "function_call", "none auto");
    dlx_srv_take_idle(t, "verbosity", "medium");
    dlx_srv_take_harmless(t, "model user metadata store service_tier safety_identifier prompt_cache_key "
                             "prompt_cache_retention cache_prompt timings_per_token id_slot request_id priority");
}

/* ---- what the model can do --------------------------------------------------------------------------------------- */

/* In the place of the model: whoever calls it has found nothing wrong. */
static dlx_status before_the_first_pass(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    (void)ctx;
    (void)call;
    return dlx_srv_fail(err, DLX_E_CANCELLED, "the decode would begin");
}

/* Where each pass chooses all tokens of an answer, it has a table of them and the constraint's states. */
static void check_places(dlx_srv_take *t, const dlx_srv_plan *p, const dlx_srv_engine *e, int32_t max_new)
{
    dlx_constraint_info info = {.struct_size = sizeof info};
    if (e->facts->attn_block || dlx_constraint_get_info(dlx_srv_constraint_of(p->constraint), &info, NULL) != DLX_OK ||
        info.states * max_new <= DLX_SRV_MOST_PLACES)
        return;
    dlx_srv_take_fail(
        t, p->bound_param,
        "'%s': %lld states and an answer of %d tokens are too much together; give a smaller constraint, or "
        "fewer tokens",
        p->bound_param, (long long)info.states, max_new);
}

/* Whether an answer of that length can be what it is bound to. */
static void check_bound(dlx_srv_take *t, const dlx_srv_plan *p, const dlx_srv_engine *e, const dlx_srv_prompt *prompt,
                        const dlx_decode_options *options)
{
    dlx_generation *none;
    dlx_error err;
    dlx_status s =
        dlx_generate(e->facts, before_the_first_pass, NULL, options, prompt->ids, prompt->n, NULL, NULL, &none, &err);
    if (s == DLX_E_LIMIT)
        fail_option(t, "max_new_tokens", p->max_param ? p->max_param : p->bound_param, &err);
    else if (s == DLX_E_NOMEM)
        dlx_srv_take_failure(t, &err, p->bound_param);
    else if (s != DLX_E_CANCELLED && s != DLX_OK)
        dlx_srv_take_fail(t, p->bound_param, "'%s': %s", p->bound_param, err.message);
    dlx_generation_free(none);
}

static bool build_constraint(dlx_srv_plan *p, dlx_srv_take *t, dlx_srv_engine *e)
{
    dlx_error err;
    if (!p->bound) return true;
    if (dlx_srv_constraints_take(&e->constraints, p->language, p->bound, &p->constraint, &err) == DLX_OK) return true;
    dlx_srv_format_tell(p, &err);
    dlx_srv_take_failure(t, &err, p->bound_param);
    return false;
}

bool dlx_srv_plan_check(dlx_srv_plan *p, dlx_srv_take *t, dlx_srv_engine *e, const char *param)
{
    char text[256];
    dlx_error err;
    if (t->failed || !build_constraint(p, t, e)) return false;
    int32_t context = e->facts->max_context;
    const char *many = p->n > 1 ? "n" : param; /* what makes them many */
    if (p->n_prompts * (size_t)p->n > DLX_SRV_MOST_CHOICES)
        dlx_srv_take_fail(t, many, "%zu prompts with %d answers each are more than %d answers", p->n_prompts, p->n,
                          DLX_SRV_MOST_CHOICES);
    else if (p->n_prompts * (size_t)p->n > (size_t)e->seats + (size_t)e->queue)
        dlx_srv_take_fail(t, many,
                          "%zu prompts with %d answers each are more than this server makes and lets wait, %d and %d",
                          p->n_prompts, p->n, e->seats, e->queue);
    for (size_t i = 0; !t->failed && i < p->n_prompts; i++) {
        const dlx_srv_prompt *prompt = &p->prompts[i];
        dlx_decode_options *options;
        if (!prompt->n) {
            dlx_srv_take_fail(t, param, "'%s' has no token; a model continues what is there", param);
            return false;
        }
        int64_t max = p->max_tokens < 0 ? 1 : p->max_tokens;
        if ((int64_t)prompt->n + max > context) {
            t->failed = true;
            dlx_srv_reply_error(
                t->reply, 400, "context_length_exceeded", param,
                "this model's maximum context length is %d tokens; the prompt has %zu, and the answer may "
                "have %lld", /* begun as OpenAI's: clients look for these words */
                context, prompt->n, (long long)max);
            return false;
        }
        dlx_status s = dlx_srv_plan_options(p, e, prompt->n, p->n - 1, &options, &err);
        if (s == DLX_OK)
            s = dlx_decode_option_in_force(e->facts, options, prompt->ids, prompt->n, "algorithm", text, sizeof text,
                                           &err);
        if (s != DLX_OK)
            dlx_srv_take_fail(t, param, "%s", err.message);
        else if (p->constraint)
            check_places(t, p, e, dlx_srv_plan_max_new(p, e, prompt->n));
        if (!t->failed && p->constraint) check_bound(t, p, e, prompt, options);
        dlx_decode_options_free(options);
    }
    return !t->failed;
}
