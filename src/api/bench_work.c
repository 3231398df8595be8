/* What a pass reads of memory and computes, counted on the graph that it runs. */
#include "api/bench.h"

#include "graph/linear_kinds.h"
#include "runtime/linear.h"

static void add_linear(const dlx_graph *g, const dlx_node *n, dlx_bench_pass *pass)
{
    const dlx_value *x = &g->values[n->in[0]], *w = &g->values[n->in[1]];
    dlx_gemm_shape s = dlx_linear_shape(g, n);
    double operations = 2.0 * (double)s.n_out * (double)s.n_in * pass->rows;
    if (x->dtype != DLX_QD8 && x->dtype != DLX_QS8)
        pass->float32 += operations;
    else if (w->dtype == DLX_I4)
        pass->int4 += operations;
    else
        pass->int8 += operations;
}

/* Keys that the rows of a pass see, summed over them: what is cached, and rows of their own block and those before. */
static double keys_seen(int32_t context, int32_t rows, int32_t block)
{
    double seen = (double)context * rows;
    for (int32_t i = 0; i < rows; i++) {
        int64_t end = block ? ((int64_t)(context + i) / block + 1) * block - context : rows;
        seen += end < rows ? (double)end : rows;
    }
    return seen;
}

void dlx_bench_work(const dlx_model *m, dlx_dtype kv_type, int32_t context, dlx_bench_pass *pass)
{
    const dlx_graph *g = &m->program.g;
    pass->int8 = pass->int4 = pass->float32 = 0;
    pass->bytes = (double)dlx_program_packed_size(&m->program);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        if (n->op == DLX_OP_LINEAR) add_linear(g, n, pass);
        if (n->op != DLX_OP_ATTENTION) continue;
        const dlx_value *q = &g->values[n->in[0]], *k = &g->values[n->in[1]];
        double width = (double)q->dim[1] * (double)q->dim[2]; /* a product with each key, and with each value */
        pass->float32 += 2 * 2.0 * width * keys_seen(context, pass->rows, m->facts.attn_block);
        pass->bytes += 2.0 * context * (double)dlx_cache_row(kv_type, (size_t)k->dim[1], (size_t)k->dim[2]);
    }
}
