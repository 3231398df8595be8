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

#include "base/exp_log.h"
#include "constrain/fill.h"
#include "diffusion/decoder.h"

/* What a row says against a token counts up to here, so that a text that only unlikely tokens complete is completed. */
static const double LEAST = -1e6;
/* On top, for tokens that top_k and top_p left out: they stand in where no other is acceptable. */
static const double LEFT_OUT = -1e4;

typedef struct weighing {
    dlx_decoder *d;
    const float *row; /* of the model */
    const float *e;   /* above temperature 0: e^(the row over the temperature - top), filtered */
    float top;        /* largest of the row, or of the row over the temperature */
} weighing;

static double at_least(double weight)
{
    return weight > LEAST ? weight : LEAST;
}

/* The first of the ids, which ascend, with the largest logit. Lanes do not wait for each other. */
static int32_t likeliest(const float *row, const int32_t *ids, int32_t n)
{
    enum { WIDE = 4 };
    float best[WIDE];
    int32_t at[WIDE] = {0}, i = 0, found = ids[0];
    for (int k = 0; k < WIDE; k++) best[k] = -INFINITY;
    for (; n - i >= WIDE; i += WIDE)
        for (int k = 0; k < WIDE; k++) {
            float x = row[ids[i + k]];
            at[k] = x > best[k] ? i + k : at[k];
            best[k] = x > best[k] ? x : best[k];
        }
    float top = -INFINITY;
    for (int k = 0; k < WIDE; k++) {
        if (best[k] > top || (best[k] == top && best[k] > -INFINITY && ids[at[k]] < found)) found = ids[at[k]];
        top = best[k] > top ? best[k] : top;
    }
    for (; i < n; i++) {
        float x = row[ids[i]];
        found = x > top ? ids[i] : found;
        top = x > top ? x : top;
    }
    return found;
}

static double weigh_likeliest(void *ctx, const int32_t *ids, int32_t n, int32_t *pick)
{
    const weighing *w = ctx;
    *pick = likeliest(w->row, ids, n);
    return at_least((double)w->row[*pick] - (double)w->top);
}

enum { CHUNK = 256 };

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

/* The id where the running sum of e passes the target: chunks, whose sums are known, that do not reach it are passed as
 * a whole. Where rounding leaves none, the last id that has a part in the sum. */
static int32_t find_drawn(const weighing *w, const int32_t *ids, int32_t n, double target)
{
    int32_t begin = 0, found = -1;
    for (; n - begin > CHUNK && !(w->d->chunk_sums[begin / CHUNK] > target); begin += CHUNK)
        target -= w->d->chunk_sums[begin / CHUNK];
    for (int32_t i = begin; i < n && !(found >= 0 && target < 0); i++) {
        if (!(w->e[ids[i]] > 0)) continue;
        found = ids[i];
        target -= (double)w->e[found];
    }
    for (int32_t i = begin; found < 0 && i-- > 0;)
        if (w->e[ids[i]] > 0) found = ids[i];
    return found;
}

static double weigh_drawn(void *ctx, const int32_t *ids, int32_t n, int32_t *pick)
{
    const weighing *w = ctx;
    dlx_random *random = &w->d->random;
    double noise = dlx_gumbel(dlx_random_uniform(random)), share = dlx_random_uniform(random), sum = 0;
    for (int32_t begin = 0; begin < n; begin += CHUNK)
        sum += w->d->chunk_sums[begin / CHUNK] = sum_of(w->e, ids + begin, n - begin < CHUNK ? n - begin : CHUNK);
    if (!(sum > 0)) {
        *pick = likeliest(w->row, ids, n);
        return at_least((double)w->row[*pick] / w->d->sampling.temperature - (double)w->top + LEFT_OUT);
    }
    *pick = find_drawn(w, ids, n, share * sum);
    return at_least(dlx_log_normal_f64(sum) + noise);
}

/* Makes the row of candidate i ready; false when it cannot be used. What scoring wants to know of it is found on the
 * way: a row is read once. */
static bool begin_row(weighing *w, int32_t i)
{
    dlx_decoder *d = w->d;
    const dlx_sampling *how = &d->sampling;
    const dlx_candidate *c = &d->candidates[i];
    int32_t n = d->facts->vocab_size;
    w->row = dlx_decoder_row(d, c);
    if (dlx_sampling_is_greedy(how, n)) {
        dlx_row_summary *summary = &d->summaries[c->row];
        if (summary->sum == 0) dlx_summarise_row(w->row, n, how->never, how->known, summary);
        w->top = summary->top;
        return isfinite(summary->sum);
    }
    dlx_row_state *state = &d->states[i];
    if (!dlx_prepare_row(how, w->row, d->spare_row, n, d->index, state)) return false;
    w->e = d->spare_row;
    w->top = state->top;
    return true;
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
    size_t chunks = (size_t)d->facts->vocab_size / CHUNK + 1;
    if (!(d->fill_ids = malloc(((size_t)most + 1) * sizeof *d->fill_ids)) ||
        !(d->states = malloc(((size_t)d->max_candidates + 1) * sizeof *d->states)) ||
        !(d->chunk_sums = malloc(chunks * sizeof *d->chunk_sums)))
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
    free(d->states);
    free(d->chunk_sums);
}

/* One position of the stretch, whose candidate is number c, or -1 where it has none. */
static dlx_status fill_position(dlx_decoder *d, int32_t position, int32_t c, dlx_error *err)
{
    int32_t left = d->set->answer_end - position - 1;
    if (c < 0) {
        dlx_fill_next(d->fill, d->x[position] == d->facts->mask_id ? -1 : d->x[position], left);
        return DLX_OK;
    }
    weighing w = {.d = d};
    if (!begin_row(&w, c)) return dlx_decoder_bad_row(&d->candidates[c], err);
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
        DLX_TRY(fill_position(d, p, weighed ? i++ : -1, err));
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
