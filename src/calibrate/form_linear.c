#include "calibrate/form_linear.h"

#include <string.h>

#include "quant/quant.h"

static dlx_status no_memory(const dlx_value *w, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory giving '%s' a form", w->name);
}

/* x -> x W^T + bias, of a decoder layer. */
static dlx_status build(dlx_graph *g, const dlx_form_linear_source *from, size_t rows, dlx_error *err)
{
    const dlx_value *w = from->weight;
    int64_t in[2] = {(int64_t)rows, w->dim[1]};
    uint32_t operands[3] = {dlx_graph_input(g, "x", DLX_F32, 2, in, 1),
                            dlx_graph_const(g, w->name, DLX_F32, 2, w->dim, w->source), DLX_NONE};
    if (from->bias) {
        dlx_const_source bias = {.data = from->bias, .bytes = (uint64_t)w->dim[0] * sizeof(float), .stored = DLX_F32};
        operands[2] = dlx_graph_const(g, "bias", DLX_F32, 1, w->dim, bias);
        if (operands[2] == DLX_NONE) return no_memory(w, err);
    }
    uint32_t y = dlx_graph_node(g, DLX_OP_LINEAR, operands, from->bias ? 3 : 2, NULL, 0, err);
    return dlx_graph_output(g, y) ? DLX_OK : no_memory(w, err);
}

/* Codes and scales that were found, in place of those that rounding makes. */
static void take_codes(dlx_graph *g, const dlx_gridded *codes)
{
    for (size_t i = 0; codes && i < g->n_values; i++) {
        dlx_value *v = &g->values[i];
        if (v->kind != DLX_VALUE_CONST || v->scales == DLX_NONE) continue;
        dlx_value *scales = &g->values[v->scales];
        v->source = (dlx_const_source){.data = codes->codes, .stored = v->dtype};
        scales->source = (dlx_const_source){.data = codes->group_scale, .stored = scales->dtype};
        if (!codes->group_scale) scales->source.data = codes->scale;
    }
}

static bool find_range(void *ctx, const char *name, float *low, float *high)
{
    const dlx_form_linear_source *from = ctx;
    size_t n = strlen(name), tail = sizeof ".input" - 1;
    dlx_bounds b = n > tail && !strcmp(name + n - tail, ".input") ? from->in : from->out;
    *low = b.low;
    *high = b.high;
    return true;
}

/* All constants as they are in a file; they are packed from there, and not needed any more. */
static dlx_status take_constants(dlx_graph *g, dlx_arena *arena, dlx_pool *pool, dlx_error *err)
{
    for (size_t i = 0; i < g->n_values; i++) {
        dlx_value *v = &g->values[i];
        dlx_shape shape = dlx_value_shape(v);
        uint64_t bytes;
        if (v->kind != DLX_VALUE_CONST) continue;
        if (!dlx_dtype_bytes(v->dtype, (uint64_t)dlx_shape_elements(&shape), &bytes) || bytes > SIZE_MAX)
            return dlx_fail(err, DLX_E_LIMIT, "'%s' is too large to be measured", v->name);
        if (v->source.data && v->source.transform == DLX_CONST_PLAIN) {
            v->source.bytes = bytes;
            continue;
        }
        void *data = dlx_arena_alloc(arena, (size_t)bytes);
        if (!data) return no_memory(v, err);
        DLX_TRY(dlx_const_collect(v, pool, data, err));
        v->source = (dlx_const_source){.data = data, .bytes = bytes, .stored = v->dtype};
    }
    return DLX_OK;
}

static dlx_status give_form(dlx_graph *g, dlx_arena *arena, const dlx_form_linear_source *from, dlx_pool *pool,
                            dlx_error *err)
{
    const dlx_recipe recipe = {.body = from->form, .head = from->form, .table = from->form, .clip = from->clip};
    dlx_form_linear_source ranges = *from;
    const dlx_activation_ranges of = {.find = find_range, .ctx = &ranges};
    DLX_TRY(dlx_quantize(g, &recipe, err));
    take_codes(g, from->codes);
    DLX_TRY(take_constants(g, arena, pool, err));
    return dlx_wants_ranges(g) ? dlx_quantize_static(g, &of, pool, err) : DLX_OK;
}

static dlx_status open_graph(dlx_form_linear *out, dlx_graph *g, dlx_arena *arena, const dlx_form_linear_source *from,
                             size_t rows, const dlx_layerwise_options *run, dlx_error *err)
{
    const dlx_program_options o = {.limit = run->limit, .pool = run->pool};
    dlx_shape most = {.rank = 2, .dim = {(int64_t)rows, (int64_t)out->k}};
    const dlx_executor_bounds bounds = {.max_shape = &most};
    DLX_TRY(build(g, from, rows, err));
    DLX_TRY(give_form(g, arena, from, run->pool, err));
    DLX_TRY(dlx_graph_verify(g, err));
    DLX_TRY(dlx_program_prepare(&out->program, g, &o, err));
    return dlx_executor_open(&out->ex, &out->program, &bounds, run->pool, NULL, err);
}

dlx_status dlx_form_linear_open(dlx_form_linear *out, const dlx_form_linear_source *from, size_t rows,
                                const dlx_layerwise_options *run, dlx_error *err)
{
    dlx_graph g;
    dlx_arena arena;
    memset(out, 0, sizeof *out);
    out->k = (size_t)from->weight->dim[1];
    dlx_graph_init(&g);
    dlx_arena_init(&arena);
    dlx_status s = open_graph(out, &g, &arena, from, rows, run, err);
    dlx_graph_free(&g);
    dlx_arena_free(&arena);
    if (s != DLX_OK) dlx_form_linear_close(out);
    return s;
}

void dlx_form_linear_close(dlx_form_linear *l)
{
    dlx_executor_close(l->ex);
    dlx_program_free(&l->program);
    memset(l, 0, sizeof *l);
}

dlx_status dlx_form_linear_run(dlx_form_linear *l, const float *x, size_t rows, const float **y, dlx_error *err)
{
    dlx_tensor_ref out;
    /* Read only: inputs of a pass are. */
    const dlx_tensor_ref in = {(void *)(uintptr_t)x, {.rank = 2, .dim = {(int64_t)rows, (int64_t)l->k}}};
    const dlx_pass pass = {.inputs = &in};
    DLX_TRY(dlx_executor_run(l->ex, &pass, &out, err));
    *y = out.data;
    return DLX_OK;
}
