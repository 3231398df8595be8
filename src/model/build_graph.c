/*
 * The decoder as a graph of high-level operators: pre-norm Llama blocks with grouped attention over a cache and a
 * SwiGLU MLP. What families differ in is in the weights that are there (biases, head norms) and in the shape; attention
 * sees every cached row and every row of the call, whoever runs the graph chooses the rows.
 *
 * A layer: h += o(attention(rope(q(n)), rope(k(n)), v(n))), n = norm(h); h += down(silu(gate(n)) * up(n)), n = norm(h).
 */
#include "model/builder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- constants -------------------------------------------------------------------------------------------------- */

uint32_t dlx_build_made(dlx_builder *b, uint32_t value)
{
    if (value == DLX_NONE && b->err->status == DLX_OK)
        dlx_fail(b->err, DLX_E_NOMEM, "out of memory building a graph of %d layers", b->c->shape.layers);
    return value;
}

/* A view on a weight, named "layers.N.<name>" or "<name>"; DLX_NONE where the checkpoint has none. */
static uint32_t weight(dlx_builder *b, const char *name, const dlx_st_tensor *t)
{
    char full[96];
    if (!t) return DLX_NONE;
    if (b->layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "layers.%d.%s", b->layer, name);
    dlx_const_source source = {.data = t->data,
                               .bytes = t->bytes,
                               .stored = t->dtype,
                               .transform = t->dtype == DLX_F32 ? DLX_CONST_PLAIN : DLX_CONST_WIDEN,
                               .file = t->source,
                               .offset = t->offset,
                               .tensor = t->name};
    return dlx_build_made(b, dlx_graph_const(b->g, full, DLX_F32, t->rank, t->dim, source));
}

void dlx_build_name(dlx_builder *b, uint32_t v, const char *name)
{
    if (v == DLX_NONE) return;
    b->g->values[v].name = dlx_arena_strndup(&b->g->arena, name, strlen(name));
    if (!b->g->values[v].name) dlx_build_made(b, DLX_NONE);
}

/* ---- operators -------------------------------------------------------------------------------------------------- */

uint32_t dlx_build_node(dlx_builder *b, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr)
{
    return dlx_graph_node(b->g, op, in, inputs, attr, b->layer, b->err);
}

uint32_t dlx_build_binary(dlx_builder *b, dlx_op op, uint32_t x, uint32_t y)
{
    uint32_t in[2] = {x, y};
    return dlx_build_node(b, op, in, 2, NULL);
}

uint32_t dlx_build_reshape(dlx_builder *b, uint32_t x, int rank, const int64_t *shape)
{
    dlx_attr attr = {.rank = (uint8_t)rank};
    for (int i = 0; i < rank; i++) attr.shape[i] = shape[i];
    return dlx_build_node(b, DLX_OP_RESHAPE, &x, 1, &attr);
}

float dlx_build_scale(const dlx_builder *b)
{
    return (float)(1.0 / sqrt((double)b->c->shape.head_dim));
}

/* Both tables, and the rows of this call's positions. */
static dlx_status rope(dlx_builder *b)
{
    size_t n = (size_t)b->reach * (size_t)b->c->shape.head_dim;
    float *c = dlx_arena_array(&b->g->arena, n, sizeof *c), *s = dlx_arena_array(&b->g->arena, n, sizeof *s);
    if (!c || !s)
        return dlx_fail(b->err, DLX_E_NOMEM, "out of memory: the rotary tables of %d positions take %zu bytes",
                        b->reach, 2 * n * sizeof *c);
    dlx_rope_tables(c, s, b->c->shape.rope_theta, &b->c->shape.rope_scaling, b->c->shape.head_dim, b->reach);
    int64_t dim[2] = {b->reach, b->c->shape.head_dim};
    dlx_const_source source = {.data = c, .bytes = n * sizeof *c, .stored = DLX_F32};
    b->cos =
        dlx_build_binary(b, DLX_OP_EMBEDDING, dlx_graph_const(b->g, "rope.cos", DLX_F32, 2, dim, source), b->positions);
    source.data = s;
    b->sin =
        dlx_build_binary(b, DLX_OP_EMBEDDING, dlx_graph_const(b->g, "rope.sin", DLX_F32, 2, dim, source), b->positions);
    dlx_build_name(b, b->cos, "cos");
    dlx_build_name(b, b->sin, "sin");
    return DLX_OK;
}

static uint32_t linear(dlx_builder *b, uint32_t x, uint32_t w, uint32_t bias)
{
    uint32_t in[3] = {x, w, bias};
    uint32_t y = dlx_graph_node(b->g, DLX_OP_LINEAR, in, bias == DLX_NONE ? 2 : 3, NULL, b->layer, b->err);
    if (b->taps) {
        b->taps[b->n_taps][0] = x;
        b->taps[b->n_taps++][1] = y;
    }
    return y;
}

static uint32_t norm(dlx_builder *b, uint32_t x, const char *name, const dlx_st_tensor *w)
{
    uint32_t in[2] = {x, weight(b, name, w)};
    dlx_attr eps = {.f = {b->c->shape.norm_eps, 0}};
    return dlx_graph_node(b->g, DLX_OP_RMS_NORM, in, 2, &eps, b->layer, b->err);
}

/* [T, heads * head_dim] -> [T, heads, head_dim] */
static uint32_t by_head(dlx_builder *b, uint32_t x, int32_t heads)
{
    return dlx_build_reshape(b, x, 3, (const int64_t[]){-1, heads, b->c->shape.head_dim});
}

static uint32_t rotate(dlx_builder *b, uint32_t x)
{
    uint32_t in[3] = {x, b->cos, b->sin};
    return dlx_graph_node(b->g, DLX_OP_ROPE, in, 3, NULL, b->layer, b->err);
}

/* One projection by head: a linear layer and, for q and k of families that have it, the norm of each head. */
static uint32_t project(dlx_builder *b, uint32_t x, int32_t heads, const char *const name[3], const dlx_st_tensor *w,
                        const dlx_st_tensor *bias, const dlx_st_tensor *head_norm)
{
    uint32_t y = by_head(b, linear(b, x, weight(b, name[0], w), weight(b, name[1], bias)), heads);
    return head_norm ? norm(b, y, name[2], head_norm) : y;
}

static uint32_t attention(dlx_builder *b, uint32_t x, const dlx_layer_weights *w)
{
    static const char *const qn[3] = {"q.weight", "q.bias", "q_norm.weight"},
                             *const kn[3] = {"k.weight", "k.bias", "k_norm.weight"},
                             *const vn[3] = {"v.weight", "v.bias", ""};
    const dlx_model_shape *s = &b->c->shape;
    uint32_t q = rotate(b, project(b, x, s->heads, qn, w->q, w->q_bias, w->q_norm));
    uint32_t k = rotate(b, project(b, x, s->kv_heads, kn, w->k, w->k_bias, w->k_norm));
    uint32_t v = project(b, x, s->kv_heads, vn, w->v, w->v_bias, NULL);
    b->fresh[b->layer][0] = k;
    b->fresh[b->layer][1] = v;
    return linear(b, b->kv->attend(b, q, k, v), weight(b, "o.weight", w->o), DLX_NONE);
}

static uint32_t mlp(dlx_builder *b, uint32_t x, const dlx_layer_weights *w)
{
    uint32_t gate = linear(b, x, weight(b, "gate.weight", w->gate), DLX_NONE);
    uint32_t up = linear(b, x, weight(b, "up.weight", w->up), DLX_NONE);
    return linear(b, dlx_build_binary(b, DLX_OP_SILU_MUL, gate, up), weight(b, "down.weight", w->down), DLX_NONE);
}

/* ---- the parts -------------------------------------------------------------------------------------------------- */

static uint32_t hidden_input(dlx_builder *b)
{
    int64_t dim[2] = {b->rows, b->c->shape.hidden};
    return dlx_build_made(b, dlx_graph_input(b->g, "hidden", DLX_F32, 2, dim, 1));
}

/* Layer b->layer over h. */
static uint32_t decoder_layer(dlx_builder *b, uint32_t h)
{
    const dlx_layer_weights *w = &b->c->layer[b->layer];
    uint32_t n = norm(b, h, "attn_norm.weight", w->attn_norm);
    h = dlx_build_binary(b, DLX_OP_ADD, h, attention(b, n, w));
    n = norm(b, h, "mlp_norm.weight", w->mlp_norm);
    return dlx_build_binary(b, DLX_OP_ADD, h, mlp(b, n, w));
}

static dlx_status no_memory(dlx_builder *b)
{
    return dlx_fail(b->err, DLX_E_NOMEM, "out of memory building a graph of %d layers", b->c->shape.layers);
}

static dlx_status add_outputs(dlx_builder *b, const uint32_t *values, size_t n)
{
    bool ok = true;
    for (size_t i = 0; i < n; i++) ok = ok && dlx_graph_output(b->g, values[i]);
    if (b->err->status != DLX_OK) return b->err->status;
    return ok ? DLX_OK : no_memory(b);
}

static dlx_status make_tables(dlx_builder *b)
{
    size_t layers = (size_t)b->c->shape.layers;
    b->cache = dlx_arena_array(&b->g->arena, layers, sizeof *b->cache);
    b->fresh = dlx_arena_array(&b->g->arena, layers, sizeof *b->fresh);
    b->state = dlx_arena_array(&b->g->arena, layers, sizeof *b->state);
    return b->cache && b->fresh && b->state ? DLX_OK : no_memory(b);
}

/* Final norm and head; the rows get their dimension of 1 back where the form has it. */
static uint32_t logits_of(dlx_builder *b, uint32_t h, uint32_t table)
{
    const dlx_checkpoint *c = b->c;
    if (b->kv->batch) h = dlx_build_reshape(b, h, 3, (const int64_t[]){1, -1, c->shape.hidden});
    uint32_t head = c->shape.tied ? table : weight(b, "lm_head.weight", c->lm_head);
    return linear(b, norm(b, h, "norm.weight", c->norm), head, DLX_NONE);
}

static dlx_status build_whole(dlx_builder *b)
{
    DLX_TRY(make_tables(b));
    b->kv->inputs(b);
    b->layer = -1;
    if (b->err->status != DLX_OK) return b->err->status;
    uint32_t table = weight(b, "embed.weight", b->c->embed);
    uint32_t h = dlx_build_binary(b, DLX_OP_EMBEDDING, table, b->tokens);
    dlx_build_name(b, h, "embedded");
    DLX_TRY(rope(b));
    for (b->layer = 0; b->layer < b->c->shape.layers; b->layer++) h = decoder_layer(b, h);
    b->layer = -1;
    uint32_t logits = logits_of(b, h, table);
    dlx_build_name(b, logits, "logits");
    b->kv->outputs(b, logits);
    return b->err->status;
}

static dlx_status build_layer(dlx_builder *b)
{
    uint32_t taps[DLX_LAYER_LINEARS][2];
    int32_t layer = b->layer;
    DLX_TRY(make_tables(b));
    uint32_t h = hidden_input(b);
    b->positions = dlx_build_row_input(b, "positions");
    dlx_build_cache_inputs(b);
    if (b->err->status != DLX_OK) return b->err->status;
    b->layer = -1;
    DLX_TRY(rope(b));
    b->layer = layer;
    b->taps = taps;
    h = decoder_layer(b, h);
    DLX_TRY(add_outputs(b, &h, 1));
    DLX_TRY(add_outputs(b, b->fresh[layer], 2));
    return add_outputs(b, taps[0], 2 * b->n_taps);
}

/* Rows [first, first + n) of a matrix. */
static dlx_st_tensor rows_of(const dlx_st_tensor *t, int64_t first, int64_t n)
{
    dlx_st_tensor part = *t;
    uint64_t row = t->bytes / (uint64_t)t->dim[0];
    if (part.data) part.data += (uint64_t)first * row;
    part.offset += (uint64_t)first * row;
    part.bytes = (uint64_t)n * row;
    part.dim[0] = n;
    return part;
}

static dlx_status build_head(dlx_builder *b, int64_t first, int64_t n)
{
    dlx_st_tensor part = rows_of(b->c->lm_head, first, n);
    uint32_t h = hidden_input(b);
    if (b->err->status != DLX_OK) return b->err->status;
    uint32_t x = norm(b, h, "norm.weight", b->c->norm);
    uint32_t out[2] = {linear(b, x, weight(b, "lm_head.weight", &part), DLX_NONE), x};
    return add_outputs(b, out, 2);
}

/* ---- the calls -------------------------------------------------------------------------------------------------- */

static dlx_status check_bounds(const dlx_checkpoint *c, int32_t max_rows, int32_t max_context, dlx_error *err)
{
    if (max_context < 1 || max_context > c->shape.max_positions)
        return dlx_fail(err, DLX_E_LIMIT, "a context of %d positions was asked for; checkpoint '%s' has 1 to %d",
                        max_context, c->folder, c->shape.max_positions);
    if (max_rows < 1 || max_rows > max_context)
        return dlx_fail(err, DLX_E_LIMIT, "%d rows a call were asked for; expected 1 to the context of %d", max_rows,
                        max_context);
    return DLX_OK;
}

static dlx_builder begin(dlx_graph *g, const dlx_checkpoint *c, dlx_kv kv, int32_t rows, int32_t context,
                         dlx_error *err)
{
    /* A bound of 1 would say that the dimension does not vary: which one does is not in the file, so readers go by
     * size. The facts keep the bound that was asked for. */
    bool varies = kv == DLX_KV_CALLER || kv == DLX_KV_STATE;
    int32_t least = varies ? 2 : 1;
    dlx_builder b = {.g = g,
                     .c = c,
                     .rows = rows < least ? least : rows,
                     .context = context < least ? least : context,
                     .layer = -1,
                     .kv = &dlx_kv_forms[kv],
                     .err = err};
    b.reach = b.context;
    if (kv == DLX_KV_EXPLICIT) b.reach = (int32_t)dlx_explicit_reach(b.rows, b.context);
    return b;
}

static dlx_status finish(const dlx_builder *b, dlx_status s, dlx_error *err)
{
    if (s == DLX_OK) s = dlx_graph_verify(b->g, b->err);
    if (s != DLX_OK && err) *err = *b->err;
    return s;
}

dlx_status dlx_build_graph(dlx_graph *g, const dlx_checkpoint *c, dlx_kv kv, int32_t max_rows, int32_t max_context,
                           dlx_error *err)
{
    dlx_error local = {0};
    DLX_TRY(check_bounds(c, max_rows, max_context, err));
    dlx_builder b = begin(g, c, kv, max_rows, max_context, &local);
    return finish(&b, build_whole(&b), err);
}

dlx_status dlx_build_layer(dlx_graph *g, const dlx_checkpoint *c, int32_t layer, int32_t max_rows, int32_t max_context,
                           dlx_error *err)
{
    dlx_error local = {0};
    if (layer < 0 || layer >= c->shape.layers)
        return dlx_fail(err, DLX_E_INVALID, "layer %d was asked for; checkpoint '%s' has 0 to %d", layer, c->folder,
                        c->shape.layers - 1);
    DLX_TRY(check_bounds(c, 1, max_context, err));
    dlx_builder b = begin(g, c, DLX_KV_CALLER, max_rows, max_context, &local);
    b.layer = layer;
    return finish(&b, build_layer(&b), err);
}

dlx_status dlx_build_head(dlx_graph *g, const dlx_checkpoint *c, int32_t max_rows, int64_t first, int64_t n,
                          dlx_error *err)
{
    dlx_error local = {0};
    if (first < 0 || n < 1 || first > c->lm_head->dim[0] - n)
        return dlx_fail(err, DLX_E_INVALID, "%lld logits from %lld on were asked for; checkpoint '%s' has %lld",
                        (long long)n, (long long)first, c->folder, (long long)c->lm_head->dim[0]);
    dlx_builder b = begin(g, c, DLX_KV_CALLER, max_rows, 1, &local);
    return finish(&b, build_head(&b, first, n), err);
}
