/* Candidates are tried row of weights by row: scaled, quantised, unscaled, and what is left times the rows of inputs.
 */
#include "solve/awq.h"

#include <math.h>
#include <string.h>

enum {
    ROWS = 64,   /* of weights that are multiplied together: the inputs come from the cache once for all of them */
    SUMMED = 16, /* of them that are summed together */
    BATCH = 4,   /* times ROWS a thread, after which a candidate may be given up */
    COLUMNS = 64,
};

typedef struct inputs_job {
    double *sum;
    const float *x;
    size_t x_stride, rows, k;
} inputs_job;

static void add_columns(void *arg, size_t begin, size_t end, size_t thread)
{
    const inputs_job *j = arg;
    size_t first = begin * COLUMNS, last = end * COLUMNS < j->k ? end * COLUMNS : j->k;
    (void)thread;
    for (size_t m = 0; m < j->rows; m++)
        for (size_t c = first; c < last; c++) j->sum[c] += (double)fabsf(j->x[m * j->x_stride + c]);
}

void dlx_inputs_add(double *sum, const float *x, size_t x_stride, size_t rows, size_t k, const dlx_solve_on *on)
{
    inputs_job j = {.sum = sum, .x = x, .x_stride = x_stride, .rows = rows, .k = k};
    dlx_pool_for(on->pool, (k + COLUMNS - 1) / COLUMNS, 1, add_columns, &j);
}

/* ---- search ------------------------------------------------------------------------------------------------------ */

typedef struct search {
    const dlx_awq_search *a;
    const dlx_solve_on *on;
    void *packed;   /* the rows of inputs, as weights of a product */
    float *read;    /* [rows, k] what the candidate's layers read of them, */
    void *changed;  /* and as weights of a product; NULL: the rows themselves */
    float *e;       /* [threads, ROWS, k] */
    float *y, *z;   /* [threads, ROWS, rows]; z with `changed`: the answers as they were */
    double *part;   /* of every SUMMED rows of a layer's weights */
    const float *s; /* [k]; NULL: the weights themselves */
    const dlx_awq_weights *layer;
    size_t block; /* the first ROWS rows of the layer's that are next */
} search;

/* e [k] = dequantised(w * s) / s - w; with `changed` only what w is taken off. */
static void deviations(const search *q, float *e, const float *w)
{
    const dlx_kernels *kernels = q->on->kernels;
    const dlx_awq_search *a = q->a;
    dlx_grid g = q->layer->grid;
    size_t share = g.group ? g.group : a->k;
    kernels->mul(e, w, q->s, a->k);
    for (size_t first = 0; first < a->k; first += share) {
        float scale = dlx_grid_scale(kernels, g, a->clip, e + first, NULL, share);
        kernels->grid_round(e + first, e + first, share, scale, dlx_grid_low(g), dlx_grid_high(g));
    }
    for (size_t c = 0; c < a->k; c++) e[c] = q->changed ? e[c] / q->s[c] : e[c] / q->s[c] - w[c];
}

/* y [n, rows] less the answers of the weights w [n, k] to the rows as they are. */
static void take_answers(const search *q, float *y, const float *w, size_t n, size_t thread)
{
    const dlx_awq_search *a = q->a;
    const dlx_gemm *gemm = &q->on->kernels->gemm_f32;
    float *z = q->z + thread * ROWS * a->rows;
    gemm->run(z, a->rows, w, a->k, n, q->packed, (dlx_gemm_shape){.n_out = a->rows, .n_in = a->k}, 0,
              (a->rows + gemm->strip - 1) / gemm->strip);
    for (size_t i = 0; i < n * a->rows; i++) y[i] -= z[i];
}

static void try_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    const search *q = arg;
    const dlx_awq_search *a = q->a;
    const dlx_gemm *gemm = &q->on->kernels->gemm_f32;
    const dlx_gemm_shape shape = {.n_out = a->rows, .n_in = a->k};
    size_t strips = (a->rows + gemm->strip - 1) / gemm->strip;
    const void *packed = q->changed && q->s ? q->changed : q->packed;
    float *e = q->e + thread * ROWS * a->k, *y = q->y + thread * ROWS * a->rows;
    for (size_t i = q->block + begin; i < q->block + end; i++) {
        size_t first = i * ROWS, n = q->layer->n - first < ROWS ? q->layer->n - first : ROWS;
        const float *w = q->layer->w + first * a->k;
        for (size_t m = 0; m < n && q->s; m++) deviations(q, e + m * a->k, w + m * a->k);
        gemm->run(y, a->rows, q->s ? e : w, a->k, n, packed, shape, 0, strips);
        if (packed != q->packed) take_answers(q, y, w, n, thread);
        for (size_t m = 0; m < n; m += SUMMED) {
            size_t stop = m + SUMMED < n ? m + SUMMED : n;
            double sum = 0;
            for (size_t c = m * a->rows; c < stop * a->rows; c++) sum += (double)y[c] * (double)y[c];
            q->part[(first + m) / SUMMED] = sum;
        }
    }
}

static size_t parts_of(size_t n, size_t rows)
{
    return (n + rows - 1) / rows;
}

/* Over `scale`. With s NULL: of the answers themselves. The sum only grows, so it ends where it is no less than
 * `least`: nothing that follows changes who wins. */
static double energy_of(search *q, const float *s, double scale, double least)
{
    size_t most = BATCH * (size_t)dlx_pool_threads(q->on->pool);
    double total = 0;
    q->s = s;
    for (size_t l = 0; l < q->a->layers; l++) {
        q->layer = &q->a->layer[l];
        size_t blocks = parts_of(q->layer->n, ROWS), summed = 0, end;
        for (q->block = 0; q->block < blocks; q->block = end) {
            end = q->block + most < blocks ? q->block + most : blocks;
            dlx_pool_for(q->on->pool, end - q->block, 1, try_rows, q);
            for (; summed < parts_of(q->layer->n, SUMMED) && summed < end * (ROWS / SUMMED); summed++)
                total += q->part[summed];
            if (total / scale >= least) return total / scale;
        }
    }
    return total / scale;
}

static void scales_of(float *s, const double *magnitude, size_t k, double exponent)
{
    double most = 0, least = INFINITY;
    for (size_t c = 0; c < k; c++) {
        if (magnitude[c] > most) most = magnitude[c];
        if (magnitude[c] > 0 && magnitude[c] < least) least = magnitude[c];
    }
    if (most == 0) most = least = 1;
    /* From 2^-20 of the largest on, inputs are as good as never there; their scales would take the others' precision.
     */
    if (least < most * 0x1p-20) least = most * 0x1p-20;
    double middle = sqrt(most) * sqrt(least);
    for (size_t c = 0; c < k; c++) s[c] = (float)pow((magnitude[c] > least ? magnitude[c] : least) / middle, exponent);
}

static dlx_status check_search(const dlx_awq_search *a, const dlx_solve_on *on, const char *name, dlx_error *err)
{
    DLX_TRY(dlx_solve_check_size(a->layers, a->k, name, err));
    DLX_TRY(dlx_solve_check_size(a->rows, a->k, name, err));
    for (size_t l = 0; l < a->layers; l++) {
        DLX_TRY(dlx_grid_check(a->layer[l].grid, a->k, name, err));
        DLX_TRY(dlx_solve_check_size(a->layer[l].n, a->k, name, err));
        DLX_TRY(dlx_solve_check(on, a->layer[l].w, a->layer[l].n, a->k, "weights", name, err));
    }
    for (size_t m = 0; m < a->rows; m++)
        if (dlx_solve_not_finite(a->x + m * a->x_stride, a->k))
            return dlx_fail(err, DLX_E_FORMAT,
                            "'%s': row %zu of the inputs holds NaN or infinity, expected finite numbers", name, m);
    for (size_t c = 0; c < a->k; c++)
        if (!(a->magnitude[c] >= 0) || isinf(a->magnitude[c]))
            return dlx_fail(err, DLX_E_FORMAT, "'%s': the magnitude of input %zu is %g, expected a number from 0", name,
                            c, a->magnitude[c]);
    return DLX_OK;
}

static void take_rows(float *to, const dlx_awq_search *a)
{
    for (size_t m = 0; m < a->rows; m++) memcpy(to + m * a->k, a->x + m * a->x_stride, a->k * sizeof *to);
}

static void change_inputs(const search *q, const float *s)
{
    const dlx_awq_search *a = q->a;
    take_rows(q->read, a);
    a->inputs(a->inputs_ctx, q->read, a->rows, a->k, s);
    dlx_solve_pack(q->on, q->changed, q->read, (dlx_gemm_shape){.n_out = a->rows, .n_in = a->k});
}

static dlx_status try_all(search *q, float *s, float *candidate, dlx_awq_result *result, const char *name,
                          dlx_error *err)
{
    size_t k = q->a->k;
    double answers = energy_of(q, NULL, 1, INFINITY), scale = answers > 0 ? answers : 1;
    for (int i = 0; i <= DLX_AWQ_STEPS; i++) {
        double exponent = (double)i / DLX_AWQ_STEPS;
        scales_of(candidate, q->a->magnitude, k, exponent);
        if (q->changed) change_inputs(q, candidate);
        double error = energy_of(q, candidate, scale, i > 0 ? result->error : INFINITY);
        if (i == 0) result->before = error;
        if (i > 0 && !(error < result->error)) continue;
        result->error = error;
        result->exponent = (float)exponent;
        memcpy(s, candidate, k * sizeof *s);
    }
    if (isfinite(answers) && isfinite(result->before)) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT, "'%s': what it answers goes beyond float32; its weights or inputs are too large",
                    name);
}

/* x [rows, k] as weights: contiguous, then packed. */
static bool pack_inputs(const search *q)
{
    const dlx_awq_search *a = q->a;
    float *x = dlx_mem_array(NULL, a->rows * a->k, sizeof *x);
    if (!x) return false;
    take_rows(x, a);
    dlx_solve_pack(q->on, q->packed, x, (dlx_gemm_shape){.n_out = a->rows, .n_in = a->k});
    dlx_mem_free(NULL, x, a->rows * a->k, sizeof *x);
    return true;
}

dlx_status dlx_awq_find(float *s, dlx_awq_result *result, const dlx_awq_search *a, const dlx_solve_on *on,
                        const char *name, dlx_error *err)
{
    *result = (dlx_awq_result){0};
    DLX_TRY(check_search(a, on, name, err));
    size_t threads = (size_t)dlx_pool_threads(on->pool), most = 0;
    for (size_t l = 0; l < a->layers; l++) most = a->layer[l].n > most ? a->layer[l].n : most;
    size_t packed = on->kernels->gemm_f32.packed_size((dlx_gemm_shape){.n_out = a->rows, .n_in = a->k});
    search q = {.a = a, .on = on};
    float *candidate = dlx_mem_array(NULL, a->k, sizeof *candidate);
    q.packed = dlx_mem_array(NULL, packed, 1);
    q.e = dlx_mem_array(NULL, threads * ROWS * a->k, sizeof *q.e);
    q.y = dlx_mem_array(NULL, threads * ROWS * a->rows, sizeof *q.y);
    q.part = dlx_mem_array(NULL, parts_of(most, SUMMED), sizeof *q.part);
    if (a->inputs) {
        q.read = dlx_mem_array(NULL, a->rows * a->k, sizeof *q.read);
        q.changed = dlx_mem_array(NULL, packed, 1);
        q.z = dlx_mem_array(NULL, threads * ROWS * a->rows, sizeof *q.z);
    }
    dlx_status status = DLX_OK;
    bool there = candidate && q.packed && q.e && q.y && q.part && (!a->inputs || (q.read && q.changed && q.z));
    if (there && pack_inputs(&q))
        status = try_all(&q, s, candidate, result, name, err);
    else
        status =
            dlx_fail(err, DLX_E_NOMEM, "'%s': no memory to try scales on %zu rows of %zu inputs", name, a->rows, a->k);
    dlx_mem_free(NULL, candidate, a->k, sizeof *candidate);
    dlx_mem_free(NULL, q.packed, packed, 1);
    dlx_mem_free(NULL, q.e, threads * ROWS * a->k, sizeof *q.e);
    dlx_mem_free(NULL, q.y, threads * ROWS * a->rows, sizeof *q.y);
    dlx_mem_free(NULL, q.part, parts_of(most, SUMMED), sizeof *q.part);
    dlx_mem_free(NULL, q.read, a->rows * a->k, sizeof *q.read);
    dlx_mem_free(NULL, q.changed, packed, 1);
    dlx_mem_free(NULL, q.z, threads * ROWS * a->rows, sizeof *q.z);
    if (status != DLX_OK) *result = (dlx_awq_result){0};
    return status;
}

/* ---- folding ----------------------------------------------------------------------------------------------------- */

void dlx_heads_tie(double *magnitude, size_t heads, size_t kv_heads, size_t head_dim)
{
    size_t queries = heads / kv_heads;
    for (size_t v = 0; v < kv_heads; v++)
        for (size_t d = 0; d < head_dim; d++) {
            double *first = magnitude + v * queries * head_dim + d, sum = 0;
            for (size_t q = 0; q < queries; q++) sum += first[q * head_dim];
            for (size_t q = 0; q < queries; q++) first[q * head_dim] = sum / (double)queries;
        }
}

void dlx_heads_shared(float *out, const float *s, size_t heads, size_t kv_heads, size_t head_dim)
{
    size_t queries = heads / kv_heads;
    for (size_t v = 0; v < kv_heads; v++)
        memcpy(out + v * head_dim, s + v * queries * head_dim, head_dim * sizeof *out);
}

typedef struct scale_job {
    float *w;
    size_t k;
    const float *s;
} scale_job;

static void scale_columns(void *arg, size_t begin, size_t end, size_t thread)
{
    const scale_job *j = arg;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        for (size_t c = 0; c < j->k; c++) j->w[i * j->k + c] *= j->s[c];
}

static void scale_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    const scale_job *j = arg;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        for (size_t c = 0; c < j->k; c++) j->w[i * j->k + c] /= j->s[i];
}

void dlx_scale_inputs(float *w, size_t n, size_t k, const float *s, const dlx_solve_on *on)
{
    scale_job j = {.w = w, .k = k, .s = s};
    dlx_pool_for(on->pool, n, 16, scale_columns, &j);
}

void dlx_scale_outputs(float *w, size_t n, size_t k, const float *s, const dlx_solve_on *on)
{
    scale_job j = {.w = w, .k = k, .s = s};
    dlx_pool_for(on->pool, n, 16, scale_rows, &j);
}
