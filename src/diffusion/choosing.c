/* Which masked positions a step reveals: ranking of candidates, acceptance rules, and schedules. */
#include <math.h>

#include "base/exp_log.h"
#include "diffusion/sampling.h"

/* Best ranked candidate that is not chosen yet; -1 when all are. */
static int32_t next_best(const dlx_candidate *c, int32_t n)
{
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++)
        if (!c[i].chosen && (best < 0 || c[i].rank > c[best].rank)) best = i;
    return best;
}

void dlx_choose_all(dlx_candidate *c, int32_t n)
{
    for (int32_t i = 0; i < n; i++) c[i].chosen = true;
}

int32_t dlx_choose_best(dlx_candidate *c, int32_t n, int32_t k)
{
    int32_t taken = 0;
    for (; taken < k; taken++) {
        int32_t best = next_best(c, n);
        if (best < 0) break;
        c[best].chosen = true;
    }
    return taken;
}

int32_t dlx_choose_above(dlx_candidate *c, int32_t n, double threshold)
{
    int32_t taken = 0;
    for (int32_t i = 0; i < n; i++)
        if ((float)c[i].score > (float)threshold) {
            c[i].chosen = true;
            taken++;
        }
    return taken;
}

void dlx_choose_best_and_sure(dlx_candidate *c, int32_t n, double threshold, bool f32)
{
    dlx_choose_best(c, n, 1);
    for (int32_t i = 0; i < n; i++)
        if (f32 ? (float)c[i].score >= (float)threshold : c[i].score >= threshold) c[i].chosen = true;
}

int32_t dlx_choose_sure_of_best(dlx_candidate *c, int32_t n, int32_t k, double threshold)
{
    int32_t best = next_best(c, n), held = 0;
    dlx_choose_best(c, n, k);
    for (int32_t i = 0; i < n; i++)
        if (c[i].chosen && i != best && (float)c[i].score < (float)threshold) {
            c[i].chosen = false;
            held++;
        }
    return held;
}

void dlx_choose_by_factor(dlx_candidate *c, int32_t n, double factor)
{
    for (int32_t i = 1; i <= n; i++) {
        int32_t best = next_best(c, n);
        if (i > 1 && i < n && c[best].score < 1 - factor / (i + 1)) break;
        c[best].chosen = true;
    }
}

void dlx_choose_entropy_bounded(dlx_candidate *c, int32_t n, double bound)
{
    double total = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t best = next_best(c, n);
        total -= c[best].rank;
        if (i > 0 && !((float)total < (float)bound)) break;
        c[best].chosen = true;
    }
}

void dlx_perturb_ranks(dlx_candidate *c, int32_t n, double temperature, dlx_random *random)
{
    for (int32_t i = 0; i < n; i++) c[i].rank = c[i].score / temperature + dlx_gumbel(dlx_random_uniform(random));
}

int32_t dlx_equal_share(int32_t total, int32_t steps, int32_t i)
{
    return i >= steps ? 0 : total / steps + (i < total % steps);
}

float dlx_dream_time(int32_t i, int32_t steps, double eps)
{
    /* torch walks from both ends, with one rounding a point. */
    float end = (float)eps, step = (end - 1.0f) / (float)steps;
    return i < (steps + 1) / 2 ? fmaf(step, (float)i, 1.0f) : fmaf(-step, (float)(steps - i), end);
}

int32_t dlx_dream_share(int32_t masks, int32_t i, int32_t steps, double eps)
{
    if (i >= steps - 1) return masks;
    float kept = dlx_dream_time(i + 1, steps, eps) / dlx_dream_time(i, steps, eps);
    return (int32_t)((float)masks * (1.0f - kept));
}
