/* Rows of logits: largest, softmax, filters and draws. Everything is O(n) but the heap behind top_k and top_p. */
#include "diffusion/sampling.h"

#include <math.h>
#include <string.h>

#include "base/row_summary.h"

/* A chunk's float sums, one a lane, go into a double before they lose digits. */
enum { LANES = DLX_LANES, CHUNK = 64 * LANES };

static int32_t chunk_end(int32_t i, int32_t n)
{
    int32_t left = (n - i) / LANES * LANES;
    return i + (left < CHUNK ? left : CHUNK);
}

static double sum_lanes(const float *part)
{
    double sum = 0;
    for (int k = 0; k < LANES; k++) sum += (double)part[k];
    return sum;
}

/* ---- largest --------------------------------------------------------------------------------------------------- */

static float largest(const float *x, int32_t n)
{
    float part[LANES], top = -INFINITY;
    for (int k = 0; k < LANES; k++) part[k] = -INFINITY;
    int32_t i = 0;
    for (; n - i >= LANES; i += LANES)
        for (int k = 0; k < LANES; k++) part[k] = x[i + k] > part[k] ? x[i + k] : part[k];
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    for (int k = 0; k < LANES; k++) top = part[k] > top ? part[k] : top;
    return top;
}

static int32_t first_at_least(const float *x, int32_t n, float bound)
{
    for (int32_t i = 0; i < n; i++)
        if (x[i] >= bound) return i;
    return -1;
}

int32_t dlx_argmax(const float *logits, int32_t n, int32_t never)
{
    bool split = never >= 0 && never < n;
    float top = largest(logits, split ? never : n),
          right = split ? largest(logits + never + 1, n - never - 1) : -INFINITY;
    if (top == -INFINITY && right == -INFINITY) return -1;
    if (right > top) return never + 1 + first_at_least(logits + never + 1, n - never - 1, right);
    return first_at_least(logits, n, top);
}

/* ---- softmax ---------------------------------------------------------------------------------------------------- */

/* e[i] = e^(x[i] / t - top), where top is the largest of x / t; returns their sum, NaN when a value is NaN or nothing
 * lies above -infinity. e may be x. */
static double exponentials(float *e, const float *x, int32_t n, float t, float top)
{
    double sum = 0;
    int32_t i = 0;
    for (int32_t end; n - i >= LANES; i = end) {
        float part[LANES];
        end = chunk_end(i, n);
        for (int32_t lane = 0; lane < LANES; lane += DLX_VF) {
            dlx_vf lane_sum = {0};
            for (int32_t k = i + lane; k < end; k += LANES) {
                dlx_vf v = dlx_exp_vf(dlx_vf_load(x + k) / t - top);
                dlx_vf_store(e + k, v);
                lane_sum += v;
            }
            dlx_vf_store(part + lane, lane_sum);
        }
        sum += sum_lanes(part);
    }
    for (; i < n; i++) {
        e[i] = dlx_exp_not_positive(x[i] / t - top);
        sum += (double)e[i];
    }
    return sum;
}

void dlx_summarise_row(const float *logits, int32_t n, int32_t never, int32_t known, dlx_row_summary *out)
{
    *out = dlx_summary_of_row(logits, n, (dlx_row_rules){never, known});
}

double dlx_summary_probability(const dlx_row_summary *row, float logit)
{
    return dlx_exp_not_positive_f64((double)logit - (double)row->top) / row->sum;
}

/* sum p ln(p + plus) over p = max(e / sum, least). */
static double p_log_p(const float *e, int32_t n, double sum, float plus, float least)
{
    double total = 0;
    float scale = (float)(1.0 / sum);
    int32_t i = 0;
    for (int32_t end; n - i >= LANES; i = end) {
        float part[LANES];
        end = chunk_end(i, n);
        for (int32_t lane = 0; lane < LANES; lane += DLX_VF) {
            dlx_vf lane_sum = {0};
            for (int32_t k = i + lane; k < end; k += LANES) {
                dlx_vf p = dlx_vf_load(e + k) * scale;
                p = dlx_vf_if(p < least, (dlx_vf){0} + least, p);
                lane_sum += p * dlx_log_vf(p + plus);
            }
            dlx_vf_store(part + lane, lane_sum);
        }
        total += sum_lanes(part);
    }
    for (; i < n; i++) {
        float p = e[i] * scale;
        p = p < least ? least : p;
        total += (double)(p * dlx_log_normal(p + plus));
    }
    return total;
}

/* ---- filters ---------------------------------------------------------------------------------------------------- */

void dlx_scale_row(float *logits, int32_t n, double temperature)
{
    float t = (float)temperature;
    for (int32_t i = 0; i < n; i++) logits[i] /= t;
}

/* Heap of ids: larger logits first, lower ids first among equals. */
static bool before(const float *x, int32_t a, int32_t b)
{
    return x[a] > x[b] || (x[a] == x[b] && a < b);
}

static void sift_down(const float *x, int32_t *heap, int32_t n, int32_t at)
{
    int32_t id = heap[at];
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= n) break;
        if (child + 1 < n && before(x, heap[child + 1], heap[child])) child++;
        if (!before(x, heap[child], id)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = id;
}

static void make_heap(const float *x, int32_t *heap, int32_t n)
{
    for (int32_t i = 0; i < n; i++) heap[i] = i;
    for (int32_t i = n / 2; i-- > 0;) sift_down(x, heap, n, i);
}

static int32_t pop_heap(const float *x, int32_t *heap, int32_t *n)
{
    int32_t id = heap[0];
    heap[0] = heap[--*n];
    if (*n) sift_down(x, heap, *n, 0);
    return id;
}

dlx_row_bound dlx_filter_top_k(float *logits, int32_t n, int32_t k, int32_t *index)
{
    if (k <= 0 || k >= n) return (dlx_row_bound){-INFINITY, n};
    int32_t left = n, last = 0;
    make_heap(logits, index, n);
    for (int32_t i = 0; i < k; i++) last = pop_heap(logits, index, &left);
    float kth = logits[last];
    for (int32_t i = 0; i < n; i++)
        if (logits[i] < kth) logits[i] = -INFINITY;
    return (dlx_row_bound){kth, n};
}

dlx_row_bound dlx_filter_top_p(float *logits, int32_t n, double top_p, int32_t *index)
{
    if (!(top_p < 1)) return (dlx_row_bound){-INFINITY, n};
    dlx_row_summary row;
    float bound = (float)top_p;
    double mass = 0;
    int32_t left = n, last = 0;
    dlx_summarise_row(logits, n, -1, 0, &row);
    make_heap(logits, index, n);
    do {
        last = pop_heap(logits, index, &left);
        mass += (double)(float)dlx_summary_probability(&row, logits[last]);
    } while (left && !((float)mass > bound));
    float least = logits[last];
    for (int32_t i = 0; i < n; i++)
        if (logits[i] < least || (logits[i] == least && i > last)) logits[i] = -INFINITY;
    return (dlx_row_bound){least, last};
}

/* What both leave of logits, in the order of `how`. */
static dlx_row_bound filter(const dlx_sampling *how, float *logits, int32_t n, int32_t *index)
{
    dlx_row_bound k = {-INFINITY, n};
    if (how->top_k_first) k = dlx_filter_top_k(logits, n, how->top_k, index);
    dlx_row_bound p = dlx_filter_top_p(logits, n, how->top_p, index);
    if (!how->top_k_first) k = dlx_filter_top_k(logits, n, how->top_k, index);
    return k.least > p.least || (k.least == p.least && k.last < p.last) ? k : p;
}

/* ---- draws ------------------------------------------------------------------------------------------------------ */

/* Inverse of the cumulative distribution over e, `never` and ids from `known` on left out; -1 when nothing is left. */
static int32_t draw(const float *e, int32_t n, double sum, int32_t never, int32_t known, dlx_random *random)
{
    double target = dlx_random_uniform(random), cumulative = 0;
    if (never >= 0 && never < known) sum -= (double)e[never];
    for (int32_t i = known; i < n; i++) sum -= (double)e[i];
    target *= sum;
    int32_t last = -1;
    for (int32_t i = 0; i < known; i++) {
        if (i == never || !(e[i] > 0)) continue;
        cumulative += (double)e[i];
        last = i;
        if (cumulative > target) break;
    }
    return last;
}

int32_t dlx_gumbel_argmax(const float *logits, int32_t n, double temperature, int32_t never, int32_t known,
                          dlx_random *random)
{
    double best = -INFINITY;
    int32_t id = -1;
    for (int32_t i = 0; i < n; i++) {
        double u = dlx_random_uniform(random), x = (double)logits[i];
        /* -ln(-ln u) <= -ln(1 - u) <= -ln 2 * the exponent of 1 - u: for most tokens that is enough to know. */
        double most = (double)(1023 - (int64_t)(dlx_f64_to_bits(1 - u) >> 52)) * 0x1.62e43p-1;
        if (i == never || i >= known || (id >= 0 && x + temperature * most <= best)) continue;
        double value = x + temperature * dlx_gumbel(u);
        if (value > best) {
            best = value;
            id = i;
        }
    }
    return id;
}

bool dlx_sampling_is_greedy(const dlx_sampling *how, int32_t n)
{
    return !(how->temperature > 0) && !(how->top_p < 1) && (how->top_k <= 0 || how->top_k >= n);
}

bool dlx_choose_likeliest(const dlx_sampling *how, const dlx_row_summary *row, dlx_choice *out)
{
    if (row->id < 0 || !isfinite(row->sum)) return false;
    double probability = dlx_summary_probability(row, row->logit), entropy = 0;
    *out = (dlx_choice){.id = row->id, .probability = (double)(float)probability};
    out->score = out->probability;
    if (how->entropy || how->score == DLX_SCORE_NEGATIVE_ENTROPY)
        entropy = (double)(float)(dlx_log_normal_f64(row->sum) - row->moment / row->sum);
    if (how->score == DLX_SCORE_MARGIN) {
        float likeliest = (float)(1 / row->sum), second = (float)dlx_summary_probability(row, row->second);
        out->score = (double)(row->logit < row->top ? (float)probability - likeliest : likeliest - second);
    } else if (how->score == DLX_SCORE_NEGATIVE_ENTROPY) {
        out->score = -entropy;
    }
    if (how->entropy) out->entropy = entropy;
    return true;
}

bool dlx_prepare_row(const dlx_sampling *how, const float *row, float *e, int32_t n, int32_t *index, dlx_row_state *out)
{
    float t = how->temperature > 0 ? (float)how->temperature : 1;
    *out = (dlx_row_state){.bound = {-INFINITY, n}};
    /* Dividing keeps the order, and the largest stays in every filter. */
    out->top = largest(row, n) / t;
    if (!isfinite(out->top)) return false;
    if (how->top_p < 1 || (how->top_k > 0 && how->top_k < n)) {
        dlx_row_summary all;
        if (e != row) memcpy(e, row, (size_t)n * sizeof *row);
        if (how->temperature > 0) dlx_scale_row(e, n, how->temperature);
        if (how->before_filters) {
            dlx_summarise_row(e, n, -1, 0, &all);
            out->whole = all.sum;
        }
        out->bound = filter(how, e, n, index);
        out->sum = exponentials(e, e, n, 1, out->top);
    } else {
        out->sum = exponentials(e, row, n, t, out->top);
    }
    if (!isfinite(out->sum)) return false;
    if (how->score == DLX_SCORE_MARGIN) {
        int32_t second = dlx_argmax(e, n, dlx_argmax(e, n, -1));
        out->second = second < 0 ? 0 : (double)e[second];
    }
    if (how->score == DLX_SCORE_NEGATIVE_ENTROPY) out->p_log_p = (double)(float)p_log_p(e, n, out->sum, 1e-10f, 0);
    if (how->entropy) out->entropy = (double)(float)-p_log_p(e, n, out->sum, 0, 1e-12f);
    return true;
}

/* A token's choice: e its exponential, `stands_in` that another one is likelier. */
static dlx_choice choice_of(const dlx_sampling *how, const dlx_row_state *row, int32_t id, float e, bool stands_in)
{
    dlx_choice c = {.id = id,
                    .probability = (double)(float)((double)e / (row->whole > 0 ? row->whole : row->sum)),
                    .entropy = row->entropy};
    c.score = c.probability;
    if (how->score == DLX_SCORE_MARGIN) {
        float p1 = (float)(1 / row->sum), p2 = (float)(row->second / row->sum);
        c.score = stands_in ? (double)((float)c.probability - p1) : (double)(p1 - p2);
    } else if (how->score == DLX_SCORE_NEGATIVE_ENTROPY) {
        c.score = row->p_log_p;
    }
    return c;
}

dlx_choice dlx_score_token(const dlx_sampling *how, const dlx_row_state *row, int32_t id, float logit)
{
    float x = how->temperature > 0 ? logit / (float)how->temperature : logit;
    bool left = x > row->bound.least || (x == row->bound.least && id <= row->bound.last);
    return choice_of(how, row, id, left ? dlx_exp_not_positive(x - row->top) : 0, x < row->top);
}

bool dlx_sample_row(const dlx_sampling *how, float *logits, int32_t n, int32_t *index, dlx_random *random,
                    dlx_choice *out)
{
    if (dlx_sampling_is_greedy(how, n)) {
        dlx_row_summary row;
        dlx_summarise_row(logits, n, how->never, how->known, &row);
        return dlx_choose_likeliest(how, &row, out);
    }
    dlx_row_state row;
    /* Found before the filters, which may leave nothing that can be chosen. */
    int32_t known = how->known > 0 && how->known < n ? how->known : n, other = dlx_argmax(logits, known, how->never);
    if (other < 0 || !dlx_prepare_row(how, logits, logits, n, index, &row)) return false;
    int32_t top = dlx_argmax(logits, n, -1),
            id = how->temperature > 0 ? draw(logits, n, row.sum, how->never, known, random) : top;
    if (id < 0 || id == how->never || id >= known) id = other;
    *out = choice_of(how, &row, id, logits[id], top == how->never || top >= known);
    return true;
}
