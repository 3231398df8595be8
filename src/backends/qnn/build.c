/* A graph in the library: its context, tensors and operators, inputs and outputs in their own types. */
#include "backends/qnn/build.h"

#include <stdio.h>
#include <string.h>

const dlx_qnn_quant dlx_qnn_unquantised = {.definition = DLX_QNN_UNDEFINED, .encoding = DLX_QNN_NO_ENCODING};

enum { FINALIZE_LEVEL = 3, GRAPH_CONFIGS = 3 };

dlx_status dlx_qnn_no_memory(const dlx_qnn_build *b)
{
    return dlx_fail(b->err, DLX_E_NOMEM, "out of memory lowering a graph of %zu nodes to QNN", b->g->n_nodes);
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

dlx_status dlx_qnn_add_tensor(dlx_qnn_build *b, dlx_qnn_tensor **out, const char *name, dlx_qnn_role role,
                              dlx_qnn_dtype dtype, const dlx_qnn_quant *quant, const dlx_qnn_shape *shape, void *data,
                              uint64_t bytes)
{
    char made_up[24], what[160];
    int n = snprintf(made_up, sizeof made_up, "t%u", b->n_tensors++);
    if (!name) name = dlx_arena_strndup(&b->arena, made_up, (size_t)n);
    dlx_qnn_tensor *t = dlx_arena_alloc(&b->arena, sizeof *t);
    uint32_t *dim = dlx_arena_array(&b->arena, shape->rank, sizeof *dim);
    if (!name || !t || !dim) return dlx_qnn_no_memory(b);
    for (uint32_t i = 0; i < shape->rank; i++) {
        if (shape->dim[i] < 1 || shape->dim[i] > INT32_MAX)
            return dlx_fail(b->err, DLX_E_LIMIT, "QNN: a dimension of %lld elements", (long long)shape->dim[i]);
        dim[i] = (uint32_t)shape->dim[i];
    }
    if (bytes > UINT32_MAX)
        return dlx_fail(b->err, DLX_E_LIMIT, "QNN: a constant of %llu bytes; it takes less than 4 GiB each",
                        (unsigned long long)bytes);
    *t = (dlx_qnn_tensor){.version = 2,
                          .name = name,
                          .role = role,
                          .dtype = dtype,
                          .quant = *quant,
                          .rank = shape->rank,
                          .dim = dim,
                          .buffer = {data, (uint32_t)bytes}};
    dlx_qnn_error e = b->lib->api->create_graph_tensor(b->graph, t);
    if (e) {
        snprintf(what, sizeof what, "add tensor '%.100s'", name);
        return dlx_qnn_fail(b->lib, e, b->err, what);
    }
    t->buffer.data = NULL; /* it has a copy */
    *out = t;
    return DLX_OK;
}

/* How numbers of a value stand inside of the graph. */
static dlx_qnn_dtype computing(const dlx_qnn_build *b, uint32_t value, dlx_qnn_quant *quant)
{
    *quant = dlx_qnn_unquantised;
    if (!b->grid) return DLX_QNN_F16;
    *quant =
        (dlx_qnn_quant){.definition = DLX_QNN_DEFINED, .encoding = DLX_QNN_SCALE_OFFSET, .u.scale = b->grid[value]};
    return DLX_QNN_UFIX16;
}

dlx_status dlx_qnn_add_native(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value, const dlx_qnn_shape *shape)
{
    dlx_qnn_quant quant;
    dlx_qnn_dtype dtype = computing(b, value, &quant);
    return dlx_qnn_add_tensor(b, out, NULL, DLX_QNN_NATIVE, dtype, &quant, shape, NULL, 0);
}

/* ---- operators -------------------------------------------------------------------------------------------------- */

dlx_qnn_param dlx_qnn_number(const char *name, dlx_qnn_dtype dtype, uint32_t bits)
{
    dlx_qnn_param p = {.name = name};
    p.u.scalar.dtype = dtype;
    p.u.scalar.value.u32 = bits;
    return p;
}

dlx_status dlx_qnn_numbers(dlx_qnn_build *b, dlx_qnn_param *out, const char *name, dlx_qnn_dtype dtype,
                           const uint32_t *numbers, uint32_t rows, uint32_t columns)
{
    dlx_qnn_shape shape = {.rank = rows ? 2 : 1, .dim = {rows ? rows : columns, columns}};
    size_t n = (size_t)columns * (rows ? rows : 1);
    uint32_t *kept = dlx_arena_array(&b->arena, n, sizeof *kept);
    dlx_qnn_tensor *t;
    if (!kept) return dlx_qnn_no_memory(b);
    memcpy(kept, numbers, n * sizeof *kept);
    DLX_TRY(
        dlx_qnn_add_tensor(b, &t, NULL, DLX_QNN_STATIC, dtype, &dlx_qnn_unquantised, &shape, kept, n * sizeof *kept));
    *out = (dlx_qnn_param){.kind = 1, .name = name, .u.tensor = *t};
    return DLX_OK;
}

enum { MOST_OPERANDS = 8, MOST_PARAMS = 4 };

dlx_status dlx_qnn_add_op(dlx_qnn_build *b, const char *type, const char *about, dlx_qnn_tensor *const *in,
                          uint32_t n_in, dlx_qnn_tensor *out, const dlx_qnn_param *params, uint32_t n_params)
{
    char name[128], what[192];
    dlx_qnn_tensor operands[MOST_OPERANDS], result = *out;
    dlx_qnn_param kept[MOST_PARAMS];
    for (uint32_t i = 0; i < n_in; i++) operands[i] = *in[i];
    if (n_params) memcpy(kept, params, n_params * sizeof *kept);
    snprintf(name, sizeof name, "%.100s_%u", about ? about : type, b->n_ops++);
    dlx_qnn_op op = {.version = 1,
                     .name = name,
                     .package = "qti.aisw",
                     .type = type,
                     .n_params = n_params,
                     .params = n_params ? kept : NULL,
                     .n_inputs = n_in,
                     .inputs = operands,
                     .n_outputs = 1,
                     .outputs = &result};
    dlx_qnn_error e = b->lib->api->graph_add_node(b->graph, op);
    if (!e) return DLX_OK;
    snprintf(what, sizeof what, "add %s for '%.100s'", type, about ? about : "");
    return dlx_qnn_fail(b->lib, e, b->err, what);
}

/* ---- inputs and outputs ----------------------------------------------------------------------------------------- */

static dlx_status outside(dlx_qnn_build *b, dlx_qnn_tensor *out, const char *kind, size_t i, uint32_t value,
                          dlx_qnn_role role)
{
    char name[64];
    const dlx_value *v = &b->g->values[value];
    dlx_qnn_shape shape = dlx_qnn_shape_of(v);
    dlx_qnn_tensor *t;
    /* The official runtime reads the number behind the first '_' of inputs, and how names of outputs begin. */
    int n = snprintf(name, sizeof name, "%s_%zu_x", kind, i);
    char *kept = dlx_arena_strndup(&b->arena, name, (size_t)n);
    if (!kept) return dlx_qnn_no_memory(b);
    DLX_TRY(dlx_qnn_add_tensor(b, &t, kept, role, v->dtype == DLX_F16 ? DLX_QNN_F16 : DLX_QNN_F32, &dlx_qnn_unquantised,
                               &shape, NULL, 0));
    *out = *t;
    return DLX_OK;
}

static dlx_status add_inputs(dlx_qnn_build *b)
{
    for (size_t i = 0; i < b->g->n_inputs; i++) {
        uint32_t value = b->g->inputs[i];
        DLX_TRY(outside(b, &b->inputs[i], "input", i, value, DLX_QNN_APP_WRITE));
        dlx_qnn_tensor *from = &b->inputs[i];
        dlx_qnn_shape shape = dlx_qnn_shape_of(&b->g->values[value]);
        if (!b->grid && from->dtype == DLX_QNN_F16) {
            b->made[value] = from;
            continue;
        }
        DLX_TRY(dlx_qnn_add_native(b, &b->made[value], value, &shape));
        DLX_TRY(dlx_qnn_add_op(b, b->grid ? "Quantize" : "Cast", b->g->values[value].name, &from, 1, b->made[value],
                               NULL, 0));
    }
    return DLX_OK;
}

/* Declared first, so that they are in the order of the call. */
static dlx_status declare_outputs(dlx_qnn_build *b)
{
    for (size_t i = 0; i < b->g->n_outputs; i++)
        DLX_TRY(outside(b, &b->outputs[i], "output", i, b->g->outputs[i], DLX_QNN_APP_READ));
    return DLX_OK;
}

static dlx_status make_outputs(dlx_qnn_build *b)
{
    for (size_t i = 0; i < b->g->n_outputs; i++) {
        uint32_t value = b->g->outputs[i];
        const char *op = b->grid ? "Dequantize" : b->outputs[i].dtype == DLX_QNN_F16 ? "Reshape" : "Cast";
        if (!b->made[value]) return dlx_fail(b->err, DLX_E_INTERNAL, "QNN: output %zu is computed by nobody", i);
        DLX_TRY(dlx_qnn_add_op(b, op, b->g->values[value].name, &b->made[value], 1, &b->outputs[i], NULL, 0));
    }
    return DLX_OK;
}

/* ---- the graph -------------------------------------------------------------------------------------------------- */

static dlx_status create(dlx_qnn_build *b, const char *method)
{
    dlx_qnn_htp_config custom[GRAPH_CONFIGS] = {
        {.option = DLX_QNN_HTP_OPTIMIZATION, .u.optimization = {DLX_QNN_HTP_FINALIZE_LEVEL, (float)FINALIZE_LEVEL}},
        {.option = DLX_QNN_HTP_VTCM_MIB, .u.number = b->lib->chip->vtcm_mib},
        {.option = DLX_QNN_HTP_PRECISION, .u.number = DLX_QNN_HTP_PRECISION_F16}};
    dlx_qnn_config config[GRAPH_CONFIGS];
    const dlx_qnn_config *list[GRAPH_CONFIGS + 1] = {NULL};
    int n = b->grid ? 2 : 3;
    for (int i = 0; i < n; i++) {
        config[i] = (dlx_qnn_config){.custom = &custom[i]};
        list[i] = &config[i];
    }
    dlx_qnn_error e = b->lib->api->context_create(b->lib->backend, b->lib->device, NULL, &b->context);
    if (e) return dlx_qnn_fail(b->lib, e, b->err, "make a context");
    e = b->lib->api->graph_create(b->context, method, list, &b->graph);
    return e ? dlx_qnn_fail(b->lib, e, b->err, "make a graph") : DLX_OK;
}

static dlx_status fill(dlx_qnn_build *b)
{
    b->made = dlx_arena_array(&b->arena, b->g->n_values + 1, sizeof *b->made);
    b->inputs = dlx_arena_array(&b->arena, b->g->n_inputs + 1, sizeof *b->inputs);
    b->outputs = dlx_arena_array(&b->arena, b->g->n_outputs + 1, sizeof *b->outputs);
    if (!b->made || !b->inputs || !b->outputs) return dlx_qnn_no_memory(b);
    DLX_TRY(declare_outputs(b));
    DLX_TRY(add_inputs(b));
    DLX_TRY(dlx_qnn_add_nodes(b));
    DLX_TRY(make_outputs(b));
    dlx_qnn_error e = b->lib->api->graph_finalize(b->graph, NULL, NULL);
    return e ? dlx_qnn_fail(b->lib, e, b->err, "compile the graph") : DLX_OK;
}

dlx_status dlx_qnn_build_begin(dlx_qnn_build *b, const dlx_qnn_library *lib, const dlx_graph *g,
                               const dlx_qnn_scale *grid, const char *method, dlx_pool *pool, dlx_error *err)
{
    *b = (dlx_qnn_build){.lib = lib, .g = g, .grid = grid, .pool = pool, .err = err};
    dlx_arena_init(&b->arena);
    dlx_arena_init(&b->scratch);
    dlx_status s = create(b, method);
    if (s == DLX_OK) s = fill(b);
    if (s != DLX_OK) dlx_qnn_build_end(b);
    return s;
}

void dlx_qnn_build_end(dlx_qnn_build *b)
{
    if (b->context) b->lib->api->context_free(b->context, NULL);
    dlx_arena_free(&b->arena);
    dlx_arena_free(&b->scratch);
    memset(b, 0, sizeof *b);
}
