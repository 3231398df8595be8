/* Rows of logits, biased and remembered. */
#include "scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static dlx_status remember(dlx_srv_scores *s, const dlx_forward_call *call, dlx_error *err)
{
    size_t n = (size_t)call->n_rows, vocab = (size_t)s->facts->vocab_size;
    s->n = 0;
    if (n > s->capacity) {
        float *logits = realloc(s->logits, n * vocab * sizeof *logits);
        if (logits) s->logits = logits;
        int32_t *positions = realloc(s->positions, n * sizeof *positions);
        if (positions) s->positions = positions;
        if (!logits || !positions)
            return dlx_srv_fail(err, DLX_E_NOMEM, "out of memory keeping the logits that logprobs need");
        s->capacity = n;
    }
    if (n) memcpy(s->logits, call->logits, n * vocab * sizeof *s->logits);
    for (size_t i = 0; i < n; i++)
        s->positions[i] = call->start + (call->rows ? call->rows[i] : (int32_t)i) + (s->facts->logits_shift ? 1 : 0);
    s->n = n;
    return DLX_OK;
}

dlx_status dlx_srv_scores_forward(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    dlx_srv_scores *s = ctx;
    dlx_forward_call whole = *call; /* rows themselves are wanted, whatever a summary of them would do for */
    whole.summaries = NULL;
    dlx_status status = s->forward(s->ctx, &whole, err);
    if (status != DLX_OK) return status;
    for (int32_t row = 0; s->n_bias && row < call->n_rows; row++) {
        float *logits = call->logits + (size_t)row * (size_t)s->facts->vocab_size;
        for (size_t i = 0; i < s->n_bias; i++) logits[s->bias[i].id] += s->bias[i].add;
    }
    return s->remember && call->n_rows ? remember(s, call, err) : DLX_OK;
}

/* Puts an entry into a list that is sorted by falling logits; ties keep the lower id first. */
static void insert(dlx_srv_score *best, int *n, int top, int32_t id, double logit)
{
    int at = *n;
    if (at == top && logit <= best[top - 1].logprob) return;
    if (at == top) at--;
    while (at > 0 && best[at - 1].logprob < logit) {
        best[at] = best[at - 1];
        at--;
    }
    best[at] = (dlx_srv_score){id, logit};
    if (*n < top) (*n)++;
}

bool dlx_srv_scores_of(const dlx_srv_scores *s, int32_t position, int32_t id, double *logprob, dlx_srv_score *best,
                       int top)
{
    size_t row = 0;
    while (row < s->n && s->positions[row] != position) row++;
    if (row == s->n) return false;
    /* Rows that only pad the table are never chosen, so they have no share. */
    int32_t tokens = s->facts->num_tokens ? s->facts->num_tokens : s->facts->vocab_size;
    const float *logits = s->logits + row * (size_t)s->facts->vocab_size;
    double most = (double)logits[0], sum = 0;
    int n = 0;
    for (int32_t i = 1; i < tokens; i++)
        if ((double)logits[i] > most) most = (double)logits[i];
    for (int32_t i = 0; i < tokens; i++) sum += exp((double)logits[i] - most);
    double norm = most + log(sum);
    *logprob = (double)logits[id] - norm;
    for (int32_t i = 0; top && i < tokens; i++) insert(best, &n, top, i, (double)logits[i]);
    for (int i = 0; i < n; i++) best[i].logprob -= norm;
    for (int i = n; i < top; i++) best[i].id = -1;
    return true;
}

void dlx_srv_scores_free(dlx_srv_scores *s)
{
    free(s->logits);
    free(s->positions);
}
