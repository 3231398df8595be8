/*
 * What a request asks for, checked, in the library's words: prompts as ids, decode options, stop strings, and how the
 * answer is to be told. Nothing of HTTP or JSON is left in it.
 */
#ifndef DLX_SRV_PLAN_H
#define DLX_SRV_PLAN_H

#include <stdint.h>

#include "engine.h"
#include "split.h"
#include "take.h"

enum { DLX_SRV_MOST_SETTINGS = 48, DLX_SRV_SETTING_SIZE = 256 };

typedef struct dlx_srv_setting {
    const char *name; /* of a decode option: static storage */
    char value[DLX_SRV_SETTING_SIZE];
} dlx_srv_setting;

typedef struct dlx_srv_prompt {
    int32_t *ids; /* [n] */
    size_t n;
} dlx_srv_prompt;

typedef struct dlx_srv_bias {
    int32_t id;
    float add;
} dlx_srv_bias;

typedef struct dlx_srv_plan {
    dlx_srv_prompt *prompts; /* [n_prompts] */
    size_t n_prompts;
    int n; /* answers to each */
    dlx_srv_setting settings[DLX_SRV_MOST_SETTINGS];
    size_t n_settings;
    bool has_seed;
    int64_t seed;       /* of the first answer; the next one's is one more */
    int32_t max_tokens; /* -1: not given */
    char **stop;        /* [n_stop] */
    size_t n_stop;
    dlx_srv_bias *bias; /* [n_bias] */
    size_t n_bias;
    int top_logprobs; /* -1: no logprobs; else how many beside the token's own */
    bool stream, include_usage, steps;
    dlx_srv_split_begin begin; /* how an answer begins, and whether it may have calls: see split.h */
    bool tools;
    bool fill;                 /* the prompt has masks, and they are what is asked for */
    dlx_srv_language language; /* of what the answer has to be, */
    char *bound;               /* its text, or NULL: it may be anything, */
    char bound_param[96];      /* and what the request calls it */
    const char *call_path;     /* of a call: from a tool to its parameters; static. NULL: it is none */
    size_t first_call;         /* of a call: the first tool that it may be of */
    const char *max_param;     /* what the request calls max_tokens, where it has it; static */
    dlx_srv_built *constraint; /* made of that; NULL: none */
} dlx_srv_plan;

void dlx_srv_plan_free(dlx_srv_plan *p);

/* Takes what all endpoints that decode have in common, under OpenAI's names, and the extension `diffusion`.
 * `max_names`: the names of the bound on the answer's length, the first that is given counts. */
void dlx_srv_plan_take(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e, const char *const *max_names);
/* The token ids of a list [*n], malloc'd; NULL, with the reply's error on `param`, when it has something else. */
int32_t *dlx_srv_plan_ids(dlx_srv_take *t, const dlx_srv_engine *e, const json_t *list, const char *param, size_t *n);
/* Adds a copy of a prompt. False when memory runs out. */
bool dlx_srv_plan_add(dlx_srv_plan *p, const int32_t *ids, size_t n);
/* Whether the model can do it: options, lengths against the context, and what answers are bound to, which is built
 * here. `param`: what the prompt is called. Fails with
 * the reply's error. */
bool dlx_srv_plan_check(dlx_srv_plan *p, dlx_srv_take *t, dlx_srv_engine *e, const char *param);

/* Sets a decode option; false, with the reply's error on `param`, when the model's decoder does not have it. */
bool dlx_srv_plan_set(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e, const char *option, const char *value,
                      const char *param);

/* The options of answer k of a prompt of n ids; freed with dlx_decode_options_free. */
dlx_status dlx_srv_plan_options(const dlx_srv_plan *p, const dlx_srv_engine *e, size_t n, int k,
                                dlx_decode_options **out, dlx_error *err);
/* Most tokens of an answer to a prompt of n ids. */
int32_t dlx_srv_plan_max_new(const dlx_srv_plan *p, const dlx_srv_engine *e, size_t n);

#endif
