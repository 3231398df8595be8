/*
 * The explicit form: the six inputs of the Python system that this one succeeds. The whole cache comes in, [L, 2, 1, K,
 * M, D], with a mask for all of its slots and the call's rows, a matrix that says which row goes into which slot, and
 * which slots stay; it goes out as a whole.
 *
 * That system's own driver makes masks that show too much: slots that are to be overwritten and slots that were never
 * written, rows that only pad a call, and, where it takes the context for longer than it is, no row of the call at all.
 * Which rows a correct mask shows follows from the other inputs, so the program corrects it:
 *   slot j is hidden from everybody   unless it lies before the first position and is kept
 *   row c  is hidden from everybody   if rows are inserted, and this one is not
 *   what the mask says of the rows    counts, unless it hides an inserted row from itself, which no correct mask does
 * Nothing of this changes a mask that shows only rows that are there.
 */
#include "model/builder.h"

#include <string.h>

/* Weights of hidden keys are 0: exp(x - HIDDEN) in float32 for all scores that occur. */
static const float HIDDEN = 1e9f;
/* A mask of this or less hides: the system writes -10000. */
static const float HIDES = -5000.0f;

/* ---- small parts ---- */

/* [..] filled with one number, or counting up from 0; shared by name. */
static uint32_t filled(dlx_builder *b, const char *name, int rank, const int64_t *dim, float number, bool counts)
{
    dlx_graph *g = b->g;
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST && g->values[i].name && !strcmp(g->values[i].name, name))
            return (uint32_t)i;
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)dim[i];
    float *data = dlx_arena_array(&g->arena, n, sizeof *data);
    if (!data) return dlx_build_made(b, DLX_NONE);
    for (size_t i = 0; i < n; i++) data[i] = counts ? (float)i : number;
    return dlx_build_made(
        b, dlx_graph_const(g, name, DLX_F32, rank, dim,
                           (dlx_const_source){.data = data, .bytes = n * sizeof *data, .stored = DLX_F32}));
}

static uint32_t number(dlx_builder *b, const char *name, float x)
{
    return filled(b, name, 1, (const int64_t[]){1}, x, false);
}

static uint32_t ones(dlx_builder *b, const char *name, int64_t rows, int64_t columns)
{
    return filled(b, name, 3, (const int64_t[]){1, rows, columns}, 1.0f, false);
}

/* [1,B,B]: 1 where a row meets itself */
static uint32_t diagonal(dlx_builder *b)
{
    int64_t n = b->rows;
    uint32_t v = filled(b, "explicit.itself", 3, (const int64_t[]){1, n, n}, 0.0f, false);
    if (v == DLX_NONE) return v;
    float *data = (float *)(uintptr_t)b->g->values[v].source.data;
    for (int64_t i = 0; i < n; i++) data[i * n + i] = 1.0f;
    return v;
}

static uint32_t clamped(dlx_builder *b, uint32_t x)
{
    return dlx_build_node(b, DLX_OP_CLAMP, &x, 1, &(dlx_attr){.f = {0.0f, 1.0f}});
}

static uint32_t product(dlx_builder *b, uint32_t x, uint32_t y, bool transposed)
{
    uint32_t in[2] = {x, y};
    return dlx_build_node(b, DLX_OP_BMM, in, 2, &(dlx_attr){.transpose_b = transposed});
}

static uint32_t joined(dlx_builder *b, int axis, uint32_t x, uint32_t y)
{
    uint32_t in[2] = {x, y};
    return dlx_build_node(b, DLX_OP_CONCAT, in, 2, &(dlx_attr){.axis = axis});
}

/* The part of a layer, and for the cache of its keys or values, as [1, rows, columns] or, of caches, [1,K,M,D]. */
static uint32_t part(dlx_builder *b, uint32_t x, int half, int rank, const int64_t *shape)
{
    if (x == DLX_NONE) return x;
    const dlx_value *v = &b->g->values[x];
    dlx_attr attr = {.rank = v->rank, .shape = {b->layer}, .size = {1}};
    for (int i = 1; i < v->rank; i++) attr.size[i] = v->dim[i];
    if (half >= 0) {
        attr.shape[1] = half;
        attr.size[1] = 1;
    }
    return dlx_build_reshape(b, dlx_build_node(b, DLX_OP_SLICE, &x, 1, &attr), rank, shape);
}

/* Columns [begin, begin + size) of [1, rows, columns] */
static uint32_t columns(dlx_builder *b, uint32_t x, int64_t begin, int64_t size)
{
    if (x == DLX_NONE) return x;
    dlx_attr attr = {.rank = 3, .shape = {0, 0, begin}, .size = {1, b->g->values[x].dim[1], size}};
    return dlx_build_node(b, DLX_OP_SLICE, &x, 1, &attr);
}

/* (x - 1) * HIDDEN: 0 for 1, hidden for 0 */
static uint32_t penalty(dlx_builder *b, uint32_t x)
{
    uint32_t less = dlx_build_binary(b, DLX_OP_SUB, x, number(b, "explicit.one", 1.0f));
    return dlx_build_binary(b, DLX_OP_MUL, less, number(b, "explicit.hidden", HIDDEN));
}

/* ---- inputs ---- */

static uint32_t input(dlx_builder *b, const char *name, dlx_dtype dtype, int rank, const int64_t *dim)
{
    return dlx_build_made(b, dlx_graph_input(b->g, name, dtype, rank, dim, 0));
}

/* [1,1,M]: 1 for the slots before the first position. The positions become floats by a look-up. */
static uint32_t slots_before(dlx_builder *b)
{
    int64_t m = b->context;
    uint32_t table = filled(b, "explicit.places", 2, (const int64_t[]){b->reach, 1}, 0.0f, true);
    uint32_t at = dlx_build_binary(b, DLX_OP_EMBEDDING, table, b->positions); /* [1,B,1] */
    uint32_t first = dlx_build_node(b, DLX_OP_SLICE, &at, 1, &(dlx_attr){.rank = 3, .size = {1, 1, 1}});
    uint32_t slot = filled(b, "explicit.slot", 1, &m, 0.0f, true);
    return clamped(b, dlx_build_binary(b, DLX_OP_SUB, first, slot));
}

void dlx_explicit_inputs(dlx_builder *b)
{
    const dlx_model_shape *s = &b->c->shape;
    int64_t layers = s->layers, rows = b->rows, m = b->context;
    b->tokens = input(b, "input_ids", DLX_I64, 2, (const int64_t[]){1, rows});
    b->positions = input(b, "positions", DLX_I64, 2, (const int64_t[]){1, rows});
    b->whole = input(b, "kv_cache", DLX_F32, 6, (const int64_t[]){layers, 2, 1, s->kv_heads, m, s->head_dim});
    b->mask = input(b, "attention_mask", DLX_F32, 5, (const int64_t[]){layers, 1, 1, rows, m + rows});
    b->insert = input(b, "insert_matrix", DLX_F32, 5, (const int64_t[]){layers, 1, 1, m, rows});
    b->keep = input(b, "keep_mask", DLX_F32, 5, (const int64_t[]){layers, 1, 1, m, 1});
    if (b->err->status != DLX_OK) return;
    b->layer = -1;
    b->before = slots_before(b);
}

/* ---- attention ---- */

/* What is added to the scores of the rows of the call, [1,B,B], from what the mask says. */
static uint32_t rows_bias(dlx_builder *b, uint32_t mask)
{
    int64_t rows = b->rows, m = b->context;
    uint32_t one = number(b, "explicit.one", 1.0f);
    uint32_t insert = part(b, b->insert, -1, 3, (const int64_t[]){1, m, rows});
    uint32_t inserted = clamped(b, product(b, ones(b, "explicit.slots.ones", 1, m), insert, false)); /* [1,1,B] */
    uint32_t all = ones(b, "explicit.rows.ones", rows, 1);
    uint32_t any = clamped(b, product(b, inserted, all, false));                                  /* [1,1,1] */
    uint32_t itself = product(b, dlx_build_binary(b, DLX_OP_MUL, mask, diagonal(b)), all, false); /* [1,B,1] */
    uint32_t hides = clamped(b, dlx_build_binary(b, DLX_OP_SUB, number(b, "explicit.hides", HIDES), itself));
    uint32_t broken = clamped(b, product(b, inserted, hides, false)); /* [1,1,1] */
    uint32_t said = dlx_build_binary(b, DLX_OP_MUL, mask, dlx_build_binary(b, DLX_OP_SUB, one, broken));
    return dlx_build_binary(b, DLX_OP_ADD, said, dlx_build_binary(b, DLX_OP_MUL, penalty(b, inserted), any));
}

/* [B, M+B] */
static uint32_t bias(dlx_builder *b)
{
    int64_t rows = b->rows, m = b->context;
    uint32_t mask = part(b, b->mask, -1, 3, (const int64_t[]){1, rows, m + rows});
    mask = dlx_build_binary(b, DLX_OP_MAX, mask, number(b, "explicit.least", -HIDDEN)); /* also where it is -inf */
    uint32_t kept = part(b, b->keep, -1, 3, (const int64_t[]){1, 1, m});
    uint32_t seen = dlx_build_binary(b, DLX_OP_MUL, b->before, kept);
    uint32_t slots = dlx_build_binary(b, DLX_OP_ADD, columns(b, mask, 0, m), penalty(b, seen));
    uint32_t both = joined(b, 2, slots, rows_bias(b, columns(b, mask, m, rows)));
    return dlx_build_reshape(b, both, 2, (const int64_t[]){rows, m + rows});
}

/* Cached heads and those of this call's rows [B,K,D]: [1,K,M+B,D]. The latter are kept as [1,1,1,K,B,D]. */
static uint32_t keys(dlx_builder *b, int half, uint32_t fresh)
{
    const dlx_model_shape *s = &b->c->shape;
    const int64_t kv = s->kv_heads, d = s->head_dim;
    uint32_t cached = part(b, b->whole, half, 4, (const int64_t[]){1, kv, b->context, d});
    uint32_t heads = dlx_build_node(b, DLX_OP_TRANSPOSE, &fresh, 1, &(dlx_attr){.rank = 3, .shape = {1, 0, 2}});
    b->cache[b->layer][half] = dlx_build_reshape(b, heads, 6, (const int64_t[]){1, 1, 1, kv, b->rows, d});
    return joined(b, 2, cached, dlx_build_reshape(b, heads, 4, (const int64_t[]){1, kv, b->rows, d}));
}

uint32_t dlx_explicit_attend(dlx_builder *b, uint32_t q, uint32_t k, uint32_t v)
{
    const dlx_model_shape *s = &b->c->shape;
    const int64_t rows = b->rows, width = (int64_t)s->heads * s->head_dim;
    uint32_t in[5] = {dlx_build_reshape(b, q, 4, (const int64_t[]){1, rows, s->heads, s->head_dim}), keys(b, 0, k),
                      keys(b, 1, v), DLX_NONE, bias(b)};
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
    uint32_t places = dlx_build_reshape(b, b->insert, 6, (const int64_t[]){layers, 1, 1, 1, m, b->rows});
    uint32_t keep = dlx_build_reshape(b, b->keep, 6, (const int64_t[]){layers, 1, 1, 1, m, 1});
    uint32_t kept = dlx_build_binary(b, DLX_OP_MUL, b->whole, keep);
    uint32_t cache = dlx_build_binary(b, DLX_OP_ADD, kept, product(b, places, fresh, false));
    if (!dlx_graph_output(b->g, logits) || !dlx_graph_output(b->g, cache)) dlx_build_made(b, DLX_NONE);
}
