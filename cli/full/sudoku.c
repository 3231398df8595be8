/*
 * sudoku: the demonstration. Puzzles are solved by masked diffusion, once with every token accepted that the model is
 * sure of and once with one token a pass; then accuracy and time of both are compared.
 */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "full/board.h"
#include "full/jsonl.h"
#include "output.h"
#include "progress.h"
#include "running.h"

enum { ANSWER_TOKENS = 48, DEFAULT_COUNT = 25, DEFAULT_SHOWN = 3, SHARES_MS = 1600, THRESHOLD_MS = 500 };

/* How tokens are accepted. */
typedef struct rule {
    char name[64];
    const char *threshold; /* NULL: equal shares of `steps` */
    int32_t steps;
    dlx_decode_options *decode;
    size_t solved, asked;
    int64_t passes;
    double ms;
    double begin; /* when the first of its puzzles began that are not drawn; seconds */
} rule;

typedef struct game {
    const dlx_cli_arguments *arguments;
    dlx_cli_running running;
    dlx_cli_questions puzzles;
    rule rules[2];
    size_t n_rules;
    /* the puzzle on the screen */
    dlx_cli_board board;
    bool shown;
    const rule *rule;
    size_t n_prompt;
    int64_t passes;
} game;

/* ---- the screen ------------------------------------------------------------------------------------------------- */

static char character_of(const game *g, int32_t id)
{
    char *text, c = '?';
    size_t n;
    if (dlx_tokenizer_decode(g->running.tokenizer, &id, 1, true, &text, &n, NULL) != DLX_OK) return c;
    if (n == 1 && text[0] >= '0' && text[0] <= '9') c = text[0];
    dlx_free(text);
    return c;
}

static int64_t frame_ms(const game *g)
{
    return dlx_cli_int(g->arguments, "delay", g->rule->threshold ? THRESHOLD_MS : SHARES_MS / g->rule->steps);
}

static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    game *g = ctx;
    char caption[80];
    size_t known = 0;
    g->passes++;
    if (g->shown && g->board.live) {
        for (size_t i = 0; i < step->n_accepted; i++) {
            int cell = dlx_cli_board_cell((size_t)step->accepted[i].position - g->n_prompt);
            if (cell < 0) continue;
            g->board.digit[cell] = character_of(g, step->accepted[i].id);
            g->board.confidence[cell] = step->accepted[i].confidence;
        }
        for (size_t i = g->n_prompt; i < n_ids; i++) known += ids[i] != g->running.facts->mask_id;
        snprintf(caption, sizeof caption, "  pass %lld, %zu of %d tokens known", (long long)g->passes, known,
                 ANSWER_TOKENS);
        dlx_cli_board_draw(&g->board, false, caption);
        dlx_cli_wait_ms(frame_ms(g));
    }
    return !dlx_cli_interrupted() && !dlx_cli_output_error();
}

static void show_first(game *g, size_t place)
{
    printf("puzzle %zu of %zu, %zu clues, %s\n", place + 1, g->puzzles.n, dlx_cli_board_clues(&g->board),
           g->rule->name);
    dlx_cli_board_draw(&g->board, false, "");
    if (g->board.live) dlx_cli_wait_ms(frame_ms(g));
}

static void show_last(game *g, const dlx_completion *completion, bool solved, const dlx_statistics *s)
{
    char caption[120];
    dlx_step step = {.struct_size = sizeof step};
    const dlx_generation *generation = dlx_completion_generation(completion);
    for (size_t i = 0; dlx_generation_step(generation, i, &step); i++)
        for (size_t k = 0; k < step.n_accepted; k++) {
            int cell = dlx_cli_board_cell((size_t)step.accepted[k].position - g->n_prompt);
            if (cell < 0) continue;
            g->board.digit[cell] = character_of(g, step.accepted[k].id);
            g->board.confidence[cell] = step.accepted[k].confidence;
        }
    snprintf(caption, sizeof caption, "  %s: %d pass%s, %.1f ms", solved ? "solved" : "not solved", s->forwards,
             s->forwards == 1 ? "" : "es", s->prefill_ms + s->decode_ms);
    dlx_cli_board_draw(&g->board, true, caption);
    printf("\n");
}

/* ---- solving ---------------------------------------------------------------------------------------------------- */

static dlx_status set_board(game *g, size_t place, dlx_error *err)
{
    const dlx_cli_question *q = &g->puzzles.list[place];
    if (q->prompt && dlx_cli_board_set(&g->board, q->prompt, q->answer)) return DLX_OK;
    return dlx_cli_error(err, DLX_E_FORMAT,
                         "puzzle %zu is no 6x6 Sudoku: expected the prompt \"Solve\", six rows of six characters 1-6 "
                         "or '.', and an answer of six rows",
                         place + 1);
}

static dlx_status solve(game *g, rule *r, size_t place, bool shown, dlx_error *err)
{
    const dlx_cli_question *q = &g->puzzles.list[place];
    dlx_statistics s = {.struct_size = sizeof s};
    dlx_completion_options options = dlx_completion_options_default();
    dlx_completion *completion;
    int32_t *ids;
    dlx_status status = set_board(g, place, err);
    if (status == DLX_OK)
        status = dlx_tokenizer_encode(g->running.tokenizer, q->prompt, strlen(q->prompt), DLX_ENCODE_PLAIN, &ids,
                                      &g->n_prompt, err);
    if (status != DLX_OK) return status;
    g->rule = r;
    g->shown = shown;
    g->passes = 0;
    if (shown) show_first(g, place);
    options.decode = r->decode;
    options.tokenizer = g->running.tokenizer;
    options.on_step = on_step;
    options.step_ctx = g;
    dlx_session_truncate(g->running.session, 0);
    status = dlx_complete(g->running.facts, dlx_session_forward, g->running.session, &options, ids, g->n_prompt,
                          &completion, err);
    dlx_free(ids);
    if (status != DLX_OK) return status;
    (void)dlx_completion_statistics(completion, &s, NULL);
    bool solved = !strcmp(dlx_completion_text(completion, NULL), q->answer);
    if (shown) show_last(g, completion, solved, &s);
    if (strcmp(dlx_completion_finish_reason(completion), "cancelled") != 0) {
        r->asked++;
        r->solved += solved;
        r->passes += s.forwards;
        r->ms += s.prefill_ms + s.decode_ms;
    }
    dlx_completion_free(completion);
    return DLX_OK;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* Of this rule, `done` of the puzzles that are not drawn having been solved. */
static void put_progress(const game *g, const rule *r, size_t done, size_t left)
{
    double eta = ratio(dlx_cli_seconds() - r->begin, (double)done) * (double)left;
    dlx_cli_progress(left == 0, "%s: %zu of %zu puzzles, %.1f %% solved, %.1f ms each, %.0f s left", r->name, r->asked,
                     g->puzzles.n, 100 * ratio((double)r->solved, (double)r->asked), ratio(r->ms, (double)r->asked),
                     eta);
}

static dlx_status solve_all(game *g, dlx_error *err)
{
    bool json = dlx_cli_flag(g->arguments, "json", false);
    size_t shown = json ? 0 : (size_t)dlx_cli_int(g->arguments, "show", DEFAULT_SHOWN);
    dlx_status s = DLX_OK;
    for (size_t k = 0; k < g->n_rules; k++) {
        rule *r = &g->rules[k];
        for (size_t i = 0; s == DLX_OK && i < g->puzzles.n && !dlx_cli_interrupted() && !dlx_cli_output_error(); i++) {
            if (i == shown) r->begin = dlx_cli_seconds();
            s = solve(g, r, i, i < shown, err);
            if (i >= shown) put_progress(g, r, i + 1 - shown, g->puzzles.n - i - 1);
        }
    }
    dlx_cli_progress_end();
    return s;
}

/* ---- the summary ------------------------------------------------------------------------------------------------ */

/* After an interrupt there are rules that no puzzle was finished with: they have no row. */
static void put_summary(const game *g)
{
    size_t ran = 0;
    for (size_t k = 0; k < g->n_rules; k++) ran += g->rules[k].asked > 0;
    if (dlx_cli_interrupted())
        dlx_cli_message(ran ? "stopped; what was finished:" : "stopped before the first puzzle was finished");
    if (!ran) return;
    printf("%-20s %7s %7s %8s %7s %12s %10s\n", "rule", "puzzles", "solved", "exact", "passes", "tokens/pass",
           "ms/puzzle");
    for (size_t k = 0; k < g->n_rules; k++) {
        const rule *r = &g->rules[k];
        double n = (double)r->asked;
        if (!r->asked) continue;
        printf("%-20s %7zu %7zu %6.1f %% %7.2f %12.2f %10.1f\n", r->name, r->asked, r->solved,
               100 * ratio((double)r->solved, n), ratio((double)r->passes, n),
               ratio(ANSWER_TOKENS * n, (double)r->passes), ratio(r->ms, n));
    }
}

static void put_json(const game *g)
{
    dlx_cli_json j = {.out = stdout};
    dlx_cli_json_open(&j, NULL, '{');
    dlx_cli_json_text(&j, "kernels", dlx_model_kernels(g->running.model));
    dlx_cli_json_open(&j, "rules", '[');
    for (size_t k = 0; k < g->n_rules; k++) {
        const rule *r = &g->rules[k];
        double n = (double)r->asked;
        if (!r->asked) continue;
        dlx_cli_json_open(&j, NULL, '{');
        dlx_cli_json_text(&j, "rule", r->name);
        dlx_cli_json_int(&j, "puzzles", (int64_t)r->asked);
        dlx_cli_json_int(&j, "solved", (int64_t)r->solved);
        dlx_cli_json_number(&j, "accuracy", ratio((double)r->solved, n), 6);
        dlx_cli_json_number(&j, "passes_per_puzzle", ratio((double)r->passes, n), 6);
        dlx_cli_json_number(&j, "tokens_per_pass", ratio(ANSWER_TOKENS * n, (double)r->passes), 6);
        dlx_cli_json_number(&j, "ms_per_puzzle", ratio(r->ms, n), 6);
        dlx_cli_json_close(&j, '}');
    }
    dlx_cli_json_close(&j, ']');
    dlx_cli_json_close(&j, '}');
    printf("\n");
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

static dlx_status add_rule(game *g, int32_t steps, const char *threshold, dlx_error *err)
{
    rule *r = &g->rules[g->n_rules++];
    char text[32];
    dlx_status s = dlx_decode_options_create(&r->decode, err);
    r->steps = steps;
    r->threshold = threshold;
    if (threshold)
        snprintf(r->name, sizeof r->name, "threshold %.40s", threshold);
    else if (steps == ANSWER_TOKENS)
        snprintf(r->name, sizeof r->name, "one token a pass");
    else
        snprintf(r->name, sizeof r->name, "%d passes", steps);
    snprintf(text, sizeof text, "%d", steps);
    const char *const given[][2] = {
        {"algorithm", threshold ? "llada.generate_fast" : "llada.generate"},
        {"gen_length", "48"},
        {"block_length", "48"},
        {"steps", text},
        {threshold ? "threshold" : "remasking", threshold ? threshold : "low_confidence"},
    };
    for (size_t i = 0; s == DLX_OK && i < sizeof given / sizeof *given; i++)
        s = dlx_decode_options_set(r->decode, given[i][0], given[i][1], err);
    return s;
}

static dlx_status add_rules(game *g, dlx_error *err)
{
    const char *threshold = dlx_cli_text(g->arguments, "threshold");
    bool steps = dlx_cli_text(g->arguments, "steps");
    dlx_status s = DLX_OK;
    /* The fast one first: who watches sees it at once, and an interrupt leaves its numbers. */
    if (threshold || !steps) s = add_rule(g, ANSWER_TOKENS, threshold ? threshold : "0.99", err);
    if (s == DLX_OK && (steps || !threshold))
        s = add_rule(g, (int32_t)dlx_cli_int(g->arguments, "steps", ANSWER_TOKENS), NULL, err);
    return s;
}

static int play(game *g)
{
    dlx_error err;
    dlx_cli_board_screen(&g->board);
    dlx_cli_catch_interrupts();
    if (solve_all(g, &err) != DLX_OK) return dlx_cli_fail(&err);
    if (dlx_cli_flag(g->arguments, "json", false))
        put_json(g);
    else
        put_summary(g);
    return dlx_cli_interrupted() ? DLX_CLI_INTERRUPTED : DLX_CLI_OK;
}

/* Before weights are read: puzzles and rules. */
static int prepare(game *g)
{
    dlx_error err;
    dlx_status s = add_rules(g, &err);
    for (size_t i = 0; s == DLX_OK && i < g->puzzles.n; i++) s = set_board(g, i, &err);
    return s == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
}

/* The same: a program that cannot be decoded by these rules. */
static int check_rules(game *g)
{
    dlx_error err;
    dlx_cli_plan plan;
    int32_t *ids;
    size_t n;
    const char *prompt = g->puzzles.list[0].prompt;
    dlx_status s = dlx_tokenizer_encode(g->running.tokenizer, prompt, strlen(prompt), DLX_ENCODE_PLAIN, &ids, &n, &err);
    if (s != DLX_OK) return dlx_cli_fail(&err);
    for (size_t k = 0; s == DLX_OK && k < g->n_rules; k++)
        s = dlx_cli_plan_make(&plan, g->running.facts, g->rules[k].decode, ids, n, &err);
    dlx_free(ids);
    return s == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
}

static int run(const dlx_cli_arguments *a)
{
    game g = {.arguments = a};
    dlx_error err;
    int next, status = DLX_CLI_OK;
    const char *path = dlx_cli_pte_path(a, &next);
    if (!path) return DLX_CLI_USAGE;
    if (a->n_positional != next + 1) return dlx_cli_usage(a->command, "sudoku needs a .pte and a file of puzzles");
    bool all = dlx_cli_flag(a, "all", false);
    if (all && dlx_cli_text(a, "count")) return dlx_cli_usage(a->command, "--all and --count cannot be combined");
    size_t most = all ? 0 : (size_t)dlx_cli_int(a, "count", DEFAULT_COUNT);
    if (dlx_cli_questions_read(&g.puzzles, a->positional[next], most, &err) != DLX_OK) status = dlx_cli_fail(&err);
    if (status == DLX_CLI_OK) status = prepare(&g);
    if (status == DLX_CLI_OK) status = dlx_cli_running_open(&g.running, a, path, true);
    if (status == DLX_CLI_OK) status = check_rules(&g);
    if (status == DLX_CLI_OK) status = dlx_cli_running_load(&g.running, a, path);
    if (status == DLX_CLI_OK) status = play(&g);
    for (size_t k = 0; k < g.n_rules; k++) dlx_decode_options_free(g.rules[k].decode);
    dlx_cli_running_close(&g.running);
    dlx_cli_questions_free(&g.puzzles);
    return status;
}

static const dlx_cli_option options[] = {
    DLX_CLI_RUN_OPTIONS,
    {"count", DLX_CLI_INT, "N", "puzzles to solve (default 25)", 1, INT32_MAX},
    {"all", DLX_CLI_FLAG, NULL, "solve all puzzles of the file", 0, 0},
    {"show", DLX_CLI_INT, "N", "puzzles to draw (default 3)", 0, INT32_MAX},
    {"delay", DLX_CLI_INT, "MS", "pause after every pass that is drawn on a terminal", 0, 60000},
    {"steps", DLX_CLI_INT, "K", "passes a puzzle; 48 is one token a pass", 1, ANSWER_TOKENS},
    {"threshold", DLX_CLI_TEXT, "X", "accept every token surer than this", 0, 0},
    {"json", DLX_CLI_FLAG, NULL, "one JSON object, nothing is drawn", 0, 0},
};

const dlx_cli_command dlx_cli_sudoku = {
    .name = "sudoku",
    .arguments = "FILE PUZZLES",
    .summary = "solves held-out 6x6 Sudoku puzzles on the screen with the demonstration model",
    .notes = "Without --steps and --threshold both are compared: threshold 0.99, and one token a pass. PUZZLES is "
             "demo/sudoku6-llada/eval/heldout.jsonl. Digits are coloured by confidence: red below 0.5, yellow below "
             "0.8, cyan below 0.95, green above; wrong ones are marked.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 1,
    .most = 2,
    .run = run,
};
