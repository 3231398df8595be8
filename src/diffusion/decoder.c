/* The step that all algorithms share, and its buffers. */
#include "diffusion/decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sizes.h"

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

/* malloc of rows * columns elements, NULL when that is out of reach. */
static void *matrix(uint64_t rows, uint64_t columns, size_t size)
{
    uint64_t bytes;
    if (!dlx_mul_u64(rows, columns, &bytes) || !dlx_mul_u64(bytes, size, &bytes) || bytes > SIZE_MAX / 2) return NULL;
    return malloc(bytes ? (size_t)bytes : 1);
}

/* The largest one first: what is out of reach fails before anything else is touched. */
static bool allocate(dlx_decoder *d, const dlx_capacity *need)
{
    uint64_t rows = (uint64_t)need->candidates, vocab = (uint64_t)d->facts->vocab_size;
    bool ok = (d->logits = matrix(rows, vocab, sizeof *d->logits)) &&
              (d->spare_row = matrix(1, vocab, sizeof *d->spare_row)) &&
              (d->index = matrix(1, vocab, sizeof *d->index)) &&
              (d->candidates = matrix(rows, 1, sizeof *d->candidates)) &&
              (d->summaries = matrix(rows, 1, sizeof *d->summaries)) && (d->rows = matrix(rows, 1, sizeof *d->rows));
    if (ok && need->second_logits)
        ok = (d->second_logits = matrix(rows, vocab, sizeof *d->logits)) &&
             (d->second_ids = matrix((uint64_t)need->canvas, 1, sizeof *d->second_ids));
    if (ok && need->seen) ok = (d->seen = calloc((size_t)vocab, 1));
    return ok;
}

dlx_status dlx_decoder_open(dlx_decoder *d, const dlx_model_facts *facts, const dlx_settings *set,
                            const int32_t *prompt, dlx_error *err)
{
    dlx_capacity need = {0};
    set->algorithm->plan(set, &need);
    memset(d, 0, sizeof *d);
    d->facts = facts;
    d->set = set;
    d->prompt = prompt;
    d->sampling = (dlx_sampling){.temperature = set->temperature,
                                 .top_k = set->top_k,
                                 .top_p = set->top_p,
                                 .never = facts->mask_id,
                                 .known = facts->num_tokens};
    d->random = dlx_random_seeded(set->seed);
    d->max_candidates = need.candidates;
    d->whole_rows = need.whole_rows;
    DLX_TRY(dlx_generation_create(&d->gen, set->algorithm->name, prompt, (size_t)set->n_prompt, (size_t)need.canvas,
                                  (uint64_t)need.steps, err));
    d->x = d->gen->ids;
    if (allocate(d, &need)) return dlx_decoder_open_constraint(d, &need, err);
    return dlx_fail(err, DLX_E_NOMEM,
                    "out of memory for %d rows of %d logits; use shorter blocks or generate fewer tokens",
                    need.candidates, facts->vocab_size);
}

void dlx_decoder_close(dlx_decoder *d)
{
    dlx_decoder_close_constraint(d);
    free(d->candidates);
    free(d->rows);
    free(d->summaries);
    free(d->logits);
    free(d->second_logits);
    free(d->second_ids);
    free(d->spare_row);
    free(d->index);
    free(d->seen);
    dlx_generation *keep = d->gen;
    memset(d, 0, sizeof *d);
    d->gen = keep;
}

/* ---- canvas ------------------------------------------------------------------------------------------------------ */

void dlx_decoder_extend(dlx_decoder *d, int32_t end)
{
    while (d->gen->n_ids < (size_t)end && d->gen->n_ids < d->gen->ids_capacity)
        d->x[d->gen->n_ids++] = d->facts->mask_id;
}

bool dlx_decoder_has_mask(const dlx_decoder *d, int32_t begin, int32_t end)
{
    for (int32_t i = begin; i < end; i++)
        if (d->x[i] == d->facts->mask_id) return true;
    return false;
}

int32_t dlx_decoder_count_masks(const dlx_decoder *d, int32_t begin, int32_t end)
{
    int32_t n = 0;
    for (int32_t i = begin; i < end; i++) n += d->x[i] == d->facts->mask_id;
    return n;
}

static bool is_stop(const dlx_settings *s, int32_t id)
{
    for (int32_t i = 0; i < s->n_stop_ids; i++)
        if (s->stop_ids[i] == id) return true;
    return false;
}

int32_t dlx_decoder_find_stop(const dlx_decoder *d, int32_t begin, int32_t end)
{
    for (int32_t i = begin; i < end; i++)
        if (is_stop(d->set, d->x[i])) return i;
    return -1;
}

bool dlx_decoder_settled(const dlx_decoder *d)
{
    int32_t end = d->set->n_prompt + d->set->max_new, known = (int32_t)d->gen->n_ids;
    if (d->set->prompt_masks && dlx_decoder_has_mask(d, 0, d->set->n_prompt)) return false;
    for (int32_t i = d->set->n_prompt; i < end; i++) {
        if (i >= known || d->x[i] == d->facts->mask_id) return false;
        if (is_stop(d->set, d->x[i])) return true;
    }
    return true;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

dlx_pass dlx_pass_over(const dlx_decoder *d, int32_t first, int32_t end)
{
    return (dlx_pass){.first = first,
                      .n = end - first,
                      .start = first,
                      .attn_block = d->set->attn_block,
                      .shift = d->facts->logits_shift != 0};
}

void dlx_pass_see(dlx_pass *p, int32_t begin, int32_t end)
{
    if (begin < end && p->n_context < DLX_MAX_CONTEXT_SPANS) p->context[p->n_context++] = (dlx_span){begin, end};
}

void dlx_decoder_take_masks(dlx_decoder *d, int32_t begin, int32_t end)
{
    d->n_candidates = 0;
    for (int32_t i = begin; i < end && d->n_candidates < d->max_candidates; i++)
        if (d->x[i] == d->facts->mask_id) d->candidates[d->n_candidates++] = (dlx_candidate){.position = i, .id = -1};
}

dlx_status dlx_decoder_call_with(dlx_decoder *d, const dlx_pass *pass, const int32_t *ids, float *logits,
                                 dlx_error *err)
{
    bool summarised = !d->whole_rows && dlx_sampling_is_greedy(&d->sampling, d->facts->vocab_size);
    dlx_forward_call call = {.struct_size = sizeof call,
                             .ids = ids,
                             .n_ids = pass->n,
                             .start = pass->start,
                             .n_context = pass->n_context,
                             .attn_block = pass->attn_block,
                             .n_store = pass->n_store,
                             .rows = d->rows,
                             .n_rows = d->n_rows,
                             .logits = logits,
                             .summaries = summarised ? d->summaries : NULL,
                             .never = d->sampling.never,
                             .known = d->sampling.known,
                             .with_logits = d->fill != NULL};
    memcpy(call.context, pass->context, sizeof call.context);
    d->gen->num_forwards++;
    dlx_status status = d->forward(d->forward_ctx, &call, err);
    if (status != DLX_OK && err && err->status == DLX_OK)
        return dlx_fail(err, status, "the model call failed without a message");
    return status;
}

/* Whether the rows are not those of their summaries: the model does not know that both are wanted. */
static bool summaries_came_alone(const dlx_decoder *d)
{
    for (int32_t i = 0; i < d->n_rows; i++) {
        const dlx_row_summary *s = &d->summaries[i];
        if (!isfinite(s->sum) || s->sum == 0 || s->id < 0) continue;
        if (d->logits[(size_t)i * (size_t)d->facts->vocab_size + (size_t)s->id] != s->logit) return true;
    }
    return false;
}

dlx_status dlx_decoder_call(dlx_decoder *d, const dlx_pass *pass, dlx_error *err)
{
    d->started = dlx_clock_ms();
    d->n_rows = 0;
    for (int32_t i = 0; i < d->n_candidates; i++) {
        int32_t row = d->candidates[i].position - pass->first - pass->shift;
        if (row < 0) row = 0;
        if (!d->n_rows || d->rows[d->n_rows - 1] != row) d->rows[d->n_rows++] = row;
        d->candidates[i].row = d->n_rows - 1;
    }
    memset(d->summaries, 0, (size_t)d->n_rows * sizeof *d->summaries);
    DLX_TRY(dlx_decoder_call_with(d, pass, d->x + pass->first, d->logits, err));
    if (!d->fill || !summaries_came_alone(d)) return DLX_OK;
    d->whole_rows = true;
    memset(d->summaries, 0, (size_t)d->n_rows * sizeof *d->summaries);
    return dlx_decoder_call_with(d, pass, d->x + pass->first, d->logits, err);
}

bool dlx_decoder_summary(const dlx_decoder *d, const dlx_candidate *c, dlx_row_summary *out)
{
    *out = d->summaries[c->row];
    if (out->sum == 0) return false;
    if (c->id >= 0) {
        out->id = c->id;
        out->logit = dlx_decoder_row(d, c)[c->id];
    }
    return true;
}

float *dlx_decoder_row(const dlx_decoder *d, const dlx_candidate *c)
{
    return d->logits + (size_t)c->row * (size_t)d->facts->vocab_size;
}

dlx_status dlx_decoder_bad_row(const dlx_candidate *c, dlx_error *err)
{
    return dlx_fail(err, DLX_E_INTERNAL,
                    "the logits for position %d hold NaN or infinity, or no token at all; the model may be damaged",
                    c->position);
}

/* The token and score of candidate i. */
static bool choose(dlx_decoder *d, int32_t i, dlx_choice *out)
{
    const dlx_candidate *c = &d->candidates[i];
    int32_t vocab = d->facts->vocab_size;
    dlx_row_summary summary;
    float *row = dlx_decoder_row(d, c);
    if (dlx_decoder_summary(d, c, &summary)) return dlx_choose_likeliest(&d->sampling, &summary, out);
    if (c->id >= 0) {
        *out = dlx_score_token(&d->sampling, &d->states[i], c->id, row[c->id]);
        return true;
    }
    /* Shifted, positions 0 and 1 share row 0, and scoring overwrites it. */
    if (i + 1 < d->n_candidates && c[1].row == c->row) row = memcpy(d->spare_row, row, (size_t)vocab * sizeof *row);
    return dlx_sample_row(&d->sampling, row, vocab, d->index, &d->random, out);
}

dlx_status dlx_decoder_score(dlx_decoder *d, dlx_error *err)
{
    DLX_TRY(dlx_decoder_constrain(d, err));
    for (int32_t i = 0; i < d->n_candidates; i++) {
        dlx_candidate *c = &d->candidates[i];
        dlx_choice choice;
        if (!choose(d, i, &choice)) return dlx_decoder_bad_row(c, err);
        c->id = choice.id;
        c->score = choice.score;
        c->rank = d->sampling.entropy ? -choice.entropy : choice.score;
    }
    return DLX_OK;
}

dlx_status dlx_decoder_commit(dlx_decoder *d, int32_t block, const dlx_pass *pass, dlx_error *err)
{
    dlx_generation *g = d->gen;
    if (g->n_steps == g->steps_capacity)
        return dlx_fail(err, DLX_E_INTERNAL, "%s took more than the %zu steps it planned", g->algorithm,
                        g->steps_capacity);
    dlx_step *step = &g->steps[g->n_steps];
    *step = (dlx_step){.struct_size = sizeof *step,
                       .block = block,
                       .start = pass->start,
                       .rows = pass->n,
                       .accepted = g->accepted + g->n_accepted};
    for (int32_t i = 0; i < pass->n_context; i++) step->cached += pass->context[i].end - pass->context[i].begin;
    for (int32_t i = 0; i < d->n_candidates && g->n_accepted < g->ids_capacity; i++) {
        const dlx_candidate *c = &d->candidates[i];
        if (!c->chosen) continue;
        d->x[c->position] = c->id;
        g->accepted[g->n_accepted++] = (dlx_accepted){c->position, c->id, (float)c->score};
        step->n_accepted++;
    }
    d->n_candidates = 0;
    step->milliseconds = dlx_clock_ms() - d->started;
    g->n_steps++;
    d->cancelled = d->on_step && !d->on_step(d->step_ctx, step, d->x, g->n_ids);
    return d->cancelled ? DLX_E_CANCELLED : DLX_OK;
}
