/* A decoder of one layer with made-up weights, built from high-level operators: RMSNorm, per-head norm, RoPE, grouped
 * attention over a cache, SwiGLU, a head tied to the embedding. For tests of everything that takes a graph. */
#ifndef DLX_TESTS_TINY_DECODER_H
#define DLX_TESTS_TINY_DECODER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "graph/graph.h"

/* A test that needs more positions says so before it includes this file. */
#ifndef TINY_POSITIONS
#define TINY_POSITIONS 32
#endif

enum { HIDDEN = 24, HEADS = 4, KV = 2, DIM = 8, VOCAB = 11, POSITIONS = TINY_POSITIONS };

static inline float noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) / 8388608.0f - 1.0f;
}

static inline uint32_t weight(dlx_graph *g, const char *name, int rank, int64_t a, int64_t b, uint32_t seed)
{
    int64_t dim[2] = {a, b};
    size_t n = (size_t)(rank == 2 ? a * b : a);
    float *data = dlx_arena_array(&g->arena, n, sizeof *data);
    for (size_t i = 0; i < n; i++) data[i] = noise(&seed);
    return dlx_graph_const(g, name, DLX_F32, rank, dim,
                           (dlx_const_source){.data = data, .bytes = n * sizeof *data, .stored = DLX_F32});
}

static inline uint32_t node(dlx_graph *g, dlx_op op, int inputs, const uint32_t *in, const dlx_attr *attr)
{
    dlx_error err = {0};
    uint32_t v = dlx_graph_node(g, op, in, inputs, attr, 0, &err);
    if (v == DLX_NONE) fail_msg("%s", err.message);
    return v;
}

static inline uint32_t heads_of(dlx_graph *g, uint32_t x, int64_t heads)
{
    return node(g, DLX_OP_RESHAPE, 1, &x, &(dlx_attr){.rank = 3, .shape = {-1, heads, DIM}});
}

/* tokens, positions, k cache, v cache -> logits, k, v */
static inline void build_layer(dlx_graph *g, int64_t rows, int64_t cached)
{
    dlx_graph_init(g);
    int64_t cache[3] = {cached, KV, DIM};
    uint32_t tokens = dlx_graph_input(g, "tokens", DLX_I64, 1, &rows, 1),
             positions = dlx_graph_input(g, "positions", DLX_I64, 1, &rows, 1);
    uint32_t kc = dlx_graph_input(g, "k_0", DLX_F32, 3, cache, 1), vc = dlx_graph_input(g, "v_0", DLX_F32, 3, cache, 1);
    uint32_t table = weight(g, "embed.weight", 2, VOCAB, HIDDEN, 1);
    uint32_t x = node(g, DLX_OP_EMBEDDING, 2, (uint32_t[]){table, tokens}, NULL);
    uint32_t cos =
        node(g, DLX_OP_EMBEDDING, 2, (uint32_t[]){weight(g, "rope.cos", 2, POSITIONS, DIM, 2), positions}, NULL);
    uint32_t sin =
        node(g, DLX_OP_EMBEDDING, 2, (uint32_t[]){weight(g, "rope.sin", 2, POSITIONS, DIM, 3), positions}, NULL);
    dlx_attr eps = {.f = {1e-5f, 0}}, scale = {.f = {0.35355338f, 0}};
    uint32_t h = node(g, DLX_OP_RMS_NORM, 2, (uint32_t[]){x, weight(g, "attn_norm", 1, HIDDEN, 0, 4)}, &eps);
    uint32_t q = node(
        g, DLX_OP_LINEAR, 3,
        (uint32_t[]){h, weight(g, "q", 2, HEADS * DIM, HIDDEN, 5), weight(g, "q.bias", 1, HEADS * DIM, 0, 6)}, NULL);
    uint32_t k = node(g, DLX_OP_LINEAR, 2, (uint32_t[]){h, weight(g, "k", 2, KV * DIM, HIDDEN, 7)}, NULL);
    uint32_t v = node(g, DLX_OP_LINEAR, 2, (uint32_t[]){h, weight(g, "v", 2, KV * DIM, HIDDEN, 8)}, NULL);
    q = node(g, DLX_OP_RMS_NORM, 2, (uint32_t[]){heads_of(g, q, HEADS), weight(g, "q_norm", 1, DIM, 0, 9)}, &eps);
    q = node(g, DLX_OP_ROPE, 3, (uint32_t[]){q, cos, sin}, NULL);
    k = node(g, DLX_OP_ROPE, 3, (uint32_t[]){heads_of(g, k, KV), cos, sin}, NULL);
    v = heads_of(g, v, KV);
    uint32_t a = node(g, DLX_OP_ATTENTION, 5, (uint32_t[]){q, k, v, kc, vc}, &scale);
    a = node(g, DLX_OP_LINEAR, 2, (uint32_t[]){a, weight(g, "o", 2, HIDDEN, HEADS * DIM, 10)}, NULL);
    x = node(g, DLX_OP_ADD, 2, (uint32_t[]){x, a}, NULL);
    h = node(g, DLX_OP_RMS_NORM, 2, (uint32_t[]){x, weight(g, "mlp_norm", 1, HIDDEN, 0, 11)}, &eps);
    uint32_t gate = node(g, DLX_OP_LINEAR, 2, (uint32_t[]){h, weight(g, "gate", 2, 40, HIDDEN, 12)}, NULL);
    uint32_t up = node(g, DLX_OP_LINEAR, 2, (uint32_t[]){h, weight(g, "up", 2, 40, HIDDEN, 13)}, NULL);
    h = node(g, DLX_OP_SILU_MUL, 2, (uint32_t[]){gate, up}, NULL);
    x = node(g, DLX_OP_ADD, 2,
             (uint32_t[]){x, node(g, DLX_OP_LINEAR, 2, (uint32_t[]){h, weight(g, "down", 2, HIDDEN, 40, 14)}, NULL)},
             NULL);
    x = node(g, DLX_OP_RMS_NORM, 2, (uint32_t[]){x, weight(g, "norm", 1, HIDDEN, 0, 15)}, &eps);
    uint32_t logits = node(g, DLX_OP_LINEAR, 2, (uint32_t[]){x, table}, NULL);
    assert_true(dlx_graph_output(g, logits) && dlx_graph_output(g, k) && dlx_graph_output(g, v));
    assert_int_equal(dlx_graph_verify(g, NULL), DLX_OK);
}

#endif
