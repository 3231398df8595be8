/* Generations: allocation, the answer, and what callers read from them. */
#include "diffusion/generation.h"

#include <stdlib.h>
#include <string.h>

#include "base/structs.h"

dlx_status dlx_generation_create(dlx_generation **out, const char *algorithm, const int32_t *prompt, size_t n_prompt,
                                 size_t canvas, uint64_t steps, dlx_error *err)
{
    *out = NULL;
    dlx_generation *g = calloc(1, sizeof *g);
    if (g) {
        g->algorithm = algorithm;
        g->finish_reason = "length";
        g->ids = calloc(canvas, sizeof *g->ids);
        g->answer = calloc(canvas, sizeof *g->answer);
        g->accepted = calloc(canvas, sizeof *g->accepted);
        g->steps = steps < SIZE_MAX / sizeof *g->steps ? calloc((size_t)steps, sizeof *g->steps) : NULL;
    }
    if (!g || !g->ids || !g->answer || !g->accepted || !g->steps) {
        dlx_generation_free(g);
        return dlx_fail(err, DLX_E_NOMEM,
                        "out of memory for a generation of %zu positions and %llu steps; generate fewer tokens", canvas,
                        (unsigned long long)steps);
    }
    memcpy(g->ids, prompt, n_prompt * sizeof *prompt);
    g->n_ids = n_prompt;
    g->ids_capacity = canvas;
    g->steps_capacity = (size_t)steps;
    *out = g;
    return DLX_OK;
}

void dlx_generation_free(dlx_generation *g)
{
    if (!g) return;
    free(g->ids);
    free(g->answer);
    free(g->accepted);
    free(g->steps);
    free(g);
}

static bool is_stop(const dlx_ending *e, int32_t id)
{
    for (int32_t k = 0; k < e->n_stop_ids; k++)
        if (id == e->stop_ids[k]) return true;
    return false;
}

void dlx_generation_finish(dlx_generation *g, const dlx_ending *e)
{
    bool cut = e->cancelled || !e->published;
    size_t i = e->n_prompt, end = g->n_ids - i > e->max_new ? i + e->max_new : g->n_ids;
    g->finish_reason = e->cancelled ? "cancelled" : "length";
    for (; i < end; i++) {
        if (is_stop(e, g->ids[i])) {
            g->finish_reason = "stop";
            i++;
            break;
        }
        /* Published decoders can leave masks behind. */
        if (g->ids[i] != e->mask_id)
            g->answer[g->n_answer++] = g->ids[i];
        else if (cut)
            break;
    }
    if (cut) g->n_ids = i;
}

const char *dlx_generation_algorithm(const dlx_generation *generation)
{
    return generation ? generation->algorithm : "";
}

const int32_t *dlx_generation_output_ids(const dlx_generation *generation, size_t *n)
{
    if (n) *n = generation ? generation->n_ids : 0;
    return generation ? generation->ids : NULL;
}

const int32_t *dlx_generation_answer_ids(const dlx_generation *generation, size_t *n)
{
    if (n) *n = generation ? generation->n_answer : 0;
    return generation ? generation->answer : NULL;
}

const char *dlx_generation_finish_reason(const dlx_generation *generation)
{
    return generation ? generation->finish_reason : "";
}

int32_t dlx_generation_num_forwards(const dlx_generation *generation)
{
    return generation ? generation->num_forwards : 0;
}

size_t dlx_generation_num_steps(const dlx_generation *generation)
{
    return generation ? generation->n_steps : 0;
}

bool dlx_generation_step(const dlx_generation *generation, size_t i, dlx_step *out)
{
    if (!generation || !out || i >= generation->n_steps) return false;
    return dlx_struct_out(out, &generation->steps[i], sizeof *out, "dlx_step", NULL) == DLX_OK;
}
