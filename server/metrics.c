/* Counters, and their text. */
#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool dlx_srv_metrics_open(dlx_srv_metrics *m)
{
    *m = (dlx_srv_metrics){0};
    return pthread_mutex_init(&m->lock, NULL) == 0;
}

void dlx_srv_metrics_close(dlx_srv_metrics *m)
{
    pthread_mutex_destroy(&m->lock);
}

void dlx_srv_metrics_request(dlx_srv_metrics *m, const char *endpoint, int status)
{
    size_t i = 0;
    pthread_mutex_lock(&m->lock);
    while (i < m->n_requests && (m->requests[i].status != status || strcmp(m->requests[i].endpoint, endpoint) != 0))
        i++;
    if (i == m->n_requests && i < DLX_SRV_MOST_SERIES)
        m->requests[m->n_requests++] = (dlx_srv_series){.endpoint = endpoint, .status = status};
    if (i < m->n_requests) m->requests[i].count++;
    pthread_mutex_unlock(&m->lock);
}

void dlx_srv_metrics_answer(dlx_srv_metrics *m, const dlx_srv_counts *c)
{
    pthread_mutex_lock(&m->lock);
    m->answers++;
    m->cancelled += c->cancelled;
    m->prompt_tokens += (uint64_t)c->prompt_tokens;
    m->cached_tokens += (uint64_t)c->cached_tokens;
    m->answer_tokens += (uint64_t)c->answer_tokens;
    m->passes += (uint64_t)c->passes;
    m->rows += (uint64_t)c->rows;
    m->decode_seconds += c->decode_seconds;
    m->waited_seconds += c->waited_seconds;
    if (c->first_text_seconds >= 0) {
        m->first_text_seconds += c->first_text_seconds;
        m->first_texts++;
    }
    pthread_mutex_unlock(&m->lock);
}

void dlx_srv_metrics_refused(dlx_srv_metrics *m)
{
    pthread_mutex_lock(&m->lock);
    m->refused++;
    pthread_mutex_unlock(&m->lock);
}

typedef struct row {
    const char *name, *type, *help;
    double value;
} row;

static void put_rows(FILE *f, const row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(f, "# HELP diffulex_edge_%s %s\n# TYPE diffulex_edge_%s %s\ndiffulex_edge_%s %.17g\n", rows[i].name,
                rows[i].help, rows[i].name, rows[i].type, rows[i].name, rows[i].value);
}

static void put_requests(FILE *f, const dlx_srv_metrics *m)
{
    fprintf(f, "# HELP diffulex_edge_requests_total Requests by endpoint and status.\n"
               "# TYPE diffulex_edge_requests_total counter\n");
    for (size_t i = 0; i < m->n_requests; i++)
        fprintf(f, "diffulex_edge_requests_total{endpoint=\"%s\",status=\"%d\"} %llu\n", m->requests[i].endpoint,
                m->requests[i].status, (unsigned long long)m->requests[i].count);
}

char *dlx_srv_metrics_text(dlx_srv_metrics *m, const dlx_srv_gauges *now, size_t *n)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, n);
    if (!f) return NULL;
    pthread_mutex_lock(&m->lock);
    const row rows[] = {
        {"answers_total", "counter", "Answers that ended.", (double)m->answers},
        {"answers_cancelled_total", "counter", "Answers that a closed connection or the end of the server cut off.",
         (double)m->cancelled},
        {"requests_refused_total", "counter", "Requests that found the queue full.", (double)m->refused},
        {"prompt_tokens_total", "counter", "Tokens of prompts.", (double)m->prompt_tokens},
        {"prompt_tokens_cached_total", "counter", "Tokens of prompts that were not run again.",
         (double)m->cached_tokens},
        {"completion_tokens_total", "counter", "Tokens of answers.", (double)m->answer_tokens},
        {"model_calls_total", "counter", "Model calls of all answers; those made at one time share passes.",
         (double)m->passes},
        {"rows_total", "counter", "Positions computed by them.", (double)m->rows},
        {"passes_total", "counter", "Passes through the model, for all answers that then had a call.",
         (double)now->passes},
        {"passes_shared_total", "counter", "Passes that were for more than one answer.", (double)now->passes_shared},
        {"pass_rows_total", "counter", "Positions computed by passes.", (double)now->pass_rows},
        {"decode_seconds_total", "counter", "Time in seats, summed over answers.", m->decode_seconds},
        {"queue_seconds_total", "counter", "Time in the queue, summed over answers.", m->waited_seconds},
        {"first_text_seconds_sum", "counter", "Time from a request to the first text of an answer, summed.",
         m->first_text_seconds},
        {"first_text_seconds_count", "counter", "Answers that had text.", (double)m->first_texts},
        {"queue_length", "gauge", "Answers that wait for a seat.", (double)now->waiting},
        {"seats_busy", "gauge", "Answers that are being decoded.", (double)now->running},
        {"seats", "gauge", "Answers that are decoded at one time at most.", (double)now->seats},
        {"kept_sequences", "gauge", "Sequences kept for prompts that begin alike.", (double)now->kept},
        {"kept_sequences_dropped_total", "counter", "Kept sequences that had to make room.", (double)now->dropped},
        {"prompts_waited_total", "counter", "Answers that waited for what their prompt had in common with another.",
         (double)now->prompts_waited},
        {"constraints_built_total", "counter", "Constraints that a request built.", (double)now->constraints_built},
        {"constraints_found_total", "counter", "Requests that found their constraint there.",
         (double)now->constraints_found},
        {"constraint_bytes", "gauge", "Memory of constraints.", (double)now->constraint_bytes},
        {"free_positions", "gauge", "Positions that can still be stored.", (double)now->free_positions},
        {"row_budget", "gauge", "Rows of one pass, all sequences together.", (double)now->row_budget},
        {"up_seconds", "gauge", "Since the server listens.", now->up_seconds},
    };
    put_requests(f, m);
    put_rows(f, rows, sizeof rows / sizeof *rows);
    pthread_mutex_unlock(&m->lock);
    if (fclose(f) == 0) return text;
    free(text);
    return NULL;
}
