/*
 * The forms of the cache: which inputs and outputs the decoder has for it, and how attention reads it.
 */
#include "model/builder.h"

#include <stdio.h>

uint32_t dlx_build_row_input(dlx_builder *b, const char *name)
{
    int64_t rows = b->rows;
    return dlx_build_made(b, dlx_graph_input(b->g, name, DLX_I64, 1, &rows, 1));
}

/* k_N or v_N [context,K,D], or a varying part of that. */
static uint32_t cache_input(dlx_builder *b, int i, dlx_dtype type, unsigned dynamic)
{
    char name[24];
    int64_t dim[3] = {b->context, b->c->shape.kv_heads, b->c->shape.head_dim};
    snprintf(name, sizeof name, "%c_%d", "kv"[i], b -> layer);
    return dlx_build_made(b, dlx_graph_input(b->g, name, type, 3, dim, dynamic));
}

/* DLX_NONE outputs are found by the caller. */
static void output(dlx_builder *b, uint32_t v)
{
    if (!dlx_graph_output(b->g, v)) dlx_build_made(b, DLX_NONE);
}

/* Rows [T,H,D] over cached rows and this call's: whoever runs it chooses the rows. */
static uint32_t attend(dlx_builder *b, uint32_t q, uint32_t k, uint32_t v)
{
    uint32_t in[5] = {q, k, v, b->cache[b->layer][0], b->cache[b->layer][1]};
    return dlx_build_node(b, DLX_OP_ATTENTION, in, 5, &(dlx_attr){.f = {dlx_build_scale(b), 0}});
}

/* ---- by the caller ---- */

void dlx_build_cache_inputs(dlx_builder *b)
{
    for (int i = 0; i < 2; i++) b->cache[b->layer][i] = cache_input(b, i, DLX_F32, 1);
}

static void caller_inputs(dlx_builder *b)
{
    b->tokens = dlx_build_row_input(b, "tokens");
    b->positions = dlx_build_row_input(b, "positions");
    for (b->layer = 0; b->layer < b->c->shape.layers; b->layer++) dlx_build_cache_inputs(b);
}

static void caller_outputs(dlx_builder *b, uint32_t logits)
{
    output(b, logits);
    for (int32_t i = 0; i < b->c->shape.layers; i++)
        for (int k = 0; k < 2; k++) output(b, b->fresh[i][k]);
}

/* ---- as states ---- */

/* The first of the positions: as many rows are stored before this call's. */
static uint32_t first_position(dlx_builder *b)
{
    dlx_attr first = {.rank = 1, .shape = {0}, .size = {1}};
    uint32_t at = dlx_build_node(b, DLX_OP_SLICE, &b->positions, 1, &first);
    return dlx_build_reshape(b, at, 0, NULL);
}

static void state_inputs(dlx_builder *b)
{
    int64_t dim[2] = {1, b->rows};
    uint32_t tokens = dlx_build_made(b, dlx_graph_input(b->g, "tokens", DLX_I64, 2, dim, 2));
    b->positions = dlx_build_row_input(b, "positions");
    for (b->layer = 0; b->layer < b->c->shape.layers; b->layer++)
        for (int i = 0; i < 2; i++) b->state[b->layer][i] = cache_input(b, i, DLX_F32, 0);
    b->g->n_states = 2 * (size_t)b->c->shape.layers;
    b->layer = -1;
    b->tokens = dlx_build_reshape(b, tokens, 1, (const int64_t[]){-1});
    uint32_t stored = dlx_build_made(b, first_position(b));
    dlx_attr before = {.shape = {0, DLX_RUN(1), 1}, .bound = {b->context, b->context}};
    for (b->layer = 0; b->layer < b->c->shape.layers; b->layer++)
        for (int i = 0; i < 2; i++) {
            uint32_t in[2] = {b->state[b->layer][i], stored};
            b->cache[b->layer][i] = dlx_build_made(b, dlx_build_node(b, DLX_OP_NARROW, in, 2, &before));
        }
}

static void state_outputs(dlx_builder *b, uint32_t logits)
{
    output(b, logits);
    for (b->layer = 0; b->layer < b->c->shape.layers; b->layer++)
        for (int i = 0; i < 2; i++) {
            uint32_t in[3] = {b->state[b->layer][i], b->fresh[b->layer][i], b->positions};
            output(b, dlx_build_node(b, DLX_OP_INDEX_PUT, in, 3, &(dlx_attr){.axes = 1}));
        }
    b->layer = -1;
}

/* ---- by the caller, in shapes that never vary ---- */

static void fixed_rows(dlx_builder *b)
{
    const int64_t rows = b->rows, mask[2] = {rows, b->context + rows};
    b->tokens = dlx_build_made(b, dlx_graph_input(b->g, "tokens", DLX_I64, 1, &rows, 0));
    b->positions = dlx_build_made(b, dlx_graph_input(b->g, "positions", DLX_I64, 1, &rows, 0));
    b->seen = dlx_build_made(b, dlx_graph_input(b->g, "mask", DLX_F32, 2, mask, 0));
}

/* Caches, and what attention reads of them, which computes on float32. */
static void fixed_caches(dlx_builder *b)
{
    dlx_attr unit = {.f = {1.0f, 0.0f}};
    for (b->layer = 0; b->layer < b->c->shape.layers; b->layer++)
        for (int i = 0; i < 2; i++) b->state[b->layer][i] = cache_input(b, i, b->kv->cache, 0);
    for (b->layer = 0; b->layer < b->c->shape.layers; b->layer++)
        for (int i = 0; i < 2; i++) {
            uint32_t *given = &b->state[b->layer][i], *cached = &b->cache[b->layer][i];
            *cached = *given;
            if (b->kv->cache != DLX_F32)
                *cached = dlx_build_made(b, dlx_build_node(b, DLX_OP_CONVERT, given, 1, &unit));
        }
    b->layer = -1;
}

static void fixed_inputs(dlx_builder *b)
{
    fixed_rows(b);
    fixed_caches(b);
}

/* Over all cached rows and this call's, as far as the mask lets them be seen. */
static uint32_t fixed_attend(dlx_builder *b, uint32_t q, uint32_t k, uint32_t v)
{
    uint32_t in[6] = {q, k, v, b->cache[b->layer][0], b->cache[b->layer][1], b->seen};
    return dlx_build_node(b, DLX_OP_ATTENTION, in, 6, &(dlx_attr){.f = {dlx_build_scale(b), 0}});
}

static void fixed_outputs(dlx_builder *b, uint32_t logits)
{
    dlx_attr stored = {.dtype = b->kv->cache};
    output(b, logits);
    for (b->layer = 0; b->layer < b->c->shape.layers; b->layer++)
        for (int i = 0; i < 2; i++) {
            uint32_t *fresh = &b->fresh[b->layer][i];
            uint32_t rows = stored.dtype == DLX_F32 ? *fresh : dlx_build_node(b, DLX_OP_CAST, fresh, 1, &stored);
            char name[24];
            snprintf(name, sizeof name, "new_%c_%d", "kv"[i], b -> layer);
            dlx_build_name(b, rows, name);
            output(b, rows);
        }
    b->layer = -1;
}

/* ---- as states, in shapes that never vary ---- */

static void fixed_state_inputs(dlx_builder *b)
{
    static const float one = 1.0f;
    const int64_t rows = b->rows, each[3] = {rows, 1, 1}, single = 1;
    const dlx_const_source source = {.data = &one, .bytes = sizeof one, .stored = DLX_F32};
    fixed_rows(b);
    uint32_t stored = dlx_build_made(b, dlx_graph_input(b->g, "stored", DLX_F32, 1, &rows, 0));
    fixed_caches(b);
    b->g->n_states = 2 * (size_t)b->c->shape.layers;
    b->stored[0] = dlx_build_made(b, dlx_build_reshape(b, stored, 3, each));
    uint32_t all = dlx_build_made(b, dlx_graph_const(b->g, "one", DLX_F32, 1, &single, source));
    b->stored[1] = dlx_build_made(b, dlx_build_binary(b, DLX_OP_SUB, all, b->stored[0]));
}

/* Rows that are not stored put back what was there. Sums of products by 0 and 1 and not a choice: every accelerator has
 * them, and they give the number itself. */
static uint32_t put(dlx_builder *b, int i)
{
    uint32_t at[2] = {b->cache[b->layer][i], b->positions}, in[3] = {b->state[b->layer][i], DLX_NONE, b->positions};
    const dlx_attr places = {.axes = 1}, type = {.dtype = b->kv->cache};
    uint32_t before = dlx_build_node(b, DLX_OP_INDEX, at, 2, &places);
    before = dlx_build_binary(b, DLX_OP_MUL, before, b->stored[1]);
    uint32_t rows = dlx_build_binary(b, DLX_OP_MUL, b->fresh[b->layer][i], b->stored[0]);
    rows = dlx_build_binary(b, DLX_OP_ADD, rows, before);
    in[1] = dlx_build_node(b, DLX_OP_CAST, &rows, 1, &type);
    return dlx_build_node(b, DLX_OP_INDEX_PUT, in, 3, &places);
}

static void fixed_state_outputs(dlx_builder *b, uint32_t logits)
{
    output(b, logits);
    for (b->layer = 0; b->layer < b->c->shape.layers; b->layer++)
        for (int i = 0; i < 2; i++) output(b, put(b, i));
    b->layer = -1;
}

const dlx_kv_rules dlx_kv_forms[] = {
    [DLX_KV_CALLER] = {.inputs = caller_inputs, .attend = attend, .outputs = caller_outputs},
    [DLX_KV_EXPLICIT] = {.batch = true,
                         .inputs = dlx_explicit_inputs,
                         .attend = dlx_explicit_attend,
                         .outputs = dlx_explicit_outputs},
    [DLX_KV_STATE] = {.batch = true, .inputs = state_inputs, .attend = attend, .outputs = state_outputs},
    [DLX_KV_FIXED] = {.cache = DLX_F32, .inputs = fixed_inputs, .attend = fixed_attend, .outputs = fixed_outputs},
    [DLX_KV_FIXED_F16] = {.cache = DLX_F16, .inputs = fixed_inputs, .attend = fixed_attend, .outputs = fixed_outputs},
    [DLX_KV_FIXED_STATE] = {.cache = DLX_F16,
                            .inputs = fixed_state_inputs,
                            .attend = fixed_attend,
                            .outputs = fixed_state_outputs},
};
