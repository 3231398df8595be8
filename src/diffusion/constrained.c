/*
 * Decoding under a constraint: the one place where it meets rows of logits. In every pass the tokens of all candidates
 * are chosen together, as the filling of the answer that the constraint accepts and that the rows make likeliest
 * (constrain/fill.h). Which of them are revealed is the algorithm's own affair, as are their scores: those of these
 * tokens in the rows as they are. What is revealed is part of a filling that can be finished, so one is left for the
 * next pass, whatever the algorithm left out.
 *
 * Above temperature 0 the filling is drawn: every token's weight gets Gumbel noise (the largest is then a draw), as one
 * draw for each class of tokens, whose noisy maximum is the logarithm of their sum with the noise of one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "constrain/fill.h"
#include "diffusion/decoder.h"
#include "diffusion/exp_log.h"

/* What a row says against a token counts up to here, so that a text that only unlikely tokens complete is completed. */
static const double LEAST = -1e6;
/* On top, for tokens that top_k and top_p left out: they stand in where no other is acceptable. */
static const double LEFT_OUT = -1e4;

typedef struct weighing {
    dlx_decoder *d;
    const float *row; /* of the model */
    float *e;         /* above temperature 0: the row over the temperature, filtered; of ids that were weighed already
                         e^(that - top) */
    float top;        /* largest of the row, or of the row over the temperature */
    double temperature;
} weighing;

static double at_least(double weight)
{
    return weight > LEAST ? weight : LEAST;
}

/* The first of the ids with the largest logit. */
static int32_t likeliest(const float *row, const int32_t *ids, int32_t n)
{
    float best = -INFINITY;
    int32_t at = 0;
    for (int32_t i = 0; i < n; i++) {
        float x = row[ids[i]];
        at = x > best ? i : at;
        best = x > best ? x : best;
    }
    return ids[at];
}

static double weigh_likeliest(void *ctx, const int32_t *ids, int32_t n, int32_t *pick)
{
    const weighing *w = ctx;
    *pick = likeliest(w->row, ids, n);
    return at_least((double)w->row[*pick] - (double)w->top);
}

enum { CHUNK = 256 };

/* Makes exponentials of the ids' part of the row, which is weighed once, and sums them up. */
static double exponentials_of(const weighing *w, const int32_t *ids, int32_t n)
{
    float part[CHUNK];
    double sum = 0;
    for (int32_t begin = 0; begin < n; begin += CHUNK) {
        int32_t length = n - begin < CHUNK ? n - begin : CHUNK;
        for (int32_t i = 0; i < length; i++) part[i] = w->e[ids[begin + i]];
        sum += dlx_exponentials(part, length, w->top);
        for (int32_t i = 0; i < length; i++) w->e[ids[begin + i]] = part[i];
    }
    return sum;
}

/* The sum of e over ids, in four lanes. */
static double sum_of(const float *e, const int32_t *ids, int32_t n)
{
    double part[4] = {0};
    int32_t i = 0;
    for (; n - i >= 4; i += 4)
        for (int k = 0; k < 4; k++) part[k] += (double)e[ids[i + k]];
    for (; i < n; i++) part[0] += (double)e[ids[i]];
    return part[0] + part[1] + (part[2] + part[3]);
}

/* The id where the running sum of e passes the target: chunks that do not reach it are passed as a whole. Where
 * rounding leaves none, the last id that has a part in the sum. */
static int32_t find_drawn(const float *e, const int32_t *ids, int32_t n, double target)
{
    int32_t begin = 0, found = -1;
    for (; n - begin > CHUNK; begin += CHUNK) {
        double sum = sum_of(e, ids + begin, CHUNK);
        if (sum > target) break;
        target -= sum;
    }
    for (int32_t i = begin; i < n && !(found >= 0 && target < 0); i++) {
        if (!(e[ids[i]] > 0)) continue;
        found = ids[i];
        target -= (double)e[found];
    }
    for (int32_t i = begin; found < 0 && i-- > 0;)
        if (e[ids[i]] > 0) found = ids[i];
    return found;
}

static double weigh_drawn(void *ctx, const int32_t *ids, int32_t n, int32_t *pick)
{
    const weighing *w = ctx;
    dlx_random *random = &w->d->random;
    double noise = dlx_gumbel(dlx_random_uniform(random)), share = dlx_random_uniform(random),
           sum = exponentials_of(w, ids, n);
    if (!(sum > 0)) {
        *pick = likeliest(w->row, ids, n);
        return at_least((double)w->row[*pick] / w->temperature - (double)w->top + LEFT_OUT);
    }
    *pick = find_drawn(w->e, ids, n, share * sum);
    return at_least(dlx_log_normal_f64(sum) + noise);
}

/* Makes the row ready; false when it cannot be used. */
static bool begin_row(weighing *w, const float *row)
{
    dlx_decoder *d = w->d;
    const dlx_sampling *how = &d->sampling;
    int32_t n = d->facts->vocab_size, top = dlx_argmax(row, n, -1);
    if (top < 0 || !isfinite(row[top])) return false;
    w->row = row;
    w->top = row[top];
    if (!(how->temperature > 0)) return true;
    float *e = memcpy(d->spare_row, row, (size_t)n * sizeof *row);
    dlx_scale_row(e, n, how->temperature);
    dlx_filter_row(how, e, n, d->index);
    w->e = e;
    w->top = e[top]; /* no filter takes the largest */
    w->temperature = how->temperature;
    return isfinite(w->top);
}

/* ---- the decoder's side ------------------------------------------------------------------------------------------ */

dlx_status dlx_decoder_open_constraint(dlx_decoder *d, const dlx_capacity *need, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t answer = s->answer_end - s->n_prompt, most = answer < need->candidates ? answer : need->candidates;
    if (!s->constraint) return DLX_OK;
    /* As published, masks of earlier blocks may be left behind where the prompt has some. */
    if (s->published && s->prompt_masks) most = answer;
    const dlx_fill_ids ids = {.known = d->facts->num_tokens ? d->facts->num_tokens : d->facts->vocab_size,
                              .never = d->facts->mask_id,
                              .stop_ids = s->stop_ids,
                              .n_stop_ids = s->n_stop_ids};
    if (!(d->fill_ids = malloc(((size_t)most + 1) * sizeof *d->fill_ids)))
        return dlx_fail(err, DLX_E_NOMEM, "out of memory for %d positions under a constraint", most);
    DLX_TRY(dlx_fill_open(&d->fill, s->constraint, &ids, most, err));
    int32_t shortest = dlx_fill_shortest(d->fill);
    if (shortest < 0)
        return dlx_fail(err, DLX_E_INVALID,
                        "no tokens of this model spell a text that the constraint accepts; was it made with another "
                        "model's tokenizer?");
    if (shortest > answer)
        return dlx_fail(err, DLX_E_LIMIT,
                        "option 'max_new_tokens': the shortest text that the constraint accepts takes %d tokens, and "
                        "at most %d are decoded; give more",
                        shortest, answer);
    return DLX_OK;
}

void dlx_decoder_close_constraint(dlx_decoder *d)
{
    dlx_fill_close(d->fill);
    free(d->fill_ids);
}

/* One position of the stretch, whose candidate is c where it has one. */
static dlx_status fill_position(dlx_decoder *d, int32_t position, const dlx_candidate *c, dlx_error *err)
{
    int32_t left = d->set->answer_end - position - 1;
    if (!c) {
        dlx_fill_next(d->fill, d->x[position] == d->facts->mask_id ? -1 : d->x[position], left);
        return DLX_OK;
    }
    weighing w = {.d = d};
    if (!begin_row(&w, dlx_decoder_row(d, c))) return dlx_decoder_bad_row(c, err);
    dlx_fill_weighed(d->fill, d->sampling.temperature > 0 ? weigh_drawn : weigh_likeliest, &w, left);
    return DLX_OK;
}

dlx_status dlx_decoder_constrain(dlx_decoder *d, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t first = s->n_prompt, c = 0, last = -1;
    if (!d->fill) return DLX_OK;
    while (c < d->n_candidates && d->candidates[c].position < first) c++;
    for (int32_t i = c; i < d->n_candidates && d->candidates[i].position < s->answer_end; i++)
        last = d->candidates[i].position;
    if (last < 0) return DLX_OK;
    /* What is known already behind the candidates has its say, too. */
    for (int32_t p = last + 1; p < s->answer_end && p < (int32_t)d->gen->n_ids; p++)
        if (d->x[p] != d->facts->mask_id) last = p;
    while (d->x[first] != d->facts->mask_id && first < last) first++;
    bool fine = dlx_fill_begin(d->fill, d->x + s->n_prompt, first - s->n_prompt);
    for (int32_t p = first, i = c; p <= last; p++) {
        bool weighed = i < d->n_candidates && d->candidates[i].position == p;
        DLX_TRY(fill_position(d, p, weighed ? &d->candidates[i++] : NULL, err));
    }
    if (!fine || !dlx_fill_end(d->fill, d->fill_ids))
        return dlx_fail(err, DLX_E_INTERNAL, "no filling of positions %d to %d is left that the constraint accepts",
                        first, last);
    for (int32_t i = c; i < d->n_candidates && d->candidates[i].position <= last; i++)
        d->candidates[i].id = d->fill_ids[d->candidates[i].position - first];
    return DLX_OK;
}

dlx_status dlx_decoder_check_answer(const dlx_decoder *d, const int32_t *answer, size_t n, dlx_error *err)
{
    if (!d->fill || dlx_fill_accepts(d->fill, answer, (int32_t)n)) return DLX_OK;
    return dlx_fail(err, DLX_E_LIMIT,
                    "the answer of %zu tokens is not what the constraint wants: the published schedule left masks in "
                    "it; set option 'published' to false, or give more max_new_tokens",
                    n);
}
