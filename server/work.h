/*
 * A request that is being answered: its answers, each a task of the scheduler, and who waits for them. An endpoint
 * gives it a form: how answers are written, whole or in pieces.
 */
#ifndef DLX_SRV_WORK_H
#define DLX_SRV_WORK_H

#include "outbox.h"
#include "plan.h"
#include "scores.h"
#include "split.h"
#include "state.h"

typedef struct dlx_srv_answer dlx_srv_answer;

typedef struct dlx_srv_form {
    const char *prefix; /* of the id */
    /* Of streams; each puts events with dlx_srv_work_event. Those of one work never run at the same time. */
    void (*begin)(dlx_srv_answer *a);
    /* A piece of text, or a whole tool call in the form of OpenAI; `scores` are the tokens that it ends, or NULL.
     * All are borrowed. */
    void (*part)(dlx_srv_answer *a, dlx_srv_part part, const char *text, size_t n, json_t *call, json_t *scores);
    void (*step)(dlx_srv_answer *a, json_t *frame); /* borrowed */
    void (*finish)(dlx_srv_answer *a, json_t *scores);
    void (*last)(dlx_srv_work *w); /* behind all answers */
    json_t *(*whole)(dlx_srv_work *w);
} dlx_srv_form;

typedef struct dlx_srv_string_buffer {
    char *text; /* [n] NUL-terminated; NULL while empty */
    size_t n, capacity;
} dlx_srv_string_buffer;

/* A token of the answer whose score is told. */
typedef struct dlx_srv_token {
    size_t end; /* bytes of the answer's text behind it */
    json_t *value;
} dlx_srv_token;

struct dlx_srv_answer {
    dlx_srv_task task; /* first */
    dlx_srv_work *work;
    int index;
    int k; /* the how manieth answer to the prompt */
    const dlx_srv_prompt *prompt;
    /* what is known */
    dlx_srv_string_buffer content, reasoning;
    json_t *calls;   /* array of tool calls, or NULL */
    json_t *scores;  /* array of scored tokens, or NULL */
    int32_t *filled; /* the prompt without its masks, where the plan says so, or NULL */
    const char *finish_reason;
    dlx_statistics statistics;
    bool failed;
    dlx_error err;
    /* while it runs */
    dlx_srv_split split;
    dlx_srv_scores rows;
    dlx_srv_lease lease;
    json_t **scored; /* [max_new] by position in the answer */
    dlx_text_stream *text_of;
    dlx_srv_token *tokens; /* [n_tokens] known and not told yet, from `told` on */
    size_t n_tokens, told, n_bytes, n_given;
    int32_t max_new, passes;
    int32_t block_length; /* for frames; 0: a pass may change any position */
    int seat;
    bool begun, shared, out_of_memory;
    int64_t taken_ms, first_text_ms;
};

struct dlx_srv_work {
    dlx_srv_state *state;
    const dlx_srv_form *form;
    dlx_srv_plan plan;
    dlx_srv_answer *answers; /* [n_answers] */
    size_t n_answers;
    dlx_srv_id id;
    int64_t created, submitted_ms;
    json_t *extra; /* what the form keeps, or NULL */
    dlx_srv_outbox outbox;
    bool has_outbox;
    atomic_bool cancelled;
    atomic_int references;
    pthread_mutex_t lock; /* the form's functions run with it held */
    pthread_cond_t news;
    size_t left;                /* answers that have not ended */
    dlx_srv_work *next, **link; /* of the state's list */
};

/* Takes over the plan. NULL, and the reply's error, when memory runs out. */
dlx_srv_work *dlx_srv_work_create(dlx_srv_state *state, const dlx_srv_form *form, dlx_srv_plan *plan,
                                  dlx_srv_reply *reply);
void dlx_srv_work_release(dlx_srv_work *w);
/* Queues all answers. What the client gets: the stream, the whole answer, which is waited for, or an error. Releases
 * the caller's reference, or hands it to the reply. */
void dlx_srv_work_answer(dlx_srv_work *w, dlx_srv_peer *peer, dlx_srv_reply *reply);
/* Whoever asked is gone: what waits is forgotten, what runs ends before its next pass. From any thread. */
void dlx_srv_work_cancel(void *work);
/* The same of all requests of a server. */
void dlx_srv_works_cancel(dlx_srv_state *state);
/* Waits until the last one is gone. */
void dlx_srv_works_wait(dlx_srv_state *state);

/* For forms. Takes over the value. */
void dlx_srv_work_event(dlx_srv_work *w, json_t *value);
/* The end of a stream: `value`, which it takes over, as an event with the numbers, unless it is NULL, and "[DONE]". */
void dlx_srv_work_done(dlx_srv_work *w, json_t *value);
/* {prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details}, summed over answers. */
json_t *dlx_srv_work_usage(const dlx_srv_work *w);
/* Passes, blocks, tokens a pass: what a diffusion model's usage has besides. */
json_t *dlx_srv_work_numbers(const dlx_srv_work *w);
/* "tool_calls" where there are calls. */
const char *dlx_srv_finish_reason(const dlx_srv_answer *a);
const char *dlx_srv_text_of(const dlx_srv_string_buffer *b);

#endif
