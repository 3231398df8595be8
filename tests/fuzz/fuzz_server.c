/*
 * Arbitrary bytes as the body of a request: the first byte chooses the endpoint. Bodies are read, checked, rendered by
 * a real chat template and encoded by a real tokenizer, and what answers are bound to is built; whatever would then be
 * decoded finds the queue closed. What comes back is JSON, and an error has OpenAI's shape.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "input.h"
#include "plan.h"
#include "route.h"
#include "scheduler.h"
#include "wait.h"
#include "work.h"

static const char *const paths[] = {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/infill", "/tokenize",
                                    "/detokenize",          "/apply-template"};

/* Opened once: what every body meets is the same. */
static dlx_srv_state *state_of_all(void)
{
    static dlx_srv_state state;
    static dlx_model_facts facts;
    static const dlx_server_options options = {.host = "127.0.0.1", .seats = 1};
    if (state.scheduler) return &state;
    facts = (dlx_model_facts){.struct_size = sizeof facts,
                              .family = DLX_FAMILY_SDAR,
                              .max_context = 192,
                              .max_rows = 64,
                              .attn_block = 4,
                              .block_length = 4,
                              .bos_id = -1,
                              .eos_id = -1,
                              .pad_id = -1};
    require(dlx_tokenizer_open_folder(&state.engine.tokenizer, DLX_FUZZ_CHECKPOINT, NULL) == DLX_OK);
    facts.vocab_size = facts.num_tokens = dlx_tokenizer_size(state.engine.tokenizer);
    facts.mask_id = dlx_tokenizer_mask_id(state.engine.tokenizer);
    facts.num_stop_ids = 1; /* the first id: what is bound has to end */
    state.engine.facts = &facts;
    require(dlx_srv_engine_open_constraints(&state.engine));
    state.engine.name = (char[]){"fuzz"};
    state.options = &options;
    require(dlx_srv_metrics_open(&state.metrics));
    require(pthread_mutex_init(&state.works_lock, NULL) == 0 && dlx_srv_condition(&state.works_news));
    state.scheduler = dlx_srv_scheduler_open(1, 0);
    require(state.scheduler != NULL);
    dlx_srv_scheduler_stop(state.scheduler);
    return &state;
}

static void check(const dlx_srv_reply *reply)
{
    json_t *root = json_loadb(reply->body, reply->n, 0, NULL), *error = json_object_get(root, "error");
    require(json_is_object(root));
    require(reply->status == 200 || reply->status == 400 || reply->status == 503);
    require((reply->status != 200) == json_is_object(error));
    if (error) {
        require(json_string_length(json_object_get(error, "message")) > 0);
        require(json_is_string(json_object_get(error, "type")) && json_object_size(error) == 4);
        require((reply->retry_seconds > 0) == (reply->status == 503));
    }
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    dlx_srv_reply reply = {0};
    size_t which = take_byte(&in) % (sizeof paths / sizeof *paths);
    char *body = malloc(in.left + 1);
    if (!body) return 0;
    if (in.left) memcpy(body, in.at, in.left);
    body[in.left] = '\0';
    const dlx_srv_request request = {
        .state = state_of_all(), .method = "POST", .path = paths[which], .body = body, .n_body = in.left};
    require(dlx_srv_admit(&request, &reply));
    dlx_srv_dispatch(&request, &reply);
    check(&reply);
    dlx_srv_reply_free(&reply);
    free(body);
    return 0;
}
