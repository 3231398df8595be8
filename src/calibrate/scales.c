#include "calibrate/scales.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "quant/quant.h"

enum { TRIED = 256 }; /* rows that candidates are tried on, spread over all */
enum { ATTENTION, MIXED, MLP, PRODUCTS };
static const double share_of_mean = 0.01; /* what inputs that hardly come count, as damping does for GPTQ */
static const double share_of_made = 0.5;  /* of U_c / U in m: with a half both grids are fine enough */
static const int made_by[DLX_LINEAR_INPUTS] = {-1, DLX_LAYER_V, -1, DLX_LAYER_UP}; /* -1: a norm, of floats */

const char *const dlx_scaled_small[DLX_SCALED_SMALL] = {"attn_norm.weight", "mlp_norm.weight", "v.bias"};
static const int scaled_by[DLX_SCALED_SMALL] = {ATTENTION, MLP, MIXED};

typedef struct finder {
    dlx_layer_scales *out;
    dlx_layerwise *w;
    const dlx_checkpoint *c;
    const dlx_layer_grids *grids;
    dlx_clip clip;
    const dlx_solve_on *on;
    uint64_t step;                        /* every step-th row is kept */
    uint64_t seen[DLX_LINEAR_INPUTS];     /* rows */
    size_t kept[DLX_LINEAR_INPUTS];       /* rows */
    bool wanted[DLX_LINEAR_INPUTS];       /* something that reads it becomes integers */
    double *magnitude[DLX_LINEAR_INPUTS]; /* [k] */
    double *square[DLX_LINEAR_INPUTS];    /* [k] */
    float *low[DLX_LINEAR_INPUTS];        /* [k] with activations on grids: of each input, and 0 */
    float *high[DLX_LINEAR_INPUTS];       /* [k] */
    float *made[DLX_LINEAR_INPUTS];       /* [n_made] most magnitude of each answer of what makes the input */
    size_t n_made[DLX_LINEAR_INPUTS];     /* 0: a norm does */
    float *x[DLX_LINEAR_INPUTS];          /* [TRIED, k] */
    float *weights[DLX_LAYER_LINEARS];    /* of the linears that read one input */
    dlx_error *err;
} finder;

static dlx_status no_memory(const finder *f, const char *name)
{
    return dlx_fail(f->err, DLX_E_NOMEM, "out of memory finding scales of the inputs of '%s'", name);
}

static const dlx_value *weight_of(const finder *f, int linear)
{
    return dlx_layerwise_weight(f->w, linear);
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

typedef struct squares {
    double *sum;
    const float *x;
    size_t rows, k;
} squares;

enum { COLUMNS = 64 };

static void add_squares(void *arg, size_t begin, size_t end, size_t thread)
{
    const squares *q = arg;
    size_t first = begin * COLUMNS, last = end * COLUMNS < q->k ? end * COLUMNS : q->k;
    (void)thread;
    for (size_t m = 0; m < q->rows; m++)
        for (size_t c = first; c < last; c++) q->sum[c] += (double)q->x[m * q->k + c] * (double)q->x[m * q->k + c];
}

/* Where numbers lie. The order of rows does not matter. */
static void widen(float *low, float *high, const float *x, size_t rows, size_t k)
{
    for (size_t m = 0; m < rows; m++, x += k)
        for (size_t c = 0; c < k; c++) {
            low[c] = x[c] < low[c] ? x[c] : low[c];
            high[c] = x[c] > high[c] ? x[c] : high[c];
        }
}

/* The answers of linears that make inputs of others. */
static void add_made(finder *f, const dlx_linear_rows *l)
{
    for (int i = 0; i < DLX_LINEAR_INPUTS; i++) {
        if (made_by[i] != l->linear || !f->made[i]) continue;
        const float *y = l->y;
        for (size_t m = 0; m < l->rows; m++, y += l->n_out)
            for (size_t c = 0; c < l->n_out; c++)
                if (fabsf(y[c]) > f->made[i][c]) f->made[i][c] = fabsf(y[c]);
    }
}

static dlx_status add_rows(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    finder *f = ctx;
    int i = dlx_linear_input(l->linear);
    (void)err;
    if (f->grids->activations) add_made(f, l);
    if (!dlx_linear_first(l->linear) || !f->wanted[i]) return DLX_OK;
    if (f->grids->activations) {
        widen(f->low[i], f->high[i], l->x, l->rows, l->n_in);
    } else {
        squares q = {.sum = f->square[i], .x = l->x, .rows = l->rows, .k = l->n_in};
        dlx_inputs_add(f->magnitude[i], l->x, l->n_in, l->rows, l->n_in, f->on);
        dlx_pool_for(f->on->pool, (l->n_in + COLUMNS - 1) / COLUMNS, 1, add_squares, &q);
    }
    for (size_t m = 0; m < l->rows; m++, f->seen[i]++)
        if (f->seen[i] % f->step == 0 && f->kept[i] < TRIED)
            memcpy(f->x[i] + f->kept[i]++ * l->n_in, l->x + m * l->n_in, l->n_in * sizeof(float));
    return DLX_OK;
}

static bool all_become(const finder *f, int first, int end)
{
    for (int k = first; k < end; k++)
        if (!f->grids->becomes[k]) return false;
    return true;
}

static dlx_status make_room(finder *f, int i)
{
    size_t k = f->out->k[i];
    f->magnitude[i] = dlx_mem_zeroed(NULL, k, sizeof *f->magnitude[i]);
    f->x[i] = dlx_mem_array(NULL, TRIED * k, sizeof *f->x[i]);
    bool there = f->magnitude[i] && f->x[i];
    if (!f->grids->activations) {
        f->square[i] = dlx_mem_zeroed(NULL, k, sizeof *f->square[i]);
        there = there && f->square[i];
    } else {
        f->low[i] = dlx_mem_zeroed(NULL, k, sizeof *f->low[i]);
        f->high[i] = dlx_mem_zeroed(NULL, k, sizeof *f->high[i]);
        f->n_made[i] = made_by[i] < 0 ? 0 : (size_t)weight_of(f, made_by[i])->dim[0];
        f->made[i] = f->n_made[i] ? dlx_mem_zeroed(NULL, f->n_made[i], sizeof *f->made[i]) : NULL;
        there = there && f->low[i] && f->high[i] && (f->made[i] || !f->n_made[i]);
    }
    return there ? DLX_OK : no_memory(f, weight_of(f, dlx_linear_inputs[i].first)->name);
}

static dlx_status collect(finder *f)
{
    bool any = false;
    for (int i = 0; i < DLX_LINEAR_INPUTS; i++) {
        dlx_linear_readers r = dlx_linear_inputs[i];
        f->out->k[i] = (size_t)weight_of(f, r.first)->dim[1];
        for (int l = r.first; l < r.end; l++) f->wanted[i] = f->wanted[i] || f->grids->becomes[l];
        if (!f->wanted[i]) continue;
        any = true;
        DLX_TRY(make_room(f, i));
    }
    return any ? dlx_layerwise_run(f->w, 0, add_rows, f, f->err) : DLX_OK;
}

/* ---- scales ----------------------------------------------------------------------------------------------------- */

static size_t elements_of(const finder *f, int linear)
{
    const dlx_value *v = weight_of(f, linear);
    return (size_t)v->dim[0] * (size_t)v->dim[1];
}

static dlx_status read_weights(finder *f, int linear)
{
    const dlx_value *v = weight_of(f, linear);
    f->weights[linear] = dlx_mem_array(NULL, elements_of(f, linear), sizeof *f->weights[linear]);
    if (!f->weights[linear]) return no_memory(f, v->name);
    return dlx_const_collect(v, f->on->pool, f->weights[linear], f->err);
}

static void forget_weights(finder *f, int linear)
{
    if (f->weights[linear]) dlx_mem_free(NULL, f->weights[linear], elements_of(f, linear), sizeof *f->weights[linear]);
    f->weights[linear] = NULL;
}

/* Whether all that the scales of input i would be folded into may change. */
static bool can_fold(const finder *f, int i)
{
    if (!all_become(f, dlx_linear_inputs[i].first, dlx_linear_inputs[i].end)) return false;
    return i == MIXED ? f->grids->becomes[DLX_LAYER_V] : i != PRODUCTS || f->grids->becomes[DLX_LAYER_UP];
}

/* m of activations on grids; 0 where nothing but 0 was seen. */
static void weigh_reach(finder *f, int i)
{
    const dlx_model_shape *shape = &f->c->shape;
    size_t k = f->out->k[i], dim = (size_t)shape->head_dim, queries = (size_t)(shape->heads / shape->kv_heads);
    double most = 0, most_made = 0;
    for (size_t c = 0; c < k; c++) {
        f->magnitude[i][c] = f->high[i][c] > -f->low[i][c] ? (double)f->high[i][c] : -(double)f->low[i][c];
        if (f->magnitude[i][c] > most) most = f->magnitude[i][c];
    }
    for (size_t c = 0; c < f->n_made[i]; c++)
        if ((double)f->made[i][c] > most_made) most_made = (double)f->made[i][c];
    for (size_t c = 0; c < k; c++) {
        size_t maker = i == MIXED ? c / dim / queries * dim + c % dim : c; /* of a head's output: v of its group */
        double made = most_made > 0 ? share_of_made * (double)f->made[i][maker] / most_made : 0;
        double own = most > 0 ? f->magnitude[i][c] / most : 0;
        f->magnitude[i][c] = own > made ? own : made;
    }
}

typedef struct on_grid {
    const float *low, *high; /* [k] */
} on_grid;

/* Rows as layers on a grid read them, over s again. */
static void to_grid(void *ctx, float *x, size_t rows, size_t k, const float *s)
{
    const on_grid *g = ctx;
    float low = 0, high = 0;
    for (size_t c = 0; c < k; c++) {
        low = g->low[c] / s[c] < low ? g->low[c] / s[c] : low;
        high = g->high[c] / s[c] > high ? g->high[c] / s[c] : high;
    }
    const dlx_grid8 grid = dlx_grid8_over(low, high);
    float least = (float)(-128 - grid.zero), most = (float)(127 - grid.zero);
    for (size_t m = 0; m < rows; m++, x += k)
        for (size_t c = 0; c < k; c++) {
            float q = rintf(x[c] / s[c] / grid.scale);
            x[c] = (q < least ? least : q > most ? most : q) * grid.scale * s[c];
        }
}

static dlx_status search(finder *f, int i)
{
    const dlx_linear_readers r = dlx_linear_inputs[i];
    const dlx_model_shape *shape = &f->c->shape;
    const char *name = weight_of(f, r.first)->name;
    dlx_layer_scales *out = f->out;
    dlx_awq_weights layers[DLX_LAYER_LINEARS];
    dlx_awq_result result;
    size_t k = out->k[i];
    float *s = out->s[i] = dlx_mem_array(NULL, k, sizeof *s);
    if (!s) return no_memory(f, name);
    for (int l = r.first; l < r.end; l++) {
        DLX_TRY(read_weights(f, l));
        layers[l - r.first] =
            (dlx_awq_weights){.w = f->weights[l], .n = (size_t)weight_of(f, l)->dim[0], .grid = f->grids->grid[l]};
    }
    on_grid reach = {.low = f->low[i], .high = f->high[i]};
    if (f->grids->activations) weigh_reach(f, i);
    if (i == MIXED)
        dlx_heads_tie(f->magnitude[i], (size_t)shape->heads, (size_t)shape->kv_heads, (size_t)shape->head_dim);
    const dlx_awq_search a = {.layer = layers,
                              .layers = (size_t)(r.end - r.first),
                              .k = k,
                              .magnitude = f->magnitude[i],
                              .x = f->x[i],
                              .x_stride = k,
                              .rows = f->kept[i],
                              .clip = f->clip,
                              .inputs = f->grids->activations ? to_grid : NULL,
                              .inputs_ctx = &reach};
    DLX_TRY(dlx_awq_find(s, &result, &a, f->on, name, f->err));
    out->error[i] = result.error;
    out->before[i] = result.before;
    if (result.exponent > 0) return DLX_OK;
    dlx_mem_free(NULL, s, k, sizeof *s); /* as they are: best */
    out->s[i] = NULL;
    return DLX_OK;
}

static dlx_status weigh(finder *f, int i)
{
    size_t k = f->out->k[i];
    const float *s = f->out->s[i];
    float *to = f->out->importance[i] = dlx_mem_array(NULL, k, sizeof *to);
    double sum = 0;
    if (!to) return no_memory(f, weight_of(f, dlx_linear_inputs[i].first)->name);
    for (size_t c = 0; s && c < k; c++) f->square[i][c] /= (double)s[c] * (double)s[c];
    for (size_t c = 0; c < k; c++) sum += f->square[i][c];
    double mean = sum > 0 ? sum / (double)k : 1;
    for (size_t c = 0; c < k; c++) to[c] = (float)(f->square[i][c] / mean + share_of_mean);
    return DLX_OK;
}

/* ---- folding ---------------------------------------------------------------------------------------------------- */

bool dlx_layer_scales_changed(const dlx_layer_scales *s, int small)
{
    return s->s[scaled_by[small]] != NULL;
}

void dlx_layer_scales_fold(const dlx_layer_scales *s, int linear, float *weights, size_t n, size_t k,
                           const dlx_solve_on *on)
{
    const float *columns = s->s[dlx_linear_input(linear)], *rows = NULL;
    if (linear == DLX_LAYER_V) rows = s->rows_of_v;
    if (linear == DLX_LAYER_UP) rows = s->s[PRODUCTS];
    if (columns) dlx_scale_inputs(weights, n, k, columns, on);
    if (rows) dlx_scale_outputs(weights, n, k, rows, on);
}

static dlx_status fold_small(finder *f, int small)
{
    size_t n;
    const float *s = scaled_by[small] == MIXED ? f->out->rows_of_v : f->out->s[scaled_by[small]];
    if (!s) return DLX_OK;
    float *values = dlx_layerwise_small(f->w, dlx_scaled_small[small], &n);
    if (values)
        dlx_scale_outputs(values, n, 1, s, f->on);
    else if (scaled_by[small] != MIXED) /* families without biases have none */
        return dlx_fail(f->err, DLX_E_INTERNAL, "a layer has no '%s'", dlx_scaled_small[small]);
    return DLX_OK;
}

static bool is_folded_into(const dlx_layer_scales *s, int linear)
{
    return s->s[dlx_linear_input(linear)] || (linear == DLX_LAYER_V && s->rows_of_v) ||
           (linear == DLX_LAYER_UP && s->s[PRODUCTS]);
}

/* Biases first: they are packed with the weights. */
static dlx_status fold(finder *f)
{
    const dlx_model_shape *shape = &f->c->shape;
    dlx_layer_scales *out = f->out;
    if (out->s[MIXED]) {
        out->v_rows = (size_t)shape->kv_heads * (size_t)shape->head_dim;
        out->rows_of_v = dlx_mem_array(NULL, out->v_rows, sizeof *out->rows_of_v);
        if (!out->rows_of_v) return no_memory(f, weight_of(f, DLX_LAYER_V)->name);
        dlx_heads_shared(out->rows_of_v, out->s[MIXED], (size_t)shape->heads, (size_t)shape->kv_heads,
                         (size_t)shape->head_dim);
    }
    for (int i = 0; i < DLX_SCALED_SMALL; i++) DLX_TRY(fold_small(f, i));
    for (int l = 0; l < DLX_LAYER_LINEARS; l++) {
        const dlx_value *v = weight_of(f, l);
        if (!is_folded_into(out, l)) continue;
        DLX_TRY(read_weights(f, l));
        dlx_layer_scales_fold(out, l, f->weights[l], (size_t)v->dim[0], (size_t)v->dim[1], f->on);
        DLX_TRY(dlx_layerwise_replace(f->w, l, f->weights[l], f->err));
        forget_weights(f, l);
    }
    return DLX_OK;
}

/* ---- all together ----------------------------------------------------------------------------------------------- */

static dlx_status find(finder *f)
{
    DLX_TRY(collect(f));
    for (int i = 0; i < DLX_LINEAR_INPUTS; i++) {
        if (!f->wanted[i]) continue;
        if (can_fold(f, i)) DLX_TRY(search(f, i));
        for (int l = 0; l < DLX_LAYER_LINEARS; l++) forget_weights(f, l);
        if (!f->grids->activations) DLX_TRY(weigh(f, i));
    }
    return fold(f);
}

dlx_status dlx_layer_scales_find(dlx_layer_scales *out, dlx_layerwise *w, const dlx_checkpoint *c, uint64_t rows,
                                 const dlx_layer_grids *grids, dlx_clip clip, const dlx_solve_on *on, dlx_error *err)
{
    *out = (dlx_layer_scales){.rows_of_v = NULL};
    finder f = {.out = out,
                .w = w,
                .c = c,
                .grids = grids,
                .clip = clip,
                .on = on,
                .step = (rows + TRIED - 1) / TRIED,
                .err = err};
    dlx_status s = find(&f);
    for (int i = 0; i < DLX_LINEAR_INPUTS; i++) {
        dlx_mem_free(NULL, f.magnitude[i], out->k[i], sizeof *f.magnitude[i]);
        dlx_mem_free(NULL, f.square[i], out->k[i], sizeof *f.square[i]);
        dlx_mem_free(NULL, f.low[i], out->k[i], sizeof *f.low[i]);
        dlx_mem_free(NULL, f.high[i], out->k[i], sizeof *f.high[i]);
        dlx_mem_free(NULL, f.made[i], f.n_made[i], sizeof *f.made[i]);
        dlx_mem_free(NULL, f.x[i], TRIED * out->k[i], sizeof *f.x[i]);
    }
    for (int l = 0; l < DLX_LAYER_LINEARS; l++) forget_weights(&f, l);
    if (s != DLX_OK) dlx_layer_scales_free(out);
    return s;
}

void dlx_layer_scales_free(dlx_layer_scales *s)
{
    for (int i = 0; i < DLX_LINEAR_INPUTS; i++) {
        dlx_mem_free(NULL, s->s[i], s->k[i], sizeof *s->s[i]);
        dlx_mem_free(NULL, s->importance[i], s->k[i], sizeof *s->importance[i]);
    }
    dlx_mem_free(NULL, s->rows_of_v, s->v_rows, sizeof *s->rows_of_v);
    *s = (dlx_layer_scales){.rows_of_v = NULL};
}
