/* Rows of logits: largest, softmax, filters and draws. Everything is O(n) but the heap behind top_k and top_p. */
#include "diffusion/sampling.h"

#include <math.h>

#include "diffusion/exp_log.h"

/* Independent sums, so that loops over a row become SIMD code although float addition is not associative. A chunk's
 * float sums go into a double before they lose digits. */
enum { LANES = 16, CHUNK = 64 * LANES };

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

double dlx_exponentials(float *x, int32_t n, float top)
{
    double sum = 0;
    int32_t i = 0;
    while (n - i >= LANES) {
        float part[LANES] = {0};
        for (int32_t end = chunk_end(i, n); i < end; i += LANES)
            for (int k = 0; k < LANES; k++) {
                float e = dlx_exp_not_positive(x[i + k] - top);
                x[i + k] = e;
                part[k] += e;
            }
        sum += sum_lanes(part);
    }
    for (; i < n; i++) {
        x[i] = dlx_exp_not_positive(x[i] - top);
        sum += (double)x[i];
    }
    return sum;
}

/* The sum alone. */
static double exponential_sum(const float *x, int32_t n, float top)
{
    double sum = 0;
    int32_t i = 0;
    while (n - i >= LANES) {
        float part[LANES] = {0};
        for (int32_t end = chunk_end(i, n); i < end; i += LANES)
            for (int k = 0; k < LANES; k++) part[k] += dlx_exp_not_positive(x[i + k] - top);
        sum += sum_lanes(part);
    }
    for (; i < n; i++) sum += (double)dlx_exp_not_positive(x[i] - top);
    return sum;
}

double dlx_probability_f32(const float *logits, int32_t n, int32_t id)
{
    float top = largest(logits, n);
    double sum = exponential_sum(logits, n, top);
    return (double)(float)((double)dlx_exp_not_positive(logits[id] - top) / sum);
}

double dlx_probability_f64(const float *logits, int32_t n, int32_t id)
{
    double top = (double)largest(logits, n), sum = 0, part[LANES] = {0};
    int32_t i = 0;
    for (; n - i >= LANES; i += LANES)
        for (int k = 0; k < LANES; k++) part[k] += dlx_exp_not_positive_f64((double)logits[i + k] - top);
    for (; i < n; i++) sum += dlx_exp_not_positive_f64((double)logits[i] - top);
    for (int k = 0; k < LANES; k++) sum += part[k];
    return dlx_exp_not_positive_f64((double)logits[id] - top) / sum;
}

/* sum p ln(p + plus) over p = max(e / sum, least). */
static double p_log_p(const float *e, int32_t n, double sum, float plus, float least)
{
    double total = 0;
    float scale = (float)(1.0 / sum);
    int32_t i = 0;
    while (n - i >= LANES) {
        float part[LANES] = {0};
        for (int32_t end = chunk_end(i, n); i < end; i += LANES)
            for (int k = 0; k < LANES; k++) {
                float p = e[i + k] * scale;
                p = p < least ? least : p;
                part[k] += p * dlx_log_normal(p + plus);
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

void dlx_filter_top_k(float *logits, int32_t n, int32_t k, int32_t *index)
{
    if (k <= 0 || k >= n) return;
    int32_t left = n, last = 0;
    make_heap(logits, index, n);
    for (int32_t i = 0; i < k; i++) last = pop_heap(logits, index, &left);
    float kth = logits[last];
    for (int32_t i = 0; i < n; i++)
        if (logits[i] < kth) logits[i] = -INFINITY;
}

void dlx_filter_top_p(float *logits, int32_t n, double top_p, int32_t *index)
{
    if (!(top_p < 1)) return;
    float top = largest(logits, n), bound = (float)top_p;
    double sum = exponential_sum(logits, n, top), mass = 0;
    int32_t left = n, last = 0;
    make_heap(logits, index, n);
    do {
        last = pop_heap(logits, index, &left);
        mass += (double)(float)((double)dlx_exp_not_positive(logits[last] - top) / sum);
    } while (left && !((float)mass > bound));
    float least = logits[last];
    for (int32_t i = 0; i < n; i++)
        if (logits[i] < least || (logits[i] == least && i > last)) logits[i] = -INFINITY;
}

void dlx_filter_row(const dlx_sampling *how, float *logits, int32_t n, int32_t *index)
{
    if (how->top_k_first) dlx_filter_top_k(logits, n, how->top_k, index);
    dlx_filter_top_p(logits, n, how->top_p, index);
    if (!how->top_k_first) dlx_filter_top_k(logits, n, how->top_k, index);
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

bool dlx_sample_row(const dlx_sampling *how, float *logits, int32_t n, int32_t *index, dlx_random *random,
                    dlx_choice *out)
{
    /* Found before the filters, which may leave nothing that can be chosen. */
    int32_t known = how->known > 0 && how->known < n ? how->known : n, other = dlx_argmax(logits, known, how->never);
    if (how->temperature > 0) dlx_scale_row(logits, n, how->temperature);
    bool filtered = how->top_p < 1 || (how->top_k > 0 && how->top_k < n);
    double whole = how->before_filters && filtered ? exponential_sum(logits, n, largest(logits, n)) : 0;
    dlx_filter_row(how, logits, n, index);
    int32_t top = dlx_argmax(logits, n, -1);
    if (top < 0 || other < 0) return false;
    double sum = dlx_exponentials(logits, n, logits[top]);
    if (!isfinite(sum)) return false;

    const float *e = logits;
    int32_t id = how->given ? how->given_id : how->temperature > 0 ? draw(e, n, sum, how->never, known, random) : top;
    if (id < 0 || id == how->never || id >= known) id = other;
    bool stands_in = how->given ? id != top : top == how->never || top >= known;
    *out = (dlx_choice){.id = id, .probability = (double)(float)((double)e[id] / (whole > 0 ? whole : sum))};
    out->score = out->probability;
    if (how->score == DLX_SCORE_MARGIN) {
        int32_t second = dlx_argmax(e, n, top);
        float p1 = (float)((double)e[top] / sum), p2 = second < 0 ? 0 : (float)((double)e[second] / sum);
        out->score = stands_in ? (double)((float)out->probability - p1) : (double)(p1 - p2);
    } else if (how->score == DLX_SCORE_NEGATIVE_ENTROPY) {
        out->score = (double)(float)p_log_p(e, n, sum, 1e-10f, 0);
    }
    if (how->entropy) out->entropy = (double)(float)-p_log_p(e, n, sum, 0, 1e-12f);
    return true;
}
