/*
 * The explicit form: the six inputs of the Python system that this one succeeds. The whole cache comes in, [L, 2, 1, K,
 * M, D], with a mask for all of its slots and the call's rows, a matrix that says which row goes into which slot, and
 * which slots stay; it goes out as a whole.
 *
 * That system's own driver makes masks that show too much: slots that are to be overwritten and slots that were never
 * written, rows that only pad a call, and, where it takes the context for longer than it is, no row of the call at all.
 * The program corrects that (graph/explicit_mask.h); a mask that shows only rows that are there stays as it is.
 */
#include "graph/explicit_mask.h"
#include "model/builder.h"

static uint32_t joined(dlx_builder *b, int axis, uint32_t x, uint32_t y)
{
    uint32_t in[2] = {x, y};
    return dlx_build_node(b, DLX_OP_CONCAT, in, 2, &(dlx_attr){.axis = axis});
}

/* ---- inputs ---- */

static uint32_t input(dlx_builder *b, const char *name, dlx_dtype dtype, int rank, const int64_t *dim)
{
    return dlx_build_made(b, dlx_graph_input(b->g, name, dtype, rank, dim, 0));
}

void dlx_explicit_inputs(dlx_builder *b)
{
    const dlx_model_shape *s = &b->c->shape;
    int64_t layers = s->layers, rows = b->rows, m = b->context;
    uint32_t tokens = input(b, "input_ids", DLX_I64, 2, (const int64_t[]){1, rows});
    uint32_t positions = input(b, "positions", DLX_I64, 2, (const int64_t[]){1, rows});
    b->whole = input(b, "kv_cache", DLX_F32, 6, (const int64_t[]){layers, 2, 1, s->kv_heads, m, s->head_dim});
    b->mask = (dlx_explicit_mask){.g = b->g, .rows = rows, .slots = m, .positions = positions, .err = b->err};
    b->mask.mask = input(b, "attention_mask", DLX_F32, 5, (const int64_t[]){layers, 1, 1, rows, m + rows});
    b->mask.insert = input(b, "insert_matrix", DLX_F32, 5, (const int64_t[]){layers, 1, 1, m, rows});
    b->mask.keep = input(b, "keep_mask", DLX_F32, 5, (const int64_t[]){layers, 1, 1, m, 1});
    if (b->err->status != DLX_OK) return;
    b->tokens = dlx_build_reshape(b, tokens, 1, &rows);
    b->positions = dlx_build_reshape(b, positions, 1, &rows);
    b->mask.positions = b->positions;
    dlx_explicit_before(&b->mask);
    dlx_build_made(b, b->mask.before);
}

/* ---- attention ---- */

/* Cached heads and those of this call's rows [B,K,D]: [1,K,M+B,D]. The latter are kept as [1,1,1,K,B,D]. */
static uint32_t keys(dlx_builder *b, int half, uint32_t fresh)
{
    const dlx_model_shape *s = &b->c->shape;
    const int64_t kv = s->kv_heads, d = s->head_dim;
    uint32_t cached =
        dlx_explicit_part(b->g, b->whole, b->layer, half, 4, (const int64_t[]){1, kv, b->context, d}, b->err);
    uint32_t heads = dlx_build_node(b, DLX_OP_TRANSPOSE, &fresh, 1, &(dlx_attr){.rank = 3, .shape = {1, 0, 2}});
    b->cache[b->layer][half] = dlx_build_reshape(b, heads, 6, (const int64_t[]){1, 1, 1, kv, b->rows, d});
    return joined(b, 2, cached, dlx_build_reshape(b, heads, 4, (const int64_t[]){1, kv, b->rows, d}));
}

uint32_t dlx_explicit_attend(dlx_builder *b, uint32_t q, uint32_t k, uint32_t v)
{
    const dlx_model_shape *s = &b->c->shape;
    const int64_t rows = b->rows, width = (int64_t)s->heads * s->head_dim;
    uint32_t in[5] = {dlx_build_reshape(b, q, 4, (const int64_t[]){1, rows, s->heads, s->head_dim}), keys(b, 0, k),
                      keys(b, 1, v), DLX_NONE, dlx_explicit_bias(&b->mask, b->layer)};
    if (in[4] == DLX_NONE) return dlx_build_made(b, DLX_NONE);
    dlx_attr attr = {.f = {dlx_build_scale(b), 0}, .axes = DLX_SDPA_K_HEADS_FIRST | DLX_SDPA_V_HEADS_FIRST};
    return dlx_build_reshape(b, dlx_build_node(b, DLX_OP_SDPA, in, 5, &attr), 2, (const int64_t[]){rows, width});
}

/* ---- outputs ---- */

/* Any number of tensors along their first dimension, five at a time. */
static uint32_t stacked(dlx_builder *b, uint32_t *x, int32_t n)
{
    while (n > 1) {
        int32_t kept = 0;
        for (int32_t i = 0; i < n; i += 5) {
            int count = n - i < 5 ? n - i : 5;
            x[kept++] = count == 1 ? x[i] : dlx_build_node(b, DLX_OP_CONCAT, x + i, count, &(dlx_attr){.axis = 0});
        }
        n = kept;
    }
    return x[0];
}

void dlx_explicit_outputs(dlx_builder *b, uint32_t logits)
{
    int64_t layers = b->c->shape.layers, m = b->context;
    uint32_t *both = dlx_arena_array(&b->g->arena, (size_t)layers, sizeof *both);
    if (!both) {
        dlx_build_made(b, DLX_NONE);
        return;
    }
    for (int64_t i = 0; i < layers; i++) both[i] = joined(b, 1, b->cache[i][0], b->cache[i][1]);
    uint32_t fresh = stacked(b, both, (int32_t)layers); /* [L,2,1,K,B,D] */
    uint32_t places = dlx_build_reshape(b, b->mask.insert, 6, (const int64_t[]){layers, 1, 1, 1, m, b->rows});
    uint32_t keep = dlx_build_reshape(b, b->mask.keep, 6, (const int64_t[]){layers, 1, 1, 1, m, 1});
    uint32_t kept = dlx_build_binary(b, DLX_OP_MUL, b->whole, keep), rows[2] = {places, fresh};
    uint32_t cache =
        dlx_build_binary(b, DLX_OP_ADD, kept, dlx_build_node(b, DLX_OP_BMM, rows, 2, &(dlx_attr){.rank = 0}));
    if (!dlx_graph_output(b->g, logits) || !dlx_graph_output(b->g, cache)) dlx_build_made(b, DLX_NONE);
}
