/* eval: exact-match accuracy on held-out questions, and what an answer cost. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "full/jsonl.h"
#include "input.h"
#include "output.h"
#include "progress.h"
#include "prompt.h"
#include "running.h"

typedef struct totals {
    double begin; /* seconds */
    size_t given, asked, right;
    int64_t passes, tokens;
    double ms;
    size_t *wrong; /* [questions] places of wrong answers */
    size_t n_wrong;
} totals;

static bool same_answer(const char *a, size_t n, const char *b)
{
    size_t m = dlx_cli_trimmed(b, strlen(b));
    n = dlx_cli_trimmed(a, n);
    return n == m && !memcmp(a, b, n);
}

static dlx_status encode(const dlx_cli_running *r, const dlx_cli_template *t, const dlx_cli_question *q, int32_t **ids,
                         size_t *n, dlx_error *err)
{
    dlx_chat_options options = t->options;
    options.tools = q->tools;
    if (q->prompt)
        return dlx_tokenizer_encode(r->tokenizer, q->prompt, strlen(q->prompt), DLX_ENCODE_AROUND, ids, n, err);
    return dlx_chat_encode_json(r->tokenizer, q->messages, strlen(q->messages), &options, ids, n, err);
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* What the line on the terminal begins with. */
static void put_place(char *text, size_t size, const totals *t)
{
    double asked = (double)t->asked, each = ratio(dlx_cli_seconds() - t->begin, asked);
    if (!t->asked)
        snprintf(text, size, "question 1 of %zu: ", t->given);
    else
        snprintf(text, size, "%zu of %zu, %.1f %% right, %.0f s left: ", t->asked, t->given,
                 100 * ratio((double)t->right, asked), each * (double)(t->given - t->asked));
}

static dlx_status ask(const dlx_cli_arguments *a, const dlx_cli_running *r, const dlx_cli_template *chat,
                      const dlx_cli_question *q, size_t place, totals *t, dlx_error *err)
{
    int32_t *ids;
    size_t n, length;
    dlx_completion *completion;
    dlx_statistics s = {.struct_size = sizeof s};
    dlx_completion_options options = dlx_completion_options_default();
    dlx_cli_decoding progress;
    dlx_cli_plan plan;
    char what[96];
    dlx_status status = encode(r, chat, q, &ids, &n, err);
    if (status == DLX_OK) status = dlx_cli_plan_make(&plan, r->facts, a->decode, ids, n, err);
    if (status != DLX_OK) return status;
    put_place(what, sizeof what, t);
    dlx_cli_decoding_begin(&progress, &plan, what);
    options.decode = a->decode;
    options.tokenizer = r->tokenizer;
    options.on_step = dlx_cli_decoding_on_step;
    options.step_ctx = &progress;
    dlx_session_truncate(r->session, 0);
    status = dlx_complete(r->facts, dlx_session_forward, r->session, &options, ids, n, &completion, err);
    dlx_free(ids);
    if (status != DLX_OK) return status;
    if (strcmp(dlx_completion_finish_reason(completion), "cancelled") != 0) {
        const char *text = dlx_completion_text(completion, &length);
        bool right = same_answer(text, length, q->answer);
        (void)dlx_completion_statistics(completion, &s, NULL);
        t->asked++;
        t->right += right;
        if (!right) t->wrong[t->n_wrong++] = place;
        t->passes += s.forwards;
        t->tokens += s.new_tokens;
        t->ms += s.prefill_ms + s.decode_ms;
    }
    dlx_completion_free(completion);
    return DLX_OK;
}

static void put_json(const dlx_cli_running *r, const totals *t)
{
    dlx_cli_json j = {.out = stdout};
    dlx_cli_json_open(&j, NULL, '{');
    dlx_cli_json_text(&j, "kernels", dlx_model_kernels(r->model));
    dlx_cli_json_int(&j, "questions", (int64_t)t->asked);
    dlx_cli_json_bool(&j, "interrupted", t->asked < t->given);
    dlx_cli_json_int(&j, "right", (int64_t)t->right);
    dlx_cli_json_number(&j, "accuracy", ratio((double)t->right, (double)t->asked), 6);
    dlx_cli_json_int(&j, "passes", t->passes);
    dlx_cli_json_int(&j, "tokens", t->tokens);
    dlx_cli_json_number(&j, "tokens_per_pass", ratio((double)t->tokens, (double)t->passes), 6);
    dlx_cli_json_number(&j, "ms_per_token", ratio(t->ms, (double)t->tokens), 6);
    dlx_cli_json_number(&j, "ms_per_question", ratio(t->ms, (double)t->asked), 6);
    dlx_cli_json_open(&j, "wrong", '[');
    for (size_t i = 0; i < t->n_wrong; i++) dlx_cli_json_int(&j, NULL, (int64_t)t->wrong[i]);
    dlx_cli_json_close(&j, ']');
    dlx_cli_json_close(&j, '}');
    printf("\n");
}

static void put_text(const totals *t)
{
    if (t->asked < t->given) printf("interrupted      after %zu of %zu questions\n", t->asked, t->given);
    printf("exact answers    %zu of %zu, %.1f %%\n", t->right, t->asked,
           100 * ratio((double)t->right, (double)t->asked));
    printf("tokens per pass  %.2f\n", ratio((double)t->tokens, (double)t->passes));
    printf("ms per token     %.2f\n", ratio(t->ms, (double)t->tokens));
    printf("ms per question  %.1f\n", ratio(t->ms, (double)t->asked));
}

static int ask_all(const dlx_cli_arguments *a, const dlx_cli_running *r, const dlx_cli_template *chat,
                   const dlx_cli_questions *q)
{
    dlx_error err;
    totals t = {.begin = dlx_cli_seconds(), .given = q->n, .wrong = calloc(q->n, sizeof *t.wrong)};
    if (!t.wrong) return dlx_cli_out_of_memory();
    dlx_status s = DLX_OK;
    size_t i = 0;
    dlx_cli_catch_interrupts();
    for (; s == DLX_OK && i < q->n && !dlx_cli_interrupted(); i++) s = ask(a, r, chat, &q->list[i], i, &t, &err);
    dlx_cli_progress_end();
    if (s != DLX_OK)
        dlx_cli_message("question %zu: %s", i, err.message);
    else if (dlx_cli_flag(a, "json", false))
        put_json(r, &t);
    else
        put_text(&t);
    free(t.wrong);
    if (s != DLX_OK) return DLX_CLI_FAILED;
    return dlx_cli_interrupted() ? DLX_CLI_INTERRUPTED : DLX_CLI_OK;
}

/* Before weights are read: a question that cannot be asked. */
static int check_all(const dlx_cli_arguments *a, const dlx_cli_running *r, const dlx_cli_template *chat,
                     const dlx_cli_questions *q)
{
    dlx_error err;
    dlx_cli_plan plan;
    for (size_t i = 0; i < q->n; i++) {
        int32_t *ids = NULL;
        size_t n;
        dlx_status s = encode(r, chat, &q->list[i], &ids, &n, &err);
        if (s == DLX_OK) s = dlx_cli_plan_make(&plan, r->facts, a->decode, ids, n, &err);
        dlx_free(ids);
        if (s == DLX_OK) continue;
        dlx_cli_message("question %zu: %s", i + 1, err.message);
        return DLX_CLI_FAILED;
    }
    return DLX_CLI_OK;
}

static int run(const dlx_cli_arguments *a)
{
    int next;
    const char *path = dlx_cli_pte_path(a, &next);
    if (!path) return DLX_CLI_USAGE;
    if (a->n_positional != next + 1)
        return dlx_cli_usage(a->command, "eval needs a .pte and a file of held-out questions");
    dlx_cli_running r = {0};
    dlx_cli_questions q;
    dlx_cli_template chat;
    dlx_error err;
    int status = dlx_cli_template_read(&chat, a, &err) == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
    if (dlx_cli_questions_read(&q, a->positional[next], (size_t)dlx_cli_int(a, "count", 0), &err) != DLX_OK &&
        status == DLX_CLI_OK)
        status = dlx_cli_fail(&err);
    if (status == DLX_CLI_OK) status = dlx_cli_running_open(&r, a, path, true);
    if (status == DLX_CLI_OK) status = check_all(a, &r, &chat, &q);
    if (status == DLX_CLI_OK) status = dlx_cli_running_load(&r, a, path);
    if (status == DLX_CLI_OK) status = ask_all(a, &r, &chat, &q);
    dlx_cli_running_close(&r);
    dlx_cli_questions_free(&q);
    dlx_cli_template_free(&chat);
    return status;
}

static const dlx_cli_option options[] = {
    DLX_CLI_RUN_OPTIONS,
    DLX_CLI_TEMPLATE_OPTIONS,
    {"count", DLX_CLI_INT, "N", "only the first N questions", 1, INT32_MAX},
    {"json", DLX_CLI_FLAG, NULL, "one JSON object", 0, 0},
};

const dlx_cli_command dlx_cli_eval = {
    .name = "eval",
    .arguments = "FILE QUESTIONS",
    .summary = "exact-match accuracy and cost on held-out questions",
    .notes = "QUESTIONS holds a JSON object a line: a \"prompt\" (taken as it is) or \"messages\" (put into the chat "
             "template), "
             "and the \"answer\". An answer is right when it is the same text, white space at the end aside.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 1,
    .most = 2,
    .decodes = true,
    .run = run,
};
