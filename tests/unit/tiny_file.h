/* The tiny decoder as a .pte, with facts of a block-causal model; as it is, or altered.
 * TINY_ROWS, TINY_CONTEXT and TINY_POSITIONS may be defined before this file is included. */
#ifndef DLX_TESTS_TINY_FILE_H
#define DLX_TESTS_TINY_FILE_H

#include <math.h>
#include <string.h>

#include "lower_to_xnnpack.h"
#include "tiny_decoder.h"

#include "backends/xnnpack/xnnpack.h"
#include "format/facts.h"

#ifndef TINY_ROWS
#define TINY_ROWS    16
#define TINY_CONTEXT 24
#endif

enum { MAX_ROWS = TINY_ROWS, CONTEXT = TINY_CONTEXT };

static inline dlx_status stream_plain(void *ctx, const void *user, uint64_t size, dlx_output *out, dlx_error *err)
{
    const dlx_value *v = user;
    (void)ctx;
    return dlx_output_write(out, v->source.data, (size_t)size, err);
}

/* What a file is to be: the plain decoder, or one that differs in a way that the runtime must notice. */
enum {
    TINY_PLAIN = 0,
    TINY_HIDDEN = 1,    /* scores are negated twice: attention is not recognised, the numbers stay the same */
    TINY_NEG_CACHE = 2, /* the cache passes through a NEG before it is read */
    TINY_NO_CACHE = 4,  /* attention does not read its cache at all */
    TINY_SWAPPED = 8,   /* the new keys and values come out in each other's place */
    TINY_NAN = 16,      /* the embedding of NAN_TOKEN is NaN */
    TINY_LARGE = 32,    /* the values of every token are too large for a half */
    TINY_HUGE = 64,     /* and near the largest float, or infinite */
};
enum { NAN_TOKEN = 9 };

/* A unary node on operand k of node `at`. */
static inline void insert_unary(dlx_graph *g, size_t at, int k, dlx_op op)
{
    dlx_value copy = g->values[g->nodes[at].in[k]];
    copy.producer = DLX_NONE;
    copy.kind = DLX_VALUE_TEMP;
    copy.name = NULL;
    uint32_t v = dlx_graph_value(g, &copy);
    dlx_node n = {.op = op, .inputs = 1, .in = {g->nodes[at].in[k]}};
    assert_int_not_equal(dlx_graph_node_to(g, n, v, NULL), DLX_NONE);
    dlx_node last = g->nodes[g->n_nodes - 1];
    memmove(&g->nodes[at + 1], &g->nodes[at], (g->n_nodes - 1 - at) * sizeof *g->nodes);
    g->nodes[at] = last;
    g->nodes[at + 1].in[k] = v;
    for (size_t i = 0; i < g->n_nodes; i++) g->values[g->nodes[i].out[0]].producer = (uint32_t)i;
    assert_int_equal(dlx_graph_verify(g, NULL), DLX_OK);
}

static inline void insert_before(dlx_graph *g, dlx_op before, uint32_t operand, dlx_op op)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == before && (operand == DLX_NONE || g->nodes[i].in[0] == operand)) {
            insert_unary(g, i, 0, op);
            return;
        }
    fail_msg("the graph has no such node");
}

static inline float *constant_of(dlx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].name && !strcmp(g->values[i].name, name)) return (float *)(uintptr_t)g->values[i].source.data;
    fail_msg("the graph has no constant '%s'", name);
    return NULL;
}

static inline void alter_layer(dlx_graph *g, int what)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if ((what & TINY_NO_CACHE) && g->nodes[i].op == DLX_OP_ATTENTION) g->nodes[i].inputs = 3;
    if (what & TINY_NAN) {
        dlx_node *head = &g->nodes[g->n_nodes - 1]; /* tied: it keeps the numbers */
        int64_t dim[2] = {VOCAB, HIDDEN};
        float *table = constant_of(g, "embed.weight"), *copy = dlx_arena_array(&g->arena, VOCAB * HIDDEN, sizeof *copy);
        assert_int_equal(head->op, DLX_OP_LINEAR);
        memcpy(copy, table, VOCAB * HIDDEN * sizeof *copy);
        head->in[1] = dlx_graph_const(
            g, "head", DLX_F32, 2, dim,
            (dlx_const_source){.data = copy, .bytes = VOCAB * HIDDEN * sizeof *copy, .stored = DLX_F32});
        for (int i = 0; i < HIDDEN; i++) table[NAN_TOKEN * HIDDEN + i] = NAN;
    }
    if (what & (TINY_LARGE | TINY_HUGE))
        for (int i = 0; i < KV * DIM * HIDDEN; i++) constant_of(g, "v")[i] *= what & TINY_HUGE ? 3e38f : 1e6f;
    if (what & TINY_SWAPPED) {
        uint32_t k = g->outputs[1];
        g->outputs[1] = g->outputs[2];
        g->outputs[2] = k;
    }
}

static inline void alter_primitives(dlx_graph *g, int what)
{
    if (what & TINY_NEG_CACHE)
        for (size_t k = 2; k < 4; k++) insert_before(g, DLX_OP_CONCAT, g->inputs[k], DLX_OP_NEG);
    for (int i = 0; i < 2 && (what & TINY_HIDDEN); i++) insert_before(g, DLX_OP_SOFTMAX, DLX_NONE, DLX_OP_NEG);
}

static inline void write_tiny_file(const char *path, int what)
{
    dlx_error err = {0};
    dlx_graph g;
    dlx_arena arena;
    dlx_pte_plan plans[32], *facts;
    dlx_pte pte = {.plans = plans};
    dlx_output out;
    uint32_t n_facts;
    dlx_model_facts f = {.struct_size = sizeof f,
                         .family = DLX_FAMILY_SDAR,
                         .vocab_size = VOCAB,
                         .max_context = CONTEXT,
                         .max_rows = MAX_ROWS,
                         .mask_id = 10,
                         .attn_block = 4,
                         .block_length = 4,
                         .bos_id = -1,
                         .eos_id = 1,
                         .pad_id = -1,
                         .num_stop_ids = 2,
                         .stop_ids = {1, 2}};
    dlx_arena_init(&arena);
    build_layer(&g, MAX_ROWS, CONTEXT);
    alter_layer(&g, what);
    assert_int_equal(dlx_xnnpack_decompose(&g, &err), DLX_OK);
    alter_primitives(&g, what);
    if (lower_to_xnnpack(&plans[0], &pte.blobs, &pte.n_blobs, &arena, &g, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_facts_write(&facts, &n_facts, &arena, &f, "none", "caller", &err), DLX_OK);
    memcpy(plans + 1, facts, n_facts * sizeof *facts);
    pte.n_plans = n_facts + 1;
    assert_int_equal(dlx_output_open(&out, path, &err), DLX_OK);
    if (dlx_pte_write(&pte, &out, stream_plain, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    if (dlx_output_commit(&out, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_output_close(&out);
    dlx_graph_free(&g);
    dlx_arena_free(&arena);
}

#endif
