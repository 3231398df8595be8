/*
 * batch MODEL.pte < PROMPTS: every line is a prompt of its own; up to eight are decoded at one time and share passes,
 * so that weights are read once for all of them. Each thread runs an ordinary decode; the batcher puts their calls
 * together. Answers come in the order of the prompts, and are those that each would get alone.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <diffulex_edge/diffulex_edge.h>

enum { MOST_PROMPTS = 256, THREADS = 8, LONGEST = 4096 };

typedef struct job {
    char *prompt, *answer; /* malloc'd */
    dlx_status status;
    dlx_error error;
} job;

typedef struct batch {
    dlx_model *model;
    dlx_tokenizer *tokenizer; /* immutable: shared by all threads, as is the model */
    dlx_workspace *workspace;
    dlx_batcher *batcher;
    job jobs[MOST_PROMPTS];
    size_t n, next;
    pthread_mutex_t lock; /* of `next` */
} batch;

static dlx_status decode(batch *b, job *j, dlx_error *err)
{
    dlx_chat_message question = {.struct_size = sizeof question, .role = "user", .content = j->prompt};
    dlx_chat_options chat = {.struct_size = sizeof chat, .add_generation_prompt = true};
    dlx_completion_options options = dlx_completion_options_default();
    dlx_completion *completion = NULL;
    dlx_session *session = NULL;
    dlx_seat *seat = NULL;
    int32_t *ids = NULL;
    size_t n, n_text;
    options.tokenizer = b->tokenizer;
    dlx_status s = dlx_chat_encode(b->tokenizer, &question, 1, &chat, &ids, &n, err);
    if (s == DLX_OK) s = dlx_session_open_in(&session, b->workspace, err);
    if (s == DLX_OK) s = dlx_batcher_join(&seat, b->batcher, session, err); /* the others wait for whoever has a seat */
    if (s == DLX_OK)
        s = dlx_complete(dlx_model_get_facts(b->model), dlx_batcher_forward, seat, &options, ids, n, &completion, err);
    dlx_batcher_leave(seat);
    if (s == DLX_OK) {
        const char *text = dlx_completion_text(completion, &n_text);
        j->answer = malloc(n_text + 1);
        if (j->answer) memcpy(j->answer, text, n_text + 1);
    }
    dlx_completion_free(completion);
    dlx_session_close(session);
    dlx_free(ids);
    return s;
}

static void *work(void *ctx)
{
    batch *b = ctx;
    for (;;) {
        pthread_mutex_lock(&b->lock);
        size_t i = b->next < b->n ? b->next++ : b->n;
        pthread_mutex_unlock(&b->lock);
        if (i == b->n) return NULL;
        b->jobs[i].status = decode(b, &b->jobs[i], &b->jobs[i].error);
    }
}

static void read_prompts(batch *b)
{
    char line[LONGEST];
    while (b->n < MOST_PROMPTS && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        b->jobs[b->n].prompt = malloc(strlen(line) + 1);
        if (!b->jobs[b->n].prompt) return;
        strcpy(b->jobs[b->n++].prompt, line);
    }
}

static dlx_status open_all(batch *b, const char *path, dlx_error *err)
{
    dlx_workspace_options options = {.struct_size = sizeof options, .max_sessions = THREADS};
    dlx_status s = dlx_model_open(&b->model, path, NULL, err);
    if (s == DLX_OK) s = dlx_tokenizer_open_pte(&b->tokenizer, path, err);
    if (s == DLX_OK) s = dlx_workspace_open(&b->workspace, b->model, &options, err);
    if (s == DLX_OK) s = dlx_batcher_open(&b->batcher, b->workspace, NULL, err);
    return s;
}

/* A line each; the first status that is no success. */
static dlx_status print_answers(const batch *b)
{
    dlx_status s = DLX_OK;
    for (size_t i = 0; i < b->n; i++) {
        const job *j = &b->jobs[i];
        if (j->status != DLX_OK) fprintf(stderr, "prompt %zu: %s\n", i + 1, j->error.message);
        printf("%s\n", j->answer ? j->answer : "");
        if (s == DLX_OK) s = j->status;
    }
    if (fflush(stdout) == 0 && !ferror(stdout)) return s;
    fprintf(stderr, "the answers could not be written\n");
    return DLX_E_IO;
}

int main(int argc, char **argv)
{
    static batch b = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread[THREADS];
    dlx_error err;
    if (argc != 2) {
        fprintf(stderr, "usage: batch MODEL.pte < PROMPTS\n");
        return 2;
    }
    read_prompts(&b);
    dlx_status s = open_all(&b, argv[1], &err);
    if (s != DLX_OK) fprintf(stderr, "%s\n", err.message);
    size_t started = 0;
    while (s == DLX_OK && started < THREADS && pthread_create(&thread[started], NULL, work, &b) == 0) started++;
    if (s == DLX_OK && !started) work(&b);
    for (size_t i = 0; i < started; i++) pthread_join(thread[i], NULL);
    if (s == DLX_OK) s = print_answers(&b);
    for (size_t i = 0; i < b.n; i++) {
        free(b.jobs[i].prompt);
        free(b.jobs[i].answer);
    }
    dlx_batcher_close(b.batcher);
    dlx_workspace_close(b.workspace);
    dlx_tokenizer_close(b.tokenizer);
    dlx_model_close(b.model);
    return s != DLX_OK;
}
