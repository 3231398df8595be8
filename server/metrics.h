/* What the server counts, and Prometheus' text of it. */
#ifndef DLX_SRV_METRICS_H
#define DLX_SRV_METRICS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DLX_SRV_MOST_SERIES = 128 };

typedef struct dlx_srv_series {
    const char *endpoint; /* static */
    int status;
    uint64_t count;
} dlx_srv_series;

typedef struct dlx_srv_metrics {
    pthread_mutex_t lock;
    dlx_srv_series requests[DLX_SRV_MOST_SERIES];
    size_t n_requests;
    uint64_t prompt_tokens, cached_tokens, answer_tokens, passes, rows, answers, cancelled, refused;
    double decode_seconds, waited_seconds, first_text_seconds;
    uint64_t first_texts;
} dlx_srv_metrics;

/* One answer that ended. */
typedef struct dlx_srv_counts {
    int64_t prompt_tokens, cached_tokens, answer_tokens, passes, rows;
    double decode_seconds, waited_seconds, first_text_seconds; /* the last: -1 where there was no text */
    bool cancelled;
} dlx_srv_counts;

bool dlx_srv_metrics_open(dlx_srv_metrics *m);
void dlx_srv_metrics_close(dlx_srv_metrics *m);
void dlx_srv_metrics_request(dlx_srv_metrics *m, const char *endpoint, int status);
void dlx_srv_metrics_answer(dlx_srv_metrics *m, const dlx_srv_counts *c);
void dlx_srv_metrics_refused(dlx_srv_metrics *m);

/* What is true now and not counted. */
typedef struct dlx_srv_gauges {
    size_t waiting, kept;
    int running, seats;
    int32_t free_positions, row_budget;
    uint64_t dropped, prompts_waited;
    double up_seconds;
    int64_t passes, passes_shared, pass_rows; /* of the batcher */
    uint64_t constraints_built, constraints_found;
    int64_t constraint_bytes;
} dlx_srv_gauges;

/* malloc'd; NULL when memory runs out. */
char *dlx_srv_metrics_text(dlx_srv_metrics *m, const dlx_srv_gauges *now, size_t *n);

#endif
