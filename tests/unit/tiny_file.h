/* The tiny decoder as a .pte, with facts of a block-causal model; recognisable or with its attention hidden.
 * TINY_ROWS, TINY_CONTEXT and TINY_POSITIONS may be defined before this file is included. */
#ifndef DLX_TESTS_TINY_FILE_H
#define DLX_TESTS_TINY_FILE_H

#include <string.h>

#include "tiny_decoder.h"

#include "backends/xnnpack/xnnpack.h"
#include "format/facts.h"

#ifndef TINY_ROWS
#define TINY_ROWS    16
#define TINY_CONTEXT 24
#endif

enum { MAX_ROWS = TINY_ROWS, CONTEXT = TINY_CONTEXT };

static inline dlx_status stream_plain(void *ctx, const dlx_pte_blob *blob, dlx_output *out, dlx_error *err)
{
    const dlx_value *v = blob->user;
    (void)ctx;
    return dlx_output_write(out, v->source.data, (size_t)blob->size, err);
}

/* A COPY between scores and softmax: the matcher wants them adjacent, the numbers stay the same. */
static inline void hide_attention(dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_SOFTMAX) {
            dlx_value copy = g->values[g->nodes[i].in[0]];
            copy.producer = DLX_NONE;
            uint32_t v = dlx_graph_value(g, &copy);
            dlx_node n = {.op = DLX_OP_COPY, .inputs = 1, .in = {g->nodes[i].in[0]}};
            assert_int_not_equal(dlx_graph_node_to(g, n, v, NULL), DLX_NONE);
            dlx_node last = g->nodes[g->n_nodes - 1];
            memmove(&g->nodes[i + 1], &g->nodes[i], (g->n_nodes - 1 - i) * sizeof *g->nodes);
            g->nodes[i] = last;
            g->nodes[i + 1].in[0] = v;
            for (size_t k = 0; k < g->n_nodes; k++) g->values[g->nodes[k].out[0]].producer = (uint32_t)k;
            break;
        }
    assert_int_equal(dlx_graph_verify(g, NULL), DLX_OK);
}

static inline void write_tiny_file(const char *path, bool recognisable)
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
    assert_int_equal(dlx_xnnpack_decompose(&g, &err), DLX_OK);
    if (!recognisable) hide_attention(&g);
    if (dlx_xnnpack_lower(&plans[0], &pte.blobs, &pte.n_blobs, &arena, &g, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_facts_write(&facts, &n_facts, &arena, &f, "none", &err), DLX_OK);
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
