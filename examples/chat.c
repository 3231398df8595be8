/*
 * chat MODEL.pte [SECONDS]: a conversation, a line a turn. One session is kept, so that what earlier turns stored is
 * not computed again. Ctrl-C, or SECONDS spent on an answer, ends the answer and not the program: callbacks say so.
 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <diffulex_edge/diffulex_edge.h>

enum { MOST_TURNS = 64, LONGEST = 4096 };

typedef struct chat {
    dlx_model *model;
    dlx_session *session;
    dlx_tokenizer *tokenizer;
    dlx_chat_message turn[MOST_TURNS]; /* contents are malloc'd */
    size_t n_turns;
    double seconds, deadline; /* for an answer; seconds below 0: no limit */
} chat;

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool on_text(void *ctx, const char *text, size_t n)
{
    (void)ctx;
    return fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0;
}

/* After every pass of the model: the place to stop. */
static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    const chat *c = ctx;
    (void)step;
    (void)ids;
    (void)n_ids;
    return !interrupted && (c->seconds < 0 || now() < c->deadline);
}

static bool add_turn(chat *c, const char *role, const char *text)
{
    char *copy = c->n_turns < MOST_TURNS ? malloc(strlen(text) + 1) : NULL;
    if (!copy) return false;
    strcpy(copy, text);
    c->turn[c->n_turns++] = (dlx_chat_message){.struct_size = sizeof c->turn[0], .role = role, .content = copy};
    return true;
}

/* The answer to the last turn, printed and added to the conversation. */
static dlx_status answer(chat *c, dlx_error *err)
{
    dlx_chat_options template = {.struct_size = sizeof template, .add_generation_prompt = true};
    dlx_completion_options options = dlx_completion_options_default();
    dlx_statistics statistics = {.struct_size = sizeof statistics};
    dlx_completion *completion = NULL;
    int32_t *prompt = NULL;
    size_t n;
    options.tokenizer = c->tokenizer;
    options.session = c->session; /* what it holds of the prompt is not run again */
    options.on_text = on_text;
    options.on_step = on_step;
    options.step_ctx = c;
    interrupted = 0;
    c->deadline = now() + c->seconds;
    dlx_status s = dlx_chat_encode(c->tokenizer, c->turn, c->n_turns, &template, &prompt, &n, err);
    if (s == DLX_OK)
        s = dlx_complete(dlx_model_get_facts(c->model), dlx_session_forward, c->session, &options, prompt, n,
                         &completion, err);
    dlx_free(prompt);
    if (s != DLX_OK) return s;
    /* A cancelled answer is a success with what was known by then. */
    bool stopped = strcmp(dlx_completion_finish_reason(completion), "cancelled") == 0;
    printf("%s\n", stopped ? " [stopped]" : "");
    if (fflush(stdout) != 0 || ferror(stdout)) {
        dlx_completion_free(completion);
        snprintf(err->message, sizeof err->message, "the answer could not be written");
        return err->status = DLX_E_IO;
    }
    (void)dlx_completion_statistics(completion, &statistics, NULL);
    fprintf(stderr, "prompt of %d tokens, %d of them cached\n", statistics.prompt_tokens, statistics.cached_tokens);
    if (!add_turn(c, "assistant", dlx_completion_text(completion, NULL))) fprintf(stderr, "the conversation is full\n");
    dlx_completion_free(completion);
    return DLX_OK;
}

static dlx_status talk(chat *c, dlx_error *err)
{
    char line[LONGEST];
    dlx_status s = DLX_OK;
    while (s == DLX_OK && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (!add_turn(c, "user", line)) break;
        s = answer(c, err);
    }
    return s;
}

int main(int argc, char **argv)
{
    static chat c;
    dlx_error err;
    if (argc < 2) {
        fprintf(stderr, "usage: chat MODEL.pte [SECONDS]\n");
        return 2;
    }
    c.seconds = argc > 2 ? atof(argv[2]) : -1;
    signal(SIGINT, on_interrupt);
    dlx_status s = dlx_model_open(&c.model, argv[1], NULL, &err);
    if (s == DLX_OK) s = dlx_session_open(&c.session, c.model, 0, 0, &err);
    if (s == DLX_OK) s = dlx_tokenizer_open_pte(&c.tokenizer, argv[1], &err);
    if (s == DLX_OK) s = talk(&c, &err);
    if (s != DLX_OK) fprintf(stderr, "%s\n", err.message);
    for (size_t i = 0; i < c.n_turns; i++) free((void *)c.turn[i].content);
    dlx_tokenizer_close(c.tokenizer);
    dlx_session_close(c.session);
    dlx_model_close(c.model);
    return s != DLX_OK;
}
