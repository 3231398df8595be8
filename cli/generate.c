/* generate: a prompt is decoded with any algorithm; text as it becomes final, or one JSON object. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "progress.h"
#include "prompt.h"
#include "running.h"
#include "visual.h"

typedef struct printing {
    bool stream;    /* text goes out as it becomes final */
    bool steps;     /* one JSON line a pass */
    bool line_open; /* text was printed and its last character is no line end */
    int64_t passes;
    dlx_cli_decoding progress;
    dlx_cli_visual *view; /* NULL: none */
} printing;

static void put_answer(printing *p, const char *text, size_t n)
{
    if (!n) return;
    dlx_cli_put_text(stdout, text, n);
    p->line_open = text[n - 1] != '\n';
}

static bool on_text(void *ctx, const char *text, size_t n)
{
    printing *p = ctx;
    if (n && dlx_cli_is_terminal(stdout)) {
        dlx_cli_progress_end();
        p->progress.hidden = true; /* nothing overwrites what was printed */
    }
    put_answer(p, text, n);
    return dlx_cli_flush() && !dlx_cli_interrupted();
}

static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    printing *p = ctx;
    p->passes++;
    if (p->view)
        dlx_cli_visual_step(p->view, step, ids, n_ids);
    else
        dlx_cli_decoding_step(&p->progress, ids, n_ids);
    if (p->steps) {
        dlx_cli_json j = {.out = stdout};
        dlx_cli_json_open(&j, NULL, '{');
        dlx_cli_json_int(&j, "pass", p->passes);
        dlx_cli_json_step(&j, step);
        dlx_cli_json_close(&j, '}');
        fputc('\n', stdout);
        if (!dlx_cli_flush()) return false;
    }
    return !dlx_cli_interrupted();
}

static void put_ids(const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) printf("%s%d", i ? "," : "", ids[i]);
    printf("\n");
}

static void put_json(const dlx_cli_arguments *a, const dlx_cli_running *r, const int32_t *prompt, size_t n_prompt,
                     const dlx_completion *completion)
{
    const dlx_generation *generation = dlx_completion_generation(completion);
    dlx_cli_json j = {.out = stdout};
    size_t n, n_text;
    const int32_t *ids = dlx_generation_output_ids(generation, &n);
    const char *text = dlx_completion_text(completion, &n_text);
    dlx_cli_json_open(&j, NULL, '{');
    dlx_cli_json_ids(&j, "prompt_ids", prompt, n_prompt);
    dlx_cli_json_ids(&j, "output_ids", ids, n);
    ids = dlx_completion_ids(completion, &n);
    dlx_cli_json_ids(&j, "answer_ids", ids, n);
    if (r->tokenizer)
        dlx_cli_json_bytes(&j, "generated_text", text, n_text);
    else
        dlx_cli_json_text(&j, "generated_text", NULL);
    dlx_cli_json_completion(&j, a, r, completion);
    dlx_cli_json_steps(&j, generation);
    dlx_cli_json_close(&j, '}');
    fputc('\n', stdout);
}

static void put_result(const dlx_cli_arguments *a, const dlx_cli_running *r, printing *p, const int32_t *prompt,
                       size_t n_prompt, const dlx_completion *completion)
{
    size_t n;
    if (dlx_cli_flag(a, "json", false) || p->steps) {
        put_json(a, r, prompt, n_prompt, completion);
    } else if (!r->tokenizer) {
        const int32_t *ids = dlx_completion_ids(completion, &n);
        put_ids(ids, n);
    } else {
        const char *text = dlx_completion_text(completion, &n);
        if (!p->stream) put_answer(p, text, n);
        if (p->line_open || !n) printf("\n");
    }
    if (dlx_cli_flag(a, "stats", dlx_cli_is_terminal(stderr) && !dlx_cli_flag(a, "json", false)))
        dlx_cli_put_statistics(completion);
}

static bool draws(const dlx_cli_arguments *a)
{
    return dlx_cli_flag(a, "visual", false) && dlx_cli_visual_possible(stdout);
}

/* Runs the decode with the view, if one was asked for and is possible. */
static dlx_status complete(const dlx_cli_arguments *a, const dlx_cli_running *r, const dlx_completion_options *options,
                           const dlx_cli_plan *plan, printing *p, const int32_t *prompt, dlx_completion **out,
                           dlx_error *err)
{
    dlx_cli_visual view;
    if (draws(a)) {
        dlx_cli_visual_locale();
        if (!dlx_cli_visual_open(&view, stdout, r->tokenizer, plan, (size_t)r->facts->max_context))
            return dlx_cli_error(err, DLX_E_NOMEM, "out of memory drawing");
        view.delay_ms = dlx_cli_int(a, "delay", 0);
        p->view = &view;
        dlx_cli_visual_legend(&view);
    } else {
        dlx_cli_decoding_begin(&p->progress, plan, "");
    }
    dlx_status s = dlx_complete(r->facts, dlx_session_forward, r->session, options, prompt, plan->n_prompt, out, err);
    dlx_cli_progress_end();
    if (p->view) {
        dlx_cli_visual_wipe(&view);
        dlx_cli_visual_close(&view);
        p->view = NULL;
    }
    return s;
}

static int decode(const dlx_cli_arguments *a, dlx_cli_running *r, const dlx_cli_plan *plan, const int32_t *prompt)
{
    printing p = {.steps = dlx_cli_flag(a, "steps-json", false)};
    dlx_error err;
    dlx_completion *completion;
    dlx_completion_options options = dlx_completion_options_default();
    const char **stop;
    if (!dlx_cli_list(a, "stop", &stop, &options.n_stop)) return DLX_CLI_FAILED;
    options.stop = stop;
    p.stream =
        dlx_cli_flag(a, "stream", true) && r->tokenizer && !dlx_cli_flag(a, "json", false) && !p.steps && !draws(a);
    options.decode = a->decode;
    options.tokenizer = r->tokenizer;
    options.keep_special = dlx_cli_flag(a, "keep-special", false);
    options.on_text = p.stream ? on_text : NULL;
    options.text_ctx = options.step_ctx = &p;
    options.on_step = on_step;
    dlx_cli_catch_interrupts();
    dlx_status s = complete(a, r, &options, plan, &p, prompt, &completion, &err);
    free(stop);
    if (s != DLX_OK) {
        if (p.line_open) printf("\n");
        return dlx_cli_fail(&err);
    }
    put_result(a, r, &p, prompt, plan->n_prompt, completion);
    bool cancelled = !strcmp(dlx_completion_finish_reason(completion), "cancelled");
    dlx_completion_free(completion);
    return cancelled ? DLX_CLI_INTERRUPTED : DLX_CLI_OK;
}

/* What is wrong with the command line by itself. */
static int check(const dlx_cli_arguments *a, bool *is_text)
{
    const char **stop;
    size_t n;
    bool empty = false, json = dlx_cli_flag(a, "json", false) || dlx_cli_flag(a, "steps-json", false);
    int status = dlx_cli_prompt_check(a, is_text);
    if (status != DLX_CLI_OK) return status;
    if (json && dlx_cli_flag(a, "visual", false))
        return dlx_cli_usage(a->command, "--visual draws, --json and --steps-json print data; choose one");
    if (dlx_cli_flag(a, "visual", false) && dlx_cli_is_terminal(stdout) && !dlx_cli_visual_possible(stdout))
        dlx_cli_message("--visual draws nothing here: the cursor of this terminal cannot be moved (TERM)");
    if (dlx_cli_text(a, "delay") && !dlx_cli_flag(a, "visual", false))
        return dlx_cli_usage(a->command, "--delay is for --visual");
    if (!dlx_cli_list(a, "stop", &stop, &n)) return DLX_CLI_FAILED;
    for (size_t i = 0; i < n; i++) empty = empty || !*stop[i];
    free(stop);
    return empty ? dlx_cli_usage(a->command, "--stop needs a text: an empty one would end every answer") : DLX_CLI_OK;
}

static int run(const dlx_cli_arguments *a)
{
    int next;
    bool is_text;
    const char *path = dlx_cli_pte_path(a, &next);
    int status = path ? check(a, &is_text) : DLX_CLI_USAGE;
    if (status != DLX_CLI_OK) return status;
    dlx_cli_running r;
    dlx_cli_plan plan;
    dlx_error err;
    int32_t *prompt = NULL;
    size_t n = 0;
    status = dlx_cli_running_open(&r, a, path, is_text || dlx_cli_text(a, "stop") || dlx_cli_flag(a, "visual", false));
    if (status == DLX_CLI_OK && (dlx_cli_prompt_ids(a, r.tokenizer, &prompt, &n, &err) != DLX_OK ||
                                 dlx_cli_plan_make(&plan, r.facts, a->decode, prompt, n, &err) != DLX_OK))
        status = dlx_cli_fail(&err);
    if (status == DLX_CLI_OK) status = dlx_cli_running_load(&r, a, path);
    if (status == DLX_CLI_OK) status = decode(a, &r, &plan, prompt);
    free(prompt);
    dlx_cli_running_close(&r);
    return status;
}

static const dlx_cli_option options[] = {
    DLX_CLI_RUN_OPTIONS,
    DLX_CLI_PROMPT_OPTIONS,
    DLX_CLI_CONSTRAINT_OPTIONS,
    {"stop", DLX_CLI_LIST, "TEXT", "the answer ends before this text; may be given several times", 0, 0},
    {"stream", DLX_CLI_FLAG, NULL, "print text as it becomes final (default); --no-stream: at the end", 0, 0},
    {"keep-special", DLX_CLI_FLAG, NULL, "special tokens appear in the text", 0, 0},
    DLX_CLI_VISUAL_OPTIONS,
    {"stats", DLX_CLI_FLAG, NULL, "numbers on the standard error (default: if that is a terminal)", 0, 0},
    {"json", DLX_CLI_FLAG, NULL, "one JSON object instead of text", 0, 0},
    {"steps-json", DLX_CLI_FLAG, NULL,
     "a line of JSON after every pass, and then the object of --json as the last line", 0, 0},
};

const dlx_cli_command dlx_cli_generate = {
    .name = "generate",
    .arguments = "FILE [PROMPT|-]",
    .summary = "decodes a prompt and prints the answer",
    .examples = "diffulex-edge generate model.pte \"Why is the sky blue?\"\0"
                "diffulex-edge generate model.pte - --max-new-tokens 256 < question.txt\0",
    .first = "prompt max-new-tokens temperature preset visual",
    .notes = "The prompt is an argument, --prompt TEXT, --prompt-file FILE, --token-ids 1,2,3, or the standard input "
             "(-). Algorithm and lengths come from the file's metadata unless they are given. Ctrl-C stops after the "
             "pass that runs and prints what is known.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 64,
    .decodes = true,
    .run = run,
};
