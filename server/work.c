/* Requests in progress: queueing, waiting, cancelling, and their end. */
#include "work.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "answer.h"
#include "limits.h"
#include "wait.h"

/* ---- lifetime ---------------------------------------------------------------------------------------------------- */

static void link_work(dlx_srv_work *w)
{
    dlx_srv_state *s = w->state;
    pthread_mutex_lock(&s->works_lock);
    w->next = s->running;
    w->link = &s->running;
    if (w->next) w->next->link = &w->next;
    s->running = w;
    pthread_mutex_unlock(&s->works_lock);
}

static void unlink_work(dlx_srv_work *w)
{
    dlx_srv_state *s = w->state;
    pthread_mutex_lock(&s->works_lock);
    *w->link = w->next;
    if (w->next) w->next->link = w->link;
    pthread_cond_broadcast(&s->works_news);
    pthread_mutex_unlock(&s->works_lock);
}

dlx_srv_work *dlx_srv_work_create(dlx_srv_state *state, const dlx_srv_form *form, dlx_srv_plan *plan,
                                  dlx_srv_reply *reply)
{
    dlx_srv_work *w = calloc(1, sizeof *w);
    size_t n = plan->n_prompts * (size_t)plan->n;
    bool lock = false, news = false;
    if (w) {
        w->answers = calloc(n, sizeof *w->answers);
        lock = pthread_mutex_init(&w->lock, NULL) == 0;
        news = dlx_srv_condition(&w->news);
        w->has_outbox = plan->stream && dlx_srv_outbox_open(&w->outbox, DLX_SRV_MOST_OUTBOX);
    }
    if (!w || !w->answers || !lock || !news || w->has_outbox != plan->stream) {
        if (lock) pthread_mutex_destroy(&w->lock);
        if (news) pthread_cond_destroy(&w->news);
        if (w && w->has_outbox) dlx_srv_outbox_close(&w->outbox);
        if (w) free(w->answers);
        free(w);
        dlx_srv_reply_error(reply, 503, NULL, NULL, "out of memory for the request");
        return NULL;
    }
    w->state = state;
    w->form = form;
    w->plan = *plan;
    *plan = (dlx_srv_plan){0};
    w->n_answers = w->left = n;
    w->created = (int64_t)time(NULL);
    w->submitted_ms = dlx_srv_now_ms();
    atomic_init(&w->references, 1);
    dlx_srv_new_id(state, form->prefix, w->id);
    if (!w->plan.has_seed) w->plan.seed = (int64_t)(state->random ^ atomic_load(&state->next_id) * 0x9E3779B97F4A7C15u);
    for (size_t i = 0; i < n; i++)
        dlx_srv_answer_init(&w->answers[i], w, (int)i, &w->plan.prompts[i / (size_t)w->plan.n],
                            (int)(i % (size_t)w->plan.n));
    link_work(w);
    return w;
}

void dlx_srv_work_release(dlx_srv_work *w)
{
    if (atomic_fetch_sub(&w->references, 1) != 1) return;
    for (size_t i = 0; i < w->n_answers; i++) dlx_srv_answer_free(&w->answers[i]);
    if (w->has_outbox) dlx_srv_outbox_close(&w->outbox);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->news);
    dlx_srv_plan_free(&w->plan);
    json_decref(w->extra);
    free(w->answers);
    unlink_work(w);
    free(w);
}

/* ---- the end of answers ------------------------------------------------------------------------------------------ */

/* One answer is there, or never will be. Releases its reference. `ran`: this is the thread of a seat. */
static void ended(dlx_srv_answer *a, bool ran)
{
    dlx_srv_work *w = a->work;
    pthread_mutex_lock(&w->lock);
    bool last = --w->left == 0;
    if (last && w->has_outbox) {
        bool failed = false;
        for (size_t i = 0; i < w->n_answers; i++) failed |= w->answers[i].failed;
        if (!failed) w->form->last(w);
        dlx_srv_outbox_end(&w->outbox);
    }
    pthread_cond_broadcast(&w->news);
    pthread_mutex_unlock(&w->lock);
    /* Whoever does not take what is there in time is cut off. */
    if (last && ran && w->has_outbox) dlx_srv_watch_limit(w->state->watch, w, DLX_SRV_DELIVERY_SECONDS);
    dlx_srv_work_release(w);
}

static void run_answer(dlx_srv_task *task, int seat)
{
    dlx_srv_answer *a = (dlx_srv_answer *)task;
    dlx_srv_answer_run(a, seat);
    ended(a, true);
}

/* Of tasks that never ran: their answers ended without a token. */
static void drop_tasks(dlx_srv_task *list)
{
    while (list) {
        dlx_srv_answer *a = (dlx_srv_answer *)list;
        list = list->next;
        dlx_srv_answer_fail(a, DLX_E_CANCELLED, "the answer was cancelled before it began");
        ended(a, false);
    }
}

void dlx_srv_work_cancel(void *work)
{
    dlx_srv_work *w = work;
    atomic_store(&w->cancelled, true);
    dlx_srv_cache_wake(&w->state->engine.cache);
    drop_tasks(dlx_srv_scheduler_forget(w->state->scheduler, w));
}

void dlx_srv_works_cancel(dlx_srv_state *state)
{
    pthread_mutex_lock(&state->works_lock);
    for (dlx_srv_work *w = state->running; w; w = w->next) atomic_store(&w->cancelled, true);
    pthread_mutex_unlock(&state->works_lock);
    dlx_srv_cache_wake(&state->engine.cache);
    drop_tasks(dlx_srv_scheduler_forget(state->scheduler, NULL));
}

void dlx_srv_works_wait(dlx_srv_state *state)
{
    pthread_mutex_lock(&state->works_lock);
    while (state->running) pthread_cond_wait(&state->works_news, &state->works_lock);
    pthread_mutex_unlock(&state->works_lock);
}

/* ---- answering --------------------------------------------------------------------------------------------------- */

static void refuse(dlx_srv_work *w, dlx_srv_reply *reply)
{
    dlx_srv_load load = dlx_srv_scheduler_load(w->state->scheduler);
    dlx_srv_metrics_refused(&w->state->metrics);
    if (atomic_load(&w->state->stopping))
        dlx_srv_reply_error(reply, 503, "stopping", NULL, "the server is stopping");
    else
        dlx_srv_reply_error(reply, 503, "queue_full", NULL,
                            "%d answers are being made and %zu wait, of at most %zu: try again later", load.running,
                            load.waiting, load.most);
    reply->retry_seconds = DLX_SRV_RETRY_SECONDS;
}

static bool submit(dlx_srv_work *w)
{
    dlx_srv_task **tasks = calloc(w->n_answers, sizeof *tasks);
    if (!tasks) return false;
    for (size_t i = 0; i < w->n_answers; i++) {
        tasks[i] = &w->answers[i].task;
        tasks[i]->group = w;
        tasks[i]->run = run_answer;
    }
    atomic_fetch_add(&w->references, (int)w->n_answers);
    bool queued = dlx_srv_scheduler_submit(w->state->scheduler, tasks, w->n_answers);
    if (!queued) atomic_fetch_sub(&w->references, (int)w->n_answers);
    free(tasks);
    return queued;
}

static void reply_whole(dlx_srv_work *w, dlx_srv_reply *reply)
{
    for (size_t i = 0; i < w->n_answers; i++) {
        const dlx_srv_answer *a = &w->answers[i];
        if (!a->failed) continue;
        if (a->err.status == DLX_E_CANCELLED)
            dlx_srv_reply_error(reply, 503, "stopping", NULL, "the answer was cancelled: the server is stopping");
        else
            dlx_srv_reply_failure(reply, &a->err, NULL);
        return;
    }
    dlx_srv_reply_json(reply, 200, w->form->whole(w));
}

void dlx_srv_work_answer(dlx_srv_work *w, dlx_srv_peer *peer, dlx_srv_reply *reply)
{
    dlx_srv_watch *watch = w->state->watch;
    if (!submit(w)) {
        refuse(w, reply);
        dlx_srv_work_release(w);
        return;
    }
    dlx_srv_peer_on_close(watch, peer, dlx_srv_work_cancel, w);
    if (w->has_outbox) {
        reply->status = 200;
        reply->type = "text/event-stream";
        reply->work = w; /* whoever sends it asks the watch to look away, and releases it */
        return;
    }
    pthread_mutex_lock(&w->lock);
    while (w->left) pthread_cond_wait(&w->news, &w->lock);
    pthread_mutex_unlock(&w->lock);
    dlx_srv_peer_on_close(watch, peer, NULL, NULL);
    reply_whole(w, reply);
    dlx_srv_work_release(w);
}

/* ---- for forms --------------------------------------------------------------------------------------------------- */

void dlx_srv_work_event(dlx_srv_work *w, json_t *value)
{
    /* A reader who lags too far behind gets no more, and needs no more. */
    if (!dlx_srv_outbox_event(&w->outbox, value)) atomic_store(&w->cancelled, true);
}

void dlx_srv_work_done(dlx_srv_work *w, json_t *value)
{
    if (value) {
        json_object_set_new(value, "usage", dlx_srv_work_usage(w));
        json_object_set_new(value, "diffusion", dlx_srv_work_numbers(w));
        dlx_srv_work_event(w, value);
    }
    dlx_srv_outbox_done(&w->outbox);
}

json_t *dlx_srv_work_usage(const dlx_srv_work *w)
{
    int64_t prompt = 0, cached = 0, answer = 0;
    for (size_t i = 0; i < w->n_answers; i++) {
        const dlx_srv_answer *a = &w->answers[i];
        if (a->k == 0) prompt += a->statistics.prompt_tokens; /* several answers to one prompt count it once */
        if (a->k == 0) cached += a->statistics.cached_tokens;
        answer += a->statistics.new_tokens;
    }
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)prompt, "completion_tokens",
                     (json_int_t)answer, "total_tokens", (json_int_t)(prompt + answer), "prompt_tokens_details",
                     "cached_tokens", (json_int_t)cached);
}

json_t *dlx_srv_work_numbers(const dlx_srv_work *w)
{
    int64_t passes = 0, blocks = 0, answer = 0;
    double ms = 0;
    for (size_t i = 0; i < w->n_answers; i++) {
        const dlx_statistics *s = &w->answers[i].statistics;
        passes += s->forwards;
        blocks += s->blocks;
        answer += s->new_tokens;
        ms += s->prefill_ms + s->decode_ms;
    }
    return json_pack("{s:I, s:I, s:f, s:f}", "passes", (json_int_t)passes, "blocks", (json_int_t)blocks,
                     "tokens_per_pass", passes ? (double)answer / (double)passes : 0, "milliseconds", ms);
}

const char *dlx_srv_finish_reason(const dlx_srv_answer *a)
{
    return a->calls && json_array_size(a->calls) && !strcmp(a->finish_reason, "stop") ? "tool_calls" : a->finish_reason;
}

const char *dlx_srv_text_of(const dlx_srv_string_buffer *b)
{
    return b->text ? b->text : "";
}
